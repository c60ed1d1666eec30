//! Values of Python that serde knows: for the codecs `msgpack` and `json`, for metadata, for states.

use std::fmt;

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::error::short;

/// As deep as values may nest. The library refuses deeper ones too; this limit is for lists inside
/// themselves.
const MAX_DEPTH: usize = 1023;

/// `None`, bools, numbers, text, bytes, lists and dictionaries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// What values are written as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    MessagePack,
    Json,
}

/// Why a value is refused, and where it is in what was given, from the inside out.
struct Refused {
    error: PyErr,
    place: Vec<String>,
}

impl<E: Into<PyErr>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), place: Vec::new() }
    }
}

impl Refused {
    fn at(mut self, place: impl ToString) -> Self {
        self.place.push(place.to_string());
        self
    }

    fn into_error(self, py: Python<'_>) -> PyErr {
        // Of a very deep value, the outermost places are enough.
        const SHOWN: usize = 10;
        if self.place.is_empty() {
            return self.error;
        }
        let shown: Vec<&str> = self.place.iter().rev().take(SHOWN).map(String::as_str).collect();
        let mut place = format!("[{}]", shown.join("]["));
        if self.place.len() > SHOWN {
            place.push_str("..");
        }
        let message = format!("at {place}: {}", self.error.value(py));
        if self.error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(message)
        } else if self.error.get_type(py).is(py.get_type::<PyValueError>()) {
            PyValueError::new_err(message)
        } else {
            self.error
        }
    }
}

/// The number of Python that a scalar of numpy, or of a package like it, is. `None` if there is none: Python
/// has no float of more than 64 bits, and what numpy calls the item of a time depends on its unit.
fn scalar_item<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    if object.is_instance_of::<PyUntypedArray>() {
        return Ok(None);
    }
    let Some(dtype) = object.getattr_opt(intern!(py, "dtype"))? else { return Ok(None) };
    if let Ok(dtype) = dtype.cast_into::<PyArrayDescr>()
        && !matches!((dtype.kind(), dtype.itemsize()), (b'b' | b'i' | b'u', _) | (b'f', ..=8) | (b'V', 2))
    {
        return Ok(None);
    }
    let item = object.call_method0(intern!(py, "item"))?;
    Ok(Some(item).filter(|item| !item.get_type().is(object.get_type())))
}

impl Value {
    /// Reads a value of Python. Refuses what would come back as something else, and says where it is.
    pub(crate) fn new(object: &Bound<'_, PyAny>, form: Form) -> PyResult<Self> {
        Self::nested(object, form, 0).map_err(|refused| refused.into_error(object.py()))
    }

    fn nested(object: &Bound<'_, PyAny>, form: Form, depth: usize) -> Result<Self, Refused> {
        let inner = |object: &Bound<'_, PyAny>| {
            if depth == MAX_DEPTH {
                let why = format!("lists and dictionaries more than {MAX_DEPTH} inside each other");
                return Err(PyValueError::new_err(why).into());
            }
            Self::nested(object, form, depth + 1)
        };
        let list = |items: &mut dyn Iterator<Item = Bound<'_, PyAny>>| {
            let item = |(n, item): (usize, Bound<'_, PyAny>)| inner(&item).map_err(|error| error.at(n));
            items.enumerate().map(item).collect::<Result<_, _>>().map(Self::List)
        };
        if object.is_none() {
            Ok(Self::None)
        } else if let Ok(bool) = object.cast::<PyBool>() {
            Ok(Self::Bool(bool.is_true()))
        } else if object.is_instance_of::<PyInt>() {
            let refuse = |_| {
                let why = format!("{}: integers go from -2^63 to 2^64 - 1", short(object));
                PyValueError::new_err(why)
            };
            Ok(object
                .extract()
                .map(Self::Int)
                .or_else(|_| object.extract().map(Self::Uint))
                .map_err(refuse)?)
        } else if let Ok(float) = object.cast::<PyFloat>() {
            Ok(Self::Float(float.value()))
        } else if let Ok(text) = object.cast::<PyString>() {
            let why = "text with a lone surrogate is not Unicode text";
            Ok(Self::Str(text.to_str().map_err(|_| PyValueError::new_err(why))?.to_owned()))
        } else if let Ok(bytes) = object.cast::<PyBytes>() {
            if form == Form::Json {
                return Err(PyTypeError::new_err("JSON has no bytes").into());
            }
            Ok(Self::Bytes(bytes.as_bytes().to_vec()))
        } else if let Ok(items) = object.cast::<PyList>() {
            list(&mut items.iter())
        } else if let Ok(items) = object.cast::<PyTuple>() {
            list(&mut items.iter())
        } else if let Ok(map) = object.cast::<PyDict>() {
            let entry = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
                if form == Form::Json && !key.is_instance_of::<PyString>() {
                    let why = format!("{}: keys of JSON are str", short(&key));
                    return Err(PyTypeError::new_err(why).into());
                }
                if key.is_instance_of::<PyTuple>() {
                    let why = format!("{}: a tuple would come back as a list, which is no key", short(&key));
                    return Err(PyTypeError::new_err(why).into());
                }
                let entry = inner(&value).map_err(|error| error.at(short(&key)))?;
                Ok((inner(&key)?, entry))
            };
            map.iter().map(entry).collect::<Result<_, _>>().map(Self::Map)
        } else if let Some(item) = scalar_item(object)? {
            inner(&item)
        } else {
            let found = object.get_type().name()?;
            let why = "there are None, bool, int, float, str, bytes, list, tuple and dict";
            Err(PyTypeError::new_err(format!("{found} cannot be stored: {why}")).into())
        }
    }

    /// The value of that name in a dictionary.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(key, _)| matches!(key, Self::Str(text) if text == name)).map(|(_, value)| value)
    }

    /// What it is, in a word of Python.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Uint(_) => "an int",
            Self::Float(_) => "a float",
            Self::Str(_) => "a str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a dict",
        }
    }

    /// The value of Python.
    pub(crate) fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::None => py.None().into_bound(py),
            Self::Bool(bool) => PyBool::new(py, *bool).to_owned().into_any(),
            Self::Int(number) => number.into_pyobject(py)?.into_any(),
            Self::Uint(number) => number.into_pyobject(py)?.into_any(),
            Self::Float(number) => PyFloat::new(py, *number).into_any(),
            Self::Str(text) => PyString::new(py, text).into_any(),
            Self::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Self::List(items) => {
                let list = PyList::empty(py);
                for item in items {
                    list.append(item.to_python(py)?)?;
                }
                list.into_any()
            }
            Self::Map(entries) => {
                let map = PyDict::new(py);
                for (key, value) in entries {
                    map.set_item(key.to_python(py)?, value.to_python(py)?)?;
                }
                map.into_any()
            }
        })
    }

    /// What serde knows, as a value. Only for types of this crate and the library.
    pub(crate) fn of(object: &impl Serialize) -> PyResult<Self> {
        let json = serde_json::to_value(object).map_err(|error| PyValueError::new_err(error.to_string()))?;
        serde_json::from_value(json).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// A type of the library from a value.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> PyResult<T> {
        let json = serde_json::to_value(self).map_err(|error| PyValueError::new_err(error.to_string()))?;
        serde_json::from_value(json).map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_unit(),
            Self::Bool(bool) => serializer.serialize_bool(*bool),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Uint(number) => serializer.serialize_u64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Str(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that Python has")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Uint(number), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

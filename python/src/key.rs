//! Names of records: `str`, `bytes` and `int`.

use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString};
use vldepot::{Error, ErrorKind, Key};

use crate::error::{out_of_range, raise};

/// A name, borrowed from Python.
pub(crate) enum Name<'a> {
    Str(&'a str),
    Bytes(&'a [u8]),
    Key(Key),
}

/// Runs `$body` with `$key` bound to something that names a record.
macro_rules! for_name {
    ($name:expr, $key:ident => $body:expr) => {
        match $name {
            $crate::key::Name::Str($key) => $body,
            $crate::key::Name::Bytes($key) => $body,
            $crate::key::Name::Key($key) => $body,
        }
    };
}
pub(crate) use for_name;

fn refuse(py: Python<'_>, name: &Bound<'_, PyAny>, why: String) -> PyErr {
    let shown = name.repr().map_or_else(|_| "?".to_owned(), |shown| shown.to_string_lossy().into_owned());
    raise(py, Error::new(ErrorKind::InvalidRecord { why }).of(shown))
}

/// Reads a name. Anything that is an integer (`__index__`) is one, except `bool`.
pub(crate) fn name<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Name<'a>> {
    let py = object.py();
    if let Ok(text) = object.cast::<PyString>() {
        return match text.to_str() {
            Ok(text) => Ok(Name::Str(text)),
            Err(_) => Err(refuse(py, object, "the name is not Unicode text: it has a lone surrogate".into())),
        };
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Name::Bytes(bytes.as_bytes()));
    }
    if !object.is_instance_of::<PyBool>()
        && let Ok(index) = if object.is_instance_of::<PyInt>() {
            Ok(object.clone())
        } else {
            object.call_method0("__index__")
        }
    {
        let allowed = i128::from(i64::MIN)..=i128::from(u64::MAX);
        let number = index.extract().ok().filter(|number| allowed.contains(number));
        let refused = || refuse(py, object, "integer names go from -2^63 to 2^64 - 1".into());
        return number.map(|number| Name::Key(Key::Int(number))).ok_or_else(refused);
    }
    let found = object.get_type().name()?;
    Err(PyTypeError::new_err(format!("a name is a str, bytes or an int, not {found}")))
}

/// Reads a name, and copies it.
pub(crate) fn key(object: &Bound<'_, PyAny>) -> PyResult<Key> {
    Ok(match name(object)? {
        Name::Str(text) => Key::from(text),
        Name::Bytes(bytes) => Key::from(bytes.to_vec()),
        Name::Key(key) => key,
    })
}

/// The name as messages show it. A long one is cut.
pub(crate) fn shown(key: &Key) -> String {
    const SHOWN: usize = 200;
    match key {
        Key::Str(name) if name.len() > SHOWN => {
            let end = (0..=SHOWN).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
            format!("{:?}.. ({} bytes)", &name[..end], name.len())
        }
        Key::Bytes(name) if name.len() > SHOWN => {
            format!("{}.. ({} bytes)", Key::Bytes(name[..SHOWN].to_vec()), name.len())
        }
        Key::Str(name) => format!("{name:?}"),
        key => key.to_string(),
    }
}

/// The name as Python has it.
pub(crate) fn to_python<'py>(py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyAny>> {
    Ok(if let Some(text) = key.as_str() {
        PyString::new(py, text).into_any()
    } else if let Some(bytes) = key.as_bytes() {
        PyBytes::new(py, bytes).into_any()
    } else {
        key.as_int().unwrap_or_default().into_pyobject(py)?.into_any()
    })
}

/// Many names. The objects are held, so that nobody frees what is borrowed from them.
pub(crate) struct Held<'py> {
    objects: Vec<Bound<'py, PyAny>>,
    strings: bool,
}

/// Many names, borrowed.
pub(crate) enum Names<'a> {
    Strings(Vec<&'a str>),
    Keys(Vec<Key>),
}

/// Runs `$body` with `$keys` bound to a slice of what names records.
macro_rules! for_names {
    ($names:expr, $keys:ident => $body:expr) => {
        match $names {
            $crate::key::Names::Strings($keys) => $body,
            $crate::key::Names::Keys($keys) => $body,
        }
    };
}
pub(crate) use for_names;

impl<'py> Held<'py> {
    /// Takes any iterable of names.
    pub(crate) fn new(names: &Bound<'py, PyAny>) -> PyResult<Self> {
        if names.is_instance_of::<PyString>() || names.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err("names are given as a list, or another iterable of them"));
        }
        let objects = names.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let strings = objects.iter().all(PyAnyMethods::is_instance_of::<PyString>);
        Ok(Self { objects, strings })
    }

    pub(crate) fn names(&self) -> PyResult<Names<'_>> {
        if !self.strings {
            return self.objects.iter().map(key).collect::<PyResult<_>>().map(Names::Keys);
        }
        let text = |object| match name(object)? {
            Name::Str(text) => Ok(text),
            _ => Err(PyTypeError::new_err("a name is a str, bytes or an int")),
        };
        self.objects.iter().map(text).collect::<PyResult<_>>().map(Names::Strings)
    }
}

impl Held<'_> {
    /// The names, copied.
    pub(crate) fn objects_as_keys(&self) -> PyResult<Vec<Key>> {
        self.objects.iter().map(key).collect()
    }
}

/// Reads positions, counted from the end if negative: an array of int64, or any iterable of integers.
pub(crate) fn positions(object: &Bound<'_, PyAny>, len: u64) -> PyResult<Vec<u64>> {
    let py = object.py();
    if let Ok(array) = object.cast::<PyArray1<i64>>() {
        let array = array.try_readonly()?;
        let place = |&number: &i64| {
            from_front(number.into(), len)
                .map_or_else(|| Err(out_of_range(number.into_pyobject(py)?.as_any(), len)), Ok)
        };
        return array.as_array().iter().map(place).collect();
    }
    let Ok(numbers) = object.try_iter() else {
        let found = object.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "positions are a slice, or a list or another iterable of ints, not {found}"
        )));
    };
    numbers.map(|number| position(&number?, len)).collect()
}

fn from_front(number: i128, len: u64) -> Option<u64> {
    let from_front = if number < 0 { number + i128::from(len) } else { number };
    u64::try_from(from_front).ok().filter(|&position| position < len)
}

/// Reads an integer that is not a `bool`. One that is far too large is taken for the largest.
pub(crate) fn position_number(object: &Bound<'_, PyAny>) -> PyResult<i128> {
    if !object.is_instance_of::<PyBool>() {
        if object.is_instance_of::<PyInt>() {
            return Ok(object.extract().unwrap_or(i128::MAX));
        }
        if let Ok(index) = object.call_method0("__index__") {
            return Ok(index.extract().unwrap_or(i128::MAX));
        }
    }
    let found = object.get_type().name()?;
    Err(PyTypeError::new_err(format!("a position is an int, not {found}")))
}

/// The position from the front. One that does not exist is an error.
pub(crate) fn position(object: &Bound<'_, PyAny>, len: u64) -> PyResult<u64> {
    from_front(position_number(object)?, len).map_or_else(|| Err(out_of_range(object, len)), Ok)
}

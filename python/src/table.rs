//! `vldepot.Table`: scalars of all records by column, for numpy and for data frames.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use ndarray::IxDyn;
use numpy::PyArray1;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyIterator, PyList, PyTuple};
use vldepot::codecs::DType;
use vldepot::{Column, Key, Scalar};

use crate::arrow::{ArrowArrayStream, ArrowSchema, Buffer, Field};
use crate::key;
use crate::memory::{Lent, lend};
use crate::value::Value;

/// The column of names.
const NAME: &str = "name";

/// Scalars of all records by column, and their names: what a data frame is made from.
///
/// Made by `Depot.table`. Its columns are looked up by name. It does not change with the depot. Libraries
/// that know Arrow take it as it is, by the PyCapsule interface: the depot's scalars are shared and not
/// copied, and values that records do not have are nulls. pyarrow is not needed for that.
///
/// Example:
///     >>> depot = vldepot.memory(columns=["step", "energy"])
///     >>> depot.put("a", positions=[[0.0, 0.0, 0.0]], step=5, energy=-1.5)
///     >>> depot.put("b", positions=[[0.0, 0.0, 0.0]], step=6)
///     >>> table = depot.table()
///     >>> table
///     <vldepot.Table of 2 rows: name, step, energy>
///     >>> table["name"], table["step"], table["energy"]
///     (['a', 'b'], array([5, 6]), array([-1.5,  nan]))
///
/// With the library of your choice: `polars.DataFrame(table)`, `pyarrow.table(table)`,
/// `pandas.DataFrame.from_arrow(table)` (pandas 3 with pyarrow), or `pandas.DataFrame(dict(table))` from the
/// arrays.
#[pyclass(frozen, name = "Table", module = "vldepot")]
pub(crate) struct Table {
    names: Option<Vec<Key>>,
    columns: Vec<(String, Data)>,
    rows: usize,
}

/// The values of a column.
pub(crate) enum Data {
    /// A column of the depot, which is shared.
    Stored(Arc<Column>),
    Integers(Vec<Option<i64>>),
    Floats(Vec<Option<f64>>),
    Bools(Vec<Option<bool>>),
    Text(Vec<Option<String>>),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::Stored(column) => column.len(),
            Self::Integers(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Bools(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// What the records' metadata have under one name, as a column of one type.
    pub(crate) fn of_metadata(name: &str, values: Vec<Value>) -> Result<Self, String> {
        const EXACT: u64 = 1 << 53;
        let (mut integers, mut floats, mut bools, mut text) = (false, false, false, false);
        for value in &values {
            match value {
                Value::None => {}
                Value::Int(_) | Value::Uint(_) => integers = true,
                Value::Float(_) => floats = true,
                Value::Bool(_) => bools = true,
                Value::Str(_) => text = true,
                Value::Bytes(_) | Value::List(_) | Value::Map(_) => {
                    return Err(format!(
                        "metadata {name:?}: a column has numbers, bools or text, and a record has {}",
                        value.kind()
                    ));
                }
            }
        }
        if u8::from(integers || floats) + u8::from(bools) + u8::from(text) > 1 {
            return Err(format!(
                "metadata {name:?}: records have values of several types, and a column has one"
            ));
        }
        let too_large = |value: &Value| format!("metadata {name:?}: {value:?} does not fit into the column");
        let values = values.into_iter();
        Ok(if text {
            Self::Text(
                values.map(|value| if let Value::Str(text) = value { Some(text) } else { None }).collect(),
            )
        } else if bools {
            Self::Bools(
                values.map(|value| if let Value::Bool(bool) = value { Some(bool) } else { None }).collect(),
            )
        } else if integers && !floats {
            let integer = |value| match value {
                Value::Int(integer) => Ok(Some(integer)),
                Value::Uint(_) => Err(too_large(&value)),
                _ => Ok(None),
            };
            Self::Integers(values.map(integer).collect::<Result<_, _>>()?)
        } else {
            #[allow(clippy::cast_precision_loss, reason = "those that would lose some are refused")]
            let float = |value| match value {
                Value::Int(integer) if integer.unsigned_abs() <= EXACT => Ok(Some(integer as f64)),
                Value::Int(_) | Value::Uint(_) => Err(too_large(&value)),
                Value::Float(float) => Ok(Some(float)),
                _ => Ok(None),
            };
            Self::Floats(values.map(float).collect::<Result<_, _>>()?)
        })
    }

    /// The type, the number of nulls, and the buffers.
    fn exported(&self) -> (&'static CStr, usize, Vec<Option<Buffer>>) {
        fn with<T: Copy + Default + bytemuck::Pod + Send + Sync>(
            format: &'static CStr,
            values: &[Option<T>],
        ) -> (&'static CStr, usize, Vec<Option<Buffer>>) {
            let (nulls, present) = present(values.iter().map(Option::is_some));
            let numbers = values.iter().map(|value| value.unwrap_or_default()).collect();
            (format, nulls, vec![present, Some(owned::<T>(numbers))])
        }
        match self {
            Self::Stored(column) => {
                let (nulls, present) = present((0..column.len()).map(|nth| !column.is_absent(nth)));
                let format = if column.as_i64().is_some() { c"l" } else { c"g" };
                (format, nulls, vec![present, Some(Arc::new(Numbers(Arc::clone(column))))])
            }
            Self::Integers(values) => with(c"l", values),
            Self::Floats(values) => with(c"g", values),
            Self::Bools(values) => {
                let (nulls, present) = present(values.iter().map(Option::is_some));
                let set = bits(values.iter().map(|value| *value == Some(true)));
                (c"b", nulls, vec![present, Some(owned(set))])
            }
            Self::Text(values) => {
                let (nulls, present) = present(values.iter().map(Option::is_some));
                let parts = values.iter().map(|text| text.as_deref().unwrap_or_default().as_bytes());
                let (format, mut buffers) = joined(c"U", parts);
                buffers[0] = present;
                (format, nulls, buffers)
            }
        }
    }
}

/// Names, if they were asked for, and columns by their name.
pub(crate) type NamesAndColumns = (Option<Vec<Key>>, Vec<(String, Data)>);

/// The numbers of a column.
struct Numbers(Arc<Column>);

impl AsRef<[u8]> for Numbers {
    fn as_ref(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

fn bytes_of(column: &Column) -> &[u8] {
    match (column.as_i64(), column.as_f64()) {
        (Some(integers), _) => bytemuck::cast_slice(integers),
        (_, floats) => bytemuck::cast_slice(floats.unwrap_or_default()),
    }
}

/// Numbers that a buffer owns.
struct Owned<T>(Vec<T>);

impl<T: bytemuck::Pod> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn owned<T: bytemuck::Pod + Send + Sync>(numbers: Vec<T>) -> Buffer {
    Arc::new(Owned(numbers))
}

/// A bit for each row.
fn bits(rows: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut bits = vec![0_u8; rows.len().div_ceil(8)];
    for (nth, _) in rows.enumerate().filter(|&(_, set)| set) {
        bits[nth / 8] |= 1 << (nth % 8);
    }
    bits
}

/// How many rows have no value, and a bit for each that has one, if not all have.
fn present(rows: impl ExactSizeIterator<Item = bool> + Clone) -> (usize, Option<Buffer>) {
    let nulls = rows.clone().filter(|&present| !present).count();
    (nulls, (nulls > 0).then(|| owned(bits(rows))))
}

/// Strings or bytes one after the other, and where each starts.
fn joined<'a>(
    format: &'static CStr,
    parts: impl Iterator<Item = &'a [u8]>,
) -> (&'static CStr, Vec<Option<Buffer>>) {
    let (mut ends, mut bytes) = (vec![0_i64], Vec::new());
    for part in parts {
        bytes.extend_from_slice(part);
        ends.push(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    }
    (format, vec![None, Some(owned(ends)), Some(owned(bytes))])
}

/// Names as a column of one type.
fn column_of_names(names: &[Key]) -> Result<(&'static CStr, Vec<Option<Buffer>>), String> {
    if names.iter().all(|name| name.as_str().is_some()) {
        Ok(joined(c"U", names.iter().filter_map(|name| name.as_str()).map(str::as_bytes)))
    } else if names.iter().all(|name| name.as_bytes().is_some()) {
        Ok(joined(c"Z", names.iter().filter_map(|name| name.as_bytes())))
    } else if let Some(numbers) = names.iter().map(Key::as_int).collect::<Option<Vec<i128>>>() {
        let none_fits = "integer names below 0 and above 2^63 - 1 have no type in common";
        if let Ok(signed) = numbers.iter().map(|&number| i64::try_from(number)).collect() {
            return Ok((c"l", vec![None, Some(owned::<i64>(signed))]));
        }
        let unsigned = numbers.iter().map(|&number| u64::try_from(number)).collect::<Result<_, _>>();
        Ok((c"L", vec![None, Some(owned::<u64>(unsigned.map_err(|_| none_fits.to_owned())?))]))
    } else {
        Err("a column has one type, and these names are of several kinds: str, bytes or int".to_owned())
    }
}

impl Table {
    pub(crate) fn new((names, columns): NamesAndColumns) -> Result<Self, String> {
        let rows = names.as_ref().map(Vec::len).or(columns.first().map(|(_, column)| column.len()));
        let table = Self { names, columns, rows: rows.unwrap_or(0) };
        // Whoever gets the columns by Arrow reads as many rows of each.
        assert!(
            table.columns.iter().all(|(_, column)| column.len() == table.rows),
            "columns have the same rows"
        );
        let mut seen = HashSet::new();
        if let Some(twice) = table.labels().find(|label| !seen.insert(*label)) {
            return Err(format!("two columns would be called {twice:?}"));
        }
        Ok(table)
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|_| NAME).chain(self.columns.iter().map(|(name, _)| &**name))
    }

    fn column(&self, name: &str) -> Option<&Data> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, column)| column)
    }

    fn fields(&self, py: Python<'_>) -> PyResult<Arc<[Field]>> {
        let fields = py.detach(|| {
            let label =
                |name: &str| CString::new(name).map_err(|_| format!("the column {name:?} has a zero byte"));
            let mut fields = Vec::new();
            if let Some(names) = &self.names {
                let (format, buffers) = column_of_names(names)
                    .map_err(|why| format!("{why}; `Depot.table(names=False)` leaves them out"))?;
                fields.push(Field { name: label(NAME)?, format, nulls: 0, buffers });
            }
            for (name, column) in &self.columns {
                let (format, nulls, buffers) = column.exported();
                let nulls = i64::try_from(nulls).unwrap_or(i64::MAX);
                fields.push(Field { name: label(name)?, format, nulls, buffers });
            }
            Ok::<_, String>(fields)
        });
        Ok(fields.map_err(PyValueError::new_err)?.into())
    }
}

#[pymethods]
impl Table {
    fn __getitem__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let (py, table) = (slf.py(), slf.get());
        if let (NAME, Some(names)) = (name, &table.names) {
            let names = names.iter().map(|name| key::to_python(py, name)).collect::<PyResult<Vec<_>>>()?;
            return Ok(PyList::new(py, names)?.into_any());
        }
        let Some(column) = table.column(name) else {
            let there: Vec<&str> = table.labels().collect();
            return Err(PyKeyError::new_err(format!("no column {name:?}; there are {}", there.join(", "))));
        };
        let floats = |floats: Vec<f64>| PyArray1::from_vec(py, floats).into_any();
        match column {
            Data::Text(texts) => Ok(PyList::new(py, texts)?.into_any()),
            Data::Bools(bools) => Ok(PyList::new(py, bools)?.into_any()),
            Data::Floats(numbers) => {
                Ok(floats(numbers.iter().map(|number| number.unwrap_or(f64::NAN)).collect()))
            }
            Data::Integers(numbers) => match numbers.iter().copied().collect::<Option<Vec<i64>>>() {
                Some(all) => Ok(PyArray1::from_vec(py, all).into_any()),
                None => Ok(floats(
                    numbers.iter().map(|n| n.map_or(f64::NAN, |n| Scalar::Integer(n).to_f64())).collect(),
                )),
            },
            Data::Stored(column) if column.as_i64().is_some() && column.n_absent() > 0 => {
                Ok(floats(column.iter().map(|value| value.map_or(f64::NAN, Scalar::to_f64)).collect()))
            }
            Data::Stored(column) => {
                let dtype = if column.as_i64().is_some() { DType::I64 } else { DType::F64 };
                let shape = IxDyn(&[column.len()]);
                let lent = lend(slf, |table| match table.column(name)? {
                    Data::Stored(column) => Some(Lent { dtype, shape, bytes: bytes_of(column) }),
                    _ => None,
                })?;
                lent.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
            }
        }
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        name.extract::<&str>().is_ok_and(|name| self.labels().any(|label| label == name))
    }

    /// The number of columns.
    fn __len__(&self) -> usize {
        self.labels().count()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.labels())?.try_iter()
    }

    /// The names of the columns.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.labels())
    }

    /// The columns: arrays `[n]` of numbers, and lists of names, text and bools.
    ///
    /// The arrays are float64, or int64 for whole numbers. Those of the depot's scalars are read-only views
    /// of the table. Values that records do not have are NaN, or `None` in lists; whole numbers become
    /// float64 if there are any such, which copies them.
    fn values<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let columns = slf.get().labels().map(|label| Self::__getitem__(slf, label));
        PyList::new(slf.py(), columns.collect::<PyResult<Vec<_>>>()?)
    }

    /// The names of the columns, and the columns, as `values` gives them.
    fn items<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let columns = slf.get().labels().map(|label| Ok((label, Self::__getitem__(slf, label)?)));
        PyList::new(slf.py(), columns.collect::<PyResult<Vec<_>>>()?)
    }

    /// The column of that name, or `default` where there is none.
    #[pyo3(signature = (name, default = None, /))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().labels().any(|label| label == name) {
            return Self::__getitem__(slf, name);
        }
        Ok(default.unwrap_or_else(|| slf.py().None().into_bound(slf.py())))
    }

    /// The numbers of rows and of columns.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.__len__())
    }

    /// The schema, as a capsule of the Arrow PyCapsule interface.
    ///
    /// Names are large strings, large binary, int64 or uint64; scalars int64 or float64; metadata these,
    /// large strings or bools. All may be null.
    ///
    /// Raises:
    ///     ValueError: When the names are of several kinds, which no column can have.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        PyCapsule::new_with_value(py, ArrowSchema::of(&self.fields(py)?), c"arrow_schema")
    }

    /// The columns, as a capsule of the Arrow PyCapsule interface: a stream of one batch.
    ///
    /// Args:
    ///     requested_schema: Ignored, as the interface allows: the types are those of `__arrow_c_schema__`.
    ///
    /// Raises:
    ///     ValueError: When the names are of several kinds, which no column can have.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        PyCapsule::new_with_value(
            py,
            ArrowArrayStream::new(self.fields(py)?, self.rows),
            c"arrow_array_stream",
        )
    }

    /// A table is no array: pandas would otherwise make one column of the labels.
    #[pyo3(signature = (*_args, **_kwargs))]
    fn __array__(&self, _args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a table is no array: take one column, or give dict(table) to pandas.DataFrame, or the table to \
             pandas.DataFrame.from_arrow",
        ))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let why = format!("{} is not pickled; pickle dict(table)", slf.repr()?);
        Err(PyTypeError::new_err(why))
    }

    fn __repr__(&self) -> String {
        let labels: Vec<&str> = self.labels().collect();
        format!("<vldepot.Table of {} rows: {}>", self.rows, labels.join(", "))
    }
}

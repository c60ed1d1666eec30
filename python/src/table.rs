//! `vldepot.Table`: scalars of all records by column, for numpy and for data frames.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use ndarray::IxDyn;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyIterator, PyList, PyTuple};
use vldepot::codecs::DType;
use vldepot::{Column, Key, Scalar};

use crate::arrow::{ArrowArrayStream, ArrowSchema, Buffer, Field};
use crate::key;
use crate::memory::{Lent, lend};

/// The column of names.
const NAME: &str = "name";

/// Scalars of all records by column, and their names: what a data frame is made from.
///
/// Made by `Depot.table`. Its columns are looked up by name. It does not change with the depot. Libraries that know Arrow
/// take it as it is, by the PyCapsule interface: the numbers are shared and not copied, and values that records do not
/// have are nulls. pyarrow is not needed for that.
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
/// `pandas.DataFrame.from_arrow(table)` (pandas 3 with pyarrow), or `pandas.DataFrame(dict(table))` from the arrays.
#[pyclass(frozen, name = "Table", module = "vldepot")]
pub(crate) struct Table {
    names: Option<Vec<Key>>,
    columns: Vec<(String, Arc<Column>)>,
    rows: usize,
}

/// Names, if they were asked for, and columns by their name.
pub(crate) type NamesAndColumns = (Option<Vec<Key>>, Vec<(String, Column)>);

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

/// A bit for each row that has a value.
fn present(column: &Column) -> Option<Buffer> {
    if column.n_absent() == 0 {
        return None;
    }
    let mut bits = vec![0_u8; column.len().div_ceil(8)];
    for nth in (0..column.len()).filter(|&nth| !column.is_absent(nth)) {
        bits[nth / 8] |= 1 << (nth % 8);
    }
    Some(owned(bits))
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
        let mut lengths: Vec<usize> = columns.iter().map(|(_, column)| column.len()).collect();
        lengths.extend(names.as_ref().map(Vec::len));
        lengths.sort_unstable();
        lengths.dedup();
        if lengths.len() > 1 {
            return Err(format!("the depot changed while its columns were read, to {lengths:?} records"));
        }
        let rows = lengths.first().copied().unwrap_or(0);
        let columns = columns.into_iter().map(|(name, column)| (name, Arc::new(column))).collect();
        Ok(Self { names, columns, rows })
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|_| NAME).chain(self.columns.iter().map(|(name, _)| &**name))
    }

    fn column(&self, name: &str) -> Option<&Arc<Column>> {
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
                fields.push(Field {
                    name: label(name)?,
                    format: if column.as_i64().is_some() { c"l" } else { c"g" },
                    nulls: i64::try_from(column.n_absent()).unwrap_or(i64::MAX),
                    buffers: vec![present(column), Some(Arc::new(Numbers(Arc::clone(column))))],
                });
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
        if column.as_i64().is_some() && column.n_absent() > 0 {
            let floats = column.iter().map(|value| value.map_or(f64::NAN, Scalar::to_f64));
            return Ok(numpy::PyArray1::from_iter(py, floats).into_any());
        }
        let dtype = if column.as_i64().is_some() { DType::I64 } else { DType::F64 };
        let lent = lend(slf, |table| {
            let column = table.column(name)?;
            Some(Lent { dtype, shape: IxDyn(&[column.len()]), bytes: bytes_of(column) })
        })?;
        lent.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
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

    /// The columns: of the names a list, of each scalar an array `[n]`.
    ///
    /// The arrays are float64, or int64 for whole numbers, and read-only views of the table. Values that records do not
    /// have are NaN; whole numbers become float64 if there are any such, which copies them.
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
    /// Names are large strings, large binary, int64 or uint64; scalars int64 or float64. All may be null.
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

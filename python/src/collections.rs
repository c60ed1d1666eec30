//! Collections and splits: what `vldepot.mio` calls. Its classes are written in Python.

use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use vldepot::Key;
use vldepot::collections::{self, Collections, Split};

use crate::codec::{AnyDepot, for_depot};
use crate::depot::PyDepot;
use crate::error::Failure;
use crate::key;
use crate::options;

fn run<T: Send>(
    depot: &Bound<'_, PyDepot>,
    job: impl FnOnce(&Collections) -> vldepot::Result<T> + Send,
) -> PyResult<T> {
    depot.get().with(depot.py(), |depot| match depot {
        AnyDepot::Collections(collections) => Ok(job(collections)?),
        _ => Err(PyTypeError::new_err("this is for depots of collections (codec \"collection\")").into()),
    })
}

#[pyfunction]
#[pyo3(name = "_collection_size")]
pub(crate) fn collection_size(depot: &Bound<'_, PyDepot>, name: &Bound<'_, PyAny>) -> PyResult<usize> {
    let key = key::key(name)?;
    run(depot, |collections| collections.size(&key))
}

#[pyfunction]
#[pyo3(name = "_collection_sizes")]
pub(crate) fn collection_sizes(depot: &Bound<'_, PyDepot>) -> PyResult<Vec<u64>> {
    run(depot, |collections| collections.sizes(..))
}

/// Objects of a collection, by their numbers, which are not negative.
#[pyfunction]
#[pyo3(name = "_collection_objects")]
pub(crate) fn collection_objects<'py>(
    depot: &Bound<'py, PyDepot>,
    name: &Bound<'py, PyAny>,
    objects: Vec<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let key = key::key(name)?;
    let found = run(depot, |collections| collections.objects(&key, &objects))?;
    PyList::new(depot.py(), found.iter().map(|object| PyBytes::new(depot.py(), object)))
}

/// A split from names in Python.
fn split_of(names: &Bound<'_, PyAny>) -> PyResult<Split> {
    let keys = names.try_iter()?.map(|name| key::key(&name?)).collect::<PyResult<Vec<Key>>>()?;
    Ok(Split::new(keys).map_err(Failure::from)?)
}

fn names_of<'py>(py: Python<'py>, split: &Split) -> PyResult<Bound<'py, PyList>> {
    let names = split.items().iter().map(|name| key::to_python(py, name)).collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, names)
}

#[pyfunction]
#[pyo3(name = "_set_split")]
pub(crate) fn set_split(depot: &Bound<'_, PyDepot>, name: &str, names: &Bound<'_, PyAny>) -> PyResult<()> {
    let split = split_of(names)?;
    depot.get().with(depot.py(), |depot| {
        Ok(for_depot!(depot, depot => collections::set_split(depot, name, &split))?)
    })
}

#[pyfunction]
#[pyo3(name = "_split")]
pub(crate) fn split<'py>(depot: &Bound<'py, PyDepot>, name: &str) -> PyResult<Option<Bound<'py, PyList>>> {
    let py = depot.py();
    let found =
        depot.get().with(py, |depot| Ok(for_depot!(depot, depot => collections::split(depot, name))?))?;
    found.map(|split| names_of(py, &split)).transpose()
}

#[pyfunction]
#[pyo3(name = "_split_names")]
pub(crate) fn split_names(depot: &Bound<'_, PyDepot>) -> PyResult<Vec<String>> {
    let py = depot.py();
    depot.get().with(py, |depot| Ok(for_depot!(depot, depot => collections::split_names(depot))?))
}

#[pyfunction]
#[pyo3(name = "_remove_split")]
pub(crate) fn remove_split(depot: &Bound<'_, PyDepot>, name: &str) -> PyResult<bool> {
    let py = depot.py();
    depot.get().with(py, |depot| Ok(for_depot!(depot, depot => collections::remove_split(depot, name))?))
}

/// Collections, objects, bytes, and the version of the files if its minor number is newer than is known.
type Imported = (u64, u64, u64, Option<(u16, u16)>);

#[pyfunction]
#[pyo3(name = "_import_mio")]
pub(crate) fn import_mio(
    py: Python<'_>,
    #[pyo3(from_py_with = options::path)] folder: PathBuf,
    #[pyo3(from_py_with = options::path)] path: PathBuf,
) -> PyResult<Imported> {
    let done = py.detach(|| collections::import_mio(&folder, &path)).map_err(Failure::from)?;
    Ok((done.collections, done.objects, done.bytes, done.newer))
}

/// Collections, objects, bytes, and how many collections have another number than their name.
#[pyfunction]
#[pyo3(name = "_export_mio")]
pub(crate) fn export_mio(
    depot: &Bound<'_, PyDepot>,
    #[pyo3(from_py_with = options::path)] folder: PathBuf,
) -> PyResult<(u64, u64, u64, u64)> {
    let done = run(depot, |collections| collections::export_mio(collections, &folder))?;
    Ok((done.collections, done.objects, done.bytes, done.renumbered))
}

#[pyfunction]
#[pyo3(name = "_read_mio_split")]
pub(crate) fn read_mio_split(
    py: Python<'_>,
    #[pyo3(from_py_with = options::path)] path: PathBuf,
) -> PyResult<Bound<'_, PyList>> {
    let split = py.detach(|| collections::read_mio_split(&path)).map_err(Failure::from)?;
    names_of(py, &split)
}

#[pyfunction]
#[pyo3(name = "_write_mio_split")]
pub(crate) fn write_mio_split(
    py: Python<'_>,
    names: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = options::path)] path: PathBuf,
) -> PyResult<()> {
    let split = split_of(names)?;
    Ok(py.detach(|| collections::write_mio_split(&split, &path)).map_err(Failure::from)?)
}

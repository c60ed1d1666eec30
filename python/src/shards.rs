//! Folders of shards: merged, divided anew, and removed from.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use vldepot::Key;
use vldepot::shards::{self, MergeOptions, Merged, ReshardOptions};

use crate::error::Failure;
use crate::key;
use crate::maintain::interruptible;
use crate::options;
use crate::report::report;

fn merged<'py>(py: Python<'py>, merged: &Merged) -> PyResult<Bound<'py, PyAny>> {
    let examples =
        merged.examples.iter().map(|name| key::to_python(py, name)).collect::<PyResult<Vec<_>>>()?;
    report!(py, "Merged", {
        shards: merged.shards,
        added: merged.added,
        records: merged.records,
        raw_bytes: merged.raw_bytes,
        superseded: merged.superseded,
        examples: examples,
    })
}

#[pyfunction]
#[pyo3(name = "_is_set")]
pub(crate) fn is_set(#[pyo3(from_py_with = options::path)] path: PathBuf) -> bool {
    shards::is_set(path)
}

#[pyfunction]
#[pyo3(name = "_found_shards")]
pub(crate) fn found(
    py: Python<'_>,
    #[pyo3(from_py_with = options::path)] folder: PathBuf,
) -> PyResult<Vec<PathBuf>> {
    Ok(py.detach(|| shards::found(&folder)).map_err(Failure::from)?)
}

#[pyfunction]
#[pyo3(name = "_merge_shards")]
pub(crate) fn merge(
    py: Python<'_>,
    #[pyo3(from_py_with = options::path)] folder: PathBuf,
    depots: Vec<PathBuf>,
    unique: bool,
) -> PyResult<Bound<'_, PyAny>> {
    let options = MergeOptions::default().with_unique(unique);
    let done = py.detach(|| shards::merge(&folder, &depots, &options)).map_err(Failure::from)?;
    merged(py, &done)
}

#[pyfunction]
#[pyo3(name = "_remove_from_shards")]
pub(crate) fn remove(
    py: Python<'_>,
    #[pyo3(from_py_with = options::path)] folder: PathBuf,
    names: Vec<Bound<'_, PyAny>>,
) -> PyResult<u64> {
    let keys = names.iter().map(key::key).collect::<PyResult<Vec<Key>>>()?;
    Ok(py.detach(|| shards::remove(&folder, &keys)).map_err(Failure::from)?)
}

#[pyfunction]
#[pyo3(name = "_reshard")]
pub(crate) fn reshard<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = options::path)] source: PathBuf,
    #[pyo3(from_py_with = options::path)] target: PathBuf,
    shard_bytes: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = ReshardOptions::default().with_shard_bytes(shard_bytes);
    let done = interruptible(py, progress, |tell| shards::reshard(&source, &target, &options, tell))?;
    merged(py, &done)
}

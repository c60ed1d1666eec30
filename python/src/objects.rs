//! Objects that many processes change: what `vldepot.dirdb` calls. Its classes are written in Python.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vldepot::objects::{self, Objects};
use vldepot::{Codec, Result};

use crate::codec::{Msgpack, bytes_of};
use crate::error::Failure;
use crate::options;
use crate::value::{Form, Value};

/// Size, checksum, serializer, three times, and whether there are metadata.
type Stat = (Option<u64>, Option<u32>, Option<String>, Option<f64>, Option<f64>, Option<f64>, bool);

/// Seconds since 1970, as `os.stat` has them.
fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// Objects in a file, or in a folder of it.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct ObjectsCore(Objects);

impl ObjectsCore {
    fn run<T: Send>(&self, py: Python<'_>, job: impl FnOnce(&Objects) -> Result<T> + Send) -> PyResult<T> {
        Ok(py.detach(|| job(&self.0)).map_err(Failure::from)?)
    }
}

#[pymethods]
impl ObjectsCore {
    #[new]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = options::path)] path: PathBuf,
        create: bool,
    ) -> PyResult<Self> {
        let opened = py.detach(|| if create { Objects::open_or_create(&path) } else { Objects::open(&path) });
        Ok(Self(opened.map_err(Failure::from)?))
    }

    fn contains(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        self.run(py, |objects| objects.contains(name))
    }

    fn put(&self, py: Python<'_>, name: &str, data: &Bound<'_, PyAny>, serializer: &str) -> PyResult<()> {
        let data = bytes_of("an object is", data)?;
        let bytes = data.as_bytes();
        self.run(py, |objects| objects.put(name, bytes, serializer))
    }

    fn put_with_metadata(
        &self,
        py: Python<'_>,
        name: &str,
        data: &Bound<'_, PyAny>,
        serializer: &str,
        metadata: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let data = bytes_of("an object is", data)?;
        let (bytes, metadata) = (data.as_bytes(), Value::new(metadata, Form::MessagePack)?);
        self.run(py, |objects| objects.put_with_metadata(name, bytes, serializer, &metadata))
    }

    fn get<'py>(&self, py: Python<'py>, name: &str) -> PyResult<(Bound<'py, PyBytes>, Option<String>)> {
        let object = self.run(py, |objects| objects.get(name))?;
        Ok((PyBytes::new(py, object.bytes()), object.serializer().map(str::to_owned)))
    }

    fn metadata<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found: Option<Value> = self.run(py, |objects| objects.metadata(name))?;
        found.map(|value| value.to_python(py)).transpose()
    }

    fn set_metadata(&self, py: Python<'_>, name: &str, metadata: &Bound<'_, PyAny>) -> PyResult<()> {
        let metadata = Value::new(metadata, Form::MessagePack)?;
        self.run(py, |objects| objects.set_metadata(name, &metadata))
    }

    fn remove_metadata(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        self.run(py, |objects| objects.remove_metadata(name))
    }

    fn stat(&self, py: Python<'_>, name: &str) -> PyResult<Option<Stat>> {
        let found = self.run(py, |objects| objects.stat(name))?;
        Ok(found.map(|stat| {
            let [created, modified, metadata] =
                [stat.created, stat.modified, stat.metadata_modified].map(|time| time.map(seconds));
            (stat.size, stat.checksum, stat.serializer, created, modified, metadata, stat.has_metadata)
        }))
    }

    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        self.run(py, |objects| objects.remove(name))
    }

    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.run(py, Objects::names)
    }

    fn names_without_object(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.run(py, Objects::names_without_object)
    }

    fn folders(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.run(py, Objects::folders)
    }

    fn folder(&self, py: Python<'_>, name: &str, create: bool) -> PyResult<Self> {
        self.run(py, |objects| if create { objects.create_folder(name) } else { objects.folder(name) })
            .map(Self)
    }

    fn remove_folder(&self, py: Python<'_>, name: &str) -> PyResult<u64> {
        self.run(py, |objects| objects.remove_folder(name))
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    #[getter]
    fn folder_path(&self) -> &str {
        self.0.folder_path()
    }

    /// Waits for the lock of a name. A signal handler that raises ends the wait.
    fn lock(&self, py: Python<'_>, name: &str) -> PyResult<NameLock> {
        let (found, raised) = py.detach(|| {
            let mut raised = None;
            #[expect(clippy::redundant_closure_for_method_calls, reason = "the method has one lifetime")]
            let mut go_on = || match Python::attach(|py| py.check_signals()) {
                Ok(()) => true,
                Err(error) => {
                    raised = Some(error);
                    false
                }
            };
            let found = self.0.lock_while(name, &mut go_on);
            (found, raised)
        });
        match (found.map_err(Failure::from)?, raised) {
            (Some(lock), _) => Ok(NameLock(Mutex::new(Some(lock)))),
            (None, Some(error)) => Err(error),
            (None, None) => Err(PyValueError::new_err("the wait was given up")),
        }
    }

    /// The lock of a name, if it is free.
    fn try_lock(&self, py: Python<'_>, name: &str) -> PyResult<Option<NameLock>> {
        let found = self.run(py, |objects| objects.try_lock(name))?;
        Ok(found.map(|lock| NameLock(Mutex::new(Some(lock)))))
    }
}

/// A name that is locked, until it is released or dropped.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct NameLock(Mutex<Option<objects::NameLock>>);

#[pymethods]
impl NameLock {
    fn release(&self, py: Python<'_>) {
        py.detach(|| drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

/// A value as MessagePack.
#[pyfunction]
#[pyo3(name = "_pack")]
pub(crate) fn pack<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let value = Value::new(value, Form::MessagePack)?;
    let mut bytes = Vec::new();
    Msgpack::new().encode(&value, &mut bytes).map_err(|source| crate::error::codec_error(py, source))?;
    Ok(PyBytes::new(py, &bytes))
}

/// The value of MessagePack.
#[pyfunction]
#[pyo3(name = "_unpack")]
pub(crate) fn unpack<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let value = Msgpack::new().view(data).map_err(|source| crate::error::codec_error(py, source))?;
    value.to_python(py)
}

//! Maps of integers for `vldepot.mapbuffer`: over bytes, and over objects that give slices.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PySlice};
use vldepot::maps::{ByteMap, IntMap, MapFormat, MapOptions, Packing, Slices};

use crate::error::raise;

/// Bytes, or an object that gives slices.
struct Source {
    bytes: Option<PyBackedBytes>,
    object: Py<PyAny>,
    /// What the object raised last.
    raised: Arc<Mutex<Option<PyErr>>>,
}

/// Opens a map, and raises what the object raises.
fn open<T>(
    py: Python<'_>,
    object: &Bound<'_, PyAny>,
    open: impl FnOnce(Source) -> vldepot::Result<T>,
) -> PyResult<T> {
    let source = Source::new(object);
    let raised = Arc::clone(&source.raised);
    open(source).map_err(|error| taken(&raised).unwrap_or_else(|| raise(py, error)))
}

fn taken(raised: &Mutex<Option<PyErr>>) -> Option<PyErr> {
    raised.lock().ok().and_then(|mut raised| raised.take())
}

impl Source {
    fn new(object: &Bound<'_, PyAny>) -> Self {
        let bytes = object.cast_exact::<PyBytes>().ok().map(|bytes| PyBackedBytes::from(bytes.clone()));
        Self { bytes, object: object.clone().unbind(), raised: Arc::default() }
    }

    fn ask(&self, range: Range<u64>) -> PyResult<Vec<u8>> {
        Python::attach(|py| {
            let end = (range.end != u64::MAX).then_some(range.end);
            let builtins = py.import("builtins")?;
            let slice = builtins.getattr("slice")?.call1((range.start, end))?;
            let given = self.object.bind(py).get_item(slice.cast_into::<PySlice>()?)?;
            if let Ok(bytes) = given.cast_exact::<PyBytes>() {
                return Ok(bytes.as_bytes().to_vec());
            }
            // Through a view: `bytes` alone would take a number for a length.
            let view = builtins.getattr("memoryview")?.call1((given,))?;
            let copied = builtins.getattr("bytes")?.call1((view,))?.cast_into::<PyBytes>()?;
            Ok(copied.as_bytes().to_vec())
        })
    }

    /// The exception for an error: what the object raised, or that of the library.
    fn failed(&self, py: Python<'_>, error: vldepot::Error) -> PyErr {
        taken(&self.raised).unwrap_or_else(|| raise(py, error))
    }

    /// Keeps an exception, and gives the library something in its place.
    fn keep(&self, error: PyErr) -> io::Error {
        if let Ok(mut raised) = self.raised.lock() {
            *raised = Some(error);
        }
        io::Error::other("the object raised an exception")
    }
}

impl Slices for Source {
    fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        match &self.bytes {
            Some(bytes) => (**bytes).slice(range),
            None => self.ask(range).map(Cow::Owned).map_err(|error| self.keep(error)),
        }
    }

    fn whole(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }
}

fn packing(name: &str) -> PyResult<Packing> {
    Packing::from_name(name)
        .ok_or_else(|| PyValueError::new_err(format!("compress={name:?}: none, gzip, br, zstd or lzma")))
}

fn options(compress: &str, checksums: bool, mapbuffer: bool) -> PyResult<MapOptions> {
    let format = if mapbuffer { MapFormat::Mapbuffer } else { MapFormat::Vldepot };
    Ok(MapOptions::new().with_packing(packing(compress)?).with_checksums(checksums).with_format(format))
}

/// A map to bytes.
#[pyclass(module = "vldepot._vldepot", frozen)]
pub(crate) struct ByteMapCore(ByteMap<Source>);

#[pymethods]
impl ByteMapCore {
    #[new]
    fn new(py: Python<'_>, source: &Bound<'_, PyAny>, check: bool) -> PyResult<Self> {
        let map = open(py, source, ByteMap::open)?;
        Ok(Self(map.with_checks(check)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn compress(&self) -> Option<&'static str> {
        Some(self.0.packing()).filter(|packing| *packing != Packing::None).map(Packing::name)
    }

    #[getter]
    fn is_mapbuffer(&self) -> bool {
        self.0.format() == MapFormat::Mapbuffer
    }

    #[getter]
    fn has_checksums(&self) -> bool {
        self.0.has_checksums()
    }

    fn contains(&self, py: Python<'_>, key: u64) -> PyResult<bool> {
        self.0.contains(key).map_err(|error| self.0.source().failed(py, error))
    }

    fn find<'py>(&self, py: Python<'py>, key: u64) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let found = self.0.find(key).map_err(|error| self.0.source().failed(py, error))?;
        Ok(found.map(|value| PyBytes::new(py, &value)))
    }

    fn stored_len(&self, py: Python<'_>, key: u64) -> PyResult<Option<u64>> {
        self.0.stored_len(key).map_err(|error| self.0.source().failed(py, error))
    }

    fn keys(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        self.0.keys().collect::<Result<_, _>>().map_err(|error| self.0.source().failed(py, error))
    }

    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.0.validate().map_err(|error| self.0.source().failed(py, error))
    }

    /// What setting a value in place changes: an offset, and the bytes to be there.
    fn change<'py>(&self, py: Python<'py>, key: u64, value: &[u8]) -> PyResult<(u64, Bound<'py, PyBytes>)> {
        let (at, bytes) = self.0.change(key, value).map_err(|error| self.0.source().failed(py, error))?;
        Ok((at, PyBytes::new(py, &bytes)))
    }

    fn transcode<'py>(
        &self,
        py: Python<'py>,
        compress: &str,
        checksums: bool,
        mapbuffer: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let options = options(compress, checksums, mapbuffer)?;
        let bytes = self.0.transcode(&options).map_err(|error| self.0.source().failed(py, error))?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// The bytes of a map to bytes.
#[pyfunction]
pub(crate) fn build_byte_map<'py>(
    py: Python<'py>,
    pairs: Vec<(u64, PyBackedBytes)>,
    compress: &str,
    checksums: bool,
    mapbuffer: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let options = options(compress, checksums, mapbuffer)?;
    let built = py.detach(|| ByteMap::build(pairs, &options)).map_err(|error| raise(py, error))?;
    Ok(PyBytes::new(py, &built))
}

/// A map to integers.
#[pyclass(module = "vldepot._vldepot")]
pub(crate) struct IntMapCore(IntMap<Source>);

#[pymethods]
impl IntMapCore {
    #[new]
    fn new(py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<Self> {
        open(py, source, IntMap::open).map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn is_mapbuffer(&self) -> bool {
        self.0.format() == MapFormat::Mapbuffer
    }

    fn find(&self, py: Python<'_>, key: u64) -> PyResult<Option<u64>> {
        self.0.find(key).map_err(|error| self.0.source().failed(py, error))
    }

    fn items(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64)>> {
        self.0.iter().collect::<Result<_, _>>().map_err(|error| self.0.source().failed(py, error))
    }

    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.0.validate().map_err(|error| self.0.source().failed(py, error))
    }

    /// Sets a value in the object, by assignments to its slices.
    fn set(&mut self, py: Python<'_>, key: u64, value: u64) -> PyResult<()> {
        let object = self.0.source().object.clone_ref(py);
        let mut raised = None;
        let write = |at: u64, bytes: &[u8]| {
            let put = || -> PyResult<()> {
                let end = at + bytes.len() as u64;
                let slice = py.import("builtins")?.getattr("slice")?.call1((at, end))?;
                object.bind(py).set_item(slice, PyBytes::new(py, bytes))
            };
            put().map_err(|error| {
                raised = Some(error);
                io::Error::other("the object raised an exception")
            })
        };
        let done = self.0.set_by(key, value, write);
        done.map_err(|error| raised.unwrap_or_else(|| self.0.source().failed(py, error)))
    }
}

/// The bytes of a map to integers.
#[pyfunction]
pub(crate) fn build_int_map(
    py: Python<'_>,
    pairs: Vec<(u64, u64)>,
    mapbuffer: bool,
) -> PyResult<Bound<'_, PyBytes>> {
    if !mapbuffer {
        return Ok(PyBytes::new(py, &IntMap::build(pairs)));
    }
    let built = IntMap::build_mapbuffer(pairs).map_err(|error| raise(py, error))?;
    Ok(PyBytes::new(py, &built))
}

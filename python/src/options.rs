//! Keyword arguments as the library's options.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use vldepot::codecs::{AtomicFrameCodec, Precision, Units};
use vldepot::{CodecError, CommitEvery, Compression, Error, ErrorKind, Layout, OpenOptions, WriteOptions};

use crate::error::{in_option, raise};

/// All options of a depot, and of the codec of frames.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) layout: Layout,
    pub(crate) write: WriteOptions,
    pub(crate) open: OpenOptions,
    pub(crate) frames: FrameOptions,
    /// A name of an option for frames that was given.
    pub(crate) for_frames: Option<String>,
}

/// What the codec of frames takes.
#[derive(Default)]
pub(crate) struct FrameOptions {
    precision: Option<Precision>,
    units: Option<Units>,
    n_atoms: Option<usize>,
}

impl FrameOptions {
    /// The codec for frames of a new depot, or of one with these parameters.
    pub(crate) fn codec(&self, stored: Option<&[u8]>) -> Result<AtomicFrameCodec, CodecError> {
        let mut codec = stored.map_or(Ok(AtomicFrameCodec::new()), AtomicFrameCodec::from_parameters)?;
        if let Some(precision) = self.precision {
            codec = codec.with_precision(precision);
        }
        if let Some(units) = &self.units {
            codec = codec.with_units(units.clone());
        }
        if let Some(n_atoms) = self.n_atoms {
            codec = codec.with_n_atoms(n_atoms);
        }
        Ok(codec)
    }
}

/// Names of columns: one, or several.
pub(crate) fn columns(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    match value.cast::<PyString>() {
        Ok(name) => Ok(vec![name.to_str()?.to_owned()]),
        Err(_) => value.extract(),
    }
}

/// A path: a `str`, `bytes`, or an object with `__fspath__`.
pub(crate) fn path(value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    value.py().import("os")?.getattr("fsdecode")?.call1((value,))?.extract()
}

/// How many threads a method is to use.
pub(crate) fn threads(py: Python<'_>, threads: i64) -> PyResult<usize> {
    usize::try_from(threads)
        .map_err(|_| invalid(py, format!("threads={threads}: a number of threads is not negative")))
}

fn invalid(py: Python<'_>, why: String) -> PyErr {
    raise(py, Error::new(ErrorKind::InvalidOptions { why }))
}

fn parsed<T: std::str::FromStr<Err = Error>>(value: &Bound<'_, PyAny>) -> PyResult<T> {
    let text: &str = &value.extract::<String>()?;
    text.parse().map_err(|error| raise(value.py(), error))
}

fn precision(value: &Bound<'_, PyAny>) -> PyResult<Precision> {
    let name: String = match value.cast::<PyString>() {
        Ok(name) => name.to_str()?.to_owned(),
        // numpy.float64, or a dtype of numpy.
        Err(_) => numpy::PyArrayDescr::new(value.py(), value)?.getattr("name")?.extract()?,
    };
    let all = [Precision::F32, Precision::F64, Precision::F16, Precision::BF16, Precision::AsGiven];
    let find =
        all.into_iter().find(|precision| precision.to_string().replace(' ', "_") == name.replace(' ', "_"));
    find.ok_or_else(|| {
        let names = all.map(|precision| precision.to_string().replace(' ', "_"));
        invalid(value.py(), format!("no precision is called {name:?}; there are {}", names.join(", ")))
    })
}

fn units(value: &Bound<'_, PyAny>) -> PyResult<Units> {
    let py = value.py();
    if let Ok(name) = value.cast::<PyString>() {
        return match name.to_str()? {
            "gromacs" => Ok(Units::gromacs()),
            "ase" => Ok(Units::ase()),
            name => Err(invalid(py, format!("no units are called {name:?}; there are gromacs, ase"))),
        };
    }
    let mut units = Units::gromacs();
    for (name, unit) in value.cast::<PyDict>()? {
        let (name, unit): (String, String) = (name.extract()?, unit.extract()?);
        let unit = unit.into();
        match name.as_str() {
            "length" => units.length = unit,
            "time" => units.time = unit,
            "energy" => units.energy = unit,
            "mass" => units.mass = unit,
            "charge" => units.charge = unit,
            "pressure" => units.pressure = unit,
            _ => return Err(invalid(py, format!("there is no unit of {name:?}"))),
        }
    }
    Ok(units)
}

fn commit_every(value: &Bound<'_, PyAny>) -> PyResult<CommitEvery> {
    if let Ok(records) = value.extract::<u64>() {
        return Ok(CommitEvery::records(records));
    }
    if let Ok(name) = value.cast::<PyString>() {
        return match name.to_str()? {
            "never" => Ok(CommitEvery::never()),
            _ => Err(PyValueError::new_err("a number of records, a dict, or \"never\"")),
        };
    }
    let mut every = CommitEvery::default();
    let Ok(limits) = value.cast::<PyDict>() else {
        return Err(PyValueError::new_err("a number of records, a dict, or \"never\""));
    };
    for (name, limit) in limits {
        every = match name.extract::<String>()?.as_str() {
            "records" => every.with_records(limit.extract::<Option<u64>>()?),
            "bytes" => every.with_bytes(limit.extract::<Option<u64>>()?),
            "seconds" => every.with_interval(
                limit
                    .extract::<Option<f64>>()?
                    .map(seconds)
                    .transpose()
                    .map_err(|why| invalid(value.py(), why))?,
            ),
            name => return Err(invalid(value.py(), format!("commit_every has no {name:?}"))),
        };
    }
    Ok(every)
}

fn seconds(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{seconds} seconds: {error}"))
}

/// `"zstd"`, or a compressor and a level: `("zstd", 9)`.
fn compression(value: &Bound<'_, PyAny>) -> PyResult<Compression> {
    if let Ok(pair) = value.cast::<PyTuple>() {
        let (codec, level): (Bound<'_, PyAny>, u8) = pair.extract()?;
        return Ok(compression(&codec)?.with_level(level));
    }
    let codec = parsed(value)?;
    Ok(match codec {
        vldepot::CompressionCodec::None => Compression::none(),
        vldepot::CompressionCodec::Lz4 => Compression::lz4(),
        vldepot::CompressionCodec::Zstd => Compression::zstd(1),
        codec => Compression::default().with_codec(codec),
    })
}

impl Options {
    /// Reads options by name. An option that is `None` was not given.
    pub(crate) fn new(given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut options = Self::default();
        // The preset comes first, whatever the order: the other options change it.
        if let Some(preset) = given.get_item("preset")?.filter(|preset| !preset.is_none()) {
            options.layout = parsed(&preset)?;
        }
        for (name, value) in given {
            if !value.is_none() {
                let name = name.cast::<PyString>()?.to_str()?;
                options.set(name, &value).map_err(|error| in_option(name, &value, error))?;
            }
        }
        // These three refine the compressor, whatever the order.
        for name in ["level", "filter", "typesize"] {
            let Some(value) = given.get_item(name)?.filter(|value| !value.is_none()) else { continue };
            let compression = options.layout.compression;
            let refined = || -> PyResult<Compression> {
                Ok(match name {
                    "level" => compression.with_level(value.extract()?),
                    "filter" => compression.with_filter(parsed(&value)?),
                    _ => compression.with_typesize(value.extract::<u8>()?),
                })
            };
            options.layout.compression = refined().map_err(|error| in_option(name, &value, error))?;
        }
        Ok(options)
    }

    /// Refuses options for frames where the depot is not one of frames.
    pub(crate) fn check(&self, is_of_frames: bool) -> vldepot::Result<()> {
        match &self.for_frames {
            Some(option) if !is_of_frames => {
                let why = format!("the option {option} is for frames, and the depot is not one of frames");
                Err(Error::new(ErrorKind::InvalidOptions { why }))
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Self { layout, write, open, frames, for_frames } = self;
        match name {
            "preset" | "level" | "filter" | "typesize" => {}
            "compression" => layout.compression = compression(value)?,
            "chunk_size" => layout.chunk_size = value.extract()?,
            "block_size" => layout.block_size = Some(value.extract()?),
            "placement" => layout.placement = parsed(value)?,
            "vlstore_compatible" => layout.vlstore_compatible = value.extract()?,
            "name_filters" => layout.name_filters = value.extract()?,
            "name_order" => layout.name_order = value.extract()?,
            "columns" => layout.columns = columns(value)?,
            "fields_apart" => layout.fields_apart = value.extract()?,
            "statistics" => layout.statistics = value.extract()?,
            "commit_every" => write.commit_every = commit_every(value)?,
            "threads" => write.threads = Some(value.extract()?),
            "mapping" => open.mapping = parsed(value)?,
            "verify" => open.verify = parsed(value)?,
            "cache_bytes" => open.cache_bytes = value.extract()?,
            "accept_loss" => open.accept_loss = value.extract()?,
            "precision" => frames.precision = Some(precision(value)?),
            "units" => frames.units = Some(units(value)?),
            "n_atoms" => frames.n_atoms = Some(value.extract()?),
            _ => return Err(PyTypeError::new_err("a depot has no such option")),
        }
        if ["precision", "units", "n_atoms"].contains(&name) {
            *for_frames = Some(name.to_owned());
        }
        Ok(())
    }
}

//! Errors of the library as exceptions of `vldepot.errors`, one class for each kind.
//!
//! This module names the class and gives it the facts. What the classes are is written in Python.

use std::error::Error as _;
use std::io;

use pyo3::exceptions::{PyException, PyOSError, PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use vldepot::{BloscError, CodecError, Error, ErrorKind, Part};

use crate::key;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library refused.
    Library(Error),
    /// The depot is closed.
    Closed,
    /// Python code that was called raised.
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Library(error) => Python::attach(|py| raise(py, error)),
            Failure::Closed => Python::attach(|py| made(py, "Closed", "the depot is closed", None)),
            Failure::Python(error) => error,
        }
    }
}

/// The exception for an error of the library.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    exception(py, &error).unwrap_or_else(|failed| failed)
}

/// The exception for a value that no codec takes, before it is put under a name.
pub(crate) fn codec_error(py: Python<'_>, source: CodecError) -> PyErr {
    let facts = PyDict::new(py);
    match codec_facts(&source, &facts) {
        Ok(()) => made(py, "Codec", &source.to_string(), Some(&facts)),
        Err(failed) => failed,
    }
}

/// An exception of the class for `kind`, as an object for a report.
pub(crate) fn object<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    Ok(exception(py, error)?.into_value(py).into_bound(py).into_any())
}

fn class<'py>(py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyType>> {
    static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let classes = CLASSES.get_or_try_init(py, || {
        let classes = py.import("vldepot.errors")?.getattr("_CLASSES")?.cast_into::<PyDict>()?;
        PyResult::Ok(classes.unbind())
    })?;
    match classes.bind(py).get_item(kind)? {
        Some(class) => Ok(class.cast_into()?),
        None => Err(PyRuntimeError::new_err(format!("vldepot.errors has no class for {kind}"))),
    }
}

fn made(py: Python<'_>, kind: &str, message: &str, facts: Option<&Bound<'_, PyDict>>) -> PyErr {
    let exception = || class(py, kind)?.call((message,), facts);
    exception().map_or_else(|failed| failed, PyErr::from_value)
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let facts = PyDict::new(py);
    let kind = kind(error.kind(), &facts)?;
    facts.set_item(intern!(py, "path"), error.path().map(std::path::Path::as_os_str))?;
    facts.set_item(intern!(py, "record"), error.record())?;
    facts.set_item(intern!(py, "is_damage"), error.is_damage())?;
    facts.set_item(intern!(py, "is_not_found"), error.is_not_found())?;
    facts.set_item(intern!(py, "is_unsupported"), error.is_unsupported())?;
    facts.set_item(intern!(py, "is_io"), error.is_io())?;
    let Some(source) = error.source() else { return Ok(made(py, kind, &error.to_string(), Some(&facts))) };
    if let Some(os) = os_error(source) {
        facts.set_item(intern!(py, "errno"), os)?;
    }
    if let Some(refused) = source.downcast_ref::<CodecError>() {
        codec_facts(refused, &facts)?;
    }
    let exception = made(py, kind, &format!("{error}: {source}"), Some(&facts));
    exception.set_cause(py, Some(cause(py, source)?));
    Ok(exception)
}

/// The system's number for the error, which may be the cause of a cause.
fn os_error(source: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let own = source.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    own.or_else(|| os_error(source.source()?))
}

/// The exception for what the library says is the cause.
fn cause(py: Python<'_>, source: &(dyn std::error::Error + 'static)) -> PyResult<PyErr> {
    if let Some(error) = source.downcast_ref::<Error>() {
        return exception(py, error);
    }
    if let Some(error) = source.downcast_ref::<io::Error>() {
        return Ok(match error.raw_os_error() {
            Some(number) => PyOSError::new_err((number, error.to_string())),
            None => PyOSError::new_err(error.to_string()),
        });
    }
    if source.is::<CodecError>() {
        return Ok(PyValueError::new_err(source.to_string()));
    }
    Ok(match source.downcast_ref::<BloscError>() {
        Some(error) => PyRuntimeError::new_err(error.to_string()),
        None => PyException::new_err(source.to_string()),
    })
}

fn codec_facts(error: &CodecError, facts: &Bound<'_, PyDict>) -> PyResult<()> {
    let shape = |shape: &vldepot::codec::Shape| PyTuple::new(facts.py(), &shape.0);
    match error {
        CodecError::Shape { field, expected, found } => {
            facts.set_item("field", field)?;
            facts.set_item("expected", shape(expected)?)?;
            facts.set_item("found", shape(found)?)
        }
        CodecError::Dtype { field, expected, found } => {
            facts.set_item("field", field)?;
            facts.set_item("expected", expected)?;
            facts.set_item("found", found)
        }
        CodecError::Length { what, expected, found } => {
            facts.set_item("field", what)?;
            facts.set_item("expected", expected)?;
            facts.set_item("found", found)
        }
        CodecError::Range { field, index, found, least, most } => {
            facts.set_item("field", field)?;
            facts.set_item("index", shape(index)?)?;
            facts.set_item("found", found)?;
            facts.set_item("expected", (least, most))
        }
        CodecError::Parameter { parameter, stored, given } => {
            facts.set_item("field", parameter)?;
            facts.set_item("expected", stored)?;
            facts.set_item("found", given)
        }
        _ => Ok(()),
    }
}

/// Sets each named field of a kind as a fact, and gives the name of the kind.
macro_rules! facts {
    ($facts:ident, $kind:literal $(, $fact:ident)*) => {{
        $($facts.set_item(intern!($facts.py(), stringify!($fact)), $fact)?;)*
        $kind
    }};
}

fn part_facts(part: &Part, facts: &Bound<'_, PyDict>) -> PyResult<()> {
    facts.set_item("part", part.to_string())?;
    match part {
        Part::Chunk(chunk) | Part::BlockTable(chunk) | Part::Record { chunk } => {
            facts.set_item("chunk", chunk)
        }
        Part::Block { chunk, block } => {
            facts.set_item("chunk", chunk)?;
            facts.set_item("block", block)
        }
        _ => Ok(()),
    }
}

fn kind(kind: &ErrorKind, facts: &Bound<'_, PyDict>) -> PyResult<&'static str> {
    use ErrorKind as Kind;
    Ok(match kind {
        Kind::NotFound => "NotFound",
        Kind::LostCommit { commit, offset } => facts!(facts, "LostCommit", commit, offset),
        Kind::Incomplete { commit, offset, records } => facts!(facts, "Incomplete", commit, offset, records),
        Kind::LostEarlier { how } => facts!(facts, "LostEarlier", how),
        Kind::Exists => "Exists",
        Kind::OutOfRange { position, len } => facts!(facts, "OutOfRange", position, len),
        Kind::OutsideRecord { end, len } => facts!(facts, "OutsideRecord", end, len),
        Kind::PathExists => "PathExists",
        Kind::SameFile { source_path } => {
            let source_path = source_path.as_os_str();
            facts!(facts, "SameFile", source_path)
        }
        Kind::NotAFile { found } => facts!(facts, "NotAFile", found),
        Kind::TargetChanged { found } => facts!(facts, "TargetChanged", found),
        Kind::Replaced => "Replaced",
        Kind::StillOpen => "StillOpen",
        Kind::NoRoom { needed, free } => facts!(facts, "NoRoom", needed, free),
        Kind::WrongCodec { stored, given } => facts!(facts, "WrongCodec", stored, given),
        Kind::CodecParameters { codec } => facts!(facts, "CodecParameters", codec),
        Kind::NotADepot { found } => facts!(facts, "NotADepot", found),
        Kind::NewerFormat { found, supported } => facts!(facts, "NewerFormat", found, supported),
        Kind::NewerFeature { what, name, offset, readable } => {
            facts!(facts, "NewerFeature", what, name, offset, readable)
        }
        Kind::Unsupported { what, name, offset } => facts!(facts, "Unsupported", what, name, offset),
        Kind::Locked => "Locked",
        Kind::Forked { owner } => facts!(facts, "Forked", owner),
        Kind::ReadOnly => "ReadOnly",
        Kind::Poisoned { cause } => {
            facts.set_item("why", cause)?;
            "Poisoned"
        }
        Kind::NotStored => "NotStored",
        Kind::NotCommitted { waiting, newest, again } => {
            facts!(facts, "NotCommitted", waiting, newest, again)
        }
        Kind::InvalidOptions { why } => facts!(facts, "InvalidOptions", why),
        Kind::InvalidPath { why } => facts!(facts, "InvalidPath", why),
        Kind::IsAFolder => "IsAFolder",
        Kind::NotAFolder => "NotAFolder",
        Kind::NotEmpty { records } => facts!(facts, "NotEmpty", records),
        Kind::InvalidRecord { why } => facts!(facts, "InvalidRecord", why),
        Kind::Io { action } => facts!(facts, "Io", action),
        Kind::Metadata { why } => facts!(facts, "Metadata", why),
        Kind::Codec { codec } => facts!(facts, "Codec", codec),
        Kind::Compress { chunk } => facts!(facts, "Compress", chunk),
        Kind::Checksum { part, offset, expected, found } => {
            part_facts(part, facts)?;
            facts!(facts, "Checksum", offset, expected, found)
        }
        Kind::Decompress { chunk, offset } => facts!(facts, "Decompress", chunk, offset),
        Kind::Damaged { part, offset, expected, found } => {
            part_facts(part, facts)?;
            facts!(facts, "Damaged", offset, expected, found)
        }
        Kind::NotCompacted => "NotCompacted",
        Kind::RemovesAll { records, what } => facts!(facts, "RemovesAll", records, what),
        Kind::Gap { step, expected, found } => facts!(facts, "Gap", step, expected, found),
        Kind::NotUndone { why } => facts!(facts, "NotUndone", why),
        Kind::OtherLoader { what, state, given } => facts!(facts, "OtherLoader", what, state, given),
        Kind::Panicked { what, message } => facts!(facts, "Panicked", what, message),
        // A kind that this module does not know is a mistake that `tests/test_errors.py` finds.
        _ => "Unknown",
    })
}

/// Raises an exception of every kind, so that a test sees what each looks like: the kinds' names, and whether
/// the exception is an instance of its class.
#[pyfunction]
#[pyo3(name = "_examples_of_errors")]
pub(crate) fn examples(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    use ErrorKind as Kind;
    let text = || "text".to_owned();
    let part = || Part::Block { chunk: 3, block: 4 };
    let io = io::Error::from_raw_os_error(28);
    let kinds = [
        Kind::NotFound,
        Kind::LostCommit { commit: 1, offset: 2 },
        Kind::Incomplete { commit: 1, offset: 2, records: 3 },
        Kind::LostEarlier { how: text() },
        Kind::Exists,
        Kind::OutOfRange { position: 1, len: 1 },
        Kind::OutsideRecord { end: 2, len: 1 },
        Kind::PathExists,
        Kind::SameFile { source_path: "a".into() },
        Kind::NotAFile { found: "a folder" },
        Kind::TargetChanged { found: text() },
        Kind::Replaced,
        Kind::StillOpen,
        Kind::NoRoom { needed: 2, free: 1 },
        Kind::WrongCodec { stored: text(), given: text() },
        Kind::CodecParameters { codec: text() },
        Kind::NotADepot { found: text() },
        Kind::NewerFormat { found: 2, supported: 1 },
        Kind::NewerFeature { what: "entry", name: text(), offset: 1, readable: true },
        Kind::Unsupported { what: "filter", name: text(), offset: 1 },
        Kind::Locked,
        Kind::Forked { owner: 1 },
        Kind::ReadOnly,
        Kind::Poisoned { cause: text() },
        Kind::NotStored,
        Kind::NotCommitted { waiting: 1, newest: Some(text()), again: true },
        Kind::InvalidOptions { why: text() },
        Kind::InvalidPath { why: text() },
        Kind::IsAFolder,
        Kind::NotAFolder,
        Kind::NotEmpty { records: 1 },
        Kind::InvalidRecord { why: text() },
        Kind::Metadata { why: text() },
        Kind::Codec { codec: "atomic_frame" },
        Kind::Compress { chunk: 1 },
        Kind::Checksum { part: part(), offset: 1, expected: 2, found: 3 },
        Kind::Decompress { chunk: 1, offset: 2 },
        Kind::Damaged { part: part(), offset: 1, expected: text(), found: text() },
        Kind::NotCompacted,
        Kind::RemovesAll { records: 1, what: "records" },
        Kind::Gap { step: 1, expected: 2, found: Some(3) },
        Kind::NotUndone { why: text() },
        Kind::OtherLoader { what: "order", state: text(), given: text() },
        Kind::Panicked { what: text(), message: text() },
    ];
    let with_facts = |kind| Error::new(kind).at("run.vld").of("\"a\"");
    let mut errors: Vec<_> = kinds.into_iter().map(with_facts).collect();
    errors.push(with_facts(Kind::Io { action: text() }).because(io));
    errors.iter().map(|error| object(py, error)).collect()
}

/// The name of a record in a report.
pub(crate) fn lost<'py>(
    py: Python<'py>,
    records: &[vldepot::maintain::LostRecord],
) -> PyResult<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    records.iter().map(|lost| Ok((key::to_python(py, &lost.name)?, object(py, &lost.error)?))).collect()
}

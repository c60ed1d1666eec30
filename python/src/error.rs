//! Errors of the library as exceptions of `vldepot.errors`, one class for each kind.
//!
//! This module names the class and gives it the facts. What the classes are is written in Python.

use std::error::Error as _;
use std::io;

use pyo3::exceptions::{PyException, PyOSError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use vldepot::{BloscError, CodecError, Error, ErrorKind, Key, Part};

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

/// The exception for an error of an archive: one of names is one of paths too.
pub(crate) fn of_archive(py: Python<'_>, error: PyErr) -> PyErr {
    let renamed = || -> PyResult<Option<PyErr>> {
        let value = error.value(py);
        for (kind, of_paths) in [("NotFound", "NoSuchPath"), ("Exists", "PathTaken")] {
            if value.get_type().is(class(py, kind)?) {
                let facts = value.getattr(intern!(py, "_facts"))?.cast_into::<PyDict>()?;
                let message: String = value.getattr(intern!(py, "_message"))?.extract()?;
                return Ok(Some(made(py, of_paths, &message, Some(&facts))));
            }
        }
        Ok(None)
    };
    renamed().ok().flatten().unwrap_or(error)
}

/// The exception for a value that no codec takes, before it is put under a name.
pub(crate) fn codec_error(py: Python<'_>, source: CodecError) -> PyErr {
    let facts = PyDict::new(py);
    match codec_facts(&source, &facts) {
        Ok(()) => made(py, "Codec", &source.to_string(), Some(&facts)),
        Err(failed) => failed,
    }
}

/// The exception for a field that is `found` to be something else than `expected`.
pub(crate) fn refused_field(py: Python<'_>, field: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let found = short(found);
    let facts = PyDict::new(py);
    let set = || -> PyResult<()> {
        facts.set_item(intern!(py, "field"), field)?;
        facts.set_item(intern!(py, "expected"), expected)?;
        facts.set_item(intern!(py, "found"), &found)
    };
    let message = format!("field `{field}`: expected {expected}, found {found}");
    set().map_or_else(|failed| failed, |()| made(py, "Codec", &message, Some(&facts)))
}

/// An error of reading `field`, with its name. An array that numpy cannot make is refused by the codec.
pub(crate) fn in_field(py: Python<'_>, field: &str, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyTypeError>(py) {
        return PyTypeError::new_err(format!("field `{field}`: {}", error.value(py)));
    }
    let refused = error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyOverflowError>(py);
    if !refused || is_ours(py, &error) {
        return error;
    }
    let facts = PyDict::new(py);
    match facts.set_item(intern!(py, "field"), field) {
        Ok(()) => made(py, "Codec", &format!("field `{field}`: {}", error.value(py)), Some(&facts)),
        Err(failed) => failed,
    }
}

/// An error of reading an option: it names the option and what was given.
pub(crate) fn in_option(name: &str, value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = value.py();
    if is_ours(py, &error) {
        return error;
    }
    if error.is_instance_of::<PyTypeError>(py) {
        return PyTypeError::new_err(format!("{name}={}: {}", short(value), error.value(py)));
    }
    if error.is_instance_of::<PyOverflowError>(py) {
        let why = format!("{name}={}: the number is too small or too large", short(value));
        return raise(py, Error::new(ErrorKind::InvalidOptions { why }));
    }
    if error.is_instance_of::<PyValueError>(py) {
        let why = format!("{name}={}: {}", short(value), error.value(py));
        return raise(py, Error::new(ErrorKind::InvalidOptions { why }));
    }
    error
}

/// Whether it is an exception of `vldepot.errors`.
fn is_ours(py: Python<'_>, error: &PyErr) -> bool {
    error.value(py).hasattr(intern!(py, "_facts")).unwrap_or(false)
}

/// The object as messages show it, cut where it is long.
pub(crate) fn short(object: &Bound<'_, PyAny>) -> String {
    const SHOWN: usize = 60;
    let shown = object.repr().map_or_else(|_| "?".to_owned(), |shown| shown.to_string_lossy().into_owned());
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    match shown.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &shown[..end]),
        None => shown,
    }
}

/// A refusal of a value that is put, with the depot's path, the record's name and the codec.
pub(crate) fn placed(py: Python<'_>, error: PyErr, path: &std::path::Path, key: &Key, codec: &str) -> PyErr {
    let place = || -> PyResult<Option<PyErr>> {
        let value = error.value(py);
        if !value.is_instance(class(py, "Codec")?.as_any())? || !value.getattr("path")?.is_none() {
            return Ok(None);
        }
        let facts = value.getattr("_facts")?.cast_into::<PyDict>()?.copy()?;
        let why: String = value.getattr("_message")?.extract()?;
        let record = key::shown(key);
        let codec = user_name(codec);
        facts.set_item(intern!(py, "path"), path.as_os_str())?;
        facts.set_item(intern!(py, "record"), &record)?;
        facts.set_item(intern!(py, "codec"), codec)?;
        let message = format!("{}: record {record} is not what codec `{codec}` holds: {why}", path.display());
        let placed = made(py, "Codec", &message, Some(&facts));
        placed.set_cause(py, Some(PyValueError::new_err(why)));
        Ok(Some(placed))
    };
    match place() {
        Ok(Some(placed)) => placed,
        _ => error,
    }
}

/// Why frames cannot be read as flat arrays.
pub(crate) fn not_flat(py: Python<'_>, failure: Failure) -> PyErr {
    let Failure::Library(error) = &failure else { return failure.into() };
    let source = error.source().and_then(|source| source.downcast_ref::<CodecError>());
    let Some(CodecError::Dtype { field, expected, found }) = source else { return failure.into() };
    let record = error.record().map_or_else(|| "a frame".to_owned(), |record| format!("record {record}"));
    let path = error.path().map_or_else(String::new, |path| format!("{}: ", path.display()));
    let message = format!("{path}{record} has its {field} in {found}, and flat batches are {expected}");
    let explained = || -> PyResult<PyErr> {
        let plain = exception(py, error)?;
        let facts = plain.value(py).getattr("_facts")?.cast_into::<PyDict>()?;
        let explained = made(py, "Codec", &message, Some(&facts));
        explained.set_cause(py, plain.cause(py));
        Ok(explained)
    };
    explained().unwrap_or_else(|failed| failed)
}

/// The exception for a position that has no record.
pub(crate) fn out_of_range(position: &Bound<'_, PyAny>, len: u64) -> PyErr {
    let py = position.py();
    let facts = PyDict::new(py);
    let set = || -> PyResult<String> {
        let position = position.call_method0(intern!(py, "__index__"))?;
        facts.set_item(intern!(py, "position"), &position)?;
        facts.set_item(intern!(py, "len"), len)?;
        facts.set_item(intern!(py, "is_not_found"), true)?;
        Ok(format!("no record at position {}: the depot has {len}", short(&position)))
    };
    set().map_or_else(|failed| failed, |message| made(py, "OutOfRange", &message, Some(&facts)))
}

/// A codec of the library as users of this package name it. Other ids are their own names. A version may
/// follow.
pub(crate) fn user_name(id: &str) -> &str {
    let versioned = id.rsplit_once(' ').filter(|(_, version)| version.parse::<u32>().is_ok());
    match versioned.map_or(id, |(id, _)| id) {
        "raw" => "bytes",
        "ndarray" => "array",
        "serde.msgpack" => "msgpack",
        "serde.json" => "json",
        "atomic_frame" => "atomic_frame",
        _ => id,
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
    if let ErrorKind::WrongCodec { stored, given } = error.kind()
        && (user_name(stored), user_name(given)) != (stored, given)
    {
        let (stored, given) = (user_name(stored).to_owned(), user_name(given).to_owned());
        let mut renamed = Error::new(ErrorKind::WrongCodec { stored, given });
        if let Some(path) = error.path() {
            renamed = renamed.at(path);
        }
        return exception(py, &renamed);
    }
    let facts = PyDict::new(py);
    let kind = kind(error.kind(), &facts)?;
    facts.set_item(intern!(py, "path"), error.path().map(std::path::Path::as_os_str))?;
    facts.set_item(intern!(py, "record"), error.record())?;
    facts.set_item(intern!(py, "is_damage"), error.is_damage())?;
    facts.set_item(intern!(py, "is_not_found"), error.is_not_found())?;
    facts.set_item(intern!(py, "is_unsupported"), error.is_unsupported())?;
    facts.set_item(intern!(py, "is_io"), error.is_io())?;
    let mut said = error.to_string();
    if let ErrorKind::Codec { codec: id } = error.kind() {
        said = said.replace(&format!("codec `{id}`"), &format!("codec `{}`", user_name(id)));
    } else if let ErrorKind::CodecParameters { codec: id } = error.kind() {
        said = said.replace(&format!("codec `{id}`"), &format!("codec `{}`", user_name(id)));
    }
    let Some(source) = error.source() else { return Ok(made(py, kind, &said, Some(&facts))) };
    if let Some(os) = os_error(source) {
        facts.set_item(intern!(py, "errno"), os)?;
    }
    if let Some(refused) = source.downcast_ref::<CodecError>() {
        codec_facts(refused, &facts)?;
    }
    let message = match (source.downcast_ref::<CodecError>(), error.path(), error.record()) {
        // What was asked for is not there: the record is as it should be.
        (Some(CodecError::Absent { field }), Some(path), Some(record)) => {
            format!("{}: record {record} has no {field}", path.display())
        }
        (Some(CodecError::Absent { field }), ..) => format!("a frame has no {field}"),
        _ => format!("{said}: {source}"),
    };
    let exception = made(py, kind, &message, Some(&facts));
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
        CodecError::Absent { field } => facts.set_item("field", field),
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
        Kind::MissingShard { shard, records, why } => facts!(facts, "MissingShard", shard, records, why),
        Kind::LostEarlier { how } => facts!(facts, "LostEarlier", how),
        Kind::Exists => "Exists",
        Kind::OutOfRange { position, len } => facts!(facts, "OutOfRange", position, len),
        Kind::OutsideRecord { end, len } => facts!(facts, "OutsideRecord", end, len),
        Kind::TooLong { len, most } => facts!(facts, "TooLong", len, most),
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
        Kind::CodecParameters { codec } => {
            let codec = user_name(codec);
            facts!(facts, "CodecParameters", codec)
        }
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
        Kind::InvalidQuery { query, column, why } => facts!(facts, "InvalidQuery", query, column, why),
        Kind::InvalidPath { why } => facts!(facts, "InvalidPath", why),
        Kind::IsAFolder => "IsAFolder",
        Kind::NotAFolder => "NotAFolder",
        Kind::NotEmpty { records } => facts!(facts, "NotEmpty", records),
        Kind::InvalidRecord { why } => facts!(facts, "InvalidRecord", why),
        Kind::Io { action } => facts!(facts, "Io", action),
        Kind::Metadata { why } => facts!(facts, "Metadata", why),
        Kind::Codec { codec } => {
            let codec = user_name(codec);
            facts!(facts, "Codec", codec)
        }
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
        Kind::MissingShard { shard: String::new(), records: 3, why: String::new() },
        Kind::LostEarlier { how: text() },
        Kind::Exists,
        Kind::OutOfRange { position: 1, len: 1 },
        Kind::OutsideRecord { end: 2, len: 1 },
        Kind::TooLong { len: 2, most: 1 },
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
        Kind::InvalidQuery { query: text(), column: 1, why: text() },
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

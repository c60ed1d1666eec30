//! Checking, repairing and compacting files, with progress that may end them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec};
use vldepot::maintain::{self, CompactOptions, Progress, RepairOptions, VerifyOptions};
use vldepot::{Codec, Depot, OpenOptions, Raw};

use crate::error::{self, Failure};
use crate::options;
use crate::report::{self, report};

/// What unwinds through the library when progress ends the work.
struct Ended(Failure);

/// Ends the work that [`catching`] runs, by unwinding through it.
pub(crate) fn end(why: Failure) -> ! {
    resume_unwind(Box::new(Ended(why)))
}

/// Runs `work`, which [`end`] may end.
pub(crate) fn catching<T>(work: impl FnOnce() -> vldepot::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Failure::from),
        Err(payload) => match payload.downcast::<Ended>() {
            Ok(ended) => Err(ended.0),
            Err(payload) => resume_unwind(payload),
        },
    }
}

/// Runs `work` without the GIL, and gives it a function that tells how far it is.
///
/// If that function raises, or a signal handler does (`KeyboardInterrupt`), the work ends. The library cannot
/// be told to stop, so the stack is unwound through it: what it has made by then is dropped, as after a
/// panic.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> vldepot::Result<T> + Send,
) -> PyResult<T> {
    let progress = progress.filter(|progress| !progress.is_none()).map(|progress| progress.clone().unbind());
    let done = py.detach(move || {
        let mut tell = |now: Progress| {
            let told = Python::attach(|py| {
                py.check_signals()?;
                match &progress {
                    Some(progress) => progress.call1(py, (now.done, now.total)).map(|_| ()),
                    None => Ok(()),
                }
            });
            if let Err(error) = told {
                end(Failure::Python(error));
            }
        };
        catching(|| work(&mut tell))
    });
    Ok(done?)
}

/// The name of the depot's codec, which may say more of records than their bytes. Empty for one that does not
/// open.
fn codec_of(path: &Path) -> String {
    let options = OpenOptions::default().with_accept_loss(true);
    let depot = Depot::builder(Raw).open_options(options).open(path);
    depot.map(|depot| depot.stored_codec().id).unwrap_or_default()
}

#[pyfunction]
#[pyo3(name = "_verify")]
pub(crate) fn verify<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = options::path)] path: PathBuf,
    quick: bool,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = VerifyOptions::default().with_quick(quick);
    let found = interruptible(py, progress, |tell| {
        if codec_of(&path) == AtomicFrameCodec::ID {
            maintain::verify_as(&path, AtomicFrameCodec::any(), &options, tell)
        } else {
            maintain::verify(&path, &options, tell)
        }
    })?;
    let problems =
        found.problems.iter().map(|error| error::object(py, error)).collect::<PyResult<Vec<_>>>()?;
    report!(py, "VerifyReport", {
        path: found.path.as_os_str(),
        quick: found.quick,
        format: found.format,
        file_bytes: found.file_bytes,
        entries: found.entries,
        chunks: found.chunks,
        index_segments: found.index_segments,
        commits: found.commits,
        unknown_entries: found.unknown_entries,
        records: found.records,
        records_read: found.records_read,
        bytes_read: found.bytes_read,
        uncommitted_records: found.uncommitted_records,
        torn_bytes: found.torn_bytes,
        standard_frame: found.standard_frame,
        losses: found.losses.clone(),
        damaged_records: error::lost(py, &found.damaged_records)?,
        problems: problems,
    })
}

#[pyfunction]
#[pyo3(name = "_repair")]
pub(crate) fn repair<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = options::path)] source: PathBuf,
    #[pyo3(from_py_with = options::path)] target: PathBuf,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = RepairOptions::default();
    let found = interruptible(py, progress, |tell| maintain::repair(&source, &target, &options, tell))?;
    let problems =
        found.problems.iter().map(|error| error::object(py, error)).collect::<PyResult<Vec<_>>>()?;
    report!(py, "RepairReport", {
        records: found.records,
        lost: error::lost(py, &found.lost)?,
        problems: problems,
    })
}

#[pyfunction]
#[pyo3(name = "_compact")]
pub(crate) fn compact<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = options::path)] path: PathBuf,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = CompactOptions::default();
    let found = interruptible(py, progress, |tell| match codec_of(&path).as_str() {
        AtomicFrameCodec::ID => maintain::compact_as(&path, AtomicFrameCodec::any(), &options, tell),
        AnyNdArray::ID => maintain::compact_as(&path, AnyNdArray, &options, tell),
        _ => maintain::compact_with(&path, &options, tell),
    })?;
    report!(py, "CompactReport", {
        records: found.records,
        bytes_before: found.bytes_before,
        bytes_after: found.bytes_after,
        other_names: found.other_names,
    })
}

#[pyfunction]
#[pyo3(name = "_plan_compact")]
pub(crate) fn plan_compact(
    py: Python<'_>,
    #[pyo3(from_py_with = options::path)] path: PathBuf,
) -> PyResult<Bound<'_, PyAny>> {
    let removal = py.detach(|| maintain::plan_compact(&path)).map_err(Failure::from)?;
    report::removal(py, &removal)
}

//! How far a job on the disk is, and what it could not do.

use std::io;
use std::path::PathBuf;

/// How many threads read or write files, unless told otherwise.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// How far a long job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Files, folders and links done.
    pub entries: u64,
    /// Bytes of files done.
    pub bytes: u64,
}

/// What could not be added or extracted, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The path on the disk.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// Failures that are kept. Further ones are counted.
const KEPT: usize = 1000;

/// Failures, the first of them kept.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) kept: Vec<Failure>,
    pub(super) n: u64,
}

impl Failures {
    pub(super) fn push(&mut self, path: impl Into<PathBuf>, error: io::Error) {
        self.n += 1;
        if self.kept.len() < KEPT {
            self.kept.push(Failure { path: path.into(), error });
        }
    }
}

//! How far a job on the disk is, and what it could not do.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// The path on the disk, or in the other archive.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// What was added or extracted.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Transfer {
    /// Files.
    pub files: u64,
    /// Folders that have records of their own.
    pub folders: u64,
    /// Links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What could not be added or extracted, up to 1,000 of them.
    pub failures: Vec<Failure>,
    /// How many could not be.
    pub failed: u64,
}

/// Failures that are kept. Further ones are counted.
const KEPT: usize = 1000;

impl Transfer {
    /// The sum of two.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.files += other.files;
        self.folders += other.folders;
        self.links += other.links;
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(KEPT);
        self
    }

    pub(in crate::archive) fn progress(&self) -> Progress {
        Progress { entries: self.files + self.folders + self.links, bytes: self.bytes }
    }

    pub(in crate::archive) fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push(failure);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The folders of an archive that have records of their own.
//!
//! The index counts records in a range of names, and folders are among them. So the names of the folders are
//! noted: by listing all names once, when a count is first asked for, and from then on with each folder that
//! is made, moved or removed.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::path::ArchivePath;

/// Names of the folders' records, if they were listed.
#[derive(Debug, Default)]
pub(super) struct Folders(Mutex<Option<BTreeSet<Vec<u8>>>>);

/// The range of names that start with `prefix`, which is empty or ends with `/`.
pub(super) fn below(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end = prefix.split_last().map(|(_, front)| [front, b"0"].concat());
    (Bound::Included(prefix.to_vec()), end.map_or(Bound::Unbounded, Bound::Excluded))
}

impl Folders {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, folder: &ArchivePath) {
        if let Some(names) = self.lock().as_mut() {
            names.insert(folder.folder());
        }
    }

    /// Forgets a folder and those below it, and returns them.
    pub(super) fn take_below(&self, folder: &ArchivePath) -> Vec<Vec<u8>> {
        let mut names = self.lock();
        let Some(names) = names.as_mut() else { return Vec::new() };
        let gone: Vec<_> = names.range(below(&folder.folder())).cloned().collect();
        for name in &gone {
            names.remove(name);
        }
        gone
    }

    /// Moves a folder and those below it.
    pub(super) fn rename(&self, from: &ArchivePath, to: &ArchivePath) {
        let old = self.take_below(from);
        if let Some(names) = self.lock().as_mut() {
            names.extend(old.iter().map(|name| [&to.folder(), &name[from.folder().len()..]].concat()));
        }
    }

    pub(super) fn forget(&self) {
        *self.lock() = None;
    }
}

//! How many files and folders are below a folder.
//!
//! The index counts records in a range of names, and folders are among them. So the names of the folders that
//! have records are noted: by listing all names once, when a count is first asked for, and from then on with
//! each folder that is made, moved or removed.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::folder::Archive;
use super::path::{ArchivePath, bytes_of, key_of};
use crate::{Refreshed, Result, Totals};

/// What is below a folder. See [`Archive::count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Count {
    /// Files and links.
    pub files: u64,
    /// Folders that have records of their own.
    pub folders: u64,
    /// Bytes of the files and links.
    pub bytes: u64,
}

/// Names of the folders' records, if they were listed.
#[derive(Debug, Default)]
pub(super) struct Folders(Mutex<Option<BTreeSet<Vec<u8>>>>);

fn below(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end = prefix.split_last().map(|(_, front)| [front, b"0"].concat());
    (Bound::Included(prefix.to_vec()), end.map_or(Bound::Unbounded, Bound::Excluded))
}

impl Folders {
    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<Vec<u8>>>> {
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

    fn forget(&self) {
        *self.lock() = None;
    }
}

impl Archive {
    /// How many files and folders are below a folder, without the folder itself, and how many bytes they
    /// have. A file counts as one.
    ///
    /// The first call lists all names of the archive. After that it takes a search in the index, and is right
    /// after all that is done through this archive. After changes through [`depot`](Self::depot), call
    /// [`recount`](Self::recount).
    ///
    /// ```
    /// use vldepot::archive::Archive;
    /// let archive = Archive::memory()?;
    /// archive.write("images/cats/1.jpg", b"...")?;
    /// archive.write("images/2.jpg", b"....")?;
    /// let count = archive.count("images")?;
    /// assert_eq!((count.files, count.folders, count.bytes), (2, 1, 7));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), and those of
    /// [`Depot::totals`](crate::Depot::totals).
    pub fn count(&self, path: impl AsRef<[u8]>) -> Result<Count> {
        let path = ArchivePath::new(path)?;
        let mut names = self.folders.lock();
        let Totals { records, raw_bytes } = self.totals(&path)?;
        if !path.is_root() && self.depot().contains(path.key())? {
            return Ok(Count { files: 1, folders: 0, bytes: raw_bytes });
        }
        let names = match &mut *names {
            Some(names) => names,
            none => none.insert(self.folder_names()?),
        };
        let folders = names.range(below(&path.folder())).count() as u64;
        let own = u64::from(names.contains(&path.folder()));
        Ok(Count { files: records.saturating_sub(folders), folders: folders - own, bytes: raw_bytes })
    }

    /// Lists the folders anew for the next [`count`](Self::count).
    pub fn recount(&self) {
        self.folders.forget();
        self.forget_known();
    }

    /// Moves a reader forward to what its writer has committed since. See [`Depot::refresh`].
    ///
    /// # Errors
    /// The errors of [`Depot::refresh`].
    ///
    /// [`Depot::refresh`]: crate::Depot::refresh
    pub fn refresh(&self) -> Result<Refreshed> {
        self.recount();
        let refreshed = self.depot().refresh();
        self.recount();
        refreshed
    }

    fn folder_names(&self) -> Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for key in self.keys_below(&ArchivePath::ROOT)? {
            let key = key?;
            let name = bytes_of(&key);
            // A name that is both a string and bytes is two records, of which only one is a path.
            if name.ends_with(b"/") && key == key_of(name.to_vec()) {
                names.insert(name.to_vec());
            }
        }
        Ok(names)
    }
}

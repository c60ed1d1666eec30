//! How many files and folders are below a folder.

use std::collections::BTreeSet;

use super::folder::Archive;
use super::folders::below;
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

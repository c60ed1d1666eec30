//! A folder of shards that appears when it is complete.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::merge::make_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{FileStorage, Storage, sync_folder};

/// A new folder of shards that is written beside its place, and put there in one step when it is complete.
///
/// If it is dropped before, it is removed. What a killed process left is named `.NAME.vldepot-unfinished`, and the
/// next one that makes the same folder removes it.
///
/// ```
/// use vldepot::shards::{StagedSet, Writer, WriterOptions};
/// use vldepot::{Depot, Raw};
/// # let root = tempfile::tempdir()?;
/// # let folder = root.path().join("set");
/// let staged = StagedSet::create(&folder)?;
/// let writer = Writer::new(staged.path(), Depot::builder(Raw), WriterOptions::default())?;
/// writer.put("a", b"..")?;
/// writer.close()?;
/// assert!(!folder.exists());
/// staged.publish()?;
/// assert_eq!(Depot::open(&folder, Raw)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StagedSet {
    path: PathBuf,
    target: PathBuf,
    is_published: bool,
}

impl StagedSet {
    /// Begins a folder that will be at `target`.
    ///
    /// # Errors
    /// - [`ErrorKind::PathExists`] when something is there.
    /// - [`ErrorKind::Locked`] when another process makes the same folder.
    /// - [`ErrorKind::Io`].
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        let target = target.as_ref();
        if target.symlink_metadata().is_ok() {
            return Err(ErrorKind::PathExists.at(target));
        }
        let name = target.file_name().ok_or_else(|| Error::invalid_options("a target without a name"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".vldepot-unfinished");
        let path = target.with_file_name(hidden);
        if path.is_dir() {
            refuse_if_written(&path)?;
            fs::remove_dir_all(&path).map_err(|source| Error::io(&path, "remove what was left", source))?;
        }
        make_folder(&path)?;
        Ok(Self { path, target: target.to_owned(), is_published: false })
    }

    /// Where it is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the folder in its place.
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`] when something is there by now, and [`ErrorKind::Io`].
    pub fn publish(mut self) -> Result<()> {
        if self.target.symlink_metadata().is_ok() {
            return Err(ErrorKind::PathExists.at(&self.target));
        }
        // A folder that is made there between the two steps is replaced only if it is empty.
        let failed = |action: &str, source| Error::io(&self.target, action, source);
        fs::rename(&self.path, &self.target)
            .map_err(|source| failed("put the folder in its place", source))?;
        self.is_published = true;
        sync_folder(&self.target).map_err(|source| failed("sync the folder's parent", source))
    }
}

impl Drop for StagedSet {
    fn drop(&mut self) {
        if !self.is_published {
            // The error that led here is the one to report.
            _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Refuses a folder in which another process writes a shard.
fn refuse_if_written(folder: &Path) -> Result<()> {
    let failed = |source| Error::io(folder, "list the folder", source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Ok(storage) = FileStorage::open_writable(&path)
            && !storage.try_lock().map_err(|source| Error::io(&path, "lock the file", source))?
        {
            return Err(ErrorKind::Locked.at(path));
        }
    }
    Ok(())
}

//! A folder of shards that appears when it is complete.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::merge::make_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::sync_folder;
use crate::sync::OwnedByProcess;
use crate::{identity, manifest};

/// How the names of unfinished folders end.
const END: &str = ".vldepot-unfinished";

/// Hexadecimal digits before that, which no other folder has.
const DIGITS: usize = 16;

/// A new folder of shards that is written beside its place, and put there in one step when it is complete.
///
/// If it is dropped before, it is removed. What a killed process left is named
/// `.NAME.(16 digits).vldepot-unfinished`, and the next one that makes the same folder removes it. A folder
/// that a live process is writing stays, and so does one that has anything but depots and a manifest.
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
    /// A fork leaves the folder to the process that makes it.
    owner: OwnedByProcess,
    /// Locked, which tells others that the folder is being written. `None` where folders have no locks.
    _lock: Option<File>,
}

impl StagedSet {
    /// Begins a folder that will be at `target`.
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`] when something is there, and [`ErrorKind::Io`].
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        let target = target.as_ref();
        if target.symlink_metadata().is_ok() {
            return Err(ErrorKind::PathExists.at(target));
        }
        let name = target.file_name().ok_or_else(|| Error::invalid_options("a target without a name"))?;
        let mut start = OsString::from(".");
        start.push(name);
        start.push(".");
        if let Some(parent) = target.parent() {
            make_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        remove_leftovers(target, &start);
        let mut hidden = start;
        hidden.push(format!("{:016x}{END}", identity::depot_id()));
        let path = target.with_file_name(hidden);
        fs::create_dir(&path).map_err(|source| Error::io(&path, "make the folder", source))?;
        // Until here, another process may take it for a leftover. Then it is gone, and writing to it fails.
        let lock = File::open(&path).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(Self {
            path,
            target: target.to_owned(),
            is_published: false,
            owner: OwnedByProcess::here(),
            _lock: lock,
        })
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
        if !self.is_published && self.owner.is_here() {
            // The error that led here is the one to report.
            _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes unfinished folders that killed processes left. What cannot be removed does no harm.
fn remove_leftovers(target: &Path, start: &OsString) {
    let Some(parent) = target.parent() else { return };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes());
        let digits = rest.and_then(|rest| rest.strip_suffix(END.as_bytes()));
        if digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit)) {
            _ = remove_if_left(&entry.path());
        }
    }
}

fn remove_if_left(folder: &Path) -> io::Result<()> {
    let lock = File::open(folder)?;
    lock.try_lock()?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let is_manifest = entry.file_name() == manifest::NAME;
        let is_depot = path.extension().is_some_and(|extension| extension == "vld");
        // A manifest that was being written.
        let is_staged = entry.file_name().as_encoded_bytes().starts_with(b".shards.json.vldepot-");
        if !entry.file_type()?.is_file() || !(is_manifest || is_depot || is_staged) {
            return Ok(());
        }
    }
    fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_process_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("set");
        let hidden = |digits: &str| root.path().join(format!(".set.{digits}{END}"));
        let (left, other, no_id) = (hidden("0123456789abcdef"), hidden("1123456789abcdef"), hidden("notes"));
        for folder in [&left, &other, &no_id] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("a.vld"), b"..").unwrap();
        }
        fs::write(other.join("thesis.tex"), b"..").unwrap();
        let first = StagedSet::create(&target).unwrap();
        assert!(!left.exists() && other.exists() && no_id.exists());
        // Two at a time: neither takes the other's folder.
        let second = StagedSet::create(&target).unwrap();
        assert!(first.path().is_dir() && second.path().is_dir() && first.path() != second.path());
        fs::write(first.path().join("a.vld"), b"..").unwrap();
        fs::write(second.path().join("b.vld"), b"..").unwrap();
        second.publish().unwrap();
        assert!(matches!(first.publish().unwrap_err().kind(), ErrorKind::PathExists));
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 3);
    }
}

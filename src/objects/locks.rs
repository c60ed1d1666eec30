//! Locks of names, between threads and processes.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::byte_lock;
use crate::sync::{OwnedByProcess, lock};

/// The byte that writers lock one after the other.
const TURN: u64 = 0;

/// Offsets have 63 bits. The lowest one is for [`TURN`].
const BITS: u32 = 62;

/// The file beside a depot whose bytes are locked.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    /// Names that are locked through this file, in this process.
    held: Arc<Mutex<Vec<Holder>>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Holder {
    at: u64,
    thread: ThreadId,
    owner: OwnedByProcess,
}

/// How to wait for a lock.
pub(super) enum Wait<'w> {
    /// Not at all.
    No,
    /// Until it is free, and after a signal only if this returns true.
    While(&'w mut dyn FnMut() -> bool),
}

/// A byte that is locked. Released when it is dropped.
#[derive(Debug)]
pub(super) struct ByteLock {
    file: File,
    at: u64,
    owner: OwnedByProcess,
}

impl Drop for ByteLock {
    fn drop(&mut self) {
        // A fork only closes its copy of the open file, and leaves the lock to its parent.
        if self.owner.is_here() {
            // Closing the file releases it too, unless a fork has the file open.
            let _ = byte_lock::unlock(&self.file, self.at);
        }
    }
}

impl LockFile {
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push(".locks");
        Self { path: name.into(), held: Arc::default() }
    }

    fn failed(&self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::Unsupported {
            let (what, name) =
                ("locks of byte ranges, which", "this system or file system does not have".into());
            return ErrorKind::Unsupported { what, name, offset: 0 }.at(&self.path);
        }
        Error::io(&self.path, "lock the file", source)
    }

    /// Locks a byte. `None` if it is not free, or the wait was given up.
    fn byte(&self, at: u64, wait: &mut Wait<'_>) -> Result<Option<ByteLock>> {
        loop {
            // Each lock opens the file anew: locks of one open file do not exclude each other.
            let opened =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path);
            let file = opened.map_err(|source| self.failed(source))?;
            match byte_lock::lock(&file, at, matches!(wait, Wait::While(_))) {
                Ok(true) => {
                    let held = ByteLock { file, at, owner: OwnedByProcess::here() };
                    // Somebody may have removed the file while we waited. Others lock the new one.
                    if is_at(&held.file, &self.path).map_err(|source| self.failed(source))? {
                        return Ok(Some(held));
                    }
                }
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if let Wait::While(go_on) = wait
                        && !go_on()
                    {
                        return Ok(None);
                    }
                }
                Err(source) => return Err(self.failed(source)),
            }
        }
    }

    /// The turn of a writer.
    pub(super) fn turn(&self) -> Result<ByteLock> {
        self.byte(TURN, &mut Wait::While(&mut || true))?.ok_or_else(|| ErrorKind::Locked.at(&self.path))
    }

    /// Locks a name. `None` if it is not free, or the wait was given up.
    pub(super) fn name(&self, name: &str, mut wait: Wait<'_>) -> Result<Option<NameLock>> {
        let at = (xxh3_64(name.as_bytes()) >> (64 - BITS)) << 1 | 1;
        let holder = Holder { at, thread: thread::current().id(), owner: OwnedByProcess::here() };
        if lock(&self.held).contains(&holder) {
            return Ok(Some(NameLock { byte: None, holder, held: Arc::clone(&self.held) }));
        }
        let Some(byte) = self.byte(at, &mut wait)? else { return Ok(None) };
        lock(&self.held).push(holder);
        Ok(Some(NameLock { byte: Some(byte), holder, held: Arc::clone(&self.held) }))
    }
}

/// A name that is locked, until this is dropped. See [`Objects::lock`](super::Objects::lock).
///
/// A lock that its holder took again ends with the first one.
///
/// If the process forks, the lock goes on to be the parent's. It is released when the parent drops it, or
/// when both have ended.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct NameLock {
    /// `None` if this thread has the lock already.
    byte: Option<ByteLock>,
    holder: Holder,
    held: Arc<Mutex<Vec<Holder>>>,
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // Of a nested lock, nothing is released.
        if let Some(byte) = self.byte.take()
            && self.holder.owner.is_here()
        {
            lock(&self.held).retain(|holder| *holder != self.holder);
            drop(byte);
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

//! A depot in a file: positioned reads and writes, `fdatasync`, and a memory map that grows with the file.
//!
//! Reads and writes that a signal interrupts are made again, and short ones go on, by the standard library. The writer's lock
//! is `flock`: the system releases it with the process, however it ends. It belongs to the open file, which processes share
//! after `fork`, so that the process which took it also gives it back, and its forks never do.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use memmap2::Mmap;

use super::{Storage, past_the_end};
use crate::buffer::Bytes;

/// A file.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    path: PathBuf,
    /// Replaced by a longer one when bytes behind it are asked for; records keep the one they borrow from.
    map: RwLock<Option<Arc<Mmap>>>,
    /// The process that took the lock; 0 for none.
    locked_by: AtomicU32,
}

impl FileStorage {
    /// Makes a new file and syncs the folder it is in.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the path is taken. No file is left behind.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let storage = Self::new(file, path);
        if let Err(error) = sync_folder(path) {
            drop(storage);
            // Nothing more can be done about a file that stays.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(storage)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        Ok(Self::new(file, path))
    }

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open_writable(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self::new(file, path))
    }

    pub(super) fn new(file: File, path: &Path) -> Self {
        Self { file, path: path.to_owned(), map: RwLock::new(None), locked_by: AtomicU32::new(0) }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn mapped(&self, end: u64) -> Option<Arc<Mmap>> {
        let map = self.map.read().ok()?;
        map.as_ref().filter(|map| map.len() as u64 >= end).map(Arc::clone)
    }
}

/// Makes the creation, renaming or removal of `path` durable.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Whether `file` is the one at `path`, which a compaction may have replaced between opening and locking it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (file, there) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((file.dev(), file.ino()) == (there.dev(), there.ino()))
}

/// An open file cannot be replaced.
#[cfg(windows)]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, buf, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf = &mut buf[n..];
        offset += n as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let wanted = buf.len() as u64;
        read_at(&self.file, offset, buf).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                past_the_end(offset, wanted, self.len().unwrap_or(0))
            } else {
                error
            }
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_at(&self.file, offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let end = offset.checked_add(len).ok_or_else(|| past_the_end(offset, len, u64::MAX))?;
        let map = if let Some(map) = self.mapped(end) {
            map
        } else {
            let file_len = self.len()?;
            if end > file_len {
                return Err(past_the_end(offset, len, file_len));
            }
            let map = Arc::new(map::whole(&self.file)?);
            if (map.len() as u64) < end {
                return Err(past_the_end(offset, len, map.len() as u64));
            }
            if let Ok(mut slot) = self.map.write() {
                *slot = Some(Arc::clone(&map));
            }
            map
        };
        // Both fit into `usize`: the map, which is at least as long, exists.
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        Ok(range.map(|(start, end)| Bytes::from_map(map, start..end)))
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => {
                if !is_at(&self.file, &self.path)? {
                    self.file.unlock()?;
                    let why = "another file was put in its place while it was being opened: open it again";
                    return Err(io::Error::other(why));
                }
                self.locked_by.store(std::process::id(), Ordering::Relaxed);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A fork that still has the descriptor would keep the lock; and where this is a fork, the lock is its parent's.
    fn unlock(&self) -> io::Result<()> {
        let owner = std::process::id();
        match self.locked_by.compare_exchange(owner, 0, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => self.file.unlock(),
            Err(_) => Ok(()),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        // Closing, which follows, releases it where nobody else has the descriptor.
        let _ = self.unlock();
    }
}

/// The one call that maps a file.
mod map {
    use std::fs::File;
    use std::io;

    use memmap2::Mmap;

    pub(super) fn whole(file: &File) -> io::Result<Mmap> {
        // SAFETY: a map is sound while nobody changes or cuts the mapped bytes. This crate never overwrites or cuts
        // a part that it lends from a map: files only grow, and the header, which does change, is read by positioned
        // reads alone. That no other program cuts the file is the user's promise, written at `Mapping::Auto`;
        // `Mapping::Never` needs none.
        unsafe { Mmap::map(file) }
    }
}

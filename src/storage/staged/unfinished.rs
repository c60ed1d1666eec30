//! The storage of a file that is not finished.
//!
//! Its first page is kept in memory. In the file, another page in its place says that the file is
//! unfinished.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::proof::{self, PAGE};
use crate::buffer::Bytes;
use crate::storage::{FileStorage, Storage, past_the_end};
use crate::sync;

/// A new file, locked before anything is written.
pub(super) struct Unfinished {
    file: FileStorage,
    /// The path of the target, which errors name.
    path: PathBuf,
    /// The first bytes, up to [`PAGE`] of them. `None` once they are in the file.
    head: Mutex<Option<Vec<u8>>>,
    /// Whether a depot is writing to it.
    written_to: AtomicBool,
}

impl Unfinished {
    /// Wraps `file`, which must be empty and locked.
    pub(super) fn new(file: FileStorage, path: &Path, name: &OsStr) -> io::Result<Self> {
        file.write_at(0, &proof::page(name))?;
        let (head, written_to) = (Mutex::new(Some(Vec::new())), AtomicBool::new(false));
        Ok(Self { file, path: path.to_owned(), head, written_to })
    }

    pub(super) fn file(&self) -> &FileStorage {
        &self.file
    }

    pub(super) fn is_written_to(&self) -> bool {
        self.written_to.load(Ordering::Acquire)
    }

    fn head(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        sync::lock(&self.head)
    }

    /// The first page that the finished file will have.
    pub(super) fn first_page(&self) -> Vec<u8> {
        self.head().clone().unwrap_or_default()
    }

    /// Writes the first page, which makes it a file like any other.
    pub(super) fn finish(&self) -> io::Result<()> {
        let mut head = self.head();
        if let Some(bytes) = &*head {
            self.file.write_at(0, bytes)?;
            if bytes.len() < PAGE {
                self.file.set_len(bytes.len() as u64)?;
            }
        }
        *head = None;
        Ok(())
    }
}

/// Clips `n` to the end of the first page.
fn in_page(n: u64) -> usize {
    usize::try_from(n).unwrap_or(PAGE).min(PAGE)
}

impl Storage for Unfinished {
    fn len(&self) -> io::Result<u64> {
        match &*self.head() {
            Some(head) if head.len() < PAGE => Ok(head.len() as u64),
            _ => self.file.len(),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset >= PAGE as u64 {
            return self.file.read_at(offset, buf);
        }
        let head = self.head();
        let Some(bytes) = &*head else { return self.file.read_at(offset, buf) };
        let at = in_page(offset);
        let n = buf.len().min(PAGE - at);
        let Some(part) = bytes.get(at..at + n) else {
            return Err(past_the_end(offset, buf.len() as u64, bytes.len() as u64));
        };
        buf[..n].copy_from_slice(part);
        if n < buf.len() { self.file.read_at(PAGE as u64, &mut buf[n..]) } else { Ok(()) }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut head = self.head();
        let Some(page) = &mut *head else { return self.file.write_at(offset, bytes) };
        let at = in_page(offset);
        let (inside, outside) = bytes.split_at(bytes.len().min(PAGE - at));
        let end = at + inside.len();
        if page.len() < end {
            page.resize(end, 0);
        }
        page[at..end].copy_from_slice(inside);
        drop(head);
        if outside.is_empty() { Ok(()) } else { self.file.write_at(offset.max(PAGE as u64), outside) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut head = self.head();
        let Some(page) = &mut *head else { return self.file.set_len(len) };
        page.resize(in_page(len), 0);
        self.file.set_len(len.max(PAGE as u64))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        if offset >= PAGE as u64 || self.head().is_none() {
            return self.file.map(offset, len);
        }
        let end = self.len()?;
        match offset.checked_add(len) {
            Some(stop) if stop <= end => Ok(None),
            _ => Err(past_the_end(offset, len, end)),
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(!self.written_to.swap(true, Ordering::AcqRel))
    }

    fn unlock(&self) -> io::Result<()> {
        self.written_to.store(false, Ordering::Release);
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

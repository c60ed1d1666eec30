//! Entries of our archive, written to another one.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::options::ConvertOptions;
use super::report::{ConvertError, Converted, Result};
use crate::archive::disk::{Failure, Progress};
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;
use crate::archive::stat::{FileAttributes, FileKind};
use crate::{Error, ErrorKind, Key};

/// Longer files are written piece by piece.
const SHORT: u64 = 4 << 20;

/// Files, and bytes of them, that are read at once.
const AT_ONCE: usize = 256;
const BYTES_AT_ONCE: u64 = 8 << 20;

/// An archive that is being written.
pub(super) trait Target {
    /// Why the format has no such entry, if so.
    fn refuses(&self, _path: &[u8], _kind: FileKind) -> Option<&'static str> {
        None
    }
    fn folder(&mut self, path: &[u8], attributes: &FileAttributes) -> io::Result<()>;
    fn link(&mut self, path: &[u8], target: &[u8], attributes: &FileAttributes) -> io::Result<()>;
    fn file(&mut self, path: &[u8], bytes: &[u8], attributes: &FileAttributes) -> io::Result<()>;
    /// Begins a file of so many bytes, which follow piece by piece.
    fn begin(&mut self, path: &[u8], len: u64, attributes: &FileAttributes) -> io::Result<()>;
    fn piece(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn end(&mut self) -> io::Result<()>;
}

/// A file or a link.
struct Found {
    path: ArchivePath,
    len: u64,
}

/// Gives the entries of an archive.
pub(super) struct Giver<'g> {
    archive: &'g Archive,
    options: &'g ConvertOptions,
    progress: &'g mut dyn FnMut(Progress),
    done: Converted,
}

/// A file that begins with its first byte: that it cannot be read is found before.
struct Lazy<'l> {
    target: &'l mut dyn Target,
    path: &'l [u8],
    len: u64,
    attributes: &'l FileAttributes,
    has_begun: bool,
    refused: Option<io::Error>,
}

impl Write for Lazy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begun =
            if self.has_begun { Ok(()) } else { self.target.begin(self.path, self.len, self.attributes) };
        self.has_begun = true;
        begun.and_then(|()| self.target.piece(bytes)).map_err(|error| {
            let kind = error.kind();
            self.refused = Some(error);
            io::Error::from(kind)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'g> Giver<'g> {
    pub(super) fn new(
        archive: &'g Archive,
        options: &'g ConvertOptions,
        progress: &'g mut dyn FnMut(Progress),
    ) -> Self {
        Self { archive, options, progress, done: Converted::default() }
    }

    /// Names an entry that is not written.
    pub(super) fn fail(&mut self, path: &ArchivePath, error: io::Error) {
        let path = PathBuf::from(OsStr::from_bytes(path.as_bytes()));
        self.done.transfer.fail(Failure { path, error });
    }

    /// Gives all that is wanted, in the order of names.
    pub(super) fn give(mut self, target: &mut dyn Target) -> Result<Converted> {
        let mut batch: Vec<Found> = Vec::new();
        let mut bytes = 0;
        for entry in self.archive.walk("")? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if matches!(error.kind(), ErrorKind::InvalidPath { .. }) => {
                    self.fail(&ArchivePath::ROOT, io::Error::other(error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !self.options.wants(&entry.path, entry.is_dir) {
                continue;
            }
            if !entry.is_dir {
                let len = self.archive.depot().location(entry.path.key())?.length;
                if len <= SHORT {
                    batch.push(Found { path: entry.path, len });
                    bytes += len;
                    if batch.len() >= AT_ONCE || bytes > BYTES_AT_ONCE {
                        self.give_all(&std::mem::take(&mut batch), target)?;
                        bytes = 0;
                    }
                    continue;
                }
                self.give_all(&std::mem::take(&mut batch), target)?;
                bytes = 0;
                self.give_long(&Found { path: entry.path, len }, target)?;
                continue;
            }
            // In order: a folder before what is in it.
            self.give_all(&std::mem::take(&mut batch), target)?;
            bytes = 0;
            let path = self.options.root.join(&entry.path)?;
            let attributes = self.archive.attributes(&entry.path, true)?;
            if self.is_refused(&path, FileKind::Folder, target) {
                continue;
            }
            target.folder(path.as_bytes(), &attributes).map_err(ConvertError::Target)?;
            self.done.transfer.folders += 1;
        }
        self.give_all(&batch, target)?;
        (self.progress)(self.done.transfer.progress());
        Ok(self.done)
    }

    /// Short files, which are decoded together.
    fn give_all(&mut self, batch: &[Found], target: &mut dyn Target) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let archive = self.archive;
        let keys: Vec<Key> = batch.iter().map(|found| found.path.key()).collect();
        if let Ok(records) = archive.depot().get_many(&keys) {
            for (found, record) in batch.iter().zip(records) {
                self.give_one(found, record.view(), target)?;
            }
        } else {
            // One by one: some can be read.
            for (found, key) in batch.iter().zip(keys) {
                match archive.depot().get(key) {
                    Ok(record) => self.give_one(found, record.view(), target)?,
                    Err(error) => self.unread(found, error)?,
                }
            }
        }
        (self.progress)(self.done.transfer.progress());
        Ok(())
    }

    fn give_one(&mut self, found: &Found, bytes: &[u8], target: &mut dyn Target) -> Result<()> {
        let path = self.options.root.join(&found.path)?;
        let attributes = match self.archive.attributes(&found.path, false) {
            Ok(attributes) => attributes,
            Err(error) => return self.unread(found, error),
        };
        let kind = attributes.kind.unwrap_or(FileKind::File);
        if self.is_refused(&path, kind, target) {
            return Ok(());
        }
        if kind == FileKind::Link {
            target.link(path.as_bytes(), bytes, &attributes).map_err(ConvertError::Target)?;
            self.done.transfer.links += 1;
            return Ok(());
        }
        target.file(path.as_bytes(), bytes, &attributes).map_err(ConvertError::Target)?;
        self.done.transfer.files += 1;
        self.done.transfer.bytes += found.len;
        Ok(())
    }

    fn give_long(&mut self, found: &Found, target: &mut dyn Target) -> Result<()> {
        let path = self.options.root.join(&found.path)?;
        let attributes = match self.archive.attributes(&found.path, false) {
            Ok(attributes) => attributes,
            Err(error) => return self.unread(found, error),
        };
        if self.is_refused(&path, FileKind::File, target) {
            return Ok(());
        }
        let (len, attributes) = (found.len, &attributes);
        let mut out =
            Lazy { target, path: path.as_bytes(), len, attributes, has_begun: false, refused: None };
        let read = self.archive.depot().read_to(found.path.key(), &mut out);
        let (has_begun, refused) = (out.has_begun, out.refused.take());
        if let Some(error) = refused {
            return Err(ConvertError::Target(error));
        }
        match read {
            Ok(_) => target.end().map_err(ConvertError::Target)?,
            Err(error) if !has_begun => return self.unread(found, error),
            // Its first bytes are in the target.
            Err(error) => return Err(error.into()),
        }
        self.done.transfer.files += 1;
        self.done.transfer.bytes += len;
        (self.progress)(self.done.transfer.progress());
        Ok(())
    }

    /// Names an entry that the format cannot have.
    fn is_refused(&mut self, path: &ArchivePath, kind: FileKind, target: &dyn Target) -> bool {
        let Some(why) = target.refuses(path.as_bytes(), kind) else { return false };
        self.fail(path, io::Error::new(io::ErrorKind::Unsupported, why));
        true
    }

    /// Names a record that is damaged. Other errors concern the others too.
    fn unread(&mut self, found: &Found, error: Error) -> Result<()> {
        if !error.is_damage() {
            return Err(error.into());
        }
        self.fail(&found.path, io::Error::other(error));
        Ok(())
    }
}

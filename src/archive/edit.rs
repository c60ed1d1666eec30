//! A file of an archive that is read and written like one of the disk, and stored when it is closed.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use super::file::{refused, sought};
use super::folder::Archive;
use super::path::ArchivePath;
use super::spool::Spool;
use super::{FileAttributes, MAX_LEN};
use crate::{Error, ErrorKind, RecordLocation, Result};

/// Permission bits of files that are written.
const FILE_MODE: u32 = 0o644;

/// How a file of an archive is opened. See [`Archive::edit_file`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileMode {
    /// To be read.
    Read,
    /// To be read and changed. It must be there.
    Update,
    /// From nothing, in the place of the one that is there.
    Replace,
    /// From nothing. None must be there.
    New,
    /// To be added to at its end, and read. It is made if there is none.
    Append,
}

/// A file that is open, apart from its archive, which each call takes.
///
/// This is for those who cannot borrow the archive meanwhile, such as bindings for other languages. Others
/// use [`FileEdit`].
#[derive(Debug)]
pub struct OpenFile {
    path: ArchivePath,
    mode: FileMode,
    /// All bytes, from the first change on. Until then they are read from the archive.
    content: Option<Spool>,
    len: u64,
    /// Of the bytes that were there when it was opened.
    checksum: Option<u32>,
    /// Whether closing stores it.
    changed: bool,
}

fn too_long(archive: &Archive, path: &ArchivePath) -> Error {
    let why = format!("a file of an archive has at most {MAX_LEN} bytes");
    archive.error(ErrorKind::InvalidRecord { why }, path)
}

impl OpenFile {
    pub(super) fn new(archive: &Archive, path: ArchivePath, mode: FileMode) -> Result<Self> {
        use FileMode::{New, Read, Replace, Update};
        if mode != Read && !archive.depot().is_writable() {
            return Err(archive.error(ErrorKind::ReadOnly, &path));
        }
        let (path, is_there) = match archive.follow(path.clone()) {
            Ok(path) => (path, true),
            // A link to nothing is no place for a file.
            Err(error) if error.is_not_found() && !matches!(mode, Read | Update) => {
                if archive.is_file(&path)? {
                    return Err(error);
                }
                (path, false)
            }
            Err(error) => return Err(error),
        };
        if is_there && mode == New {
            return Err(archive.error(ErrorKind::Exists, &path));
        }
        if !is_there {
            archive.check_room_for(&path)?;
        }
        if is_there && mode != Replace {
            let RecordLocation { length: len, checksum, .. } = archive.depot().location(path.key())?;
            return Ok(Self { path, mode, content: None, len, checksum, changed: false });
        }
        Ok(Self { path, mode, content: Some(Spool::default()), len: 0, checksum: None, changed: true })
    }

    /// Where it is in the archive. Links were followed.
    pub fn path(&self) -> &ArchivePath {
        &self.path
    }

    /// The file's bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it was changed and is not stored yet.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Reads bytes from `at` on, and returns how many: fewer than `out` has only where the file ends.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidRecord`] when other bytes have taken the file's place meanwhile, and
    ///   [`ErrorKind::NotFound`] when it was removed.
    /// - The errors of [`Parts::bytes`](crate::Parts::bytes).
    pub fn read_at(&self, archive: &Archive, at: u64, out: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let n = left.min(out.len());
        let Some(start) = usize::try_from(at).ok().filter(|_| n > 0) else { return Ok(0) };
        let range = start..start + n;
        if let Some(content) = &self.content {
            content.read_at(at, &mut out[..n]).map_err(|error| self.not_held(archive, error))?;
            return Ok(n);
        }
        let found = archive.depot().location(self.path.key())?;
        if (found.length, found.checksum) != (self.len, self.checksum) {
            let why = "it was replaced while it was open: open it again".into();
            return Err(archive.error(ErrorKind::InvalidRecord { why }, &self.path));
        }
        archive.depot().parts(self.path.key())?.copy(range, &mut out[..n])?;
        Ok(n)
    }

    /// Writes bytes at `at`, or at the end for [`FileMode::Append`], and returns where they end. Bytes
    /// between the end and `at` become zeros.
    ///
    /// # Errors
    /// - [`ErrorKind::ReadOnly`] for [`FileMode::Read`].
    /// - [`ErrorKind::InvalidRecord`] when the file would be longer than a record can be.
    /// - [`ErrorKind::Io`] when there is no memory, or no room for a temporary file.
    /// - The errors of [`read_at`](Self::read_at).
    pub fn write_at(&mut self, archive: &Archive, at: u64, bytes: &[u8]) -> Result<u64> {
        let at = if self.mode == FileMode::Append { self.content(archive, 0)?.len() } else { at };
        let end = at.checked_add(bytes.len() as u64).ok_or_else(|| too_long(archive, &self.path))?;
        let content = self.content(archive, end)?;
        if !bytes.is_empty() {
            let written = content.write_at(at, bytes);
            self.len = content.len();
            written.map_err(|error| self.not_held(archive, error))?;
            self.changed = true;
        }
        Ok(end)
    }

    /// Cuts the file, or lengthens it by zeros.
    ///
    /// # Errors
    /// The errors of [`write_at`](Self::write_at).
    pub fn set_len(&mut self, archive: &Archive, len: u64) -> Result<()> {
        let content = self.content(archive, len)?;
        if content.len() != len {
            content.set_len(len).map_err(|error| self.not_held(archive, error))?;
            self.len = len;
            self.changed = true;
        }
        Ok(())
    }

    /// Stores the file, if it was changed. It keeps its mode and its owner, and its time is now.
    ///
    /// # Errors
    /// The errors of [`Archive::write`], and [`ErrorKind::Exists`] for [`FileMode::New`] when there is one
    /// meanwhile. Then it can be called again.
    pub fn store(&mut self, archive: &Archive) -> Result<()> {
        let Some(content) = self.content.as_ref().filter(|_| self.changed) else { return Ok(()) };
        let is_new = self.mode == FileMode::New;
        let attributes = if !is_new && archive.is_file(&self.path)? {
            archive.attributes(&self.path, false)?
        } else {
            FileAttributes::new().with_mode(FILE_MODE)
        };
        let attributes = attributes.with_modified(SystemTime::now());
        match content.in_memory() {
            Some(bytes) if is_new => archive.write_new_with(&self.path, bytes, &attributes)?,
            Some(bytes) => archive.write_with(&self.path, bytes, &attributes)?,
            None => {
                let mut put = archive.write_by_pieces(&self.path, &attributes, is_new)?;
                content.each(|piece| put.push(piece))?;
                put.finish()?;
            }
        }
        if is_new {
            // From here on it replaces its own.
            self.mode = FileMode::Replace;
        }
        self.changed = false;
        Ok(())
    }

    /// All bytes, which may become `len`.
    fn content(&mut self, archive: &Archive, len: u64) -> Result<&mut Spool> {
        if self.mode == FileMode::Read {
            return Err(archive.error(ErrorKind::ReadOnly, &self.path));
        }
        if len > MAX_LEN {
            return Err(too_long(archive, &self.path));
        }
        if self.content.is_none() {
            let mut content = Spool::default();
            let mut filled = Filling { spool: &mut content, failed: None };
            let read = archive.depot().read_to(self.path.key(), &mut filled);
            if let Some(error) = filled.failed.take() {
                return Err(self.not_held(archive, error));
            }
            read?;
            self.len = content.len();
            self.content = Some(content);
        }
        Ok(self.content.get_or_insert_default())
    }

    /// The error when there is no memory, or no room for a temporary file.
    fn not_held(&self, archive: &Archive, error: io::Error) -> Error {
        let action = "hold the bytes that are written, in memory or in a temporary file".into();
        archive.error(ErrorKind::Io { action }, &self.path).because(error)
    }
}

/// Writes to the end of the bytes, and keeps the error.
struct Filling<'s> {
    spool: &'s mut Spool,
    failed: Option<io::Error>,
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.spool.write_at(self.spool.len(), bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file of an archive, to read, write and seek in. See [`Archive::edit_file`].
///
/// What is written is held in memory, or in a temporary file beyond 64 MiB, and takes the file's place when
/// it is stored: by [`close`](Self::close) or [`flush`](Write::flush). **Dropping it without that discards
/// what was written**, since a failure could not be told.
#[derive(Debug)]
pub struct FileEdit<'a> {
    archive: &'a Archive,
    file: OpenFile,
    at: u64,
}

impl Archive {
    /// Opens a file to read, write and seek in.
    ///
    /// Reading decodes only the blocks that hold the bytes, until something is written. From then on the file
    /// is in memory, or in a temporary file beyond 64 MiB, and takes its place in the archive when it is
    /// [closed](FileEdit::close). Of two that write one file, the one that is closed last is kept.
    ///
    /// ```
    /// use std::io::{Read, Seek, SeekFrom, Write};
    /// use vldepot::archive::{Archive, FileMode};
    ///
    /// let archive = Archive::memory()?;
    /// archive.write("log", b"first\n")?;
    /// let mut file = archive.edit_file("log", FileMode::Append)?;
    /// file.write_all(b"second\n")?;
    /// file.close()?;
    /// assert_eq!(archive.read("log")?.view(), b"first\nsecond\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`] for [`FileMode::Read`] and [`FileMode::Update`], and [`ErrorKind::Exists`]
    ///   for
    ///   [`FileMode::New`].
    /// - [`ErrorKind::ReadOnly`].
    /// - The errors of [`read`](Self::read) and [`write`](Self::write).
    pub fn edit_file(&self, path: impl AsRef<[u8]>, mode: FileMode) -> Result<FileEdit<'_>> {
        let file = self.open_apart(path, mode)?;
        let at = if mode == FileMode::Append { file.len() } else { 0 };
        Ok(FileEdit { archive: self, file, at })
    }

    /// Like [`edit_file`](Self::edit_file), for those who cannot borrow the archive meanwhile.
    ///
    /// # Errors
    /// The errors of [`edit_file`](Self::edit_file).
    pub fn open_apart(&self, path: impl AsRef<[u8]>, mode: FileMode) -> Result<OpenFile> {
        OpenFile::new(self, ArchivePath::new(path)?, mode)
    }
}

impl FileEdit<'_> {
    /// The file's bytes.
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.file.is_empty()
    }

    /// Cuts the file, or lengthens it by zeros.
    ///
    /// # Errors
    /// The errors of [`OpenFile::set_len`].
    pub fn set_len(&mut self, len: u64) -> Result<()> {
        self.file.set_len(self.archive, len)
    }

    /// Stores what was written.
    ///
    /// # Errors
    /// The errors of [`OpenFile::store`].
    pub fn close(mut self) -> Result<()> {
        self.file.store(self.archive)
    }
}

impl Read for FileEdit<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(self.archive, self.at, out).map_err(refused)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for FileEdit<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.at = self.file.write_at(self.archive, self.at, bytes).map_err(refused)?;
        Ok(bytes.len())
    }

    /// Stores what was written so far.
    fn flush(&mut self) -> io::Result<()> {
        self.file.store(self.archive).map_err(refused)
    }
}

impl Seek for FileEdit<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = sought(self.at, self.file.len(), to)?;
        Ok(self.at)
    }
}

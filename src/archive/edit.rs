//! A file of an archive that is read and written like one of the disk, and stored when it is closed.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use super::file::{refused, sought};
use super::folder::Archive;
use super::path::ArchivePath;
use crate::{Error, ErrorKind, RecordLocation, Result};

/// The longest record.
const MAX_LEN: u64 = u32::MAX as u64;

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
    content: Option<Vec<u8>>,
    len: u64,
    /// Of the bytes that were there when it was opened.
    checksum: Option<u32>,
    /// Whether closing stores it.
    changed: bool,
}

fn too_long(archive: &Archive, path: &ArchivePath) -> Error {
    let why = "a file of an archive has at most 4 GiB - 1 bytes".into();
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
        Ok(Self { path, mode, content: Some(Vec::new()), len: 0, checksum: None, changed: true })
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
            out[..n].copy_from_slice(&content[range]);
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
    /// - [`ErrorKind::InvalidRecord`] when the file would be longer than a record can be, or than there is
    ///   memory.
    /// - The errors of [`read_at`](Self::read_at).
    pub fn write_at(&mut self, archive: &Archive, at: u64, bytes: &[u8]) -> Result<u64> {
        let at = if self.mode == FileMode::Append { self.content(archive, 0)?.len() as u64 } else { at };
        let end = at.checked_add(bytes.len() as u64).ok_or_else(|| too_long(archive, &self.path))?;
        let content = self.content(archive, end)?;
        if !bytes.is_empty() {
            let (from, to) = (usize::try_from(at), usize::try_from(end));
            let (Ok(from), Ok(to)) = (from, to) else { return Err(too_long(archive, &self.path)) };
            if content.len() < from {
                content.resize(from, 0);
            }
            let over = content.len().min(to) - from;
            content[from..from + over].copy_from_slice(&bytes[..over]);
            content.extend_from_slice(&bytes[over..]);
            self.len = content.len() as u64;
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
        if content.len() as u64 != len {
            let Ok(to) = usize::try_from(len) else { return Err(too_long(archive, &self.path)) };
            content.resize(to, 0);
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
        if self.mode == FileMode::New {
            archive.write_new(&self.path, content)?;
            // From here on it replaces its own.
            self.mode = FileMode::Replace;
        } else if archive.is_file(&self.path)? {
            let attributes = archive.attributes(&self.path, false)?.with_modified(SystemTime::now());
            archive.write_with(&self.path, content, &attributes)?;
        } else {
            archive.write(&self.path, content)?;
        }
        self.changed = false;
        Ok(())
    }

    /// All bytes in memory, with room for `len`.
    fn content(&mut self, archive: &Archive, len: u64) -> Result<&mut Vec<u8>> {
        if self.mode == FileMode::Read {
            return Err(archive.error(ErrorKind::ReadOnly, &self.path));
        }
        let room = usize::try_from(len).ok().filter(|_| len <= MAX_LEN);
        let room = room.ok_or_else(|| too_long(archive, &self.path))?;
        if self.content.is_none() {
            let mut content = Vec::new();
            archive.depot().get_into(self.path.key(), &mut content)?;
            self.len = content.len() as u64;
            self.content = Some(content);
        }
        let content = self.content.get_or_insert_default();
        if content.try_reserve(room.saturating_sub(content.len())).is_err() {
            let why = format!("there is no memory for a file of {len} bytes");
            return Err(archive.error(ErrorKind::InvalidRecord { why }, &self.path));
        }
        Ok(content)
    }
}

/// A file of an archive, to read, write and seek in. See [`Archive::edit_file`].
///
/// What is written is held in memory, and takes the file's place when it is stored: by [`close`](Self::close)
/// or [`flush`](Write::flush). **Dropping it without that discards what was written**, since a failure could
/// not be told.
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
    /// is in memory, and takes its place in the archive when it is [closed](FileEdit::close). Of two that
    /// write one file, the one that is closed last is kept.
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

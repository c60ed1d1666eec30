//! Folders of the disk, walked and compared with an archive.

use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vldepot::archive::{Archive, ArchivePath, FileAttributes, FileKind, Stat};

use crate::archive as names;
use crate::failure::Failure;
use crate::text;

/// The bits of a mode that are kept.
const MODE: u32 = 0o7777;

/// Something on the disk.
pub(super) struct OnDisk {
    pub(super) from: PathBuf,
    pub(super) path: ArchivePath,
    pub(super) metadata: Metadata,
}

pub(super) fn failed(path: &Path, action: &str, error: &io::Error) -> Failure {
    let message = format!("{}: cannot {action}: {error}", text::path(path));
    if error.kind() == io::ErrorKind::NotFound {
        Failure::not_found(message)
    } else {
        Failure::other(message)
    }
}

/// All that is in a folder, each folder before what is in it, in the order of names. No link is followed.
pub(super) struct Walk {
    root: PathBuf,
    /// Folders that are open, with what is left of them in reverse.
    open: Vec<Vec<PathBuf>>,
    next: Option<PathBuf>,
}

impl Walk {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), open: Vec::new(), next: Some(root.to_owned()) }
    }

    fn enter(&mut self, folder: &Path) -> Result<(), Failure> {
        let read =
            || -> io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
        let mut entries = read().map_err(|error| failed(folder, "list the folder", &error))?;
        entries.sort_unstable_by(|one, other| other.cmp(one));
        self.open.push(entries);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<OnDisk>, Failure> {
        loop {
            if let Some(folder) = self.next.take() {
                self.enter(&folder)?;
            }
            let Some(entries) = self.open.last_mut() else { return Ok(None) };
            let Some(from) = entries.pop() else {
                self.open.pop();
                continue;
            };
            let metadata = match fs::symlink_metadata(&from) {
                Ok(metadata) => metadata,
                // It was taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&from, "look at it", &error)),
            };
            let below = from.strip_prefix(&self.root).unwrap_or(&from);
            let path = names::path(below.as_os_str())?;
            if metadata.is_dir() {
                self.next = Some(from.clone());
            }
            return Ok(Some(OnDisk { from, path, metadata }));
        }
    }
}

impl Iterator for Walk {
    type Item = Result<OnDisk, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Looks for paths of an archive below a folder of the disk, through real folders alone.
pub(super) struct Looking {
    root: PathBuf,
    /// The folder that was last seen to be one.
    known: Option<ArchivePath>,
}

impl Looking {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), known: None }
    }

    pub(super) fn place(&self, path: &ArchivePath) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    /// What is there, if anything is.
    pub(super) fn find(&mut self, path: &ArchivePath) -> Result<Option<Metadata>, Failure> {
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root())
            && self.known.as_ref() != Some(&parent)
        {
            if !self.find(&parent)?.is_some_and(|found| found.is_dir()) {
                return Ok(None);
            }
            self.known = Some(parent);
        }
        let place = self.place(path);
        match fs::symlink_metadata(&place) {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(failed(&place, "look at it", &error)),
        }
    }
}

/// What it is. `None` for a pipe, a socket or a device.
pub(super) fn kind(metadata: &Metadata) -> Option<FileKind> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Some(FileKind::Folder)
    } else if kind.is_symlink() {
        Some(FileKind::Link)
    } else {
        kind.is_file().then_some(FileKind::File)
    }
}

/// Time of the last change, in seconds and nanoseconds.
pub(super) fn modified(metadata: &Metadata) -> (i64, u32) {
    (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or_default())
}

pub(super) fn modified_in(attributes: &FileAttributes) -> Option<(i64, u32)> {
    attributes.mtime.map(|seconds| (seconds, attributes.mtime_ns))
}

/// Whether modes are the same, as far as the archive knows.
pub(super) fn is_mode(attributes: &FileAttributes, metadata: &Metadata, bits: u32) -> bool {
    attributes.mode.is_none_or(|mode| mode & bits == metadata.mode() & bits & MODE)
}

/// Whether the bytes of a file and those in the archive are the same.
pub(super) fn is_content(archive: &Archive, stat: &Stat, from: &Path) -> Result<bool, Failure> {
    let file = fs::File::open(from).map_err(|error| failed(from, "open it", &error))?;
    let mut same = Same { file, buffer: Vec::new(), differs: false, failed: None };
    let read = archive.depot().read_to(names::key(&stat.path), &mut same);
    if let Some(error) = same.failed {
        return Err(failed(from, "read it", &error));
    }
    if same.differs {
        return Ok(false);
    }
    read?;
    Ok(same.file.read(&mut [0]).map_err(|error| failed(from, "read it", &error))? == 0)
}

/// Compares what is written to it with a file.
struct Same {
    file: fs::File,
    buffer: Vec<u8>,
    differs: bool,
    failed: Option<io::Error>,
}

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.resize(bytes.len(), 0);
        match self.file.read_exact(&mut self.buffer) {
            Ok(()) => self.differs = self.buffer != bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.differs = true,
            Err(error) => self.failed = Some(error),
        }
        // Nothing more need be read.
        if self.differs || self.failed.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Entries of another archive, put into ours: what is wanted of them, and what happens to the others.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::options::ConvertOptions;
use super::report::{ConvertError, Converted, Result};
use crate::archive::MAX_LEN;
use crate::archive::disk::{Failure, Progress};
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;
use crate::archive::stat::{FileAttributes, FileKind};
use crate::{Error, ErrorKind, Place};

/// Longer files are stored piece by piece.
pub(super) const LONG: u64 = 16 << 20;

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// Bytes that are made room for before they are read.
const AT_FIRST: u64 = 1 << 20;

/// Entries between two reports of progress.
const AT_ONCE: u64 = 64;

/// An entry of another archive.
pub(super) struct Member {
    /// Its path, as it stands there.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) attributes: FileAttributes,
}

/// What it is.
pub(super) enum Kind {
    /// A file of so many bytes.
    File(u64),
    Folder,
    /// A link, to this path.
    Link(Vec<u8>),
    /// Another name of this file.
    SameAs(Vec<u8>),
    /// Something that is not stored.
    Other(&'static str),
}

/// Why an entry ends the reading.
pub(super) enum Stop {
    Source(io::Error),
    Other(ConvertError),
}

impl Stop {
    pub(super) fn or_source(self, failed: impl FnOnce(io::Error) -> ConvertError) -> ConvertError {
        match self {
            Self::Source(error) => failed(error),
            Self::Other(error) => error,
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

impl From<ConvertError> for Stop {
    fn from(error: ConvertError) -> Self {
        Self::Other(error)
    }
}

/// Takes entries into an archive.
pub(super) struct Taker<'t> {
    archive: &'t Archive,
    options: &'t ConvertOptions,
    progress: &'t mut dyn FnMut(Progress),
    pub(super) done: Converted,
    /// Whether files stay in the source, and only their places in it are stored.
    pub(super) wraps: bool,
}

impl<'t> Taker<'t> {
    pub(super) fn new(
        archive: &'t Archive,
        options: &'t ConvertOptions,
        progress: &'t mut dyn FnMut(Progress),
    ) -> Self {
        Self { archive, options, progress, done: Converted::default(), wraps: false }
    }

    /// Names an entry that is not stored.
    pub(super) fn fail(&mut self, name: &[u8], error: impl Into<io::Error>) {
        let path = PathBuf::from(OsStr::from_bytes(name));
        self.done.transfer.fail(Failure { path, error: error.into() });
    }

    /// The path that an entry gets. `None` if it is not wanted, or was named as a failure.
    pub(super) fn wants(&mut self, member: &Member) -> Option<ArchivePath> {
        let is_folder = matches!(member.kind, Kind::Folder);
        let path = match ArchivePath::new(&member.name) {
            Ok(path) if path.is_root() && is_folder => return None,
            Ok(path) if !path.is_root() => path,
            Ok(_) => {
                self.fail(&member.name, invalid("it has no name"));
                return None;
            }
            Err(error) => {
                self.fail(&member.name, io::Error::other(error));
                return None;
            }
        };
        if !self.options.wants(&path, is_folder) {
            return None;
        }
        let refused = match member.kind {
            Kind::Other(what) => Some(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{what}: neither a file, a folder nor a link, and not stored"),
            )),
            Kind::File(len) if len > MAX_LEN => Some(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has {len} bytes, and a file in an archive has at most {MAX_LEN}"),
            )),
            _ => None,
        };
        if let Some(error) = refused {
            self.fail(&member.name, error);
            return None;
        }
        match self.options.root.join(&path) {
            Ok(path) => Some(path),
            Err(error) => {
                self.fail(&member.name, io::Error::other(error));
                None
            }
        }
    }

    /// Stores where the bytes of a file, or the target of a link, are in the source.
    pub(super) fn store_place(&mut self, path: &ArchivePath, member: &Member, place: Place) -> Result<()> {
        let bytes = place.encode();
        let is_link = matches!(member.kind, Kind::Link(_));
        let kind = if is_link { Kind::Link(bytes.to_vec()) } else { Kind::File(place.length) };
        let member = Member { name: member.name.clone(), kind, attributes: member.attributes.clone() };
        self.store(path, &member, &bytes)
    }

    /// Stores an entry. `bytes` are those of a file.
    pub(super) fn store(&mut self, path: &ArchivePath, member: &Member, bytes: &[u8]) -> Result<()> {
        let archive = self.archive;
        let attributes = &member.attributes;
        let stored = match &member.kind {
            Kind::Folder => archive.create_dir_with(path, attributes),
            Kind::Link(target) => {
                self.note_replaced(path).and_then(|()| archive.write_link(path, target, attributes))
            }
            Kind::File(_) => {
                self.note_replaced(path).and_then(|()| archive.write_with(path, bytes, attributes))
            }
            Kind::SameAs(target) => return self.store_same(path, target, member),
            Kind::Other(_) => Ok(()),
        };
        match stored {
            Err(error) if is_of_one_file(&error) => self.fail(&member.name, io::Error::other(error)),
            stored => {
                stored?;
                let len = match Place::decode(bytes) {
                    Some(place) if self.wraps => place.length,
                    _ => bytes.len() as u64,
                };
                self.count(&member.kind, len);
            }
        }
        Ok(())
    }

    /// Stores a file of `len` bytes piece by piece: all that `source` has, which must be as many.
    ///
    /// Nothing is stored if the source fails.
    pub(super) fn store_long(
        &mut self,
        path: &ArchivePath,
        member: &Member,
        len: u64,
        source: &mut dyn Read,
    ) -> Result<(), Stop> {
        let archive = self.archive;
        let refused = |error: Error| Stop::Other(error.into());
        self.note_replaced(path).map_err(refused)?;
        let mut put = match archive.write_by_pieces(path, &member.attributes, false) {
            Ok(put) => Some(put),
            Err(error) if is_of_one_file(&error) => {
                self.fail(&member.name, io::Error::other(error));
                None
            }
            Err(error) => return Err(refused(error)),
        };
        let mut piece = vec![0; PIECE];
        let mut n = 0;
        loop {
            match source.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    n += read as u64;
                    if let Some(put) = &mut put {
                        put.push(&piece[..read]).map_err(refused)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if n != len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(put) = put {
            put.finish().map_err(refused)?;
            self.count(&member.kind, n);
        }
        Ok(())
    }

    /// Stores a file under another name that it has.
    fn store_same(&mut self, path: &ArchivePath, target: &[u8], member: &Member) -> Result<()> {
        let missing = |taker: &mut Self| {
            let target = ArchivePath::shown(target);
            let why = format!("another name of {target}, which is not stored");
            taker.fail(&member.name, io::Error::new(io::ErrorKind::NotFound, why));
            Ok(())
        };
        let Ok(from) = ArchivePath::new(target).and_then(|target| self.options.root.join(target)) else {
            return missing(self);
        };
        if from == *path || !self.archive.is_file(&from)? {
            return missing(self);
        }
        if self.archive.depot().location(from.key())?.length > LONG {
            return self.store_same_long(path, &from, member);
        }
        let bytes = self.archive.depot().get(from.key())?;
        let is_link = self.archive.attributes(&from, false)?.kind == Some(FileKind::Link);
        let bytes = bytes.view();
        let kind = if is_link { Kind::Link(bytes.to_vec()) } else { Kind::File(bytes.len() as u64) };
        let member = Member { name: member.name.clone(), kind, attributes: member.attributes.clone() };
        self.store(path, &member, bytes)
    }

    fn store_same_long(&mut self, path: &ArchivePath, from: &ArchivePath, member: &Member) -> Result<()> {
        self.note_replaced(path)?;
        let mut put = match self.archive.write_by_pieces(path, &member.attributes, false) {
            Err(error) if is_of_one_file(&error) => {
                self.fail(&member.name, io::Error::other(error));
                return Ok(());
            }
            put => put?,
        };
        self.archive.depot().read_to(from.key(), &mut put)?;
        let len = put.finish()?;
        self.count(&Kind::File(len), len);
        Ok(())
    }

    fn note_replaced(&mut self, path: &ArchivePath) -> crate::Result<()> {
        if self.archive.is_file(path)? {
            self.done.note(|| format!("{path}: it is there several times, and the last one was kept"));
        }
        Ok(())
    }

    fn count(&mut self, kind: &Kind, bytes: u64) {
        let transfer = &mut self.done.transfer;
        match kind {
            Kind::Folder => transfer.folders += 1,
            Kind::Link(_) => transfer.links += 1,
            _ => {
                transfer.files += 1;
                transfer.bytes += bytes;
            }
        }
        let progress = transfer.progress();
        if progress.entries.is_multiple_of(AT_ONCE) {
            (self.progress)(progress);
        }
    }

    pub(super) fn finish(self) -> Converted {
        (self.progress)(self.done.transfer.progress());
        self.done
    }
}

/// Whether other entries may be stored after this error.
fn is_of_one_file(error: &Error) -> bool {
    use ErrorKind::{InvalidPath, InvalidRecord, IsAFolder, NotAFolder};
    matches!(error.kind(), InvalidPath { .. } | InvalidRecord { .. } | IsAFolder | NotAFolder)
}

pub(super) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Reads `len` bytes, or says that there are fewer. Memory is taken as bytes arrive.
pub(super) fn read_bytes(source: &mut (impl Read + ?Sized), len: u64, out: &mut Vec<u8>) -> io::Result<()> {
    out.reserve(usize::try_from(len.min(AT_FIRST)).unwrap_or(0));
    let read = source.take(len).read_to_end(out)?;
    if read as u64 == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

//! Why a file cannot be imported or exported.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::format::Format;
use crate::Error;

/// Why an import or an export ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is of no format that is read.
    #[non_exhaustive]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is, as a sentence that goes on after its name.
        found: String,
    },
    /// The file's bytes are not what its format asks for, or end in the middle of a frame.
    #[non_exhaustive]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// The number of the frame, from 0. `None` before the first one.
        frame: Option<u64>,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// The file is what its format allows, but has something that is not read here.
    #[non_exhaustive]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// The number of the frame, from 0. `None` before the first one.
        frame: Option<u64>,
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What is not read.
        why: String,
    },
    /// The files and options do not go together.
    #[non_exhaustive]
    Options {
        /// Why.
        why: String,
    },
    /// A frame of the depot has something that the format cannot hold.
    #[non_exhaustive]
    Frame {
        /// The record.
        name: String,
        /// What it has.
        why: String,
    },
    /// A file cannot be opened or read.
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file that is exported to cannot be written.
    Write(io::Error),
    /// The depot refused something.
    Depot(Error),
}

impl ImportError {
    /// Whether a file, or the depot, is damaged.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Depot(error) => error.is_damage(),
            _ => false,
        }
    }

    pub(super) fn options(why: impl Into<String>) -> Self {
        Self::Options { why: why.into() }
    }

    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}

fn place(frame: Option<u64>, offset: u64) -> String {
    match frame {
        Some(frame) => format!("frame {frame}, at byte {offset}"),
        None => format!("at byte {offset}"),
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { path, found } => write!(f, "{}: {found}", path.display()),
            Self::Damaged { path, format, frame, offset, why } => {
                write!(f, "{}: {format}: {}: {why}", path.display(), place(*frame, *offset))
            }
            Self::Unsupported { path, format, frame, offset, why } => {
                write!(f, "{}: {format}: {}: not supported: {why}", path.display(), place(*frame, *offset))
            }
            Self::Options { why } => f.write_str(why),
            Self::Frame { name, why } => write!(f, "record {name}: {why}"),
            Self::Read { path, .. } => write!(f, "{}: it cannot be read", path.display()),
            Self::Write(_) => f.write_str("the target cannot be written"),
            Self::Depot(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write(source) => Some(source),
            Self::Depot(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Depot(error)
    }
}

/// A result of this module.
pub(super) type Result<T, E = ImportError> = std::result::Result<T, E>;

/// What a reader of one format finds wrong. The caller knows the file, the format and the frame.
#[derive(Debug)]
pub(super) enum Fault {
    Damaged { at: u64, why: String },
    Unsupported { at: u64, why: String },
    Io(io::Error),
}

impl Fault {
    pub(super) fn damaged(at: u64, why: impl Into<String>) -> Self {
        Self::Damaged { at, why: why.into() }
    }

    pub(super) fn unsupported(at: u64, why: impl Into<String>) -> Self {
        Self::Unsupported { at, why: why.into() }
    }

    pub(super) fn of(self, path: &Path, format: Format, frame: Option<u64>) -> ImportError {
        let path = path.to_owned();
        match self {
            Self::Damaged { at: offset, why } => ImportError::Damaged { path, format, frame, offset, why },
            Self::Unsupported { at: offset, why } => {
                ImportError::Unsupported { path, format, frame, offset, why }
            }
            Self::Io(source) => ImportError::Read { path, source },
        }
    }
}

//! What a conversion did, and why it could not do all.

use std::fmt;
use std::io;

use crate::Error;
use crate::archive::disk::Transfer;

/// Notes that are kept. Further ones are counted.
const KEPT: usize = 1000;

/// What was converted.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Converted {
    /// What was stored, and what could not be.
    pub transfer: Transfer,
    /// What is otherwise in the target than in the source, up to 1,000 notes: one for each path that the
    /// source has several times.
    pub notes: Vec<String>,
    /// How many notes there were.
    pub noted: u64,
}

impl Converted {
    pub(super) fn note(&mut self, note: impl FnOnce() -> String) {
        self.noted += 1;
        if self.notes.len() < KEPT {
            self.notes.push(note());
        }
    }
}

/// Why a conversion ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConvertError {
    /// The source is not what its format asks for, ends early, or cannot be read.
    #[non_exhaustive]
    Source {
        /// The entry that is concerned, as it is shown to people.
        entry: Option<String>,
        /// Where, in bytes from the start of the source. If that is compressed: of what comes out of it.
        offset: u64,
        /// What is wrong.
        why: String,
        /// What the system or the decompressor said.
        source: Option<io::Error>,
    },
    /// The depot refused something.
    Depot(Error),
    /// The target cannot be written.
    Target(io::Error),
}

impl ConvertError {
    /// Whether the source, or the depot, is damaged.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Source { source: None, .. } => true,
            Self::Source { source: Some(error), .. } => {
                use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
                matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof | Other)
            }
            Self::Depot(error) => error.is_damage(),
            Self::Target(_) => false,
        }
    }

    pub(super) fn source(entry: Option<String>, offset: u64, why: impl Into<String>) -> Self {
        Self::Source { entry, offset, why: why.into(), source: None }
    }

    pub(super) fn read(entry: Option<String>, offset: u64, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::source(entry, offset, "it ends here, in the middle: it was cut short");
        }
        Self::Source { entry, offset, why: "it cannot be read on".into(), source: Some(error) }
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { entry: Some(entry), offset, why, .. } => {
                write!(f, "entry \"{entry}\", at byte {offset}: {why}")
            }
            Self::Source { entry: None, offset, why, .. } => write!(f, "at byte {offset}: {why}"),
            Self::Depot(error) => error.fmt(f),
            Self::Target(_) => f.write_str("the target cannot be written"),
        }
    }
}

impl std::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { source, .. } => source.as_ref().map(|error| error as _),
            Self::Depot(error) => error.source(),
            Self::Target(error) => Some(error),
        }
    }
}

impl From<Error> for ConvertError {
    fn from(error: Error) -> Self {
        Self::Depot(error)
    }
}

/// A result of this module.
pub(super) type Result<T, E = ConvertError> = std::result::Result<T, E>;

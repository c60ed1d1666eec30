//! How a file says that a later version wrote it, and what this version does then.
//!
//! Bytes that fail their checks are damaged. Bytes that pass them, and mean something that this version does
//! not know, are not: [`Fault`] tells the two apart wherever bytes are decoded. `docs/reference/format.md`,
//! "What may change", has the rules.

use std::fmt::Display;
use std::path::Path;

use flatbuffers::Table;

use crate::error::{Error, ErrorKind, Part};

/// Something that a later version wrote into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newer {
    /// Such as "entry kind".
    pub(crate) what: &'static str,
    /// Such as "9".
    pub(crate) name: String,
}

impl Newer {
    pub(crate) fn new(what: &'static str, name: &dyn Display) -> Self {
        Self { what, name: name.to_string() }
    }
}

/// Why bytes do not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are not what was written. Says what was found instead.
    Damaged(String),
    /// They are what was written, by a later version.
    Newer(Newer),
}

impl Fault {
    pub(crate) fn newer(what: &'static str, name: &dyn Display) -> Self {
        Self::Newer(Newer::new(what, name))
    }
}

impl Newer {
    /// The error of bytes at `offset` of the file at `path`. With `readable`, only writing is refused.
    #[cold]
    pub(crate) fn at(self, path: &Path, offset: u64, readable: bool) -> Error {
        ErrorKind::NewerFeature { what: self.what, name: self.name, offset, readable }.at(path)
    }
}

impl Fault {
    /// The error of bytes at `offset` of the file at `path`, where something else was expected.
    #[cold]
    pub(crate) fn at(self, path: &Path, part: Part, offset: u64, expected: impl Into<String>) -> Error {
        match self {
            Self::Damaged(found) => Error::damaged(path, part, offset, expected, found),
            Self::Newer(newer) => newer.at(path, offset, false),
        }
    }
}

impl From<String> for Fault {
    fn from(found: String) -> Self {
        Self::Damaged(found)
    }
}

impl From<&str> for Fault {
    fn from(found: &str) -> Self {
        Self::Damaged(found.into())
    }
}

impl From<Newer> for Fault {
    fn from(newer: Newer) -> Self {
        Self::Newer(newer)
    }
}

/// Which features a depot uses, a bit each, by what a program that does not know the feature may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// It may read and write. What belongs to the feature may be gone afterwards.
    pub(crate) compatible: u64,
    /// It may read.
    pub(crate) read_only: u64,
    /// It may do nothing.
    pub(crate) incompatible: u64,
}

impl Features {
    /// The bytes of records are places in another file.
    pub(crate) const WRAPPED: u64 = 1;

    /// What this version knows.
    const KNOWN: Self = Self { compatible: 0, read_only: 0, incompatible: Self::WRAPPED };

    /// Refuses features that a reader must know.
    pub(crate) fn check_readable(self) -> Result<(), Newer> {
        match lowest(self.incompatible & !Self::KNOWN.incompatible) {
            Some(bit) => Err(Newer::new("the incompatible feature bit", &bit)),
            None => Ok(()),
        }
    }

    /// The feature that keeps this version from writing, if there is one.
    pub(crate) fn unknown_to_writers(self) -> Option<Newer> {
        let bit = lowest(self.read_only & !Self::KNOWN.read_only)?;
        Some(Newer::new("the feature bit for writers", &bit))
    }

    /// Whether fields that this version does not know may be dropped, since a compatible feature has them.
    pub(crate) fn has_unknown_compatible(self) -> bool {
        self.compatible & !Self::KNOWN.compatible != 0
    }
}

fn lowest(bits: u64) -> Option<u32> {
    (bits != 0).then(|| bits.trailing_zeros())
}

/// The number of the first field of a table that is set and that this version, which knows `known` fields,
/// does not know.
pub(crate) fn unknown_field(table: &Table<'_>, known: u16) -> Option<u16> {
    // A vtable starts with two lengths of two bytes each, before one offset of two bytes for each field.
    let vtable = table.vtable();
    let n_fields = u16::try_from((vtable.num_bytes() / 2).saturating_sub(2)).unwrap_or(u16::MAX);
    (known..n_fields).find(|field| vtable.get(field.saturating_mul(2).saturating_add(4)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_unknown_bit_is_named() {
        let features = Features { incompatible: 0b1010_0000, read_only: 1 << 63, compatible: 0 };
        assert_eq!(features.check_readable().unwrap_err().name, "5");
        assert_eq!(features.unknown_to_writers().unwrap().name, "63");
        assert!(!features.has_unknown_compatible());
        assert_eq!(Features::default().check_readable(), Ok(()));
        assert_eq!(Features::default().unknown_to_writers(), None);
    }
}

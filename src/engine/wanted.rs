//! Records that are to be read together: their names and places, in two columns.

use super::Seen;
use crate::index::{Location, NameList};

/// Tagged names and places of records to read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted {
    pub(super) names: NameList,
    pub(super) places: Vec<((), Location)>,
    pub(super) seen: Seen,
}

impl Wanted {
    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The tagged name of a record.
    #[inline]
    pub(crate) fn name(&self, number: usize) -> &[u8] {
        self.names.get(number)
    }

    /// The place of a record; `None` if there are not so many.
    pub(crate) fn location(&self, number: usize) -> Option<&Location> {
        self.places.get(number).map(|((), location)| location)
    }

    pub(super) fn push(&mut self, name: &[u8], location: Location) {
        self.names.push(name);
        self.places.push(((), location));
    }

    /// Keeps the first `len` records.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.names.truncate(len);
        self.places.truncate(len);
        self.seen.truncate(len);
    }

    /// Whether a record reaches over address `readable`.
    pub(crate) fn ends_after(&self, readable: u64) -> bool {
        self.places.iter().any(|((), location)| location.end() > readable)
    }
}

//! Which records were compared with their checksums before: see [`Verify::Once`].
//!
//! A snapshot has a bit for each of its records. Whoever looks records up notes here where it found them,
//! since a depot may have moved on to another snapshot by the time they are read.

use std::ops::Range;
use std::sync::Arc;

use super::Engine;
use crate::buffer::prefetch_far;
use crate::catalog::{RecordId, Snapshot};
use crate::chunk::ChunkAt;
use crate::error::Result;
use crate::index::{Location, Segment};
use crate::options::Verify;
use crate::storage::Windows;

/// Where the records of a batch were found, in its order. Empty if they are to be checked on each read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    snapshot: Option<Arc<Snapshot>>,
    ordinals: Vec<u64>,
}

/// What is known of a batch before it is read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    /// Stored bytes that were read ahead.
    pub(crate) ahead: Windows,
    pub(crate) seen: Seen,
}

/// The ordinal of a record that has no bit.
const NO_BIT: u64 = u64::MAX;

impl Seen {
    /// Notes where the next record of the batch was found; `None` if not in the index.
    pub(crate) fn push(&mut self, engine: &Engine, snapshot: &Arc<Snapshot>, place: Option<RecordId>) {
        if !engine.checks_once() {
            return;
        }
        let first = self.snapshot.get_or_insert_with(|| Arc::clone(snapshot));
        self.ordinals.push(match place {
            Some(RecordId::Committed(ordinal)) if Arc::ptr_eq(first, snapshot) => ordinal,
            _ => NO_BIT,
        });
    }

    /// What is noted of the records with these numbers.
    pub(crate) fn of(&self, numbers: &[usize]) -> Self {
        let ordinal = |&number: &usize| self.ordinals.get(number).copied().unwrap_or(NO_BIT);
        match &self.snapshot {
            Some(_) => {
                Self { snapshot: self.snapshot.clone(), ordinals: numbers.iter().map(ordinal).collect() }
            }
            None => Self::default(),
        }
    }

    /// Notes where the next records were found: all of a range of ordinals.
    pub(crate) fn extend(&mut self, engine: &Engine, snapshot: &Arc<Snapshot>, ordinals: Range<u64>) {
        if engine.checks_once() {
            ordinals.for_each(|ordinal| self.push(engine, snapshot, Some(RecordId::Committed(ordinal))));
        }
    }

    /// Keeps the first `len` records.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.ordinals.truncate(len);
        if len == 0 {
            self.snapshot = None;
        }
    }

    fn bit(&self, number: usize) -> Option<(&Snapshot, u64)> {
        self.snapshot.as_deref().zip(self.ordinals.get(number).copied())
    }

    /// Whether a record was checked before.
    pub(super) fn is_checked(&self, number: usize) -> bool {
        self.bit(number).is_some_and(|(snapshot, ordinal)| snapshot.verified.get(ordinal))
    }

    /// Notes that a record was checked.
    pub(super) fn set_checked(&self, number: usize) {
        if let Some((snapshot, ordinal)) = self.bit(number) {
            snapshot.verified.set(ordinal, snapshot.n_ordinals());
        }
    }
}

impl Engine {
    /// Whether a record that was checked may be read again without a check.
    pub(super) fn checks_once(&self) -> bool {
        self.verify == Verify::Once && self.shared.mapped
    }

    /// Compares a record's bytes, which the storage lends, with its checksum, if that was not done before.
    pub(super) fn check_lent(
        &self,
        location: &Location,
        bytes: &[u8],
        (seen, number): (&Seen, usize),
    ) -> Result<()> {
        if bytes.len() == location.in_memory() && seen.is_checked(number) {
            // No checksum brings it into the caches.
            prefetch_far(bytes);
            return Ok(());
        }
        self.check(location, bytes)?;
        seen.set_checked(number);
        Ok(())
    }

    /// Whether all of a record lies in bytes that the storage lends.
    pub(super) fn is_lent(&self, location: &Location) -> bool {
        if location.length == 0 || !self.shared.mapped {
            return false;
        }
        let ((first, _), (last, _)) = (self.chunk_of(location.address), self.chunk_of(location.end() - 1));
        (first..=last).all(|chunk| self.lends(chunk))
    }

    /// Whether the storage lends the raw bytes of a chunk.
    fn lends(&self, chunk: u64) -> bool {
        match self.source(chunk) {
            Ok(ChunkAt::Stored(at)) => self.reader(chunk).0.lend(&at, 0..1).is_some(),
            _ => false,
        }
    }

    /// Whether the storage lends most records, so that there is nothing to decode and nothing to wait for. It
    /// looks at one chunk of each segment.
    pub(crate) fn mostly_lends(&self) -> bool {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        let chunks = |segment: &Arc<Segment>| (segment.reference.first_chunk, segment.reference.n_chunks);
        let lent = |&(first, n): &(u64, u64)| n > 0 && self.lends(first + n / 2);
        let all: u64 = snapshot.segments.iter().map(|segment| chunks(segment).1).sum();
        let lent: u64 = snapshot.segments.iter().map(chunks).filter(lent).map(|(_, n)| n).sum();
        self.shared.mapped && lent > all / 2
    }
}

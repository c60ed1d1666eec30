//! The committed snapshot and the changes since then.

use std::borrow::Cow;
use std::sync::Arc;

use super::Snapshot;
use super::pending::Pending;
use crate::chunk::ChunkAt;
use crate::error::Result;
use crate::format::tables::{Attributes, OwnedAttributes};
use crate::index::{Location, Segment, hash, select_live};

/// A live record.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) location: Location,
    pub(crate) place: RecordId,
}

/// Where a record is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordId {
    /// Among the pending records.
    Pending(usize),
    /// Committed, by ordinal.
    Committed(u64),
}

/// Snapshot and pending changes. Readers and the writer share it under a lock.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) pending: Pending,
    /// Raw bytes of live records, pending ones included.
    pub(crate) raw_bytes: u64,
    /// A commit that the header names, that is newer than the snapshot, and that cannot be read.
    pub(crate) unread: Option<LostCommit>,
    /// A commit that cannot be read and has operations that are missing here. The depot is incomplete.
    pub(crate) lost: Option<LostCommit>,
}

/// A commit that was acknowledged, but cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostCommit {
    pub(crate) sequence: u64,
    /// Where its entry should be.
    pub(crate) offset: u64,
}

impl State {
    /// The state of a file whose index was made when it was opened.
    pub(crate) fn of_segment(segment: Segment, n_records: u64, n_chunks: u64, raw_bytes: u64) -> Self {
        let snapshot = Snapshot {
            sequence: 1,
            segments: vec![Arc::new(segment)],
            n_records,
            n_chunks,
            raw_bytes,
            ..Snapshot::default()
        };
        let mut state = Self::default();
        state.adopt_snapshot(Arc::new(snapshot));
        state
    }

    /// Takes over a commit. Nothing is pending any more.
    pub(crate) fn adopt_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.raw_bytes = snapshot.raw_bytes;
        self.snapshot = snapshot;
        self.pending = Pending::default();
    }

    /// The number of live records.
    pub(crate) fn len(&self) -> u64 {
        self.committed_len() + self.pending.n_live()
    }

    /// The number of live records of the snapshot.
    pub(crate) fn committed_len(&self) -> u64 {
        // In a forged index, more records may be found than it counts.
        self.snapshot.n_records.saturating_sub(self.pending.tombstones.len() as u64)
    }

    /// The live record called `name`.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found>> {
        self.find_guessing(name, &mut |_| ())
    }

    /// Like [`find`](Self::find), but `guess` gets the probable place of the record before it is certain.
    ///
    /// A guess comes from the hash of the name alone, before names are compared. It may be the place of a
    /// record with another name, or of a dead record, and there may be more than one. A caller that acts on
    /// a guess has to compare it with what is found.
    pub(crate) fn find_guessing(
        &self,
        name: &[u8],
        guess: &mut dyn FnMut(&Location),
    ) -> Result<Option<Found>> {
        self.find_hashed(hash(name), name, guess)
    }

    /// Like [`find_guessing`](Self::find_guessing), but with the hash of the name already known.
    pub(crate) fn find_hashed(
        &self,
        hash: u64,
        name: &[u8],
        guess: &mut dyn FnMut(&Location),
    ) -> Result<Option<Found>> {
        if let Some(number) = self.pending.find(hash, name) {
            let location = self.pending.location(number);
            return Ok(Some(Found { location, place: RecordId::Pending(number) }));
        }
        Ok(self
            .snapshot
            .find(hash, name, guess)?
            .filter(|(ordinal, _)| !self.pending.tombstones.contains(ordinal))
            .map(|(ordinal, location)| Found { location, place: RecordId::Committed(ordinal) }))
    }

    /// The place of the live record at `position`.
    pub(crate) fn at(&self, position: u64) -> Result<Option<RecordId>> {
        let committed = self.committed_len();
        let dead = if position < committed { self.tombstones()? } else { Cow::Borrowed(&[][..]) };
        Ok(self.place(position, &dead))
    }

    /// Like [`at`](Self::at), but with the ordinals that [`tombstones`](Self::tombstones) gives in `dead`.
    pub(crate) fn place(&self, position: u64, dead: &[u64]) -> Option<RecordId> {
        if position >= self.len() {
            return None;
        }
        let committed = self.committed_len();
        if position < committed {
            return Some(RecordId::Committed(select_live(position, dead)));
        }
        let number = select_live(position - committed, self.pending.dead());
        usize::try_from(number).ok().map(RecordId::Pending)
    }

    /// Sorted ordinals of committed records that are dead by now.
    pub(crate) fn tombstones(&self) -> Result<Cow<'_, [u64]>> {
        let dead = self.snapshot.tombstones()?;
        if self.pending.tombstones.is_empty() {
            return Ok(Cow::Borrowed(dead));
        }
        let mut all: Vec<u64> = dead.iter().chain(&self.pending.tombstones).copied().collect();
        all.sort_unstable();
        Ok(Cow::Owned(all))
    }

    /// The position of the live record at `place`.
    ///
    /// For a committed record, `dead` must come from [`tombstones`](Self::tombstones).
    pub(crate) fn position(&self, place: RecordId, dead: &[u64]) -> u64 {
        let before = |dead: &[u64], at: u64| dead.partition_point(|&dead| dead < at) as u64;
        match place {
            RecordId::Committed(ordinal) => ordinal.saturating_sub(before(dead, ordinal)),
            RecordId::Pending(number) => {
                let committed = self.committed_len();
                committed + number as u64 - before(self.pending.dead(), number as u64)
            }
        }
    }

    /// The tagged name of the record at a place.
    pub(crate) fn name(&self, place: RecordId) -> Result<Vec<u8>> {
        match place {
            RecordId::Pending(number) => Ok(self.pending.name(number).to_vec()),
            RecordId::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.name(local),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Location of the record at a place.
    pub(crate) fn location(&self, place: RecordId) -> Result<Location> {
        match place {
            RecordId::Pending(number) => Ok(self.pending.location(number)),
            RecordId::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.location(local),
                None => Ok(Location::default()),
            },
        }
    }

    /// MessagePack metadata of the record at a place.
    pub(crate) fn metadata(&self, place: RecordId) -> Result<Option<Vec<u8>>> {
        match place {
            RecordId::Pending(number) => Ok(self.pending.attributes(number).metadata.map(<[u8]>::to_vec)),
            RecordId::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.metadata(local),
                None => Ok(None),
            },
        }
    }

    /// The row of scalars of the record at a place.
    pub(crate) fn scalars(&self, place: RecordId) -> Result<Vec<u8>> {
        match place {
            RecordId::Pending(number) => Ok(self.pending.attributes(number).scalars.to_vec()),
            RecordId::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.scalars(local),
                None => Ok(Vec::new()),
            },
        }
    }

    /// What is kept of the record at a place, besides its name and its location.
    pub(crate) fn attributes(&self, place: RecordId) -> Result<OwnedAttributes> {
        Ok(OwnedAttributes { metadata: self.metadata(place)?, scalars: self.scalars(place)? })
    }

    /// Notes that a found record is dead. `hash` is the hash of its name.
    pub(crate) fn mark_dead(&mut self, hash: u64, found: &Found) {
        self.raw_bytes = self.raw_bytes.saturating_sub(found.location.length);
        self.pending.changed = true;
        match found.place {
            RecordId::Committed(ordinal) => {
                self.pending.tombstones.insert(ordinal);
                self.pending.dead_names.insert(hash);
            }
            RecordId::Pending(number) => self.pending.mark_dead(number),
        }
    }

    /// Notes a new record. No live record may have its name. `hash` is the hash of the name.
    pub(crate) fn insert(&mut self, hash: u64, name: &[u8], location: &Location, attributes: Attributes<'_>) {
        self.raw_bytes = self.raw_bytes.saturating_add(location.length);
        self.pending.insert(hash, name, location, attributes);
    }

    /// Notes a new record with a name that comes after the names of all pending records, dead ones included.
    pub(crate) fn insert_last(
        &mut self,
        hash: u64,
        name: &[u8],
        location: &Location,
        attributes: Attributes<'_>,
    ) {
        self.raw_bytes = self.raw_bytes.saturating_add(location.length);
        self.pending.insert_last(hash, name, location, attributes);
    }

    /// Where chunk `chunk` is.
    pub(crate) fn source(&self, chunk: u64) -> Result<Option<ChunkAt>> {
        if self.snapshot.members.is_set() {
            return Ok(self.snapshot.chunk(chunk)?.map(ChunkAt::Stored));
        }
        match chunk.checked_sub(self.snapshot.n_chunks) {
            Some(number) => {
                Ok(usize::try_from(number).ok().and_then(|n| self.pending.chunks.get(n)).cloned())
            }
            None => Ok(self.snapshot.chunk(chunk)?.map(ChunkAt::Stored)),
        }
    }

    /// Notes where chunk `chunk` is now. The chunk is not committed, and was noted before or is the next one.
    ///
    /// In a state that others read, only the writer calls this. A chunk goes from open to sealed to stored,
    /// and never back. Recovery and repair call this on a state that nobody else has yet.
    pub(crate) fn set_source(&mut self, chunk: u64, source: ChunkAt) {
        let Some(number) = chunk.checked_sub(self.snapshot.n_chunks) else { return };
        let Ok(number) = usize::try_from(number) else { return };
        if number == self.pending.chunks.len() {
            self.pending.chunks.push(source);
        } else if let Some(slot) = self.pending.chunks.get_mut(number) {
            *slot = source;
        }
        self.pending.changed = true;
    }
}

//! What a depot knows at one moment: the committed snapshot, and what was put since.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::pending::Pending;
use crate::buffer::AlignedBuf;
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::format::tables::{Commit, SegmentRef};
use crate::index::{Location, PageCache, Segment, find_live_hashed, hash, select_live};

/// The index as of a commit. Immutable.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Number of the commit, 0 before the first.
    pub(crate) sequence: u64,
    /// Offset of the COMMIT entry.
    pub(crate) offset: u64,
    /// Oldest first.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Live records.
    pub(crate) n_records: u64,
    pub(crate) n_chunks: u64,
    /// Raw bytes of live records.
    pub(crate) raw_bytes: u64,
    /// Where the depot's own metadata lie: offset and length of the entry, zeros without.
    pub(crate) metadata: (u64, u64),
    /// Offset of the commit before a truncation that can be taken back; 0 without.
    pub(crate) undo: u64,
    /// Where it is noted what the depot has lost: offset and length of the entry, zeros without.
    pub(crate) losses: (u64, u64),
    /// Ordinals of dead records, found when first asked for.
    pub(crate) dead: OnceLock<Vec<u64>>,
    /// Records whose checksum was compared, by ordinal: see [`crate::Verify::Once`].
    pub(crate) verified: Verified,
}

/// Words of a page of [`Verified`].
const VERIFIED_WORDS: usize = 1024;

/// A bit for each ordinal, in pages that are made when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pages: OnceLock<Box<[OnceLock<VerifiedPage>]>>,
}

type VerifiedPage = Box<[AtomicU64; VERIFIED_WORDS]>;

/// Page, word in it and bit in that of an ordinal.
fn verified_place(ordinal: u64) -> (usize, usize, u64) {
    let word = usize::try_from(ordinal / 64).unwrap_or(usize::MAX);
    (word / VERIFIED_WORDS, word % VERIFIED_WORDS, 1 << (ordinal % 64))
}

impl Verified {
    /// Whether the bit of `ordinal` is set.
    pub(crate) fn get(&self, ordinal: u64) -> bool {
        let (page, word, bit) = verified_place(ordinal);
        let page = self.pages.get().and_then(|pages| pages.get(page)).and_then(OnceLock::get);
        page.is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Sets the bit of `ordinal`, one of `n`.
    pub(crate) fn set(&self, ordinal: u64, n: u64) {
        let (page, word, bit) = verified_place(ordinal);
        let n_pages = || verified_place(n).0 + 1;
        let pages = self.pages.get_or_init(|| (0..n_pages()).map(|_| OnceLock::new()).collect());
        if let Some(slot) = pages.get(page) {
            let words = slot.get_or_init(|| Box::new([const { AtomicU64::new(0) }; VERIFIED_WORDS]));
            words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }
}

impl Snapshot {
    /// What `commit`, whose entry is at `offset`, says of these `segments`.
    pub(crate) fn new(commit: &Commit, offset: u64, segments: Vec<Arc<Segment>>) -> Self {
        Self {
            sequence: commit.sequence,
            offset,
            segments,
            n_records: commit.n_records,
            n_chunks: commit.n_chunks,
            raw_bytes: commit.raw_bytes,
            metadata: commit.metadata,
            undo: commit.undo,
            losses: commit.losses,
            ..Self::default()
        }
    }

    /// Ordinals given out so far, dead ones included.
    pub(crate) fn n_ordinals(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.reference.first_ordinal + s.reference.n_records)
    }

    /// The room for pages that the segments share.
    pub(crate) fn pages(&self) -> Arc<PageCache> {
        self.segments.first().and_then(|segment| segment.pages()).unwrap_or_default()
    }

    /// References of all segments.
    pub(crate) fn references(&self) -> Vec<SegmentRef> {
        self.segments.iter().map(|segment| segment.reference).collect()
    }

    /// Sorted ordinals of dead records. Reads all kills once; there are none after a full merge.
    pub(crate) fn dead(&self) -> Result<&[u64]> {
        if let Some(dead) = self.dead.get() {
            return Ok(dead);
        }
        let mut dead = Vec::new();
        for segment in &self.segments {
            dead.extend(segment.all_kills()?);
        }
        dead.sort_unstable();
        let twice = dead.windows(2).any(|pair| pair[0] == pair[1]);
        if let Some(&last) = dead.last()
            && (twice || last >= self.n_ordinals())
            && let Some(segment) = self.segments.last()
        {
            let expected = format!("records under {}, each dead once", self.n_ordinals());
            return Err(segment.damaged_at_start(expected, format!("{} dead up to {last}", dead.len())));
        }
        Ok(self.dead.get_or_init(|| dead))
    }

    /// The segment that has `ordinal`, and the ordinal inside it.
    pub(crate) fn segment_of(&self, ordinal: u64) -> Option<(&Arc<Segment>, u64)> {
        let number =
            self.segments.partition_point(|s| s.reference.first_ordinal + s.reference.n_records <= ordinal);
        let segment = self.segments.get(number)?;
        Some((segment, ordinal - segment.reference.first_ordinal))
    }

    /// Reference of a committed chunk.
    pub(crate) fn chunk(&self, chunk: u64) -> Result<Option<ChunkRef>> {
        let number =
            self.segments.partition_point(|s| s.reference.first_chunk + s.reference.n_chunks <= chunk);
        self.segments.get(number).map(|segment| segment.chunk(chunk)).transpose()
    }
}

/// Where a chunk's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In the writer's hands.
    Open,
    /// Full, not yet in the file.
    Sealed(Arc<AlignedBuf>),
    /// In the file.
    Stored(ChunkRef),
    /// Nowhere, in a file that lost it.
    Missing,
}

/// A live record.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) location: Location,
    pub(crate) place: Place,
}

/// Where a record is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the pending records.
    Pending(usize),
    /// Committed, by ordinal.
    Committed(u64),
}

/// Snapshot and pending changes; readers and the writer share it under a lock.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) pending: Pending,
    /// Raw bytes of live records, pending ones included.
    pub(crate) raw_bytes: u64,
    /// The file is damaged: the header names a commit that is newer than the snapshot and cannot be read.
    pub(crate) unread: Option<LostCommit>,
    /// The same, where not all that it had is here: the depot is short.
    pub(crate) lost: Option<LostCommit>,
}

/// A commit that was acknowledged and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostCommit {
    pub(crate) sequence: u64,
    /// Where its entry should be.
    pub(crate) offset: u64,
}

impl State {
    /// Takes over a commit: nothing is pending any more.
    pub(crate) fn adopt_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.raw_bytes = snapshot.raw_bytes;
        self.snapshot = snapshot;
        self.pending = Pending::default();
    }

    /// Live records.
    pub(crate) fn len(&self) -> u64 {
        self.committed_len() + self.pending.n_live()
    }

    /// Live records of the snapshot.
    pub(crate) fn committed_len(&self) -> u64 {
        // A forged index may find more records than it counts.
        self.snapshot.n_records.saturating_sub(self.pending.kills.len() as u64)
    }

    /// The live record called `name`.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found>> {
        self.find_guessing(name, &mut |_| ())
    }

    /// As [`find`](Self::find); `guess` is told where the record probably is before that is certain.
    pub(crate) fn find_guessing(
        &self,
        name: &[u8],
        guess: &mut dyn FnMut(&Location),
    ) -> Result<Option<Found>> {
        self.find_hashed(hash(name), name, guess)
    }

    /// As [`find_guessing`](Self::find_guessing), where the hash of the name is known.
    pub(crate) fn find_hashed(
        &self,
        hash: u64,
        name: &[u8],
        guess: &mut dyn FnMut(&Location),
    ) -> Result<Option<Found>> {
        if let Some(number) = self.pending.find(hash, name) {
            let location = self.pending.location(number);
            return Ok(Some(Found { location, place: Place::Pending(number) }));
        }
        Ok(find_live_hashed(&self.snapshot.segments, hash, name, guess)?
            .filter(|(_, ordinal, _)| !self.pending.kills.contains(ordinal))
            .map(|(_, ordinal, location)| Found { location, place: Place::Committed(ordinal) }))
    }

    /// The place of the live record at `position`.
    pub(crate) fn at(&self, position: u64) -> Result<Option<Place>> {
        let committed = self.committed_len();
        let dead = if position < committed { self.dead()? } else { Cow::Borrowed(&[][..]) };
        Ok(self.place(position, &dead))
    }

    /// As [`at`](Self::at), with the `dead` ordinals already at hand.
    pub(crate) fn place(&self, position: u64, dead: &[u64]) -> Option<Place> {
        if position >= self.len() {
            return None;
        }
        let committed = self.committed_len();
        if position < committed {
            return Some(Place::Committed(select_live(position, dead)));
        }
        let number = select_live(position - committed, self.pending.dead());
        usize::try_from(number).ok().map(Place::Pending)
    }

    /// Sorted ordinals of committed records that are dead by now.
    pub(crate) fn dead(&self) -> Result<Cow<'_, [u64]>> {
        let dead = self.snapshot.dead()?;
        if self.pending.kills.is_empty() {
            return Ok(Cow::Borrowed(dead));
        }
        let mut all: Vec<u64> = dead.iter().chain(&self.pending.kills).copied().collect();
        all.sort_unstable();
        Ok(Cow::Owned(all))
    }

    /// The position of the live record at `place`; `dead` as [`dead`](Self::dead) gives it.
    pub(crate) fn position(&self, place: Place, dead: &[u64]) -> u64 {
        let before = |dead: &[u64], at: u64| dead.partition_point(|&dead| dead < at) as u64;
        match place {
            Place::Committed(ordinal) => ordinal.saturating_sub(before(dead, ordinal)),
            Place::Pending(number) => {
                let committed = self.committed_len();
                committed + number as u64 - before(self.pending.dead(), number as u64)
            }
        }
    }

    /// The tagged name of the record at a place.
    pub(crate) fn name(&self, place: Place) -> Result<Vec<u8>> {
        match place {
            Place::Pending(number) => Ok(self.pending.name(number).to_vec()),
            Place::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.name(local),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Location of the record at a place.
    pub(crate) fn location(&self, place: Place) -> Result<Location> {
        match place {
            Place::Pending(number) => Ok(self.pending.location(number)),
            Place::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.location(local),
                None => Ok(Location::default()),
            },
        }
    }

    /// MessagePack metadata of the record at a place.
    pub(crate) fn metadata(&self, place: Place) -> Result<Option<Vec<u8>>> {
        match place {
            Place::Pending(number) => Ok(self.pending.metadata(number).map(<[u8]>::to_vec)),
            Place::Committed(ordinal) => match self.snapshot.segment_of(ordinal) {
                Some((segment, local)) => segment.metadata(local),
                None => Ok(None),
            },
        }
    }

    /// Notes that the record at a place, whose name has this hash, is dead.
    pub(crate) fn kill(&mut self, hash: u64, found: &Found) {
        self.raw_bytes = self.raw_bytes.saturating_sub(u64::from(found.location.length));
        self.pending.changed = true;
        match found.place {
            Place::Committed(ordinal) => {
                self.pending.kills.insert(ordinal);
                self.pending.killed.insert(hash);
            }
            Place::Pending(number) => self.pending.kill(number),
        }
    }

    /// Notes a new record, whose name is free and has this hash.
    pub(crate) fn insert(&mut self, hash: u64, name: &[u8], location: &Location, metadata: Option<&[u8]>) {
        self.raw_bytes = self.raw_bytes.saturating_add(u64::from(location.length));
        self.pending.insert(hash, name, location, metadata);
    }

    /// Where chunk `chunk` is.
    pub(crate) fn source(&self, chunk: u64) -> Result<Option<Source>> {
        match chunk.checked_sub(self.snapshot.n_chunks) {
            Some(number) => {
                Ok(usize::try_from(number).ok().and_then(|n| self.pending.chunks.get(n)).cloned())
            }
            None => Ok(self.snapshot.chunk(chunk)?.map(Source::Stored)),
        }
    }

    /// Notes where chunk `chunk`, which is not committed, is now.
    pub(crate) fn set_source(&mut self, chunk: u64, source: Source) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_bits_are_those_that_were_set() {
        let verified = Verified::default();
        assert!(!verified.get(0) && !verified.get(1 << 40));
        for ordinal in (0..200_000).step_by(3) {
            verified.set(ordinal, 200_000);
        }
        assert!((0..200_000).all(|ordinal| verified.get(ordinal) == ordinal.is_multiple_of(3)));
        verified.set(1 << 40, 200_000);
        assert!(!verified.get(1 << 40), "an ordinal that is none is never verified");
    }
}

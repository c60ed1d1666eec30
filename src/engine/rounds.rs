//! Reads what records need in few rounds, if the storage cannot map.
//!
//! One thing leads to the next: a name to its place, a place to its chunk, a chunk to its table of blocks,
//! and this to the blocks. Where each request waits for a network, reading these one by one for each record
//! would take most of the time. Here each step is taken for all records together, in one call of the storage.
//!
//! What is read ahead is checked and kept by those who keep it anyway: pages by the index, tables by the
//! chunk reader. Only stored blocks are handed on, as [`Windows`]. The methods that find and read a record
//! are the same as always. What is missing here, they read, and what is damaged, they report.

use super::Engine;
use crate::catalog::{Snapshot, State};
use crate::chunk::ChunkAt;
use crate::index::{Location, Segment, Way, hash};
use crate::storage::{Ahead, Windows};

/// No way is longer than this. It bounds what a writer at work can do to a reader.
const TURNS: usize = 16;

/// Raw bytes of one record that are read ahead. The rest is read chunk by chunk.
const OF_A_RECORD: usize = 64 << 20;

/// Bytes that may be spent to guess where hashes are, for all names together.
const GUESSED: u64 = 16 << 20;

/// Records whose pages are read ahead together. They fit into the memory that pages have.
pub(super) const RECORDS_AHEAD: usize = 4096;

/// Records whose locations are read together. Most are neighbours.
pub(super) const PLACES_AHEAD: usize = 1 << 14;

/// Records of a listing whose names and locations are read together.
const LISTED: u64 = 1 << 14;

/// How much of the way to a record is read ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Upto {
    /// Its place.
    Place,
    /// The tables of its blocks.
    Tables,
    /// The blocks that hold it.
    Blocks,
}

impl Engine {
    /// Reads ahead what the records with these tagged names need. Returns the stored blocks.
    ///
    /// Nothing is read if the storage can map.
    pub(super) fn expect_names<'n>(&self, names: impl Iterator<Item = &'n [u8]>, upto: Upto) -> Windows {
        if !self.shared.reads_ahead() {
            return Windows::default();
        }
        let mut left: Vec<(u64, &[u8])> = names.map(|name| (hash(name), name)).collect();
        let n = left.len();
        self.in_turns(Windows::default(), &mut |state, ahead| {
            state.snapshot.segments.iter().for_each(|segment| segment.expect_filter(ahead, n));
            let guessed: u64 = state.snapshot.segments.iter().map(|segment| segment.guessed_len()).sum();
            let guess = guessed.saturating_mul(left.len() as u64) <= GUESSED;
            left.retain(|&name| self.expect_name(state, ahead, name, guess, upto));
        })
    }

    /// Like [`expect_names`](Self::expect_names), for one name.
    pub(super) fn expect_one(&self, name: &[u8], upto: Upto) -> Windows {
        if !self.shared.reads_ahead() {
            return Windows::default();
        }
        let name = (hash(name), name);
        self.in_turns(Windows::default(), &mut |state, ahead| {
            self.expect_name(state, ahead, name, true, upto);
        })
    }

    /// Reads ahead what the records at these locations need, beyond what was read `before`.
    ///
    /// Returns all of it.
    pub(super) fn expect_locations<'l>(
        &self,
        locations: impl Iterator<Item = &'l Location>,
        before: &Windows,
    ) -> Windows {
        if !self.shared.reads_ahead() {
            return Windows::default();
        }
        let mut left: Vec<&Location> = locations.collect();
        self.in_turns(before.clone(), &mut |state, ahead| {
            left.retain(|location| {
                let noted = ahead.noted();
                self.expect_data(state, ahead, location, Upto::Blocks);
                ahead.noted() > noted
            });
        })
    }

    /// Reads ahead the locations of committed records, and the references to their chunks.
    pub(super) fn expect_places(&self, snapshot: &Snapshot, ordinals: impl Iterator<Item = u64>) {
        if !self.shared.reads_ahead() {
            return;
        }
        let mut left: Vec<u64> = ordinals.collect();
        self.in_turns(Windows::default(), &mut |state, ahead| {
            left.retain(|&ordinal| {
                let noted = ahead.noted();
                let Some((segment, local)) = snapshot.segment_of(ordinal) else { return false };
                match segment.expect_place(ahead, local) {
                    Some(location) => self.expect_data(state, ahead, &location, Upto::Place),
                    None => segment.expect_chunk_of(ahead, local),
                }
                ahead.noted() > noted
            });
        });
    }

    /// Reads ahead the names from local `first` on, and with `places` their locations.
    ///
    /// Returns the first ordinal that was not read ahead.
    pub(super) fn expect_listed(&self, segment: &Segment, first: u64, places: bool) -> u64 {
        if !self.shared.reads_ahead() {
            return u64::MAX;
        }
        let end = first.saturating_add(LISTED).min(segment.reference.n_records);
        self.in_turns(Windows::default(), &mut |_, ahead| {
            segment.expect_records(ahead, first..end, places);
        });
        segment.reference.first_ordinal.saturating_add(end)
    }

    /// Lets `note` look at what is in memory and note what it lacks, and reads that, until nothing is noted.
    fn in_turns(&self, before: Windows, note: &mut dyn FnMut(&State, &mut Ahead<'_>)) -> Windows {
        let mut ahead = Ahead::new(&*self.shared.storage, before);
        for _ in 0..TURNS {
            // Not locked while bytes are on their way.
            note(&self.shared.read(), &mut ahead);
            if ahead.is_at_end() || !ahead.turn() {
                break;
            }
        }
        ahead.into_windows()
    }

    /// Goes on with the way to a name. Returns whether it needs another turn.
    fn expect_name(
        &self,
        state: &State,
        ahead: &mut Ahead<'_>,
        (hash, name): (u64, &[u8]),
        guess: bool,
        upto: Upto,
    ) -> bool {
        let noted = ahead.noted();
        if let Some(number) = state.pending.find(hash, name) {
            self.expect_data(state, ahead, &state.pending.location(number), upto);
            return ahead.noted() > noted;
        }
        let segments = &state.snapshot.segments;
        for (number, segment) in segments.iter().enumerate().rev() {
            let found = &mut |ahead: &mut Ahead<'_>, location: &Location| {
                self.expect_data(state, ahead, location, upto);
            };
            let several = segments.len() > 1;
            if let Way::Arrives = segment.expect_name(ahead, hash, (several, guess), found) {
                segments[number + 1..].iter().for_each(|newer| newer.expect_tombstones(ahead));
            }
        }
        ahead.noted() > noted
    }

    /// Reads ahead what the record at a location needs, beginning with the references to its chunks.
    fn expect_data(&self, state: &State, ahead: &mut Ahead<'_>, location: &Location, upto: Upto) {
        let chunk_size = self.shared.parameters.chunk_size;
        let (mut chunk, mut start) = self.chunk_of(location.address);
        let mut left = location.in_memory().min(OF_A_RECORD);
        while left > 0 {
            let len = left.min(chunk_size.saturating_sub(start));
            let source = if chunk < state.snapshot.n_chunks {
                state.snapshot.expect_chunk(ahead, chunk).map(ChunkAt::Stored)
            } else {
                state.source(chunk).ok().flatten()
            };
            match source {
                Some(ChunkAt::Stored(at)) if upto != Upto::Place => {
                    let (reader, chunk) = self.reader(chunk);
                    reader.expect(ahead, chunk, &at, start..start + len, upto == Upto::Blocks);
                }
                _ => {}
            }
            (left, chunk, start) = (left - len, chunk + 1, 0);
        }
    }
}

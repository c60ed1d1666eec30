//! Moves a reader forward, and tells how many of its leading records are still the same.
//!
//! Two states of one file have most of their records in common. Segments that both start with hold the same
//! records; only which of them are dead may differ. From the first difference on, records are compared one
//! by one. A merge gives records other ordinals, but leaves their places as they are, so they stay the same.

use super::Engine;
use super::open::incomplete;
use super::shared::Shared;
use crate::catalog::{RecordId, Snapshot, State};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::index::{Location, Segment};
use crate::log::{self, FirstPage, Header};
use crate::sync;

/// How far a refresh has moved a reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// The number of records before, and now.
    pub(crate) before: u64,
    pub(crate) now: u64,
    /// How many leading records are the same.
    pub(crate) kept: u64,
    /// Whether the reader moved.
    pub(crate) changed: bool,
}

impl Moved {
    pub(super) fn nowhere(records: u64) -> Self {
        Self { before: records, now: records, kept: records, changed: false }
    }
}

impl Engine {
    /// Moves a reader forward to the newest state of the file. After an error, the reader has not moved.
    pub(crate) fn refresh(&self) -> Result<Moved> {
        let Shared { storage, parameters, mapped, .. } = &*self.shared;
        if self.is_writable() {
            return Ok(Moved::nowhere(self.shared.read().len()));
        }
        // Held to the end, so that there is one refresh at a time.
        let mut tail = sync::lock(&self.tail);
        let replaced = storage.is_replaced();
        if replaced.map_err(|source| self.shared.io("ask whether the file was replaced", source))? {
            return Err(ErrorKind::Replaced.at(self.path()));
        }
        if self.is_foreign() {
            return Ok(Moved::nowhere(self.shared.read().len()));
        }
        #[cfg(feature = "shards")]
        if let Some(set) = &self.set {
            return self.refresh_set(set);
        }
        let loaded = FirstPage::read(storage)
            .and_then(|page| log::load(storage, parameters.clone(), page, *mapped))
            .map_err(|error| self.if_overwritten(error))?;
        let old = self.shared.read();
        if let Some(error) = self.newly_lost(&old, &loaded.state) {
            return Err(self.if_overwritten(error));
        }
        if loaded.tail == *tail {
            return Ok(Moved::nowhere(old.len()));
        }
        drop(old);
        let moved = self.move_to(loaded.state)?;
        *tail = loaded.tail;
        Ok(moved)
    }

    /// Takes over a newer state.
    pub(super) fn move_to(&self, new: State) -> Result<Moved> {
        let old = self.shared.read();
        let (before, now) = (old.len(), new.len());
        // In a forged index, more records may be listed than it counts.
        let kept = common_prefix(&old, &new)?.min(before).min(now);
        drop(old);
        *self.shared.write() = new;
        Ok(Moved { before, now, kept, changed: true })
    }

    /// The error for a commit that is lost in `new`, but was not lost in `old`.
    ///
    /// It is a commit that the header names, or the commit of `old` itself.
    fn newly_lost(&self, old: &State, new: &State) -> Option<Error> {
        if new.lost.is_some() && new.lost != old.lost {
            return incomplete(&self.shared.storage, new);
        }
        let Snapshot { sequence, offset, .. } = *old.snapshot;
        // The commit cannot be read, but its records can. They are in the state as if no commit covered them.
        let unread = new.unread.is_some_and(|unread| unread.sequence >= sequence);
        if new.snapshot.sequence >= sequence || unread {
            return None;
        }
        Some(Error::damaged(
            self.path(),
            Part::Commit,
            offset,
            format!("commit {sequence}"),
            format!("commit {}, with {} records, as the newest", new.snapshot.sequence, new.len()),
        ))
    }

    /// Returns `error`, or [`ErrorKind::Replaced`] if another depot was written into the same file.
    fn if_overwritten(&self, error: Error) -> Error {
        let ours = self.shared.parameters.depot_id;
        match log::read_header(&self.shared.storage) {
            Ok((Header::Depot(parameters), _)) if parameters.depot_id == ours => error,
            Ok(_) => ErrorKind::Replaced.at(self.path()),
            Err(_) => error,
        }
    }
}

/// How many leading live records are the same in both states of one file, by name and location.
fn common_prefix(old: &State, new: &State) -> Result<u64> {
    let pairs = old.snapshot.segments.iter().zip(&new.snapshot.segments);
    let n_shared = pairs.take_while(|(old, new)| old.is_same(new)).count();
    let last_shared = n_shared.checked_sub(1).and_then(|last| old.snapshot.segments.get(last));
    let end = last_shared.map_or(0, |s| s.reference.first_ordinal + s.reference.n_records);
    let (old_dead, new_dead) = (old.tombstones()?, new.tombstones()?);
    // The first ordinal of the shared segments that is dead in only one state, and how many dead ones are
    // before it in both.
    let below = |dead: &[u64]| dead.partition_point(|&ordinal| ordinal < end);
    let (old_below, new_below) = (&old_dead[..below(&old_dead)], &new_dead[..below(&new_dead)]);
    let alike = old_below.iter().zip(new_below).take_while(|(old, new)| old == new).count();
    let differs = [old_below.get(alike), new_below.get(alike)].into_iter().flatten().min();
    let ordinal = differs.copied().unwrap_or(end);
    let mut kept = ordinal.saturating_sub(alike as u64);
    let mut old = Live::new(old, &old_dead[alike..], ordinal);
    let mut new = Live::new(new, &new_dead[alike..], ordinal);
    while let Some((old_place, new_place)) = old.next().zip(new.next()) {
        let location = old.location(old_place)?;
        if location != new.location(new_place)? {
            break;
        }
        // Committed records with different names share no byte, so equal places mean equal records. But
        // records that no commit covers may be cut off, and others written in their place. Also, many
        // records without bytes may be at one place.
        let told = location.length > 0
            && matches!((old_place, new_place), (RecordId::Committed(_), RecordId::Committed(_)));
        if !told && old.name(old_place)? != new.name(new_place)? {
            break;
        }
        kept += 1;
    }
    Ok(kept)
}

/// Goes through the live records of a state in order, from an ordinal on.
struct Live<'s> {
    state: &'s State,
    /// Sorted dead ordinals, from the next one on.
    dead: &'s [u64],
    /// The next ordinal.
    ordinal: u64,
    /// Number of the segment with the record that was returned last.
    segment: usize,
    pending: Box<dyn Iterator<Item = usize> + 's>,
    /// The local ordinal of the first name in a block, and the names of that block.
    block: (u64, Vec<Vec<u8>>),
    /// Number of the segment that has the block.
    block_of: usize,
}

impl<'s> Live<'s> {
    fn new(state: &'s State, dead: &'s [u64], ordinal: u64) -> Self {
        let end_of = |s: &Segment| s.reference.first_ordinal + s.reference.n_records;
        let segment = state.snapshot.segments.partition_point(|segment| end_of(segment) <= ordinal);
        let pending = Box::new(state.pending.live());
        Self { state, dead, ordinal, segment, pending, block: (0, Vec::new()), block_of: usize::MAX }
    }

    fn next(&mut self) -> Option<RecordId> {
        while let Some(segment) = self.state.snapshot.segments.get(self.segment) {
            let end = segment.reference.first_ordinal + segment.reference.n_records;
            while self.ordinal < end {
                let ordinal = self.ordinal;
                self.ordinal += 1;
                match self.dead.split_first() {
                    Some((&dead, rest)) if dead <= ordinal => self.dead = rest,
                    _ => return Some(RecordId::Committed(ordinal)),
                }
            }
            self.segment += 1;
        }
        self.pending.next().map(RecordId::Pending)
    }

    /// The segment with the record returned last, and the ordinal inside it.
    fn local(&self, ordinal: u64) -> Option<(&'s Segment, u64)> {
        let segment = self.state.snapshot.segments.get(self.segment)?;
        Some((segment, ordinal.checked_sub(segment.reference.first_ordinal)?))
    }

    /// The location of the record returned last.
    fn location(&self, place: RecordId) -> Result<Location> {
        match place {
            RecordId::Pending(number) => Ok(self.state.pending.location(number)),
            RecordId::Committed(ordinal) => match self.local(ordinal) {
                Some((segment, local)) => segment.location(local),
                None => Ok(Location::default()),
            },
        }
    }

    /// The tagged name of the record returned last.
    fn name(&mut self, place: RecordId) -> Result<&[u8]> {
        let ordinal = match place {
            RecordId::Pending(number) => return Ok(self.state.pending.name(number)),
            RecordId::Committed(ordinal) => ordinal,
        };
        let Some((segment, local)) = self.local(ordinal) else { return Ok(&[]) };
        let nth = |first: u64| usize::try_from(local.wrapping_sub(first)).unwrap_or(usize::MAX);
        if self.block_of != self.segment || nth(self.block.0) >= self.block.1.len() {
            self.block = segment.names_around(local)?;
            self.block_of = self.segment;
        }
        let (first, names) = &self.block;
        Ok(names.get(nth(*first)).map(Vec::as_slice).unwrap_or_default())
    }
}

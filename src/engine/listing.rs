//! Lists all live records as of one moment, in order: their names, block by block, and their places.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::fallback::Rebuilt;
use super::find::Moment;
use super::read::in_record;
use super::wanted::Wanted;
use crate::catalog::{DeadNames, PendingRecords, RecordId, Snapshot, State};
use crate::error::{Error, Part, Result};
use crate::index::{Location, Segment, hash};
use crate::key::Key;

/// The error for a name that is not a key.
pub(crate) fn malformed(path: &Path, name: &[u8]) -> Error {
    Error::damaged(path, Part::Index, 0, "a name", format!("the bytes \"{}\"", name.escape_ascii()))
}

/// The name of a live record, and its place if the index can tell.
pub(crate) struct ListedRecord {
    /// The tagged name.
    pub(crate) name: Vec<u8>,
    pub(crate) location: Result<Location>,
}

/// Ordinals and tagged names.
pub(crate) type FoundName = (u64, Vec<u8>);

pub(crate) type FoundNames = Vec<FoundName>;

/// Names and places of live records as of one moment, in order.
///
/// If the index is damaged, the directories of the chunks are asked. If these cannot tell either, a damaged
/// part of the index gives one error in place of the names that were in it.
pub(crate) struct Listing<'e> {
    engine: &'e Engine,
    snapshot: Arc<Snapshot>,
    /// Sorted ordinals of dead records.
    dead: Vec<u64>,
    /// Whether some dead ordinals may be unknown. Then each name is looked up to tell whether its record is
    /// live.
    pub(crate) doubtful: bool,
    pending: PendingRecords,
    /// The next committed ordinal.
    ordinal: u64,
    /// Where the index has the record that was listed last.
    last: Option<RecordId>,
    /// The first ordinal that was not read ahead.
    expected: u64,
    /// The names that are left of the block before `ordinal`, and the segment that they are in.
    block: std::vec::IntoIter<Vec<u8>>,
    segment: Option<Arc<Segment>>,
    /// Whether the block before could not be read. Its error has been reported.
    failing: bool,
    /// The index made again, if a page of it was found damaged, and the number of its next record.
    rebuilt: Option<(Arc<Rebuilt>, usize)>,
    /// Hashes of names to leave out of the index made again.
    dead_names: DeadNames,
}

impl<'e> Listing<'e> {
    pub(crate) fn new(engine: &'e Engine) -> Result<Self> {
        Self::of(engine, &engine.shared.read())
    }

    /// The records of that moment.
    pub(crate) fn at(engine: &'e Engine, moment: &Moment) -> Result<Self> {
        Self::of(engine, &moment.state)
    }

    fn of(engine: &'e Engine, state: &State) -> Result<Self> {
        let mut rebuilt = None;
        let (mut dead, doubtful) = match state.snapshot.tombstones() {
            Ok(dead) => (dead.to_vec(), false),
            Err(error) if error.is_damage() => {
                rebuilt = engine.rebuilt(&state.snapshot, error).ok().map(|rebuilt| (rebuilt, 0));
                let segments = state.snapshot.segments.iter();
                (segments.flat_map(|segment| segment.tombstones().unwrap_or_default()).collect(), true)
            }
            Err(error) => return Err(error),
        };
        dead.extend(&state.pending.tombstones);
        dead.sort_unstable();
        Ok(Self {
            engine,
            snapshot: Arc::clone(&state.snapshot),
            dead,
            doubtful,
            pending: state.pending.freeze(),
            ordinal: 0,
            last: None,
            expected: 0,
            block: Vec::new().into_iter(),
            segment: None,
            failing: false,
            rebuilt,
            dead_names: state.pending.dead_names.clone(),
        })
    }

    /// Goes on with the directories from the committed record `ordinal` on, after the index failed.
    ///
    /// # Errors
    /// `error`, the one of the index, if the directories cannot tell either.
    fn go_on_from(&mut self, ordinal: u64, error: Error) -> Result<()> {
        if self.doubtful {
            return Err(error);
        }
        let rebuilt = self.engine.rebuilt(&self.snapshot, error)?;
        let before = self.dead.partition_point(|&dead| dead < ordinal) as u64;
        let next = rebuilt.nth(ordinal - before, &self.dead_names).unwrap_or(usize::MAX);
        self.block = Vec::new().into_iter();
        self.segment = None;
        self.rebuilt = Some((rebuilt, next));
        Ok(())
    }

    /// The next record of the index made again.
    fn next_rebuilt(&mut self) -> Option<(Vec<u8>, Location)> {
        let (rebuilt, next) = self.rebuilt.as_mut()?;
        let number = rebuilt.next_live(*next, &self.dead_names)?;
        *next = number + 1;
        Some((rebuilt.name(number).to_vec(), rebuilt.location(number)))
    }

    /// A listed record. If its name is not a key, its location is an error.
    ///
    /// Such a record cannot be asked for, nor be put into another depot.
    fn listed(&self, name: Vec<u8>, location: Result<Location>) -> ListedRecord {
        let location =
            if Key::is_tagged(&name) { location } else { Err(malformed(self.engine.path(), &name)) };
        ListedRecord { name, location }
    }

    pub(crate) fn next(&mut self) -> Option<Result<ListedRecord>> {
        self.last = None;
        loop {
            if self.rebuilt.is_some() {
                let (name, location) = self.next_rebuilt().or_else(|| self.pending.next())?;
                return Some(Ok(self.listed(name, Ok(location))));
            }
            if let Some((name, segment)) = self.block.next().zip(self.segment.as_ref()) {
                let ordinal = self.ordinal - 1 - self.block.len() as u64;
                if self.is_dead(ordinal) {
                    continue;
                }
                let location = if self.doubtful {
                    match self.snapshot.find(hash(&name), &name, &mut |_| ()) {
                        Ok(Some((live, location))) if live == ordinal => Ok(location),
                        Ok(_) => continue,
                        Err(error) => Err(error),
                    }
                } else {
                    match segment.location(ordinal - segment.reference.first_ordinal) {
                        Ok(location) => Ok(location),
                        Err(error) => match self.go_on_from(ordinal, error) {
                            Ok(()) => continue,
                            Err(error) => Err(error),
                        },
                    }
                };
                self.last = Some(RecordId::Committed(ordinal));
                return Some(Ok(self.listed(name, location)));
            }
            let Some((segment, local)) = self.snapshot.segment_of(self.ordinal) else {
                let (name, location) = self.pending.next()?;
                return Some(Ok(self.listed(name, Ok(location))));
            };
            let first_ordinal = segment.reference.first_ordinal;
            if self.ordinal >= self.expected {
                self.expected = self.engine.expect_listed(segment, local, true);
            }
            match segment.names_around(local) {
                Ok((first, names)) => {
                    self.ordinal = first_ordinal + first + names.len() as u64;
                    self.block = names.into_iter();
                    if !self.segment.as_ref().is_some_and(|before| Arc::ptr_eq(before, segment)) {
                        self.segment = Some(Arc::clone(segment));
                    }
                    self.failing = false;
                }
                Err(error) => {
                    let next = first_ordinal + segment.next_block(local);
                    let Err(error) = self.go_on_from(self.ordinal, error) else { continue };
                    // The names of this block are lost, but those after it may not be.
                    self.ordinal = next;
                    if !std::mem::replace(&mut self.failing, true) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// Skips to the next block with tagged names that are `wanted`, and returns these with their ordinals.
    ///
    /// Dead records are among them. `None` if there are no more committed records, or if only
    /// [`next`](Self::next) can go on from here.
    pub(crate) fn skim(&mut self, wanted: &dyn Fn(&[u8]) -> bool) -> Option<Result<FoundNames>> {
        if self.doubtful || self.rebuilt.is_some() || self.block.len() > 0 {
            return None;
        }
        let mut found = Vec::new();
        while found.is_empty() {
            let (segment, local) = self.snapshot.segment_of(self.ordinal)?;
            let first_ordinal = segment.reference.first_ordinal;
            if self.ordinal >= self.expected {
                self.expected = self.engine.expect_listed(segment, local, false);
            }
            let read = segment.names_of_block(local, &mut |local, name| {
                if wanted(name) {
                    found.push((first_ordinal + local, name.to_vec()));
                }
            });
            let next = read.as_ref().copied().unwrap_or_else(|_| segment.next_block(local));
            let start = std::mem::replace(&mut self.ordinal, first_ordinal + next);
            let failing = std::mem::replace(&mut self.failing, read.is_err());
            if let Err(error) = read {
                // Names out of a damaged block are not used.
                found.clear();
                let Err(error) = self.go_on_from(start, error) else { return Some(Ok(found)) };
                if !failing {
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(found))
    }

    pub(crate) fn is_dead(&self, ordinal: u64) -> bool {
        self.dead.binary_search(&ordinal).is_ok()
    }

    /// Appends the names and places of the next records, up to about `bytes` raw bytes, and until `to` has
    /// `records` records.
    ///
    /// It appends fewer before an error, or at the end. A name that it appends may not be a key.
    pub(crate) fn take(&mut self, to: &mut Wanted, (bytes, records): (usize, usize)) -> Result<()> {
        let mut sum = 0;
        while to.len() < records && sum < bytes {
            if self.take_block(to, &mut sum, (bytes, records)) {
                continue;
            }
            // A short way for names of a block that was read.
            if let Some(segment) = self.segment.as_ref().filter(|_| !self.doubtful) {
                let first = segment.reference.first_ordinal;
                let (end, mut failed) = (self.ordinal - first, None);
                while to.len() < records
                    && sum < bytes
                    && let Some(name) = self.block.next()
                {
                    let local = end - 1 - self.block.len() as u64;
                    if self.is_dead(first + local) {
                        continue;
                    }
                    match segment.location(local) {
                        Ok(location) => {
                            sum = location.in_memory().saturating_add(sum);
                            to.push(&name, location);
                            let place = RecordId::Committed(first + local);
                            to.seen.push(self.engine, &self.snapshot, Some(place));
                        }
                        Err(error) => {
                            failed = Some((name, first + local, error));
                            break;
                        }
                    }
                }
                if let Some((name, ordinal, error)) = failed {
                    self.go_on_from(ordinal, error).map_err(|error| in_record(&name, error))?;
                }
                if to.len() >= records || sum >= bytes {
                    break;
                }
            }
            match self.next() {
                Some(Ok(ListedRecord { name, location: Ok(location) })) => {
                    sum = location.in_memory().saturating_add(sum);
                    to.push(&name, location);
                    to.seen.push(self.engine, &self.snapshot, self.last);
                }
                Some(Ok(ListedRecord { name, location: Err(error) })) => {
                    return Err(in_record(&name, error));
                }
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(())
    }
    /// Appends the records of a whole block of names, if it fits into the limits, all of it can be read, and
    /// no record in it is dead. Otherwise it changes nothing, and the records have to be taken one by one.
    fn take_block(&mut self, to: &mut Wanted, sum: &mut usize, (bytes, records): (usize, usize)) -> bool {
        if self.doubtful || self.rebuilt.is_some() || self.block.len() > 0 {
            return false;
        }
        let Some((segment, local)) = self.snapshot.segment_of(self.ordinal) else { return false };
        let first_ordinal = segment.reference.first_ordinal;
        let next = segment.next_block(local);
        let dead = self.dead.partition_point(|&dead| dead < self.ordinal);
        let n = usize::try_from(next - local).unwrap_or(usize::MAX);
        if self.dead.get(dead).is_some_and(|&dead| dead < first_ordinal + next) || to.len() + n > records {
            return false;
        }
        if self.ordinal >= self.expected {
            self.expected = self.engine.expect_listed(segment, local, true);
        }
        let (before, names_before) = (to.len(), to.names.n_bytes());
        let mut added = 0_usize;
        let places = &mut to.places;
        let read = segment.records_of_block(local, &mut to.names, |location| {
            added = added.saturating_add(location.in_memory());
            places.push(((), location));
        });
        let added = added.saturating_add(to.names.n_bytes() - names_before);
        let fits = sum.saturating_add(added) <= bytes;
        if read.is_err() || !fits || to.len() != to.names.len() {
            to.truncate(before);
            return false;
        }
        *sum += added;
        to.seen.extend(self.engine, &self.snapshot, first_ordinal + local..first_ordinal + next);
        self.ordinal = first_ordinal + next;
        self.failing = false;
        true
    }
}

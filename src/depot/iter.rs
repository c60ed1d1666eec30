//! Walking over a depot: names block by block, records in batches that decode every block once.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::ahead::{Ahead, Wanted};
use super::batch::{self, Run, Slot};
use super::engine::Engine;
use super::fallback::Rebuilt;
use super::pending::{Frozen, Killed};
use super::state::Snapshot;
use super::{Depot, Record};
use crate::codec::Codec;
use crate::error::{Error, Part, Result};
use crate::index::{Location, Segment, find_live};
use crate::key::Key;

/// Raw bytes, and records, that are read together: what fits into a cache. A block that two batches share is decoded once.
const ALONE: (usize, usize) = (1 << 20, 1 << 8);
/// The same where threads read ahead: there it is decoded twice, which should not matter.
const AHEAD: (usize, usize) = (4 << 20, 1 << 14);

/// Raw bytes that are worth threads.
const WORTH_THREADS: u64 = 2 << 20;

/// A tagged name as a key.
pub(crate) fn key(engine: &Engine, name: Vec<u8>) -> Result<Key> {
    Key::from_tagged_vec(name).map_err(|name| malformed(engine.path(), &name))
}

/// The error of a name that is none.
pub(crate) fn malformed(path: &Path, name: &[u8]) -> Error {
    Error::damaged(path, Part::Index, 0, "a name", format!("the bytes \"{}\"", name.escape_ascii()))
}

/// A live record's name, and its place if the index can tell.
pub(crate) struct Listed {
    /// Tagged.
    pub(crate) name: Vec<u8>,
    pub(crate) location: Result<Location>,
}

/// Ordinal and tagged name.
type FoundName = (u64, Vec<u8>);
type Found = Vec<FoundName>;

/// Names and places of live records as of one moment, in order.
///
/// Where the index is damaged, the directories of the chunks are asked. Where these cannot tell either, a
/// damaged part of the index is one error in place of the names that were in it.
pub(crate) struct Cursor<'e> {
    engine: &'e Engine,
    snapshot: Arc<Snapshot>,
    /// Sorted ordinals that are dead.
    dead: Vec<u64>,
    /// Not all of them are known: the index is asked by name whether a record is live.
    doubtful: bool,
    pending: Frozen,
    /// The next committed ordinal.
    ordinal: u64,
    /// Names behind those given out, of the block before it, and the segment they are in.
    block: std::vec::IntoIter<Vec<u8>>,
    segment: Option<Arc<Segment>>,
    /// The block before could not be read, which has been told.
    failing: bool,
    /// The index made again, once a page of it turned out to be damaged, and the number of its next record.
    rebuilt: Option<(Arc<Rebuilt>, usize)>,
    /// What to leave out of it: hashes of names.
    killed: Killed,
}

impl<'e> Cursor<'e> {
    pub(crate) fn new(engine: &'e Engine) -> Result<Self> {
        let state = engine.shared.read();
        let mut rebuilt = None;
        let (mut dead, doubtful) = match state.snapshot.dead() {
            Ok(dead) => (dead.to_vec(), false),
            Err(error) if error.is_damage() => {
                rebuilt = engine.rebuilt(&state.snapshot, error).ok().map(|rebuilt| (rebuilt, 0));
                let segments = state.snapshot.segments.iter();
                (segments.flat_map(|segment| segment.all_kills().unwrap_or_default()).collect(), true)
            }
            Err(error) => return Err(error),
        };
        dead.extend(&state.pending.kills);
        dead.sort_unstable();
        Ok(Self {
            engine,
            snapshot: Arc::clone(&state.snapshot),
            dead,
            doubtful,
            pending: state.pending.freeze(),
            ordinal: 0,
            block: Vec::new().into_iter(),
            segment: None,
            failing: false,
            rebuilt,
            killed: state.pending.killed.clone(),
        })
    }

    /// Goes on by the directories from the committed record `ordinal` on, where the index failed with
    /// `error`; that error where this cannot be done.
    fn go_on_from(&mut self, ordinal: u64, error: Error) -> Result<()> {
        if self.doubtful {
            return Err(error);
        }
        let rebuilt = self.engine.rebuilt(&self.snapshot, error)?;
        let before = self.dead.partition_point(|&dead| dead < ordinal) as u64;
        let next = rebuilt.nth(ordinal - before, &self.killed).unwrap_or(usize::MAX);
        self.block = Vec::new().into_iter();
        self.segment = None;
        self.rebuilt = Some((rebuilt, next));
        Ok(())
    }

    /// The next record by the directories.
    fn next_rebuilt(&mut self) -> Option<(Vec<u8>, Location)> {
        let (rebuilt, next) = self.rebuilt.as_mut()?;
        let number = rebuilt.next_live(*next, &self.killed)?;
        *next = number + 1;
        Some((rebuilt.name(number).to_vec(), rebuilt.location(number)))
    }

    /// A record under a name that no key is cannot be asked for, nor be put elsewhere.
    fn listed(&self, name: Vec<u8>, location: Result<Location>) -> Listed {
        let location =
            if Key::is_tagged(&name) { location } else { Err(malformed(self.engine.path(), &name)) };
        Listed { name, location }
    }

    pub(crate) fn next(&mut self) -> Option<Result<Listed>> {
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
                    match find_live(&self.snapshot.segments, &name, &mut |_| ()) {
                        Ok(Some((_, live, location))) if live == ordinal => Ok(location),
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
                return Some(Ok(self.listed(name, location)));
            }
            let Some((segment, local)) = self.snapshot.segment_of(self.ordinal) else {
                let (name, location) = self.pending.next()?;
                return Some(Ok(self.listed(name, Ok(location))));
            };
            let first_ordinal = segment.reference.first_ordinal;
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
                    // The names of this block are lost; those after it may not be.
                    self.ordinal = next;
                    if !std::mem::replace(&mut self.failing, true) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// The committed records behind those given out whose tagged names are `wanted`, dead ones among them, by ordinal: those of the
    /// next blocks of names in which there are any. `None` when this takes a walk by [`next`](Self::next).
    fn skim(&mut self, wanted: &dyn Fn(&[u8]) -> bool) -> Option<Result<Found>> {
        if self.doubtful || self.rebuilt.is_some() || self.block.len() > 0 {
            return None;
        }
        let mut found = Vec::new();
        while found.is_empty() {
            let (segment, local) = self.snapshot.segment_of(self.ordinal)?;
            let first_ordinal = segment.reference.first_ordinal;
            let read = segment.names_of_block(local, &mut |local, name| {
                if wanted(name) {
                    found.push((first_ordinal + local, name.to_vec()));
                }
            });
            let next = read.as_ref().copied().unwrap_or_else(|_| segment.next_block(local));
            let start = std::mem::replace(&mut self.ordinal, first_ordinal + next);
            let failing = std::mem::replace(&mut self.failing, read.is_err());
            if let Err(error) = read {
                // What a damaged block seemed to hold is not believed.
                found.clear();
                let Err(error) = self.go_on_from(start, error) else { return Some(Ok(found)) };
                if !failing {
                    return Some(Err(error));
                }
            }
        }
        Some(Ok(found))
    }

    fn is_dead(&self, ordinal: u64) -> bool {
        self.dead.binary_search(&ordinal).is_ok()
    }

    /// Appends names and places of the next records, up to so many raw `bytes` and `records`; fewer before an error, or at the
    /// end. What it appends may be a name that no key is.
    fn take(&mut self, to: &mut Wanted, (bytes, records): (usize, usize)) -> Result<()> {
        let engine = self.engine;
        let mut sum = 0;
        while to.len() < records && sum < bytes {
            // Names of a block that was read, without the detours.
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
                            sum += location.length as usize;
                            to.push((name, location));
                        }
                        Err(error) => {
                            failed = Some((name, first + local, error));
                            break;
                        }
                    }
                }
                if let Some((name, ordinal, error)) = failed {
                    self.go_on_from(ordinal, error).map_err(|error| engine.in_record(&name, error))?;
                }
                if to.len() >= records || sum >= bytes {
                    break;
                }
            }
            match self.next() {
                Some(Ok(Listed { name, location: Ok(location) })) => {
                    sum += location.length as usize;
                    to.push((name, location));
                }
                Some(Ok(Listed { name, location: Err(error) })) => return Err(engine.in_record(&name, error)),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(())
    }
}

/// Which tagged names to list.
type Filter<'d> = Box<dyn Fn(&[u8]) -> bool + Send + 'd>;

/// Names of a depot, in the order of insertion. See [`Depot::keys`].
pub struct Keys<'d> {
    engine: &'d Engine,
    cursor: Option<Cursor<'d>>,
    failed: Option<Error>,
    /// Ordinals and names that were found together with the last one.
    found: std::vec::IntoIter<FoundName>,
    wanted: Filter<'d>,
}

impl<'d> Keys<'d> {
    pub(super) fn new(engine: &'d Engine, wanted: impl Fn(&[u8]) -> bool + Send + 'd) -> Self {
        let (cursor, failed) = split(Cursor::new(engine));
        Self { engine, cursor, failed, found: Vec::new().into_iter(), wanted: Box::new(wanted) }
    }
}

fn split(cursor: Result<Cursor<'_>>) -> (Option<Cursor<'_>>, Option<Error>) {
    match cursor {
        Ok(cursor) => (Some(cursor), None),
        Err(error) => (None, Some(error)),
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let cursor = self.cursor.as_mut()?;
        loop {
            if let Some((ordinal, name)) = self.found.next() {
                if !cursor.is_dead(ordinal) {
                    return Some(key(self.engine, name));
                }
                continue;
            }
            match cursor.skim(&self.wanted) {
                Some(Ok(found)) => {
                    self.found = found.into_iter();
                    continue;
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {}
            }
            match cursor.next()? {
                // Where it is not known which records are dead, a name without a place may be one of theirs.
                Ok(Listed { name, location: Err(error) }) if cursor.doubtful && (self.wanted)(&name) => {
                    return Some(Err(self.engine.in_record(&name, error)));
                }
                Ok(Listed { name, .. }) if (self.wanted)(&name) => return Some(key(self.engine, name)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What is read together.
#[derive(Default)]
struct Batch {
    /// Tagged names and places.
    wanted: Arc<Wanted>,
    /// Comes behind them.
    failed: Option<Error>,
}

impl Batch {
    /// Of the next records, up to so many raw `bytes` and `records`. Empty at the end.
    fn fill(cursor: &mut Cursor<'_>, mut wanted: Wanted, limits: (usize, usize)) -> Self {
        wanted.clear();
        let failed = cursor.take(&mut wanted, limits).err();
        Self { wanted: Arc::new(wanted), failed }
    }

    fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.failed.is_none()
    }
}

/// Records of a depot, in the order of insertion. See [`Depot::iter`].
///
/// A record that cannot be read is an error in its place; the iteration goes on behind it.
pub struct Iter<'d, C: Codec> {
    depot: &'d Depot<C>,
    cursor: Option<Cursor<'d>>,
    /// Read, and given out one by one: names, places and bytes.
    wanted: Wanted,
    slots: Vec<Option<Slot>>,
    given: usize,
    failed: Option<Error>,
    /// The run of blocks that was decoded last.
    last: Option<Run>,
    /// Threads that were asked for and not started yet.
    threads: usize,
    ahead: Option<Ahead>,
    /// They can read what lies below this address.
    readable: u64,
    /// What is given to `ahead`.
    planned: VecDeque<Batch>,
}

impl<'d, C: Codec> Iter<'d, C> {
    pub(super) fn with_threads(depot: &'d Depot<C>, threads: usize) -> Self {
        let (cursor, failed) = split(Cursor::new(&depot.engine));
        Self {
            depot,
            cursor,
            wanted: Vec::new(),
            slots: Vec::new(),
            given: 0,
            failed,
            last: None,
            threads,
            ahead: None,
            readable: 0,
            planned: VecDeque::new(),
        }
    }

    /// Reads the next records together; false at the end.
    fn refill(&mut self) -> bool {
        let engine = &self.depot.engine;
        self.given = 0;
        self.wanted.clear();
        self.slots.clear();
        let threads = std::mem::take(&mut self.threads);
        if threads > 1 {
            self.start_threads(threads);
        }
        self.ahead = self.ahead.take().filter(Ahead::is_here);
        self.plan_ahead();
        let batch = match (self.planned.pop_front(), &mut self.cursor) {
            (Some(batch), _) => batch,
            (None, Some(cursor)) => Batch::fill(cursor, std::mem::take(&mut self.wanted), ALONE),
            (None, None) => return false,
        };
        let read = self.ahead.as_mut().filter(|_| !batch.wanted.is_empty()).and_then(Ahead::take);
        let goes_on = !batch.is_empty();
        self.failed = batch.failed;
        self.wanted = Arc::try_unwrap(batch.wanted).unwrap_or_else(|shared| (*shared).clone());
        match read {
            Some(read) => self.slots = read,
            None => batch::read_on(engine, &self.wanted, &mut self.last, &mut self.slots),
        }
        goes_on
    }

    fn start_threads(&mut self, threads: usize) {
        let engine = &self.depot.engine;
        if engine.counts().1 < WORTH_THREADS {
            return;
        }
        // Who cannot have an engine of their own, leaves it to the caller, who will meet the error.
        if let Ok((own, readable)) = engine.reader_of_stored() {
            self.ahead = Ahead::start(own, threads);
            self.readable = readable;
        }
    }

    /// Keeps threads busy.
    fn plan_ahead(&mut self) {
        let Some((ahead, cursor)) = self.ahead.as_mut().zip(self.cursor.as_mut()) else { return };
        while self.planned.len() < ahead.room() {
            let batch = Batch::fill(cursor, Vec::new(), AHEAD);
            if batch.is_empty() {
                self.cursor = None;
                return;
            }
            if !batch.wanted.is_empty() {
                let reserved = batch.wanted.iter().any(|(_, location)| location.end() > self.readable);
                ahead.push(Arc::clone(&batch.wanted), reserved);
            }
            self.planned.push_back(batch);
        }
    }

    /// The next record of those that were read, of which there is one.
    fn give(&mut self) -> Result<(Key, Record<C>)> {
        let engine = &self.depot.engine;
        let (name, location) = &mut self.wanted[self.given];
        let slot = self.slots.get_mut(self.given).and_then(Option::take);
        let bytes = slot.unwrap_or_else(|| engine.read(location));
        let bytes = bytes.map_err(|error| engine.in_record(name, error));
        let name = std::mem::take(name);
        self.given += 1;
        let key = Key::from_tagged_vec(name)
            .map_err(|name| engine.in_record(&name, malformed(engine.path(), &name)))?;
        match Record::new(bytes?, &self.depot.codec) {
            Ok(record) => Ok((key, record)),
            Err(source) => Err(self.depot.refused(&key, source)),
        }
    }
}

impl<C: Codec> Iterator for Iter<'_, C> {
    type Item = Result<(Key, Record<C>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.given < self.wanted.len() {
                return Some(self.give());
            }
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            if !self.refill() {
                return None;
            }
        }
    }
}

impl<'d, C: Codec> IntoIterator for &'d Depot<C> {
    type Item = Result<(Key, Record<C>)>;
    type IntoIter = Iter<'d, C>;

    fn into_iter(self) -> Iter<'d, C> {
        self.iter()
    }
}

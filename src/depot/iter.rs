//! Walking over a depot: names block by block, records in batches that decode every block once.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch;
use super::engine::Engine;
use super::pending::Frozen;
use super::state::Snapshot;
use super::{Depot, Record};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::index::{Location, find_live};
use crate::key::Key;

/// Raw bytes, and records, of a batch, for each thread.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_RECORDS: usize = 1024;

/// A tagged name as a key.
pub(crate) fn key(engine: &Engine, name: Vec<u8>) -> Result<Key> {
    Key::from_tagged_vec(name).map_err(|name| malformed(engine.path(), &name))
}

/// The error of a name that is none.
pub(crate) fn malformed(path: &Path, name: &[u8]) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        what: "index".into(),
        offset: 0,
        expected: "a name".into(),
        found: format!("the bytes \"{}\"", name.escape_ascii()),
    }
}

/// A live record's name, and its place if the index can tell.
pub(crate) struct Listed {
    /// Tagged.
    pub(crate) name: Vec<u8>,
    pub(crate) location: Result<Location>,
}

/// Names and places of live records as of one moment, in order.
///
/// A damaged part of the index is one error in place of the names that were in it.
pub(crate) struct Cursor {
    snapshot: Arc<Snapshot>,
    /// Sorted ordinals that are dead.
    dead: Vec<u64>,
    /// Not all of them are known: the index is asked by name whether a record is live.
    doubtful: bool,
    pending: Frozen,
    /// The next committed ordinal.
    ordinal: u64,
    /// Names of the block that holds it.
    block: VecDeque<(u64, Vec<u8>)>,
    /// The block before could not be read, which has been told.
    failing: bool,
    path: PathBuf,
}

impl Cursor {
    pub(crate) fn new(engine: &Engine) -> Result<Self> {
        let state = engine.shared.read();
        let (mut dead, doubtful) = match state.snapshot.dead() {
            Ok(dead) => (dead.to_vec(), false),
            Err(error) if error.is_damage() => {
                let segments = state.snapshot.segments.iter();
                (segments.flat_map(|segment| segment.all_kills().unwrap_or_default()).collect(), true)
            }
            Err(error) => return Err(error),
        };
        dead.extend(&state.pending.kills);
        dead.sort_unstable();
        Ok(Self {
            snapshot: Arc::clone(&state.snapshot),
            dead,
            doubtful,
            pending: state.pending.freeze(),
            ordinal: 0,
            block: VecDeque::new(),
            failing: false,
            path: engine.path().to_owned(),
        })
    }

    /// A record under a name that no key is cannot be asked for, nor be put elsewhere.
    fn listed(&self, name: Vec<u8>, location: Result<Location>) -> Listed {
        let location = if Key::is_tagged(&name) { location } else { Err(malformed(&self.path, &name)) };
        Listed { name, location }
    }

    pub(crate) fn next(&mut self) -> Option<Result<Listed>> {
        loop {
            if let Some((ordinal, name)) = self.block.pop_front() {
                if self.dead.binary_search(&ordinal).is_ok() {
                    continue;
                }
                let (segment, local) = self.snapshot.segment_of(ordinal)?;
                let location = if self.doubtful {
                    match find_live(&self.snapshot.segments, &name, &mut |_| ()) {
                        Ok(Some((_, live, location))) if live == ordinal => Ok(location),
                        Ok(_) => continue,
                        Err(error) => Err(error),
                    }
                } else {
                    segment.location(local)
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
                    let ordinals = first_ordinal + first..;
                    self.block = ordinals.zip(names).collect();
                    self.ordinal = first_ordinal + first + self.block.len() as u64;
                    self.failing = false;
                }
                Err(error) => {
                    // The names of this block are lost; those behind it may not be.
                    self.ordinal = first_ordinal + segment.next_block(local);
                    if !std::mem::replace(&mut self.failing, true) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

/// Which tagged names to list.
type Wanted<'d> = Box<dyn Fn(&[u8]) -> bool + Send + 'd>;

/// Names of a depot, in the order of insertion. See [`Depot::keys`].
pub struct Keys<'d> {
    engine: &'d Engine,
    cursor: Option<Cursor>,
    failed: Option<Error>,
    wanted: Wanted<'d>,
}

impl<'d> Keys<'d> {
    pub(super) fn new(engine: &'d Engine, wanted: impl Fn(&[u8]) -> bool + Send + 'd) -> Self {
        let (cursor, failed) = split(Cursor::new(engine));
        Self { engine, cursor, failed, wanted: Box::new(wanted) }
    }
}

fn split(cursor: Result<Cursor>) -> (Option<Cursor>, Option<Error>) {
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
        loop {
            match self.cursor.as_mut()?.next()? {
                Ok(Listed { name, .. }) if (self.wanted)(&name) => return Some(key(self.engine, name)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Records of a depot, in the order of insertion. See [`Depot::iter`].
///
/// A record that cannot be read is an error in its place; the iteration goes on behind it.
pub struct Iter<'d, C: Codec> {
    depot: &'d Depot<C>,
    cursor: Option<Cursor>,
    ready: VecDeque<Result<(Key, Record<C>)>>,
    remaining: u64,
    threads: usize,
}

impl<'d, C: Codec> Iter<'d, C> {
    pub(super) fn with_threads(depot: &'d Depot<C>, threads: usize) -> Self {
        let remaining = depot.len();
        let (cursor, failed) = split(Cursor::new(&depot.engine));
        Self { depot, cursor, ready: failed.into_iter().map(Err).collect(), remaining, threads }
    }

    /// Reads the next records together.
    fn refill(&mut self) {
        let Some(cursor) = &mut self.cursor else { return };
        let (mut names, mut bytes) = (Vec::new(), 0);
        let mut failed = None;
        let n = self.threads.max(1);
        while names.len() < n.saturating_mul(BATCH_RECORDS) && bytes < n.saturating_mul(BATCH_BYTES) {
            match cursor.next() {
                Some(Ok(Listed { name, location: Ok(location) })) => {
                    bytes += location.length as usize;
                    names.push((name, location));
                }
                Some(Ok(Listed { name, location: Err(error) })) => {
                    failed = Some(self.depot.engine.in_record(&name, error));
                    break;
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                None => break,
            }
        }
        let engine = &self.depot.engine;
        let wanted: Vec<_> = names.iter().map(|(name, location)| (name.as_slice(), *location)).collect();
        let records = batch::read_each_with(engine, &wanted, self.threads);
        for ((name, _), bytes) in names.into_iter().zip(records) {
            let record = bytes
                .and_then(|bytes| self.depot.record(&name, bytes))
                .and_then(|record| Ok((key(engine, name)?, record)));
            self.ready.push_back(record);
        }
        self.ready.extend(failed.map(Err));
    }
}

impl<C: Codec> Iterator for Iter<'_, C> {
    type Item = Result<(Key, Record<C>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.refill();
        }
        let next = self.ready.pop_front();
        self.remaining = if next.is_some() { self.remaining.saturating_sub(1) } else { 0 };
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::try_from(self.remaining).unwrap_or(usize::MAX), None)
    }
}

impl<'d, C: Codec> IntoIterator for &'d Depot<C> {
    type Item = Result<(Key, Record<C>)>;
    type IntoIter = Iter<'d, C>;

    fn into_iter(self) -> Iter<'d, C> {
        self.iter()
    }
}

//! All records of a depot, read in batches that decode every block once.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::buffer::Bytes;
use crate::engine::batch::{self, Held, Run};
use crate::engine::read_ahead::ReadAhead;
use crate::engine::{Engine, Listing, Wanted, in_record, malformed};
use crate::error::{Error, Result};
use crate::key::KeyRef;

/// Raw bytes and records that one thread reads together: about what fits into a cache.
///
/// A block that two such batches share is decoded once.
const ALONE: (usize, usize) = (1 << 20, 1 << 10);

/// The same limits when threads read ahead. A shared block is decoded twice then, so batches are larger.
const AHEAD: (usize, usize) = (4 << 20, 1 << 14);

/// From this many raw bytes on, threads are worth starting.
const WORTH_THREADS: u64 = 2 << 20;

pub(super) fn split(listing: Result<Listing<'_>>) -> (Option<Listing<'_>>, Option<Error>) {
    match listing {
        Ok(listing) => (Some(listing), None),
        Err(error) => (None, Some(error)),
    }
}

/// Records that are read together.
#[derive(Default)]
struct Batch {
    /// Their tagged names and places.
    wanted: Arc<Wanted>,
    /// An error that comes after these records.
    failed: Option<Error>,
}

impl Batch {
    /// Takes the next records, within the limits of raw bytes and records. Empty at the end.
    fn fill(listing: &mut Listing<'_>, mut wanted: Wanted, limits: (usize, usize)) -> Self {
        wanted.truncate(0);
        let failed = listing.take(&mut wanted, limits).err();
        Self { wanted: Arc::new(wanted), failed }
    }

    fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.failed.is_none()
    }
}

/// A walk over all records as of one moment, batch by batch.
pub(super) struct Batches<'d> {
    engine: &'d Engine,
    listing: Option<Listing<'d>>,
    /// Names, places and bytes of the records that were read. They are given out one by one.
    wanted: Wanted,
    held: Held,
    given: usize,
    failed: Option<Error>,
    /// The run of blocks that was decoded last.
    last: Option<Run>,
    /// Number of threads that were asked for and are not started yet.
    threads: usize,
    ahead: Option<ReadAhead>,
    /// The threads can read what lies below this address.
    readable: u64,
    /// Batches that `ahead` was asked to read.
    planned: VecDeque<Batch>,
}

impl<'d> Batches<'d> {
    pub(super) fn new(engine: &'d Engine, threads: usize) -> Self {
        let (listing, failed) = split(Listing::new(engine));
        Self {
            engine,
            listing,
            wanted: Wanted::default(),
            held: Held::default(),
            given: 0,
            failed,
            last: None,
            threads,
            ahead: None,
            readable: 0,
            planned: VecDeque::new(),
        }
    }

    /// Goes on to the next record, and returns its number in the batch, or an error between records. `None`
    /// at the end.
    #[inline]
    pub(super) fn advance(&mut self) -> Option<Result<usize>> {
        loop {
            if self.given < self.wanted.len() {
                self.given += 1;
                return Some(Ok(self.given - 1));
            }
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            if !self.refill() {
                return None;
            }
        }
    }

    /// The name of a record of the batch.
    #[inline]
    pub(super) fn key(&self, number: usize) -> Result<KeyRef<'_>> {
        let name = self.wanted.name(number);
        KeyRef::from_tagged(name).ok_or_else(|| self.malformed(name))
    }

    #[cold]
    fn malformed(&self, name: &[u8]) -> Error {
        in_record(name, malformed(self.engine.path(), name))
    }

    /// The tagged name of a record of the batch.
    pub(super) fn tagged(&self, number: usize) -> &[u8] {
        self.wanted.name(number)
    }

    /// The checked bytes of a record of the batch.
    pub(super) fn bytes(&mut self, number: usize) -> Result<Bytes> {
        let read = self.held.bytes(number).unwrap_or_else(|| {
            self.wanted.location(number).map_or(Ok(Bytes::copy_of(&[])), |place| self.engine.read(place))
        });
        read.map_err(|error| in_record(self.wanted.name(number), error))
    }

    /// The name of a record of the batch, and its checked bytes.
    #[inline]
    pub(super) fn lend(&mut self, number: usize) -> Result<(KeyRef<'_>, &[u8])> {
        if self.held.lend(number).is_none() {
            self.read_alone(number)?;
        }
        Ok((self.key(number)?, self.held.lend(number).unwrap_or_default()))
    }

    /// Reads a record that was not read with the others, or returns its error.
    #[cold]
    fn read_alone(&mut self, number: usize) -> Result<()> {
        let bytes = self.bytes(number)?;
        self.held.insert(number, &bytes);
        Ok(())
    }

    /// Reads the next records together. False at the end.
    #[cold]
    fn refill(&mut self) -> bool {
        self.given = 0;
        self.wanted.truncate(0);
        let threads = std::mem::take(&mut self.threads);
        if threads > 1 {
            self.start_threads(threads);
        }
        self.ahead = self.ahead.take().filter(ReadAhead::is_here);
        self.plan_ahead();
        let batch = match (self.planned.pop_front(), &mut self.listing) {
            (Some(batch), _) => batch,
            (None, Some(listing)) => {
                // Each batch is read in one call, which must be worth waiting for.
                let limits = if self.engine.reads_ahead() { AHEAD } else { ALONE };
                Batch::fill(listing, std::mem::take(&mut self.wanted), limits)
            }
            (None, None) => return false,
        };
        let read = self.ahead.as_mut().filter(|_| !batch.wanted.is_empty()).and_then(ReadAhead::take);
        let goes_on = !batch.is_empty();
        self.failed = batch.failed;
        self.wanted = Arc::try_unwrap(batch.wanted).unwrap_or_else(|shared| (*shared).clone());
        match read {
            Some(read) => self.held = read,
            None => batch::read_on(self.engine, &self.wanted, &mut self.last, &mut self.held),
        }
        goes_on
    }

    /// Whether threads read ahead.
    #[cfg(test)]
    pub(super) fn has_threads(&self) -> bool {
        self.ahead.is_some()
    }

    fn start_threads(&mut self, threads: usize) {
        // Where nothing is decoded, it takes longer to hand records from thread to thread than to check them.
        if self.engine.counts().1 < WORTH_THREADS || self.engine.mostly_lends() {
            return;
        }
        // Without an engine for the threads the caller reads, and meets the error itself.
        if let Ok((own, readable)) = self.engine.reader_of_stored() {
            self.ahead = ReadAhead::start(own, threads);
            self.readable = readable;
        }
    }

    /// Gives the threads as much to read as they have room for.
    fn plan_ahead(&mut self) {
        let Some((ahead, listing)) = self.ahead.as_mut().zip(self.listing.as_mut()) else { return };
        while self.planned.len() < ahead.room() {
            let batch = Batch::fill(listing, Wanted::default(), AHEAD);
            if batch.is_empty() {
                self.listing = None;
                return;
            }
            if !batch.wanted.is_empty() {
                let reserved = batch.wanted.ends_after(self.readable);
                ahead.push(Arc::clone(&batch.wanted), reserved);
            }
            self.planned.push_back(batch);
        }
    }
}

//! All records of a depot, read in batches that decode every block once.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Depot, Record};
use crate::codec::Codec;
use crate::engine::batch::{self, Run, Slot};
use crate::engine::read_ahead::{ReadAhead, Wanted};
use crate::engine::{Listing, in_record, malformed};
use crate::error::{Error, Result};
use crate::key::Key;

/// Raw bytes and records that one thread reads together: about what fits into a cache.
///
/// A block that two such batches share is decoded once.
const ALONE: (usize, usize) = (1 << 20, 1 << 8);

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
        wanted.clear();
        let failed = listing.take(&mut wanted, limits).err();
        Self { wanted: Arc::new(wanted), failed }
    }

    fn is_empty(&self) -> bool {
        self.wanted.records.is_empty() && self.failed.is_none()
    }
}

/// Records of a depot, in the order of insertion. See [`Depot::iter`].
///
/// A record that cannot be read is an error in its place, and the iteration goes on after it.
pub struct Iter<'d, C: Codec> {
    depot: &'d Depot<C>,
    listing: Option<Listing<'d>>,
    /// Names, places and bytes of the records that were read. They are given out one by one.
    wanted: Wanted,
    slots: Vec<Option<Slot>>,
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

impl<'d, C: Codec> Iter<'d, C> {
    pub(super) fn with_threads(depot: &'d Depot<C>, threads: usize) -> Self {
        let (listing, failed) = split(Listing::new(&depot.engine));
        Self {
            depot,
            listing,
            wanted: Wanted::default(),
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

    /// Reads the next records together. False at the end.
    fn refill(&mut self) -> bool {
        let engine = &self.depot.engine;
        self.given = 0;
        self.wanted.clear();
        self.slots.clear();
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
                let limits = if engine.reads_ahead() { AHEAD } else { ALONE };
                Batch::fill(listing, std::mem::take(&mut self.wanted), limits)
            }
            (None, None) => return false,
        };
        let read = self.ahead.as_mut().filter(|_| !batch.wanted.records.is_empty()).and_then(ReadAhead::take);
        let goes_on = !batch.is_empty();
        self.failed = batch.failed;
        self.wanted = Arc::try_unwrap(batch.wanted).unwrap_or_else(|shared| (*shared).clone());
        if let Some(read) = read {
            self.slots = read;
        } else {
            let Wanted { records, seen } = &self.wanted;
            batch::read_on(engine, (records, seen), &mut self.last, &mut self.slots);
        }
        goes_on
    }

    fn start_threads(&mut self, threads: usize) {
        let engine = &self.depot.engine;
        // Where nothing is decoded, it takes longer to hand records from thread to thread than to check them.
        if engine.counts().1 < WORTH_THREADS || engine.mostly_lends() {
            return;
        }
        // Without an engine for the threads the caller reads, and meets the error itself.
        if let Ok((own, readable)) = engine.reader_of_stored() {
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
            if !batch.wanted.records.is_empty() {
                let reserved =
                    batch.wanted.records.iter().any(|(_, location)| location.end() > self.readable);
                ahead.push(Arc::clone(&batch.wanted), reserved);
            }
            self.planned.push_back(batch);
        }
    }

    /// Gives the next record of those that were read. There must be one.
    fn give(&mut self) -> Result<(Key, Record<C>)> {
        let engine = &self.depot.engine;
        let (name, location) = &mut self.wanted.records[self.given];
        let slot = self.slots.get_mut(self.given).and_then(Option::take);
        let bytes = slot.unwrap_or_else(|| engine.read(location));
        let bytes = bytes.map_err(|error| in_record(name, error));
        let name = std::mem::take(name);
        self.given += 1;
        let key =
            Key::from_tagged_vec(name).map_err(|name| in_record(&name, malformed(engine.path(), &name)))?;
        match Record::new(bytes?, &self.depot.codec) {
            Ok(record) => Ok((key, record)),
            Err(source) => Err(self.depot.codec_error_for(&key, source)),
        }
    }
}

impl<C: Codec> Iterator for Iter<'_, C> {
    type Item = Result<(Key, Record<C>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.given < self.wanted.records.len() {
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

impl<C: Codec> std::fmt::Debug for Iter<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("depot", self.depot).finish_non_exhaustive()
    }
}

impl<'d, C: Codec> IntoIterator for &'d Depot<C> {
    type Item = Result<(Key, Record<C>)>;
    type IntoIter = Iter<'d, C>;

    fn into_iter(self) -> Iter<'d, C> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Depot, Layout, Mapping, OpenOptions, Raw, ReadOptions, WriteOptions};

    #[test]
    fn threads_start_where_there_is_something_to_decode() {
        let folder = tempfile::tempdir().unwrap();
        let starts = |name: &str, layout: Layout, mapping: Mapping| {
            let path = folder.path().join(name);
            let writing = WriteOptions::default().with_threads(0);
            let builder = Depot::builder(Raw).layout(layout.with_chunk_size(1 << 20)).write_options(writing);
            let depot = builder.create(&path).unwrap();
            // The last chunk is not half full, so it is compressed whatever the layout says.
            (0..41_u8).for_each(|n| depot.put(n, &vec![n; 80_000]).unwrap());
            depot.close().unwrap();
            let options = OpenOptions::default().with_mapping(mapping);
            let depot = Depot::builder(Raw).open_options(options).open(&path).unwrap();
            let mut iter = depot.iter_with(&ReadOptions::default().with_threads(2));
            assert_eq!(iter.next().unwrap().unwrap().1.view(), vec![0; 80_000]);
            let starts = iter.ahead.is_some();
            assert_eq!(iter.count(), 40);
            starts
        };
        assert!(!starts("lent", Layout::uncompressed(), Mapping::Auto));
        assert!(starts("read", Layout::uncompressed(), Mapping::Never));
        assert!(starts("decoded", Layout::balanced(), Mapping::Auto));
    }
}

//! A storage that counts what is read.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::storage::{Bytes, ReadRange, Storage};
use crate::sync;

/// What was read from a [`CountingStorage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls, each of which waited for the one before.
    pub rounds: u64,
    /// Ranges that were asked for, and questions for the length.
    pub requests: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rounds, {} requests, {} bytes", self.rounds, self.requests, self.bytes)
    }
}

/// A storage as slow things see it: it counts requests, and rounds of requests that wait for each other.
///
/// One call of [`Storage::read_at`], [`Storage::read_ranges`], [`Storage::read_start`] or [`Storage::len`]
/// is one round. A call of `read_ranges` has a request for each range, any other call has one.
/// Writes are not counted. It does not map, as object storage cannot, unless [`with_maps`] says so.
///
/// ```
/// use std::sync::Arc;
/// use vldepot::storage::MemoryStorage;
/// use vldepot::testing::CountingStorage;
/// use vldepot::{Depot, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// depot.put_many((0..1000).map(|n| (n, vec![7; 100])))?;
/// let storage = Arc::new(CountingStorage::new(MemoryStorage::from_bytes(&depot.to_bytes()?)));
///
/// let depot = Depot::builder(Raw).open_in(storage.clone())?;
/// assert!(storage.take().rounds <= 3);
/// depot.get(500)?;
/// let cold = storage.take();
/// assert!(cold.rounds <= 4);
/// println!("the first record takes {cold}");
/// # Ok::<(), vldepot::Error>(())
/// ```
///
/// [`with_maps`]: Self::with_maps
#[derive(Debug)]
pub struct CountingStorage<S> {
    inner: S,
    maps: bool,
    counts: Mutex<Counts>,
}

impl<S: Storage> CountingStorage<S> {
    /// Counts what is read from `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, maps: false, counts: Mutex::default() }
    }

    /// Lets the storage map, if `inner` can. What is read through a map is not counted.
    #[must_use]
    pub fn with_maps(self) -> Self {
        Self { maps: true, ..self }
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        *sync::lock(&self.counts)
    }

    /// What was read since the last call. Counting starts again from zero.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut *sync::lock(&self.counts))
    }

    /// The wrapped storage.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn count(&self, requests: usize, bytes: usize) {
        let mut counts = sync::lock(&self.counts);
        counts.rounds += 1;
        counts.requests += requests as u64;
        counts.bytes += bytes as u64;
    }
}

impl<S: Storage> Storage for CountingStorage<S> {
    fn len(&self) -> io::Result<u64> {
        self.count(1, 0);
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.count(1, buf.len());
        self.inner.read_at(offset, buf)
    }

    fn read_ranges(&self, ranges: &mut [ReadRange<'_>]) -> io::Result<()> {
        self.count(ranges.len(), ranges.iter().map(|range| range.buf.len()).sum());
        self.inner.read_ranges(ranges)
    }

    fn read_start(&self, buf: &mut [u8]) -> io::Result<(usize, u64)> {
        let (filled, len) = self.inner.read_start(buf)?;
        self.count(1, filled);
        Ok((filled, len))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        if self.maps { self.inner.map(offset, len) } else { Ok(None) }
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.count(1, 0);
        self.inner.next_data(from)
    }

    fn is_replaced(&self) -> io::Result<bool> {
        self.inner.is_replaced()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

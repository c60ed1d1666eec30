//! Compresses sealed chunks: in the calling thread, or by threads that start with the first job.
//!
//! A compressed chunk is taken by its number. The pool never touches the storage: the caller that takes a
//! compressed chunk writes it, so the file has only one writer.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread;

use super::shape::Shape;
use crate::blosc::{BloscError, Encoder};
use crate::buffer::AlignedBuf;
use crate::format::apart::{self, BlockSizes, Records};
use crate::format::chunk::{EncodedEntry, encode_chunk};
use crate::format::tables::DirectoryBuilder;
use crate::planes::{Coder, Scratch};
use crate::workers::{Wake, Work, Workers, panic_message};

/// A sealed chunk.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) chunk: u64,
    /// The bytes to compress: see [`Shape::compressed`].
    pub(crate) raw: Arc<AlignedBuf>,
    pub(crate) used: usize,
    pub(crate) directory: DirectoryBuilder,
    pub(crate) shape: Shape,
    /// How to store the fields of records apart, if that is wanted.
    pub(crate) apart: Option<Apart>,
}

/// How to store the fields of records apart.
#[derive(Debug)]
pub(crate) struct Apart {
    pub(crate) records: Records,
    pub(crate) coder: Arc<Coder>,
    pub(crate) sizes: BlockSizes,
    pub(crate) align: usize,
}

/// A chunk with at most this many bytes to compress is not worth waking a thread for, if someone waits
/// for it.
const SMALL: usize = 256 << 10;
/// How many encoders a thread keeps: one for full chunks, and one for chunks that are not.
const ENCODERS: usize = 2;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    done: BTreeMap<u64, Result<EncodedEntry, BloscError>>,
    /// Buffers of entries that were written, to be used again.
    spare: Vec<Vec<u8>>,
}

struct Compress;

impl Work for Compress {
    type Jobs = Jobs;
    /// A chunk, and the buffer for its entry.
    type Task = (Job, Vec<u8>);
    type Done = Result<EncodedEntry, BloscError>;
    type Kept = Compressor;

    fn take(&self, jobs: &mut Jobs) -> Option<(Job, Vec<u8>)> {
        let job = jobs.waiting.pop_front()?;
        Some((job, jobs.spare.pop().unwrap_or_default()))
    }

    fn run(&self, (job, bytes): &mut (Job, Vec<u8>), compressor: &mut Compressor) -> Self::Done {
        compressor.compress(job, std::mem::take(bytes))
    }

    fn finish(&self, jobs: &mut Jobs, (job, _): (Job, Vec<u8>), done: thread::Result<Self::Done>) -> Wake {
        let chunk = job.chunk;
        // Dropped before the chunk can be taken, so that the caller is the last to hold the raw bytes.
        drop(job);
        let panicked = |panic: Box<dyn Any + Send>| Err(BloscError::panicked(&panic_message(&*panic)));
        jobs.done.insert(chunk, done.unwrap_or_else(panicked));
        Wake::Caller
    }
}

/// The compressing side of a writer.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Workers<Compress>,
    n_threads: usize,
    /// Used when the caller compresses.
    own: Compressor,
}

impl Pool {
    /// A pool of `n_threads` threads. With 0, the caller compresses.
    pub(crate) fn new(n_threads: usize) -> Self {
        let workers = Workers::new(Compress, Jobs::default());
        Self { workers, n_threads, own: Compressor::default() }
    }

    /// How many jobs may be in the pool before the caller should wait for one.
    pub(crate) fn room(&self) -> usize {
        self.n_threads + 1
    }

    /// Hands over a chunk. If the system refuses threads, the caller compresses.
    ///
    /// The caller also compresses a small chunk that it will wait for, if there is nothing else to do.
    pub(crate) fn submit(&mut self, job: Job, will_wait: bool) {
        let small = will_wait && job.raw.len() <= SMALL;
        if self.workers.n_threads() == 0 && !small {
            self.workers.start("vldepot-compress", 0..self.n_threads);
        }
        let queue = self.workers.queue();
        let mut jobs = queue.lock();
        let alone = small && jobs.waiting.is_empty();
        jobs.waiting.push_back(job);
        if alone || self.workers.n_threads() == 0 {
            drop(queue.work_once(jobs, &mut self.own));
        } else {
            drop(jobs);
            queue.wake_thread();
        }
    }

    /// The compressed chunk number `chunk`. With `wait`, waits for it; otherwise `None` if it is not ready.
    pub(crate) fn take(&mut self, chunk: u64, wait: bool) -> Option<Result<EncodedEntry, BloscError>> {
        let queue = self.workers.queue();
        let mut jobs = queue.lock();
        loop {
            let done = jobs.done.remove(&chunk);
            if done.is_some() || !wait || self.workers.n_threads() == 0 {
                return done;
            }
            jobs = queue.wait(jobs);
        }
    }

    /// Takes back the buffer of a written entry.
    pub(crate) fn recycle(&self, bytes: Vec<u8>) {
        let mut jobs = self.workers.queue().lock();
        if jobs.spare.len() <= self.n_threads {
            jobs.spare.push(bytes);
        }
    }
}

/// Keeps the compressor's contexts from chunk to chunk.
#[derive(Default)]
struct Compressor {
    /// The last one was used last.
    encoders: Vec<(Shape, Encoder)>,
    scratch: Scratch,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    fn compress(&mut self, job: &Job, mut bytes: Vec<u8>) -> Result<EncodedEntry, BloscError> {
        let apart = self.apart(job, &mut bytes)?;
        match (apart, &job.apart) {
            (Some(entry), Some(by)) if by.records.pays() => Ok(entry),
            (Some(entry), _) => {
                let plain = self.plain(job, bytes)?;
                Ok(if entry.length <= plain.length { entry } else { plain })
            }
            (None, _) => self.plain(job, bytes),
        }
    }

    /// Compresses the chunk as Blosc2 does.
    fn plain(&mut self, job: &Job, bytes: Vec<u8>) -> Result<EncodedEntry, BloscError> {
        let Shape { compression, split, block_size, chunk_size, .. } = job.shape;
        // Chunks that differ only in how much of them is compressed share an encoder.
        let wanted = Shape { compressed: 0, ..job.shape };
        let mut encoder = match self.encoders.iter().position(|(shape, _)| *shape == wanted) {
            Some(at) => self.encoders.remove(at).1,
            None => Encoder::with_split(compression, block_size, split)?,
        };
        while self.encoders.len() >= ENCODERS {
            self.encoders.remove(0);
        }
        let encoded = encode_chunk(&job.raw, job.used, chunk_size, &job.directory, &mut encoder, bytes);
        self.encoders.push((wanted, encoder));
        encoded
    }

    /// Stores the fields of the records apart, if that is wanted and makes the chunk smaller.
    fn apart(&mut self, job: &Job, bytes: &mut Vec<u8>) -> Result<Option<EncodedEntry>, BloscError> {
        let Some(Apart { records, coder, sizes, align }) = &job.apart else { return Ok(None) };
        let what = (records, Arc::clone(coder));
        let (chunk_size, how) = (job.shape.chunk_size, (*sizes, *align));
        let raw = &job.raw[..job.used];
        apart::encode(raw, chunk_size, &job.directory, what, how, &mut self.scratch, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blosc::{Compression, Split};

    fn shape(block_size: usize) -> Shape {
        let compression = Compression::default();
        let split = Split::of(compression);
        Shape { compression, split, block_size, chunk_size: 1 << 14, compressed: 1 << 14 }
    }

    #[test]
    fn chunks_come_back_whatever_the_number_of_threads() {
        for (n_threads, will_wait) in [(0, false), (1, false), (1, true), (3, false)] {
            let mut pool = Pool::new(n_threads);
            for chunk in 0..9 {
                let raw = Arc::new(AlignedBuf::copy_of(&[u8::try_from(chunk).unwrap() + 1; 1 << 14]));
                let directory = DirectoryBuilder::default();
                pool.submit(
                    Job { chunk, raw, used: 1 << 14, directory, shape: shape(1 << 12), apart: None },
                    will_wait,
                );
            }
            for chunk in 0..9 {
                let entry = pool.take(chunk, true).unwrap().unwrap();
                assert!(entry.length > 0);
            }
            assert!(pool.take(0, false).is_none());
        }
    }

    #[test]
    fn a_refusal_of_the_compressor_is_returned() {
        let mut pool = Pool::new(1);
        let raw = Arc::new(AlignedBuf::zeroed(1 << 14));
        let compression = Compression { typesize: Some(0), ..Compression::default() };
        let shape = Shape { compression, ..shape(1 << 12) };
        let directory = DirectoryBuilder::default();
        pool.submit(Job { chunk: 0, raw, used: 0, directory, shape, apart: None }, false);
        assert!(pool.take(0, true).unwrap().is_err());
    }

    #[test]
    fn a_panic_of_the_compressor_is_an_error_and_the_next_chunk_comes() {
        for n_threads in [0, 1] {
            let mut pool = Pool::new(n_threads);
            let raw = Arc::new(AlignedBuf::copy_of(&[7; 1 << 14]));
            // A chunk cannot be divided into blocks of 0 bytes.
            for (chunk, block_size) in [(0, 1 << 12), (1, 0), (2, 1 << 12)] {
                let (raw, directory) = (Arc::clone(&raw), DirectoryBuilder::default());
                pool.submit(
                    Job { chunk, raw, used: 1 << 14, directory, shape: shape(block_size), apart: None },
                    false,
                );
            }
            assert!(pool.take(0, true).unwrap().is_ok());
            let error = pool.take(1, true).unwrap().err().unwrap();
            assert!(error.to_string().starts_with("the compressor panicked: "), "{error}");
            assert!(pool.take(2, true).unwrap().is_ok());
        }
    }
}

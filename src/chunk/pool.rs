//! Compresses sealed chunks: in the calling thread, or by threads that start with the first job.
//!
//! Jobs come out in the order they went in. The pool never touches the storage: whoever takes a compressed chunk
//! writes it, so that the file has one writer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::blosc::{BloscError, Encoder};
use crate::buffer::AlignedBuf;
use crate::format::chunk::{EncodedEntry, encode_chunk};
use crate::format::tables::DirectoryBuilder;
use crate::options::Compression;
use crate::sync::OwnedByProcess;

/// A sealed chunk.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) chunk: u64,
    pub(crate) raw: Arc<AlignedBuf>,
    pub(crate) used: usize,
    pub(crate) directory: DirectoryBuilder,
    pub(crate) block_size: usize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    done: BTreeMap<u64, Result<EncodedEntry, BloscError>>,
    /// Buffers of entries that were written, to be filled again.
    spare: Vec<Vec<u8>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shop {
    queue: Mutex<Queue>,
    work: Condvar,
    finished: Condvar,
}

impl Shop {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The compressing side of a writer.
#[derive(Debug)]
pub(crate) struct Pool {
    shop: Arc<Shop>,
    compression: Compression,
    n_threads: usize,
    threads: Vec<JoinHandle<()>>,
    /// For when the caller compresses.
    own: Press,
    /// The process that has the threads: a fork of it has none.
    owner: OwnedByProcess,
}

impl Pool {
    /// A pool of `n_threads`; with 0 the caller compresses.
    pub(crate) fn new(compression: Compression, n_threads: usize) -> Self {
        Self {
            shop: Arc::default(),
            compression,
            n_threads,
            threads: Vec::new(),
            own: Press::default(),
            owner: OwnedByProcess::here(),
        }
    }

    /// Jobs that may be in the pool before the caller should wait for one.
    pub(crate) fn room(&self) -> usize {
        self.n_threads + 1
    }

    /// Hands a chunk over.
    pub(crate) fn submit(&mut self, job: Job) {
        if self.threads.is_empty() {
            self.start();
        }
        if self.threads.is_empty() {
            let chunk = job.chunk;
            let spare = self.shop.lock().spare.pop().unwrap_or_default();
            let result = self.own.compress(&job, self.compression, spare);
            self.shop.lock().done.insert(chunk, result);
        } else {
            self.shop.lock().waiting.push_back(job);
            self.shop.work.notify_one();
        }
    }

    /// Starts the threads. Where the system refuses, the caller compresses.
    fn start(&mut self) {
        for number in 0..self.n_threads {
            let (shop, compression) = (Arc::clone(&self.shop), self.compression);
            let thread = std::thread::Builder::new()
                .name(format!("vldepot-compress-{number}"))
                .spawn(move || serve(&shop, compression));
            self.threads.extend(thread);
        }
    }

    /// Chunk number `chunk`, compressed; `None` while it is not ready, unless `wait`.
    pub(crate) fn take(&mut self, chunk: u64, wait: bool) -> Option<Result<EncodedEntry, BloscError>> {
        let mut queue = self.shop.lock();
        loop {
            let done = queue.done.remove(&chunk);
            if done.is_some() || !wait || self.threads.is_empty() {
                return done;
            }
            queue = self.shop.finished.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl Pool {
    /// Takes the buffer of a written entry back.
    pub(crate) fn recycle(&self, bytes: Vec<u8>) {
        let mut queue = self.shop.lock();
        if queue.spare.len() <= self.n_threads {
            queue.spare.push(bytes);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // In a fork the threads do not exist, and one of them may have held the lock: nothing to wait for.
            self.threads.drain(..).for_each(std::mem::forget);
            return;
        }
        self.shop.lock().closed = true;
        self.shop.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has left its chunk undone, which `take` would have waited for.
            let _ = thread.join();
        }
    }
}

fn serve(shop: &Shop, compression: Compression) {
    let mut press = Press::default();
    loop {
        let (job, spare) = {
            let mut queue = shop.lock();
            loop {
                if let Some(job) = queue.waiting.pop_front() {
                    break (job, queue.spare.pop().unwrap_or_default());
                }
                if queue.closed {
                    return;
                }
                queue = shop.work.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        };
        let chunk = job.chunk;
        let result = press.compress(&job, compression, spare);
        // Before the chunk is taken, so that the taker is the last to let go of the raw bytes and may reuse them.
        drop(job);
        shop.lock().done.insert(chunk, result);
        shop.finished.notify_all();
    }
}

/// What is kept from chunk to chunk: a context while the block size stays.
#[derive(Default)]
struct Press {
    encoder: Option<(usize, Encoder)>,
}

impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Press").finish_non_exhaustive()
    }
}

impl Press {
    fn compress(
        &mut self,
        job: &Job,
        compression: Compression,
        bytes: Vec<u8>,
    ) -> Result<EncodedEntry, BloscError> {
        let encoder = match &mut self.encoder {
            Some((block_size, encoder)) if *block_size == job.block_size => encoder,
            encoder => &mut encoder.insert((job.block_size, Encoder::new(compression, job.block_size)?)).1,
        };
        encode_chunk(&job.raw, job.used, &job.directory, encoder, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_whatever_the_number_of_threads() {
        for n_threads in [0, 1, 3] {
            let mut pool = Pool::new(Compression::default(), n_threads);
            for chunk in 0..9 {
                let raw = Arc::new(AlignedBuf::copy_of(&[u8::try_from(chunk).unwrap() + 1; 1 << 14]));
                let directory = DirectoryBuilder::default();
                pool.submit(Job { chunk, raw, used: 1 << 14, directory, block_size: 1 << 12 });
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
        let mut pool = Pool::new(Compression { typesize: Some(0), ..Compression::default() }, 1);
        let raw = Arc::new(AlignedBuf::zeroed(1 << 14));
        pool.submit(Job {
            chunk: 0,
            raw,
            used: 0,
            directory: DirectoryBuilder::default(),
            block_size: 1 << 12,
        });
        assert!(pool.take(0, true).unwrap().is_err());
    }
}

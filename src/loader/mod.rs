//! Loading for training: shuffled batches that threads read ahead.
//!
//! Batches can be split over ranks and workers, and a loader can resume where another one was.
//!
//! ```
//! use vldepot::{Depot, Raw};
//!
//! let depot = Depot::memory(Raw)?;
//! (0..1000).try_for_each(|n: u32| depot.put(n, &n.to_le_bytes()))?;
//!
//! let loader = depot.loader().batch_size(64).shuffle(42).epochs(3).build()?;
//! let mut records = 0;
//! for batch in loader {
//!     let batch = batch?;
//!     for bytes in batch.views() {
//!         records += bytes.len() / 4;
//!     }
//! }
//! assert_eq!(records, 3000);
//! # Ok::<(), vldepot::Error>(())
//! ```
//!
//! # Orders
//!
//! | | an epoch's order | read | memory |
//! | --- | --- | --- | --- |
//! | [`sequential`](LoaderBuilder::sequential) (default) | as stored | once, from front to back | `prefetch` batches |
//! | [`shuffle`](LoaderBuilder::shuffle) | runs of about 1 MiB in random order, then all records within a *window* of 64 such runs | once, in runs | two windows |
//! | [`shuffle_full`](LoaderBuilder::shuffle_full) | a random permutation of all records | one block per record | `prefetch` batches |
//!
//! A depot smaller than a window is shuffled fully by `shuffle`. An order depends only on the seed and
//! the epoch, and is the same on every platform. Different epochs have different orders. Every record
//! comes exactly once in an epoch.
//!
//! # Ranks and workers
//!
//! Batches are numbered over all ranks. In step `k` of a training over `world` ranks, rank `r` has batch
//! `k * world + r`. If a rank reads with several workers, they take its steps in turns, worker 0 first,
//! like the workers of PyTorch's `DataLoader`. So the number of workers changes neither the batches nor
//! which of them make a step. The number of ranks does not change the order of the batches.
//!
//! Ranks that take turns in one window all decode that window. Set [`lanes`](LoaderBuilder::lanes) to
//! the number of ranks times workers, or to a multiple of it: then each of them reads its own part of
//! the depot.
//!
//! # Resuming
//!
//! [`Loader::state`] says which batches were handed out, and [`LoaderBuilder::resume`] goes on with the
//! next one. The number of ranks, workers, threads and batches read ahead may change in between. When a
//! rank has several workers, [merge](LoaderState::merge) their states first, unless each worker goes on
//! by itself.
//!
//! A depot that has grown since the state was taken can be resumed too. The state knows how many records
//! its order covers, and this holds until the end of all its epochs. New records need a new loader.
//!
//! # Threads and processes
//!
//! Threads start with the first call of `next`, in the process that makes it. If that process forks
//! afterwards, the child starts its own threads and goes on from the same batch. Dropping the loader
//! ends the threads.

mod batch;
mod builder;
mod frozen;
mod order;
mod plan;
mod prefetch;
mod state;

use std::sync::Arc;

pub use batch::Batch;
pub use builder::LoaderBuilder;
pub use state::LoaderState;

use crate::codec::Codec;
use crate::error::Result;
use frozen::Frozen;
use plan::{EpochPlan, Plan, StepAt};
use prefetch::{Delivery, Prefetch, Reader};
use state::{PlanState, WorkerState};

/// What a loader does with a record that cannot be read.
///
/// ```
/// # use vldepot::{Depot, Raw};
/// use vldepot::loader::OnError;
/// # let depot = Depot::memory(Raw)?;
/// # depot.put("a", b"first")?;
///
/// assert_eq!(OnError::default(), OnError::Stop);
/// let mut loader = depot.loader().on_error(OnError::Skip).build()?;
/// assert!(loader.next().unwrap()?.skipped().is_empty());
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// The loader gives an error that names the record, and then ends. Its state still is before that
    /// batch.
    #[default]
    Stop,
    /// The batch comes without the record. [`Batch::skipped`](super::Batch::skipped) has the error.
    Skip,
}

/// Hands out batches of records, as an iterator. See [the module](self).
///
/// It reads the records that were there when it was built. Later changes to the depot do not affect it,
/// and it can outlive the depot. It can be sent to another thread.
///
/// ```
/// use vldepot::{Depot, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// (0..10).try_for_each(|n| depot.put(n, &[n]))?;
/// let loader = depot.loader().batch_size(4).build()?;
/// let sizes: Vec<usize> = loader.map(|batch| batch.unwrap().len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), vldepot::Error>(())
/// ```
pub struct Loader<C: Codec> {
    frozen: Arc<Frozen>,
    codec: Arc<C>,
    plan: Arc<Plan>,
    plan_state: PlanState,
    worker: Option<WorkerState>,
    /// The place after the batch that was handed out last.
    at: StepAt,
    prefetch: usize,
    threads: usize,
    on_error: OnError,
    reading: Option<Prefetch<C>>,
    stopped: bool,
}

impl<C: Codec> Loader<C> {
    /// Where the loader is: after the batch that was handed out last. This is a cheap call.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(2).build()?;
    /// loader.next();
    /// let state = loader.state();
    /// assert_eq!((state.epoch(), state.next_batch()), (0, 1));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn state(&self) -> LoaderState {
        LoaderState::new(self.plan_state.clone(), self.at.epoch, self.at.step, self.worker.clone())
    }

    /// The epoch of the next batch.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(10).epochs(2).build()?;
    /// assert_eq!(loader.epoch(), 0);
    /// loader.next();
    /// assert_eq!(loader.epoch(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.at.epoch
    }

    /// How many batches this loader has left in the epoch of the next batch.
    ///
    /// When batches have a budget, this call looks at the cost of every record.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(2).build()?;
    /// loader.next();
    /// assert_eq!(loader.remaining()?, 4);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`](crate::Error::is_damage) when the index is damaged.
    pub fn remaining(&self) -> Result<u64> {
        if self.at.epoch >= self.plan.end {
            return Ok(0);
        }
        Ok(EpochPlan::new(&self.plan, &self.frozen, self.at.epoch)?.remaining(&self.plan, self.at.step))
    }

    /// How many records are in an epoch, over all ranks.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().range(2..8).rank(0, 2).build()?;
    /// assert_eq!(loader.records(), 6);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn records(&self) -> u64 {
        self.plan.subset.len()
    }

    /// The threads of this process. Starts them if there are none yet.
    fn reading(&mut self) -> Result<&mut Prefetch<C>> {
        if self.reading.take_if(|reading| !reading.is_here()).is_some() {
            let frozen = Arc::new(self.frozen.reopened()?);
            // A fork may have left the old one's locks held for ever, so it is never dropped.
            std::mem::forget(std::mem::replace(&mut self.frozen, frozen));
        }
        Ok(self.reading.get_or_insert_with(|| {
            let reader = Reader {
                frozen: Arc::clone(&self.frozen),
                codec: Arc::clone(&self.codec),
                plan: Arc::clone(&self.plan),
                prefetch: self.prefetch,
                window: usize::try_from(self.plan.window()).unwrap_or(usize::MAX),
            };
            Prefetch::start(reader, self.at, self.threads)
        }))
    }

    fn batch(&mut self, delivery: Delivery<C>) -> Result<Batch<C>> {
        let Delivery { batch, records } = delivery;
        let mut out = Batch {
            records: Vec::with_capacity(records.len()),
            positions: Vec::with_capacity(records.len()),
            skipped: Vec::new(),
            epoch: batch.at.epoch,
            number: batch.number,
            repeated: batch.repeated,
            last: batch.last,
            frozen: Arc::clone(&self.frozen),
        };
        for (position, record) in records {
            match (record, self.on_error) {
                (Ok(record), _) => {
                    out.records.push(record);
                    out.positions.push(position);
                }
                (Err(error), OnError::Skip) => out.skipped.push((position, error)),
                (Err(error), OnError::Stop) => return Err(error),
            }
        }
        self.at = batch.next;
        Ok(out)
    }
}

impl<C: Codec> Iterator for Loader<C> {
    type Item = Result<Batch<C>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stopped {
            return None;
        }
        let delivered = match self.reading() {
            Ok(reading) => reading.next(),
            Err(error) => Some(Err(error)),
        };
        let batch = delivered.map(|delivery| delivery.and_then(|delivery| self.batch(delivery)));
        self.stopped = !matches!(batch, Some(Ok(_)));
        if self.stopped {
            self.reading = None;
        }
        batch
    }
}

impl<C: Codec> std::iter::FusedIterator for Loader<C> {}

impl<C: Codec> std::fmt::Debug for Loader<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StepAt { epoch, step } = self.at;
        write!(f, "Loader({} records, at batch {step} of epoch {epoch})", self.records())
    }
}

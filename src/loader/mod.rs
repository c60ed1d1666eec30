//! Loading for training: shuffled batches, read ahead by threads, split over ranks and workers, resumable.
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
//! | [`shuffle`](LoaderBuilder::shuffle) | runs of about 1 MiB in random order; all records of 64 such runs, a *window*, among each other | once, in runs | two windows |
//! | [`shuffle_full`](LoaderBuilder::shuffle_full) | every permutation as likely | a block a record | `prefetch` batches |
//!
//! A depot smaller than a window is shuffled fully by `shuffle`. An order depends on seed and epoch alone,
//! and is the same on every platform; epochs differ. Every record comes exactly once an epoch.
//!
//! # Ranks and workers
//!
//! Batches are numbered over all ranks. In step `k` of a training over `world` ranks, rank `r` has batch `k *
//! world + r`; if a rank reads with several workers they take its steps in turns, worker 0 first, as those of
//! PyTorch's `DataLoader` do. So the batches, and those of every step, do not depend on how many workers
//! there are, and the order of batches not on how many ranks.
//!
//! Ranks that take turns in one window all decode that window. With [`lanes`](LoaderBuilder::lanes) set to
//! the number of ranks times workers (or a multiple of it) each reads a part of the depot of its own.
//!
//! # Resuming
//!
//! [`Loader::state`] says which batches were handed out; [`LoaderBuilder::resume`] goes on with the next one,
//! whatever the number of ranks and workers, threads and batches read ahead. When a rank has several workers,
//! their states are [merged](LoaderState::merge) first, unless each goes on by itself. A depot that has grown
//! since resumes as well: the state knows over how many records its order goes, up to the end of all its
//! epochs. New records come with a new loader.
//!
//! # Threads and processes
//!
//! Threads start with the first call of `next`, in the process that makes it. When the process was forked
//! since, the child starts its own and goes on from the same batch. Dropping the loader ends the threads.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// The batch is an error that names the record, and the last item. The state still is before that batch.
    #[default]
    Stop,
    /// The batch comes without the record; [`Batch::skipped`](super::Batch::skipped) has the error.
    Skip,
}

/// Hands out batches of records. See [the module](self).
///
/// Reads the records that were there when it was built: what happens to the depot since, including its end,
/// is not its concern. Send it wherever it is needed.
pub struct Loader<C: Codec> {
    frozen: Arc<Frozen>,
    codec: Arc<C>,
    plan: Arc<Plan>,
    plan_state: PlanState,
    worker: Option<WorkerState>,
    /// After the batch that was handed out last.
    at: StepAt,
    prefetch: usize,
    threads: usize,
    on_error: OnError,
    reading: Option<Prefetch<C>>,
    stopped: bool,
}

impl<C: Codec> Loader<C> {
    /// Where the loader is: after the batch that was handed out last. Costs next to nothing.
    pub fn state(&self) -> LoaderState {
        LoaderState::new(self.plan_state.clone(), self.at.epoch, self.at.step, self.worker.clone())
    }

    /// The epoch of the next batch.
    pub fn epoch(&self) -> u64 {
        self.at.epoch
    }

    /// How many batches this loader has left in the epoch of the next one. With a budget this plans the
    /// epoch.
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
    pub fn records(&self) -> u64 {
        self.plan.subset.len()
    }

    /// The threads of this process, started now if there are none yet.
    fn reading(&mut self) -> Result<&mut Prefetch<C>> {
        if self.reading.take_if(|reading| !reading.is_here()).is_some() {
            let frozen = Arc::new(self.frozen.reopened()?);
            // The old one's locks may be held for ever: it is never dropped.
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

//! Sets a loader up: which records, in which order, batched how, read by whom.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::frozen::{Frozen, Subset};
use super::order::{Groups, Shuffle};
use super::plan::{Cost, Plan, StepAt, Uneven, settle};
use super::state::{LoaderState, OrderState, PlanState, WorkerState, hex};
use super::{Loader, OnError};
use crate::codec::Codec;
use crate::depot::Depot;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{AsKey, Key};

/// Records of a batch, unless told otherwise.
const DEFAULT_BATCH: u64 = 32;

/// Bytes of a window, unless told otherwise: 64 groups.
const DEFAULT_WINDOW: u64 = 64 << 20;

/// Bytes of a group, unless told otherwise. A group's first and last block are decoded for its neighbours
/// too: with blocks of 16 to 64 KiB that is 2 to 6 %.
const DEFAULT_GROUP: u64 = 1 << 20;

/// A default window holds at least this many batches.
const BATCHES_PER_WINDOW: u64 = 4;

const MAX_LANES: u64 = 1 << 16;

#[derive(Debug, Clone, Copy)]
enum Order {
    Sequential,
    Windowed(u64),
    Full(u64),
}

#[derive(Clone)]
enum Wanted {
    All,
    Range((Bound<u64>, Bound<u64>)),
    Positions(Vec<u64>),
    Keys(Vec<Key>),
}

/// Sets up a [`Loader`]. Made by [`Depot::loader`](crate::Depot::loader).
#[must_use = "`build` makes the loader"]
pub struct LoaderBuilder<'d, C: Codec> {
    engine: &'d Engine,
    codec: Arc<C>,
    wanted: Wanted,
    order: Order,
    window: Option<u64>,
    group: Option<u64>,
    batch_size: Option<usize>,
    budget: Option<(u64, Cost)>,
    drop_last: bool,
    first_epoch: u64,
    epochs: u64,
    lanes: usize,
    rank: (usize, usize),
    worker: (usize, usize),
    even: bool,
    prefetch: usize,
    threads: Option<usize>,
    on_error: OnError,
    resume: Option<LoaderState>,
}

/// Training.
impl<C: Codec> Depot<C> {
    /// A loader for training: shuffled batches, read ahead by threads of its own, resumable. See
    /// [`crate::loader`].
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// for n in 0..10_u8 {
    ///     depot.put(n, &[n])?;
    /// }
    /// let batches = depot.loader().batch_size(4).shuffle(7).build()?;
    /// let sizes: Vec<usize> = batches.map(|batch| batch.unwrap().len()).collect();
    /// assert_eq!(sizes, [4, 4, 2]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn loader(&self) -> LoaderBuilder<'_, C> {
        LoaderBuilder::new(&self.engine, Arc::clone(&self.codec))
    }
}

impl<'d, C: Codec> LoaderBuilder<'d, C> {
    pub(crate) fn new(engine: &'d Engine, codec: Arc<C>) -> Self {
        Self {
            engine,
            codec,
            wanted: Wanted::All,
            order: Order::Sequential,
            window: None,
            group: None,
            batch_size: None,
            budget: None,
            drop_last: false,
            first_epoch: 0,
            epochs: 1,
            lanes: 1,
            rank: (0, 1),
            worker: (0, 1),
            even: false,
            prefetch: 4,
            threads: None,
            on_error: OnError::Stop,
            resume: None,
        }
    }
}

/// Which records, and in which order.
impl<C: Codec> LoaderBuilder<'_, C> {
    /// Records in the order of the depot. The default.
    pub fn sequential(mut self) -> Self {
        self.order = Order::Sequential;
        self
    }

    /// Shuffles in windows, so that everything is decoded once: nearly as fast as reading in order.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.order = Order::Windowed(seed);
        self
    }

    /// Shuffles all records among all: each is read alone, which costs the block it lies in. Takes no memory,
    /// however many records there are.
    pub fn shuffle_full(mut self, seed: u64) -> Self {
        self.order = Order::Full(seed);
        self
    }

    /// Bytes of records that [`shuffle`](Self::shuffle) shuffles among each other; it holds about two such
    /// windows in memory. Default 64 MiB, or four batches if these are more.
    pub fn window(mut self, bytes: u64) -> Self {
        self.window = Some(bytes);
        self
    }

    /// Bytes of the runs of neighbouring records that a window is made of. Default 1 MiB, or a 64th of the
    /// window if that is less.
    ///
    /// Smaller ones mix better and read slower: the first and last block of a run are decoded for its
    /// neighbours again.
    pub fn group(mut self, bytes: u64) -> Self {
        self.group = Some(bytes);
        self
    }

    /// Only the records at these positions, such as a training set.
    ///
    /// They come in this order when [`sequential`](Self::sequential), and as often as they are listed.
    pub fn positions(mut self, positions: impl IntoIterator<Item = u64>) -> Self {
        self.wanted = Wanted::Positions(positions.into_iter().collect());
        self
    }

    /// Only the records in this range of positions, which is cut to the depot.
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        self.wanted = Wanted::Range((range.start_bound().cloned(), range.end_bound().cloned()));
        self
    }

    /// Only the records with these names; else as [`positions`](Self::positions).
    pub fn keys<K: AsKey>(mut self, keys: &[K]) -> Self {
        self.wanted = Wanted::Keys(keys.iter().map(AsKey::to_key).collect());
        self
    }
}

/// How they are batched.
impl<C: Codec> LoaderBuilder<'_, C> {
    /// Records of a batch; the last one of an epoch has what is left. Default 32, or any number with a
    /// budget.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.batch_size = Some(records);
        self
    }

    /// As many records in a batch as have `bytes` together; one that has more is a batch of its own.
    ///
    /// Decodes nothing: lengths are in the index. For frames with the same fields, bytes are proportional to
    /// atoms.
    pub fn batch_bytes(self, bytes: u64) -> Self {
        self.batch_by_length(bytes, u64::from)
    }

    /// As [`batch_bytes`](Self::batch_bytes), with a cost that follows from the record's length, say its
    /// number of atoms.
    ///
    /// Every epoch starts with a look at the lengths of all its records, about 0.1 s for a million, in every
    /// rank and worker: where batches end must not depend on how many of these there are.
    pub fn batch_by_length(mut self, budget: u64, cost: impl Fn(u32) -> u64 + Send + Sync + 'static) -> Self {
        self.budget = Some((budget, Cost::Length(Arc::new(cost))));
        self
    }

    /// As many records in a batch as cost `budget` together, where `costs[position]` is what each record of
    /// the depot costs.
    ///
    /// For costs that take a look at the records, which is then done once and can be kept:
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::Depot;
    ///
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// for n in 1..=50 {
    ///     depot.put(n, &AtomicFrame::new().positions(&vec![[0.0_f32; 3]; n]))?;
    /// }
    /// let atoms: Vec<u32> =
    ///     depot.iter().map(|entry| Ok(entry?.1.view().n_atoms() as u32)).collect::<vldepot::Result<_>>()?;
    ///
    /// for batch in depot.loader().batch_costs(100, atoms).shuffle(1).build()? {
    ///     assert!(batch?.views().map(|frame| frame.n_atoms()).sum::<usize>() <= 100);
    /// }
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn batch_costs(mut self, budget: u64, costs: impl Into<Arc<[u32]>>) -> Self {
        self.budget = Some((budget, Cost::Table(costs.into())));
        self
    }

    /// Leaves out the last batch of an epoch when it is not full. Not with a budget, which never says when
    /// one is.
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// How many epochs come one after the other; [`u64::MAX`] for no end. Default 1.
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.epochs = epochs;
        self
    }

    /// The number of the first epoch, on which its order depends. Default 0. A state that is resumed knows
    /// better.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.first_epoch = epoch;
        self
    }
}

/// Who reads them.
impl<C: Codec> LoaderBuilder<'_, C> {
    /// The batches of rank `rank` of `world`. Default 0 of 1.
    pub fn rank(mut self, rank: usize, world: usize) -> Self {
        self.rank = (rank, world);
        self
    }

    /// Of these, the batches of worker `worker` of `workers`. Default 0 of 1.
    pub fn worker(mut self, worker: usize, workers: usize) -> Self {
        self.worker = (worker, workers);
        self
    }

    /// Gives every rank the same number of batches, without which training in step hangs. Default false.
    ///
    /// If there is not a batch for every rank in the last step of an epoch, its first batches come again
    /// ([`Batch::is_repeated`](super::Batch::is_repeated)); with [`drop_last`](Self::drop_last) that step is
    /// left out.
    pub fn even(mut self, even: bool) -> Self {
        self.even = even;
        self
    }

    /// Streams that take turns in an epoch, each over a part of its own. Default 1.
    ///
    /// Part of the order, unlike ranks and workers. When it is a multiple of ranks times workers, none
    /// decodes what is another's; a loader holds two windows for each lane that it reads.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes;
        self
    }

    /// Batches that are read ahead, at least; [`shuffle`](Self::shuffle) reads a whole window ahead. Default
    /// 4.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// Threads that read and decode. With 0 the caller does, and nothing is read ahead. The default takes the
    /// machine's cores, at most 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What happens with a record that cannot be read. Default [`OnError::Stop`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Goes on where a loader with the same options was. Number of ranks, workers, threads and epochs may
    /// differ.
    pub fn resume(mut self, state: &LoaderState) -> Self {
        self.resume = Some(state.clone());
        self
    }

    /// Makes the loader, of the records that there are now. Of a depot that can be written to, what was put
    /// so far is committed first, so that a state never speaks of records that a crash takes away.
    ///
    /// `shuffle` looks at the lengths of all records, about 0.04 s for a million.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`]; [`ErrorKind::OtherLoader`] when the state to resume from is of a loader
    /// with other options, or over records that are not there any more; [`ErrorKind::NotFound`] and
    /// [`ErrorKind::OutOfRange`] for keys and positions; as [`commit`](crate::Depot::commit).
    pub fn build(self) -> Result<Loader<C>> {
        self.validate()?;
        let frozen = Arc::new(Frozen::new(self.engine.frozen()?)?);
        let subset = self.subset(&frozen)?;
        if let Some((_, Cost::Table(costs))) = &self.budget
            && subset.extent() > costs.len() as u64
        {
            let why = format!("costs of {} records; the last one is number {}", costs.len(), subset.extent());
            return refuse_options(why);
        }
        let (plan_state, plan) = self.plan(&frozen, subset)?;
        let (worker, step_length) = (self.worker_state(), plan.world);
        let lead = plan.worker.saturating_mul(step_length);
        let at = match &self.resume {
            None => StepAt { epoch: self.first_epoch, step: lead },
            Some(state) => {
                state.check(self.engine.path(), &plan_state)?;
                match &state.worker {
                    None => StepAt { epoch: state.epoch, step: state.next_batch.saturating_add(lead) },
                    Some(_) if state.worker == worker => {
                        StepAt { epoch: state.epoch, step: state.next_batch }
                    }
                    Some(one) => {
                        let why = format!(
                            "the state is that of worker {} of {} in a world of {}; `LoaderState::merge` makes one for \
                             another number from those of all workers",
                            one.worker, one.workers, one.world
                        );
                        return refuse_options(why);
                    }
                }
            }
        };
        let at = settle(&plan, &frozen, at, &mut None)?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(4);
        Ok(Loader {
            frozen,
            codec: self.codec,
            plan: Arc::new(plan),
            plan_state,
            worker,
            at,
            prefetch: self.prefetch,
            threads: self.threads.unwrap_or_else(cores),
            on_error: self.on_error,
            reading: None,
            stopped: false,
        })
    }

    fn validate(&self) -> Result<()> {
        let ((rank, world), (worker, workers)) = (self.rank, self.worker);
        if rank >= world {
            return refuse_options(format!(
                "rank {rank} of {world}: ranks go from 0 to one less than their number"
            ));
        }
        if worker >= workers {
            return refuse_options(format!(
                "worker {worker} of {workers}: workers go from 0 to one less than their number"
            ));
        }
        if self.batch_size == Some(0) {
            return refuse_options("a batch size of 0".into());
        }
        if self.lanes == 0 || self.lanes as u64 > MAX_LANES {
            return refuse_options(format!("{} lanes: there are 1 to {MAX_LANES}", self.lanes));
        }
        if self.window == Some(0) || self.group == Some(0) {
            return refuse_options("a window or group of 0 bytes".into());
        }
        if self.drop_last && self.budget.is_some() {
            return refuse_options(
                "`drop_last` with a budget, of which no batch can be said to be full".into(),
            );
        }
        Ok(())
    }

    fn subset(&self, frozen: &Frozen) -> Result<Subset> {
        // The order of all records stays over those there were, though more have come.
        let len = match &self.resume {
            Some(state) if matches!(self.wanted, Wanted::All) => frozen.len().min(state.plan.extent),
            _ => frozen.len(),
        };
        let list = |mut positions: Vec<u64>| {
            if let Some(&position) = positions.iter().find(|&&position| position >= len) {
                return Err(ErrorKind::OutOfRange { position, len }.at(self.engine.path()));
            }
            // A shuffle needs neighbours, and its result shall not depend on the order of the list.
            if !matches!(self.order, Order::Sequential) {
                positions.sort_unstable();
            }
            Ok(Subset::List(positions.into()))
        };
        match &self.wanted {
            Wanted::All => Ok(Subset::Range(0..len)),
            Wanted::Range((start, end)) => {
                let start = match *start {
                    Bound::Included(start) => start,
                    Bound::Excluded(before) => before.saturating_add(1),
                    Bound::Unbounded => 0,
                };
                let end = match *end {
                    Bound::Included(last) => last.saturating_add(1),
                    Bound::Excluded(end) => end,
                    Bound::Unbounded => u64::MAX,
                };
                let end = end.min(len);
                Ok(Subset::Range(start.min(end)..end))
            }
            Wanted::Positions(positions) => list(positions.clone()),
            Wanted::Keys(keys) => {
                let position = |key: &Key| {
                    let name = key
                        .to_tagged()
                        .ok_or_else(|| ErrorKind::NotFound.at(self.engine.path()).of(key.to_string()))?;
                    frozen.find(&name)
                };
                list(keys.iter().map(position).collect::<Result<_>>()?)
            }
        }
    }

    fn worker_state(&self) -> Option<WorkerState> {
        let (worker, workers) = self.worker;
        (workers > 1).then_some(WorkerState {
            worker: worker as u64,
            workers: workers as u64,
            world: self.rank.1 as u64,
        })
    }

    fn plan(&self, frozen: &Frozen, subset: Subset) -> Result<(PlanState, Plan)> {
        let (records, raw_bytes, _) = frozen.engine.counts();
        let mean = raw_bytes / records.max(1);
        let batch_size = match (self.batch_size, &self.budget) {
            (Some(records), _) => records as u64,
            (None, Some(_)) => u64::MAX,
            (None, None) => DEFAULT_BATCH,
        };
        let (shuffle, group) = match self.order {
            Order::Sequential => (Shuffle::Sequential, 0),
            Order::Full(seed) => (Shuffle::Full { seed }, 0),
            Order::Windowed(seed) => {
                let (window, group) = self.window_and_group(mean, batch_size);
                let lengths = (0..subset.len())
                    .map(|nth| frozen.location(subset.position(nth)).map(|location| location.length));
                let groups = Arc::new(Groups::new(lengths, group)?);
                (Shuffle::Windowed { seed, window, groups }, group)
            }
        };
        let plan_state = PlanState {
            extent: subset.extent(),
            last_record: hex(frozen.fingerprint(subset.extent())?),
            records: subset.len(),
            positions: hex(subset.hash()),
            order: OrderState::new(&shuffle, group),
            lanes: self.lanes as u64,
            batch_size: (batch_size < u64::MAX).then_some(batch_size),
            budget: self.budget.as_ref().map(|budget| budget.0),
            costs: match &self.budget {
                None => "none".into(),
                Some((_, Cost::Length(_))) => "by length".into(),
                Some((_, Cost::Table(costs))) => cost_hash(costs, subset.extent()),
            },
            drop_last: self.drop_last,
        };
        let plan = Plan {
            subset,
            shuffle,
            batch_size,
            budget: self.budget.clone(),
            drop_last: self.drop_last,
            lanes: self.lanes as u64,
            rank: self.rank.0 as u64,
            world: self.rank.1 as u64,
            worker: self.worker.0 as u64,
            workers: self.worker.1 as u64,
            uneven: match (self.even, self.drop_last) {
                (false, _) => Uneven::Allow,
                (true, false) => Uneven::Repeat,
                (true, true) => Uneven::Drop,
            },
            end: self.first_epoch.saturating_add(self.epochs),
            records_per_job: Plan::records_per_job(mean),
        };
        Ok((plan_state, plan))
    }

    /// Bytes of a window and of a group: as told, as in the state, or by default.
    fn window_and_group(&self, mean: u64, batch_size: u64) -> (u64, u64) {
        let stored = match self.resume.as_ref().map(|state| &state.plan.order) {
            Some(&OrderState::Shuffle { window, group, .. }) => Some((window, group)),
            _ => None,
        };
        let default_window = || {
            let batches = if self.budget.is_some() { 0 } else { batch_size.saturating_mul(mean) };
            DEFAULT_WINDOW.max(batches.saturating_mul(BATCHES_PER_WINDOW))
        };
        let window = self.window.or(stored.map(|stored| stored.0)).unwrap_or_else(default_window);
        let default_group = || DEFAULT_GROUP.min(window / (DEFAULT_WINDOW / DEFAULT_GROUP)).max(1);
        let group = self.group.or(stored.map(|stored| stored.1)).unwrap_or_else(default_group);
        (window, group)
    }
}

fn refuse_options<T>(why: String) -> Result<T> {
    Err(Error::invalid_options(why))
}

/// A hash of the costs of the first `extent` records.
fn cost_hash(costs: &[u32], extent: u64) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let extent = usize::try_from(extent).unwrap_or(usize::MAX);
    costs.iter().take(extent).for_each(|cost| hasher.update(&cost.to_le_bytes()));
    hex(hasher.digest())
}

impl<C: Codec> std::fmt::Debug for LoaderBuilder<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoaderBuilder").field("order", &self.order).finish_non_exhaustive()
    }
}

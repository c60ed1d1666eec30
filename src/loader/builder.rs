//! Sets a loader up: which records, in which order, in which batches, and who reads them.

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

/// Records whose lengths are read together, if the storage does not lend them.
const LOOKED_AT: u64 = 1 << 14;

/// Default number of records in a batch.
const DEFAULT_BATCH: u64 = 32;

/// Default bytes of a window: 64 groups.
const DEFAULT_WINDOW: u64 = 64 << 20;

/// Default bytes of a group.
///
/// The first and last block of a group are also decoded for the neighbouring groups. With blocks of 16
/// to 64 KiB that is 2 to 6 % more.
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

/// Sets up a [`Loader`]. [`Depot::loader`](crate::Depot::loader) makes one.
///
/// ```
/// use vldepot::{Depot, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// (0..10).try_for_each(|n| depot.put(n, &[n]))?;
/// let builder = depot.loader().batch_size(2).shuffle(7);
/// assert_eq!(builder.build()?.count(), 5);
/// # Ok::<(), vldepot::Error>(())
/// ```
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

/// Loading for training.
impl<C: Codec> Depot<C> {
    /// Sets up a loader for training. See [`crate::loader`].
    ///
    /// It hands out shuffled batches, reads ahead with its own threads, and can be resumed.
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
    /// Takes the records in the order of the depot. The default.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(3).sequential().build()?;
    /// assert_eq!(loader.next().unwrap()?.positions(), [0, 1, 2]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn sequential(mut self) -> Self {
        self.order = Order::Sequential;
        self
    }

    /// Shuffles the records in windows.
    ///
    /// Runs of records are decoded together, so this is nearly as fast as reading in order. See
    /// [`crate::loader`] for the order that it gives.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(3).shuffle(7).build()?;
    /// let mut positions: Vec<u64> = loader.flat_map(|batch| batch.unwrap().positions().to_vec()).collect();
    /// positions.sort();
    /// assert!(positions.into_iter().eq(0..10));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.order = Order::Windowed(seed);
        self
    }

    /// Shuffles each record among all others.
    ///
    /// Every record is read alone, and each read decodes the block that holds it. The order takes no
    /// memory, however many records there are.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(3).shuffle_full(7).build()?;
    /// let mut positions: Vec<u64> = loader.flat_map(|batch| batch.unwrap().positions().to_vec()).collect();
    /// positions.sort();
    /// assert!(positions.into_iter().eq(0..10));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn shuffle_full(mut self, seed: u64) -> Self {
        self.order = Order::Full(seed);
        self
    }

    /// Sets the bytes of a window, the records that [`shuffle`](Self::shuffle) shuffles among each
    /// other.
    ///
    /// The loader holds about two windows in memory. Default 64 MiB, or four batches if these are
    /// larger.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n; 1000]))?;
    /// let mut loader = depot.loader().batch_size(10).shuffle(7).window(1 << 20).build()?;
    /// assert_eq!(loader.next().unwrap()?.len(), 10);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn window(mut self, bytes: u64) -> Self {
        self.window = Some(bytes);
        self
    }

    /// Sets the bytes of a group, one of the runs of neighbouring records that make up a window.
    ///
    /// Default 1 MiB, or a 64th of the window if that is less. Smaller groups mix better and read
    /// slower, because the first and last block of a group are decoded again for its neighbours.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n; 1000]))?;
    /// // Windows of one group, and groups of two records.
    /// let loader = depot.loader().batch_size(2).shuffle(7).window(2000).group(2000).build()?;
    /// for batch in loader {
    ///     let positions = batch?.positions().to_vec();
    ///     assert_eq!(positions[0] / 2, positions[1] / 2);
    /// }
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn group(mut self, bytes: u64) -> Self {
        self.group = Some(bytes);
        self
    }

    /// Takes only the records at these positions, such as a training set.
    ///
    /// When the order is [`sequential`](Self::sequential), they come in the order of this list. A
    /// position that is listed several times comes as often.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().positions([7, 2, 7]).build()?;
    /// assert_eq!(loader.next().unwrap()?.positions(), [7, 2, 7]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn positions(mut self, positions: impl IntoIterator<Item = u64>) -> Self {
        self.wanted = Wanted::Positions(positions.into_iter().collect());
        self
    }

    /// Takes only the records in this range of positions. The part of it outside the depot is left out.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().range(8..).build()?;
    /// assert_eq!(loader.next().unwrap()?.positions(), [8, 9]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        self.wanted = Wanted::Range((range.start_bound().cloned(), range.end_bound().cloned()));
        self
    }

    /// Takes only the records with these names. The order is like that of
    /// [`positions`](Self::positions).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// for name in ["a", "b", "c"] {
    ///     depot.put(name, name.as_bytes())?;
    /// }
    /// let mut loader = depot.loader().keys(&["c", "a"]).build()?;
    /// assert_eq!(loader.next().unwrap()?.positions(), [2, 0]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn keys<K: AsKey>(mut self, keys: &[K]) -> Self {
        self.wanted = Wanted::Keys(keys.iter().map(AsKey::to_key).collect());
        self
    }
}

/// How the records are batched.
impl<C: Codec> LoaderBuilder<'_, C> {
    /// Sets the number of records in a batch. The last batch of an epoch has the rest.
    ///
    /// Default 32. When batches have a budget and no size, a batch may have any number of records.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(4).build()?;
    /// let sizes: Vec<usize> = loader.map(|batch| batch.unwrap().len()).collect();
    /// assert_eq!(sizes, [4, 4, 2]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn batch_size(mut self, records: usize) -> Self {
        self.batch_size = Some(records);
        self
    }

    /// Fills batches by length: the records of one batch have at most `bytes` bytes together.
    ///
    /// A record that is longer is a batch of its own. This decodes nothing, because the index has the
    /// lengths. For frames with the same fields, the number of bytes is proportional to the number of
    /// atoms.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// for (n, length) in [600, 400, 500, 2000].into_iter().enumerate() {
    ///     depot.put(n, &vec![0; length])?;
    /// }
    /// let loader = depot.loader().batch_bytes(1000).build()?;
    /// let sizes: Vec<usize> = loader.map(|batch| batch.unwrap().len()).collect();
    /// assert_eq!(sizes, [2, 1, 1]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn batch_bytes(self, bytes: u64) -> Self {
        self.batch_by_length(bytes, u64::from)
    }

    /// Fills batches by a cost that follows from the length, such as the number of atoms.
    ///
    /// The records of one batch cost at most `budget` together. A record that costs more is a batch of
    /// its own.
    ///
    /// Every epoch starts with a look at the lengths of all its records. This takes about 0.1 s for a
    /// million records. Every rank and worker does it, because the batches must not depend on how many
    /// ranks and workers there are.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n; 24]))?;
    /// // Records of 12 bytes an atom, and at most 5 atoms in a batch.
    /// let loader = depot.loader().batch_by_length(5, |bytes| u64::from(bytes / 12)).build()?;
    /// assert!(loader.into_iter().all(|batch| batch.unwrap().len() == 2));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn batch_by_length(mut self, budget: u64, cost: impl Fn(u32) -> u64 + Send + Sync + 'static) -> Self {
        self.budget = Some((budget, Cost::Length(Arc::new(cost))));
        self
    }

    /// Fills batches by a table: `costs[position]` is the cost of each record of the depot.
    ///
    /// The records of one batch cost at most `budget` together. A record that costs more is a batch of
    /// its own.
    ///
    /// Use this for costs that need a look at the records. That look is taken once, and the table can be
    /// kept:
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

    /// Leaves out the last batch of an epoch when it is not full.
    ///
    /// This is refused for batches with a budget, because no number of records makes such a batch full.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(4).drop_last(true).build()?;
    /// assert_eq!(loader.count(), 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// Sets how many epochs the loader hands out, one after the other. Default 1.
    ///
    /// [`u64::MAX`] stands for no end.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(5).epochs(3).build()?;
    /// assert_eq!(loader.count(), 6);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.epochs = epochs;
        self
    }

    /// Sets the number of the first epoch. The order of an epoch depends on its number. Default 0.
    ///
    /// A loader that resumes takes the epoch from its state instead.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().shuffle(7).epoch(3).build()?;
    /// assert_eq!(loader.next().unwrap()?.epoch(), 3);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.first_epoch = epoch;
        self
    }
}

/// Ranks, workers, threads, and the loader itself.
impl<C: Codec> LoaderBuilder<'_, C> {
    /// Takes only the batches of rank `rank` of `world` ranks. Default 0 of 1.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(2).rank(1, 2).build()?;
    /// let numbers: Vec<u64> = loader.map(|batch| batch.unwrap().number()).collect();
    /// assert_eq!(numbers, [1, 3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn rank(mut self, rank: usize, world: usize) -> Self {
        self.rank = (rank, world);
        self
    }

    /// Takes only worker `worker`'s share of the rank's batches, of `workers` workers. Default 0 of 1.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(1).rank(1, 2).worker(0, 2).build()?;
    /// let numbers: Vec<u64> = loader.map(|batch| batch.unwrap().number()).collect();
    /// assert_eq!(numbers, [1, 5, 9]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn worker(mut self, worker: usize, workers: usize) -> Self {
        self.worker = (worker, workers);
        self
    }

    /// Gives every rank the same number of batches. Default false.
    ///
    /// Training in step hangs when one rank has fewer batches than another. If the last step of an epoch
    /// has no batch for some ranks, they get the first batches of the epoch again: see
    /// [`Batch::is_repeated`](super::Batch::is_repeated). With [`drop_last`](Self::drop_last) that step
    /// is left out instead.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// // Three batches for two ranks: rank 1 gets the first batch again.
    /// let loader = depot.loader().batch_size(4).rank(1, 2).even(true).build()?;
    /// let numbers: Vec<u64> = loader.map(|batch| batch.unwrap().number()).collect();
    /// assert_eq!(numbers, [1, 0]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn even(mut self, even: bool) -> Self {
        self.even = even;
        self
    }

    /// Splits an epoch into this many lanes, which take turns in handing out batches. Default 1.
    ///
    /// Each lane goes over a part of the epoch of its own. The number of lanes is part of the order,
    /// unlike ranks and workers. When it is a multiple of ranks times workers, none of them decodes what
    /// belongs to another. A loader holds two windows for each lane that it reads.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..6).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(1).lanes(2).build()?;
    /// let positions: Vec<u64> = loader.map(|batch| batch.unwrap().positions()[0]).collect();
    /// assert_eq!(positions, [0, 3, 1, 4, 2, 5]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes;
        self
    }

    /// Sets how many batches are read ahead, at least. Default 4.
    ///
    /// [`shuffle`](Self::shuffle) reads a whole window ahead.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(2).prefetch(8).build()?;
    /// assert_eq!(loader.count(), 5);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// Sets how many threads read and decode. The default is the number of cores, at most 4.
    ///
    /// With 0 threads, the thread that calls the loader reads, and nothing is read ahead.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(2).threads(0).build()?;
    /// assert_eq!(loader.count(), 5);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets what happens with a record that cannot be read. Default [`OnError::Stop`].
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # use vldepot::loader::OnError;
    /// # let depot = Depot::builder(Raw).layout(vldepot::Layout::uncompressed()).memory()?;
    /// # depot.put("a", b"a record")?;
    /// let mut bytes = depot.to_bytes()?;
    /// let at = bytes.windows(8).position(|part| part == b"a record").unwrap();
    /// bytes[at] ^= 1;
    /// let damaged = Depot::from_bytes(&bytes, Raw)?;
    ///
    /// assert!(damaged.loader().build()?.next().unwrap().is_err());
    /// let batch = damaged.loader().on_error(OnError::Skip).build()?.next().unwrap()?;
    /// assert_eq!((batch.len(), batch.skipped().len()), (0, 1));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Goes on where a loader with the same options was.
    ///
    /// The number of ranks, workers, threads and epochs may differ.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(2).build()?;
    /// loader.next();
    /// let mut resumed = depot.loader().batch_size(2).resume(&loader.state()).build()?;
    /// assert_eq!(resumed.next().unwrap()?.positions(), [2, 3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn resume(mut self, state: &LoaderState) -> Self {
        self.resume = Some(state.clone());
        self
    }

    /// Makes the loader, over the records that there are now.
    ///
    /// A writable depot is committed first, so that a crash cannot take away records that a state
    /// counts. `shuffle` looks at the lengths of all records, which takes about 0.04 s for a million.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().build()?;
    /// depot.put(10, b"too late")?;
    /// assert_eq!(loader.records(), 10);
    /// assert!(depot.loader().batch_size(0).build().is_err());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidOptions`] when the options do not go together.
    /// - [`ErrorKind::OtherLoader`] when the state is of a loader with other options, or over records
    ///   that are not there any more.
    /// - [`ErrorKind::NotFound`] when a key has no record, and [`ErrorKind::OutOfRange`] when a position
    ///   has none.
    /// - The errors of [`commit`](crate::Depot::commit).
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
        // A resumed order of all records covers those that there were then, even if more have come
        // since.
        let len = match &self.resume {
            Some(state) if matches!(self.wanted, Wanted::All) => frozen.len().min(state.plan.extent),
            _ => frozen.len(),
        };
        let list = |mut positions: Vec<u64>| {
            if let Some(&position) = positions.iter().find(|&&position| position >= len) {
                return Err(ErrorKind::OutOfRange { position, len }.at(self.engine.path()));
            }
            // A shuffle needs neighbours, and its result must not depend on the order of the list.
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
                let lengths = (0..subset.len()).map(|nth| {
                    if nth.is_multiple_of(LOOKED_AT) {
                        let next = nth..nth.saturating_add(LOOKED_AT).min(subset.len());
                        frozen.engine.expect_positions(next.map(|nth| subset.position(nth)));
                    }
                    frozen.location(subset.position(nth)).map(|location| location.clipped_length())
                });
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

    /// Bytes of a window and of a group: as set, else as in the state to resume from, else the default.
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

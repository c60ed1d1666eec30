//! Where a loader is, so that another one can go on from there.
//!
//! A state counts the batches of the whole epoch, not of one rank. Ranks that are at the same step of a
//! training have the same state, and it resumes on any number of ranks and workers.

use super::order::Shuffle;
use crate::error::{Error, ErrorKind, Result};

/// The version of states that this crate writes and reads.
const VERSION: u32 = 1;

/// Where a [`Loader`](super::Loader) is. It can be serialised, and is small for a depot of any size.
///
/// It says which batches were handed out; batches that were only read ahead do not count. It also knows
/// enough of the loader to refuse one that would go on differently.
///
/// ```
/// use vldepot::{Depot, LoaderState, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// (0..10).try_for_each(|n| depot.put(n, &[n]))?;
/// let mut loader = depot.loader().batch_size(2).shuffle(7).build()?;
/// loader.next();
/// let json = serde_json::to_string(&loader.state()).unwrap();
///
/// let state: LoaderState = serde_json::from_str(&json).unwrap();
/// let resumed = depot.loader().batch_size(2).shuffle(7).resume(&state).build()?;
/// assert_eq!(resumed.count(), 4);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LoaderState {
    version: u32,
    pub(super) plan: PlanState,
    pub(super) epoch: u64,
    pub(super) next_batch: u64,
    pub(super) worker: Option<WorkerState>,
}

/// What must agree between the loader that made a state and the one that resumes from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct PlanState {
    /// How many of the depot's records the order covers, counted from the first.
    pub(super) extent: u64,
    /// A fingerprint of the last of these records.
    pub(super) last_record: String,
    /// Records in an epoch.
    pub(super) records: u64,
    pub(super) positions: String,
    pub(super) order: OrderState,
    pub(super) lanes: u64,
    pub(super) batch_size: Option<u64>,
    pub(super) budget: Option<u64>,
    pub(super) costs: String,
    pub(super) drop_last: bool,
}

/// The order of records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub(super) enum OrderState {
    Sequential,
    Shuffle { seed: u64, window: u64, group: u64 },
    ShuffleFull { seed: u64 },
}

/// The worker that a state belongs to, when the batches of a rank are split over workers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct WorkerState {
    pub(super) worker: u64,
    pub(super) workers: u64,
    pub(super) world: u64,
}

/// A hash as text, because JSON readers of other languages round large numbers.
pub(super) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

impl OrderState {
    pub(super) fn new(shuffle: &Shuffle, group: u64) -> Self {
        match *shuffle {
            Shuffle::Sequential => Self::Sequential,
            Shuffle::Windowed { seed, window, .. } => Self::Shuffle { seed, window, group },
            Shuffle::Full { seed } => Self::ShuffleFull { seed },
        }
    }
}

impl std::fmt::Display for OrderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sequential => f.write_str("sequential"),
            Self::Shuffle { seed, window, group } => {
                write!(f, "shuffle, seed {seed}, window {window}, group {group}")
            }
            Self::ShuffleFull { seed } => write!(f, "shuffle_full, seed {seed}"),
        }
    }
}

impl LoaderState {
    pub(super) fn new(plan: PlanState, epoch: u64, next_batch: u64, worker: Option<WorkerState>) -> Self {
        Self { version: VERSION, plan, epoch, next_batch, worker }
    }

    /// The epoch of the next batch, counted from 0.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().epochs(2).build()?;
    /// loader.next();
    /// assert_eq!(loader.state().epoch(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the first batch of the epoch that has not been handed out.
    ///
    /// It is counted from 0 over all ranks. In a worker's state it is what this worker knows: the first
    /// batch of the step that it serves next.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(2).build()?;
    /// loader.next();
    /// loader.next();
    /// assert_eq!(loader.state().next_batch(), 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn next_batch(&self) -> u64 {
        self.next_batch
    }

    /// Merges the states of all workers of a rank into the state of the rank.
    ///
    /// The states may come in any order. The result resumes on any number of ranks and workers.
    ///
    /// The workers must have handed out their batches in turns, as those of PyTorch's `DataLoader` do:
    /// worker 0 first, and no worker twice before the others had their turn.
    ///
    /// The state of one rank is that of all ranks while they are at the same step of the same epoch.
    /// [Even](super::LoaderBuilder::even) ranks that train in step always are.
    ///
    /// ```
    /// # use vldepot::{Depot, LoaderState, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let load = |worker| depot.loader().batch_size(1).worker(worker, 2).build();
    /// let (mut first, second) = (load(0)?, load(1)?);
    /// first.next();
    /// let state = LoaderState::merge(&[first.state(), second.state()])?;
    /// assert_eq!(state.next_batch(), 1);
    /// assert_eq!(depot.loader().batch_size(1).resume(&state).build()?.count(), 9);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] when there are no states, when states of several ranks differ, or
    /// when the state of a worker is missing, given twice, of another loader, or out of turn.
    pub fn merge(states: &[Self]) -> Result<Self> {
        let refuse = |why: String| Err(Error::invalid_options(format!("states to merge: {why}")));
        let Some(first) = states.first() else { return refuse("none".into()) };
        let Some(WorkerState { workers, world, .. }) = first.worker else {
            return if states.iter().all(|state| state == first) {
                Ok(first.clone())
            } else {
                refuse("states of several ranks that are not at the same step".into())
            };
        };
        let mut seen = Vec::new();
        for state in states {
            match &state.worker {
                Some(one) if one.workers == workers && one.world == world => seen.push(one.worker),
                other => return refuse(format!("{other:?} beside {:?}", first.worker)),
            }
            if state.plan != first.plan || state.version != first.version {
                return refuse("loaders with different options, or over different records".into());
            }
        }
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..workers) {
            return refuse(format!("workers {seen:?} of {workers}"));
        }
        // A worker that has no batch left in this epoch is at its start in a later one. It waits there
        // for the others.
        let epoch = states.iter().map(|state| state.epoch).min().unwrap_or(0);
        let (counted, ahead): (Vec<_>, Vec<_>) = states.iter().partition(|state| state.epoch == epoch);
        let at_start = |state: &Self| {
            let worker = state.worker.as_ref().map_or(0, |one| one.worker);
            state.next_batch == worker.saturating_mul(world)
        };
        if let Some(state) = ahead.into_iter().find(|state| !at_start(state)) {
            return refuse(format!(
                "a worker in epoch {} while another has batches left in {epoch}",
                state.epoch
            ));
        }
        let nexts = || counted.iter().map(|state| state.next_batch);
        let (least, most) = (nexts().min().unwrap_or(0), nexts().max().unwrap_or(0));
        let round = workers.saturating_mul(world);
        if most - least >= round || counted.iter().any(|state| (state.next_batch - least) % world.max(1) != 0)
        {
            return refuse(format!(
                "one worker goes on at batch {least}, another at {most}: more than a round of {round} apart"
            ));
        }
        Ok(Self { epoch, next_batch: least, worker: None, ..first.clone() })
    }

    /// Refuses a loader that would go on differently.
    pub(super) fn check(&self, path: &std::path::Path, plan: &PlanState) -> Result<()> {
        let differ = |what, state: &dyn std::fmt::Display, given: &dyn std::fmt::Display| {
            Err(ErrorKind::OtherLoader { what, state: state.to_string(), given: given.to_string() }.at(path))
        };
        if self.version != VERSION {
            return differ("version", &self.version, &VERSION);
        }
        let optional = |n: Option<u64>| n.map_or("none".to_owned(), |n| n.to_string());
        let (old, new) = (&self.plan, plan);
        if old.order != new.order {
            return differ("order", &old.order, &new.order);
        }
        if old.batch_size != new.batch_size {
            return differ("batch size", &optional(old.batch_size), &optional(new.batch_size));
        }
        if old.budget != new.budget {
            return differ("batch budget", &optional(old.budget), &optional(new.budget));
        }
        if old.costs != new.costs {
            return differ("costs", &old.costs, &new.costs);
        }
        if old.drop_last != new.drop_last {
            return differ("drop_last", &old.drop_last, &new.drop_last);
        }
        if old.lanes != new.lanes {
            return differ("lanes", &old.lanes, &new.lanes);
        }
        if old.records != new.records {
            return differ("records", &old.records, &new.records);
        }
        if old.positions != new.positions {
            return differ("positions", &old.positions, &new.positions);
        }
        if old.extent != new.extent {
            return differ("records up to position", &old.extent, &new.extent);
        }
        if old.last_record != new.last_record {
            return differ("a last record", &old.last_record, &new.last_record);
        }
        Ok(())
    }
}

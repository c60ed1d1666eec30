//! Which batches there are, who reads them, and which are read together.
//!
//! ```text
//! records of an epoch, in its order   r0 r1 r2 r3 r4 r5 r6 r7 r8 ..
//! cut into stretches                  [t0     ][t1     ][t2     ] ..      the same for everybody
//! numbered as batches                  b = 0    1         2               by `lanes`, see `EpochPlan::stretch`
//! dealt in steps                      step s: batches s .. s + world      rank r takes batch s + r
//!                                     worker w of W takes every W-th step
//! read in jobs                        one rank's and worker's batches that lie in the same window
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::frozen::{Frozen, Subset};
use super::order::{EpochOrder, Shuffle};
use crate::engine::Known;
use crate::error::Result;
use crate::index::Location;

/// Raw bytes that are read together, at least, when there are no windows.
const JOB_BYTES: u64 = 1 << 20;

/// Raw bytes that one thread reads at a time.
const PART_BYTES: u64 = 1 << 20;
/// The same, if the storage answers each read on its own.
const READ_PART_BYTES: u64 = 4 << 20;

/// A window counts as at most this many bytes when buffers are kept for the next one.
const MAX_RECYCLED: u64 = 256 << 20;

/// What a record costs.
#[derive(Clone)]
pub(super) enum Cost {
    /// By the record's length.
    Length(Arc<dyn Fn(u32) -> u64 + Send + Sync>),
    /// By its position.
    Table(Arc<[u32]>),
}

/// What happens at the end of an epoch when there is no batch left for some ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uneven {
    /// Some ranks have one batch more than others.
    Allow,
    /// The first batches come again.
    Repeat,
    /// The last batches are left out.
    Drop,
}

/// Everything that decides which batches a loader hands out.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) subset: Subset,
    pub(super) shuffle: Shuffle,
    /// Records in a batch, at most.
    pub(super) batch_size: u64,
    /// Cost of a batch, at most.
    pub(super) budget: Option<(u64, Cost)>,
    pub(super) drop_last: bool,
    pub(super) lanes: u64,
    pub(super) rank: u64,
    pub(super) world: u64,
    pub(super) worker: u64,
    pub(super) workers: u64,
    pub(super) uneven: Uneven,
    /// The first epoch that is not handed out.
    pub(super) end: u64,
    /// Records that are read together, at least, when there are no windows.
    pub(super) records_per_job: u64,
}

impl Plan {
    /// How many records make a job, when a record has `mean` bytes.
    pub(super) fn records_per_job(mean: u64) -> u64 {
        (JOB_BYTES / mean.max(1)).clamp(1, 4096)
    }

    /// About how many raw bytes are read together, for the reuse of buffers.
    pub(super) fn window(&self) -> u64 {
        match self.shuffle {
            Shuffle::Windowed { window, .. } => window.min(MAX_RECYCLED),
            _ => JOB_BYTES * 8,
        }
    }

    /// How many batches lie between one of a worker's steps and its next.
    fn round(&self) -> u64 {
        self.world.saturating_mul(self.workers)
    }
}

/// A place between batches: the epoch, and the number of the first batch of the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StepAt {
    pub(super) epoch: u64,
    pub(super) step: u64,
}

/// One epoch's batches.
pub(super) struct EpochPlan {
    order: EpochOrder,
    records: u64,
    stretches: Stretches,
}

enum Stretches {
    Equal {
        size: u64,
        n: u64,
    },
    /// The place where each stretch ends.
    Ends(Vec<u64>),
}

impl EpochPlan {
    /// Plans epoch `epoch`. With a budget, this looks at the cost of every record.
    pub(super) fn new(plan: &Plan, frozen: &Frozen, epoch: u64) -> Result<Self> {
        let records = plan.subset.len();
        let mut order = EpochOrder::new(&plan.shuffle, records, epoch);
        let stretches = match &plan.budget {
            None => {
                let size = plan.batch_size.max(1);
                let n = if plan.drop_last { records / size } else { records.div_ceil(size) };
                Stretches::Equal { size, n }
            }
            Some((budget, cost)) => Stretches::Ends(ends(plan, frozen, &mut order, *budget, cost)?),
        };
        Ok(Self { order, records, stretches })
    }

    /// How many batches there are, over all ranks.
    pub(super) fn n_batches(&self) -> u64 {
        match &self.stretches {
            Stretches::Equal { n, .. } => *n,
            Stretches::Ends(ends) => ends.len() as u64,
        }
    }

    /// The places of the `t`-th stretch.
    fn places(&self, t: u64) -> Range<u64> {
        match &self.stretches {
            Stretches::Equal { size, .. } => {
                let start = t.saturating_mul(*size);
                start..start.saturating_add(*size).min(self.records)
            }
            Stretches::Ends(ends) => {
                let end = |t: u64| usize::try_from(t).ok().and_then(|t| ends.get(t)).copied();
                let start = t.checked_sub(1).and_then(end).unwrap_or(0);
                start..end(t).unwrap_or(start)
            }
        }
    }

    /// The stretch of batch `b`. Lane `l` has the batches `l`, `l + lanes`, ..: they are consecutive
    /// stretches.
    fn stretch(&self, b: u64, lanes: u64) -> u64 {
        let (each, more) = (self.n_batches() / lanes, self.n_batches() % lanes);
        let lane = b % lanes;
        lane * each + lane.min(more) + b / lanes
    }

    /// Whether the loader has a batch in the step that begins with batch `step`.
    pub(super) fn has(&self, plan: &Plan, step: u64) -> bool {
        let n = self.n_batches();
        match plan.uneven {
            Uneven::Allow => step.checked_add(plan.rank).is_some_and(|batch| batch < n),
            Uneven::Repeat => step < n,
            Uneven::Drop => step.checked_add(plan.world).is_some_and(|end| end <= n),
        }
    }

    /// How many batches the loader has left, counted from the step that begins with batch `step`.
    pub(super) fn remaining(&self, plan: &Plan, step: u64) -> u64 {
        let (n, round) = (self.n_batches(), plan.round().max(1));
        let end = match plan.uneven {
            Uneven::Allow => n.saturating_sub(plan.rank),
            Uneven::Repeat => n,
            Uneven::Drop => (n + 1).saturating_sub(plan.world),
        };
        end.saturating_sub(step).div_ceil(round)
    }
}

/// The places where batches end, when their cost is limited.
fn ends(plan: &Plan, frozen: &Frozen, order: &mut EpochOrder, budget: u64, cost: &Cost) -> Result<Vec<u64>> {
    const AT_ONCE: u64 = 4096;
    let records = plan.subset.len();
    let mut ends = Vec::new();
    let (mut in_batch, mut spent) = (0, 0_u64);
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < records {
        numbers.clear();
        order.records(at..(at + AT_ONCE).min(records), &mut numbers);
        if let Cost::Length(_) = cost {
            frozen.engine.expect_positions(numbers.iter().map(|&number| plan.subset.position(number)));
        }
        for &number in &numbers {
            let position = plan.subset.position(number);
            let price = match cost {
                Cost::Length(cost) => cost(frozen.location(position)?.clipped_length()),
                Cost::Table(costs) => {
                    usize::try_from(position).ok().and_then(|at| costs.get(at)).map_or(0, |&cost| cost.into())
                }
            };
            if in_batch > 0 && (in_batch >= plan.batch_size || spent.saturating_add(price) > budget) {
                ends.push(at);
                (in_batch, spent) = (0, 0);
            }
            in_batch += 1;
            spent = spent.saturating_add(price);
            at += 1;
        }
    }
    if in_batch > 0 {
        ends.push(records);
    }
    Ok(ends)
}

/// A batch that a loader will hand out.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    pub(super) at: StepAt,
    /// The batch's number in the epoch, over all ranks.
    pub(super) number: u64,
    /// Whether the batch comes again, so that all ranks have the same number.
    pub(super) repeated: bool,
    /// Whether it is the loader's last batch of the epoch.
    pub(super) last: bool,
    /// Where the loader goes on after it.
    pub(super) next: StepAt,
    /// Where its records are in the job.
    pub(super) records: Range<usize>,
}

/// Batches that are read together.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) batches: Vec<Assigned>,
    /// Positions of the records of all batches, in the order of the batches.
    pub(super) positions: Vec<u64>,
    pub(super) parts: Vec<Part>,
}

/// Neighbouring records of a job, in the order of the depot.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Indices of the records in the job's `positions`.
    pub(super) numbers: Vec<usize>,
    /// Where the records are. Names are needed only for errors, and are looked up then.
    pub(super) wanted: Vec<((), Location)>,
    pub(super) known: Known,
    /// Indices of records that the index cannot place.
    pub(super) lost: Vec<usize>,
}

/// Makes jobs in the order in which they are needed.
pub(super) struct Planner {
    plan: Arc<Plan>,
    epoch: u64,
    current: Option<EpochPlan>,
    /// The plan of a later epoch, if it was needed early.
    following: Option<(u64, EpochPlan)>,
    /// The loader's next step, for each lane that it takes batches from.
    cursors: Vec<u64>,
    /// Epochs in a row that had no batch for the loader.
    empty: u64,
}

/// After this many epochs without a batch, the loader ends. The number of batches hardly changes from
/// one epoch to the next.
const EMPTY_EPOCHS: u64 = 8;

impl Planner {
    /// A planner that goes on at `at`.
    pub(super) fn new(plan: Arc<Plan>, at: StepAt) -> Self {
        let cursors = Self::cursors(&plan, at.step);
        Self { plan, epoch: at.epoch, current: None, following: None, cursors, empty: 0 }
    }

    fn cursors(plan: &Plan, step: u64) -> Vec<u64> {
        let (mut a, mut b) = (plan.lanes, plan.round().max(1));
        while b > 0 {
            (a, b) = (b, a % b);
        }
        (0..plan.lanes / a.max(1)).map(|nth| step.saturating_add(nth.saturating_mul(plan.round()))).collect()
    }

    /// Every batch before this place is in a job that was made. `None` at the end.
    pub(super) fn frontier(&self) -> Option<StepAt> {
        if self.epoch >= self.plan.end || self.empty >= EMPTY_EPOCHS || self.plan.subset.len() == 0 {
            return None;
        }
        let step = match &self.current {
            Some(current) => self.cursors.iter().copied().filter(|&step| current.has(&self.plan, step)).min(),
            None => self.cursors.iter().copied().min(),
        };
        match step {
            Some(step) => Some(StepAt { epoch: self.epoch, step }),
            None => (self.epoch + 1 < self.plan.end).then_some(StepAt { epoch: self.epoch + 1, step: 0 }),
        }
    }

    /// The next job, or `None` at the end.
    pub(super) fn next_job(&mut self, frozen: &Frozen) -> Result<Option<Job>> {
        let plan = Arc::clone(&self.plan);
        loop {
            if self.frontier().is_none() {
                return Ok(None);
            }
            if self.current.is_none() {
                let early = self.following.take_if(|following| following.0 == self.epoch);
                self.current = Some(match early {
                    Some((_, made)) => made,
                    None => EpochPlan::new(&plan, frozen, self.epoch)?,
                });
            }
            let Some(current) = &mut self.current else { continue };
            let next = (0..self.cursors.len())
                .filter(|&nth| current.has(&plan, self.cursors[nth]))
                .min_by_key(|&nth| self.cursors[nth]);
            if let Some(nth) = next {
                self.empty = 0;
                let stride = plan.round().saturating_mul(self.cursors.len() as u64);
                let mut job = job(&plan, frozen, self.epoch, current, &mut self.cursors[nth], stride);
                for batch in job.batches.iter_mut().filter(|batch| batch.last) {
                    batch.next = settle(&plan, frozen, batch.next, &mut self.following)?;
                }
                return Ok(Some(job));
            }
            self.epoch += 1;
            self.empty += 1;
            self.current = None;
            self.cursors = Self::cursors(&plan, plan.worker.saturating_mul(plan.world));
        }
    }
}

/// Moves a worker from `at` to the next place at which it has a batch.
///
/// That is `at` itself, or the start of a later epoch. So a worker's state never waits in an epoch in
/// which it has no batch left. `made` keeps the plan of the epoch that was looked at last.
pub(super) fn settle(
    plan: &Plan,
    frozen: &Frozen,
    mut at: StepAt,
    made: &mut Option<(u64, EpochPlan)>,
) -> Result<StepAt> {
    if plan.workers == 1 {
        return Ok(at);
    }
    let start = plan.worker.saturating_mul(plan.world);
    for _ in 0..EMPTY_EPOCHS {
        if at.epoch >= plan.end {
            break;
        }
        let epoch = match made.take_if(|made| made.0 == at.epoch) {
            Some((_, epoch)) => epoch,
            None => EpochPlan::new(plan, frozen, at.epoch)?,
        };
        let has = epoch.has(plan, at.step);
        *made = Some((at.epoch, epoch));
        if has {
            return Ok(at);
        }
        at = StepAt { epoch: at.epoch + 1, step: start };
    }
    Ok(StepAt { epoch: plan.end.max(at.epoch), step: start })
}

/// Makes the job that begins with the step `cursor`, and moves the cursor on.
fn job(
    plan: &Plan,
    frozen: &Frozen,
    epoch: u64,
    current: &mut EpochPlan,
    cursor: &mut u64,
    stride: u64,
) -> Job {
    let n = current.n_batches();
    let mut job = Job::default();
    let mut window = None;
    while current.has(plan, *cursor) {
        let batch = cursor.saturating_add(plan.rank);
        let places = current.places(current.stretch(batch % n, plan.lanes));
        let here = current.order.window_end(places.start);
        if !job.batches.is_empty() {
            // A batch that comes again may lie anywhere.
            let together = match here {
                Some(_) => here == window && batch < n,
                None => (job.positions.len() as u64) < plan.records_per_job,
            };
            if !together {
                break;
            }
        }
        window = here;
        let first = job.positions.len();
        current.order.records(places, &mut job.positions);
        let after = cursor.saturating_add(plan.round());
        let last = !current.has(plan, after);
        let next = if last {
            StepAt { epoch: epoch + 1, step: plan.worker.saturating_mul(plan.world) }
        } else {
            StepAt { epoch, step: after }
        };
        job.batches.push(Assigned {
            at: StepAt { epoch, step: *cursor },
            number: batch % n,
            repeated: batch >= n,
            last,
            next,
            records: first..job.positions.len(),
        });
        *cursor = cursor.saturating_add(stride);
        if batch >= n {
            break;
        }
    }
    job.positions.iter_mut().for_each(|number| *number = plan.subset.position(*number));
    job.parts = parts(frozen, &job.positions);
    job
}

/// Looks the records up, and splits them into parts of neighbours of about [`PART_BYTES`].
fn parts(frozen: &Frozen, positions: &[u64]) -> Vec<Part> {
    let mut sorted: Vec<(u64, usize)> = positions.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    frozen.engine.expect_positions(sorted.iter().map(|&(position, _)| position));
    let part_bytes = if frozen.engine.reads_ahead() { READ_PART_BYTES } else { PART_BYTES };
    let (mut parts, mut part, mut bytes) = (Vec::new(), Part::default(), 0);
    let mut previous = None;
    for (position, number) in sorted {
        // Neighbours share blocks. So a part ends at a gap between records, if there is one nearby.
        let gap = previous.is_some_and(|previous| position > previous + 1);
        if bytes >= 2 * part_bytes || (gap && bytes >= part_bytes / 2) {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        match frozen.location_seen(position, &mut part.known.seen) {
            Ok(location) => {
                bytes += location.length;
                part.numbers.push(number);
                part.wanted.push(((), location));
            }
            Err(_) => part.lost.push(number),
        }
        previous = Some(position);
    }
    parts.push(part);
    parts
}

//! Threads that read ahead.
//!
//! ```text
//! planner ──> jobs: parts to read ──> threads ──> jobs: records ──> the loader takes batch by batch
//!             at most `prefetch` batches wait untouched, or one job
//! ```
//!
//! One thread at a time plans the next job, when no part of an earlier job is left to read. The thread
//! that calls the loader never reads, unless there are no threads: then it does all of this itself.
//!
//! After a fork the child has none of the threads. The loader then drops its hold on everything here
//! without touching it, and starts anew.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::frozen::Frozen;
use super::plan::{Assigned, Job, Part, Plan, Planner, StepAt};
use crate::buffer::{Bytes, Recycling};
use crate::codec::Codec;
use crate::depot::Record;
use crate::engine::batch;
use crate::error::{Error, ErrorKind, Result};
use crate::key::describe;
use crate::workers::{Wake, Work, Workers, panic_message};

/// What the threads need for reading.
pub(super) struct Reader<C> {
    pub(super) frozen: Arc<Frozen>,
    pub(super) codec: Arc<C>,
    pub(super) plan: Arc<Plan>,
    /// How many batches wait untouched, at least.
    pub(super) prefetch: usize,
    /// About how many raw bytes are read together.
    pub(super) window: usize,
}

/// A batch on its way out.
pub(super) struct Delivery<C> {
    pub(super) batch: Assigned,
    /// Position, and the record.
    pub(super) records: Vec<(u64, Slot<C>)>,
}

/// A record, or why there is none. Errors are boxed, because there are many records and few errors.
type Slot<C> = Result<Record<C>>;

/// A job that was planned and is not wholly handed out yet.
struct OpenJob<C> {
    id: u64,
    batches: VecDeque<Assigned>,
    positions: Arc<[u64]>,
    /// Parts that no thread has begun.
    parts: VecDeque<Part>,
    /// How many parts are not finished.
    n_parts: usize,
    records: Vec<Option<Slot<C>>>,
    touched: bool,
}

pub(super) struct Jobs<C> {
    /// The jobs, in the order of their first batches.
    open: VecDeque<OpenJob<C>>,
    /// `None` while a thread plans with it.
    planner: Option<Box<Planner>>,
    frontier: Option<StepAt>,
    next_id: u64,
    failed: Option<Error>,
}

pub(super) enum Task {
    /// Read a part of the job with this id.
    Read { id: u64, positions: Arc<[u64]>, part: Part },
    /// Make the next job.
    Plan(Box<Planner>),
}

pub(super) enum Done<C> {
    /// Records, by their numbers in the job.
    Records(Vec<(usize, Slot<C>)>),
    Planned(Result<Option<Job>>),
}

impl<C: Codec> Work for Reader<C> {
    type Jobs = Jobs<C>;
    type Task = Task;
    type Done = Done<C>;
    type Kept = ();

    /// Takes a part to read, or else the planner when there is room for another job.
    fn take(&self, jobs: &mut Jobs<C>) -> Option<Task> {
        if let Some(task) = jobs.take_part() {
            return Some(task);
        }
        let room = jobs.untouched() < self.prefetch.max(1) && jobs.frontier.is_some();
        jobs.planner.take_if(|_| room).map(Task::Plan)
    }

    fn run(&self, task: &mut Task, (): &mut ()) -> Done<C> {
        match task {
            Task::Read { positions, part, .. } => Done::Records(self.read(positions, part)),
            Task::Plan(planner) => Done::Planned(planner.next_job(&self.frozen)),
        }
    }

    fn finish(&self, jobs: &mut Jobs<C>, task: Task, done: thread::Result<Done<C>>) -> Wake {
        match (task, done) {
            (Task::Read { id, .. }, Ok(Done::Records(records))) => jobs.fill(id, records),
            (Task::Read { id, part, .. }, Err(panic)) => {
                let error = || Err(self.panicked("reading".into(), &*panic));
                jobs.fill(
                    id,
                    part.numbers.iter().chain(&part.lost).map(|&number| (number, error())).collect(),
                )
            }
            (Task::Plan(planner), Ok(Done::Planned(Ok(job)))) => {
                jobs.frontier = planner.frontier();
                jobs.planner = Some(planner);
                if let Some(job) = job {
                    jobs.add(job);
                }
                Wake::All
            }
            (Task::Plan(_), Ok(Done::Planned(Err(error)))) => jobs.fail(error),
            (Task::Plan(_), Err(panic)) => jobs.fail(self.panicked("the cost function".into(), &*panic)),
            (Task::Read { .. }, Ok(Done::Planned(_))) | (Task::Plan(_), Ok(Done::Records(_))) => {
                unreachable!("what `run` gives is of the task's kind")
            }
        }
    }
}

/// The jobs of a loader, and the threads of one process that work on them.
pub(super) struct Prefetch<C: Codec> {
    workers: Workers<Reader<C>>,
    /// Keeps buffers for reuse, because the threads fill buffers that other threads drop.
    recycling: Option<Recycling>,
}

impl<C: Codec> Prefetch<C> {
    /// Starts `n_threads` threads that read from `at` on.
    ///
    /// If the system gives fewer threads, these do the work. If it gives none, the caller reads.
    pub(super) fn start(reader: Reader<C>, at: StepAt, n_threads: usize) -> Self {
        let planner = Planner::new(Arc::clone(&reader.plan), at);
        let recycling = Recycling::new(reader.window.saturating_mul(2));
        let jobs = Jobs {
            open: VecDeque::new(),
            frontier: planner.frontier(),
            planner: Some(Box::new(planner)),
            next_id: 0,
            failed: None,
        };
        let mut workers = Workers::new(reader, jobs);
        workers.start("vldepot-load", 0..n_threads);
        Self { workers, recycling: Some(recycling) }
    }

    /// Whether this process started it.
    pub(super) fn is_here(&self) -> bool {
        self.workers.is_here()
    }

    /// The next batch, or `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Delivery<C>>> {
        let queue = self.workers.queue();
        let mut jobs = queue.lock();
        loop {
            if let Some(nth) = jobs.wanted() {
                if jobs.open[nth].n_parts == 0 {
                    let (delivery, first) = jobs.deliver(nth);
                    drop(jobs);
                    if first {
                        // The first batch of a job leaves the count of untouched batches: there may be
                        // room for another job.
                        queue.wake_threads();
                    }
                    return Some(Ok(delivery));
                }
            } else if jobs.frontier.is_none() {
                return jobs.failed.take().map(Err);
            }
            jobs = if self.workers.n_threads() == 0 {
                // Nobody else works: there is a part to read or a job to make.
                queue.work_once(jobs, &mut ()).0
            } else {
                queue.wait(jobs)
            };
        }
    }
}

impl<C: Codec> Drop for Prefetch<C> {
    fn drop(&mut self) {
        if !self.is_here() {
            // The room for buffers belongs to the other process.
            std::mem::forget(self.recycling.take());
        }
    }
}

impl<C> Jobs<C> {
    /// The job that has the next batch, or `None` when it is not planned yet.
    fn wanted(&self) -> Option<usize> {
        let first = |job: &OpenJob<C>| job.batches.front().map(|batch| batch.at);
        let nth = (0..self.open.len()).min_by_key(|&nth| first(&self.open[nth]))?;
        let before = |frontier| first(&self.open[nth]).is_some_and(|at| at < frontier);
        self.frontier.is_none_or(before).then_some(nth)
    }

    /// A part that nobody reads yet.
    fn take_part(&mut self) -> Option<Task> {
        let job = self.open.iter_mut().find(|job| !job.parts.is_empty())?;
        let part = job.parts.pop_front()?;
        Some(Task::Read { id: job.id, positions: Arc::clone(&job.positions), part })
    }

    /// How many batches are in jobs from which no batch was handed out.
    fn untouched(&self) -> usize {
        self.open.iter().filter(|job| !job.touched).map(|job| job.batches.len()).sum()
    }

    fn add(&mut self, job: Job) {
        let id = self.next_id;
        self.next_id += 1;
        let Job { batches, positions, parts } = job;
        let mut records = Vec::new();
        records.resize_with(positions.len(), || None);
        self.open.push_back(OpenJob {
            id,
            batches: batches.into(),
            positions: positions.into(),
            n_parts: parts.len(),
            parts: parts.into(),
            records,
            touched: false,
        });
    }

    /// Stores the records of a part. Wakes the loader only when the whole job is read.
    fn fill(&mut self, id: u64, records: Vec<(usize, Slot<C>)>) -> Wake {
        let Some(job) = self.open.iter_mut().find(|job| job.id == id) else { return Wake::Nobody };
        for (number, record) in records {
            job.records[number] = Some(record);
        }
        job.n_parts -= 1;
        if job.n_parts == 0 { Wake::Caller } else { Wake::Nobody }
    }

    /// Ends the jobs: after those that are there, the loader gives the error.
    fn fail(&mut self, error: Error) -> Wake {
        self.failed = Some(error);
        self.frontier = None;
        Wake::All
    }

    /// Takes the first batch out of a job that is read. Also tells whether it is the job's first.
    fn deliver(&mut self, nth: usize) -> (Delivery<C>, bool) {
        let job = &mut self.open[nth];
        // `wanted` found the job by its first batch.
        let batch = job.batches.pop_front().unwrap_or_else(|| unreachable!("a wanted job has a batch"));
        let first = !std::mem::replace(&mut job.touched, true);
        let positions = job.positions[batch.records.clone()].iter().copied();
        // Every record is in one part, and all parts are read.
        let records = job.records[batch.records.clone()].iter_mut().map(Option::take);
        let records = positions.zip(records).filter_map(|(at, record)| Some((at, record?))).collect();
        if job.batches.is_empty() {
            self.open.remove(nth);
        }
        (Delivery { batch, records }, first)
    }
}

impl<C: Codec> Reader<C> {
    fn panicked(&self, what: String, panic: &(dyn Any + Send)) -> Error {
        ErrorKind::Panicked { what, message: panic_message(panic) }.at(self.frozen.engine.path())
    }

    /// The records of a part, by their numbers in the job.
    fn read(&self, positions: &[u64], part: &Part) -> Vec<(usize, Slot<C>)> {
        let engine = &self.frozen.engine;
        let bytes = batch::read_each_with(engine, &part.wanted, &part.known, 1);
        let mut records = Vec::with_capacity(part.numbers.len() + part.lost.len());
        for (&number, bytes) in part.numbers.iter().zip(bytes) {
            let position = positions[number];
            let record = match bytes {
                Ok(bytes) => self.record(position, bytes),
                Err(error) => Err(engine.in_record_at(position, error)),
            };
            records.push((number, record));
        }
        records.extend(part.lost.iter().map(|&number| (number, self.find_again(positions[number]))));
        records
    }

    fn record(&self, position: u64, bytes: Bytes) -> Slot<C> {
        let made = catch_unwind(AssertUnwindSafe(|| Record::new(bytes, &self.codec)));
        let name = || describe(&self.frozen.name(position).unwrap_or_default());
        made.map_err(|panic| {
            let what = format!("codec `{}`, given record {},", C::ID, name());
            self.panicked(what, &*panic)
        })?
        .map_err(|source| {
            ErrorKind::Codec { codec: C::ID }.at(self.frozen.engine.path()).of(name()).because(source)
        })
    }

    /// Reads a record that could not be looked up together with the others.
    fn find_again(&self, position: u64) -> Slot<C> {
        let frozen = &self.frozen;
        let read = frozen.location(position).and_then(|location| frozen.engine.read(&location));
        let named = |error| frozen.engine.in_record_at(position, error);
        self.record(position, read.map_err(named)?)
    }
}

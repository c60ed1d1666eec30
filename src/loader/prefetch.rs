//! Threads that read ahead.
//!
//! ```text
//! planner ──> jobs: parts to read ──> threads ──> jobs: records ──> the loader takes batch by batch
//!             at most `prefetch` batches wait untouched, or one job
//! ```
//!
//! One thread at a time plans the next job, when no part of an earlier one is left to read. Whoever calls the loader never
//! reads, unless there are no threads: then it does all of this itself.
//!
//! The threads belong to the process that started them. After a fork the child has none of them, and any lock may be held
//! by one that is not there: the loader lets go of everything here without touching it, and starts anew.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::plan::{Assigned, Job, Part, Place, Plan, Planner};
use super::source::Source;
use crate::buffer::Recycling;
use crate::codec::Codec;
use crate::depot::Record;
use crate::engine::batch;
use crate::error::{Error, ErrorKind, Result};
use crate::key::describe;
use crate::sync::OwnedByProcess;

/// What reading takes.
pub(super) struct Reader<C> {
    pub(super) source: Arc<Source>,
    pub(super) codec: Arc<C>,
    pub(super) plan: Arc<Plan>,
    /// Batches that wait untouched, at least.
    pub(super) prefetch: usize,
    /// Raw bytes that are read at a time, about.
    pub(super) window: usize,
}

/// A batch on its way out.
pub(super) struct Delivery<C> {
    pub(super) batch: Assigned,
    /// Position, and the record.
    pub(super) records: Vec<(u64, Slot<C>)>,
}

/// A record, or why there is none: boxed, as there are many records and hardly an error.
type Slot<C> = Result<Record<C>>;

/// A job in the queue.
struct Entry<C> {
    id: u64,
    batches: VecDeque<Assigned>,
    positions: Arc<[u64]>,
    /// Not begun.
    parts: VecDeque<Part>,
    /// Not finished.
    n_parts: usize,
    records: Vec<Option<Slot<C>>>,
    touched: bool,
}

struct Queue<C> {
    /// In the order of their first batches.
    entries: VecDeque<Entry<C>>,
    /// Not here while somebody plans.
    planner: Option<Planner>,
    frontier: Option<Place>,
    next_id: u64,
    failed: Option<Error>,
    closed: bool,
}

struct Shop<C> {
    reader: Reader<C>,
    queue: Mutex<Queue<C>>,
    /// For threads: there may be something to do.
    work: Condvar,
    /// For the loader: something was done.
    done: Condvar,
}

/// A part to read.
struct Task {
    id: u64,
    positions: Arc<[u64]>,
    part: Part,
}

/// Queue and threads of one process.
pub(super) struct Crew<C> {
    shop: Arc<Shop<C>>,
    threads: Vec<JoinHandle<()>>,
    /// Threads fill buffers that others drop.
    _recycling: Recycling,
    pub(super) owner: OwnedByProcess,
}

impl<C: Codec> Crew<C> {
    /// Starts `n_threads` threads that read from `place` on. Where the system refuses any, the caller reads.
    pub(super) fn start(reader: Reader<C>, place: Place, n_threads: usize) -> Self {
        let planner = Planner::new(Arc::clone(&reader.plan), place);
        let queue = Queue {
            entries: VecDeque::new(),
            frontier: planner.frontier(),
            planner: Some(planner),
            next_id: 0,
            failed: None,
            closed: false,
        };
        let shop =
            Arc::new(Shop { reader, queue: Mutex::new(queue), work: Condvar::new(), done: Condvar::new() });
        let recycling = Recycling::new(shop.reader.window.saturating_mul(2));
        let mut threads = Vec::new();
        for number in 0..n_threads {
            let shop = Arc::clone(&shop);
            let thread = std::thread::Builder::new()
                .name(format!("vldepot-load-{number}"))
                .spawn(move || shop.serve());
            threads.extend(thread);
        }
        Self { shop, threads, _recycling: recycling, owner: OwnedByProcess::here() }
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Delivery<C>>> {
        let shop = &*self.shop;
        let mut queue = shop.lock();
        loop {
            if let Some(nth) = queue.wanted() {
                let entry = &mut queue.entries[nth];
                if entry.n_parts == 0 {
                    return Some(Ok(shop.deliver(queue, nth)));
                }
            } else if queue.frontier.is_none() {
                return queue.failed.take().map(Err);
            }
            queue = if self.threads.is_empty() {
                // There is a part to read, or a job to make.
                shop.work_once(queue).0
            } else {
                shop.done.wait(queue).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Lets go of what another process has: nothing is locked, freed or waited for.
    pub(super) fn abandon(self) {
        std::mem::forget(self);
    }
}

impl<C> Drop for Crew<C> {
    fn drop(&mut self) {
        self.shop.lock().closed = true;
        self.shop.work.notify_all();
        for thread in self.threads.drain(..) {
            // What its code panics over is caught where it happens.
            let _ = thread.join();
        }
    }
}

impl<C> Queue<C> {
    /// The entry that has the next batch; `None` when it is not planned yet.
    fn wanted(&self) -> Option<usize> {
        let first = |entry: &Entry<C>| entry.batches.front().map(|batch| batch.place);
        let nth = (0..self.entries.len()).min_by_key(|&nth| first(&self.entries[nth]))?;
        let before = |frontier| first(&self.entries[nth]).is_some_and(|place| place < frontier);
        self.frontier.is_none_or(before).then_some(nth)
    }

    /// A part that nobody reads yet.
    fn take_task(&mut self) -> Option<Task> {
        let entry = self.entries.iter_mut().find(|entry| !entry.parts.is_empty())?;
        let part = entry.parts.pop_front()?;
        Some(Task { id: entry.id, positions: Arc::clone(&entry.positions), part })
    }

    fn untouched(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.touched).map(|entry| entry.batches.len()).sum()
    }

    fn add(&mut self, job: Job) {
        let id = self.next_id;
        self.next_id += 1;
        let Job { batches, positions, parts } = job;
        let mut records = Vec::new();
        records.resize_with(positions.len(), || None);
        self.entries.push_back(Entry {
            id,
            batches: batches.into(),
            positions: positions.into(),
            n_parts: parts.len(),
            parts: parts.into(),
            records,
            touched: false,
        });
    }
}

impl<C> Shop<C> {
    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Codec> Shop<C> {
    /// A thread's life.
    fn serve(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            let (back, busy) = self.work_once(queue);
            queue = if busy { back } else { self.work.wait(back).unwrap_or_else(PoisonError::into_inner) };
        }
    }

    /// Reads a part, or makes a job; false if there was neither.
    fn work_once<'q>(&'q self, mut queue: MutexGuard<'q, Queue<C>>) -> (MutexGuard<'q, Queue<C>>, bool) {
        if let Some(task) = queue.take_task() {
            drop(queue);
            let records = self.read(&task);
            let mut queue = self.lock();
            if let Some(entry) = queue.entries.iter_mut().find(|entry| entry.id == task.id) {
                for (number, record) in records {
                    entry.records[number] = Some(record);
                }
                entry.n_parts -= 1;
                if entry.n_parts == 0 {
                    self.done.notify_all();
                }
            }
            return (queue, true);
        }
        let room = queue.untouched() < self.reader.prefetch.max(1) && queue.frontier.is_some();
        let Some(mut planner) = queue.planner.take_if(|_| room) else { return (queue, false) };
        drop(queue);
        let planned = catch_unwind(AssertUnwindSafe(|| planner.next_job(&self.reader.source)));
        let mut queue = self.lock();
        let failed = match planned {
            Ok(Ok(job)) => {
                queue.frontier = planner.frontier();
                if let Some(job) = job {
                    queue.add(job);
                }
                queue.planner = Some(planner);
                None
            }
            Ok(Err(error)) => Some(error),
            Err(panic) => Some(self.panicked("the cost function".into(), &*panic)),
        };
        if failed.is_some() {
            queue.failed = failed;
            queue.frontier = None;
        }
        self.work.notify_all();
        self.done.notify_all();
        (queue, true)
    }

    fn deliver(&self, mut queue: MutexGuard<'_, Queue<C>>, nth: usize) -> Delivery<C> {
        let entry = &mut queue.entries[nth];
        // `wanted` found the entry by its first batch.
        let batch = entry.batches.pop_front().unwrap_or_else(|| unreachable!("a wanted entry has a batch"));
        let first = !std::mem::replace(&mut entry.touched, true);
        let positions = entry.positions[batch.records.clone()].iter().copied();
        // Every record is in one part, and all parts are read.
        let records = entry.records[batch.records.clone()].iter_mut().map(Option::take);
        let records = positions.zip(records).filter_map(|(at, record)| Some((at, record?))).collect();
        if entry.batches.is_empty() {
            queue.entries.remove(nth);
        }
        drop(queue);
        if first {
            self.work.notify_all();
        }
        Delivery { batch, records }
    }

    fn panicked(&self, what: String, panic: &(dyn Any + Send)) -> Error {
        let message = panic
            .downcast_ref::<&str>()
            .map(|message| (*message).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        ErrorKind::Panicked { what, message }.at(self.reader.source.engine.path())
    }

    /// The records of a part, by their numbers in the job.
    fn read(&self, task: &Task) -> Vec<(usize, Slot<C>)> {
        let Task { positions, part, .. } = task;
        let read = || {
            let bytes = batch::read_each(&self.reader.source.engine, &part.wanted);
            let mut records = Vec::with_capacity(part.numbers.len() + part.lost.len());
            for (&number, bytes) in part.numbers.iter().zip(bytes) {
                let position = positions[number];
                let record = match bytes {
                    Ok(bytes) => self.record(position, bytes),
                    Err(error) => Err(self.reader.source.engine.in_record_at(position, error)),
                };
                records.push((number, record));
            }
            records.extend(part.lost.iter().map(|&number| (number, self.find_again(positions[number]))));
            records
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
            let error = || Err(self.panicked("reading".into(), &*panic));
            part.numbers.iter().chain(&part.lost).map(|&number| (number, error())).collect()
        })
    }

    fn record(&self, position: u64, bytes: crate::buffer::Bytes) -> Slot<C> {
        let made = catch_unwind(AssertUnwindSafe(|| Record::new(bytes, &self.reader.codec)));
        let name = || describe(&self.reader.source.name(position).unwrap_or_default());
        made.map_err(|panic| {
            let what = format!("codec `{}`, given record {},", C::ID, name());
            self.panicked(what, &*panic)
        })?
        .map_err(|source| {
            ErrorKind::Codec { codec: C::ID }.at(self.reader.source.engine.path()).of(name()).because(source)
        })
    }

    /// A record whose place could not be looked up with the others.
    fn find_again(&self, position: u64) -> Slot<C> {
        let source = &self.reader.source;
        let read = source.location(position).and_then(|location| source.engine.read(&location));
        let named = |error| source.engine.in_record_at(position, error);
        self.record(position, read.map_err(named)?)
    }
}

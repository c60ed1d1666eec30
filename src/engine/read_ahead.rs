//! Batches of an iteration, read by threads before their turn.
//!
//! ```text
//! caller ──> queue: batches, in order ──> each is read by whoever is free ──> caller takes the first
//!            at most 2 a thread wait
//! ```
//!
//! The caller's thread is one of them: it reads when the batch it needs is not there. The others end with the
//! [`ReadAhead`].
//!
//! They belong to the process that started them. After a fork the child has none of them, and any lock may be
//! held by one that is not there: dropping touches nothing, and the batches that the caller kept a list of
//! are read anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use super::Engine;
use super::batch::{self, Slot};
use crate::index::Location;
use crate::workers::{Wake, Work, Workers};

/// Tagged names and places of records to read.
pub(crate) type Wanted = Vec<(Vec<u8>, Location)>;

/// Batches that wait, or are being read, for each thread.
const WAITING: usize = 2;

enum Progress {
    /// Nobody reads it yet.
    Waiting,
    /// Somebody does.
    Taken,
    Done(Vec<Option<Slot>>),
    /// Only the caller can read it.
    Reserved,
}

struct Batch {
    id: u64,
    wanted: Arc<Wanted>,
    progress: Progress,
}

struct Read {
    /// Shares no lock with the caller's.
    engine: Engine,
}

/// A batch to read.
struct Task {
    id: u64,
    wanted: Arc<Wanted>,
}

impl Work for Read {
    /// In order, their ids without a gap.
    type Jobs = VecDeque<Batch>;
    type Task = Task;
    type Done = Vec<Option<Slot>>;
    type Kept = ();

    fn take(&self, batches: &mut VecDeque<Batch>) -> Option<Task> {
        let batch = batches.iter_mut().find(|batch| matches!(batch.progress, Progress::Waiting))?;
        batch.progress = Progress::Taken;
        Some(Task { id: batch.id, wanted: Arc::clone(&batch.wanted) })
    }

    fn run(&self, task: &mut Task, (): &mut ()) -> Vec<Option<Slot>> {
        let mut read = Vec::new();
        batch::read_on(&self.engine, &task.wanted, &mut None, &mut read);
        read
    }

    fn finish(&self, batches: &mut VecDeque<Batch>, task: Task, done: thread::Result<Self::Done>) -> Wake {
        let Task { id, wanted } = task;
        // Before the caller is told, who then has the names to itself.
        drop(wanted);
        if let Some(batch) = batches.iter_mut().find(|batch| batch.id == id) {
            // What made this thread panic is met again by the caller, whose it is.
            batch.progress = done.map_or(Progress::Reserved, Progress::Done);
        }
        Wake::Caller
    }
}

/// Batches on their way, and the threads that read them.
pub(crate) struct ReadAhead {
    workers: Workers<Read>,
    next_id: u64,
}

impl ReadAhead {
    /// Starts `n_threads - 1` threads, or as many of them as the system gives, which read from `engine`;
    /// `None` for none.
    pub(crate) fn start(engine: Engine, n_threads: usize) -> Option<Self> {
        let mut workers = Workers::new(Read { engine }, VecDeque::new());
        workers.start("vldepot-read", 1..n_threads);
        (workers.n_threads() > 0).then_some(Self { workers, next_id: 0 })
    }

    /// Whether it was started by this process.
    pub(crate) fn is_here(&self) -> bool {
        self.workers.is_here()
    }

    /// Batches that may wait.
    pub(crate) fn room(&self) -> usize {
        WAITING * (self.workers.n_threads() + 1)
    }

    /// Adds a batch after the others; a `reserved` one is for the caller alone.
    pub(crate) fn push(&mut self, wanted: Arc<Wanted>, reserved: bool) {
        let progress = if reserved { Progress::Reserved } else { Progress::Waiting };
        self.workers.queue().lock().push_back(Batch { id: self.next_id, wanted, progress });
        self.next_id += 1;
        self.workers.queue().wake_thread();
    }

    /// What was read of the first batch, which leaves the queue; `None` if the caller is to read it.
    pub(crate) fn take(&mut self) -> Option<Vec<Option<Slot>>> {
        let queue = self.workers.queue();
        let mut batches = queue.lock();
        loop {
            match batches.front().map(|batch| &batch.progress) {
                Some(Progress::Taken) => {}
                Some(Progress::Done(_)) => {
                    let batch = batches.pop_front()?;
                    return if let Progress::Done(read) = batch.progress { Some(read) } else { None };
                }
                Some(Progress::Waiting | Progress::Reserved) | None => {
                    batches.pop_front();
                    return None;
                }
            }
            // It will be there soon; meanwhile, one after it.
            let (back, busy) = queue.work_once(batches, &mut ());
            batches = if busy { back } else { queue.wait(back) };
        }
    }
}

//! Reads the batches of an iteration before their turn, by threads.
//!
//! ```text
//! caller ──> queue: batches, in order ──> a free thread reads each ──> caller takes the first
//!            at most 2 per thread wait
//! ```
//!
//! The caller's thread is one of them: it reads while the batch that it needs is not ready. The other
//! threads end with the [`ReadAhead`].
//!
//! The threads belong to the process that started them. After a fork, the child has none of them, and any
//! lock may be held by a thread that does not exist there. So dropping takes no lock in the child, and
//! the caller reads the batches anew from the list that it keeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use super::Engine;
use super::batch::{self, Held};
use super::wanted::Wanted;
use crate::workers::{Wake, Work, Workers};

/// Batches per thread that wait or are being read.
const WAITING: usize = 2;

enum Progress {
    /// No thread reads it yet.
    Waiting,
    /// A thread reads it.
    Taken,
    Done(Held),
    /// Only the caller can read it.
    Reserved,
}

struct Batch {
    id: u64,
    wanted: Arc<Wanted>,
    progress: Progress,
}

struct Read {
    /// An engine that shares no lock with the caller's.
    engine: Engine,
}

/// A batch to read.
struct Task {
    id: u64,
    wanted: Arc<Wanted>,
}

impl Work for Read {
    /// The batches in order. Their ids have no gap.
    type Jobs = VecDeque<Batch>;
    type Task = Task;
    type Done = Held;
    type Kept = ();

    fn take(&self, batches: &mut VecDeque<Batch>) -> Option<Task> {
        let batch = batches.iter_mut().find(|batch| matches!(batch.progress, Progress::Waiting))?;
        batch.progress = Progress::Taken;
        Some(Task { id: batch.id, wanted: Arc::clone(&batch.wanted) })
    }

    fn run(&self, task: &mut Task, (): &mut ()) -> Held {
        let mut read = Held::default();
        batch::read_on(&self.engine, &task.wanted, &mut None, &mut read);
        read
    }

    fn finish(&self, batches: &mut VecDeque<Batch>, task: Task, done: thread::Result<Self::Done>) -> Wake {
        let Task { id, wanted } = task;
        // Dropped before the caller wakes, so that only the caller holds the names.
        drop(wanted);
        if let Some(batch) = batches.iter_mut().find(|batch| batch.id == id) {
            // If this thread panicked, the caller reads the batch itself, and meets the cause again.
            batch.progress = done.map_or(Progress::Reserved, Progress::Done);
        }
        Wake::Caller
    }
}

/// Batches that are read ahead, and the threads that read them.
pub(crate) struct ReadAhead {
    workers: Workers<Read>,
    next_id: u64,
}

impl ReadAhead {
    /// Starts `n_threads - 1` threads that read from `engine`, or as many of them as the system gives.
    ///
    /// `None` if there are none.
    pub(crate) fn start(engine: Engine, n_threads: usize) -> Option<Self> {
        let mut workers = Workers::new(Read { engine }, VecDeque::new());
        workers.start("vldepot-read", 1..n_threads);
        (workers.n_threads() > 0).then_some(Self { workers, next_id: 0 })
    }

    /// Whether this process started it.
    pub(crate) fn is_here(&self) -> bool {
        self.workers.is_here()
    }

    /// How many batches may be in the queue.
    pub(crate) fn room(&self) -> usize {
        WAITING * (self.workers.n_threads() + 1)
    }

    /// Adds a batch after the others. Only the caller reads a `reserved` one.
    pub(crate) fn push(&mut self, wanted: Arc<Wanted>, reserved: bool) {
        let progress = if reserved { Progress::Reserved } else { Progress::Waiting };
        self.workers.queue().lock().push_back(Batch { id: self.next_id, wanted, progress });
        self.next_id += 1;
        self.workers.queue().wake_thread();
    }

    /// Takes the first batch out of the queue, and returns what was read; `None` if the caller has to
    /// read it.
    pub(crate) fn take(&mut self) -> Option<Held> {
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
            // A thread reads it. Meanwhile, this thread reads a later batch.
            let (back, busy) = queue.work_once(batches, &mut ());
            batches = if busy { back } else { queue.wait(back) };
        }
    }
}

//! Batches of an iteration, read by threads before their turn.
//!
//! ```text
//! caller ──> queue: batches, in order ──> each is read by whoever is free ──> caller takes the first
//!            at most 2 a thread wait
//! ```
//!
//! The caller's thread is one of them: it reads when the batch it needs is not there. The others end with the [`Ahead`].
//!
//! They belong to the process that started them. After a fork the child has none of them, and any lock may be held by one that is
//! not there: dropping touches nothing, and the batches that the caller kept a list of are read anew.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Engine;
use super::batch::{self, Slot};
use crate::index::Location;
use crate::sync::OwnedByProcess;

/// Tagged names and places of records to read.
pub(crate) type Wanted = Vec<(Vec<u8>, Location)>;

/// Batches that wait, or are being read, for each thread.
const WAITING: usize = 2;

enum State {
    /// Nobody reads it yet.
    Waiting,
    /// Somebody does.
    Taken,
    Done(Vec<Option<Slot>>),
    /// Only the caller can read it.
    Reserved,
}

struct Task {
    id: u64,
    wanted: Arc<Wanted>,
    state: State,
}

#[derive(Default)]
struct Queue {
    /// In order, their ids without a gap.
    tasks: VecDeque<Task>,
    closed: bool,
}

struct Shop {
    /// Shares no lock with the caller's.
    engine: Engine,
    queue: Mutex<Queue>,
    /// There may be something to read, or the end.
    work: Condvar,
    /// For the caller: a batch was read.
    done: Condvar,
}

/// Batches on their way, and the threads that read them.
pub(crate) struct Ahead {
    shop: Arc<Shop>,
    threads: Vec<JoinHandle<()>>,
    owner: OwnedByProcess,
    next_id: u64,
}

impl Ahead {
    /// Starts `n_threads - 1` threads, or as many of them as the system gives, which read from `engine`; `None` for none.
    pub(crate) fn start(engine: Engine, n_threads: usize) -> Option<Self> {
        let shop =
            Arc::new(Shop { engine, queue: Mutex::default(), work: Condvar::new(), done: Condvar::new() });
        let start = |number: usize| {
            let shop = Arc::clone(&shop);
            let name = format!("vldepot-read-{number}");
            std::thread::Builder::new().name(name).spawn(move || shop.serve()).ok()
        };
        let threads: Vec<_> = (1..n_threads).map_while(start).collect();
        let some = !threads.is_empty();
        some.then(|| Self { shop, threads, owner: OwnedByProcess::here(), next_id: 0 })
    }

    /// Whether it was started by this process.
    pub(crate) fn is_here(&self) -> bool {
        self.owner.is_here()
    }

    /// Batches that may wait.
    pub(crate) fn room(&self) -> usize {
        WAITING * (self.threads.len() + 1)
    }

    /// Adds a batch behind the others; a `reserved` one is for the caller alone.
    pub(crate) fn push(&mut self, wanted: Arc<Wanted>, reserved: bool) {
        let state = if reserved { State::Reserved } else { State::Waiting };
        self.shop.lock().tasks.push_back(Task { id: self.next_id, wanted, state });
        self.next_id += 1;
        self.shop.work.notify_one();
    }

    /// What was read of the first batch, which leaves the queue; `None` if the caller is to read it.
    pub(crate) fn take(&mut self) -> Option<Vec<Option<Slot>>> {
        let shop = &*self.shop;
        let mut queue = shop.lock();
        loop {
            match queue.tasks.front_mut().map(|task| &mut task.state) {
                Some(State::Taken) => {}
                Some(State::Done(_)) => {
                    let task = queue.tasks.pop_front()?;
                    return if let State::Done(read) = task.state { Some(read) } else { None };
                }
                Some(State::Waiting | State::Reserved) | None => {
                    queue.tasks.pop_front();
                    return None;
                }
            }
            // It will be there soon; meanwhile, one behind it.
            let (back, busy) = shop.work_once(queue);
            queue = if busy { back } else { shop.done.wait(back).unwrap_or_else(PoisonError::into_inner) };
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.is_here() {
            // What another process has is left alone: nothing is locked, freed or waited for.
            std::mem::forget(std::mem::take(&mut self.threads));
            std::mem::forget(Arc::clone(&self.shop));
            return;
        }
        self.shop.lock().closed = true;
        self.shop.work.notify_all();
        for thread in self.threads.drain(..) {
            // Panics are caught where they happen.
            let _ = thread.join();
        }
    }
}

impl Shop {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn serve(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            let (back, busy) = self.work_once(queue);
            queue = if busy { back } else { self.work.wait(back).unwrap_or_else(PoisonError::into_inner) };
        }
    }

    /// Reads the first batch that waits; false if there is none.
    fn work_once<'q>(&'q self, mut queue: MutexGuard<'q, Queue>) -> (MutexGuard<'q, Queue>, bool) {
        let Some(task) = queue.tasks.iter_mut().find(|task| matches!(task.state, State::Waiting)) else {
            return (queue, false);
        };
        task.state = State::Taken;
        let (id, wanted) = (task.id, Arc::clone(&task.wanted));
        drop(queue);
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut read = Vec::new();
            batch::read_on(&self.engine, &wanted, &mut None, &mut read);
            read
        }));
        // Before the caller is told, who then has the names to itself.
        drop(wanted);
        let mut queue = self.lock();
        if let Some(task) = queue.tasks.iter_mut().find(|task| task.id == id) {
            // What made this thread panic is met again by the caller, whose it is.
            task.state = read.map_or(State::Reserved, State::Done);
        }
        self.done.notify_all();
        (queue, true)
    }
}

//! Threads that take tasks from a queue, and the caller who gets the results.
//!
//! ```text
//! caller ──> jobs ──take──> task ──run, without the lock──> done ──finish──> jobs ──> caller
//!                   threads, and the caller where it helps
//! ```
//!
//! The compressors of a writer and the read-ahead of an iteration and of a loader call this module. It
//! calls [`crate::sync`] alone. The callers decide what the jobs are and in which order they are done: see
//! [`Work`].
//!
//! The threads belong to the process that made the [`Workers`]. A forked process has none of them, and a
//! lock may be held by a thread that does not exist there. So in a forked process, dropping the
//! `Workers` locks nothing, frees nothing and waits for nothing.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use crate::sync::{OwnedByProcess, lock, wait};

/// How work is done.
pub(crate) trait Work: Send + Sync + 'static {
    /// What is to be done, and what was done. The queue's lock guards it.
    type Jobs: Send;
    /// A part of the jobs that one thread does.
    type Task;
    /// The result of a task.
    type Done;
    /// What a thread keeps from task to task. It is made anew after a panic.
    type Kept: Default;

    /// Takes a task that no thread has. `None` if there is none now.
    fn take(&self, jobs: &mut Self::Jobs) -> Option<Self::Task>;

    /// Does the task, without the lock.
    fn run(&self, task: &mut Self::Task, kept: &mut Self::Kept) -> Self::Done;

    /// Notes the result of the task, or its panic. Says who must look at the jobs again.
    fn finish(&self, jobs: &mut Self::Jobs, task: Self::Task, done: thread::Result<Self::Done>) -> Wake;
}

/// Who must look at the jobs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There is nothing new.
    Nobody,
    /// The caller, if it waits for a result.
    Caller,
    /// The caller, and the threads, because there may be new tasks too.
    All,
}

/// Jobs that threads and their caller share.
pub(crate) struct Queue<W: Work> {
    pub(crate) work: W,
    jobs: Mutex<W::Jobs>,
    /// Whether threads take no more tasks. Set under the lock.
    closed: AtomicBool,
    /// Tells threads that there may be a task, or that the queue is closed.
    tasks: Condvar,
    /// Tells the caller that something was done.
    done: Condvar,
}

impl<W: Work> Queue<W> {
    /// Locks the jobs.
    pub(crate) fn lock(&self) -> MutexGuard<'_, W::Jobs> {
        lock(&self.jobs)
    }

    /// Waits, as the caller, until something is done.
    pub(crate) fn wait<'q>(&'q self, jobs: MutexGuard<'q, W::Jobs>) -> MutexGuard<'q, W::Jobs> {
        wait(&self.done, jobs)
    }

    /// Wakes one thread for a task.
    pub(crate) fn wake_thread(&self) {
        self.tasks.notify_one();
    }

    /// Wakes all threads, because there may be tasks.
    pub(crate) fn wake_threads(&self) {
        self.tasks.notify_all();
    }

    /// Does a task, if there is one. Returns whether there was.
    pub(crate) fn work_once<'q>(
        &'q self,
        mut jobs: MutexGuard<'q, W::Jobs>,
        kept: &mut W::Kept,
    ) -> (MutexGuard<'q, W::Jobs>, bool) {
        let Some(mut task) = self.work.take(&mut jobs) else { return (jobs, false) };
        drop(jobs);
        let done = catch_unwind(AssertUnwindSafe(|| self.work.run(&mut task, kept)));
        if done.is_err() {
            *kept = W::Kept::default();
        }
        let mut jobs = self.lock();
        let wake = self.work.finish(&mut jobs, task, done);
        if wake == Wake::All {
            self.tasks.notify_all();
        }
        if wake != Wake::Nobody {
            self.done.notify_all();
        }
        (jobs, true)
    }

    /// Does tasks until the queue is closed.
    fn serve(&self) {
        let mut kept = W::Kept::default();
        let mut jobs = self.lock();
        while !self.closed.load(Ordering::Relaxed) {
            let (back, busy) = self.work_once(jobs, &mut kept);
            jobs = if busy { back } else { wait(&self.tasks, back) };
        }
    }
}

/// A queue and the threads that serve it. The threads end when this is dropped.
pub(crate) struct Workers<W: Work> {
    queue: Arc<Queue<W>>,
    threads: Vec<JoinHandle<()>>,
    owner: OwnedByProcess,
}

impl<W: Work> Workers<W> {
    /// A queue without threads.
    pub(crate) fn new(work: W, jobs: W::Jobs) -> Self {
        let queue = Queue {
            work,
            jobs: Mutex::new(jobs),
            closed: AtomicBool::new(false),
            tasks: Condvar::new(),
            done: Condvar::new(),
        };
        Self { queue: Arc::new(queue), threads: Vec::new(), owner: OwnedByProcess::here() }
    }

    /// Starts threads with these numbers, or as many of them as the system allows.
    pub(crate) fn start(&mut self, name: &str, numbers: Range<usize>) {
        let start = |number| {
            let queue = Arc::clone(&self.queue);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || queue.serve()).ok()
        };
        self.threads.extend(numbers.map_while(start));
    }

    /// How many threads there are.
    pub(crate) fn n_threads(&self) -> usize {
        self.threads.len()
    }

    /// Whether this process made the queue. A forked process must let go of it unused.
    pub(crate) fn is_here(&self) -> bool {
        self.owner.is_here()
    }

    pub(crate) fn queue(&self) -> &Queue<W> {
        &self.queue
    }
}

impl<W: Work> Drop for Workers<W> {
    fn drop(&mut self) {
        if !self.is_here() {
            std::mem::forget(std::mem::take(&mut self.threads));
            std::mem::forget(Arc::clone(&self.queue));
            return;
        }
        let jobs = self.queue.lock();
        self.queue.closed.store(true, Ordering::Relaxed);
        drop(jobs);
        self.queue.wake_threads();
        for thread in self.threads.drain(..) {
            // Panics are caught where they happen.
            let _ = thread.join();
        }
    }
}

impl<W: Work> std::fmt::Debug for Workers<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({} threads)", self.threads.len())
    }
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Squares numbers and panics for those over 13. Counts what a thread has done since its state was
    /// made.
    struct Square;

    #[derive(Default)]
    struct Jobs {
        waiting: VecDeque<u64>,
        squares: Vec<(u64, Result<u64, String>)>,
        most_kept: u64,
    }

    impl Work for Square {
        type Jobs = Jobs;
        type Task = u64;
        type Done = (u64, u64);
        type Kept = u64;

        fn take(&self, jobs: &mut Jobs) -> Option<u64> {
            jobs.waiting.pop_front()
        }

        fn run(&self, task: &mut u64, kept: &mut u64) -> (u64, u64) {
            *kept += 1;
            assert_ne!(*task, 13, "unlucky");
            (*task * *task, *kept)
        }

        fn finish(&self, jobs: &mut Jobs, task: u64, done: thread::Result<(u64, u64)>) -> Wake {
            let square = done.map(|(square, kept)| {
                jobs.most_kept = jobs.most_kept.max(kept);
                square
            });
            jobs.squares.push((task, square.map_err(|panic| panic_message(&*panic))));
            Wake::Caller
        }
    }

    fn squares(workers: &Workers<Square>, n: usize) -> Vec<(u64, Result<u64, String>)> {
        let queue = workers.queue();
        let mut jobs = queue.lock();
        while jobs.squares.len() < n {
            jobs = queue.wait(jobs);
        }
        let mut squares = std::mem::take(&mut jobs.squares);
        squares.sort_by_key(|(number, _)| *number);
        squares
    }

    #[test]
    fn every_task_is_done_once_and_a_panic_is_what_comes_of_one() {
        for n_threads in [1, 4] {
            let mut workers = Workers::new(Square, Jobs::default());
            workers.start("vldepot-test", 0..n_threads);
            assert_eq!(workers.n_threads(), n_threads);
            for _ in 0..3 {
                workers.queue().lock().waiting.extend(0..100);
                workers.queue().wake_threads();
                let expected = (0..100).map(|n| (n, if n == 13 { Err("unlucky".into()) } else { Ok(n * n) }));
                // The message of `assert_ne` goes on after the given text.
                let found = squares(&workers, 100).into_iter().map(|(n, square)| {
                    (n, square.map_err(|message| message[..].split(": ").nth(1).unwrap()[..7].to_owned()))
                });
                assert!(found.eq(expected));
            }
        }
    }

    #[test]
    fn the_caller_works_where_there_are_no_threads_and_keeps_nothing_over_a_panic() {
        let workers = Workers::new(Square, Jobs::default());
        let (queue, mut kept) = (workers.queue(), 0);
        queue.lock().waiting.extend([1, 2, 13, 3]);
        let mut jobs = queue.lock();
        let mut done = 0;
        loop {
            let (back, busy) = queue.work_once(jobs, &mut kept);
            jobs = back;
            if !busy {
                break;
            }
            done += 1;
        }
        assert_eq!((done, jobs.squares.len(), jobs.most_kept, kept), (4, 4, 2, 1));
    }

    #[test]
    fn threads_end_with_their_workers_and_leave_what_waits() {
        let mut workers = Workers::new(Square, Jobs::default());
        workers.start("vldepot-test", 0..2);
        let queue = Arc::clone(&workers.queue);
        drop(workers);
        queue.lock().waiting.push_back(1);
        queue.wake_threads();
        assert_eq!((Arc::strong_count(&queue), queue.lock().squares.len()), (1, 0));
    }
}

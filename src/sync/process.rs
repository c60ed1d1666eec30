//! The process that made a thing.
//!
//! A forked process has a copy of all its parent's memory, but none of its parent's threads. Whatever is
//! tied to threads, to a lock of the file or to a right to write stays with the parent. The forked
//! process lets go of its copy without using it.
//!
//! ```text
//! parent  word 1 ──fork──> child  word 0, then 2 ──fork──> its child  word 0, then 3
//! ```
//!
//! Every write asks which process owns the depot. Asking the system would cost a tenth of a small put.
//! Linux can clear a page of memory in each new process, so there the question is a single load.
//! Elsewhere the system is asked.

mod cleared;

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of this process.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// The process that made something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnedByProcess {
    mark: u32,
    id: u32,
}

impl OwnedByProcess {
    /// This process.
    pub(crate) fn here() -> Self {
        Self { mark: mark(), id: process_id() }
    }

    /// Whether this process is the one. False in a fork of it. Takes no lock.
    pub(crate) fn is_here(self) -> bool {
        self.mark == mark()
    }

    /// The number of the process.
    pub(crate) fn id(self) -> u32 {
        self.id
    }
}

/// A number that identifies this process: none of its ancestors has it.
fn mark() -> u32 {
    // The last number given in this process or in an ancestor. A fork copies it.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let Some(word) = cleared::word() else { return process_id() };
    match word.load(Ordering::Relaxed) {
        0 => {
            let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have set the word first.
            word.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|set| set, |_| new)
        }
        set => set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_process_are_the_same_owner() {
        let owners: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(OwnedByProcess::here)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(owners.iter().all(|owner| owner.is_here() && *owner == OwnedByProcess::here()));
        assert_eq!(owners[0].id(), std::process::id());
    }

    /// The exit status of a child made by `start`. It exits with 0 if `job` returns true.
    #[cfg(unix)]
    fn in_child(start: impl Fn() -> libc::pid_t, job: impl Fn() -> bool) -> libc::c_int {
        let child = start();
        assert!(child >= 0, "{}", std::io::Error::last_os_error());
        if child == 0 {
            // SAFETY: ends this process, always.
            unsafe { libc::_exit(i32::from(!job())) };
        }
        let mut status = -1;
        // SAFETY: a child of ours, and a pointer to an int that lives.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        status
    }

    /// Each generation owns what it makes, and nothing that earlier generations made.
    #[cfg(unix)]
    fn check_generations(start: &dyn Fn() -> libc::pid_t) {
        let parent = OwnedByProcess::here();
        let status = in_child(start, || {
            let copied = !parent.is_here();
            let child = OwnedByProcess::here();
            let grandchild = in_child(start, || !parent.is_here() && !child.is_here());
            copied && child.is_here() && child != parent && child.id() != parent.id() && grandchild == 0
        });
        assert_eq!(status, 0);
        assert!(parent.is_here(), "the parent does not notice");
    }

    #[cfg(unix)]
    #[test]
    fn a_fork_owns_nothing_of_its_parent() {
        // SAFETY: the child reads atomics, makes system calls and leaves: no lock, no allocation.
        check_generations(&|| unsafe { libc::fork() });
    }

    /// The handlers that the C library runs at a fork do not run here.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_made_without_the_c_library_owns_nothing_of_its_parent() {
        let arguments: [libc::c_long; 5] = [libc::SIGCHLD.into(), 0, 0, 0, 0];
        check_generations(&|| {
            let [flags, stack, parent, child, tls] = arguments;
            // SAFETY: with these flags the call is a fork; the child does what it does in the test above.
            let pid = unsafe { libc::syscall(libc::SYS_clone, flags, stack, parent, child, tls) };
            libc::pid_t::try_from(pid).unwrap_or(-1)
        });
    }
}

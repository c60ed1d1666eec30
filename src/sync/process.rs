//! The process that made a thing.
//!
//! A fork has a copy of everything its parent has in memory, and none of its parent's threads. What is tied
//! to threads, to a lock of the file or to a right to write stays the parent's: the copy is let go of
//! untouched.
//!
//! ```text
//! parent  word 1 ──fork──> child  word 0, then 2 ──fork──> its child  word 0, then 3
//! ```
//!
//! Every write asks for the owner, and to ask the system costs a tenth of a small put. Linux can clear a page
//! of memory in each new process, so there the question is a load. Elsewhere the system is asked.

mod cleared;

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of this process.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// The process that made a thing.
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

    /// Whether it is this process; false in a fork of it. Takes no lock.
    pub(crate) fn is_here(self) -> bool {
        self.mark == mark()
    }

    /// Its number.
    pub(crate) fn id(self) -> u32 {
        self.id
    }
}

/// A number that no process has which this one descends from.
fn mark() -> u32 {
    // The last one given here or in a process that this one descends from: a fork copies it.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let Some(word) = cleared::word() else { return process_id() };
    match word.load(Ordering::Relaxed) {
        0 => {
            let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have been first.
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

    /// The status of a child that `start` makes and that ends with 0 when `job` gives true.
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

    /// Every generation owns what it makes, and nothing that the ones before it made.
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

    /// Handlers that the C library runs at a fork are not run here.
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

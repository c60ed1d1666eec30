//! The process that made a thing.
//!
//! A fork has a copy of everything its parent has in memory, and none of its parent's threads. What is tied to
//! threads, to a lock of the file or to a right to write stays the parent's: the copy is let go of untouched.

#[cfg(all(target_os = "linux", not(miri)))]
use super::wiped;

/// The number of this process, as [`std::process::id`]. It is asked for at every `put`, and the system takes as long to
/// tell it as a tenth of a small `put`: where memory can be wiped by a fork, it is remembered there.
pub(crate) fn process_id() -> u32 {
    #[cfg(all(target_os = "linux", not(miri)))]
    if let Some(word) = wiped::word() {
        return remembered(word);
    }
    std::process::id()
}

#[cfg(all(target_os = "linux", not(miri)))]
fn remembered(word: &std::sync::atomic::AtomicU32) -> u32 {
    use std::sync::atomic::Ordering::Relaxed;

    loop {
        match word.load(Relaxed) {
            0 => word.store(std::process::id(), Relaxed),
            // No process has the number 0.
            id => return id,
        }
    }
}

/// The process that made a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnedByProcess(u32);

impl OwnedByProcess {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(process_id())
    }

    /// Whether it is this process; false in a fork of it.
    pub(crate) fn is_here(self) -> bool {
        self.0 == process_id()
    }

    /// Its number.
    pub(crate) fn id(self) -> u32 {
        self.0
    }
}

#[cfg(all(test, unix, not(miri)))]
mod tests {
    use super::*;

    /// Whether `job` gives true in a fork of this process.
    fn in_fork(job: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `job`, which takes no lock and no memory, and ends without unwinding.
        match unsafe { libc::fork() } {
            0 => {
                let good = job();
                // SAFETY: ends the child here and now.
                unsafe { libc::_exit(i32::from(!good)) }
            }
            child => {
                let mut status = -1;
                // SAFETY: a child that nobody else waits for, and a number that lives through the call.
                let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                waited == child && status == 0
            }
        }
    }

    #[test]
    fn a_fork_and_its_fork_know_that_they_are_others() {
        let ours = OwnedByProcess::here();
        let is_told = || process_id() == std::process::id() && process_id() == process_id();
        assert!(is_told() && ours.is_here());
        assert!(in_fork(|| {
            let theirs = OwnedByProcess::here();
            let fork_of_the_fork = || is_told() && !ours.is_here() && !theirs.is_here();
            is_told() && !ours.is_here() && theirs.is_here() && in_fork(fork_of_the_fork) && theirs.is_here()
        }));
        assert!(in_fork(|| !ours.is_here() && is_told()), "one that asks anew first");
        assert!(is_told() && ours.is_here() && ours.id() == std::process::id());
    }
}

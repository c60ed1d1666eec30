//! The process that made a thing.
//!
//! A fork has a copy of everything its parent has in memory, and none of its parent's threads. What is tied to
//! threads, to a lock of the file or to a right to write stays the parent's: the copy is let go of untouched.

/// The number of this process.
pub(crate) fn process_id() -> u32 {
    std::process::id()
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

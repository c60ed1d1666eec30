//! What threads and processes share: locks, values that are set once, and who owns what after a fork.
//!
//! All other modules may call this one. It calls none of them.
//!
//! ```text
//! lock       locks that can also be taken after a panic
//! once_map   a value for each number, set once, read without a lock
//! process    the process that made something, of which a fork has a copy
//! ```

mod lock;
mod once_map;
mod process;

pub(crate) use lock::{lock, read, wait, write};
pub(crate) use once_map::OnceMap;
pub(crate) use process::{OwnedByProcess, process_id};

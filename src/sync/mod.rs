//! What threads and processes share: locks, values that are set once, and who owns what after a fork.
//!
//! Everyone calls this room; it calls nobody.
//!
//! ```text
//! lock       locks that are taken after a panic as well
//! once_map   a value for each number, set once, read without a lock
//! process    the process that made a thing, which a fork has a copy of
//! ```

mod lock;
mod once_map;
mod process;

pub(crate) use lock::{lock, read, wait, write};
pub(crate) use once_map::OnceMap;
pub(crate) use process::{OwnedByProcess, process_id};

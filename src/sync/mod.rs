//! What threads and processes share: locks, and who owns what after a fork.
//!
//! Everyone calls this room; it calls nobody.
//!
//! ```text
//! lock       locks that are taken after a panic as well
//! process    the process that made a thing, which a fork has a copy of
//! ```

mod lock;
mod process;

pub(crate) use lock::{lock, read, write};
pub(crate) use process::{OwnedByProcess, process_id};

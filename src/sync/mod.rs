//! What threads share: locks, and values that are set once.
//!
//! Everyone calls this room; it calls nobody.
//!
//! ```text
//! lock       locks that are taken after a panic as well
//! once_map   a value for each number, set once, read without a lock
//! ```

mod lock;
mod once_map;

pub(crate) use lock::{lock, read, wait, write};
pub(crate) use once_map::OnceMap;

//! The contents of a file: a header page, and entries that were appended one after the other.
//!
//! ```text
//! header     the header page: what the file is
//! entries    reads and checks one entry at a given offset
//! walk       goes through all entries of a file, past damaged parts
//! replay     what the operations of an entry do to the records
//! recover    finds the newest state of a file, also after a crash
//! ```
//!
//! The engine opens files through this room, and `maintain` looks through damaged files. This room uses the
//! format, the storage, and the catalog that it fills. It never writes.

mod entries;
mod header;
mod recover;
mod replay;
mod walk;

pub(crate) use entries::{FirstPage, Scanner, Slots, Tail};
pub(crate) use header::{Header, header_page, read_header};
pub(crate) use recover::{Loaded, load, notes_after, read_metadata};
pub(crate) use replay::{FirstStarts, goes_on, replay};
pub(crate) use walk::{Entry, EntryWalk, Step};

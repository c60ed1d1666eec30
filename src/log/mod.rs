//! What a file holds: a header page, and entries that were appended one after the other.
//!
//! ```text
//! header     the header page: what the file is
//! entries    one entry, found by its offset, read and checked
//! walk       every entry of a file, past whatever is damaged
//! replay     what the operations of an entry do to the records
//! recover    the newest state of a file, also after a crash
//! ```
//!
//! The engine opens files through this room, and `maintain` looks through damaged ones. It uses the format,
//! the storage, and the catalog that it fills. It never writes.

mod entries;
mod header;
mod recover;
mod replay;
mod walk;

pub(crate) use entries::{Scanner, Slots, Tail};
pub(crate) use header::{Header, header_page, read_header};
pub(crate) use recover::{Loaded, load, notes_after, read_metadata};
pub(crate) use replay::replay;
pub(crate) use walk::{Entry, EntryWalk, Step};

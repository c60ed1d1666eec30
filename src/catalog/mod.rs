//! The state of a depot at one moment: which records there are, under which names, and where.
//!
//! ```text
//! State ──> Snapshot   the index as of the last commit; never changes
//!           └─> Members   the depots that it is put together of, if they are several
//!       ──> Pending    the changes since then, in memory
//! ```
//!
//! The log makes a `State` from a file. The engine reads it, and changes it under its lock. A catalog knows
//! the index and chunk references. It does not read records, and knows no codec.

#[cfg_attr(not(feature = "shards"), expect(dead_code, reason = "only folders of shards have members"))]
mod members;
mod pending;
mod snapshot;
mod state;

#[cfg(feature = "shards")]
pub(crate) use members::{MAX_SLOTS, chunks_per_slot};
pub(crate) use members::{Member, Members, Missing};
pub(crate) use pending::{DeadNames, MAX_PENDING, Pending, PendingRecords};
pub(crate) use snapshot::Snapshot;
pub(crate) use state::{Found, LostCommit, RecordId, State};

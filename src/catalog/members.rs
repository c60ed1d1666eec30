//! Several depots that are read as one.
//!
//! Each of them, a *member*, has its own file, chunks and index segments. Ordinals go on from member to
//! member. Chunks do not: each member has a *slot*, a range of chunk numbers that stays its own for as long
//! as the set is open, whatever members come and go.

use std::error::Error as _;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::storage::Storage;

/// Bits of an address in one file.
const ADDRESS_BITS: u32 = 48;

/// The most slots of a set.
pub(crate) const MAX_SLOTS: u64 = 1 << (u64::BITS - ADDRESS_BITS);

/// How many chunks of a size have addresses in one file: the numbers of a slot.
pub(crate) fn chunks_per_slot(chunk_size: usize) -> u64 {
    (1 << ADDRESS_BITS) / (chunk_size as u64).max(1)
}

/// One of the depots of a set, as of one commit.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) depot_id: u64,
    pub(crate) data_set: u128,
    /// Number and offset of the commit.
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    /// Offset and length of the entry with the depot's own metadata, or zeros.
    pub(crate) metadata: (u64, u64),
    /// Offset and length of the entry that notes what the depot has lost, or zeros.
    pub(crate) losses: (u64, u64),
    /// Whether there are records that this commit does not cover.
    pub(crate) is_ahead: bool,
    pub(crate) slot: u64,
    /// Its segments, among those of the snapshot.
    pub(crate) segments: Range<usize>,
    /// Its live records, those of them that a newer member supersedes included.
    pub(crate) n_records: u64,
    /// Their raw bytes.
    pub(crate) raw_bytes: u64,
    pub(crate) first_ordinal: u64,
}

/// The depots of a set, oldest first.
#[derive(Debug, Default, Clone)]
pub(crate) struct Members {
    pub(crate) list: Vec<Member>,
    /// Numbers in `list` by slot.
    pub(crate) by_slot: Vec<Option<usize>>,
    /// Chunk numbers of a slot; 0 if this is no set.
    pub(crate) stride: u64,
    /// Sorted ordinals of records that are live in their own depot, but have the name of one in a newer
    /// depot.
    pub(crate) superseded: Vec<u64>,
    /// Why a depot of the set is not there, or not all of it, for each that is not.
    pub(crate) missing: Vec<Missing>,
}

/// A depot of a set that is not there, or not all of it.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    /// Its path in the set.
    pub(crate) shard: String,
    pub(crate) why: String,
    /// The records that it had when the set was last written to.
    pub(crate) records: u64,
}

impl Missing {
    pub(crate) fn new(shard: &str, records: u64, error: &Error) -> Self {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            why.push_str(": ");
            why.push_str(&source.to_string());
            cause = source.source();
        }
        Self { shard: shard.to_owned(), why, records }
    }
}

impl Members {
    /// Whether there is a set at all.
    pub(crate) fn is_set(&self) -> bool {
        self.stride > 0
    }

    /// Whether a record, which no member that is there supersedes, is superseded nevertheless.
    pub(crate) fn is_superseded_by_missing(&self, ordinal: u64) -> bool {
        !self.missing.is_empty() && self.superseded.binary_search(&ordinal).is_ok()
    }

    /// The number of the member that has a chunk.
    pub(crate) fn number_of_chunk(&self, chunk: u64) -> Option<usize> {
        let slot = usize::try_from(chunk.checked_div(self.stride)?).ok()?;
        *self.by_slot.get(slot)?
    }

    /// The member that has a chunk.
    pub(crate) fn of_chunk(&self, chunk: u64) -> Option<&Member> {
        self.list.get(self.number_of_chunk(chunk)?)
    }
}

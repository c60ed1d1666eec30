//! How much is in a depot.

use super::Engine;

/// How much is in a depot, by one look at its state.
pub(crate) struct Totals {
    /// Live records, and their raw bytes.
    pub(crate) records: u64,
    pub(crate) raw_bytes: u64,
    /// Live records that no commit covers.
    pub(crate) uncommitted_records: u64,
    /// Chunks, those without a commit included.
    pub(crate) chunks: u64,
    /// Segments of the index, and their bytes.
    pub(crate) index_segments: usize,
    pub(crate) index_bytes: u64,
    /// Tombstones of the index.
    pub(crate) dead_records: u64,
    /// Number of the newest commit that can be read.
    pub(crate) commits: u64,
    /// Commits after it that the header names.
    pub(crate) lost_commits: u64,
    /// All that those had is here, or there are none.
    pub(crate) complete: bool,
}

impl Engine {
    /// How much is in the depot now.
    pub(crate) fn totals(&self) -> Totals {
        let state = self.shared.read();
        let segments = &state.snapshot.segments;
        let newest = state.snapshot.sequence;
        Totals {
            records: state.len(),
            raw_bytes: state.raw_bytes,
            uncommitted_records: state.pending.n_live(),
            chunks: state.snapshot.n_chunks + state.pending.chunks.len() as u64,
            index_segments: segments.len(),
            index_bytes: segments.iter().map(|segment| segment.stored_len()).sum(),
            dead_records: segments.iter().map(|segment| segment.reference.n_tombstones).sum(),
            commits: newest,
            lost_commits: state.unread.or(state.lost).map_or(0, |lost| lost.sequence - newest),
            complete: state.lost.is_none(),
        }
    }
}

//! How much is in a depot.

use super::Engine;
#[cfg(feature = "shards")]
use crate::{chunk::ChunkAt, error::Result};

/// How much is in a depot at one moment.
pub(crate) struct Totals {
    /// The number of live records, and their raw bytes.
    pub(crate) records: u64,
    pub(crate) raw_bytes: u64,
    /// The number of live records that no commit covers.
    pub(crate) uncommitted_records: u64,
    /// The number of chunks, including those that no commit covers.
    pub(crate) chunks: u64,
    /// The number of index segments, and their bytes.
    pub(crate) index_segments: usize,
    pub(crate) index_bytes: u64,
    /// The number of tombstones in the index.
    pub(crate) dead_records: u64,
    /// The number of the newest commit that can be read.
    pub(crate) commits: u64,
    /// How many commits after it cannot be read, by the numbers in the header.
    pub(crate) lost_commits: u64,
    /// Whether all records of those commits are here, or there are no such commits.
    pub(crate) complete: bool,
}

impl Engine {
    /// How many records are known to have been replaced or removed. Merging the index forgets them.
    pub(crate) fn n_dead(&self) -> u64 {
        let state = self.shared.read();
        let committed: u64 =
            state.snapshot.segments.iter().map(|segment| segment.reference.n_tombstones).sum();
        committed + (state.pending.tombstones.len() + state.pending.dead().len()) as u64
    }

    /// Bytes of a file that is being written. Chunks that are not in it yet count as if they were not
    /// compressed.
    #[cfg(feature = "shards")]
    pub(crate) fn bytes_so_far(&self) -> Result<u64> {
        let open = self.writer()?.open.used() as u64;
        let is_sealed = |chunk: &&ChunkAt| matches!(chunk, ChunkAt::Sealed(_));
        let chunks = &self.shared.read().pending.chunks;
        let written = chunks.iter().rev().skip_while(|chunk| matches!(chunk, ChunkAt::Open));
        let sealed = written.take_while(is_sealed).count() as u64;
        Ok(self.file_len()? + open + sealed * self.parameters().chunk_size as u64)
    }

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
            complete: state.lost.is_none() && state.snapshot.members.missing.is_empty(),
        }
    }
}

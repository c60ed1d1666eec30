//! Readers of the chunks of several depots that are read as one.

use std::sync::Arc;

use crate::catalog::{Member, Members};
use crate::chunk::{Cache, ChunkReader, TABLES_LIMIT};
use crate::format::tables::Parameters;
use crate::sync::OnceMap;

/// A reader for each slot of a set.
pub(super) struct Shelf {
    /// Chunk numbers of a slot.
    stride: u64,
    chunk_size: usize,
    mapped: bool,
    cache: Option<Arc<Cache>>,
    tables_limit: usize,
    readers: OnceMap<ChunkReader>,
}

impl Shelf {
    /// Readers of all members. They share `cache_bytes` bytes of decoded chunks.
    pub(super) fn new(members: &Members, parameters: &Parameters, mapped: bool, cache_bytes: usize) -> Self {
        let shelf = Self {
            stride: members.stride,
            chunk_size: parameters.chunk_size,
            mapped,
            cache: Cache::of(cache_bytes),
            tables_limit: (TABLES_LIMIT / members.list.len().max(1)).max(TABLES_LIMIT / 64),
            readers: OnceMap::default(),
        };
        shelf.add(&members.list);
        shelf
    }

    /// Adds readers for the slots that have none yet.
    pub(super) fn add(&self, members: &[Member]) {
        for member in members {
            self.readers.get_or_init(member.slot, || {
                ChunkReader::new(Arc::clone(&member.storage), self.chunk_size, self.mapped, false)
                    .with_tables_limit(self.tables_limit)
                    .with_cache(self.cache.as_ref(), member.slot * self.stride)
            });
        }
    }

    /// The reader of a chunk, and the number of the chunk in its own file.
    pub(super) fn reader(&self, chunk: u64) -> Option<(&ChunkReader, u64)> {
        let reader = self.readers.get(chunk.checked_div(self.stride)?)?;
        Some((reader, chunk % self.stride))
    }
}

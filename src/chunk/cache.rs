//! Chunks kept decoded, up to a number of bytes.
//!
//! To decode a whole chunk for one small record costs a thousand times as much as to decode the record's
//! block. To decode the same chunk block by block, again and again, costs more than to decode it once. Which
//! of the two happens is not known in advance. So a chunk is decoded whole once the blocks decoded of it add
//! up to half of it. For any later reads, this costs at most a few times as much as the best choice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::buffer::Bytes;
use crate::format::chunk::ChunkRef;
use crate::sync;

/// The most chunks for which [`Content::spent`] is remembered.
const REMEMBERED: usize = 1 << 16;

/// A decoded chunk.
#[derive(Debug)]
struct Kept {
    at: ChunkRef,
    raw: Bytes,
    /// When the chunk was last asked for, by [`Content::clock`].
    used: u64,
}

#[derive(Debug, Default)]
struct Content {
    kept: HashMap<u64, Kept>,
    bytes: usize,
    /// Raw bytes decoded so far of chunks that are not kept.
    spent: HashMap<u64, usize>,
    clock: u64,
}

/// Decoded chunks. The least recently used one makes room.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    content: Mutex<Content>,
}

/// What the cache advises a read to do.
pub(super) enum Advice {
    /// Use the chunk that is kept.
    Kept(Bytes),
    /// Decode the whole chunk, and [`Cache::keep`] it.
    DecodeWhole,
    /// Decode only what is needed.
    DecodePart,
}

impl Cache {
    /// A cache of `bytes` bytes, if that is any.
    pub(crate) fn of(bytes: usize) -> Option<Arc<Self>> {
        (bytes > 0).then(|| Arc::new(Self::new(bytes)))
    }

    /// A cache of `limit` bytes.
    fn new(limit: usize) -> Self {
        Self { limit, content: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        sync::lock(&self.content)
    }

    /// What a read should do that needs `needed` raw bytes of a chunk of `chunk_size` decoded.
    pub(super) fn ask(&self, chunk: u64, at: &ChunkRef, chunk_size: usize, needed: usize) -> Advice {
        let mut content = self.lock();
        content.clock += 1;
        let clock = content.clock;
        if let Some(kept) = content.kept.get_mut(&chunk).filter(|kept| kept.at == *at) {
            kept.used = clock;
            return Advice::Kept(kept.raw.clone());
        }
        if chunk_size > self.limit {
            return Advice::DecodePart;
        }
        if content.spent.len() >= REMEMBERED {
            content.spent.clear();
        }
        let spent = content.spent.entry(chunk).or_default();
        *spent = spent.saturating_add(needed);
        if *spent >= chunk_size / 2 { Advice::DecodeWhole } else { Advice::DecodePart }
    }

    /// What [`ask`](Self::ask) would advise.
    pub(super) fn would(&self, chunk: u64, at: &ChunkRef, chunk_size: usize, needed: usize) -> Advice {
        let content = self.lock();
        if let Some(kept) = content.kept.get(&chunk).filter(|kept| kept.at == *at) {
            return Advice::Kept(kept.raw.clone());
        }
        let spent = content.spent.get(&chunk).copied().unwrap_or(0).saturating_add(needed);
        let whole = chunk_size <= self.limit && spent >= chunk_size / 2;
        if whole { Advice::DecodeWhole } else { Advice::DecodePart }
    }

    /// Keeps a decoded chunk.
    pub(super) fn keep(&self, chunk: u64, at: ChunkRef, raw: Bytes) {
        let mut content = self.lock();
        content.spent.remove(&chunk);
        let used = content.clock;
        content.bytes += raw.len();
        if let Some(old) = content.kept.insert(chunk, Kept { at, raw, used }) {
            content.bytes -= old.raw.len();
        }
        while content.bytes > self.limit {
            let oldest = content.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(&chunk, _)| chunk);
            let Some(old) = oldest.and_then(|chunk| content.kept.remove(&chunk)) else { break };
            content.bytes -= old.raw.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> ChunkRef {
        ChunkRef { offset, chunk_at: 0, chunk_len: 0, n_checksums: 0, table_crc: 0, block_size: 64, flags: 0 }
    }

    fn raw(fill: u8) -> Bytes {
        Bytes::copy_of(&[fill; 1000])
    }

    #[test]
    fn a_chunk_is_decoded_whole_when_half_of_it_was_spent_on_parts() {
        let cache = Cache::new(2500);
        assert!(matches!(cache.ask(1, &at(1), 1000, 300), Advice::DecodePart));
        assert!(matches!(cache.ask(2, &at(2), 1000, 300), Advice::DecodePart));
        assert!(matches!(cache.ask(1, &at(1), 1000, 300), Advice::DecodeWhole));
        cache.keep(1, at(1), raw(1));
        assert!(matches!(cache.ask(1, &at(1), 1000, 1), Advice::Kept(raw) if raw[0] == 1));
        assert!(matches!(cache.ask(1, &at(9), 1000, 1), Advice::DecodePart), "another chunk of that number");
    }

    #[test]
    fn what_was_not_asked_for_the_longest_makes_room() {
        let cache = Cache::new(2500);
        for chunk in 0..2 {
            cache.keep(chunk, at(chunk), raw(0));
            cache.ask(chunk, &at(chunk), 1000, 0);
        }
        cache.ask(0, &at(0), 1000, 0);
        cache.keep(2, at(2), raw(2));
        let kept = |chunk| matches!(cache.ask(chunk, &at(chunk), 1000, 0), Advice::Kept(_));
        assert_eq!([kept(0), kept(1)], [true, false]);
        assert!(cache.lock().bytes <= 2500);
    }

    #[test]
    fn a_chunk_larger_than_the_cache_is_never_decoded_for_it() {
        let cache = Cache::new(999);
        assert!((0..9).all(|_| matches!(cache.ask(1, &at(1), 1000, 1000), Advice::DecodePart)));
    }
}

//! Chunks whose records have their fields apart, once they were opened: up to a number of bytes.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use crate::format::chunk::ChunkRef;
use crate::planes::{Decoders, Reader};
use crate::sync;

/// A chunk whose table and model were checked.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) at: ChunkRef,
    pub(super) align: usize,
    pub(super) model: Reader,
    /// The checksums and all before the model, unless the storage lends them.
    pub(super) table: Vec<u8>,
}

/// The chunks that were opened, up to a number of bytes.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    opened: RwLock<Kept>,
    pub(super) decoders: Decoders,
}

#[derive(Debug, Default)]
struct Kept {
    by_chunk: HashMap<u64, Arc<Opened>>,
    bytes: usize,
}

impl Chunks {
    /// A chunk that is kept.
    pub(super) fn get(&self, chunk: u64, at: &ChunkRef) -> Option<Arc<Opened>> {
        let kept = sync::read(&self.opened);
        kept.by_chunk.get(&chunk).filter(|opened| opened.at == *at).map(Arc::clone)
    }

    /// Keeps a chunk. If all would take more than `limit` bytes, the others are forgotten.
    pub(super) fn keep(&self, chunk: u64, opened: &Arc<Opened>, limit: usize) {
        let bytes = opened.table.len() + opened.model.size();
        let mut kept = sync::write(&self.opened);
        if kept.bytes + bytes > limit {
            kept.by_chunk.clear();
            kept.bytes = 0;
        }
        if kept.by_chunk.insert(chunk, Arc::clone(opened)).is_none() {
            kept.bytes += bytes;
        }
    }
}

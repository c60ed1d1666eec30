//! Where a chunk's bytes are at one moment.

use std::sync::Arc;

use crate::buffer::AlignedBuf;
use crate::format::chunk::ChunkRef;

/// Where a chunk's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum ChunkAt {
    /// The writer has it, and still puts records into it.
    Open,
    /// The chunk takes no more records, but is not yet in the file.
    Sealed(Arc<AlignedBuf>),
    /// It is in the file.
    Stored(ChunkRef),
    /// It is nowhere, because the file lost it.
    Missing,
}

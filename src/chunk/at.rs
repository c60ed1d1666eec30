//! Where a chunk's bytes are at one moment.

use std::sync::Arc;

use crate::buffer::AlignedBuf;
use crate::format::chunk::ChunkRef;

/// Where a chunk's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum ChunkAt {
    /// In the writer's hands.
    Open,
    /// Full, not yet in the file.
    Sealed(Arc<AlignedBuf>),
    /// In the file.
    Stored(ChunkRef),
    /// Nowhere, in a file that lost it.
    Missing,
}

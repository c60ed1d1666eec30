//! Numbers that Blosc2 fixes.

/// Bytes of a chunk's header.
pub(crate) const HEADER_LEN: usize = 32;
/// Bytes that c-blosc2 may need in addition to the raw bytes (`BLOSC2_MAX_OVERHEAD`).
pub(crate) const MAX_OVERHEAD: usize = 32;
/// The most raw bytes of a chunk that c-blosc2 takes (`BLOSC2_MAX_BUFFERSIZE`).
pub(crate) const MAX_CHUNK: usize = i32::MAX as usize - MAX_OVERHEAD;
/// The most raw bytes of a block that c-blosc2 takes (`BLOSC2_MAXBLOCKSIZE`).
pub(crate) const MAX_BLOCK: usize = 536_866_816;

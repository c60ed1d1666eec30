//! Numbers that Blosc2 fixes.

/// Bytes of a chunk's header.
pub(crate) const HEADER_LEN: usize = 32;
/// c-blosc2 may need this much more than the raw bytes (`BLOSC2_MAX_OVERHEAD`).
pub(crate) const MAX_OVERHEAD: usize = 32;
/// The largest raw chunk c-blosc2 takes (`BLOSC2_MAX_BUFFERSIZE`).
pub(crate) const MAX_CHUNK: usize = i32::MAX as usize - MAX_OVERHEAD;
/// The largest block c-blosc2 takes (`BLOSC2_MAXBLOCKSIZE`).
pub(crate) const MAX_BLOCK: usize = 536_866_816;

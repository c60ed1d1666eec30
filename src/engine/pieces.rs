//! Reads a record piece by piece, with memory for only one piece.
//!
//! The checksum of a record covers all of it. A long record is therefore read twice: once to check it, and
//! once to hand it on.

use super::Engine;
use super::read::in_record;
use crate::checksum::crc32c_append;
use crate::chunk::ChunkAt;
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::index::Location;
use crate::storage::NONE;

/// Raw bytes of a piece, unless a block has more.
const PIECE: usize = 1 << 20;

/// The largest piece of a chunk of zeros.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Engine {
    /// Gives `seen` the record piece by piece, and compares its checksum at the end.
    pub(crate) fn check_by_pieces(
        &self,
        name: &[u8],
        location: &Location,
        seen: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut found = 0;
        let mut left = location.in_memory();
        let (mut chunk, mut start) = self.chunk_of(location.address);
        while left > 0 {
            let source = self.source(chunk).map_err(|source| in_record(name, source))?;
            let end = self.shared.parameters.chunk_size.min(start.saturating_add(left));
            let stop = end_of_piece(&source, start).min(end);
            let decoded = match &source {
                // Reading a chunk of zeros would allocate a buffer each time.
                ChunkAt::Stored(at) if at.is(ChunkRef::ZEROS) => None,
                _ => Some(self.chunk_bytes(chunk, start, stop - start, &NONE)),
            };
            let decoded = decoded.transpose().map_err(|source| in_record(name, source))?;
            let piece = decoded.as_deref().unwrap_or_else(|| &ZEROS[..stop - start]);
            if !location.is_unchecked() {
                found = crc32c_append(found, piece);
            }
            seen(piece)?;
            left -= stop - start;
            (chunk, start) = if stop < end || left == 0 { (chunk, stop) } else { (chunk + 1, 0) };
        }
        if location.is_unchecked() || found == location.checksum {
            return Ok(());
        }
        Err(in_record(name, self.other_bytes(location, found)))
    }
}

/// Where the piece of a chunk that starts at `start` ends.
///
/// It ends with a block, so that no block is decoded twice.
fn end_of_piece(source: &ChunkAt, start: usize) -> usize {
    let block = match source {
        ChunkAt::Stored(at) if at.is(ChunkRef::ZEROS) => return start.saturating_add(ZEROS.len()),
        // A foreign chunk is always decoded whole.
        ChunkAt::Stored(at) if at.is(ChunkRef::FOREIGN) => return usize::MAX,
        ChunkAt::Stored(at) if !at.is(ChunkRef::UNCOMPRESSED) && !at.is_apart() => at.block_size as usize,
        _ => 1,
    };
    start.saturating_add(PIECE).checked_next_multiple_of(block.max(1)).unwrap_or(usize::MAX)
}

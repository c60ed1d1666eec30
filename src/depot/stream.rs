//! A record handed on piece by piece: memory for one piece, however long the record is.
//!
//! The checksum of a record covers all of it, so a long record is read twice: to check it, and to hand it on.

use std::io::Write;

use super::{Depot, Engine, Source, tagged};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::format::chunk::ChunkRef;
use crate::index::Location;
use crate::key::{AsKey, describe};

/// Raw bytes of a piece, unless a block has more.
const PIECE: usize = 1 << 20;

/// A piece of a chunk of zeros.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Longer records are handed on by pieces.
const SHORT: usize = 4 << 20;

impl<C: Codec> Depot<C> {
    /// Writes the record's bytes to `out`, and tells how many there are. They pass their checksum before the
    /// first of them is written.
    ///
    /// Takes memory for 4 MiB, or for one block where blocks are larger (of files of vlstore: one chunk). A
    /// longer record is read twice: once to check it, once to write it. Should its bytes change between, that
    /// is an error when some of them are written.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # depot.put("a", b"hello")?;
    /// let mut out = Vec::new();
    /// assert_eq!(depot.read_to("a", &mut out)?, 5);
    /// assert_eq!(out, b"hello");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get), without the codec's; [`ErrorKind::Io`] when `out` refuses.
    pub fn read_to(&self, key: impl AsKey, out: &mut (impl Write + ?Sized)) -> Result<u64> {
        let engine = &self.engine;
        let name = tagged(engine, &key)?;
        let location = engine.location(&name)?;
        let refused =
            |source| Error::io(engine.path(), format!("write record {} out", describe(&name)), source);
        if location.length as usize <= SHORT {
            out.write_all(&engine.read_called(&name, &location)?).map_err(refused)?;
            return Ok(u64::from(location.length));
        }
        if !location.unchecked {
            engine.check_by_pieces(&name, &location, &mut |_| Ok(()))?;
        }
        engine.check_by_pieces(&name, &location, &mut |piece| out.write_all(piece).map_err(refused))?;
        Ok(u64::from(location.length))
    }
}

impl Engine {
    /// Shows the record piece by piece, and compares its checksum in the end.
    fn check_by_pieces(
        &self,
        name: &[u8],
        location: &Location,
        seen: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut found = 0;
        let mut left = location.length as usize;
        let (mut chunk, mut start) = self.chunk_of(location.address);
        while left > 0 {
            let source = self.source(chunk).map_err(|source| self.in_record(name, source))?;
            let end = self.shared.parameters.chunk_size.min(start.saturating_add(left));
            let stop = end_of_piece(&source, start).min(end);
            let decoded = match &source {
                // A buffer of zeros is a fresh one each time.
                Source::Stored(at) if at.is(ChunkRef::ZEROS) => None,
                _ => Some(self.chunk_bytes(chunk, start, stop - start)),
            };
            let decoded = decoded.transpose().map_err(|source| self.in_record(name, source))?;
            let piece = decoded.as_deref().unwrap_or_else(|| &ZEROS[..stop - start]);
            if !location.unchecked {
                found = crc32c::crc32c_append(found, piece);
            }
            seen(piece)?;
            left -= stop - start;
            (chunk, start) = if stop < end || left == 0 { (chunk, stop) } else { (chunk + 1, 0) };
        }
        if location.unchecked || found == location.checksum {
            return Ok(());
        }
        Err(self.in_record(name, self.other_bytes(location, found)))
    }
}

/// Where the piece of a chunk that starts at `start` ends: with a block, so that none is decoded twice.
fn end_of_piece(source: &Source, start: usize) -> usize {
    let block = match source {
        Source::Stored(at) if at.is(ChunkRef::ZEROS) => return start.saturating_add(ZEROS.len()),
        // Decoded whole in any case.
        Source::Stored(at) if at.is(ChunkRef::FOREIGN) => return usize::MAX,
        Source::Stored(at) if !at.is(ChunkRef::UNCOMPRESSED) => at.block_size as usize,
        _ => 1,
    };
    start.saturating_add(PIECE).checked_next_multiple_of(block.max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::Raw;

    #[test]
    fn an_output_that_refuses_is_an_error_of_its_own() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let depot = Depot::memory(Raw).unwrap();
        depot.put("a", b"hello").unwrap();
        let error = depot.read_to("a", &mut Full).unwrap_err();
        assert!(matches!(error.kind(), crate::ErrorKind::Io { .. }));
        assert!(!error.is_damage() && error.is_io());
    }
}

//! Records piece by piece: written out, and put.

use std::io::{self, Write};

use super::{Depot, tagged};
use crate::codec::Codec;
use crate::codec::Raw;
use crate::engine::LongPut;
use crate::error::{Error, Result};
use crate::format::tables::Attributes;
use crate::key::{AsKey, describe};

/// Longer records are written in pieces.
const SHORT: usize = 4 << 20;

impl<C: Codec> Depot<C> {
    /// Writes the record's bytes to `out`, and returns how many there are.
    ///
    /// The checksum is compared before the first byte is written. This takes memory for 4 MiB, or for
    /// one block if blocks are larger (in files of vlstore: one chunk).
    ///
    /// A longer record is read twice: once to check it, and once to write it. If its bytes change in
    /// between, that is an error, but some of them are written by then.
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
    /// - The errors of [`get`](Self::get), except those of the codec.
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) when `out` refuses the bytes.
    pub fn read_to(&self, key: impl AsKey, out: &mut (impl Write + ?Sized)) -> Result<u64> {
        let engine = &self.engine;
        let name = tagged(engine, &key)?;
        let location = engine.location(&name)?;
        let refused =
            |source| Error::io(engine.path(), format!("write record {} out", describe(&name)), source);
        if location.in_memory() <= SHORT {
            out.write_all(&engine.read_called(&name, &location)?).map_err(refused)?;
            return Ok(location.length);
        }
        if !location.is_unchecked() {
            engine.check_by_pieces(&name, &location, &mut |_| Ok(()))?;
        }
        engine.check_by_pieces(&name, &location, &mut |piece| out.write_all(piece).map_err(refused))?;
        Ok(location.length)
    }
}

impl<C: Codec> Depot<C> {
    /// Writes the record's bytes to `out`, and compares the checksum after the last one. Otherwise like
    /// [`read_to`](Self::read_to), but a long record is read once.
    ///
    /// What was written before an error is of no use.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # depot.put("a", b"hello")?;
    /// let mut out = Vec::new();
    /// assert_eq!(depot.read_once_to("a", &mut out)?, 5);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`read_to`](Self::read_to).
    pub fn read_once_to(&self, key: impl AsKey, out: &mut (impl Write + ?Sized)) -> Result<u64> {
        let engine = &self.engine;
        let name = tagged(engine, &key)?;
        let location = engine.location(&name)?;
        let refused =
            |source| Error::io(engine.path(), format!("write record {} out", describe(&name)), source);
        engine.check_by_pieces(&name, &location, &mut |piece| out.write_all(piece).map_err(refused))?;
        Ok(location.length)
    }
}

/// A record that is being put, piece by piece. See [`Depot::put_by_pieces`].
///
/// Dropping it without [`finish`](Self::finish) leaves no record.
pub struct PutByPieces<'d> {
    put: LongPut<'d>,
}

impl PutByPieces<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    /// The errors of [`Depot::put`], and [`ErrorKind::InvalidRecord`](crate::ErrorKind::InvalidRecord) beyond
    /// 2^40 - 1 bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.put.push(bytes)
    }

    /// Stores the record, and returns how many bytes it has.
    ///
    /// # Errors
    /// The errors of [`Depot::put`].
    pub fn finish(self) -> Result<u64> {
        self.put.finish()
    }
}

impl std::fmt::Debug for PutByPieces<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutByPieces").finish_non_exhaustive()
    }
}

impl Write for PutByPieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Depot<Raw> {
    /// Stores a record whose bytes come piece by piece, with memory for a few chunks.
    ///
    /// It replaces the one of that name when it is [finished](PutByPieces::finish), and is not there before.
    /// From its second chunk on, others that write to this depot wait until then: do not put to the depot in
    /// between.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// let mut put = depot.put_by_pieces("zeros")?;
    /// for _ in 0..100 {
    ///     put.push(&[0; 1 << 20])?;
    /// }
    /// assert_eq!(put.finish()?, 100 << 20);
    /// assert_eq!(depot.location("zeros")?.length, 100 << 20);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`put`](Self::put).
    pub fn put_by_pieces(&self, key: impl AsKey) -> Result<PutByPieces<'_>> {
        self.begin_pieces(&key, None, false)
    }

    /// Begins a record, with MessagePack metadata.
    pub(crate) fn begin_pieces(
        &self,
        key: &impl AsKey,
        metadata: Option<&[u8]>,
        only_new: bool,
    ) -> Result<PutByPieces<'_>> {
        let name = tagged(&self.engine, key)?;
        let scalars = self.scalars_of(&name, &[])?;
        let attributes = Attributes { metadata, scalars: &scalars };
        Ok(PutByPieces { put: self.engine.long_put(&name, attributes, only_new)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! Writing out a record piece by piece.

use std::io::Write;

use super::{Depot, tagged};
use crate::codec::Codec;
use crate::error::{Error, Result};
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
        if location.length as usize <= SHORT {
            out.write_all(&engine.read_called(&name, &location)?).map_err(refused)?;
            return Ok(u64::from(location.length));
        }
        if !location.is_unchecked() {
            engine.check_by_pieces(&name, &location, &mut |_| Ok(()))?;
        }
        engine.check_by_pieces(&name, &location, &mut |piece| out.write_all(piece).map_err(refused))?;
        Ok(u64::from(location.length))
    }
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

//! A file of an archive, as something to read and to seek in.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use crate::{Depot, Error, Key, Raw, Result};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// A file of an archive, for reading. See [`Archive::open_file`](super::Archive::open_file).
///
/// Only the blocks that hold the bytes you read are decoded, and their checksums compared.
#[derive(Debug)]
pub struct File<'a> {
    depot: &'a Depot<Raw>,
    key: Key,
    len: u64,
    at: u64,
    /// Bytes of the file from `start` on.
    piece: Vec<u8>,
    start: u64,
}

impl<'a> File<'a> {
    pub(super) fn new(depot: &'a Depot<Raw>, key: Key) -> Result<Self> {
        let len = depot.location(&key)?.length;
        Ok(Self { depot, key, len, at: 0, piece: Vec::new(), start: 0 })
    }

    /// The file's bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from where the file is read next that are in memory.
    fn at_hand(&self) -> &[u8] {
        let passed = self.at.checked_sub(self.start).and_then(|passed| usize::try_from(passed).ok());
        passed.and_then(|passed| self.piece.get(passed..)).unwrap_or_default()
    }
}

pub(super) fn refused(error: Error) -> io::Error {
    let kind = if error.is_damage() { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}

impl BufRead for File<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at_hand().is_empty() && self.at < self.len {
            let end = self.len.min(self.at.saturating_add(PIECE as u64));
            let to_usize = |at| usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge);
            let (at, end) = (to_usize(self.at)?, to_usize(end)?);
            self.piece.clear();
            // New parts each time: parts keep all that they read.
            let mut parts = self.depot.parts(&self.key).map_err(refused)?;
            self.piece.extend_from_slice(parts.bytes(at..end).map_err(refused)?);
            self.start = self.at;
        }
        Ok(self.at_hand())
    }

    fn consume(&mut self, n: usize) {
        self.at = self.at.saturating_add(n as u64);
    }
}

impl Read for File<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let found = self.fill_buf()?;
        let n = found.len().min(out.len());
        out[..n].copy_from_slice(&found[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// Where a file of `len` bytes is read or written next.
pub(super) fn sought(at: u64, len: u64, to: SeekFrom) -> io::Result<u64> {
    let at = match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::End(by) => len.checked_add_signed(by),
        SeekFrom::Current(by) => at.checked_add_signed(by),
    };
    at.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Seek for File<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = sought(self.at, self.len, to)?;
        Ok(self.at)
    }
}

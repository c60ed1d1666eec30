//! A depot in memory: the bytes that a file would hold, in pieces that readers share.

use std::io;
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Storage, past_the_end};
use crate::buffer::{ALIGNMENT, AlignedBuf, Bytes};
use crate::sync;

/// One write, or a run of zeros between writes. The pieces follow each other without gaps.
#[derive(Debug)]
struct Piece {
    start: u64,
    len: u64,
    /// The bytes, or `None` for zeros.
    ///
    /// They start at `start % 64` of the buffer, so that bytes aligned in the file are aligned in memory
    /// too.
    buf: Option<Arc<AlignedBuf>>,
}

impl Piece {
    fn new(start: u64, bytes: &[u8]) -> Self {
        let lead = lead(start);
        // Fresh memory, because pooled buffers are for short uses.
        let mut buf = AlignedBuf::zeroed(lead + bytes.len());
        buf[lead..].copy_from_slice(bytes);
        Self { start, len: bytes.len() as u64, buf: Some(Arc::new(buf)) }
    }

    fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// Bytes in a piece's buffer before its first byte.
#[expect(clippy::cast_possible_truncation, reason = "less than 64")]
fn lead(start: u64) -> usize {
    (start % ALIGNMENT as u64) as usize
}

/// Memory that behaves like a file.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    pieces: RwLock<Vec<Piece>>,
}

impl MemoryStorage {
    /// Empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of `bytes`, such as the content of a depot file.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let storage = Self::new();
        if !bytes.is_empty() {
            storage.write().push(Piece::new(0, bytes));
        }
        storage
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Piece>> {
        sync::read(&self.pieces)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Piece>> {
        sync::write(&self.pieces)
    }
}

fn end(pieces: &[Piece]) -> u64 {
    pieces.last().map_or(0, Piece::end)
}

/// The index of the piece that holds `offset`, or of the last piece.
fn holding(pieces: &[Piece], offset: u64) -> usize {
    pieces.partition_point(|piece| piece.end() <= offset)
}

/// Calls `job` with each piece that overlaps `offset..offset + len`. It also gets the overlap inside the
/// piece, and where the overlap starts in the range.
fn overlaps(
    pieces: &mut [Piece],
    offset: u64,
    len: usize,
    mut job: impl FnMut(&mut Piece, std::ops::Range<usize>, usize),
) {
    let first = holding(pieces, offset);
    let stop = offset + len as u64;
    for piece in &mut pieces[first..] {
        if piece.start >= stop {
            break;
        }
        let (from, to) = (offset.max(piece.start), stop.min(piece.end()));
        // Cannot fail: `n` lies inside a range whose length is a `usize`.
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let lead = lead(piece.start);
        let inside = lead + index(from - piece.start)..lead + index(to - piece.start);
        job(piece, inside, index(from - offset));
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(end(&self.read()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let pieces = self.read();
        let len = end(&pieces);
        if offset.checked_add(buf.len() as u64).is_none_or(|stop| stop > len) {
            return Err(past_the_end(offset, buf.len() as u64, len));
        }
        let stop = offset + buf.len() as u64;
        let mut at = offset;
        for piece in &pieces[holding(&pieces, offset)..] {
            if at >= stop {
                break;
            }
            let n = usize::try_from(stop.min(piece.end()) - at).unwrap_or(usize::MAX);
            let done = usize::try_from(at - offset).unwrap_or(usize::MAX);
            let out = &mut buf[done..done + n];
            match &piece.buf {
                Some(bytes) => {
                    let from = lead(piece.start) + usize::try_from(at - piece.start).unwrap_or(usize::MAX);
                    out.copy_from_slice(&bytes[from..from + n]);
                }
                None => out.fill(0),
            }
            at += n as u64;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut pieces = self.write();
        let len = end(&pieces);
        if offset > len {
            pieces.push(Piece { start: len, len: offset - len, buf: None });
        }
        let inside = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        overlaps(&mut pieces, offset, inside, |piece, range, at| {
            let piece_len = lead(piece.start) + usize::try_from(piece.len).unwrap_or(usize::MAX);
            let buf = piece.buf.get_or_insert_with(|| Arc::new(AlignedBuf::zeroed(piece_len)));
            let n = range.len();
            // A reader may share the old bytes and must keep them: then they are copied before they are
            // changed.
            Arc::make_mut(buf)[range].copy_from_slice(&bytes[at..at + n]);
        });
        if inside < bytes.len() {
            let start = offset + inside as u64;
            pieces.push(Piece::new(start, &bytes[inside..]));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pieces = self.write();
        let old = end(&pieces);
        if len > old {
            pieces.push(Piece { start: old, len: len - old, buf: None });
        }
        while pieces.last().is_some_and(|piece| piece.start >= len) {
            pieces.pop();
        }
        if let Some(last) = pieces.last_mut() {
            last.len = last.len.min(len - last.start);
        }
        Ok(())
    }

    fn is_near(&self) -> bool {
        true
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let pieces = self.read();
        let total = end(&pieces);
        let Some(stop) = offset.checked_add(len).filter(|&stop| stop <= total) else {
            return Err(past_the_end(offset, len, total));
        };
        if let Some(piece) = pieces.get(holding(&pieces, offset))
            && piece.end() >= stop
            && let Some(buf) = &piece.buf
        {
            let from = lead(piece.start) + usize::try_from(offset - piece.start).unwrap_or(usize::MAX);
            let n = usize::try_from(len).unwrap_or(usize::MAX);
            return Ok(Some(Bytes::from_heap(Arc::clone(buf), from..from + n)));
        }
        drop(pieces);
        // The range crosses pieces, so it is copied. The depot's own entries never cross pieces.
        let Ok(n) = usize::try_from(len) else { return Ok(None) };
        let mut buf = AlignedBuf::zeroed(lead(offset) + n);
        let from = lead(offset);
        self.read_at(offset, &mut buf[from..])?;
        Ok(Some(Bytes::from_heap(Arc::new(buf), from..from + n)))
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        let pieces = self.read();
        let next = pieces[holding(&pieces, from)..].iter().find(|piece| piece.buf.is_some());
        Ok(next.map(|piece| piece.start.max(from)))
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn path(&self) -> &Path {
        Path::new("<memory>")
    }
}

//! From a location to checked bytes.
//!
//! No read by location knows a name. A caller that has the name adds it to the error, with [`in_record`].

use std::ops::Range;
use std::sync::Arc;

use super::rounds::Upto;
use super::{Engine, Seen};
use crate::buffer::{AlignedBuf, Bytes, prefetch};
use crate::catalog::{Found, RecordId, State};
use crate::checksum::{crc32c, crc32c_append};
use crate::chunk::{ApartChunk, ChunkAt};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::index::Location;
use crate::key::describe;
use crate::planes::Span;
use crate::storage::{NONE, Windows};

/// Bytes of a record up to which memory is taken without looking at its chunks.
const FREE_ZEROS: usize = 1 << 20;

/// The longest record that is read as a whole. Longer ones are read in parts.
const MOST_AT_ONCE: u64 = u32::MAX as u64;

/// Adds the name of the record to an error.
pub(crate) fn in_record(name: &[u8], source: Error) -> Error {
    source.of(describe(name))
}

/// A record that parts are read of, and whose fields are stored apart.
#[derive(Debug)]
pub(crate) struct OpenRecord {
    chunk: u64,
    /// The raw bytes of the chunk.
    record: Range<usize>,
    open: ApartChunk,
}

impl Engine {
    /// Where chunk `chunk` is.
    pub(crate) fn source(&self, chunk: u64) -> Result<ChunkAt> {
        let state = self.shared.read();
        match state.source(chunk) {
            Ok(Some(ChunkAt::Missing) | None) => Err(self.no_chunk(chunk)),
            Ok(Some(source)) => Ok(source),
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                rebuilt.chunk(chunk).map(ChunkAt::Stored).ok_or_else(|| self.no_chunk(chunk))
            }
        }
    }

    /// Stored bytes of each block of a chunk that holds more than zeros. Empty if it has no table of blocks.
    pub(crate) fn stored_blocks(&self, chunk: u64, at: &ChunkRef) -> Result<Vec<u32>> {
        let (reader, chunk) = self.reader(chunk);
        reader.stored_blocks(chunk, at)
    }

    /// Raw bytes of each block of a chunk with the fields apart. Empty for other chunks.
    pub(crate) fn raw_blocks(&self, chunk: u64, at: &ChunkRef) -> Result<Vec<u32>> {
        let (reader, chunk) = self.reader(chunk);
        if at.is_apart() { Ok(reader.apart_blocks(chunk, at)?.0) } else { Ok(Vec::new()) }
    }

    fn no_chunk(&self, chunk: u64) -> Error {
        let (reader, chunk) = self.reader(chunk);
        Error::damaged(reader.path(), Part::Index, 0, format!("a chunk {chunk}"), "no such chunk")
    }

    /// Raw bytes of one chunk, which may be open, sealed or stored. Stored bytes may be in `ahead`.
    pub(super) fn chunk_bytes(&self, chunk: u64, start: usize, len: usize, ahead: &Windows) -> Result<Bytes> {
        loop {
            match self.source(chunk)? {
                ChunkAt::Stored(reference) => {
                    let (reader, chunk) = self.reader(chunk);
                    return reader.bytes_ahead(chunk, &reference, start..start + len, ahead);
                }
                ChunkAt::Sealed(raw) if start.saturating_add(len) <= raw.len() => {
                    return Ok(Bytes::from_heap(raw, start..start + len));
                }
                ChunkAt::Sealed(raw) => return Err(self.behind_the_end(chunk, raw.len(), start)),
                ChunkAt::Missing => return Err(self.no_chunk(chunk)),
                // The chunk may be sealed while this waits for the writer. Then it is looked up again.
                ChunkAt::Open => {
                    let writer = self.writer_to_look_at()?;
                    if let Some(bytes) = writer.open_bytes(chunk, start, len) {
                        return Ok(Bytes::copy_of(bytes));
                    }
                    if writer.open_number == chunk {
                        return Err(self.behind_the_end(chunk, writer.open.used(), start));
                    }
                }
            }
        }
    }

    /// The error for a forged place behind the bytes in use of a chunk that is not yet in the file.
    #[cold]
    fn behind_the_end(&self, chunk: u64, used: usize, start: usize) -> Error {
        let expected = format!("records inside {used} bytes");
        Error::damaged(self.path_buf(), Part::Chunk(chunk), 0, expected, format!("one at {start}"))
    }

    /// The checked bytes of the record called `name`.
    ///
    /// This does the work of [`location`](Self::location) and [`read`](Self::read), but locks the state once.
    pub(crate) fn get(&self, name: &[u8]) -> Result<Bytes> {
        let ahead = self.expect_one(name, Upto::Blocks);
        let state = self.shared.read();
        let mut lent = None;
        let found = state.find_guessing(name, &mut |location| lent = self.lend(&state, location));
        let Ok(found) = found else {
            drop(state);
            return self.read_called(name, &self.location_now(name)?);
        };
        let Some(Found { location, place }) = found else {
            return Err(self.not_found(&state, name));
        };
        if let Some((_, bytes)) = lent.filter(|(guessed, _)| *guessed == location) {
            if let RecordId::Committed(ordinal) = place
                && self.checks_once()
                && state.snapshot.verified.get(ordinal)
            {
                return Ok(bytes);
            }
            let mut seen = Seen::default();
            seen.push(self, &state.snapshot, Some(place));
            drop(state);
            let checked = self.check_lent(&location, &bytes, (&seen, 0));
            return checked.map(|()| bytes).map_err(|source| in_record(name, source));
        }
        let (chunk, range) = self.range_of(&location);
        let source = state.source(chunk);
        let mut seen = Seen::default();
        if range.end > self.shared.parameters.chunk_size {
            seen.push(self, &state.snapshot, Some(place));
        }
        drop(state);
        let Some(at) = (match source {
            Ok(Some(ChunkAt::Stored(at))) => Some(at),
            _ => None,
        })
        .filter(|_| !range.is_empty() && range.end <= self.shared.parameters.chunk_size) else {
            return self.read_seen_called(name, &location, &seen);
        };
        let (reader, in_file) = self.reader(chunk);
        let read = reader.bytes_ahead(in_file, &at, range, &ahead);
        read.and_then(|bytes| self.check(&location, &bytes).map(|()| bytes))
            .map_err(|source| in_record(name, source))
    }

    /// The unchecked bytes at a location, if the storage lends them. They are prefetched.
    pub(super) fn lend(&self, state: &State, location: &Location) -> Option<(Location, Bytes)> {
        let (chunk, range) = self.range_of(location);
        if !self.shared.mapped || range.is_empty() {
            return None;
        }
        match state.source(chunk) {
            Ok(Some(ChunkAt::Stored(at))) => {
                let bytes = self.reader(chunk).0.lend(&at, range)?;
                prefetch(&bytes);
                Some((*location, bytes))
            }
            _ => None,
        }
    }

    /// The chunk that a location starts in, and the range in it, which may end after the chunk.
    pub(crate) fn range_of(&self, location: &Location) -> (u64, Range<usize>) {
        let (chunk, start) = self.chunk_of(location.address);
        (chunk, start..start + location.in_memory())
    }

    /// The checked bytes of the record at `location`. Errors do not name the record.
    pub(crate) fn read(&self, location: &Location) -> Result<Bytes> {
        self.read_ahead_of(location, &self.expect_locations(std::iter::once(location), &NONE))
    }

    /// Like [`read`](Self::read), but stored bytes that are in `ahead` are not read again.
    pub(super) fn read_ahead_of(&self, location: &Location, ahead: &Windows) -> Result<Bytes> {
        let bytes = self.read_unchecked(location, ahead)?;
        self.check(location, &bytes)?;
        Ok(bytes)
    }

    /// Like [`read_ahead_of`](Self::read_ahead_of), of a record of a batch.
    pub(super) fn read_seen(
        &self,
        location: &Location,
        ahead: &Windows,
        (seen, number): (&Seen, usize),
    ) -> Result<Bytes> {
        let bytes = self.read_unchecked(location, ahead)?;
        if self.checks_once() && self.is_lent(location) {
            self.check_lent(location, &bytes, (seen, number))?;
        } else {
            self.check(location, &bytes)?;
        }
        Ok(bytes)
    }

    /// Like [`read_called`](Self::read_called), of the only record of `seen`.
    pub(crate) fn read_seen_called(&self, name: &[u8], location: &Location, seen: &Seen) -> Result<Bytes> {
        let ahead = self.expect_locations(std::iter::once(location), &NONE);
        self.read_seen(location, &ahead, (seen, 0)).map_err(|source| in_record(name, source))
    }

    /// The checked bytes of the record at a position. Errors do not name the record.
    pub(crate) fn read_at(&self, position: u64) -> Result<Bytes> {
        let (location, seen) = self.found_at(position)?;
        let ahead = self.expect_locations(std::iter::once(&location), &NONE);
        self.read_seen(&location, &ahead, (&seen, 0))
    }

    /// Like [`read`](Self::read), but adds `name` to an error.
    pub(crate) fn read_called(&self, name: &[u8], location: &Location) -> Result<Bytes> {
        self.read(location).map_err(|source| in_record(name, source))
    }

    /// The bytes of a record in the blocks that `range` of it touches, and where in the record they start.
    ///
    /// The checksums of these blocks are compared, but that of the record is not. `None` if a part would cost
    /// as much as the whole record.
    pub(crate) fn part(&self, location: &Location, range: Range<usize>) -> Result<Option<(usize, Bytes)>> {
        let (chunk, record) = self.range_of(location);
        let chunk_size = self.shared.parameters.chunk_size;
        if range.is_empty() || range.end > record.len() {
            return Ok(None);
        }
        if record.end > chunk_size {
            return self.part_of_long(location, range).map(Some);
        }
        let ChunkAt::Stored(at) = self.source(chunk)? else { return Ok(None) };
        let whole = ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED | ChunkRef::FOREIGN;
        let block = if at.is_apart() { 1 } else { at.block_size as usize };
        if at.is(whole) || block == 0 {
            return Ok(None);
        }
        let start = ((record.start + range.start) / block * block).max(record.start);
        let end = (record.start + range.end).next_multiple_of(block).min(record.end);
        let (reader, chunk) = self.reader(chunk);
        let bytes = reader.bytes(chunk, &at, start..end)?;
        Ok(Some((start - record.start, bytes)))
    }

    /// Opens a record whose fields are stored apart, to read parts of it. `None` if it is another one, or
    /// lies in several chunks.
    pub(crate) fn open_parts(&self, location: &Location) -> Result<Option<OpenRecord>> {
        let (chunk, record) = self.range_of(location);
        if record.is_empty() || record.end > self.shared.parameters.chunk_size {
            return Ok(None);
        }
        let ChunkAt::Stored(at) = self.source(chunk)? else { return Ok(None) };
        if !at.is_apart() {
            return Ok(None);
        }
        let (reader, in_file) = self.reader(chunk);
        Ok(Some(OpenRecord { chunk, record, open: reader.open_parts(in_file, &at)? }))
    }

    /// Fills `out` with bytes of a record, from its byte `from` on. Only the fields among them are decoded.
    ///
    /// The checksums of the blocks are compared, but that of the record is not.
    pub(crate) fn copy_part(&self, part: &OpenRecord, from: usize, out: &mut [u8]) -> Result<()> {
        let (reader, _) = self.reader(part.chunk);
        reader.decode_open(&part.open, &NONE, (part.record.start + from, 0), out, &mut |_| ())
    }

    /// Where the first field of a record starts, if it has one.
    pub(crate) fn first_field(&self, part: &OpenRecord) -> Result<Option<usize>> {
        let (reader, _) = self.reader(part.chunk);
        let spans = reader.spans_of(&part.open, part.record.clone(), 1)?;
        Ok(spans.first().map(|span| span.start as usize))
    }

    /// Like [`part`](Self::part), of a record in several chunks.
    fn part_of_long(&self, location: &Location, range: Range<usize>) -> Result<(usize, Bytes)> {
        let chunk_size = self.shared.parameters.chunk_size;
        let (mut chunk, mut start) = self.chunk_of(location.address.saturating_add(range.start as u64));
        let mut whole: Option<AlignedBuf> = None;
        let mut at = 0;
        while at < range.len() {
            let n = (chunk_size - start).min(range.len() - at);
            let bytes = match self.source(chunk)? {
                ChunkAt::Stored(reference) => {
                    let (reader, chunk) = self.reader(chunk);
                    reader.checked_bytes(chunk, &reference, start..start + n)?
                }
                _ => self.chunk_bytes(chunk, start, n, &NONE)?,
            };
            if n == range.len() {
                return Ok((range.start, bytes));
            }
            // The first chunk of the range was read.
            let whole = whole.get_or_insert_with(|| AlignedBuf::any(range.len()));
            whole[at..at + n].copy_from_slice(&bytes);
            (at, chunk, start) = (at + n, chunk + 1, 0);
        }
        let len = range.len();
        let whole = whole.unwrap_or_else(|| AlignedBuf::zeroed(len));
        Ok((range.start, Bytes::from_heap(Arc::new(whole), 0..len)))
    }

    /// Refuses to read more bytes at once than memory should be taken for.
    fn check_at_once(&self, len: u64) -> Result<()> {
        if len <= MOST_AT_ONCE {
            return Ok(());
        }
        Err(ErrorKind::TooLong { len, most: MOST_AT_ONCE }.at(self.path()))
    }

    fn read_unchecked(&self, location: &Location, ahead: &Windows) -> Result<Bytes> {
        let len = location.in_memory();
        if len == 0 {
            return Ok(Bytes::copy_of(&[]));
        }
        self.check_at_once(location.length)?;
        if len > FREE_ZEROS {
            self.check_zeros(location)?;
        }
        let (chunk, start) = self.chunk_of(location.address);
        let chunk_size = self.shared.parameters.chunk_size;
        if start + len <= chunk_size {
            return self.chunk_bytes(chunk, start, len, ahead);
        }
        // The index may be forged. Nothing is allocated before the record's chunks are known to exist.
        let (last, _) = self.chunk_of(location.end() - 1);
        for chunk in [chunk, last] {
            self.source(chunk)?;
        }
        let mut whole = AlignedBuf::any(len);
        let (mut at, mut chunk, mut start) = (0, chunk, start);
        while at < len {
            let n = (chunk_size - start).min(len - at);
            whole[at..at + n].copy_from_slice(&self.chunk_bytes(chunk, start, n, ahead)?);
            (at, chunk, start) = (at + n, chunk + 1, 0);
        }
        Ok(Bytes::from_heap(Arc::new(whole), 0..len))
    }

    /// Compares the checksum of a record of zeros before memory is taken for the record.
    ///
    /// In a forged file, a few bytes can stand for any number of zeros.
    fn check_zeros(&self, location: &Location) -> Result<()> {
        let (first, _) = self.chunk_of(location.address);
        let (last, _) = self.chunk_of(location.end() - 1);
        for chunk in first..=last {
            match self.source(chunk)? {
                ChunkAt::Stored(at) if at.is(ChunkRef::ZEROS) => {}
                _ => return Ok(()),
            }
        }
        if location.is_unchecked() {
            return Ok(());
        }
        let zeros = [0; 1 << 12];
        let mut found = 0;
        let mut left = location.in_memory();
        while left > 0 {
            let part = left.min(zeros.len());
            found = crc32c_append(found, &zeros[..part]);
            left -= part;
        }
        if found == location.checksum {
            return Ok(());
        }
        Err(self.other_bytes(location, found))
    }

    /// Compares a record's bytes with its checksum.
    #[inline]
    pub(crate) fn check(&self, location: &Location, bytes: &[u8]) -> Result<()> {
        if location.is_unchecked() {
            return Ok(());
        }
        let found = crc32c(bytes);
        if found == location.checksum && bytes.len() == location.in_memory() {
            return Ok(());
        }
        Err(self.other_bytes(location, found))
    }

    /// The error for a record with bytes of another checksum, `found`.
    #[cold]
    pub(super) fn other_bytes(&self, location: &Location, found: u32) -> Error {
        let (chunk, _) = self.chunk_of(location.address);
        let offset = self.file_offset(chunk);
        let (reader, chunk) = self.reader(chunk);
        let part = Part::Record { chunk };
        ErrorKind::Checksum { part, offset, expected: location.checksum, found }.at(reader.path())
    }

    /// Where the entry of a chunk starts in the file, or 0 if it is not written yet.
    pub(crate) fn file_offset(&self, chunk: u64) -> u64 {
        match self.source(chunk) {
            Ok(ChunkAt::Stored(reference)) => reference.offset,
            _ => 0,
        }
    }

    /// Where the fields of a record lie, if they are stored apart and the blocks can be read. This is a hint
    /// to whoever stores the record anew.
    pub(crate) fn field_spans(&self, location: &Location) -> Vec<Span> {
        let chunk_size = self.shared.parameters.chunk_size;
        let (mut chunk, mut start) = self.chunk_of(location.address);
        let (mut all, mut at): (Vec<Span>, usize) = (Vec::new(), 0);
        while at < location.in_memory() {
            let n = (chunk_size - start).min(location.in_memory() - at);
            let Ok(ChunkAt::Stored(reference)) = self.source(chunk) else { break };
            let (reader, in_file) = self.reader(chunk);
            let Ok(found) = reader.spans(in_file, &reference, start..start + n) else { break };
            let from = |span: Span| {
                let start = u32::try_from(at).ok()?.checked_add(span.start)?;
                Some(Span { start, ..span })
            };
            for span in found.into_iter().filter_map(from) {
                let goes_on = |last: &&mut Span| {
                    let same = last.field == span.field && last.elements == span.elements;
                    same && last.start + last.len == span.start
                };
                match all.last_mut().filter(goes_on) {
                    Some(last) => last.len += span.len,
                    None => all.push(span),
                }
            }
            (at, chunk, start) = (at + n, chunk + 1, 0);
        }
        all
    }

    /// Adds the name of the record at `position` to an error, if the name can be read.
    pub(crate) fn in_record_at(&self, position: u64, source: Error) -> Error {
        match self.name_at(position) {
            Ok(name) => in_record(&name, source),
            Err(_) => source.of(format!("at position {position}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Depot, Raw};

    #[test]
    fn nothing_is_read_behind_the_records_of_a_chunk_that_is_not_in_the_file() {
        let depot = Depot::memory(Raw).unwrap();
        depot.put("a", b"abc").unwrap();
        let engine = &depot.engine;
        let open = || engine.chunk_bytes(0, 1, 3, &NONE).unwrap_err().to_string();
        assert!(open().contains("records inside 3 bytes"), "{}", open());
        assert_eq!(&engine.chunk_bytes(0, 1, 2, &NONE).unwrap()[..], b"bc");
        let sealed = ChunkAt::Sealed(Arc::new(AlignedBuf::copy_of(b"abcd")));
        engine.shared.write().set_source(0, sealed);
        assert!(
            engine.chunk_bytes(0, 1, 4, &NONE).unwrap_err().to_string().contains("records inside 4 bytes")
        );
        assert_eq!(&engine.chunk_bytes(0, 1, 3, &NONE).unwrap()[..], b"bcd");
    }
}

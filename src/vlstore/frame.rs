//! Reads the frame of a vlstore file: header, trailer, and where records and chunks are.

#![expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]

use std::sync::Arc;

use super::names::{Line, Malformed, read_lookup};
use crate::blosc::{
    ChunkHeader, Feature, HEADER_LEN as CHUNK_HEADER_LEN, decompress_metadata, metadata_limit,
};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::frame::{self, FrameHeader, TRAILER_END_LEN, VLSTORE_LAYER, VLSTORE_MAGIC};
use crate::index::Location;
use crate::le::u64_at;
use crate::storage::{Storage, StorageExt};

/// The trailer layer that holds the names.
const LOOKUP_LAYER: &str = "saved_lookup";
/// The length of the fixed fields of a frame header, up to the metalayers.
const FIXED_LEN: u64 = 87;
/// The longest frame header that is read.
const MAX_HEADER: usize = 16 << 20;

/// The offsets of chunks may always decompress to this many bytes: half a million offsets.
const OFFSETS_FREE: usize = 4 << 20;
/// More offsets may decompress to this many times their stored length. Offsets of evenly spaced chunks
/// compress well.
const OFFSETS_RATIO: usize = 1024;

/// A vlstore file with a header and a trailer that fit together.
pub(super) struct File<'s> {
    storage: &'s Arc<dyn Storage>,
    pub(super) header: FrameHeader,
    pub(super) n_chunks: u64,
    /// Where the offsets chunk starts. Chunks must end before it.
    offsets_at: u64,
    trailer_at: u64,
    trailer: Vec<u8>,
}

impl<'s> File<'s> {
    /// Reads header and trailer.
    pub(super) fn open(storage: &'s Arc<dyn Storage>) -> Result<Self> {
        let not_a_depot = |found: String| ErrorKind::NotADepot { found }.at(storage.path());
        let file_len = storage.file_len()?;
        let fixed = read(storage, 0, FIXED_LEN.min(file_len))?;
        // The length follows MessagePack's marker of an i32.
        let header_len =
            fixed.get(11..).and_then(|bytes| bytes.first_chunk()).map(|raw| i32::from_be_bytes(*raw));
        let header_len = header_len
            .and_then(|len| usize::try_from(len).ok())
            .map_or(0, |len| len.clamp(fixed.len(), MAX_HEADER) as u64);
        let bytes = read(storage, 0, header_len.min(file_len))?;
        let header = frame::parse_header(&bytes).map_err(not_a_depot)?;
        let magic = header.metalayer(VLSTORE_LAYER);
        if magic.and_then(|range| bytes.get(range)) != Some(&VLSTORE_MAGIC[..]) {
            return Err(not_a_depot("a Blosc2 frame that is neither a depot nor a vlstore file".into()));
        }

        let wrong = |offset: u64, expected: String, found: String| damaged(storage, offset, expected, found);
        let frame_len = header.frame_len;
        let trailer_end = TRAILER_END_LEN as u64;
        let offsets_at = (header.header_len as u64).checked_add(header.chunks_len);
        let offsets_at =
            offsets_at.filter(|at| at.checked_add(trailer_end).is_some_and(|end| end <= frame_len));
        let (Some(offsets_at), true) = (offsets_at, frame_len <= file_len) else {
            let found = format!("chunks of {} bytes in a frame of {frame_len}", header.chunks_len);
            return Err(wrong(16, format!("lengths that fit a file of {file_len} bytes"), found));
        };
        let end = read(storage, frame_len - trailer_end, trailer_end)?;
        let trailer_at = frame::trailer_len(&end)
            .and_then(|len| frame_len.checked_sub(len as u64))
            .filter(|&at| at >= offsets_at);
        let Some(trailer_at) = trailer_at else {
            let found = format!("\"{}\"", end.escape_ascii());
            return Err(wrong(frame_len - trailer_end, "the end of a Blosc2 trailer".into(), found));
        };
        let chunk_size = u64::from(header.chunk_size);
        if header.raw_len > 0 && chunk_size == 0 {
            return Err(wrong(58, format!("a chunk size for {} raw bytes", header.raw_len), "0".into()));
        }
        let n_chunks = if header.raw_len == 0 { 0 } else { header.raw_len.div_ceil(chunk_size) };
        let trailer = read(storage, trailer_at, frame_len - trailer_at)?;
        Ok(Self { storage, header, n_chunks, offsets_at, trailer_at, trailer })
    }

    fn damaged(
        &self,
        part: Part,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::damaged(self.storage.path(), part, offset, expected, found)
    }

    /// A chunk's header, if c-blosc2 may be given such a chunk.
    fn chunk_header(&self, start: &[u8], offset: u64) -> Result<ChunkHeader> {
        let header = ChunkHeader::parse(start)
            .map_err(|source| self.damaged(Part::Frame, offset, "a Blosc2 chunk", source.to_string()))?;
        match Feature::unread_of(start) {
            Some(feature) => Err(self.unread(feature, offset)),
            None => Ok(header),
        }
    }

    fn unread(&self, feature: Feature, offset: u64) -> Error {
        unread(self.storage, feature, offset)
    }

    /// Decompresses a chunk of metadata.
    fn decompress(&self, part: Part, stored: &[u8], offset: u64, limit: usize) -> Result<Vec<u8>> {
        self.chunk_header(stored, offset)?;
        decompress_metadata(stored, limit).map_err(|source| {
            let found = source.to_string();
            match source.into_unread() {
                Some(feature) => self.unread(feature, offset),
                None => self.damaged(part, offset, "a Blosc2 chunk", found),
            }
        })
    }

    /// Tagged names and places of the records, in the order of the table.
    pub(super) fn records(&self) -> Result<Vec<(Vec<u8>, Location)>> {
        const WHAT: Part = Part::NameTable;
        let Some(layers) = frame::parse_trailer(&self.trailer) else {
            return Err(self.damaged(WHAT, self.trailer_at, "a Blosc2 trailer", "something else"));
        };
        let layer = layers.iter().find(|(name, _)| name == LOOKUP_LAYER);
        let Some((_, range)) = layer else {
            return Err(ErrorKind::NotADepot {
                found: "a vlstore file whose writer did not close it: it has no table of names".into(),
            }
            .at(self.storage.path()));
        };
        let at = self.trailer_at + range.start as u64;
        let stored = self.trailer.get(range.clone()).unwrap_or_default();
        let raw = self.decompress(WHAT, stored, at, metadata_limit(stored.len()))?;
        let lines = read_lookup(&raw).map_err(|Malformed { at: byte, expected, found }| {
            self.damaged(WHAT, at, expected, format!("{found} at byte {byte} of it"))
        })?;
        let mut records = Vec::with_capacity(lines.len());
        for Line { key, start, end } in lines {
            let name = key.to_tagged();
            let fits = start <= end && end <= self.header.raw_len && end <= Location::MAX_ADDRESS;
            let (Some(name), true) = (name, fits) else {
                let expected = format!("records inside {} raw bytes", self.header.raw_len);
                return Err(self.damaged(WHAT, at, expected, format!("{key} from {start} to {end}")));
            };
            let length = end - start;
            if length > Location::MAX_LENGTH {
                let why = format!("it has {length} bytes, a record at most {}", Location::MAX_LENGTH);
                return Err(ErrorKind::InvalidRecord { why }.at(self.storage.path()).of(key.to_string()));
            }
            records.push((
                name.to_vec(),
                Location { address: start, length, checksum: 0, flags: Location::UNCHECKED },
            ));
        }
        Ok(records)
    }

    /// Every chunk.
    pub(super) fn chunks(&self) -> Result<Vec<ChunkRef>> {
        if self.n_chunks == 0 {
            return Ok(Vec::new());
        }
        let at = self.offsets_at;
        let start = read(self.storage, at, (CHUNK_HEADER_LEN as u64).min(self.trailer_at - at))?;
        let header = self.chunk_header(&start, at)?;
        let room = self.trailer_at - at;
        // Checked before anything is allocated, because the number of chunks comes from the frame's
        // header.
        if self.n_chunks.checked_mul(8) != Some(header.raw_len as u64) || header.stored_len as u64 > room {
            let expected = format!("offsets of {} chunks in {room} bytes", self.n_chunks);
            let found = format!("{} raw bytes in {}", header.raw_len, header.stored_len);
            return Err(self.damaged(Part::Frame, at, expected, found));
        }
        let stored = read(self.storage, at, header.stored_len as u64)?;
        let limit = stored.len().saturating_mul(OFFSETS_RATIO).max(OFFSETS_FREE);
        let offsets = self.decompress(Part::Frame, &stored, at, limit)?;
        let chunk_size = u64::from(self.header.chunk_size);
        let mut left = self.header.raw_len;
        let mut chunks = Vec::with_capacity(offsets.len() / 8);
        for raw in offsets.chunks_exact(8) {
            let offset = u64_at(raw, 0).unwrap_or(0).cast_signed();
            chunks.push(self.chunk(offset, left.min(chunk_size))?);
            left = left.saturating_sub(chunk_size);
        }
        Ok(chunks)
    }

    /// The chunk of `raw_len` bytes that `offset` stands for.
    fn chunk(&self, offset: i64, raw_len: u64) -> Result<ChunkRef> {
        const WHAT: Part = Part::Frame;
        let zeros = ChunkRef {
            offset: 0,
            chunk_at: 0,
            chunk_len: 0,
            n_checksums: 0,
            table_crc: 0,
            block_size: 0,
            flags: ChunkRef::FOREIGN | ChunkRef::ZEROS,
        };
        let Ok(offset) = u64::try_from(offset) else {
            // A negative offset means that no chunk is stored. Three bits say what fills it.
            return match (offset >> 56) & 7 {
                1 => Ok(zeros),
                kind => Err(self.unread(Feature::special(kind.cast_unsigned()), self.offsets_at)),
            };
        };
        let outside = |found: String| {
            let expected = format!("a chunk before byte {}", self.offsets_at);
            self.damaged(WHAT, self.offsets_at, expected, found)
        };
        let at = offset.checked_add(self.header.header_len as u64);
        let room =
            at.and_then(|at| self.offsets_at.checked_sub(at)).filter(|&room| room >= CHUNK_HEADER_LEN as u64);
        let (Some(at), Some(room)) = (at, room) else {
            return Err(outside(format!("one at offset {offset}")));
        };
        let start = read(self.storage, at, CHUNK_HEADER_LEN as u64)?;
        let header = self.chunk_header(&start, at)?;
        if header.stored_len as u64 > room {
            return Err(outside(format!("one of {} bytes at byte {at}", header.stored_len)));
        }
        if header.raw_len as u64 != raw_len {
            let expected = format!("a chunk of {raw_len} raw bytes");
            return Err(self.damaged(WHAT, at, expected, header.raw_len.to_string()));
        }
        if header.special() == 1 {
            return Ok(zeros);
        }
        let mut flags = ChunkRef::FOREIGN;
        let full = header.raw_len as u64 == u64::from(self.header.chunk_size);
        if header.is_memcpyed() && full {
            if header.stored_len != CHUNK_HEADER_LEN + header.raw_len {
                let expected = format!("{} raw bytes after the chunk's header", header.raw_len);
                return Err(self.damaged(WHAT, at, expected, header.stored_len.to_string()));
            }
            flags |= ChunkRef::UNCOMPRESSED;
        }
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(ChunkRef {
            offset: at,
            chunk_len: small(header.stored_len),
            block_size: small(header.block_size),
            flags,
            ..zeros
        })
    }
}

/// Reads bytes that lie inside the file.
fn read(storage: &Arc<dyn Storage>, offset: u64, len: u64) -> Result<Vec<u8>> {
    storage.read(offset, usize::try_from(len).unwrap_or(0))
}

pub(super) fn unread(storage: &Arc<dyn Storage>, feature: Feature, offset: u64) -> Error {
    let Feature { what, name } = feature;
    ErrorKind::Unsupported { what, name, offset }.at(storage.path())
}

fn damaged(storage: &Arc<dyn Storage>, offset: u64, expected: String, found: String) -> Error {
    Error::damaged(storage.path(), Part::Frame, offset, expected, found)
}

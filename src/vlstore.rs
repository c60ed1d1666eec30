//! Files of the Python package vlstore, read in place, and the table of names that lets vlstore read ours.
//!
//! ```text
//!  0        87                           header_len        header_len + chunks_len          frame_len
//!  +--------+----------------------------+-----------------+---------------+----------------+
//!  | fixed  | metalayers: magic = bin8,  | chunks in any   | offsets chunk | trailer, with  |
//!  | fields | 16 bytes                   | order, holes    |               | saved_lookup   |
//!  +--------+----------------------------+-----------------+---------------+----------------+
//!
//!  saved_lookup, a Blosc2 chunk of MessagePack, records in the order they were put:
//!  [ ["__tuple__", key, start, end], .. ]     key: str, bin or int; start, end: raw bytes of the frame
//! ```
//!
//! Such a file has no checksums, and its writer leaves `saved_lookup` out until it closes the file. Its index is built in
//! memory when it is opened, from the table of names and the header of every chunk; no record is read for it.
//! Plugins of c-blosc2 are refused: to load one it would ask the Python on the `PATH` to run.

#![expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]

use std::collections::HashMap;
use std::sync::Arc;

use crate::blosc::{
    ChunkHeader, Feature, HEADER_LEN as CHUNK_HEADER_LEN, decompress_metadata, metadata_limit,
};
use crate::catalog::{Snapshot, State};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::frame::{self, CODEC_AT, FrameHeader, TRAILER_END_LEN, VLSTORE_LAYER, VLSTORE_MAGIC};
use crate::format::tables::Parameters;
use crate::format::{FORMAT_VERSION, u64_at};
use crate::index::{Chosen, Location, Records, Segment, SegmentPlan};
use crate::key::Key;
use crate::options::Placement;
use crate::storage::{MemoryStorage, Storage};

/// The trailer layer with the names.
const LOOKUP_LAYER: &str = "saved_lookup";
/// What vlstore puts first into each line of the table.
const TUPLE: &str = "__tuple__";
/// The fixed fields of a frame header, up to the metalayers.
const FIXED_LEN: u64 = 87;
/// The longest frame header that is read.
const MAX_HEADER: usize = 16 << 20;
/// Chunk size of a file that has no chunk and names no size: vlstore's default.
const DEFAULT_CHUNK: usize = 1 << 22;

/// Offsets of chunks may always decompress to this much, half a million of them,
const OFFSETS_FREE: usize = 4 << 20;
/// and beyond it to so much times what is stored: chunks that follow each other evenly compress well.
const OFFSETS_RATIO: usize = 1024;

/// Reads a vlstore file: parameters and an index in memory. Depot id 0 marks a file of another program.
///
/// vlstore notes neither codec nor alignment: the caller says what the records are.
pub(crate) fn import(
    storage: &Arc<dyn Storage>,
    codec_id: &str,
    align: usize,
) -> Result<(Parameters, State)> {
    let file = File::open(storage)?;
    let compression = file.header.compression.clone();
    let compression = compression.map_err(|feature| unread(storage, feature, CODEC_AT as u64))?;
    let records = file.records()?;
    let mut index = Records::default();
    let (mut n_records, mut raw_bytes) = (0, 0);
    // Names are unique, or the last one counts.
    let last: HashMap<&[u8], usize> =
        records.iter().enumerate().map(|(number, (name, _))| (name.as_slice(), number)).collect();
    for (number, (name, location)) in records.iter().enumerate() {
        if last.get(name.as_slice()) == Some(&number) {
            index.push(name, location, None);
            n_records += 1;
            raw_bytes += u64::from(location.length);
        }
    }
    let chunks = file.chunks()?;
    let n_chunks = chunks.len() as u64;
    let segment = segment(&index, chunks)?;
    let snapshot = Snapshot {
        sequence: 1,
        segments: vec![Arc::new(segment)],
        n_records,
        n_chunks,
        raw_bytes,
        ..Snapshot::default()
    };
    let mut state = State::default();
    state.adopt_snapshot(Arc::new(snapshot));
    let parameters = Parameters {
        format_version: FORMAT_VERSION,
        depot_id: 0,
        codec_id: codec_id.to_owned(),
        codec_version: 0,
        codec_parameters: Vec::new(),
        chunk_size: if file.n_chunks == 0 && file.header.chunk_size == 0 {
            DEFAULT_CHUNK
        } else {
            file.header.chunk_size as usize
        },
        block_size: None,
        compression,
        placement: Placement::NoCross,
        align,
        vlstore: true,
        created: 0,
    };
    Ok((parameters, state))
}

/// The collected index, as if it had been read from a depot.
fn segment(records: &Records, chunks: Vec<ChunkRef>) -> Result<Segment> {
    let listing = &Chosen::all(records);
    let plan = SegmentPlan { first_ordinal: 0, first_chunk: 0, listing, chunks, kills: Vec::new() };
    let (mut bytes, encoded) = plan.into_bytes()?;
    let reference = encoded.reference;
    let head = EntryHead {
        kind: Kind::Index,
        body_crc: encoded.body_crc,
        sequence: 1,
        ordinal: 0,
        offset: reference.offset,
        length: reference.length,
        depot_id: 0,
        previous: 0,
    };
    bytes[..HEAD_LEN].copy_from_slice(&head.encode());
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
    Segment::open(&memory, reference, 0, true)
}

/// A vlstore file whose header and trailer fit together.
struct File<'s> {
    storage: &'s Arc<dyn Storage>,
    header: FrameHeader,
    n_chunks: u64,
    /// Where the offsets chunk starts: the end of what chunks may lie in.
    offsets_at: u64,
    trailer_at: u64,
    trailer: Vec<u8>,
}

impl<'s> File<'s> {
    /// Reads header and trailer.
    fn open(storage: &'s Arc<dyn Storage>) -> Result<Self> {
        let not_a_depot = |found: String| ErrorKind::NotADepot { found }.at(storage.path());
        let file_len =
            storage.len().map_err(|source| Error::io(storage.path(), "ask for the file's length", source))?;
        let fixed = read(storage, 0, FIXED_LEN.min(file_len))?;
        // The length stands behind MessagePack's sign of an i32.
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

    /// A chunk's header, if it is one that may be handed to c-blosc2.
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

    /// Tagged names and places, in the order of the table.
    fn records(&self) -> Result<Vec<(Vec<u8>, Location)>> {
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
            let Ok(length) = u32::try_from(end - start) else {
                return Err(ErrorKind::InvalidRecord {
                    why: format!("it has {} bytes, a record at most {}", end - start, u32::MAX),
                }
                .at(self.storage.path())
                .of(key.to_string()));
            };
            records.push((name.to_vec(), Location { address: start, length, checksum: 0, unchecked: true }));
        }
        Ok(records)
    }

    /// Every chunk.
    fn chunks(&self) -> Result<Vec<ChunkRef>> {
        if self.n_chunks == 0 {
            return Ok(Vec::new());
        }
        let at = self.offsets_at;
        let start = read(self.storage, at, (CHUNK_HEADER_LEN as u64).min(self.trailer_at - at))?;
        let header = self.chunk_header(&start, at)?;
        let room = self.trailer_at - at;
        // Before anything is allocated: the number of chunks comes from the frame's header.
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

    /// The chunk of `raw_len` bytes that an offset stands for.
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
            // Negative: no chunk is stored, three bits say what it is full of.
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
                let expected = format!("{} raw bytes behind the chunk's header", header.raw_len);
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
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    storage
        .read_at(offset, &mut bytes)
        .map_err(|source| Error::io(storage.path(), format!("read {len} bytes at byte {offset}"), source))?;
    Ok(bytes)
}

fn unread(storage: &Arc<dyn Storage>, feature: Feature, offset: u64) -> Error {
    let Feature { what, name } = feature;
    ErrorKind::Unsupported { what, name, offset }.at(storage.path())
}

fn damaged(storage: &Arc<dyn Storage>, offset: u64, expected: String, found: String) -> Error {
    Error::damaged(storage.path(), Part::Frame, offset, expected, found)
}

/// One line of the table of names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    key: Key,
    start: u64,
    end: u64,
}

/// What is wrong with some MessagePack.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Malformed {
    at: usize,
    expected: &'static str,
    found: String,
}

/// Reads an uncompressed table of names.
fn read_lookup(raw: &[u8]) -> Result<Vec<Line>, Malformed> {
    let mut reader = Reader { bytes: raw, at: 0 };
    let expect = |reader: &Reader<'_>, expected, found: &Value<'_>| Malformed {
        at: reader.at,
        expected,
        found: found.to_string(),
    };
    let count = match reader.next()? {
        Value::Array(count) => count,
        other => return Err(expect(&reader, "an array of records", &other)),
    };
    // Not allocated ahead: the count may be anything.
    let mut lines = Vec::new();
    for _ in 0..count {
        match reader.next()? {
            // Plain tuples, should vlstore ever write them.
            Value::Array(3) => {}
            Value::Array(4) => match reader.next()? {
                Value::Str(TUPLE) => {}
                other => return Err(expect(&reader, "\"__tuple__\"", &other)),
            },
            other => return Err(expect(&reader, "an array of a record's name and place", &other)),
        }
        let key = match reader.next()? {
            Value::Str(name) => Key::Str(name.to_owned()),
            Value::Bin(name) => Key::Bytes(name.to_vec()),
            Value::Int(value) => Key::Int(value),
            // As in Python, where 1 == True finds the record.
            Value::Bool(value) => Key::Int(i128::from(value)),
            other @ Value::Array(_) => {
                return Err(expect(&reader, "a string, bytes or an integer as a name", &other));
            }
        };
        let place = |reader: &mut Reader<'_>| match reader.next()? {
            Value::Int(value) if u64::try_from(value).is_ok() => Ok(u64::try_from(value).unwrap_or(0)),
            other => Err(expect(reader, "a place in the frame", &other)),
        };
        let (start, end) = (place(&mut reader)?, place(&mut reader)?);
        lines.push(Line { key, start, end });
    }
    if reader.at == raw.len() {
        return Ok(lines);
    }
    let found = format!("{} bytes more", raw.len() - reader.at);
    Err(Malformed { at: reader.at, expected: "the end of the table", found })
}

/// What a table of names is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    /// How many values follow.
    Array(usize),
    Str(&'a str),
    Bin(&'a [u8]),
    Int(i128),
    Bool(bool),
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Array(count) => write!(f, "an array of {count}"),
            Self::Str(text) => write!(f, "a string of {} bytes", text.len()),
            Self::Bin(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Int(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// The part of MessagePack that tables of names use, bounds-checked.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(Malformed { at: self.at, expected: "more MessagePack", found: "the end".into() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// A big-endian number of `width` bytes.
    fn unsigned(&mut self, width: usize) -> Result<u64, Malformed> {
        Ok(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn len(&mut self, width: usize) -> Result<usize, Malformed> {
        Ok(usize::try_from(self.unsigned(width)?).unwrap_or(usize::MAX))
    }

    fn str(&mut self, len: usize) -> Result<Value<'a>, Malformed> {
        let at = self.at;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(Value::Str).map_err(|error| Malformed {
            at,
            expected: "UTF-8",
            found: error.to_string(),
        })
    }

    fn next(&mut self) -> Result<Value<'a>, Malformed> {
        let at = self.at;
        let [kind] = self.array()?;
        let low = |mask: u8| usize::from(kind & mask);
        match kind {
            0x00..=0x7f => Ok(Value::Int(i128::from(kind))),
            0xe0..=0xff => Ok(Value::Int(i128::from(kind.cast_signed()))),
            0x90..=0x9f => Ok(Value::Array(low(0x0f))),
            0xa0..=0xbf => self.str(low(0x1f)),
            0xc2 | 0xc3 => Ok(Value::Bool(kind == 0xc3)),
            0xc4..=0xc6 => {
                let len = self.len(1 << low(3))?;
                self.take(len).map(Value::Bin)
            }
            0xcc..=0xcf => Ok(Value::Int(i128::from(self.unsigned(1 << low(3))?))),
            0xd0 => Ok(Value::Int(i128::from(i8::from_be_bytes(self.array()?)))),
            0xd1 => Ok(Value::Int(i128::from(i16::from_be_bytes(self.array()?)))),
            0xd2 => Ok(Value::Int(i128::from(i32::from_be_bytes(self.array()?)))),
            0xd3 => Ok(Value::Int(i128::from(i64::from_be_bytes(self.array()?)))),
            0xd9..=0xdb => {
                let len = self.len(1 << (kind - 0xd9))?;
                self.str(len)
            }
            0xdc | 0xdd => Ok(Value::Array(self.len(2 << (kind - 0xdc))?)),
            _ => Err(Malformed {
                at,
                expected: "an array, a string, bytes or an integer",
                found: format!("MessagePack of kind {kind:#04x}"),
            }),
        }
    }
}

/// The table of names vlstore looks for: MessagePack of names with the raw bytes `start..end` of their records.
///
/// Empty records are left out: vlstore has none.
pub(crate) fn saved_lookup(records: impl Iterator<Item = (Key, u64, u64)>) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut count = 0usize;
    for (key, start, end) in records.filter(|(_, start, end)| end > start) {
        count += 1;
        lines.push(0x94);
        put_str(&mut lines, TUPLE);
        match &key {
            Key::Str(name) => put_str(&mut lines, name),
            Key::Bytes(name) => put_bin(&mut lines, name),
            Key::Int(value) => put_int(&mut lines, *value),
        }
        put_int(&mut lines, i128::from(start));
        put_int(&mut lines, i128::from(end));
    }
    let mut out = Vec::with_capacity(lines.len() + 5);
    match (u8::try_from(count), u16::try_from(count)) {
        (Ok(short @ ..16), _) => out.push(0x90 | short),
        (_, Ok(count)) => put(&mut out, 0xdc, &count.to_be_bytes()),
        _ => put(&mut out, 0xdd, &u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()),
    }
    out.extend_from_slice(&lines);
    out
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

/// A kind for lengths of one byte, followed by those for two and four, and the length.
fn put_len(out: &mut Vec<u8>, kind: u8, len: usize) {
    if let Ok(len) = u8::try_from(len) {
        put(out, kind, &[len]);
    } else if let Ok(len) = u16::try_from(len) {
        put(out, kind + 1, &len.to_be_bytes());
    } else {
        // Names are shorter than that (`MAX_KEY_LEN`).
        put(out, kind + 2, &u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(short @ ..32) => out.push(0xa0 | short),
        _ => put_len(out, 0xd9, text.len()),
    }
    out.extend_from_slice(text.as_bytes());
}

fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, 0xc4, bytes.len());
    out.extend_from_slice(bytes);
}

/// The shortest form; `value` is one that a key can be.
fn put_int(out: &mut Vec<u8>, value: i128) {
    if let Ok(value) = u64::try_from(value) {
        match (u8::try_from(value), u16::try_from(value), u32::try_from(value)) {
            (Ok(value @ ..0x80), ..) => out.push(value),
            (Ok(value), ..) => put(out, 0xcc, &[value]),
            (_, Ok(value), _) => put(out, 0xcd, &value.to_be_bytes()),
            (.., Ok(value)) => put(out, 0xce, &value.to_be_bytes()),
            _ => put(out, 0xcf, &value.to_be_bytes()),
        }
    } else {
        let value = i64::try_from(value).unwrap_or(i64::MIN);
        match (i8::try_from(value), i16::try_from(value), i32::try_from(value)) {
            (Ok(value @ -32..), ..) => out.push(value.cast_unsigned()),
            (Ok(value), ..) => put(out, 0xd0, &value.to_be_bytes()),
            (_, Ok(value), _) => put(out, 0xd1, &value.to_be_bytes()),
            (.., Ok(value)) => put(out, 0xd2, &value.to_be_bytes()),
            _ => put(out, 0xd3, &value.to_be_bytes()),
        }
    }
}

/// vlstore's table of names.
pub(crate) fn lookup_of(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let dead = snapshot.dead()?;
    let mut records = Vec::new();
    for segment in &snapshot.segments {
        let mut local = 0;
        while local < segment.reference.n_records {
            let (first, names) = segment.names_around(local)?;
            for (number, name) in (first..).zip(&names) {
                local = number + 1;
                let ordinal = segment.reference.first_ordinal + number;
                if dead.binary_search(&ordinal).is_err()
                    && let Some(key) = Key::from_tagged(name)
                {
                    let location = segment.location(number)?;
                    records.push((key, location.address, location.end()));
                }
            }
        }
    }
    Ok(saved_lookup(records.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkReader;
    use crate::{Depot, DepotOptions, Raw};

    fn integers() -> Vec<i128> {
        let edges = [0, 31, 32, 33, 127, 128, 129, 255, 256, 32767, 32768, 32769, 65535, 65536];
        let wide = [1 << 31, (1 << 31) + 1, 1 << 32, (1 << 32) - 1, (1 << 63) - 1, 1 << 63];
        let up = edges.into_iter().chain(wide);
        up.clone().chain(up.map(|n: i128| -n)).chain([i128::from(u64::MAX)]).collect()
    }

    #[test]
    fn every_integer_comes_back_in_its_shortest_form() {
        for value in integers() {
            let mut bytes = Vec::new();
            put_int(&mut bytes, value);
            let mut reader = Reader { bytes: &bytes, at: 0 };
            assert_eq!(reader.next(), Ok(Value::Int(value)));
            assert_eq!(reader.at, bytes.len());
            let magnitude = if value < 0 { -value - 1 } else { value };
            let signed = [(32, 1), (1 << 7, 2), (1 << 15, 3), (1 << 31, 5), (1 << 63, 9)];
            let unsigned = [(1 << 7, 1), (1 << 8, 2), (1 << 16, 3), (1 << 32, 5), (1i128 << 64, 9)];
            let limits = if value < 0 { signed } else { unsigned };
            let shortest = limits.iter().find(|(limit, _)| magnitude < *limit).unwrap().1;
            assert_eq!(bytes.len(), shortest, "{value}");
        }
    }

    #[test]
    fn strings_and_bytes_of_every_length_come_back() {
        for len in [0, 1, 31, 32, 255, 256, 65535, 65536] {
            let text = "x".repeat(len);
            let mut bytes = Vec::new();
            put_str(&mut bytes, &text);
            put_bin(&mut bytes, text.as_bytes());
            let mut reader = Reader { bytes: &bytes, at: 0 };
            assert_eq!(reader.next(), Ok(Value::Str(&text)));
            assert_eq!(reader.next(), Ok(Value::Bin(text.as_bytes())));
            assert_eq!(reader.at, bytes.len());
        }
    }

    #[test]
    fn a_table_comes_back_without_its_empty_records() {
        for count in [0, 1, 15, 16, 70_000] {
            let key = |n: u64| match n % 3 {
                0 => Key::Str(format!("{n}é")),
                1 => Key::Bytes(vec![0xff; usize::try_from(n % 300).unwrap()]),
                _ => Key::Int(i128::from(n) - 9),
            };
            let lines: Vec<Line> =
                (0..count).map(|n| Line { key: key(n), start: n << 20, end: (n << 20) + n + 1 }).collect();
            let empty = (Key::Int(7), 4096, 4096);
            let records = lines.iter().map(|line| (line.key.clone(), line.start, line.end));
            let raw = saved_lookup(std::iter::once(empty).chain(records));
            assert_eq!(read_lookup(&raw), Ok(lines));
        }
    }

    #[test]
    fn plain_tuples_and_true_are_read() {
        let raw = [0x92, 0x93, 0xc3, 1, 2, 0x93, 0xc2, 3, 4];
        let line = |key, start, end| Line { key: Key::Int(key), start, end };
        assert_eq!(read_lookup(&raw), Ok(vec![line(1, 1, 2), line(0, 3, 4)]));
    }

    #[test]
    fn what_a_compatible_depot_says_to_vlstore_is_what_is_in_it() {
        let options = DepotOptions {
            vlstore_compatible: true,
            chunk_size: 4096,
            block_size: Some(1024),
            ..DepotOptions::default()
        };
        let depot = Depot::memory_with(Raw, options).unwrap();
        let record = |n: usize| -> Vec<u8> {
            (0..n * 517 % 9001).map(|i| u8::try_from(i * n % 241).unwrap()).collect()
        };
        let names: Vec<String> = (0..60).map(|n| format!("record/{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            depot.put(name, &record(n)).unwrap();
        }
        let bytes = depot.to_bytes().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
        let (parameters, state) = import(&storage, "raw", 1).unwrap();
        assert_eq!((parameters.chunk_size, parameters.depot_id), (4096, 0));
        assert_eq!(state.len(), 59, "the first record is empty");
        let chunks = ChunkReader::new(Arc::clone(&storage), 4096, false, true);
        for (n, name) in names.iter().enumerate().skip(1) {
            let tagged = Key::Str(name.clone()).to_tagged().unwrap();
            let location = state.find(&tagged).unwrap().unwrap().location;
            let (mut at, mut found) = (location.address, Vec::new());
            while at < location.end() {
                let chunk = state.snapshot.chunk(at / 4096).unwrap().unwrap();
                assert!(chunk.is(ChunkRef::FOREIGN));
                let end = location.end().min((at / 4096 + 1) * 4096);
                let inside = |address: u64| usize::try_from(address - at / 4096 * 4096).unwrap();
                found.extend_from_slice(&chunks.bytes(at / 4096, &chunk, inside(at)..inside(end)).unwrap());
                at = end;
            }
            assert!(found == record(n), "{name}");
        }
    }

    #[test]
    fn malformed_tables_are_refused() {
        let good = saved_lookup([(Key::Str("name".into()), 300, 70_000)].into_iter());
        for len in 0..good.len() {
            assert!(read_lookup(&good[..len]).is_err(), "{len} bytes");
        }
        assert!(read_lookup(&[&good[..], &[0]].concat()).is_err());
        for at in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = read_lookup(&bad);
            }
        }
        let forged: [&[u8]; 6] = [
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            &[0x91, 0x93, 0xc6, 0xff, 0xff, 0xff, 0xff, 0, 0],
            &[0x91, 0x93, 0xa1, 0xff, 0, 1],
            &[0x91, 0x93, 0x01, 0xff, 0x01],
            &[0x91, 0x93, 0xca, 0, 0, 0, 0, 0, 1],
            &[0x91, 0x94, 0xa1, b'x', 0x01, 0x00, 0x01],
        ];
        for raw in forged {
            assert!(read_lookup(raw).is_err(), "{raw:x?}");
        }
    }
}

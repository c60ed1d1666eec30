//! A CHUNK entry: records compressed together as one Blosc2 chunk.
//!
//! It also has what is needed to find the records and to check them.
//!
//! ```text
//!  0        64         128                         chunk_at - 4n      chunk_at (32 mod 64)
//!  +--------+----------+---------------------+-----+------------------+--------------+---+
//!  | entry  | prelude  | directory           |  0  | n x CRC32C       | Blosc2 chunk | 0 |
//!  | head   | 64 bytes | (one Blosc2 chunk)  |     | prefix, blocks   |              |   |
//!  +--------+----------+---------------------+-----+------------------+--------------+---+
//!
//!  prelude: 0            4             8             12      16        20   24         32      40         44      64
//!           +------------+-------------+-------------+-------+---------+----+----------+-------+----------+-------+
//!           | directory  | directory   | directory   |layout | chunk   | n  | chunk    | raw   | CRC of   |   0   |
//!           | stored u32 | raw u32     | CRC u32     | u32   | at u32  |u32 | length   | bytes | the n    |       |
//!           +------------+-------------+-------------+-------+---------+----+----------+-------+----------+-------+
//! ```
//!
//! The entry head's body CRC covers the prelude. The first of the `n` checksums covers the chunk's header
//! and block offsets. Each further checksum covers the stored bytes of one block, so a part of the chunk
//! can be checked without the rest. A compressed chunk that is not full ends with blocks of zeros without
//! checksums: all their stored bytes are 0. The directory is a Blosc2 chunk, or as it is if it would not
//! shrink: then its stored and its raw length are the same. The Blosc2 chunk starts with its 32-byte
//! header, so an uncompressed payload starts at a multiple of 64 bytes. A LOG entry is the same, but
//! without checksums and chunk.

use super::entry::HEAD_LEN;
use super::growth::{Fault, Newer};
use super::tables::{Directory, DirectoryBuilder};
use crate::blosc::{
    BloscError, ChunkHeader, Encoder, HEADER_LEN, block_offsets, compress_metadata, decompress_metadata,
    metadata_limit,
};
use crate::checksum::crc32c;
use crate::le::{u32_at, u64_at};

const PRELUDE_AT: usize = HEAD_LEN;
pub(crate) const PRELUDE_LEN: usize = 64;
const DIRECTORY_AT: usize = PRELUDE_AT + PRELUDE_LEN;
/// The most raw bytes of a directory. A chunk is sealed before its directory grows larger.
pub(crate) const MAX_DIRECTORY: usize = 256 << 20;

/// Directories of at most this many bytes are not compressed.
const PLAIN_DIRECTORY: usize = 256;

/// Where the prelude's zeros start, up to its end.
const PRELUDE_END: usize = 44;

/// The fixed part of a CHUNK or LOG entry's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Prelude {
    pub(crate) directory_stored: u32,
    pub(crate) directory_raw: u32,
    pub(crate) directory_crc: u32,
    /// How the payload is laid out. 0: the records as they are. 1: [their fields apart](super::apart).
    pub(crate) layout: u8,
    pub(crate) chunk_at: u32,
    pub(crate) n_checksums: u32,
    pub(crate) chunk_len: u64,
    /// Raw bytes in use, without the padding up to the chunk size.
    pub(crate) raw_len: u64,
    pub(crate) table_crc: u32,
}

impl Prelude {
    /// The 64 bytes.
    pub(crate) fn encode(&self) -> [u8; PRELUDE_LEN] {
        let mut out = [0; PRELUDE_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.directory_stored.to_le_bytes());
        put(4, &self.directory_raw.to_le_bytes());
        put(8, &self.directory_crc.to_le_bytes());
        put(12, &[self.layout]);
        put(16, &self.chunk_at.to_le_bytes());
        put(20, &self.n_checksums.to_le_bytes());
        put(24, &self.chunk_len.to_le_bytes());
        put(32, &self.raw_len.to_le_bytes());
        put(40, &self.table_crc.to_le_bytes());
        out
    }

    /// Reads the prelude of an entry of `entry_len` bytes, and checks that everything lies inside it.
    pub(crate) fn parse(bytes: &[u8], entry_len: u64) -> Result<Self, Fault> {
        let short = || format!("{} bytes of prelude", bytes.len());
        let half = |at: usize| u32_at(bytes, at).ok_or_else(short);
        let word = |at: usize| u64_at(bytes, at).ok_or_else(short);
        let prelude = Self {
            directory_stored: half(0)?,
            directory_raw: half(4)?,
            directory_crc: half(8)?,
            layout: u8::try_from(half(12)?)
                .map_err(|_| Fault::newer("payload layout", &half(12).unwrap_or(0)))?,
            chunk_at: half(16)?,
            n_checksums: half(20)?,
            chunk_len: word(24)?,
            raw_len: word(32)?,
            table_crc: half(40)?,
        };
        if bytes.get(PRELUDE_END..PRELUDE_LEN).ok_or_else(short)?.iter().any(|&byte| byte != 0) {
            return Err(Fault::newer("fields of the prelude", &format!("from byte {PRELUDE_END} on")));
        }
        let directory_end = DIRECTORY_AT as u64 + u64::from(prelude.directory_stored);
        let table_at = u64::from(prelude.chunk_at).checked_sub(4 * u64::from(prelude.n_checksums));
        let chunk_end = u64::from(prelude.chunk_at).checked_add(prelude.chunk_len);
        let chunk_fits =
            table_at.is_some_and(|at| at >= directory_end) && chunk_end.is_some_and(|end| end <= entry_len);
        let is_log = prelude.chunk_len == 0 && prelude.n_checksums == 0 && prelude.chunk_at == 0;
        if directory_end > entry_len
            || prelude.directory_raw as usize > MAX_DIRECTORY
            || !(is_log || chunk_fits && prelude.n_checksums > 0)
        {
            return Err("lengths that do not fit into the entry".into());
        }
        Ok(prelude)
    }

    /// Where all that checksums cover ends in the entry.
    pub(crate) fn end(&self) -> u64 {
        self.directory_range().end.max(u64::from(self.chunk_at).saturating_add(self.chunk_len))
    }

    /// Where the directory lies in the entry.
    pub(crate) fn directory_range(&self) -> std::ops::Range<u64> {
        let start = DIRECTORY_AT as u64;
        start..start + u64::from(self.directory_stored)
    }

    /// Checks the directory's stored bytes, decompresses them, and reads the directory.
    pub(crate) fn read_directory(&self, stored: &[u8]) -> Result<Directory, Fault> {
        let computed = crc32c(stored);
        if computed != self.directory_crc {
            return Err(format!(
                "directory CRC32C {computed:#010x} where {:#010x} is stored",
                self.directory_crc
            )
            .into());
        }
        if self.directory_stored == self.directory_raw {
            return Directory::decode(stored);
        }
        let limit = metadata_limit(stored.len()).min(self.directory_raw as usize);
        let raw = decompress_metadata(stored, limit).map_err(|e| e.to_string())?;
        Directory::decode(&raw)
    }

    /// The reference to a chunk that the index keeps.
    ///
    /// The chunk's entry starts at `offset`. The block size comes from the chunk's `header`.
    pub(crate) fn chunk_ref(&self, offset: u64, header: &ChunkHeader) -> ChunkRef {
        let flags = if header.special() == 1 {
            ChunkRef::ZEROS
        } else if header.is_memcpyed() {
            ChunkRef::UNCOMPRESSED
        } else {
            0
        };
        ChunkRef {
            offset,
            chunk_at: self.chunk_at,
            chunk_len: u32::try_from(self.chunk_len).unwrap_or(u32::MAX),
            n_checksums: self.n_checksums,
            table_crc: self.table_crc,
            block_size: u32::try_from(header.block_size).unwrap_or(u32::MAX),
            flags: flags | u32::from(self.layout) << ChunkRef::LAYOUT_SHIFT,
        }
    }
}

/// The reference to a chunk that the index keeps: 32 bytes, as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    /// Where the CHUNK entry starts in the file.
    pub(crate) offset: u64,
    /// Where the Blosc2 chunk starts in the entry.
    pub(crate) chunk_at: u32,
    pub(crate) chunk_len: u32,
    pub(crate) n_checksums: u32,
    pub(crate) table_crc: u32,
    pub(crate) block_size: u32,
    pub(crate) flags: u32,
}

impl ChunkRef {
    /// A reference to no chunk: it is after the end of any file.
    #[cfg(feature = "shards")]
    pub(crate) const NOWHERE: Self = Self {
        offset: u64::MAX,
        chunk_at: 0,
        chunk_len: 0,
        n_checksums: 0,
        table_crc: 0,
        block_size: 0,
        flags: Self::UNCOMPRESSED,
    };
    /// Bytes of a reference in the index.
    pub(crate) const LEN: usize = 32;
    /// The chunk is all zeros: only Blosc2's 32-byte header is stored.
    pub(crate) const ZEROS: u32 = 1;
    /// The raw bytes follow Blosc2's header.
    pub(crate) const UNCOMPRESSED: u32 = 2;
    /// Another program wrote the chunk: it has no checksums, and its blocks may lie in any order.
    /// No depot file has this flag.
    pub(crate) const FOREIGN: u32 = 1 << 31;
    /// The layout of the payload with the fields of records apart: see [`apart`](super::apart).
    pub(crate) const APART: u8 = 1;
    /// Bits 8 to 15 have the layout of the payload.
    const LAYOUT_SHIFT: u32 = 8;

    /// The 32 bytes.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        let halves =
            [self.chunk_at, self.chunk_len, self.n_checksums, self.table_crc, self.block_size, self.flags];
        for (slot, half) in out[8..].chunks_exact_mut(4).zip(halves) {
            slot.copy_from_slice(&half.to_le_bytes());
        }
        out
    }

    /// Reads the 32 bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let half = |n: usize| u32_at(bytes, 8 + 4 * n);
        Some(Self {
            offset: u64_at(bytes, 0)?,
            chunk_at: half(0)?,
            chunk_len: half(1)?,
            n_checksums: half(2)?,
            table_crc: half(3)?,
            block_size: half(4)?,
            flags: half(5)?,
        })
    }

    /// Refuses a payload that only a later version can read. Chunks without checksums are only in the
    /// files of other programs, which are `foreign`.
    pub(crate) fn check_known(&self, foreign: bool) -> Result<(), Newer> {
        let known = Self::ZEROS | Self::UNCOMPRESSED | if foreign { Self::FOREIGN } else { 0 };
        let unknown = self.flags & !known;
        let layout = (unknown >> Self::LAYOUT_SHIFT) & u32::from(u8::MAX);
        match (layout, unknown) {
            (0, 0) => Ok(()),
            (layout, _) if layout == u32::from(Self::APART) && self.is_apart() && !foreign => Ok(()),
            (0, flags) => Err(Newer::new("the chunk flags", &format!("{flags:#x}"))),
            (layout, _) => Err(Newer::new("payload layout", &layout)),
        }
    }

    /// Whether the fields of its records are stored apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.flags == u32::from(Self::APART) << Self::LAYOUT_SHIFT
    }

    /// Whether the flag is set.
    pub(crate) fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Where the Blosc2 chunk starts in the file.
    pub(crate) fn chunk_offset(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.chunk_at))
    }

    /// Where the raw bytes of an uncompressed chunk start in the file.
    pub(crate) fn payload_offset(&self) -> u64 {
        self.chunk_offset().saturating_add(HEADER_LEN as u64)
    }

    /// Where the checksums start in the file.
    pub(crate) fn table_offset(&self) -> u64 {
        self.chunk_offset().saturating_sub(4 * u64::from(self.n_checksums))
    }
}

/// A CHUNK or LOG entry, complete except for its head.
#[derive(Debug)]
pub(crate) struct EncodedEntry {
    /// Starts with 64 bytes of room for the head. Bytes after `written` have no meaning: they are room that
    /// is kept for the next entry.
    pub(crate) bytes: Vec<u8>,
    /// How many of the bytes are to be written.
    pub(crate) written: usize,
    /// Bytes of the entry. Those after the written ones are zeros, which need not be written.
    pub(crate) length: u64,
    /// CRC for the head.
    pub(crate) body_crc: u32,
    pub(crate) prelude: Prelude,
    /// `None` in a LOG entry.
    pub(crate) header: Option<ChunkHeader>,
}

fn stored_directory(directory: &DirectoryBuilder, prelude: &mut Prelude) -> Result<Vec<u8>, BloscError> {
    let raw = directory.encode();
    // As they are, the few bytes of a commit of one record are shorter than any Blosc2 chunk, and take no
    // time.
    let compressed = if raw.len() > PLAIN_DIRECTORY { Some(compress_metadata(&raw, 1)?) } else { None };
    let stored = compressed.filter(|stored| stored.len() < raw.len()).unwrap_or_else(|| raw.clone());
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    prelude.directory_raw = small(raw.len());
    prelude.directory_stored = small(stored.len());
    prelude.directory_crc = crc32c(&stored);
    Ok(stored)
}

/// Where the Blosc2 chunk starts in an entry with a directory that ends at `directory_end`.
///
/// The checksums lie right before the chunk.
fn place_chunk(directory_end: usize, n_checksums: usize) -> usize {
    let least = directory_end + 4 * n_checksums;
    least + (HEAD_LEN + HEADER_LEN - least % HEAD_LEN) % HEAD_LEN
}

/// An entry in the making: what comes before the chunk, and where that goes.
pub(super) struct Room {
    pub(super) prelude: Prelude,
    /// The stored bytes of the directory.
    directory: Vec<u8>,
    pub(super) chunk_at: usize,
}

impl Room {
    /// Room for a chunk with so many checksums, of which `used` raw bytes are records.
    pub(super) fn new(
        directory: &DirectoryBuilder,
        n_checksums: usize,
        used: usize,
    ) -> Result<Self, BloscError> {
        let mut prelude = Prelude { raw_len: used as u64, ..Prelude::default() };
        let directory = stored_directory(directory, &mut prelude)?;
        let chunk_at = place_chunk(DIRECTORY_AT + directory.len(), n_checksums);
        Ok(Self { prelude, directory, chunk_at })
    }

    /// Gives the chunk the place for another number of checksums.
    fn with_checksums(&mut self, n: usize) -> usize {
        self.chunk_at = place_chunk(DIRECTORY_AT + self.directory.len(), n);
        self.chunk_at
    }

    /// The entry with the chunk that lies in `bytes` at its place.
    pub(super) fn finish(
        mut self,
        mut bytes: Vec<u8>,
        checksums: &[u8],
        header: ChunkHeader,
    ) -> EncodedEntry {
        let (chunk_at, chunk_end) = (self.chunk_at, self.chunk_at + header.stored_len);
        let (directory_end, table_at) = (DIRECTORY_AT + self.directory.len(), chunk_at - checksums.len());
        let prelude = &mut self.prelude;
        prelude.chunk_at = u32::try_from(chunk_at).unwrap_or(u32::MAX);
        prelude.chunk_len = header.stored_len as u64;
        prelude.n_checksums = u32::try_from(checksums.len() / 4).unwrap_or(u32::MAX);
        prelude.table_crc = crc32c(checksums);
        bytes[DIRECTORY_AT..directory_end].copy_from_slice(&self.directory);
        bytes[directory_end..table_at].fill(0);
        bytes[table_at..chunk_at].copy_from_slice(checksums);
        let end = chunk_end.next_multiple_of(HEAD_LEN);
        let written = if header.is_memcpyed() {
            // The unused end of an uncompressed chunk is zeros. Left unwritten, it takes no disk space.
            let used = usize::try_from(prelude.raw_len).unwrap_or(usize::MAX);
            (chunk_at + HEADER_LEN).saturating_add(used).min(chunk_end)
        } else {
            bytes.resize(bytes.len().max(end), 0);
            bytes[chunk_end..end].fill(0);
            end
        };
        finish(bytes, written, end as u64, self.prelude, Some(header))
    }
}

/// Compresses a chunk of `chunk_size` raw bytes into an entry.
///
/// `raw` is the start of the chunk, whole blocks, less than one, or all of it; what follows is zeros. Its first `used` bytes
/// are records. `bytes` is room for the entry, to be kept from chunk to chunk: fresh memory would cost more
/// than the work done in it. The chunk is compressed directly to its place in the entry.
pub(crate) fn encode_chunk(
    raw: &[u8],
    used: usize,
    chunk_size: usize,
    directory: &DirectoryBuilder,
    encoder: &mut Encoder,
    mut bytes: Vec<u8>,
) -> Result<EncodedEntry, BloscError> {
    let n_blocks = chunk_size.div_ceil(encoder.block_size());
    // Blocks of zeros at the end have no checksums.
    let mut checked = raw.len().div_ceil(encoder.block_size());
    let mut room = Room::new(directory, 1 + checked, used)?;
    let mut chunk_at = room.chunk_at;
    let padded = if raw.len() < encoder.block_size().min(chunk_size) {
        checked = 1;
        chunk_at = room.with_checksums(1 + checked);
        Some(encoder.compress_sparse(raw, chunk_size, &mut bytes, chunk_at)?)
    } else if raw.len() < chunk_size {
        encoder.compress_padded(raw, chunk_size, &mut bytes, chunk_at)?
    } else {
        Some(encoder.compress_into(raw, &mut bytes, chunk_at)?)
    };
    let header = if let Some(header) = padded {
        header
    } else {
        let mut whole = vec![0; chunk_size];
        whole[..raw.len()].copy_from_slice(raw);
        checked = n_blocks;
        chunk_at = room.with_checksums(1 + checked);
        encoder.compress_into(&whole, &mut bytes, chunk_at)?
    };
    if header.special() != 0 {
        // The chunk is only a header. Without blocks, there is just one checksum before it.
        let placed = chunk_at;
        chunk_at = room.with_checksums(1);
        bytes.copy_within(placed..placed + header.stored_len, chunk_at);
    }
    let chunk_end = chunk_at + header.stored_len;
    let chunk = &bytes[chunk_at..chunk_end];
    let prefix = chunk.get(..header.prefix_len()).unwrap_or_default();
    let mut table = Vec::with_capacity(4 * (1 + checked));
    let mut push = |bytes| table.extend_from_slice(&crc32c(bytes).to_le_bytes());
    push(prefix);
    if header.has_block_table() {
        let offsets = block_offsets(prefix)?;
        offsets.windows(2).take(checked).for_each(|pair| push(&chunk[pair[0] as usize..pair[1] as usize]));
    } else if header.is_memcpyed() {
        chunk[HEADER_LEN..].chunks(header.block_size).for_each(push);
    }
    Ok(room.finish(bytes, &table, header))
}

/// A LOG entry: operations without payload.
pub(crate) fn encode_log(directory: &DirectoryBuilder) -> Result<EncodedEntry, BloscError> {
    let mut prelude = Prelude::default();
    let stored = stored_directory(directory, &mut prelude)?;
    let mut bytes = vec![0; DIRECTORY_AT];
    bytes.extend_from_slice(&stored);
    bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
    let length = bytes.len();
    Ok(finish(bytes, length, length as u64, prelude, None))
}

fn finish(
    mut bytes: Vec<u8>,
    written: usize,
    length: u64,
    prelude: Prelude,
    header: Option<ChunkHeader>,
) -> EncodedEntry {
    bytes[PRELUDE_AT..DIRECTORY_AT].copy_from_slice(&prelude.encode());
    let body_crc = crc32c(&bytes[PRELUDE_AT..DIRECTORY_AT]);
    EncodedEntry { bytes, written, length, body_crc, prelude, header }
}

#[cfg(test)]
mod tests {
    use super::super::tables::{Action, Operation, OwnedAttributes};
    use super::*;
    use crate::blosc::{Compression, CompressionCodec};

    fn directory() -> Directory {
        let put = |n: u8| Operation {
            name: vec![1, n],
            action: Action::Put { length: 16, checksum: u32::from(n) },
            attributes: OwnedAttributes::default(),
        };
        Directory { first_start: 0, operations: (0..9).map(put).collect() }
    }

    fn raw() -> Vec<u8> {
        (0..1 << 16).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn an_entry_can_be_read_back_from_its_bytes_alone() {
        for codec in [CompressionCodec::Zstd, CompressionCodec::None] {
            let compression = Compression { codec, ..Compression::default() };
            let mut encoder = Encoder::new(compression, 1 << 14).unwrap();
            let entry =
                encode_chunk(&raw(), 1 << 16, 1 << 16, &directory().to_builder(), &mut encoder, Vec::new())
                    .unwrap();
            assert_eq!(entry.written as u64, entry.length);
            let prelude = Prelude::parse(&entry.bytes[PRELUDE_AT..], entry.length).unwrap();
            assert_eq!(prelude, entry.prelude);
            assert_eq!((prelude.chunk_at + 32) % 64, 0, "payloads start at multiples of 64");
            let range = prelude.directory_range();
            let stored = &entry.bytes[range.start as usize..range.end as usize];
            assert_eq!(prelude.read_directory(stored), Ok(directory()));
            assert_eq!(prelude.n_checksums, 5);
        }
    }

    #[test]
    fn zeros_behind_an_uncompressed_payload_are_not_written() {
        let compression = Compression { codec: CompressionCodec::None, level: 0, ..Compression::default() };
        let mut encoder = Encoder::new(compression, 1 << 14).unwrap();
        let mut raw = vec![0; 1 << 20];
        raw[..4096].copy_from_slice(&raw_part());
        let entry =
            encode_chunk(&raw, 4096, raw.len(), &directory().to_builder(), &mut encoder, Vec::new()).unwrap();
        assert!(entry.written < 8192 && entry.length > 1 << 20);
    }

    fn raw_part() -> Vec<u8> {
        raw()[..4096].to_vec()
    }

    #[test]
    fn an_entry_does_not_depend_on_what_its_room_held_before() {
        let mut encoder = Encoder::new(Compression::default(), 1 << 14).unwrap();
        for raw in [raw(), vec![0; 1 << 16]] {
            let mut encode = |room| {
                let used = raw.len();
                let entry =
                    encode_chunk(&raw, used, used, &directory().to_builder(), &mut encoder, room).unwrap();
                entry.bytes[DIRECTORY_AT..entry.written].to_vec()
            };
            let fresh = encode(Vec::new());
            assert_eq!(encode(vec![0xa5; 1 << 17]), fresh);
            assert!(fresh.len() < 1 << 16 && (fresh.len() + DIRECTORY_AT).is_multiple_of(HEAD_LEN));
        }
    }

    #[test]
    fn a_log_has_a_directory_and_nothing_else() {
        let entry = encode_log(&directory().to_builder()).unwrap();
        let prelude = Prelude::parse(&entry.bytes[PRELUDE_AT..], entry.length).unwrap();
        assert_eq!((prelude.chunk_len, prelude.n_checksums), (0, 0));
    }

    #[test]
    fn lengths_that_leave_the_entry_are_refused() {
        let good = encode_log(&directory().to_builder()).unwrap();
        let parse = |change: fn(&mut Prelude)| {
            let mut prelude = good.prelude;
            change(&mut prelude);
            Prelude::parse(&prelude.encode(), good.length)
        };
        assert!(parse(|_| ()).is_ok());
        assert!(parse(|p| p.directory_stored = u32::MAX).is_err());
        assert!(parse(|p| p.chunk_len = u64::MAX).is_err());
        assert!(parse(|p| p.n_checksums = 1).is_err());
        assert_eq!(parse(|p| p.layout = 7).unwrap().layout, 7, "who reads the records refuses it");
    }

    #[test]
    fn references_come_back() {
        let entry = encode_log(&directory().to_builder()).unwrap();
        let chunk = Encoder::new(Compression::default(), 64).unwrap().compress(&[0; 128]).unwrap();
        let header = ChunkHeader::parse(&chunk).unwrap();
        let reference = entry.prelude.chunk_ref(640, &header);
        assert!(reference.is(ChunkRef::ZEROS));
        assert_eq!(ChunkRef::decode(&reference.encode()), Some(reference));
        assert_eq!(ChunkRef::decode(&[0; 31]), None);
    }
}

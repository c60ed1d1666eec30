//! The 32-byte header of a Blosc2 chunk.

use super::error::{BloscError, refuse};
use super::limits::{HEADER_LEN, MAX_BLOCK, MAX_CHUNK};

/// The flag of a chunk with blocks that are not split into streams.
pub(super) const DONT_SPLIT: u8 = 0x10;
/// A special chunk that is all zeros.
pub(super) const ZEROS: u8 = 1;
/// A special chunk that is all NaN.
pub(super) const NAN: u8 = 2;
/// A special chunk that repeats the value after its header.
pub(super) const REPEATED: u8 = 3;

/// The header of a Blosc2 chunk.
///
/// The format version is 5; see `README_CHUNK_FORMAT.rst` of c-blosc2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    flags: u8,
    pub(crate) typesize: u8,
    /// Raw bytes of the chunk.
    pub(crate) raw_len: usize,
    /// Raw bytes of a block. The last block may be shorter.
    pub(crate) block_size: usize,
    /// Stored bytes of the chunk, header included.
    pub(crate) stored_len: usize,
    blosc2_flags: u8,
    /// The header as stored.
    pub(super) bytes: [u8; HEADER_LEN],
}

impl ChunkHeader {
    /// Reads and checks the first 32 bytes of a chunk.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BloscError> {
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
            return refuse(format!("a Blosc2 chunk header takes 32 bytes, found {}", bytes.len()));
        };
        let word = |at: usize| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (Ok(raw_len), Ok(block_size), Ok(stored_len)) =
            (usize::try_from(word(4)), usize::try_from(word(8)), usize::try_from(word(12)))
        else {
            return refuse("a Blosc2 chunk header with a negative length");
        };
        let header = Self {
            flags: head[2],
            typesize: head[3],
            raw_len,
            block_size,
            stored_len,
            blosc2_flags: head[31],
            bytes: *head,
        };
        // Both shuffle bits set mark the extended, 32-byte header.
        if head[0] < 3 || head[0] > 6 || header.flags & 0b101 != 0b101 {
            return refuse(format!("not a Blosc2 chunk (version {}, flags {:#04x})", head[0], head[2]));
        }
        let shape_fits = header.typesize > 0
            && header.stored_len >= HEADER_LEN
            && header.block_size > 0
            && raw_len <= MAX_CHUNK;
        if !shape_fits || (raw_len > 0 && block_size > raw_len) || block_size > MAX_BLOCK {
            return refuse("a Blosc2 chunk header with impossible lengths");
        }
        Ok(header)
    }

    /// The header as stored.
    pub(crate) fn bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// Whether the raw bytes are stored as they are, right after the header.
    pub(crate) fn is_memcpyed(&self) -> bool {
        self.flags & 0x02 != 0 && self.special() == 0
    }

    /// The special kind: 0 for an ordinary chunk, 1 zeros, 2 NaN, 3 a repeated value, 4 uninitialised.
    ///
    /// A special chunk has no blocks. Only its header is stored, and with kind 3 the value.
    pub(crate) fn special(&self) -> u8 {
        (self.blosc2_flags >> 4) & 0x07
    }

    /// How many streams each block has. A shorter last block has only one.
    pub(super) fn n_streams(&self) -> usize {
        if self.flags & DONT_SPLIT == 0 { self.typesize.into() } else { 1 }
    }

    /// How many blocks the chunk has.
    pub(crate) fn n_blocks(&self) -> usize {
        self.raw_len.div_ceil(self.block_size)
    }

    /// Whether the chunk has a table of block offsets after its header.
    pub(crate) fn has_block_table(&self) -> bool {
        self.special() == 0 && !self.is_memcpyed()
    }

    /// Bytes of the header and the table of block offsets.
    pub(crate) fn prefix_len(&self) -> usize {
        if self.has_block_table() { HEADER_LEN + 4 * self.n_blocks() } else { HEADER_LEN }
    }
}

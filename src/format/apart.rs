//! A payload with its fields apart: layout 1 of a CHUNK entry.
//!
//! ```text
//!  0               32      36       40                     40 + 8(n + 1)
//!  +---------------+-------+--------+----------------------+---------+---------+-----+-----------+
//!  | Blosc2 header |  36   | length | (n + 1) x            | model   | block 0 | ... | block n-1 |
//!  |               |  u32  |  u32   | raw, stored: 2 x u32 |         |         |     |           |
//!  +---------------+-------+--------+----------------------+---------+---------+-----+-----------+
//! ```
//!
//! Each block has a place in the raw chunk and one in the stored one; the pair after the last block says
//! where both end. Raw bytes before, between and after blocks are zeros. The first checksum covers all before
//! the model, the second one the model, and each further one a block. [`planes`](crate::planes) says what
//! models and blocks are.
//!
//! To Blosc2, it is one block of one stream, in a codec with a number that is left to users: a program
//! that knows Blosc2 alone says that it does not have that codec. The codec's parameter is the logarithm of
//! the alignment of records.

#![allow(clippy::cast_possible_truncation, reason = "a chunk has less than 2^31 bytes")]

use std::ops::Range;
use std::sync::Arc;

use super::chunk::{ChunkRef, EncodedEntry, Room};
use super::tables::DirectoryBuilder;
use crate::blosc::{BloscError, ChunkHeader, HEADER_LEN};
use crate::checksum::crc32c;
use crate::le::u32_at;
use crate::planes::{Coder, Learnt, MAX_IN_BLOCK, MAX_SPANS, Piece, Scratch, Span, cut, encode_block};

/// Where the table starts.
const TABLE_AT: usize = HEADER_LEN + 8;
/// Bytes of a block in the table.
const PAIR_LEN: usize = 8;
/// The number of the codec, of those that Blosc2 leaves to users.
const CODEC: u8 = 221;
/// The checksums that are not those of blocks: of the table, and of the model.
pub(crate) const OTHER_CHECKSUMS: usize = 2;

/// Bytes before the model.
pub(crate) fn prefix_len(n_blocks: usize) -> usize {
    TABLE_AT + PAIR_LEN * (n_blocks + 1)
}

/// How many blocks a chunk with so many checksums has.
pub(crate) fn n_blocks(n_checksums: u32) -> Option<usize> {
    (n_checksums as usize).checked_sub(OTHER_CHECKSUMS)
}

fn header(chunk_size: usize, stored_len: usize, align: usize) -> Result<ChunkHeader, BloscError> {
    let long = |_| BloscError::new("chunk too long");
    let (raw, stored) = (i32::try_from(chunk_size).map_err(long)?, i32::try_from(stored_len).map_err(long)?);
    let mut bytes = [0; HEADER_LEN];
    // The version of the format, that of the codec, the long header of a codec that users define, not split,
    // and single bytes.
    bytes[..4].copy_from_slice(&[5, 1, 6 << 5 | 0x15, 1]);
    bytes[4..8].copy_from_slice(&raw.to_le_bytes());
    bytes[8..12].copy_from_slice(&raw.to_le_bytes());
    bytes[12..16].copy_from_slice(&stored.to_le_bytes());
    bytes[22] = CODEC;
    bytes[23] = align.trailing_zeros().to_le_bytes()[0];
    ChunkHeader::parse(&bytes)
}

/// Where the blocks of a chunk are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'t> {
    pairs: &'t [u8],
}

impl<'t> Table<'t> {
    /// The table in `prefix`, the bytes before the model, which [`check`](Self::check) accepted.
    pub(crate) fn new(prefix: &'t [u8]) -> Self {
        Self { pairs: prefix.get(TABLE_AT..).unwrap_or_default() }
    }

    /// Checks the bytes before the model of a chunk of `chunk_size` raw and `stored_len` stored bytes.
    /// Returns the alignment of records.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn check(prefix: &'t [u8], chunk_size: usize, stored_len: usize) -> Result<usize, String> {
        let head: &[u8; HEADER_LEN] = prefix.first_chunk().ok_or("a header that is cut short")?;
        let align = 1_usize.checked_shl(head[23].into()).filter(|align| *align <= 64);
        let align = align.ok_or_else(|| format!("records aligned to 2^{} bytes", head[23]))?;
        let expected = header(chunk_size, stored_len, align).map_err(|error| error.to_string())?;
        if expected.bytes() != head || u32_at(prefix, HEADER_LEN) != Some(HEADER_LEN as u32 + 4) {
            return Err("another header".into());
        }
        let table = Self::new(prefix);
        let n = table.n_blocks();
        let (mut raw_before, mut stored_before) = (0, prefix.len());
        for block in 0..=n {
            let (raw, stored) = table.pair(block).ok_or("a table that is cut short")?;
            let in_order = raw >= raw_before && stored >= stored_before && raw.is_multiple_of(align);
            // The end of the last block need not be aligned.
            let ends = block == n && raw >= raw_before && stored == stored_len;
            let fits = raw <= chunk_size && stored <= stored_len;
            if !(fits && (in_order && block < n || ends)) {
                return Err(format!("block {block} at raw byte {raw} and stored byte {stored}"));
            }
            (raw_before, stored_before) = (raw, stored);
        }
        Ok(align)
    }

    pub(crate) fn n_blocks(&self) -> usize {
        (self.pairs.len() / PAIR_LEN).saturating_sub(1)
    }

    /// Where a block starts, in raw and in stored bytes. For the number after the last one, where that ends.
    fn pair(&self, block: usize) -> Option<(usize, usize)> {
        let at = PAIR_LEN.checked_mul(block)?;
        Some((u32_at(self.pairs, at)? as usize, u32_at(self.pairs, at + 4)? as usize))
    }

    /// The raw bytes and the stored bytes of a block.
    pub(crate) fn block(&self, block: usize) -> Option<(Range<usize>, Range<usize>)> {
        let ((raw, stored), (raw_end, stored_end)) = (self.pair(block)?, self.pair(block + 1)?);
        // The table of a file that is mapped may have changed since it was checked.
        (raw <= raw_end && stored <= stored_end).then_some((raw..raw_end, stored..stored_end))
    }

    /// Where the model ends and the first block starts.
    pub(crate) fn model_end(&self) -> usize {
        self.pair(0).map_or(0, |(_, stored)| stored)
    }

    /// The blocks with raw bytes in `range`.
    pub(crate) fn blocks(&self, range: &Range<usize>) -> Range<usize> {
        let raw = |block: usize| self.pair(block).map_or(usize::MAX, |(raw, _)| raw);
        let n = self.n_blocks();
        // The last block that starts at or before the byte. Blocks are of about the same length, so it is
        // guessed.
        let last_before = |byte: usize| {
            let (mut low, mut high) = (0, n);
            let mut steps = 0;
            while high - low > 1 {
                let (from, to) = (raw(low), raw(high));
                let part = (byte.saturating_sub(from) as u64 * (high - low) as u64)
                    .checked_div(to.saturating_sub(from) as u64);
                let guess = if steps < 4 { part.unwrap_or(0) as usize } else { (high - low) / 2 };
                let middle = (low + guess).clamp(low + 1, high - 1);
                if raw(middle) <= byte {
                    low = middle;
                } else {
                    high = middle;
                }
                steps += 1;
            }
            low
        };
        if range.is_empty() {
            return 0..0;
        }
        let (first, last) = (last_before(range.start), last_before(range.end - 1));
        let touches = |block: usize| {
            self.pair(block + 1).is_some_and(|(end, _)| end > range.start) && raw(block) < range.end
        };
        first + usize::from(!touches(first))..last + usize::from(touches(last))
    }
}

/// A record in the raw chunk, or the part of one that is in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) start: u32,
    pub(crate) len: u32,
    /// The first of its spans. They end where those of the next record start.
    pub(crate) first_span: u32,
}

/// The records of a chunk, in order, and where their fields lie.
#[derive(Debug, Default)]
pub(crate) struct Records {
    placed: Vec<Placed>,
    spans: Vec<Span>,
    /// Bytes in spans.
    in_spans: usize,
    /// All bytes of records.
    bytes: usize,
}

impl Records {
    /// Adds a record, or a part of one, that starts at raw byte `start`.
    pub(crate) fn push(&mut self, start: usize, len: usize, spans: &[Span]) {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.bytes += len;
        // Bytes without spans that follow each other are one piece.
        let last = self.placed.last_mut().filter(|last| last.first_span as usize == self.spans.len());
        if let Some(last) =
            last.filter(|last| spans.is_empty() && last.start as usize + last.len as usize == start)
        {
            last.len = small(last.len as usize + len);
            return;
        }
        self.placed.push(Placed {
            start: small(start),
            len: small(len),
            first_span: small(self.spans.len()),
        });
        self.spans.extend_from_slice(spans);
        self.in_spans += spans.iter().map(|span| span.len as usize).sum::<usize>();
    }

    /// Adds the part of a record from its byte `from` on. `spans` are those of the whole record.
    pub(crate) fn push_part(&mut self, start: usize, len: usize, spans: &[Span], from: usize) {
        match (u32::try_from(from), u32::try_from(len)) {
            (Ok(from), Ok(part)) => self.push(start, len, &cut(spans, from, part)),
            _ => self.push(start, len, &[]),
        }
    }

    /// Whether so many of the bytes lie in spans that it is worth trying to store fields apart.
    pub(crate) fn may_pay(&self) -> bool {
        self.in_spans > self.bytes / 8
    }

    /// Whether so many of the bytes lie in spans that it is known to pay. Heads that have nothing in common,
    /// such as text, are stored as they are.
    pub(crate) fn pays(&self) -> bool {
        self.in_spans > self.bytes - self.bytes / 4
    }

    fn spans(&self, number: usize) -> &[Span] {
        let first = |number: usize| {
            self.placed.get(number).map_or(self.spans.len(), |placed| placed.first_span as usize)
        };
        self.spans.get(first(number)..first(number + 1)).unwrap_or_default()
    }

    /// All records whole.
    pub(crate) fn pieces<'b>(&'b self, raw: &'b [u8]) -> Vec<Piece<'b>> {
        let piece = |(number, placed): (usize, &Placed)| Piece {
            bytes: &raw[placed.start as usize..][..placed.len as usize],
            spans: self.spans(number),
        };
        self.placed.iter().enumerate().map(piece).collect()
    }
}

/// Raw bytes of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockSizes {
    /// A block takes no more records once it has this many bytes.
    pub(crate) full: usize,
    /// A longer record is stored in parts of this many bytes.
    pub(crate) part: usize,
}

/// Where the part of a record of `len` bytes ends that starts at its byte `from`.
///
/// If it can, it ends with a field, so that whoever reads that field decodes no other.
fn end_of_part(from: usize, len: usize, spans: &[Span], (sizes, align): (BlockSizes, usize)) -> usize {
    let part = sizes.part.max(align);
    let limit = from + part;
    if limit >= len {
        return len;
    }
    let ends = spans.iter().map(|span| (span.start as usize + span.len as usize).next_multiple_of(align));
    ends.filter(|&end| end > from + part / 4 && end <= limit).max().unwrap_or(limit)
}

/// Encodes a chunk, whose records are `raw`, with its fields apart into an entry, like
/// [`encode_chunk`](super::chunk::encode_chunk).
///
/// `None` if that would not make it shorter than its raw bytes, or takes what the layout has no room for.
pub(crate) fn encode(
    raw: &[u8],
    chunk_size: usize,
    directory: &DirectoryBuilder,
    (records, coder): (&Records, Arc<Coder>),
    (sizes, align): (BlockSizes, usize),
    scratch: &mut Scratch,
    bytes: &mut Vec<u8>,
) -> Result<Option<EncodedEntry>, BloscError> {
    let used = raw.len();
    let mut spans_of_pieces = Vec::new();
    let mut pieces: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (number, placed) in records.placed.iter().enumerate() {
        let (start, len) = (placed.start as usize, placed.len as usize);
        let spans = records.spans(number);
        let mut from = 0;
        while from < len {
            let to = end_of_part(from, len, spans, (sizes, align));
            let first = spans_of_pieces.len();
            if to - from == len {
                spans_of_pieces.extend_from_slice(spans);
            } else {
                spans_of_pieces.extend(cut(spans, from as u32, (to - from) as u32));
            }
            spans_of_pieces.truncate(first + MAX_SPANS);
            pieces.push((start + from..start + to, first..spans_of_pieces.len()));
            from = to;
        }
    }
    // The first piece of each block.
    let mut firsts = Vec::new();
    let (mut filled, mut next) = (usize::MAX, 0);
    let (mut n_spans, mut n_pieces) = (0, 0);
    for (number, (range, spans)) in pieces.iter().enumerate() {
        let full = filled >= sizes.full || filled + range.len() > sizes.part;
        let full = full || n_pieces == MAX_IN_BLOCK || n_spans + spans.len() > MAX_IN_BLOCK;
        // In a block, a piece starts at the first multiple of the alignment after the one before.
        if full || range.start != next {
            firsts.push(number);
            (filled, n_spans, n_pieces) = (0, 0, 0);
        }
        filled += range.len();
        (n_spans, n_pieces) = (n_spans + spans.len(), n_pieces + 1);
        next = range.end.next_multiple_of(align);
    }
    let n = firsts.len();
    firsts.push(pieces.len());
    let pieces: Vec<_> = pieces
        .into_iter()
        .map(|(range, spans)| (range.start, Piece { bytes: &raw[range], spans: &spans_of_pieces[spans] }))
        .collect();
    let (starts, pieces): (Vec<usize>, Vec<Piece<'_>>) = pieces.into_iter().unzip();
    let Some(learnt) = Learnt::new(&pieces, coder) else { return Ok(None) };
    let mut room = Room::new(directory, OTHER_CHECKSUMS + n, used)?;
    let chunk_at = room.chunk_at;
    bytes.clear();
    bytes.resize(chunk_at + prefix_len(n), 0);
    bytes.extend_from_slice(&learnt.model.encode());
    let mut pairs = Vec::with_capacity(PAIR_LEN * (n + 1));
    let mut pair = |raw: usize, stored: usize| {
        pairs.extend_from_slice(&(raw as u32).to_le_bytes());
        pairs.extend_from_slice(&(stored as u32).to_le_bytes());
    };
    for block in firsts.windows(2) {
        pair(starts[block[0]], bytes.len() - chunk_at);
        encode_block(&learnt, &pieces, block[0]..block[1], scratch, bytes);
        if bytes.len() - chunk_at >= used {
            return Ok(None);
        }
    }
    let stored_len = bytes.len() - chunk_at;
    pair(used, stored_len);
    let header = header(chunk_size, stored_len, align)?;
    let chunk = &mut bytes[chunk_at..];
    chunk[..HEADER_LEN].copy_from_slice(header.bytes());
    chunk[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&(HEADER_LEN as u32 + 4).to_le_bytes());
    chunk[HEADER_LEN + 4..TABLE_AT].copy_from_slice(&((stored_len - TABLE_AT) as u32).to_le_bytes());
    chunk[TABLE_AT..TABLE_AT + pairs.len()].copy_from_slice(&pairs);
    let mut checksums = Vec::with_capacity(4 * (OTHER_CHECKSUMS + n));
    let mut sum = |part: &[u8]| checksums.extend_from_slice(&crc32c(part).to_le_bytes());
    let table = Table { pairs: &pairs };
    sum(&chunk[..prefix_len(n)]);
    sum(&chunk[prefix_len(n)..table.model_end()]);
    for block in 0..n {
        sum(table.block(block).and_then(|(_, stored)| chunk.get(stored)).unwrap_or_default());
    }
    room.prelude.layout = ChunkRef::APART;
    Ok(Some(room.finish(std::mem::take(bytes), &checksums, header)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::Elements;

    #[test]
    fn parts_end_with_fields_if_they_can() {
        let sizes = BlockSizes { full: 1 << 10, part: 64 << 10 };
        let parts = |len: usize, spans: &[Span]| {
            let mut ends = vec![0];
            while ends[ends.len() - 1] < len {
                ends.push(end_of_part(ends[ends.len() - 1], len, spans, (sizes, 16)));
            }
            ends
        };
        let spans = |n: u32, count: u32| -> Vec<Span> {
            let span = |field: u32| Span {
                field: field as u8,
                elements: Elements::Float4,
                start: 200 + field * (n + 8),
                len: n,
            };
            (0..count).map(span).collect()
        };
        assert_eq!(parts(180_300, &spans(60_000, 3)), [0, 60_208, 120_208, 180_300]);
        assert_eq!(parts(1000, &spans(100, 3)), [0, 1000]);
        // A field that is longer than a part has parts of its own.
        assert_eq!(parts(200_300, &spans(100_000, 2)), [0, 65_536, 100_208, 165_744, 200_300]);
        assert_eq!(parts(150_000, &[]), [0, 65_536, 131_072, 150_000]);
    }

    #[test]
    fn blocks_are_found_by_their_raw_bytes() {
        let starts = [16_u32, 48, 1000, 1016, 50_000, 50_064, 60_000];
        let mut pairs = vec![0; 8];
        pairs.clear();
        for (number, start) in starts.iter().enumerate() {
            pairs.extend_from_slice(&start.to_le_bytes());
            pairs.extend_from_slice(&(100 + number as u32).to_le_bytes());
        }
        let table = Table { pairs: &pairs };
        assert_eq!(table.n_blocks(), 6);
        for from in (0..61_000).step_by(7) {
            for len in [1, 16, 900, 20_000] {
                let range = from..from + len;
                let touches = |block: &usize| {
                    let (start, end) = (starts[*block] as usize, starts[block + 1] as usize);
                    start < range.end && end > range.start
                };
                let expected: Vec<_> = (0..6).filter(touches).collect();
                assert_eq!(table.blocks(&range).collect::<Vec<_>>(), expected, "{range:?}");
            }
        }
        assert!(table.blocks(&(100..100)).is_empty());
        assert!(Table { pairs: &pairs[..8] }.blocks(&(0..100)).is_empty());
    }
}

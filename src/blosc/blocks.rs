//! The block table of a chunk, and chunks made of the blocks of another chunk: of a run of them, or of
//! all and zeros after them.

use super::error::{BloscError, refuse};
use super::header::{ChunkHeader, ZEROS};
use super::limits::HEADER_LEN;
use crate::le::u32_at;

/// Start of each block inside the chunk, and the chunk's end: `n_blocks + 1` increasing offsets.
///
/// `prefix` holds the header and the offset table. The blocks must lie in order. c-blosc2 writes them so when
/// it compresses with one thread, as this crate does.
pub(crate) fn block_offsets(prefix: &[u8]) -> Result<Vec<u32>, BloscError> {
    let header = ChunkHeader::parse(prefix)?;
    if !header.has_block_table() {
        return refuse("the chunk has no block table");
    }
    let Some(table) = prefix.get(HEADER_LEN..header.prefix_len()) else {
        return refuse("the chunk's block table is cut short");
    };
    let mut offsets = Vec::with_capacity(header.n_blocks() + 1);
    let mut least = header.prefix_len();
    for entry in table.chunks_exact(4) {
        let offset = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        if (offset as usize) < least || offset as usize > header.stored_len {
            return refuse(format!(
                "block {} starts at {offset}, out of order or out of the chunk",
                offsets.len()
            ));
        }
        least = offset as usize;
        offsets.push(offset);
    }
    offsets.push(u32::try_from(header.stored_len).map_err(|_| BloscError::new("chunk too long"))?);
    Ok(offsets)
}

/// Where block `block` starts in a chunk. For the number after the last block, the end of the chunk.
///
/// `prefix` holds the header and the offset table. [`block_offsets`] must have accepted them.
pub(crate) fn block_offset(prefix: &[u8], header: &ChunkHeader, block: usize) -> Option<u32> {
    if block == header.n_blocks() {
        return u32::try_from(header.stored_len).ok();
    }
    u32_at(prefix, HEADER_LEN + 4 * block)
}

/// Writes to `out` the start of a chunk made of blocks `first..=last` of the chunk that `prefix` begins.
///
/// The stored bytes of these blocks must follow, unchanged and in one piece. Of `prefix`, only the
/// offsets are used. Each offset that is written is read only once for that, so `out` is consistent in
/// itself even if the bytes of `prefix` change meanwhile.
pub(crate) fn partial_chunk(
    prefix: &[u8],
    header: &ChunkHeader,
    first: usize,
    last: usize,
    out: &mut Vec<u8>,
) -> Result<(), BloscError> {
    let offset = |block| {
        block_offset(prefix, header, block).ok_or_else(|| {
            BloscError::new(format!("blocks {first} to {last} of a chunk of {}", header.n_blocks()))
        })
    };
    let (start, end) = (offset(first)?, offset(last + 1)?);
    let Some(stored) = end.checked_sub(start).filter(|_| end as usize <= header.stored_len) else {
        return refuse(format!("block {first} starts at {start}, block {last} ends at {end}"));
    };
    let head_len = HEADER_LEN + 4 * (last + 1 - first);
    let raw_len = header.raw_len.min((last + 1) * header.block_size) - first * header.block_size;
    let stored_len = head_len + stored as usize;
    let (Ok(raw), Ok(block), Ok(stored), Ok(head)) = (
        i32::try_from(raw_len),
        i32::try_from(header.block_size.min(raw_len)),
        i32::try_from(stored_len),
        u32::try_from(head_len),
    ) else {
        return refuse("a part of a chunk longer than 2 GiB");
    };
    let at = out.len();
    out.extend_from_slice(&header.bytes);
    out[at + 4..at + 8].copy_from_slice(&raw.to_le_bytes());
    out[at + 8..at + 12].copy_from_slice(&block.to_le_bytes());
    out[at + 12..at + 16].copy_from_slice(&stored.to_le_bytes());
    for block in first..=last {
        let moved = offset(block)?.wrapping_sub(start).wrapping_add(head);
        out.extend_from_slice(&moved.to_le_bytes());
    }
    Ok(())
}

/// Appends `padding` blocks of zeros to a chunk that c-blosc2 wrote, and moves its start to byte `at` of
/// `out`.
///
/// The chunk with the header `short` must start at byte `at + 4 * padding`, and have only full blocks. Its
/// blocks stay where they are. Each appended block has bytes of its own, a length of 0 for each stream,
/// because c-blosc2 takes the lengths of stored blocks from the distances between their offsets.
pub(super) fn append_zero_blocks(
    out: &mut Vec<u8>,
    at: usize,
    short: &ChunkHeader,
    padding: usize,
) -> Result<ChunkHeader, BloscError> {
    let shift = 4 * padding;
    let (raw_len, start) = (short.raw_len + padding * short.block_size, at + shift);
    let stored_len = match short.special() {
        0 => shift + short.stored_len + padding * 4 * short.n_streams(),
        ZEROS => HEADER_LEN,
        other => return refuse(format!("zeros after a special chunk of kind {other}")),
    };
    let (Ok(raw), Ok(stored)) = (i32::try_from(raw_len), i32::try_from(stored_len)) else {
        return refuse("a chunk longer than 2 GiB");
    };
    let mut head = short.bytes;
    head[4..8].copy_from_slice(&raw.to_le_bytes());
    head[12..16].copy_from_slice(&stored.to_le_bytes());
    if short.special() == 0 {
        let end = start + short.stored_len;
        if out.len() < at + stored_len {
            out.resize(at + stored_len, 0);
        }
        let block_len = 4 * short.n_streams();
        out[end..at + stored_len].fill(0);
        for block in 0..short.n_blocks() {
            let offset = u32_at(out, start + HEADER_LEN + 4 * block).unwrap_or(0);
            let moved = offset.wrapping_add(u32::try_from(shift).unwrap_or(u32::MAX));
            out[at + HEADER_LEN + 4 * block..][..4].copy_from_slice(&moved.to_le_bytes());
        }
        let appended = (shift + short.stored_len..).step_by(block_len).take(padding);
        for (block, offset) in (short.n_blocks()..).zip(appended) {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            out[at + HEADER_LEN + 4 * block..][..4].copy_from_slice(&offset.to_le_bytes());
        }
    }
    out[at..at + HEADER_LEN].copy_from_slice(&head);
    ChunkHeader::parse(&head)
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::noisy_ramp;
    use super::super::context::{Encoder, decompress};
    use super::super::params::{Compression, CompressionCodec, Filter};
    use super::*;

    #[test]
    fn any_run_of_blocks_is_a_chunk_of_its_own() {
        let raw = noisy_ramp(10 << 14);
        for filter in [Filter::Shuffle, Filter::Bitshuffle] {
            for codec in [CompressionCodec::Zstd, CompressionCodec::Lz4] {
                let compression = Compression { codec, level: 1, filter, typesize: Some(4) };
                let chunk = Encoder::new(compression, 1 << 14).unwrap().compress(&raw).unwrap();
                let header = ChunkHeader::parse(&chunk).unwrap();
                let prefix = &chunk[..header.prefix_len()];
                let offsets = block_offsets(prefix).unwrap();
                assert_eq!(offsets.len(), 11);
                for first in 0..10 {
                    for last in first..10 {
                        let mut part = Vec::new();
                        partial_chunk(prefix, &header, first, last, &mut part).unwrap();
                        part.extend_from_slice(&chunk[offsets[first] as usize..offsets[last + 1] as usize]);
                        let mut back = vec![0; (last + 1 - first) << 14];
                        decompress(&part, &mut back).unwrap();
                        assert!(back == raw[first << 14..(last + 1) << 14]);
                    }
                }
            }
        }
    }
}

//! Decompresses chunks of zlib. Here, c-blosc2 is built without it.
//!
//! The streams of a block are decompressed in Rust. They become a chunk of only that block, with streams that
//! are stored as they are. c-blosc2 then undoes the filters. This takes memory for only one block.

use super::error::{BloscError, refuse};
use super::feature::{is_zlib, with_lz4};
use super::header::DONT_SPLIT;
use super::limits::HEADER_LEN;
use super::vet::{FLAGS_AT, Streams, Vetted};

/// Whether the chunk is compressed by zlib.
pub(super) fn has_zlib(vetted: &Vetted<'_>) -> bool {
    vetted.header.has_block_table() && is_zlib(vetted.chunk)
}

/// Makes `out` a chunk of only block `number`, without compression. `vetted` must be a chunk of zlib.
pub(super) fn inflate_block(vetted: &Vetted<'_>, number: usize, out: &mut Vec<u8>) -> Result<(), BloscError> {
    const PREFIX_LEN: usize = HEADER_LEN + 4;
    let (Some(header), Some((block, raw_len, n_streams))) =
        (vetted.chunk.first_chunk::<HEADER_LEN>(), vetted.block(number))
    else {
        return refuse(format!("block {number} of a chunk, out of bounds"));
    };
    out.clear();
    out.extend_from_slice(header);
    out.extend_from_slice(&length(PREFIX_LEN)?);
    let stream_len = raw_len / n_streams;
    for (len, bytes) in Streams::new(block, n_streams, stream_len) {
        if len <= 0 || bytes.len() == stream_len {
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(bytes);
            continue;
        }
        out.extend_from_slice(&length(stream_len)?);
        let at = out.len();
        out.resize(at + stream_len, 0);
        let stream = std::iter::once(bytes);
        let inflated =
            miniz_oxide::inflate::decompress_slice_iter_to_slice(&mut out[at..], stream, true, false);
        if inflated != Ok(stream_len) {
            return refuse(format!("block {number} of a chunk: zlib cannot decompress it ({inflated:?})"));
        }
    }
    out[FLAGS_AT] = with_lz4(out[FLAGS_AT]);
    if n_streams == 1 {
        // A shorter last block is not split. Alone in a chunk, it would look like a full one.
        out[FLAGS_AT] |= DONT_SPLIT;
    }
    let (raw, stored) = (length(raw_len)?, length(out.len())?);
    for (at, word) in [(4, raw), (8, raw), (12, stored)] {
        out[at..at + 4].copy_from_slice(&word);
    }
    Ok(())
}

fn length(len: usize) -> Result<[u8; 4], BloscError> {
    i32::try_from(len).map(i32::to_le_bytes).or_else(|_| refuse("a block longer than 2 GiB"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::big_endian_bytes, reason = "Blosc2 frames are")]

    use super::super::{ChunkHeader, decompress, decompress_metadata};

    /// The first chunk of a file that python-blosc2 wrote: `content` of `tests/data/vlstore/make.py`.
    fn chunk() -> &'static [u8] {
        let file = include_bytes!("../../tests/data/vlstore/zlib.b2frame");
        let at = usize::from(u16::from_be_bytes([file[13], file[14]]));
        &file[at..]
    }

    #[test]
    fn a_chunk_of_metadata_may_be_of_zlib() {
        let raw = decompress_metadata(chunk(), 2048).unwrap();
        let record = |number: usize, len: usize| (0..len).map(move |i| ((i * 7 + number * 31) % 251) as u8);
        assert!(record(0, 5).chain(record(1, 700)).eq(raw[..705].iter().copied()));
        assert!(decompress_metadata(chunk(), 2047).is_err());
    }

    #[test]
    fn a_damaged_stream_is_refused() {
        let header = ChunkHeader::parse(chunk()).unwrap();
        let good = &chunk()[..header.stored_len];
        let mut out = vec![0; header.raw_len];
        decompress(good, &mut out).unwrap();
        let mut refused = 0;
        for at in header.prefix_len()..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.to_vec();
                bad[at] ^= flip;
                // zlib has a checksum, so damage is noticed, except in the lowest bits of lengths of runs.
                refused += usize::from(decompress(&bad, &mut out).is_err());
            }
        }
        let changed = 3 * (good.len() - header.prefix_len());
        assert!(refused * 100 >= changed * 95, "{refused} of {changed}");
    }
}

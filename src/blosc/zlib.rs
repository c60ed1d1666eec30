//! Chunks that zlib compressed, which c-blosc2 is built without here.
//!
//! Their streams are decompressed in Rust, and put into a chunk of the same shape with streams that are stored as they are: to undo the
//! filters is left to c-blosc2.

use super::feature::{is_zlib, with_lz4};
use super::vet::{FLAGS_AT, Streams, Vetted};
use super::{BloscError, HEADER_LEN, refuse};

/// The chunk without compression, when it is of zlib.
pub(super) fn without_zlib(vetted: &Vetted<'_>) -> Option<Result<Vec<u8>, BloscError>> {
    let used = vetted.header.has_block_table() && is_zlib(vetted.chunk);
    used.then(|| inflate_all(vetted))
}

fn inflate_all(vetted: &Vetted<'_>) -> Result<Vec<u8>, BloscError> {
    let Vetted { chunk, header } = *vetted;
    let mut out = Vec::with_capacity(header.prefix_len() + header.raw_len);
    out.extend_from_slice(&chunk[..HEADER_LEN]);
    out[FLAGS_AT] = with_lz4(out[FLAGS_AT]);
    out.resize(header.prefix_len(), 0);
    for number in 0..header.n_blocks() {
        let Some((block, raw_len, n_streams)) = vetted.block(number) else {
            return refuse(format!("block {number} of a chunk, out of bounds"));
        };
        let start = length(out.len())?.to_le_bytes();
        out[HEADER_LEN + 4 * number..][..4].copy_from_slice(&start);
        let stream_len = raw_len / n_streams;
        for (len, bytes) in Streams::new(block, n_streams, stream_len) {
            if len <= 0 || bytes.len() == stream_len {
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(bytes);
                continue;
            }
            out.extend_from_slice(&length(stream_len)?.to_le_bytes());
            let at = out.len();
            out.resize(at + stream_len, 0);
            let inflated = miniz_oxide::inflate::decompress_slice_iter_to_slice(
                &mut out[at..],
                std::iter::once(bytes),
                true,
                false,
            );
            if inflated != Ok(stream_len) {
                return refuse(format!(
                    "block {number} of a chunk: zlib cannot decompress it ({inflated:?})"
                ));
            }
        }
    }
    let stored = length(out.len())?.to_le_bytes();
    out[12..16].copy_from_slice(&stored);
    Ok(out)
}

fn length(len: usize) -> Result<i32, BloscError> {
    i32::try_from(len).or_else(|_| refuse("a chunk longer than 2 GiB"))
}

#[cfg(test)]
mod tests {
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
                // zlib has a checksum: damage is noticed, but for the lowest bits of lengths of runs.
                refused += usize::from(decompress(&bad, &mut out).is_err());
            }
        }
        let changed = 3 * (good.len() - header.prefix_len());
        assert!(refused * 100 >= changed * 95, "{refused} of {changed}");
    }
}

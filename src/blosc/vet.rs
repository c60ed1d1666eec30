//! Chunks, looked through before c-blosc2 sees them.
//!
//! c-blosc2 2.x runs out of bounds on some damaged chunks. Those of other programs have no checksum, and a checksum can be forged. What passes here uses only codecs and filters of c-blosc2
//! itself, no plugin and no dictionary, and has all lengths in bounds. What is left to C is to decode single streams,
//! whose lengths it is told, and to undo shuffles.
//!
//! ```text
//! chunk    0..16 see `ChunkHeader`   16..22 filters   22 codec, 23 its parameter   24..30 filters' parameters   31 flags
//!          then one u32 LE a block: where it starts; blocks may lie in any order
//! block    one stream, or, when the chunk splits blocks and this is no shorter last one, one for each byte of the type
//! stream   i32 LE c   c > 0: c bytes, stored as they are when as many as they stand for
//!                     c = 0: zeros      c < 0: one byte, 1, for a run of the byte -c
//! ```

use super::{BloscError, ChunkHeader, HEADER_LEN, refuse};

const FLAGS_AT: usize = 2;
const FILTERS_AT: usize = 16;
const FILTER_PARAMETERS_AT: usize = 24;
const N_FILTERS: usize = 6;
const BLOSC2_FLAGS_AT: usize = 31;
const KNOWN_BLOSC2_FLAGS: u8 = 0x70;
const DONT_SPLIT: u8 = 0x10;
const CODEC_SHIFT: u8 = 5;
/// BloscLZ, LZ4 (and LZ4HC) and zstd, as chunk headers number them.
const KNOWN_CODECS: [u8; 3] = [0, 1, 4];
/// None, shuffle, bit shuffle, and the truncation of precision, which is not undone.
const KNOWN_FILTERS: [u8; 4] = [0, 1, 2, 4];
const TRUNCATE_PRECISION: u8 = 4;

/// A chunk that was looked through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vetted<'a> {
    /// All of the chunk, and nothing behind it.
    pub(super) chunk: &'a [u8],
    pub(super) header: ChunkHeader,
}

/// Reads the header of `chunk`, and checks that all of the chunk is there and in bounds.
pub(crate) fn vet(chunk: &[u8]) -> Result<Vetted<'_>, BloscError> {
    let header = ChunkHeader::parse(chunk)?;
    let Some(chunk) = chunk.get(..header.stored_len) else {
        return refuse(format!("a chunk of {} bytes, cut off after {}", header.stored_len, chunk.len()));
    };
    let vetted = Vetted { chunk, header };
    match header.special() {
        0 => {}
        1 => return Ok(vetted),
        kind => return refuse(format!("a chunk of special kind {kind}")),
    }
    if header.is_memcpyed() {
        if chunk.len() != HEADER_LEN + header.raw_len {
            return refuse(format!("{} bytes stored as {}", header.raw_len, chunk.len() - HEADER_LEN));
        }
        return Ok(vetted);
    }
    let codec = chunk[FLAGS_AT] >> CODEC_SHIFT;
    if !KNOWN_CODECS.contains(&codec) {
        return refuse(format!("a chunk of codec {codec}, which this program lacks"));
    }
    if chunk[BLOSC2_FLAGS_AT] & !KNOWN_BLOSC2_FLAGS != 0 {
        return refuse(format!("a chunk with flags {:#04x}", chunk[BLOSC2_FLAGS_AT]));
    }
    for i in 0..N_FILTERS {
        let (filter, parameter) = (chunk[FILTERS_AT + i], chunk[FILTER_PARAMETERS_AT + i]);
        if !KNOWN_FILTERS.contains(&filter) || (parameter != 0 && filter != TRUNCATE_PRECISION) {
            return refuse(format!("a chunk with filter {filter}, parameter {parameter}"));
        }
    }
    let Some(table) = chunk.get(HEADER_LEN..header.prefix_len()) else {
        return refuse("a chunk without its table of blocks");
    };
    for (i, entry) in table.chunks_exact(4).enumerate() {
        let start = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) as usize;
        let raw_len = header.block_size.min(header.raw_len - i * header.block_size);
        let splits = chunk[FLAGS_AT] & DONT_SPLIT == 0 && raw_len == header.block_size;
        let n_streams = if splits { usize::from(header.typesize) } else { 1 };
        let block = chunk.get(start..).filter(|_| start >= header.prefix_len());
        if block.and_then(|block| vet_block(block, raw_len, n_streams)).is_none() {
            return refuse(format!("block {i} of a chunk, at {start}, out of bounds"));
        }
    }
    Ok(vetted)
}

fn vet_block(mut block: &[u8], raw_len: usize, n_streams: usize) -> Option<()> {
    if !raw_len.is_multiple_of(n_streams) {
        return None;
    }
    let stream_len = raw_len / n_streams;
    for _ in 0..n_streams {
        let (len, rest) = block.split_first_chunk::<4>()?;
        let len = i32::from_le_bytes(*len);
        block = match usize::try_from(len) {
            Ok(len) if len <= stream_len => rest.get(len..)?,
            Err(_) if len >= -255 && rest.first()? & 1 == 1 => &rest[1..],
            _ => return None,
        };
    }
    (stream_len > 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blosc::{Encoder, decompress};
    use crate::options::{Compression, CompressionCodec, Filter};

    fn raw() -> Vec<u8> {
        (0..1500u16).flat_map(|i| (f32::from(i) * 0.37).sin().to_le_bytes()).collect()
    }

    /// A chunk of each kind that this crate writes: six blocks, the last shorter.
    fn chunks() -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        for codec in [
            CompressionCodec::None,
            CompressionCodec::Lz4,
            CompressionCodec::Lz4hc,
            CompressionCodec::Zstd,
            CompressionCodec::Blosclz,
        ] {
            for filter in [Filter::None, Filter::Shuffle, Filter::Bitshuffle] {
                let compression = Compression { codec, level: 5, filter, typesize: Some(4) };
                chunks.push(Encoder::new(compression, 1024).unwrap().compress(&raw()).unwrap());
            }
        }
        chunks
    }

    /// A chunk as other programs write them: its full block split into a stream for each byte of the type (one
    /// stored, one a run, one of zeros, one stored), its blocks in reverse order.
    fn split_chunk() -> (Vec<u8>, Vec<u8>) {
        let mut chunk = vec![5, 1, 0x25, 4];
        let second = 40;
        let first = second + 4 + 8;
        let end: i32 = first + (4 + 16) + (4 + 1) + 4 + (4 + 16);
        for word in [64 + 8, 64, end] {
            chunk.extend_from_slice(&word.to_le_bytes());
        }
        chunk.extend_from_slice(&[0; 16]);
        chunk.extend_from_slice(&first.to_le_bytes());
        chunk.extend_from_slice(&second.to_le_bytes());
        let mut stream = |len: i32, bytes: &[u8]| {
            chunk.extend_from_slice(&len.to_le_bytes());
            chunk.extend_from_slice(bytes);
        };
        stream(8, b"the last");
        stream(16, b"sixteen bytes 1 ");
        stream(-7, &[1]);
        stream(0, &[]);
        stream(16, b"sixteen bytes 4 ");
        (chunk, [&b"sixteen bytes 1 "[..], &[7; 16], &[0; 16], b"sixteen bytes 4 the last"].concat())
    }

    #[test]
    fn sound_chunks_pass() {
        for chunk in chunks() {
            let mut back = vec![0; raw().len()];
            decompress(&chunk, &mut back).unwrap();
            assert_eq!(back, raw());
        }
        let (chunk, expected) = split_chunk();
        let mut back = vec![1; expected.len()];
        decompress(&chunk, &mut back).unwrap();
        assert_eq!(back, expected);
    }

    #[test]
    fn what_leads_c_astray_is_refused() {
        let (good, _) = split_chunk();
        let refused = |at: usize, byte: u8| {
            let mut chunk = good.clone();
            chunk[at] = byte;
            vet(&chunk).expect_err("refused").to_string()
        };
        assert!(refused(FLAGS_AT, 0x65).contains("codec 3"));
        assert!(refused(FLAGS_AT, 0xc5).contains("codec 6"), "a plugin");
        assert!(refused(FILTERS_AT, 3).contains("filter 3"), "delta");
        assert!(refused(FILTERS_AT + 5, 32).contains("filter 32"), "a plugin");
        assert!(refused(FILTER_PARAMETERS_AT, 1).contains("parameter 1"));
        assert!(refused(BLOSC2_FLAGS_AT, 0x01).contains("flags 0x01"), "a dictionary");
        assert!(refused(BLOSC2_FLAGS_AT, 0x08).contains("flags 0x08"), "a lazy chunk");
        assert!(refused(BLOSC2_FLAGS_AT, 0x40).contains("special kind 4"), "uninitialised");
        assert!(refused(32, 8).contains("block 0"), "in the header");
        assert!(refused(37, 1).contains("block 1"), "past the end");
        assert!(refused(40, 9).contains("block 1"), "longer than the block");
        assert!(refused(40 + 12, 17).contains("block 0"), "longer than the stream");
        assert!(refused(40 + 12 + 20 + 1, 0).contains("block 0"), "a run of two bytes");
        assert!(vet(&good[..good.len() - 1]).expect_err("cut").to_string().contains("cut off"));
    }

    #[test]
    fn damage_is_refused_or_unnoticed_but_never_fatal() {
        let mut state: u64 = 1;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap_or(0)
        };
        let rounds = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 100_000 } else { 500 };
        let mut chunks = chunks();
        chunks.push(split_chunk().0);
        let mut passed = 0;
        for good in chunks {
            let mut out = vec![0; ChunkHeader::parse(&good).unwrap().raw_len];
            for _ in 0..rounds {
                let mut chunk = good.clone();
                for _ in 0..=noise() % 3 {
                    let at = noise() % if noise() % 2 == 0 { chunk.len() } else { 80 };
                    chunk[at] =
                        [0, 0xff, chunk[at] ^ 1 << (noise() % 8), noise().to_le_bytes()[0]][noise() % 4];
                }
                passed += usize::from(decompress(&chunk, &mut out).is_ok());
            }
        }
        assert!(passed > 0, "no damage got as far as C");
    }
}

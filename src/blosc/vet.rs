//! Looks through chunks before c-blosc2 sees them.
//!
//! c-blosc2 2.x runs out of bounds on some damaged chunks. Chunks of other programs have no checksum, and
//! a checksum can be forged. A chunk that passes here uses only codecs and filters of c-blosc2 itself, no
//! plugin and no dictionary, and has all lengths in bounds. What is left to C is to decode single streams
//! of given lengths, and to undo shuffles.
//!
//! ```text
//! chunk    0..16 see `ChunkHeader`   16..22 filters   22 codec, 23 its parameter   24..30 filters' parameters   31 flags
//!          then one u32 LE per block: where it starts; blocks may lie in any order
//! block    one stream; or, if the chunk splits blocks and this is not a shorter last one,
//!          one stream for each byte of the type
//! stream   i32 LE c   c > 0: c bytes, stored as they are when as many as they stand for
//!                     c = 0: zeros      c < 0: one byte, 1, for a run of the byte -c
//! ```

use super::error::{BloscError, refuse};
use super::feature::Feature;
use super::header::{ChunkHeader, REPEATED};
use super::limits::HEADER_LEN;
use crate::le::u32_at;

pub(super) const FLAGS_AT: usize = 2;

/// A chunk that [`vet`] has accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vetted<'a> {
    /// The whole chunk, and nothing after it.
    pub(super) chunk: &'a [u8],
    pub(super) header: ChunkHeader,
}

/// Reads the header of `chunk`, and checks that the whole chunk is there and in bounds.
pub(crate) fn vet(chunk: &[u8]) -> Result<Vetted<'_>, BloscError> {
    let header = ChunkHeader::parse(chunk)?;
    let Some(chunk) = chunk.get(..header.stored_len) else {
        return refuse(format!("a chunk of {} bytes, cut off after {}", header.stored_len, chunk.len()));
    };
    if let Some(feature) = Feature::unread_of(chunk) {
        return Err(feature.into());
    }
    let vetted = Vetted { chunk, header };
    let stored = match header.special() {
        0 if header.is_memcpyed() => header.raw_len,
        0 => return vetted.check_blocks().map(|()| vetted),
        REPEATED => header.typesize.into(),
        _ => 0,
    };
    if chunk.len() != HEADER_LEN + stored {
        return refuse(format!("{stored} bytes stored as {}", chunk.len() - HEADER_LEN));
    }
    Ok(vetted)
}

impl<'a> Vetted<'a> {
    fn check_blocks(&self) -> Result<(), BloscError> {
        if self.chunk.len() < self.header.prefix_len() {
            return refuse("a chunk without its table of blocks");
        }
        for number in 0..self.header.n_blocks() {
            let sound = self.block(number).is_some_and(|(block, raw_len, n_streams)| {
                let stream_len = raw_len / n_streams;
                raw_len.is_multiple_of(n_streams)
                    && stream_len > 0
                    && Streams::new(block, n_streams, stream_len).count() == n_streams
            });
            if !sound {
                return refuse(format!("block {number} of a chunk, out of bounds"));
            }
        }
        Ok(())
    }

    /// The chunk from the start of a block on, the number of the block's raw bytes, and how many streams they
    /// are split into.
    pub(super) fn block(&self, number: usize) -> Option<(&'a [u8], usize, usize)> {
        let Self { chunk, header } = *self;
        let start = u32_at(chunk, HEADER_LEN + 4 * number)? as usize;
        let block = chunk.get(start..).filter(|_| start >= header.prefix_len())?;
        let raw_len = header.block_size.min(header.raw_len.checked_sub(number * header.block_size)?);
        Some((block, raw_len, if raw_len == header.block_size { header.n_streams() } else { 1 }))
    }
}

/// The streams of a block: the stored length of each, and the bytes that follow it.
///
/// Ends early at a stream that is out of bounds.
pub(super) struct Streams<'a> {
    rest: &'a [u8],
    left: usize,
    /// Raw bytes of a stream.
    raw_len: usize,
}

impl<'a> Streams<'a> {
    pub(super) fn new(block: &'a [u8], n_streams: usize, raw_len: usize) -> Self {
        Self { rest: block, left: n_streams, raw_len }
    }
}

impl<'a> Iterator for Streams<'a> {
    type Item = (i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let len = i32::from_le_bytes(*len);
        let (bytes, rest) = match usize::try_from(len) {
            Ok(len) if len <= self.raw_len => rest.split_at_checked(len)?,
            Err(_) if len >= -255 && rest.first()? & 1 == 1 => rest.split_at(1),
            _ => return None,
        };
        self.rest = rest;
        Some((len, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::{Encoder, decompress};
    use super::super::params::{Compression, CompressionCodec, Filter};
    use super::*;

    fn raw() -> Vec<u8> {
        (0..1500u16).flat_map(|i| (f32::from(i) * 0.37).sin().to_le_bytes()).collect()
    }

    /// A chunk of each kind that this crate writes. Each has six blocks, of which the last is shorter.
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

    /// A chunk as other programs write them, and its raw bytes.
    ///
    /// Its full block is split into a stream for each byte of the type: one stored, one a run, one of
    /// zeros, one stored. Its blocks lie in reverse order.
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
    fn runs_are_as_long_as_they_say() {
        let mut chunk = [&split_chunk().0[..HEADER_LEN], &[]].concat();
        let mut run = |kind: u8, value: &[u8], typesize: u8, raw_len: usize| {
            chunk.truncate(HEADER_LEN);
            chunk.extend_from_slice(value);
            chunk[31] = kind << 4;
            chunk[3] = typesize;
            chunk[4..8].copy_from_slice(&u32::try_from(raw_len).unwrap().to_le_bytes());
            let stored_len = u32::try_from(chunk.len()).unwrap().to_le_bytes();
            chunk[12..16].copy_from_slice(&stored_len);
            let mut out = vec![1; raw_len];
            decompress(&chunk, &mut out).map(|()| out)
        };
        assert_eq!(run(1, &[], 4, 72), Ok(vec![0; 72]));
        assert_eq!(run(2, &[], 4, 72), Ok(f32::NAN.to_le_bytes().repeat(18)));
        assert_eq!(run(2, &[], 8, 72), Ok(f64::NAN.to_le_bytes().repeat(9)));
        assert_eq!(run(3, b"abc", 3, 72), Ok(b"abc".repeat(24)));
        assert!(run(2, &[], 2, 72).unwrap_err().to_string().contains("NaN of 2 bytes"));
        assert!(run(3, b"abcde", 5, 72).unwrap_err().to_string().contains("72 bytes of values of 5"));
    }

    #[test]
    fn what_leads_c_astray_is_refused() {
        let (good, _) = split_chunk();
        let refused = |at: usize, byte: u8| {
            let mut chunk = good.clone();
            chunk[at] = byte;
            vet(&chunk).expect_err("refused").to_string()
        };
        assert!(refused(FLAGS_AT, 0xc5).contains("codec BLOSCLZ"), "as a plugin");
        assert!(refused(16, 3).contains("filter DELTA"));
        assert!(refused(21, 32).contains("filter NDCELL"));
        assert!(refused(24, 1).contains("parameter 1"));
        assert!(refused(31, 0x01).contains("a dictionary"));
        assert!(refused(31, 0x08).contains("a lazy chunk"));
        assert!(refused(31, 0x40).contains("never set"));
        assert!(refused(31, 0x20).contains("0 bytes stored as"));
        assert!(refused(31, 0x30).contains("4 bytes stored as"));
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

//! The Blosc2 side of the file: what makes it a standard contiguous frame (`README_CFRAME_FORMAT.rst` of c-blosc2).
//!
//! ```text
//!  0         87                        4096            4096 + chunks_len            frame_len
//!  +---------+-------------------------+---------------+-----------------+----------+
//!  | fixed   | metalayers: [magic,]    | chunks, and   | offsets chunk   | trailer  |
//!  | fields  | vldepot (to the end)    | holes         |                 |          |
//!  +---------+-------------------------+---------------+-----------------+----------+
//! ```
//!
//! Numbers in the header and the trailer are big-endian, as MessagePack wants them. To Blosc2 everything that its offsets
//! do not name is a hole, which it never reads: that is where this crate keeps its entries.

#![expect(clippy::big_endian_bytes, reason = "Blosc2 frames are MessagePack, which is big-endian")]

use std::ops::Range;

use crate::blosc::{BloscError, Encoder, compcode, compress_metadata};
use crate::options::{Compression, CompressionCodec, Filter};

/// Bytes of a depot's frame header: one page.
pub(crate) const HEADER_LEN: usize = 4096;

/// The offset that stands for a chunk of zeros: nothing is stored for it.
pub(crate) const ZERO_CHUNK_OFFSET: i64 = i64::MIN | (1 << 56);

/// The metalayer by which vlstore knows its files.
pub(crate) const VLSTORE_LAYER: &str = "magic";
/// Its content: MessagePack bin8 of 16 bytes.
pub(crate) const VLSTORE_MAGIC: [u8; 18] = [
    0xc4, 0x10, 0xa4, 0x9a, 0x33, 0x67, 0xcf, 0x7d, 0x44, 0xd1, 0xb0, 0x97, 0xe0, 0x51, 0x05, 0x83, 0x36,
    0xeb,
];
/// The metalayer by which we know ours.
pub(crate) const DEPOT_LAYER: &str = "vldepot";

const MAGIC: &[u8] = b"\x9e\xa8b2frame\0";
const HEADER_LEN_AT: usize = 11;
const FRAME_LEN_AT: usize = 16;
const FLAGS_AT: usize = 25;
const CODEC_AT: usize = 27;
const RAW_LEN_AT: usize = 30;
const CHUNKS_LEN_AT: usize = 39;
const TYPESIZE_AT: usize = 48;
const CHUNK_SIZE_AT: usize = 58;
const FILTERS_AT: usize = 71;
/// Where metalayers start.
const LAYERS_AT: usize = 87;

/// The bytes that a checkpoint rewrites.
pub(crate) const UPDATE_LEN: usize = CHUNKS_LEN_AT + 8 - FRAME_LEN_AT;

/// Version 2 frames with 64-bit offsets.
const FRAME_FLAGS: u8 = 0x12;
/// Bytes behind a trailer's layers: length and fingerprint.
const TRAILER_END: usize = 23;
/// The type of our fingerprint; Blosc2 writes 0 and never looks.
const FINGERPRINT_TYPE: u8 = 3;

/// A frame header, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) header_len: usize,
    pub(crate) frame_len: u64,
    pub(crate) raw_len: u64,
    /// From the end of the header to the offsets chunk.
    pub(crate) chunks_len: u64,
    pub(crate) chunk_size: u32,
    pub(crate) typesize: u32,
    pub(crate) compression: Compression,
    /// Names, and where in the header their contents lie.
    pub(crate) metalayers: Vec<(String, Range<usize>)>,
}

/// The header of an empty frame, [`HEADER_LEN`] bytes, and where in it the content of the `vldepot` layer starts.
pub(crate) fn write_header(compression: Compression, chunk_size: usize, vlstore: bool) -> (Vec<u8>, usize) {
    let mut out = MAGIC.to_vec();
    let wide = |n: usize| i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes();
    out.push(0xd2);
    out.extend_from_slice(&wide(HEADER_LEN));
    out.push(0xcf);
    out.extend_from_slice(&((HEADER_LEN + trailer(&[], [0; 16]).len()) as u64).to_be_bytes());
    let codec = compcode(compression.codec);
    out.extend_from_slice(&[0xa4, FRAME_FLAGS, 0, (compression.level << 4) | codec]);
    out.push(1); // split mode "never", less one
    out.push(0xd3);
    out.extend_from_slice(&[0; 8]);
    out.push(0xd3);
    out.extend_from_slice(&[0; 8]);
    // Block size 0: every chunk names its own.
    for field in [usize::from(compression.typesize), 0, chunk_size] {
        out.push(0xd2);
        out.extend_from_slice(&wide(field));
    }
    // Threads for compression and decompression, and that the trailer may have layers.
    out.extend_from_slice(&[0xd1, 0, 1, 0xd1, 0, 1, 0xc3]);
    let filter = match compression.filter {
        Filter::None => 0,
        Filter::Shuffle => 1,
        Filter::Bitshuffle => 2,
    };
    out.extend_from_slice(&[0xd8, 6, 0, 0, 0, 0, 0, filter, codec, 0]);
    out.extend_from_slice(&[0; 8]);
    debug_assert_eq!(out.len(), LAYERS_AT);

    let mut layers = Vec::new();
    if vlstore {
        layers.push((VLSTORE_LAYER.to_owned(), VLSTORE_MAGIC.to_vec()));
    }
    // The content of the last layer runs to the end of the page.
    layers.push((DEPOT_LAYER.to_owned(), Vec::new()));
    let without = LAYERS_AT + write_layers(&mut out.clone(), &layers, 0);
    if let Some((_, content)) = layers.last_mut() {
        content.resize(HEADER_LEN - without, 0);
    }
    write_layers(&mut out, &layers, 0);
    (out, without)
}

/// Appends named layers; offsets in them count from the start of `out`. Returns the bytes appended.
///
/// `size_less` is what the size field of the index leaves out: Blosc2 counts it differently in header and trailer.
fn write_layers(out: &mut Vec<u8>, layers: &[(String, Vec<u8>)], size_less: usize) -> usize {
    let start = out.len();
    let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&[0x93, 0xcd, 0, 0, 0xde]);
    out.extend_from_slice(&short(layers.len()));
    let mut patches = Vec::new();
    for (name, _) in layers {
        out.push(0xa0 | u8::try_from(name.len().min(31)).unwrap_or(31));
        out.extend_from_slice(&name.as_bytes()[..name.len().min(31)]);
        out.push(0xd2);
        patches.push(out.len());
        out.extend_from_slice(&[0; 4]);
    }
    let index_len = short(out.len() - start - size_less);
    out[start + 2..start + 4].copy_from_slice(&index_len);
    out.push(0xdc);
    out.extend_from_slice(&short(layers.len()));
    for (patch, (_, content)) in patches.into_iter().zip(layers) {
        let at = i32::try_from(out.len()).unwrap_or(i32::MAX).to_be_bytes();
        out[patch..patch + 4].copy_from_slice(&at);
        out.push(0xc6);
        out.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(content);
    }
    out.len() - start
}

/// The bytes of a header that a checkpoint rewrites, and where they go. Those that say how chunks are compressed lie
/// between and stay as they were.
pub(crate) fn header_update(
    compression: Compression,
    frame_len: u64,
    raw_len: u64,
    chunks_len: u64,
) -> (usize, [u8; UPDATE_LEN]) {
    let (header, _) = write_header(compression, 0, false);
    let mut out = [0; UPDATE_LEN];
    out.copy_from_slice(&header[FRAME_LEN_AT..FRAME_LEN_AT + UPDATE_LEN]);
    let mut put = |at: usize, value: u64| out[at - FRAME_LEN_AT..][..8].copy_from_slice(&value.to_be_bytes());
    put(FRAME_LEN_AT, frame_len);
    put(RAW_LEN_AT, raw_len);
    put(CHUNKS_LEN_AT, chunks_len);
    (FRAME_LEN_AT, out)
}

fn int_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk::<4>().map(|raw| i64::from(i32::from_be_bytes(*raw)))
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    u64::try_from(i64::from_be_bytes(*bytes.get(at..)?.first_chunk::<8>()?)).ok()
}

/// How long the header says that it is.
pub(crate) fn declared_header_len(bytes: &[u8]) -> Option<usize> {
    bytes
        .starts_with(MAGIC)
        .then(|| int_at(bytes, HEADER_LEN_AT))
        .flatten()
        .and_then(|len| usize::try_from(len).ok())
}

/// Reads the header of any Blosc2 contiguous frame from the first bytes of a file.
///
/// The error says what was found instead.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<FrameHeader, String> {
    let cut = || "a Blosc2 frame header that is cut short".to_owned();
    if !bytes.starts_with(MAGIC) {
        let start = &bytes[..bytes.len().min(MAGIC.len())];
        return Err(format!("it starts with \"{}\", which no Blosc2 frame does", start.escape_ascii()));
    }
    if bytes.len() < LAYERS_AT {
        return Err(cut());
    }
    let small = |at: usize| int_at(bytes, at).and_then(|n| u32::try_from(n).ok());
    let impossible = || "a Blosc2 frame header with impossible lengths".to_owned();
    let header_len = small(HEADER_LEN_AT).ok_or_else(impossible)? as usize;
    if header_len < LAYERS_AT || header_len > bytes.len() {
        return Err(cut());
    }
    if bytes[FLAGS_AT] & 0x0f > 3 {
        return Err(format!("a Blosc2 frame of version {}", bytes[FLAGS_AT] & 0x0f));
    }
    let layers = parse_layers(&bytes[..header_len], LAYERS_AT).ok_or_else(impossible)?;
    let codec = match bytes[CODEC_AT] & 0x0f {
        0 => CompressionCodec::Blosclz,
        1 => CompressionCodec::Lz4,
        2 => CompressionCodec::Lz4hc,
        _ => CompressionCodec::Zstd,
    };
    let filter = match bytes[FILTERS_AT + 5] {
        0 => Filter::None,
        2 => Filter::Bitshuffle,
        _ => Filter::Shuffle,
    };
    let typesize = small(TYPESIZE_AT).ok_or_else(impossible)?;
    Ok(FrameHeader {
        header_len,
        frame_len: long_at(bytes, FRAME_LEN_AT).ok_or_else(impossible)?,
        raw_len: long_at(bytes, RAW_LEN_AT).ok_or_else(impossible)?,
        chunks_len: long_at(bytes, CHUNKS_LEN_AT).ok_or_else(impossible)?,
        chunk_size: small(CHUNK_SIZE_AT).ok_or_else(impossible)?,
        typesize,
        compression: Compression {
            codec,
            level: (bytes[CODEC_AT] >> 4).min(9),
            filter,
            typesize: u8::try_from(typesize).unwrap_or(1).max(1),
        },
        metalayers: layers,
    })
}

/// Names and content ranges of the layers whose index starts at `at`.
fn parse_layers(bytes: &[u8], at: usize) -> Option<Vec<(String, Range<usize>)>> {
    let head = bytes.get(at..at + 7)?;
    if head[0] != 0x93 || head[1] != 0xcd || head[4] != 0xde {
        return None;
    }
    let count = usize::from(u16::from_be_bytes([head[5], head[6]]));
    let mut at = at + 7;
    let mut layers = Vec::new();
    for _ in 0..count {
        let name_len = usize::from(bytes.get(at)?.checked_sub(0xa0)?);
        let name = bytes.get(at + 1..at + 1 + name_len)?;
        at += 1 + name_len;
        if *bytes.get(at)? != 0xd2 {
            return None;
        }
        let content = usize::try_from(int_at(bytes, at + 1)?).ok()?;
        at += 5;
        if *bytes.get(content)? != 0xc6 {
            return None;
        }
        let len = usize::try_from(int_at(bytes, content + 1)?).ok()?;
        let range = content + 5..content.checked_add(5)?.checked_add(len)?;
        bytes.get(range.clone())?;
        layers.push((String::from_utf8(name.to_vec()).ok()?, range));
    }
    Some(layers)
}

/// The chunk of all chunk offsets, relative to the end of the header.
pub(crate) fn offsets_chunk(offsets: &[i64]) -> Result<Vec<u8>, BloscError> {
    let raw: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let compression =
        Compression { codec: CompressionCodec::Zstd, level: 1, filter: Filter::Shuffle, typesize: 8 };
    Encoder::new(compression, raw.len().clamp(8, 16 << 10))?.compress(&raw)
}

/// The frame's last bytes: named layers, and a fingerprint that Blosc2 leaves to us.
pub(crate) fn trailer(vlmeta: &[(String, Vec<u8>)], fingerprint: [u8; 16]) -> Vec<u8> {
    let mut out = vec![0x94, 0x01];
    write_layers(&mut out, vlmeta, 1);
    let len = u32::try_from(out.len() + TRAILER_END).unwrap_or(u32::MAX);
    out.push(0xce);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0xd8, FINGERPRINT_TYPE]);
    out.extend_from_slice(&fingerprint);
    out
}

/// Length of the trailer that ends with these 23 bytes.
pub(crate) fn trailer_len(end: &[u8]) -> Option<usize> {
    let end = end.get(end.len().checked_sub(TRAILER_END)?..)?;
    let len = usize::try_from(int_at(end, 1)?).ok()?;
    (end[0] == 0xce && end[5] == 0xd8 && len >= TRAILER_END + 2).then_some(len)
}

/// Bytes of the end of a frame that [`trailer_len`] needs.
pub(crate) const TRAILER_END_LEN: usize = TRAILER_END;

/// Names and content ranges of a whole trailer's layers.
pub(crate) fn parse_trailer(bytes: &[u8]) -> Option<Vec<(String, Range<usize>)>> {
    if !bytes.starts_with(&[0x94]) {
        return None;
    }
    parse_layers(bytes, 2)
}

/// The content of a trailer layer: MessagePack inside a Blosc2 chunk, as python-blosc2 reads it.
pub(crate) fn vlmeta_content(msgpack: &[u8]) -> Result<Vec<u8>, BloscError> {
    compress_metadata(msgpack, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back() {
        for vlstore in [false, true] {
            let compression = Compression { filter: Filter::Bitshuffle, level: 5, ..Compression::default() };
            let (bytes, at) = write_header(compression, 1 << 20, vlstore);
            assert_eq!(bytes.len(), HEADER_LEN);
            let header = parse_header(&bytes).unwrap();
            assert_eq!(header.compression, compression);
            assert_eq!((header.chunk_size, header.raw_len, header.chunks_len), (1 << 20, 0, 0));
            assert_eq!(header.frame_len, (HEADER_LEN + trailer(&[], [0; 16]).len()) as u64);
            let (name, range) = header.metalayers.last().unwrap();
            assert_eq!((name.as_str(), range.clone()), (DEPOT_LAYER, at..HEADER_LEN));
            assert_eq!(header.metalayers.len(), 1 + usize::from(vlstore));
            if vlstore {
                assert_eq!(bytes[header.metalayers[0].1.clone()], VLSTORE_MAGIC);
            }
        }
    }

    #[test]
    fn a_trailer_comes_back() {
        let layers = vec![("saved_lookup".to_owned(), vec![1, 2, 3]), ("b".to_owned(), vec![])];
        let bytes = trailer(&layers, [7; 16]);
        assert_eq!(trailer_len(&bytes), Some(bytes.len()));
        let read = parse_trailer(&bytes).unwrap();
        let read: Vec<_> = read.into_iter().map(|(name, range)| (name, bytes[range].to_vec())).collect();
        assert_eq!(read, layers);
    }

    #[test]
    fn noise_is_refused_without_a_panic() {
        let (good, _) = write_header(Compression::default(), 1 << 20, true);
        for at in 0..200 {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = parse_header(&bytes);
                let _ = parse_header(&bytes[..at]);
            }
        }
        assert!(parse_header(b"PK\x03\x04").unwrap_err().contains("PK"));
        assert_eq!(trailer_len(&[0xce; 22]), None);
    }
}

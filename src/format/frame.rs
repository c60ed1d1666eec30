//! A standard Blosc2 contiguous frame, format version 2.
//!
//! It makes a depot readable by every Blosc2 program. `README_CFRAME_FORMAT.rst` of c-blosc2 describes it.
//! Its integers are big-endian.
//!
//! ```text
//!   0                 header_len              header_len + chunks_len             frame_len
//!   +--------+--------+------------------------+----------------+-----------------+
//!   | header | meta-  | chunks, with holes of  | offsets chunk  | trailer         | ignored ..
//!   | 87 B   | layers | any content between    |                |                 |
//!   +--------+--------+------------------------+----------------+-----------------+
//!
//!   header    9e a8 "b2frame\0"
//!     10  d2 <i32 header_len>                    47  d2 <i32 typesize>
//!     15  cf <u64 frame_len>                     52  d2 <i32 block_size>, 0: chosen per chunk
//!     24  a4 <version 2 | 0x10: 64-bit offsets>  57  d2 <i32 chunk_size>
//!            <type, 0: contiguous>               62  d1 <i16 threads> d1 <i16 threads>
//!            <level << 4 | codec> <split - 1>    68  c3 or c2: has vlmetalayers
//!     29  d3 <i64 raw_len>                       69  d8 06 <6 filters> <codec> <codec's parameter>
//!     38  d3 <i64 chunks_len>                           <6 filters' parameters> 00 00
//!                                                87  the metalayers
//!   offsets chunk   a Blosc2 chunk of i64 LE, one per chunk: from header_len to the chunk's start,
//!                   or 0x80 | kind in the top byte for a chunk of zeros (1) that is not stored
//!   trailer         94 01 <vlmetalayers> ce <u32 trailer length> d8 <kind> <16 bytes fingerprint>
//! ```
//!
//! Frames written here keep to the following:
//!
//! - The header is 4096 bytes long. The metalayer `vldepot` fills it up.
//! - A commit changes only bytes 16 to 46 of the header ([`header_update`]) and the content of that
//!   metalayer.
//! - Chunks, offsets chunks and trailers are appended, and never overwritten. Superseded ones become holes,
//!   which `chunks_len` counts.
//! - The fingerprint has kind 3. c-blosc2 writes zeros there, and does not read it.
//! - All chunks but the last have `chunk_size` raw bytes.
//! - Chunks of zeros are special offsets, because c-blosc2 cannot take slices of a stored chunk that is only
//!   a header.

#![expect(clippy::big_endian_bytes, reason = "Blosc2 frames keep MessagePack integers")]

use std::ops::Range;

use super::metalayers::{self, I32, saturating_i32};
use crate::blosc::{self, BloscError, Compression, CompressionCodec, Encoder, Feature, Filter};

/// Bytes of the headers written here. Those of other programs are shorter.
pub(crate) const HEADER_LEN: usize = 4096;
/// The metalayer that fills up the header of a depot.
pub(crate) const DEPOT_LAYER: &str = "vldepot";
/// The metalayer by which the Python package vlstore knows its files.
pub(crate) const VLSTORE_LAYER: &str = "magic";
/// The content of that metalayer: a MessagePack byte string.
pub(crate) const VLSTORE_MAGIC: [u8; 18] =
    *b"\xc4\x10\xa4\x9a\x33\x67\xcf\x7d\x44\xd1\xb0\x97\xe0\x51\x05\x83\x36\xeb";
/// The offset that stands for a chunk of zeros.
pub(crate) const ZERO_CHUNK_OFFSET: i64 = i64::MIN + (1 << 56);

const MAGIC: [u8; 10] = *b"\x9e\xa8b2frame\0";
const HEADER_LEN_AT: usize = MAGIC.len() + 1;
const FRAME_LEN_AT: usize = HEADER_LEN_AT + 4 + 1;
const FLAGS_AT: usize = FRAME_LEN_AT + 8 + 1;
const TYPE_AT: usize = FLAGS_AT + 1;
/// Where the compression level and the codec are, in one byte.
pub(crate) const CODEC_AT: usize = TYPE_AT + 1;
const SPLIT_AT: usize = CODEC_AT + 1;
const RAW_LEN_AT: usize = SPLIT_AT + 1 + 1;
const CHUNKS_LEN_AT: usize = RAW_LEN_AT + 8 + 1;
const TYPESIZE_AT: usize = CHUNKS_LEN_AT + 8 + 1;
const BLOCK_SIZE_AT: usize = TYPESIZE_AT + 4 + 1;
const CHUNK_SIZE_AT: usize = BLOCK_SIZE_AT + 4 + 1;
const THREADS_AT: usize = CHUNK_SIZE_AT + 4 + 1;
const HAS_VLMETA_AT: usize = THREADS_AT + 2 + 1 + 2;
const FILTERS_AT: usize = HAS_VLMETA_AT + 1 + 2;
const N_FILTERS: usize = 6;
const PLUGIN_CODEC_AT: usize = FILTERS_AT + N_FILTERS;
const METALAYERS_AT: usize = FILTERS_AT + N_FILTERS + 2 + N_FILTERS + 2;
const _: () = assert!(RAW_LEN_AT == 30 && CHUNK_SIZE_AT == 58 && METALAYERS_AT == 87);

/// Bytes that [`header_update`] replaces.
const UPDATE_LEN: usize = CHUNKS_LEN_AT + 8 - FRAME_LEN_AT;

const VERSION_2: u8 = 2;
const VERSION_MASK: u8 = 0x0f;
const OFFSETS_64: u8 = 0x10;
const CONTIGUOUS: u8 = 0;
/// The codec number that stands for a plugin: the plugin's own number is at [`PLUGIN_CODEC_AT`].
const PLUGIN_CODEC: u8 = 6;
const FIXSTR_4: u8 = 0xa4;
const U64: u8 = 0xcf;
const I64: u8 = 0xd3;
const I16: u8 = 0xd1;
const U32: u8 = 0xce;
const TRUE: u8 = 0xc3;
const FIXEXT_16: u8 = 0xd8;

/// Raw bytes of a block of offsets.
const OFFSETS_BLOCK: usize = 16 << 10;

const TRAILER_START: [u8; 2] = [0x94, 1];
/// The end of a trailer: its length and the fingerprint.
pub(crate) const TRAILER_END_LEN: usize = 1 + 4 + 2 + 16;
/// The kind of a fingerprint of 128 bits. c-blosc2 knows it, but itself writes kind 0, which means none.
const FINGERPRINT_KIND: u8 = 3;

/// The fields of a frame's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the frame; the file may be longer.
    pub(crate) frame_len: u64,
    /// Raw bytes of all chunks.
    pub(crate) raw_len: u64,
    /// Bytes from the end of the header to the offsets chunk.
    pub(crate) chunks_len: u64,
    pub(crate) typesize: u8,
    /// 0 when each chunk has its own.
    pub(crate) block_size: u32,
    /// 0 in frames of variable-size chunks, and in some empty ones.
    pub(crate) chunk_size: u32,
    /// How new chunks are compressed, or the feature that this would need. Chunks that exist may differ.
    pub(crate) compression: Result<Compression, Feature>,
    pub(crate) has_vlmeta: bool,
    /// The names of the metalayers, and where in the header their contents are.
    pub(crate) metalayers: Vec<(String, Range<usize>)>,
    pub(crate) header_len: usize,
}

impl FrameHeader {
    /// Where in the header the content of the metalayer `name` is.
    pub(crate) fn metalayer(&self, name: &str) -> Option<Range<usize>> {
        self.metalayers.iter().find(|(found, _)| found == name).map(|(_, range)| range.clone())
    }
}

/// The header of an empty frame, and where the content of the metalayer `vldepot` starts in it.
///
/// The header has exactly [`HEADER_LEN`] bytes. That content is zeros, up to the end of the header.
/// [`Layout::validate`](crate::Layout::validate) must accept `chunk_size`. With `vlstore_magic`, the first
/// metalayer is that of vlstore.
pub(crate) fn write_header(
    compression: Compression,
    chunk_size: usize,
    vlstore_magic: bool,
) -> (Vec<u8>, usize) {
    let mut header = vec![0; METALAYERS_AT];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let mut filters = [0; N_FILTERS];
    filters[N_FILTERS - 1] = filter_code(compression.filter);

    put(0, &MAGIC);
    put(HEADER_LEN_AT - 1, &[I32]);
    put(HEADER_LEN_AT, &saturating_i32(HEADER_LEN).to_be_bytes());
    put(FRAME_LEN_AT - 1, &[U64]);
    let empty_len = (HEADER_LEN + trailer(&[], [0; 16]).len()) as u64;
    let (at, update) = header_update(compression, empty_len, 0, 0);
    put(at, &update);
    put(TYPESIZE_AT - 1, &[I32]);
    put(TYPESIZE_AT, &i32::from(compression.typesize()).to_be_bytes());
    put(BLOCK_SIZE_AT - 1, &[I32]);
    put(CHUNK_SIZE_AT - 1, &[I32]);
    put(CHUNK_SIZE_AT, &saturating_i32(chunk_size).to_be_bytes());
    put(THREADS_AT - 1, &[I16, 0, 1, I16, 0, 1]);
    put(HAS_VLMETA_AT, &[TRUE, FIXEXT_16, 6]);
    put(FILTERS_AT, &filters);
    put(FILTERS_AT + N_FILTERS, &[blosc::compcode(compression.codec)]);

    let with_depot = |content: &[u8]| {
        let mut whole = header.clone();
        let entries = [(VLSTORE_LAYER, &VLSTORE_MAGIC[..]), (DEPOT_LAYER, content)];
        metalayers::append(&mut whole, &entries[usize::from(!vlstore_magic)..], METALAYERS_AT);
        whole
    };
    let content_at = with_depot(&[]).len();
    (with_depot(&vec![0; HEADER_LEN - content_at]), content_at)
}

/// The bytes that a commit replaces in the header, and where they start.
///
/// They hold the lengths of the frame, of the raw data and of the chunks. They are one write, inside one
/// sector. The codec lies between the lengths, so `compression` must be that of the header.
pub(crate) fn header_update(
    compression: Compression,
    frame_len: u64,
    raw_len: u64,
    chunks_len: u64,
) -> (usize, [u8; UPDATE_LEN]) {
    let mut bytes = [0; UPDATE_LEN];
    let mut put = |at: usize, part: &[u8]| {
        bytes[at - FRAME_LEN_AT..at - FRAME_LEN_AT + part.len()].copy_from_slice(part);
    };
    let level = if compression.codec == CompressionCodec::None { 0 } else { compression.level };
    let codec = level << 4 | blosc::compcode(compression.codec);
    put(FRAME_LEN_AT, &frame_len.to_be_bytes());
    let split = blosc::Split::of(compression).code();
    put(FLAGS_AT - 1, &[FIXSTR_4, VERSION_2 | OFFSETS_64, CONTIGUOUS, codec, split - 1, I64]);
    put(RAW_LEN_AT, &raw_len.to_be_bytes());
    put(CHUNKS_LEN_AT - 1, &[I64]);
    put(CHUNKS_LEN_AT, &chunks_len.to_be_bytes());
    (FRAME_LEN_AT, bytes)
}

/// The length that the header at the start of `bytes` declares. [`parse_header`] needs that many bytes.
pub(crate) fn declared_header_len(bytes: &[u8]) -> Option<usize> {
    let len = i32::from_be_bytes(field(bytes, HEADER_LEN_AT)?);
    usize::try_from(len).ok().filter(|&len| bytes.starts_with(&MAGIC) && len >= METALAYERS_AT)
}

/// Reads the header of any Blosc2 contiguous frame. The error says what was found instead.
///
/// The caller has to check whether the lengths fit the file. After a torn commit they may not, but the
/// metalayers still say what to go back to.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<FrameHeader, String> {
    if !bytes.starts_with(&MAGIC) {
        let start = bytes[..bytes.len().min(MAGIC.len())].escape_ascii();
        return Err(format!("it starts with \"{start}\", which no Blosc2 frame does"));
    }
    let header_len = declared_header_len(bytes).ok_or("a Blosc2 frame without a whole header")?;
    let bytes = bytes
        .get(..header_len)
        .ok_or_else(|| format!("a Blosc2 frame whose header of {header_len} bytes is cut off"))?;
    if bytes[FLAGS_AT] & VERSION_MASK != VERSION_2 {
        return Err(format!("a Blosc2 frame of version {}, not 2", bytes[FLAGS_AT] & VERSION_MASK));
    }
    if bytes[FLAGS_AT] & OFFSETS_64 == 0 || bytes[TYPE_AT] != CONTIGUOUS {
        return Err(format!("a Blosc2 frame of type {}, not a contiguous one", bytes[TYPE_AT]));
    }
    let length = |at| field(bytes, at).map(i64::from_be_bytes).and_then(|len| u64::try_from(len).ok());
    let size = |at| field(bytes, at).map(i32::from_be_bytes).and_then(|len| u32::try_from(len).ok());
    let (
        Some(frame_len),
        Some(raw_len),
        Some(chunks_len),
        Some(typesize),
        Some(block_size),
        Some(chunk_size),
    ) = (
        length(FRAME_LEN_AT),
        length(RAW_LEN_AT),
        length(CHUNKS_LEN_AT),
        size(TYPESIZE_AT),
        size(BLOCK_SIZE_AT),
        size(CHUNK_SIZE_AT),
    )
    else {
        return Err("a Blosc2 frame with a negative length".into());
    };
    let typesize = match u8::try_from(typesize) {
        Ok(typesize) if typesize > 0 => typesize,
        _ => return Err(format!("a Blosc2 frame of typesize {typesize}; it must be 1 to 255")),
    };
    Ok(FrameHeader {
        frame_len,
        raw_len,
        chunks_len,
        typesize,
        block_size,
        chunk_size,
        compression: parse_compression(bytes, typesize),
        has_vlmeta: bytes[HAS_VLMETA_AT] == TRUE,
        metalayers: metalayers::parse(bytes, METALAYERS_AT)?,
        header_len,
    })
}

fn parse_compression(header: &[u8], typesize: u8) -> Result<Compression, Feature> {
    let level = (header[CODEC_AT] >> 4).min(9);
    let codec = match header[CODEC_AT] & 0x0f {
        0 => CompressionCodec::Blosclz,
        1 if level == 0 => CompressionCodec::None,
        1 => CompressionCodec::Lz4,
        2 => CompressionCodec::Lz4hc,
        5 => CompressionCodec::Zstd,
        4 => CompressionCodec::Zlib,
        PLUGIN_CODEC => return Err(Feature::codec(header[PLUGIN_CODEC_AT])),
        other => return Err(Feature::codec(other)),
    };
    let filters = header[FILTERS_AT..FILTERS_AT + N_FILTERS].iter().rev();
    let known = filters.filter_map(|&code| match code {
        1 => Some(Filter::Shuffle),
        2 => Some(Filter::Bitshuffle),
        _ => None,
    });
    Ok(Compression {
        codec,
        level,
        filter: { known }.next().unwrap_or(Filter::None),
        typesize: Some(typesize),
    })
}

/// The offsets chunk: `offsets` from the end of the header, one per chunk.
///
/// An empty frame has no offsets chunk.
pub(crate) fn offsets_chunk(offsets: &[i64]) -> Result<Vec<u8>, BloscError> {
    let compression = Compression {
        codec: CompressionCodec::Blosclz,
        level: 5,
        filter: Filter::Shuffle,
        typesize: Some(8),
    };
    let raw: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    // Small blocks: c-blosc2 looks up one offset at a time, and decompresses a block for it.
    Encoder::new(compression, OFFSETS_BLOCK)?.compress(&raw)
}

/// The content of a vlmetalayer as python-blosc2 expects it: one MessagePack value inside one Blosc2 chunk.
pub(crate) fn vlmeta_content(msgpack: &[u8]) -> Result<Vec<u8>, BloscError> {
    blosc::compress_metadata(msgpack, 1)
}

/// A trailer with the names and contents of `vlmeta`.
///
/// [`vlmeta_content`] makes each content. Together they must be under 2 GiB.
pub(crate) fn trailer(vlmeta: &[(String, Vec<u8>)], fingerprint: [u8; 16]) -> Vec<u8> {
    let mut out = TRAILER_START.to_vec();
    let entries: Vec<_> = vlmeta.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    metalayers::append(&mut out, &entries, TRAILER_START.len() + 1);
    let len = u32::try_from(out.len() + TRAILER_END_LEN).unwrap_or(u32::MAX);
    out.push(U32);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[FIXEXT_16, FINGERPRINT_KIND]);
    out.extend_from_slice(&fingerprint);
    out
}

/// The length of the trailer that ends with `end`; `None` if no trailer ends there.
///
/// `end` has at least the last [`TRAILER_END_LEN`] bytes of the trailer.
pub(crate) fn trailer_len(end: &[u8]) -> Option<usize> {
    let [U32, a, b, c, d, FIXEXT_16, ..] = *end.last_chunk::<TRAILER_END_LEN>()? else { return None };
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    (len >= TRAILER_START.len() + TRAILER_END_LEN).then_some(len)
}

/// Reads a whole trailer: the names of its vlmetalayers, and where in `bytes` their contents are.
pub(crate) fn parse_trailer(bytes: &[u8]) -> Option<Vec<(String, Range<usize>)>> {
    if trailer_len(bytes)? != bytes.len() || !bytes.starts_with(&TRAILER_START) {
        return None;
    }
    metalayers::parse(&bytes[..bytes.len() - TRAILER_END_LEN], TRAILER_START.len()).ok()
}

fn filter_code(filter: Filter) -> u8 {
    match filter {
        Filter::None => 0,
        Filter::Shuffle => 1,
        Filter::Bitshuffle => 2,
    }
}

/// The `N` bytes of a header field at `at`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests;

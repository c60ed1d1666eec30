//! Safe calls to c-blosc2: the only module that talks to it.
//!
//! Only whole chunks go through C. A part of a chunk is read by making a smaller chunk of the blocks that are wanted
//! ([`partial_chunk`]): a Blosc2 chunk is a 32-byte header, one little-endian `i32` offset per block, and the
//! blocks, so any run of whole blocks with a new header and new offsets is a chunk again.
//!
//! c-blosc2 keeps no checksum and may run out of bounds on damaged or forged chunks. Whoever decompresses a chunk of a depot has
//! matched a checksum over its bytes first; and since an attacker can make checksums match, every chunk is looked through by [`vet`]
//! as well: [`Decoder::decompress`] takes nothing else.
//!
//! A context belongs to one thread at a time; [`with_decoder`] keeps one per thread. `blosc2_init` is not
//! needed for the `_ctx` calls, and no call here starts a thread.

mod feature;
mod vet;
mod zlib;

pub(crate) use feature::Feature;
pub(crate) use vet::{Vetted, vet};

use std::cell::RefCell;
use std::ptr::{NonNull, null_mut};

use blosc2_src as sys;

use crate::le::u32_at;
use crate::options::{Compression, CompressionCodec, Filter};

/// Bytes of a chunk's header.
pub(crate) const HEADER_LEN: usize = 32;
/// c-blosc2 may need this much more than the raw bytes (`BLOSC2_MAX_OVERHEAD`).
pub(crate) const MAX_OVERHEAD: usize = 32;
/// The largest raw chunk c-blosc2 takes (`BLOSC2_MAX_BUFFERSIZE`).
pub(crate) const MAX_CHUNK: usize = i32::MAX as usize - MAX_OVERHEAD;
/// The largest block c-blosc2 takes (`BLOSC2_MAXBLOCKSIZE`).
pub(crate) const MAX_BLOCK: usize = 536_866_816;

/// Metadata may always decompress to this much,
const METADATA_FREE: usize = 1 << 20;
/// and beyond it to so much times what is stored.
const METADATA_RATIO: usize = 256;

/// A special chunk: nothing but NaN.
const NAN: u8 = 2;
/// A special chunk: the value behind the header, over and over.
const REPEATED: u8 = 3;

/// Why c-blosc2, or the shape of a chunk, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BloscError {
    why: String,
    unread: Option<Feature>,
}

impl BloscError {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), unread: None }
    }

    /// What the chunk uses and this program does not read, if that is why.
    pub(crate) fn into_unread(self) -> Option<Feature> {
        self.unread
    }
}

impl From<Feature> for BloscError {
    fn from(feature: Feature) -> Self {
        let why = format!("{} {}, which this program does not read", feature.what, feature.name);
        Self { why, unread: Some(feature) }
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, BloscError> {
    Err(BloscError::new(why))
}

/// The header of a Blosc2 chunk (format version 5; see `README_CHUNK_FORMAT.rst` of c-blosc2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    flags: u8,
    pub(crate) typesize: u8,
    /// Raw bytes of the chunk.
    pub(crate) raw_len: usize,
    /// Raw bytes of a block; the last may be shorter.
    pub(crate) block_size: usize,
    /// Stored bytes of the chunk, header included.
    pub(crate) stored_len: usize,
    blosc2_flags: u8,
    /// The header as stored.
    bytes: [u8; HEADER_LEN],
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

    /// Raw bytes stored as they are, right behind the header.
    pub(crate) fn is_memcpyed(&self) -> bool {
        self.flags & 0x02 != 0 && self.special() == 0
    }

    /// 0 for an ordinary chunk; 1 zeros, 2 NaN, 3 a repeated value, 4 uninitialised: nothing but the header is stored.
    pub(crate) fn special(&self) -> u8 {
        (self.blosc2_flags >> 4) & 0x07
    }

    /// How many blocks the chunk has.
    pub(crate) fn n_blocks(&self) -> usize {
        self.raw_len.div_ceil(self.block_size)
    }

    /// Whether the chunk has a table of block offsets behind its header.
    pub(crate) fn has_block_table(&self) -> bool {
        self.special() == 0 && !self.is_memcpyed()
    }

    /// Bytes of the header and the table of block offsets.
    pub(crate) fn prefix_len(&self) -> usize {
        if self.has_block_table() { HEADER_LEN + 4 * self.n_blocks() } else { HEADER_LEN }
    }
}

/// Start of each block inside the chunk, and the chunk's end: `n_blocks + 1` increasing offsets.
///
/// `prefix` holds the header and the offset table. Only chunks whose blocks lie in order pass: c-blosc2 writes
/// those when it compresses with one thread, as this crate does.
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

/// Where block `block` starts in a chunk, or the chunk's end for the number behind the last; `prefix` holds the header and
/// the table of offsets, which [`block_offsets`] has found good.
pub(crate) fn block_offset(prefix: &[u8], header: &ChunkHeader, block: usize) -> Option<u32> {
    if block == header.n_blocks() {
        return u32::try_from(header.stored_len).ok();
    }
    u32_at(prefix, HEADER_LEN + 4 * block)
}

/// Writes to `out` the start of a chunk made of blocks `first..=last` of the chunk that `prefix` begins. The blocks'
/// stored bytes, unchanged and in one piece, must follow. Of `prefix` only the offsets are used, each read once at most
/// for what is written: should the bytes behind it change meanwhile, `out` is still of one piece with itself.
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

/// A compression context.
pub(crate) struct Encoder {
    context: NonNull<sys::blosc2_context>,
    compression: Compression,
    block_size: usize,
}

// SAFETY: a context is a heap object without thread-local parts; c-blosc2 allows any one thread at a time to use it,
// and `&mut self` on every method keeps it to one.
unsafe impl Send for Encoder {}

impl Encoder {
    /// A context for chunks compressed as `compression` says, in blocks of `block_size` raw bytes.
    pub(crate) fn new(compression: Compression, block_size: usize) -> Result<Self, BloscError> {
        if compression.typesize() == 0 || compression.level > 9 {
            return refuse("c-blosc2 divides by the typesize, and knows levels up to 9");
        }
        let Ok(block) = i32::try_from(block_size) else { return refuse("a block longer than 2 GiB") };
        let mut filters = [0u8; 6];
        filters[5] = match compression.filter {
            Filter::None => 0,
            Filter::Shuffle => 1,
            Filter::Bitshuffle => 2,
        };
        let params = sys::blosc2_cparams {
            compcode: compcode(compression.codec),
            clevel: if compression.codec == CompressionCodec::None { 0 } else { compression.level },
            typesize: i32::from(compression.typesize()),
            nthreads: 1,
            blocksize: block,
            splitmode: i32::from(split_mode(compression)),
            filters,
            ..sys::BLOSC2_CPARAMS_DEFAULTS
        };
        // SAFETY: `params` is a whole `blosc2_cparams` passed by value; its pointers are null, which the
        // function documents as "not used".
        let context = unsafe { sys::blosc2_create_cctx(params) };
        let Some(context) = NonNull::new(context) else {
            return refuse("c-blosc2 could not create a compression context with these parameters");
        };
        Ok(Self { context, compression, block_size })
    }

    /// Raw bytes of a block.
    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// Writes the chunk that `raw` compresses to into `out` from byte `at` on; `out` grows if need be. What is around
    /// the chunk is left as it is: `out` can be kept and used again.
    ///
    /// The header of the chunk is checked against the parameters: `BLOSC_*` environment variables override them
    /// inside c-blosc2, and a depot of mixed parameters would be no standard frame.
    pub(crate) fn compress_into(
        &mut self,
        raw: &[u8],
        out: &mut Vec<u8>,
        at: usize,
    ) -> Result<ChunkHeader, BloscError> {
        if out.len() < at + raw.len() + MAX_OVERHEAD {
            out.resize(at + raw.len() + MAX_OVERHEAD, 0);
        }
        let dest = &mut out[at..];
        let dest_len = dest.len().min(MAX_CHUNK + MAX_OVERHEAD);
        let (Ok(raw_len), Ok(dest_len)) = (i32::try_from(raw.len()), i32::try_from(dest_len)) else {
            return refuse("a chunk longer than 2 GiB");
        };
        // SAFETY: both pointers come from slices that live through the call, with those slices' own lengths, and
        // do not overlap: `dest` is borrowed mutably. The call writes at most `dest_len` bytes (blosc2.h), keeps
        // neither pointer, and the context is alive and used by this thread alone (`&mut self`).
        let written = unsafe {
            sys::blosc2_compress_ctx(
                self.context.as_ptr(),
                raw.as_ptr().cast(),
                raw_len,
                dest.as_mut_ptr().cast(),
                dest_len,
            )
        };
        let written = match usize::try_from(written) {
            Ok(n) if n >= HEADER_LEN => n,
            _ => return refuse(format!("c-blosc2 refused to compress {raw_len} bytes (code {written})")),
        };
        let header = ChunkHeader::parse(&out[at..at + written])?;
        let block_fits = header.block_size == self.block_size.min(raw.len()) || !header.has_block_table();
        let lengths_fit = header.raw_len == raw.len() && header.stored_len == written;
        if header.typesize != self.compression.typesize() || !lengths_fit || !block_fits {
            return refuse(format!(
                "c-blosc2 wrote a chunk of typesize {}, block size {} where {} and {} were asked for: unset the \
                 BLOSC_* environment variables, which override a program's parameters",
                header.typesize,
                header.block_size,
                self.compression.typesize(),
                self.block_size
            ));
        }
        Ok(header)
    }

    /// The chunk that `raw` compresses to.
    pub(crate) fn compress(&mut self, raw: &[u8]) -> Result<Vec<u8>, BloscError> {
        let mut out = Vec::new();
        let header = self.compress_into(raw, &mut out, 0)?;
        out.truncate(header.stored_len);
        Ok(out)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: created by `blosc2_create_cctx`, freed once, not used after.
        unsafe { sys::blosc2_free_ctx(self.context.as_ptr()) };
    }
}

/// A decompression context.
pub(crate) struct Decoder {
    context: NonNull<sys::blosc2_context>,
}

impl Decoder {
    fn new() -> Result<Self, BloscError> {
        let params =
            sys::blosc2_dparams { nthreads: 1, schunk: null_mut(), postfilter: None, postparams: null_mut() };
        // SAFETY: a whole `blosc2_dparams` by value, its pointers null: no super-chunk, no postfilter.
        let context = unsafe { sys::blosc2_create_dctx(params) };
        NonNull::new(context)
            .map(|context| Self { context })
            .ok_or_else(|| BloscError::new("c-blosc2 could not create a decompression context"))
    }

    /// Decompresses a whole chunk into `out`, which is exactly as long as its raw bytes.
    pub(crate) fn decompress(&mut self, vetted: &Vetted<'_>, out: &mut [u8]) -> Result<(), BloscError> {
        let Vetted { chunk, header } = *vetted;
        if header.raw_len != out.len() {
            return refuse(format!("a chunk of {} raw bytes where {} are", header.raw_len, out.len()));
        }
        if out.is_empty() {
            // C would take memory for a block of whatever size the header declares.
            return Ok(());
        }
        if header.is_memcpyed() {
            let Some(raw) = chunk.get(HEADER_LEN..HEADER_LEN + out.len()) else {
                return refuse("an uncompressed chunk is cut short");
            };
            out.copy_from_slice(raw);
            return Ok(());
        }
        if header.special() != 0 {
            return fill(header.special(), chunk, header.typesize, out);
        }
        if !zlib::has_zlib(vetted) {
            return self.decompress_streams(vetted, out);
        }
        let mut alone = Vec::new();
        for (number, raw) in out.chunks_mut(header.block_size).enumerate() {
            zlib::inflate_block(vetted, number, &mut alone)?;
            self.decompress_streams(&vet(&alone)?, raw)?;
        }
        Ok(())
    }

    /// Decompresses a chunk of codecs that c-blosc2 has here.
    fn decompress_streams(&mut self, vetted: &Vetted<'_>, out: &mut [u8]) -> Result<(), BloscError> {
        let Vetted { chunk, header } = *vetted;
        if header.raw_len != out.len() {
            return refuse(format!("a chunk of {} raw bytes where {} are", header.raw_len, out.len()));
        }
        let (Ok(src_len), Ok(out_len)) = (i32::try_from(chunk.len()), i32::try_from(out.len())) else {
            return refuse("a chunk longer than 2 GiB");
        };
        // SAFETY: both pointers come from slices that live through the call; `src_len` is `chunk.len()`, as `vet` cut it, and
        // `out_len` is the slice's own. They do not overlap: `out` is borrowed mutably. The call never writes past `out_len`
        // (blosc2.h), keeps neither pointer, and `&mut self` gives the context to this thread alone. That the chunk is well
        // formed is what `vet` saw to: only it makes a `Vetted`.
        let written = unsafe {
            sys::blosc2_decompress_ctx(
                self.context.as_ptr(),
                chunk.as_ptr().cast(),
                src_len,
                out.as_mut_ptr().cast(),
                out_len,
            )
        };
        if usize::try_from(written) == Ok(out.len()) {
            Ok(())
        } else {
            refuse(format!("c-blosc2 could not decompress the chunk (code {written})"))
        }
    }
}

/// Fills `out` with what a special chunk says.
fn fill(kind: u8, chunk: &[u8], typesize: u8, out: &mut [u8]) -> Result<(), BloscError> {
    let value = match (kind, typesize) {
        (NAN, 4) => &f32::NAN.to_le_bytes()[..],
        (NAN, 8) => &f64::NAN.to_le_bytes(),
        (NAN, _) => return refuse(format!("a chunk of NaN of {typesize} bytes")),
        (REPEATED, _) => chunk.get(HEADER_LEN..).unwrap_or_default(),
        _ => &[0],
    };
    if value.is_empty() || !out.len().is_multiple_of(value.len()) {
        return refuse(format!("a chunk of {} bytes of values of {}", out.len(), value.len()));
    }
    out.chunks_exact_mut(value.len()).for_each(|place| place.copy_from_slice(value));
    Ok(())
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: created by `blosc2_create_dctx`, freed once, not used after.
        unsafe { sys::blosc2_free_ctx(self.context.as_ptr()) };
    }
}

thread_local! {
    static DECODER: RefCell<Option<Decoder>> = const { RefCell::new(None) };
}

/// Runs `job` with this thread's decompression context, made on first use.
pub(crate) fn with_decoder<T>(
    job: impl FnOnce(&mut Decoder) -> Result<T, BloscError>,
) -> Result<T, BloscError> {
    DECODER.with(|slot| {
        let mut slot = slot.borrow_mut();
        if slot.is_none() {
            *slot = Some(Decoder::new()?);
        }
        match slot.as_mut() {
            Some(decoder) => job(decoder),
            None => refuse("no decompression context"),
        }
    })
}

/// Decompresses a whole chunk into `out`, exactly as long as its raw bytes. Damage inside a compressed stream may go unnoticed
/// where no checksum covers it; all else is refused before C sees it.
#[cfg(test)]
pub(crate) fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<(), BloscError> {
    let vetted = vet(chunk)?;
    with_decoder(|decoder| decoder.decompress(&vetted, out))
}

/// Blosc2's number for how blocks are split: 1, a stream for each byte of the type, or 2, one for all.
///
/// zstd has one entropy table a stream. After a byte shuffle the bytes of a number have little in common: exponents compress, low bits of
/// mantissas do not, and split from each other they need 4 to 7 % less space and half the time to decompress. LZ4 has no such
/// tables and does not gain.
pub(crate) fn split_mode(compression: Compression) -> u8 {
    let split = compression.codec == CompressionCodec::Zstd && compression.filter == Filter::Shuffle;
    if split { 1 } else { 2 }
}

/// Blosc2's number of a codec, as contexts and the frame header want it.
pub(crate) fn compcode(codec: CompressionCodec) -> u8 {
    match codec {
        CompressionCodec::Blosclz => 0,
        CompressionCodec::None | CompressionCodec::Lz4 => 1,
        CompressionCodec::Lz4hc => 2,
        CompressionCodec::Zlib => 4,
        CompressionCodec::Zstd => 5,
    }
}

/// What `stored` bytes of metadata may decompress to: without limits, a file of a few bytes would make its reader allocate gigabytes.
pub(crate) fn metadata_limit(stored: usize) -> usize {
    stored.saturating_mul(METADATA_RATIO).max(METADATA_FREE)
}

/// Compresses a small metadata buffer: zstd, no filter, blocks chosen by c-blosc2. What would become smaller than
/// [`metadata_limit`] allows is stored as it is.
pub(crate) fn compress_metadata(raw: &[u8], typesize: u8) -> Result<Vec<u8>, BloscError> {
    let filter = if typesize > 1 { Filter::Shuffle } else { Filter::None };
    let compression =
        Compression { codec: CompressionCodec::Zstd, level: 1, filter, typesize: Some(typesize) };
    let block_size = raw.len().clamp(1, MAX_BLOCK);
    let stored = Encoder::new(compression, block_size)?.compress(raw)?;
    if raw.len() <= metadata_limit(stored.len()) {
        return Ok(stored);
    }
    let plain = Compression { codec: CompressionCodec::None, level: 0, ..compression };
    Encoder::new(plain, block_size)?.compress(raw)
}

/// Decompresses what [`compress_metadata`], or another program, wrote; `limit` bounds the raw length.
pub(crate) fn decompress_metadata(chunk: &[u8], limit: usize) -> Result<Vec<u8>, BloscError> {
    let vetted = vet(chunk)?;
    let raw_len = vetted.header.raw_len;
    if raw_len > limit {
        return refuse(format!("metadata of {raw_len} bytes where at most {limit} can be"));
    }
    let mut raw = vec![0; raw_len];
    with_decoder(|decoder| decoder.decompress(&vetted, &mut raw))?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy_ramp(n: usize) -> Vec<u8> {
        (0..n / 4).flat_map(|i| (i as f32 * 0.37).sin().to_le_bytes()).collect()
    }

    #[test]
    fn every_codec_and_filter_round_trips() {
        let raw = noisy_ramp(1 << 18);
        for codec in [
            CompressionCodec::None,
            CompressionCodec::Lz4,
            CompressionCodec::Lz4hc,
            CompressionCodec::Zstd,
            CompressionCodec::Blosclz,
        ] {
            for filter in [Filter::None, Filter::Shuffle, Filter::Bitshuffle] {
                let compression = Compression { codec, level: 1, filter, typesize: Some(4) };
                let chunk = Encoder::new(compression, 1 << 14).unwrap().compress(&raw).unwrap();
                let header = ChunkHeader::parse(&chunk).unwrap();
                assert!(header.is_memcpyed() || codec != CompressionCodec::None);
                let mut back = vec![0; raw.len()];
                decompress(&chunk, &mut back).unwrap();
                assert!(back == raw, "{codec:?} {filter:?}");
            }
        }
    }

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

    #[test]
    fn zeros_become_a_special_chunk() {
        let chunk =
            Encoder::new(Compression::default(), 1 << 14).unwrap().compress(&vec![0; 1 << 16]).unwrap();
        assert_eq!((ChunkHeader::parse(&chunk).unwrap().special(), chunk.len()), (1, 32));
    }

    #[test]
    fn foreign_bytes_are_refused_before_c_sees_them() {
        for bytes in
            [&b""[..], &[0; 31], &[0; 64], &[0xff; 64], b"\x05\x01\x05\x04aaaabbbbccccddddeeeeffff0000"]
        {
            let mut out = vec![0; 64];
            assert!(decompress(bytes, &mut out).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn metadata_round_trips_and_is_bounded() {
        let raw = b"metadata ".repeat(1000);
        let chunk = compress_metadata(&raw, 1).unwrap();
        assert!(chunk.len() < 200);
        assert_eq!(decompress_metadata(&chunk, 9000).unwrap(), raw);
        assert!(decompress_metadata(&chunk, 8999).is_err());
    }

    #[test]
    fn nothing_is_decompressed_without_memory_for_a_block() {
        let mut chunk = compress_metadata(&b"metadata ".repeat(100), 1).unwrap();
        chunk[4..8].fill(0);
        chunk[8..12].copy_from_slice(&i32::try_from(MAX_BLOCK).unwrap().to_le_bytes());
        assert!(ChunkHeader::parse(&chunk).unwrap().has_block_table());
        assert_eq!(decompress_metadata(&chunk, 1 << 20), Ok(Vec::new()));
    }

    #[test]
    fn metadata_too_good_to_be_true_are_stored_plain() {
        let raw = vec![7; 8 << 20];
        let chunk = compress_metadata(&raw, 1).unwrap();
        assert!(chunk.len() > raw.len());
        let limit = metadata_limit(chunk.len());
        assert!(decompress_metadata(&chunk, limit).unwrap() == raw);
        let compression = Compression { filter: Filter::None, typesize: Some(1), ..Compression::default() };
        let bomb = Encoder::new(compression, raw.len()).unwrap().compress(&raw).unwrap();
        assert!(bomb.len() < 1 << 14);
        let limit = metadata_limit(bomb.len());
        assert!(decompress_metadata(&bomb, limit).unwrap_err().to_string().contains("at most"));
    }
}

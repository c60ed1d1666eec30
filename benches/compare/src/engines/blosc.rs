//! Blosc2 by itself, called as directly as possible.

use std::ptr::{NonNull, null_mut};

use blosc2_src as sys;
use vldepot::{Compression, CompressionCodec, Filter};

use crate::Result;

/// The most bytes that a chunk may need besides the raw ones.
pub(crate) const OVERHEAD: usize = 32;

/// A context. One thread uses it.
struct Context(NonNull<sys::blosc2_context>);

// SAFETY: a context has no ties to the thread that made it, and `&mut self` keeps others away from it.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: created by Blosc2, freed once, not used after.
        unsafe { sys::blosc2_free_ctx(self.0.as_ptr()) };
    }
}

/// Compresses chunks with a depot's parameters.
pub(crate) struct Encoder(Context);

impl Encoder {
    pub(crate) fn new(compression: Compression, block_size: usize) -> Result<Self> {
        let filter = match compression.filter {
            Filter::None => 0,
            Filter::Shuffle => 1,
            Filter::Bitshuffle => 2,
            filter => panic!("Blosc2's number of the filter {filter} is not known here"),
        };
        // As depots do: one stream for each byte of an element (1, always) with zstd after shuffle,
        // otherwise one for all (2, never).
        let split = compression.codec == CompressionCodec::Zstd && compression.filter == Filter::Shuffle;
        let parameters = sys::blosc2_cparams {
            compcode: match compression.codec {
                CompressionCodec::Blosclz => 0,
                CompressionCodec::None | CompressionCodec::Lz4 => 1,
                CompressionCodec::Lz4hc => 2,
                CompressionCodec::Zlib => 4,
                CompressionCodec::Zstd => 5,
                codec => panic!("Blosc2's number of the compressor {codec} is not known here"),
            },
            clevel: compression.level,
            typesize: i32::from(compression.typesize.unwrap_or(4)),
            nthreads: 1,
            blocksize: i32::try_from(block_size)?,
            splitmode: if split { 1 } else { 2 },
            filters: [0, 0, 0, 0, 0, filter],
            ..sys::BLOSC2_CPARAMS_DEFAULTS
        };
        // SAFETY: a whole struct by value, whose null pointers mean "not used".
        let context = unsafe { sys::blosc2_create_cctx(parameters) };
        NonNull::new(context).map(|context| Self(Context(context))).ok_or("no compression context".into())
    }

    /// Compresses `raw` into the start of `out`. Returns the length.
    pub(crate) fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        let (raw_len, out_len) = (i32::try_from(raw.len())?, i32::try_from(out.len())?);
        // SAFETY: slices with their own lengths, which do not overlap; the context is used by this thread
        // alone.
        let n = unsafe {
            sys::blosc2_compress_ctx(
                self.0.0.as_ptr(),
                raw.as_ptr().cast(),
                raw_len,
                out.as_mut_ptr().cast(),
                out_len,
            )
        };
        usize::try_from(n).ok().filter(|&n| n > 0).ok_or("Blosc2 did not compress".into())
    }
}

/// Decompresses chunks that [`Encoder`] made, or parts of them.
pub(crate) struct Decoder(Context);

impl Decoder {
    pub(crate) fn new() -> Result<Self> {
        let parameters =
            sys::blosc2_dparams { nthreads: 1, schunk: null_mut(), postfilter: None, postparams: null_mut() };
        // SAFETY: a whole struct by value, whose null pointers mean "not used".
        let context = unsafe { sys::blosc2_create_dctx(parameters) };
        NonNull::new(context).map(|context| Self(Context(context))).ok_or("no decompression context".into())
    }

    /// Decompresses the raw bytes `start..start + len` of a chunk to the start of `out`.
    ///
    /// Only the blocks that they touch are decompressed. `start` is a multiple of the typesize, which is
    /// 4.
    pub(crate) fn part(&mut self, chunk: &[u8], start: usize, len: usize, out: &mut [u8]) -> Result<()> {
        let (first, n) = (i32::try_from(start / 4)?, i32::try_from(len.div_ceil(4))?);
        let (chunk_len, out_len) = (i32::try_from(chunk.len())?, i32::try_from(out.len())?);
        // SAFETY: slices with their own lengths, which do not overlap; the chunk is one that `Encoder` made.
        let written = unsafe {
            sys::blosc2_getitem_ctx(
                self.0.0.as_ptr(),
                chunk.as_ptr().cast(),
                chunk_len,
                first,
                n,
                out.as_mut_ptr().cast(),
                out_len,
            )
        };
        if written == 4 * n { Ok(()) } else { Err(format!("Blosc2: code {written}").into()) }
    }

    /// Decompresses all raw bytes of a chunk to the start of `out`.
    pub(crate) fn whole(&mut self, chunk: &[u8], out: &mut [u8]) -> Result<usize> {
        let (chunk_len, out_len) = (i32::try_from(chunk.len())?, i32::try_from(out.len())?);
        // SAFETY: slices with their own lengths, which do not overlap; the chunk is one that `Encoder` made.
        let n = unsafe {
            sys::blosc2_decompress_ctx(
                self.0.0.as_ptr(),
                chunk.as_ptr().cast(),
                chunk_len,
                out.as_mut_ptr().cast(),
                out_len,
            )
        };
        usize::try_from(n).map_err(|_| format!("Blosc2: code {n}").into())
    }
}

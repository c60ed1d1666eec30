//! Contexts of c-blosc2. This is the only module that calls it.
//!
//! A context belongs to one thread at a time. [`with_decoder`] keeps one per thread. The `_ctx` calls do not
//! need `blosc2_init`, and no call here starts a thread.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ptr::{NonNull, null_mut};

use blosc2_src as sys;

use super::blocks::append_zero_blocks;
use super::error::{BloscError, refuse};
use super::header::{ChunkHeader, NAN, REPEATED};
use super::limits::{HEADER_LEN, MAX_CHUNK, MAX_OVERHEAD};
use super::params::{Compression, CompressionCodec, Filter, Split, compcode};
use super::sparse::{Frames, plane};
use super::vet::{Vetted, vet};
use super::zlib;
use crate::le::u32_at;

/// A compression context.
pub(crate) struct Encoder {
    context: NonNull<sys::blosc2_context>,
    compression: Compression,
    block_size: usize,
    split: Split,
    /// For blocks of few bytes, once there was one.
    sparse: Option<Box<Sparse>>,
}

/// Fewer bytes are stored as they are: a frame of them would hardly be shorter.
const LEAST_COMPRESSED: usize = 64;

/// What an encoder needs for blocks of few bytes.
struct Sparse {
    /// The header of a chunk of this encoder, with other lengths.
    head: [u8; HEADER_LEN],
    /// Compress bytes as they are, so many of them.
    of_lengths: Vec<(usize, Encoder)>,
    /// What they compress, and the chunk that they make.
    padded: Vec<u8>,
    room: Vec<u8>,
}

// SAFETY: a context is a heap object without thread-local parts; c-blosc2 allows any one thread at a time to
// use it, and `&mut self` on every method keeps it to one.
unsafe impl Send for Encoder {}

impl Encoder {
    /// A context that compresses with `compression`, in blocks of `block_size` raw bytes.
    pub(crate) fn new(compression: Compression, block_size: usize) -> Result<Self, BloscError> {
        Self::with_split(compression, block_size, Split::of(compression))
    }

    /// Like [`new`](Self::new), but blocks are split into streams as `split` says.
    pub(crate) fn with_split(
        compression: Compression,
        block_size: usize,
        split: Split,
    ) -> Result<Self, BloscError> {
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
            splitmode: i32::from(split.code()),
            filters,
            ..sys::BLOSC2_CPARAMS_DEFAULTS
        };
        // SAFETY: `params` is a whole `blosc2_cparams` passed by value; its pointers are null, which the
        // function documents as "not used".
        let context = unsafe { sys::blosc2_create_cctx(params) };
        let Some(context) = NonNull::new(context) else {
            return refuse("c-blosc2 could not create a compression context with these parameters");
        };
        Ok(Self { context, compression, block_size, split, sparse: None })
    }

    /// Raw bytes of a block.
    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// Compresses `raw` to a chunk, and writes it into `out` from byte `at` on.
    ///
    /// `out` grows if needed, and can be used again for the next chunk. Bytes before the chunk stay as they
    /// are. If `raw` is less than a block, c-blosc2 makes smaller blocks from then on: use this encoder for
    /// nothing longer.
    ///
    /// The header of the chunk is checked against the parameters. `BLOSC_*` environment variables override
    /// them inside c-blosc2, and a depot of mixed parameters would not be a standard frame.
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
        // SAFETY: both pointers come from slices that live through the call, with those slices' own lengths,
        // and do not overlap: `dest` is borrowed mutably. The call writes at most `dest_len` bytes
        // (blosc2.h), keeps neither pointer, and the context is alive and used by this thread alone (`&mut
        // self`).
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

    /// Compresses `raw`, and zeros after it up to `raw_len` bytes, to a chunk at byte `at` of `out`.
    ///
    /// `raw` must be whole blocks, and so must `raw_len`. The time and the memory that this takes depend on
    /// `raw` alone. `None` if `raw` does not shrink: c-blosc2 then makes no blocks that any could follow.
    pub(crate) fn compress_padded(
        &mut self,
        raw: &[u8],
        raw_len: usize,
        out: &mut Vec<u8>,
        at: usize,
    ) -> Result<Option<ChunkHeader>, BloscError> {
        let block_size = self.block_size.max(1);
        let padding = raw_len.saturating_sub(raw.len()) / block_size;
        if raw.is_empty() || !raw.len().is_multiple_of(block_size) || !raw_len.is_multiple_of(block_size) {
            return refuse(format!("{} of {raw_len} bytes in blocks of {block_size}", raw.len()));
        }
        // The blocks leave room for the offsets of those that are appended.
        let short = self.compress_into(raw, out, at + 4 * padding)?;
        if short.is_memcpyed() {
            return Ok(None);
        }
        append_zero_blocks(out, at, &short, padding).map(Some)
    }

    /// Compresses `raw`, which is at most half a block, and zeros after it up to `raw_len` bytes, to a chunk at
    /// byte `at` of `out`.
    ///
    /// The encoder must be one of zstd whose blocks are not split, and `raw_len` whole blocks. The time and the
    /// memory that this takes depend on `raw` alone.
    pub(crate) fn compress_sparse(
        &mut self,
        raw: &[u8],
        raw_len: usize,
        out: &mut Vec<u8>,
        at: usize,
    ) -> Result<ChunkHeader, BloscError> {
        let block_size = self.block_size;
        let typesize = match self.compression.filter {
            Filter::None => 1,
            Filter::Shuffle => usize::from(self.compression.typesize()),
            Filter::Bitshuffle => 0,
        };
        let zstd = self.compression.codec == CompressionCodec::Zstd && self.split == Split::Never;
        let whole = block_size > 0 && raw_len.is_multiple_of(block_size) && raw.len() <= block_size / 2;
        if !zstd || !whole || typesize == 0 || !block_size.is_multiple_of(typesize) {
            return refuse(format!("{} of {raw_len} bytes in blocks of {block_size}", raw.len()));
        }
        let mut sparse = match self.sparse.take() {
            Some(sparse) => sparse,
            None => Box::new(self.make_sparse()?),
        };
        let mut frames = Frames::default();
        for nth in 0..typesize {
            let plane = if typesize == 1 { Cow::Borrowed(raw) } else { plane(raw, typesize, nth).into() };
            let pushed = sparse.push(&plane, self.compression.level, &mut frames)?;
            frames.push_repeated(0, (block_size / typesize).saturating_sub(pushed));
        }
        let stream = frames.finish();
        // A chunk of one block, with one offset, and before its stream the length of that.
        let padding = raw_len / block_size - 1;
        let (start, offset) = (at + 4 * padding, HEADER_LEN + 4);
        let stored_len = offset + 4 + stream.len();
        let mut short = sparse.head;
        self.sparse = Some(sparse);
        let word = |n: usize| i32::try_from(n).map_err(|_| BloscError::new("a block longer than 2 GiB"));
        for (place, n) in [(4, block_size), (8, block_size), (12, stored_len)] {
            short[place..place + 4].copy_from_slice(&word(n)?.to_le_bytes());
        }
        if out.len() < start + stored_len {
            out.resize(start + stored_len, 0);
        }
        out[start..start + HEADER_LEN].copy_from_slice(&short);
        for (place, n) in [(HEADER_LEN, offset), (offset, stream.len())] {
            out[start + place..][..4].copy_from_slice(&word(n)?.to_le_bytes());
        }
        out[start + offset + 4..start + stored_len].copy_from_slice(&stream);
        append_zero_blocks(out, at, &ChunkHeader::parse(&short)?, padding)
    }

    fn make_sparse(&self) -> Result<Sparse, BloscError> {
        let typesize = usize::from(self.compression.typesize());
        let pattern: Vec<u8> = (0..typesize * 1024).map(|n| (n / 64).to_le_bytes()[0]).collect();
        let mut room = Vec::new();
        // Not this encoder, which would have smaller blocks from then on.
        let mut like_this = Self::with_split(self.compression, pattern.len(), self.split)?;
        let header = like_this.compress_into(&pattern, &mut room, 0)?;
        if header.is_memcpyed() || header.special() != 0 || header.n_streams() != 1 {
            return refuse("a chunk of another kind than was asked for");
        }
        Ok(Sparse { head: header.bytes, of_lengths: Vec::new(), padded: Vec::new(), room })
    }

    /// Compresses `raw` to a chunk.
    pub(crate) fn compress(&mut self, raw: &[u8]) -> Result<Vec<u8>, BloscError> {
        let mut out = Vec::new();
        let header = self.compress_into(raw, &mut out, 0)?;
        out.truncate(header.stored_len);
        Ok(out)
    }
}

impl Sparse {
    /// Appends bytes, and perhaps zeros, to a stream of zstd. Returns how many bytes there are with these.
    fn push(&mut self, bytes: &[u8], level: u8, frames: &mut Frames) -> Result<usize, BloscError> {
        let first = bytes.first().copied().unwrap_or(0);
        if bytes.iter().all(|&byte| byte == first) {
            frames.push_repeated(first, bytes.len());
            return Ok(bytes.len());
        }
        if bytes.len() >= LEAST_COMPRESSED {
            let length = bytes.len().next_power_of_two();
            self.padded.clear();
            self.padded.extend_from_slice(bytes);
            self.padded.resize(length, 0);
            let encoder = self.encoder_of(length, level)?;
            let (mut room, padded) = (std::mem::take(&mut self.room), std::mem::take(&mut self.padded));
            let header = self.of_lengths[encoder].1.compress_into(&padded, &mut room, 0)?;
            (self.room, self.padded) = (room, padded);
            // Not if they do not shrink.
            if header.has_block_table() && header.n_blocks() == 1 {
                // One offset, and the length of the stream.
                let start = header.prefix_len() + 4;
                let frame = self.room.get(start..header.stored_len).unwrap_or_default();
                if u32_at(&self.room, start - 4).is_some_and(|length| length as usize == frame.len())
                    && frame.len() < bytes.len()
                {
                    frames.push_frame(frame);
                    return Ok(length);
                }
            }
        }
        frames.push_raw(bytes);
        Ok(bytes.len())
    }

    /// The number of the encoder of so many bytes.
    fn encoder_of(&mut self, length: usize, level: u8) -> Result<usize, BloscError> {
        if let Some(at) = self.of_lengths.iter().position(|(of, _)| *of == length) {
            return Ok(at);
        }
        let (codec, filter) = (CompressionCodec::Zstd, Filter::None);
        let plain = Compression { codec, filter, level, typesize: Some(1) };
        self.of_lengths.push((length, Encoder::with_split(plain, length, Split::Never)?));
        Ok(self.of_lengths.len() - 1)
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

    /// Decompresses a whole chunk into `out`, which must be exactly as long as its raw bytes.
    pub(crate) fn decompress(&mut self, vetted: &Vetted<'_>, out: &mut [u8]) -> Result<(), BloscError> {
        let Vetted { chunk, header } = *vetted;
        if header.raw_len != out.len() {
            return refuse(format!("a chunk of {} raw bytes where {} are", header.raw_len, out.len()));
        }
        if out.is_empty() {
            // C would take memory for a block of any size that the header declares.
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

    /// Decompresses a chunk with a codec that c-blosc2 is built with here.
    fn decompress_streams(&mut self, vetted: &Vetted<'_>, out: &mut [u8]) -> Result<(), BloscError> {
        let Vetted { chunk, header } = *vetted;
        if header.raw_len != out.len() {
            return refuse(format!("a chunk of {} raw bytes where {} are", header.raw_len, out.len()));
        }
        let (Ok(src_len), Ok(out_len)) = (i32::try_from(chunk.len()), i32::try_from(out.len())) else {
            return refuse("a chunk longer than 2 GiB");
        };
        // SAFETY: both pointers come from slices that live through the call; `src_len` is `chunk.len()`, as
        // `vet` cut it, and `out_len` is the slice's own. They do not overlap: `out` is borrowed mutably. The
        // call never writes past `out_len` (blosc2.h), keeps neither pointer, and `&mut self` gives the
        // context to this thread alone. The chunk is well formed, because `vet` has checked it: only `vet`
        // makes a `Vetted`.
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

/// Fills `out` with the value of a special chunk.
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

/// Decompresses a whole chunk into `out`, which must be exactly as long as its raw bytes.
///
/// Damage inside a compressed stream may go unnoticed if no checksum covers it. All other damage is refused
/// before C sees it.
#[cfg(test)]
pub(crate) fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<(), BloscError> {
    let vetted = vet(chunk)?;
    with_decoder(|decoder| decoder.decompress(&vetted, out))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn noisy_ramp(n: usize) -> Vec<u8> {
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
    fn blocks_of_few_bytes_and_many_zeros_come_back() {
        for (filter, typesize) in [
            (Filter::None, 4),
            (Filter::Shuffle, 1),
            (Filter::Shuffle, 4),
            (Filter::Shuffle, 7),
            (Filter::Shuffle, 8),
        ] {
            let compression =
                Compression { codec: CompressionCodec::Zstd, level: 1, filter, typesize: Some(typesize) };
            for block_size in [7 << 13, 7 << 17] {
                let mut encoder = Encoder::with_split(compression, block_size, Split::Never).unwrap();
                for raw in
                    [noisy_ramp(1200), noisy_ramp(20_000), vec![0; 500], b"a text of few bytes".repeat(40)]
                {
                    for used in [0, 1, 3, 64, 501, raw.len()] {
                        let raw = &raw[..used.min(raw.len())];
                        for n_blocks in [1, 2, 16] {
                            let mut out = vec![0xa5; 100];
                            let header =
                                encoder.compress_sparse(raw, n_blocks * block_size, &mut out, 9).unwrap();
                            let chunk = &out[9..9 + header.stored_len];
                            let mut back = vec![1; n_blocks * block_size];
                            decompress(chunk, &mut back).unwrap();
                            assert!(
                                back[..raw.len()] == *raw && back[raw.len()..].iter().all(|&byte| byte == 0)
                            );
                            let most = raw.len() + 30 * usize::from(typesize) + 8 * n_blocks + 60;
                            assert!(
                                chunk.len() <= most,
                                "{} bytes for {used}, {filter:?} {typesize}",
                                chunk.len()
                            );
                        }
                    }
                }
            }
        }
        let mut lz4 = Encoder::new(Compression::lz4(), 1 << 14).unwrap();
        assert!(lz4.compress_sparse(b"few", 1 << 15, &mut Vec::new(), 0).is_err());
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
}

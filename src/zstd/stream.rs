//! Streams of frames.

use std::ffi::{c_int, c_void};
use std::io::{self, BufRead, Read, Write};

use super::{Compressor, Decompressor, checked};

/// `ZSTD_inBuffer`.
#[repr(C)]
struct In {
    bytes: *const c_void,
    len: usize,
    at: usize,
}

/// `ZSTD_outBuffer`.
#[repr(C)]
struct Out {
    bytes: *mut c_void,
    len: usize,
    at: usize,
}

/// `ZSTD_c_compressionLevel` and `ZSTD_c_checksumFlag` of `ZSTD_cParameter`.
const LEVEL: c_int = 100;
const CHECKSUM: c_int = 201;

/// `ZSTD_e_continue`, `ZSTD_e_flush` and `ZSTD_e_end` of `ZSTD_EndDirective`.
const CONTINUE: c_int = 0;
const FLUSH: c_int = 1;
const END: c_int = 2;

/// What the command `zstd` uses by default.
const DEFAULT_LEVEL: c_int = 3;

/// Bytes that are compressed at once.
const BUFFER: usize = 128 << 10;

unsafe extern "C" {
    fn ZSTD_CCtx_setParameter(context: *mut c_void, parameter: c_int, value: c_int) -> usize;
    #[cfg(feature = "maps")]
    fn ZSTD_CCtx_setPledgedSrcSize(context: *mut c_void, len: u64) -> usize;
    fn ZSTD_compressStream2(context: *mut c_void, out: *mut Out, bytes: *mut In, end: c_int) -> usize;
    fn ZSTD_decompressStream(context: *mut c_void, out: *mut Out, bytes: *mut In) -> usize;
}

/// Whether these bytes start a frame, or one that is to be skipped.
#[cfg(feature = "convert")]
pub(crate) fn is_frame(start: &[u8]) -> bool {
    let Some(magic) = start.first_chunk().map(|magic| u32::from_le_bytes(*magic)) else { return false };
    magic == 0xfd2f_b528 || magic & 0xffff_fff0 == 0x184d_2a50
}

fn no_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// Decompresses frames, one after the other. A window of more than 128 MiB is refused, as the command
/// `zstd` does.
pub(crate) struct Reader<R> {
    source: R,
    context: Option<Decompressor>,
    /// Whether a frame has begun and not ended.
    within: bool,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, context: Decompressor::new(), within: false }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let context = self.context.as_ref().ok_or_else(no_memory)?.0;
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let given = self.source.fill_buf()?;
            let is_end = given.is_empty();
            if is_end && !self.within {
                return Ok(0);
            }
            let mut bytes = In { bytes: given.as_ptr().cast(), len: given.len(), at: 0 };
            let mut out = Out { bytes: into.as_mut_ptr().cast(), len: into.len(), at: 0 };
            // SAFETY: the context is alive and used by this thread alone. Both buffers are slices that live
            // through the call, with their own lengths; zstd reads and writes no byte beyond them, moves `at`
            // up to `len`, and keeps neither pointer.
            let left =
                checked(unsafe { ZSTD_decompressStream(context.as_ptr(), &raw mut out, &raw mut bytes) })?;
            let (taken, made) = (bytes.at, out.at);
            self.source.consume(taken);
            self.within = left != 0;
            if made > 0 {
                return Ok(made);
            }
            if is_end && taken == 0 && self.within {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Compresses what is written to it into one frame, with a checksum.
pub(crate) struct Writer<W> {
    target: W,
    compressor: Compressor,
    /// What is to be written next.
    made: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(target: W) -> io::Result<Self> {
        let compressor = Compressor::new().ok_or_else(no_memory)?;
        let context = compressor.0;
        for (parameter, value) in [(LEVEL, DEFAULT_LEVEL), (CHECKSUM, 1)] {
            // SAFETY: the context is alive and used by this thread alone; any numbers may be given.
            checked(unsafe { ZSTD_CCtx_setParameter(context.as_ptr(), parameter, value) })?;
        }
        Ok(Self { target, compressor, made: vec![0; BUFFER] })
    }

    /// The same for exactly `len` bytes. The frame says so, which decoders of whole values ask for.
    #[cfg(feature = "maps")]
    pub(crate) fn sized(target: W, len: u64) -> io::Result<Self> {
        let writer = Self::new(target)?;
        // SAFETY: the context is alive, used by this thread alone, and has begun no frame.
        checked(unsafe { ZSTD_CCtx_setPledgedSrcSize(writer.compressor.0.as_ptr(), len) })?;
        Ok(writer)
    }

    /// Compresses bytes, and returns how many of them were taken, and whether more is to be written.
    fn compress(&mut self, given: &[u8], end: c_int) -> io::Result<(usize, bool)> {
        let mut bytes = In { bytes: given.as_ptr().cast(), len: given.len(), at: 0 };
        let mut out = Out { bytes: self.made.as_mut_ptr().cast(), len: self.made.len(), at: 0 };
        let context = self.compressor.0.as_ptr();
        // SAFETY: as in `Reader::read`: `made` is not borrowed otherwise, and `given` is another slice.
        let left = checked(unsafe { ZSTD_compressStream2(context, &raw mut out, &raw mut bytes, end) })?;
        let (taken, made) = (bytes.at, out.at);
        self.target.write_all(&self.made[..made])?;
        Ok((taken, left > 0))
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        while self.compress(&[], END)?.1 {}
        Ok(self.target)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let (taken, _) = self.compress(bytes, CONTINUE)?;
            if taken > 0 || bytes.is_empty() {
                return Ok(taken);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.compress(&[], FLUSH)?.1 {}
        self.target.flush()
    }
}

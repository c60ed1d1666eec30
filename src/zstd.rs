//! Streams of zstd, by the library that c-blosc2 brings. A second one would have the same symbols.
//!
//! The declarations are those of `zstd.h`, version 1.5, in its part that is promised to stay.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{self, BufRead, Read, Write};
use std::ptr::NonNull;

// It brings the library.
use blosc2_src as _;

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
    fn ZSTD_createCCtx() -> *mut c_void;
    fn ZSTD_freeCCtx(context: *mut c_void) -> usize;
    fn ZSTD_CCtx_setParameter(context: *mut c_void, parameter: c_int, value: c_int) -> usize;
    #[cfg(feature = "maps")]
    fn ZSTD_CCtx_setPledgedSrcSize(context: *mut c_void, len: u64) -> usize;
    fn ZSTD_compressStream2(context: *mut c_void, out: *mut Out, bytes: *mut In, end: c_int) -> usize;
    fn ZSTD_createDCtx() -> *mut c_void;
    fn ZSTD_freeDCtx(context: *mut c_void) -> usize;
    fn ZSTD_decompressStream(context: *mut c_void, out: *mut Out, bytes: *mut In) -> usize;
    fn ZSTD_isError(code: usize) -> u32;
    fn ZSTD_getErrorName(code: usize) -> *const c_char;
}

/// Whether these bytes start a frame, or one that is to be skipped.
#[cfg(feature = "convert")]
pub(crate) fn is_frame(start: &[u8]) -> bool {
    let Some(magic) = start.first_chunk().map(|magic| u32::from_le_bytes(*magic)) else { return false };
    magic == 0xfd2f_b528 || magic & 0xffff_fff0 == 0x184d_2a50
}

/// The result of a call.
fn checked(code: usize) -> io::Result<usize> {
    // SAFETY: takes any number.
    if unsafe { ZSTD_isError(code) } == 0 {
        return Ok(code);
    }
    // SAFETY: returns a text for any number, which is never freed.
    let name = unsafe { CStr::from_ptr(ZSTD_getErrorName(code)) };
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {}", name.to_string_lossy())))
}

fn no_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// Decompresses frames, one after the other. A window of more than 128 MiB is refused, as the command
/// `zstd` does.
pub(crate) struct Reader<R> {
    source: R,
    context: Option<NonNull<c_void>>,
    /// Whether a frame has begun and not ended.
    within: bool,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(source: R) -> Self {
        // SAFETY: takes nothing. There is none if there is no memory for it.
        let context = NonNull::new(unsafe { ZSTD_createDCtx() });
        Self { source, context, within: false }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let context = self.context.ok_or_else(no_memory)?;
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

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        if let Some(context) = self.context {
            // SAFETY: made by `ZSTD_createDCtx`, and not used any more.
            unsafe { ZSTD_freeDCtx(context.as_ptr()) };
        }
    }
}

/// A compression context.
struct Compressor(NonNull<c_void>);

impl Drop for Compressor {
    fn drop(&mut self) {
        // SAFETY: made by `ZSTD_createCCtx`, and not used any more.
        unsafe { ZSTD_freeCCtx(self.0.as_ptr()) };
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
        // SAFETY: takes nothing. There is none if there is no memory for it.
        let context = NonNull::new(unsafe { ZSTD_createCCtx() }).ok_or_else(no_memory)?;
        let compressor = Compressor(context);
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

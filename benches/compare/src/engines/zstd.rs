//! zstd, record by record.
//!
//! It uses the library that Blosc2 brings, because a second one would mix symbols with it.

// Only linked, because its static library contains zstd.
use blosc2_src as _;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr::NonNull;

use crate::Result;

// From zstd.h, version 1.5.6.
#[allow(non_snake_case, reason = "zstd's names")]
unsafe extern "C" {
    fn ZSTD_createCCtx() -> *mut c_void;
    fn ZSTD_freeCCtx(context: *mut c_void) -> usize;
    fn ZSTD_createDCtx() -> *mut c_void;
    fn ZSTD_freeDCtx(context: *mut c_void) -> usize;
    fn ZSTD_compressBound(len: usize) -> usize;
    fn ZSTD_isError(code: usize) -> c_uint;
    fn ZSTD_getFrameContentSize(source: *const c_void, len: usize) -> u64;
    fn ZSTD_compressCCtx(
        context: *mut c_void,
        destination: *mut c_void,
        capacity: usize,
        source: *const c_void,
        len: usize,
        level: c_int,
    ) -> usize;
    fn ZSTD_decompressDCtx(
        context: *mut c_void,
        destination: *mut c_void,
        capacity: usize,
        source: *const c_void,
        len: usize,
    ) -> usize;
}

fn checked(code: usize) -> Result<usize> {
    // SAFETY: a function of a number.
    if unsafe { ZSTD_isError(code) } == 0 { Ok(code) } else { Err("zstd failed".into()) }
}

/// Compresses with one context.
pub(crate) struct Compressor {
    context: NonNull<c_void>,
    level: c_int,
    out: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(level: c_int) -> Result<Self> {
        // SAFETY: takes nothing.
        let context = NonNull::new(unsafe { ZSTD_createCCtx() }).ok_or("no zstd context")?;
        Ok(Self { context, level, out: Vec::new() })
    }

    pub(crate) fn compress(&mut self, bytes: &[u8]) -> Result<&[u8]> {
        // SAFETY: a function of a number.
        let bound = unsafe { ZSTD_compressBound(bytes.len()) };
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        }
        // SAFETY: a live context and slices with their own lengths, which do not overlap.
        let n = checked(unsafe {
            ZSTD_compressCCtx(
                self.context.as_ptr(),
                self.out.as_mut_ptr().cast(),
                self.out.len(),
                bytes.as_ptr().cast(),
                bytes.len(),
                self.level,
            )
        })?;
        Ok(&self.out[..n])
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        // SAFETY: made by `ZSTD_createCCtx`, freed once.
        unsafe { ZSTD_freeCCtx(self.context.as_ptr()) };
    }
}

/// Decompresses with one context into one buffer.
pub(crate) struct Decompressor {
    context: NonNull<c_void>,
    out: Vec<u8>,
}

impl Decompressor {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: takes nothing.
        let context = NonNull::new(unsafe { ZSTD_createDCtx() }).ok_or("no zstd context")?;
        Ok(Self { context, out: Vec::new() })
    }

    pub(crate) fn decompress(&mut self, bytes: &[u8]) -> Result<&[u8]> {
        // SAFETY: a slice with its own length.
        let len = unsafe { ZSTD_getFrameContentSize(bytes.as_ptr().cast(), bytes.len()) };
        let len = usize::try_from(len).ok().filter(|&len| len <= 1 << 30).ok_or("not a zstd frame")?;
        if self.out.len() < len {
            self.out.resize(len, 0);
        }
        // SAFETY: a live context and slices with their own lengths, which do not overlap.
        let n = checked(unsafe {
            ZSTD_decompressDCtx(
                self.context.as_ptr(),
                self.out.as_mut_ptr().cast(),
                self.out.len(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        })?;
        Ok(&self.out[..n])
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: made by `ZSTD_createDCtx`, freed once.
        unsafe { ZSTD_freeDCtx(self.context.as_ptr()) };
    }
}

//! zstd, by the library that c-blosc2 brings. A second one would have the same symbols.
//!
//! The declarations are those of `zstd.h`, version 1.5, in its part that is promised to stay.

#[cfg(any(feature = "convert", feature = "maps"))]
mod stream;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::ptr::NonNull;

// It brings the library.
use blosc2_src as _;

#[cfg(feature = "convert")]
pub(crate) use stream::is_frame;
#[cfg(any(feature = "convert", feature = "maps"))]
pub(crate) use stream::{Reader, Writer};

unsafe extern "C" {
    fn ZSTD_createCCtx() -> *mut c_void;
    fn ZSTD_freeCCtx(context: *mut c_void) -> usize;
    fn ZSTD_compressCCtx(
        context: *mut c_void,
        to: *mut c_void,
        room: usize,
        from: *const c_void,
        len: usize,
        level: c_int,
    ) -> usize;
    fn ZSTD_decompressDCtx(
        context: *mut c_void,
        to: *mut c_void,
        room: usize,
        from: *const c_void,
        len: usize,
    ) -> usize;
    fn ZSTD_createDCtx() -> *mut c_void;
    fn ZSTD_freeDCtx(context: *mut c_void) -> usize;
    fn ZSTD_isError(code: usize) -> u32;
    fn ZSTD_getErrorName(code: usize) -> *const c_char;
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

/// Compresses and decompresses bytes as a whole, with contexts that are made once.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    compressor: Option<Compressor>,
    decompressor: Option<Decompressor>,
}

impl Whole {
    /// Appends the frame of `bytes` to `out`, if it has fewer bytes than they are. Returns whether it has.
    pub(crate) fn compress(&mut self, bytes: &[u8], level: i32, out: &mut Vec<u8>) -> bool {
        if self.compressor.is_none() {
            self.compressor = Compressor::new();
        }
        let Some(Compressor(context)) = &self.compressor else { return false };
        let start = out.len();
        out.resize(start + bytes.len().saturating_sub(1), 0);
        let to = &mut out[start..];
        // SAFETY: the context is alive and borrowed by this call alone. Both buffers are slices that live
        // through the call, with their own lengths; zstd reads and writes no byte beyond them, and keeps no
        // pointer.
        let made = unsafe {
            ZSTD_compressCCtx(
                context.as_ptr(),
                to.as_mut_ptr().cast(),
                to.len(),
                bytes.as_ptr().cast(),
                bytes.len(),
                level,
            )
        };
        // The most common error is that there is no room.
        let made = checked(made).ok();
        out.truncate(start + made.unwrap_or(0));
        made.is_some()
    }

    /// Fills `out` from the frame in `bytes`. Returns whether that has exactly as many bytes.
    pub(crate) fn decompress(&mut self, bytes: &[u8], out: &mut [u8]) -> bool {
        if self.decompressor.is_none() {
            self.decompressor = Decompressor::new();
        }
        let Some(Decompressor(context)) = &self.decompressor else { return false };
        // SAFETY: as in `compress`.
        let made = unsafe {
            ZSTD_decompressDCtx(
                context.as_ptr(),
                out.as_mut_ptr().cast(),
                out.len(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        };
        checked(made).is_ok_and(|made| made == out.len())
    }
}

/// A decompression context.
#[derive(Debug)]
struct Decompressor(NonNull<c_void>);

// SAFETY: a context belongs to no thread; it must only not be used by two at once, and it is not `Sync`.
unsafe impl Send for Decompressor {}

impl Decompressor {
    /// `None` if there is no memory for it.
    fn new() -> Option<Self> {
        // SAFETY: takes nothing.
        NonNull::new(unsafe { ZSTD_createDCtx() }).map(Self)
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: made by `ZSTD_createDCtx`, and not used any more.
        unsafe { ZSTD_freeDCtx(self.0.as_ptr()) };
    }
}

/// A compression context.
#[derive(Debug)]
struct Compressor(NonNull<c_void>);

// SAFETY: as for `Decompressor`.
unsafe impl Send for Compressor {}

impl Compressor {
    /// `None` if there is no memory for it.
    fn new() -> Option<Self> {
        // SAFETY: takes nothing.
        NonNull::new(unsafe { ZSTD_createCCtx() }).map(Self)
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        // SAFETY: made by `ZSTD_createCCtx`, and not used any more.
        unsafe { ZSTD_freeCCtx(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back_and_nothing_else_does() {
        let mut zstd = Whole::default();
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n % 7) as u8).collect();
        let mut out = vec![9; 3];
        assert!(zstd.compress(&bytes, 1, &mut out) && out.len() < 200 && out[..3] == [9; 3]);
        let mut back = vec![0; bytes.len()];
        assert!(zstd.decompress(&out[3..], &mut back));
        assert_eq!(back, bytes);
        for len in [0, 1, bytes.len() - 1, bytes.len() + 1] {
            assert!(!zstd.decompress(&out[3..], &mut vec![0; len]), "{len}");
        }
        for end in 3..out.len() {
            assert!(!zstd.decompress(&out[3..end], &mut back));
        }
        // What does not shrink leaves no bytes.
        let before = out.clone();
        for noise in [&[][..], &[1], &[1, 2, 3, 4, 5]] {
            assert!(!zstd.compress(noise, 1, &mut out) && out == before);
        }
    }
}

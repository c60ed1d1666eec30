//! A word of memory that the system clears in every new process.
//!
//! Unlike a handler of `pthread_atfork`, this also works for processes that were made without the C
//! library: by `clone`, or by `_Fork`. A process that shares its parent's memory (`vfork`) also shares
//! the word.

use std::sync::atomic::AtomicU32;

/// The word. It is 0 until somebody sets it, and 0 again in each fork. `None` if the system cannot do
/// that.
///
/// Once given, the answer stays the same for a process and all its forks.
#[cfg(target_os = "linux")]
pub(super) fn word() -> Option<&'static AtomicU32> {
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// Stands for a word that is not available.
    static NONE: AtomicU32 = AtomicU32::new(0);
    // This is no `OnceLock`: a process forked while another thread fills one would wait for that thread
    // for ever.
    static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
    let mut word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        let new = map().unwrap_or_else(|| (&raw const NONE).cast_mut());
        // If two threads get here together, the page of the second stays unused.
        word = match WORD.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(first) => first,
        };
    }
    // SAFETY: not null, so it is `NONE` or what `map` gave: an aligned and zeroed word that lives for
    // ever, and that nobody accesses but as an atomic. The system changes it only in a process that is not
    // running yet.
    let word = unsafe { &*word };
    (!std::ptr::eq(word, &raw const NONE)).then_some(word)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn word() -> Option<&'static AtomicU32> {
    None
}

/// Makes a page that is cleared at each fork, and returns its first word. The page is never given back.
#[cfg(target_os = "linux")]
fn map() -> Option<*mut AtomicU32> {
    const LEN: libc::size_t = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the first call makes new memory where the system likes, and touches no other memory. The
    // other calls concern that memory alone, and change only what a fork sees of it. There is no advice
    // -1: an emulator that accepts it also accepts the next one, and follows neither.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), LEN, protection, flags, -1, 0);
        let is_cleared = page != libc::MAP_FAILED
            && libc::madvise(page, LEN, -1) != 0
            && libc::madvise(page, LEN, libc::MADV_WIPEONFORK) == 0;
        is_cleared.then_some(page.cast())
    }
}

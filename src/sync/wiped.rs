//! A word that is 0 in every fork, until the fork writes to it: `MADV_WIPEONFORK` of Linux.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Where the word is: null before it was first asked for, [`NONE`] where the system has no such memory.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
static NONE: AtomicU32 = AtomicU32::new(0);

/// Bytes of the memory; the system rounds them up to a page.
const LEN: usize = size_of::<AtomicU32>();

/// The word; `None` where the system has no such memory.
pub(super) fn word() -> Option<&'static AtomicU32> {
    let mut at = WORD.load(Ordering::Acquire);
    if at.is_null() {
        at = make();
    }
    if ptr::eq(at, &raw const NONE) {
        return None;
    }
    // SAFETY: `WORD` is null, `NONE` or what `map` gave to `make`: memory for an aligned `AtomicU32`, zeroed by the
    // system, never unmapped and used through this type alone.
    Some(unsafe { &*at })
}

/// No lock is taken: a fork could find it held by a thread that it does not have.
#[cold]
fn make() -> *mut AtomicU32 {
    let mapped = map();
    let made = mapped.unwrap_or((&raw const NONE).cast_mut());
    match WORD.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(first) => {
            if let Some(unused) = mapped {
                unmap(unused);
            }
            first
        }
    }
}

fn map() -> Option<*mut AtomicU32> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for new memory, wherever the system likes; nothing that exists is touched.
    let at = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return None;
    }
    // Emulators may accept any advice and heed none: one that there is not tells.
    // SAFETY: advice on the memory just mapped, which nobody else knows of; it changes no content.
    let unheeded = unsafe { libc::madvise(at, LEN, -1) == 0 };
    // SAFETY: as above.
    let wiped = !unheeded && unsafe { libc::madvise(at, LEN, libc::MADV_WIPEONFORK) == 0 };
    if wiped {
        return Some(at.cast());
    }
    unmap(at.cast());
    None
}

fn unmap(at: *mut AtomicU32) {
    // SAFETY: memory that `map` mapped, of which no reference was made.
    unsafe { libc::munmap(at.cast(), LEN) };
}

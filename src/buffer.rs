//! Bytes that records borrow from: aligned heap buffers and memory maps, shared by `Arc`.
//!
//! An [`AlignedBuf`] starts at a multiple of 64 bytes. It is always initialised, so it can be handed to
//! a decompressor as a plain `&mut [u8]`. A dropped buffer goes to a small pool of its thread, and comes
//! back from there without a call to the allocator. It still holds its old content, which the next owner
//! overwrites.
//!
//! Large buffers that do not fit into the thread's pool go to a pool that all threads share. A caller
//! that drops the records of one large batch after another then needs no fresh memory for each. The
//! shared pool also returns buffers that one thread fills and another one drops. It keeps more while a
//! [`Recycling`] lives.
//!
//! ```text
//! dropped ──> pool of the thread ──(full)──> pool of the process, 64 KiB and more ──(full)──> the allocator
//! ```

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut, Range};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// Every buffer, and every uncompressed payload in a file, starts at a multiple of this many bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// A thread keeps at most this many bytes of dropped buffers for reuse.
const POOL_BYTES: usize = 16 << 20;
/// A thread keeps at most this many dropped buffers.
const POOL_BUFFERS: usize = 16;
/// All threads together keep this many more bytes.
const SHARED_BYTES: usize = 64 << 20;
/// The shared pool takes buffers of at least this many bytes.
///
/// The system spends time on each page of a fresh large buffer. Small ones cost the allocator hardly
/// any.
const SHARED_LEAST: usize = 64 << 10;

thread_local! {
    static POOL: RefCell<Vec<AlignedBuf>> = const { RefCell::new(Vec::new()) };
}

/// Dropped buffers that any thread may take.
#[derive(Debug)]
struct Recycled {
    buffers: Vec<AlignedBuf>,
    bytes: usize,
    limit: usize,
}

static RECYCLED: Mutex<Recycled> =
    Mutex::new(Recycled { buffers: Vec::new(), bytes: 0, limit: SHARED_BYTES });

impl Recycled {
    /// Changes the limit. Returns the buffers that exceed it.
    fn set_limit(&mut self, limit: usize) -> Vec<AlignedBuf> {
        self.limit = limit;
        let mut above = Vec::new();
        while self.bytes > limit
            && let Some(buf) = self.buffers.pop()
        {
            self.bytes -= buf.capacity;
            above.push(buf);
        }
        above
    }

    fn take(&mut self, len: usize) -> Option<AlignedBuf> {
        let at = self.buffers.iter().rposition(|buf| buf.fits(len))?;
        let buf = self.buffers.swap_remove(at);
        self.bytes -= buf.capacity;
        Some(buf)
    }
}

/// Calls `job` with the shared pool, unless another thread holds it.
///
/// It never waits: in a forked process the thread that holds the lock may not exist.
fn recycled<T>(job: impl FnOnce(&mut Recycled) -> Option<T>) -> Option<T> {
    RECYCLED.try_lock().ok().and_then(|mut recycled| job(&mut recycled))
}

/// Like [`recycled`], but waits some time for a thread that holds the pool.
///
/// It does not wait for ever, because that thread may not exist in this process.
fn recycled_soon<T>(mut job: impl FnMut(&mut Recycled) -> Option<T>) -> Option<T> {
    (0..1000).find_map(|_| {
        let done = recycled(&mut job);
        if done.is_none() {
            std::thread::yield_now();
        }
        done
    })
}

/// While this lives, threads share up to `bytes` more of dropped buffers.
#[derive(Debug)]
pub(crate) struct Recycling {
    bytes: usize,
}

impl Recycling {
    /// Makes room for `bytes` more, or for none if another thread keeps the pool busy.
    pub(crate) fn new(bytes: usize) -> Self {
        let granted = recycled_soon(|recycled| {
            let limit = recycled.limit.saturating_add(bytes);
            let granted = limit - recycled.limit;
            recycled.set_limit(limit);
            Some(granted)
        });
        Self { bytes: granted.unwrap_or(0) }
    }
}

impl Drop for Recycling {
    fn drop(&mut self) {
        // Dropping the buffers takes the lock, so it must be free again by then.
        let above =
            recycled_soon(|recycled| Some(recycled.set_limit(recycled.limit.saturating_sub(self.bytes))));
        drop(above);
    }
}

/// A heap buffer that starts at a multiple of 64 bytes and is always initialised.
pub(crate) struct AlignedBuf {
    /// What the allocator gave, unaligned.
    ///
    /// No alignment is asked for. The allocator then need not clear large memory that the system has already
    /// cleared.
    base: NonNull<u8>,
    /// The first multiple of 64 from `base` on.
    pointer: NonNull<u8>,
    capacity: usize,
    len: usize,
}

// SAFETY: an `AlignedBuf` owns its allocation alone, like a `Box<[u8]>`: nothing in it is tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads plain bytes.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A buffer of `len` bytes with unspecified, but initialised, content.
    pub(crate) fn any(len: usize) -> Self {
        let pooled = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            pool.iter().position(|buf| buf.fits(len)).map(|at| pool.swap_remove(at))
        });
        let shared = || if len < SHARED_LEAST { None } else { recycled(|recycled| recycled.take(len)) };
        let pooled = pooled.ok().flatten().or_else(shared);
        if let Some(mut buf) = pooled {
            buf.len = len;
            return buf;
        }
        Self::zeroed(len)
    }

    /// Shortens the buffer to its first `len` bytes. Its memory stays as it is.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Whether this buffer holds `len` bytes without wasting more than that.
    fn fits(&self, len: usize) -> bool {
        self.capacity >= len && self.capacity / 2 <= len
    }

    /// Bytes to allocate for a buffer of `len`.
    ///
    /// Large buffers come in a few sizes, so that one can be reused for another of about its length.
    fn capacity_for(len: usize) -> usize {
        let step = if len < SHARED_LEAST { ALIGNMENT } else { 1 << (len.ilog2() - 3) };
        len.max(1).checked_next_multiple_of(step).unwrap_or(len)
    }

    /// A buffer of `len` zero bytes.
    pub(crate) fn zeroed(len: usize) -> Self {
        let capacity = Self::capacity_for(len);
        let layout = Self::layout(capacity);
        // SAFETY: the layout's size is at least 64, never zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let lead = base.as_ptr().align_offset(ALIGNMENT);
        // SAFETY: `lead` is under 64, and the allocation is `capacity + 64` bytes long.
        let pointer = unsafe { base.add(lead) };
        Self { base, pointer, capacity, len }
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut buf = Self::any(bytes.len());
        buf.copy_from_slice(bytes);
        buf
    }

    fn layout(capacity: usize) -> Layout {
        match Layout::from_size_align(capacity.saturating_add(ALIGNMENT), 1) {
            Ok(layout) => layout,
            Err(error) => panic!("a buffer of {capacity} bytes cannot exist: {error}"),
        }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        let keep = || {
            let keep = Self { base: self.base, pointer: self.pointer, capacity: self.capacity, len: 0 };
            std::mem::ManuallyDrop::new(keep)
        };
        let pooled = POOL.try_with(|pool| {
            let Ok(mut pool) = pool.try_borrow_mut() else { return false };
            let held: usize = pool.iter().map(|buf| buf.capacity).sum();
            let room = pool.len() < POOL_BUFFERS && held + self.capacity <= POOL_BYTES;
            if room {
                pool.push(std::mem::ManuallyDrop::into_inner(keep()));
            }
            room
        });
        let shared = || {
            let push = |recycled: &mut Recycled| {
                let bytes = recycled.bytes.saturating_add(self.capacity);
                (self.capacity >= SHARED_LEAST && bytes <= recycled.limit).then(|| {
                    recycled.bytes = bytes;
                    recycled.buffers.push(std::mem::ManuallyDrop::into_inner(keep()));
                })
            };
            recycled(push).is_some()
        };
        if !matches!(pooled, Ok(true)) && !shared() {
            // SAFETY: allocated in `zeroed` with this very layout, and given to nobody else: neither pool
            // took it.
            unsafe { dealloc(self.base.as_ptr(), Self::layout(self.capacity)) };
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `len <= capacity` initialised bytes from `pointer` on, owned by `self` and borrowed as long
        // as it is.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

/// The most bytes to prefetch: about as much as the processor can have under way. The processor itself notices
/// that what follows is wanted too.
const AHEAD: usize = 1 << 10;

/// The most bytes to prefetch for whoever reads them later: about as much as a small record has.
const FAR: usize = 4 << 10;

/// Asks the processor to load the start of `bytes` into its cache. Does not wait, and has no other
/// effect.
pub(crate) fn prefetch(bytes: &[u8]) {
    prefetch_most(bytes, AHEAD);
}

/// Like [`prefetch`], but of more bytes, where nothing reads them now.
pub(crate) fn prefetch_far(bytes: &[u8]) {
    prefetch_most(bytes, FAR);
}

fn prefetch_most(bytes: &[u8], most: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes[..bytes.len().min(most)].chunks(ALIGNMENT) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that never faults, whatever the address; SSE is part of every x86-64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, most);
}

/// A range of shared, immutable bytes. A clone shares the bytes and copies nothing.
///
/// A storage of your own lends its bytes to the depot with [`from_owner`](Self::from_owner).
#[derive(Clone)]
pub struct Bytes {
    /// The first byte. It stays where it is, unchanged, as long as `owner` lives.
    pointer: NonNull<u8>,
    len: usize,
    owner: Arc<dyn Send + Sync>,
}

// SAFETY: a `Bytes` only reads plain bytes that never change; the owner, which it drops, may be sent and
// shared.
unsafe impl Send for Bytes {}
// SAFETY: as for `Send`.
unsafe impl Sync for Bytes {}
// Nobody changes the bytes, so a panic cannot leave them half changed.
impl UnwindSafe for Bytes {}
impl RefUnwindSafe for Bytes {}

impl Bytes {
    /// Shares the bytes of `owner` without copying. `owner` lives as long as any clone or part of them.
    ///
    /// A depot asks for records at multiples of [`Codec::ALIGN`](crate::Codec::ALIGN). It copies a record
    /// that starts elsewhere.
    ///
    /// ```
    /// use vldepot::Bytes;
    /// let lent = Bytes::from_owner(vec![1, 2, 3]);
    /// assert_eq!(lent[1..], [2, 3]);
    /// ```
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let owner = Arc::new(owner);
        let bytes = (*owner).as_ref();
        let len = bytes.len();
        Self::kept_by(NonNull::from(bytes).cast(), len, owner.clone())
    }

    /// Shares bytes that were borrowed from `*owner`, or from memory that it keeps at one address.
    fn kept_by(pointer: NonNull<u8>, len: usize, owner: Arc<dyn Send + Sync>) -> Self {
        Self { pointer, len, owner }
    }

    /// A range of a heap buffer, clipped to the buffer.
    pub(crate) fn from_heap(buf: Arc<AlignedBuf>, range: Range<usize>) -> Self {
        let bytes = cut(&buf, range);
        let (pointer, len) = (NonNull::from(bytes).cast(), bytes.len());
        Self::kept_by(pointer, len, buf)
    }

    /// A range of a memory map, clipped to the map.
    pub(crate) fn from_map(map: Arc<memmap2::Mmap>, range: Range<usize>) -> Self {
        let bytes = cut(&map, range);
        let (pointer, len) = (NonNull::from(bytes).cast(), bytes.len());
        Self::kept_by(pointer, len, map)
    }

    /// A copy of `bytes` that starts at a multiple of 64 bytes.
    ///
    /// ```
    /// use vldepot::Bytes;
    /// assert_eq!(Bytes::copy_of(b"record").as_ptr() as usize % 64, 0);
    /// ```
    pub fn copy_of(bytes: &[u8]) -> Self {
        let len = bytes.len();
        Self::from_heap(Arc::new(AlignedBuf::copy_of(bytes)), 0..len)
    }

    /// Whether both are the same bytes in memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.pointer == other.pointer && self.len == other.len
    }

    /// A part of these bytes, clipped to their end. Shares the owner.
    #[inline]
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let part = cut(self, range);
        Self::kept_by(NonNull::from(part).cast(), part.len(), Arc::clone(&self.owner))
    }
}

#[inline]
fn cut(bytes: &[u8], range: Range<usize>) -> &[u8] {
    let end = range.end.min(bytes.len());
    &bytes[range.start.min(end)..end]
}

impl Deref for Bytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: every constructor takes `pointer` and `len` from a slice that it borrowed from what `owner`
        // keeps: through `&T` of an `Arc<T>` whose value is never moved, nor borrowed mutably, since nobody
        // else can name it (`from_owner`), or since it is a buffer or a map that hands out no mutable borrow
        // while an `Arc` of it is shared. So the slice is valid as long as `self`, which holds the `Arc`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        let first = AlignedBuf::zeroed(1000);
        let address = first.as_ptr() as usize;
        assert_eq!(address % ALIGNMENT, 0);
        drop(first);
        let second = AlignedBuf::any(900);
        assert_eq!(second.as_ptr() as usize, address, "the dropped buffer comes back");
        assert_eq!(second.len(), 900);
    }

    #[test]
    fn a_pooled_buffer_is_not_wasted_on_a_tiny_request() {
        drop(AlignedBuf::zeroed(1 << 20));
        assert!(AlignedBuf::any(10).capacity < 1 << 20);
    }

    #[test]
    fn large_buffers_are_reused_however_many_a_thread_drops_at_once() {
        // No other test uses this length.
        let len = (1 << 20) - 12_345;
        let many: Vec<_> = (0..POOL_BUFFERS + 9).map(|_| AlignedBuf::any(len)).collect();
        let addresses: std::collections::HashSet<_> = many.iter().map(|buf| buf.as_ptr() as usize).collect();
        drop(many);
        let again: Vec<_> = (0..POOL_BUFFERS + 9).map(|_| AlignedBuf::any(len - 999)).collect();
        let reused = again.iter().filter(|buf| addresses.contains(&(buf.as_ptr() as usize))).count();
        // Other tests, on their threads, may take one.
        assert!(reused > POOL_BUFFERS, "{reused} of {}", again.len());
    }

    #[test]
    fn capacities_waste_little() {
        for len in
            [0, 1, 64, 65, 1000, SHARED_LEAST - 1, SHARED_LEAST, SHARED_LEAST + 1, 1 << 20, (4 << 20) + 77]
        {
            let capacity = AlignedBuf::capacity_for(len);
            assert!(capacity >= len.max(1) && capacity.is_multiple_of(ALIGNMENT), "{len}: {capacity}");
            assert!(capacity <= len + len / 8 + ALIGNMENT, "{len}: {capacity}");
        }
        assert_eq!(AlignedBuf::capacity_for(usize::MAX), usize::MAX);
    }

    #[test]
    fn buffers_dropped_by_another_thread_come_back_while_they_are_recycled() {
        // More than a thread's own pool takes, and more than the shared one takes without a `Recycling`.
        // No other test uses this size.
        let len = SHARED_BYTES + 12_345 * ALIGNMENT;
        let recycling = Recycling::new(2 * len);
        let buf = AlignedBuf::zeroed(len);
        let address = buf.as_ptr() as usize;
        std::thread::spawn(move || drop(buf)).join().unwrap();
        let again = AlignedBuf::any(len);
        assert_eq!(again.as_ptr() as usize, address);
        drop(again);
        drop(recycling);
        assert!(RECYCLED.lock().unwrap().take(len).is_none(), "nothing is kept without need");
    }

    #[test]
    fn slices_share_and_are_cut_to_what_there_is() {
        let bytes = Bytes::copy_of(b"abcdef");
        assert_eq!(&bytes.slice(2..4)[..], b"cd");
        assert_eq!(&bytes.slice(2..100)[..], b"cdef");
        assert_eq!(&bytes.slice(2..5).slice(1..100)[..], b"de");
        assert_eq!(&bytes.slice(50..60)[..], b"");
        assert_eq!(bytes.slice(1..3).as_ptr() as usize, bytes.as_ptr() as usize + 1);
    }

    #[test]
    fn an_owner_lends_its_bytes_and_lives_as_long_as_they_do() {
        struct Watched {
            _alive: Arc<()>,
            bytes: Vec<u8>,
        }
        impl AsRef<[u8]> for Watched {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        let alive = Arc::new(());
        let owner = Watched { _alive: Arc::clone(&alive), bytes: b"abc".to_vec() };
        let address = owner.bytes.as_ptr();
        let lent = Bytes::from_owner(owner);
        assert_eq!(lent.as_ptr(), address, "nothing is copied");
        let part = lent.slice(1..9);
        drop(lent);
        assert_eq!((&part[..], Arc::strong_count(&alive)), (&b"bc"[..], 2));
        drop(part);
        assert_eq!(Arc::strong_count(&alive), 1, "the owner is dropped with the last part");
        assert_eq!(&Bytes::from_owner([])[..], b"");
    }
}

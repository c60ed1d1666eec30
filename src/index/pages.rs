//! Checked pages of segments that are not mapped, kept in memory up to a number of bytes.
//!
//! A page that was checked and is kept cannot change any more, even if the file changes. Reading a kept page
//! takes only the lock of that page, so threads do not wait for each other.
//!
//! The pages of all segments of a depot stand in one ring. When room is needed, the hand of a clock goes
//! round it. A page that was used since the hand last came by stays for another round; any other page goes.
//! Pages that are read only once, such as those of a listing, do not push out pages in use.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};

use crate::error::Result;
use crate::sync;

/// Bytes of pages that a depot keeps by default.
///
/// They are enough for the pages that show that a name is new among ten million records.
const LIMIT: usize = 128 << 20;

/// Bytes that the filters of a depot take in addition, enough for fifty million names.
const FILTERS: usize = 64 << 20;

/// Slots that are made together when the first of them is needed.
const GROUP: usize = 256;

/// A page that is in memory.
#[derive(Debug)]
struct Kept {
    slots: Weak<Slots>,
    page: usize,
    len: usize,
}

#[derive(Debug, Default)]
struct Ring {
    pages: VecDeque<Kept>,
    bytes: usize,
}

/// The memory that the pages of a depot's segments share.
#[derive(Debug)]
pub(crate) struct PageCache {
    limit: usize,
    ring: Mutex<Ring>,
    /// Bytes of filters.
    filters: AtomicUsize,
}

impl Default for PageCache {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl PageCache {
    /// A cache with room for `limit` bytes.
    fn new(limit: usize) -> Self {
        Self { limit, ring: Mutex::default(), filters: AtomicUsize::new(0) }
    }

    /// Reserves room for a filter of `bytes` bytes. Returns whether there was room.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|&held| held <= FILTERS);
        self.filters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives back `bytes` bytes that were reserved.
    pub(super) fn release(&self, bytes: usize) {
        self.filters.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes in a page, and lets others go.
    fn keep(&self, slots: &Arc<Slots>, page: usize, bytes: Box<[u8]>) {
        let Some(slot) = slots.slot(page) else { return };
        let mut ring = sync::lock(&self.ring);
        let len = bytes.len();
        {
            let mut kept = sync::write(&slot.bytes);
            // Another thread may have read the same page.
            if kept.is_some() {
                return;
            }
            *kept = Some(bytes);
        }
        ring.pages.push_back(Kept { slots: Arc::downgrade(slots), page, len });
        ring.bytes += len;
        // If all pages are in use all the time, the hand must still stop.
        let mut steps = 2 * ring.pages.len();
        while ring.bytes > self.limit && steps > 0 {
            steps -= 1;
            let Some(oldest) = ring.pages.pop_front() else { break };
            if oldest.may_go() { ring.bytes -= oldest.len } else { ring.pages.push_back(oldest) }
        }
    }
}

impl Kept {
    /// Drops the page, unless it was used since the hand last came by. Returns whether it is gone.
    fn may_go(&self) -> bool {
        let Some(slots) = self.slots.upgrade() else { return true };
        let Some(slot) = slots.slot(self.page) else { return true };
        if slot.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        // Another thread may be reading it.
        slot.bytes.try_write().map(|mut bytes| *bytes = None).is_ok()
    }
}

/// The place of a page, empty while the page is not in memory.
#[derive(Debug, Default)]
struct Slot {
    bytes: RwLock<Option<Box<[u8]>>>,
    /// The page was used since the hand last came by.
    used: AtomicBool,
}

/// The pages of one segment.
#[derive(Debug)]
pub(super) struct Slots {
    groups: Box<[OnceLock<Box<[Slot]>>]>,
    cache: Arc<PageCache>,
}

impl Slots {
    pub(super) fn new(n_pages: usize, cache: &Arc<PageCache>) -> Arc<Self> {
        let groups = (0..n_pages.div_ceil(GROUP)).map(|_| OnceLock::new()).collect();
        Arc::new(Self { groups, cache: Arc::clone(cache) })
    }

    pub(super) fn cache(&self) -> Arc<PageCache> {
        Arc::clone(&self.cache)
    }

    fn slot(&self, page: usize) -> Option<&Slot> {
        let group = self.groups.get(page / GROUP)?;
        group.get_or_init(|| (0..GROUP).map(|_| Slot::default()).collect()).get(page % GROUP)
    }

    /// Whether a page is in memory.
    pub(super) fn has(&self, page: usize) -> bool {
        self.slot(page).is_some_and(|slot| sync::read(&slot.bytes).is_some())
    }

    /// Gives `job` the bytes of a page, if it is in memory.
    pub(super) fn peek<T>(&self, page: usize, job: impl FnOnce(&[u8]) -> T) -> Option<T> {
        sync::read(&self.slot(page)?.bytes).as_deref().map(job)
    }

    /// Takes in a page that was read and checked.
    pub(super) fn keep(self: &Arc<Self>, page: usize, bytes: Box<[u8]>) {
        self.cache.keep(self, page, bytes);
    }

    /// Gives `job` the bytes of a page.
    ///
    /// If the page is not in memory, `load` reads and checks it. `job` may run under the page's lock, so it
    /// must not ask for a page itself.
    pub(super) fn with<T>(
        self: &Arc<Self>,
        page: usize,
        load: impl FnOnce() -> Result<Box<[u8]>>,
        job: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        if let Some(slot) = self.slot(page) {
            let kept = sync::read(&slot.bytes);
            if let Some(bytes) = &*kept {
                // Stored only if that changes it, because other threads read it.
                if !slot.used.load(Ordering::Relaxed) {
                    slot.used.store(true, Ordering::Relaxed);
                }
                return Ok(job(bytes));
            }
        }
        let bytes = load()?;
        let out = job(&bytes);
        self.cache.keep(self, page, bytes);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for a page, and returns whether it had to be read.
    fn is_read(slots: &Arc<Slots>, page: usize) -> bool {
        let mut read = false;
        let load = || {
            read = true;
            Ok(vec![u8::try_from(page % 256).unwrap(); 1000].into())
        };
        assert_eq!(slots.with(page, load, |bytes| bytes[0]).unwrap(), u8::try_from(page % 256).unwrap());
        read
    }

    #[test]
    fn pages_in_use_stay_and_those_read_once_make_room() {
        let cache = Arc::new(PageCache::new(10_000));
        let slots = Slots::new(10_000, &cache);
        for page in 0..4 {
            assert!(is_read(&slots, page) && !is_read(&slots, page));
        }
        for page in 100..5000 {
            assert!(is_read(&slots, page));
            assert!(!is_read(&slots, page % 4), "a page in use was let go for page {page}");
            assert!(cache.ring.lock().unwrap().bytes <= 10_000);
        }
        // Not in use any more.
        for page in 6000..6040 {
            is_read(&slots, page);
        }
        assert!(is_read(&slots, 0));
    }

    #[test]
    fn the_pages_of_a_segment_that_is_gone_make_room() {
        let cache = Arc::new(PageCache::new(10_000));
        let gone = Slots::new(10, &cache);
        for page in 0..10 {
            is_read(&gone, page);
            is_read(&gone, page);
        }
        drop(gone);
        let slots = Slots::new(10, &cache);
        (0..10).for_each(|page| assert!(is_read(&slots, page)));
        (0..10).for_each(|page| assert!(!is_read(&slots, page)));
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let slots = Slots::new(1, &Arc::default());
        let fail = || Err(crate::Error::invalid_options("none"));
        assert!(slots.with(0, fail, |_| ()).is_err());
        assert!(is_read(&slots, 0) && !is_read(&slots, 0));
    }
}

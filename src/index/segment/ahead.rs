//! Pages that are read before they are asked for, those of many names in one call.
//!
//! Each method looks as far as the pages in memory allow, and notes the pages that it lacks. After the next
//! [turn](Ahead::turn) it comes further. Pages are checked and kept when they are looked at, so the methods
//! that read one page after the other then find them in memory. Where something is damaged, the way ends,
//! and those methods report it.
//!
//! ```text
//! turn 1    bucket, and the hashes where the name should be: hashes are spread evenly
//! turn 2    place, bounds of the block of names, and the chunk that an even spread of places gives
//! turn 3    the block of names
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{
    BUCKETS, CHUNKS, FILTER, HASHES, KILLS, LOCATIONS, NAME_BLOCKS, NAMES, PAGES_A_PART, Pages, Segment,
    bounds, slice,
};
use crate::format::chunk::ChunkRef;
use crate::format::tables::Section;
use crate::index::filter;
use crate::index::names::BLOCK;
use crate::index::pages::Slots;
use crate::index::writer::PAGE;
use crate::index::{Location, bucket_of, tag_of};
use crate::le::u32_at;
use crate::storage::Ahead;

/// A segment with so few bytes of pages, or of checksums, is read as a whole.
const SMALL: u64 = 64 << 10;

/// The most entries of a bucket, and tombstones, that are read ahead.
const MANY: u64 = 8 << 10;

/// The most bytes of an array that are read ahead at a time. Only blocks of very long names are longer, and
/// forged ones.
const LONGEST: u64 = 1 << 20;

/// A filter is made of pages that are read ahead, if they have at most so many bytes.
const FILTERED: u64 = 16 << 20;

/// Half of the width of the guess where a hash is, in standard deviations.
///
/// Fewer than one name in ten thousand is missed, so that 256 names together seldom take a round more.
const DEVIATIONS: f64 = 4.0;

/// How far the way to a record went.
pub(crate) enum Way {
    /// It needs the next turn.
    Waits,
    /// There is no more to read ahead, and the segment has no such name.
    Ends,
    /// There is no more to read ahead, and the segment may have the name.
    Arrives,
}

impl Segment {
    /// Whether its pages are mapped. Then nothing is to be read ahead.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self.pages, Pages::Mapped { .. })
    }

    /// Reads ahead what [`find`](Self::find) needs for a name with this hash.
    ///
    /// `several` segments are asked. `found` gets the location of each record with the tag of the name,
    /// each time that it is known. With `guess`, the hashes are read together with the bucket, from where
    /// they should be.
    pub(crate) fn expect_name(
        &self,
        ahead: &mut Ahead<'_>,
        hash: u64,
        (several, guess): (bool, bool),
        found: &mut dyn FnMut(&mut Ahead<'_>, &Location),
    ) -> Way {
        if self.is_mapped() {
            return Way::Arrives;
        }
        if self.head.n_records == 0 || self.surely_lacks(hash) {
            return Way::Ends;
        }
        let bits = self.head.bucket_bits;
        let noted = ahead.noted();
        // One of several segments probably does not have the name, and is asked by its filter first.
        if several && let Some(at) = self.filter_block(hash) {
            let len = filter::BLOCK_LEN as u64;
            match self.look(ahead, FILTER, at, len, |block| filter::may_have(block, hash)) {
                Some(false) => return Way::Ends,
                Some(true) => {}
                None if ahead.noted() > noted => return Way::Waits,
                None => return Way::Arrives,
            }
        }
        let way = |ahead: &Ahead<'_>, end| if ahead.noted() > noted { Way::Waits } else { end };
        let bucket = self.only_bucket();
        let bucket =
            bucket.or_else(|| self.look(ahead, BUCKETS, 4 * bucket_of(hash, bits) as u64, 8, bounds));
        let Some(bucket) = bucket else {
            if guess && ahead.noted() > noted {
                self.expect(ahead, HASHES, self.probable(hash));
            }
            // If nothing was noted, the page is damaged.
            return way(ahead, Way::Arrives);
        };
        let (from, count) = (u64::from(bucket.0), u64::from(bucket.1.saturating_sub(bucket.0)));
        if count == 0 {
            return Way::Ends;
        }
        if count > MANY {
            return Way::Arrives;
        }
        let tag = tag_of(hash, bits);
        // Few records share a tag. If there are more, the rest is not read ahead.
        let mut hits = [None; 4];
        let looked = self.look(ahead, HASHES, 8 * from, 8 * count, |entries| {
            let tagged = entries.chunks_exact(8).filter(|entry| u32_at(entry, 0) == Some(tag));
            let ordinals = tagged.map(|entry| u32_at(entry, 4));
            hits.iter_mut().zip(ordinals).for_each(|(hit, ordinal)| *hit = ordinal);
        });
        if looked.is_none() {
            return way(ahead, Way::Arrives);
        }
        let end = if hits[0].is_none() { Way::Ends } else { Way::Arrives };
        for ordinal in hits.into_iter().flatten() {
            match self.expect_place(ahead, u64::from(ordinal)) {
                Some(location) => found(ahead, &location),
                None => self.expect_chunk_of(ahead, u64::from(ordinal)),
            }
            let block = u64::from(ordinal) / BLOCK as u64;
            let known = self.only_block();
            if let Some((from, to)) = known.or_else(|| self.look(ahead, NAME_BLOCKS, 4 * block, 8, bounds)) {
                let len = u64::from(to.saturating_sub(from));
                self.expect(ahead, NAMES, u64::from(from)..u64::from(from) + len);
            }
        }
        way(ahead, end)
    }

    /// Reads ahead what the filter is made of, if the next `n` lookups will make it.
    pub(crate) fn expect_filter(&self, ahead: &mut Ahead<'_>, n: usize) {
        let sources = self.filter_sources();
        let bytes = sources
            .iter()
            .fold(0, |sum: u64, &section| sum.saturating_add(self.head.sections[section].length));
        let asked = self.asked.load(Ordering::Relaxed);
        let due = asked < self.worth_a_filter() && asked.saturating_add(n as u64) >= self.worth_a_filter();
        if due && self.filter.get().is_none() && !self.is_mapped() && bytes <= FILTERED {
            for &section in sources {
                let length = self.head.sections[section].length;
                for start in (0..length).step_by(1 << 20) {
                    self.expect(ahead, section, start..length);
                }
            }
        }
    }

    /// Reads ahead the location of local `ordinal`. Returns it if its page is in memory.
    pub(crate) fn expect_place(&self, ahead: &mut Ahead<'_>, ordinal: u64) -> Option<Location> {
        let len = Location::LEN as u64;
        self.look(ahead, LOCATIONS, ordinal.saturating_mul(len), len, Location::decode)?
    }

    /// Reads ahead the reference to the chunk that local `ordinal` should have, if records have one size.
    pub(crate) fn expect_chunk_of(&self, ahead: &mut Ahead<'_>, ordinal: u64) {
        let (n, chunks) = (u128::from(self.head.n_records.max(1)), u128::from(self.head.n_chunks));
        let chunk = u64::try_from(u128::from(ordinal) * chunks / n).unwrap_or(0);
        let at = chunk.saturating_mul(ChunkRef::LEN as u64);
        self.expect(ahead, CHUNKS, at..at.saturating_add(ChunkRef::LEN as u64));
    }

    /// Reads ahead the reference to a chunk, by its number in the whole depot.
    pub(crate) fn expect_chunk(&self, ahead: &mut Ahead<'_>, chunk: u64) -> Option<ChunkRef> {
        let len = ChunkRef::LEN as u64;
        let at = chunk.wrapping_sub(self.reference.first_chunk).saturating_mul(len);
        self.look(ahead, CHUNKS, at, len, ChunkRef::decode)?
    }

    /// Reads ahead all tombstones, unless they are many.
    pub(crate) fn expect_tombstones(&self, ahead: &mut Ahead<'_>) {
        if self.head.n_tombstones <= MANY {
            self.expect(ahead, KILLS, 0..8 * self.head.n_tombstones);
        }
    }

    /// Reads ahead the names of local `ordinals`, and with `places` their locations.
    pub(crate) fn expect_records(&self, ahead: &mut Ahead<'_>, ordinals: Range<u64>, places: bool) {
        let (len, per_block) = (Location::LEN as u64, BLOCK as u64);
        let end = ordinals.end.min(self.head.n_records);
        if places {
            self.expect(ahead, LOCATIONS, ordinals.start.saturating_mul(len)..end.saturating_mul(len));
        }
        if let Some((from, to)) = self.only_block() {
            self.expect(ahead, NAMES, u64::from(from)..u64::from(to));
            return;
        }
        let start_of = |bytes: &[u8]| u32_at(bytes, 0).map_or(0, u64::from);
        let from = self.look(ahead, NAME_BLOCKS, 4 * (ordinals.start / per_block), 4, start_of);
        let to = self.look(ahead, NAME_BLOCKS, 4 * end.div_ceil(per_block), 4, start_of);
        if let (Some(from), Some(to)) = (from, to) {
            self.expect(ahead, NAMES, from..to);
        }
    }

    /// Bytes that are read to guess where a hash is.
    pub(crate) fn guessed_len(&self) -> u64 {
        let range = self.probable(1 << 63);
        range.end - range.start
    }

    /// Whether the filter in memory, if there is one, says that no name here has this hash.
    fn surely_lacks(&self, hash: u64) -> bool {
        let filter = self.filter.get().and_then(Option::as_ref);
        filter.is_some_and(|filter| !filter.may_have(hash))
    }

    /// Where the entry of a hash should be in the array of hashes.
    ///
    /// The hashes of `n` names are spread evenly. Below a part `p` of all hashes there are `np` of them, with
    /// a standard deviation of `sqrt(np(1 - p))`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a guess, with at most 2^32 records"
    )]
    fn probable(&self, hash: u64) -> Range<u64> {
        let n = self.head.n_records as f64;
        let part = hash as f64 / u64::MAX as f64;
        // A bucket has some eight entries.
        let around = DEVIATIONS * (n * part * (1.0 - part)).max(0.0).sqrt() + 8.0;
        let bound = |at: f64| 8 * (at.clamp(0.0, n) as u64);
        bound(n * part - around)..bound(n * part + around).max(8)
    }

    /// Gives `job` the checked bytes of a section, if their pages are in memory or were read ahead. Otherwise
    /// notes these pages.
    fn look<T>(
        &self,
        ahead: &mut Ahead<'_>,
        section: usize,
        start: u64,
        len: u64,
        job: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let end = start.checked_add(len)?;
        let Section { offset, length } = self.head.sections[section];
        if end > length || len > LONGEST {
            return None;
        }
        if let Pages::Read(slots) = &self.pages
            && len > 0
            && Self::page_of(offset + start) == Self::page_of(offset + end - 1)
        {
            let page = Self::page_of(offset + start);
            if !self.expect_page(ahead, slots, page) {
                return None;
            }
            let from = offset + start - page * PAGE as u64;
            return slots.peek(usize::try_from(page).ok()?, |page| job(slice(page, from, from + len)));
        }
        if self.expect(ahead, section, start..end) {
            self.with(section, start, usize::try_from(len).ok()?, job).ok()
        } else {
            None
        }
    }

    /// Reads ahead the pages of bytes `range` of a section, as far as the section goes.
    ///
    /// Returns whether all of them are in memory.
    fn expect(&self, ahead: &mut Ahead<'_>, section: usize, range: Range<u64>) -> bool {
        let Pages::Read(slots) = &self.pages else { return true };
        let Section { offset, length } = self.head.sections[section];
        let end = range.end.min(length).min(range.start.saturating_add(LONGEST));
        if range.start >= end {
            return true;
        }
        let pages = Self::page_of(offset + range.start)..=Self::page_of(offset + end - 1);
        // All of them are noted, also after one that is missing.
        let missing = pages.filter(|&page| !self.expect_page(ahead, slots, page)).count();
        missing == 0
    }

    /// Reads ahead a page. Returns whether it is in memory.
    fn expect_page(&self, ahead: &mut Ahead<'_>, slots: &Arc<Slots>, page: u64) -> bool {
        let number = usize::try_from(page).unwrap_or(usize::MAX);
        if slots.has(number) {
            return true;
        }
        let has_part = self.expect_part(ahead, number / PAGES_A_PART);
        let range = self.page_range(page);
        let whole = if self.head.paged_len <= SMALL { 0..self.head.paged_len } else { range.clone() };
        let Some(bytes) = ahead.get(self.base + whole.start..self.base + whole.end) else { return false };
        let bytes = slice(bytes, range.start - whole.start, range.end - whole.start);
        if !has_part || self.check_page(page, bytes).is_err() {
            return false;
        }
        slots.keep(number, bytes.into());
        true
    }

    /// Reads ahead a part of the table of checksums. Returns whether it is in memory.
    fn expect_part(&self, ahead: &mut Ahead<'_>, number: usize) -> bool {
        let Some(part) = self.table.parts.get(number) else { return false };
        if part.get().is_some() {
            return true;
        }
        let (at, len) = self.part_range(number);
        let own = at..at + len as u64;
        let all = self.table.at..self.table.at + 4 * self.table.n_pages as u64;
        let wanted = if all.end - all.start <= SMALL { all } else { own.clone() };
        let Some(bytes) = ahead.get(wanted.clone()) else { return false };
        let bytes = slice(bytes, own.start - wanted.start, own.end - wanted.start);
        match self.checked_part(number, bytes) {
            Ok(()) => {
                part.get_or_init(|| bytes.into());
                true
            }
            Err(_) => false,
        }
    }
}

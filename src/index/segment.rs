//! An index segment, read in place.
//!
//! Opening reads only the prefix. Every later access goes through [`Segment::with`], which checks each page
//! the first time it is touched. No name, offset or length is used unchecked.

mod ahead;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub(crate) use ahead::Way;

use super::filter::{self, Filter};
use super::names::{BLOCK, NameDecoder, NameList, nth_is};
use super::pages::{PageCache, Slots};
use super::records::Kill;
use super::writer::{PAGE, SUMMED, SegmentPlan, page_table_len, prefix_len};
use super::{Location, bucket_of, hash, tag_of};
use crate::buffer::{Bytes, prefetch};
use crate::checksum::crc32c;
use crate::error::{Error, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::growth::{Fault, Newer};
use crate::format::tables::{Absent, Column, Order, SECTIONS, Section, SegmentHead, SegmentRef, Zone};
use crate::le::{u32_at, u64_at};
use crate::scalar::{ScalarField, VALUE_LEN, push_value};
use crate::statistics::Tallied;
use crate::storage::{MemoryStorage, Storage, StorageExt, Windows};

/// The fewest lookups after which a segment gets a filter, however small the segment is.
const LEAST_ASKED: u64 = 64;
/// The most bytes of the starts of segments that are read together.
const STARTS_AHEAD: u64 = 16 << 20;
/// Bytes read at a time when many pages are checked.
const CHECKED_AT_ONCE: u64 = 256 << 10;
/// Values of a column that are read together: at most as many bytes, times eight. A multiple of 8.
const COLUMN_AT_ONCE: u64 = 256 << 10;

// Sections by number. In the file, section `n` has kind `n + 1`. The filter comes first: so each of its
// blocks lies in one page.
pub(super) const FILTER: usize = 0;
pub(super) const LOCATIONS: usize = 1;
const BUCKETS: usize = 2;
const HASHES: usize = 3;
const NAME_BLOCKS: usize = 4;
const NAMES: usize = 5;
pub(crate) const CHUNKS: usize = 6;
const KILLS: usize = 7;
const METADATA_ORDINALS: usize = 8;
const METADATA_OFFSETS: usize = 9;
const METADATA: usize = 10;
pub(super) const ORDER: usize = 11;
pub(super) const ORDER_SUMS: usize = 12;
pub(super) const KILL_RANKS: usize = 13;
pub(super) const KILL_LENGTHS: usize = 14;
const COLUMNS: usize = 15;

/// What is added to the numbers in a segment when its depot is read as one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shift {
    pub(crate) ordinals: u64,
    pub(crate) chunks: u64,
    pub(crate) addresses: u64,
}

/// An open index segment.
pub(crate) struct Segment {
    storage: Arc<dyn Storage>,
    /// Its numbers are shifted.
    pub(crate) reference: SegmentRef,
    shift: Shift,
    head: SegmentHead,
    /// Where the pages start in the file.
    base: u64,
    table: PageTable,
    /// CRC of the prefix.
    prefix_crc: u32,
    /// Whether the index is that of another program's file, made in memory.
    foreign: bool,
    pages: Pages,
    /// Lookups so far. Counted only while the segment is not mapped and has no filter.
    asked: AtomicU64,
    /// The inner `None` means that no filter can be made.
    filter: OnceLock<Option<Filter>>,
}

/// The checksums of all pages, read and checked a part at a time.
struct PageTable {
    /// Where it starts in the file.
    at: u64,
    n_pages: usize,
    /// The checksums of the parts.
    part_crcs: Vec<u8>,
    parts: Box<[OnceLock<Box<[u8]>>]>,
}

/// Pages with checksums in one part of the table, which is as long as a page.
const PAGES_A_PART: usize = PAGE / 4;

enum Pages {
    Mapped { bytes: Bytes, checked: Vec<AtomicU64> },
    Read(Arc<Slots>),
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl Segment {
    /// Opens the segment at `reference`, written by depot `depot_id`. `mapped` allows reading through a map.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        reference: SegmentRef,
        depot_id: u64,
        mapped: bool,
    ) -> Result<Self> {
        let len = start_len(storage, &reference, storage.file_len()?)?;
        let start = read(storage, reference.offset, len)?;
        Self::open_start(storage, &start, reference, depot_id, mapped)
    }

    /// Opens a segment that is in memory and in no file, as one of depot `depot_id`.
    pub(crate) fn in_memory(plan: SegmentPlan<'_>, depot_id: u64) -> Result<Self> {
        let (mut bytes, start) = plan.into_bytes()?;
        let reference = start.reference;
        let head = EntryHead {
            kind: Kind::Index,
            body_crc: start.body_crc,
            sequence: 1,
            ordinal: 0,
            offset: reference.offset,
            length: reference.length,
            depot_id,
            previous: 0,
            reserved: [0; 3],
        };
        bytes[..HEAD_LEN].copy_from_slice(&head.encode());
        let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
        Self::open(&memory, reference, depot_id, true)
    }

    /// Opens the segments at all `references`, whose starts are read together. They share the cache of pages.
    ///
    /// The segments must lie inside `file_len` bytes.
    pub(crate) fn open_all(
        storage: &Arc<dyn Storage>,
        references: &[SegmentRef],
        depot_id: u64,
        mapped: bool,
        file_len: u64,
    ) -> Result<Vec<Arc<Self>>> {
        let starts = references.iter().filter_map(|reference| {
            let len = start_len(storage, reference, file_len).ok()?;
            Some(reference.offset..reference.offset + len as u64)
        });
        let mut starts: Vec<_> = starts.collect();
        let mut ahead = Windows::default();
        // Many references to one long start must not take memory for each of them. What is not read here is
        // read one by one, with the error that it has.
        if starts.iter().map(|start| start.end - start.start).sum::<u64>() <= STARTS_AHEAD {
            let _ = ahead.read(&**storage, &mut starts);
        }
        let pages = Arc::default();
        let open = |reference: &SegmentRef| {
            let len = start_len(storage, reference, file_len)?;
            let start = match ahead.get(reference.offset, len) {
                Some(start) => Cow::Borrowed(start),
                None => read(storage, reference.offset, len)?.into(),
            };
            let segment = Self::open_start(storage, &start, *reference, depot_id, mapped)?;
            Ok(Arc::new(segment.sharing(&pages)))
        };
        references.iter().map(open).collect()
    }

    /// Opens the segment at `reference`, which begins with `start`: the entry's head and the prefix.
    fn open_start(
        storage: &Arc<dyn Storage>,
        start: &[u8],
        reference: SegmentRef,
        depot_id: u64,
        mapped: bool,
    ) -> Result<Self> {
        let offset = reference.offset;
        let (head, prefix) = start.split_at_checked(HEAD_LEN).unwrap_or_default();
        let entry = EntryHead::parse(head, offset)
            .map_err(|found| damaged(storage, offset, "an INDEX entry", found))?;
        entry.check_known().map_err(|newer| newer.at(storage.path(), offset, false))?;
        if entry.kind != Kind::Index || entry.depot_id != depot_id || entry.length != reference.length {
            return Err(damaged(storage, offset, "the INDEX entry of the commit", format!("{entry:?}")));
        }
        Self::open_prefix(storage, &entry, prefix, Some(reference), mapped)
    }

    /// Opens the segment with the head `entry`. No commit has to refer to it any more.
    pub(crate) fn open_entry(storage: &Arc<dyn Storage>, entry: &EntryHead, mapped: bool) -> Result<Self> {
        let offset = entry.offset;
        check_inside(storage, offset, entry.length, storage.file_len()?)?;
        let start = read(storage, offset + HEAD_LEN as u64, 8)?;
        let half = |at: usize| u32_at(&start, at).unwrap_or(0) as usize;
        let (prefix_len, body_len) = (prefix_len(half(0), half(4)), entry.length - HEAD_LEN as u64);
        if prefix_len as u64 > body_len {
            let found = format!("{prefix_len} bytes of {body_len}");
            return Err(damaged(storage, offset, "a prefix inside the entry", found));
        }
        let prefix = read(storage, offset + HEAD_LEN as u64, prefix_len)?;
        Self::open_prefix(storage, entry, &prefix, None, mapped)
    }

    /// Opens the segment with the head `entry` and this `prefix`. If there is a `reference`, it must be to
    /// this entry.
    fn open_prefix(
        storage: &Arc<dyn Storage>,
        entry: &EntryHead,
        prefix: &[u8],
        reference: Option<SegmentRef>,
        mapped: bool,
    ) -> Result<Self> {
        let offset = entry.offset;
        let computed = crc32c(prefix);
        if computed != entry.body_crc {
            let expected = format!("CRC32C {:#010x}", entry.body_crc);
            let found = format!("{computed:#010x}");
            return Err(damaged(storage, offset + HEAD_LEN as u64, &expected, found));
        }
        let half = |at: usize| u32_at(prefix, at).unwrap_or(0) as usize;
        let (head_len, n_parts) = (half(0), half(4));
        if prefix_len(head_len, n_parts) != prefix.len() {
            let expected = format!("a prefix of {} bytes", prefix.len());
            return Err(damaged(storage, offset, &expected, prefix_len(head_len, n_parts).to_string()));
        }
        let refused = |fault: Fault, expected| fault.at(storage.path(), Part::Index, offset, expected);
        let head = SegmentHead::decode(prefix.get(8..8 + head_len).unwrap_or_default())
            .map_err(|fault| refused(fault, "a segment head"))?;
        let reference = reference.unwrap_or(SegmentRef {
            offset,
            length: entry.length,
            prefix_len: u32::try_from(prefix.len()).unwrap_or(u32::MAX),
            first_ordinal: head.first_ordinal,
            n_records: head.n_records,
            first_chunk: head.first_chunk,
            n_chunks: head.n_chunks,
            n_tombstones: head.n_tombstones,
        });
        let body_len = entry.length - HEAD_LEN as u64;
        let (n_pages, table_len) = check_head(&head, &reference, body_len, prefix.len(), n_parts)
            .map_err(|fault| refused(fault, "arrays that fit the commit"))?;
        let table_at = offset + (HEAD_LEN + prefix.len()) as u64;
        let base = table_at + table_len;
        let map = if mapped {
            storage.map(base, head.paged_len).map_err(|source| storage.io("map the index", source))?
        } else {
            None
        };
        let pages = match map {
            Some(bytes) => {
                let checked = (0..n_pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
                Pages::Mapped { bytes, checked }
            }
            None => Pages::Read(Slots::new(n_pages, &Arc::default())),
        };
        let part_crcs = prefix[8 + head_len..8 + head_len + 4 * n_parts].to_vec();
        let table = PageTable {
            at: table_at,
            n_pages,
            parts: (0..n_parts).map(|_| OnceLock::new()).collect(),
            part_crcs,
        };
        Ok(Self {
            storage: Arc::clone(storage),
            reference,
            shift: Shift::default(),
            head,
            base,
            table,
            prefix_crc: computed,
            foreign: entry.depot_id == 0,
            pages,
            asked: AtomicU64::new(0),
            filter: OnceLock::new(),
        })
    }

    /// Whether `other`, a segment of the same file, has the same content: the prefix has checksums of the
    /// checksums of all pages.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.reference == other.reference && self.prefix_crc == other.prefix_crc
    }

    /// Makes the segment that of a depot which is read as one of several.
    pub(crate) fn shifted(mut self, shift: Shift) -> Self {
        let SegmentRef { first_ordinal, first_chunk, .. } = self.unshifted();
        // In forged files, the sums may be anything.
        self.reference.first_ordinal = first_ordinal.wrapping_add(shift.ordinals);
        self.reference.first_chunk = first_chunk.wrapping_add(shift.chunks);
        self.shift = shift;
        self
    }

    /// The segment opened anew, as it is in depot `depot_id`, with the same shift. It shares no lock with
    /// this one.
    pub(crate) fn reopened(&self, depot_id: u64, mapped: bool, pages: &Arc<PageCache>) -> Result<Self> {
        let segment = Self::open(&self.storage, self.unshifted(), depot_id, mapped)?;
        Ok(segment.shifted(self.shift).sharing(pages))
    }

    /// The reference as it is in the file.
    fn unshifted(&self) -> SegmentRef {
        SegmentRef {
            first_ordinal: self.reference.first_ordinal.wrapping_sub(self.shift.ordinals),
            first_chunk: self.reference.first_chunk.wrapping_sub(self.shift.chunks),
            ..self.reference
        }
    }

    /// Lets the segment share `cache` with others. To be called before any page is read.
    pub(crate) fn sharing(mut self, cache: &Arc<PageCache>) -> Self {
        if let Pages::Read(slots) = &mut self.pages {
            *slots = Slots::new(self.table.n_pages, cache);
        }
        self
    }

    /// The cache of its pages, if they are not mapped.
    pub(crate) fn pages(&self) -> Option<Arc<PageCache>> {
        match &self.pages {
            Pages::Mapped { .. } => None,
            Pages::Read(slots) => Some(slots.cache()),
        }
    }

    fn damaged(&self, at: u64, expected: String, found: String) -> Error {
        Error::damaged(self.storage.path(), Part::Index, self.base + at, expected, found)
    }

    /// The error for a segment with impossible content, placed at the start of the pages.
    pub(crate) fn damaged_at_start(&self, expected: String, found: String) -> Error {
        self.damaged(0, expected, found)
    }

    /// The checksum that page `page` must have.
    fn page_crc(&self, page: u64) -> Result<u32> {
        let page = usize::try_from(page).unwrap_or(usize::MAX);
        let number = page / PAGES_A_PART;
        let Some(part) = self.table.parts.get(number) else {
            let expected = format!("fewer than {} pages", self.table.n_pages + 1);
            return Err(self.damaged(0, expected, format!("page {page}")));
        };
        let bytes = if let Some(bytes) = part.get() {
            bytes
        } else {
            let read = self.read_part(number)?;
            part.get_or_init(|| read)
        };
        Ok(u32_at(bytes, 4 * (page % PAGES_A_PART)).unwrap_or(0))
    }

    /// Reads and checks one part of the table of checksums.
    fn read_part(&self, number: usize) -> Result<Box<[u8]>> {
        let (at, len) = self.part_range(number);
        let bytes = read(&self.storage, at, len)?;
        self.checked_part(number, &bytes).map(|()| bytes.into())
    }

    /// Where a part of the table of checksums starts in the file, and its length.
    fn part_range(&self, number: usize) -> (u64, usize) {
        let at = self.table.at + (number * PAGE) as u64;
        (at, (4 * (self.table.n_pages - number * PAGES_A_PART)).min(PAGE))
    }

    /// Checks the bytes of a part of the table of checksums.
    fn checked_part(&self, number: usize, bytes: &[u8]) -> Result<()> {
        let expected = u32_at(&self.table.part_crcs, 4 * number).unwrap_or(0);
        let computed = crc32c(bytes);
        if expected == computed {
            return Ok(());
        }
        let expected = format!("CRC32C {expected:#010x} of the index's checksums");
        Err(damaged(&self.storage, self.part_range(number).0, &expected, format!("{computed:#010x}")))
    }

    fn check_page(&self, page: u64, bytes: &[u8]) -> Result<()> {
        let (expected, computed) = (self.page_crc(page)?, crc32c(bytes));
        if expected == computed {
            return Ok(());
        }
        let expected = format!("CRC32C {expected:#010x} of an index page");
        Err(self.damaged(page * PAGE as u64, expected, format!("{computed:#010x}")))
    }

    /// The page that holds byte `at` of the arrays.
    fn page_of(at: u64) -> u64 {
        at / PAGE as u64
    }

    /// The bytes of page `page`. All pages but the last have the same size.
    fn page_range(&self, page: u64) -> Range<u64> {
        let size = PAGE as u64;
        page * size..((page + 1) * size).min(self.head.paged_len)
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        read(&self.storage, self.base + range.start, usize::try_from(range.end - range.start).unwrap_or(0))
    }

    /// Gives `job` the checked bytes of a page that is not mapped. `job` must not ask for another page.
    fn with_page<T>(&self, slots: &Arc<Slots>, page: u64, job: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let load = || {
            let bytes = self.read(self.page_range(page))?;
            self.check_page(page, &bytes)?;
            Ok(bytes.into())
        };
        slots.with(usize::try_from(page).unwrap_or(usize::MAX), load, job)
    }

    /// Gives `job` the checked bytes `start..start + len` of a section. `job` must not ask for other bytes.
    pub(super) fn with<T>(
        &self,
        section: usize,
        start: u64,
        len: usize,
        job: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let Section { offset, length } = self.head.sections[section];
        if start.checked_add(len as u64).is_none_or(|end| end > length) {
            return Err(self.damaged(
                offset,
                format!("an array of more than {start} bytes"),
                format!("{length}"),
            ));
        }
        let from = offset + start;
        let (first, last) = (Self::page_of(from), Self::page_of(from + len.max(1) as u64 - 1));
        match &self.pages {
            Pages::Mapped { bytes, checked } => {
                for page in first..=last {
                    let number = usize::try_from(page).unwrap_or(usize::MAX);
                    let (word, bit) = (number / 64, 1u64 << (number % 64));
                    let Some(word) = checked.get(word) else { continue };
                    if word.load(Ordering::Relaxed) & bit == 0 {
                        let range = self.page_range(page);
                        self.check_page(page, slice(bytes, range.start, range.end))?;
                        word.fetch_or(bit, Ordering::Relaxed);
                    }
                }
                Ok(job(slice(bytes, from, from + len as u64)))
            }
            // An empty array has no page.
            Pages::Read(_) if len == 0 => Ok(job(&[])),
            Pages::Read(slots) => {
                let page_size = PAGE as u64;
                if first == last {
                    let at = from - first * page_size;
                    return self.with_page(slots, first, |page| job(slice(page, at, at + len as u64)));
                }
                let mut joined = Vec::with_capacity(len);
                for number in first..=last {
                    self.with_page(slots, number, |page| {
                        let at = from.saturating_sub(number * page_size);
                        let end = (from + len as u64 - number * page_size).min(page.len() as u64);
                        joined.extend_from_slice(slice(page, at, end));
                    })?;
                }
                Ok(job(&joined))
            }
        }
    }

    /// Whether a name with this hash may be here. `several` segments are asked, so most do not have it.
    ///
    /// A filter is brought into memory once lookups have read about as many pages as that takes. However many
    /// lookups follow, this costs at most twice as much as the best choice.
    fn may_have(&self, hash: u64, several: bool) -> Result<bool> {
        if let Pages::Read(slots) = &self.pages {
            match self.filter.get() {
                Some(Some(filter)) => return Ok(filter.may_have(hash)),
                Some(None) => {}
                None => {
                    let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
                    // One thread makes the filter. Meanwhile, the others go without.
                    if asked == self.worth_a_filter() {
                        let _ = self.filter.set(self.make_filter(&slots.cache()));
                    }
                }
            }
        }
        match self.filter_block(hash).filter(|_| several) {
            Some(at) => self.with(FILTER, at, filter::BLOCK_LEN, |block| filter::may_have(block, hash)),
            None => Ok(true),
        }
    }

    /// Where the block of a hash lies in the section of the filter, if there is one.
    fn filter_block(&self, hash: u64) -> Option<u64> {
        let n_blocks = self.head.sections[FILTER].length / filter::BLOCK_LEN as u64;
        (n_blocks > 0).then(|| filter::block_of(hash, n_blocks) * filter::BLOCK_LEN as u64)
    }

    /// What a filter in memory is made of.
    fn filter_sources(&self) -> &'static [usize] {
        if self.head.sections[FILTER].length > 0 { &[FILTER] } else { &[NAME_BLOCKS, NAMES] }
    }

    /// The number of lookups that make a filter in memory worth its cost.
    fn worth_a_filter(&self) -> u64 {
        let bytes = self.filter_sources().iter().map(|&section| self.head.sections[section].length);
        (bytes.sum::<u64>() / PAGE as u64).max(LEAST_ASKED)
    }

    /// A filter of all names here; `None` if the arrays are damaged, or if there is no room for it.
    fn make_filter(&self, cache: &Arc<PageCache>) -> Option<Filter> {
        let mut made = Filter::new(self.head.n_records, cache)?;
        let stored = self.head.sections[FILTER].length;
        if stored == 0 {
            self.each_name(&mut |_, name| made.insert(hash(name))).ok()?;
            return Some(made);
        }
        let bytes = made.bytes_mut();
        if stored != bytes.len() as u64 {
            return None;
        }
        let mut done = 0;
        let mut take = |page: &[u8]| {
            let n = page.len().min(bytes.len() - done);
            bytes[done..done + n].copy_from_slice(&page[..n]);
            done += n;
        };
        // The filter starts with the first page.
        let pages = 0..Self::page_of(stored - 1) + 1;
        match &self.pages {
            Pages::Read(slots) if pages.clone().all(|page| slots.has(usize::try_from(page).unwrap_or(0))) => {
                pages.into_iter().try_for_each(|page| self.with_page(slots, page, &mut take)).ok()?;
            }
            _ => self.checked_pages(pages, CHECKED_AT_ONCE, &mut |_, bytes| take(bytes)).ok()?,
        }
        Some(made)
    }

    /// Finds the record called `name`, live or dead, in this segment: its global ordinal and location.
    ///
    /// `hash` is the hash of `name`, and `several` segments are asked for it. `guess` gets the location
    /// before the name is compared. It can already ask for the bytes of the record while the name is on
    /// its way from memory.
    pub(crate) fn find(
        &self,
        hash: u64,
        name: &[u8],
        several: bool,
        guess: &mut dyn FnMut(&Location),
    ) -> Result<Option<(u64, Location)>> {
        if self.head.n_records == 0 {
            return Ok(None);
        }
        let bits = self.head.bucket_bits;
        if !self.may_have(hash, several)? {
            return Ok(None);
        }
        let (from, to) = match self.only_bucket() {
            Some(bounds) => bounds,
            None => self.with(BUCKETS, 4 * bucket_of(hash, bits) as u64, 8, bounds)?,
        };
        if from >= to {
            return Ok(None);
        }
        let tag = tag_of(hash, bits);
        let count = (to - from) as usize;
        // Few records share a tag, so four places on the stack are nearly always enough.
        let (mut hits, mut n_hits) = ([0u32; 4], 0);
        let mut more = Vec::new();
        self.with(HASHES, 8 * u64::from(from), 8 * count, |entries| {
            for entry in entries.chunks_exact(8) {
                if u32_at(entry, 0) == Some(tag) {
                    let ordinal = u32_at(entry, 4).unwrap_or(u32::MAX);
                    if n_hits < hits.len() {
                        hits[n_hits] = ordinal;
                        n_hits += 1;
                    } else {
                        more.push(ordinal);
                    }
                }
            }
        })?;
        for ordinal in hits[..n_hits].iter().copied().chain(more) {
            self.prefetch(NAME_BLOCKS, 4 * (u64::from(ordinal) / BLOCK as u64));
            let location = self.any_location(u64::from(ordinal))?;
            guess(&location);
            if self.name_is(ordinal, name)? {
                self.check_location(&location)?;
                return Ok(Some((self.reference.first_ordinal + u64::from(ordinal), location)));
            }
        }
        Ok(None)
    }

    /// Prefetches the bytes that [`find`](Self::find) looks at first.
    fn prefetch_bucket(&self, hash: u64) {
        self.prefetch(BUCKETS, 4 * bucket_of(hash, self.head.bucket_bits) as u64);
    }

    /// Prefetches the bytes at `start` of a section, if the segment is mapped.
    fn prefetch(&self, section: usize, start: u64) {
        if let Pages::Mapped { bytes, .. } = &self.pages {
            let from = self.head.sections[section].offset.saturating_add(start);
            prefetch(slice(bytes, from, from.saturating_add(1)));
        }
    }

    /// Start and end of the bucket, if there is only one, which is not stored.
    fn only_bucket(&self) -> Option<(u32, u32)> {
        (self.head.bucket_bits == 0).then(|| (0, u32::try_from(self.head.n_records).unwrap_or(u32::MAX)))
    }

    /// Start and end of the block of names, if there is only one, which is not stored.
    fn only_block(&self) -> Option<(u32, u32)> {
        let bytes = self.head.sections[NAMES].length;
        (self.head.n_records <= BLOCK as u64).then(|| (0, u32::try_from(bytes).unwrap_or(u32::MAX)))
    }

    fn with_name_block<T>(&self, block: u64, job: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let (from, to) = match self.only_block().filter(|_| block == 0) {
            Some(bounds) => bounds,
            None => self.with(NAME_BLOCKS, 4 * block, 8, bounds)?,
        };
        let len = to.checked_sub(from).ok_or_else(|| {
            self.damaged(
                self.head.sections[NAME_BLOCKS].offset,
                "increasing offsets".into(),
                format!("{from}, {to}"),
            )
        })?;
        self.with(NAMES, u64::from(from), len as usize, job)
    }

    fn name_is(&self, ordinal: u32, name: &[u8]) -> Result<bool> {
        let (block, nth) = (u64::from(ordinal) / BLOCK as u64, ordinal as usize % BLOCK);
        self.with_name_block(block, |names| nth_is(names, nth, name))
    }

    /// The local ordinal of the first name in the block that holds `ordinal`, and all tagged names of that
    /// block.
    pub(crate) fn names_around(&self, ordinal: u64) -> Result<(u64, Vec<Vec<u8>>)> {
        let block = ordinal / BLOCK as u64;
        let first = block * BLOCK as u64;
        let expected = self.head.n_records.saturating_sub(first).min(BLOCK as u64);
        let names = self.with_name_block(block, |names| {
            let mut names = NameDecoder::new(names);
            let mut out = Vec::with_capacity(BLOCK);
            // Stops at one name too many: in a forged block, a few bytes can repeat a long name any number
            // of times.
            while out.len() <= BLOCK
                && let Some(name) = names.next()
            {
                out.push(name.to_vec());
            }
            out
        })?;
        if names.len() as u64 != expected {
            let at = self.head.sections[NAMES].offset;
            return Err(self.damaged(
                at,
                format!("{expected} names in block {block}"),
                names.len().to_string(),
            ));
        }
        Ok((first, names))
    }

    /// Gives `job` the local ordinal and the tagged name of every record.
    pub(crate) fn each_name(&self, job: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        let mut next = 0;
        while next < self.head.n_records {
            next = self.names_of_block(next, job)?;
        }
        Ok(())
    }

    /// Gives `job` the local ordinals and tagged names of the block that starts with local ordinal `first`.
    /// Returns where the next block starts.
    pub(crate) fn names_of_block(&self, first: u64, job: &mut dyn FnMut(u64, &[u8])) -> Result<u64> {
        let end = self.next_block(first);
        // Copied: the caller's job may ask for other pages.
        let block = self.with_name_block(first / BLOCK as u64, <[u8]>::to_vec)?;
        let mut names = NameDecoder::new(&block);
        let complete = (first..end).all(|ordinal| names.next().map(|name| job(ordinal, name)).is_some());
        if complete && names.next().is_none() {
            return Ok(end);
        }
        let at = self.head.sections[NAMES].offset;
        Err(self.damaged(at, format!("{} names in a block", end - first), "others".into()))
    }

    /// Appends the tagged names of the block that starts with local ordinal `first`, and gives `place` the
    /// places of these records. Returns where the next block starts.
    ///
    /// After an error, some may have been given.
    pub(crate) fn records_of_block(
        &self,
        first: u64,
        names: &mut NameList,
        mut place: impl FnMut(Location),
    ) -> Result<u64> {
        let next = self.next_block(first);
        let expected = usize::try_from(next.saturating_sub(first)).unwrap_or(0);
        let len = Location::LEN as u64;
        let known = self.with(LOCATIONS, first.saturating_mul(len), expected * Location::LEN, |bytes| {
            bytes.chunks_exact(Location::LEN).try_for_each(|bytes| {
                let location = Location::decode(bytes).unwrap_or_default();
                location.check_known(self.foreign)?;
                place(Location { address: location.address + self.shift.addresses, ..location });
                Ok(())
            })
        })?;
        known.map_err(|newer: Newer| newer.at(self.storage.path(), self.base, false))?;
        let complete =
            self.with_name_block(first / BLOCK as u64, |block| names.push_block(block, expected))?;
        if complete {
            return Ok(next);
        }
        let at = self.head.sections[NAMES].offset;
        Err(self.damaged(at, format!("{expected} names in a block"), "others".into()))
    }

    /// Where the block of names after that of local `ordinal` starts, or the number of records.
    pub(crate) fn next_block(&self, ordinal: u64) -> u64 {
        (ordinal / BLOCK as u64 + 1).saturating_mul(BLOCK as u64).min(self.head.n_records)
    }

    /// The tagged name of local `ordinal`.
    pub(crate) fn name(&self, ordinal: u64) -> Result<Vec<u8>> {
        let (first, mut names) = self.names_around(ordinal)?;
        let nth = usize::try_from(ordinal - first).unwrap_or(usize::MAX);
        if nth < names.len() {
            return Ok(names.swap_remove(nth));
        }
        Err(self.damaged(self.head.sections[NAMES].offset, format!("a name number {ordinal}"), "none".into()))
    }

    /// The place of local `ordinal`.
    ///
    /// The error is [`NewerFeature`](crate::ErrorKind::NewerFeature) if only a later version can read it.
    pub(crate) fn location(&self, ordinal: u64) -> Result<Location> {
        let location = self.any_location(ordinal)?;
        self.check_location(&location)?;
        Ok(location)
    }

    fn check_location(&self, location: &Location) -> Result<()> {
        let known = location.check_known(self.foreign);
        known.map_err(|newer| newer.at(self.storage.path(), self.base, false))
    }

    /// Like [`location`](Self::location), but also of records that only a later version can read.
    pub(crate) fn any_location(&self, ordinal: u64) -> Result<Location> {
        let location = self.with(
            LOCATIONS,
            ordinal.saturating_mul(Location::LEN as u64),
            Location::LEN,
            Location::decode,
        )?;
        let location = location.unwrap_or_default();
        Ok(Location { address: location.address + self.shift.addresses, ..location })
    }

    /// The reference to a chunk. `chunk` is its number in the whole depot.
    pub(crate) fn chunk(&self, chunk: u64) -> Result<ChunkRef> {
        let at = chunk.wrapping_sub(self.reference.first_chunk).saturating_mul(ChunkRef::LEN as u64);
        self.with(CHUNKS, at, ChunkRef::LEN, ChunkRef::decode)?
            .ok_or_else(|| self.damaged(at, "a chunk reference".into(), "none".into()))
    }

    /// Whether this segment says that the older record `ordinal` is dead.
    pub(crate) fn has_tombstone(&self, ordinal: u64) -> Result<bool> {
        let Some(ordinal) = ordinal.checked_sub(self.shift.ordinals) else { return Ok(false) };
        let (mut from, mut to) = (0, self.head.n_tombstones);
        while from < to {
            let middle = u64::midpoint(from, to);
            let found = self.with(KILLS, 8 * middle, 8, |bytes| u64_at(bytes, 0).unwrap_or(0))?;
            match found.cmp(&ordinal) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Ok(false)
    }

    /// All ordinals that this segment declares dead, in increasing order.
    pub(crate) fn tombstones(&self) -> Result<Vec<u64>> {
        let len = usize::try_from(8 * self.head.n_tombstones).unwrap_or(usize::MAX);
        let shifted = |raw: &[u8]| u64_at(raw, 0).map(|ordinal| ordinal.saturating_add(self.shift.ordinals));
        self.with(KILLS, 0, len, |bytes| bytes.chunks_exact(8).filter_map(shifted).collect())
    }

    /// MessagePack metadata of local `ordinal`.
    pub(crate) fn metadata(&self, ordinal: u64) -> Result<Option<Vec<u8>>> {
        let (mut from, mut to) = (0, self.head.n_metadata);
        while from < to {
            let middle = u64::midpoint(from, to);
            let found = self.with(METADATA_ORDINALS, 4 * middle, 4, |bytes| u32_at(bytes, 0).unwrap_or(0))?;
            match u64::from(found).cmp(&ordinal) {
                std::cmp::Ordering::Equal => {
                    let bounds = |b: &[u8]| (u32_at(b, 0).unwrap_or(0), u32_at(b, 4).unwrap_or(0));
                    let (start, end) = self.with(METADATA_OFFSETS, 4 * middle, 8, bounds)?;
                    let len = end.saturating_sub(start) as usize;
                    return self.with(METADATA, u64::from(start), len, |bytes| Some(bytes.to_vec()));
                }
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Ok(None)
    }

    /// Checks that the columns are those of the depot. Without records there are none.
    pub(crate) fn check_columns(&self, fields: &[ScalarField]) -> Result<()> {
        let kinds = self.head.columns.iter().map(|column| column.kind);
        let fields = if self.head.n_records == 0 { &[] } else { fields };
        if kinds.eq(fields.iter().map(|field| field.kind)) {
            return Ok(());
        }
        let expected = format!("the {} columns of the depot", fields.len());
        Err(self.damaged_at_start(expected, format!("{} columns", self.head.columns.len())))
    }

    /// What is known of the values of each column, those of dead records included. None if the file does not
    /// tell.
    pub(crate) fn zones(&self) -> &[Zone] {
        &self.head.zones
    }

    /// Statistics of the fields of records.
    pub(crate) fn tallied(&self) -> &Tallied {
        &self.head.tallied
    }

    /// The row of scalars of local `ordinal`.
    pub(crate) fn scalars(&self, ordinal: u64) -> Result<Vec<u8>> {
        let mut row = Vec::with_capacity(VALUE_LEN * self.head.columns.len());
        let mut start = 0;
        for column in &self.head.columns {
            push_value(&mut row, self.scalar(*column, start, ordinal)?);
            start += column.len(self.head.n_records);
        }
        Ok(row)
    }

    /// The value of local `ordinal` in a column that starts at `start` of the section.
    fn scalar(&self, column: Column, start: u64, ordinal: u64) -> Result<Option<u64>> {
        let is_absent = match column.absent {
            Absent::None => false,
            Absent::All => true,
            Absent::Some => {
                let at = start + column.elements_len(self.head.n_records) + ordinal / 8;
                self.with(COLUMNS, at, 1, |bits| {
                    bits.first().is_some_and(|bits| bits & 1 << (ordinal % 8) != 0)
                })?
            }
        };
        if is_absent {
            return Ok(None);
        }
        let width = usize::from(column.width);
        let at = start.saturating_add(ordinal.saturating_mul(u64::from(column.width)));
        self.with(COLUMNS, at, width, |element| column.value(ordinal, element)).map(Some)
    }

    /// Gives `job` the values of the records in `ordinals`, which are local, in column number `nth`.
    ///
    /// A segment that is not mapped is read in large pieces, which are not kept.
    pub(crate) fn column(
        &self,
        nth: usize,
        ordinals: Range<u64>,
        job: &mut dyn FnMut(Option<u64>),
    ) -> Result<()> {
        let n = self.head.n_records;
        let Some(&column) = self.head.columns.get(nth) else {
            ordinals.for_each(|_| job(None));
            return Ok(());
        };
        let start: u64 = self.head.columns[..nth].iter().map(|column| column.len(n)).sum();
        let width = u64::from(column.width);
        let mut from = ordinals.start;
        while from < ordinals.end {
            let to = (from / COLUMN_AT_ONCE + 1).saturating_mul(COLUMN_AT_ONCE).min(ordinals.end);
            let bits = if column.absent == Absent::Some {
                let at = start + column.elements_len(n) + from / 8;
                self.copied(COLUMNS, at..at + (to.div_ceil(8) - from / 8))?
            } else {
                Vec::new()
            };
            let elements = self.copied(COLUMNS, start + width * from..start + width * to)?;
            let width = usize::from(column.width);
            for ordinal in from..to {
                let nth = usize::try_from(ordinal - from).unwrap_or(usize::MAX);
                let in_bits = usize::try_from(ordinal / 8 - from / 8).unwrap_or(usize::MAX);
                let is_absent = match column.absent {
                    Absent::None => false,
                    Absent::All => true,
                    Absent::Some => bits.get(in_bits).is_some_and(|bits| bits & 1 << (ordinal % 8) != 0),
                };
                let element = elements.get(width * nth..width * (nth + 1)).unwrap_or_default();
                job((!is_absent).then(|| column.value(ordinal, element)));
            }
            from = to;
        }
        Ok(())
    }

    /// The checked bytes of a part of a section. Pages that are not mapped are not kept.
    fn copied(&self, section: usize, range: Range<u64>) -> Result<Vec<u8>> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let Section { offset, length } = self.head.sections[section];
        if len == 0 || matches!(self.pages, Pages::Mapped { .. }) || range.end > length {
            return self.with(section, range.start, len, <[u8]>::to_vec);
        }
        let range = offset + range.start..offset + range.end;
        let mut out = Vec::with_capacity(len);
        let pages = Self::page_of(range.start)..Self::page_of(range.end - 1) + 1;
        self.checked_pages(pages, COLUMN_AT_ONCE * 8, &mut |read, bytes| {
            let (from, to) = (range.start.max(read.start), range.end.min(read.end));
            out.extend_from_slice(slice(bytes, from - read.start, to - read.start));
        })?;
        Ok(out)
    }

    /// Gives `job` the tagged name of local `ordinal`.
    pub(super) fn with_name<T>(&self, ordinal: u64, job: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let nth = usize::try_from(ordinal % BLOCK as u64).unwrap_or(0);
        let given = self.with_name_block(ordinal / BLOCK as u64, |block| {
            let mut names = NameDecoder::new(block);
            for _ in 0..nth {
                names.next()?;
            }
            names.next().map(job)
        })?;
        let at = self.head.sections[NAMES].offset;
        given.ok_or_else(|| self.damaged(at, format!("a name number {ordinal}"), "none".into()))
    }

    /// What the segment knows of the order of its names.
    pub(crate) fn order(&self) -> Order {
        self.head.order
    }

    /// The records that this segment declares dead, by ordinal.
    pub(crate) fn kills(&self) -> Result<Vec<Kill>> {
        let ordinals = self.tombstones()?;
        if self.head.sections[KILL_RANKS].length == 0 {
            return Ok(ordinals.into_iter().map(|ordinal| Kill { ordinal, ranked: None }).collect());
        }
        let column = |section| {
            self.with(section, 0, 4 * ordinals.len(), |bytes| {
                bytes.chunks_exact(4).map(|raw| u32_at(raw, 0).unwrap_or(0)).collect::<Vec<u32>>()
            })
        };
        let lengths = column(KILL_LENGTHS)?.into_iter().map(u64::from);
        let ranked = column(KILL_RANKS)?.into_iter().zip(lengths);
        Ok(ordinals
            .into_iter()
            .zip(ranked)
            .map(|(ordinal, ranked)| Kill { ordinal, ranked: Some(ranked) })
            .collect())
    }

    /// Whether the segment has parts that this version does not know. A merge would lose them.
    pub(crate) fn has_more(&self) -> bool {
        self.head.has_more
    }

    /// Refuses to leave out parts that this version does not know.
    pub(crate) fn check_no_more(&self) -> Result<()> {
        if !self.head.has_more {
            return Ok(());
        }
        let newer = Newer::new("index segment", &self.reference.first_ordinal);
        Err(newer.at(self.storage.path(), self.reference.offset, true))
    }

    /// Whether any record here has metadata.
    pub(crate) fn has_metadata(&self) -> bool {
        self.head.n_metadata > 0
    }

    /// Checks every page as it is in the file.
    ///
    /// This reads even if the segment is mapped: bytes that no commit covers yet may be cut off at any time.
    pub(crate) fn check_all(&self) -> Result<()> {
        let n_pages = self.head.paged_len.div_ceil(PAGE as u64);
        self.checked_pages(0..n_pages, CHECKED_AT_ONCE, &mut |_, _| ())
    }

    /// Reads and checks pages, about `at_once` bytes at a time. `job` gets their bytes, and their range in
    /// the array of pages.
    fn checked_pages(
        &self,
        pages: Range<u64>,
        at_once: u64,
        job: &mut dyn FnMut(Range<u64>, &[u8]),
    ) -> Result<()> {
        let page_size = PAGE as u64;
        let at_once = (at_once / page_size).max(1);
        let mut first = pages.start;
        while first < pages.end {
            let end = (first + at_once).min(pages.end);
            let range = first * page_size..(end * page_size).min(self.head.paged_len);
            let bytes = self.read(range.clone())?;
            for page in first..end {
                let of_page = self.page_range(page);
                self.check_page(page, slice(&bytes, of_page.start - range.start, of_page.end - range.start))?;
            }
            job(range, &bytes);
            first = end;
        }
        Ok(())
    }

    /// Bytes of the entry.
    pub(crate) fn stored_len(&self) -> u64 {
        self.reference.length
    }
}

fn damaged(storage: &Arc<dyn Storage>, offset: u64, expected: &str, found: String) -> Error {
    Error::damaged(storage.path(), Part::Index, offset, expected, found)
}

fn read(storage: &Arc<dyn Storage>, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let failed = |source| storage.io(format!("read the index at byte {offset}"), source);
    storage.read_at(offset, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Two numbers that follow each other: where something starts and ends.
fn bounds(bytes: &[u8]) -> (u32, u32) {
    (u32_at(bytes, 0).unwrap_or(0), u32_at(bytes, 4).unwrap_or(0))
}

fn slice(bytes: &[u8], from: u64, to: u64) -> &[u8] {
    let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    bytes.get(index(from)..index(to)).unwrap_or_default()
}

/// Refuses an entry that does not lie inside the file, before memory is taken for any of it.
fn check_inside(storage: &Arc<dyn Storage>, offset: u64, length: u64, file_len: u64) -> Result<()> {
    if length >= HEAD_LEN as u64 && offset.checked_add(length).is_some_and(|end| end <= file_len) {
        return Ok(());
    }
    let found = format!("{file_len} bytes of file");
    Err(damaged(storage, offset, &format!("{length} bytes of index"), found))
}

/// The length of the entry's head and the prefix of the segment at `reference`, which are inside the file.
fn start_len(storage: &Arc<dyn Storage>, reference: &SegmentRef, file_len: u64) -> Result<usize> {
    check_inside(storage, reference.offset, reference.length, file_len)?;
    let start_len = HEAD_LEN as u64 + u64::from(reference.prefix_len);
    if start_len > reference.length {
        let found = format!("{start_len} of {}", reference.length);
        return Err(damaged(storage, reference.offset, "a prefix inside the entry", found));
    }
    Ok(usize::try_from(start_len).unwrap_or(0))
}

/// Checks that the arrays lie inside the entry, whose body has `body_len` bytes, and have the
/// lengths that follow from the counts.
///
/// Returns the number of pages, and the bytes of the table of their checksums.
fn check_head(
    head: &SegmentHead,
    reference: &SegmentRef,
    body_len: u64,
    prefix_len: usize,
    n_parts: usize,
) -> Result<(usize, u64), Fault> {
    let counts = |r: &SegmentRef| [r.first_ordinal, r.n_records, r.first_chunk, r.n_chunks, r.n_tombstones];
    let found = [head.first_ordinal, head.n_records, head.first_chunk, head.n_chunks, head.n_tombstones];
    if counts(reference) != found {
        return Err(format!("counts {found:?} where the commit has {:?}", counts(reference)).into());
    }
    if head.bucket_bits > 32 {
        return Err(format!("{} bucket bits", head.bucket_bits).into());
    }
    let n_pages = head.paged_len.div_ceil(PAGE as u64);
    let table_len = page_table_len(prefix_len, n_pages);
    let room = body_len.saturating_sub(prefix_len as u64);
    let n_pages = usize::try_from(n_pages).unwrap_or(usize::MAX);
    if room.checked_sub(table_len).is_none_or(|room| head.paged_len > room)
        || n_pages.div_ceil(PAGES_A_PART) != n_parts
    {
        return Err(format!("{} bytes in {n_pages} pages where {room} bytes are", head.paged_len).into());
    }
    let times = |n: u64, size: u64| n.checked_mul(size);
    let filter_len = times(filter::n_blocks(head.n_records), filter::BLOCK_LEN as u64);
    let ordered = head.order != Order::Unknown;
    let has_kill_ranks = head.sections[KILL_RANKS].length > 0;
    let wanted: [Option<u64>; SECTIONS] = [
        if head.sections[FILTER].length == 0 { Some(0) } else { filter_len },
        times(head.n_records, Location::LEN as u64),
        Some(if head.bucket_bits == 0 { 0 } else { 4 * ((1 << head.bucket_bits) + 1) }),
        times(head.n_records, 8),
        Some(if head.n_records <= BLOCK as u64 {
            0
        } else {
            4 * (head.n_records.div_ceil(BLOCK as u64) + 1)
        }),
        None,
        times(head.n_chunks, ChunkRef::LEN as u64),
        times(head.n_tombstones, 8),
        times(head.n_metadata, 4),
        Some(if head.n_metadata == 0 { 0 } else { 4 * (head.n_metadata + 1) }),
        None,
        times(if head.order == Order::Listed { head.n_records } else { 0 }, 4),
        times(if ordered { head.n_records / SUMMED } else { 0 }, 8),
        times(if has_kill_ranks { head.n_tombstones } else { 0 }, 4),
        times(if has_kill_ranks { head.n_tombstones } else { 0 }, 4),
        head.columns.iter().try_fold(0_u64, |sum, column| sum.checked_add(column.len(head.n_records))),
    ];
    for (number, (section, wanted)) in head.sections.iter().zip(wanted).enumerate() {
        let fits = section.offset.checked_add(section.length).is_some_and(|end| end <= head.paged_len);
        let free_length = number == NAMES || number == METADATA;
        if !fits || !(free_length || wanted == Some(section.length)) {
            return Err(format!("array {number} of {} bytes at {}", section.length, section.offset).into());
        }
    }
    Ok((n_pages, table_len))
}

/// Finds the live record called `name` in the `segments` of one depot, which start with the oldest.
///
/// Returns its ordinal and its location. `hash` is the hash of the name. `several` says whether these
/// segments are several, or there are others to be asked. For `guess`, see [`Segment::find`].
pub(crate) fn find_live(
    segments: &[Arc<Segment>],
    hash: u64,
    name: &[u8],
    several: bool,
    guess: &mut dyn FnMut(&Location),
) -> Result<Option<(u64, Location)>> {
    for (number, segment) in segments.iter().enumerate().rev() {
        if let Some((ordinal, location)) = segment.find(hash, name, several, guess)? {
            for newer in &segments[number + 1..] {
                if newer.has_tombstone(ordinal)? {
                    return Ok(None);
                }
            }
            return Ok(Some((ordinal, location)));
        }
    }
    Ok(None)
}

/// Prefetches, for each of `names`, the bytes that [`find_live`] looks at first.
pub(crate) fn expect_names<'n>(segments: &[Arc<Segment>], names: impl Iterator<Item = &'n [u8]>) {
    // The other segments are small, or there is only one segment.
    let Some(largest) = segments.iter().max_by_key(|segment| segment.head.n_records) else { return };
    for name in names {
        largest.prefetch_bucket(hash(name));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Chosen, Extras, Records};
    use super::*;
    use crate::format::tables::Attributes;
    use crate::testing::fuzz::forge_index;

    /// A segment of one record called `name`, changed by `change`, with checksums made to match.
    fn opened(name: &[u8], length: u64, change: impl Fn(&mut [u8])) -> Result<Segment> {
        opened_of([name], length, change)
    }

    /// Like [`opened`], but with a record for each of `names`.
    pub(in super::super) fn opened_of<'n>(
        names: impl IntoIterator<Item = &'n [u8]>,
        length: u64,
        change: impl Fn(&mut [u8]),
    ) -> Result<Segment> {
        let mut records = Records::default();
        for (length, name) in (1..).zip(names) {
            records.push(name, &Location { length, ..Location::default() }, Attributes::default());
        }
        let plan = SegmentPlan {
            first_ordinal: 0,
            first_chunk: 0,
            listing: &Chosen::all(&records),
            chunks: Vec::new(),
            kills: Vec::new(),
            extras: Extras::ALL,
            tallied: Tallied::default(),
        };
        let (bytes, encoded) = plan.into_bytes()?;
        let mut body = bytes[HEAD_LEN..].to_vec();
        change(&mut body);
        let end = body.len();
        let prefix = forge_index(&mut body, 0, end).unwrap_or(0);
        let head = EntryHead {
            kind: Kind::Index,
            body_crc: crc32c(&body[..prefix]),
            sequence: 1,
            ordinal: 0,
            offset: 0,
            length: encoded.reference.length + length,
            depot_id: 7,
            previous: 0,
            reserved: [0; 3],
        };
        let storage: Arc<dyn Storage> =
            Arc::new(MemoryStorage::from_bytes(&[&head.encode()[..], &body].concat()));
        Segment::open(&storage, SegmentRef { length: head.length, ..encoded.reference }, 7, false)
    }

    #[test]
    fn a_segment_longer_than_its_file_is_refused_before_memory_is_taken() {
        opened(b"name", 0, |_| ()).unwrap();
        let error = opened(b"name", 1 << 40, |body| body[..8].fill(0xff)).unwrap_err().to_string();
        assert!(error.contains("bytes of file"), "{error}");
    }

    #[test]
    fn a_long_name_is_not_repeated_at_will() {
        let name = [7; 100];
        let segment = opened(&name, 0, |body| {
            let at = body.windows(100).position(|window| window == name).unwrap();
            // A name of ten bytes, and then forty-five times the same name.
            body[at - 1] = 10;
            body[at + 10..at + 100].as_chunks_mut::<2>().0.fill([10, 0]);
        });
        let error = segment.unwrap().names_around(0).unwrap_err().to_string();
        assert!(error.contains("expected 1 names in block 0, found 17"), "{error}");
    }

    #[test]
    fn a_segment_that_was_asked_often_has_a_filter_and_finds_what_it_found_before() {
        for n in [1, 7, 100, 20_000_u64] {
            let names: Vec<_> = (0..n).map(u64::to_le_bytes).collect();
            let segment = opened_of(names.iter().map(|name| &name[..]), 0, |_| ()).unwrap();
            let find = |name: u64| {
                let name = name.to_le_bytes();
                segment.find(hash(&name), &name, false, &mut |_| ()).unwrap().map(|(ordinal, _)| ordinal)
            };
            for round in 0..2 {
                for name in 0..n {
                    assert_eq!(
                        (find(name), find(name + n)),
                        (Some(name), None),
                        "{name} of {n}, round {round}"
                    );
                }
            }
            let asked = 4 * n >= LEAST_ASKED;
            assert_eq!(matches!(segment.filter.get(), Some(Some(_))), asked, "{n}");
        }
    }
}

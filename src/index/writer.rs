//! Writes an index segment, array by array.
//!
//! Places, hashes, names and metadata go out in pieces of bounded size. Only small arrays grow in memory with
//! the records: the starts of buckets and of blocks of names, and the checksums of pages.
//!
//! ```text
//!  +----------+-----------+-------------+----------------+---+-------------+---+------------------------+
//!  | head     | number of | SegmentHead | CRC32C of each | 0 | page table: | 0 | arrays, each at a      |
//!  | length   | parts     |             | part of the    |   | CRC32C of   |   | multiple of 8          |
//!  | u32      | u32       |             | page table     |   | each page   |   | (locations, names, ..) |
//!  +----------+-----------+-------------+----------------+---+-------------+---+------------------------+
//!  |<----------- prefix, to a multiple of 8 ------------------>|  to 8 bytes     |<------ pages --------->|
//! ```
//! The entry head's body CRC covers the prefix. A part of the page table is as long as a page, so that
//! opening a segment of a billion bytes reads a kilobyte. The pages are written first, because the table
//! has their checksums.

use super::columns::{Elements, Survey as ColumnSurvey};
use super::names::{BLOCK, NameEncoder};
use super::records::{Kill, Listing};
use super::{bucket_of, filter, tag_of};
use crate::checksum::crc32c;
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::format::entry::HEAD_LEN;
use crate::format::tables::{Column, Order, SECTIONS, Section, SegmentHead, SegmentRef, Zone, lay_out};
use crate::scalar::{ScalarField, value_of};
use crate::statistics::Tallied;

/// Records between two sums of raw bytes in the order of names.
pub(super) const SUMMED: u64 = 16;
/// Bytes covered by one checksum.
pub(crate) const PAGE: usize = 4 << 10;
/// Bytes of names and metadata after which a segment is full.
///
/// This is far below what its 32-bit offsets reach, since a record has at most some 80 MiB of them.
pub(crate) const SEGMENT_ROOM: usize = 512 << 20;
/// The most records that a bucket holds on average.
const PER_BUCKET: usize = 8;
/// Bytes written at a time.
const PIECE: usize = 1 << 20;
/// Hashes put into order at a time. All names are gone through once per window. Encoded names that take as
/// much memory are kept from the survey until they are written.
const WINDOW: usize = 4 << 20;

/// The fewest records of a segment with a filter: all hashes of fewer are in one page.
const LEAST_FILTERED: u64 = 16;

/// What a segment has besides names and places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras<'c> {
    /// A filter of names.
    pub(crate) filter: bool,
    /// The order of names.
    pub(crate) order: bool,
    /// The scalars that rows have.
    pub(crate) columns: &'c [ScalarField],
}

#[cfg(any(test, all(feature = "testing", feature = "atomic", feature = "json")))]
impl Extras<'_> {
    pub(crate) const ALL: Self = Self { filter: true, order: true, columns: &[] };
}

/// A segment to be written.
pub(crate) struct SegmentPlan<'l> {
    pub(crate) first_ordinal: u64,
    pub(crate) first_chunk: u64,
    pub(crate) listing: &'l dyn Listing,
    pub(crate) chunks: Vec<ChunkRef>,
    /// Dead records of older segments.
    pub(crate) kills: Vec<Kill>,
    pub(crate) extras: Extras<'l>,
    /// Statistics of the fields of records.
    pub(crate) tallied: Tallied,
}

/// The start of the entry, to be written before the pages.
#[derive(Debug)]
pub(crate) struct SegmentStart {
    /// 64 bytes of room for the entry head, then the prefix.
    pub(crate) bytes: Vec<u8>,
    /// CRC of the prefix, for the entry head.
    pub(crate) body_crc: u32,
    /// The reference to the segment, but with no offset yet.
    pub(crate) reference: SegmentRef,
}

/// A function that gets bytes of the pages, and their place in the entry.
pub(crate) type Out<'o> = &'o mut dyn FnMut(u64, &[u8]) -> Result<()>;

/// The facts that going through all records once yields.
struct Survey {
    order: Order,
    /// Start of each block of names, and the end.
    blocks: Vec<u32>,
    /// The encoded names, unless they take more memory than a window of hashes.
    names: Option<Vec<u8>>,
    bits: u8,
    /// Start of each bucket among the hashes, and the end.
    buckets: Vec<u32>,
    n_metadata: u64,
    metadata_len: u64,
    columns: Vec<Column>,
    zones: Vec<Zone>,
}

impl SegmentPlan<'_> {
    /// Writes the pages to `out`, in pieces of about `piece` bytes.
    ///
    /// # Errors
    /// The errors of `out`, and those of the listing.
    pub(crate) fn write(self, piece: usize, out: Out<'_>) -> Result<SegmentStart> {
        self.write_by(piece, WINDOW, out)
    }

    fn write_by(mut self, piece: usize, window: usize, out: Out<'_>) -> Result<SegmentStart> {
        self.kills.sort_unstable_by_key(|kill| kill.ordinal);
        let survey = self.survey(window)?;
        let mut reference = SegmentRef {
            first_ordinal: self.first_ordinal,
            n_records: self.listing.len() as u64,
            first_chunk: self.first_chunk,
            n_chunks: self.chunks.len() as u64,
            n_tombstones: self.kills.len() as u64,
            ..SegmentRef::default()
        };
        let (sections, paged_len) = self.sections(&survey);
        let head = SegmentHead {
            first_ordinal: reference.first_ordinal,
            n_records: reference.n_records,
            first_chunk: reference.first_chunk,
            n_chunks: reference.n_chunks,
            n_tombstones: reference.n_tombstones,
            n_metadata: survey.n_metadata,
            bucket_bits: survey.bits,
            order: survey.order,
            sections,
            columns: survey.columns.clone(),
            zones: survey.zones.clone(),
            tallied: std::mem::take(&mut self.tallied),
            paged_len,
            has_more: false,
        }
        .encode();
        let n_pages = paged_len.div_ceil(PAGE as u64);
        let n_parts = usize::try_from(4 * n_pages).unwrap_or(usize::MAX).div_ceil(PAGE);
        let prefix_len = prefix_len(head.len(), n_parts);
        let table_len = usize::try_from(page_table_len(prefix_len, n_pages)).unwrap_or(usize::MAX);
        let n_pages = usize::try_from(n_pages).unwrap_or(usize::MAX);
        let pages_at = HEAD_LEN + prefix_len + table_len;
        let mut pages = PageWriter {
            out,
            at: pages_at as u64,
            written: 0,
            piece,
            buf: Vec::new(),
            crcs: Vec::with_capacity(4 * n_pages),
        };
        self.write_arrays(&survey, window, &mut pages)?;
        let length = (pages_at as u64 + paged_len).next_multiple_of(HEAD_LEN as u64);
        debug_assert_eq!(pages.written + pages.buf.len() as u64, paged_len);
        let crcs = pages.finish(length)?;
        let mut bytes = vec![0; pages_at];
        let (prefix, table) = bytes[HEAD_LEN..].split_at_mut(prefix_len);
        table[..crcs.len()].copy_from_slice(&crcs);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        prefix[..4].copy_from_slice(&count(head.len()));
        prefix[4..8].copy_from_slice(&count(n_parts));
        prefix[8..8 + head.len()].copy_from_slice(&head);
        for (slot, part) in prefix[8 + head.len()..].chunks_exact_mut(4).zip(crcs.chunks(PAGE)) {
            slot.copy_from_slice(&crc32c(part).to_le_bytes());
        }
        let body_crc = crc32c(prefix);
        reference.prefix_len = u32::try_from(prefix_len).unwrap_or(u32::MAX);
        reference.length = length;
        Ok(SegmentStart { bytes, body_crc, reference })
    }

    /// The whole entry, with room for its head.
    ///
    /// # Errors
    /// The errors of the listing.
    pub(crate) fn into_bytes(self) -> Result<(Vec<u8>, SegmentStart)> {
        let (mut at, mut pages) = (0, Vec::new());
        let start = self.write(usize::MAX, &mut |offset, bytes| {
            at = offset;
            pages = bytes.to_vec();
            Ok(())
        })?;
        debug_assert!(pages.is_empty() || at == start.bytes.len() as u64);
        let mut bytes = start.bytes.clone();
        bytes.extend_from_slice(&pages);
        Ok((bytes, start))
    }

    fn survey(&self, window: usize) -> Result<Survey> {
        let n = self.listing.len();
        let bits = u8::try_from(n.div_ceil(PER_BUCKET).next_power_of_two().trailing_zeros()).unwrap_or(0);
        let mut buckets = vec![0u32; (1 << bits) + 1];
        let mut names = NameEncoder::default();
        let most = window.saturating_mul(8);
        let mut all_kept = true;
        self.listing.names(&mut |hash, name| {
            buckets[bucket_of(hash, bits) + 1] += 1;
            names.push(name);
            all_kept = all_kept && names.bytes.len() <= most;
            if !all_kept {
                names.bytes.clear();
            }
        })?;
        let mut sum = 0;
        for count in &mut buckets {
            sum += *count;
            *count = sum;
        }
        let order = match (self.extras.order, names.is_sorted()) {
            (true, true) => Order::Identity,
            (true, false) if self.listing.has_order() => Order::Listed,
            _ => Order::Unknown,
        };
        let (mut n_metadata, mut metadata_len) = (0, 0);
        self.listing.metadata(&mut |_, value| {
            n_metadata += 1;
            metadata_len += value.len() as u64;
            Ok(())
        })?;
        let mut columns = ColumnSurvey::new(self.extras.columns);
        self.listing.scalars(&mut |row| {
            columns.add(row);
            Ok(())
        })?;
        let (columns, zones) = columns.finish();
        let kept = std::mem::take(&mut names.bytes);
        let (names, blocks) = (all_kept.then_some(kept), names.finish());
        Ok(Survey { order, blocks, names, bits, buckets, n_metadata, metadata_len, columns, zones })
    }

    /// Where each array lies, and where the last one ends.
    fn sections(&self, survey: &Survey) -> ([Section; SECTIONS], u64) {
        let n = self.listing.len() as u64;
        let n_kills = self.kills.len() as u64;
        let n_ranked = if self.has_kill_ranks() { n_kills } else { 0 };
        let lengths = [
            if self.has_filter() { filter::n_blocks(n) * filter::BLOCK_LEN as u64 } else { 0 },
            super::Location::LEN as u64 * n,
            if survey.bits == 0 { 0 } else { 4 * survey.buckets.len() as u64 },
            8 * n,
            if self.has_blocks() { 4 * survey.blocks.len() as u64 } else { 0 },
            u64::from(survey.blocks.last().copied().unwrap_or(0)),
            (ChunkRef::LEN * self.chunks.len()) as u64,
            8 * n_kills,
            4 * survey.n_metadata,
            if survey.n_metadata == 0 { 0 } else { 4 * (survey.n_metadata + 1) },
            survey.metadata_len,
            if survey.order == Order::Listed { 4 * n } else { 0 },
            if survey.order == Order::Unknown { 0 } else { 8 * (n / SUMMED) },
            4 * n_ranked,
            4 * n_ranked,
            survey.columns.iter().map(|column| column.len(n)).sum(),
        ];
        lay_out(lengths)
    }

    fn write_arrays(&self, survey: &Survey, window: usize, pages: &mut PageWriter<'_>) -> Result<()> {
        self.write_filter(window, pages)?;
        pages.end_array()?;
        self.listing.locations(&mut |location| pages.push(&location.encode()))?;
        pages.end_array()?;
        if survey.bits > 0 {
            survey.buckets.iter().try_for_each(|start| pages.push(&start.to_le_bytes()))?;
        }
        pages.end_array()?;
        self.write_hashes(survey, window, pages)?;
        pages.end_array()?;
        if self.has_blocks() {
            survey.blocks.iter().try_for_each(|start| pages.push(&start.to_le_bytes()))?;
        }
        pages.end_array()?;
        match &survey.names {
            Some(names) => names.chunks(pages.piece.max(1)).try_for_each(|part| pages.push(part))?,
            None => self.write_names(pages)?,
        }
        pages.end_array()?;
        self.chunks.iter().try_for_each(|chunk| pages.push(&chunk.encode()))?;
        pages.end_array()?;
        self.kills.iter().try_for_each(|kill| pages.push(&kill.ordinal.to_le_bytes()))?;
        pages.end_array()?;
        self.listing.metadata(&mut |number, _| pages.push(&number.to_le_bytes()))?;
        pages.end_array()?;
        let mut end = 0_u32;
        if survey.n_metadata > 0 {
            pages.push(&end.to_le_bytes())?;
        }
        self.listing.metadata(&mut |_, value| {
            end = end.saturating_add(u32::try_from(value.len()).unwrap_or(u32::MAX));
            pages.push(&end.to_le_bytes())
        })?;
        pages.end_array()?;
        self.listing.metadata(&mut |_, value| pages.push(value))?;
        pages.end_array()?;
        self.write_order(survey.order, pages)?;
        if self.has_kill_ranks() {
            let columns = [|(rank, _)| rank, |(_, length)| u32::try_from(length).unwrap_or(u32::MAX)]
                as [fn((u32, u64)) -> u32; 2];
            for column in columns {
                let ranked = self.kills.iter().filter_map(|kill| kill.ranked);
                ranked.map(column).try_for_each(|value| pages.push(&value.to_le_bytes()))?;
                pages.end_array()?;
            }
        }
        let mut columns = survey.columns.iter().enumerate();
        columns.try_for_each(|(nth, column)| self.write_column(nth, *column, pages))
    }

    /// Encodes the names anew, and writes each.
    fn write_names(&self, pages: &mut PageWriter<'_>) -> Result<()> {
        let mut names = NameEncoder::default();
        let mut result = Ok(());
        self.listing.names(&mut |_, name| {
            names.push(name);
            if result.is_ok() {
                result = pages.push(&names.bytes);
            }
            names.bytes.clear();
        })?;
        result
    }

    /// Writes the elements of column number `nth`, and the bits of the values that are absent.
    fn write_column(&self, nth: usize, column: Column, pages: &mut PageWriter<'_>) -> Result<()> {
        let mut elements = Elements::new(column);
        self.listing.scalars(&mut |row| pages.push(elements.push(value_of(row, nth)).as_ref()))?;
        pages.end_array()?;
        pages.push(&elements.finish())
    }

    /// Whether there is more than one block of names.
    fn has_blocks(&self) -> bool {
        self.listing.len() > BLOCK
    }

    fn has_filter(&self) -> bool {
        self.extras.filter && self.listing.len() as u64 >= LEAST_FILTERED
    }

    /// Whether the ranks of all dead records are known, and their lengths have the 32 bits that are noted.
    fn has_kill_ranks(&self) -> bool {
        let fits = |kill: &Kill| kill.ranked.is_some_and(|(_, length)| u32::try_from(length).is_ok());
        self.kills.iter().all(fits)
    }

    /// Writes the filter, in windows of blocks that take as much memory as `window` hashes.
    fn write_filter(&self, window: usize, pages: &mut PageWriter<'_>) -> Result<()> {
        if !self.has_filter() {
            return Ok(());
        }
        let n_blocks = filter::n_blocks(self.listing.len() as u64);
        let at_once = (8 * window as u64 / filter::BLOCK_LEN as u64).max(1);
        let mut first = 0;
        while first < n_blocks {
            let end = (first + at_once).min(n_blocks);
            let mut blocks = vec![[0; filter::BLOCK_LEN]; usize::try_from(end - first).unwrap_or(0)];
            self.listing.names(&mut |hash, _| {
                let place = filter::block_of(hash, n_blocks).checked_sub(first);
                let block = place.and_then(|place| blocks.get_mut(usize::try_from(place).ok()?));
                if let Some(block) = block {
                    filter::insert(block, hash);
                }
            })?;
            pages.push(blocks.as_flattened())?;
            first = end;
        }
        Ok(())
    }

    /// Writes the records in the order of names, if they are in another one, and the sums of raw bytes.
    fn write_order(&self, order: Order, pages: &mut PageWriter<'_>) -> Result<()> {
        let (mut sums, mut sum, mut count) = (Vec::new(), 0_u64, 0_u64);
        let mut add = |length: u64| {
            sum = sum.saturating_add(length);
            count += 1;
            if count.is_multiple_of(SUMMED) {
                sums.extend_from_slice(&sum.to_le_bytes());
            }
        };
        match order {
            Order::Unknown => return Ok(()),
            Order::Identity => self.listing.locations(&mut |location| {
                add(location.length);
                Ok(())
            })?,
            Order::Listed => self.listing.order(&mut |number, length| {
                add(length);
                pages.push(&number.to_le_bytes())
            })?,
        }
        pages.end_array()?;
        pages.push(&sums)?;
        pages.end_array()
    }

    /// Writes tags and ordinals by bucket, in windows of buckets that have at most `window` records together.
    fn write_hashes(&self, survey: &Survey, window: usize, pages: &mut PageWriter<'_>) -> Result<()> {
        let Survey { bits, buckets, .. } = survey;
        let mut next = buckets.clone();
        let mut first = 0;
        while first + 1 < buckets.len() {
            let start = buckets[first];
            let fitting = buckets[first + 1..].partition_point(|end| (end - start) as usize <= window);
            let behind = first + fitting.max(1);
            let mut entries = vec![0; 8 * (buckets[behind] - start) as usize];
            let mut ordinal = 0_u32;
            self.listing.names(&mut |hash, _| {
                let bucket = bucket_of(hash, *bits);
                if (first..behind).contains(&bucket) {
                    let slot = &mut next[bucket];
                    // A listing that gives other names the second time must not write out of bounds.
                    if let Some(entry) =
                        entries.get_mut(8 * (*slot - start) as usize..).and_then(|e| e.get_mut(..8))
                    {
                        entry[..4].copy_from_slice(&tag_of(hash, *bits).to_le_bytes());
                        entry[4..].copy_from_slice(&ordinal.to_le_bytes());
                        *slot += 1;
                    }
                }
                ordinal += 1;
            })?;
            pages.push(&entries)?;
            first = behind;
        }
        Ok(())
    }
}

/// Collects bytes, computes the checksums of pages, and sends the bytes on.
struct PageWriter<'o> {
    out: Out<'o>,
    /// Where the next piece goes.
    at: u64,
    written: u64,
    piece: usize,
    /// Bytes not sent yet. They start at the start of a page.
    buf: Vec<u8>,
    crcs: Vec<u8>,
}

impl PageWriter<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.buf.extend_from_slice(bytes);
        if self.buf.len() >= self.piece { self.send(self.buf.len() / PAGE * PAGE) } else { Ok(()) }
    }

    fn end_array(&mut self) -> Result<()> {
        let ragged = self.buf.len() % 8;
        if ragged == 0 { Ok(()) } else { self.push(&[0; 8][ragged..]) }
    }

    /// Sends the first `n` bytes, which must be whole pages.
    fn send(&mut self, n: usize) -> Result<()> {
        for page in self.buf[..n].chunks(PAGE) {
            self.crcs.extend_from_slice(&crc32c(page).to_le_bytes());
        }
        (self.out)(self.at, &self.buf[..n])?;
        self.at += n as u64;
        self.written += n as u64;
        self.buf.drain(..n);
        Ok(())
    }

    /// Sends the rest, padded to the end of the entry. Returns the checksums.
    fn finish(mut self, entry_len: u64) -> Result<Vec<u8>> {
        let n = self.buf.len();
        for page in self.buf.chunks(PAGE) {
            self.crcs.extend_from_slice(&crc32c(page).to_le_bytes());
        }
        let padding = entry_len.saturating_sub(self.at + n as u64);
        self.buf.resize(n + usize::try_from(padding).unwrap_or(0), 0);
        if !self.buf.is_empty() {
            (self.out)(self.at, &self.buf)?;
        }
        Ok(self.crcs)
    }
}

/// Bytes to write to a storage at a time.
///
/// To memory, everything is written together, so that it can be lent in one piece.
pub(crate) fn piece_for(is_durable: bool) -> usize {
    if is_durable { PIECE } else { usize::MAX }
}

/// Bytes of the prefix.
pub(crate) fn prefix_len(head_len: usize, n_parts: usize) -> usize {
    n_parts.saturating_mul(4).saturating_add(head_len).saturating_add(8 + 7) / 8 * 8
}

/// Bytes of the page table after a prefix, padding included. Pages start at a multiple of 8, and if there are
/// several, of 64, so that what is looked up lies in one line of the processor's cache.
pub(crate) fn page_table_len(prefix_len: usize, n_pages: u64) -> u64 {
    let align = if n_pages > 1 { HEAD_LEN as u64 } else { 8 };
    let end = n_pages.saturating_mul(4).saturating_add(prefix_len as u64).saturating_add(align - 1);
    end / align * align - prefix_len as u64
}

#[cfg(test)]
mod tests {
    use super::super::{Chosen, Location, Records};
    use super::*;
    use crate::format::tables::Attributes;
    use crate::scalar::push_value;

    #[test]
    fn pieces_and_windows_make_no_difference() {
        let mut records = Records::default();
        for number in 0..5000_u64 {
            let location = Location { address: 16 * number, ..Location::default() };
            let metadata = number.to_le_bytes();
            let mut scalars = Vec::new();
            push_value(&mut scalars, Some(number * number));
            push_value(&mut scalars, (!number.is_multiple_of(5)).then_some(number));
            let metadata = number.is_multiple_of(7).then_some(&metadata[..]);
            let attributes = Attributes { metadata, scalars: &scalars };
            let name = format!("frame_{:06}", number * 7919 % 5000);
            records.push(name.as_bytes(), &location, attributes);
        }
        let listing = Chosen::all(&records);
        let columns = [ScalarField::integer("step"), ScalarField::float("energy")];
        let plan = || SegmentPlan {
            first_ordinal: 10,
            first_chunk: 2,
            listing: &listing,
            chunks: Vec::new(),
            kills: [3, 1].map(|ordinal| Kill { ordinal, ranked: Some((7, 8)) }).to_vec(),
            extras: Extras { columns: &columns, ..Extras::ALL },
            tallied: Tallied::default(),
        };
        let (expected, start) = plan().into_bytes().unwrap();
        assert_eq!(expected.len() as u64, start.reference.length);
        for (piece, window) in [(PAGE, 100), (3 * PAGE, 1), (1, 1000), (usize::MAX, 4999)] {
            let mut bytes = vec![0; expected.len()];
            let mut n_pieces = 0;
            let write = &mut |at: u64, piece: &[u8]| {
                bytes[usize::try_from(at).unwrap()..][..piece.len()].copy_from_slice(piece);
                n_pieces += 1;
                Ok(())
            };
            let start = plan().write_by(piece, window, write).unwrap();
            bytes[..start.bytes.len()].copy_from_slice(&start.bytes);
            assert!(bytes == expected, "pieces of {piece}, windows of {window}");
            assert_eq!(n_pieces > 1, piece < usize::MAX);
        }
    }
}

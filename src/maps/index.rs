//! The sorted part of a map: keys, each with a number, and a checksum for each page.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::head::{ENTRY, Head, Kind, PAGE, PAGE_ENTRIES, unread};
use super::order::{InOrder, last_left};
use super::slices::Slices;
use crate::buffer::prefetch;
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::le::u32_at;

/// An entry, as it is stored: the key and the number.
pub(super) type Entry = [u8; ENTRY];

/// A map without its values.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) head: Head,
    /// The bytes of the index, if the source does not have them in memory.
    copied: Option<Vec<u8>>,
    /// A bit for each page whose checksum was found right.
    seen: Vec<AtomicU64>,
    /// How many pages have no such bit.
    unseen: AtomicUsize,
    /// Whether pages are compared with their checksums before they are believed.
    pub(super) is_checked: bool,
}

/// An index of so many entries does not fit into the caches next to the processor.
const FAR: usize = 1 << 13;

/// The key of an entry.
pub(super) fn key(entry: &Entry) -> u64 {
    u64::from_le_bytes(entry.as_chunks().0[0])
}

/// The number of an entry.
pub(super) fn number(entry: &Entry) -> u64 {
    u64::from_le_bytes(entry.as_chunks().0[1])
}

/// The entries of an index, the node of each key at its place.
pub(super) fn write(sorted: impl IntoIterator<Item = (u64, u64)>, count: usize) -> Vec<Entry> {
    let mut entries = vec![[0; ENTRY]; count];
    for (node, (key, number)) in InOrder::new(count).zip(sorted) {
        let (left, right) = entries[node].split_at_mut(8);
        left.copy_from_slice(&key.to_le_bytes());
        right.copy_from_slice(&number.to_le_bytes());
    }
    entries
}

/// The checksums of the pages.
pub(super) fn sums(entries: &[Entry]) -> Vec<u8> {
    entries.as_flattened().chunks(PAGE).flat_map(|page| crc32c(page).to_le_bytes()).collect()
}

fn damaged(offset: usize, expected: String, found: String) -> Error {
    Error::new(ErrorKind::Damaged { part: Part::Index, offset: offset as u64, expected, found })
}

impl Index {
    /// Reads the header by one slice, and the index by another one if it is not in memory.
    pub(super) fn open(source: &(impl Slices + ?Sized), kind: Kind) -> Result<Self> {
        let head = Head::read(source, kind)?;
        let place = head.index();
        let copied = if source.whole().is_some() || place.is_empty() {
            None
        } else {
            let bytes = source.slice(place.start as u64..place.end as u64).map_err(unread)?;
            Some(bytes.into_owned())
        };
        let words = head.pages().div_ceil(64);
        let unseen = AtomicUsize::new(head.pages());
        let mut index = Self { head, copied, seen: Vec::new(), unseen, is_checked: true };
        // What is there has been compared with the length, so the bits take less than the bytes do.
        index.bytes(source)?;
        index.seen.resize_with(words, AtomicU64::default);
        Ok(index)
    }

    /// The entries and their checksums.
    fn bytes<'s>(&'s self, source: &'s (impl Slices + ?Sized)) -> Result<&'s [u8]> {
        let place = self.head.index();
        let bytes = match &self.copied {
            Some(copied) => Some(copied.as_slice()),
            None if place.is_empty() => Some(&[][..]),
            None => source.whole().and_then(|whole| whole.get(place.clone())),
        };
        let bytes = bytes.unwrap_or_default();
        if bytes.len() == place.len() {
            return Ok(bytes);
        }
        let (expected, found) = (format!("{} bytes", place.len()), format!("{} bytes", bytes.len()));
        Err(damaged(place.start, expected, found))
    }

    /// The entries, not compared with their checksums.
    pub(super) fn entries<'s>(&'s self, source: &'s (impl Slices + ?Sized)) -> Result<&'s [Entry]> {
        Ok(self.bytes(source)?[..self.head.entries().len()].as_chunks().0)
    }

    /// Compares a page with its checksum, and remembers that it did.
    pub(super) fn check_page(&self, source: &(impl Slices + ?Sized), page: usize) -> Result<()> {
        if page >= self.head.pages() {
            return Ok(());
        }
        let bytes = self.bytes(source)?;
        let (entries, sums) = bytes.split_at(self.head.entries().len());
        let at = page * PAGE;
        let found = crc32c(&entries[at..entries.len().min(at + PAGE)]);
        let expected = u32_at(sums, page * 4).unwrap_or_default();
        if found != expected {
            let offset = (self.head.entries().start + at) as u64;
            return Err(Error::new(ErrorKind::Checksum { part: Part::Index, offset, expected, found }));
        }
        let bit = 1 << (page % 64);
        if self.seen[page / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.unseen.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes sure of the page of the entry at `position`.
    pub(super) fn believe(&self, source: &(impl Slices + ?Sized), position: usize) -> Result<()> {
        let page = position / PAGE_ENTRIES;
        let is_seen = |word: &AtomicU64| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1;
        if !self.is_checked || self.seen.get(page / 64).is_none_or(is_seen) {
            return Ok(());
        }
        self.check_page(source, page)
    }

    /// The entry at `position`.
    pub(super) fn entry<'s>(
        &'s self,
        source: &'s (impl Slices + ?Sized),
        position: usize,
    ) -> Result<&'s Entry> {
        self.believe(source, position)?;
        let missing = || damaged(self.head.entries().end, format!("entry {position}"), "the end".into());
        self.entries(source)?.get(position).ok_or_else(missing)
    }

    /// The position of a key.
    pub(super) fn find(&self, source: &(impl Slices + ?Sized), wanted: u64) -> Result<Option<usize>> {
        let entries = self.entries(source)?;
        let step = |node: usize, entry: &Entry| 2 * node + usize::from(key(entry) < wanted);
        let mut node = 1;
        // All levels but the last are full, so their number is the same for every key, and no branch is
        // guessed wrong.
        let full = (entries.len() + 1).ilog2();
        let far = if entries.len() >= FAR { full.saturating_sub(3) } else { 0 };
        for _ in 0..far {
            // The nodes three levels below lie side by side. One of them is asked for.
            prefetch(entries.get(8 * node - 1..8 * node + 7).unwrap_or_default().as_flattened());
            node = step(node, &entries[node - 1]);
        }
        for _ in far..full {
            node = step(node, &entries[node - 1]);
        }
        if let Some(entry) = entries.get(node - 1) {
            node = step(node, entry);
        }
        self.believe_path(source, node)?;
        let found = last_left(node).checked_sub(1);
        Ok(found.filter(|position| key(&entries[*position]) == wanted))
    }

    /// Makes sure of the pages that a search went through, which ended below `node`.
    fn believe_path(&self, source: &(impl Slices + ?Sized), mut node: usize) -> Result<()> {
        if !self.is_checked || self.unseen.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        while node > 1 {
            node /= 2;
            self.believe(source, node - 1)?;
        }
        Ok(())
    }

    /// Puts changed bytes into the copy of the index, if there is one.
    pub(super) fn copy_changes(&mut self, changes: &[(usize, Vec<u8>)]) {
        let start = self.head.index().start;
        let Some(copied) = &mut self.copied else { return };
        for (at, bytes) in changes {
            copied[at - start..at - start + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The positions, in the order of their keys.
    pub(super) fn in_order(&self) -> InOrder {
        InOrder::new(self.head.count)
    }

    /// Compares the bytes of the source with the header, all pages with their checksums, and the keys with
    /// each other.
    pub(super) fn validate(&self, source: &(impl Slices + ?Sized)) -> Result<()> {
        // The header may have changed in memory since it was read.
        let head = Head::read(source, self.head.kind)?;
        if head.count != self.head.count || head.total != self.head.total {
            let expected = format!("{} entries", self.head.count);
            return Err(damaged(8, expected, format!("{} entries", head.count)));
        }
        for page in 0..self.head.pages() {
            self.check_page(source, page)?;
        }
        let entries = self.entries(source)?;
        let mut last = None;
        for position in self.in_order() {
            let key = key(&entries[position]);
            if let Some(last) = last.filter(|last| *last >= key) {
                let offset = self.head.entries().start + position * ENTRY;
                return Err(damaged(offset, format!("a key above {last}"), key.to_string()));
            }
            last = Some(key);
        }
        if source.whole().is_none()
            && let Some(total) = self.head.total
        {
            let beyond = source.slice(total..total.saturating_add(1)).map_err(unread)?;
            self.head.check_len(total + beyond.len() as u64)?;
        }
        Ok(())
    }
}

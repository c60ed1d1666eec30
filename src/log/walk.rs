//! Goes through all entries of a file, wherever they lie.
//!
//! Damaged stretches are searched for the next whole head byte by byte. This also finds entries that were
//! moved by missing or inserted bytes.

use std::ops::Range;

use super::Scanner;
use crate::error::Result;
use crate::format::entry::{EntryHead, HEAD_LEN, MAGIC};
use crate::format::header::FIRST_ENTRY_AT;

/// Bytes searched at a time.
const WINDOW: usize = 1 << 20;

/// A whole head, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The head. Its `offset` is where the entry lies, which need not be where it was written.
    pub(crate) head: EntryHead,
    /// The offset at which the entry was written.
    pub(crate) written_at: u64,
    /// Whether its end is inside the file.
    pub(crate) whole: bool,
}

impl Entry {
    fn new(head: EntryHead, at: u64, file_len: u64) -> Self {
        let end = at.checked_add(head.length);
        Self {
            written_at: head.offset,
            whole: end.is_some_and(|end| end <= file_len),
            head: EntryHead { offset: at, ..head },
        }
    }

    /// Whether it lies where it was written.
    pub(crate) fn in_place(&self) -> bool {
        self.written_at == self.head.offset
    }

    fn end(&self) -> u64 {
        self.head.offset.saturating_add(self.head.length)
    }
}

/// One step of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A head with a matching checksum.
    Entry(Entry),
    /// Bytes that belong to no entry.
    Gap(Range<u64>),
}

/// A walk over the entries of one depot, or of any depot, up to the end of the file.
pub(crate) struct EntryWalk<'w, 's> {
    scanner: &'w Scanner<'s>,
    depot_id: Option<u64>,
    at: u64,
    /// The end of the last head found. The search for the next head starts here if there is none at `at`.
    search_from: u64,
}

impl<'w, 's> EntryWalk<'w, 's> {
    pub(crate) fn new(scanner: &'w Scanner<'s>, depot_id: Option<u64>) -> Self {
        Self::from(scanner, depot_id, FIRST_ENTRY_AT)
    }

    /// Like [`new`](Self::new), but starts at byte `at`.
    pub(crate) fn from(scanner: &'w Scanner<'s>, depot_id: Option<u64>, at: u64) -> Self {
        Self { scanner, depot_id, at, search_from: at }
    }

    fn is_ours(&self, head: &EntryHead) -> bool {
        self.depot_id.is_none_or(|id| id == head.depot_id)
    }

    /// The head at `at`, if there is one.
    fn entry_at(&self, at: u64) -> Result<Option<Entry>> {
        if at.saturating_add(HEAD_LEN as u64) > self.scanner.file_len {
            return Ok(None);
        }
        let bytes = self.scanner.read(at, HEAD_LEN)?;
        let head = EntryHead::parse_anywhere(&bytes).ok().filter(|head| self.is_ours(head));
        Ok(head.map(|head| Entry::new(head, at, self.scanner.file_len)))
    }

    /// The first whole head from `from` on.
    fn search(&self, from: u64) -> Result<Option<Entry>> {
        let mut start = from;
        while start.saturating_add(HEAD_LEN as u64) <= self.scanner.file_len {
            let Some(data) = self.scanner.next_data(start) else { return Ok(None) };
            start = data;
            let left = self.scanner.file_len - start;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(WINDOW);
            let window = self.scanner.read(start, len)?;
            let mut searched = 0;
            while let Some(found) = find(&window[searched..], &MAGIC) {
                let at = start + (searched + found) as u64;
                if let Some(entry) = self.entry_at(at)? {
                    return Ok(Some(entry));
                }
                searched += found + 1;
            }
            // A magic may lie across two windows.
            start += (len - (MAGIC.len() - 1).min(len - 1)) as u64;
        }
        Ok(None)
    }
}

/// Where `needle` starts in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, _) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|&byte| byte == first) {
        if bytes[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

impl EntryWalk<'_, '_> {
    fn step(&mut self) -> Result<Option<Step>> {
        let file_len = self.scanner.file_len;
        if self.at >= file_len {
            return Ok(None);
        }
        let mut entry = self.entry_at(self.at)?;
        if entry.is_none() {
            let found = self.search(self.search_from)?;
            let gap = self.at..found.map_or(file_len, |entry| entry.head.offset);
            if !gap.is_empty() {
                (self.at, self.search_from) = (gap.end, gap.end);
                return Ok(Some(Step::Gap(gap)));
            }
            // The next head lies inside the entry before, which is shorter than it was written.
            entry = found;
        }
        let Some(entry) = entry else { return Ok(None) };
        self.search_from = entry.head.offset + HEAD_LEN as u64;
        // The bytes that a cut-off entry or a wrong length claims may have other entries in them.
        self.at = if entry.whole { entry.end() } else { self.search_from };
        Ok(Some(Step::Entry(entry)))
    }
}

impl Iterator for EntryWalk<'_, '_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().inspect_err(|_| self.at = u64::MAX).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemoryStorage, Storage};
    use crate::{Depot, Layout, Raw};
    use std::sync::Arc;

    fn file() -> Vec<u8> {
        let depot = Depot::builder(Raw).layout(Layout::default().with_chunk_size(4096)).memory();
        let depot = depot.unwrap();
        for n in 0..20u8 {
            depot.put(n, &[n; 700]).unwrap();
        }
        depot.to_bytes().unwrap()
    }

    fn walk(bytes: &[u8]) -> Vec<Step> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(bytes));
        let scanner = Scanner::new(&storage, false).unwrap();
        EntryWalk::new(&scanner, None).map(Result::unwrap).collect()
    }

    fn entries(steps: &[Step]) -> Vec<Entry> {
        steps
            .iter()
            .filter_map(|step| if let Step::Entry(entry) = step { Some(*entry) } else { None })
            .collect()
    }

    #[test]
    fn a_whole_file_is_entries_and_nothing_else() {
        let bytes = file();
        let steps = walk(&bytes);
        let entries = entries(&steps);
        assert_eq!(entries.len(), steps.len());
        assert!(entries.iter().all(|entry| entry.in_place() && entry.whole));
        assert!(entries.iter().zip(1..).all(|(entry, number)| entry.head.sequence == number));
        assert_eq!(entries.last().unwrap().end(), bytes.len() as u64);
    }

    #[test]
    fn entries_behind_missing_bytes_are_found_where_they_are() {
        let bytes = file();
        let whole = entries(&walk(&bytes));
        let mut cut = bytes.clone();
        let second = usize::try_from(whole[1].head.offset).unwrap();
        cut.drain(second + 100..second + 137);
        let steps = walk(&cut);
        let found = entries(&steps);
        // The head of the cut entry is whole, and everything after it has moved.
        assert!(found.iter().skip(2).all(|entry| !entry.in_place()));
        assert_eq!(found.last().unwrap().head.sequence, whole.last().unwrap().head.sequence);
        assert_eq!(found.len(), whole.len());
    }

    #[test]
    fn a_damaged_head_is_a_gap() {
        let mut bytes = file();
        let whole = entries(&walk(&bytes));
        bytes[usize::try_from(whole[1].head.offset).unwrap() + 20] ^= 1;
        let steps = walk(&bytes);
        assert_eq!(entries(&steps).len(), whole.len() - 1);
        assert_eq!(steps[1], Step::Gap(whole[1].head.offset..whole[2].head.offset));
    }

    #[test]
    fn noise_is_one_gap() {
        let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(walk(&noise), [Step::Gap(FIRST_ENTRY_AT..20_000)]);
        assert_eq!(walk(&noise[..100]), []);
    }
}

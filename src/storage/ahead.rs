//! Bytes that are read before they are asked for, many ranges in one call.
//!
//! Where every request waits for a network, the number of calls that wait for each other is what counts.
//! A reader notes all that it will need, reads it in one [`turn`](Ahead::turn), looks at it, and notes what
//! that leads to. Code that reads one thing after the other then finds its bytes in the [`Windows`].

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{ReadRange, Storage};

/// Ranges with at most this many bytes between them are read in one request.
///
/// Bytes that are not needed cost a network less than another request does.
const GAP: u64 = 16 << 10;

/// Offsets and bytes, in order, that do not overlap.
type Call = [(u64, Vec<u8>)];

/// Bytes that were read ahead.
#[derive(Debug, Clone, Default)]
pub(crate) struct Windows {
    /// What each call has read.
    calls: Vec<Arc<Call>>,
}

/// No bytes.
pub(crate) static NONE: Windows = Windows { calls: Vec::new() };

impl Windows {
    /// One window.
    pub(crate) fn of(offset: u64, bytes: Vec<u8>) -> Self {
        Self { calls: vec![Arc::new([(offset, bytes)])] }
    }

    /// The `len` bytes at `offset`, if they were read together.
    pub(crate) fn get(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.calls.iter().find_map(|call| {
            let after = call.partition_point(|(start, _)| *start <= offset);
            let (start, bytes) = call.get(after.checked_sub(1)?)?;
            let from = usize::try_from(offset - start).ok()?;
            bytes.get(from..from.checked_add(len)?)
        })
    }

    /// Reads all `ranges` in one call. Neighbours are read in one request.
    ///
    /// The caller must have compared the ranges with the file's length, because memory is taken for them.
    pub(crate) fn read(&mut self, storage: &dyn Storage, ranges: &mut Vec<Range<u64>>) -> io::Result<()> {
        ranges.retain(|range| range.start < range.end);
        ranges.sort_unstable_by_key(|range| range.start);
        let mut call: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut merged: Option<Range<u64>> = None;
        let mut close = |range: Range<u64>| {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            call.push((range.start, vec![0; len]));
        };
        for range in ranges.drain(..) {
            match &mut merged {
                Some(before) if range.start <= before.end.saturating_add(GAP) => {
                    before.end = before.end.max(range.end);
                }
                _ => merged.replace(range).into_iter().for_each(&mut close),
            }
        }
        merged.into_iter().for_each(close);
        if call.is_empty() {
            return Ok(());
        }
        let mut wanted: Vec<_> =
            call.iter_mut().map(|(offset, buf)| ReadRange { offset: *offset, buf }).collect();
        storage.read_ranges(&mut wanted)?;
        self.calls.push(call.into());
        Ok(())
    }
}

/// Reads in turns: what is wanted is noted, and then read together.
pub(crate) struct Ahead<'s> {
    storage: &'s dyn Storage,
    wanted: Vec<Range<u64>>,
    /// How many of the wanted ranges lead to nothing further.
    ends: usize,
    windows: Windows,
}

impl<'s> Ahead<'s> {
    /// Begins with what was read `before`.
    pub(crate) fn new(storage: &'s dyn Storage, before: Windows) -> Self {
        Self { storage, wanted: Vec::new(), ends: 0, windows: before }
    }

    /// The bytes in `range`, if they were read. Otherwise they are read in the next turn.
    ///
    /// The range must lie inside the file.
    pub(crate) fn get(&mut self, range: Range<u64>) -> Option<&[u8]> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let found = self.windows.get(range.start, len);
        if found.is_none() {
            self.wanted.push(range);
        }
        found
    }

    /// Has the bytes in `range` read in the next turn, unless they were read. Returns whether they were.
    pub(crate) fn has(&mut self, range: Range<u64>) -> bool {
        self.get(range).is_some()
    }

    /// Like [`has`](Self::has), for bytes that lead to nothing further.
    pub(crate) fn has_end(&mut self, range: Range<u64>) -> bool {
        let has = self.has(range);
        self.ends += usize::from(!has);
        has
    }

    /// Whether one more range is all that was noted, and leads to nothing further.
    ///
    /// Then whoever needs it can as well read it to its place.
    pub(crate) fn is_at_end(&self) -> bool {
        self.wanted.len() == 1 && self.ends == 1
    }

    /// How many ranges were noted since the last turn.
    pub(crate) fn noted(&self) -> usize {
        self.wanted.len()
    }

    /// Reads all that was noted since the last turn, in one call. Returns whether there was any, and it could
    /// be read.
    ///
    /// An error is left to those who read the bytes one by one.
    pub(crate) fn turn(&mut self) -> bool {
        self.ends = 0;
        !self.wanted.is_empty() && self.windows.read(self.storage, &mut self.wanted).is_ok()
    }

    /// All that was read.
    pub(crate) fn into_windows(self) -> Windows {
        self.windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;
    use crate::testing::CountingStorage;

    #[test]
    fn neighbours_are_read_together_and_found_again() {
        let bytes: Vec<u8> =
            (0..1_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let storage = CountingStorage::new(MemoryStorage::from_bytes(&bytes));
        let mut ahead = Ahead::new(&storage, Windows::default());
        let wanted =
            [500_000..500_010, 0..100, 50..200, 16_000..17_000, 700_000..700_000, 999_999..1_000_000];
        for range in wanted.clone() {
            assert!(!ahead.has(range));
        }
        assert!(ahead.turn() && ahead.noted() == 0);
        assert_eq!((storage.counts().rounds, storage.counts().requests), (1, 3));
        for range in wanted.into_iter().filter(|range| range.start < range.end) {
            let at = |n: u64| usize::try_from(n).unwrap();
            assert_eq!(ahead.get(range.clone()), Some(&bytes[at(range.start)..at(range.end)]));
        }
        assert!(!ahead.turn(), "nothing was wanted");
        assert!(!ahead.has(17_000..17_001) && ahead.turn() && ahead.has(17_000..17_001));
        assert!(!ahead.has(999_999..1_000_001) && !ahead.turn(), "past the end");
        let windows = ahead.into_windows();
        assert_eq!(windows.get(16_999, 1), Some(&bytes[16_999..17_000]));
        assert_eq!(windows.get(16_999, 2), None, "read in two calls");
        assert_eq!((windows.get(300_000, 1), windows.get(u64::MAX, 1)), (None, None));
    }
}

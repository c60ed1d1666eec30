//! Records by position and names in order, from both ends.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::ops::{self, Bound, RangeBounds};

use super::{Depot, Record, key_of, tagged};
use crate::codec::Codec;
use crate::engine::batch::read_each_with;
use crate::engine::{End, Engine, Known, Moment, NameRange, Names, in_record};
use crate::error::{Error, Result};
use crate::index::Location;
use crate::key::{AsKey, Key, tagged_prefix};

/// How many records, and how many of their raw bytes, are read together.
const AT_ONCE: (usize, u64) = (256, 1 << 20);

/// The positions of a range that are below `len`.
pub(super) fn clip(positions: &impl RangeBounds<u64>, len: u64) -> ops::Range<u64> {
    let start = match positions.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match positions.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    let end = end.min(len);
    start.min(end)..end
}

/// Ranges of positions and of names.
impl<C: Codec> Depot<C> {
    /// Records at a range of positions, in the order of insertion. Can be iterated from both ends.
    ///
    /// The records are those of this moment. There is one item for each position, a record or an error,
    /// so the length is exact. A range that ends after the last record is cut there.
    ///
    /// Making a range copies the names that no commit covers yet, and the numbers of the dead records.
    /// So in a loop, take one long range rather than many short ones.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// for n in 0..10_u8 {
    ///     depot.put(n, &[n])?;
    /// }
    /// assert_eq!(depot.range(3..6).len(), 3);
    /// let last: Vec<u8> = depot.range(..).rev().take(2).map(|entry| entry.unwrap().1.view()[0]).collect();
    /// assert_eq!(last, [9, 8]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn range(&self, positions: impl RangeBounds<u64>) -> Range<'_, C> {
        let moment = self.engine.moment();
        let unread = clip(&positions, moment.len());
        Range { depot: self, moment, front: VecDeque::new(), unread, back: VecDeque::new() }
    }

    /// Names in a range, in the order of names. Can be iterated from both ends.
    ///
    /// The names are those of this moment. Strings sort by their bytes and integers by their value: see
    /// [`Key`]. Finding the range takes a binary search in the index, and each name takes a step, so it does
    /// not matter how many names the depot has. Names that no commit covers yet are sorted first, and so are
    /// all names of a depot [without their order](crate::Layout::name_order).
    ///
    /// ```
    /// use vldepot::{Depot, Key, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// for name in ["run_2/b", "run_1/c", "run_2/a"] {
    ///     depot.put(name, b"..")?;
    /// }
    /// let names = depot.sorted_keys("run_2/".."run_3/")?.collect::<Result<Vec<Key>, _>>()?;
    /// assert_eq!(names, [Key::from("run_2/a"), Key::from("run_2/b")]);
    /// assert_eq!(depot.sorted_keys("a"..)?.next_back().transpose()?, Some(Key::from("run_2/b")));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::is_damage`](crate::Error::is_damage) when names cannot be listed. If some can, the error
    ///   is the last item instead, whichever end it is taken from.
    /// - [`ErrorKind::InvalidRecord`](crate::ErrorKind::InvalidRecord) when a bound is an integer that
    ///   no depot can have as a name.
    pub fn sorted_keys<K: AsKey>(&self, range: impl RangeBounds<K>) -> Result<SortedKeys<'_>> {
        let names = self.engine.names_in(self.name_range(&range)?)?;
        Ok(SortedKeys { engine: &self.engine, names: Some(names), failed: None })
    }

    /// Names that are strings and start with `prefix`, in the order of names. Can be iterated from both ends.
    ///
    /// This is [`sorted_keys`](Self::sorted_keys) of all strings with that prefix. Its errors come in place
    /// of a name.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("run_1/a", b"..")?;
    /// depot.put("run_2/a", b"..")?;
    /// assert_eq!(depot.keys_with_prefix("run_2/").len(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn keys_with_prefix(&self, prefix: &str) -> SortedKeys<'_> {
        let (names, failed) =
            match self.engine.names_in(NameRange::with_prefix(tagged_prefix(prefix).to_vec())) {
                Ok(names) => (Some(names), None),
                Err(error) => (None, Some(error)),
            };
        SortedKeys { engine: &self.engine, names, failed }
    }

    /// How many records, and how many raw bytes, have names in a range.
    ///
    /// This takes a binary search in the index, as [`sorted_keys`](Self::sorted_keys) does, and no step for
    /// each name.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// for step in 0..100_i64 {
    ///     depot.put(step, &[0; 8])?;
    /// }
    /// let totals = depot.totals(10..20_i64)?;
    /// assert_eq!((totals.records, totals.raw_bytes), (10, 80));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`sorted_keys`](Self::sorted_keys).
    pub fn totals<K: AsKey>(&self, range: impl RangeBounds<K>) -> Result<Totals> {
        self.totals_in(&self.name_range(&range)?)
    }

    /// How many records, and how many raw bytes, have names that are strings and start with `prefix`: the
    /// total of a directory.
    ///
    /// See [`totals`](Self::totals).
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("run_1/a", &[0; 100])?;
    /// depot.put("run_1/b", &[0; 50])?;
    /// depot.put("run_2/a", &[0; 10])?;
    /// assert_eq!(depot.totals_with_prefix("run_1/")?.raw_bytes, 150);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`](crate::Error::is_damage) when not all names can be listed.
    pub fn totals_with_prefix(&self, prefix: &str) -> Result<Totals> {
        self.totals_in(&NameRange::with_prefix(tagged_prefix(prefix).to_vec()))
    }

    fn totals_in(&self, names: &NameRange) -> Result<Totals> {
        self.engine.totals_in(names).map(|(records, raw_bytes)| Totals { records, raw_bytes })
    }

    fn name_range<K: AsKey>(&self, range: &impl RangeBounds<K>) -> Result<NameRange> {
        let bound = |bound: Bound<&K>| -> Result<Bound<Vec<u8>>> {
            Ok(match bound {
                Bound::Included(key) => Bound::Included(tagged(&self.engine, key)?.to_vec()),
                Bound::Excluded(key) => Bound::Excluded(tagged(&self.engine, key)?.to_vec()),
                Bound::Unbounded => Bound::Unbounded,
            })
        };
        Ok(NameRange { start: bound(range.start_bound())?, end: bound(range.end_bound())? })
    }
}

/// The number of some records, and their raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Totals {
    /// Live records.
    pub records: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
}

type Entry<C> = Result<(Key, Record<C>)>;

/// Records at a range of positions. See [`Depot::range`].
pub struct Range<'d, C: Codec> {
    depot: &'d Depot<C>,
    moment: Moment,
    /// Records that were read, before `unread`.
    front: VecDeque<Entry<C>>,
    unread: ops::Range<u64>,
    /// Records that were read, after `unread`.
    back: VecDeque<Entry<C>>,
}

impl<C: Codec> Range<'_, C> {
    /// Reads the record at the first of these positions, and the next ones while they are few and short.
    fn read(&self, positions: impl Iterator<Item = u64> + Clone) -> Vec<Entry<C>> {
        let engine = &self.depot.engine;
        let (records, bytes) = AT_ONCE;
        engine.expect_positions(positions.clone().take(records));
        let (mut found, mut known, mut sum) = (Vec::new(), Known::default(), 0);
        for position in positions.take(records) {
            if sum >= bytes {
                break;
            }
            found.push(engine.name_in(&self.moment, position).and_then(|name| {
                match engine.location_seen(&self.moment, position, &mut known.seen) {
                    Ok(location) => {
                        sum += location.length;
                        Ok((name, location))
                    }
                    Err(error) => Err(in_record(&name, error)),
                }
            }));
        }
        let wanted: Vec<_> = found.iter().flatten().map(|(_, location)| ((), *location)).collect();
        let mut read = read_each_with(engine, &wanted, &known, 1);
        let entry = |found: Result<(Vec<u8>, Location)>| {
            let (name, location) = found?;
            // There is one result for each record that was found.
            let bytes = read.next().unwrap_or_else(|| engine.read(&location));
            let record = self.depot.record(&name, bytes.map_err(|error| in_record(&name, error))?)?;
            Ok((key_of(engine, name)?, record))
        };
        found.into_iter().map(entry).collect()
    }
}

impl<C: Codec> Iterator for Range<'_, C> {
    type Item = Entry<C>;

    fn next(&mut self) -> Option<Entry<C>> {
        if self.front.is_empty() && !self.unread.is_empty() {
            let read = self.read(self.unread.clone());
            self.unread.start += read.len() as u64;
            self.front = read.into();
        }
        self.front.pop_front().or_else(|| self.back.pop_front())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let unread = usize::try_from(self.unread.end - self.unread.start).unwrap_or(usize::MAX);
        let len = self.front.len().saturating_add(unread).saturating_add(self.back.len());
        (len, Some(len))
    }

    fn nth(&mut self, mut n: usize) -> Option<Entry<C>> {
        // Skipped records are not read.
        let read = n.min(self.front.len());
        self.front.drain(..read);
        n -= read;
        if self.front.is_empty() {
            let unread = self.unread.end - self.unread.start;
            let passed = unread.min(n as u64);
            self.unread.start += passed;
            n -= usize::try_from(passed).unwrap_or(n);
            if self.unread.is_empty() {
                self.back.drain(..n.min(self.back.len()));
            }
        }
        self.next()
    }
}

impl<C: Codec> DoubleEndedIterator for Range<'_, C> {
    fn next_back(&mut self) -> Option<Entry<C>> {
        if self.back.is_empty() && !self.unread.is_empty() {
            let read = self.read(self.unread.clone().rev());
            self.unread.end -= read.len() as u64;
            self.back = read.into_iter().rev().collect();
        }
        self.back.pop_back().or_else(|| self.front.pop_back())
    }
}

impl<C: Codec> ExactSizeIterator for Range<'_, C> {}
impl<C: Codec> FusedIterator for Range<'_, C> {}

impl<C: Codec> std::fmt::Debug for Range<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("depot", self.depot).field("left", &self.len()).finish()
    }
}

/// Names in their order. See [`Depot::sorted_keys`].
pub struct SortedKeys<'d> {
    engine: &'d Engine,
    names: Option<Names<'d>>,
    failed: Option<Error>,
}

impl SortedKeys<'_> {
    fn take(&mut self, end: End) -> Option<Result<Key>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let name = self.names.as_mut()?.next(end)?;
        Some(name.and_then(|name| key_of(self.engine, name)))
    }
}

impl Iterator for SortedKeys<'_> {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(End::Front)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let names = self.names.as_ref().map_or(0, Names::left);
        let left =
            usize::try_from(names).unwrap_or(usize::MAX).saturating_add(usize::from(self.failed.is_some()));
        (left, Some(left))
    }
}

impl DoubleEndedIterator for SortedKeys<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.take(End::Back)
    }
}

impl ExactSizeIterator for SortedKeys<'_> {}
impl FusedIterator for SortedKeys<'_> {}

impl std::fmt::Debug for SortedKeys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedKeys").field("path", &self.engine.path()).field("left", &self.len()).finish()
    }
}

//! Names in their order: lists a range of them from both ends, and counts it without listing it.
//!
//! Each segment of the index has its records in the order of names, so a range of names is a range of
//! ranks in each of them. Where an index has no order, or a page of it is damaged, all names are gone
//! through instead.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::ops::{Bound, Range};
use std::sync::Arc;

use super::{Engine, ListedRecord, Listing, in_record};
use crate::catalog::{Snapshot, State};
use crate::error::{Error, Result};
use crate::format::tables::Order;
use crate::index::{Segment, kills};

/// A range of tagged names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameRange {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Bound<Vec<u8>>,
}

impl NameRange {
    /// All names that begin with these bytes.
    pub(crate) fn with_prefix(prefix: Vec<u8>) -> Self {
        let mut after = prefix.clone();
        while after.pop_if(|last| *last == u8::MAX).is_some() {}
        let end = match after.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(after)
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix), end }
    }

    fn is_before(&self, name: &[u8]) -> bool {
        match &self.start {
            Bound::Included(start) => name < &**start,
            Bound::Excluded(start) => name <= &**start,
            Bound::Unbounded => false,
        }
    }

    fn is_not_after(&self, name: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => name <= &**end,
            Bound::Excluded(end) => name < &**end,
            Bound::Unbounded => true,
        }
    }

    fn contains(&self, name: &[u8]) -> bool {
        !self.is_before(name) && self.is_not_after(name)
    }

    /// The ranks of a segment's records in the range.
    fn ranks(&self, segment: &Segment) -> Result<Range<u64>> {
        let start = segment.rank_of(&|name| self.is_before(name))?;
        let end = segment.rank_of(&|name| self.is_not_after(name))?;
        Ok(start..end.max(start))
    }
}

fn has_order(snapshot: &Snapshot) -> bool {
    snapshot.segments.iter().all(|segment| segment.order() != Order::Unknown)
}

impl Engine {
    /// Live records in a range of names, and their raw bytes.
    pub(crate) fn totals_in(&self, names: &NameRange) -> Result<(u64, u64)> {
        let counted = count(&self.shared.read(), names);
        match counted {
            Ok(Some(totals)) => Ok(totals),
            Ok(None) => self.totals_listed(names),
            Err(error) if error.is_damage() => self.totals_listed(names),
            Err(error) => Err(error),
        }
    }

    /// Goes through all names.
    fn totals_listed(&self, names: &NameRange) -> Result<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0_u64);
        let mut listing = Listing::new(self)?;
        while let Some(ListedRecord { name, location }) = listing.next().transpose()? {
            if names.contains(&name) {
                let location = location.map_err(|error| in_record(&name, error))?;
                records += 1;
                bytes = bytes.saturating_add(location.length);
            }
        }
        Ok((records, bytes))
    }

    /// The names in a range, of this moment.
    pub(crate) fn names_in(&self, names: NameRange) -> Result<Names<'_>> {
        let state = self.shared.read();
        let opened = Ordered::new(&state, &names);
        drop(state);
        let source = Source::Listed(VecDeque::new());
        let mut listed = Names { engine: self, range: names, left: 0, source, failed: None };
        match opened {
            Ok(Some((ordered, left))) => {
                listed.left = left;
                listed.source = Source::Ordered(ordered);
            }
            Ok(None) => listed.list_all()?,
            Err(error) if error.is_damage() => listed.list_all()?,
            Err(error) => return Err(error),
        }
        Ok(listed)
    }
}

/// Counts records in a range of names by the order. `None` if the index does not have all that this takes.
fn count(state: &State, names: &NameRange) -> Result<Option<(u64, u64)>> {
    let State { snapshot, pending, .. } = state;
    if !has_order(snapshot) {
        return Ok(None);
    }
    let newly_dead: Vec<u64> = pending.tombstones.iter().copied().collect();
    let newly_dead = kills(&snapshot.segments, &newly_dead);
    let (Some(dead), true) = (snapshot.dead_ranks()?, newly_dead.iter().all(|kill| kill.ranked.is_some()))
    else {
        return Ok(None);
    };
    let (mut records, mut bytes) = (0, 0_u64);
    for (nth, segment) in snapshot.segments.iter().enumerate() {
        let ranks = names.ranks(segment)?;
        let (mut gone, mut gone_bytes) = dead.get(nth).map_or((0, 0), |dead| dead.within(&ranks));
        let first = segment.reference.first_ordinal;
        let ordinals = first..first + segment.reference.n_records;
        let here = newly_dead.iter().filter(|kill| ordinals.contains(&kill.ordinal));
        for (rank, length) in here.filter_map(|kill| kill.ranked) {
            if ranks.contains(&u64::from(rank)) {
                gone += 1;
                gone_bytes += length;
            }
        }
        records += (ranks.end - ranks.start).saturating_sub(gone);
        let all = segment.bytes_before(ranks.end)?.saturating_sub(segment.bytes_before(ranks.start)?);
        bytes = bytes.saturating_add(all.saturating_sub(gone_bytes));
    }
    for number in pending.live().filter(|&number| names.contains(pending.name(number))) {
        records += 1;
        bytes = bytes.saturating_add(pending.location(number).length);
    }
    Ok(Some((records, bytes)))
}

/// Names in their order, from both ends.
pub(crate) struct Names<'e> {
    engine: &'e Engine,
    /// What is left of the range.
    range: NameRange,
    left: u64,
    source: Source,
    /// What is told after all names.
    failed: Option<Error>,
}

enum Source {
    Ordered(Ordered),
    /// All of them, in their order.
    Listed(VecDeque<Vec<u8>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

impl Names<'_> {
    /// How many names are left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Goes through all names for what is left of the range. What cannot be read of it is an error after all
    /// that can.
    fn list_all(&mut self) -> Result<()> {
        let mut found = Vec::new();
        let mut listing = Listing::new(self.engine)?;
        while let Some(listed) = listing.next() {
            match listed {
                Ok(ListedRecord { name, .. }) if !self.range.contains(&name) => {}
                // If it is not known which records are dead, a name without a place may belong to a dead one.
                Ok(ListedRecord { name, location: Err(error) }) if listing.doubtful => {
                    self.failed.get_or_insert(in_record(&name, error));
                }
                Ok(ListedRecord { name, .. }) => found.push(name),
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        found.sort_unstable();
        self.left = found.len() as u64 + u64::from(self.failed.is_some());
        self.source = Source::Listed(found.into());
        Ok(())
    }

    /// The next name from one end.
    pub(crate) fn next(&mut self, end: End) -> Option<Result<Vec<u8>>> {
        let next = match (&mut self.source, end) {
            (Source::Listed(names), End::Front) => Ok(names.pop_front()),
            (Source::Listed(names), End::Back) => Ok(names.pop_back()),
            (Source::Ordered(ordered), end) => ordered.next(end),
        };
        match next {
            Ok(Some(name)) => {
                let bound = Bound::Excluded(name.clone());
                match end {
                    End::Front => self.range.start = bound,
                    End::Back => self.range.end = bound,
                }
                self.left = self.left.saturating_sub(1);
                Some(Ok(name))
            }
            Ok(None) => {
                self.left = 0;
                self.failed.take().map(Err)
            }
            Err(error) => {
                self.source = Source::Listed(VecDeque::new());
                let listed = if error.is_damage() { self.list_all() } else { Err(error) };
                self.failed = listed.err().or_else(|| self.failed.take());
                self.next(end)
            }
        }
    }
}

/// Names by the order of each segment.
struct Ordered {
    snapshot: Arc<Snapshot>,
    /// Committed records that were dead besides those of the snapshot.
    newly_dead: BTreeSet<u64>,
    cursors: Vec<Cursor>,
    /// Names that no commit covers.
    pending: VecDeque<Vec<u8>>,
}

/// A range of ranks of one segment, and the names at its ends if they were looked at. Both may be the same.
struct Cursor {
    segment: Arc<Segment>,
    ranks: Range<u64>,
    front: Option<Vec<u8>>,
    back: Option<Vec<u8>>,
}

impl Ordered {
    /// What the index has in a range, and how many names these are. `None` if it has no order.
    fn new(state: &State, names: &NameRange) -> Result<Option<(Self, u64)>> {
        let State { snapshot, pending, .. } = state;
        let Some((left, _)) = count(state, names)? else { return Ok(None) };
        let cursor = |segment: &Arc<Segment>| {
            let ranks = names.ranks(segment)?;
            Ok(Cursor { segment: Arc::clone(segment), ranks, front: None, back: None })
        };
        let cursors = snapshot.segments.iter().map(cursor).collect::<Result<_>>()?;
        let fresh = pending.live().map(|number| pending.name(number)).filter(|name| names.contains(name));
        let mut fresh: Vec<Vec<u8>> = fresh.map(<[u8]>::to_vec).collect();
        fresh.sort_unstable();
        let newly_dead = pending.tombstones.clone();
        let snapshot = Arc::clone(snapshot);
        Ok(Some((Self { snapshot, newly_dead, cursors, pending: fresh.into() }, left)))
    }

    fn next(&mut self, end: End) -> Result<Option<Vec<u8>>> {
        let dead = Cow::Borrowed(self.snapshot.tombstones()?);
        let mut best: Option<usize> = None;
        for nth in 0..self.cursors.len() {
            let (before, rest) = self.cursors.split_at_mut(nth);
            let Some(cursor) = rest.first_mut() else { break };
            let is_dead =
                |ordinal| dead.binary_search(&ordinal).is_ok() || self.newly_dead.contains(&ordinal);
            let Some(name) = cursor.peek(end, &is_dead)? else { continue };
            let best_name = best.and_then(|best| before.get(best)?.at(end));
            if best_name.is_none_or(|best| is_first(name, best, end)) {
                best = Some(nth);
            }
        }
        let fresh = if end == End::Front { self.pending.front() } else { self.pending.back() };
        let of_segment = best.and_then(|best| self.cursors.get(best)?.at(end));
        match (fresh, of_segment, best) {
            (Some(fresh), committed, _) if committed.is_none_or(|name| is_first(fresh, name, end)) => {
                Ok(if end == End::Front { self.pending.pop_front() } else { self.pending.pop_back() })
            }
            (_, _, Some(best)) => Ok(self.cursors.get_mut(best).and_then(|cursor| cursor.take(end))),
            _ => Ok(None),
        }
    }
}

fn is_first(name: &[u8], other: &[u8], end: End) -> bool {
    if end == End::Front { name < other } else { name > other }
}

impl Cursor {
    fn at(&self, end: End) -> Option<&[u8]> {
        if end == End::Front { self.front.as_deref() } else { self.back.as_deref() }
    }

    /// The name at one end, past the dead ones.
    fn peek(&mut self, end: End, is_dead: &dyn Fn(u64) -> bool) -> Result<Option<&[u8]>> {
        while self.at(end).is_none() && !self.ranks.is_empty() {
            let rank = if end == End::Front { self.ranks.start } else { self.ranks.end - 1 };
            let number = self.segment.at_rank(rank)?;
            if is_dead(self.segment.reference.first_ordinal + number) {
                self.skip(end);
                continue;
            }
            let name = Some(self.segment.name(number)?);
            match end {
                End::Front => self.front = name,
                End::Back => self.back = name,
            }
        }
        Ok(self.at(end).filter(|_| !self.ranks.is_empty()))
    }

    fn skip(&mut self, end: End) {
        match end {
            End::Front => self.ranks.start += 1,
            End::Back => self.ranks.end -= 1,
        }
    }

    fn take(&mut self, end: End) -> Option<Vec<u8>> {
        let name = if end == End::Front { self.front.take() } else { self.back.take() };
        self.skip(end);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        for (prefix, inside, outside) in [
            (&b"\x01ab"[..], &b"\x01ab\xff\xff"[..], &b"\x01ac"[..]),
            (b"\x01a\xff", b"\x01a\xff\0", b"\x01b"),
            (b"\x01", b"\x01", b"\x02"),
        ] {
            let range = NameRange::with_prefix(prefix.to_vec());
            assert!(range.contains(prefix) && range.contains(inside) && !range.contains(outside));
            assert!(!range.contains(&prefix[..prefix.len() - 1]));
        }
        let all = NameRange::with_prefix(vec![0xff, 0xff]);
        assert!(all.contains(&[0xff; 5]) && !all.contains(&[0xff, 0xfe]));
    }
}

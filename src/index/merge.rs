//! Decides when to merge segments, and merges them.
//!
//! Segments are merged in size tiers: eight segments of a size become one of eight times the size, up to
//! a million records. Larger segments wait until there are 32 of them: a filter tells of nearly all names
//! that a segment does not have them, and a merge leaves a whole copy of the index behind in the file. So
//! a record is rewritten about `log8(2^20 / records per commit)` times, and once more in a depot of tens
//! of millions.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use super::records::{Kill, Listing};
use super::segment::Segment;
use super::writer::{Extras, SegmentPlan};
use super::{Location, hash};
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::format::tables::{Order, SegmentRef};
use crate::statistics::Tallied;

/// How many segments of a tier become one of the next.
const FAN_OUT: usize = 8;
/// Segments of this many records are merged only when there are [`LARGE_FAN_OUT`] of them. Also on closing.
const LARGE: u64 = 1 << 20;
const LARGE_FAN_OUT: usize = 32;
/// A merged segment has at most this many records and bytes, so that 32-bit offsets inside it suffice.
pub(crate) const MAX_RECORDS: u64 = 1 << 25;
const MAX_BYTES: u64 = 3 << 29;
/// Closing always merges up to this many records, since that takes a fraction of a second.
const CHEAP_RECORDS: u64 = 1 << 18;

fn fits(segments: &[SegmentRef]) -> bool {
    let records: u64 = segments.iter().map(|s| s.n_records).sum();
    let bytes: u64 = segments.iter().map(|s| s.length).sum();
    records <= MAX_RECORDS && bytes <= MAX_BYTES
}

/// Which of the newest segments to merge now: the number of the first one, if any.
///
/// `last` is for closing a depot. Then all small segments at its end are merged, unless that would
/// rewrite most of them for the sake of a few records.
pub(crate) fn tail_to_merge(segments: &[SegmentRef], last: bool) -> Option<usize> {
    let is_large = |s: &SegmentRef| s.n_records >= LARGE;
    let small = segments.iter().rposition(is_large).map_or(0, |nth| nth + 1);
    if small == segments.len() {
        // A merge of large segments is not merged again.
        let can_merge = |s: &&SegmentRef| is_large(s) && s.n_records < MAX_RECORDS / 2;
        let waiting = segments.iter().rev().take_while(can_merge).count();
        let fitting = (0..=waiting).rev().find(|&n| fits(&segments[segments.len() - n..])).unwrap_or(0);
        let enough = fitting == LARGE_FAN_OUT || (fitting > 1 && fitting < waiting);
        return enough.then(|| segments.len() - fitting);
    }
    let first = if last { last_to_merge(&segments[small..]) } else { tier_to_merge(&segments[small..]) };
    first.map(|first| first + small)
}

fn last_to_merge(segments: &[SegmentRef]) -> Option<usize> {
    let worth = |first: usize| {
        let rest: u64 = segments[first + 1..].iter().map(|s| s.n_records + s.n_tombstones + 1).sum();
        let limit = CHEAP_RECORDS.max(FAN_OUT as u64 * rest);
        fits(&segments[first..]) && segments[first].n_records <= limit
    };
    (0..segments.len().saturating_sub(1)).find(|&first| worth(first))
}

fn tier_to_merge(segments: &[SegmentRef]) -> Option<usize> {
    let size = |s: &SegmentRef| s.n_records + s.n_tombstones + 1;
    let tier = |size: u64| size.ilog2() / FAN_OUT.ilog2();
    let newest = segments.len().checked_sub(1)?;
    let mut first = newest;
    loop {
        // The segments chosen so far count as one segment of its tier, and may fill up that tier in turn.
        let own = tier(segments[first..].iter().map(size).sum());
        let peers = segments[..first].iter().rev().take_while(|s| tier(size(s)) <= own).count();
        if peers + 1 < FAN_OUT || !fits(&segments[first - peers..]) {
            return (first < newest).then_some(first);
        }
        first -= peers;
    }
}

/// The live records of segments that follow each other.
pub(crate) struct Merge<'s> {
    segments: &'s [Arc<Segment>],
    /// Ordinals of dead records in these segments.
    dead: Vec<u64>,
    /// Dead records in older segments.
    kills: Vec<Kill>,
    chunks: Vec<ChunkRef>,
    len: usize,
    extras: Extras<'s>,
    tallied: Tallied,
}

impl<'s> Merge<'s> {
    /// Looks through `segments`, and checks every page of them.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) if one of them is damaged, and errors of reading.
    pub(crate) fn new(segments: &'s [Arc<Segment>], extras: Extras<'s>) -> Result<Self> {
        let first = segments.first().map(|s| s.reference).unwrap_or_default();
        let (mut kills, mut chunks, mut end) = (Vec::new(), Vec::new(), first.first_ordinal);
        let mut tallied = Tallied::default();
        for segment in segments {
            segment.check_all()?;
            segment.check_columns(extras.columns)?;
            kills.extend(segment.kills()?);
            tallied.merge(segment.tallied());
            let SegmentRef { first_ordinal, n_records, first_chunk, n_chunks, .. } = segment.reference;
            end = first_ordinal + n_records;
            for chunk in first_chunk..first_chunk + n_chunks {
                chunks.push(segment.chunk(chunk)?);
            }
        }
        kills.sort_unstable_by_key(|kill: &Kill| kill.ordinal);
        kills.dedup_by_key(|kill| kill.ordinal);
        // In a forged index there may be some after the last record.
        kills.truncate(kills.partition_point(|kill| kill.ordinal < end));
        let older = kills.partition_point(|kill| kill.ordinal < first.first_ordinal);
        let dead: Vec<u64> = kills.drain(older..).map(|kill| kill.ordinal).collect();
        let n_records = usize::try_from(end - first.first_ordinal).unwrap_or(usize::MAX);
        if tallied != Tallied::default() {
            tallied.dropped = tallied.dropped.saturating_add(dead.len() as u64);
        }
        Ok(Self { segments, len: n_records - dead.len(), dead, kills, chunks, extras, tallied })
    }

    /// The plan of the merged segment.
    pub(crate) fn plan(&self) -> SegmentPlan<'_> {
        let first = self.segments.first().map(|s| s.reference).unwrap_or_default();
        SegmentPlan {
            first_ordinal: first.first_ordinal,
            first_chunk: first.first_chunk,
            listing: self,
            chunks: self.chunks.clone(),
            kills: self.kills.clone(),
            extras: self.extras,
            tallied: self.tallied.clone(),
        }
    }

    /// The number that a live record has in the merged segment.
    fn number_of(&self, ordinal: u64) -> u32 {
        let first = self.segments.first().map_or(0, |s| s.reference.first_ordinal);
        let dead = self.dead.partition_point(|&dead| dead < ordinal) as u64;
        u32::try_from(ordinal.saturating_sub(first).saturating_sub(dead)).unwrap_or(u32::MAX)
    }

    /// A function that tells whether an ordinal is live. It must be asked in increasing order.
    fn is_live(&self) -> impl FnMut(u64) -> bool + '_ {
        let mut dead = self.dead.iter().copied().peekable();
        move |ordinal| dead.next_if_eq(&ordinal).is_none()
    }
}

/// The next record of a segment, in the order of names.
struct Front<'s> {
    segment: &'s Segment,
    rank: u64,
    name: Vec<u8>,
    /// In the segment.
    number: u64,
}

impl Front<'_> {
    /// Goes on to the next record that is live. Returns whether there is one.
    fn go_to_live(&mut self, dead: &[u64]) -> Result<bool> {
        while self.rank < self.segment.reference.n_records {
            self.number = self.segment.at_rank(self.rank)?;
            if dead.binary_search(&(self.segment.reference.first_ordinal + self.number)).is_err() {
                let name = &mut self.name;
                self.segment.with_name(self.number, |bytes| {
                    name.clear();
                    name.extend_from_slice(bytes);
                })?;
                return Ok(true);
            }
            self.rank += 1;
        }
        Ok(false)
    }
}

impl PartialEq for Front<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Front<'_> {}

impl PartialOrd for Front<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Front<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl Listing for Merge<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn names(&self, job: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        let mut is_live = self.is_live();
        for segment in self.segments {
            segment.each_name(&mut |local, name| {
                if is_live(segment.reference.first_ordinal + local) {
                    job(hash(name), name);
                }
            })?;
        }
        Ok(())
    }

    fn locations(&self, job: &mut dyn FnMut(&Location) -> Result<()>) -> Result<()> {
        let mut is_live = self.is_live();
        for segment in self.segments {
            for local in 0..segment.reference.n_records {
                if is_live(segment.reference.first_ordinal + local) {
                    job(&segment.any_location(local)?)?;
                }
            }
        }
        Ok(())
    }

    fn has_order(&self) -> bool {
        self.segments.iter().all(|segment| segment.order() != Order::Unknown)
    }

    fn order(&self, job: &mut dyn FnMut(u32, u64) -> Result<()>) -> Result<()> {
        let mut fronts = BinaryHeap::new();
        for segment in self.segments {
            let mut front = Front { segment, rank: 0, name: Vec::new(), number: 0 };
            if front.go_to_live(&self.dead)? {
                fronts.push(Reverse(front));
            }
        }
        while let Some(mut front) = fronts.peek_mut() {
            let Front { segment, number, .. } = &front.0;
            let ordinal = segment.reference.first_ordinal + number;
            job(self.number_of(ordinal), segment.any_location(*number)?.length)?;
            front.0.rank += 1;
            if !front.0.go_to_live(&self.dead)? {
                PeekMut::pop(front);
            }
        }
        Ok(())
    }

    fn metadata(&self, job: &mut dyn FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let mut is_live = self.is_live();
        let mut number = 0;
        for segment in self.segments {
            for local in 0..segment.reference.n_records {
                if !is_live(segment.reference.first_ordinal + local) {
                    continue;
                }
                if segment.has_metadata()
                    && let Some(value) = segment.metadata(local)?
                {
                    job(number, &value)?;
                }
                number += 1;
            }
        }
        Ok(())
    }

    fn scalars(&self, job: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.extras.columns.is_empty() {
            return Ok(());
        }
        let mut is_live = self.is_live();
        for segment in self.segments {
            for local in 0..segment.reference.n_records {
                if is_live(segment.reference.first_ordinal + local) {
                    job(&segment.scalars(local)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(n_records: u64) -> SegmentRef {
        SegmentRef { n_records, length: 30 * n_records, ..SegmentRef::default() }
    }

    #[test]
    fn commits_of_one_record_keep_few_segments_and_rewrite_little() {
        let (mut segments, mut rewritten) = (Vec::new(), 0);
        for _ in 0..100_000 {
            segments.push(sized(1));
            if let Some(first) = tail_to_merge(&segments, false) {
                let total = segments.drain(first..).map(|s| s.n_records).sum();
                segments.push(sized(total));
                rewritten += total;
            }
            assert!(segments.len() <= 48, "{}", segments.len());
        }
        assert!(rewritten < 7 * 100_000, "{rewritten}");
    }

    #[test]
    fn closing_makes_one_segment_but_spares_a_large_one() {
        assert_eq!(tail_to_merge(&[sized(100), sized(20), sized(3)], true), Some(0));
        assert_eq!(tail_to_merge(&[sized(1_000_000), sized(20), sized(3)], true), Some(1));
        assert_eq!(tail_to_merge(&[sized(5)], true), None);
        assert_eq!(tail_to_merge(&[], true), None);
    }

    #[test]
    fn many_records_are_in_few_segments_and_are_seldom_rewritten() {
        let (mut segments, mut rewritten, mut most) = (Vec::new(), 0, 0);
        let n_commits = 400;
        for _ in 0..n_commits {
            segments.push(sized(1 << 20));
            if let Some(first) = tail_to_merge(&segments, false) {
                assert!(fits(&segments[first..]));
                let total = segments.drain(first..).map(|s| s.n_records).sum();
                segments.push(sized(total));
                rewritten += total;
            }
            assert_eq!(tail_to_merge(&segments, true), None, "closing rewrites no large segment");
            let records: u64 = segments.iter().map(|s| s.n_records).sum();
            let full = usize::try_from(records / MAX_RECORDS).unwrap();
            most = most.max(segments.len() - full);
        }
        assert!(most <= LARGE_FAN_OUT, "{most}");
        assert!(rewritten <= n_commits << 20, "{rewritten}");
    }

    #[test]
    fn a_segment_never_outgrows_its_limits() {
        let large = sized(MAX_RECORDS - 1);
        assert_eq!(tail_to_merge(&[large; 9], false), None);
        assert_eq!(tail_to_merge(&[large; 9], true), None);
    }
}

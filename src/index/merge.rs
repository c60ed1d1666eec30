//! Decides when to merge segments, and merges them.
//!
//! Segments are merged in size tiers: eight segments of a size become one of eight times the size. A record
//! is therefore rewritten about `log8(records / records per commit)` times, and a lookup touches at most
//! seven segments per tier.

use std::sync::Arc;

use super::records::Listing;
use super::segment::Segment;
use super::writer::SegmentPlan;
use super::{Location, hash};
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::format::tables::SegmentRef;

/// How many segments of a tier become one of the next.
const FAN_OUT: usize = 8;
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
/// `last` is for closing a depot. Then all segments are merged, unless that would rewrite a large segment
/// for the sake of a few records.
pub(crate) fn tail_to_merge(segments: &[SegmentRef], last: bool) -> Option<usize> {
    if last {
        let worth = |first: usize| {
            let rest: u64 = segments[first + 1..].iter().map(|s| s.n_records + s.n_tombstones + 1).sum();
            let limit = CHEAP_RECORDS.max(FAN_OUT as u64 * rest);
            fits(&segments[first..]) && segments[first].n_records <= limit
        };
        return (0..segments.len().saturating_sub(1)).find(|&first| worth(first));
    }
    let size = |s: &SegmentRef| s.n_records + s.n_tombstones + 1;
    let tier = |size: u64| size.ilog2() / FAN_OUT.ilog2();
    let newest = segments.len().checked_sub(1)?;
    let mut first = newest;
    loop {
        // The segments chosen so far count as one segment of its tier, and may fill up that tier in turn.
        let own = tier(segments[first..].iter().map(size).sum());
        let peers = segments[..first].iter().rev().take_while(|s| tier(size(s)) <= own).count();
        if peers + 1 >= FAN_OUT && fits(&segments[first - peers..]) {
            first -= peers;
            continue;
        }
        // If there is no room for another one as large, there will never be eight to merge. Merge as many as
        // fit.
        let another: Vec<_> = segments[first - peers..].iter().chain(&segments[first..]).copied().collect();
        if !fits(&another) {
            first -= (1..=peers).rev().find(|&n| fits(&segments[first - n..])).unwrap_or(0);
        }
        return (first < newest).then_some(first);
    }
}

/// The live records of segments that follow each other.
pub(crate) struct Merge<'s> {
    segments: &'s [Arc<Segment>],
    /// Ordinals of dead records in these segments.
    dead: Vec<u64>,
    /// Ordinals of dead records in older segments.
    tombstones: Vec<u64>,
    chunks: Vec<ChunkRef>,
    len: usize,
}

impl<'s> Merge<'s> {
    /// Looks through `segments`, and checks every page of them.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) if one of them is damaged, and errors of reading.
    pub(crate) fn new(segments: &'s [Arc<Segment>]) -> Result<Self> {
        let first = segments.first().map(|s| s.reference).unwrap_or_default();
        let (mut dead, mut chunks, mut end) = (Vec::new(), Vec::new(), first.first_ordinal);
        for segment in segments {
            segment.check_all()?;
            dead.extend(segment.tombstones()?);
            let SegmentRef { first_ordinal, n_records, first_chunk, n_chunks, .. } = segment.reference;
            end = first_ordinal + n_records;
            for chunk in first_chunk..first_chunk + n_chunks {
                chunks.push(segment.chunk(chunk)?);
            }
        }
        dead.sort_unstable();
        dead.dedup();
        // In a forged index there may be some after the last record.
        dead.truncate(dead.partition_point(|&ordinal| ordinal < end));
        let older = dead.partition_point(|&ordinal| ordinal < first.first_ordinal);
        let dead_here = dead.split_off(older);
        let n_records = usize::try_from(end - first.first_ordinal).unwrap_or(usize::MAX);
        Ok(Self { segments, len: n_records - dead_here.len(), dead: dead_here, tombstones: dead, chunks })
    }

    /// The plan of the merged segment.
    pub(crate) fn plan(&self) -> SegmentPlan<'_> {
        let first = self.segments.first().map(|s| s.reference).unwrap_or_default();
        SegmentPlan {
            first_ordinal: first.first_ordinal,
            first_chunk: first.first_chunk,
            listing: self,
            chunks: self.chunks.clone(),
            tombstones: self.tombstones.clone(),
        }
    }

    /// A function that tells whether an ordinal is live. It must be asked in increasing order.
    fn is_live(&self) -> impl FnMut(u64) -> bool + '_ {
        let mut dead = self.dead.iter().copied().peekable();
        move |ordinal| dead.next_if_eq(&ordinal).is_none()
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
    fn many_records_are_in_few_segments() {
        let (mut segments, mut rewritten) = (Vec::new(), 0);
        let n_commits = 400;
        for _ in 0..n_commits {
            segments.push(sized(1 << 20));
            if let Some(first) = tail_to_merge(&segments, false) {
                assert!(fits(&segments[first..]));
                let total = segments.drain(first..).map(|s| s.n_records).sum();
                segments.push(sized(total));
                rewritten += total;
            }
            let records: u64 = segments.iter().map(|s| s.n_records).sum();
            let full = usize::try_from(records / MAX_RECORDS).unwrap();
            assert!(segments.len() <= full + 14, "{} segments of {records} records", segments.len());
        }
        assert!(rewritten < (3 * n_commits) << 20, "{rewritten}");
    }

    #[test]
    fn a_segment_never_outgrows_its_limits() {
        let large = sized(MAX_RECORDS - 1);
        assert_eq!(tail_to_merge(&[large; 9], false), None);
        assert_eq!(tail_to_merge(&[large; 9], true), None);
    }
}

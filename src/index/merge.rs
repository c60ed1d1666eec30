//! When segments become one, and how.
//!
//! Segments are merged in size tiers: eight of a size become one of eight times the size, so that a record is
//! rewritten about `log8(records / records per commit)` times, and a lookup touches at most seven segments a tier.

use std::sync::Arc;

use super::builder::SegmentBuilder;
use super::segment::Segment;
use crate::error::Result;
use crate::format::tables::SegmentRef;

/// Segments of a tier before they become one of the next.
const FAN_OUT: usize = 8;
/// A merged segment has at most this many records and bytes, so that 32-bit offsets inside it suffice.
pub(super) const MAX_RECORDS: u64 = 1 << 25;
const MAX_BYTES: u64 = 3 << 29;
/// Closing merges this many records without a second thought: it takes a fraction of a second.
const CHEAP_RECORDS: u64 = 1 << 18;

fn fits(segments: &[SegmentRef]) -> bool {
    let records: u64 = segments.iter().map(|s| s.n_records).sum();
    let bytes: u64 = segments.iter().map(|s| s.length).sum();
    records <= MAX_RECORDS && bytes <= MAX_BYTES
}

/// Which of the newest segments to merge now: the number of the first one, if any. `last` is for closing a depot:
/// merge all, unless that would rewrite a large segment for the sake of a few records.
pub(crate) fn tail_to_merge(segments: &[SegmentRef], last: bool) -> Option<usize> {
    if last {
        let worth = |first: usize| {
            let rest: u64 = segments[first + 1..].iter().map(|s| s.n_records + s.n_kills + 1).sum();
            let limit = CHEAP_RECORDS.max(FAN_OUT as u64 * rest);
            fits(&segments[first..]) && segments[first].n_records <= limit
        };
        return (0..segments.len().saturating_sub(1)).find(|&first| worth(first));
    }
    let size = |s: &SegmentRef| s.n_records + s.n_kills + 1;
    let tier = |size: u64| size.ilog2() / FAN_OUT.ilog2();
    let newest = segments.len().checked_sub(1)?;
    let mut first = newest;
    loop {
        // What is merged so far counts as one of its tier, and may fill that up in turn.
        let own = tier(segments[first..].iter().map(size).sum());
        let peers = segments[..first].iter().rev().take_while(|s| tier(size(s)) <= own).count();
        if peers + 1 < FAN_OUT || !fits(&segments[first - peers..]) {
            return (first < newest).then_some(first);
        }
        first -= peers;
    }
}

/// Merges `segments`, which follow each other: killed records are dropped, kills of older records kept.
pub(crate) fn merge(segments: &[Arc<Segment>]) -> Result<SegmentBuilder> {
    let first = segments.first().map(|s| s.reference).unwrap_or_default();
    let mut out = SegmentBuilder::new(first.first_ordinal, first.first_chunk);
    let mut dead = Vec::new();
    for segment in segments {
        dead.extend(segment.all_kills()?);
    }
    dead.sort_unstable();
    let older = dead.partition_point(|&ordinal| ordinal < first.first_ordinal);
    dead[..older].iter().for_each(|&ordinal| out.kill(ordinal));
    let mut dead = dead[older..].iter().copied().peekable();
    for segment in segments {
        let SegmentRef { first_ordinal, n_records, first_chunk, n_chunks, .. } = segment.reference;
        let mut ordinal = 0;
        while ordinal < n_records {
            let (start, names) = segment.names_around(ordinal)?;
            for (local, name) in (start..).zip(names) {
                ordinal = local + 1;
                if dead.next_if_eq(&(first_ordinal + local)).is_some() {
                    continue;
                }
                let metadata = if segment.has_metadata() { segment.metadata(local)? } else { None };
                out.push(&name, &segment.location(local)?, metadata.as_deref());
            }
        }
        for chunk in first_chunk..first_chunk + n_chunks {
            out.push_chunk(&segment.chunk(chunk)?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(n_records: u64) -> SegmentRef {
        SegmentRef { n_records, length: 100 * n_records, ..SegmentRef::default() }
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
    fn a_segment_never_outgrows_its_limits() {
        let large = sized(MAX_RECORDS - 1);
        assert_eq!(tail_to_merge(&[large; 9], false), None);
        assert_eq!(tail_to_merge(&[large; 9], true), None);
    }
}

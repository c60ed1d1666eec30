//! Statistics of all records, from those of the index segments.

use std::ops::Range;
use std::sync::Arc;

use super::Engine;
use super::find::Moment;
use crate::error::Result;
use crate::format::tables::Zone;
use crate::index::Segment;
use crate::statistics::{Tallied, Tally};

/// Statistics of the fields of all records.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tallies {
    pub(crate) tally: Tally,
    /// Records that the tally is of.
    pub(crate) counted: u64,
    /// Records in the tally that are gone.
    pub(crate) removed: u64,
    /// Records that are there and not in the tally.
    pub(crate) missing: u64,
    /// Whether the counts fit together.
    pub(crate) consistent: bool,
}

impl Tallies {
    /// Whether the tally is that of the records that are there.
    pub(crate) fn is_exact(&self) -> bool {
        self.consistent && self.removed == 0 && self.missing == 0
    }

    /// The same, as what a copy of the records begins with.
    pub(crate) fn to_carry(&self) -> Tallied {
        Tallied { counted: self.counted, moved: 0, dropped: self.removed, tally: self.tally.clone() }
    }
}

/// Positions of records that lie together in a segment, or that no segment has.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) positions: Range<u64>,
    segment: Option<Arc<Segment>>,
    /// Whether all records of the segment are live.
    pub(crate) whole: bool,
}

impl Span {
    /// What is known of the values of each column here; none if nothing is.
    pub(crate) fn zones(&self) -> &[Zone] {
        self.segment.as_ref().map_or(&[], |segment| segment.zones())
    }

    /// Records of the segment, dead ones included.
    pub(crate) fn n_records(&self) -> u64 {
        self.segment.as_ref().map_or(u64::MAX, |segment| segment.reference.n_records)
    }

    /// Live records here.
    pub(crate) fn len(&self) -> u64 {
        self.positions.end - self.positions.start
    }
}

impl Engine {
    /// Adds up the statistics of the fields of all records of that moment.
    pub(crate) fn tallies(&self, moment: &Moment) -> Result<Tallies> {
        let state = &moment.state;
        let mut all = state.pending.tallied_now();
        for segment in &state.snapshot.segments {
            all.merge(segment.tallied());
        }
        let dead = match &moment.dead {
            Some(dead) => dead.len() as u64,
            None => state.tombstones()?.len() as u64,
        };
        let Tallied { counted, moved, dropped, tally } = all;
        let signed = |n: u64| i128::from(n);
        // An entry for each change of a record that leaves it where it is, and one that is gone.
        let removed = (signed(dropped) + signed(dead) - signed(moved)).max(0);
        let missing = signed(moment.len()) + removed - signed(counted);
        let size = |n: i128| u64::try_from(n.max(0)).unwrap_or(u64::MAX);
        Ok(Tallies {
            tally,
            counted,
            removed: size(removed),
            missing: size(missing),
            consistent: missing >= 0 && self.losses_of(&state.snapshot)?.0.is_empty() && state.lost.is_none(),
        })
    }

    /// The live index segments.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.shared.read().snapshot.segments.clone()
    }

    /// All positions of that moment, in order.
    pub(crate) fn spans(moment: &Moment) -> Vec<Span> {
        let (mut spans, mut start) = (Vec::new(), 0);
        let committed = moment.state.committed_len();
        if let Some(dead) = &moment.dead {
            for segment in &moment.state.snapshot.segments {
                let first = segment.reference.first_ordinal;
                let end = first + segment.reference.n_records;
                let before = |ordinal: u64| dead.partition_point(|&dead| dead < ordinal) as u64;
                let n_dead = before(end).saturating_sub(before(first));
                let n_live = segment.reference.n_records.saturating_sub(n_dead);
                let positions = start..start + n_live;
                start = positions.end;
                if n_live > 0 {
                    spans.push(Span { positions, segment: Some(Arc::clone(segment)), whole: n_dead == 0 });
                }
            }
        }
        // In a forged index, a commit may count other records than its segments have.
        if start != committed {
            spans.clear();
            if committed > 0 {
                spans.push(Span { positions: 0..committed, segment: None, whole: false });
            }
        }
        if committed < moment.len() {
            spans.push(Span { positions: committed..moment.len(), segment: None, whole: false });
        }
        spans
    }
}

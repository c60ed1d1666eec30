//! Records of a segment in the order of their names.
//!
//! A record's *rank* is its place in that order: names are compared by their bytes, tags first. The index has
//! the records by rank, and the sum of raw bytes before every sixteenth of them. So the records in a range of
//! names, their number and their bytes are found by a binary search, without going through them. A record
//! that a newer segment declares dead has its rank noted there.

use std::sync::Arc;

use super::Location;
use super::records::Kill;
use super::segment::{ORDER, ORDER_SUMS, Segment};
use super::writer::SUMMED;
use crate::error::Result;
use crate::format::tables::Order;
use crate::le::{u32_at, u64_at};

/// The names that a binary search for one rank looks at, about. With more ranks to be found, all of the order
/// is read once.
const PROBES: u64 = 32;

impl Segment {
    /// The number in the segment of the record with a rank.
    pub(crate) fn at_rank(&self, rank: u64) -> Result<u64> {
        match self.order() {
            Order::Listed => {
                let number =
                    self.with(ORDER, rank.saturating_mul(4), 4, |bytes| u32_at(bytes, 0).unwrap_or(u32::MAX));
                let number = u64::from(number?);
                if number < self.reference.n_records {
                    return Ok(number);
                }
                let expected = format!("one of {} records in the order of names", self.reference.n_records);
                Err(self.damaged_at_start(expected, format!("record {number}")))
            }
            Order::Identity | Order::Unknown => Ok(rank),
        }
    }

    /// How many names come before all those for which `is_before` is false. It must be true of a name
    /// whenever it is true of a later one.
    pub(crate) fn rank_of(&self, is_before: &dyn Fn(&[u8]) -> bool) -> Result<u64> {
        let (mut from, mut to) = (0, self.reference.n_records);
        while from < to {
            let middle = u64::midpoint(from, to);
            if self.with_name(self.at_rank(middle)?, is_before)? {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }

    /// The raw bytes of all records, live or dead, with lower ranks.
    pub(crate) fn bytes_before(&self, rank: u64) -> Result<u64> {
        let sum = match (rank / SUMMED).checked_sub(1) {
            Some(nth) => self.with(ORDER_SUMS, nth * 8, 8, |bytes| u64_at(bytes, 0).unwrap_or(0))?,
            None => 0,
        };
        (rank / SUMMED * SUMMED..rank).try_fold(sum, |sum, rank| {
            let Location { length, .. } = self.any_location(self.at_rank(rank)?)?;
            Ok(sum.saturating_add(length))
        })
    }

    /// The ranks of some records, given by their increasing numbers in the segment.
    fn ranks_of(&self, numbers: &[u64]) -> Result<Vec<u64>> {
        if self.order() != Order::Listed {
            return Ok(numbers.to_vec());
        }
        if (numbers.len() as u64).saturating_mul(PROBES) < self.reference.n_records {
            let rank = |&number: &u64| {
                let name = self.name(number)?;
                self.rank_of(&|other| other < &*name)
            };
            return numbers.iter().map(rank).collect();
        }
        let mut ranks = vec![0; numbers.len()];
        for rank in 0..self.reference.n_records {
            if let Ok(nth) = numbers.binary_search(&self.at_rank(rank)?) {
                ranks[nth] = rank;
            }
        }
        Ok(ranks)
    }
}

/// What is to be noted of records, given by their increasing ordinals, that are dead from now on.
///
/// Without the order of one of the `segments`, or with damage, only the ordinals are noted.
pub(crate) fn kills(segments: &[Arc<Segment>], ordinals: &[u64]) -> Vec<Kill> {
    let unranked = || ordinals.iter().map(|&ordinal| Kill { ordinal, ranked: None }).collect();
    ranked_kills(segments, ordinals).ok().flatten().unwrap_or_else(unranked)
}

fn ranked_kills(segments: &[Arc<Segment>], ordinals: &[u64]) -> Result<Option<Vec<Kill>>> {
    let mut kills = Vec::with_capacity(ordinals.len());
    for segment in segments {
        let first = segment.reference.first_ordinal;
        let end = first.saturating_add(segment.reference.n_records);
        let here = &ordinals[kills.len()..];
        let here = &here[..here.partition_point(|&ordinal| ordinal < end)];
        if here.is_empty() {
            continue;
        }
        if segment.order() == Order::Unknown {
            return Ok(None);
        }
        let numbers: Vec<u64> = here.iter().map(|&ordinal| ordinal.saturating_sub(first)).collect();
        for (&number, rank) in numbers.iter().zip(segment.ranks_of(&numbers)?) {
            let Location { length, .. } = segment.any_location(number)?;
            let rank = u32::try_from(rank).unwrap_or(u32::MAX);
            kills.push(Kill { ordinal: first + number, ranked: Some((rank, length)) });
        }
    }
    Ok((kills.len() == ordinals.len()).then_some(kills))
}

#[cfg(test)]
mod tests {
    use super::super::segment::tests::opened_of;
    use super::*;

    #[test]
    fn ranks_are_places_in_the_order_of_names() {
        for n in [1, 2, 15, 16, 17, 1000_u32] {
            let shuffled: Vec<_> =
                (0..n).map(|n| format!("{:08}", n.wrapping_mul(2_654_435_761) % 99_991)).collect();
            let mut sorted = shuffled.clone();
            sorted.sort();
            for (names, order) in [(&shuffled, Order::Listed), (&sorted, Order::Identity)] {
                let segment = opened_of(names.iter().map(String::as_bytes), 0, |_| ()).unwrap();
                if n > 2 {
                    assert_eq!(segment.order(), order);
                }
                let mut bytes = 0;
                for (rank, name) in (0..).zip(&sorted) {
                    let number = segment.at_rank(rank).unwrap();
                    assert_eq!(segment.name(number).unwrap(), name.as_bytes());
                    assert_eq!(segment.rank_of(&|other| other < name.as_bytes()).unwrap(), rank);
                    assert_eq!(segment.bytes_before(rank).unwrap(), bytes);
                    bytes += segment.location(number).unwrap().length;
                }
                assert_eq!(segment.bytes_before(u64::from(n)).unwrap(), bytes);
                assert_eq!(segment.rank_of(&|_| true).unwrap(), u64::from(n));
                let numbers: Vec<u64> = (0..u64::from(n)).collect();
                let few: Vec<u64> = numbers.iter().copied().step_by(97).collect();
                for numbers in [numbers, few] {
                    for (number, rank) in numbers.iter().zip(segment.ranks_of(&numbers).unwrap()) {
                        assert_eq!(segment.at_rank(rank).unwrap(), *number);
                    }
                }
            }
        }
    }

    #[test]
    fn an_order_with_a_record_that_is_not_there_is_damaged() {
        let segment = opened_of([&b"b"[..], b"a", b"c"], 0, |body| {
            let order = [1_u32, 0, 2].map(u32::to_le_bytes);
            let at = body.windows(12).rposition(|window| *window == *order.as_flattened()).unwrap();
            body[at + 8..at + 12].fill(0xff);
        });
        let segment = segment.unwrap();
        assert_eq!((segment.at_rank(0).unwrap(), segment.at_rank(1).unwrap()), (1, 0));
        let error = segment.at_rank(2).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains("record 4294967295"), "{error}");
    }
}

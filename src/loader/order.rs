//! The order of an epoch: which record comes at which place.
//!
//! ```text
//! sequential   0 1 2 3 ..
//! windowed     groups   [0 1 2 3][4 5][6 7 8]..      runs of records of about `group` bytes
//!              permuted [6 7 8][0 1 2 3][4 5]..      by Fisher-Yates
//!              windows  [6 7 8 0 1 2 3][4 5 ..]      consecutive groups of about `window` bytes
//!              shuffled [2 6 3 0 8 7 1][..]          by Fisher-Yates in each window
//! full         a bijection of 0..n                   by a Feistel network: no table
//! ```
//!
//! The order follows from the seed and the epoch alone. The numbers come from SplitMix64 and integer
//! arithmetic, so they are the same on every platform. Users rely on them: a change of this file's
//! results needs a new version of the loader's state.

use std::ops::Range;
use std::sync::Arc;

use crate::random::{GOLDEN, SplitMix64, mix};

/// Up to this many records, a full shuffle is a table, shuffled by Fisher-Yates.
const TABLE_RECORDS: u64 = 1 << 16;

/// Half rounds of the Feistel network.
const HALF_ROUNDS: u64 = 8;

/// Bytes that a record takes in memory besides its own. With them, empty records have a weight too.
const RECORD_OVERHEAD: u64 = 64;

/// A key for one purpose in one epoch. Keys of the same purpose differ between epochs, and between seeds.
fn key(seed: u64, epoch: u64, purpose: u64) -> u64 {
    mix(mix(mix(purpose.wrapping_add(GOLDEN)) ^ epoch) ^ seed)
}

const FULL: u64 = 1;
const GROUPS: u64 = 2;
const WINDOW: u64 = 3;

/// A keyed bijection of `0..n` that takes no memory.
///
/// It is an unbalanced Feistel network over the next power of two. It is applied until the result lands
/// below `n` (Black and Rogaway: Ciphers with arbitrary finite domains, 2002).
#[derive(Debug, Clone)]
struct Bijection {
    n: u64,
    key: u64,
    left_bits: u32,
    right_bits: u32,
}

impl Bijection {
    /// A bijection of `0..n`, with `n` at least 2.
    fn new(n: u64, key: u64) -> Self {
        let bits = (u64::BITS - n.saturating_sub(1).leading_zeros()).max(2);
        Self { n, key, left_bits: bits / 2, right_bits: bits - bits / 2 }
    }

    fn at(&self, i: u64) -> u64 {
        let mut image = i;
        loop {
            image = self.permute(image);
            if image < self.n {
                return image;
            }
        }
    }

    fn permute(&self, i: u64) -> u64 {
        let (left_mask, right_mask) = ((1 << self.left_bits) - 1, (1 << self.right_bits) - 1);
        let (mut left, mut right) = (i >> self.right_bits, i & right_mask);
        for round in 0..HALF_ROUNDS {
            let round_key = self.key.wrapping_add(round.wrapping_mul(GOLDEN));
            if round % 2 == 0 {
                left ^= (mix(right ^ round_key) >> 16) & left_mask;
            } else {
                right ^= (mix(left ^ round_key) >> 16) & right_mask;
            }
        }
        left << self.right_bits | right
    }
}

/// Runs of consecutive records, each of about the same number of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// The first record of each group, and then the end of the last group.
    starts: Vec<u64>,
    weights: Vec<u64>,
}

impl Groups {
    /// Groups records by their lengths. A group ends with the record that brings it to `group` bytes or
    /// more.
    pub(super) fn new<E>(lengths: impl Iterator<Item = Result<u32, E>>, group: u64) -> Result<Self, E> {
        let mut groups = Self { starts: vec![0], weights: Vec::new() };
        let (mut n, mut weight) = (0, 0);
        for length in lengths {
            n += 1;
            weight += u64::from(length?) + RECORD_OVERHEAD;
            if weight >= group {
                groups.starts.push(n);
                groups.weights.push(std::mem::take(&mut weight));
            }
        }
        if weight > 0 {
            groups.starts.push(n);
            groups.weights.push(weight);
        }
        Ok(groups)
    }

    fn range(&self, group: usize) -> Range<u64> {
        self.starts[group]..self.starts[group + 1]
    }
}

/// How the records of an epoch are shuffled.
#[derive(Debug, Clone)]
pub(super) enum Shuffle {
    /// Not at all.
    Sequential,
    /// In windows of about `window` bytes.
    Windowed { seed: u64, window: u64, groups: Arc<Groups> },
    /// Each record among all others.
    Full { seed: u64 },
}

/// The order of one epoch.
#[derive(Debug)]
pub(super) enum EpochOrder {
    Sequential,
    Table(Vec<u64>),
    Feistel(Feistel),
    Windowed(Windowed),
}

/// A full shuffle of many records.
#[derive(Debug)]
pub(super) struct Feistel(Bijection);

/// A shuffle in windows.
#[derive(Debug)]
pub(super) struct Windowed {
    groups: Arc<Groups>,
    /// Groups in the order of the epoch.
    permuted: Vec<usize>,
    /// Where each window starts, in the epoch and in `permuted`. The last entry is the end of the last
    /// window.
    windows: Vec<(u64, usize)>,
    key: u64,
    /// The window that was asked for last, and its shuffled records.
    cached: Option<(usize, Vec<u64>)>,
}

impl EpochOrder {
    /// The order of `n` records in epoch `epoch`.
    pub(super) fn new(shuffle: &Shuffle, n: u64, epoch: u64) -> Self {
        match shuffle {
            Shuffle::Sequential => Self::Sequential,
            Shuffle::Full { seed } => {
                let key = key(*seed, epoch, FULL);
                if n > TABLE_RECORDS {
                    return Self::Feistel(Feistel(Bijection::new(n, key)));
                }
                let mut table: Vec<u64> = (0..n).collect();
                SplitMix64(key).shuffle(&mut table);
                Self::Table(table)
            }
            Shuffle::Windowed { seed, window, groups } => {
                Self::Windowed(Windowed::new(Arc::clone(groups), *seed, *window, epoch))
            }
        }
    }

    /// Appends the numbers of the records at the places `range`, which must lie inside the epoch.
    pub(super) fn records(&mut self, range: Range<u64>, out: &mut Vec<u64>) {
        match self {
            Self::Sequential => out.extend(range),
            Self::Table(table) => out.extend_from_slice(&table[index(range.start)..index(range.end)]),
            Self::Feistel(Feistel(bijection)) => out.extend(range.map(|place| bijection.at(place))),
            Self::Windowed(windowed) => windowed.records(range, out),
        }
    }

    /// The place where the window around `place` ends. `None` when there are no windows.
    pub(super) fn window_end(&self, place: u64) -> Option<u64> {
        match self {
            Self::Windowed(windowed) => Some(windowed.windows[windowed.window_of(place) + 1].0),
            _ => None,
        }
    }
}

impl Windowed {
    fn new(groups: Arc<Groups>, seed: u64, window: u64, epoch: u64) -> Self {
        let mut permuted: Vec<usize> = (0..groups.weights.len()).collect();
        SplitMix64(key(seed, epoch, GROUPS)).shuffle(&mut permuted);
        let mut windows = vec![(0, 0)];
        let (mut records, mut weight) = (0, 0_u64);
        for (nth, &group) in permuted.iter().enumerate() {
            let range = groups.range(group);
            records += range.end - range.start;
            weight = weight.saturating_add(groups.weights[group]);
            if weight >= window || nth + 1 == permuted.len() {
                windows.push((records, nth + 1));
                weight = 0;
            }
        }
        Self { groups, permuted, windows, key: key(seed, epoch, WINDOW), cached: None }
    }

    /// The window that holds `place`, which must lie inside the epoch.
    fn window_of(&self, place: u64) -> usize {
        self.windows.partition_point(|window| window.0 <= place) - 1
    }

    fn records(&mut self, range: Range<u64>, out: &mut Vec<u64>) {
        let mut at = range.start;
        while at < range.end {
            let window = self.window_of(at);
            let (start, end) = (self.windows[window].0, self.windows[window + 1].0);
            let until = end.min(range.end);
            let shuffled = self.shuffled(window);
            out.extend_from_slice(&shuffled[index(at - start)..index(until - start)]);
            at = until;
        }
    }

    fn shuffled(&mut self, window: usize) -> &[u64] {
        let mut records = match self.cached.take() {
            Some((cached, records)) if cached == window => return &self.cached.insert((cached, records)).1,
            Some((_, records)) => records,
            None => Vec::new(),
        };
        records.clear();
        for &group in &self.permuted[self.windows[window].1..self.windows[window + 1].1] {
            records.extend(self.groups.range(group));
        }
        SplitMix64(self.key ^ mix(window as u64)).shuffle(&mut records);
        &self.cached.insert((window, records)).1
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_permutation(records: &[u64]) -> bool {
        let mut sorted = records.to_vec();
        sorted.sort_unstable();
        sorted.into_iter().eq(0..records.len() as u64)
    }

    fn all(shuffle: &Shuffle, n: u64, epoch: u64) -> Vec<u64> {
        let mut out = Vec::new();
        EpochOrder::new(shuffle, n, epoch).records(0..n, &mut out);
        out
    }

    fn groups(lengths: &[u32], group: u64) -> Arc<Groups> {
        let lengths = lengths.iter().map(|&length| Ok::<_, ()>(length));
        Arc::new(Groups::new(lengths, group).unwrap())
    }

    #[test]
    fn the_feistel_network_is_a_bijection_of_every_domain() {
        for n in (2..200).chain([1000, 1023, 1024, 1025, 99_991]) {
            for key in [0, 1, u64::MAX] {
                let bijection = Bijection::new(n, key);
                assert!(is_permutation(&(0..n).map(|i| bijection.at(i)).collect::<Vec<_>>()), "{n}");
            }
        }
    }

    #[test]
    fn a_bijection_of_the_largest_domain_stays_inside() {
        let bijection = Bijection::new(u64::MAX, 7);
        assert!([0, 1, u64::MAX - 1].map(|i| bijection.at(i)).iter().all(|&image| image < u64::MAX));
    }

    /// The mean of |place - record| over n is 1/3 for a uniform permutation, with a deviation of about 0.24 /
    /// sqrt(n).
    fn displacement(records: &[u64]) -> f64 {
        let n = records.len() as f64;
        let sum: f64 = (0..).zip(records).map(|(place, &record)| record.abs_diff(place) as f64).sum();
        sum / n / n
    }

    #[test]
    fn a_full_shuffle_by_table_or_network_looks_uniform() {
        for n in [TABLE_RECORDS, TABLE_RECORDS + 1, 300_000] {
            for seed in 0..3 {
                let records = all(&Shuffle::Full { seed }, n, 0);
                assert!(is_permutation(&records));
                assert!((displacement(&records) - 1.0 / 3.0).abs() < 0.004, "{n} {seed}");
                // About one fixed point, one successor that stayed a successor, and half of the pairs rising.
                let fixed = (0..).zip(&records).filter(|&(place, &record)| place == record).count();
                let neighbours = records.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
                let rising = records.windows(2).filter(|pair| pair[0] < pair[1]).count() as f64 / n as f64;
                assert!(fixed < 10 && neighbours < 10, "{n} {seed}: {fixed} {neighbours}");
                assert!((rising - 0.5).abs() < 0.005, "{n} {seed}: {rising}");
                // The last digit of a place says nothing of the last digit of its record.
                let parity =
                    (0..).zip(&records).filter(|&(place, &record)| (place ^ record) & 1 == 0).count();
                assert!((parity as f64 / n as f64 - 0.5).abs() < 0.01, "{n} {seed}: {parity}");
            }
        }
    }

    #[test]
    fn small_networks_and_tables_reach_all_places_equally() {
        let mut counts = [[0_u32; 6]; 6];
        for seed in 0..6000 {
            for (place, record) in all(&Shuffle::Full { seed }, 6, 3).into_iter().enumerate() {
                counts[place][record as usize] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }

    #[test]
    fn groups_hold_about_the_bytes_asked_for_and_every_record() {
        let lengths: Vec<u32> = (0..1000).map(|n| n * 37 % 900).chain([5_000_000, 3, 0, 0]).collect();
        let groups = groups(&lengths, 10_000);
        assert_eq!(groups.starts.first(), Some(&0));
        assert_eq!(groups.starts.last(), Some(&1004));
        for (group, &weight) in groups.weights.iter().enumerate() {
            let range = groups.range(group);
            let sum: u64 =
                lengths[range.start as usize..range.end as usize].iter().map(|&l| u64::from(l) + 64).sum();
            assert_eq!(sum, weight);
        }
        let usual = |&&weight: &&u64| (10_000..11_000).contains(&weight);
        assert!(groups.weights.iter().filter(usual).count() + 2 >= groups.weights.len());
    }

    #[test]
    fn windows_shuffle_runs_of_groups_and_reach_everything() {
        let lengths = vec![1000; 50_000];
        let shuffle = Shuffle::Windowed { seed: 1, window: 1 << 20, groups: groups(&lengths, 1 << 15) };
        let records = all(&shuffle, 50_000, 0);
        assert!(is_permutation(&records));
        assert!((displacement(&records) - 1.0 / 3.0).abs() < 0.02, "groups go everywhere");
        let order = EpochOrder::new(&shuffle, 50_000, 0);
        let end = order.window_end(0).unwrap();
        assert!((950..1100).contains(&end), "{end}");
        let window = &records[..end as usize];
        let rising = window.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((rising as f64 / end as f64 - 0.5).abs() < 0.06, "{rising} of {end}");
        assert_ne!(records, all(&shuffle, 50_000, 1));
    }

    #[test]
    fn any_part_of_an_order_is_that_part_of_the_whole() {
        let lengths: Vec<u32> = (0..70_000).map(|n| n % 100).collect();
        let windowed = Shuffle::Windowed { seed: 9, window: 100_000, groups: groups(&lengths, 5000) };
        for shuffle in [Shuffle::Sequential, Shuffle::Full { seed: 9 }, windowed] {
            let whole = all(&shuffle, 70_000, 5);
            let mut order = EpochOrder::new(&shuffle, 70_000, 5);
            for range in [0..1, 69_999..70_000, 40_000..41_000, 100..10_000, 0..0] {
                let mut part = Vec::new();
                order.records(range.clone(), &mut part);
                assert_eq!(part, whole[range.start as usize..range.end as usize]);
            }
        }
    }

    #[test]
    fn orders_are_the_same_in_every_version_and_on_every_platform() {
        let windowed = Shuffle::Windowed { seed: 42, window: 600, groups: groups(&[36; 12], 200) };
        assert_eq!(all(&Shuffle::Full { seed: 42 }, 12, 3), GOLDEN_FULL);
        assert_eq!(all(&windowed, 12, 3), GOLDEN_WINDOWED);
        let mut many = Vec::new();
        EpochOrder::new(&Shuffle::Full { seed: 42 }, 100_000_000, 3).records(0..4, &mut many);
        assert_eq!(many, GOLDEN_MANY);
    }

    const GOLDEN_FULL: [u64; 12] = [3, 8, 0, 2, 7, 11, 1, 4, 5, 10, 6, 9];
    const GOLDEN_WINDOWED: [u64; 12] = [5, 10, 2, 4, 11, 3, 8, 7, 0, 6, 1, 9];
    const GOLDEN_MANY: [u64; 4] = [81_573_740, 42_403_641, 97_972_378, 21_508_896];
}

//! Maps of integers: how fast a key is found, beside a binary search in a sorted array and a hash map.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use vldepot::maps::IntMap;
use vldepot_benches::{fact, median};

const ROUNDS: usize = 5;
const LOOKUPS: usize = 1_000_000;

/// Numbers without a pattern: SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Nanoseconds of a lookup, and the sum of what was found.
fn lookups(keys: &[u64], mut find: impl FnMut(u64) -> Option<u64>) -> (f64, u64) {
    let start = Instant::now();
    let sum = keys.iter().filter_map(|&key| find(black_box(key))).fold(0, u64::wrapping_add);
    (start.elapsed().as_secs_f64() * 1e9 / keys.len() as f64, sum)
}

fn main() {
    for n in [1_000_u64, 100_000, 10_000_000] {
        let pairs = || (0..n).map(|number| (mixed(number), number));
        let bytes = IntMap::build(pairs());
        let mut sorted: Vec<(u64, u64)> = pairs().collect();
        sorted.sort_unstable();
        let hashed: HashMap<u64, u64> = pairs().collect();
        let map = IntMap::open(&bytes).unwrap();
        let unchecked = IntMap::open(&bytes).unwrap().with_checks(false);
        // One of two keys is not there.
        let keys: Vec<u64> = (0..LOOKUPS as u64).map(|at| mixed(mixed(at) % (2 * n))).collect();
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let found = [
                lookups(&keys, |key| map.find(key).unwrap()),
                lookups(&keys, |key| unchecked.find(key).unwrap()),
                lookups(&keys, |key| {
                    sorted.binary_search_by_key(&key, |&(key, _)| key).ok().map(|at| sorted[at].1)
                }),
                lookups(&keys, |key| hashed.get(&key).copied()),
            ];
            assert!(found.iter().all(|(_, sum)| *sum == found[0].1), "all find the same");
            for (times, (time, _)) in times.iter_mut().zip(found) {
                times.push(time);
            }
        }
        let [map, unchecked, array, hashed] = times.map(median);
        fact(&format!("{n} entries, time over that in a sorted array"), format!("{:.2}", map / array));
        fact(&format!("{n} entries, without checks"), format!("{:.2}", unchecked / array));
        fact(&format!("{n} entries, a hash map of the standard library"), format!("{:.2}", hashed / array));
        fact(&format!("{n} entries, ns in a sorted array"), format!("{array:.0}"));
    }
}

//! Names in their order, and what lies under them: compared with a map of the standard library, through
//! commits, merges, removals, and reopening.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{CommitEvery, Depot, Key, Layout, Mapping, OpenOptions, Raw, WriteOptions};

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

fn layout(filters: bool, order: bool) -> Layout {
    let small = Layout::default().with_chunk_size(1 << 16).with_block_size(1 << 12);
    small.with_name_filters(filters).with_name_order(order)
}

fn name(n: u64) -> Key {
    match n % 7 {
        0 => Key::from(i64::try_from(n).unwrap() - 300),
        1 => Key::from(vec![0xff, n.to_le_bytes()[0], n.to_le_bytes()[1]]),
        2 => Key::from(format!("\u{10ffff}{n}")),
        _ => Key::from(format!("run_{}/frame_{:03}", n % 5, n * 7919 % 1000)),
    }
}

/// Live names with the lengths of their records.
type Model = BTreeMap<Key, u64>;

fn check(depot: &Depot<Raw>, model: &Model, seed: &mut u64, what: &str) {
    let keys = |range: (Bound<Key>, Bound<Key>)| -> Vec<Key> {
        depot.sorted_keys(range).unwrap().map(Result::unwrap).collect()
    };
    let all: Vec<Key> = model.keys().cloned().collect();
    assert_eq!(keys((Bound::Unbounded, Bound::Unbounded)), all, "{what}");
    for _ in 0..20 {
        let (a, b) = (name(random(seed) % 700), name(random(seed) % 700));
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        let bound = |key: Key, n: u64| match n % 3 {
            0 => Bound::Included(key),
            1 => Bound::Excluded(key),
            _ => Bound::Unbounded,
        };
        let range = (bound(a.clone(), random(seed)), bound(b.clone(), random(seed)));
        // A range of nothing is an error for the map alone.
        let expected: Vec<(&Key, &u64)> =
            if a == b { Vec::new() } else { model.range(range.clone()).collect() };
        if a == b {
            continue;
        }
        let listed = keys(range.clone());
        assert!(listed.iter().eq(expected.iter().map(|(key, _)| *key)), "{what}: {range:?}");
        let mut ends = depot.sorted_keys(range.clone()).unwrap();
        assert_eq!(ends.len(), expected.len(), "{what}");
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while ends.len() > 0 {
            if random(seed).is_multiple_of(2) {
                front.extend(ends.next().map(Result::unwrap));
            } else {
                back.extend(ends.next_back().map(Result::unwrap));
            }
        }
        assert!(ends.next().is_none() && ends.next_back().is_none());
        back.reverse();
        assert_eq!([front, back].concat(), listed, "{what}: from both ends");
        let totals = depot.totals(range).unwrap();
        let bytes: u64 = expected.iter().map(|(_, length)| **length).sum();
        assert_eq!((totals.records, totals.raw_bytes), (expected.len() as u64, bytes), "{what}");
    }
    for prefix in ["", "run_", "run_3/", "run_3/frame_1", "nothing", "\u{10ffff}"] {
        let inside: Vec<(&Key, &u64)> = model
            .iter()
            .filter(|(key, _)| key.as_str().is_some_and(|name| name.starts_with(prefix)))
            .collect();
        let listed: Vec<Key> = depot.keys_with_prefix(prefix).map(Result::unwrap).collect();
        assert!(listed.iter().eq(inside.iter().map(|(key, _)| *key)), "{what}: {prefix}");
        let totals = depot.totals_with_prefix(prefix).unwrap();
        let bytes: u64 = inside.iter().map(|(_, length)| **length).sum();
        assert_eq!((totals.records, totals.raw_bytes), (inside.len() as u64, bytes), "{what}: {prefix}");
    }
    for n in 0..60 {
        let key = name(n * 11);
        assert_eq!(depot.contains(&key).unwrap(), model.contains_key(&key), "{what}: {key}");
    }
}

fn reader(storage: &Arc<dyn Storage>, mapping: Mapping) -> Depot<Raw> {
    let options = OpenOptions::default().with_mapping(mapping);
    Depot::builder(Raw).open_options(options).open_in(Arc::clone(storage)).unwrap()
}

#[test]
fn a_depot_lists_and_counts_as_a_sorted_map_does() {
    let rounds = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 40 } else { 6 };
    for (round, (filters, order)) in (0..rounds)
        .flat_map(|round| [(true, true), (false, false), (true, false)].map(|options| (round, options)))
    {
        let mut seed = 1000 * round + 7;
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let write = WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never());
        let make = Depot::builder(Raw).layout(layout(filters, order)).write_options(write.clone());
        let mut depot = make.create_in(Arc::clone(&storage)).unwrap();
        let mut model = Model::new();
        for step in 0..12 {
            for _ in 0..random(&mut seed) % 300 {
                let key = name(random(&mut seed) % 700);
                match random(&mut seed) % 5 {
                    0 => {
                        assert_eq!(depot.remove(&key).unwrap(), model.remove(&key).is_some());
                    }
                    1 if model.contains_key(&key) => depot.set_metadata(&key, &step).unwrap(),
                    _ => {
                        let length = random(&mut seed) % 300;
                        depot.put(&key, &vec![7; usize::try_from(length).unwrap()]).unwrap();
                        model.insert(key, length);
                    }
                }
            }
            let what = format!("round {round}, step {step}, filters {filters}, order {order}");
            check(&depot, &model, &mut seed, &what);
            match random(&mut seed) % 4 {
                0 => {}
                1 => {
                    depot.close().unwrap();
                    let append = Depot::builder(Raw).write_options(write.clone());
                    depot = append.append_in(Arc::clone(&storage)).unwrap();
                    check(&depot, &model, &mut seed, &what);
                }
                _ => {
                    depot.commit().unwrap();
                    for mapping in [Mapping::Auto, Mapping::Never] {
                        check(&reader(&storage, mapping), &model, &mut seed, &what);
                    }
                }
            }
        }
        let info = depot.info().unwrap();
        assert_eq!((info.layout.name_filters, info.layout.name_order), (filters, order));
    }
}

#[test]
fn the_order_and_the_filters_cost_what_they_say() {
    let size = |filters: bool, order: bool, sorted: bool| {
        let depot = Depot::builder(Raw).layout(layout(filters, order)).memory().unwrap();
        for n in 0..50_000_u64 {
            let n = if sorted { n } else { n * 7919 % 50_000 };
            depot.put(format!("frame_{n:06}"), b"").unwrap();
        }
        depot.commit().unwrap();
        f64::from(u32::try_from(depot.info().unwrap().index_bytes).unwrap())
    };
    for sorted in [false, true] {
        let plain = size(false, false, sorted);
        let (filters, order) = (size(true, false, sorted) - plain, size(false, true, sorted) - plain);
        let most = if sorted { 0.6 } else { 5.0 };
        assert!(filters > 0.0 && filters / 50_000.0 <= 1.5, "{filters}");
        assert!(order > 0.0 && order / 50_000.0 <= most, "{order}");
    }
}

#[test]
fn a_damaged_index_lists_by_the_directories() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let write = WriteOptions::default().with_threads(0);
    let depot = Depot::builder(Raw).layout(layout(true, true)).write_options(write);
    let depot = depot.create_in(Arc::clone(&storage)).unwrap();
    let names: Vec<String> = (0..5000_u32).map(|n| format!("run_{}/{:05}", n % 3, n * 7919 % 5000)).collect();
    for (n, name) in names.iter().enumerate() {
        depot.put(name, &vec![1; n % 50]).unwrap();
    }
    depot.close().unwrap();
    let mut sorted = names;
    sorted.sort();
    let mut whole = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut whole).unwrap();
    let index =
        (4160..whole.len()).step_by(64).find(|&at| whole[at..].starts_with(b"\x8bVLD") && whole[at + 8] == 2);
    let index = index.unwrap();
    let length =
        usize::try_from(u64::from_le_bytes(whole[index + 40..index + 48].try_into().unwrap())).unwrap();
    let mut fell_back = 0;
    for page in (index + 1000..index + length).step_by(4096) {
        let mut bytes = whole.clone();
        bytes[page] ^= 0x10;
        let depot = Depot::builder(Raw).open_in(Arc::new(MemoryStorage::from_bytes(&bytes))).unwrap();
        let listed: Vec<String> =
            depot.keys_with_prefix("run_").map(|key| key.unwrap().to_string()).collect();
        assert_eq!(listed, sorted, "a flip at byte {page}");
        let last = depot.keys_with_prefix("run_").next_back().unwrap().unwrap();
        assert_eq!(last.as_str(), sorted.last().map(String::as_str));
        let totals = depot.totals_with_prefix("run_1/").unwrap();
        assert_eq!(
            (totals.records, totals.raw_bytes),
            (1667, (0..5000_u64).filter(|n| n % 3 == 1).map(|n| n % 50).sum())
        );
        fell_back += 1;
    }
    assert!(fell_back > 10);
}

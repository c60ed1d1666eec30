//! A depot with a damaged index.
//!
//! As long as the directories of the chunks are whole, all ways of reading give the same, which is
//! everything. What was removed stays removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use vldepot::loader::OnError;
use vldepot::maintain::{VerifyOptions, compact_into, verify_in};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{Depot, ErrorKind, Key, Layout, Raw};

fn name(n: u32) -> String {
    format!("frame_{n:06}")
}

fn payload(n: u32) -> [u8; 12] {
    let mut bytes = [7; 12];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn storage(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

fn open(bytes: &[u8]) -> Depot<Raw> {
    Depot::builder(Raw).open_in(storage(bytes)).unwrap()
}

/// Where `what` stands in the file.
fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

/// Checks that every way of reading gives `expected`, in that order.
fn check_all_ways(depot: &Depot<Raw>, expected: &[(String, u32)], what: &str) {
    assert_eq!(depot.len(), expected.len() as u64, "{what}");
    let keys: Vec<_> = depot.keys().map(|key| key.unwrap().to_string()).collect();
    assert!(keys.iter().eq(expected.iter().map(|(name, _)| name)), "{what}: keys");
    let items = depot.iter().map(|entry| entry.unwrap());
    let mut count = 0;
    for ((key, record), (name, n)) in items.zip(expected) {
        assert_eq!((key, record.view()), (Key::Str(name.clone()), &payload(*n)[..]), "{what}: iter");
        count += 1;
    }
    assert_eq!(count, expected.len(), "{what}: iter");
    for (position, (name, n)) in (0..).zip(expected) {
        assert_eq!(depot.get(name).unwrap().view(), payload(*n), "{what}: {name}");
        assert_eq!(depot.get_at(position).unwrap().view(), payload(*n), "{what}: {position}");
        assert_eq!(depot.key_at(position).unwrap().as_str(), Some(&**name), "{what}: {position}");
    }
    let loader = depot.loader().on_error(OnError::Skip).build().unwrap();
    let loaded: usize = loader.map(|batch| batch.unwrap().len()).sum();
    assert_eq!(loaded, expected.len(), "{what}: loader");
}

#[test]
fn a_flip_in_a_block_of_names_costs_no_way_of_reading_a_record() {
    for (n, at) in [(160, 64), (20_000, 9600)] {
        let depot = Depot::memory(Raw).unwrap();
        let expected: Vec<_> = (0..n).map(|n| (name(n), n)).collect();
        for (name, n) in &expected {
            depot.put(name, &payload(*n)).unwrap();
        }
        let mut bytes = depot.to_bytes().unwrap();
        // The index stores the first name of a block of 16 in full.
        let place = find(&bytes, name(at).as_bytes());
        bytes[place] ^= 1;
        check_all_ways(&open(&bytes), &expected, &format!("{n} records"));

        let report = verify_in(storage(&bytes), &VerifyOptions::default(), |_| {}).unwrap();
        assert!(!report.is_whole() && report.damaged_records.is_empty(), "{report:?}");
        assert_eq!(report.records_read, u64::from(n));
        // Compacting sees everything, so it is allowed.
        let compacted = storage(&[]);
        compact_into(storage(&bytes), Arc::clone(&compacted), |_| {}).unwrap();
        let compacted = Depot::builder(Raw).open_in(compacted).unwrap();
        check_all_ways(&compacted, &expected, "compacted");
    }
}

#[test]
fn any_damaged_page_of_any_segment_is_made_up_for() {
    let options = Layout::default().with_chunk_size(4096).with_block_size(1024);
    let storage = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(Raw).layout(options).create_in(Arc::clone(&storage) as _).unwrap();
    let mut content: Vec<(String, u32)> = Vec::new();
    for round in 0..4 {
        for n in 0..300 {
            let n = 200 * round + n;
            depot.put_with_metadata(name(n), &payload(n + round), &n).unwrap();
            content.retain(|(old, _)| *old != name(n));
            content.push((name(n), n + round));
        }
        depot.remove(name(200 * round + 7)).unwrap();
        content.retain(|(old, _)| *old != name(200 * round + 7));
        depot.commit().unwrap();
    }
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    let segments: Vec<usize> = (4160..bytes.len())
        .step_by(64)
        .filter(|&at| bytes[at..].starts_with(b"\x8bVLD\r\n\x1a\0") && bytes[at + 8] == 2)
        .collect();
    assert!(segments.len() >= 4, "{segments:?}");
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for segment in segments {
        let len = usize::try_from(word(segment + 40)).unwrap();
        for at in (segment..segment + len).step_by(1501) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let depot = open(&damaged);
            check_all_ways(&depot, &content, &format!("byte {at}"));
            let n: u32 = content[5].0[6..].parse().unwrap();
            assert_eq!(depot.metadata::<serde_json::Value>(&content[5].0).unwrap(), Some(n.into()));
        }
    }
}

#[test]
fn a_damaged_newer_segment_brings_no_removed_name_back() {
    let storage = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(Raw).create_in(Arc::clone(&storage) as _).unwrap();
    for (name, n) in [("aaaa", 1), ("bbbb", 2), ("cccc", 3)] {
        depot.put(name, &payload(n)).unwrap();
    }
    depot.commit().unwrap();
    depot.put("aaaa", &payload(4)).unwrap();
    depot.remove("bbbb").unwrap();
    depot.commit().unwrap();
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    let last = bytes.windows(4).rposition(|window| window == b"aaaa").unwrap();
    bytes[last] ^= 1;
    let expected = [("cccc".to_owned(), 3), ("aaaa".to_owned(), 4)];
    let depot = open(&bytes);
    check_all_ways(&depot, &expected, "second segment");
    assert!(matches!(depot.get("bbbb").unwrap_err().kind(), ErrorKind::NotFound));
    assert!(!depot.contains("bbbb").unwrap());
    let report = verify_in(Arc::new(MemoryStorage::from_bytes(&bytes)), &VerifyOptions::default(), |_| {});
    let report = report.unwrap();
    assert_eq!((report.records, report.records_read), (2, 2), "{report:?}");
    assert!(report.damaged_records.is_empty() && !report.problems.is_empty(), "{report:?}");

    // If the directories cannot tell either, listing gives an error in place of a name that may be dead.
    let chunk = find(&bytes, b"\x8bVLD\r\n\x1a\0");
    bytes[chunk + 70] ^= 1;
    let depot = open(&bytes);
    assert!(depot.keys().filter_map(Result::ok).all(|key| key.as_str() != Some("bbbb")));
    assert!(depot.keys().any(|key| key.is_err_and(|error| error.is_damage())));
    assert!(depot.iter().any(|entry| entry.is_err()));
}

#[test]
fn a_writer_reads_all_ways_over_a_damaged_index_too() {
    let depot = Depot::memory(Raw).unwrap();
    let n = 3000;
    for n in 0..n {
        depot.put(name(n), &payload(n)).unwrap();
    }
    let mut bytes = depot.to_bytes().unwrap();
    let place = find(&bytes, name(1600).as_bytes());
    bytes[place] ^= 1;
    let writer = Depot::from_bytes(&bytes, Raw).unwrap();
    let mut content: BTreeMap<String, u32> = (0..n).map(|n| (name(n), n)).collect();
    // Records on whole pages are replaced and removed, and new ones are added.
    let mut order: Vec<String> = content.keys().cloned().collect();
    for n in [3, 5, 7] {
        assert!(writer.remove(name(n)).unwrap());
        content.remove(&name(n));
        order.retain(|other| *other != name(n));
    }
    for n in [11, 4000, 4001] {
        writer.put(name(n), &payload(n + 1)).unwrap();
        content.insert(name(n), n + 1);
        order.retain(|other| *other != name(n));
        order.push(name(n));
    }
    let expected: Vec<_> = order.into_iter().map(|name| (name.clone(), content[&name])).collect();
    assert_eq!(writer.len(), expected.len() as u64);
    let keys: Vec<_> = writer.keys().map(|key| key.unwrap().to_string()).collect();
    assert!(keys.iter().eq(expected.iter().map(|(name, _)| name)));
    for (position, (name, n)) in (0..).zip(&expected) {
        assert_eq!(writer.get(name).unwrap().view(), payload(*n), "{name}");
        assert_eq!(writer.get_at(position).unwrap().view(), payload(*n), "{position}");
        assert_eq!(writer.key_at(position).unwrap().as_str(), Some(&**name), "{position}");
    }
    assert!(matches!(writer.get(name(5)).unwrap_err().kind(), ErrorKind::NotFound));
}

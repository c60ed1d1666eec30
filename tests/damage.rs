//! Damaged files: every record reads back as it was put, or is an error. There are never wrong bytes, a
//! panic or a hang.
//!
//! `VLDEPOT_LONG_TESTS=1` tries many more cases.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::sync::Arc;

use vldepot::storage::MemoryStorage;
use vldepot::{Depot, ErrorKind, Layout, Mapping, OpenOptions, Raw, WriteOptions};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

fn payload(n: u32) -> Vec<u8> {
    (0..100 + n as usize * 37 % 1500).map(|i| (i as u8 / 3).wrapping_mul(5) ^ (n as u8)).collect()
}

const N: u32 = 80;

/// A depot that is closed, or has a writer that went on after its last commit.
fn depot(preset: &Layout, closed: bool) -> Vec<u8> {
    let options = preset.clone().with_chunk_size(8192).with_block_size(1024);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.vld");
    let depot = Depot::builder(Raw).layout(options).write_options(writing()).create(&path).unwrap();
    for n in 0..N {
        depot.put_with_metadata(format!("frame_{n:04}"), &payload(n), &n).unwrap();
        if n % 25 == 24 {
            depot.commit().unwrap();
        }
    }
    depot.set_depot_metadata("kind", "test").unwrap();
    if closed {
        depot.close().unwrap();
        return std::fs::read(&path).unwrap();
    }
    depot.flush().unwrap();
    std::fs::read(&path).unwrap()
}

#[derive(Debug, Default)]
struct Tally {
    cases: u32,
    refused_whole: u32,
    /// Cases that cost nothing. The next fields count those that cost more.
    harmless: u32,
    one_chunk: u32,
    /// Records that cannot be looked up, because a page of the index is damaged.
    index_page: u32,
    wider: u32,
    /// Cases in which a record is said not to exist, because only an older state could be opened.
    missing: u32,
}

/// Reads everything in `bytes`, in every way.
fn examine(bytes: &[u8], committed: u32, tally: &mut Tally, what: &str) {
    tally.cases += 1;
    let mapping = if tally.cases.is_multiple_of(2) { Mapping::Auto } else { Mapping::Never };
    let options = OpenOptions::default().with_mapping(mapping);
    let Ok(depot) =
        Depot::builder(Raw).open_options(options.clone()).open_in(Arc::new(MemoryStorage::from_bytes(bytes)))
    else {
        tally.refused_whole += 1;
        return;
    };
    let (mut lost, mut missing, mut unasked) = (0, 0, 0);
    let mut chunks = std::collections::BTreeSet::new();
    for n in 0..N {
        let name = format!("frame_{n:04}");
        match depot.get(&name) {
            Ok(record) => assert!(record.view() == payload(n), "{what}: record {n} is wrong"),
            // If a record that no commit covers is damaged, it is a torn end.
            Err(error) if error.is_not_found() && n >= committed => {}
            Err(error) if matches!(error.kind(), ErrorKind::LostCommit { .. }) && n >= committed => {}
            Err(error) if error.is_not_found() => missing += 1,
            Err(error) => {
                assert!(error.is_damage(), "{what}: {error:?}");
                lost += 1;
                match depot.location(&name) {
                    Ok(location) => drop(chunks.insert(location.chunk)),
                    Err(_) => unasked += 1,
                }
            }
        }
        if let Ok(Some(metadata)) = depot.metadata::<serde_json::Value>(&name) {
            assert_eq!(metadata, n, "{what}: metadata of record {n}");
        }
    }
    for (key, record) in depot.iter().flatten() {
        let n: u32 = key.as_str().and_then(|name| name.strip_prefix("frame_")).unwrap().parse().unwrap();
        assert!(record.view() == payload(n), "{what}: record {n}, iterating");
    }
    for key in depot.keys().flatten() {
        assert!(key.as_str().is_some_and(|name| name.starts_with("frame_")), "{what}: the name {key}");
    }
    let metadata =
        depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap_or_default();
    assert!(metadata.get("kind").is_none_or(|kind| kind == "test"), "{what}: {metadata:?}");
    match (missing, lost, chunks.len()) {
        (0, 0, _) => tally.harmless += 1,
        (0, _, 0) if unasked > 0 => tally.index_page += 1,
        (0, _, 1) if unasked == 0 => tally.one_chunk += 1,
        (0, ..) => tally.wider += 1,
        _ => tally.missing += 1,
    }
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

fn rounds() -> u64 {
    if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 5000 } else { 250 }
}

/// For each file: its name, its bytes, and how many records a commit covers.
fn whole_files() -> Vec<(&'static str, Vec<u8>, u32)> {
    vec![
        ("closed", depot(&Layout::default(), true), N),
        ("unclosed", depot(&Layout::default(), false), 75),
        ("uncompressed", depot(&Layout::uncompressed(), true), N),
    ]
}

#[test]
fn flipped_bits_never_give_wrong_bytes_and_stay_in_their_chunk() {
    for (kind, whole, committed) in whole_files() {
        let mut tally = Tally::default();
        let mut state = 1;
        for _ in 0..rounds() {
            let mut bytes = whole.clone();
            let bit = random(&mut state) as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            examine(&bytes, committed, &mut tally, &format!("{kind}: bit {bit}"));
        }
        println!("{kind}, {} bytes, single flips: {tally:?}", whole.len());
        assert_eq!(tally.missing, 0, "{kind}: {tally:?}");
        assert!(tally.refused_whole + tally.wider + tally.index_page == 0, "{kind}: {tally:?}");
    }
}

#[test]
fn overwritten_moved_and_zeroed_ranges_never_give_wrong_bytes() {
    for (kind, whole, committed) in whole_files() {
        let mut tally = Tally::default();
        let mut state = 2;
        for round in 0..rounds() {
            let mut bytes = whole.clone();
            let len = bytes.len();
            let at = random(&mut state) as usize % len;
            let from = random(&mut state) as usize % len;
            match round % 6 {
                0 => {
                    let absurd = [u64::MAX, 1 << 31, 1 << 32, 0, 1 << 62][random(&mut state) as usize % 5];
                    let end = (at + 8).min(len);
                    bytes[at..end].copy_from_slice(&absurd.to_le_bytes()[..end - at]);
                }
                1 => bytes[at / 4096 * 4096..(at / 4096 * 4096 + 4096).min(len)].fill(0),
                2 => {
                    let n = 4096.min(len - at.max(from));
                    bytes.copy_within(from..from + n, at);
                }
                3 => {
                    let part = bytes[from..(from + 3000).min(len)].to_vec();
                    bytes.splice(at..at, part);
                }
                4 => {
                    bytes.drain(at..(at + 700).min(len));
                }
                _ => bytes.truncate(at),
            }
            examine(&bytes, committed, &mut tally, &format!("{kind}: round {round} at {at} from {from}"));
        }
        println!("{kind}, {} bytes, ranges: {tally:?}", whole.len());
    }
}

#[test]
fn damaged_heads_with_right_checksums_are_refused_or_right() {
    // An attacker can make checksums match, so lengths and offsets must be bounded all the same.
    let whole = depot(&Layout::default(), true);
    let mut tally = Tally::default();
    let mut state = 3;
    let mut entries = Vec::new();
    let mut at = 4160;
    while at + 64 <= whole.len() && whole[at..].starts_with(b"\x8bVLD") {
        entries.push(at);
        at += u64::from_le_bytes(whole[at + 40..at + 48].try_into().unwrap()) as usize;
    }
    for round in 0..rounds() {
        let mut bytes = whole.clone();
        let entry = entries[random(&mut state) as usize % entries.len()];
        let field = 8 + random(&mut state) as usize % 52;
        bytes[entry + field] = random(&mut state) as u8;
        let crc = crc32c::crc32c(&bytes[entry..entry + 60]);
        bytes[entry + 60..entry + 64].copy_from_slice(&crc.to_le_bytes());
        if round % 2 == 0 {
            // Also damages the prelude or the start of the body.
            let prelude = entry + 64 + random(&mut state) as usize % 48;
            bytes[prelude] = random(&mut state) as u8;
            let crc = crc32c::crc32c(&bytes[entry + 64..entry + 128]);
            bytes[entry + 12..entry + 16].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[entry..entry + 60]);
            bytes[entry + 60..entry + 64].copy_from_slice(&crc.to_le_bytes());
        }
        // A slot saves the reader a search. Without slots it has to walk over everything.
        bytes[3072..3136].fill(0);
        bytes[3584..3648].fill(0);
        examine(&bytes, N, &mut tally, &format!("forged, round {round} at {entry} + {field}"));
    }
    println!("forged heads: {tally:?}");
}

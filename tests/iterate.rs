//! Iterating on threads gives what iterating alone gives.
//!
//! The records and errors are the same and in the same order, whoever reads them, wherever it ends, and
//! in a fork.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::sync::Arc;

use proptest::prelude::*;
use vldepot::storage::MemoryStorage;
use vldepot::{
    Codec, CodecError, Depot, Error, Iter, Key, KeyRef, Layout, Mapping, OpenOptions, Raw, ReadOptions,
    RecordRef, Scan, WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

const N: u64 = 6000;

/// Runs `job` in a fork. Panics if it returns false, or does not end.
#[cfg(unix)]
fn in_child(job: impl FnOnce() -> bool) {
    // SAFETY: the child reads, which depots promise to work there, and leaves without unwinding or running
    // exit handlers.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).unwrap_or(false);
        // SAFETY: ends this process, always.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let start = std::time::Instant::now();
    let mut status = 0;
    // SAFETY: a child of ours, and a pointer to an int that lives.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if start.elapsed() > std::time::Duration::from_secs(60) {
            // SAFETY: a child of ours that was not waited for yet.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(status, 0, "the child reads something else");
}

/// Payloads of many lengths: none, a few bytes, more than a chunk.
fn payload(n: u64) -> Vec<u8> {
    let len = match n % 1000 {
        7 => 0,
        31 => 1_200_000,
        k => 40 + k as usize * 7 % 5000,
    };
    (0..len).map(|i| ((i as u64 * (n % 13 + 1)) >> 3) as u8).collect()
}

fn options(preset: &Layout) -> Layout {
    preset.clone().with_chunk_size(1 << 20).with_block_size(1 << 14)
}

fn fill(depot: &Depot<Raw>) {
    (0..N).for_each(|n| depot.put(n, &payload(n)).unwrap());
}

/// Names and bytes, or what the error says.
fn listed(iter: Iter<'_, Raw>) -> Vec<Result<(String, Vec<u8>), String>> {
    let item =
        |(key, record): (vldepot::Key, vldepot::Record<Raw>)| (key.to_string(), record.view().to_vec());
    iter.map(|entry| entry.map(item).map_err(|error: Error| error.to_string())).collect()
}

/// What a scan lends, in the form of [`listed`].
fn lent(mut scan: Scan<'_, Raw>) -> Vec<Result<(String, Vec<u8>), String>> {
    let mut all = Vec::new();
    while let Some(entry) = scan.next() {
        let item =
            |(key, record): (KeyRef<'_>, RecordRef<'_, Raw>)| (key.to_string(), record.view().to_vec());
        all.push(entry.map(item).map_err(|error| error.to_string()));
    }
    assert!(scan.next().is_none());
    all
}

#[test]
fn threads_give_what_one_gives_while_the_depot_is_written_and_after() {
    for preset in [Layout::balanced(), Layout::uncompressed()] {
        let depot = Depot::builder(Raw).layout(options(&preset)).write_options(writing()).memory().unwrap();
        fill(&depot);
        depot.commit().unwrap();
        // Some of these are in the open chunk. Some replace others, which are then dead.
        for n in (0..N + 500).step_by(3) {
            depot.put(n, &payload(n + 1)).unwrap();
        }
        let alone = listed(depot.iter());
        assert_eq!(alone.len() as u64, depot.len());
        assert!(alone.iter().all(Result::is_ok));
        for threads in [0, 2, 3, 8] {
            assert!(
                listed(depot.iter_with(&ReadOptions::default().with_threads(threads))) == alone,
                "{threads} threads"
            );
            let options = ReadOptions::default().with_threads(threads);
            assert!(lent(depot.scan(&options)) == alone, "lent by {threads} threads");
        }
        let whole = depot.to_bytes().unwrap();
        for mapping in [Mapping::Auto, Mapping::Never] {
            let storage = Arc::new(MemoryStorage::from_bytes(&whole));
            let open = OpenOptions::default().with_mapping(mapping);
            let closed = Depot::builder(Raw).open_options(open.clone()).open_in(storage).unwrap();
            assert!(
                listed(closed.iter_with(&ReadOptions::default().with_threads(2))) == alone,
                "{mapping:?}"
            );
            assert!(lent(closed.scan(&ReadOptions::default())) == alone, "lent, {mapping:?}");
        }
    }
}

#[test]
fn damage_is_the_same_error_in_the_same_place_on_threads() {
    for preset in [Layout::balanced(), Layout::uncompressed()] {
        let depot = Depot::builder(Raw).layout(options(&preset)).write_options(writing()).memory().unwrap();
        fill(&depot);
        let whole = depot.to_bytes().unwrap();
        let mut damaged = 0;
        for round in 1..8 {
            let mut bytes = whole.clone();
            let at = whole.len() * round / 8;
            bytes[at] ^= 0x40;
            let depot = Depot::builder(Raw).open_in(Arc::new(MemoryStorage::from_bytes(&bytes)));
            let Ok(depot) = depot else { continue };
            let alone = listed(depot.iter());
            assert!(listed(depot.iter_with(&ReadOptions::default().with_threads(3))) == alone, "byte {at}");
            for threads in [1, 3] {
                let options = ReadOptions::default().with_threads(threads);
                assert!(lent(depot.scan(&options)) == alone, "byte {at}, lent by {threads} threads");
            }
            let lost = alone.iter().filter(|entry| entry.is_err()).count();
            let right = alone.iter().flatten().all(|(key, found)| *found == payload(key.parse().unwrap()));
            assert!(right && lost < 40, "byte {at}: {lost} lost");
            damaged += usize::from(lost > 0);
        }
        assert!(damaged > 2, "{damaged}");
    }
}

#[test]
fn an_iteration_may_end_anywhere_and_its_records_live_on() {
    let depot =
        Depot::builder(Raw).layout(options(&Layout::balanced())).write_options(writing()).memory().unwrap();
    fill(&depot);
    depot.commit().unwrap();
    for taken in [0, 1, 2, 300, 2500] {
        let mut iter = depot.iter_with(&ReadOptions::default().with_threads(3));
        let first: Vec<_> = iter.by_ref().take(taken).map(|entry| entry.unwrap().1).collect();
        // If a part of the index is lost, the iterator gives fewer records than the depot has.
        assert_eq!(iter.size_hint(), (0, None));
        drop(iter);
        assert!((0..).zip(&first).all(|(n, record)| record.view() == payload(n)), "{taken} taken");
    }
    let mut iter = depot.iter_with(&ReadOptions::default().with_threads(2));
    assert_eq!(iter.by_ref().count(), N as usize);
    assert!(iter.next().is_none() && iter.size_hint() == (0, None));
}

#[cfg(unix)]
#[test]
fn a_fork_goes_on_from_the_same_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    let depot = Depot::builder(Raw)
        .layout(options(&Layout::balanced()))
        .write_options(writing())
        .create(&path)
        .unwrap();
    fill(&depot);
    depot.close().unwrap();
    for mapping in [Mapping::Auto, Mapping::Never] {
        let depot = Depot::builder(Raw)
            .open_options(OpenOptions::default().with_mapping(mapping))
            .open(&path)
            .unwrap();
        for taken in [0, 1, 700, 2100, 4000, 5999, 6000] {
            let mut iter = depot.iter_with(&ReadOptions::default().with_threads(3));
            assert!(iter.by_ref().take(taken).all(|entry| entry.is_ok()));
            in_child(|| {
                let mut n = taken as u64;
                for entry in iter.by_ref() {
                    let (key, record) = entry.unwrap();
                    assert!(key.to_string() == n.to_string() && record.view() == payload(n));
                    n += 1;
                }
                // The child has an iterator with threads of its own, and drops it in the middle.
                let mut own = depot.iter_with(&ReadOptions::default().with_threads(2));
                n == N && own.by_ref().take(taken).all(|entry| entry.is_ok())
            });
            // A child drops the iterator without using it.
            let unused = depot.iter_with(&ReadOptions::default().with_threads(3));
            let mut slot = Some(std::mem::replace(&mut iter, unused));
            in_child(|| {
                drop(slot.take());
                true
            });
            let left = slot.map_or(0, Iterator::count);
            assert_eq!(left, N as usize - taken, "the parent does not notice");
        }
    }
}

#[test]
fn damage_of_small_records_costs_the_same_records_lent_or_kept_or_by_name() {
    let layout = Layout::uncompressed().with_chunk_size(8192).with_block_size(1024);
    let depot = Depot::builder(Raw).layout(layout).write_options(writing()).memory().unwrap();
    let payload = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    for n in 0..300 {
        depot.put(format!("record_{n:04}"), &payload(n)).unwrap();
        if n == 170 {
            depot.commit().unwrap();
        }
    }
    assert!(depot.remove("record_0100").unwrap());
    let whole = depot.to_bytes().unwrap();
    let mut damaged = 0;
    for at in (0..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let Ok(depot) = Depot::builder(Raw).open_in(Arc::new(MemoryStorage::from_bytes(&bytes))) else {
            continue;
        };
        let alone = listed(depot.iter());
        assert!(lent(depot.scan(&ReadOptions::default())) == alone, "byte {at}");
        for (name, found) in alone.iter().flatten() {
            assert_eq!(*found, payload(name["record_".len()..].parse().unwrap()), "byte {at}");
        }
        let by_name = (0..300).filter(|n| depot.get(format!("record_{n:04}")).is_ok()).count();
        assert_eq!(alone.iter().filter(|entry| entry.is_ok()).count(), by_name, "byte {at}");
        damaged += usize::from(by_name < 299);
    }
    assert!(damaged > 20, "{damaged}");
}

#[derive(Debug, Clone)]
enum Change {
    Put(u16, u16),
    Remove(u16),
    Commit,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => (0..200_u16, 0..300_u16).prop_map(|(name, len)| Change::Put(name, len)),
        2 => (0..200_u16).prop_map(Change::Remove),
        1 => Just(Change::Commit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_scan_lends_the_records_in_the_order_of_insertion(
        changes in proptest::collection::vec(change(), 0..400),
        compressed: bool,
        ordered: bool,
    ) {
        let layout = if compressed { Layout::balanced() } else { Layout::uncompressed() };
        let layout = layout.with_chunk_size(4096).with_block_size(1024);
        let depot = Depot::builder(Raw).layout(layout).write_options(writing()).memory().unwrap();
        let mut expected: Vec<(String, Vec<u8>)> = Vec::new();
        // Names of every kind, and for a part of the depots, names that come in order.
        let name = |n: u16, nth: usize| match n % 5 {
            _ if ordered => Key::from(format!("{:05}", nth / 2 * 200 + usize::from(n % 3))),
            0 => Key::from(i64::from(n) - 100),
            1 => Key::from(vec![0xff, n as u8]),
            2 => Key::from("x".repeat(usize::from(n))),
            _ => Key::from(format!("record_{n:04}")),
        };
        for (nth, change) in changes.into_iter().enumerate() {
            match change {
                Change::Put(n, len) => {
                    let (key, bytes) = (name(n, nth), vec![len as u8; usize::from(len)]);
                    depot.put(&key, &bytes).unwrap();
                    expected.retain(|(other, _)| *other != key.to_string());
                    expected.push((key.to_string(), bytes));
                }
                Change::Remove(n) => {
                    let key = name(n, nth);
                    let before = expected.len();
                    expected.retain(|(other, _)| *other != key.to_string());
                    assert_eq!(depot.remove(&key).unwrap(), expected.len() < before);
                }
                Change::Commit => depot.commit().unwrap(),
            }
        }
        let expected: Vec<Result<_, String>> = expected.into_iter().map(Ok).collect();
        let reopened = MemoryStorage::from_bytes(&depot.to_bytes().unwrap());
        let reopened = Depot::builder(Raw).open_in(Arc::new(reopened)).unwrap();
        for depot in [&depot, &reopened] {
            assert_eq!(listed(depot.iter()), expected);
            assert_eq!(lent(depot.scan(&ReadOptions::default())), expected);
        }
    }
}

/// Bytes that do not begin with a brace.
#[derive(Debug)]
struct NoBrace;

impl Codec for NoBrace {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "no-brace";
    const ALIGN: usize = 64;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        if bytes.starts_with(b"{") { Err(CodecError::length("a record", 0, bytes.len())) } else { Ok(bytes) }
    }
}

#[test]
fn what_the_codec_refuses_is_an_error_in_its_place() {
    let depot = Depot::memory(NoBrace).unwrap();
    depot.put("first", b"abc").unwrap();
    depot.put("braced", b"{").unwrap();
    depot.put("last", &[7; 64]).unwrap();
    for threads in [1, 2] {
        let mut scan = depot.scan(&ReadOptions::default().with_threads(threads));
        let mut found = Vec::new();
        while let Some(entry) = scan.next() {
            found.push(entry.map(|(key, record)| {
                assert_eq!(record.as_bytes().as_ptr() as usize % 64, 0);
                (key.to_string(), record.view().len(), record.is_empty())
            }));
        }
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].as_ref().unwrap(), &("first".to_owned(), 3, false));
        assert_eq!(found[2].as_ref().unwrap(), &("last".to_owned(), 64, false));
        let refused = found[1].as_ref().unwrap_err();
        assert!(matches!(refused.kind(), vldepot::ErrorKind::Codec { codec: "no-brace" }));
        assert_eq!(refused.record(), Some("\"braced\""));
    }
}

//! Iterating on threads gives what iterating alone gives.
//!
//! The records and errors are the same and in the same order, whoever reads them, wherever it ends, and
//! in a fork.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::sync::Arc;

use vldepot::storage::MemoryStorage;
use vldepot::{Depot, Error, Iter, Layout, Mapping, OpenOptions, Raw, ReadOptions, WriteOptions};

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

//! How many requests a depot makes, and how many of them wait for each other, if its storage cannot map.
//!
//! `cargo test --release --test rounds -- --nocapture` prints the counts that stand in
//! `docs/explanation/scale.md`.

use std::sync::Arc;

use vldepot::storage::{MemoryStorage, Storage};
use vldepot::testing::{CountingStorage, Counts};
use vldepot::{CommitEvery, Depot, ErrorKind, Layout, Raw, WriteOptions};

type Counting = Arc<CountingStorage<MemoryStorage>>;

/// Names for `get_many`.
const MANY: u64 = 256;

fn name(n: u64) -> String {
    format!("run_0012/frame_{n:07}")
}

/// Numbers that look random.
fn mixed(n: u64) -> u64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}

/// A record that compresses to about half of its length.
fn payload(n: u64, len: usize) -> Vec<u8> {
    let noise = (0..len as u64 / 16).flat_map(|word| mixed(n ^ word << 40).to_le_bytes());
    noise.chain(std::iter::repeat(7)).take(len).collect()
}

/// A closed depot with `n` records of `len` bytes, and one index segment.
fn closed(n: u64, len: usize, layout: Layout) -> Counting {
    let write = WriteOptions::default().with_commit_every(CommitEvery::never());
    let depot = Depot::builder(Raw).layout(layout).write_options(write).memory().unwrap();
    for number in 0..n {
        depot.put(name(number), &payload(number, len)).unwrap();
    }
    depot.commit().unwrap();
    assert_eq!(depot.info().unwrap().index_segments, 1);
    Arc::new(CountingStorage::new(MemoryStorage::from_bytes(&depot.to_bytes().unwrap())))
}

fn open(storage: &Counting) -> Depot<Raw> {
    Depot::builder(Raw).open_in(storage.clone()).unwrap()
}

/// What reading takes.
struct Measured {
    open: Counts,
    /// The first record after opening, the same again, and another one behind it.
    cold: Counts,
    again: Counts,
    neighbour: Counts,
    /// The first name after opening, which is absent.
    absent: Counts,
    /// The first position after opening.
    at: Counts,
    /// [`MANY`] names after opening.
    many: Counts,
    /// All records, in order.
    all: Counts,
    /// All records, shuffled by a loader.
    shuffled: Counts,
}

fn measure(storage: &Counting, n: u64, len: usize) -> Measured {
    storage.take();
    let depot = open(storage);
    let opened = storage.take();
    let wanted = n / 3;
    let get = |wanted: u64| {
        assert!(depot.get(name(wanted)).unwrap().view() == payload(wanted, len));
        storage.take()
    };
    let (cold, again, neighbour) = (get(wanted), get(wanted), get(wanted + 1));
    drop(depot);
    let depot = open(storage);
    storage.take();
    assert!(matches!(depot.get("absent").unwrap_err().kind(), ErrorKind::NotFound));
    let absent = storage.take();
    drop(depot);
    let depot = open(storage);
    storage.take();
    assert!(depot.get_at(wanted).unwrap().view() == payload(wanted, len));
    let at = storage.take();
    drop(depot);
    let numbers: Vec<u64> = (0..MANY.min(n)).map(|nth| mixed(nth) % n).collect();
    let names: Vec<String> = numbers.iter().copied().map(name).collect();
    let depot = open(storage);
    storage.take();
    let records = depot.get_many(&names).unwrap();
    let many = storage.take();
    assert!(records.iter().zip(&numbers).all(|(record, &n)| record.view() == payload(n, len)));
    drop(depot);
    let depot = open(storage);
    storage.take();
    assert_eq!(depot.iter().map(|entry| entry.unwrap().1.len()).sum::<usize>() as u64, n * len as u64);
    let all = storage.take();
    drop(depot);
    let depot = open(storage);
    storage.take();
    let loader = depot.loader().shuffle(1).batch_size(256).threads(0).build().unwrap();
    assert_eq!(loader.map(|batch| batch.unwrap().len() as u64).sum::<u64>(), n);
    let shuffled = storage.take();
    Measured { open: opened, cold, again, neighbour, absent, at, many, all, shuffled }
}

fn print(what: &str, measured: &Measured) {
    let Measured { open, cold, again, neighbour, absent, at, many, all, shuffled } = measured;
    println!("{what}");
    for (which, counts) in [
        ("open", open),
        ("get, cold", cold),
        ("the same again", again),
        ("get, the next record", neighbour),
        ("an absent name", absent),
        ("get_at, cold", at),
        ("get_many of 256", many),
        ("all in order", all),
        ("all shuffled", shuffled),
    ] {
        println!("  {which:22} {counts}");
    }
}

fn check(what: &str, n: u64, len: usize, layout: Layout) {
    let storage = closed(n, len, layout);
    let measured = measure(&storage, n, len);
    print(what, &measured);
    let Measured { open, cold, again, neighbour, absent, at, many, all, shuffled } = measured;
    assert!(open.rounds <= 3, "{what}: opening takes {open}");
    assert!(cold.rounds <= 4, "{what}: a cold get takes {cold}");
    assert!(again.rounds <= 1 && neighbour.rounds <= 2, "{what}: {again}; {neighbour}");
    assert!(absent.rounds <= 1, "{what}: an absent name takes {absent}");
    assert!(at.rounds <= 3, "{what}: a cold get_at takes {at}");
    assert!(many.rounds <= cold.rounds, "{what}: {MANY} names take {many}");
    assert!(cold.requests <= 10, "{what}: a cold get takes {cold}");
    // Batches of about three million bytes, each of them with its part of the index.
    let batches = 1 + n * len as u64 / (3 << 20);
    assert!(all.rounds <= 4 * batches && shuffled.rounds <= 5 * batches, "{what}: {all}; {shuffled}");
}

/// A depot that was committed many times, with records that were replaced and removed.
fn grown(layout: Layout) -> Vec<u8> {
    let write = WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never());
    let depot = Depot::builder(Raw).layout(layout).write_options(write).memory().unwrap();
    for n in 0..600 {
        depot.put(name(n), &payload(n, 50 + (n % 7) as usize * 130)).unwrap();
        if n % 5 == 4 {
            depot.put(name(n / 2), &payload(n, 100)).unwrap();
            depot.remove(name(n / 3)).unwrap();
        }
        if n % 150 == 149 {
            depot.commit().unwrap();
        }
    }
    depot.put("large", &payload(7, 30_000)).unwrap();
    depot.to_bytes().unwrap()
}

type Answers = Vec<Result<Vec<u8>, String>>;

/// What a depot says of all names, one by one, together and by position.
fn answers(storage: Arc<dyn Storage>) -> Result<[Answers; 3], String> {
    let said = |record: vldepot::Result<vldepot::Record<Raw>>| {
        record.map(|record| record.as_bytes().to_vec()).map_err(|error| error.to_string())
    };
    let depot = Depot::builder(Raw).open_in(storage).map_err(|error| error.to_string())?;
    let names: Vec<String> = (0..620).map(name).chain(["large".into()]).collect();
    let one_by_one = names.iter().map(|name| said(depot.get(name))).collect();
    let together = names.chunks(31).map(|names| match depot.get_many(names) {
        Ok(records) => Ok(records.iter().flat_map(|record| record.as_bytes().to_vec()).collect()),
        Err(error) => Err(error.to_string()),
    });
    let together = together.collect();
    let by_position = (0..depot.len()).map(|position| said(depot.get_at(position))).collect();
    Ok([one_by_one, together, by_position])
}

#[test]
fn damage_is_answered_as_if_nothing_was_read_ahead() {
    for layout in [Layout::default(), Layout::fast(), Layout::uncompressed()] {
        let bytes = grown(layout.with_chunk_size(16 << 10).with_block_size(1024));
        let mut differences = 0;
        let whole = answers(Arc::new(MemoryStorage::from_bytes(&bytes)));
        for at in (0..bytes.len()).step_by(bytes.len() / 150) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let mapped = answers(Arc::new(MemoryStorage::from_bytes(&damaged)));
            let read = answers(Arc::new(CountingStorage::new(MemoryStorage::from_bytes(&damaged))));
            assert!(mapped == read, "byte {at} of {}", bytes.len());
            differences += u32::from(mapped != whole);
        }
        assert!(differences > 20, "{differences}");
    }
}

#[test]
fn several_segments_are_asked_together() {
    let bytes = {
        let write = WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never());
        let storage = Arc::new(MemoryStorage::new());
        let depot = Depot::builder(Raw).write_options(write).create_in(storage.clone()).unwrap();
        for n in 0..4000 {
            depot.put(name(n), &payload(n, 200)).unwrap();
            if n % 1000 == 999 {
                depot.commit().unwrap();
            }
        }
        let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
        storage.read_at(0, &mut bytes).unwrap();
        bytes
    };
    let storage = Arc::new(CountingStorage::new(MemoryStorage::from_bytes(&bytes)));
    let depot = open(&storage);
    assert_eq!(depot.info().unwrap().index_segments, 4);
    storage.take();
    assert!(depot.get(name(10)).unwrap().view() == payload(10, 200));
    let cold = storage.take();
    assert!(cold.rounds <= 4, "{cold}");
    assert!(!depot.contains("absent").unwrap());
    let absent = storage.take();
    assert!(absent.rounds <= 1, "{absent}");
}

#[test]
fn a_depot_of_ten_records_takes_few_rounds() {
    check("10 records of 200 B", 10, 200, Layout::default());
}

#[test]
fn a_depot_of_ten_thousand_records_takes_few_rounds() {
    check("10^4 records of 200 B", 10_000, 200, Layout::default());
    check("10^4 records of 200 B, fast", 10_000, 200, Layout::fast());
    check("10^4 records of 200 B, uncompressed", 10_000, 200, Layout::uncompressed());
}

#[test]
fn a_depot_of_a_million_records_takes_few_rounds() {
    check("10^6 records of 200 B, fast", 1_000_000, 200, Layout::fast());
}

#[test]
fn a_depot_of_large_records_takes_few_rounds() {
    check("300 records of 177 KB", 300, 177_000, Layout::default());
}

//! Long holes in a file take no time, because they are not searched.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vldepot::maintain::{RepairOptions, repair};
use vldepot::storage::{Bytes, FileStorage, Storage};
use vldepot::{Depot, Layout, Raw};

const TERABYTE: u64 = 1 << 40;

/// A file that counts the bytes read from it.
struct Counting {
    file: FileStorage,
    read: AtomicU64,
}

impl Storage for Counting {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        self.file.map(offset, len)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        self.file.next_data(from)
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

fn payload(n: u64) -> Vec<u8> {
    (0..500 + n * 97 % 3000).map(|i| (i as u8 / 5) ^ (n as u8)).collect()
}

/// A depot of `n` records, without a readable commit slot.
fn depot(path: &Path, records: u64) -> Vec<u8> {
    let depot = Depot::builder(Raw).layout(Layout::default().with_chunk_size(16 << 10)).create(path);
    let depot = depot.unwrap();
    for n in 0..records {
        depot.put(n, &payload(n)).unwrap();
    }
    depot.close().unwrap();
    let mut bytes = fs::read(path).unwrap();
    // The offsets are those of docs/reference/format.md.
    for at in [3072, 3584] {
        bytes[at..at + 64].fill(0xa5);
    }
    fs::write(path, &bytes).unwrap();
    bytes
}

fn holes_are_told(path: &Path) -> bool {
    FileStorage::open(path).unwrap().next_data(TERABYTE / 2).unwrap() != Some(TERABYTE / 2)
}

fn check(depot: &Depot<Raw>, records: u64) {
    assert_eq!(depot.len(), records);
    for n in 0..records {
        assert!(depot.get(n).unwrap().view() == payload(n), "record {n}");
    }
}

#[test]
fn a_hole_of_a_terabyte_is_not_searched_for_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    let bytes = depot(&path, 100);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(TERABYTE).unwrap();
    if !holes_are_told(&path) {
        println!("SKIPPED: this file system does not tell of holes");
        return;
    }
    let storage = Arc::new(Counting { file: FileStorage::open(&path).unwrap(), read: AtomicU64::new(0) });
    let depot = Depot::builder(Raw).open_in(Arc::clone(&storage) as _).unwrap();
    check(&depot, 100);
    let read = storage.read.load(Ordering::Relaxed);
    assert!(read < 20 * bytes.len() as u64 + (20 << 20), "{read} bytes were read");
    let new = folder.path().join("new.vld");
    repair(&path, &new, &RepairOptions::default(), |_| ()).unwrap();
    check(&Depot::open(&new, Raw).unwrap(), 100);
}

#[test]
fn what_lies_behind_a_hole_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    let bytes = depot(&path, 100);
    // Moves the second half a terabyte further on.
    let half = bytes.len() / 2 / 64 * 64;
    let file = FileStorage::open_writable(&path).unwrap();
    file.set_len(half as u64).unwrap();
    file.write_at(TERABYTE + half as u64, &bytes[half..]).unwrap();
    drop(file);
    if !holes_are_told(&path) {
        println!("SKIPPED: this file system does not tell of holes");
        return;
    }
    let new = folder.path().join("new.vld");
    let report = repair(&path, &new, &RepairOptions::default(), |_| ()).unwrap();
    assert!(report.records > 90 && report.records <= 100, "{}", report.records);
    let depot = Depot::open(&new, Raw).unwrap();
    assert!(depot.contains(99).unwrap() && depot.contains(0).unwrap());
}

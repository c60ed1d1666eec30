//! Whole files.

use std::sync::Arc;

use super::forge;
use crate::codec::{Codec, Raw};
use crate::codecs::AtomicFrameCodec;
use crate::depot::Depot;
use crate::key::Key;
use crate::maintain::{RepairOptions, VerifyOptions, compact_into, repair_in, verify_in};
use crate::options::{Mapping, OpenOptions, WriteOptions};
use crate::storage::{MemoryStorage, Storage};

/// Records are read and written only if chunks are not larger than this.
///
/// A few bytes may stand for a chunk of 2 GiB of zeros. A careful reader of other people's files looks
/// at the sizes first as well.
const LARGEST_CHUNK: usize = 4 << 20;

/// The most records of a file that are read one by one.
const READ: usize = 200;

const FORGE: u8 = 1;
const UNMAPPED: u8 = 2;
const APPEND: u8 = 4;
const MAINTAIN: u8 = 8;

/// Opens a file, reads all of it, appends to it, verifies, repairs and compacts it.
///
/// The first byte is a set of flags (1: make checksums match, 2: read without a map, 4: also open for
/// writing, 8: also verify, repair and compact). The rest is the file.
///
/// # Panics
/// When there is something to fix.
pub fn open(input: &[u8]) {
    let Some((&flags, file)) = input.split_first() else { return };
    let mut bytes = file.to_vec();
    if flags & FORGE != 0 {
        forge(&mut bytes);
    }
    let options = options(flags);
    if let Ok(depot) = Depot::builder(Raw).open_options(options.clone()).open_in(memory(&bytes)) {
        read_all(&depot);
    }
    if flags & APPEND != 0 {
        append(&bytes, &options);
    }
    if flags & MAINTAIN != 0 {
        maintain(&bytes, &options);
    }
}

/// Opens a file of vlstore and reads all of it.
///
/// The first byte is a set of flags (2: read without a map, 8: its records are frames). The rest is the
/// file.
///
/// # Panics
/// When there is something to fix.
pub fn vlstore_import(input: &[u8]) {
    const FRAMES: u8 = 8;
    let Some((&flags, file)) = input.split_first() else { return };
    let options = options(flags);
    if flags & FRAMES == 0 {
        let Ok(depot) = Depot::builder(Raw).open_options(options.clone()).open_in(memory(file)) else {
            return;
        };
        read_all(&depot);
    } else {
        let Ok(depot) =
            Depot::builder(AtomicFrameCodec::any()).open_options(options.clone()).open_in(memory(file))
        else {
            return;
        };
        read_all(&depot);
    }
}

/// Options that compress without threads, so that every run is the same.
fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

fn options(flags: u8) -> OpenOptions {
    let mapping = if flags & UNMAPPED == 0 { Mapping::Auto } else { Mapping::Never };
    OpenOptions::default().with_mapping(mapping)
}

fn memory(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

/// Reads in every way. Where two ways return something, they must agree.
fn read_all<C: Codec>(depot: &Depot<C>) {
    let info = depot.info();
    let _ = (
        depot.all_depot_metadata::<serde_json::Value>(),
        depot.stored_codec(),
        depot.refresh(),
        format!("{depot:?}"),
    );
    let keys: Vec<Key> = depot.keys().flatten().collect();
    let _ = depot.keys_with_prefix("frame").flatten().count();
    for key in keys.iter().take(READ) {
        let _ = (depot.metadata::<serde_json::Value>(key), depot.contains(key), depot.location(key));
    }
    let _ = depot.key_at(depot.len() / 2);
    for column in depot.columns() {
        if let Ok(values) = depot.column(&column.name, ..READ as u64) {
            for (nth, key) in keys.iter().enumerate().take(values.len()) {
                let scalar = depot.scalar(key, &column.name);
                let _ = (values.get(nth), scalar, values.is_absent(nth));
            }
        }
    }
    if info.is_ok_and(|info| info.layout.chunk_size > LARGEST_CHUNK) || !sizes_are_modest(depot, &keys) {
        return;
    }
    for (key, record) in depot.iter().flatten().take(READ) {
        // A forged index may list the same name twice.
        if let Ok(found) = depot.get(&key)
            && keys.iter().filter(|other| **other == key).count() == 1
        {
            assert!(found.as_bytes() == record.as_bytes(), "{key} read twice");
        }
    }
    for position in 0..depot.len().min(READ as u64) {
        let _ = (depot.get_at(position), depot.key_at(position));
    }
    let keys = &keys[..keys.len().min(READ)];
    if let Ok(records) = depot.get_many(keys) {
        assert_eq!(records.len(), keys.len());
    }
}

/// Whether the records are small enough to read. A record over many chunks may have 4 GiB.
fn sizes_are_modest<C: Codec>(depot: &Depot<C>, keys: &[Key]) -> bool {
    let sizes = keys.iter().filter_map(|key| depot.location(key).ok());
    sizes.map(|location| location.length).sum::<u64>() <= 4 * LARGEST_CHUNK as u64
}

/// Appends to the file. What is put must be there, if nothing was refused.
fn append(bytes: &[u8], options: &OpenOptions) {
    let storage = memory(bytes);
    let Ok(depot) = Depot::builder(Raw)
        .open_options(options.clone())
        .write_options(writing())
        .append_in(Arc::clone(&storage))
    else {
        return;
    };
    if depot.info().is_ok_and(|info| info.layout.chunk_size > LARGEST_CHUNK) {
        return;
    }
    let record = vec![0x5a; 777];
    let removed = depot.key_at(0).and_then(|key| depot.remove(key));
    let metadata = depot.key_at(depot.len() / 2).and_then(|key| depot.set_metadata(key, &7));
    let put = depot.put_with_metadata("put by the fuzzer", &record, "x");
    let _ = (removed, metadata, depot.set_depot_metadata("fuzzed", &true));
    let committed = put.and_then(|()| depot.commit());
    if committed.is_ok() {
        let found = depot.get("put by the fuzzer").expect("what was committed is there");
        assert!(found.view() == record);
    }
    if committed.is_err() || depot.close().is_err() {
        return;
    }
    let depot =
        Depot::builder(Raw).open_options(options.clone()).open_in(storage).expect("what was closed opens");
    let found = depot.get("put by the fuzzer").expect("what was committed is there after opening");
    assert!(found.view() == record);
}

/// Checks that a verified file is whole, and that a repaired or compacted one can be read.
fn maintain(bytes: &[u8], options: &OpenOptions) {
    let quick = verify_in(memory(bytes), &VerifyOptions::default().with_quick(true), |_| {});
    let Ok(depot) = Depot::builder(Raw).open_options(options.clone()).open_in(memory(bytes)) else { return };
    let keys: Vec<Key> = depot.keys().flatten().collect();
    let large = depot.info().is_ok_and(|info| info.layout.chunk_size > LARGEST_CHUNK);
    if large || !sizes_are_modest(&depot, &keys) {
        return;
    }
    let report = verify_in(memory(bytes), &VerifyOptions::default(), |_| {});
    if report.is_ok_and(|report| report.is_whole()) {
        assert!(quick.is_ok_and(|report| report.is_whole()), "a quick look at a whole file finds damage");
        assert!(depot.iter().all(|record| record.is_ok()), "a damaged record in a file that verified");
    }
    let readable = |storage: Arc<dyn Storage>, records: u64| {
        let depot = Depot::builder(Raw)
            .open_options(options.clone())
            .open_in(storage)
            .expect("what was made anew opens");
        assert!(depot.iter().all(|record| record.is_ok()), "a damaged record in what was made anew");
        assert_eq!(depot.len(), records);
    };
    let target: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    if let Ok(report) = repair_in(memory(bytes), Arc::clone(&target), &RepairOptions::default(), |_| {}) {
        readable(target, report.records);
    }
    let target: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    if let Ok(report) = compact_into(memory(bytes), Arc::clone(&target), |_| {}) {
        readable(target, report.records);
    }
}

//! Records that are put piece by piece, and records of more than 4 GiB.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use vldepot::maintain::{RepairOptions, VerifyOptions, compact_into, plan_compact, repair_in, verify_in};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{CommitEvery, CompressionCodec, Depot, ErrorKind, Layout, Placement, Raw, WriteOptions};

const CHUNK: usize = 4096;

/// The bytes that are held before a record is taken for a long one.
const LEAST: usize = 1 << 20;

fn layout() -> Layout {
    Layout::default().with_chunk_size(CHUNK).with_block_size(1024)
}

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never())
}

fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(4)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    // Some of it compresses, and some chunks are zeros.
    bytes.iter_mut().skip(len / 2).take(len / 8).for_each(|byte| *byte = 0);
    bytes
}

fn put(depot: &Depot<Raw>, name: &str, bytes: &[u8], piece: usize) {
    let mut put = depot.put_by_pieces(name).unwrap();
    bytes.chunks(piece).for_each(|piece| put.push(piece).unwrap());
    assert_eq!(put.finish().unwrap(), bytes.len() as u64);
}

fn memory(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

fn content(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

fn is_whole(bytes: &[u8], what: &str) {
    let report = verify_in(memory(bytes), &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole(), "{what}: {report:?}");
}

/// Lengths around those at which something changes.
fn lengths() -> Vec<usize> {
    let near = |n: usize| [n - 1, n, n + 1];
    let mut lengths = vec![0, 1, CHUNK, LEAST / 2];
    lengths.extend(near(LEAST));
    lengths.extend(near(LEAST + CHUNK));
    lengths.extend([LEAST + 3 * CHUNK + 100, 2 * LEAST + 17]);
    lengths
}

#[test]
fn records_put_by_pieces_are_like_others() {
    for (compression, placement) in [
        (CompressionCodec::Zstd, Placement::NoCross),
        (CompressionCodec::None, Placement::Contiguous),
        (CompressionCodec::Lz4, Placement::StartAligned),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.vld");
        let mut layout = layout().with_placement(placement);
        layout.compression.codec = compression;
        let depot = Depot::builder(Raw).layout(layout).write_options(writing()).create(&path).unwrap();
        let lengths = lengths();
        for (nth, &len) in lengths.iter().enumerate() {
            depot.put(format!("before {nth}"), &noise(1, nth * 100)).unwrap();
            put(&depot, &format!("long {nth}"), &noise(7, len), 1 + 70_000 * (nth % 3 + 1));
            depot.put(format!("after {nth}"), &noise(2, nth * 10)).unwrap();
        }
        let check = |depot: &Depot<Raw>| {
            assert_eq!(depot.len(), 3 * lengths.len() as u64);
            let chunk_size = depot.info().unwrap().layout.chunk_size;
            for (nth, &len) in lengths.iter().enumerate() {
                let (name, bytes) = (format!("long {nth}"), noise(7, len));
                assert!(depot.get(&name).unwrap().view() == bytes, "{len}");
                let mut out = Vec::new();
                depot.read_to(&name, &mut out).unwrap();
                assert!(out == bytes);
                for start in [0, 1, CHUNK - 1, LEAST - 1, len / 2] {
                    for n in [1, 100, CHUNK, 3 * CHUNK] {
                        let end = (start + n).min(len);
                        if start < end {
                            let mut parts = depot.parts(&name).unwrap();
                            assert!(parts.bytes(start..end).unwrap() == &bytes[start..end]);
                            assert!(len <= chunk_size || !parts.is_whole());
                        }
                    }
                }
                assert_eq!(depot.get(format!("before {nth}")).unwrap().view(), noise(1, nth * 100));
                assert_eq!(depot.get(format!("after {nth}")).unwrap().view(), noise(2, nth * 10));
            }
        };
        check(&depot);
        depot.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        is_whole(&bytes, "closed");
        check(&Depot::open(&path, Raw).unwrap());
        for copy in [
            |from, to| {
                compact_into(from, to, |_| {}).unwrap();
            },
            |from, to| {
                assert!(repair_in(from, to, &RepairOptions::default(), |_| {}).unwrap().lost.is_empty());
            },
        ] as [fn(Arc<dyn Storage>, Arc<dyn Storage>); 2]
        {
            let to = Arc::new(MemoryStorage::new());
            copy(memory(&bytes), Arc::clone(&to) as Arc<dyn Storage>);
            check(&Depot::builder(Raw).open_in(to).unwrap());
        }
        let other = Depot::memory(Raw).unwrap();
        other.copy_all_from(&Depot::open(&path, Raw).unwrap()).unwrap();
        check(&other);
    }
}

#[test]
fn a_record_put_by_pieces_replaces_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.vld");
    let depot = Depot::builder(Raw).layout(layout()).write_options(writing()).create(&path).unwrap();
    let (old, new) = (noise(1, 3 * LEAST), noise(2, 2 * LEAST));
    put(&depot, "a", &old, 50_000);
    put(&depot, "b", &old, 50_000);
    depot.commit().unwrap();
    put(&depot, "a", &new, 50_000);
    assert_eq!(depot.totals::<&str>(..).unwrap().raw_bytes, 5 * LEAST as u64);
    depot.put("a", b"short").unwrap();
    put(&depot, "a", &new, 50_000);
    depot.rename("a", "c").unwrap();
    depot.set_metadata("c", "noted").unwrap();
    depot.remove("b").unwrap();
    depot.close().unwrap();
    is_whole(&fs::read(&path).unwrap(), "replaced");
    // What was put as "a", four times, and "b".
    assert_eq!(plan_compact(&path).unwrap().removed, 5);
    let depot = Depot::append(&path, Raw).unwrap();
    assert_eq!(depot.len(), 1);
    assert!(depot.get("c").unwrap().view() == new);
    let mut refused = depot.put_by_pieces_with_metadata("c", "other", true).unwrap();
    let error = old.chunks(40_000).find_map(|piece| refused.push(piece).err()).unwrap();
    assert!(matches!(error.kind(), ErrorKind::Exists), "{error}");
    drop(refused);
    let mut short = depot.put_by_pieces_with_metadata("c", "other", true).unwrap();
    short.push(b"short").unwrap();
    assert!(matches!(short.finish().unwrap_err().kind(), ErrorKind::Exists));
    assert_eq!(depot.metadata::<String>("c").unwrap().as_deref(), Some("noted"));
}

#[test]
fn what_is_given_up_is_no_record() {
    let storage = Arc::new(MemoryStorage::new());
    let shared = || Arc::clone(&storage) as Arc<dyn Storage>;
    let depot = Depot::builder(Raw).layout(layout()).write_options(writing()).create_in(shared()).unwrap();
    depot.put("first", &noise(1, 500)).unwrap();
    for len in [10, LEAST, LEAST + CHUNK / 2, LEAST + 5 * CHUNK] {
        let mut put = depot.put_by_pieces("gone").unwrap();
        put.write_all(&noise(2, len)).unwrap();
        drop(put);
        depot.put(format!("then {len}"), &noise(3, 700)).unwrap();
    }
    put(&depot, "kept", &noise(4, LEAST + 9), 1000);
    depot.close().unwrap();
    is_whole(&content(&*storage), "given up");
    let compacted = Arc::new(MemoryStorage::new());
    compact_into(shared(), Arc::clone(&compacted) as Arc<dyn Storage>, |_| {}).unwrap();
    assert!(content(&*compacted).len() + LEAST < content(&*storage).len());
    for storage in [shared(), compacted as Arc<dyn Storage>] {
        let depot = Depot::builder(Raw).open_in(storage).unwrap();
        assert_eq!(depot.len(), 6);
        assert!(!depot.contains("gone").unwrap());
        assert!(depot.get("kept").unwrap().view() == noise(4, LEAST + 9));
        assert_eq!(depot.get("then 10").unwrap().view(), noise(3, 700));
    }
}

#[test]
fn a_killed_writer_leaves_whole_records_only() {
    let storage = Arc::new(MemoryStorage::new());
    let shared = || Arc::clone(&storage) as Arc<dyn Storage>;
    let depot = Depot::builder(Raw).layout(layout()).write_options(writing()).create_in(shared()).unwrap();
    depot.put("first", &noise(1, 500)).unwrap();
    depot.commit().unwrap();
    let start = content(&*storage).len();
    put(&depot, "long", &noise(2, LEAST + 6 * CHUNK + 5), 30_000);
    // One of several chunks that is put at once: it is named at its start.
    depot.put("wide", &noise(3, 5 * CHUNK + 5)).unwrap();
    depot.put("last", &noise(4, 50)).unwrap();
    depot.flush().unwrap();
    let bytes = content(&*storage);
    std::mem::forget(depot);
    let step = (bytes.len() - start) / 90;
    for cut in (start..bytes.len()).step_by(step).chain([bytes.len()]) {
        let storage = Arc::new(MemoryStorage::from_bytes(&bytes[..cut]));
        let shared = Arc::clone(&storage) as Arc<dyn Storage>;
        let depot = Depot::builder(Raw).write_options(writing()).append_in(shared).unwrap();
        for (name, bytes) in [
            ("long", noise(2, LEAST + 6 * CHUNK + 5)),
            ("wide", noise(3, 5 * CHUNK + 5)),
            ("last", noise(4, 50)),
        ] {
            if let Ok(record) = depot.get(name) {
                assert!(record.view() == bytes, "{name} at {cut}");
            }
        }
        assert_eq!(depot.get("first").unwrap().view(), noise(1, 500));
        // What follows is given up, or is whole. Nothing before is taken for a part of it.
        let mut gone = depot.put_by_pieces("gone").unwrap();
        gone.push(&noise(5, LEAST + 2 * CHUNK)).unwrap();
        drop(gone);
        put(&depot, "next", &noise(6, LEAST + 3), 100_000);
        let len = depot.len();
        depot.close().unwrap();
        is_whole(&content(&*storage), &format!("cut at {cut}"));
        let repaired = Arc::new(MemoryStorage::new());
        let report = repair_in(
            memory(&content(&*storage)),
            Arc::clone(&repaired) as Arc<dyn Storage>,
            &RepairOptions::default(),
            |_| {},
        )
        .unwrap();
        assert!(report.lost.is_empty() && report.problems.is_empty(), "cut at {cut}: {report:?}");
        let repaired = Depot::builder(Raw).open_in(repaired).unwrap();
        assert_eq!(repaired.len(), len, "cut at {cut}");
        assert!(repaired.get("next").unwrap().view() == noise(6, LEAST + 3));
    }
}

#[test]
fn damage_in_a_long_record_names_it_and_costs_only_it() {
    for uncompressed in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let shared = || Arc::clone(&storage) as Arc<dyn Storage>;
        let mut layout = layout();
        if uncompressed {
            layout.compression.codec = CompressionCodec::None;
        }
        let depot = Depot::builder(Raw).layout(layout).write_options(writing()).create_in(shared()).unwrap();
        depot.put("before", &noise(1, 500)).unwrap();
        let long = noise(2, 20 << 20);
        put(&depot, "long", &long, 300_000);
        depot.put("after", &noise(3, 500)).unwrap();
        depot.close().unwrap();
        let mut bytes = content(&*storage);
        // Bytes that are stored as they are.
        let at = bytes.windows(64).position(|window| window == &long[9 << 20..(9 << 20) + 64]).unwrap();
        bytes[at] ^= 1;
        let report = verify_in(memory(&bytes), &VerifyOptions::default(), |_| {}).unwrap();
        let names: Vec<_> = report.damaged_records.iter().map(|lost| lost.name.to_string()).collect();
        assert_eq!(names, ["long"]);
        let depot = Depot::builder(Raw).open_in(memory(&bytes)).unwrap();
        let mut parts = depot.parts("long").unwrap();
        assert!(parts.bytes(0..CHUNK * 2).unwrap() == &long[..CHUNK * 2]);
        assert!(parts.bytes((9 << 20)..(9 << 20) + 10).unwrap_err().is_damage());
        assert!(depot.get("long").unwrap_err().is_damage());
        assert!(depot.read_to("long", &mut std::io::sink()).unwrap_err().is_damage());
        let to = Arc::new(MemoryStorage::new());
        let repaired = Arc::clone(&to) as Arc<dyn Storage>;
        let report = repair_in(memory(&bytes), repaired, &RepairOptions::default(), |_| {}).unwrap();
        assert_eq!((report.records, report.lost.len()), (2, 1));
        let error = compact_into(memory(&bytes), Arc::new(MemoryStorage::new()), |_| {}).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains("long"), "{error}");
        assert!(Depot::memory(Raw).unwrap().copy_all_from(&depot).unwrap_err().is_damage());
    }
}

#[test]
fn records_of_more_than_4_gib() {
    let len = (5_u64 << 30) + 12_345;
    let storage = Arc::new(MemoryStorage::new());
    let layout = Layout::default().with_chunk_size(16 << 20);
    let shared = || Arc::clone(&storage) as Arc<dyn Storage>;
    let depot = Depot::builder(Raw).layout(layout).create_in(shared()).unwrap();
    depot.put("a", b"short").unwrap();
    let zeros = vec![0; 16 << 20];
    let write = |name: &str| {
        let mut put = depot.put_by_pieces(name).unwrap();
        put.push(b"first").unwrap();
        let mut left = len - 9;
        while left > 0 {
            let n = left.min(zeros.len() as u64);
            put.push(&zeros[..usize::try_from(n).unwrap()]).unwrap();
            left -= n;
        }
        put.push(b"last").unwrap();
        assert_eq!(put.finish().unwrap(), len);
    };
    write("m");
    depot.put("z", b"behind").unwrap();
    let check = |depot: &Depot<Raw>| {
        assert_eq!(depot.location("m").unwrap().length, len);
        let mut parts = depot.parts("m").unwrap();
        let end = usize::try_from(len).unwrap();
        assert_eq!(parts.bytes(0..6).unwrap(), b"first\0");
        assert_eq!(parts.bytes(end - 5..end).unwrap(), b"\0last");
        assert_eq!(parts.bytes((4 << 30)..(4 << 30) + 3).unwrap(), [0; 3]);
        assert_eq!(depot.totals("a".."n").unwrap().raw_bytes, len + 5);
        assert_eq!(depot.totals::<&str>(..).unwrap().raw_bytes, len + 11);
        for error in [depot.get("m").unwrap_err(), depot.get_many(&["z", "m"]).unwrap_err()] {
            assert!(matches!(error.kind(), ErrorKind::TooLong { .. }), "{error}");
            assert!(!error.is_damage() && error.to_string().contains("piece by piece"), "{error}");
        }
        assert_eq!(depot.get("z").unwrap().view(), b"behind");
    };
    check(&depot);
    depot.close().unwrap();
    let depot = Depot::builder(Raw).append_in(shared()).unwrap();
    check(&depot);
    depot.close().unwrap();
    let compacted = Arc::new(MemoryStorage::new());
    compact_into(shared(), Arc::clone(&compacted) as Arc<dyn Storage>, |_| {}).unwrap();
    is_whole(&content(&*compacted), "compacted");
    let depot = Depot::builder(Raw).append_in(compacted).unwrap();
    check(&depot);
    // A dead record of that length.
    depot.put("m", b"short").unwrap();
    depot.commit().unwrap();
    assert_eq!(depot.totals::<&str>(..).unwrap().raw_bytes, 16);
    assert_eq!(depot.totals("a".."n").unwrap().raw_bytes, 10);
}

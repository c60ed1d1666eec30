//! After an unclean end, everything committed is there. Whole chunks after it are adopted, the torn end
//! is not.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs;

use std::sync::Arc;

use vldepot::maintain::{RepairOptions, VerifyOptions, repair_in, verify_in};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{CommitEvery, Depot, ErrorKind, Layout, OpenOptions, Raw, WriteOptions};

fn payload(n: u32) -> Vec<u8> {
    (0..300 + n as usize * 13 % 900).map(|i| (i as u8 / 7) ^ (n as u8)).collect()
}

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never())
}

fn options() -> Layout {
    Layout::default().with_chunk_size(4096).with_block_size(1024)
}

/// A depot of 60 records. Returns the file's bytes, and for each commit the length of the file and the
/// number of records so far.
fn history() -> (Vec<u8>, Vec<(usize, u32)>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    let mut commits = vec![(0, 0)];
    for n in 0..60u32 {
        depot.put(n, &payload(n)).unwrap();
        if n % 10 == 9 {
            if n % 20 == 9 {
                depot.commit().unwrap();
            } else {
                depot.publish().unwrap();
            }
            commits.push((fs::metadata(&path).unwrap().len() as usize, n + 1));
        }
    }
    let bytes = fs::read(&path).unwrap();
    (bytes, commits)
}

/// Options that accept what is left of a file that lost a commit.
fn accepting() -> OpenOptions {
    OpenOptions::default().with_accept_loss(true)
}

/// Opens `bytes` for reading and for writing. At least `committed` records must be there, and all that
/// are there must be right.
fn check(bytes: &[u8], committed: u32, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.vld");
    fs::write(&path, bytes).unwrap();
    let reader = Depot::builder(Raw)
        .open_options(accepting())
        .open(&path)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = reader.len() as u32;
    assert!(found >= committed, "{what}: {found} of {committed} records");
    for n in 0..found {
        assert!(reader.get(n).unwrap().view() == payload(n), "{what}: record {n}");
    }
    drop(reader);
    let writer = Depot::builder(Raw)
        .open_options(accepting())
        .append(&path)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(writer.len() as u32, found, "{what}");
    for n in found..found + 20 {
        writer.put(n, &payload(n)).unwrap();
    }
    writer.close().unwrap();
    let reader = Depot::open(&path, Raw).unwrap();
    assert_eq!(reader.len() as u32, found + 20, "{what}");
    for n in 0..found + 20 {
        assert!(reader.get(n).unwrap().view() == payload(n), "{what}: record {n} after appending");
    }
}

/// Whether the header names commits but no entry is whole. This must be an error, not an empty depot.
fn nothing_is_left(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.vld");
    fs::write(&path, bytes).unwrap();
    let Err(error) = Depot::builder(Raw).open_options(accepting()).open(&path) else { return false };
    assert!(error.is_damage() && error.to_string().contains("expected commit 6"), "{error}");
    assert!(
        Depot::builder(Raw).open_options(accepting()).append(&path).is_err_and(|error| error.is_damage())
    );
    assert_eq!(fs::read(&path).unwrap(), bytes, "what is left is left alone");
    true
}

#[test]
fn a_file_cut_anywhere_gives_back_every_commit_before_the_cut() {
    let (bytes, commits) = history();
    for cut in (4160..=bytes.len()).step_by(331).chain([bytes.len(), bytes.len() - 1]) {
        let committed = commits.iter().filter(|(len, _)| *len <= cut).map(|(_, n)| *n).max().unwrap();
        if committed == 0 && nothing_is_left(&bytes[..cut]) {
            continue;
        }
        check(&bytes[..cut], committed, &format!("cut at {cut} of {}", bytes.len()));
    }
}

#[test]
fn garbage_behind_the_end_is_ignored() {
    let (mut bytes, _) = history();
    let len = bytes.len();
    bytes.extend((0..5000u32).map(|i| (i * 31) as u8));
    check(&bytes, 60, "garbage");
    // A copy of an entry from earlier in the file does not count as an entry here.
    bytes.truncate(len);
    let copy = bytes[4160..8192].to_vec();
    bytes.extend(copy);
    check(&bytes, 60, "a copied entry");
}

#[test]
fn the_slots_are_only_a_short_cut() {
    let (bytes, _) = history();
    #[expect(clippy::single_range_in_vec_init, reason = "lists of ranges are meant")]
    for ranges in
        [vec![3072..3136], vec![3584..3648], vec![3072..3136, 3584..3648], vec![0..4096], vec![100..300]]
    {
        let mut damaged = bytes.clone();
        for range in &ranges {
            damaged[range.clone()].fill(0xa5);
        }
        check(&damaged, 60, &format!("{ranges:?} overwritten"));
    }
}

#[test]
fn whole_chunks_behind_the_last_commit_are_adopted() {
    adopts(options());
}

#[test]
fn whole_uncompressed_chunks_are_adopted_though_their_end_is_a_hole() {
    let options = options();
    adopts(options.with_compression(Layout::uncompressed().compression));
}

fn adopts(options: Layout) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.vld");
    let depot = Depot::builder(Raw).layout(options).write_options(writing()).create(&path).unwrap();
    for n in 0..10 {
        depot.put(n, &payload(n)).unwrap();
    }
    depot.commit().unwrap();
    for n in 10..40 {
        depot.put(n, &payload(n)).unwrap();
    }
    depot.remove(4).unwrap();
    depot.set_metadata(5, "noted").unwrap();
    depot.flush().unwrap();
    depot.put(3, b"replaced").unwrap();
    depot.flush().unwrap();
    depot.put("lost", b"never left the process").unwrap();
    // The file as it is now is what a killed process leaves.
    let bytes = fs::read(&path).unwrap();
    drop(depot);
    let killed = folder.path().join("after.vld");
    fs::write(&killed, &bytes).unwrap();
    for append in [false, true] {
        let depot =
            if append { Depot::append(&killed, Raw).unwrap() } else { Depot::open(&killed, Raw).unwrap() };
        assert_eq!(depot.len(), 39);
        assert_eq!(depot.get(3).unwrap().view(), b"replaced");
        assert!(depot.get(4).unwrap_err().is_not_found());
        assert_eq!(depot.metadata::<serde_json::Value>(5).unwrap(), Some("noted".into()));
        for n in (5..40).chain(0..3) {
            assert!(depot.get(n).unwrap().view() == payload(n));
        }
        if !append {
            assert_eq!(depot.info().unwrap().uncommitted_records, 32);
        }
    }
}

#[test]
fn a_record_across_chunks_is_adopted_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    let long: Vec<u8> = (0..20_000u32).map(|i| ((i * i) >> 5) as u8).collect();
    depot.put("long", b"short").unwrap();
    depot.commit().unwrap();
    let from = fs::metadata(&path).unwrap().len() as usize;
    depot.put("long", &long).unwrap();
    depot.flush().unwrap();
    let bytes = fs::read(&path).unwrap();
    let cut_path = folder.path().join("cut.vld");
    let mut seen = [false; 2];
    for cut in (from..=bytes.len()).step_by(509).chain([bytes.len()]) {
        fs::write(&cut_path, &bytes[..cut]).unwrap();
        let depot = Depot::append(&cut_path, Raw).unwrap();
        let view = depot.get("long").unwrap().view().to_vec();
        assert!(view == long || view == b"short", "cut at {cut}: {} bytes", view.len());
        seen[usize::from(view == long)] = true;
        depot.put("next", &long).unwrap();
        depot.close().unwrap();
        let depot = Depot::open(&cut_path, Raw).unwrap();
        assert!(depot.get("long").unwrap().view() == view && depot.get("next").unwrap().view() == long);
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_damaged_chunk_costs_its_own_records_and_names_them() {
    let (bytes, _) = history();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.vld");
    fs::write(&path, &bytes).unwrap();
    let location = Depot::open(&path, Raw).unwrap().location(25).unwrap();
    let mut damaged = bytes.clone();
    let chunk = location.file_offset.unwrap() as usize;
    // The middle of the entry lies in its stored blocks.
    let entry_len = u64::from_le_bytes(bytes[chunk + 40..chunk + 48].try_into().unwrap()) as usize;
    damaged[chunk + entry_len / 2 + 200] ^= 4;
    fs::write(&path, &damaged).unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    let mut errors = 0;
    for n in 0..60u32 {
        match depot.get(n) {
            Ok(record) => assert!(record.view() == payload(n)),
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                let text = format!(
                    "{error}: {}",
                    std::error::Error::source(&error).map_or(String::new(), ToString::to_string)
                );
                assert!(text.contains(&format!("record {n}")) && text.contains("expected CRC32C"), "{text}");
                assert_eq!(depot.location(n).unwrap().chunk, location.chunk);
                errors += 1;
            }
        }
    }
    assert!((1..=8).contains(&errors), "{errors} records");
    let iterated = depot.iter().flatten().count();
    assert_eq!(iterated, 60 - errors, "neighbours are read, one by one and in batches");
}

#[test]
fn a_header_that_was_lost_is_made_anew_with_a_slot() {
    let (mut bytes, _) = history();
    bytes[..4096].fill(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headless.vld");
    fs::write(&path, &bytes).unwrap();
    let writer = Depot::append(&path, Raw).unwrap();
    let chunk = writer.location(25).unwrap();
    // The writer is killed now, and later the middle of the file is damaged. This must not cast doubt on
    // the commits after it.
    let mut bytes = fs::read(&path).unwrap();
    drop(writer);
    assert!(bytes[3072..4096].iter().any(|&byte| byte != 0), "a slot was written");
    let at = chunk.file_offset.unwrap() as usize;
    let entry_len = u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
    bytes[at + entry_len / 2 + 200] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(depot.len(), 60);
    assert!(depot.get(59).unwrap().view() == payload(59));
}

#[test]
fn a_damaged_index_segment_does_not_keep_what_is_new_from_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    for n in 0..4 {
        depot.put(n, &payload(n)).unwrap();
        depot.commit().unwrap();
    }
    let mut bytes = fs::read(&path).unwrap();
    drop(depot);
    // The last byte of the arrays of the first INDEX entry, in their only page.
    let mut at = 4160;
    while bytes[at + 8] != 2 {
        at += u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
    }
    let len = u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
    let last = (at..at + len).rev().find(|&at| bytes[at] != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    // The directories of the chunks still have the names that the index lost.
    assert!(depot.get(0).unwrap().view() == payload(0));
    assert!(depot.get(3).unwrap().view() == payload(3));
    depot.set_depot_metadata("new", &1).unwrap();
    // The frame of all chunks cannot be written, which is an error. The commit succeeds.
    assert!(depot.close().unwrap_err().is_damage());
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["new"], 1);
    assert!(depot.get(3).unwrap().view() == payload(3));
}

/// Where the entries of a file start, with their kinds.
fn entries(bytes: &[u8]) -> Vec<(usize, u8)> {
    let mut at = 4160;
    let mut entries = Vec::new();
    while at + 64 <= bytes.len() {
        entries.push((at, bytes[at + 8]));
        at += u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
    }
    entries
}

#[test]
fn what_lies_behind_missing_bytes_is_not_called_absent_and_not_cut_off() {
    let (bytes, _) = history();
    let (middle, _) = *entries(&bytes).iter().filter(|(_, kind)| *kind == 1).nth(4).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drained.vld");
    let mut drained = bytes.clone();
    drained.drain(middle + 200..middle + 500);
    std::fs::write(&path, &drained).unwrap();
    let error = Depot::open(&path, Raw).map(|_| ()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Incomplete { records: 26, .. }) && error.is_damage(),
        "{error}"
    );
    let depot = Depot::builder(Raw).open_options(accepting()).open(&path).unwrap();
    assert!(depot.get(0).unwrap().view() == payload(0));
    let error = depot.get(59).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::LostCommit { .. }) && error.is_damage(), "{error}");
    assert!(error.to_string().contains("repair"), "{error}");
    assert!(
        depot.contains(59).unwrap_err().is_damage()
            && depot.metadata::<serde_json::Value>(59).unwrap_err().is_damage()
    );
    assert!(depot.info().unwrap().lost_commits > 0);
    let error = Depot::append(&path, Raw).map(|_| ()).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("repair"), "{error}");
    assert!(std::fs::read(&path).unwrap() == drained, "nothing was cut off");
    // If the file just ends there, there is nothing to save. Appending goes on if somebody accepts the
    // loss.
    std::fs::write(&path, &bytes[..middle]).unwrap();
    let error = Depot::append(&path, Raw).map(|_| ()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Incomplete { .. }), "{error}");
    let depot = Depot::builder(Raw).open_options(accepting()).append(&path).unwrap();
    depot.put(59, &payload(59)).unwrap();
    depot.close().unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    assert!(depot.get(59).unwrap().view() == payload(59));
}

#[test]
fn a_damaged_index_costs_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    for n in 0..60 {
        depot.put_with_metadata(n, &payload(n), &n).unwrap();
        if n % 20 == 19 {
            depot.commit().unwrap();
        }
    }
    depot.put_with_metadata(7, &payload(1007), &1007).unwrap();
    depot.remove(8).unwrap();
    depot.set_metadata(9, "described").unwrap();
    depot.close().unwrap();
    let whole = fs::read(&path).unwrap();
    let (segment, _) = *entries(&whole).iter().rfind(|(_, kind)| *kind == 2).unwrap();
    let len = u64::from_le_bytes(whole[segment + 40..segment + 48].try_into().unwrap()) as usize;
    // Every page in turn.
    for at in (segment + 600..segment + len).step_by(1000) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let depot = Depot::open(&path, Raw).unwrap();
        for n in (0..60).filter(|&n| n != 8) {
            let expected = if n == 7 { 1007 } else { n };
            assert!(depot.get(n).unwrap().view() == payload(expected), "byte {at}: record {n}");
            assert_eq!(depot.location(n).unwrap().length, payload(expected).len() as u64);
            let described = if n == 9 { "described".into() } else { expected.into() };
            assert_eq!(
                depot.metadata::<serde_json::Value>(n).unwrap(),
                Some(described),
                "byte {at}: record {n}"
            );
        }
        assert!(depot.get(8).unwrap_err().is_not_found() && !depot.contains(8).unwrap(), "byte {at}");
        let names: Vec<u32> = (9..60).rev().collect();
        let batch = depot.get_many(&names).unwrap();
        assert!(names.iter().zip(&batch).all(|(n, record)| record.view() == payload(*n)), "byte {at}");
        // If a directory is damaged as well, neither can be trusted.
        let (chunk, _) = *entries(&whole).iter().find(|(_, kind)| *kind == 1).unwrap();
        bytes[chunk + 140] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let depot = Depot::open(&path, Raw).unwrap();
        for n in 0..60 {
            match depot.get(n) {
                Ok(record) => assert!(record.view() == payload(if n == 7 { 1007 } else { n })),
                Err(error) => assert!(error.is_damage() || n == 8, "byte {at}: record {n}: {error}"),
            }
        }
    }
}

fn content(storage: &MemoryStorage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A depot with a committed record `old`, and bytes of its file after `more` was done and written, not
/// committed.
fn unfinished(more: impl Fn(&Depot<Raw>)) -> (usize, Vec<u8>) {
    let layout = Layout::default().with_chunk_size(4096).with_block_size(1024);
    let storage = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(Raw).layout(layout).create_in(Arc::clone(&storage) as _).unwrap();
    depot.put("old", b"old").unwrap();
    depot.put("replaced", b"before").unwrap();
    depot.commit().unwrap();
    let committed = content(&storage).len();
    more(&depot);
    depot.flush().unwrap();
    let bytes = content(&storage);
    drop(depot);
    (committed, bytes)
}

fn assert_whole(storage: &Arc<MemoryStorage>, what: &str) {
    let report = verify_in(Arc::clone(storage) as _, &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole(), "{what}: {report:?}");
    let to = Arc::new(MemoryStorage::new());
    let repaired =
        repair_in(Arc::clone(storage) as _, Arc::clone(&to) as _, &RepairOptions::default(), |_| {}).unwrap();
    assert!(repaired.lost.is_empty() && repaired.problems.is_empty(), "{what}: {repaired:?}");
}

#[test]
fn a_record_that_was_cut_short_is_not_there_and_no_damage() {
    let noise: Vec<u8> =
        (0..30_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect();
    let (committed, bytes) = unfinished(|depot| {
        depot.put("short", b"short").unwrap();
        depot.put("replaced", &noise).unwrap();
        depot.put("long", &noise[1..]).unwrap();
    });
    for len in (committed..bytes.len()).step_by(509).chain([bytes.len()]) {
        let storage = Arc::new(MemoryStorage::from_bytes(&bytes[..len]));
        let what = format!("{len} of {} bytes", bytes.len());
        assert_whole(&storage, &what);
        let replaced = Depot::builder(Raw)
            .open_in(Arc::clone(&storage) as _)
            .unwrap()
            .get("replaced")
            .unwrap()
            .view()
            .to_vec();
        assert!(replaced == b"before" || replaced == noise, "{what}");
        // Somebody goes on: the bytes of other records come where those of the long one would have been.
        let depot = Depot::builder(Raw).append_in(Arc::clone(&storage) as _).unwrap();
        assert_eq!(depot.get("replaced").unwrap().view(), replaced, "{what}");
        let long = depot.find("long").unwrap().map(|record| record.view().to_vec());
        for n in 0..20_u32 {
            depot.put(n, &noise[..2000]).unwrap();
        }
        depot.flush().unwrap();
        // Killed before it commits, and after.
        for commit in [false, true] {
            if commit {
                depot.commit().unwrap();
            }
            let storage = Arc::new(MemoryStorage::from_bytes(&content(&storage)));
            let what = format!("{what}, gone on, committed: {commit}");
            assert_whole(&storage, &what);
            let depot = Depot::builder(Raw).open_in(Arc::clone(&storage) as _).unwrap();
            assert_eq!(depot.get("replaced").unwrap().view(), replaced, "{what}");
            assert_eq!(depot.find("long").unwrap().map(|record| record.view().to_vec()), long, "{what}");
            assert_eq!(depot.get(19).unwrap().view(), &noise[..2000], "{what}");
            drop(depot);
            // Without an index, the directories alone say what there is.
            let mut damaged = content(&storage);
            for (at, kind) in entries(&damaged) {
                let len = u64::from_le_bytes(damaged[at + 40..at + 48].try_into().unwrap());
                if kind == 2 {
                    damaged[at + 64..at + usize::try_from(len).unwrap()].fill(0xa5);
                }
            }
            let to = Arc::new(MemoryStorage::new());
            let from = Arc::new(MemoryStorage::from_bytes(&damaged));
            let repaired =
                repair_in(from as _, Arc::clone(&to) as _, &RepairOptions::default(), |_| {}).unwrap();
            assert!(repaired.lost.is_empty(), "{what}, without an index: {repaired:?}");
            let depot = Depot::builder(Raw).open_in(to as _).unwrap();
            assert_eq!(depot.get("replaced").unwrap().view(), replaced, "{what}, without an index");
            assert_eq!(depot.find("long").unwrap().map(|record| record.view().to_vec()), long, "{what}");
        }
    }
}

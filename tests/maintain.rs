//! Verifying, repairing and compacting: damage is found and named, nothing readable is lost, and nothing
//! wrong is kept.
//!
//! `VLDEPOT_LONG_TESTS=1` tries many more cases.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vldepot::maintain::{
    RepairOptions, RepairReport, VerifyOptions, VerifyReport, compact, compact_into, repair, repair_in,
    verify, verify_in,
};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::testing::FailingStorage;
use vldepot::{CommitEvery, Depot, Error, ErrorKind, Key, Layout, OpenOptions, Raw, WriteOptions};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never())
}

fn payload(n: u32) -> Vec<u8> {
    (0..100 + n as usize * 37 % 1500).map(|i| (i as u8 / 3).wrapping_mul(5) ^ (n as u8)).collect()
}

fn name(n: u32) -> String {
    format!("frame_{n:04}")
}

const N: u32 = 80;

fn options(preset: &Layout) -> Layout {
    preset.clone().with_chunk_size(8192).with_block_size(1024)
}

/// The payload number of each name.
type Content = BTreeMap<String, u32>;

/// A file of 80 records, some of them replaced, removed or described. Also returns its content, and how
/// many bytes a commit covers.
fn depot(preset: &Layout, closed: bool) -> (Vec<u8>, Content, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.vld");
    let depot = Depot::builder(Raw).layout(options(preset)).write_options(writing()).create(&path).unwrap();
    let mut content = BTreeMap::new();
    for n in 0..N {
        depot.put_with_metadata(name(n), &payload(n), &n).unwrap();
        content.insert(name(n), n);
        if n % 25 == 24 {
            depot.commit().unwrap();
            depot.put_with_metadata(name(n - 5), &payload(n + 1000), &(n + 1000)).unwrap();
            content.insert(name(n - 5), n + 1000);
            depot.remove(name(n - 7)).unwrap();
            content.remove(&name(n - 7));
        }
    }
    depot.set_depot_metadata("kind", "test").unwrap();
    depot.commit().unwrap();
    let committed = std::fs::metadata(&path).unwrap().len() as usize;
    if closed {
        depot.close().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        return (bytes, content, len);
    }
    depot.put_with_metadata("late", &payload(7), &7).unwrap();
    content.insert("late".into(), 7);
    depot.flush().unwrap();
    (std::fs::read(&path).unwrap(), content, committed)
}

fn files() -> Vec<(&'static str, Vec<u8>, Content, usize)> {
    [
        ("closed", Layout::default(), true),
        ("unclosed", Layout::default(), false),
        ("uncompressed", Layout::uncompressed(), true),
    ]
    .into_iter()
    .map(|(what, preset, closed)| {
        let (bytes, content, committed) = depot(&preset, closed);
        (what, bytes, content, committed)
    })
    .collect()
}

fn storage(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

fn verified(bytes: &[u8], options: VerifyOptions) -> Result<VerifyReport, Error> {
    verify_in(storage(bytes), &options, |_| {})
}

fn repaired(bytes: &[u8]) -> Result<(Depot<Raw>, RepairReport), Error> {
    let to = storage(&[]);
    let report = repair_in(storage(bytes), Arc::clone(&to), &RepairOptions::default(), |_| {})?;
    Ok((Depot::builder(Raw).open_in(to).unwrap(), report))
}

/// Checks that everything in the depot is right. Returns the names that are there.
fn check(depot: &Depot<Raw>, content: &Content, what: &str) -> BTreeSet<String> {
    depot
        .iter()
        .map(|entry| {
            let (key, record) = entry.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let Key::Str(name) = key else { panic!("{what}: {key}") };
            let n = content.get(&name).unwrap_or_else(|| panic!("{what}: {name} came back"));
            assert!(record.view() == payload(*n), "{what}: {name} is wrong");
            assert_eq!(
                depot.metadata::<serde_json::Value>(&name).unwrap(),
                Some((*n).into()),
                "{what}: {name}"
            );
            name
        })
        .collect()
}

/// Like [`check`], but records may be those of an earlier moment.
fn check_ever(depot: &Depot<Raw>, what: &str) -> BTreeSet<String> {
    depot
        .iter()
        .map(|entry| {
            let (key, record) = entry.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let name = key.to_string();
            let n: u32 = name.strip_prefix("frame_").map_or(7, |digits| digits.parse().unwrap());
            let ever = [n, n + 1005].into_iter().find(|&n| record.view() == payload(n));
            let n = ever.unwrap_or_else(|| panic!("{what}: {name} is wrong"));
            assert_eq!(depot.metadata::<serde_json::Value>(&name).unwrap(), Some(n.into()), "{what}: {name}");
            name
        })
        .collect()
}

fn accepting() -> OpenOptions {
    OpenOptions::default().with_accept_loss(true)
}

fn names(lost: &[vldepot::maintain::LostRecord]) -> BTreeSet<String> {
    lost.iter().map(|record| record.name.to_string()).collect()
}

#[test]
fn a_whole_file_is_whole_and_what_was_checked_is_told() {
    for (what, bytes, content, committed) in files() {
        let report = verified(&bytes, VerifyOptions::default()).unwrap();
        assert!(report.is_whole(), "{what}: {report:?}");
        assert_eq!(report.records, content.len() as u64, "{what}");
        assert_eq!(report.records_read, report.records, "{what}");
        assert_eq!(report.bytes_read, content.values().map(|&n| payload(n).len() as u64).sum::<u64>());
        assert_eq!(report.standard_frame, committed == bytes.len(), "{what}");
        assert_eq!(report.uncommitted_records, u64::from(committed < bytes.len()), "{what}");
        assert!(report.chunks > 5 && report.commits >= 4 && report.index_segments >= 4, "{what}: {report:?}");
        let quick = verified(&bytes, VerifyOptions::default().with_quick(true)).unwrap();
        assert!(quick.is_whole() && quick.quick && quick.records_read == 0, "{what}: {quick:?}");
        assert_eq!(quick.entries, report.entries, "{what}");
    }
}

#[test]
fn repairing_a_whole_file_keeps_all_of_it_in_order() {
    for (what, bytes, content, _) in files() {
        let (depot, report) = repaired(&bytes).unwrap();
        assert!(report.lost.is_empty() && report.problems.is_empty(), "{what}: {report:?}");
        assert_eq!(report.records, content.len() as u64);
        assert_eq!(check(&depot, &content, what).len(), content.len(), "{what}");
        let before = Depot::builder(Raw).open_in(storage(&bytes)).unwrap();
        let order = |depot: &Depot<Raw>| depot.keys().map(|key| key.unwrap().to_string()).collect::<Vec<_>>();
        assert_eq!(order(&depot), order(&before), "{what}");
        assert_eq!(
            depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["kind"],
            "test",
            "{what}"
        );
        assert_eq!(depot.info().unwrap().layout, before.info().unwrap().layout, "{what}");
    }
}

/// splitmix64.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16) as usize
}

fn rounds(quick: u32, long: u32) -> u32 {
    if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { long } else { quick }
}

#[derive(Debug, Default)]
struct Tally {
    cases: u32,
    refused: u32,
    harmless: u32,
    reported: u32,
    kept: usize,
    lost: usize,
    nameless: u32,
}

/// What can be read of the damaged file, by name.
fn readable(bytes: &[u8], content: &Content) -> Option<BTreeSet<String>> {
    let depot = Depot::builder(Raw).open_options(accepting()).open_in(storage(bytes)).ok()?;
    let right = |name: &&String| {
        depot.get(name.as_str()).is_ok_and(|record| record.view() == payload(content[*name]))
    };
    Some(content.keys().filter(right).cloned().collect())
}

/// What of the undamaged file must be kept, or named as lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// All of it.
    All,
    /// All but the last record, which no commit covers.
    Committed,
    /// Nothing. Records may be those of an earlier moment, because commits are missing.
    Right,
}

/// Verifies and repairs a damaged file.
fn examine(bytes: &[u8], content: &Content, expect: Expect, tally: &mut Tally, what: &str) {
    tally.cases += 1;
    let readable = readable(bytes, content).unwrap_or_default();
    match verified(bytes, VerifyOptions::default()) {
        Err(_) => tally.refused += 1,
        Ok(report) if report.is_whole() => {
            tally.harmless += 1;
            let missing = content.keys().filter(|name| !readable.contains(*name)).count();
            // Bytes that no commit covers may be a torn end.
            let torn = expect != Expect::All && report.torn_bytes > 0;
            assert!(
                missing == 0 || torn || expect == Expect::Right,
                "{what}: {missing} unnoticed: {report:?}"
            );
        }
        Ok(report) => {
            tally.reported += 1;
            let damaged = names(&report.damaged_records);
            let depot = Depot::builder(Raw).open_options(accepting()).open_in(storage(bytes)).unwrap();
            for name in content.keys().filter(|name| !readable.contains(*name)) {
                // If both the directory and the index entry of a record are damaged, nothing names it.
                let nameless = expect == Expect::Right || (name == "late" && report.torn_bytes > 0);
                let told = |error: &Error| {
                    error.is_damage() && !matches!(error.kind(), ErrorKind::LostCommit { .. })
                };
                if !nameless && depot.get(name.as_str()).is_err_and(|error| told(&error)) {
                    assert!(damaged.contains(name), "{what}: {name} is not in {report:?}");
                }
            }
        }
    }
    match repaired(bytes) {
        Ok((depot, report)) => {
            let kept =
                if expect == Expect::Right { check_ever(&depot, what) } else { check(&depot, content, what) };
            let lost = names(&report.lost);
            assert!(kept.is_disjoint(&lost), "{what}: {report:?}");
            let missing: Vec<_> = readable.difference(&kept).collect();
            assert!(missing.is_empty(), "{what}: {missing:?} not kept: {report:?}");
            let due = |name: &&String| expect == Expect::All || *name != "late";
            let gone = |name: &&String| !kept.contains(*name) && !lost.contains(*name);
            let nameless = content.keys().filter(due).filter(gone).count();
            if nameless > 0 {
                tally.nameless += 1;
                let told = !report.problems.is_empty() || expect != Expect::All;
                assert!(told, "{what}: {nameless} records vanished");
            }
            tally.kept += kept.len();
            tally.lost += lost.len();
        }
        Err(error) => {
            assert!(readable.is_empty(), "{what}: {error}");
            assert!(
                matches!(error.kind(), ErrorKind::NotADepot { .. } | ErrorKind::NewerFormat { .. }),
                "{what}: {error:?}"
            );
        }
    }
}

#[test]
fn flipped_bits_are_found_named_and_repaired_around() {
    for (what, whole, content, committed) in files() {
        let mut tally = Tally::default();
        let mut state = 11;
        for _ in 0..rounds(100, 4000) {
            let mut bytes = whole.clone();
            let bit = random(&mut state) % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expect = if committed == whole.len() { Expect::All } else { Expect::Committed };
            examine(&bytes, &content, expect, &mut tally, &format!("{what}: bit {bit}"));
        }
        println!("{what}, {} bytes, single flips: {tally:?}", whole.len());
        assert_eq!((tally.refused, tally.nameless), (0, 0), "{what}");
    }
}

#[test]
fn lost_and_moved_stretches_cost_what_was_in_them() {
    for (what, whole, content, committed) in files() {
        let mut tally = Tally::default();
        let mut state = 12;
        for round in 0..rounds(60, 2000) {
            let mut bytes = whole.clone();
            let at = random(&mut state) % bytes.len();
            match round % 5 {
                0 => bytes[at / 4096 * 4096..(at / 4096 * 4096 + 4096).min(whole.len())].fill(0),
                1 => drop(bytes.drain(at..(at + 1 + random(&mut state) % 3000).min(whole.len()))),
                2 => drop(bytes.splice(at..at, (0..random(&mut state) % 3000).map(|i| i as u8))),
                3 => bytes.truncate(at),
                _ => {
                    for _ in 0..6 {
                        let bit = random(&mut state) % (bytes.len() * 8);
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    }
                }
            }
            // A cut file is right as far as it goes.
            let expect = match round % 5 {
                // A removal is forgotten if both its directory and the index made from it are lost.
                0..3 if committed == whole.len() => Expect::All,
                _ => Expect::Right,
            };
            examine(&bytes, &content, expect, &mut tally, &format!("{what}: round {round} at {at}"));
        }
        println!("{what}, {} bytes, stretches: {tally:?}", whole.len());
    }
}

#[test]
fn a_damaged_index_or_directory_is_told_and_costs_no_record() {
    let (whole, content, _) = depot(&Layout::default(), true);
    let mut at = 4160;
    let (mut segments, mut chunks) = (Vec::new(), Vec::new());
    while at + 64 <= whole.len() {
        match whole[at + 8] {
            1 => chunks.push(at),
            2 => segments.push(at),
            _ => {}
        }
        at += u64::from_le_bytes(whole[at + 40..at + 48].try_into().unwrap()) as usize;
    }
    // The last segment is the merged one. The only page of its arrays ends the entry.
    let mut bytes = whole.clone();
    let last = *segments.last().unwrap();
    let len = u64::from_le_bytes(bytes[last + 40..last + 48].try_into().unwrap()) as usize;
    bytes[last + len - 200] ^= 1;
    let report = verified(&bytes, VerifyOptions::default()).unwrap();
    // The directories make up for it.
    assert!(report.damaged_records.is_empty() && report.problems.len() == 1, "{report:?}");
    assert_eq!(report.records_read, content.len() as u64, "{report:?}");
    let (depot, report) = repaired(&bytes).unwrap();
    assert_eq!(check(&depot, &content, "index").len(), content.len());
    assert!(report.lost.is_empty());

    // A directory, which follows 64 bytes of head and 64 of prelude.
    let mut bytes = whole.clone();
    bytes[chunks[2] + 140] ^= 1;
    let report = verified(&bytes, VerifyOptions::default()).unwrap();
    assert!(report.damaged_records.is_empty() && report.problems.len() == 1, "{report:?}");
    assert!(verified(&bytes, VerifyOptions::default().with_quick(true)).unwrap().problems.len() == 1);
    let (depot, report) = repaired(&bytes).unwrap();
    assert_eq!(check(&depot, &content, "directory").len(), content.len());
    assert!(report.lost.is_empty() && report.problems.len() == 1, "{report:?}");

    // Stored blocks. A quick check does not see the damage, and says that it did not look.
    let mut bytes = whole.clone();
    let len = u64::from_le_bytes(bytes[chunks[2] + 40..chunks[2] + 48].try_into().unwrap()) as usize;
    bytes[chunks[2] + len - 100] ^= 1;
    let quick = verified(&bytes, VerifyOptions::default().with_quick(true)).unwrap();
    assert!(quick.quick && quick.is_whole() && quick.records_read == 0);
    let report = verified(&bytes, VerifyOptions::default()).unwrap();
    let damaged = names(&report.damaged_records);
    assert!(!damaged.is_empty() && damaged.len() < 8, "{report:?}");
    let text = format!("{:?}", report.damaged_records[0].error);
    assert!(text.contains("expected") && text.contains("found") && text.contains("offset"), "{text}");
    let (depot, report) = repaired(&bytes).unwrap();
    assert_eq!(names(&report.lost), damaged);
    assert_eq!(check(&depot, &content, "blocks").len(), content.len() - damaged.len());
}

#[test]
fn a_file_without_header_and_commits_is_rebuilt_from_its_chunks() {
    let (mut bytes, content, _) = depot(&Layout::default(), true);
    bytes[..4096].fill(0xee);
    let mut at = 4160;
    while at + 64 <= bytes.len() {
        let len = u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
        if bytes[at + 8] == 3 {
            bytes[at + 80] ^= 1;
        }
        at += len;
    }
    assert!(Depot::builder(Raw).open_in(storage(&bytes)).is_err());
    let (depot, report) = repaired(&bytes).unwrap();
    assert_eq!(check(&depot, &content, "headless").len(), content.len(), "{report:?}");
    assert!(report.lost.is_empty(), "{report:?}");
}

#[test]
fn an_older_record_never_passes_for_a_lost_newer_one() {
    let memory = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(Raw)
        .layout(options(&Layout::default()))
        .write_options(writing())
        .create_in(memory.clone())
        .unwrap();
    depot.put("state", &payload(1)).unwrap();
    depot.commit().unwrap();
    let from = memory.len().unwrap() as usize;
    depot.put("state", &payload(2)).unwrap();
    depot.put("other", &payload(3)).unwrap();
    let whole = depot.to_bytes().unwrap();
    // Damages the block that holds both records, then also the index. The directories alone must say the
    // same.
    for with_index in [false, true] {
        let mut bytes = whole.clone();
        let len = u64::from_le_bytes(bytes[from + 40..from + 48].try_into().unwrap()) as usize;
        let chunk_at = u32::from_le_bytes(bytes[from + 80..from + 84].try_into().unwrap()) as usize;
        bytes[from + (chunk_at + 80 + len) / 2 - 20] ^= 1;
        if with_index {
            let mut at = from;
            while at + 64 <= bytes.len() {
                let len = u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
                if bytes[at + 8] == 2 {
                    bytes[at + len - 100] ^= 1;
                }
                at += len;
            }
        }
        let (depot, report) = repaired(&bytes).unwrap();
        assert!(names(&report.lost).contains("state"), "{with_index}: {report:?}");
        assert!(depot.get("state").unwrap_err().is_not_found());
    }
}

#[test]
fn a_damaged_part_of_the_index_costs_no_name_in_listings() {
    let depot = Depot::builder(Raw)
        .layout(Layout::default().with_chunk_size(1 << 16))
        .write_options(writing())
        .memory()
        .unwrap();
    for n in 0..20_000u32 {
        depot.put(format!("{n:016}"), &n.to_le_bytes()).unwrap();
    }
    let mut bytes = depot.to_bytes().unwrap();
    let mut at = 4160;
    let mut last = 0;
    while at + 64 <= bytes.len() {
        if bytes[at + 8] == 2 {
            last = at;
        }
        at += u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap()) as usize;
    }
    // 20,000 locations come first, then buckets and hashes, then the names.
    bytes[last + 20_000 * (16 + 8 + 1) + 30_000] ^= 1;
    let depot = Depot::builder(Raw).open_in(storage(&bytes)).unwrap();
    let errors = depot.keys().filter(Result::is_err).count();
    let listed = depot.keys().flatten().count();
    assert_eq!((errors, listed), (0, 20_000));
    let report = verified(&bytes, VerifyOptions::default()).unwrap();
    assert!(report.damaged_records.is_empty() && report.problems.len() == 1, "{report:?}");
    let (depot, report) = repaired(&bytes).unwrap();
    assert_eq!((depot.len(), report.lost.len()), (20_000, 0));
}

#[test]
fn compacting_drops_what_is_dead_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let noise = |n: u32| -> Vec<u8> { (0..3000u32).map(|i| ((i * i + n * 7919) >> 3) as u8).collect() };
    let depot = Depot::builder(Raw)
        .layout(options(&Layout::default()))
        .write_options(writing())
        .create(&path)
        .unwrap();
    for round in 0..5u32 {
        for n in 0..40u32 {
            depot.put_with_metadata(n, &noise(n + round), &round).unwrap();
        }
        depot.commit().unwrap();
    }
    for n in 0..10 {
        depot.remove(n).unwrap();
    }
    depot.set_depot_metadata("kind", "test").unwrap();
    depot.close().unwrap();
    let before = Depot::open(&path, Raw).unwrap();
    let report = compact(&path, |_| {}).unwrap();
    assert_eq!((report.records, report.bytes_after), (30, std::fs::metadata(&path).unwrap().len()));
    assert!(report.bytes_after < report.bytes_before / 4, "{report:?}");
    // A reader that has the old file open goes on with it.
    assert!(before.get(15).unwrap().view() == noise(19));
    let after = Depot::append(&path, Raw).unwrap();
    let keys = |depot: &Depot<Raw>| depot.keys().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(keys(&after), keys(&before));
    for n in 10..40 {
        assert!(after.get(n).unwrap().view() == noise(n + 4));
        assert_eq!(after.metadata::<serde_json::Value>(n).unwrap(), Some(4.into()));
    }
    assert_eq!(
        after.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["kind"],
        "test"
    );
    assert_eq!(after.info().unwrap().layout, before.info().unwrap().layout);
    assert_eq!(after.info().unwrap().created, before.info().unwrap().created);
    let (id, other) = (before.info().unwrap().data_set_id, Depot::memory(Raw).unwrap().info().unwrap());
    assert_eq!((after.info().unwrap().data_set_id, id.len()), (id.clone(), 32));
    assert_ne!(other.data_set_id, id, "another depot has another id");
    after.put("more", b"goes on").unwrap();
    after.close().unwrap();
    assert!(verify(&path, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn compacting_waits_for_no_writer_and_refuses_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let (mut bytes, content, _) = depot(&Layout::default(), true);
    std::fs::write(&path, &bytes).unwrap();
    let writer = Depot::append(&path, Raw).unwrap();
    assert!(matches!(compact(&path, |_| {}).unwrap_err().kind(), ErrorKind::Locked));
    drop(writer);
    // A file of that name may belong to somebody, so it must stay.
    let compacting = folder.path().join("run.vld.compacting");
    std::fs::write(&compacting, b"mine").unwrap();
    assert_eq!(compact(&path, |_| {}).unwrap().records, content.len() as u64);
    assert_eq!(std::fs::read(&compacting).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);

    let location = Depot::builder(Raw).open_in(storage(&bytes)).unwrap().location(name(30)).unwrap();
    let chunk = location.file_offset.unwrap() as usize;
    let len = u64::from_le_bytes(bytes[chunk + 40..chunk + 48].try_into().unwrap()) as usize;
    bytes[chunk + len - 100] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = compact(&path, |_| {}).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotCompacted) && error.is_damage(), "{error:?}");
    assert!(std::fs::read(&path).unwrap() == bytes, "nothing was changed");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    assert!(matches!(compact(folder.path().join("none"), |_| {}).unwrap_err().kind(), ErrorKind::Io { .. }));
}

#[cfg(unix)]
#[test]
fn a_writer_that_opened_the_file_before_it_was_compacted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    std::fs::write(&path, depot(&Layout::default(), true).0).unwrap();
    let opened = Arc::new(vldepot::storage::FileStorage::open_writable(&path).unwrap());
    compact(&path, |_| {}).unwrap();
    // It would write to a file that nobody can find any more.
    let refused = Depot::builder(Raw).append_in(opened).unwrap_err();
    assert!(refused.is_io() && format!("{refused:?}").contains("open it again"), "{refused:?}");
    Depot::append(&path, Raw).unwrap();
}

#[cfg(unix)]
#[test]
fn compacting_through_a_link_replaces_the_file_and_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("run.vld"), folder.path().join("link.vld"));
    std::fs::write(&path, depot(&Layout::default(), true).0).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    compact(&link, |_| {}).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn compacting_into_a_storage_that_fails_at_any_call_is_an_error_and_leaves_the_source() {
    let (bytes, content, _) = depot(&Layout::default(), true);
    let from = storage(&bytes);
    let mut failures = 0;
    for fail_at in 0.. {
        let to = Arc::new(FailingStorage::new(MemoryStorage::new(), fail_at, true));
        match compact_into(Arc::clone(&from), to.clone(), |_| {}) {
            Ok(report) => {
                assert_eq!(report.records, content.len() as u64);
                let depot = Depot::builder(Raw).open_in(to).unwrap();
                assert_eq!(check(&depot, &content, "compacted").len(), content.len());
                break;
            }
            Err(error) => assert!(error.is_io(), "{error:?}"),
        }
        failures += 1;
    }
    assert!(failures > 5, "{failures}");
    let depot = Depot::builder(Raw).open_in(from).unwrap();
    assert_eq!(check(&depot, &content, "source").len(), content.len());
}

#[test]
fn files_that_are_no_depots_are_refused_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("noise"), folder.path().join("new.vld"));
    let noise: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for bytes in [&noise[..], b"", b"\x89PNG\r\n\x1a\n"] {
        std::fs::write(&from, bytes).unwrap();
        let refused = repair(&from, &to, &RepairOptions::default(), |_| {}).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotADepot { .. }), "{refused:?}");
        assert!(!to.exists());
        assert!(
            matches!(verify(&from, &VerifyOptions::default(), |_| {}), Err(error) if matches!(error.kind(), ErrorKind::NotADepot { .. }))
        );
        assert!(compact(&from, |_| {}).is_err());
        assert_eq!(std::fs::read(&from).unwrap(), bytes);
    }
    std::fs::write(&to, b"mine").unwrap();
    let refused = repair(&from, &to, &RepairOptions::default(), |_| {}).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::PathExists), "{refused:?}");
    assert_eq!(std::fs::read(&to).unwrap(), b"mine");
}

#[test]
fn progress_ends_at_its_total() {
    let (bytes, ..) = depot(&Layout::default(), true);
    let mut last = None;
    verify_in(storage(&bytes), &VerifyOptions::default(), |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert!(last.total > bytes.len() as u64 && last.done == last.total, "{last:?}");
}

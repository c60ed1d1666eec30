//! Statistics in the index: those of the definition, whatever happens to the depot in between.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Precision, Topology};
use vldepot::maintain::{CompactOptions, VerifyOptions, compact, compact_as, verify, verify_as};
use vldepot::statistics::Summary;
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{CommitEvery, Depot, FieldStatistics, Layout, Raw, Statistics, WriteOptions};

fn layout() -> Layout {
    Layout::default()
        .with_chunk_size(1 << 14)
        .with_block_size(1 << 12)
        .with_columns(["energy", "step"])
        .with_statistics(true)
}

fn kept() -> Layout {
    Layout::default().with_statistics(true)
}

fn energy(n: u32) -> f64 {
    f64::from(n) * 0.37 - 5.0
}

#[allow(clippy::cast_possible_truncation, reason = "forces have single precision")]
fn single(number: f64) -> f32 {
    number as f32
}

fn forces(n: u32) -> Vec<[f32; 3]> {
    (0..3_u8).map(|atom| [0.5 * f32::from(atom), single(energy(n)), -1.0]).collect()
}

/// Every seventh frame has no energy.
fn put(depot: &Depot<AtomicFrameCodec>, name: u32, n: u32) {
    let forces = forces(n);
    let frame = AtomicFrame::new().types(&[8, 1, 1]).forces(&forces).step(n.into());
    let frame = if n.is_multiple_of(7) { frame } else { frame.energy(energy(n)) };
    depot.put(name, &frame).unwrap();
}

fn fields(statistics: &Statistics) -> &FieldStatistics {
    statistics.fields.as_ref().unwrap()
}

fn near(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
        (found, expected) => found == expected,
    }
}

fn same(found: &Summary, expected: &Summary) {
    let facts = |of: &Summary| (of.count(), of.non_finite(), of.min(), of.max());
    assert_eq!(facts(found), facts(expected));
    assert!(near(found.mean(), expected.mean()) && near(found.variance(), expected.variance()));
}

/// Compares with the frames that are there.
fn check(statistics: &Statistics, expected: &[u32], exact: bool) {
    assert_eq!(statistics.records, expected.len() as u64);
    let with_energy = || expected.iter().filter(|n| !n.is_multiple_of(7));
    let energies: Vec<f64> = with_energy().map(|&n| energy(n)).collect();
    let column = &statistics.columns[0];
    assert_eq!(column.name, "energy");
    assert_eq!(column.absent, (expected.len() - energies.len()) as u64);
    same(&column.summary, &Summary::of(&energies));
    let steps: Vec<i64> = expected.iter().map(|&n| n.into()).collect();
    same(&statistics.columns[1].summary, &Summary::of(&steps));
    let of_fields = fields(statistics);
    assert_eq!(of_fields.exact, exact);
    if exact {
        assert_eq!(of_fields.counted, expected.len() as u64);
        let all: Vec<f32> = expected.iter().flat_map(|&n| forces(n)).flatten().collect();
        same(of_fields.tally.field("forces").unwrap_or(&Summary::default()), &Summary::of(&all));
        let n = expected.len() as u64;
        for (kind, values) in [(1, 2 * n), (8, n)] {
            let found = statistics.kinds("types").and_then(|kinds| kinds.get(kind)).unwrap_or_default();
            assert_eq!((found.values, found.records), (values, n));
        }
    }
}

fn is_whole(path: &Path) -> bool {
    verify_as(path, AtomicFrameCodec::any(), &VerifyOptions::default(), |_| ()).unwrap().is_whole()
}

#[derive(Debug, Clone)]
enum Change {
    Put(u32, u32),
    Remove(u32),
    Rename(u32, u32),
    Metadata(u32),
    Commit,
    Reopen,
    Truncate(u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0..40_u32, 0..1000_u32).prop_map(|(name, n)| Change::Put(name, n)),
        1 => (0..40_u32).prop_map(Change::Remove),
        1 => (0..40_u32, 0..40_u32).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => (0..40_u32).prop_map(Change::Metadata),
        2 => Just(Change::Commit),
        1 => Just(Change::Reopen),
        1 => (0..40_u32).prop_map(Change::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn statistics_are_those_of_the_records_or_say_that_they_are_not(
        changes in prop::collection::vec(change(), 1..120),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        let codec = AtomicFrameCodec::new;
        let mut depot = Depot::builder(codec()).layout(layout()).create(&path).unwrap();
        let mut expected: Vec<(u32, u32)> = Vec::new();
        let mut removed = false;
        for change in changes {
            let at = |expected: &[(u32, u32)], name: u32| expected.iter().position(|&(key, _)| key == name);
            match change {
                Change::Put(name, n) => {
                    put(&depot, name, n);
                    if let Some(at) = at(&expected, name) {
                        expected.remove(at);
                        removed = true;
                    }
                    expected.push((name, n));
                }
                Change::Remove(name) => {
                    let there = at(&expected, name).map(|at| expected.remove(at)).is_some();
                    prop_assert_eq!(depot.remove(name).unwrap(), there);
                    removed |= there;
                }
                Change::Rename(from, to) => {
                    let (there, taken) = (at(&expected, from), at(&expected, to));
                    let renamed = depot.rename(from, to);
                    if let Some(at) = there.filter(|_| taken.is_none()) {
                        renamed.unwrap();
                        let (_, n) = expected.remove(at);
                        expected.push((to, n));
                    }
                }
                Change::Metadata(name) => {
                    if let Some(at) = at(&expected, name) {
                        depot.set_metadata(name, "checked").unwrap();
                        let moved = expected.remove(at);
                        expected.push(moved);
                    }
                }
                Change::Truncate(name) => {
                    if at(&expected, name).is_some() {
                        depot.commit().unwrap();
                        // What a truncation removes comes back, and is the same again.
                        if depot.truncate_after(name).unwrap() > 0 {
                            depot.undo_truncate().unwrap();
                        }
                    }
                }
                Change::Commit => depot.commit().unwrap(),
                Change::Reopen => {
                    depot.close().unwrap();
                    depot = Depot::builder(codec()).append(&path).unwrap();
                }
            }
        }
        let frames: Vec<u32> = expected.iter().map(|&(_, n)| n).collect();
        // A record that was removed while nothing of it was committed may leave nothing behind.
        let exact = fields(&depot.statistics().unwrap()).exact;
        prop_assert!(exact || removed);
        check(&depot.statistics().unwrap(), &frames, exact);
        depot.commit().unwrap();
        let after = depot.statistics().unwrap();
        check(&after, &frames, fields(&after).exact);
        depot.close().unwrap();
        let reader = Depot::open(&path, Raw).unwrap();
        let after = reader.statistics().unwrap();
        check(&after, &frames, fields(&after).exact);
        prop_assert_eq!(fields(&after).missing, 0);
        drop(reader);
        prop_assert!(is_whole(&path));
        compact(&path, |_| ()).unwrap();
        let plain = Depot::open(&path, Raw).unwrap().statistics().unwrap();
        prop_assert_eq!(fields(&plain).exact, fields(&after).exact || frames.is_empty());
        prop_assert!(is_whole(&path));
        compact_as(&path, codec(), &CompactOptions::default(), |_| ()).unwrap();
        check(&Depot::open(&path, Raw).unwrap().statistics().unwrap(), &frames, true);
        prop_assert!(is_whole(&path));
    }
}

#[test]
fn records_without_a_commit_are_missing_and_are_there_after_compacting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let write = WriteOptions::default().with_commit_every(CommitEvery::records(90));
    let depot =
        Depot::builder(AtomicFrameCodec::new()).layout(layout()).write_options(write).create(&path).unwrap();
    (0..200).for_each(|n| put(&depot, n, n));
    depot.flush().unwrap();
    let crashed = folder.path().join("crashed.vld");
    std::fs::copy(&path, &crashed).unwrap();
    let all: Vec<u32> = (0..200).collect();
    check(&depot.statistics().unwrap(), &all, true);
    Depot::append(&crashed, AtomicFrameCodec::new()).unwrap().close().unwrap();
    let statistics = Depot::open(&crashed, Raw).unwrap().statistics().unwrap();
    check(&statistics, &all, false);
    assert_eq!((fields(&statistics).missing, fields(&statistics).removed), (20, 0));
    assert!(is_whole(&crashed));
    compact_as(&crashed, AtomicFrameCodec::new(), &CompactOptions::default(), |_| ()).unwrap();
    check(&Depot::open(&crashed, Raw).unwrap().statistics().unwrap(), &all, true);
}

#[test]
fn a_depot_without_statistics_says_so() {
    let none = |depot: &Depot<AtomicFrameCodec>| {
        depot.put(0, &AtomicFrame::new().n_atoms(1).energy(1.0)).unwrap();
        depot.commit().unwrap();
        depot.statistics().unwrap()
    };
    let without = none(&Depot::memory(AtomicFrameCodec::new()).unwrap());
    assert!(without.is_empty() && without.field("energy").is_none());
    let raw = Depot::builder(Raw).layout(kept()).memory().unwrap();
    raw.put("a", b"bytes").unwrap();
    assert_eq!(raw.statistics().unwrap().fields, None);
    assert!(!raw.info().unwrap().layout.statistics);
    // A writer who cannot describe records leaves them missing.
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(kept()).memory().unwrap();
    let _ = none(&depot);
    let bytes = depot.to_bytes().unwrap();
    let depot = Depot::from_bytes(&bytes, Raw).unwrap();
    let record = depot.get(0).unwrap();
    depot.put(1, record.as_bytes()).unwrap();
    let statistics = depot.statistics().unwrap();
    assert_eq!((fields(&statistics).exact, fields(&statistics).missing), (false, 1));
}

#[test]
fn every_precision_is_summed_up_and_numbers_that_are_none_are_counted_apart() {
    for precision in [Precision::F32, Precision::F64, Precision::F16, Precision::BF16, Precision::AsGiven] {
        let codec = AtomicFrameCodec::new().with_precision(precision);
        let depot = Depot::builder(codec).layout(kept()).memory().unwrap();
        let positions = vec![[f64::NAN, f64::INFINITY, 1.5], [0.5, -2.0, f64::NEG_INFINITY]];
        depot.put(0, &AtomicFrame::new().positions(&positions)).unwrap();
        let statistics = depot.statistics().unwrap();
        let found = statistics.field("positions").unwrap();
        assert_eq!((found.count(), found.non_finite()), (3, 3), "{precision}");
        assert_eq!((found.min(), found.max(), found.mean()), (Some(-2.0), Some(1.5), Some(0.0)));
        assert_eq!(statistics.field("n_atoms").unwrap().mean(), Some(2.0));
    }
}

#[test]
fn a_topology_is_no_frame_and_gives_its_types_once() {
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(kept()).memory().unwrap();
    let topology = Topology::new().types(&[8, 1, 1]).masses(&[16.0, 1.0, 1.0]);
    depot.put("topology", &AtomicFrame::new().topology(topology)).unwrap();
    for n in 0..5 {
        let positions = [[0.0_f32; 3]; 3];
        depot.put(n, &AtomicFrame::new().positions(&positions).topology_name("topology")).unwrap();
    }
    let statistics = depot.statistics().unwrap();
    assert_eq!(statistics.field("n_atoms").unwrap().count(), 5);
    assert_eq!(statistics.kinds("types").unwrap().get(1).unwrap().values, 2);
    assert_eq!(statistics.field("masses").unwrap().max(), Some(16.0));
}

#[test]
fn forged_statistics_are_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let depot =
        Depot::builder(AtomicFrameCodec::new()).layout(layout()).create_in(Arc::clone(&storage)).unwrap();
    (0..50).for_each(|n| put(&depot, n, n));
    depot.close().unwrap();
    let bytes = storage_bytes(&storage);
    let forged = |from: f64, to: f64| {
        let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
        let at = bytes.windows(8).rposition(|window| window == from).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&to);
        seal(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let report = verify_as(&path, AtomicFrameCodec::any(), &VerifyOptions::default(), |_| ()).unwrap();
        report.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(forged(-5.0, -5.0), "");
    let wrong = forged(f64::from(single(energy(49))), 1e3);
    assert!(wrong.contains("field `forces`: max 13.13") && wrong.contains("found 1000.0"), "{wrong}");
    let wrong = forged(energy(1), -100.0);
    assert!(wrong.contains("energy"), "{wrong}");
    let plain = verify(&path, &VerifyOptions::default(), |_| ()).unwrap();
    assert!(plain.is_whole() || plain.problems.iter().all(|error| error.to_string().contains("energy")));
}

fn storage_bytes(storage: &Arc<dyn Storage>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Makes the checksums of all index segments, and what has them, match.
fn seal(bytes: &mut [u8]) {
    vldepot::testing::fuzz::forge(bytes);
}

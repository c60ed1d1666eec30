//! Scalars in columns: what was put comes back, whatever happens to the depot in between.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::maintain::{RepairOptions, VerifyOptions, compact, repair, verify};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::testing::CountingStorage;
use vldepot::{
    Codec, CodecError, CommitEvery, Depot, ErrorKind, Key, Layout, Mapping, OpenOptions, Raw, Scalar,
    ScalarField, ScalarKind, WriteOptions,
};

const COLUMNS: [&str; 4] = ["step", "time", "energy", "n_atoms"];

fn layout() -> Layout {
    Layout::default().with_chunk_size(1 << 14).with_block_size(1 << 12).with_columns(COLUMNS)
}

/// A frame of a run. Every fifth has no energy.
fn frame<'a>(step: u32) -> AtomicFrame<'a> {
    let frame = AtomicFrame::new().n_atoms(2).step(i64::from(step) * 500).time(f64::from(step) * 0.002);
    if step.is_multiple_of(5) { frame } else { frame.energy(energy(step)) }
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

fn energy(step: u32) -> f64 {
    -1.1 / f64::from(step + 1)
}

/// Compares the columns with the frames whose steps are `expected`, by position and by name.
fn check<C: Codec>(depot: &Depot<C>, expected: &[(Key, u32)]) {
    let column = |name| depot.column(name, ..).unwrap();
    let (steps, times, energies, atoms) =
        (column("step"), column("time"), column("energy"), column("n_atoms"));
    assert_eq!(steps.as_i64().unwrap().len(), expected.len());
    assert_eq!(steps.n_absent() + times.n_absent() + atoms.n_absent(), 0);
    for (position, (key, step)) in expected.iter().enumerate() {
        assert_eq!(steps.get(position), Some(Scalar::Integer(i64::from(*step) * 500)), "{position}");
        assert_eq!(times.get(position), Some(Scalar::Float(f64::from(*step) * 0.002)));
        assert_eq!(atoms.get(position), Some(Scalar::Integer(2)));
        let energy = (!step.is_multiple_of(5)).then(|| Scalar::Float(energy(*step)));
        assert_eq!(energies.get(position), energy);
        assert_eq!(depot.scalar(key, "energy").unwrap(), energy);
    }
    let keys: Vec<Key> = depot.keys().collect::<Result<_, _>>().unwrap();
    assert!(keys.iter().eq(expected.iter().map(|(key, _)| key)));
    let n = expected.len() as u64;
    for range in [0..n / 2, n / 3..n, n..n, n / 3..n / 3 + 1, n / 2..n + 7] {
        let whole = index(range.start)..index(range.end.min(n));
        let part = depot.column("step", range).unwrap();
        assert_eq!(part.as_i64().unwrap(), &steps.as_i64().unwrap()[whole]);
    }
}

/// A change to a depot of frames.
#[derive(Debug, Clone)]
enum Change {
    Put(u8, u32),
    Remove(u8),
    Rename(u8, u8),
    Metadata(u8),
    Commit,
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0..40_u8, 0..1000_u32).prop_map(|(name, step)| Change::Put(name, step)),
        2 => (0..40_u8).prop_map(Change::Remove),
        1 => (0..40_u8, 0..40_u8).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => (0..40_u8).prop_map(Change::Metadata),
        2 => Just(Change::Commit),
        1 => Just(Change::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn columns_follow_the_records(changes in prop::collection::vec(change(), 1..120)) {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let codec = AtomicFrameCodec::new;
        let mut depot = Depot::builder(codec()).layout(layout()).create_in(Arc::clone(&storage)).unwrap();
        let mut expected: Vec<(Key, u32)> = Vec::new();
        for change in changes {
            let at = |expected: &[(Key, u32)], name: u8| {
                expected.iter().position(|(key, _)| *key == Key::from(name))
            };
            match change {
                Change::Put(name, step) => {
                    depot.put(name, &frame(step)).unwrap();
                    at(&expected, name).map(|at| expected.remove(at));
                    expected.push((Key::from(name), step));
                }
                Change::Remove(name) => {
                    let there = at(&expected, name).map(|at| expected.remove(at)).is_some();
                    prop_assert_eq!(depot.remove(name).unwrap(), there);
                }
                Change::Rename(from, to) => {
                    let (there, taken) = (at(&expected, from), at(&expected, to));
                    let renamed = depot.rename(from, to);
                    if let Some(at) = there.filter(|_| taken.is_none()) {
                        renamed.unwrap();
                        let (_, step) = expected.remove(at);
                        expected.push((Key::from(to), step));
                    }
                }
                Change::Metadata(name) => {
                    if let Some(at) = at(&expected, name) {
                        depot.set_metadata(name, "checked").unwrap();
                        let moved = expected.remove(at);
                        expected.push(moved);
                    }
                }
                Change::Commit => depot.commit().unwrap(),
                Change::Reopen => {
                    depot.close().unwrap();
                    depot = Depot::builder(codec()).append_in(Arc::clone(&storage)).unwrap();
                }
            }
        }
        check(&depot, &expected);
        depot.commit().unwrap();
        check(&depot, &expected);
        for mapping in [Mapping::Auto, Mapping::Never] {
            let options = OpenOptions::default().with_mapping(mapping);
            let reader = Depot::builder(Raw).open_options(options).open_in(Arc::clone(&storage)).unwrap();
            check(&reader, &expected);
        }
        depot.close().unwrap();
        check(&Depot::builder(Raw).open_in(storage).unwrap(), &expected);
    }
}

fn is_whole(path: &Path) -> bool {
    verify(path, &VerifyOptions::default(), |_| ()).unwrap().is_whole()
}

/// A file of 300 frames in several commits, and what is expected in it.
fn written(folder: &tempfile::TempDir) -> (std::path::PathBuf, Vec<(Key, u32)>) {
    let path = folder.path().join("run.vld");
    let options = WriteOptions::default().with_commit_every(CommitEvery::records(90));
    let builder = Depot::builder(AtomicFrameCodec::new()).layout(layout()).write_options(options);
    let depot = builder.create(&path).unwrap();
    (0..300).for_each(|step| depot.put(step, &frame(step)).unwrap());
    depot.remove(7).unwrap();
    depot.put(8, &frame(1008)).unwrap();
    let mut expected: Vec<_> = (0..300).filter(|step| ![7, 8].contains(step)).collect();
    expected.push(1008);
    let key = |step: u32| Key::from(if step == 1008 { 8 } else { step });
    let expected = expected.into_iter().map(|step| (key(step), step)).collect();
    depot.flush().unwrap();
    std::mem::forget(depot);
    (path, expected)
}

#[test]
fn columns_survive_a_crash_a_compaction_and_a_repair() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = written(&folder);
    // What was flushed and not committed is in the directories alone.
    let crashed = folder.path().join("crashed.vld");
    std::fs::copy(&path, &crashed).unwrap();
    check(&Depot::open(&crashed, AtomicFrameCodec::new()).unwrap(), &expected);
    assert!(is_whole(&crashed));
    Depot::append(&crashed, AtomicFrameCodec::new()).unwrap().close().unwrap();
    check(&Depot::open(&crashed, Raw).unwrap(), &expected);
    compact(&crashed, |_| ()).unwrap();
    check(&Depot::open(&crashed, AtomicFrameCodec::new()).unwrap(), &expected);
    let repaired = folder.path().join("repaired.vld");
    repair(&crashed, &repaired, &RepairOptions::default(), |_| ()).unwrap();
    check(&Depot::open(&repaired, AtomicFrameCodec::new()).unwrap(), &expected);
    assert!(is_whole(&repaired));
}

#[test]
fn columns_survive_a_truncation_that_is_taken_back_and_are_seen_by_followers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout()).create(&path).unwrap();
    let follower = Depot::open(&path, Raw).unwrap();
    let mut expected = Vec::new();
    for round in 0..4 {
        for step in 50 * round..50 * (round + 1) {
            depot.put(step, &frame(step)).unwrap();
            expected.push((Key::from(step), step));
        }
        depot.commit().unwrap();
        let _ = follower.refresh().unwrap();
        check(&follower, &expected);
    }
    assert_eq!(depot.truncate_after(99).unwrap(), 100);
    check(&depot, &expected[..100]);
    assert_eq!(depot.undo_truncate().unwrap(), 100);
    check(&depot, &expected);
    let _ = follower.refresh().unwrap();
    check(&follower, &expected);
    depot.close().unwrap();
}

#[test]
fn columns_are_there_again_without_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout()).create(&path).unwrap();
    (0..3000).for_each(|step| depot.put(step, &frame(step)).unwrap());
    depot.close().unwrap();
    let expected: Vec<_> = (0..3000).map(|step| (Key::from(step), step)).collect();
    let mut bytes = std::fs::read(&path).unwrap();
    // The only index segment: its kind is at byte 8 of the entry's head.
    let head = |at: &usize| bytes[*at..].starts_with(b"\x8bVLD\r\n\x1a\0\x02");
    let at = (4160..bytes.len()).step_by(64).find(head).unwrap();
    let length = u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap());
    let length = index(length);
    // The last page has the last values.
    bytes[at + length - 200] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let depot = Depot::open(&path, AtomicFrameCodec::new()).unwrap();
    check(&depot, &expected);
    assert!(!is_whole(&path));
}

#[test]
fn a_column_is_read_without_records_and_in_few_rounds() {
    let columns = Layout::default().with_columns(["energy", "step"]);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(columns).memory().unwrap();
    let positions = vec![[0.125_f32; 3]; 20];
    for step in 0..20_000 {
        depot.put(step, &frame(step).n_atoms(20).positions(&positions)).unwrap();
    }
    let bytes = depot.to_bytes().unwrap();
    let counting = Arc::new(CountingStorage::new(MemoryStorage::from_bytes(&bytes)));
    let depot = Depot::builder(Raw).open_in(Arc::clone(&counting) as Arc<dyn Storage>).unwrap();
    counting.take();
    assert_eq!(depot.column("step", ..).unwrap().len(), 20_000);
    let steps = counting.take();
    assert_eq!((steps.rounds, steps.bytes), (0, 0), "equal steps take no bytes");
    assert_eq!(depot.column("energy", ..).unwrap().n_absent(), 4000);
    let energies = counting.take();
    assert!(energies.rounds <= 4, "{energies:?}");
    assert!(energies.bytes < 20_000 * 9 + (16 << 10), "{energies:?}");
}

#[test]
fn whoever_cannot_give_a_column_does_not_put() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let make = || Depot::builder(AtomicFrameCodec::new()).layout(layout());
    make().create_in(Arc::clone(&storage)).unwrap().close().unwrap();
    let depot = Depot::builder(Raw).append_in(Arc::clone(&storage)).unwrap();
    let error = depot.put("a", b"bytes").unwrap_err();
    let ErrorKind::InvalidRecord { why } = error.kind() else { panic!("{error}") };
    assert_eq!(why, "the depot keeps the integer `step`, which codec `raw` does not give");
    assert!(depot.is_empty());
    drop(depot);
    // Copied records bring their columns along, and others are computed.
    let (with, without) = (make().memory().unwrap(), Depot::memory(AtomicFrameCodec::new()).unwrap());
    with.put(0, &frame(1)).unwrap();
    without.put(1, &frame(2)).unwrap();
    let depot = Depot::builder(Raw).append_in(Arc::clone(&storage)).unwrap();
    assert_eq!(depot.copy_all_from(&with).unwrap(), 1);
    depot.commit().unwrap();
    assert!(matches!(depot.copy_all_from(&without).unwrap_err().kind(), ErrorKind::InvalidRecord { .. }));
    drop(depot);
    let depot = Depot::builder(AtomicFrameCodec::new()).append_in(storage).unwrap();
    assert_eq!(depot.copy_all_from(&without).unwrap(), 1);
    depot.put_encoded(2, without.get(1).unwrap().as_bytes()).unwrap();
    check(&depot, &[(Key::from(0), 1), (Key::from(1), 2), (Key::from(2), 2)]);
}

#[test]
fn records_without_any_scalar_are_renamed_compacted_and_merged_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let layout = Layout::default().with_columns(["energy", "step"]);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(&path).unwrap();
    for name in ["a", "b"] {
        depot.put(name, &AtomicFrame::new().n_atoms(2)).unwrap();
    }
    depot.commit().unwrap();
    depot.set_metadata("a", "checked").unwrap();
    depot.put("c", &AtomicFrame::new().n_atoms(2).energy(-2.0).step(7)).unwrap();
    depot.rename("b", "d").unwrap();
    let energies = |depot: &Depot<AtomicFrameCodec>| {
        let column = depot.column("energy", ..).unwrap();
        column.iter().collect::<Vec<_>>()
    };
    let expected = [None, Some(Scalar::Float(-2.0)), None];
    assert_eq!(energies(&depot), expected);
    depot.close().unwrap();
    compact(&path, |_| ()).unwrap();
    let depot = Depot::open(&path, AtomicFrameCodec::new()).unwrap();
    assert_eq!(energies(&depot), expected);
    assert_eq!(depot.scalar("c", "step").unwrap(), Some(Scalar::Integer(7)));
}

#[test]
fn columns_that_are_not_there_are_named() {
    let refused = |columns: &[&str]| {
        let layout = Layout::default().with_columns(columns.iter().copied());
        let made = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory();
        made.map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused(&["energy", "spin"]).contains("the scalars are step, time, energy, n_atoms"));
    assert!(refused(&["step", "step"]).contains("`step` twice"));
    let layout = Layout::default().with_columns(["step"]);
    assert!(Depot::builder(Raw).layout(layout.clone()).memory().is_err());
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout.clone()).memory().unwrap();
    let error = depot.column("energy", ..).unwrap_err().to_string();
    assert!(error.contains("no column `energy`; the depot has step"), "{error}");
    assert!(matches!(depot.scalar("a", "step").unwrap_err().kind(), ErrorKind::NotFound));
    assert!(depot.column("step", ..).unwrap().is_empty());
    assert_eq!(depot.columns(), [ScalarField::integer("step")]);
    assert_eq!(depot.info().unwrap().layout.columns, ["step"]);
    let copy = Depot::from_bytes(&depot.to_bytes().unwrap(), AtomicFrameCodec::new()).unwrap();
    assert_eq!(copy.columns(), depot.columns());
}

/// Gives another kind of number than it says.
struct Wrong;

impl Codec for Wrong {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "test.wrong";
    const ALIGN: usize = 1;

    fn scalars(&self) -> &[ScalarField] {
        const { &[ScalarField::integer("length")] }
    }

    fn scalar(&self, view: &&[u8], _name: &str) -> Option<Scalar> {
        if view.is_empty() { None } else { Some(Scalar::Float(0.5)) }
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }
}

#[test]
fn a_codec_that_gives_another_kind_of_number_is_refused() {
    let layout = Layout::default().with_columns(["length"]);
    let depot = Depot::builder(Wrong).layout(layout).memory().unwrap();
    depot.put("empty", b"").unwrap();
    let error = depot.put("full", b"full").unwrap_err().to_string();
    assert!(error.contains("scalar `length`: expected integer, found Float(0.5)"), "{error}");
    assert_eq!(depot.column("length", ..).unwrap().n_absent(), 1);
    assert_eq!(depot.columns()[0].kind, ScalarKind::Integer);
    depot.commit().unwrap();
    assert_eq!(depot.column("length", ..).unwrap().get(0), None);
}

#[test]
fn rows_belong_together_while_another_thread_replaces_records() {
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout()).memory().unwrap();
    let put = |n: u32| {
        let frame = AtomicFrame::new().n_atoms(n as usize + 1).step(n.into()).time(n.into()).energy(n.into());
        depot.put(n, &frame).unwrap();
    };
    (0..300).for_each(put);
    depot.commit().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40_u32 {
                (round % 7..300).step_by(7).for_each(put);
                depot.remove(round).unwrap();
                if round % 10 == 9 {
                    depot.commit().unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut last = false;
        while !std::mem::replace(&mut last, done.load(std::sync::atomic::Ordering::Relaxed)) {
            let (names, columns) = depot.names_and_columns(&["energy", "step", "n_atoms"]).unwrap();
            assert!(names.len() >= 260);
            for (row, name) in names.iter().enumerate() {
                let number = i64::try_from(name.as_int().unwrap()).unwrap();
                assert_eq!(columns[0].get(row), Some(Scalar::Float(Scalar::Integer(number).to_f64())));
                assert_eq!(columns[1].get(row), Some(Scalar::Integer(number)));
                assert_eq!(columns[2].get(row), Some(Scalar::Integer(number + 1)));
            }
            let columns = depot.columns_together(&["step", "n_atoms"]).unwrap();
            let rows = columns[0].as_i64().unwrap().iter().zip(columns[1].as_i64().unwrap());
            assert!(rows.into_iter().all(|(step, n_atoms)| step + 1 == *n_atoms));
        }
    });
    let refused = depot.names_and_columns(&["spin"]).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidOptions { .. }), "{refused}");
    let (names, columns) = depot.names_and_columns(&[""; 0]).unwrap();
    assert_eq!((names.len() as u64, columns.len()), (depot.len(), 0));
}

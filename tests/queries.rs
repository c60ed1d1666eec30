//! Queries on scalars, names and metadata: the records that a check of each one finds, without reading any.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::shards::{MergeOptions, merge};
use vldepot::storage::{FileStorage, MemoryStorage, Storage};
use vldepot::testing::CountingStorage;
use vldepot::{
    Codec, CommitEvery, Depot, ErrorKind, Key, Layout, Mapping, OpenOptions, Raw, Result, WriteOptions,
};

fn layout() -> Layout {
    Layout::default()
        .with_chunk_size(1 << 14)
        .with_block_size(1 << 12)
        .with_columns(["step", "energy", "n_atoms"])
        .with_statistics(true)
}

fn energy(n: u32) -> Option<f64> {
    match n % 11 {
        3 => None,
        5 => Some(f64::NAN),
        _ => Some(f64::from(n % 50) * 0.25 - 5.0),
    }
}

fn put(depot: &Depot<AtomicFrameCodec>, name: u32, n: u32) {
    let frame = AtomicFrame::new().n_atoms((n % 7) as usize).step(i64::from(n) * 10);
    let frame = match energy(n) {
        Some(energy) => frame.energy(energy),
        None => frame,
    };
    if n.is_multiple_of(3) {
        depot.put_with_metadata(
            name,
            &frame,
            &json!({ "source": if n.is_multiple_of(2) { "md" } else { "mc" } }),
        )
    } else {
        depot.put(name, &frame)
    }
    .unwrap();
}

fn found<C: Codec>(depot: &Depot<C>, query: &str) -> Vec<u64> {
    depot.select(query).unwrap().collect::<Result<_>>().unwrap()
}

/// Compares queries with a check of each record, which are `expected`, by name and by number.
fn check<C: Codec>(depot: &Depot<C>, expected: &[(u32, u32)]) {
    type Test = fn(u32, u32) -> bool;
    let queries: [(&str, Test); 8] = [
        ("energy < -3 and n_atoms <= 5", |_, n| energy(n).is_some_and(|e| e < -3.0) && n % 7 <= 5),
        ("not energy < -3", |_, n| !energy(n).is_some_and(|e| e < -3.0)),
        ("step >= 4000", |_, n| n >= 400),
        ("has(energy) and isnan(energy)", |_, n| n % 11 == 5),
        ("meta.source == 'md' or step == 10", |_, n| n.is_multiple_of(6) || n == 1),
        ("name in (1, 2, 3, 30) and step > -1", |name, _| [1, 2, 3, 30].contains(&name)),
        ("step < 0", |_, _| false),
        ("step >= 0 and n_atoms < 100", |_, _| true),
    ];
    for (query, test) in queries {
        let positions: Vec<u64> =
            (0..).zip(expected).filter(|(_, (name, n))| test(*name, *n)).map(|(at, _)| at).collect();
        assert_eq!(found(depot, query), positions, "{query}");
        let keys: Vec<Key> = depot.select(query).unwrap().keys().collect::<Result<_>>().unwrap();
        let names = positions.iter().map(|&at| Key::from(expected[usize::try_from(at).unwrap()].0));
        assert!(keys.into_iter().eq(names), "{query}");
    }
}

#[derive(Debug, Clone)]
enum Change {
    Put(u32, u32),
    Remove(u32),
    Commit,
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => (0..40_u32, 0..1000_u32).prop_map(|(name, n)| Change::Put(name, n)),
        2 => (0..40_u32).prop_map(Change::Remove),
        2 => Just(Change::Commit),
        1 => Just(Change::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_query_finds_what_a_check_of_each_record_finds(changes in prop::collection::vec(change(), 1..150)) {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let codec = AtomicFrameCodec::new;
        let mut depot = Depot::builder(codec()).layout(layout()).create_in(Arc::clone(&storage)).unwrap();
        let mut expected: Vec<(u32, u32)> = Vec::new();
        for change in changes {
            match change {
                Change::Put(name, n) => {
                    put(&depot, name, n);
                    expected.retain(|&(there, _)| there != name);
                    expected.push((name, n));
                }
                Change::Remove(name) => {
                    depot.remove(name).unwrap();
                    expected.retain(|&(there, _)| there != name);
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
        for mapping in [Mapping::Auto, Mapping::Never] {
            let options = OpenOptions::default().with_mapping(mapping);
            let reader = Depot::builder(Raw).open_options(options).open_in(Arc::clone(&storage)).unwrap();
            check(&reader, &expected);
        }
    }
}

#[test]
fn a_query_is_about_one_moment_and_comes_lazily() {
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout()).memory().unwrap();
    (0..100).for_each(|n| put(&depot, n, n));
    let mut matches = depot.select("step >= 500").unwrap();
    assert_eq!(matches.next().transpose().unwrap(), Some(50));
    depot.remove(60).unwrap();
    put(&depot, 200, 200);
    assert_eq!(matches.count(), 49);
    assert_eq!(found(&depot, "step >= 500").len(), 50);
}

/// A depot of `n` frames in several segments, whose steps go up.
fn written(n: u32, folder: &Path) -> std::path::PathBuf {
    let path = folder.join("run.vld");
    let write = WriteOptions::default().with_commit_every(CommitEvery::records(1000));
    let depot =
        Depot::builder(AtomicFrameCodec::new()).layout(layout()).write_options(write).create(&path).unwrap();
    let positions = vec![[0.125_f32; 3]; 6];
    for n in 0..n {
        let energy = (f64::from(n) * 0.7).sin();
        let frame = AtomicFrame::new().positions(&positions).step(n.into()).energy(energy);
        depot.put(n, &frame).unwrap();
    }
    depot.commit().unwrap();
    std::mem::forget(depot);
    path
}

#[test]
fn a_query_reads_columns_and_no_record_and_leaves_segments_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(7000, folder.path());
    let counting = Arc::new(CountingStorage::new(FileStorage::open(&path).unwrap()));
    let depot = Depot::builder(Raw).open_in(Arc::clone(&counting) as Arc<dyn Storage>).unwrap();
    assert_eq!(depot.info().unwrap().index_segments, 7);
    counting.take();
    // The steps are in the heads of the segments.
    assert_eq!(found(&depot, "step > 10000 or step < 0").len(), 0);
    assert_eq!(found(&depot, "step >= 0").len(), 7000);
    assert_eq!(found(&depot, "energy > 1.5").len(), 0);
    let nothing = counting.take();
    assert_eq!((nothing.rounds, nothing.bytes), (0, 0));
    // One segment of seven is read.
    assert_eq!(found(&depot, "3000 <= step < 3010"), (3000..3010).collect::<Vec<u64>>());
    assert_eq!(found(&depot, "step == 3000 and n_atoms == 7 and energy > 0").len(), 0);
    assert_eq!(counting.take().bytes, 0, "equal steps take no bytes, and nobody asks for the energies");
    assert!(found(&depot, "3000 <= step < 4000 and energy > 0.5").len() > 200);
    let read = counting.take();
    assert!(read.bytes >= 8000 && read.bytes < 8000 + (16 << 10), "{read:?}");
    let all = found(&depot, "energy > 0.5");
    assert!(all.len() > 2000);
    let read = counting.take();
    assert!(read.bytes < 7000 * 8 + 7 * (8 << 10), "{read:?}");
    let frames = std::fs::metadata(&path).unwrap().len();
    assert!(frames > read.bytes);
}

#[test]
fn shards_answer_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.vld"), folder.path().join("b.vld"));
    for (path, names) in [(&first, 0..60), (&second, 50..120)] {
        let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout()).create(path).unwrap();
        names.for_each(|n| put(&depot, n, n + u32::from(path == &second)));
        depot.close().unwrap();
    }
    let set = folder.path().join("set");
    std::fs::create_dir(&set).unwrap();
    merge(&set, &[&first, &second], &MergeOptions::default()).unwrap();
    let depot = Depot::open(&set, AtomicFrameCodec::new()).unwrap();
    let expected: Vec<(u32, u32)> = (0..50).map(|n| (n, n)).chain((50..120).map(|n| (n, n + 1))).collect();
    check(&depot, &expected);
    let statistics = depot.statistics().unwrap();
    assert_eq!(statistics.columns[2].summary.count(), 120);
    let fields = statistics.fields.unwrap();
    assert_eq!((fields.exact, fields.counted, fields.removed, fields.missing), (false, 130, 10, 0));
}

#[test]
fn metadata_of_every_kind_can_be_asked_for() {
    let depot = Depot::memory(Raw).unwrap();
    let all = [
        json!({ "source": "md", "n": 3, "deep": { "er": true } }),
        json!({ "source": 7, "n": -3.5 }),
        json!({ "source": ["md"], "n": null, "a b": "x" }),
    ];
    for (n, metadata) in all.iter().enumerate() {
        depot.put_with_metadata(format!("run_{n}"), b"", metadata).unwrap();
    }
    depot.put("none", b"").unwrap();
    for (query, expected) in [
        ("meta.source == 'md'", &[0][..]),
        ("meta.source != 'md'", &[1, 2]),
        ("meta.n < 4", &[0, 1]),
        ("meta.deep.er == true", &[0]),
        ("has(meta.n)", &[0, 1]),
        ("has(meta)", &[0, 1, 2]),
        ("meta.`a b` == 'x' or meta.\"a b\" == 'y'", &[2]),
        ("name glob 'run_*' and not has(meta.deep)", &[1, 2]),
    ] {
        assert_eq!(found(&depot, query), expected, "{query}");
    }
    let kept: Option<Value> = depot.metadata("run_0").unwrap();
    assert_eq!(kept.as_ref(), Some(&all[0]));
}

#[test]
fn what_is_no_query_is_refused_with_its_column() {
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout()).memory().unwrap();
    let refused = |query: &str| {
        let error = depot.select(query).unwrap_err();
        let ErrorKind::InvalidQuery { column, .. } = error.kind() else { panic!("{error}") };
        (*column, error.to_string())
    };
    let (column, message) = refused("step > 3 and enrgy < 3");
    assert_eq!(column, 14);
    assert!(message.contains("no column `enrgy`; the depot has step, energy, n_atoms"), "{message}");
    assert_eq!(refused("step >").0, 7);
    assert_eq!(refused(&format!("step > {}", "(".repeat(100_000))).0, 1);
    assert!(refused(&format!("step = {}", "x".repeat(1000))).1.len() < 500);
}

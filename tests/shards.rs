//! Folders of shards: several depots that are read as one. B8 and B13 of the list of what users of Barecat
//! need.

#![cfg(feature = "shards")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vldepot::maintain::{VerifyOptions, compact, verify};
use vldepot::shards::{self, MergeOptions, ReshardOptions, Writer, WriterOptions};
use vldepot::{Depot, ErrorKind, Key, Layout, Mapping, OpenOptions, Raw, ReadOptions};

fn bytes(n: u64, len: usize) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3] & 0x3f
        })
        .collect()
}

fn small() -> Layout {
    Layout::default().with_chunk_size(4096).with_block_size(1024)
}

fn path_of(folder: &Path, shard: usize) -> PathBuf {
    folder.join(format!("part_{shard}.vld"))
}

/// Makes a shard with these records.
fn shard(path: &Path, records: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let depot = Depot::builder(Raw).layout(small()).create(path).unwrap();
    for (name, bytes) in records {
        depot.put(&name, &bytes).unwrap();
    }
    depot.close().unwrap();
}

/// Three shards of 100 records, of which the newest supersedes ten of the first.
fn three(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let name = |n: u64| format!("name {n}");
    let of = |range: std::ops::Range<u64>, salt: u64| -> Vec<_> {
        range.map(|n| (name(n), bytes(n + salt, usize::try_from(n * 37 % 1500).unwrap()))).collect()
    };
    let parts = [of(0..100, 0), of(100..200, 0), [of(200..290, 0), of(40..50, 1000)].concat()];
    for (number, records) in parts.iter().enumerate() {
        shard(&path_of(folder, number), records.clone());
    }
    let superseded = |name: &String| parts[2].iter().any(|(other, _)| other == name);
    let kept = parts[0].iter().filter(|(name, _)| !superseded(name));
    kept.chain(&parts[1]).chain(&parts[2]).cloned().collect()
}

fn merged(folder: &Path) -> shards::Merged {
    shards::merge(folder, &shards::found(folder).unwrap(), &MergeOptions::default()).unwrap()
}

/// Checks that a depot has these records in this order, in every way of reading.
fn check(depot: &Depot<Raw>, expected: &[(String, Vec<u8>)]) {
    assert_eq!(depot.len(), expected.len() as u64);
    let keys: Vec<Key> = depot.keys().map(Result::unwrap).collect();
    assert_eq!(keys, expected.iter().map(|(name, _)| Key::from(name.as_str())).collect::<Vec<_>>());
    for (position, (name, bytes)) in (0..).zip(expected) {
        assert_eq!(depot.get(name).unwrap().view(), &**bytes, "{name}");
        assert_eq!(depot.get_at(position).unwrap().view(), &**bytes);
        assert_eq!(depot.key_at(position).unwrap(), Key::from(name.as_str()));
        assert_eq!(depot.location(name).unwrap().length, bytes.len() as u64);
    }
    for threads in [1, 3] {
        let options = ReadOptions::default().with_threads(threads);
        let listed = depot.iter_with(&options).map(|entry| entry.unwrap());
        for ((key, record), (name, bytes)) in listed.zip(expected) {
            assert_eq!((key, record.view()), (Key::from(name.as_str()), &**bytes));
        }
        let names: Vec<&String> = expected.iter().rev().map(|(name, _)| name).collect();
        let many = depot.get_many_with(&names, &options).unwrap();
        assert!(many.iter().zip(expected.iter().rev()).all(|(record, (_, bytes))| record.view() == &**bytes));
    }
    let mut sorted: Vec<_> = expected.iter().map(|(name, _)| Key::from(name.as_str())).collect();
    sorted.sort();
    let names = depot.sorted_keys::<&str>(..).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(names, sorted);
    let totals = depot.totals_with_prefix("").unwrap();
    assert_eq!(totals.records, expected.len() as u64);
    assert_eq!(totals.raw_bytes, expected.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    assert_eq!(depot.info().unwrap().raw_bytes, totals.raw_bytes);
    assert!(matches!(depot.get("no such name").unwrap_err().kind(), ErrorKind::NotFound));
    let mut loaded: Vec<_> =
        depot.loader().batch_size(7).shuffle(3).build().unwrap().collect::<Result<_, _>>().unwrap();
    let loaded: usize = loaded.iter_mut().map(|batch| batch.len()).sum();
    assert_eq!(loaded, expected.len());
}

#[test]
fn a_set_is_read_like_one_depot() {
    let folder = tempfile::tempdir().unwrap();
    let expected = three(folder.path());
    let merged = merged(folder.path());
    assert_eq!((merged.shards, merged.added, merged.records, merged.superseded), (3, 3, 290, 10));
    assert_eq!(merged.examples[0], Key::from("name 40"));
    for mapping in [Mapping::Auto, Mapping::Never] {
        for cache in [0, 1 << 20] {
            let options = OpenOptions::default().with_mapping(mapping).with_cache_bytes(cache);
            check(&Depot::builder(Raw).open_options(options).open(folder.path()).unwrap(), &expected);
        }
    }
    let report = verify(folder.path(), &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole());
    assert_eq!((report.records, report.format), (300, "shards"));
}

#[test]
fn a_moved_folder_goes_on_and_shards_may_lie_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let (folder, elsewhere) = (root.path().join("deep/set"), root.path().join("deep/elsewhere"));
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    let expected = three(&elsewhere);
    let paths: Vec<_> = (0..3).map(|n| path_of(&elsewhere, n)).collect();
    shards::merge(&folder, &paths, &MergeOptions::default()).unwrap();
    fs::rename(root.path().join("deep"), root.path().join("moved")).unwrap();
    check(&Depot::open(root.path().join("moved/set"), Raw).unwrap(), &expected);
}

#[test]
fn shards_that_changed_alone_are_read_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = three(folder.path());
    merged(folder.path());
    // A record that supersedes one is removed: the older one counts again.
    let depot = Depot::append(path_of(folder.path(), 2), Raw).unwrap();
    depot.remove("name 45").unwrap();
    depot.put("name 150", b"newer").unwrap();
    depot.close().unwrap();
    expected.retain(|(name, _)| name != "name 150" && name != "name 45");
    let old = ("name 45".to_owned(), bytes(45, 45 * 37 % 1500));
    let place = expected.iter().position(|(name, _)| name == "name 51").unwrap() - 1;
    assert_eq!(expected[place].0, "name 39".replace("39", "50"));
    expected.insert(place, old);
    expected.push(("name 150".to_owned(), b"newer".to_vec()));
    check(&Depot::open(folder.path(), Raw).unwrap(), &expected);
    let again = shards::merge::<&str>(folder.path(), &[], &MergeOptions::default()).unwrap();
    assert_eq!((again.added, again.superseded), (0, 10));
    check(&Depot::open(folder.path(), Raw).unwrap(), &expected);
    // Compacting gives a shard another identity and other ordinals.
    compact(path_of(folder.path(), 0), |_| {}).unwrap();
    check(&Depot::open(folder.path(), Raw).unwrap(), &expected);
}

#[test]
fn what_no_commit_covers_is_read_from_every_shard() {
    let folder = tempfile::tempdir().unwrap();
    let mut writers = Vec::new();
    for number in 0..3 {
        let depot = Depot::builder(Raw).layout(small()).create(path_of(folder.path(), number)).unwrap();
        for n in 0..40 {
            depot.put(format!("{number}/{n:02}"), &bytes(n, 500)).unwrap();
            if n == 20 {
                depot.commit().unwrap();
            }
        }
        // Removed since the commit, and written over.
        depot.remove(format!("{number}/03")).unwrap();
        depot.put(format!("{number}/04"), b"again").unwrap();
        writers.push(depot);
    }
    merged(folder.path());
    let reader = Depot::open(folder.path(), Raw).unwrap();
    for (number, writer) in writers.iter().enumerate() {
        // What is in the file is what the writer has flushed: whole chunks.
        let alone = Depot::open(path_of(folder.path(), number), Raw).unwrap();
        let of_shard = |key: &Key| key.as_str().unwrap().starts_with(&format!("{number}/"));
        let seen: Vec<_> = reader.keys().map(Result::unwrap).filter(of_shard).collect();
        let there: Vec<_> = alone.keys().map(Result::unwrap).collect();
        assert_eq!(seen, there);
        for key in &there {
            assert_eq!(reader.get(key).unwrap().view(), alone.get(key).unwrap().view());
        }
        assert!(writer.len() >= alone.len());
    }
    for writer in &writers {
        writer.commit().unwrap();
    }
    let refreshed = reader.refresh().unwrap();
    assert!(refreshed.changed());
    assert_eq!(refreshed.now, 3 * 39);
    for (number, writer) in writers.into_iter().enumerate() {
        for entry in &writer {
            let (key, record) = entry.unwrap();
            assert_eq!(reader.get(&key).unwrap().view(), record.view(), "shard {number}");
        }
        assert!(reader.find(format!("{number}/03")).unwrap().is_none());
        writer.close().unwrap();
    }
}

#[test]
fn a_reader_follows_shards_that_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    shard(&path_of(folder.path(), 0), [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
    merged(folder.path());
    let reader = Depot::open(folder.path(), Raw).unwrap();
    let (_, early) = reader.iter().next().unwrap().unwrap();
    assert!(!reader.refresh().unwrap().changed() || reader.len() == 2);
    shard(&path_of(folder.path(), 1), [("c".to_owned(), b"3".to_vec()), ("a".to_owned(), b"4".to_vec())]);
    merged(folder.path());
    let refreshed = reader.refresh().unwrap();
    assert_eq!((refreshed.before, refreshed.now, refreshed.kept), (2, 3, 0));
    assert_eq!(reader.get("a").unwrap().view(), b"4");
    compact(path_of(folder.path(), 0), |_| {}).unwrap();
    let _ = reader.refresh().unwrap();
    assert_eq!(reader.get("b").unwrap().view(), b"2");
    assert_eq!(early.view(), b"1");
}

#[test]
fn a_missing_shard_costs_its_own_records_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let expected = three(folder.path());
    merged(folder.path());
    fs::remove_file(path_of(folder.path(), 1)).unwrap();
    let error = Depot::open(folder.path(), Raw).map(|_| ()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::MissingShard { shard, records: 100, .. } if shard == "part_1.vld")
    );
    assert!(error.is_damage() && error.to_string().contains("part_1.vld"), "{error}");
    let options = OpenOptions::default().with_accept_loss(true);
    let depot = Depot::builder(Raw).open_options(options).open(folder.path()).unwrap();
    assert!(depot.incomplete().is_some() && !depot.info().unwrap().complete);
    assert_eq!(depot.len(), 190);
    for (name, bytes) in &expected {
        let number: u64 = name[5..].parse().unwrap();
        if (100..200).contains(&number) {
            let error = depot.get(name).map(|_| ()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::MissingShard { .. }), "{error}");
            assert!(depot.contains(name).is_err());
        } else {
            assert_eq!(depot.get(name).unwrap().view(), &**bytes);
        }
    }
    let report = verify(folder.path(), &VerifyOptions::default(), |_| {}).unwrap();
    assert!(!report.is_whole() && report.problems[0].to_string().contains("part_1.vld"));
    // A merge must not forget that it was there.
    let again = shards::merge::<&str>(folder.path(), &[], &MergeOptions::default()).unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::MissingShard { .. }), "{again}");
}

#[test]
fn what_a_missing_shard_superseded_is_not_taken_for_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    merged(folder.path());
    fs::remove_file(path_of(folder.path(), 2)).unwrap();
    let options = OpenOptions::default().with_accept_loss(true);
    let depot = Depot::builder(Raw).open_options(options.clone()).open(folder.path()).unwrap();
    assert_eq!(depot.len(), 190);
    assert!(!depot.keys().any(|key| key.unwrap() == Key::from("name 45")));
    let error = depot.get("name 45").map(|_| ()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::MissingShard { .. }), "{error}");
    // Also not after another shard has changed.
    let other = Depot::append(path_of(folder.path(), 0), Raw).unwrap();
    other.put("new", b"..").unwrap();
    other.close().unwrap();
    let depot = Depot::builder(Raw).open_options(options).open(folder.path()).unwrap();
    assert_eq!(depot.get("new").unwrap().view(), b"..");
    assert_eq!(depot.get("name 39").unwrap().len(), 39 * 37);
}

#[test]
fn damage_is_named_by_shard_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let expected = three(folder.path());
    merged(folder.path());
    let path = path_of(folder.path(), 1);
    let mut content = fs::read(&path).unwrap();
    let place = {
        let depot = Depot::open(&path, Raw).unwrap();
        let location = depot.location("name 130").unwrap();
        usize::try_from(location.file_offset.unwrap()).unwrap() + 700
    };
    content[place] ^= 4;
    fs::write(&path, content).unwrap();
    let alone = Depot::open(&path, Raw).unwrap();
    let depot = Depot::open(folder.path(), Raw).unwrap();
    let mut damaged = 0;
    for (name, bytes) in &expected {
        match depot.get(name) {
            Ok(record) => assert_eq!(record.view(), &**bytes),
            Err(error) => {
                damaged += 1;
                assert!(error.is_damage());
                assert_eq!(error.to_string(), alone.get(name).map(|_| ()).unwrap_err().to_string());
                assert!(error.to_string().contains("part_1.vld"), "{error}");
            }
        }
    }
    assert!(damaged > 0);
    let report = verify(folder.path(), &VerifyOptions::default(), |_| {}).unwrap();
    assert_eq!(report.damaged_records.len(), damaged);
}

#[test]
fn other_shards_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    merged(folder.path());
    let before = fs::read(folder.path().join("shards.json")).unwrap();
    let other = folder.path().join("other.vld");
    Depot::builder(Raw).layout(small().with_chunk_size(8192)).create(&other).unwrap().close().unwrap();
    let refused = |why: &str| {
        let error = shards::merge(folder.path(), &[&other], &MergeOptions::default()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(fs::read(folder.path().join("shards.json")).unwrap(), before);
    };
    refused("chunks of 8192 bytes");
    fs::remove_file(&other).unwrap();
    refused("other.vld");
    fs::write(&other, b"no depot at all").unwrap();
    refused("other.vld");
    let unique = MergeOptions::default().with_unique(true);
    let error = shards::merge::<&str>(folder.path(), &[], &unique).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists) && error.to_string().contains("name 40"), "{error}");
    // Another depot in the place of a shard.
    fs::remove_file(path_of(folder.path(), 0)).unwrap();
    shard(&path_of(folder.path(), 0), [("x".to_owned(), b"..".to_vec())]);
    let error = Depot::open(folder.path(), Raw).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("another depot than the manifest names"), "{error}");
    let error = Depot::append(folder.path(), Raw).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("shards::Writer"), "{error}");
}

#[test]
fn a_writer_begins_new_shards_and_readers_find_what_is_committed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("set");
    let options = WriterOptions::default().with_shard_bytes(20_000);
    let writer = Writer::new(&folder, Depot::builder(Raw).layout(small()), options.clone()).unwrap();
    let record = |n: u64| bytes(n, 900);
    for n in 0..200 {
        writer.put(n, &record(n)).unwrap();
    }
    writer.commit().unwrap();
    // As after a crash: nothing was closed.
    let depot = Depot::open(&folder, Raw).unwrap();
    assert_eq!(depot.len(), 200);
    assert!((0..200).all(|n| depot.get(n).unwrap().view() == record(n)));
    let merged = writer.close().unwrap();
    assert!(merged.shards > 5, "{merged:?}");
    for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(fs::metadata(&path).unwrap().len() < 40_000, "{}", path.display());
    }
    // Two writers at once.
    std::thread::scope(|scope| {
        for rank in 0..2_u64 {
            let (folder, options) = (&folder, options.clone());
            scope.spawn(move || {
                let options = options.with_prefix(format!("rank_{rank}_"));
                let writer = Writer::new(folder, Depot::builder(Raw), options).unwrap();
                for n in 0..100 {
                    writer.put(1000 * (rank + 1) + n, &bytes(n, 900)).unwrap();
                }
                writer.close().unwrap();
            });
        }
    });
    let depot = Depot::open(&folder, Raw).unwrap();
    assert_eq!(depot.len(), 400);
    assert_eq!(depot.info().unwrap().layout.chunk_size, 4096);
    drop(depot);
    assert_eq!(shards::remove(&folder, &[7, 1000, 2099]).unwrap(), 3);
    let depot = Depot::open(&folder, Raw).unwrap();
    assert_eq!(depot.len(), 397);
    assert!(depot.find(1000).unwrap().is_none());
    assert!(verify(&folder, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
}

#[test]
fn removing_a_name_removes_what_it_superseded() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    merged(folder.path());
    assert_eq!(shards::remove(folder.path(), &["name 45"]).unwrap(), 1);
    let depot = Depot::open(folder.path(), Raw).unwrap();
    assert!(depot.find("name 45").unwrap().is_none());
    assert_eq!(depot.len(), 289);
    let error = shards::remove(folder.path(), &["name 1", "none"]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound));
    assert!(depot.contains("name 1").unwrap());
}

#[test]
fn resharding_up_and_down_keeps_every_byte() {
    let root = tempfile::tempdir().unwrap();
    let first = root.path().join("first");
    fs::create_dir(&first).unwrap();
    let expected = three(&first);
    merged(&first);
    let depot = Depot::append(path_of(&first, 1), Raw).unwrap();
    depot.set_depot_metadata("program", "md").unwrap();
    depot.close().unwrap();
    let (many, one) = (root.path().join("many"), root.path().join("one.vld"));
    let made =
        shards::reshard(&first, &many, &ReshardOptions::default().with_shard_bytes(10_000), |_| {}).unwrap();
    assert!(made.shards > 8 && made.records == 290 && made.superseded == 0, "{made:?}");
    check(&Depot::open(&many, Raw).unwrap(), &expected);
    let made = shards::reshard(&many, &one, &ReshardOptions::default(), |_| {}).unwrap();
    assert_eq!((made.shards, made.records), (1, 290));
    let depot = Depot::open(&one, Raw).unwrap();
    check(&depot, &expected);
    assert_eq!(depot.depot_metadata::<String>("program").unwrap().as_deref(), Some("md"));
    let error =
        shards::reshard(&one, &many, &ReshardOptions::default().with_shard_bytes(9), |_| {}).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PathExists));
    assert!(root.path().read_dir().unwrap().count() == 3, "nothing is left over");
}

#[test]
fn a_set_with_a_damaged_index_is_read_by_its_directories() {
    let folder = tempfile::tempdir().unwrap();
    let expected = three(folder.path());
    merged(folder.path());
    let path = path_of(folder.path(), 1);
    let content = fs::read(&path).unwrap();
    // The names of the index, which are stored as they are.
    let place = content.windows(7).rposition(|window| window == b"name 10").unwrap();
    let mut changed = content.clone();
    changed[place] ^= 1;
    fs::write(&path, changed).unwrap();
    for mapping in [Mapping::Auto, Mapping::Never] {
        let options = OpenOptions::default().with_mapping(mapping);
        let depot = Depot::builder(Raw).open_options(options).open(folder.path()).unwrap();
        for (position, (name, bytes)) in (0..).zip(&expected) {
            assert_eq!(depot.get(name).unwrap().view(), &**bytes, "{name}");
            assert_eq!(depot.key_at(position).unwrap(), Key::from(name.as_str()));
            assert_eq!(depot.get_at(position).unwrap().view(), &**bytes);
        }
        let listed: Vec<Key> = depot.keys().map(Result::unwrap).collect();
        assert_eq!(listed.len(), expected.len());
    }
}

#[cfg(feature = "atomic")]
#[test]
fn columns_go_through_the_shards() {
    use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    let folder = tempfile::tempdir().unwrap();
    for shard in 0..3_i32 {
        let layout = small().with_columns(["step", "energy"]);
        let codec = AtomicFrameCodec::default();
        let depot =
            Depot::builder(codec).layout(layout).create(folder.path().join(format!("{shard}.vld"))).unwrap();
        for n in 0..20 {
            let frame = AtomicFrame::new().n_atoms(2).step((100 * shard + n).into()).energy(f64::from(n));
            depot.put(format!("{shard}/{n}"), &frame).unwrap();
        }
        depot.close().unwrap();
    }
    merged(folder.path());
    let depot = Depot::open(folder.path(), AtomicFrameCodec::default()).unwrap();
    let steps = depot.column("step", ..).unwrap();
    let expected: Vec<i64> = (0..3).flat_map(|shard| (0..20).map(move |n| 100 * shard + n)).collect();
    assert_eq!(steps.as_i64().unwrap(), expected);
    assert_eq!(depot.get("2/7").unwrap().view().step(), Some(207));
}

#[test]
fn a_refresh_that_finds_nothing_new_says_so() {
    let folder = tempfile::tempdir().unwrap();
    three(folder.path());
    merged(folder.path());
    let reader = Depot::open(folder.path(), Raw).unwrap();
    let refreshed = reader.refresh().unwrap();
    assert!(!refreshed.changed());
    assert_eq!((refreshed.kept, refreshed.now), (290, 290));
    let depot = Depot::append(path_of(folder.path(), 2), Raw).unwrap();
    depot.set_depot_metadata("a", "b").unwrap();
    depot.close().unwrap();
    let refreshed = reader.refresh().unwrap();
    assert!(refreshed.changed());
    assert_eq!((refreshed.kept, refreshed.now), (290, 290));
}

#[derive(Debug, Clone)]
enum Change {
    Put(usize, u8, usize),
    Remove(usize, u8),
    Commit(usize),
    Merge,
    Compact(usize),
    Reopen,
    Refresh,
}

fn change() -> impl Strategy<Value = Change> {
    let shard = 0..4_usize;
    prop_oneof![
        8 => (shard.clone(), 0..20_u8, 0..3000_usize).prop_map(|(shard, name, len)| Change::Put(shard, name, len)),
        3 => (shard.clone(), 0..20_u8).prop_map(|(shard, name)| Change::Remove(shard, name)),
        2 => shard.clone().prop_map(Change::Commit),
        2 => Just(Change::Merge),
        1 => shard.prop_map(Change::Compact),
        1 => Just(Change::Reopen),
        2 => Just(Change::Refresh),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens to its shards, a set is their union, in which the newest has the last word.
    #[test]
    fn a_set_is_the_union_of_its_shards(changes in prop::collection::vec(change(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let open = |shard: usize| {
            Depot::builder(Raw).layout(small()).open_or_create(path_of(folder.path(), shard)).unwrap()
        };
        let mut depots: Vec<Option<Depot<Raw>>> = (0..4).map(|shard| Some(open(shard))).collect();
        let all: Vec<_> = (0..4).map(|shard| path_of(folder.path(), shard)).collect();
        shards::merge(folder.path(), &all, &MergeOptions::default()).unwrap();
        let reader = Depot::open(folder.path(), Raw).unwrap();
        for (nth, change) in (0_u64..).zip(changes) {
            match change {
                Change::Put(shard, name, len) => {
                    depots[shard].as_ref().unwrap().put(name, &bytes(nth, len)).unwrap();
                }
                Change::Remove(shard, name) => {
                    let depot = depots[shard].as_ref().unwrap();
                    if depot.contains(name).unwrap() {
                        depot.remove(name).unwrap();
                    }
                }
                Change::Commit(shard) => depots[shard].as_ref().unwrap().commit().unwrap(),
                Change::Merge => {
                    shards::merge::<&str>(folder.path(), &[], &MergeOptions::default()).unwrap();
                }
                Change::Compact(shard) => {
                    depots[shard].take().unwrap().close().unwrap();
                    compact(path_of(folder.path(), shard), |_| {}).unwrap();
                    depots[shard] = Some(open(shard));
                }
                Change::Reopen => {
                    for (shard, depot) in depots.iter_mut().enumerate() {
                        depot.take().unwrap().close().unwrap();
                        *depot = Some(open(shard));
                    }
                }
                Change::Refresh => {
                    let _ = reader.refresh().unwrap();
                }
            }
        }
        for depot in &depots {
            depot.as_ref().unwrap().commit().unwrap();
        }
        let mut newest: BTreeMap<Key, usize> = BTreeMap::new();
        let mut listed = Vec::new();
        for (shard, depot) in depots.iter().enumerate() {
            for entry in depot.as_ref().unwrap() {
                let (key, record) = entry.unwrap();
                newest.insert(key.clone(), shard);
                listed.push((shard, key, record.view().to_vec()));
            }
        }
        listed.retain(|(shard, key, _)| newest[key] == *shard);
        let _ = reader.refresh().unwrap();
        for depot in [&Depot::open(folder.path(), Raw).unwrap(), &reader] {
            prop_assert_eq!(depot.len(), listed.len() as u64);
            let found: Vec<_> = depot.iter().map(Result::unwrap).collect();
            prop_assert_eq!(found.len(), listed.len());
            for ((position, (_, key, bytes)), (found, record)) in (0..).zip(&listed).zip(&found) {
                prop_assert_eq!(found, key);
                prop_assert_eq!(record.view(), &**bytes);
                let (by_name, by_position) = (depot.get(key).unwrap(), depot.get_at(position).unwrap());
                prop_assert_eq!(by_name.view(), &**bytes);
                prop_assert_eq!(by_position.view(), &**bytes);
            }
            let totals = depot.totals::<Key>(..).unwrap();
            prop_assert_eq!(totals.records, listed.len() as u64);
            prop_assert_eq!(totals.raw_bytes, listed.iter().map(|(_, _, bytes)| bytes.len() as u64).sum::<u64>());
        }
        let merged = shards::merge::<&str>(folder.path(), &[], &MergeOptions::default()).unwrap();
        prop_assert_eq!(merged.records, listed.len() as u64);
    }
}

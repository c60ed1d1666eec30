//! Collections of objects, and files of MIO. The labels M1 to M8 are those of `docs/reference/mio.md`.

#![cfg(feature = "collections")]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use vldepot::collections::{
    CollectionCodec, Collections, NewCollection, Split, export_mio, import_mio, layout, read_mio_split,
    remove_split, split_names, write_mio_split,
};
use vldepot::maintain::compact;
use vldepot::storage::FileStorage;
use vldepot::testing::CountingStorage;
use vldepot::{Depot, ErrorKind, Key, Layout};

fn object(n: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i * i * 31) >> 7) as u8)
        .collect()
}

fn film(n: u64, objects: u64, len: usize) -> NewCollection {
    let new: NewCollection = (0..objects).map(|k| object(1000 * n + k, len)).collect();
    new.with_metadata(n.to_le_bytes())
}

/// M1, M2
#[test]
fn collections_keep_their_objects_in_order_and_any_is_read_alone() {
    let films = Collections::memory().unwrap();
    let large = film(7, 50, 40_000);
    let mut odd = NewCollection::new();
    odd.push(b"");
    odd.push(b"x");
    for new in [&NewCollection::new(), &odd, &large] {
        films.add(new).unwrap();
    }
    films.commit().unwrap();
    assert_eq!((films.len(), films.sizes(..).unwrap()), (3, vec![0, 2, 50]));
    assert_eq!(films.metadata(0).unwrap(), b"");
    assert_eq!(films.metadata(2).unwrap(), 7_u64.to_le_bytes());
    assert_eq!(films.objects(1, &[1, 0, 1]).unwrap(), [&b"x"[..], b"", b"x"]);
    for n in [0, 1, 17, 49] {
        assert_eq!(films.object(2, n).unwrap(), object(7000 + n as u64, 40_000));
    }
    let whole = films.get(2).unwrap();
    assert_eq!(whole.view().len(), 50);
    assert!(whole.view().iter().eq((0..50).map(|n| whole.view().get(n).unwrap())));
    assert_eq!(films.get(0).unwrap().view().iter().len(), 0);
    for (name, n) in [(0, 0), (1, 2), (2, usize::MAX)] {
        let error = films.object(name, n).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OutOfRange { .. }), "{error}");
    }
    assert!(films.object(3, 0).unwrap_err().is_not_found());
    assert!(films.size(3).unwrap_err().is_not_found());
    assert!(films.metadata(3).unwrap_err().is_not_found());
}

#[test]
fn names_may_be_given_and_integers_go_on_after_the_greatest() {
    let films = Collections::memory().unwrap();
    assert_eq!(films.add(&film(0, 1, 5)).unwrap(), 0);
    films.add_named("trailer", &film(1, 2, 5)).unwrap();
    films.add_named(41, &film(2, 3, 5)).unwrap();
    assert_eq!(films.add(&film(3, 4, 5)).unwrap(), 42);
    let error = films.add_named("trailer", &film(1, 2, 5)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists), "{error}");
    assert_eq!((films.size("trailer").unwrap(), films.size(42).unwrap()), (2, 4));
    films.add_named(u64::MAX, &film(3, 4, 5)).unwrap();
    let error = films.add(&film(3, 4, 5)).unwrap_err();
    assert!(error.to_string().contains("the greatest integer is a name already"), "{error}");
}

/// M3: every byte of the records is destroyed, and sizes and metadata are still read.
#[test]
fn metadata_and_sizes_are_read_without_objects() {
    let depot = Depot::builder(CollectionCodec).layout(layout(Layout::uncompressed())).memory().unwrap();
    let films = Collections::new(depot);
    let marked = |n: u64| film(n, 20, 500);
    for n in 0..10 {
        films.add(&marked(n)).unwrap();
    }
    let mut bytes = films.depot().to_bytes().unwrap();
    for n in 0..10 {
        for k in 0..20 {
            let wanted = object(1000 * n + k, 500);
            let at =
                bytes.windows(500).position(|found| found == wanted).expect("objects are stored as they are");
            bytes[at..at + 500].fill(0xee);
        }
    }
    let films = Collections::new(Depot::from_bytes(&bytes, CollectionCodec).unwrap());
    assert_eq!(films.sizes(..).unwrap(), [20; 10]);
    for n in 0..10_u64 {
        assert_eq!((films.size(n).unwrap(), films.metadata(n).unwrap()), (20, n.to_le_bytes().to_vec()));
        assert!(films.object(n, 3).unwrap_err().is_damage());
    }
}

#[test]
fn a_depot_without_the_column_counts_objects_in_the_records() {
    let films = Collections::new(Depot::memory(CollectionCodec).unwrap());
    films.add(&film(0, 3, 5)).unwrap();
    films.add(&film(1, 0, 5)).unwrap();
    assert_eq!((films.size(0).unwrap(), films.sizes(..).unwrap()), (3, vec![3, 0]));
}

#[test]
fn compacting_keeps_metadata_counts_and_splits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("films.vld");
    let films = Collections::create(&path).unwrap();
    for n in 0..20 {
        films.add(&film(n, n % 3, 100)).unwrap();
    }
    films.set_split("train", &Split::of_ids([3, 4]).unwrap()).unwrap();
    films.depot().remove(0).unwrap();
    films.close().unwrap();
    compact(&path, |_| ()).unwrap();
    let films = Collections::open(&path).unwrap();
    assert_eq!(films.sizes(..).unwrap(), (1..20).map(|n| n % 3).collect::<Vec<_>>());
    assert_eq!((films.size(4).unwrap(), films.metadata(4).unwrap()), (1, 4_u64.to_le_bytes().to_vec()));
    assert_eq!(films.split("train").unwrap().unwrap().len(), 2);
}

/// M5: writing into what is there fails, and closing finishes.
#[test]
fn a_new_depot_takes_the_place_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("films.vld");
    let films = Collections::create(&path).unwrap();
    films.add(&film(0, 3, 5)).unwrap();
    films.close().unwrap();
    assert!(matches!(Collections::create(&path).unwrap_err().kind(), ErrorKind::PathExists));
    let films = Collections::append(&path).unwrap();
    assert_eq!(films.add(&film(1, 4, 5)).unwrap(), 1);
    drop(films);
    assert_eq!(Collections::open(&path).unwrap().sizes(..).unwrap(), [3, 4]);
}

const WRITER: &str = "VLDEPOT_COLLECTIONS_WRITER";

/// Not a test of its own: the process that is killed.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let films = Collections::create(Path::new(&path)).unwrap();
    for n in 0.. {
        films.add(&film(n, n % 5, 300)).unwrap();
        println!("finished {n}");
    }
}

/// M5: all collections that were finished are there when the writer is killed.
#[test]
fn a_writer_that_is_killed_leaves_the_finished_collections() {
    let folder = tempfile::tempdir().unwrap();
    for kill in 0..5 {
        let path = folder.path().join(format!("{kill}.vld"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
            .env(WRITER, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let finished =
            |line: std::io::Result<String>| line.ok()?.strip_prefix("finished ")?.parse::<u64>().ok();
        let mut lines = lines.filter_map(finished);
        assert!(lines.by_ref().any(|n| n == 7 + 61 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        let finished = lines.last().unwrap_or(7 + 61 * kill);
        let films = Collections::open(&path).unwrap();
        assert!(films.len() > finished, "{} collections where {finished} was the last one", films.len());
        for n in 0..films.len() {
            assert_eq!(films.metadata(n).unwrap(), n.to_le_bytes());
            let found = films.get(n).unwrap();
            assert_eq!(found.view().to_collection(n.to_le_bytes().to_vec()), film(n, n % 5, 300));
        }
    }
}

/// M7, and the loader's share of M6.
#[test]
fn splits_are_stored_by_name_and_train() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("films.vld");
    let films = Collections::create(&path).unwrap();
    for n in 0..100 {
        films.add(&film(n, 2, 20)).unwrap();
    }
    films.add_named("extra", &film(100, 2, 20)).unwrap();
    let train = Split::of_ids((0..80).rev()).unwrap();
    let test = Split::new((80..100).map(Key::from).chain([Key::from("extra")])).unwrap();
    films.set_split("train", &train).unwrap();
    films.set_split("test", &test).unwrap();
    assert_eq!(films.len(), 101, "splits are no collections");
    films.close().unwrap();

    let films = Collections::open(&path).unwrap();
    assert_eq!(split_names(films.depot()).unwrap(), ["test", "train"]);
    assert_eq!(films.split("train").unwrap().unwrap().ids().unwrap(), (0..80).collect::<Vec<_>>());
    let test = films.split("test").unwrap().unwrap();
    assert!(test.ids().is_err());
    let mut seen: Vec<Key> = Vec::new();
    for batch in films.loader(&test).batch_size(8).shuffle(3).build().unwrap() {
        let batch = batch.unwrap();
        assert!(batch.views().all(|view| view.len() == 2));
        seen.extend(batch.positions().iter().map(|&at| films.depot().key_at(at).unwrap()));
    }
    seen.sort();
    assert_eq!(seen, test.items());
    assert_eq!(films.split("none").unwrap(), None);

    let missing = Split::of_ids([500]).unwrap();
    assert!(films.loader(&missing).build().unwrap_err().is_not_found());
    drop(films);
    let films = Collections::append(&path).unwrap();
    assert!(remove_split(films.depot(), "train").unwrap());
    assert!(!remove_split(films.depot(), "train").unwrap());
    films.depot().set_depot_metadata("split:odd", "a text").unwrap();
    assert!(matches!(films.split("odd").unwrap_err().kind(), ErrorKind::Metadata { .. }));
}

/// M8: how much one fetch reads does not grow with the number of collections. Counted, and not timed.
///
/// `VLDEPOT_LONG_TESTS=1` looks at a million.
#[test]
fn a_fetch_takes_as_many_reads_from_many_collections_as_from_few() {
    let long = std::env::var_os("VLDEPOT_LONG_TESTS").is_some();
    let counts = [1_000, 10_000, if long { 1_000_000 } else { 100_000 }].map(|n: u64| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("films.vld");
        let builder = Depot::builder(CollectionCodec).layout(layout(Layout::fast()));
        let films = Collections::new(builder.create(&path).unwrap()).buffered();
        for id in 0..n {
            films.add(&film(id, 2, 20)).unwrap();
        }
        films.close().unwrap();
        let storage = Arc::new(CountingStorage::new(FileStorage::open(&path).unwrap()));
        let films = Collections::new(Depot::builder(CollectionCodec).open_in(storage.clone()).unwrap());
        let mut most = (0, 0);
        for id in (0..n).step_by(n as usize / 97) {
            let before = storage.counts();
            assert_eq!(films.object(id, 1).unwrap(), object(1000 * id + 1, 20));
            let after = storage.counts();
            most.0 = most.0.max(after.rounds - before.rounds);
            most.1 = most.1.max(after.bytes - before.bytes);
        }
        most
    });
    println!("rounds and bytes of the longest fetch: {counts:?}");
    assert!(counts.iter().all(|(rounds, bytes)| *rounds <= 6 && *bytes <= 256 << 10), "{counts:?}");
}

fn mio(films: &Collections) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("dataset");
    export_mio(films, &dataset).unwrap();
    (folder, dataset)
}

/// M4 and M1, M2 with files.
#[test]
fn what_goes_out_to_mio_comes_in_again() {
    let films = Collections::memory().unwrap();
    for n in 0..30 {
        films.add(&film(n, n % 4, 100 * n as usize)).unwrap();
    }
    let mut bare = NewCollection::new();
    bare.push(b"");
    films.add_named("named", &bare).unwrap();
    let (folder, dataset) = mio(&films);
    let again = export_mio(&films, &dataset).unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::PathExists), "{again}");
    let other = export_mio(&films, folder.path().join("other")).unwrap();
    assert_eq!((other.collections, other.renumbered), (31, 1));

    let path = folder.path().join("films.vld");
    let done = import_mio(&dataset, &path).unwrap();
    assert_eq!((done.collections, done.objects, done.bytes), (31, other.objects, other.bytes));
    assert_eq!(done.newer, None);
    let back = Collections::open(&path).unwrap();
    assert_eq!(back.sizes(..).unwrap(), films.sizes(..).unwrap());
    for n in 0..30 {
        assert_eq!(back.metadata(n).unwrap(), films.metadata(n).unwrap());
        assert_eq!(back.get(n).unwrap().as_bytes(), films.get(n).unwrap().as_bytes());
    }
    assert_eq!((back.metadata(30).unwrap(), back.objects(30, &[0]).unwrap()), (vec![], vec![vec![]]));
    let error = import_mio(&dataset, &path).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PathExists), "{error}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing but what was asked for: {left:?}");
}

/// M4
#[test]
fn magic_and_version_of_mio_are_checked() {
    let films = Collections::memory().unwrap();
    films.add(&film(1, 3, 50)).unwrap();
    let (folder, dataset) = mio(&films);
    let (file, target) = (dataset.join("collections"), folder.path().join("new.vld"));
    let good = fs::read(&file).unwrap();
    assert_eq!(&good[..16], b"\x89tl.mio\x1a\0\0\x01\0\x01\0\0\0");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        fs::write(&file, bytes).unwrap();
        import_mio(&dataset, &target)
    };
    let error = with(0, b'P').unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotADepot { .. }) && !error.is_damage(), "{error}");
    assert!(error.to_string().contains("begins with Ptl.mio"), "{error}");
    let error = with(8, 1).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("format version 1"), "{error}");
    assert!(!target.exists());
    assert_eq!(with(10, 9).unwrap().newer, Some((0, 9)));
    fs::write(&file, b"").unwrap();
    let error = import_mio(&dataset, folder.path().join("none.vld")).unwrap_err();
    assert!(error.to_string().contains("its writer did not close it"), "{error}");
}

#[test]
fn damaged_files_of_mio_are_errors_that_say_where_and_leave_nothing() {
    let films = Collections::memory().unwrap();
    for n in 0..3 {
        films.add(&film(n, 2, 10)).unwrap();
    }
    let (folder, dataset) = mio(&films);
    let target = folder.path().join("new.vld");
    for name in ["collections", "objects"] {
        let file = dataset.join(name);
        let good = fs::read(&file).unwrap();
        for len in 0..good.len() {
            fs::write(&file, &good[..len]).unwrap();
            let error = import_mio(&dataset, &target).unwrap_err();
            assert!(error.path().is_some_and(|path| path.starts_with(&dataset)), "{len}: {error}");
            assert!(!target.exists(), "{len} bytes of {name}");
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x80;
            fs::write(&file, &bytes).unwrap();
            // Flips of metadata and objects cannot be seen: MIO has no checksums.
            if import_mio(&dataset, &target).is_ok() {
                fs::remove_file(&target).unwrap();
            }
        }
        fs::write(&file, good).unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the dataset alone is left");
    let error = import_mio(folder.path(), &target).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("collections"), "{error}");
}

/// M7
#[test]
fn splits_of_mio_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train");
    let split = Split::of_ids([5, 1, 70_000]).unwrap();
    write_mio_split(&split, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"\x01\0\0\0\x05\0\0\0\x70\x11\x01\0");
    assert_eq!(read_mio_split(&path).unwrap(), split);
    assert!(matches!(write_mio_split(&split, &path).unwrap_err().kind(), ErrorKind::PathExists));
    fs::write(&path, b"\x01\0\0\0\x01\0\0\0").unwrap();
    assert!(read_mio_split(&path).unwrap_err().to_string().contains("comes twice"));
    fs::write(&path, b"\x01\0\0").unwrap();
    assert!(matches!(read_mio_split(&path).unwrap_err().kind(), ErrorKind::NotADepot { .. }));
    for bad in [Split::of_ids([1 << 32]).unwrap(), Split::new(["a".into()]).unwrap()] {
        assert!(write_mio_split(&bad, folder.path().join("bad")).is_err());
        assert!(!folder.path().join("bad").exists());
    }
}

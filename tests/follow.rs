//! Readers that follow a writer: what they are told, and what they have in the end.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use vldepot::maintain::compact;
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, ErrorKind, Key, Layout, Mapping, OpenOptions, Part,
    Raw, Refreshed, WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never())
}

fn options() -> Layout {
    Layout::default()
        .with_compression(Compression::default().with_codec(CompressionCodec::Lz4))
        .with_chunk_size(2048)
        .with_block_size(512)
}

fn unmapped() -> OpenOptions {
    OpenOptions::default().with_mapping(Mapping::Never)
}

/// Names, and where each record lies: chunk, offset, length and checksum.
type Listing = Vec<(Key, (u64, u64, u64, Option<u32>))>;

fn listing(depot: &Depot<Raw>) -> Listing {
    let place = |key: &Key| {
        let at = depot.location(key).unwrap();
        (at.chunk, at.offset, at.length, at.checksum)
    };
    depot.keys().map(|key| key.map(|key| (key.clone(), place(&key))).unwrap()).collect()
}

/// The number of common records, computed from the definition for two listings.
fn common(before: &Listing, now: &Listing) -> u64 {
    before.iter().zip(now).take_while(|(before, now)| before == now).count() as u64
}

/// A reader, and what it listed at its last refresh.
struct Follower {
    depot: Depot<Raw>,
    listed: Listing,
}

impl Follower {
    fn new(depot: Depot<Raw>) -> Self {
        let listed = listing(&depot);
        Self { depot, listed }
    }

    fn refresh(&mut self) -> Refreshed {
        let told = self.depot.refresh().unwrap();
        let listed = listing(&self.depot);
        let (before, now) = (self.listed.len() as u64, listed.len() as u64);
        let kept = common(&self.listed, &listed);
        assert_eq!((told.before, told.kept, told.now), (before, kept, now), "{:?}\n{listed:?}", self.listed);
        assert_eq!(told.new_records(), kept..now);
        assert_eq!(told.went_back(), (kept < before).then_some(kept));
        assert!(told.changed() || self.listed == listed);
        self.listed = listed;
        told
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Put {
        name: u8,
        len: usize,
    },
    Remove {
        name: u8,
    },
    SetMetadata {
        name: u8,
    },
    SetDepotMetadata,
    TruncateAfter {
        position: u16,
    },
    /// Undo the last truncation, if possible.
    Undo,
    Commit,
    Publish,
    Flush,
    /// Close, which merges the index, or drop, and open again.
    Reopen {
        close: bool,
    },
    /// The writer dies. Of what came after the last commit, this many 255ths are left.
    Die {
        left: u8,
    },
    Refresh {
        reader: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    // Few names and few contents, so that a record rewritten in the same place often has another name
    // but the same content.
    let name = 0..16u8;
    let len = prop_oneof![Just(0), Just(100), 0..600usize, 2000..5000usize];
    prop_oneof![
        12 => (name.clone(), len).prop_map(|(name, len)| Operation::Put { name, len }),
        2 => name.clone().prop_map(|name| Operation::Remove { name }),
        3 => name.prop_map(|name| Operation::SetMetadata { name }),
        1 => Just(Operation::SetDepotMetadata),
        2 => any::<u16>().prop_map(|position| Operation::TruncateAfter { position }),
        1 => Just(Operation::Undo),
        4 => Just(Operation::Commit),
        1 => Just(Operation::Publish),
        2 => Just(Operation::Flush),
        2 => any::<bool>().prop_map(|close| Operation::Reopen { close }),
        2 => prop_oneof![Just(0), any::<u8>(), Just(255)].prop_map(|left| Operation::Die { left }),
        8 => (0..3usize).prop_map(|reader| Operation::Refresh { reader }),
    ]
}

/// Runs the operations. Returns how often a reader was told that records are kept, and that the run went
/// back.
fn drive(operations: &[Operation]) -> (u64, u64) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let append = || {
        let again = OpenOptions::default();
        Depot::builder(Raw)
            .open_options(again.clone())
            .write_options(writing())
            .append_in(Arc::clone(&storage))
            .unwrap()
    };
    let mut writer = Some(
        Depot::builder(Raw)
            .layout(options())
            .write_options(writing())
            .create_in(Arc::clone(&storage))
            .unwrap(),
    );
    let mut readers: Vec<_> = [OpenOptions::default(), unmapped(), unmapped()]
        .iter()
        .map(|options| {
            Follower::new(
                Depot::builder(Raw).open_options(options.clone()).open_in(Arc::clone(&storage)).unwrap(),
            )
        })
        .collect();
    let (mut committed, mut kept, mut went_back) = (storage.len().unwrap(), 0, 0);
    for operation in operations {
        let depot = writer.as_ref().unwrap();
        match *operation {
            Operation::Put { name, len } => depot.put(name, &vec![len as u8; len]).unwrap(),
            Operation::Remove { name } => drop(depot.remove(name).unwrap()),
            Operation::SetMetadata { name } => {
                let done = depot.set_metadata(name, &storage.len().unwrap());
                assert!(done.is_ok() || done.is_err_and(|error| error.is_not_found()));
            }
            Operation::SetDepotMetadata => depot.set_depot_metadata("n", &depot.len()).unwrap(),
            Operation::TruncateAfter { position } => {
                if let Some(position) = u64::from(position).checked_rem(depot.len()) {
                    depot.truncate_after(depot.key_at(position).unwrap()).unwrap();
                    committed = storage.len().unwrap();
                }
            }
            Operation::Undo => {
                let undone = depot.undo_truncate();
                assert!(
                    undone
                        .as_ref()
                        .err()
                        .is_none_or(|error| matches!(error.kind(), ErrorKind::NotUndone { .. })),
                    "{undone:?}"
                );
                if undone.is_ok() {
                    committed = storage.len().unwrap();
                }
            }
            Operation::Commit | Operation::Publish => {
                match operation {
                    Operation::Commit => depot.commit().unwrap(),
                    _ => depot.publish().unwrap(),
                }
                committed = storage.len().unwrap();
            }
            Operation::Flush => depot.flush().unwrap(),
            Operation::Reopen { close } => {
                let depot = writer.take().unwrap();
                if close {
                    depot.close().unwrap();
                } else {
                    drop(depot);
                }
                writer = Some(append());
                committed = storage.len().unwrap();
            }
            Operation::Die { left } => {
                // Dropping a writer does not tidy up a storage in memory.
                drop(writer.take());
                let uncommitted = storage.len().unwrap() - committed;
                storage.set_len(committed + uncommitted * u64::from(left) / 255).unwrap();
                writer = Some(append());
                committed = storage.len().unwrap();
            }
            Operation::Refresh { reader } => {
                let told = readers[reader].refresh();
                kept += u64::from(told.changed() && told.kept > 0);
                went_back += u64::from(told.went_back().is_some());
            }
        }
    }
    writer.unwrap().commit().unwrap();
    for reader in &mut readers {
        let _ = reader.refresh();
        assert!(!reader.refresh().changed());
    }
    (kept, went_back)
}

fn cases(cases: u32) -> ProptestConfig {
    // A fixed seed, so that a failure is the same everywhere.
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_261_127);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]
    #[test]
    fn what_is_kept_is_what_two_full_listings_have_in_common(
        operations in proptest::collection::vec(operation(), 1..120),
    ) {
        drive(&operations);
    }
}

#[test]
fn the_random_operations_keep_records_and_go_back() {
    let mut runner = proptest::test_runner::TestRunner::new(cases(1));
    let mut sums = (0, 0);
    for _ in 0..50 {
        let tree = proptest::collection::vec(operation(), 100).new_tree(&mut runner).unwrap();
        let (kept, went_back) = drive(&tree.current());
        sums = (sums.0 + kept, sums.1 + went_back);
    }
    assert!(sums.0 > 100 && sums.1 > 100, "{sums:?}");
}

/// A depot with records 0 to 199, and a reader of it. 49 of them are committed one by one.
fn run_of_200(path: &Path) -> (Depot<Raw>, Follower) {
    let writer = Depot::builder(Raw).layout(options()).write_options(writing()).create(path).unwrap();
    for step in 0..200u64 {
        writer.put(step, &step.to_le_bytes()).unwrap();
        if step > 150 {
            writer.commit().unwrap();
        }
    }
    let reader = Follower::new(Depot::builder(Raw).open_options(unmapped()).open(path).unwrap());
    (writer, reader)
}

#[test]
fn a_follower_is_told_where_a_run_went_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut reader) = run_of_200(&folder.path().join("run.vld"));
    assert_eq!(writer.truncate_after(149).unwrap(), 50);
    for step in 150..250u64 {
        writer.put(step, &(step + 1000).to_le_bytes()).unwrap();
    }
    writer.commit().unwrap();
    let told = reader.refresh();
    assert_eq!((told.before, told.kept, told.now), (200, 150, 250));
    assert_eq!((told.went_back(), told.new_records(), told.changed()), (Some(150), 150..250, true));
    writer.close().unwrap();
    let told = reader.refresh();
    assert_eq!((told.kept, told.went_back(), told.new_records()), (250, None, 250..250));
}

#[test]
fn a_truncation_that_was_taken_back_is_no_change_unless_it_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut reader) = run_of_200(&folder.path().join("run.vld"));
    assert_eq!(writer.truncate_after(149).unwrap(), 50);
    assert_eq!(writer.undo_truncate().unwrap(), 50);
    let told = reader.refresh();
    assert_eq!((told.changed(), told.kept, told.went_back()), (true, 200, None));
    assert_eq!(writer.truncate_after(149).unwrap(), 50);
    assert_eq!(reader.refresh().went_back(), Some(150));
    assert_eq!(writer.undo_truncate().unwrap(), 50);
    let told = reader.refresh();
    assert_eq!((told.went_back(), told.new_records()), (None, 150..200));
}

#[test]
fn new_metadata_keep_the_last_record_and_move_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut reader) = run_of_200(&folder.path().join("run.vld"));
    writer.set_metadata(199, &true).unwrap();
    writer.commit().unwrap();
    let told = reader.refresh();
    assert!(told.changed() && told.kept == 200 && told.went_back().is_none());
    writer.set_metadata(42, &true).unwrap();
    writer.commit().unwrap();
    let told = reader.refresh();
    assert_eq!((told.went_back(), told.new_records()), (Some(42), 42..200));
}

#[test]
fn records_that_no_commit_covers_may_be_gone_later() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let writer = Depot::builder(Raw)
        .layout(options())
        .write_options(writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    writer.put("a", b"alike").unwrap();
    writer.commit().unwrap();
    let committed = storage.len().unwrap();
    writer.put("b", b"the same bytes").unwrap();
    writer.flush().unwrap();
    let mut reader =
        Follower::new(Depot::builder(Raw).open_options(unmapped()).open_in(Arc::clone(&storage)).unwrap());
    assert_eq!(reader.depot.len(), 2);
    drop(writer);
    storage.set_len(committed).unwrap();
    let writer = Depot::builder(Raw).append_in(Arc::clone(&storage)).unwrap();
    writer.put("c", b"the same bytes").unwrap();
    writer.commit().unwrap();
    // It lies in the place where `b` was.
    assert_eq!(reader.refresh().went_back(), Some(1));
}

#[test]
fn a_damaged_page_where_two_states_are_compared_leaves_the_reader_as_it_was() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let writer = Depot::builder(Raw)
        .layout(options())
        .write_options(writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    for step in 0..100u64 {
        writer.put(step, &step.to_le_bytes()).unwrap();
    }
    writer.flush().unwrap();
    let index_at = storage.len().unwrap();
    writer.commit().unwrap();
    let index_end = storage.len().unwrap();
    let reader = Depot::builder(Raw).open_options(unmapped()).open_in(Arc::clone(&storage)).unwrap();
    writer.put(100, b"more").unwrap();
    writer.commit().unwrap();
    // Closing merges the index. Only the reader still uses the pages of the first commit.
    writer.close().unwrap();
    let mut first_index = vec![0; (index_end - index_at) as usize];
    storage.read_at(index_at, &mut first_index).unwrap();
    storage.write_at(index_at, &vec![0x55; first_index.len()]).unwrap();
    for _ in 0..2 {
        let error = reader.refresh().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Damaged { part: Part::Index, .. }), "{error}");
        assert_eq!(reader.len(), 100);
    }
    storage.write_at(index_at, &first_index).unwrap();
    assert_eq!(reader.refresh().unwrap().new_records(), 100..101);
}

#[test]
fn a_commit_that_was_there_and_is_lost_is_an_error() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let writer = Depot::builder(Raw)
        .layout(options())
        .write_options(writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    let mut ends = Vec::new();
    for step in 0..3u64 {
        writer.put(step, &[7; 5000]).unwrap();
        writer.commit().unwrap();
        ends.push(storage.len().unwrap());
    }
    let reader = Depot::builder(Raw).open_options(unmapped()).open_in(Arc::clone(&storage)).unwrap();
    assert_eq!(reader.get(1).unwrap().view(), [7; 5000]);
    drop(writer);
    storage.set_len(ends[1] + 10).unwrap();
    for _ in 0..2 {
        let error = reader.refresh().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Incomplete { commit: 3, records: 2, .. }), "{error}");
        assert_eq!(reader.len(), 3);
        assert_eq!(reader.get(1).unwrap().view(), [7; 5000]);
    }
}

#[test]
fn a_commit_that_is_damaged_where_its_records_are_whole_is_no_loss() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let writer = Depot::builder(Raw)
        .layout(options())
        .write_options(writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    for step in 0..3u64 {
        writer.put(step, &[7; 5000]).unwrap();
        writer.commit().unwrap();
    }
    let mut reader =
        Follower::new(Depot::builder(Raw).open_options(unmapped()).open_in(Arc::clone(&storage)).unwrap());
    drop(writer);
    // The end of the body of the last COMMIT.
    storage.write_at(storage.len().unwrap() - 200, &[0x55; 200]).unwrap();
    let told = reader.refresh();
    assert_eq!((told.changed(), told.kept, told.went_back()), (true, 3, None));
}

#[test]
fn a_file_that_was_compacted_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let (writer, mut reader) = run_of_200(&path);
    writer.remove(10).unwrap();
    writer.close().unwrap();
    assert_eq!(reader.refresh().went_back(), Some(10));
    let before = reader.listed.clone();
    compact(&path, |_| ()).unwrap();
    for _ in 0..2 {
        let error = reader.depot.refresh().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Replaced) && error.path() == Some(&path), "{error}");
        assert!(error.to_string().ends_with("open it again"), "{error}");
        assert_eq!(listing(&reader.depot), before);
        assert_eq!(reader.depot.get(199).unwrap().view(), 199u64.to_le_bytes());
    }
    let again = Depot::open(&path, Raw).unwrap();
    assert!(!again.refresh().unwrap().changed());
    assert_eq!(again.len(), 199);
    // A path that leads nowhere is no replacement.
    fs::remove_file(&path).unwrap();
    assert!(!again.refresh().unwrap().changed());
}

#[test]
fn another_depot_in_the_same_file_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.vld"), folder.path().join("b.vld"));
    let (writer, reader) = run_of_200(&path);
    writer.close().unwrap();
    let (writer, _) = run_of_200(&other);
    writer.close().unwrap();
    fs::write(&path, fs::read(&other).unwrap()).unwrap();
    assert!(matches!(reader.depot.refresh(), Err(error) if matches!(error.kind(), ErrorKind::Replaced)));
    fs::write(&path, b"not a depot").unwrap();
    assert!(
        matches!(reader.depot.refresh(), Err(error) if matches!(error.kind(), ErrorKind::Damaged { .. }))
    );
    assert_eq!(reader.depot.len(), 200);
}

/// Each caller asks for the state of the depot, and for the place it was read up to.
#[test]
fn a_reader_that_others_ask_about_moves_forward() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let writer = Depot::builder(Raw).write_options(writing()).create_in(Arc::clone(&storage)).unwrap();
    let reader = Depot::builder(Raw).open_in(storage).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = || {
            while !done.load(Ordering::Relaxed) {
                let info = reader.info().unwrap();
                assert!(info.records <= 200 && info.commits <= 200, "{info:?}");
            }
        };
        scope.spawn(ask);
        scope.spawn(ask);
        for n in 0..200_u64 {
            writer.put(n, b"..").unwrap();
            writer.commit().unwrap();
            assert_eq!(reader.refresh().unwrap().now, n + 1);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(reader.info().unwrap().records, 200);
}

#[test]
fn a_writer_is_always_up_to_date() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put("a", b"1").unwrap();
    let told = depot.refresh().unwrap();
    assert_eq!((told.before, told.kept, told.now, told.changed()), (1, 1, 1, false));
    assert!(told.new_records().is_empty() && told.went_back().is_none());
}

/// Writes 600 frames. Now and then it goes back to an earlier one and writes others.
fn simulate(path: &Path) {
    let writer = Depot::append(path, Raw).unwrap();
    let (mut step, mut restarts) = (0u64, 0u64);
    while step < 600 {
        writer.put(step, format!("frame {step} of part {restarts}").as_bytes()).unwrap();
        if step.is_multiple_of(7) {
            writer.commit().unwrap();
        } else if step.is_multiple_of(5) {
            writer.flush().unwrap();
        }
        step += 1;
        if step.is_multiple_of(100) && restarts < step / 100 {
            restarts += 1;
            step -= 13 * (restarts % 5 + 1);
            let removed = writer.truncate_after(step - 1).unwrap();
            assert!(removed > 0);
        }
    }
    writer.close().unwrap();
}

fn frames(depot: &Depot<Raw>, positions: std::ops::Range<u64>) -> Vec<(Key, Vec<u8>)> {
    let frame = |position| (depot.key_at(position).unwrap(), depot.get_at(position).unwrap().view().to_vec());
    positions.map(frame).collect()
}

#[test]
fn what_a_follower_has_in_the_end_is_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap().close().unwrap();
    let done = AtomicBool::new(false);
    let follow = |open: OpenOptions| {
        let depot = Depot::builder(Raw).open_options(open.clone()).open(&path).unwrap();
        let mut seen = frames(&depot, 0..depot.len());
        loop {
            // Asked before the refresh, which therefore sees everything written until then.
            let last = done.load(Ordering::Acquire);
            let told = depot.refresh().unwrap();
            if let Some(kept) = told.went_back() {
                seen.truncate(kept as usize);
            }
            seen.extend(frames(&depot, told.new_records()));
            assert_eq!(seen.len() as u64, depot.len());
            if last {
                return seen;
            }
        }
    };
    let seen = std::thread::scope(|scope| {
        let followers = [OpenOptions::default(), unmapped()].map(|open| scope.spawn(|| follow(open)));
        simulate(&path);
        done.store(true, Ordering::Release);
        followers.map(|follower| follower.join().unwrap())
    });
    let depot = Depot::open(&path, Raw).unwrap();
    let run: Vec<_> =
        depot.iter().map(Result::unwrap).map(|(key, record)| (key, record.view().to_vec())).collect();
    assert_eq!(run.len(), 600);
    assert!(run.iter().enumerate().all(|(step, (key, _))| *key == Key::Int(step as i128)));
    assert!(seen.iter().all(|seen| *seen == run));
}

//! Power loss at every write, and storage that fails at every call. What was committed is there,
//! exactly.
//!
//! `VLDEPOT_LONG_TESTS=1` tries many more states.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::sync::Arc;

use vldepot::storage::{MemoryStorage, Storage};
use vldepot::testing::{CrashStorage, FailingStorage};
use vldepot::{CommitEvery, Depot, Error, ErrorKind, Key, Layout, Placement, Raw, WriteOptions};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never())
}

/// A small deterministic generator (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Names and bytes in order. A replaced name moves to the end.
type Content = Vec<(u8, Vec<u8>)>;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<u8>),
    Remove(u8),
    /// New metadata, which moves the record to the end.
    Describe(u8),
    /// Go back to a record, as a restarted simulation does. Commits.
    TruncateAfter(u8),
    /// Undo the previous step's removal. Commits.
    TakeBack,
    Commit,
    Publish,
    Flush,
}

fn steps(seed: u64, n: usize) -> Vec<Step> {
    let mut random = Random(seed * 2 + 1);
    let mut steps = Vec::new();
    for number in 0..n {
        steps.push(match random.below(20) {
            0..=11 => {
                let len = match random.below(4) {
                    0 => random.below(40),
                    1 => random.below(3000),
                    2 => 1020 + random.below(10),
                    _ => random.below(700),
                };
                let noise = random.below(251) as u8;
                let bytes = (0..len).map(|i| (i as u8).wrapping_mul(noise) ^ number as u8).collect();
                Step::Put(random.below(12) as u8, bytes)
            }
            12 => Step::Remove(random.below(12) as u8),
            13 => Step::Describe(random.below(12) as u8),
            14 if random.below(4) == 0 => Step::TruncateAfter(random.below(12) as u8),
            14..=16 => Step::Commit,
            17 => Step::Publish,
            _ => Step::Flush,
        });
        if matches!(steps.last(), Some(Step::TruncateAfter(_))) && random.below(2) == 0 {
            steps.push(Step::TakeBack);
        }
    }
    steps
}

/// Steps without those that change many records before they commit, because these may fail half done.
fn single_steps(seed: u64, n: usize) -> Vec<Step> {
    steps(seed, n)
        .into_iter()
        .filter(|step| !matches!(step, Step::TruncateAfter(_) | Step::TakeBack))
        .collect()
}

fn options(seed: u64) -> Layout {
    let placement = [Placement::NoCross, Placement::Contiguous][(seed % 2) as usize];
    let preset = if seed.is_multiple_of(3) { Layout::uncompressed() } else { Layout::balanced() };
    preset.with_placement(placement).with_chunk_size(1024).with_block_size(256)
}

fn change(content: &mut Content, step: &Step) {
    match step {
        Step::Put(name, bytes) => {
            content.retain(|(found, _)| found != name);
            content.push((*name, bytes.clone()));
        }
        Step::Remove(name) => content.retain(|(found, _)| found != name),
        Step::Describe(name) => {
            if let Some(at) = content.iter().position(|(found, _)| found == name) {
                let record = content.remove(at);
                content.push(record);
            }
        }
        Step::TruncateAfter(name) => {
            if let Some(at) = content.iter().position(|(found, _)| found == name) {
                content.truncate(at + 1);
            }
        }
        Step::TakeBack | Step::Commit | Step::Publish | Step::Flush => {}
    }
}

fn run(depot: &Depot<Raw>, step: &Step) -> Result<(), Error> {
    let unless_absent = |result: Result<(), Error>| match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    };
    match step {
        Step::Put(name, bytes) => depot.put(*name, bytes),
        Step::Remove(name) => depot.remove(*name).map(|_| ()),
        Step::Describe(name) => unless_absent(depot.set_metadata(*name, name)),
        Step::TruncateAfter(name) => unless_absent(depot.truncate_after(*name).map(|_| ())),
        Step::TakeBack => depot.undo_truncate().map(|_| ()),
        Step::Commit => depot.commit(),
        Step::Publish => depot.publish(),
        Step::Flush => depot.flush(),
    }
}

fn content_of(depot: &Depot<Raw>, what: &str) -> Content {
    depot
        .iter()
        .map(|entry| {
            let (key, record) = entry.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let Key::Int(name) = key else { panic!("{what}: {key}") };
            let by_name = depot.get(key).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert!(by_name.view() == record.view(), "{what}");
            (u8::try_from(name).unwrap(), record.view().to_vec())
        })
        .collect()
}

/// A run with the content after each step, and which step each event of the journal belongs to.
struct History {
    /// The content after each number of steps.
    contents: Vec<Content>,
    /// Pairs of (events so far, steps acknowledged as durable by then), increasing.
    acknowledged: Vec<(usize, usize)>,
    /// Truncations that removed something and were taken back.
    taken_back: u64,
}

fn record(storage: &CrashStorage, depot: &Depot<Raw>, before: Content, steps: &[Step]) -> History {
    let mut contents = vec![before];
    let mut acknowledged = vec![(storage.n_events(), 0)];
    let mut taken_back = 0;
    for (number, step) in steps.iter().enumerate() {
        let mut content = contents[number].clone();
        if !matches!(step, Step::TakeBack) {
            run(depot, step).unwrap();
            change(&mut content, step);
        } else if contents[number] != contents[number - 1] {
            run(depot, step).unwrap();
            content.clone_from(&contents[number - 1]);
            taken_back += 1;
        }
        contents.push(content);
        if matches!(step, Step::Commit | Step::Publish | Step::TruncateAfter(_) | Step::TakeBack) {
            acknowledged.push((storage.n_events(), number + 1));
        }
    }
    History { contents, acknowledged, taken_back }
}

/// Opens what is left after a crash.
///
/// The content must be that after some step, and not after an earlier one than the last acknowledged
/// step.
fn check(history: &History, after: &Arc<CrashStorage>, event: usize, what: &str) -> Content {
    let least =
        history.acknowledged.iter().filter(|(events, _)| *events <= event).map(|(_, step)| *step).max();
    let storage: Arc<dyn Storage> = after.clone();
    let depot = Depot::builder(Raw)
        .open_in(storage)
        .unwrap_or_else(|error| panic!("{what}: does not open: {error:?}"));
    let content = content_of(&depot, what);
    let known = history.contents[least.unwrap_or(0)..].contains(&content);
    assert!(known, "{what}: a content that never was: {} records", content.len());
    content
}

fn quick_or_long(quick: u64, long: u64) -> u64 {
    if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { long } else { quick }
}

#[test]
fn what_a_commit_acknowledged_survives_any_power_loss_also_a_second_one() {
    let (mut states, mut second_crashes, mut taken_back) = (0u64, 0u64, 0);
    for seed in 0..quick_or_long(6, 40) {
        let storage = Arc::new(CrashStorage::new());
        let depot = Depot::builder(Raw)
            .layout(options(seed))
            .write_options(writing())
            .create_in(storage.clone())
            .unwrap();
        // The longer ones merge index segments.
        let history =
            record(&storage, &depot, Content::new(), &steps(seed, if seed % 4 == 3 { 120 } else { 40 }));
        drop(depot);
        taken_back += history.taken_back;
        // Once the creation has returned, a crash may come at every event.
        for event in history.acknowledged[0].0..=storage.n_events() {
            for variant in 0..quick_or_long(12, 40) {
                let after = Arc::new(storage.power_loss(event, seed << 32 | (event as u64) << 8 | variant));
                let what = format!("workload {seed}, event {event}, variant {variant}");
                let content = check(&history, &after, event, &what);
                states += 1;
                if !(event as u64 + variant).is_multiple_of(4) {
                    continue;
                }
                // The recovery, and what is appended after it, are recorded and crashed too.
                let reopened = Depot::builder(Raw)
                    .append_in(after.clone())
                    .unwrap_or_else(|error| panic!("{what}: does not open for appending: {error:?}"));
                assert!(content_of(&reopened, &what) == content, "{what}: appending sees something else");
                let more = record(&after, &reopened, content.clone(), &steps(seed + 1000, 8));
                drop(reopened);
                let last = check(&more, &Arc::new(after.power_loss(usize::MAX, 0)), usize::MAX, &what);
                assert!(more.contents[more.acknowledged.last().unwrap().1..].contains(&last));
                let again = Random(states + 1).below(after.n_events() as u64 + 1) as usize;
                for variant in 0..2 {
                    let twice = Arc::new(after.power_loss(again, variant ^ states));
                    let what = format!("{what}, again at {again}, variant {variant}");
                    check(&more, &twice, again, &what);
                    second_crashes += 1;
                }
            }
        }
    }
    assert!(taken_back > 0);
    println!("{states} power losses, {second_crashes} of them followed by a second one: nothing lost");
}

#[test]
fn a_storage_that_fails_at_any_call_loses_nothing_and_goes_on() {
    let workload = single_steps(77, 60);
    let total = {
        let storage = Arc::new(FailingStorage::new(MemoryStorage::new(), u64::MAX, false));
        let depot = Depot::builder(Raw)
            .layout(options(1))
            .write_options(writing())
            .create_in(storage.clone())
            .unwrap();
        for step in &workload {
            run(&depot, step).unwrap();
        }
        storage.calls()
    };
    // The first two calls create the depot.
    for fail_at in 2..total {
        let storage = Arc::new(FailingStorage::new(MemoryStorage::new(), fail_at, false));
        let depot = Depot::builder(Raw)
            .layout(options(1))
            .write_options(writing())
            .create_in(storage.clone())
            .unwrap();
        let (mut content, mut committed) = (Content::new(), Content::new());
        let mut poisoned = false;
        for step in &workload {
            match run(&depot, step) {
                Ok(()) => {}
                Err(error) if !matches!(error.kind(), ErrorKind::Poisoned { .. }) => {
                    assert!(error.is_io() && error.to_string().contains("<failing storage>"), "{error}");
                    // What was committed can be read at once through the same handle.
                    for (name, bytes) in &committed {
                        if content.contains(&(*name, bytes.clone())) {
                            assert!(depot.get(*name).unwrap().view() == bytes);
                        }
                    }
                    match run(&depot, step) {
                        Ok(()) => {}
                        Err(error) if matches!(error.kind(), ErrorKind::Poisoned { .. }) => {
                            poisoned = true;
                            break;
                        }
                        Err(error) => panic!("call {fail_at}: {error:?}"),
                    }
                }
                Err(error) => panic!("call {fail_at}: {error:?}"),
            }
            change(&mut content, step);
            if matches!(step, Step::Commit | Step::Publish | Step::TruncateAfter(_)) {
                committed.clone_from(&content);
            }
        }
        if !poisoned {
            depot.commit().unwrap();
            assert!(content_of(&depot, "the same handle") == content, "call {fail_at}");
            committed = content.clone();
        }
        drop(depot);
        let depot = Depot::builder(Raw).open_in(storage).unwrap();
        let found = content_of(&depot, "reopened");
        assert!(found == committed || (poisoned && found.len() + 20 > committed.len()), "call {fail_at}");
    }
}

#[test]
fn a_full_disk_can_be_read_and_written_again_once_there_is_room() {
    let workload = single_steps(5, 50);
    for fail_at in (2..60).step_by(3) {
        let storage = Arc::new(FailingStorage::new(MemoryStorage::new(), fail_at, true));
        let depot = Depot::builder(Raw)
            .layout(options(2))
            .write_options(writing())
            .create_in(storage.clone())
            .unwrap();
        let mut content = Content::new();
        let mut full = false;
        for step in &workload {
            match run(&depot, step) {
                Ok(()) => change(&mut content, step),
                Err(error) if matches!(error.kind(), ErrorKind::Poisoned { .. }) => break,
                Err(error) => {
                    full = true;
                    assert!(error.is_io(), "{error:?}");
                }
            }
            if full {
                assert!(content_of(&depot, "while full") == content, "call {fail_at}");
            }
        }
        storage.heal();
        match depot.commit() {
            Ok(()) => {
                assert!(content_of(&depot, "healed") == content);
                drop(depot);
                let depot = Depot::builder(Raw).open_in(storage).unwrap();
                assert!(content_of(&depot, "reopened") == content, "call {fail_at}");
            }
            Err(error) if matches!(error.kind(), ErrorKind::Poisoned { .. }) => {}
            Err(error) => panic!("call {fail_at}: {error:?}"),
        }
    }
}

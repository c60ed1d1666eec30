//! A disk that really fills up: a small tmpfs in a mount namespace of its own, and a limit on the size
//! of files.
//!
//! The same run is made at every level of room. A failing call says what failed, where and why. What was
//! committed can be read while the disk is full, by the same handle and by others, mapped or not. The
//! same handle goes on once there is room.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, Error, ErrorKind, Key, Layout, Mapping, OpenOptions,
    Raw, WriteOptions,
};

const TMPFS: &str = "VLDEPOT_TMPFS";
const LIMITED: &str = "VLDEPOT_LIMITED";
/// Enough room for the whole run.
const ENOUGH: u64 = 2 << 20;

/// A disk with room for a given number of bytes: in all, or in each file.
trait Disk {
    fn folder(&self) -> &Path;
    fn set_room(&self, bytes: u64);
}

/// A tmpfs of [`ENOUGH`] bytes, filled up by a file beside the depot.
struct Tmpfs(PathBuf);

impl Disk for Tmpfs {
    fn folder(&self) -> &Path {
        &self.0
    }

    fn set_room(&self, bytes: u64) {
        let ballast = vec![1; (ENOUGH - bytes) as usize];
        fs::write(self.0.join("ballast"), ballast).unwrap();
    }
}

/// A limit on the length of this process's files.
struct Limit(tempfile::TempDir);

impl Disk for Limit {
    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn set_room(&self, bytes: u64) {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls read or write the one struct they are given, which lives through them.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit), 0);
            limit.rlim_cur = bytes;
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Put { name: u64, seed: u64 },
    Remove { name: u64 },
    Note { name: u64, note: u64 },
    Flush,
    Commit,
    Publish,
}

/// Bytes and note of each record.
type Content = BTreeMap<u64, (Vec<u8>, Option<u64>)>;

/// Bytes of which half are noise. Some payloads take several chunks.
fn payload(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let len = if seed.is_multiple_of(9) { 40_000 } else { 1500 + seed * 977 % 5000 };
    (0..len).map(|i| if i % 2 == 0 { random.next() as u8 } else { i as u8 / 9 }).collect()
}

fn steps() -> Vec<Step> {
    let mut random = Random(7);
    let one = |n: u64| match random.below(20) {
        0 => Step::Remove { name: random.below(40) },
        1 => Step::Note { name: random.below(40), note: n },
        2 => Step::Flush,
        3..6 => Step::Commit,
        6 => Step::Publish,
        _ => Step::Put { name: random.below(40), seed: n },
    };
    (0..90).map(one).collect()
}

fn run(depot: &Depot<Raw>, step: Step) -> Result<(), Error> {
    match step {
        Step::Put { name, seed } => depot.put_with_metadata(name, &payload(seed), &seed),
        Step::Remove { name } => depot.remove(name).map(|_| ()),
        Step::Note { name, note } => match depot.set_metadata(name, &note) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        },
        Step::Flush => depot.flush(),
        Step::Commit => depot.commit(),
        Step::Publish => depot.publish(),
    }
}

fn change(content: &mut Content, step: Step) {
    match step {
        Step::Put { name, seed } => {
            content.insert(name, (payload(seed), Some(seed)));
        }
        Step::Remove { name } => {
            content.remove(&name);
        }
        Step::Note { name, note } => {
            if let Some((_, noted)) = content.get_mut(&name) {
                *noted = Some(note);
            }
        }
        Step::Flush | Step::Commit | Step::Publish => {}
    }
}

fn content_of(depot: &Depot<Raw>) -> Content {
    let number = |key: Key| match key {
        Key::Int(name) => u64::try_from(name).unwrap(),
        other => panic!("{other:?}"),
    };
    let one = |(key, record): (Key, vldepot::Record<Raw>)| {
        let note = depot.metadata::<serde_json::Value>(&key).unwrap().and_then(|note| note.as_u64());
        (number(key), (record.view().to_vec(), note))
    };
    depot.iter().map(|record| one(record.unwrap())).collect()
}

/// The depot as its handle sees it, and what readers may see: any state since the last commit.
struct History {
    now: Content,
    since_commit: Vec<Content>,
    /// Records put since the last commit.
    waiting: BTreeSet<u64>,
}

impl History {
    fn note(&mut self, step: Step) {
        change(&mut self.now, step);
        match step {
            Step::Put { name, .. } | Step::Note { name, .. } if self.now.contains_key(&name) => {
                self.waiting.insert(name);
            }
            Step::Remove { name } => {
                self.waiting.remove(&name);
            }
            Step::Commit | Step::Publish => {
                self.since_commit.clear();
                self.waiting.clear();
            }
            Step::Flush | Step::Put { .. } | Step::Note { .. } => {}
        }
        self.since_commit.push(self.now.clone());
    }

    /// Checks the same handle, a reader that maps, and one that does not.
    fn check(&self, depot: &Depot<Raw>, path: &Path, what: &str) {
        assert!(content_of(depot) == self.now, "{what}: the handle shows something else");
        for mapping in [Mapping::Auto, Mapping::Never] {
            let options = OpenOptions::default().with_mapping(mapping);
            let reader = Depot::builder(Raw)
                .open_options(options.clone())
                .open(path)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                self.since_commit.contains(&content_of(&reader)),
                "{what}: a reader shows something else"
            );
        }
    }
}

/// The error says what failed, where and why.
fn check_error(error: &Error, step: Step, path: &Path, history: &History, what: &str) {
    assert!(error.is_io() && !error.is_damage(), "{what}: {error:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source.and_then(std::error::Error::source) {
        source = Some(cause);
    }
    let cause =
        source.and_then(|cause| cause.downcast_ref::<io::Error>()).expect("the cause is the system's");
    assert!(
        matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge),
        "{what}: {cause:?}"
    );
    match (step, error.kind()) {
        (Step::Put { name, .. }, ErrorKind::NotStored) => {
            assert_eq!(error.record(), Some(&*name.to_string()), "{what}");
        }
        (
            Step::Put { .. } | Step::Note { .. } | Step::Remove { .. },
            ErrorKind::NotCommitted { again: true, .. },
        )
        | (Step::Flush | Step::Publish, ErrorKind::Io { .. }) => {}
        (Step::Commit | Step::Publish, ErrorKind::NotCommitted { waiting, newest, again }) => {
            assert_eq!((*waiting, *again), (history.waiting.len() as u64, true), "{what}: {error}");
            assert_eq!(newest.is_some(), *waiting > 0, "{what}: {error}");
        }
        _ => panic!("{what}: {step:?} gave {error:?}"),
    }
}

/// Whether the step took effect although it reported an error.
fn is_taken_in(step: Step, error: &Error) -> bool {
    let changes = matches!(step, Step::Put { .. } | Step::Note { .. } | Step::Remove { .. });
    changes && matches!(error.kind(), ErrorKind::NotCommitted { .. })
}

fn options(codec: CompressionCodec, records: Option<u64>) -> (Layout, WriteOptions) {
    let write = WriteOptions::default()
        .with_threads(usize::from(records.is_none()))
        .with_commit_every(CommitEvery::never().with_records(records));
    let layout = Layout::default()
        .with_compression(Compression::default().with_codec(codec))
        .with_chunk_size(16 << 10)
        .with_block_size(4 << 10);
    (layout, write)
}

/// Creates a depot on a disk that may be full. If that fails, no file may be left.
fn create(disk: &dyn Disk, path: &Path, (layout, write): &(Layout, WriteOptions)) -> Depot<Raw> {
    match Depot::builder(Raw).layout(layout.clone()).write_options(write.clone()).create(path) {
        Ok(depot) => depot,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error:?}");
            assert!(!path.exists(), "a half-made file would be in the way");
            disk.set_room(ENOUGH);
            Depot::builder(Raw).layout(layout.clone()).write_options(write.clone()).create(path).unwrap()
        }
    }
}

/// One run that starts with `room` bytes. Returns how many calls failed.
fn run_with(disk: &dyn Disk, room: u64, options: &(Layout, WriteOptions), close_while_full: bool) -> usize {
    let path = disk.folder().join("run.vld");
    let what = format!("{:?}, {room} bytes of room", options.0.compression.codec);
    disk.set_room(room);
    let depot = create(disk, &path, options);
    let mut history =
        History { now: Content::new(), since_commit: vec![Content::new()], waiting: BTreeSet::new() };
    let (mut failed, mut full_for) = (0, 0);
    for step in steps() {
        // After some calls on the full disk there is room again.
        if full_for >= 4 && !close_while_full {
            disk.set_room(ENOUGH);
            full_for = 0;
        }
        match run(&depot, step) {
            Ok(()) => history.note(step),
            Err(error) => {
                check_error(&error, step, &path, &history, &what);
                if is_taken_in(step, &error) {
                    history.note(step);
                }
                history.check(&depot, &path, &what);
                (failed, full_for) = (failed + 1, full_for + 1);
            }
        }
        // A due commit happened within this call.
        if options.1.commit_every.records.is_some() && depot.info().unwrap().uncommitted_records == 0 {
            history.since_commit = vec![history.now.clone()];
            history.waiting.clear();
        }
    }
    if close_while_full {
        // Nobody can be told of an error here, but what was committed stays.
        drop(depot);
        let reader = Depot::open(&path, Raw).unwrap();
        assert!(history.since_commit.contains(&content_of(&reader)), "{what}: dropped while full");
        disk.set_room(ENOUGH);
        let depot = Depot::append(&path, Raw).unwrap();
        assert!(history.since_commit.contains(&content_of(&depot)), "{what}: appending after");
        depot.put("more", b"more").unwrap();
        depot.close().unwrap();
    } else {
        history.check(&depot, &path, &what);
        if depot.finish().is_err() {
            assert!(content_of(&depot) == history.now, "{what}: not finished");
        }
        disk.set_room(ENOUGH);
        depot.finish().unwrap();
        assert!(content_of(&depot) == history.now, "{what}: finished");
        depot.close().unwrap();
        assert!(content_of(&Depot::open(&path, Raw).unwrap()) == history.now, "{what}: closed");
    }
    fs::remove_file(&path).unwrap();
    failed
}

fn run_at_every_level(disk: &dyn Disk, step: usize) {
    let (mut runs, mut failed) = (0, 0);
    for codec in [CompressionCodec::Zstd, CompressionCodec::None] {
        for (nth, room) in (0..700_000).step_by(step).enumerate() {
            let options = options(codec, [None, Some(3)][nth % 2]);
            failed += run_with(disk, room, &options, nth % 5 == 4);
            runs += 1;
        }
    }
    assert!(failed > 2 * runs, "the disk was hardly ever full: {failed} calls failed in {runs} runs");
    println!("{runs} levels of a full disk, {failed} calls failed: nothing lost");
    io::stdout().flush().unwrap();
}

fn levels(quick: usize, long: usize) -> usize {
    if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { long } else { quick }
}

/// Not a test of its own: runs where it may mount.
#[test]
fn tmpfs_process() {
    let Some(folder) = std::env::var_os(TMPFS).map(PathBuf::from) else { return };
    let size = format!("size={ENOUGH},mode=700");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
    if !mounted.is_ok_and(|mount| mount.status.success()) {
        println!("mounting is refused here");
        return;
    }
    run_at_every_level(&Tmpfs(folder), levels(48 << 10, 4 << 10));
}

/// Not a test of its own: runs under a limit.
#[test]
fn limited_process() {
    if std::env::var_os(LIMITED).is_none() {
        return;
    }
    // SAFETY: ignoring a signal installs no handler; a write past the limit then returns an error.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    run_at_every_level(&Limit(tempfile::tempdir().unwrap()), levels(47_017, 1_999));
}

/// Runs one test of this binary in a process of its own. Returns its output, if the process could be
/// started.
fn process(test: &str, variable: &str, value: &Path, wrapper: &[&str]) -> Option<String> {
    let binary = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().map(Path::new).chain([binary.as_path()]).map(Path::as_os_str);
    let out = Command::new(words.next().unwrap())
        .args(words)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // If `unshare` fails, it says so before it starts anything.
    if !text.contains("running 1 test") && !wrapper.is_empty() {
        return None;
    }
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{test} ended with {}:\n{text}\n{error}", out.status);
    Some(text)
}

fn figures(text: &str) -> Option<&str> {
    text.lines().find(|line| line.contains("levels of a full disk"))
}

#[test]
fn a_full_file_system_costs_nothing_committed_and_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    // Only that process sees the mount, which ends with it. Without root, a user namespace may allow the
    // same.
    for wrapper in [&["unshare", "--mount"][..], &["unshare", "--map-root-user", "--mount"]] {
        let text = process("tmpfs_process", TMPFS, folder.path(), wrapper);
        if let Some(figures) = text.as_deref().and_then(figures) {
            println!("tmpfs: {figures}");
            return;
        }
    }
    println!("mounting is refused here: the limit on the size of files has to do");
}

#[test]
fn a_limit_on_the_size_of_files_costs_nothing_committed_and_is_left_behind() {
    let text = process("limited_process", LIMITED, Path::new("yes"), &[]).unwrap();
    println!("limit: {}", figures(&text).expect("the process ran to its end"));
}

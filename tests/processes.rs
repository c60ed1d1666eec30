//! One writer process at full speed, with readers in other processes. Nobody waits, nobody sees a torn
//! state, and every acknowledged record is there.
//!
//! `VLDEPOT_LONG_TESTS=1` writes a hundred times as much.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, ErrorKind, Layout, Mapping, OpenOptions, Raw,
    WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_commit_every(CommitEvery::never())
}

const WRITER: &str = "VLDEPOT_WRITER";
const READER: &str = "VLDEPOT_READER";
const SECOND: &str = "VLDEPOT_SECOND_WRITER";
const READERS: usize = 4;

fn payload(n: u64) -> Vec<u8> {
    (0..100 + n * 97 % 4000).map(|i| (i as u8 / 5) ^ (n as u8)).collect()
}

fn records() -> u64 {
    if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 200_000 } else { 2000 }
}

/// A file in which the writer tells the readers how many records are durable. It is written after each
/// commit.
struct Acknowledged(PathBuf);

impl Acknowledged {
    fn of(path: &Path) -> Self {
        Self(path.with_extension("acknowledged"))
    }

    /// A reader sees the old number or the new one, because the file is renamed into place.
    fn set(&self, n: u64) {
        let new = self.0.with_extension("new");
        fs::write(&new, n.to_string()).unwrap();
        fs::rename(new, &self.0).unwrap();
    }

    fn get(&self) -> u64 {
        fs::read_to_string(&self.0).map_or(0, |text| text.parse().unwrap())
    }
}

fn options(codec: CompressionCodec) -> Layout {
    Layout::default()
        .with_compression(Compression::default().with_codec(codec))
        .with_chunk_size(32 << 10)
        .with_block_size(4 << 10)
}

fn codec(path: &Path) -> CompressionCodec {
    if path.ends_with("plain.vld") { CompressionCodec::None } else { CompressionCodec::Zstd }
}

/// Not a test of its own: puts the records `0, 1, ..` as fast as it can. After each it replaces a record
/// that counts them.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(WRITER).map(PathBuf::from) else { return };
    let depot =
        Depot::builder(Raw).layout(options(codec(&path))).write_options(writing()).create(&path).unwrap();
    let acknowledged = Acknowledged::of(&path);
    for n in 0..records() {
        depot.put(n, &payload(n)).unwrap();
        depot.put("count", &(n + 1).to_le_bytes()).unwrap();
        match n % 23 {
            3 | 9 | 10 => depot.commit().unwrap(),
            15 => depot.flush().unwrap(),
            22 => depot.publish().unwrap(),
            _ => continue,
        }
        if n % 23 != 15 {
            acknowledged.set(n + 1);
        }
    }
    depot.close().unwrap();
    acknowledged.set(u64::MAX);
}

/// Checks that the state is one the writer had between two of its calls, by sampling records. Returns
/// how many numbered records there are.
fn check_state(depot: &Depot<Raw>, seed: u64, what: &str) -> u64 {
    let len = depot.len();
    if len == 0 {
        return 0;
    }
    // The counter is put after its record. It exists from the second call on, and is never more than one
    // behind.
    let Ok(counter) = depot.get("count") else {
        assert_eq!(len, 1, "{what}: records without their counter");
        return 1;
    };
    let (count, numbered) = (u64::from_le_bytes(counter.view().try_into().unwrap()), len - 1);
    assert!(count == numbered || count + 1 == numbered, "{what}: counted {count} of {numbered} records");
    let sample: Vec<u64> = (0..20).map(|n| (seed * 7919 + n * n * 31) % numbered).collect();
    for n in numbered.saturating_sub(5)..numbered {
        assert!(depot.get(n).unwrap().view() == payload(n), "{what}: record {n} of {numbered}");
    }
    for (n, record) in sample.iter().zip(depot.get_many(&sample).unwrap()) {
        assert!(record.view() == payload(*n), "{what}: record {n} of {numbered}");
    }
    assert!(!depot.contains(numbered).unwrap(), "{what}: more records than there are");
    numbered
}

/// Not a test of its own: follows the writer until it is done. A second handle stays at the state it was
/// opened at.
#[test]
fn reader_process() {
    let Some(path) = std::env::var_os(READER).map(PathBuf::from) else { return };
    let number: u64 = std::env::var("VLDEPOT_READER_NUMBER").unwrap().parse().unwrap();
    let mapping = if number.is_multiple_of(2) { Mapping::Auto } else { Mapping::Never };
    let open = || {
        Depot::builder(Raw).open_options(OpenOptions::default().with_mapping(mapping)).open(&path).unwrap()
    };
    let acknowledged = Acknowledged::of(&path);
    let follower = open();
    let mut old = open();
    let (mut last, mut refreshes, mut moved) = (0, 0u64, 0u64);
    loop {
        let known = acknowledged.get();
        let done = known == u64::MAX;
        let least = if done { records() } else { known };
        let what = format!("reader {number}, refresh {refreshes}");
        let told = follower.refresh().unwrap();
        assert!(told.kept <= told.before && told.now == follower.len(), "{what}: {told:?}");
        moved += u64::from(told.changed());
        let found = check_state(&follower, refreshes + number, &what);
        assert!(found >= least, "{what}: {found} records where {least} were acknowledged");
        assert!(found >= last, "{what}: {found} records where {last} had been seen");
        last = found;
        if refreshes.is_multiple_of(10) {
            // A handle that was not refreshed shows what it showed before.
            let before = old.len();
            check_state(&old, refreshes, &format!("{what}, an old handle"));
            assert_eq!(old.len(), before);
            old = open();
            let found = check_state(&old, refreshes, &format!("{what}, opened anew"));
            assert!(found >= last, "{what}: opened with {found} records where {last} had been seen");
        }
        if refreshes % 50 == 49 {
            let names = follower.keys().map(Result::unwrap).count() as u64;
            assert_eq!(names, follower.len(), "{what}: names");
        }
        refreshes += 1;
        if done {
            break;
        }
    }
    assert_eq!(last, records());
    println!("reader {number}: {refreshes} refreshes, {moved} new states, none torn");
}

/// Not a test of its own: reports whether it could have written.
#[test]
fn second_writer_process() {
    let Some(path) = std::env::var_os(SECOND).map(PathBuf::from) else { return };
    match Depot::append(&path, Raw) {
        Ok(_) => println!("could write"),
        Err(error) if matches!(error.kind(), ErrorKind::Locked) => println!("locked"),
        Err(error) => panic!("{error:?}"),
    }
}

/// Runs a test of this binary in a process of its own.
fn process(test: &str, variable: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The output of a process, which must have ended with success.
fn finish(child: Child, what: &str) -> String {
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{what} ended with {}:\n{text}\n{error}", out.status);
    text
}

fn can_write(path: &Path) -> bool {
    let text = finish(process("second_writer_process", SECOND, path).spawn().unwrap(), "the second writer");
    assert!(text.contains("locked") != text.contains("could write"), "{text}");
    text.contains("could write")
}

#[test]
fn readers_follow_a_writer_at_full_speed_and_see_no_torn_state() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["packed.vld", "plain.vld"] {
        let path = folder.path().join(name);
        let writer = process("writer_process", WRITER, &path).spawn().unwrap();
        // Readers start when there is something to read. They may come in the middle of anything.
        while Acknowledged::of(&path).get() == 0 {
            std::thread::yield_now();
        }
        let start = |number: usize| {
            let mut command = process("reader_process", READER, &path);
            command.env("VLDEPOT_READER_NUMBER", number.to_string()).spawn().unwrap()
        };
        let readers: Vec<Child> = (0..READERS).map(start).collect();
        if Acknowledged::of(&path).get() != u64::MAX {
            let refused = Depot::append(&path, Raw).map(drop);
            let done = Acknowledged::of(&path).get() == u64::MAX;
            assert!(
                matches!(&refused, Err(error) if matches!(error.kind(), ErrorKind::Locked)) || done,
                "{refused:?}"
            );
        }
        finish(writer, "the writer");
        for (number, reader) in readers.into_iter().enumerate() {
            let text = finish(reader, &format!("reader {number}"));
            let line = text.lines().find(|line| line.contains("none torn")).expect("it ran to its end");
            println!("{name}: {line}");
        }
        assert!(can_write(&path), "the writer is done");
    }
}

#[test]
fn a_writer_in_another_process_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put(1, b"one").unwrap();
    assert!(!can_write(&path), "created and open");
    depot.commit().unwrap();
    assert!(!can_write(&path), "committed and open");
    depot.close().unwrap();
    assert!(can_write(&path), "closed");
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(!can_write(&path), "appending");
    let record = depot.get(1).unwrap();
    drop(depot);
    assert!(can_write(&path), "dropped, though a record of it lives");
    assert_eq!(record.view(), b"one");
    let reader = Depot::open(&path, Raw).unwrap();
    assert!(can_write(&path), "readers lock nothing");
    assert_eq!(reader.get(1).unwrap().view(), b"one");
}

#[test]
fn the_lock_of_a_killed_writer_does_not_outlive_it() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = folder.path().join(format!("{round}.vld"));
        let mut writer = process("writer_process", WRITER, &path).spawn().unwrap();
        while Acknowledged::of(&path).get() <= 20 * round {
            std::thread::yield_now();
        }
        assert!(!can_write(&path) || Acknowledged::of(&path).get() == u64::MAX, "the writer is there");
        writer.kill().unwrap();
        writer.wait().unwrap();
        let acknowledged = Acknowledged::of(&path).get();
        let depot = Depot::append(&path, Raw).unwrap();
        let found = check_state(&depot, round, "after the kill");
        assert!(found >= acknowledged.min(records()), "{found} of {acknowledged} records");
        depot.put("more", b"more").unwrap();
        depot.close().unwrap();
    }
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Reads, without a map, a file that another program cut to `len` bytes. Returns how many records can
/// still be read.
fn read_cut(bytes: &[u8], len: usize, warm: bool, folder: &Path) -> usize {
    let path = folder.join("cut.vld");
    fs::write(&path, bytes).unwrap();
    let options = OpenOptions::default().with_mapping(Mapping::Never);
    let depot = Depot::builder(Raw).open_options(options.clone()).open(&path).unwrap();
    let whole: Vec<(u64, u64)> = if warm {
        // The index has been read, so each record is found. How far into the file its chunk reaches is
        // known.
        let offsets: Vec<u64> =
            (0..200u64).map(|n| depot.location(n).unwrap().file_offset.unwrap()).collect();
        let end = |n: usize| offsets[n..].iter().find(|&&at| at > offsets[n]).copied();
        (0..200).filter_map(|n| Some((n as u64, end(n)?))).collect()
    } else {
        Vec::new()
    };
    cut(&path, len as u64);
    let mut right = 0;
    for n in 0..200u64 {
        match depot.get(n) {
            Ok(record) => {
                assert!(record.view() == payload(n), "cut to {len}: record {n}");
                right += 1;
            }
            Err(error) => {
                assert!(error.is_damage(), "cut to {len}: record {n}: {error:?}");
                assert!(error.to_string().contains("cut.vld"), "{error}");
                let spared = whole.iter().any(|&(name, end)| name == n && end <= len as u64);
                assert!(!spared, "cut to {len}: record {n} lies before the cut: {error:?}");
            }
        }
    }
    let listed = depot.iter().flatten().count();
    assert!(listed <= 200 && depot.keys().count() <= 201);
    right
}

#[test]
fn a_file_cut_under_a_reader_that_does_not_map_is_an_error_for_what_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [CompressionCodec::Zstd, CompressionCodec::None] {
        let path = folder.path().join("whole.vld");
        let depot =
            Depot::builder(Raw).layout(options(codec)).write_options(writing()).create(&path).unwrap();
        (0..200).for_each(|n| depot.put(n, &payload(n)).unwrap());
        depot.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut right = Vec::new();
        for len in (0..bytes.len()).step_by(bytes.len() / 37) {
            right.push(read_cut(&bytes, len, true, folder.path()));
            read_cut(&bytes, len, false, folder.path());
        }
        assert!(right.is_sorted() && right[0] == 0 && *right.last().unwrap() > 150, "{codec:?}: {right:?}");
        fs::remove_file(&path).unwrap();
    }
}

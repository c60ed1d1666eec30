//! A depot opened before `fork`. Children and parent read it at the same time. A child of a writer
//! cannot write, nor harm its parent's file.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, Error, ErrorKind, Layout, Mapping, OpenOptions, Raw,
    WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(2).with_commit_every(CommitEvery::never())
}

const RECORDS: u32 = 400;
/// A child that takes longer counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn payload(n: u32) -> Vec<u8> {
    (0..200 + n as usize * 37 % 3000).map(|i| (i as u8 / 5) ^ (n as u8)).collect()
}

fn options() -> Layout {
    Layout::default().with_chunk_size(32 << 10).with_block_size(4 << 10)
}

fn fill(depot: &Depot<Raw>, range: std::ops::Range<u32>) {
    for n in range {
        depot.put_with_metadata(n, &payload(n), &n).unwrap();
    }
}

/// A forked process, or 0 when it has ended.
struct Child(libc::pid_t);

impl Child {
    /// Runs `work` in a fork of this process. The fork then exits without running the test harness.
    fn run(work: impl FnOnce()) -> Self {
        // SAFETY: the child uses its own copy of memory, locks that the forking thread saw free, positioned
        // reads and `_exit`. No other thread of this process is inside the depot at this moment.
        match unsafe { libc::fork() } {
            -1 => panic!("fork failed: {}", std::io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                // SAFETY: ends the process here and now; nothing is returned to.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            pid => Self(pid),
        }
    }

    /// Waits until the child ends with success.
    fn join(mut self, what: &str) {
        let pid = std::mem::take(&mut self.0);
        let begun = Instant::now();
        let mut status = 0;
        loop {
            // SAFETY: `status` lives through the call, and the process is a child that nobody else waits for.
            match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } {
                0 if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
                0 => {
                    // SAFETY: a signal to a child that was not waited for: its number is not another's.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                    panic!("{what}: the child hangs");
                }
                _ => break,
            }
        }
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{what}: status {status:#x}");
    }
}

/// A failing test leaves no child behind.
impl Drop for Child {
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: a child that was not waited for: its number is not another's.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
        }
    }
}

/// Reads in every way, in an order that depends on `seed`.
fn read_all_over(depot: &Depot<Raw>, seed: u32, rounds: u32) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % RECORDS
    };
    for round in 0..rounds {
        let n = next();
        assert!(depot.get(n).unwrap().view() == payload(n), "record {n}");
        assert_eq!(depot.location(n).unwrap().length, payload(n).len() as u64);
        assert_eq!(depot.metadata::<serde_json::Value>(n).unwrap(), Some(n.into()));
        assert!(depot.get_at(n.into()).unwrap().view() == payload(n));
        if round % 20 == 0 {
            let names: Vec<u32> = (0..50).map(|_| next()).collect();
            for (n, record) in names.iter().zip(depot.get_many(&names).unwrap()) {
                assert!(record.view() == payload(*n), "record {n} of a batch");
            }
        }
        if round % 100 == 50 {
            let all = depot.iter().map(Result::unwrap);
            assert_eq!(all.map(|(_, record)| assert!(!record.is_empty())).count() as u32, RECORDS);
        }
    }
}

#[test]
fn four_children_and_the_parent_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [CompressionCodec::Zstd, CompressionCodec::None] {
        let path = folder.path().join(format!("{codec:?}.vld"));
        let compression = Compression::default().with_codec(codec);
        let depot = Depot::builder(Raw)
            .layout(options().with_compression(compression))
            .write_options(writing())
            .create(&path)
            .unwrap();
        fill(&depot, 0..RECORDS);
        depot.close().unwrap();
        for mapping in [Mapping::Auto, Mapping::Never] {
            let options = OpenOptions::default().with_mapping(mapping);
            let depot = Depot::builder(Raw).open_options(options.clone()).open(&path).unwrap();
            // Some reads first, so that the children inherit caches, contexts and maps.
            read_all_over(&depot, 99, 30);
            let record = depot.get(7).unwrap();
            let children: Vec<Child> =
                (0..4).map(|seed| Child::run(|| read_all_over(&depot, seed, 300))).collect();
            read_all_over(&depot, 5, 300);
            for child in children {
                child.join(&format!("{codec:?}, {mapping:?}"));
            }
            assert!(record.view() == payload(7));
        }
    }
}

fn check_refusals(depot: &Depot<Raw>, parent: u32) {
    let refused = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Forked { owner, .. } if *owner == parent), "{error:?}");
        assert!(error.to_string().contains(&format!("process {parent}")), "{error}");
    };
    refused(depot.put(1, b"from the child"));
    refused(depot.put_new("new", b"from the child"));
    refused(depot.remove(1).map(|_| ()));
    refused(depot.set_metadata(1, &1));
    refused(depot.set_depot_metadata("a", &1));
    refused(depot.flush());
    refused(depot.commit());
    refused(depot.publish());
    refused(depot.to_bytes().map(|_| ()));
}

#[test]
fn a_fork_of_the_writer_reads_but_neither_writes_nor_touches_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    fill(&depot, 0..RECORDS / 2);
    depot.commit().unwrap();
    // There are chunks in the file, chunks with the threads, and a chunk still open. The child must have
    // all of them.
    fill(&depot, RECORDS / 2..RECORDS);
    depot.set_depot_metadata("units", "nm").unwrap();
    let parent = std::process::id();
    let mut depot = ManuallyDrop::new(depot);
    for drops in [false, true] {
        let before = std::fs::read(&path).unwrap();
        let child = Child::run(|| {
            check_refusals(&depot, parent);
            read_all_over(&depot, 3, 100);
            assert_eq!(
                depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["units"],
                "nm"
            );
            if drops {
                // SAFETY: the child's copy of the depot is dropped once and not used again.
                unsafe { ManuallyDrop::drop(&mut depot) };
            }
        });
        child.join(if drops { "a child that drops the depot" } else { "a child that leaves it alone" });
        assert!(std::fs::read(&path).unwrap() == before, "the child changed the file");
        // The lock is still the parent's.
        assert!(matches!(Depot::append(&path, Raw), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    }
    let depot = ManuallyDrop::into_inner(depot);
    depot.put("after", b"the fork").unwrap();
    depot.close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    assert_eq!(depot.get("after").unwrap().view(), b"the fork");
    assert!(depot.remove("after").unwrap());
    read_all_over(&depot, 4, 100);
}

#[test]
fn closing_in_a_fork_is_refused_and_the_parent_closes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("closed.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    fill(&depot, 0..RECORDS);
    let mut depot = Some(depot);
    let child = Child::run(|| {
        let error = depot.take().unwrap().close().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Forked { .. }), "{error:?}");
    });
    child.join("a child that closes");
    depot.take().unwrap().close().unwrap();
    read_all_over(&Depot::open(&path, Raw).unwrap(), 8, 50);
}

/// A child that inherited the writer's file and lives until the pipe is closed.
fn living_child() -> (Child, std::io::PipeWriter) {
    let (mut waits, release) = std::io::pipe().unwrap();
    let inherited = release.try_clone().unwrap();
    let child = Child::run(move || {
        drop(inherited);
        let _ = waits.read(&mut [0]);
    });
    (child, release)
}

fn appends(path: &Path) -> Result<(), Error> {
    Depot::append(path, Raw).map(drop)
}

#[test]
fn a_living_child_does_not_keep_the_lock_of_a_parent_that_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    fill(&depot, 0..10);
    let (child, mut release) = living_child();
    assert!(matches!(appends(&path), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    depot.close().unwrap();
    appends(&path).unwrap();
    release.write_all(b"!").unwrap();
    child.join("a child that only waits");
}

#[test]
fn a_child_opens_the_file_anew_and_writes_once_the_parent_has_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handed_over.vld");
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).create(&path).unwrap();
    fill(&depot, 0..RECORDS);
    depot.commit().unwrap();
    let child = Child::run(|| {
        assert!(matches!(appends(&path), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    });
    child.join("a child while the parent writes");
    depot.close().unwrap();
    let child = Child::run(|| {
        let depot = Depot::append(&path, Raw).unwrap();
        depot.put("child", &payload(1)).unwrap();
        // Enough records to start the threads of its own pool.
        fill(&depot, 0..RECORDS);
        depot.close().unwrap();
    });
    child.join("a child that appends");
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(depot.len(), u64::from(RECORDS) + 1);
    assert!(depot.get("child").unwrap().view() == payload(1));
    for n in 0..RECORDS {
        assert!(depot.get(n).unwrap().view() == payload(n));
    }
}

#[test]
fn a_depot_in_memory_is_read_by_forks_as_well() {
    let depot = Depot::builder(Raw).layout(options()).write_options(writing()).memory().unwrap();
    fill(&depot, 0..RECORDS);
    let parent = std::process::id();
    let children: Vec<Child> = (0..2)
        .map(|seed| {
            Child::run(|| {
                read_all_over(&depot, seed, 200);
                check_refusals(&depot, parent);
            })
        })
        .collect();
    for child in children {
        child.join("memory");
    }
    read_all_over(&depot, 3, 100);
}

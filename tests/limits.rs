//! A process with little address space, or with closed standard streams.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{fs, io};

use vldepot::maintain::{VerifyOptions, verify};
use vldepot::storage::{FileStorage, Storage};
use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, Layout, Mapping, OpenOptions, Raw, WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_commit_every(CommitEvery::never())
}

const NARROW: &str = "VLDEPOT_NARROW";
const SPARSE: &str = "VLDEPOT_SPARSE";
const STREAMS: &str = "VLDEPOT_STREAMS";
/// Bytes of address space.
const ROOM: u64 = 1000 << 20;

/// Runs one test of this binary in a process of its own.
fn process(test: &str, variable: &str, value: &Path) {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .output()
        .unwrap();
    let (said, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}:\n{said}\n{error}", out.status);
}

fn limit_address_space() {
    let limit = libc::rlimit { rlim_cur: ROOM, rlim_max: ROOM };
    // SAFETY: reads the one struct it is given, which lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

fn options(codec: CompressionCodec, chunk_size: usize) -> Layout {
    Layout::default().with_compression(Compression::default().with_codec(codec)).with_chunk_size(chunk_size)
}

/// A MiB of noise.
fn large(n: u64) -> Vec<u8> {
    let mut state = n;
    let words = (0..1_u32 << 17).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()
    });
    words.collect()
}

/// Not a test of its own: runs with little address space.
#[test]
fn narrow_process() {
    let Some(folder) = std::env::var_os(NARROW).map(PathBuf::from) else { return };
    limit_address_space();
    for (codec, records) in [(CompressionCodec::None, 300), (CompressionCodec::Lz4, 100)] {
        let path = folder.join(format!("{codec:?}.vld"));
        let depot = Depot::builder(Raw)
            .layout(options(codec, 1 << 20))
            .write_options(writing())
            .create(&path)
            .unwrap();
        depot.put(0, &large(0)).unwrap();
        depot.commit().unwrap();
        let follower = Depot::open(&path, Raw).unwrap();
        for n in 1..records {
            depot.put(n, &large(n)).unwrap();
            // A commit for each record, until a map of the whole file after each would have used up the
            // address space. Then there are fewer commits, because each waits for the disk.
            if n >= 80 && n % 10 != 9 {
                continue;
            }
            depot.commit().unwrap();
            assert!(follower.refresh().unwrap().changed());
            assert!(follower.get(n).unwrap().view() == large(n), "{n}");
        }
        // Only 50 records are held: all of them would take a third of the address space, even where maps
        // lend them.
        let held: Vec<_> = (0..50).map(|n| follower.get(n).unwrap()).collect();
        assert!((0..).zip(held).all(|(n, record)| record.view() == large(n)));
        depot.close().unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_depot_of_300_mib_is_written_and_followed_in_a_small_address_space() {
    let folder = tempfile::tempdir().unwrap();
    process("narrow_process", NARROW, folder.path());
}

/// The chunk size of the sparse file. Half of each chunk is a hole.
const SPARSE_CHUNK: usize = 64 << 20;

/// A file that leaves out zeros.
struct Sparse(FileStorage);

impl Storage for Sparse {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        self.0.write_at(offset, &bytes[..end])?;
        let len = offset + bytes.len() as u64;
        if self.0.len()? < len { self.0.set_len(len) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A record that fills half a chunk, nearly all of it zeros.
fn sparse(n: u64) -> Vec<u8> {
    let mut record = vec![0; SPARSE_CHUNK / 2];
    record[..8].copy_from_slice(&n.to_le_bytes());
    record
}

/// Not a test of its own: the file is three times as long as the address space.
#[test]
fn sparse_process() {
    let Some(path) = std::env::var_os(SPARSE).map(PathBuf::from) else { return };
    limit_address_space();
    assert!(fs::metadata(&path).unwrap().len() > 3 * ROOM);
    for mapping in [Mapping::Auto, Mapping::Never] {
        let open = OpenOptions::default().with_mapping(mapping);
        let reader = Depot::builder(Raw).open_options(open.clone()).open(&path).unwrap();
        let writer = Depot::builder(Raw).open_options(open.clone()).append(&path).unwrap();
        let before = reader.len();
        for n in before..before + 5 {
            writer.put(n, &n.to_le_bytes()).unwrap();
            writer.commit().unwrap();
            assert!(reader.refresh().unwrap().changed());
        }
        for depot in [&reader, &writer] {
            assert_eq!(depot.len(), before + 5);
            for n in (0..depot.len()).filter(|n| n % 7 == 0 || *n >= before) {
                assert_eq!(depot.get(n).unwrap().view()[..8], n.to_le_bytes());
            }
        }
        writer.close().unwrap();
    }
    assert!(verify(&path, &VerifyOptions::default().with_quick(true), |_| ()).unwrap().is_whole());
}

#[test]
fn a_file_three_times_as_long_as_the_address_space_is_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.vld");
    let depot = Depot::builder(Raw)
        .layout(options(CompressionCodec::None, SPARSE_CHUNK))
        .write_options(writing())
        .create_in(Arc::new(Sparse(FileStorage::create(&path).unwrap())))
        .unwrap();
    for n in 0..52_u64 {
        depot.put(n, &sparse(n)).unwrap();
        // Closes the chunk.
        depot.flush().unwrap();
    }
    depot.close().unwrap();
    process("sparse_process", SPARSE, &path);
}

/// Not a test of its own: no standard stream is open, and other code goes on writing to them.
#[test]
fn streams_process() {
    let Some(path) = std::env::var_os(STREAMS).map(PathBuf::from) else { return };
    let say = || {
        for fd in 0..3 {
            let bytes = b"a message of a library that does not know that nobody hears it\n";
            // SAFETY: reads no more bytes than there are.
            let _ = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        }
    };
    for fd in 0..3 {
        // SAFETY: takes an integer alone; whatever else has the descriptor in this process uses it no more.
        assert_eq!(unsafe { libc::close(fd) }, 0);
    }
    let done = std::panic::catch_unwind(|| {
        let depot = Depot::create(&path, Raw).unwrap();
        say();
        depot.put("a", b"alpha").unwrap();
        depot.commit().unwrap();
        say();
        depot.close().unwrap();
        let depot = Depot::append(&path, Raw).unwrap();
        say();
        depot.put("b", b"beta").unwrap();
        let reader = Depot::open(&path, Raw).unwrap();
        say();
        depot.close().unwrap();
        assert_eq!(reader.get("a").unwrap().view(), b"alpha");
        // SAFETY: takes integers alone, and only asks.
        let is_open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        assert!(!(0..3).any(is_open), "the standard streams stay closed");
    });
    // SAFETY: ends the process, before the harness writes to what is closed.
    unsafe { libc::_exit(i32::from(done.is_err())) };
}

#[test]
fn messages_to_closed_streams_do_not_end_up_in_a_depot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    process("streams_process", STREAMS, &path);
    assert!(verify(&path, &VerifyOptions::default(), |_| ()).unwrap().is_whole());
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(
        (depot.get("a").unwrap().view(), depot.get("b").unwrap().view()),
        (&b"alpha"[..], &b"beta"[..])
    );
    let file = fs::read(&path).unwrap();
    assert!(!file.windows(9).any(|window| window == b"a message"));
}

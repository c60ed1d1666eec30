//! Eight threads read in every way, while one replaces, removes, commits, publishes and merges. All use
//! one handle.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, ErrorKind, Key, Layout, Mapping, OpenOptions, Raw,
    WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(1).with_commit_every(CommitEvery::never())
}

/// This many names are always there, and replaced all the time.
const KEPT: u32 = 60;
/// The names after those, up to this many, come and go.
const NAMES: u32 = 120;
const READERS: u32 = 8;

/// Name and version, then bytes computed from them.
fn payload(name: u32, version: u32) -> Vec<u8> {
    let len = 8 + (name * 131 + version * 37) % 1500;
    let mut bytes = [name.to_le_bytes(), version.to_le_bytes()].concat();
    bytes.extend((8..len).map(|i| (i / 3) as u8 ^ (name as u8) ^ (version as u8).wrapping_mul(29)));
    bytes
}

/// The version of `bytes`, which must be complete.
fn version_of(name: u32, bytes: &[u8]) -> u32 {
    let version = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
    assert!(bytes == payload(name, version), "record {name} is not what was put at any time");
    version
}

fn options(codec: CompressionCodec) -> Layout {
    Layout::default()
        .with_compression(Compression::default().with_codec(codec))
        .with_chunk_size(16 << 10)
        .with_block_size(2 << 10)
}

/// The depot, and for each name the newest version whose `put` has returned.
struct Shared<'d> {
    depot: &'d Depot<Raw>,
    newest: Vec<AtomicU32>,
    done: AtomicBool,
}

impl Shared<'_> {
    fn put(&self, name: u32, version: u32) {
        self.depot.put(name, &payload(name, version)).unwrap();
        self.newest[name as usize].store(version, Ordering::SeqCst);
    }

    fn newest(&self, name: u32) -> u32 {
        self.newest[name as usize].load(Ordering::SeqCst)
    }

    /// Commits every few changes, so that the index is merged all the time.
    fn write(&self, rounds: u32) {
        for version in 1..=rounds {
            for step in 0..6 {
                let name = (version * 7 + step * 23) % NAMES;
                if name >= KEPT && (version + step).is_multiple_of(3) {
                    self.depot.remove(name).unwrap();
                } else {
                    self.put(name, version * 10 + step);
                }
            }
            match version % 9 {
                0 => self.depot.publish().unwrap(),
                4 => self.depot.flush().unwrap(),
                _ => self.depot.commit().unwrap(),
            }
        }
        self.done.store(true, Ordering::SeqCst);
    }

    /// Reads until the writer is done, and for some rounds in any case.
    fn read(&self, reader: u32) -> u32 {
        let mut rounds = 0;
        while rounds < 20 || !self.done.load(Ordering::SeqCst) {
            match (rounds + reader) % 5 {
                0 => self.read_batch(rounds * 13 + reader),
                1 => self.read_all(),
                2 => self.list_all(),
                _ => (0..30).for_each(|n| self.read_one((rounds * 31 + n * 7 + reader) % NAMES)),
            }
            rounds += 1;
        }
        rounds
    }

    /// Checks that `bytes` are at least as new as what was put before the call.
    fn check(name: u32, least: u32, bytes: &[u8]) {
        let version = version_of(name, bytes);
        assert!(version >= least, "record {name}: version {version} where {least} had been put");
    }

    fn read_one(&self, name: u32) {
        let least = self.newest(name);
        match self.depot.get(name) {
            Ok(record) => Self::check(name, least, record.view()),
            Err(error) => assert!(name >= KEPT && error.is_not_found(), "record {name}: {error:?}"),
        }
        match self.depot.location(name) {
            Ok(location) => assert!((8..1508).contains(&location.length) && location.offset < 16 << 10),
            Err(error) => assert!(name >= KEPT && error.is_not_found(), "record {name}: {error:?}"),
        }
        // The position may hold another record by the time its name is asked for, but that record is
        // whole.
        if let Ok(record) = self.depot.get_at(u64::from(name) % u64::from(KEPT)) {
            let at = u32::from_le_bytes(record.view()[..4].try_into().unwrap());
            version_of(at, record.view());
        }
    }

    fn read_batch(&self, seed: u32) {
        let names: Vec<u32> = (0..25).map(|n| (seed + n * 11) % KEPT).collect();
        let least: Vec<u32> = names.iter().map(|&name| self.newest(name)).collect();
        let records = self.depot.get_many(&names).unwrap();
        for ((&name, least), record) in names.iter().zip(least).zip(records) {
            Self::check(name, least, record.view());
        }
        let missing = self.depot.get_many(&[0, NAMES + 1]).unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::NotFound), "{missing:?}");
    }

    /// Checks that names that are always there occur once in every iteration.
    fn read_all(&self) {
        let least: Vec<u32> = (0..NAMES).map(|name| self.newest(name)).collect();
        let mut seen = HashSet::new();
        for record in self.depot {
            let (key, record) = record.unwrap();
            let name = number(&key);
            Self::check(name, least[name as usize], record.view());
            assert!(seen.insert(name), "record {name} twice");
        }
        assert!((0..KEPT).all(|name| seen.contains(&name)));
    }

    fn list_all(&self) {
        let mut seen = HashSet::new();
        assert!(self.depot.keys().all(|key| seen.insert(number(&key.unwrap()))), "a name twice");
        assert!((0..KEPT).all(|name| seen.contains(&name)));
        assert!(self.depot.contains(seen.len() as u32 % KEPT).unwrap());
        assert!((u64::from(KEPT)..=u64::from(NAMES)).contains(&self.depot.len()));
    }
}

fn number(key: &Key) -> u32 {
    match key {
        Key::Int(name) => u32::try_from(*name).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Reads and writes `depot` at the same time. Returns the content afterwards.
fn run(depot: &Depot<Raw>) -> Vec<(u32, Vec<u8>)> {
    let newest = (0..NAMES).map(|_| AtomicU32::new(0)).collect();
    let shared = Shared { depot, newest, done: AtomicBool::new(false) };
    (0..KEPT).for_each(|name| shared.put(name, 0));
    let rounds = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 3000 } else { 30 };
    let shared = &shared;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|reader| scope.spawn(move || shared.read(reader))).collect();
        shared.write(rounds);
        let read: u32 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        println!("{rounds} commits, {read} rounds of reading beside them");
    });
    for name in 0..KEPT {
        assert_eq!(version_of(name, depot.get(name).unwrap().view()), shared.newest(name));
    }
    content(depot)
}

fn content(depot: &Depot<Raw>) -> Vec<(u32, Vec<u8>)> {
    let pair = |(key, record): (Key, vldepot::Record<Raw>)| (number(&key), record.view().to_vec());
    depot.iter().map(|record| pair(record.unwrap())).collect()
}

#[test]
fn eight_threads_read_a_depot_in_memory_while_one_writes() {
    run(&Depot::builder(Raw)
        .layout(options(CompressionCodec::Lz4))
        .write_options(writing())
        .memory()
        .unwrap());
}

#[test]
fn eight_threads_read_a_file_while_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    for (codec, mapping) in [
        (CompressionCodec::Zstd, Mapping::Auto),
        (CompressionCodec::None, Mapping::Auto),
        (CompressionCodec::None, Mapping::Never),
    ] {
        let path = folder.path().join(format!("{codec:?}{mapping:?}.vld"));
        Depot::builder(Raw)
            .layout(options(codec))
            .write_options(writing())
            .create(&path)
            .unwrap()
            .close()
            .unwrap();
        let write = WriteOptions::default().with_commit_every(CommitEvery::never());
        let open = OpenOptions::default().with_mapping(mapping);
        let depot = Depot::builder(Raw).open_options(open).write_options(write).append(&path).unwrap();
        let written = run(&depot);
        depot.close().unwrap();
        assert!(content(&Depot::open(&path, Raw).unwrap()) == written, "closed");
    }
}

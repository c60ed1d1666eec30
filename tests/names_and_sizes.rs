//! Names and records of any size are stored and returned exactly, or refused at `put`. None is lost at
//! close.
//!
//! `VLDEPOT_LONG_TESTS=1` stores a record of 2.2 GiB and a million records of 12 bytes. With `--release
//! --nocapture` it prints what that takes.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test data and printed figures"
)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;
use vldepot::{
    CommitEvery, Depot, Error, ErrorKind, Key, Layout, MAX_KEY_LEN, Mapping, OpenOptions, Placement, Raw,
    WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_commit_every(CommitEvery::never())
}

fn small() -> Layout {
    Layout::default().with_chunk_size(64 << 10).with_block_size(8 << 10)
}

fn is_long() -> bool {
    std::env::var_os("VLDEPOT_LONG_TESTS").is_some()
}

/// Keys that some store, somewhere, takes for something else.
fn odd_keys() -> Vec<Key> {
    let strings = [
        "",
        " ",
        "\0",
        "a\0b",
        "a\nb",
        "a\r\nb",
        ".",
        "..",
        "../../etc/passwd",
        "/absolute/path",
        "C:\\temp\\NUL",
        "a/",
        "a//b",
        "\u{e9}",
        "e\u{301}",
        "\u{202e}txt.exe",
        "\u{5d0}\u{5d1} abc \u{627}",
        "👩‍👩‍👧‍👦",
        "\u{feff}bom",
        "\u{10ffff}",
        "7",
        "b\"7\"",
        "null",
    ];
    let bytes: [&[u8]; 7] = [b"", b"\0", b"\xff\xfe", b"a\nb", b"7", b"\x80", &[1; 300]];
    let integers = [0, 7, -1, -7, i128::from(i64::MIN), i128::from(i64::MAX), i128::from(u64::MAX)];
    let long = ["long ".repeat(1 << 18), "é".repeat(1 << 19)];
    let long_bytes = vec![0xff; (1 << 20) + 1];
    let strings = strings.map(str::to_owned).into_iter().chain(long);
    let bytes = bytes.map(<[u8]>::to_vec).into_iter().chain([long_bytes]);
    strings.map(Key::Str).chain(bytes.map(Key::Bytes)).chain(integers.map(Key::Int)).collect()
}

/// Puts every key, with its number as record and as metadata, in order.
fn fill(depot: &Depot<Raw>, keys: &[Key]) {
    for (n, key) in keys.iter().enumerate() {
        depot.put_with_metadata(key, &n.to_le_bytes(), &json!(n)).unwrap();
    }
}

fn check(depot: &Depot<Raw>, keys: &[Key], what: &str) {
    assert_eq!(depot.len(), keys.len() as u64, "{what}");
    assert!(depot.keys().map(Result::unwrap).eq(keys.iter().cloned()), "{what}: listed otherwise");
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(depot.get(key).unwrap().view(), n.to_le_bytes(), "{what}: key number {n}");
        assert_eq!(
            depot.metadata::<serde_json::Value>(key).unwrap(),
            Some(json!(n)),
            "{what}: key number {n}"
        );
        assert_eq!(&depot.key_at(n as u64).unwrap(), key, "{what}: key number {n}");
    }
    let records = depot.get_many(keys).unwrap();
    assert!(records.iter().enumerate().all(|(n, record)| record.view() == n.to_le_bytes()), "{what}");
}

/// Checks the file that a process killed now would leave, with a reader and with a writer.
fn check_killed(path: &Path, check: impl Fn(&Depot<Raw>, &str)) {
    let killed = path.with_extension("killed");
    fs::copy(path, &killed).unwrap();
    check(&Depot::open(&killed, Raw).unwrap(), "after a kill");
    check(&Depot::append(&killed, Raw).unwrap(), "appending after a kill");
    check(&Depot::open(&killed, Raw).unwrap(), "closed after a kill");
    fs::remove_file(&killed).unwrap();
}

fn check_files(path: &Path, keys: &[Key], options: Layout) {
    let depot = Depot::builder(Raw).layout(options).write_options(writing()).create(path).unwrap();
    fill(&depot, keys);
    check(&depot, keys, "put");
    depot.flush().unwrap();
    check_killed(path, |depot, what| check(depot, keys, what));
    depot.commit().unwrap();
    check(&depot, keys, "committed");
    depot.close().unwrap();
    for mapping in [Mapping::Auto, Mapping::Never] {
        let options = OpenOptions::default().with_mapping(mapping);
        check(&Depot::builder(Raw).open_options(options.clone()).open(path).unwrap(), keys, "closed");
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn any_name_comes_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let keys = odd_keys();
    check_files(&folder.path().join("names.vld"), &keys, small());
    let compatible = small().with_vlstore_compatible(true);
    check_files(&folder.path().join("vlstore.vld"), &keys, compatible);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "names make no files");
    let memory = Depot::builder(Raw).layout(small()).write_options(writing()).memory().unwrap();
    fill(&memory, &keys);
    let copy = Depot::from_bytes(&memory.to_bytes().unwrap(), Raw).unwrap();
    check(&copy, &keys, "from bytes");
    for key in &keys {
        assert!(copy.remove(key).unwrap());
    }
    assert!(copy.is_empty() && Depot::from_bytes(&copy.to_bytes().unwrap(), Raw).unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn random_names_come_back_exactly(
        strings in proptest::collection::hash_set(any::<String>(), 1..40),
        bytes in proptest::collection::hash_set(any::<Vec<u8>>(), 1..40),
        integers in proptest::collection::hash_set(any::<i64>(), 1..40),
    ) {
        let integers = integers.into_iter().map(|n| Key::Int(n.into()));
        let keys: Vec<Key> =
            strings.into_iter().map(Key::Str).chain(bytes.into_iter().map(Key::Bytes)).chain(integers).collect();
        let folder = tempfile::tempdir().unwrap();
        check_files(&folder.path().join("names.vld"), &keys, small());
    }
}

fn why(result: Result<(), Error>) -> String {
    let error = result.unwrap_err();
    let ErrorKind::InvalidRecord { why } = error.kind() else { panic!("{error:?}") };
    why.clone()
}

#[test]
fn what_cannot_be_stored_is_refused_at_put_and_nothing_else_suffers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits.vld");
    let depot = Depot::builder(Raw).layout(small()).write_options(writing()).create(&path).unwrap();
    let longest = "n".repeat(MAX_KEY_LEN);
    depot.put(&longest, b"the longest name").unwrap();
    let too_long = "n".repeat(MAX_KEY_LEN + 1);
    let expected = format!("a name of {} bytes; at most {MAX_KEY_LEN} fit", MAX_KEY_LEN + 1);
    assert_eq!(why(depot.put(&too_long, b"")), expected);
    assert_eq!(why(depot.put_new(too_long.as_bytes(), b"")), expected);
    assert!(depot.put(&too_long, b"").unwrap_err().to_string().len() < 1000, "errors show names in part");
    assert!(depot.get(&too_long).unwrap_err().is_not_found());
    assert!(!depot.remove(&too_long).unwrap());
    for integer in [i128::MAX, i128::MIN, i128::from(u64::MAX) + 1, i128::from(i64::MIN) - 1] {
        assert!(why(depot.put(Key::Int(integer), b"")).contains("2^64 - 1"));
    }
    let metadata = json!("m".repeat(65 << 20));
    assert!(why(depot.put_with_metadata("a", b"A", &metadata)).contains("metadata"));
    depot.put("a", b"A").unwrap();
    assert!(why(depot.set_metadata("a", &metadata)).contains("metadata"));
    let fitting = json!("m".repeat(if is_long() { 60 << 20 } else { 1 << 20 }));
    depot.set_metadata("a", &fitting).unwrap();
    depot.flush().unwrap();
    let check = |depot: &Depot<Raw>, what: &str| {
        assert_eq!(depot.len(), 2, "{what}");
        assert_eq!(depot.get(&longest).unwrap().view(), b"the longest name", "{what}");
        assert!(depot.metadata::<serde_json::Value>("a").unwrap() == Some(fitting.clone()), "{what}");
    };
    check_killed(&path, check);
    depot.close().unwrap();
    check(&Depot::open(&path, Raw).unwrap(), "closed");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_record_of_4_gib_is_put_and_given_out_piece_by_piece() {
    // Never touched, so that it takes no physical memory.
    let zeros = vec![0; 1 << 32];
    let depot = Depot::memory(Raw).unwrap();
    depot.put_encoded("large", &zeros).unwrap();
    let whole = depot.get("large").unwrap_err();
    assert!(matches!(whole.kind(), ErrorKind::TooLong { len: 0x1_0000_0000, .. }), "{whole}");
    assert!(!whole.is_damage() && whole.to_string().contains("4294967296 bytes"), "{whole}");
    assert_eq!(depot.read_to("large", &mut std::io::sink()).unwrap(), 1 << 32);
}

#[test]
fn records_without_bytes_are_records() {
    let folder = tempfile::tempdir().unwrap();
    for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
        let path = folder.path().join(format!("{placement:?}.vld"));
        let depot = Depot::builder(Raw)
            .layout(small().with_placement(placement))
            .write_options(writing())
            .create(&path)
            .unwrap();
        // Alone, at both ends of chunks, and between others.
        let length = |n: u32| if n.is_multiple_of(700) { 64 << 10 } else { 0 };
        for n in 0..5000u32 {
            depot.put(n, &vec![7; length(n)]).unwrap();
            if n % 1111 == 1110 {
                depot.commit().unwrap();
            }
        }
        depot.flush().unwrap();
        let check = |depot: &Depot<Raw>, what: &str| {
            assert_eq!(depot.len(), 5000, "{placement:?}, {what}");
            for (n, record) in (0..).zip(depot) {
                let (key, record) = record.unwrap();
                assert_eq!((key, record.len()), (Key::Int(n.into()), length(n)), "{placement:?}, {what}");
            }
            assert!(depot.get(1).unwrap().is_empty());
        };
        check_killed(&path, check);
        depot.close().unwrap();
        check(&Depot::open(&path, Raw).unwrap(), "closed");
    }
}

/// Puts more bytes of names than the directory of one chunk may hold, with no payload to fill chunks,
/// and without a commit.
#[test]
fn names_without_records_to_speak_of_do_not_outgrow_a_directory() {
    // A directory is handed to the file before it has more than 64 MiB. One of 256 MiB could not be read
    // back.
    let n_names = if is_long() { 300 } else { 70 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.vld");
    let depot = Depot::builder(Raw).layout(small()).write_options(writing()).create(&path).unwrap();
    let name = |n: u32| format!("{}{n}", "n".repeat(1 << 20));
    for n in 0..n_names {
        depot.put(name(n), b"").unwrap();
    }
    let chunks = depot.info().unwrap().chunks;
    assert!(chunks > 0, "a chunk without payload was sealed");
    // Removing the records takes as many bytes of names again.
    for n in 2..n_names {
        assert!(depot.remove(name(n)).unwrap());
    }
    assert!(depot.info().unwrap().chunks > chunks);
    depot.flush().unwrap();
    let check = |depot: &Depot<Raw>, what: &str| {
        assert_eq!(depot.len(), 2, "{what}");
        assert!(depot.contains(name(1)).unwrap() && !depot.contains(name(2)).unwrap(), "{what}");
    };
    check_killed(&path, check);
    depot.close().unwrap();
    check(&Depot::open(&path, Raw).unwrap(), "closed");
}

/// The most memory this process has had at once, in MiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

/// Deterministic bytes from `offset` on, which compress by about a half.
fn noise(offset: u64, bytes: &mut [u8]) {
    for (n, part) in (offset / 8..).zip(bytes.chunks_mut(8)) {
        let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n >> 7);
        let word = (word ^ (word >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) & 0xffff_ffff_0000_0000;
        part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
    }
}

#[test]
fn a_record_longer_than_any_chunk_comes_back() {
    let length: usize = if is_long() { 2_362_232_013 } else { 40 << 20 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put("before", b"small").unwrap();
    let before = peak_memory();
    let mut bytes = vec![0; length];
    noise(0, &mut bytes);
    let begun = Instant::now();
    depot.put("large", &bytes).unwrap();
    drop(bytes);
    depot.put("after", b"small").unwrap();
    depot.close().unwrap();
    let (put, written) = (begun.elapsed(), peak_memory());
    let depot = Depot::open(&path, Raw).unwrap();
    let begun = Instant::now();
    let record = depot.get("large").unwrap();
    let got = begun.elapsed();
    assert_eq!(record.len(), length);
    let mut expected = vec![0; 1 << 20];
    for (n, part) in (0u64..).zip(record.view().chunks(1 << 20)) {
        noise(n << 20, &mut expected);
        assert!(part == &expected[..part.len()], "the part at {n} MiB");
    }
    assert_eq!(
        (depot.get("before").unwrap().view(), depot.get("after").unwrap().view()),
        (&b"small"[..], &b"small"[..])
    );
    println!(
        "a record of {length} bytes: stored in {put:.1?}, read in {got:.1?}; at most {written} MiB of memory while \
         storing ({before} before), {} MiB after reading",
        peak_memory()
    );
}

#[test]
fn many_tiny_records_are_written_and_opened_at_once() {
    let n_records = if is_long() { 1_000_000 } else { 100_000 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.vld");
    let begun = Instant::now();
    let depot = Depot::create(&path, Raw).unwrap();
    let record = |n: u32| [n, !n, n.wrapping_mul(31)].map(u32::to_le_bytes).concat();
    for n in 0..n_records {
        depot.put(n, &record(n)).unwrap();
    }
    let put = begun.elapsed();
    depot.close().unwrap();
    let closed = begun.elapsed();
    let begun = Instant::now();
    let depot = Depot::open(&path, Raw).unwrap();
    let opened = begun.elapsed();
    let first = depot.get(n_records / 2).unwrap();
    let got = begun.elapsed();
    assert_eq!((first.view(), depot.len()), (&record(n_records / 2)[..], u64::from(n_records)));
    println!(
        "{n_records} records of 12 bytes: put in {put:.2?}, closed after {closed:.2?}, opened in {opened:.1?}, first record after \
         {got:.1?}, {:.1} bytes a record in the file",
        fs::metadata(&path).unwrap().len() as f64 / f64::from(n_records)
    );
    for (n, found) in (0..n_records).zip(&depot) {
        let (key, found) = found.unwrap();
        assert!(key == Key::Int(n.into()) && found.view() == record(n), "record {n}");
    }
}

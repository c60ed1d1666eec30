//! Files of the Python package vlstore read like depots, and depots say what vlstore needs to know.
//!
//! `tests/data/vlstore/make.py` makes the fixtures. `../shared/data/vlstore` has files that vlstore
//! itself wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::maintain::{VerifyOptions, verify};
use vldepot::storage::MemoryStorage;
use vldepot::{CompressionCodec, Depot, Error, ErrorKind, Filter, Key, Layout, Placement, Raw};

const FIXTURES: [&str; 6] = [
    "no_cross.b2frame",
    "contiguous.b2frame",
    "start.b2frame",
    "zlib.b2frame",
    "zlib_split.b2frame",
    "precision.b2frame",
];
/// Files that use features which are not read here.
const UNREAD: [&str; 5] =
    ["delta.b2frame", "bytedelta.b2frame", "shuffle.b2frame", "dictionary.b2frame", "plugin.b2frame"];
const MAGIC: [u8; 18] = [
    0xc4, 0x10, 0xa4, 0x9a, 0x33, 0x67, 0xcf, 0x7d, 0x44, 0xd1, 0xb0, 0x97, 0xe0, 0x51, 0x05, 0x83, 0x36,
    0xeb,
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vlstore").join(name)
}

/// The contents of the fixtures: see `make.py`.
fn content(number: usize, len: usize, zeros: bool) -> Vec<u8> {
    let byte = |i: usize| if zeros { 0 } else { u8::try_from((i * 7 + number * 31) % 251).unwrap() };
    (0..len).map(byte).collect()
}

fn key(json: &Value) -> Key {
    let value = &json["value"];
    match json["type"].as_str().unwrap() {
        "str" => Key::Str(value.as_str().unwrap().to_owned()),
        "int" => Key::Int(value.as_i64().map_or_else(|| value.as_u64().unwrap().into(), i128::from)),
        _ => Key::Bytes(unhex(value.as_str().unwrap())),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn len(json: &Value) -> usize {
    usize::try_from(json["len"].as_u64().unwrap()).unwrap()
}

fn expectation(directory: &Path, file: &str) -> Value {
    let text = std::fs::read_to_string(directory.join("expected.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    json[file].clone()
}

fn expected(directory: &Path, file: &str) -> Vec<Value> {
    expectation(directory, file)["records"].as_array().unwrap().clone()
}

/// The folder of the shared test data. If it is missing, prints a line that says so and returns `None`.
fn shared_data() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/vlstore"));
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no files of vlstore's own at {}", path.display());
    None
}

fn is_sha256_of(hex: &Value, bytes: &[u8]) -> bool {
    unhex(hex.as_str().unwrap()) == Sha256::digest(bytes).to_vec()
}

fn open_bytes(bytes: &[u8]) -> Result<Depot<Raw>, Error> {
    Depot::builder(Raw).open_in(Arc::new(MemoryStorage::from_bytes(bytes)))
}

/// Checks that every way of reading gives the expected records.
fn check(depot: &Depot<Raw>, records: &[Value], mut same: impl FnMut(usize, &Value, &[u8]) -> bool) {
    assert_eq!(depot.len(), records.len() as u64);
    let keys: Vec<Key> = depot.keys().map(Result::unwrap).collect();
    assert_eq!(keys, records.iter().map(|record| key(&record["key"])).collect::<Vec<_>>());
    let all: Vec<_> = depot.iter().map(Result::unwrap).collect();
    let many = depot.get_many(&keys).unwrap();
    for (number, json) in records.iter().enumerate() {
        let name = &keys[number];
        let record = depot.get(name).unwrap();
        assert_eq!(record.len(), len(json), "{name}");
        assert!(same(number, json, record.view()), "{name}");
        assert_eq!(&all[number].0, name);
        assert!(all[number].1.as_bytes() == record.as_bytes(), "{name} while iterating");
        assert!(many[number].as_bytes() == record.as_bytes(), "{name} of a batch");
        assert!(depot.get_at(number as u64).unwrap().as_bytes() == record.as_bytes(), "{name} by position");
        let mut bytes = Vec::new();
        depot.get_into(name, &mut bytes).unwrap();
        assert!(bytes == record.as_bytes(), "{name} into a buffer");
        assert!(depot.contains(name).unwrap());
    }
}

#[test]
fn the_fixtures_read_by_every_way_of_reading() {
    for file in FIXTURES {
        let records = expected(&fixture(""), file);
        let same = |number: usize, json: &Value, bytes: &[u8]| {
            if let Some(hex) = json["hex"].as_str() {
                assert_eq!(unhex(hex), bytes);
            }
            bytes == content(number, len(json), json["zeros"].as_bool().unwrap())
        };
        check(&Depot::open(fixture(file), Raw).unwrap(), &records, same);
        check(&open_bytes(&std::fs::read(fixture(file)).unwrap()).unwrap(), &records, same);
    }
}

#[test]
fn what_is_not_read_is_named_and_is_no_damage() {
    for file in UNREAD {
        let unread = expectation(&fixture(""), file)["unread"].as_str().unwrap().to_owned();
        let errors = [
            Depot::open(fixture(file), Raw).unwrap_err(),
            open_bytes(&std::fs::read(fixture(file)).unwrap()).unwrap_err(),
            verify(fixture(file), &VerifyOptions::default(), |_| {}).unwrap_err(),
        ];
        for error in errors {
            assert!(!error.is_damage() && !error.is_io() && !error.is_not_found(), "{error:?}");
            let ErrorKind::Unsupported { what, name, offset } = error.kind() else { panic!("{error:?}") };
            assert!(*offset > 0 && format!("{what} {name}").ends_with(&unread), "{what} {name}");
            let text = error.to_string();
            assert!(text.contains(&unread) && text.ends_with("the file may be whole"), "{text}");
        }
    }
}

#[test]
fn a_file_of_zlib_says_so_and_is_not_imitated() {
    let depot = Depot::open(fixture("zlib_split.b2frame"), Raw).unwrap();
    let compression = depot.info().unwrap().layout.compression;
    assert_eq!((compression.codec, compression.filter), (CompressionCodec::Zlib, Filter::Bitshuffle));
    let options = Layout::default().with_compression(compression);
    assert!(
        matches!(Depot::builder(Raw).layout(options).memory(), Err(error) if matches!(error.kind(), ErrorKind::InvalidOptions { .. }))
    );
}

#[test]
fn names_of_other_kinds_are_other_records() {
    let depot = Depot::open(fixture(FIXTURES[0]), Raw).unwrap();
    assert_ne!(depot.get("frame/1").unwrap().len(), depot.get(b"frame/1").unwrap().len());
    assert_ne!(depot.get("").unwrap().len(), depot.get(b"").unwrap().len());
    assert_eq!(depot.get(u64::MAX).unwrap().len(), 64);
    assert_eq!(depot.get(i64::MIN).unwrap().len(), 17);
    for error in [depot.get("0").unwrap_err(), depot.get(-2).unwrap_err()] {
        assert!(error.is_not_found(), "{error}");
    }
}

#[test]
fn a_file_of_vlstore_is_for_reading() {
    let path = fixture(FIXTURES[0]);
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(depot.info().unwrap().format, "vlstore");
    assert!(matches!(depot.put("new", b"1"), Err(error) if matches!(error.kind(), ErrorKind::ReadOnly)));
    let error = Depot::append(&path, Raw).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotADepot { .. }), "{error}");
}

#[test]
fn files_that_vlstore_wrote_read() {
    let Some(directory) = shared_data() else { return };
    for file in ["raw_no_cross.b2frame", "raw_contiguous.b2frame", "raw_start.b2frame"] {
        let depot = Depot::open(directory.join(file), Raw).unwrap();
        check(&depot, &expected(&directory, file), |_, json, bytes| is_sha256_of(&json["sha256"], bytes));
    }
}

#[test]
fn atomic_frames_that_vlstore_wrote_read() {
    let Some(directory) = shared_data() else { return };
    let depot = Depot::open(directory.join("frames.b2frame"), AtomicFrameCodec::any()).unwrap();
    let records = expected(&directory, "frames.b2frame");
    assert_eq!(depot.len(), records.len() as u64);
    for json in &records {
        let record = depot.get(key(&json["key"])).unwrap();
        let frame = record.view();
        assert_eq!(frame.n_atoms() as u64, json["nsites"].as_u64().unwrap());
        let masses: Vec<u8> = frame.masses().unwrap().iter().flat_map(|mass| mass.to_le_bytes()).collect();
        assert!(is_sha256_of(&json["masses_sha256"], &masses));
        let types: Vec<u8> = frame.types().unwrap().iter().flat_map(|number| number.to_le_bytes()).collect();
        assert!(is_sha256_of(&json["types_sha256"], &types));
    }
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let at = bytes.windows(old.len()).rposition(|window| window == old).unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn frames_that_are_none_of_vlstores_say_so() {
    let good = std::fs::read(fixture(FIXTURES[0])).unwrap();
    let mut other_magic = MAGIC;
    other_magic[17] ^= 1;
    let cases = [
        (replace(&good, b"magic", b"tragi"), "neither a depot nor a vlstore file"),
        (replace(&good, &MAGIC, &other_magic), "neither a depot nor a vlstore file"),
        (replace(&good, b"saved_lookup", b"other_lookup"), "did not close it: it has no table of names"),
    ];
    for (bytes, found) in cases {
        let error = open_bytes(&bytes).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotADepot { .. }), "{error:?}");
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    for file in FIXTURES {
        let good = std::fs::read(fixture(file)).unwrap();
        for len in (0..good.len()).rev().step_by(if good.len() > 4000 { 97 } else { 7 }) {
            let Err(error) = open_bytes(&good[..len]) else { panic!("{file}: {len} bytes open") };
            let told = matches!(error.kind(), ErrorKind::NotADepot { .. }) || error.is_damage();
            assert!(told, "{file}, {len} bytes: {error:?}");
        }
    }
}

/// The positions of bytes that are neither chunk data nor a compressed table.
///
/// c-blosc2 may read out of bounds on damaged chunks, and these files have no checksums that would keep
/// such chunks from it.
fn outside_of_chunks(bytes: &[u8]) -> Vec<usize> {
    let int = |at: usize| bytes[at..at + 4].iter().fold(0, |value, &byte| value << 8 | usize::from(byte));
    let header_len = int(11);
    let trailer_at = bytes.len() - int(bytes.len() - 22);
    // The content of the only layer runs from its length to the 23 bytes at the end.
    let content = bytes[trailer_at..].iter().position(|&byte| byte == 0xc6).unwrap() + trailer_at + 5;
    (0..header_len).chain(trailer_at..content).chain(bytes.len() - 23..bytes.len()).collect()
}

#[test]
fn damaged_headers_and_trailers_never_panic() {
    let mut refused = 0;
    for file in FIXTURES {
        let good = std::fs::read(fixture(file)).unwrap();
        let places = outside_of_chunks(&good);
        assert!(places.len() > 150 && places.len() < 300, "{file}: {} bytes", places.len());
        for at in places {
            for flip in [0x01, 0x10, 0x80, 0xff, good[at]] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let Ok(depot) = open_bytes(&bytes) else {
                    refused += 1;
                    continue;
                };
                assert!(depot.len() <= 13);
                for (key, record) in depot.iter().flatten() {
                    assert!(depot.contains(&key).unwrap());
                    drop(record);
                }
            }
        }
    }
    assert!(refused > 500, "{refused} of the damaged files were refused");
}

/// Nothing in these files has a checksum. Damage inside a compressed stream may go unnoticed, but must
/// do no other harm.
#[test]
fn damage_anywhere_is_refused_or_unnoticed_but_never_fatal() {
    let mut state: u64 = 1;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    let rounds = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 30_000 } else { 300 };
    for file in FIXTURES {
        let good = std::fs::read(fixture(file)).unwrap();
        for _ in 0..rounds {
            let mut bytes = good.clone();
            for _ in 0..=noise() % 4 {
                let at = noise() % bytes.len();
                bytes[at] = [0, 0xff, bytes[at] ^ 1 << (noise() % 8), noise().to_le_bytes()[0]][noise() % 4];
            }
            if noise() % 8 == 0 {
                bytes.truncate(noise() % bytes.len());
            }
            if let Ok(depot) = open_bytes(&bytes) {
                for name in 0..depot.len() {
                    let _ = depot.get_at(name);
                }
            }
        }
    }
}

#[test]
fn a_compatible_depot_carries_what_vlstore_reads() {
    let directory = tempfile::tempdir().unwrap();
    for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
        let path = directory.path().join(format!("{placement:?}.b2frame"));
        let options = Layout::default()
            .with_vlstore_compatible(true)
            .with_chunk_size(8192)
            .with_block_size(1024)
            .with_placement(placement);
        let depot = Depot::builder(Raw).layout(options).create(&path).unwrap();
        let len = |number: usize| [0, 1, 300, 5000, 20_000][number % 5];
        for number in 0..40 {
            depot.put(format!("record/{number}"), &content(number, len(number), false)).unwrap();
        }
        assert!(depot.remove("record/7").unwrap());
        depot.close().unwrap();

        let bytes = std::fs::read(&path).unwrap();
        let has = |wanted: &[u8], place: &[u8]| place.windows(wanted.len()).any(|window| window == wanted);
        assert!(has(b"\xa5magic", &bytes[87..200]) && has(&MAGIC, &bytes[87..200]));
        assert!(has(b"\xacsaved_lookup", &bytes[4096..]));

        let depot = Depot::open(&path, Raw).unwrap();
        assert_eq!(depot.info().unwrap().format, "depot");
        assert_eq!(depot.len(), 39);
        for number in (0..40).filter(|&number| number != 7) {
            assert!(
                depot.get(format!("record/{number}")).unwrap().view() == content(number, len(number), false)
            );
        }
    }
}

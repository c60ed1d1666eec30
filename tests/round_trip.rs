//! What is put comes back: in memory, in files, after reopening, and by every way of reading.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::time::Duration;

use serde_json::json;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Json, NdArray, Precision, Serde};
use vldepot::{
    Codec, CommitEvery, Compression, CompressionCodec, Depot, ErrorKind, Filter, Key, Layout, Mapping,
    OpenOptions, Placement, Raw, WriteOptions,
};

/// Bytes that compress somewhat and differ by `seed`.
fn payload(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| ((i / 3) as u8).wrapping_mul(7) ^ (seed as u8).wrapping_mul(31) ^ (i >> 9) as u8)
        .collect()
}

fn small_chunks() -> Layout {
    Layout::default().with_chunk_size(8192).with_block_size(1024)
}

/// Lengths around every limit that could matter with 8 KiB chunks.
const LENGTHS: [usize; 15] = [0, 1, 15, 16, 17, 1023, 1024, 1025, 4000, 8191, 8192, 8193, 16384, 20000, 5];

fn fill(depot: &Depot<Raw>) {
    for (number, len) in LENGTHS.into_iter().enumerate() {
        depot.put(format!("record/{number}"), &payload(number, len)).unwrap();
    }
}

fn check(depot: &Depot<Raw>) {
    assert_eq!(depot.len(), LENGTHS.len() as u64);
    for (number, len) in LENGTHS.into_iter().enumerate() {
        let expected = payload(number, len);
        let name = format!("record/{number}");
        let record = depot.get(&name).unwrap();
        assert!(record.view() == expected, "{name}");
        assert_eq!(record.as_bytes().as_ptr() as usize % 16, 0, "records are aligned");
        assert!(depot.get_at(number as u64).unwrap().view() == expected);
        assert_eq!(depot.key_at(number as u64).unwrap(), Key::Str(name.clone()));
        let mut bytes = vec![1];
        depot.get_into(&name, &mut bytes).unwrap();
        assert!(bytes[1..] == expected);
        assert!(depot.contains(&name).unwrap());
    }
    let names: Vec<String> = (0..LENGTHS.len()).rev().map(|n| format!("record/{n}")).collect();
    let doubled: Vec<&String> = names.iter().chain(&names).collect();
    for (name, record) in doubled.iter().zip(depot.get_many(&doubled).unwrap()) {
        let number: usize = name["record/".len()..].parse().unwrap();
        assert!(record.view() == payload(number, LENGTHS[number]), "{name} of a batch");
    }
    let all: Vec<_> = depot.iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), LENGTHS.len());
    for (number, (key, record)) in all.iter().enumerate() {
        assert_eq!(key, &Key::Str(format!("record/{number}")));
        assert!(record.view() == payload(number, LENGTHS[number]));
    }
}

#[test]
fn every_length_placement_and_codec_comes_back_in_files_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
        for codec in [CompressionCodec::None, CompressionCodec::Lz4, CompressionCodec::Zstd] {
            for threads in [0, 2] {
                let compression = Compression::default().with_codec(codec);
                let options = small_chunks().with_placement(placement).with_compression(compression);
                let write = WriteOptions::default().with_threads(threads);
                let new = Depot::builder(Raw).layout(options).write_options(write);
                let memory = new.clone().memory().unwrap();
                fill(&memory);
                check(&memory);
                memory.commit().unwrap();
                check(&memory);

                let path = folder.path().join(format!("{placement:?}{codec:?}{threads}.vld"));
                let depot = new.create(&path).unwrap();
                fill(&depot);
                check(&depot);
                depot.close().unwrap();
                check(&Depot::open(&path, Raw).unwrap());
                let unmapped = OpenOptions::default().with_mapping(Mapping::Never);
                check(&Depot::builder(Raw).open_options(unmapped.clone()).open(&path).unwrap());
                check(&Depot::append(&path, Raw).unwrap());
            }
        }
    }
}

#[test]
fn presets_round_trip() {
    for name in Layout::PRESETS {
        let depot = Depot::builder(Raw).layout(name.parse::<Layout>().unwrap()).memory().unwrap();
        fill(&depot);
        depot.commit().unwrap();
        check(&depot);
    }
}

#[test]
fn every_filter_and_level_round_trips() {
    for codec in [CompressionCodec::Lz4hc, CompressionCodec::Blosclz, CompressionCodec::Zstd] {
        for filter in [Filter::None, Filter::Shuffle, Filter::Bitshuffle] {
            for (level, typesize) in [(0, 4), (1, 1), (9, 8)] {
                let compression = Compression::default()
                    .with_codec(codec)
                    .with_level(level)
                    .with_filter(filter)
                    .with_typesize(typesize);
                let depot = Depot::builder(Raw)
                    .layout(small_chunks().with_compression(compression))
                    .memory()
                    .unwrap();
                fill(&depot);
                depot.commit().unwrap();
                check(&depot);
            }
        }
    }
}

#[test]
fn placements_are_what_they_say() {
    let locations = |placement| {
        let depot = Depot::builder(Raw).layout(small_chunks().with_placement(placement)).memory().unwrap();
        fill(&depot);
        (0..LENGTHS.len()).map(|n| depot.location(format!("record/{n}")).unwrap()).collect::<Vec<_>>()
    };
    let crosses = |l: &vldepot::RecordLocation| l.offset + l.length > 8192;
    for location in locations(Placement::NoCross) {
        assert!(!crosses(&location) || (location.length > 8192 && location.offset == 0), "{location:?}");
        assert_eq!(location.offset % 16, 0);
    }
    assert!(locations(Placement::Contiguous).iter().any(|l| crosses(l) && l.offset > 0));
    assert!(locations(Placement::StartAligned).iter().all(|l| l.offset == 0 || l.length == 0));
}

#[test]
fn kinds_of_keys_live_side_by_side() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put("7", b"str").unwrap();
    depot.put(b"7", b"bytes").unwrap();
    depot.put(7, b"int").unwrap();
    depot.put(-7, b"negative").unwrap();
    depot.put(u64::MAX, b"largest").unwrap();
    depot.put("", b"empty").unwrap();
    for commit in [false, true] {
        if commit {
            depot.commit().unwrap();
        }
        assert_eq!(depot.len(), 6);
        assert_eq!(depot.get("7").unwrap().view(), b"str");
        assert_eq!(depot.get(&b"7"[..]).unwrap().view(), b"bytes");
        assert_eq!(depot.get(7u8).unwrap().view(), b"int");
        assert_eq!(depot.get(-7i64).unwrap().view(), b"negative");
        assert_eq!(depot.get(Key::Int(i128::from(u64::MAX))).unwrap().view(), b"largest");
        assert_eq!(depot.get("").unwrap().view(), b"empty");
        assert!(!depot.contains(8).unwrap());
    }
    let refused = depot.put(Key::Int(i128::MAX), b"x").unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidRecord { .. }), "{refused}");
}

#[test]
fn strange_names_come_back_exactly() {
    let names =
        ["a\nb", "a\0b", "../../etc/passwd", "/absolute", "é\u{301}", ".", " ", &"long".repeat(1 << 18)];
    let depot = Depot::memory(Raw).unwrap();
    for name in names {
        depot.put(name, name.as_bytes()).unwrap();
    }
    let copy = Depot::from_bytes(&depot.to_bytes().unwrap(), Raw).unwrap();
    for name in names {
        assert!(copy.get(name).unwrap().view() == name.as_bytes());
    }
    let listed: Vec<Key> = copy.keys().map(Result::unwrap).collect();
    assert!(listed.iter().map(|key| key.as_str().unwrap()).eq(names));
}

#[test]
fn replacing_and_removing_shows_at_once_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replaced.vld");
    let depot = Depot::builder(Raw).layout(small_chunks()).create(&path).unwrap();
    fill(&depot);
    depot.commit().unwrap();
    depot.put("record/3", b"new").unwrap();
    assert!(depot.remove("record/5").unwrap());
    assert!(!depot.remove("record/5").unwrap());
    assert!(
        matches!(depot.put_new("record/3", b"x"), Err(error) if matches!(error.kind(), ErrorKind::Exists))
    );
    depot.put_new("record/5b", b"fresh").unwrap();
    let check = |depot: &Depot<Raw>| {
        assert_eq!(depot.len(), LENGTHS.len() as u64);
        assert_eq!(depot.get("record/3").unwrap().view(), b"new");
        assert!(depot.get("record/5").unwrap_err().is_not_found());
        let names: Vec<_> = depot.keys().map(|key| key.unwrap().to_string()).collect();
        assert_eq!(names[names.len() - 2..], ["record/3", "record/5b"]);
        for (position, name) in names.iter().enumerate() {
            assert_eq!(&depot.key_at(position as u64).unwrap().to_string(), name);
        }
        assert!(
            matches!(depot.get_at(depot.len()), Err(error) if matches!(error.kind(), ErrorKind::OutOfRange { .. }))
        );
    };
    check(&depot);
    depot.commit().unwrap();
    check(&depot);
    drop(depot);
    check(&Depot::open(&path, Raw).unwrap());
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(depot.remove("record/5b").unwrap());
    depot.put("record/5b", b"fresh").unwrap();
    check(&depot);
    depot.close().unwrap();
    check(&Depot::open(&path, Raw).unwrap());
}

#[test]
fn names_are_found_by_prefix_and_glob() {
    let depot = Depot::memory(Raw).unwrap();
    for run in 0..3 {
        for frame in 0..12 {
            depot.put(format!("run_{run}/frame_{frame:02}"), b"").unwrap();
        }
    }
    depot.put(5, b"").unwrap();
    depot.commit().unwrap();
    depot.put("run_1/notes", b"").unwrap();
    assert_eq!(depot.keys_with_prefix("run_1/").count(), 13);
    assert_eq!(depot.keys_with_prefix("").count(), 37);
    assert_eq!(depot.keys_matching("run_?/frame_0*").unwrap().count(), 30);
    assert!(
        matches!(depot.keys_matching("a[").map(|_| ()), Err(error) if matches!(error.kind(), ErrorKind::InvalidOptions { .. }))
    );
}

#[test]
fn metadata_are_kept_apart_from_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put_with_metadata("a", b"A", &json!({"energy": -1.5, "tags": ["x"]})).unwrap();
    depot.put("b", b"B").unwrap();
    depot.set_depot_metadata("units", &json!("kJ/mol")).unwrap();
    depot.set_depot_metadata("dropped", &json!(1)).unwrap();
    let check = |depot: &Depot<Raw>| {
        assert_eq!(
            depot.metadata::<serde_json::Value>("a").unwrap(),
            Some(json!({"energy": -1.5, "tags": ["x"]}))
        );
        assert_eq!(depot.metadata::<serde_json::Value>("b").unwrap(), None);
        assert!(depot.metadata::<serde_json::Value>("c").unwrap_err().is_not_found());
        assert_eq!(
            depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["units"],
            json!("kJ/mol")
        );
    };
    check(&depot);
    depot.commit().unwrap();
    check(&depot);
    assert!(depot.remove_depot_metadata("dropped").unwrap());
    depot.close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    check(&depot);
    assert_eq!(depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap().len(), 1);
    depot.set_metadata("b", &json!([1, 2])).unwrap();
    depot.set_metadata("a", &json!(null)).unwrap();
    assert!(depot.set_metadata("c", &json!(1)).unwrap_err().is_not_found());
    depot.close().unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(depot.metadata::<serde_json::Value>("b").unwrap(), Some(json!([1, 2])));
    assert_eq!(depot.metadata::<serde_json::Value>("a").unwrap(), Some(json!(null)));
    assert_eq!(depot.get("b").unwrap().view(), b"B");
    assert_eq!(depot.len(), 2);
}

#[test]
fn metadata_that_are_put_can_be_read_however_deep_they_are() {
    let deep = |levels: usize| (0..levels).fold(json!(-0.0), |value, _| json!([value]));
    let depot = Depot::memory(Raw).unwrap();
    depot.put_with_metadata("deep", b"", &deep(1023)).unwrap();
    depot.set_depot_metadata("deep", &deep(1022)).unwrap();
    assert_eq!(depot.metadata::<serde_json::Value>("deep").unwrap(), Some(deep(1023)));
    assert_eq!(
        depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["deep"],
        deep(1022)
    );
    for levels in [1024, 3000] {
        let refused = [
            depot.put_with_metadata("deeper", b"", &deep(levels)).unwrap_err(),
            depot.set_metadata("deep", &deep(levels)).unwrap_err(),
            depot.set_depot_metadata("deeper", &deep(levels - 1)).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error.kind(), ErrorKind::InvalidRecord { .. }), "{error}");
            assert!(error.to_string().contains("more than 1023 inside each other"), "{error}");
        }
    }
    assert_eq!(
        (
            depot.len(),
            depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap().len()
        ),
        (1, 1)
    );
}

#[test]
fn memory_and_file_hold_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Depot::builder(Raw).layout(small_chunks()).memory().unwrap();
    fill(&memory);
    let path = folder.path().join("saved.vld");
    memory.save(&path).unwrap();
    check(&Depot::open(&path, Raw).unwrap());
    assert!(matches!(memory.save(&path), Err(error) if matches!(error.kind(), ErrorKind::PathExists)));
    let bytes = memory.to_bytes().unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    let back = Depot::from_bytes(&bytes, Raw).unwrap();
    check(&back);
    back.put("more", b"more").unwrap();
    assert_eq!(back.len(), LENGTHS.len() as u64 + 1);
    let from_file = Depot::open(&path, Raw).unwrap();
    assert!(from_file.to_bytes().unwrap() == bytes);
}

#[test]
fn commits_happen_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    for (number, every) in
        [CommitEvery::records(1), CommitEvery::default().with_bytes(1), CommitEvery::interval(Duration::ZERO)]
            .into_iter()
            .enumerate()
    {
        let path = folder.path().join(format!("{number}.vld"));
        let depot = Depot::builder(Raw)
            .layout(small_chunks())
            .write_options(WriteOptions::default().with_commit_every(every))
            .create(&path)
            .unwrap();
        for n in 0..20u32 {
            depot.put(n, &payload(n as usize, 100)).unwrap();
            let reader = Depot::open(&path, Raw).unwrap();
            assert_eq!(reader.len(), u64::from(n) + 1, "{every:?}");
            assert!(reader.get(n).unwrap().view() == payload(n as usize, 100));
        }
    }
}

#[test]
fn many_commits_keep_the_index_small_and_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commits.vld");
    let options = small_chunks();
    let depot = Depot::builder(Raw)
        .layout(options)
        .write_options(WriteOptions::default().with_threads(0))
        .create(&path)
        .unwrap();
    for n in 0..300u32 {
        depot.put(n % 200, &n.to_le_bytes()).unwrap();
        depot.commit().unwrap();
    }
    assert!(depot.info().unwrap().index_segments < 24);
    let check = |depot: &Depot<Raw>| {
        assert_eq!(depot.len(), 200);
        for n in 0..200u32 {
            let last = if n < 100 { n + 200 } else { n };
            assert_eq!(depot.get(n).unwrap().view(), last.to_le_bytes());
        }
        assert_eq!(depot.key_at(0).unwrap(), Key::Int(100));
        assert_eq!(depot.key_at(199).unwrap(), Key::Int(99));
    };
    check(&depot);
    depot.close().unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    check(&depot);
    assert_eq!(depot.info().unwrap().index_segments, 1);
    assert_eq!(depot.info().unwrap().dead_records, 0);
}

#[test]
fn an_uncompressed_file_lends_its_map() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.vld");
    let options = Layout::uncompressed().with_chunk_size(8192);
    let depot = Depot::builder(Raw).layout(options).create(&path).unwrap();
    depot.put("a", &payload(1, 3000)).unwrap();
    depot.put("b", &payload(2, 3000)).unwrap();
    depot.close().unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    let (first, again, other) = (depot.get("a").unwrap(), depot.get("a").unwrap(), depot.get("b").unwrap());
    assert_eq!(first.as_bytes().as_ptr(), again.as_bytes().as_ptr(), "the same bytes, not copies");
    let apart = other.as_bytes().as_ptr() as usize - first.as_bytes().as_ptr() as usize;
    assert_eq!(apart as u64, depot.location("b").unwrap().offset - depot.location("a").unwrap().offset);
    assert_eq!(first.as_bytes().as_ptr() as usize % 64, 0);
}

#[test]
fn records_are_compressed_by_the_size_of_their_codecs_numbers() {
    fn typesize<C: Codec>(codec: C, options: Layout) -> Option<u8> {
        let bytes = Depot::builder(codec).layout(options).memory().unwrap().to_bytes().unwrap();
        // The typesize as stored, read by another codec.
        Depot::from_bytes(&bytes, Raw).unwrap().info().unwrap().layout.compression.typesize
    }
    let frames = |precision| AtomicFrameCodec::new().with_precision(precision);
    let default = Layout::default;
    assert_eq!(typesize(AtomicFrameCodec::default(), default()), Some(4));
    assert_eq!(typesize(frames(Precision::F64), default()), Some(8));
    assert_eq!(typesize(frames(Precision::F16), Layout::fast()), Some(2));
    assert_eq!(typesize(frames(Precision::BF16), Layout::compact()), Some(2));
    assert_eq!(typesize(NdArray::<i64>::new(), default()), Some(8));
    assert_eq!(typesize(NdArray::<u8>::new(), default()), Some(1));
    assert_eq!(typesize(Serde::<String>::new(), default()), Some(1));
    assert_eq!(typesize(Json::<String>::new(), Layout::uncompressed()), Some(1));
    assert_eq!(typesize(Raw, default()), Some(4));
    let compression = Compression::default().with_typesize(2);
    assert_eq!(typesize(NdArray::<i64>::new(), default().with_compression(compression)), Some(2));
    assert_eq!(typesize(NdArray::<i64>::new(), default().with_chunk_size(100)), Some(4));
}

#[test]
fn doubles_take_less_room_than_as_singles_and_text_less_than_as_numbers() {
    fn size<C: Codec>(codec: C, typesize: Option<u8>, put: impl Fn(&Depot<C>)) -> u64 {
        let compression = Compression::default().with_typesize(typesize);
        let layout = Layout::default().with_compression(compression).with_fields_apart(false);
        let depot = Depot::builder(codec).layout(layout).memory().unwrap();
        put(&depot);
        depot.commit().unwrap();
        depot.info().unwrap().file_bytes
    }
    let doubles = |depot: &Depot<AtomicFrameCodec>| {
        let positions: Vec<[f64; 3]> =
            (1..50_000).map(|n| [0.1, 0.7, 1.3].map(|x| (x * f64::from(n)).sin())).collect();
        depot.put(0, &AtomicFrame::new().positions(&positions)).unwrap();
    };
    let codec = || AtomicFrameCodec::new().with_precision(Precision::F64);
    let (by_codec, by_4) = (size(codec(), None, doubles), size(codec(), Some(4), doubles));
    assert_eq!(by_codec, size(codec(), Some(8), doubles));
    assert!(100 * by_codec < 98 * by_4, "{by_codec} and {by_4}");
    let text = |depot: &Depot<Json<Vec<String>>>| {
        let lines = include_str!("round_trip.rs").lines().map(str::to_owned).collect();
        depot.put(0, &lines).unwrap();
    };
    let (by_codec, by_4) = (size(Json::new(), None, text), size(Json::new(), Some(4), text));
    assert!(100 * by_codec < 90 * by_4, "{by_codec} and {by_4}");
}

#[test]
fn a_million_zero_bytes_take_no_room() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put("zeros", &vec![0; 1 << 23]).unwrap();
    depot.put("one", &[1]).unwrap();
    let bytes = depot.to_bytes().unwrap();
    assert!(bytes.len() < 60_000, "{}", bytes.len());
    let back = Depot::from_bytes(&bytes, Raw).unwrap();
    assert!(back.get("zeros").unwrap().view().iter().all(|&b| b == 0));
    assert_eq!(back.get("one").unwrap().view(), [1]);
}

#[test]
fn odd_chunk_sizes_and_typesizes_round_trip() {
    for (chunk_size, typesize) in [(64, 1), (66, 3), (100, 4), (128, 8), (1000, 250), (4100, 4), (65_532, 12)]
    {
        for name in Layout::PRESETS {
            let preset = name.parse::<Layout>().unwrap().with_block_size(None).with_chunk_size(chunk_size);
            let compression = preset.compression.with_typesize(typesize);
            let depot = Depot::builder(Raw).layout(preset.with_compression(compression)).memory().unwrap();
            fill(&depot);
            depot.commit().unwrap();
            check(&depot);
            check(&Depot::from_bytes(&depot.to_bytes().unwrap(), Raw).unwrap());
        }
    }
}

/// Names that come after all others are not looked up when they are put.
#[test]
fn names_in_order_are_found_again_whatever_happened_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbered.vld");
    let mut expected = std::collections::BTreeMap::new();
    let mut put = |depot: &Depot<Raw>, key: u64, round: u8| {
        depot.put(key, &[round; 3]).unwrap();
        expected.insert(key, round);
        (depot.len(), expected.len() as u64)
    };
    let write = WriteOptions::default().with_commit_every(CommitEvery::records(16));
    let depot = Depot::builder(Raw).layout(small_chunks()).write_options(write).create(&path).unwrap();
    for key in 0..100 {
        put(&depot, key, 0);
    }
    depot.close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    for key in 100..150 {
        put(&depot, key, 1);
    }
    // Pending ones, committed ones, and one that is new between others.
    for key in [149, 120, 149, 99, 0, 100, 150, 150] {
        let (found, expected) = put(&depot, key, 2);
        assert_eq!(found, expected, "{key}");
    }
    depot.rename(7_u64, 1000_u64).unwrap();
    assert!(depot.put_new(1000_u64, b"no").is_err());
    depot.rename(1000_u64, 7_u64).unwrap();
    for key in [999, 1000, 1001, 999, 1000] {
        let (found, expected) = put(&depot, key, 3);
        assert_eq!(found, expected, "{key}");
    }
    depot.close().unwrap();
    // What a truncation took is back, and is replaced.
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(depot.truncate_after(0_u64).unwrap() > 3);
    depot.close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(depot.put_new(0_u64, b"no").is_err());
    depot.undo_truncate().unwrap();
    for key in [1001, 150, 2000, 1, 2000] {
        let (found, expected) = put(&depot, key, 4);
        assert_eq!(found, expected, "{key}");
    }
    depot.close().unwrap();
    let depot = Depot::open(&path, Raw).unwrap();
    assert_eq!(depot.len(), expected.len() as u64);
    for (key, round) in &expected {
        assert_eq!(depot.get(key).unwrap().view(), [*round; 3], "{key}");
    }
}

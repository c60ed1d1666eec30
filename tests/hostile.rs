//! Files from untrusted sources.
//!
//! Whatever the bytes, reading gives an error or what the bytes say. It never gives a panic, a hang, or
//! an empty depot in place of a full one.
//!
//! The bodies of the fuzz targets (`fuzz/`) run here on the corpus and on a fixed series of mutations of
//! it. `VLDEPOT_LONG_TESTS=1` makes the series longer. `VLDEPOT_WRITE_SEEDS=fuzz/corpus` adds the seeds
//! to the corpus.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Precision, Topology};
use vldepot::maintain::{RepairOptions, VerifyOptions, compact_into, repair_in, verify_in};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::testing::fuzz::{TARGETS, forge};
use vldepot::{
    Codec, Compression, CompressionCodec, Depot, Error, ErrorKind, Filter, Layout, Mapping, OpenOptions,
    Placement, Raw, WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

fn payload(n: u32) -> Vec<u8> {
    (0..n * 37 % 700).map(|i| (i as u8 / 3).wrapping_mul(5) ^ (n as u8)).collect()
}

/// Small chunks and no threads, for small files that differ only in their ids and times.
fn small(options: &Layout) -> Layout {
    options.clone().with_chunk_size(4096).with_block_size(1024)
}

/// A depot's bytes, made by `fill`: closed, or as a killed writer leaves them.
fn depot(options: &Layout, closed: bool, fill: impl Fn(&Depot<Raw>)) -> Vec<u8> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(Raw)
        .layout(small(options))
        .write_options(writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    fill(&depot);
    if closed {
        depot.close().unwrap();
    } else {
        depot.flush().unwrap();
    }
    let mut bytes = vec![0; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

fn frames(depot: &Depot<Raw>) {
    for n in 0..20 {
        depot.put(format!("frame_{n:04}"), &payload(n)).unwrap();
    }
}

/// Commits, replaced and removed records, metadata of all kinds, every kind of name.
fn history(depot: &Depot<Raw>) {
    depot.set_depot_metadata("kind", &serde_json::json!({"of": ["a", 1, null, -2.5, true]})).unwrap();
    for n in 0..24u32 {
        let name = format!("frame_{:04}", n % 11);
        depot.put_with_metadata(&name, &payload(n), &serde_json::json!({"step": n, "tags": ["x"]})).unwrap();
        if n % 5 == 4 {
            depot.commit().unwrap();
            depot.remove(&name).unwrap();
        }
    }
    depot.put(b"bytes\0\xff".as_slice(), b"").unwrap();
    depot.put(-7, &[0; 9000]).unwrap();
    depot.put(u64::MAX, &payload(18)).unwrap();
    depot.set_metadata(-7, "zeros").unwrap();
}

/// A depot whose chunks have the fields of frames apart.
fn apart(closed: bool) -> Vec<u8> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let layout = Layout::balanced().with_chunk_size(4096).with_placement(Placement::Contiguous);
    let depot = Depot::builder(AtomicFrameCodec::default())
        .layout(layout)
        .write_options(writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    for n in 0..16_u16 {
        let rows: Vec<[f32; 3]> = (0..20 + 9 * n % 50)
            .map(|atom| [3, 5, 7].map(|a| f32::from((a * atom + n) % 37) / 8.0 - 2.0))
            .collect();
        let frame = AtomicFrame::new().positions(&rows).step(n.into());
        let frame = if n % 5 == 3 { frame } else { frame.forces(&rows) };
        depot.put(n, &frame).unwrap();
    }
    depot.put("no arrays", &AtomicFrame::new()).unwrap();
    if closed {
        depot.close().unwrap();
    } else {
        depot.flush().unwrap();
    }
    let mut bytes = vec![0; storage.len().unwrap() as usize];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The models of chunks with the fields apart, with the first blocks of each: inputs of `fields_apart`.
fn models_and_blocks(file: &[u8]) -> Vec<Vec<u8>> {
    let half = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut found = Vec::new();
    for body in entries(file, 1).into_iter().filter(|body| body[12] == 1) {
        let (chunk_at, n) = (half(body, 16) - 64, half(body, 20) - 2);
        let chunk = &body[chunk_at..];
        let pair = |block: usize| (half(chunk, 40 + 8 * block), half(chunk, 44 + 8 * block));
        let model = &chunk[40 + 8 * (n + 1)..pair(0).1];
        for block in 0..n.min(3) {
            let ((raw, stored), (raw_end, stored_end)) = (pair(block), pair(block + 1));
            let lengths = [model.len() as u16, (raw_end - raw) as u16].map(u16::to_le_bytes).concat();
            found.push([&[chunk[23]], &lengths[..], model, &chunk[stored..stored_end]].concat());
        }
    }
    found
}

/// Whole files.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let preset = |name: &str| name.parse::<Layout>().unwrap();
    let placed = |placement| preset("balanced").with_placement(placement);
    let with = |codec, filter| {
        let compression = Compression::default().with_codec(codec).with_filter(filter);
        preset("balanced").with_compression(compression)
    };
    let compatible = preset("balanced").with_vlstore_compatible(true);
    vec![
        ("empty", depot(&preset("balanced"), true, |_| {})),
        ("closed", depot(&preset("balanced"), true, frames)),
        ("unclosed", depot(&preset("balanced"), false, frames)),
        ("history", depot(&preset("balanced"), true, history)),
        ("history_unclosed", depot(&placed(Placement::Contiguous), false, history)),
        (
            "start_aligned",
            depot(&placed(Placement::StartAligned), true, |depot| {
                (0..4).for_each(|n| depot.put(n, &payload(n + 9)).unwrap());
            }),
        ),
        (
            "uncompressed",
            depot(&preset("uncompressed"), true, |depot| {
                (0..6).for_each(|n| depot.put(n, &payload(n)).unwrap());
            }),
        ),
        ("lz4", depot(&preset("fast"), true, frames)),
        ("lz4hc", depot(&with(CompressionCodec::Lz4hc, Filter::Shuffle), false, frames)),
        ("blosclz", depot(&with(CompressionCodec::Blosclz, Filter::Shuffle), false, history)),
        ("unfiltered", depot(&with(CompressionCodec::Zstd, Filter::None), true, frames)),
        ("compatible", depot(&compatible, true, history)),
        ("apart", apart(true)),
        ("apart_unclosed", apart(false)),
    ]
}

fn atomic_frames() -> Vec<Vec<u8>> {
    let rows = [[0.5_f32, 1.0, 2.0], [1.5, 2.5, 3.5], [-1.0, 0.0, 7.0]];
    let doubles = [[0.5_f64, 1.0, 2.0], [1.5, 2.5, 3.5]];
    let full = || {
        AtomicFrame::new()
            .name("water")
            .positions(&rows)
            .velocities(&rows)
            .forces(&rows)
            .charges(&[0.4_f32, -0.8, 0.4])
            .types(&[1_i32, 8, 1])
            .masses(&[1.0_f32, 16.0, 1.0])
            .cell([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
            .pbc([true, true, false])
            .step(7)
            .time(0.5)
            .energy(-3.0)
            .stress([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    };
    let encode = |codec: AtomicFrameCodec, frame: &AtomicFrame<'_>| {
        let mut bytes = Vec::new();
        codec.encode(frame, &mut bytes).unwrap();
        bytes
    };
    let with = |precision| AtomicFrameCodec::default().with_precision(precision);
    let topology = Topology::new()
        .types(&[1_i32, 8, 1])
        .names(["H1", "O", "H2"])
        .bonds(&[[0_u32, 1], [1, 2]])
        .residues(&[0_u32, 0, 0])
        .residue_names(["SOL"])
        .molecules(&[0_u32, 0, 0]);
    let own = full().per_frame("b", &[true, false]).per_atom("w", &[1_i64, 2, 3]).per_frame("h", 2_u8);
    vec![
        encode(AtomicFrameCodec::default(), &AtomicFrame::new()),
        encode(AtomicFrameCodec::default(), &full()),
        encode(AtomicFrameCodec::any(), &own),
        encode(AtomicFrameCodec::any(), &AtomicFrame::new().positions(&doubles).velocities(&doubles)),
        encode(with(Precision::F64), &full()),
        encode(with(Precision::F16), &full()),
        encode(with(Precision::BF16), &full()),
        encode(AtomicFrameCodec::default(), &full().topology(topology)),
    ]
}

/// The bodies of all entries of that kind.
fn entries(file: &[u8], kind: u8) -> Vec<&[u8]> {
    let (mut at, mut found) = (4160, Vec::new());
    while let Some(head) = file.get(at..at + 64) {
        let length = u64::from_le_bytes(head[40..48].try_into().unwrap()) as usize;
        if !head.starts_with(b"\x8bVLD") {
            break;
        }
        if head[8] == kind {
            found.push(&file[at + 64..at + length]);
        }
        at += length;
    }
    found
}

/// The inputs that each target starts from.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let with = |flags: &[u8], bytes: &[u8]| [flags, bytes].concat();
    let files = files();
    let entries = |kind: u8| files.iter().flat_map(move |(_, file)| entries(file, kind));
    match target {
        "open" => files
            .iter()
            .enumerate()
            .flat_map(|(n, (_, file))| [with(&[5], file), with(&[9], file), with(&[n as u8 % 8], file)])
            .collect(),
        "index_segment" => {
            entries(2).enumerate().map(|(n, body)| with(&[1 | (n as u8 % 2) << 1], body)).collect()
        }
        "chunk_directory" => entries(1).chain(entries(5)).map(|body| with(&[1, 63], body)).collect(),
        "fields_apart" => {
            let blocks = files.iter().flat_map(|(_, file)| models_and_blocks(file)).step_by(5);
            let records = atomic_frames().into_iter().map(|frame| {
                let head = [
                    0x84,
                    frame.len() as u8,
                    (frame.len() >> 8) as u8,
                    3,
                    0x90,
                    9 << 2,
                    4,
                    9 << 2 | 1,
                    60,
                    30,
                ];
                [&head[..], &frame, &head[1..], &frame].concat()
            });
            blocks.chain(records).collect()
        }
        "atomic_view" => {
            atomic_frames().iter().flat_map(|frame| (0..5).map(|mode| with(&[mode], frame))).collect()
        }
        "vlstore_import" => ["no_cross", "contiguous", "start", "zlib", "zlib_split"]
            .iter()
            .flat_map(|name| {
                let file = root().join(format!("tests/data/vlstore/{name}.b2frame"));
                let bytes = std::fs::read(file).unwrap();
                [with(&[0], &bytes), with(&[10], &bytes)]
            })
            .collect(),
        _ => (1..33_u64)
            .map(|mut state| (0..20 * (state % 10 + 1)).map(|_| random(&mut state) as u8).collect())
            .collect(),
    }
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = root().join("fuzz/corpus").join(target);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Flips, overwrites, moves, doubles and cuts parts of `bytes`.
fn mutate(bytes: &mut Vec<u8>, state: &mut u64) {
    const ABSURD: [u64; 8] = [0, 1, 0xff, 1 << 16, 1 << 31, u32::MAX as u64, 1 << 62, u64::MAX];
    for _ in 0..=random(state) % 4 {
        let len = bytes.len();
        if len < 2 {
            return;
        }
        let (at, from) = (random(state) as usize % len, random(state) as usize % len);
        match random(state) % 8 {
            0 | 1 => bytes[at] ^= 1 << (random(state) % 8),
            2 => bytes[at] = random(state) as u8,
            3 | 4 => {
                let absurd = ABSURD[random(state) as usize % ABSURD.len()].wrapping_add(random(state) % 3);
                let width = [1, 2, 4, 8][random(state) as usize % 4];
                let end = (at + width).min(len);
                bytes[at..end].copy_from_slice(&absurd.to_le_bytes()[..end - at]);
            }
            5 => {
                let n = (random(state) as usize % 200).min(len - at.max(from));
                bytes.copy_within(from..from + n, at);
            }
            6 => {
                let part = bytes[from..(from + 64 * (random(state) as usize % 4)).min(len)].to_vec();
                bytes.splice(at..at, part);
            }
            _ if random(state).is_multiple_of(8) => bytes.truncate(at),
            _ => bytes[at..(at + 16).min(len)].fill(0),
        }
    }
}

#[test]
fn the_seeds_are_added_to_the_corpus_when_asked() {
    let folder = std::env::var_os("VLDEPOT_WRITE_SEEDS").map(PathBuf::from);
    for (target, _) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() > 5, "{target}: {} seeds", seeds.len());
        let Some(folder) = &folder else { continue };
        std::fs::create_dir_all(folder.join(target)).unwrap();
        for (n, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(target).join(format!("seed_{n:03}")), seed).unwrap();
        }
    }
}

#[test]
fn the_corpus_and_mutations_of_it_never_panic() {
    let long = std::env::var_os("VLDEPOT_LONG_TESTS").is_some();
    for (target, body) in TARGETS {
        let start = std::time::Instant::now();
        let files = corpus(target);
        let mut inputs: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let n_corpus = inputs.len();
        inputs.extend(seeds(target));
        for input in &inputs {
            body(input);
        }
        let rounds = match (target, long) {
            ("operations", false) => 100,
            ("operations", true) => 3000,
            (_, false) => 1000,
            ("open", true) => 30_000,
            (_, true) => 300_000,
        };
        let mut state = 1;
        for _ in 0..rounds {
            let mut input = inputs[random(&mut state) as usize % inputs.len()].clone();
            mutate(&mut input, &mut state);
            body(&input);
        }
        println!("{target}: {n_corpus} of the corpus, {rounds} mutations, {:?}", start.elapsed());
    }
}

fn open_bytes(bytes: &[u8], mapping: Mapping) -> Result<Depot<Raw>, Error> {
    let options = OpenOptions::default().with_mapping(mapping);
    Depot::builder(Raw).open_options(options.clone()).open_in(Arc::new(MemoryStorage::from_bytes(bytes)))
}

fn append_bytes(bytes: &[u8]) -> Result<Depot<Raw>, Error> {
    Depot::builder(Raw).append_in(Arc::new(MemoryStorage::from_bytes(bytes)))
}

/// Checks that opening for reading and for writing gives an error that a user can act on.
fn assert_refused(what: &str, bytes: &[u8]) -> String {
    let refused = |depot: Result<Depot<Raw>, Error>| {
        let error = depot.map(|depot| format!("{depot:?}")).expect_err(what);
        assert!(
            matches!(error.kind(), ErrorKind::NotADepot { .. } | ErrorKind::Damaged { .. }),
            "{what}: {error:?}"
        );
        error.to_string()
    };
    refused(append_bytes(bytes));
    refused(open_bytes(bytes, Mapping::Never));
    refused(open_bytes(bytes, Mapping::Auto))
}

/// Checks that all 20 records of the file `closed` are there, by name.
fn assert_whole(what: &str, bytes: &[u8]) {
    for depot in [open_bytes(bytes, Mapping::Auto), open_bytes(bytes, Mapping::Never), append_bytes(bytes)] {
        let depot = depot.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(depot.len(), 20, "{what}");
        for n in 0..20 {
            assert!(depot.get(format!("frame_{n:04}")).unwrap().view() == payload(n), "{what}: record {n}");
        }
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 7;
    (0..len).map(|_| random(&mut state) as u8).collect()
}

fn closed() -> Vec<u8> {
    depot(&Layout::default(), true, frames)
}

#[test]
fn files_that_are_no_depots_are_refused() {
    assert!(assert_refused("empty", b"").contains("an empty file"));
    assert_refused("one byte", &[0]);
    assert_refused("one byte of the magic", &[0x9e]);
    for len in [10, 87, 100, 4095, 4096, 4160, 100_000] {
        assert_refused("zeros", &vec![0; len]);
        assert_refused("ones", &vec![0xff; len]);
        assert_refused("noise", &noise(len));
        let magic_and_noise = [&closed()[..12], &noise(len)].concat();
        assert_refused("a magic and noise", &magic_and_noise);
    }
    let others: [(&str, &[u8]); 7] = [
        ("PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("zip", b"PK\x03\x04\x14\0\0\0\x08\0"),
        ("HDF5", b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0"),
        ("SQLite", b"SQLite format 3\0\x10\0\x01\x01\0"),
        ("NumPy", b"\x93NUMPY\x01\0v\0{'descr': '<f8'"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("text", b"ATOM      1  N   ALA A   1      11.104   6.134  -6.504"),
    ];
    for (name, start) in others {
        assert_refused(name, start);
        let error = assert_refused(name, &[start, &noise(9000)].concat());
        assert!(error.contains("not a depot"), "{name}: {error}");
    }
}

#[test]
fn junk_before_a_depot_is_refused_and_junk_behind_it_ignored() {
    let good = closed();
    for junk in [vec![0; 64], vec![0; 4160], noise(1), noise(4096), b"#!/bin/sh\n".to_vec()] {
        assert_refused("junk before", &[&junk[..], &good].concat());
        assert_whole("junk behind", &[&good[..], &junk].concat());
    }
    assert_whole("doubled", &[&good[..], &good].concat());
    let other = depot(&Layout::default(), true, history);
    assert_whole("another depot behind", &[&good[..], &other].concat());
    assert_whole("another depot's entries behind", &[&good[..], &other[4160..]].concat());
    assert_whole("its own entries behind", &[&good[..], &good[4160..]].concat());
}

/// If the header names a commit and nothing of it is left, the file must not open as an empty depot.
#[test]
fn a_header_that_knows_of_a_commit_is_never_an_empty_depot() {
    let good = closed();
    for n_slots in [2, 1] {
        let mut header = good[..4160].to_vec();
        if n_slots == 1 {
            // A slot that is there, but torn.
            header[3584..3648].fill(0);
            header[3072 + 20] ^= 1;
            header[3584..3600].fill(0x55);
        }
        let rest = good.len() - 4160;
        for behind in [vec![], vec![0; rest], noise(rest), vec![0xff; 64], good[4160..4200].to_vec()] {
            let error = assert_refused("a header alone", &[&header[..], &behind].concat());
            assert!(error.contains("commit"), "{error}");
        }
        assert_whole("a header and what belongs to it", &[&header[..], &good[4160..]].concat());
    }
    let empty = depot(&Layout::default(), true, |_| {});
    assert_eq!(empty.len(), 4160);
    assert!(open_bytes(&empty, Mapping::Auto).unwrap().is_empty());
    assert!(append_bytes(&empty).unwrap().is_empty());
}

/// Sets any word of a commit, an index or a head to the end of its range, with checksums that match.
#[test]
fn numbers_at_the_end_of_their_range_never_overflow() {
    const FORGED_AND_APPENDED: u8 = 5;
    let file = depot(&Layout::default(), false, |depot| {
        depot.put("a", b"first").unwrap();
        depot.put("b", &[0; 5000]).unwrap();
        depot.commit().unwrap();
        depot.remove("a").unwrap();
        depot.commit().unwrap();
        depot.put("c", b"adopted").unwrap();
        depot.set_metadata("b", &1).unwrap();
    });
    let (mut at, mut words) = (4160, Vec::new());
    while let Some(head) = file.get(at..at + 64) {
        let length = u64::from_le_bytes(head[40..48].try_into().unwrap()) as usize;
        let end = if head[8] == 1 { at + 128 } else { at + length };
        words.extend((at + 16..end).step_by(8));
        at += length;
    }
    assert!(words.len() > 200, "{} words", words.len());
    for at in words {
        for value in [u64::MAX, u64::MAX >> 1, 1 << 32, 1] {
            let mut input = [&[FORGED_AND_APPENDED], &file[..]].concat();
            input[1 + at..9 + at].copy_from_slice(&value.to_le_bytes());
            vldepot::testing::fuzz::open(&input);
        }
    }
}

/// Otherwise the fuzz targets would not get past the checksums.
#[test]
fn forged_checksums_are_those_of_the_writer() {
    for (name, file) in files() {
        let mut forged = file.clone();
        forge(&mut forged);
        assert!(forged == file, "{name}: nothing to forge in a whole file");
        let mut damaged = file.clone();
        for slot in [3072, 3584] {
            if damaged[slot] != 0 {
                damaged[slot + 40] ^= 1;
            }
        }
        let mut at = 4160;
        while let Some(head) = damaged.get_mut(at..at + 64) {
            head[60] ^= 1;
            at += u64::from_le_bytes(head[40..48].try_into().unwrap()) as usize;
        }
        forge(&mut damaged);
        assert!(damaged == file, "{name}: forged back");
    }
}

/// Found by fuzzing: such names were carried over, and the new depot could not be listed.
#[test]
fn names_that_are_none_are_refused_by_compact_and_not_believed_by_repair() {
    let mut file = closed();
    let name = b"\x01frame_0000";
    let at = file.windows(name.len()).rposition(|window| window == name).unwrap();
    file[at] = 9;
    forge(&mut file);
    let memory = |bytes: &[u8]| -> Arc<dyn Storage> { Arc::new(MemoryStorage::from_bytes(bytes)) };
    let depot = open_bytes(&file, Mapping::Auto).unwrap();
    assert_eq!(depot.keys().filter(Result::is_err).count(), 16, "names of a block share their beginning");
    assert_eq!(depot.iter().flatten().count(), 4);
    let error = compact_into(memory(&file), memory(b""), |_| {}).unwrap_err();
    assert!(error.is_damage(), "{error:?}");
    let report = verify_in(memory(&file), &VerifyOptions::default(), |_| {}).unwrap();
    assert!(!report.is_whole());
    // The chunks' directories have the names as they were put.
    let target = memory(b"");
    let report = repair_in(memory(&file), Arc::clone(&target), &RepairOptions::default(), |_| {}).unwrap();
    let depot = Depot::builder(Raw).open_in(target).unwrap();
    assert_eq!(report.records, depot.len());
    assert!(depot.iter().all(|record| record.is_ok()));
}

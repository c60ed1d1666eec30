//! Files of the current format. Written again, they have the same bytes, and files written once can be
//! read for ever.
//!
//! The files are in `tests/data/golden`. `VLDEPOT_WRITE_GOLDEN=1` writes them anew.

#![allow(clippy::float_cmp, reason = "what was put comes back bit by bit")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use ndarray::{Array, Array2, IxDyn, array};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use vldepot::codecs::{
    AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec, AtomicFrameView, DType, Json, NdArray, Precision,
    Serde, Topology, Units,
};
use vldepot::maintain::{RepairOptions, VerifyOptions, compact_into, repair_in, verify_in};
use vldepot::storage::{FileStorage, MemoryStorage, Storage};
use vldepot::testing::with_identity;
use vldepot::{
    Codec, CommitEvery, Compression, CompressionCodec, Depot, Error, ErrorKind, Filter, Key, Layout,
    OpenOptions, Placement, Raw, WriteOptions,
};

const ID: u64 = 0x0123_4567_89ab_cdef;
const TIME: i64 = 1_700_000_000;

/// Where depots are written, and on how many threads.
enum Ground {
    Memory,
    Files { folder: TempDir, threads: usize },
}

impl Ground {
    fn storage(&self, name: &str) -> Arc<dyn Storage> {
        match self {
            Self::Memory => Arc::new(MemoryStorage::new()),
            Self::Files { folder, .. } => Arc::new(FileStorage::create(folder.path().join(name)).unwrap()),
        }
    }

    fn writing(&self) -> WriteOptions {
        let threads = match self {
            Self::Memory => 0,
            Self::Files { threads, .. } => *threads,
        };
        WriteOptions::default().with_threads(threads).with_commit_every(CommitEvery::never())
    }
}

/// A layout with small chunks, so that there are several.
fn layout(preset: Layout) -> Layout {
    let chunk_size = if preset.block_size.is_some() { preset.chunk_size } else { 4096 };
    preset.with_chunk_size(chunk_size)
}

fn bytes_of(storage: &Arc<dyn Storage>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

fn memory(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

/// A file of the format: how it is made, and what is in it.
struct Golden {
    name: &'static str,
    make: fn(&Ground) -> Vec<u8>,
    check: fn(&[u8]),
}

const GOLDEN: [Golden; 15] = [
    Golden { name: "raw_balanced.vld", make: make_balanced, check: check_balanced },
    Golden { name: "raw_fast.vld", make: make_fast, check: check_fast },
    Golden { name: "raw_compact.vld", make: make_compact, check: check_compact },
    Golden { name: "raw_uncompressed.vld", make: make_uncompressed, check: check_uncompressed },
    Golden { name: "crashed.vld", make: make_crashed, check: check_crashed },
    Golden { name: "vlstore.b2frame", make: make_vlstore, check: check_vlstore },
    Golden { name: "frames.vld", make: make_frames, check: check_frames },
    Golden { name: "apart.vld", make: make_apart, check: check_apart },
    Golden { name: "arrays.vld", make: make_arrays, check: check_arrays },
    Golden { name: "messagepack.vld", make: make_messagepack, check: check_messagepack },
    Golden { name: "json.vld", make: make_json, check: check_json },
    Golden { name: "truncated.vld", make: make_truncated, check: check_truncated },
    Golden { name: "loss_accepted.vld", make: make_loss_accepted, check: check_loss_accepted },
    Golden { name: "compacted.vld", make: make_compacted, check: check_compacted },
    Golden { name: "repaired.vld", make: make_repaired, check: check_repaired },
];

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden")
}

/// Compares `made` with the golden file. The error is the first difference.
fn compare(golden: &Golden, made: &[u8], how: &str) -> Result<(), String> {
    let stored =
        fs::read(golden_folder().join(golden.name)).map_err(|error| format!("{}: {error}", golden.name))?;
    if stored == made {
        return Ok(());
    }
    let at = stored.iter().zip(made).position(|(a, b)| a != b).unwrap_or(stored.len().min(made.len()));
    Err(format!(
        "{} {how}: {} bytes are stored, {} were made; they differ first at byte {at}",
        golden.name,
        stored.len(),
        made.len()
    ))
}

#[test]
fn depots_are_written_as_the_golden_files() {
    let folder = golden_folder();
    let rewrite = std::env::var_os("VLDEPOT_WRITE_GOLDEN").is_some();
    let mut differences = Vec::new();
    for golden in &GOLDEN {
        let made = with_identity(ID, TIME, || (golden.make)(&Ground::Memory));
        if rewrite {
            fs::write(folder.join(golden.name), &made).unwrap();
        }
        differences.extend(compare(golden, &made, "in memory").err());
    }
    assert!(
        differences.is_empty(),
        "the format changed:\n{}\nIf that is meant, run this test with VLDEPOT_WRITE_GOLDEN=1 and name the \
         change in CHANGELOG.md.",
        differences.join("\n")
    );
}

#[test]
fn files_written_by_threads_have_the_bytes_of_memory() {
    for threads in [0, 3] {
        for golden in &GOLDEN {
            let ground = Ground::Files { folder: tempfile::tempdir().unwrap(), threads };
            let made = with_identity(ID, TIME, || (golden.make)(&ground));
            let expected = with_identity(ID, TIME, || (golden.make)(&Ground::Memory));
            assert!(made == expected, "{} on {threads} threads", golden.name);
        }
    }
}

#[test]
fn the_golden_files_read_back_by_every_way_of_opening() {
    for golden in &GOLDEN {
        println!("{}", golden.name);
        (golden.check)(&fs::read(golden_folder().join(golden.name)).unwrap());
    }
}

#[test]
fn nothing_else_is_in_the_folder_and_it_stays_small() {
    let mut total = 0;
    for entry in fs::read_dir(golden_folder()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(name == "README.md" || GOLDEN.iter().any(|golden| golden.name == name), "{name}");
        total += entry.metadata().unwrap().len();
    }
    assert!(total < 400_000, "{total} bytes");
}

/// Opens the file in every way, including once after another writer used it. Calls `check` with each
/// depot.
fn opened<C: Codec>(bytes: &[u8], codec: impl Fn() -> C, check: impl Fn(&Depot<C>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("golden");
    fs::write(&path, bytes).unwrap();
    let report = verify_in(memory(bytes), &VerifyOptions::default(), |_| {}).unwrap();
    let noted = |problem: &Error| report.losses.iter().any(|loss| problem.to_string().contains(loss));
    assert!(report.damaged_records.is_empty() && report.problems.iter().all(noted), "{report:?}");
    check(&Depot::open(&path, codec()).unwrap());
    check(&Depot::builder(codec()).open_in(memory(bytes)).unwrap());
    let depot = Depot::append(&path, codec()).unwrap();
    check(&depot);
    // A record is put and removed again.
    let record = depot.get_at(0).unwrap().as_bytes().to_vec();
    depot.put_encoded("written later", &record).unwrap();
    depot.commit().unwrap();
    assert_eq!(depot.get("written later").unwrap().as_bytes(), record);
    assert!(depot.remove("written later").unwrap());
    depot.close().unwrap();
    check(&Depot::open(&path, codec()).unwrap());
}

fn check_identity<C: Codec>(depot: &Depot<C>) {
    let info = depot.info().unwrap();
    assert_eq!((info.format, info.format_version, info.created), ("depot", 1, TIME));
    assert_eq!(info.codec.id, C::ID);
}

// Raw records.

/// Bytes with some regularity. Payload 5 is empty, 6 is zeros, and 7 is longer than a chunk.
fn payload(n: u32) -> Vec<u8> {
    match n % 100 {
        5 => Vec::new(),
        6 => vec![0; 6000],
        7 => (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 30).to_le_bytes()[0]).collect(),
        _ => (0..40 + n * 97 % 400).map(|i| ((i / 3 * 5) ^ n).to_le_bytes()[0]).collect(),
    }
}

fn key(n: u32) -> Key {
    match n % 3 {
        0 => Key::Str(format!("frame_{n:03}")),
        1 => Key::Int(i128::from(n) - 8),
        _ => Key::Bytes(vec![0, 0xff, n.to_le_bytes()[0]]),
    }
}

fn metadata(n: u32) -> Value {
    json!({"n": n, "unit": "nm", "list": [1, -2.5, null, true], "große Zahl": u64::MAX - u64::from(n)})
}

type RawRecord = (Key, Vec<u8>, Option<Value>);

fn without_metadata(n: u32) -> RawRecord {
    (key(n), payload(n), None)
}

const N_RAW: u32 = 24;

fn write_raw(depot: &Depot<Raw>) {
    for n in 0..N_RAW {
        if n % 5 == 0 {
            depot.put_with_metadata(key(n), &payload(n), &metadata(n)).unwrap();
        } else {
            depot.put(key(n), &payload(n)).unwrap();
        }
        if n % 8 == 7 {
            depot.commit().unwrap();
        }
    }
    depot.put_with_metadata(key(2), &payload(102), &metadata(102)).unwrap();
    depot.put(key(20), &payload(120)).unwrap();
    assert!(depot.remove(key(3)).unwrap());
    assert!(depot.remove(key(23)).unwrap());
    depot.set_metadata(key(9), &metadata(9)).unwrap();
    depot.set_depot_metadata("title", "a golden file").unwrap();
    depot.set_depot_metadata("numbers", &json!([1, 2.5, i64::MIN])).unwrap();
}

/// The content that [`write_raw`] leaves, in order.
fn raw_content() -> Vec<RawRecord> {
    let left = |n: &u32| ![2, 3, 9, 20, 23].contains(n);
    let mut records: Vec<_> =
        (0..N_RAW).filter(left).map(|n| (key(n), payload(n), (n % 5 == 0).then(|| metadata(n)))).collect();
    records.push((key(2), payload(102), Some(metadata(102))));
    records.push((key(20), payload(120), None));
    records.push((key(9), payload(9), Some(metadata(9))));
    records
}

fn check_records(depot: &Depot<Raw>, expected: &[RawRecord]) {
    assert_eq!(depot.len(), expected.len() as u64);
    let keys: Vec<_> = depot.keys().map(Result::unwrap).collect();
    assert_eq!(keys, expected.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>());
    let all: Vec<_> = depot.iter().map(Result::unwrap).collect();
    for (position, (key, payload, metadata)) in expected.iter().enumerate() {
        assert!(depot.get(key).unwrap().view() == payload, "{key}");
        assert!(depot.get_at(position as u64).unwrap().view() == payload, "{key}");
        assert!(all[position].0 == *key && all[position].1.view() == payload, "{key}");
        assert_eq!(depot.metadata::<serde_json::Value>(key).unwrap(), *metadata, "{key}");
    }
    for n in [3, 23, 500] {
        assert!(depot.get(key(n)).is_err_and(|error| error.is_not_found()), "{n}");
    }
}

fn check_raw(bytes: &[u8], compression: Compression, placement: Placement) {
    opened(
        bytes,
        || Raw,
        |depot| {
            check_identity(depot);
            check_records(depot, &raw_content());
            let info = depot.info().unwrap();
            assert_eq!((info.layout.compression, info.layout.placement), (compression, placement));
            let metadata = depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap();
            assert_eq!(
                Value::from(metadata),
                json!({"title": "a golden file", "numbers": [1, 2.5, i64::MIN]})
            );
        },
    );
}

fn make_raw(ground: &Ground, options: Layout) -> Vec<u8> {
    let storage = ground.storage("raw");
    let depot = Depot::builder(Raw)
        .layout(layout(options))
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    write_raw(&depot);
    depot.close().unwrap();
    bytes_of(&storage)
}

fn compressed_by(codec: CompressionCodec, level: u8, filter: Filter) -> Compression {
    Compression::default().with_codec(codec).with_level(level).with_filter(filter).with_typesize(4)
}

fn make_balanced(ground: &Ground) -> Vec<u8> {
    make_raw(ground, Layout::balanced())
}

fn check_balanced(bytes: &[u8]) {
    check_raw(bytes, compressed_by(CompressionCodec::Zstd, 1, Filter::Shuffle), Placement::NoCross);
}

fn make_fast(ground: &Ground) -> Vec<u8> {
    make_raw(ground, Layout::fast().with_placement(Placement::Contiguous))
}

fn check_fast(bytes: &[u8]) {
    check_raw(bytes, compressed_by(CompressionCodec::Lz4, 5, Filter::Bitshuffle), Placement::Contiguous);
}

fn make_compact(ground: &Ground) -> Vec<u8> {
    make_raw(ground, Layout::compact().with_chunk_size(256 << 10))
}

fn check_compact(bytes: &[u8]) {
    check_raw(bytes, compressed_by(CompressionCodec::Zstd, 9, Filter::Shuffle), Placement::NoCross);
}

fn make_uncompressed(ground: &Ground) -> Vec<u8> {
    make_raw(ground, Layout::uncompressed())
}

fn check_uncompressed(bytes: &[u8]) {
    check_raw(bytes, compressed_by(CompressionCodec::None, 0, Filter::Shuffle), Placement::NoCross);
}

/// The file that a power loss leaves: commits, then chunks without one, then part of an entry.
fn make_crashed(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("crashed");
    let options = layout(Layout::balanced());
    let depot = Depot::builder(Raw)
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    for n in 0..N_RAW {
        depot.put(key(n), &payload(n)).unwrap();
        if n % 6 == 5 {
            depot.commit().unwrap();
        }
    }
    depot.put(key(24), &payload(24)).unwrap();
    depot.flush().unwrap();
    assert!(depot.remove(key(3)).unwrap());
    assert!(depot.remove(key(23)).unwrap());
    depot.set_metadata(key(1), &metadata(1)).unwrap();
    depot.flush().unwrap();
    let whole = usize::try_from(storage.len().unwrap()).unwrap();
    depot.put(key(25), &payload(25)).unwrap();
    depot.flush().unwrap();
    let mut bytes = bytes_of(&storage);
    bytes.truncate(whole + 300);
    assert_eq!(bytes.len(), whole + 300);
    bytes
}

fn check_crashed(bytes: &[u8]) {
    let mut expected: Vec<_> = (0..25).filter(|n| ![1, 3, 23].contains(n)).map(without_metadata).collect();
    expected.push((key(1), payload(1), Some(metadata(1))));
    let depot = Depot::builder(Raw).open_in(memory(bytes)).unwrap();
    let info = depot.info().unwrap();
    assert_eq!((info.commits, info.uncommitted_records, info.torn_bytes), (4, 2, 300));
    assert!(info.complete && depot.incomplete().is_none());
    opened(bytes, || Raw, |depot| check_records(depot, &expected));
}

fn make_vlstore(ground: &Ground) -> Vec<u8> {
    let options = layout(Layout::balanced())
        .with_chunk_size(16 << 10)
        .with_placement(Placement::StartAligned)
        .with_vlstore_compatible(true);
    let storage = ground.storage("vlstore");
    let depot = Depot::builder(Raw)
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    (0..8).for_each(|n| depot.put(key(n), &payload(n)).unwrap());
    assert!(depot.remove(key(3)).unwrap());
    depot.close().unwrap();
    bytes_of(&storage)
}

fn check_vlstore(bytes: &[u8]) {
    let expected: Vec<_> = (0..8).filter(|n| *n != 3).map(without_metadata).collect();
    let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(has(b"magic") && has(b"saved_lookup"));
    opened(
        bytes,
        || Raw,
        |depot| {
            check_identity(depot);
            check_records(depot, &expected);
            assert!(depot.info().unwrap().layout.vlstore_compatible);
        },
    );
}

// Frames.

const N_ATOMS: usize = 5;

fn small(n: usize) -> f32 {
    f32::from(u8::try_from(n).unwrap())
}

/// `[N_ATOMS, 3]` numbers that f32 holds exactly.
fn vectors(seed: usize) -> Array2<f32> {
    Array2::from_shape_fn((N_ATOMS, 3), |(atom, axis)| small(seed + 10 * atom + axis) / 16.0 - 2.0)
}

fn topology<'a>() -> Topology<'a> {
    Topology::new()
        .types(vec![8_i32, 1, 1, 18, -1])
        .masses(vec![15.999_f32, 1.008, 1.008, 39.948, 0.5])
        .charges(vec![-0.8_f32, 0.4, 0.4, 0.0, 1.0])
        .names(["O", "H1", "H2", "Ar", "X"])
        .bonds(vec![[0_u32, 1], [0, 2]])
        .residues(vec![0_u32, 0, 0, 1, 1])
        .residue_names(["SOL", "GAS"])
        .molecules(vec![0_u32, 0, 0, 1, 2])
}

/// Frame 0 has what was given in single precision, frame 3 what was given in double. Frame 2 has only
/// what it must have.
fn frame(n: usize) -> AtomicFrame<'static> {
    let frame = AtomicFrame::new();
    let step = i64::try_from(n).unwrap() * 500;
    match n {
        2 => frame.positions(vectors(n)).step(step),
        3 => frame
            .positions(vectors(n).mapv(|x| f64::from(x) + 1e-12))
            .forces(vectors(n).mapv(|x| f64::from(x) * 1e200))
            .step(step)
            .time(f64::NEG_INFINITY),
        _ => frame
            .name(format!("frame {n}, ein Öltröpfchen"))
            .positions(vectors(n))
            .velocities(vectors(n + 1))
            .forces(vectors(n + 2))
            .charges(vectors(n).column(1).to_owned())
            .types(vec![8_i32, 1, 1, 18, -1])
            .masses(vec![15.999_f32, 1.008, 1.008, 39.948, 0.5])
            .cell([[3.0, 0.0, 0.0], [0.25, 3.5, 0.0], [0.1, 0.2, 4.0]])
            .pbc([true, true, false])
            .step(step)
            .time(f64::from(small(n)) * 0.002)
            .energy(-1234.5678)
            .stress([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, -3.0]])
            .topology_name("topology")
            .per_atom("spin", array![[1.0_f64, f64::NAN], [0.0, -0.0], [1e300, 0.5], [2.0, 3.0], [4.0, 5.0]])
            .per_atom("flags", vec![true, false, true, true, false])
            .per_frame("seed", u64::MAX)
            .per_frame("empty", Array::<i16, _>::zeros((0, 7)))
            .per_frame("descriptor", array![[f16::from_f32(0.5), f16::INFINITY]]),
    }
}

fn frame_codec() -> AtomicFrameCodec {
    AtomicFrameCodec::new().with_precision(Precision::AsGiven).with_units(Units::ase()).with_n_atoms(N_ATOMS)
}

fn make_frames(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("frames");
    let options =
        layout(Layout::balanced()).with_columns(["step", "energy", "time", "n_atoms"]).with_statistics(true);
    let depot = Depot::builder(frame_codec())
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    depot.put("topology", &AtomicFrame::new().n_atoms(N_ATOMS).topology(topology())).unwrap();
    (0..4).for_each(|n| depot.put(format!("frame_{n:06}"), &frame(n)).unwrap());
    depot.close().unwrap();
    bytes_of(&storage)
}

fn check_frame(view: &AtomicFrameView<'_>, n: usize) {
    let expected = frame(n).n_atoms(N_ATOMS);
    assert!(view.to_frame().unwrap().is_same(&expected), "frame {n}: {:?}", view.to_frame());
    assert_eq!(view.n_atoms(), N_ATOMS);
    assert_eq!(view.step(), Some(i64::try_from(n).unwrap() * 500));
}

fn check_frames(bytes: &[u8]) {
    opened(bytes, frame_codec, |depot| {
        check_identity(depot);
        assert_eq!(depot.codec().units(), Units::ase());
        assert_eq!((depot.codec().n_atoms(), depot.len()), (Some(N_ATOMS), 5));
        // The first record is the topology, which has the number of atoms alone.
        let column = |name| depot.column(name, ..).unwrap();
        assert_eq!(column("n_atoms").as_i64().unwrap(), [5; 5]);
        assert_eq!(column("step").as_i64().unwrap(), [0, 0, 500, 1000, 1500]);
        assert_eq!(column("energy").as_f64().unwrap()[1..3], [-1234.5678; 2]);
        assert_eq!(column("time").get(2), Some(vldepot::Scalar::Float(0.002)));
        assert_eq!((column("step").n_absent(), column("energy").n_absent()), (1, 3));
        for n in 0..4 {
            check_frame(&depot.get(format!("frame_{n:06}")).unwrap().view(), n);
        }
        // Checked here too, not only by the library's own comparison.
        let record = depot.get("frame_000001").unwrap();
        let view = record.view();
        assert_eq!(view.positions(), vectors(1));
        assert_eq!(view.velocities().unwrap()[[4, 2]], 0.75);
        assert_eq!(view.forces().unwrap(), vectors(3));
        assert_eq!(view.charges().unwrap(), vectors(1).column(1));
        assert_eq!(view.types().unwrap().to_vec(), [8, 1, 1, 18, -1]);
        assert_eq!(view.masses().unwrap()[3], 39.948);
        assert_eq!(view.cell().unwrap()[[1, 0]], 0.25);
        assert_eq!((view.pbc(), view.time()), (Some([true, true, false]), Some(0.002)));
        assert_eq!((view.energy(), view.stress().unwrap()[[2, 2]]), (Some(-1234.5678), -3.0));
        assert_eq!(view.array("seed").unwrap().view::<u64>().unwrap()[[]], u64::MAX);
        assert_eq!(view.array("empty").unwrap().shape(), [0, 7]);
        assert!(view.array("spin").unwrap().view::<f64>().unwrap()[[0, 1]].is_nan());
        assert_eq!(depot.get("frame_000003").unwrap().view().positions_any().unwrap().dtype(), DType::F64);
        let record = depot.get(view.topology_name().unwrap()).unwrap();
        let found = record.view().topology().unwrap();
        assert_eq!(found.to_topology(), topology());
        assert_eq!(found.names().unwrap().collect::<Vec<_>>(), ["O", "H1", "H2", "Ar", "X"]);
        assert_eq!(found.bonds().unwrap(), array![[0, 1], [0, 2]]);
    });
}

// Frames with their fields apart.

/// A molecule, or frame 40, which is longer than a part of a record and runs into the next chunk.
fn molecule(n: usize) -> AtomicFrame<'static> {
    let n_atoms = if n == 40 { 6000 } else { 20 + n * 7 % 40 };
    let mut state = u32::try_from(n).unwrap() + 1;
    // The sum of four numbers of 8 bits: small ones are the most frequent.
    let mut random = || {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u8::try_from(state >> 24).unwrap()) - 127.5
        };
        (0..4).map(|_| next()).sum::<f32>()
    };
    let positions = Array2::from_shape_fn((n_atoms, 3), |_| random() / 64.0);
    let frame = AtomicFrame::new().positions(positions).step(i64::try_from(n).unwrap());
    if n == 40 {
        return frame;
    }
    let edge = f64::from(u8::try_from(n).unwrap());
    frame
        .forces(Array2::from_shape_fn((n_atoms, 3), |_| random() / 256.0))
        .types((0..n_atoms).map(|atom| [1, 6, 1, 8, 1, 7][(atom + n) % 6]).collect::<Vec<i32>>())
        .per_atom("charge", (0..n_atoms).map(|_| f64::from(random()) / 1024.0).collect::<Vec<_>>())
        .energy(f64::from(random()))
        .stress([[1.0, 0.5, edge], [0.5, 2.0, 0.25], [edge, 0.25, 3.0]])
}

const N_MOLECULES: usize = 90;

fn apart_codec() -> AtomicFrameCodec {
    AtomicFrameCodec::new().with_precision(Precision::AsGiven)
}

fn make_apart(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("apart");
    let depot = Depot::builder(apart_codec())
        .layout(Layout::balanced().with_chunk_size(128 << 10).with_placement(Placement::Contiguous))
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    // A record without arrays of atoms among the others.
    depot.put("topology", &AtomicFrame::new().n_atoms(N_ATOMS).topology(topology())).unwrap();
    (0..N_MOLECULES).for_each(|n| depot.put(n as u64, &molecule(n)).unwrap());
    depot.close().unwrap();
    bytes_of(&storage)
}

/// The layouts of the chunks of a file.
fn layouts(bytes: &[u8]) -> Vec<u8> {
    let (mut at, mut found) = (4160, Vec::new());
    while let Some(head) = bytes.get(at..at + 128).filter(|head| head.starts_with(b"\x8bVLD")) {
        if head[8] == 1 {
            found.push(head[64 + 12]);
        }
        at += usize::try_from(u64::from_le_bytes(head[40..48].try_into().unwrap())).unwrap();
    }
    found
}

fn check_apart(bytes: &[u8]) {
    assert_eq!(layouts(bytes), [1, 1]);
    opened(bytes, apart_codec, |depot| {
        check_identity(depot);
        assert_eq!(depot.len(), N_MOLECULES as u64 + 1);
        assert!(depot.info().unwrap().layout.fields_apart);
        for n in 0..N_MOLECULES {
            let record = depot.get(n as u64).unwrap();
            let view = record.view();
            let expected = molecule(n).n_atoms(view.n_atoms());
            assert!(view.to_frame().unwrap().is_same(&expected), "molecule {n}");
        }
        // Numbers that do not come from the codec.
        let record = depot.get(40).unwrap();
        assert_eq!(record.view().positions()[[5999, 2]], -4.890_625);
        let record = depot.get("topology").unwrap();
        assert_eq!(record.view().topology().unwrap().to_topology(), topology());
    });
}

// Arrays.

fn arrays() -> Vec<(&'static str, AnyArray<'static>)> {
    vec![
        ("f32", array![[1.5_f32, -0.0], [f32::MAX, f32::NAN]].into()),
        ("f64", Array::from_shape_fn((3, 2, 2), |(i, j, k)| small(4 * i + 2 * j + k)).mapv(f64::from).into()),
        ("f16", vec![f16::from_f32(0.1), f16::MAX].into()),
        ("bf16", vec![bf16::from_f32(0.1), bf16::MAX].into()),
        ("i8", vec![i8::MIN, i8::MAX].into()),
        ("i16", vec![i16::MIN, i16::MAX].into()),
        ("i32", vec![i32::MIN, i32::MAX].into()),
        ("i64", vec![i64::MIN, i64::MAX].into()),
        ("u8", vec![0, u8::MAX].into()),
        ("u16", vec![0, u16::MAX].into()),
        ("u32", vec![0, u32::MAX].into()),
        ("u64", vec![0, u64::MAX].into()),
        ("bool", vec![true, false, true].into()),
        ("a number", 42_i64.into()),
        ("none", Array::<f32, _>::zeros(IxDyn(&[0, 3])).into()),
        ("five axes", Array::<u16, _>::from_elem(IxDyn(&[1, 2, 1, 2, 3]), 7).into()),
    ]
}

fn make_arrays(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("arrays");
    let options = layout(Layout::fast());
    let depot = Depot::builder(AnyNdArray)
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    for (name, array) in arrays() {
        depot.put(name, &array).unwrap();
    }
    depot.close().unwrap();
    bytes_of(&storage)
}

fn check_arrays(bytes: &[u8]) {
    opened(
        bytes,
        || AnyNdArray,
        |depot| {
            check_identity(depot);
            assert_eq!(depot.len(), arrays().len() as u64);
            for (name, expected) in arrays() {
                let record = depot.get(name).unwrap();
                assert_eq!(record.view().shape(), expected.shape(), "{name}");
                assert!(record.view().to_any().unwrap().is_same(&expected), "{name}: {:?}", record.view());
            }
        },
    );
    let depot = Depot::builder(NdArray::<f64>::new()).open_in(memory(bytes)).unwrap();
    assert_eq!(depot.get("f64").unwrap().view()[[2, 1, 0]], 10.0);
}

// Serde.

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Empty,
    Pair(i8, f32),
    Named { name: String, bytes: Vec<u8> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    id: u64,
    negative: i64,
    energy: f64,
    label: Option<String>,
    kinds: Vec<Kind>,
    nested: Option<Box<Sample>>,
}

fn sample(n: u64) -> Sample {
    Sample {
        id: u64::MAX - n,
        negative: i64::MIN,
        energy: 0.1,
        label: n.is_multiple_of(2).then(|| format!("Probe №{n}\n\"quoted\"")),
        kinds: vec![
            Kind::Empty,
            Kind::Pair(-128, 1.0e-7),
            Kind::Named { name: String::new(), bytes: vec![0, 127, 128, 255] },
        ],
        nested: (n > 0).then(|| Box::new(sample(n - 1))),
    }
}

fn make_serde<C: Codec<Item = Sample>>(ground: &Ground, codec: C) -> Vec<u8> {
    let storage = ground.storage("serde");
    let options = layout(Layout::balanced());
    let depot = Depot::builder(codec)
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    (0..4).for_each(|n| depot.put(n, &sample(n)).unwrap());
    depot.close().unwrap();
    bytes_of(&storage)
}

fn check_serde<C>(bytes: &[u8], codec: impl Fn() -> C)
where
    C: for<'a> Codec<Item = Sample, View<'a> = Sample>,
{
    opened(bytes, codec, |depot| {
        check_identity(depot);
        assert_eq!(depot.len(), 4);
        for n in 0..4 {
            assert_eq!(depot.get(n).unwrap().view(), sample(n));
        }
    });
}

fn make_messagepack(ground: &Ground) -> Vec<u8> {
    make_serde(ground, Serde::<Sample>::new())
}

fn check_messagepack(bytes: &[u8]) {
    check_serde(bytes, Serde::<Sample>::new);
}

fn make_json(ground: &Ground) -> Vec<u8> {
    make_serde(ground, Json::<Sample>::new())
}

fn check_json(bytes: &[u8]) {
    check_serde(bytes, Json::<Sample>::new);
    let depot = Depot::builder(Json::<Value>::new()).open_in(memory(bytes)).unwrap();
    assert_eq!(depot.get(1).unwrap().view()["nested"]["id"], json!(u64::MAX));
}

// Events in the life of a file.

/// Writes commits of ten records, each with metadata. Returns the length of the storage after each
/// commit.
fn write_commits(depot: &Depot<Raw>, storage: &Arc<dyn Storage>, n_commits: u32) -> Vec<u64> {
    let mut lengths = Vec::new();
    for commit in 0..n_commits {
        for n in 10 * commit..10 * commit + 10 {
            depot.put_with_metadata(n, &payload(n + 200), &n).unwrap();
        }
        depot.commit().unwrap();
        lengths.push(storage.len().unwrap());
    }
    lengths
}

fn committed(numbers: impl Iterator<Item = u32>) -> Vec<RawRecord> {
    numbers.map(|n| (Key::Int(n.into()), payload(n + 200), Some(n.into()))).collect()
}

/// A file whose last truncation can be undone.
fn make_truncated(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("truncated");
    let options = layout(Layout::balanced());
    let depot = Depot::builder(Raw)
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    write_commits(&depot, &storage, 3);
    assert_eq!(depot.truncate_after(13).unwrap(), 16);
    depot.close().unwrap();
    bytes_of(&storage)
}

fn check_truncated(bytes: &[u8]) {
    opened(
        bytes,
        || Raw,
        |depot| {
            check_identity(depot);
            check_records(depot, &committed(0..14));
        },
    );
    let depot = Depot::builder(Raw).append_in(memory(bytes)).unwrap();
    assert_eq!(depot.undo_truncate().unwrap(), 16);
    check_records(&depot, &committed(0..30));
}

/// A file that lost its third commit, and was appended to after the loss was accepted.
fn make_loss_accepted(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("lost");
    let options = layout(Layout::balanced());
    let depot = Depot::builder(Raw)
        .layout(options.clone())
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    let lengths = write_commits(&depot, &storage, 3);
    let mut bytes = bytes_of(&storage);
    bytes.truncate(usize::try_from(lengths[1]).unwrap());
    let storage = ground.storage("accepted");
    storage.write_at(0, &bytes).unwrap();
    let accepting = OpenOptions::default().with_accept_loss(true);
    let depot = Depot::builder(Raw)
        .open_options(accepting.clone())
        .write_options(ground.writing())
        .append_in(Arc::clone(&storage))
        .unwrap();
    assert_eq!(depot.len(), 20);
    depot.put_with_metadata(30, &payload(230), &30).unwrap();
    depot.close().unwrap();
    bytes_of(&storage)
}

fn check_loss_accepted(bytes: &[u8]) {
    opened(
        bytes,
        || Raw,
        |depot| {
            check_identity(depot);
            check_records(depot, &committed((0..20).chain([30])));
            assert!(
                matches!(depot.get(25), Err(error) if matches!(error.kind(), ErrorKind::LostEarlier { .. })),
                "{:?}",
                depot.get(25).err()
            );
            let losses = depot.info().unwrap().losses;
            assert!(losses.len() == 1 && losses[0].starts_with("commit 3 "), "{losses:?}");
        },
    );
}

fn make_compacted(ground: &Ground) -> Vec<u8> {
    let from = memory(&make_raw(ground, Layout::balanced()));
    let to = ground.storage("compacted");
    assert_eq!(compact_into(from, Arc::clone(&to), |_| {}).unwrap().records, raw_content().len() as u64);
    bytes_of(&to)
}

fn check_compacted(bytes: &[u8]) {
    check_balanced(bytes);
    let depot = Depot::builder(Raw).open_in(memory(bytes)).unwrap();
    assert_eq!(depot.info().unwrap().dead_records, 0);
}

const DAMAGED: u32 = 13;

/// A file that was repaired after one of its chunks was damaged.
fn make_repaired(ground: &Ground) -> Vec<u8> {
    let storage = ground.storage("damaged");
    let options = layout(Layout::uncompressed());
    let depot = Depot::builder(Raw)
        .layout(options)
        .write_options(ground.writing())
        .create_in(Arc::clone(&storage))
        .unwrap();
    write_commits(&depot, &storage, 2);
    depot.set_depot_metadata("title", "damaged").unwrap();
    depot.close().unwrap();
    let mut bytes = bytes_of(&storage);
    let wanted = payload(DAMAGED + 200);
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at + wanted.len() / 2] ^= 1;
    let to = ground.storage("repaired");
    let report = repair_in(memory(&bytes), Arc::clone(&to), &RepairOptions::default(), |_| {}).unwrap();
    assert!(report.lost.iter().any(|lost| lost.name == Key::Int(DAMAGED.into())), "{report:?}");
    bytes_of(&to)
}

fn check_repaired(bytes: &[u8]) {
    opened(
        bytes,
        || Raw,
        |depot| {
            check_identity(depot);
            check_records(depot, &committed((0..20).filter(|n| *n != DAMAGED)));
            assert!(
                matches!(depot.get(DAMAGED), Err(error) if matches!(error.kind(), ErrorKind::LostEarlier { .. }))
            );
            let losses = depot.info().unwrap().losses;
            assert!(
                losses.len() == 1 && losses[0].starts_with("a repair could not save 1 of them"),
                "{losses:?}"
            );
            assert_eq!(
                depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["title"],
                "damaged"
            );
        },
    );
}

//! Batches of records: the same bytes as one by one, in the order asked for, however they are stored and
//! whatever is damaged.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "test data are made of small counters, and numbers come back exactly"
)]

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Fields, FlatFrames, Precision};
use vldepot::loader::OnError;
use vldepot::storage::MemoryStorage;
use vldepot::{
    CodecError, Depot, Layout, Mapping, OpenOptions, Placement, Raw, ReadOptions, Then, Verify, WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

/// Small records, empty ones, and some that are longer than a chunk.
fn payload(n: u32) -> Vec<u8> {
    let len = match n % 50 {
        7 => 0,
        31 => 9000 + n as usize,
        _ => 20 + n as usize * 131 % 900,
    };
    (0..len).map(|i| (i as u8 / 3).wrapping_mul(5) ^ (n as u8) ^ (i >> 8) as u8).collect()
}

const N: u32 = 300;

fn options(preset: &Layout) -> Layout {
    preset.clone().with_chunk_size(8192).with_block_size(1024)
}

fn fill(depot: &Depot<Raw>) {
    for n in 0..N {
        depot.put(n, &payload(n)).unwrap();
        if n % 110 == 109 {
            depot.commit().unwrap();
        }
    }
}

/// Every way to open the same records.
fn depots() -> Vec<(String, Depot<Raw>)> {
    let mut depots = Vec::new();
    let presets =
        [("balanced", Layout::balanced()), ("fast", Layout::fast()), ("bare", Layout::uncompressed())];
    for (name, preset) in presets {
        for placement in [Placement::NoCross, Placement::Contiguous] {
            let open = Depot::builder(Raw)
                .layout(options(&preset).with_placement(placement))
                .write_options(writing())
                .memory()
                .unwrap();
            fill(&open);
            let whole = open.to_bytes().unwrap();
            for (how, open) in [
                ("mapped", OpenOptions::default()),
                ("read", OpenOptions::default().with_mapping(Mapping::Never)),
                ("once", OpenOptions::default().with_verify(Verify::Once)),
                ("cached", OpenOptions::default().with_cache_bytes(40_000)),
            ] {
                let storage = Arc::new(MemoryStorage::from_bytes(&whole));
                let depot = Depot::builder(Raw).open_options(open.clone()).open_in(storage).unwrap();
                depots.push((format!("{name}, {placement:?}, {how}"), depot));
            }
            let pending = Depot::builder(Raw)
                .layout(options(&preset).with_placement(placement))
                .write_options(writing())
                .memory()
                .unwrap();
            fill(&pending);
            depots.push((format!("{name}, {placement:?}, being written"), pending));
        }
    }
    depots
}

/// Batches of every kind: few, many, in order, backwards, repeated, all.
fn batches() -> Vec<Vec<u32>> {
    let mut state = 1;
    let mut batches = vec![vec![], vec![31], vec![7, 7], (0..N).collect(), (0..N).rev().collect()];
    for len in [2, 30, 400] {
        batches.push((0..len).map(|_| random(&mut state) as u32 % N).collect());
        batches.push((0..len).map(|_| 150 + random(&mut state) as u32 % 20).collect());
    }
    batches
}

#[test]
fn batches_have_the_bytes_of_single_reads_in_the_order_asked_for() {
    for (what, depot) in depots() {
        for keys in batches() {
            for threads in [1, 3] {
                let records =
                    depot.get_many_with(&keys, &ReadOptions::default().with_threads(threads)).unwrap();
                assert_eq!(records.len(), keys.len());
                for (key, record) in keys.iter().zip(&records) {
                    assert!(record.view() == payload(*key), "{what}, {threads} threads: record {key}");
                    assert!(record.as_bytes().as_ptr().addr().is_multiple_of(16), "{what}: record {key}");
                }
            }
            let mut seen = vec![0; keys.len()];
            depot
                .visit_many(&keys, |number, bytes| {
                    assert!(bytes == payload(keys[number]), "{what}, visited: record {}", keys[number]);
                    seen[number] += 1;
                })
                .unwrap();
            assert!(seen.iter().all(|&times| times == 1), "{what}: {seen:?}");
        }
        for _ in 0..2 {
            for n in 0..N {
                assert!(depot.get(n).unwrap().view() == payload(n), "{what}: record {n} alone");
            }
        }
        for threads in [1, 2] {
            let all: Vec<_> = depot
                .iter_with(&ReadOptions::default().with_threads(threads))
                .map(|r| r.unwrap().1)
                .collect();
            assert!(
                all.len() == N as usize && (0..N).zip(&all).all(|(n, r)| r.view() == payload(n)),
                "{what}"
            );
        }
    }
}

#[test]
fn large_batches_are_decoded_by_threads() {
    let depot = Depot::memory(Raw).unwrap();
    let bytes = |n: u32| -> Vec<u8> { (0..50_000).map(|i: u32| ((i * (n + 3)) >> 4) as u8).collect() };
    (0..200).for_each(|n| depot.put(n, &bytes(n)).unwrap());
    depot.commit().unwrap();
    let mut state = 5;
    let keys: Vec<u32> = (0..300).map(|_| random(&mut state) as u32 % 200).collect();
    for threads in [0, 1, 2, 4, 64] {
        let records = depot.get_many_with(&keys, &ReadOptions::default().with_threads(threads)).unwrap();
        assert!(keys.iter().zip(&records).all(|(&key, record)| record.view() == bytes(key)), "{threads}");
    }
    let mut n = 0;
    for entry in depot.iter_with(&ReadOptions::default().with_threads(3)) {
        let (key, record) = entry.unwrap();
        assert!(key == vldepot::Key::Int(n.into()) && record.view() == bytes(n), "{key}");
        n += 1;
    }
    assert_eq!(n, 200);
}

#[test]
fn a_missing_key_is_named_and_costs_the_batch() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put("here", b"1").unwrap();
    for error in [
        depot.get_many(&["here", "gone", "lost"]).map(|_| ()).unwrap_err(),
        depot.visit_many(&["here", "gone", "lost"], |_, _| ()).unwrap_err(),
    ] {
        assert!(error.is_not_found() && error.to_string().contains("\"gone\""), "{error}");
    }
}

#[test]
fn damage_in_a_batch_is_the_error_of_its_first_record_and_spares_the_others() {
    for preset in [Layout::balanced(), Layout::uncompressed()] {
        let whole = Depot::builder(Raw).layout(options(&preset)).write_options(writing()).memory().unwrap();
        fill(&whole);
        let whole = whole.to_bytes().unwrap();
        let mut state = 9;
        let mut damaged = 0;
        for round in 0..40 {
            let mut bytes = whole.clone();
            let at = 4160 + random(&mut state) as usize % (whole.len() - 4160);
            bytes[at] ^= 1 << (round % 8);
            let options = OpenOptions::default()
                .with_mapping(if round % 2 == 0 { Mapping::Auto } else { Mapping::Never })
                .with_cache_bytes(if round % 3 == 0 { 1 << 20 } else { 0 });
            let storage = Arc::new(MemoryStorage::from_bytes(&bytes));
            let Ok(depot) = Depot::builder(Raw).open_options(options.clone()).open_in(storage) else {
                continue;
            };
            let keys: Vec<u32> = (0..N).rev().filter(|&n| depot.contains(n).unwrap_or(false)).collect();
            // First one by one, which gives the results that the batch must have too.
            let alone: Vec<_> =
                keys.iter().map(|&key| depot.get(key).map_err(|error| error.to_string())).collect();
            let first = alone.iter().find_map(|record| record.as_ref().err());
            match (depot.get_many(&keys), first) {
                (Ok(records), None) => assert_eq!(records.len(), keys.len()),
                (Err(error), Some(first)) => {
                    assert!(error.is_damage(), "{error:?}");
                    assert_eq!(&error.to_string(), first, "byte {at}");
                    damaged += 1;
                }
                (many, first) => panic!("byte {at}: {:?}, one by one {first:?}", many.map(|_| ())),
            }
            let mut seen = vec![false; keys.len()];
            let visited = depot.visit_many(&keys, |number, bytes| {
                assert!(bytes == payload(keys[number]), "byte {at}: record {}", keys[number]);
                seen[number] = true;
            });
            assert_eq!(visited.map_err(|error| error.to_string()).err().as_ref(), first);
            assert!(alone.iter().zip(&seen).all(|(record, seen)| record.is_ok() == *seen), "byte {at}");
            let lost = seen.iter().filter(|seen| !**seen).count();
            assert!(lost <= 40, "byte {at}: {lost} records lost with one chunk of about 20");
        }
        assert!(damaged > 10, "{damaged} damaged");
    }
}

/// How many records of `depot` each way of reading gives.
type Way = (&'static str, fn(&Depot<Raw>) -> usize);

fn good<T>(read: impl IntoIterator<Item = vldepot::Result<T>>) -> usize {
    read.into_iter().flatten().count()
}

fn loaded(depot: &Depot<Raw>, threads: usize) -> usize {
    let loader = depot.loader().shuffle(1).threads(threads).on_error(OnError::Skip).build().unwrap();
    loader.map(|batch| batch.unwrap().len()).sum()
}

/// All ways of reading all records. A batch that fails says of no record whether it is good, so batches have
/// one record each, where they have no result for each.
const WAYS: [Way; 12] = [
    ("get", |depot| good((0..N).map(|n| depot.get(n)))),
    ("get_at", |depot| good((0..u64::from(N)).map(|n| depot.get_at(n)))),
    ("get_many", |depot| good((0..N).map(|n| depot.get_many(&[n])))),
    ("get_many, in one", |depot| {
        let keys: Vec<u32> = (0..N).collect();
        depot.get_many_with(&keys, &ReadOptions::default().with_threads(2)).map_or(0, |all| all.len())
    }),
    ("get_many_at", |depot| {
        good((0..u64::from(N)).map(|n| depot.get_many_at(&[n], &ReadOptions::default())))
    }),
    ("visit_many", |depot| good((0..N).map(|n| depot.visit_many(&[n], |_, _| ())))),
    ("visit_parts", |depot| {
        good((0..N).map(|n| depot.visit_parts(&[n], |_, parts| parts.whole().map(|_| Then::Next))))
    }),
    ("iter", |depot| good(depot)),
    ("iter, two threads", |depot| good(depot.iter_with(&ReadOptions::default().with_threads(2)))),
    ("range", |depot| good(depot.range(..))),
    ("loader", |depot| loaded(depot, 0)),
    ("loader, two threads", |depot| loaded(depot, 2)),
];

/// A depot of `N` records, the last of them in several chunks, and where records 1 and 290 lie in the file.
fn bare(path: &Path, placement: Placement) -> [usize; 2] {
    let depot = Depot::builder(Raw)
        .layout(options(&Layout::uncompressed()).with_placement(placement))
        .write_options(writing())
        .create(path)
        .unwrap();
    (0..N).for_each(|n| depot.put(n, &long_at_the_end(n)).unwrap());
    depot.close().unwrap();
    let bytes = std::fs::read(path).unwrap();
    [1, 290].map(|n| {
        // Long records are not whole in the file: chunks have heads.
        let start = &long_at_the_end(n)[..100];
        bytes.windows(100).position(|window| window == start).unwrap()
    })
}

fn long_at_the_end(n: u32) -> Vec<u8> {
    let mut state = u64::from(n);
    let len = if n < 280 { 200 } else { 200_000 };
    (0..len).map(|_| random(&mut state) as u8).collect()
}

/// Changes the file where a map of it sees it.
fn flip(path: &Path, at: usize) {
    let mut file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

#[test]
fn a_checksum_verified_once_is_not_compared_again_but_before_that_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.vld");
    let all = N as usize;
    for placement in [Placement::NoCross, Placement::Contiguous] {
        let places = bare(&path, placement);
        let flip_all = || {
            for at in places {
                flip(&path, at);
            }
        };
        let open = |verify| {
            let options = OpenOptions::default().with_verify(verify);
            Depot::builder(Raw).open_options(options).open(&path).unwrap()
        };
        for (name, first) in WAYS {
            let what = format!("{name}, {placement:?}");
            // Damage that was there before the first read is found by it, and by all that come later.
            flip_all();
            let once = open(Verify::Once);
            let damaged = if name == "get_many, in one" { 0 } else { all - 2 };
            for _ in 0..2 {
                assert_eq!(first(&once), damaged, "{what}");
            }
            flip_all();

            // Damage that came later is found by no way of reading, unless each read is checked.
            let (once, each) = (open(Verify::Once), open(Verify::EachRead));
            assert_eq!((first(&once), first(&each)), (all, all), "{what}");
            flip_all();
            for (second, read) in WAYS {
                assert_eq!(read(&once), all, "{what}, then {second}");
            }
            assert_eq!(first(&each), damaged, "{what}");
            // Unless it looks at each record anyway.
            assert!(once.read_to(1, &mut Vec::new()).unwrap_err().is_damage(), "{what}");
            flip_all();
        }
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_record_that_was_replaced_is_checked_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.vld");
    let layout = options(&Layout::uncompressed());
    let writer = Depot::builder(Raw).layout(layout).write_options(writing()).create(&path).unwrap();
    // More than half of a chunk: less than that would be compressed.
    let (old, new) = ([1; 5000], [2; 5000]);
    writer.put("a", &old).unwrap();
    writer.commit().unwrap();
    let open = OpenOptions::default().with_verify(Verify::Once);
    let reader = Depot::builder(Raw).open_options(open).open(&path).unwrap();
    assert_eq!(reader.get_many(&["a"]).unwrap()[0].view(), old);
    writer.put("a", &new).unwrap();
    writer.commit().unwrap();
    assert_eq!(reader.refresh().unwrap().now, 1);
    let bytes = std::fs::read(&path).unwrap();
    flip(&path, bytes.windows(5000).position(|window| window == new).unwrap());
    assert!(reader.get_many(&["a"]).unwrap_err().is_damage());
    assert!(reader.get("a").unwrap_err().is_damage());
}

#[test]
fn what_is_decoded_is_checked_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.vld");
    let depot = Depot::builder(Raw).write_options(writing()).create(&path).unwrap();
    (0..N).for_each(|n| depot.put(n, &long_at_the_end(n)).unwrap());
    depot.close().unwrap();
    let open = OpenOptions::default().with_verify(Verify::Once);
    let depot = Depot::builder(Raw).open_options(open).open(&path).unwrap();
    for (name, read) in WAYS {
        assert_eq!(read(&depot), N as usize, "{name}");
    }
    let chunk = depot.chunk_of(285).unwrap().unwrap();
    flip(&path, (chunk.file_offset + chunk.stored_bytes / 2) as usize);
    for (name, read) in WAYS {
        assert!(read(&depot) < N as usize, "{name}");
    }
}

/// `n` atoms, with all that a flat batch can hold.
fn frame(seed: u32) -> (Vec<[f32; 3]>, Vec<i32>, f64) {
    let n = seed as usize * 7 % 40;
    let positions = (0..n).map(|i| [i as f32, seed as f32, 0.5]).collect();
    (positions, (0..n as i32).map(|i| i + seed as i32).collect(), f64::from(seed) / 3.0)
}

#[test]
fn flat_batches_are_the_frames_one_behind_the_other() {
    let all = Fields::POSITIONS
        | Fields::VELOCITIES
        | Fields::FORCES
        | Fields::CHARGES
        | Fields::TYPES
        | Fields::MASSES
        | Fields::ENERGY
        | Fields::TIME
        | Fields::CELL
        | Fields::STRESS;
    let options = Layout::default().with_chunk_size(16384).with_block_size(4096);
    let depot = Depot::builder(AtomicFrameCodec::default())
        .layout(options)
        .write_options(writing())
        .memory()
        .unwrap();
    for seed in 0..300 {
        let (positions, types, energy) = frame(seed);
        let ones = vec![1.5_f32; types.len()];
        let frame = AtomicFrame::new()
            .positions(&positions)
            .velocities(&positions)
            .forces(&positions)
            .charges(&ones)
            .masses(&ones)
            .types(&types)
            .energy(energy)
            .time(energy * 2.0)
            .cell([[energy, 0.0, 1.0]; 3])
            .stress([[energy, 2.0, 1.0]; 3]);
        depot.put(seed, &frame).unwrap();
    }
    depot.commit().unwrap();
    let mut state = 3;
    let mut flat = FlatFrames::new();
    let mut batches: Vec<Vec<u32>> = vec![(0..300).collect(), vec![], vec![5, 5, 4]];
    batches.extend((0..5).map(|_| (0..100).map(|_| random(&mut state) as u32 % 300).collect()));
    for keys in batches {
        depot.get_many_flat_into(&keys, all, &mut flat).unwrap();
        assert_eq!((flat.len(), flat.offsets.len()), (keys.len(), keys.len() + 1));
        assert_eq!(flat.offsets[keys.len()], flat.positions.len());
        for (nth, &seed) in keys.iter().enumerate() {
            let (positions, types, energy) = frame(seed);
            let atoms = flat.offsets[nth]..flat.offsets[nth + 1];
            assert_eq!(flat.positions[atoms.clone()], positions);
            assert_eq!(flat.velocities[atoms.clone()], positions);
            assert_eq!(flat.forces[atoms.clone()], positions);
            assert_eq!(flat.types[atoms.clone()], types);
            assert!(flat.charges[atoms.clone()].iter().chain(&flat.masses[atoms]).all(|&x| x == 1.5));
            assert_eq!((flat.energy[nth], flat.time[nth]), (energy, energy * 2.0));
            assert_eq!((flat.cell[nth][2], flat.stress[nth][1]), ([energy, 0.0, 1.0], [energy, 2.0, 1.0]));
        }
        let some = depot.get_many_flat(&keys, Fields::POSITIONS).unwrap();
        assert_eq!((some.positions, some.offsets), (flat.positions.clone(), flat.offsets.clone()));
        assert!(some.types.is_empty() && some.energy.is_empty() && some.cell.is_empty());
    }
}

#[test]
fn a_frame_without_a_field_that_is_asked_for_is_named() {
    let depot = Depot::memory(AtomicFrameCodec::default()).unwrap();
    depot.put("whole", &AtomicFrame::new().positions(vec![[1.0_f32; 3]; 2]).energy(1.0)).unwrap();
    depot.put("bare", &AtomicFrame::new().positions(vec![[1.0_f32; 3]; 2])).unwrap();
    assert!(depot.get_many_flat(&["whole", "bare"], Fields::POSITIONS).is_ok());
    let error = depot.get_many_flat(&["whole", "bare"], Fields::ENERGY).unwrap_err();
    assert!(error.to_string().contains("\"bare\""), "{error}");
    let refused = |error: &vldepot::Error| {
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<CodecError>()).cloned()
    };
    assert_eq!(refused(&error), Some(CodecError::Absent { field: "energy".into() }));
    // One in another precision is another error.
    let doubles = Depot::memory(AtomicFrameCodec::default().with_precision(Precision::F64)).unwrap();
    doubles.put("a", &AtomicFrame::new().positions(vec![[1.0_f64; 3]; 2]).charges(vec![1.0_f64; 2])).unwrap();
    for (field, name) in [(Fields::POSITIONS, "positions"), (Fields::CHARGES, "charges")] {
        let error = doubles.get_many_flat(&["a"], field).unwrap_err();
        let (expected, found) = ("float32".into(), "float64".into());
        assert_eq!(refused(&error), Some(CodecError::Dtype { field: name.into(), expected, found }));
    }
}

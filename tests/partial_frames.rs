//! Fields of large frames, read from parts of their records.
//!
//! They have the same numbers as in the whole frame, whatever is damaged or forged elsewhere.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "test data are small counters that come back exactly"
)]

use std::sync::Arc;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Fields, FlatFrames};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{Codec, CodecError, Depot, ErrorKind, Layout};

const ATOMS: usize = 3000;
const FRAMES: u32 = 12;

/// Numbers that do not compress to nothing.
fn vectors(seed: u32, n: usize) -> Vec<[f32; 3]> {
    let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed * 77) >> 8) as f32;
    (0..n).map(|i| [number(3 * i), number(3 * i + 1), number(3 * i + 2)]).collect()
}

/// Most frames are large, some are small.
fn n_atoms(seed: u32) -> usize {
    if seed % 4 == 3 { 10 } else { ATOMS + seed as usize }
}

fn put(depot: &Depot<AtomicFrameCodec>, seed: u32) {
    let n = n_atoms(seed);
    let frame = AtomicFrame::new()
        .positions(vectors(seed, n))
        .velocities(vectors(seed + 100, n))
        .forces(vectors(seed + 200, n))
        .types((0..n).map(|i| i32::try_from(i % 90).unwrap()).collect::<Vec<_>>())
        .energy(f64::from(seed))
        .cell([[f64::from(seed), 1.0, 2.0]; 3]);
    depot.put(seed, &frame).unwrap();
}

/// A depot of frames. All but the last two are committed.
fn depot(options: Layout) -> Depot<AtomicFrameCodec> {
    let depot = Depot::builder(AtomicFrameCodec::default()).layout(options).memory().unwrap();
    for seed in 0..FRAMES {
        put(&depot, seed);
        if seed == FRAMES - 3 {
            depot.commit().unwrap();
        }
    }
    depot
}

/// Compares the frames of `keys`, read in parts, with whole ones.
fn check(depot: &Depot<AtomicFrameCodec>, keys: &[u32], fields: Fields, flat: &mut FlatFrames) {
    depot.get_many_flat_into(keys, fields, flat).unwrap();
    assert_eq!(flat.len(), keys.len());
    for (nth, &key) in keys.iter().enumerate() {
        let whole = depot.get(key).unwrap();
        let whole = whole.view();
        let atoms = flat.offsets[nth]..flat.offsets[nth + 1];
        let same = |flat: &[[f32; 3]], whole: Option<ndarray::ArrayView2<'_, f32>>| {
            flat.as_flattened() == whole.unwrap().as_slice().unwrap()
        };
        if fields.contains(Fields::POSITIONS) {
            assert!(same(&flat.positions[atoms.clone()], Some(whole.positions())));
        }
        if fields.contains(Fields::VELOCITIES) {
            assert!(same(&flat.velocities[atoms.clone()], whole.velocities()));
        }
        if fields.contains(Fields::FORCES) {
            assert!(same(&flat.forces[atoms.clone()], whole.forces()));
        }
        if fields.contains(Fields::TYPES) {
            assert_eq!(&flat.types[atoms], whole.types().unwrap().as_slice().unwrap());
        }
        if fields.contains(Fields::ENERGY) {
            assert_eq!(Some(flat.energy[nth]), whole.energy());
        }
        if fields.contains(Fields::CELL) {
            assert_eq!(flat.cell[nth].as_flattened(), whole.cell().unwrap().as_slice().unwrap());
        }
    }
}

#[test]
fn parts_of_frames_are_those_of_whole_frames() {
    let small_chunks = || Layout::default().with_chunk_size(1 << 17).with_block_size(8192);
    let all = [
        Layout::balanced(),
        Layout::fast(),
        Layout::uncompressed(),
        small_chunks(),
        small_chunks().with_chunk_size(1 << 16),
    ];
    let sets = [
        Fields::POSITIONS,
        Fields::VELOCITIES,
        Fields::FORCES | Fields::ENERGY | Fields::CELL,
        Fields::TYPES,
        Fields::ENERGY,
        Fields::POSITIONS | Fields::TYPES | Fields::ENERGY,
        Fields::POSITIONS | Fields::VELOCITIES | Fields::FORCES,
    ];
    let backwards: Vec<u32> = (0..FRAMES).rev().collect();
    for options in all {
        let depot = depot(options);
        let mut flat = FlatFrames::new();
        for fields in sets {
            for keys in [&[5, 1, 1, 0, FRAMES - 1, 3, 3][..], &backwards, &[2]] {
                check(&depot, keys, fields, &mut flat);
            }
        }
    }
}

#[test]
fn damage_elsewhere_in_a_frame_costs_nothing_and_damage_here_is_an_error() {
    let options = Layout::default().with_block_size(16 << 10);
    let made = Depot::builder(AtomicFrameCodec::default()).layout(options).memory().unwrap();
    put(&made, 0);
    let good = made.to_bytes().unwrap();
    let expected = made.get_many_flat(&[0], Fields::POSITIONS).unwrap().positions;
    let (mut spared, mut named) = (0, 0);
    // The chunk comes first in the file.
    for at in (4700..good.len() - 8192).step_by(499) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let Ok(depot) = Depot::from_bytes(&bytes, AtomicFrameCodec::default()) else { continue };
        let whole = depot.get(0);
        match depot.get_many_flat(&[0], Fields::POSITIONS) {
            Ok(flat) => {
                assert!(flat.positions == expected, "flip at {at}");
                spared += usize::from(whole.is_err());
            }
            Err(error) => {
                assert!(error.is_damage() && error.to_string().contains("record 0"), "{error}");
                assert!(whole.is_err());
                named += 1;
            }
        }
    }
    assert!(spared > 30 && named > 10, "{spared} flips were elsewhere, {named} here");
}

/// Writes any bytes under the name of the frame codec.
struct Forger;

impl Codec for Forger {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = AtomicFrameCodec::ID;
    const ALIGN: usize = AtomicFrameCodec::ALIGN;

    fn parameters(&self) -> Vec<u8> {
        AtomicFrameCodec::default().parameters()
    }

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }
}

#[test]
fn forged_tables_are_an_error_or_what_they_say() {
    let made = Depot::memory(AtomicFrameCodec::default()).unwrap();
    put(&made, 0);
    let frame = made.get(0).unwrap().as_bytes().to_vec();
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = Layout::fast().with_block_size(4096);
    let forger = Depot::builder(Forger).layout(options).create_in(Arc::clone(&storage)).unwrap();
    let forged: Vec<Vec<u8>> = (0..200)
        .flat_map(|at| [0x01, 0x40, 0x80, 0xff].map(|flip| (at, flip)))
        .map(|(at, flip)| {
            let mut bytes = frame.clone();
            bytes[at] ^= flip;
            bytes
        })
        .chain((0..8).map(|n| vec![[0, 0xff, 0x7f, 0x80, 1, 4, 16, 64][n]; 70_000]))
        .collect();
    for (key, bytes) in (0_u32..).zip(&forged) {
        forger.put(key, bytes).unwrap();
    }
    forger.close().unwrap();
    let depot = Depot::builder(AtomicFrameCodec::default()).open_in(storage).unwrap();
    let (mut same, mut refused) = (0, 0);
    for key in 0..u32::try_from(forged.len()).unwrap() {
        let flat = depot.get_many_flat(&[key], Fields::POSITIONS | Fields::ENERGY);
        match (flat, depot.get(key)) {
            (Ok(flat), Ok(whole)) if whole.view().n_dims() == 3 => {
                assert_eq!(flat.positions.as_flattened(), whole.view().positions().as_slice().unwrap());
                assert!(flat.energy[0].to_bits() == whole.view().energy().unwrap().to_bits());
                same += 1;
            }
            (Err(error), _) if matches!(error.kind(), ErrorKind::Codec { .. }) => refused += 1,
            (Err(error), _) => panic!("{error}"),
            // The forged bytes lie in a field that was not asked for.
            (Ok(_), _) => {}
        }
    }
    assert!(same > 100 && refused > 50, "{same} frames as they say, {refused} refused");
}

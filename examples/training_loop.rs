//! Trains a small model on a depot of molecules.
//!
//! It shows shuffled epochs, batches by number of atoms, a validation set, and a checkpoint in the
//! middle of an epoch. From the checkpoint, a second run continues exactly where the first one died.
//!
//! `cargo run --release --example training_loop`
//!
//! The model is the energy of an isolated atom of each element: `energy = sum over atoms of w[element]`.
//! It is trained by stochastic gradient descent.

#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

use std::path::Path;

use serde::{Deserialize, Serialize};
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Batch, Depot, Loader, LoaderState};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const MOLECULES: u64 = 20_000;
const EPOCHS: u64 = 4;
const ATOMS_PER_BATCH: u64 = 2000;

/// Atomic numbers, and the energies (eV) that the training should find.
const ELEMENTS: [(i32, f64); 4] = [(1, -13.6), (6, -1030.6), (7, -1486.4), (8, -2043.9)];

/// The content of a checkpoint: the model, and where the loader is.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    weights: [f64; 4],
    loader: LoaderState,
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("molecules.vld");
    write_molecules(&path)?;
    let depot = Depot::open(&path, AtomicFrameCodec::default())?;
    let info = depot.info()?;
    println!(
        "{} molecules, {} KB of records in a file of {} KB",
        info.records,
        info.raw_bytes / 1000,
        info.file_bytes / 1000
    );

    // The number of atoms of each record. Finding them takes a pass over all records, so keep them
    // beside the depot.
    let mut atoms = Vec::new();
    for entry in &depot {
        atoms.push(u32::try_from(entry?.1.view().n_atoms())?);
    }

    // Every tenth record is for validation.
    let (validation, training): (Vec<u64>, Vec<u64>) =
        (0..depot.len()).partition(|position| position % 10 == 0);
    let loader = |state: Option<&LoaderState>| {
        let builder = depot
            .loader()
            .positions(training.iter().copied())
            .shuffle(42)
            .window(2 << 20)
            .batch_costs(ATOMS_PER_BATCH, atoms.clone())
            .epochs(EPOCHS);
        match state {
            Some(state) => builder.resume(state),
            None => builder,
        }
        .build()
    };
    let error = |weights: &[f64; 4]| -> Result<f64> {
        let mut sum = 0.0;
        for batch in depot.loader().batch_size(500).positions(validation.iter().copied()).build()? {
            sum += batch?
                .views()
                .map(|frame| residual(weights, &frame).abs() / frame.n_atoms() as f64)
                .sum::<f64>();
        }
        Ok(1000.0 * sum / validation.len() as f64)
    };

    println!("\nwithout interruption:");
    let mut whole = [0.0; 4];
    let n_batches = train(&mut whole, &mut loader(None)?, usize::MAX, error)?;

    let killed_after = n_batches * 2 / 5;
    println!("\nkilled after {killed_after} of {n_batches} batches:");
    let mut weights = [0.0; 4];
    let mut first = loader(None)?;
    train(&mut weights, &mut first, killed_after, error)?;
    let saved = serde_json::to_string(&Checkpoint { weights, loader: first.state() })?;
    drop(first);
    println!("  checkpoint of {} bytes: {}...", saved.len(), &saved[..100]);

    let Checkpoint { mut weights, loader: state } = serde_json::from_str(&saved)?;
    println!("\nresumed at batch {} of epoch {}:", state.next_batch(), state.epoch());
    let rest = train(&mut weights, &mut loader(Some(&state))?, usize::MAX, error)?;

    println!("\nelement  found (eV)  true (eV)");
    for ((element, energy), weight) in ELEMENTS.iter().zip(weights) {
        println!("{element:>7}  {weight:>10.2}  {energy:>9.2}");
    }
    assert_eq!(killed_after + rest, n_batches);
    assert_eq!(weights.map(f64::to_bits), whole.map(f64::to_bits));
    println!("\nThe interrupted training ended with the same weights, to the last bit.");
    Ok(())
}

/// Trains on up to `limit` batches. Returns how many there were.
fn train(
    weights: &mut [f64; 4],
    loader: &mut Loader<AtomicFrameCodec>,
    limit: usize,
    error: impl Fn(&[f64; 4]) -> Result<f64>,
) -> Result<usize> {
    let mut n = 0;
    for batch in loader.take(limit) {
        let batch = batch?;
        step(weights, &batch);
        n += 1;
        if batch.ends_epoch() {
            println!(
                "  epoch {}: {:>3} batches, validation error {:>9.3} meV/atom",
                batch.epoch(),
                batch.number() + 1,
                error(weights)?
            );
        }
    }
    Ok(n)
}

/// The energy of the frame minus that of the model, in eV.
fn residual(weights: &[f64; 4], frame: &vldepot::codecs::AtomicFrameView<'_>) -> f64 {
    let model: f64 = counts(frame).iter().zip(weights).map(|(count, weight)| count * weight).sum();
    frame.energy().unwrap_or(0.0) - model
}

/// The number of atoms of each element.
fn counts(frame: &vldepot::codecs::AtomicFrameView<'_>) -> [f64; 4] {
    let mut counts = [0.0; 4];
    for element in frame.types().into_iter().flatten() {
        if let Some(nth) = ELEMENTS.iter().position(|known| known.0 == *element) {
            counts[nth] += 1.0;
        }
    }
    counts
}

/// One step of gradient descent. Each frame moves the weights so that its own error would shrink by
/// half.
fn step(weights: &mut [f64; 4], batch: &Batch<AtomicFrameCodec>) {
    for frame in batch.views() {
        let (rest, counts) = (residual(weights, &frame), counts(&frame));
        let norm: f64 = counts.iter().map(|count| count * count).sum();
        for (weight, count) in weights.iter_mut().zip(counts) {
            *weight += 0.5 * rest * count / norm.max(1.0);
        }
    }
}

/// Writes molecules of 3 to 30 atoms at random places (nm). Their energy is the sum over their atoms,
/// with a little noise.
fn write_molecules(path: &Path) -> Result<()> {
    let depot = Depot::create(path, AtomicFrameCodec::default())?;
    let mut state = 1_u64;
    let mut below = |n: u64| {
        // SplitMix64 (Steele, Lea, Flood).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    };
    for number in 0..MOLECULES {
        let n_atoms = 3 + below(28);
        let kinds: Vec<_> = (0..n_atoms).map(|_| ELEMENTS[below(4) as usize]).collect();
        let types: Vec<i32> = kinds.iter().map(|kind| kind.0).collect();
        let positions: Vec<[f32; 3]> =
            (0..n_atoms).map(|_| [0; 3].map(|_| below(1000) as f32 * 1e-3)).collect();
        let noise = below(1000) as f64 * 1e-6 - 0.0005;
        let energy = kinds.iter().map(|kind| kind.1).sum::<f64>() + noise;
        depot.put(number, &AtomicFrame::new().positions(&positions).types(&types).energy(energy))?;
    }
    Ok(depot.close()?)
}

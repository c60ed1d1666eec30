//! Columns of scalars: what they cost frames of 100 atoms, and how fast they are read.

use std::time::Instant;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Depot, Layout};
use vldepot_benches::{data, fact, median};

const FRAMES: usize = 200_000;
const ATOMS: usize = 100;
const ROUNDS: usize = 5;
const COLUMNS: [&str; 4] = ["step", "time", "energy", "n_atoms"];

/// Writes the frames to memory. Returns the depot and the seconds that it took.
fn write(positions: &[[f32; 3]], columns: &[&str]) -> (Depot<AtomicFrameCodec>, f64) {
    let layout = Layout::fast().with_columns(columns.iter().copied());
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory().unwrap();
    let start = Instant::now();
    for number in 0..FRAMES {
        let step = i64::try_from(number).unwrap() * 500;
        // As a simulation would have them: no two alike, and all bits in use.
        let energy = (number as f64 * 0.7).sin() * 1e4 - 3e5;
        let frame = AtomicFrame::new()
            .positions(&positions[number % 64 * ATOMS..][..ATOMS])
            .step(step)
            .time(number as f64 * 0.002)
            .energy(energy);
        depot.put(number, &frame).unwrap();
    }
    depot.commit().unwrap();
    (depot, start.elapsed().as_secs_f64())
}

fn main() {
    let noise = data::noise(64 * ATOMS * 12);
    let positions: Vec<[f32; 3]> = noise
        .chunks_exact(12)
        .map(|bytes| std::array::from_fn(|axis| f32::from(bytes[4 * axis]) / 64.0))
        .collect();
    let (mut plain, mut with) = (Vec::new(), Vec::new());
    let mut depots = None;
    for _ in 0..ROUNDS {
        let (without_columns, seconds) = write(&positions, &[]);
        plain.push(seconds);
        let (with_columns, seconds) = write(&positions, &COLUMNS);
        with.push(seconds);
        depots = Some((without_columns, with_columns));
    }
    let (without_columns, with_columns) = depots.unwrap();
    fact("put with four columns, time over that without", format!("{:.2}", median(with) / median(plain)));
    for column in COLUMNS {
        let (depot, _) = write(&positions, &[column]);
        let bytes = |depot: &Depot<AtomicFrameCodec>| depot.info().unwrap().file_bytes as f64;
        let more = (bytes(&depot) - bytes(&without_columns)) / FRAMES as f64;
        fact(&format!("column {column}"), format!("{more:.1} bytes a frame"));
    }
    let read = |depot: &Depot<AtomicFrameCodec>| {
        let times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(depot.column("energy", ..).unwrap().len(), FRAMES);
                start.elapsed().as_secs_f64()
            })
            .collect();
        median(times)
    };
    let columns = read(&with_columns);
    let start = Instant::now();
    let sum: f64 = without_columns.iter().filter_map(|entry| entry.unwrap().1.view().energy()).sum();
    assert!(sum < 0.0);
    let scan = start.elapsed().as_secs_f64();
    fact("a column of 10^6 energies", format!("{:.1} ms", columns / FRAMES as f64 * 1e9));
    fact("reading all frames for it, time over that", format!("{:.0}", scan / columns));
}

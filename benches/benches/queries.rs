//! Queries and statistics: how fast a query on scalars is beside reading the records, and what the statistics of
//! fields cost a put.

use std::time::Instant;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Depot, Layout, WriteOptions};
use vldepot_benches::{data, fact, goal, median};

const RECORDS: usize = 1_000_000;
const ROUNDS: usize = 5;
/// Queries, and how many records of `written` match, about.
const QUERIES: [&str; 5] = [
    "energy < -0.99",
    "energy < 0 and n_atoms <= 3",
    "energy / n_atoms < -0.3 or n_atoms == 5",
    "500000 <= step < 500010",
    "energy > 5",
];

fn seconds<T>(job: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let _ = std::hint::black_box(job());
    start.elapsed().as_secs_f64()
}

/// A file of frames of 1 to 8 atoms with different energies, whose steps go up.
fn written(path: &std::path::Path) {
    let layout = Layout::fast().with_columns(["step", "energy", "n_atoms"]);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(path).unwrap();
    let positions = [[0.125_f32, 0.25, 0.5]; 8];
    for number in 0..RECORDS {
        let frame = AtomicFrame::new()
            .positions(&positions[..1 + number % 8])
            .step(i64::try_from(number).unwrap())
            .energy((number as f64 * 0.7).sin());
        depot.put(number, &frame).unwrap();
    }
    depot.close().unwrap();
}

fn queries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    written(&path);
    let open = || Depot::open(&path, AtomicFrameCodec::new()).unwrap();
    let scan = seconds(|| {
        let energies = open();
        let found = energies.iter().filter(|entry| entry.as_ref().unwrap().1.view().energy() < Some(-0.99));
        found.count()
    });
    fact("reading all 10^6 frames for their energy", format!("{scan:.2} s"));
    for query in QUERIES {
        let mut n = 0;
        let times: Vec<f64> = (0..ROUNDS)
            .map(|_| seconds(|| n = open().select(query).unwrap().map(Result::unwrap).count()))
            .collect();
        let time = median(times);
        fact(&format!("open, and `{query}`"), format!("{:.1} ms, {n} found", time * 1e3));
        goal(&format!("`{query}`, time over that of reading all frames"), time / scan, "times", 0.5);
    }
    let times: Vec<f64> = (0..ROUNDS).map(|_| seconds(|| open().statistics().unwrap())).collect();
    fact("open, and statistics of 10^6 frames", format!("{:.1} ms", median(times) * 1e3));
}

/// Puts frames of so many atoms, with or without statistics.
fn put(atoms: usize, layout: &Layout, statistics: bool) -> f64 {
    let frames = (20_000_000 / (atoms * 24)).max(200);
    let noise = data::noise(64 * atoms * 12);
    let positions: Vec<[f32; 3]> = noise
        .chunks_exact(12)
        .map(|bytes| std::array::from_fn(|axis| f32::from(bytes[4 * axis]) / 64.0))
        .collect();
    let layout = layout.clone().with_statistics(statistics);
    let write = WriteOptions::default();
    seconds(|| {
        let depot =
            Depot::builder(AtomicFrameCodec::new()).layout(layout).write_options(write).memory().unwrap();
        for number in 0..frames {
            let part = &positions[number % 64 * atoms..][..atoms];
            let frame = AtomicFrame::new().positions(part).forces(part).energy(number as f64);
            depot.put(number, &frame).unwrap();
        }
        depot.commit().unwrap();
    })
}

fn main() {
    println!("\nstatistics: time of putting frames, over that without them");
    for (name, layout) in
        [("zstd", Layout::balanced()), ("LZ4", Layout::fast()), ("no compression", Layout::uncompressed())]
    {
        for atoms in [10, 100, 10_000] {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for _ in 0..2 * ROUNDS + 1 {
                without.push(put(atoms, &layout, false));
                with.push(put(atoms, &layout, true));
            }
            fact(&format!("{name}, {atoms} atoms"), format!("{:.3}", median(with) / median(without)));
        }
    }
    println!("\nqueries on a file of 10^6 frames");
    queries();
}

//! Two kinds of records: few large ones, many small ones.

#[allow(dead_code, unreachable_pub, clippy::needless_range_loop, reason = "written for the example")]
#[path = "../../examples/lennard_jones/simulation.rs"]
mod simulation;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Codec, CompressionCodec, Depot, WriteOptions};

use crate::blosc::Chunks;
use simulation::Simulation;

pub const ATOMS: usize = 5000;
pub const FRAMES: usize = 100;
pub const MOLECULES: usize = 100_000;

/// One frame of a simulation.
pub struct Frame {
    pub name: String,
    positions: Vec<[f32; 3]>,
    velocities: Vec<[f32; 3]>,
    forces: Vec<[f32; 3]>,
    energy: f64,
    edge: f64,
    step: i64,
    time: f64,
}

impl Frame {
    pub fn item(&self) -> AtomicFrame<'_> {
        let edge = self.edge;
        AtomicFrame::new()
            .positions(&self.positions)
            .velocities(&self.velocities)
            .forces(&self.forces)
            .cell([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]])
            .pbc([true; 3])
            .energy(self.energy)
            .step(self.step)
            .time(self.time)
    }
}

/// [`FRAMES`] frames of liquid argon: the first [`ATOMS`] atoms of the example's simulation.
pub fn frames() -> Vec<Frame> {
    let mut fluid = Simulation::new(ATOMS + 300, 180.0, 0.004, 1);
    fluid.advance(100);
    let singles = |vectors: &[[f64; 3]]| vectors[..ATOMS].iter().map(|v| v.map(|x| x as f32)).collect();
    (0..FRAMES)
        .map(|number| {
            fluid.advance(3);
            Frame {
                name: format!("frame_{number:06}"),
                positions: singles(&fluid.wrapped()),
                velocities: singles(&fluid.velocities),
                forces: singles(&fluid.forces),
                energy: fluid.potential,
                edge: fluid.edge,
                step: fluid.step as i64,
                time: fluid.time(),
            }
        })
        .collect()
}

/// A small record, and its name.
pub struct Molecule {
    pub name: String,
    /// The energy, the cell (9) and the stress (9) as f64, then positions and forces as f32, then atomic
    /// numbers as u8.
    pub bytes: Vec<u8>,
}

/// `n` molecules of 10 to 120 atoms: chains with bonds of 0.10 to 0.15 nm and forces of 50 kJ/mol/nm.
///
/// All bits of every number are random, as in a computed one. Real molecules compress no worse.
pub fn molecules(n: usize) -> Vec<Molecule> {
    let mut random = simulation::Random(2);
    (0..n)
        .map(|number| {
            let n_atoms = 10 + random.below(111);
            let mut bytes = Vec::with_capacity(152 + 25 * n_atoms);
            let mut double = |x: f64| bytes.extend_from_slice(&x.to_le_bytes());
            double(-2500.0 * n_atoms as f64 * (1.0 + 0.01 * random.normal()));
            let edge = 2.0 + random.uniform();
            (0..9).for_each(|i| double(if i % 4 == 0 { edge } else { 0.0 }));
            let stress = [0; 6].map(|_| 100.0 * random.normal());
            [0, 1, 2, 1, 3, 4, 2, 4, 5].into_iter().for_each(|component| double(stress[component]));
            let mut single = |x: f64| bytes.extend_from_slice(&(x as f32).to_le_bytes());
            let mut at = [0.5 * edge; 3];
            for _ in 0..n_atoms {
                let way = [0; 3].map(|_| random.normal());
                let bond = (0.10 + 0.05 * random.uniform()) / way.map(|x| x * x).iter().sum::<f64>().sqrt();
                for axis in 0..3 {
                    at[axis] += bond * way[axis];
                    single(at[axis]);
                }
            }
            (0..3 * n_atoms).for_each(|_| single(50.0 * random.normal()));
            bytes.extend((0..n_atoms).map(|_| [1_u8, 1, 1, 1, 6, 6, 6, 7, 8, 16][random.below(10)]));
            Molecule { name: format!("mol_{number:06}"), bytes }
        })
        .collect()
}

/// `n` random numbers below `below`, the same each time.
pub fn numbers(n: usize, below: usize) -> Vec<usize> {
    let mut random = simulation::Random(3);
    (0..n).map(|_| random.below(below)).collect()
}

/// Random bytes that do not compress.
pub fn noise(len: usize) -> Vec<u8> {
    let mut random = simulation::Random(4);
    (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(len).collect()
}

/// Puts all frames.
pub fn put_frames(depot: &Depot<AtomicFrameCodec>, frames: &[Frame]) {
    frames.iter().for_each(|frame| depot.put(&frame.name, &frame.item()).unwrap());
}

/// Puts all molecules.
pub fn put_molecules(depot: &Depot<vldepot::Raw>, molecules: &[Molecule]) {
    molecules.iter().for_each(|molecule| depot.put(&molecule.name, &molecule.bytes).unwrap());
}

/// Puts all molecules. Each of `threads` threads puts its share.
pub fn put_molecules_on(threads: usize, depot: &vldepot::Depot<vldepot::Raw>, molecules: &[Molecule]) {
    std::thread::scope(|scope| {
        for share in molecules.chunks(molecules.len().div_ceil(threads)) {
            scope.spawn(move || put_molecules(depot, share));
        }
    });
}

/// The raw chunks that a depot makes of its records, byte for byte, and where each record lies in them.
///
/// The depot's own parameters are used.
pub fn chunks<C: Codec>(depot: &Depot<C>) -> Chunks {
    depot.commit().unwrap();
    let info = depot.info().unwrap();
    let size = info.layout.chunk_size;
    // The rule is in the docs of `Layout::block_size`.
    let small = info.raw_bytes / info.records < 4096;
    let small_block = match info.layout.compression.codec {
        CompressionCodec::Lz4 | CompressionCodec::Lz4hc | CompressionCodec::Blosclz => 2 << 10,
        _ => 16 << 10,
    };
    let block_size = info.layout.block_size.unwrap_or(if small { small_block } else { 64 << 10 });
    let mut chunks = Chunks::new(info.layout.compression, block_size, size);
    for entry in depot.iter() {
        let (name, record) = entry.unwrap();
        let place = depot.location(&name).unwrap();
        chunks.place(place.chunk as usize, place.offset as usize, record.as_bytes());
    }
    chunks
}

/// Options that compress inside `put`. They use one thread, like Blosc2 alone.
pub fn one_thread() -> WriteOptions {
    WriteOptions::default().with_threads(0)
}

//! The records: some kinds, made and encoded once. Every engine gets the same bytes.
//!
//! ```text
//! a   molecules   10 to 120 atoms: numbers u8, positions and forces f32, energy, cell and stress f64
//! ap  packed      the same molecules: these arrays behind each other, without a codec
//! b   frames      5000 atoms of liquid argon: positions, velocities, forces f32, and a few numbers
//! c   small       16 f32, 64 bytes
//! d   organic     13 to 110 atoms: see `organic.rs`
//! dp  packed      the same molecules, packed
//! ```
//!
//! They lie in one file, which this process and its children map. So what an engine allocates can be
//! told apart from the records:
//!
//! ```text
//! u64 records, u64 payload bytes | u64 start, u64 length, for each record | records, each at a multiple of 16
//! ```
//!
//! Records of `a`, `b` and `d` are atomic frames as the codec encodes them. *Payload* is what a user would
//! count: the bytes of the arrays and numbers, without what the codec adds. Ratios of size and MB/s
//! refer to the payload.

#[allow(dead_code, unreachable_pub, clippy::pedantic, reason = "written for the example")]
#[path = "../../../examples/lennard_jones/simulation.rs"]
mod simulation;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use memmap2::Mmap;
use vldepot::Codec;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};

use crate::{Result, organic};
pub(crate) use simulation::Random;
use simulation::Simulation;

const HEAD: usize = 16;
const ENTRY: usize = 16;
const FRAME_ATOMS: usize = 5000;
const SMALL_FLOATS: usize = 16;

/// A kind of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Molecules,
    MoleculesPacked,
    Frames,
    Small,
    Organic,
    OrganicPacked,
}

/// In a quick run, the records of a workload have at least this many bytes for each byte of the last cache.
const OVER_CACHE: u64 = 2;

impl Workload {
    pub(crate) const ALL: [Self; 6] = [
        Self::Molecules,
        Self::MoleculesPacked,
        Self::Frames,
        Self::Small,
        Self::Organic,
        Self::OrganicPacked,
    ];

    /// The letters for it on the command line.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Molecules => "a",
            Self::MoleculesPacked => "ap",
            Self::Frames => "b",
            Self::Small => "c",
            Self::Organic => "d",
            Self::OrganicPacked => "dp",
        }
    }

    pub(crate) fn parse(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.letter() == letter)
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Molecules => "molecules of 10 to 120 atoms, as atomic frames",
            Self::MoleculesPacked => "the molecules of a, packed: their arrays behind each other",
            Self::Frames => "frames of 5000 atoms",
            Self::Small => "records of 64 bytes",
            Self::Organic => "organic molecules with bonds and spring forces, shuffled, as atomic frames",
            Self::OrganicPacked => "the molecules of d, packed",
        }
    }

    /// How many records there are. They are larger than the last cache, or a quick run would measure that.
    pub(crate) fn records(self, quick: bool) -> usize {
        let quick_of = |bytes: u64| ((OVER_CACHE * crate::system::last_cache()) / bytes) as usize;
        match (self, quick) {
            (Self::Frames, true) => quick_of(180_000),
            (Self::Frames, false) => quick_of(180_000).max(400),
            (Self::Small, true) => quick_of(64),
            (Self::Small, false) => 10_000_000,
            (_, true) => quick_of(1_600),
            (_, false) => 100_000,
        }
    }

    /// Records in a batch of training: about half a megabyte, or a few frames.
    pub(crate) fn batch(self) -> usize {
        if self == Self::Frames { 8 } else { 256 }
    }

    /// Of packed molecules, the bytes of a record before its arrays.
    pub(crate) fn packed_head(self) -> Option<usize> {
        match self {
            Self::MoleculesPacked => Some(8 * (1 + 9 + 9)),
            Self::OrganicPacked => Some(8),
            _ => None,
        }
    }

    /// Whether its records are atomic frames.
    pub(crate) fn is_atomic(self) -> bool {
        matches!(self, Self::Molecules | Self::Frames | Self::Organic)
    }
}

/// A record's name, on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; Self::PREFIX.len() + Self::DIGITS],
}

impl Name {
    const PREFIX: &'static [u8] = b"record_";
    const DIGITS: usize = 8;

    pub(crate) fn new(mut number: usize) -> Self {
        let mut bytes = [0; Self::PREFIX.len() + Self::DIGITS];
        let (prefix, digits) = bytes.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(Self::PREFIX);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        Self { bytes }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("made of ASCII")
    }
}

/// All records of a workload.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) workload: Workload,
    map: Mmap,
    /// How many records the file has.
    distinct: usize,
    /// How many records are handed out. Those of the file repeat.
    len: usize,
    /// The mean number of bytes of a record's arrays and numbers.
    pub(crate) mean_payload: f64,
}

impl Load {
    /// The records of `workload`, from the file in `directory`. The file is made when it is first
    /// needed.
    pub(crate) fn open(workload: Workload, quick: bool, directory: &Path) -> Result<Self> {
        Self::of(workload, workload.records(quick), directory)
    }

    /// Like [`open`](Self::open), but with a given number of records.
    pub(crate) fn of(workload: Workload, records: usize, directory: &Path) -> Result<Self> {
        let path = directory.join(format!("{}-{records}.records", workload.letter()));
        if !path.exists() {
            let unfinished = path.with_extension("unfinished");
            make(workload, records, &unfinished)?;
            std::fs::rename(&unfinished, &path)?;
        }
        let file = File::open(&path)?;
        // SAFETY: nobody writes to the file once it has its name.
        let map = unsafe { Mmap::map(&file)? };
        let head: &[u64] = bytemuck::cast_slice(&map[..HEAD]);
        let (stored, payload) = (head[0] as usize, head[1]);
        if stored != records {
            return Err(format!("{}: {stored} records, not {records}; remove it", path.display()).into());
        }
        let mean_payload = payload as f64 / records as f64;
        Ok(Self { workload, map, distinct: records, len: records, mean_payload })
    }

    /// The same records `times` times, under new names.
    pub(crate) fn repeated(mut self, times: usize) -> Self {
        self.len = self.distinct * times;
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes of record `number`, which start at a multiple of 16.
    pub(crate) fn record(&self, number: usize) -> &[u8] {
        let number = if number < self.distinct { number } else { number % self.distinct };
        let at = HEAD + number * ENTRY;
        let entry: &[u64] = bytemuck::cast_slice(&self.map[at..at + ENTRY]);
        let (start, len) = (entry[0] as usize, entry[1] as usize);
        &self.map[start..start + len]
    }

    /// Number, name and bytes of all records, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, Name, &[u8])> {
        (0..self.len).map(|number| (number, Name::new(number), self.record(number)))
    }

    /// The mean bytes of a record.
    pub(crate) fn mean_bytes(&self) -> usize {
        self.record_bytes() as usize / self.len.max(1)
    }

    /// The total bytes of all records.
    pub(crate) fn record_bytes(&self) -> u64 {
        (0..self.len).map(|number| self.record(number).len() as u64).sum()
    }

    /// The records in the form that `put` of the codec takes. They borrow the records' bytes.
    pub(crate) fn frames(&self) -> Result<Vec<AtomicFrame<'_>>> {
        let codec = AtomicFrameCodec::default();
        let frame = |number| Ok(codec.view(self.record(number))?.to_frame()?);
        (0..self.len).map(frame).collect()
    }
}

/// Touches bytes in the same way for every engine: adds up a number from every cache line of a record.
pub(crate) fn touch(bytes: &[u8]) -> u64 {
    let first = |line: &[u8]| line.first_chunk().map_or(0, |&word| u64::from_le_bytes(word));
    bytes.chunks(64).fold(0, |sum, line| sum.wrapping_add(first(line)))
}

/// `n` random numbers below `below`, the same each time.
pub(crate) fn numbers(n: usize, below: usize, seed: u64) -> Vec<usize> {
    let mut random = Random(seed);
    (0..n).map(|_| random.below(below)).collect()
}

/// The first `n` numbers of a shuffled `0..below`.
pub(crate) fn shuffled(n: usize, below: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    let mut all: Vec<u32> = (0..below as u32).collect();
    for at in 0..n.min(below) {
        let other = at + random.below(below - at);
        all.swap(at, other);
    }
    all.truncate(n);
    all
}

/// The bytes of a group and of a window of the loader, by default.
const GROUP: usize = 1 << 20;
pub(crate) const WINDOW: usize = 64 << 20;

/// The first `n` records in an order like that of the loader's windows: groups of neighbours come in a
/// shuffled order, and the records of so many groups as a window has are shuffled among each other.
pub(crate) fn windowed(n: usize, below: usize, mean_bytes: usize, seed: u64) -> Vec<u32> {
    let of_group = (GROUP / mean_bytes.max(1)).max(1);
    let groups = shuffled(usize::MAX, below.div_ceil(of_group), seed);
    let mut order = Vec::with_capacity(below);
    for (nth, window) in groups.chunks(WINDOW / GROUP).enumerate() {
        let records = window.iter().flat_map(|&group| {
            let first = group as usize * of_group;
            (first..below.min(first + of_group)).map(|record| record as u32)
        });
        let records: Vec<u32> = records.collect();
        let places = shuffled(usize::MAX, records.len(), seed ^ (nth as u64 + 1));
        order.extend(places.into_iter().map(|place| records[place as usize]));
    }
    order.truncate(n);
    order
}

/// Writes the file of records.
struct Maker {
    entries: Vec<[u64; 2]>,
    out: BufWriter<File>,
    at: u64,
    payload: u64,
}

impl Maker {
    fn add(&mut self, bytes: &[u8], payload: usize) -> Result<()> {
        self.entries.push([self.at, bytes.len() as u64]);
        self.payload += payload as u64;
        let padded = bytes.len().next_multiple_of(16);
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 16][..padded - bytes.len()])?;
        self.at += padded as u64;
        Ok(())
    }
}

fn make(workload: Workload, records: usize, path: &Path) -> Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let at = (HEAD + ENTRY * records) as u64;
    out.seek(SeekFrom::Start(at))?;
    let mut maker = Maker { entries: Vec::with_capacity(records), out, at, payload: 0 };
    match workload {
        Workload::Molecules => make_molecules(records, &mut maker, false)?,
        Workload::MoleculesPacked => make_molecules(records, &mut maker, true)?,
        Workload::Organic => make_organic(records, &mut maker, false)?,
        Workload::OrganicPacked => make_organic(records, &mut maker, true)?,
        Workload::Frames => make_frames(records, &mut maker)?,
        Workload::Small => make_small(records, &mut maker)?,
    }
    let Maker { entries, mut out, payload, .. } = maker;
    out.seek(SeekFrom::Start(0))?;
    out.write_all(bytemuck::cast_slice(&[records as u64, payload]))?;
    out.write_all(bytemuck::cast_slice(&entries))?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Makes chains with bonds of 0.10 to 0.15 nm and forces of 50 kJ/mol/nm.
///
/// All bits of every number are random, as in a computed one.
fn make_molecules(records: usize, maker: &mut Maker, packed: bool) -> Result<()> {
    let codec = AtomicFrameCodec::default();
    let mut random = Random(2);
    let (mut positions, mut forces, mut numbers, mut record) = (vec![], vec![], vec![], vec![]);
    for _ in 0..records {
        let n_atoms = 10 + random.below(111);
        let energy = -2500.0 * n_atoms as f64 * (1.0 + 0.01 * random.normal());
        let edge = 2.0 + random.uniform();
        let s = [0; 6].map(|_| 100.0 * random.normal());
        let stress = [[s[0], s[1], s[2]], [s[1], s[3], s[4]], [s[2], s[4], s[5]]];
        let mut at = [0.5 * edge; 3];
        positions.clear();
        for _ in 0..n_atoms {
            let way = [0; 3].map(|_| random.normal());
            let bond = (0.10 + 0.05 * random.uniform()) / way.map(|x| x * x).iter().sum::<f64>().sqrt();
            for axis in 0..3 {
                at[axis] += bond * way[axis];
            }
            positions.push(at.map(|x| x as f32));
        }
        forces.clear();
        forces.extend((0..n_atoms).map(|_| [0; 3].map(|_| (50.0 * random.normal()) as f32)));
        numbers.clear();
        numbers.extend((0..n_atoms).map(|_| [1_u8, 1, 1, 1, 6, 6, 6, 7, 8, 16][random.below(10)]));
        let cell = [[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]];
        record.clear();
        if packed {
            record.extend_from_slice(bytemuck::bytes_of(&energy));
            record.extend_from_slice(bytemuck::cast_slice(&cell));
            record.extend_from_slice(bytemuck::cast_slice(&stress));
            pack(&mut record, &positions, &forces, &numbers);
        } else {
            let frame = AtomicFrame::new()
                .positions(&positions)
                .forces(&forces)
                .per_atom("numbers", &numbers)
                .cell(cell)
                .energy(energy)
                .stress(stress);
            codec.encode(&frame, &mut record)?;
        }
        maker.add(&record, 25 * n_atoms + 8 * (1 + 9 + 9))?;
    }
    Ok(())
}

/// The arrays of a molecule behind each other.
fn pack(record: &mut Vec<u8>, positions: &[[f32; 3]], forces: &[[f32; 3]], numbers: &[u8]) {
    record.extend_from_slice(bytemuck::cast_slice(positions));
    record.extend_from_slice(bytemuck::cast_slice(forces));
    record.extend_from_slice(numbers);
}

/// Makes organic molecules. Frames have the atomic numbers as `types`, of 4 bytes; the payload counts one.
fn make_organic(records: usize, maker: &mut Maker, packed: bool) -> Result<()> {
    let codec = AtomicFrameCodec::default();
    let mut record = vec![];
    organic::geometries(records, |one| {
        record.clear();
        if packed {
            record.extend_from_slice(bytemuck::bytes_of(&one.energy));
            pack(&mut record, &one.positions, &one.forces, one.numbers);
        } else {
            let types: Vec<i32> = one.numbers.iter().map(|&number| number.into()).collect();
            let frame = AtomicFrame::new()
                .positions(&one.positions)
                .forces(&one.forces)
                .types(&types)
                .energy(one.energy);
            codec.encode(&frame, &mut record)?;
        }
        maker.add(&record, 25 * one.numbers.len() + 8)
    })
}

/// Makes frames of the first [`FRAME_ATOMS`] atoms of the example's simulation.
fn make_frames(records: usize, maker: &mut Maker) -> Result<()> {
    let codec = AtomicFrameCodec::default();
    let mut fluid = Simulation::new(FRAME_ATOMS + 300, 180.0, 0.004, 1);
    fluid.advance(100);
    let singles = |vectors: &[[f64; 3]]| -> Vec<[f32; 3]> {
        vectors[..FRAME_ATOMS].iter().map(|v| v.map(|x| x as f32)).collect()
    };
    let mut record = vec![];
    for _ in 0..records {
        fluid.advance(3);
        let (positions, velocities) = (singles(&fluid.wrapped()), singles(&fluid.velocities));
        let (forces, edge) = (singles(&fluid.forces), fluid.edge);
        let frame = AtomicFrame::new()
            .positions(&positions)
            .velocities(&velocities)
            .forces(&forces)
            .cell([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]])
            .pbc([true; 3])
            .energy(fluid.potential)
            .step(i64::try_from(fluid.step)?)
            .time(fluid.time());
        record.clear();
        codec.encode(&frame, &mut record)?;
        maker.add(&record, 36 * FRAME_ATOMS + 8 * (9 + 3) + 3)?;
    }
    Ok(())
}

/// Makes records like those of a descriptor or an embedding: normal numbers of one scale.
fn make_small(records: usize, maker: &mut Maker) -> Result<()> {
    let mut random = Random(5);
    for _ in 0..records {
        let floats = [0; SMALL_FLOATS].map(|_| random.normal() as f32);
        maker.add(bytemuck::cast_slice(&floats), size_of_val(&floats))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_windows_has_every_record_once_and_shuffles_it_within_its_window() {
        let (n, mean) = (200_000, 2000);
        let order = windowed(n, n, mean, 3);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..n as u32));
        let groups = |records: &[u32]| {
            let mut groups: Vec<u32> = records.iter().map(|record| record / (GROUP / mean) as u32).collect();
            groups.sort_unstable();
            groups.dedup();
            groups.len()
        };
        let of_window = WINDOW / GROUP * (GROUP / mean);
        assert!(groups(&order[..of_window]) <= WINDOW / GROUP + 1);
        assert!(groups(&order[..1000]) > WINDOW / GROUP / 2);
        assert_eq!(windowed(10, n, mean, 3), order[..10]);
    }

    #[test]
    fn packed_molecules_are_those_of_the_frames() {
        let folder = tempfile::tempdir().unwrap();
        let pairs =
            [(Workload::Molecules, Workload::MoleculesPacked), (Workload::Organic, Workload::OrganicPacked)];
        for (framed, packed) in pairs {
            let framed = Load::of(framed, 300, folder.path()).unwrap();
            let packed = Load::of(packed, 300, folder.path()).unwrap();
            assert!((framed.mean_payload - packed.mean_payload).abs() < 1e-9);
            let codec = AtomicFrameCodec::default();
            for number in 0..300 {
                let view = codec.view(framed.record(number)).unwrap();
                let positions = view.positions();
                let bytes: &[u8] = bytemuck::cast_slice(positions.as_slice().unwrap());
                let first = packed.record(number).len() - 25 * view.n_atoms();
                assert_eq!(&packed.record(number)[first..][..bytes.len()], bytes);
            }
            assert_eq!(packed.record_bytes(), (packed.mean_payload * 300.0).round() as u64);
        }
    }
}

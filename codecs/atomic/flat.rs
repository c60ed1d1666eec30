//! Many frames as a few long arrays, the form in which training code wants them.
//!
//! ```text
//! offsets     0        3              8        10         frame i has the atoms offsets[i]..offsets[i + 1]
//! positions   [x y z]  [x y z] [x y z] ...                [sum n, 3], the frames' atoms one after the other
//! energy      e0       e1             e2                  [frames]
//! ```

use super::partial::PartialReader;
use super::{AtomicFrameCodec, AtomicFrameView};
use crate::codec::CodecError;
use crate::depot::Depot;
use crate::error::Result;
use crate::key::AsKey;

/// Fields to read: any of them, joined by `|`.
///
/// ```
/// use vldepot::codecs::Fields;
/// let fields = Fields::POSITIONS | Fields::TYPES | Fields::ENERGY;
/// assert!(fields.contains(Fields::TYPES) && !fields.contains(Fields::FORCES));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields(u16);

impl Fields {
    /// `[sum n, 3]`
    pub const POSITIONS: Self = Self(1);
    /// `[sum n, 3]`
    pub const VELOCITIES: Self = Self(2);
    /// `[sum n, 3]`
    pub const FORCES: Self = Self(4);
    /// `[sum n]`
    pub const CHARGES: Self = Self(8);
    /// `[sum n]`
    pub const TYPES: Self = Self(16);
    /// `[sum n]`
    pub const MASSES: Self = Self(32);
    /// `[frames]`
    pub const ENERGY: Self = Self(64);
    /// `[frames]`
    pub const TIME: Self = Self(128);
    /// `[frames, 3, 3]`
    pub const CELL: Self = Self(256);
    /// `[frames, 3, 3]`
    pub const STRESS: Self = Self(512);

    /// Whether all of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Fields {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Arrays of many frames, one frame behind the other, in the order of the request. Those that were not asked for are empty.
///
/// Units and shapes are those of [`AtomicFrameView`]'s accessors. Kept and used again, it allocates nothing once it is large
/// enough.
#[derive(Debug, Clone, Default)]
pub struct FlatFrames {
    /// `[frames + 1]`: frame `i` has the atoms `offsets[i]..offsets[i + 1]` of the arrays by atom.
    pub offsets: Vec<usize>,
    /// `[sum n, 3]` in nm.
    pub positions: Vec<[f32; 3]>,
    /// `[sum n, 3]` in nm/ps.
    pub velocities: Vec<[f32; 3]>,
    /// `[sum n, 3]` in kJ/mol/nm.
    pub forces: Vec<[f32; 3]>,
    /// `[sum n]` in e.
    pub charges: Vec<f32>,
    /// `[sum n]` atomic numbers or type ids.
    pub types: Vec<i32>,
    /// `[sum n]` in u.
    pub masses: Vec<f32>,
    /// `[frames]` in kJ/mol.
    pub energy: Vec<f64>,
    /// `[frames]` in ps.
    pub time: Vec<f64>,
    /// `[frames, 3, 3]`, one lattice vector a row, in nm.
    pub cell: Vec<[[f64; 3]; 3]>,
    /// `[frames, 3, 3]` in bar.
    pub stress: Vec<[[f64; 3]; 3]>,
    /// The same in the order in which the frames are stored, on their way to the one asked for.
    stored: Option<Box<FlatFrames>>,
}

impl FlatFrames {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.positions.clear();
        self.velocities.clear();
        self.forces.clear();
        self.charges.clear();
        self.types.clear();
        self.masses.clear();
        self.energy.clear();
        self.time.clear();
        self.cell.clear();
        self.stress.clear();
    }

    /// Appends a frame's fields.
    fn push(&mut self, frame: &AtomicFrameView<'_>, fields: Fields) -> Result<(), CodecError> {
        let n = frame.n_atoms();
        let absent = |field: &str| CodecError::invalid(format!("the frame has no {field} as asked for"));
        if frame.n_dims() != 3 && n > 0 {
            return Err(CodecError::shape("positions", &[n, 3], &[n, frame.n_dims()]));
        }
        let vectors = |field, name, array: Option<ndarray::ArrayView2<'_, f32>>, out: &mut Vec<_>| {
            if !fields.contains(field) {
                return Ok(());
            }
            let numbers = array.as_ref().and_then(|array| array.as_slice());
            let (rows, _) = numbers.ok_or_else(|| absent(name))?.as_chunks::<3>();
            if rows.len() != n {
                return Err(absent(name));
            }
            out.extend_from_slice(rows);
            Ok(())
        };
        let positions = (n == 0 || frame.positions().nrows() == n).then(|| frame.positions());
        vectors(Fields::POSITIONS, "positions in f32", positions, &mut self.positions)?;
        vectors(Fields::VELOCITIES, "velocities in f32", frame.velocities(), &mut self.velocities)?;
        vectors(Fields::FORCES, "forces in f32", frame.forces(), &mut self.forces)?;
        numbers(fields, Fields::CHARGES, "charges in f32", frame.charges(), &mut self.charges)?;
        numbers(fields, Fields::TYPES, "types", frame.types(), &mut self.types)?;
        numbers(fields, Fields::MASSES, "masses", frame.masses(), &mut self.masses)?;
        if fields.contains(Fields::ENERGY) {
            self.energy.push(frame.energy().ok_or_else(|| absent("energy"))?);
        }
        if fields.contains(Fields::TIME) {
            self.time.push(frame.time().ok_or_else(|| absent("time"))?);
        }
        if fields.contains(Fields::CELL) {
            self.cell.push(frame.cell().and_then(|cell| matrix(&cell)).ok_or_else(|| absent("cell"))?);
        }
        if fields.contains(Fields::STRESS) {
            let stress = frame.stress().and_then(|stress| matrix(&stress));
            self.stress.push(stress.ok_or_else(|| absent("stress"))?);
        }
        self.offsets.push(self.offsets.last().copied().unwrap_or(0) + n);
        Ok(())
    }

    /// Drops what is behind the first `len` frames.
    pub(super) fn truncate(&mut self, len: usize) {
        let n_atoms = self.offsets.get(len).copied().unwrap_or(0);
        self.offsets.truncate(len + 1);
        self.positions.truncate(n_atoms);
        self.velocities.truncate(n_atoms);
        self.forces.truncate(n_atoms);
        self.charges.truncate(n_atoms);
        self.types.truncate(n_atoms);
        self.masses.truncate(n_atoms);
        self.energy.truncate(len);
        self.time.truncate(len);
        self.cell.truncate(len);
        self.stress.truncate(len);
    }

    /// Appends frame `nth` of another one.
    fn push_from(&mut self, other: &Self, nth: usize) {
        let atoms = other.offsets[nth]..other.offsets[nth + 1];
        append(&mut self.positions, &other.positions, &atoms);
        append(&mut self.velocities, &other.velocities, &atoms);
        append(&mut self.forces, &other.forces, &atoms);
        append(&mut self.charges, &other.charges, &atoms);
        append(&mut self.types, &other.types, &atoms);
        append(&mut self.masses, &other.masses, &atoms);
        append(&mut self.energy, &other.energy, &(nth..nth + 1));
        append(&mut self.time, &other.time, &(nth..nth + 1));
        append(&mut self.cell, &other.cell, &(nth..nth + 1));
        append(&mut self.stress, &other.stress, &(nth..nth + 1));
        self.offsets.push(self.offsets.last().copied().unwrap_or(0) + atoms.len());
    }
}

fn numbers<T: Copy>(
    fields: Fields,
    field: Fields,
    name: &str,
    array: Option<ndarray::ArrayView1<'_, T>>,
    out: &mut Vec<T>,
) -> Result<(), CodecError> {
    if fields.contains(field) {
        let numbers = array.as_ref().and_then(|array| array.as_slice());
        let absent = || CodecError::invalid(format!("the frame has no {name} as asked for"));
        out.extend_from_slice(numbers.ok_or_else(absent)?);
    }
    Ok(())
}

fn matrix(array: &ndarray::ArrayView2<'_, f64>) -> Option<[[f64; 3]; 3]> {
    let (rows, _) = array.as_slice()?.as_chunks::<3>();
    rows.try_into().ok()
}

fn append<T: Copy>(to: &mut Vec<T>, from: &[T], range: &std::ops::Range<usize>) {
    // An array that was not asked for is empty.
    to.extend_from_slice(from.get(range.clone()).unwrap_or_default());
}

impl Depot<AtomicFrameCodec> {
    /// Frames as a few long arrays, in the order of `keys`, duplicates included. Every block they touch is decoded once,
    /// and nothing is allocated for a frame.
    ///
    /// Of large frames (64 KiB and more) only the blocks are decoded that hold the fields, where these are less than 70 % of the
    /// frame: positions alone, where velocities and forces are stored beside them, are read 1.7 times as fast (frames of 180 KB in
    /// blocks of 64 KiB). Then the checksums of these blocks vouch for what is read; the frame's own checksum, which covers all
    /// of it, is not compared, and a block that two such frames share is decoded for each.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Fields};
    ///
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// depot.put("a", &AtomicFrame::new().positions(&vec![[1.0_f32; 3]; 2]).energy(-1.0))?;
    /// depot.put("b", &AtomicFrame::new().positions(&vec![[2.0_f32; 3]; 3]).energy(-2.0))?;
    /// let flat = depot.get_many_flat(&["b", "a"], Fields::POSITIONS | Fields::ENERGY)?;
    /// assert_eq!(flat.offsets, [0, 3, 5]);
    /// assert_eq!(flat.positions[2..4], [[2.0; 3], [1.0; 3]]);
    /// assert_eq!(flat.energy, [-2.0, -1.0]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_many`](Depot::get_many), and [`ErrorKind::Codec`](crate::ErrorKind::Codec) when a frame lacks a field that was asked for, or has it in
    /// another precision than f32.
    pub fn get_many_flat<K: AsKey>(&self, keys: &[K], fields: Fields) -> Result<FlatFrames> {
        let mut out = FlatFrames::default();
        self.get_many_flat_into(keys, fields, &mut out)?;
        out.stored = None;
        Ok(out)
    }

    /// As [`get_many_flat`](Depot::get_many_flat), into arrays that are used again; what they held is replaced.
    ///
    /// # Errors
    /// As [`get_many_flat`](Depot::get_many_flat); the arrays are then of no use.
    pub fn get_many_flat_into<K: AsKey>(
        &self,
        keys: &[K],
        fields: Fields,
        out: &mut FlatFrames,
    ) -> Result<()> {
        out.clear();
        let mut stored = out.stored.take().unwrap_or_default();
        stored.clear();
        let names = self.names(keys)?;
        let wanted = self.engine.locations(&names)?;
        // Where in the order of storage each frame asked for is.
        let mut places = vec![0; keys.len()];
        let mut failed: Option<(usize, CodecError)> = None;
        let mut in_order = true;
        let (mut large, mut rest): (Vec<usize>, Vec<usize>) =
            (0..wanted.len()).partition(|&number| PartialReader::is_large(&wanted[number].1));
        large.sort_by_key(|&number| wanted[number].1.address);
        let mut reader = PartialReader::new(&self.engine, fields);
        // The one before: a frame that is asked for twice is read once.
        let mut last = None;
        for number in large {
            let (_, location) = &wanted[number];
            let nth = stored.len();
            if let Some((_, nth)) = last.filter(|(before, _)| before == location) {
                in_order = false;
                places[number] = nth;
            } else if reader.push(location, &mut stored) {
                in_order &= nth == number;
                places[number] = nth;
                last = Some((*location, nth));
            } else {
                rest.push(number);
            }
        }
        // The first error is that of the first key.
        rest.sort_unstable();
        let whole: Vec<_> = rest.iter().map(|&number| wanted[number]).collect();
        self.visit_located(&whole, &mut |number, frame| {
            let number = rest[number];
            let nth = stored.len();
            in_order &= nth == number;
            places[number] = nth;
            if let Err(error) = stored.push(&frame, fields)
                && failed.as_ref().is_none_or(|(first, _)| number < *first)
            {
                failed = Some((number, error));
            }
        })?;
        if let Some((number, source)) = failed {
            return Err(self.refused(&keys[number], source));
        }
        if in_order {
            std::mem::swap(out, &mut stored);
        } else {
            for nth in places {
                out.push_from(&stored, nth);
            }
        }
        out.stored = Some(stored);
        Ok(())
    }
}

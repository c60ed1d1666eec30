//! Many frames as a few long arrays, as training code wants them.
//!
//! ```text
//! offsets     0        3              8        10         frame i has the atoms offsets[i]..offsets[i + 1]
//! positions   [x y z]  [x y z] [x y z] ...                [sum n, 3], the frames' atoms one after the other
//! energy      e0       e1             e2                  [frames]
//! ```

use super::AtomicFrameView;
use crate::codec::CodecError;
use crate::codecs::ndarray::{AnyArrayView, DType};

/// The fields to read. Join them with `|`.
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

    /// Whether all fields of `other` are among these.
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

/// Arrays of many frames, one frame after the other, in the order of the request.
///
/// Arrays that were not asked for are empty. Units and shapes are those of [`AtomicFrameView`]'s
/// accessors. A value that is used again allocates nothing once it is large enough.
#[derive(Debug, Clone, Default)]
pub struct FlatFrames {
    /// `[frames + 1]`. Frame `i` has the atoms `offsets[i]..offsets[i + 1]` of the arrays by atom.
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
    /// `[frames, 3, 3]` in nm, one lattice vector per row.
    pub cell: Vec<[[f64; 3]; 3]>,
    /// `[frames, 3, 3]` in bar.
    pub stress: Vec<[[f64; 3]; 3]>,
    /// The same arrays in the order in which the frames are stored, before they are put in the order of
    /// the request.
    pub(super) stored: Option<Box<FlatFrames>>,
}

impl FlatFrames {
    /// Makes an empty value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all frames, and keeps the memory.
    ///
    /// ```
    /// use vldepot::codecs::FlatFrames;
    /// let mut flat = FlatFrames::new();
    /// flat.clear();
    /// assert_eq!((flat.len(), &flat.offsets[..]), (0, &[0][..]));
    /// ```
    pub fn clear(&mut self) {
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

    /// Appends a frame's fields, such as those of a frame that a [loader](crate::loader) gives.
    ///
    /// All frames must be pushed with the same fields.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Fields, FlatFrames};
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// depot.put(0, &AtomicFrame::new().positions(&vec![[1.0_f32; 3]; 2]))?;
    /// depot.put(1, &AtomicFrame::new().positions(&vec![[2.0_f32; 3]; 3]))?;
    ///
    /// let mut flat = FlatFrames::new();
    /// for batch in depot.loader().build()? {
    ///     flat.clear();
    ///     batch?.views().try_for_each(|frame| flat.push(&frame, Fields::POSITIONS))?;
    ///     assert_eq!(flat.offsets, [0, 2, 5]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CodecError`] when the frame lacks a field, or has it in another precision than f32. The arrays
    /// are of no use then.
    pub fn push(&mut self, frame: &AtomicFrameView<'_>, fields: Fields) -> Result<(), CodecError> {
        let n = frame.n_atoms();
        if frame.n_dims() != 3 && n > 0 {
            return Err(CodecError::shape("positions", &[n, 3], &[n, frame.n_dims()]));
        }
        let vectors = |field, name, array: Option<ndarray::ArrayView2<'_, f32>>, stored, out: &mut Vec<_>| {
            if !fields.contains(field) {
                return Ok(());
            }
            let numbers = array.as_ref().and_then(|array| array.as_slice());
            let (rows, _) = numbers.ok_or_else(|| missing(name, stored))?.as_chunks::<3>();
            if rows.len() != n {
                return Err(missing(name, stored));
            }
            out.extend_from_slice(rows);
            Ok(())
        };
        let dtype = |array: Option<AnyArrayView<'_>>| array.map(|array| array.dtype());
        let positions = (n == 0 || frame.positions().nrows() == n).then(|| frame.positions());
        let stored = dtype(frame.positions_any());
        vectors(Fields::POSITIONS, "positions", positions, stored, &mut self.positions)?;
        let stored = dtype(frame.velocities_any());
        vectors(Fields::VELOCITIES, "velocities", frame.velocities(), stored, &mut self.velocities)?;
        let stored = dtype(frame.forces_any());
        vectors(Fields::FORCES, "forces", frame.forces(), stored, &mut self.forces)?;
        let stored = dtype(frame.charges_any());
        numbers(fields, (Fields::CHARGES, "charges"), frame.charges(), stored, &mut self.charges)?;
        numbers(fields, (Fields::TYPES, "types"), frame.types(), None, &mut self.types)?;
        numbers(fields, (Fields::MASSES, "masses"), frame.masses(), None, &mut self.masses)?;
        if fields.contains(Fields::ENERGY) {
            self.energy.push(frame.energy().ok_or_else(|| missing("energy", None))?);
        }
        if fields.contains(Fields::TIME) {
            self.time.push(frame.time().ok_or_else(|| missing("time", None))?);
        }
        if fields.contains(Fields::CELL) {
            let cell = frame.cell().and_then(|cell| matrix(&cell));
            self.cell.push(cell.ok_or_else(|| missing("cell", None))?);
        }
        if fields.contains(Fields::STRESS) {
            let stress = frame.stress().and_then(|stress| matrix(&stress));
            self.stress.push(stress.ok_or_else(|| missing("stress", None))?);
        }
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.offsets.push(self.offsets.last().copied().unwrap_or(0) + n);
        Ok(())
    }

    /// Drops the frames after the first `len`.
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

    /// Appends frame `nth` of `other`.
    pub(super) fn push_from(&mut self, other: &Self, nth: usize) {
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
    (field, name): (Fields, &str),
    array: Option<ndarray::ArrayView1<'_, T>>,
    stored: Option<DType>,
    out: &mut Vec<T>,
) -> Result<(), CodecError> {
    if fields.contains(field) {
        let numbers = array.as_ref().and_then(|array| array.as_slice());
        out.extend_from_slice(numbers.ok_or_else(|| missing(name, stored))?);
    }
    Ok(())
}

/// Why a frame's field cannot be taken: it is absent, or `stored` in another precision.
fn missing(field: &str, stored: Option<DType>) -> CodecError {
    let field = field.to_owned();
    match stored {
        Some(dtype) if dtype != DType::F32 => {
            CodecError::Dtype { field, expected: DType::F32.name().into(), found: dtype.name().into() }
        }
        _ => CodecError::Absent { field },
    }
}

fn matrix(array: &ndarray::ArrayView2<'_, f64>) -> Option<[[f64; 3]; 3]> {
    let (rows, _) = array.as_slice()?.as_chunks::<3>();
    rows.try_into().ok()
}

fn append<T: Copy>(to: &mut Vec<T>, from: &[T], range: &std::ops::Range<usize>) {
    // An array that was not asked for is empty.
    to.extend_from_slice(from.get(range.clone()).unwrap_or_default());
}

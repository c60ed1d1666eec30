//! Fields of a frame, read from parts of its record: blocks without a wanted field are not decoded.
//!
//! The Flatbuffers verifier needs the whole record. So this module follows every offset by hand, and
//! compares every number that it reads with the record's length. For any bytes, it asks for nothing
//! outside the record. When something is missing, has another type, or is not as this crate writes it,
//! the caller reads the whole record.

use std::ops::Range;

use super::generated::FBFrame;
use super::{Fields, FlatFrames};
use crate::Parts;

/// The start of a record, which holds its table.
const HEAD: usize = 1 << 10;

/// Parts are worth reading when they are at most this much of the record, in percent.
const WORTH: usize = 70;

/// Reads the frames of one call.
pub(super) struct PartialReader {
    fields: Fields,
    /// Whether a frame needed too much of its record to be read in parts. Then later ones will too.
    hopeless: bool,
}

fn small<const N: usize>(parts: &mut Parts<'_>, at: usize) -> Option<[u8; N]> {
    parts.bytes(at..at.checked_add(N)?).ok()?.try_into().ok()
}

fn word(parts: &mut Parts<'_>, at: usize) -> Option<usize> {
    small(parts, at).map(|raw| u32::from_le_bytes(raw) as usize)
}

/// The table of a frame.
struct Table {
    at: usize,
    vtable: Range<usize>,
}

impl Table {
    /// Finds the table of a record.
    fn find(parts: &mut Parts<'_>) -> Option<Self> {
        let at = word(parts, 0)?;
        let back = i32::from_le_bytes(small(parts, at)?);
        let vtable = usize::try_from(i64::try_from(at).ok()? - i64::from(back)).ok()?;
        let len = usize::from(u16::from_le_bytes(small(parts, vtable)?));
        Some(Self { at, vtable: vtable..vtable.checked_add(len)? })
    }

    /// Where a field is, if the frame has it.
    fn field(&self, parts: &mut Parts<'_>, slot: u16) -> Option<usize> {
        let entry = self.vtable.start + usize::from(slot);
        if entry + 2 > self.vtable.end {
            return None;
        }
        let offset = u16::from_le_bytes(small(parts, entry)?);
        (offset > 0).then(|| self.at + usize::from(offset))
    }

    fn int(&self, parts: &mut Parts<'_>, slot: u16, default: i32) -> Option<i32> {
        match self.field(parts, slot) {
            Some(at) => small(parts, at).map(i32::from_le_bytes),
            None => Some(default),
        }
    }

    fn real(&self, parts: &mut Parts<'_>, slot: u16) -> Option<f64> {
        let at = self.field(parts, slot)?;
        small::<8>(parts, at).map(f64::from_le_bytes)
    }

    /// Where a vector of `n` elements of `size` bytes is.
    fn vector(&self, parts: &mut Parts<'_>, slot: u16, n: usize, size: usize) -> Option<Range<usize>> {
        let at = self.field(parts, slot)?;
        let vector = at.checked_add(word(parts, at)?)?;
        if word(parts, vector)? != n {
            return None;
        }
        let start = vector.checked_add(4)?;
        let end = start.checked_add(n.checked_mul(size)?)?;
        (end <= parts.len()).then_some(start..end)
    }
}

/// Where the wanted fields are.
#[derive(Default)]
struct Plan {
    n_atoms: usize,
    /// Positions, velocities and forces.
    vectors: [Option<Range<usize>>; 3],
    /// Charges, types and masses.
    numbers: [Option<Range<usize>>; 3],
    /// Cell and stress.
    matrices: [Option<Range<usize>>; 2],
    energy: f64,
    time: f64,
}

const VECTORS: [(Fields, u16); 3] = [
    (Fields::POSITIONS, FBFrame::VT_POSITIONS),
    (Fields::VELOCITIES, FBFrame::VT_VELOCITIES),
    (Fields::FORCES, FBFrame::VT_FORCES),
];
const NUMBERS: [(Fields, u16); 3] = [
    (Fields::CHARGES, FBFrame::VT_CHARGES),
    (Fields::TYPES, FBFrame::VT_TYPES),
    (Fields::MASSES, FBFrame::VT_MASSES),
];
const MATRICES: [(Fields, u16); 2] = [(Fields::CELL, FBFrame::VT_CELL), (Fields::STRESS, FBFrame::VT_STRESS)];

impl Plan {
    /// `None` when a field is missing, or is not of the wanted type.
    fn new(parts: &mut Parts<'_>, fields: Fields) -> Option<Self> {
        let table = Table::find(parts)?;
        if table.int(parts, FBFrame::VT_NCODIM, 3)? != 3 {
            return None;
        }
        // A frame without the number of atoms has to be read whole.
        let n_atoms = usize::try_from(table.int(parts, FBFrame::VT_NSITES, 0)?).ok().filter(|&n| n > 0)?;
        let mut plan = Self { n_atoms, ..Self::default() };
        for (range, (field, slot)) in plan.vectors.iter_mut().zip(VECTORS) {
            if fields.contains(field) {
                *range = Some(table.vector(parts, slot, n_atoms.checked_mul(3)?, 4)?);
            }
        }
        for (range, (field, slot)) in plan.numbers.iter_mut().zip(NUMBERS) {
            if fields.contains(field) {
                *range = Some(table.vector(parts, slot, n_atoms, 4)?);
            }
        }
        for (range, (field, slot)) in plan.matrices.iter_mut().zip(MATRICES) {
            if fields.contains(field) {
                *range = Some(table.vector(parts, slot, 9, 8)?);
            }
        }
        if fields.contains(Fields::ENERGY) {
            plan.energy = table.real(parts, FBFrame::VT_ENERGY)?;
        }
        if fields.contains(Fields::TIME) {
            plan.time = table.real(parts, FBFrame::VT_TIME)?;
        }
        Some(plan)
    }

    /// Bytes of all wanted fields.
    fn len(&self) -> usize {
        let ranges = self.vectors.iter().chain(&self.numbers).chain(&self.matrices);
        ranges.flatten().map(ExactSizeIterator::len).sum()
    }
}

/// Appends the numbers in `range` of the record to `out`.
fn append<T: bytemuck::Pod>(
    parts: &mut Parts<'_>,
    range: Option<&Range<usize>>,
    out: &mut Vec<T>,
) -> Option<()> {
    let Some(range) = range else { return Some(()) };
    let before = out.len();
    out.resize(before + range.len() / size_of::<T>(), T::zeroed());
    parts.copy(range.clone(), bytemuck::cast_slice_mut(&mut out[before..])).ok()
}

impl PartialReader {
    /// Makes a reader of these fields.
    pub(super) fn new(fields: Fields) -> Self {
        Self { fields, hopeless: false }
    }

    /// Appends the fields of a large frame to `out`.
    ///
    /// Returns false, and appends nothing, when the caller must read the whole record. Either that costs
    /// no more, or something is wrong with the record: then the whole read gives the error.
    pub(super) fn push(&mut self, parts: &mut Parts<'_>, out: &mut FlatFrames) -> bool {
        if self.hopeless {
            return false;
        }
        let Ok(first_field) = parts.first_field() else { return false };
        let head = first_field.unwrap_or(HEAD).min(parts.len());
        if parts.bytes(0..head).is_err() {
            return false;
        }
        let Some(plan) = Plan::new(parts, self.fields) else { return false };
        if first_field.is_none() && 100 * plan.len() > WORTH * parts.len() {
            self.hopeless = true;
            return false;
        }
        let len = out.len();
        let done = Self::fill(parts, &plan, self.fields, out).is_some();
        if !done {
            out.truncate(len);
        }
        done
    }

    fn fill(parts: &mut Parts<'_>, plan: &Plan, fields: Fields, out: &mut FlatFrames) -> Option<()> {
        let [positions, velocities, forces] = &plan.vectors;
        append(parts, positions.as_ref(), &mut out.positions)?;
        append(parts, velocities.as_ref(), &mut out.velocities)?;
        append(parts, forces.as_ref(), &mut out.forces)?;
        let [charges, types, masses] = &plan.numbers;
        append(parts, charges.as_ref(), &mut out.charges)?;
        append(parts, types.as_ref(), &mut out.types)?;
        append(parts, masses.as_ref(), &mut out.masses)?;
        let [cell, stress] = &plan.matrices;
        append(parts, cell.as_ref(), &mut out.cell)?;
        append(parts, stress.as_ref(), &mut out.stress)?;
        if fields.contains(Fields::ENERGY) {
            out.energy.push(plan.energy);
        }
        if fields.contains(Fields::TIME) {
            out.time.push(plan.time);
        }
        out.offsets.push(out.offsets.last().copied().unwrap_or(0) + plan.n_atoms);
        Some(())
    }
}

//! Fields of a frame out of parts of its record: blocks that hold none of them are not decoded.
//!
//! The Flatbuffers verifier wants all of a record. Here every offset is looked at by hand, and every number that was read
//! is compared with the record's length, so that whatever the bytes are, nothing outside of the record is asked for. What is
//! not as this crate writes it, is missing or has another type is left to who reads the whole record.

use std::ops::Range;

use super::generated::FBFrame;
use super::{Fields, FlatFrames};
use crate::buffer::Bytes;
use crate::engine::Engine;
use crate::format::{u32_at, u64_at};
use crate::index::Location;

/// The start of a record, where its table is.
const HEAD: usize = 1 << 10;

/// Records under this are read whole: they are in a block or two.
const LEAST: u32 = 64 << 10;

/// Parts of a record are worth reading when they are at most so much of it, in percent.
const WORTH: usize = 70;

/// Reads frames of one call.
pub(super) struct PartialReader<'e> {
    engine: &'e Engine,
    fields: Fields,
    /// The first frame wanted too much of its record to be read in parts: the others will.
    hopeless: bool,
}

/// What is known of a record so far.
struct Window<'e> {
    engine: &'e Engine,
    location: &'e Location,
    /// Where each starts in the record.
    parts: Vec<(usize, Bytes)>,
}

impl Window<'_> {
    /// Bytes of the record from `at` on, one at least; decoded with what is behind it up to `end`.
    fn holding(&mut self, at: usize, end: usize) -> Option<&[u8]> {
        let has = |(start, bytes): &(usize, Bytes)| (*start..*start + bytes.len()).contains(&at);
        let known = self.parts.iter().position(has);
        if known.is_none() {
            let next = self.parts.iter().map(|(start, _)| *start).filter(|&start| start > at).min();
            let range = at..end.min(next.unwrap_or(end));
            self.parts.push(self.engine.part(self.location, range).ok()??);
        }
        let number = known.unwrap_or(self.parts.len() - 1);
        let (start, bytes) = &self.parts[number];
        bytes.get(at.checked_sub(*start)?..).filter(|rest| !rest.is_empty())
    }

    /// Copies bytes of the record.
    fn copy(&mut self, range: Range<usize>, out: &mut [u8]) -> Option<()> {
        if range.end > self.location.length as usize || range.len() != out.len() {
            return None;
        }
        let mut done = 0;
        while done < out.len() {
            let bytes = self.holding(range.start + done, range.end)?;
            let n = bytes.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&bytes[..n]);
            done += n;
        }
        Some(())
    }

    fn small<const N: usize>(&mut self, at: usize) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.copy(at..at.checked_add(N)?, &mut out)?;
        Some(out)
    }

    fn word(&mut self, at: usize) -> Option<usize> {
        u32_at(&self.small::<4>(at)?, 0).map(|word| word as usize)
    }
}

/// The table of a frame.
struct Table {
    at: usize,
    vtable: Range<usize>,
}

impl Table {
    /// Of the record in `window`.
    fn find(window: &mut Window<'_>) -> Option<Self> {
        let at = window.word(0)?;
        let back = i32::from_le_bytes(window.small(at)?);
        let vtable = usize::try_from(i64::try_from(at).ok()? - i64::from(back)).ok()?;
        let len = usize::from(u16::from_le_bytes(window.small(vtable)?));
        Some(Self { at, vtable: vtable..vtable.checked_add(len)? })
    }

    /// Where a field is, if the frame has it.
    fn field(&self, window: &mut Window<'_>, slot: u16) -> Option<usize> {
        let entry = self.vtable.start + usize::from(slot);
        if entry + 2 > self.vtable.end {
            return None;
        }
        let offset = u16::from_le_bytes(window.small(entry)?);
        (offset > 0).then(|| self.at + usize::from(offset))
    }

    fn int(&self, window: &mut Window<'_>, slot: u16, default: i32) -> Option<i32> {
        match self.field(window, slot) {
            Some(at) => window.small(at).map(i32::from_le_bytes),
            None => Some(default),
        }
    }

    fn real(&self, window: &mut Window<'_>, slot: u16) -> Option<f64> {
        let at = self.field(window, slot)?;
        u64_at(&window.small::<8>(at)?, 0).map(f64::from_bits)
    }

    /// Where the `n` elements of `size` bytes of a vector are.
    fn vector(&self, window: &mut Window<'_>, slot: u16, n: usize, size: usize) -> Option<Range<usize>> {
        let at = self.field(window, slot)?;
        let vector = at.checked_add(window.word(at)?)?;
        if window.word(vector)? != n {
            return None;
        }
        let start = vector.checked_add(4)?;
        let end = start.checked_add(n.checked_mul(size)?)?;
        (end <= window.location.length as usize).then_some(start..end)
    }
}

/// Where the wanted fields are.
#[derive(Default)]
struct Plan {
    n_atoms: usize,
    /// Of positions, velocities and forces.
    vectors: [Option<Range<usize>>; 3],
    /// Of charges, types and masses.
    numbers: [Option<Range<usize>>; 3],
    /// Of cell and stress.
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
    /// `None` when a field is not there, or not as it is wanted.
    fn new(window: &mut Window<'_>, fields: Fields) -> Option<Self> {
        let table = Table::find(window)?;
        if table.int(window, FBFrame::VT_NCODIM, 3)? != 3 {
            return None;
        }
        // A frame without the number has to be seen whole.
        let n_atoms = usize::try_from(table.int(window, FBFrame::VT_NSITES, 0)?).ok().filter(|&n| n > 0)?;
        let mut plan = Self { n_atoms, ..Self::default() };
        for (range, (field, slot)) in plan.vectors.iter_mut().zip(VECTORS) {
            if fields.contains(field) {
                *range = Some(table.vector(window, slot, n_atoms.checked_mul(3)?, 4)?);
            }
        }
        for (range, (field, slot)) in plan.numbers.iter_mut().zip(NUMBERS) {
            if fields.contains(field) {
                *range = Some(table.vector(window, slot, n_atoms, 4)?);
            }
        }
        for (range, (field, slot)) in plan.matrices.iter_mut().zip(MATRICES) {
            if fields.contains(field) {
                *range = Some(table.vector(window, slot, 9, 8)?);
            }
        }
        if fields.contains(Fields::ENERGY) {
            plan.energy = table.real(window, FBFrame::VT_ENERGY)?;
        }
        if fields.contains(Fields::TIME) {
            plan.time = table.real(window, FBFrame::VT_TIME)?;
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
    window: &mut Window<'_>,
    range: Option<&Range<usize>>,
    out: &mut Vec<T>,
) -> Option<()> {
    let Some(range) = range else { return Some(()) };
    let before = out.len();
    out.resize(before + range.len() / size_of::<T>(), T::zeroed());
    window.copy(range.clone(), bytemuck::cast_slice_mut(&mut out[before..]))
}

impl<'e> PartialReader<'e> {
    /// A reader of these fields.
    pub(super) fn new(engine: &'e Engine, fields: Fields) -> Self {
        Self { engine, fields, hopeless: false }
    }

    /// Whether a part of such a record may be worth reading.
    pub(super) fn is_large(location: &Location) -> bool {
        location.length >= LEAST
    }

    /// Appends the fields of a large frame to `out`; false, and nothing is appended, when the record is to be read whole: because
    /// that is as good, or because something is amiss, which will be told then.
    pub(super) fn push(&mut self, location: &Location, out: &mut FlatFrames) -> bool {
        if self.hopeless {
            return false;
        }
        let mut window = Window { engine: self.engine, location, parts: Vec::new() };
        if window.holding(0, HEAD).is_none() {
            return false;
        }
        let Some(plan) = Plan::new(&mut window, self.fields) else { return false };
        if 100 * plan.len() > WORTH * location.length as usize {
            self.hopeless = true;
            return false;
        }
        let len = out.len();
        let done = Self::fill(&mut window, &plan, self.fields, out).is_some();
        if !done {
            out.truncate(len);
        }
        done
    }

    fn fill(window: &mut Window<'_>, plan: &Plan, fields: Fields, out: &mut FlatFrames) -> Option<()> {
        let [positions, velocities, forces] = &plan.vectors;
        append(window, positions.as_ref(), &mut out.positions)?;
        append(window, velocities.as_ref(), &mut out.velocities)?;
        append(window, forces.as_ref(), &mut out.forces)?;
        let [charges, types, masses] = &plan.numbers;
        append(window, charges.as_ref(), &mut out.charges)?;
        append(window, types.as_ref(), &mut out.types)?;
        append(window, masses.as_ref(), &mut out.masses)?;
        let [cell, stress] = &plan.matrices;
        append(window, cell.as_ref(), &mut out.cell)?;
        append(window, stress.as_ref(), &mut out.stress)?;
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

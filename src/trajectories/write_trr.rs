//! Writes TRR: in double precision where a frame has any, else in single precision.
#![expect(clippy::big_endian_bytes, reason = "XDR is")]

use std::collections::BTreeSet;
use std::io::Write;

use super::trr::{MAGIC, VERSION};
use super::write::{Atoms, FrameWriter, Refused, note_left_out, own, rows, step, time};
use crate::codecs::{AnyArray, AtomicFrame, Units};

pub(super) struct Writer<W> {
    target: W,
    room: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(target: W) -> Self {
        Self { target, room: Vec::new() }
    }

    fn ints(&mut self, numbers: impl IntoIterator<Item = i32>) {
        self.room.extend(numbers.into_iter().flat_map(i32::to_be_bytes));
    }

    #[expect(clippy::cast_possible_truncation, reason = "a frame in single precision was one before")]
    fn reals<'n>(&mut self, is_double: bool, numbers: impl IntoIterator<Item = &'n f64>) {
        for number in numbers {
            if is_double {
                self.room.extend(number.to_be_bytes());
            } else {
                self.room.extend((*number as f32).to_be_bytes());
            }
        }
    }
}

/// The number that a file of TRR keeps as lambda.
fn lambda(frame: &AtomicFrame<'_>) -> Option<f64> {
    let own = frame.arrays.iter().find(|own| own.name == "lambda" && !own.per_atom)?;
    match &own.array {
        AnyArray::F64(number) if number.len() == 1 => number.iter().next().copied(),
        _ => None,
    }
}

impl<W: Write> FrameWriter for Writer<W> {
    fn units(&self) -> Units {
        Units::gromacs()
    }

    fn write(
        &mut self,
        frame: &AtomicFrame<'_>,
        _atoms: &Atoms,
        number: u64,
        left_out: &mut BTreeSet<String>,
    ) -> Result<(), Refused> {
        note_left_out(frame, &["charges", "types", "masses", "energy", "stress", "name"], left_out);
        let lambda = lambda(frame);
        let others = own(frame).filter(|name| lambda.is_none() || *name != "lambda");
        left_out.extend(others.map(|name| format!("array {name}")));
        let parts = [&frame.positions, &frame.velocities, &frame.forces].map(|part| part.as_ref().map(rows));
        let is_double = parts.iter().flatten().any(|(_, is_single)| !is_single);
        let n_atoms = parts.iter().flatten().map(|(rows, _)| rows.len()).max().unwrap_or(0);
        let size = if is_double { 8 } else { 4 };
        let too_many = || Refused::Frame(format!("{n_atoms} atoms, which is more than TRR has room for"));
        let bytes = i32::try_from(n_atoms * 3 * size).map_err(|_| too_many())?;
        let atoms = i32::try_from(n_atoms).map_err(|_| too_many())?;
        let step = step(frame, number)?;
        self.room.clear();
        self.ints([MAGIC, 13, 12]);
        self.room.extend(VERSION);
        let of_cell = if frame.cell.is_some() { 9 * i32::from(is_double) * 4 + 36 } else { 0 };
        self.ints([0, 0, of_cell, 0, 0, 0, 0]);
        self.ints(parts.iter().map(|part| part.as_ref().map_or(0, |_| bytes)));
        self.ints([atoms, step, 0]);
        self.reals(is_double, &[time(frame, number), lambda.unwrap_or(0.0)]);
        if let Some(cell) = frame.cell {
            self.reals(is_double, cell.as_flattened());
        }
        for (rows, _) in parts.iter().flatten() {
            self.reals(is_double, rows.as_flattened());
        }
        Ok(self.target.write_all(&self.room)?)
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.target.flush()
    }
}

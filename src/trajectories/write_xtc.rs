//! Writes XTC, with the crate molly, which packs positions.

use std::collections::BTreeSet;
use std::io::Write;

use super::write::{Atoms, FrameWriter, Refused, note_left_out, own, rows, step, time};
use crate::codecs::{AtomicFrame, Units};

/// Positions in steps stay below this, so that differences of two fit in 32 bits.
const FARTHEST: f64 = (1_u32 << 30) as f64;

/// The most atoms of a frame that begins with 1995.
const MOST_ATOMS: usize = molly::XTC_1995_MAX_NATOMS;

pub(super) struct Writer<W> {
    target: W,
    frame: molly::Frame,
    room: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(target: W, steps_per_nm: f32) -> Self {
        let frame = molly::Frame { precision: steps_per_nm, ..molly::Frame::default() };
        Self { target, frame, room: Vec::new() }
    }
}

impl<W: Write> FrameWriter for Writer<W> {
    fn units(&self) -> Units {
        Units::gromacs()
    }

    #[expect(clippy::cast_possible_truncation, reason = "XTC has single precision")]
    fn write(
        &mut self,
        frame: &AtomicFrame<'_>,
        _atoms: &Atoms,
        number: u64,
        left_out: &mut BTreeSet<String>,
    ) -> Result<(), Refused> {
        let Some(positions) = &frame.positions else {
            return Err(Refused::Frame("it has no positions, and XTC has nothing else".to_owned()));
        };
        note_left_out(
            frame,
            &["velocities", "forces", "charges", "types", "masses", "energy", "stress", "name"],
            left_out,
        );
        left_out
            .extend(own(frame).filter(|name| *name != "steps_per_nm").map(|name| format!("array {name}")));
        let (rows, _) = rows(positions);
        if rows.len() > MOST_ATOMS {
            return Err(Refused::Frame(format!(
                "{} atoms, and XTC is written with up to {MOST_ATOMS}",
                rows.len()
            )));
        }
        let steps = f64::from(self.frame.precision);
        let is_packed = rows.len() > 9;
        let far = |row: &[f64; 3]| row.iter().any(|x| !x.is_finite() || (x * steps).abs() >= FARTHEST);
        if is_packed && let Some(atom) = rows.iter().position(far) {
            let why = format!(
                "atom {atom} is at {:?} nm, which XTC cannot hold with {steps} steps per nm",
                rows[atom]
            );
            return Err(Refused::Frame(why));
        }
        self.frame.step = step(frame, number)?.cast_unsigned();
        self.frame.time = time(frame, number) as f32;
        let cell = frame.cell.unwrap_or_default();
        for (to, from) in self.frame.boxvec.iter_mut().zip(cell.as_flattened()) {
            *to = *from as f32;
        }
        self.frame.positions.clear();
        self.frame.positions.extend(rows.as_flattened().iter().map(|x| *x as f32));
        self.room.clear();
        molly::XTCWriter::new(&mut self.room).write_frame(&self.frame)?;
        Ok(self.target.write_all(&self.room)?)
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.target.flush()
    }
}

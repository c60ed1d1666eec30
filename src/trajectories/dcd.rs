//! DCD, the trajectories of CHARMM, NAMD, X-PLOR, OpenMM and LAMMPS: records of Fortran, of either byte
//! order.
//!
//! ```text
//! 84 "CORD" 20 numbers of 4 bytes 84 | titles | 4 atoms 4 | frame ...
//! ```
//!
//! A record begins and ends with its length, an i32. A frame has a record for the cell, if it has one, and
//! one each for x, y and z, which are f32. Where atoms are fixed, all frames but the first have the others
//! only.
//!
//! # Source
//! The MolFile plugin `dcdplugin`, in its documentation and as MDAnalysis reads it: which numbers of the head
//! mean what, and how to tell the three ways apart in which programs store a cell.

use super::cell::from_lengths_and_angles;
use super::error::Fault;
use super::frames::{Entry, Frames};
use super::source::Source;
use crate::codecs::{AtomicFrame, Units};

/// Bytes of the first record.
const HEAD: i32 = 84;

/// CHARMM's unit of time in ps: the root of u Å^2 / (kcal/mol), with a calorie of 4.184 J.
const PS: f64 = 0.048_888_212_908_396_17;

pub(super) struct Dcd {
    source: Source,
    is_big: bool,
    n_atoms: usize,
    /// Indices of the atoms that move. Empty if all do.
    moving: Vec<usize>,
    has_cell: bool,
    has_fourth: bool,
    first_step: i32,
    steps_per_frame: i32,
    /// In ps.
    step_size: f64,
    about: serde_json::Value,
    number: i64,
    positions: Vec<[f32; 3]>,
    bytes: Vec<u8>,
}

/// Whether a file begins so.
pub(super) fn is_start(start: &[u8]) -> bool {
    let Some((&length, rest)) = start.split_first_chunk::<4>() else { return false };
    let kinds: [&[u8]; 2] = [b"CORD", b"VELD"];
    let wide = rest.get(4..).unwrap_or_default();
    length == HEAD.to_le_bytes() && kinds.iter().any(|kind| rest.starts_with(kind) || wide.starts_with(kind))
        || length == big(HEAD) && kinds.iter().any(|kind| rest.starts_with(kind))
}

#[expect(clippy::big_endian_bytes, reason = "files of big-endian machines are read")]
fn big(number: i32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Numbers in the byte order of the file.
#[expect(clippy::big_endian_bytes, reason = "files of big-endian machines are read")]
mod order {
    pub(super) fn int(is_big: bool, bytes: [u8; 4]) -> i32 {
        if is_big { i32::from_be_bytes(bytes) } else { i32::from_le_bytes(bytes) }
    }

    pub(super) fn single(is_big: bool, bytes: [u8; 4]) -> f32 {
        if is_big { f32::from_be_bytes(bytes) } else { f32::from_le_bytes(bytes) }
    }

    pub(super) fn double(is_big: bool, bytes: [u8; 8]) -> f64 {
        if is_big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) }
    }
}

impl Dcd {
    pub(super) fn new(mut source: Source) -> Result<Self, Fault> {
        let start: [u8; 8] = source.array("the first record")?;
        source.seek(0)?;
        let is_big = start[0] == 0;
        let kind = &start[4..];
        if kind == b"VELD" {
            return Err(Fault::unsupported(4, "it holds velocities, and only positions are read"));
        }
        if kind != b"CORD" {
            return Err(Fault::unsupported(4, "lengths of records are 64 bits wide"));
        }
        let mut dcd = Self {
            source,
            is_big,
            n_atoms: 0,
            moving: Vec::new(),
            has_cell: false,
            has_fourth: false,
            first_step: 0,
            steps_per_frame: 0,
            step_size: 0.0,
            about: serde_json::Value::Null,
            number: 0,
            positions: Vec::new(),
            bytes: Vec::new(),
        };
        dcd.head()?;
        Ok(dcd)
    }

    /// Reads a record. Its length is known, or `None`.
    fn record(&mut self, expected: Option<u64>, what: &str) -> Result<(), Fault> {
        let at = self.source.at();
        let length = order::int(self.is_big, self.source.array(what)?);
        let length_is =
            u64::try_from(length).ok().filter(|length| expected.is_none_or(|bytes| bytes == *length));
        let Some(bytes) = length_is else {
            let expected = expected.map_or("a length".to_owned(), |bytes| format!("{bytes} bytes"));
            return Err(Fault::damaged(at, format!("{what}: {expected} expected, and found {length}")));
        };
        self.source.need(bytes + 4, what)?;
        self.source.bytes(bytes, what, &mut self.bytes)?;
        let at = self.source.at();
        let again = order::int(self.is_big, self.source.array(what)?);
        if again != length {
            let why = format!("{what}: a record of {length} bytes ends as one of {again} bytes");
            return Err(Fault::damaged(at, why));
        }
        Ok(())
    }

    fn ints(&self) -> Vec<i32> {
        let (ints, _) = self.bytes.as_chunks::<4>();
        ints.iter().map(|bytes| order::int(self.is_big, *bytes)).collect()
    }

    fn head(&mut self) -> Result<(), Fault> {
        self.record(Some(84), "the head")?;
        let ints = self.ints();
        // The first four bytes are "CORD".
        let number = |nth: usize| ints[nth + 1];
        let is_charmm = number(19) != 0;
        (self.first_step, self.steps_per_frame) = (number(1), number(2));
        let n_fixed = number(8);
        let delta = if is_charmm {
            f64::from(order::single(self.is_big, ints_bytes(&self.bytes, 10)))
        } else {
            let mut eight = [0; 8];
            eight.copy_from_slice(&self.bytes[40..48]);
            order::double(self.is_big, eight)
        };
        self.step_size = delta * PS;
        self.has_cell = is_charmm && number(10) != 0;
        self.has_fourth = is_charmm && number(11) == 1;
        let at = self.source.at();
        self.titles()?;
        let titles = self.bytes.get(4..).unwrap_or_default();
        let titles: Vec<_> = titles
            .chunks(80)
            .map(|title| title.split(|byte| *byte == 0).next().unwrap_or_default())
            .map(|title| String::from_utf8_lossy(title).trim().to_owned())
            .filter(|title| !title.is_empty())
            .collect();
        if titles.len() > 1000 {
            return Err(Fault::damaged(at, format!("{} titles", titles.len())));
        }
        self.about = serde_json::json!({
            "titles": titles,
            "delta": delta,
            "first_step": self.first_step,
            "steps_per_frame": self.steps_per_frame,
            "charmm_version": number(19),
        });
        let at = self.source.at();
        self.record(Some(4), "the number of atoms")?;
        let atoms = self.ints()[0];
        self.n_atoms = usize::try_from(atoms)
            .map_err(|_| Fault::damaged(at + 4, format!("the number of atoms is {atoms}")))?;
        // A frame takes 12 bytes an atom, so more cannot be.
        if self.n_atoms as u64 > self.source.len() / 12 && !self.source.is_end() {
            let why = format!("{atoms} atoms are more than a file of {} bytes has", self.source.len());
            return Err(Fault::damaged(at + 4, why));
        }
        if n_fixed != 0 {
            self.fixed(n_fixed)?;
        }
        Ok(())
    }

    /// Reads the record of titles. Some programs write more titles than its length says.
    fn titles(&mut self) -> Result<(), Fault> {
        let at = self.source.at();
        let wrong = match self.record(None, "the titles") {
            Ok(()) => return Ok(()),
            Err(wrong) => wrong,
        };
        self.source.seek(at)?;
        let length = self.source.array::<4>("the titles")?;
        let n = order::int(self.is_big, self.source.array("the titles")?);
        let Ok(n) = u64::try_from(n) else { return Err(wrong) };
        let Ok(()) = self.source.bytes(n * 80, "the titles", &mut self.bytes) else { return Err(wrong) };
        self.bytes.splice(0..0, [0; 4]);
        if self.source.array::<4>("the titles")? == length { Ok(()) } else { Err(wrong) }
    }

    fn fixed(&mut self, n_fixed: i32) -> Result<(), Fault> {
        let at = self.source.at();
        let n_moving = usize::try_from(n_fixed).ok().and_then(|fixed| self.n_atoms.checked_sub(fixed));
        let Some(n_moving) = n_moving else {
            return Err(Fault::damaged(at, format!("{n_fixed} of {} atoms are fixed", self.n_atoms)));
        };
        self.record(Some(4 * n_moving as u64), "the indices of moving atoms")?;
        for index in self.ints() {
            let found = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
            let Some(found) = found.filter(|found| *found < self.n_atoms) else {
                let why = format!("atom {index} moves, and there are {}", self.n_atoms);
                return Err(Fault::damaged(at, why));
            };
            self.moving.push(found);
        }
        // A file in which all atoms are fixed has no more frames than one, and nothing in the others.
        if self.moving.is_empty() && self.n_atoms > 0 {
            return Err(Fault::unsupported(at, "all atoms are fixed"));
        }
        Ok(())
    }

    fn cell(&mut self) -> Result<Option<[[f64; 3]; 3]>, Fault> {
        let at = self.source.at();
        self.record(Some(48), "the cell")?;
        let (numbers, _) = self.bytes.as_chunks::<8>();
        let numbers: Vec<_> = numbers.iter().map(|bytes| order::double(self.is_big, *bytes)).collect();
        let [a, gamma, b, beta, alpha, c] = numbers[..] else { return Ok(None) };
        if numbers.iter().all(|number| *number == 0.0) {
            return Ok(None);
        }
        let mut angles = [alpha, beta, gamma];
        if angles.iter().all(|angle| (-1.0..=1.0).contains(angle)) {
            // NAMD stores cosines. They are not far from 0, where this is more exact than arccos.
            angles = angles.map(|cosine| 90.0 - cosine.asin().to_degrees());
        } else if numbers.iter().any(|number| *number < 0.0) || angles.iter().any(|angle| *angle > 180.0) {
            // CHARMM from version 25 on stores the lower half of a symmetric matrix.
            let [xx, xy, yy, xz, yz, zz] = [a, gamma, b, beta, alpha, c];
            return Ok(Some([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]));
        }
        if [a, b, c].iter().all(|length| *length == 0.0) {
            return Ok(None);
        }
        let cell = from_lengths_and_angles([a, b, c], angles);
        cell.map(Some).ok_or_else(|| {
            Fault::damaged(at, format!("lengths {:?} and angles {angles:?} make no cell", [a, b, c]))
        })
    }

    fn read(&mut self) -> Result<AtomicFrame<'_>, Fault> {
        let cell = if self.has_cell { self.cell()? } else { None };
        let all = self.number == 0 || self.moving.is_empty();
        let n = if all { self.n_atoms } else { self.moving.len() };
        self.positions.resize(self.n_atoms, [0.0; 3]);
        for axis in 0..3 {
            self.record(Some(4 * n as u64), ["x", "y", "z"][axis])?;
            let (numbers, _) = self.bytes.as_chunks::<4>();
            let numbers = numbers.iter().map(|bytes| order::single(self.is_big, *bytes));
            if all {
                for (position, number) in self.positions.iter_mut().zip(numbers) {
                    position[axis] = number;
                }
            } else {
                for (atom, number) in self.moving.iter().zip(numbers) {
                    self.positions[*atom][axis] = number;
                }
            }
        }
        if self.has_fourth {
            self.record(Some(4 * n as u64), "the fourth coordinates")?;
        }
        let step = i64::from(self.first_step) + self.number * i64::from(self.steps_per_frame);
        self.number += 1;
        #[expect(clippy::cast_precision_loss, reason = "a step of 2^53 is far")]
        let time = step as f64 * self.step_size;
        let mut frame = AtomicFrame::new().positions(&self.positions).step(step).time(time);
        if let Some(cell) = cell {
            frame = frame.cell(cell).pbc([true; 3]);
        }
        Ok(frame)
    }
}

fn ints_bytes(bytes: &[u8], nth: usize) -> [u8; 4] {
    let (ints, _) = bytes.as_chunks::<4>();
    ints[nth]
}

impl Frames for Dcd {
    fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        if self.source.is_end() {
            return Ok(None);
        }
        // With no atoms, nothing tells how many frames there are.
        if self.n_atoms == 0 {
            return Err(Fault::unsupported(self.source.at(), "frames without atoms"));
        }
        self.read().map(|frame| Some(frame.into()))
    }

    fn at(&self) -> u64 {
        self.source.at()
    }

    fn units(&self) -> Units {
        Units { length: "Å".into(), ..Units::gromacs() }
    }

    fn about(&self) -> Option<(&'static str, serde_json::Value)> {
        Some(("dcd", self.about.clone()))
    }
}

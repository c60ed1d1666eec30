//! Units of one program as those of another.

use std::sync::LazyLock;

use ndarray::{CowArray, IxDyn};

use super::error::{ImportError, Result};
use crate::codecs::{AnyArray, AtomicFrame, Units};

/// kJ/mol in an eV. CODATA 2018: `e * N_A / 1000`.
const KJ_PER_MOL: f64 = 96.485_332_123_31;

/// The names of a unit, and how many of Å, ps, kJ/mol, u, e and bar it is.
type Known = &'static [(&'static [&'static str], f64)];

const LENGTHS: Known = &[
    (&["Å", "Angstrom", "angstrom", "A"], 1.0),
    (&["nm", "nanometer"], 10.0),
    (&["bohr", "Bohr", "a0"], 0.529_177_210_903),
    (&["pm"], 0.01),
];
const ENERGIES: Known = &[
    (&["kJ/mol", "kj/mol"], 1.0),
    (&["kcal/mol"], 4.184),
    (&["eV"], KJ_PER_MOL),
    (&["meV"], KJ_PER_MOL / 1000.0),
    (&["hartree", "Hartree", "Ha"], 2_625.499_639_479_9),
];
const MASSES: Known = &[(&["u", "amu", "Da", "dalton", "g/mol"], 1.0)];
const CHARGES: Known = &[(&["e", "elementary_charge"], 1.0)];
const PRESSURES: Known = &[
    (&["bar"], 1.0),
    (&["Pa"], 1e-5),
    (&["MPa"], 10.0),
    (&["GPa"], 1e4),
    (&["atm"], 1.013_25),
    (&["eV/Å^3"], 1_602_176.634),
];
static TIMES: LazyLock<[(&[&str], f64); 4]> = LazyLock::new(|| {
    [
        (&["ps", "picosecond"], 1.0),
        (&["fs"], 1e-3),
        (&["ns"], 1e3),
        // 1 kJ/mol is 1 u nm^2/ps^2, so 100 u Å^2/ps^2.
        (&["Å√(u/eV)"], 1.0 / (100.0 * KJ_PER_MOL).sqrt()),
    ]
});

/// A number times `up / down`, which is rounded once more where the number is f32.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Factor {
    up: f64,
    down: f64,
}

impl Factor {
    fn is_one(self) -> bool {
        self.up.to_bits() == self.down.to_bits()
    }

    fn of(self, number: f64) -> f64 {
        if self.is_one() { number } else { number * self.up / self.down }
    }
}

/// How numbers in some units become those in others.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversion {
    length: Factor,
    time: Factor,
    velocity: Factor,
    energy: Factor,
    force: Factor,
    mass: Factor,
    charge: Factor,
    pressure: Factor,
}

fn factor(quantity: &str, known: &[(&[&str], f64)], from: &str, to: &str) -> Result<Factor> {
    if from == to {
        return Ok(Factor { up: 1.0, down: 1.0 });
    }
    let find = |name: &str| {
        let found = known.iter().find(|(names, _)| names.contains(&name)).map(|(_, size)| *size);
        found.ok_or_else(|| {
            let all: Vec<_> = known.iter().map(|(names, _)| names[0]).collect();
            ImportError::options(format!(
                "{quantity} in {from} cannot be converted to {to}: {name} is none of {}",
                all.join(", ")
            ))
        })
    };
    Ok(Factor { up: find(from)?, down: find(to)? })
}

impl Conversion {
    /// `None` when nothing is to be done.
    ///
    /// # Errors
    /// [`ImportError::Options`] when a unit is not known.
    pub(super) fn new(from: &Units, to: &Units) -> Result<Option<Self>> {
        if from == to {
            return Ok(None);
        }
        let length = factor("length", LENGTHS, &from.length, &to.length)?;
        let time = factor("time", &*TIMES, &from.time, &to.time)?;
        let energy = factor("energy", ENERGIES, &from.energy, &to.energy)?;
        let over = |a: Factor, b: Factor| Factor { up: a.up * b.down, down: a.down * b.up };
        Ok(Some(Self {
            length,
            time,
            velocity: over(length, time),
            energy,
            force: over(energy, length),
            mass: factor("mass", MASSES, &from.mass, &to.mass)?,
            charge: factor("charge", CHARGES, &from.charge, &to.charge)?,
            pressure: factor("pressure", PRESSURES, &from.pressure, &to.pressure)?,
        }))
    }

    /// Converts everything but the writer's own arrays, whose units are the writer's own.
    pub(super) fn apply(&self, frame: &mut AtomicFrame<'_>) {
        scale(&mut frame.positions, self.length);
        scale(&mut frame.velocities, self.velocity);
        scale(&mut frame.forces, self.force);
        scale(&mut frame.charges, self.charge);
        scale(&mut frame.masses, self.mass);
        matrix(&mut frame.cell, self.length);
        matrix(&mut frame.stress, self.pressure);
        frame.time = frame.time.map(|time| self.time.of(time));
        frame.energy = frame.energy.map(|energy| self.energy.of(energy));
        if let Some(topology) = &mut frame.topology {
            scale(&mut topology.masses, self.mass);
            scale(&mut topology.charges, self.charge);
        }
    }
}

fn matrix(matrix: &mut Option<[[f64; 3]; 3]>, factor: Factor) {
    if let Some(matrix) = matrix {
        matrix.as_flattened_mut().iter_mut().for_each(|number| *number = factor.of(*number));
    }
}

fn scale(array: &mut Option<AnyArray<'_>>, factor: Factor) {
    if factor.is_one() {
        return;
    }
    match array {
        Some(AnyArray::F32(array)) => {
            #[expect(clippy::cast_possible_truncation, reason = "it is rounded to what it was")]
            let new = array.mapv(|number| factor.of(f64::from(number)) as f32);
            *array = CowArray::<f32, IxDyn>::from(new);
        }
        Some(AnyArray::F64(array)) => {
            *array = CowArray::<f64, IxDyn>::from(array.mapv(|number| factor.of(number)));
        }
        // No reader gives others, and no depot has others that are converted.
        _ => {}
    }
}

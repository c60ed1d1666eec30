//! The units of the numbers in a depot's frames.

use std::borrow::Cow;

/// Names of units. They are recorded, compared and shown, but numbers are never converted.
///
/// The units of velocity and force follow from these: `length / time` and `energy / length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// Unit of positions and cell.
    pub length: Cow<'static, str>,
    /// Unit of time.
    pub time: Cow<'static, str>,
    /// Unit of energy.
    pub energy: Cow<'static, str>,
    /// Unit of masses.
    pub mass: Cow<'static, str>,
    /// Unit of charges.
    pub charge: Cow<'static, str>,
    /// Unit of stress.
    pub pressure: Cow<'static, str>,
}

impl Units {
    /// nm, ps, kJ/mol, u, e, bar. The default.
    ///
    /// # Source
    /// GROMACS reference manual, "Definitions and Units".
    pub const fn gromacs() -> Self {
        Self {
            length: Cow::Borrowed("nm"),
            time: Cow::Borrowed("ps"),
            energy: Cow::Borrowed("kJ/mol"),
            mass: Cow::Borrowed("u"),
            charge: Cow::Borrowed("e"),
            pressure: Cow::Borrowed("bar"),
        }
    }

    /// Å, Å√(u/eV), eV, u, e, eV/Å^3.
    ///
    /// # Source
    /// ASE documentation, module `ase.units`.
    pub const fn ase() -> Self {
        Self {
            length: Cow::Borrowed("Å"),
            time: Cow::Borrowed("Å√(u/eV)"),
            energy: Cow::Borrowed("eV"),
            mass: Cow::Borrowed("u"),
            charge: Cow::Borrowed("e"),
            pressure: Cow::Borrowed("eV/Å^3"),
        }
    }

    /// Each unit, with its name in the codec's parameters.
    pub(super) fn named(&self) -> [(&'static str, &str); 6] {
        [
            ("length", &self.length),
            ("time", &self.time),
            ("energy", &self.energy),
            ("mass", &self.mass),
            ("charge", &self.charge),
            ("pressure", &self.pressure),
        ]
    }
}

impl Default for Units {
    fn default() -> Self {
        Self::gromacs()
    }
}

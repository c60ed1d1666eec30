//! The formats by name.

use std::fmt;

/// A format that is read, written, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The compressed trajectories of GROMACS. Read and written.
    Xtc,
    /// The full trajectories of GROMACS. Read and written.
    Trr,
    /// The trajectories of CHARMM, NAMD, OpenMM and LAMMPS. Read.
    Dcd,
    /// XYZ, extended or not. Read and written.
    ExtXyz,
    /// The snapshots of HOOMD-blue. Read.
    Gsd,
    /// The Protein Data Bank's files of fixed columns. Read.
    Pdb,
    /// An array of NumPy. Read.
    Npy,
    /// Several arrays of NumPy in a zip archive. Read.
    Npz,
}

impl Format {
    /// The name of the format, such as `XTC`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xtc => "XTC",
            Self::Trr => "TRR",
            Self::Dcd => "DCD",
            Self::ExtXyz => "extended XYZ",
            Self::Gsd => "GSD",
            Self::Pdb => "PDB",
            Self::Npy => "npy",
            Self::Npz => "npz",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

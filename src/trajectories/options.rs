//! What is wanted of an import, and what it did.

use std::path::PathBuf;

use serde::Serialize;

use crate::codecs::{Precision, Units};
use crate::{CommitEvery, Layout, WriteOptions};

/// What to import, and how. See [`import`](super::import).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The units of the depot. By default those of the file, whose numbers stay as they are then.
    pub units: Option<Units>,
    /// The precision of positions, velocities, forces and charges. By default that of the file.
    pub precision: Option<Precision>,
    /// A file whose first frame says what the atoms are, such as a PDB file.
    pub topology: Option<PathBuf>,
    /// The number in the name of the first frame.
    pub start: u64,
    /// How the depot is laid out.
    pub layout: Layout,
    /// How many threads compress. `None` for all.
    pub threads: Option<usize>,
}

impl ImportOptions {
    /// Everything as it is in the file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`units`](Self#structfield.units).
    #[must_use]
    pub fn with_units(mut self, units: Units) -> Self {
        self.units = Some(units);
        self
    }

    /// Sets [`precision`](Self#structfield.precision).
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Sets [`topology`](Self#structfield.topology).
    #[must_use]
    pub fn with_topology(mut self, path: impl Into<PathBuf>) -> Self {
        self.topology = Some(path.into());
        self
    }

    /// Sets [`start`](Self#structfield.start).
    #[must_use]
    pub fn with_start(mut self, start: u64) -> Self {
        self.start = start;
        self
    }

    /// Sets [`layout`](Self#structfield.layout).
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets [`threads`](Self#structfield.threads).
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }

    pub(super) fn write_options(&self) -> WriteOptions {
        // Nobody sees the file before it is complete: no commit is needed on the way.
        let write = WriteOptions::default().with_commit_every(CommitEvery::never());
        match self.threads {
            Some(threads) => write.with_threads(threads),
            None => write,
        }
    }
}

/// What was imported.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// The names of the formats, file by file.
    pub formats: Vec<&'static str>,
    /// How many frames, or arrays, were stored.
    pub records: u64,
    /// How many records with the structure of atoms were stored.
    pub topologies: u64,
    /// The fewest atoms of a frame. `None` without a frame.
    pub min_atoms: Option<u64>,
    /// The most atoms of a frame.
    pub max_atoms: Option<u64>,
    /// The unit of lengths in the depot. `None` where there are no frames.
    pub length: Option<String>,
    /// The unit of times in the depot.
    pub time: Option<String>,
    /// The unit of energies in the depot.
    pub energy: Option<String>,
    /// Whether numbers were converted to other units.
    pub converted: bool,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Imported {
    pub(super) fn new(formats: Vec<&'static str>, bytes: u64) -> Self {
        Self {
            formats,
            records: 0,
            topologies: 0,
            min_atoms: None,
            max_atoms: None,
            length: None,
            time: None,
            energy: None,
            converted: false,
            bytes,
        }
    }

    pub(super) fn in_units(&mut self, units: &Units) {
        self.length = Some(units.length.to_string());
        self.time = Some(units.time.to_string());
        self.energy = Some(units.energy.to_string());
    }
}

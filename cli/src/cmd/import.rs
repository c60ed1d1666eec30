//! `vldepot import`: files of other programs, made a depot.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use vldepot::codecs::{Precision, Units};
use vldepot::storage::StagedFile;
use vldepot::trajectories::{ImportError, ImportOptions, Imported, import_in};
use vldepot::{ErrorKind, Layout};

use super::Run;
use crate::failure::{self, Failure};
use crate::progress::{self, Bar};
use crate::{records, text};

/// Make a depot of trajectories or arrays of other programs.
///
/// XTC, TRR, DCD, XYZ, extended XYZ, GSD and PDB files become frames, one file after the other, and npy and
/// npz files become arrays. What a file is, its content tells. Numbers stay as they are, in the units of the
/// file, unless an option says otherwise. The depot appears when it is complete.
#[derive(Args)]
pub(crate) struct Import {
    /// The files to read, in this order.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The depot to write.
    depot: PathBuf,
    /// The units of the depot: `gromacs` (nm, ps, kJ/mol) or `ase` (Å, Å√(u/eV), eV). By default those of the
    /// files.
    #[arg(long, value_name = "UNITS", value_parser = PossibleValuesParser::new(["gromacs", "ase"]))]
    units: Option<String>,
    /// The precision of positions, velocities, forces and charges. By default that of the files.
    #[arg(long, value_name = "P", value_parser = PossibleValuesParser::new(["f32", "f64", "f16", "bf16"]))]
    precision: Option<String>,
    /// A file whose first frame says what the atoms are, such as a PDB file.
    #[arg(long, short, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// The number in the name of the first frame.
    #[arg(long, value_name = "N", default_value_t = 0)]
    start: u64,
    /// Replace a depot or another file that is there.
    #[arg(long, short)]
    force: bool,
    /// How to compress: `balanced` and `compact` with zstd, `fast` with LZ4.
    #[arg(long, default_value = "balanced", value_parser = PossibleValuesParser::new(Layout::PRESETS))]
    preset: String,
    /// Do not store the fields of frames and arrays apart, so that every Blosc2 program can read the chunks.
    #[arg(long)]
    no_fields_apart: bool,
    /// Threads that compress.
    #[arg(long, short = 'j', value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// Units by the names that `--units` takes.
pub(super) fn units(name: &str) -> Units {
    if name == "ase" { Units::ase() } else { Units::gromacs() }
}

/// What `--precision` takes.
fn precision(name: &str) -> Precision {
    match name {
        "f64" => Precision::F64,
        "f16" => Precision::F16,
        "bf16" => Precision::BF16,
        _ => Precision::F32,
    }
}

pub(super) fn failed(error: ImportError) -> Failure {
    let (message, is_damage) = (failure::chain(&error), error.is_damage());
    match error {
        ImportError::Depot(error) => error.into(),
        ImportError::Read { path, source, .. } => Failure::from_io(&path, "it cannot be read", &source),
        ImportError::Options { .. } => Failure::usage(message),
        _ if is_damage => Failure::damage(message),
        _ => Failure::other(message),
    }
}

impl Import {
    fn options(&self) -> Result<ImportOptions, Failure> {
        let layout: Layout = self.preset.parse()?;
        let apart = layout.fields_apart && !self.no_fields_apart;
        let mut options =
            ImportOptions::new().with_layout(layout.with_fields_apart(apart)).with_start(self.start);
        options.units = self.units.as_deref().map(units);
        options.precision = self.precision.as_deref().map(precision);
        options.topology.clone_from(&self.topology);
        Ok(match self.threads {
            Some(threads) => options.with_threads(threads),
            None => options,
        })
    }

    fn report(&self, done: &Imported, out: &mut dyn Write) -> Result<(), Failure> {
        let size = std::fs::metadata(&self.depot).map_or(0, |metadata| metadata.len());
        if self.json {
            let mut object = serde_json::to_value(done)?;
            object["file_bytes"] = size.into();
            writeln!(out, "{object}")?;
            return Ok(());
        }
        let mut formats = done.formats.clone();
        formats.dedup();
        let (file, from) = (text::path(&self.depot), formats.join(", "));
        let size = text::bytes(size);
        let Some(length) = &done.length else {
            let records = text::count(done.records, "array");
            return progress::tell(out, format_args!("{file}: {records} from {from}, {size}"));
        };
        let records = text::count(done.records, "frame");
        let atoms = match (done.min_atoms, done.max_atoms) {
            (Some(least), Some(most)) if least == most => format!(" of {}", text::count(most, "atom")),
            (Some(least), Some(most)) => {
                format!(" of {} to {} atoms", text::grouped(least), text::grouped(most))
            }
            _ => String::new(),
        };
        let units = [Some(length), done.time.as_ref(), done.energy.as_ref()];
        let units: Vec<_> = units.into_iter().flatten().map(|unit| text::without_controls(unit)).collect();
        let how = if done.converted { "converted to" } else { "in" };
        let units = units.join(", ");
        progress::tell(out, format_args!("{file}: {records}{atoms} from {from}, {how} {units}; {size}"))
    }
}

impl Run for Import {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        for path in self.files.iter().chain(&self.topology) {
            if records::is_same_file(path, &self.depot) {
                let path = text::path(path);
                return Err(Failure::usage(format!("{path}: a file cannot be imported into itself")));
            }
        }
        let options = self.options()?;
        let staged = if self.force {
            StagedFile::replace(&self.depot)?
        } else {
            StagedFile::create(&self.depot).map_err(|error| match error.kind() {
                ErrorKind::PathExists => {
                    let file = text::path(&self.depot);
                    Failure::other(format!(
                        "{file}: it is there already; --force replaces it, and `vldepot merge` adds one depot to \
                         another"
                    ))
                }
                _ => error.into(),
            })?
        };
        let bar = Bar::new("importing");
        let done = import_in(&self.files, staged.storage(), &options, |progress| bar.show(progress));
        drop(bar);
        let done = done.map_err(failed)?;
        staged.publish()?;
        self.report(&done, out)
    }
}

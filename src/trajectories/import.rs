//! Files of other programs, made a depot.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arrays;
use super::error::{ImportError, Result};
use super::format::Format;
use super::frames::{Entry, Structure};
use super::options::{ImportOptions, Imported};
use super::reader::{Found, Trajectory};
use super::units::Conversion;
use crate::Depot;
use crate::codecs::{AnyArray, AtomicFrame, AtomicFrameCodec, DType, Precision, Units};
use crate::maintain::Progress;
use crate::storage::{StagedFile, Storage};

/// The name of the record with the structure of the first frame.
const TOPOLOGY: &str = "topology";

/// Makes a new depot of files of other programs, one after the other.
///
/// Trajectories become frames `frame_0000000000` and so on, and arrays of NumPy become arrays. What is read
/// is told by the content. The file appears when it is
/// complete: after an error there is none.
///
/// `docs/reference/formats.md` says what is kept of each format.
///
/// ```
/// use vldepot::codecs::AtomicFrameCodec;
/// use vldepot::trajectories::{ImportOptions, import};
/// use vldepot::Depot;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = |name: &str| folder.path().join(name);
/// std::fs::write(path("water.xyz"), "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n").unwrap();
/// let done = import(&[path("water.xyz")], path("water.vld"), &ImportOptions::new(), |_| ())?;
/// assert_eq!((done.records, done.length.as_deref()), (1, Some("Å")));
///
/// let depot = Depot::open(path("water.vld"), AtomicFrameCodec::any())?;
/// assert_eq!(depot.get("frame_0000000000")?.view().n_atoms(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - [`ImportError::Format`], [`ImportError::Damaged`], [`ImportError::Unsupported`], [`ImportError::Read`]
///   for a
///   file.
/// - [`ImportError::Options`] when files have different units and none are given, or do not go together.
/// - [`ImportError::Depot`], also when something is at the path of the target.
pub fn import(
    files: &[impl AsRef<Path>],
    target: impl AsRef<Path>,
    options: &ImportOptions,
    progress: impl FnMut(Progress),
) -> Result<Imported> {
    let staged = StagedFile::create(target.as_ref())?;
    let done = import_in(files, staged.storage(), options, progress)?;
    staged.publish()?;
    Ok(done)
}

/// Like [`import`], but into an empty storage, such as that of a [`StagedFile`] that replaces another file.
///
/// # Errors
/// Same as [`import`]. The storage is of no use then.
pub fn import_in(
    files: &[impl AsRef<Path>],
    storage: Arc<dyn Storage>,
    options: &ImportOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Imported> {
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let mut formats = Vec::new();
    let mut bytes = 0;
    for path in &files {
        let found = Found::open(path)?;
        formats.push(found.format);
        bytes += found.len;
    }
    let Some((first, rest)) = formats.split_first() else {
        return Err(ImportError::options("no file is given"));
    };
    let done = Imported::new(formats.iter().map(|format| format.name()).collect(), bytes);
    if let Some(at) = rest.iter().position(|format| kind(*format) != kind(*first)) {
        return Err(ImportError::options(format!(
            "{} is a file of {first} and {} one of {}: they have no records of one kind",
            files[0].display(),
            files[at + 1].display(),
            rest[at]
        )));
    }
    if kind(*first) != Kind::Frames && (options.units.is_some() || options.precision.is_some()) {
        return Err(ImportError::options(format!("files of {first} are stored as they are, without units")));
    }
    match kind(*first) {
        Kind::Frames => frames(&files, storage, options, done, &mut progress),
        Kind::Arrays => arrays::import(&files, storage, options, done, &mut progress),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Frames,
    Arrays,
}

fn kind(format: Format) -> Kind {
    match format {
        Format::Npy | Format::Npz => Kind::Arrays,
        _ => Kind::Frames,
    }
}

/// What the first frame of each file says of the depot.
struct Seen {
    units: Units,
    precision: Precision,
    columns: Vec<&'static str>,
    /// Whether types are atomic numbers in all files.
    has_elements: bool,
}

fn is_double(frame: &AtomicFrame<'_>) -> bool {
    let arrays = [&frame.positions, &frame.velocities, &frame.forces, &frame.charges];
    arrays.into_iter().flatten().any(|array| array.dtype() == DType::F64)
}

fn look(files: &[&Path], options: &ImportOptions) -> Result<Seen> {
    let (mut units, mut double, mut has_energy) = (options.units.clone(), false, false);
    let mut has_elements = true;
    let mut first = None;
    for path in files {
        let mut trajectory = Trajectory::open(path)?;
        has_elements &= trajectory.has_elements();
        let of_file = trajectory.units();
        let from = first.get_or_insert_with(|| (path, of_file.clone()));
        if options.units.is_none() && from.1 != of_file {
            return Err(ImportError::options(format!(
                "{} has lengths in {}, times in {} and energies in {}, and {} in {}, {} and {}: say in which units \
                 the depot is to be",
                from.0.display(),
                from.1.length,
                from.1.time,
                from.1.energy,
                path.display(),
                of_file.length,
                of_file.time,
                of_file.energy,
            )));
        }
        let is_single = trajectory.is_single();
        if let Some(entry) = trajectory.next_frame()? {
            double |= is_double(&entry.frame) && !is_single;
            has_energy |= entry.frame.energy.is_some();
        }
        units = Some(units.unwrap_or(of_file));
    }
    let precision = if double { Precision::F64 } else { Precision::F32 };
    let mut columns = vec!["step", "time", "n_atoms"];
    if has_energy {
        columns.push("energy");
    }
    Ok(Seen { units: units.unwrap_or_default(), precision, columns, has_elements })
}

/// The structure in a file's first frame.
fn structure_of(path: &Path, units: &Units) -> Result<(Structure, bool)> {
    let mut trajectory = Trajectory::open(path)?;
    let has_elements = trajectory.has_elements();
    let conversion = Conversion::new(&trajectory.units(), units)?;
    let none = || ImportError::options(format!("{}: it does not say what the atoms are", path.display()));
    let Some(Entry { frame, structure, .. }) = trajectory.next_frame()? else { return Err(none()) };
    let mut structure = match structure {
        Some(structure) => structure.into_owned(),
        None => Structure::of_types(&frame).ok_or_else(none)?,
    };
    if let Some(conversion) = conversion {
        conversion.apply(&mut structure.record);
    }
    Ok((structure, has_elements))
}

/// A depot of frames that is being made.
struct Target<'o> {
    depot: Depot<AtomicFrameCodec>,
    units: &'o Units,
    precision: Precision,
    done: Imported,
    number: u64,
}

impl Target<'_> {
    /// Stores what the atoms are, and returns the name of the record.
    fn put_structure(&mut self, structure: &Structure) -> Result<(String, usize)> {
        let name = match self.done.topologies {
            0 => TOPOLOGY.to_owned(),
            _ => format!("{TOPOLOGY}_{:010}", self.number),
        };
        if structure.metadata.is_empty() {
            self.depot.put(&name, &structure.record)?;
        } else {
            self.depot.put_with_metadata(&name, &structure.record, &structure.metadata)?;
        }
        self.done.topologies += 1;
        Ok((name, structure.record.n_atoms.unwrap_or(0)))
    }

    fn check(&self, frame: &AtomicFrame<'_>, trajectory: &Path, number: u64) -> Result<()> {
        if self.precision == Precision::F32 && is_double(frame) {
            return Err(ImportError::options(format!(
                "{}: frame {number} is in double precision, and the first one in single: say in which precision \
                 the depot is to be",
                trajectory.display()
            )));
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        given: Option<&(String, usize)>,
        rounds: bool,
        before: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<(&'static str, Value)>> {
        let mut trajectory = Trajectory::open(path)?;
        let conversion = Conversion::new(&trajectory.units(), self.units)?;
        self.done.converted |= conversion.is_some();
        let (total, is_single) = (self.done.bytes, trajectory.is_single());
        let (mut topology, mut number) = (given.cloned(), 0);
        while let Some(Entry { mut frame, structure, metadata }) = trajectory.next_frame()? {
            if let Some(structure) = structure
                && given.is_none()
            {
                let converted;
                let mut structure = structure.as_ref();
                if let Some(conversion) = &conversion {
                    let mut own = structure.clone();
                    conversion.apply(&mut own.record);
                    converted = own;
                    structure = &converted;
                }
                let is_known = *structure != Structure::default();
                topology = if is_known { Some(self.put_structure(structure)?) } else { None };
            }
            if !rounds && !is_single {
                self.check(&frame, path, number)?;
            }
            let n_atoms = n_atoms(&frame);
            if let Some((name, expected)) = &topology {
                if n_atoms != *expected {
                    return Err(ImportError::options(format!(
                        "{}: frame {number} has {n_atoms} atoms, and the topology {expected}",
                        path.display()
                    )));
                }
                frame.topology_name = Some(name.clone().into());
            }
            if let Some(conversion) = &conversion {
                conversion.apply(&mut frame);
            }
            let name = format!("frame_{:010}", self.number);
            match metadata {
                Some(metadata) => self.depot.put_with_metadata(name, &frame, &metadata)?,
                None => self.depot.put(name, &frame)?,
            }
            let n_atoms = n_atoms as u64;
            self.done.min_atoms = Some(self.done.min_atoms.map_or(n_atoms, |least| least.min(n_atoms)));
            self.done.max_atoms = self.done.max_atoms.max(Some(n_atoms));
            self.done.records += 1;
            self.number += 1;
            number += 1;
            progress(Progress { done: before + trajectory.progress().done, total });
        }
        Ok(trajectory.about())
    }
}

fn n_atoms(frame: &AtomicFrame<'_>) -> usize {
    let of = |array: &Option<AnyArray<'_>>| array.as_ref().and_then(|array| array.shape().first().copied());
    let arrays = [&frame.positions, &frame.velocities, &frame.forces, &frame.types];
    frame.n_atoms.or_else(|| arrays.into_iter().find_map(of)).unwrap_or(0)
}

fn frames(
    files: &[&Path],
    storage: Arc<dyn Storage>,
    options: &ImportOptions,
    mut done: Imported,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let seen = look(files, options)?;
    let precision = options.precision.unwrap_or(seen.precision);
    let units = seen.units;
    done.in_units(&units);
    let codec = AtomicFrameCodec::new().with_precision(precision).with_units(units.clone());
    let mut layout = options.layout.clone();
    if layout.columns.is_empty() {
        layout = layout.with_columns(seen.columns);
    }
    let builder = Depot::builder(codec).layout(layout).write_options(options.write_options());
    let depot = builder.create_in(storage)?;
    let mut target = Target { depot, units: &units, precision, done, number: options.start };
    let mut has_elements = seen.has_elements;
    let given = match &options.topology {
        Some(path) => {
            let (structure, of_file) = structure_of(path, &units)?;
            has_elements = of_file;
            Some(target.put_structure(&structure)?)
        }
        None => None,
    };
    let rounds = options.precision.is_some();
    let mut about = serde_json::Map::new();
    let mut before = 0;
    for path in files {
        if let Some((name, value)) = target.file(path, given.as_ref(), rounds, before, progress)? {
            about.entry(name).or_insert(value);
        }
        before += std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    }
    let Target { depot, done, .. } = target;
    let names: Vec<_> = files.iter().map(|path| path.to_string_lossy()).collect();
    let imported = json!({
        "files": names,
        "formats": done.formats,
        "converted": done.converted,
        "atomic_numbers": has_elements,
    });
    depot.set_depot_metadata("imported", &imported)?;
    for (name, value) in about {
        depot.set_depot_metadata(&name, &value)?;
    }
    depot.close()?;
    Ok(done)
}

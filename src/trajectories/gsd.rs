//! GSD with the schema `hoomd`: the snapshots of HOOMD-blue.
//!
//! A frame has what changed: what it lacks is as in the first frame, if that has as many particles.
//!
//! # Source
//! GSD documentation, "HOOMD schema", and `gsd.hoomd`, for what is taken from the first frame.

use std::borrow::Cow;

use ndarray::{ArrayD, IxDyn};
use serde_json::{Map, Value, json};

use super::error::Fault;
use super::frames::{Entry, Frames, Structure};
use super::gsd_file::{Chunk, File, Kind};
use super::source::Source;
use crate::codecs::{AnyArray, AtomicFrame, Topology, Units};

pub(super) use super::gsd_file::MAGIC;

/// What changes from frame to frame, if it is there at all: the chunk, and whether it is an array of the
/// frame.
const MOVING: [&str; 5] = [
    "particles/position",
    "particles/velocity",
    "particles/orientation",
    "particles/angmom",
    "particles/image",
];

/// What stays, as a rule, and has no field in a topology.
const STAYING: [&str; 4] =
    ["particles/diameter", "particles/body", "particles/moment_inertia", "particles/charge"];

pub(super) struct Gsd {
    file: File,
    number: u64,
    /// The number of particles of the first frame.
    first: Option<u64>,
}

impl Gsd {
    pub(super) fn new(source: Source) -> Result<Self, Fault> {
        Ok(Self { file: File::new(source)?, number: 0, first: None })
    }

    /// The chunk of this frame, or that of the first one. The flag says whether it is this frame's own.
    fn find(&self, name: &str) -> Option<(Chunk, bool)> {
        let own = self.file.find(self.number, name);
        own.map(|chunk| (chunk, true)).or_else(|| self.file.find(0, name).map(|chunk| (chunk, false)))
    }

    fn array<'a>(&mut self, chunk: Chunk, name: &str) -> Result<AnyArray<'a>, Fault> {
        let bytes = self.file.read(chunk, name)?;
        let rows = usize::try_from(chunk.rows).unwrap_or(usize::MAX);
        let width = chunk.width as usize;
        let shape = if width == 1 { vec![rows] } else { vec![rows, width] };
        macro_rules! numbers {
            ($type:ty) => {{
                let (numbers, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                let numbers: Vec<_> = numbers.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect();
                // The length of a chunk is that of its shape.
                ArrayD::from_shape_vec(IxDyn(&shape), numbers)
                    .map_err(|_| Fault::damaged(chunk.at, format!("{name}: not of the shape {shape:?}")))?
                    .into()
            }};
        }
        Ok(match chunk.kind {
            Kind::U8 => numbers!(u8),
            Kind::U16 => numbers!(u16),
            Kind::U32 => numbers!(u32),
            Kind::U64 => numbers!(u64),
            Kind::I8 => numbers!(i8),
            Kind::I16 => numbers!(i16),
            Kind::I32 => numbers!(i32),
            Kind::I64 => numbers!(i64),
            Kind::F32 => numbers!(f32),
            Kind::F64 => numbers!(f64),
        })
    }

    /// An array of particles: of this frame, or of the first one if that has as many.
    fn of_particles<'a>(&mut self, name: &str, n: u64) -> Result<Option<AnyArray<'a>>, Fault> {
        let Some((chunk, is_own)) = self.find(name) else { return Ok(None) };
        if !is_own && self.first != Some(n) {
            return Ok(None);
        }
        if chunk.rows != n {
            let why = format!("{name} of {} particles, where the frame has {n}", chunk.rows);
            return Err(Fault::damaged(chunk.at, why));
        }
        self.array(chunk, name).map(Some)
    }

    /// A single number.
    fn one(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        let Some((chunk, _)) = self.find(name) else { return Ok(None) };
        let wrong = || Fault::damaged(chunk.at, format!("{name} is no whole number from 0 on"));
        Ok(Some(match self.array(chunk, name)? {
            AnyArray::U8(one) if one.len() == 1 => one.iter().map(|one| u64::from(*one)).sum(),
            AnyArray::U32(one) if one.len() == 1 => one.iter().map(|one| u64::from(*one)).sum(),
            AnyArray::U64(one) if one.len() == 1 => one.iter().sum(),
            _ => return Err(wrong()),
        }))
    }

    /// A list of names, one in each row, padded with zeros.
    fn names(&mut self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some((chunk, _)) = self.find(name) else { return Ok(None) };
        let bytes = self.file.read(chunk, name)?;
        let rows = bytes.chunks(chunk.width.max(1) as usize);
        let text = |row: &[u8]| {
            String::from_utf8_lossy(row.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
        };
        Ok(Some(rows.map(text).collect()))
    }

    fn cell(&mut self) -> Result<Option<[[f64; 3]; 3]>, Fault> {
        let name = "configuration/box";
        let Some((chunk, _)) = self.find(name) else { return Ok(None) };
        let numbers = match self.array(chunk, name)? {
            AnyArray::F32(numbers) => numbers.iter().map(|number| f64::from(*number)).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let [x, y, z, xy, xz, yz] = numbers[..] else {
            return Err(Fault::damaged(chunk.at, format!("{name} has {} numbers, not 6", numbers.len())));
        };
        if [x, y, z].iter().all(|length| *length == 0.0) {
            return Ok(None);
        }
        Ok(Some([[x, 0.0, 0.0], [xy * y, y, 0.0], [xz * z, yz * z, z]]))
    }

    fn is_there(&self, name: &str, only_own: bool) -> bool {
        self.find(name).is_some_and(|(_, is_own)| is_own || !only_own)
    }

    /// Whether this frame says anew what its particles are.
    fn has_structure(&self, n: u64, before: Option<u64>) -> bool {
        let own = ["particles/types", "particles/typeid", "particles/mass"].into_iter().chain(STAYING);
        let bonds = ["bonds", "angles", "dihedrals", "impropers", "pairs", "constraints"];
        self.number == 0
            || before != Some(n)
            || own.into_iter().any(|name| self.is_there(name, true))
            || bonds.iter().any(|bonds| self.file.has_own(self.number, bonds))
    }

    fn structure(&mut self, n: u64) -> Result<Structure, Fault> {
        let mut topology = Topology::new();
        let mut metadata = Map::new();
        let types = self.names("particles/types")?.unwrap_or_else(|| vec!["A".to_owned()]);
        let count = usize::try_from(n).unwrap_or(usize::MAX);
        let ids = match self.of_particles("particles/typeid", n)? {
            Some(AnyArray::U32(ids)) => ids.iter().copied().collect(),
            Some(_) => return Err(Fault::damaged(self.file.at(), "particles/typeid is not of type uint32")),
            None => {
                // What no chunk of the file tells the length of is not made.
                if n > self.file.len() {
                    return Err(Fault::damaged(self.file.at(), format!("{n} particles without types")));
                }
                vec![0_u32; count]
            }
        };
        let name_of = |id: &u32| types.get(*id as usize).cloned();
        if let Some(names) = ids.iter().map(name_of).collect::<Option<Vec<_>>>() {
            topology = topology.names(names);
        }
        topology = topology.types(ids);
        metadata.insert("particle_types".to_owned(), json!(types));
        if let Some(masses @ AnyArray::F32(_)) = self.of_particles("particles/mass", n)? {
            topology = topology.masses(masses);
        }
        let mut record = AtomicFrame::new().n_atoms(count);
        for name in STAYING {
            let Some(array) = self.of_particles(name, n)? else { continue };
            if name == "particles/charge" && matches!(array, AnyArray::F32(_)) {
                topology = topology.charges(array);
            } else {
                record = record.per_atom(name.trim_start_matches("particles/"), array);
            }
        }
        for connected in ["bonds", "angles", "dihedrals", "impropers", "pairs", "constraints"] {
            if let Some(names) = self.names(&format!("{connected}/types"))? {
                metadata.insert(format!("{connected}_types"), json!(names));
            }
            for part in ["group", "typeid", "value"] {
                let name = format!("{connected}/{part}");
                let Some((chunk, _)) = self.find(&name) else { continue };
                let array = self.array(chunk, &name)?;
                if name == "bonds/group" {
                    let in_range = |group: &AnyArray<'_>| matches!(group, AnyArray::U32(group) if group.iter().all(|atom| u64::from(*atom) < n));
                    if !in_range(&array) || chunk.width != 2 {
                        let why = format!("bonds/group: two numbers of particles below {n} are expected");
                        return Err(Fault::damaged(chunk.at, why));
                    }
                    topology = topology.bonds(array);
                } else {
                    record = record.per_frame(name, array);
                }
            }
        }
        Ok(Structure { record: record.topology(topology), metadata })
    }

    fn read<'a>(&mut self) -> Result<Entry<'a>, Fault> {
        let before = self.first;
        let n = self.one("particles/N")?.unwrap_or(0);
        if self.number == 0 {
            self.first = Some(n);
        }
        // An index of four bytes for each is the limit of the schema.
        let count = usize::try_from(n).ok().filter(|_| u32::try_from(n).is_ok());
        let count = count.ok_or_else(|| Fault::damaged(self.file.at(), format!("{n} particles")))?;
        let structure = if self.has_structure(n, before) { Some(self.structure(n)?) } else { None };
        let mut frame = AtomicFrame::new().n_atoms(count);
        let step = self.one("configuration/step")?.unwrap_or(0);
        frame.step = Some(i64::try_from(step).map_err(|_| {
            Fault::unsupported(self.file.at(), format!("the step is {step}, which is more than 2^63 - 1"))
        })?);
        if let Some(cell) = self.cell()? {
            let dimensions = self.one("configuration/dimensions")?.unwrap_or(3);
            frame = frame.cell(cell).pbc([true, true, dimensions != 2]);
        }
        for name in MOVING {
            let Some(array) = self.of_particles(name, n)? else { continue };
            match (name, &array) {
                ("particles/position", AnyArray::F32(_)) => frame.positions = Some(array),
                ("particles/velocity", AnyArray::F32(_)) => frame.velocities = Some(array),
                _ => frame = frame.per_atom(name.trim_start_matches("particles/"), array),
            }
        }
        let known: Vec<(String, Chunk)> = self.file.logged(self.number);
        for (name, chunk) in known {
            let array = self.array(chunk, &name)?;
            frame = frame.per_frame(name, array);
        }
        self.number += 1;
        let mut entry = Entry::from(frame);
        entry.structure = structure.map(Cow::Owned);
        Ok(entry)
    }
}

impl Frames for Gsd {
    fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        if self.number >= self.file.n_frames() {
            return Ok(None);
        }
        self.read().map(Some)
    }

    fn at(&self) -> u64 {
        self.file.at()
    }

    /// HOOMD has none of its own: they are what a user takes them for.
    fn units(&self) -> Units {
        Units {
            length: "[length]".into(),
            time: "[time]".into(),
            energy: "[energy]".into(),
            mass: "[mass]".into(),
            charge: "[charge]".into(),
            pressure: "[pressure]".into(),
        }
    }

    fn about(&self) -> Option<(&'static str, Value)> {
        Some(("gsd", json!({ "application": self.file.application })))
    }
}

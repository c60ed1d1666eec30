//! XYZ and extended XYZ: text, a number of atoms, a comment, and a line for each atom.
//!
//! ```text
//! 2
//! Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"
//! O 0.0 0.0 0.0 0.1 0.0 0.0
//! H 1.0 0.0 0.0 -0.1 0.0 0.0
//! ```
//!
//! # Source
//! <https://github.com/libAtoms/extxyz>, and `ase.io.extxyz` for what the names mean and in which units.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::Fault;
use super::extxyz_comment::{Number, Text, parse};
use super::frames::{Entry, Frames, Structure};
use super::source::Source;
use super::symbols;
use crate::codecs::{AnyArray, AtomicFrame, Topology, Units};

/// The columns of a file that does not say which it has.
const PLAIN: &str = "species:S:1:pos:R:3";

pub(super) struct ExtXyz {
    source: Source,
    line: String,
    comment: String,
    /// Names of atoms that are no elements, as the last frame with such has them.
    structure: Option<Structure>,
}

/// Whether a file begins so.
pub(super) fn is_start(start: &[u8]) -> bool {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut lines = text.lines();
    let Some(Ok(n)) =
        lines.by_ref().find(|line| !line.trim().is_empty()).map(|line| line.trim().parse::<u64>())
    else {
        return false;
    };
    let (Some(comment), Some(atom)) = (lines.next(), lines.next()) else {
        // The comment alone may be longer than what is looked at.
        return n == 0 || text.contains("Properties=");
    };
    let numbers = atom.split_whitespace().skip(1).take(3).filter(|word| number(word).is_some());
    n == 0 || comment.contains("Properties=") || numbers.count() == 3
}

/// Whether a file begins as one of GROMACS's GRO files: a title, and a number of atoms.
pub(super) fn is_gro(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let mut lines = text.lines().skip(1);
    let is_count = lines.next().is_some_and(|line| line.trim().parse::<u32>().is_ok());
    is_count && lines.next().is_some_and(|line| line.len() >= 44)
}

/// A number, also with an exponent as Fortran writes it.
fn number(word: &str) -> Option<f64> {
    word.parse().ok().or_else(|| word.replace(['d', 'D'], "e").parse().ok())
}

/// What is in one or more columns.
enum Column {
    Text(Vec<String>),
    Real(Vec<f64>),
    Int(Vec<i64>),
    Logical(Vec<bool>),
}

struct Property {
    name: String,
    width: usize,
    column: Column,
}

impl Property {
    /// All properties that a description names.
    fn all(description: &str) -> Result<Vec<Self>, String> {
        let parts: Vec<_> = description.split(':').collect();
        let (triples, rest) = parts.as_chunks::<3>();
        if !rest.is_empty() || triples.is_empty() {
            return Err(format!("Properties={description}: names, types and counts are expected"));
        }
        let property = |[name, kind, width]: &[&str; 3]| {
            let column = match *kind {
                "S" => Column::Text(Vec::new()),
                "R" => Column::Real(Vec::new()),
                "I" => Column::Int(Vec::new()),
                "L" => Column::Logical(Vec::new()),
                _ => {
                    return Err(format!("Properties: {name} of type {kind}, which is none of S, R, I and L"));
                }
            };
            let width = width.parse().ok().filter(|width| (1..=1000).contains(width));
            let width = width.ok_or_else(|| format!("Properties: the number of columns of {name}"))?;
            Ok(Self { name: (*name).to_owned(), width, column })
        };
        triples.iter().map(property).collect()
    }

    fn push(&mut self, word: &str) -> Option<()> {
        match &mut self.column {
            Column::Text(column) => column.push(word.to_owned()),
            Column::Real(column) => column.push(number(word)?),
            Column::Int(column) => column.push(word.parse().ok()?),
            Column::Logical(column) => column.push(super::extxyz_comment::logical(word)?),
        }
        Some(())
    }

    fn array<'a>(self) -> Result<AnyArray<'a>, Vec<String>> {
        let width = self.width;
        Ok(match self.column {
            Column::Text(words) => return Err(words),
            Column::Real(numbers) => shaped(numbers, width),
            Column::Int(numbers) => shaped(numbers, width),
            Column::Logical(numbers) => shaped(numbers, width),
        })
    }
}

fn shaped<'a, T: crate::codecs::Element>(numbers: Vec<T>, width: usize) -> AnyArray<'a>
where
    AnyArray<'a>: From<ndarray::ArrayD<T>> + From<Vec<T>>,
{
    if width == 1 {
        return numbers.into();
    }
    let shape = [numbers.len() / width, width];
    // All rows have this width.
    ndarray::ArrayD::from_shape_vec(&shape[..], numbers).map_or_else(|_| Vec::new().into(), AnyArray::from)
}

/// Rows of three. `None` if the columns are others.
fn rows(property: &Property) -> Option<Vec<[f64; 3]>> {
    match &property.column {
        Column::Real(numbers) if property.width == 3 => Some(numbers.as_chunks::<3>().0.to_vec()),
        _ => None,
    }
}

impl ExtXyz {
    pub(super) fn new(source: Source) -> Self {
        Self { source, line: String::new(), comment: String::new(), structure: None }
    }

    /// Reads the number of atoms. `None` at the end of the file.
    fn count(&mut self) -> Result<Option<u64>, Fault> {
        loop {
            let at = self.source.at();
            if !self.source.line(&mut self.line)? {
                return Ok(None);
            }
            let text = self.line.trim();
            if text.is_empty() {
                continue;
            }
            let n = text.parse::<u64>().map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                Fault::damaged(at, format!("a number of atoms is expected, and found {shown:?}"))
            })?;
            // A line takes two bytes at least.
            if n > self.source.left() {
                let left = self.source.left();
                return Err(Fault::damaged(
                    at,
                    format!("{n} atoms, and {left} bytes are left: it was cut short"),
                ));
            }
            return Ok(Some(n));
        }
    }

    fn atoms(&mut self, n: u64, description: &str, described: bool) -> Result<Vec<Property>, Fault> {
        let at = self.source.at();
        let mut properties = Property::all(description).map_err(|why| Fault::damaged(at, why))?;
        for nth in 0..n {
            let at = self.source.at();
            if !self.source.line(&mut self.line)? {
                return Err(Fault::damaged(
                    at,
                    format!("the file ends after {nth} of {n} atoms: it was cut short"),
                ));
            }
            let mut words = self.line.split_whitespace();
            for property in &mut properties {
                for _ in 0..property.width {
                    let word = words.next().ok_or_else(|| {
                        Fault::damaged(at, format!("atom {nth}: nothing for {}", property.name))
                    })?;
                    property.push(word).ok_or_else(|| {
                        let shown: String = word.chars().take(40).collect();
                        Fault::damaged(at, format!("atom {nth}: {} is {shown:?}", property.name))
                    })?;
                }
            }
            if described && words.next().is_some() {
                return Err(Fault::damaged(at, format!("atom {nth}: more columns than Properties names")));
            }
        }
        Ok(properties)
    }

    fn read(&mut self, n: u64) -> Result<Entry<'_>, Fault> {
        let at = self.source.at();
        let mut comment = std::mem::take(&mut self.comment);
        if !self.source.line(&mut comment)? {
            return Err(Fault::damaged(at, "the file ends before the comment: it was cut short"));
        }
        let mut frame = AtomicFrame::new();
        let mut metadata = Map::new();
        let described = parse(&comment);
        let is_described = described.iter().any(|(name, _)| name == "Properties" || name == "Lattice");
        let mut description = PLAIN.to_owned();
        let mut pbc = None;
        if is_described {
            for (name, text) in described {
                match (name.as_str(), &text) {
                    ("Properties", Text { text }) => description.clone_from(text),
                    ("pbc", _) => pbc = text.three_logicals(),
                    _ => global(&mut frame, &mut metadata, name, &text),
                }
            }
        } else if !comment.trim().is_empty() {
            frame.name = Some(comment.trim().to_owned().into());
        }
        if frame.cell.is_some() {
            frame.pbc = Some(pbc.unwrap_or([true; 3]));
        } else {
            frame.pbc = pbc;
        }
        self.comment = comment;
        let described = description != PLAIN;
        let properties = self.atoms(n, &description, described)?;
        let mut species = None;
        frame.n_atoms = usize::try_from(n).ok();
        for property in properties {
            let name = property.name.as_str();
            let vectors = rows(&property);
            match (name, vectors) {
                ("pos" | "positions", Some(rows)) => frame.positions = Some(rows.into()),
                ("forces" | "force", Some(rows)) if frame.forces.is_none() => {
                    frame.forces = Some(rows.into());
                }
                _ => own(&mut frame, &mut metadata, &mut species, property),
            }
        }
        let structure = species.and_then(|species| self.named(&mut frame, species));
        let metadata = (!metadata.is_empty()).then_some(metadata);
        Ok(Entry { frame, structure, metadata })
    }

    /// Gives a frame its elements, or what its atoms are called, if that is new.
    fn named(
        &mut self,
        frame: &mut AtomicFrame<'_>,
        species: Vec<String>,
    ) -> Option<Cow<'static, Structure>> {
        let numbers: Option<Vec<i32>> = species.iter().map(|name| symbols::number(name)).collect();
        if let Some(numbers) = numbers {
            if frame.types.is_none() {
                frame.types = Some(numbers.into());
            }
            // What the atoms of earlier frames were called does not hold for this one.
            let was = self.structure.take();
            return was.map(|_| Cow::Owned(Structure::default()));
        }
        let record = AtomicFrame::new().n_atoms(species.len()).topology(Topology::new().names(species));
        let structure = Structure { record, metadata: Map::new() };
        if self.structure.as_ref() == Some(&structure) {
            return None;
        }
        self.structure = Some(structure.clone());
        Some(Cow::Owned(structure))
    }
}

/// A value of the comment.
fn global(frame: &mut AtomicFrame<'_>, metadata: &mut Map<String, Value>, name: String, text: &Text) {
    let numbers = text.numbers();
    match (name.as_str(), &numbers) {
        ("Lattice", Some(Number::Real(_) | Number::Int(_))) => {
            if let Some([a, b, c, d, e, f, g, h, i]) = text.reals().as_deref() {
                frame.cell = Some([[*a, *b, *c], [*d, *e, *f], [*g, *h, *i]]);
                return;
            }
        }
        ("energy", Some(Number::Real(_) | Number::Int(_))) => {
            if let Some([energy]) = text.reals().as_deref() {
                frame.energy = Some(*energy);
                return;
            }
        }
        ("stress", Some(Number::Real(_) | Number::Int(_))) => {
            if let Some([a, b, c, d, e, f, g, h, i]) = text.reals().as_deref() {
                // As ASE has it: column by column.
                frame.stress = Some([[*a, *d, *g], [*b, *e, *h], [*c, *f, *i]]);
                return;
            }
        }
        ("step", Some(Number::Int(step))) if step.len() == 1 => {
            frame.step = Some(step[0]);
            return;
        }
        _ => {}
    }
    let array = match numbers {
        Some(Number::Real(numbers)) => global_array(numbers),
        Some(Number::Int(numbers)) => global_array(numbers),
        Some(Number::Logical(numbers)) => global_array(numbers),
        None => {
            metadata.insert(name, text.text.clone().into());
            return;
        }
    };
    push_own(frame, name, false, array);
}

#[expect(clippy::many_single_char_names, reason = "nine numbers of a matrix")]
/// One number, a vector, or a matrix of nine numbers, column by column.
fn global_array<'a, T: crate::codecs::Element + Copy>(numbers: Vec<T>) -> AnyArray<'a>
where
    AnyArray<'a>: From<ndarray::ArrayD<T>> + From<Vec<T>>,
{
    match numbers[..] {
        [one] => ndarray::ArrayD::from_elem(ndarray::IxDyn(&[]), one).into(),
        [a, b, c, d, e, f, g, h, i] => shaped(vec![a, d, g, b, e, h, c, f, i], 3),
        _ => numbers.into(),
    }
}

/// A column that is no vector of a frame's fields.
fn own(
    frame: &mut AtomicFrame<'_>,
    metadata: &mut Map<String, Value>,
    species: &mut Option<Vec<String>>,
    property: Property,
) {
    let name = property.name.clone();
    let width = property.width;
    match property.array() {
        Err(words) if width == 1 && name == "species" => *species = Some(words),
        Err(words) => {
            metadata.insert(name, words.into());
        }
        Ok(array @ AnyArray::I64(_)) if name == "Z" && width == 1 => frame.types = Some(array),
        Ok(array) if matches!(name.as_str(), "charge" | "charges") && is_real(&array, width) => {
            frame.charges = Some(array);
        }
        Ok(array)
            if matches!(name.as_str(), "masses" | "mass") && is_real(&array, width) && is_single(&array) =>
        {
            frame.masses = Some(array);
        }
        Ok(array) => push_own(frame, name, true, array),
    }
}

fn is_real(array: &AnyArray<'_>, width: usize) -> bool {
    width == 1 && matches!(array, AnyArray::F64(_))
}

/// Whether no bit is lost in single precision, in which masses are stored.
fn is_single(array: &AnyArray<'_>) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "this is what is asked for")]
    let same = |number: &f64| f64::from(*number as f32).to_bits() == number.to_bits();
    matches!(array, AnyArray::F64(numbers) if numbers.iter().all(same))
}

/// Adds an array under a name that no other one has.
fn push_own<'a>(frame: &mut AtomicFrame<'a>, name: String, per_atom: bool, array: AnyArray<'a>) {
    let mut name = name;
    while frame.arrays.iter().any(|other| other.name == name) {
        name.push('_');
    }
    let filled = std::mem::take(frame);
    *frame = if per_atom { filled.per_atom(name, array) } else { filled.per_frame(name, array) };
}

impl Frames for ExtXyz {
    fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        match self.count()? {
            None => Ok(None),
            Some(n) => self.read(n).map(Some),
        }
    }

    fn at(&self) -> u64 {
        self.source.at()
    }

    fn has_elements(&self) -> bool {
        true
    }

    fn units(&self) -> Units {
        Units::ase()
    }
}

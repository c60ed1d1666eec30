//! PDB: text in fixed columns, a line for each atom.
//!
//! # Source
//! wwPDB, "Protein Data Bank Contents Guide", version 3.3: the columns of ATOM, CRYST1, MODEL and CONECT.
//! Titles with `t=` and `step=` are those of GROMACS.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::cell::from_lengths_and_angles;
use super::error::Fault;
use super::frames::{Entry, Frames, Structure};
use super::source::Source;
use super::symbols;
use crate::codecs::{AtomicFrame, Topology, Units};

/// Records with which files begin.
const FIRST: &[&str] = &[
    "HEADER", "TITLE", "COMPND", "REMARK", "CRYST1", "MODEL", "ATOM", "HETATM", "AUTHOR", "OBSLTE", "SOURCE",
    "EXPDTA", "KEYWDS", "SPLIT", "CAVEAT", "SEQRES", "ORIGX1", "SCALE1",
];

/// Whether a file begins so.
pub(super) fn is_start(start: &[u8]) -> bool {
    let line = start.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let name = line.map(|line| &line[..line.len().min(6)]).unwrap_or_default();
    std::str::from_utf8(name).is_ok_and(|name| FIRST.contains(&name.trim_end()))
}

/// Whether a file has atoms in words, as PQR files do, and not in columns.
pub(super) fn is_pqr(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let Some(atom) = text.lines().find(|line| line.starts_with("ATOM") || line.starts_with("HETATM")) else {
        return false;
    };
    let is_real = |text: &str| text.trim().parse::<f64>().is_ok();
    let words: Vec<_> = atom.split_whitespace().collect();
    let in_columns =
        [(31, 38), (39, 46), (47, 54)].into_iter().all(|(from, to)| is_real(columns(atom, from, to)));
    !in_columns && words.len() >= 9 && words[words.len() - 5..].iter().all(|word| is_real(word))
}

pub(super) struct Pdb {
    source: Source,
    line: String,
    cell: Option<[[f64; 3]; 3]>,
    title: String,
    /// That of the frame before.
    structure: Option<Structure>,
    /// The bonds in the file, by serial numbers. They stand at its end.
    bonds: Option<Vec<(i64, i64)>>,
    left_out: u64,
    /// Whether the first line of the next model was read, where the last one had no end.
    has_begun: bool,
    atoms: Atoms,
}

/// The atoms of a model, column by column.
#[derive(Default)]
struct Atoms {
    serials: Vec<i64>,
    positions: Vec<[f64; 3]>,
    names: Vec<String>,
    elements: Vec<i32>,
    /// The residue of each atom, from 0.
    residues: Vec<u32>,
    residue_names: Vec<String>,
    residue_numbers: Vec<i32>,
    chains: Vec<u32>,
    chain_names: Vec<String>,
    segments: Vec<u32>,
    segment_names: Vec<String>,
    alternatives: Vec<u8>,
    insertions: Vec<u8>,
    occupancies: Vec<f32>,
    b_factors: Vec<f32>,
    charges: Vec<i8>,
    hetero: Vec<bool>,
    /// What tells the residue of the last atom from the next one.
    last: String,
}

/// Columns of a line, from 1, as the format counts them.
fn columns(line: &str, from: usize, to: usize) -> &str {
    let end = line.len().min(to);
    line.get(from - 1..end).unwrap_or_default()
}

fn index(names: &mut Vec<String>, name: &str) -> u32 {
    // Names come again, mostly the last one.
    let found = names.iter().rposition(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u32::try_from(found).unwrap_or(u32::MAX)
}

impl Atoms {
    fn push(&mut self, line: &str, at: u64) -> Result<(), Fault> {
        let real = |from, to, what: &str| {
            let text = columns(line, from, to).trim();
            text.parse::<f64>().map_err(|_| {
                Fault::damaged(
                    at + from as u64 - 1,
                    format!("{what} of an atom: a number is expected, and found {text:?}"),
                )
            })
        };
        self.positions.push([real(31, 38, "x")?, real(39, 46, "y")?, real(47, 54, "z")?]);
        #[expect(clippy::cast_possible_truncation, reason = "six columns fit in single precision")]
        let optional =
            |from, to| columns(line, from, to).trim().parse::<f64>().map_or(f32::NAN, |number| number as f32);
        self.occupancies.push(optional(55, 60));
        self.b_factors.push(optional(61, 66));
        self.serials.push(columns(line, 7, 11).trim().parse().unwrap_or(-1));
        self.names.push(columns(line, 13, 16).trim().to_owned());
        let element = columns(line, 77, 78).trim();
        self.elements.push(symbols::number(element).unwrap_or(0));
        let byte = |column| columns(line, column, column).bytes().next().unwrap_or(b' ');
        self.alternatives.push(byte(17));
        self.insertions.push(byte(27));
        self.hetero.push(line.starts_with("HETATM"));
        self.charges.push(charge(columns(line, 79, 80)));
        // Four columns for the name, as many programs have it.
        let residue = columns(line, 18, 27);
        let segment = columns(line, 73, 76).trim();
        if self.residue_names.is_empty() || self.last.strip_suffix(segment) != Some(residue) {
            self.residue_names.push(columns(line, 18, 21).trim().to_owned());
            self.residue_numbers.push(columns(line, 23, 26).trim().parse().unwrap_or(-1));
            self.last = format!("{residue}{segment}");
        }
        self.residues.push(u32::try_from(self.residue_names.len() - 1).unwrap_or(u32::MAX));
        self.chains.push(index(&mut self.chain_names, columns(line, 22, 22).trim()));
        self.segments.push(index(&mut self.segment_names, segment));
        Ok(())
    }

    fn structure(&self, bonds: &[(i64, i64)], left_out: &mut u64) -> Structure {
        let n_atoms = self.positions.len();
        let mut topology = Topology::new().names(self.names.clone());
        topology = topology.residues(self.residues.clone()).residue_names(self.residue_names.clone());
        let mut metadata = Map::new();
        if self.elements.iter().any(|element| *element != 0) {
            topology = topology.types(self.elements.clone());
        }
        if !bonds.is_empty() {
            let places: HashMap<_, _> =
                self.serials.iter().enumerate().map(|(at, serial)| (*serial, at)).collect();
            let mut found = BTreeSet::new();
            for (a, b) in bonds {
                match (places.get(a), places.get(b)) {
                    (Some(a), Some(b)) if a != b => {
                        found.insert((*a.min(b), *a.max(b)));
                    }
                    _ => *left_out += 1,
                }
            }
            let pairs: Vec<[u32; 2]> = found
                .into_iter()
                .filter_map(|(a, b)| Some([u32::try_from(a).ok()?, u32::try_from(b).ok()?]))
                .collect();
            topology = topology.bonds(ndarray::arr2(&pairs));
        }
        let numbers: Vec<i32> = self.residues.iter().map(|at| self.residue_numbers[*at as usize]).collect();
        let mut record = AtomicFrame::new().n_atoms(n_atoms).topology(topology);
        record = record.per_atom("residue_number", numbers);
        if self.chain_names.iter().any(|name| !name.is_empty()) {
            record = record.per_atom("chain", self.chains.clone());
            metadata.insert("chains".to_owned(), json!(self.chain_names));
        }
        if self.segment_names.iter().any(|name| !name.is_empty()) {
            record = record.per_atom("segment", self.segments.clone());
            metadata.insert("segments".to_owned(), json!(self.segment_names));
        }
        if self.occupancies.iter().any(|number| !number.is_nan()) {
            record = record.per_atom("occupancy", self.occupancies.clone());
        }
        if self.b_factors.iter().any(|number| !number.is_nan()) {
            record = record.per_atom("b_factor", self.b_factors.clone());
        }
        if self.alternatives.iter().any(|byte| *byte != b' ') {
            record = record.per_atom("alternative", self.alternatives.clone());
        }
        if self.insertions.iter().any(|byte| *byte != b' ') {
            record = record.per_atom("insertion", self.insertions.clone());
        }
        if self.charges.iter().any(|charge| *charge != 0) {
            record = record.per_atom("formal_charge", self.charges.clone());
        }
        if self.hetero.iter().any(|hetero| *hetero) {
            record = record.per_atom("hetero", self.hetero.clone());
        }
        Structure { record, metadata }
    }
}

/// A formal charge, such as `2-`; also `-2`.
fn charge(text: &str) -> i8 {
    let text = text.trim();
    let turned = text.strip_suffix(['+', '-']).map(|digits| format!("{}{digits}", &text[digits.len()..]));
    turned.as_deref().unwrap_or(text).parse().unwrap_or(0)
}

/// The number after a word, in a title.
fn after<'t>(title: &'t str, word: &str) -> Option<&'t str> {
    let (_, rest) = title.split_once(word)?;
    rest.split_whitespace().next()
}

/// Two atoms differ by bits, NaN included.
fn same(a: &Structure, b: &Structure) -> bool {
    a.record.is_same(&b.record) && a.metadata == b.metadata
}

impl Pdb {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            line: String::new(),
            cell: None,
            title: String::new(),
            structure: None,
            bonds: None,
            left_out: 0,
            has_begun: false,
            atoms: Atoms::default(),
        }
    }

    fn crystal(&mut self, at: u64) -> Result<(), Fault> {
        let mut numbers = [0.0; 6];
        let places = [(7, 15), (16, 24), (25, 33), (34, 40), (41, 47), (48, 54)];
        for (number, (from, to)) in numbers.iter_mut().zip(places) {
            let text = columns(&self.line, from, to).trim();
            *number = text.parse().map_err(|_| {
                Fault::damaged(at, format!("CRYST1: a number is expected, and found {text:?}"))
            })?;
        }
        let [a, b, c, alpha, beta, gamma] = numbers;
        // What programs write that know of no cell.
        let all =
            |numbers: [f64; 3], number: f64| numbers.iter().all(|each| each.to_bits() == number.to_bits());
        let is_none = all([a, b, c], 1.0) && all([alpha, beta, gamma], 90.0) || all([a, b, c], 0.0);
        self.cell = None;
        if !is_none {
            let cell = from_lengths_and_angles([a, b, c], [alpha, beta, gamma]);
            self.cell =
                Some(cell.ok_or_else(|| Fault::damaged(at, format!("CRYST1: {numbers:?} make no cell")))?);
        }
        Ok(())
    }

    /// Reads the bonds at the end of the file, and comes back.
    fn look_for_bonds(&mut self) -> Result<(), Fault> {
        let here = self.source.at();
        let mut bonds = Vec::new();
        let mut line = String::new();
        while self.source.line(&mut line)? {
            if !line.starts_with("CONECT") {
                continue;
            }
            let serial = |from| columns(&line, from, from + 4).trim().parse::<i64>().ok();
            if let Some(atom) = serial(7) {
                bonds.extend([12, 17, 22, 27].into_iter().filter_map(serial).map(|other| (atom, other)));
            }
        }
        self.source.seek(here)?;
        self.bonds = Some(bonds);
        Ok(())
    }

    /// Reads the atoms of the next model. False at the end of the file.
    fn model(&mut self) -> Result<bool, Fault> {
        self.atoms = Atoms::default();
        let mut in_model = std::mem::take(&mut self.has_begun);
        loop {
            let at = self.source.at();
            if !self.source.line(&mut self.line)? {
                if in_model {
                    return Err(Fault::damaged(at, "the file ends before ENDMDL: it was cut short"));
                }
                return Ok(!self.atoms.positions.is_empty());
            }
            match columns(&self.line, 1, 6).trim_end() {
                "ATOM" | "HETATM" => self.atoms.push(&self.line, at)?,
                "CRYST1" => self.crystal(at)?,
                "TITLE" if self.atoms.positions.is_empty() => {
                    self.title = columns(&self.line, 11, 200).trim().to_owned();
                }
                "MODEL" if !self.atoms.positions.is_empty() => {
                    self.has_begun = true;
                    return Ok(true);
                }
                "MODEL" => in_model = true,
                "ENDMDL" => return Ok(true),
                "END" if !self.atoms.positions.is_empty() => return Ok(true),
                _ => {}
            }
        }
    }
}

impl Frames for Pdb {
    fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        if !self.model()? {
            return Ok(None);
        }
        if self.bonds.is_none() {
            self.look_for_bonds()?;
        }
        let bonds = self.bonds.as_deref().unwrap_or_default();
        let mut left_out = 0;
        let structure = self.atoms.structure(bonds, &mut left_out);
        let is_new = self.structure.as_ref().is_none_or(|known| !same(known, &structure));
        if is_new {
            self.left_out += left_out;
            self.structure = Some(structure);
        }
        let mut frame = AtomicFrame::new().positions(&self.atoms.positions);
        if let Some(cell) = self.cell {
            frame = frame.cell(cell).pbc([true; 3]);
        }
        if let Some(time) = after(&self.title, " t=").and_then(|time| time.parse().ok()) {
            frame = frame.time(time);
            frame.step = after(&self.title, " step=").and_then(|step| step.parse().ok());
        }
        let mut entry = Entry::from(frame);
        entry.structure = self.structure.as_ref().filter(|_| is_new).map(Cow::Borrowed);
        Ok(Some(entry))
    }

    fn at(&self) -> u64 {
        self.source.at()
    }

    fn units(&self) -> Units {
        Units { length: "Å".into(), ..Units::gromacs() }
    }

    fn has_elements(&self) -> bool {
        true
    }

    /// Three decimals fit in single precision.
    fn is_single(&self) -> bool {
        true
    }

    fn about(&self) -> Option<(&'static str, Value)> {
        let mut about = Map::new();
        if !self.title.is_empty() {
            about.insert("title".to_owned(), json!(self.title));
        }
        if self.left_out > 0 {
            about.insert("bonds_left_out".to_owned(), json!(self.left_out));
        }
        (!about.is_empty()).then_some(("pdb", Value::Object(about)))
    }
}

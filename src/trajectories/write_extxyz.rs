//! Writes extended XYZ, with all digits that a number needs to come back.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use super::write::{Atoms, FrameWriter, Refused, note_left_out, rows};
use crate::codecs::{AnyArray, AtomicFrame, Units};

pub(super) struct Writer<W> {
    target: W,
    text: String,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(target: W) -> Self {
        Self { target, text: String::new() }
    }
}

/// A number in so few digits that it comes back, in the precision that it had.
#[expect(clippy::cast_possible_truncation, reason = "what was in single precision is so again")]
fn number(out: &mut String, number: f64, is_single: bool) {
    // Writing to a `String` cannot fail.
    let _ = if is_single { write!(out, "{:?}", number as f32) } else { write!(out, "{number:?}") };
}

/// Columns of atoms: the name, and the text of each atom's.
struct Column {
    head: String,
    texts: Vec<String>,
}

fn vectors(name: &str, array: &AnyArray<'_>) -> Column {
    let (rows, is_single) = rows(array);
    let text = |row: &[f64; 3]| {
        let mut out = String::new();
        for (axis, value) in row.iter().enumerate() {
            if axis > 0 {
                out.push(' ');
            }
            number(&mut out, *value, is_single);
        }
        out
    };
    Column { head: format!("{name}:R:3"), texts: rows.iter().map(text).collect() }
}

/// The columns of an own array. `None` if it is of a dtype that has no place.
fn column(name: &str, n_atoms: usize, array: &AnyArray<'_>) -> Option<Column> {
    let width = array.shape().get(1..)?.iter().product::<usize>();
    if width == 0 || array.shape().first() != Some(&n_atoms) || !is_word(name) {
        return None;
    }
    let (kind, words) = words(array)?;
    let texts = words.chunks(width).map(|row| row.join(" ")).collect();
    Some(Column { head: format!("{name}:{kind}:{width}"), texts })
}

fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
}

/// The numbers of an array as text, and their type.
fn words(array: &AnyArray<'_>) -> Option<(char, Vec<String>)> {
    macro_rules! all {
        ($kind:literal, $array:expr) => {
            ($kind, $array.iter().map(|number| format!("{number:?}")).collect())
        };
    }
    Some(match array {
        AnyArray::F32(array) => all!('R', array),
        AnyArray::F64(array) => all!('R', array),
        AnyArray::I8(array) => all!('I', array),
        AnyArray::I16(array) => all!('I', array),
        AnyArray::I32(array) => all!('I', array),
        AnyArray::I64(array) => all!('I', array),
        AnyArray::U8(array) => all!('I', array),
        AnyArray::U16(array) => all!('I', array),
        AnyArray::U32(array) => all!('I', array),
        AnyArray::Bool(array) => {
            ('L', array.iter().map(|is| if *is { "T" } else { "F" }.to_owned()).collect())
        }
        _ => return None,
    })
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn nine<'n>(out: &mut String, name: &str, numbers: impl Iterator<Item = &'n f64>) {
    let _ = write!(out, "{name}=\"");
    for (at, value) in numbers.enumerate() {
        if at > 0 {
            out.push(' ');
        }
        number(out, *value, false);
    }
    out.push_str("\" ");
}

impl<W: Write> FrameWriter for Writer<W> {
    fn units(&self) -> Units {
        Units::ase()
    }

    fn write(
        &mut self,
        frame: &AtomicFrame<'_>,
        atoms: &Atoms,
        _number: u64,
        left_out: &mut BTreeSet<String>,
    ) -> Result<(), Refused> {
        note_left_out(frame, &["charges", "masses"], left_out);
        let Some(positions) = &frame.positions else {
            return Err(Refused::Frame("it has no positions, without which there are no columns".to_owned()));
        };
        let n_atoms = positions.shape().first().copied().unwrap_or(0);
        let (species, types) = atoms.species(frame);
        let species = species.unwrap_or_else(|| vec!["X".to_owned(); n_atoms]);
        let mut columns = vec![Column { head: "species:S:1".to_owned(), texts: species }];
        columns.push(vectors("pos", positions));
        if let Some(types) = types {
            columns.push(Column {
                head: "type:I:1".to_owned(),
                texts: types.iter().map(i32::to_string).collect(),
            });
        }
        for (name, array) in [("velocities", &frame.velocities), ("forces", &frame.forces)] {
            columns.extend(array.as_ref().map(|array| vectors(name, array)));
        }
        let mut globals = Vec::new();
        for own in &frame.arrays {
            let is_taken = columns.iter().any(|column| column.head.split(':').next() == Some(&own.name));
            let made = if own.per_atom && !is_taken { column(&own.name, n_atoms, &own.array) } else { None };
            let is_vector = !own.per_atom && own.array.shape().len() < 2 && is_word(&own.name);
            match (made, words(&own.array)) {
                (Some(column), _) => columns.push(column),
                (None, Some((_, words))) if is_vector && !words.is_empty() && words.len() != 9 => {
                    globals.push((own.name.as_ref(), words.join(" ")));
                }
                _ => {
                    left_out.insert(format!("array {}", own.name));
                }
            }
        }
        if let Some(column) = columns.iter().find(|column| column.texts.len() != n_atoms) {
            let why = format!(
                "{} of {} atoms, where the positions have {n_atoms}",
                column.head,
                column.texts.len()
            );
            return Err(Refused::Frame(why));
        }
        let text = &mut self.text;
        text.clear();
        let _ = writeln!(text, "{n_atoms}");
        if let Some(cell) = &frame.cell {
            nine(text, "Lattice", cell.as_flattened().iter());
        }
        let heads: Vec<_> = columns.iter().map(|column| column.head.as_str()).collect();
        let _ = write!(text, "Properties={} ", heads.join(":"));
        if let Some(pbc) = frame.pbc {
            let [a, b, c] = pbc.map(|is| if is { 'T' } else { 'F' });
            let _ = write!(text, "pbc=\"{a} {b} {c}\" ");
        }
        if let Some(energy) = frame.energy {
            let _ = write!(text, "energy={energy:?} ");
        }
        if let Some(stress) = &frame.stress {
            // Column by column.
            nine(text, "stress", (0..9).map(|at| &stress[at % 3][at / 3]));
        }
        if let Some(step) = frame.step {
            let _ = write!(text, "step={step} ");
        }
        if let Some(time) = frame.time {
            let _ = write!(text, "time={time:?} ");
        }
        if let Some(name) = &frame.name {
            text.push_str("name=");
            quoted(text, name);
            text.push(' ');
        }
        for (name, words) in globals {
            let _ = write!(text, "{name}=\"{words}\" ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        for atom in 0..n_atoms {
            for (nth, column) in columns.iter().enumerate() {
                if nth > 0 {
                    text.push(' ');
                }
                text.push_str(&column.texts[atom]);
            }
            text.push('\n');
        }
        Ok(self.target.write_all(text.as_bytes())?)
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.target.flush()
    }
}

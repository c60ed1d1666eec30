//! Frames of atoms: first the single values, then the arrays.

use std::io::Write;

use serde_json::{Value, json};
use vldepot::Codec;
use vldepot::CodecError;
use vldepot::codecs::{AnyArray, AtomicFrameCodec, AtomicFrameView, TopologyView, Units};

use super::values::Values;
use super::{Error, Printer, Shown};
use crate::text;

/// The most atom and residue names that are shown without `--all`.
const NAMES: usize = 12;

/// Shows frames of atoms.
pub(super) struct Frames;

impl Printer for Frames {
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let frame = AtomicFrameCodec::any().view(record.bytes)?;
        // Files of vlstore do not say what their units are.
        let codec = AtomicFrameCodec::from_parameters(record.parameters);
        let units = codec.ok().filter(|_| !record.parameters.is_empty()).map(|codec| codec.units());
        let unit = |name| units.as_ref().and_then(|units| unit_of(name, units)).unwrap_or_default();
        line(out, "n_atoms", &frame.n_atoms().to_string(), "")?;
        for (name, value, _) in singles(&frame) {
            line(out, name, &value, &unit(name))?;
        }
        for (name, array) in fields(&frame)? {
            print_array(out, name, array, &unit(name), record.all)?;
        }
        for own in frame.arrays() {
            let of = if own.per_atom { "per atom" } else { "per frame" };
            print_array(out, own.name, own.array.to_any()?, of, record.all)?;
        }
        if let Some(topology) = frame.topology() {
            for (name, names) in topology_names(&topology) {
                let shown = if record.all { names.len() } else { names.len().min(NAMES) };
                let rest = if shown < names.len() { " ..." } else { "" };
                let list = text::without_controls(&names[..shown].join(" "));
                line(out, &format!("topology.{name}"), &format!("[{}]  {list}{rest}", names.len()), "")?;
            }
            for (name, array) in topology_arrays(&topology) {
                print_array(out, &format!("topology.{name}"), array, "", record.all)?;
            }
        }
        Ok(())
    }

    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let frame = AtomicFrameCodec::any().view(record.bytes)?;
        write!(out, "{{\"n_atoms\":{}", frame.n_atoms())?;
        for (name, _, value) in singles(&frame) {
            write!(out, ",\"{name}\":{value}")?;
        }
        for (name, array) in fields(&frame)? {
            write!(out, ",\"{name}\":")?;
            Values::new(array)?.json(out)?;
        }
        // An object of its own, because the writer may have chosen any names.
        write!(out, ",\"arrays\":{{")?;
        for (i, own) in frame.arrays().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(out, "{comma}{}:", json!(own.name))?;
            Values::new(own.array.to_any()?)?.json(out)?;
        }
        write!(out, "}}")?;
        if let Some(topology) = frame.topology() {
            write!(out, ",\"topology\":{{\"n_atoms\":{}", topology.n_atoms())?;
            for (name, names) in topology_names(&topology) {
                write!(out, ",\"{name}\":{}", json!(names))?;
            }
            for (name, array) in topology_arrays(&topology) {
                write!(out, ",\"{name}\":")?;
                Values::new(array)?.json(out)?;
            }
            write!(out, "}}")?;
        }
        writeln!(out, "}}")?;
        Ok(())
    }
}

fn line(out: &mut dyn Write, name: &str, value: &str, unit: &str) -> Result<(), Error> {
    let space = if unit.is_empty() { "" } else { " " };
    writeln!(out, "{name:<10}  {value}{space}{}", text::without_controls(unit))?;
    Ok(())
}

fn print_array(
    out: &mut dyn Write,
    name: &str,
    array: AnyArray<'_>,
    unit: &str,
    all: bool,
) -> Result<(), Error> {
    let values = Values::new(array)?;
    line(out, &text::without_controls(name), &values.kind(), unit)?;
    values.print(all, "  ", out)
}

/// The unit of a field. The units of velocities, forces and the like follow from the others.
fn unit_of(field: &str, units: &Units) -> Option<String> {
    let Units { length, time, energy, mass, charge, pressure } = units;
    Some(match field {
        "positions" | "cell" => length.to_string(),
        "velocities" => format!("{length}/{time}"),
        "forces" => format!("{energy}/{length}"),
        "charges" => charge.to_string(),
        "masses" => mass.to_string(),
        "time" => time.to_string(),
        "energy" => energy.to_string(),
        "stress" => pressure.to_string(),
        _ => return None,
    })
}

/// A name, the value in a readable form, and the value in JSON.
type Single = (&'static str, String, Value);

/// The values that a frame has one of, besides the number of atoms.
fn singles(frame: &AtomicFrameView<'_>) -> Vec<Single> {
    let text = |name, text: &str| (name, text::without_controls(text), Value::from(text));
    // Printed without JSON, which has no NaN and no infinity.
    let real = |name, value: f64| (name, format!("{value:?}"), Value::from(value));
    let singles = [
        frame.name().map(|name| text("name", name)),
        frame.step().map(|step| ("step", step.to_string(), Value::from(step))),
        frame.time().map(|time| real("time", time)),
        frame.energy().map(|energy| real("energy", energy)),
        frame.pbc().map(|pbc| ("pbc", format!("{pbc:?}"), json!(pbc))),
        frame.topology_name().map(|name| text("topology_name", name)),
    ];
    singles.into_iter().flatten().collect()
}

/// The arrays that the schema names.
fn fields<'a>(frame: &AtomicFrameView<'a>) -> Result<Vec<(&'static str, AnyArray<'a>)>, CodecError> {
    let real = [
        ("positions", frame.positions_any()),
        ("velocities", frame.velocities_any()),
        ("forces", frame.forces_any()),
        ("charges", frame.charges_any()),
    ];
    let mut fields = Vec::new();
    fields.extend(frame.cell().map(|cell| ("cell", cell.into())));
    fields.extend(frame.stress().map(|stress| ("stress", stress.into())));
    for (name, array) in real {
        if let Some(array) = array {
            fields.push((name, array.to_any()?));
        }
    }
    fields.extend(frame.types().map(|types| ("types", types.into())));
    fields.extend(frame.masses().map(|masses| ("masses", masses.into())));
    Ok(fields)
}

fn topology_names<'a>(topology: &TopologyView<'a>) -> Vec<(&'static str, Vec<&'a str>)> {
    let names = topology.names().map(|names| ("names", names.collect()));
    let residue_names = topology.residue_names().map(|names| ("residue_names", names.collect()));
    names.into_iter().chain(residue_names).collect()
}

fn topology_arrays<'a>(topology: &TopologyView<'a>) -> Vec<(&'static str, AnyArray<'a>)> {
    let arrays: [(_, Option<AnyArray<'a>>); 6] = [
        ("types", topology.types().map(Into::into)),
        ("masses", topology.masses().map(Into::into)),
        ("charges", topology.charges().map(Into::into)),
        ("bonds", topology.bonds().map(Into::into)),
        ("residues", topology.residues().map(Into::into)),
        ("molecules", topology.molecules().map(Into::into)),
    ];
    arrays.into_iter().filter_map(|(name, array)| Some((name, array?))).collect()
}

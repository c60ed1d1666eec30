//! How the bytes of records divide into fields, and how well each field compresses on its own.

use std::collections::HashMap;

use serde_json::Value;
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec};
use vldepot::{Codec, Depot, DepotInfo, Layout, Raw};

use super::data::{is_array, is_tree};
use super::scene::numbers;
use crate::print::{self, Shown};
use crate::text;

/// Fields that are told apart. Others are one.
const MOST: usize = 48;

/// Raw bytes of a field that are compressed on their own.
const COMPRESSED: usize = 8 << 20;

/// A tree that is longer is not divided.
const LONGEST_TREE: usize = 1 << 20;

/// A field, in the records that were read.
#[derive(Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// dtype and shape, or what kind of value it is.
    pub(crate) kinds: Vec<(String, u64)>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The least and the largest number.
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) non_finite: u64,
    /// Raw and stored bytes of some of it, compressed on its own as the depot compresses.
    pub(crate) alone: Option<(u64, u64)>,
    sample: Vec<Vec<u8>>,
    sampled: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) fields: Vec<Field>,
    pub(crate) bytes: u64,
    /// Whether bytes are those of the fields' text, which differ from those of the record.
    pub(crate) is_text: bool,
}

/// Divides records.
pub(crate) struct Finder<'i> {
    info: &'i DepotInfo,
    fields: Vec<Field>,
    by_name: HashMap<String, usize>,
    bytes: u64,
}

impl<'i> Finder<'i> {
    pub(crate) fn new(info: &'i DepotInfo) -> Self {
        Self { info, fields: Vec::new(), by_name: HashMap::new(), bytes: 0 }
    }

    fn field(&mut self, name: &str) -> &mut Field {
        let name =
            if self.by_name.contains_key(name) || self.fields.len() < MOST { name } else { "(all others)" };
        let fields = &mut self.fields;
        let nth = *self.by_name.entry(name.to_owned()).or_insert_with(|| {
            fields.push(Field { name: name.to_owned(), ..Field::default() });
            fields.len() - 1
        });
        &mut self.fields[nth]
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn add(&mut self, record: &[u8]) -> Result<(), String> {
        self.bytes += record.len() as u64;
        let id = &self.info.codec.id;
        if id == AtomicFrameCodec::ID {
            return self.add_frame(record);
        }
        if is_array(id) {
            let array = AnyNdArray.view(record).map_err(|error| error.to_string())?;
            let kind = format!("{} {}", array.dtype(), shape(array.shape()));
            let values = numbers(&array);
            self.field("array").add(&kind, array.as_bytes(), values.as_deref());
        } else if is_tree(id) && record.len() <= LONGEST_TREE {
            return self.add_tree(record);
        }
        Ok(())
    }

    fn add_frame(&mut self, record: &[u8]) -> Result<(), String> {
        let frame = AtomicFrameCodec::any().view(record).map_err(|error| error.to_string())?;
        let mut known = 0;
        let reals = [
            ("positions", frame.positions_any()),
            ("velocities", frame.velocities_any()),
            ("forces", frame.forces_any()),
            ("charges", frame.charges_any()),
        ];
        let own = frame.arrays().collect::<Vec<_>>();
        let own = own.iter().map(|own| (own.name, Some(own.array.clone())));
        for (name, array) in reals.into_iter().chain(own) {
            let Some(array) = array else { continue };
            let n = |axes: &[usize]| match axes {
                [n, rest @ ..] if *n == frame.n_atoms() && !rest.is_empty() => {
                    format!("atoms \u{d7} {}", shape(rest))
                }
                [n] if *n == frame.n_atoms() => "atoms".to_owned(),
                all => shape(all),
            };
            let kind = format!("{} {}", array.dtype(), n(array.shape()));
            known += array.as_bytes().len() as u64;
            let values = numbers(&array);
            self.field(&text::without_controls(name)).add(&kind, array.as_bytes(), values.as_deref());
        }
        let types = frame.types().map(|types| types.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        let masses =
            frame.masses().map(|masses| masses.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        for (name, kind, bytes) in [("types", "int32 atoms", types), ("masses", "float32 atoms", masses)] {
            if let Some(bytes) = bytes {
                known += bytes.len() as u64;
                self.field(name).add(kind, &bytes, None);
            }
        }
        let name = if frame.topology().is_some() { "topology" } else { "single values and structure" };
        let rest = (record.len() as u64).saturating_sub(known);
        let field = self.field(name);
        field.records += 1;
        field.bytes += rest;
        Ok(())
    }

    fn add_tree(&mut self, record: &[u8]) -> Result<(), String> {
        let printer = print::by_codec(&self.info.codec.id).ok_or("no such codec")?;
        let mut json = Vec::new();
        let shown = Shown { bytes: record, parameters: &self.info.codec.parameters, all: true };
        if let Err(error) = printer.json(&shown, &mut json) {
            return Err(match error {
                print::Error::Codec(error) => error.to_string(),
                print::Error::Output(_) => "it cannot be shown".into(),
            });
        }
        let value: Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let mut add = |name: &str, value: &Value| {
            let (kind, number) = match value {
                Value::Null => ("null", None),
                Value::Bool(_) => ("boolean", None),
                Value::Number(number) => ("number", number.as_f64()),
                Value::String(_) => ("text", None),
                Value::Array(_) => ("list", None),
                Value::Object(_) => ("object", None),
            };
            let values = number.map(|number| [number]);
            self.field(&text::without_controls(name)).add(
                kind,
                value.to_string().as_bytes(),
                values.as_ref().map(<[f64; 1]>::as_slice),
            );
        };
        match &value {
            Value::Object(members) => members.iter().for_each(|(name, value)| add(name, value)),
            other => add("(the whole record)", other),
        }
        Ok(())
    }

    /// All fields, the largest first.
    pub(crate) fn finish(self) -> Found {
        let layout = self.info.layout.clone().with_columns(Vec::<String>::new());
        let mut fields = self.fields;
        for field in &mut fields {
            let sample = std::mem::take(&mut field.sample);
            field.kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            field.alone = compressed(&layout, &sample);
        }
        fields.sort_by_key(|field| std::cmp::Reverse(field.bytes));
        Found { fields, bytes: self.bytes, is_text: is_tree(&self.info.codec.id) }
    }
}

impl Field {
    fn add(&mut self, kind: &str, bytes: &[u8], numbers: Option<&[f64]>) {
        self.records += 1;
        self.bytes += bytes.len() as u64;
        let nth = self.kinds.iter().position(|(known, _)| known == kind);
        match nth {
            Some(nth) => self.kinds[nth].1 += 1,
            None if self.kinds.len() < 200 => self.kinds.push((kind.to_owned(), 1)),
            None => {}
        }
        for &value in numbers.unwrap_or_default() {
            if value.is_finite() {
                let (least, most) = self.range.unwrap_or((value, value));
                self.range = Some((least.min(value), most.max(value)));
            } else {
                self.non_finite += 1;
            }
        }
        if self.sampled + bytes.len() <= COMPRESSED {
            self.sampled += bytes.len();
            self.sample.push(bytes.to_vec());
        }
    }
}

/// Raw and stored bytes of records, in a depot of their own with the same layout.
fn compressed(layout: &Layout, records: &[Vec<u8>]) -> Option<(u64, u64)> {
    let raw: u64 = records.iter().map(|record| record.len() as u64).sum();
    // Less than this says nothing.
    if raw < 4096 {
        return None;
    }
    let depot = Depot::builder(Raw).layout(layout.clone()).memory().ok()?;
    for (n, record) in (0_u64..).zip(records) {
        depot.put(n, record).ok()?;
    }
    depot.commit().ok()?;
    let mut stored = std::collections::BTreeMap::new();
    for n in 0..records.len() as u64 {
        if let Some(chunk) = depot.chunk_of(n).ok()? {
            stored.insert(chunk.chunk, chunk.stored_bytes);
        }
    }
    Some((raw, stored.values().sum()))
}

/// Whether a record has the topology of other frames, and no positions.
pub(crate) fn is_topology(info: &DepotInfo, record: &[u8]) -> bool {
    let is_frame = info.codec.id == AtomicFrameCodec::ID;
    is_frame && AtomicFrameCodec::any().view(record).is_ok_and(|frame| frame.positions_any().is_none())
}

fn shape(axes: &[usize]) -> String {
    match axes {
        [] => "one number".into(),
        axes => axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" \u{d7} "),
    }
}

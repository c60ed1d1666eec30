//! One frame as it is drawn: positions in angstrom, elements, bonds of the file, the cell, and single values.

use serde_json::{Map, Value, json};
use vldepot::codecs::{AnyArray, AnyArrayView, AtomicFrameCodec, AtomicFrameView, TopologyView, Units};
use vldepot::{Codec, Depot, Key, Raw};

use super::{elements, escape};
use crate::text;

/// The most atoms of a frame that are drawn. From larger ones, every second, third and so on is taken.
pub(crate) const MOST_ATOMS: usize = 50_000;

/// The most single values of a frame that are shown.
const MOST_SINGLES: usize = 24;

/// A frame that can be drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    /// The position of its record.
    pub(crate) record: u64,
    pub(crate) name: String,
    pub(crate) n_atoms: usize,
    /// One of how many atoms is drawn.
    pub(crate) every: usize,
    /// In angstrom if the unit of length is known.
    pub(crate) positions: Vec<[f32; 3]>,
    /// Atomic numbers, 0 for what is not known.
    pub(crate) elements: Vec<u8>,
    /// How the elements are known.
    pub(crate) elements_by: &'static str,
    /// Pairs of drawn atoms, from the topology.
    pub(crate) bonds: Option<Vec<[u32; 2]>>,
    pub(crate) cell: Option<[[f64; 3]; 3]>,
    /// Where the cell begins. Nothing says it, so it is where most atoms are inside.
    pub(crate) origin: [f64; 3],
    /// Names, values and units of single values.
    pub(crate) singles: Vec<(String, f64, String)>,
}

/// Makes scenes of the frames of one depot.
pub(crate) struct Scenes<'d> {
    depot: &'d Depot<Raw>,
    pub(crate) units: Units,
    /// Angstrom in the unit of length.
    scale: Option<f64>,
    /// The topology that was used last.
    topology: Option<(String, Topology)>,
}

/// What a topology tells of elements.
#[derive(Debug, Clone, Default)]
struct Topology {
    n_atoms: usize,
    types: Option<Vec<i32>>,
    masses: Option<Vec<f32>>,
    names: Option<Vec<u8>>,
    bonds: Option<Vec<[u32; 2]>>,
}

impl Topology {
    fn of(view: &TopologyView<'_>) -> Self {
        let n_atoms = view.n_atoms();
        let inside = |bond: &[u32; 2]| bond.iter().all(|&atom| (atom as usize) < n_atoms);
        Self {
            n_atoms,
            types: view.types().map(|types| types.iter().copied().collect()),
            masses: view.masses().map(|masses| masses.iter().copied().collect()),
            names: view.names().map(|names| names.map(elements::of_name).collect()),
            bonds: view
                .bonds()
                .map(|bonds| bonds.rows().into_iter().map(|row| [row[0], row[1]]).filter(inside).collect()),
        }
    }
}

/// Angstrom in a unit of length. `None` for a unit that is not known.
fn angstrom_in(unit: &str) -> Option<f64> {
    match unit.trim().to_lowercase().as_str() {
        "nm" | "nanometer" | "nanometre" => Some(10.0),
        "å" | "\u{212b}" | "a" | "angstrom" | "ang" => Some(1.0),
        "bohr" | "a0" | "au" | "a.u." => Some(0.529_177_210_544),
        "pm" => Some(0.01),
        _ => None,
    }
}

/// The numbers of an array as f64. `None` for a dtype of a later version.
pub(crate) fn numbers(array: &AnyArrayView<'_>) -> Option<Vec<f64>> {
    macro_rules! all {
        ($array:expr, $element:ident => $number:expr) => {
            Some($array.iter().map(|$element| $number).collect())
        };
    }
    #[allow(clippy::cast_precision_loss, reason = "they are drawn")]
    match array.to_any().ok()? {
        AnyArray::F32(a) => all!(a, x => f64::from(*x)),
        AnyArray::F64(a) => all!(a, x => *x),
        AnyArray::F16(a) => all!(a, x => x.to_f64()),
        AnyArray::BF16(a) => all!(a, x => x.to_f64()),
        AnyArray::I8(a) => all!(a, x => f64::from(*x)),
        AnyArray::I16(a) => all!(a, x => f64::from(*x)),
        AnyArray::I32(a) => all!(a, x => f64::from(*x)),
        AnyArray::I64(a) => all!(a, x => *x as f64),
        AnyArray::U8(a) => all!(a, x => f64::from(*x)),
        AnyArray::U16(a) => all!(a, x => f64::from(*x)),
        AnyArray::U32(a) => all!(a, x => f64::from(*x)),
        AnyArray::U64(a) => all!(a, x => *x as f64),
        AnyArray::Bool(a) => all!(a, x => f64::from(u8::from(*x))),
        _ => None,
    }
}

/// Single values of a frame: those that the schema names, and the writer's own arrays of one number.
pub(crate) fn singles(frame: &AtomicFrameView<'_>, units: &Units) -> Vec<(String, f64, String)> {
    #[allow(clippy::cast_precision_loss, reason = "they are drawn")]
    let known = [
        frame.step().map(|step| ("step", step as f64, "")),
        frame.time().map(|time| ("time", time, units.time.as_ref())),
        frame.energy().map(|energy| ("energy", energy, units.energy.as_ref())),
    ];
    let known =
        known.into_iter().flatten().map(|(name, value, unit)| (name.to_owned(), value, unit.to_owned()));
    let own = frame.arrays().filter(|own| !own.per_atom && own.array.shape().iter().product::<usize>() == 1);
    let own =
        own.filter_map(|own| Some((own.name.to_owned(), *numbers(&own.array)?.first()?, String::new())));
    known.chain(own).take(MOST_SINGLES).collect()
}

/// Half a diagonal before zero if the atoms lie around zero, else zero.
fn origin(cell: &[[f64; 3]; 3], positions: &[[f32; 3]]) -> [f64; 3] {
    let middle: [f64; 3] = std::array::from_fn(|axis| cell.iter().map(|row| row[axis] / 2.0).sum());
    let (mut n, mut mean) = (0.0, [0.0; 3]);
    for p in positions.iter().filter(|p| p.iter().all(|x| x.is_finite())) {
        n += 1.0;
        for (mean, x) in mean.iter_mut().zip(p) {
            *mean += (f64::from(*x) - *mean) / n;
        }
    }
    let square = |p: [f64; 3]| p.iter().map(|x| x * x).sum::<f64>();
    let from_middle = std::array::from_fn(|axis| mean[axis] - middle[axis]);
    if n > 0.0 && square(mean) < 0.5 * square(from_middle) { middle.map(|x| 0.0 - x) } else { [0.0; 3] }
}

impl<'d> Scenes<'d> {
    pub(crate) fn new(depot: &'d Depot<Raw>) -> Self {
        let parameters = depot.stored_codec().parameters;
        let codec = AtomicFrameCodec::from_parameters(&parameters).ok();
        let units = codec.map(|codec| codec.units()).unwrap_or_default();
        let scale = angstrom_in(&units.length);
        Self { depot, units, scale, topology: None }
    }

    /// Whether lengths are in angstrom, so that radii and bonds mean something.
    pub(crate) fn has_lengths(&self) -> bool {
        self.scale.is_some()
    }

    /// The frame at a position. `None` if it has nothing to draw.
    pub(crate) fn at(&mut self, record: u64) -> Result<Option<Scene>, String> {
        let key = self.depot.key_at(record).map_err(|error| crate::failure::chain(&error))?;
        let bytes = self.depot.get(&key).map_err(|error| crate::failure::chain(&error))?;
        let frame = AtomicFrameCodec::any()
            .view(bytes.as_bytes())
            .map_err(|error| format!("{}: {}", text::name(&key), crate::failure::chain(&error)))?;
        Ok(self.of(record, &key, &frame))
    }

    fn of(&mut self, record: u64, key: &Key, frame: &AtomicFrameView<'_>) -> Option<Scene> {
        let n_atoms = frame.n_atoms();
        let n_dims = frame.n_dims();
        let positions = numbers(&frame.positions_any()?)?;
        if n_atoms == 0 || n_dims == 0 || Some(positions.len()) != n_atoms.checked_mul(n_dims) {
            return None;
        }
        let scale = self.scale.unwrap_or(1.0);
        let every = n_atoms.div_ceil(MOST_ATOMS).max(1);
        #[allow(clippy::cast_possible_truncation, reason = "drawn in single precision")]
        let point = |of: &[f64]| std::array::from_fn(|axis| of.get(axis).map_or(0.0, |x| (x * scale) as f32));
        let drawn = positions.chunks(n_dims).step_by(every).map(point).collect::<Vec<_>>();
        let (all, elements_by) = self.elements(frame);
        let bonds = self.topology_of(frame).and_then(|topology| topology.bonds.clone());
        // Where only some atoms are drawn, bonds would be wrong.
        let bonds = bonds.filter(|_| every == 1);
        let cell = frame
            .cell()
            .map(|cell| std::array::from_fn(|row| std::array::from_fn(|axis| cell[[row, axis]] * scale)));
        let cell = cell.filter(|cell: &[[f64; 3]; 3]| cell.iter().flatten().all(|x| x.is_finite()));
        Some(Scene {
            record,
            name: text::name(key),
            n_atoms,
            every,
            elements: all.into_iter().step_by(every).collect(),
            elements_by,
            bonds,
            origin: cell.map_or([0.0; 3], |cell| origin(&cell, &drawn)),
            cell,
            positions: drawn,
            singles: singles(frame, &self.units),
        })
    }

    fn topology_of(&mut self, frame: &AtomicFrameView<'_>) -> Option<&Topology> {
        let n_atoms = frame.n_atoms();
        let name = match (frame.topology(), frame.topology_name()) {
            (Some(topology), _) => {
                self.topology = Some((String::new(), Topology::of(&topology)));
                String::new()
            }
            (None, name) => name?.to_owned(),
        };
        if self.topology.as_ref().is_none_or(|(known, _)| *known != name) {
            let record = self.depot.find(name.as_str()).ok().flatten()?;
            let view = AtomicFrameCodec::any().view(record.as_bytes()).ok()?;
            self.topology = Some((name, Topology::of(&view.topology()?)));
        }
        self.topology.as_ref().map(|(_, topology)| topology).filter(|topology| topology.n_atoms == n_atoms)
    }

    /// Elements, and how they are known.
    fn elements(&mut self, frame: &AtomicFrameView<'_>) -> (Vec<u8>, &'static str) {
        let n = frame.n_atoms();
        let topology = self.topology_of(frame).cloned().unwrap_or_default();
        let masses = frame.masses().map(|masses| masses.iter().copied().collect()).or(topology.masses);
        let by_mass: Option<Vec<u8>> =
            masses.map(|masses: Vec<f32>| masses.into_iter().map(elements::of_mass).collect());
        // Virtual sites, such as those of water, have no mass.
        let tells = |found: &Vec<u8>| found.len() == n && found.iter().filter(|&&z| z > 0).count() * 2 > n;
        if let Some(found) = by_mass.filter(tells) {
            return (found, "told by the masses");
        }
        let types = frame.types().map(|types| types.iter().copied().collect()).or(topology.types);
        let types: Option<Vec<i32>> = types.filter(|types: &Vec<i32>| types.len() == n);
        if let Some(types) = &types {
            let numbers: Option<Vec<u8>> = types
                .iter()
                .map(|&z| u8::try_from(z).ok().filter(|z| (1..=elements::COUNT).contains(z)))
                .collect();
            if let Some(numbers) = numbers {
                return (numbers, "the types, taken as atomic numbers");
            }
        }
        if let Some(found) = topology.names.filter(tells) {
            return (found, "guessed from the names of atoms");
        }
        let id = |&id: &i32| u8::try_from(id).ok().filter(|id| *id < elements::TYPE_COUNT);
        match types {
            Some(types) => {
                let ids = types.iter().map(|kind| id(kind).map_or(0, |id| elements::TYPES + id));
                (ids.collect(), "unknown, as the types are no atomic numbers; colours are those of types")
            }
            None => (vec![0; n], "unknown"),
        }
    }
}

impl Scene {
    /// The least and the largest coordinate of all atoms that have any.
    pub(crate) fn bounds(&self) -> Option<([f32; 3], [f32; 3])> {
        let finite = self.positions.iter().filter(|p| p.iter().all(|x| x.is_finite()));
        finite.fold(None, |bounds, p| {
            let (low, high) = bounds.unwrap_or((*p, *p));
            Some((
                std::array::from_fn(|axis: usize| low[axis].min(p[axis])),
                std::array::from_fn(|axis: usize| high[axis].max(p[axis])),
            ))
        })
    }

    /// Single values as text.
    pub(crate) fn singles_text(&self) -> Vec<(String, String)> {
        let text = |(name, value, unit): &(String, f64, String)| {
            let value =
                if name == "step" { super::plot::number(*value, 0) } else { super::plot::short(*value) };
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            (text::without_controls(name), text::without_controls(&format!("{value}{unit}")))
        };
        self.singles.iter().map(text).collect()
    }

    /// For the player. `before` is the scene before, whose elements and bonds are not told again if they are
    /// the same.
    pub(crate) fn to_json(&self, before: Option<&Self>) -> Value {
        let bytes: Vec<u8> = self.positions.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        let mut object = Map::from_iter([
            ("record".to_owned(), json!(self.record)),
            ("name".to_owned(), json!(self.name)),
            ("atoms".to_owned(), json!(self.n_atoms)),
            ("every".to_owned(), json!(self.every)),
            ("positions".to_owned(), json!(escape::base64(&bytes))),
            ("elementsBy".to_owned(), json!(self.elements_by)),
            ("singles".to_owned(), json!(self.singles_text())),
        ]);
        let values = self.singles.iter().filter(|(name, ..)| name == "time" || name == "step");
        object.extend(values.map(|(name, value, _)| (name.clone(), json!(value))));
        if before.is_none_or(|before| before.elements != self.elements) {
            object.insert("elements".into(), json!(escape::base64(&self.elements)));
        }
        if before.is_none_or(|before| before.bonds != self.bonds) {
            let bytes = |bonds: &Vec<[u32; 2]>| -> Vec<u8> {
                bonds.iter().flatten().flat_map(|atom| atom.to_le_bytes()).collect()
            };
            let bonds = self.bonds.as_ref().map(|bonds| escape::base64(&bytes(bonds)));
            object.insert("bonds".into(), json!(bonds));
        }
        if let Some(cell) = self.cell {
            object.insert("cell".into(), json!(cell));
            object.insert("origin".into(), json!(self.origin));
        }
        Value::Object(object)
    }
}

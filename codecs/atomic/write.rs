//! From an [`AtomicFrame`] to the bytes of a Flatbuffer.
//!
//! Shapes are checked before anything is built. Each thread has one builder, which keeps its buffer. So
//! a frame costs one copy of each array: into the builder, which then lends the record.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use bytemuck::{NoUninit, TransparentWrapper};
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Push, PushAlignment, Vector, WIPOffset};
use half::{bf16, f16};
use ndarray::CowArray;

use super::generated as fb;
use super::precision::Precision;
use super::{AtomicFrame, MAX_OWN_ARRAYS, MAX_RECORD_LEN, NamedArray, Topology};
use crate::codec::{CodecError, Shape};
use crate::codecs::ndarray::{AnyArray, DType, byte_len, to_bf16, to_f16};

type Builder = FlatBufferBuilder<'static>;
type Offset<T> = WIPOffset<Vector<'static, T>>;
type Strings = Offset<ForwardsUOffset<&'static str>>;

/// A builder with a larger buffer than this is dropped, and not kept for the thread's next frame.
const KEPT_BUILDER_LEN: usize = 64 << 20;

thread_local! {
    static BUILDER: Cell<Option<Builder>> = const { Cell::new(None) };
}

/// Gives `frame` to `job` as one record. It must have `fixed` atoms, or none at all.
pub(super) fn with_record<T>(
    frame: &AtomicFrame<'_>,
    precision: Precision,
    fixed: Option<usize>,
    job: impl FnOnce(&[u8]) -> T,
) -> Result<T, CodecError> {
    let n_atoms = check(frame)?;
    let found = usize::try_from(n_atoms).unwrap_or(usize::MAX);
    if let Some(expected) = fixed.filter(|&fixed| found != fixed && (found > 0 || frame.n_atoms.is_some())) {
        return Err(CodecError::invalid(format!(
            "a frame of {found} atoms, where all frames of the depot have {expected}"
        )));
    }
    let len = estimate_len(frame, precision);
    if len > MAX_RECORD_LEN {
        return Err(CodecError::invalid(format!(
            "a frame of {len} bytes: at most {MAX_RECORD_LEN}; put its arrays under names of their own"
        )));
    }
    let mut builder = BUILDER.take().unwrap_or_default();
    builder.reset();
    build(&mut builder, frame, n_atoms, precision)?;
    let done = job(builder.finished_data());
    if len <= KEPT_BUILDER_LEN {
        BUILDER.set(Some(builder));
    }
    Ok(done)
}

/// Checks every shape, and returns the number of atoms.
fn check(frame: &AtomicFrame<'_>) -> Result<i32, CodecError> {
    let topology = frame.topology.as_ref();
    let per_atom = frame.arrays.iter().filter(|own| own.per_atom);
    let first = |array: &AnyArray<'_>| array.shape().first().copied().unwrap_or(0);
    let fields =
        [&frame.positions, &frame.velocities, &frame.forces, &frame.types, &frame.masses, &frame.charges];
    let n_atoms = frame
        .n_atoms
        .or_else(|| fields.into_iter().flatten().map(first).next())
        .or_else(|| per_atom.clone().map(|own| first(&own.array)).next())
        .or_else(|| topology.and_then(topology_n_atoms))
        .unwrap_or(0);

    let matrix = |array: &Option<AnyArray<'_>>, field| expect_shape(array.as_ref(), field, &[n_atoms, 3]);
    let vector = |array: &Option<AnyArray<'_>>, field| expect_shape(array.as_ref(), field, &[n_atoms]);
    matrix(&frame.positions, "positions")?;
    matrix(&frame.velocities, "velocities")?;
    matrix(&frame.forces, "forces")?;
    vector(&frame.charges, "charges")?;
    vector(&frame.types, "types")?;
    vector(&frame.masses, "masses")?;
    for own in per_atom {
        if own.array.shape().first() != Some(&n_atoms) {
            let mut expected = vec![n_atoms];
            expected.extend(own.array.shape().iter().skip(1));
            return Err(CodecError::shape(own.name.as_ref(), &expected, own.array.shape()));
        }
    }
    check_own(&frame.arrays)?;
    if let Some(topology) = topology {
        vector(&topology.types, "topology.types")?;
        vector(&topology.masses, "topology.masses")?;
        vector(&topology.charges, "topology.charges")?;
        vector(&topology.residues, "topology.residues")?;
        vector(&topology.molecules, "topology.molecules")?;
        if let Some(names) = topology.names.as_ref().filter(|names| names.len() != n_atoms) {
            return Err(CodecError::shape("topology.names", &[n_atoms], &[names.len()]));
        }
        if let Some(bonds) = &topology.bonds {
            expect_shape(Some(bonds), "topology.bonds", &[bonds.shape().first().copied().unwrap_or(0), 2])?;
        }
    }
    i32::try_from(n_atoms).map_err(|_| CodecError::invalid(format!("{n_atoms} atoms: at most {}", i32::MAX)))
}

/// Checks that names differ, and that arrays can be lent.
fn check_own(arrays: &[NamedArray<'_>]) -> Result<(), CodecError> {
    if arrays.len() > MAX_OWN_ARRAYS {
        return Err(CodecError::invalid(format!(
            "{} arrays of the writer's own: at most {MAX_OWN_ARRAYS}",
            arrays.len()
        )));
    }
    let mut names = HashSet::with_capacity(arrays.len());
    for own in arrays {
        if !names.insert(own.name.as_ref()) {
            return Err(CodecError::invalid(format!("two arrays named `{}`", own.name)));
        }
        byte_len(&own.name, own.array.dtype(), own.array.shape())?;
    }
    Ok(())
}

fn topology_n_atoms(topology: &Topology<'_>) -> Option<usize> {
    let fields =
        [&topology.types, &topology.masses, &topology.charges, &topology.residues, &topology.molecules];
    let names = topology.names.as_ref().map(Vec::len);
    names.or_else(|| fields.into_iter().flatten().find_map(|array| array.shape().first().copied()))
}

fn expect_shape(array: Option<&AnyArray<'_>>, field: &str, expected: &[usize]) -> Result<(), CodecError> {
    match array {
        Some(array) if array.shape() != expected => Err(CodecError::shape(field, expected, array.shape())),
        _ => Ok(()),
    }
}

/// Bytes of all arrays and strings, at least. [`MAX_RECORD_LEN`] leaves room for heads and padding.
fn estimate_len(frame: &AtomicFrame<'_>, precision: Precision) -> usize {
    let len = |array: &AnyArray<'_>, size: usize| {
        array.shape().iter().product::<usize>().saturating_mul(size).saturating_add(64)
    };
    let text = |text: &Cow<'_, str>| text.len() + 12;
    let reals = [&frame.positions, &frame.velocities, &frame.forces, &frame.charges];
    let fours = [&frame.types, &frame.masses];
    let mut parts: Vec<usize> = Vec::new();
    parts.extend(reals.into_iter().flatten().map(|array| len(array, precision.dtype(array.dtype()).size())));
    parts.extend(fours.into_iter().flatten().map(|array| len(array, 4)));
    let own_len = |own: &NamedArray<'_>| {
        let axes = size_of::<u64>() * own.array.shape().len();
        len(&own.array, own.array.dtype().size()).saturating_add(text(&own.name) + axes)
    };
    parts.extend(frame.arrays.iter().map(own_len));
    parts.extend(frame.name.iter().chain(&frame.topology_name).map(text));
    if let Some(topology) = &frame.topology {
        let fours = [
            &topology.types,
            &topology.masses,
            &topology.charges,
            &topology.bonds,
            &topology.residues,
            &topology.molecules,
        ];
        parts.extend(fours.into_iter().flatten().map(|array| len(array, 4)));
        parts.extend(topology.names.iter().chain(&topology.residue_names).flatten().map(text));
    }
    parts.into_iter().fold(0, usize::saturating_add)
}

/// A field of some precision, in its float32 vector or in an `Array`.
enum Real {
    Absent,
    F32(Offset<f32>),
    Typed(WIPOffset<fb::Array<'static>>),
}

impl Real {
    fn split(self) -> (Option<Offset<f32>>, Option<WIPOffset<fb::Array<'static>>>) {
        match self {
            Self::Absent => (None, None),
            Self::F32(vector) => (Some(vector), None),
            Self::Typed(array) => (None, Some(array)),
        }
    }
}

fn build(
    builder: &mut Builder,
    frame: &AtomicFrame<'_>,
    n_atoms: i32,
    precision: Precision,
) -> Result<(), CodecError> {
    let mut own = Vec::with_capacity(frame.arrays.len());
    for array in &frame.arrays {
        let name = builder.create_string(&array.name);
        let kind = if array.per_atom { fb::ArrayKind::PerAtom } else { fb::ArrayKind::PerFrame };
        own.push(write_array(builder, Some(name), kind, &array.array));
    }
    let arrays = if own.is_empty() { None } else { Some(builder.create_vector(&own)) };
    let topology =
        frame.topology.as_ref().map(|topology| write_topology(builder, topology, n_atoms)).transpose()?;
    let (charges, charges_typed) = real(builder, "charges", frame.charges.as_ref(), precision)?.split();
    let (velocities, velocities_typed) =
        real(builder, "velocities", frame.velocities.as_ref(), precision)?.split();
    let (forces, forces_typed) = real(builder, "forces", frame.forces.as_ref(), precision)?.split();
    let (positions, positions_typed) =
        real(builder, "positions", frame.positions.as_ref(), precision)?.split();
    let root = fb::FBFrameArgs {
        name: frame.name.as_ref().map(|name| builder.create_string(name)),
        nsites: n_atoms,
        ncodim: 3,
        types: integers(builder, "types", frame.types.as_ref(), i32::ALL)?,
        masses: singles(builder, "masses", frame.masses.as_ref())?,
        positions,
        forces,
        velocities,
        cell: frame.cell.as_ref().map(|cell| builder.create_vector(cell.as_flattened())),
        pbc: frame.pbc.as_ref().map(|pbc| builder.create_vector(pbc)),
        step: frame.step,
        time: frame.time,
        energy: frame.energy,
        stress: frame.stress.as_ref().map(|stress| builder.create_vector(stress.as_flattened())),
        charges,
        positions_typed,
        velocities_typed,
        forces_typed,
        charges_typed,
        arrays,
        topology_name: frame.topology_name.as_ref().map(|name| builder.create_string(name)),
        topology,
    };
    let root = fb::FBFrame::create(builder, &root);
    fb::finish_fbframe_buffer(builder, root);
    Ok(())
}

fn write_topology(
    builder: &mut Builder,
    topology: &Topology<'_>,
    n_atoms: i32,
) -> Result<WIPOffset<fb::Topology<'static>>, CodecError> {
    let atoms = 0..=i128::from(n_atoms) - 1;
    // Without names, a residue is a number that refers to nothing.
    let residues = match &topology.residue_names {
        Some(names) => 0..=names.len() as i128 - 1,
        None => u32::ALL,
    };
    let args = fb::TopologyArgs {
        types: integers(builder, "topology.types", topology.types.as_ref(), i32::ALL)?,
        masses: singles(builder, "topology.masses", topology.masses.as_ref())?,
        charges: singles(builder, "topology.charges", topology.charges.as_ref())?,
        names: strings(builder, topology.names.as_deref()),
        bonds: integers::<u32>(builder, "topology.bonds", topology.bonds.as_ref(), atoms)?,
        residues: integers::<u32>(builder, "topology.residues", topology.residues.as_ref(), residues)?,
        residue_names: strings(builder, topology.residue_names.as_deref()),
        molecules: integers(builder, "topology.molecules", topology.molecules.as_ref(), u32::ALL)?,
    };
    Ok(fb::Topology::create(builder, &args))
}

/// Stores names, each of them once: names repeat (all water molecules share three).
fn strings(builder: &mut Builder, names: Option<&[Cow<'_, str>]>) -> Option<Strings> {
    let names = names?;
    let mut stored = HashMap::new();
    let offsets: Vec<_> = names
        .iter()
        .map(|name| *stored.entry(name.as_ref()).or_insert_with(|| builder.create_string(name)))
        .collect();
    Some(builder.create_vector(&offsets))
}

/// A byte with the alignment that `Array.data` needs, because the builder has no `force_align`.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct AlignedByte(u8);

// SAFETY: a transparent struct of one `u8`.
unsafe impl TransparentWrapper<u8> for AlignedByte {}

impl Push for AlignedByte {
    type Output = u8;

    unsafe fn push(&self, dst: &mut [u8], _written_len: usize) {
        dst[0] = self.0;
    }

    fn alignment() -> PushAlignment {
        PushAlignment::new(16)
    }
}

fn write_array(
    builder: &mut Builder,
    name: Option<WIPOffset<&'static str>>,
    kind: fb::ArrayKind,
    array: &AnyArray<'_>,
) -> WIPOffset<fb::Array<'static>> {
    let bytes = array.as_bytes().map_or_else(
        || {
            let mut bytes = Vec::new();
            array.append_to(&mut bytes);
            Cow::Owned(bytes)
        },
        Cow::Borrowed,
    );
    write_bytes(builder, name, kind, array.dtype(), array.shape(), &bytes)
}

fn write_bytes(
    builder: &mut Builder,
    name: Option<WIPOffset<&'static str>>,
    kind: fb::ArrayKind,
    dtype: DType,
    shape: &[usize],
    bytes: &[u8],
) -> WIPOffset<fb::Array<'static>> {
    let data = builder.create_vector(AlignedByte::wrap_slice(bytes));
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    let shape = Some(builder.create_vector(&shape));
    let args = fb::ArrayArgs { name, kind, dtype: fb::DType(dtype.code()), shape, data: Some(data) };
    fb::Array::create(builder, &args)
}

fn real(
    builder: &mut Builder,
    field: &str,
    array: Option<&AnyArray<'_>>,
    precision: Precision,
) -> Result<Real, CodecError> {
    let Some(array) = array else { return Ok(Real::Absent) };
    let kind = fb::ArrayKind::PerAtom;
    let dtype = precision.dtype(array.dtype());
    let shape = array.shape();
    Ok(match dtype {
        DType::F32 => Real::F32(builder.create_vector(&to_singles(field, array)?)),
        _ if dtype == array.dtype() && dtype.is_real() => {
            Real::Typed(write_array(builder, None, kind, array))
        }
        DType::F64 => {
            let reals = to_reals(field, array, dtype, |x| x, f64::is_finite)?;
            Real::Typed(write_bytes(builder, None, kind, dtype, shape, bytemuck::cast_slice(&reals)))
        }
        DType::F16 => {
            let reals = to_reals(field, array, dtype, to_f16, f16::is_finite)?;
            Real::Typed(write_bytes(builder, None, kind, dtype, shape, bytemuck::cast_slice(&reals)))
        }
        DType::BF16 => {
            let reals = to_reals(field, array, dtype, to_bf16, bf16::is_finite)?;
            Real::Typed(write_bytes(builder, None, kind, dtype, shape, bytemuck::cast_slice(&reals)))
        }
        _ => return Err(not_of(field, "a float", array)),
    })
}

fn singles(
    builder: &mut Builder,
    field: &str,
    array: Option<&AnyArray<'_>>,
) -> Result<Option<Offset<f32>>, CodecError> {
    array.map(|array| Ok(builder.create_vector(&to_singles(field, array)?))).transpose()
}

/// An integer type that is stored.
trait Integer: TryFrom<i128> + NoUninit + Push<Output = Self> {
    /// All of its values.
    const ALL: RangeInclusive<i128>;
}

impl Integer for i32 {
    const ALL: RangeInclusive<i128> = i32::MIN as i128..=i32::MAX as i128;
}

impl Integer for u32 {
    const ALL: RangeInclusive<i128> = 0..=u32::MAX as i128;
}

fn integers<T: Integer>(
    builder: &mut Builder,
    field: &str,
    array: Option<&AnyArray<'_>>,
    allowed: RangeInclusive<i128>,
) -> Result<Option<Offset<T>>, CodecError> {
    array.map(|array| Ok(builder.create_vector(&to_integers::<T>(field, array, &allowed)?))).transpose()
}

/// The numbers as f32. They are borrowed if they are f32 already and lie in order.
#[allow(clippy::cast_possible_truncation, reason = "what f32 is chosen for; overflow is checked")]
fn to_singles<'b>(field: &str, array: &'b AnyArray<'_>) -> Result<Cow<'b, [f32]>, CodecError> {
    if let AnyArray::F32(singles) = array {
        return Ok(in_order(singles));
    }
    to_reals(field, array, DType::F32, |x| x as f32, f32::is_finite).map(Cow::Owned)
}

fn in_order<'b, T: Clone>(array: &'b CowArray<'_, T, ndarray::IxDyn>) -> Cow<'b, [T]> {
    match array.as_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(array.iter().cloned().collect()),
    }
}

fn to_reals<T: Copy>(
    field: &str,
    array: &AnyArray<'_>,
    dtype: DType,
    to: impl Fn(f64) -> T,
    is_finite: impl Fn(T) -> bool,
) -> Result<Vec<T>, CodecError> {
    let round = |x: f64| {
        let rounded = to(x);
        if x.is_finite() && !is_finite(rounded) {
            return Err(CodecError::invalid(format!(
                "field `{field}`: {x:e} does not fit {}; choose a wider precision",
                dtype.name()
            )));
        }
        Ok(rounded)
    };
    match array {
        AnyArray::F32(array) => array.iter().map(|&x| round(x.into())).collect(),
        AnyArray::F64(array) => array.iter().map(|&x| round(x)).collect(),
        AnyArray::F16(array) => array.iter().map(|&x| round(x.into())).collect(),
        AnyArray::BF16(array) => array.iter().map(|&x| round(x.into())).collect(),
        other => Err(not_of(field, "a float", other)),
    }
}

fn to_integers<T: Integer>(
    field: &str,
    array: &AnyArray<'_>,
    allowed: &RangeInclusive<i128>,
) -> Result<Vec<T>, CodecError> {
    let convert = |(at, found): (usize, i128)| {
        let fits = if allowed.contains(&found) { T::try_from(found).ok() } else { None };
        fits.ok_or_else(|| CodecError::Range {
            field: field.into(),
            index: Shape(index_of(at, array.shape())),
            found,
            least: *allowed.start(),
            most: *allowed.end(),
        })
    };
    macro_rules! each {
        ($array:expr) => {
            $array.iter().map(|&x| x.into()).enumerate().map(convert).collect()
        };
    }
    match array {
        AnyArray::I8(array) => each!(array),
        AnyArray::I16(array) => each!(array),
        AnyArray::I32(array) => each!(array),
        AnyArray::I64(array) => each!(array),
        AnyArray::U8(array) => each!(array),
        AnyArray::U16(array) => each!(array),
        AnyArray::U32(array) => each!(array),
        AnyArray::U64(array) => each!(array),
        other => Err(not_of(field, "an integer", other)),
    }
}

/// Index of the `nth` element, counted row by row.
fn index_of(mut nth: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &n) in index.iter_mut().zip(shape).rev() {
        (*at, nth) = (nth % n.max(1), nth / n.max(1));
    }
    index
}

fn not_of(field: &str, expected: &str, array: &AnyArray<'_>) -> CodecError {
    CodecError::Dtype { field: field.into(), expected: expected.into(), found: array.dtype().to_string() }
}

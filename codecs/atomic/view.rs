//! What a reader gets: the fields of a record, lent from its bytes.
//!
//! Three things always hold for a view. The Flatbuffer was verified, the bytes start at a multiple of 8,
//! and every field has the shape and dtype that its accessor gives. So no accessor can fail or panic.

use std::fmt;

use flatbuffers::{ForwardsUOffset, Vector};
use ndarray::{ArrayView1, ArrayView2, Axis, Dimension, Ix1, Ix2, IxDyn};

use super::generated as fb;
use super::precision::Precision;
use super::{AtomicFrame, NamedArray, Topology};
use crate::codec::CodecError;
use crate::codecs::ndarray::{AnyArray, AnyArrayView, DType, Element};
use crate::{Elements, FieldSpans};

/// A frame, borrowed from its record's bytes.
///
/// Each accessor costs one look-up, and copies and allocates nothing.
///
/// Accessors without a type give f32. To read a frame in another [`Precision`], use
/// `positions_as::<f64>()` or `positions_any()`; the other fields have the same two. A codec of one
/// precision refuses frames of another, so `positions()` is never empty by mistake.
#[derive(Clone, Copy)]
pub struct AtomicFrameView<'a> {
    frame: fb::FBFrame<'a>,
    n_atoms: usize,
    n_dims: usize,
}

/// One of the writer's own arrays.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NamedArrayView<'a> {
    /// The name that the writer gave it.
    pub name: &'a str,
    /// Whether the first axis counts atoms.
    pub per_atom: bool,
    /// The array.
    pub array: AnyArrayView<'a>,
}

/// What does not change in a run, borrowed from its record's bytes.
#[derive(Clone, Copy)]
pub struct TopologyView<'a> {
    topology: fb::Topology<'a>,
    n_atoms: usize,
}

type Strings<'a> = Vector<'a, ForwardsUOffset<&'a str>>;

/// The numbers of a Flatbuffer vector, borrowed from the record.
fn slice<T: bytemuck::AnyBitPattern>(vector: Vector<'_, T>) -> &[T] {
    // Cannot panic: the verifier checked that the vector is aligned relative to the start of the record,
    // and the record is aligned.
    bytemuck::cast_slice(vector.bytes())
}

fn empty_means_absent<T>(vector: Option<Vector<'_, T>>, n_atoms: usize) -> Option<Vector<'_, T>> {
    // Writers that lack optional vectors leave them empty.
    vector.filter(|vector| n_atoms == 0 || !vector.is_empty())
}

/// Checks a vector's length against a shape.
fn expect<T>(vector: Option<Vector<'_, T>>, field: &str, shape: &[usize]) -> Result<(), CodecError> {
    let Some(vector) = vector else { return Ok(()) };
    let expected = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
    if expected == Some(vector.len()) {
        Ok(())
    } else {
        Err(CodecError::shape(field, shape, &[vector.len()]))
    }
}

/// Reads an `Array` of a verified Flatbuffer, and checks the array's own rules.
fn check_array<'a>(array: fb::Array<'a>, field: &str) -> Result<AnyArrayView<'a>, CodecError> {
    let dtype = DType::from_code(array.dtype().0)
        .ok_or_else(|| CodecError::invalid(format!("field `{field}`: unknown dtype {}", array.dtype().0)))?;
    let shape = array_shape(array)
        .ok_or_else(|| CodecError::invalid(format!("field `{field}`: too large for this machine")))?;
    let data = array.data().map_or(&[][..], |data| data.bytes());
    if data.is_empty() {
        // It does not matter where an absent vector would lie.
        return AnyArrayView::new(field, dtype, shape.slice(), aligned_empty());
    }
    AnyArrayView::new(field, dtype, shape.slice(), data)
}

fn array_shape(array: fb::Array<'_>) -> Option<IxDyn> {
    let Some(stored) = array.shape() else { return Some(IxDyn(&[])) };
    let mut shape = IxDyn::zeros(stored.len());
    for (n, stored) in shape.slice_mut().iter_mut().zip(stored) {
        *n = usize::try_from(stored).ok()?;
    }
    Some(shape)
}

fn aligned_empty() -> &'static [u8] {
    bytemuck::cast_slice::<u128, u8>(&[])
}

/// Reads an `Array` that passed [`check_array`].
fn checked_array(array: fb::Array<'_>) -> Option<AnyArrayView<'_>> {
    let data = array.data().map(|data| data.bytes()).filter(|data| !data.is_empty());
    let data = data.unwrap_or(aligned_empty());
    Some(AnyArrayView::new_unchecked(DType::from_code(array.dtype().0)?, array_shape(array)?, data))
}

macro_rules! real_fields {
    ($($doc:literal, $field:ident, $typed:ident, $any:ident, $as:ident, $dim:ty, $out:ident, $shape:ident;)*) => {$(
        #[doc = concat!($doc, ", whatever the dtype; `None` when the frame has none.")]
        pub fn $any(&self) -> Option<AnyArrayView<'a>> {
            if let Some(vector) = empty_means_absent(self.frame.$field(), self.n_atoms) {
                let shape = self.$shape().into_dyn();
                return Some(AnyArrayView::new_unchecked(DType::F32, shape, vector.bytes()));
            }
            checked_array(self.frame.$typed()?)
        }

        #[doc = concat!($doc, ", as `T` (f32, f64, f16 or bf16), the dtype they are stored in.")]
        ///
        /// # Errors
        /// [`CodecError::Dtype`] when they are stored in another type. [`CodecError::Invalid`] when
        /// there are none.
        pub fn $as<T: Element>(&self) -> Result<$out<'a, T>, CodecError> {
            let name = stringify!($field);
            let array =
                self.$any().ok_or_else(|| CodecError::invalid(format!("the frame has no {name}")))?;
            let array = array.view_named::<T>(name)?;
            array.into_dimensionality::<$dim>().map_err(|error| CodecError::invalid(error.to_string()))
        }
    )*};
}

impl<'a> AtomicFrameView<'a> {
    pub(super) fn new(bytes: &'a [u8], precision: Precision) -> Result<Self, CodecError> {
        if !bytes.as_ptr().addr().is_multiple_of(8) {
            return Err(CodecError::invalid("a frame's bytes must start at a multiple of 16"));
        }
        let frame = fb::root_as_fbframe(bytes).map_err(|error| {
            let error = error.to_string();
            CodecError::invalid(format!("not a frame: {}", error.lines().next().unwrap_or_default()))
        })?;
        let (n_atoms, n_dims) = sizes(frame).ok_or_else(|| {
            let (n_atoms, n_dims) = (frame.nsites(), frame.ncodim());
            CodecError::invalid(format!(
                "a frame of {n_atoms} atoms with {n_dims} coordinates each: at least 0 and 1 are needed"
            ))
        })?;
        let view = Self { frame, n_atoms, n_dims };
        view.check(precision)?;
        Ok(view)
    }

    /// # Safety
    /// `new` gave `Ok` for these bytes at this address.
    pub(super) unsafe fn new_unchecked(bytes: &'a [u8]) -> Self {
        // SAFETY: `new` verified these bytes, as the caller promises.
        let frame = unsafe { fb::root_as_fbframe_unchecked(bytes) };
        let (n_atoms, n_dims) = sizes(frame).unwrap_or((0, 3));
        Self { frame, n_atoms, n_dims }
    }

    fn check(&self, precision: Precision) -> Result<(), CodecError> {
        let (frame, n) = (self.frame, self.n_atoms);
        let (vector, matrix) = ([n], [n, self.n_dims]);
        expect(empty_means_absent(frame.types(), n), "types", &vector)?;
        expect(empty_means_absent(frame.masses(), n), "masses", &vector)?;
        expect(frame.cell(), "cell", &[3, 3])?;
        expect(frame.pbc(), "pbc", &[3])?;
        expect(frame.stress(), "stress", &[3, 3])?;
        let reals = [
            ("positions", frame.positions(), frame.positions_typed(), &matrix[..]),
            ("velocities", frame.velocities(), frame.velocities_typed(), &matrix),
            ("forces", frame.forces(), frame.forces_typed(), &matrix),
            ("charges", frame.charges(), frame.charges_typed(), &vector),
        ];
        for (field, singles, typed, shape) in reals {
            let singles = empty_means_absent(singles, n);
            expect(singles, field, shape)?;
            let typed = typed.map(|typed| check_array(typed, field)).transpose()?;
            if let Some(typed) = &typed {
                if typed.shape() != shape {
                    return Err(CodecError::shape(field, shape, typed.shape()));
                }
                if !typed.dtype().is_real() {
                    return Err(wrong_dtype(field, "a float", typed.dtype()));
                }
            }
            let found = singles.map(|_| DType::F32).or(typed.map(|typed| typed.dtype()));
            if let Some(found) = found.filter(|&found| precision.dtype(found) != found) {
                return Err(wrong_dtype(field, precision.dtype(found).name(), found));
            }
        }
        for own in frame.arrays().iter().flatten() {
            let field = own.name().unwrap_or_default();
            let array = check_array(own, field)?;
            if own.kind() == fb::ArrayKind::PerAtom && array.shape().first() != Some(&n) {
                return Err(CodecError::shape(field, &[n], array.shape()));
            }
        }
        self.topology().map_or(Ok(()), |topology| topology.check())
    }

    /// Number of atoms.
    pub fn n_atoms(&self) -> usize {
        self.n_atoms
    }

    /// Number of coordinates per atom. It is 3, except in frames of other programs.
    pub fn n_dims(&self) -> usize {
        self.n_dims
    }

    /// Free text.
    pub fn name(&self) -> Option<&'a str> {
        self.frame.name()
    }

    /// `[n_atoms, 3]` in nm. `[0, 3]` when the frame has none (a topology record).
    ///
    /// It is also `[0, 3]` when the positions are stored in another [`Precision`] than f32: then use
    /// [`positions_as`](Self::positions_as).
    pub fn positions(&self) -> ArrayView2<'a, f32> {
        self.singles_matrix(self.frame.positions()).unwrap_or_else(|| ArrayView2::from(&[] as &[[f32; 3]]))
    }

    /// `[n_atoms, 3]` in nm/ps. `None` when absent, or in another precision than f32.
    pub fn velocities(&self) -> Option<ArrayView2<'a, f32>> {
        self.singles_matrix(self.frame.velocities())
    }

    /// `[n_atoms, 3]` in kJ/mol/nm. `None` when absent, or in another precision than f32.
    pub fn forces(&self) -> Option<ArrayView2<'a, f32>> {
        self.singles_matrix(self.frame.forces())
    }

    /// `[n_atoms]` in e. `None` when absent, or in another precision than f32.
    pub fn charges(&self) -> Option<ArrayView1<'a, f32>> {
        empty_means_absent(self.frame.charges(), self.n_atoms).map(|vector| slice(vector).into())
    }

    real_fields! {
        "`[n_atoms, 3]` in nm", positions, positions_typed, positions_any, positions_as, Ix2, ArrayView2, matrix;
        "`[n_atoms, 3]` in nm/ps",
            velocities, velocities_typed, velocities_any, velocities_as, Ix2, ArrayView2, matrix;
        "`[n_atoms, 3]` in kJ/mol/nm", forces, forces_typed, forces_any, forces_as, Ix2, ArrayView2, matrix;
        "`[n_atoms]` in e", charges, charges_typed, charges_any, charges_as, Ix1, ArrayView1, vector;
    }

    /// `[n_atoms]` atomic numbers or type ids.
    pub fn types(&self) -> Option<ArrayView1<'a, i32>> {
        empty_means_absent(self.frame.types(), self.n_atoms).map(|vector| slice(vector).into())
    }

    /// `[n_atoms]` in u.
    pub fn masses(&self) -> Option<ArrayView1<'a, f32>> {
        empty_means_absent(self.frame.masses(), self.n_atoms).map(|vector| slice(vector).into())
    }

    /// `[3, 3]` in nm, one lattice vector per row.
    pub fn cell(&self) -> Option<ArrayView2<'a, f64>> {
        ArrayView2::from_shape((3, 3), slice(self.frame.cell()?)).ok()
    }

    /// Whether the frame repeats along each lattice vector.
    pub fn pbc(&self) -> Option<[bool; 3]> {
        let pbc = self.frame.pbc()?;
        (pbc.len() == 3).then(|| [pbc.get(0), pbc.get(1), pbc.get(2)])
    }

    /// Number of the integration step.
    pub fn step(&self) -> Option<i64> {
        self.frame.step()
    }

    /// Simulation time in ps.
    pub fn time(&self) -> Option<f64> {
        self.frame.time()
    }

    /// Potential energy in kJ/mol.
    pub fn energy(&self) -> Option<f64> {
        self.frame.energy()
    }

    /// `[3, 3]` in bar.
    pub fn stress(&self) -> Option<ArrayView2<'a, f64>> {
        ArrayView2::from_shape((3, 3), slice(self.frame.stress()?)).ok()
    }

    /// The writer's own arrays, in the order in which they were added.
    pub fn arrays(&self) -> impl Iterator<Item = NamedArrayView<'a>> + use<'a> {
        self.frame.arrays().into_iter().flatten().filter_map(|own| {
            let per_atom = own.kind() == fb::ArrayKind::PerAtom;
            Some(NamedArrayView {
                name: own.name().unwrap_or_default(),
                per_atom,
                array: checked_array(own)?,
            })
        })
    }

    /// The writer's own array of that name. This looks through all of them.
    pub fn array(&self, name: &str) -> Option<AnyArrayView<'a>> {
        self.arrays().find(|own| own.name == name).map(|own| own.array)
    }

    /// Adds the arrays that have elements for each atom. Own arrays have field numbers by their place among
    /// them.
    pub(super) fn fields(&self, fields: &mut FieldSpans<'_>) {
        const FIRST_OWN: usize = 16;
        let real = [self.positions_any(), self.velocities_any(), self.forces_any(), self.charges_any()];
        for (field, array) in (1..).zip(real) {
            if let Some(array) = array {
                fields.add(field, array.dtype().elements(), array.as_bytes());
            }
        }
        if let Some(types) = self.frame.types() {
            fields.add(5, Elements::Bytes4, types.bytes());
        }
        if let Some(masses) = self.frame.masses() {
            fields.add(6, Elements::Float4, masses.bytes());
        }
        for (number, array) in self.arrays().enumerate().filter(|(_, array)| array.per_atom) {
            let field = u8::try_from(FIRST_OWN + number).unwrap_or(u8::MAX);
            fields.add(field, array.array.dtype().elements(), array.array.as_bytes());
        }
    }

    /// Name of the record in the same depot that holds the topology.
    pub fn topology_name(&self) -> Option<&'a str> {
        self.frame.topology_name()
    }

    /// The topology, if this record holds it.
    pub fn topology(&self) -> Option<TopologyView<'a>> {
        Some(TopologyView { topology: self.frame.topology()?, n_atoms: self.n_atoms })
    }

    /// Makes a frame that can be put elsewhere, or changed and put again.
    ///
    /// Its arrays still borrow from this record.
    ///
    /// # Errors
    /// [`CodecError`] for a frame of another program that does not have 3 coordinates per atom.
    pub fn to_frame(&self) -> Result<AtomicFrame<'a>, CodecError> {
        if self.n_dims != 3 {
            return Err(CodecError::shape("positions", &[self.n_atoms, 3], &[self.n_atoms, self.n_dims]));
        }
        let any = |array: Option<AnyArrayView<'a>>| array.map(|array| array.to_any()).transpose();
        let mut arrays = Vec::new();
        for own in self.arrays() {
            arrays.push(NamedArray {
                name: own.name.into(),
                per_atom: own.per_atom,
                array: own.array.to_any()?,
            });
        }
        Ok(AtomicFrame {
            name: self.name().map(Into::into),
            n_atoms: Some(self.n_atoms),
            positions: any(self.positions_any())?,
            velocities: any(self.velocities_any())?,
            forces: any(self.forces_any())?,
            charges: any(self.charges_any())?,
            types: self.types().map(AnyArray::from),
            masses: self.masses().map(AnyArray::from),
            cell: self.cell().map(|cell| rows(&cell)),
            pbc: self.pbc(),
            step: self.step(),
            time: self.time(),
            energy: self.energy(),
            stress: self.stress().map(|stress| rows(&stress)),
            arrays,
            topology_name: self.topology_name().map(Into::into),
            topology: self.topology().map(|topology| topology.to_topology()),
        })
    }

    fn singles_matrix(&self, vector: Option<Vector<'a, f32>>) -> Option<ArrayView2<'a, f32>> {
        let vector = empty_means_absent(vector, self.n_atoms)?;
        ArrayView2::from_shape(self.matrix(), slice(vector)).ok()
    }

    fn matrix(&self) -> Ix2 {
        Ix2(self.n_atoms, self.n_dims)
    }

    fn vector(&self) -> Ix1 {
        Ix1(self.n_atoms)
    }
}

fn rows(matrix: &ArrayView2<'_, f64>) -> [[f64; 3]; 3] {
    let mut rows = [[0.0; 3]; 3];
    for (row, stored) in rows.iter_mut().zip(matrix.axis_iter(Axis(0))) {
        for (x, stored) in row.iter_mut().zip(stored) {
            *x = *stored;
        }
    }
    rows
}

fn wrong_dtype(field: &str, expected: &str, found: DType) -> CodecError {
    CodecError::Dtype { field: field.into(), expected: expected.into(), found: found.to_string() }
}

/// The number of atoms, and of coordinates per atom. `None` when either is invalid.
fn sizes(frame: fb::FBFrame<'_>) -> Option<(usize, usize)> {
    let n_dims = usize::try_from(frame.ncodim()).ok().filter(|&n| n > 0)?;
    let mut n_atoms = usize::try_from(frame.nsites()).ok()?;
    // A writer may leave the count out. Then the positions tell it.
    if let Some(positions) = frame.positions().filter(|_| n_atoms == 0) {
        n_atoms = positions.len() / n_dims;
    }
    Some((n_atoms, n_dims))
}

impl<'a> TopologyView<'a> {
    fn check(&self) -> Result<(), CodecError> {
        let (topology, n) = (self.topology, self.n_atoms);
        expect(topology.types(), "topology.types", &[n])?;
        expect(topology.masses(), "topology.masses", &[n])?;
        expect(topology.charges(), "topology.charges", &[n])?;
        expect(topology.names(), "topology.names", &[n])?;
        expect(topology.residues(), "topology.residues", &[n])?;
        expect(topology.molecules(), "topology.molecules", &[n])?;
        expect(topology.bonds(), "topology.bonds", &[topology.bonds().map_or(0, |bonds| bonds.len() / 2), 2])
    }

    /// Number of atoms.
    pub fn n_atoms(&self) -> usize {
        self.n_atoms
    }

    /// `[n_atoms]` atomic numbers or type ids.
    pub fn types(&self) -> Option<ArrayView1<'a, i32>> {
        self.topology.types().map(|vector| slice(vector).into())
    }

    /// `[n_atoms]` in u.
    pub fn masses(&self) -> Option<ArrayView1<'a, f32>> {
        self.topology.masses().map(|vector| slice(vector).into())
    }

    /// `[n_atoms]` in e.
    pub fn charges(&self) -> Option<ArrayView1<'a, f32>> {
        self.topology.charges().map(|vector| slice(vector).into())
    }

    /// `[n_atoms]` atom names.
    pub fn names(&self) -> Option<impl ExactSizeIterator<Item = &'a str> + use<'a>> {
        self.topology.names().map(|names: Strings<'a>| names.iter())
    }

    /// `[n_bonds, 2]` atom indices from 0.
    ///
    /// They were below `n_atoms` when this crate wrote them. Check them again in files of other
    /// programs.
    pub fn bonds(&self) -> Option<ArrayView2<'a, u32>> {
        let bonds = slice(self.topology.bonds()?);
        ArrayView2::from_shape((bonds.len() / 2, 2), bonds).ok()
    }

    /// `[n_atoms]` index into the residue names.
    pub fn residues(&self) -> Option<ArrayView1<'a, u32>> {
        self.topology.residues().map(|vector| slice(vector).into())
    }

    /// `[n_residues]` residue names.
    pub fn residue_names(&self) -> Option<impl ExactSizeIterator<Item = &'a str> + use<'a>> {
        self.topology.residue_names().map(|names: Strings<'a>| names.iter())
    }

    /// `[n_atoms]` molecule number from 0.
    pub fn molecules(&self) -> Option<ArrayView1<'a, u32>> {
        self.topology.molecules().map(|vector| slice(vector).into())
    }

    /// Makes a topology that can be put elsewhere, or changed and put again.
    ///
    /// Its arrays still borrow from this record.
    pub fn to_topology(&self) -> Topology<'a> {
        Topology {
            types: self.types().map(AnyArray::from),
            masses: self.masses().map(AnyArray::from),
            charges: self.charges().map(AnyArray::from),
            names: self.names().map(|names| names.map(Into::into).collect()),
            bonds: self.bonds().map(AnyArray::from),
            residues: self.residues().map(AnyArray::from),
            residue_names: self.residue_names().map(|names| names.map(Into::into).collect()),
            molecules: self.molecules().map(AnyArray::from),
        }
    }
}

impl fmt::Debug for AtomicFrameView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicFrameView")
            .field("name", &self.name())
            .field("n_atoms", &self.n_atoms)
            .field("step", &self.step())
            .field("time", &self.time())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TopologyView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyView").field("n_atoms", &self.n_atoms).finish_non_exhaustive()
    }
}

//! What a writer gives: borrowed arrays, gathered under their names.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::ptr;

use crate::codecs::ndarray::AnyArray;

/// A frame to write. Arrays are borrowed, contiguous or not, or owned.
///
/// Every field is optional. `put` takes `&AtomicFrame`, and its only copy is the one into the record.
///
/// ```
/// use vldepot::{Codec, codecs::{AtomicFrame, AtomicFrameCodec}};
///
/// let positions = vec![[0.0_f32, 0.1, 0.2]; 8];
/// let frame = AtomicFrame::new().positions(&positions).step(1000).time(2.0);
///
/// let mut record = Vec::new();
/// AtomicFrameCodec::default().encode(&frame, &mut record)?; // or: depot.put("frame_1000", &frame)?
/// # Ok::<(), vldepot::CodecError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct AtomicFrame<'a> {
    /// Free text.
    pub name: Option<Cow<'a, str>>,
    /// Number of atoms. Only needed for a frame without per-atom arrays, which otherwise tell it.
    pub n_atoms: Option<usize>,
    /// `[n_atoms, 3]` in nm.
    pub positions: Option<AnyArray<'a>>,
    /// `[n_atoms, 3]` in nm/ps.
    pub velocities: Option<AnyArray<'a>>,
    /// `[n_atoms, 3]` in kJ/mol/nm.
    pub forces: Option<AnyArray<'a>>,
    /// `[n_atoms]` in e.
    pub charges: Option<AnyArray<'a>>,
    /// `[n_atoms]` atomic numbers or type ids, of any integer dtype. Stored as i32.
    pub types: Option<AnyArray<'a>>,
    /// `[n_atoms]` in u. Stored as f32.
    pub masses: Option<AnyArray<'a>>,
    /// `[3, 3]` in nm, one lattice vector per row.
    pub cell: Option<[[f64; 3]; 3]>,
    /// Whether the frame repeats along each lattice vector.
    pub pbc: Option<[bool; 3]>,
    /// Number of the integration step.
    pub step: Option<i64>,
    /// Simulation time in ps.
    pub time: Option<f64>,
    /// Potential energy in kJ/mol.
    pub energy: Option<f64>,
    /// `[3, 3]` in bar.
    pub stress: Option<[[f64; 3]; 3]>,
    /// The writer's own arrays.
    pub arrays: Vec<NamedArray<'a>>,
    /// Name of the record in the same depot that holds the topology of these atoms.
    pub topology_name: Option<Cow<'a, str>>,
    /// The topology itself, in the one record that holds it.
    pub topology: Option<Topology<'a>>,
}

/// One of the writer's own arrays.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArray<'a> {
    /// The name, unique within the frame.
    pub name: Cow<'a, str>,
    /// Whether the first axis counts atoms.
    pub per_atom: bool,
    /// Any dtype, stored as it is. The shape is `[n_atoms, ..]` for an array per atom, else any.
    pub array: AnyArray<'a>,
}

/// What does not change in a run. Every field is optional.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Topology<'a> {
    /// `[n_atoms]` atomic numbers or type ids, of any integer dtype. Stored as i32.
    pub types: Option<AnyArray<'a>>,
    /// `[n_atoms]` in u. Stored as f32.
    pub masses: Option<AnyArray<'a>>,
    /// `[n_atoms]` in e. Stored as f32.
    pub charges: Option<AnyArray<'a>>,
    /// `[n_atoms]` atom names.
    pub names: Option<Vec<Cow<'a, str>>>,
    /// `[n_bonds, 2]` atom indices from 0 and below `n_atoms`, of any integer dtype. Stored as u32.
    pub bonds: Option<AnyArray<'a>>,
    /// `[n_atoms]` indices into `residue_names`, or any residue numbers when there are no names.
    ///
    /// Any integer dtype, stored as u32.
    pub residues: Option<AnyArray<'a>>,
    /// `[n_residues]` residue names.
    pub residue_names: Option<Vec<Cow<'a, str>>>,
    /// `[n_atoms]` molecule numbers from 0, of any integer dtype. Stored as u32.
    pub molecules: Option<AnyArray<'a>>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $set:expr;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = Some(($set)($field));
            self
        }
    )*};
}

impl<'a> AtomicFrame<'a> {
    /// Makes an empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Sets the free text.
        name: impl Into<Cow<'a, str>> = Into::into;
        /// Sets the number of atoms of a frame without per-atom arrays.
        n_atoms: usize = std::convert::identity;
        /// Sets the positions, `[n_atoms, 3]` in nm.
        positions: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the velocities, `[n_atoms, 3]` in nm/ps.
        velocities: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the forces, `[n_atoms, 3]` in kJ/mol/nm.
        forces: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the charges, `[n_atoms]` in e.
        charges: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the atomic numbers or type ids, `[n_atoms]`.
        types: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the masses, `[n_atoms]` in u.
        masses: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the lattice vectors in nm, one per row.
        cell: [[f64; 3]; 3] = std::convert::identity;
        /// Sets along which lattice vectors the frame repeats.
        pbc: [bool; 3] = std::convert::identity;
        /// Sets the number of the integration step.
        step: i64 = std::convert::identity;
        /// Sets the simulation time in ps.
        time: f64 = std::convert::identity;
        /// Sets the potential energy in kJ/mol.
        energy: f64 = std::convert::identity;
        /// Sets the stress tensor in bar.
        stress: [[f64; 3]; 3] = std::convert::identity;
        /// Sets the name of the record that holds the topology.
        topology_name: impl Into<Cow<'a, str>> = Into::into;
        /// Sets the topology itself.
        topology: Topology<'a> = std::convert::identity;
    }

    /// Adds one of the writer's own arrays, of shape `[n_atoms, ..]`. It keeps its dtype.
    #[must_use]
    pub fn per_atom(self, name: impl Into<Cow<'a, str>>, array: impl Into<AnyArray<'a>>) -> Self {
        self.own_array(name.into(), true, array.into())
    }

    /// Adds one of the writer's own arrays, of any shape, or a single number. It keeps its dtype.
    #[must_use]
    pub fn per_frame(self, name: impl Into<Cow<'a, str>>, array: impl Into<AnyArray<'a>>) -> Self {
        self.own_array(name.into(), false, array.into())
    }

    /// Whether both have the same fields, with floats compared bit by bit.
    ///
    /// So NaN is the same as itself, and 0.0 is not the same as -0.0. (With `==` it is the other way
    /// round.) Dtypes, the order of own arrays, and `n_atoms` as it was set all count.
    ///
    /// ```
    /// use vldepot::codecs::AtomicFrame;
    /// let (a, b) = (AtomicFrame::new().energy(f64::NAN), AtomicFrame::new().energy(f64::NAN));
    /// assert!(a.is_same(&b) && a != b);
    /// ```
    pub fn is_same(&self, other: &AtomicFrame<'_>) -> bool {
        // Every field by its name, so that a new field is not forgotten.
        let Self {
            name,
            n_atoms,
            positions,
            velocities,
            forces,
            charges,
            types,
            masses,
            cell,
            pbc,
            step,
            time,
            energy,
            stress,
            arrays,
            topology_name,
            topology,
        } = self;
        let bits = |x: Option<f64>| x.map(f64::to_bits);
        let matrix = |m: Option<[[f64; 3]; 3]>| m.map(|m| m.map(|row| row.map(f64::to_bits)));
        *name == other.name
            && *n_atoms == other.n_atoms
            && same_arrays([
                (positions, &other.positions),
                (velocities, &other.velocities),
                (forces, &other.forces),
                (charges, &other.charges),
                (types, &other.types),
                (masses, &other.masses),
            ])
            && matrix(*cell) == matrix(other.cell)
            && *pbc == other.pbc
            && *step == other.step
            && bits(*time) == bits(other.time)
            && bits(*energy) == bits(other.energy)
            && matrix(*stress) == matrix(other.stress)
            && arrays.len() == other.arrays.len()
            && arrays.iter().zip(&other.arrays).all(|(own, other)| own.is_same(other))
            && *topology_name == other.topology_name
            && match (topology, &other.topology) {
                (Some(topology), Some(other)) => topology.is_same(other),
                (topology, other) => topology.is_none() && other.is_none(),
            }
    }

    fn own_array(mut self, name: Cow<'a, str>, per_atom: bool, array: AnyArray<'a>) -> Self {
        self.arrays.push(NamedArray { name, per_atom, array });
        self
    }
}

impl NamedArray<'_> {
    fn is_same(&self, other: &NamedArray<'_>) -> bool {
        self.name == other.name && self.per_atom == other.per_atom && self.array.is_same(&other.array)
    }
}

/// Whether each pair of arrays is the same, or both are absent.
fn same_arrays<const N: usize>(pairs: [(&Option<AnyArray<'_>>, &Option<AnyArray<'_>>); N]) -> bool {
    pairs.into_iter().all(|pair| match pair {
        (Some(one), Some(other)) => one.is_same(other),
        (one, other) => one.is_none() && other.is_none(),
    })
}

impl<'a> Topology<'a> {
    /// Makes an empty topology.
    pub fn new() -> Self {
        Self::default()
    }

    fn is_same(&self, other: &Topology<'_>) -> bool {
        let Self { types, masses, charges, names, bonds, residues, residue_names, molecules } = self;
        *names == other.names
            && *residue_names == other.residue_names
            && same_arrays([
                (types, &other.types),
                (masses, &other.masses),
                (charges, &other.charges),
                (bonds, &other.bonds),
                (residues, &other.residues),
                (molecules, &other.molecules),
            ])
    }

    setters! {
        /// Sets the atomic numbers or type ids, `[n_atoms]`.
        types: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the masses, `[n_atoms]` in u.
        masses: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the charges, `[n_atoms]` in e.
        charges: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the atom names, `[n_atoms]`.
        names: impl IntoIterator<Item = impl Into<Cow<'a, str>>> = collect;
        /// Sets the bonds, `[n_bonds, 2]` atom indices from 0.
        bonds: impl Into<AnyArray<'a>> = Into::into;
        /// Sets each atom's residue, `[n_atoms]`, from 0.
        residues: impl Into<AnyArray<'a>> = Into::into;
        /// Sets the residues' names, `[n_residues]`.
        residue_names: impl IntoIterator<Item = impl Into<Cow<'a, str>>> = collect;
        /// Sets each atom's molecule, `[n_atoms]`, from 0.
        molecules: impl Into<AnyArray<'a>> = Into::into;
    }
}

fn collect<'a>(names: impl IntoIterator<Item = impl Into<Cow<'a, str>>>) -> Vec<Cow<'a, str>> {
    names.into_iter().map(Into::into).collect()
}

/// An [`AtomicFrame`] with the lifetime of the reference to it. Made by `AtomicFrame`'s `Deref`.
///
/// A [`Codec`](crate::Codec) names one type of item, without a lifetime, and this is that type.
/// `&AtomicFrame<'_>` becomes `&AtomicFrameItem` by itself where the latter is expected.
#[repr(transparent)]
pub struct AtomicFrameItem(AtomicFrame<'static>);

impl AtomicFrameItem {
    /// The frame, for as long as this reference lives.
    pub fn frame<'b>(&'b self) -> &'b AtomicFrame<'b> {
        // SAFETY: lifetimes have no part in the layout. Shortening them behind a shared reference is sound,
        // since a frame has no interior mutability through which a shorter-lived borrow could enter. (The
        // compiler does not do it by itself because `CowArray` goes through a trait's associated type.)
        unsafe { mem::transmute::<&'b AtomicFrame<'static>, &'b AtomicFrame<'b>>(&self.0) }
    }
}

impl fmt::Debug for AtomicFrameItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frame().fmt(f)
    }
}

impl std::borrow::Borrow<AtomicFrameItem> for AtomicFrame<'_> {
    fn borrow(&self) -> &AtomicFrameItem {
        self
    }
}

impl<'a> Deref for AtomicFrame<'a> {
    type Target = AtomicFrameItem;

    fn deref(&self) -> &AtomicFrameItem {
        let frame: &AtomicFrame<'a> = self;
        // SAFETY: `AtomicFrameItem` is a transparent wrapper of `AtomicFrame<'static>`, which has the layout
        // of `AtomicFrame<'a>`. The lifetime it claims is never seen: the field is private, the wrapper is
        // neither `Clone` nor constructed by value, and `frame` shortens `'static` to the life of the
        // reference, which `'a` outlives since `self` borrows an `AtomicFrame<'a>`.
        unsafe { &*ptr::from_ref(frame).cast::<AtomicFrameItem>() }
    }
}

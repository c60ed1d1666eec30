//! The codec itself: its options, its parameters, and its calls to the writer and the view.

use std::fmt::Write;

use super::precision::Precision;
use super::units::Units;
use super::view::AtomicFrameView;
use super::{AtomicFrameItem, write};
use crate::codec::{Codec, CodecError};
use crate::codecs::ndarray::DType;
use crate::statistics::Tally;
use crate::{FieldSpans, Scalar, ScalarField};

/// Frames of atoms: writes [`AtomicFrame`](super::AtomicFrame) and lends [`AtomicFrameView`].
///
/// The default stores f32 in GROMACS units. To open a depot with another precision or other units, set
/// these on the codec, or use [`any`](Self::any). Otherwise the error names both.
///
/// An array in a wider precision than the codec's is rounded once, to the nearest number. It is an error
/// ([`CodecError::Range`]) when a finite number would become infinite, when an integer does not fit, or
/// when bonds or residues refer to what the frame does not have. All else comes back bit by bit, NaN
/// included.
///
/// ```
/// use ndarray::{Array2, ArrayView2};
/// use vldepot::{Codec, codecs::{AtomicFrame, AtomicFrameCodec}};
/// # #[repr(align(16))] struct Aligned([u8; 512]);
///
/// let positions = Array2::<f32>::zeros((4, 3));
/// let codec = AtomicFrameCodec::default();
/// let mut bytes = Vec::new();
/// codec.encode(&AtomicFrame::new().positions(&positions).energy(-1.5), &mut bytes)?;
///
/// # let mut aligned = Aligned([0; 512]);
/// # aligned.0[..bytes.len()].copy_from_slice(&bytes);
/// # let bytes = &aligned.0[..bytes.len()]; // as a depot's records are
/// let frame = codec.view(&bytes)?;
/// let x: ArrayView2<f32> = frame.positions();
/// assert_eq!(x, positions);
/// assert_eq!(frame.energy(), Some(-1.5));
/// # Ok::<(), vldepot::CodecError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtomicFrameCodec {
    precision: Precision,
    /// `None` accepts any units.
    units: Option<Units>,
    any: bool,
    /// As set by the caller, or as in the depot that was opened. `None` accepts any number.
    n_atoms: Option<usize>,
}

impl AtomicFrameCodec {
    /// Makes the default codec: f32 in GROMACS units.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a codec that opens every depot of frames, in any precision and units. It is meant for
    /// tools.
    ///
    /// It stores what it writes [as given](Precision::AsGiven). Ask each array for its dtype, see
    /// [`AtomicFrameView::positions_any`].
    pub fn any() -> Self {
        Self { precision: Precision::AsGiven, any: true, ..Self::default() }
    }

    /// Stores positions, velocities, forces and charges in `precision`.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Records `units`. Numbers are never converted.
    #[must_use]
    pub fn with_units(mut self, units: Units) -> Self {
        self.units = Some(units);
        self.any = false;
        self
    }

    /// Sets the number of atoms of all frames. Frames with another number are refused.
    ///
    /// They are refused now, and later from everyone who appends to the depot. This is for a trajectory,
    /// where all frames are of one system: a run that is restarted with another system is refused before
    /// it stores a frame.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// let depot = Depot::memory(AtomicFrameCodec::new().with_n_atoms(2))?;
    /// depot.put(0, &AtomicFrame::new().positions(&vec![[0.0_f32; 3]; 2]))?;
    /// assert!(depot.put(1, &AtomicFrame::new().positions(&vec![[0.0_f32; 3]; 3])).is_err());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    #[must_use]
    pub fn with_n_atoms(mut self, n_atoms: usize) -> Self {
        self.n_atoms = Some(n_atoms);
        self
    }

    /// How many atoms each frame has. `None` when the number may differ between frames.
    ///
    /// A codec without a number takes the number of the depot that it opens.
    pub fn n_atoms(&self) -> Option<usize> {
        self.n_atoms
    }

    /// The precision in which this codec writes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The units of this codec's numbers.
    pub fn units(&self) -> Units {
        self.units.clone().unwrap_or_default()
    }

    /// Makes a codec with the precision and units in `parameters`, as a depot's header stores them.
    ///
    /// # Errors
    /// [`CodecError`] when the parameters are not text, or name a precision that this version does not
    /// know.
    pub fn from_parameters(parameters: &[u8]) -> Result<Self, CodecError> {
        let mut codec = Self::default();
        let mut units = Units::default();
        for (name, value) in parse(parameters)? {
            let value = value.to_owned();
            match name {
                "precision" => {
                    codec.precision =
                        [Precision::F32, Precision::F64, Precision::F16, Precision::BF16, Precision::AsGiven]
                            .into_iter()
                            .find(|precision| precision.name() == value)
                            .ok_or_else(|| CodecError::invalid(format!("unknown precision `{value}`")))?;
                }
                "length" => units.length = value.into(),
                "time" => units.time = value.into(),
                "energy" => units.energy = value.into(),
                "mass" => units.mass = value.into(),
                "charge" => units.charge = value.into(),
                "pressure" => units.pressure = value.into(),
                N_ATOMS => codec = codec.with_n_atoms(parse_n_atoms(&value)?),
                _ => {}
            }
        }
        Ok(codec.with_units(units))
    }
}

impl AtomicFrameCodec {
    /// The number of atoms for a depot with these parameters.
    fn n_atoms_for(&self, stored: &[(&str, &str)]) -> Result<Option<usize>, CodecError> {
        let n_atoms = stored.iter().find(|(name, _)| *name == N_ATOMS).map(|(_, value)| parse_n_atoms(value));
        let differ = |stored: String, given: usize| {
            let given = given.to_string();
            Err(CodecError::Parameter { parameter: N_ATOMS.into(), stored, given })
        };
        match (n_atoms.transpose()?, self.n_atoms()) {
            (Some(stored), Some(given)) if stored != given => differ(stored.to_string(), given),
            (None, Some(given)) if !stored.is_empty() => differ("any number".into(), given),
            (stored, given) => Ok(stored.or(given)),
        }
    }
}

/// Splits lines of the form `name=value`.
fn parse(parameters: &[u8]) -> Result<impl Iterator<Item = (&str, &str)>, CodecError> {
    let text = std::str::from_utf8(parameters)
        .map_err(|_| CodecError::invalid("the parameters of the frame codec are not text"))?;
    Ok(text.lines().filter_map(|line| line.split_once('=')))
}

/// The name of the parameter for a fixed number of atoms.
const N_ATOMS: &str = "n_atoms";

fn parse_n_atoms(value: &str) -> Result<usize, CodecError> {
    value.parse().map_err(|_| CodecError::invalid(format!("the number of atoms `{value}` is no number")))
}

/// Puts a value on one line, so that it cannot pass for another parameter.
fn one_line(value: &str) -> String {
    value.replace(['\n', '\r'], " ")
}

impl Codec for AtomicFrameCodec {
    type Item = AtomicFrameItem;
    type View<'a> = AtomicFrameView<'a>;
    const ID: &'static str = "atomic_frame";
    const ALIGN: usize = 16;

    fn element_size(&self) -> usize {
        match self.precision {
            Precision::F32 => DType::F32.size(),
            Precision::F16 | Precision::BF16 => DType::F16.size(),
            // With 8, f32 takes a few thousandths more than with 4. With 4, f64 takes a twentieth more than
            // with 8.
            Precision::F64 | Precision::AsGiven => DType::F64.size(),
        }
    }

    /// `step`, `time`, `energy`, and `n_atoms`, the number of atoms.
    fn scalars(&self) -> &[ScalarField] {
        const {
            &[
                ScalarField::integer("step"),
                ScalarField::float("time"),
                ScalarField::float("energy"),
                ScalarField::integer("n_atoms"),
            ]
        }
    }

    fn scalar(&self, view: &AtomicFrameView<'_>, name: &str) -> Option<Scalar> {
        match name {
            "step" => view.step().map(Scalar::Integer),
            "time" => view.time().map(Scalar::Float),
            "energy" => view.energy().map(Scalar::Float),
            "n_atoms" => i64::try_from(view.n_atoms()).ok().map(Scalar::Integer),
            _ => None,
        }
    }

    fn has_fields(&self) -> bool {
        true
    }

    /// Positions, velocities, forces, charges, types, masses, and the writer's own arrays per atom.
    fn fields(&self, view: &AtomicFrameView<'_>, fields: &mut FieldSpans<'_>) {
        view.fields(fields);
    }

    fn describes(&self) -> bool {
        true
    }

    /// `n_atoms`, `step`, `time` and `energy` of each frame, all numbers of `positions`, `velocities`,
    /// `forces`, `charges`, `masses`, `cell` and `stress`, and the `types` of the atoms, each if the frame
    /// has it.
    ///
    /// Of a frame that has only a name of a topology, types and masses are in the record of the topology, and
    /// are counted there, once.
    fn describe(&self, view: &AtomicFrameView<'_>, tally: &mut Tally) {
        view.describe(tally);
    }

    /// Lines of the form `name=value`: the precision, the units, and the number of atoms if it is fixed.
    fn parameters(&self) -> Vec<u8> {
        let mut text = format!("precision={}\n", self.precision);
        for (name, unit) in self.units().named() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name}={}", one_line(unit));
        }
        if let Some(n_atoms) = self.n_atoms() {
            let _ = writeln!(text, "{N_ATOMS}={n_atoms}");
        }
        text.into_bytes()
    }

    /// Compares the parameters that the depot records with those of this codec.
    ///
    /// Precision and units must be the same if the depot records them (files of vlstore do not). So must
    /// the number of atoms. A codec without a number takes that of the depot.
    fn open(mut self, parameters: &[u8]) -> Result<Self, CodecError> {
        let stored: Vec<_> = parse(parameters)?.collect();
        self.n_atoms = self.n_atoms_for(&stored)?;
        if self.any {
            return Ok(self);
        }
        let differ = |name: &str, given: String| match stored.iter().find(|(stored, _)| *stored == name) {
            Some((_, stored)) if *stored != given => {
                Err(CodecError::Parameter { parameter: name.into(), stored: (*stored).into(), given })
            }
            _ => Ok(()),
        };
        if self.precision != Precision::AsGiven {
            differ("precision", self.precision.name().into())?;
        }
        for (name, unit) in self.units().named() {
            differ(name, one_line(unit))?;
        }
        Ok(self)
    }

    fn encode(&self, item: &AtomicFrameItem, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.with_encoded(item, &mut Vec::new(), |record| out.extend_from_slice(record))
    }

    fn with_encoded<T>(
        &self,
        item: &AtomicFrameItem,
        _room: &mut Vec<u8>,
        job: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, CodecError> {
        write::with_record(item.frame(), self.precision, self.n_atoms(), job)
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<AtomicFrameView<'a>, CodecError> {
        AtomicFrameView::new(bytes, self.precision)
    }

    unsafe fn view_unchecked<'a>(&self, bytes: &'a [u8]) -> AtomicFrameView<'a> {
        // SAFETY: the caller promises that `bytes` passed `view`.
        unsafe { AtomicFrameView::new_unchecked(bytes) }
    }
}

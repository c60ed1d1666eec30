//! What the writers of formats share.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::symbols;
use crate::Depot;
use crate::codecs::{AnyArray, AtomicFrame, AtomicFrameCodec, DType, Units};

/// What the atoms of a frame are called, if that is known.
#[derive(Default)]
pub(super) struct Atoms {
    /// The topology that the last frame named.
    topology: Option<String>,
    of_topology: (Option<Vec<i32>>, Option<Vec<String>>),
    /// Whether types are atomic numbers.
    are_numbers: bool,
}

impl Atoms {
    pub(super) fn follow(
        &mut self,
        frame: &AtomicFrame<'_>,
        depot: &Depot<AtomicFrameCodec>,
        are_numbers: bool,
    ) -> crate::Result<()> {
        self.are_numbers = are_numbers;
        let named = frame.topology_name.as_deref();
        if named == self.topology.as_deref() {
            return Ok(());
        }
        self.topology = named.map(str::to_owned);
        self.of_topology = (None, None);
        let Some(name) = named else { return Ok(()) };
        let record = depot.get(name)?;
        if let Some(topology) = record.view().topology() {
            self.of_topology.0 = topology.types().map(|types| types.to_vec());
            self.of_topology.1 = topology.names().map(|names| names.map(str::to_owned).collect());
        }
        Ok(())
    }

    /// The symbols of elements, else the names, else nothing. The types come with them if they are no
    /// elements.
    pub(super) fn species(&self, frame: &AtomicFrame<'_>) -> (Option<Vec<String>>, Option<Vec<i32>>) {
        let own: Option<Vec<i32>> = match &frame.types {
            Some(AnyArray::I32(types)) => Some(types.iter().copied().collect()),
            _ => None,
        };
        let types = own.or_else(|| self.of_topology.0.clone());
        let symbols = types.as_ref().filter(|_| self.are_numbers);
        let symbols = symbols
            .and_then(|types| types.iter().map(|each| symbols::symbol(*each)).collect::<Option<Vec<_>>>());
        if let Some(symbols) = symbols {
            return (Some(symbols.into_iter().map(str::to_owned).collect()), None);
        }
        // A name is one word there.
        let names = self.of_topology.1.as_ref();
        let is_word = |name: &String| !name.is_empty() && !name.contains(char::is_whitespace);
        let names = names.filter(|names| names.iter().all(is_word)).cloned();
        (names, types)
    }
}

/// Why a frame is not written.
pub(super) enum Refused {
    Frame(String),
    Write(std::io::Error),
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

/// A writer of one format.
pub(super) trait FrameWriter {
    /// The units in which it writes.
    fn units(&self) -> Units;

    /// Writes a frame in these units, and notes what has no place.
    fn write(
        &mut self,
        frame: &AtomicFrame<'_>,
        atoms: &Atoms,
        number: u64,
        left_out: &mut BTreeSet<String>,
    ) -> Result<(), Refused>;

    fn finish(&mut self) -> std::io::Result<()>;
}

/// The step as 32 bits hold it: that of the frame, or its number.
pub(super) fn step(frame: &AtomicFrame<'_>, number: u64) -> Result<i32, Refused> {
    let step = frame.step.or_else(|| i64::try_from(number).ok()).unwrap_or(i64::MAX);
    i32::try_from(step)
        .map_err(|_| Refused::Frame(format!("step {step} does not fit in the 32 bits of the format")))
}

/// The time, or the number of the frame.
#[expect(clippy::cast_precision_loss, reason = "2^53 frames are far")]
pub(super) fn time(frame: &AtomicFrame<'_>, number: u64) -> f64 {
    frame.time.unwrap_or(number as f64)
}

/// Notes what a frame has of these fields.
pub(super) fn note_left_out(frame: &AtomicFrame<'_>, fields: &[&str], left_out: &mut BTreeSet<String>) {
    let all: [(&str, bool); 8] = [
        ("velocities", frame.velocities.is_some()),
        ("forces", frame.forces.is_some()),
        ("charges", frame.charges.is_some()),
        ("types", frame.types.is_some()),
        ("masses", frame.masses.is_some()),
        ("energy", frame.energy.is_some()),
        ("stress", frame.stress.is_some()),
        ("name", frame.name.is_some()),
    ];
    left_out.extend(
        all.into_iter().filter(|(name, has)| *has && fields.contains(name)).map(|(name, _)| name.to_owned()),
    );
}

/// Rows of three numbers in double precision, which holds all others, and whether they are in single
/// precision or less.
pub(super) fn rows(array: &AnyArray<'_>) -> (Vec<[f64; 3]>, bool) {
    let numbers: Vec<f64> = match array {
        AnyArray::F32(array) => array.iter().map(|number| f64::from(*number)).collect(),
        AnyArray::F64(array) => array.iter().copied().collect(),
        AnyArray::F16(array) => array.iter().map(|number| number.to_f64()).collect(),
        AnyArray::BF16(array) => array.iter().map(|number| number.to_f64()).collect(),
        // Vectors of a frame are of these types.
        _ => Vec::new(),
    };
    (numbers.as_chunks::<3>().0.to_vec(), array.dtype() != DType::F64)
}

/// The name of an own array, as it is noted.
pub(super) fn own<'f>(frame: &'f AtomicFrame<'_>) -> impl Iterator<Item = Cow<'f, str>> {
    frame.arrays.iter().map(|array| Cow::Borrowed(array.name.as_ref()))
}

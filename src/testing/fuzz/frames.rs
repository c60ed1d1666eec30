//! Records of atomic frames.

use std::sync::Arc;

use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::codecs::{AnyArrayView, AtomicFrameCodec, AtomicFrameView, Precision};
use crate::depot::Record;

/// Views bytes as an atomic frame, reads all that the view has, and stores it anew.
///
/// The first byte chooses the codec: one for any precision, or one for a given precision. The rest is
/// the record.
///
/// # Panics
/// When there is something to fix.
pub fn atomic_view(input: &[u8]) {
    let Some((&mode, record)) = input.split_first() else { return };
    let codec = match mode % 6 {
        0 => AtomicFrameCodec::default(),
        1 => AtomicFrameCodec::default().with_precision(Precision::F64),
        2 => AtomicFrameCodec::default().with_precision(Precision::F16),
        3 => AtomicFrameCodec::default().with_precision(Precision::BF16),
        _ => AtomicFrameCodec::any(),
    };
    let bytes = Bytes::copy_of(record);
    let Ok(view) = codec.view(&bytes) else { return };
    let seen = look(&view);
    // The view of a record is not checked a second time.
    let codec = Arc::new(codec);
    let record = Record::new(bytes.clone(), &codec).expect("bytes that were viewed");
    assert_eq!(seen, look(&record.view()), "a checked and an unchecked view differ");
    let Ok(frame) = view.to_frame() else { return };
    let mut stored = Vec::new();
    if codec.encode(&frame, &mut stored).is_err() {
        return;
    }
    let stored = Bytes::copy_of(&stored);
    let back = codec.view(&stored).expect("what was encoded can be viewed");
    assert_eq!(back.n_atoms(), view.n_atoms(), "atoms of a frame stored anew");
    assert_eq!(back.arrays().count(), view.arrays().count(), "arrays of a frame stored anew");
    assert_eq!((back.step(), back.name()), (view.step(), view.name()), "a frame stored anew");
    look(&back);
}

/// Reads every field. Returns the sum of all bytes, which must agree for two views of the same frame.
fn look(view: &AtomicFrameView<'_>) -> u64 {
    let mut seen = Seen(0);
    seen.bytes(format!("{view:?} {:?}", view.topology()).as_bytes());
    seen.bytes(format!("{:?} {:?} {:?}", view.name(), view.topology_name(), view.pbc()).as_bytes());
    seen.bytes(format!("{:?} {:?} {:?}", view.step(), view.time(), view.energy()).as_bytes());
    seen.bytes(format!("{:?} {:?}", view.cell(), view.stress()).as_bytes());
    let arrays = [view.positions_any(), view.velocities_any(), view.forces_any(), view.charges_any()];
    arrays.iter().flatten().for_each(|array| seen.array(array));
    seen.numbers(view.positions().iter().copied());
    seen.numbers(view.velocities().iter().flatten().copied());
    seen.numbers(view.forces().iter().flatten().copied());
    seen.numbers(view.charges().iter().flatten().copied());
    seen.numbers(view.masses().iter().flatten().copied());
    seen.0 += view.types().iter().flatten().map(|&kind| u64::from(kind.cast_unsigned())).sum::<u64>();
    let typed = [
        view.positions_as::<f64>().is_ok(),
        view.velocities_as::<f32>().is_ok(),
        view.forces_as::<half::f16>().is_ok(),
        view.charges_as::<half::bf16>().is_ok(),
    ];
    seen.bytes(format!("{typed:?} {}", view.n_dims()).as_bytes());
    for own in view.arrays() {
        seen.bytes(own.name.as_bytes());
        seen.bytes(&[u8::from(own.per_atom)]);
        seen.array(&own.array);
    }
    seen.bytes(&[u8::from(view.array("no such array").is_some())]);
    if let Some(topology) = view.topology() {
        seen.numbers(topology.masses().iter().flatten().copied());
        seen.numbers(topology.charges().iter().flatten().copied());
        seen.0 += topology.types().iter().flatten().map(|&kind| u64::from(kind.cast_unsigned())).sum::<u64>();
        let numbers = [topology.residues(), topology.molecules()];
        seen.0 += numbers.iter().flatten().flatten().map(|&number| u64::from(number)).sum::<u64>();
        seen.0 += topology.bonds().iter().flatten().map(|&atom| u64::from(atom)).sum::<u64>();
        topology.names().into_iter().flatten().for_each(|name| seen.bytes(name.as_bytes()));
        topology.residue_names().into_iter().flatten().for_each(|name| seen.bytes(name.as_bytes()));
    }
    seen.0
}

/// A sum that forces the bytes to be read.
struct Seen(u64);

impl Seen {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = self.0.wrapping_add(bytes.iter().map(|&byte| u64::from(byte)).sum());
    }

    fn numbers(&mut self, numbers: impl Iterator<Item = f32>) {
        self.0 = numbers.fold(self.0, |sum, number| sum.wrapping_add(u64::from(number.to_bits())));
    }

    fn array(&mut self, array: &AnyArrayView<'_>) {
        self.bytes(array.as_bytes());
        let any = array.to_any().expect("a view's arrays can be had as arrays");
        assert_eq!((any.dtype(), any.shape()), (array.dtype(), array.shape()));
    }
}

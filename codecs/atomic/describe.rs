//! What statistics a frame gives.

use half::{bf16, f16};
use ndarray::{ArrayView, Dimension};

use super::view::{AtomicFrameView, TopologyView};
use crate::codecs::ndarray::{AnyArrayView, DType, Element};
use crate::statistics::{Number, Tally};

impl AtomicFrameView<'_> {
    pub(super) fn describe(&self, tally: &mut Tally) {
        // A record that only has a topology has no frame.
        let has_frame = self.topology().is_none() || self.positions_any().is_some();
        if has_frame {
            tally.number("n_atoms", as_f64(self.n_atoms()));
        }
        #[allow(clippy::cast_precision_loss, reason = "statistics round integers beyond 2^53")]
        let step = self.step().map(|step| step as f64);
        for (name, number) in [("step", step), ("time", self.time()), ("energy", self.energy())] {
            if let Some(number) = number {
                tally.number(name, number);
            }
        }
        let fields = [
            ("positions", self.positions_any()),
            ("velocities", self.velocities_any()),
            ("forces", self.forces_any()),
            ("charges", self.charges_any()),
        ];
        for (name, array) in fields {
            if let Some(array) = array {
                real(tally, name, &array);
            }
        }
        all(tally, "masses", self.masses().as_ref());
        all(tally, "cell", self.cell().as_ref());
        all(tally, "stress", self.stress().as_ref());
        let topology = self.topology();
        let types = self.types().or_else(|| topology.as_ref().and_then(TopologyView::types));
        if let Some(types) = types.as_ref().and_then(|view| view.as_slice()) {
            tally.kinds("types", types);
        }
        if let Some(topology) = topology {
            all(tally, "masses", topology.masses().as_ref());
            all(tally, "charges", topology.charges().as_ref());
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "no frame has 2^53 atoms")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

fn all<T: Number, D: Dimension>(tally: &mut Tally, name: &'static str, array: Option<&ArrayView<'_, T, D>>) {
    if let Some(numbers) = array.and_then(|view| view.as_slice()) {
        tally.numbers(name, numbers);
    }
}

/// Adds an array of real numbers, of whatever dtype.
fn real(tally: &mut Tally, name: &'static str, array: &AnyArrayView<'_>) {
    fn narrow<T: Element>(array: &AnyArrayView<'_>, to_f32: fn(T) -> f32) -> Vec<f32> {
        array.view::<T>().map(|view| view.iter().map(|&number| to_f32(number)).collect()).unwrap_or_default()
    }
    match array.dtype() {
        DType::F32 => all(tally, name, array.view::<f32>().ok().as_ref()),
        DType::F64 => all(tally, name, array.view::<f64>().ok().as_ref()),
        DType::F16 => tally.numbers(name, &narrow(array, f16::to_f32)),
        DType::BF16 => tally.numbers(name, &narrow(array, bf16::to_f32)),
        _ => {}
    }
}

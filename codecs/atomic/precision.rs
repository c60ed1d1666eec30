//! The precision in which frames are stored.

use std::fmt;

use crate::codecs::ndarray::DType;

/// The precision in which positions, velocities, forces and charges are stored.
///
/// Energy, time, cell and stress are always f64. Own arrays keep their dtype.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32. The default, and what vlstore reads.
    #[default]
    F32,
    /// f64. Exact for what simulations compute in double precision.
    F64,
    /// IEEE half precision. 3 decimal digits, up to 65504.
    F16,
    /// bfloat16. 2 decimal digits, the range of f32.
    BF16,
    /// The dtype that each array came in: f32, f64, f16 or bf16.
    AsGiven,
}

impl Precision {
    /// The dtype in which an array that was given as `given` is stored.
    pub(super) fn dtype(self, given: DType) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::AsGiven => given,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F32 => DType::F32.name(),
            Self::F64 => DType::F64.name(),
            Self::F16 => DType::F16.name(),
            Self::BF16 => DType::BF16.name(),
            Self::AsGiven => "as given",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! The dtypes of array elements.

use std::fmt;

use crate::Elements;

/// The type of an array's elements.
///
/// The numbers are those of the record layouts and of `schemas/atomic_frame.fbs`. They never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum DType {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE double precision.
    F64 = 1,
    /// IEEE half precision.
    F16 = 2,
    /// bfloat16: the upper half of an IEEE single.
    BF16 = 3,
    /// Signed, 1 byte.
    I8 = 4,
    /// Signed, 2 bytes.
    I16 = 5,
    /// Signed, 4 bytes.
    I32 = 6,
    /// Signed, 8 bytes.
    I64 = 7,
    /// Unsigned, 1 byte.
    U8 = 8,
    /// Unsigned, 2 bytes.
    U16 = 9,
    /// Unsigned, 4 bytes.
    U32 = 10,
    /// Unsigned, 8 bytes.
    U64 = 11,
    /// One byte, 0 or 1.
    Bool = 12,
}

impl DType {
    /// Every dtype, at the index of its code.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F64,
        Self::F16,
        Self::BF16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Bool,
    ];

    /// What elements of this dtype are to a depot that stores fields apart.
    pub(in crate::codecs) const fn elements(self) -> Elements {
        match self {
            Self::F32 => Elements::Float4,
            Self::F64 => Elements::Float8,
            Self::I8 | Self::U8 | Self::Bool => Elements::Bytes1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => Elements::Bytes2,
            Self::I32 | Self::U32 => Elements::Bytes4,
            Self::I64 | Self::U64 => Elements::Bytes8,
        }
    }

    /// The number that records store.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The dtype of a stored number. `None` for a number that this version does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The name that NumPy uses. `bfloat16` is the name in `ml_dtypes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_real(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::BF16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_indices() {
        for (code, dtype) in (0..).zip(DType::ALL) {
            assert_eq!(dtype.code(), code);
            assert_eq!(DType::from_code(code), Some(dtype));
        }
        assert_eq!(DType::from_code(13), None);
        assert_eq!(DType::from_code(255), None);
    }
}

//! Arrays as records.
//!
//! [`NdArray<T, D>`](NdArray) when dtype and number of axes are the same for all records of a depot,
//! [`AnyNdArray`] when they are not. Both write the same bytes, and each reads what the other wrote.
//!
//! ```text
//!   0       4         5        6        8                    at            at + bytes
//!   +-------+---------+--------+--------+--------------------+-------------+
//!   | "NDA1"| dtype   | n_axes | 0, 0   | shape, zero padded | elements    |
//!   |       | u8      | u8     |        | u64 LE x n_axes    | row-major LE|
//!   +-------+---------+--------+--------+--------------------+-------------+
//! ```
//!
//! Always true: `at` is the next multiple of 16, so that elements are aligned when the record is; the
//! record ends with the elements; dtype codes are those of [`DType`].

mod any;
mod codec;
mod dtype;
#[cfg(feature = "atomic")]
mod round;

#[cfg(test)]
mod tests;

#[cfg(feature = "atomic")]
pub(in crate::codecs) use any::byte_len;
pub use any::{AnyArray, AnyArrayView, Element};
pub use codec::{AnyNdArray, ArraySource, NdArray};
pub use dtype::DType;
#[cfg(feature = "atomic")]
pub(in crate::codecs) use round::{to_bf16, to_f16};

//! Arrays as records.
//!
//! Use [`NdArray<T, D>`](NdArray) when dtype and number of axes are the same for all records of a depot,
//! and [`AnyNdArray`] when they are not. Both write the same bytes, and each reads what the other wrote.
//!
//! ```text
//!   0       4         5        6        8                    at            at + bytes
//!   +-------+---------+--------+--------+--------------------+-------------+
//!   | "NDA1"| dtype   | n_axes | 0, 0   | shape, zero padded | elements    |
//!   |       | u8      | u8     |        | u64 LE x n_axes    | row-major LE|
//!   +-------+---------+--------+--------+--------------------+-------------+
//! ```
//!
//! Three things always hold. `at` is the next multiple of 16, so elements are aligned when the record
//! is. The record ends with the elements. The dtype codes are those of [`DType`].

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

//! The built-in codecs, one folder each.
//!
//! | codec | `put` takes | `view` gives | copies on `view` |
//! | --- | --- | --- | --- |
//! | [`AtomicFrameCodec`] | [`AtomicFrame`] | [`AtomicFrameView`] | none |
//! | [`NdArray<T, D>`](NdArray) | `&Array<T, D>`, `&ArrayView<T, D>` | [`ndarray::ArrayView`] | none |
//! | [`AnyNdArray`] | [`AnyArray`], any ndarray | [`AnyArrayView`] | none |
//! | [`Serde<T>`](Serde), [`Json<T>`](Json) | `&T` | `T` | all: it parses |
//! | [`Raw`](crate::Raw) | `&[u8]` | `&[u8]` | none |

#[cfg(target_endian = "big")]
compile_error!("views lend little-endian arrays straight from the record's bytes: this target cannot");

pub mod atomic;
pub mod ndarray;
#[cfg(feature = "serde")]
pub mod serde;

pub use self::atomic::{
    AtomicFrame, AtomicFrameCodec, AtomicFrameView, Precision, Topology, TopologyView, Units,
};
pub use self::ndarray::{AnyArray, AnyArrayView, AnyNdArray, DType, Element, NdArray};
#[cfg(feature = "json")]
pub use self::serde::Json;
#[cfg(feature = "serde")]
pub use self::serde::Serde;

//! The built-in codecs, one folder each.
//!
//! | codec | `put` takes | `view` gives | copies on `view` |
//! | --- | --- | --- | --- |
//! | [`AtomicFrameCodec`] | [`AtomicFrame`] | [`AtomicFrameView`] | none |
//! | [`NdArray<T, D>`](NdArray) | `&Array<T, D>`, `&ArrayView<T, D>` | [`ndarray::ArrayView`](::ndarray::ArrayView) | none |
//! | [`AnyNdArray`] | [`AnyArray`], any ndarray | [`AnyArrayView`] | none |
//! | [`Serde<T>`](Serde), [`Json<T>`](Json) | `&T` | `T` | all: it parses |
//! | [`Raw`](crate::Raw) | `&[u8]` | `&[u8]` | none |

#[cfg(target_endian = "big")]
compile_error!("views lend little-endian arrays straight from the record's bytes: this target cannot");

#[cfg(feature = "atomic")]
pub mod atomic;
#[cfg(feature = "ndarray")]
pub mod ndarray;
#[cfg(feature = "serde")]
pub mod serde;

#[cfg(feature = "atomic")]
pub use self::atomic::{
    AtomicFrame, AtomicFrameCodec, AtomicFrameView, Fields, FlatFrames, Precision, Topology, TopologyView,
    Units,
};
#[cfg(feature = "ndarray")]
pub use self::ndarray::{AnyArray, AnyArrayView, AnyNdArray, DType, Element, NdArray};
#[cfg(feature = "json")]
pub use self::serde::Json;
#[cfg(feature = "serde")]
pub use self::serde::Serde;

#[cfg(test)]
pub(crate) mod aligned {
    //! Record bytes at a multiple of 16, like those that a depot lends.

    use crate::codec::Codec;

    #[derive(Debug, Clone)]
    pub(crate) struct Aligned {
        words: Vec<u128>,
        len: usize,
    }

    impl Aligned {
        pub(crate) fn new(bytes: &[u8]) -> Self {
            let mut words = vec![0; bytes.len().div_ceil(16).max(1)];
            bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
            Self { words, len: bytes.len() }
        }

        pub(crate) fn of<C: Codec>(codec: &C, item: &C::Item) -> Self {
            // `encode` appends: it must leave these bytes alone, and must not depend on them.
            let mut out = b"before".to_vec();
            codec.encode(item, &mut out).unwrap();
            assert_eq!(&out[..6], b"before");
            Self::new(&out[6..])
        }

        pub(crate) fn bytes(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.words)[..self.len]
        }

        pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
            &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
        }

        /// Panics unless `slice` lies inside the record and is aligned for `T`.
        pub(crate) fn assert_lends<T>(&self, slice: &[T]) {
            let bounds = self.bytes().as_ptr_range();
            let range = slice.as_ptr_range();
            assert!(slice.as_ptr().is_aligned());
            assert!(bounds.start <= range.start.cast() && range.end.cast() <= bounds.end, "a copy");
        }
    }
}

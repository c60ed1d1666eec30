//! Arrays with a dtype and shape known only at run time: [`AnyArray`] to write, [`AnyArrayView`] to
//! read.

use std::borrow::Cow;
use std::fmt;

use ndarray::{
    Array, Array2, ArrayBase, ArrayView, ArrayView2, ArrayViewD, CowArray, Data, Dimension, IntoDimension,
    IxDyn, OwnedRepr, ViewRepr,
};

use bytemuck::{CheckedBitPattern, NoUninit};
use half::{bf16, f16};

use super::DType;
use crate::codec::CodecError;

/// A Rust type that arrays can hold: the numbers, [`half::f16`], [`half::bf16`] and `bool`.
///
/// The trait is sealed, because every new type needs a new code in the record layouts.
pub trait Element:
    NoUninit + CheckedBitPattern + PartialEq + fmt::Debug + Send + Sync + sealed::Wrap + 'static
{
    /// The dtype of this type.
    const DTYPE: DType;
}

pub(super) mod sealed {
    use super::{AnyArray, CowArray, IxDyn};

    pub trait Wrap: Sized {
        fn wrap(array: CowArray<'_, Self, IxDyn>) -> AnyArray<'_>;
    }
}

macro_rules! elements {
    ($($type:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }
        impl sealed::Wrap for $type {
            fn wrap(array: CowArray<'_, Self, IxDyn>) -> AnyArray<'_> {
                AnyArray::$dtype(array)
            }
        }
    )*};
}

elements! {
    f32 => F32, f64 => F64, f16 => F16, bf16 => BF16,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    bool => Bool,
}

/// An array of any dtype and shape, borrowed or owned, contiguous or not.
///
/// It is made by `From`, from ndarrays and their views with any number of dimensions. It is also made
/// from slices, `Vec`s and Rust arrays, of elements (shape `[n]`) or of rows such as `[f32; 3]` (shape
/// `[n, 3]`). Borrowing copies nothing.
///
/// ```
/// use vldepot::codecs::{AnyArray, DType};
///
/// let positions = vec![[0.0_f32, 0.1, 0.2]; 5];
/// let array = AnyArray::from(&positions);
/// assert_eq!((array.dtype(), array.shape()), (DType::F32, &[5, 3][..]));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants are those of DType")]
pub enum AnyArray<'a> {
    F32(CowArray<'a, f32, IxDyn>),
    F64(CowArray<'a, f64, IxDyn>),
    F16(CowArray<'a, f16, IxDyn>),
    BF16(CowArray<'a, bf16, IxDyn>),
    I8(CowArray<'a, i8, IxDyn>),
    I16(CowArray<'a, i16, IxDyn>),
    I32(CowArray<'a, i32, IxDyn>),
    I64(CowArray<'a, i64, IxDyn>),
    U8(CowArray<'a, u8, IxDyn>),
    U16(CowArray<'a, u16, IxDyn>),
    U32(CowArray<'a, u32, IxDyn>),
    U64(CowArray<'a, u64, IxDyn>),
    Bool(CowArray<'a, bool, IxDyn>),
}

/// Runs `$body` with `$array` bound to the typed array inside.
macro_rules! for_any {
    ($any:expr, $array:ident => $body:expr) => {
        match $any {
            AnyArray::F32($array) => $body,
            AnyArray::F64($array) => $body,
            AnyArray::F16($array) => $body,
            AnyArray::BF16($array) => $body,
            AnyArray::I8($array) => $body,
            AnyArray::I16($array) => $body,
            AnyArray::I32($array) => $body,
            AnyArray::I64($array) => $body,
            AnyArray::U8($array) => $body,
            AnyArray::U16($array) => $body,
            AnyArray::U32($array) => $body,
            AnyArray::U64($array) => $body,
            AnyArray::Bool($array) => $body,
        }
    };
}
impl AnyArray<'_> {
    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        fn of<T: Element>(_: &CowArray<'_, T, IxDyn>) -> DType {
            T::DTYPE
        }
        for_any!(self, array => of(array))
    }

    /// The length of each axis. Empty for a single number.
    pub fn shape(&self) -> &[usize] {
        for_any!(self, array => array.shape())
    }

    /// Whether both have the same dtype, shape and elements, bit by bit.
    ///
    /// So NaN is the same as itself, and 0.0 is not the same as -0.0. (With `==` it is the other way
    /// round.)
    ///
    /// ```
    /// use vldepot::codecs::AnyArray;
    /// let (a, b) = (AnyArray::from(vec![f64::NAN]), AnyArray::from(vec![f64::NAN]));
    /// assert!(a.is_same(&b) && a != b);
    /// ```
    pub fn is_same(&self, other: &AnyArray<'_>) -> bool {
        fn bytes<'b>(array: &'b AnyArray<'_>) -> Cow<'b, [u8]> {
            array.as_bytes().map_or_else(
                || {
                    let mut bytes = Vec::new();
                    array.append_to(&mut bytes);
                    bytes.into()
                },
                Cow::Borrowed,
            )
        }
        self.dtype() == other.dtype() && self.shape() == other.shape() && bytes(self) == bytes(other)
    }

    /// Appends the elements' bytes in logical (row-major) order.
    pub(in crate::codecs) fn append_to(&self, out: &mut Vec<u8>) {
        for_any!(self, array => append_elements(array, out));
    }

    /// The elements' bytes, borrowed, if they lie in logical order.
    pub(in crate::codecs) fn as_bytes(&self) -> Option<&[u8]> {
        for_any!(self, array => array.as_slice().map(bytemuck::cast_slice))
    }
}

/// Appends the elements' bytes in logical (row-major) order. One copy if they lie in that order.
pub(super) fn append_elements<T: Element, D: Dimension>(array: &ndarray::ArrayRef<T, D>, out: &mut Vec<u8>) {
    if let Some(slice) = array.as_slice() {
        out.extend_from_slice(bytemuck::cast_slice(slice));
    } else {
        out.reserve(array.len() * size_of::<T>());
        for element in array {
            out.extend_from_slice(bytemuck::bytes_of(element));
        }
    }
}

impl<'a, T: Element, D: Dimension> From<ArrayBase<ViewRepr<&'a T>, D, T>> for AnyArray<'a> {
    fn from(array: ArrayView<'a, T, D>) -> Self {
        T::wrap(array.into_dyn().into())
    }
}

impl<T: Element, D: Dimension> From<ArrayBase<OwnedRepr<T>, D, T>> for AnyArray<'_> {
    fn from(array: Array<T, D>) -> Self {
        T::wrap(array.into_dyn().into())
    }
}

impl<'a, T: Element, S: Data<Elem = T>, D: Dimension> From<&'a ArrayBase<S, D, T>> for AnyArray<'a> {
    fn from(array: &'a ArrayBase<S, D, T>) -> Self {
        array.view().into()
    }
}

impl<'a, T: Element> From<&'a [T]> for AnyArray<'a> {
    fn from(elements: &'a [T]) -> Self {
        ArrayView::from(elements).into()
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for AnyArray<'a> {
    fn from(elements: &'a Vec<T>) -> Self {
        elements.as_slice().into()
    }
}

impl<T: Element> From<Vec<T>> for AnyArray<'_> {
    fn from(elements: Vec<T>) -> Self {
        Array::from(elements).into()
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for AnyArray<'a> {
    fn from(elements: &'a [T; N]) -> Self {
        elements.as_slice().into()
    }
}

impl<'a, T: Element, const M: usize> From<&'a [[T; M]]> for AnyArray<'a> {
    fn from(rows: &'a [[T; M]]) -> Self {
        ArrayView2::from(rows).into()
    }
}

impl<'a, T: Element, const M: usize> From<&'a Vec<[T; M]>> for AnyArray<'a> {
    fn from(rows: &'a Vec<[T; M]>) -> Self {
        rows.as_slice().into()
    }
}

impl<T: Element, const M: usize> From<Vec<[T; M]>> for AnyArray<'_> {
    fn from(rows: Vec<[T; M]>) -> Self {
        Array2::from(rows).into()
    }
}

impl<'a, T: Element, const N: usize, const M: usize> From<&'a [[T; M]; N]> for AnyArray<'a> {
    fn from(rows: &'a [[T; M]; N]) -> Self {
        rows.as_slice().into()
    }
}

/// A single number, shape `[]`.
impl<T: Element> From<T> for AnyArray<'_> {
    fn from(number: T) -> Self {
        ndarray::arr0(number).into()
    }
}

impl<'a> From<&'a AnyArray<'_>> for AnyArray<'a> {
    fn from(array: &'a AnyArray<'_>) -> Self {
        for_any!(array, array => array.view().into())
    }
}

/// Number of bytes of the elements. An error if an array of this shape cannot be lent.
///
/// The rule is that of ndarray, in bytes: without the axes of length zero, the product must fit `isize`.
pub(in crate::codecs) fn byte_len(what: &str, dtype: DType, shape: &[usize]) -> Result<usize, CodecError> {
    let limit = isize::MAX.unsigned_abs();
    shape
        .iter()
        .filter(|&&n| n != 0)
        .try_fold(dtype.size(), |bytes, &n| bytes.checked_mul(n))
        .filter(|&bytes| bytes <= limit)
        .ok_or_else(|| CodecError::invalid(format!("{what}: shape {shape:?} is too large")))?;
    Ok(shape.iter().product::<usize>() * dtype.size())
}

/// An array of any dtype and shape inside a record. It borrows the record's bytes.
#[derive(Debug, Clone)]
pub struct AnyArrayView<'a> {
    dtype: DType,
    shape: IxDyn,
    data: &'a [u8],
}

impl<'a> AnyArrayView<'a> {
    /// Makes a view, and checks that `data` has the length and alignment for this dtype and shape.
    pub(in crate::codecs) fn new(
        what: &str,
        dtype: DType,
        shape: &[usize],
        data: &'a [u8],
    ) -> Result<Self, CodecError> {
        let expected = byte_len(what, dtype, shape)?;
        if data.len() != expected {
            return Err(CodecError::length(what, expected, data.len()));
        }
        if !data.as_ptr().addr().is_multiple_of(dtype.size()) {
            return Err(CodecError::invalid(format!("{what}: not aligned for {dtype}")));
        }
        if dtype == DType::Bool && data.iter().any(|&byte| byte > 1) {
            return Err(CodecError::invalid(format!("{what}: a bool that is neither 0 nor 1")));
        }
        Ok(Self { dtype, shape: shape.into_dimension(), data })
    }

    /// Like [`new`](Self::new), but for data that passed `new` before.
    #[cfg(feature = "atomic")]
    pub(in crate::codecs) fn new_unchecked(dtype: DType, shape: IxDyn, data: &'a [u8]) -> Self {
        Self { dtype, shape, data }
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The length of each axis. Empty for a single number.
    pub fn shape(&self) -> &[usize] {
        ndarray::Dimension::slice(&self.shape)
    }

    /// The elements' bytes, row-major, little-endian.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.data
    }

    /// The array, with elements of type `T`.
    ///
    /// This copies nothing, and allocates nothing for up to four axes. It looks at every `bool`.
    ///
    /// # Errors
    /// [`CodecError::Dtype`] when the elements are not `T`.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'a, T>, CodecError> {
        self.view_named("array")
    }

    /// Like [`view`](Self::view), but with a name for the error.
    pub(in crate::codecs) fn view_named<T: Element>(
        &self,
        name: &str,
    ) -> Result<ArrayViewD<'a, T>, CodecError> {
        if self.dtype != T::DTYPE {
            return Err(CodecError::Dtype {
                field: name.into(),
                expected: T::DTYPE.to_string(),
                found: self.dtype.to_string(),
            });
        }
        let elements = bytemuck::checked::try_cast_slice(self.data)
            .map_err(|error| CodecError::invalid(format!("field `{name}`: {error}")))?;
        ArrayView::from_shape(self.shape.clone(), elements)
            .map_err(|error| CodecError::invalid(format!("field `{name}`: {error}")))
    }

    /// Makes an [`AnyArray`], to match on or to put elsewhere. Copies nothing.
    ///
    /// # Errors
    /// A view that a codec gave has none.
    pub fn to_any(&self) -> Result<AnyArray<'a>, CodecError> {
        Ok(match self.dtype {
            DType::F32 => self.view::<f32>()?.into(),
            DType::F64 => self.view::<f64>()?.into(),
            DType::F16 => self.view::<f16>()?.into(),
            DType::BF16 => self.view::<bf16>()?.into(),
            DType::I8 => self.view::<i8>()?.into(),
            DType::I16 => self.view::<i16>()?.into(),
            DType::I32 => self.view::<i32>()?.into(),
            DType::I64 => self.view::<i64>()?.into(),
            DType::U8 => self.view::<u8>()?.into(),
            DType::U16 => self.view::<u16>()?.into(),
            DType::U32 => self.view::<u32>()?.into(),
            DType::U64 => self.view::<u64>()?.into(),
            DType::Bool => self.view::<bool>()?.into(),
        })
    }
}

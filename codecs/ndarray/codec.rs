//! The array codecs and the layout of their records. The module above draws the layout.

use std::fmt;
use std::marker::PhantomData;

use ndarray::{ArrayBase, ArrayRef, ArrayView, Data, Dimension, IxDyn};

use super::any::{append_elements, byte_len};
use super::{AnyArray, AnyArrayView, DType, Element};
use crate::FieldSpans;
use crate::codec::{Codec, CodecError};

const MAGIC: [u8; 4] = *b"NDA1";
const DTYPE_AT: usize = MAGIC.len();
const N_AXES_AT: usize = DTYPE_AT + 1;
const SHAPE_AT: usize = 8;
const AXIS: usize = size_of::<u64>();
const ALIGN: usize = 16;
const ID: &str = "ndarray";

/// Where the elements start in a record.
const fn elements_at(n_axes: usize) -> usize {
    (SHAPE_AT + n_axes * AXIS).next_multiple_of(ALIGN)
}

fn append_head(dtype: DType, shape: &[usize], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let n_axes = u8::try_from(shape.len())
        .map_err(|_| CodecError::invalid(format!("an array of {} axes: at most 255", shape.len())))?;
    byte_len("an array", dtype, shape)?;
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[dtype.code(), n_axes, 0, 0]);
    for &n in shape {
        out.extend_from_slice(&(n as u64).to_le_bytes());
    }
    out.resize(start + elements_at(shape.len()), 0);
    Ok(())
}

fn read(bytes: &[u8]) -> Result<AnyArrayView<'_>, CodecError> {
    let head =
        bytes.get(..SHAPE_AT).ok_or_else(|| CodecError::length("an array's head", SHAPE_AT, bytes.len()))?;
    if head[..DTYPE_AT] != MAGIC {
        return Err(CodecError::invalid("not an array record: it does not start with `NDA1`"));
    }
    let dtype = DType::from_code(head[DTYPE_AT])
        .ok_or_else(|| CodecError::invalid(format!("unknown dtype {}", head[DTYPE_AT])))?;
    let n_axes = usize::from(head[N_AXES_AT]);
    let at = elements_at(n_axes);
    if bytes.len() < at {
        return Err(CodecError::length("an array's shape", at, bytes.len()));
    }
    let mut shape = IxDyn::zeros(n_axes);
    let (stored, _) = bytes[SHAPE_AT..SHAPE_AT + n_axes * AXIS].as_chunks::<AXIS>();
    for (n, stored) in shape.slice_mut().iter_mut().zip(stored) {
        *n = usize::try_from(u64::from_le_bytes(*stored))
            .map_err(|_| CodecError::invalid("an array too large for this machine"))?;
    }
    AnyArrayView::new("an array", dtype, shape.slice(), &bytes[at..])
}

/// What [`AnyNdArray`] writes: any owned ndarray, and [`AnyArray`].
///
/// To put borrowed data (an `ArrayView`, or an `AnyArray` of one), use [`NdArray`], or make an owned
/// copy.
pub trait ArraySource {
    /// The dtype of the elements.
    fn dtype(&self) -> DType;
    /// The length of each axis.
    fn shape(&self) -> &[usize];
    /// Appends the elements' bytes, row-major, little-endian.
    fn append_to(&self, out: &mut Vec<u8>);
}

impl<T: Element, D: Dimension> ArraySource for ArrayRef<T, D> {
    fn dtype(&self) -> DType {
        T::DTYPE
    }
    fn shape(&self) -> &[usize] {
        (**self).shape()
    }
    fn append_to(&self, out: &mut Vec<u8>) {
        append_elements(self, out);
    }
}

impl<T: Element, S: Data<Elem = T>, D: Dimension> ArraySource for ArrayBase<S, D, T> {
    fn dtype(&self) -> DType {
        T::DTYPE
    }
    fn shape(&self) -> &[usize] {
        ArrayBase::shape(self)
    }
    fn append_to(&self, out: &mut Vec<u8>) {
        append_elements(self, out);
    }
}

impl ArraySource for AnyArray<'_> {
    fn dtype(&self) -> DType {
        self.dtype()
    }
    fn shape(&self) -> &[usize] {
        self.shape()
    }
    fn append_to(&self, out: &mut Vec<u8>) {
        self.append_to(out);
    }
}

/// Arrays of any dtype and shape, which may differ from record to record.
///
/// ```
/// use ndarray::array;
/// use vldepot::{Codec, codecs::{AnyNdArray, DType}};
/// # use vldepot::CodecError;
/// # #[repr(align(16))] struct Aligned([u8; 64]);
///
/// let mut bytes = Vec::new();
/// AnyNdArray.encode(&array![[1_i64, 2], [3, 4]], &mut bytes)?;
/// # let mut aligned = Aligned([0; 64]);
/// # aligned.0[..bytes.len()].copy_from_slice(&bytes);
/// # let bytes = &aligned.0[..bytes.len()]; // as a depot's records are
/// let record = AnyNdArray.view(&bytes)?;
/// assert_eq!((record.dtype(), record.shape()), (DType::I64, &[2, 2][..]));
/// assert_eq!(record.view::<i64>()?, array![[1, 2], [3, 4]].into_dyn());
/// # Ok::<(), CodecError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnyNdArray;

impl Codec for AnyNdArray {
    type Item = dyn ArraySource;
    type View<'a> = AnyArrayView<'a>;
    const ID: &'static str = ID;
    const ALIGN: usize = ALIGN;

    fn element_size(&self) -> usize {
        // 8 is good for f64, and for f32 hardly worse than 4.
        DType::F64.size()
    }

    fn encode(&self, item: &dyn ArraySource, out: &mut Vec<u8>) -> Result<(), CodecError> {
        append_head(item.dtype(), item.shape(), out)?;
        item.append_to(out);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<AnyArrayView<'a>, CodecError> {
        read(bytes)
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn fields(&self, view: &AnyArrayView<'_>, fields: &mut FieldSpans<'_>) {
        fields.add(0, view.dtype().elements(), view.as_bytes());
    }
}

/// Arrays of `T` with the dimensions `D`: `Ix2` for a matrix, `IxDyn` for any number of axes.
///
/// `put` takes a reference to an array or to a view, contiguous or not.
///
/// ```
/// use ndarray::{Ix2, array};
/// use vldepot::{Codec, codecs::NdArray};
/// # #[repr(align(16))] struct Aligned([u8; 64]);
///
/// let codec = NdArray::<f32, Ix2>::new();
/// let mut bytes = Vec::new();
/// codec.encode(&array![[1.0, 2.0], [3.0, 4.0]].t(), &mut bytes)?;
/// # let mut aligned = Aligned([0; 64]);
/// # aligned.0[..bytes.len()].copy_from_slice(&bytes);
/// # let bytes = &aligned.0[..bytes.len()]; // as a depot's records are
/// assert_eq!(codec.view(&bytes)?, array![[1.0, 3.0], [2.0, 4.0]]);
/// # Ok::<(), vldepot::CodecError>(())
/// ```
pub struct NdArray<T, D = IxDyn>(PhantomData<fn() -> (T, D)>);

impl<T, D> NdArray<T, D> {
    /// Makes the codec. It holds no data.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Element, D: Dimension + 'static> Codec for NdArray<T, D> {
    type Item = ArrayRef<T, D>;
    type View<'a> = ArrayView<'a, T, D>;
    const ID: &'static str = ID;
    const ALIGN: usize = ALIGN;

    fn element_size(&self) -> usize {
        T::DTYPE.size()
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn fields(&self, view: &ArrayView<'_, T, D>, fields: &mut FieldSpans<'_>) {
        let bytes = view.as_slice().map(bytemuck::cast_slice::<T, u8>).unwrap_or_default();
        fields.add(0, T::DTYPE.elements(), bytes);
    }

    fn encode(&self, item: &ArrayRef<T, D>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        append_head(T::DTYPE, item.shape(), out)?;
        append_elements(item, out);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<ArrayView<'a, T, D>, CodecError> {
        let array = read(bytes)?.view::<T>()?;
        let n_axes = array.ndim();
        array.into_dimensionality().map_err(|_| {
            let expected = D::NDIM.unwrap_or_default();
            CodecError::invalid(format!("expected an array of {expected} axes, found {n_axes}"))
        })
    }
}

impl<T, D> Default for NdArray<T, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, D> Clone for NdArray<T, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, D> Copy for NdArray<T, D> {}

impl<T: Element, D> fmt::Debug for NdArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NdArray<{}>", T::DTYPE)
    }
}

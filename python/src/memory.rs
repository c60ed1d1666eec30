//! Memory that Python reads without a copy. All unsafe code of this crate is here.
//!
//! ```text
//! numpy array ── base ──> owner, a frozen class of this crate ──> Record ──> map or decoded block
//! memoryview ─── obj ───> owner
//! ```
//!
//! An owner is never changed and never moved while Python has a reference to it, and it keeps the bytes at
//! one address. So whoever holds the array or the view holds the bytes.

use std::ffi::{c_int, c_void};
use std::ptr;

use ndarray::{Dimension, IxDyn};
use numpy::npyffi::{self, NPY_ARRAY_CARRAY_RO, NPY_TYPES, NpyTypes, PY_ARRAY_API, PyArray_Descr, npy_intp};
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::{PyClass, ffi};
use vldepot::codecs::{AnyArrayView, DType};

use crate::array::bfloat16;

/// An array inside of an owner.
pub(crate) struct Lent<'a> {
    pub(crate) dtype: DType,
    pub(crate) shape: IxDyn,
    /// The elements, row-major. They are aligned for the dtype and as many as the shape says.
    pub(crate) bytes: &'a [u8],
}

impl<'a> From<AnyArrayView<'a>> for Lent<'a> {
    fn from(view: AnyArrayView<'a>) -> Self {
        Self { dtype: view.dtype(), shape: IxDyn(view.shape()), bytes: view.as_bytes() }
    }
}

fn descr(py: Python<'_>, dtype: DType) -> PyResult<*mut PyArray_Descr> {
    let number = match dtype {
        DType::F32 => NPY_TYPES::NPY_FLOAT,
        DType::F64 => NPY_TYPES::NPY_DOUBLE,
        DType::F16 => NPY_TYPES::NPY_HALF,
        DType::I8 => NPY_TYPES::NPY_BYTE,
        DType::I16 => NPY_TYPES::NPY_SHORT,
        DType::I32 => NPY_TYPES::NPY_INT,
        DType::U8 => NPY_TYPES::NPY_UBYTE,
        DType::U16 => NPY_TYPES::NPY_USHORT,
        DType::U32 => NPY_TYPES::NPY_UINT,
        DType::Bool => NPY_TYPES::NPY_BOOL,
        // `long` has 32 or 64 bits, depending on the platform.
        DType::I64 => return Ok(numpy::dtype::<i64>(py).into_ptr().cast()),
        DType::U64 => return Ok(numpy::dtype::<u64>(py).into_ptr().cast()),
        _ => return Ok(bfloat16(py)?.into_ptr().cast()),
    };
    // SAFETY: a number of one of numpy's own types; the result is a new reference, or null with an exception.
    let descr = unsafe { PY_ARRAY_API.PyArray_DescrFromType(py, number as c_int) };
    if descr.is_null() { Err(PyErr::fetch(py)) } else { Ok(descr) }
}

/// A read-only numpy array of memory inside of `owner`, which it keeps alive. Copies nothing.
///
/// `pick` gets the owner, and gives the array or `None`.
pub(crate) fn lend<'py, O: PyClass<Frozen = True> + Sync>(
    owner: &Bound<'py, O>,
    pick: impl for<'a> FnOnce(&'a O) -> Option<Lent<'a>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = owner.py();
    let Some(Lent { dtype, shape, bytes }) = pick(owner.get()) else { return Ok(None) };
    let elements = shape.slice().iter().product::<usize>();
    assert_eq!(elements.checked_mul(dtype.size()), Some(bytes.len()), "an array has its elements");
    assert!(bytes.as_ptr().addr().is_multiple_of(dtype.size()), "an array is aligned");
    let descr = descr(py, dtype)?;
    let n_axes = c_int::try_from(shape.ndim())?;
    // SAFETY: the type is that of numpy arrays. `descr` is a new reference, which the call takes over, also
    // if it fails. `shape` has `n_axes` lengths, which numpy reads and copies; `usize` and `npy_intp` have
    // one size, and no length is above `isize::MAX`, since `bytes` has all elements (numpy checks the rest).
    // The data are `bytes`: as long and as aligned as shape and dtype ask for, both asserted above. They are
    // not written, since the array is not writable, and numpy lets nobody make it so: its base exports no
    // writable buffer.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, NpyTypes::PyArray_Type),
            descr,
            n_axes,
            shape.slice().as_ptr().cast_mut().cast::<npy_intp>(),
            ptr::null_mut(),
            bytes.as_ptr().cast_mut().cast::<c_void>(),
            NPY_ARRAY_CARRAY_RO,
            ptr::null_mut(),
        )
    };
    // SAFETY: a new reference, or null with an exception.
    let array = unsafe { Bound::from_owned_ptr_or_err(py, array)? };
    // SAFETY: `array` is an array without a base, as made above. The call takes over the reference to
    // `owner`, also if it fails. From here on the array keeps `owner` alive, and `owner` keeps `bytes`:
    // `pick` works for any lifetime `'a`, so what it gives borrows from the owner (or is static). The owner
    // is frozen, so nobody has it mutably, and Python objects do not move.
    let failed =
        unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), owner.clone().into_ptr()) };
    if failed < 0 { Err(PyErr::fetch(py)) } else { Ok(Some(array)) }
}

/// The bytes of a record, for `memoryview`. It is what such a view calls its `obj`.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct RecordBytes(Box<dyn AsRef<[u8]> + Send + Sync>);

impl RecordBytes {
    /// A read-only view of `bytes`, which it keeps alive.
    pub(crate) fn view(
        py: Python<'_>,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> PyResult<Bound<'_, PyAny>> {
        let owner = Bound::new(py, Self(Box::new(bytes)))?;
        Ok(pyo3::types::PyMemoryView::from(owner.as_any())?.into_any())
    }
}

#[pymethods]
impl RecordBytes {
    #[allow(clippy::missing_safety_doc, reason = "called by Python alone")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("a buffer is asked for, and nowhere to describe it"));
        }
        let bytes: &[u8] = (*slf.get().0).as_ref();
        let len = ffi::Py_ssize_t::try_from(bytes.len())?;
        // SAFETY: Python gives a `view` to fill, which is not null. The buffer is read-only (1): a consumer
        // that asks for a writable one gets an exception. `bytes` stay: the view keeps a reference to `slf`,
        // which is frozen and owns them.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), bytes.as_ptr().cast_mut().cast(), len, 1, flags)
        };
        if failed < 0 { Err(PyErr::fetch(slf.py())) } else { Ok(()) }
    }
}

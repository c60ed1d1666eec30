//! numpy arrays that are written, and dtypes.

use half::{bf16, f16};
use ndarray::{ArrayView, IxDyn};
use numpy::{
    PyArrayDescr, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyImportError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict};
use vldepot::CodecError;
use vldepot::codecs::AnyArray;

/// The most axes that this crate handles, which is less than numpy allows.
const MAX_AXES: usize = 32;

/// The dtype of bfloat16, which the package `ml_dtypes` brings.
pub(crate) fn bfloat16(py: Python<'_>) -> PyResult<Bound<'_, PyArrayDescr>> {
    let module = py.import(intern!(py, "ml_dtypes")).map_err(|cause| {
        let error = PyImportError::new_err(
            "numpy has no bfloat16: install ml_dtypes to read such arrays (pip install ml_dtypes)",
        );
        error.set_cause(py, Some(cause));
        error
    })?;
    PyArrayDescr::new(py, module.getattr(intern!(py, "bfloat16"))?)
}

/// Finds numpy, and the C functions of it that this crate calls.
///
/// This runs when the module is imported. Later, a signal could come in between, and there would be no way to
/// tell.
pub(crate) fn find_numpy(py: Python<'_>) -> PyResult<()> {
    py.import("numpy").map_err(|cause| {
        if !cause.is_instance_of::<PyImportError>(py) {
            return cause;
        }
        let error = PyImportError::new_err(format!(
            "vldepot needs numpy 2.0 or later, which cannot be imported: {}",
            cause.value(py)
        ));
        error.set_cause(py, Some(cause));
        error
    })?;
    let _ = numpy::dtype::<f64>(py);
    Ok(())
}

/// A function of numpy.
pub(crate) fn numpy_function<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = NUMPY.get_or_try_init(py, || py.import("numpy").map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

/// `numpy.asarray(object)`. An array is given back as it is.
pub(crate) fn as_array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Ok(array) = object.cast_exact::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    if object.cast::<PyUntypedArray>().is_ok() && object.hasattr(intern!(object.py(), "mask"))? {
        return Err(PyTypeError::new_err("a mask is not stored: fill the masked array first"));
    }
    let array = numpy_function(object.py(), "asarray")?.call1((object,))?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

/// Like [`as_array`], but whole numbers become float64, as those of `[[0, 0, 0]]`. They must be the same
/// there.
pub(crate) fn as_reals<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let array = as_array(object)?;
    if !matches!(array.dtype().kind(), b'i' | b'u') {
        return Ok(array);
    }
    let doubles = as_doubles(&array)?;
    // Only integers of 64 bits can be others. They are compared as those of Python, which are exact.
    if array.dtype().itemsize() == 8 {
        let largest = 2.0_f64.powi(53);
        let all_small = doubles.try_readonly()?.as_array().iter().all(|number| number.abs() < largest);
        let same = || {
            let (integers, doubles) = (array.call_method0("tolist")?, doubles.call_method0("tolist")?);
            integers.eq(doubles)
        };
        if !all_small && !same()? {
            return Err(PyValueError::new_err("an integer above 2^53, which is no float64"));
        }
    }
    Ok(doubles.into_any().cast_into()?)
}

/// `numpy.asarray(object, dtype=float64)`
pub(crate) fn as_doubles<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDyn<f64>>> {
    let py = object.py();
    let options = [("dtype", numpy::dtype::<f64>(py)), ("order", PyArrayDescr::new(py, "f8")?)];
    let options = options[..1].into_py_dict(py)?;
    options.set_item("order", "C")?;
    let array = numpy_function(py, "asarray")?.call((object,), Some(&options))?;
    Ok(array.cast_into()?)
}

/// An array of numpy that is read, and that Rust code cannot write meanwhile.
pub(crate) enum Held<'py> {
    F32(PyReadonlyArrayDyn<'py, f32>),
    F64(PyReadonlyArrayDyn<'py, f64>),
    F16(PyReadonlyArrayDyn<'py, f16>),
    Bf16(PyReadonlyArrayDyn<'py, bf16>),
    I8(PyReadonlyArrayDyn<'py, i8>),
    I16(PyReadonlyArrayDyn<'py, i16>),
    I32(PyReadonlyArrayDyn<'py, i32>),
    I64(PyReadonlyArrayDyn<'py, i64>),
    U8(PyReadonlyArrayDyn<'py, u8>),
    U16(PyReadonlyArrayDyn<'py, u16>),
    U32(PyReadonlyArrayDyn<'py, u32>),
    U64(PyReadonlyArrayDyn<'py, u64>),
    /// numpy's bools may be any byte, Rust's may not.
    Bool(Vec<bool>, IxDyn),
}

macro_rules! for_held {
    ($held:expr, $array:ident => $body:expr, ($bools:ident, $shape:ident) => $other:expr) => {
        match $held {
            Held::F32($array) => $body,
            Held::F64($array) => $body,
            Held::F16($array) => $body,
            Held::Bf16($array) => $body,
            Held::I8($array) => $body,
            Held::I16($array) => $body,
            Held::I32($array) => $body,
            Held::I64($array) => $body,
            Held::U8($array) => $body,
            Held::U16($array) => $body,
            Held::U32($array) => $body,
            Held::U64($array) => $body,
            Held::Bool($bools, $shape) => $other,
        }
    };
}

fn held<'py, T: numpy::Element>(array: &Bound<'py, PyUntypedArray>) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let array = array.cast::<PyArrayDyn<T>>()?;
    array
        .try_readonly()
        .map_err(|error| PyValueError::new_err(format!("the array is being written: {error}")))
}

impl<'py> Held<'py> {
    /// Takes an array of any dtype, order and alignment. It is copied if it does not lie in order.
    pub(crate) fn new(field: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let py = array.py();
        let dtype = array.dtype();
        if array.ndim() > MAX_AXES {
            let why = format!("field `{field}`: an array of {} axes: at most {MAX_AXES}", array.ndim());
            return Err(crate::error::codec_error(py, CodecError::invalid(why)));
        }
        let aligned =
            || array.as_any().getattr(intern!(py, "flags"))?.getattr(intern!(py, "aligned"))?.is_truthy();
        let native = matches!(dtype.byteorder(), b'=' | b'|');
        if !array.is_c_contiguous() || !native || !aligned()? {
            let options = PyDict::new(py);
            options.set_item("order", "C")?;
            options.set_item("dtype", dtype.call_method1("newbyteorder", ("=",))?)?;
            let copy = numpy_function(py, "array")?.call((array,), Some(&options))?;
            return Self::of(field, &copy.cast_into()?);
        }
        Self::of(field, array)
    }

    /// Takes an array in order.
    fn of(field: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let py = array.py();
        let dtype = array.dtype();
        Ok(match (dtype.kind(), dtype.itemsize()) {
            (b'f', 4) => Self::F32(held(array)?),
            (b'f', 8) => Self::F64(held(array)?),
            (b'f', 2) => Self::F16(held(array)?),
            (b'i', 1) => Self::I8(held(array)?),
            (b'i', 2) => Self::I16(held(array)?),
            (b'i', 4) => Self::I32(held(&same_size(array, "i4")?)?),
            (b'i', 8) => Self::I64(held(&same_size(array, "i8")?)?),
            (b'u', 1) => Self::U8(held(array)?),
            (b'u', 2) => Self::U16(held(array)?),
            (b'u', 4) => Self::U32(held(&same_size(array, "u4")?)?),
            (b'u', 8) => Self::U64(held(&same_size(array, "u8")?)?),
            (b'b', 1) => {
                let bytes = held::<u8>(&same_size(array, "u1")?)?;
                Self::Bool(bytes.as_slice()?.iter().map(|&byte| byte != 0).collect(), IxDyn(array.shape()))
            }
            _ if dtype.getattr(intern!(py, "name"))?.eq("bfloat16")? => Self::Bf16(held(array)?),
            _ => {
                let found = dtype.str()?.to_string();
                let expected = "a bool, an integer or a float of at most 64 bits".into();
                return Err(crate::error::codec_error(
                    py,
                    CodecError::Dtype { field: field.into(), expected, found },
                ));
            }
        })
    }

    /// The array, borrowed.
    pub(crate) fn any(&self) -> PyResult<AnyArray<'_>> {
        fn view<'a, T: vldepot::codecs::Element>(
            shape: &[usize],
            elements: &'a [T],
        ) -> PyResult<AnyArray<'a>> {
            let array = ArrayView::from_shape(IxDyn(shape), elements);
            Ok(array.map_err(|error| PyValueError::new_err(error.to_string()))?.into())
        }
        for_held!(self, array => view(array.shape(), array.as_slice()?), (bools, shape) => {
            view(ndarray::Dimension::slice(shape), bools)
        })
    }
}

/// The same bytes under another of numpy's names for the type: there are two of the size of an integer.
fn same_size<'py>(array: &Bound<'py, PyUntypedArray>, name: &str) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    let wanted = PyArrayDescr::new(py, name)?;
    if array.dtype().num() == wanted.num() {
        return Ok(array.clone());
    }
    Ok(array.call_method1(intern!(py, "view"), (wanted,))?.cast_into()?)
}

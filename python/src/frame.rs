//! Frames of atoms: `vldepot.Frame` and `vldepot.Topology`.
//!
//! Both are either a record that was read, whose arrays are lent as Python asks for them, or what Python gave
//! to be written.

use ndarray::IxDyn;
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyMappingProxy, PyString, PyTuple};
use vldepot::codecs::atomic::NamedArray;
use vldepot::codecs::{
    AtomicFrame, AtomicFrameCodec, AtomicFrameView, DType, Topology as TopologyItem, TopologyView,
};
use vldepot::{CodecError, Record};

use crate::array::{self, Held};
use crate::error::{codec_error, in_field, refused_field, short};
use crate::memory::{Lent, lend};

type FrameRecord = Record<AtomicFrameCodec>;
type Given = Option<Py<PyUntypedArray>>;
type Matrix = [[f64; 3]; 3];

/// Arrays of a frame by their name.
const ARRAYS: [&str; 6] = ["positions", "velocities", "forces", "charges", "types", "masses"];
/// All fields of a frame but `arrays`, `per_frame` and those of the topology, in the order in which they are
/// shown.
const SCALARS: [&str; 8] = ["name", "n_atoms", "cell", "pbc", "step", "time", "energy", "stress"];

enum Content {
    Record(FrameRecord),
    Given(Box<GivenFrame>),
}

#[derive(Default)]
struct GivenFrame {
    name: Option<String>,
    n_atoms: Option<usize>,
    /// In the order of `ARRAYS`.
    arrays: [Given; 6],
    cell: Option<Matrix>,
    pbc: Option<[bool; 3]>,
    step: Option<i64>,
    time: Option<f64>,
    energy: Option<f64>,
    stress: Option<Matrix>,
    /// Names, whether the array is per atom, and the array.
    own: Vec<(String, bool, Py<PyUntypedArray>)>,
    topology_name: Option<String>,
    topology: Option<Py<Topology>>,
}

/// One frame of atoms.
///
/// A frame that a depot gives lends its arrays from the record: they are read-only, and keep it alive. Arrays
/// that are given to be written are only referred to, until the frame is put. Whole numbers become float64 at
/// once.
///
/// A depot stores positions, velocities, forces and charges in its `precision`, which is float32 unless
/// `create` was told otherwise. Float64 is rounded to it, and tiny numbers become 0. What would become
/// infinite is refused.
///
/// Each field is `None` where the frame has none. The units are those of the depot's codec; the default ones
/// are in brackets. `arrays` and `per_frame` hold your own arrays by name: per atom `[n_atoms, ..]`, and of
/// any shape.
///
/// Raises:
///     CodecError: When a scalar is none, `cell` or `stress` is not 3 x 3, or `pbc` is no bool and not three
///         of them. All else is checked by `put`.
///
/// Example:
///     >>> frame = vldepot.Frame(positions=np.zeros((2, 3)), step=5, arrays={"spin": np.array([1, -1])})
///     >>> frame
///     <vldepot.Frame of 2 atoms: positions, step=5, arrays>
///     >>> depot = vldepot.memory()
///     >>> depot["a"] = frame
///     >>> depot["a"].arrays["spin"].tolist(), depot["a"].energy is None
///     ([1, -1], True)
#[pyclass(frozen, module = "vldepot")]
pub(crate) struct Frame {
    content: Content,
}

fn view_of(frame: &Frame) -> Option<AtomicFrameView<'_>> {
    match &frame.content {
        Content::Record(record) => Some(record.view()),
        Content::Given(_) => None,
    }
}

fn doubles(rows: &ndarray::ArrayView2<'_, f64>) -> Option<Matrix> {
    let (rows, _) = rows.as_slice()?.as_chunks::<3>();
    rows.try_into().ok()
}

/// A read-only array of 3 x 3 numbers.
fn matrix_to_python(py: Python<'_>, matrix: Option<Matrix>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let Some(matrix) = matrix else { return Ok(None) };
    let array = numpy::PyArray1::from_slice(py, matrix.as_flattened()).reshape([3, 3])?;
    array.call_method1(intern!(py, "setflags"), (false,))?;
    Ok(Some(array.into_any()))
}

fn matrix(field: &str, object: &Bound<'_, PyAny>) -> PyResult<Matrix> {
    let py = object.py();
    let given = array::as_array(object).map_err(|error| in_field(py, field, error))?;
    if !matches!(given.dtype().kind(), b'f' | b'i' | b'u') {
        return Err(refused_field(py, field, "numbers of float64", object));
    }
    let array = array::as_doubles(&given)?;
    if array.shape() != [3, 3] {
        return Err(codec_error(object.py(), CodecError::shape(field, &[3, 3], array.shape())));
    }
    let array = array.try_readonly()?;
    let (rows, _) = array.as_slice()?.as_chunks::<3>();
    rows.try_into().map_err(|_| PyTypeError::new_err("a matrix of 3 x 3"))
}

/// The kind of a scalar of numpy, as `numpy.dtype.kind` gives it.
fn scalar_kind(object: &Bound<'_, PyAny>) -> PyResult<Option<u8>> {
    let Some(dtype) = object.getattr_opt(intern!(object.py(), "dtype"))? else { return Ok(None) };
    // A scalar of another package is asked for its number, as any object is.
    let Ok(dtype) = dtype.cast_into::<PyArrayDescr>() else { return Ok(None) };
    let shape = object.getattr_opt(intern!(object.py(), "shape"))?;
    let is_scalar = shape.is_some_and(|shape| shape.len().is_ok_and(|axes| axes == 0));
    Ok(Some(if is_scalar { dtype.kind() } else { b'?' }))
}

/// A bool, or 0 or 1, of Python or numpy.
fn flag(object: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    if let Ok(bool) = object.cast::<PyBool>() {
        return Ok(Some(bool.is_true()));
    }
    Ok(match scalar_kind(object)? {
        Some(b'b') => Some(object.is_truthy()?),
        None if !object.is_instance_of::<PyInt>() => None,
        None | Some(b'i' | b'u') => match object.extract::<i64>() {
            Ok(0) => Some(false),
            Ok(1) => Some(true),
            _ => None,
        },
        _ => None,
    })
}

fn three(object: &Bound<'_, PyAny>) -> PyResult<[bool; 3]> {
    if let Some(one) = flag(object)? {
        return Ok([one; 3]);
    }
    let refuse = |found: &Bound<'_, PyAny>| refused_field(found.py(), "pbc", "a bool, or three", found);
    let has_array = object.hasattr(intern!(object.py(), "__array__"))?;
    let array = has_array.then(|| array::as_array(object)).transpose()?;
    if array.is_none() && !object.is_instance_of::<PyList>() && !object.is_instance_of::<PyTuple>() {
        return Err(refuse(object));
    }
    let items = array.as_ref().map_or(object, |array| array.as_any());
    let mut out = Vec::new();
    for item in items.try_iter().map_err(|_| refuse(object))? {
        let item = item?;
        out.push(flag(&item)?.ok_or_else(|| refuse(&item))?);
    }
    let found = out.len();
    out.try_into().map_err(|_| codec_error(object.py(), CodecError::shape("pbc", &[3], &[found])))
}

/// A whole number. A bool is none.
fn whole<T: for<'a, 'p> FromPyObject<'a, 'p, Error = PyErr>>(
    field: &str,
    expected: &str,
    object: &Bound<'_, PyAny>,
) -> PyResult<T> {
    let refuse = || refused_field(object.py(), field, expected, object);
    if object.is_instance_of::<PyBool>() || !matches!(scalar_kind(object)?, None | Some(b'i' | b'u')) {
        return Err(refuse());
    }
    object.extract().map_err(|error| or_else(object.py(), error, refuse))
}

/// What was refused, unless `error` is of something else, such as an interrupt.
fn or_else(py: Python<'_>, error: PyErr, refuse: impl FnOnce() -> PyErr) -> PyErr {
    let refused = error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PyOverflowError>(py);
    if refused { refuse() } else { error }
}

/// A number. A whole one must be the same as a float64.
fn real(field: &str, object: &Bound<'_, PyAny>) -> PyResult<f64> {
    let refuse = || refused_field(object.py(), field, "a number of float64", object);
    if !matches!(scalar_kind(object)?, None | Some(b'b' | b'i' | b'u' | b'f')) {
        return Err(refuse());
    }
    let number: f64 = object.extract().map_err(|error| or_else(object.py(), error, refuse))?;
    if object.is_instance_of::<PyInt>() && !object.eq(number)? {
        return Err(refuse());
    }
    Ok(number)
}

fn field_name(name: &Bound<'_, PyAny>) -> PyResult<String> {
    name.extract().map_err(|_| PyTypeError::new_err(format!("names of fields are str, not {}", short(name))))
}

fn text(field: &str, object: &Bound<'_, PyAny>) -> PyResult<String> {
    object.extract().map_err(|_| refused_field(object.py(), field, "a str of Unicode text", object))
}

/// An array, and the name of the field if there is none.
fn array_of<'py>(
    field: &str,
    object: &Bound<'py, PyAny>,
    read: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>>,
) -> PyResult<Py<PyUntypedArray>> {
    read(object).map(Bound::unbind).map_err(|error| in_field(object.py(), field, error))
}

fn own_arrays(
    object: &Bound<'_, PyAny>,
    per_atom: bool,
    out: &mut Vec<(String, bool, Py<PyUntypedArray>)>,
) -> PyResult<()> {
    let field = if per_atom { "arrays" } else { "per_frame" };
    let Some(items) = object.getattr_opt(intern!(object.py(), "items"))? else {
        let found = object.get_type().name()?;
        return Err(PyTypeError::new_err(format!("field `{field}`: a dict of arrays by name, not {found}")));
    };
    for item in items.call0()?.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        let Ok(name) = name.extract::<String>() else {
            let name = short(&name);
            return Err(PyTypeError::new_err(format!("field `{field}`: names are str, not {name}")));
        };
        let array = array_of(&name, &value, array::as_array)?;
        out.push((name, per_atom, array));
    }
    Ok(())
}

impl Frame {
    pub(crate) fn of_record(record: FrameRecord) -> Self {
        Self { content: Content::Record(record) }
    }

    /// Makes a frame from fields by name. Fields that are `None` are left out.
    pub(crate) fn from_fields(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut given = GivenFrame::default();
        for (name, value) in fields {
            if value.is_none() {
                continue;
            }
            let name = field_name(&name)?;
            let name = &*name;
            if let Some(at) = ARRAYS.iter().position(|array| *array == name) {
                let read = if name == "types" { array::as_array } else { array::as_reals };
                given.arrays[at] = Some(array_of(name, &value, read)?);
                continue;
            }
            match name {
                "name" => given.name = Some(text(name, &value)?),
                "n_atoms" => given.n_atoms = Some(whole(name, "a number of atoms", &value)?),
                "cell" => given.cell = Some(matrix("cell", &value)?),
                "pbc" => given.pbc = Some(three(&value)?),
                "step" => given.step = Some(whole(name, "a whole number from -2^63 to 2^63 - 1", &value)?),
                "time" => given.time = Some(real(name, &value)?),
                "energy" => given.energy = Some(real(name, &value)?),
                "stress" => given.stress = Some(matrix("stress", &value)?),
                "arrays" => own_arrays(&value, true, &mut given.own)?,
                "per_frame" => own_arrays(&value, false, &mut given.own)?,
                "topology_name" => given.topology_name = Some(text(name, &value)?),
                "topology" => given.topology = Some(Topology::from_object(&value)?.unbind()),
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "a frame has no field {name:?}; arrays of your own go into `arrays` (per atom) or `per_frame`"
                    )));
                }
            }
        }
        Ok(Self { content: Content::Given(Box::new(given)) })
    }

    /// A frame, or a mapping of its fields.
    pub(crate) fn from_object<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        if let Ok(frame) = object.cast::<Self>() {
            return Ok(frame.clone());
        }
        if let Ok(fields) = object.cast::<PyDict>() {
            return Bound::new(object.py(), Self::from_fields(fields)?);
        }
        let found = object.get_type().name()?;
        Err(PyTypeError::new_err(format!("a depot of frames takes a vldepot.Frame or a dict, not {found}")))
    }

    fn array<'py>(slf: &Bound<'py, Self>, at: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Content::Given(given) = &slf.get().content {
            return Ok(given.arrays[at].as_ref().map(|array| array.bind(slf.py()).as_any().clone()));
        }
        lend(slf, |frame| {
            let view = view_of(frame)?;
            match at {
                0 => view.positions_any().map(Into::into),
                1 => view.velocities_any().map(Into::into),
                2 => view.forces_any().map(Into::into),
                3 => view.charges_any().map(Into::into),
                4 => view.types().and_then(|types| Some(lent(DType::I32, types.to_slice()?))),
                _ => view.masses().and_then(|masses| Some(lent(DType::F32, masses.to_slice()?))),
            }
        })
    }

    fn own<'py>(slf: &Bound<'py, Self>, per_atom: bool) -> PyResult<Bound<'py, PyDict>> {
        let py = slf.py();
        let out = PyDict::new(py);
        match &slf.get().content {
            Content::Given(given) => {
                for (name, _, array) in given.own.iter().filter(|own| own.1 == per_atom) {
                    out.set_item(name, array)?;
                }
            }
            Content::Record(record) => {
                for own in record.view().arrays().filter(|own| own.per_atom == per_atom) {
                    // By number, because `lend` must find the array by itself.
                    let array = lend(slf, |frame| {
                        view_of(frame)?
                            .arrays()
                            .find(|found| found.name == own.name)
                            .map(|own| own.array.into())
                    })?;
                    out.set_item(own.name, array)?;
                }
            }
        }
        Ok(out)
    }

    fn number_of_atoms(&self, py: Python<'_>) -> Option<usize> {
        match &self.content {
            Content::Record(record) => Some(record.view().n_atoms()),
            Content::Given(given) => given.n_atoms.or_else(|| {
                let own = given.own.iter().filter(|own| own.1).map(|own| &own.2);
                let mut arrays = given.arrays.iter().flatten().chain(own);
                arrays.next().and_then(|array| array.bind(py).shape().first().copied())
            }),
        }
    }

    /// Whether a field that is no array is there.
    fn has(slf: &Bound<'_, Self>, name: &str) -> PyResult<bool> {
        Ok(!slf.getattr(name)?.is_none())
    }
}

fn lent<T: bytemuck::NoUninit>(dtype: DType, numbers: &[T]) -> Lent<'_> {
    Lent { dtype, shape: IxDyn(&[numbers.len()]), bytes: bytemuck::cast_slice(numbers) }
}

/// Reads one field, from the record or from what was given.
macro_rules! field {
    ($slf:expr, $view:ident => $read:expr, $given:ident => $kept:expr) => {
        match &$slf.content {
            Content::Record(record) => {
                let $view = record.view();
                $read
            }
            Content::Given($given) => $kept,
        }
    };
}

#[pymethods]
impl Frame {
    /// Makes a frame to be written. All fields are optional, and are keyword arguments.
    #[new]
    #[pyo3(signature = (**fields))]
    fn new(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Self::from_fields(fields.unwrap_or(&PyDict::new(py)))
    }

    /// Free text.
    #[getter]
    fn name(&self) -> Option<&str> {
        field!(self, view => view.name(), given => given.name.as_deref())
    }

    /// Number of atoms. `None` for a frame to be written that has no array per atom.
    #[getter]
    fn n_atoms(&self, py: Python<'_>) -> Option<usize> {
        self.number_of_atoms(py)
    }

    /// `[n_atoms, 3]` (nm), of the depot's precision: float32 by default.
    #[getter]
    fn positions<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 0)
    }

    /// `[n_atoms, 3]` (nm/ps), of the depot's precision.
    #[getter]
    fn velocities<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 1)
    }

    /// `[n_atoms, 3]` (kJ/mol/nm), of the depot's precision.
    #[getter]
    fn forces<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 2)
    }

    /// `[n_atoms]` (e), of the depot's precision.
    #[getter]
    fn charges<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 3)
    }

    /// `[n_atoms]` int32: atomic numbers, or type ids.
    #[getter]
    fn types<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 4)
    }

    /// `[n_atoms]` float32 (u)
    #[getter]
    fn masses<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 5)
    }

    /// `[3, 3]` float64, one lattice vector per row (nm)
    #[getter]
    fn cell<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let matrix =
            field!(slf.get(), view => view.cell().and_then(|cell| doubles(&cell)), given => given.cell);
        matrix_to_python(slf.py(), matrix)
    }

    /// Whether the frame repeats along each lattice vector.
    #[getter]
    fn pbc(&self) -> Option<(bool, bool, bool)> {
        let pbc = field!(self, view => view.pbc(), given => given.pbc);
        pbc.map(|[a, b, c]| (a, b, c))
    }

    /// Number of the integration step.
    #[getter]
    fn step(&self) -> Option<i64> {
        field!(self, view => view.step(), given => given.step)
    }

    /// Simulation time (ps).
    #[getter]
    fn time(&self) -> Option<f64> {
        field!(self, view => view.time(), given => given.time)
    }

    /// Potential energy (kJ/mol).
    #[getter]
    fn energy(&self) -> Option<f64> {
        field!(self, view => view.energy(), given => given.energy)
    }

    /// `[3, 3]` float64 (bar)
    #[getter]
    fn stress<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let matrix = field!(slf.get(), view => view.stress().and_then(|stress| doubles(&stress)), given => given.stress);
        matrix_to_python(slf.py(), matrix)
    }

    /// The writer's own arrays `[n_atoms, ..]`, by name. Empty where there are none.
    ///
    /// It cannot be changed: `frame.replace(arrays={**frame.arrays, "spin": spin})` makes another frame.
    #[getter]
    fn arrays<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMappingProxy>> {
        Ok(PyMappingProxy::new(slf.py(), Self::own(slf, true)?.as_mapping()))
    }

    /// The writer's own arrays of any shape, by name. Empty where there are none. It cannot be changed.
    #[getter]
    fn per_frame<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMappingProxy>> {
        Ok(PyMappingProxy::new(slf.py(), Self::own(slf, false)?.as_mapping()))
    }

    /// Name of the record in the same depot that holds the topology.
    #[getter]
    fn topology_name(&self) -> Option<&str> {
        field!(self, view => view.topology_name(), given => given.topology_name.as_deref())
    }

    /// The topology, if this record holds it.
    #[getter]
    fn topology<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Topology>>> {
        match &self.content {
            Content::Given(given) => Ok(given.topology.as_ref().map(|topology| topology.bind(py).clone())),
            Content::Record(record) => match record.view().topology() {
                Some(_) => Bound::new(py, Topology::of_record(record.clone())).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The names of the fields that the frame has.
    #[getter]
    fn fields<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let mut names = Vec::new();
        for name in ARRAYS.into_iter().chain(SCALARS.into_iter().filter(|name| *name != "n_atoms")) {
            if Self::has(slf, name)? {
                names.push(name);
            }
        }
        for (name, per_atom) in [("arrays", true), ("per_frame", false)] {
            if !Self::own(slf, per_atom)?.is_empty() {
                names.push(name);
            }
        }
        for name in ["topology_name", "topology"] {
            if Self::has(slf, name)? {
                names.push(name);
            }
        }
        PyTuple::new(slf.py(), names)
    }

    /// The fields that the frame has, by name. The arrays are not copied.
    fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(slf.py());
        for name in Self::fields(slf)? {
            let name = name.cast_into::<PyString>()?;
            let value = match name.to_str()? {
                "arrays" => Self::own(slf, true)?.into_any(),
                "per_frame" => Self::own(slf, false)?.into_any(),
                name => slf.getattr(name)?,
            };
            match value.cast::<Topology>() {
                Ok(topology) => out.set_item(name, Topology::to_dict(topology)?)?,
                Err(_) => out.set_item(name, value)?,
            }
        }
        // Only a frame without arrays per atom needs it.
        if !out.contains("positions")? {
            out.set_item("n_atoms", slf.get().number_of_atoms(slf.py()))?;
        }
        Ok(out)
    }

    /// The same frame with other fields. A field that becomes `None` is left out.
    ///
    /// Example:
    ///     >>> frame = vldepot.Frame(positions=np.zeros((2, 3)), step=5)
    ///     >>> frame.replace(step=6, energy=-1.0)
    ///     <vldepot.Frame of 2 atoms: positions, step=6, energy=-1.0>
    #[pyo3(signature = (**fields))]
    fn replace<'py>(slf: &Bound<'py, Self>, fields: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        let all = Self::to_dict(slf)?;
        if let Some(fields) = fields {
            // The arrays that are given may be those of another number of atoms.
            if !fields.contains("n_atoms")? && all.contains("n_atoms")? {
                all.del_item("n_atoms")?;
            }
            all.update(fields.as_mapping())?;
        }
        Self::from_fields(&all)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let make = slf.py().import("vldepot._vldepot")?.getattr("_frame_from_dict")?;
        Ok((make, (Self::to_dict(slf)?,)))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let mut shown = Vec::new();
        for name in Self::fields(slf)? {
            let name: String = name.extract()?;
            shown.push(match name.as_str() {
                "step" | "time" | "energy" | "name" => format!("{name}={}", slf.getattr(&*name)?.repr()?),
                _ => name,
            });
        }
        let n_atoms = slf.get().number_of_atoms(slf.py()).map_or("?".to_owned(), |n| n.to_string());
        Ok(format!("<vldepot.Frame of {n_atoms} atoms: {}>", shown.join(", ")))
    }
}

/// Makes a frame from a dictionary, for pickles.
#[pyfunction]
#[pyo3(name = "_frame_from_dict")]
pub(crate) fn frame_from_dict(fields: &Bound<'_, PyDict>) -> PyResult<Frame> {
    Frame::from_fields(fields)
}

/// Makes a topology from a dictionary, for pickles.
#[pyfunction]
#[pyo3(name = "_topology_from_dict")]
pub(crate) fn topology_from_dict(fields: &Bound<'_, PyDict>) -> PyResult<Topology> {
    Topology::from_fields(fields)
}

/// A frame to be written, with its arrays held.
pub(crate) struct HeldFrame<'f, 'py> {
    frame: &'f Bound<'py, Frame>,
    arrays: [Option<Held<'py>>; 6],
    own: Vec<(&'f str, bool, Held<'py>)>,
    topology: Option<HeldTopology<'f, 'py>>,
}

impl<'f, 'py> HeldFrame<'f, 'py> {
    pub(crate) fn new(frame: &'f Bound<'py, Frame>) -> PyResult<Self> {
        let py = frame.py();
        let mut held = Self { frame, arrays: [const { None }; 6], own: Vec::new(), topology: None };
        let Content::Given(given) = &frame.get().content else { return Ok(held) };
        for ((out, array), name) in held.arrays.iter_mut().zip(&given.arrays).zip(ARRAYS) {
            *out = array.as_ref().map(|array| Held::new(name, array.bind(py))).transpose()?;
        }
        for (name, per_atom, array) in &given.own {
            held.own.push((name, *per_atom, Held::new(name, array.bind(py))?));
        }
        held.topology =
            given.topology.as_ref().map(|topology| HeldTopology::new(topology.bind(py))).transpose()?;
        Ok(held)
    }

    /// The frame as the codec takes it.
    pub(crate) fn item(&self) -> PyResult<AtomicFrame<'_>> {
        let py = self.frame.py();
        let given = match &self.frame.get().content {
            Content::Given(given) => given,
            Content::Record(record) => {
                return record.view().to_frame().map_err(|error| codec_error(py, error));
            }
        };
        let array = |at: usize| self.arrays[at].as_ref().map(Held::any).transpose();
        let mut frame = AtomicFrame::new();
        frame.name = given.name.as_deref().map(Into::into);
        frame.n_atoms = given.n_atoms;
        frame.positions = array(0)?;
        frame.velocities = array(1)?;
        frame.forces = array(2)?;
        frame.charges = array(3)?;
        frame.types = array(4)?;
        frame.masses = array(5)?;
        frame.cell = given.cell;
        frame.pbc = given.pbc;
        frame.step = given.step;
        frame.time = given.time;
        frame.energy = given.energy;
        frame.stress = given.stress;
        for (name, per_atom, array) in &self.own {
            frame.arrays.push(NamedArray { name: (*name).into(), per_atom: *per_atom, array: array.any()? });
        }
        frame.topology_name = given.topology_name.as_deref().map(Into::into);
        frame.topology = self.topology.as_ref().map(HeldTopology::item).transpose()?;
        Ok(frame)
    }
}

enum TopologyContent {
    Record(FrameRecord),
    Given(Box<GivenTopology>),
}

#[derive(Default)]
struct GivenTopology {
    /// In the order of `TOPOLOGY_ARRAYS`.
    arrays: [Given; 6],
    names: Option<Vec<String>>,
    residue_names: Option<Vec<String>>,
}

const TOPOLOGY_ARRAYS: [&str; 6] = ["types", "masses", "charges", "bonds", "residues", "molecules"];
/// The same as errors name them.
const TOPOLOGY_FIELDS: [&str; 6] = [
    "topology.types",
    "topology.masses",
    "topology.charges",
    "topology.bonds",
    "topology.residues",
    "topology.molecules",
];

/// What does not change in a run. Every field is optional.
///
/// It is stored once, in a frame of its own, and the other frames name that record in `topology_name`.
///
/// Example:
///     >>> water = vldepot.Topology(types=[8, 1, 1], names=["O", "H1", "H2"], bonds=[[0, 1], [0, 2]])
///     >>> depot = vldepot.memory()
///     >>> depot.put("topology", topology=water)
///     >>> depot.put("frame_0", positions=np.zeros((3, 3)), topology_name="topology")
///     >>> depot[depot["frame_0"].topology_name].topology.bonds.tolist()
///     [[0, 1], [0, 2]]
#[pyclass(frozen, module = "vldepot")]
pub(crate) struct Topology {
    content: TopologyContent,
}

fn topology_of(topology: &Topology) -> Option<TopologyView<'_>> {
    match &topology.content {
        TopologyContent::Record(record) => record.view().topology(),
        TopologyContent::Given(_) => None,
    }
}

impl Topology {
    fn of_record(record: FrameRecord) -> Self {
        Self { content: TopologyContent::Record(record) }
    }

    fn from_fields(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut given = GivenTopology::default();
        for (name, value) in fields {
            if value.is_none() {
                continue;
            }
            let name = field_name(&name)?;
            let name = &*name;
            if let Some(at) = TOPOLOGY_ARRAYS.iter().position(|array| *array == name) {
                let real = ["masses", "charges"].contains(&name);
                let read = if real { array::as_reals } else { array::as_array };
                given.arrays[at] = Some(array_of(TOPOLOGY_FIELDS[at], &value, read)?);
                continue;
            }
            let names = || -> PyResult<Vec<String>> {
                if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
                    return Err(PyTypeError::new_err(format!("field `topology.{name}`: a list of names")));
                }
                let field = format!("topology.{name}");
                let Ok(items) = value.try_iter() else {
                    return Err(refused_field(value.py(), &field, "a list of names", &value));
                };
                items.map(|name| text(&field, &name?)).collect()
            };
            match name {
                "names" => given.names = Some(names()?),
                "residue_names" => given.residue_names = Some(names()?),
                _ => return Err(PyTypeError::new_err(format!("a topology has no field {name:?}"))),
            }
        }
        Ok(Self { content: TopologyContent::Given(Box::new(given)) })
    }

    fn from_object<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        if let Ok(topology) = object.cast::<Self>() {
            return Ok(topology.clone());
        }
        if let Ok(fields) = object.cast::<PyDict>() {
            return Bound::new(object.py(), Self::from_fields(fields)?);
        }
        let found = object.get_type().name()?;
        Err(PyTypeError::new_err(format!("field `topology`: a vldepot.Topology or a dict, not {found}")))
    }

    fn array<'py>(slf: &Bound<'py, Self>, at: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let TopologyContent::Given(given) = &slf.get().content {
            return Ok(given.arrays[at].as_ref().map(|array| array.bind(slf.py()).as_any().clone()));
        }
        lend(slf, |topology| {
            let view = topology_of(topology)?;
            match at {
                0 => view.types().and_then(|types| Some(lent(DType::I32, types.to_slice()?))),
                1 => view.masses().and_then(|masses| Some(lent(DType::F32, masses.to_slice()?))),
                2 => view.charges().and_then(|charges| Some(lent(DType::F32, charges.to_slice()?))),
                3 => view.bonds().and_then(|bonds| {
                    let shape = IxDyn(bonds.shape());
                    Some(Lent { shape, ..lent(DType::U32, bonds.to_slice()?) })
                }),
                4 => view.residues().and_then(|residues| Some(lent(DType::U32, residues.to_slice()?))),
                _ => view.molecules().and_then(|molecules| Some(lent(DType::U32, molecules.to_slice()?))),
            }
        })
    }
}

#[pymethods]
impl Topology {
    /// Makes a topology to be written. All fields are optional, and are keyword arguments.
    #[new]
    #[pyo3(signature = (**fields))]
    fn new(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Self::from_fields(fields.unwrap_or(&PyDict::new(py)))
    }

    /// `[n_atoms]` int32: atomic numbers, or type ids.
    #[getter]
    fn types<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 0)
    }

    /// `[n_atoms]` float32 (u)
    #[getter]
    fn masses<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 1)
    }

    /// `[n_atoms]` float32 (e)
    #[getter]
    fn charges<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 2)
    }

    /// `[n_bonds, 2]` uint32: atom indices from 0.
    #[getter]
    fn bonds<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 3)
    }

    /// `[n_atoms]` uint32: indices into `residue_names`, or residue numbers where there are no names.
    #[getter]
    fn residues<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 4)
    }

    /// `[n_atoms]` uint32: molecule numbers from 0.
    #[getter]
    fn molecules<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::array(slf, 5)
    }

    /// The `n_atoms` names of the atoms.
    #[getter]
    fn names(&self) -> Option<Vec<String>> {
        match &self.content {
            TopologyContent::Given(given) => given.names.clone(),
            TopologyContent::Record(_) => Some(topology_of(self)?.names()?.map(Into::into).collect()),
        }
    }

    /// The names of the residues.
    #[getter]
    fn residue_names(&self) -> Option<Vec<String>> {
        match &self.content {
            TopologyContent::Given(given) => given.residue_names.clone(),
            TopologyContent::Record(_) => Some(topology_of(self)?.residue_names()?.map(Into::into).collect()),
        }
    }

    /// The fields that the topology has, by name. The arrays are not copied.
    fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(slf.py());
        for name in TOPOLOGY_ARRAYS.into_iter().chain(["names", "residue_names"]) {
            let value = slf.getattr(name)?;
            if !value.is_none() {
                out.set_item(name, value)?;
            }
        }
        Ok(out)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let make = slf.py().import("vldepot._vldepot")?.getattr("_topology_from_dict")?;
        Ok((make, (Self::to_dict(slf)?,)))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let names: Vec<String> = Self::to_dict(slf)?.keys().extract()?;
        Ok(format!("<vldepot.Topology: {}>", names.join(", ")))
    }
}

struct HeldTopology<'f, 'py> {
    topology: &'f Bound<'py, Topology>,
    arrays: [Option<Held<'py>>; 6],
}

impl<'f, 'py> HeldTopology<'f, 'py> {
    fn new(topology: &'f Bound<'py, Topology>) -> PyResult<Self> {
        let mut held = Self { topology, arrays: [const { None }; 6] };
        if let TopologyContent::Given(given) = &topology.get().content {
            for ((out, array), name) in held.arrays.iter_mut().zip(&given.arrays).zip(TOPOLOGY_FIELDS) {
                *out = array.as_ref().map(|array| Held::new(name, array.bind(topology.py()))).transpose()?;
            }
        }
        Ok(held)
    }

    fn item(&self) -> PyResult<TopologyItem<'_>> {
        let given = match &self.topology.get().content {
            TopologyContent::Given(given) => given,
            TopologyContent::Record(record) => {
                let view = record.view().topology();
                return view
                    .map(|view| view.to_topology())
                    .ok_or_else(|| PyAttributeError::new_err("topology"));
            }
        };
        let array = |at: usize| self.arrays[at].as_ref().map(Held::any).transpose();
        let names = |names: &'_ Option<Vec<String>>| {
            names.as_ref().map(|names| names.iter().map(|name| name.clone().into()).collect())
        };
        let mut topology = TopologyItem::new();
        topology.types = array(0)?;
        topology.masses = array(1)?;
        topology.charges = array(2)?;
        topology.bonds = array(3)?;
        topology.residues = array(4)?;
        topology.molecules = array(5)?;
        topology.names = names(&given.names);
        topology.residue_names = names(&given.residue_names);
        Ok(topology)
    }
}

/// The array per atom and its owner: used by the loader to read the number of atoms.
pub(crate) fn n_atoms(record: &FrameRecord) -> u32 {
    u32::try_from(record.view().n_atoms()).unwrap_or(u32::MAX)
}

//! Many frames as a few long arrays: `vldepot.FlatBatch`.

use std::cell::RefCell;

use numpy::{
    Element, PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use vldepot::codecs::{Fields, FlatFrames};

use crate::error::not_flat;

thread_local! {
    /// Keeps the memory in which frames are put in order.
    static SCRATCH: RefCell<FlatFrames> = RefCell::default();
}

/// Memory that is kept for the next batch of a thread is no more than this.
const KEPT_ATOMS: usize = 8 << 20;

/// The names of the fields, with the library's.
const FIELDS: [(&str, Fields); 10] = [
    ("positions", Fields::POSITIONS),
    ("velocities", Fields::VELOCITIES),
    ("forces", Fields::FORCES),
    ("charges", Fields::CHARGES),
    ("types", Fields::TYPES),
    ("masses", Fields::MASSES),
    ("energy", Fields::ENERGY),
    ("time", Fields::TIME),
    ("cell", Fields::CELL),
    ("stress", Fields::STRESS),
];

/// Reads names of fields: one, or several.
pub(crate) fn fields(object: &Bound<'_, PyAny>) -> PyResult<Fields> {
    let field = |name: &Bound<'_, PyAny>| -> PyResult<Fields> {
        let name: String = name.extract()?;
        let found = FIELDS.iter().find(|(field, _)| *field == name);
        found.map(|(_, field)| *field).ok_or_else(|| {
            let names = FIELDS.map(|(name, _)| name).join(", ");
            PyValueError::new_err(format!("no field is called {name:?}; there are {names}"))
        })
    };
    if object.is_instance_of::<PyString>() {
        return field(object);
    }
    let mut all: Option<Fields> = None;
    for name in object.try_iter()? {
        let field = field(&name?)?;
        all = Some(all.map_or(field, |all| all | field));
    }
    all.ok_or_else(|| PyValueError::new_err("no fields are asked for"))
}

/// Many frames as a few long arrays, one frame after the other.
///
/// The arrays own their memory, or lie in the arrays given as `out`. Arrays that were not asked for are
/// `None`. Frame `i` has the rows `offsets[i]` to `offsets[i + 1]` of the arrays per atom, and row `i` of the
/// others.
///
/// Example:
///     >>> depot = vldepot.memory()
///     >>> depot.update({n: {"positions": np.ones((n, 3))} for n in (1, 2)})
///     >>> batch = depot.get_flat([1, 2], "positions")
///     >>> batch
///     <vldepot.FlatBatch of 2 frames: offsets, positions>
///     >>> batch.offsets, batch.frame_of_atom()
///     (array([0, 1, 3]), array([0, 1, 1]))
#[pyclass(frozen, get_all, module = "vldepot")]
pub(crate) struct FlatBatch {
    /// `[frames + 1]` int64. Frame `i` has the atoms `offsets[i]` to `offsets[i + 1]` of the arrays per atom.
    offsets: Py<PyAny>,
    /// `[sum n, 3]` float32 (nm)
    positions: Option<Py<PyAny>>,
    /// `[sum n, 3]` float32 (nm/ps)
    velocities: Option<Py<PyAny>>,
    /// `[sum n, 3]` float32 (kJ/mol/nm)
    forces: Option<Py<PyAny>>,
    /// `[sum n]` float32 (e)
    charges: Option<Py<PyAny>>,
    /// `[sum n]` int32
    types: Option<Py<PyAny>>,
    /// `[sum n]` float32 (u)
    masses: Option<Py<PyAny>>,
    /// `[frames]` float64 (kJ/mol)
    energy: Option<Py<PyAny>>,
    /// `[frames]` float64 (ps)
    time: Option<Py<PyAny>>,
    /// `[frames, 3, 3]` float64 (nm)
    cell: Option<Py<PyAny>>,
    /// `[frames, 3, 3]` float64 (bar)
    stress: Option<Py<PyAny>>,
}

#[pymethods]
impl FlatBatch {
    /// Number of frames.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.offsets.bind(py).len()?.saturating_sub(1))
    }

    /// The arrays that are there, by name. They are not copied.
    fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(slf.py());
        for name in std::iter::once("offsets").chain(FIELDS.map(|(name, _)| name)) {
            let array = slf.getattr(name)?;
            if !array.is_none() {
                out.set_item(name, array)?;
            }
        }
        Ok(out)
    }

    /// `[sum n]` int64: the number of the frame that each atom belongs to.
    fn frame_of_atom<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let offsets = self.offsets.bind(py).cast::<PyArray1<i64>>()?.try_readonly()?;
        let offsets = offsets.as_slice()?;
        let mut frames = Vec::new();
        for (frame, atoms) in (0_i64..).zip(offsets.windows(2)) {
            let end = usize::try_from(atoms[1] - offsets[0]).unwrap_or_default();
            frames.resize(end.max(frames.len()), frame);
        }
        Ok(PyArray1::from_vec(py, frames).into_any())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let make = slf.py().import("vldepot._vldepot")?.getattr("_flat_from_dict")?;
        Ok((make, (Self::to_dict(slf)?,)))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let names: Vec<String> = Self::to_dict(slf)?.keys().extract()?;
        Ok(format!("<vldepot.FlatBatch of {} frames: {}>", slf.len()?, names.join(", ")))
    }
}

/// Makes a batch from a dictionary, for pickles.
#[pyfunction]
#[pyo3(name = "_flat_from_dict")]
pub(crate) fn flat_from_dict(arrays: &Bound<'_, PyDict>) -> PyResult<FlatBatch> {
    let array = |name: &str| Ok::<_, PyErr>(arrays.get_item(name)?.map(Bound::unbind));
    Ok(FlatBatch {
        offsets: array("offsets")?.ok_or_else(|| PyTypeError::new_err("a batch has offsets"))?,
        positions: array("positions")?,
        velocities: array("velocities")?,
        forces: array("forces")?,
        charges: array("charges")?,
        types: array("types")?,
        masses: array("masses")?,
        energy: array("energy")?,
        time: array("time")?,
        cell: array("cell")?,
        stress: array("stress")?,
    })
}

/// Arrays of the caller, to be filled. All are checked before any is written.
pub(crate) struct Out<'py>(Option<Bound<'py, PyDict>>);

impl<'py> Out<'py> {
    pub(crate) fn new(out: Option<&Bound<'py, PyAny>>, wanted: Fields) -> PyResult<Self> {
        let Some(out) = out.filter(|out| !out.is_none()) else { return Ok(Self(None)) };
        let arrays = PyDict::new(out.py());
        // A batch may be given as it is.
        let given = match out.cast::<FlatBatch>() {
            Ok(batch) => FlatBatch::to_dict(batch)?.into_any(),
            Err(_) => out.clone(),
        };
        let Some(items) = given.getattr_opt(intern!(out.py(), "items"))? else {
            let found = out.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "out is a dict of arrays by name, or a FlatBatch, not {found}"
            )));
        };
        for item in items.call0()?.try_iter()? {
            let (name, array): (String, Bound<'py, PyAny>) = item?.extract()?;
            let known = FIELDS.iter().find(|(field, _)| *field == name);
            if name != "offsets" && known.is_none_or(|(_, field)| !wanted.contains(*field)) {
                return Err(PyValueError::new_err(format!(
                    "out[{name:?}]: this is not one of the fields asked for"
                )));
            }
            if array.cast::<PyUntypedArray>().is_err() {
                return Err(PyTypeError::new_err(format!("out[{name:?}] is not a numpy array")));
            }
            arrays.set_item(name, array)?;
        }
        Ok(Self(Some(arrays)))
    }

    /// The array of that name: the first rows of the caller's, or a new one that owns `numbers`.
    fn place<T: Element + bytemuck::Pod, const N: usize>(
        &self,
        py: Python<'py>,
        name: &str,
        numbers: Vec<[T; N]>,
        row: &[usize],
    ) -> PyResult<Py<PyAny>> {
        let rows = numbers.len();
        let mut shape = vec![rows];
        shape.extend(row);
        let given = self.0.as_ref().map(|arrays| arrays.get_item(name)).transpose()?.flatten();
        let Some(given) = given else {
            let flat = PyArray1::from_vec(py, numbers.into_flattened());
            return Ok(
                if row.is_empty() { flat.into_any() } else { flat.reshape(shape)?.into_any() }.unbind()
            );
        };
        let refuse = |why: String| PyValueError::new_err(format!("out[{name:?}]: {why}"));
        let untyped = given.cast::<PyUntypedArray>()?.clone();
        let wanted = numpy::dtype::<T>(py);
        if !untyped.dtype().is_equiv_to(&wanted) {
            return Err(refuse(format!("its dtype is {}, and must be {wanted}", untyped.dtype())));
        }
        let found = untyped.shape().to_vec();
        if found.len() != shape.len() || found[1..] != *row || found[0] < rows {
            return Err(refuse(format!("its shape is {found:?}, and must be at least {shape:?}")));
        }
        let array = given.cast::<PyArrayDyn<T>>()?;
        let aligned = given.getattr(intern!(py, "flags"))?.getattr(intern!(py, "aligned"))?.is_truthy()?;
        if !untyped.is_c_contiguous() || !aligned {
            return Err(refuse("it must be contiguous (C order) and aligned".into()));
        }
        let mut writable = array.try_readwrite().map_err(|error| refuse(error.to_string()))?;
        let room = writable.as_slice_mut()?;
        let numbers = numbers.as_flattened();
        py.detach(|| room[..numbers.len()].copy_from_slice(numbers));
        drop(writable);
        Ok(given.get_item(pyo3::types::PySlice::new(py, 0, isize::try_from(rows)?, 1))?.unbind())
    }

    /// Refuses arrays that share memory, and those that cannot take what they are for.
    fn check(&self, flat: &FlatFrames) -> PyResult<()> {
        let Some(arrays) = &self.0 else { return Ok(()) };
        let atoms = flat.offsets.last().copied().unwrap_or(0);
        let mut ranges: Vec<(usize, usize, String)> = Vec::new();
        for (name, array) in arrays {
            let name: String = name.extract()?;
            let array = array.cast_into::<PyUntypedArray>()?;
            let refuse = |why: &str| Err(PyValueError::new_err(format!("out[{name:?}]: {why}")));
            if !array.as_any().getattr("flags")?.getattr("writeable")?.is_truthy()? {
                return refuse("it is read-only");
            }
            let rows = match name.as_str() {
                "offsets" => flat.offsets.len(),
                "energy" | "time" | "cell" | "stress" => flat.len(),
                _ => atoms,
            };
            if array.shape().first().is_none_or(|&found| found < rows) {
                return refuse(&format!(
                    "its shape is {:?}, and must have at least {rows} rows",
                    array.shape()
                ));
            }
            let (low, high): (usize, usize) = crate::array::numpy_function(array.py(), "lib")?
                .getattr("array_utils")?
                .call_method1("byte_bounds", (&array,))?
                .extract()?;
            if let Some((.., other)) = ranges.iter().find(|(start, end, _)| *start < high && low < *end) {
                return refuse(&format!("it shares memory with out[{other:?}]"));
            }
            ranges.push((low, high, name));
        }
        Ok(())
    }
}

fn ones<T>(numbers: Vec<T>) -> Vec<[T; 1]> {
    numbers.into_iter().map(|number| [number]).collect()
}

/// Makes a batch of frames that `fill` reads, without the GIL.
pub(crate) fn batch<'py>(
    py: Python<'py>,
    wanted: Fields,
    out: &Out<'py>,
    fill: impl FnOnce(&mut FlatFrames) -> Result<(), crate::error::Failure> + Send,
) -> PyResult<FlatBatch> {
    let mut flat = SCRATCH.take();
    py.detach(|| fill(&mut flat)).map_err(|failure| not_flat(py, failure))?;
    out.check(&flat)?;
    let asked = |field| wanted.contains(field);
    let FlatFrames {
        positions, velocities, forces, charges, types, masses, energy, time, cell, stress, ..
    } = &mut flat;
    macro_rules! placed {
        ($field:ident, $asked:ident, $numbers:expr, $row:expr) => {
            asked(Fields::$asked).then(|| out.place(py, stringify!($field), $numbers, $row)).transpose()?
        };
    }
    let made = FlatBatch {
        positions: placed!(positions, POSITIONS, std::mem::take(positions), &[3]),
        velocities: placed!(velocities, VELOCITIES, std::mem::take(velocities), &[3]),
        forces: placed!(forces, FORCES, std::mem::take(forces), &[3]),
        charges: placed!(charges, CHARGES, ones(std::mem::take(charges)), &[]),
        types: placed!(types, TYPES, ones(std::mem::take(types)), &[]),
        masses: placed!(masses, MASSES, ones(std::mem::take(masses)), &[]),
        energy: placed!(energy, ENERGY, ones(std::mem::take(energy)), &[]),
        time: placed!(time, TIME, ones(std::mem::take(time)), &[]),
        cell: placed!(cell, CELL, flat_rows(std::mem::take(cell)), &[3, 3]),
        stress: placed!(stress, STRESS, flat_rows(std::mem::take(stress)), &[3, 3]),
        offsets: {
            let offsets = flat.offsets.iter().map(|&offset| [i64::try_from(offset).unwrap_or(i64::MAX)]);
            out.place(py, "offsets", offsets.collect(), &[])?
        },
    };
    if flat.offsets.last().is_some_and(|&atoms| atoms <= KEPT_ATOMS) {
        SCRATCH.set(flat);
    }
    Ok(made)
}

/// Matrices as rows of nine numbers.
fn flat_rows(matrices: Vec<[[f64; 3]; 3]>) -> Vec<[f64; 9]> {
    bytemuck::allocation::cast_vec(matrices)
}

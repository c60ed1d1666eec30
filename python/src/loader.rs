//! Loading for training: `vldepot.Loader` and `vldepot.Batch`.

use std::sync::{Arc, Mutex, PoisonError};

use numpy::{PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyIterator, PySlice, PyString, PyType};
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec};
use vldepot::collections::CollectionCodec;
use vldepot::loader::OnError;
use vldepot::{Depot, Error, ErrorKind, Key, LoaderState, Raw};

use crate::codec::{AnyDepot, Fetched, JsonValue, Kind, Msgpack};
use crate::error::{self, Failure};
use crate::flat::{self, FlatBatch, Out};
use crate::frame;
use crate::key;
use crate::value::{Form, Value};

/// Which records, in which order, in which batches, and who reads them.
#[derive(Default)]
pub(crate) struct LoaderOptions {
    shuffle: Option<Shuffle>,
    window: Option<u64>,
    group: Option<u64>,
    positions: Option<Vec<u64>>,
    range: Option<(u64, u64)>,
    names: Option<Vec<Key>>,
    batch_size: Option<usize>,
    batch_bytes: Option<u64>,
    max_cost: Option<u64>,
    costs: Option<Vec<u32>>,
    max_atoms: Option<u64>,
    drop_last: bool,
    epochs: Option<u64>,
    epoch: u64,
    rank: usize,
    world: Option<usize>,
    worker: usize,
    workers: Option<usize>,
    even: bool,
    lanes: Option<usize>,
    prefetch: Option<usize>,
    threads: Option<usize>,
    skip: bool,
    state: Option<LoaderState>,
}

#[derive(Clone, Copy)]
enum Shuffle {
    Windowed(u64),
    Full(u64),
}

impl LoaderOptions {
    /// Reads options by name, for a depot of `len` records. An option that is `None` was not given.
    pub(crate) fn new(given: Option<&Bound<'_, PyDict>>, len: u64) -> PyResult<Self> {
        let mut options = Self::default();
        let Some(given) = given else { return Ok(options) };
        let seed = given.get_item("seed")?.filter(|seed| !seed.is_none());
        let number = |seed: Bound<'_, PyAny>| {
            seed.extract::<u64>().map_err(|error| error::in_option("seed", &seed, error))
        };
        let seed = seed.map_or(Ok(0), number)?;
        for (name, value) in given {
            if value.is_none() {
                continue;
            }
            let name = name.cast_into::<PyString>()?;
            let name = name.to_str()?;
            options.set(name, &value, seed, len).map_err(|error| error::in_option(name, &value, error))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>, seed: u64, len: u64) -> PyResult<()> {
        let options = self;
        match name {
            "seed" => {}
            "shuffle" => options.shuffle = shuffle(value, seed)?,
            "window" => options.window = Some(value.extract()?),
            "group" => options.group = Some(value.extract()?),
            "positions" => options.positions = Some(key::positions(value, len)?),
            "range" => options.range = Some(value.extract()?),
            "names" => options.names = Some(key::Held::new(value)?.objects_as_keys()?),
            "batch_size" => options.batch_size = Some(value.extract()?),
            "batch_bytes" => options.batch_bytes = Some(value.extract()?),
            "max_cost" => options.max_cost = Some(value.extract()?),
            "costs" => options.costs = Some(costs(value)?),
            "max_atoms" => options.max_atoms = Some(value.extract()?),
            "drop_last" => options.drop_last = value.extract()?,
            "epochs" => options.epochs = Some(value.extract()?),
            "epoch" => options.epoch = value.extract()?,
            "rank" => options.rank = value.extract()?,
            "world" => options.world = Some(value.extract()?),
            "worker" => options.worker = value.extract()?,
            "workers" => options.workers = Some(value.extract()?),
            "even" => options.even = value.extract()?,
            "lanes" => options.lanes = Some(value.extract()?),
            "prefetch" => options.prefetch = Some(value.extract()?),
            "threads" => options.threads = Some(value.extract()?),
            "on_error" => {
                options.skip = match value.extract::<String>()?.as_str() {
                    "stop" => false,
                    "skip" => true,
                    _ => {
                        return Err(PyValueError::new_err("\"stop\" or \"skip\""));
                    }
                }
            }
            "state" => options.state = Some(state(value)?),
            _ => return Err(PyTypeError::new_err("a loader has no such option")),
        }
        Ok(())
    }
}

/// What `Loader.state` gave.
fn state(value: &Bound<'_, PyAny>) -> PyResult<LoaderState> {
    let read = Value::new(value, Form::Json).and_then(|value| value.read());
    read.map_err(|error| {
        let py = value.py();
        let known = error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py);
        if !known {
            return error;
        }
        let refused = PyValueError::new_err("a state is what `Loader.state` gave, and this is none");
        refused.set_cause(py, Some(error));
        refused
    })
}

fn shuffle(value: &Bound<'_, PyAny>, seed: u64) -> PyResult<Option<Shuffle>> {
    if let Ok(on) = value.cast::<PyBool>() {
        return Ok(on.is_true().then_some(Shuffle::Windowed(seed)));
    }
    match value.extract::<String>()?.as_str() {
        "windowed" => Ok(Some(Shuffle::Windowed(seed))),
        "full" => Ok(Some(Shuffle::Full(seed))),
        _ => Err(PyValueError::new_err("True, False, \"windowed\" or \"full\"")),
    }
}

fn costs(value: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    if let Ok(array) = value.cast::<PyArray1<u32>>() {
        return Ok(array.try_readonly()?.as_array().to_vec());
    }
    if let Ok(array) = value.cast::<PyArrayDyn<i64>>() {
        let array = array.try_readonly()?;
        let cost =
            |&cost: &i64| u32::try_from(cost).map_err(|_| PyValueError::new_err("costs are 0 to 2^32 - 1"));
        return array.as_array().iter().map(cost).collect();
    }
    value.extract()
}

/// A loader of one of the codecs.
pub(crate) enum AnyLoader {
    Frames(vldepot::Loader<AtomicFrameCodec>),
    Arrays(vldepot::Loader<AnyNdArray>),
    Bytes(vldepot::Loader<Raw>),
    Msgpack(vldepot::Loader<Msgpack>),
    Json(vldepot::Loader<JsonValue>),
    Collections(vldepot::Loader<CollectionCodec>),
}

/// A batch of one of the codecs.
enum AnyBatch {
    Frames(vldepot::Batch<AtomicFrameCodec>),
    Arrays(vldepot::Batch<AnyNdArray>),
    Bytes(vldepot::Batch<Raw>),
    Msgpack(vldepot::Batch<Msgpack>),
    Json(vldepot::Batch<JsonValue>),
    Collections(vldepot::Batch<CollectionCodec>),
}

macro_rules! for_loader {
    ($any:expr, $loader:ident => $body:expr) => {
        match $any {
            AnyLoader::Frames($loader) => $body,
            AnyLoader::Arrays($loader) => $body,
            AnyLoader::Bytes($loader) => $body,
            AnyLoader::Msgpack($loader) => $body,
            AnyLoader::Json($loader) => $body,
            AnyLoader::Collections($loader) => $body,
        }
    };
}

macro_rules! for_batch {
    ($any:expr, $batch:ident => $body:expr) => {
        match $any {
            AnyBatch::Frames($batch) => $body,
            AnyBatch::Arrays($batch) => $body,
            AnyBatch::Bytes($batch) => $body,
            AnyBatch::Msgpack($batch) => $body,
            AnyBatch::Json($batch) => $body,
            AnyBatch::Collections($batch) => $body,
        }
    };
}

/// Makes a loader, without the GIL.
pub(crate) fn build(depot: &AnyDepot, mut options: LoaderOptions) -> Result<AnyLoader, Failure> {
    if let Some(max_atoms) = options.max_atoms.take() {
        let AnyDepot::Frames(depot) = depot else {
            let why = "max_atoms is for depots of frames; max_cost and costs are for all".to_owned();
            return Err(Error::new(ErrorKind::InvalidOptions { why }).into());
        };
        if options.costs.is_none() {
            let counts = depot.iter().map(|entry| Ok(frame::n_atoms(&entry?.1)));
            options.costs = Some(counts.collect::<vldepot::Result<_>>()?);
        }
        options.max_cost = Some(max_atoms);
    }
    Ok(match depot {
        AnyDepot::Frames(depot) => AnyLoader::Frames(of(depot, options)?),
        AnyDepot::Arrays(depot) => AnyLoader::Arrays(of(depot, options)?),
        AnyDepot::Bytes(archive) => AnyLoader::Bytes(of(archive.depot(), options)?),
        AnyDepot::Msgpack(depot) => AnyLoader::Msgpack(of(depot, options)?),
        AnyDepot::Json(depot) => AnyLoader::Json(of(depot, options)?),
        AnyDepot::Collections(collections) => AnyLoader::Collections(of(collections.depot(), options)?),
    })
}

fn of<C: Kind>(depot: &Depot<C>, options: LoaderOptions) -> vldepot::Result<vldepot::Loader<C>> {
    let mut builder = depot
        .loader()
        .drop_last(options.drop_last)
        .epoch(options.epoch)
        .epochs(options.epochs.unwrap_or(1))
        .rank(options.rank, options.world.unwrap_or(1))
        .worker(options.worker, options.workers.unwrap_or(1))
        .even(options.even)
        .on_error(if options.skip { OnError::Skip } else { OnError::Stop });
    match options.shuffle {
        Some(Shuffle::Windowed(seed)) => builder = builder.shuffle(seed),
        Some(Shuffle::Full(seed)) => builder = builder.shuffle_full(seed),
        None => {}
    }
    if let Some(bytes) = options.window {
        builder = builder.window(bytes);
    }
    if let Some(bytes) = options.group {
        builder = builder.group(bytes);
    }
    if let Some((start, stop)) = options.range {
        builder = builder.range(start..stop);
    }
    if let Some(positions) = options.positions {
        builder = builder.positions(positions);
    }
    if let Some(names) = &options.names {
        builder = builder.keys(names);
    }
    if let Some(records) = options.batch_size {
        builder = builder.batch_size(records);
    }
    if let Some(bytes) = options.batch_bytes {
        builder = builder.batch_bytes(bytes);
    }
    match (options.max_cost, options.costs) {
        (Some(budget), Some(costs)) => builder = builder.batch_costs(budget, costs),
        (None, None) => {}
        _ => {
            let why = "max_cost and costs go together".to_owned();
            return Err(Error::new(ErrorKind::InvalidOptions { why }));
        }
    }
    if let Some(lanes) = options.lanes {
        builder = builder.lanes(lanes);
    }
    if let Some(batches) = options.prefetch {
        builder = builder.prefetch(batches);
    }
    if let Some(threads) = options.threads {
        builder = builder.threads(threads);
    }
    if let Some(state) = &options.state {
        builder = builder.resume(state);
    }
    builder.build()
}

/// Hands out batches of records, as an iterator: what `Depot.loader` makes.
///
/// It reads the records that were there when it was made, ahead of the loop and on threads of its own,
/// without the GIL. It can outlive the depot. A process made by `fork` goes on from the same batch, with its
/// own threads.
///
/// Example:
///     >>> depot = vldepot.memory("bytes")
///     >>> depot.update({n: bytes([n]) for n in range(10)})
///     >>> loader = depot.loader(batch_size=4, shuffle=True, seed=7)
///     >>> [len(batch) for batch in loader]
///     [4, 4, 2]
#[pyclass(frozen, module = "vldepot")]
pub(crate) struct Loader {
    loader: Mutex<AnyLoader>,
    object: Option<Py<PyAny>>,
}

impl Loader {
    pub(crate) fn new(loader: AnyLoader, object: Option<Py<PyAny>>) -> Self {
        Self { loader: Mutex::new(loader), object }
    }

    fn with<T: Send>(&self, py: Python<'_>, job: impl FnOnce(&mut AnyLoader) -> T + Send) -> T {
        py.detach(|| job(&mut self.loader.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl Loader {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        py.check_signals()?;
        let batch = self.with(py, |loader| match loader {
            AnyLoader::Frames(loader) => loader.next().map(|batch| batch.map(AnyBatch::Frames)),
            AnyLoader::Arrays(loader) => loader.next().map(|batch| batch.map(AnyBatch::Arrays)),
            AnyLoader::Bytes(loader) => loader.next().map(|batch| batch.map(AnyBatch::Bytes)),
            AnyLoader::Msgpack(loader) => loader.next().map(|batch| batch.map(AnyBatch::Msgpack)),
            AnyLoader::Json(loader) => loader.next().map(|batch| batch.map(AnyBatch::Json)),
            AnyLoader::Collections(loader) => loader.next().map(|batch| batch.map(AnyBatch::Collections)),
        });
        let batch = batch.transpose().map_err(Failure::from)?;
        let object = || self.object.as_ref().map(|object| object.clone_ref(py));
        Ok(batch.map(|batch| Batch { batch: Arc::new(batch), object: object() }))
    }

    /// Where the loader is, after the batch that was handed out last: a dict that JSON and pickle keep.
    ///
    /// `Depot.loader(state=...)` goes on from there, on any number of ranks, workers and threads.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("bytes")
    ///     >>> depot.update({n: bytes([n]) for n in range(10)})
    ///     >>> loader = depot.loader(batch_size=4, shuffle=True)
    ///     >>> batch, state = next(loader), loader.state()
    ///     >>> [len(batch) for batch in depot.loader(batch_size=4, shuffle=True, state=state)]
    ///     [4, 2]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let state = self.with(py, |loader| for_loader!(loader, loader => loader.state()));
        Value::of(&state)?.to_python(py)
    }

    /// The epoch of the next batch, counted from 0.
    #[getter]
    fn epoch(&self, py: Python<'_>) -> u64 {
        self.with(py, |loader| for_loader!(loader, loader => loader.epoch()))
    }

    /// How many batches this loader has left in the epoch of the next batch.
    fn remaining(&self, py: Python<'_>) -> PyResult<u64> {
        let remaining = self.with(py, |loader| for_loader!(loader, loader => loader.remaining()));
        Ok(remaining.map_err(Failure::from)?)
    }

    /// How many records are in an epoch, over all ranks.
    #[getter]
    fn records(&self, py: Python<'_>) -> u64 {
        self.with(py, |loader| for_loader!(loader, loader => loader.records()))
    }

    /// `Loader[Frame]` in annotations.
    #[classmethod]
    #[pyo3(signature = (value, /))]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, value: &Bound<'py, PyAny>) -> Bound<'py, PyType> {
        let _ = value;
        cls.clone()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (records, epoch) =
            self.with(py, |loader| for_loader!(loader, loader => (loader.records(), loader.epoch())));
        format!("<vldepot.Loader of {records} records, in epoch {epoch}>")
    }
}

/// Merges the states of all workers of a rank into the state of the rank, which resumes on any number of
/// them.
///
/// Args:
///     states: What `Loader.state` gave, in any order.
///
/// Raises:
///     InvalidOptions: When a state is missing, given twice, of another loader, or out of turn.
#[pyfunction]
#[pyo3(signature = (states, /))]
pub(crate) fn merge_states<'py>(states: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = states.py();
    let states = states.try_iter()?.map(|given| state(&given?)).collect::<PyResult<Vec<_>>>()?;
    let merged = LoaderState::merge(&states).map_err(Failure::from)?;
    Value::of(&merged)?.to_python(py)
}

/// Records that a `Loader` hands out together: a sequence of values.
///
/// It owns its records, so it can outlive the loader and the depot.
#[pyclass(frozen, module = "vldepot")]
pub(crate) struct Batch {
    batch: Arc<AnyBatch>,
    object: Option<Py<PyAny>>,
}

#[pymethods]
impl Batch {
    fn __len__(&self) -> usize {
        for_batch!(&*self.batch, batch => batch.len())
    }

    fn __getitem__<'py>(&self, py: Python<'py>, position: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        fn nth<C: Kind>(batch: &vldepot::Batch<C>, nth: usize) -> Option<Fetched> {
            batch.records().get(nth).cloned().map(C::fetched)
        }
        if let Ok(slice) = position.cast::<PySlice>() {
            let indices = slice.indices(isize::try_from(self.__len__())?)?;
            let mut values = Vec::with_capacity(indices.slicelength);
            let mut at = indices.start;
            for _ in 0..indices.slicelength {
                values.push(self.__getitem__(py, at.into_pyobject(py)?.as_any())?);
                at += indices.step;
            }
            return Ok(values.into_pyobject(py)?.into_any());
        }
        let number = key::position_number(position)?;
        let from_front = if number < 0 { number + self.__len__() as i128 } else { number };
        let at = usize::try_from(from_front).ok();
        let fetched = py.detach(|| for_batch!(&*self.batch, batch => at.and_then(|at| nth(batch, at))));
        match fetched {
            Some(fetched) => fetched.into_python(py, self.object.as_ref()),
            None => {
                Err(PyIndexError::new_err(format!("no record {number}: the batch has {}", self.__len__())))
            }
        }
    }

    /// Positions of the records in the depot, as they were when the loader was made: `[len]` int64.
    #[getter]
    fn indices<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let positions = for_batch!(&*self.batch, batch => batch.positions());
        let number = |&position: &u64| i64::try_from(position).unwrap_or(i64::MAX);
        PyArray1::from_vec(py, positions.iter().map(number).collect()).into_any()
    }

    /// The names of the records. They are looked up by this call.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let names = py.detach(|| for_batch!(&*self.batch, batch => batch.keys())).map_err(Failure::from)?;
        names.iter().map(|name| key::to_python(py, name)).collect()
    }

    /// The frames of the batch as a few long arrays, by default their positions: a `FlatBatch`. See
    /// `Depot.get_flat`.
    ///
    /// Args:
    ///     fields: As for `Depot.get_flat`.
    ///     out: As for `Depot.get_flat`.
    ///
    /// Raises:
    ///     CodecError: When a frame lacks a field.
    ///     TypeError: When the depot is not one of frames.
    #[pyo3(signature = (fields = None, *, out = None))]
    fn flat<'py>(
        &self,
        py: Python<'py>,
        fields: Option<&Bound<'py, PyAny>>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<FlatBatch> {
        let wanted = fields.map_or(Ok(vldepot::codecs::Fields::POSITIONS), flat::fields)?;
        let AnyBatch::Frames(batch) = &*self.batch else {
            return Err(PyTypeError::new_err("this is for depots of frames (codec \"atomic_frame\")"));
        };
        let out = Out::new(out, wanted)?;
        flat::batch(py, wanted, &out, |flat| {
            flat.clear();
            for view in batch.views() {
                let refuse = |source| Error::new(ErrorKind::Codec { codec: "atomic_frame" }).because(source);
                flat.push(&view, wanted).map_err(refuse)?;
            }
            Ok(())
        })
    }

    /// Position and error of each record that could not be read. Empty unless the loader skips such records.
    #[getter]
    fn skipped<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u64, Bound<'py, PyAny>)>> {
        let skipped = for_batch!(&*self.batch, batch => batch.skipped());
        skipped.iter().map(|(position, error)| Ok((*position, error::object(py, error)?))).collect()
    }

    /// The epoch, counted from 0.
    #[getter]
    fn epoch(&self) -> u64 {
        for_batch!(&*self.batch, batch => batch.epoch())
    }

    /// The batch's number in its epoch, counted from 0 over all ranks.
    #[getter]
    fn number(&self) -> u64 {
        for_batch!(&*self.batch, batch => batch.number())
    }

    /// Whether another rank had this batch already in this epoch.
    #[getter]
    fn is_repeated(&self) -> bool {
        for_batch!(&*self.batch, batch => batch.is_repeated())
    }

    /// Whether this is the last batch of its epoch that this loader hands out.
    #[getter]
    fn ends_epoch(&self) -> bool {
        for_batch!(&*self.batch, batch => batch.ends_epoch())
    }

    /// `Batch[Frame]` in annotations.
    #[classmethod]
    #[pyo3(signature = (value, /))]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, value: &Bound<'py, PyAny>) -> Bound<'py, PyType> {
        let _ = value;
        cls.clone()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let all = PySlice::full(py);
        self.__getitem__(py, all.as_any())?.try_iter()
    }

    fn __repr__(&self) -> String {
        let (number, epoch) = (self.number(), self.epoch());
        format!("<vldepot.Batch of {} records, number {number} of epoch {epoch}>", self.__len__())
    }
}

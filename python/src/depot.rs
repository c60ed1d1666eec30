//! `vldepot.Depot`: names, values, and what a depot says about itself.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyKeyError, PyResourceWarning, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PySlice, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{AsKey, Depot, Error, ErrorKind, Key, ReadOptions, Scalar, ScalarKind, TruncateOptions};

use crate::codec::{AnyDepot, Chosen, CodecName, Fetched, How, Kind, Prepared, Put, for_depot, frame_of};
use crate::codec::{ObjectCodec, bytes_of, open};
use crate::error::{Failure, placed, raise, short};
use crate::flat::{self, FlatBatch};
use crate::frame::{self, Frame};
use crate::iter::{DepotIterator, Entry, Items, Listing, Shape, Shared};
use crate::key::{self, for_name, for_names};
use crate::loader;
use crate::maintain::{catching, end};
use crate::memory::RecordBytes;
use crate::options::{self, Options};
use crate::report;
use crate::table::{Data, NamesAndColumns, Table};
use crate::value::{Form, Value};

/// Records between two looks whether the user has interrupted.
const BETWEEN_SIGNALS: usize = 4096;

/// Time between two such looks in one long call.
const TIME_BETWEEN_SIGNALS: Duration = Duration::from_millis(50);

/// Frames between two looks at the clock, which costs as much as a small frame.
const FRAMES_BETWEEN_LOOKS: usize = 8;

/// An argument, if it is given: `None` of Python may be a value.
enum Given<'py> {
    Absent,
    Value(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = std::convert::Infallible;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> Result<Self, Self::Error> {
        Ok(Self::Value(object.to_owned()))
    }
}

impl<'py> Given<'py> {
    fn value(self) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Absent => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// The depot's own metadata, as they were read last.
#[derive(Default)]
struct KeptMetadata {
    /// Grows whenever they may have changed.
    moment: u64,
    all: Option<Arc<BTreeMap<String, Value>>>,
}

/// Named, variable-length records, kept compressed, in a file or in memory.
///
/// Made by `vldepot.create`, `open`, `append`, `open_or_create`, `memory` and `from_bytes`.
///
/// It is a mutable mapping of names to values, in the order of insertion: `depot[name]`, `depot[name] =
/// value`, `del`, `in`, `len` and iteration work as with a dict. It is a context manager too, and `close`
/// ends it.
///
/// What a method raises stands with it. Besides that, every method raises `Closed` after `close`; every
/// method that reads raises `ChecksumError`, `DecompressError`, `Damaged` or `IoError` when the file is not
/// what was written or cannot be read; and every method that writes raises `ReadOnly` or `Forked` where this
/// process may not, and `NotStored`, `NotCommitted` or `Poisoned` when the disk is full or fails.
///
/// A loss stays known. In a file that lost a commit, or was repaired with a loss, a name that is not there
/// may have been lost. Then `in`, `get`, `pop`, `setdefault`, `remove` and `del` raise `LostCommit` or
/// `LostEarlier`, also with a default. `put` stores such a name again.
///
/// Close a depot that you write, best by `with`. One that is only dropped is completed too, with a
/// `ResourceWarning`, and what fails then goes to `sys.unraisablehook`. So is one that is still open when the
/// interpreter ends.
///
/// Example:
///     >>> depot = vldepot.memory("json")
///     >>> depot["a"] = [1, 2]
///     >>> depot["a"], "b" in depot, len(depot), list(depot)
///     ([1, 2], False, 1, ['a'])
#[pyclass(frozen, mapping, weakref, name = "Depot", module = "vldepot")]
pub(crate) struct PyDepot {
    /// `None` once it is closed. Calls hold the lock for reading, without the GIL; closing takes it for
    /// writing. Nobody waits for it while holding the GIL, and no code of Python runs while it is held: such
    /// code could close the depot.
    open: RwLock<Option<Arc<AnyDepot>>>,
    /// Listings that borrow from the depot. Closing ends them.
    listings: Mutex<Vec<Weak<Mutex<Option<Listing>>>>>,
    codec: CodecName,
    /// The codec, if it is an object of Python.
    object: Option<Py<PyAny>>,
    /// As errors and messages show it.
    path: PathBuf,
    writable: bool,
    /// How to open it again. `None` for a depot in memory.
    file: Option<(PathBuf, Py<PyDict>)>,
    metadata: Mutex<KeptMetadata>,
    /// The process that opened it.
    owner: u32,
}

/// Makes or opens a depot: what `vldepot.open` and its companions call.
#[pyfunction]
#[pyo3(name = "_open")]
pub(crate) fn open_depot<'py>(
    py: Python<'py>,
    how: &str,
    source: Option<&Bound<'py, PyAny>>,
    codec: Option<&Bound<'py, PyAny>>,
    options: &Bound<'py, PyDict>,
) -> PyResult<PyDepot> {
    let path = || match source {
        Some(source) => options::path(source),
        None => Err(PyTypeError::new_err("a path is needed")),
    };
    let how = match how {
        "create" => How::Create(path()?),
        "open" => How::Open(path()?),
        "append" => How::Append(path()?),
        "open_or_create" => How::OpenOrCreate(path()?),
        "memory" => How::Memory,
        "from_bytes" => {
            let bytes = source.ok_or_else(|| PyTypeError::new_err("bytes are needed"))?;
            How::FromBytes(bytes_of("from_bytes takes", bytes)?.as_bytes().to_vec())
        }
        how => return Err(PyValueError::new_err(format!("no way to open is called {how:?}"))),
    };
    let parsed = Options::new(options)?;
    let chosen = codec.filter(|codec| !codec.is_none()).map(Chosen::new).transpose()?;
    let depot = py.detach(|| open(&how, chosen.as_ref(), &parsed)).map_err(Failure::from)?;
    parsed.check(matches!(depot, AnyDepot::Frames(_))).map_err(Failure::from)?;
    let (path, writable) = for_depot!(&depot, depot => (depot.path().to_owned(), depot.is_writable()));
    let object = match chosen {
        Some(Chosen::Object(ObjectCodec { object, .. })) => Some(object),
        _ => None,
    };
    let file = match &how {
        How::Memory | How::FromBytes(_) => None,
        _ => {
            let again = PyDict::new(py);
            for name in ["mapping", "verify", "cache_bytes", "accept_loss"] {
                if let Some(value) = options.get_item(name)? {
                    again.set_item(name, value)?;
                }
            }
            Some((std::path::absolute(&path)?, again.unbind()))
        }
    };
    Ok(PyDepot {
        codec: depot.codec_name(),
        open: RwLock::new(Some(Arc::new(depot))),
        listings: Mutex::default(),
        object,
        path,
        writable,
        file,
        metadata: Mutex::default(),
        owner: std::process::id(),
    })
}

impl Drop for PyDepot {
    fn drop(&mut self) {
        Python::attach(|py| {
            // An exception may be on its way while its frames go.
            let raised = PyErr::take(py);
            self.close_at_last(py);
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}

/// Options of a truncation.
fn truncation(dry_run: bool, all: bool) -> TruncateOptions {
    TruncateOptions::default().with_dry_run(dry_run).with_all(all)
}

impl PyDepot {
    /// Whether this process is a fork of the one that opened the depot for writing.
    fn is_forked(&self) -> bool {
        self.writable && std::process::id() != self.owner
    }

    /// Completes the file and closes the depot. It stays open if that fails. Listings go on if they are not
    /// `ended`.
    fn close_now(&self, ended: bool) -> Result<(), Failure> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(depot) = open.as_deref() else { return Ok(()) };
        for_depot!(depot, depot => depot.finish())?;
        for listing in self.listings.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(listing) = listing.upgrade().filter(|_| ended) {
                *listing.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
        // If another thread copies from it, it drops it when it is done.
        *open = None;
        Ok(())
    }

    /// Lets go of the depot without completing its file.
    fn let_go(&self) {
        if let Ok(mut open) = self.open.try_write() {
            *open = None;
        }
    }

    /// Closes a depot that nobody closed. Whoever writes a file is warned, as by files of Python, and what a
    /// call would raise goes to `sys.unraisablehook`.
    fn close_at_last(&self, py: Python<'_>) {
        let is_open = py.detach(|| self.open.read().unwrap_or_else(PoisonError::into_inner).is_some());
        if is_open && self.writable && self.file.is_some() && !self.is_forked() {
            let named = format!("<vldepot.Depot {}, open for writing>", self.path.display());
            let told = CString::new(format!("unclosed {named}")).unwrap_or_default();
            let warned = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &told, 1);
            // A loop over a depot that nobody else has goes on.
            let closed = py.detach(|| self.close_now(false)).map_err(PyErr::from);
            for failed in [warned.err(), closed.err()].into_iter().flatten() {
                failed.write_unraisable(py, Some(PyString::new(py, &named).as_any()));
            }
        }
        py.detach(|| self.let_go());
    }

    /// The depot's own metadata. They are read once until they change.
    fn own_metadata(&self, py: Python<'_>) -> PyResult<Arc<BTreeMap<String, Value>>> {
        self.with(py, |depot| {
            let moment = {
                let kept = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(all) = &kept.all {
                    return Ok(Arc::clone(all));
                }
                kept.moment
            };
            let all: BTreeMap<String, Value> = for_depot!(depot, depot => depot.all_depot_metadata())?;
            let all = Arc::new(all);
            let mut kept = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.moment == moment {
                kept.all = Some(Arc::clone(&all));
            }
            Ok(all)
        })
    }

    /// Forgets the metadata that were read, after what may have changed them.
    fn metadata_changed(&self) {
        let mut kept = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        kept.moment += 1;
        kept.all = None;
    }

    /// The records may be others, which no call of an archive has made so.
    fn records_changed(&self, py: Python<'_>) -> PyResult<()> {
        self.metadata_changed();
        self.with(py, |depot| {
            depot.recount();
            Ok(())
        })
    }

    /// The depot, for a long job that must not hold the lock. It is not closed before the job is done.
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<Arc<AnyDepot>> {
        let shared = py.detach(|| self.open.read().unwrap_or_else(PoisonError::into_inner).clone());
        Ok(shared.ok_or(Failure::Closed)?)
    }

    /// Whether records are plain bytes, of no codec.
    pub(crate) fn is_plain(&self) -> bool {
        self.codec == CodecName::Bytes && self.object.is_none()
    }

    /// Runs `job` on the depot, without the GIL.
    pub(crate) fn with<T: Send>(
        &self,
        py: Python<'_>,
        job: impl FnOnce(&AnyDepot) -> Result<T, Failure> + Send,
    ) -> PyResult<T> {
        Ok(py.detach(|| match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(depot) => job(depot),
            None => Err(Failure::Closed),
        })?)
    }

    /// Refuses a depot of other records than frames.
    fn check_frames(&self) -> PyResult<()> {
        if self.codec == CodecName::Frames {
            return Ok(());
        }
        Err(PyTypeError::new_err("this is for depots of frames (codec \"atomic_frame\")"))
    }

    /// Runs `job` on the depot, which must be one of frames.
    fn with_frames<T: Send>(
        &self,
        py: Python<'_>,
        job: impl FnOnce(&Depot<AtomicFrameCodec>) -> Result<T, Failure> + Send,
    ) -> PyResult<T> {
        self.check_frames()?;
        self.with(py, |depot| match depot {
            AnyDepot::Frames(depot) => job(depot),
            _ => Err(Failure::Closed),
        })
    }

    fn value<'py>(&self, py: Python<'py>, fetched: Fetched) -> PyResult<Bound<'py, PyAny>> {
        fetched.into_python(py, self.object.as_ref())
    }

    fn to_values<'py>(&self, py: Python<'py>, fetched: Vec<Fetched>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        fetched.into_iter().map(|fetched| self.value(py, fetched)).collect()
    }

    fn find<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        fn find<C: Kind>(depot: &Depot<C>, key: impl AsKey) -> vldepot::Result<Option<Fetched>> {
            Ok(depot.find(key)?.map(C::fetched))
        }
        let name = key::name(name)?;
        let found =
            self.with(py, |depot| Ok(for_depot!(depot, depot => for_name!(name, key => find(depot, key)))?))?;
        found.map(|found| self.value(py, found)).transpose()
    }

    fn store(&self, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, put: &Put) -> PyResult<()> {
        let py = name.py();
        let key = key::name(name)?;
        let frame = frame_of(self.codec, value).map_err(|error| self.refused(name, error))?;
        let prepared = Prepared::new(self.codec, self.object.as_ref(), value, frame.as_ref());
        let prepared = prepared.map_err(|error| self.refused(name, error))?;
        let item = prepared.item()?;
        self.with(py, |depot| {
            for_name!(key, key => {
                depot.put(key.to_key(), &item, put)?;
                depot.named(&key.to_key());
            });
            Ok(())
        })
    }

    /// The refusal of a value, with what it was to be stored as.
    fn refused(&self, name: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
        match (key::key(name), &self.object) {
            (Ok(key), None) => placed(name.py(), error, &self.path, &key, self.codec.as_str()),
            _ => error,
        }
    }

    /// Starts to list something.
    pub(crate) fn list<'py>(
        &self,
        py: Python<'py>,
        shape: Shape,
        start: impl for<'d> FnOnce(&'d AnyDepot) -> vldepot::Result<Items<'d>> + Send,
    ) -> PyResult<Bound<'py, DepotIterator>> {
        let listing: Shared = py.detach(|| {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let depot = Arc::clone(open.as_ref().ok_or(Failure::Closed)?);
            let listing = Listing::try_new(depot, |depot| start(depot)).map_err(Failure::from)?;
            let listing = Arc::new(Mutex::new(Some(listing)));
            let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
            listings.retain(|listing| listing.strong_count() > 0);
            listings.push(Arc::downgrade(&listing));
            Ok::<_, Failure>(listing)
        })?;
        let object = self.object.as_ref().map(|object| object.clone_ref(py));
        Bound::new(py, DepotIterator::new(listing, shape, object))
    }

    fn list_records<'py>(
        &self,
        py: Python<'py>,
        shape: Shape,
        threads: usize,
    ) -> PyResult<Bound<'py, DepotIterator>> {
        fn records<C: Kind>(depot: &Depot<C>, threads: usize) -> Items<'_> {
            let records = depot.iter_with(&ReadOptions::default().with_threads(threads));
            Box::new(records.map(|entry| entry.map(|(key, record)| Entry::Record(key, C::fetched(record)))))
        }
        self.list(py, shape, move |depot| Ok(for_depot!(depot, depot => records(depot, threads))))
    }

    fn len_now(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |depot| Ok(for_depot!(depot, depot => depot.len())))
    }

    fn get_positions<'py>(
        &self,
        py: Python<'py>,
        positions: &[u64],
        threads: usize,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        fn get<C: Kind>(
            depot: &Depot<C>,
            positions: &[u64],
            options: &ReadOptions,
        ) -> vldepot::Result<Vec<Fetched>> {
            Ok(depot.get_many_at(positions, options)?.into_iter().map(C::fetched).collect())
        }
        let options = ReadOptions::default().with_threads(threads);
        let fetched =
            self.with(py, |depot| Ok(for_depot!(depot, depot => get(depot, positions, &options))?))?;
        self.to_values(py, fetched)
    }

    /// The positions of a slice.
    fn slice_positions(&self, slice: &Bound<'_, PySlice>) -> PyResult<Vec<u64>> {
        let len = self.len_now(slice.py())?;
        let indices = slice.indices(isize::try_from(len)?)?;
        let position = |nth: usize| {
            let nth = isize::try_from(nth).unwrap_or(isize::MAX);
            u64::try_from(indices.start + nth * indices.step).unwrap_or(u64::MAX)
        };
        Ok((0..indices.slicelength).map(position).collect())
    }

    /// The names at these positions.
    fn names_at_positions(&self, py: Python<'_>, positions: &[u64]) -> PyResult<Vec<Key>> {
        let mut names = Vec::with_capacity(positions.len());
        for some in positions.chunks(BETWEEN_SIGNALS) {
            py.check_signals()?;
            self.with(py, |depot| {
                for &position in some {
                    names.push(for_depot!(depot, depot => depot.key_at(position))?);
                }
                Ok(())
            })?;
        }
        Ok(names)
    }

    /// Positions from an int, a slice, or many ints.
    fn positions(&self, py: Python<'_>, positions: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
        match positions.cast::<PySlice>() {
            Ok(slice) => self.slice_positions(slice),
            Err(_) => key::positions(positions, self.len_now(py)?),
        }
    }
}

/// Runs `$body` with `$range` bound to the range of names from `start` on and before `stop`.
macro_rules! for_range {
    ($start:expr, $stop:expr, $range:ident => $body:expr) => {
        match ($start, $stop) {
            (Some(start), Some(stop)) => {
                let $range = start..stop;
                $body
            }
            (Some(start), None) => {
                let $range = start..;
                $body
            }
            (None, Some(stop)) => {
                let $range = ..stop;
                $body
            }
            (None, None) => {
                let $range = (std::ops::Bound::<Key>::Unbounded, std::ops::Bound::<Key>::Unbounded);
                $body
            }
        }
    };
}

fn optional_key(name: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Key>> {
    name.filter(|name| !name.is_none()).map(key::key).transpose()
}

/// Names in order, from either end.
fn sorted<'d>(
    names: impl DoubleEndedIterator<Item = vldepot::Result<Key>> + Send + 'd,
    reverse: bool,
) -> Items<'d> {
    let entry = |name: vldepot::Result<Key>| name.map(Entry::Name);
    if reverse { Box::new(names.rev().map(entry)) } else { Box::new(names.map(entry)) }
}

#[pymethods]
impl PyDepot {
    // The mapping.

    fn __getitem__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        fn get<C: Kind>(depot: &Depot<C>, key: impl AsKey) -> vldepot::Result<Fetched> {
            depot.get(key).map(C::fetched)
        }
        let name = key::name(name)?;
        let fetched =
            self.with(py, |depot| Ok(for_depot!(depot, depot => for_name!(name, key => get(depot, key)))?))?;
        self.value(py, fetched)
    }

    fn __setitem__(&self, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(name, value, &Put::Replace)
    }

    fn __delitem__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.remove(py, name)? {
            return Ok(());
        }
        let shown = key::shown(&key::key(name)?);
        Err(raise(py, Error::new(ErrorKind::NotFound).at(&self.path).of(shown)))
    }

    fn __contains__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = key::name(name)?;
        self.with(py, |depot| Ok(for_depot!(depot, depot => for_name!(name, key => depot.contains(key)))?))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(usize::try_from(self.len_now(py)?)?)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, DepotIterator>> {
        self.list(py, Shape::Names, |depot| {
            Ok(for_depot!(depot, depot => Box::new(depot.keys().map(|key| key.map(Entry::Name))) as Items<'_>))
        })
    }

    /// The value of that name, or `default` where there is none.
    ///
    /// Raises:
    ///     LostCommit, LostEarlier: When the file may have lost the name.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot.get("missing", 0)
    ///     0
    #[pyo3(signature = (name, /, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = self.find(py, name)?;
        Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Stores a record, and replaces the one of that name if there is one.
    ///
    /// A replaced record moves to the end of the order. The record can be read right away, and is durable
    /// after the next `commit`.
    ///
    /// Args:
    ///     name: A `str`, `bytes` or `int`.
    ///     value: What the codec takes. For frames, the fields may be given as keyword arguments instead.
    ///     new: Refuse to replace a record.
    ///     metadata: Stored with the record, and read without touching it. Anything that MessagePack has.
    ///
    /// Raises:
    ///     CodecError: When the codec refuses the value: a wrong shape or dtype.
    ///     Exists: With `new`, when the name is taken.
    ///     NotStored, NotCommitted: On a full disk.
    ///     ReadOnly, Forked: When this process may not write.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory()
    ///     >>> depot.put("frame_0", positions=[[0.0, 0.0, 0.1]], energy=-3.5, metadata={"temperature": 300})
    ///     >>> depot["frame_0"].energy, depot.metadata_of("frame_0")
    ///     (-3.5, {'temperature': 300})
    #[pyo3(signature = (name, value = Given::Absent, /, *, new = false, metadata = None, **fields))]
    fn put<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        value: Given<'py>,
        new: bool,
        metadata: Option<&Bound<'py, PyAny>>,
        fields: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        let put = match (new, metadata.filter(|metadata| !metadata.is_none())) {
            (true, Some(metadata)) => Put::NewWithMetadata(Value::new(metadata, Form::MessagePack)?),
            (true, None) => Put::New,
            (false, Some(metadata)) => Put::WithMetadata(Value::new(metadata, Form::MessagePack)?),
            (false, None) => Put::Replace,
        };
        match (value.value(), fields) {
            (Some(value), None) => self.store(name, &value, &put),
            (None, Some(fields)) if self.codec == CodecName::Frames => {
                let frame = Frame::from_fields(fields).map_err(|error| self.refused(name, error))?;
                self.store(name, Bound::new(py, frame)?.as_any(), &put)
            }
            (None, None) if self.codec == CodecName::Frames => {
                Err(PyTypeError::new_err("put takes a frame, or its fields by keyword, such as positions=.."))
            }
            (None, None) => Err(PyTypeError::new_err("put takes a name and a value")),
            (None, Some(_)) => Err(PyTypeError::new_err("fields by keyword are for depots of frames")),
            (Some(_), Some(_)) => Err(PyTypeError::new_err("put takes a value or fields, not both")),
        }
    }

    /// Removes a record, and returns false if there was none. Its bytes stay in the file until it is
    /// compacted.
    ///
    /// Raises:
    ///     LostCommit, LostEarlier: When there was none, and the file may have lost it.
    #[pyo3(signature = (name, /))]
    fn remove(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = key::name(name)?;
        self.with(py, |any| {
            Ok(for_depot!(any, depot => for_name!(name, key => {
                let key = key.to_key();
                let removed = depot.remove(&key)?;
                any.named(&key);
                if !removed {
                    // Where the file may have lost the name, looking for it is an error.
                    depot.contains(key)?;
                }
                removed
            })))
        })
    }

    /// Removes a record and returns its value, or `default` where there is none and a default is given.
    ///
    /// Raises:
    ///     NotFound: Where there is none, and no default.
    ///     LostCommit, LostEarlier: When the file may have lost the name, also with a default.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot["a"] = 1
    ///     >>> depot.pop("a"), depot.pop("a", None)
    ///     (1, None)
    #[pyo3(signature = (name, /, default = Given::Absent))]
    fn pop<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Given<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.find(py, name)? {
            Some(value) => {
                self.remove(py, name)?;
                Ok(value)
            }
            None => default.value().map_or_else(|| self.__getitem__(py, name), Ok),
        }
    }

    /// Removes the record that was put last, and returns its name and value.
    ///
    /// Raises:
    ///     KeyError: When the depot is empty.
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let Some(last) = self.len_now(py)?.checked_sub(1) else {
            return Err(PyKeyError::new_err("the depot is empty"));
        };
        let names = self.names_at_positions(py, &[last])?;
        let name = key::to_python(py, &names[0])?;
        let value = self.pop(py, &name, Given::Absent)?;
        Ok((name, value))
    }

    /// The value of that name. Where there is none, `default` is stored first.
    ///
    /// Raises:
    ///     LostCommit, LostEarlier: When the file may have lost the name. Nothing is stored then: `put`
    ///         stores it.
    #[pyo3(signature = (name, /, default = None))]
    fn setdefault<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(found) = self.find(py, name)? {
            return Ok(found);
        }
        let value = default.unwrap_or_else(|| py.None().into_bound(py));
        self.store(name, &value, &Put::Replace)?;
        self.__getitem__(py, name)
    }

    /// Stores many records: those of a mapping, or of an iterable of pairs of a name and a value, and those
    /// given by keyword. If one is refused, those before it are stored.
    ///
    /// Raises:
    ///     CodecError: When the codec refuses a value.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot.update({"a": 1, "b": 2})
    ///     >>> depot.update([("b", 3)])
    ///     >>> dict(depot.items())
    ///     {'a': 1, 'b': 3}
    #[pyo3(signature = (records = Given::Absent, /, **named))]
    fn update<'py>(
        &self,
        py: Python<'py>,
        records: Given<'py>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        let refuse = || PyTypeError::new_err("update takes a mapping, or pairs of a name and a value");
        if let Some(records) = records.value() {
            let pairs = match records.getattr_opt(intern!(py, "items"))? {
                Some(items) => items.call0()?,
                None => records,
            };
            for (n, pair) in pairs.try_iter().map_err(|_| refuse())?.enumerate() {
                if n.is_multiple_of(BETWEEN_SIGNALS) {
                    py.check_signals()?;
                }
                let pair = pair?;
                let text = pair.is_instance_of::<PyString>() || pair.is_instance_of::<PyBytes>();
                let Ok(items) = pair.try_iter() else { return Err(refuse()) };
                let items = items.take(3).collect::<PyResult<Vec<_>>>()?;
                let ([name, value], false) = (&items[..], text) else { return Err(refuse()) };
                self.store(name, value, &Put::Replace)?;
            }
        }
        for (name, value) in named.into_iter().flatten() {
            self.store(&name, &value, &Put::Replace)?;
        }
        Ok(())
    }

    /// The names, from the one that was put last to the first.
    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("vldepot._views")?.getattr("names_reversed")?.call1((slf,))
    }

    /// Removes all records. The depot's own metadata stay.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |depot| Ok(for_depot!(depot, depot => depot.clear())?))?;
        self.records_changed(py)
    }

    /// The names, in the order of insertion.
    ///
    /// Returns:
    ///     A view, like that of a dict: with `len` and `in`, and it follows the depot.
    fn keys<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("vldepot._views")?.getattr("Names")?.call1((slf,))
    }

    /// The values, in the order of insertion.
    ///
    /// Args:
    ///     threads: Threads that decode. With more than one, they read ahead of the loop.
    #[pyo3(signature = (*, threads = 1))]
    fn values<'py>(slf: &Bound<'py, Self>, threads: i64) -> PyResult<Bound<'py, PyAny>> {
        options::threads(slf.py(), threads)?;
        slf.py().import("vldepot._views")?.getattr("Values")?.call1((slf, threads))
    }

    /// Names and values, in the order of insertion.
    ///
    /// Args:
    ///     threads: Threads that decode. With more than one, they read ahead of the loop.
    #[pyo3(signature = (*, threads = 1))]
    fn items<'py>(slf: &Bound<'py, Self>, threads: i64) -> PyResult<Bound<'py, PyAny>> {
        options::threads(slf.py(), threads)?;
        slf.py().import("vldepot._views")?.getattr("Items")?.call1((slf, threads))
    }

    fn _iter_values<'py>(&self, py: Python<'py>, threads: usize) -> PyResult<Bound<'py, DepotIterator>> {
        self.list_records(py, Shape::Values, threads)
    }

    fn _iter_items<'py>(&self, py: Python<'py>, threads: usize) -> PyResult<Bound<'py, DepotIterator>> {
        self.list_records(py, Shape::Items, threads)
    }

    // By position, and many records together.

    /// Records by position, in the order of insertion.
    ///
    /// Args:
    ///     positions: An int, a slice, or many ints: a list or an array of them. Negative ones count from the
    ///         end.
    ///     threads: Threads that decode, where many are read.
    ///
    /// Returns:
    ///     The value for an int, and a list of values otherwise.
    ///
    /// Raises:
    ///     OutOfRange: When there is no record at a position. It is an `IndexError`.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("bytes")
    ///     >>> depot.update({"a": b"first", "b": b"second", "c": b"third"})
    ///     >>> depot.at(-1), depot.at(slice(0, 2)), depot.at([2, 0])
    ///     (b'third', [b'first', b'second'], [b'third', b'first'])
    #[pyo3(signature = (positions, /, *, threads = 1))]
    fn at<'py>(
        &self,
        py: Python<'py>,
        positions: &Bound<'py, PyAny>,
        threads: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        fn get<C: Kind>(depot: &Depot<C>, position: u64) -> vldepot::Result<Fetched> {
            depot.get_at(position).map(C::fetched)
        }
        let threads = options::threads(py, threads)?;
        if is_many(positions)? {
            let positions = self.positions(py, positions)?;
            return Ok(self.get_positions(py, &positions, threads)?.into_pyobject(py)?.into_any());
        }
        let position = key::position(positions, self.len_now(py)?)?;
        let fetched = self.with(py, |depot| Ok(for_depot!(depot, depot => get(depot, position))?))?;
        self.value(py, fetched)
    }

    /// The names at positions, which are given as to `at`.
    ///
    /// Returns:
    ///     The name for an int, and a list of names otherwise.
    ///
    /// Raises:
    ///     OutOfRange: When there is no record at a position.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("bytes")
    ///     >>> depot.update({"a": b"", 7: b""})
    ///     >>> depot.names_at(-1), depot.names_at([0, 0])
    ///     (7, ['a', 'a'])
    #[pyo3(signature = (positions, /))]
    fn names_at<'py>(&self, py: Python<'py>, positions: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if is_many(positions)? {
            let positions = self.positions(py, positions)?;
            let names = self.names_at_positions(py, &positions)?;
            let names = names.iter().map(|name| key::to_python(py, name)).collect::<PyResult<Vec<_>>>()?;
            return Ok(names.into_pyobject(py)?.into_any());
        }
        let position = key::position(positions, self.len_now(py)?)?;
        let names = self.names_at_positions(py, &[position])?;
        key::to_python(py, &names[0])
    }

    /// Reads many records, in the order of `names`, duplicates included. Every block is decoded once.
    ///
    /// Args:
    ///     names: Any iterable of names.
    ///     threads: Threads that decode, each at least a megabyte.
    ///
    /// Raises:
    ///     NotFound: When a name has no record.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot.update({"a": 1, "b": 2})
    ///     >>> depot.get_many(["b", "a", "b"], threads=2)
    ///     [2, 1, 2]
    #[pyo3(signature = (names, /, *, threads = 1))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        names: &Bound<'py, PyAny>,
        threads: i64,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        fn get<C: Kind, K: AsKey>(
            depot: &Depot<C>,
            keys: &[K],
            options: &ReadOptions,
        ) -> vldepot::Result<Vec<Fetched>> {
            Ok(depot.get_many_with(keys, options)?.into_iter().map(C::fetched).collect())
        }
        let held = key::Held::new(names)?;
        let names = held.names()?;
        let options = ReadOptions::default().with_threads(options::threads(py, threads)?);
        let fetched = self.with(py, |depot| {
            Ok(for_depot!(depot, depot => for_names!(&names, keys => get(depot, keys, &options)))?)
        })?;
        self.to_values(py, fetched)
    }

    /// Reads frames as a few long arrays, in the order of `names`, duplicates included.
    ///
    /// Every block is decoded once, and nothing is made for a frame. Of large frames, only the blocks with
    /// the wanted fields are decoded. Positions, velocities, forces and charges are float32, and must be
    /// stored as that: `get_many` reads frames of another precision.
    ///
    /// Returns:
    ///     A `FlatBatch`. Its arrays own their memory, so that other libraries may share it:
    ///     `torch.from_dlpack(batch.positions)` copies nothing.
    ///
    /// Args:
    ///     names: Any iterable of names.
    ///     fields: `positions velocities forces charges types masses energy time cell stress`: one name, or
    ///         several. The default is `positions`.
    ///     out: Arrays to fill, by name: a dict, or a `FlatBatch`. They have room for at least as many rows,
    ///         and the batch has their first rows.
    ///
    /// Raises:
    ///     NotFound: When a name has no record.
    ///     CodecError: When a frame lacks a field, or has it in another precision than float32.
    ///     TypeError: When the depot is not one of frames.
    ///     ValueError: When `out` cannot take the fields. Arrays of `out` that were checked by then may be
    ///         filled.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory()
    ///     >>> depot["a"] = {"positions": [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], "energy": -1.0}
    ///     >>> depot["b"] = {"positions": [[3.0, 3.0, 3.0]], "energy": -2.0}
    ///     >>> batch = depot.get_flat(["b", "a"], ["positions", "energy"])
    ///     >>> batch.offsets.tolist(), batch.positions.shape, batch.energy.tolist()
    ///     ([0, 1, 3], (3, 3), [-2.0, -1.0])
    #[pyo3(signature = (names, /, fields = None, *, out = None))]
    fn get_flat<'py>(
        &self,
        py: Python<'py>,
        names: &Bound<'py, PyAny>,
        fields: Option<&Bound<'py, PyAny>>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<FlatBatch> {
        let held = key::Held::new(names)?;
        let names = held.names()?;
        for_names!(&names, keys => self.flat_of(py, keys, fields, out))
    }

    /// Like `get_flat`, for positions: a slice, or a list or another iterable of ints.
    ///
    /// Negative positions count from the end. `depot.get_flat_at([3])` reads one frame.
    ///
    /// Raises:
    ///     OutOfRange: When there is no record at a position.
    #[pyo3(signature = (positions, /, fields = None, *, out = None))]
    fn get_flat_at<'py>(
        &self,
        py: Python<'py>,
        positions: &Bound<'py, PyAny>,
        fields: Option<&Bound<'py, PyAny>>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<FlatBatch> {
        if !is_many(positions)? {
            let found = positions.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "positions are a slice, or a list or another iterable of ints, not {found}"
            )));
        }
        let positions = self.positions(py, positions)?;
        let names = self.names_at_positions(py, &positions)?;
        self.flat_of(py, &names, fields, out)
    }

    /// The number of atoms of each frame, in the order of insertion: `[len]` uint32. This reads all frames.
    ///
    /// It is what a loader takes as `costs`, for batches of so many atoms.
    ///
    /// Raises:
    ///     TypeError: When the depot is not one of frames.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory()
    ///     >>> depot.update({n: {"positions": np.zeros((n, 3))} for n in (2, 5)})
    ///     >>> depot.atom_counts()
    ///     array([2, 5], dtype=uint32)
    #[pyo3(signature = (*, threads = 1))]
    fn atom_counts<'py>(&self, py: Python<'py>, threads: i64) -> PyResult<Bound<'py, PyAny>> {
        fn counts(depot: &AnyDepot, threads: usize) -> Items<'_> {
            let AnyDepot::Frames(depot) = depot else { return Box::new(std::iter::empty()) };
            let frames = depot.iter_with(&ReadOptions::default().with_threads(threads));
            Box::new(frames.map(|frame| frame.map(|(_, record)| Entry::Atoms(frame::n_atoms(&record)))))
        }
        self.check_frames()?;
        let threads = options::threads(py, threads)?;
        let listing = self.list(py, Shape::Values, move |depot| Ok(counts(depot, threads)))?;
        let mut counts = Vec::new();
        loop {
            py.check_signals()?;
            let before = counts.len();
            let frames = listing.get();
            py.detach(|| frames.take_atoms(&mut counts, BETWEEN_SIGNALS))?;
            if counts.len() == before {
                break;
            }
        }
        Ok(numpy::PyArray1::from_vec(py, counts).into_any())
    }

    /// The bytes of a record, as the codec encoded them: a read-only `memoryview` that keeps them alive.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot["a"] = [1, 2]
    ///     >>> bytes(depot.raw("a"))
    ///     b'[1,2]'
    #[pyo3(signature = (name, /))]
    fn raw<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        fn get<C: Kind>(
            depot: &Depot<C>,
            key: impl AsKey,
        ) -> vldepot::Result<Box<dyn AsRef<[u8]> + Send + Sync>> {
            Ok(Box::new(depot.get(key)?))
        }
        struct Boxed(Box<dyn AsRef<[u8]> + Send + Sync>);
        impl AsRef<[u8]> for Boxed {
            fn as_ref(&self) -> &[u8] {
                (*self.0).as_ref()
            }
        }
        let name = key::name(name)?;
        let record =
            self.with(py, |depot| Ok(for_depot!(depot, depot => for_name!(name, key => get(depot, key)))?))?;
        RecordBytes::view(py, Boxed(record))
    }

    /// Where the record lies in the file.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    #[pyo3(signature = (name, /))]
    fn location<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let name = key::name(name)?;
        let found = self
            .with(py, |depot| Ok(for_depot!(depot, depot => for_name!(name, key => depot.location(key)))?))?;
        report::location(py, &found)
    }

    /// Gives a record another name, which must be free. It moves to the end of the order.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    ///     Exists: When the new name is taken.
    #[pyo3(signature = (name, new_name, /))]
    fn rename(&self, py: Python<'_>, name: &Bound<'_, PyAny>, new_name: &Bound<'_, PyAny>) -> PyResult<()> {
        let (from, to) = (key::key(name)?, key::key(new_name)?);
        self.with(py, |depot| {
            for_depot!(depot, depot => depot.rename(&from, &to))?;
            depot.named(&from);
            depot.named(&to);
            Ok(())
        })
    }

    /// Copies records from another depot of the same codec, with their metadata, and returns how many.
    ///
    /// Args:
    ///     other: The depot to copy from.
    ///     names: Which records; all of them by default.
    ///
    /// Raises:
    ///     WrongCodec: When the other depot has another codec.
    ///     NotFound: When a name has no record there.
    ///     ValueError: When the other depot is this one.
    ///
    /// Example:
    ///     >>> source, target = vldepot.memory("json"), vldepot.memory("json")
    ///     >>> source.update({"a": 1, "b": 2, "c": 3})
    ///     >>> target.copy_from(source, ["c", "a"]), list(target)
    ///     (2, ['c', 'a'])
    #[pyo3(signature = (other, names = None, /))]
    fn copy_from(&self, py: Python<'_>, other: &Self, names: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
        let names = names.filter(|names| !names.is_none());
        let keys = names.map(|names| key::Held::new(names)?.objects_as_keys()).transpose()?;
        if std::ptr::eq(self, other) {
            return Err(PyValueError::new_err("a depot does not copy from itself"));
        }
        let source = other.shared(py)?;
        let copied = self.with(py, |depot| {
            Ok(for_depot!(depot, to => for_depot!(&*source, from => match &keys {
                Some(keys) => to.copy_from(from, keys),
                None => to.copy_all_from(from),
            }))?)
        });
        // Dropping the last reference closes the other depot, if it was closed meanwhile.
        py.detach(|| drop(source));
        self.records_changed(py)?;
        copied
    }

    // Names in order.

    /// The names from `start` on and before `stop`, in the order of names.
    ///
    /// Strings sort by their bytes, and come before bytes; integers come last, and sort by their value.
    /// Finding the range takes a binary search in the index.
    ///
    /// Args:
    ///     start: The first name; the first of all by default.
    ///     stop: The name to stop before; the end by default.
    ///     reverse: From the last to the first.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("bytes")
    ///     >>> depot.update({name: b".." for name in ["run_2/b", "run_1/c", "run_2/a"]})
    ///     >>> list(depot.sorted_keys("run_2/", "run_3/"))
    ///     ['run_2/a', 'run_2/b']
    #[pyo3(signature = (start = None, stop = None, *, reverse = false))]
    fn sorted_keys<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
        reverse: bool,
    ) -> PyResult<Bound<'py, DepotIterator>> {
        let (start, stop) = (optional_key(start)?, optional_key(stop)?);
        self.list(py, Shape::Names, move |depot| {
            for_depot!(depot, depot => for_range!(start, stop, range => Ok(sorted(depot.sorted_keys(range)?, reverse))))
        })
    }

    /// The names that are `str` and start with `prefix`, in the order of names.
    ///
    /// Args:
    ///     prefix: What they start with.
    ///     reverse: From the last to the first.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("bytes")
    ///     >>> depot.update({name: b".." for name in ["run_2/b", "run_1/c", "run_2/a"]})
    ///     >>> list(depot.keys_with_prefix("run_2/"))
    ///     ['run_2/a', 'run_2/b']
    #[pyo3(signature = (prefix, /, *, reverse = false))]
    fn keys_with_prefix<'py>(
        &self,
        py: Python<'py>,
        prefix: String,
        reverse: bool,
    ) -> PyResult<Bound<'py, DepotIterator>> {
        self.list(py, Shape::Names, move |depot| {
            Ok(for_depot!(depot, depot => sorted(depot.keys_with_prefix(&prefix), reverse)))
        })
    }

    /// The names that are `str` and match a glob such as `run_*/frame_00?`, in the order of insertion. This
    /// looks at every name.
    ///
    /// Raises:
    ///     InvalidOptions: When the pattern is malformed.
    #[pyo3(signature = (pattern, /))]
    fn keys_matching<'py>(&self, py: Python<'py>, pattern: String) -> PyResult<Bound<'py, DepotIterator>> {
        self.list(py, Shape::Names, move |depot| {
            for_depot!(depot, depot => {
                let names = depot.keys_matching(&pattern)?;
                Ok(Box::new(names.map(|name| name.map(Entry::Name))) as Items<'_>)
            })
        })
    }

    /// How many records, and how many raw bytes, have names from `start` on and before `stop`. This goes
    /// through none of them.
    ///
    /// Args:
    ///     start: The first name; the first of all by default.
    ///     stop: The name to stop before; the end by default.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("bytes")
    ///     >>> depot.update({n: b"1234" for n in range(100)})
    ///     >>> depot.totals(10, 20)
    ///     Totals(records=10, raw_bytes=40)
    #[pyo3(signature = (start = None, stop = None))]
    fn totals<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (start, stop) = (optional_key(start)?, optional_key(stop)?);
        let totals = self.with(py, |depot| {
            Ok(for_depot!(depot, depot => for_range!(start, stop, range => depot.totals(range)))?)
        })?;
        report::totals(py, &totals)
    }

    /// How many records, and how many raw bytes, have names that are `str` and start with `prefix`.
    #[pyo3(signature = (prefix, /))]
    fn totals_with_prefix<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyAny>> {
        let totals =
            self.with(py, |depot| Ok(for_depot!(depot, depot => depot.totals_with_prefix(prefix))?))?;
        report::totals(py, &totals)
    }

    // Columns.

    /// The scalars that the depot keeps in columns: their names and their dtypes.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory(columns=["step", "energy"])
    ///     >>> depot.columns
    ///     {'step': dtype('int64'), 'energy': dtype('float64')}
    #[getter]
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.columns().to_vec())))?;
        let found = PyDict::new(py);
        for column in columns {
            let dtype = match column.kind {
                ScalarKind::Integer => numpy::dtype::<i64>(py),
                ScalarKind::Float => numpy::dtype::<f64>(py),
            };
            found.set_item(&*column.name, dtype)?;
        }
        Ok(found)
    }

    /// One scalar of the records at the positions from `start` on and before `stop`, without reading a
    /// record.
    ///
    /// Args:
    ///     name: The name of the column.
    ///     start: A position. Negative ones count from the end.
    ///     stop: A position. The default is the end.
    ///     masked: Return a masked array, in which the values that records do not have are masked.
    ///
    /// Returns:
    ///     An array `[n]` of float64, or of int64 for whole numbers. Values that records do not have are NaN,
    ///     and whole numbers become float64 if there are any such.
    ///
    /// Raises:
    ///     InvalidOptions: When the depot keeps no such column.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory(columns=["energy"])
    ///     >>> for n in range(3):
    ///     ...     depot[n] = vldepot.Frame(positions=[[0.0, 0.0, n]], energy=-0.5 * n)
    ///     >>> depot.column("energy")
    ///     array([-0. , -0.5, -1. ])
    #[pyo3(signature = (name, /, start=0, stop=None, *, masked=false))]
    fn column<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        start: isize,
        stop: Option<isize>,
        masked: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let len = isize::try_from(self.len_now(py)?)?;
        let place = |at: isize| (if at < 0 { at + len } else { at }).clamp(0, len).unsigned_abs() as u64;
        let range = place(start)..place(stop.unwrap_or(len)).max(place(start));
        let column = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.column(name, range))?))?;
        let absent = || (0..column.len()).map(|nth| column.is_absent(nth)).collect::<Vec<bool>>();
        let values = match (column.as_i64(), column.as_f64()) {
            (Some(integers), _) if column.n_absent() == 0 || masked => {
                numpy::PyArray1::from_slice(py, integers).into_any()
            }
            (None, Some(floats)) => numpy::PyArray1::from_slice(py, floats).into_any(),
            _ => {
                let floats = column.iter().map(|value| value.map_or(f64::NAN, Scalar::to_f64));
                numpy::PyArray1::from_iter(py, floats).into_any()
            }
        };
        if !masked {
            return Ok(values);
        }
        let mask = numpy::PyArray1::from_vec(py, absent());
        py.import("numpy.ma")?.getattr("MaskedArray")?.call1((values, mask))
    }

    /// The positions of the records that match a query on their scalars, names and metadata, in the order of
    /// insertion. No record is read.
    ///
    /// A query compares columns (`energy`), the name (`name`) and values of metadata (`meta.source`) with
    /// numbers, text, `true` and `false`, by `< <= == != >= >`, `in (3, 5)`, `not in` and `glob "run_*"`.
    /// `has(energy)` says whether there is a value. Conditions are joined by `and`, `or`, `not` and
    /// parentheses, and numbers by `+ - * /`. With a value that is missing or NaN, no comparison holds.
    ///
    /// Args:
    ///     query: The text of the query.
    ///     names: Return the names and not the positions.
    ///
    /// Returns:
    ///     An array `[n]` of int64, which `loader` takes as `positions`; or a list of names.
    ///
    /// Raises:
    ///     InvalidQuery: When the text is no query, or the depot has no such column.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory(columns=["energy", "n_atoms"])
    ///     >>> for n in range(5):
    ///     ...     depot[n] = vldepot.Frame(positions=[[0.0, 0.0, 0.0]], energy=-1.5 * n)
    ///     >>> depot.select("energy < -3 and n_atoms <= 50")
    ///     array([3, 4])
    ///     >>> depot.select("-4 < energy < 0", names=True)
    ///     [1, 2]
    #[pyo3(signature = (query, /, *, names=false))]
    fn select<'py>(&self, py: Python<'py>, query: &str, names: bool) -> PyResult<Bound<'py, PyAny>> {
        if names {
            let keys = self.with(py, |depot| {
                Ok(for_depot!(depot, depot => depot.select(query)?.keys().collect::<vldepot::Result<Vec<_>>>())?)
            })?;
            let names = keys.iter().map(|key| key::to_python(py, key)).collect::<PyResult<Vec<_>>>()?;
            return Ok(pyo3::types::PyList::new(py, names)?.into_any());
        }
        let positions = self.with(py, |depot| {
            let positions =
                for_depot!(depot, depot => depot.select(query)?.collect::<vldepot::Result<Vec<u64>>>())?;
            Ok(positions.into_iter().map(u64::cast_signed).collect::<Vec<i64>>())
        })?;
        Ok(numpy::PyArray1::from_vec(py, positions).into_any())
    }

    /// Count, min, max, mean and variance of the columns and of the fields of all records, without reading
    /// any.
    ///
    /// Those of columns are of the records that are there. Those of fields are bounds after records were
    /// removed or replaced: `exact` is false then, until the depot is compacted.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory(statistics=True)
    ///     >>> for n in range(4):
    ///     ...     depot[n] = vldepot.Frame(positions=[[0.0, 0.0, 0.0]], types=[8], energy=-float(n))
    ///     >>> statistics = depot.statistics()
    ///     >>> statistics.fields.fields["energy"].mean, statistics.fields.kinds["types"][8].values
    ///     (-1.5, 4)
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let statistics = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.statistics())?))?;
        report::statistics(py, &statistics)
    }

    /// One scalar of one record, or `None` where it does not have it. The record is not read.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    ///     InvalidOptions: When the depot keeps no such column.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory(columns=["energy"])
    ///     >>> depot.put("a", positions=[[0.0, 0.0, 0.0]], energy=-1.5)
    ///     >>> depot.scalar("a", "energy")
    ///     -1.5
    #[pyo3(signature = (name, column, /))]
    fn scalar<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        column: &str,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let name = key::name(name)?;
        let found = self.with(py, |depot| {
            Ok(for_depot!(depot, depot => for_name!(name, key => depot.scalar(key, column)))?)
        })?;
        Ok(match found {
            None => None,
            Some(Scalar::Integer(value)) => Some(value.into_pyobject(py)?.into_any()),
            Some(Scalar::Float(value)) => Some(value.into_pyobject(py)?.into_any()),
        })
    }

    /// Scalars of all records by column, and their names: what a data frame is made from.
    ///
    /// No record is read. Rows belong together although other threads put and remove records meanwhile.
    ///
    /// Args:
    ///     columns: The columns to take, or the name of one. The default is all that the depot keeps.
    ///     names: Whether to take the names too, as `"name"`.
    ///     metadata: Names in the metadata of records to take as columns too: numbers, text or bools. Each
    ///         record's metadata is decoded for that.
    ///
    /// Returns:
    ///     A `Table`: the list of names and an array `[n]` for each scalar, by their names. polars, pyarrow
    ///     and pandas take it too.
    ///
    /// Raises:
    ///     InvalidOptions: When the depot keeps no such column.
    ///     ValueError: When two columns would have one name, or metadata of one name are of several types, or
    ///         of none that a column has.
    ///     NotFound: When a record whose metadata are asked for was removed meanwhile.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory(columns=["step", "energy"])
    ///     >>> fields = {"positions": [[0.0, 0.0, 0.0]], "step": 5, "energy": -1.5}
    ///     >>> depot.put("a", fields, metadata={"temperature": 300})
    ///     >>> dict(depot.table(metadata=["temperature"]))
    ///     {'name': ['a'], 'step': array([5]), 'energy': array([-1.5]), 'temperature': array([300])}
    #[pyo3(signature = (columns = None, *, names = true, metadata = None))]
    fn table(
        &self,
        py: Python<'_>,
        columns: Option<&Bound<'_, PyAny>>,
        names: bool,
        metadata: Option<Vec<String>>,
    ) -> PyResult<Table> {
        fn read<C: Kind>(
            depot: &Depot<C>,
            columns: Option<&Vec<String>>,
            names: bool,
        ) -> vldepot::Result<NamesAndColumns> {
            let kept = || depot.columns().iter().map(|column| column.name.to_string()).collect();
            let labels: Vec<String> = columns.map_or_else(kept, Clone::clone);
            let (names, columns) = if names {
                let (names, columns) = depot.names_and_columns(&labels)?;
                (Some(names), columns)
            } else {
                (None, depot.columns_together(&labels)?)
            };
            let stored = columns.into_iter().map(|column| Data::Stored(Arc::new(column)));
            Ok((names, labels.into_iter().zip(stored).collect()))
        }
        let columns = columns.filter(|columns| !columns.is_none()).map(options::columns).transpose()?;
        let refuse = |why| PyValueError::new_err(format!("{}: {why}", self.path.display()));
        let metadata = metadata.unwrap_or_default();
        let all_names = names || !metadata.is_empty();
        let (keys, mut columns) =
            self.with(py, |depot| Ok(for_depot!(depot, depot => read(depot, columns.as_ref(), all_names))?))?;
        let mut values = vec![Vec::new(); metadata.len()];
        for some in
            keys.as_deref().unwrap_or_default().chunks(BETWEEN_SIGNALS).filter(|_| !metadata.is_empty())
        {
            py.check_signals()?;
            self.with(py, |depot| {
                for key in some {
                    let found: Option<Value> = for_depot!(depot, depot => depot.metadata(key))?;
                    for (name, values) in metadata.iter().zip(&mut values) {
                        values.push(
                            found
                                .as_ref()
                                .and_then(|found| found.member(name))
                                .cloned()
                                .unwrap_or(Value::None),
                        );
                    }
                }
                Ok(())
            })?;
        }
        for (name, values) in metadata.into_iter().zip(values) {
            let data = Data::of_metadata(&name, values).map_err(refuse)?;
            columns.push((name, data));
        }
        Table::new((keys.filter(|_| names), columns)).map_err(refuse)
    }

    // Metadata.

    /// The depot's own metadata: a mutable mapping from `str` to anything that MessagePack has.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory()
    ///     >>> depot.metadata["time_step_ps"] = 0.002
    ///     >>> dict(depot.metadata)
    ///     {'time_step_ps': 0.002}
    #[getter]
    fn metadata<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("vldepot._views")?.getattr("Metadata")?.call1((slf,))
    }

    /// The metadata of a record, or `None` where it has none. This does not touch the record.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    ///     MetadataError: When they cannot be read.
    #[pyo3(signature = (name, /))]
    fn metadata_of<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let name = key::name(name)?;
        let found: Option<Value> = self
            .with(py, |depot| Ok(for_depot!(depot, depot => for_name!(name, key => depot.metadata(key)))?))?;
        found.map_or_else(|| Ok(py.None().into_bound(py)), |value| value.to_python(py))
    }

    /// Replaces the metadata of a record, which moves to the end of the order.
    ///
    /// Args:
    ///     name: The record.
    ///     metadata: Anything that MessagePack has.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    ///     TypeError: When MessagePack does not have it.
    #[pyo3(signature = (name, metadata, /))]
    fn set_metadata_of(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        metadata: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let name = key::name(name)?;
        let value = Value::new(metadata, Form::MessagePack)?;
        self.with(py, |depot| {
            Ok(for_depot!(depot, depot => for_name!(name, key => depot.set_metadata(key, &value)))?)
        })
    }

    fn _all_metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, value) in &*self.own_metadata(py)? {
            all.set_item(name, value.to_python(py)?)?;
        }
        Ok(all)
    }

    fn _metadata_names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.own_metadata(py)?.keys().cloned().collect())
    }

    fn _get_metadata<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let all = self.own_metadata(py)?;
        let found = name.cast::<PyString>().ok().and_then(|name| all.get(name.to_str().ok()?));
        match found {
            Some(value) => value.to_python(py),
            None => Err(PyKeyError::new_err(name.clone().unbind())),
        }
    }

    fn _set_metadata(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Ok(name) = name.extract::<String>() else {
            let name = short(name);
            return Err(PyTypeError::new_err(format!(
                "names of metadata are str of Unicode text, not {name}"
            )));
        };
        let name = name.as_str();
        let value = Value::new(value, Form::MessagePack)?;
        let set =
            self.with(py, |depot| Ok(for_depot!(depot, depot => depot.set_depot_metadata(name, &value))?));
        self.metadata_changed();
        set
    }

    fn _remove_metadata(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        let removed =
            self.with(py, |depot| Ok(for_depot!(depot, depot => depot.remove_depot_metadata(name))?));
        self.metadata_changed();
        removed
    }

    // Making durable, following, going back, closing.

    /// Makes everything put so far durable: it survives a killed process and a power loss.
    ///
    /// Raises:
    ///     NotCommitted: On a full disk. It says how many records wait.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |depot| Ok(for_depot!(depot, depot => depot.commit())?))
    }

    /// Hands all records put so far to the system, without a sync: they survive a killed process, not a power
    /// loss.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |depot| Ok(for_depot!(depot, depot => depot.flush())?))
    }

    /// Commits, and completes the file as a standard Blosc2 frame, which other programs read.
    fn publish(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |depot| Ok(for_depot!(depot, depot => depot.publish())?))
    }

    /// Closes the depot; a writer commits and publishes first. Arrays and records that were read stay valid.
    ///
    /// This waits for calls of other threads; a long `get_flat` of the main thread ends with `Closed`
    /// instead. A second call does nothing.
    ///
    /// Raises:
    ///     NotCommitted, IoError: On a full disk. The depot stays open then, and nothing is lost: make room,
    ///         and call `commit` or `close` again. At the end of a `with` block it stays open too.
    ///     Poisoned: When a sync failed. The records can still be read, and copied to another depot.
    ///     Forked: In a fork of the process that writes.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.close_now(true))?)
    }

    /// Closes a depot that the interpreter would leave open when it ends.
    fn _close_at_exit(&self, py: Python<'_>) {
        if !self.is_forked() {
            self.close_at_last(py);
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        if self.is_forked() {
            // A fork has written nothing, so there is nothing to tell.
            py.detach(|| self.let_go());
            return Ok(());
        }
        self.close(py)
    }

    /// Moves a reader forward to what its writer has committed since.
    ///
    /// Returns:
    ///     `Refreshed`: which records are new.
    ///
    /// Raises:
    ///     Replaced: When the path leads to another file now, such as a compacted one: open it again.
    fn refresh<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let refreshed = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.refresh())?));
        self.records_changed(py)?;
        let refreshed = refreshed?;
        report::refreshed(py, &refreshed)
    }

    /// Removes every record after the one of that name, in the order of insertion, and commits.
    ///
    /// Args:
    ///     dry_run: Only say what would be removed.
    ///
    /// Returns:
    ///     `Removal`: how many records, and which. `undo_truncate` brings them back.
    ///
    /// Raises:
    ///     NotFound: When there is no such record.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot.update({"a": 1, "b": 2, "c": 3})
    ///     >>> depot.truncate_after("a").removed, depot.undo_truncate(), len(depot)
    ///     (2, 2, 3)
    #[pyo3(signature = (name, /, *, dry_run = false))]
    fn truncate_after<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = key::name(name)?;
        let options = truncation(dry_run, false);
        let removal = self.with(py, |depot| {
            Ok(for_depot!(depot, depot => for_name!(name, key => depot.truncate_after_with(key, &options)))?)
        });
        self.records_changed(py)?;
        let removal = removal?;
        report::removal(py, &removal)
    }

    /// Removes the frames with a larger step than `step`, and commits. Records without a step are kept.
    ///
    /// Args:
    ///     dry_run: Only say what would be removed.
    ///     all: Allow that no frame with a step stays.
    ///
    /// Raises:
    ///     RemovesAll: When no frame with a step would stay.
    #[pyo3(signature = (step, /, *, dry_run = false, all = false))]
    fn truncate_after_step<'py>(
        &self,
        py: Python<'py>,
        step: i64,
        dry_run: bool,
        all: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = truncation(dry_run, all);
        let removal = self.with_frames(py, |depot| Ok(depot.truncate_after_step_with(step, &options)?));
        self.records_changed(py)?;
        let removal = removal?;
        report::removal(py, &removal)
    }

    /// Makes the depot ready for a run that starts again at `step`: removes the frames after it.
    ///
    /// Args:
    ///     step: The step of the checkpoint.
    ///     newest: The step of the newest frame that the run had stored when it was at `step`.
    ///     dry_run: Only say what would be removed.
    ///     all: Allow that no frame with a step stays.
    ///
    /// Raises:
    ///     Gap: When the file does not have the frame of step `newest`: the run would leave a gap. Nothing is
    ///         removed.
    ///     RemovesAll: When no frame with a step would stay.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory()
    ///     >>> for step in range(0, 1600, 100):
    ///     ...     depot[step] = vldepot.Frame(positions=[[0.0, 0.0, 0.0]], step=step)
    ///     >>> depot.restart_at_step(1250, newest=1200).removed
    ///     3
    #[pyo3(signature = (step, /, newest, *, dry_run = false, all = false))]
    fn restart_at_step<'py>(
        &self,
        py: Python<'py>,
        step: i64,
        newest: i64,
        dry_run: bool,
        all: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = truncation(dry_run, all);
        let removal = self.with_frames(py, |depot| Ok(depot.restart_at_step_with(step, newest, &options)?));
        self.records_changed(py)?;
        let removal = removal?;
        report::removal(py, &removal)
    }

    /// Brings back what the last truncation removed, and returns how many records that are.
    ///
    /// Raises:
    ///     NotUndone: When something was put, removed or changed since, or nothing was truncated.
    fn undo_truncate(&self, py: Python<'_>) -> PyResult<u64> {
        let undone = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.undo_truncate())?));
        self.records_changed(py)?;
        undone
    }

    /// The bytes of the depot's file. A writer commits and publishes first.
    ///
    /// Example:
    ///     >>> depot = vldepot.memory("json")
    ///     >>> depot["a"] = 1
    ///     >>> vldepot.from_bytes(depot.to_bytes())["a"]
    ///     1
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.to_bytes())?))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Writes the depot to a new file, durably. The file appears when all of it is written.
    ///
    /// Raises:
    ///     PathExists: When there is a file at the path.
    #[pyo3(signature = (path, /))]
    fn save(&self, py: Python<'_>, #[pyo3(from_py_with = options::path)] path: PathBuf) -> PyResult<()> {
        self.with(py, |depot| Ok(for_depot!(depot, depot => depot.save(&path))?))
    }

    /// A loader for training over the records that there are now.
    ///
    /// Args:
    ///     batch_size: Records in a batch. The default is 32; with a budget, any number.
    ///     shuffle: `True` or `"windowed"`: runs of records in random order, and all records within a window
    ///         of such runs, nearly as fast as reading in order. `"full"`: each record among all others. The
    ///         default is `False`.
    ///     seed: Of the shuffle. The default is 0.
    ///     window: Bytes of a window. The default is 64 MiB.
    ///     group: Bytes of a run. The default is 1 MiB.
    ///     positions: Only the records at these positions, in this order if not shuffled.
    ///     range: Only the records at positions from the first of two ints to before the second.
    ///     names: Only the records with these names.
    ///     batch_bytes: Fill batches up to so many bytes.
    ///     max_cost: Fill batches up to this sum of `costs`.
    ///     costs: The cost of each record of the depot, such as `Depot.atom_counts` gives it.
    ///     max_atoms: Fill batches up to so many atoms. Without `costs`, this reads all frames first.
    ///     drop_last: Leave out the last batch of an epoch when it is not full.
    ///     epochs: How many epochs. The default is 1.
    ///     epoch: The number of the first epoch, on which its order depends. The default is 0.
    ///     rank, world: Only the batches of this rank of so many. The default is 0 of 1.
    ///     worker, workers: Only this worker's share of the rank's batches. The default is 0 of 1.
    ///     even: Give every rank the same number of batches; some are repeated.
    ///     lanes: Split an epoch into so many parts that take turns. Best a multiple of ranks times workers.
    ///     prefetch: Batches to read ahead, at least. The default is 4.
    ///     threads: Threads that read. The default is one per core, at most 4; with 0 the caller reads.
    ///     on_error: `"stop"` (the default), or `"skip"` records that cannot be read: see `Batch.skipped`.
    ///     state: Go on where a loader with the same options was: what `Loader.state` gave.
    ///
    /// Raises:
    ///     InvalidOptions: When the options do not go together.
    ///     OtherLoader: When the state is of a loader with other options, or of records that are not there
    ///         any more.
    #[pyo3(signature = (**options))]
    fn loader(&self, py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<loader::Loader> {
        let options = loader::LoaderOptions::new(options, self.len_now(py)?)?;
        let made = self.with(py, |depot| loader::build(depot, options))?;
        Ok(loader::Loader::new(made, self.object.as_ref().map(|object| object.clone_ref(py))))
    }

    // What the depot says about itself.

    /// What the depot is, and how much is in it.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let info = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.info())?))?;
        report::info(py, &info)
    }

    /// Why the depot is not whole: the error that opening it without `accept_loss` gives. `None` when it is
    /// whole.
    #[getter]
    fn incomplete<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let error = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.incomplete())))?;
        error.map(|error| crate::error::object(py, &error)).transpose()
    }

    /// The codec that the depot is open with: `atomic_frame array bytes msgpack json`, or an object of yours.
    #[getter]
    fn codec<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &self.object {
            Some(object) => object.bind(py).clone(),
            None => PyString::new(py, self.codec_str()).into_any(),
        }
    }

    /// The units of the numbers of frames, by what they are units of. `None` for a depot of other records.
    #[getter]
    fn units<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.codec != CodecName::Frames {
            return Ok(None);
        }
        let units = self.with_frames(py, |depot| Ok(depot.codec().units()))?;
        let out = PyDict::new(py);
        for (name, unit) in [
            ("length", &units.length),
            ("time", &units.time),
            ("energy", &units.energy),
            ("mass", &units.mass),
            ("charge", &units.charge),
            ("pressure", &units.pressure),
        ] {
            out.set_item(name, &**unit)?;
        }
        Ok(Some(out))
    }

    /// The precision of frames, such as `float32`. `None` for a depot of other records.
    #[getter]
    fn precision(&self, py: Python<'_>) -> PyResult<Option<String>> {
        if self.codec != CodecName::Frames {
            return Ok(None);
        }
        self.with_frames(py, |depot| Ok(Some(depot.codec().precision().to_string().replace(' ', "_"))))
    }

    /// How many atoms each frame has. `None` where the number may differ.
    #[getter]
    fn n_atoms(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        if self.codec != CodecName::Frames {
            return Ok(None);
        }
        self.with_frames(py, |depot| Ok(depot.codec().n_atoms()))
    }

    /// The depot's file, or `<memory>`.
    #[getter]
    fn path(&self) -> &std::ffi::OsStr {
        self.path.as_os_str()
    }

    /// Whether the depot was created or opened for writing.
    #[getter]
    fn writable(&self) -> bool {
        self.writable
    }

    /// Whether the depot is closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        py.detach(|| self.open.read().unwrap_or_else(PoisonError::into_inner).is_none())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let codec = match &self.object {
            Some(object) => object.bind(py).get_type().name()?.to_string(),
            None => self.codec_str().to_owned(),
        };
        let path = self.path.display();
        if self.closed(py) {
            return Ok(format!("<vldepot.Depot {path}, closed>"));
        }
        let info = self.with(py, |depot| Ok(for_depot!(depot, depot => depot.info())?))?;
        let records = if info.records == 1 { "record" } else { "records" };
        let mode = if self.writable { ", open for writing" } else { "" };
        let (n, bytes) = (info.records, info.file_bytes);
        Ok(format!("<vldepot.Depot {path}: {n} {records} of {codec}, {bytes} bytes{mode}>"))
    }

    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("vldepot._show")?.getattr("html")?.call1((slf,))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, depot) = (slf.py(), slf.get());
        let refuse = |why: &str| {
            let error = py.import("pickle")?.getattr("PicklingError")?;
            Err(PyErr::from_value(error.call1((why,))?))
        };
        let Some((path, options)) = &depot.file else {
            return refuse("a depot in memory cannot be pickled: save it, and open the file");
        };
        if depot.writable {
            return refuse("a depot that is open for writing cannot be pickled: a file has one writer");
        }
        let arguments = PyTuple::new(
            py,
            [
                path.as_os_str().into_pyobject(py)?.into_any(),
                depot.codec(py),
                options.bind(py).clone().into_any(),
            ],
        )?;
        Ok((py.import("vldepot._open")?.getattr("_reopen")?, arguments))
    }

    /// `Depot[Frame]` in annotations.
    #[classmethod]
    #[pyo3(signature = (value, /))]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, value: &Bound<'py, PyAny>) -> Bound<'py, PyType> {
        let _ = value;
        cls.clone()
    }

    /// A codec may refer to the depot: the garbage collector finds such circles.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.object.as_ref().map_or(Ok(()), |object| visit.call(object))
    }

    /// The lengths of some records in bytes, evenly spread over the positions, for a chart.
    fn _some_lengths(&self, py: Python<'_>, at_most: u64) -> PyResult<Vec<u64>> {
        fn lengths<C: Kind>(depot: &Depot<C>, at_most: u64) -> vldepot::Result<Vec<u64>> {
            let (len, n) = (depot.len(), depot.len().min(at_most));
            let position = |nth: u64| u64::try_from(u128::from(nth) * u128::from(len) / u128::from(n.max(1)));
            let length = |nth| Ok(depot.location(depot.key_at(position(nth).unwrap_or_default())?)?.length);
            (0..n).map(length).collect()
        }
        self.with(py, |depot| Ok(for_depot!(depot, depot => lengths(depot, at_most))?))
    }
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import(intern!(py, "threading"))?;
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    threading.call_method0(intern!(py, "get_ident"))?.eq(main)
}

/// Whether positions are given as many: a slice, an array, or another iterable of them.
fn is_many(positions: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(array) = positions.cast::<numpy::PyUntypedArray>() {
        // Without axes it is an integer.
        return Ok(numpy::PyUntypedArrayMethods::ndim(array) > 0);
    }
    let text = positions.is_instance_of::<PyString>() || positions.is_instance_of::<PyBytes>();
    Ok(positions.is_instance_of::<PySlice>()
        || !text && positions.hasattr(intern!(positions.py(), "__iter__"))?)
}

impl PyDepot {
    fn flat_of<K: AsKey + Sync>(
        &self,
        py: Python<'_>,
        keys: &[K],
        fields: Option<&Bound<'_, PyAny>>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<FlatBatch> {
        let wanted = match fields {
            Some(fields) => flat::fields(fields)?,
            None => vldepot::codecs::Fields::POSITIONS,
        };
        self.check_frames()?;
        let out = flat::Out::new(out, wanted)?;
        // Handlers run on the main thread alone. Whoever closes waits for the others.
        let is_main = is_main_thread(py)?;
        flat::batch(py, wanted, &out, |flat| {
            let read = || self.open.read().unwrap_or_else(PoisonError::into_inner);
            let mut open = Some(read());
            let depot =
                open.as_ref().and_then(|open| open.as_ref().map(Arc::clone)).ok_or(Failure::Closed)?;
            let AnyDepot::Frames(frames) = &*depot else { return Err(Failure::Closed) };
            let (mut looked, mut frames_read) = (Instant::now(), 0_usize);
            catching(|| {
                frames.get_many_flat_telling(keys, wanted, flat, || {
                    frames_read += 1;
                    let look = is_main && frames_read % FRAMES_BETWEEN_LOOKS == 0;
                    if !look || looked.elapsed() < TIME_BETWEEN_SIGNALS {
                        return;
                    }
                    // A handler of a signal may close the depot, for which it must be free.
                    open = None;
                    if let Some(error) = Python::attach(|py| py.check_signals().err()) {
                        end(Failure::Python(error));
                    }
                    let again = read();
                    if again.is_none() {
                        end(Failure::Closed);
                    }
                    open = Some(again);
                    looked = Instant::now();
                })
            })
        })
    }
}

impl PyDepot {
    fn codec_str(&self) -> &'static str {
        self.codec.as_str()
    }
}

//! Depots of any codec: which there are, and what their records are in Python.

use std::path::PathBuf;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyString, PyType};
use vldepot::archive::Archive;
use vldepot::codecs::{AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec, Json, Serde};
use vldepot::collections::{CollectionCodec, Collections, NewCollection};
use vldepot::{
    AsKey, Codec, CodecError, CodecInfo, Depot, DepotBuilder, Error, ErrorKind, Key, Raw, Record, Result,
};

use crate::array::{Held, as_array};
use crate::frame::{Frame, HeldFrame};
use crate::memory::{RecordBytes, lend};
use crate::options::Options;
use crate::value::{Form, Value};

pub(crate) type Msgpack = Serde<Value>;
pub(crate) type JsonValue = Json<Value>;

/// A depot of one of the codecs.
pub(crate) enum AnyDepot {
    Frames(Depot<AtomicFrameCodec>),
    Arrays(Depot<AnyNdArray>),
    /// Any depot of bytes can be read as an archive.
    Bytes(Archive),
    Msgpack(Depot<Msgpack>),
    Json(Depot<JsonValue>),
    Collections(Collections),
}

/// Runs `$body` with `$depot` bound to the depot inside.
macro_rules! for_depot {
    ($any:expr, $depot:ident => $body:expr) => {
        match $any {
            $crate::codec::AnyDepot::Frames($depot) => $body,
            $crate::codec::AnyDepot::Arrays($depot) => $body,
            $crate::codec::AnyDepot::Bytes(archive) => {
                let $depot = archive.depot();
                $body
            }
            $crate::codec::AnyDepot::Msgpack($depot) => $body,
            $crate::codec::AnyDepot::Json($depot) => $body,
            $crate::codec::AnyDepot::Collections(collections) => {
                let $depot = collections.depot();
                $body
            }
        }
    };
}
pub(crate) use for_depot;

/// A record that was read, and parsed where its codec parses.
pub(crate) enum Fetched {
    Frame(Record<AtomicFrameCodec>),
    Array(Record<AnyNdArray>),
    Bytes(Record<Raw>),
    Value(Value),
    Collection(Record<CollectionCodec>),
}

/// A codec whose records become values of Python.
pub(crate) trait Kind: Codec {
    /// What Python gets. Called without the GIL.
    fn fetched(record: Record<Self>) -> Fetched
    where
        Self: Sized;
}

impl Kind for AtomicFrameCodec {
    fn fetched(record: Record<Self>) -> Fetched {
        Fetched::Frame(record)
    }
}

impl Kind for AnyNdArray {
    fn fetched(record: Record<Self>) -> Fetched {
        Fetched::Array(record)
    }
}

impl Kind for Raw {
    fn fetched(record: Record<Self>) -> Fetched {
        Fetched::Bytes(record)
    }
}

impl Kind for Msgpack {
    fn fetched(record: Record<Self>) -> Fetched {
        Fetched::Value(record.view())
    }
}

impl Kind for JsonValue {
    fn fetched(record: Record<Self>) -> Fetched {
        Fetched::Value(record.view())
    }
}

impl Kind for CollectionCodec {
    fn fetched(record: Record<Self>) -> Fetched {
        Fetched::Collection(record)
    }
}

/// An array that was read: what its numpy array calls its `base`.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct ArrayRecord(Record<AnyNdArray>);

/// A codec of the library, or an object of Python with `pack`, `unpack` and `id`.
pub(crate) enum Chosen {
    Frames,
    Arrays,
    Bytes,
    Msgpack,
    Json,
    Collections,
    Object(ObjectCodec),
}

/// A codec that is an object of Python.
pub(crate) struct ObjectCodec {
    pub(crate) object: Py<PyAny>,
    id: String,
    version: u32,
    element_size: usize,
}

impl Chosen {
    /// Reads the argument `codec`.
    pub(crate) fn new(codec: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(name) = codec.cast::<PyString>() {
            let py = codec.py();
            let name = name.to_str()?;
            return Self::named(name).ok_or_else(|| {
                let why = format!(
                    "no codec is called {name:?}; there are atomic_frame, array, bytes, msgpack, json, collection"
                );
                crate::error::raise(py, Error::new(ErrorKind::InvalidOptions { why }))
            });
        }
        if codec.is_instance_of::<PyType>() {
            let name = codec.cast::<PyType>()?.name()?;
            return Err(PyTypeError::new_err(format!(
                "a codec is an object, not a class: give an instance, such as {name}()"
            )));
        }
        for name in ["pack", "unpack"] {
            if !codec.getattr_opt(name)?.is_some_and(|method| method.is_callable()) {
                return Err(PyTypeError::new_err(format!(
                    "a codec is a name, or an object with `pack`, `unpack` and `id`: this one has no method `{name}`"
                )));
            }
        }
        let id = match codec.getattr_opt("id")? {
            Some(id) => id.extract::<String>().map_err(|error| {
                PyTypeError::new_err(format!("a codec's `id` is a str: {}", error.value(codec.py())))
            })?,
            None => return Err(PyTypeError::new_err("a codec has an `id`, a str that the file keeps")),
        };
        let own =
            [Raw::ID, AtomicFrameCodec::ID, AnyNdArray::ID, Msgpack::ID, JsonValue::ID, CollectionCodec::ID];
        if own.contains(&id.as_str()) {
            let why = format!("the id {id:?} is that of a codec of the library");
            return Err(crate::error::raise(codec.py(), Error::new(ErrorKind::InvalidOptions { why })));
        }
        let number = |name, default| match codec.getattr_opt(name) {
            Ok(Some(number)) => number.extract::<u32>(),
            _ => Ok(default),
        };
        let (version, element_size) = (number("version", 1)?, number("element_size", 1)? as usize);
        Ok(Self::Object(ObjectCodec { object: codec.clone().unbind(), id, version, element_size }))
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "atomic_frame" => Self::Frames,
            "array" => Self::Arrays,
            "bytes" => Self::Bytes,
            "msgpack" => Self::Msgpack,
            "json" => Self::Json,
            // As the file and the library's messages name it.
            id => return Self::of_id(id),
        })
    }

    /// The codec of a depot that was written with `id`.
    fn of_id(id: &str) -> Option<Self> {
        Some(match id {
            AtomicFrameCodec::ID => Self::Frames,
            AnyNdArray::ID => Self::Arrays,
            Raw::ID => Self::Bytes,
            Msgpack::ID => Self::Msgpack,
            JsonValue::ID => Self::Json,
            CollectionCodec::ID => Self::Collections,
            _ => return None,
        })
    }
}

/// How a depot is made or opened.
pub(crate) enum How {
    Create(PathBuf),
    Open(PathBuf),
    Append(PathBuf),
    OpenOrCreate(PathBuf),
    Memory,
    FromBytes(Vec<u8>),
}

impl How {
    /// Whether it is an existing depot, which may say its codec.
    fn exists(&self) -> bool {
        match self {
            Self::Create(_) | Self::Memory => false,
            Self::Open(_) | Self::Append(_) | Self::FromBytes(_) => true,
            Self::OpenOrCreate(path) => std::fs::metadata(path).is_ok_and(|file| file.len() > 0),
        }
    }

    fn run<C: Codec>(&self, builder: DepotBuilder<C>, options: &Options) -> Result<Depot<C>> {
        let builder = builder
            .layout(options.layout.clone())
            .write_options(options.write.clone())
            .open_options(options.open.clone());
        match self {
            Self::Create(path) => builder.create(path),
            Self::Open(path) => builder.open(path),
            Self::Append(path) => builder.append(path),
            Self::OpenOrCreate(path) => builder.open_or_create(path),
            Self::Memory => builder.memory(),
            Self::FromBytes(bytes) => builder.from_bytes(bytes),
        }
    }
}

/// Makes or opens a depot. Without a codec, an existing depot says its own.
pub(crate) fn open(how: &How, chosen: Option<&Chosen>, options: &Options) -> Result<AnyDepot> {
    if !how.exists() {
        let chosen = chosen.unwrap_or(&Chosen::Frames);
        options.check(matches!(chosen, Chosen::Frames))?;
        return create(how, chosen, options);
    }
    let depot = how.run(Depot::builder(Raw), options)?;
    let info = depot.stored_codec();
    let found;
    let chosen = if let Some(chosen) = chosen {
        chosen
    } else {
        found =
            Chosen::of_id(&info.id).ok_or_else(|| wrong_codec(&depot, &info, "a codec of the library"))?;
        &found
    };
    if depot.info()?.format == "vlstore" && !matches!(chosen, Chosen::Bytes | Chosen::Object(_)) {
        // The file does not say its codec: it takes the one it is opened with.
        drop(depot);
        return create(how, chosen, options);
    }
    let parameters = |source| {
        Error::new(ErrorKind::CodecParameters { codec: info.id.clone() }).at(depot.path()).because(source)
    };
    Ok(match chosen {
        Chosen::Frames => {
            let ours = info.id == AtomicFrameCodec::ID;
            let codec = options.frames.codec(ours.then_some(&info.parameters[..])).map_err(parameters)?;
            AnyDepot::Frames(depot.with_codec(codec)?)
        }
        Chosen::Arrays => AnyDepot::Arrays(depot.with_codec(AnyNdArray)?),
        Chosen::Bytes => AnyDepot::Bytes(Archive::new(depot)),
        Chosen::Msgpack => AnyDepot::Msgpack(depot.with_codec(Msgpack::new())?),
        Chosen::Json => AnyDepot::Json(depot.with_codec(JsonValue::new())?),
        Chosen::Collections => AnyDepot::Collections(Collections::new(depot.with_codec(CollectionCodec)?)),
        Chosen::Object(ObjectCodec { id, version, .. }) => {
            let foreign = depot.info()?.format == "vlstore";
            if info.id != *id && !foreign {
                return Err(wrong_codec(&depot, &info, id));
            }
            if info.version > *version && !foreign {
                return Err(parameters(CodecError::Parameter {
                    parameter: "version".into(),
                    stored: info.version.to_string(),
                    given: version.to_string(),
                }));
            }
            AnyDepot::Bytes(Archive::new(depot))
        }
    })
}

fn wrong_codec(depot: &Depot<Raw>, info: &CodecInfo, given: &str) -> Error {
    Error::new(ErrorKind::WrongCodec { stored: info.id.clone(), given: given.into() }).at(depot.path())
}

fn create(how: &How, chosen: &Chosen, options: &Options) -> Result<AnyDepot> {
    let refuse =
        |source| Error::new(ErrorKind::CodecParameters { codec: "atomic_frame".into() }).because(source);
    Ok(match chosen {
        Chosen::Frames => {
            let codec = options.frames.codec(None).map_err(refuse)?;
            AnyDepot::Frames(how.run(Depot::builder(codec), options)?)
        }
        Chosen::Arrays => AnyDepot::Arrays(how.run(Depot::builder(AnyNdArray), options)?),
        Chosen::Bytes => AnyDepot::Bytes(Archive::new(how.run(Depot::builder(Raw), options)?)),
        Chosen::Msgpack => AnyDepot::Msgpack(how.run(Depot::builder(Msgpack::new()), options)?),
        Chosen::Json => AnyDepot::Json(how.run(Depot::builder(JsonValue::new()), options)?),
        Chosen::Collections => {
            AnyDepot::Collections(Collections::new(how.run(Depot::builder(CollectionCodec), options)?))
        }
        Chosen::Object(ObjectCodec { id, version, element_size, .. }) => {
            let info = CodecInfo::new(id.clone(), *version, Vec::new());
            let builder = Depot::builder(Raw).note_codec(info, *element_size);
            AnyDepot::Bytes(Archive::new(how.run(builder, options)?))
        }
    })
}

impl Fetched {
    /// The value of Python. `object` is the codec, if it is one of Python's.
    pub(crate) fn into_python<'py>(
        self,
        py: Python<'py>,
        object: Option<&Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Frame(record) => Bound::new(py, Frame::of_record(record))?.into_any(),
            Self::Array(record) => {
                let owner = Bound::new(py, ArrayRecord(record))?;
                match lend(&owner, |owner| Some(owner.0.view().into()))? {
                    Some(array) => array,
                    None => py.None().into_bound(py),
                }
            }
            Self::Bytes(record) => match object {
                Some(codec) => {
                    let bytes = RecordBytes::view(py, record)?;
                    codec.bind(py).call_method1(intern!(py, "unpack"), (bytes,)).map_err(|error| {
                        // It would end the loop in which the value is read, as if there were no more.
                        if error.is_instance_of::<PyStopIteration>(py) {
                            let why = PyRuntimeError::new_err("the codec's `unpack` raised StopIteration");
                            why.set_cause(py, Some(error));
                            return why;
                        }
                        error
                    })?
                }
                None => PyBytes::new(py, record.as_bytes()).into_any(),
            },
            Self::Value(value) => value.to_python(py)?,
            Self::Collection(record) => {
                PyList::new(py, record.view().iter().map(|object| PyBytes::new(py, object)))?.into_any()
            }
        })
    }
}

/// A value of Python that can be put.
pub(crate) enum Prepared<'f, 'py> {
    Frame(Box<HeldFrame<'f, 'py>>),
    Array(Held<'py>),
    Bytes(Bound<'py, PyBytes>),
    Value(Value),
    Collection(NewCollection),
}

/// The same value, as the library takes it.
pub(crate) enum Item<'a> {
    Frame(Box<AtomicFrame<'a>>),
    Array(AnyArray<'a>),
    Bytes(&'a [u8]),
    Value(&'a Value),
    Collection(&'a NewCollection),
}

/// How a record is put.
pub(crate) enum Put {
    /// Replaces the one of that name.
    Replace,
    /// Refuses to replace one.
    New,
    /// Replaces the one of that name, with metadata.
    WithMetadata(Value),
    /// Refuses to replace one, with metadata.
    NewWithMetadata(Value),
}

/// The bytes of a `bytes`, or of what exports a buffer. `who` needs them, as an error says.
pub(crate) fn bytes_of<'py>(who: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let view = PyMemoryView::from(object).map_err(|_| {
        let found = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{who} bytes, or what exports a buffer, not {found}"))
    })?;
    Ok(view.call_method0("tobytes")?.cast_into()?)
}

/// The objects of a collection: any iterable of bytes, or of what exports a buffer.
pub(crate) fn collection_of(value: &Bound<'_, PyAny>) -> PyResult<NewCollection> {
    if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("a collection is a list of bytes: put one object as [object]"));
    }
    let mut new = NewCollection::new();
    for object in value.try_iter()? {
        new.push(bytes_of("a collection takes", &object?)?.as_bytes());
    }
    Ok(new)
}

/// The frame of a value that is put into a depot of frames.
pub(crate) fn frame_of<'py>(
    depot: CodecName,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, Frame>>> {
    match depot {
        CodecName::Frames => Frame::from_object(value).map(Some),
        _ => Ok(None),
    }
}

/// The codec of an open depot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodecName {
    Frames,
    Arrays,
    Bytes,
    Msgpack,
    Json,
    Collections,
}

impl CodecName {
    /// As users name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Frames => "atomic_frame",
            Self::Arrays => "array",
            Self::Bytes => "bytes",
            Self::Msgpack => "msgpack",
            Self::Json => "json",
            Self::Collections => "collection",
        }
    }
}

impl AnyDepot {
    /// Lets an archive count its folders anew, after changes that were not made through it.
    pub(crate) fn recount(&self) {
        if let Self::Bytes(archive) = self {
            archive.recount();
        }
    }

    /// Notes that a record was put, removed or renamed by its name, which may be that of a folder.
    pub(crate) fn named(&self, key: &Key) {
        let name = key.as_str().map(str::as_bytes).or_else(|| key.as_bytes());
        if name.is_some_and(|name| name.ends_with(b"/")) {
            self.recount();
        }
    }

    pub(crate) fn codec_name(&self) -> CodecName {
        match self {
            Self::Frames(_) => CodecName::Frames,
            Self::Arrays(_) => CodecName::Arrays,
            Self::Bytes(_) => CodecName::Bytes,
            Self::Msgpack(_) => CodecName::Msgpack,
            Self::Json(_) => CodecName::Json,
            Self::Collections(_) => CodecName::Collections,
        }
    }

    /// Puts a record. `item` is of this depot's codec.
    pub(crate) fn put(&self, key: impl AsKey, item: &Item<'_>, put: &Put) -> Result<()> {
        fn put_one<C: Codec>(depot: &Depot<C>, key: impl AsKey, item: &C::Item, put: &Put) -> Result<()> {
            match put {
                Put::Replace => depot.put(key, item),
                Put::New => depot.put_new(key, item),
                Put::WithMetadata(metadata) => depot.put_with_metadata(key, item, metadata),
                Put::NewWithMetadata(metadata) => depot.put_new_with_metadata(key, item, metadata),
            }
        }
        macro_rules! put_array {
            ($depot:ident, $array:ident: $($dtype:ident),*) => {
                match $array {
                    // The codec takes arrays that borrow nothing, so this one is copied.
                    $(AnyArray::$dtype(array) => put_one($depot, key, &array.to_owned(), put),)*
                    _ => Err(Error::new(ErrorKind::InvalidRecord { why: "an array of an unknown dtype".into() })),
                }
            };
        }
        match (self, item) {
            (Self::Frames(depot), Item::Frame(frame)) => put_one(depot, key, &**frame, put),
            (Self::Arrays(depot), Item::Array(array)) => {
                put_array!(depot, array: F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool)
            }
            (Self::Bytes(archive), Item::Bytes(bytes)) => put_one(archive.depot(), key, bytes, put),
            (Self::Msgpack(depot), Item::Value(value)) => put_one(depot, key, value, put),
            (Self::Json(depot), Item::Value(value)) => put_one(depot, key, value, put),
            (Self::Collections(collections), Item::Collection(new)) => {
                put_one(collections.depot(), key, new, put)
            }
            _ => Err(Error::new(ErrorKind::InvalidRecord { why: "a value of another codec".into() })),
        }
    }
}

impl<'f, 'py> Prepared<'f, 'py> {
    /// Reads a value. `frame` is what [`frame_of`] gave for it.
    pub(crate) fn new(
        codec: CodecName,
        object: Option<&Py<PyAny>>,
        value: &Bound<'py, PyAny>,
        frame: Option<&'f Bound<'py, Frame>>,
    ) -> PyResult<Self> {
        let py = value.py();
        Ok(match (codec, frame) {
            (_, Some(frame)) => Self::Frame(Box::new(HeldFrame::new(frame)?)),
            (CodecName::Frames | CodecName::Arrays, None) => {
                Self::Array(Held::new("array", &as_array(value)?)?)
            }
            (CodecName::Bytes, None) => match object {
                Some(codec) => {
                    let packed = codec.bind(py).call_method1(intern!(py, "pack"), (value,))?;
                    Self::Bytes(bytes_of("the codec's `pack` must give", &packed)?)
                }
                None => Self::Bytes(bytes_of("a depot of bytes takes", value)?),
            },
            (CodecName::Msgpack, None) => Self::Value(Value::new(value, Form::MessagePack)?),
            (CodecName::Json, None) => Self::Value(Value::new(value, Form::Json)?),
            (CodecName::Collections, None) => Self::Collection(collection_of(value)?),
        })
    }

    /// The value, borrowed.
    pub(crate) fn item(&self) -> PyResult<Item<'_>> {
        Ok(match self {
            Self::Frame(frame) => Item::Frame(Box::new(frame.item()?)),
            Self::Array(array) => Item::Array(array.any()?),
            Self::Bytes(bytes) => Item::Bytes(bytes.as_bytes()),
            Self::Value(value) => Item::Value(value),
            Self::Collection(new) => Item::Collection(new),
        })
    }
}

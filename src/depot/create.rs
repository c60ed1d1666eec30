//! Making and opening depots, and copying them whole.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{CodecInfo, Depot};
use crate::codec::{Codec, CodecError, Raw};
use crate::engine::{CodecCheck, CodecSpec, Engine};
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "shards")]
use crate::manifest;
use crate::options::{Layout, OpenOptions, WriteOptions};
use crate::storage::{FileStorage, MemoryStorage, StagedFile, Storage};

/// Makes and opens depots with options. See [`Depot::builder`].
///
/// The depots can lie in files, in memory, and in storages of your own.
///
/// ```
/// use vldepot::{CommitEvery, Depot, Layout, Raw, WriteOptions};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.vld");
///
/// let depot = Depot::builder(Raw)
///     .layout(Layout::fast())
///     .write_options(WriteOptions::default().with_commit_every(CommitEvery::records(100)))
///     .create(&path)?;
/// depot.put("a", b"1")?;
/// depot.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it creates or opens a depot"]
pub struct DepotBuilder<C> {
    codec: C,
    layout: Layout,
    write: WriteOptions,
    open: OpenOptions,
    noted: Option<CodecSpec>,
}

impl DepotBuilder<Raw> {
    /// Notes another codec in a new depot than [`Raw`], which only passes the bytes on.
    ///
    /// This is for programs whose codecs are known at run time, such as bindings for other languages.
    /// `element_size` is what [`Codec::element_size`] would give. An existing depot keeps its own codec.
    ///
    /// ```
    /// use vldepot::{CodecInfo, Depot, Raw};
    /// let codec = CodecInfo::new("example.kelvin", 1, Vec::new());
    /// let depot = Depot::builder(Raw).note_codec(codec, 8).memory()?;
    /// depot.put("boiling", &373.15_f64.to_le_bytes())?;
    /// assert_eq!(depot.stored_codec().id, "example.kelvin");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn note_codec(mut self, codec: CodecInfo, element_size: usize) -> Self {
        let CodecInfo { id, version, parameters } = codec;
        let spec = spec(&self.codec);
        self.noted = Some(CodecSpec { id: id.into(), version, parameters, element_size, ..spec });
        self
    }

    /// Makes a new depot like `other`: with its codec, its layout and its columns.
    ///
    /// It takes copies of records of `other`, whatever their codec: see [`Depot::copy_from`]. A layout that
    /// is given afterwards takes the place of that of `other`, but must name the same columns. Metadata are
    /// not
    /// copied: see [`Depot::copy_depot_metadata_from`].
    ///
    /// ```
    /// use vldepot::codecs::Json;
    /// use vldepot::{Depot, Layout, Raw};
    /// let layout = Layout::fast().with_chunk_size(1 << 16);
    /// let other = Depot::builder(Json::<u32>::new()).layout(layout).memory()?;
    /// other.put("a", &7)?;
    ///
    /// let depot = Depot::builder(Raw).like(&other).memory()?;
    /// depot.copy_all_from(&other)?;
    /// assert_eq!(depot.stored_codec().id, "serde.json");
    /// assert_eq!(depot.info()?.layout, other.info()?.layout);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn like<D: Codec>(mut self, other: &Depot<D>) -> Self {
        let stored = other.engine.parameters();
        self.layout = stored.layout();
        self.noted = Some(CodecSpec {
            id: stored.codec_id.clone().into(),
            version: stored.codec_version,
            parameters: stored.codec_parameters.clone(),
            align: stored.align,
            element_size: self.layout.compression.typesize.unwrap_or_default().into(),
            scalars: stored.columns.clone(),
            describes: stored.statistics,
        });
        self
    }
}

impl<C: Codec> DepotBuilder<C> {
    /// Sets how a new depot is laid out. An existing depot keeps its own layout.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets how the depot is written: when it commits by itself, and how many threads compress.
    pub fn write_options(mut self, options: WriteOptions) -> Self {
        self.write = options;
        self
    }

    /// Sets how the depot is read: mapping, checksums, a cache, and whether to go on after a loss.
    pub fn open_options(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self
    }

    /// Makes a new depot in a new file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`], and the errors of [`Depot::create`]. No file is left then.
    pub fn create(self, path: impl AsRef<Path>) -> Result<Depot<C>> {
        let path = path.as_ref();
        self.check()?;
        let storage = FileStorage::create(path).map_err(|source| not_created(path, source))?;
        self.create_over(storage)
    }

    /// Makes a new depot in an empty storage of your own.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vldepot::storage::MemoryStorage;
    /// use vldepot::{Depot, Raw};
    /// let storage = Arc::new(MemoryStorage::new());
    /// let depot = Depot::builder(Raw).create_in(storage.clone())?;
    /// depot.put("a", b"1")?;
    /// depot.close()?;
    /// assert_eq!(Depot::builder(Raw).open_in(storage)?.len(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::PathExists`] when the storage is not empty.
    /// - [`ErrorKind::Locked`], [`ErrorKind::InvalidOptions`].
    pub fn create_in(self, storage: Arc<dyn Storage>) -> Result<Depot<C>> {
        let Self { codec, layout, write, open, noted } = self;
        let spec = noted.unwrap_or_else(|| spec(&codec));
        let engine = Engine::create(storage, layout, &write, &open, spec)?;
        Ok(Depot::new(engine, Arc::new(codec)))
    }

    /// Makes a new depot in memory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`].
    pub fn memory(self) -> Result<Depot<C>> {
        self.create_in(Arc::new(MemoryStorage::new()))
    }

    /// Opens a depot for reading.
    ///
    /// # Errors
    /// Same as [`Depot::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Depot<C>> {
        let path = path.as_ref();
        #[cfg(feature = "shards")]
        if manifest::is_set(path) {
            let Self { codec, open, .. } = self;
            return checked(codec, |check| Engine::open_set(path, &open, check));
        }
        let storage = FileStorage::open(path).map_err(|source| Error::io(path, "open the file", source))?;
        self.open_in(Arc::new(storage))
    }

    /// Opens a depot in a storage of your own for reading.
    ///
    /// # Errors
    /// Same as [`Depot::open`].
    pub fn open_in(self, storage: Arc<dyn Storage>) -> Result<Depot<C>> {
        let Self { codec, open, .. } = self;
        checked(codec, |check| Engine::open(storage, &open, check))
    }

    /// Opens a depot for writing.
    ///
    /// # Errors
    /// The errors of [`Depot::append`], and [`ErrorKind::InvalidOptions`].
    pub fn append(self, path: impl AsRef<Path>) -> Result<Depot<C>> {
        let path = path.as_ref();
        #[cfg(feature = "shards")]
        if manifest::is_set(path) {
            let why = "a folder of shards is not opened for writing: `shards::Writer` adds records to it, and \
                       `shards::remove` removes them";
            return Err(ErrorKind::InvalidOptions { why: why.to_owned() }.at(path));
        }
        let storage = FileStorage::open_writable(path)
            .map_err(|source| Error::io(path, "open the file for writing", source))?;
        self.append_in(Arc::new(storage))
    }

    /// Opens a depot in a storage of your own for writing.
    ///
    /// # Errors
    /// The errors of [`Depot::append`], and [`ErrorKind::InvalidOptions`].
    pub fn append_in(self, storage: Arc<dyn Storage>) -> Result<Depot<C>> {
        let Self { codec, write, open, .. } = self;
        checked(codec, |check| Engine::append(storage, &open, &write, check))
    }

    /// Opens a depot for writing, and makes it first if there is none.
    ///
    /// # Errors
    /// The errors of [`Depot::open_or_create`], and [`ErrorKind::InvalidOptions`].
    pub fn open_or_create(self, path: impl AsRef<Path>) -> Result<Depot<C>> {
        let path = path.as_ref();
        self.check()?;
        match FileStorage::create(path) {
            Ok(storage) => self.create_over(storage),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.append(path),
            Err(source) => Err(not_created(path, source)),
        }
    }

    /// Makes a writable depot in memory, with the content of a depot's file.
    ///
    /// # Errors
    /// Same as [`Depot::append`].
    pub fn from_bytes(self, bytes: &[u8]) -> Result<Depot<C>> {
        self.append_in(Arc::new(MemoryStorage::from_bytes(bytes)))
    }

    fn check(&self) -> Result<()> {
        self.layout.validate()?;
        self.write.validate()
    }

    fn create_over(self, storage: FileStorage) -> Result<Depot<C>> {
        let storage = Arc::new(storage);
        // A file without a whole header would make the next try fail.
        self.create_in(Arc::clone(&storage) as Arc<dyn Storage>).inspect_err(|_| storage.remove())
    }
}

fn not_created(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::WouldBlock => ErrorKind::Locked.at(path),
        io::ErrorKind::AlreadyExists => ErrorKind::PathExists.at(path),
        _ => Error::io(path, "create the file", source),
    }
}

fn spec<C: Codec>(codec: &C) -> CodecSpec {
    CodecSpec {
        id: C::ID.into(),
        version: C::VERSION,
        parameters: codec.parameters(),
        align: C::ALIGN,
        element_size: codec.element_size(),
        scalars: codec.scalars().to_vec(),
        describes: codec.describes(),
    }
}

/// Opens a depot with `codec`, which learns the parameters that the depot was written with.
fn checked<C: Codec>(codec: C, open: impl FnOnce(CodecCheck<'_>) -> Result<Engine>) -> Result<Depot<C>> {
    let (engine, codec) = learned(codec, open)?;
    Ok(Depot::new(engine, codec))
}

/// Gives `check` the way to check a codec, and returns the codec with what it learnt.
pub(crate) fn learned<C: Codec, T>(
    codec: C,
    check: impl FnOnce(CodecCheck<'_>) -> Result<T>,
) -> Result<(T, Arc<C>)> {
    let spec = spec(&codec);
    let mut codec = Some(codec);
    let mut learn = |stored: &[u8]| -> Result<(), CodecError> {
        if let Some(unopened) = codec.take() {
            codec = Some(unopened.open(stored)?);
        }
        Ok(())
    };
    let done = check(CodecCheck { any: C::ID == Raw::ID, spec: &spec, learn: &mut learn })?;
    let Some(codec) = codec else { unreachable!("a codec that refuses the parameters is an error") };
    Ok((done, Arc::new(codec)))
}

/// Codecs that are known at run time.
impl Depot<Raw> {
    /// Goes on with another codec: that of the depot, once [`stored_codec`](Self::stored_codec) told it.
    ///
    /// The file is not opened again, and a writer keeps its lock.
    ///
    /// ```
    /// use vldepot::codecs::Json;
    /// use vldepot::{Depot, Raw};
    /// let written = Depot::memory(Json::<Vec<u32>>::new())?;
    /// written.put("a", &vec![1, 2])?;
    ///
    /// let depot = Depot::from_bytes(&written.to_bytes()?, Raw)?;
    /// assert_eq!(depot.stored_codec().id, "serde.json");
    /// let depot = depot.with_codec(Json::<Vec<u32>>::new())?;
    /// assert_eq!(depot.get("a")?.view(), [1, 2]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WrongCodec`], [`ErrorKind::CodecParameters`]. The depot is closed then.
    pub fn with_codec<C: Codec>(self, codec: C) -> Result<Depot<C>> {
        let ((), codec) = learned(codec, |check| self.engine.check_codec(check))?;
        Ok(Depot::new(self.engine, codec))
    }
}

/// Creating and opening.
impl<C: Codec> Depot<C> {
    /// Makes a new depot in a new file, with the default options.
    ///
    /// [`builder`](Self::builder) takes other options.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.vld");
    /// let depot = Depot::create(&path, Raw)?;
    /// depot.put("frame_0", b"..")?;
    /// depot.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::PathExists`] when there is something at the path. An empty file that nobody writes
    ///   does not count: a creation that was killed leaves one.
    /// - [`ErrorKind::Locked`] when another creation of the same path was faster.
    /// - [`ErrorKind::Io`]. No file is left then.
    pub fn create(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::builder(codec).create(path)
    }

    /// Opens a depot, or a file of the Python package vlstore, for reading.
    ///
    /// The cost of opening a depot does not depend on its size. From a vlstore file, the whole table of
    /// names is read.
    ///
    /// A depot can be opened after its writer died. It has everything up to the last commit, and the
    /// whole chunks after that. A depot that lost what was once committed cannot be opened, unless
    /// [`OpenOptions::accept_loss`] allows it.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.vld");
    /// # let depot = Depot::create(&path, Raw)?;
    /// # depot.put("frame_0", b"..")?;
    /// # depot.close()?;
    /// let depot = Depot::open(&path, Raw)?;
    /// assert_eq!(depot.get("frame_0")?.view(), b"..");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`], [`ErrorKind::NotADepot`], [`ErrorKind::WrongCodec`],
    /// [`ErrorKind::CodecParameters`], [`ErrorKind::NewerFormat`], [`ErrorKind::Damaged`],
    /// [`ErrorKind::Io`].
    pub fn open(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::builder(codec).open(path)
    }

    /// Opens an existing depot for writing. Its layout stays as it was created.
    ///
    /// After a crash it goes on from the last whole chunk. A torn end is cut off.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.vld");
    /// # Depot::create(&path, Raw)?.close()?;
    /// let depot = Depot::append(&path, Raw)?;
    /// depot.put("frame_1", b"..")?;
    /// depot.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), and [`ErrorKind::Locked`] when another writer has the file.
    pub fn append(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::builder(codec).append(path)
    }

    /// Opens a depot for writing, and makes it first if there is none.
    ///
    /// Otherwise this is like [`append`](Self::append). An empty file that nobody writes counts as none.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("run.vld");
    /// for run in 0..3 {
    ///     let depot = Depot::open_or_create(&path, Raw)?;
    ///     depot.put(run, b"..")?;
    ///     depot.close()?;
    /// }
    /// assert_eq!(Depot::open(&path, Raw)?.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`append`](Self::append), and [`ErrorKind::Io`] when the file can neither be opened
    /// nor made.
    pub fn open_or_create(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::builder(codec).open_or_create(path)
    }

    /// Makes a new depot in memory.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"1")?;
    /// assert_eq!(depot.len(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] when a depot cannot have the codec's `ID` or `ALIGN`.
    pub fn memory(codec: C) -> Result<Self> {
        Self::builder(codec).memory()
    }

    /// Makes and opens depots with options, and in storages of your own.
    ///
    /// ```
    /// use vldepot::{Depot, Layout, Raw};
    /// let depot = Depot::builder(Raw).layout(Layout::uncompressed()).memory()?;
    /// # depot.put("a", b"1")?;
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn builder(codec: C) -> DepotBuilder<C> {
        DepotBuilder {
            codec,
            layout: Layout::default(),
            write: WriteOptions::default(),
            open: OpenOptions::default(),
            noted: None,
        }
    }

    /// Makes a writable depot in memory, with the content of a file or of [`to_bytes`](Self::to_bytes).
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"1")?;
    /// let copy = Depot::from_bytes(&depot.to_bytes()?, Raw)?;
    /// assert_eq!(copy.get("a")?.view(), b"1");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8], codec: C) -> Result<Self> {
        Self::builder(codec).from_bytes(bytes)
    }

    /// Returns the bytes of the depot's file. A writable depot is committed and published first.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// let bytes = depot.to_bytes()?;
    /// assert!(Depot::from_bytes(&bytes, Raw)?.is_empty());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`commit`](Self::commit).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.engine.copy_to(|_, part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Writes the depot to a new file, durably.
    ///
    /// The file has the bytes that [`to_bytes`](Self::to_bytes) gives. It appears when all of it is
    /// written: see [`StagedFile`]. If the depot has a file of its own, only those who may read that
    /// file may read the new one.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("kept.vld");
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"1")?;
    /// depot.save(&path)?;
    /// assert_eq!(Depot::open(&path, Raw)?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`], [`ErrorKind::NoRoom`], and the errors of [`commit`](Self::commit).
    /// There is no new file then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |source| Error::io(path, "write the file", source);
        let staged = StagedFile::create_no_more_open(path, self.engine.path())?;
        staged.check_room(self.engine.file_len()?)?;
        let file = staged.storage();
        self.engine.copy_to(|at, part| file.write_at(at, part).map_err(failed))?;
        staged.publish()
    }
}

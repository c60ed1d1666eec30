//! Objects by name, in a file that many processes write.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::entry::{Entry, ObjectStat, Time};
use super::locks::{LockFile, NameLock, Wait};
use super::value::Value;
use crate::codec::Codec;
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::sync::{read, write};
use crate::{Depot, Layout, Raw, Record};

/// How long a change waits for a writer that takes no turns, such as one of the command `vldepot`.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the shortest depot.
const HEADER: u64 = 4096;

/// How long it waits between two tries: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Objects in a file, or in a folder of it. See the [module](super).
///
/// Every call sees what other processes have committed. Every change is durable when the call returns, and a
/// process that is killed in one leaves the old object or the new one.
///
/// Names are any text without `/` and NUL, but for the empty one, `.` and `..`.
#[derive(Debug, Clone)]
pub struct Objects {
    pub(super) file: Arc<ObjectFile>,
    /// What the names of this folder start with: nothing, or something that ends with `/`.
    pub(super) prefix: String,
    pub(super) patience: Duration,
}

/// The file, shared by its folders.
#[derive(Debug)]
pub(super) struct ObjectFile {
    path: PathBuf,
    /// Moved forward under the lock for writing, so whoever has the one for reading sees one state.
    reader: RwLock<Depot<Raw>>,
    locks: LockFile,
}

/// An object that was read.
#[derive(Debug)]
pub struct Object {
    record: Record<Raw>,
    serializer: Option<String>,
}

impl Object {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.record.as_bytes()
    }

    /// What made the bytes. `None` if the record was not stored as an object.
    pub fn serializer(&self) -> Option<&str> {
        self.serializer.as_deref()
    }
}

impl ObjectFile {
    /// Shows `job` what is committed by now: one state, however long it takes. `job` must not call this
    /// again.
    pub(super) fn look<T>(&self, job: impl FnOnce(&Depot<Raw>) -> Result<T>) -> Result<T> {
        let mut depot = write(&self.reader);
        match depot.refresh() {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Replaced) => {
                *depot = Depot::open(&self.path, Raw)?;
            }
            Err(error) => return Err(error),
        }
        drop(depot);
        job(&read(&self.reader))
    }

    /// Opens the depot for writing, as soon as no other writer has it.
    fn writer(&self, patience: Duration) -> Result<Depot<Raw>> {
        let (begun, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            match Depot::append(&self.path, Raw) {
                Err(error) if matches!(error.kind(), ErrorKind::Locked) && begun.elapsed() < patience => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
                opened => return opened,
            }
        }
    }

    /// Runs `change` on the depot, and commits what it did.
    fn change<T>(&self, patience: Duration, change: impl FnOnce(&Depot<Raw>) -> Result<T>) -> Result<T> {
        let _turn = self.locks.turn()?;
        let depot = self.writer(patience)?;
        let done = change(&depot)?;
        depot.close()?;
        Ok(done)
    }
}

impl Objects {
    fn new(path: &Path, reader: Depot<Raw>) -> Self {
        // The working folder may change.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (locks, reader) = (LockFile::beside(&path), RwLock::new(reader));
        let file = ObjectFile { path, reader, locks };
        Self { file: Arc::new(file), prefix: String::new(), patience: PATIENCE }
    }

    /// Opens a file that is there.
    ///
    /// # Errors
    /// The errors of [`Depot::open`], [`ErrorKind::WrongCodec`] for a depot of another codec.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let reader = Depot::open(path, Raw)?;
        let stored = reader.stored_codec().id;
        if stored != Raw::ID {
            return Err(ErrorKind::WrongCodec { stored, given: Raw::ID.into() }.at(path));
        }
        Ok(Self::new(path, reader))
    }

    /// Opens a file, and makes it first if there is none. Several processes may do so at once.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open) and of [`Depot::create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_or_create_with(path, Layout::default())
    }

    /// Like [`open_or_create`](Self::open_or_create). A new file has this layout.
    ///
    /// # Errors
    /// Those of [`open_or_create`](Self::open_or_create).
    pub fn open_or_create_with(path: impl AsRef<Path>, layout: Layout) -> Result<Self> {
        let path = path.as_ref();
        let len = || {
            std::fs::metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { u64::MAX })
        };
        // A file that is being made has no whole header yet. Whoever finds it waits for its turn.
        if len() < HEADER {
            let _turn = LockFile::beside(path).turn()?;
            if len() == 0 {
                Depot::builder(Raw).layout(layout).create(path)?.close()?;
            }
        }
        Self::open(path)
    }

    /// Sets how long a change waits for a writer that takes no turns, such as the command `vldepot`, before
    /// it fails with [`ErrorKind::Locked`]. A minute by default. Changes by `Objects` are waited for without
    /// end.
    ///
    /// Folders that were taken from it before keep theirs.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Where the names of this folder are: empty, or a path that ends with `/`.
    pub fn folder_path(&self) -> &str {
        &self.prefix
    }

    /// Runs `change` on the depot, and commits what it did.
    pub(super) fn change<T>(&self, change: impl FnOnce(&Depot<Raw>) -> Result<T>) -> Result<T> {
        self.file.change(self.patience, change)
    }

    /// The whole name of an object of this folder.
    pub(super) fn whole(&self, name: &str) -> Result<String> {
        check(name)
            .map_err(|why| ErrorKind::InvalidPath { why }.at(&self.file.path).of(format!("{name:?}")))?;
        Ok(format!("{}{name}", self.prefix))
    }

    /// Whether there is an object of that name. Metadata alone do not count.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`], and those of [`Depot::refresh`].
    pub fn contains(&self, name: &str) -> Result<bool> {
        let whole = self.whole(name)?;
        self.file.look(|depot| depot.contains(&whole))
    }

    /// Stores an object, and replaces the one of that name. Its metadata stay.
    ///
    /// `serializer` names what made the bytes, such as `"npy"`.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidPath`].
    /// - [`ErrorKind::Locked`] when another program writes for too long.
    /// - The errors of [`Depot::append`], [`Depot::put`] and [`Depot::close`].
    pub fn put(&self, name: &str, bytes: &[u8], serializer: &str) -> Result<()> {
        let whole = self.whole(name)?;
        self.change(|depot| {
            let entry = entry_of::<Value>(depot, &whole)?.unwrap_or_default();
            store(depot, &whole, bytes, &entry.with_object(serializer, Time::now()))
        })
    }

    /// Stores an object with metadata, in one step, and replaces those of that name.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn put_with_metadata(
        &self,
        name: &str,
        bytes: &[u8],
        serializer: &str,
        metadata: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        let whole = self.whole(name)?;
        self.change(|depot| {
            let now = Time::now();
            let entry = entry_of::<IgnoredAny>(depot, &whole)?.unwrap_or_default();
            let entry = entry.with_metadata(Some(metadata), now).with_object(serializer, now);
            store(depot, &whole, bytes, &entry)
        })
    }

    /// Stores a value by its codec, whose id is the serializer.
    ///
    /// ```
    /// use vldepot::codecs::NdArray;
    /// use vldepot::objects::Objects;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("results.vld");
    /// let objects = Objects::open_or_create(&path)?;
    /// objects.put_item("weights", &NdArray::<f64>::new(), &ndarray::array![1.0, 2.0].into_dyn())?;
    /// let sum = objects.get_item("weights", &NdArray::<f64>::new(), |array| array.sum())?;
    /// assert_eq!(sum, 3.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`put`](Self::put), and [`ErrorKind::Codec`].
    pub fn put_item<C: Codec>(&self, name: &str, codec: &C, item: &C::Item) -> Result<()> {
        let mut bytes = Vec::new();
        codec.encode(item, &mut bytes).map_err(|source| {
            ErrorKind::Codec { codec: C::ID }.at(&self.file.path).of(format!("{name:?}")).because(source)
        })?;
        self.put(name, &bytes, C::ID)
    }

    /// Shows an object to `job` as its codec views it.
    ///
    /// # Errors
    /// Those of [`get`](Self::get), [`ErrorKind::Codec`], and [`ErrorKind::WrongCodec`] if another serializer
    /// made it.
    pub fn get_item<C: Codec, T>(
        &self,
        name: &str,
        codec: &C,
        job: impl FnOnce(C::View<'_>) -> T,
    ) -> Result<T> {
        let object = self.get(name)?;
        let stored = object.serializer().unwrap_or("none");
        if stored != C::ID {
            let kind = ErrorKind::WrongCodec { stored: stored.to_owned(), given: C::ID.to_owned() };
            return Err(kind.at(&self.file.path).of(format!("{name:?}")));
        }
        // Records of bytes are not aligned as those of all codecs are.
        let aligned = crate::Bytes::copy_of(object.bytes());
        codec.view(&aligned).map(job).map_err(|source| {
            ErrorKind::Codec { codec: C::ID }.at(&self.file.path).of(format!("{name:?}")).because(source)
        })
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::get`].
    pub fn get(&self, name: &str) -> Result<Object> {
        let whole = self.whole(name)?;
        self.file.look(|depot| {
            let record = depot.get(&whole)?;
            let entry: Option<Entry<IgnoredAny>> = depot.metadata(&whole)?;
            Ok(Object { record, serializer: entry.and_then(|entry| entry.serializer) })
        })
    }

    /// The metadata of that name, with or without an object. `None` if there are none. The object is not
    /// read.
    ///
    /// # Errors
    /// [`ErrorKind::Metadata`] when they are not a `T`, and those of [`Depot::metadata`].
    pub fn metadata<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let whole = self.whole(name)?;
        self.file.look(|depot| Ok(entry_of(depot, &whole)?.and_then(|entry| entry.meta)))
    }

    /// Stores metadata, with or without an object of that name. The object is not written again.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn set_metadata(&self, name: &str, metadata: &(impl Serialize + ?Sized)) -> Result<()> {
        let whole = self.whole(name)?;
        self.change(|depot| {
            let entry = entry_of::<IgnoredAny>(depot, &whole)?.unwrap_or_default();
            let entry = entry.with_metadata(Some(metadata), Time::now());
            if depot.contains(&whole)? {
                return depot.set_metadata(&whole, &entry);
            }
            depot.put_with_metadata(whole.as_bytes(), b"", &entry)
        })
    }

    /// Removes the metadata of that name, and returns false if there were none. The object stays.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn remove_metadata(&self, name: &str) -> Result<bool> {
        let whole = self.whole(name)?;
        self.change(|depot| {
            let bare = depot.remove(whole.as_bytes())?;
            if !depot.contains(&whole)? {
                return Ok(bare);
            }
            let entry: Entry<IgnoredAny> = depot.metadata(&whole)?.unwrap_or_default();
            if entry.meta.is_none() {
                return Ok(bare);
            }
            depot.set_metadata(&whole, &entry.with_metadata(None::<()>, Time::now()))?;
            Ok(true)
        })
    }

    /// What is known of an object, or of metadata alone, without reading it. `None` if there is neither.
    ///
    /// # Errors
    /// Those of [`Depot::location`] and [`Depot::metadata`].
    pub fn stat(&self, name: &str) -> Result<Option<ObjectStat>> {
        let whole = self.whole(name)?;
        self.file.look(|depot| {
            let entry = entry_of::<IgnoredAny>(depot, &whole)?;
            let object = match depot.location(&whole) {
                Ok(location) => Some((location.length, location.checksum)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound) => None,
                Err(error) => return Err(error),
            };
            let is_there = entry.is_some() || object.is_some();
            Ok(is_there.then(|| entry.unwrap_or_default().stat(object)))
        })
    }

    /// Removes an object and its metadata, and returns false if there was neither.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn remove(&self, name: &str) -> Result<bool> {
        let whole = self.whole(name)?;
        self.change(|depot| Ok(depot.remove(&whole)? | depot.remove(whole.as_bytes())?))
    }

    /// Locks a name, so that no other thread or process has it, and waits until it is free.
    ///
    /// Nothing else is locked: only those who lock the name too are kept out. A thread that has the lock gets
    /// it again without waiting. Two names that are locked together are locked in the same order by everyone,
    /// or they may wait for each other for ever. See the [module](super#locks).
    ///
    /// ```
    /// use vldepot::objects::Objects;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("results.vld");
    /// let objects = Objects::open_or_create(&path)?;
    /// let lock = objects.lock("best")?;
    /// let best: Option<f64> = objects.metadata("best")?;
    /// if best.is_none_or(|best| best > 0.3) {
    ///     objects.put_with_metadata("best", b"..", "bytes", &0.3)?;
    /// }
    /// drop(lock);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where there are no such locks, [`ErrorKind::Io`].
    pub fn lock(&self, name: &str) -> Result<NameLock> {
        let lock = self.lock_while(name, &mut || true)?;
        // The wait is never given up.
        lock.ok_or_else(|| ErrorKind::Locked.at(&self.file.path).of(format!("{name:?}")))
    }

    /// Like [`lock`](Self::lock), but each time a signal interrupts the wait, `go_on` says whether to go on.
    /// `None` if not.
    ///
    /// # Errors
    /// Those of [`lock`](Self::lock).
    pub fn lock_while(&self, name: &str, go_on: &mut dyn FnMut() -> bool) -> Result<Option<NameLock>> {
        self.file.locks.name(&self.whole(name)?, Wait::While(go_on))
    }

    /// Locks a name if it is free. `None` if another thread or process has it.
    ///
    /// # Errors
    /// Those of [`lock`](Self::lock).
    pub fn try_lock(&self, name: &str) -> Result<Option<NameLock>> {
        self.file.locks.name(&self.whole(name)?, Wait::No)
    }

    /// Changes the metadata of a name while it is locked, and returns the new ones.
    ///
    /// # Errors
    /// Those of [`lock`](Self::lock), [`metadata`](Self::metadata) and [`set_metadata`](Self::set_metadata).
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        change: impl FnOnce(Option<T>) -> T,
    ) -> Result<T> {
        let _lock = self.lock(name)?;
        let new = change(self.metadata(name)?);
        self.set_metadata(name, &new)?;
        Ok(new)
    }
}

/// Why this is no name of an object.
fn check(name: &str) -> Result<(), String> {
    match name {
        "" => Err("a name is not empty".into()),
        "." | ".." => Err("this is a folder".into()),
        _ if name.contains('/') => Err("names have no `/`: take the folder first".into()),
        _ if name.contains('\0') => Err("names have no NUL".into()),
        _ => Ok(()),
    }
}

/// The map beside an object, or beside no object.
fn entry_of<T: DeserializeOwned>(depot: &Depot<Raw>, whole: &str) -> Result<Option<Entry<T>>> {
    for found in [depot.metadata(whole), depot.metadata(whole.as_bytes())] {
        match found {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
            // An object that was stored without a map.
            Ok(found) => return Ok(found),
        }
    }
    Ok(None)
}

fn store<T: Serialize>(depot: &Depot<Raw>, whole: &str, bytes: &[u8], entry: &Entry<T>) -> Result<()> {
    depot.put_with_metadata(whole, bytes, entry)?;
    // Until it is removed, the object's own metadata count.
    depot.remove(whole.as_bytes()).map(drop)
}

/// The name of an object as the key of its record.
pub(super) fn key(whole: impl Into<String>) -> Key {
    Key::Str(whole.into())
}

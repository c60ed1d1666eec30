//! The depot: records by name.
//!
//! ```text
//! engine     names and bytes, below any codec
//! open       finds the newest state of a file
//! fallback   names without the index, when it is damaged
//! refresh    a reader moves forward, and learns what still holds
//! truncate   going back to an earlier record
//! undo       taking that back
//! walk       every entry of a file, past whatever is damaged
//! state      the committed snapshot and what was put since
//! pending    the latter
//! writer     the open chunk, chunks on their way, commits
//! batch      many records at once
//! ahead      records of an iteration, read by threads before their turn
//! iter       all records, keys, keys by prefix and glob
//! info       what a depot tells about itself
//! record     one record, lending views
//! stream     one record, handed on by pieces
//! ```

mod ahead;
pub(crate) mod batch;
pub(crate) mod engine;
mod fallback;
mod info;
mod iter;
mod open;
mod pending;
mod record;
mod refresh;
pub(crate) mod state;
mod stream;
mod truncate;
mod undo;
mod walk;
mod writer;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

pub(crate) use batch::read_each;
pub(crate) use engine::Engine;
pub use info::{CodecInfo, DepotInfo, Location, Options};
pub(crate) use iter::key as key_of;
pub(crate) use iter::{Cursor, Listed, malformed};
pub use iter::{Iter, Keys};
pub(crate) use open::{Scanner, places};
pub use record::Record;
pub use refresh::Refreshed;
pub(crate) use state::{Place, Snapshot, Source, State};
pub use truncate::{Cut, Removal, TruncateOptions};
pub(crate) use walk::{Entry, Step, Walk};

use crate::buffer::Bytes;
use crate::codec::{Codec, Raw};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::exact::{Exact, Form};
use crate::key::{AsKey, Key, TaggedName, describe};
use crate::loader::LoaderBuilder;
use crate::maintain::{VerifyOptions, VerifyReport, verify_in};
use crate::options::{DepotOptions, Mapping, OpenOptions, ReadOptions};
use crate::storage::{FileStorage, MemoryStorage, StagedFile, Storage};
use engine::CodecCheck;

/// Metadata of a record or a depot: any JSON-like value.
pub type Metadata = Value;

/// A scratch buffer of a thread is given back to the system when it grew beyond this.
const SCRATCH_KEPT: usize = 32 << 20;

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Named, variable-length records, kept compressed, in a file or in memory.
///
/// All methods take `&self` and may be called from many threads. A file has one writer at a time and any number of
/// readers, in this process and others. What was put can be read back at once; it is durable after
/// [`commit`](Self::commit), which also happens by itself as [`CommitEvery`](crate::CommitEvery) says.
///
/// A process made by `fork` may go on reading, by positioned reads that share no cursor, if no other thread was inside the depot
/// at that moment. It cannot write ([`ErrorKind::Forked`]), and dropping its copy leaves the file alone.
///
/// ```
/// use vldepot::{Depot, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// depot.put("greeting", b"hello")?;
/// depot.put(7, b"seven")?;
/// assert_eq!(depot.get("greeting")?.view(), b"hello");
/// assert_eq!(depot.len(), 2);
/// # Ok::<(), vldepot::Error>(())
/// ```
pub struct Depot<C: Codec> {
    pub(crate) engine: Engine,
    codec: Arc<C>,
}

fn io_error(path: &Path, action: &str, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::AlreadyExists {
        return ErrorKind::PathExists.at(path);
    }
    Error::io(path, action, source)
}

fn codec_info<C: Codec>(codec: &C) -> engine::CodecInfo {
    engine::CodecInfo {
        id: C::ID,
        version: C::VERSION,
        parameters: codec.parameters(),
        align: C::ALIGN,
        element_size: codec.element_size(),
    }
}

/// Creating and opening.
impl<C: Codec> Depot<C> {
    /// Makes a new depot in a new file, with [`DepotOptions::default`].
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`] when the path is taken, by anything but an empty file that nobody writes, such
    /// as a creation that was killed leaves; [`ErrorKind::Locked`] when another creation of the same path was
    /// faster; [`ErrorKind::Io`], and then no file is left behind.
    pub fn create(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::create_with(path, codec, DepotOptions::default())
    }

    /// As [`create`](Self::create), with options.
    ///
    /// # Errors
    /// Also [`ErrorKind::InvalidOptions`]; then no file is made.
    pub fn create_with(path: impl AsRef<Path>, codec: C, options: DepotOptions) -> Result<Self> {
        options.validate()?;
        let path = path.as_ref();
        let storage = FileStorage::create(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => ErrorKind::Locked.at(path),
            _ => io_error(path, "create the file", source),
        })?;
        let storage = Arc::new(storage);
        // A file without a whole header would only be in the way of the next try.
        Self::create_in(Arc::clone(&storage) as Arc<dyn Storage>, codec, options)
            .inspect_err(|_| storage.remove())
    }

    /// A new depot in memory.
    ///
    /// # Errors
    /// None that this crate knows of.
    pub fn memory(codec: C) -> Result<Self> {
        Self::memory_with(codec, DepotOptions::default())
    }

    /// As [`memory`](Self::memory), with options.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`].
    pub fn memory_with(codec: C, options: DepotOptions) -> Result<Self> {
        Self::create_in(Arc::new(MemoryStorage::new()), codec, options)
    }

    /// A new depot in an empty storage of your own.
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`] when the storage is not empty, [`ErrorKind::Locked`], [`ErrorKind::InvalidOptions`].
    pub fn create_in(storage: Arc<dyn Storage>, codec: C, options: DepotOptions) -> Result<Self> {
        let engine = Engine::create(storage, options, codec_info(&codec), Mapping::Auto)?;
        Ok(Self { engine, codec: Arc::new(codec) })
    }

    /// Opens a depot, or a file of the Python package vlstore, for reading.
    ///
    /// The cost of opening a depot does not depend on its size. Of a vlstore file the table of names is read whole.
    ///
    /// A file whose writer died opens as well: with everything up to its last commit, and the whole chunks
    /// after it. A file that lost what it once committed does not: see [`OpenOptions::accept_loss`].
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`], [`ErrorKind::NotADepot`], [`ErrorKind::WrongCodec`], [`ErrorKind::NewerFormat`],
    /// [`ErrorKind::Damaged`], [`ErrorKind::Io`].
    pub fn open(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::open_with(path, codec, &OpenOptions::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, codec: C, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let storage = FileStorage::open(path).map_err(|source| io_error(path, "open the file", source))?;
        Self::open_in(Arc::new(storage), codec, options)
    }

    /// Opens the depot in a storage of your own for reading.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(storage: Arc<dyn Storage>, codec: C, options: &OpenOptions) -> Result<Self> {
        let engine = checked(&codec, |check| Engine::open(storage, options, check))?;
        Ok(Self { engine, codec: Arc::new(codec) })
    }

    /// Opens an existing depot for writing. Its layout stays as it was created.
    ///
    /// After a crash it goes on from the last whole chunk; a torn end is cut off.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::Locked`] when another writer has the file.
    pub fn append(path: impl AsRef<Path>, codec: C) -> Result<Self> {
        Self::append_with(path, codec, &OpenOptions::default())
    }

    /// As [`append`](Self::append), with options.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_with(path: impl AsRef<Path>, codec: C, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let storage = FileStorage::open_writable(path)
            .map_err(|source| io_error(path, "open the file for writing", source))?;
        Self::append_in(Arc::new(storage), codec, options)
    }

    /// Opens the depot in a storage of your own for writing.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_in(storage: Arc<dyn Storage>, codec: C, options: &OpenOptions) -> Result<Self> {
        let engine = checked(&codec, |check| Engine::append(storage, options, check))?;
        Ok(Self { engine, codec: Arc::new(codec) })
    }

    /// A depot in memory with the content of a file, or of [`to_bytes`](Self::to_bytes); it can be written to.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8], codec: C) -> Result<Self> {
        Self::append_in(Arc::new(MemoryStorage::from_bytes(bytes)), codec, &OpenOptions::default())
    }

    /// The depot as a file's bytes, committed and published first if it can be written to.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy_to(|_, part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Writes the depot to a new file, as [`to_bytes`](Self::to_bytes) gives it, durably. The file appears
    /// when all is written: see [`StagedFile`]. Nobody may read it who may not read the depot's own file, if
    /// it has one.
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`], [`ErrorKind::NoRoom`], and as [`commit`](Self::commit). There is no new file then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |source| io_error(path, "write the file", source);
        let staged = StagedFile::create_no_more_open(path, self.engine.path())?;
        staged.check_room(self.engine.shared.storage.len().map_err(failed)?)?;
        let file = staged.storage();
        self.copy_to(|at, part| file.write_at(at, part).map_err(failed))?;
        staged.publish()
    }

    fn copy_to(&self, mut write: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        // The writer stays locked: the copy is of one moment.
        let writer = if self.engine.is_writable() {
            let mut writer = self.engine.writer()?;
            writer.publish(true)?;
            Some(writer)
        } else {
            None
        };
        let storage = &self.engine.shared.storage;
        let failed = |source| io_error(self.engine.path(), "read the depot", source);
        let len = storage.len().map_err(failed)?;
        let mut part = vec![0; 1 << 20];
        let mut at = 0;
        while at < len {
            let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(part.len());
            storage.read_at(at, &mut part[..n]).map_err(failed)?;
            write(at, &part[..n])?;
            at += n as u64;
        }
        drop(writer);
        Ok(())
    }
}

fn checked<C: Codec>(codec: &C, open: impl FnOnce(&CodecCheck<'_>) -> Result<Engine>) -> Result<Engine> {
    let info = codec_info(codec);
    let check_parameters = |stored: &[u8]| codec.check_parameters(stored);
    open(&CodecCheck { any: info.id == Raw::ID, info: &info, check_parameters: &check_parameters })
}

/// The tagged form of a key, or the error that no depot holds it.
fn tagged(engine: &Engine, key: &(impl AsKey + ?Sized)) -> Result<TaggedName> {
    key.tagged().ok_or_else(|| {
        ErrorKind::InvalidRecord { why: "integer names go from -2^63 to 2^64 - 1".into() }
            .at(engine.path())
            .of(key.to_key().to_string())
    })
}

/// Writing.
impl<C: Codec> Depot<C> {
    /// Stores a record, replacing the one of that name; a replaced record moves to the end of the order.
    ///
    /// The record can be read at once and is durable after the next [`commit`](Self::commit).
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when the codec refuses the value, [`ErrorKind::InvalidRecord`], [`ErrorKind::ReadOnly`], [`ErrorKind::Forked`],
    /// [`ErrorKind::Poisoned`], and two that a full disk brings about:
    /// - [`ErrorKind::NotStored`]: chunks put earlier could not be written. This record is not taken in, the ones before are kept in memory
    ///   and written by the next call; put it again once there is room.
    /// - [`ErrorKind::NotCommitted`]: the record is taken in and can be read, but a commit that became due with it failed. Do not put it
    ///   again: the next commit makes it durable.
    pub fn put(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        self.encode_and_put(&key, item, None, false)
    }

    /// As [`put`](Self::put), but refuses to replace.
    ///
    /// # Errors
    /// Also [`ErrorKind::Exists`].
    pub fn put_new(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        self.encode_and_put(&key, item, None, true)
    }

    /// As [`put`](Self::put), with metadata that are read without touching the record.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with(&self, key: impl AsKey, item: &C::Item, metadata: &Metadata) -> Result<()> {
        let metadata = encode_metadata(&self.engine, metadata)?;
        self.encode_and_put(&key, item, Some(&metadata), false)
    }

    /// As [`put`](Self::put), for bytes that this depot's codec has encoded already.
    ///
    /// # Errors
    /// As [`put`](Self::put); the codec checks the bytes.
    pub fn put_encoded(&self, key: impl AsKey, bytes: &[u8]) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        let checked = if (bytes.as_ptr() as usize).is_multiple_of(C::ALIGN.max(1)) {
            self.codec.view(bytes).map(|_| ())
        } else {
            self.codec.view(&Bytes::copy_of(bytes)).map(|_| ())
        };
        checked.map_err(|source| self.codec_error(&name, source))?;
        self.engine.put(&name, bytes, None, false)
    }

    fn codec_error(&self, name: &[u8], source: crate::codec::CodecError) -> Error {
        ErrorKind::Codec { codec: C::ID }.at(self.engine.path()).of(describe(name)).because(source)
    }

    fn encode_and_put(
        &self,
        key: &impl AsKey,
        item: &C::Item,
        metadata: Option<&[u8]>,
        only_new: bool,
    ) -> Result<()> {
        let name = tagged(&self.engine, key)?;
        // Encoded outside the writer's lock, so that threads only wait for each other's copies. Taken, not borrowed: a
        // codec may itself put into a depot.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let result = self
            .codec
            .with_encoded(item, &mut scratch, |record| self.engine.put(&name, record, metadata, only_new))
            .map_err(|source| self.codec_error(&name, source))
            .flatten();
        if scratch.capacity() <= SCRATCH_KEPT {
            SCRATCH.set(scratch);
        }
        result
    }

    /// Removes a record; false if there was none. Its bytes stay in the file until it is compacted.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`]; [`ErrorKind::NotCommitted`] when the record is removed but a commit that became due failed.
    pub fn remove(&self, key: impl AsKey) -> Result<bool> {
        let name = tagged(&self.engine, &key)?;
        let mut writer = self.engine.writer()?;
        let removed = writer.remove(&name)?;
        writer.commit_if_due()?;
        Ok(removed)
    }

    /// Gives an existing record other metadata; its bytes stay, and it moves to the end of the order.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and as [`put`](Self::put).
    pub fn set_metadata(&self, key: impl AsKey, metadata: &Metadata) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        let metadata = encode_metadata(&self.engine, metadata)?;
        self.engine.check_metadata(&name, &metadata)?;
        let mut writer = self.engine.writer()?;
        if !writer.set_metadata(&name, &metadata)? {
            return Err(ErrorKind::NotFound.at(self.engine.path()).of(describe(&name)));
        }
        writer.commit_if_due()
    }

    /// Sets one entry of the depot's own metadata; [`Value::Null`] removes it.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn set_depot_metadata(&self, name: &str, value: Metadata) -> Result<()> {
        // Read and written under one lock, or two threads would lose one of two entries.
        let mut writer = self.engine.writer()?;
        let stored = match writer.new_metadata() {
            Some(new) => Some(new.to_vec()),
            None => self.engine.committed_metadata()?,
        };
        let mut map = self.metadata_map(stored)?;
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.to_owned(), value);
        }
        let encoded = encode_metadata(&self.engine, &Value::Object(map))?;
        self.engine.check_metadata(b"", &encoded)?;
        writer.set_depot_metadata(encoded)
    }

    /// Hands all records put so far to the system, without a sync: they survive the end of this process, not a power loss.
    /// Metadata of the depot itself wait for a commit.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::Io`].
    pub fn flush(&self) -> Result<()> {
        self.engine.writer()?.flush()
    }

    /// Makes everything put so far durable: it survives a killed process and a power loss.
    ///
    /// Costs one sync, and closes the open chunk: the rest of it is zeros, which compress to nothing.
    ///
    /// A simulation commits before it writes its checkpoint. The frames up to a checkpoint that is newer than
    /// the last commit may be missing after a crash, and [`restart_at_step`](Depot::restart_at_step) refuses
    /// to go on after such a gap.
    ///
    /// # Errors
    /// [`ErrorKind::NotCommitted`], which says how many records wait: nothing is lost that an earlier commit has, and after a failed
    /// write, of a full disk say, the next call goes on. After a failed sync, [`ErrorKind::Poisoned`].
    pub fn commit(&self) -> Result<()> {
        self.engine.writer()?.commit()
    }

    /// Commits, and makes the file a standard Blosc2 frame as it stands, which `close` does too: from here on
    /// other programs find what is in it so far. For durability a [`commit`](Self::commit) is enough.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); [`ErrorKind::Io`] when all is committed and only the frame could not be written.
    pub fn publish(&self) -> Result<()> {
        self.engine.writer()?.publish(false)
    }

    /// Commits, merges the index, writes the frame's end and closes. Dropping does the same but cannot tell of errors.
    ///
    /// # Errors
    /// As [`publish`](Self::publish). The handle is gone then, and with it what was not committed: where the
    /// disk may be full, [`commit`](Self::commit) first, which can be tried again.
    pub fn close(self) -> Result<()> {
        if self.engine.is_writable() { self.engine.writer()?.publish(true) } else { Ok(()) }
    }
}

fn encode_metadata(engine: &Engine, metadata: &Metadata) -> Result<Vec<u8>> {
    rmp_serde::to_vec(&Exact(metadata, Form::MessagePack))
        .map_err(|error| ErrorKind::InvalidRecord { why: error.to_string() }.at(engine.path()).of("metadata"))
}

fn decode_metadata(engine: &Engine, bytes: &[u8]) -> Result<Metadata> {
    rmp_serde::from_slice(bytes).map_err(|error| {
        Error::damaged(engine.path(), Part::Metadata, 0, "a MessagePack value", error.to_string())
    })
}

/// Reading.
impl<C: Codec> Depot<C> {
    /// The record of that name.
    ///
    /// Decodes the blocks it touches and nothing else, and checks it; from an uncompressed file it borrows the memory map.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`Error::is_damage`] when the bytes are not those that were put; [`ErrorKind::Codec`].
    pub fn get(&self, key: impl AsKey) -> Result<Record<C>> {
        let name = tagged(&self.engine, &key)?;
        self.record(&name, self.engine.get(&name)?)
    }

    fn record(&self, name: &[u8], bytes: Bytes) -> Result<Record<C>> {
        Record::new(bytes, &self.codec).map_err(|source| self.codec_error(name, source))
    }

    /// The record at `position`, 0 to `len() - 1`, in the order of insertion.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], and as [`get`](Self::get).
    pub fn get_at(&self, position: u64) -> Result<Record<C>> {
        let named = |error| self.engine.in_record_at(position, error);
        let bytes = self.engine.read(&self.engine.location_at(position)?).map_err(named)?;
        Record::new(bytes, &self.codec)
            .map_err(|source| self.codec_error(&self.engine.name_at(position).unwrap_or_default(), source))
    }

    /// The name of the record at `position`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn key_at(&self, position: u64) -> Result<Key> {
        iter::key(&self.engine, self.engine.name_at(position)?)
    }

    /// Appends the record's bytes to `buf`, which need not be aligned.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_into(&self, key: impl AsKey, buf: &mut Vec<u8>) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        buf.extend_from_slice(&self.engine.get(&name)?);
        Ok(())
    }

    /// Records in the order of `keys`, duplicates included. Every block they touch is decoded once, on this thread.
    ///
    /// Records read together may share one buffer, which lives as long as any of them.
    ///
    /// # Errors
    /// As [`get`](Self::get): for the first key that is missing, else for the first record that cannot be read.
    pub fn get_many<K: AsKey>(&self, keys: &[K]) -> Result<Vec<Record<C>>> {
        self.get_many_with(keys, &ReadOptions::default())
    }

    /// As [`get_many`](Self::get_many), on more than one thread.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many).
    pub fn get_many_with<K: AsKey>(&self, keys: &[K], options: &ReadOptions) -> Result<Vec<Record<C>>> {
        let names = self.names(keys)?;
        let wanted = self.engine.locations(&names)?;
        let bytes = batch::read(&self.engine, &wanted, options.threads)?;
        names.iter().zip(bytes).map(|(name, bytes)| self.record(name, bytes)).collect()
    }

    /// A loader for training: shuffled batches, read ahead by threads of its own, resumable. See [`crate::loader`].
    pub fn loader(&self) -> LoaderBuilder<'_, C> {
        LoaderBuilder::new(&self.engine, Arc::clone(&self.codec))
    }

    /// The error of a codec that cannot do with a record what was asked for.
    pub(crate) fn refused(&self, key: &impl AsKey, source: crate::codec::CodecError) -> Error {
        match tagged(&self.engine, key) {
            Ok(name) => self.codec_error(&name, source),
            Err(error) => error,
        }
    }

    pub(crate) fn names<K: AsKey>(&self, keys: &[K]) -> Result<Vec<TaggedName>> {
        keys.iter().map(|key| tagged(&self.engine, key)).collect()
    }

    /// Shows each record to `job`, with the number of its key, in the order in which the records are stored: every
    /// block is decoded once, into buffers that are used again, and nothing is allocated for a record.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # depot.put("a", b"12")?;
    /// # depot.put("b", b"345")?;
    /// let mut lengths = [0; 3];
    /// depot.visit_many(&["b", "a", "b"], |number, bytes| lengths[number] = bytes.len())?;
    /// assert_eq!(lengths, [3, 2, 3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many); the records that can be read have been shown by then.
    pub fn visit_many<K: AsKey>(&self, keys: &[K], mut job: impl FnMut(usize, C::View<'_>)) -> Result<()> {
        let names = self.names(keys)?;
        self.visit_located(&self.engine.locations(&names)?, &mut job)
    }

    /// As [`visit_many`](Self::visit_many), of records (tagged name and place) that were looked up.
    pub(crate) fn visit_located(
        &self,
        wanted: &[(&[u8], crate::index::Location)],
        job: &mut dyn FnMut(usize, C::View<'_>),
    ) -> Result<()> {
        let mut failed: Option<(usize, Error)> = None;
        let mut fail = |number: usize, error: Error| {
            if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                failed = Some((number, error));
            }
        };
        batch::visit(&self.engine, wanted, &mut |number, bytes| {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return fail(number, error),
            };
            // Bytes that another program placed may lie at any address; views need them aligned.
            let aligned = (bytes.as_ptr() as usize).is_multiple_of(C::ALIGN.max(1));
            let copy = (!aligned).then(|| Bytes::copy_of(bytes));
            match self.codec.view(copy.as_deref().unwrap_or(bytes)) {
                Ok(view) => job(number, view),
                Err(source) => fail(number, self.codec_error(wanted[number].0, source)),
            }
        });
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Whether there is a record of that name.
    ///
    /// # Errors
    /// [`Error::is_damage`] when the index is damaged, or lost what may have had it.
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        self.engine.contains(&tagged(&self.engine, &key)?)
    }

    /// Where the record lies.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn location(&self, key: impl AsKey) -> Result<Location> {
        let location = self.engine.location(&tagged(&self.engine, &key)?)?;
        Ok(Location::new(&self.engine, &location))
    }

    /// How many records there are. Of a file opened with [`OpenOptions::accept_loss`]: how many are left.
    pub fn len(&self) -> u64 {
        self.engine.shared.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records in the order of insertion, as of now: what is put later does not show up.
    pub fn iter(&self) -> Iter<'_, C> {
        Iter::with_threads(self, 1)
    }

    /// As [`iter`](Self::iter), decoding on more than one thread: the others read ahead while the caller has the records, two batches
    /// of 4 MiB a thread at most, and end with the iterator. A process made by `fork` goes on without them.
    pub fn iter_with(&self, options: &ReadOptions) -> Iter<'_, C> {
        Iter::with_threads(self, options.threads)
    }

    /// All names, in the order of insertion.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.engine, |_| true)
    }

    /// Names that are strings and start with `prefix`. Looks at every name.
    pub fn keys_with_prefix(&self, prefix: &str) -> Keys<'_> {
        let prefix = crate::key::tagged_prefix(prefix);
        Keys::new(&self.engine, move |name| name.starts_with(&prefix))
    }

    /// Names that are strings and match a glob such as `run_*/frame_00?`. Looks at every name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a malformed pattern.
    pub fn keys_matching(&self, pattern: &str) -> Result<Keys<'_>> {
        let pattern = glob::Pattern::new(pattern)
            .map_err(|error| Error::invalid_options(format!("the pattern {pattern:?}: {error}")))?;
        Ok(Keys::new(&self.engine, move |name| match Key::from_tagged(name) {
            Some(Key::Str(name)) => pattern.matches(&name),
            _ => false,
        }))
    }

    /// The record's metadata; `None` if it has none. Does not touch the record itself.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn metadata(&self, key: impl AsKey) -> Result<Option<Metadata>> {
        let metadata = self.engine.metadata(&tagged(&self.engine, &key)?)?;
        metadata.map(|bytes| decode_metadata(&self.engine, &bytes)).transpose()
    }

    /// The depot's own metadata.
    ///
    /// # Errors
    /// [`Error::is_damage`].
    pub fn depot_metadata(&self) -> Result<Map<String, Value>> {
        self.metadata_map(self.engine.depot_metadata()?)
    }

    fn metadata_map(&self, stored: Option<Vec<u8>>) -> Result<Map<String, Value>> {
        let Some(bytes) = stored else { return Ok(Map::new()) };
        match decode_metadata(&self.engine, &bytes)? {
            Value::Object(map) => Ok(map),
            other => Err(Error::damaged(
                self.engine.path(),
                Part::Metadata,
                self.engine.shared.read().snapshot.metadata.0,
                "a map",
                other.to_string(),
            )),
        }
    }

    /// What the depot is, and how much is in it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn info(&self) -> Result<DepotInfo> {
        DepotInfo::new(&self.engine, self.depot_metadata()?)
    }

    /// What is missing of a file that was opened with [`OpenOptions::accept_loss`]: the error that opening it
    /// without gives. `None` where nothing is.
    pub fn incomplete(&self) -> Option<Error> {
        self.engine.incomplete()
    }

    /// Checks the depot's storage as another process would see it now: see [`verify`](crate::verify).
    ///
    /// # Errors
    /// As [`verify`](crate::verify).
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport> {
        verify_in(Arc::clone(&self.engine.shared.storage), options, |_| {})
    }

    /// The codec the depot was written with, which [`Raw`] may have opened.
    pub fn stored_codec(&self) -> CodecInfo {
        CodecInfo::new(&self.engine)
    }

    /// The codec in hand.
    pub fn codec(&self) -> &C {
        &self.codec
    }
}

impl<C: Codec> std::fmt::Debug for Depot<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depot({}, {} records, codec `{}`)", self.engine.path().display(), self.len(), C::ID)
    }
}

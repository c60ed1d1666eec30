//! Making and opening depots, and copying them whole.

use std::path::Path;
use std::sync::Arc;

use super::Depot;
use crate::codec::{Codec, Raw};
use crate::engine::{CodecCheck, CodecSpec, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{DepotOptions, Mapping, OpenOptions};
use crate::storage::{FileStorage, MemoryStorage, StagedFile, Storage};

fn io_error(path: &Path, action: &str, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::AlreadyExists {
        return ErrorKind::PathExists.at(path);
    }
    Error::io(path, action, source)
}

fn codec_info<C: Codec>(codec: &C) -> CodecSpec {
    CodecSpec {
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

//! Files of MIO: a folder with `collections` and `objects`.
//!
//! ```text
//! collections   0   8    0x89 "tl.mio" 0x1a
//!               8   4    version: major, minor, two bytes each
//!               12  4    n, the number of collections
//!               16  16 n for each: start (8), bytes of metadata (4), bytes of its list of objects (4)
//!                        at `start`: the metadata, then for each object: start (8), bytes (4)
//! objects                the bytes of objects, wherever the lists say
//! split         4 n      numbers of collections, four bytes each
//! ```
//!
//! All numbers are little-endian. MIO writes `collections` when its writer is closed, so a dataset whose
//! writer died has nothing that says where objects lie.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::codec::{CollectionCodec, NewCollection};
use super::split::Split;
use super::store::{Collections, layout};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::events::event;
use crate::storage::StagedFile;
use crate::{Depot, Layout};

const MAGIC: [u8; 8] = *b"\x89tl.mio\x1a";

/// The version of MIO's files that is read and written: major, minor.
pub const MIO_VERSION: (u16, u16) = (0, 1);

/// Bytes before the table.
const HEAD: u64 = 16;

/// Bytes of an entry of the table.
const ENTRY: u64 = 16;

/// Bytes of an entry of a list of objects.
const PLACE: u64 = 12;

/// The longest record.
const MAX_LEN: u64 = u32::MAX as u64;

/// What [`import_mio`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MioImported {
    /// Collections that were read.
    pub collections: u64,
    /// Their objects.
    pub objects: u64,
    /// Bytes of these objects.
    pub bytes: u64,
    /// The version of the files, major and minor, if its minor number is newer than [`MIO_VERSION`]: then
    /// they may have more than was read.
    pub newer: Option<(u16, u16)>,
}

/// What [`export_mio`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MioExported {
    /// Collections that were written.
    pub collections: u64,
    /// Their objects.
    pub objects: u64,
    /// Bytes of these objects.
    pub bytes: u64,
    /// How many of the collections have another number in MIO's files than their name here. MIO knows
    /// collections by their position.
    pub renumbered: u64,
}

/// A file of a dataset that is read.
struct Source {
    path: PathBuf,
    file: BufReader<File>,
    len: u64,
    at: u64,
}

impl Source {
    fn open(path: PathBuf) -> Result<Self> {
        let failed = |source| Error::io(&path, "open the file", source);
        let file = File::open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(ErrorKind::NotAFile { found: "something else" }.at(path));
        }
        Ok(Self { file: BufReader::new(file), len: found.len(), at: 0, path })
    }

    /// Fills `buf` with the bytes at `start`, which are in the file.
    fn read(&mut self, start: u64, buf: &mut [u8]) -> Result<()> {
        let moved = match i64::try_from(i128::from(start) - i128::from(self.at)) {
            Ok(by) => self.file.seek_relative(by),
            Err(_) => self.file.seek(SeekFrom::Start(start)).map(drop),
        };
        moved.and_then(|()| self.file.read_exact(buf)).map_err(|source| {
            Error::io(&self.path, format!("read {} bytes at byte {start}", buf.len()), source)
        })?;
        self.at = start + buf.len() as u64;
        Ok(())
    }

    /// Checks that `len` bytes at `start` are in the file. The table or list at `offset` of the file `by`
    /// says so.
    fn check(&self, what: &str, start: u64, len: u64, by: &Path, offset: u64) -> Result<()> {
        if start.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        let expected = format!("{what} in the {} bytes of {}", self.len, self.path.display());
        Err(Error::damaged(by, Part::File, offset, expected, format!("{len} bytes at byte {start}")))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A dataset that is read.
struct Dataset {
    collections: Source,
    objects: Source,
    count: u64,
    newer: Option<(u16, u16)>,
}

impl Dataset {
    fn open(folder: &Path) -> Result<Self> {
        let mut collections = Source::open(folder.join("collections"))?;
        let objects = Source::open(folder.join("objects"))?;
        let foreign = |found: String| Err(ErrorKind::NotADepot { found }.at(&collections.path));
        if collections.len == 0 {
            return foreign(format!(
                "its writer did not close it, so nothing says where its objects lie in the {} bytes of {}",
                objects.len,
                objects.path.display()
            ));
        }
        let mut head = [0; 16];
        if collections.len < HEAD {
            return foreign(format!("{} bytes, where a dataset of MIO has {HEAD} and more", collections.len));
        }
        collections.read(0, &mut head)?;
        if head[..8] != MAGIC {
            let found = head[..8].escape_ascii();
            let found = format!(
                "nor is it a dataset of MIO: it begins with {found}, not with {}",
                MAGIC.escape_ascii()
            );
            return Err(ErrorKind::NotADepot { found }.at(&collections.path));
        }
        let word = u32_at(&head, 8);
        let version = ((word & 0xffff) as u16, (word >> 16) as u16);
        if version.0 > MIO_VERSION.0 {
            let (found, supported) = (version.0.into(), MIO_VERSION.0.into());
            return Err(ErrorKind::NewerFormat { found, supported }.at(&collections.path));
        }
        let newer = (version.1 > MIO_VERSION.1).then_some(version);
        if newer.is_some() {
            event!(
                warn,
                "{}: version {}.{} of MIO, of which {}.{} is known: it may have more than is read",
                collections.path.display(),
                version.0,
                version.1,
                MIO_VERSION.0,
                MIO_VERSION.1
            );
        }
        let count = u64::from(u32_at(&head, 12));
        let path = collections.path.clone();
        collections.check("the table of collections", HEAD, ENTRY * count, &path, 12)?;
        Ok(Self { collections, objects, count, newer })
    }

    /// Reads collection `id` into `new`, which is empty.
    fn read(&mut self, id: u64, new: &mut NewCollection, list: &mut Vec<u8>) -> Result<()> {
        let (path, offset) = (self.collections.path.clone(), HEAD + ENTRY * id);
        let mut entry = [0; 16];
        self.collections.read(offset, &mut entry)?;
        let start = u64_at(&entry, 0);
        let (of_metadata, of_list) = (u64::from(u32_at(&entry, 8)), u64::from(u32_at(&entry, 12)));
        let what = format!("collection {id}");
        self.collections.check(&what, start, of_metadata + of_list, &path, offset)?;
        if !of_list.is_multiple_of(PLACE) {
            let expected = format!("a list of objects of {PLACE} bytes each");
            return Err(Error::damaged(path, Part::File, offset + 12, expected, format!("{of_list} bytes")));
        }
        let to_usize =
            |len: u64| usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        let mut metadata = vec![0; to_usize(of_metadata)?];
        self.collections.read(start, &mut metadata)?;
        new.set_metadata(metadata);
        list.resize(to_usize(of_list)?, 0);
        let list_at = start + of_metadata;
        self.collections.read(list_at, list)?;
        let places = list.chunks_exact(12).map(|place| (u64_at(place, 0), u32_at(place, 8)));
        let mut sum = 4 * (places.len() as u64 + 1);
        for (n, (start, len)) in places.clone().enumerate() {
            let what = format!("object {n} of collection {id}");
            self.objects.check(&what, start, len.into(), &path, list_at + PLACE * n as u64)?;
            sum += u64::from(len);
        }
        if sum > MAX_LEN {
            let why = format!("{sum} bytes with its list of objects: a collection has less than 4 GiB");
            return Err(ErrorKind::InvalidRecord { why }.at(path).of(id.to_string()));
        }
        for (start, len) in places {
            let room = new.push_zeros(to_usize(len.into())?);
            self.objects.read(start, room)?;
        }
        Ok(())
    }
}

/// Makes a depot of collections from a dataset of MIO: `folder` has the files `collections` and `objects`.
///
/// The names are MIO's numbers. The depot appears when it is complete. Objects that MIO's lists name twice
/// are stored twice. Splits are files of their own: see [`read_mio_split`].
///
/// # Errors
/// - [`ErrorKind::NotADepot`] for other files, and for a dataset whose writer died.
/// - [`ErrorKind::NewerFormat`] for a newer major version.
/// - [`ErrorKind::Damaged`] when a table leads out of its file. Nothing is written then.
/// - [`ErrorKind::InvalidRecord`] for a collection of 4 GiB or more.
/// - [`ErrorKind::PathExists`], and those of [`Depot::put`].
pub fn import_mio(folder: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<MioImported> {
    let mut dataset = Dataset::open(folder.as_ref())?;
    let staged = StagedFile::create(path)?;
    let depot =
        Depot::builder(CollectionCodec).layout(layout(Layout::default())).create_in(staged.storage())?;
    let collections = Collections::new(depot).buffered();
    let mut done = MioImported { newer: dataset.newer, ..MioImported::default() };
    let (mut new, mut list) = (NewCollection::new(), Vec::new());
    for id in 0..dataset.count {
        new.clear();
        dataset.read(id, &mut new, &mut list)?;
        collections.add(&new)?;
        done.objects += new.len() as u64;
        done.bytes += new.object_bytes() as u64;
    }
    done.collections = dataset.count;
    collections.close()?;
    staged.publish()?;
    Ok(done)
}

/// A folder that is removed unless it is finished.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Writes the collections as a dataset of MIO: a new folder with the files `collections` and `objects`.
///
/// MIO knows collections by their position, from 0 on, so names are not kept. MIO's reader opens no dataset
/// that has no object bytes at all. The folder appears when it is complete. A process that is killed leaves
/// `.NAME.vldepot-PROCESS.tmp`.
///
/// # Errors
/// - [`ErrorKind::PathExists`] when there is something at the path.
/// - [`ErrorKind::InvalidOptions`] for more than 2^32 - 1 collections.
/// - Those of [`Depot::get`], and [`ErrorKind::Io`]. No folder is left then.
pub fn export_mio(collections: &Collections, folder: impl AsRef<Path>) -> Result<MioExported> {
    let folder = folder.as_ref();
    let count = u32::try_from(collections.len())
        .map_err(|_| Error::invalid_options("MIO has at most 4,294,967,295 collections").at(folder))?;
    if fs::symlink_metadata(folder).is_ok() {
        return Err(ErrorKind::PathExists.at(folder));
    }
    let failed = |source| Error::io(folder, "write the dataset", source);
    let name = folder.file_name().ok_or_else(|| ErrorKind::PathExists.at(folder))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".vldepot-{}.tmp", crate::sync::process_id()));
    let new = folder.with_file_name(hidden);
    fs::create_dir(&new).map_err(failed)?;
    let mut unfinished = Unfinished(Some(new.clone()));
    let done = write_dataset(collections, count, &new)
        .map_err(|error| if error.path().is_some() { error } else { error.at(folder) })?;
    fs::rename(&new, folder).map_err(failed)?;
    unfinished.0 = None;
    crate::storage::sync_folder(folder).map_err(failed)?;
    Ok(done)
}

fn write_dataset(collections: &Collections, count: u32, folder: &Path) -> Result<MioExported> {
    let create = |name: &str| File::create_new(folder.join(name)).map(BufWriter::new);
    // The table comes first, and is known last.
    let (mut table, mut body, mut objects) = (create("collections")?, create("body")?, create("objects")?);
    let mut done = MioExported { collections: count.into(), ..MioExported::default() };
    let mut at = HEAD + ENTRY * u64::from(count);
    table.write_all(&MAGIC)?;
    for number in [MIO_VERSION.0, MIO_VERSION.1] {
        table.write_all(&number.to_le_bytes())?;
    }
    table.write_all(&count.to_le_bytes())?;
    for (id, entry) in collections.depot().range(..u64::from(count)).enumerate() {
        let (key, record) = entry?;
        let metadata = collections.metadata(&key)?;
        let too_long = |_| {
            let why = "a list of objects of 4 GiB or more, which MIO does not have".into();
            ErrorKind::InvalidRecord { why }.at(collections.depot().path()).of(key.to_string())
        };
        let view = record.view();
        let of_metadata = u32::try_from(metadata.len()).map_err(too_long)?;
        let of_list = u32::try_from(PLACE * view.len() as u64).map_err(too_long)?;
        table.write_all(&at.to_le_bytes())?;
        table.write_all(&of_metadata.to_le_bytes())?;
        table.write_all(&of_list.to_le_bytes())?;
        at += u64::from(of_metadata) + u64::from(of_list);
        body.write_all(&metadata)?;
        for object in view.iter() {
            // An object is part of a record, which is shorter than 4 GiB.
            let len = u32::try_from(object.len()).map_err(too_long)?;
            body.write_all(&done.bytes.to_le_bytes())?;
            body.write_all(&len.to_le_bytes())?;
            objects.write_all(object)?;
            done.objects += 1;
            done.bytes += u64::from(len);
        }
        done.renumbered += u64::from(key.as_int() != Some(id as i128));
    }
    body.into_inner().map_err(io::IntoInnerError::into_error)?;
    io::copy(&mut File::open(folder.join("body"))?, &mut table)?;
    fs::remove_file(folder.join("body"))?;
    for file in [table, objects] {
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    }
    Ok(done)
}

/// Reads a split as MIO writes it: numbers of collections, four bytes each.
///
/// # Errors
/// - [`ErrorKind::NotADepot`] when the file does not end with a whole number.
/// - [`ErrorKind::InvalidOptions`] when a number comes twice, [`ErrorKind::Io`].
pub fn read_mio_split(path: impl AsRef<Path>) -> Result<Split> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| Error::io(path, "read the split", source))?;
    if !bytes.len().is_multiple_of(4) {
        let found =
            format!("nor is it a split of MIO: {} bytes, which are no numbers of 4 bytes", bytes.len());
        return Err(ErrorKind::NotADepot { found }.at(path));
    }
    let ids = bytes.chunks_exact(4).map(|id| u64::from(u32_at(id, 0)));
    Split::of_ids(ids).map_err(|error| error.at(path))
}

/// Writes a split as MIO reads it. The file must not be there.
///
/// # Errors
/// - [`ErrorKind::PathExists`].
/// - [`ErrorKind::InvalidOptions`] when a name is no integer from 0 to 2^32 - 1, [`ErrorKind::Io`].
pub fn write_mio_split(split: &Split, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = Vec::with_capacity(4 * split.len());
    for id in split.ids()? {
        let id = u32::try_from(id).map_err(|_| {
            Error::invalid_options(format!("MIO has no collection {id}: numbers end at 2^32 - 1"))
        })?;
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => ErrorKind::PathExists.at(path),
        _ => Error::io(path, "write the split", source),
    };
    let mut file = File::create_new(path).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|source| {
        // A half file would be read as a smaller split.
        let _ = fs::remove_file(path);
        failed(source)
    })
}

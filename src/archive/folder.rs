//! The archive: files, folders and links by their paths.

use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use super::file::File;
use super::folders::Folders;
use super::path::{ArchivePath, bytes_of, key_of};
use super::stat::{FileAttributes, FileKind, Stat};
use crate::{Depot, Error, ErrorKind, Key, Layout, PutByPieces, Raw, Record, RecordLocation, Result, Totals};

/// The longest chain of links that is followed.
const MAX_LINKS: usize = 40;

/// Permission bits of folders that are made for a file.
const FOLDER_MODE: u32 = 0o755;

/// Permission bits of files that are written from memory.
const FILE_MODE: u32 = 0o644;

/// A layout for files of all kinds: their bytes are not shuffled, as those of arrays are, and blocks are
/// larger.
///
/// ```
/// use vldepot::archive::{Archive, layout};
/// use vldepot::{Depot, Filter, Layout, Raw};
///
/// let layout = layout(Layout::fast());
/// assert_eq!(layout.compression.filter, Filter::None);
/// let archive = Archive::new(Depot::builder(Raw).layout(layout).memory()?);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[must_use]
pub fn layout(layout: Layout) -> Layout {
    layout.of_single_bytes()
}

/// Folders of files, kept in a depot. See the [module](super).
///
/// Any depot can be read as an archive. Names that are no paths are errors where they would be listed.
#[derive(Debug)]
pub struct Archive {
    depot: Depot<Raw>,
    /// The folder that was last seen to be there, with all that it lies in.
    known: Mutex<Option<ArchivePath>>,
    /// The older shards, if this is written as a shard of a set.
    older: Option<Box<Archive>>,
    pub(super) folders: Folders,
}

impl Archive {
    /// An archive in this depot.
    pub fn new(depot: Depot<Raw>) -> Self {
        Self { depot, known: Mutex::new(None), folders: Folders::default(), older: None }
    }

    /// Lets what is written here be checked against an archive that this is a newer part of.
    pub(super) fn over(mut self, older: Option<Self>) -> Self {
        self.older = older.map(Box::new);
        self
    }

    /// Whether a name is taken, here or in the older shards.
    fn has(&self, key: Key) -> Result<bool> {
        match &self.older {
            Some(older) if !self.depot.contains(&key)? => older.has(key),
            Some(_) => Ok(true),
            None => self.depot.contains(key),
        }
    }

    /// Makes a new archive in a file, with the default [`layout`].
    ///
    /// # Errors
    /// The errors of [`Depot::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Depot::builder(Raw).layout(layout(Layout::default())).create(path).map(Self::new)
    }

    /// Opens an archive for reading.
    ///
    /// # Errors
    /// The errors of [`Depot::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Depot::open(path, Raw).map(Self::new)
    }

    /// Opens an archive for writing.
    ///
    /// # Errors
    /// The errors of [`Depot::append`].
    pub fn append(path: impl AsRef<Path>) -> Result<Self> {
        Depot::append(path, Raw).map(Self::new)
    }

    /// An archive in memory.
    ///
    /// # Errors
    /// The errors of [`Depot::memory`].
    pub fn memory() -> Result<Self> {
        Depot::builder(Raw).layout(layout(Layout::default())).memory().map(Self::new)
    }

    /// The depot that holds the archive: to commit, to read many files at once, to train.
    pub fn depot(&self) -> &Depot<Raw> {
        &self.depot
    }

    /// Gives the depot back, such as for closing it.
    pub fn into_depot(self) -> Depot<Raw> {
        self.depot
    }

    /// Makes what was written durable. See [`Depot::commit`].
    ///
    /// # Errors
    /// The errors of [`Depot::commit`].
    pub fn commit(&self) -> Result<()> {
        self.depot.commit()
    }

    /// Commits, and closes the file. See [`Depot::close`].
    ///
    /// # Errors
    /// The errors of [`Depot::close`].
    pub fn close(self) -> Result<()> {
        self.depot.close()
    }

    /// Writes a file, and replaces the one of that path if there is one. Its folders are made.
    ///
    /// Its time is now, and its mode `0o644`.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidPath`].
    /// - [`ErrorKind::IsAFolder`] when there is a folder of that path.
    /// - [`ErrorKind::NotAFolder`] when one of its folders is a file.
    /// - The errors of [`Depot::put`].
    pub fn write(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> Result<()> {
        let attributes = FileAttributes::new().with_mode(FILE_MODE).with_modified(SystemTime::now());
        self.write_with(path, bytes, &attributes)
    }

    /// Writes a file with attributes. Otherwise like [`write`](Self::write).
    ///
    /// # Errors
    /// The errors of [`write`](Self::write).
    pub fn write_with(
        &self,
        path: impl AsRef<[u8]>,
        bytes: &[u8],
        attributes: &FileAttributes,
    ) -> Result<()> {
        let path = ArchivePath::new(path)?;
        self.make_room_for(&path)?;
        let attributes = FileAttributes { kind: None, ..attributes.clone() };
        self.depot.put_with_metadata(path.key(), bytes, &attributes)
    }

    /// Writes a file with attributes whose bytes come piece by piece, with memory for a few chunks.
    ///
    /// It is there when it is [finished](PutByPieces::finish), and replaces one of that path then. With
    /// `only_new`, none is replaced.
    ///
    /// ```
    /// use std::io::Write;
    /// use vldepot::archive::{Archive, FileAttributes};
    /// let archive = Archive::memory()?;
    /// let mut file = archive.write_by_pieces("a/zeros", &FileAttributes::new(), false)?;
    /// std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 10_000_000), &mut file)?;
    /// assert_eq!(file.finish()?, 10_000_000);
    /// assert_eq!(archive.stat("a/zeros")?.size, 10_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`write`](Self::write) and of [`Depot::put_by_pieces`].
    pub fn write_by_pieces(
        &self,
        path: impl AsRef<[u8]>,
        attributes: &FileAttributes,
        only_new: bool,
    ) -> Result<PutByPieces<'_>> {
        let path = ArchivePath::new(path)?;
        self.make_room_for(&path)?;
        let attributes = FileAttributes { kind: None, ..attributes.clone() };
        self.depot.put_by_pieces_with_metadata(path.key(), &attributes, only_new)
    }

    /// Writes a new file, and refuses to replace one. Otherwise like [`write`](Self::write).
    ///
    /// # Errors
    /// The errors of [`write`](Self::write), and [`ErrorKind::Exists`].
    pub fn write_new(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> Result<()> {
        let attributes = FileAttributes::new().with_mode(FILE_MODE).with_modified(SystemTime::now());
        self.write_new_with(path, bytes, &attributes)
    }

    /// Writes a new file with attributes, and refuses to replace one. Otherwise like [`write`](Self::write).
    ///
    /// # Errors
    /// The errors of [`write_new`](Self::write_new).
    pub fn write_new_with(
        &self,
        path: impl AsRef<[u8]>,
        bytes: &[u8],
        attributes: &FileAttributes,
    ) -> Result<()> {
        let path = ArchivePath::new(path)?;
        self.make_room_for(&path)?;
        let attributes = FileAttributes { kind: None, ..attributes.clone() };
        self.depot.put_new_with_metadata(path.key(), bytes, &attributes)
    }

    /// Writes a link, and replaces what is at that path unless it is a folder. `target` is not looked at.
    ///
    /// # Errors
    /// The errors of [`write`](Self::write).
    pub fn write_link(
        &self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
        attributes: &FileAttributes,
    ) -> Result<()> {
        let path = ArchivePath::new(path)?;
        self.make_room_for(&path)?;
        let attributes = FileAttributes { kind: Some(FileKind::Link), ..attributes.clone() };
        self.depot.put_with_metadata(path.key(), target.as_ref(), &attributes)
    }

    /// Makes a folder and those that it lies in. A folder that is there stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotAFolder`] when one of them is a file, and the errors of [`Depot::put`].
    pub fn create_dir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = ArchivePath::new(path)?;
        if path.is_root() || self.has(path.folder_key())? {
            return Ok(());
        }
        let attributes = FileAttributes::new().with_mode(FOLDER_MODE).with_modified(SystemTime::now());
        self.create_dir_with(path, &attributes)
    }

    /// Makes a folder with attributes, or gives them to the one that is there. The folders it lies in are
    /// made.
    ///
    /// # Errors
    /// The errors of [`create_dir`](Self::create_dir).
    pub fn create_dir_with(&self, path: impl AsRef<[u8]>, attributes: &FileAttributes) -> Result<()> {
        let path = ArchivePath::new(path)?;
        if path.is_root() {
            return Ok(());
        }
        if self.has(path.key())? {
            return Err(self.error(ErrorKind::NotAFolder, &path));
        }
        self.make_folders_of(&path)?;
        let attributes = FileAttributes { kind: None, ..attributes.clone() };
        self.depot.put_with_metadata(path.folder_key(), &[], &attributes)?;
        self.folders.add(&path);
        Ok(())
    }

    /// The bytes of a file. Links are followed inside the archive.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`], [`ErrorKind::IsAFolder`], [`ErrorKind::InvalidPath`].
    /// - [`ErrorKind::InvalidPath`] also when a link leads out of the archive, or in circles.
    /// - The errors of [`Depot::get`].
    pub fn read(&self, path: impl AsRef<[u8]>) -> Result<Record<Raw>> {
        let path = self.follow(ArchivePath::new(path)?)?;
        self.depot.get(path.key())
    }

    /// A file to read and to seek in, without decoding all of it. Links are followed inside the archive.
    ///
    /// ```
    /// use std::io::{Read, Seek, SeekFrom};
    /// use vldepot::archive::Archive;
    ///
    /// let archive = Archive::memory()?;
    /// archive.write("a", b"0123456789")?;
    /// let mut file = archive.open_file("a")?;
    /// file.seek(SeekFrom::End(-3))?;
    /// let mut end = String::new();
    /// file.read_to_string(&mut end)?;
    /// assert_eq!(end, "789");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`read`](Self::read).
    pub fn open_file(&self, path: impl AsRef<[u8]>) -> Result<File<'_>> {
        let path = self.follow(ArchivePath::new(path)?)?;
        File::new(&self.depot, path.key())
    }

    /// What is at a path. Links are not followed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::metadata`].
    pub fn stat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        let path = ArchivePath::new(path)?;
        let found = if path.is_root() { None } else { Some(self.depot.location(path.key())) };
        if let Some(Ok(RecordLocation { length, .. })) = found {
            let attributes = self.attributes(&path, false)?;
            let kind = attributes.kind.filter(|kind| *kind == FileKind::Link).unwrap_or(FileKind::File);
            return Ok(Stat { path, kind, size: length, attributes });
        }
        match (self.is_dir(&path), found) {
            // A depot that lost records cannot tell that there is no file, but what is left lies in a folder.
            (Ok(true), _) => {
                let has_record = !path.is_root() && self.depot.contains(path.folder_key())?;
                let attributes =
                    if has_record { self.attributes(&path, true)? } else { FileAttributes::default() };
                Ok(Stat { path, kind: FileKind::Folder, size: 0, attributes })
            }
            (_, Some(Err(error))) if !error.is_not_found() => Err(error),
            (Err(error), _) => Err(error),
            (Ok(false), _) => Err(self.error(ErrorKind::NotFound, &path)),
        }
    }

    /// Gives a file, a folder or a link other attributes. A folder that has no record of its own gets one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::set_metadata`].
    pub fn set_attributes(&self, path: impl AsRef<[u8]>, attributes: &FileAttributes) -> Result<()> {
        let stat = self.stat(path)?;
        let attributes = FileAttributes { kind: stat.attributes.kind, ..attributes.clone() };
        match stat.kind {
            FileKind::Folder => self.create_dir_with(stat.path, &attributes),
            _ => self.depot.set_metadata(stat.path.key(), &attributes),
        }
    }

    /// Where a link leads, as it was written.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`].
    /// - [`ErrorKind::InvalidPath`] when it is no link.
    pub fn read_link(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let stat = self.stat(path)?;
        if stat.kind != FileKind::Link {
            let why = "it is no link".into();
            return Err(self.error(ErrorKind::InvalidPath { why }, &stat.path));
        }
        Ok(self.depot.get(stat.path.key())?.as_bytes().to_vec())
    }

    /// Whether there is a file, a folder or a link.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`], and those of [`Depot::contains`].
    pub fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool> {
        let path = ArchivePath::new(path)?;
        Ok(!path.is_root() && self.depot.contains(path.key())? || self.is_dir(&path)?)
    }

    /// Whether there is a file, or a link.
    ///
    /// # Errors
    /// The errors of [`exists`](Self::exists).
    pub fn is_file(&self, path: impl AsRef<[u8]>) -> Result<bool> {
        let path = ArchivePath::new(path)?;
        Ok(!path.is_root() && self.has(path.key())?)
    }

    /// Whether there is a folder: with a record of its own, or with something in it.
    ///
    /// # Errors
    /// The errors of [`exists`](Self::exists).
    pub fn is_dir(&self, path: impl AsRef<[u8]>) -> Result<bool> {
        let path = ArchivePath::new(path)?;
        if path.is_root() || self.depot.contains(path.folder_key())? {
            return Ok(true);
        }
        Ok(self.totals_below(&path)?.records > 0)
    }

    /// How many records are below a folder, its own included, and how many bytes they have. A file counts as
    /// one.
    ///
    /// This takes a search in the index, however much there is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::totals`].
    pub fn totals(&self, path: impl AsRef<[u8]>) -> Result<Totals> {
        let path = ArchivePath::new(path)?;
        let below = self.totals_below(&path)?;
        if below.records > 0 || path.is_root() {
            return Ok(below);
        }
        let mut totals = Totals::default();
        match self.depot.location(path.key()) {
            Ok(location) => (totals.records, totals.raw_bytes) = (1, location.length),
            Err(error) if error.is_not_found() => return Err(self.error(ErrorKind::NotFound, &path)),
            Err(error) => return Err(error),
        }
        Ok(totals)
    }

    /// The names of the records of a path: that of a file or a link, or those of a folder and of all that is
    /// in it.
    ///
    /// This is for what has no method here, such as [`shards::remove`](crate::shards::remove).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::sorted_keys`].
    pub fn keys_of(&self, path: impl AsRef<[u8]>) -> Result<Vec<Key>> {
        let path = ArchivePath::new(path)?;
        if self.is_file(&path)? {
            return Ok(vec![path.key()]);
        }
        let folder = self.folder(&path)?;
        self.keys_below(&folder)?.collect()
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::IsAFolder`], and those of [`Depot::remove`].
    pub fn remove_file(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = ArchivePath::new(path)?;
        if !path.is_root() && self.depot.remove(path.key())? {
            return Ok(());
        }
        let kind = if self.is_dir(&path)? { ErrorKind::IsAFolder } else { ErrorKind::NotFound };
        Err(self.error(kind, &path))
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAFolder`], [`ErrorKind::NotEmpty`], and those of
    /// [`Depot::remove`].
    pub fn remove_dir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = self.folder(path)?;
        let own = u64::from(!path.is_root() && self.depot.contains(path.folder_key())?);
        let below = self.totals_below(&path)?.records - own;
        if below > 0 || path.is_root() {
            return Err(self.error(ErrorKind::NotEmpty { records: below }, &path));
        }
        self.forget_known();
        self.depot.remove(path.folder_key())?;
        self.folders.take_below(&path);
        Ok(())
    }

    /// Removes a folder and all that is in it, and returns how many records that were.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAFolder`], and those of [`Depot::remove`].
    pub fn remove_dir_all(&self, path: impl AsRef<[u8]>) -> Result<u64> {
        let path = self.folder(path)?;
        // All names first: removing is not seen by a listing that has begun.
        let names = self.keys_below(&path)?.collect::<Result<Vec<_>>>()?;
        self.forget_known();
        for name in &names {
            self.depot.remove(name).inspect_err(|_| self.recount())?;
        }
        self.folders.take_below(&path);
        Ok(names.len() as u64)
    }

    /// Gives a file, a link or a folder with all that is in it another path, whose folders are made.
    ///
    /// A folder's files are renamed one by one, and take effect together with the next
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`], [`ErrorKind::Exists`].
    /// - [`ErrorKind::InvalidPath`] when a folder would be moved into itself.
    /// - [`ErrorKind::NotAFolder`] when one of the new folders is a file.
    /// - The errors of [`Depot::rename`].
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (from, to) = (ArchivePath::new(from)?, ArchivePath::new(to)?);
        if self.exists(&to)? {
            return Err(self.error(ErrorKind::Exists, &to));
        }
        if self.is_file(&from)? {
            self.make_folders_of(&to)?;
            return self.depot.rename(from.key(), to.key());
        }
        if !self.is_dir(&from)? {
            return Err(self.error(ErrorKind::NotFound, &from));
        }
        if from.is_root() || to.as_bytes().starts_with(&from.folder()) {
            let why = format!("the folder {from} cannot be moved into itself");
            return Err(self.error(ErrorKind::InvalidPath { why }, &to));
        }
        self.make_folders_of(&to)?;
        self.forget_known();
        for name in self.keys_below(&from)?.collect::<Result<Vec<_>>>()? {
            let old = bytes_of(&name);
            let new = [&to.folder(), &old[from.folder().len()..]].concat();
            self.depot.rename(&name, key_of(new)).inspect_err(|_| self.recount())?;
        }
        self.folders.rename(&from, &to);
        Ok(())
    }

    pub(super) fn error(&self, kind: ErrorKind, path: &ArchivePath) -> Error {
        let shown = if path.is_root() { ".".to_owned() } else { path.to_string() };
        Error::new(kind).at(self.depot.path()).of(format!("\"{shown}\""))
    }

    /// The path of a folder that is there.
    pub(super) fn folder(&self, path: impl AsRef<[u8]>) -> Result<ArchivePath> {
        let path = ArchivePath::new(path)?;
        if self.is_dir(&path)? {
            return Ok(path);
        }
        let kind = if self.is_file(&path)? { ErrorKind::NotAFolder } else { ErrorKind::NotFound };
        Err(self.error(kind, &path))
    }

    pub(super) fn attributes(&self, path: &ArchivePath, is_folder: bool) -> Result<FileAttributes> {
        let key = if is_folder { path.folder_key() } else { path.key() };
        match self.depot.metadata(key) {
            // Records of other programs have metadata of other kinds.
            Err(error) if matches!(error.kind(), ErrorKind::Metadata { .. }) => Ok(FileAttributes::default()),
            attributes => Ok(attributes?.unwrap_or_default()),
        }
    }

    /// What is at a path. Links are followed inside the archive.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`], and those of [`Depot::metadata`].
    /// - [`ErrorKind::InvalidPath`] when a link leads out of the archive, or in circles.
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        let asked = ArchivePath::new(path)?;
        let mut path = asked.clone();
        for _ in 0..MAX_LINKS {
            let stat = self.stat(&path)?;
            if stat.kind != FileKind::Link {
                return Ok(stat);
            }
            let target = self.depot.get(path.key())?;
            path = self.target(&path, target.view())?;
        }
        Err(self.error(ErrorKind::InvalidPath { why: "its links lead in circles".into() }, &asked))
    }

    /// The path of the file that a path leads to, by links or at once.
    pub(super) fn follow(&self, path: ArchivePath) -> Result<ArchivePath> {
        let Stat { path, kind, .. } = self.resolve(path)?;
        if kind == FileKind::Folder { Err(self.error(ErrorKind::IsAFolder, &path)) } else { Ok(path) }
    }

    /// Where a link leads, in the archive.
    fn target(&self, link: &ArchivePath, target: &[u8]) -> Result<ArchivePath> {
        let outside = || {
            let why = format!("it is a link out of the archive, to {}", target.escape_ascii());
            self.error(ErrorKind::InvalidPath { why }, link)
        };
        if target.first() == Some(&b'/') {
            return Err(outside());
        }
        let mut path = link.parent().unwrap_or_default();
        for part in target.split(|&byte| byte == b'/') {
            path = match part {
                b".." => path.parent().ok_or_else(outside)?,
                part => path.join(part)?,
            };
        }
        Ok(path)
    }

    /// Checks that there is no folder at `path`, and makes those that it lies in.
    fn make_room_for(&self, path: &ArchivePath) -> Result<()> {
        if path.is_root() || self.has(path.folder_key())? {
            return Err(self.error(ErrorKind::IsAFolder, path));
        }
        self.make_folders_of(path)
    }

    /// Makes the folders that `path` lies in.
    fn make_folders_of(&self, path: &ArchivePath) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let known = |folder: &ArchivePath| self.known().as_ref() == Some(folder);
        if known(&parent) {
            return Ok(());
        }
        for folder in path.folders() {
            if known(&folder) || self.has(folder.folder_key())? {
                continue;
            }
            if self.has(folder.key())? {
                return Err(self.error(ErrorKind::NotAFolder, &folder));
            }
            let attributes = FileAttributes::new().with_mode(FOLDER_MODE);
            self.depot.put_with_metadata(folder.folder_key(), &[], &attributes)?;
            self.folders.add(&folder);
        }
        *self.known() = Some(parent);
        Ok(())
    }

    /// Checks that a file can be made at `path`, and makes nothing.
    pub(super) fn check_room_for(&self, path: &ArchivePath) -> Result<()> {
        if self.is_dir(path)? {
            return Err(self.error(ErrorKind::IsAFolder, path));
        }
        for folder in path.folders() {
            if self.is_file(&folder)? {
                return Err(self.error(ErrorKind::NotAFolder, &folder));
            }
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<ArchivePath>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn forget_known(&self) {
        *self.known() = None;
    }
}

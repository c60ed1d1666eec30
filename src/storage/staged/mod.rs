//! A file that appears whole or not at all.
//!
//! It is written beside its place, and put there in one step when it is finished.
//!
//! ```text
//! proof       how a file that a killed process left is known to be ours
//! unfinished  the storage of a file whose first page is not written yet
//! sys         who owns a file, names that change places, free space
//! ```

mod proof;
mod sys;
mod unfinished;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use proof::is_unfinished;

use super::{FileStorage, Storage, sync_folder};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{OwnedByProcess, process_id};
use proof::{PAGE, Token};
use sys::Identity;
use unfinished::Unfinished;

/// How often to try to make a file and lock it before anyone takes it for a leftover.
const ATTEMPTS: u32 = 16;

/// A new file that appears at its path whole or not at all.
///
/// It is written beside its place, under a name that no other file has. [`publish`](Self::publish) syncs
/// it and then puts it in place in one step. If it is dropped before, the new file is removed.
///
/// If the process is killed, the path stays as it was. At most the unfinished file is left, named
/// `.NAME.vldepot-(32 digits).tmp`. Nothing opens it as a depot, and the next `StagedFile` of the same
/// path removes it. A leftover is recognised by its content: a file that only has such a name stays, and
/// so does one that a live process is writing.
///
/// ```
/// use vldepot::storage::StagedFile;
/// use vldepot::{Depot, Layout, Raw};
///
/// # fn main() -> Result<(), vldepot::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("converted.vld");
/// let new = StagedFile::replace(&path)?;
/// let depot = Depot::builder(Raw).create_in(new.storage())?;
/// depot.put("a", b"converted")?;
/// depot.close()?;
/// assert!(!path.exists());
/// new.publish()?;
/// assert_eq!(Depot::open(&path, Raw)?.get("a")?.view(), b"converted");
/// # Ok(())
/// # }
/// ```
///
/// # Replacing
///
/// - Only a regular file is replaced, and only while this value holds its writer's lock. It must still
///   be the file that was there when the work began. Any other file found in its place stays, and
///   publishing fails with [`ErrorKind::TargetChanged`].
/// - On Linux and macOS the two names are exchanged in one step. Then the file that came out is checked,
///   and put back if it is another one. Some network and FUSE file systems cannot exchange names, and
///   neither can other systems. There the path is checked first and then renamed over: a file put there
///   between the two steps is lost.
/// - The new file gets the owner, group, permissions, extended attributes, access control list and
///   SELinux label of the old one, as far as the process may set them. If it may not, the new file is
///   open to fewer users, never to more. Until it is finished it is open to its owner alone.
/// - For a symbolic link, the file that it leads to is replaced, and the link stays. Other names of the
///   old file (hard links) still lead to the old file. Its room is not given back while any of them
///   exist.
///
/// If no file was there at the beginning, none may be there at the end: [`ErrorKind::PathExists`]. A
/// file system that has neither hard links nor a rename that refuses to replace is checked first and
/// then renamed: see above.
pub struct StagedFile {
    target: Target,
    file: Arc<Unfinished>,
    /// Where the file is being written.
    path: PathBuf,
    identity: Identity,
    /// The file whose owner, permissions and attributes it gets.
    like: Option<File>,
    /// The process that makes the file. A fork of it leaves the file alone.
    owner: OwnedByProcess,
    placed: bool,
}

/// Where the file will be put.
struct Target {
    /// The path as the caller gave it.
    given: PathBuf,
    /// The path without links.
    path: PathBuf,
    name: OsString,
    old: Option<Old>,
}

/// The file to be replaced, whose lock is held.
struct Old {
    file: Arc<FileStorage>,
    identity: Identity,
    len: u64,
    modified: Option<SystemTime>,
}

impl Old {
    fn new(file: Arc<FileStorage>, found: &Metadata) -> Self {
        let (identity, len, modified) = (Identity::of(found), found.len(), found.modified().ok());
        Self { file, identity, len, modified }
    }

    /// Whether nobody has written to the file meanwhile without asking for the lock.
    fn is_as_it_was(&self) -> io::Result<bool> {
        let now = self.file.file().metadata()?;
        Ok(now.len() == self.len && now.modified().ok() == self.modified)
    }
}

fn io_error(path: &Path, action: &str, source: io::Error) -> Error {
    Error::io(path, action, source)
}

impl Target {
    /// A path where no file is.
    fn absent(given: &Path) -> Result<Self> {
        let exists = || ErrorKind::PathExists.at(given.to_owned());
        match given.symlink_metadata() {
            Ok(_) => return Err(exists()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error(given, "create the file", source)),
        }
        let name = given.file_name().ok_or_else(exists)?.to_owned();
        let folder = folder(given).canonicalize();
        let folder = folder.map_err(|source| io_error(given, "create the file", source))?;
        Ok(Self { given: given.to_owned(), path: folder.join(&name), name, old: None })
    }

    /// The file at a path, if there is one.
    fn existing(given: &Path) -> Result<Self> {
        let found = match fs::metadata(given) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if given.is_symlink() {
                    return Err(not_a_file(given, "a symbolic link to a file that is not there"));
                }
                return Self::absent(given);
            }
            Err(source) => return Err(io_error(given, "open the file", source)),
        };
        check_file(given, &found)?;
        let failed = |action| move |source| io_error(given, action, source);
        let path = given.canonicalize().map_err(failed("open the file"))?;
        let file = FileStorage::open_writable(&path).map_err(failed("open the file for writing"))?;
        if !file.try_lock().map_err(failed("lock the file"))? {
            return Err(ErrorKind::Locked.at(given.to_owned()));
        }
        Self::locked(given, Arc::new(file))
    }

    /// The target for a file that is open and locked. `file` was opened under its path without links.
    fn locked(given: &Path, file: Arc<FileStorage>) -> Result<Self> {
        let found = file.file().metadata().map_err(|source| io_error(given, "open the file", source))?;
        check_file(given, &found)?;
        let path = file.path().to_owned();
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Self { given: given.to_owned(), path, name, old: Some(Old::new(file, &found)) })
    }

    fn error(&self, action: &str, source: io::Error) -> Error {
        io_error(&self.given, action, source)
    }

    fn changed(&self, found: impl Into<String>) -> Error {
        ErrorKind::TargetChanged { found: found.into() }.at(self.given.clone())
    }

    /// Checks what must be true before a file is put there.
    fn check(&self) -> Result<()> {
        let Some(old) = &self.old else { return Ok(()) };
        match Identity::at(&self.path) {
            Ok(found) if found == old.identity => {}
            Ok(_) => return Err(self.changed("another file was put in its place meanwhile")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.changed("it is not there any more"));
            }
            Err(source) => return Err(self.error("look at the file to be replaced", source)),
        }
        match old.is_as_it_was() {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.changed("it was written to meanwhile")),
            Err(source) => Err(self.error("look at the file to be replaced", source)),
        }
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn not_a_file(path: &Path, found: &'static str) -> Error {
    ErrorKind::NotAFile { found }.at(path)
}

/// Refuses anything that is not a regular file.
///
/// # Errors
/// [`ErrorKind::NotAFile`].
pub(crate) fn check_file(path: &Path, found: &Metadata) -> Result<()> {
    let found = found.file_type();
    if found.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return Err(not_a_file(path, "a pipe"));
        }
        if found.is_socket() {
            return Err(not_a_file(path, "a socket"));
        }
        if found.is_block_device() || found.is_char_device() {
            return Err(not_a_file(path, "a device"));
        }
    }
    Err(not_a_file(path, if found.is_dir() { "a folder" } else { "something else" }))
}

/// Refuses to make a file at the path of the file that it is made from.
///
/// # Errors
/// [`ErrorKind::SameFile`].
pub(crate) fn check_another(path: &Path, source: &Path) -> Result<()> {
    let same = match (source.canonicalize(), path.canonicalize()) {
        (Ok(source), Ok(path)) if source == path => true,
        // They may be two names of one file.
        (Ok(source), Ok(path)) if cfg!(unix) => match (Identity::at(&source), Identity::at(&path)) {
            (Ok(source), Ok(path)) => source == path,
            _ => false,
        },
        _ => false,
    };
    if same { Err(ErrorKind::SameFile { source_path: source.to_owned() }.at(path)) } else { Ok(()) }
}

/// Beginning a new file.
impl StagedFile {
    /// Begins a new file at `path`, where no file may be.
    ///
    /// # Errors
    /// [`ErrorKind::PathExists`] if the path is taken. [`ErrorKind::Io`] if no file can be made in that
    /// folder.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::begin(Target::absent(path.as_ref())?, sys::FOR_ALL, None)
    }

    /// Like [`create`](Self::create), but the file is open to nobody who cannot open the file `model`.
    ///
    /// If there is no such file, this is the same as `create`.
    pub(crate) fn create_no_more_open(path: &Path, model: &Path) -> Result<Self> {
        let target = Target::absent(path)?;
        let mode = fs::metadata(model).map_or(sys::FOR_ALL, |model| sys::mode(&model));
        Self::begin(target, mode, None)
    }

    /// Like [`create`](Self::create), but with the owner, group, permissions and attributes of the file
    /// `model`.
    pub(crate) fn create_like(path: &Path, model: &FileStorage) -> Result<Self> {
        let target = Target::absent(path)?;
        let model = model.file().try_clone().map_err(|source| target.error("create the file", source))?;
        Self::begin(target, sys::FOR_OWNER, Some(model))
    }

    /// Begins a new file that replaces the one at `path`, if there is one.
    ///
    /// Takes the writer's lock of the old file, so nobody appends to a file that is about to be
    /// replaced. The old file may have any content: it need not be a depot.
    ///
    /// # Errors
    /// - [`ErrorKind::Locked`] while a writer has the old file open.
    /// - [`ErrorKind::NotAFile`] if the path is not a regular file.
    /// - [`ErrorKind::Io`] if the old file cannot be opened for writing, or no file can be made beside
    ///   it.
    pub fn replace(path: impl AsRef<Path>) -> Result<Self> {
        Self::begin_replacing(Target::existing(path.as_ref())?)
    }

    /// Like [`replace`](Self::replace), for a file that is open and locked already, under its path
    /// without links.
    pub(crate) fn in_place_of(given: &Path, old: Arc<FileStorage>) -> Result<Self> {
        Self::begin_replacing(Target::locked(given, old)?)
    }

    fn begin_replacing(target: Target) -> Result<Self> {
        let old = target.old.as_ref().map(|old| old.file.file().try_clone());
        let old = old.transpose().map_err(|source| target.error("open the file", source))?;
        let mode = if old.is_some() { sys::FOR_OWNER } else { sys::FOR_ALL };
        Self::begin(target, mode, old)
    }

    fn begin(target: Target, mode: u32, like: Option<File>) -> Result<Self> {
        remove_leftovers(folder(&target.path), &target.name);
        let (file, path) =
            new_file(&target, mode).map_err(|source| target.error("create a new file beside it", source))?;
        let identity = file.file().metadata().map(|file| Identity::of(&file));
        let made = identity.and_then(|identity| {
            Unfinished::new(file, &target.given, &target.name).map(|file| (identity, file))
        });
        let (identity, file) = made.map_err(|source| {
            // The error that led here is the one to report.
            let _ = fs::remove_file(&path);
            target.error("write a new file beside it", source)
        })?;
        let owner = OwnedByProcess::here();
        Ok(Self { target, file: Arc::new(file), path, identity, like, owner, placed: false })
    }
}

/// Makes the file and locks it.
fn new_file(target: &Target, mode: u32) -> io::Result<(FileStorage, PathBuf)> {
    let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..ATTEMPTS {
        let token = Token::at_work(&target.name, random());
        let path = target.path.with_file_name(token.file_name(&target.name));
        let file = match sys::create_new(&path, mode) {
            Ok(file) => FileStorage::from_file(file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        // Before the file is locked, another process may take it for a leftover and remove it.
        match file.try_lock() {
            Ok(true) => return Ok((file, path)),
            Ok(false) => refused = io::ErrorKind::WouldBlock.into(),
            Err(error) => refused = error,
        }
        let _ = fs::remove_file(&path);
    }
    Err(refused)
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Seeded by the system's randomness.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(process_id());
    hasher.finish()
}

/// Removes what killed processes left of files for the target called `name`.
///
/// A file stays if it cannot be read, is locked, or is not provably ours. It costs room, but does no
/// harm.
fn remove_leftovers(folder: &Path, name: &OsStr) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if let Some(token) = Token::of(&entry.file_name(), name) {
            let _ = remove_leftover(&entry.path(), token, name);
        }
    }
}

fn remove_leftover(path: &Path, token: Token, name: &OsStr) -> io::Result<()> {
    let file = sys::open_to_look(path)?;
    let found = file.metadata()?;
    // A live file is locked by the process that writes it, and so is the file it replaces.
    if !found.is_file() || file.try_lock().is_err() {
        return Ok(());
    }
    let mut start = Vec::new();
    (&file).take(PAGE as u64).read_to_end(&mut start)?;
    if token.proves(name, &start) && Identity::at(path)? == Identity::of(&found) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Writing the file, and putting it in place.
impl StagedFile {
    /// The empty storage to write to, for [`Depot::create_in`](crate::DepotBuilder::create_in).
    ///
    /// Its errors name the path that the file will have.
    ///
    /// The depot can also be read through it, even after [`close`](crate::Depot::close): see
    /// [`Depot::open_in`](crate::DepotBuilder::open_in).
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.file) as Arc<dyn Storage>
    }

    /// Where the file is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails early if the file system has no room for `needed` bytes.
    ///
    /// If the system cannot tell, this succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::NoRoom`].
    pub fn check_room(&self, needed: u64) -> Result<()> {
        match sys::free_bytes(self.file.file().file()) {
            Some(free) if free < needed => {
                Err(ErrorKind::NoRoom { needed, free }.at(self.target.given.clone()))
            }
            _ => Ok(()),
        }
    }

    /// How many other names (hard links) the file to be replaced has.
    pub(crate) fn other_names(&self) -> u64 {
        let old = self.target.old.as_ref().and_then(|old| old.file.file().metadata().ok());
        old.map_or(0, |old| sys::other_names(&old))
    }

    /// Puts the file in place, durably. The depot that wrote it must be closed.
    ///
    /// # Errors
    /// - [`ErrorKind::TargetChanged`] if the path leads to another file than at the beginning.
    /// - [`ErrorKind::PathExists`] if there was no file at the beginning, and now there is one.
    /// - [`ErrorKind::StillOpen`] if a depot is still writing the new file.
    /// - [`ErrorKind::Forked`] in a fork of the process that began it.
    /// - [`ErrorKind::Io`].
    ///
    /// After an error nothing is changed, and the new file is removed. There is one exception: if only
    /// the folder cannot be synced, the new file is in place, and the error says so.
    pub fn publish(mut self) -> Result<()> {
        self.place()?;
        self.settle()
    }

    /// The part of [`publish`](Self::publish) that leaves the target as it was if it fails.
    pub(crate) fn place(&mut self) -> Result<()> {
        if !self.owner.is_here() {
            return Err(ErrorKind::Forked { owner: self.owner.id() }.at(self.target.given.clone()));
        }
        if self.file.is_written_to() {
            return Err(ErrorKind::StillOpen.at(self.target.given.clone()));
        }
        self.target.check()?;
        self.finish().map_err(|source| self.target.error("finish the new file", source))?;
        match &self.target.old {
            None => sys::rename_new(&self.path, &self.target.path).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => ErrorKind::PathExists.at(self.target.given.clone()),
                _ => self.target.error("put the new file in place", source),
            })?,
            Some(old) => self.swap(old)?,
        }
        self.placed = true;
        Ok(())
    }

    /// Makes the file complete and durable, with the owner, permissions and attributes it should have.
    fn finish(&mut self) -> io::Result<()> {
        let file = self.file.file().file();
        file.sync_all()?;
        if let Some(like) = &self.like {
            sys::look_like(file, like)?;
        }
        let mut old_page = Vec::new();
        if let Some(old) = &self.target.old {
            let page = old.len.min(PAGE as u64);
            old_page.resize(usize::try_from(page).unwrap_or(0), 0);
            old.file.read_at(0, &mut old_page)?;
        }
        let token = Token::finished(&self.target.name, &self.file.first_page(), &old_page);
        let path = self.target.path.with_file_name(token.file_name(&self.target.name));
        // Under its present name the file could not be recognised as ours once its first page is
        // written. It needs the new name in case this process ends before the next step.
        if sys::rename_new(&self.path, &path).is_ok() {
            self.path = path;
        }
        self.file.finish()?;
        file.sync_all()
    }

    /// Exchanges the two files, and removes the old one.
    fn swap(&self, old: &Old) -> Result<()> {
        let failed = |source| self.target.error("put the new file in place", source);
        match sys::exchange(&self.path, &self.target.path) {
            None => self.look_and_rename(),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.target.changed("it is not there any more"))
            }
            Some(Err(error)) => Err(failed(error)),
            Some(Ok(())) => {
                let came_out = Identity::at(&self.path).map_err(failed)?;
                if came_out != old.identity {
                    return Err(self.swap_back("another file was put in its place meanwhile"));
                }
                if !old.is_as_it_was().map_err(failed)? {
                    return Err(self.swap_back("it was written to meanwhile"));
                }
                fs::remove_file(&self.path).map_err(|error| {
                    let _ = self.swap_back("");
                    self.target.error("take the old file away", error)
                })
            }
        }
    }

    /// Replaces the file where names cannot be exchanged. A file put there between the two steps is
    /// lost.
    fn look_and_rename(&self) -> Result<()> {
        // Finishing the new file took time, so check again.
        self.target.check()?;
        fs::rename(&self.path, &self.target.path)
            .map_err(|source| self.target.error("put the new file in place", source))
    }

    /// Undoes an exchange, until the new file comes out again. Returns the error that says what
    /// happened.
    fn swap_back(&self, why: &str) -> Error {
        for _ in 0..ATTEMPTS {
            let done = matches!(sys::exchange(&self.path, &self.target.path), Some(Ok(())));
            if done && Identity::at(&self.path).is_ok_and(|found| found == self.identity) {
                return self.target.changed(why);
            }
            if !done {
                break;
            }
        }
        self.target.changed(format!("{why}, and lies at {} now", self.path.display()))
    }

    /// Makes the name durable, and releases the locks.
    pub(crate) fn settle(self) -> Result<()> {
        let synced = sync_folder(&self.target.path);
        let _ = self.file.file().unlock();
        synced.map_err(|source| {
            self.target
                .error("sync the folder: the new file is in place, and a power loss may undo that", source)
        })
    }
}

impl std::fmt::Debug for StagedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StagedFile({}, for {})", self.path.display(), self.target.given.display())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let ours = || Identity::at(&self.path).is_ok_and(|found| found == self.identity);
        if !self.placed && self.owner.is_here() && ours() {
            // If it cannot be removed, the next `StagedFile` of this path will remove it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Depot, Raw};

    fn depot(staged: &StagedFile, name: &str) {
        let depot = Depot::builder(Raw).create_in(staged.storage()).unwrap();
        depot.put(name, b"here").unwrap();
        depot.close().unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn an_unfinished_file_is_a_storage_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let n = std::cell::Cell::new(0);
        let kept = std::cell::RefCell::new(Vec::new());
        crate::testing::storage_conformance(|| {
            n.set(n.get() + 1);
            let staged = StagedFile::create(folder.path().join(n.get().to_string())).unwrap();
            let storage = staged.storage();
            kept.borrow_mut().push(staged);
            storage
        });
    }

    #[test]
    fn whatever_was_written_is_in_the_file_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        for (n, len) in [0, 1, 4095, 4096, 4097, 10_000].into_iter().enumerate() {
            let path = folder.path().join(n.to_string());
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let staged = StagedFile::create(&path).unwrap();
            let storage = staged.storage();
            storage.write_at(0, &bytes).unwrap();
            staged.publish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            let mut read = vec![0; len];
            storage.read_at(0, &mut read).unwrap();
            assert_eq!((read, storage.len().unwrap()), (bytes, len as u64));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_moved_in_at_the_last_moment_comes_back_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        fs::write(&path, b"old").unwrap();
        let mut staged = StagedFile::replace(&path).unwrap();
        depot(&staged, "new");
        staged.finish().unwrap();
        fs::write(folder.path().join("newer"), b"newer").unwrap();
        fs::rename(folder.path().join("newer"), &path).unwrap();
        // Swaps after all checks, as if the change came between the last check and the exchange.
        let error = staged.swap(staged.target.old.as_ref().unwrap()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TargetChanged { .. }), "{error:?}");
        drop(staged);
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"newer".to_vec(), vec!["run.vld".into()])
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_system_that_cannot_exchange_names_is_looked_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        fs::write(&path, b"old").unwrap();
        let mut staged = StagedFile::replace(&path).unwrap();
        depot(&staged, "new");
        staged.finish().unwrap();
        fs::rename(&path, folder.path().join("aside")).unwrap();
        fs::write(&path, b"newer").unwrap();
        let error = staged.look_and_rename().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TargetChanged { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        fs::rename(folder.path().join("aside"), &path).unwrap();
        staged.look_and_rename().unwrap();
        staged.placed = true;
        staged.settle().unwrap();
        assert_eq!(Depot::open(&path, Raw).unwrap().get("new").unwrap().view(), b"here");
    }

    /// Stops as if the process had ended here: nothing is tidied up, and no lock is kept.
    fn killed(mut staged: StagedFile) -> PathBuf {
        staged.placed = true;
        staged.path.clone()
    }

    #[test]
    fn what_was_left_at_any_moment_is_removed_by_the_next_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        let begun = || StagedFile::replace(&path).unwrap();
        let finished = |name: &str| {
            let mut staged = begun();
            depot(&staged, name);
            staged.finish().unwrap();
            staged
        };
        let old = begun();
        depot(&old, "old");
        old.publish().unwrap();

        let staged = begun();
        depot(&staged, "new");
        let at_work = killed(staged);
        assert!(
            matches!(Depot::open(&at_work, Raw), Err(error) if matches!(error.kind(), ErrorKind::NotADepot { .. }))
        );
        assert!(
            matches!(crate::maintain::verify(&at_work, &crate::maintain::VerifyOptions::default(), |_| {}), Err(error) if matches!(error.kind(), ErrorKind::NotADepot { .. }))
        );
        let other = StagedFile::create(folder.path().join("run.vld2")).unwrap();
        assert!(at_work.exists());
        drop(other);

        // Each new file removes what the one before left.
        let whole = killed(finished("new"));
        assert!(!at_work.exists() && Depot::open(&whole, Raw).is_ok());

        #[cfg(unix)]
        {
            let staged = finished("newer");
            assert!(!whole.exists());
            sys::exchange(&staged.path, &path).expect("names change places here").unwrap();
            let replaced = killed(staged);
            assert!(Depot::open(&replaced, Raw).unwrap().contains("old").unwrap());
            drop(begun());
            assert!(!replaced.exists() && Depot::open(&path, Raw).unwrap().contains("newer").unwrap());
        }
        drop(begun());
        assert_eq!(names(folder.path()), ["run.vld"]);
    }

    #[test]
    fn files_that_only_look_like_ours_and_live_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        let name = OsStr::new("run.vld");
        let mine = folder.path().join(Token::at_work(name, 1).file_name(name));
        let empty = folder.path().join(".run.vld.vldepot-0123456789abcdef0123456789abcdef.tmp");
        let compacting = folder.path().join("run.vld.compacting");
        let depot_of_mine = folder.path().join(Token::at_work(name, 2).file_name(name));
        fs::write(&mine, b"a poem").unwrap();
        fs::write(&empty, b"").unwrap();
        fs::write(&compacting, b"mine").unwrap();
        drop(Depot::create(&depot_of_mine, Raw).unwrap());
        let live = StagedFile::create(&path).unwrap();
        let second = StagedFile::create(&path).unwrap();
        for path in [&mine, &empty, &compacting, &depot_of_mine, &live.path, &second.path] {
            assert!(path.exists(), "{}", path.display());
        }
        depot(&live, "first");
        depot(&second, "second");
        live.publish().unwrap();
        assert!(matches!(second.publish(), Err(error) if matches!(error.kind(), ErrorKind::PathExists)));
        assert!(Depot::open(&path, Raw).unwrap().contains("first").unwrap());
        assert_eq!(names(folder.path()).len(), 5);
    }

    #[test]
    fn a_rename_in_two_steps_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for rename in [sys::rename_new, sys::link_or_look] {
            fs::write(&from, b"new").unwrap();
            fs::write(&to, b"old").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(
                (fs::read(&from).unwrap(), fs::read(&to).unwrap()),
                (b"new".to_vec(), b"old".to_vec())
            );
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert!(!from.exists() && fs::read(&to).unwrap() == b"new");
        }
    }
}

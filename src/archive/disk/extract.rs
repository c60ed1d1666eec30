//! Out of an archive, to the disk.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{ffi, thread};

use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::report::{Failure, Progress, Transfer, lock, threads};
use super::selection::Selection;
use super::xattrs;
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;
use crate::archive::stat::{FileAttributes, FileKind};
use crate::archive::tree::Entry;
use crate::{Error, ErrorKind, Key, Raw, Record, Result};

/// How many records a writer takes at once.
const AT_ONCE: usize = 256;

/// Longer records are written piece by piece.
const SHORT: u64 = 4 << 20;

/// Bytes of records that are decoded together.
const TOGETHER: u64 = 8 << 20;

/// Zeros of a long file that become a hole.
const HOLE: usize = 64 << 10;

/// What to extract, and how. See [`Archive::extract`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ExtractOptions {
    threads: Option<usize>,
    selection: Selection,
    overwrite: bool,
    owner: bool,
}

impl ExtractOptions {
    /// Everything, over nothing that is there, with as many writers as there are cores, but at most 4.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads that write files.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }

    /// Sets which paths are taken.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Replaces files and links that are there. Folders are never replaced.
    #[must_use]
    pub fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// Gives files the owner that the archive has, and the bits for setuid, setgid and sticky. Only
    /// root can.
    #[must_use]
    pub fn with_owner(mut self) -> Self {
        self.owner = true;
        self
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(threads)
    }

    fn wants(&self, entry: &Entry) -> bool {
        let (selection, path) = (&self.selection, &entry.path);
        let included = if entry.is_dir { !selection.is_of_files() } else { selection.includes(path) };
        included && !selection.excludes(path) && !selection.excludes_a_folder_of(path)
    }
}

/// What all writers of one extraction know and count.
struct Work<'w> {
    archive: &'w Archive,
    options: &'w ExtractOptions,
    target: &'w Path,
    root: Folder,
    /// Permission bits that the system takes away from new files; all if that is not known.
    umask: u32,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    extracted: Transfer,
    /// Folders get their modes and times when all is in them.
    folders: Vec<ArchivePath>,
    /// Why nothing more can be written, if so.
    full: Option<io::Error>,
}

impl Archive {
    /// Writes a file or a link, or a folder with all that is in it, to the folder `target`, with its whole
    /// path in the archive.
    ///
    /// Modes, times and extended attributes are those of the archive. A damaged record is a failure of that
    /// file, and nothing is left of it. Links are written as they are, wherever they lead, and none is
    /// followed: where a folder should be and a link is, that is a failure. A failure does not stop the
    /// others.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`].
    /// - [`ErrorKind::Io`] when the target cannot be made or opened, or the disk is full.
    /// - [`Error::is_damage`] when not all names can be listed.
    pub fn extract(
        &self,
        from: &ArchivePath,
        target: impl AsRef<Path>,
        options: &ExtractOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Transfer> {
        self.extract_listed(self.entries(from)?, target.as_ref(), options, &mut progress)
    }

    /// Writes some files, links and folders, those of [`walk`](Self::walk) that are given. What is in a
    /// folder is not written with it. Otherwise like [`extract`](Self::extract).
    ///
    /// # Errors
    /// The errors of [`extract`](Self::extract).
    pub fn extract_entries(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        target: impl AsRef<Path>,
        options: &ExtractOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Transfer> {
        self.extract_listed(entries.into_iter().map(Ok), target.as_ref(), options, &mut progress)
    }

    fn extract_listed(
        &self,
        entries: impl Iterator<Item = Result<Entry>>,
        target: &Path,
        options: &ExtractOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transfer> {
        let io = |source| refused("make the folder", target, source);
        std::fs::create_dir_all(target).map_err(io)?;
        // The target itself may be a link.
        let root =
            fs::open(target, FOLDER - OFlags::NOFOLLOW, Mode::empty()).map_err(|error| io(error.into()))?;
        let root = Folder::new(&[], root);
        let work = Work { archive: self, options, target, root, umask: umask(), done: Mutex::default() };
        let (give, take) = sync_channel::<Vec<Entry>>(2 * options.threads());
        let take = Arc::new(Mutex::new(take));
        let listed = thread::scope(|scope| {
            for _ in 0..options.threads() {
                let (work, take) = (&work, Arc::clone(&take));
                scope.spawn(move || {
                    let mut writer = Writer { work, open: Vec::new(), written: Done::default() };
                    loop {
                        let next = lock(&take).recv();
                        let Ok(batch) = next else { return };
                        writer.write_all(&batch);
                    }
                });
            }
            // Only the writers have it: if all have panicked, nobody waits for them.
            drop(take);
            let give = give;
            work.list(entries, &give, progress)
        });
        work.finish(listed, progress)
    }

    /// A file, or a folder and all below it.
    fn entries(&self, from: &ArchivePath) -> Result<Box<dyn Iterator<Item = Result<Entry>> + '_>> {
        if self.is_file(from)? {
            return Ok(Box::new(std::iter::once(Ok(Entry { path: from.clone(), is_dir: false }))));
        }
        let below = self.walk(from)?;
        let has_own = !from.is_root() && self.depot().contains(from.folder_key())?;
        let own = has_own.then(|| Ok(Entry { path: from.clone(), is_dir: true }));
        Ok(Box::new(own.into_iter().chain(below)))
    }
}

fn refused(action: &str, path: &Path, source: io::Error) -> Error {
    Error::new(ErrorKind::Io { action: action.into() }).at(path).because(source)
}

impl Work<'_> {
    /// The bytes of the first entries that are short files or links, and none for others. A record that
    /// cannot be read is read again alone.
    fn read(&self, entries: &[Entry]) -> Vec<Option<Record<Raw>>> {
        let depot = self.archive.depot();
        let mut records = Vec::with_capacity(entries.len());
        let (mut numbers, mut keys, mut bytes) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            if bytes > TOGETHER {
                break;
            }
            records.push(None);
            let key = entry.path.key();
            let length =
                if entry.is_dir { None } else { depot.location(&key).ok().map(|found| found.length) };
            if let Some(length) = length.filter(|length| *length <= SHORT) {
                bytes += length;
                numbers.push(records.len() - 1);
                keys.push(key);
            }
        }
        for (number, record) in numbers.into_iter().zip(depot.get_many(&keys).unwrap_or_default()) {
            records[number] = Some(record);
        }
        records
    }

    /// Hands out what is wanted, until the writers cannot go on.
    fn list(
        &self,
        entries: impl Iterator<Item = Result<Entry>>,
        give: &SyncSender<Vec<Entry>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let mut batch = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) if self.options.wants(&entry) => batch.push(entry),
                Ok(_) => {}
                // Nothing can be written for a name that is no path.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidPath { .. }) => {
                    let failure = Failure { path: self.target.to_owned(), error: io::Error::other(error) };
                    lock(&self.done).extracted.fail(failure);
                }
                Err(error) => return Err(error),
            }
            if batch.len() >= AT_ONCE {
                if give.send(std::mem::take(&mut batch)).is_err() || lock(&self.done).full.is_some() {
                    return Ok(());
                }
                progress(lock(&self.done).extracted.progress());
            }
        }
        // It fails only when a writer has panicked, which ends the scope.
        _ = give.send(batch);
        Ok(())
    }

    /// Gives the folders their modes and times, those below before those above.
    fn finish(self, listed: Result<()>, progress: &mut dyn FnMut(Progress)) -> Result<Transfer> {
        let mut folders = std::mem::take(&mut lock(&self.done).folders);
        folders.sort_unstable();
        let mut writer = Writer { work: &self, open: Vec::new(), written: Done::default() };
        for folder in folders.into_iter().rev() {
            let done = writer.finish_folder(&folder);
            writer.note(&folder, done);
        }
        writer.pass_on();
        drop(writer);
        progress(lock(&self.done).extracted.progress());
        let Done { extracted, full, .. } = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = full {
            return Err(refused("write files", self.target, source));
        }
        listed.map(|()| extracted)
    }
}

/// How folders are opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How files are made.
const FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Folders that a writer keeps open, one in the other. Deeper ones are opened each time.
const KEPT_OPEN: usize = 64;

/// Writes entries below the target.
struct Writer<'w> {
    work: &'w Work<'w>,
    /// Folders, each in the one before it.
    open: Vec<Folder>,
    /// What is not yet among what all have done.
    written: Done,
}

impl Writer<'_> {
    fn write_all(&mut self, batch: &[Entry]) {
        let mut rest = batch;
        while !rest.is_empty() && lock(&self.work.done).full.is_none() {
            let records = self.work.read(rest);
            let (now, later) = rest.split_at(records.len());
            for (entry, record) in now.iter().zip(records) {
                let done = self.write(entry, record);
                self.note(&entry.path, done);
                if self.written.full.is_some() {
                    break;
                }
            }
            rest = later;
            self.pass_on();
        }
    }

    fn note(&mut self, path: &ArchivePath, done: io::Result<()>) {
        let Err(error) = done else { return };
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            self.written.full = Some(error);
        } else {
            let path = self.work.target.join(ffi::OsStr::from_bytes(path.as_bytes()));
            self.written.extracted.fail(Failure { path, error });
        }
    }

    /// Tells the others what was written.
    fn pass_on(&mut self) {
        let Done { extracted, folders, full } = std::mem::take(&mut self.written);
        let mut done = lock(&self.work.done);
        done.extracted = std::mem::take(&mut done.extracted).and(extracted);
        done.folders.extend(folders);
        done.full = done.full.take().or(full);
    }

    /// Writes an entry, whose bytes may be here already.
    fn write(&mut self, entry: &Entry, record: Option<Record<Raw>>) -> io::Result<()> {
        let path = &entry.path;
        if entry.is_dir {
            self.folder(path)?;
            self.written.extracted.folders += 1;
            self.written.folders.push(path.clone());
            return Ok(());
        }
        let work = self.work;
        let attributes = work.archive.attributes(path, false).map_err(io::Error::other)?;
        let folder = self.folder(&path.parent().unwrap_or_default())?;
        let name = path.file_name().unwrap_or_default();
        if attributes.kind == Some(FileKind::Link) {
            write_link(work.archive, path, folder.opened.as_fd(), name, &attributes, work.options)?;
            self.written.extracted.links += 1;
            return Ok(());
        }
        let bytes = write_file(work, path, record, folder, name, &attributes)?;
        self.written.extracted.files += 1;
        self.written.extracted.bytes += bytes;
        Ok(())
    }

    /// Opens a folder, and makes it and those it lies in where they are missing.
    fn folder(&mut self, path: &ArchivePath) -> io::Result<&Folder> {
        let names = || path.as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        let same = names().zip(&self.open).take_while(|(name, open)| *name == open.name).count();
        self.open.truncate(same);
        let mut deep: Option<Folder> = None;
        for name in names().skip(same) {
            let above = deep.as_ref().or(self.open.last()).unwrap_or(&self.work.root);
            let opened = Folder::new(name, open_folder(above.opened.as_fd(), name)?);
            // Far down, only the last one stays open until the next call.
            if deep.is_some() || self.open.len() >= KEPT_OPEN {
                deep = Some(opened);
            } else {
                self.open.push(opened);
            }
        }
        if let Some(deep) = deep {
            // No name is empty: it is not taken for another one.
            self.open.push(Folder { name: Vec::new(), ..deep });
        }
        Ok(self.open.last().unwrap_or(&self.work.root))
    }

    fn finish_folder(&mut self, path: &ArchivePath) -> io::Result<()> {
        let (archive, options) = (self.work.archive, self.work.options);
        let attributes = archive.attributes(path, true).map_err(io::Error::other)?;
        let folder = self.folder(path)?;
        give(folder.opened.as_fd(), &attributes, options)
    }
}

/// A folder that is open.
struct Folder {
    name: Vec<u8>,
    opened: OwnedFd,
    /// Whether new files in it get the mode that is asked for, but for the bits of the umask. With an access
    /// control list for new files, they get what that says.
    has_umask: bool,
}

impl Folder {
    fn new(name: &[u8], opened: OwnedFd) -> Self {
        let has_umask = fs::fgetxattr_query(&opened, "system.posix_acl_default").is_err();
        Self { name: name.to_vec(), opened, has_umask }
    }
}

fn open_folder(above: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    match fs::openat(above, name, FOLDER, Mode::empty()) {
        Err(Errno::NOENT) => {}
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let what = match fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Symlink => {
                    "a link, which is not followed,"
                }
                _ => "a file",
            };
            let name = ArchivePath::shown(name);
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{what} is where the folder {name} should be"),
            ));
        }
        opened => return Ok(opened?),
    }
    match fs::mkdirat(above, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::openat(above, name, FOLDER, Mode::empty())?)
}

/// Makes something new, by `make`. What is in its place is removed if that is wanted.
fn make<T>(
    folder: BorrowedFd<'_>,
    name: &[u8],
    options: &ExtractOptions,
    make: impl Fn() -> rustix::io::Result<T>,
) -> io::Result<T> {
    match make() {
        Err(Errno::EXIST) if options.overwrite => {
            fs::unlinkat(folder, name, AtFlags::empty())?;
            Ok(make()?)
        }
        Err(Errno::EXIST) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, and was not replaced"))
        }
        made => Ok(made?),
    }
}

/// Writes a file, and returns its length.
fn write_file(
    work: &Work<'_>,
    path: &ArchivePath,
    record: Option<Record<Raw>>,
    in_folder: &Folder,
    name: &[u8],
    attributes: &FileAttributes,
) -> io::Result<u64> {
    let (depot, options, folder) = (work.archive.depot(), work.options, in_folder.opened.as_fd());
    let key = path.key();
    let short = match record {
        Some(record) => Some(record),
        // A damaged record is found before anything is written for it, if it is short.
        None if depot.location(&key).map_err(io::Error::other)?.length <= SHORT => {
            Some(depot.get(&key).map_err(io::Error::other)?)
        }
        None => None,
    };
    // A file that replaces another one is complete when it does.
    let unfinished = options.overwrite.then(unfinished);
    let new = unfinished.as_deref().map_or(name, str::as_bytes);
    // The mode that it gets in the end, if the system gives it just that. Extended attributes and an owner
    // come before it.
    let is_alone = attributes.xattrs.is_empty() && !options.owner && in_folder.has_umask;
    let at_once = attributes.mode.map(|mode| mode & 0o777).filter(|mode| is_alone && mode & work.umask == 0);
    let mode = Mode::from_raw_mode(at_once.unwrap_or(0o600));
    let file = make(folder, new, options, || fs::openat(folder, new, FILE, mode))?;
    let mut file = File::from(file);
    let written = match short {
        Some(record) => file.write_all(record.view()).map(|()| record.view().len() as u64),
        None => write_long(work.archive, &key, &mut file),
    };
    let given = written.and_then(|len| {
        let attributes =
            FileAttributes { mode: attributes.mode.filter(|_| at_once.is_none()), ..attributes.clone() };
        give(file.as_fd(), &attributes, options).map(|()| len)
    });
    let placed = given.and_then(|len| match &unfinished {
        Some(unfinished) => {
            fs::renameat(folder, unfinished.as_str(), folder, name).map(|()| len).map_err(Into::into)
        }
        None => Ok(len),
    });
    if placed.is_err() {
        _ = fs::unlinkat(folder, new, AtFlags::empty());
    }
    placed
}

/// Writes a long record to a new file, with holes for its zeros.
fn write_long(archive: &Archive, key: &Key, file: &mut File) -> io::Result<u64> {
    let mut out = WithHoles { file, hole: 0 };
    let len = archive.depot().read_once_to(key, &mut out).map_err(told)?;
    if out.hole > 0 {
        out.file.set_len(len)?;
    }
    Ok(len)
}

/// A new file, where zeros are left out.
struct WithHoles<'f> {
    file: &'f mut File,
    /// Zeros that were left out since the last byte that was written.
    hole: u64,
}

impl Write for WithHoles<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(HOLE)];
        if piece.len() == HOLE && piece.iter().fold(0, |all, byte| all | byte) == 0 {
            self.hole += piece.len() as u64;
            return Ok(piece.len());
        }
        if self.hole > 0 {
            self.file.seek_relative(self.hole.cast_signed())?;
            self.hole = 0;
        }
        self.file.write_all(piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Permission bits that the system takes away from new files. All of them if it does not say.
fn umask() -> u32 {
    // To ask by the call of that name would change it for a moment.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|bits| u32::from_str_radix(bits.trim(), 8).ok()).unwrap_or(0o777)
}

/// A name for a file that is being written, which no other one has.
fn unfinished() -> String {
    use std::hash::{BuildHasher, Hasher};
    // Seeded by the system's randomness.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!(".vldepot-{random:016x}.tmp")
}

/// The error as the system's, if the system refused something.
fn told(error: Error) -> io::Error {
    match error.io_kind() {
        Some(kind) => io::Error::new(kind, error),
        None => io::Error::other(error),
    }
}

fn write_link(
    archive: &Archive,
    path: &ArchivePath,
    folder: BorrowedFd<'_>,
    name: &[u8],
    attributes: &FileAttributes,
    options: &ExtractOptions,
) -> io::Result<()> {
    let target = archive.depot().get(path.key()).map_err(io::Error::other)?;
    make(folder, name, options, || fs::symlinkat(target.view(), folder, name))?;
    if let Some(times) = times(attributes) {
        fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if options.owner {
        let (uid, gid) = owner(attributes);
        fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Gives a file or a folder its attributes.
fn give(file: BorrowedFd<'_>, attributes: &FileAttributes, options: &ExtractOptions) -> io::Result<()> {
    if options.owner {
        let (uid, gid) = owner(attributes);
        fs::fchown(file, uid, gid)?;
    }
    match xattrs::set(file, &attributes.xattrs) {
        // A file system without them keeps the file all the same.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    if let Some(mode) = attributes.mode {
        // Others' setuid bits would make programs of somebody else's run as us.
        let bits = if options.owner { 0o7777 } else { 0o777 };
        fs::fchmod(file, Mode::from_raw_mode(mode & bits))?;
    }
    if let Some(times) = times(attributes) {
        fs::futimens(file, &times)?;
    }
    Ok(())
}

fn owner(attributes: &FileAttributes) -> (Option<fs::Uid>, Option<fs::Gid>) {
    // The largest number stands for no change, and is nobody's.
    let known = |id: &u32| *id != u32::MAX;
    let uid = attributes.uid.filter(known).map(fs::Uid::from_raw);
    (uid, attributes.gid.filter(known).map(fs::Gid::from_raw))
}

fn times(attributes: &FileAttributes) -> Option<Timestamps> {
    let last_modification =
        Timespec { tv_sec: attributes.mtime?, tv_nsec: attributes.mtime_ns.min(999_999_999).into() };
    Some(Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT }, last_modification })
}

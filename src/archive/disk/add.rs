//! From the disk into an archive.

use std::collections::VecDeque;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Stat, fstat};
use walkdir::WalkDir;

use super::open::Folder;
use super::report::{Failure, Progress, Transfer, lock, threads};
use super::selection::Selection;
use super::xattrs;
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;
use crate::archive::stat::FileAttributes;
use crate::{Error, ErrorKind, Result};

/// How many paths a reader takes at once.
const AT_ONCE: usize = 64;

/// Bytes of files that a reader takes at once. Longer files are read one at a time, by the thread that stores
/// them.
const LONG: u64 = 8 << 20;

/// While fewer bytes wait to be stored, more batches are read ahead: so small files do not wait for each
/// other.
const HELD: u64 = 8 << 20;

/// What to add, and how. See [`Archive::add`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AddOptions {
    threads: Option<usize>,
    selection: Selection,
    left_out: Vec<PathBuf>,
    no_owner: bool,
    only_new: bool,
}

impl AddOptions {
    /// All files, with as many readers as there are cores, but at most 4.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads that read files.
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

    /// Leaves out a file or a folder of the disk, under whatever name it is found, such as one that is being
    /// written. The archive's own file is left out in any case.
    #[must_use]
    pub fn without_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.left_out.push(path.into());
        self
    }

    /// Does not note who owns the files.
    #[must_use]
    pub fn without_owner(mut self) -> Self {
        self.no_owner = true;
        self
    }

    /// Counts a path that is in the archive already as a failure, and does not replace it.
    #[must_use]
    pub fn only_new(mut self) -> Self {
        self.only_new = true;
        self
    }
}

/// A path of the disk that is to be stored. See [`Archive::add_all`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Source {
    from: PathBuf,
    to: ArchivePath,
    is_alone: bool,
}

impl Source {
    /// The file, link or folder `from`, as `to`. A folder goes with all that is in it.
    pub fn new(from: impl Into<PathBuf>, to: ArchivePath) -> Self {
        Self { from: from.into(), to, is_alone: false }
    }

    /// Leaves out what is in the folder.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }
}

/// A path that the walk found.
struct Found {
    from: PathBuf,
    to: ArchivePath,
    kind: FileType,
}

/// What is to be stored of it.
enum Content {
    File(Vec<u8>, FileAttributes),
    /// It is read when it is stored.
    Long,
    Folder(FileAttributes),
    Link(Vec<u8>, FileAttributes),
    /// A file that is not to be stored.
    LeftOut,
}

type Wanted = std::result::Result<Found, Failure>;
type Batch = Vec<std::result::Result<(Found, Content), Failure>>;

impl Archive {
    /// Adds a file, a link, or a folder with all that is in it, as `to`. The root `.` takes what a folder
    /// holds.
    ///
    /// Modes, times, owners and extended attributes are kept, and links as links. Files with several names
    /// are stored once for each. Pipes, sockets and devices are failures, and so are files that change while
    /// they are read. A failure does not stop the others. Long files are read piece by piece.
    ///
    /// # Errors
    /// The errors of [`write`](Self::write), but for those of single files, which are among
    /// [`Transfer::failures`].
    pub fn add(
        &self,
        from: impl AsRef<Path>,
        to: &ArchivePath,
        options: &AddOptions,
        progress: impl FnMut(Progress),
    ) -> Result<Transfer> {
        self.add_all([Source::new(from.as_ref(), to.clone())], options, progress)
    }

    /// Adds many files, links and folders. Otherwise like [`add`](Self::add).
    ///
    /// # Errors
    /// The errors of [`add`](Self::add).
    pub fn add_all(
        &self,
        sources: impl IntoIterator<Item = Source>,
        options: &AddOptions,
        progress: impl FnMut(Progress),
    ) -> Result<Transfer> {
        add_into(&mut &*self, sources, options, progress)
    }
}

/// Where files are stored.
pub(super) trait Target {
    /// The archive for the next file.
    fn archive(&mut self) -> Result<&Archive>;

    /// Its path on the disk, or that of the set that it is a shard of.
    fn path(&self) -> &Path;
}

impl Target for &Archive {
    fn archive(&mut self) -> Result<&Archive> {
        Ok(self)
    }

    fn path(&self) -> &Path {
        self.depot().path()
    }
}

/// See [`Archive::add_all`].
pub(super) fn add_into(
    target: &mut impl Target,
    sources: impl IntoIterator<Item = Source>,
    options: &AddOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Transfer> {
    let threads = options.threads.unwrap_or_else(threads);
    let left_out = left_out(target.path(), options);
    let mut walk = Walk { sources: sources.into_iter(), current: None, options, left_out: &left_out };
    // Bytes of files that were read and are not stored yet.
    let held = AtomicU64::new(0);
    let reader = Reader { options, left_out: &left_out, held: &held };
    let (give, take) = channel::<(Vec<Wanted>, Sender<Batch>)>();
    let take = Arc::new(Mutex::new(take));
    thread::scope(|scope| {
        // Dropped at the end of this scope, which ends the readers.
        let give = give;
        for _ in 0..threads {
            let (reader, take) = (&reader, Arc::clone(&take));
            scope.spawn(move || {
                loop {
                    let next = lock(&take).recv();
                    let Ok((wanted, done)) = next else { return };
                    // Nobody waits for it after an error.
                    _ = done.send(reader.read_all(wanted));
                }
            });
        }
        // Only the readers have it: if all have panicked, nobody waits for them.
        drop(take);
        let mut added = Transfer::default();
        // Batches that are being read, in the order of the walk. So many at most are in memory.
        let mut ahead = VecDeque::new();
        loop {
            let most = if held.load(Ordering::Relaxed) < HELD { 8 } else { 2 };
            while ahead.len() < most * threads
                && let Some(wanted) = walk.batch()
            {
                let (done, batch) = channel();
                if give.send((wanted, done)).is_ok() {
                    ahead.push_back(batch);
                }
            }
            let Some(batch) = ahead.pop_front() else { return Ok(added) };
            // There is none if a reader panicked. The scope passes that on.
            for found in batch.recv().unwrap_or_default() {
                match found {
                    Ok((found, content)) => {
                        if let Content::File(bytes, _) = &content {
                            held.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                        }
                        target.archive()?.store(&found, content, options, &mut added)?;
                    }
                    Err(failure) => added.fail(failure),
                }
            }
            progress(added.progress());
        }
    })
}

impl Archive {
    fn store(
        &self,
        found: &Found,
        content: Content,
        options: &AddOptions,
        added: &mut Transfer,
    ) -> Result<()> {
        let Found { from, to, .. } = found;
        let fail = |error| Failure { path: from.clone(), error };
        let stored = match content {
            Content::LeftOut => Ok(()),
            Content::Folder(attributes) => self.create_dir_with(to, &attributes).map(|()| added.folders += 1),
            _ if options.only_new && self.is_file(to)? => {
                Err(Error::new(ErrorKind::Exists).at(self.depot().path()).of(format!("\"{to}\"")))
            }
            Content::Link(target, attributes) => {
                self.write_link(to, target, &attributes).map(|()| added.links += 1)
            }
            Content::File(bytes, attributes) => self.store_file(to, &bytes, &attributes, added),
            Content::Long => self.store_long(from, to, options, added),
        };
        match stored {
            Err(error) if is_of_one_file(&error) => added.fail(fail(io::Error::other(error))),
            stored => stored?,
        }
        Ok(())
    }

    fn store_file(
        &self,
        to: &ArchivePath,
        bytes: &[u8],
        attributes: &FileAttributes,
        added: &mut Transfer,
    ) -> Result<()> {
        self.write_with(to, bytes, attributes)?;
        added.files += 1;
        added.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Whether other files may be stored after this error.
pub(super) fn is_of_one_file(error: &Error) -> bool {
    use ErrorKind::{Exists, InvalidPath, InvalidRecord, IsAFolder, NotAFolder};
    matches!(error.kind(), Exists | InvalidPath { .. } | InvalidRecord { .. } | IsAFolder | NotAFolder)
}

/// Device and number of the files that are not stored. The archive is not stored in itself.
fn left_out(archive: &Path, options: &AddOptions) -> Vec<(u64, u64)> {
    let paths = std::iter::once(archive).chain(options.left_out.iter().map(PathBuf::as_path));
    paths.filter_map(|path| fs::metadata(path).ok()).map(|file| (file.dev(), file.ino())).collect()
}

/// The walks over the disk, each in the order of names.
struct Walk<'w, S> {
    sources: S,
    current: Option<(Source, walkdir::IntoIter)>,
    options: &'w AddOptions,
    left_out: &'w [(u64, u64)],
}

impl<S: Iterator<Item = Source>> Walk<'_, S> {
    /// The next paths.
    fn batch(&mut self) -> Option<Vec<Wanted>> {
        let mut batch = Vec::new();
        while batch.len() < AT_ONCE {
            let Some((source, walk)) = &mut self.current else {
                let Some(source) = self.sources.next() else { break };
                let walk = WalkDir::new(&source.from)
                    .follow_root_links(false)
                    .max_depth(if source.is_alone { 0 } else { usize::MAX })
                    // In one folder, that is the order of names. To take the names apart takes longer.
                    .sort_by(|a, b| a.path().as_os_str().cmp(b.path().as_os_str()));
                self.current = Some((source, walk.into_iter()));
                continue;
            };
            let Some(found) = walk.next() else {
                self.current = None;
                continue;
            };
            let found = found_in(source, found).map(|found| {
                let is_left_out = || {
                    let is_it =
                        |metadata: Metadata| self.left_out.contains(&(metadata.dev(), metadata.ino()));
                    fs::symlink_metadata(&found.from).is_ok_and(is_it)
                };
                if found.kind.is_dir() && (self.options.selection.excludes(&found.to) || is_left_out()) {
                    walk.skip_current_dir();
                    return None;
                }
                is_wanted(self.options, &found).then_some(found)
            });
            batch.extend(found.transpose());
        }
        (!batch.is_empty()).then_some(batch)
    }
}

fn found_in(
    source: &Source,
    found: walkdir::Result<walkdir::DirEntry>,
) -> std::result::Result<Found, Failure> {
    let found = found.map_err(|error| Failure {
        path: error.path().unwrap_or(&source.from).to_owned(),
        error: error.into(),
    })?;
    let fail = |error| Failure { path: found.path().to_owned(), error };
    let below = found.path().strip_prefix(&source.from).unwrap_or(found.path()).as_os_str().as_bytes();
    let to = source.to.join(below).map_err(|error| fail(io::Error::other(error)))?;
    let kind = found.file_type();
    Ok(Found { from: found.into_path(), to, kind })
}

fn is_wanted(options: &AddOptions, Found { to, kind, .. }: &Found) -> bool {
    if options.selection.excludes(to) {
        return false;
    }
    if kind.is_dir() { !to.is_root() } else { options.selection.includes(to) }
}

/// Reads what the walk finds.
struct Reader<'r> {
    options: &'r AddOptions,
    left_out: &'r [(u64, u64)],
    held: &'r AtomicU64,
}

impl Reader<'_> {
    fn read_all(&self, batch: Vec<Wanted>) -> Batch {
        // So many bytes of a batch are in memory. Files that are longer than what is left are read when they
        // are stored.
        let mut room = LONG;
        let mut folder = Folder::default();
        let mut read = |found: Wanted| {
            let found = found?;
            match self.read(&found, room, &mut folder) {
                Ok(content) => {
                    if let Content::File(bytes, _) = &content {
                        room -= bytes.len() as u64;
                        self.held.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    }
                    Ok((found, content))
                }
                Err(error) => Err(Failure { path: found.from, error }),
            }
        };
        batch.into_iter().map(&mut read).collect()
    }

    fn read(&self, found: &Found, room: u64, folder: &mut Folder) -> io::Result<Content> {
        let (path, kind) = (&found.from, found.kind);
        if kind.is_file() {
            return read(folder.open(path)?, self.options, room, self.left_out);
        }
        let attributes = || Ok::<_, io::Error>(attributes(&fs::symlink_metadata(path)?, self.options));
        if kind.is_dir() {
            Ok(Content::Folder(attributes()?.with_xattrs(xattrs::of_path(path))))
        } else if kind.is_symlink() {
            Ok(Content::Link(fs::read_link(path)?.into_os_string().into_encoded_bytes(), attributes()?))
        } else {
            Err(io::Error::new(io::ErrorKind::Unsupported, "neither a file, a folder nor a link: not stored"))
        }
    }
}

/// Reads a file whole, if it has at most `room` bytes. What is not a file any more is not read.
fn read(
    (file, before): (File, Stat),
    options: &AddOptions,
    room: u64,
    left_out: &[(u64, u64)],
) -> io::Result<Content> {
    let len = u64::try_from(before.st_size).unwrap_or(0);
    #[allow(clippy::unnecessary_cast, reason = "they have other types on other systems")]
    let device = before.st_dev as u64;
    if left_out.contains(&(device, before.st_ino)) {
        return Ok(Content::LeftOut);
    }
    if len > room {
        return Ok(Content::Long);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(len + 1).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    // One byte more shows that it grew. A file gives all bytes that are asked for up to its end, so the end
    // is not asked for again.
    bytes.resize(usize::try_from(len + 1).unwrap_or(usize::MAX), 0);
    let mut n = 0;
    while n as u64 <= len {
        match (&file).read(&mut bytes[n..]) {
            Ok(0) => break,
            Ok(read) => n += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if n as u64 == len {
            break;
        }
    }
    bytes.truncate(n);
    check_unchanged(&file, &before, n as u64)?;
    Ok(Content::File(bytes, attributes_of(&file, &before, options)))
}

/// Refuses a file of which `n` bytes were read, if that is not all, or if it is not as it was `before`.
pub(super) fn check_unchanged(file: &File, before: &Stat, n: u64) -> io::Result<()> {
    let after = fstat(file)?;
    let seen = |of: &Stat| (of.st_size, of.st_mtime, of.st_mtime_nsec);
    if u64::try_from(before.st_size) != Ok(n) || seen(before) != seen(&after) {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok(())
}

/// What is kept of an open file besides its bytes.
pub(super) fn attributes_of(file: &File, found: &Stat, options: &AddOptions) -> FileAttributes {
    #[allow(clippy::unnecessary_cast, reason = "it has another type on other systems")]
    let mut attributes = FileAttributes::new().with_mode(found.st_mode as u32);
    attributes.mtime = Some(found.st_mtime);
    attributes.mtime_ns = u32::try_from(found.st_mtime_nsec).unwrap_or(0);
    if !options.no_owner {
        (attributes.uid, attributes.gid) = (Some(found.st_uid), Some(found.st_gid));
    }
    attributes.with_xattrs(xattrs::of(file))
}

/// What is kept of a file besides its bytes.
fn attributes(metadata: &Metadata, options: &AddOptions) -> FileAttributes {
    let mut attributes = FileAttributes::new().with_mode(metadata.mode());
    attributes.mtime = Some(metadata.mtime());
    attributes.mtime_ns = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    if !options.no_owner {
        (attributes.uid, attributes.gid) = (Some(metadata.uid()), Some(metadata.gid()));
    }
    attributes
}

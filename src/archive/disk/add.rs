//! From the disk into an archive.

use std::collections::BTreeMap;
use std::fs::{self, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use walkdir::WalkDir;

use super::patterns::{compiled, matches_any};
use super::report::{Failure, Failures, Progress, threads};
use super::xattrs;
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;
use crate::archive::stat::FileAttributes;
use crate::{Error, ErrorKind, Result};

/// How many paths a reader takes at once.
const AT_ONCE: usize = 64;

/// Longer files are read one at a time, by the thread that stores them, so that not several are in memory.
const LONG: u64 = 8 << 20;

/// The longest record.
const MAX_LEN: u64 = u32::MAX as u64;

/// What to add, and how. See [`Archive::add`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AddOptions {
    threads: Option<usize>,
    exclude: Vec<glob::Pattern>,
    include: Vec<glob::Pattern>,
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

    /// Leaves out paths in the archive that match a pattern, with all below them.
    ///
    /// A pattern without `/` is matched with the last name, and another one with the whole path.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a pattern that is none.
    pub fn exclude(mut self, pattern: &str) -> Result<Self> {
        self.exclude.push(compiled(pattern)?);
        Ok(self)
    }

    /// Adds only files and links that match one of the patterns that are included. Folders are added with what
    /// they hold.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a pattern that is none.
    pub fn include(mut self, pattern: &str) -> Result<Self> {
        self.include.push(compiled(pattern)?);
        Ok(self)
    }

    /// Leaves out a file of the disk, under whatever name it is found, such as one that is being written. The
    /// archive's own file is left out in any case.
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

/// What [`Archive::add`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Added {
    /// Files that were stored.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What could not be stored, up to 1,000 of them.
    pub failures: Vec<Failure>,
    /// How many could not be stored.
    pub failed: u64,
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

type Batch = Vec<std::result::Result<(Found, Content), Failure>>;

impl Archive {
    /// Adds a file, a link, or a folder with all that is in it, as `to`. The root `.` takes what a folder holds.
    ///
    /// Modes, times, owners and extended attributes are kept, and links as links. Files with several names are
    /// stored once for each. Pipes, sockets and devices are failures, and so are files of 4 GiB and more, and files
    /// that change while they are read. A failure does not stop the others.
    ///
    /// # Errors
    /// The errors of [`write`](Self::write), but for those of single files, which are among
    /// [`Added::failures`].
    pub fn add(
        &self,
        from: impl AsRef<Path>,
        to: &ArchivePath,
        options: &AddOptions,
        progress: impl FnMut(Progress),
    ) -> Result<Added> {
        self.add_all([Source::new(from.as_ref(), to.clone())], options, progress)
    }

    /// Adds many files, links and folders. Otherwise like [`add`](Self::add).
    ///
    /// # Errors
    /// The errors of [`add`](Self::add).
    pub fn add_all<S>(
        &self,
        sources: S,
        options: &AddOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Added>
    where
        S: IntoIterator<Item = Source>,
        S::IntoIter: Send,
    {
        let threads = options.threads.unwrap_or_else(threads);
        let walk = Mutex::new(Walker::new(self, sources.into_iter(), options));
        let (done, batches) = sync_channel(2 * threads);
        thread::scope(|scope| {
            for _ in 0..threads {
                let (walk, done) = (&walk, done.clone());
                scope.spawn(move || read_all(walk, &done));
            }
            drop(done);
            self.store_all(batches, options, &mut progress)
        })
    }

    /// Stores batches in the order of their numbers.
    fn store_all(
        &self,
        batches: Receiver<(usize, Batch)>,
        options: &AddOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Added> {
        let (mut added, mut failures) = (Added::default(), Failures::default());
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (number, batch) in batches {
            early.insert(number, batch);
            while let Some(batch) = early.remove(&next) {
                next += 1;
                for found in batch {
                    match found {
                        Ok((found, content)) => {
                            self.store(&found, content, options, &mut added, &mut failures)?;
                        }
                        Err(failure) => failures.push(failure.path, failure.error),
                    }
                }
                let entries = added.files + added.folders + added.links;
                progress(Progress { entries, bytes: added.bytes });
            }
        }
        (added.failures, added.failed) = (failures.kept, failures.n);
        Ok(added)
    }

    fn store(
        &self,
        found: &Found,
        content: Content,
        options: &AddOptions,
        added: &mut Added,
        failures: &mut Failures,
    ) -> Result<()> {
        let Found { from, to, .. } = found;
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
            Content::Long => match read(from, options, u64::MAX, &[]) {
                Ok(Content::File(bytes, attributes)) => self.store_file(to, &bytes, &attributes, added),
                Ok(_) => Ok(()),
                Err(error) => {
                    failures.push(from, error);
                    Ok(())
                }
            },
        };
        match stored {
            Err(error) if is_of_one_file(&error) => failures.push(from, io::Error::other(error)),
            stored => stored?,
        }
        Ok(())
    }

    fn store_file(
        &self,
        to: &ArchivePath,
        bytes: &[u8],
        attributes: &FileAttributes,
        added: &mut Added,
    ) -> Result<()> {
        self.write_with(to, bytes, attributes)?;
        added.files += 1;
        added.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Whether other files may be stored after this error.
fn is_of_one_file(error: &Error) -> bool {
    use ErrorKind::{Exists, InvalidPath, InvalidRecord, IsAFolder, NotAFolder};
    matches!(error.kind(), Exists | InvalidPath { .. } | InvalidRecord { .. } | IsAFolder | NotAFolder)
}

/// The walks over the disk, in the order of names, and the number of the next batch.
struct Walker<'w, S> {
    sources: S,
    walk: Option<(Source, walkdir::IntoIter)>,
    options: &'w AddOptions,
    /// Device and number of files that are left out.
    left_out: Arc<[(u64, u64)]>,
    next: usize,
}

impl<'w, S: Iterator<Item = Source>> Walker<'w, S> {
    fn new(archive: &Archive, sources: S, options: &'w AddOptions) -> Self {
        // The archive is not stored in itself.
        let own = std::iter::once(archive.depot().path());
        let left_out = own.chain(options.left_out.iter().map(PathBuf::as_path));
        let left_out =
            left_out.filter_map(|path| fs::metadata(path).ok()).map(|file| (file.dev(), file.ino()));
        Self { sources, walk: None, options, left_out: left_out.collect(), next: 0 }
    }

    /// The next paths, and the number of their batch.
    fn batch(&mut self) -> Option<(usize, Vec<std::result::Result<Found, Failure>>)> {
        let mut batch = Vec::new();
        while batch.len() < AT_ONCE {
            let Some((source, walk)) = &mut self.walk else {
                let Some(source) = self.sources.next() else { break };
                let walk = WalkDir::new(&source.from)
                    .follow_root_links(false)
                    .max_depth(if source.is_alone { 0 } else { usize::MAX })
                    .sort_by_file_name();
                self.walk = Some((source, walk.into_iter()));
                continue;
            };
            let Some(found) = walk.next() else {
                self.walk = None;
                continue;
            };
            let found = found_in(source, found).map(|found| {
                let is_wanted = is_wanted(self.options, &found);
                if found.kind.is_dir() && matches_any(&self.options.exclude, &found.to) {
                    walk.skip_current_dir();
                }
                is_wanted.then_some(found)
            });
            batch.extend(found.transpose());
        }
        if batch.is_empty() {
            return None;
        }
        self.next += 1;
        Some((self.next - 1, batch))
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
    if matches_any(&options.exclude, to) {
        return false;
    }
    if kind.is_dir() {
        !to.is_root()
    } else {
        options.include.is_empty() || matches_any(&options.include, to)
    }
}

/// Reads what the walk finds, until it ends or nobody wants more.
fn read_all<S: Iterator<Item = Source>>(walk: &Mutex<Walker<'_, S>>, done: &SyncSender<(usize, Batch)>) {
    loop {
        let (batch, options, left_out) = {
            let mut walk = walk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (walk.batch(), walk.options, Arc::clone(&walk.left_out))
        };
        let Some((number, batch)) = batch else { return };
        let read = batch.into_iter().map(|found| {
            let found = found?;
            match content(&found, options, &left_out) {
                Ok(content) => Ok((found, content)),
                Err(error) => Err(Failure { path: found.from, error }),
            }
        });
        if done.send((number, read.collect())).is_err() {
            return;
        }
    }
}

fn content(found: &Found, options: &AddOptions, left_out: &[(u64, u64)]) -> io::Result<Content> {
    let (path, kind) = (&found.from, found.kind);
    if kind.is_file() {
        return read(path, options, LONG, left_out);
    }
    let attributes = || Ok::<_, io::Error>(attributes(&fs::symlink_metadata(path)?, options));
    if kind.is_dir() {
        Ok(Content::Folder(attributes()?.with_xattrs(xattrs::of_path(path))))
    } else if kind.is_symlink() {
        Ok(Content::Link(fs::read_link(path)?.into_os_string().into_encoded_bytes(), attributes()?))
    } else {
        Err(io::Error::new(io::ErrorKind::Unsupported, "neither a file, a folder nor a link: not stored"))
    }
}

/// Reads a file whole, if it has at most `most` bytes. What is not a file any more is not read, and no link is
/// followed.
fn read(path: &Path, options: &AddOptions, most: u64, left_out: &[(u64, u64)]) -> io::Result<Content> {
    // Without O_NONBLOCK, opening a pipe that took the file's place would wait for ever.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is no file any more"));
    }
    let len = before.len();
    if left_out.contains(&(before.dev(), before.ino())) {
        return Ok(Content::LeftOut);
    }
    if len > MAX_LEN {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {len} bytes, and a file in an archive has at most {MAX_LEN}"),
        ));
    }
    if len > most {
        return Ok(Content::Long);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(len + 1).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    // One byte more shows that it grew.
    (&file).take(len + 1).read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    let times = |of: &Metadata| (of.mtime(), of.mtime_nsec());
    if bytes.len() as u64 != len || times(&before) != times(&after) {
        return Err(io::Error::other("it changed while it was read"));
    }
    Ok(Content::File(bytes, attributes(&before, options).with_xattrs(xattrs::of(&file))))
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

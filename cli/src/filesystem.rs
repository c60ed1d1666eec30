//! An archive as a file system that the kernel reads through FUSE.
//!
//! Nothing here changes while it is mounted, so the kernel may keep all that it has been told.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use vldepot::ErrorKind;
use vldepot::archive::{Archive, ArchivePath, FileKind, ReadDir, Stat};

use crate::{archive, failure, text};

/// How long the kernel keeps what it has been told.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest name that the kernel takes from a FUSE file system.
const MAX_NAME: u32 = 1024;

/// The longest path that a link leads to, which the kernel takes.
const MAX_TARGET: u64 = 4095;

/// The bytes that the kernel reads at once of a file that is read from start to end.
const READ_AHEAD: u32 = 1 << 20;

/// Lines about damage that are printed.
const MAX_LINES: u64 = 1000;

/// Folders about which it is said that something was left out.
const MAX_TOLD: usize = 20;

const BLOCK: u32 = 4096;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The paths that the kernel knows by numbers: those that it has looked up and not forgotten.
#[derive(Default)]
struct Numbers(Mutex<HashMap<u64, Known>>);

struct Known {
    path: ArchivePath,
    /// The kernel forgets as often as it looked up.
    lookups: u64,
}

impl Numbers {
    /// The number of a path. It is the same at each mount, unless two paths have the same hash.
    fn number(&self, path: &ArchivePath) -> INodeNo {
        if path.is_root() { INodeNo::ROOT } else { INodeNo(Self::place(&lock(&self.0), path)) }
    }

    /// The number of a path that the kernel is told of.
    fn look_up(&self, path: &ArchivePath) -> INodeNo {
        if path.is_root() {
            return INodeNo::ROOT;
        }
        let mut known = lock(&self.0);
        let number = Self::place(&known, path);
        known.entry(number).or_insert_with(|| Known { path: path.clone(), lookups: 0 }).lookups += 1;
        INodeNo(number)
    }

    fn forget(&self, number: INodeNo, times: u64) {
        let mut known = lock(&self.0);
        let Some(found) = known.get_mut(&number.0) else { return };
        found.lookups = found.lookups.saturating_sub(times);
        if found.lookups == 0 {
            known.remove(&number.0);
            // Memory for many paths is given back when they are forgotten.
            if known.len() < known.capacity() / 8 {
                known.shrink_to_fit();
            }
        }
    }

    fn path(&self, number: INodeNo) -> Option<ArchivePath> {
        if number == INodeNo::ROOT {
            return Some(ArchivePath::ROOT);
        }
        lock(&self.0).get(&number.0).map(|known| known.path.clone())
    }

    /// The first number from the path's hash on that no other path has.
    fn place(known: &HashMap<u64, Known>, path: &ArchivePath) -> u64 {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let mut number = hasher.finish();
        loop {
            // 0 is no number, and 1 that of the root.
            number = number.max(INodeNo::ROOT.0 + 1);
            match known.get(&number) {
                Some(found) if found.path != *path => number = number.wrapping_add(1),
                _ => return number,
            }
        }
    }
}

/// Something in a folder.
struct Found {
    path: ArchivePath,
    /// Damage may have taken it.
    stat: Option<Stat>,
    is_dir: bool,
}

/// An open folder.
struct Folder {
    path: ArchivePath,
    names: ReadDir<'static>,
    /// How many entries are passed.
    at: u64,
    /// The next one, if it was looked at.
    next: Option<Found>,
    left_out: u64,
    is_damaged: bool,
}

/// Where an entry of a folder is handed to. Returns whether there was no room for it.
type Add<'a> = &'a mut dyn FnMut(&Found, &OsStr, u64) -> bool;

type OpenFile = Arc<Mutex<vldepot::archive::File<'static>>>;

/// An archive that is mounted.
pub(crate) struct Mounted {
    archive: &'static Archive,
    numbers: Numbers,
    files: Mutex<HashMap<u64, OpenFile>>,
    folders: Mutex<HashMap<u64, Arc<Mutex<Folder>>>>,
    handles: AtomicU64,
    /// The owner of what has none.
    uid: u32,
    gid: u32,
    /// How many lines were printed, and the last one.
    lines: Mutex<(u64, String)>,
    told: Mutex<HashSet<ArchivePath>>,
}

impl Mounted {
    /// An archive for mounting at a folder. What has no owner gets that of the folder.
    pub(crate) fn new(archive: &'static Archive, target: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(target)?;
        Ok(Self {
            archive,
            numbers: Numbers::default(),
            files: Mutex::default(),
            folders: Mutex::default(),
            handles: AtomicU64::new(1),
            uid: metadata.uid(),
            gid: metadata.gid(),
            lines: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Says on stderr what went wrong. The kernel asks more than once: what was said last is not said again.
    fn tell(&self, path: &ArchivePath, what: &str) {
        let line = format!("vldepot: {}: {}", archive::shown(path), text::without_controls(what));
        let mut lines = lock(&self.lines);
        if lines.0 > MAX_LINES || lines.1 == line {
            return;
        }
        *lines = (lines.0 + 1, line);
        if lines.0 > MAX_LINES {
            eprintln!("vldepot: further errors are not shown");
        } else {
            eprintln!("{}", lines.1);
        }
    }

    /// The number for the kernel. What is not an answer but an error is told of.
    fn refused(&self, path: &ArchivePath, error: &vldepot::Error) -> Errno {
        match error.kind() {
            _ if error.is_not_found() => Errno::ENOENT,
            ErrorKind::InvalidPath { .. } => Errno::ENOENT,
            ErrorKind::NotAFolder => Errno::ENOTDIR,
            ErrorKind::IsAFolder => Errno::EISDIR,
            _ => {
                self.tell(path, &failure::chain(error));
                Errno::EIO
            }
        }
    }

    fn path(&self, number: INodeNo) -> Result<ArchivePath, Errno> {
        self.numbers.path(number).ok_or(Errno::ESTALE)
    }

    fn stat(&self, path: &ArchivePath) -> Result<Stat, Errno> {
        self.archive.stat(path).map_err(|error| self.refused(path, &error))
    }

    fn stat_of(&self, number: INodeNo) -> Result<Stat, Errno> {
        self.stat(&self.path(number)?)
    }

    fn attributes(&self, number: INodeNo, stat: &Stat) -> FileAttr {
        let (kind, mode) = match stat.kind {
            FileKind::Folder => (FileType::Directory, 0o755),
            FileKind::Link => (FileType::Symlink, 0o777),
            _ => (FileType::RegularFile, 0o644),
        };
        let attributes = &stat.attributes;
        let time = attributes.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        FileAttr {
            ino: number,
            size: stat.size,
            blocks: stat.size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: (attributes.mode.unwrap_or(mode) & 0o7777) as u16,
            // For a folder this means that the number of its subfolders is not known.
            nlink: 1,
            uid: attributes.uid.unwrap_or(self.uid),
            gid: attributes.gid.unwrap_or(self.gid),
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let parent = self.path(parent)?;
        let path = parent.join(name.as_bytes()).map_err(|error| self.refused(&parent, &error))?;
        let stat = self.stat(&path)?;
        Ok(self.attributes(self.numbers.look_up(&path), &stat))
    }

    fn read_link(&self, number: INodeNo) -> Result<Vec<u8>, Errno> {
        let path = self.path(number)?;
        let stat = self.stat(&path)?;
        if stat.kind != FileKind::Link {
            return Err(Errno::EINVAL);
        }
        if stat.size > MAX_TARGET {
            self.tell(&path, "no system follows a link with so long a path");
            return Err(Errno::ENAMETOOLONG);
        }
        let target = self.archive.depot().get(archive::key(&path));
        Ok(target.map_err(|error| self.refused(&path, &error))?.view().to_vec())
    }

    fn handle(&self) -> u64 {
        self.handles.fetch_add(1, Ordering::Relaxed)
    }

    fn open_file(&self, number: INodeNo) -> Result<FileHandle, Errno> {
        let path = self.path(number)?;
        let file = self.archive.open_file(&path).map_err(|error| self.refused(&path, &error))?;
        let handle = self.handle();
        lock(&self.files).insert(handle, Arc::new(Mutex::new(file)));
        Ok(FileHandle(handle))
    }

    fn read_file(
        &self,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, Errno> {
        let file = lock(&self.files).get(&handle.0).cloned().ok_or(Errno::EBADF)?;
        let mut file = lock(&file);
        let end = file.len().min(offset.saturating_add(u64::from(size)));
        let mut bytes = Vec::with_capacity(size as usize);
        let wanted = end.saturating_sub(offset);
        let read = file.seek(SeekFrom::Start(offset));
        if read.and_then(|_| (&mut *file).take(wanted).read_to_end(&mut bytes)).is_ok() {
            return Ok(bytes);
        }
        // More was read than is wanted, and the damage may be in what is not.
        drop(file);
        let path = self.path(number)?;
        self.part(&path, offset, end).map_err(|error| self.refused(&path, &error))
    }

    /// Bytes of a file, and nothing more.
    fn part(&self, path: &ArchivePath, start: u64, end: u64) -> vldepot::Result<Vec<u8>> {
        // What is longer than memory can be has no such parts, which is an error then.
        let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
        let mut parts = self.archive.depot().parts(archive::key(path))?;
        Ok(parts.bytes(place(start)..place(end))?.to_vec())
    }

    fn names(&self, path: &ArchivePath) -> Result<ReadDir<'static>, Errno> {
        self.archive.read_dir(path).map_err(|error| self.refused(path, &error))
    }

    fn open_folder(&self, number: INodeNo) -> Result<FileHandle, Errno> {
        let path = self.path(number)?;
        let names = self.names(&path)?;
        let folder = Folder { path, names, at: 0, next: None, left_out: 0, is_damaged: false };
        let handle = self.handle();
        lock(&self.folders).insert(handle, Arc::new(Mutex::new(folder)));
        Ok(FileHandle(handle))
    }

    /// Hands over the entries of a folder, from the one of number `offset` on, as far as there is room.
    fn list(&self, handle: FileHandle, offset: u64, add: Add<'_>) -> Result<(), Errno> {
        let folder = lock(&self.folders).get(&handle.0).cloned().ok_or(Errno::EBADF)?;
        let folder = &mut *lock(&folder);
        let own = [(".", folder.path.clone()), ("..", folder.path.parent().unwrap_or_default())];
        let n_own = own.len() as u64;
        let mut at = offset;
        for (name, path) in own.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let stat = self.archive.stat(&path).ok();
            at += 1;
            if add(&Found { path, stat, is_dir: true }, OsStr::new(name), at) {
                return Ok(());
            }
        }
        self.pass_to(folder, at - n_own)?;
        loop {
            match self.next(folder) {
                Ok(None) => return Ok(()),
                Ok(Some(found)) => {
                    let name = OsStr::from_bytes(found.path.file_name().unwrap_or_default());
                    if add(found, name, at + 1) {
                        return Ok(());
                    }
                    at += 1;
                    (folder.at, folder.next) = (folder.at + 1, None);
                }
                // What was handed over is shown first. The next call comes here again.
                Err(_) if at > offset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn pass_to(&self, folder: &mut Folder, at: u64) -> Result<(), Errno> {
        if folder.at > at {
            folder.names = self.names(&folder.path)?;
            (folder.at, folder.next, folder.left_out, folder.is_damaged) = (0, None, 0, false);
        }
        while folder.at < at && self.next(folder)?.is_some() {
            (folder.at, folder.next) = (folder.at + 1, None);
        }
        Ok(())
    }

    /// The folder's next entry.
    fn next<'a>(&self, folder: &'a mut Folder) -> Result<Option<&'a Found>, Errno> {
        if folder.is_damaged {
            return Err(Errno::EIO);
        }
        while folder.next.is_none() {
            match folder.names.next() {
                Some(Ok(entry)) => match self.look_at(entry.path, entry.is_dir) {
                    Some(found) => folder.next = Some(found),
                    None => folder.left_out += 1,
                },
                Some(Err(error)) if matches!(error.kind(), ErrorKind::InvalidPath { .. }) => {
                    folder.left_out += 1;
                }
                Some(Err(error)) => {
                    folder.is_damaged = true;
                    self.tell(&folder.path, &failure::chain(&error));
                    return Err(Errno::EIO);
                }
                None => {
                    self.tell_left_out(folder);
                    return Ok(None);
                }
            }
        }
        Ok(folder.next.as_ref())
    }

    /// An entry as it is shown. `None` for what no path leads to: the name is too long, it belongs to a file
    /// and to a folder, or it is text that is stored as bytes.
    fn look_at(&self, path: ArchivePath, is_dir: bool) -> Option<Found> {
        if path.file_name().is_none_or(|name| name.len() > MAX_NAME as usize) {
            return None;
        }
        match self.archive.stat(&path) {
            Ok(stat) if is_dir != (stat.kind == FileKind::Folder) => None,
            Ok(stat) => Some(Found { path, stat: Some(stat), is_dir }),
            Err(error) if error.is_not_found() => None,
            // It is there. Whoever looks at it gets the error.
            Err(_) => Some(Found { path, stat: None, is_dir }),
        }
    }

    fn tell_left_out(&self, folder: &mut Folder) {
        let left_out = std::mem::take(&mut folder.left_out);
        if left_out == 0 {
            return;
        }
        let mut told = lock(&self.told);
        if told.len() < MAX_TOLD && told.insert(folder.path.clone()) {
            let what = text::count(left_out, "record");
            eprintln!("vldepot: {}: {what} left out: no path leads there", archive::shown(&folder.path));
        }
    }

    fn attribute(&self, number: INodeNo, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let mut attributes = self.stat_of(number)?.attributes;
        let name = name.to_str().ok_or(Errno::ENODATA)?;
        attributes.xattrs.remove(name).map(|value| value.0).ok_or(Errno::ENODATA)
    }

    fn attribute_names(&self, number: INodeNo) -> Result<Vec<u8>, Errno> {
        let attributes = self.stat_of(number)?.attributes;
        let names = attributes.xattrs.keys().filter(|name| !name.is_empty() && !name.contains('\0'));
        Ok(names.flat_map(|name| name.bytes().chain([0])).collect())
    }
}

/// What is known of something that damage took, so that a listing can name it.
fn unknown(path: ArchivePath, is_dir: bool, archive: &Archive) -> Option<Stat> {
    let mut stat = archive.stat(ArchivePath::ROOT).ok()?;
    (stat.path, stat.kind) = (path, if is_dir { FileKind::Folder } else { FileKind::File });
    Some(stat)
}

fn file_type(found: &Found) -> FileType {
    match found.stat.as_ref().map(|stat| stat.kind) {
        Some(FileKind::Link) => FileType::Symlink,
        _ if found.is_dir => FileType::Directory,
        _ => FileType::RegularFile,
    }
}

/// Sends bytes of an extended attribute, or how many they are.
fn send(bytes: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match bytes {
        Err(error) => reply.error(error),
        Ok(bytes) => match u32::try_from(bytes.len()) {
            Err(_) => reply.error(Errno::E2BIG),
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len > size => reply.error(Errno::ERANGE),
            Ok(_) => reply.data(&bytes),
        },
    }
}

impl Filesystem for Mounted {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        for flag in wanted {
            // An older kernel does without.
            let _ = config.add_capabilities(flag);
        }
        if let Err(most) = config.set_max_readahead(READ_AHEAD) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.numbers.forget(number, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.stat_of(number) {
            Ok(stat) => reply.attr(&KEPT, &self.attributes(number, &stat)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.read_link(number) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_file(number) {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_file(number, handle, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_folder(number) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.list(handle, offset, &mut |found, name, next| {
            reply.add(self.numbers.number(&found.path), next, file_type(found), name)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(handle, offset, &mut |found, name, next| {
            // The kernel does not look up `.` and `..`.
            let is_own = name == "." || name == "..";
            let unknown = || unknown(found.path.clone(), found.is_dir, self.archive);
            let (stat, kept) = match &found.stat {
                Some(stat) => (Some(stat.clone()), KEPT),
                None => (unknown(), Duration::ZERO),
            };
            let Some(stat) = stat else { return false };
            let number =
                if is_own { self.numbers.number(&found.path) } else { self.numbers.look_up(&found.path) };
            let attributes = self.attributes(number, &stat);
            let is_full = reply.add(number, next, name, &kept, &attributes, Generation(0));
            if is_full && !is_own {
                self.numbers.forget(number, 1);
            }
            is_full
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.folders).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let totals = self.archive.totals(ArchivePath::ROOT).unwrap_or_default();
        let blocks = totals.raw_bytes.div_ceil(u64::from(BLOCK));
        reply.statfs(blocks, 0, 0, totals.records, 0, BLOCK, MAX_NAME, BLOCK);
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        send(self.attribute(number, name), size, reply);
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        send(self.attribute_names(number), size, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_numbers_until_they_are_forgotten() {
        let numbers = Numbers::default();
        let path = |name: &str| ArchivePath::new(name).unwrap();
        let all: Vec<_> = (0..1000).map(|i| path(&format!("a/{i}"))).collect();
        for path in &all {
            let number = numbers.number(path);
            assert_eq!(numbers.path(number), None);
            assert_eq!((numbers.look_up(path), numbers.look_up(path)), (number, number));
        }
        for path in &all {
            let number = numbers.number(path);
            numbers.forget(number, 1);
            assert_eq!(numbers.path(number).as_ref(), Some(path));
            numbers.forget(number, 1);
            assert_eq!(numbers.path(number), None);
        }
        assert!(lock(&numbers.0).is_empty() && lock(&numbers.0).capacity() < 100);
        numbers.forget(INodeNo::ROOT, 1);
        assert_eq!(numbers.path(INodeNo::ROOT), Some(ArchivePath::ROOT));
    }

    #[test]
    fn two_paths_of_one_hash_have_two_numbers() {
        let numbers = Numbers::default();
        let path = ArchivePath::new("a").unwrap();
        let number = numbers.number(&path);
        let other = ArchivePath::new("other").unwrap();
        lock(&numbers.0).insert(number.0, Known { path: other.clone(), lookups: 1 });
        let next = numbers.look_up(&path);
        assert_ne!(next, number);
        assert_eq!((numbers.path(next), numbers.path(number)), (Some(path), Some(other)));
    }
}

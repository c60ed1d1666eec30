//! A depot in a file: positioned reads and writes, `fdatasync`, and memory maps for readers.
//!
//! The standard library repeats reads and writes that a signal interrupts, and continues short ones. The
//! writer's lock is `flock`, which the system releases when the process ends, however it ends. The lock
//! belongs to the open file, which processes share after `fork`. So the process that took the lock must
//! also release it, and its forks never do.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::maps::Maps;
use super::{Storage, past_the_end, system};
use crate::buffer::Bytes;
use crate::sync::process_id;

/// A file.
///
/// A file that is opened for writing is never mapped, so its writer gets errors, not signals, whatever
/// another program does to the file. A file that is opened for reading is mapped as
/// [`Mapping::Auto`](crate::Mapping::Auto) says.
///
/// Only regular files are opened. A pipe or a device is refused without waiting for it. The descriptor
/// is never one of the first three, even in a program that has closed its standard output or error. So
/// output that other code writes there cannot end up in the file.
///
/// # Signals
/// A write past the limit on file sizes (`RLIMIT_FSIZE`) sends SIGXFSZ, which ends a program that does
/// not ignore it. This crate does not change how a program handles signals. If SIGXFSZ is ignored, the
/// write fails with an ordinary error.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    path: PathBuf,
    /// The absolute form of the path when it was opened. The working folder may have changed since.
    absolute: PathBuf,
    /// The maps of a file that is read and may be mapped.
    maps: Option<Maps>,
    /// The process that took the lock, or 0 if none did.
    locked_by: AtomicU32,
    /// Whether this value made the file on a file system without locks.
    is_new_unlocked: bool,
}

/// How often to try to make a file while others make and remove it.
const ATTEMPTS: usize = 16;

/// The system is asked to begin with a write of so many bytes at once. Those of shorter ones are few.
const LONG_WRITE: usize = 256 << 10;

impl FileStorage {
    /// Makes a new file, takes the writer's lock, and syncs the file's folder.
    ///
    /// An empty file that nobody has locked is taken over: a killed process may have left it. The file
    /// is also made if its folder cannot be synced, as on some network file systems, or cannot be opened
    /// because it may not be listed.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the path is taken. [`io::ErrorKind::WouldBlock`] if another
    /// writer took the new file first. No file is left behind.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        for _ in 0..ATTEMPTS {
            let (file, is_new) =
                match open_high(OpenOptions::new().read(true).write(true).create_new(true), path) {
                    Ok(file) => (file, true),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => match open_empty(path) {
                        Ok(Some(file)) => (file, false),
                        Err(gone) if gone.kind() == ErrorKind::NotFound => continue,
                        Ok(None) | Err(_) => return Err(error),
                    },
                    Err(error) => return Err(error),
                };
            if let Some(storage) = Self::claim(file, path, is_new)? {
                return Ok(storage);
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Locks a file that is to become a depot. `None` if the file was removed meanwhile.
    fn claim(file: File, path: &Path, is_new: bool) -> io::Result<Option<Self>> {
        let mut storage = Self::new(file, path, None);
        match storage.file.try_lock() {
            Ok(()) => {
                storage.locked_by.store(process_id(), Ordering::Relaxed);
                if !is_at(&storage.file, &storage.absolute)? {
                    return Ok(None);
                }
                if storage.file.metadata()?.len() > 0 {
                    return Err(ErrorKind::AlreadyExists.into());
                }
            }
            Err(TryLockError::WouldBlock) if is_new => {
                let why = "another writer took the new file first";
                return Err(io::Error::new(ErrorKind::WouldBlock, why));
            }
            // Where there are no locks, the depot that wants one reports it.
            Err(TryLockError::Error(_)) if is_new => storage.is_new_unlocked = true,
            Err(_) => return Err(ErrorKind::AlreadyExists.into()),
        }
        match sync_folder(path) {
            Ok(()) => Ok(Some(storage)),
            Err(error) => {
                storage.remove();
                Err(error)
            }
        }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it is not a regular file, or the system's error.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = open_regular(OpenOptions::new().read(true), path)?;
        let maps = Maps::new(system::file_system(&file));
        Ok(Self::new(file, path, maps))
    }

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_writable(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Self::new(open_regular(OpenOptions::new().read(true).write(true), path)?, path, None))
    }

    /// A new file that is already open for reading and writing. `path` is where it is.
    ///
    /// # Errors
    /// The system's error, if the descriptor cannot be used.
    pub(super) fn from_file(file: File, path: &Path) -> io::Result<Self> {
        Ok(Self::new(system::above_standard_streams(file)?, path, None))
    }

    /// Bytes that take room on the disk. Holes take none.
    pub(crate) fn stored_len(&self) -> io::Result<u64> {
        let found = self.file.metadata()?;
        Ok(stored_len(&found).min(found.len()))
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    fn new(file: File, path: &Path, maps: Option<Maps>) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            file,
            path: path.to_owned(),
            absolute,
            maps,
            locked_by: AtomicU32::new(0),
            is_new_unlocked: false,
        }
    }

    /// Removes a file that was made but could not be finished.
    ///
    /// A file that was put in its place stays, and so does one that another writer has open.
    pub(crate) fn remove(&self) {
        let is_ours = self.is_new_unlocked || self.locked_by.load(Ordering::Relaxed) == process_id();
        if is_ours && is_at(&self.file, &self.absolute).unwrap_or(false) {
            // Nothing more can be done about it. The error that led here is the one to report.
            let _ = std::fs::remove_file(&self.absolute);
        }
    }

    /// In a layered file system: the file to map, and how many of its bytes may be mapped.
    ///
    /// `None` if another file is in its place. A file of a lower layer is copied when it is first
    /// written to. A map shows the copy only if its file was opened after that. Bytes that the file had
    /// before it was opened are in the map in any case.
    fn reopened(&self) -> io::Result<Option<(File, u64)>> {
        let before = std::fs::metadata(&self.absolute)?.len();
        let file = open_regular(OpenOptions::new().read(true), &self.absolute)?;
        let found = file.metadata()?;
        let same = is_same(&found, &self.file.metadata()?);
        Ok(same.then_some((file, before.min(found.len()))))
    }
}

/// Opens a file with a descriptor above those of the standard streams.
fn open_high(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let held = system::hold_standard_streams();
    let file = options.open(path)?;
    drop(held);
    system::above_standard_streams(file)
}

/// Opens a regular file. Anything else is refused without waiting for it.
fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Checked before opening, because opening a device may start it.
    refuse_odd(&std::fs::metadata(path)?)?;
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NONBLOCK);
    let file = open_high(options, path)?;
    refuse_odd(&file.metadata()?)?;
    Ok(file)
}

/// Opens an empty regular file for writing. `None` if there is anything else.
fn open_empty(path: &Path) -> io::Result<Option<File>> {
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() > 0 {
        return Ok(None);
    }
    open_regular(OpenOptions::new().read(true).write(true), path).map(Some)
}

/// Refuses anything that is not a regular file.
fn refuse_odd(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    if found.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder, and one without shards.json"));
    }
    let why = format!("it is {}, not a regular file", kind_of(found));
    Err(io::Error::new(ErrorKind::InvalidInput, why))
}

#[cfg(unix)]
fn stored_len(found: &Metadata) -> u64 {
    // The unit is always 512 bytes, whatever the block size of the file system.
    std::os::unix::fs::MetadataExt::blocks(found).saturating_mul(512)
}

#[cfg(not(unix))]
fn stored_len(found: &Metadata) -> u64 {
    found.len()
}

#[cfg(unix)]
fn kind_of(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "something else"
    }
}

#[cfg(not(unix))]
fn kind_of(_: &Metadata) -> &'static str {
    "something else"
}

/// Makes the creation, renaming or removal of `path` durable, where folders can be synced.
///
/// # Errors
/// The system's error of the sync. Its message names the folder.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(folder).and_then(|opened| opened.sync_all());
    synced.or_else(|error| if is_no_sync(&error) { Ok(()) } else { Err(error) }).map_err(|error| {
        io::Error::new(error.kind(), format!("sync the folder {}: {error}", folder.display()))
    })
}

/// Whether the error says that this folder, or any folder of its file system, cannot be synced.
///
/// Nobody can do more about it then.
fn is_no_sync(error: &io::Error) -> bool {
    // `InvalidInput` is EINVAL, `Unsupported` is EOPNOTSUPP and ENOSYS. A folder that may be written to
    // but not listed cannot be opened.
    let kinds = [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::PermissionDenied];
    kinds.contains(&error.kind())
}

/// Whether `file` is still the one at `path`. A compaction may have replaced it between opening and
/// locking.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(there) => Ok(is_same(&file.metadata()?, &there)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// An open file cannot be replaced on this system.
#[cfg(windows)]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, buf, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf = &mut buf[n..];
        offset += n as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        let len = self.file.metadata()?.len();
        if let Some(maps) = &self.maps {
            maps.note_len(len);
        }
        Ok(len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let wanted = buf.len() as u64;
        read_at(&self.file, offset, buf).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                past_the_end(offset, wanted, self.len().unwrap_or(0))
            } else {
                error
            }
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_at(&self.file, offset, bytes)?;
        if bytes.len() >= LONG_WRITE {
            system::begin_writing(&self.file, offset, bytes.len() as u64);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn is_near(&self) -> bool {
        true
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let end = offset.checked_add(len).ok_or_else(|| past_the_end(offset, len, u64::MAX))?;
        let Some(maps) = &self.maps else { return Ok(None) };
        if let Some(bytes) = maps.find(offset, end) {
            return Ok(Some(bytes));
        }
        let file_len = self.len()?;
        if end > file_len {
            return Err(past_the_end(offset, len, file_len));
        }
        if maps.is_refused(offset, file_len) {
            return Ok(None);
        }
        // Whatever prevents the map, the file can still be read.
        Ok(if maps.over_layers() {
            self.reopened().ok().flatten().and_then(|(file, len)| maps.extend(offset, end, &file, len))
        } else {
            maps.extend(offset, end, &self.file, file_len)
        })
    }

    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        if from >= self.file.metadata()?.len() {
            return Ok(None);
        }
        system::next_data(&self.file, from)
    }

    /// Compares the open file with the file that its path leads to now.
    ///
    /// In a container, the first write to a file makes a copy, which counts as the same file. A path
    /// that leads nowhere is no replacement.
    fn is_replaced(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.absolute) {
            Ok(there) => Ok(!is_same(&self.file.metadata()?, &there)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        if self.locked_by.load(Ordering::Relaxed) == process_id() {
            return Ok(true);
        }
        match self.file.try_lock() {
            Ok(()) => {
                if !is_at(&self.file, &self.absolute)? {
                    self.file.unlock()?;
                    let why = "another file was put in its place while it was being opened: open it again";
                    return Err(io::Error::other(why));
                }
                self.locked_by.store(process_id(), Ordering::Relaxed);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Unlocks explicitly, since a fork that still has the descriptor would keep the lock. In a fork
    /// this does nothing, because the lock is its parent's.
    fn unlock(&self) -> io::Result<()> {
        let owner = process_id();
        match self.locked_by.compare_exchange(owner, 0, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => self.file.unlock(),
            Err(_) => Ok(()),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        // Closing follows. It releases the lock if nobody else has the descriptor.
        let _ = self.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn content(path: &Path, bytes: &[u8]) {
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn maps_follow_a_file_that_grows_and_keep_what_they_lent() {
        let folder = folder();
        let path = folder.path().join("a");
        let writer = FileStorage::create(&path).unwrap();
        let reader = FileStorage::open(&path).unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut lent = Vec::new();
        for (nth, part) in bytes.chunks(777).enumerate() {
            writer.write_at(777 * nth as u64, part).unwrap();
            let end = 777 * nth + part.len();
            // The newest part, a part across the end of the last map, and all of the file.
            for start in [777 * nth, end.saturating_sub(1000), 0] {
                let Some(map) = reader.map(start as u64, (end - start) as u64).unwrap() else {
                    println!("files are not mapped here");
                    return;
                };
                lent.push((start..end, map));
            }
            assert!(reader.map(end as u64, 1).is_err());
        }
        assert!(lent.iter().all(|(range, map)| map[..] == bytes[range.clone()]));
    }

    #[test]
    fn what_is_opened_for_writing_is_never_mapped() {
        let folder = folder();
        let path = folder.path().join("a");
        let made = FileStorage::create(&path).unwrap();
        made.write_at(0, &[1; 5000]).unwrap();
        assert!(made.map(0, 5000).unwrap().is_none());
        assert!(FileStorage::open_writable(&path).unwrap().map(0, 5000).unwrap().is_none());
    }

    #[test]
    fn an_empty_file_that_nobody_has_is_taken_over() {
        let folder = folder();
        let path = folder.path().join("a");
        content(&path, b"");
        let made = FileStorage::create(&path).unwrap();
        assert!(made.try_lock().unwrap(), "it is locked by this one");
        assert_eq!(FileStorage::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        made.write_at(0, b"a").unwrap();
        drop(made);
        assert_eq!(FileStorage::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
    }

    #[test]
    fn an_empty_file_that_another_writer_has_is_not_taken_over() {
        let folder = folder();
        let path = folder.path().join("a");
        content(&path, b"");
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        assert_eq!(FileStorage::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(path.exists());
    }

    #[test]
    fn another_file_in_its_place_is_noticed_and_not_removed() {
        let folder = folder();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        let storage = FileStorage::create(&path).unwrap();
        assert!(!storage.is_replaced().unwrap());
        std::fs::rename(&path, &other).unwrap();
        assert!(!storage.is_replaced().unwrap(), "a file that moved is no other file");
        content(&path, b"precious");
        assert!(storage.is_replaced().unwrap());
        storage.remove();
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::rename(&other, &path).unwrap();
        storage.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_synced_is_told_from_one_whose_sync_failed() {
        let no_sync = |number: i32| is_no_sync(&io::Error::from_raw_os_error(number));
        #[cfg(unix)]
        for number in [libc::EINVAL, libc::ENOTSUP, libc::EOPNOTSUPP, libc::ENOSYS, libc::EACCES] {
            assert!(no_sync(number), "{number}");
        }
        #[cfg(unix)]
        for number in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::ENOENT] {
            assert!(!no_sync(number), "{number}");
        }
        let error = sync_folder(Path::new("none/such/file")).unwrap_err();
        assert!(error.to_string().contains("sync the folder none/such: "), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn links_and_odd_files_are_not_taken_over() {
        let folder = folder();
        let (path, target) = (folder.path().join("link"), folder.path().join("target"));
        content(&target, b"");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert_eq!(FileStorage::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for odd in [&socket, Path::new("/dev/null"), Path::new("/dev/zero")] {
            assert_eq!(FileStorage::create(odd).unwrap_err().kind(), ErrorKind::AlreadyExists);
            for opened in [FileStorage::open(odd), FileStorage::open_writable(odd)] {
                let error = opened.unwrap_err();
                assert!(error.to_string().ends_with(", not a regular file"), "{error}");
            }
        }
    }

    #[test]
    fn holes_are_told_or_read() {
        let folder = folder();
        let storage = FileStorage::create(folder.path().join("a")).unwrap();
        storage.write_at(0, &[1; 100]).unwrap();
        storage.write_at(1 << 40, &[1; 100]).unwrap();
        assert_eq!(storage.next_data(7).unwrap(), Some(7));
        let next = storage.next_data(1 << 30).unwrap().unwrap();
        assert!(((1 << 30)..=(1 << 40)).contains(&next), "{next}");
        storage.set_len(1 << 41).unwrap();
        let last = storage.next_data((1 << 40) + (1 << 30)).unwrap();
        assert!(last.is_none_or(|last| last == (1 << 40) + (1 << 30)), "{last:?}");
        assert_eq!(storage.next_data(1 << 41).unwrap(), None);
    }
}

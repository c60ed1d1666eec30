//! Questions to the system about files that the standard library does not ask: holes, file systems,
//! descriptors, maps.
//!
//! These are the only calls of C in the storages.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::{Mmap, MmapOptions};

/// How far a memory map of a file can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// A map shows what the file has, as long as nobody truncates the file.
    Local,
    /// Layers of a container. The first write makes a copy of the file, and older maps go on showing the
    /// lower file.
    Overlay,
    /// Another machine, a file system in user space, or unknown. A page may fail to load, which raises a
    /// signal.
    Other,
}

/// Maps `range` of a file.
pub(super) fn map(file: &File, range: Range<u64>) -> io::Result<Mmap> {
    let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
    let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| too_long())?;
    let mut options = MmapOptions::new();
    options.offset(range.start).len(len);
    // SAFETY: a map is sound while nobody changes or cuts the mapped bytes. This crate never overwrites or
    // cuts a part that it lends from a map: files only grow, and the header, which does change, is read by
    // positioned reads alone. The range was in the file when it was asked for its length, by the caller. That
    // no other program cuts the file is the user's promise, written at `Mapping::Auto`; `Mapping::Never`
    // needs none.
    unsafe { options.map(file) }
}

/// Locks of single bytes of a file, which need not have these bytes.
///
/// A lock belongs to the open file, so another opening of the file in the same process waits for it too. The
/// system releases it when the open file is closed, by a killed process too. A fork shares the open file.
#[cfg(all(feature = "objects", any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) mod byte_lock {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    fn set(file: &File, is_lock: bool, at: u64, wait: bool) -> io::Result<()> {
        let kind = if is_lock { libc::F_WRLCK } else { libc::F_UNLCK };
        // SAFETY: a plain struct of integers, for which zeros are values. `l_pid` must be 0.
        let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::unnecessary_cast,
            reason = "small numbers, of another type on every system"
        )]
        {
            (wanted.l_type, wanted.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
        }
        wanted.l_start = at.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        wanted.l_len = 1;
        let command = if wait { libc::F_OFD_SETLKW } else { libc::F_OFD_SETLK };
        // SAFETY: the descriptor is open as long as `file` is, and the call reads one `flock`.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const wanted) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Locks byte `at`. With `wait`, it waits until nobody else has it, or gives
    /// [`io::ErrorKind::Interrupted`] when a signal came. Otherwise returns whether it got it.
    pub(crate) fn lock(file: &File, at: u64, wait: bool) -> io::Result<bool> {
        match set(file, true, at, wait) {
            Ok(()) => Ok(true),
            Err(error) if !wait && matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Releases byte `at`, also for forks of this process.
    pub(crate) fn unlock(file: &File, at: u64) -> io::Result<()> {
        set(file, false, at, false)
    }
}

/// Other systems have no such locks.
#[cfg(all(
    feature = "objects",
    not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))
))]
pub(crate) mod byte_lock {
    use std::fs::File;
    use std::io;

    pub(crate) fn lock(_: &File, _: u64, _: bool) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn unlock(_: &File, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
pub(super) use unix::{above_standard_streams, begin_writing, file_system, hold_standard_streams, next_data};

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::FileSystem;

    /// Standard input, output and error.
    const STREAMS: libc::c_int = 3;

    /// The first byte at or after `from` that is not in a hole.
    ///
    /// `None` if only a hole follows. A file system that cannot tell has no holes.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"))]
    pub(in super::super) fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
        let Ok(offset) = libc::off_t::try_from(from) else { return Ok(Some(from)) };
        // SAFETY: takes integers alone. It moves the descriptor's cursor, which nothing here uses: all reads
        // and writes are positioned ones.
        let at = unsafe { libc::lseek(file.as_raw_fd(), offset, libc::SEEK_DATA) };
        if let Ok(at) = u64::try_from(at) {
            return Ok(Some(at.max(from)));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENXIO) => Ok(None),
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(Some(from)),
            _ => Err(error),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos")))]
    pub(in super::super) fn next_data(_: &File, from: u64) -> io::Result<Option<u64>> {
        Ok(Some(from))
    }

    /// Asks the system to begin writing these bytes to the disk, so that the next sync waits for less.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in super::super) fn begin_writing(file: &File, offset: u64, len: u64) {
        if let (Ok(offset), Ok(len)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(len)) {
            // SAFETY: the descriptor is open as long as `file` is; the call takes integers alone. Without a flag
            // that waits, it takes no error of the disk from the sync that comes later.
            unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(in super::super) fn begin_writing(_: &File, _: u64, _: u64) {}

    /// How far maps of `file` can be trusted, by the type number of its file system.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in super::super) fn file_system(file: &File) -> FileSystem {
        let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the descriptor is open as long as `file` is, and the call writes one `statfs` to where it
        // may.
        if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
            return FileSystem::Other;
        }
        // SAFETY: the call succeeded and has filled it.
        let found = unsafe { found.assume_init() };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::unnecessary_cast,
            reason = "the numbers have 32 bits, the field another type on every system"
        )]
        let number = found.f_type as u32;
        by_number(number)
    }

    /// Type numbers from `linux/magic.h` and from the sources of the file systems.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn by_number(number: u32) -> FileSystem {
        match number {
            0x794c_7630 => FileSystem::Overlay,
            // ext2 to ext4, XFS, Btrfs, ZFS, bcachefs, F2FS, JFS, ReiserFS, NILFS2.
            0x0000_ef53 | 0x5846_5342 | 0x9123_683e | 0x2fc1_2fc1 | 0xca45_1a4e | 0xf2f5_2010 | 0x3153_464a
            | 0x5265_4973 | 0x0000_3434
            // tmpfs, ramfs; squashfs, EROFS, ISO 9660, UDF; FAT, exFAT, NTFS.
            | 0x0102_1994 | 0x8584_58f6 | 0x7371_7368 | 0xe0f5_e1e2 | 0x0000_9660 | 0x1501_3346
            | 0x0000_4d44 | 0x2011_bab0 | 0x7366_746e => FileSystem::Local,
            _ => FileSystem::Other,
        }
    }

    /// How far maps of `file` can be trusted, by the flags of its mount.
    #[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
    pub(in super::super) fn file_system(file: &File) -> FileSystem {
        let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the descriptor is open as long as `file` is, and the call writes one `statfs` to where it
        // may.
        if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
            return FileSystem::Other;
        }
        // SAFETY: the call succeeded and has filled it.
        let flags = unsafe { found.assume_init() }.f_flags;
        // `MNT_LOCAL` of `sys/mount.h`.
        if flags & 0x1000 == 0 { FileSystem::Other } else { FileSystem::Local }
    }

    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    )))]
    pub(in super::super) fn file_system(_: &File) -> FileSystem {
        FileSystem::Other
    }

    /// Opens files that occupy the numbers of closed standard streams. Usually there are none.
    ///
    /// While they are held, the next opened file does not get one of these numbers.
    pub(in super::super) fn hold_standard_streams() -> Vec<File> {
        // SAFETY: takes integers alone, and only asks.
        let is_closed = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        let mut held = Vec::new();
        if !(0..STREAMS).any(is_closed) {
            return held;
        }
        // If this device does not exist, the file is moved after it was opened.
        while let Ok(file) = File::open("/dev/null")
            && file.as_raw_fd() < STREAMS
        {
            held.push(file);
        }
        held
    }

    /// The same open file, with a descriptor that no output to the standard streams can reach.
    pub(in super::super) fn above_standard_streams(file: File) -> io::Result<File> {
        if file.as_raw_fd() >= STREAMS {
            return Ok(file);
        }
        // SAFETY: the descriptor is open as long as `file` is; the call takes integers alone.
        let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, STREAMS) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this descriptor, and nobody else knows of it.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

#[cfg(not(unix))]
pub(super) use elsewhere::{
    above_standard_streams, begin_writing, file_system, hold_standard_streams, next_data,
};

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::File;
    use std::io;

    use super::FileSystem;

    pub(in super::super) fn next_data(_: &File, from: u64) -> io::Result<Option<u64>> {
        Ok(Some(from))
    }

    pub(in super::super) fn begin_writing(_: &File, _: u64, _: u64) {}

    /// The system refuses to truncate a mapped file.
    pub(in super::super) fn file_system(_: &File) -> FileSystem {
        FileSystem::Local
    }

    pub(in super::super) fn hold_standard_streams() -> Vec<File> {
        Vec::new()
    }

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(in super::super) fn above_standard_streams(file: File) -> io::Result<File> {
        Ok(file)
    }
}

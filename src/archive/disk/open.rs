//! Opens files of the disk to be read.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::retry_on_intr;

/// The folder that files are opened in, one after the other. Each open looks one name up then.
#[derive(Default)]
pub(super) struct Folder(Option<(PathBuf, OwnedFd)>);

impl Folder {
    /// Opens what is to be a file, and asks what it is. No link is followed.
    pub(super) fn open(&mut self, path: &Path) -> io::Result<(File, Stat)> {
        let file = File::from(self.open_any(path)?);
        // The standard library asks by `statx`, which takes twice as long.
        let found = fstat(&file)?;
        if !FileType::from_raw_mode(found.st_mode).is_file() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is no file any more"));
        }
        Ok((file, found))
    }

    fn open_any(&mut self, path: &Path) -> io::Result<OwnedFd> {
        // Without NONBLOCK, opening a pipe that took the file's place would wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |folder: BorrowedFd<'_>, name: &OsStr| {
            Ok(retry_on_intr(|| openat(folder, name, flags, Mode::empty()))?)
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return open(CWD, path.as_os_str());
        };
        if self.0.as_ref().is_none_or(|(folder, _)| folder != parent) {
            let at = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            // One may open files in a folder that one may not read.
            let opened = retry_on_intr(|| openat(CWD, at, flags, Mode::empty())).ok();
            self.0 = opened.map(|opened| (parent.to_owned(), opened));
        }
        match &self.0 {
            Some((_, folder)) => open(folder.as_fd(), name),
            None => open(CWD, path.as_os_str()),
        }
    }
}

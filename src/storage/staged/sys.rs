//! What differs between systems.
//!
//! That is: which file is which, who owns it and who may read it, exchanging names, and free space.

#[cfg(unix)]
pub(super) use unix::{
    Identity, create_new, exchange, free_bytes, look_like, mode, open_to_look, other_names, rename_new,
};

#[cfg(not(unix))]
pub(super) use other::{
    Identity, create_new, exchange, free_bytes, look_like, mode, open_to_look, other_names, rename_new,
};

/// Permissions to read and write, for everyone. The system takes off what the process and the folder do
/// not grant.
pub(super) const FOR_ALL: u32 = 0o666;

/// Permissions to read and write, for the owner alone.
pub(super) const FOR_OWNER: u32 = 0o600;

/// Renames `from` to `to`, which must not exist, where the system cannot do that in one step.
///
/// It makes a second name (a hard link) and removes the first. On file systems without hard links it
/// checks and then renames: a file made between the two steps is replaced.
pub(super) fn link_or_look(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    use std::io::ErrorKind;
    match std::fs::hard_link(from, to) {
        Ok(()) => return std::fs::remove_file(from),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    match to.symlink_metadata() {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
mod unix {
    use std::ffi::CStr;
    use std::fs::{File, Metadata, OpenOptions, Permissions};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    use std::path::Path;

    use rustix::buffer::spare_capacity;
    use rustix::fs::{self, Gid, OFlags, Uid};
    use rustix::io::Errno;

    /// Identifies a file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Identity(u64, u64);

    impl Identity {
        pub(crate) fn of(file: &Metadata) -> Self {
            Self(file.dev(), file.ino())
        }

        /// The identity of the file called `path`, which may be a link.
        pub(crate) fn at(path: &Path) -> io::Result<Self> {
            path.symlink_metadata().map(|file| Self::of(&file))
        }
    }

    /// How many names a file has besides this one.
    pub(crate) fn other_names(file: &Metadata) -> u64 {
        file.nlink().saturating_sub(1)
    }

    /// The permissions of a file.
    pub(crate) fn mode(file: &Metadata) -> u32 {
        file.mode() & super::FOR_ALL
    }

    /// Makes a file with these permissions.
    pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
    }

    /// Opens a path for reading, whatever it turns out to be. Follows no link and never waits.
    pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
    }

    /// Bytes that this process may still write to the file system of `file`. `None` if the system cannot
    /// tell.
    pub(crate) fn free_bytes(file: &File) -> Option<u64> {
        let found = fs::fstatvfs(file).ok()?;
        (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Exchanges two names. `None` if the system or the file system cannot.
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    pub(crate) fn exchange(one: &Path, other: &Path) -> Option<io::Result<()>> {
        match fs::renameat_with(fs::CWD, one, fs::CWD, other, fs::RenameFlags::EXCHANGE) {
            Err(error) if cannot(error) => None,
            done => Some(done.map_err(io::Error::from)),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    pub(crate) fn exchange(_: &Path, _: &Path) -> Option<io::Result<()>> {
        None
    }

    /// Renames a file to a name that no file has.
    pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        match fs::renameat_with(fs::CWD, from, fs::CWD, to, fs::RenameFlags::NOREPLACE) {
            Err(error) if cannot(error) => {}
            done => return done.map_err(io::Error::from),
        }
        super::link_or_look(from, to)
    }

    /// Whether the error says that the system or the file system does not support the call.
    fn cannot(error: Errno) -> bool {
        // Some systems give two of these names the same number.
        [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&error)
    }

    /// The attribute with the permissions of users and groups beyond the owner and the one group.
    const ACL: &CStr = c"system.posix_acl_access";

    /// Attributes that belong to a file's content, not to the file: signatures of bytes, and rights of
    /// programs.
    const OF_CONTENT: [&CStr; 3] = [c"security.ima", c"security.evm", c"security.capability"];

    /// Gives `new` the owner, group, extended attributes, access control list and permissions of `old`.
    ///
    /// It does so as far as this process may, and never gives anyone more than `old` does. Permissions
    /// come last: until then `new` is open to its owner alone.
    pub(crate) fn look_like(new: &File, old: &File) -> io::Result<()> {
        let wanted = old.metadata()?;
        let (uid, gid) = (Uid::from_raw(wanted.uid()), Gid::from_raw(wanted.gid()));
        let now = new.metadata()?;
        if (now.uid(), now.gid()) != (wanted.uid(), wanted.gid())
            && fs::fchown(new, Some(uid), Some(gid)).is_err()
        {
            // A member of the group may give the file to the group. What was achieved is checked below.
            let _ = fs::fchown(new, None, Some(gid));
        }
        let now = new.metadata()?;
        let same_group = now.gid() == wanted.gid();
        copy_attributes(new, old)?;
        let has_acl = copy_acl(new, old, same_group)?;
        let mut mode = wanted.mode() & 0o777;
        if !has_acl {
            // With an access control list, the permissions of the group are the most that anyone on the
            // list had. Without the list they would grant too much.
            mode &= 0o700;
        } else if !same_group {
            // The old file's owner gave this other group only what everyone has.
            mode &= 0o707 | (mode & 0o007) << 3;
        }
        let set = new.set_permissions(Permissions::from_mode(mode));
        if set.is_err() && new.metadata()?.mode() & 0o777 != mode { set } else { Ok(()) }
    }

    fn may_not(error: Errno) -> bool {
        cannot(error) || matches!(error, Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::ROFS)
    }

    fn copy_attributes(new: &File, old: &File) -> io::Result<()> {
        for name in attributes(old)? {
            let name = name.as_c_str();
            if name == ACL || OF_CONTENT.contains(&name) {
                continue;
            }
            let Some(value) = attribute(old, name)? else { continue };
            match fs::fsetxattr(new, name, &value, fs::XattrFlags::empty()) {
                Err(error) if !may_not(error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives `new` the access control list of `old`, or none. False if `old` has one that `new` cannot
    /// get.
    fn copy_acl(new: &File, old: &File, same_group: bool) -> io::Result<bool> {
        let Some(list) = attribute(old, ACL)? else {
            // `new` may have inherited one from its folder.
            return match fs::fremovexattr(new, ACL) {
                Err(error) if !may_not(error) => Err(error.into()),
                _ => Ok(attribute(new, ACL)?.is_none()),
            };
        };
        Ok(same_group && fs::fsetxattr(new, ACL, &list, fs::XattrFlags::empty()).is_ok())
    }

    fn attributes(file: &File) -> io::Result<Vec<std::ffi::CString>> {
        // The list may grow between asking for its length and reading it.
        for _ in 0..8 {
            let len = match fs::flistxattr_query(file) {
                Ok(len) => len,
                Err(error) if may_not(error) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut list = Vec::with_capacity(len + 1);
            match fs::flistxattr(file, spare_capacity(&mut list)) {
                Ok(_) => return Ok(list.split_inclusive(|&byte| byte == 0).filter_map(c_string).collect()),
                Err(Errno::RANGE) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::RANGE.into())
    }

    fn c_string(bytes: &[u8]) -> Option<std::ffi::CString> {
        CStr::from_bytes_with_nul(bytes).ok().map(CStr::to_owned)
    }

    fn attribute(file: &File, name: &CStr) -> io::Result<Option<Vec<u8>>> {
        for _ in 0..8 {
            let len = match fs::fgetxattr_query(file, name) {
                Ok(len) => len,
                Err(error) if may_not(error) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut value = Vec::with_capacity(len + 1);
            match fs::fgetxattr(file, name, spare_capacity(&mut value)) {
                Ok(_) => return Ok(Some(value)),
                Err(Errno::RANGE) => {}
                Err(error) if may_not(error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::RANGE.into())
    }
}

#[cfg(not(unix))]
mod other {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io;
    use std::path::{Path, PathBuf};

    /// Identifies a file by its path, because nothing better is available here.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Identity(Option<PathBuf>);

    impl Identity {
        pub(crate) fn of(_: &Metadata) -> Self {
            Self(None)
        }

        pub(crate) fn at(path: &Path) -> io::Result<Self> {
            path.symlink_metadata().map(|_| Self(None))
        }
    }

    pub(crate) fn other_names(_: &Metadata) -> u64 {
        0
    }

    pub(crate) fn mode(_: &Metadata) -> u32 {
        super::FOR_ALL
    }

    pub(crate) fn create_new(path: &Path, _: u32) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(crate) fn free_bytes(_: &File) -> Option<u64> {
        None
    }

    pub(crate) fn exchange(_: &Path, _: &Path) -> Option<io::Result<()>> {
        None
    }

    pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
        super::link_or_look(from, to)
    }

    pub(crate) fn look_like(new: &File, old: &File) -> io::Result<()> {
        new.set_permissions(old.metadata()?.permissions())
    }
}

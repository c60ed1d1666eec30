//! Extended attributes of files: those of the name space `user`, which belong to the file's owner.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs;

use crate::archive::stat::AttributeValue;

const PREFIX: &[u8] = b"user.";

/// Those of an open file. None where the file system has none, and none that cannot be read.
pub(super) fn of(file: impl AsFd) -> BTreeMap<String, AttributeValue> {
    let mut found = BTreeMap::new();
    let file = file.as_fd();
    let len = match fs::flistxattr_query(file) {
        Ok(len) if len > 0 => len,
        _ => return found,
    };
    // Some more, for those that come in between. If that is not enough, it is as if they could not be read.
    let mut list = Vec::with_capacity(len + 256);
    if fs::flistxattr(file, spare_capacity(&mut list)).is_err() {
        return found;
    }
    for name in list.split_inclusive(|&byte| byte == 0) {
        if !name.starts_with(PREFIX) {
            continue;
        }
        let (Ok(c_name), Ok(text)) =
            (CStr::from_bytes_with_nul(name), std::str::from_utf8(&name[..name.len() - 1]))
        else {
            continue;
        };
        let Ok(len) = fs::fgetxattr_query(file, c_name) else { continue };
        let mut value = Vec::with_capacity(len.max(1));
        if fs::fgetxattr(file, c_name, spare_capacity(&mut value)).is_ok() {
            found.insert(text.to_owned(), AttributeValue(value));
        }
    }
    found
}

/// Those of a folder.
pub(super) fn of_path(folder: &Path) -> BTreeMap<String, AttributeValue> {
    std::fs::File::open(folder).map(of).unwrap_or_default()
}

/// Gives them to a file. Names of other name spaces are left out: an archive from elsewhere sets no
/// capabilities.
pub(super) fn set(file: impl AsFd, attributes: &BTreeMap<String, AttributeValue>) -> io::Result<()> {
    for (name, AttributeValue(value)) in attributes {
        if name.as_bytes().starts_with(PREFIX) {
            fs::fsetxattr(file.as_fd(), name, value, fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

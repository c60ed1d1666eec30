//! What an archive knows of a file besides its bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::path::ArchivePath;

/// What a path in an archive leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link. Its bytes are the path that it leads to.
    Link,
}

/// Mode, times, owner and extended attributes of a file, a folder or a link. What is `None` is not known.
///
/// An archive keeps them as the record's [metadata](crate::Depot::metadata): a map with these names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FileAttributes {
    /// Whether the record is a link. Folders are told by their names, which end with `/`.
    pub(super) kind: Option<FileKind>,
    /// Permission bits, such as `0o644`.
    pub mode: Option<u32>,
    /// Time of the last change, in seconds since 1970.
    pub mtime: Option<i64>,
    /// Nanoseconds after `mtime`.
    pub mtime_ns: u32,
    /// Number of the user who owns it.
    pub uid: Option<u32>,
    /// Number of the group that owns it.
    pub gid: Option<u32>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, AttributeValue>,
}

/// A map of what is known. MessagePack would have a struct without its names.
impl Serialize for FileAttributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { kind, mode, mtime, mtime_ns, uid, gid, xattrs } = self;
        let nanoseconds = Some(mtime_ns).filter(|n| **n > 0);
        let xattrs = Some(xattrs).filter(|xattrs| !xattrs.is_empty());
        let known = [
            kind.is_some(),
            mode.is_some(),
            mtime.is_some(),
            nanoseconds.is_some(),
            uid.is_some(),
            gid.is_some(),
            xattrs.is_some(),
        ];
        let mut map = serializer.serialize_map(Some(known.into_iter().filter(|known| *known).count()))?;
        macro_rules! entry {
            ($name:literal, $value:expr) => {
                if let Some(value) = $value {
                    map.serialize_entry($name, value)?;
                }
            };
        }
        entry!("kind", kind);
        entry!("mode", mode);
        entry!("mtime", mtime);
        entry!("mtime_ns", nanoseconds);
        entry!("uid", uid);
        entry!("gid", gid);
        entry!("xattrs", xattrs);
        map.end()
    }
}

impl FileAttributes {
    /// Attributes of which none is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the permission bits.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode & 0o7777);
        self
    }

    /// Sets the time of the last change.
    #[must_use]
    pub fn with_modified(mut self, time: SystemTime) -> Self {
        let (seconds, nanoseconds) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanoseconds => (seconds.saturating_sub(1), 1_000_000_000 - nanoseconds),
                }
            }
        };
        (self.mtime, self.mtime_ns) = (Some(seconds), nanoseconds);
        self
    }

    /// Sets the extended attributes.
    #[must_use]
    pub fn with_xattrs(mut self, xattrs: BTreeMap<String, AttributeValue>) -> Self {
        self.xattrs = xattrs;
        self
    }

    /// The time of the last change, if it is known and this system has such times.
    pub fn modified(&self) -> Option<SystemTime> {
        let seconds = self.mtime?;
        let epoch = SystemTime::UNIX_EPOCH;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
        time?.checked_add(Duration::from_nanos(u64::from(self.mtime_ns)))
    }
}

/// The bytes of an extended attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AttributeValue(pub Vec<u8>);

impl Serialize for AttributeValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = AttributeValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<AttributeValue, E> {
                Ok(AttributeValue(bytes.to_vec()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<AttributeValue, A::Error> {
                let mut value = Vec::new();
                while let Some(byte) = bytes.next_element()? {
                    value.push(byte);
                }
                Ok(AttributeValue(value))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A file, a folder or a link of an archive, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// Where it is.
    pub path: ArchivePath,
    /// What it is.
    pub kind: FileKind,
    /// Its bytes. A folder has none, and a link those of the path that it leads to.
    pub size: u64,
    /// Its attributes.
    pub attributes: FileAttributes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970_come_back() {
        for (seconds, nanoseconds) in
            [(0, 0), (1_732_780_000, 123_456_789), (-1, 0), (-1, 999_999_999), (-86_400, 5)]
        {
            let given =
                FileAttributes { mtime: Some(seconds), mtime_ns: nanoseconds, ..FileAttributes::default() };
            let time = given.modified().unwrap();
            assert_eq!(FileAttributes::new().with_modified(time), given, "{seconds} {nanoseconds}");
        }
        assert_eq!(FileAttributes::new().modified(), None);
        let never = FileAttributes { mtime: Some(i64::MAX), mtime_ns: u32::MAX, ..FileAttributes::default() };
        // Nothing panics, whether the system has such times or not.
        _ = never.modified();
    }
}

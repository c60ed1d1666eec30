//! What is stored beside an object: its metadata, its serializer and times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// A time in seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Time {
    seconds: i64,
    nanoseconds: u32,
}

impl Time {
    pub(super) fn now() -> Self {
        let (seconds, nanoseconds) = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            // A clock that is set to a time before 1970.
            Err(_) => (0, 0),
        };
        Self { seconds, nanoseconds }
    }

    fn to_system(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let time =
            if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        time?.checked_add(Duration::from_nanos(self.nanoseconds.into()))
    }
}

/// The map beside an object. Other entries are ignored, and so are their values.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, bound = "T: Deserialize<'de>")]
pub(super) struct Entry<T> {
    pub(super) meta: Option<T>,
    pub(super) serializer: Option<String>,
    created: Option<i64>,
    created_ns: u32,
    mtime: Option<i64>,
    mtime_ns: u32,
    meta_mtime: Option<i64>,
    meta_mtime_ns: u32,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self {
            meta: None,
            serializer: None,
            created: None,
            created_ns: 0,
            mtime: None,
            mtime_ns: 0,
            meta_mtime: None,
            meta_mtime_ns: 0,
        }
    }
}

impl<T> Entry<T> {
    /// The same, with other metadata.
    pub(super) fn with_metadata<U>(self, meta: Option<U>, now: Time) -> Entry<U> {
        let Self { serializer, created, created_ns, mtime, mtime_ns, .. } = self;
        let mut new = Entry { meta, serializer, created, created_ns, mtime, mtime_ns, ..Entry::default() };
        if new.meta.is_some() {
            (new.meta_mtime, new.meta_mtime_ns) = (Some(now.seconds), now.nanoseconds);
        }
        new.created_now(now)
    }

    /// The same, with an object that was made by this serializer.
    pub(super) fn with_object(mut self, serializer: &str, now: Time) -> Self {
        self.serializer = Some(serializer.to_owned());
        (self.mtime, self.mtime_ns) = (Some(now.seconds), now.nanoseconds);
        self.created_now(now)
    }

    fn created_now(mut self, now: Time) -> Self {
        if self.created.is_none() {
            (self.created, self.created_ns) = (Some(now.seconds), now.nanoseconds);
        }
        self
    }

    /// What users are told. `object` is the size and the checksum.
    pub(super) fn stat(self, object: Option<(u64, Option<u32>)>) -> ObjectStat {
        let time = |seconds: Option<i64>, nanoseconds| {
            seconds.and_then(|seconds| Time { seconds, nanoseconds }.to_system())
        };
        ObjectStat {
            size: object.map(|(size, _)| size),
            checksum: object.and_then(|(_, checksum)| checksum),
            serializer: self.serializer.filter(|_| object.is_some()),
            created: time(self.created, self.created_ns),
            modified: time(self.mtime, self.mtime_ns),
            metadata_modified: time(self.meta_mtime, self.meta_mtime_ns),
            has_metadata: self.meta.is_some(),
        }
    }
}

/// A map of what is known. MessagePack would have a struct without its names.
impl<T: Serialize> Serialize for Entry<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = [
            ("created", self.created, "created_ns", self.created_ns),
            ("mtime", self.mtime, "mtime_ns", self.mtime_ns),
            ("meta_mtime", self.meta_mtime, "meta_mtime_ns", self.meta_mtime_ns),
        ];
        let known: usize = times
            .iter()
            .map(|(_, time, _, nanoseconds)| {
                usize::from(time.is_some()) * (1 + usize::from(*nanoseconds > 0))
            })
            .sum();
        let len = known + usize::from(self.meta.is_some()) + usize::from(self.serializer.is_some());
        let mut map = serializer.serialize_map(Some(len))?;
        if let Some(meta) = &self.meta {
            map.serialize_entry("meta", meta)?;
        }
        if let Some(serializer) = &self.serializer {
            map.serialize_entry("serializer", serializer)?;
        }
        for (name, time, name_ns, nanoseconds) in times {
            if let Some(time) = time {
                map.serialize_entry(name, &time)?;
                if nanoseconds > 0 {
                    map.serialize_entry(name_ns, &nanoseconds)?;
                }
            }
        }
        map.end()
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStat {
    /// Bytes of the object. `None` if there is metadata alone.
    pub size: Option<u64>,
    /// CRC32C of the object's bytes.
    pub checksum: Option<u32>,
    /// What made the bytes of the object.
    pub serializer: Option<String>,
    /// When the first of its object and metadata was stored.
    pub created: Option<SystemTime>,
    /// When the object was stored.
    pub modified: Option<SystemTime>,
    /// When the metadata were stored.
    pub metadata_modified: Option<SystemTime>,
    /// Whether there are metadata.
    pub has_metadata: bool,
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn an_entry_comes_back_and_is_read_without_its_metadata() {
        let now = Time { seconds: 1_732_780_000, nanoseconds: 5 };
        let entry = Entry::<()>::default().with_object("npy", now).with_metadata(Some(vec![1, 2]), now);
        let bytes = rmp_serde::to_vec(&entry).unwrap();
        let back: Entry<Vec<i32>> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!((back.meta.as_deref(), back.serializer.as_deref()), (Some(&[1, 2][..]), Some("npy")));
        let stat = rmp_serde::from_slice::<Entry<IgnoredAny>>(&bytes).unwrap().stat(Some((7, Some(9))));
        assert!(stat.has_metadata && stat.size == Some(7) && stat.checksum == Some(9));
        assert_eq!(stat.created, stat.metadata_modified);
        assert_eq!(stat.created, Some(UNIX_EPOCH + Duration::new(1_732_780_000, 5)));
    }

    #[test]
    fn attributes_of_archives_are_no_obstacle() {
        let bytes =
            rmp_serde::to_vec(&serde_json::json!({"mode": 420, "mtime": 5, "xattrs": {"a": 1}})).unwrap();
        let stat = rmp_serde::from_slice::<Entry<IgnoredAny>>(&bytes).unwrap().stat(Some((0, None)));
        assert_eq!(stat.modified, Some(UNIX_EPOCH + Duration::from_secs(5)));
    }
}

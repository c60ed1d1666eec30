//! The manifest of a folder of shards: which depots are one together, in which order.
//!
//! It is a JSON file, `shards.json`, that is replaced as a whole:
//!
//! ```json
//! {
//!   "format": "vldepot shards",
//!   "version": 1,
//!   "id": "5b1e3c0d9a7f42e680d1c2b3a4958677",
//!   "revision": 3,
//!   "shards": [
//!     {"path": "rank_0.vld", "data_set": "...", "depot": "...", "commit": 4, "records": 1000,
//!      "raw_bytes": 61234, "superseded": [[17, 17]]}
//!   ],
//!   "crc32c": "0x3a7b90d2"
//! }
//! ```
//!
//! Paths are relative to the folder, with `/`. `data_set`, `depot` and `commit` tell in which state a shard
//! was when the manifest was written. `superseded` has ranges, both ends included, of the ordinals of records
//! that are live in the shard, but have the name of a record in a newer one. It counts only while every shard
//! is as noted. The checksum covers everything else: the same JSON without `crc32c`, without spaces, with the
//! members of each object sorted.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::identity;
use crate::storage::{FileStorage, StagedFile, Storage, StorageExt};

/// The file's name in the folder.
pub(crate) const NAME: &str = "shards.json";

const FORMAT: &str = "vldepot shards";
const VERSION: u32 = 1;

/// The most bytes of a manifest.
const MAX_LEN: u64 = 1 << 30;

/// How long to wait for another process that changes the manifest.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which depots are one together, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    /// 128 random bits: the set's own identity.
    #[serde(with = "hex")]
    pub(crate) id: u128,
    /// How often the manifest was written.
    pub(crate) revision: u64,
    pub(crate) shards: Vec<Shard>,
    /// What later versions add.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// One depot of the set, and how it was when the manifest was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// Relative to the folder, with `/`.
    pub(crate) path: String,
    #[serde(with = "hex")]
    pub(crate) data_set: u128,
    #[serde(with = "hex")]
    pub(crate) depot: u128,
    pub(crate) commit: u64,
    /// Live records, superseded ones included.
    pub(crate) records: u64,
    pub(crate) raw_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) superseded: Vec<[u64; 2]>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Numbers as hexadecimal digits, because JSON readers of other languages round large numbers.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:032x}"))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// The manifest's path in a folder.
pub(crate) fn path_in(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Whether a folder has a manifest.
pub(crate) fn is_set(folder: &Path) -> bool {
    folder.is_dir() && path_in(folder).exists()
}

impl Shard {
    pub(crate) fn new(path: String) -> Self {
        Self {
            path,
            data_set: 0,
            depot: 0,
            commit: 0,
            records: 0,
            raw_bytes: 0,
            superseded: Vec::new(),
            more: Map::new(),
        }
    }

    /// Where the shard is.
    pub(crate) fn path_from(&self, folder: &Path) -> PathBuf {
        folder.join(&self.path)
    }

    /// The ordinals of superseded records, in their order, which must be below `end`. `None` if they are not:
    /// then the manifest is forged.
    pub(crate) fn superseded_below(&self, end: u64) -> Option<Vec<u64>> {
        let mut next = 0;
        for &[first, last] in &self.superseded {
            if first < next || last < first || last >= end {
                return None;
            }
            next = last + 1;
        }
        Some(self.superseded.iter().flat_map(|&[first, last]| first..=last).collect())
    }

    /// Notes the sorted ordinals of superseded records.
    pub(crate) fn set_superseded(&mut self, ordinals: &[u64]) {
        self.superseded.clear();
        for &ordinal in ordinals {
            match self.superseded.last_mut() {
                Some([_, last]) if *last + 1 == ordinal => *last = ordinal,
                _ => self.superseded.push([ordinal, ordinal]),
            }
        }
    }
}

impl Manifest {
    /// The manifest of a new set without shards.
    pub(crate) fn new() -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            id: identity::data_set(),
            revision: 0,
            shards: Vec::new(),
            more: Map::new(),
        }
    }

    /// Reads the manifest of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = path_in(folder);
        let storage =
            FileStorage::open(&path).map_err(|source| Error::io(&path, "open the manifest", source))?;
        Self::read_from(&storage)
    }

    fn read_from(storage: &FileStorage) -> Result<Self> {
        let len = storage.file_len()?;
        if len > MAX_LEN {
            let expected = format!("a manifest of at most {MAX_LEN} bytes");
            return Err(Error::damaged(storage.path(), Part::File, 0, expected, len.to_string()));
        }
        let bytes = storage.read(0, usize::try_from(len).unwrap_or(usize::MAX))?;
        Self::parse(&bytes, storage.path())
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged =
            |expected: &str, found: String| Error::damaged(path, Part::File, 0, expected.to_owned(), found);
        let mut value: Value = serde_json::from_slice(bytes)
            .map_err(|error| damaged("the JSON of a manifest of shards", error.to_string()))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text("format") != FORMAT {
            let found = "a JSON file that is no manifest of shards".to_owned();
            return Err(ErrorKind::NotADepot { found }.at(path));
        }
        let stored = text("crc32c");
        let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
        if let Some(object) = value.as_object_mut() {
            object.remove("crc32c");
        }
        let computed = checksum(&value);
        if stored != computed {
            return Err(damaged(&format!("CRC32C {stored}"), computed));
        }
        if version > u64::from(VERSION) {
            let found = u32::try_from(version).unwrap_or(u32::MAX);
            return Err(ErrorKind::NewerFormat { found, supported: VERSION }.at(path));
        }
        let manifest: Self = serde_json::from_value(value)
            .map_err(|error| damaged("a manifest of shards", error.to_string()))?;
        for shard in &manifest.shards {
            if !Path::new(&shard.path).is_relative() || shard.path.is_empty() {
                return Err(damaged("relative paths of shards", format!("{:?}", shard.path)));
            }
        }
        Ok(manifest)
    }

    fn to_json(&self, path: &Path) -> Result<Vec<u8>> {
        let failed =
            |source: serde_json::Error| Error::io(path, "write the manifest", io::Error::other(source));
        let mut value = serde_json::to_value(self).map_err(failed)?;
        let crc = checksum(&value);
        if let Some(object) = value.as_object_mut() {
            object.insert("crc32c".to_owned(), Value::String(crc));
        }
        let mut text = serde_json::to_vec_pretty(&value).map_err(failed)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Lets `change` change the manifest of a folder, and puts the new one in place of the old one. The
    /// folder may have none yet. Of several processes that do so at the same time, one waits for the other.
    ///
    /// `change` returns whether there is anything to write.
    pub(crate) fn change<T>(folder: &Path, change: impl Fn(&mut Self) -> Result<(T, bool)>) -> Result<T> {
        let path = path_in(folder);
        let start = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            match Self::try_change(&path, &change) {
                Err(error) if is_for_now(&error) && start.elapsed() < PATIENCE => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                done => return done,
            }
        }
    }

    fn try_change<T>(path: &Path, change: &impl Fn(&mut Self) -> Result<(T, bool)>) -> Result<T> {
        // From here on, no other process changes a manifest that is there.
        let staged = StagedFile::replace(path)?;
        let mut manifest = match FileStorage::open(path) {
            Ok(storage) => Self::read_from(&storage)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::new(),
            Err(source) => return Err(Error::io(path, "open the manifest", source)),
        };
        let (told, is_changed) = change(&mut manifest)?;
        if is_changed {
            manifest.revision += 1;
            let storage: Arc<dyn Storage> = staged.storage();
            storage
                .write_at(0, &manifest.to_json(path)?)
                .map_err(|source| Error::io(path, "write the manifest", source))?;
            staged.publish()?;
        }
        Ok(told)
    }
}

/// Whether another process changes the manifest at this moment.
fn is_for_now(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Locked | ErrorKind::PathExists | ErrorKind::TargetChanged { .. })
}

fn checksum(value: &Value) -> String {
    format!("{:#010x}", crc32c(value.to_string().as_bytes()))
}

/// The path of a file as a manifest in `folder` names it.
pub(crate) fn relative(folder: &Path, file: &Path) -> Result<String> {
    let whole = |path: &Path| {
        path.canonicalize().map_err(|source| Error::io(path, "find the whole path of the shard", source))
    };
    let (folder, file) = (whole(folder)?, whole(file)?);
    let common = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(file.components().skip(common)).collect();
    let parts: Option<Vec<&str>> = path.components().map(|part| part.as_os_str().to_str()).collect();
    match parts {
        Some(parts) => Ok(parts.join("/")),
        None => Err(Error::invalid_options(format!(
            "the path of the shard {} is not UTF-8, as those in a manifest must be",
            file.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new();
        for n in 0..3 {
            let mut shard = Shard::new(format!("rank_{n}.vld"));
            shard.set_superseded(&[1, 2, 3, 7, 9, 10]);
            assert_eq!(shard.superseded, [[1, 3], [7, 7], [9, 10]]);
            assert_eq!(shard.superseded_below(11).unwrap(), [1, 2, 3, 7, 9, 10]);
            assert_eq!(shard.superseded_below(10), None);
            (shard.data_set, shard.depot, shard.commit) = (u128::MAX - n, 7, 4);
            manifest.shards.push(shard);
        }
        manifest
    }

    #[test]
    fn what_is_written_is_read() {
        let path = Path::new("shards.json");
        let manifest = manifest();
        let json = manifest.to_json(path).unwrap();
        assert_eq!(Manifest::parse(&json, path).unwrap(), manifest);
    }

    #[test]
    fn what_later_versions_add_is_kept() {
        let path = Path::new("shards.json");
        let mut value = serde_json::to_value(manifest()).unwrap();
        value["colour"] = "blue".into();
        value["shards"][0]["colour"] = "red".into();
        value["crc32c"] = checksum(&value).into();
        let parsed = Manifest::parse(value.to_string().as_bytes(), path).unwrap();
        let again: Value = serde_json::from_slice(&parsed.to_json(path).unwrap()).unwrap();
        assert_eq!(again, value);
    }

    #[test]
    fn forged_ordinals_take_no_memory() {
        let mut shard = Shard::new("a.vld".to_owned());
        for forged in [[0, u64::MAX], [5, 4], [u64::MAX, u64::MAX]] {
            shard.superseded = vec![[0, 0], forged];
            assert_eq!(shard.superseded_below(1 << 40), None);
        }
        shard.superseded = vec![[3, 4], [4, 5]];
        assert_eq!(shard.superseded_below(10), None);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let path = Path::new("shards.json");
        let json = manifest().to_json(path).unwrap();
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
        for bit in 0..8 * json.len() {
            let mut flipped = json.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Only spaces between values may change.
            if value(&flipped) != value(&json) {
                assert!(Manifest::parse(&flipped, path).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_later_version_is_refused_as_such() {
        let path = Path::new("shards.json");
        let newer = Manifest { version: 9, ..manifest() };
        let error = Manifest::parse(&newer.to_json(path).unwrap(), path).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NewerFormat { found: 9, supported: 1 }), "{error}");
    }

    #[test]
    fn paths_lead_from_the_folder_to_the_shard() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("set");
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        std::fs::create_dir(root.path().join("other")).unwrap();
        for (file, expected) in
            [("set/a.vld", "a.vld"), ("set/deep/b.vld", "deep/b.vld"), ("other/c.vld", "../other/c.vld")]
        {
            let file = root.path().join(file);
            std::fs::write(&file, b"").unwrap();
            assert_eq!(relative(&folder, &file).unwrap(), expected);
        }
    }

    #[test]
    fn no_change_of_many_threads_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let folder = folder.path();
                scope.spawn(move || {
                    for nth in 0..5 {
                        let added = Manifest::change(folder, |manifest| {
                            manifest.shards.push(Shard::new(format!("{n}_{nth}.vld")));
                            Ok(((), true))
                        });
                        added.unwrap();
                    }
                });
            }
        });
        let manifest = Manifest::read(folder.path()).unwrap();
        assert_eq!((manifest.shards.len(), manifest.revision), (40, 40));
    }
}

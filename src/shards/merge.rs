//! Adds depots to a set without copying them, and removes records from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::depot::Depot;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{AsKey, Key};
use crate::manifest::{self, Manifest, Shard};
use crate::{Raw, storage};

/// How many names [`Merged::examples`] has at most.
const EXAMPLES: usize = 20;

/// What [`merge`] does with names that several shards have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MergeOptions {
    /// Refuse a set in which two shards have a record of the same name. The default is false: the newest
    /// counts.
    pub unique: bool,
}

impl MergeOptions {
    /// Sets [`unique`](Self#structfield.unique).
    #[must_use]
    pub fn with_unique(mut self, unique: bool) -> Self {
        self.unique = unique;
        self
    }
}

/// What is in a set after a [`merge`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Merged {
    /// Shards of the set.
    pub shards: u64,
    /// Shards that are new in it.
    pub added: u64,
    /// Records of the set.
    pub records: u64,
    /// Their raw bytes, those of superseded records included.
    pub raw_bytes: u64,
    /// Records that one with the same name in a newer shard supersedes.
    pub superseded: u64,
    /// The names of some superseded records.
    pub examples: Vec<Key>,
}

/// Whether there is a set of shards at `path`: a folder with a manifest.
pub fn is_set(path: impl AsRef<Path>) -> bool {
    manifest::is_set(path.as_ref())
}

/// The depots in a folder that are no shards of it yet: files `*.vld`, in the order of their names.
///
/// # Errors
/// [`ErrorKind::Io`], and the errors of reading a manifest.
pub fn found(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let failed = |source| Error::io(folder, "list the folder", source);
    let known: BTreeSet<PathBuf> = if manifest::is_set(folder) {
        Manifest::read(folder)?.shards.iter().map(|shard| shard.path_from(folder)).collect()
    } else {
        BTreeSet::new()
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "vld")
            && path.is_file()
            && !known.contains(&path)
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Adds depots to the set in a folder, newest last, without copying them. Also takes note of what the shards
/// have by now.
///
/// The folder becomes a set if it is none. Depots may lie anywhere that a relative path from the folder leads
/// to. One that is in the set already stays where it is in the order. The manifest is replaced in one step,
/// and of several merges at the same time, each waits for those before it, so that none is lost.
///
/// ```
/// use vldepot::shards::{MergeOptions, merge};
/// use vldepot::{Depot, Raw};
/// # let root = tempfile::tempdir()?;
/// let (old, new) = (root.path().join("old.vld"), root.path().join("new.vld"));
/// for (path, bytes) in [(&old, b"old"), (&new, b"new")] {
///     let depot = Depot::create(path, Raw)?;
///     depot.put("a", bytes)?;
///     depot.close()?;
/// }
/// let merged = merge(root.path(), &[&old, &new], &MergeOptions::default())?;
/// assert_eq!((merged.records, merged.superseded), (1, 1));
/// assert_eq!(Depot::open(root.path(), Raw)?.get("a")?.view(), b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - The errors of [`Depot::open`] for each shard.
/// - [`ErrorKind::InvalidOptions`] for shards of different codecs, chunk sizes or columns.
/// - [`ErrorKind::MissingShard`] when a shard of the set is missing or damaged.
/// - [`ErrorKind::Exists`] for a name that two shards have, if they must be
///   [unique](MergeOptions#structfield.unique).
/// - [`ErrorKind::Locked`] when another process changes the manifest for too long.
///
/// After an error the set is as it was.
pub fn merge<P: AsRef<Path>>(
    folder: impl AsRef<Path>,
    depots: &[P],
    options: &MergeOptions,
) -> Result<Merged> {
    let folder = folder.as_ref();
    let paths = depots
        .iter()
        .map(|depot| {
            // A file that is no depot is refused before anything is locked.
            Depot::open(depot, Raw)?;
            manifest::relative(folder, depot.as_ref())
        })
        .collect::<Result<Vec<_>>>()?;
    Manifest::change(folder, |manifest| {
        let mut added = 0;
        for path in &paths {
            if manifest.shards.iter().all(|shard| shard.path != *path) {
                manifest.shards.push(Shard::new(path.clone()));
                added += 1;
            }
        }
        let (merged, changed) = survey(folder, manifest)?;
        if let (true, Some(name)) = (options.unique, merged.examples.first()) {
            return Err(ErrorKind::Exists.at(folder).of(name.to_string()));
        }
        Ok((Merged { added, ..merged }, changed || added > 0))
    })
}

/// Takes note in `manifest` of what its shards have by now. Also returns whether that is new.
pub(super) fn survey(folder: &Path, manifest: &mut Manifest) -> Result<(Merged, bool)> {
    let survey = Engine::survey_set(folder, manifest, EXAMPLES)?;
    let changed = survey.shards != manifest.shards;
    manifest.shards = survey.shards;
    let sum = |of: fn(&Shard) -> u64| manifest.shards.iter().map(of).sum::<u64>();
    let merged = Merged {
        shards: manifest.shards.len() as u64,
        added: 0,
        records: sum(|shard| shard.records).saturating_sub(survey.superseded),
        raw_bytes: sum(|shard| shard.raw_bytes),
        superseded: survey.superseded,
        examples: survey.names.iter().filter_map(|name| Key::from_tagged(name)).collect(),
    };
    Ok((merged, changed))
}

/// Removes records from all shards of a set that have them. Returns how many records the set has lost.
///
/// Each of those shards is opened for writing, the oldest first: what a newer record supersedes never shows
/// up again. The removals of a shard are durable together.
///
/// ```
/// use vldepot::shards::{Writer, WriterOptions, remove};
/// use vldepot::{Depot, Raw};
/// # let root = tempfile::tempdir()?;
/// # let folder = root.path().join("set");
/// let writer = Writer::new(&folder, Depot::builder(Raw), WriterOptions::default())?;
/// writer.put("a", b"..")?;
/// writer.put("b", b"..")?;
/// writer.close()?;
/// assert_eq!(remove(&folder, &["a"])?, 1);
/// assert_eq!(Depot::open(&folder, Raw)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - [`ErrorKind::NotFound`] for a name that no shard has. Nothing was removed then.
/// - [`ErrorKind::Locked`] while a shard is being written. Older shards may have lost their superseded
///   records.
/// - The errors of [`Depot::open`] and of [`Depot::remove`].
pub fn remove<K: AsKey>(folder: impl AsRef<Path>, keys: &[K]) -> Result<u64> {
    let folder = folder.as_ref();
    let set = Depot::open(folder, Raw)?;
    let mut by_shard: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
    let mut paths = Vec::new();
    for key in keys.iter().map(AsKey::to_key) {
        if !set.contains(&key)? {
            return Err(ErrorKind::NotFound.at(folder).of(key.to_string()));
        }
        let name = set.names(std::slice::from_ref(&key))?;
        for (number, path) in set.engine.holders(&name[0])? {
            by_shard.entry(number).or_default().push(key.clone());
            if paths.len() <= number {
                paths.resize(number + 1, PathBuf::new());
            }
            paths[number] = path;
        }
    }
    let before = set.len();
    drop(set);
    for (number, keys) in by_shard {
        let shard = Depot::append(&paths[number], Raw)?;
        for key in &keys {
            if shard.contains(key)? {
                shard.remove(key)?;
            }
        }
        shard.close()?;
    }
    Manifest::change(folder, |manifest| survey(folder, manifest))?;
    Ok(before.saturating_sub(Depot::open(folder, Raw)?.len()))
}

/// Makes a folder, unless it is there.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|source| Error::io(folder, "make the folder", source))?;
    let failed = |source| Error::io(folder, "sync the folder's parent", source);
    storage::sync_folder(&std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())).map_err(failed)
}

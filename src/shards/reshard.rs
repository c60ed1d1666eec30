//! Copies a depot or a set into shards of another size, or into one file.

use std::path::Path;
use std::sync::Arc;

use super::merge::{Merged, survey};
use super::staged::StagedSet;
use crate::depot::depot_metadata;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::maintain::{Meter, Progress, check_count, each_live};
use crate::manifest::{Manifest, Shard};
use crate::storage::{FileStorage, StagedFile, Storage};

/// How [`reshard`] divides records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReshardOptions {
    /// Bytes of a file after which the next shard begins. The default, `None`, is one file instead of a
    /// folder.
    pub shard_bytes: Option<u64>,
}

impl ReshardOptions {
    /// Sets [`shard_bytes`](Self#structfield.shard_bytes).
    #[must_use]
    pub fn with_shard_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.shard_bytes = bytes.into();
        self
    }
}

/// Copies all live records of a depot or a set, in their order, to `target`, which must not be there: a
/// folder of shards, or one file. Names, metadata and layout stay as they are.
///
/// The target appears when it is finished. What a killed process left is removed by the next try.
///
/// ```
/// use vldepot::shards::{ReshardOptions, reshard};
/// use vldepot::{Depot, Raw};
/// # let root = tempfile::tempdir()?;
/// # let (file, folder) = (root.path().join("run.vld"), root.path().join("run"));
/// let depot = Depot::create(&file, Raw)?;
/// for step in 0..100 {
///     depot.put(step, &[7; 1000])?;
/// }
/// depot.close()?;
/// reshard(&file, &folder, &ReshardOptions::default().with_shard_bytes(16 << 30), |_| {})?;
/// assert_eq!(Depot::open(&folder, Raw)?.len(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - The errors of [`Depot::open`](crate::Depot::open), and those of the first record that cannot be read.
/// - [`ErrorKind::PathExists`] when the target is there.
/// - [`ErrorKind::Io`] when it cannot be written.
pub fn reshard(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    options: &ReshardOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Merged> {
    let (source, target) = (source.as_ref(), target.as_ref());
    let engine = Engine::open_path(source)?;
    if engine.is_foreign() {
        let found = "a file of another program, which can be read and not rewritten";
        return Err(ErrorKind::NotADepot { found: found.into() }.at(source));
    }
    let (records, raw_bytes, _) = engine.counts();
    let mut meter = Meter::new(raw_bytes, &mut progress);
    let Some(shard_bytes) = options.shard_bytes else {
        let staged = StagedFile::create(target)?;
        copy(&engine, u64::MAX, &mut || Ok(staged.storage()), &mut meter)?;
        staged.publish()?;
        meter.finish();
        return Ok(Merged { shards: 1, added: 1, records, raw_bytes, ..Merged::default() });
    };
    let staged = StagedSet::create(target)?;
    let mut manifest = Manifest::new();
    let mut next = || {
        let name = format!("shard_{:05}.vld", manifest.shards.len());
        let path = staged.path().join(&name);
        let storage =
            FileStorage::create(&path).map_err(|source| Error::io(&path, "make the shard", source))?;
        manifest.shards.push(Shard::new(name));
        Ok(Arc::new(storage) as Arc<dyn Storage>)
    };
    copy(&engine, shard_bytes.max(1), &mut next, &mut meter)?;
    let shards = manifest.shards;
    let merged = Manifest::change(staged.path(), |manifest| {
        manifest.shards.clone_from(&shards);
        survey(staged.path(), manifest)
    })?;
    staged.publish()?;
    meter.finish();
    Ok(Merged { added: merged.shards, ..merged })
}

/// Writes all records to depots in the storages that `next` gives, and closes them.
fn copy(
    source: &Engine,
    shard_bytes: u64,
    next: &mut dyn FnMut() -> Result<Arc<dyn Storage>>,
    meter: &mut Meter<'_>,
) -> Result<()> {
    refuse_newer(source)?;
    let (records, ..) = source.counts();
    let mut target = Engine::create_like(next()?, source.parameters())?;
    let mut written = 0;
    each_live(source, meter, &mut |name, content, attributes| {
        if target.bytes_so_far()? >= shard_bytes {
            finish(source, &target)?;
            written += target.len();
            target = Engine::create_like(next()?, source.parameters())?;
        }
        content.put_to(&target, name, attributes)
    })?;
    finish(source, &target)?;
    check_count(source, records, written + target.len())
}

/// Refuses to leave out what a later version wrote.
fn refuse_newer(source: &Engine) -> Result<()> {
    let storages = if source.is_set() { source.shards() } else { vec![Arc::clone(source.storage())] };
    for storage in storages {
        let engine = Engine::open_any(Arc::clone(&storage), false)?;
        if let Some(head) = engine.entries_to_carry()?.first() {
            let (name, offset) = (head.kind.number().to_string(), head.offset);
            let kind = ErrorKind::NewerFeature { what: "entry kind", name, offset, readable: true };
            return Err(kind.at(storage.path()));
        }
    }
    Ok(())
}

/// Gives a depot the metadata of the whole, and what is known to be lost, and closes it.
fn finish(source: &Engine, target: &Engine) -> Result<()> {
    let mut writer = target.writer()?;
    if let Some(metadata) = depot_metadata(source)? {
        writer.set_depot_metadata(metadata)?;
    }
    let losses = source.losses()?;
    if !losses.0.is_empty() {
        writer.set_losses(&losses)?;
    }
    writer.publish(true)
}

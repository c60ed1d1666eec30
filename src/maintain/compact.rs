//! A depot without what was removed and replaced: its live records are written to a new file, in their order, with the
//! layout and metadata of the old one; then the new file takes the place of the old one, which is one step for the system.
//!
//! Whatever interrupts it before that step leaves the old file as it was, and at most a file `NAME.compacting` beside it,
//! which the next attempt replaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Meter, Progress};
use crate::depot::{Cursor, Engine, Listed, read_each};
use crate::error::{Error, Result};
use crate::index::Location;
use crate::options::Mapping;
use crate::storage::{FileStorage, Storage, sync_folder};

/// Raw bytes, and records, copied together.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_RECORDS: usize = 1024;

/// What compacting gained.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Live records: all of them are in the new file.
    pub records: u64,
    /// Bytes of the file before.
    pub bytes_before: u64,
    /// Bytes of the file now.
    pub bytes_after: u64,
}

/// Rewrites the depot at `path` without what was removed and replaced, and without the holes that commits left.
///
/// Options and metadata stay; every record keeps its bytes and its place in the order. Needs room for the new file beside
/// the old one, and the writer's lock. Readers that have the old file open go on reading it, and see the new one when they
/// open the path again.
///
/// # Errors
/// [`Error::Locked`] while a writer has the file. [`Error::NotCompacted`] when a record cannot be read, or the new file not be written:
/// nothing was changed then.
pub fn compact(path: impl AsRef<Path>, mut progress: impl FnMut(Progress)) -> Result<CompactReport> {
    // The rename must replace the file, not a link to it.
    let given = path.as_ref();
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| Error::Io { path: given.to_owned(), action, source }
    };
    let path = fs::canonicalize(given).map_err(failed("open the file"))?;
    let storage = Arc::new(FileStorage::open_writable(&path).map_err(failed("open the file for writing"))?);
    if !storage.try_lock().map_err(failed("lock the file"))? {
        return Err(Error::Locked { path: given.to_owned() });
    }
    let source = Engine::open_any(storage, Mapping::Never)?;
    let new_path = beside(&path);
    // Nobody else can be writing it: they would have the lock of the old file.
    match fs::remove_file(&new_path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("remove what an earlier attempt left")(error));
        }
        _ => {}
    }
    let report = write_file(&source, &path, &new_path, &mut progress).inspect_err(|_| {
        // What was written so far is of no use; if it cannot be removed, the next attempt will.
        let _ = fs::remove_file(&new_path);
    });
    report.map_err(|error| match error {
        error @ Error::NotADepot { .. } => error,
        error => Error::NotCompacted { path: given.to_owned(), source: Box::new(error) },
    })
}

/// Where the new file is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".compacting");
    path.with_file_name(name)
}

fn write_file(
    source: &Engine,
    path: &Path,
    new_path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<CompactReport> {
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| Error::Io { path: new_path.to_owned(), action, source }
    };
    let file = Arc::new(FileStorage::create(new_path).map_err(failed("create the new file"))?);
    let permissions = fs::metadata(path).map_err(failed("read the permissions"))?.permissions();
    fs::set_permissions(new_path, permissions).map_err(failed("set the permissions"))?;
    // Kept until the new file is in its place: with it goes the lock, which must not be had before.
    let (report, _target) = copy(source, file, progress)?;
    fs::rename(new_path, path)
        .and_then(|()| sync_folder(path))
        .map_err(failed("put the new file in place"))?;
    Ok(report)
}

/// Writes the live records of the depot in `from` to the empty storage `to`, in their order, with the same layout and
/// metadata; closes it.
///
/// # Errors
/// The first record that cannot be read, and whatever writing meets: what is in `to` then is of no use.
pub fn compact_into(
    from: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    mut progress: impl FnMut(Progress),
) -> Result<CompactReport> {
    let source = Engine::open_any(from, Mapping::Never)?;
    copy(&source, to, &mut progress).map(|(report, _)| report)
}

fn copy(
    source: &Engine,
    to: Arc<dyn Storage>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(CompactReport, Engine)> {
    if source.is_foreign() {
        let found = "a file of another program, which `Depot::open` reads and nothing here rewrites";
        return Err(Error::NotADepot { path: source.path().to_owned(), found: found.into() });
    }
    let len = |engine: &Engine| {
        let asked = engine.shared.storage.len();
        asked.map_err(|source| engine.shared.io("ask for the file's length", source))
    };
    let (records, raw_bytes, _) = source.counts();
    let mut meter = Meter::new(raw_bytes, progress);
    let target = Engine::create_like(to, &source.shared.parameters)?;
    let mut cursor = Cursor::new(source)?;
    let mut batch: Vec<(Vec<u8>, Location)> = Vec::new();
    let mut bytes = 0;
    loop {
        let listed = cursor.next().transpose()?;
        let ended = listed.is_none();
        if let Some(Listed { name, location }) = listed {
            let location = location.map_err(|error| source.in_record(&name, error))?;
            bytes += location.length as usize;
            batch.push((name, location));
        }
        if ended || batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            copy_batch(source, &target, &batch, &mut meter)?;
            batch.clear();
            bytes = 0;
        }
        if ended {
            break;
        }
    }
    finish(source, &target)?;
    let (written, ..) = target.counts();
    if written != records {
        // An index that lists other than it counts: the old file may hold what the new one lacks.
        return Err(Error::Damaged {
            path: source.path().to_owned(),
            what: "index".into(),
            offset: 0,
            expected: format!("{records} live records"),
            found: format!("{written} of different names"),
        });
    }
    meter.finish();
    let report = CompactReport { records, bytes_before: len(source)?, bytes_after: len(&target)? };
    Ok((report, target))
}

fn copy_batch(
    source: &Engine,
    target: &Engine,
    batch: &[(Vec<u8>, Location)],
    meter: &mut Meter<'_>,
) -> Result<()> {
    let wanted: Vec<_> = batch.iter().map(|(name, location)| (name.as_slice(), *location)).collect();
    for ((name, location), bytes) in batch.iter().zip(read_each(source, &wanted)) {
        target.put(name, &bytes?, source.metadata(name)?.as_deref(), false)?;
        meter.add(u64::from(location.length));
    }
    Ok(())
}

/// Takes the depot's own metadata over and closes the new depot.
fn finish(source: &Engine, target: &Engine) -> Result<()> {
    let mut writer = target.writer()?;
    if let Some(metadata) = source.committed_metadata()? {
        writer.set_depot_metadata(metadata)?;
    }
    writer.checkpoint(true)
}

//! A folder to an archive.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vldepot::archive::{AddOptions, Archive, ArchivePath, FileKind, Source, Stat, Transfer, layout};
use vldepot::storage::StagedFile;
use vldepot::{CommitEvery, Depot, Layout, Raw, WriteOptions};

use super::disk::{self, Looking, OnDisk, Walk};
use super::{Change, Work, whole};
use crate::archive as names;
use crate::failure::Failure;
use crate::progress::Spinner;
use crate::text;

/// What is to be done with something on the disk.
enum Wanted {
    Store(Change),
    /// Only its attributes changed.
    Describe(Box<Stat>),
    Leave(Change),
}

pub(super) fn pack(work: &mut Work<'_>, is_new: bool) -> Result<Transfer, Failure> {
    let target = &work.sync.target;
    if !work.is_for_real() {
        let archive = if is_new { Archive::memory()? } else { whole(target)? };
        return update(work, &archive, target);
    }
    if !is_new {
        let archive = Archive::new(Depot::builder(Raw).open_options(super::reading()).append(target)?);
        let done = update(work, &archive, target)?;
        archive.close()?;
        return Ok(done);
    }
    let write = WriteOptions::default().with_commit_every(CommitEvery::never());
    let staged = StagedFile::create(target)?;
    let builder = Depot::builder(Raw).layout(layout(Layout::default())).write_options(write);
    let archive = Archive::new(builder.create_in(staged.storage())?);
    let done = update(work, &archive, staged.path())?;
    if work.stopped.is_none() {
        archive.close()?;
        staged.publish()?;
    }
    Ok(done)
}

/// Updates the archive that is in the file `own`, which may lie in the folder.
fn update(work: &mut Work<'_>, archive: &Archive, own: &Path) -> Result<Transfer, Failure> {
    let mut unnamed = Transfer::default();
    if work.sync.delete {
        delete(work, archive, &mut unnamed)?;
    }
    let own = std::fs::metadata(own).map(|own| (own.dev(), own.ino())).ok();
    let spinner = Spinner::new("storing");
    let is_for_real = work.is_for_real();
    let changed = Walk::new(&work.sync.source).map_while(|found| {
        let next = |work: &mut Work<'_>| {
            let found = found?;
            let metadata = &found.metadata;
            if metadata.is_file() && own == Some((metadata.dev(), metadata.ino())) {
                return Ok(None);
            }
            let source = match wanted(work, archive, &found)? {
                Wanted::Store(change) => {
                    work.note_path(change, &found.path)?;
                    Some(Source::new(found.from, found.path).alone())
                }
                Wanted::Describe(stat) => {
                    work.note_path(Change::Changed, &found.path)?;
                    if is_for_real {
                        archive.depot().set_metadata(names::key(&stat.path), &stat.attributes)?;
                    }
                    None
                }
                Wanted::Leave(change) => {
                    work.note_path(change, &found.path)?;
                    None
                }
            };
            Ok(source.filter(|_| is_for_real))
        };
        let found = next(work);
        work.go_on(found)
    });
    let done = archive.add_all(changed.flatten(), &AddOptions::new(), |progress| spinner.show(progress))?;
    Ok(done.and(unnamed))
}

fn wanted(work: &Work<'_>, archive: &Archive, found: &OnDisk) -> Result<Wanted, Failure> {
    let metadata = &found.metadata;
    // A pipe, a socket or a device is named as a failure when it is stored.
    let Some(kind) = disk::kind(metadata) else { return Ok(Wanted::Store(Change::New)) };
    // Whether a folder without a record is implied by other names is slow to tell, and needs not be known.
    let depot = archive.depot();
    if !depot.contains(names::key(&found.path))? && !depot.contains(names::folder_key(&found.path))? {
        return Ok(Wanted::Store(Change::New));
    }
    let stat = archive.stat(&found.path)?;
    if stat.kind != kind {
        return Ok(Wanted::Store(Change::Changed));
    }
    let attributes = &stat.attributes;
    let then = disk::modified_in(attributes);
    let is_time = then == Some(disk::modified(metadata));
    if kind == FileKind::File && work.sync.update && then > Some(disk::modified(metadata)) {
        return Ok(Wanted::Leave(Change::Newer));
    }
    let is_content = match kind {
        FileKind::Folder => true,
        FileKind::Link => {
            let target = std::fs::read_link(&found.from);
            let target = target.map_err(|error| disk::failed(&found.from, "read the link", &error))?;
            archive.depot().get(names::key(&found.path))?.view() == target.as_os_str().as_bytes()
        }
        _ if stat.size != metadata.len() => false,
        _ if work.sync.checksum => disk::is_content(archive, &stat, &found.from)?,
        _ => is_time,
    };
    if !is_content {
        return Ok(Wanted::Store(Change::Changed));
    }
    let is_owner = attributes.uid.is_none_or(|uid| uid == metadata.uid())
        && attributes.gid.is_none_or(|gid| gid == metadata.gid());
    if is_time && is_owner && disk::is_mode(attributes, metadata, u32::MAX) {
        return Ok(Wanted::Leave(Change::Same));
    }
    // A folder that has no record of its own gets one.
    if kind == FileKind::Folder {
        return Ok(Wanted::Store(Change::Changed));
    }
    let mut stat = stat;
    stat.attributes.mode = Some(metadata.mode() & 0o7777);
    (stat.attributes.uid, stat.attributes.gid) = (Some(metadata.uid()), Some(metadata.gid()));
    let (seconds, nanoseconds) = disk::modified(metadata);
    (stat.attributes.mtime, stat.attributes.mtime_ns) = (Some(seconds), nanoseconds);
    Ok(Wanted::Describe(Box::new(stat)))
}

/// Takes out what is not on the disk, or is something else there.
fn delete(work: &mut Work<'_>, archive: &Archive, unnamed: &mut Transfer) -> Result<(), Failure> {
    let mut looking = Looking::new(&work.sync.source);
    let mut gone = Vec::new();
    for entry in archive.walk(ArchivePath::ROOT)? {
        let entry = match entry {
            Ok(entry) => entry,
            // A name that is no path does not stop the others.
            Err(error) if matches!(error.kind(), vldepot::ErrorKind::InvalidPath { .. }) => {
                eprintln!("vldepot: {}", text::without_controls(&crate::failure::chain(&error)));
                unnamed.failed += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let found = looking.find(&entry.path)?;
        if found.is_none_or(|found| found.is_dir() != entry.is_dir) {
            gone.push(entry);
        }
    }
    for entry in &gone {
        work.note_path(Change::Deleted, &entry.path)?;
    }
    if work.is_for_real() {
        // What is in a folder goes before the folder.
        for entry in gone.iter().rev() {
            if entry.is_dir {
                archive.remove_dir(&entry.path)?;
            } else {
                archive.remove_file(&entry.path)?;
            }
        }
    }
    Ok(())
}

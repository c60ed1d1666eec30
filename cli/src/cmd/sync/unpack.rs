//! An archive to a folder.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use vldepot::archive::{Archive, ArchivePath, Entry, ExtractOptions, FileKind, Transfer};

use super::disk::{self, Looking, Walk};
use super::{Change, Work, whole};
use crate::archive as names;
use crate::failure::Failure;
use crate::progress::Spinner;
use crate::text;

/// Bits of a mode that files get.
const BITS: u32 = 0o777;

pub(super) fn unpack(work: &mut Work<'_>) -> Result<Transfer, Failure> {
    let sync = work.sync;
    let archive = whole(&sync.source)?;
    let mut unnamed = Transfer::default();
    if sync.delete && sync.target.is_dir() {
        delete(work, &archive)?;
    }
    let spinner = Spinner::new("extracting");
    let options = ExtractOptions::new().overwrite();
    let mut looking = Looking::new(&sync.target);
    let is_for_real = work.is_for_real();
    let changed = archive.walk(ArchivePath::ROOT)?.map_while(|entry| {
        let entry = match entry {
            Ok(entry) => entry,
            // A name that is no path does not stop the others.
            Err(error) if matches!(error.kind(), vldepot::ErrorKind::InvalidPath { .. }) => {
                eprintln!("vldepot: {}", text::without_controls(&crate::failure::chain(&error)));
                unnamed.failed += 1;
                return Some(None);
            }
            Err(error) => return work.go_on(Err(error.into())),
        };
        let change = compare(work, &archive, &mut looking, &entry).and_then(|change| {
            work.note_path(change, &entry.path)?;
            Ok(change)
        });
        let is_wanted = matches!(work.go_on(change)?, Change::New | Change::Changed);
        Some(Some(entry).filter(|_| is_wanted && is_for_real))
    });
    if !is_for_real {
        changed.for_each(drop);
        return Ok(unnamed);
    }
    let done = archive
        .extract_entries(changed.flatten(), &sync.target, &options, |progress| spinner.show(progress))?;
    if work.stopped.is_none() {
        // Writing to a folder changed its time.
        let mut looking = Looking::new(&sync.target);
        let mut folders = Vec::new();
        for entry in archive.walk(ArchivePath::ROOT)?.filter_map(Result::ok).filter(|entry| entry.is_dir) {
            if compare(work, &archive, &mut looking, &entry)? == Change::Changed {
                folders.push(entry);
            }
        }
        let again = archive.extract_entries(folders, &sync.target, &options, |_| {})?;
        unnamed.failed += again.failed;
    }
    Ok(done.and(unnamed))
}

/// What is to be done with what the archive has.
fn compare(
    work: &Work<'_>,
    archive: &Archive,
    looking: &mut Looking,
    entry: &Entry,
) -> Result<Change, Failure> {
    let path = &entry.path;
    let Some(metadata) = looking.find(path)? else { return Ok(Change::New) };
    let stat = archive.stat(path)?;
    if disk::kind(&metadata) != Some(stat.kind) {
        return Ok(Change::Changed);
    }
    let attributes = &stat.attributes;
    let here = disk::modified(&metadata);
    let is_time = disk::modified_in(attributes).is_none_or(|there| there == here);
    let is_mode = disk::is_mode(attributes, &metadata, BITS);
    let is_same = match stat.kind {
        FileKind::Folder => is_time && is_mode,
        FileKind::Link => {
            let place = looking.place(path);
            let target =
                fs::read_link(&place).map_err(|error| disk::failed(&place, "read the link", &error))?;
            archive.depot().get(names::key(path))?.view() == target.as_os_str().as_bytes() && is_time
        }
        _ => {
            if work.sync.update && disk::modified_in(attributes).is_some_and(|there| there < here) {
                return Ok(Change::Newer);
            }
            let is_content = stat.size == metadata.len()
                && (!work.sync.checksum || disk::is_content(archive, &stat, &looking.place(path))?);
            is_content && is_time && is_mode
        }
    };
    Ok(if is_same { Change::Same } else { Change::Changed })
}

/// Takes away what the archive does not have, or has as something else.
fn delete(work: &mut Work<'_>, archive: &Archive) -> Result<(), Failure> {
    let mut gone: Vec<(PathBuf, bool)> = Vec::new();
    for found in Walk::new(&work.sync.target) {
        let found = found?;
        if crate::records::is_same_file(&work.sync.source, &found.from) {
            continue;
        }
        let is_dir = found.metadata.is_dir();
        let stays = if is_dir {
            archive.is_dir(&found.path)? && !archive.is_file(&found.path)?
        } else {
            archive.is_file(&found.path)?
        };
        if !stays {
            work.note_path(Change::Deleted, &found.path)?;
            gone.push((found.from, is_dir));
        }
    }
    if work.is_for_real() {
        // What is in a folder goes before the folder.
        for (path, is_dir) in gone.iter().rev() {
            let removed = if *is_dir { fs::remove_dir(path) } else { fs::remove_file(path) };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| disk::failed(path, "take it away", &error))?,
            }
        }
    }
    Ok(())
}

//! A depot to a depot.

use vldepot::archive::{FileAttributes, Transfer};
use vldepot::{CommitEvery, Depot, Key, Raw, WriteOptions};

use super::{Change, Work, disk};
use crate::failure::Failure;
use crate::progress::Count;
use crate::records::{New, Origin, check_alike, describing};
use crate::text;

pub(super) fn copy(work: &mut Work<'_>, is_new: bool) -> Result<Transfer, Failure> {
    let sync = work.sync;
    let source = Origin::open(&sync.source)?;
    source.tell_losses()?;
    if is_new {
        if work.is_for_real() {
            let new = New::begin(&sync.target, false, &source.depot, None, false)?;
            update(work, &source, &new.depot)?;
            if work.stopped.is_none() {
                new.publish(&sync.target)?;
            }
        } else {
            update(work, &source, &Depot::builder(Raw).like(&source.depot).memory()?)?;
        }
        return Ok(Transfer::default());
    }
    let old = Origin::open(&sync.target)?;
    check_alike(&old, &source)?;
    if work.is_for_real() {
        drop(old);
        // All takes effect with one commit.
        let write = WriteOptions::default().with_commit_every(CommitEvery::never());
        let target = describing(Depot::builder(Raw).write_options(write).append(&sync.target)?)?;
        update(work, &source, &target)?;
        target.close()?;
    } else {
        update(work, &source, &old.depot)?;
    }
    Ok(Transfer::default())
}

fn update(work: &mut Work<'_>, source: &Origin, target: &Depot<Raw>) -> Result<(), Failure> {
    let is_for_real = work.is_for_real();
    if work.sync.delete {
        let mut gone = Vec::new();
        for key in target.keys() {
            let key = key?;
            if !source.depot.contains(&key)? {
                note(work, Change::Deleted, &key)?;
                gone.push(key);
            }
        }
        if is_for_real {
            for key in &gone {
                target.remove(key)?;
            }
        }
    }
    if is_for_real {
        let differing = target.differing_depot_metadata(&source.depot)?;
        if !differing.is_empty() {
            for name in target.copy_depot_metadata_from(&source.depot)? {
                target.remove_depot_metadata(&name)?;
            }
            target.copy_depot_metadata_from(&source.depot)?;
        }
    }
    let count = Count::new("copying", source.depot.len());
    let changed = source.depot.keys().map_while(|key| {
        let change = key.map_err(Failure::from).and_then(|key| {
            let change = compare(work, &source.depot, target, &key)?;
            note(work, change, &key)?;
            Ok((key, change))
        });
        let (key, change) = work.go_on(change)?;
        let is_wanted = matches!(change, Change::New | Change::Changed) && is_for_real;
        if !is_wanted {
            count.add(1);
        }
        Some(is_wanted.then_some(Ok(key)))
    });
    source.copy(changed.flatten(), target, &count)?;
    Ok(())
}

fn note(work: &mut Work<'_>, change: Change, key: &Key) -> Result<(), Failure> {
    work.note(change, &text::name(key), ("name", &text::json_name(key).1))
}

fn compare(work: &Work<'_>, source: &Depot<Raw>, target: &Depot<Raw>, key: &Key) -> Result<Change, Failure> {
    if !target.contains(key)? {
        return Ok(Change::New);
    }
    if work.sync.update {
        // Records of other metadata have no time.
        let time = |depot: &Depot<Raw>| {
            let attributes = depot.metadata::<FileAttributes>(key).ok().flatten();
            attributes.and_then(|attributes| disk::modified_in(&attributes))
        };
        if let (Some(here), Some(there)) = (time(target), time(source))
            && here > there
        {
            return Ok(Change::Newer);
        }
    }
    let (one, other) = (source.location(key)?, target.location(key)?);
    let is_content = one.length == other.length
        && match (one.checksum, other.checksum) {
            (Some(one), Some(other)) if one != other => false,
            (Some(_), Some(_)) if !work.sync.checksum => true,
            _ => source.get(key)?.as_bytes() == target.get(key)?.as_bytes(),
        };
    let is_same = is_content && source.has_metadata_of(key, target, key)?;
    Ok(if is_same { Change::Same } else { Change::Changed })
}

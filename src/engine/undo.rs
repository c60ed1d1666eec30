//! Takes a truncation back. The commit before it is still in the file, and so are the bytes of its records.

use std::sync::Arc;

use super::Engine;
use crate::catalog::{Snapshot, State};
use crate::error::{ErrorKind, Part, Result};
use crate::format::entry::Kind;
use crate::format::tables::OwnedAttributes;
use crate::index::Location;
use crate::log::Scanner;

/// The most commits to look at for the reason why nothing can be taken back.
const MOST_COMMITS: usize = 10_000;

/// A record of an earlier commit: tagged name, place, and attributes.
type Former = (Vec<u8>, Location, OwnedAttributes);

impl Engine {
    /// Brings back the records that the last truncation removed, and commits. Returns how many there were.
    pub(crate) fn undo_truncate(&self) -> Result<u64> {
        let mut writer = self.writer()?;
        let (now, changed) = {
            let state = self.shared.read();
            (Arc::clone(&state.snapshot), state.pending.changed)
        };
        let refuse_undo = |why| ErrorKind::NotUndone { why }.at(self.path());
        if changed {
            return Err(refuse_undo(
                "something was put, removed or changed since, and is not committed".into(),
            ));
        }
        if now.undo == 0 {
            return Err(refuse_undo(why_not(self, &now)?));
        }
        let (records, former) = former(self, now)?;
        for (name, location, attributes) in &former {
            writer.restore(name, location, attributes.lend())?;
        }
        writer.commit()?;
        Ok(records)
    }
}

/// Why the commit of `now` cannot be taken back.
fn why_not(engine: &Engine, now: &Snapshot) -> Result<String> {
    let scanner = Scanner::new(&engine.shared.storage, false)?;
    let mut at = now.offset;
    for _ in 0..MOST_COMMITS {
        if at == 0 {
            break;
        }
        let commit = scanner.head(at).and_then(|head| scanner.commit(&head));
        let Ok(commit) = commit else { break };
        if commit.undo != 0 {
            let (truncated, newest) = (commit.sequence, now.sequence);
            return Ok(format!(
                "commit {truncated} truncated, and something was put, removed, changed or taken back since, up to commit \
                 {newest}"
            ));
        }
        // In a forged file, the parent may be anywhere.
        at = if commit.parent < at { commit.parent } else { 0 };
    }
    Ok("nothing was truncated since the file was made, or compacted, which removes for good".into())
}

/// The records to restore after a truncation that ended with the commit `now`.
///
/// Returns how many records were removed, and all records of the commit before from the first removed one
/// on. These include records in between that were not removed.
fn former(engine: &Engine, now: Arc<Snapshot>) -> Result<(u64, Vec<Former>)> {
    let scanner = Scanner::new(&engine.shared.storage, engine.shared.mapped)?;
    let offset = now.undo;
    let head = scanner.head(offset)?;
    let unlike =
        |found: String| scanner.damaged(Part::Entry, offset, "the commit before a truncation", found);
    if head.kind != Kind::Commit || head.depot_id != engine.shared.parameters.depot_id {
        return Err(unlike(format!("{} of depot {:#x}", head.kind.describe(), head.depot_id)));
    }
    let commit = scanner.commit(&head)?;
    let (mut before, mut after) = (State::default(), State::default());
    before.adopt_snapshot(Arc::new(scanner.snapshot(&head, &commit)?));
    after.adopt_snapshot(now);
    let (n_before, n_after) = (before.len(), after.len());
    if commit.sequence >= after.snapshot.sequence || n_before < n_after {
        return Err(unlike(format!("commit {} of {n_before} records", commit.sequence)));
    }
    let first = first_removed(&before, &after)?;
    let mut former = Vec::new();
    let mut still_there = 0;
    for position in first..n_before {
        let Some(place) = before.at(position)? else { break };
        let (name, location) = (before.name(place)?, before.location(place)?);
        let live = after.find(&name)?.map(|found| found.location);
        if live.is_some_and(|live| live != location) {
            return Err(unlike(format!("another record {}", crate::key::describe(&name))));
        }
        still_there += u64::from(live.is_some());
        former.push((name, location, before.attributes(place)?));
    }
    if first + still_there != n_after {
        return Err(unlike(format!(
            "one that lacks {} records",
            n_after.saturating_sub(first + still_there)
        )));
    }
    Ok((n_before - n_after, former))
}

/// The first position at which `before` and `after` have different records.
///
/// `after` must have the records of `before` in the same order, without those that were removed.
fn first_removed(before: &State, after: &State) -> Result<u64> {
    let name = |state: &State, position| -> Result<Option<(Vec<u8>, Location)>> {
        state.at(position)?.map(|place| Ok((state.name(place)?, state.location(place)?))).transpose()
    };
    // All positions before it have equal records, and none from it on.
    let (mut low, mut high) = (0, after.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if name(before, middle)? == name(after, middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use crate::{Depot, Layout, Raw};

    fn depot() -> Depot<Raw> {
        let options = Layout::default().with_chunk_size(4096).with_block_size(1024);
        let depot = Depot::builder(Raw).layout(options).memory().unwrap();
        for n in 0..60_u8 {
            depot.put(n, &[n; 200]).unwrap();
            if n % 20 == 19 {
                depot.commit().unwrap();
            }
        }
        depot
    }

    fn newest(depot: &Depot<Raw>) -> u64 {
        depot.engine.shared.read().snapshot.offset
    }

    #[test]
    fn a_commit_that_names_another_one_as_the_one_before_is_damage() {
        let depot = depot();
        let old = newest(&depot);
        depot.put("more", b"1").unwrap();
        depot.remove(3).unwrap();
        depot.put(4, b"replaced").unwrap();
        depot.commit().unwrap();
        // No offset; no entry there; an entry that is no commit; a commit that lacks a record; the file's
        // end; and far after it.
        for offset in [1, 4100, 4160, old, newest(&depot) + 64, u64::MAX] {
            let mut writer = depot.engine.writer().unwrap();
            writer.set_depot_metadata(vec![0x80]).unwrap();
            writer.set_undo(offset);
            writer.commit().unwrap();
            drop(writer);
            let error = depot.undo_truncate().unwrap_err();
            assert!(error.is_damage(), "{offset}: {error:?}");
            assert_eq!(depot.len(), 60);
        }
    }

    #[test]
    fn a_truncation_whose_commit_before_is_damaged_is_not_taken_back() {
        let depot = depot();
        let before = usize::try_from(newest(&depot)).unwrap();
        assert_eq!(depot.truncate_after(9).unwrap(), 50);
        let mut bytes = depot.to_bytes().unwrap();
        bytes[before + 80] ^= 1;
        let depot = Depot::from_bytes(&bytes, Raw).unwrap();
        assert_eq!(depot.len(), 10);
        assert!(depot.undo_truncate().unwrap_err().is_damage());
        assert_eq!(depot.len(), 10);
        depot.put("more", b"1").unwrap();
        depot.commit().unwrap();
    }
}

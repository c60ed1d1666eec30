//! Names without the index: when a page of it is damaged, the directories of the chunks say where its records are.
//!
//! All directories up to the commit are replayed into memory, once, when a damaged page is first met. They are believed only if every one of
//! them is whole: what a lost one removed or replaced would come back otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use super::open::{Scanner, places};
use super::state::Snapshot;
use super::walk::{Step, Walk};
use crate::error::Result;
use crate::format::entry::Kind;
use crate::format::tables::Parameters;
use crate::index::Location;
use crate::storage::Storage;

/// Records beyond which the names are not held in memory: they take about 100 bytes each.
const MOST_RECORDS: u64 = 1 << 22;

/// A record's place and its MessagePack metadata.
pub(crate) type Known = (Location, Option<Vec<u8>>);

/// What the directories say as of a commit.
#[derive(Debug)]
pub(crate) struct Fallback {
    /// Of the commit.
    pub(crate) sequence: u64,
    /// By tagged name; `None` when the directories are not whole either, or there are too many records.
    by_name: Option<HashMap<Vec<u8>, Known>>,
}

impl Fallback {
    /// Replays the directories up to the commit of `snapshot`.
    pub(crate) fn new(storage: &Arc<dyn Storage>, parameters: &Parameters, snapshot: &Snapshot) -> Self {
        let few = snapshot.n_ordinals() <= MOST_RECORDS;
        let by_name = if few { replay(storage, parameters, snapshot.offset).ok().flatten() } else { None };
        Self { sequence: snapshot.sequence, by_name }
    }

    /// Whether the directories could be read, and if so, the record of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Option<&Known>> {
        self.by_name.as_ref().map(|by_name| by_name.get(name))
    }
}

fn replay(
    storage: &Arc<dyn Storage>,
    parameters: &Parameters,
    end: u64,
) -> Result<Option<HashMap<Vec<u8>, Known>>> {
    let scanner = Scanner::new(storage, false)?;
    let mut by_name = HashMap::new();
    let mut next = 1;
    for step in Walk::new(&scanner, Some(parameters.depot_id)) {
        let Step::Entry(entry) = step? else { return Ok(None) };
        let head = entry.head;
        if head.sequence != next || !entry.in_place() || !entry.whole {
            return Ok(None);
        }
        if head.offset >= end {
            return Ok(Some(by_name));
        }
        next += 1;
        if !matches!(head.kind, Kind::Chunk | Kind::Log) {
            continue;
        }
        let directory = scanner.directory(&head, &scanner.prelude(&head)?)?;
        for (operation, location) in places(&directory, head.ordinal, parameters) {
            match location {
                Some(location) => {
                    by_name.insert(operation.name.clone(), (location, operation.metadata.clone()));
                }
                None => {
                    by_name.remove(&operation.name);
                }
            }
        }
    }
    Ok(None)
}

//! Names and chunks without the index: when a page of it is damaged, the entries of the chunks say where its records are.
//!
//! All directories up to the commit are replayed into memory, once, when a damaged page is first met. They are believed only if every one of
//! them is whole: what a lost one removed or replaced would come back otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use super::open::{Scanner, places};
use super::state::Snapshot;
use super::walk::{Step, Walk};
use crate::error::{Error, Result};
use crate::format::chunk::ChunkRef;
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
    /// `None` when the directories are not whole either, or there are too many records.
    replayed: Option<Replayed>,
}

#[derive(Debug, Default)]
struct Replayed {
    /// By tagged name.
    by_name: HashMap<Vec<u8>, Known>,
    /// By number.
    chunks: HashMap<u64, ChunkRef>,
}

impl Fallback {
    /// Replays the directories up to the commit of `snapshot`.
    pub(crate) fn new(storage: &Arc<dyn Storage>, parameters: &Parameters, snapshot: &Snapshot) -> Self {
        let few = snapshot.n_ordinals() <= MOST_RECORDS;
        let replayed = if few { replay(storage, parameters, snapshot.offset).ok().flatten() } else { None };
        Self { sequence: snapshot.sequence, replayed }
    }

    /// The record of that name; `error`, which the index gave, where the directories cannot tell either.
    pub(crate) fn find(&self, name: &[u8], error: Error) -> Result<Option<Known>> {
        self.replayed.as_ref().map(|replayed| replayed.by_name.get(name).cloned()).ok_or(error)
    }

    /// Where chunk `chunk` is; `error` where the entries cannot tell either.
    pub(crate) fn chunk(&self, chunk: u64, error: Error) -> Result<ChunkRef> {
        self.replayed.as_ref().and_then(|replayed| replayed.chunks.get(&chunk)).copied().ok_or(error)
    }
}

fn replay(storage: &Arc<dyn Storage>, parameters: &Parameters, end: u64) -> Result<Option<Replayed>> {
    let scanner = Scanner::new(storage, false)?;
    let mut replayed = Replayed::default();
    for (next, step) in (1..).zip(Walk::new(&scanner, Some(parameters.depot_id))) {
        let Step::Entry(entry) = step? else { return Ok(None) };
        let head = entry.head;
        if head.sequence != next || !entry.in_place() || !entry.whole {
            return Ok(None);
        }
        if head.offset >= end {
            return Ok(Some(replayed));
        }
        if !matches!(head.kind, Kind::Chunk | Kind::Log) {
            continue;
        }
        let prelude = scanner.prelude(&head)?;
        let directory = scanner.directory(&head, &prelude)?;
        // A chunk whose header is damaged costs its records, and says so when they are read.
        if head.kind == Kind::Chunk
            && let Ok(reference) = scanner.chunk_ref(&head, &prelude)
        {
            replayed.chunks.insert(head.ordinal, reference);
        }
        for (operation, location) in places(&directory, head.ordinal, parameters) {
            match location {
                Some(location) => {
                    replayed.by_name.insert(operation.name.clone(), (location, operation.metadata.clone()));
                }
                None => {
                    replayed.by_name.remove(&operation.name);
                }
            }
        }
    }
    Ok(None)
}

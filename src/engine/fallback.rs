//! The index made again from the directories of the chunks, for use when a page of the index is damaged.
//!
//! It has names, places, positions and metadata of all records as of a commit. All directories up to the
//! commit are replayed into memory once, when a damaged page is first met. They are used only if every
//! one of them is whole: otherwise records that a lost directory removed or replaced would come back.
//! They must also have as many records as the commit counts.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{DeadNames, Members, Pending, RecordId, Snapshot, State};
use crate::chunk::ChunkAt;
use crate::error::Result;
use crate::format::chunk::{ChunkRef, Prelude};
use crate::format::entry::{EntryHead, Kind};
use crate::format::tables::{Attributes, Directory, Parameters};
use crate::index::{Location, hash};
use crate::log::{self, EntryWalk, FirstStarts, Scanner, Step};
use crate::storage::Storage;

/// The most records that are held in memory. They take about 100 bytes each.
const MOST_RECORDS: u64 = 1 << 22;

/// The records as of a commit, by the directories. They are numbered in the order of insertion.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    /// A state without an index: all its records are pending.
    state: State,
    /// The first number of each member of a set, and what is added to its addresses. Records have room for
    /// the addresses of one file only.
    firsts: Vec<(usize, u64)>,
    /// Where the chunks of each slot are, if the records are those of several depots.
    slots: HashMap<u64, Vec<ChunkAt>>,
    /// The chunk numbers of a slot.
    stride: u64,
}

impl Rebuilt {
    /// Replays the directories up to the commit of `snapshot`.
    ///
    /// `None` if they are not whole either, or if there are too many records.
    pub(crate) fn new(
        storage: &Arc<dyn Storage>,
        parameters: &Parameters,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        if snapshot.n_records > MOST_RECORDS {
            return None;
        }
        let rebuilt = if snapshot.members.is_set() {
            Self::of_set(parameters, &snapshot.members)?
        } else {
            let state = replay(storage, parameters, snapshot.offset).ok().flatten()?;
            Self { state, firsts: Vec::new(), slots: HashMap::new(), stride: 0 }
        };
        (rebuilt.state.len() == snapshot.n_records).then_some(rebuilt)
    }

    /// Replays the directories of all depots of a set, the newest of which has the last word.
    ///
    /// `None` if records of the set are in no commit, or some of its depots are missing: what these supersede
    /// is not known then.
    fn of_set(parameters: &Parameters, members: &Members) -> Option<Self> {
        if members.list.iter().any(|member| member.is_ahead) || !members.missing.is_empty() {
            return None;
        }
        let (mut state, mut firsts, mut slots) = (State::default(), Vec::new(), HashMap::new());
        for member in &members.list {
            let parameters = Parameters { depot_id: member.depot_id, ..parameters.clone() };
            let alone = replay(&member.storage, &parameters, member.offset).ok().flatten()?;
            let shift = member.slot * members.stride * parameters.chunk_size as u64;
            firsts.push((state.pending.records().len(), shift));
            for number in alone.pending.live() {
                let (name, location) = (alone.pending.name(number), alone.pending.location(number));
                let hash = alone.pending.records().hash(number);
                if let Some(found) = state.find_hashed(hash, name, &mut |_| ()).ok()? {
                    state.mark_dead(hash, &found);
                }
                state.insert(hash, name, &location, alone.pending.attributes(number));
            }
            slots.insert(member.slot, alone.pending.chunks);
        }
        Some(Self { state, firsts, slots, stride: members.stride })
    }

    fn records(&self) -> &Pending {
        &self.state.pending
    }

    /// The number of the record called `name`, unless the hash of the name is in `dead_names`.
    pub(crate) fn find(&self, name: &[u8], dead_names: &DeadNames) -> Option<usize> {
        let hash = hash(name);
        self.records().find(hash, name).filter(|_| !dead_names.contains(&hash))
    }

    /// Numbers of the records that were not removed or replaced since the commit.
    pub(crate) fn live<'r>(&'r self, dead_names: &'r DeadNames) -> impl Iterator<Item = usize> + 'r {
        self.records().live().filter(|&number| !self.has_dead_name(number, dead_names))
    }

    /// The first live record from `number` on.
    pub(crate) fn next_live(&self, number: usize, dead_names: &DeadNames) -> Option<usize> {
        let records = self.records();
        (number..records.records().len())
            .find(|&number| records.is_live(number) && !self.has_dead_name(number, dead_names))
    }

    fn has_dead_name(&self, number: usize, dead_names: &DeadNames) -> bool {
        !dead_names.is_empty() && dead_names.contains(&self.records().records().hash(number))
    }

    /// The number of the live record at `position`, counted among the committed records.
    pub(crate) fn nth(&self, position: u64, dead_names: &DeadNames) -> Option<usize> {
        if dead_names.is_empty() {
            return match self.state.place(position, &[])? {
                RecordId::Pending(number) => Some(number),
                RecordId::Committed(_) => None,
            };
        }
        self.live(dead_names).nth(usize::try_from(position).ok()?)
    }

    /// The position of a live record.
    pub(crate) fn position(&self, number: usize, dead_names: &DeadNames) -> u64 {
        if dead_names.is_empty() {
            return self.state.position(RecordId::Pending(number), &[]);
        }
        self.live(dead_names).take_while(|&live| live < number).count() as u64
    }

    pub(crate) fn name(&self, number: usize) -> &[u8] {
        self.records().name(number)
    }

    pub(crate) fn location(&self, number: usize) -> Location {
        let location = self.records().location(number);
        let nth = self.firsts.partition_point(|&(first, _)| first <= number);
        let shift = nth.checked_sub(1).map_or(0, |nth| self.firsts[nth].1);
        Location { address: location.address + shift, ..location }
    }

    pub(crate) fn attributes(&self, number: usize) -> Attributes<'_> {
        self.records().attributes(number)
    }

    /// The reference to chunk `chunk`, if its entry and its header could be read.
    pub(crate) fn chunk(&self, chunk: u64) -> Option<ChunkRef> {
        let source = match chunk.checked_div(self.stride) {
            Some(slot) => {
                let number = usize::try_from(chunk % self.stride).ok()?;
                self.slots.get(&slot)?.get(number).cloned()
            }
            None => self.state.source(chunk).ok().flatten(),
        };
        match source {
            Some(ChunkAt::Stored(reference)) => Some(reference),
            _ => None,
        }
    }
}

/// The entry of a chunk or of a log, its prelude and its directory.
type Job<'j> = dyn FnMut(&Scanner<'_>, &EntryHead, &Prelude, &Directory) -> Result<bool> + 'j;

/// Gives `job` all directories up to the commit at `end`, until it returns false. Returns whether they are
/// whole, and `job` took them all.
fn each_directory(storage: &Arc<dyn Storage>, depot_id: u64, end: u64, job: &mut Job<'_>) -> Result<bool> {
    let scanner = Scanner::new(storage, false)?;
    for (next, step) in (1..).zip(EntryWalk::new(&scanner, Some(depot_id))) {
        let Step::Entry(entry) = step? else { return Ok(false) };
        let head = entry.head;
        if head.sequence != next || !entry.in_place() || !entry.whole {
            return Ok(false);
        }
        if head.offset >= end {
            return Ok(true);
        }
        scanner.check_known(&head)?;
        if matches!(head.kind, Kind::Chunk | Kind::Log) {
            let prelude = scanner.prelude(&head)?;
            let directory = scanner.directory(&head, &prelude)?;
            if !job(&scanner, &head, &prelude, &directory)? {
                return Ok(false);
            }
        }
    }
    Ok(false)
}

/// A state with the live records of one depot, all of them pending.
fn replay(storage: &Arc<dyn Storage>, parameters: &Parameters, end: u64) -> Result<Option<State>> {
    // Whether a record was cut short is known by the chunks after its own.
    let mut first_starts = FirstStarts::default();
    each_directory(storage, parameters.depot_id, end, &mut |_, head, _, directory| {
        first_starts.note(head.ordinal, directory);
        Ok(true)
    })?;
    let mut state = State::default();
    let all = each_directory(storage, parameters.depot_id, end, &mut |scanner, head, prelude, directory| {
        let chunk = state.pending.chunks.len() as u64;
        if head.ordinal != chunk {
            return Ok(false);
        }
        if head.kind == Kind::Chunk {
            // A chunk with a damaged header costs only its records. They give an error when they are read.
            let source = scanner.chunk_ref(head, prelude).map_or(ChunkAt::Missing, ChunkAt::Stored);
            state.set_source(chunk, source);
        }
        // Records that were replaced must not take memory.
        let records = state.pending.records().len() as u64;
        if records > MOST_RECORDS / 4 && records > 2 * state.pending.n_live() {
            state.pending.forget_dead();
        }
        for (operation, location, attributes) in log::replay(directory, chunk, parameters) {
            if location.is_some_and(|location| first_starts.cut_short(&location, parameters)) {
                continue;
            }
            let hash = hash(&operation.name);
            if let Some(found) = state.find_hashed(hash, &operation.name, &mut |_| ())? {
                state.mark_dead(hash, &found);
            }
            if let Some(location) = location {
                state.insert(hash, &operation.name, &location, attributes);
            }
        }
        Ok(true)
    })?;
    Ok(all.then_some(state))
}

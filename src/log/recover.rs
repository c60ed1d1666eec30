//! Finds the newest state of a file.
//!
//! A commit slot says where to start, and the entries after it say the rest.
//!
//! 1. The header gives the parameters and two slots. The base is the newest slot with a whole COMMIT entry.
//!    If there is none, the scan starts at the first entry. If the header cannot be read, the parameters come
//!    from a COMMIT entry.
//! 2. From the base on, entries are followed by their heads. A COMMIT counts only if everything between it
//!    and the base is whole. Otherwise its writer may have died before the sync.
//! 3. CHUNK and LOG entries after the last COMMIT are adopted, up to the first one that is not whole. A
//!    COMMIT that cannot be used, for example because its index is damaged, is passed over: the chunks tell
//!    the same. If there was no commit to start from, damaged heads are passed over too.
//! 4. The rest is a torn tail. A reader ignores it, and a writer cuts it off.

use std::collections::HashMap;
use std::sync::Arc;

use super::{EntryWalk, FirstPage, FirstStarts, Scanner, Slots, Step, Tail, replay};
use crate::catalog::{LostCommit, Snapshot, State};
use crate::chunk::ChunkAt;
use crate::error::{Error, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::header::{CommitSlot, FIRST_ENTRY_AT};
use crate::format::tables::{Action, Directory, Losses, Parameters};
use crate::index::hash;
use crate::index::{Location, Segment};
use crate::storage::Storage;

/// The newest state of a file.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) parameters: Parameters,
    pub(crate) state: State,
    pub(crate) tail: Tail,
    /// Whether the file ends with the end of a Blosc2 frame that belongs to this state.
    pub(crate) published: bool,
    /// Whether the header page cannot be read. Then the parameters come from a commit.
    pub(crate) header_lost: bool,
}

/// Bytes read at a time when searching for the next entry.
const RESUME_WINDOW: usize = 1 << 20;

/// The part of a file that was once on disk.
///
/// A slot proves it, because a slot is written after the sync of its commit.
struct Durable {
    /// Everything before this byte was once on disk.
    end: u64,
    /// Lengths of the index segments that readable commits list, by their offsets.
    segments: HashMap<u64, u64>,
}

/// Loads the newest state of the depot in `storage`, which starts with `page`.
///
/// A file that was closed takes two calls of the storage: for the commits, and for the heads of the segments.
pub(crate) fn load(
    storage: &Arc<dyn Storage>,
    parameters: Parameters,
    page: FirstPage,
    mapped: bool,
) -> Result<Loaded> {
    // The file's length is not older than the slots. A writer may be at work, and the commit that a slot
    // names must be inside that length.
    let mut scanner = Scanner::of_page(storage, mapped, page);
    scanner.check_slots_known()?;
    let slots = scanner.slots(parameters.depot_id);
    if let Some(slots) = &slots {
        scanner.expect_commits(&slots.valid);
    }
    let header_lost = slots.is_none();
    let lost = scanner.lost_commit(slots.as_ref());
    let Slots { valid, unwritten } = slots.unwrap_or_default();
    let mut base = None;
    for slot in &valid {
        let entry = scanner.head(slot.offset).ok().filter(|head| {
            head.kind == Kind::Commit && head.depot_id == parameters.depot_id && head.crc() == slot.head_crc
        });
        let Some(head) = entry else { continue };
        scanner.check_known(&head)?;
        let opened = scanner.commit(&head).and_then(|commit| scanner.snapshot(&head, &commit));
        match opened {
            Ok(snapshot) => {
                base = Some((head, snapshot));
                break;
            }
            Err(error) if error.is_unsupported() => return Err(error),
            Err(_) => {}
        }
    }
    // If there never was a commit, none can be lost, and the careful way is the right one.
    let careful = base.is_some() || unwritten;
    let (tail, snapshot) = match base {
        Some((head, snapshot)) => (Tail::after(&head), snapshot),
        None => (Tail::START, Snapshot::default()),
    };
    let mut state = State::default();
    state.adopt_snapshot(Arc::new(snapshot));
    let mut loaded = Loaded { parameters, state, tail, published: false, header_lost };
    let durable = scanner.durable(&valid);
    let accounted = scanner.follow(&mut loaded, careful, &durable)?;
    if let Some(lost) = lost
        && loaded.tail == Tail::START
    {
        // Nothing is left of a depot that had commits. It must not be taken for an empty one.
        return Err(lost);
    }
    let found = loaded.state.snapshot.sequence;
    if found == 0 {
        let features = loaded.parameters.features.check_readable();
        features.map_err(|newer| newer.at(storage.path(), 0, false))?;
    }
    let unread = valid.first().filter(|slot| slot.sequence > found);
    let unread = unread.map(|slot| LostCommit { sequence: slot.sequence, offset: slot.offset });
    loaded.state.unread = unread;
    loaded.state.lost = unread.filter(|commit| accounted < commit.offset);
    if header_lost && loaded.state.lost.is_none() {
        // Without slots, only a whole entry further on can show that something is lost.
        let found = scanner.whole_entry_after(loaded.tail, loaded.parameters.depot_id)?;
        loaded.state.lost = found
            .map(|head| LostCommit { sequence: loaded.state.snapshot.sequence + 1, offset: head.offset });
    }
    Ok(loaded)
}

impl Scanner<'_> {
    /// The error for a file that has nothing of the commit that its slots name.
    fn lost_commit(&self, slots: Option<&Slots>) -> Option<Error> {
        let slots = slots.filter(|slots| !slots.unwritten)?;
        let (offset, commit) = match slots.valid.first() {
            Some(slot) => (slot.offset, format!("commit {}", slot.sequence)),
            None => (FIRST_ENTRY_AT, "a commit, of which the header tells".into()),
        };
        let found = format!("nothing of it in {} bytes of file", self.file_len);
        Some(self.damaged(Part::File, offset, commit, found))
    }

    /// The part of the file that the `valid` slots, newest first, prove to have been on disk.
    fn durable(&self, valid: &[CommitSlot]) -> Durable {
        let mut segments = HashMap::new();
        for slot in valid {
            if let Ok(commit) = self.head(slot.offset).and_then(|head| self.commit(&head)) {
                segments.extend(commit.segments.iter().map(|segment| (segment.offset, segment.length)));
            }
        }
        Durable { end: valid.first().map_or(0, |slot| slot.offset), segments }
    }

    /// The first CHUNK, LOG or COMMIT entry of the depot after `tail` that is whole. A CHUNK or LOG entry may
    /// lack padding.
    pub(crate) fn whole_entry_after(&self, tail: Tail, depot_id: u64) -> Result<Option<EntryHead>> {
        for step in EntryWalk::from(self, Some(depot_id), tail.offset) {
            if let Step::Entry(entry) = step?
                && match entry.head.kind {
                    Kind::Chunk | Kind::Log => self.has_all(&entry.head),
                    // It only repeats what the others say.
                    Kind::Commit => entry.whole,
                    _ => false,
                }
            {
                return Ok(Some(entry.head));
            }
        }
        Ok(None)
    }

    /// Follows entries from the tail of `loaded`.
    ///
    /// With `careful`, a commit counts only if everything before it is whole. Without it, no slot was left,
    /// and every commit with a whole index counts. Damaged records give an error when they are read.
    ///
    /// Returns the byte up to which all operations are accounted for. No entry before it can have operations
    /// that `loaded` lacks.
    fn follow(&self, loaded: &mut Loaded, careful: bool, durable: &Durable) -> Result<u64> {
        let depot_id = loaded.parameters.depot_id;
        let mut tail = loaded.tail;
        let (mut adopted, mut whole): (Vec<EntryHead>, usize) = (Vec::new(), 0);
        let mut published = loaded.published;
        // Entries of the depot's own metadata and losses. Only a commit refers to them.
        let mut notes: Vec<EntryHead> = Vec::new();
        let (mut gap, mut skipped) = (u64::MAX, false);
        loop {
            let next = self.head(tail.offset).ok().filter(|head| {
                head.depot_id == depot_id
                    && head.sequence == tail.sequence
                    && (skipped || head.previous == tail.previous)
            });
            if next.is_none()
                && let Some(length) = durable.segments.get(&tail.offset)
            {
                // The head is damaged, but it is known to be that of an index segment, which has no
                // operations.
                tail = Tail { offset: tail.offset + length, sequence: tail.sequence + 1, previous: 0 };
                skipped = true;
                continue;
            }
            skipped = false;
            let Some(head) = next.or_else(|| if careful { None } else { self.resume(&tail, depot_id) })
            else {
                break;
            };
            self.check_known(&head)?;
            if head.offset != tail.offset || head.sequence != tail.sequence {
                gap = gap.min(tail.offset);
            }
            let accepted = match head.kind {
                Kind::Commit => self.accept_commit(loaded, &head, &mut adopted, &mut whole, careful)?,
                Kind::Chunk | Kind::Log | Kind::Other(_) => {
                    adopted.push(head);
                    false
                }
                Kind::Metadata | Kind::Losses => {
                    notes.push(head);
                    false
                }
                Kind::Index | Kind::Frame => false,
            };
            tail = Tail::after(&head);
            match head.kind {
                Kind::Commit if accepted => {
                    loaded.tail = tail;
                    published = false;
                    // The index has all records up to here.
                    gap = u64::MAX;
                    notes.clear();
                }
                // The frame's end counts only right after the commit that it belongs to.
                Kind::Frame if adopted.is_empty() => {
                    loaded.tail = tail;
                    published = true;
                }
                _ => published = false,
            }
        }
        // The entries up to the first one that is not whole. A record with its last chunk after them is
        // not adopted.
        let mut entries = Vec::new();
        for head in &adopted {
            // What a commit made durable is damaged, not unfinished. Its records report that when they
            // are read.
            let check = head.offset >= durable.end;
            match self.entry_checked(head, loaded.parameters.chunk_size, check) {
                Ok(entry) => entries.push((head, entry)),
                Err(error) if error.is_unsupported() => return Err(error),
                Err(_) => break,
            }
        }
        let chunks = loaded.state.snapshot.n_chunks + loaded.state.pending.chunks.len() as u64;
        let new_chunks = entries.iter().filter(|(_, (_, reference))| reference.is_some()).count() as u64;
        let end = (chunks + new_chunks).saturating_mul(loaded.parameters.chunk_size as u64);
        let mut first_starts = FirstStarts::default();
        for (head, (directory, _)) in &entries {
            first_starts.note(head.ordinal, directory);
        }
        let mut n_adopted = 0;
        for (head, entry) in &entries {
            if !adopt(loaded, head, entry, end, &first_starts) {
                break;
            }
            loaded.tail = Tail::after(head);
            published = false;
            n_adopted += 1;
        }
        loaded.published = published;
        let accounted = adopted.get(n_adopted).map_or(tail.offset, |head| head.offset).min(gap);
        self.take_notes(loaded, notes.iter().filter(|head| head.offset < durable.end.min(accounted)));
        Ok(accounted)
    }

    /// Takes over the depot's own metadata and losses that an unreadable commit referred to.
    fn take_notes<'h>(&self, loaded: &mut Loaded, notes: impl Iterator<Item = &'h EntryHead>) {
        // Nobody else has the snapshot yet.
        let Some(snapshot) = Arc::get_mut(&mut loaded.state.snapshot) else { return };
        for head in notes.filter(|head| self.body(head).is_ok()) {
            let place = (head.offset, head.length);
            match head.kind {
                Kind::Metadata => snapshot.metadata = place,
                Kind::Losses => snapshot.losses = place,
                _ => {}
            }
        }
    }

    /// Finds the next entry after a damaged head.
    ///
    /// This is only for files without a commit to start from. There, every entry counts.
    fn resume(&self, tail: &Tail, depot_id: u64) -> Option<EntryHead> {
        let mut offset = tail.offset;
        while offset < self.file_len {
            // Entries lie at multiples of a head's length, and never in a hole.
            offset += (self.next_data(offset)? - offset) / HEAD_LEN as u64 * HEAD_LEN as u64;
            let len = usize::try_from(self.file_len - offset).unwrap_or(usize::MAX).min(RESUME_WINDOW);
            let window = self.read(offset, len).ok()?;
            for (nth, bytes) in window.chunks_exact(HEAD_LEN).enumerate() {
                let at = offset + (nth * HEAD_LEN) as u64;
                if let Ok(head) = EntryHead::parse(bytes, at)
                    && head.depot_id == depot_id
                    && head.sequence > tail.sequence
                    && head.offset.checked_add(head.length).is_some_and(|end| end <= self.file_len)
                {
                    return Some(head);
                }
            }
            offset += len as u64;
        }
        None
    }

    /// Takes the commit at `head` as the new base, if its index is whole. Returns whether it did.
    ///
    /// With `careful`, all entries between the old base and the commit must be whole too. `whole` counts the
    /// entries of `adopted` that were found whole, so that each entry is checked once for all later commits.
    fn accept_commit(
        &self,
        loaded: &mut Loaded,
        head: &EntryHead,
        adopted: &mut Vec<EntryHead>,
        whole: &mut usize,
        careful: bool,
    ) -> Result<bool> {
        let opened = self.commit(head).and_then(|commit| self.snapshot(head, &commit));
        let snapshot = match opened {
            Ok(snapshot) => snapshot,
            Err(error) if error.is_unsupported() => return Err(error),
            Err(_) => return Ok(false),
        };
        let known = &loaded.state.snapshot.segments;
        let new = |segment: &&Arc<Segment>| !known.iter().any(|old| old.reference == segment.reference);
        let index_whole = snapshot.segments.iter().filter(new).all(|segment| segment.check_all().is_ok());
        if careful && index_whole {
            let rest = adopted.iter().skip(*whole);
            let is_whole = |head: &&EntryHead| self.entry(head, loaded.parameters.chunk_size).is_ok();
            *whole += rest.take_while(is_whole).count();
        }
        let data_whole = !careful || *whole == adopted.len();
        if index_whole && data_whole {
            adopted.clear();
            *whole = 0;
            loaded.state.adopt_snapshot(Arc::new(snapshot));
        }
        Ok(index_whole && data_whole)
    }
}

/// Replays the operations of an entry that no commit covers. Returns whether it could.
///
/// Bytes from address `end` on never reached the disk. Records that need them are left out, and so are those
/// that were cut short before.
fn adopt(
    loaded: &mut Loaded,
    head: &EntryHead,
    entry: &(Directory, Option<ChunkRef>),
    end: u64,
    first_starts: &FirstStarts,
) -> bool {
    if let Kind::Other(_) = head.kind {
        return true;
    }
    let (directory, reference) = entry;
    let state = &mut loaded.state;
    let next_chunk = state.snapshot.n_chunks + state.pending.chunks.len() as u64;
    // A LOG entry also has the number of the next chunk.
    if head.ordinal != next_chunk {
        return false;
    }
    if let Some(reference) = reference {
        state.set_source(next_chunk, ChunkAt::Stored(*reference));
    }
    let end = end.min(Location::MAX_ADDRESS);
    for (operation, location, attributes) in replay(directory, next_chunk, &loaded.parameters) {
        let outside = |location: Location| {
            location.address > Location::MAX_ADDRESS
                || location.length > 0 && location.end() > end
                || first_starts.cut_short(&location, &loaded.parameters)
        };
        if location.is_some_and(outside) {
            continue;
        }
        let hash = hash(&operation.name);
        let Ok(found) = state.find_hashed(hash, &operation.name, &mut |_| ()) else { return false };
        if let Some(found) = found {
            state.mark_dead(hash, &found);
        }
        if let Some(location) = location {
            state.insert(hash, &operation.name, &location, attributes);
            if matches!(operation.action, Action::Metadata { .. }) {
                state.pending.tallied.moved += 1;
            }
        }
    }
    true
}

/// The notes that must be written again before the end of a file is cut off.
pub(crate) struct Notes {
    /// MessagePack of the depot's own metadata, if it lies in the end that is cut off.
    pub(crate) metadata: Option<Vec<u8>>,
    /// All losses so far, if they lie in that end or were asked for.
    pub(crate) losses: Losses,
    /// Whether the losses lie in that end.
    pub(crate) moved_losses: bool,
}

/// The depot's own metadata and losses in `snapshot` that lie after `tail`.
///
/// With `all_losses`, the losses are read wherever they lie.
pub(crate) fn notes_after(
    storage: &Arc<dyn Storage>,
    parameters: &Parameters,
    snapshot: &Snapshot,
    tail: Tail,
    all_losses: bool,
) -> Result<Notes> {
    let scanner = Scanner::new(storage, false)?;
    let there = |(offset, length): (u64, u64)| length > 0 && offset >= tail.offset;
    let (metadata, losses) = (snapshot.metadata, snapshot.losses);
    let read = there(metadata).then(|| scanner.metadata(metadata.0, parameters.depot_id));
    let wanted = there(losses) || all_losses && losses.1 > 0;
    let losses_read = wanted.then(|| scanner.losses(losses.0, parameters.depot_id));
    Ok(Notes {
        metadata: read.transpose()?,
        losses: losses_read.transpose()?.unwrap_or_default(),
        moved_losses: there(losses),
    })
}

/// Reads the depot's own metadata from the entry at `offset`, as MessagePack.
pub(crate) fn read_metadata(storage: &Arc<dyn Storage>, offset: u64, depot_id: u64) -> Result<Vec<u8>> {
    Scanner::new(storage, false)?.metadata(offset, depot_id)
}

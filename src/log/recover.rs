//! Finds the newest state of a file. A commit slot says where to start, the entries after it say the rest.
//!
//! 1. The header gives the parameters and two slots; the newest slot whose COMMIT entry is whole is the base.
//!    Without one the scan starts at the first entry, and without a readable header the parameters come from
//!    there too.
//! 2. From there entries are followed by their heads. A COMMIT counts when everything between it and the base
//!    is whole, for its writer may have died before the sync that would have made it so.
//! 3. CHUNK and LOG entries after the last COMMIT are adopted, each if it is whole and the one before was. A
//!    COMMIT that cannot be used, for a damaged index say, is passed over: the chunks tell the same. When no
//!    commit was left to start from, so are damaged heads.
//! 4. What follows is a torn tail: a reader ignores it, a writer cuts it off.

use std::collections::HashMap;
use std::sync::Arc;

use super::{EntryWalk, Scanner, Slots, Step, Tail, replay};
use crate::catalog::{LostCommit, Snapshot, State};
use crate::chunk::ChunkAt;
use crate::error::{Error, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::header::{CommitSlot, FIRST_ENTRY_AT};
use crate::format::tables::{Directory, Losses, Parameters};
use crate::index::hash;
use crate::index::{Location, Segment};
use crate::storage::Storage;

/// A file's newest state.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) parameters: Parameters,
    pub(crate) state: State,
    pub(crate) tail: Tail,
    /// The file ends with the Blosc2 frame's end, of this very state.
    pub(crate) published: bool,
    /// The header page cannot be read: the parameters come from a commit.
    pub(crate) header_lost: bool,
}

/// Bytes read at a time in search of the next entry.
const RESUME_WINDOW: usize = 1 << 20;

/// What the slots vouch for: a slot is written after the sync of its commit.
struct Durable {
    /// Everything before this byte was in the file once.
    end: u64,
    /// Offset and length of the index segments that readable commits list.
    segments: HashMap<u64, u64>,
}

/// Loads the newest state of the depot in `storage`.
pub(crate) fn load(storage: &Arc<dyn Storage>, parameters: Parameters, mapped: bool) -> Result<Loaded> {
    let slots = Scanner::new(storage, mapped)?.slots(parameters.depot_id);
    // Asked for the file's length after the slots were read: a writer may be at work, and what a slot names
    // is in the file.
    let scanner = Scanner::new(storage, mapped)?;
    let header_lost = slots.is_none();
    let lost = scanner.lost_commit(slots.as_ref());
    let Slots { valid, unwritten } = slots.unwrap_or_default();
    let mut base = None;
    for slot in &valid {
        let entry = scanner.head(slot.offset).ok().filter(|head| {
            head.kind == Kind::Commit && head.depot_id == parameters.depot_id && head.crc() == slot.head_crc
        });
        if let Some(head) = entry
            && let Ok(commit) = scanner.commit(&head)
            && let Ok(snapshot) = scanner.snapshot(&head, &commit)
        {
            base = Some((head, snapshot));
            break;
        }
    }
    // Without any commit so far there is none to lose: the careful way is the right one.
    let careful = base.is_some() || unwritten;
    let (tail, snapshot) = match base {
        Some((head, snapshot)) => (Tail::after(&head), snapshot),
        None => (Tail::START, Snapshot::default()),
    };
    let mut state = State::default();
    state.adopt_snapshot(Arc::new(snapshot));
    let mut loaded = Loaded { parameters, state, tail, published: false, header_lost };
    let durable = scanner.durable(&valid);
    let accounted = scanner.follow(&mut loaded, careful, &durable);
    if let Some(lost) = lost
        && loaded.tail == Tail::START
    {
        // Nothing at all is left of a depot that had something: it must not be taken for an empty one.
        return Err(lost);
    }
    let found = loaded.state.snapshot.sequence;
    let unread = valid.first().filter(|slot| slot.sequence > found);
    let unread = unread.map(|slot| LostCommit { sequence: slot.sequence, offset: slot.offset });
    loaded.state.unread = unread;
    loaded.state.lost = unread.filter(|commit| accounted < commit.offset);
    if header_lost && loaded.state.lost.is_none() {
        // Nothing says where the end is: whole entries further on do.
        let found = scanner.whole_entry_after(loaded.tail, loaded.parameters.depot_id)?;
        loaded.state.lost = found
            .map(|head| LostCommit { sequence: loaded.state.snapshot.sequence + 1, offset: head.offset });
    }
    Ok(loaded)
}

impl Scanner<'_> {
    /// The error of a file that has nothing of the commit its slots tell of.
    fn lost_commit(&self, slots: Option<&Slots>) -> Option<Error> {
        let slots = slots.filter(|slots| !slots.unwritten)?;
        let (offset, commit) = match slots.valid.first() {
            Some(slot) => (slot.offset, format!("commit {}", slot.sequence)),
            None => (FIRST_ENTRY_AT, "a commit, of which the header tells".into()),
        };
        let found = format!("nothing of it in {} bytes of file", self.file_len);
        Some(self.damaged(Part::File, offset, commit, found))
    }

    /// What the valid slots, newest first, vouch for.
    fn durable(&self, valid: &[CommitSlot]) -> Durable {
        let mut segments = HashMap::new();
        for slot in valid {
            if let Ok(commit) = self.head(slot.offset).and_then(|head| self.commit(&head)) {
                segments.extend(commit.segments.iter().map(|segment| (segment.offset, segment.length)));
            }
        }
        Durable { end: valid.first().map_or(0, |slot| slot.offset), segments }
    }

    /// The first whole entry after `tail` that has, or commits, operations of the depot.
    pub(crate) fn whole_entry_after(&self, tail: Tail, depot_id: u64) -> Result<Option<EntryHead>> {
        for step in EntryWalk::from(self, Some(depot_id), tail.offset) {
            if let Step::Entry(entry) = step?
                && entry.whole
                && matches!(entry.head.kind, Kind::Chunk | Kind::Log | Kind::Commit)
            {
                return Ok(Some(entry.head));
            }
        }
        Ok(None)
    }

    /// Follows entries from the tail of `loaded`. With `careful`, a commit counts only if all before it is
    /// whole; without, no slot was left to tell, and what is not whole will say so when it is read.
    ///
    /// Tells how far all operations are accounted for: no entry before that byte can hold any that `loaded`
    /// lacks.
    fn follow(&self, loaded: &mut Loaded, careful: bool, durable: &Durable) -> u64 {
        let depot_id = loaded.parameters.depot_id;
        let mut tail = loaded.tail;
        let (mut adopted, mut whole): (Vec<EntryHead>, usize) = (Vec::new(), 0);
        let mut published = loaded.published;
        // The depot's own metadata and losses, which nothing but a commit names.
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
                // The head is damaged, but what it heads is known: it has no operations.
                tail = Tail { offset: tail.offset + length, sequence: tail.sequence + 1, previous: 0 };
                skipped = true;
                continue;
            }
            skipped = false;
            let Some(head) = next.or_else(|| if careful { None } else { self.resume(&tail, depot_id) })
            else {
                break;
            };
            if head.offset != tail.offset || head.sequence != tail.sequence {
                gap = gap.min(tail.offset);
            }
            let accepted = match head.kind {
                Kind::Commit => self.accept_commit(loaded, &head, &mut adopted, &mut whole, careful),
                Kind::Chunk | Kind::Log => {
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
                    // The index has all there is up to here.
                    gap = u64::MAX;
                    notes.clear();
                }
                // The frame's end right after the commit it belongs to.
                Kind::Frame if adopted.is_empty() => {
                    loaded.tail = tail;
                    published = true;
                }
                _ => published = false,
            }
        }
        // Up to the first entry that is not whole. A record whose last chunk is not among them never
        // happened.
        let entries: Vec<_> = adopted
            .iter()
            .map_while(|head| {
                // What a commit made durable is damaged, not unfinished: its records say so when they are
                // read.
                let check = head.offset >= durable.end;
                Some((head, self.entry_checked(head, loaded.parameters.chunk_size, check).ok()?))
            })
            .collect();
        let chunks = loaded.state.snapshot.n_chunks + loaded.state.pending.chunks.len() as u64;
        let new_chunks = entries.iter().filter(|(_, (_, reference))| reference.is_some()).count() as u64;
        let end = (chunks + new_chunks).saturating_mul(loaded.parameters.chunk_size as u64);
        let mut n_adopted = 0;
        for (head, entry) in &entries {
            if !adopt(loaded, head, entry, end) {
                break;
            }
            loaded.tail = Tail::after(head);
            published = false;
            n_adopted += 1;
        }
        loaded.published = published;
        let accounted = adopted.get(n_adopted).map_or(tail.offset, |head| head.offset).min(gap);
        self.take_notes(loaded, notes.iter().filter(|head| head.offset < durable.end.min(accounted)));
        accounted
    }

    /// Takes over what a commit that cannot be read said of the depot itself.
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

    /// The next entry after a damaged head. Only where no commit was left to start from: there every entry
    /// counts.
    fn resume(&self, tail: &Tail, depot_id: u64) -> Option<EntryHead> {
        let mut offset = tail.offset;
        while offset < self.file_len {
            // Entries lie at multiples of a head's length; holes have none.
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

    /// Takes the commit at `head` as the new base, if it and all between are whole.
    ///
    /// `whole` counts the entries of `adopted` that were found so: an entry is looked at once, however many
    /// commits are after it.
    fn accept_commit(
        &self,
        loaded: &mut Loaded,
        head: &EntryHead,
        adopted: &mut Vec<EntryHead>,
        whole: &mut usize,
        careful: bool,
    ) -> bool {
        let Ok(commit) = self.commit(head) else { return false };
        let Ok(snapshot) = self.snapshot(head, &commit) else { return false };
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
        index_whole && data_whole
    }
}

/// Replays the operations of an entry that no commit covers. Bytes from address `end` on never made it to the
/// disk.
fn adopt(loaded: &mut Loaded, head: &EntryHead, entry: &(Directory, Option<ChunkRef>), end: u64) -> bool {
    let (directory, reference) = entry;
    let state = &mut loaded.state;
    let next_chunk = state.snapshot.n_chunks + state.pending.chunks.len() as u64;
    // A LOG entry has the number of the chunk that comes next, too.
    if head.ordinal != next_chunk {
        return false;
    }
    if let Some(reference) = reference {
        state.set_source(next_chunk, ChunkAt::Stored(*reference));
    }
    let end = end.min(Location::MAX_ADDRESS);
    for (operation, location) in replay(directory, next_chunk, &loaded.parameters) {
        let outside = |location: Location| {
            location.address > Location::MAX_ADDRESS || location.length > 0 && location.end() > end
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
            state.insert(hash, &operation.name, &location, operation.metadata.as_deref());
        }
    }
    true
}

/// What is to be written again before the end of a file from some byte on is cut off.
pub(crate) struct Notes {
    /// MessagePack of the depot's own metadata, if it lies there.
    pub(crate) metadata: Option<Vec<u8>>,
    /// All that is lost so far, if it lies there or is asked for.
    pub(crate) losses: Losses,
    /// It lies there.
    pub(crate) moved_losses: bool,
}

/// What `snapshot` says of the depot itself, and lies in the end after `tail`; with `all_losses` these
/// wherever they lie.
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

/// MessagePack of the depot's own metadata.
pub(crate) fn read_metadata(storage: &Arc<dyn Storage>, offset: u64, depot_id: u64) -> Result<Vec<u8>> {
    Scanner::new(storage, false)?.metadata(offset, depot_id)
}

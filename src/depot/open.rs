//! Finds the newest state of a file: a commit slot says where to start, the entries behind it say the rest.
//!
//! 1. The header gives the parameters and two slots; the newest slot whose COMMIT entry is whole is the base.
//!    Without one the scan starts at the first entry, and without a readable header the parameters come from there too.
//! 2. From there entries are followed by their heads. A COMMIT counts when everything between it and the base is
//!    whole, for its writer may have died before the sync that would have made it so.
//! 3. CHUNK and LOG entries behind the last COMMIT are adopted, each if it is whole and the one before was.
//!    A COMMIT that cannot be used, for a damaged index say, is passed over: the chunks tell the same. When no commit was
//!    left to start from, so are damaged heads.
//! 4. What follows is a torn tail: a reader ignores it, a writer cuts it off.

use std::collections::HashMap;
use std::sync::Arc;

use super::state::{LostCommit, Snapshot, Source, State};
use super::walk::{Step, Walk};
use crate::blosc::{ChunkHeader, HEADER_LEN as CHUNK_HEADER_LEN};
use crate::chunk::ChunkReader;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::{ChunkRef, PRELUDE_LEN, Prelude};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::frame::{self, HEADER_LEN};
use crate::format::header::{FIRST_ENTRY_AT, SLOT_AT, SLOT_LEN, Slot, read_parameters};
use crate::format::tables::{Action, Commit, Directory, Losses, Operation, Parameters};
use crate::format::{FORMAT_VERSION, u64_at};
use crate::index::hash;
use crate::index::{Location, Segment};
use crate::storage::{Storage, is_unfinished, past_the_end};

/// Where the next entry goes, and what its head must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
    /// CRC of the last entry's head.
    pub(crate) previous: u32,
}

impl Tail {
    /// Of a file without entries.
    pub(crate) const START: Self = Self { offset: FIRST_ENTRY_AT, sequence: 1, previous: 0 };

    pub(crate) fn after(head: &EntryHead) -> Self {
        Self { offset: head.offset + head.length, sequence: head.sequence + 1, previous: head.crc() }
    }
}

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

/// Bytes of a COMMIT, METADATA or LOSSES entry's body, at most: a forged head, in a file of holes, may say
/// anything.
pub(crate) const MAX_BODY: u64 = 256 << 20;

/// Bytes read at a time in search of the next entry.
const RESUME_WINDOW: usize = 1 << 20;

/// The longest header of another program's frame that is read.
const MAX_FOREIGN_HEADER: usize = 16 << 20;

/// What a file turned out to be.
pub(crate) enum Header {
    /// A depot.
    Depot(Parameters),
    /// A Blosc2 frame that vlstore may have written.
    Foreign,
}

/// What the header's two slots say.
#[derive(Default)]
pub(crate) struct Slots {
    /// Newest first.
    pub(crate) valid: Vec<Slot>,
    /// No commit has written one yet.
    unwritten: bool,
}

/// What the slots vouch for: a slot is written after the sync of its commit.
struct Durable {
    /// Everything before this byte was in the file once.
    end: u64,
    /// Offset and length of the index segments that readable commits list.
    segments: HashMap<u64, u64>,
}

/// Reads entries of a file and checks them.
pub(crate) struct Scanner<'s> {
    pub(crate) storage: &'s Arc<dyn Storage>,
    mapped: bool,
    pub(crate) file_len: u64,
}

/// Reads and checks the header. The error is what every attempt to open the file starts with.
pub(crate) fn read_header(storage: &Arc<dyn Storage>) -> Result<Header> {
    let header = find_header(storage)?;
    if let Header::Depot(parameters) = &header
        && parameters.format_version > FORMAT_VERSION
    {
        return Err(ErrorKind::NewerFormat { found: parameters.format_version, supported: FORMAT_VERSION }
            .at(storage.path()));
    }
    Ok(header)
}

fn find_header(storage: &Arc<dyn Storage>) -> Result<Header> {
    let path = || storage.path().to_owned();
    let not_a_depot = |found: String| ErrorKind::NotADepot { found }.at(path());
    let scanner = Scanner::new(storage, false)?;
    let len = usize::try_from(scanner.file_len).unwrap_or(usize::MAX).min(HEADER_LEN);
    if len == 0 {
        return Err(not_a_depot("an empty file".into()));
    }
    let mut bytes = scanner.read(0, len)?;
    if is_unfinished(&bytes) {
        let found =
            "the beginning of a new file, which is at work or was interrupted, and has not come to its end";
        return Err(not_a_depot(found.into()));
    }
    // Frames of other programs may have longer headers.
    if let Some(longer) = frame::declared_header_len(&bytes).filter(|&longer| longer > len) {
        let room = usize::try_from(scanner.file_len).unwrap_or(usize::MAX).min(MAX_FOREIGN_HEADER);
        bytes = scanner.read(0, longer.min(room))?;
    }
    let parsed = frame::parse_header(&bytes);
    let own = parsed.as_ref().ok().and_then(|header| bytes.get(header.metalayer(frame::DEPOT_LAYER)?));
    match (own, parsed) {
        (Some(content), _) => match read_parameters(content) {
            Ok(parameters) => Ok(Header::Depot(parameters)),
            Err((expected, found)) => scanner
                .parameters_of_a_commit()
                .map(Header::Depot)
                .ok_or(Error::damaged(path(), Part::Header, 0, expected, found)),
        },
        (None, Ok(_)) => match scanner.parameters_of_a_commit() {
            Some(parameters) => Ok(Header::Depot(parameters)),
            None => Ok(Header::Foreign),
        },
        (None, Err(found)) => {
            scanner.parameters_of_a_commit().map(Header::Depot).ok_or_else(|| not_a_depot(found))
        }
    }
}

/// Loads the newest state of the depot in `storage`.
pub(crate) fn load(storage: &Arc<dyn Storage>, parameters: Parameters, mapped: bool) -> Result<Loaded> {
    let slots = Scanner::new(storage, mapped)?.slots(parameters.depot_id);
    // Asked for the file's length after the slots were read: a writer may be at work, and what a slot names is in the file.
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

impl<'s> Scanner<'s> {
    pub(crate) fn new(storage: &'s Arc<dyn Storage>, mapped: bool) -> Result<Self> {
        let file_len =
            storage.len().map_err(|source| Error::io(storage.path(), "ask for the file's length", source))?;
        Ok(Self { storage, mapped, file_len })
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let failed =
            |source| Error::io(self.storage.path(), format!("read {len} bytes at byte {offset}"), source);
        // Before memory is taken for what a forged head says.
        if offset.checked_add(len as u64).is_none_or(|end| end > self.file_len) {
            return Err(failed(past_the_end(offset, len as u64, self.file_len)));
        }
        let mut bytes = vec![0; len];
        self.storage.read_at(offset, &mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Where the bytes at `offset` and after that are not in a hole; `None` where there are none any more.
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        // Who cannot tell is read.
        let data = self.storage.next_data(offset).unwrap_or(Some(offset))?;
        (data < self.file_len).then_some(data.max(offset))
    }

    pub(crate) fn damaged(
        &self,
        part: Part,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::damaged(self.storage.path(), part, offset, expected, found)
    }

    /// The valid slots of this depot, newest first; `None` when the header page cannot be read as one.
    pub(crate) fn slots(&self, depot_id: u64) -> Option<Slots> {
        let header = self.read(0, HEADER_LEN).ok()?;
        let parsed = frame::parse_header(&header).ok()?;
        read_parameters(header.get(parsed.metalayer(frame::DEPOT_LAYER)?)?).ok()?;
        let bytes = |at: u64| usize::try_from(at).ok().and_then(|at| header.get(at..at + SLOT_LEN));
        let slots = SLOT_AT.into_iter().filter_map(bytes);
        let unwritten = slots.clone().all(|slot| slot.iter().all(|&byte| byte == 0));
        let mut valid: Vec<Slot> =
            slots.filter_map(Slot::parse).filter(|slot| slot.depot_id == depot_id).collect();
        valid.sort_by_key(|slot| std::cmp::Reverse(slot.sequence));
        Some(Slots { valid, unwritten })
    }

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

    /// The head of the entry at `offset`, if the whole entry is in the file.
    pub(crate) fn head(&self, offset: u64) -> Result<EntryHead> {
        let head = EntryHead::parse(&self.read(offset, HEAD_LEN)?, offset)
            .map_err(|found| self.damaged(Part::Entry, offset, "the head of an entry", found))?;
        if head.offset.checked_add(head.length).is_none_or(|end| end > self.file_len) {
            let found = format!("{} bytes of file", self.file_len);
            return Err(self.damaged(Part::Entry, offset, format!("{} bytes", head.length), found));
        }
        Ok(head)
    }

    /// The length-prefixed, checked body of a COMMIT, METADATA or LOSSES entry.
    pub(crate) fn body(&self, head: &EntryHead) -> Result<Vec<u8>> {
        let at = head.offset + HEAD_LEN as u64;
        let room = (head.length - HEAD_LEN as u64).min(MAX_BODY);
        let body_len = u64_at(&self.read(at, 8)?, 0).unwrap_or(u64::MAX);
        let end = body_len.checked_add(8).filter(|&end| end <= room);
        let Some(end) = end.and_then(|end| usize::try_from(end).ok()) else {
            return Err(self.damaged(Part::Entry, at, format!("at most {room} bytes"), body_len.to_string()));
        };
        let bytes = self.read(at, end)?;
        let found = crc32c::crc32c(&bytes);
        if found != head.body_crc {
            let expected = format!("CRC32C {:#010x} of the body", head.body_crc);
            return Err(self.damaged(Part::Entry, at, expected, format!("{found:#010x}")));
        }
        Ok(bytes[8..].to_vec())
    }

    pub(crate) fn commit(&self, head: &EntryHead) -> Result<Commit> {
        let commit = Commit::decode(&self.body(head)?)
            .map_err(|found| self.damaged(Part::Commit, head.offset, "a table of the commit", found))?;
        if commit.sequence == head.ordinal {
            return Ok(commit);
        }
        let expected = format!("commit {}", head.ordinal);
        Err(self.damaged(Part::Commit, head.offset, expected, format!("commit {}", commit.sequence)))
    }

    pub(crate) fn snapshot(&self, head: &EntryHead, commit: &Commit) -> Result<Snapshot> {
        let pages = Arc::default();
        let open = |reference: &crate::format::tables::SegmentRef| {
            let segment = Segment::open(self.storage, *reference, head.depot_id, self.mapped)?;
            Ok(Arc::new(segment.sharing(&pages)))
        };
        let segments = commit.segments.iter().map(open).collect::<Result<_>>()?;
        Ok(Snapshot::new(commit, head.offset, segments))
    }

    /// What the valid slots, newest first, vouch for.
    fn durable(&self, valid: &[Slot]) -> Durable {
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
        for step in Walk::from(self, Some(depot_id), tail.offset) {
            if let Step::Entry(entry) = step?
                && entry.whole
                && matches!(entry.head.kind, Kind::Chunk | Kind::Log | Kind::Commit)
            {
                return Ok(Some(entry.head));
            }
        }
        Ok(None)
    }

    /// Follows entries from the tail of `loaded`. With `careful`, a commit counts only if all before it is whole; without,
    /// no slot was left to tell, and what is not whole will say so when it is read.
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
        // Up to the first entry that is not whole. A record whose last chunk is not among them never happened.
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

    /// The next entry behind a damaged head. Only where no commit was left to start from: there every entry counts.
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
    /// `whole` counts the entries of `adopted` that were found so: an entry is looked at once, however many commits are behind it.
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

    /// Reads a CHUNK or LOG entry and checks all of it.
    fn entry(&self, head: &EntryHead, chunk_size: usize) -> Result<(Directory, Option<ChunkRef>)> {
        self.entry_checked(head, chunk_size, true)
    }

    /// As [`entry`](Self::entry); the stored bytes of its records are checked if `check` says so.
    fn entry_checked(
        &self,
        head: &EntryHead,
        chunk_size: usize,
        check: bool,
    ) -> Result<(Directory, Option<ChunkRef>)> {
        let prelude = self.prelude(head)?;
        let directory = self.directory(head, &prelude)?;
        if head.kind == Kind::Log {
            return Ok((directory, None));
        }
        let reference = self.chunk_ref(head, &prelude)?;
        if check {
            let reader = ChunkReader::new(Arc::clone(self.storage), chunk_size, false, false);
            reader.check_stored(head.ordinal, &reference)?;
        }
        Ok((directory, Some(reference)))
    }

    /// The prelude of a CHUNK or LOG entry.
    pub(crate) fn prelude(&self, head: &EntryHead) -> Result<Prelude> {
        let at = head.offset + HEAD_LEN as u64;
        let bytes = self.read(at, PRELUDE_LEN)?;
        let found = crc32c::crc32c(&bytes);
        if found != head.body_crc {
            let expected = format!("CRC32C {:#010x} of the prelude", head.body_crc);
            return Err(self.damaged(Part::Entry, at, expected, format!("{found:#010x}")));
        }
        Prelude::parse(&bytes, head.length).map_err(|found| self.damaged(Part::Entry, at, "a prelude", found))
    }

    /// The directory of a CHUNK or LOG entry.
    pub(crate) fn directory(&self, head: &EntryHead, prelude: &Prelude) -> Result<Directory> {
        let range = prelude.directory_range();
        let at = head.offset + range.start;
        let stored = self.read(at, usize::try_from(range.end - range.start).unwrap_or(0))?;
        prelude
            .read_directory(&stored)
            .map_err(|found| self.damaged(Part::Directory, at, "a directory", found))
    }

    /// Where the chunk of a CHUNK entry is.
    pub(crate) fn chunk_ref(&self, head: &EntryHead, prelude: &Prelude) -> Result<ChunkRef> {
        Ok(prelude.chunk_ref(head.offset, &self.chunk_header(head, prelude)?))
    }

    /// The Blosc2 header of the chunk of a CHUNK entry.
    pub(crate) fn chunk_header(&self, head: &EntryHead, prelude: &Prelude) -> Result<ChunkHeader> {
        let at = head.offset + u64::from(prelude.chunk_at);
        ChunkHeader::parse(&self.read(at, CHUNK_HEADER_LEN)?).map_err(|source| {
            self.damaged(Part::Chunk(head.ordinal), at, "a Blosc2 chunk", source.to_string())
        })
    }

    /// The parameters in the first COMMIT entry that can be reached from the start.
    fn parameters_of_a_commit(&self) -> Option<Parameters> {
        let mut tail = Tail::START;
        loop {
            let head = self.head(tail.offset).ok()?;
            if head.sequence != tail.sequence || head.previous != tail.previous {
                return None;
            }
            if head.kind == Kind::Commit
                && let Ok(commit) = self.commit(&head)
            {
                return Some(commit.parameters);
            }
            tail = Tail::after(&head);
        }
    }

    /// The body of the METADATA entry at `offset`.
    pub(crate) fn metadata(&self, offset: u64, depot_id: u64) -> Result<Vec<u8>> {
        let head = self.head(offset)?;
        if head.kind != Kind::Metadata || head.depot_id != depot_id {
            return Err(self.damaged(Part::Metadata, offset, "a METADATA entry", format!("{:?}", head.kind)));
        }
        self.body(&head)
    }

    /// The body of the LOSSES entry at `offset`.
    pub(crate) fn losses(&self, offset: u64, depot_id: u64) -> Result<Losses> {
        let head = self.head(offset)?;
        if head.kind != Kind::Losses || head.depot_id != depot_id {
            return Err(self.damaged(Part::Losses, offset, "a LOSSES entry", format!("{:?}", head.kind)));
        }
        Losses::decode(&self.body(&head)?)
            .map_err(|found| self.damaged(Part::Losses, offset, "a table of losses", found))
    }
}

/// Replays the operations of an entry that no commit covers. Bytes from address `end` on never made it to the disk.
fn adopt(loaded: &mut Loaded, head: &EntryHead, entry: &(Directory, Option<ChunkRef>), end: u64) -> bool {
    let (directory, reference) = entry;
    let state = &mut loaded.state;
    let next_chunk = state.snapshot.n_chunks + state.pending.chunks.len() as u64;
    // A LOG entry has the number of the chunk that comes next, too.
    if head.ordinal != next_chunk {
        return false;
    }
    if let Some(reference) = reference {
        state.set_source(next_chunk, Source::Stored(*reference));
    }
    let end = end.min(Location::MAX_ADDRESS);
    for (operation, location) in places(directory, next_chunk, &loaded.parameters) {
        let outside = |location: Location| {
            location.address > Location::MAX_ADDRESS || location.length > 0 && location.end() > end
        };
        if location.is_some_and(outside) {
            continue;
        }
        let hash = hash(&operation.name);
        let Ok(found) = state.find_hashed(hash, &operation.name, &mut |_| ()) else { return false };
        if let Some(found) = found {
            state.kill(hash, &found);
        }
        if let Some(location) = location {
            state.insert(hash, &operation.name, &location, operation.metadata.as_deref());
        }
    }
    true
}

/// The operations of chunk number `chunk`'s directory, each with the place its record has afterwards, if it has one.
pub(crate) fn places<'d>(
    directory: &'d Directory,
    chunk: u64,
    parameters: &Parameters,
) -> impl Iterator<Item = (&'d Operation, Option<Location>)> {
    let align = parameters.align as u64;
    let chunk_start = chunk.saturating_mul(parameters.chunk_size as u64);
    let mut next = chunk_start.saturating_add(u64::from(directory.first_start));
    directory.operations.iter().map(move |operation| {
        let location = match operation.action {
            Action::Remove => None,
            Action::Metadata { address, length, checksum } => {
                Some(Location { address, length, checksum, unchecked: false })
            }
            Action::Put { length, checksum } => {
                let in_chunk = (next - chunk_start).checked_next_multiple_of(align).unwrap_or(u64::MAX);
                let start = chunk_start.saturating_add(in_chunk);
                let location = Location { address: start, length, checksum, unchecked: false };
                next = location.end();
                Some(location)
            }
        };
        (operation, location)
    })
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

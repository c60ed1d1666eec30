//! The writing side of a depot: the open chunk, chunks on their way to the file, and commits.
//!
//! Everything appended goes through [`Writer::append`], in the order of the file. A failed write moves nothing forward:
//! the bytes are written again by the next call. A failed sync is final, since the system may have dropped what it could
//! not write: the depot then refuses to go on.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::open::Tail;
use super::pending::MAX_PENDING;
use super::state::{Snapshot, Source, State};
use crate::chunk::{Job, OpenChunk, Pool};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::{ChunkRef, EncodedEntry, encode_log};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::frame::{self, HEADER_LEN};
use crate::format::header::{Slot, slot_offset};
use crate::format::tables::{Action, Commit, Losses, Parameters, SegmentRef};
use crate::identity;
use crate::index::{
    Chosen, Location, MAX_RECORDS, Merge, PageCache, SEGMENT_ROOM, Segment, SegmentPlan, hash, piece_for,
    tail_to_merge,
};
use crate::options::{CommitEvery, DepotOptions};
use crate::storage::Storage;

/// Raw bytes in the pool, at most, unless one chunk has more.
const POOL_BYTES: usize = 64 << 20;

/// A record on its way in.
pub(crate) struct NewRecord<'b> {
    /// Tagged.
    pub(crate) name: &'b [u8],
    pub(crate) bytes: &'b [u8],
    pub(crate) checksum: u32,
    /// MessagePack.
    pub(crate) metadata: Option<&'b [u8]>,
    /// Whether a record of that name is an error.
    pub(crate) only_new: bool,
}

/// What readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) parameters: Parameters,
    pub(crate) mapped: bool,
    state: RwLock<State>,
}

impl std::fmt::Debug for dyn Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

impl Shared {
    pub(crate) fn new(storage: Arc<dyn Storage>, parameters: Parameters, mapped: bool, state: State) -> Self {
        Self { storage, parameters, mapped, state: RwLock::new(state) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn io(&self, action: impl Into<String>, source: io::Error) -> Error {
        Error::io(self.storage.path(), action, source)
    }
}

/// What a record was put since the last commit.
#[derive(Debug)]
struct SinceCommit {
    records: u64,
    bytes: u64,
    time: Instant,
}

impl SinceCommit {
    fn nothing() -> Self {
        Self { records: 0, bytes: 0, time: Instant::now() }
    }
}

/// The one writer of a depot.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    options: DepotOptions,
    open: OpenChunk,
    /// Number of the open chunk.
    open_number: u64,
    pool: Pool,
    /// Chunks in the pool, oldest first.
    in_pool: VecDeque<u64>,
    /// A compressed chunk whose write failed: the next to be written.
    unwritten: Option<(u64, EncodedEntry)>,
    tail: Tail,
    since: SinceCommit,
    /// MessagePack of the depot's metadata, when changed.
    new_metadata: Option<Vec<u8>>,
    /// The table of all that is lost, when changed.
    new_losses: Option<Vec<u8>>,
    /// What the next commit says of taking a truncation back, if it is one.
    undo: Option<u64>,
    /// Number of a commit that cannot be read any more.
    taken: u64,
    published: bool,
    failed_sync: Option<String>,
    /// Bytes of names and metadata after which a commit starts another segment.
    segment_room: usize,
    /// Pages of the index, for all segments that this writer opens.
    pages: Arc<PageCache>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, options: DepotOptions, tail: Tail, published: bool) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let n_threads = options.write_threads.unwrap_or_else(cores);
        let (open_number, pages) = {
            let state = shared.read();
            (state.snapshot.n_chunks + state.pending.chunks.len() as u64, state.snapshot.pages())
        };
        Self {
            open: OpenChunk::new(options.chunk_size),
            open_number,
            pool: Pool::new(options.compression, n_threads),
            in_pool: VecDeque::new(),
            unwritten: None,
            tail,
            since: SinceCommit::nothing(),
            new_metadata: None,
            new_losses: None,
            undo: None,
            taken: 0,
            published,
            failed_sync: None,
            segment_room: SEGMENT_ROOM,
            pages,
            shared,
            options,
        }
    }

    fn check_alive(&self) -> Result<()> {
        match &self.failed_sync {
            None => Ok(()),
            Some(cause) => Err(ErrorKind::Poisoned { cause: cause.clone() }.at(self.shared.storage.path())),
        }
    }

    /// Stores a record, replacing the one of that name.
    ///
    /// An error of writing earlier records is reported before this one is taken in.
    pub(crate) fn put(&mut self, record: &NewRecord<'_>) -> Result<()> {
        self.check_alive()?;
        self.write_finished(false)?;
        let hash = hash(record.name);
        let found = self.shared.read().find_hashed(hash, record.name, &mut |_| ())?;
        if found.is_some() && record.only_new {
            return Err(ErrorKind::Exists
                .at(self.shared.storage.path())
                .of(crate::key::describe(record.name)));
        }
        let align = self.shared.parameters.align;
        let start = self.place(record.bytes.len(), align);
        let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        let address = self.open_number * self.options.chunk_size as u64 + start as u64;
        let location = Location { address, length, checksum: record.checksum, unchecked: false };
        if location.end() > Location::MAX_ADDRESS {
            return Err(ErrorKind::InvalidRecord {
                why: "the depot is full: 2^48 raw bytes are in it; start another one".into(),
            }
            .at(self.shared.storage.path())
            .of(crate::key::describe(record.name)));
        }
        let action = Action::Put { length, checksum: record.checksum };
        self.open.note(record.name, action, record.metadata, start);
        if !record.bytes.is_empty() {
            if self.open.used() == 0 {
                self.shared.write().set_source(self.open_number, Source::Open);
            }
            let mut rest = self.open.fill(start, record.bytes);
            // A record longer than what is left goes on in the next chunks, which are written on the way, or a large one
            // would be in memory twice. A write that fails changes nothing: the chunk waits, the record is taken in whole,
            // and the next call writes or reports.
            let mut writes = true;
            while !rest.is_empty() {
                self.seal();
                writes = writes && self.write_finished(false).is_ok();
                self.shared.write().set_source(self.open_number, Source::Open);
                rest = self.open.fill(0, rest);
            }
        }
        let metadata_len = record.metadata.map_or(0, <[u8]>::len);
        let mut state = self.shared.write();
        if let Some(found) = found {
            state.kill(hash, &found);
        }
        state.insert(hash, record.name, &location, record.metadata);
        drop(state);
        self.changed(record.bytes.len() + record.name.len() + metadata_len);
        Ok(())
    }

    /// Counts a change of this many bytes towards the next commit.
    fn changed(&mut self, bytes: usize) {
        self.published = false;
        // What a commit has besides a truncation is not taken back with it.
        self.undo = None;
        self.since.records += 1;
        self.since.bytes += bytes as u64;
    }

    /// Notes an operation without payload.
    fn note(&mut self, name: &[u8], action: Action, metadata: Option<&[u8]>) {
        if self.open.is_crowded() {
            self.seal();
        }
        self.open.note(name, action, metadata, 0);
    }

    /// Where a record of `length` bytes starts in the open chunk, which is a fresh one if need be.
    fn place(&mut self, length: usize, align: usize) -> usize {
        if let Some(start) = self.open.place(length, align, self.options.placement) {
            return start;
        }
        self.seal();
        self.open.place(length, align, self.options.placement).unwrap_or(0)
    }

    /// Removes a record; false if there is none.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Result<bool> {
        self.check_alive()?;
        let found = self.shared.read().find(name)?;
        let Some(found) = found else { return Ok(false) };
        self.note(name, Action::Remove, None);
        self.shared.write().kill(hash(name), &found);
        self.changed(name.len());
        Ok(true)
    }

    /// Gives a record other metadata; false if there is no such record.
    pub(crate) fn set_metadata(&mut self, name: &[u8], metadata: &[u8]) -> Result<bool> {
        self.check_alive()?;
        let hash = hash(name);
        let found = self.shared.read().find_hashed(hash, name, &mut |_| ())?;
        let Some(found) = found else { return Ok(false) };
        let Location { address, length, checksum, .. } = found.location;
        let action = Action::Metadata { address, length, checksum };
        self.note(name, action, Some(metadata));
        let mut state = self.shared.write();
        state.kill(hash, &found);
        state.insert(hash, name, &found.location, Some(metadata));
        drop(state);
        self.changed(name.len() + metadata.len());
        Ok(true)
    }

    /// Puts a record of an earlier commit at the end of the order, with the place and metadata it had; one of
    /// that name that is live moves there.
    pub(crate) fn restore(
        &mut self,
        name: &[u8],
        location: &Location,
        metadata: Option<&[u8]>,
    ) -> Result<()> {
        self.check_alive()?;
        let hash = hash(name);
        let found = self.shared.read().find_hashed(hash, name, &mut |_| ())?;
        let Location { address, length, checksum, .. } = *location;
        self.note(name, Action::Metadata { address, length, checksum }, metadata);
        let mut state = self.shared.write();
        if let Some(found) = found {
            state.kill(hash, &found);
        }
        state.insert(hash, name, location, metadata);
        drop(state);
        self.changed(name.len() + metadata.map_or(0, <[u8]>::len));
        Ok(())
    }

    /// Replaces the depot's own metadata by this MessagePack map.
    pub(crate) fn set_depot_metadata(&mut self, metadata: Vec<u8>) -> Result<()> {
        self.check_alive()?;
        self.new_metadata = Some(metadata);
        self.shared.write().pending.changed = true;
        self.published = false;
        Ok(())
    }

    /// Replaces the note of what is lost.
    pub(crate) fn set_losses(&mut self, losses: &Losses) -> Result<()> {
        self.check_alive()?;
        self.new_losses = Some(losses.encode());
        self.shared.write().pending.changed = true;
        self.published = false;
        Ok(())
    }

    /// Numbers the next commits after `taken`.
    pub(crate) fn number_after(&mut self, taken: u64) {
        self.taken = taken;
    }

    /// Makes the next commit one that can be taken back to the commit at `offset`, unless a record is put or
    /// changed before.
    pub(crate) fn set_undo(&mut self, offset: u64) {
        self.undo = Some(offset);
    }

    /// MessagePack of the depot's metadata as set since the last commit.
    pub(crate) fn new_metadata(&self) -> Option<&[u8]> {
        self.new_metadata.as_deref()
    }

    /// A copy of raw bytes of the open chunk; `None` when chunk `number` is not the open one.
    pub(crate) fn open_bytes(&self, number: u64, start: usize, len: usize) -> Option<&[u8]> {
        (number == self.open_number).then(|| self.open.bytes(start, len)).flatten()
    }

    /// Commits when one of the limits is reached.
    pub(crate) fn commit_if_due(&mut self) -> Result<()> {
        let CommitEvery { records, bytes, interval } = self.options.commit_every;
        let due = records.is_some_and(|n| self.since.records >= n)
            || self.since.records >= MAX_PENDING
            || bytes.is_some_and(|n| self.since.bytes >= n)
            || interval.is_some_and(|interval| self.since.time.elapsed() >= interval);
        if due { self.commit() } else { Ok(()) }
    }

    /// Hands the open chunk to the pool and opens the next.
    fn seal(&mut self) {
        let block_size = self.options.resolve_block_size(self.open.mean_record());
        let full = std::mem::replace(&mut self.open, OpenChunk::new(self.options.chunk_size));
        let (raw, used, directory) = full.seal();
        self.shared.write().set_source(self.open_number, Source::Sealed(Arc::clone(&raw)));
        self.pool.submit(Job { chunk: self.open_number, raw, used, directory, block_size });
        self.in_pool.push_back(self.open_number);
        self.open_number += 1;
    }

    /// Writes compressed chunks in order: those that are ready, or with `all` every one.
    fn write_finished(&mut self, all: bool) -> Result<()> {
        loop {
            if self.unwritten.is_none() {
                let Some(&chunk) = self.in_pool.front() else { return Ok(()) };
                let room = self.pool.room().min((POOL_BYTES / self.options.chunk_size).max(1));
                let Some(result) = self.pool.take(chunk, all || self.in_pool.len() > room) else {
                    return Ok(());
                };
                let entry = result.map_err(|source| {
                    // The chunk cannot be had: nothing behind it can be stored either.
                    self.failed_sync = Some(format!("chunk {chunk} could not be compressed"));
                    ErrorKind::Compress { chunk }.at(self.shared.storage.path()).because(source)
                })?;
                self.in_pool.pop_front();
                self.unwritten = Some((chunk, entry));
            }
            if let Some((chunk, mut entry)) = self.unwritten.take() {
                let offset = self.tail.offset;
                let bytes = &mut entry.bytes[..entry.written];
                let written = self.append(Kind::Chunk, chunk, bytes, entry.length, entry.body_crc);
                if let Err(error) = written {
                    self.unwritten = Some((chunk, entry));
                    return Err(error);
                }
                if let Some(header) = &entry.header {
                    let reference = entry.prelude.chunk_ref(offset, header);
                    self.shared.write().set_source(chunk, Source::Stored(reference));
                }
                self.pool.recycle(entry.bytes);
            }
        }
    }

    /// Appends an entry whose first 64 bytes are kept for its head.
    fn append(
        &mut self,
        kind: Kind,
        ordinal: u64,
        bytes: &mut [u8],
        length: u64,
        body_crc: u32,
    ) -> Result<()> {
        let before = self.tail;
        self.append_start(kind, ordinal, bytes, length, body_crc)?;
        if (bytes.len() as u64) < length {
            // The end of an uncompressed chunk is left to be a hole; the file must reach over it.
            let last = before.offset + length - 1;
            let action = || format!("write the end of a chunk at byte {last}");
            let written = self.shared.storage.write_at(last, &[0]);
            written.map_err(|source| self.shared.io(action(), source)).inspect_err(|_| self.tail = before)?;
        }
        Ok(())
    }

    /// Whether everything appended so far is still in the file: what is appended after a cut would hide that
    /// something is missing.
    fn check_uncut(&self) -> Result<()> {
        let len = self.shared.storage.len();
        let len = len.map_err(|source| self.shared.io("ask for the file's length", source))?;
        if len >= self.tail.offset {
            return Ok(());
        }
        Err(Error::damaged(
            self.shared.storage.path(),
            Part::File,
            len,
            format!("the {} bytes that were written", self.tail.offset),
            format!("{len}: another program has cut it"),
        ))
    }

    /// Appends an entry whose first 64 bytes are kept for its head, and of which what is behind `bytes` is taken care of.
    fn append_start(
        &mut self,
        kind: Kind,
        ordinal: u64,
        bytes: &mut [u8],
        length: u64,
        body_crc: u32,
    ) -> Result<()> {
        let head = EntryHead {
            kind,
            body_crc,
            sequence: self.tail.sequence,
            ordinal,
            offset: self.tail.offset,
            length,
            depot_id: self.shared.parameters.depot_id,
            previous: self.tail.previous,
        };
        bytes[..HEAD_LEN].copy_from_slice(&head.encode());
        self.check_uncut()?;
        self.shared.storage.write_at(head.offset, bytes).map_err(|source| {
            let what = kind.describe();
            self.shared.io(format!("write {what}, {} bytes at byte {}", bytes.len(), head.offset), source)
        })?;
        self.tail = Tail { offset: head.offset + length, sequence: head.sequence + 1, previous: head.crc() };
        Ok(())
    }

    /// Appends a length-prefixed body.
    fn append_body(&mut self, kind: Kind, ordinal: u64, body: &[u8]) -> Result<u64> {
        let mut bytes = vec![0; HEAD_LEN];
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(body);
        let body_crc = crc32c::crc32c(&bytes[HEAD_LEN..]);
        bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
        let length = bytes.len() as u64;
        self.append(kind, ordinal, &mut bytes, length, body_crc)?;
        Ok(length)
    }

    /// Sends what was put to the system, without a sync: it survives a killed process, not a power loss.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.check_alive()?;
        if self.open.used() > 0 {
            self.seal();
        }
        self.write_finished(true)?;
        if !self.open.is_empty() {
            let log = encode_log(self.open.directory()).map_err(|source| {
                ErrorKind::Compress { chunk: self.open_number }.at(self.shared.storage.path()).because(source)
            });
            let ordinal = self.open_number;
            let mut log = log?;
            self.append(Kind::Log, ordinal, &mut log.bytes[..log.written], log.length, log.body_crc)?;
            self.open.forget_directory();
        }
        Ok(())
    }

    /// Makes everything put so far durable.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.commit_merging(false)
    }

    fn commit_merging(&mut self, last: bool) -> Result<()> {
        self.check_alive()?;
        let references = self.shared.read().snapshot.references();
        let merge_all = last && tail_to_merge(&references, true).is_some();
        if !self.shared.read().pending.changed && !merge_all {
            self.since = SinceCommit::nothing();
            return Ok(());
        }
        self.commit_pending(last).map_err(|source| self.not_committed(source))
    }

    fn not_committed(&self, source: Error) -> Error {
        let state = self.shared.read();
        let newest = state.pending.live().next_back();
        ErrorKind::NotCommitted {
            waiting: state.pending.n_live(),
            newest: newest.map(|number| crate::key::describe(state.pending.name(number))),
            again: self.failed_sync.is_none(),
        }
        .at(self.shared.storage.path())
        .because(source)
    }

    fn commit_pending(&mut self, last: bool) -> Result<()> {
        let storage = &self.shared.storage;
        // A path that may not be looked at any more says nothing.
        if storage.is_replaced().unwrap_or(false) {
            let why = "another file is in its place: what is committed here would be lost with this handle";
            return Err(self.shared.io("commit", io::Error::other(why)));
        }
        self.flush()?;
        // Should a write fail from here on, the next try starts again from this place.
        let before = self.tail;
        let snapshot = self.write_commit(last).inspect_err(|_| self.tail = before)?;
        self.sync()?;
        let slot = self.slot(&snapshot);
        // The commit is durable; the slot only shortens the way to it, and the next one may do better.
        let _ = self.shared.storage.write_at(slot_offset(slot.sequence), &slot.encode());
        self.shared.write().adopt_snapshot(Arc::new(snapshot));
        (self.new_metadata, self.new_losses, self.undo) = (None, None, None);
        self.since = SinceCommit::nothing();
        Ok(())
    }

    fn slot(&self, snapshot: &Snapshot) -> Slot {
        Slot {
            sequence: snapshot.sequence,
            offset: snapshot.offset,
            length: self.tail.offset - snapshot.offset,
            depot_id: self.shared.parameters.depot_id,
            head_crc: self.tail.previous,
        }
    }

    fn sync(&mut self) -> Result<()> {
        if let Err(source) = self.shared.storage.sync() {
            self.failed_sync = Some(source.to_string());
            return Err(self.shared.io("sync", source));
        }
        Ok(())
    }

    /// Appends METADATA, INDEX and COMMIT entries for all that is pending.
    fn write_commit(&mut self, last: bool) -> Result<Snapshot> {
        let (old, raw_bytes, changed) = {
            let state = self.shared.read();
            (Arc::clone(&state.snapshot), state.raw_bytes, state.pending.changed)
        };
        let (mut metadata, mut losses) = (old.metadata, old.losses);
        if let Some(body) = self.new_metadata.clone() {
            let offset = self.tail.offset;
            metadata = (offset, self.append_body(Kind::Metadata, 0, &body)?);
        }
        if let Some(body) = self.new_losses.clone() {
            let offset = self.tail.offset;
            losses = (offset, self.append_body(Kind::Losses, 0, &body)?);
        }
        let mut segments = old.segments.clone();
        segments.extend(self.append_pending(&old)?);
        let references: Vec<_> = segments.iter().map(|segment| segment.reference).collect();
        if let Some(first) = tail_to_merge(&references, last) {
            match Merge::new(&segments[first..]) {
                Ok(merge) => {
                    let merged = self.append_segment(merge.plan())?;
                    drop(merge);
                    segments.truncate(first);
                    segments.push(merged);
                }
                // A damaged old segment stays as it is: what is new must not wait for it.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        let sum = |of: fn(&Segment) -> u64| segments.iter().map(|segment| of(segment)).sum::<u64>();
        let (n_records, n_kills) = (sum(|s| s.reference.n_records), sum(|s| s.reference.n_kills));
        let Some(n_records) = n_records.checked_sub(n_kills) else {
            return Err(Error::damaged(
                self.shared.storage.path(),
                Part::Index,
                old.offset,
                format!("at most {n_records} dead records"),
                n_kills.to_string(),
            ));
        };
        let commit = Commit {
            sequence: old.sequence.max(self.taken) + 1,
            parent: old.offset,
            segments: segments.iter().map(|segment| segment.reference).collect(),
            n_records,
            n_chunks: sum(|s| s.reference.n_chunks),
            raw_bytes,
            metadata,
            parameters: self.shared.parameters.clone(),
            time: identity::now(),
            // A commit that changes nothing, such as one that merges, leaves a truncation as it was.
            undo: self.undo.unwrap_or(if changed { 0 } else { old.undo }),
            losses,
        };
        let offset = self.tail.offset;
        self.append_body(Kind::Commit, commit.sequence, &commit.encode())?;
        Ok(Snapshot::new(&commit, offset, segments))
    }

    /// Appends what is pending as segments: none if nothing there concerns the index, more than one where one would grow
    /// too large.
    fn append_pending(&mut self, old: &Snapshot) -> Result<Vec<Arc<Segment>>> {
        let shared = Arc::clone(&self.shared);
        // Only the writer, which this is, changes what is pending: readers go on meanwhile.
        let state = shared.read();
        let pending = &state.pending;
        if pending.n_live() == 0 && pending.kills.is_empty() && pending.chunks.is_empty() {
            return Ok(Vec::new());
        }
        let mut chunks = Vec::with_capacity(pending.chunks.len());
        for (number, source) in (old.n_chunks..).zip(&pending.chunks) {
            let Source::Stored(reference) = source else {
                let why = io::Error::other(format!("chunk {number} is not in the file yet"));
                return Err(self.shared.io("commit", why));
            };
            chunks.push(*reference);
        }
        // The first takes the chunks and the deaths of older records, so that it can be merged with what comes before.
        let (mut kills, mut first_chunk) = (pending.kills.iter().copied().collect(), old.n_chunks);
        let (mut first_ordinal, mut live, mut ended) = (old.n_ordinals(), pending.live(), false);
        let mut segments = Vec::new();
        while !ended {
            let (mut numbers, mut bytes) = (Vec::new(), 0);
            ended = loop {
                if bytes >= self.segment_room || numbers.len() as u64 >= MAX_RECORDS {
                    break false;
                }
                let Some(number) = live.next() else { break true };
                bytes += pending.name(number).len() + pending.metadata(number).map_or(0, <[u8]>::len);
                // No more than `MAX_PENDING` are there.
                numbers.extend(u32::try_from(number));
            };
            if numbers.is_empty() && !segments.is_empty() {
                break;
            }
            let listing = Chosen { records: pending.records(), numbers };
            let n_records = listing.numbers.len() as u64;
            let (chunks, kills) = (std::mem::take(&mut chunks), std::mem::take(&mut kills));
            let n_chunks = chunks.len() as u64;
            let plan = SegmentPlan { first_ordinal, first_chunk, listing: &listing, chunks, kills };
            segments.push(self.append_segment(plan)?);
            first_ordinal += n_records;
            first_chunk += n_chunks;
        }
        Ok(segments)
    }

    fn append_segment(&mut self, plan: SegmentPlan<'_>) -> Result<Arc<Segment>> {
        let shared = Arc::clone(&self.shared);
        let Shared { storage, parameters, mapped, .. } = &*shared;
        let entry_at = self.tail.offset;
        self.check_uncut()?;
        let mut start = plan.write(piece_for(storage.is_durable()), &mut |at, bytes| {
            let at = entry_at + at;
            let action = || format!("write the index, {} bytes at byte {at}", bytes.len());
            storage.write_at(at, bytes).map_err(|source| shared.io(action(), source))
        })?;
        let reference = SegmentRef { offset: entry_at, ..start.reference };
        self.append_start(
            Kind::Index,
            reference.first_ordinal,
            &mut start.bytes,
            reference.length,
            start.body_crc,
        )?;
        let segment = Segment::open(storage, reference, parameters.depot_id, *mapped)?;
        Ok(Arc::new(segment.sharing(&self.pages)))
    }

    /// Commits, and makes the file a standard Blosc2 frame of all chunks.
    pub(crate) fn publish(&mut self, last: bool) -> Result<()> {
        self.commit_merging(last)?;
        let n_chunks = self.shared.read().snapshot.n_chunks;
        if self.published || n_chunks == 0 {
            return Ok(());
        }
        let before = self.tail;
        self.write_frame(n_chunks).inspect_err(|_| self.tail = before)?;
        self.published = true;
        Ok(())
    }

    fn write_frame(&mut self, n_chunks: u64) -> Result<()> {
        let path = self.shared.storage.path().to_owned();
        let compress = |source| ErrorKind::Compress { chunk: n_chunks }.at(path.clone()).because(source);
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        let mut offsets = Vec::with_capacity(usize::try_from(n_chunks).unwrap_or(0));
        for segment in &snapshot.segments {
            let first = segment.reference.first_chunk;
            for chunk in first..first + segment.reference.n_chunks {
                let reference = segment.chunk(chunk)?;
                let offset = reference.chunk_offset().checked_sub(HEADER_LEN as u64);
                offsets.push(match offset.and_then(|offset| i64::try_from(offset).ok()) {
                    _ if reference.is(ChunkRef::ZEROS) => frame::ZERO_CHUNK_OFFSET,
                    Some(offset) => offset,
                    None => {
                        return Err(Error::damaged(
                            path,
                            Part::Chunk(chunk),
                            segment.reference.offset,
                            "a chunk behind the header",
                            format!("one at byte {}", reference.chunk_offset()),
                        ));
                    }
                });
            }
        }
        let mut vlmeta = Vec::new();
        if self.shared.parameters.vlstore {
            let lookup = vlstore_lookup(&snapshot)?;
            vlmeta.push(("saved_lookup".to_owned(), frame::vlmeta_content(&lookup).map_err(compress)?));
        }
        let offsets = frame::offsets_chunk(&offsets).map_err(compress)?;
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&self.shared.parameters.depot_id.to_le_bytes());
        fingerprint[8..12].copy_from_slice(&crc32c::crc32c(&offsets).to_le_bytes());
        let trailer = frame::trailer(&vlmeta, fingerprint);

        let offsets_at = self.tail.offset + HEAD_LEN as u64;
        let frame_len = offsets_at + (offsets.len() + trailer.len()) as u64;
        let mut bytes = vec![0; HEAD_LEN];
        bytes.extend_from_slice(&offsets);
        bytes.extend_from_slice(&trailer);
        let body_crc = crc32c::crc32c(&bytes[HEAD_LEN..]);
        bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
        let length = bytes.len() as u64;
        self.append(Kind::Frame, n_chunks, &mut bytes, length, body_crc)?;
        // The header may only say what is durable.
        self.sync()?;
        let raw_len = n_chunks * self.options.chunk_size as u64;
        let chunks_len = offsets_at - HEADER_LEN as u64;
        let (at, update) = frame::header_update(self.options.compression, frame_len, raw_len, chunks_len);
        let action = "write the frame header";
        self.shared.storage.write_at(at as u64, &update).map_err(|source| self.shared.io(action, source))?;
        self.sync()
    }
}

/// vlstore's table of names.
fn vlstore_lookup(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let dead = snapshot.dead()?;
    let mut records = Vec::new();
    for segment in &snapshot.segments {
        let mut local = 0;
        while local < segment.reference.n_records {
            let (first, names) = segment.names_around(local)?;
            for (number, name) in (first..).zip(&names) {
                local = number + 1;
                let ordinal = segment.reference.first_ordinal + number;
                if dead.binary_search(&ordinal).is_err()
                    && let Some(key) = crate::key::Key::from_tagged(name)
                {
                    let location = segment.location(number)?;
                    records.push((key, location.address, location.end()));
                }
            }
        }
    }
    Ok(crate::vlstore::saved_lookup(records.into_iter()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Writer;
    use crate::storage::{MemoryStorage, Storage};
    use crate::{Depot, DepotOptions, OpenOptions, Raw};

    fn writer_of(depot: &Depot<Raw>, change: impl FnOnce(&mut Writer)) {
        change(&mut depot.engine.writer().unwrap());
    }

    #[test]
    fn a_commit_of_more_names_than_fit_a_segment_makes_several() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options = DepotOptions { chunk_size: 4096, block_size: Some(1024), ..DepotOptions::default() };
        let depot = Depot::create_in(Arc::clone(&storage), Raw, options).unwrap();
        writer_of(&depot, |writer| writer.segment_room = 1000);
        let name = |n: u32| format!("{n:03}").repeat(40);
        let mut expected = Vec::new();
        for round in 0..3u32 {
            for n in 0..50 {
                // Every round replaces and removes some of the ones before.
                let n = n + 40 * round;
                depot.put_with(name(n), &(n + round).to_le_bytes(), &n.into()).unwrap();
                expected.retain(|&(old, _)| old != n);
                expected.push((n, n + round));
            }
            assert!(depot.remove(name(round)).unwrap());
            expected.retain(|&(old, _)| old != round);
            depot.commit().unwrap();
            assert!(depot.info().unwrap().index_segments > 4, "{:?}", depot.info());
            let reader = Depot::open_in(Arc::clone(&storage), Raw, &OpenOptions::default()).unwrap();
            for depot in [&depot, &reader] {
                assert_eq!(depot.len(), expected.len() as u64);
                for (position, &(n, value)) in expected.iter().enumerate() {
                    assert_eq!(depot.get(name(n)).unwrap().view(), value.to_le_bytes());
                    assert_eq!(depot.key_at(position as u64).unwrap().as_str(), Some(&*name(n)));
                    assert_eq!(depot.metadata(name(n)).unwrap(), Some(n.into()));
                }
            }
        }
        depot.close().unwrap();
        let reader = Depot::open_in(storage, Raw, &OpenOptions::default()).unwrap();
        assert_eq!((reader.len(), reader.info().unwrap().index_segments), (expected.len() as u64, 1));
    }
}

//! The writer: the open chunk, and the chunks on their way to the file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::append::Append;
use super::last_name::LastName;
use super::shared::Shared;
use crate::catalog::{Found, MAX_PENDING};
use crate::chunk::{Apart, ChunkAt, Job, OpenChunk, Pool, Sealed, Shape};
use crate::error::{ErrorKind, Result};
use crate::format::apart::BlockSizes;
use crate::format::chunk::{EncodedEntry, encode_log};
use crate::format::entry::Kind;
use crate::format::tables::{Action, Attributes, Losses};
use crate::index::{Location, SEGMENT_ROOM, hash};
use crate::log::Tail;
use crate::options::{CommitEvery, Layout, WriteOptions};
use crate::planes::{Coder, Span};
use crate::statistics::{Tallied, Tally};

/// The most raw bytes in the pool, unless one chunk has more.
const POOL_BYTES: usize = 64 << 20;

/// Blocks of records whose fields are stored apart, unless the layout says otherwise.
const BLOCK: BlockSizes = BlockSizes { full: 1 << 10, part: 64 << 10 };
/// A byte plane that loses less than this part of its bytes is stored as it is: its codes would cost more
/// time than they gain room. See `docs/explanation/design.md`.
const LEAST_GAIN: f64 = 0.2;

/// A record to be put.
pub(crate) struct NewRecord<'b> {
    /// The tagged name.
    pub(crate) name: &'b [u8],
    pub(crate) bytes: &'b [u8],
    pub(crate) checksum: u32,
    pub(crate) attributes: Attributes<'b>,
    pub(crate) told: Told<'b>,
    /// Whether it is an error if there is a record with that name.
    pub(crate) only_new: bool,
}

/// What a codec says of a record.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told<'b> {
    /// Statistics of its fields, if they are known.
    pub(crate) tally: Option<&'b Tally>,
    /// Where its fields lie, in order.
    pub(crate) spans: &'b [Span],
}

/// How much was put since the last commit, and when that was.
#[derive(Debug)]
pub(super) struct SinceCommit {
    records: u64,
    bytes: u64,
    time: Instant,
}

impl SinceCommit {
    pub(super) fn nothing() -> Self {
        Self { records: 0, bytes: 0, time: Instant::now() }
    }
}

/// The one writer of a depot.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) layout: Layout,
    commit_every: CommitEvery,
    pub(super) open: OpenChunk,
    /// How the fields of records are stored apart, if they are.
    coder: Option<Arc<Coder>>,
    /// Number of the open chunk.
    pub(super) open_number: u64,
    pub(super) pool: Pool,
    /// Chunks in the pool, oldest first.
    pub(super) in_pool: VecDeque<u64>,
    /// A compressed chunk that could not be written. It is the next to be written.
    pub(super) unwritten: Option<(u64, EncodedEntry)>,
    pub(super) append: Append,
    last_name: LastName,
    pub(super) since: SinceCommit,
    /// MessagePack of the depot's metadata, if changed.
    pub(super) new_metadata: Option<Vec<u8>>,
    /// The table of all losses, if changed.
    pub(super) new_losses: Option<Vec<u8>>,
    /// Offset of the commit before a truncation, if the next commit is one that can be taken back.
    pub(super) undo: Option<u64>,
    /// Number of a commit that cannot be read any more, or 0. Later commits get higher numbers.
    pub(super) taken: u64,
    pub(super) published: bool,
    /// Bytes of names and metadata after which a commit starts another segment.
    pub(super) segment_room: usize,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, write: &WriteOptions, tail: Tail, published: bool) -> Self {
        let layout = shared.parameters.layout();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let n_threads = write.threads.unwrap_or_else(cores);
        let open_number = {
            let state = shared.read();
            state.snapshot.n_chunks + state.pending.chunks.len() as u64
        };
        Self {
            open: OpenChunk::new(layout.chunk_size, layout.stores_apart()),
            coder: layout.stores_apart().then(Arc::default),
            open_number,
            pool: Pool::new(n_threads),
            in_pool: VecDeque::new(),
            unwritten: None,
            append: Append::new(Arc::clone(&shared), tail),
            last_name: LastName::default(),
            since: SinceCommit::nothing(),
            new_metadata: None,
            new_losses: None,
            undo: None,
            taken: 0,
            published,
            segment_room: SEGMENT_ROOM,
            commit_every: write.commit_every,
            layout,
            shared,
        }
    }

    /// Stores a record, and replaces one with the same name.
    ///
    /// An error of writing earlier records is reported before this record is taken in.
    pub(crate) fn put(&mut self, record: &NewRecord<'_>) -> Result<()> {
        self.append.check_alive()?;
        self.write_finished(false)?;
        let hash = hash(record.name);
        let is_last = self.last_name.is_before(record.name, &self.shared);
        let found =
            if is_last { None } else { self.shared.read().find_hashed(hash, record.name, &mut |_| ())? };
        if found.is_some() && record.only_new {
            return Err(ErrorKind::Exists
                .at(self.shared.storage.path())
                .of(crate::key::describe(record.name)));
        }
        let align = self.shared.parameters.align;
        let start = self.place(record.bytes.len(), align);
        let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        let address = self.open_number * self.layout.chunk_size as u64 + start as u64;
        let location = Location { address, length: u64::from(length), checksum: record.checksum, flags: 0 };
        if location.end() > Location::MAX_ADDRESS {
            return Err(ErrorKind::InvalidRecord {
                why: "the depot is full: 2^48 raw bytes are in it; start another one".into(),
            }
            .at(self.shared.storage.path())
            .of(crate::key::describe(record.name)));
        }
        let action = Action::Put { length, checksum: record.checksum };
        self.open.note_operation(record.name, action, record.attributes, start);
        if !record.bytes.is_empty() {
            if self.open.used() == 0 {
                self.shared.write().set_source(self.open_number, ChunkAt::Open);
            }
            let spans = record.told.spans;
            let mut rest = self.open.fill(start, record.bytes, 0, spans);
            // A record that is longer than the room left goes on in the next chunks. They are written
            // meanwhile, because a large record would otherwise be in memory twice. A failed write changes
            // nothing: the chunk waits, the record is taken in whole, and the next call writes or reports.
            let mut writes = true;
            while !rest.is_empty() {
                self.seal(false);
                writes = writes && self.write_finished(false).is_ok();
                self.shared.write().set_source(self.open_number, ChunkAt::Open);
                let from = record.bytes.len() - rest.len();
                rest = self.open.fill(0, rest, from, spans);
            }
        }
        if is_last {
            self.shared.write().insert_last(hash, record.name, &location, record.attributes);
            self.last_name.note(record.name);
        } else {
            let dead = found.as_ref().map(|found| (hash, found));
            self.insert(hash, dead, record.name, &location, record.attributes);
        }
        if let Some(tally) = record.told.tally {
            self.shared.write().pending.tallied.count(tally);
        }
        self.changed(record.bytes.len() + record.name.len() + record.attributes.len());
        Ok(())
    }

    /// Notes a record, and in the same moment that another one is dead, found by the hash of its name.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        dead: Option<(u64, &Found)>,
        name: &[u8],
        location: &Location,
        attributes: Attributes<'_>,
    ) {
        let mut state = self.shared.write();
        if let Some((hash, found)) = dead {
            state.mark_dead(hash, found);
        }
        state.insert(hash, name, location, attributes);
        drop(state);
        self.last_name.note(name);
    }

    /// Counts a change of `bytes` bytes towards the next commit.
    pub(super) fn changed(&mut self, bytes: usize) {
        self.published = false;
        // A commit with other changes besides a truncation cannot be taken back.
        self.undo = None;
        self.since.records += 1;
        self.since.bytes += bytes as u64;
    }

    /// Notes an operation that has no payload.
    fn note_operation(&mut self, name: &[u8], action: Action, attributes: Attributes<'_>) {
        if self.open.is_crowded() {
            self.seal(false);
        }
        self.open.note_operation(name, action, attributes, 0);
    }

    /// Where a record of `length` bytes starts in the open chunk. Opens a new chunk if needed.
    pub(super) fn place(&mut self, length: usize, align: usize) -> usize {
        if let Some(start) = self.open.place(length, align, self.layout.placement) {
            return start;
        }
        self.seal(false);
        self.open.place(length, align, self.layout.placement).unwrap_or(0)
    }

    /// Removes a record. Returns whether there was one.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Result<bool> {
        self.append.check_alive()?;
        let found = self.shared.read().find(name)?;
        let Some(found) = found else { return Ok(false) };
        self.note_operation(name, Action::Remove, Attributes::default());
        self.shared.write().mark_dead(hash(name), &found);
        self.changed(name.len());
        Ok(true)
    }

    /// Gives a record other metadata. Returns whether there is such a record.
    #[cfg(feature = "serde")]
    pub(crate) fn set_metadata(&mut self, name: &[u8], metadata: &[u8]) -> Result<bool> {
        self.append.check_alive()?;
        let hash = hash(name);
        let found = self.shared.read().find_hashed(hash, name, &mut |_| ())?;
        let Some(found) = found else { return Ok(false) };
        let Location { address, length, checksum, .. } = found.location;
        let action = Action::Metadata { address, length, checksum };
        let scalars = self.shared.read().scalars(found.place)?;
        let attributes = Attributes { metadata: Some(metadata), scalars: &scalars };
        self.note_operation(name, action, attributes);
        self.insert(hash, Some((hash, &found)), name, &found.location, attributes);
        self.shared.write().pending.tallied.moved += 1;
        self.changed(name.len() + metadata.len());
        Ok(true)
    }

    /// Gives the record called `from` the name `to`. No record may be called `to`.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.append.check_alive()?;
        let found = self.shared.read().find(from)?;
        let Some(found) = found else { return Ok(()) };
        let attributes = self.shared.read().attributes(found.place)?;
        let attributes = attributes.lend();
        let Location { address, length, checksum, .. } = found.location;
        // The new name comes first. After a crash between the two, both are there, and never none.
        self.note_operation(to, Action::Metadata { address, length, checksum }, attributes);
        self.note_operation(from, Action::Remove, Attributes::default());
        self.insert(hash(to), Some((hash(from), &found)), to, &found.location, attributes);
        self.shared.write().pending.tallied.moved += 1;
        self.changed(from.len() + to.len() + attributes.len());
        Ok(())
    }

    /// Puts a record of an earlier commit at the end of the order, with the place and attributes it had.
    ///
    /// A live record with that name moves there.
    pub(crate) fn restore(
        &mut self,
        name: &[u8],
        location: &Location,
        attributes: Attributes<'_>,
    ) -> Result<()> {
        self.append.check_alive()?;
        let hash = hash(name);
        let found = self.shared.read().find_hashed(hash, name, &mut |_| ())?;
        let Location { address, length, checksum, .. } = *location;
        self.note_operation(name, Action::Metadata { address, length, checksum }, attributes);
        let dead = found.as_ref().map(|found| (hash, found));
        self.insert(hash, dead, name, location, attributes);
        self.shared.write().pending.tallied.moved += 1;
        self.changed(name.len() + attributes.len());
        Ok(())
    }

    /// Replaces the depot's own metadata by this MessagePack map.
    pub(crate) fn set_depot_metadata(&mut self, metadata: Vec<u8>) -> Result<()> {
        self.append.check_alive()?;
        self.new_metadata = Some(metadata);
        self.shared.write().pending.changed = true;
        self.published = false;
        Ok(())
    }

    /// Replaces the note of losses.
    pub(crate) fn set_losses(&mut self, losses: &Losses) -> Result<()> {
        self.append.check_alive()?;
        self.new_losses = Some(losses.encode());
        self.shared.write().pending.changed = true;
        self.published = false;
        Ok(())
    }

    /// Takes over statistics of the records that are put next.
    pub(crate) fn carry_tallied(&mut self, tallied: &Tallied) {
        self.shared.write().pending.tallied.merge(tallied);
    }

    /// Gives the next commits numbers above `taken`.
    pub(crate) fn number_after(&mut self, taken: u64) {
        self.taken = taken;
    }

    /// Lets the next commit be taken back to the commit at `offset`.
    ///
    /// If a record is put or changed before that commit, it cannot be taken back.
    pub(crate) fn set_undo(&mut self, offset: u64) {
        self.undo = Some(offset);
    }

    /// MessagePack of the depot's metadata, if it was set since the last commit.
    #[cfg(feature = "serde")]
    pub(crate) fn new_metadata(&self) -> Option<&[u8]> {
        self.new_metadata.as_deref()
    }

    /// Raw bytes of the open chunk; `None` if chunk `number` is not the open one.
    pub(crate) fn open_bytes(&self, number: u64, start: usize, len: usize) -> Option<&[u8]> {
        (number == self.open_number).then(|| self.open.bytes(start, len)).flatten()
    }

    /// Commits when one of the limits is reached.
    pub(crate) fn commit_if_due(&mut self) -> Result<()> {
        let CommitEvery { records, bytes, interval } = self.commit_every;
        let due = records.is_some_and(|n| self.since.records >= n)
            || self.since.records >= MAX_PENDING
            || bytes.is_some_and(|n| self.since.bytes >= n)
            || interval.is_some_and(|interval| self.since.time.elapsed() >= interval);
        if due { self.commit() } else { Ok(()) }
    }

    /// Hands the open chunk to the pool, and opens the next one. The caller says whether it will wait for the
    /// chunk.
    pub(super) fn seal(&mut self, will_wait: bool) {
        let shape = Shape::of(&self.layout, self.open.mean_record(), self.open.used());
        let next = OpenChunk::new(self.layout.chunk_size, self.coder.is_some());
        let Sealed { raw, used, directory, records } =
            std::mem::replace(&mut self.open, next).seal(shape.compressed);
        // Learnt here, and not by the threads that compress: so the same records make the same file.
        let apart = records.zip(self.coder.as_mut()).map(|(records, coder)| {
            Arc::make_mut(coder).learn(&records.pieces(&raw), LEAST_GAIN);
            let full = self.layout.block_size.unwrap_or(BLOCK.full);
            let sizes = BlockSizes { full, part: self.layout.block_size.unwrap_or(BLOCK.part) };
            Apart { records, coder: Arc::clone(coder), sizes, align: self.shared.parameters.align }
        });
        self.shared.write().set_source(self.open_number, ChunkAt::Sealed(Arc::clone(&raw)));
        self.pool.submit(Job { chunk: self.open_number, raw, used, directory, shape, apart }, will_wait);
        self.in_pool.push_back(self.open_number);
        self.open_number += 1;
    }

    /// Writes compressed chunks in order: those that are ready, or with `all`, every one.
    pub(super) fn write_finished(&mut self, all: bool) -> Result<()> {
        loop {
            if self.unwritten.is_none() {
                let Some(&chunk) = self.in_pool.front() else { return Ok(()) };
                let room = self.pool.room().min((POOL_BYTES / self.layout.chunk_size).max(1));
                let Some(result) = self.pool.take(chunk, all || self.in_pool.len() > room) else {
                    return Ok(());
                };
                let entry = result.map_err(|source| {
                    // Without this chunk, nothing after it can be stored either.
                    self.append.fail(format!("chunk {chunk} could not be compressed"));
                    ErrorKind::Compress { chunk }.at(self.shared.storage.path()).because(source)
                })?;
                self.in_pool.pop_front();
                self.unwritten = Some((chunk, entry));
            }
            if let Some((chunk, mut entry)) = self.unwritten.take() {
                let offset = self.append.tail().offset;
                let bytes = &mut entry.bytes[..entry.written];
                let written = self.append.entry(Kind::Chunk, chunk, bytes, entry.length, entry.body_crc);
                if let Err(error) = written {
                    self.unwritten = Some((chunk, entry));
                    return Err(error);
                }
                if let Some(header) = &entry.header {
                    let reference = entry.prelude.chunk_ref(offset, header);
                    self.shared.write().set_source(chunk, ChunkAt::Stored(reference));
                }
                self.pool.recycle(entry.bytes);
            }
        }
    }

    /// Writes everything that was put so far, without a sync.
    ///
    /// It survives a killed process, but not a power loss.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.append.check_alive()?;
        if self.open.used() > 0 {
            self.seal(true);
        }
        self.write_finished(true)?;
        if !self.open.is_empty() {
            let log = encode_log(self.open.directory()).map_err(|source| {
                ErrorKind::Compress { chunk: self.open_number }.at(self.shared.storage.path()).because(source)
            });
            let ordinal = self.open_number;
            let mut log = log?;
            self.append.entry(Kind::Log, ordinal, &mut log.bytes[..log.written], log.length, log.body_crc)?;
            self.open.forget_directory();
        }
        Ok(())
    }
}

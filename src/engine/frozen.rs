//! Engines that read the records of a depot at one moment.
//!
//! Nothing changes their state any more.

use std::sync::Arc;

use super::Engine;
use super::shared::Shared;
use super::shelf::Shelf;
use crate::catalog::{Member, Snapshot, State};
use crate::chunk::ChunkAt;
use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::EntryHead;
use crate::format::tables::Parameters;
use crate::index::Segment;
use crate::log::Tail;
use crate::options::OpenOptions;
use crate::storage::{Storage, StorageExt};

impl Engine {
    /// An engine that reads records of these chunks by location. It has no index.
    pub(crate) fn over_chunks(
        storage: Arc<dyn Storage>,
        parameters: Parameters,
        chunks: Vec<Option<ChunkRef>>,
    ) -> Self {
        let mut state = State::default();
        for (number, chunk) in (0..).zip(chunks) {
            state.set_source(number, chunk.map_or(ChunkAt::Missing, ChunkAt::Stored));
        }
        Self::assemble(
            Arc::new(Shared::new(storage, parameters, false, state)),
            None,
            Tail::START,
            &OpenOptions::default(),
        )
    }

    /// An engine that reads the records of `snapshot`. `head` is the head of its COMMIT entry.
    pub(crate) fn at_commit(
        storage: Arc<dyn Storage>,
        parameters: Parameters,
        snapshot: Snapshot,
        head: &EntryHead,
    ) -> Self {
        let mut state = State::default();
        state.adopt_snapshot(Arc::new(snapshot));
        Self::assemble(
            Arc::new(Shared::new(storage, parameters, false, state)),
            None,
            Tail::after(head),
            &OpenOptions::default(),
        )
    }

    /// A reader of the depot at this moment. Later changes to the depot do not change it.
    ///
    /// A depot that writes is committed first.
    pub(crate) fn frozen(&self) -> Result<Self> {
        let state = if self.is_writable() {
            let mut writer = self.writer()?;
            writer.commit()?;
            self.shared.read().clone()
        } else {
            self.shared.read().clone()
        };
        Ok(self.reader_of(state))
    }

    /// Like [`frozen`](Self::frozen), but for a frozen engine.
    ///
    /// The new engine shares no lock with this one. A process that was forked while other threads were
    /// reading can go on with it.
    pub(crate) fn reopened(&self) -> Result<Self> {
        let mut state = self.shared.read().clone();
        state.snapshot = self.snapshot_again(&state.snapshot)?;
        Ok(self.reader_of(state))
    }

    /// A reader of all chunks but the open one, and the address up to which it can read.
    ///
    /// It is for reading by location: it does not know which names were put or removed since the last commit.
    /// It shares no lock with this engine.
    pub(crate) fn reader_of_stored(&self) -> Result<(Self, u64)> {
        let (snapshot, chunks) = {
            let state = self.shared.read();
            (Arc::clone(&state.snapshot), state.pending.chunks.clone())
        };
        let stored = chunks.iter().take_while(|source| !matches!(source, ChunkAt::Open)).count();
        let chunk_size = self.shared.parameters.chunk_size as u64;
        let readable = snapshot.n_chunks.saturating_add(stored as u64).saturating_mul(chunk_size);
        let mut state = State { snapshot: self.snapshot_again(&snapshot)?, ..State::default() };
        state.pending.chunks = chunks;
        Ok((self.reader_of(state), readable))
    }

    /// A copy of a snapshot with newly opened segments.
    fn snapshot_again(&self, old: &Snapshot) -> Result<Arc<Snapshot>> {
        let Shared { storage, parameters, mapped, .. } = &*self.shared;
        let segments = if old.members.is_set() {
            let pages = Arc::default();
            let of_member = |member: &Member| {
                let segments = old.segments.get(member.segments.clone()).unwrap_or_default().iter();
                segments
                    .map(|segment| segment.reopened(member.depot_id, *mapped, &pages).map(Arc::new))
                    .collect()
            };
            old.members.list.iter().map(of_member).collect::<Result<Vec<Vec<_>>>>()?.concat()
        } else {
            let references: Vec<_> = old.segments.iter().map(|segment| segment.reference).collect();
            Segment::open_all(storage, &references, parameters.depot_id, *mapped, storage.file_len()?)?
        };
        Ok(Arc::new(Snapshot {
            members: old.members.clone(),
            sequence: old.sequence,
            offset: old.offset,
            segments,
            n_records: old.n_records,
            n_chunks: old.n_chunks,
            raw_bytes: old.raw_bytes,
            metadata: old.metadata,
            undo: old.undo,
            losses: old.losses,
            unknown_to_writers: old.unknown_to_writers.clone(),
            ..Snapshot::default()
        }))
    }

    /// Gives `write` all bytes of the file, with their offsets. A depot that writes is published first.
    pub(crate) fn copy_to(&self, mut write: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        if self.is_set() {
            let why = "a folder of shards is not one file: `vldepot reshard` makes one of it".to_owned();
            return Err(ErrorKind::InvalidOptions { why }.at(self.path()));
        }
        // The writer stays locked, so that the copy is of one moment.
        let writer = if self.is_writable() {
            let mut writer = self.writer()?;
            writer.publish(true)?;
            Some(writer)
        } else {
            None
        };
        let failed = |source| Error::io(self.path(), "read the depot", source);
        let len = self.file_len()?;
        let mut part = vec![0; 1 << 20];
        let mut at = 0;
        while at < len {
            let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(part.len());
            self.shared.storage.read_at(at, &mut part[..n]).map_err(failed)?;
            write(at, &part[..n])?;
            at += n as u64;
        }
        drop(writer);
        Ok(())
    }

    fn reader_of(&self, state: State) -> Self {
        let Shared { storage, parameters, mapped, .. } = &*self.shared;
        let members = &state.snapshot.members;
        let shelf = members.is_set().then(|| Shelf::new(members, parameters, *mapped, 0));
        let shared = Shared::new(Arc::clone(storage), parameters.clone(), *mapped, state);
        let options = OpenOptions { verify: self.verify, ..OpenOptions::default() };
        let mut engine = Self::assemble(Arc::new(shared), None, Tail::START, &options);
        engine.shelf = shelf;
        engine
    }
}

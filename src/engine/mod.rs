//! Finds, reads, appends and commits records, as names and bytes. It knows no codec.
//!
//! ```text
//! open        create, open, append           find         name or position to location
//! frozen      readers of one moment          read         location to checked bytes
//! writer      the open chunk                 batch        many locations together
//! append      entries to the file            read_ahead   batches of an iteration, by threads
//! commit      pending records to the index   listing      all records in order
//! publish     the Blosc2 frame               fallback     names without the index
//! refresh     a reader moves forward         truncate     removing the end of a depot
//! put         checks before writing          undo         taking a truncation back
//! pieces      a long record piece by piece   totals       how much is in a depot
//! long        such a record put              once         records that were checked before
//! wanted      names and places of a batch
//! newer       what later versions wrote      rounds       what many records need, in few calls
//! ordered     names in their order               columns      scalars without the records
//! set         several depots as one              shelf        readers of their chunks
//! last_name   names that are certainly new       wrapped     records that are parts of another file
//! ```
//!
//! `depot`, `maintain` and the loader call the engine. It calls the log, the catalog, chunks and the index,
//! and it never knows a codec or a value.
//!
//! # Locks
//!
//! Locks are taken in this order, which rules out a deadlock:
//!
//! 1. `Engine::writer`: held by a thread that writes, for as long as its call takes.
//! 2. `Engine::tail`: held by a refresh to its end. Only a depot opened for reading uses it. The refresh of a
//!    folder of shards holds `Set::files` too.
//! 3. `Shared::state`: every lookup reads it for a moment. A commit reads it while it writes the index, and
//!    a refresh reads it while it compares. It is written for a moment: by the thread that holds `writer`, or
//!    in a depot opened for reading, by the one that holds `tail`.
//! 4. `Engine::rebuilt`: held while the index is made again, which may take long. The thread that takes it
//!    has often locked `state` for reading.
//! 5. The locks inside the chunk reader, the pool, the index and the storage. A thread that holds one of them
//!    takes none of those above.
//!
//! No thread takes `writer` or `tail` while it holds `state`. No thread takes `state` twice, not even to
//! read it: a thread that waits to write in between would stop both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::catalog::State;
use crate::chunk::ChunkReader;
use crate::error::{ErrorKind, Result};
use crate::format::tables::Parameters;
use crate::log::Tail;
use crate::options::Verify;
use crate::storage::{Storage, StorageExt};
use crate::sync::{self, OwnedByProcess};
use fallback::Rebuilt;
use shared::Shared;
use shelf::Shelf;

mod append;
pub(crate) mod batch;
mod columns;
mod commit;
mod fallback;
mod find;
mod frozen;
mod last_name;
mod listing;
mod long;
mod newer;
mod once;
mod open;
mod ordered;
mod pieces;
mod publish;
mod put;
mod read;
pub(crate) mod read_ahead;
mod refresh;
mod rounds;
#[cfg(feature = "shards")]
mod set;
mod shared;
mod shelf;
mod statistics;
mod totals;
mod truncate;
mod undo;
mod wanted;
pub(crate) mod wrapped;
mod writer;

pub(crate) use batch::read_each;
pub(crate) use find::{Moment, NamesNear};
pub(crate) use listing::{FoundName, ListedRecord, Listing, malformed};
pub(crate) use long::{LONG, LongPut};
pub(crate) use newer::must_carry;
pub(crate) use once::{Known, Seen};
pub(crate) use open::{CodecCheck, CodecSpec};
pub(crate) use ordered::{End, NameRange, Names};
pub(crate) use read::{OpenRecord, in_record};
pub(crate) use refresh::Moved;
pub(crate) use statistics::Span;
pub(crate) use truncate::{Plan, plan_after, remove};
pub(crate) use wanted::Wanted;
pub(crate) use writer::{Told, Writer};

/// A depot below its codec: from names to bytes.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    /// Reads the chunks of the file.
    reader: ChunkReader,
    /// Reads the chunks of all files, if they are several.
    shelf: Option<Shelf>,
    #[cfg(feature = "shards")]
    set: Option<set::files::Set>,
    verify: Verify,
    writer: Option<Mutex<Writer>>,
    /// The process that opened the depot. Only this process may write, and a fork of it may not.
    owner: OwnedByProcess,
    /// The tail of the state that was loaded last, for `refresh`.
    tail: Mutex<Tail>,
    /// The index made again, and the number of its commit. It is made when a damaged page of the index is
    /// first met. The inner `None` means that it could not be made.
    rebuilt: Mutex<Option<(u64, Option<Arc<Rebuilt>>)>>,
}

impl Engine {
    /// The path of the depot in error messages.
    pub(crate) fn path(&self) -> &Path {
        self.shared.storage.path()
    }

    /// The storage that the depot is in.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.shared.storage
    }

    /// The parameters that the depot was made with.
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.shared.parameters
    }

    /// A copy of the current state. Nothing changes the copy.
    pub(crate) fn state(&self) -> State {
        self.shared.read().clone()
    }

    /// The number of live records.
    pub(crate) fn len(&self) -> u64 {
        self.shared.read().len()
    }

    /// Where the newest commit that can be read lies.
    pub(crate) fn commit_offset(&self) -> u64 {
        self.shared.read().snapshot.offset
    }

    /// Its number.
    pub(crate) fn newest_commit(&self) -> u64 {
        self.shared.read().snapshot.sequence
    }

    fn path_buf(&self) -> PathBuf {
        self.path().to_owned()
    }

    /// Locks the writer.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] in a fork of the process that opened the depot, and [`ErrorKind::ReadOnly`]
    /// if the depot has no writer.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        // Asked before the lock is taken. In a fork, the lock may be held by a thread that does not exist
        // there.
        if self.is_writable() && !self.owner.is_here() {
            return Err(ErrorKind::Forked { owner: self.owner.id() }.at(self.path_buf()));
        }
        self.writer_to_look_at()
    }

    /// Locks the writer only to look at what it has in memory. A fork may do this too.
    fn writer_to_look_at(&self) -> Result<MutexGuard<'_, Writer>> {
        match &self.writer {
            Some(writer) => Ok(sync::lock(writer)),
            None => Err(ErrorKind::ReadOnly.at(self.path_buf())),
        }
    }

    /// Where the entry after the newest state goes, in a depot opened for reading.
    pub(crate) fn tail(&self) -> Tail {
        *sync::lock(&self.tail)
    }

    /// Bytes of the file, or of all files of a set.
    pub(crate) fn file_len(&self) -> Result<u64> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        if snapshot.members.is_set() {
            return snapshot.members.list.iter().map(|member| member.storage.file_len()).sum();
        }
        self.shared.storage.file_len()
    }

    /// How many depots are read as one.
    pub(crate) fn n_shards(&self) -> u64 {
        self.shared.read().snapshot.members.list.len() as u64
    }

    /// Whether several depots are read as one.
    pub(crate) fn is_set(&self) -> bool {
        self.shelf.is_some()
    }

    /// The shard that has a chunk, by its number, if this is a set, and the number of the chunk in its file.
    pub(crate) fn in_file(&self, chunk: u64) -> (Option<u64>, u64) {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        (snapshot.members.number_of_chunk(chunk).map(|number| number as u64), self.reader(chunk).1)
    }

    /// The reader of a chunk, and the number of the chunk in its file.
    fn reader(&self, chunk: u64) -> (&ChunkReader, u64) {
        let in_set = self.shelf.as_ref().and_then(|shelf| shelf.reader(chunk));
        in_set.unwrap_or((&self.reader, chunk))
    }

    /// Whether bytes must be read, so that it is worth reading many in one call.
    pub(crate) fn reads_ahead(&self) -> bool {
        self.shared.reads_ahead()
    }

    /// Whether the file is one of another program.
    pub(crate) fn is_foreign(&self) -> bool {
        self.shared.parameters.depot_id == 0
    }

    /// How many live records there are, their raw bytes, and how many of them no commit covers.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let state = self.shared.read();
        (state.len(), state.raw_bytes, state.pending.n_live())
    }

    /// The number of chunks, including those that no commit covers.
    pub(crate) fn n_chunks(&self) -> u64 {
        let state = self.shared.read();
        state.snapshot.n_chunks + state.pending.chunks.len() as u64
    }

    /// Bytes after the last whole entry. They are a torn end, which a reader ignores.
    pub(crate) fn torn_bytes(&self, file_bytes: u64) -> u64 {
        if self.is_writable() || self.is_foreign() || self.is_set() {
            return 0;
        }
        file_bytes.saturating_sub(self.tail().offset)
    }

    /// Whether this depot may write.
    pub(crate) fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    /// The chunk of an address, and the offset in that chunk.
    pub(crate) fn chunk_of(&self, address: u64) -> (u64, usize) {
        let chunk_size = self.shared.parameters.chunk_size as u64;
        (address / chunk_size, usize::try_from(address % chunk_size).unwrap_or(usize::MAX))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // `Depot::close` reports errors. Here they cannot be reported, but committed records are safe. A fork
        // does nothing, because the file and its lock belong to the parent.
        if self.is_writable() && self.owner.is_here() {
            if self.shared.storage.is_durable()
                && let Ok(mut writer) = self.writer()
            {
                let _ = writer.publish(true);
            }
            // A loader may still read from this storage. The next writer need not wait for it.
            let _ = self.shared.storage.unlock();
        }
    }
}

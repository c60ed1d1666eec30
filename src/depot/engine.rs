//! The depot of names and bytes, below any codec.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::fallback::Rebuilt;
use super::open::{self, Header, Loaded, Tail};
use super::state::{Found, LostCommit, Place, Snapshot, Source, State};
use super::writer::{NewRecord, Shared, Writer};
use crate::buffer::{AlignedBuf, Bytes, prefetch};
use crate::chunk::ChunkReader;
use crate::codec::{Codec, Raw};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::chunk::MAX_DIRECTORY;
use crate::format::entry::EntryHead;
use crate::format::frame::{self, HEADER_LEN};
use crate::format::header::{FIRST_ENTRY_AT, write_parameters};
use crate::format::tables::{Loss, Losses, Parameters};
use crate::identity;
use crate::index::{Location, Segment, expect_names};
use crate::key::{MAX_KEY_LEN, TaggedName, describe};
use crate::options::{DepotOptions, Mapping, OpenOptions, Verify};
use crate::storage::Storage;
use crate::vlstore;

/// Bytes of a record's metadata, at most: a chunk's directory holds them uncompressed.
const MAX_METADATA: usize = MAX_DIRECTORY / 4;

/// Names looked up under one lock.
const NAMES_AT_ONCE: usize = 256;

/// What a codec says of itself.
pub(crate) struct CodecInfo {
    pub(crate) id: &'static str,
    pub(crate) version: u32,
    pub(crate) parameters: Vec<u8>,
    pub(crate) align: usize,
    pub(crate) element_size: usize,
}

/// Records longer than this are looked at before memory is taken for them.
const FREE_ZEROS: usize = 1 << 20;

/// Names to bytes.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: ChunkReader,
    verify: Verify,
    writer: Option<Mutex<Writer>>,
    /// The process that opened the depot: the only one that may write, and a fork of it may not.
    owner: u32,
    /// What was loaded last, for `refresh`.
    pub(super) tail: Mutex<Tail>,
    /// The index made again, and of which commit; made when a damaged page of the index is first met.
    rebuilt: Mutex<Option<(u64, Option<Arc<Rebuilt>>)>>,
}

impl Engine {
    /// A new depot in an empty storage.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        options: DepotOptions,
        codec: CodecInfo,
        mapping: Mapping,
    ) -> Result<Self> {
        let options = options.with_typesize_for(codec.element_size);
        options.validate()?;
        if !codec.align.is_power_of_two() || codec.align > 64 || codec.id.len() > 64 {
            let why =
                format!("codec `{}`: ALIGN must be a power of two up to 64, ID at most 64 bytes", codec.id);
            return Err(Error::invalid_options(why));
        }
        let parameters = Parameters {
            format_version: crate::format::FORMAT_VERSION,
            depot_id: identity::depot_id(),
            codec_id: codec.id.to_owned(),
            codec_version: codec.version,
            codec_parameters: codec.parameters,
            chunk_size: options.chunk_size,
            block_size: options.block_size,
            compression: options.compression,
            placement: options.placement,
            align: codec.align.max(16),
            vlstore: options.vlstore_compatible,
            created: identity::now(),
        };
        Self::create_with(storage, parameters, options, mapping)
    }

    /// A new depot in an empty storage, laid out and described like another one.
    pub(crate) fn create_like(storage: Arc<dyn Storage>, parameters: &Parameters) -> Result<Self> {
        let parameters = Parameters { depot_id: identity::depot_id(), ..parameters.clone() };
        let options = parameters.options();
        Self::create_with(storage, parameters, options, Mapping::Never)
    }

    fn create_with(
        storage: Arc<dyn Storage>,
        parameters: Parameters,
        options: DepotOptions,
        mapping: Mapping,
    ) -> Result<Self> {
        if !storage.is_empty().map_err(|source| io_error(&storage, "ask for the length", source))? {
            return Err(ErrorKind::PathExists.at(storage.path()));
        }
        lock(&storage)?;
        storage
            .write_at(0, &header_page(&parameters)?)
            .and_then(|()| storage.sync())
            .map_err(|source| io_error(&storage, "write the header", source))?;
        let mapped = mapping == Mapping::Auto;
        let shared = Arc::new(Shared::new(storage, parameters, mapped, State::default()));
        let writer = Writer::new(Arc::clone(&shared), options, Tail::START, true);
        Ok(Self::assemble(shared, Some(writer), Tail::START, &OpenOptions::default()))
    }

    fn assemble(shared: Arc<Shared>, writer: Option<Writer>, tail: Tail, options: &OpenOptions) -> Self {
        let Shared { storage, parameters, mapped, .. } = &*shared;
        let foreign = parameters.depot_id == 0;
        let reader = ChunkReader::new(Arc::clone(storage), parameters.chunk_size, *mapped, foreign)
            .with_cache(options.cache_bytes);
        let (verify, owner) = (options.verify, std::process::id());
        Self {
            shared,
            reader,
            verify,
            writer: writer.map(Mutex::new),
            owner,
            tail: Mutex::new(tail),
            rebuilt: Mutex::default(),
        }
    }

    /// An existing depot, or a vlstore file, for reading.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        options: &OpenOptions,
        codec: &CodecCheck<'_>,
    ) -> Result<Self> {
        let mapped = options.mapping == Mapping::Auto;
        match open::read_header(&storage)? {
            Header::Depot(parameters) => {
                codec.check(&storage, &parameters)?;
                let Loaded { parameters, state, tail, .. } = open::load(&storage, parameters, mapped)?;
                if !options.accept_loss
                    && let Some(error) = incomplete(&storage, &state)
                {
                    return Err(error);
                }
                let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
                Ok(Self::assemble(shared, None, tail, options))
            }
            Header::Foreign => {
                let (parameters, state) = vlstore::import(&storage, codec.info.id, codec.info.align)?;
                let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
                Ok(Self::assemble(shared, None, Tail::START, options))
            }
        }
    }

    /// As [`open`](Self::open), whatever codec wrote it, and by positioned reads.
    pub(crate) fn open_any(storage: Arc<dyn Storage>, accept_loss: bool) -> Result<Self> {
        let info = CodecInfo {
            id: Raw::ID,
            version: Raw::VERSION,
            parameters: Vec::new(),
            align: Raw::ALIGN,
            element_size: 1,
        };
        let check = CodecCheck { any: true, info: &info, check_parameters: &|_| Ok(()) };
        let options = OpenOptions { mapping: Mapping::Never, accept_loss, ..OpenOptions::default() };
        Self::open(storage, &options, &check)
    }

    /// Reads records of these chunks, by number; there is no index.
    pub(crate) fn over_chunks(
        storage: Arc<dyn Storage>,
        parameters: Parameters,
        chunks: Vec<Option<ChunkRef>>,
    ) -> Self {
        let mut state = State::default();
        for (number, chunk) in (0..).zip(chunks) {
            state.set_source(number, chunk.map_or(Source::Missing, Source::Stored));
        }
        Self::assemble(
            Arc::new(Shared::new(storage, parameters, false, state)),
            None,
            Tail::START,
            &OpenOptions::default(),
        )
    }

    /// Reads the index of `snapshot`, the commit whose entry `head` heads.
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

    /// An existing depot, for writing.
    pub(crate) fn append(
        storage: Arc<dyn Storage>,
        options: &OpenOptions,
        codec: &CodecCheck<'_>,
    ) -> Result<Self> {
        lock(&storage)?;
        let mapped = options.mapping == Mapping::Auto;
        let Header::Depot(parameters) = open::read_header(&storage)? else {
            let found = "a Blosc2 frame of another program, which may be read and not written";
            return Err(ErrorKind::NotADepot { found: found.into() }.at(storage.path()));
        };
        codec.check(&storage, &parameters)?;
        let Loaded { parameters, state, tail, published, header_lost } =
            open::load(&storage, parameters, mapped)?;
        let len = storage.len().map_err(|source| io_error(&storage, "ask for the length", source))?;
        let lost = state.lost;
        if len > tail.offset && lost.is_some() {
            refuse_to_cut(&storage, &parameters, tail)?;
        }
        if !options.accept_loss
            && let Some(error) = incomplete(&storage, &state)
        {
            return Err(error);
        }
        // What a commit that cannot be read said of the depot itself lies in the end that is cut off.
        let notes = open::notes_after(&storage, &parameters, &state.snapshot, tail, lost.is_some())?;
        if header_lost {
            storage
                .write_at(0, &header_page(&parameters)?)
                .map_err(|source| io_error(&storage, "write the header", source))?;
        }
        if len > tail.offset || header_lost {
            // Durable before anything is appended: a stale entry must not show up behind a new one.
            storage
                .set_len(tail.offset)
                .and_then(|()| storage.sync())
                .map_err(|source| io_error(&storage, "cut off the torn end", source))?;
        }
        let stored = parameters.options();
        let depot_options = DepotOptions {
            commit_every: options.commit_every,
            write_threads: options.write_threads,
            ..stored
        };
        // Commits that cannot be read have had their numbers.
        let taken = state.unread.or(lost).map_or(0, |commit| commit.sequence);
        let needs_commit = state.pending.changed || header_lost || taken > 0;
        let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
        let mut writer = Writer::new(Arc::clone(&shared), depot_options, tail, published && !header_lost);
        writer.number_after(taken);
        let engine = Self::assemble(shared, Some(writer), tail, options);
        if needs_commit {
            let mut writer = engine.writer()?;
            if let Some(metadata) = notes.metadata {
                writer.set_depot_metadata(metadata)?;
            }
            let loss = lost.map(|lost| Loss::of_commit(lost.sequence, lost.offset));
            if loss.is_some() || notes.moved_losses {
                writer.set_losses(&Losses(notes.losses.0.into_iter().chain(loss).collect()))?;
            }
            // What was adopted, or a new header's empty slots, need a commit to point at.
            engine.shared.write().pending.changed = true;
            writer.commit()?;
            let mut state = engine.shared.write();
            (state.unread, state.lost) = (None, None);
        }
        Ok(engine)
    }

    /// What is missing of a file that lost a commit.
    pub(crate) fn incomplete(&self) -> Option<Error> {
        incomplete(&self.shared.storage, &self.shared.read())
    }

    /// A reader of what the depot holds at this moment, which nothing changes any more. What was put so far is
    /// committed first.
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

    /// As [`frozen`](Self::frozen), of a frozen engine: shares no lock with it, so that a process forked while threads of
    /// the other one were reading can go on.
    pub(crate) fn reopened(&self) -> Result<Self> {
        let mut state = self.shared.read().clone();
        state.snapshot = self.snapshot_again(&state.snapshot)?;
        Ok(self.reader_of(state))
    }

    /// As [`frozen`](Self::frozen), of what is not in the writer's hands, and without names: whatever ends at or before the address that
    /// comes with it can be read. Shares no lock, either.
    pub(crate) fn reader_of_stored(&self) -> Result<(Self, u64)> {
        let (snapshot, chunks) = {
            let state = self.shared.read();
            (Arc::clone(&state.snapshot), state.pending.chunks.clone())
        };
        let stored = chunks.iter().take_while(|source| !matches!(source, Source::Open)).count();
        let chunk_size = self.shared.parameters.chunk_size as u64;
        let readable = snapshot.n_chunks.saturating_add(stored as u64).saturating_mul(chunk_size);
        let mut state = State { snapshot: self.snapshot_again(&snapshot)?, ..State::default() };
        state.pending.chunks = chunks;
        Ok((self.reader_of(state), readable))
    }

    /// A snapshot with segments of its own.
    fn snapshot_again(&self, old: &Snapshot) -> Result<Arc<Snapshot>> {
        let Shared { storage, parameters, mapped, .. } = &*self.shared;
        let pages = Arc::default();
        let open = |segment: &Arc<Segment>| {
            let segment = Segment::open(storage, segment.reference, parameters.depot_id, *mapped)?;
            Ok(Arc::new(segment.sharing(&pages)))
        };
        let segments = old.segments.iter().map(open).collect::<Result<_>>()?;
        Ok(Arc::new(Snapshot {
            sequence: old.sequence,
            offset: old.offset,
            segments,
            n_records: old.n_records,
            n_chunks: old.n_chunks,
            raw_bytes: old.raw_bytes,
            metadata: old.metadata,
            undo: old.undo,
            losses: old.losses,
            ..Snapshot::default()
        }))
    }

    fn reader_of(&self, state: State) -> Self {
        let Shared { storage, parameters, mapped, .. } = &*self.shared;
        let shared = Shared::new(Arc::clone(storage), parameters.clone(), *mapped, state);
        let options = OpenOptions { verify: self.verify, ..OpenOptions::default() };
        Self::assemble(Arc::new(shared), None, Tail::START, &options)
    }

    /// What error messages call the depot.
    pub(crate) fn path(&self) -> &Path {
        self.shared.storage.path()
    }

    fn path_buf(&self) -> PathBuf {
        self.path().to_owned()
    }

    /// The writer, if the depot has one and this process is the one that opened it.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        // Asked before the lock is taken, which in a fork a thread may hold that is not there.
        if self.is_writable() && std::process::id() != self.owner {
            return Err(ErrorKind::Forked { owner: self.owner }.at(self.path_buf()));
        }
        self.writer_to_look_at()
    }

    /// The writer, for what it has in memory, which a fork may read as well.
    fn writer_to_look_at(&self) -> Result<MutexGuard<'_, Writer>> {
        match &self.writer {
            Some(writer) => Ok(writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)),
            None => Err(ErrorKind::ReadOnly.at(self.path_buf())),
        }
    }

    /// Where the entry behind the newest state goes, for a depot that is read.
    pub(crate) fn tail(&self) -> Tail {
        *self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A file of another program.
    pub(crate) fn is_foreign(&self) -> bool {
        self.shared.parameters.depot_id == 0
    }

    /// Live records, their raw bytes, and how many of them no commit covers.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let state = self.shared.read();
        (state.len(), state.raw_bytes, state.pending.n_live())
    }

    /// Chunks, those without a commit included.
    pub(crate) fn n_chunks(&self) -> u64 {
        let state = self.shared.read();
        state.snapshot.n_chunks + state.pending.chunks.len() as u64
    }

    /// Bytes behind the last whole entry: a torn end that a reader ignores.
    pub(crate) fn torn_bytes(&self, file_bytes: u64) -> u64 {
        if self.is_writable() || self.is_foreign() {
            return 0;
        }
        file_bytes.saturating_sub(self.tail().offset)
    }

    /// Whether this depot may write.
    pub(crate) fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    /// Stores encoded bytes.
    pub(crate) fn put(
        &self,
        name: &[u8],
        bytes: &[u8],
        metadata: Option<&[u8]>,
        only_new: bool,
    ) -> Result<()> {
        // One byte of a tagged name is the tag.
        if name.len() > 1 + MAX_KEY_LEN {
            let why = format!("a name of {} bytes; at most {MAX_KEY_LEN} fit", name.len() - 1);
            return Err(self.refused(name, why));
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err(
                self.refused(name, format!("{} bytes; a record has at most {}", bytes.len(), u32::MAX))
            );
        }
        if let Some(metadata) = metadata {
            self.check_metadata(name, metadata)?;
        }
        let checksum = crc32c::crc32c(bytes);
        let mut writer = self.writer()?;
        writer.put(&NewRecord { name, bytes, checksum, metadata, only_new }).map_err(
            |source| match source.kind() {
                ErrorKind::InvalidRecord { .. } | ErrorKind::Exists | ErrorKind::Poisoned { .. } => source,
                _ => ErrorKind::NotStored.at(self.path_buf()).of(describe(name)).because(source),
            },
        )?;
        writer.commit_if_due()
    }

    fn refused(&self, name: &[u8], why: String) -> Error {
        ErrorKind::InvalidRecord { why }.at(self.path_buf()).of(describe(name))
    }

    /// Refuses metadata that the directory of a chunk has no room for.
    pub(crate) fn check_metadata(&self, name: &[u8], metadata: &[u8]) -> Result<()> {
        if metadata.len() <= MAX_METADATA {
            return Ok(());
        }
        let why = format!("metadata of {} bytes; at most {MAX_METADATA} fit", metadata.len());
        Err(self.refused(name, why))
    }

    /// The live record of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found>> {
        self.shared.read().find(name)
    }

    /// The index of `snapshot` made again, where it failed with `error`; that error where this cannot be
    /// done.
    pub(crate) fn rebuilt(&self, snapshot: &Snapshot, error: Error) -> Result<Arc<Rebuilt>> {
        if !error.is_damage() || self.is_foreign() {
            return Err(error);
        }
        let mut rebuilt = self.rebuilt.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((sequence, rebuilt)) = &*rebuilt
            && *sequence == snapshot.sequence
        {
            return rebuilt.clone().ok_or(error);
        }
        let Shared { storage, parameters, .. } = &*self.shared;
        let made = Rebuilt::new(storage, parameters, snapshot).map(Arc::new);
        *rebuilt = Some((snapshot.sequence, made.clone()));
        made.ok_or(error)
    }

    /// The place of the record of that name, if there is one: by the index, or without it.
    pub(crate) fn place_of(&self, name: &[u8]) -> Result<Option<Location>> {
        let state = self.shared.read();
        match state.find(name) {
            Ok(found) => Ok(found.map(|found| found.location)),
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                Ok(rebuilt.find(name, &state.pending.killed).map(|number| rebuilt.location(number)))
            }
        }
    }

    /// As [`place_of`](Self::place_of), or the error that says there is none.
    pub(crate) fn location(&self, name: &[u8]) -> Result<Location> {
        self.place_of(name)?.ok_or_else(|| self.not_found(&self.shared.read(), name))
    }

    /// Whether there is a record of that name.
    pub(crate) fn contains(&self, name: &[u8]) -> Result<bool> {
        if self.place_of(name)?.is_some() {
            return Ok(true);
        }
        let error = self.not_found(&self.shared.read(), name);
        if matches!(error.kind(), ErrorKind::NotFound) { Ok(false) } else { Err(error) }
    }

    /// Why there is no record of that name.
    fn not_found(&self, state: &State, name: &[u8]) -> Error {
        let path = self.path_buf();
        if let Some(LostCommit { sequence, offset }) = state.lost {
            return ErrorKind::LostCommit { commit: sequence, offset }.at(path).of(describe(name));
        }
        match self.losses_of(&state.snapshot) {
            Ok(losses) => losses
                .0
                .iter()
                .rev()
                .find(|loss| loss.unnamed || loss.names.iter().any(|lost| lost == name))
                .map_or(ErrorKind::NotFound.at(path.clone()).of(describe(name)), |loss| {
                    ErrorKind::LostEarlier { how: loss.to_string() }.at(path).of(describe(name))
                }),
            Err(error) => error,
        }
    }

    /// What the depot has lost, and whoever went on with it knew.
    pub(crate) fn losses(&self) -> Result<Losses> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        self.losses_of(&snapshot)
    }

    fn losses_of(&self, snapshot: &Snapshot) -> Result<Losses> {
        let (offset, length) = snapshot.losses;
        if length == 0 {
            return Ok(Losses::default());
        }
        let scanner = open::Scanner::new(&self.shared.storage, false)?;
        scanner.losses(offset, self.shared.parameters.depot_id)
    }

    /// Locations of the records of these names.
    pub(crate) fn locations<'n>(&self, names: &'n [TaggedName]) -> Result<Vec<(&'n [u8], Location)>> {
        let mut out = Vec::with_capacity(names.len());
        // One look at the state for many names, but not so many that a writer waits long.
        for names in names.chunks(NAMES_AT_ONCE) {
            let state = self.shared.read();
            expect_names(&state.snapshot.segments, names.iter().map(|name| &**name));
            let mut failed = None;
            for name in names {
                match state.find(name) {
                    Ok(Some(found)) => out.push((&**name, found.location)),
                    Ok(None) => return Err(self.not_found(&state, name)),
                    Err(_) => {
                        failed.get_or_insert(out.len());
                        out.push((&**name, Location::default()));
                    }
                }
            }
            drop(state);
            // Where the index is damaged, one by one.
            for (name, location) in failed.map(|first| &mut out[first..]).into_iter().flatten() {
                *location = self.location(name)?;
            }
        }
        Ok(out)
    }

    /// What `by_index` says of the record at a position, or where the index is damaged, `by_directories` of
    /// its number there.
    fn at<T>(
        &self,
        position: u64,
        by_index: impl FnOnce(&State, Place) -> Result<T>,
        by_directories: impl FnOnce(&Rebuilt, usize) -> T,
    ) -> Result<T> {
        let state = self.shared.read();
        let out_of_range = || ErrorKind::OutOfRange { position, len: state.len() }.at(self.path_buf());
        let error = match state.at(position) {
            Ok(place) => match by_index(&state, place.ok_or_else(out_of_range)?) {
                Err(error) => error,
                found => return found,
            },
            Err(error) => error,
        };
        let rebuilt = self.rebuilt(&state.snapshot, error)?;
        let number = rebuilt.nth(position, &state.pending.killed).ok_or_else(out_of_range)?;
        Ok(by_directories(&rebuilt, number))
    }

    /// Where the record at a position lies. Looks at no name.
    pub(crate) fn location_at(&self, position: u64) -> Result<Location> {
        self.at(position, State::location, Rebuilt::location)
    }

    /// The tagged name of the record at a position.
    pub(crate) fn name_at(&self, position: u64) -> Result<Vec<u8>> {
        self.at(position, State::name, |rebuilt, number| rebuilt.name(number).to_vec())
    }

    /// The position of the record of that name, or the error that says there is none.
    pub(crate) fn position_of(&self, name: &[u8]) -> Result<u64> {
        let state = self.shared.read();
        let by_index = || {
            let Some(Found { place, .. }) = state.find(name)? else { return Ok(None) };
            // Those that are pending come after all committed ones, whichever of these are dead.
            let dead = if matches!(place, Place::Pending(_)) { Cow::default() } else { state.dead()? };
            Ok(Some(state.position(place, &dead)))
        };
        let position = match by_index() {
            Ok(position) => position,
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                rebuilt
                    .find(name, &state.pending.killed)
                    .map(|number| rebuilt.position(number, &state.pending.killed))
            }
        };
        position.ok_or_else(|| self.not_found(&state, name))
    }

    /// Says which record an error befell, the one at `position`, if its name can be had.
    pub(crate) fn in_record_at(&self, position: u64, source: Error) -> Error {
        match self.name_at(position) {
            Ok(name) => self.in_record(&name, source),
            Err(_) => source.of(format!("at position {position}")),
        }
    }

    /// Where chunk `chunk` is.
    pub(crate) fn source(&self, chunk: u64) -> Result<Source> {
        let state = self.shared.read();
        match state.source(chunk) {
            Ok(Some(Source::Missing) | None) => Err(self.no_chunk(chunk)),
            Ok(Some(source)) => Ok(source),
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                rebuilt.chunk(chunk).map(Source::Stored).ok_or_else(|| self.no_chunk(chunk))
            }
        }
    }

    fn no_chunk(&self, chunk: u64) -> Error {
        Error::damaged(self.path_buf(), Part::Index, 0, format!("a chunk {chunk}"), "no such chunk")
    }

    /// The chunk and the offset in it that an address means.
    pub(crate) fn chunk_of(&self, address: u64) -> (u64, usize) {
        let chunk_size = self.shared.parameters.chunk_size as u64;
        (address / chunk_size, usize::try_from(address % chunk_size).unwrap_or(usize::MAX))
    }

    /// Raw bytes of one chunk, wherever it is.
    pub(super) fn chunk_bytes(&self, chunk: u64, start: usize, len: usize) -> Result<Bytes> {
        loop {
            match self.source(chunk)? {
                Source::Stored(reference) => return self.reader.bytes(chunk, &reference, start..start + len),
                Source::Sealed(raw) => return Ok(Bytes::from_heap(raw, start..start + len)),
                Source::Missing => return Err(self.no_chunk(chunk)),
                // The chunk may be sealed while we wait for the writer: then it is looked for again.
                Source::Open => {
                    if let Some(bytes) = self.writer_to_look_at()?.open_bytes(chunk, start, len) {
                        return Ok(Bytes::copy_of(bytes));
                    }
                }
            }
        }
    }

    /// The record called `name`, checked: what `found` and `read` do, with one look at the state.
    pub(crate) fn get(&self, name: &[u8]) -> Result<Bytes> {
        let state = self.shared.read();
        let mut lent = None;
        let found = state.find_guessing(name, &mut |location| lent = self.lend(&state, location));
        let Ok(found) = found else {
            drop(state);
            return self.read_called(name, &self.location(name)?);
        };
        let Some(Found { location, place }) = found else {
            return Err(self.not_found(&state, name));
        };
        if let Some((_, bytes)) = lent.filter(|(guessed, _)| *guessed == location) {
            let sequence = state.snapshot.sequence;
            let ordinal = match place {
                Place::Committed(ordinal) if self.verify == Verify::Once => Some(ordinal),
                _ => None,
            };
            let verified = ordinal.is_some_and(|ordinal| state.snapshot.verified.get(ordinal));
            drop(state);
            if !verified {
                self.check(&location, &bytes).map_err(|source| self.in_record(name, source))?;
                if let Some(ordinal) = ordinal {
                    self.note_verified(ordinal, sequence);
                }
            }
            return Ok(bytes);
        }
        let (chunk, range) = self.range_of(&location);
        let source = state.source(chunk);
        drop(state);
        let Ok(Some(Source::Stored(at))) = source else {
            return self.read_called(name, &location);
        };
        if range.is_empty() || range.end > self.shared.parameters.chunk_size {
            return self.read_called(name, &location);
        }
        let read = self.reader.bytes(chunk, &at, range);
        read.and_then(|bytes| self.check(&location, &bytes).map(|()| bytes))
            .map_err(|source| self.in_record(name, source))
    }

    /// The bytes at a location, not checked, if they can be lent from the storage as they are; they are on their way into
    /// the cache then.
    fn lend(&self, state: &State, location: &Location) -> Option<(Location, Bytes)> {
        let (chunk, range) = self.range_of(location);
        if !self.shared.mapped || range.is_empty() {
            return None;
        }
        match state.source(chunk) {
            Ok(Some(Source::Stored(at))) => {
                let bytes = self.reader.lend(&at, range)?;
                prefetch(&bytes);
                Some((*location, bytes))
            }
            _ => None,
        }
    }

    /// The chunk that a location starts in, and the bytes there, which may end behind it.
    pub(crate) fn range_of(&self, location: &Location) -> (u64, Range<usize>) {
        let (chunk, start) = self.chunk_of(location.address);
        (chunk, start..start + location.length as usize)
    }

    /// Notes that a record of the commit numbered `sequence` is as it was put.
    fn note_verified(&self, ordinal: u64, sequence: u64) {
        let state = self.shared.read();
        if state.snapshot.sequence == sequence {
            state.snapshot.verified.set(ordinal, state.snapshot.n_ordinals());
        }
    }

    /// The record at `location`, checked. No read by location knows a name: whoever has one adds it to the
    /// error.
    pub(crate) fn read(&self, location: &Location) -> Result<Bytes> {
        let bytes = self.read_unchecked(location)?;
        self.check(location, &bytes)?;
        Ok(bytes)
    }

    /// As [`read`](Self::read), of a record whose name is known.
    pub(crate) fn read_called(&self, name: &[u8], location: &Location) -> Result<Bytes> {
        self.read(location).map_err(|source| self.in_record(name, source))
    }

    /// Bytes of a record around `range` of it, as far as the blocks go that this takes, and where in the record they start. The
    /// checksums of these blocks are compared, that of the record is not. `None` where a part is as dear as the whole.
    pub(crate) fn part(&self, location: &Location, range: Range<usize>) -> Result<Option<(usize, Bytes)>> {
        let (chunk, record) = self.range_of(location);
        let chunk_size = self.shared.parameters.chunk_size;
        if record.end > chunk_size || range.is_empty() || range.end > record.len() {
            return Ok(None);
        }
        let Source::Stored(at) = self.source(chunk)? else { return Ok(None) };
        let whole = ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED | ChunkRef::FOREIGN;
        let block = at.block_size as usize;
        if at.is(whole) || block == 0 {
            return Ok(None);
        }
        let start = ((record.start + range.start) / block * block).max(record.start);
        let end = (record.start + range.end).next_multiple_of(block).min(record.end);
        let bytes = self.reader.bytes(chunk, &at, start..end)?;
        Ok(Some((start - record.start, bytes)))
    }

    fn read_unchecked(&self, location: &Location) -> Result<Bytes> {
        let len = location.length as usize;
        if len == 0 {
            return Ok(Bytes::copy_of(&[]));
        }
        if len > FREE_ZEROS {
            self.check_zeros(location)?;
        }
        let (chunk, start) = self.chunk_of(location.address);
        let chunk_size = self.shared.parameters.chunk_size;
        if start + len <= chunk_size {
            return self.chunk_bytes(chunk, start, len);
        }
        // The index may be forged: nothing is allocated before the record's chunks are known to exist.
        let (last, _) = self.chunk_of(location.end() - 1);
        for chunk in [chunk, last] {
            self.source(chunk)?;
        }
        let mut whole = AlignedBuf::any(len);
        let (mut at, mut chunk, mut start) = (0, chunk, start);
        while at < len {
            let n = (chunk_size - start).min(len - at);
            whole[at..at + n].copy_from_slice(&self.chunk_bytes(chunk, start, n)?);
            (at, chunk, start) = (at + n, chunk + 1, 0);
        }
        Ok(Bytes::from_heap(Arc::new(whole), 0..len))
    }

    /// A few bytes of file stand for any number of zeros: the checksum of a record of zeros is compared before memory is taken for it.
    fn check_zeros(&self, location: &Location) -> Result<()> {
        let (first, _) = self.chunk_of(location.address);
        let (last, _) = self.chunk_of(location.end() - 1);
        for chunk in first..=last {
            match self.source(chunk)? {
                Source::Stored(at) if at.is(ChunkRef::ZEROS) => {}
                _ => return Ok(()),
            }
        }
        if location.unchecked {
            return Ok(());
        }
        let zeros = [0; 1 << 12];
        let mut found = 0;
        let mut left = location.length as usize;
        while left > 0 {
            let part = left.min(zeros.len());
            found = crc32c::crc32c_append(found, &zeros[..part]);
            left -= part;
        }
        if found == location.checksum {
            return Ok(());
        }
        Err(ErrorKind::Checksum {
            part: Part::Record { chunk: first },
            offset: self.file_offset(first),
            expected: location.checksum,
            found,
        }
        .at(self.path_buf()))
    }

    /// Compares a record's bytes with its checksum.
    #[inline]
    pub(crate) fn check(&self, location: &Location, bytes: &[u8]) -> Result<()> {
        if location.unchecked {
            return Ok(());
        }
        let found = crc32c::crc32c(bytes);
        if found == location.checksum && bytes.len() == location.length as usize {
            return Ok(());
        }
        Err(self.other_bytes(location, found))
    }

    /// The error of a record whose bytes have the checksum `found`.
    #[cold]
    pub(super) fn other_bytes(&self, location: &Location, found: u32) -> Error {
        let (chunk, _) = self.chunk_of(location.address);
        ErrorKind::Checksum {
            part: Part::Record { chunk },
            offset: self.file_offset(chunk),
            expected: location.checksum,
            found,
        }
        .at(self.path_buf())
    }

    /// Where the entry of a chunk starts in the file; 0 for one not written yet.
    pub(crate) fn file_offset(&self, chunk: u64) -> u64 {
        match self.source(chunk) {
            Ok(Source::Stored(reference)) => reference.offset,
            _ => 0,
        }
    }

    /// Says which record an error befell.
    pub(crate) fn in_record(&self, name: &[u8], source: Error) -> Error {
        source.of(describe(name))
    }

    /// MessagePack metadata of a record.
    pub(crate) fn metadata(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let state = self.shared.read();
        let by_index = || {
            let Some(found) = state.find(name)? else { return Ok(None) };
            state.metadata(found.place).map(Some)
        };
        let metadata = match by_index() {
            Ok(metadata) => metadata,
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                let number = rebuilt.find(name, &state.pending.killed);
                number.map(|number| rebuilt.metadata(number).map(<[u8]>::to_vec))
            }
        };
        metadata.ok_or_else(|| self.not_found(&state, name))
    }

    /// MessagePack of the depot's own metadata.
    pub(crate) fn depot_metadata(&self) -> Result<Option<Vec<u8>>> {
        if self.is_writable()
            && let Some(new) = self.writer_to_look_at()?.new_metadata()
        {
            return Ok(Some(new.to_vec()));
        }
        self.committed_metadata()
    }

    /// MessagePack of the depot's own metadata as of the last commit.
    pub(crate) fn committed_metadata(&self) -> Result<Option<Vec<u8>>> {
        let (offset, length) = self.shared.read().snapshot.metadata;
        if length == 0 {
            return Ok(None);
        }
        open::read_metadata(&self.shared.storage, offset, self.shared.parameters.depot_id).map(Some)
    }
}

fn io_error(storage: &Arc<dyn Storage>, action: &str, source: std::io::Error) -> Error {
    Error::io(storage.path(), action, source)
}

fn lock(storage: &Arc<dyn Storage>) -> Result<()> {
    match storage.try_lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(ErrorKind::Locked.at(storage.path())),
        Err(source) => Err(io_error(storage, "lock the file", source)),
    }
}

/// The error of a file that lost a commit with what it had.
pub(super) fn incomplete(storage: &Arc<dyn Storage>, state: &State) -> Option<Error> {
    let LostCommit { sequence: commit, offset } = state.lost?;
    Some(ErrorKind::Incomplete { commit, offset, records: state.len() }.at(storage.path()))
}

/// A torn end is cut off before anything is appended. Where the header is lost, or names a commit that is not there, the end is
/// not torn but damaged, and what is in it can be saved.
fn refuse_to_cut(storage: &Arc<dyn Storage>, parameters: &Parameters, tail: Tail) -> Result<()> {
    let scanner = open::Scanner::new(storage, false)?;
    let Some(head) = scanner.whole_entry_after(tail, parameters.depot_id)? else { return Ok(()) };
    let expected = "the end, or the entry that belongs here";
    let found = format!(
        "entry {} at byte {}, which appending would cut off: `vldepot repair` saves what is in it",
        head.sequence, head.offset
    );
    Err(scanner.damaged(Part::Entry, tail.offset, expected, found))
}

/// The header of an empty frame with these parameters, up to the first entry.
fn header_page(parameters: &Parameters) -> Result<Vec<u8>> {
    let (mut header, at) =
        frame::write_header(parameters.compression, parameters.chunk_size, parameters.vlstore);
    if !write_parameters(&mut header, at, parameters) {
        let why = format!("codec `{}`: its parameters do not fit into the header", parameters.codec_id);
        return Err(Error::invalid_options(why));
    }
    debug_assert_eq!(header.len(), HEADER_LEN);
    header.extend_from_slice(&frame::trailer(&[], [0; 16]));
    header.resize(usize::try_from(FIRST_ENTRY_AT).unwrap_or(0), 0);
    Ok(header)
}

/// How a depot's codec is compared with the one in hand.
pub(crate) struct CodecCheck<'c> {
    pub(crate) info: &'c CodecInfo,
    pub(crate) check_parameters: &'c dyn Fn(&[u8]) -> Result<(), crate::codec::CodecError>,
    /// Reads anything: bytes.
    pub(crate) any: bool,
}

impl CodecCheck<'_> {
    fn check(&self, storage: &Arc<dyn Storage>, parameters: &Parameters) -> Result<()> {
        if self.any {
            return Ok(());
        }
        let path = || storage.path().to_owned();
        if parameters.codec_id != self.info.id {
            return Err(ErrorKind::WrongCodec {
                stored: parameters.codec_id.clone(),
                given: self.info.id.to_owned(),
            }
            .at(path()));
        }
        let refuse =
            |source| ErrorKind::CodecParameters { codec: self.info.id.to_owned() }.at(path()).because(source);
        if parameters.codec_version > self.info.version {
            return Err(refuse(crate::codec::CodecError::Parameter {
                parameter: "version".into(),
                stored: parameters.codec_version.to_string(),
                given: self.info.version.to_string(),
            }));
        }
        (self.check_parameters)(&parameters.codec_parameters).map_err(refuse)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // `Depot::close` reports errors; here nobody can be told, and what was committed is safe. In a fork `writer` refuses:
        // the file, and its lock, are its parent's.
        if self.is_writable() && self.owner == std::process::id() {
            if self.shared.storage.is_durable()
                && let Ok(mut writer) = self.writer()
            {
                let _ = writer.publish(true);
            }
            // A loader may still read from this storage; the next writer need not wait for it.
            let _ = self.shared.storage.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tables::tests::parameters;
    use crate::storage::MemoryStorage;
    use crate::{Depot, Raw};

    #[test]
    fn a_newer_format_is_refused_by_both_numbers() {
        let newer = Parameters { format_version: 9, codec_id: "raw".into(), ..parameters() };
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&header_page(&newer).unwrap()));
        for opened in [
            Depot::open_in(Arc::clone(&storage), Raw, &OpenOptions::default()),
            Depot::append_in(storage, Raw, &OpenOptions::default()),
        ] {
            let error = opened.map(|_| ()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::NewerFormat { found: 9, supported: 1, .. }), "{error}");
            assert!(error.to_string().contains("update"), "{error}");
        }
    }

    #[test]
    fn parameters_that_do_not_fit_the_header_are_refused() {
        let codec =
            CodecInfo { id: "test", version: 1, parameters: vec![7; 5000], align: 16, element_size: 4 };
        let storage = Arc::new(MemoryStorage::new());
        let made = Engine::create(storage, DepotOptions::default(), codec, Mapping::Auto).map(|_| ());
        assert!(made.unwrap_err().to_string().contains("do not fit"));
    }
}

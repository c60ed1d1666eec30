//! Opens a folder of shards: several depots that are read as one.
//!
//! Each shard is loaded like a depot of its own. Its index segments are then put behind those of the shards
//! before it, with shifted numbers. Records that no commit covers get a segment in memory, so that the
//! records of one shard follow each other. The rest of the engine reads the whole like the index of one file.

pub(super) mod files;
mod superseded;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::Engine;
use super::open::{CodecCheck, CodecSpec, incomplete};
use super::refresh::Moved;
use super::shared::Shared;
use super::shelf::Shelf;
use super::wrapped;
use crate::catalog::{MAX_SLOTS, Member, Members, Missing, Snapshot, State, chunks_per_slot};
use crate::chunk::ChunkAt;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::tables::Parameters;
use crate::index::{Chosen, Extras, PageCache, Segment, SegmentPlan, Shift, hash, kills};
use crate::log::{self, Header, Loaded, Tail};
use crate::manifest::{Manifest, Shard, is_set, path_in};
use crate::options::{Mapping, OpenOptions};
use crate::storage::{FileStorage, Storage};
use crate::sync;
use files::{Opened, Set};

/// Stands for all files of a set, where a storage is asked for its name. It has no bytes of its own.
struct Folder(PathBuf);

impl Storage for Folder {
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// The shards are near: nothing has to be read ahead of its time.
    fn is_near(&self) -> bool {
        true
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

/// What a manifest should say.
pub(crate) struct Survey {
    pub(crate) shards: Vec<Shard>,
    /// How many records are superseded, and the names of some of them.
    pub(crate) superseded: u64,
    pub(crate) names: Vec<Vec<u8>>,
}

/// A set as the manifest and the files have it now.
struct Read {
    parameters: Parameters,
    snapshot: Snapshot,
}

/// One shard, loaded alone.
struct LoadedShard {
    slot: u64,
    storage: Arc<dyn Storage>,
    parameters: Parameters,
    snapshot: Arc<Snapshot>,
    segments: Vec<Segment>,
    n_records: u64,
    raw_bytes: u64,
    n_chunks: u64,
    /// Whether there are records that no commit covers.
    is_ahead: bool,
    /// The ordinals in the shard of its superseded records, if they are known.
    superseded: Option<Vec<u64>>,
}

impl Engine {
    /// Opens a folder of shards for reading.
    pub(crate) fn open_set(folder: &Path, options: &OpenOptions, codec: CodecCheck<'_>) -> Result<Self> {
        let mut files = Vec::new();
        let manifest = Manifest::read(folder)?;
        let Read { parameters, snapshot } = read(folder, &manifest, options, &mut files, Some(codec))?;
        let mapped = options.mapping == Mapping::Auto;
        let shelf = Shelf::new(&snapshot.members, &parameters, mapped, options.cache_bytes);
        let mut state = State::default();
        state.adopt_snapshot(Arc::new(snapshot));
        let storage: Arc<dyn Storage> = Arc::new(Folder(folder.to_owned()));
        let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
        let mut engine = Self::assemble(shared, None, Tail::START, options);
        engine.shelf = Some(shelf);
        engine.set =
            Some(Set { folder: folder.to_owned(), options: options.clone(), files: Mutex::new(files) });
        Ok(engine)
    }

    /// Opens a file or a folder of shards, of any codec, for reading.
    pub(crate) fn open_path(path: &Path) -> Result<Self> {
        if is_set(path) {
            return Self::open_set_any(path, &OpenOptions::default());
        }
        let storage = FileStorage::open(path).map_err(|source| Error::io(path, "open the file", source))?;
        Self::open_any(Arc::new(storage), false)
    }

    /// Opens a folder of shards, of any codec, for reading.
    pub(crate) fn open_set_any(folder: &Path, options: &OpenOptions) -> Result<Self> {
        let spec = CodecSpec::of_raw();
        Self::open_set(folder, options, CodecCheck { any: true, spec: &spec, learn: &mut |_| Ok(()) })
    }

    /// The shards in which a name is live, by number, with their paths.
    pub(crate) fn holders(&self, name: &[u8]) -> Result<Vec<(usize, PathBuf)>> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        let mut holders = Vec::new();
        for (number, member) in snapshot.members.list.iter().enumerate() {
            if superseded::live_in(&snapshot, member, hash(name), name)?.is_some() {
                holders.push((number, member.storage.path().to_owned()));
            }
        }
        Ok(holders)
    }

    /// An error for each shard that is missing.
    pub(crate) fn all_missing(&self) -> Vec<Error> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        snapshot.members.missing.iter().map(|missing| missing_shard(self.path(), missing)).collect()
    }

    /// The storages of all shards.
    pub(crate) fn shards(&self) -> Vec<Arc<dyn Storage>> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        snapshot.members.list.iter().map(|member| Arc::clone(&member.storage)).collect()
    }

    /// The names of records that should count as superseded and do not, or the other way round, by going
    /// through all names.
    pub(crate) fn wrongly_superseded(&self) -> Result<Vec<Vec<u8>>> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        let known = &snapshot.members.superseded;
        let found = superseded::find(&snapshot, vec![None; snapshot.members.list.len()])?;
        let differs =
            |a: &[u64], b: &[u64]| a.iter().copied().filter(|n| b.binary_search(n).is_err()).collect();
        let wrong: [Vec<u64>; 2] = [differs(known, &found), differs(&found, known)];
        wrong
            .concat()
            .into_iter()
            .filter_map(|ordinal| snapshot.segment_of(ordinal))
            .map(|(s, n)| s.name(n))
            .collect()
    }

    /// How the shards of the manifest are now, and which of their records are superseded: what the manifest
    /// should say. Shards that cannot be read are an error. Also names up to `examples` superseded records.
    pub(crate) fn survey_set(folder: &Path, manifest: &Manifest, examples: usize) -> Result<Survey> {
        let options = OpenOptions::default();
        let mut files = Vec::new();
        let Read { snapshot, .. } = read(folder, manifest, &options, &mut files, None)?;
        let members = &snapshot.members;
        let shards = manifest.shards.iter().zip(&members.list).map(|(shard, member)| {
            let mut shard = shard.clone();
            let end = member.first_ordinal + n_ordinals(&snapshot.segments[member.segments.clone()]);
            let here = |ordinal: &u64| (member.first_ordinal..end).contains(ordinal);
            let local: Vec<u64> = members
                .superseded
                .iter()
                .copied()
                .filter(here)
                .map(|ordinal| ordinal - member.first_ordinal)
                .collect();
            shard.set_superseded(&local);
            shard.depot = member.depot_id.into();
            shard.data_set = member.data_set;
            shard.commit = member.sequence;
            shard.records = member.n_records;
            shard.raw_bytes = member.raw_bytes;
            shard
        });
        let shards = shards.collect();
        let names = members.superseded.iter().filter_map(|&ordinal| snapshot.segment_of(ordinal));
        let names =
            names.take(examples).map(|(segment, local)| segment.name(local)).collect::<Result<_>>()?;
        Ok(Survey { shards, superseded: members.superseded.len() as u64, names })
    }

    /// Moves a reader of a set forward to what its manifest and its files have now.
    pub(super) fn refresh_set(&self, set: &Set) -> Result<Moved> {
        let mut files = sync::lock(&set.files);
        let manifest = Manifest::read(&set.folder)?;
        let Read { parameters, snapshot } = read(&set.folder, &manifest, &set.options, &mut files, None)?;
        let ours = self.parameters();
        if parameters.data_set != ours.data_set {
            return Err(ErrorKind::Replaced.at(self.path()));
        }
        check_alike(&parameters, ours, self.path())?;
        if let Some(shelf) = &self.shelf {
            shelf.add(&snapshot.members.list);
        }
        let mut state = State::default();
        state.adopt_snapshot(Arc::new(snapshot));
        let before = Arc::clone(&self.shared.read().snapshot);
        if is_same(&before, &state.snapshot) {
            return Ok(Moved::nowhere(before.n_records));
        }
        self.move_to(state)
    }
}

/// Whether both have the same shards, in the same states.
fn is_same(old: &Snapshot, new: &Snapshot) -> bool {
    let state =
        |member: &Member| (member.slot, member.depot_id, member.sequence, member.n_records, member.is_ahead);
    let (ours, theirs) = (&old.members, &new.members);
    ours.list.iter().map(state).eq(theirs.list.iter().map(state))
        && (&ours.superseded, ours.missing.len()) == (&theirs.superseded, theirs.missing.len())
        && old.segments.len() == new.segments.len()
        && old.segments.iter().zip(&new.segments).all(|(old, new)| old.is_same(new))
}

/// Loads all shards of a manifest. `files` are those that are open already.
fn read(
    folder: &Path,
    manifest: &Manifest,
    options: &OpenOptions,
    files: &mut Vec<Opened>,
    mut codec: Option<CodecCheck<'_>>,
) -> Result<Read> {
    let mapped = options.mapping == Mapping::Auto;
    let (mut shards, mut missing): (Vec<LoadedShard>, Vec<Missing>) = Default::default();
    for shard in &manifest.shards {
        let loaded = load(folder, shard, files, mapped);
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) if is_missing(&error) => {
                missing.push(told_missing(folder, shard, &error, options)?);
                continue;
            }
            Err(error) => return Err(error),
        };
        let (storage, slot, Loaded { parameters, state, .. }) = loaded;
        if let Some(codec) = codec.take() {
            codec.check(&storage, &parameters)?;
        }
        if let Some(first) = shards.first() {
            check_alike(&parameters, &first.parameters, storage.path())?;
        }
        if let Some(error) = incomplete(&storage, &state) {
            missing.push(told_missing(folder, shard, &error, options)?);
        }
        shards.push(seal(shard, slot, storage, parameters, state, mapped)?);
    }
    let Some(first) = shards.first() else {
        let found = "a folder of shards, none of which is there".to_owned();
        return Err(ErrorKind::NotADepot { found }.at(folder));
    };
    let mut parameters = first.parameters.clone();
    parameters.data_set = manifest.id;
    parameters.depot_id = u64::try_from(manifest.id & u128::from(u64::MAX)).unwrap_or(1).max(1);
    let snapshot = join(manifest, shards, missing, parameters.chunk_size)?;
    Ok(Read { parameters, snapshot })
}

/// Whether an error means that a shard is not there, or not all of it. Other errors, such as that a file may
/// not be read or is of a later version, say nothing of the kind.
fn is_missing(error: &Error) -> bool {
    let gone = error.io_kind() == Some(io::ErrorKind::NotFound);
    (gone || error.is_damage() || matches!(error.kind(), ErrorKind::NotADepot { .. }))
        && !error.is_unsupported()
}

/// Notes a shard that is missing, or refuses to go on without it.
fn told_missing(folder: &Path, shard: &Shard, error: &Error, options: &OpenOptions) -> Result<Missing> {
    let missing = Missing::new(&shard.path, shard.records, error);
    if options.accept_loss { Ok(missing) } else { Err(missing_shard(folder, &missing)) }
}

/// The error for a shard that is missing.
fn missing_shard(folder: &Path, missing: &Missing) -> Error {
    let Missing { shard, why, records } = missing.clone();
    ErrorKind::MissingShard { shard, records, why }.at(folder)
}

/// Opens the file of a shard, unless it is open, and finds its newest state.
fn load(
    folder: &Path,
    shard: &Shard,
    files: &mut Vec<Opened>,
    mapped: bool,
) -> Result<(Arc<dyn Storage>, u64, Loaded)> {
    let path = shard.path_from(folder);
    let is_open =
        |opened: &Opened| opened.path == shard.path && opened.storage.is_replaced().is_ok_and(|is| !is);
    let slot = if let Some(slot) = files.iter().position(is_open) {
        slot
    } else {
        let storage =
            FileStorage::open(&path).map_err(|source| Error::io(&path, "open the shard", source))?;
        files.push(Opened { path: shard.path.clone(), storage: Arc::new(storage) });
        files.len() - 1
    };
    if slot as u64 >= MAX_SLOTS {
        let why = format!("{MAX_SLOTS} shards are the most; open the folder again");
        return Err(ErrorKind::InvalidOptions { why }.at(path_in(folder)));
    }
    let storage = Arc::clone(&files[slot].storage);
    let (header, page) = log::read_header(&storage)?;
    let Header::Depot(parameters) = header else {
        let found = "a file of another program, which cannot be a shard".to_owned();
        return Err(ErrorKind::NotADepot { found }.at(&path));
    };
    if shard.data_set != 0 && parameters.data_set != shard.data_set {
        let found = format!(
            "another depot than the manifest names: data set {:032x}, not {:032x}",
            parameters.data_set, shard.data_set
        );
        return Err(ErrorKind::NotADepot { found }.at(&path));
    }
    wrapped::refuse(&*storage, &parameters, "cannot be a shard")?;
    let loaded = log::load(&storage, *parameters, page, mapped)?;
    Ok((storage, slot as u64, loaded))
}

/// Refuses a shard that cannot be read as one with the others.
fn check_alike(found: &Parameters, first: &Parameters, path: &Path) -> Result<()> {
    let differs = if found.codec_id != first.codec_id {
        format!("codec `{}`, and the shards before it `{}`", found.codec_id, first.codec_id)
    } else if (found.codec_version, &found.codec_parameters) != (first.codec_version, &first.codec_parameters)
    {
        format!("another version or other parameters of codec `{}` than those before it", first.codec_id)
    } else if found.chunk_size != first.chunk_size {
        format!("chunks of {} bytes, and the shards before it of {}", found.chunk_size, first.chunk_size)
    } else if found.columns != first.columns {
        "other columns than the shards before it".to_owned()
    } else {
        return Ok(());
    };
    let why = format!("the shard has {differs}; `vldepot reshard` makes them alike");
    Err(ErrorKind::InvalidOptions { why }.at(path))
}

/// Puts records that no commit covers into a segment in memory.
fn seal(
    shard: &Shard,
    slot: u64,
    storage: Arc<dyn Storage>,
    parameters: Parameters,
    state: State,
    mapped: bool,
) -> Result<LoadedShard> {
    let (n_records, raw_bytes) = (state.len(), state.raw_bytes);
    let State { snapshot, mut pending, .. } = state;
    let is_known = u128::from(parameters.depot_id) == shard.depot
        && snapshot.sequence == shard.commit
        && !pending.changed;
    let superseded = if is_known { shard.superseded_below(snapshot.n_ordinals()) } else { None };
    let n_chunks = snapshot.n_chunks + pending.chunks.len() as u64;
    let (mut extra, is_ahead) = (None, pending.changed);
    if is_ahead {
        pending.forget_dead();
        let dead: Vec<u64> = pending.tombstones.iter().copied().collect();
        let nowhere = ChunkRef::NOWHERE;
        let chunks = pending.chunks.iter().map(|chunk| match chunk {
            ChunkAt::Stored(at) => *at,
            _ => nowhere,
        });
        let listing = &Chosen::all(pending.records());
        let plan = SegmentPlan {
            first_ordinal: snapshot.n_ordinals(),
            first_chunk: snapshot.n_chunks,
            listing,
            chunks: chunks.collect(),
            kills: kills(&snapshot.segments, &dead),
            extras: Extras {
                filter: parameters.filters,
                order: parameters.order,
                columns: &parameters.columns,
            },
            tallied: pending.tallied_now(),
        };
        extra = Some(Segment::in_memory(plan, parameters.depot_id)?);
    }
    let mut segments = Vec::with_capacity(snapshot.segments.len() + 1);
    for segment in &snapshot.segments {
        segments.push(segment.reopened(parameters.depot_id, mapped, &Arc::default())?);
    }
    segments.extend(extra);
    Ok(LoadedShard {
        slot,
        storage,
        parameters,
        snapshot,
        segments,
        n_records,
        raw_bytes,
        n_chunks,
        is_ahead,
        superseded,
    })
}

/// The ordinals that some segments of one depot have given out.
fn n_ordinals(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| segment.reference.n_records).sum()
}

/// Puts the shards one behind the other.
fn join(
    manifest: &Manifest,
    shards: Vec<LoadedShard>,
    missing: Vec<Missing>,
    chunk_size: usize,
) -> Result<Snapshot> {
    let stride = chunks_per_slot(chunk_size);
    let pages: Arc<PageCache> = Arc::default();
    let mut members = Members { stride, missing, ..Members::default() };
    let mut whole = Snapshot { sequence: manifest.revision, ..Snapshot::default() };
    let mut known = Vec::with_capacity(shards.len());
    let mut first_ordinal = 0;
    for shard in shards {
        let LoadedShard { slot, storage, parameters, snapshot, segments, n_chunks, .. } = shard;
        let LoadedShard { n_records, raw_bytes, is_ahead, superseded, .. } = shard;
        if n_chunks > stride {
            let found = format!("{n_chunks}");
            let expected = format!("at most {stride} chunks");
            return Err(Error::damaged(storage.path(), Part::Index, 0, expected, found));
        }
        let chunks = slot * stride;
        let shift = Shift { ordinals: first_ordinal, chunks, addresses: chunks * chunk_size as u64 };
        let start = whole.segments.len();
        let shifted = segments.into_iter().map(|segment| Arc::new(segment.shifted(shift).sharing(&pages)));
        whole.segments.extend(shifted);
        let end = whole.segments.len();
        let number = members.list.len();
        members.list.push(Member {
            storage,
            depot_id: parameters.depot_id,
            data_set: parameters.data_set,
            sequence: snapshot.sequence,
            offset: snapshot.offset,
            metadata: snapshot.metadata,
            losses: snapshot.losses,
            is_ahead,
            slot,
            segments: start..end,
            n_records,
            raw_bytes,
            first_ordinal,
        });
        let place = usize::try_from(slot).unwrap_or(usize::MAX);
        if members.by_slot.len() <= place {
            members.by_slot.resize(place + 1, None);
        }
        members.by_slot[place] = Some(number);
        known
            .push(superseded.map(|local| local.into_iter().map(|ordinal| first_ordinal + ordinal).collect()));
        first_ordinal += n_ordinals(&whole.segments[start..end]);
        // In forged files, the sums may be anything.
        whole.sequence = whole.sequence.wrapping_add(snapshot.sequence);
        whole.n_records = whole.n_records.saturating_add(n_records);
        whole.n_chunks = whole.n_chunks.saturating_add(n_chunks);
        whole.raw_bytes = whole.raw_bytes.saturating_add(raw_bytes);
    }
    whole.members = members;
    let superseded = superseded::find(&whole, known)?;
    let (records, bytes) = superseded::count(&whole, &superseded)?;
    whole.n_records = whole.n_records.saturating_sub(records);
    whole.raw_bytes = whole.raw_bytes.saturating_sub(bytes);
    whole.members.superseded = superseded;
    Ok(whole)
}

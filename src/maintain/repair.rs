//! Writes all that can be read of a damaged depot to a new one. The damaged file is never changed.
//!
//! ```text
//!   entries found in the file ── CHUNK, LOG ──> directories: name, place, checksum ─┐
//!        (past any damage)                                                           ├─> new depot, and what
//!        is lost
//!   newest state that opens ─── index ───────> names of chunks without directory ───┘
//! ```
//!
//! The directories list what was put, in order. Where several records have the same name, the index
//! decides which of them is live. Where the index cannot tell, the last one is live. If a chunk's
//! directory is lost, the index names its records. Every record either passes its checksum or is lost.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::compact::estimate;
use super::{LostRecord, Meter, Progress};
use crate::blosc::{Compression, DEFAULT_TYPESIZE};
use crate::buffer::Bytes;
use crate::catalog::{RecordId, Snapshot};
use crate::chunk::ChunkAt;
use crate::depot::CodecInfo;
use crate::engine::{Engine, LONG, ListedRecord, Listing, Told, malformed, must_carry};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::FORMAT_VERSION;
use crate::format::chunk::ChunkRef;
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::growth::Features;
use crate::format::tables::{
    Attributes, Directory, Loss, Operation, OwnedAttributes, Parameters, SegmentRef, Shard,
};
use crate::identity;
use crate::index::{Location, Segment};
use crate::key::Key;
use crate::log::{Entry, EntryWalk, FirstStarts, Scanner, Step, replay};
use crate::options::Placement;
use crate::scalar::no_values;
use crate::storage::{FileStorage, StagedFile, Storage, check_another, check_file};

/// Bytes of lost names that the new file notes. If the names take more, the loss is noted without them.
const MAX_NAMES: usize = 64 << 20;

/// How to repair.
///
/// ```
/// use vldepot::maintain::RepairOptions;
/// use vldepot::{CodecInfo, Raw};
/// let options = RepairOptions::default().with_codec(CodecInfo::of(&Raw));
/// assert_eq!(options.codec.unwrap().id, "raw");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct RepairOptions {
    /// The codec to note in the new depot if the damaged file does not tell its own.
    ///
    /// This needs damage to the header page and to all commits. The default, `None`, then notes `raw`.
    pub codec: Option<CodecInfo>,
}

impl RepairOptions {
    /// Sets [`codec`](Self#structfield.codec).
    #[must_use]
    pub fn with_codec(mut self, codec: impl Into<Option<CodecInfo>>) -> Self {
        self.codec = codec.into();
        self
    }
}

/// What was kept, and what was not.
#[derive(Debug)]
#[non_exhaustive]
pub struct RepairReport {
    /// Records in the new depot.
    pub records: u64,
    /// Records that are named somewhere and cannot be read.
    pub lost: Vec<LostRecord>,
    /// All other damage. The records it cost are in `lost`, unless nothing is left that names them. Then
    /// the problem says so.
    pub problems: Vec<Error>,
}

/// Writes what can be read of the depot `from` to a new file `to`, and names what cannot be read.
///
/// `from` is only read. It may be any file: where it is damaged, entries are searched for byte by byte.
/// `to` appears when all is written. It gets the owner, permissions and attributes of `from`: see
/// [`StagedFile`].
///
/// # Errors
/// After an error there is no new file. There is one exception: if only the folder cannot be synced, the new
/// file is in place, and the error says so.
///
/// - [`ErrorKind::NewerFeature`] if a later version wrote something that the new file would lose.
/// - [`ErrorKind::SameFile`] if `to` is the file `from`.
/// - [`ErrorKind::PathExists`] if `to` exists.
/// - [`ErrorKind::NoRoom`] if there is too little room.
/// - [`ErrorKind::NotADepot`] if nothing of a depot is found in `from`.
/// - [`ErrorKind::Io`].
pub fn repair(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: &RepairOptions,
    progress: impl FnMut(Progress),
) -> Result<RepairReport> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let failed = |source| Error::io(from.to_owned(), "open the file", source);
    check_file(from, &fs::metadata(from).map_err(failed)?)?;
    check_another(to, from)?;
    let source = Arc::new(FileStorage::open(from).map_err(failed)?);
    let staged = StagedFile::create_like(to, &source)?;
    let stored = source.stored_len().map_err(failed)?;
    let source: Arc<dyn Storage> = source;
    staged.check_room(room_for(&source).map_err(failed)?.min(stored))?;
    let report = repair_in(source, staged.storage(), options, progress)?;
    staged.publish()?;
    Ok(report)
}

/// Estimates the bytes a repair takes: those of the live records, or else those of the whole file.
fn room_for(source: &Arc<dyn Storage>) -> io::Result<u64> {
    let index = Engine::open_any(Arc::clone(source), true).ok();
    let live = index.filter(|engine| !engine.is_foreign()).and_then(|engine| estimate(&engine).ok());
    live.map_or_else(|| source.len(), Ok)
}

/// Like [`repair`], but for storages of your own. `to` must be empty.
///
/// # Errors
/// The errors of [`repair`].
#[expect(clippy::needless_pass_by_value, reason = "as all that open storages take them")]
pub fn repair_in(
    from: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    options: &RepairOptions,
    mut progress: impl FnMut(Progress),
) -> Result<RepairReport> {
    let scanner = Scanner::new(&from, false)?;
    let index = match Engine::open_any(Arc::clone(&from), true) {
        Ok(engine) => Some(engine).filter(|engine| !engine.is_foreign()),
        Err(error) if error.is_unsupported() => return Err(error),
        Err(_) => None,
    };
    let meter = Meter::new(scanner.file_len.saturating_mul(2), &mut progress);
    let mut found = Found::search(&scanner, index.as_ref())?;
    index.as_ref().map_or(Ok(()), Engine::check_writable)?;
    found.refuse_newer(&scanner)?;
    let parameters = match &index {
        Some(index) => index.parameters().clone(),
        None => found.parameters(&scanner, options)?,
    };
    // A state that opens knows whether it is short. One that is put together from what was found does not.
    let complete = index.as_ref().is_some_and(|index| index.incomplete().is_none());
    let index = found.newer_index(&scanner, &parameters, index.as_ref()).or(index);
    let missing = found.missing(&scanner, index.as_ref(), complete);
    let unnamed = missing.is_some();
    found.problems.extend(missing);
    if parameters.format_version > FORMAT_VERSION {
        let (path, found) = (from.path().to_owned(), parameters.format_version);
        return Err(ErrorKind::NewerFormat { found, supported: FORMAT_VERSION }.at(path));
    }
    let (chunks, damaged) = found.chunks(&scanner, index.as_ref());
    found.problems.extend(damaged);
    let reading = Engine::over_chunks(Arc::clone(&from), parameters.clone(), chunks);
    let target = Engine::create_like(to, &parameters)?;
    let mut rescue = Rescue {
        scanner: &scanner,
        index,
        reading,
        target,
        found,
        lost: BTreeMap::new(),
        first_starts: FirstStarts::default(),
        unnamed,
        meter,
    };
    rescue.run()?;
    rescue.metadata()?;
    rescue.losses()?;
    rescue.others()?;
    rescue.target.writer()?.publish(true)?;
    let Rescue { target, found, lost, meter, .. } = rescue;
    meter.finish();
    Ok(RepairReport {
        records: target.counts().0,
        lost: lost.into_iter().map(|(name, error)| LostRecord::new(&name, error)).collect(),
        problems: found.problems,
    })
}

/// The entries of the depot, in the order they were written.
struct Found {
    depot_id: u64,
    /// CHUNK and LOG entries, by sequence.
    data: BTreeMap<u64, EntryHead>,
    commits: Vec<EntryHead>,
    /// INDEX entries, by the offset they were written at.
    segments: BTreeMap<u64, EntryHead>,
    metadata: Vec<EntryHead>,
    losses: Vec<EntryHead>,
    /// Entries of kinds that this version does not know.
    others: Vec<Entry>,
    /// The offset of the newest commit that the header names.
    slot_at: u64,
    /// The sequence number of that commit.
    slot_sequence: u64,
    problems: Vec<Error>,
}

impl Found {
    fn search(scanner: &Scanner<'_>, index: Option<&Engine>) -> Result<Self> {
        let depot_id = match index {
            Some(index) => index.parameters().depot_id,
            None => likely_depot(scanner)?,
        };
        let slots = scanner.slots(depot_id).unwrap_or_default();
        let mut found = Self {
            depot_id,
            data: BTreeMap::new(),
            commits: Vec::new(),
            segments: BTreeMap::new(),
            metadata: Vec::new(),
            losses: Vec::new(),
            others: Vec::new(),
            slot_at: slots.valid.first().map_or(0, |slot| slot.offset),
            slot_sequence: slots.valid.first().map_or(0, |slot| slot.sequence),
            problems: Vec::new(),
        };
        let tail = index.map_or(u64::MAX, |index| index.tail().offset);
        let mut in_place = BTreeMap::new();
        for step in EntryWalk::new(scanner, Some(depot_id)) {
            let entry = match step? {
                Step::Entry(entry) => entry,
                Step::Gap(gap) if gap.start >= tail && gap.end == scanner.file_len => continue,
                Step::Gap(gap) => {
                    let what = format!("{} bytes of something else", gap.end - gap.start);
                    found.problems.push(scanner.damaged(
                        Part::Entry,
                        gap.start,
                        "the head of an entry",
                        what,
                    ));
                    continue;
                }
            };
            let head = entry.head;
            // The start of an entry is a torn end too.
            if !entry.whole && entry.in_place() && head.offset >= tail && head.offset > found.slot_at {
                continue;
            }
            scanner.check_known(&head)?;
            match head.kind {
                // If there are several copies of an entry, the one at the offset it was written at
                // counts.
                Kind::Chunk | Kind::Log => {
                    let known = in_place.get(&head.sequence).copied();
                    if known.is_none() || (known == Some(false) && entry.in_place()) {
                        in_place.insert(head.sequence, entry.in_place());
                        found.data.insert(head.sequence, head);
                    }
                }
                Kind::Commit => found.commits.push(head),
                Kind::Metadata => found.metadata.push(head),
                Kind::Index => {
                    found.segments.insert(entry.written_at, head);
                }
                Kind::Losses => found.losses.push(head),
                Kind::Frame => {}
                Kind::Other(_) => found.others.push(entry),
            }
        }
        Ok(found)
    }

    /// Refuses a file with something that only a later version knows: what a repair left out would be lost
    /// without a word.
    fn refuse_newer(&self, scanner: &Scanner<'_>) -> Result<()> {
        let newer = |error: Error| if error.is_unsupported() { Err(error) } else { Ok(()) };
        for head in self.data.values() {
            let read = scanner.prelude(head).and_then(|prelude| {
                scanner.directory(head, &prelude).map(drop).or_else(newer)?;
                if head.kind == Kind::Log {
                    return Ok(());
                }
                scanner.check_payload_known(&scanner.chunk_ref(head, &prelude)?)
            });
            read.or_else(newer)?;
        }
        for head in &self.commits {
            scanner.commit(head).and_then(|commit| scanner.check_writable(head, &commit)).or_else(newer)?;
        }
        for head in self.segments.values() {
            let segment = Segment::open_entry(scanner.storage, head, false);
            segment.and_then(|segment| segment.check_no_more()).or_else(newer)?;
        }
        self.losses.iter().try_for_each(|head| scanner.losses_of(head).map(drop).or_else(newer))?;
        self.others.iter().try_for_each(|entry| must_carry(scanner, &entry.head).map(drop))
    }

    /// The index as of the newest commit whose segments were all found. `None` if `index` is as new.
    ///
    /// The segments may lie anywhere in the file.
    fn newer_index(
        &self,
        scanner: &Scanner<'_>,
        parameters: &Parameters,
        index: Option<&Engine>,
    ) -> Option<Engine> {
        let known = index.map_or(0, Engine::newest_commit);
        let mut commits: Vec<_> = self.commits.iter().filter(|head| head.ordinal > known).collect();
        commits.sort_by_key(|head| std::cmp::Reverse(head.ordinal));
        commits.into_iter().find_map(|head| {
            let commit = scanner.commit(head).ok()?;
            let open = |reference: &SegmentRef| {
                let entry = self.segments.get(&reference.offset)?;
                let segment = Segment::open_entry(scanner.storage, entry, false).ok()?;
                let moved = SegmentRef { offset: reference.offset, ..segment.reference };
                (moved == *reference).then(|| Arc::new(segment))
            };
            let segments = commit.segments.iter().map(open).collect::<Option<Vec<_>>>()?;
            let snapshot = Snapshot::new(&commit, head.offset, segments);
            Some(Engine::at_commit(Arc::clone(scanner.storage), parameters.clone(), snapshot, head))
        })
    }

    /// The problem to report if the commit that the header names is not there with all it had.
    ///
    /// Records may then be lost that nothing names. With `complete`, the file opens and nothing is missing: a
    /// commit was passed over, and the entries before it have all it had.
    fn missing(&self, scanner: &Scanner<'_>, index: Option<&Engine>, complete: bool) -> Option<Error> {
        if complete || index.map_or(0, Engine::newest_commit) >= self.slot_sequence {
            return None;
        }
        let expected = format!("commit {} with all it had, which the header names", self.slot_sequence);
        let found = "only a part of it: some records may be lost without a name";
        Some(scanner.damaged(Part::Commit, self.slot_at, expected, found))
    }

    /// Whether a commit covers the entry, or did so before the commit was damaged.
    fn is_committed(&self, head: &EntryHead) -> bool {
        head.offset < self.slot_at || self.commits.iter().any(|commit| commit.sequence > head.sequence)
    }

    /// The parameters of the depot without its header page: from a commit, or guessed from its chunks.
    fn parameters(&self, scanner: &Scanner<'_>, options: &RepairOptions) -> Result<Parameters> {
        let mut commits = self.commits.iter().rev();
        if let Some(commit) = commits.find_map(|head| scanner.commit(head).ok()) {
            return Ok(commit.parameters);
        }
        let mut chunks = self.data.values().filter(|head| head.kind == Kind::Chunk);
        let header = chunks.find_map(|head| scanner.chunk_header(head, &scanner.prelude(head).ok()?).ok());
        let Some(header) = header else {
            let found = "no entry of a depot is in it, or none that is whole".into();
            return Err(ErrorKind::NotADepot { found }.at(scanner.storage.path()));
        };
        let mut chunks = self.data.values().filter(|head| head.kind == Kind::Chunk);
        let is_apart = |head: &EntryHead| scanner.prelude(head).is_ok_and(|p| p.layout == ChunkRef::APART);
        let apart = chunks.any(is_apart);
        let codec = options.codec.clone().unwrap_or(CodecInfo {
            id: "raw".into(),
            version: 1,
            parameters: Vec::new(),
        });
        let parameters = |align| Parameters {
            format_version: FORMAT_VERSION,
            depot_id: self.depot_id,
            codec_id: codec.id.clone(),
            codec_version: codec.version,
            codec_parameters: codec.parameters.clone(),
            chunk_size: header.raw_len,
            block_size: None,
            // The header of a chunk with fields apart does not tell the size of elements.
            compression: Compression {
                typesize: Some(if apart { DEFAULT_TYPESIZE } else { header.typesize }),
                ..Compression::default()
            },
            placement: Placement::NoCross,
            align,
            vlstore: false,
            created: 0,
            features: Features::default(),
            data_set: identity::data_set(),
            shard: Shard::default(),
            filters: true,
            order: true,
            columns: Vec::new(),
            statistics: false,
            apart,
            unknown_field: None,
        };
        // Where records start depends on the alignment. The right alignment is the one with which most
        // records pass their checksums.
        let rights = [16, 32, 64].map(|align| (self.n_right(scanner, &parameters(align)), align));
        let best = rights.into_iter().max_by_key(|&(right, align)| (right, std::cmp::Reverse(align)));
        Ok(parameters(best.map_or(16, |(_, align)| align)))
    }

    /// How many records of the first chunks pass their checksums with these parameters.
    fn n_right(&self, scanner: &Scanner<'_>, parameters: &Parameters) -> usize {
        let (chunks, _) = self.chunks(scanner, None);
        let reading = Engine::over_chunks(Arc::clone(scanner.storage), parameters.clone(), chunks);
        let mut right = 0;
        for head in self.data.values().filter(|head| head.kind == Kind::Chunk).take(3) {
            let Ok(directory) = scanner.prelude(head).and_then(|prelude| scanner.directory(head, &prelude))
            else {
                continue;
            };
            let placed = replay(&directory, head.ordinal, parameters);
            right += placed
                .filter_map(|(_, location, _)| location)
                .filter(|location| reading.read(location).is_ok())
                .count();
        }
        right
    }

    /// Where each chunk lies, by number, and what is damaged. A chunk that was not found lies where the
    /// index says.
    fn chunks(&self, scanner: &Scanner<'_>, index: Option<&Engine>) -> (Vec<Option<ChunkRef>>, Vec<Error>) {
        // The number of a chunk may be forged. The file has no room for more entries than this.
        let most = scanner.file_len / HEAD_LEN as u64;
        let n_index = index.map_or(0, Engine::n_chunks).min(most);
        let mut problems = Vec::new();
        let mut chunks = Vec::new();
        let mut set = |number: u64, reference: ChunkRef| {
            let Some(number) = usize::try_from(number).ok().filter(|_| number < most) else { return };
            if chunks.len() <= number {
                chunks.resize(number + 1, None);
            }
            chunks[number] = Some(reference);
        };
        for number in 0..n_index {
            if let Some(Ok(ChunkAt::Stored(reference))) = index.map(|index| index.source(number)) {
                set(number, reference);
            }
        }
        for head in self.data.values().filter(|head| head.kind == Kind::Chunk) {
            match scanner.prelude(head).and_then(|prelude| scanner.chunk_ref(head, &prelude)) {
                Ok(reference) => set(head.ordinal, reference),
                Err(error) => problems.push(error),
            }
        }
        (chunks, problems)
    }
}

/// The depot that most entries of a file belong to.
fn likely_depot(scanner: &Scanner<'_>) -> Result<u64> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for step in EntryWalk::new(scanner, None) {
        if let Step::Entry(entry) = step? {
            *counts.entry(entry.head.depot_id).or_default() += 1;
        }
    }
    Ok(counts.into_iter().max_by_key(|&(_, count)| count).map_or(0, |(id, _)| id))
}

/// What became of an operation.
enum Fate {
    /// It made the record that is live under its name.
    Live(RecordId),
    /// A later operation replaced its record.
    Void,
    /// The index cannot tell. Later operations will.
    Replay,
}

struct Rescue<'r, 's> {
    scanner: &'r Scanner<'s>,
    /// The newest state that opens.
    index: Option<Engine>,
    /// Reads records from the chunks that were found.
    reading: Engine,
    target: Engine,
    found: Found,
    lost: BTreeMap<Vec<u8>, Error>,
    first_starts: FirstStarts,
    /// Whether records may be lost that nothing names.
    unnamed: bool,
    meter: Meter<'r>,
}

impl Rescue<'_, '_> {
    fn run(&mut self) -> Result<()> {
        let heads: Vec<EntryHead> = self.found.data.values().copied().collect();
        let mut orphans = self.orphans(&heads).into_iter().peekable();
        for head in &heads {
            while let Some((_, records)) = orphans.next_if(|(chunk, _)| *chunk < head.ordinal) {
                self.keep_all(records)?;
            }
            self.meter.add(head.length);
            // `orphans` has already reported a directory that cannot be read.
            let Ok(directory) = self.directory(head) else { continue };
            let parameters = self.reading.parameters().clone();
            for (operation, location, attributes) in replay(&directory, head.ordinal, &parameters) {
                self.operation(head, operation, location, attributes)?;
            }
        }
        orphans.try_for_each(|(_, records)| self.keep_all(records))
    }

    fn directory(&self, head: &EntryHead) -> Result<Directory> {
        let prelude = self.scanner.prelude(head)?;
        self.scanner.directory(head, &prelude)
    }

    /// The records that only the index names, by chunk. Reports directories that are lost.
    fn orphans(&mut self, heads: &[EntryHead]) -> BTreeMap<u64, Vec<ListedRecord>> {
        let n_index = self.index.as_ref().map_or(0, Engine::n_chunks);
        let n_chunks = heads.iter().map(|head| head.ordinal + u64::from(head.kind == Kind::Chunk)).max();
        let n_chunks = n_chunks.unwrap_or(0).max(n_index).min(self.scanner.file_len / HEAD_LEN as u64);
        let mut named = vec![false; usize::try_from(n_chunks).unwrap_or(0)];
        for head in heads {
            let directory = self.directory(head);
            if let Ok(directory) = &directory {
                self.first_starts.note(head.ordinal, directory);
            }
            match directory {
                Ok(_) if head.kind == Kind::Chunk => {
                    if let Some(named) = usize::try_from(head.ordinal).ok().and_then(|n| named.get_mut(n)) {
                        *named = true;
                    }
                }
                Ok(_) => {}
                Err(error) => self.found.problems.push(error),
            }
        }
        let is_named = |chunk: u64| usize::try_from(chunk).ok().and_then(|n| named.get(n)).copied();
        if named.iter().all(|&named| named) {
            return BTreeMap::new();
        }
        let mut orphans: BTreeMap<u64, Vec<ListedRecord>> = BTreeMap::new();
        let mut incomplete = self.index.is_none();
        if let Some(index) = &self.index {
            let mut listed = Listing::new(index).map_err(|error| self.found.problems.push(error)).ok();
            incomplete |= listed.is_none();
            while let Some(listed) = listed.as_mut().and_then(Listing::next) {
                match listed {
                    Ok(ListedRecord { name, location: Ok(location) }) => {
                        let (chunk, _) = index.chunk_of(location.address);
                        if is_named(chunk) == Some(false) {
                            orphans
                                .entry(chunk)
                                .or_default()
                                .push(ListedRecord { name, location: Ok(location) });
                        }
                    }
                    Ok(ListedRecord { location: Err(error), .. }) | Err(error) => {
                        incomplete = true;
                        self.found.problems.push(error);
                    }
                }
            }
        }
        self.unnamed |= incomplete;
        if incomplete {
            for chunk in (0..n_chunks).filter(|&chunk| is_named(chunk) == Some(false)) {
                let found = "none, and the index does not have all of them: some records may be lost without a name, and \
                             some that were removed or replaced may be back";
                let offset = self.reading.file_offset(chunk);
                let error =
                    self.scanner.damaged(Part::Chunk(chunk), offset, "the names of its records", found);
                self.found.problems.push(error);
            }
        }
        orphans
    }

    fn keep_all(&mut self, records: Vec<ListedRecord>) -> Result<()> {
        for ListedRecord { name, location } in records {
            let Ok(location) = location else { continue };
            let attributes = self.index.as_ref().and_then(|index| index.attributes(&name).ok());
            let attributes = attributes.unwrap_or_else(|| {
                let scalars = no_values(self.reading.parameters().columns.len()).to_vec();
                OwnedAttributes { metadata: None, scalars }
            });
            match self.read(&name, &location) {
                Ok(bytes) => self.keep(&name, bytes.as_deref(), &location, attributes.lend())?,
                Err(error) => self.lose(&name, error)?,
            }
        }
        Ok(())
    }

    fn fate(&self, head: &EntryHead, name: &[u8], location: Option<Location>) -> Fate {
        let covered = |index: &&Engine| head.sequence < index.tail().sequence;
        match self.index.as_ref().filter(covered).map(|index| index.find(name)) {
            Some(Ok(Some(found))) if Some(found.location) == location => Fate::Live(found.place),
            Some(Ok(_)) => Fate::Void,
            Some(Err(_)) | None => Fate::Replay,
        }
    }

    fn operation(
        &mut self,
        head: &EntryHead,
        operation: &Operation,
        location: Option<Location>,
        attributes: Attributes<'_>,
    ) -> Result<()> {
        let name = &operation.name;
        let fate = self.fate(head, name, location);
        let mut attributes = attributes.to_owned();
        let live = match (&fate, &self.index) {
            (Fate::Void, _) => return Ok(()),
            (Fate::Live(place), Some(index)) => {
                // Later operations may have given the record other metadata.
                attributes = index.attributes_at(*place).unwrap_or(attributes);
                true
            }
            _ => false,
        };
        if !live
            && location
                .is_some_and(|location| self.first_starts.cut_short(&location, self.reading.parameters()))
        {
            return Ok(());
        }
        let Some(location) = location else {
            self.target.writer()?.remove(name)?;
            self.lost.remove(name);
            return Ok(());
        };
        match self.read(name, &location) {
            Ok(bytes) => self.keep(name, bytes.as_deref(), &location, attributes.lend()),
            Err(error) if live || self.found.is_committed(head) => self.lose(name, error),
            // The writer was never told that this record is stored, so the record before it stays. Without
            // its last chunks it is what a killed writer leaves, and no damage.
            Err(error) => {
                if self.reading.chunk_of(location.end().saturating_sub(1)).0 < self.reading.n_chunks() {
                    self.found.problems.push(error);
                }
                Ok(())
            }
        }
    }

    /// Reads the record's bytes, and checks them. Those of a long record are checked only.
    fn read(&self, name: &[u8], location: &Location) -> Result<Option<Bytes>> {
        if !Key::is_tagged(name) {
            return Err(malformed(self.reading.path(), name));
        }
        if location.length > LONG {
            return self.reading.check_by_pieces(name, location, &mut |_| Ok(())).map(|()| None);
        }
        self.reading.read_called(name, location).map(Some)
    }

    /// Stores a record in the new depot. Without bytes, they are read piece by piece.
    fn keep(
        &mut self,
        name: &[u8],
        bytes: Option<&[u8]>,
        location: &Location,
        attributes: Attributes<'_>,
    ) -> Result<()> {
        self.lost.remove(name);
        match bytes {
            Some(bytes) => {
                let spans = self.reading.field_spans(location);
                let told = Told { spans: &spans, ..Told::default() };
                self.target.put_told(name, bytes, attributes, told, false)
            }
            None => self.target.copy_long(name, attributes, (&self.reading, name, location)),
        }
    }

    /// A record of this name existed and is lost. An older one must not be taken for it.
    fn lose(&mut self, name: &[u8], error: Error) -> Result<()> {
        self.target.writer()?.remove(name)?;
        self.lost.insert(name.to_vec(), error);
        Ok(())
    }

    /// Takes over the entries of later versions.
    fn others(&mut self) -> Result<()> {
        for entry in &self.found.others {
            match self.scanner.check_other(&entry.head) {
                Ok(()) => self.target.writer()?.carry(self.scanner, &entry.head)?,
                Err(error) => self.found.problems.push(error),
            }
        }
        Ok(())
    }

    /// Notes in the new depot what is lost, and what was lost before.
    fn losses(&mut self) -> Result<()> {
        let newest = self.found.losses.iter().rev();
        let mut before = newest.map(|head| self.scanner.losses_of(head));
        let mut losses = before.find_map(Result::ok).unwrap_or_default();
        if !self.lost.is_empty() || self.unnamed {
            let len: usize = self.lost.keys().map(Vec::len).sum();
            let few = len <= MAX_NAMES;
            let names = if few { self.lost.keys().cloned().collect() } else { Vec::new() };
            losses.0.push(Loss::of_repair(names, self.unnamed || !few));
        }
        if losses.0.is_empty() { Ok(()) } else { self.target.writer()?.set_losses(&losses) }
    }

    /// Takes over the depot's own metadata: the newest that can be read.
    fn metadata(&mut self) -> Result<()> {
        let newest = self.found.metadata.iter().rev();
        let Some(head) = newest.clone().next() else { return Ok(()) };
        match self.scanner.body(head) {
            Ok(body) => self.target.writer()?.set_depot_metadata(body),
            Err(error) => {
                self.found.problems.push(error);
                let older = newest.skip(1).find_map(|head| self.scanner.body(head).ok());
                older.map_or(Ok(()), |body| self.target.writer()?.set_depot_metadata(body))
            }
        }
    }
}

//! Checks a file: every checksum, the index against the directories of the chunks, the Blosc2 frame.
//!
//! 1. It walks over all entries, and checks their order, their heads, and what each checksum covers. It
//!    compares the directory of every chunk with the index: a record named in a directory must be found
//!    in the index by that name and at that place, or be superseded.
//! 2. It reads all records by the index, and looks each up by its name.
//!
//! If either the index or a directory is damaged, the other still knows the record, which is then
//! reported by name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Describe, LostRecord, Meter, Progress, can_be_described};
use crate::blosc::decompress_metadata;
use crate::buffer::Bytes;
use crate::catalog::RecordId;
use crate::checksum::{crc32c, crc32c_append};
use crate::chunk::ChunkReader;
use crate::codec::Codec;
use crate::depot::Depot;
use crate::depot::Said;
use crate::engine::{Engine, LONG, ListedRecord, Listing, in_record, read_each};
use crate::error::{Error, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::frame::{self, HEADER_LEN};
use crate::format::tables::{LossKind, Zone};
use crate::index::{Location, Segment};
use crate::le::u64_at;
use crate::log::{Entry, EntryWalk, FirstStarts, Scanner, Step, goes_on, replay};
use crate::statistics::Tally;
use crate::storage::Storage;

/// Raw bytes and records that are read together.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_RECORDS: usize = 1024;
/// How far sums may differ that were added up in another order, as a part of the largest value.
const TOLERANCE: f64 = 1e-9;
/// The most padding between the end of a FRAME entry's body and the next entry.
const MAX_PADDING: usize = HEAD_LEN - 1;

/// What to check.
///
/// ```
/// use vldepot::maintain::VerifyOptions;
/// assert!(VerifyOptions::default().with_quick(true).quick);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Leave out the data. Heads, directories, index, commits and the frame are checked, but no chunk is
    /// read.
    ///
    /// A file that passes a quick check may still hold damaged records.
    pub quick: bool,
}

impl VerifyOptions {
    /// Sets [`quick`](Self#structfield.quick).
    #[must_use]
    pub fn with_quick(mut self, quick: bool) -> Self {
        self.quick = quick;
        self
    }
}

/// What was checked, and what is damaged.
#[derive(Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The file, or `<memory>`.
    pub path: PathBuf,
    /// Whether the data were left out.
    pub quick: bool,
    /// `depot`, `shards` for a folder of them, `wrapped` for an index over another file, or `vlstore`. A file
    /// of vlstore has no checksums, so wrong bytes can go unnoticed.
    pub format: &'static str,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Entries whose checksums were compared.
    pub entries: u64,
    /// Chunks among the entries. Their stored bytes were read unless `quick`.
    pub chunks: u64,
    /// Index segments among the entries, including superseded ones.
    pub index_segments: u64,
    /// Commits among the entries.
    pub commits: u64,
    /// Entries among them that a later version wrote, and that this version may skip.
    pub unknown_entries: u64,
    /// Live records that were looked up by name.
    pub records: u64,
    /// Records that were read and compared with their checksum.
    pub records_read: u64,
    /// Raw bytes of the records that were read.
    pub bytes_read: u64,
    /// Records after the last commit. A writer is at work, or died.
    pub uncommitted_records: u64,
    /// Bytes after the last whole entry. Readers ignore them. A writer is at work, or died.
    pub torn_bytes: u64,
    /// Whether the file is a standard Blosc2 frame of all its chunks, as closing leaves it.
    pub standard_frame: bool,
    /// What the depot lost earlier, as it notes itself.
    ///
    /// This covers what a repair could not save, and lost commits that a later writer accepted. Lost
    /// commits are among the `problems` too.
    pub losses: Vec<String>,
    /// Records that cannot be read, or cannot be found by their name.
    pub damaged_records: Vec<LostRecord>,
    /// All other damage. Records that it costs are in `damaged_records`, but it need not cost any.
    pub problems: Vec<Error>,
}

impl VerifyReport {
    /// Whether nothing that was checked is damaged.
    pub fn is_whole(&self) -> bool {
        self.damaged_records.is_empty() && self.problems.is_empty()
    }
}

/// Like [`verify`](super::verify), but for a storage of your own.
///
/// # Errors
/// The errors of [`verify`](super::verify).
pub fn verify_in(
    storage: Arc<dyn Storage>,
    options: &VerifyOptions,
    mut progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    verify_storage(storage, *options, None, &mut progress)
}

/// Like [`verify_in`]. What describes the records checks the statistics.
#[expect(clippy::needless_pass_by_value, reason = "as all that open storages take them")]
pub(super) fn verify_storage(
    storage: Arc<dyn Storage>,
    options: VerifyOptions,
    describe: Option<&Describe<'_>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    let engine = Engine::open_any(Arc::clone(&storage), true)?;
    let scanner = Scanner::new(&storage, false)?;
    let (n_records, raw_bytes, uncommitted) = engine.counts();
    let foreign = engine.is_foreign();
    let report = VerifyReport {
        path: storage.path().to_owned(),
        quick: options.quick,
        format: match foreign {
            true if engine.is_wrapped() => "wrapped",
            true => "vlstore",
            false => "depot",
        },
        file_bytes: scanner.file_len,
        entries: 0,
        chunks: 0,
        index_segments: 0,
        commits: 0,
        unknown_entries: 0,
        records: n_records,
        records_read: 0,
        bytes_read: 0,
        uncommitted_records: uncommitted,
        torn_bytes: engine.torn_bytes(scanner.file_len),
        standard_frame: foreign,
        losses: Vec::new(),
        damaged_records: Vec::new(),
        problems: Vec::new(),
    };
    let data = if options.quick { 0 } else { raw_bytes };
    let structure = if foreign { 0 } else { scanner.file_len };
    let meter = Meter::new(structure + data, progress);
    let mut check = Check {
        scanner: &scanner,
        engine: &engine,
        report,
        meter,
        directories: Directories::default(),
        unsupported: None,
        describe,
        tally: Tally::default(),
    };
    if !foreign {
        check.header();
        check.losses();
        check.entries()?;
        check.frame();
    }
    check.zones();
    check.records();
    check.statistics();
    check.compare();
    let Check { report, meter, unsupported, .. } = check;
    if let Some(error) = unsupported {
        return Err(error);
    }
    meter.finish();
    Ok(report)
}

/// Compares what the directories say with what the index says.
#[derive(Default)]
struct Directories {
    /// Whether a directory could not be read.
    incomplete: bool,
    /// A bit for each committed ordinal that a directory names.
    named: Vec<u64>,
    /// Pending records that a directory names.
    named_pending: BTreeSet<usize>,
    /// Names for which the index does not give the place that a directory gives, with the chunk of that
    /// directory and the place. Places of records that go on in other chunks come after the one before them:
    /// they may have been cut short.
    unsettled: HashMap<Vec<u8>, Vec<(u64, Location)>>,
    first_starts: FirstStarts,
    /// Names that the damaged index cannot look up.
    unasked: HashSet<Vec<u8>>,
    /// Names of records that were reported.
    lost: HashSet<Vec<u8>>,
}

impl Directories {
    fn note_named(&mut self, place: RecordId) {
        match place {
            RecordId::Pending(number) => {
                self.named_pending.insert(number);
            }
            RecordId::Committed(ordinal) => {
                let word = usize::try_from(ordinal / 64).unwrap_or(usize::MAX);
                if self.named.len() <= word {
                    self.named.resize(word + 1, 0);
                }
                self.named[word] |= 1 << (ordinal % 64);
            }
        }
    }

    fn n_named(&self) -> u64 {
        let committed: u64 = self.named.iter().map(|word| u64::from(word.count_ones())).sum();
        committed + self.named_pending.len() as u64
    }
}

struct Check<'v, 's> {
    scanner: &'v Scanner<'s>,
    engine: &'v Engine,
    report: VerifyReport,
    meter: Meter<'v>,
    directories: Directories,
    /// The first thing that only a later version can read.
    unsupported: Option<Error>,
    /// `None` also after a record that it could not describe.
    describe: Option<&'v Describe<'v>>,
    /// Of the records that were read.
    tally: Tally,
}

impl Check<'_, '_> {
    /// Notes damage. What only a later version can read is not damaged, and fails the check.
    fn problem(&mut self, error: Error) {
        if error.is_unsupported() {
            self.unsupported.get_or_insert(error);
        } else {
            self.report.problems.push(error);
        }
    }

    fn ok_or_note_problem<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.problem(error)).ok()
    }

    fn damaged(&mut self, part: Part, offset: u64, expected: impl Into<String>, found: impl Into<String>) {
        self.problem(self.scanner.damaged(part, offset, expected, found));
    }

    /// Checks that the header page can be read, and that the commit it names is there.
    fn header(&mut self) {
        let Some(slots) = self.scanner.slots(self.engine.parameters().depot_id) else {
            self.damaged(
                Part::Header,
                0,
                "the header page of this depot",
                "something else; a commit has its content",
            );
            return;
        };
        let newest = self.engine.newest_commit();
        if let Some(slot) = slots.valid.first().filter(|slot| slot.sequence > newest) {
            let found = format!("nothing whole after commit {newest}");
            self.damaged(
                Part::Commit,
                slot.offset,
                format!("commit {}, which the header names", slot.sequence),
                found,
            );
        }
    }

    /// Reports what was lost earlier. A repair has named all it lost. Nobody knows what a lost commit
    /// had.
    fn losses(&mut self) {
        let losses = self.engine.losses();
        for loss in self.ok_or_note_problem(losses).unwrap_or_default().0 {
            if matches!(loss.what, LossKind::Commit { .. }) {
                self.damaged(Part::File, 0, "all that was committed", loss.to_string());
            }
            self.report.losses.push(loss.to_string());
        }
    }

    fn entries(&mut self) -> Result<()> {
        let tail = self.engine.tail();
        let mut next = 1;
        let mut last_end = 0;
        for step in EntryWalk::new(self.scanner, Some(self.engine.parameters().depot_id)) {
            match step? {
                // Bytes that readers ignore are not damaged: a writer has not finished them, and has
                // told nobody that it had.
                Step::Gap(gap) if gap.start >= tail.offset => self.meter.add(gap.end - gap.start),
                Step::Gap(gap) => {
                    self.meter.add(gap.end - gap.start);
                    let found = format!("{} bytes of something else", gap.end - gap.start);
                    self.damaged(Part::Entry, gap.start, "the head of an entry", found);
                }
                Step::Entry(entry) => {
                    let head = entry.head;
                    self.meter.add(head.length);
                    if head.offset >= tail.offset && head.sequence >= tail.sequence {
                        continue;
                    }
                    last_end = head.offset.saturating_add(head.length);
                    if !entry.in_place() || !entry.whole || head.sequence != next {
                        self.misplaced(&entry, next);
                    }
                    next = head.sequence.saturating_add(1);
                    if entry.in_place() && entry.whole {
                        self.entry(&head);
                    }
                }
            }
        }
        if last_end < tail.offset && tail.sequence > next {
            self.damaged(Part::Entry, last_end, format!("{} more entries", tail.sequence - next), "none");
        }
        Ok(())
    }

    fn misplaced(&mut self, entry: &Entry, next: u64) {
        let head = &entry.head;
        let found = if !entry.in_place() {
            format!("entry {}, which was written elsewhere", head.sequence)
        } else if entry.whole {
            format!("entry {}", head.sequence)
        } else {
            format!("entry {}, cut off", head.sequence)
        };
        self.damaged(Part::Entry, head.offset, format!("entry {next}"), found);
    }

    fn entry(&mut self, head: &EntryHead) {
        self.report.entries += 1;
        match head.kind {
            Kind::Chunk | Kind::Log => self.chunk(head),
            Kind::Index => {
                self.report.index_segments += 1;
                let whole = Segment::open_entry(self.scanner.storage, head, false)
                    .and_then(|segment| segment.check_all());
                self.ok_or_note_problem(whole);
            }
            Kind::Commit => {
                self.report.commits += 1;
                let whole = self.scanner.commit(head);
                self.ok_or_note_problem(whole);
            }
            Kind::Metadata | Kind::Losses => {
                let whole = self.scanner.body(head);
                self.ok_or_note_problem(whole);
            }
            Kind::Frame => self.frame_body(head),
            Kind::Other(_) => {
                self.report.unknown_entries += 1;
                let whole = self.scanner.check_known(head).and_then(|()| self.scanner.check_other(head));
                self.ok_or_note_problem(whole);
            }
        }
    }

    fn chunk(&mut self, head: &EntryHead) {
        let prelude = self.scanner.prelude(head);
        let Some(prelude) = self.ok_or_note_problem(prelude) else {
            self.directories.incomplete = true;
            return;
        };
        let directory = self.scanner.directory(head, &prelude);
        if let Some(directory) = self.ok_or_note_problem(directory) {
            let n_columns = self.engine.parameters().columns.len();
            if let Some(n) = directory.n_columns().filter(|&n| n != n_columns) {
                let at = head.offset + prelude.directory_range().start;
                self.damaged(Part::Directory, at, format!("{n_columns} columns of scalars"), n.to_string());
            }
            let end = self.engine.n_chunks().saturating_mul(self.engine.parameters().chunk_size as u64);
            let is_committed = head.offset < self.engine.commit_offset();
            self.directories.first_starts.note(head.ordinal, &directory);
            for (operation, location, _) in replay(&directory, head.ordinal, self.engine.parameters()) {
                // A killed writer leaves a record without its last bytes, which is none.
                if !is_committed && location.is_some_and(|location| location.end() > end) {
                    continue;
                }
                self.operation(&operation.name, location, head.ordinal);
            }
        } else {
            self.directories.incomplete = true;
        }
        if head.kind == Kind::Log {
            return;
        }
        self.report.chunks += 1;
        if !self.report.quick {
            let chunk_size = self.engine.parameters().chunk_size;
            let reader = ChunkReader::new(Arc::clone(self.scanner.storage), chunk_size, false, false);
            let reference = self.scanner.chunk_ref(head, &prelude);
            let whole = reference.and_then(|reference| reader.check_stored(head.ordinal, &reference));
            self.ok_or_note_problem(whole);
        }
    }

    /// Asks the index whether it agrees with an operation of a directory.
    fn operation(&mut self, name: &[u8], location: Option<Location>, chunk: u64) {
        let directories = &mut self.directories;
        match self.engine.find(name) {
            Ok(Some(found)) if Some(found.location) == location => {
                directories.note_named(found.place);
                directories.unsettled.remove(name);
            }
            Ok(_) => match location {
                Some(location) => {
                    let places = directories.unsettled.entry(name.to_vec()).or_default();
                    if !goes_on(&location, self.engine.parameters()) {
                        places.clear();
                    }
                    places.push((chunk, location));
                }
                None => _ = directories.unsettled.remove(name),
            },
            Err(_) if location.is_some() => {
                directories.unasked.insert(name.to_vec());
            }
            Err(_) => {
                directories.unasked.remove(name);
            }
        }
    }

    /// Checks the checksum of a FRAME entry. Nothing marks where its body ends and its padding begins.
    fn frame_body(&mut self, head: &EntryHead) {
        let len = usize::try_from(head.length).unwrap_or(usize::MAX) - HEAD_LEN;
        let at = head.offset + HEAD_LEN as u64;
        let bytes = self.scanner.read(at, len);
        let Some(bytes) = self.ok_or_note_problem(bytes) else { return };
        let (sure, rest) = bytes.split_at(len.saturating_sub(MAX_PADDING));
        let mut found = crc32c(sure);
        let whole = found == head.body_crc
            || rest.iter().any(|&byte| {
                found = crc32c_append(found, &[byte]);
                found == head.body_crc
            });
        if !whole {
            let expected = format!("CRC32C {:#010x} of the Blosc2 offsets and trailer", head.body_crc);
            self.damaged(Part::Frame, at, expected, format!("{found:#010x}"));
        }
    }

    /// Checks that the header, the offsets and the trailer form a frame of the chunks in the index.
    fn frame(&mut self) {
        let (scanner, engine) = (self.scanner, self.engine);
        // A lost header page has been reported already.
        let Ok(bytes) = scanner.read(0, HEADER_LEN) else { return };
        let Ok(header) = frame::parse_header(&bytes) else { return };
        let chunk_size = engine.parameters().chunk_size as u64;
        let n_chunks = header.raw_len / chunk_size;
        if n_chunks == 0 {
            self.report.standard_frame = engine.n_chunks() == 0;
            return;
        }
        let offsets_at = header.chunks_len.saturating_add(HEADER_LEN as u64);
        match self.frame_offsets(&header, offsets_at, n_chunks) {
            Ok(()) => self.report.standard_frame = n_chunks == engine.n_chunks(),
            Err(found) => {
                self.damaged(Part::Frame, offsets_at, "the Blosc2 frame that the header names", found);
            }
        }
    }

    fn frame_offsets(&self, header: &frame::FrameHeader, at: u64, n_chunks: u64) -> Result<(), String> {
        let (scanner, engine) = (self.scanner, self.engine);
        let chunk_size = engine.parameters().chunk_size as u64;
        let frame_len = Some(header.frame_len).filter(|&end| end <= scanner.file_len && at < end);
        let len = frame_len.map(|end| usize::try_from(end - at).unwrap_or(usize::MAX));
        let Some(len) = len.filter(|_| header.raw_len.is_multiple_of(chunk_size)) else {
            return Err(format!("a frame of {} bytes, its offsets at byte {at}", header.frame_len));
        };
        let bytes = scanner.read(at, len).map_err(|error| error.to_string())?;
        let trailer = frame::trailer_len(&bytes).and_then(|len| bytes.len().checked_sub(len));
        let trailer = trailer.filter(|&at| frame::parse_trailer(&bytes[at..]).is_some());
        let Some(trailer_at) = trailer else { return Err("no trailer at the frame's end".into()) };
        let limit = usize::try_from(n_chunks.saturating_mul(8)).unwrap_or(usize::MAX);
        let offsets = decompress_metadata(&bytes[..trailer_at], limit).map_err(|error| error.to_string())?;
        if offsets.len() != limit {
            return Err(format!("{} bytes of offsets for {n_chunks} chunks", offsets.len()));
        }
        for chunk in 0..n_chunks {
            let Ok(crate::chunk::ChunkAt::Stored(reference)) = engine.source(chunk) else { continue };
            let expected = if reference.is(ChunkRef::ZEROS) {
                frame::ZERO_CHUNK_OFFSET
            } else {
                i64::try_from(reference.chunk_offset().saturating_sub(HEADER_LEN as u64)).unwrap_or(i64::MAX)
            };
            let nth = usize::try_from(8 * chunk).unwrap_or(usize::MAX);
            let found = u64_at(&offsets, nth).unwrap_or(0).cast_signed();
            if found != expected {
                return Err(format!("chunk {chunk} at {found}, where the index has it at {expected}"));
            }
        }
        Ok(())
    }

    /// Looks up every name of the index and, unless `quick`, reads its record.
    fn records(&mut self) {
        let listing = Listing::new(self.engine);
        let Some(mut listing) = self.ok_or_note_problem(listing) else { return };
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(listed) = listing.next() {
            match listed {
                Ok(ListedRecord { name, location: Ok(location) }) => {
                    self.look_up(&name, &location);
                    // What is described is read whole.
                    let described = self.describe.is_some() && can_be_described(&location);
                    if location.length > LONG && !described {
                        self.read_long(&name, &location);
                        continue;
                    }
                    bytes += location.in_memory();
                    batch.push((name, location));
                }
                Ok(ListedRecord { name, location: Err(error) }) => self.note_lost_record(&name, error),
                Err(error) => self.problem(error),
            }
            if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                self.read(&batch);
                batch.clear();
                bytes = 0;
            }
        }
        self.read(&batch);
    }

    /// Notes a record that cannot be read. It is noted once, whatever else is wrong with it.
    fn note_lost_record(&mut self, name: &[u8], error: Error) {
        if error.is_unsupported() {
            self.unsupported.get_or_insert(error);
            return;
        }
        if self.directories.lost.insert(name.to_vec()) {
            self.report.damaged_records.push(LostRecord::new(name, error));
        }
    }

    /// Looks up a record as reading does: in the index, or in the directories if the index is damaged.
    fn look_up(&mut self, name: &[u8], location: &Location) {
        match self.engine.location(name) {
            Ok(found) if found == *location => {}
            Ok(found) => {
                let expected = format!("the record at {location:?}");
                let error = self.scanner.damaged(Part::Index, 0, expected, format!("that at {found:?}"));
                self.note_lost_record(name, error);
            }
            Err(error) => self.note_lost_record(name, error),
        }
    }

    fn read(&mut self, batch: &[(Vec<u8>, Location)]) {
        if self.report.quick {
            return;
        }
        let wanted: Vec<_> = batch.iter().map(|(name, location)| (name.as_slice(), *location)).collect();
        let read: Vec<Result<Bytes>> = read_each(self.engine, &wanted).collect();
        for ((name, location), bytes) in batch.iter().zip(read) {
            self.meter.add(location.length);
            match bytes {
                Ok(bytes) => {
                    self.report.records_read += 1;
                    self.report.bytes_read += bytes.len() as u64;
                    if let Some(describe) = self.describe {
                        match describe(&bytes) {
                            Some(Said { tally: Some(tally), .. }) => self.tally.merge(&tally),
                            _ => self.describe = None,
                        }
                    }
                }
                Err(error) => self.note_lost_record(name, in_record(name, error)),
            }
        }
    }

    /// Reads a long record piece by piece.
    fn read_long(&mut self, name: &[u8], location: &Location) {
        if self.report.quick {
            return;
        }
        let read = self.engine.check_by_pieces(name, location, &mut |_| Ok(()));
        self.meter.add(location.length);
        match read {
            Ok(()) => {
                self.report.records_read += 1;
                self.report.bytes_read += location.length;
            }
            Err(error) => self.note_lost_record(name, error),
        }
    }

    /// Compares what segments say of their columns with the values.
    fn zones(&mut self) {
        let columns = &self.engine.parameters().columns;
        for segment in self.engine.segments() {
            for (zone, (nth, field)) in segment.zones().iter().zip(columns.iter().enumerate()) {
                let mut made = Zone::new(field.kind);
                let whole = segment.column(nth, 0..segment.reference.n_records, &mut |value| {
                    if let Some(bits) = value {
                        made.add(bits);
                    }
                });
                if self.ok_or_note_problem(whole).is_none() {
                    continue;
                }
                let of_values = (made.least != zone.least || made.most != zone.most)
                    .then(|| ("least and largest value of the column".to_owned(), "others".to_owned()));
                let differs = zone.summary.difference(&made.summary, TOLERANCE).or(of_values);
                if let Some((expected, found)) = differs {
                    let offset = segment.reference.offset;
                    self.damaged(Part::Index, offset, format!("column `{}`: {expected}", field.name), found);
                }
            }
        }
    }

    /// Compares the statistics of the index with those of the records that were read.
    fn statistics(&mut self) {
        let (engine, offset) = (self.engine, self.engine.commit_offset());
        let is_complete = self.report.damaged_records.is_empty()
            && self.report.problems.is_empty()
            && self.report.records_read == self.report.records;
        if self.describe.is_none() || self.report.quick || !is_complete {
            return;
        }
        let tallies = engine.tallies(&engine.moment());
        let Some(tallies) = self.ok_or_note_problem(tallies) else { return };
        let differences = if tallies.is_exact() {
            tallies.tally.differences(&self.tally, TOLERANCE)
        } else if tallies.missing == 0 && tallies.consistent {
            tallies.tally.outside(&self.tally)
        } else {
            Vec::new()
        };
        for (field, expected, found) in differences {
            self.damaged(Part::Index, offset, format!("field `{field}`: {expected}"), found);
        }
    }

    /// Compares the directories and the index in the end.
    fn compare(&mut self) {
        let Directories { incomplete, unsettled, unasked, .. } = &mut self.directories;
        let (incomplete, unsettled, unasked) =
            (*incomplete, std::mem::take(unsettled), std::mem::take(unasked));
        for name in unasked {
            // The directories may know what the index cannot tell.
            match self.engine.location(&name) {
                Err(error) if error.is_damage() => self.note_lost_record(&name, error),
                _ => {}
            }
        }
        // If a directory is lost, removals that it noted may be lost too.
        if incomplete || self.engine.is_foreign() {
            return;
        }
        let (first_starts, parameters) =
            (std::mem::take(&mut self.directories.first_starts), self.engine.parameters());
        for (name, places) in unsettled {
            let mut newest = places.into_iter().rev();
            let place = newest.find(|(_, location)| !first_starts.cut_short(location, parameters));
            let Some((chunk, _)) = place else { continue };
            let expected = format!("the record that the directory of chunk {chunk} names");
            let error = self.scanner.damaged(Part::Index, 0, expected, "another one, or none");
            self.note_lost_record(&name, error);
        }
        let (named, live) = (self.directories.n_named(), self.report.records);
        if named < live && self.report.problems.is_empty() {
            self.damaged(Part::Index, 0, format!("{live} records that directories name"), format!("{named}"));
        }
    }
}
/// Checking an open depot.
impl<C: Codec> Depot<C> {
    /// Checks the depot's storage as another process would see it now.
    ///
    /// See [`verify`](crate::maintain::verify).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// use vldepot::maintain::VerifyOptions;
    /// depot.put("a", b"first")?;
    /// depot.commit()?;
    /// assert!(depot.verify(&VerifyOptions::default())?.is_whole());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`verify`](crate::maintain::verify).
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport> {
        verify_in(Arc::clone(self.engine.storage()), options, |_| {})
    }
}

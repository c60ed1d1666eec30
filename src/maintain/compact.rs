//! Rewrites a depot without what was removed and replaced.
//!
//! Its live records are written to a new file, in their order, with the layout and metadata of the old
//! one. Then the new file takes the place of the old one in a single step. If anything interrupts this
//! before that step, the old file stays as it was: see [`StagedFile`].

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{Describe, Meter, Progress, can_be_described};
use crate::blosc::CompressionCodec;
use crate::engine::{Engine, LONG, ListedRecord, Listing, Told, in_record, read_each};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::events::event;
use crate::format::tables::Attributes;
use crate::format::tables::Parameters;
use crate::index::Location;
use crate::log::Scanner;
use crate::options::Layout;
use crate::planes::Span;
use crate::storage::{FileStorage, StagedFile, Storage, check_file};

/// Raw bytes and records that are copied together.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_RECORDS: usize = 1024;

/// How to compact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactOptions {
    /// Compress as this layout does: see [`Layout::recompressed`]. The default, `None`, compresses as before.
    pub compression_of: Option<Layout>,
}

impl CompactOptions {
    /// Sets [`compression_of`](Self#structfield.compression_of).
    #[must_use]
    pub fn with_compression_of(mut self, layout: impl Into<Option<Layout>>) -> Self {
        self.compression_of = layout.into();
        self
    }

    /// The parameters of the new depot.
    fn parameters(&self, old: &Parameters) -> Parameters {
        let mut new = old.clone();
        if let Some(by) = &self.compression_of {
            let layout = old.layout().recompressed(by);
            (new.compression, new.block_size) = (layout.compression, layout.block_size);
            new.apart = layout.fields_apart;
        }
        new
    }

    /// How many bytes the new depot takes, as far as can be told.
    fn estimate(&self, source: &Engine) -> Result<u64> {
        let codec = self.parameters(source.parameters()).compression.codec;
        if codec == CompressionCodec::None && source.parameters().compression.codec != codec {
            let (_, live, _) = source.counts();
            return Ok(live);
        }
        estimate(source)
    }
}

/// The bytes of a record that is copied.
pub(crate) enum Content<'c> {
    /// All of them, and where its fields lie, as far as the source tells.
    Bytes(&'c [u8], &'c [Span]),
    /// They are read piece by piece.
    Long(&'c Engine, &'c Location),
}

impl Content<'_> {
    /// Puts the record to another depot.
    pub(crate) fn put_to(&self, target: &Engine, name: &[u8], attributes: Attributes<'_>) -> Result<()> {
        match self {
            Self::Bytes(bytes, spans) => {
                let told = Told { spans, ..Told::default() };
                target.put_told(name, bytes, attributes, told, false)
            }
            Self::Long(source, location) => target.copy_long(name, attributes, (source, name, location)),
        }
    }
}

/// Takes the name, the bytes and the attributes of a record.
type Job<'j> = dyn FnMut(&[u8], &Content<'_>, Attributes<'_>) -> Result<()> + 'j;

/// What compacting gained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CompactReport {
    /// Live records. All of them are in the new file.
    pub records: u64,
    /// Bytes of the file before.
    pub bytes_before: u64,
    /// Bytes of the file now.
    pub bytes_after: u64,
    /// Other names (hard links) of the old file.
    ///
    /// They still lead to the old file, and its room is not given back while any of them exist.
    pub other_names: u64,
}

/// Rewrites the depot at `path` without what was removed and replaced.
///
/// The holes that commits left go too. Options and metadata stay. Every record keeps its bytes and its
/// place in the order. So do statistics of fields: [`compact_as`](super::compact_as) makes them exact again.
///
/// The new file is written beside the old one, so there must be room for it. Then it takes the old
/// file's place, with its owner, permissions and attributes: see [`StagedFile`], also for links. Readers
/// that have the old file open go on reading it. They see the new file when they open the path again.
///
/// # Errors
/// - [`ErrorKind::Locked`] while a writer has the file open.
/// - [`ErrorKind::NotAFile`] if the path is not a regular file.
/// - [`ErrorKind::NewerFeature`] if a later version wrote something that the new file would lose.
/// - [`ErrorKind::NotCompacted`] if a record cannot be read, the new file cannot be written, there is
///   [no room](ErrorKind::NoRoom) for it, or [another file](ErrorKind::TargetChanged) was put in place
///   of the old one meanwhile.
///
/// After each of these errors nothing was changed. If only the folder cannot be synced, the new file is in
/// place, and the error is [`ErrorKind::Io`].
pub fn compact(path: impl AsRef<Path>, progress: impl FnMut(Progress)) -> Result<CompactReport> {
    compact_with(path, &CompactOptions::default(), progress)
}

/// Like [`compact`], with options: such as to compress in another way.
///
/// ```
/// use vldepot::maintain::{CompactOptions, compact_with};
/// use vldepot::{CompressionCodec, Depot, Layout, Raw};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("run.vld");
/// let depot = Depot::create(&path, Raw)?;
/// depot.put("a", &[7; 1000])?;
/// depot.close()?;
/// let options = CompactOptions::default().with_compression_of(Layout::fast());
/// let report = compact_with(&path, &options, |_| {})?;
/// assert_eq!(report.records, 1);
/// let compression = Depot::open(&path, Raw)?.info()?.layout.compression;
/// assert_eq!(compression.codec, CompressionCodec::Lz4);
/// # Ok::<(), vldepot::Error>(())
/// ```
///
/// # Errors
/// The errors of [`compact`].
pub fn compact_with(
    path: impl AsRef<Path>,
    options: &CompactOptions,
    mut progress: impl FnMut(Progress),
) -> Result<CompactReport> {
    compact_describing(path.as_ref(), options, |_, _| Ok(None), &mut progress)
}

/// Gives what describes the records of a depot.
type Describer<'d> = Box<Describe<'d>>;

/// Like [`compact_with`]. What `describer` gives, for the old depot and the new parameters, makes the
/// statistics anew and says where fields lie.
pub(super) fn compact_describing<'d>(
    given: &Path,
    options: &CompactOptions,
    describer: impl FnOnce(&Engine, &Parameters) -> Result<Option<Describer<'d>>>,
    mut progress: &mut dyn FnMut(Progress),
) -> Result<CompactReport> {
    let (source, old) = open(given)?;
    let describe = describer(&source, &options.parameters(source.parameters()))?;
    let not_compacted = |error: Error| match error.kind() {
        ErrorKind::NotADepot { .. } | ErrorKind::NotAFile { .. } => error,
        // No repair helps, and nothing is damaged.
        _ if error.is_unsupported() => error,
        _ => ErrorKind::NotCompacted.at(given).because(error),
    };
    let stored = old.stored_len().unwrap_or(u64::MAX);
    let staged = StagedFile::in_place_of(given, old).map_err(not_compacted)?;
    let mut room = options.estimate(&source).map_err(not_compacted)?;
    if options.compression_of.is_none() {
        room = room.min(stored);
    }
    staged.check_room(room).map_err(not_compacted)?;
    let (report, staged) =
        write(&source, options, describe.as_deref(), staged, &mut progress).map_err(not_compacted)?;
    staged.settle()?;
    event!(info, "{}: compacted to {} records", given.display(), report.records);
    Ok(report)
}

/// Opens the depot, and locks its file under the path without links.
fn open(given: &Path) -> Result<(Engine, Arc<FileStorage>)> {
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| Error::io(given.to_owned(), action, source)
    };
    // Opening a pipe would wait.
    check_file(given, &fs::metadata(given).map_err(failed("open the file"))?)?;
    let path = fs::canonicalize(given).map_err(failed("open the file"))?;
    let file = Arc::new(FileStorage::open_writable(&path).map_err(failed("open the file for writing"))?);
    if !file.try_lock().map_err(failed("lock the file"))? {
        return Err(ErrorKind::Locked.at(given.to_owned()));
    }
    let storage: Arc<dyn Storage> = Arc::clone(&file) as Arc<dyn Storage>;
    Ok((Engine::open_any(storage, false)?, file))
}

/// Writes the new file and puts it in place.
fn write(
    source: &Engine,
    options: &CompactOptions,
    describe: Option<&Describe<'_>>,
    mut staged: StagedFile,
    progress: &mut dyn FnMut(Progress),
) -> Result<(CompactReport, StagedFile)> {
    // Both locks are held until the new file is in its place.
    let (mut report, target) = copy(source, options, describe, staged.storage(), progress)?;
    drop(target);
    report.other_names = staged.other_names();
    staged.place()?;
    Ok((report, staged))
}

/// Estimates how many bytes a depot of the live records takes: what they take now, by their share of the
/// raw bytes.
pub(super) fn estimate(source: &Engine) -> Result<u64> {
    let len = source.file_len()?;
    let (_, live, _) = source.counts();
    let all = source.n_chunks().saturating_mul(source.parameters().chunk_size as u64);
    let share = u128::from(len) * u128::from(live) / u128::from(all.max(1));
    Ok(u64::try_from(share).unwrap_or(u64::MAX).min(len))
}

/// Writes the live records of the depot in `from` to the empty storage `to`, and closes the new depot.
///
/// The records keep their order, and the layout and metadata stay the same.
///
/// # Errors
/// The first record that cannot be read, or the first error of a write. What is in `to` is then of no
/// use.
pub fn compact_into(
    from: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    mut progress: impl FnMut(Progress),
) -> Result<CompactReport> {
    let source = Engine::open_any(from, false)?;
    copy(&source, &CompactOptions::default(), None, to, &mut progress).map(|(report, _)| report)
}

fn copy(
    source: &Engine,
    options: &CompactOptions,
    describe: Option<&Describe<'_>>,
    to: Arc<dyn Storage>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(CompactReport, Engine)> {
    if source.is_foreign() {
        let found = "a file of another program, which can be read and not rewritten";
        return Err(ErrorKind::NotADepot { found: found.into() }.at(source.path()));
    }
    let len = |engine: &Engine| engine.file_len();
    let (records, raw_bytes, _) = source.counts();
    let mut meter = Meter::new(raw_bytes, progress);
    let carried = source.entries_to_carry()?;
    let target = Engine::create_like(to, &options.parameters(source.parameters()))?;
    let tallies = describe.is_some() && source.parameters().statistics;
    if !tallies && source.parameters().statistics && records > 0 {
        let tallies = source.tallies(&source.moment())?;
        target.writer()?.carry_tallied(&tallies.to_carry());
    }
    each_live(source, &mut meter, &mut |name, content, attributes| {
        let put = |bytes: &[u8], spans: &[Span]| {
            let said = describe.and_then(|describe| describe(bytes)).unwrap_or_default();
            let mut told = said.told();
            if told.spans.is_empty() {
                told.spans = spans;
            }
            target.put_told(name, bytes, attributes, told, false)
        };
        match content {
            Content::Bytes(bytes, spans) => put(bytes, spans),
            // What is described is read whole.
            Content::Long(source, location) if describe.is_some() && can_be_described(location) => {
                put(&source.read(location).map_err(|error| in_record(name, error))?, &[])
            }
            Content::Long(..) => content.put_to(&target, name, attributes),
        }
    })?;
    let scanner = Scanner::new(source.storage(), false)?;
    carried.iter().try_for_each(|head| target.writer()?.carry(&scanner, head))?;
    finish(source, &target)?;
    let (written, ..) = target.counts();
    check_count(source, records, written)?;
    meter.finish();
    let (bytes_before, bytes_after) = (len(source)?, len(&target)?);
    let report = CompactReport { records, bytes_before, bytes_after, other_names: 0 };
    Ok((report, target))
}

/// Gives `job` the name, the bytes and the attributes of each live record, in their order.
pub(crate) fn each_live(source: &Engine, meter: &mut Meter<'_>, job: &mut Job<'_>) -> Result<()> {
    let mut listing = Listing::new(source)?;
    let mut batch: Vec<(Vec<u8>, Location)> = Vec::new();
    let mut bytes = 0;
    loop {
        let listed = listing.next().transpose()?;
        let ended = listed.is_none();
        let mut long = None;
        if let Some(ListedRecord { name, location }) = listed {
            let location = location.map_err(|error| in_record(&name, error))?;
            if location.length > LONG {
                long = Some((name, location));
            } else {
                bytes += location.in_memory();
                batch.push((name, location));
            }
        }
        if ended || long.is_some() || batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            let wanted: Vec<_> = batch.iter().map(|(name, location)| (name.as_slice(), *location)).collect();
            for ((name, location), bytes) in batch.iter().zip(read_each(source, &wanted)) {
                let bytes = bytes.map_err(|error| in_record(name, error))?;
                let spans = source.field_spans(location);
                job(name, &Content::Bytes(&bytes, &spans), source.attributes(name)?.lend())?;
                meter.add(location.length);
            }
            batch.clear();
            bytes = 0;
        }
        if let Some((name, location)) = long {
            job(&name, &Content::Long(source, &location), source.attributes(&name)?.lend())?;
            meter.add(location.length);
        }
        if ended {
            return Ok(());
        }
    }
}

/// The error for a copy that has another number of records than its source counts.
///
/// The index lists another number of records than it counts. The source may hold what the copy lacks.
pub(crate) fn check_count(source: &Engine, records: u64, written: u64) -> Result<()> {
    if written == records {
        return Ok(());
    }
    let (expected, found) = (format!("{records} live records"), format!("{written} of different names"));
    Err(Error::damaged(source.path(), Part::Index, 0, expected, found))
}

/// Takes over the depot's own metadata, and closes the new depot.
fn finish(source: &Engine, target: &Engine) -> Result<()> {
    let mut writer = target.writer()?;
    if let Some(metadata) = source.committed_metadata()? {
        writer.set_depot_metadata(metadata)?;
    }
    let losses = source.losses()?;
    if !losses.0.is_empty() {
        writer.set_losses(&losses)?;
    }
    writer.publish(true)
}

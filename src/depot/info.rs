//! What a depot tells about itself.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::chunk::ChunkAt;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::options::{Compression, Placement};

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct RecordLocation {
    /// Number of the chunk it starts in.
    pub chunk: u64,
    /// Raw bytes from the start of that chunk.
    pub offset: u64,
    /// Raw bytes of the record.
    pub length: u64,
    /// CRC32C of the raw bytes; `None` in files of other programs.
    pub checksum: Option<u32>,
    /// Where the chunk's entry starts in the file; `None` for one not written yet.
    pub file_offset: Option<u64>,
}

impl RecordLocation {
    pub(super) fn new(engine: &Engine, location: &crate::index::Location) -> Self {
        let (chunk, offset) = engine.chunk_of(location.address);
        let file_offset = match engine.source(chunk) {
            Ok(ChunkAt::Stored(reference)) => Some(reference.offset),
            _ => None,
        };
        Self {
            chunk,
            offset: offset as u64,
            length: u64::from(location.length),
            checksum: (!location.unchecked).then_some(location.checksum),
            file_offset,
        }
    }
}

/// The codec a depot was written with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CodecInfo {
    /// [`Codec::ID`](crate::Codec::ID); for a vlstore file, which keeps none, that of the codec in hand.
    pub id: String,
    /// [`Codec::VERSION`](crate::Codec::VERSION).
    pub version: u32,
    /// Bytes of [`Codec::parameters`](crate::Codec::parameters).
    pub parameters: Vec<u8>,
}

impl CodecInfo {
    pub(super) fn new(engine: &Engine) -> Self {
        let parameters = &engine.shared.parameters;
        Self {
            id: parameters.codec_id.clone(),
            version: parameters.codec_version,
            parameters: parameters.codec_parameters.clone(),
        }
    }
}

/// A path that is not UTF-8 is shown with replacement characters, not refused.
fn lossy<S: serde::Serializer>(
    path: &std::path::Path,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// The stored part of a depot's options.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Options {
    /// What Blosc2 does to chunks.
    pub compression: Compression,
    /// Raw bytes of a chunk.
    pub chunk_size: usize,
    /// Raw bytes of a block; `None` when each chunk has its own.
    pub block_size: Option<usize>,
    /// Where records may start and end.
    pub placement: Placement,
    /// Records start at multiples of this many bytes.
    pub align: usize,
    /// Whether publishing writes what vlstore reads.
    pub vlstore_compatible: bool,
}

/// What a depot is, and how much is in it. Serialises to what `vldepot info --json` prints.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DepotInfo {
    /// The file, or `<memory>`.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// `depot`, or `vlstore` for a file of that package.
    pub format: &'static str,
    /// Version of the file format.
    pub format_version: u32,
    /// The codec.
    pub codec: CodecInfo,
    /// How chunks are laid out.
    pub options: Options,
    /// Live records.
    pub records: u64,
    /// Raw bytes of live records.
    pub raw_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// `raw_bytes / file_bytes`.
    pub ratio: f64,
    /// Chunks.
    pub chunks: u64,
    /// Index segments, and their bytes.
    pub index_segments: usize,
    /// Bytes of the live index segments.
    pub index_bytes: u64,
    /// Records whose name was replaced or removed since the index was last merged.
    pub dead_records: u64,
    /// Commits so far.
    pub commits: u64,
    /// Records behind the last commit: adopted after an unclean end, or not committed yet.
    pub uncommitted_records: u64,
    /// Bytes behind the last whole entry: the torn end that an unclean end, or a cut file, leaves. Readers ignore it.
    pub torn_bytes: u64,
    /// Commits that the header names and that cannot be read: the file is damaged, and `repair` may save more.
    pub lost_commits: u64,
    /// All that these commits had is there nevertheless, or there are none.
    pub complete: bool,
    /// What the depot lost before, as it notes: see [`VerifyReport::losses`](crate::VerifyReport::losses).
    pub losses: Vec<String>,
    /// Seconds since 1970 at which the depot was created; 0 if unknown.
    pub created: i64,
    /// The depot's own metadata.
    pub metadata: Map<String, Value>,
}

impl DepotInfo {
    pub(super) fn new(engine: &Engine, metadata: Map<String, Value>) -> Result<Self> {
        let shared = &engine.shared;
        let file_bytes = shared
            .storage
            .len()
            .map_err(|source| Error::io(engine.path(), "ask for the file's length", source))?;
        let parameters = &shared.parameters;
        let losses = engine.losses()?.0.iter().map(ToString::to_string).collect();
        let state = shared.read();
        let segments = &state.snapshot.segments;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = state.raw_bytes as f64 / file_bytes.max(1) as f64;
        Ok(Self {
            path: engine.path().to_owned(),
            format: if parameters.depot_id == 0 { "vlstore" } else { "depot" },
            format_version: parameters.format_version,
            codec: CodecInfo::new(engine),
            options: Options {
                compression: parameters.compression,
                chunk_size: parameters.chunk_size,
                block_size: parameters.block_size,
                placement: parameters.placement,
                align: parameters.align,
                vlstore_compatible: parameters.vlstore,
            },
            records: state.len(),
            raw_bytes: state.raw_bytes,
            file_bytes,
            ratio,
            chunks: state.snapshot.n_chunks + state.pending.chunks.len() as u64,
            index_segments: segments.len(),
            index_bytes: segments.iter().map(|segment| segment.stored_len()).sum(),
            dead_records: segments.iter().map(|segment| segment.reference.n_kills).sum(),
            commits: state.snapshot.sequence,
            uncommitted_records: state.pending.n_live(),
            torn_bytes: engine.torn_bytes(file_bytes),
            lost_commits: state
                .unread
                .or(state.lost)
                .map_or(0, |lost| lost.sequence - state.snapshot.sequence),
            complete: state.lost.is_none(),
            losses,
            created: parameters.created,
            metadata,
        })
    }
}

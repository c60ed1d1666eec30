//! What a depot says about itself.

use std::path::PathBuf;

use crate::chunk::ChunkAt;
use crate::codec::Codec;
use crate::engine::Engine;
use crate::error::Result;
use crate::options::Layout;

use super::statistics::Statistics;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecordLocation {
    /// The number, in the manifest's order, of the shard that has the record. `None` if the depot is one
    /// file.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub shard: Option<u64>,
    /// Number of the chunk in which the record starts.
    pub chunk: u64,
    /// Raw bytes from the start of that chunk to the record.
    pub offset: u64,
    /// Raw bytes of the record.
    pub length: u64,
    /// CRC32C of the raw bytes. `None` in files of other programs.
    pub checksum: Option<u32>,
    /// Where the chunk's entry starts in the file. `None` for a chunk that is not written yet.
    pub file_offset: Option<u64>,
}

impl RecordLocation {
    pub(super) fn new(engine: &Engine, location: &crate::index::Location) -> Self {
        let (chunk, offset) = engine.chunk_of(location.address);
        let file_offset = match engine.source(chunk) {
            Ok(ChunkAt::Stored(reference)) => Some(reference.offset),
            _ => None,
        };
        let (shard, chunk) = engine.in_file(chunk);
        Self {
            shard,
            chunk,
            offset: offset as u64,
            length: location.length,
            checksum: (!location.is_unchecked()).then_some(location.checksum),
            file_offset,
        }
    }
}

/// How a chunk is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ChunkInfo {
    /// The number, in the manifest's order, of the shard that has the chunk. `None` if the depot is one
    /// file.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub shard: Option<u64>,
    /// Its number in the file.
    pub chunk: u64,
    /// Where the chunk's entry starts in the file.
    pub file_offset: u64,
    /// Bytes that it decompresses to, with what fills it up after its records.
    pub raw_bytes: u64,
    /// Bytes of the Blosc2 chunk in the file.
    pub stored_bytes: u64,
    /// Raw bytes of a block. 0 if each has its own: see `raw_blocks`.
    pub block_bytes: u64,
    /// Whether the fields of its records [are stored apart](crate::Layout::fields_apart). Its blocks then
    /// begin and end with records.
    pub fields_apart: bool,
    /// Stored bytes of each block, without the blocks of zeros that fill the chunk up. Empty if the chunk is
    /// not compressed, is all zeros, or was written by another program.
    pub blocks: Vec<u32>,
    /// Raw bytes of each block. Empty unless `fields_apart`: other blocks all have `block_bytes`.
    pub raw_blocks: Vec<u32>,
}

impl ChunkInfo {
    /// `None` for a chunk that is not in the file yet.
    pub(super) fn new(engine: &Engine, location: &crate::index::Location) -> Result<Option<Self>> {
        let (number, _) = engine.chunk_of(location.address);
        let ChunkAt::Stored(reference) = engine.source(number)? else { return Ok(None) };
        let (shard, chunk) = engine.in_file(number);
        Ok(Some(Self {
            shard,
            chunk,
            file_offset: reference.offset,
            raw_bytes: engine.parameters().chunk_size as u64,
            stored_bytes: u64::from(reference.chunk_len),
            block_bytes: if reference.is_apart() { 0 } else { u64::from(reference.block_size) },
            fields_apart: reference.is_apart(),
            blocks: engine.stored_blocks(number, &reference)?,
            raw_blocks: engine.raw_blocks(number, &reference)?,
        }))
    }
}

/// The codec that a depot was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CodecInfo {
    /// [`Codec::ID`](crate::Codec::ID). A vlstore file keeps none: then this is the ID of the codec that
    /// opened it.
    pub id: String,
    /// [`Codec::VERSION`](crate::Codec::VERSION).
    pub version: u32,
    /// Bytes of [`Codec::parameters`](crate::Codec::parameters).
    pub parameters: Vec<u8>,
}

impl CodecInfo {
    /// Makes a description of a codec from its parts.
    ///
    /// ```
    /// use vldepot::{CodecInfo, Raw};
    /// assert_eq!(CodecInfo::new("raw", 1, Vec::new()), CodecInfo::of(&Raw));
    /// ```
    pub fn new(id: impl Into<String>, version: u32, parameters: Vec<u8>) -> Self {
        Self { id: id.into(), version, parameters }
    }

    /// What a depot written with `codec` records about it.
    ///
    /// ```
    /// use vldepot::{CodecInfo, Raw};
    /// assert_eq!(CodecInfo::of(&Raw).id, "raw");
    /// ```
    pub fn of<C: Codec>(codec: &C) -> Self {
        Self { id: C::ID.to_owned(), version: C::VERSION, parameters: codec.parameters() }
    }

    pub(super) fn stored(engine: &Engine) -> Self {
        let parameters = engine.parameters();
        Self {
            id: parameters.codec_id.clone(),
            version: parameters.codec_version,
            parameters: parameters.codec_parameters.clone(),
        }
    }
}

/// Shows a path that is not UTF-8 with replacement characters, and does not refuse it.
#[cfg(feature = "serde")]
fn lossy<S: serde::Serializer>(
    path: &std::path::Path,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// What a depot is, and how much is in it.
///
/// Its serialised form is what `vldepot info --json` prints.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DepotInfo {
    /// The file, or `<memory>`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "lossy"))]
    pub path: PathBuf,
    /// `depot`, `shards` for a folder of them, `wrapped` for an index over a tar file, or `vlstore` for a
    /// file of that package.
    pub format: &'static str,
    /// How many shards are read as one. `None` if it is one file.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub shards: Option<u64>,
    /// Version of the file format.
    pub format_version: u32,
    /// The id of the depot's records, 32 hexadecimal digits. A depot made by compacting or repairing this one
    /// has the same. It is empty for a file of vlstore.
    pub data_set_id: String,
    /// The codec.
    pub codec: CodecInfo,
    /// The layout of the depot.
    pub layout: Layout,
    /// Records start at multiples of this many bytes.
    pub align: usize,
    /// Number of live records.
    pub records: u64,
    /// Raw bytes of live records.
    pub raw_bytes: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// `raw_bytes / file_bytes`.
    pub ratio: f64,
    /// Number of chunks.
    pub chunks: u64,
    /// Number of live index segments.
    pub index_segments: usize,
    /// Bytes of the live index segments.
    pub index_bytes: u64,
    /// Records that were replaced or removed since the index was last merged.
    pub dead_records: u64,
    /// Number of commits so far.
    pub commits: u64,
    /// Records after the last commit. They were adopted after an unclean end, or are not committed yet.
    pub uncommitted_records: u64,
    /// Bytes after the last whole entry. An unclean end, or a file that was cut, leaves such a torn end.
    /// Readers ignore it.
    pub torn_bytes: u64,
    /// Commits that the header names but that cannot be read. The file is damaged then, and `repair` may
    /// save more.
    pub lost_commits: u64,
    /// Whether nothing is missing: no commits are lost, or what they had is there nevertheless.
    pub complete: bool,
    /// What the depot lost before, as its file records it.
    ///
    /// See [`VerifyReport::losses`](crate::maintain::VerifyReport::losses).
    pub losses: Vec<String>,
    /// When the depot was created, in seconds since 1970. It is 0 if unknown.
    pub created: i64,
    /// Statistics of columns and fields. `None` if the index is too damaged to tell.
    pub statistics: Option<Statistics>,
}

impl DepotInfo {
    pub(super) fn new(engine: &Engine) -> Result<Self> {
        let file_bytes = engine.file_len()?;
        let parameters = engine.parameters();
        let losses = engine.losses()?.0.iter().map(ToString::to_string).collect();
        let torn_bytes = engine.torn_bytes(file_bytes);
        let totals = engine.totals();
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = totals.raw_bytes as f64 / file_bytes.max(1) as f64;
        Ok(Self {
            path: engine.path().to_owned(),
            format: match (parameters.depot_id, engine.is_set()) {
                (0, _) if engine.is_wrapped() => "wrapped",
                (0, _) => "vlstore",
                (_, true) => "shards",
                (_, false) => "depot",
            },
            shards: engine.is_set().then(|| engine.n_shards()),
            format_version: parameters.format_version,
            data_set_id: match parameters.data_set {
                0 => String::new(),
                id => format!("{id:032x}"),
            },
            codec: CodecInfo::stored(engine),
            layout: parameters.layout(),
            align: parameters.align,
            records: totals.records,
            raw_bytes: totals.raw_bytes,
            file_bytes,
            ratio,
            chunks: totals.chunks,
            index_segments: totals.index_segments,
            index_bytes: totals.index_bytes,
            dead_records: totals.dead_records,
            commits: totals.commits,
            uncommitted_records: totals.uncommitted_records,
            torn_bytes,
            lost_commits: totals.lost_commits,
            complete: totals.complete,
            losses,
            created: parameters.created,
            statistics: Statistics::new(engine).ok(),
        })
    }
}

//! The Flatbuffers tables of `schemas/depot.fbs` as plain structs.
//!
//! Whoever decodes has matched a checksum over the bytes; the Flatbuffers verifier runs all the same.

use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, root};

use super::MAX_SEQUENCE;
use super::generated::vldepot::format as fbs;
use crate::blosc::{Compression, CompressionCodec, Filter};
use crate::identity;
use crate::options::{DepotOptions, Placement};

/// How the depot is laid out.
#[allow(clippy::struct_field_names, reason = "the names of the schema")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) format_version: u32,
    pub(crate) depot_id: u64,
    pub(crate) codec_id: String,
    pub(crate) codec_version: u32,
    pub(crate) codec_parameters: Vec<u8>,
    pub(crate) chunk_size: usize,
    /// `None`: each chunk has its own.
    pub(crate) block_size: Option<usize>,
    pub(crate) compression: Compression,
    pub(crate) placement: Placement,
    pub(crate) align: usize,
    pub(crate) vlstore: bool,
    /// Seconds since 1970.
    pub(crate) created: i64,
}

fn broken(error: &InvalidFlatbuffer) -> String {
    format!("a malformed Flatbuffers table ({error})")
}

impl Parameters {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let table = self.build(&mut builder);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    fn build<'b>(&self, builder: &mut FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<fbs::Parameters<'b>> {
        let codec_id = builder.create_string(&self.codec_id);
        let codec_parameters = builder.create_vector(&self.codec_parameters);
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let args = fbs::ParametersArgs {
            format_version: self.format_version,
            depot_id: self.depot_id,
            codec_id: Some(codec_id),
            codec_version: self.codec_version,
            codec_parameters: Some(codec_parameters),
            chunk_size: small(self.chunk_size),
            block_size: small(self.block_size.unwrap_or(0)),
            compressor: match self.compression.codec {
                CompressionCodec::None => 0,
                CompressionCodec::Lz4 => 1,
                CompressionCodec::Lz4hc => 2,
                CompressionCodec::Zstd => 3,
                CompressionCodec::Blosclz => 4,
                // Of other programs' files alone, which have no such table.
                CompressionCodec::Zlib => 5,
            },
            level: self.compression.level,
            filter: match self.compression.filter {
                Filter::None => 0,
                Filter::Shuffle => 1,
                Filter::Bitshuffle => 2,
            },
            typesize: self.compression.typesize(),
            placement: match self.placement {
                Placement::NoCross => 0,
                Placement::Contiguous => 1,
                Placement::StartAligned => 2,
            },
            align: u8::try_from(self.align).unwrap_or(u8::MAX),
            vlstore: self.vlstore,
            created: self.created,
        };
        fbs::Parameters::create(builder, &args)
    }

    /// Reads the table. The error says what was found instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        Self::from_table(root::<fbs::Parameters<'_>>(bytes).map_err(|e| broken(&e))?)
    }

    fn from_table(table: fbs::Parameters<'_>) -> Result<Self, String> {
        let format_version = table.format_version();
        let parameters = Self {
            format_version,
            depot_id: table.depot_id(),
            codec_id: table.codec_id().unwrap_or("").to_owned(),
            codec_version: table.codec_version(),
            codec_parameters: table.codec_parameters().map(|v| v.bytes().to_vec()).unwrap_or_default(),
            chunk_size: table.chunk_size() as usize,
            block_size: Some(table.block_size() as usize).filter(|&size| size > 0),
            compression: Compression {
                codec: match table.compressor() {
                    0 => CompressionCodec::None,
                    1 => CompressionCodec::Lz4,
                    2 => CompressionCodec::Lz4hc,
                    3 => CompressionCodec::Zstd,
                    4 => CompressionCodec::Blosclz,
                    other => return Err(format!("compressor {other}, unknown to this version")),
                },
                level: table.level(),
                filter: match table.filter() {
                    0 => Filter::None,
                    1 => Filter::Shuffle,
                    2 => Filter::Bitshuffle,
                    other => return Err(format!("filter {other}, unknown to this version")),
                },
                typesize: Some(table.typesize()),
            },
            placement: match table.placement() {
                0 => Placement::NoCross,
                1 => Placement::Contiguous,
                2 => Placement::StartAligned,
                other => return Err(format!("placement {other}, unknown to this version")),
            },
            align: usize::from(table.align()),
            vlstore: table.vlstore(),
            created: table.created(),
        };
        // A newer format may mean anything by its fields: the caller refuses it by its number.
        if format_version <= super::FORMAT_VERSION {
            parameters.options().validate().map_err(|e| format!("impossible parameters ({e})"))?;
            if !parameters.align.is_power_of_two() || parameters.align > 64 {
                return Err(format!("records aligned to {} bytes", parameters.align));
            }
        }
        Ok(parameters)
    }

    /// The stored part of the options, the rest at their defaults.
    pub(crate) fn options(&self) -> DepotOptions {
        DepotOptions {
            compression: self.compression,
            chunk_size: self.chunk_size,
            block_size: self.block_size,
            placement: self.placement,
            vlstore_compatible: self.vlstore,
            ..DepotOptions::default()
        }
    }
}

/// Where a live index segment lies, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentRef {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) first_ordinal: u64,
    pub(crate) n_records: u64,
    pub(crate) first_chunk: u64,
    pub(crate) n_chunks: u64,
    pub(crate) n_kills: u64,
}

/// The truth about the depot at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sequence: u64,
    pub(crate) parent: u64,
    pub(crate) segments: Vec<SegmentRef>,
    pub(crate) n_records: u64,
    pub(crate) n_chunks: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) metadata: (u64, u64),
    pub(crate) parameters: Parameters,
    /// Seconds since 1970.
    pub(crate) time: i64,
    /// Offset of the commit before a truncation that can be taken back; 0 without.
    pub(crate) undo: u64,
    /// Offset and length of the newest LOSSES entry, zeros without.
    pub(crate) losses: (u64, u64),
}

impl Commit {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let refs: Vec<fbs::SegmentRef> = self
            .segments
            .iter()
            .map(|s| {
                fbs::SegmentRef::new(
                    s.offset,
                    s.length,
                    s.first_ordinal,
                    s.n_records,
                    s.first_chunk,
                    s.n_chunks,
                    s.n_kills,
                )
            })
            .collect();
        let segments = builder.create_vector(&refs);
        let parameters = self.parameters.build(&mut builder);
        let args = fbs::CommitArgs {
            sequence: self.sequence,
            parent: self.parent,
            segments: Some(segments),
            n_records: self.n_records,
            n_chunks: self.n_chunks,
            raw_bytes: self.raw_bytes,
            metadata_offset: self.metadata.0,
            metadata_length: self.metadata.1,
            parameters: Some(parameters),
            time: self.time,
            undo: self.undo,
            losses_offset: self.losses.0,
            losses_length: self.losses.1,
        };
        let table = fbs::Commit::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    /// Reads the table and checks that the segments fit together. The error says what was found instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let table = root::<fbs::Commit<'_>>(bytes).map_err(|e| broken(&e))?;
        let parameters = table.parameters().ok_or("a commit without parameters")?;
        let segments: Vec<SegmentRef> = table
            .segments()
            .iter()
            .flatten()
            .map(|s| SegmentRef {
                offset: s.offset(),
                length: s.length(),
                first_ordinal: s.first_ordinal(),
                n_records: s.n_records(),
                first_chunk: s.first_chunk(),
                n_chunks: s.n_chunks(),
                n_kills: s.n_kills(),
            })
            .collect();
        let commit = Self {
            sequence: table.sequence(),
            parent: table.parent(),
            n_records: table.n_records(),
            n_chunks: table.n_chunks(),
            raw_bytes: table.raw_bytes(),
            metadata: (table.metadata_offset(), table.metadata_length()),
            parameters: Parameters::from_table(parameters)?,
            time: table.time(),
            undo: table.undo(),
            losses: (table.losses_offset(), table.losses_length()),
            segments,
        };
        if commit.sequence > MAX_SEQUENCE {
            return Err(format!("commit {}", commit.sequence));
        }
        let (mut ordinal, mut chunk, mut kills, mut end) = (0u64, 0u64, 0u64, 0u64);
        for segment in &commit.segments {
            // A newer segment lies behind an older one: the same bytes cannot be indexed any number of times.
            if segment.offset < end {
                return Err(format!(
                    "an index segment at byte {} behind one that ends at {end}",
                    segment.offset
                ));
            }
            end = segment.offset.saturating_add(segment.length);
            if segment.first_ordinal != ordinal || segment.first_chunk != chunk {
                return Err("index segments that do not follow each other".into());
            }
            let sum = |a: u64, b: u64| a.checked_add(b).ok_or("counts past 2^64");
            ordinal = sum(ordinal, segment.n_records)?;
            chunk = sum(chunk, segment.n_chunks)?;
            kills = sum(kills, segment.n_kills)?;
        }
        if ordinal.checked_sub(kills) != Some(commit.n_records) || chunk != commit.n_chunks {
            return Err(format!(
                "{} records and {} chunks where the index has {ordinal} less {kills}, and {chunk}",
                commit.n_records, commit.n_chunks
            ));
        }
        Ok(commit)
    }
}

/// One array of an index segment, from the end of the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The start of an index segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentHead {
    pub(crate) first_ordinal: u64,
    pub(crate) n_records: u64,
    pub(crate) first_chunk: u64,
    pub(crate) n_chunks: u64,
    pub(crate) n_kills: u64,
    pub(crate) n_metadata: u64,
    pub(crate) bucket_bits: u8,
    pub(crate) page_size: u32,
    pub(crate) paged_len: u64,
    /// In the order of [`SECTIONS`].
    pub(crate) sections: [Section; SECTIONS],
}

/// How many arrays a segment has.
pub(crate) const SECTIONS: usize = 10;

impl SegmentHead {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let section = |n: usize| fbs::Section::new(self.sections[n].offset, self.sections[n].length);
        let sections: [fbs::Section; SECTIONS] = std::array::from_fn(section);
        let mut builder = FlatBufferBuilder::new();
        let args = fbs::SegmentHeadArgs {
            first_ordinal: self.first_ordinal,
            n_records: self.n_records,
            first_chunk: self.first_chunk,
            n_chunks: self.n_chunks,
            n_kills: self.n_kills,
            n_metadata: self.n_metadata,
            bucket_bits: self.bucket_bits,
            page_size: self.page_size,
            paged_len: self.paged_len,
            locations: Some(&sections[0]),
            buckets: Some(&sections[1]),
            hashes: Some(&sections[2]),
            name_blocks: Some(&sections[3]),
            names: Some(&sections[4]),
            chunks: Some(&sections[5]),
            kills: Some(&sections[6]),
            metadata_ordinals: Some(&sections[7]),
            metadata_offsets: Some(&sections[8]),
            metadata: Some(&sections[9]),
        };
        let table = fbs::SegmentHead::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    /// Reads the table. The error says what was found instead. Lengths are checked by the index, which knows them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let table = root::<fbs::SegmentHead<'_>>(bytes).map_err(|e| broken(&e))?;
        let section = |s: Option<&fbs::Section>| {
            s.map(|s| Section { offset: s.offset(), length: s.length() }).unwrap_or_default()
        };
        Ok(Self {
            first_ordinal: table.first_ordinal(),
            n_records: table.n_records(),
            first_chunk: table.first_chunk(),
            n_chunks: table.n_chunks(),
            n_kills: table.n_kills(),
            n_metadata: table.n_metadata(),
            bucket_bits: table.bucket_bits(),
            page_size: table.page_size(),
            paged_len: table.paged_len(),
            sections: [
                section(table.locations()),
                section(table.buckets()),
                section(table.hashes()),
                section(table.name_blocks()),
                section(table.names()),
                section(table.chunks()),
                section(table.kills()),
                section(table.metadata_ordinals()),
                section(table.metadata_offsets()),
                section(table.metadata()),
            ],
        })
    }
}

/// What an entry did to one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The next `length` bytes of the chunk, from the next aligned place, are the record.
    Put { length: u32, checksum: u32 },
    /// The record is gone.
    Remove,
    /// The record keeps its bytes and gets other metadata.
    Metadata { address: u64, length: u32, checksum: u32 },
}

/// One line of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Tagged, see [`crate::key`].
    pub(crate) name: Vec<u8>,
    pub(crate) action: Action,
    /// MessagePack.
    pub(crate) metadata: Option<Vec<u8>>,
}

/// What one CHUNK or LOG entry did, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Directory {
    /// Where the first record put here starts in the chunk.
    pub(crate) first_start: u32,
    pub(crate) operations: Vec<Operation>,
}

const PUT: u8 = 0;
const REMOVE: u8 = 1;
const METADATA: u8 = 2;

/// Collects a directory in the columns that it is stored in.
#[derive(Debug, Clone, Default)]
pub(crate) struct DirectoryBuilder {
    /// Where the first record put here starts in the chunk.
    pub(crate) first_start: u32,
    kinds: Vec<u8>,
    name_lengths: Vec<u32>,
    names: Vec<u8>,
    lengths: Vec<u32>,
    checksums: Vec<u32>,
    /// Two words for each [`Action::Metadata`].
    moved: Vec<u64>,
    metadata_at: Vec<u32>,
    metadata_lengths: Vec<u32>,
    metadata: Vec<u8>,
}

impl DirectoryBuilder {
    /// Appends a line.
    pub(crate) fn push(&mut self, name: &[u8], action: Action, metadata: Option<&[u8]>) {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if let Some(value) = metadata {
            self.metadata_at.push(small(self.kinds.len()));
            self.metadata_lengths.push(small(value.len()));
            self.metadata.extend_from_slice(value);
        }
        self.name_lengths.push(small(name.len()));
        self.names.extend_from_slice(name);
        self.kinds.push(match action {
            Action::Put { length, checksum } => {
                self.lengths.push(length);
                self.checksums.push(checksum);
                PUT
            }
            Action::Remove => REMOVE,
            Action::Metadata { address, length, checksum } => {
                self.moved.extend([address, u64::from(length) | u64::from(checksum) << 32]);
                METADATA
            }
        });
    }

    /// No lines.
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The table as bytes, not yet compressed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let all_puts = self.kinds.iter().all(|&kind| kind == PUT);
        let mut builder = FlatBufferBuilder::new();
        let optional = |builder: &mut FlatBufferBuilder<'_>, v: &[u32]| {
            (!v.is_empty()).then(|| flatbuffers::WIPOffset::new(builder.create_vector(v).value()))
        };
        let args = fbs::ChunkDirectoryArgs {
            first_start: self.first_start,
            kinds: (!all_puts).then(|| builder.create_vector(&self.kinds)),
            name_lengths: Some(builder.create_vector(&self.name_lengths)),
            names: Some(builder.create_vector(&self.names)),
            lengths: Some(builder.create_vector(&self.lengths)),
            checksums: Some(builder.create_vector(&self.checksums)),
            metadata_at: optional(&mut builder, &self.metadata_at),
            metadata_lengths: optional(&mut builder, &self.metadata_lengths),
            metadata: (!self.metadata.is_empty()).then(|| builder.create_vector(&self.metadata)),
            moved: (!self.moved.is_empty()).then(|| builder.create_vector(&self.moved)),
        };
        let table = fbs::ChunkDirectory::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }
}

impl Directory {
    /// The columns of this directory.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn to_builder(&self) -> DirectoryBuilder {
        let mut builder = DirectoryBuilder { first_start: self.first_start, ..DirectoryBuilder::default() };
        for Operation { name, action, metadata } in &self.operations {
            builder.push(name, *action, metadata.as_deref());
        }
        builder
    }

    /// Reads the table. The error says what was found instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let options = flatbuffers::VerifierOptions { max_apparent_size: 1 << 31, ..Default::default() };
        let table = flatbuffers::root_with_opts::<fbs::ChunkDirectory<'_>>(&options, bytes)
            .map_err(|e| broken(&e))?;
        let short = || "columns of different lengths".to_owned();
        let name_lengths = table.name_lengths().unwrap_or_default();
        let kinds = table.kinds();
        if kinds.is_some_and(|kinds| kinds.len() != name_lengths.len()) {
            return Err(short());
        }
        let mut names = table.names().map(|v| v.bytes()).unwrap_or_default();
        let mut metadata = table.metadata().map(|v| v.bytes()).unwrap_or_default();
        let mut lengths = table.lengths().unwrap_or_default().iter();
        let mut checksums = table.checksums().unwrap_or_default().iter();
        let mut moved = table.moved().unwrap_or_default().iter();
        let metadata_at = table.metadata_at().unwrap_or_default();
        let mut noted = metadata_at.iter().zip(table.metadata_lengths().unwrap_or_default()).peekable();
        let mut operations = Vec::with_capacity(name_lengths.len());
        for (number, name_length) in name_lengths.iter().enumerate() {
            let (name, rest) = names.split_at_checked(name_length as usize).ok_or_else(short)?;
            names = rest;
            let action = match kinds.map_or(PUT, |kinds| kinds.get(number)) {
                PUT => Action::Put {
                    length: lengths.next().ok_or_else(short)?,
                    checksum: checksums.next().ok_or_else(short)?,
                },
                REMOVE => Action::Remove,
                METADATA => {
                    let (address, word) = moved.next().zip(moved.next()).ok_or_else(short)?;
                    let halves = word.to_le_bytes();
                    let half = |at: usize| crate::le::u32_at(&halves, at).unwrap_or(0);
                    Action::Metadata { address, length: half(0), checksum: half(4) }
                }
                other => return Err(format!("operation {other}, unknown to this version")),
            };
            let noted = noted.next_if(|(at, _)| *at as usize == number);
            let value = noted
                .map(|(_, length)| {
                    let (value, rest) = metadata.split_at_checked(length as usize).ok_or_else(short)?;
                    metadata = rest;
                    Ok::<_, String>(value.to_vec())
                })
                .transpose()?;
            operations.push(Operation { name: name.to_vec(), action, metadata: value });
        }
        if !names.is_empty() || lengths.next().is_some() || noted.next().is_some() {
            return Err(short());
        }
        Ok(Self { first_start: table.first_start(), operations })
    }
}

/// What the depot lost once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) what: LossKind,
    /// Tagged names of lost records.
    pub(crate) names: Vec<Vec<u8>>,
    /// Records may be lost that nothing names.
    pub(crate) unnamed: bool,
    /// Seconds since 1970.
    pub(crate) time: i64,
}

/// How it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossKind {
    /// A commit could not be read; offset of its entry in the file as it was then.
    Commit { sequence: u64, offset: u64 },
    /// A repair could not save all.
    Repair,
}

/// The body of a LOSSES entry, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Losses(pub(crate) Vec<Loss>);

impl Losses {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let mut offsets = Vec::with_capacity(self.0.len());
        for loss in &self.0 {
            let names = builder.create_vector(&loss.names.concat());
            let len = |name: &Vec<u8>| u32::try_from(name.len()).unwrap_or(u32::MAX);
            let name_lengths = builder.create_vector(&loss.names.iter().map(len).collect::<Vec<_>>());
            let (kind, commit, offset) = match loss.what {
                LossKind::Commit { sequence, offset } => (0, sequence, offset),
                LossKind::Repair => (1, 0, 0),
            };
            let args = fbs::LossArgs {
                kind,
                commit,
                offset,
                names: Some(names),
                name_lengths: Some(name_lengths),
                unnamed: loss.unnamed,
                time: loss.time,
            };
            offsets.push(fbs::Loss::create(&mut builder, &args));
        }
        let losses = builder.create_vector(&offsets);
        let table = fbs::Losses::create(&mut builder, &fbs::LossesArgs { losses: Some(losses) });
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    /// Reads the table. The error says what was found instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let table = root::<fbs::Losses<'_>>(bytes).map_err(|e| broken(&e))?;
        table.losses().iter().flatten().map(Loss::from_table).collect::<Result<_, _>>().map(Self)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.what {
            LossKind::Commit { sequence, offset } => {
                write!(f, "commit {sequence} (at byte {offset} then) was lost with all it had")
            }
            LossKind::Repair if self.names.is_empty() => f.write_str("a repair found that some were lost"),
            LossKind::Repair => {
                write!(f, "a repair could not save {} of them", self.names.len())?;
                if self.unnamed { f.write_str(" and others that nothing names") } else { Ok(()) }
            }
        }
    }
}

impl Loss {
    /// That of a commit, whose entry should be at `offset`, with all it had.
    pub(crate) fn of_commit(sequence: u64, offset: u64) -> Self {
        let what = LossKind::Commit { sequence, offset };
        Self { what, names: Vec::new(), unnamed: true, time: identity::now() }
    }

    /// That of what a repair could not save: records called `names`, and perhaps others.
    pub(crate) fn of_repair(names: Vec<Vec<u8>>, unnamed: bool) -> Self {
        Self { what: LossKind::Repair, names, unnamed, time: identity::now() }
    }

    fn from_table(table: fbs::Loss<'_>) -> Result<Self, String> {
        let mut rest = table.names().map(|names| names.bytes()).unwrap_or_default();
        let mut names = Vec::new();
        for length in table.name_lengths().iter().flatten() {
            let (name, more) = rest.split_at_checked(length as usize).ok_or("names longer than they are")?;
            names.push(name.to_vec());
            rest = more;
        }
        let what = match table.kind() {
            0 => LossKind::Commit { sequence: table.commit(), offset: table.offset() },
            1 => LossKind::Repair,
            other => return Err(format!("a loss of kind {other}, unknown to this version")),
        };
        Ok(Self { what, names, unnamed: table.unnamed(), time: table.time() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn parameters() -> Parameters {
        Parameters {
            format_version: 1,
            depot_id: 42,
            codec_id: "raw".into(),
            codec_version: 1,
            codec_parameters: vec![1, 2, 3],
            chunk_size: 1 << 22,
            block_size: None,
            compression: Compression { typesize: Some(8), ..Compression::default() },
            placement: Placement::Contiguous,
            align: 16,
            vlstore: true,
            created: 1_700_000_000,
        }
    }

    #[test]
    fn losses_come_back() {
        let losses = Losses(vec![
            Loss {
                what: LossKind::Commit { sequence: 7, offset: 4160 },
                names: Vec::new(),
                unnamed: true,
                time: 5,
            },
            Loss {
                what: LossKind::Repair,
                names: vec![b"\x01a".to_vec(), Vec::new(), b"\x01bc".to_vec()],
                unnamed: false,
                time: -1,
            },
        ]);
        let bytes = losses.encode();
        assert_eq!(Losses::decode(&bytes), Ok(losses));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            let _ = Losses::decode(&bad);
        }
    }

    #[test]
    fn parameters_come_back() {
        assert_eq!(Parameters::decode(&parameters().encode()), Ok(parameters()));
    }

    #[test]
    fn commits_come_back_and_their_sums_are_checked() {
        let segment =
            SegmentRef { offset: 9, length: 8, n_records: 10, n_chunks: 2, ..SegmentRef::default() };
        let second =
            SegmentRef { offset: 17, first_ordinal: 10, first_chunk: 2, n_kills: 1, n_records: 3, ..segment };
        let commit = Commit {
            sequence: 3,
            parent: 4160,
            segments: vec![segment, second],
            n_records: 12,
            n_chunks: 4,
            raw_bytes: 99,
            metadata: (1, 2),
            parameters: parameters(),
            time: 5,
            undo: 5,
            losses: (4160, 128),
        };
        assert_eq!(Commit::decode(&commit.encode()).as_ref(), Ok(&commit));
        let wrong = Commit { n_records: 13, ..commit.clone() };
        assert!(Commit::decode(&wrong.encode()).is_err());
        let gap = Commit { segments: vec![second], n_records: 2, n_chunks: 2, ..commit.clone() };
        assert!(Commit::decode(&gap.encode()).is_err());
        let again = Commit { segments: vec![segment, SegmentRef { offset: 16, ..second }], ..commit.clone() };
        assert!(Commit::decode(&again.encode()).unwrap_err().contains("at byte 16"));
        let last = Commit { sequence: u64::MAX, ..commit };
        assert!(Commit::decode(&last.encode()).is_err());
    }

    #[test]
    fn directories_come_back_with_every_kind_of_line() {
        let directory = Directory {
            first_start: 64,
            operations: vec![
                Operation {
                    name: b"a".to_vec(),
                    action: Action::Put { length: 7, checksum: 1 },
                    metadata: None,
                },
                Operation { name: vec![], action: Action::Remove, metadata: None },
                Operation {
                    name: b"c".to_vec(),
                    action: Action::Metadata { address: 1 << 40, length: 3, checksum: u32::MAX },
                    metadata: Some(vec![0xc0]),
                },
                Operation {
                    name: b"d".to_vec(),
                    action: Action::Put { length: 0, checksum: 0 },
                    metadata: Some(vec![]),
                },
            ],
        };
        assert_eq!(Directory::decode(&directory.to_builder().encode()), Ok(directory));
        assert_eq!(Directory::decode(&DirectoryBuilder::default().encode()), Ok(Directory::default()));
    }

    #[test]
    fn noise_is_refused_without_a_panic() {
        let mut bytes = parameters().encode();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] ^= flip;
                let _ = Parameters::decode(&bytes);
                let _ = Commit::decode(&bytes);
                let _ = Directory::decode(&bytes);
                let _ = SegmentHead::decode(&bytes);
                bytes[at] ^= flip;
            }
        }
    }
}

//! The commit: the state of the depot at one moment.

use flatbuffers::{FlatBufferBuilder, root};

use super::parameters::Parameters;
use super::{broken, fbs};
use crate::format::growth::{Fault, Features, Newer, unknown_field};
use crate::format::{FORMAT_VERSION, MAX_SEQUENCE};

/// Fields of the tables that this version knows.
const KNOWN_FIELDS: u16 = 16;
const KNOWN_COLUMNS: u16 = 6;

/// Where a live index segment lies, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentRef {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Bytes after the entry's head that its body CRC covers.
    pub(crate) prefix_len: u32,
    pub(crate) first_ordinal: u64,
    pub(crate) n_records: u64,
    pub(crate) first_chunk: u64,
    pub(crate) n_chunks: u64,
    pub(crate) n_tombstones: u64,
}

/// The state of the depot at one moment.
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
    /// Offset of the commit before a truncation that can be taken back, or 0.
    pub(crate) undo: u64,
    /// Offset and length of the newest LOSSES entry, or zeros.
    pub(crate) losses: (u64, u64),
    pub(crate) features: Features,
    /// What a program that writes must know and this version does not, if there is anything. Not encoded.
    pub(crate) unknown_to_writers: Option<Newer>,
}

impl Commit {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let segments = self.build_segments(&mut builder);
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
            compatible: self.features.compatible,
            read_only: self.features.read_only,
            incompatible: self.features.incompatible,
        };
        let table = fbs::Commit::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    fn build_segments<'b>(
        &self,
        builder: &mut FlatBufferBuilder<'b>,
    ) -> flatbuffers::WIPOffset<fbs::Segments<'b>> {
        let column = |of: fn(&SegmentRef) -> u64| self.segments.iter().map(of).collect::<Vec<u64>>();
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let prefix_lengths: Vec<u32> = self.segments.iter().map(|s| s.prefix_len).collect();
        let records: Vec<u32> = self.segments.iter().map(|s| small(s.n_records)).collect();
        let tombstones = column(|s| s.n_tombstones);
        let has_tombstones = tombstones.iter().any(|&n| n > 0);
        let args = fbs::SegmentsArgs {
            offsets: Some(builder.create_vector(&column(|s| s.offset))),
            lengths: Some(builder.create_vector(&column(|s| s.length))),
            prefix_lengths: Some(builder.create_vector(&prefix_lengths)),
            records: Some(builder.create_vector(&records)),
            chunks: Some(builder.create_vector(&column(|s| s.n_chunks))),
            kills: has_tombstones.then(|| builder.create_vector(&tombstones)),
        };
        fbs::Segments::create(builder, &args)
    }

    /// Reads the table and checks that the segments fit together.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let table = root::<fbs::Commit<'_>>(bytes).map_err(|e| broken(&e))?;
        let features = Features {
            compatible: table.compatible(),
            read_only: table.read_only(),
            incompatible: table.incompatible(),
        };
        features.check_readable()?;
        let parameters = table.parameters().ok_or("a commit without parameters")?;
        let (mut fields, mut segments) = (unknown_field(&table._tab, KNOWN_FIELDS), Vec::new());
        if let Some(table) = table.segments() {
            segments = segments_of(table)?;
            fields = fields.or_else(|| unknown_field(&table._tab, KNOWN_COLUMNS));
        }
        // A field that no feature bit explains may mean anything. One of a compatible feature may be dropped.
        let field = fields.map(|field| Newer::new("a commit, field", &field));
        let field = field.filter(|_| !features.has_unknown_compatible());
        let unknown_to_writers = features.unknown_to_writers().or(field);
        let mut commit = Self {
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
            features,
            unknown_to_writers,
        };
        if commit.parameters.format_version > FORMAT_VERSION {
            return Err(Fault::newer("format version", &commit.parameters.format_version));
        }
        if commit.sequence > MAX_SEQUENCE {
            return Err(format!("commit {}", commit.sequence).into());
        }
        let (mut ordinal, mut chunk, mut tombstones, mut end) = (0_u64, 0_u64, 0_u64, 0_u64);
        for segment in &mut commit.segments {
            // A newer segment lies after an older one: the same bytes cannot be indexed any number of times.
            if segment.offset < end {
                return Err(format!(
                    "an index segment at byte {} after one that ends at {end}",
                    segment.offset
                )
                .into());
            }
            end = segment.offset.saturating_add(segment.length);
            (segment.first_ordinal, segment.first_chunk) = (ordinal, chunk);
            let sum = |a: u64, b: u64| a.checked_add(b).ok_or("counts past 2^64");
            ordinal = sum(ordinal, segment.n_records)?;
            chunk = sum(chunk, segment.n_chunks)?;
            tombstones = sum(tombstones, segment.n_tombstones)?;
        }
        if ordinal.checked_sub(tombstones) != Some(commit.n_records) || chunk != commit.n_chunks {
            return Err(format!(
                "{} records and {} chunks where the index has {ordinal} less {tombstones}, and {chunk}",
                commit.n_records, commit.n_chunks
            )
            .into());
        }
        Ok(commit)
    }
}

/// The columns of the segments, whose first ordinals and chunks are not set yet.
fn segments_of(table: fbs::Segments<'_>) -> Result<Vec<SegmentRef>, Fault> {
    let (offsets, lengths) = (table.offsets().unwrap_or_default(), table.lengths().unwrap_or_default());
    let (prefixes, records) =
        (table.prefix_lengths().unwrap_or_default(), table.records().unwrap_or_default());
    let (chunks, kills) = (table.chunks().unwrap_or_default(), table.kills());
    let n = offsets.len();
    if [lengths.len(), prefixes.len(), records.len(), chunks.len(), kills.map_or(n, |kills| kills.len())]
        != [n; 5]
    {
        return Err("columns of different lengths".into());
    }
    let segment = |nth: usize| SegmentRef {
        offset: offsets.get(nth),
        length: lengths.get(nth),
        prefix_len: prefixes.get(nth),
        n_records: u64::from(records.get(nth)),
        n_chunks: chunks.get(nth),
        n_tombstones: kills.map_or(0, |kills| kills.get(nth)),
        ..SegmentRef::default()
    };
    Ok((0..n).map(segment).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::parameters;
    use super::*;

    #[test]
    fn commits_come_back_and_their_sums_are_checked() {
        let segment =
            SegmentRef { offset: 9, length: 8, n_records: 10, n_chunks: 2, ..SegmentRef::default() };
        let second = SegmentRef {
            offset: 17,
            first_ordinal: 10,
            first_chunk: 2,
            n_tombstones: 1,
            n_records: 3,
            ..segment
        };
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
            features: Features { compatible: 1 << 40, ..Features::default() },
            unknown_to_writers: None,
        };
        assert_eq!(Commit::decode(&commit.encode()).as_ref(), Ok(&commit));
        let wrong = Commit { n_records: 13, ..commit.clone() };
        assert!(Commit::decode(&wrong.encode()).is_err());
        let newer = |features: Features| Commit { features, ..commit.clone() };
        let writers = newer(Features { read_only: 4, ..Features::default() });
        assert_eq!(Commit::decode(&writers.encode()).unwrap().unknown_to_writers.unwrap().name, "2");
        let nobody = newer(Features { incompatible: 8, ..Features::default() });
        assert_eq!(Commit::decode(&nobody.encode()), Err(Fault::newer("the incompatible feature bit", &3)));
        let again = Commit { segments: vec![segment, SegmentRef { offset: 16, ..second }], ..commit.clone() };
        assert!(
            Commit::decode(&again.encode()).unwrap_err()
                == Fault::from("an index segment at byte 16 after one that ends at 17")
        );
        let last = Commit { sequence: u64::MAX, ..commit };
        assert!(Commit::decode(&last.encode()).is_err());
    }
}

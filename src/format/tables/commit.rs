//! The commit: the state of the depot at one moment.

use flatbuffers::{FlatBufferBuilder, root};

use super::parameters::Parameters;
use super::varint::{push_varint, take_varint};
use super::{broken, fbs};
use crate::format::entry::HEAD_LEN;
use crate::format::growth::{Fault, Features, Newer, unknown_field};
use crate::format::{FORMAT_VERSION, MAX_SEQUENCE};

/// Fields of the tables that this version knows.
const KNOWN_FIELDS: u16 = 16;
const KNOWN_COLUMNS: u16 = 1;
/// Entries are as long as a multiple of this many bytes, and start at one.
const UNIT: u64 = HEAD_LEN as u64;

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
        let (mut packed, mut end) = (Vec::new(), 0);
        for segment in &self.segments {
            let SegmentRef { offset, length, n_records, n_chunks, n_tombstones, .. } = *segment;
            let gap = offset.saturating_sub(end);
            end = offset.saturating_add(length);
            let prefix_len = u64::from(segment.prefix_len);
            for number in [gap / UNIT, length / UNIT, prefix_len, n_records, n_chunks, n_tombstones] {
                push_varint(&mut packed, number);
            }
        }
        let args = fbs::SegmentsArgs { packed: Some(builder.create_vector(&packed)) };
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
        let parameters = Parameters::from_table(table.parameters().ok_or("a commit without parameters")?)?;
        let (mut fields, mut segments) = (unknown_field(&table._tab, KNOWN_FIELDS), Vec::new());
        if let Some(table) = table.segments() {
            segments = segments_of(table)?;
            fields = fields.or_else(|| unknown_field(&table._tab, KNOWN_COLUMNS));
        }
        // A field that no feature bit explains may mean anything. One of a compatible feature may be dropped.
        let field = fields.map(|field| Newer::new("field", &format_args!("{field} of a commit")));
        let in_copy = |field| Newer::new("field", &format_args!("{field} of the parameters in a commit"));
        let of_parameters = parameters.unknown_field.map(in_copy);
        let field = field.or(of_parameters).filter(|_| !features.has_unknown_compatible());
        let unknown_to_writers = features.unknown_to_writers().or(field);
        let mut commit = Self {
            sequence: table.sequence(),
            parent: table.parent(),
            n_records: table.n_records(),
            n_chunks: table.n_chunks(),
            raw_bytes: table.raw_bytes(),
            metadata: (table.metadata_offset(), table.metadata_length()),
            parameters,
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
        let (mut ordinal, mut chunk, mut tombstones) = (0_u64, 0_u64, 0_u64);
        for segment in &mut commit.segments {
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

/// The segments, whose first ordinals and chunks are not set yet.
fn segments_of(table: fbs::Segments<'_>) -> Result<Vec<SegmentRef>, Fault> {
    let mut packed = table.packed().map(|packed| packed.bytes()).unwrap_or_default();
    let (mut segments, mut end) = (Vec::new(), 0_u64);
    while !packed.is_empty() {
        let mut number = || take_varint(&mut packed).ok_or("numbers of a segment that are cut off");
        let (gap, length, prefix_len) = (number()?, number()?, number()?);
        let bytes = |units: u64| units.checked_mul(UNIT).ok_or("a segment past 2^64");
        let offset = end.checked_add(bytes(gap)?).ok_or("a segment past 2^64")?;
        let segment = SegmentRef {
            offset,
            length: bytes(length)?,
            prefix_len: u32::try_from(prefix_len).map_err(|_| "a prefix of more than 4 GiB")?,
            n_records: u64::from(
                u32::try_from(number()?).map_err(|_| "a segment of more than 2^32 records")?,
            ),
            n_chunks: number()?,
            n_tombstones: number()?,
            ..SegmentRef::default()
        };
        end = offset.checked_add(segment.length).ok_or("a segment past 2^64")?;
        segments.push(segment);
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parameters;
    use super::*;

    #[test]
    fn commits_come_back_and_their_sums_are_checked() {
        let segment =
            SegmentRef { offset: 64, length: 128, n_records: 10, n_chunks: 2, ..SegmentRef::default() };
        let second = SegmentRef {
            offset: 1 << 40,
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
        let last = Commit { sequence: u64::MAX, ..commit };
        assert!(Commit::decode(&last.encode()).is_err());
    }

    #[test]
    fn varints_come_back_and_longer_ones_are_refused() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, number);
            for cut in 0..bytes.len() {
                assert_eq!(take_varint(&mut &bytes[..cut]), None);
            }
            let mut rest = bytes.as_slice();
            assert_eq!((take_varint(&mut rest), rest), (Some(number), &[][..]));
        }
        assert_eq!(take_varint(&mut [[0xff; 9].as_slice(), &[2]].concat().as_slice()), None);
        assert_eq!(take_varint(&mut [0x80; 11].as_slice()), None);
    }
}

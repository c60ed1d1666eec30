//! The commit: the state of the depot at one moment.

use flatbuffers::{FlatBufferBuilder, root};

use super::parameters::Parameters;
use super::{broken, fbs};
use crate::format::MAX_SEQUENCE;

/// Where a live index segment lies, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentRef {
    pub(crate) offset: u64,
    pub(crate) length: u64,
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
                    s.n_tombstones,
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
                n_tombstones: s.n_kills(),
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
        let (mut ordinal, mut chunk, mut tombstones, mut end) = (0u64, 0u64, 0u64, 0u64);
        for segment in &commit.segments {
            // A newer segment must lie after an older one, so that no bytes are indexed more than once.
            if segment.offset < end {
                return Err(format!(
                    "an index segment at byte {} after one that ends at {end}",
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
            tombstones = sum(tombstones, segment.n_tombstones)?;
        }
        if ordinal.checked_sub(tombstones) != Some(commit.n_records) || chunk != commit.n_chunks {
            return Err(format!(
                "{} records and {} chunks where the index has {ordinal} less {tombstones}, and {chunk}",
                commit.n_records, commit.n_chunks
            ));
        }
        Ok(commit)
    }
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
}

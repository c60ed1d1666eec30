//! The head of an index segment.

use flatbuffers::{FlatBufferBuilder, root};

use super::{broken, fbs};

/// Where one array of an index segment lies, counted from the end of the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The head of an index segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentHead {
    pub(crate) first_ordinal: u64,
    pub(crate) n_records: u64,
    pub(crate) first_chunk: u64,
    pub(crate) n_chunks: u64,
    pub(crate) n_tombstones: u64,
    pub(crate) n_metadata: u64,
    pub(crate) bucket_bits: u8,
    pub(crate) page_size: u32,
    pub(crate) paged_len: u64,
    /// The arrays, in the order of the schema.
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
            n_kills: self.n_tombstones,
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

    /// Reads the table. The error says what was found instead.
    ///
    /// Lengths are not checked here. The index checks them, because it knows what they must be.
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
            n_tombstones: table.n_kills(),
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

//! Makes an index segment from records in insertion order.
//!
//! ```text
//!  +----------+-----------+-------------+------------------+---+----------------------------------------+
//!  | head     | number of | SegmentHead | CRC32C of each   | 0 | arrays, each at a multiple of 8        |
//!  | length   | pages     |             | page of arrays   |   | (locations, buckets, hashes, names, ..)|
//!  | u32      | u32       |             | n x u32          |   |                                        |
//!  +----------+-----------+-------------+------------------+---+----------------------------------------+
//!  |<------------- prefix, to a multiple of 64 ---------------->|<------------- pages ----------------->|
//! ```
//! The entry head's body CRC covers the prefix.

use super::merge::MAX_RECORDS;
use super::names::NameEncoder;
use super::{Location, bucket_of, hash, tag_of};
use crate::format::chunk::ChunkRef;
use crate::format::entry::HEAD_LEN;
use crate::format::tables::{SECTIONS, Section, SegmentHead, SegmentRef};

/// Bytes covered by one checksum.
pub(super) const PAGE: usize = 4 << 10;
/// Bytes of names and metadata that are enough for one segment: far below what its 32-bit offsets reach, since a record has
/// at most some 80 MiB of them.
pub(crate) const SEGMENT_ROOM: usize = 512 << 20;
/// Records a bucket holds on average, at most.
const PER_BUCKET: usize = 8;

/// Collects a segment.
#[derive(Debug)]
pub(crate) struct SegmentBuilder {
    first_ordinal: u64,
    first_chunk: u64,
    locations: Vec<u8>,
    hashes: Vec<(u64, u32)>,
    names: NameEncoder,
    chunks: Vec<u8>,
    kills: Vec<u64>,
    metadata_ordinals: Vec<u8>,
    metadata_offsets: Vec<u8>,
    metadata: Vec<u8>,
}

/// A segment as bytes: the body of an INDEX entry, padded to a multiple of 64.
#[derive(Debug)]
pub(crate) struct EncodedSegment {
    pub(crate) body: Vec<u8>,
    /// CRC of the prefix, for the entry head.
    pub(crate) body_crc: u32,
    /// All but its offset.
    pub(crate) reference: SegmentRef,
}

impl SegmentBuilder {
    /// A segment whose first record and chunk have these numbers.
    pub(crate) fn new(first_ordinal: u64, first_chunk: u64) -> Self {
        Self {
            first_ordinal,
            first_chunk,
            locations: Vec::new(),
            hashes: Vec::new(),
            names: NameEncoder::default(),
            chunks: Vec::new(),
            kills: Vec::new(),
            metadata_ordinals: Vec::new(),
            metadata_offsets: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether the next record belongs into a segment of its own: this one has `room` bytes of names and metadata.
    pub(crate) fn is_full(&self, room: usize) -> bool {
        self.names.bytes.len() + self.metadata.len() >= room || self.len() as u64 >= MAX_RECORDS
    }

    /// An empty segment behind this one.
    pub(crate) fn following(&self) -> Self {
        let n_chunks = self.chunks.len() / ChunkRef::LEN;
        Self::new(self.first_ordinal + self.len() as u64, self.first_chunk + n_chunks as u64)
    }

    /// Appends a record.
    pub(crate) fn push(&mut self, name: &[u8], location: &Location, metadata: Option<&[u8]>) {
        let ordinal = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.locations.extend_from_slice(&location.encode());
        self.hashes.push((hash(name), ordinal));
        self.names.push(name);
        if let Some(value) = metadata {
            self.metadata_ordinals.extend_from_slice(&ordinal.to_le_bytes());
            self.push_metadata_offset();
            self.metadata.extend_from_slice(value);
        }
    }

    fn push_metadata_offset(&mut self) {
        let offset = u32::try_from(self.metadata.len()).unwrap_or(u32::MAX);
        self.metadata_offsets.extend_from_slice(&offset.to_le_bytes());
    }

    /// Appends a chunk.
    pub(crate) fn push_chunk(&mut self, chunk: &ChunkRef) {
        self.chunks.extend_from_slice(&chunk.encode());
    }

    /// Notes the death of an older segment's record.
    pub(crate) fn kill(&mut self, ordinal: u64) {
        self.kills.push(ordinal);
    }

    /// The segment as bytes.
    pub(crate) fn finish(mut self) -> EncodedSegment {
        let n = self.len();
        self.push_metadata_offset();
        self.kills.sort_unstable();
        let n_kills = self.kills.len() as u64;
        let kills: Vec<u8> = self.kills.iter().flat_map(|ordinal| ordinal.to_le_bytes()).collect();

        let bits = u8::try_from(n.div_ceil(PER_BUCKET).next_power_of_two().trailing_zeros()).unwrap_or(0);
        self.hashes.sort_unstable();
        let mut buckets = vec![0u32; (1 << bits) + 1];
        let mut hashes = Vec::with_capacity(8 * n);
        for &(hash, ordinal) in &self.hashes {
            buckets[bucket_of(hash, bits) + 1] += 1;
            hashes.extend_from_slice(&tag_of(hash, bits).to_le_bytes());
            hashes.extend_from_slice(&ordinal.to_le_bytes());
        }
        let mut sum = 0;
        let buckets: Vec<u8> = buckets
            .iter()
            .flat_map(|&count| {
                sum += count;
                sum.to_le_bytes()
            })
            .collect();
        let (blocks, names) = self.names.finish();
        let blocks: Vec<u8> = blocks.iter().flat_map(|start| start.to_le_bytes()).collect();

        let mut reference = SegmentRef {
            first_ordinal: self.first_ordinal,
            n_records: n as u64,
            first_chunk: self.first_chunk,
            n_chunks: (self.chunks.len() / ChunkRef::LEN) as u64,
            n_kills,
            ..SegmentRef::default()
        };
        let arrays: [Vec<u8>; SECTIONS] = [
            self.locations,
            buckets,
            hashes,
            blocks,
            names,
            self.chunks,
            kills,
            self.metadata_ordinals,
            self.metadata_offsets,
            self.metadata,
        ];
        let mut sections = [Section::default(); SECTIONS];
        let mut pages = Vec::with_capacity(arrays.iter().map(|array| array.len() + 8).sum());
        for (array, section) in arrays.iter().zip(&mut sections) {
            *section = Section { offset: pages.len() as u64, length: array.len() as u64 };
            pages.extend_from_slice(array);
            pages.resize(pages.len().next_multiple_of(8), 0);
        }
        let head = SegmentHead {
            first_ordinal: reference.first_ordinal,
            n_records: reference.n_records,
            first_chunk: reference.first_chunk,
            n_chunks: reference.n_chunks,
            n_kills,
            n_metadata: sections[7].length / 4,
            bucket_bits: bits,
            page_size: u32::try_from(PAGE).unwrap_or(0),
            paged_len: pages.len() as u64,
            sections,
        };
        let mut body = prefix(&head, &pages);
        let body_crc = crc32c::crc32c(&body);
        body.extend_from_slice(&pages);
        body.resize(body.len().next_multiple_of(HEAD_LEN), 0);
        reference.length = (HEAD_LEN + body.len()) as u64;
        EncodedSegment { body, body_crc, reference }
    }
}

fn prefix(head: &SegmentHead, pages: &[u8]) -> Vec<u8> {
    let head = head.encode();
    let n_pages = pages.len().div_ceil(PAGE);
    let mut out = Vec::with_capacity(prefix_len(head.len(), n_pages));
    for count in [head.len(), n_pages] {
        out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.extend_from_slice(&head);
    out.extend(pages.chunks(PAGE).flat_map(|page| crc32c::crc32c(page).to_le_bytes()));
    out.resize(prefix_len(head.len(), n_pages), 0);
    out
}

/// Bytes of the prefix.
pub(crate) fn prefix_len(head_len: usize, n_pages: usize) -> usize {
    (8 + head_len + 4 * n_pages).next_multiple_of(HEAD_LEN)
}

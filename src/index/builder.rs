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
    /// In the order of the records.
    hashes: Vec<u64>,
    names: NameEncoder,
    chunks: Vec<u8>,
    kills: Vec<u64>,
    metadata_ordinals: Vec<u8>,
    metadata_offsets: Vec<u8>,
    metadata: Vec<u8>,
}

/// A segment as bytes.
#[derive(Debug)]
pub(crate) struct EncodedSegment {
    /// A whole INDEX entry: 64 bytes of room for its head, then the body, padded to a multiple of 64.
    pub(crate) bytes: Vec<u8>,
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
        self.push_hashed(hash(name), name, location, metadata);
    }

    /// As [`push`](Self::push), where the hash of the name is known.
    pub(crate) fn push_hashed(
        &mut self,
        hash: u64,
        name: &[u8],
        location: &Location,
        metadata: Option<&[u8]>,
    ) {
        let ordinal = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.locations.extend_from_slice(&location.encode());
        self.hashes.push(hash);
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

    /// The segment as bytes. Each array is let go of as soon as it is in its place: segments are large.
    pub(crate) fn finish(mut self) -> EncodedSegment {
        let n = self.len();
        self.push_metadata_offset();
        self.kills.sort_unstable();
        let kills: Vec<u8> = self.kills.iter().flat_map(|ordinal| ordinal.to_le_bytes()).collect();
        let bits = u8::try_from(n.div_ceil(PER_BUCKET).next_power_of_two().trailing_zeros()).unwrap_or(0);
        let (blocks, names) = self.names.finish();
        let mut reference = SegmentRef {
            first_ordinal: self.first_ordinal,
            n_records: n as u64,
            first_chunk: self.first_chunk,
            n_chunks: (self.chunks.len() / ChunkRef::LEN) as u64,
            n_kills: self.kills.len() as u64,
            ..SegmentRef::default()
        };
        let lengths: [usize; SECTIONS] = [
            self.locations.len(),
            4 * ((1 << bits) + 1),
            8 * n,
            4 * blocks.len(),
            names.len(),
            self.chunks.len(),
            kills.len(),
            self.metadata_ordinals.len(),
            self.metadata_offsets.len(),
            self.metadata.len(),
        ];
        let mut paged_len = 0;
        let sections = lengths.map(|length| {
            let section = Section { offset: paged_len, length: length as u64 };
            paged_len += (length as u64).next_multiple_of(8);
            section
        });
        let head = SegmentHead {
            first_ordinal: reference.first_ordinal,
            n_records: reference.n_records,
            first_chunk: reference.first_chunk,
            n_chunks: reference.n_chunks,
            n_kills: reference.n_kills,
            n_metadata: sections[7].length / 4,
            bucket_bits: bits,
            page_size: u32::try_from(PAGE).unwrap_or(0),
            paged_len,
            sections,
        }
        .encode();
        let paged_len = usize::try_from(paged_len).unwrap_or(usize::MAX);
        let pages_at = HEAD_LEN + prefix_len(head.len(), paged_len.div_ceil(PAGE));
        let mut bytes = Vec::with_capacity((pages_at + paged_len).next_multiple_of(HEAD_LEN));
        bytes.resize(pages_at, 0);
        let mut append = |array: Vec<u8>| {
            bytes.extend_from_slice(&array);
            bytes.resize(pages_at + (bytes.len() - pages_at).next_multiple_of(8), 0);
        };
        append(self.locations);
        let (buckets, hashes) = bucket(&self.hashes, bits);
        drop(self.hashes);
        append(buckets);
        append(hashes);
        append(blocks.iter().flat_map(|start| start.to_le_bytes()).collect());
        append(names);
        append(self.chunks);
        append(kills);
        append(self.metadata_ordinals);
        append(self.metadata_offsets);
        append(self.metadata);
        debug_assert_eq!(bytes.len(), pages_at + paged_len);
        write_prefix(&mut bytes, &head, pages_at);
        let body_crc = crc32c::crc32c(&bytes[HEAD_LEN..pages_at]);
        bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
        reference.length = bytes.len() as u64;
        EncodedSegment { bytes, body_crc, reference }
    }
}

/// Starts of the buckets, and tags and ordinals in them.
fn bucket(hashes: &[u64], bits: u8) -> (Vec<u8>, Vec<u8>) {
    let mut next = vec![0u32; (1 << bits) + 1];
    for &hash in hashes {
        next[bucket_of(hash, bits) + 1] += 1;
    }
    let mut sum = 0;
    for count in &mut next {
        sum += *count;
        *count = sum;
    }
    let buckets = next.iter().flat_map(|start| start.to_le_bytes()).collect();
    let mut entries = vec![0; 8 * hashes.len()];
    for (ordinal, &hash) in (0_u32..).zip(hashes) {
        let slot = &mut next[bucket_of(hash, bits)];
        let entry = &mut entries[8 * *slot as usize..][..8];
        entry[..4].copy_from_slice(&tag_of(hash, bits).to_le_bytes());
        entry[4..].copy_from_slice(&ordinal.to_le_bytes());
        *slot += 1;
    }
    (buckets, entries)
}

/// Fills the prefix of a segment in `bytes`, an entry whose pages start at `pages_at`.
fn write_prefix(bytes: &mut [u8], head: &[u8], pages_at: usize) {
    let (before, pages) = bytes.split_at_mut(pages_at);
    let prefix = &mut before[HEAD_LEN..];
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    prefix[..4].copy_from_slice(&count(head.len()));
    prefix[4..8].copy_from_slice(&count(pages.len().div_ceil(PAGE)));
    prefix[8..8 + head.len()].copy_from_slice(head);
    for (slot, page) in prefix[8 + head.len()..].chunks_exact_mut(4).zip(pages.chunks(PAGE)) {
        slot.copy_from_slice(&crc32c::crc32c(page).to_le_bytes());
    }
}

/// Bytes of the prefix.
pub(crate) fn prefix_len(head_len: usize, n_pages: usize) -> usize {
    (8 + head_len + 4 * n_pages).next_multiple_of(HEAD_LEN)
}

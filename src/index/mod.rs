//! From names to places. Segments are immutable, and the newest one with a name wins.
//!
//! ```text
//! segment    one INDEX entry, read in place; each page of its arrays is checked on first touch
//! filter     tells which names a segment certainly does not have
//! pages      pages of segments that are not mapped, kept in memory
//! records    the records that go into a segment, in insertion order
//! writer     writes a segment
//! names      front-coded names inside a segment
//! columns    scalars of records
//! merge      decides when to merge segments, and merges them
//! ```
//!
//! Records are numbered by *ordinal* in insertion order. A segment covers a run of ordinals and of chunks.
//! It also lists *tombstones*: ordinals in older segments whose record was replaced or removed since. The
//! format calls them kills. Merging drops dead records and closes the gaps. Only the newest segments are
//! ever merged, so no older ordinal changes.

mod columns;
mod filter;
mod merge;
mod names;
mod order;
mod pages;
mod records;
mod segment;
mod writer;

pub(crate) use merge::{MAX_RECORDS, Merge, tail_to_merge};
pub(crate) use names::NameList;
pub(crate) use order::kills;
pub(crate) use pages::PageCache;
pub(crate) use records::{Chosen, Records};
#[cfg(any(test, all(feature = "testing", feature = "atomic", feature = "json")))]
pub(crate) use segment::CHUNKS as CHUNKS_SECTION;
#[cfg(feature = "shards")]
pub(crate) use segment::Shift;
pub(crate) use segment::{Segment, Way, expect_names, find_live};
pub(crate) use writer::{Extras, SEGMENT_ROOM, SegmentPlan, piece_for};
#[cfg(any(test, all(feature = "testing", feature = "atomic", feature = "json")))]
pub(crate) use writer::{PAGE, page_table_len, prefix_len};

use crate::format::growth::Newer;
use crate::le::{u32_at, u64_at};

/// Bits of an address.
const ADDRESS_BITS: u32 = 48;
/// The first of the bits above an address and its flags, which are the highest of the length.
const LENGTH_SHIFT: u32 = 56;

/// Where a record lies: 16 bytes, as in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Location {
    /// Chunk number times chunk size, plus the offset in the chunk; under 2^48.
    pub(crate) address: u64,
    /// Raw bytes; under 2^40.
    pub(crate) length: u64,
    /// CRC32C of the raw bytes.
    pub(crate) checksum: u32,
    /// The bits above the address: none in a depot's file, unless a later version wrote it.
    pub(crate) flags: u8,
}

impl Location {
    /// Bytes of a location in the index.
    pub(crate) const LEN: usize = 16;
    /// Addresses have 48 bits; the 8 bits above are flags.
    pub(crate) const MAX_ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;
    /// Lengths have 40 bits; the 8 highest of them are above the flags.
    pub(crate) const MAX_LENGTH: u64 = (1 << 40) - 1;
    /// The record has no checksum, because another program wrote it. No depot file has this flag.
    pub(crate) const UNCHECKED: u8 = 1;

    /// The 16 bytes.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let word = self.address
            | u64::from(self.flags) << ADDRESS_BITS
            | self.length.min(Self::MAX_LENGTH) >> 32 << LENGTH_SHIFT;
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&word.to_le_bytes());
        out[8..12].copy_from_slice(&self.length.to_le_bytes()[..4]);
        out[12..].copy_from_slice(&self.checksum.to_le_bytes());
        out
    }

    /// Reads the 16 bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = u64_at(bytes, 0)?;
        Some(Self {
            address: word & Self::MAX_ADDRESS,
            length: word >> LENGTH_SHIFT << 32 | u64::from(u32_at(bytes, 8)?),
            checksum: u32_at(bytes, 12)?,
            flags: word.to_le_bytes()[6],
        })
    }

    /// Whether the record has no checksum.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.flags & Self::UNCHECKED != 0
    }

    /// Refuses a record whose bytes only a later version can read. Records without a checksum are only in the
    /// files of other programs, which are `foreign`.
    pub(crate) fn check_known(&self, foreign: bool) -> Result<(), Newer> {
        let unknown = self.flags & !(if foreign { Self::UNCHECKED } else { 0 });
        // The layout of a record has bits 49 to 55.
        match (unknown >> 1, unknown) {
            (0, 0) => Ok(()),
            (0, flags) => Err(Newer::new("the record flags", &format!("{flags:#x}"))),
            (layout, _) => Err(Newer::new("record layout", &layout)),
        }
    }

    /// Raw bytes, as many as a buffer for them has.
    pub(crate) fn in_memory(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Raw bytes, or [`u32::MAX`] if there are more.
    pub(crate) fn clipped_length(&self) -> u32 {
        u32::try_from(self.length).unwrap_or(u32::MAX)
    }

    /// Address of the first byte after the record.
    pub(crate) fn end(&self) -> u64 {
        self.address.saturating_add(self.length)
    }
}

/// The hash of a tagged name, which chooses its bucket and its tag.
pub(crate) fn hash(tagged: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(tagged)
}

/// The bucket of a hash among `2^bits` buckets.
fn bucket_of(hash: u64, bits: u8) -> usize {
    // `bits` is at most 32 (checked where segments are made and opened).
    if bits == 0 { 0 } else { usize::try_from(hash >> (64 - u32::from(bits))).unwrap_or(usize::MAX) }
}

/// The 32 bits of a hash that follow the bits of the bucket.
fn tag_of(hash: u64, bits: u8) -> u32 {
    let tail = hash.checked_shl(u32::from(bits)).unwrap_or(0) >> 32;
    u32::try_from(tail).unwrap_or(u32::MAX)
}

/// The ordinal of the live record at `position`, given the sorted ordinals of the dead records.
pub(crate) fn select_live(position: u64, dead: &[u64]) -> u64 {
    let mut before = 0;
    // dead[j] - j live records precede dead[j].
    let mut upper = dead.len();
    while before < upper {
        let middle = usize::midpoint(before, upper);
        if dead[middle].saturating_sub(middle as u64) <= position {
            before = middle + 1;
        } else {
            upper = middle;
        }
    }
    position + before as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_come_back() {
        let location = Location {
            address: Location::MAX_ADDRESS,
            length: Location::MAX_LENGTH,
            checksum: 7,
            flags: Location::UNCHECKED,
        };
        assert_eq!(Location::decode(&location.encode()), Some(location));
        assert_eq!(Location::decode(&[0; 15]), None);
        assert!(location.is_unchecked() && location.check_known(true).is_ok());
        assert_eq!(location.check_known(false).unwrap_err().name, "0x1");
        let newer = Location { flags: 3 << 1, ..location };
        assert_eq!(Location::decode(&newer.encode()), Some(newer));
        assert_eq!(newer.check_known(true).unwrap_err(), Newer::new("record layout", &3));
    }

    #[test]
    fn positions_skip_the_dead() {
        let dead = [0, 3, 4, 9];
        let live: Vec<u64> = (0..12).filter(|o| !dead.contains(o)).collect();
        for (position, &ordinal) in live.iter().enumerate() {
            assert_eq!(select_live(position as u64, &dead), ordinal);
        }
        assert_eq!(select_live(5, &[]), 5);
        // Only a forged index has the same ordinal more than once.
        assert_eq!(select_live(0, &[0, 0, 0]), 3);
    }

    #[test]
    fn buckets_and_tags_split_the_hash() {
        let hash = 0xabcd_ef01_2345_6789;
        assert_eq!((bucket_of(hash, 0), tag_of(hash, 0)), (0, 0xabcd_ef01));
        assert_eq!((bucket_of(hash, 8), tag_of(hash, 8)), (0xab, 0xcdef_0123));
        assert_eq!((bucket_of(hash, 32), tag_of(hash, 32)), (0xabcd_ef01, 0x2345_6789));
    }
}

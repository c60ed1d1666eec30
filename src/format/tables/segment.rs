//! The head of an index segment.

use flatbuffers::{FlatBufferBuilder, root};

use super::varint::{push_varint, take_varint};
use super::{broken, fbs};
use crate::format::growth::{Fault, unknown_field};

/// One array of an index segment, from the start of the first one.
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
    pub(crate) n_tombstones: u64,
    pub(crate) n_metadata: u64,
    pub(crate) bucket_bits: u8,
    pub(crate) order: Order,
    /// By number: section `n` has kind `n + 1`. Those that are not in the file are empty.
    pub(crate) sections: [Section; SECTIONS],
    /// Where the last section ends, padding included: the bytes that pages cover.
    pub(crate) paged_len: u64,
    /// Whether there is more than this version knows: a merge would lose it.
    pub(crate) has_more: bool,
}

/// What a segment knows of the order of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    /// Nothing.
    #[default]
    Unknown,
    /// The records are in that order.
    Identity,
    /// A section lists the records in that order.
    Listed,
}

/// How many kinds of sections this version knows.
pub(crate) const SECTIONS: usize = 15;

/// Sections of this kind and later ones may be left out of account.
const IGNORABLE: u8 = 0x80;

/// Fields of the table that this version knows.
const KNOWN_FIELDS: u16 = 9;

/// Where each section of the given lengths starts, and where the last one ends.
pub(crate) fn lay_out(lengths: [u64; SECTIONS]) -> ([Section; SECTIONS], u64) {
    let mut end = 0_u64;
    let sections = lengths.map(|length| {
        let section = Section { offset: end, length };
        end = end.saturating_add(length.checked_next_multiple_of(8).unwrap_or(u64::MAX));
        section
    });
    (sections, end)
}

impl SegmentHead {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let listed = (1_u8..).zip(&self.sections).filter(|(_, section)| section.length > 0);
        let mut packed = Vec::new();
        for (kind, section) in listed {
            packed.push(kind);
            push_varint(&mut packed, section.length);
        }
        let mut builder = FlatBufferBuilder::new();
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let args = fbs::SegmentHeadArgs {
            first_ordinal: self.first_ordinal,
            n_records: small(self.n_records),
            first_chunk: self.first_chunk,
            n_chunks: self.n_chunks,
            n_kills: self.n_tombstones,
            n_metadata: small(self.n_metadata),
            bucket_bits: self.bucket_bits,
            order: match self.order {
                Order::Unknown => 0,
                Order::Identity => 1,
                Order::Listed => 2,
            },
            sections: Some(builder.create_vector(&packed)),
        };
        let table = fbs::SegmentHead::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    /// Reads the table. The index, which knows the lengths that sections must have, checks them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let table = root::<fbs::SegmentHead<'_>>(bytes).map_err(|e| broken(&e))?;
        let mut packed = table.sections().map(|sections| sections.bytes()).unwrap_or_default();
        let mut head = Self {
            first_ordinal: table.first_ordinal(),
            n_records: u64::from(table.n_records()),
            first_chunk: table.first_chunk(),
            n_chunks: table.n_chunks(),
            n_tombstones: table.n_kills(),
            n_metadata: u64::from(table.n_metadata()),
            bucket_bits: table.bucket_bits(),
            order: match table.order() {
                0 => Order::Unknown,
                1 => Order::Identity,
                2 => Order::Listed,
                other => return Err(Fault::newer("order of names", &other)),
            },
            sections: [Section::default(); SECTIONS],
            paged_len: 0,
            has_more: unknown_field(&table._tab, KNOWN_FIELDS).is_some(),
        };
        let (mut end, mut last) = (0_u64, 0);
        while let Some((&kind, rest)) = packed.split_first() {
            packed = rest;
            let length = take_varint(&mut packed).filter(|_| kind > last);
            let length = length.ok_or("sections without lengths, or out of order")?;
            last = kind;
            let section = Section { offset: end, length };
            end = length
                .checked_next_multiple_of(8)
                .and_then(|padded| end.checked_add(padded))
                .ok_or("sections of more than 2^64 bytes")?;
            match head.sections.get_mut(usize::from(kind).wrapping_sub(1)) {
                Some(known) => *known = section,
                None if kind < IGNORABLE => return Err(Fault::newer("index section", &kind)),
                None => head.has_more = true,
            }
        }
        head.paged_len = end;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_without_their_empty_sections() {
        let (sections, paged_len) = lay_out([32, 8, 0, 5, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]);
        assert_eq!((sections[3].offset, sections[8].offset, paged_len), (40, 48, 56));
        let head = SegmentHead { n_records: 2, sections, paged_len, ..SegmentHead::default() };
        let back = SegmentHead::decode(&head.encode()).unwrap();
        let given =
            |head: &SegmentHead| head.sections.map(|s| if s.length > 0 { s } else { Section::default() });
        assert_eq!(given(&back), given(&head));
        assert_eq!((back.n_records, back.paged_len, back.has_more), (2, 56, false));
    }

    /// A head with a section of this kind and 8 bytes after a section of locations.
    fn with_section(kind: u8) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let sections = Some(builder.create_vector(&[2, 16, kind, 8]));
        let args = fbs::SegmentHeadArgs { n_records: 1, sections, ..fbs::SegmentHeadArgs::default() };
        let table = fbs::SegmentHead::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    #[test]
    fn sections_of_later_versions_are_left_out_of_account_or_refused() {
        for kind in 0x80..=u8::MAX {
            let head = SegmentHead::decode(&with_section(kind)).unwrap();
            assert!(head.has_more, "a merge must not lose section {kind}");
            assert_eq!((head.sections[1].length, head.paged_len), (16, 24));
        }
        for kind in 16..0x80 {
            assert_eq!(SegmentHead::decode(&with_section(kind)), Err(Fault::newer("index section", &kind)));
        }
        for kind in [0, 1, 2] {
            assert!(
                matches!(SegmentHead::decode(&with_section(kind)), Err(Fault::Damaged(_))),
                "out of order"
            );
        }
        assert!(!SegmentHead::decode(&with_section(15)).unwrap().has_more);
    }
}

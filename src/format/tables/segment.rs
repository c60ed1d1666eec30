//! The head of an index segment.

use flatbuffers::{FlatBufferBuilder, root};

use super::statistics::{Zone, decode_tallied, decode_zones, encode_tallied, encode_zones};
use super::varint::{push_varint, take_varint, unzigzag, zigzag};
use super::{broken, fbs};
use crate::format::growth::{Fault, unknown_field};
use crate::scalar::{MAX_COLUMNS, ScalarKind};
use crate::statistics::Tallied;

/// One array of an index segment, from the start of the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The start of an index segment.
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// In the order of the depot's parameters. None if there are no records here.
    pub(crate) columns: Vec<Column>,
    /// What is known of the values of each column; none if the file does not tell.
    pub(crate) zones: Vec<Zone>,
    pub(crate) tallied: Tallied,
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
pub(crate) const SECTIONS: usize = 16;

/// Sections of this kind and later ones may be left out of account.
const IGNORABLE: u8 = 0x80;

/// Fields of the table that this version knows.
const KNOWN_FIELDS: u16 = 12;

/// How a segment has the values of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) kind: ScalarKind,
    /// Bytes of an element for each record: 0, 1, 2, 4 or 8.
    pub(crate) width: u8,
    pub(crate) absent: Absent,
    /// A value of a column of integers is `base` + `step` × the number of the record + its element. In a
    /// column of floats without elements, all values have the bits `base`.
    pub(crate) base: u64,
    pub(crate) step: u64,
}

/// Which records have no value in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    None,
    /// A bit for each record follows the elements. It is set if there is no value.
    Some,
    All,
}

const FLOATS: u8 = 0x10;
const SOME_ABSENT: u8 = 0x20;
const ALL_ABSENT: u8 = 0x40;

impl Column {
    /// Bytes of the elements of `n` records, padding included.
    pub(crate) fn elements_len(&self, n: u64) -> u64 {
        n.saturating_mul(u64::from(self.width)).checked_next_multiple_of(8).unwrap_or(u64::MAX)
    }

    /// Bytes of the column of `n` records.
    pub(crate) fn len(&self, n: u64) -> u64 {
        let bits = if self.absent == Absent::Some { n.div_ceil(64).saturating_mul(8) } else { 0 };
        self.elements_len(n).saturating_add(bits)
    }

    /// The bits of the value of record `number`, which has these bytes as its element.
    pub(crate) fn value(&self, number: u64, element: &[u8]) -> u64 {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(element).for_each(|(to, from)| *to = *from);
        let element = u64::from_le_bytes(bytes);
        match (self.kind, self.width) {
            (ScalarKind::Integer, _) => {
                self.base.wrapping_add(self.step.wrapping_mul(number)).wrapping_add(element)
            }
            (ScalarKind::Float, 0) => self.base,
            (ScalarKind::Float, 4) => {
                f64::from(f32::from_bits(u32::try_from(element).unwrap_or(u32::MAX))).to_bits()
            }
            (ScalarKind::Float, _) => element,
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        let floats = self.kind == ScalarKind::Float;
        let absent = match self.absent {
            Absent::None => 0,
            Absent::Some => SOME_ABSENT,
            Absent::All => ALL_ABSENT,
        };
        out.push(self.width | if floats { FLOATS } else { 0 } | absent);
        if floats {
            push_varint(out, self.base);
        } else {
            push_varint(out, zigzag(self.base));
            push_varint(out, zigzag(self.step));
        }
    }

    fn take(packed: &mut &[u8]) -> Result<Self, Fault> {
        let cut = || "columns that are cut off".to_owned();
        let (&form, rest) = packed.split_first().ok_or_else(cut)?;
        *packed = rest;
        let kind = if form & FLOATS == 0 { ScalarKind::Integer } else { ScalarKind::Float };
        let absent = match form & (SOME_ABSENT | ALL_ABSENT) {
            0 => Absent::None,
            SOME_ABSENT => Absent::Some,
            ALL_ABSENT => Absent::All,
            _ => return Err(Fault::newer("form of a column", &form)),
        };
        let width = form & 0x0f;
        let widths: &[u8] = if kind == ScalarKind::Float { &[0, 4, 8] } else { &[0, 1, 2, 4, 8] };
        if form & 0x80 != 0 || !widths.contains(&width) {
            return Err(Fault::newer("form of a column", &form));
        }
        let mut varint = || take_varint(packed).ok_or_else(cut);
        let (base, step) = match kind {
            ScalarKind::Integer => (unzigzag(varint()?), unzigzag(varint()?)),
            ScalarKind::Float => (varint()?, 0),
        };
        Ok(Self { kind, width, absent, base, step })
    }
}

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
        let mut columns = Vec::new();
        self.columns.iter().for_each(|column| column.push(&mut columns));
        let (zones, statistics) = (encode_zones(&self.zones), encode_tallied(&self.tallied));
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
            columns: (!columns.is_empty()).then(|| builder.create_vector(&columns)),
            zones: (!zones.is_empty()).then(|| builder.create_vector(&zones)),
            statistics: (!statistics.is_empty()).then(|| builder.create_vector(&statistics)),
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
            columns: Vec::new(),
            zones: Vec::new(),
            tallied: Tallied::default(),
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
        let mut columns = table.columns().map(|columns| columns.bytes()).unwrap_or_default();
        while !columns.is_empty() {
            if head.columns.len() == MAX_COLUMNS {
                return Err(format!("more than {MAX_COLUMNS} columns").into());
            }
            head.columns.push(Column::take(&mut columns)?);
        }
        if let Some(zones) = table.zones() {
            let kinds: Vec<_> = head.columns.iter().map(|column| column.kind).collect();
            head.zones = decode_zones(zones.bytes(), &kinds)?;
        }
        if let Some(statistics) = table.statistics() {
            head.tallied = decode_tallied(statistics.bytes())?;
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_without_their_empty_sections() {
        let (sections, paged_len) = lay_out([32, 8, 0, 5, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((sections[3].offset, sections[8].offset, paged_len), (40, 48, 56));
        let column = |kind, width, absent, base: i64, step: i64| {
            let (base, step) = (base.cast_unsigned(), step.cast_unsigned());
            Column { kind, width, absent, base, step }
        };
        let columns = vec![
            column(ScalarKind::Integer, 0, Absent::None, -5, i64::MIN),
            column(ScalarKind::Integer, 8, Absent::Some, i64::MAX, 0),
            column(ScalarKind::Float, 0, Absent::None, 0.5_f64.to_bits().cast_signed(), 0),
            column(ScalarKind::Float, 4, Absent::All, 0, 0),
        ];
        let head = SegmentHead { n_records: 2, sections, columns, paged_len, ..SegmentHead::default() };
        let back = SegmentHead::decode(&head.encode()).unwrap();
        let given =
            |head: &SegmentHead| head.sections.map(|s| if s.length > 0 { s } else { Section::default() });
        assert_eq!(given(&back), given(&head));
        assert_eq!((back.n_records, back.paged_len, back.has_more), (2, 56, false));
        assert_eq!(back.columns, head.columns);
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
        for kind in 17..0x80 {
            assert_eq!(SegmentHead::decode(&with_section(kind)), Err(Fault::newer("index section", &kind)));
        }
        for kind in [0, 1, 2] {
            assert!(
                matches!(SegmentHead::decode(&with_section(kind)), Err(Fault::Damaged(_))),
                "out of order"
            );
        }
        assert!(!SegmentHead::decode(&with_section(16)).unwrap().has_more);
    }

    #[test]
    fn columns_of_other_forms_are_refused_and_cut_ones_are_damaged() {
        for form in 0..=u8::MAX {
            let taken = Column::take(&mut &[form, 0, 0][..]);
            let floats = form & FLOATS != 0;
            let known = form & 0x80 == 0
                && form & 0x60 != 0x60
                && [0, 4, 8].iter().chain(if floats { &[][..] } else { &[1, 2] }).any(|w| form & 0x0f == *w);
            assert_eq!(taken.is_ok(), known, "{form:#x}");
            assert!(known || matches!(taken, Err(Fault::Newer(_))), "{form:#x}");
            assert!(!known || matches!(Column::take(&mut &[form][..]), Err(Fault::Damaged(_))), "{form:#x}");
        }
    }

    #[test]
    fn values_come_from_their_elements() {
        let column = Column {
            kind: ScalarKind::Integer,
            width: 1,
            absent: Absent::None,
            base: (-100_i64).cast_unsigned(),
            step: 10,
        };
        assert_eq!(column.value(3, &[5]).cast_signed(), -65);
        let floats = Column { kind: ScalarKind::Float, width: 4, base: 0, ..column };
        assert_eq!(floats.value(3, &(-0.5_f32).to_le_bytes()), (-0.5_f64).to_bits());
        let floats = Column { width: 8, ..floats };
        assert_eq!(floats.value(3, &f64::NAN.to_le_bytes()), f64::NAN.to_bits());
        assert_eq!((floats.len(3), column.len(3), column.elements_len(9)), (24, 8, 16));
        assert_eq!(Column { absent: Absent::Some, ..column }.len(65), 72 + 16);
    }
}

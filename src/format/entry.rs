//! The head of an entry. Everything after the file's header is a sequence of heads, each with its body.
//!
//! ```text
//!  0        8    9     12        16        24       32       40      48        56       60     64
//!  +--------+----+-----+---------+---------+--------+--------+-------+---------+--------+------+
//!  | magic  |kind| 0   | body    | sequence| ordinal| offset | length| depot   |previous| CRC  |
//!  | 8 bytes| u8 |     | CRC u32 | u64     | u64    | u64    | u64   | id u64  | u32    | u32  |
//!  +--------+----+-----+---------+---------+--------+--------+-------+---------+--------+------+
//!  |<------------------------------ covered by the CRC32C ------------------------------>|
//! ```
//!
//! `offset` is the entry's own place in the file, and `depot id` is random. An entry copied from elsewhere is
//! therefore not taken for an entry. `sequence` counts entries, and `previous` repeats the CRC of the head
//! before. A stale entry after a new one is therefore not taken for an entry either. `length` counts the
//! head, the body and the padding up to the next entry, and is a multiple of 64.

use std::fmt::Write;

use super::MAX_SEQUENCE;
use super::growth::Newer;
use crate::checksum::crc32c;
use crate::le::{u32_at, u64_at};

/// Bytes of a head. Entries start at multiples of it.
pub(crate) const HEAD_LEN: usize = 64;

/// The first bytes of a head. They are not text, and text mode or a 7-bit channel would change them.
pub(crate) const MAGIC: [u8; 8] = *b"\x8bVLD\r\n\x1a\0";
const KIND_AT: usize = MAGIC.len();
const BODY_CRC_AT: usize = KIND_AT + 4;
const SEQUENCE_AT: usize = BODY_CRC_AT + 4;
const ORDINAL_AT: usize = SEQUENCE_AT + 8;
const OFFSET_AT: usize = ORDINAL_AT + 8;
const LENGTH_AT: usize = OFFSET_AT + 8;
const DEPOT_AT: usize = LENGTH_AT + 8;
const PREVIOUS_AT: usize = DEPOT_AT + 8;
const CRC_AT: usize = PREVIOUS_AT + 4;
const _: () = assert!(CRC_AT + 4 == HEAD_LEN, "docs/reference/format.md: a head has 64 bytes");

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records: directory, block checksums, Blosc2 chunk. `ordinal` is the chunk's number.
    Chunk,
    /// An index segment. `ordinal` is that of its first record.
    Index,
    /// A commit. `ordinal` is the commit's sequence.
    Commit,
    /// Blosc2's offsets chunk and trailer. `ordinal` is the number of chunks.
    Frame,
    /// Operations without a payload: only a directory.
    Log,
    /// The depot's own metadata: a MessagePack map.
    Metadata,
    /// The losses that the depot is known to have had.
    Losses,
    /// A kind that only later versions know, by its number.
    Other(u8),
}

/// Kinds from this number on may be skipped.
const SKIPPABLE: u8 = 0x80;
/// Entries that may be skipped are not longer. All of them is read to know whether they are whole.
const LONGEST_SKIPPED: u64 = 4 << 30;
/// Kinds that may be skipped, and have this bit too, mean the same in a copy of the depot.
const COPYABLE: u8 = 0x40;

impl Kind {
    /// The number of the kind in a head.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::Index => 2,
            Self::Commit => 3,
            Self::Frame => 4,
            Self::Log => 5,
            Self::Metadata => 6,
            Self::Losses => 7,
            Self::Other(number) => number,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Chunk,
            2 => Self::Index,
            3 => Self::Commit,
            4 => Self::Frame,
            5 => Self::Log,
            6 => Self::Metadata,
            7 => Self::Losses,
            other => Self::Other(other),
        }
    }

    /// The name of the kind in error messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Chunk => "a chunk",
            Self::Index => "the index",
            Self::Commit => "a commit",
            Self::Frame => "the frame's end",
            Self::Log => "operations",
            Self::Metadata => "the depot's metadata",
            Self::Losses => "the note of a loss",
            Self::Other(_) => "an entry of a later version",
        }
    }

    /// Whether a new file that is made from this one may carry an entry of this unknown kind along.
    pub(crate) fn may_be_copied(self) -> bool {
        matches!(self, Self::Other(number) if number >= SKIPPABLE && number & COPYABLE != 0)
    }
}

/// The head of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHead {
    pub(crate) kind: Kind,
    /// CRC32C of the part of the body that the kind defines.
    pub(crate) body_crc: u32,
    pub(crate) sequence: u64,
    pub(crate) ordinal: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) depot_id: u64,
    /// CRC of the head of the entry before; 0 for the first.
    pub(crate) previous: u32,
    /// Zeros, unless a later version wrote the head.
    pub(crate) reserved: [u8; 3],
}

impl EntryHead {
    /// The 64 bytes.
    pub(crate) fn encode(&self) -> [u8; HEAD_LEN] {
        let mut out = [0; HEAD_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(KIND_AT, &[self.kind.number()]);
        put(KIND_AT + 1, &self.reserved);
        put(BODY_CRC_AT, &self.body_crc.to_le_bytes());
        put(SEQUENCE_AT, &self.sequence.to_le_bytes());
        put(ORDINAL_AT, &self.ordinal.to_le_bytes());
        put(OFFSET_AT, &self.offset.to_le_bytes());
        put(LENGTH_AT, &self.length.to_le_bytes());
        put(DEPOT_AT, &self.depot_id.to_le_bytes());
        put(PREVIOUS_AT, &self.previous.to_le_bytes());
        let crc = crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The CRC that the head is stored with, and that the next entry repeats.
    pub(crate) fn crc(&self) -> u32 {
        crc32c(&self.encode()[..CRC_AT])
    }

    /// Reads the head of the entry at `offset`.
    ///
    /// The error says what was found instead.
    pub(crate) fn parse(bytes: &[u8], offset: u64) -> Result<Self, String> {
        let head = Self::parse_anywhere(bytes)?;
        if head.offset != offset {
            return Err(format!("an entry that belongs at byte {}", head.offset));
        }
        Ok(head)
    }

    /// Like [`parse`](Self::parse), but the entry may lie elsewhere than where it was written.
    pub(crate) fn parse_anywhere(bytes: &[u8]) -> Result<Self, String> {
        let Some(bytes) = bytes.get(..HEAD_LEN) else {
            return Err(format!("{} bytes", bytes.len()));
        };
        if !bytes.starts_with(&MAGIC) {
            return Err(format!("bytes \"{}\" in place of the entry magic", bytes[..8].escape_ascii()));
        }
        let word = |at: usize| u64_at(bytes, at).unwrap_or(0);
        let half = |at: usize| u32_at(bytes, at).unwrap_or(0);
        let computed = crc32c(&bytes[..CRC_AT]);
        if half(CRC_AT) != computed {
            return Err(format!("head CRC32C {computed:#010x} where {:#010x} is stored", half(CRC_AT)));
        }
        let head = Self {
            kind: Kind::of(bytes[KIND_AT]),
            body_crc: half(BODY_CRC_AT),
            sequence: word(SEQUENCE_AT),
            ordinal: word(ORDINAL_AT),
            offset: word(OFFSET_AT),
            length: word(LENGTH_AT),
            depot_id: word(DEPOT_AT),
            previous: half(PREVIOUS_AT),
            reserved: [bytes[KIND_AT + 1], bytes[KIND_AT + 2], bytes[KIND_AT + 3]],
        };
        if head.sequence > MAX_SEQUENCE {
            return Err(format!("entry number {}", head.sequence));
        }
        if head.length < HEAD_LEN as u64 || !head.length.is_multiple_of(HEAD_LEN as u64) {
            return Err(format!("an entry of {} bytes", head.length));
        }
        Ok(head)
    }
}

impl EntryHead {
    /// Refuses what only a later version can read. Entries that may be skipped pass.
    pub(crate) fn check_known(&self) -> Result<(), Newer> {
        match self.kind {
            Kind::Other(number) if number < SKIPPABLE => Err(Newer::new("entry kind", &number)),
            Kind::Other(number) if self.length > LONGEST_SKIPPED => {
                Err(Newer::new("entry kind", &format_args!("{number} with {} bytes", self.length)))
            }
            _ if self.reserved != [0; 3] => Err(Newer::new("the entry flags", &hex(&self.reserved))),
            _ => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> EntryHead {
        EntryHead {
            kind: Kind::Log,
            body_crc: 1,
            sequence: 2,
            ordinal: 3,
            offset: 4160,
            length: 128,
            depot_id: 5,
            previous: 6,
            reserved: [0; 3],
        }
    }

    #[test]
    fn a_head_comes_back() {
        assert_eq!(EntryHead::parse(&head().encode(), 4160), Ok(head()));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = head().encode();
        for bit in 0..HEAD_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(EntryHead::parse(&damaged, 4160).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn unknown_kinds_are_told_by_their_number() {
        let of = |number| EntryHead { kind: Kind::of(number), ..head() };
        for number in 0..=u8::MAX {
            let head = of(number);
            assert_eq!(EntryHead::parse(&head.encode(), 4160), Ok(head));
            let refused = number == 0 || (8..0x80).contains(&number);
            assert_eq!(head.check_known().is_err(), refused, "{number}");
            assert_eq!(head.kind.may_be_copied(), number >= 0xc0, "{number}");
        }
        let long = EntryHead { length: (4 << 30) + 64, ..of(200) };
        assert_eq!(long.check_known().unwrap_err().name, "200 with 4294967360 bytes");
        let flagged = EntryHead { reserved: [0, 1, 0], ..head() };
        assert_eq!(EntryHead::parse(&flagged.encode(), 4160), Ok(flagged));
        assert_eq!(flagged.check_known().unwrap_err().name, "000100");
    }

    #[test]
    fn an_entry_in_another_place_is_no_entry() {
        assert!(EntryHead::parse(&head().encode(), 8320).unwrap_err().contains("belongs at byte 4160"));
        assert!(EntryHead::parse(&[], 0).is_err());
    }
}

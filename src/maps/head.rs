//! The first bytes of a map, of this crate and of mapbuffer: what they say, and where it puts the rest.

use std::io;
use std::ops::Range;

use super::packing::Packing;
use super::slices::Slices;
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::le::{u32_at, u64_at};

/// Bytes of the header. Those of mapbuffer are shorter.
pub(super) const LEN: usize = 32;

/// Bytes of an entry of the index: a key, and a value or the offset of one.
pub(super) const ENTRY: usize = 16;

/// Bytes of the index that one checksum is of.
pub(super) const PAGE: usize = 4096;

/// Entries in a page.
pub(super) const PAGE_ENTRIES: usize = PAGE / ENTRY;

const VERSION: u8 = 1;
const INTS: &[u8; 7] = b"vldimap";
const BYTES: &[u8; 7] = b"vldbmap";
const MAPBUFFER: &[u8; 7] = b"mapbufr";
const INTMAP: &[u8; 4] = b"intm";

/// The flag of a map whose values have checksums.
const SUMS: u8 = 1;

/// The number by which `IntMap` of mapbuffer calls `uint64`.
const UINT64: u8 = 3;

/// What a map maps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ints,
    Bytes,
}

/// Whose format the bytes of a map are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MapFormat {
    /// That of this crate: every byte has a checksum.
    #[default]
    Vldepot,
    /// That of mapbuffer. Its index and its header have no checksums.
    Mapbuffer,
}

/// What the header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) format: MapFormat,
    /// How many entries there are. All sizes that follow from it are checked.
    pub(super) count: usize,
    /// Bytes of the map, if the header says so.
    pub(super) total: Option<u64>,
    pub(super) packing: Packing,
    /// Whether each value has a checksum.
    pub(super) has_sums: bool,
}

/// An error about a byte of the header.
fn wrong(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Error {
    let (expected, found) = (expected.into(), found.into());
    Error::new(ErrorKind::Damaged { part: Part::Header, offset, expected, found })
}

fn unsupported(what: &'static str, name: impl Into<String>, offset: u64) -> Error {
    Error::new(ErrorKind::Unsupported { what, name: name.into(), offset })
}

pub(super) fn unread(source: io::Error) -> Error {
    Error::new(ErrorKind::Io { action: "read a map".into() }).because(source)
}

impl Head {
    /// Reads the header, by one slice.
    pub(super) fn read(source: &(impl Slices + ?Sized), kind: Kind) -> Result<Self> {
        let bytes = source.slice(0..LEN as u64).map_err(unread)?;
        let head = match (kind, bytes.first_chunk::<7>()) {
            (Kind::Ints, Some(INTS)) | (Kind::Bytes, Some(BYTES)) => Self::own(kind, &bytes),
            (Kind::Bytes, Some(MAPBUFFER)) => Self::mapbuffer(&bytes),
            (Kind::Ints, Some(start)) if start.starts_with(INTMAP) => Self::intmap(&bytes),
            _ => Err(Self::not_a_map(kind, &bytes)),
        }?;
        if let Some(whole) = source.whole() {
            head.check_len(whole.len() as u64)?;
        }
        Ok(head)
    }

    fn not_a_map(kind: Kind, bytes: &[u8]) -> Error {
        let start = &bytes[..bytes.len().min(7)];
        let found = match (kind, bytes.first_chunk::<7>()) {
            (Kind::Ints, Some(BYTES | MAPBUFFER)) => {
                "a map to bytes, where one to integers was asked for".into()
            }
            (Kind::Bytes, Some(INTS)) => "a map to integers, where one to bytes was asked for".into(),
            (Kind::Bytes, Some(start)) if start.starts_with(INTMAP) => {
                "a map to integers, where one to bytes was asked for".into()
            }
            _ => format!("nor a map of integers: it begins with b\"{}\"", start.escape_ascii()),
        };
        Error::new(ErrorKind::NotADepot { found })
    }

    fn own(kind: Kind, bytes: &[u8]) -> Result<Self> {
        let short = || wrong(bytes.len() as u64, format!("{LEN} bytes"), format!("{} bytes", bytes.len()));
        let bytes = bytes.first_chunk::<LEN>().ok_or_else(short)?;
        let stored = u32_at(bytes, 28).unwrap_or_default();
        let found = crc32c(&bytes[..28]);
        if stored != found {
            let kind = ErrorKind::Checksum { part: Part::Header, offset: 0, expected: stored, found };
            return Err(Error::new(kind));
        }
        if bytes[7] != VERSION {
            let (found, supported) = (u32::from(bytes[7]), u32::from(VERSION));
            return Err(Error::new(ErrorKind::NewerFormat { found, supported }));
        }
        let packing = Packing::from_number(bytes[24])
            .ok_or_else(|| unsupported("compression", bytes[24].to_string(), 24))?;
        let flags = u32::from_le_bytes([bytes[25], bytes[26], bytes[27], 0]);
        if flags & !u32::from(SUMS) != 0 {
            return Err(unsupported("flags", format!("{flags:#x}"), 25));
        }
        let (count, total) = (u64_at(bytes, 8).unwrap_or_default(), u64_at(bytes, 16).unwrap_or_default());
        let has_sums = flags != 0;
        let head = Self::sized(kind, MapFormat::Vldepot, count, Some(total), packing, has_sums)?;
        let least = head.data_start();
        let is_right = if kind == Kind::Ints { total == least } else { total >= least };
        if !is_right {
            return Err(wrong(16, format!("a length of {least} bytes or more"), total.to_string()));
        }
        Ok(head)
    }

    fn mapbuffer(bytes: &[u8]) -> Result<Self> {
        let short = || wrong(bytes.len() as u64, "16 bytes", format!("{} bytes", bytes.len()));
        let bytes = bytes.first_chunk::<16>().ok_or_else(short)?;
        if bytes[7] > 1 {
            return Err(Error::new(ErrorKind::NewerFormat { found: u32::from(bytes[7]), supported: 1 }));
        }
        let tag = [bytes[8], bytes[9], bytes[10], bytes[11]];
        let packing = Packing::from_tag(tag)
            .ok_or_else(|| unsupported("compression", format!("b\"{}\"", tag.escape_ascii()), 8))?;
        let count = u64::from(u32_at(bytes, 12).unwrap_or_default());
        Self::sized(Kind::Bytes, MapFormat::Mapbuffer, count, None, packing, bytes[7] == 1)
    }

    fn intmap(bytes: &[u8]) -> Result<Self> {
        let short = || wrong(bytes.len() as u64, "10 bytes", format!("{} bytes", bytes.len()));
        let bytes = bytes.first_chunk::<10>().ok_or_else(short)?;
        if bytes[4] != 0 {
            return Err(Error::new(ErrorKind::NewerFormat { found: u32::from(bytes[4]), supported: 0 }));
        }
        if bytes[5] != UINT64 {
            return Err(unsupported("type of integers", bytes[5].to_string(), 5));
        }
        let count = u64::from(u32_at(bytes, 6).unwrap_or_default());
        let total = Some(10 + count * ENTRY as u64);
        Self::sized(Kind::Ints, MapFormat::Mapbuffer, count, total, Packing::None, false)
    }

    /// A head of so many entries, if as many can be addressed.
    fn sized(
        kind: Kind,
        format: MapFormat,
        count: u64,
        total: Option<u64>,
        packing: Packing,
        has_sums: bool,
    ) -> Result<Self> {
        // An entry takes 16 bytes and its share of a checksum, and there is the header: 32 is more than all.
        let fits = isize::try_from(count).is_ok_and(|count| count.checked_mul(32).is_some());
        let count = usize::try_from(count).ok().filter(|_| fits);
        let count = count.ok_or_else(|| wrong(8, "a number of entries that fit in memory", "more"))?;
        Ok(Self { kind, format, count, total, packing, has_sums })
    }

    /// A head of a new map.
    pub(super) fn new(kind: Kind, format: MapFormat, count: usize, packing: Packing, has_sums: bool) -> Self {
        Self { kind, format, count, total: None, packing, has_sums }
    }

    /// The bytes of the header of a map of `total` bytes, in the format of this crate.
    pub(super) fn write_own(&self, total: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(if self.kind == Kind::Ints { INTS } else { BYTES });
        bytes.push(VERSION);
        bytes.extend_from_slice(&(self.count as u64).to_le_bytes());
        bytes.extend_from_slice(&total.to_le_bytes());
        bytes.extend_from_slice(&[self.packing.number(), u8::from(self.has_sums), 0, 0]);
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The bytes of the header of a map of `total` bytes.
    pub(super) fn write(&self, total: u64) -> Result<Vec<u8>> {
        if self.format == MapFormat::Vldepot {
            return Ok(self.write_own(total));
        }
        let why = || format!("maps of mapbuffer have at most 2^32 - 1 entries, and these are {}", self.count);
        let count = u32::try_from(self.count)
            .map_err(|_| Error::new(ErrorKind::InvalidOptions { why: why() }))?
            .to_le_bytes();
        Ok(match self.kind {
            Kind::Ints => [&INTMAP[..], &[0, UINT64], &count].concat(),
            Kind::Bytes => [&MAPBUFFER[..], &[u8::from(self.has_sums)], &self.packing.tag(), &count].concat(),
        })
    }

    /// Bytes of the header.
    fn len(&self) -> usize {
        match (self.format, self.kind) {
            (MapFormat::Vldepot, _) => LEN,
            (MapFormat::Mapbuffer, Kind::Bytes) => 16,
            (MapFormat::Mapbuffer, Kind::Ints) => 10,
        }
    }

    /// Where the entries of the index are.
    pub(super) fn entries(&self) -> Range<usize> {
        self.len()..self.len() + self.count * ENTRY
    }

    /// Pages of the index that have checksums.
    pub(super) fn pages(&self) -> usize {
        match self.format {
            MapFormat::Vldepot => self.count.div_ceil(PAGE_ENTRIES),
            MapFormat::Mapbuffer => 0,
        }
    }

    /// The entries and their checksums.
    pub(super) fn index(&self) -> Range<usize> {
        self.len()..self.entries().end + self.pages() * 4
    }

    /// Where the values begin.
    pub(super) fn data_start(&self) -> u64 {
        self.index().end as u64
    }

    /// Compares the length of the bytes with what the header says.
    pub(super) fn check_len(&self, found: u64) -> Result<()> {
        let least = self.data_start();
        let (expected, is_right) = match self.total {
            Some(total) => (format!("{total} bytes"), found == total),
            None if self.count == 0 => (format!("{least} bytes"), found == least),
            None => (format!("{least} bytes or more"), found >= least),
        };
        if is_right {
            return Ok(());
        }
        let offset = found.min(self.total.unwrap_or(least));
        let found = format!("{found} bytes");
        Err(Error::new(ErrorKind::Damaged { part: Part::File, offset, expected, found }))
    }
}

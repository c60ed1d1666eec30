//! Arrays of NumPy: the head of `.npy` files, and the directory of `.npz` files.
//!
//! # Source
//! NumPy documentation, `numpy.lib.format`; PKWARE's APPNOTE.TXT for the directory of a zip archive.

use super::error::Fault;
use super::source::Source;
use crate::codecs::DType;

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest head that is read. NumPy writes some hundred bytes.
const MAX_HEAD: u64 = 1 << 20;

/// Whether a file is a zip archive whose first member is an array.
pub(super) fn is_npz(start: &[u8]) -> bool {
    let Some(head) = start.strip_prefix(b"PK\x03\x04") else { return false };
    let Some(length) = head.get(22..24) else { return false };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    head.get(26..26 + length).is_some_and(|name| name.ends_with(b".npy"))
}

/// What the head of an array says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) dtype: DType,
    pub(super) is_big: bool,
    /// Whether the first axis runs fastest.
    pub(super) is_fortran: bool,
    pub(super) shape: Vec<usize>,
}

impl Head {
    /// Bytes of the elements. `None` if there are more than fit in memory.
    pub(super) fn bytes(&self) -> Option<u64> {
        let n = self.shape.iter().try_fold(1_u64, |n, axis| n.checked_mul(*axis as u64))?;
        n.checked_mul(self.dtype.size() as u64)
    }

    pub(super) fn read(source: &mut Source) -> Result<Self, Fault> {
        let at = source.at();
        let magic: [u8; 8] = source.array("the magic number")?;
        if !magic.starts_with(MAGIC) {
            return Err(Fault::damaged(at, "no array of NumPy: it does not begin with \\x93NUMPY"));
        }
        let length = match magic[6] {
            1 => u64::from(u16::from_le_bytes(source.array("the head")?)),
            2 | 3 => u64::from(u32::from_le_bytes(source.array("the head")?)),
            version => return Err(Fault::unsupported(at + 6, format!("version {version} of the format"))),
        };
        let at = source.at();
        if length > MAX_HEAD {
            return Err(Fault::damaged(at, format!("a head of {length} bytes")));
        }
        let mut bytes = Vec::new();
        source.bytes(length, "the head", &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text).map_err(|wrong| match wrong {
            Wrong::Damaged(why) => Fault::damaged(at, why),
            Wrong::Unsupported(why) => Fault::unsupported(at, why),
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let value = |name: &str| {
            let found = text.split_once(&format!("'{name}':")).map(|(_, rest)| rest.trim_start());
            found.ok_or_else(|| Wrong::Damaged(format!("the head has no {name}: {text:?}")))
        };
        let descr = value("descr")?;
        let Some((descr, _)) = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) else {
            return Err(Wrong::Unsupported("an array of records with several fields".to_owned()));
        };
        let (order, kind) = match descr.split_at_checked(1) {
            Some((order @ ("<" | ">" | "|" | "="), kind)) => (order, kind),
            _ => ("<", descr),
        };
        let dtype = match kind {
            "f2" => DType::F16,
            "f4" => DType::F32,
            "f8" => DType::F64,
            "i1" => DType::I8,
            "i2" => DType::I16,
            "i4" => DType::I32,
            "i8" => DType::I64,
            "u1" => DType::U8,
            "u2" => DType::U16,
            "u4" => DType::U32,
            "u8" => DType::U64,
            "b1" => DType::Bool,
            _ => return Err(Wrong::Unsupported(format!("an array of dtype {descr}"))),
        };
        let fortran = value("fortran_order")?;
        let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let Some((shape, _)) = shape else {
            return Err(Wrong::Damaged(format!("the shape is no tuple: {text:?}")));
        };
        let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty());
        let shape: Result<Vec<usize>, _> = axes.map(str::parse).collect();
        let shape =
            shape.map_err(|_| Wrong::Damaged(format!("the shape is ({shape})", shape = text.trim())))?;
        Ok(Self { dtype, is_big: order == ">", is_fortran: fortran.starts_with("True"), shape })
    }
}

enum Wrong {
    Damaged(String),
    Unsupported(String),
}

/// A member of a zip archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Whether it is deflated; else it is stored.
    pub(super) is_deflated: bool,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    /// Where its head is.
    pub(super) at: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The directory of a zip archive.
pub(super) fn members(source: &mut Source) -> Result<Vec<Member>, Fault> {
    // The end record has 22 bytes and a comment of up to 65,535.
    let len = source.len();
    let tail_at = len.saturating_sub(22 + 65_535);
    source.seek(tail_at)?;
    let mut tail = Vec::new();
    source.bytes(len - tail_at, "the directory", &mut tail)?;
    let none = || Fault::damaged(len, "the directory at the end of the file is missing: it was cut short");
    let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06").ok_or_else(none)?;
    let comment = u16_at(&tail, end + 20).ok_or_else(none)?;
    if (tail.len() - end) as u64 != 22 + comment {
        return Err(none());
    }
    let of_end = |at| u32_at(&tail, end + at).ok_or_else(none);
    let (mut size, mut start) = (of_end(12)?, of_end(16)?);
    // Archives of more than 4 GiB have a longer end before the end.
    if let Some(locator) = end.checked_sub(20)
        && tail[locator..].starts_with(b"PK\x06\x07")
    {
        let at = u64_at(&tail, locator + 8).filter(|at| at.saturating_add(56) <= len).ok_or_else(none)?;
        source.seek(at)?;
        let long: [u8; 56] = source.array("the directory")?;
        (size, start) = (u64_at(&long, 40).unwrap_or(size), u64_at(&long, 48).unwrap_or(start));
    }
    if start.checked_add(size).is_none_or(|end| end > len) {
        return Err(Fault::damaged(
            tail_at + end as u64,
            format!("a directory of {size} bytes at byte {start}"),
        ));
    }
    source.seek(start)?;
    let mut directory = Vec::new();
    source.bytes(size, "the directory", &mut directory)?;
    let (mut found, mut at) = (Vec::new(), 0);
    while at < directory.len() {
        let damaged = || Fault::damaged(start + at as u64, "an entry of the directory is no such");
        let member = entry(&directory[at..]).ok_or_else(damaged)?;
        at += member.1;
        let member = member.0.map_err(|why| Fault::unsupported(start + at as u64, why))?;
        if member.at.checked_add(member.packed).is_none_or(|end| end > len) {
            return Err(Fault::damaged(
                member.at,
                format!("{}: {} bytes, after the end", member.name, member.packed),
            ));
        }
        found.push(member);
    }
    Ok(found)
}

/// An entry of the directory, and its length.
fn entry(bytes: &[u8]) -> Option<(Result<Member, String>, usize)> {
    if !bytes.starts_with(b"PK\x01\x02") {
        return None;
    }
    let (flags, method) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?);
    let crc = u32::try_from(u32_at(bytes, 16)?).ok()?;
    let (mut packed, mut size, mut at) = (u32_at(bytes, 20)?, u32_at(bytes, 24)?, u32_at(bytes, 42)?);
    let [name, extra, comment] = [u16_at(bytes, 28)?, u16_at(bytes, 30)?, u16_at(bytes, 32)?]
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut extras = bytes.get(46 + name..46 + name + extra)?;
    let text = String::from_utf8_lossy(bytes.get(46..46 + name)?).into_owned();
    let length = 46 + name + extra + comment;
    bytes.get(..length)?;
    while let (Some(id), Some(long)) = (u16_at(extras, 0), u16_at(extras, 2)) {
        let long = usize::try_from(long).unwrap_or(usize::MAX);
        let mut field = extras.get(4..4 + long)?;
        if id == 1 {
            for number in [&mut size, &mut packed, &mut at] {
                if *number == u64::from(u32::MAX) {
                    *number = u64_at(field, 0)?;
                    field = &field[8..];
                }
            }
        }
        extras = &extras[4 + long..];
    }
    let member = match (flags & 1, method) {
        (0, 0 | 8) => Ok(Member { name: text, is_deflated: method == 8, crc, packed, size, at }),
        (0, method) => {
            Err(format!("{text} is compressed by method {method}: stored and deflated ones are read"))
        }
        _ => Err(format!("{text} is encrypted")),
    };
    Some((member, length))
}

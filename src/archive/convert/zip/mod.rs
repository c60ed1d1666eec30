//! zip: entries with a header each, and a directory of them at the end.
//!
//! ```text
//! entry      0 PK\3\4     4 version  6 flags  8 method  10 time  14 crc32  18 packed  22 len
//!            26 name  28 extra
//! directory  0 PK\1\2     4 made by  6 version  8 flags  10 method  12 time  16 crc32  20 packed  24 len
//!            28 name  30 extra  32 comment  38 attributes  42 place of the entry
//! end        0 PK\5\6     10 entries  12 bytes of the directory  16 its place  20 comment
//! ```
//!
//! Numbers are little-endian. Where one does not fit its 2 or 4 bytes, all their bits are set, and an extra
//! field, or an end of the directory of its own, has it in 8 bytes (zip64).
//!
//! # Source
//! PKWARE, APPNOTE.TXT, version 6.3.10; Info-ZIP, `proginfo/extrafld.txt`.

mod read;
mod write;

pub(super) use read::read;
pub(super) use write::Writer;

const ENTRY: &[u8; 4] = b"PK\x03\x04";
const DIRECTORY: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const END64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR64: &[u8; 4] = b"PK\x06\x07";

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Flags of an entry.
const ENCRYPTED: u16 = 1;
const LENGTHS_AFTER: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;

/// Kinds of extra fields: lengths, time, and owner of a file.
const ZIP64: u16 = 1;
const TIMES: u16 = 0x5455;
const OWNER: u16 = 0x7875;

/// The kind of a file, above its permission bits.
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Unix, as the system that made an entry.
const UNIX: u16 = 3;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469
}

/// A time of DOS, which has no zone, as seconds since 1970 in UTC. `None` if there is none.
fn seconds(date: u16, time: u16) -> Option<i64> {
    let (date, time) = (i64::from(date), i64::from(time));
    let (month, day) = (date >> 5 & 15, date & 31);
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let days = days(1980 + (date >> 9), month, day);
    Some(days * 86_400 + (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2)
}

/// The date and the time of DOS. Times out of its years are its first or its last one.
fn dos(seconds: i64) -> (u16, u16) {
    let first = days(1980, 1, 1) * 86_400;
    let last = days(2108, 1, 1) * 86_400 - 2;
    let seconds = seconds.clamp(first, last);
    let day = seconds.div_euclid(86_400);
    // At most 128 years, and 12 months.
    let year = (1980..=2107).rev().find(|year| days(*year, 1, 1) <= day).unwrap_or(1980);
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    let date = (year - 1980) << 9 | month << 5 | (day - days(year, month, 1) + 1);
    let second = seconds.rem_euclid(86_400);
    let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    (u16::try_from(date).unwrap_or(0x21), u16::try_from(time).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_dos() {
        // The expected values are from `date -u -d @SECONDS`.
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 951_782_400 / 86_400);
        assert_eq!(days(2100, 3, 1), 4_107_542_400 / 86_400);
        for time in [315_532_800, 951_782_400, 1_772_323_198, 4_107_542_400, 4_354_819_198] {
            let (date, clock) = dos(time);
            assert_eq!(seconds(date, clock), Some(time));
        }
        assert_eq!(dos(0), (0x21, 0));
        assert_eq!(dos(i64::MAX), dos(4_354_819_198));
        assert_eq!(seconds(0, 0), None);
    }
}

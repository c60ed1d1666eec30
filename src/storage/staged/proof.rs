//! How a file left beside its target is known to be ours. Its name alone is never enough.
//!
//! ```text
//! .NAME.vldepot-AAAAAAAAAAAAAAAABBBBBBBBBBBBBBBB.tmp
//!
//! at work   A random, B hash of A;                    the file starts with the page below
//! finished  A hash of the new file's first page,      B that of the file it replaces
//!
//!  0                  16        20      20 + n                       4092   4096
//!  +------------------+---------+-------+----------------------------+------+
//!  | VLDEPOT STAGED\r\n | u32: n | name | zeros                      | CRC  |
//!  +------------------+---------+-------+----------------------------+------+
//!  |<------------------- covered by the checksum -------------------->|
//! ```
//!
//! Every hash also covers the target's name. The page is neither the header of a depot nor the start of
//! any other format, so nothing opens a file that starts with it.

use std::ffi::{OsStr, OsString};

use xxhash_rust::xxh3::xxh3_64;

use crate::checksum::crc32c;

/// Bytes at the start of a new file that are written last: the header page of a depot.
pub(super) const PAGE: usize = 4096;

const MAGIC: [u8; 16] = *b"VLDEPOT STAGED\r\n";
const LEN_AT: usize = MAGIC.len();
const NAME_AT: usize = LEN_AT + size_of::<u32>();
const CRC_AT: usize = PAGE - size_of::<u32>();

/// Longer target names are cut in the name of the new file. Most file systems allow 255 bytes.
const MAX_SHOWN: usize = 200;
const BEFORE: &str = ".vldepot-";
const AFTER: &str = ".tmp";
const TOKEN: usize = 32;

/// Whether a file that starts with `bytes` was never finished.
pub(crate) fn is_unfinished(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The first page of an unfinished file for the target called `name`.
pub(super) fn page(name: &OsStr) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    let name = name.as_encoded_bytes();
    let name = &name[..name.len().min(CRC_AT - NAME_AT)];
    page[..LEN_AT].copy_from_slice(&MAGIC);
    page[LEN_AT..NAME_AT].copy_from_slice(&u32::try_from(name.len()).unwrap_or(0).to_le_bytes());
    page[NAME_AT..NAME_AT + name.len()].copy_from_slice(name);
    let crc = crc32c(&page[..CRC_AT]);
    page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    page
}

/// A hash of `bytes` that differs for each target.
pub(super) fn hash(name: &OsStr, bytes: &[u8]) -> u64 {
    let name = name.as_encoded_bytes();
    xxh3_64(&[&xxh3_64(name).to_le_bytes(), b"vldepot staged".as_slice(), bytes].concat())
}

/// The two halves of a new file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64, u64);

impl Token {
    /// The token of a file at work.
    pub(super) fn at_work(name: &OsStr, random: u64) -> Self {
        Self(random, hash(name, &random.to_le_bytes()))
    }

    /// The token of a finished file, from its first page and that of the file it replaces.
    pub(super) fn finished(name: &OsStr, new: &[u8], old: &[u8]) -> Self {
        Self(hash(name, new), hash(name, old))
    }

    /// The file name with this token, for the target called `name`.
    pub(super) fn file_name(self, name: &OsStr) -> OsString {
        let mut file_name = before(name);
        let Self(a, b) = self;
        file_name.push(format!("{a:016x}{b:016x}{AFTER}"));
        file_name
    }

    /// The token in a file's name, if that name is one for the target called `name`.
    pub(super) fn of(file_name: &OsStr, name: &OsStr) -> Option<Self> {
        let token = file_name.as_encoded_bytes().strip_prefix(before(name).as_encoded_bytes())?;
        let token = str::from_utf8(token.strip_suffix(AFTER.as_bytes())?).ok()?;
        let digits = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if token.len() != TOKEN || !token.bytes().all(digits) {
            return None;
        }
        let (a, b) = token.split_at(TOKEN / 2);
        Some(Self(u64::from_str_radix(a, 16).ok()?, u64::from_str_radix(b, 16).ok()?))
    }

    /// Whether a file with this token was left behind for the target called `name`. The file starts with
    /// `start`, which has [`PAGE`] bytes unless the file is shorter.
    ///
    /// Such a file was never finished, or was finished and not put in place, or was replaced and not
    /// removed.
    pub(super) fn proves(self, name: &OsStr, start: &[u8]) -> bool {
        let Self(a, b) = self;
        if start.is_empty() {
            return self == Self::at_work(name, a);
        }
        let found = hash(name, start);
        start == page(name) || found == a || found == b
    }
}

fn before(name: &OsStr) -> OsString {
    let mut file_name = OsString::from(".");
    if name.len() <= MAX_SHOWN {
        file_name.push(name);
    } else {
        let shown = name.to_string_lossy();
        let end = (0..=MAX_SHOWN / 2).rev().find(|&end| shown.is_char_boundary(end));
        file_name.push(&shown[..end.unwrap_or(0)]);
    }
    file_name.push(BEFORE);
    file_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    #[test]
    fn a_file_is_ours_by_its_name_and_its_content() {
        let name = os("run.vld");
        let token = Token::at_work(name, 7);
        let file_name = token.file_name(name);
        assert_eq!(Token::of(&file_name, name), Some(token));
        assert!(token.proves(name, &page(name)) && token.proves(name, b""));
        assert!(!token.proves(name, b"a poem") && !token.proves(name, &page(os("other.vld"))));
        assert!(!Token(1, 2).proves(name, b""));

        let finished = Token::finished(name, b"new", b"old");
        assert!(finished.proves(name, b"new") && finished.proves(name, b"old"));
        assert!(!finished.proves(name, b"neu") && !finished.proves(os("run2.vld"), b"new"));
    }

    #[test]
    fn names_that_only_look_alike_have_no_token() {
        let name = os("run.vld");
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(Token::of(os(&format!(".run.vld.vldepot-{digits}.tmp")), name).is_some());
        for other in [
            format!(".run.vld.vldepot-{digits}0.tmp"),
            format!(".run.vld.vldepot-{}.tmp", &digits[1..]),
            format!(".run.vld.vldepot-{}.tmp", digits.to_uppercase()),
            format!(".run.vld.vldepot-+{}.tmp", &digits[1..]),
            format!("run.vld.vldepot-{digits}.tmp"),
            format!(".run.vld2.vldepot-{digits}.tmp"),
            format!(".run.vld.vldepot-{digits}.tmp~"),
            "run.vld.compacting".into(),
        ] {
            assert_eq!(Token::of(os(&other), name), None, "{other}");
        }
    }

    #[test]
    fn any_name_leaves_room_for_the_token() {
        for name in ["é".repeat(127), "x".repeat(255), "x".repeat(200)] {
            let file_name = Token::at_work(os(&name), 3).file_name(os(&name));
            assert!(file_name.len() <= 255, "{}", file_name.len());
            assert!(Token::of(&file_name, os(&name)).is_some());
        }
    }
}

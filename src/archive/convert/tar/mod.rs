//! tar: for each entry a header of 512 bytes, and then its bytes, filled up to blocks of 512.
//!
//! ```text
//!   0 name 100      100 mode 8      108 uid 8      116 gid 8       124 size 12     136 mtime 12
//! 148 checksum 8    156 type 1      157 link 100   257 magic 8     345 prefix 155
//! ```
//!
//! Entries of type `x` (pax) and `L`, `K` (GNU) say more of the one after them: what does not fit its header.
//! Of type `g`, of all after them. Numbers are octal digits, or binary with the first bit set. Two blocks of
//! zeros end the archive.
//!
//! # Source
//! POSIX.1-2001, `pax`; and the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".

mod pax;
mod read;
mod sparse;
mod write;

pub(super) use read::read;
pub(super) use write::Writer;

const BLOCK: usize = 512;

type Block = [u8; BLOCK];

/// The checksum of a header: the sum of its bytes, with blanks for the checksum itself. Old programs took
/// bytes as signed ones.
fn sums(header: &Block) -> (u64, i64) {
    let blanked =
        header.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte });
    blanked
        .fold((0, 0), |(sum, signed), byte| (sum + u64::from(byte), signed + i64::from(byte.cast_signed())))
}

fn has_checksum(header: &Block) -> bool {
    let (sum, signed) = sums(header);
    let stored = number(&header[148..156]);
    stored.is_some_and(|stored| stored == i128::from(sum) || stored == i128::from(signed))
}

/// Whether an archive may start with these bytes: with a header, or with its end.
pub(super) fn is_header(start: &[u8]) -> bool {
    start
        .first_chunk::<BLOCK>()
        .is_some_and(|block| has_checksum(block) || block.iter().all(|&byte| byte == 0))
}

/// A number in a header. `None` if it is none.
fn number(field: &[u8]) -> Option<i128> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // Two's complement of all but the first bit.
        let high = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(*first) - 256 };
        return rest.iter().try_fold(high, |value, &byte| value.checked_mul(256)?.checked_add(byte.into()));
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_blank) {
        return None;
    }
    digits[..end].iter().try_fold(0_i128, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

/// A text in a header, which ends with a NUL byte or with its field.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// How many bytes fill a block up.
fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_headers() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0 ", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"12x", None),
            (b"9", None),
            (b"1 1", None),
            (b"-1", None),
        ] {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }
}

//! The blocks of named byte strings in a Blosc2 frame.
//!
//! A frame has one in its header (*metalayers*) and one in its trailer (*vlmetalayers*). They are
//! MessagePack, but c-blosc2 accepts only the following forms. Integers are big-endian.
//!
//! ```text
//! 93                          array of 3
//!   cd <u16 index length>       bytes of the index; readers need not look at it
//!   de <u16 n>                  map of n entries
//!     a0+len <name>               up to 31 bytes
//!     d2 <i32 offset>             of the entry's content, from the start of the header or trailer
//!   dc <u16 n>                  array of n contents
//!     c6 <i32 len> <bytes>
//! ```

#![expect(clippy::big_endian_bytes, reason = "Blosc2 frames keep MessagePack integers")]

use std::ops::Range;

/// c-blosc2 reads no more entries than this (`BLOSC2_MAX_METALAYERS`).
pub(super) const MAX_ENTRIES: usize = 16;
/// The longest name that a `fixstr` holds.
pub(super) const MAX_NAME_LEN: usize = 31;

const ARRAY_OF_3: u8 = 0x93;
const U16: u8 = 0xcd;
const MAP_16: u8 = 0xde;
const FIXSTR: u8 = 0xa0;
const FIXSTR_MASK: u8 = 0xe0;
pub(super) const I32: u8 = 0xd2;
const ARRAY_16: u8 = 0xdc;
const BIN_32: u8 = 0xc6;

/// Bytes of a content's marker and length.
pub(super) const CONTENT_HEAD: usize = 5;
/// Bytes from the block's start to its index: the array marker, and the marker and value of the index length.
const INDEX_AT: usize = 4;

/// Appends a block of `entries`.
///
/// `out` must begin with the first byte of the header or trailer. The index length counts from byte
/// `index_from` of it. c-blosc2 counts from the block in a header, and from one byte later in a trailer.
pub(super) fn append(out: &mut Vec<u8>, entries: &[(&str, &[u8])], index_from: usize) {
    debug_assert!(entries.len() <= MAX_ENTRIES, "at most 16 metalayers fit a frame");
    let n = saturating_u16(entries.len()).to_be_bytes();
    let block = out.len();
    out.extend_from_slice(&[ARRAY_OF_3, U16, 0, 0, MAP_16]);
    out.extend_from_slice(&n);
    let mut offsets_at = Vec::with_capacity(entries.len());
    for (name, _) in entries {
        debug_assert!(name.len() <= MAX_NAME_LEN, "a metalayer's name has at most 31 bytes");
        out.push(FIXSTR | u8::try_from(name.len()).unwrap_or(u8::MAX) & !FIXSTR_MASK);
        out.extend_from_slice(name.as_bytes());
        out.push(I32);
        offsets_at.push(out.len());
        out.extend_from_slice(&[0; 4]);
    }
    let index_len = saturating_u16(out.len() - index_from).to_be_bytes();
    out[block + INDEX_AT - 2..block + INDEX_AT].copy_from_slice(&index_len);
    out.push(ARRAY_16);
    out.extend_from_slice(&n);
    for (&at, (_, content)) in offsets_at.iter().zip(entries) {
        let offset = saturating_i32(out.len()).to_be_bytes();
        out[at..at + 4].copy_from_slice(&offset);
        out.extend_from_slice(&byte_string_head(content.len()));
        out.extend_from_slice(content);
    }
}

/// Reads the block that starts at byte `block` of a whole header or trailer.
///
/// Returns the names, and where in `bytes` their contents are.
pub(super) fn parse(bytes: &[u8], block: usize) -> Result<Vec<(String, Range<usize>)>, String> {
    let mut at = block;
    let head = take::<{ INDEX_AT + 3 }>(bytes, &mut at).ok_or("a metalayer block cut short")?;
    if (head[0], head[1], head[INDEX_AT]) != (ARRAY_OF_3, U16, MAP_16) {
        return Err(format!("no metalayer block at byte {block}"));
    }
    let n = usize::from(u16::from_be_bytes([head[INDEX_AT + 1], head[INDEX_AT + 2]]));
    if n > MAX_ENTRIES {
        return Err(format!("{n} metalayers, where a frame has at most {MAX_ENTRIES}"));
    }
    let mut entries = Vec::with_capacity(n);
    for _ in 0..n {
        entries
            .push(parse_entry(bytes, &mut at).ok_or_else(|| format!("a malformed metalayer at byte {at}"))?);
    }
    Ok(entries)
}

/// The marker and the length that make `len` bytes a MessagePack byte string.
pub(super) fn byte_string_head(len: usize) -> [u8; CONTENT_HEAD] {
    let [a, b, c, d] = saturating_i32(len).to_be_bytes();
    [BIN_32, a, b, c, d]
}

/// The bytes of a MessagePack byte string that is all of `content`.
pub(super) fn byte_string(content: &[u8]) -> Option<&[u8]> {
    let ([BIN_32, len @ ..], bytes) = content.split_first_chunk::<CONTENT_HEAD>()? else { return None };
    (usize::try_from(i32::from_be_bytes(*len)) == Ok(bytes.len())).then_some(bytes)
}

fn parse_entry(bytes: &[u8], at: &mut usize) -> Option<(String, Range<usize>)> {
    let [marker] = take::<1>(bytes, at)?;
    if marker & FIXSTR_MASK != FIXSTR {
        return None;
    }
    let end = *at + usize::from(marker & !FIXSTR_MASK);
    let name = std::str::from_utf8(bytes.get(*at..end)?).ok()?.to_owned();
    *at = end;
    let [I32, offset @ ..] = take::<5>(bytes, at)? else { return None };
    let mut content = usize::try_from(i32::from_be_bytes(offset)).ok()?;
    let [BIN_32, len @ ..] = take::<CONTENT_HEAD>(bytes, &mut content)? else { return None };
    let end = content.checked_add(usize::try_from(i32::from_be_bytes(len)).ok()?)?;
    (end <= bytes.len()).then_some((name, content..end))
}

/// Takes the `N` bytes at `at`, and moves `at` past them.
fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let taken = *bytes.get(*at..)?.first_chunk::<N>()?;
    *at += N;
    Some(taken)
}

pub(super) fn saturating_i32(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn saturating_u16(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

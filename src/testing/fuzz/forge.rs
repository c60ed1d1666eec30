//! Makes checksums match any bytes.

use std::ops::Range;

use crate::blosc::{ChunkHeader, HEADER_LEN as CHUNK_HEADER_LEN, block_offsets};
use crate::checksum::crc32c;
use crate::format::apart;
use crate::format::chunk::{ChunkRef, PRELUDE_LEN, Prelude};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::frame;
use crate::format::header::{CommitSlot, FIRST_ENTRY_AT, SLOT_AT, SLOT_LEN};
use crate::format::tables::SegmentHead;
use crate::index::{CHUNKS_SECTION, PAGE, page_table_len, prefix_len};
use crate::le::{u32_at, u64_at};

/// Makes the checksums of a depot's bytes match what they cover, as far as its entries can be followed.
///
/// An attacker would do the same, and a fuzzer needs it to get past a checksum. The checksums of records
/// are left as they are.
pub fn forge(bytes: &mut [u8]) {
    forge_parameters(bytes);
    let mut at = usize::try_from(FIRST_ENTRY_AT).unwrap_or(0);
    let mut previous = 0;
    while let Some(head) = claimed_head(bytes, at) {
        let end = usize::try_from(head.length).ok().and_then(|len| at.checked_add(len));
        let end = end.unwrap_or(usize::MAX).min(bytes.len());
        let body_crc = forge_body(bytes, &head, at, end);
        let head = EntryHead { body_crc, previous, ..head };
        bytes[at..at + HEAD_LEN].copy_from_slice(&head.encode());
        previous = head.crc();
        at = end;
    }
    for at in SLOT_AT {
        forge_slot(bytes, usize::try_from(at).unwrap_or(0));
    }
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(slot) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *slot = value.to_le_bytes();
    }
}

/// The head of an entry at `at`, if all but its checksum and its place are right.
fn claimed_head(bytes: &mut [u8], at: usize) -> Option<EntryHead> {
    let head = bytes.get_mut(at..)?.first_chunk_mut::<HEAD_LEN>()?;
    let mut claimed = *head;
    claimed[32..40].copy_from_slice(&(at as u64).to_le_bytes());
    let crc = crc32c(&claimed[..HEAD_LEN - 4]);
    put_u32(&mut claimed, HEAD_LEN - 4, crc);
    EntryHead::parse(&claimed, at as u64).ok()
}

/// Forges the body of the entry at `at`, and returns its checksum.
fn forge_body(bytes: &mut [u8], head: &EntryHead, at: usize, end: usize) -> u32 {
    let body = at + HEAD_LEN;
    let part = match head.kind {
        Kind::Chunk | Kind::Log => {
            forge_chunk(bytes, at, end);
            PRELUDE_LEN
        }
        Kind::Index => forge_index(bytes, body, end).unwrap_or(0),
        Kind::Commit | Kind::Metadata | Kind::Losses => {
            let len = u64_at(&bytes[..end], body).and_then(|len| usize::try_from(len).ok());
            len.and_then(|len| len.checked_add(8)).unwrap_or(0)
        }
        Kind::Other(_) => end.saturating_sub(body),
        // Nobody reads this body, and the bytes that its checksum covers end before the padding.
        Kind::Frame => return head.body_crc,
    };
    let covered = body.checked_add(part).and_then(|stop| bytes.get(body..stop));
    crc32c(covered.unwrap_or_default())
}

/// Forges the checksums of the directory and of the blocks of the CHUNK or LOG entry `at..end`.
pub(super) fn forge_chunk(bytes: &mut [u8], at: usize, end: usize) -> Option<()> {
    let entry = bytes.get_mut(at..end)?;
    let prelude = entry.get(HEAD_LEN..HEAD_LEN + PRELUDE_LEN)?;
    let mut prelude = Prelude::parse(prelude, entry.len() as u64).ok()?;
    let directory = prelude.directory_range();
    let directory = usize::try_from(directory.start).ok()?..usize::try_from(directory.end).ok()?;
    prelude.directory_crc = crc32c(entry.get(directory)?);
    let table = forge_blocks(entry, &prelude);
    if let Some(crc) = table {
        prelude.table_crc = crc;
    }
    entry[HEAD_LEN..HEAD_LEN + PRELUDE_LEN].copy_from_slice(&prelude.encode());
    Some(())
}

/// Forges the checksums of the blocks, and returns the checksum of all of them.
fn forge_blocks(entry: &mut [u8], prelude: &Prelude) -> Option<u32> {
    let chunk_at = prelude.chunk_at as usize;
    let chunk = entry.get(chunk_at..chunk_at.checked_add(usize::try_from(prelude.chunk_len).ok()?)?)?;
    if prelude.layout == ChunkRef::APART {
        let n = prelude.n_checksums as usize;
        let prefix_len = apart::prefix_len(apart::n_blocks(prelude.n_checksums)?.min(chunk.len()));
        let table = apart::Table::new(chunk.get(..prefix_len)?);
        let blocks = (0..table.n_blocks()).map(|block| table.block(block).map(|(_, stored)| stored));
        let parts = [Some(0..prefix_len), Some(prefix_len..table.model_end())].into_iter().chain(blocks);
        let sum = |part: Option<Range<usize>>| crc32c(chunk.get(part?).unwrap_or_default()).into();
        let checksums: Vec<Option<u32>> = parts.map(sum).collect();
        let table_at = chunk_at.checked_sub(4 * n)?;
        for (nth, crc) in checksums.into_iter().enumerate().take(n) {
            put_u32(&mut entry[..chunk_at], table_at + 4 * nth, crc.unwrap_or(0));
        }
        return Some(crc32c(&entry[table_at..chunk_at]));
    }
    let header = ChunkHeader::parse(chunk).ok()?;
    let prefix = chunk.get(..header.prefix_len())?;
    let mut checksums = vec![crc32c(prefix)];
    if header.has_block_table() {
        for pair in block_offsets(prefix).ok()?.windows(2) {
            checksums.push(crc32c(chunk.get(pair[0] as usize..pair[1] as usize)?));
        }
    } else if header.is_memcpyed() {
        checksums.extend(chunk[CHUNK_HEADER_LEN..].chunks(header.block_size).map(crc32c));
    }
    let n = prelude.n_checksums as usize;
    let table_at = chunk_at.checked_sub(4 * n)?;
    for (nth, crc) in checksums.into_iter().take(n).enumerate() {
        put_u32(&mut entry[..chunk_at], table_at + 4 * nth, crc);
    }
    Some(crc32c(&entry[table_at..chunk_at]))
}

/// Forges the checksums in the index segment with the body `body..end`, and returns the length of its
/// prefix.
pub(crate) fn forge_index(bytes: &mut [u8], body: usize, end: usize) -> Option<usize> {
    let segment = bytes.get(body..end)?;
    let (head_len, n_parts) = (u32_at(segment, 0)? as usize, u32_at(segment, 4)? as usize);
    let prefix_len = prefix_len(head_len, n_parts);
    let head = SegmentHead::decode(segment.get(8..8usize.checked_add(head_len)?)?).ok()?;
    let table_len = usize::try_from(page_table_len(prefix_len, head.paged_len.div_ceil(PAGE as u64))).ok()?;
    let table_at = body.checked_add(prefix_len)?;
    let base = table_at.checked_add(table_len).filter(|&base| base <= end)?;
    forge_references(bytes, &head, base, end);
    let (start, pages) = bytes[body..end].split_at_mut(base - body);
    let (prefix, table) = start.split_at_mut(prefix_len);
    let paged = usize::try_from(head.paged_len).ok()?.min(pages.len());
    for (nth, page) in pages[..paged].chunks(PAGE).enumerate() {
        put_u32(table, 4 * nth, crc32c(page));
    }
    let n_crcs = paged.div_ceil(PAGE);
    for (nth, part) in table[..4 * n_crcs].chunks(PAGE).take(n_parts).enumerate() {
        put_u32(prefix, 8 + head_len + 4 * nth, crc32c(part));
    }
    Some(prefix_len)
}

/// Copies the checksums that are in the chunks into the references to the chunks.
fn forge_references(bytes: &mut [u8], head: &SegmentHead, base: usize, end: usize) -> Option<()> {
    let section = head.sections[CHUNKS_SECTION];
    let from = base.checked_add(usize::try_from(section.offset).ok()?)?;
    let to = from.checked_add(usize::try_from(section.length).ok()?)?.min(end);
    for at in (from..to).step_by(ChunkRef::LEN) {
        let Some(mut chunk) = bytes.get(at..at + ChunkRef::LEN).and_then(ChunkRef::decode) else { continue };
        let start = usize::try_from(chunk.table_offset()).unwrap_or(usize::MAX);
        let stop = usize::try_from(chunk.chunk_offset()).unwrap_or(usize::MAX);
        if let Some(table) = bytes.get(start..stop) {
            chunk.table_crc = crc32c(table);
            bytes[at..at + ChunkRef::LEN].copy_from_slice(&chunk.encode());
        }
    }
    Some(())
}

fn forge_slot(bytes: &mut [u8], at: usize) -> Option<()> {
    let stored = bytes.get_mut(at..)?.first_chunk_mut::<SLOT_LEN>()?;
    let mut claimed = *stored;
    let crc = crc32c(&claimed[..SLOT_LEN - 4]);
    put_u32(&mut claimed, SLOT_LEN - 4, crc);
    let mut slot = CommitSlot::parse(&claimed)?;
    let head_crc_at = usize::try_from(slot.offset).ok()?.checked_add(HEAD_LEN - 4)?;
    slot.head_crc = u32_at(bytes, head_crc_at).unwrap_or(slot.head_crc);
    bytes[at..at + SLOT_LEN].copy_from_slice(&slot.encode());
    Some(())
}

/// Forges the checksum of the parameters, which stands between their length and the parameters.
fn forge_parameters(bytes: &mut [u8]) -> Option<()> {
    let header = frame::parse_header(bytes).ok()?;
    // After MessagePack's marker and length.
    let content = bytes.get_mut(header.metalayer(frame::DEPOT_LAYER)?)?.get_mut(5..)?;
    let len = u32_at(content, 8)? as usize;
    let crc = crc32c(content.get(16..16usize.checked_add(len)?)?);
    put_u32(content, 12, crc);
    Some(())
}

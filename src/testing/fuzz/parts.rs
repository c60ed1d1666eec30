//! Parts of a depot: an index segment, a chunk entry.

use std::sync::Arc;

use super::forge::{forge_chunk, forge_index};
use crate::blosc::ChunkHeader;
use crate::checksum::crc32c;
use crate::chunk::ChunkReader;
use crate::format::chunk::{PRELUDE_LEN, Prelude};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::growth::Fault;
use crate::format::tables::{Directory, SegmentHead, SegmentRef};
use crate::index::{Extras, Merge, Segment, find_live, hash, select_live};
use crate::le::u32_at;
use crate::storage::{MemoryStorage, Storage};

const FORGE: u8 = 1;
const MAPPED: u8 = 2;

/// An entry of `kind` with this body, written as the first entry of depot 7.
fn entry(kind: Kind, body: &[u8], body_crc: u32) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_LEN];
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
    let length = bytes.len() as u64;
    let head = EntryHead {
        kind,
        body_crc,
        sequence: 1,
        ordinal: 0,
        offset: 0,
        length,
        depot_id: 7,
        previous: 0,
        reserved: [0; 3],
    };
    bytes[..HEAD_LEN].copy_from_slice(&head.encode());
    bytes
}

/// Opens an index segment and looks everything up.
///
/// The first byte is a set of flags (1: make checksums match, 2: read through a map). The rest is the
/// body of the INDEX entry.
///
/// # Panics
/// When there is something to fix.
pub fn index_segment(input: &[u8]) {
    let Some((&flags, body)) = input.split_first() else { return };
    let mut body = body.to_vec();
    let len = body.len();
    let mut prefix = None;
    if flags & FORGE != 0 {
        prefix = forge_index(&mut body, 0, len);
    }
    let head_len = u32_at(&body, 0).unwrap_or(0) as usize;
    let Some(head) = body.get(8..).and_then(|rest| rest.get(..head_len)) else { return };
    let Ok(head) = SegmentHead::decode(head) else { return };
    let crc = crc32c(&body[..prefix.unwrap_or(64).min(len)]);
    let bytes = entry(Kind::Index, &body, crc);
    let reference = SegmentRef {
        offset: 0,
        length: bytes.len() as u64,
        prefix_len: u32::try_from(prefix.unwrap_or(64).min(len)).unwrap_or(u32::MAX),
        first_ordinal: head.first_ordinal,
        n_records: head.n_records,
        first_chunk: head.first_chunk,
        n_chunks: head.n_chunks,
        n_tombstones: head.n_tombstones,
    };
    // A commit checks these sums too.
    let sums = [head.first_ordinal.checked_add(head.n_records), head.first_chunk.checked_add(head.n_chunks)];
    if sums.contains(&None) {
        return;
    }
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
    let Ok(segment) = Segment::open(&storage, reference, 7, flags & MAPPED != 0) else { return };
    look_up(&Arc::new(segment));
}

fn look_up(segment: &Arc<Segment>) {
    const SOME: u64 = 300;
    let SegmentRef { n_records, first_chunk, n_chunks, first_ordinal, .. } = segment.reference;
    let mut local = 0;
    while local < n_records.min(SOME) {
        let Ok((first, names)) = segment.names_around(local) else { break };
        assert!(first <= local && !names.is_empty(), "names that lead nowhere");
        for (number, name) in (first..).zip(&names) {
            local = number + 1;
            let _ = (segment.location(number), segment.metadata(number), segment.name(number));
            let _ = segment.scalars(number);
            let _ = find_live(std::slice::from_ref(segment), hash(name), name, false, &mut |_| ());
            if let Ok(Some((ordinal, _))) = segment.find(hash(name), name, true, &mut |_| ()) {
                let found = segment.name(ordinal - first_ordinal);
                assert!(found.is_ok_and(|found| found == *name), "a name that is another's");
            }
        }
    }
    for nth in 0..3 {
        let mut n = 0;
        let read = segment.column(nth, n_records / 3..n_records.min(SOME * 10), &mut |_| n += 1);
        assert!(read.is_err() || n == n_records.min(SOME * 10).saturating_sub(n_records / 3));
    }
    for chunk in [first_chunk, first_chunk + n_chunks / 2, first_chunk + n_chunks, u64::MAX] {
        let _ = segment.chunk(chunk);
    }
    for ordinal in [0, 1, n_records, n_records / 2, u64::MAX] {
        let _ = (segment.location(ordinal), segment.name(ordinal), segment.metadata(ordinal));
        let _ = segment.scalars(ordinal);
        let _ = segment.has_tombstone(ordinal);
    }
    if let Ok(mut dead) = segment.tombstones() {
        dead.sort_unstable();
        let _ = (select_live(0, &dead), select_live(n_records, &dead));
    }
    let whole = segment.check_all().is_ok();
    let merge = Merge::new(std::slice::from_ref(segment), Extras::ALL);
    if let Ok((bytes, encoded)) = merge.and_then(|merge| merge.plan().into_bytes()) {
        assert!(whole, "a damaged segment was merged");
        let bytes = entry(Kind::Index, &bytes[HEAD_LEN..], encoded.body_crc);
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
        let merged = Segment::open(&storage, encoded.reference, 7, true);
        let merged = merged.expect("a merged segment opens");
        merged.check_all().expect("a merged segment is whole");
        if merged.reference.n_records > 0 {
            merged.name(merged.reference.n_records - 1).expect("a merged segment has its names");
        }
    }
}

/// Reads a CHUNK entry like one that no commit covers.
///
/// The first byte is a set of flags (1: make checksums match, 2: read through a map, 4: the rest is an
/// uncompressed directory). The second byte is the chunk size in units of 64 bytes. The rest is the
/// entry without its head.
///
/// # Panics
/// When there is something to fix.
pub fn chunk_directory(input: &[u8]) {
    const DIRECTORY: u8 = 4;
    let [flags, size, body @ ..] = input else { return };
    if flags & DIRECTORY != 0 {
        check_directory(Directory::decode(body));
        return;
    }
    let mut bytes = entry(Kind::Chunk, body, 0);
    let end = bytes.len();
    if flags & FORGE != 0 {
        forge_chunk(&mut bytes, 0, end);
    }
    let Ok(prelude) = Prelude::parse(&bytes[HEAD_LEN..], end as u64) else { return };
    assert!(bytes.len() >= HEAD_LEN + PRELUDE_LEN);
    let range = prelude.directory_range();
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let stored = bytes.get(index(range.start)..index(range.end)).expect("a directory inside the entry");
    check_directory(prelude.read_directory(stored));
    let Some(chunk) = bytes.get(prelude.chunk_at as usize..) else { return };
    let Ok(header) = ChunkHeader::parse(chunk) else { return };
    let reference = prelude.chunk_ref(0, &header);
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
    let chunk_size = 64 * (usize::from(*size) + 1);
    let reader = ChunkReader::new(storage, chunk_size, flags & MAPPED != 0, false);
    let _ = reader.check_stored(0, &reference);
    let parts = [0..chunk_size, 0..1, chunk_size - 1..chunk_size, chunk_size / 3..chunk_size / 2];
    let parts = parts.map(|part| (part.clone(), reader.bytes(0, &reference, part)));
    if let [(_, Ok(all)), rest @ ..] = &parts {
        for (range, part) in rest {
            // A forged block may run into the next one, and only the read of the whole chunk has those
            // bytes.
            if let Ok(part) = part {
                assert!(part[..] == all[range.clone()], "a part is not that of the whole");
            }
        }
    }
}

/// Checks that an accepted directory is written as it was read.
fn check_directory(directory: Result<Directory, Fault>) {
    let Ok(directory) = directory else { return };
    let again = Directory::decode(&directory.to_builder().encode());
    assert_eq!(again, Ok(directory), "a directory written anew");
}

//! Reads bytes out of stored chunks.
//!
//! A read needs the chunk's block table, and then only the stored bytes of the blocks it touches. Each block
//! must match its checksum before the decompressor sees it.
//!
//! If the storage lends its bytes, the table is checked once, and then used where it lies. A chunk then costs
//! only the memory to remember that check. Otherwise, tables are read once and kept, up to a limit. Stored
//! blocks are copied to a buffer of the thread, and checked and decompressed there, so nobody can change them
//! in between.

mod apart;

pub(crate) use apart::ApartChunk;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::cache::{Advice, Cache};
use super::opened::Chunks;
use crate::blosc::{
    BloscError, ChunkHeader, Feature, HEADER_LEN, block_offset, block_offsets, partial_chunk, vet,
    with_decoder,
};
use crate::buffer::{AlignedBuf, Bytes};
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::le::u32_at;
use crate::storage::{Ahead, NONE, Storage, StorageExt, Windows};
use crate::sync::{self, OnceMap};

/// The most bytes of block tables that are kept.
pub(crate) const TABLES_LIMIT: usize = 16 << 20;

/// Raw bytes decoded at a time, unless a block has more.
///
/// A piece of this size stays in the processor's cache while it is copied, checked and decompressed.
const PIECE: usize = 64 << 10;

/// A chunk with so few stored bytes is read ahead together with its table.
const SMALL: u64 = 64 << 10;

/// The checked block table of a chunk.
#[derive(Debug)]
struct BlockTable {
    at: ChunkRef,
    header: ChunkHeader,
    /// The stored bytes: the checksums, and then the chunk's header and offsets.
    bytes: Vec<u8>,
}

/// A checked block table, with borrowed bytes.
struct Table<'t> {
    header: ChunkHeader,
    /// The CRC32C of header and offsets, and that of each block that has one.
    checksums: &'t [u8],
    /// The stored bytes of the chunk's header and offsets.
    prefix: &'t [u8],
}

impl BlockTable {
    fn borrowed(&self) -> Table<'_> {
        let checksums = 4 * self.at.n_checksums as usize;
        let (checksums, prefix) = self.bytes.split_at_checked(checksums).unwrap_or_default();
        Table { header: self.header, checksums, prefix }
    }
}

impl Table<'_> {
    /// Where the stored bytes of `block` start in the chunk. For the number after the last block, the end of
    /// the chunk.
    fn offset(&self, block: usize) -> Option<u32> {
        block_offset(self.prefix, &self.header, block)
    }

    /// The checksum of a block. `None` if it is one of the blocks of zeros at the end.
    fn checksum(&self, block: usize) -> Option<u32> {
        u32_at(self.checksums, 4 * (block + 1))
    }
}

#[derive(Debug, Default)]
struct Tables {
    by_chunk: HashMap<u64, Arc<BlockTable>>,
    bytes: usize,
}

/// Reads chunks of one storage.
pub(crate) struct ChunkReader {
    storage: Arc<dyn Storage>,
    chunk_size: usize,
    mapped: bool,
    /// Whether another program wrote the file. Its chunks have no checksums.
    foreign: bool,
    /// A length that the file is known to have had.
    known_len: AtomicU64,
    /// Headers of the chunks with a table that was checked where it lies.
    checked: OnceMap<(ChunkRef, ChunkHeader)>,
    /// Tables that had to be read, because the storage does not lend them.
    tables: RwLock<Tables>,
    /// The most bytes of block tables that are kept.
    tables_limit: usize,
    /// Decoded chunks, if they are to be kept.
    cache: Option<Arc<Cache>>,
    /// The number of the first chunk in the cache, which several readers may share.
    first_cached: u64,
    /// Chunks with the fields apart.
    apart: Chunks,
}

/// Where blocks are decoded to.
struct Target<'t> {
    /// The block that starts with the first byte of `out`.
    first: usize,
    out: &'t mut [u8],
    /// How many bytes of `out` are decoded already.
    filled: usize,
    seen: &'t mut dyn FnMut(&[u8]),
}

#[derive(Default)]
struct Scratch {
    head: Vec<u8>,
    /// Stored bytes on their way to the decompressor.
    stored: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl ChunkReader {
    /// A reader of the chunks in `storage`.
    ///
    /// `mapped` allows reading from the storage's map. Chunks without checksums are read only from `foreign`
    /// files.
    pub(crate) fn new(storage: Arc<dyn Storage>, chunk_size: usize, mapped: bool, foreign: bool) -> Self {
        Self {
            storage,
            chunk_size,
            mapped,
            foreign,
            known_len: AtomicU64::new(0),
            checked: OnceMap::default(),
            tables: RwLock::default(),
            tables_limit: TABLES_LIMIT,
            cache: None,
            first_cached: 0,
            apart: Chunks::default(),
        }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Tells the reader that the file has at least `len` bytes, so that it need not ask.
    pub(crate) fn with_known_len(self, len: u64) -> Self {
        Self { known_len: AtomicU64::new(len), ..self }
    }

    /// Lets the reader keep decoded chunks in `cache`, its first chunk as number `first`.
    pub(crate) fn with_cache(mut self, cache: Option<&Arc<Cache>>, first: u64) -> Self {
        (self.cache, self.first_cached) = (cache.cloned(), first);
        self
    }

    /// Lets the reader keep up to `bytes` bytes of block tables.
    pub(crate) fn with_tables_limit(mut self, bytes: usize) -> Self {
        self.tables_limit = bytes;
        self
    }

    /// The whole raw bytes of a compressed chunk, if they are kept, or worth decoding and keeping.
    ///
    /// `needed` tells how many raw bytes the read would otherwise decode. `None` if the read should decode
    /// only the blocks that it needs.
    pub(crate) fn cached(
        &self,
        chunk: u64,
        at: &ChunkRef,
        ahead: &Windows,
        needed: impl FnOnce() -> usize,
    ) -> Option<Bytes> {
        let cache = self.cache.as_ref()?;
        match cache.ask(self.first_cached + chunk, at, self.chunk_size, needed()) {
            Advice::Kept(whole) => Some(whole),
            Advice::DecodePart => None,
            Advice::DecodeWhole => {
                let mut raw = AlignedBuf::any(self.chunk_size);
                // A damaged chunk is read in parts, each with its own error.
                self.decode(chunk, at, ahead, 0, &mut raw).ok()?;
                let whole = Bytes::from_heap(Arc::new(raw), 0..self.chunk_size);
                cache.keep(self.first_cached + chunk, *at, whole.clone());
                Some(whole)
            }
        }
    }

    /// Checks that bytes are inside the file, before memory is taken for them.
    ///
    /// The length is asked for only if the file must have grown since it was last seen. A file that was cut
    /// since gives an error when it is read.
    fn check_inside(&self, chunk: u64, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len);
        if end.is_some_and(|end| end <= self.known_len.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let file_len = self.storage.file_len()?;
        self.known_len.fetch_max(file_len, Ordering::Relaxed);
        if end.is_some_and(|end| end <= file_len) {
            return Ok(());
        }
        Err(self.damaged(chunk, offset, format!("{len} bytes"), format!("{file_len} bytes of file")))
    }

    /// Fills `buf` from what was read ahead, or else from the storage.
    fn read(&self, chunk: u64, ahead: &Windows, offset: u64, buf: &mut [u8]) -> Result<()> {
        if let Some(bytes) = ahead.get(offset, buf.len()) {
            buf.copy_from_slice(bytes);
            return Ok(());
        }
        self.storage.read_at(offset, buf).map_err(|source| {
            self.storage.io(format!("read {} bytes of chunk {chunk} at byte {offset}", buf.len()), source)
        })
    }

    /// Refuses a chunk that only a later version can read.
    fn check_known(&self, at: &ChunkRef) -> Result<()> {
        at.check_known(self.foreign).map_err(|newer| newer.at(self.storage.path(), at.offset, false))
    }

    fn mismatch(&self, part: Part, offset: u64, expected: u32, found: u32) -> Error {
        ErrorKind::Checksum { part, offset, expected, found }.at(self.storage.path())
    }

    fn broken(&self, chunk: u64, offset: u64, source: BloscError) -> Error {
        let path = self.storage.path().to_owned();
        match source.clone().into_unread() {
            Some(Feature { what, name }) => ErrorKind::Unsupported { what, name, offset }.at(path),
            None => ErrorKind::Decompress { chunk, offset }.at(path).because(source),
        }
    }

    fn damaged(&self, chunk: u64, offset: u64, expected: String, found: String) -> Error {
        Error::damaged(self.storage.path(), Part::Chunk(chunk), offset, expected, found)
    }

    /// The raw bytes `range` of chunk number `chunk`.
    ///
    /// In memory, they have the same alignment as in the chunk, up to 64.
    pub(crate) fn bytes(&self, chunk: u64, at: &ChunkRef, range: Range<usize>) -> Result<Bytes> {
        self.bytes_ahead(chunk, at, range, &NONE)
    }

    /// Like [`bytes`](Self::bytes), but stored bytes that are in `ahead` are not read again.
    pub(crate) fn bytes_ahead(
        &self,
        chunk: u64,
        at: &ChunkRef,
        range: Range<usize>,
        ahead: &Windows,
    ) -> Result<Bytes> {
        if range.end > self.chunk_size || range.start > range.end {
            let expected = format!("records inside {} bytes", self.chunk_size);
            return Err(self.damaged(chunk, at.offset, expected, format!("{range:?}")));
        }
        self.check_known(at)?;
        let len = range.end - range.start;
        if at.is(ChunkRef::ZEROS) || len == 0 {
            return Ok(Bytes::from_heap(Arc::new(AlignedBuf::zeroed(len)), 0..len));
        }
        if at.is(ChunkRef::UNCOMPRESSED) {
            return self.uncompressed(chunk, at, range, ahead);
        }
        if at.is(ChunkRef::FOREIGN) {
            let whole = self.foreign(chunk, at, ahead)?;
            if range.end > whole.len() {
                let expected = format!("a chunk of at least {} raw bytes", range.end);
                return Err(self.damaged(chunk, at.offset, expected, whole.len().to_string()));
            }
            return Ok(whole.slice(range));
        }
        if at.is_apart() {
            return self.apart_bytes(chunk, at, range, ahead);
        }
        let block_size = at.block_size as usize;
        if block_size == 0 {
            return Err(self.damaged(chunk, at.offset, "a block size".into(), "0".into()));
        }
        let (first, last) = (range.start / block_size, (range.end - 1) / block_size);
        if let Some(whole) = self.cached(chunk, at, ahead, || (last + 1 - first) * block_size) {
            return Ok(whole.slice(range));
        }
        let blocks = self.blocks(chunk, at, ahead, first, last)?;
        let lead = range.start - first * block_size;
        Ok(blocks.slice(lead..lead + len))
    }

    /// Raw bytes of an uncompressed chunk, if the storage lends them.
    pub(crate) fn lend(&self, at: &ChunkRef, range: Range<usize>) -> Option<Bytes> {
        if !self.mapped || !at.is(ChunkRef::UNCOMPRESSED) || range.end > self.chunk_size {
            return None;
        }
        self.check_known(at).ok()?;
        let offset = at.payload_offset().saturating_add(range.start as u64);
        self.storage.map(offset, range.len() as u64).ok().flatten()
    }

    fn uncompressed(&self, chunk: u64, at: &ChunkRef, range: Range<usize>, ahead: &Windows) -> Result<Bytes> {
        let len = range.end - range.start;
        let offset = at.payload_offset().saturating_add(range.start as u64);
        if self.mapped {
            let mapped = self.storage.map(offset, len as u64).map_err(|source| {
                self.storage.io(format!("map {len} bytes of chunk {chunk} at byte {offset}"), source)
            })?;
            if let Some(bytes) = mapped {
                return Ok(bytes);
            }
        }
        self.check_inside(chunk, offset, len as u64)?;
        // Keeps the alignment that the bytes have in the chunk.
        let lead = range.start % crate::buffer::ALIGNMENT;
        let mut buf = AlignedBuf::any(lead + len);
        self.read(chunk, ahead, offset, &mut buf[lead..])?;
        Ok(Bytes::from_heap(Arc::new(buf), lead..lead + len))
    }

    /// The raw bytes of a chunk of another program.
    ///
    /// It has no checksums, so the whole chunk is vetted and decoded.
    pub(crate) fn foreign(&self, chunk: u64, at: &ChunkRef, ahead: &Windows) -> Result<Bytes> {
        let offset = at.chunk_offset();
        self.check_inside(chunk, offset, u64::from(at.chunk_len))?;
        let mut stored = vec![0; at.chunk_len as usize];
        self.read(chunk, ahead, offset, &mut stored)?;
        let header = ChunkHeader::parse(&stored).map_err(|source| self.broken(chunk, offset, source))?;
        if header.raw_len > self.chunk_size {
            let expected = format!("at most {} raw bytes", self.chunk_size);
            return Err(self.damaged(chunk, offset, expected, header.raw_len.to_string()));
        }
        let len = header.raw_len;
        let raw = Self::decompress(&stored, len).map_err(|source| self.broken(chunk, offset, source))?;
        Ok(Bytes::from_heap(Arc::new(raw), 0..len))
    }

    /// The `len` raw bytes of a chunk. The chunk is vetted before memory is taken for them.
    fn decompress(stored: &[u8], len: usize) -> std::result::Result<AlignedBuf, BloscError> {
        let vetted = vet(stored)?;
        let mut raw = AlignedBuf::any(len);
        with_decoder(|decoder| decoder.decompress(&vetted, &mut raw))?;
        Ok(raw)
    }

    /// The raw bytes of blocks `first..=last`.
    fn blocks(&self, chunk: u64, at: &ChunkRef, ahead: &Windows, first: usize, last: usize) -> Result<Bytes> {
        let block_size = at.block_size as usize;
        let raw_len = self.chunk_size.min((last + 1) * block_size).saturating_sub(first * block_size);
        let mut raw = AlignedBuf::any(raw_len);
        self.decode(chunk, at, ahead, first, &mut raw)?;
        Ok(Bytes::from_heap(Arc::new(raw), 0..raw_len))
    }

    /// Fills `out` with raw bytes of a compressed chunk, from the start of block `first` on.
    fn decode(&self, chunk: u64, at: &ChunkRef, ahead: &Windows, first: usize, out: &mut [u8]) -> Result<()> {
        let start = first * at.block_size as usize;
        self.decode_behind(chunk, at, ahead, (start, 0), out, &mut |_| ())
    }

    /// Like [`decode`](Self::decode), from raw byte `start` on, but goes on after the first `filled` bytes,
    /// which are there already.
    ///
    /// Both must be at the start of a block, unless fields are apart. All stored blocks are read in one
    /// request, and none if they are in `ahead`. After each piece, `seen` gets all bytes decoded so far. It
    /// can work on the newest piece while that is in the processor's cache.
    pub(crate) fn decode_behind(
        &self,
        chunk: u64,
        at: &ChunkRef,
        ahead: &Windows,
        (start, filled): (usize, usize),
        out: &mut [u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        self.check_known(at)?;
        if filled > 0 {
            seen(&out[..filled]);
        }
        if filled >= out.len() {
            return Ok(());
        }
        if at.is_apart() {
            return self.decode_apart(chunk, at, ahead, (start, filled), out, seen);
        }
        let first = start / (at.block_size as usize).max(1);
        let target = Target { first, out, filled, seen };
        // If the whole entry cannot be mapped, a part of it may still be read.
        let n_checksums = 4 * u64::from(at.n_checksums);
        let lent = if self.mapped {
            self.storage.map(at.table_offset(), n_checksums + u64::from(at.chunk_len)).ok().flatten()
        } else {
            None
        };
        let Some(entry) = lent else {
            let table = self.kept_table(chunk, at)?;
            let table = table.borrowed();
            let block_size = table.header.block_size.max(1);
            let blocks = first + filled / block_size..first + target.out.len().div_ceil(block_size);
            let mut own = Windows::default();
            // A single piece is read to its place, without this copy.
            if target.out.len() - filled > PIECE.max(block_size)
                && let Some(range) = Self::stored_range(at, &table, blocks)
                && let Ok(len) = usize::try_from(range.end - range.start)
                && ahead.get(range.start, len).is_none()
            {
                let mut bytes = vec![0; len];
                self.read(chunk, &NONE, range.start, &mut bytes)?;
                own = Windows::of(range.start, bytes);
            }
            return self.decode_pieces(chunk, at, &table, target, |offset, stored| {
                let offset = at.chunk_offset() + u64::from(offset);
                match own.get(offset, stored.len()) {
                    Some(bytes) => {
                        stored.copy_from_slice(bytes);
                        Ok(())
                    }
                    None => self.read(chunk, ahead, offset, stored),
                }
            });
        };
        let (checksums, stored_chunk) =
            entry.split_at_checked(4 * at.n_checksums as usize).unwrap_or_default();
        let header = match self.checked.get(chunk) {
            Some((checked, header)) if checked == at => *header,
            _ => {
                let prefix = stored_chunk.get(..self.prefix_len(at)).unwrap_or_default();
                let header = self.check_table(chunk, at, checksums, prefix)?;
                self.checked.set(chunk, (*at, header));
                header
            }
        };
        let prefix = stored_chunk.get(..header.prefix_len()).unwrap_or_default();
        self.decode_pieces(chunk, at, &Table { header, checksums, prefix }, target, |offset, stored| {
            let lent = stored_chunk.get(offset as usize..).and_then(|rest| rest.get(..stored.len()));
            stored.copy_from_slice(lent.ok_or_else(|| self.no_block(chunk, at, &header))?);
            Ok(())
        })
    }

    fn no_block(&self, chunk: u64, at: &ChunkRef, header: &ChunkHeader) -> Error {
        let expected = "a block of the chunk".to_owned();
        self.damaged(chunk, at.offset, expected, format!("{} blocks", header.n_blocks()))
    }

    /// Fetches, checks and decompresses blocks until the target is full.
    ///
    /// `fetch` fills a buffer with the stored bytes at an offset in the chunk.
    fn decode_pieces(
        &self,
        chunk: u64,
        at: &ChunkRef,
        table: &Table<'_>,
        target: Target<'_>,
        fetch: impl Fn(u32, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let block_size = table.header.block_size.max(1);
        let blocks_a_piece = (PIECE / block_size).max(1);
        let broken = |source| self.broken(chunk, at.offset, source);
        let Target { first, out, mut filled, seen } = target;
        // Taken, not borrowed, because `seen` may itself read from a depot.
        let mut scratch = SCRATCH.take();
        let Scratch { head, stored } = &mut scratch;
        let mut decode = || {
            while filled < out.len() {
                let end = out.len().min(filled + blocks_a_piece * block_size);
                let first = first + filled / block_size;
                let raw = &mut out[filled..end];
                let last = first + raw.len().div_ceil(block_size) - 1;
                let no_block = || self.no_block(chunk, at, &table.header);
                let start = table.offset(first).ok_or_else(no_block)?;
                head.clear();
                partial_chunk(table.prefix, &table.header, first, last, head).map_err(broken)?;
                let whole_len = ChunkHeader::parse(head).map_err(broken)?.stored_len;
                if stored.len() < whole_len {
                    stored.resize(whole_len, 0);
                }
                let whole = &mut stored[..whole_len];
                let (to_head, blocks) = whole.split_at_mut(head.len());
                to_head.copy_from_slice(head);
                fetch(start, blocks)?;
                self.check_blocks(chunk, at, table, first, head, blocks)?;
                let offset = at.chunk_offset() + u64::from(start);
                vet(whole)
                    .and_then(|vetted| with_decoder(|decoder| decoder.decompress(&vetted, raw)))
                    .map_err(|source| self.broken(chunk, offset, source))?;
                filled = end;
                seen(&out[..filled]);
            }
            Ok(())
        };
        let decoded = decode();
        SCRATCH.set(scratch);
        decoded
    }

    /// Compares the stored bytes of blocks from `first` on with their checksums.
    ///
    /// `head` is the header and the offsets of the chunk that the decompressor gets. The blocks are found by
    /// these offsets, because the decompressor will use the same ones.
    fn check_blocks(
        &self,
        chunk: u64,
        at: &ChunkRef,
        table: &Table<'_>,
        first: usize,
        head: &[u8],
        stored: &[u8],
    ) -> Result<()> {
        let n = (head.len() - HEADER_LEN) / 4;
        let start = |nth: usize| {
            let offset = u32_at(head, HEADER_LEN + 4 * nth).map_or(0, |offset| offset as usize);
            if nth == n { stored.len() } else { offset.wrapping_sub(head.len()) }
        };
        for nth in 0..n {
            let bytes = stored.get(start(nth)..start(nth + 1));
            let bytes = bytes.ok_or_else(|| self.no_block(chunk, at, &table.header))?;
            self.check_block(chunk, at, table, first + nth, bytes)?;
        }
        Ok(())
    }

    /// Compares the stored bytes of a block with its checksum.
    fn check_block(
        &self,
        chunk: u64,
        at: &ChunkRef,
        table: &Table<'_>,
        block: usize,
        stored: &[u8],
    ) -> Result<()> {
        let (checksum, found) = (table.checksum(block), crc32c(stored));
        let whole =
            checksum.map_or_else(|| stored.iter().all(|&byte| byte == 0), |checksum| checksum == found);
        if whole {
            return Ok(());
        }
        let expected = checksum.unwrap_or_else(|| crc32c(&vec![0; stored.len()]));
        let offset = at.chunk_offset() + u64::from(table.offset(block).unwrap_or(0));
        Err(self.mismatch(Part::Block { chunk, block: block as u64 }, offset, expected, found))
    }

    /// Reads ahead what reading the raw bytes `range` of a chunk needs: its table, and the stored blocks too
    /// if `blocks`.
    ///
    /// What cannot be read ahead is left to [`bytes`](Self::bytes), with the error that it has.
    pub(crate) fn expect(
        &self,
        ahead: &mut Ahead<'_>,
        chunk: u64,
        at: &ChunkRef,
        range: Range<usize>,
        blocks: bool,
    ) {
        let mut range = range.start..range.end.min(self.chunk_size);
        if range.is_empty() || at.is(ChunkRef::ZEROS) || at.check_known(self.foreign).is_err() {
            return;
        }
        let inside = |offset: u64, len: u64| {
            self.check_inside(chunk, offset, len).is_ok().then(|| offset..offset + len)
        };
        if at.is(ChunkRef::UNCOMPRESSED | ChunkRef::FOREIGN) {
            let (offset, len) = if at.is(ChunkRef::FOREIGN) {
                (at.chunk_offset(), u64::from(at.chunk_len))
            } else {
                (at.payload_offset().saturating_add(range.start as u64), range.len() as u64)
            };
            if let Some(range) = inside(offset, len).filter(|_| blocks) {
                ahead.has_end(range);
            }
            return;
        }
        let block_size = if at.is_apart() { 1 } else { (at.block_size as usize).max(1) };
        let first_last = |range: &Range<usize>| range.start / block_size..range.end.div_ceil(block_size);
        if let Some(cache) = &self.cache {
            match cache.would(
                self.first_cached + chunk,
                at,
                self.chunk_size,
                first_last(&range).len() * block_size,
            ) {
                Advice::Kept(_) => return,
                Advice::DecodeWhole => range = 0..self.chunk_size,
                Advice::DecodePart => {}
            }
        }
        if at.is_apart() {
            return self.expect_apart(ahead, chunk, at, range, blocks);
        }
        let Some(table) = self.table_in_memory(chunk, at).or_else(|| {
            self.check_counts(chunk, at).ok()?;
            let checksums = 4 * u64::from(at.n_checksums);
            let table_len = checksums + self.prefix_len(at) as u64;
            let whole_len = checksums + u64::from(at.chunk_len);
            let len = if whole_len <= SMALL { whole_len } else { table_len };
            let bytes =
                ahead.get(inside(at.table_offset(), whole_len).map(|all| all.start..all.start + len)?)?;
            let bytes = bytes.get(..usize::try_from(table_len).ok()?)?.to_vec();
            Some(self.keep_table(chunk, self.table_of(chunk, at, bytes).ok()?))
        }) else {
            return;
        };
        let table = table.borrowed();
        if let Some(range) = Self::stored_range(at, &table, first_last(&range)).filter(|_| blocks) {
            ahead.has_end(range);
        }
    }

    /// Where the stored bytes of some blocks lie in the file.
    fn stored_range(at: &ChunkRef, table: &Table<'_>, blocks: Range<usize>) -> Option<Range<u64>> {
        let (from, to) = (table.offset(blocks.start)?, table.offset(blocks.end)?);
        let offset = at.chunk_offset();
        (from < to && to <= at.chunk_len).then(|| offset + u64::from(from)..offset + u64::from(to))
    }

    fn table_in_memory(&self, chunk: u64, at: &ChunkRef) -> Option<Arc<BlockTable>> {
        let tables = sync::read(&self.tables);
        tables.by_chunk.get(&chunk).filter(|table| table.at == *at).map(Arc::clone)
    }

    /// The chunk's block table: one that is kept, or one that is read and checked now.
    fn kept_table(&self, chunk: u64, at: &ChunkRef) -> Result<Arc<BlockTable>> {
        match self.table_in_memory(chunk, at) {
            Some(table) => Ok(table),
            None => Ok(self.keep_table(chunk, self.load_table(chunk, at)?)),
        }
    }

    fn keep_table(&self, chunk: u64, table: BlockTable) -> Arc<BlockTable> {
        let table = Arc::new(table);
        let bytes = table.bytes.len() + size_of::<BlockTable>();
        let mut tables = sync::write(&self.tables);
        if tables.bytes + bytes > self.tables_limit {
            tables.by_chunk.clear();
            tables.bytes = 0;
        }
        if tables.by_chunk.insert(chunk, Arc::clone(&table)).is_none() {
            tables.bytes += bytes;
        }
        table
    }

    /// Bytes of the header and the block offsets of a chunk.
    fn prefix_len(&self, at: &ChunkRef) -> usize {
        HEADER_LEN + 4 * self.n_blocks(at)
    }

    fn load_table(&self, chunk: u64, at: &ChunkRef) -> Result<BlockTable> {
        let n_checksums = at.n_checksums as usize;
        let prefix_len = self.prefix_len(at).min(at.chunk_len as usize);
        // A forged reference must not take more memory than the table of such a chunk can need.
        self.check_counts(chunk, at)?;
        self.check_inside(chunk, at.table_offset(), 4 * u64::from(at.n_checksums) + u64::from(at.chunk_len))?;
        let mut bytes = vec![0; 4 * n_checksums + prefix_len];
        self.read(chunk, &NONE, at.table_offset(), &mut bytes)?;
        self.table_of(chunk, at, bytes)
    }

    /// The block table that has these stored bytes.
    fn table_of(&self, chunk: u64, at: &ChunkRef, bytes: Vec<u8>) -> Result<BlockTable> {
        let (checksums, prefix) = bytes.split_at_checked(4 * at.n_checksums as usize).unwrap_or_default();
        let header = self.check_table(chunk, at, checksums, prefix)?;
        Ok(BlockTable { at: *at, header, bytes })
    }

    fn n_blocks(&self, at: &ChunkRef) -> usize {
        self.chunk_size.div_ceil(at.block_size.max(1) as usize)
    }

    fn check_counts(&self, chunk: u64, at: &ChunkRef) -> Result<()> {
        let n_blocks = self.n_blocks(at);
        // Blocks of zeros at the end have no checksums.
        let fits = (1..=n_blocks + 1).contains(&(at.n_checksums as usize));
        if fits && self.prefix_len(at) <= at.chunk_len as usize {
            return Ok(());
        }
        Err(self.damaged(
            chunk,
            at.offset,
            format!("checksums of at most {n_blocks} blocks"),
            at.n_checksums.to_string(),
        ))
    }

    /// Checks a block table.
    ///
    /// Its checksums must match the checksum in the index. The header and offsets must match the first of
    /// these checksums.
    fn check_table(&self, chunk: u64, at: &ChunkRef, checksums: &[u8], prefix: &[u8]) -> Result<ChunkHeader> {
        self.check_counts(chunk, at)?;
        let found = crc32c(checksums);
        if found != at.table_crc {
            return Err(self.mismatch(Part::BlockTable(chunk), at.table_offset(), at.table_crc, found));
        }
        let (expected, found) = (u32_at(checksums, 0).unwrap_or(0), crc32c(prefix));
        if found != expected {
            return Err(self.mismatch(Part::BlockTable(chunk), at.chunk_offset(), expected, found));
        }
        let broken = |source| self.broken(chunk, at.chunk_offset(), source);
        let header = ChunkHeader::parse(prefix).map_err(broken)?;
        let block_size = at.block_size.max(1) as usize;
        // The block size must divide the chunk size. Then any run of blocks is itself a chunk of equal
        // blocks.
        let fits = header.raw_len == self.chunk_size
            && header.block_size == block_size
            && self.chunk_size.is_multiple_of(block_size)
            && header.stored_len == at.chunk_len as usize;
        if !fits {
            let expected = format!("a chunk of {} raw bytes in blocks of {block_size}", self.chunk_size);
            let ChunkHeader { raw_len, block_size, stored_len, .. } = header;
            let found = format!("{raw_len} in blocks of {block_size}, {stored_len} stored bytes");
            return Err(self.damaged(chunk, at.chunk_offset(), expected, found));
        }
        block_offsets(prefix).map_err(broken)?;
        Ok(header)
    }

    /// The checksums of a chunk of zeros, or of one that is not compressed.
    fn stored_checksums(&self, chunk: u64, at: &ChunkRef) -> Result<Vec<u8>> {
        // A forged reference must not ask for more memory than the chunk can need.
        let n_blocks = if at.is(ChunkRef::ZEROS) { 0 } else { self.n_blocks(at) };
        if at.n_checksums as usize != n_blocks + 1 {
            let expected = format!("checksums of {n_blocks} blocks");
            return Err(self.damaged(chunk, at.offset, expected, at.n_checksums.to_string()));
        }
        self.check_inside(chunk, at.table_offset(), 4 * u64::from(at.n_checksums))?;
        let mut checksums = vec![0; 4 * at.n_checksums as usize];
        self.read(chunk, &NONE, at.table_offset(), &mut checksums)?;
        let found = crc32c(&checksums);
        if found != at.table_crc {
            return Err(self.mismatch(Part::BlockTable(chunk), at.table_offset(), at.table_crc, found));
        }
        Ok(checksums)
    }

    /// Like [`bytes`](Self::bytes), but compares the checksums of blocks that are not compressed too, which
    /// are otherwise covered by those of records.
    pub(crate) fn checked_bytes(&self, chunk: u64, at: &ChunkRef, range: Range<usize>) -> Result<Bytes> {
        // What another program wrote has none.
        if self.foreign || !at.is(ChunkRef::UNCOMPRESSED) || range.is_empty() || range.end > self.chunk_size {
            return self.bytes(chunk, at, range);
        }
        self.check_known(at)?;
        let checksums = self.stored_checksums(chunk, at)?;
        let block = at.block_size.max(1) as usize;
        let first = range.start / block;
        let end = range.end.next_multiple_of(block).min(self.chunk_size);
        let blocks = self.uncompressed(chunk, at, first * block..end, &NONE)?;
        for (number, bytes) in (first..).zip(blocks.chunks(block)) {
            let expected = u32_at(&checksums, 4 * (number + 1)).unwrap_or(0);
            let found = crc32c(bytes);
            if expected != found {
                let offset = at.payload_offset() + (number * block) as u64;
                return Err(self.mismatch(
                    Part::Block { chunk, block: number as u64 },
                    offset,
                    expected,
                    found,
                ));
            }
        }
        Ok(blocks.slice(range.start - first * block..range.end - first * block))
    }

    /// Stored bytes of each block, without the blocks of zeros at the end. Empty for a chunk without a table
    /// of blocks that can be trusted.
    pub(crate) fn stored_blocks(&self, chunk: u64, at: &ChunkRef) -> Result<Vec<u32>> {
        self.check_known(at)?;
        if [ChunkRef::ZEROS, ChunkRef::UNCOMPRESSED, ChunkRef::FOREIGN].into_iter().any(|kind| at.is(kind)) {
            return Ok(Vec::new());
        }
        if at.is_apart() {
            return Ok(self.apart_blocks(chunk, at)?.1);
        }
        let table = self.load_table(chunk, at)?;
        let table = table.borrowed();
        let n_blocks = table.header.n_blocks().min(at.n_checksums.saturating_sub(1) as usize);
        let starts: Vec<_> = (0..=n_blocks).filter_map(|block| table.offset(block)).collect();
        Ok(starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect())
    }

    /// Checks every stored byte of a chunk against the checksums, without decompressing.
    pub(crate) fn check_stored(&self, chunk: u64, at: &ChunkRef) -> Result<()> {
        if at.is(ChunkRef::FOREIGN) {
            return Ok(());
        }
        self.check_known(at)?;
        if at.is_apart() {
            return self.check_apart_stored(chunk, at);
        }
        if !at.is(ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED) {
            let table = self.load_table(chunk, at)?;
            let table = table.borrowed();
            let mut stored = Vec::new();
            let n_blocks = table.header.n_blocks();
            let n_checked = n_blocks.min(at.n_checksums.saturating_sub(1) as usize);
            // The blocks of zeros at the end are one run of zeros.
            for block in 0..n_blocks.min(n_checked + 1) {
                let behind = if block < n_checked { block + 1 } else { n_blocks };
                let (from, to) = (table.offset(block).unwrap_or(0), table.offset(behind).unwrap_or(0));
                stored.resize(to.saturating_sub(from) as usize, 0);
                self.read(chunk, &NONE, at.chunk_offset() + u64::from(from), &mut stored)?;
                self.check_block(chunk, at, &table, block, &stored)?;
            }
            return Ok(());
        }
        let checksums = self.stored_checksums(chunk, at)?;
        let mut from = at.chunk_offset();
        let end = from + u64::from(at.chunk_len);
        let mut piece = Vec::new();
        for number in 0..at.n_checksums as usize {
            let len = if number == 0 { HEADER_LEN } else { at.block_size as usize };
            let len = len.min(usize::try_from(end - from).unwrap_or(usize::MAX));
            piece.resize(len, 0);
            self.read(chunk, &NONE, from, &mut piece)?;
            let (expected, found) = (u32_at(&checksums, 4 * number).unwrap_or(0), crc32c(&piece));
            if expected != found {
                return Err(self.mismatch(
                    Part::Block { chunk, block: number.saturating_sub(1) as u64 },
                    from,
                    expected,
                    found,
                ));
            }
            from += len as u64;
        }
        if from == end {
            Ok(())
        } else {
            Err(self.damaged(chunk, from, "checksums of it all".into(), "too few".into()))
        }
    }
}

//! Bytes out of stored chunks.
//!
//! A read fetches the chunk's block table (kept afterwards), then the stored bytes of the blocks it touches and nothing
//! else; every one of them matches its checksum before the decompressor sees it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use crate::blosc::{BloscError, ChunkHeader, HEADER_LEN, block_offsets, partial_chunk, vet, with_decoder};
use crate::buffer::{AlignedBuf, Bytes};
use crate::error::{Error, Result};
use crate::format::chunk::ChunkRef;
use crate::format::u32_at;
use crate::storage::Storage;

/// Block tables kept, by bytes.
const TABLES_LIMIT: usize = 16 << 20;

/// A chunk's block table, checked.
#[derive(Debug)]
struct BlockTable {
    header: ChunkHeader,
    /// The chunk's header and offset table as stored.
    prefix: Vec<u8>,
    /// Start of each block in the chunk, and the end.
    offsets: Vec<u32>,
    /// CRC32C of each block's stored bytes.
    checksums: Vec<u32>,
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
    /// Another program wrote the file: its chunks have no checksums.
    foreign: bool,
    tables: RwLock<Tables>,
}

thread_local! {
    /// Stored bytes on their way to the decompressor.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl ChunkReader {
    /// A reader; `mapped` lends uncompressed payloads from the storage's map. Chunks without checksums are read from `foreign` files
    /// alone.
    pub(crate) fn new(storage: Arc<dyn Storage>, chunk_size: usize, mapped: bool, foreign: bool) -> Self {
        Self { storage, chunk_size, mapped, foreign, tables: RwLock::default() }
    }

    /// Checks that bytes are in the file, before memory is taken for them.
    fn check_inside(&self, chunk: u64, offset: u64, len: u64) -> Result<()> {
        let file_len = self.storage.len().map_err(|source| Error::Io {
            path: self.storage.path().to_owned(),
            action: "ask for the file's length".into(),
            source,
        })?;
        if offset.checked_add(len).is_some_and(|end| end <= file_len) {
            return Ok(());
        }
        Err(self.damaged(chunk, offset, format!("{len} bytes"), format!("{file_len} bytes of file")))
    }

    fn read(&self, chunk: u64, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.read_at(offset, buf).map_err(|source| Error::Io {
            path: self.storage.path().to_owned(),
            action: format!("read {} bytes of chunk {chunk} at byte {offset}", buf.len()),
            source,
        })
    }

    fn mismatch(&self, chunk: u64, what: String, offset: u64, expected: u32, found: u32) -> Error {
        Error::ChunkChecksum { path: self.storage.path().to_owned(), chunk, what, offset, expected, found }
    }

    fn broken(&self, chunk: u64, offset: u64, source: crate::blosc::BloscError) -> Error {
        Error::Decompress { path: self.storage.path().to_owned(), chunk, offset, source }
    }

    fn damaged(&self, chunk: u64, offset: u64, expected: String, found: String) -> Error {
        Error::Damaged {
            path: self.storage.path().to_owned(),
            what: format!("chunk {chunk}"),
            offset,
            expected,
            found,
        }
    }

    /// Raw bytes `range` of chunk number `chunk`. They lie at the alignment they have in the chunk, up to 64.
    pub(crate) fn bytes(&self, chunk: u64, at: &ChunkRef, range: Range<usize>) -> Result<Bytes> {
        if range.end > self.chunk_size || range.start > range.end {
            let expected = format!("records inside {} bytes", self.chunk_size);
            return Err(self.damaged(chunk, at.offset, expected, format!("{range:?}")));
        }
        let len = range.end - range.start;
        if at.is(ChunkRef::ZEROS) || len == 0 {
            return Ok(Bytes::from_heap(Arc::new(AlignedBuf::zeroed(len)), 0..len));
        }
        if at.is(ChunkRef::UNCOMPRESSED) {
            return self.uncompressed(chunk, at, range);
        }
        if at.is(ChunkRef::FOREIGN) {
            if !self.foreign {
                return Err(self.damaged(chunk, at.offset, "a chunk with checksums".into(), "none".into()));
            }
            let whole = self.foreign(chunk, at)?;
            if range.end > whole.len() {
                let expected = format!("a chunk of at least {} raw bytes", range.end);
                return Err(self.damaged(chunk, at.offset, expected, whole.len().to_string()));
            }
            return Ok(whole.slice(range));
        }
        let block_size = at.block_size as usize;
        if block_size == 0 {
            return Err(self.damaged(chunk, at.offset, "a block size".into(), "0".into()));
        }
        let (first, last) = (range.start / block_size, (range.end - 1) / block_size);
        let blocks = self.blocks(chunk, at, first, last)?;
        let lead = range.start - first * block_size;
        Ok(blocks.slice(lead..lead + len))
    }

    fn uncompressed(&self, chunk: u64, at: &ChunkRef, range: Range<usize>) -> Result<Bytes> {
        let len = range.end - range.start;
        let offset = at.payload_offset().saturating_add(range.start as u64);
        if self.mapped {
            let mapped = self.storage.map(offset, len as u64).map_err(|source| Error::Io {
                path: self.storage.path().to_owned(),
                action: format!("map {len} bytes of chunk {chunk} at byte {offset}"),
                source,
            })?;
            if let Some(bytes) = mapped {
                return Ok(bytes);
            }
        }
        self.check_inside(chunk, offset, len as u64)?;
        // Keeps the alignment the bytes have in the chunk.
        let lead = range.start % crate::buffer::ALIGNMENT;
        let mut buf = AlignedBuf::any(lead + len);
        self.read(chunk, offset, &mut buf[lead..])?;
        Ok(Bytes::from_heap(Arc::new(buf), lead..lead + len))
    }

    /// A chunk of another program: no checksums, so it is looked through and decoded whole.
    fn foreign(&self, chunk: u64, at: &ChunkRef) -> Result<Bytes> {
        let offset = at.chunk_offset();
        self.check_inside(chunk, offset, u64::from(at.chunk_len))?;
        let mut stored = vec![0; at.chunk_len as usize];
        self.read(chunk, offset, &mut stored)?;
        let header = ChunkHeader::parse(&stored).map_err(|source| self.broken(chunk, offset, source))?;
        if header.raw_len > self.chunk_size {
            let expected = format!("at most {} raw bytes", self.chunk_size);
            return Err(self.damaged(chunk, offset, expected, header.raw_len.to_string()));
        }
        let len = header.raw_len;
        let raw = Self::decompress(&stored, len).map_err(|source| self.broken(chunk, offset, source))?;
        Ok(Bytes::from_heap(Arc::new(raw), 0..len))
    }

    /// The `len` raw bytes of a chunk that is looked through before memory is taken for them.
    fn decompress(stored: &[u8], len: usize) -> std::result::Result<AlignedBuf, BloscError> {
        let vetted = vet(stored)?;
        let mut raw = AlignedBuf::any(len);
        with_decoder(|decoder| decoder.decompress(&vetted, &mut raw))?;
        Ok(raw)
    }

    /// Raw bytes of blocks `first..=last`, decoded in one go.
    pub(crate) fn blocks(&self, chunk: u64, at: &ChunkRef, first: usize, last: usize) -> Result<Bytes> {
        let table = self.table(chunk, at)?;
        let (Some(&start), Some(&end)) = (table.offsets.get(first), table.offsets.get(last + 1)) else {
            let expected = format!("a block {last}");
            return Err(self.damaged(
                chunk,
                at.offset,
                expected,
                format!("{} blocks", table.checksums.len()),
            ));
        };
        let raw_len =
            table.header.raw_len.min((last + 1) * table.header.block_size) - first * table.header.block_size;
        let raw = SCRATCH.with_borrow_mut(|scratch| {
            let mut head = Vec::with_capacity(HEADER_LEN + 4 * (last + 1 - first));
            partial_chunk(&table.prefix, &table.offsets, first, last, &mut head)
                .map_err(|source| self.broken(chunk, at.offset, source))?;
            let whole_len = head.len() + (end - start) as usize;
            if scratch.len() < whole_len {
                scratch.resize(whole_len, 0);
            }
            let whole = &mut scratch[..whole_len];
            let (to_head, stored) = whole.split_at_mut(head.len());
            to_head.copy_from_slice(&head);
            let offset = at.chunk_offset() + u64::from(start);
            self.read(chunk, offset, stored)?;
            self.check_blocks(chunk, at, &table, first, last, stored)?;
            Self::decompress(whole, raw_len).map_err(|source| self.broken(chunk, offset, source))
        })?;
        Ok(Bytes::from_heap(Arc::new(raw), 0..raw_len))
    }

    fn check_blocks(
        &self,
        chunk: u64,
        at: &ChunkRef,
        table: &BlockTable,
        first: usize,
        last: usize,
        stored: &[u8],
    ) -> Result<()> {
        let start = table.offsets[first];
        for block in first..=last {
            let (from, to) = (table.offsets[block], table.offsets[block + 1]);
            let found = crc32c::crc32c(&stored[(from - start) as usize..(to - start) as usize]);
            let expected = table.checksums[block];
            if found != expected {
                let offset = at.chunk_offset() + u64::from(from);
                return Err(self.mismatch(chunk, format!("block {block}"), offset, expected, found));
            }
        }
        Ok(())
    }

    /// The chunk's block table, from the cache or checked anew.
    fn table(&self, chunk: u64, at: &ChunkRef) -> Result<Arc<BlockTable>> {
        let cached = |tables: &RwLock<Tables>| {
            let tables = tables.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            tables.by_chunk.get(&chunk).cloned()
        };
        if let Some(table) = cached(&self.tables) {
            return Ok(table);
        }
        let table = Arc::new(self.load_table(chunk, at)?);
        let bytes = table.prefix.len() + 8 * table.offsets.len() + 64;
        let mut tables = self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if tables.bytes + bytes > TABLES_LIMIT {
            tables.by_chunk.clear();
            tables.bytes = 0;
        }
        if tables.by_chunk.insert(chunk, Arc::clone(&table)).is_none() {
            tables.bytes += bytes;
        }
        Ok(table)
    }

    fn load_table(&self, chunk: u64, at: &ChunkRef) -> Result<BlockTable> {
        let block_size = at.block_size.max(1) as usize;
        let n_blocks = self.chunk_size.div_ceil(block_size);
        let table_len = 4 * at.n_checksums as usize;
        let prefix_len = HEADER_LEN + 4 * n_blocks;
        if at.n_checksums as usize != n_blocks + 1 || prefix_len > at.chunk_len as usize {
            let expected = format!("checksums of {n_blocks} blocks");
            return Err(self.damaged(chunk, at.offset, expected, at.n_checksums.to_string()));
        }
        self.check_inside(chunk, at.table_offset(), table_len as u64 + u64::from(at.chunk_len))?;
        let mut stored = vec![0; table_len + prefix_len];
        self.read(chunk, at.table_offset(), &mut stored)?;
        let (checksums, prefix) = stored.split_at(table_len);
        let found = crc32c::crc32c(checksums);
        if found != at.table_crc {
            return Err(self.mismatch(
                chunk,
                "block checksums".into(),
                at.table_offset(),
                at.table_crc,
                found,
            ));
        }
        let checksums: Vec<u32> = (0..=n_blocks).filter_map(|n| u32_at(checksums, 4 * n)).collect();
        let found = crc32c::crc32c(prefix);
        if found != checksums[0] {
            return Err(self.mismatch(chunk, "block table".into(), at.chunk_offset(), checksums[0], found));
        }
        let broken = |source| self.broken(chunk, at.chunk_offset(), source);
        let header = ChunkHeader::parse(prefix).map_err(broken)?;
        let fits = header.raw_len == self.chunk_size
            && header.block_size == block_size
            && header.stored_len == at.chunk_len as usize;
        if !fits {
            let expected = format!("a chunk of {} raw bytes in blocks of {block_size}", self.chunk_size);
            return Err(self.damaged(chunk, at.chunk_offset(), expected, format!("{header:?}")));
        }
        let offsets = block_offsets(prefix).map_err(broken)?;
        Ok(BlockTable { header, prefix: prefix.to_vec(), offsets, checksums: checksums[1..].to_vec() })
    }

    /// Checks every stored byte of a chunk against its checksums, without decompressing.
    pub(crate) fn check_stored(&self, chunk: u64, at: &ChunkRef) -> Result<()> {
        if at.is(ChunkRef::FOREIGN) {
            return Ok(());
        }
        if !at.is(ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED) {
            let table = self.load_table(chunk, at)?;
            let mut stored = Vec::new();
            for block in 0..table.checksums.len() {
                let (from, to) = (table.offsets[block], table.offsets[block + 1]);
                stored.resize((to - from) as usize, 0);
                self.read(chunk, at.chunk_offset() + u64::from(from), &mut stored)?;
                self.check_blocks(chunk, at, &table, block, block, &stored)?;
            }
            return Ok(());
        }
        let mut checksums = vec![0; 4 * at.n_checksums as usize];
        self.read(chunk, at.table_offset(), &mut checksums)?;
        let found = crc32c::crc32c(&checksums);
        if found != at.table_crc {
            return Err(self.mismatch(
                chunk,
                "block checksums".into(),
                at.table_offset(),
                at.table_crc,
                found,
            ));
        }
        let mut from = at.chunk_offset();
        let end = from + u64::from(at.chunk_len);
        let mut piece = Vec::new();
        for number in 0..at.n_checksums as usize {
            let len = if number == 0 { HEADER_LEN } else { at.block_size as usize };
            let len = len.min(usize::try_from(end - from).unwrap_or(usize::MAX));
            piece.resize(len, 0);
            self.read(chunk, from, &mut piece)?;
            let (expected, found) = (u32_at(&checksums, 4 * number).unwrap_or(0), crc32c::crc32c(&piece));
            if expected != found {
                return Err(self.mismatch(chunk, format!("piece {number}"), from, expected, found));
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

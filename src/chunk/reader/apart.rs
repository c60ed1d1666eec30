//! Reads chunks whose records have their fields apart.
//!
//! Of such a chunk, the table of blocks and the model are checked once, and kept up to a limit. If the
//! storage lends its bytes, the table is used where it lies. Blocks are checked, and decoded from where they
//! lie.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::super::opened::Opened;
use super::{ChunkReader, SMALL};
use crate::blosc::BloscError;
use crate::buffer::{ALIGNMENT, AlignedBuf, Bytes};
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::apart::{OTHER_CHECKSUMS, Table, n_blocks, prefix_len};
use crate::format::chunk::ChunkRef;
use crate::le::u32_at;
use crate::planes::{Broken, Reader, Scratch, Span, decode_block, spans_of_block};
use crate::storage::{Ahead, NONE, Windows};

/// Bytes after the table that are read with it: most models are shorter.
const MODEL_GUESS: u64 = 8 << 10;

/// The most blocks of an open chunk that are known to match their checksums.
const REMEMBERED: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A chunk that is being read.
#[derive(Debug)]
pub(crate) struct ApartChunk {
    chunk: u64,
    at: ChunkRef,
    opened: Arc<Opened>,
    /// All of it, from its checksums on, if the storage lends it.
    lent: Option<Bytes>,
    /// Blocks of lent bytes that matched their checksums, if they are remembered.
    checked: Option<RefCell<Vec<usize>>>,
}

impl ApartChunk {
    /// The checksums, and all before the model.
    fn start(&self) -> (&[u8], &[u8]) {
        let checksums = 4 * self.at.n_checksums as usize;
        let start = self.lent.as_deref().unwrap_or(&self.opened.table);
        let (checksums, chunk) = start.split_at_checked(checksums).unwrap_or_default();
        (checksums, chunk.get(..table_len(&self.at)).unwrap_or_default())
    }

    fn table(&self) -> Table<'_> {
        Table::new(self.start().1)
    }
}

/// Bytes before the model.
fn table_len(at: &ChunkRef) -> usize {
    prefix_len(n_blocks(at.n_checksums).unwrap_or(0))
}

impl ChunkReader {
    /// Opens a chunk: from what is kept, or by checking its table and its model.
    fn open_apart(&self, chunk: u64, at: &ChunkRef, ahead: &Windows) -> Result<ApartChunk> {
        let whole = 4 * u64::from(at.n_checksums) + u64::from(at.chunk_len);
        let lent = if self.mapped { self.storage.map(at.table_offset(), whole).ok().flatten() } else { None };
        let known = self.apart.get(chunk, at);
        let known = known.filter(|known| lent.is_some() || !known.table.is_empty());
        let opened = match known {
            Some(opened) => opened,
            None => self.check_apart(chunk, at, ahead, lent.as_deref())?,
        };
        Ok(ApartChunk { chunk, at: *at, opened, lent, checked: None })
    }

    /// Opens a chunk to read several parts of it. No block is checked twice, if its bytes are lent.
    pub(crate) fn open_parts(&self, chunk: u64, at: &ChunkRef) -> Result<ApartChunk> {
        let open = self.open_apart(chunk, at, &NONE)?;
        let checked = open.lent.is_some().then(RefCell::default);
        Ok(ApartChunk { checked, ..open })
    }

    /// Reads and checks the table and the model of a chunk, and keeps them.
    fn check_apart(
        &self,
        chunk: u64,
        at: &ChunkRef,
        ahead: &Windows,
        lent: Option<&[u8]>,
    ) -> Result<Arc<Opened>> {
        let len = 4 * at.n_checksums as usize + table_len(at);
        if n_blocks(at.n_checksums).is_none() || table_len(at) > at.chunk_len as usize {
            let expected = format!("checksums of a table, a model and blocks in {} bytes", at.chunk_len);
            return Err(self.damaged(chunk, at.offset, expected, at.n_checksums.to_string()));
        }
        self.check_inside(chunk, at.table_offset(), len as u64)?;
        let mut own = Vec::new();
        let start = if let Some(lent) = lent {
            lent.get(..len).unwrap_or_default()
        } else {
            own.resize(len, 0);
            self.read(chunk, ahead, at.table_offset(), &mut own)?;
            &own
        };
        let (checksums, prefix) = start.split_at_checked(4 * at.n_checksums as usize).unwrap_or_default();
        let found = crc32c(checksums);
        if found != at.table_crc {
            return Err(self.mismatch(Part::BlockTable(chunk), at.table_offset(), at.table_crc, found));
        }
        self.compare(Part::BlockTable(chunk), at.chunk_offset(), checksums, 0, prefix)?;
        let align = Table::check(prefix, self.chunk_size, at.chunk_len as usize).map_err(|found| {
            self.damaged(chunk, at.chunk_offset(), "a table of blocks in order".into(), found)
        })?;
        let model_at = at.chunk_offset() + prefix.len() as u64;
        let model_len = Table::new(prefix).model_end() - prefix.len();
        self.check_inside(chunk, model_at, model_len as u64)?;
        let mut read = Vec::new();
        let model = if let Some(lent) = lent {
            lent.get(len..len + model_len).unwrap_or_default()
        } else {
            read.resize(model_len, 0);
            self.read(chunk, ahead, model_at, &mut read)?;
            &read
        };
        self.compare(Part::BlockTable(chunk), model_at, checksums, 1, model)?;
        let model = Reader::new(model, &self.apart.decoders)
            .map_err(|broken| self.not_planes(chunk, model_at, broken))?;
        let opened = Arc::new(Opened { at: *at, align, model, table: own });
        self.apart.keep(chunk, &opened, self.tables_limit);
        Ok(opened)
    }

    /// Compares bytes with the checksum of this number.
    fn compare(&self, part: Part, offset: u64, checksums: &[u8], number: usize, bytes: &[u8]) -> Result<()> {
        let (expected, found) = (u32_at(checksums, 4 * number).unwrap_or(0), crc32c(bytes));
        if expected == found { Ok(()) } else { Err(self.mismatch(part, offset, expected, found)) }
    }

    fn not_planes(&self, chunk: u64, offset: u64, broken: Broken) -> Error {
        let path = self.storage.path().to_owned();
        ErrorKind::Decompress { chunk, offset }.at(path).because(BloscError::new(broken.0))
    }

    /// The raw bytes `range` of a chunk. It must lie in the chunk, and have bytes.
    pub(super) fn apart_bytes(
        &self,
        chunk: u64,
        at: &ChunkRef,
        range: Range<usize>,
        ahead: &Windows,
    ) -> Result<Bytes> {
        if let Some(whole) = self.cached(chunk, at, ahead, || range.len()) {
            return Ok(whole.slice(range));
        }
        // Keeps the alignment that the bytes have in the chunk.
        let lead = range.start % ALIGNMENT;
        let mut out = AlignedBuf::any(lead + range.len());
        self.decode_apart(chunk, at, ahead, (range.start, 0), &mut out[lead..], &mut |_| ())?;
        Ok(Bytes::from_heap(Arc::new(out), lead..lead + range.len()))
    }

    /// Fills `out` with raw bytes of a chunk, from byte `start` on, but for the first `filled` bytes.
    ///
    /// After each block, `seen` gets all bytes so far.
    pub(super) fn decode_apart(
        &self,
        chunk: u64,
        at: &ChunkRef,
        ahead: &Windows,
        from: (usize, usize),
        out: &mut [u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let open = self.open_apart(chunk, at, ahead)?;
        self.decode_open(&open, ahead, from, out, seen)
    }

    /// Like [`decode_apart`](Self::decode_apart), from a chunk that is open.
    pub(crate) fn decode_open(
        &self,
        open: &ApartChunk,
        ahead: &Windows,
        (start, mut filled): (usize, usize),
        out: &mut [u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let ApartChunk { chunk, at, opened, .. } = open;
        let table = open.table();
        let blocks = table.blocks(&(start + filled..start + out.len()));
        let own = self.read_blocks(open, ahead, &blocks)?;
        // Taken, not borrowed, because `seen` may itself read from a depot.
        let mut scratch = SCRATCH.take();
        let decode = || -> Result<()> {
            for block in blocks {
                let Some((raw, _)) = table.block(block) else { break };
                let stored = self.stored_block(open, own.as_ref().unwrap_or(ahead), block)?;
                let broken = |broken| {
                    let offset =
                        at.chunk_offset() + table.block(block).map_or(0, |(_, stored)| stored.start as u64);
                    self.not_planes(*chunk, offset, broken)
                };
                // What lies between blocks is zeros.
                if raw.end > self.chunk_size || raw.start > raw.end {
                    let expected = format!("a block inside {} bytes", self.chunk_size);
                    return Err(self.damaged(*chunk, at.chunk_offset(), expected, format!("{raw:?}")));
                }
                let from = raw.start.max(start + filled);
                let end = raw.end.min(start + out.len());
                if from >= end {
                    continue;
                }
                out[filled..from - start].fill(0);
                let what = (raw.len(), from - raw.start..end - raw.start);
                let to = &mut out[from - start..end - start];
                decode_block(&opened.model, &stored, opened.align, &mut scratch, what, to).map_err(broken)?;
                filled = end - start;
                seen(&out[..filled]);
            }
            Ok(())
        };
        let decoded = decode();
        SCRATCH.set(scratch);
        decoded?;
        if filled < out.len() {
            out[filled..].fill(0);
            seen(out);
        }
        Ok(())
    }

    /// Reads several blocks in one request, unless they are lent or were read ahead.
    fn read_blocks(
        &self,
        open: &ApartChunk,
        ahead: &Windows,
        blocks: &Range<usize>,
    ) -> Result<Option<Windows>> {
        let table = open.table();
        let stored = |block: usize| table.block(block).map(|(_, stored)| stored);
        let Some((first, last)) = stored(blocks.start).zip(blocks.end.checked_sub(1).and_then(stored)) else {
            return Ok(None);
        };
        let (offset, len) =
            (open.at.chunk_offset() + first.start as u64, last.end.saturating_sub(first.start));
        if open.lent.is_some() || blocks.len() < 2 || ahead.get(offset, len).is_some() {
            return Ok(None);
        }
        self.check_inside(open.chunk, offset, len as u64)?;
        let mut bytes = vec![0; len];
        self.read(open.chunk, ahead, offset, &mut bytes)?;
        Ok(Some(Windows::of(offset, bytes)))
    }

    /// The stored bytes of a block, which match their checksum.
    fn stored_block<'b>(&self, open: &'b ApartChunk, ahead: &'b Windows, block: usize) -> Result<Stored<'b>> {
        let (checksums, prefix) = open.start();
        let Some((_, stored)) = Table::new(prefix).block(block) else {
            let expected = "a block of the chunk".to_owned();
            return Err(self.damaged(open.chunk, open.at.offset, expected, block.to_string()));
        };
        let offset = open.at.chunk_offset() + stored.start as u64;
        let bytes = match (&open.lent, ahead.get(offset, stored.len())) {
            (Some(lent), _) => Stored::Lent(
                lent.get(checksums.len()..).and_then(|chunk| chunk.get(stored)).unwrap_or_default(),
            ),
            (None, Some(bytes)) => Stored::Lent(bytes),
            (None, None) => {
                self.check_inside(open.chunk, offset, stored.len() as u64)?;
                let mut bytes = vec![0; stored.len()];
                self.read(open.chunk, &NONE, offset, &mut bytes)?;
                Stored::Own(bytes)
            }
        };
        if open.checked.as_ref().is_some_and(|checked| checked.borrow().contains(&block)) {
            return Ok(bytes);
        }
        let part = Part::Block { chunk: open.chunk, block: block as u64 };
        self.compare(part, offset, checksums, OTHER_CHECKSUMS + block, &bytes)?;
        if let Some(checked) = open.checked.as_ref().filter(|checked| checked.borrow().len() < REMEMBERED) {
            checked.borrow_mut().push(block);
        }
        Ok(bytes)
    }

    /// Where the fields of the record in the raw bytes `range` lie, as far as blocks tell.
    pub(crate) fn spans(&self, chunk: u64, at: &ChunkRef, range: Range<usize>) -> Result<Vec<Span>> {
        if !at.is_apart() || range.is_empty() {
            return Ok(Vec::new());
        }
        let open = self.open_apart(chunk, at, &NONE)?;
        self.spans_of(&open, range, usize::MAX)
    }

    /// Like [`spans`](Self::spans), from a chunk that is open, and of the first `most` blocks.
    pub(crate) fn spans_of(&self, open: &ApartChunk, range: Range<usize>, most: usize) -> Result<Vec<Span>> {
        let mut all = Vec::new();
        let mut scratch = SCRATCH.take();
        let mut find = || {
            for block in open.table().blocks(&range).take(most) {
                let Some((raw, _)) = open.table().block(block) else { break };
                let stored = self.stored_block(open, &NONE, block)?;
                let found =
                    spans_of_block(&open.opened.model, &stored, open.opened.align, &mut scratch, raw.len());
                let found =
                    found.map_err(|broken| self.not_planes(open.chunk, open.at.chunk_offset(), broken))?;
                all.extend(found.into_iter().filter_map(|span| {
                    let start = (raw.start + span.start as usize).checked_sub(range.start)?;
                    let inside = start + span.len as usize <= range.len();
                    inside.then(|| Span { start: u32::try_from(start).unwrap_or(u32::MAX), ..span })
                }));
            }
            Ok(())
        };
        let found = find();
        SCRATCH.set(scratch);
        found.map(|()| all)
    }

    /// Raw bytes and stored bytes of each block.
    pub(crate) fn apart_blocks(&self, chunk: u64, at: &ChunkRef) -> Result<(Vec<u32>, Vec<u32>)> {
        let open = self.open_apart(chunk, at, &NONE)?;
        let table = open.table();
        let len = |range: Range<usize>| u32::try_from(range.len()).unwrap_or(u32::MAX);
        let blocks = (0..table.n_blocks()).filter_map(|block| table.block(block));
        Ok(blocks.map(|(raw, stored)| (len(raw), len(stored))).unzip())
    }

    /// Checks every stored byte of a chunk against the checksums.
    pub(super) fn check_apart_stored(&self, chunk: u64, at: &ChunkRef) -> Result<()> {
        let open = self.open_apart(chunk, at, &NONE)?;
        (0..open.table().n_blocks()).try_for_each(|block| self.stored_block(&open, &NONE, block).map(drop))
    }

    /// Reads ahead what reading the raw bytes `range` needs: the table and the model, and the blocks if
    /// `blocks`.
    pub(super) fn expect_apart(
        &self,
        ahead: &mut Ahead<'_>,
        chunk: u64,
        at: &ChunkRef,
        range: Range<usize>,
        blocks: bool,
    ) {
        let whole = 4 * u64::from(at.n_checksums) + u64::from(at.chunk_len);
        if n_blocks(at.n_checksums).is_none() || self.check_inside(chunk, at.table_offset(), whole).is_err() {
            return;
        }
        let kept = self.apart.get(chunk, at).filter(|kept| !kept.table.is_empty());
        let start_len = 4 * u64::from(at.n_checksums) + table_len(at) as u64;
        let read;
        let start: &[u8] = if let Some(kept) = &kept {
            &kept.table
        } else {
            let len = if whole <= SMALL { whole } else { whole.min(start_len + MODEL_GUESS) };
            let Some(bytes) = ahead.get(at.table_offset()..at.table_offset() + len) else { return };
            read = bytes.get(..usize::try_from(start_len).unwrap_or(0)).unwrap_or_default().to_vec();
            &read
        };
        let table = Table::new(start.get(4 * at.n_checksums as usize..).unwrap_or_default());
        let mut want = |stored: Range<usize>| {
            // The table was not checked yet.
            if stored.start < stored.end && stored.end <= at.chunk_len as usize {
                let offset = at.chunk_offset();
                ahead.has_end(offset + stored.start as u64..offset + stored.end as u64);
            }
        };
        if kept.is_none() {
            want(table_len(at)..table.model_end());
        }
        let wanted = table.blocks(&range);
        let stored = |block: usize| table.block(block).map(|(_, stored)| stored);
        if blocks
            && let Some((first, last)) = stored(wanted.start).zip(wanted.end.checked_sub(1).and_then(stored))
        {
            want(first.start..last.end);
        }
    }
}

/// The stored bytes of a block.
enum Stored<'b> {
    Lent(&'b [u8]),
    Own(Vec<u8>),
}

impl std::ops::Deref for Stored<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

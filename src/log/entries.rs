//! Reads entries of a file one by one, and checks them.

use std::sync::Arc;

use crate::blosc::{ChunkHeader, HEADER_LEN as CHUNK_HEADER_LEN};
use crate::catalog::Snapshot;
use crate::checksum::{crc32c, crc32c_append};
use crate::chunk::ChunkReader;
use crate::error::{Error, Part, Result};
use crate::format::chunk::{ChunkRef, PRELUDE_LEN, Prelude};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::frame::{self, HEADER_LEN};
use crate::format::growth::Fault;
use crate::format::header::{
    CommitSlot, FIRST_ENTRY_AT, SLOT_AT, SLOT_LEN, check_slot_known, read_parameters,
};
use crate::format::tables::{Commit, Directory, Losses};
use crate::index::Segment;
use crate::le::u64_at;
use crate::storage::{Storage, StorageExt, Windows, past_the_end};

/// Where the next entry goes, and what its head must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
    /// CRC of the last entry's head.
    pub(crate) previous: u32,
}

impl Tail {
    /// The tail of a file without entries.
    pub(crate) const START: Self = Self { offset: FIRST_ENTRY_AT, sequence: 1, previous: 0 };

    pub(crate) fn after(head: &EntryHead) -> Self {
        Self { offset: head.offset + head.length, sequence: head.sequence + 1, previous: head.crc() }
    }
}

/// The most bytes of the body of a COMMIT, METADATA or LOSSES entry.
///
/// Without a limit, a forged head in a file of holes could ask for any amount of memory.
pub(crate) const MAX_BODY: u64 = 256 << 20;

/// The most bytes of a commit that are read before its head is checked.
const COMMIT_AHEAD: u64 = 1 << 20;

/// Bytes of an unknown entry that are read at a time.
const PIECE: usize = 1 << 20;

/// The contents of the header's two slots.
#[derive(Default)]
pub(crate) struct Slots {
    /// The valid slots, newest first.
    pub(crate) valid: Vec<CommitSlot>,
    /// Whether no commit has written a slot yet.
    pub(super) unwritten: bool,
}

/// Reads entries of a file and checks them.
pub(crate) struct Scanner<'s> {
    pub(crate) storage: &'s Arc<dyn Storage>,
    pub(super) mapped: bool,
    pub(crate) file_len: u64,
    /// Bytes that were read ahead. Reading them again takes no request.
    ahead: Windows,
}

/// The first bytes of a file, and the file's length after they were read.
pub(crate) struct FirstPage {
    pub(super) bytes: Vec<u8>,
    pub(super) file_len: u64,
}

impl FirstPage {
    /// Reads the header page of a depot, or all bytes of a shorter file.
    pub(crate) fn read(storage: &Arc<dyn Storage>) -> Result<Self> {
        let mut bytes = vec![0; HEADER_LEN];
        let read = storage.read_start(&mut bytes);
        let (filled, file_len) = read.map_err(|source| storage.io("read the header page", source))?;
        bytes.truncate(filled);
        Ok(Self { bytes, file_len })
    }
}

impl<'s> Scanner<'s> {
    pub(crate) fn new(storage: &'s Arc<dyn Storage>, mapped: bool) -> Result<Self> {
        let file_len = storage.file_len()?;
        Ok(Self { storage, mapped, file_len, ahead: Windows::default() })
    }

    /// A scanner of the file that starts with `page`.
    pub(super) fn of_page(storage: &'s Arc<dyn Storage>, mapped: bool, page: FirstPage) -> Self {
        let FirstPage { bytes, file_len } = page;
        Self { storage, mapped, file_len, ahead: Windows::of(0, bytes) }
    }

    /// Reads the commits that the slots name, and the heads of the entries after them, in one call.
    ///
    /// What cannot be read is left to those who ask for it.
    pub(super) fn expect_commits(&mut self, slots: &[CommitSlot]) {
        let range = |slot: &CommitSlot| {
            let len = slot.length.min(COMMIT_AHEAD) + HEAD_LEN as u64;
            slot.offset..slot.offset.saturating_add(len).min(self.file_len)
        };
        let mut ranges = slots.iter().map(range).collect();
        let _ = self.ahead.read(&**self.storage, &mut ranges);
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        // Checked before memory is taken, because the length may come from a forged head.
        if offset.checked_add(len as u64).is_none_or(|end| end > self.file_len) {
            let source = past_the_end(offset, len as u64, self.file_len);
            return Err(self.storage.io(format!("read {len} bytes at byte {offset}"), source));
        }
        match self.ahead.get(offset, len) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => self.storage.read(offset, len),
        }
    }

    /// The first byte from `offset` on that is not in a hole; `None` if there is none.
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        // If the storage cannot tell, the bytes are read.
        let data = self.storage.next_data(offset).unwrap_or(Some(offset))?;
        (data < self.file_len).then_some(data.max(offset))
    }

    pub(crate) fn damaged(
        &self,
        part: Part,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::damaged(self.storage.path(), part, offset, expected, found)
    }

    fn refused(&self, fault: Fault, part: Part, offset: u64, expected: &str) -> Error {
        fault.at(self.storage.path(), part, offset, expected)
    }

    /// Refuses a head that only a later version can read.
    pub(crate) fn check_known(&self, head: &EntryHead) -> Result<()> {
        head.check_known().map_err(|newer| newer.at(self.storage.path(), head.offset, false))
    }

    /// Refuses slots that only a later version can read.
    pub(crate) fn check_slots_known(&self) -> Result<()> {
        for at in SLOT_AT {
            if let Ok(bytes) = self.read(at, SLOT_LEN) {
                check_slot_known(&bytes).map_err(|newer| newer.at(self.storage.path(), at, false))?;
            }
        }
        Ok(())
    }

    /// The valid slots of this depot, newest first; `None` if the header page cannot be read.
    pub(crate) fn slots(&self, depot_id: u64) -> Option<Slots> {
        let header = self.read(0, HEADER_LEN).ok()?;
        let parsed = frame::parse_header(&header).ok()?;
        read_parameters(header.get(parsed.metalayer(frame::DEPOT_LAYER)?)?).ok()?;
        let bytes = |at: u64| usize::try_from(at).ok().and_then(|at| header.get(at..at + SLOT_LEN));
        let slots = SLOT_AT.into_iter().filter_map(bytes);
        let unwritten = slots.clone().all(|slot| slot.iter().all(|&byte| byte == 0));
        let mut valid: Vec<CommitSlot> =
            slots.filter_map(CommitSlot::parse).filter(|slot| slot.depot_id == depot_id).collect();
        valid.sort_by_key(|slot| std::cmp::Reverse(slot.sequence));
        Some(Slots { valid, unwritten })
    }

    /// The head of the entry at `offset`, if the whole entry is in the file. A CHUNK or LOG entry may lack
    /// padding: its checksums cover all the rest of it.
    pub(crate) fn head(&self, offset: u64) -> Result<EntryHead> {
        let head = EntryHead::parse(&self.read(offset, HEAD_LEN)?, offset)
            .map_err(|found| self.damaged(Part::Entry, offset, "the head of an entry", found))?;
        let padding = match head.kind {
            Kind::Chunk | Kind::Log => HEAD_LEN as u64 - 1,
            _ => 0,
        };
        let end = head.offset.checked_add(head.length);
        if end.is_none_or(|end| end > self.file_len.saturating_add(padding)) {
            let found = format!("{} bytes of file", self.file_len);
            return Err(self.damaged(Part::Entry, offset, format!("{} bytes", head.length), found));
        }
        Ok(head)
    }

    /// The checked body of a COMMIT, METADATA or LOSSES entry, without its length prefix.
    pub(crate) fn body(&self, head: &EntryHead) -> Result<Vec<u8>> {
        let at = head.offset + HEAD_LEN as u64;
        let room = (head.length - HEAD_LEN as u64).min(MAX_BODY);
        let body_len = u64_at(&self.read(at, 8)?, 0).unwrap_or(u64::MAX);
        let end = body_len.checked_add(8).filter(|&end| end <= room);
        let Some(end) = end.and_then(|end| usize::try_from(end).ok()) else {
            return Err(self.damaged(Part::Entry, at, format!("at most {room} bytes"), body_len.to_string()));
        };
        let bytes = self.read(at, end)?;
        let found = crc32c(&bytes);
        if found != head.body_crc {
            let expected = format!("CRC32C {:#010x} of the body", head.body_crc);
            return Err(self.damaged(Part::Entry, at, expected, format!("{found:#010x}")));
        }
        Ok(bytes[8..].to_vec())
    }

    pub(crate) fn commit(&self, head: &EntryHead) -> Result<Commit> {
        let commit = Commit::decode(&self.body(head)?)
            .map_err(|fault| self.refused(fault, Part::Commit, head.offset, "a table of the commit"))?;
        if commit.sequence == head.ordinal {
            return Ok(commit);
        }
        let expected = format!("commit {}", head.ordinal);
        Err(self.damaged(Part::Commit, head.offset, expected, format!("commit {}", commit.sequence)))
    }

    pub(crate) fn snapshot(&self, head: &EntryHead, commit: &Commit) -> Result<Snapshot> {
        let segments =
            Segment::open_all(self.storage, &commit.segments, head.depot_id, self.mapped, self.file_len)?;
        segments.iter().try_for_each(|segment| segment.check_columns(&commit.parameters.columns))?;
        Ok(Snapshot::new(commit, head.offset, segments))
    }

    /// Reads a CHUNK or LOG entry and checks all of it.
    pub(super) fn entry(&self, head: &EntryHead, chunk_size: usize) -> Result<(Directory, Option<ChunkRef>)> {
        self.entry_checked(head, chunk_size, true)
    }

    /// Like [`entry`](Self::entry), but checks the stored bytes of the chunk only with `check`.
    pub(super) fn entry_checked(
        &self,
        head: &EntryHead,
        chunk_size: usize,
        check: bool,
    ) -> Result<(Directory, Option<ChunkRef>)> {
        if let Kind::Other(_) = head.kind {
            if check {
                self.check_other(head)?;
            }
            return Ok((Directory::default(), None));
        }
        let prelude = self.prelude(head)?;
        let directory = self.directory(head, &prelude)?;
        if head.kind == Kind::Log {
            return Ok((directory, None));
        }
        let reference = self.chunk_ref(head, &prelude)?;
        // What a cut file lacks is padding only if all the rest is there.
        let is_cut = head.offset.saturating_add(head.length) > self.file_len;
        if check || is_cut {
            let reader = ChunkReader::new(Arc::clone(self.storage), chunk_size, false, false);
            reader.check_stored(head.ordinal, &reference)?;
        }
        Ok((directory, Some(reference)))
    }

    /// Checks the body of an entry of an unknown kind, all of which its checksum covers.
    pub(crate) fn check_other(&self, head: &EntryHead) -> Result<()> {
        let at = head.offset + HEAD_LEN as u64;
        let mut found = 0;
        self.other_body(head, &mut |bytes| {
            found = crc32c_append(found, bytes);
            Ok(())
        })?;
        if found == head.body_crc {
            return Ok(());
        }
        let expected = format!("CRC32C {:#010x} of the body", head.body_crc);
        Err(self.damaged(Part::Entry, at, expected, format!("{found:#010x}")))
    }

    /// Gives `job` the body of an entry of an unknown kind, a piece at a time.
    pub(crate) fn other_body(
        &self,
        head: &EntryHead,
        job: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (mut at, end) = (head.offset + HEAD_LEN as u64, head.offset + head.length);
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
            job(&self.read(at, len)?)?;
            at += len as u64;
        }
        Ok(())
    }

    /// Refuses a chunk whose payload only a later version can read.
    pub(crate) fn check_payload_known(&self, reference: &ChunkRef) -> Result<()> {
        let known = reference.check_known(false);
        known.map_err(|newer| newer.at(self.storage.path(), reference.offset, false))
    }

    /// Refuses to write what `commit`, whose entry `head` heads, has and this version would lose.
    pub(crate) fn check_writable(&self, head: &EntryHead, commit: &Commit) -> Result<()> {
        match commit.unknown_to_writers.clone() {
            Some(newer) => Err(newer.at(self.storage.path(), head.offset, true)),
            None => Ok(()),
        }
    }

    /// The prelude of a CHUNK or LOG entry.
    pub(crate) fn prelude(&self, head: &EntryHead) -> Result<Prelude> {
        let at = head.offset + HEAD_LEN as u64;
        let bytes = self.read(at, PRELUDE_LEN)?;
        let found = crc32c(&bytes);
        if found != head.body_crc {
            let expected = format!("CRC32C {:#010x} of the prelude", head.body_crc);
            return Err(self.damaged(Part::Entry, at, expected, format!("{found:#010x}")));
        }
        Prelude::parse(&bytes, head.length).map_err(|fault| self.refused(fault, Part::Entry, at, "a prelude"))
    }

    /// Whether the file has all of a CHUNK or LOG entry, but perhaps for its padding.
    pub(super) fn has_all(&self, head: &EntryHead) -> bool {
        let end = self.prelude(head).ok().and_then(|prelude| head.offset.checked_add(prelude.end()));
        end.is_some_and(|end| end <= self.file_len)
    }

    /// The directory of a CHUNK or LOG entry.
    pub(crate) fn directory(&self, head: &EntryHead, prelude: &Prelude) -> Result<Directory> {
        let range = prelude.directory_range();
        let at = head.offset + range.start;
        let stored = self.read(at, usize::try_from(range.end - range.start).unwrap_or(0))?;
        prelude
            .read_directory(&stored)
            .map_err(|fault| self.refused(fault, Part::Directory, at, "a directory"))
    }

    /// Where the chunk of a CHUNK entry is.
    pub(crate) fn chunk_ref(&self, head: &EntryHead, prelude: &Prelude) -> Result<ChunkRef> {
        Ok(prelude.chunk_ref(head.offset, &self.chunk_header(head, prelude)?))
    }

    /// The Blosc2 header of the chunk of a CHUNK entry.
    pub(crate) fn chunk_header(&self, head: &EntryHead, prelude: &Prelude) -> Result<ChunkHeader> {
        let at = head.offset + u64::from(prelude.chunk_at);
        ChunkHeader::parse(&self.read(at, CHUNK_HEADER_LEN)?).map_err(|source| {
            self.damaged(Part::Chunk(head.ordinal), at, "a Blosc2 chunk", source.to_string())
        })
    }

    /// The body of the METADATA entry at `offset`.
    pub(crate) fn metadata(&self, offset: u64, depot_id: u64) -> Result<Vec<u8>> {
        let head = self.head(offset)?;
        if head.kind != Kind::Metadata || head.depot_id != depot_id {
            return Err(self.damaged(Part::Metadata, offset, "a METADATA entry", format!("{:?}", head.kind)));
        }
        self.body(&head)
    }

    /// The body of the LOSSES entry at `offset`.
    pub(crate) fn losses(&self, offset: u64, depot_id: u64) -> Result<Losses> {
        let head = self.head(offset)?;
        if head.kind != Kind::Losses || head.depot_id != depot_id {
            return Err(self.damaged(Part::Losses, offset, "a LOSSES entry", format!("{:?}", head.kind)));
        }
        self.losses_of(&head)
    }

    /// The body of a LOSSES entry.
    pub(crate) fn losses_of(&self, head: &EntryHead) -> Result<Losses> {
        Losses::decode(&self.body(head)?)
            .map_err(|fault| self.refused(fault, Part::Losses, head.offset, "a table of losses"))
    }
}

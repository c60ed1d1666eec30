//! Appending entries to the file, in its order.
//!
//! Only [`Append`] moves the tail of a depot that writes. A failed write does not move it: the next call
//! writes the bytes again. A failed sync is final, because the system may have dropped bytes that it
//! could not write. The depot then refuses to go on.

use std::sync::Arc;

use super::shared::Shared;
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::tables::SegmentRef;
use crate::index::{PageCache, Segment, SegmentPlan, piece_for};
use crate::log::{Scanner, Tail};
use crate::storage::StorageExt;

/// Appends entries to the end of the file. A depot has only one, because it has one
/// [`Writer`](super::Writer).
#[derive(Debug)]
pub(super) struct Append {
    shared: Arc<Shared>,
    tail: Tail,
    /// Why the file takes no more entries, if so.
    failed: Option<String>,
    /// The page cache that all appended segments share.
    pages: Arc<PageCache>,
}

impl Append {
    pub(super) fn new(shared: Arc<Shared>, tail: Tail) -> Self {
        let pages = shared.read().snapshot.pages();
        Self { shared, tail, failed: None, pages }
    }

    /// Where the next entry goes, and what its head must say.
    pub(super) fn tail(&self) -> Tail {
        self.tail
    }

    /// Goes back to an earlier tail after a failed write. Entries appended since are written over.
    pub(super) fn rewind_to(&mut self, tail: Tail) {
        self.tail = tail;
    }

    /// Makes the file take no more entries, for good.
    pub(super) fn fail(&mut self, cause: String) {
        self.failed = Some(cause);
    }

    /// Whether the file still takes entries.
    pub(super) fn is_alive(&self) -> bool {
        self.failed.is_none()
    }

    /// An error if the file takes no more entries.
    pub(super) fn check_alive(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(cause) => Err(ErrorKind::Poisoned { cause: cause.clone() }.at(self.shared.storage.path())),
        }
    }

    /// Appends an entry. Its first 64 bytes are room for its head.
    pub(super) fn entry(
        &mut self,
        kind: Kind,
        ordinal: u64,
        bytes: &mut [u8],
        length: u64,
        body_crc: u32,
    ) -> Result<()> {
        let before = self.tail;
        self.start(kind, ordinal, bytes, length, body_crc)?;
        if (bytes.len() as u64) < length {
            // The end of an uncompressed chunk is left as a hole. The file must reach over it.
            let last = before.offset + length - 1;
            let action = || format!("write the end of a chunk at byte {last}");
            let written = self.shared.storage.write_at(last, &[0]);
            written.map_err(|source| self.shared.io(action(), source)).inspect_err(|_| self.tail = before)?;
        }
        Ok(())
    }

    /// Checks that everything appended so far is still in the file.
    ///
    /// If the file was cut, another entry would hide that something is missing.
    fn check_uncut(&self) -> Result<()> {
        let len = self.shared.storage.file_len()?;
        if len >= self.tail.offset {
            return Ok(());
        }
        Err(Error::damaged(
            self.shared.storage.path(),
            Part::File,
            len,
            format!("the {} bytes that were written", self.tail.offset),
            format!("{len}: another program has cut it"),
        ))
    }

    /// Appends an entry. The first 64 of `bytes` are room for its head.
    ///
    /// The caller has to take care of the bytes of the entry after `bytes`.
    fn start(
        &mut self,
        kind: Kind,
        ordinal: u64,
        bytes: &mut [u8],
        length: u64,
        body_crc: u32,
    ) -> Result<()> {
        let head = EntryHead {
            kind,
            body_crc,
            sequence: self.tail.sequence,
            ordinal,
            offset: self.tail.offset,
            length,
            depot_id: self.shared.parameters.depot_id,
            previous: self.tail.previous,
            reserved: [0; 3],
        };
        bytes[..HEAD_LEN].copy_from_slice(&head.encode());
        self.check_uncut()?;
        self.shared.storage.write_at(head.offset, bytes).map_err(|source| {
            let what = kind.describe();
            self.shared.io(format!("write {what}, {} bytes at byte {}", bytes.len(), head.offset), source)
        })?;
        self.tail = Tail { offset: head.offset + length, sequence: head.sequence + 1, previous: head.crc() };
        Ok(())
    }

    /// Appends an entry with a length-prefixed body.
    pub(super) fn body(&mut self, kind: Kind, ordinal: u64, body: &[u8]) -> Result<u64> {
        let mut bytes = vec![0; HEAD_LEN];
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(body);
        let body_crc = crc32c(&bytes[HEAD_LEN..]);
        bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
        let length = bytes.len() as u64;
        self.entry(kind, ordinal, &mut bytes, length, body_crc)?;
        Ok(length)
    }

    /// Appends a copy of an entry of an unknown kind, whose body was checked.
    pub(super) fn other(&mut self, scanner: &Scanner<'_>, head: &EntryHead) -> Result<()> {
        self.check_uncut()?;
        let mut at = self.tail.offset + HEAD_LEN as u64;
        let shared = Arc::clone(&self.shared);
        scanner.other_body(head, &mut |bytes| {
            let action = || format!("write {}, {} bytes at byte {at}", head.kind.describe(), bytes.len());
            shared.storage.write_at(at, bytes).map_err(|source| shared.io(action(), source))?;
            at += bytes.len() as u64;
            Ok(())
        })?;
        self.start(head.kind, head.ordinal, &mut [0; HEAD_LEN], head.length, head.body_crc)
    }

    /// Appends a segment of the index, and opens it.
    pub(super) fn segment(&mut self, plan: SegmentPlan<'_>) -> Result<Arc<Segment>> {
        let shared = Arc::clone(&self.shared);
        let Shared { storage, parameters, mapped, .. } = &*shared;
        let entry_at = self.tail.offset;
        self.check_uncut()?;
        let mut start = plan.write(piece_for(storage.is_durable()), &mut |at, bytes| {
            let at = entry_at + at;
            let action = || format!("write the index, {} bytes at byte {at}", bytes.len());
            storage.write_at(at, bytes).map_err(|source| shared.io(action(), source))
        })?;
        let reference = SegmentRef { offset: entry_at, ..start.reference };
        self.start(Kind::Index, reference.first_ordinal, &mut start.bytes, reference.length, start.body_crc)?;
        let segment = Segment::open(storage, reference, parameters.depot_id, *mapped)?;
        Ok(Arc::new(segment.sharing(&self.pages)))
    }

    /// Makes what was appended durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let Err(source) = self.shared.storage.sync() {
            self.fail(source.to_string());
            return Err(self.shared.io("sync", source));
        }
        Ok(())
    }
}

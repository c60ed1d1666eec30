//! The open chunk, which records are put into.

use std::sync::Arc;

use crate::buffer::AlignedBuf;
use crate::format::apart::Records;
use crate::format::chunk::MAX_DIRECTORY;
use crate::format::tables::{Action, Attributes, DirectoryBuilder};
use crate::options::Placement;
use crate::planes::Span;

/// Bytes of operations in one directory after which a chunk takes no more of them.
const DIRECTORY_ROOM: usize = MAX_DIRECTORY / 4;
/// The most bytes that an operation takes in a directory, besides its name and attributes.
const OPERATION_BYTES: usize = 40;

/// The open chunk: raw bytes so far, and the operations that belong to them.
#[derive(Debug)]
pub(crate) struct OpenChunk {
    /// Allocated by the first record. Opening a file must not take memory for the chunk size it declares.
    raw: Option<AlignedBuf>,
    chunk_size: usize,
    used: usize,
    directory: DirectoryBuilder,
    directory_bytes: usize,
    /// The number of puts, and their bytes. The mean chooses the block size.
    puts: (u64, u64),
    /// The records, if their fields are to be stored apart.
    records: Option<Records>,
}

/// What was in a chunk when it was sealed.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) raw: Arc<AlignedBuf>,
    pub(crate) used: usize,
    pub(crate) directory: DirectoryBuilder,
    /// The records, if it is worth storing their fields apart.
    pub(crate) records: Option<Records>,
}

impl OpenChunk {
    /// An empty chunk of `chunk_size` raw bytes.
    ///
    /// With `apart`, it notes where the fields of records lie.
    pub(crate) fn new(chunk_size: usize, apart: bool) -> Self {
        Self {
            raw: None,
            chunk_size,
            used: 0,
            directory: DirectoryBuilder::default(),
            directory_bytes: 0,
            puts: (0, 0),
            records: apart.then(Records::default),
        }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Room for more bytes.
    pub(crate) fn room(&self) -> usize {
        self.chunk_size - self.used
    }

    /// Whether there are no bytes and no operations.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0 && self.directory.is_empty()
    }

    /// Whether the directory has no room for more operations. Then the chunk must be sealed first.
    pub(crate) fn is_crowded(&self) -> bool {
        self.directory_bytes > DIRECTORY_ROOM
    }

    /// Where a record of `length` bytes starts; `None` if it may not start in this chunk.
    pub(crate) fn place(&self, length: usize, align: usize, placement: Placement) -> Option<usize> {
        let start = self.used.next_multiple_of(align);
        if self.is_crowded() {
            return None;
        }
        if length == 0 {
            return Some(start.min(self.chunk_size));
        }
        let fits = match placement {
            Placement::NoCross if length <= self.chunk_size => start + length <= self.chunk_size,
            Placement::Contiguous => start < self.chunk_size,
            Placement::NoCross | Placement::StartAligned => self.used == 0,
        };
        fits.then_some(start)
    }

    /// Copies as much of `bytes` as fits to `start`. Returns the rest, which belongs into the next chunks.
    ///
    /// They are those of a record from its byte `from` on, with fields that lie where `spans` says.
    pub(crate) fn fill<'b>(
        &mut self,
        start: usize,
        bytes: &'b [u8],
        from: usize,
        spans: &[Span],
    ) -> &'b [u8] {
        let n = bytes.len().min(self.chunk_size - start);
        let raw = self.raw.get_or_insert_with(|| AlignedBuf::any(self.chunk_size));
        raw[self.used..start].fill(0);
        raw[start..start + n].copy_from_slice(&bytes[..n]);
        self.used = start + n;
        if let Some(records) = self.records.as_mut().filter(|_| n > 0) {
            if from == 0 && n == bytes.len() {
                records.push(start, n, spans);
            } else {
                records.push_part(start, n, spans, from);
            }
        }
        &bytes[n..]
    }

    /// Notes an operation. If it is a put, its record starts at `start`.
    pub(crate) fn note_operation(
        &mut self,
        name: &[u8],
        action: Action,
        attributes: Attributes<'_>,
        start: usize,
    ) {
        if let Action::Put { length, .. } = action {
            if self.puts.0 == 0 {
                self.directory.first_start = u32::try_from(start).unwrap_or(u32::MAX);
            }
            self.puts = (self.puts.0 + 1, self.puts.1 + u64::from(length));
        }
        // It stands alone in its directory, or before other names.
        if action == Action::Begin {
            self.directory.first_start = u32::try_from(start).unwrap_or(u32::MAX);
        }
        self.directory_bytes += name.len() + attributes.len() + OPERATION_BYTES;
        self.directory.push(name, action, attributes);
    }

    /// Mean raw bytes of the records that start here, or the chunk size if none does.
    pub(crate) fn mean_record(&self) -> u64 {
        self.puts.1.checked_div(self.puts.0).unwrap_or(self.chunk_size as u64)
    }

    /// A part of the raw bytes.
    pub(crate) fn bytes(&self, start: usize, len: usize) -> Option<&[u8]> {
        self.raw.as_ref()?[..self.used].get(start..start.checked_add(len)?)
    }

    /// Pads the bytes in use with zeros to `padded` bytes.
    ///
    /// What the buffer held behind them is gone: nobody can read it.
    pub(crate) fn seal(self, padded: usize) -> Sealed {
        let mut raw = self.raw.unwrap_or_else(|| AlignedBuf::any(self.chunk_size));
        raw.truncate(padded.clamp(self.used, self.chunk_size));
        raw[self.used..].fill(0);
        let records = self.records.filter(Records::may_pay);
        Sealed { raw: Arc::new(raw), used: self.used, directory: self.directory, records }
    }

    /// The operations of a chunk without bytes.
    pub(crate) fn directory(&self) -> &DirectoryBuilder {
        &self.directory
    }

    /// Forgets the operations of a chunk without bytes, once they are in the file.
    pub(crate) fn forget_directory(&mut self) {
        self.directory_bytes = 0;
        self.puts = (0, 0);
        self.directory = DirectoryBuilder::default();
    }
}

//! Puts a record piece by piece, with memory for only some chunks.
//!
//! Its length and its checksum are known at the end, so its name comes last:
//!
//! ```text
//! chunk     n               n + 1           n + 2
//! bytes     the record from the start of a chunk on ─────> its end, other records
//! names     "begin"         none            "named": name, place, length, checksum
//! ```
//!
//! What is not named, because the source failed or the writer was killed, is no record. Compacting drops its
//! bytes.

use std::sync::MutexGuard;

use super::Engine;
use super::writer::Writer;
use crate::checksum::crc32c_append;
use crate::error::{Error, ErrorKind, Result};
use crate::format::tables::{Action, Attributes, OwnedAttributes};
use crate::index::{Location, hash};
use crate::key::describe;

/// Bytes that are in memory before they are known to be a long record, unless a chunk is larger.
const LEAST: usize = 1 << 20;

/// A record that is being put. Others cannot write meanwhile, from its second chunk on.
pub(crate) struct LongPut<'e> {
    engine: &'e Engine,
    name: Vec<u8>,
    attributes: OwnedAttributes,
    only_new: bool,
    /// The first bytes. A record that ends in them is put like others.
    start: Vec<u8>,
    begun: Option<Begun<'e>>,
}

/// A record whose first bytes are in chunks.
struct Begun<'e> {
    writer: MutexGuard<'e, Writer>,
    address: u64,
    length: u64,
    checksum: u32,
}

impl LongPut<'_> {
    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(begun) = &mut self.begun else {
            let most = self.engine.parameters().chunk_size.max(LEAST);
            if self.start.len() + bytes.len() <= most {
                self.start.extend_from_slice(bytes);
                return Ok(());
            }
            let mut writer = self.engine.writer()?;
            let address = writer.begin(&self.name, self.only_new).map_err(|error| self.not_stored(error))?;
            self.begun = Some(Begun { writer, address, length: 0, checksum: 0 });
            let start = std::mem::take(&mut self.start);
            self.push(&start)?;
            return self.push(bytes);
        };
        begun.length += bytes.len() as u64;
        begun.checksum = crc32c_append(begun.checksum, bytes);
        if begun.length > Location::MAX_LENGTH {
            return Err(self.engine.too_long(&self.name, begun.length));
        }
        if begun.address.saturating_add(begun.length) > Location::MAX_ADDRESS {
            return Err(self.engine.full(&self.name));
        }
        begun.writer.go_on(bytes).map_err(|error| self.not_stored(error))
    }

    /// Gives the bytes their name, and returns how many there are.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let Some(mut begun) = self.begun.take() else {
            self.engine.put(&self.name, &self.start, self.attributes.lend(), self.only_new)?;
            return Ok(self.start.len() as u64);
        };
        let Begun { address, length, checksum, .. } = begun;
        let location = Location { address, length, checksum, flags: 0 };
        let named = begun.writer.name(&self.name, &location, self.attributes.lend(), self.only_new);
        if let Err(error) = named {
            let error = self.not_stored(error);
            self.begun = Some(begun);
            return Err(error);
        }
        begun.writer.commit_if_due()?;
        Ok(length)
    }

    fn not_stored(&self, source: Error) -> Error {
        self.engine.not_stored(&self.name, source)
    }
}

impl Drop for LongPut<'_> {
    fn drop(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.writer.give_up();
        }
    }
}

/// Longer records are copied from depot to depot piece by piece.
pub(crate) const LONG: u64 = 16 << 20;

impl Engine {
    /// Copies a record of `source` piece by piece, as `name`.
    ///
    /// Its checksum is compared at the end, so that a damaged one gets no name.
    pub(crate) fn copy_long(
        &self,
        name: &[u8],
        attributes: Attributes<'_>,
        (source, from, location): (&Engine, &[u8], &Location),
    ) -> Result<()> {
        let mut put = self.long_put(name, attributes, false)?;
        source.check_by_pieces(from, location, &mut |piece| put.push(piece))?;
        put.finish().map(|_| ())
    }

    /// Begins a record whose bytes come piece by piece.
    pub(crate) fn long_put(
        &self,
        name: &[u8],
        attributes: Attributes<'_>,
        only_new: bool,
    ) -> Result<LongPut<'_>> {
        self.check_put(name, attributes)?;
        // A depot that cannot be written is told before the bytes are read.
        drop(self.writer()?);
        let attributes = attributes.to_owned();
        Ok(LongPut {
            engine: self,
            name: name.to_vec(),
            attributes,
            only_new,
            start: Vec::new(),
            begun: None,
        })
    }
}

impl Writer {
    /// Begins a record at the start of a chunk, and returns its address.
    fn begin(&mut self, name: &[u8], only_new: bool) -> Result<u64> {
        self.append.check_alive()?;
        self.write_finished(false)?;
        if only_new {
            self.check_new(name)?;
        }
        if self.open.used() > 0 || self.open.is_crowded() {
            self.seal(false);
        }
        self.open.note_operation(&[], Action::Begin, Attributes::default(), 0);
        Ok(self.open_number * self.layout.chunk_size as u64)
    }

    /// Puts bytes behind those of the record that was begun.
    fn go_on(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.open.room() == 0 {
                self.seal(false);
                self.write_finished(false)?;
            }
            if self.open.used() == 0 {
                self.shared.write().set_source(self.open_number, crate::chunk::ChunkAt::Open);
            }
            let start = self.open.used();
            rest = self.open.fill(start, rest, 0, &[]);
        }
        Ok(())
    }

    /// Gives a name to a record that was begun, and all of whose bytes are there.
    fn name(
        &mut self,
        name: &[u8],
        location: &Location,
        attributes: Attributes<'_>,
        only_new: bool,
    ) -> Result<()> {
        self.append.check_alive()?;
        if only_new {
            self.check_new(name)?;
        }
        let hash = hash(name);
        let found = self.shared.read().find_hashed(hash, name, &mut |_| ())?;
        let Location { address, length, checksum, .. } = *location;
        self.open.note_operation(name, Action::Named { address, length, checksum }, attributes, 0);
        let dead = found.as_ref().map(|found| (hash, found));
        self.insert(hash, dead, name, location, attributes);
        self.changed(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(name.len()));
        Ok(())
    }

    /// Ends a record that was begun without a name. What follows goes to another chunk.
    fn give_up(&mut self) {
        if !self.open.is_empty() {
            self.seal(false);
        }
    }

    fn check_new(&self, name: &[u8]) -> Result<()> {
        if self.shared.read().find(name)?.is_some() {
            return Err(ErrorKind::Exists.at(self.shared.storage.path()).of(describe(name)));
        }
        Ok(())
    }
}

//! Puts, renames and removes records, after the checks that the writer does not make.

use super::Engine;
use super::{Told, writer::NewRecord};
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::MAX_DIRECTORY;
use crate::format::tables::Attributes;
use crate::index::Location;
use crate::key::{MAX_KEY_LEN, describe};
use crate::scalar::VALUE_LEN;

/// The most bytes of a record's metadata, so that they fit into a chunk's directory.
const MAX_METADATA: usize = MAX_DIRECTORY / 4;

impl Engine {
    /// Stores encoded bytes.
    pub(crate) fn put(
        &self,
        name: &[u8],
        bytes: &[u8],
        attributes: Attributes<'_>,
        only_new: bool,
    ) -> Result<()> {
        self.put_told(name, bytes, attributes, Told::default(), only_new)
    }

    /// Like [`put`](Self::put), with what the codec says of the record.
    pub(crate) fn put_told(
        &self,
        name: &[u8],
        bytes: &[u8],
        attributes: Attributes<'_>,
        told: Told<'_>,
        only_new: bool,
    ) -> Result<()> {
        if u32::try_from(bytes.len()).is_err() {
            let mut long = self.long_put(name, attributes, only_new)?;
            long.push(bytes)?;
            return long.finish().map(|_| ());
        }
        self.check_put(name, attributes)?;
        let checksum = crc32c(bytes);
        let mut writer = self.writer()?;
        writer
            .put(&NewRecord { name, bytes, checksum, attributes, told, only_new })
            .map_err(|source| self.not_stored(name, source))?;
        writer.commit_if_due()
    }

    /// The error for a record that the writer did not take in.
    pub(super) fn not_stored(&self, name: &[u8], source: Error) -> Error {
        match source.kind() {
            ErrorKind::InvalidRecord { .. } | ErrorKind::Exists | ErrorKind::Poisoned { .. } => source,
            _ => ErrorKind::NotStored.at(self.path_buf()).of(describe(name)).because(source),
        }
    }

    /// Refuses a name, metadata and scalars that cannot be stored.
    pub(super) fn check_put(&self, name: &[u8], attributes: Attributes<'_>) -> Result<()> {
        self.check_name(name)?;
        if let Some(metadata) = attributes.metadata {
            self.check_metadata(name, metadata)?;
        }
        let row_len = VALUE_LEN * self.parameters().columns.len();
        if attributes.scalars.len() == row_len {
            return Ok(());
        }
        let n = attributes.scalars.len() / VALUE_LEN;
        Err(self.refuse_record(name, format!("{n} scalars, where the depot keeps {}", row_len / VALUE_LEN)))
    }

    /// The error for a record of more bytes than a location can tell.
    pub(super) fn too_long(&self, name: &[u8], len: u64) -> Error {
        self.refuse_record(name, format!("{len} bytes; a record has at most {}", Location::MAX_LENGTH))
    }

    /// The error for a record behind the last address.
    pub(super) fn full(&self, name: &[u8]) -> Error {
        self.refuse_record(name, "the depot is full: 2^48 raw bytes are in it; start another one".into())
    }

    /// Gives a record another name. No record may have that name yet.
    pub(crate) fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.check_name(to)?;
        let mut writer = self.writer()?;
        if self.place_of(from)?.is_none() {
            drop(writer);
            // This error tells if the depot lost records.
            return self.location(from).map(|_| ());
        }
        if from != to {
            if self.place_of(to)?.is_some() {
                return Err(ErrorKind::Exists.at(self.path()).of(describe(to)));
            }
            writer.rename(from, to)?;
        }
        writer.commit_if_due()
    }

    /// Removes the records that are still where they were found. Returns how many it removed.
    pub(crate) fn remove_those(&self, found: &[(Vec<u8>, Location)]) -> Result<u64> {
        let mut removed = 0;
        for (name, location) in found {
            let mut writer = self.writer()?;
            if self.place_of(name)? == Some(*location) {
                removed += u64::from(writer.remove(name)?);
            }
            writer.commit_if_due()?;
        }
        Ok(removed)
    }

    fn check_name(&self, name: &[u8]) -> Result<()> {
        // One byte of a tagged name is the tag.
        if name.len() <= 1 + MAX_KEY_LEN {
            return Ok(());
        }
        let why = format!("a name of {} bytes; at most {MAX_KEY_LEN} fit", name.len() - 1);
        Err(self.refuse_record(name, why))
    }

    fn refuse_record(&self, name: &[u8], why: String) -> Error {
        ErrorKind::InvalidRecord { why }.at(self.path_buf()).of(describe(name))
    }

    /// Refuses metadata that the directory of a chunk has no room for.
    pub(crate) fn check_metadata(&self, name: &[u8], metadata: &[u8]) -> Result<()> {
        if metadata.len() <= MAX_METADATA {
            return Ok(());
        }
        let why = format!("metadata of {} bytes; at most {MAX_METADATA} fit", metadata.len());
        Err(self.refuse_record(name, why))
    }
}

//! Records that train together.

use std::sync::Arc;

use super::frozen::Frozen;
use crate::codec::Codec;
use crate::depot::Record;
use crate::error::{Error, Result};
use crate::key::Key;

/// Records that a [`Loader`](super::Loader) hands out together.
///
/// Owns its records, which keep their bytes alive: it can go to another thread and outlive loader and depot.
/// Records that were read together share decoded buffers, so that a batch kept for long keeps more than its
/// own bytes.
pub struct Batch<C: Codec> {
    pub(super) records: Vec<Record<C>>,
    pub(super) positions: Vec<u64>,
    pub(super) skipped: Vec<(u64, Error)>,
    pub(super) epoch: u64,
    pub(super) number: u64,
    pub(super) repeated: bool,
    pub(super) last: bool,
    pub(super) frozen: Arc<Frozen>,
}

impl<C: Codec> Batch<C> {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none: only when all were skipped.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, in the order of the epoch.
    pub fn records(&self) -> &[Record<C>] {
        &self.records
    }

    /// The records themselves.
    pub fn into_records(self) -> Vec<Record<C>> {
        self.records
    }

    /// Views of the records, in the order of the epoch: each borrows from the batch and copies nothing.
    pub fn views(&self) -> impl ExactSizeIterator<Item = C::View<'_>> {
        self.records.iter().map(Record::view)
    }

    /// Positions of the records in the depot, as of [`build`](super::LoaderBuilder::build).
    pub fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// Names of the records. Looked up in the index by this call, not before.
    ///
    /// # Errors
    /// [`Error::is_damage`] when the index is damaged.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let key = |&position| crate::depot::key_of(&self.frozen.engine, self.frozen.name(position)?);
        self.positions.iter().map(key).collect()
    }

    /// Records that could not be read, by position, when the loader is told to [skip](super::OnError::Skip)
    /// them.
    pub fn skipped(&self) -> &[(u64, Error)] {
        &self.skipped
    }

    /// The epoch, from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The batch's number in its epoch, from 0 and counted over all ranks.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether another rank had this batch already in this epoch: it is here so that all ranks have as many.
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Whether it is the last one of its epoch that this loader hands out.
    pub fn ends_epoch(&self) -> bool {
        self.last
    }
}

impl<C: Codec> IntoIterator for Batch<C> {
    type Item = Record<C>;
    type IntoIter = std::vec::IntoIter<Record<C>>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl<C: Codec> std::fmt::Debug for Batch<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} records, number {} of epoch {})", self.len(), self.number, self.epoch)
    }
}

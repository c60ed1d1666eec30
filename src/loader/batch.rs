//! Records that train together.

use std::sync::Arc;

use super::frozen::Frozen;
use crate::codec::Codec;
use crate::depot::Record;
use crate::error::{Error, Result};
use crate::key::Key;

/// Records that a [`Loader`](super::Loader) hands out together.
///
/// A batch owns its records, and these keep their bytes alive. So it can go to another thread, and
/// outlive the loader and the depot. Records that were read together share decoded buffers, so a batch
/// that is kept for long keeps more than its own bytes.
///
/// ```
/// use vldepot::{Depot, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// depot.put("a", b"first")?;
/// depot.put("b", b"second")?;
/// for batch in depot.loader().build()? {
///     let lengths: Vec<usize> = batch?.views().map(|bytes| bytes.len()).collect();
///     assert_eq!(lengths, [5, 6]);
/// }
/// # Ok::<(), vldepot::Error>(())
/// ```
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
    /// How many records the batch has.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let batch = depot.loader().batch_size(4).build()?.next().unwrap()?;
    /// assert_eq!(batch.len(), 4);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the batch has no records. This only happens when all of them were skipped.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let batch = depot.loader().build()?.next().unwrap()?;
    /// assert!(!batch.is_empty());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records, in the order of the epoch.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let batch = depot.loader().batch_size(4).build()?.next().unwrap()?;
    /// assert_eq!(batch.records()[3].view(), [3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn records(&self) -> &[Record<C>] {
        &self.records
    }

    /// Takes the records out of the batch, in the order of the epoch.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let batch = depot.loader().batch_size(4).build()?.next().unwrap()?;
    /// let mut records = batch.into_records();
    /// assert_eq!(records.pop().unwrap().view(), [3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn into_records(self) -> Vec<Record<C>> {
        self.records
    }

    /// Views of the records, in the order of the epoch. Each borrows from the batch and copies nothing.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let batch = depot.loader().batch_size(4).build()?.next().unwrap()?;
    /// let sum: u8 = batch.views().map(|bytes| bytes[0]).sum();
    /// assert_eq!(sum, 6);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn views(&self) -> impl ExactSizeIterator<Item = C::View<'_>> {
        self.records.iter().map(Record::view)
    }

    /// Positions of the records in the depot, as they were at [`build`](super::LoaderBuilder::build).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(4).build()?;
    /// assert_eq!(loader.next().unwrap()?.positions(), [0, 1, 2, 3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// Names of the records. Every call looks them up in the index.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let batch = depot.loader().build()?.next().unwrap()?;
    /// assert_eq!(batch.keys()?[0].as_str(), Some("a"));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`] when the index is damaged.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let key = |&position| crate::depot::key_of(&self.frozen.engine, self.frozen.name(position)?);
        self.positions.iter().map(key).collect()
    }

    /// Position and error of each record that could not be read.
    ///
    /// Empty unless [`on_error`](super::LoaderBuilder::on_error) told the loader to
    /// [skip](super::OnError::Skip) such records.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # use vldepot::loader::OnError;
    /// # let depot = Depot::builder(Raw).layout(vldepot::Layout::uncompressed()).memory()?;
    /// # depot.put("a", b"a record")?;
    /// # let mut bytes = depot.to_bytes()?;
    /// # let at = bytes.windows(8).position(|part| part == b"a record").unwrap();
    /// # bytes[at] ^= 1;
    /// let damaged = Depot::from_bytes(&bytes, Raw)?;
    /// let batch = damaged.loader().on_error(OnError::Skip).build()?.next().unwrap()?;
    /// let (position, error) = &batch.skipped()[0];
    /// assert!(*position == 0 && error.is_damage());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn skipped(&self) -> &[(u64, Error)] {
        &self.skipped
    }

    /// The epoch, counted from 0.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(5).epochs(2).build()?;
    /// let epochs: Vec<u64> = loader.map(|batch| batch.unwrap().epoch()).collect();
    /// assert_eq!(epochs, [0, 0, 1, 1]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The batch's number in its epoch, counted from 0 over all ranks.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let mut loader = depot.loader().batch_size(2).rank(1, 2).build()?;
    /// assert_eq!(loader.next().unwrap()?.number(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether another rank had this batch already in this epoch.
    ///
    /// [`LoaderBuilder::even`](super::LoaderBuilder::even) repeats a batch so that all ranks have the
    /// same number.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(4).rank(1, 2).even(true).build()?;
    /// let repeated: Vec<bool> = loader.map(|batch| batch.unwrap().is_repeated()).collect();
    /// assert_eq!(repeated, [false, true]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Whether this is the last batch of its epoch that this loader hands out.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # (0..10).try_for_each(|n| depot.put(n, &[n]))?;
    /// let loader = depot.loader().batch_size(5).epochs(2).build()?;
    /// let ends: Vec<bool> = loader.map(|batch| batch.unwrap().ends_epoch()).collect();
    /// assert_eq!(ends, [false, true, false, true]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
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

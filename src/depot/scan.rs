//! All records of a depot, lent one by one.

use super::batches::Batches;
use super::record::is_aligned;
use super::{Depot, RecordRef};
use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::error::Result;
use crate::key::KeyRef;
use crate::options::ReadOptions;

/// Records of a depot, in the order of insertion, lent one by one. See [`Depot::scan`].
pub struct Scan<'d, C: Codec> {
    depot: &'d Depot<C>,
    batches: Batches<'d>,
    /// A copy of the bytes at hand, if they are not aligned for the codec.
    aligned: Bytes,
}

impl<C: Codec> Depot<C> {
    /// Lends all records of this moment, one after the other, in the order of insertion.
    ///
    /// It gives what [`iter_with`](Self::iter_with) gives, but the name and the record are only borrowed,
    /// until the next one. So nothing is allocated, shared or dropped for a record, and small records come
    /// twice as fast.
    ///
    /// ```
    /// use vldepot::{Depot, Raw, ReadOptions};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.put("b", b"second")?;
    /// let mut records = depot.scan(&ReadOptions::default());
    /// let mut longest = String::new();
    /// let mut len = 0;
    /// while let Some(entry) = records.next() {
    ///     let (key, record) = entry?;
    ///     if record.len() > len {
    ///         (longest, len) = (key.to_string(), record.len());
    ///     }
    /// }
    /// assert_eq!((&*longest, len), ("b", 6));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn scan(&self, options: &ReadOptions) -> Scan<'_, C> {
        let batches = Batches::new(&self.engine, options.threads);
        Scan { depot: self, batches, aligned: Bytes::copy_of(&[]) }
    }
}

impl<C: Codec> Scan<'_, C> {
    /// The next record and its name, or `None` after the last one.
    ///
    /// # Errors
    /// A record that cannot be read is an error in its place, and the next call goes on after it. It is one
    /// of the errors of [`Depot::get`].
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an `Iterator` cannot lend what it holds")]
    pub fn next(&mut self) -> Option<Result<(KeyRef<'_>, RecordRef<'_, C>)>> {
        let number = match self.batches.advance()? {
            Ok(number) => number,
            Err(error) => return Some(Err(error)),
        };
        Some(self.lend(number))
    }

    #[inline]
    fn lend(&mut self, number: usize) -> Result<(KeyRef<'_>, RecordRef<'_, C>)> {
        let Self { depot, batches, aligned } = self;
        let (key, bytes) = batches.lend(number)?;
        let bytes = if is_aligned(bytes, C::ALIGN) {
            bytes
        } else {
            *aligned = Bytes::copy_of(bytes);
            aligned
        };
        let record =
            RecordRef::new(bytes, &*depot.codec).map_err(|source| depot.codec_error_for(&key, source))?;
        Ok((key, record))
    }
}

impl<C: Codec> std::fmt::Debug for Scan<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("depot", self.depot).finish_non_exhaustive()
    }
}

//! All records of a depot, as an iterator of records that can be kept.

use super::batches::Batches;
use super::{Depot, Record};
use crate::codec::Codec;
use crate::error::Result;
use crate::key::Key;

/// Records of a depot, in the order of insertion. See [`Depot::iter`].
///
/// A record that cannot be read is an error in its place, and the iteration goes on after it.
pub struct Iter<'d, C: Codec> {
    depot: &'d Depot<C>,
    batches: Batches<'d>,
}

impl<'d, C: Codec> Iter<'d, C> {
    pub(super) fn with_threads(depot: &'d Depot<C>, threads: usize) -> Self {
        Self { depot, batches: Batches::new(&depot.engine, threads) }
    }

    /// The record with this number in the batch.
    fn give(&mut self, number: usize) -> Result<(Key, Record<C>)> {
        let bytes = self.batches.bytes(number)?;
        let key = Key::from(self.batches.key(number)?);
        match Record::new(bytes, &self.depot.codec) {
            Ok(record) => Ok((key, record)),
            Err(source) => Err(self.depot.codec_error(self.batches.tagged(number), source)),
        }
    }
}

impl<C: Codec> Iterator for Iter<'_, C> {
    type Item = Result<(Key, Record<C>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.batches.advance()?;
        Some(number.and_then(|number| self.give(number)))
    }
}

impl<C: Codec> std::fmt::Debug for Iter<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("depot", self.depot).finish_non_exhaustive()
    }
}

impl<'d, C: Codec> IntoIterator for &'d Depot<C> {
    type Item = Result<(Key, Record<C>)>;
    type IntoIter = Iter<'d, C>;

    fn into_iter(self) -> Iter<'d, C> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Depot, Layout, Mapping, OpenOptions, Raw, ReadOptions, WriteOptions};

    #[test]
    fn threads_start_where_there_is_something_to_decode() {
        let folder = tempfile::tempdir().unwrap();
        let starts = |name: &str, layout: Layout, mapping: Mapping| {
            let path = folder.path().join(name);
            let writing = WriteOptions::default().with_threads(0);
            let builder = Depot::builder(Raw).layout(layout.with_chunk_size(1 << 20)).write_options(writing);
            let depot = builder.create(&path).unwrap();
            // The last chunk is not half full, so it is compressed whatever the layout says.
            (0..41_u8).for_each(|n| depot.put(n, &vec![n; 80_000]).unwrap());
            depot.close().unwrap();
            let options = OpenOptions::default().with_mapping(mapping);
            let depot = Depot::builder(Raw).open_options(options).open(&path).unwrap();
            let mut iter = depot.iter_with(&ReadOptions::default().with_threads(2));
            assert_eq!(iter.next().unwrap().unwrap().1.view(), vec![0; 80_000]);
            let starts = iter.batches.has_threads();
            assert_eq!(iter.count(), 40);
            starts
        };
        assert!(!starts("lent", Layout::uncompressed(), Mapping::Auto));
        assert!(starts("read", Layout::uncompressed(), Mapping::Never));
        assert!(starts("decoded", Layout::balanced(), Mapping::Auto));
    }
}

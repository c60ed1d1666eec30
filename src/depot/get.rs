//! Reading records: by name, by position, and many together.

use super::record::is_aligned;
use super::{ChunkInfo, Depot, Iter, Keys, Record, RecordLocation, key_of, tagged};
use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::engine::{Known, batch};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{AsKey, Key};
use crate::options::ReadOptions;

/// Reading.
impl<C: Codec> Depot<C> {
    /// Reads the record of that name.
    ///
    /// Only the blocks that hold the record are decoded, and the record is checked. From an uncompressed
    /// file, the record borrows the memory map.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let record = depot.get("a")?;
    /// assert_eq!(record.view(), b"first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`].
    /// - [`Error::is_damage`] when the bytes are not those that were put.
    /// - [`ErrorKind::Codec`].
    pub fn get(&self, key: impl AsKey) -> Result<Record<C>> {
        let name = tagged(&self.engine, &key)?;
        self.record(&name, self.engine.get(&name)?)
    }

    /// Reads the record of that name, or returns `None` when there is none.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert_eq!(depot.find("a")?.unwrap().view(), b"first");
    /// assert!(depot.find("b")?.is_none());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`get`](Self::get), without [`ErrorKind::NotFound`](crate::ErrorKind::NotFound). If a
    /// damaged file may have lost the name, that is an error, not `None`.
    pub fn find(&self, key: impl AsKey) -> Result<Option<Record<C>>> {
        match self.get(key) {
            Ok(record) => Ok(Some(record)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the record at `position`, from 0 to `len() - 1`, in the order of insertion.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert_eq!(depot.get_at(0)?.view(), b"first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], and the errors of [`get`](Self::get).
    pub fn get_at(&self, position: u64) -> Result<Record<C>> {
        let named = |error| self.engine.in_record_at(position, error);
        let bytes = self.engine.read_at(position).map_err(named)?;
        Record::new(bytes, &self.codec)
            .map_err(|source| self.codec_error(&self.engine.name_at(position).unwrap_or_default(), source))
    }

    /// The name of the record at `position`, in the order of insertion.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert_eq!(depot.key_at(0)?.as_str(), Some("a"));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn key_at(&self, position: u64) -> Result<Key> {
        key_of(&self.engine, self.engine.name_at(position)?)
    }

    /// Appends the record's bytes to `buf`, which need not be aligned.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let mut buf = b"the ".to_vec();
    /// depot.get_into("a", &mut buf)?;
    /// assert_eq!(buf, b"the first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`get`](Self::get).
    pub fn get_into(&self, key: impl AsKey, buf: &mut Vec<u8>) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        buf.extend_from_slice(&self.engine.get(&name)?);
        Ok(())
    }

    /// Reads many records, in the order of `keys`, duplicates included.
    ///
    /// Every block that they touch is decoded once, on this thread.
    ///
    /// Records read together may share one buffer, which lives as long as any of them.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.put("b", b"second")?;
    /// let records = depot.get_many(&["b", "a", "b"])?;
    /// assert_eq!(records[2].view(), b"second");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`get`](Self::get). The error is that of the first key that is missing, or else of the
    /// first record that cannot be read.
    pub fn get_many<K: AsKey>(&self, keys: &[K]) -> Result<Vec<Record<C>>> {
        self.get_many_with(keys, &ReadOptions::default())
    }

    /// Like [`get_many`](Self::get_many), but on several threads.
    ///
    /// # Errors
    /// Same as [`get_many`](Self::get_many).
    pub fn get_many_with<K: AsKey>(&self, keys: &[K], options: &ReadOptions) -> Result<Vec<Record<C>>> {
        let names = self.names(keys)?;
        let (wanted, known) = self.engine.locations(&names)?;
        let bytes = batch::read(&self.engine, &wanted, &known, options.threads)?;
        names.iter().zip(bytes).map(|(name, bytes)| self.record(name, bytes)).collect()
    }

    /// Reads the records at these positions, in the order of `positions`, duplicates included.
    ///
    /// Otherwise this is like [`get_many_with`](Self::get_many_with). No name is looked up.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// use vldepot::ReadOptions;
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.put("b", b"second")?;
    /// let records = depot.get_many_at(&[1, 0, 1], &ReadOptions::default())?;
    /// assert_eq!(records[2].view(), b"second");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], and the errors of [`get`](Self::get). The error is that of the first
    /// position that has no record, or else of the first record that cannot be read.
    pub fn get_many_at(&self, positions: &[u64], options: &ReadOptions) -> Result<Vec<Record<C>>> {
        let (wanted, seen) = self.engine.locations_at(positions)?;
        let known = Known { seen, ..Known::default() };
        let read = batch::read_each_with(&self.engine, &wanted, &known, options.threads);
        let record = |(bytes, &position): (Result<Bytes>, &u64)| {
            let bytes = bytes.map_err(|error| self.engine.in_record_at(position, error))?;
            let name = || self.engine.name_at(position).unwrap_or_default();
            Record::new(bytes, &self.codec).map_err(|source| self.codec_error(&name(), source))
        };
        read.zip(positions).map(record).collect()
    }

    /// Shows each record to `job`, with the number of its key.
    ///
    /// The records come in the order in which they are stored. Every block is decoded once, into buffers
    /// that are used again, and nothing is allocated for a record.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// # depot.put("a", b"12")?;
    /// # depot.put("b", b"345")?;
    /// let mut lengths = [0; 3];
    /// depot.visit_many(&["b", "a", "b"], |number, bytes| lengths[number] = bytes.len())?;
    /// assert_eq!(lengths, [3, 2, 3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`get_many`](Self::get_many). The records that can be read have been shown by then.
    pub fn visit_many<K: AsKey>(&self, keys: &[K], mut job: impl FnMut(usize, C::View<'_>)) -> Result<()> {
        let names = self.names(keys)?;
        let (wanted, known) = self.engine.locations(&names)?;
        self.visit_located(&wanted, &known, &mut job)
    }

    /// Like [`visit_many`](Self::visit_many), but for records that were looked up: tagged names and
    /// places. Their stored bytes may be in `ahead`.
    pub(crate) fn visit_located(
        &self,
        wanted: &[(&[u8], crate::index::Location)],
        known: &Known,
        job: &mut dyn FnMut(usize, C::View<'_>),
    ) -> Result<()> {
        let mut failed: Option<(usize, Error)> = None;
        let mut fail = |number: usize, error: Error| {
            if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                failed = Some((number, error));
            }
        };
        batch::visit(&self.engine, wanted, known, &mut |number, bytes| {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return fail(number, error),
            };
            let copy = (!is_aligned(bytes, C::ALIGN)).then(|| Bytes::copy_of(bytes));
            match self.codec.view(copy.as_deref().unwrap_or(bytes)) {
                Ok(view) => job(number, view),
                Err(source) => fail(number, self.codec_error(wanted[number].0, source)),
            }
        });
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Whether there is a record of that name.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert!(depot.contains("a")? && !depot.contains("b")?);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`] when the index is damaged, or when it lost a part that may have had the
    /// name.
    pub fn contains(&self, key: impl AsKey) -> Result<bool> {
        self.engine.contains(&tagged(&self.engine, &key)?)
    }

    /// Where the record lies.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert_eq!(depot.location("a")?.length, 5);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn location(&self, key: impl AsKey) -> Result<RecordLocation> {
        let location = self.engine.location(&tagged(&self.engine, &key)?)?;
        Ok(RecordLocation::new(&self.engine, &location))
    }

    /// How the chunk is stored in which the record starts. `None` if it is not in the file yet.
    ///
    /// This reads the chunk's table of blocks, but no data.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", &[7; 100_000])?;
    /// assert!(depot.chunk_of("a")?.is_none());
    /// depot.commit()?;
    /// let chunk = depot.chunk_of("a")?.unwrap();
    /// assert!(chunk.stored_bytes < 10_000);
    /// assert_eq!(chunk.blocks.len() as u64, 100_000_u64.div_ceil(chunk.block_bytes));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and [`Error::is_damage`].
    pub fn chunk_of(&self, key: impl AsKey) -> Result<Option<ChunkInfo>> {
        let location = self.engine.location(&tagged(&self.engine, &key)?)?;
        ChunkInfo::new(&self.engine, &location)
    }

    /// How many records there are.
    ///
    /// For a file that was opened with [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss),
    /// this is how many are left.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert_eq!(depot.len(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn len(&self) -> u64 {
        self.engine.len()
    }

    /// Whether there are no records.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// assert!(depot.is_empty());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records of this moment, in the order of insertion. Records that are put later do not show up.
    ///
    /// Names and records can be kept. [`scan`](Self::scan) lends them, which is faster for small records.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// for entry in depot.iter() {
    ///     let (key, record) = entry?;
    ///     println!("{key}: {} bytes", record.len());
    /// }
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, C> {
        Iter::with_threads(self, 1)
    }

    /// Like [`iter`](Self::iter), but decodes on several threads.
    ///
    /// While the caller has the records, the other threads read ahead: at most two batches of 4 MiB per
    /// thread. They end with the iterator. A process made by `fork` goes on without them.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// use vldepot::ReadOptions;
    /// depot.put("a", b"first")?;
    /// let entries = depot.iter_with(&ReadOptions::default().with_threads(2));
    /// assert_eq!(entries.count(), 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn iter_with(&self, options: &ReadOptions) -> Iter<'_, C> {
        Iter::with_threads(self, options.threads)
    }

    /// All names, in the order of insertion.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let keys = depot.keys().collect::<vldepot::Result<Vec<_>>>()?;
    /// assert_eq!(keys[0].as_str(), Some("a"));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.engine, |_| true)
    }

    /// Names that are strings and match a glob such as `run_*/frame_00?`. This looks at every name.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("run_1/a", b"..")?;
    /// depot.put("run_2/a", b"..")?;
    /// assert_eq!(depot.keys_matching("run_?/a")?.count(), 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a malformed pattern.
    #[cfg(feature = "glob")]
    pub fn keys_matching(&self, pattern: &str) -> Result<Keys<'_>> {
        let pattern = glob::Pattern::new(pattern)
            .map_err(|error| Error::invalid_options(format!("the pattern {pattern:?}: {error}")))?;
        Ok(Keys::new(&self.engine, move |name| match Key::from_tagged(name) {
            Some(Key::Str(name)) => pattern.matches(&name),
            _ => false,
        }))
    }
}

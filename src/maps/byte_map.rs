//! Integers to bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::head::{ENTRY, Head, Kind, MapFormat, unread};
use super::index::{self, Entry, Index};
use super::options::MapOptions;
use super::order::InOrder;
use super::packing::Packing;
use super::slices::Slices;
use crate::checksum::{crc32c, crc32c_append};
use crate::error::{Error, ErrorKind, Part, Result};

/// A value may decompress to so many bytes by default.
const MOST: u64 = 1 << 30;

/// Bytes of the checksum after a value.
const SUM: usize = 4;

/// A map of `u64` to bytes in one byte string that never changes its shape.
///
/// It is used as it lies there, in memory, in a mapped file, in a [`Window`](super::Window) of either, or
/// behind anything that gives [`Slices`]. To open it reads the header, and the index too if the source is not
/// in memory; then each value is one slice. Files of mapbuffer are read as they are.
///
/// ```
/// use vldepot::maps::{ByteMap, MapOptions, Packing};
///
/// let options = MapOptions::new().with_packing(Packing::Gzip);
/// let bytes = ByteMap::build([(0, "zero"), (u64::MAX, "most")], &options)?;
/// let map = ByteMap::open(&bytes)?;
/// assert_eq!(map.packing(), Packing::Gzip);
/// assert_eq!(&*map.get(u64::MAX)?, b"most");
/// assert_eq!(map.find(1)?, None);
/// map.validate()?;
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug)]
pub struct ByteMap<S> {
    source: S,
    index: Index,
    most: u64,
}

/// The checksum of a stored value. In the format of this crate it is of the key too, so that a value under
/// another key is noticed.
fn sum(format: MapFormat, key: u64, stored: &[u8]) -> u32 {
    match format {
        MapFormat::Vldepot => crc32c_append(crc32c(&key.to_le_bytes()), stored),
        MapFormat::Mapbuffer => crc32c(stored),
    }
}

/// Puts stored values behind their index. `sorted` has them in the order of their keys.
fn assemble(sorted: &[(u64, Cow<'_, [u8]>)], options: MapOptions) -> Result<Vec<u8>> {
    let count = sorted.len();
    let mut head = Head::new(Kind::Bytes, options.format, count, options.packing, options.checksums);
    let data_start = head.data_start();
    let mut ranks = vec![0; count];
    for (rank, node) in InOrder::new(count).enumerate() {
        ranks[node] = rank;
    }
    let mut offsets = vec![0; count];
    let mut at = data_start;
    for rank in &ranks {
        offsets[*rank] = at;
        at += (sorted[*rank].1.len() + if options.checksums { SUM } else { 0 }) as u64;
    }
    head.total = Some(at);
    let entries = index::write(sorted.iter().zip(offsets).map(|((key, _), offset)| (*key, offset)), count);
    let mut bytes = Vec::with_capacity(usize::try_from(at).unwrap_or_default());
    bytes.extend_from_slice(&head.write(at)?);
    bytes.extend_from_slice(entries.as_flattened());
    if head.pages() > 0 {
        bytes.extend_from_slice(&index::sums(&entries));
    }
    for rank in ranks {
        let (key, stored) = &sorted[rank];
        bytes.extend_from_slice(stored);
        if options.checksums {
            bytes.extend_from_slice(&sum(options.format, *key, stored).to_le_bytes());
        }
    }
    Ok(bytes)
}

/// A pair with its value as it will be stored.
fn stored_pair(key: u64, value: &[u8], packing: Packing) -> Result<(u64, Cow<'_, [u8]>)> {
    if packing == Packing::None {
        return Ok((key, Cow::Borrowed(value)));
    }
    let packed = packing.pack(value).map_err(|error| error.of(key.to_string()))?;
    Ok((key, Cow::Owned(packed)))
}

impl ByteMap<()> {
    /// The bytes of a map of these pairs. Of pairs with one key, the last one is kept.
    ///
    /// # Errors
    /// - [`ErrorKind::Unsupported`] for brotli without the feature `brotli`.
    /// - [`ErrorKind::InvalidOptions`] for more than 2^32 - 1 entries in the format of mapbuffer.
    pub fn build<V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (u64, V)>,
        options: &MapOptions,
    ) -> Result<Vec<u8>> {
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        let given = pairs.iter().map(|(key, value)| stored_pair(*key, value.as_ref(), options.packing));
        let sorted: Vec<_> = given.collect::<Result<_>>()?;
        assemble(&sorted, *options)
    }
}

impl<S: Slices> ByteMap<S> {
    /// Opens a map. It reads the header, and the index too if `source` is not in memory.
    ///
    /// # Errors
    /// - [`ErrorKind::NotADepot`] for other bytes.
    /// - [`ErrorKind::NewerFormat`] and [`ErrorKind::Unsupported`] for what a later version wrote.
    /// - [`ErrorKind::Checksum`] and [`ErrorKind::Damaged`] for a header that is not as it was written, and
    ///   for bytes that are too few or too many.
    /// - [`ErrorKind::Io`] if the source does not answer.
    pub fn open(source: S) -> Result<Self> {
        let index = Index::open(&source, Kind::Bytes)?;
        Ok(Self { source, index, most: MOST })
    }

    /// The same map, which does or does not compare what it reads with its checksums. It does by default.
    #[must_use]
    pub fn with_checks(mut self, checks: bool) -> Self {
        self.index.is_checked = checks;
        self
    }

    /// The same map, which refuses values that decompress to more than `most` bytes. By default, it is 1 GiB.
    #[must_use]
    pub fn with_max_value(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.index.head.count
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the values are compressed.
    pub fn packing(&self) -> Packing {
        self.index.head.packing
    }

    /// Whether each value has a checksum.
    pub fn has_checksums(&self) -> bool {
        self.index.head.has_sums
    }

    /// Whose format the map is in.
    pub fn format(&self) -> MapFormat {
        self.index.head.format
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The source, given back.
    pub fn into_source(self) -> S {
        self.source
    }

    /// The value of a key, if there is one. It is lent without a copy if the map is in memory and not
    /// compressed.
    ///
    /// # Errors
    /// - [`ErrorKind::Checksum`] and [`ErrorKind::Damaged`], naming the key.
    /// - [`ErrorKind::Unsupported`] for brotli without the feature `brotli`.
    /// - [`ErrorKind::InvalidRecord`] for a value that decompresses to more than the limit.
    pub fn find(&self, key: u64) -> Result<Option<Cow<'_, [u8]>>> {
        let found = self.index.find(&self.source, key).map_err(|error| error.of(key.to_string()))?;
        found.map(|position| self.value(key, position)).transpose()
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`find`](Self::find).
    pub fn get(&self, key: u64) -> Result<Cow<'_, [u8]>> {
        self.find(key)?.ok_or_else(|| Error::new(ErrorKind::NotFound).of(key.to_string()))
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] for a damaged index.
    pub fn contains(&self, key: u64) -> Result<bool> {
        let found = self.index.find(&self.source, key).map_err(|error| error.of(key.to_string()))?;
        Ok(found.is_some())
    }

    /// How many bytes the value of a key takes in the map, if there is one: compressed, without its checksum.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] and [`ErrorKind::Damaged`] for a damaged index, and [`ErrorKind::Io`] if the
    /// source does not answer.
    pub fn stored_len(&self, key: u64) -> Result<Option<u64>> {
        let name = |error: Error| error.of(key.to_string());
        let Some(position) = self.index.find(&self.source, key).map_err(name)? else { return Ok(None) };
        let (start, end) = self.place(position).map_err(name)?;
        let end = match end {
            Some(end) => end,
            None => start + self.source.slice(start..u64::MAX).map_err(unread)?.len() as u64,
        };
        let sum = if self.has_checksums() { SUM as u64 } else { 0 };
        Ok(Some((end - start).saturating_sub(sum)))
    }

    /// The keys in their order.
    ///
    /// # Errors
    /// An item is [`ErrorKind::Checksum`] if its page is damaged.
    pub fn keys(&self) -> impl Iterator<Item = Result<u64>> {
        self.index.in_order().map(|position| self.index.entry(&self.source, position).map(index::key))
    }

    /// All keys in their order, each with its value.
    ///
    /// # Errors
    /// An item has the errors of [`find`](Self::find).
    pub fn iter(&self) -> impl Iterator<Item = Result<(u64, Cow<'_, [u8]>)>> {
        self.index.in_order().map(|position| {
            let key = index::key(self.index.entry(&self.source, position)?);
            Ok((key, self.value(key, position)?))
        })
    }

    /// Where a value with its checksum lies. The end is unknown for the last value of mapbuffer, which goes
    /// on to the end of the bytes.
    fn place(&self, position: usize) -> Result<(u64, Option<u64>)> {
        let offset = |entry: &Entry| index::number(entry);
        let start = offset(self.index.entry(&self.source, position)?);
        let is_last = position + 1 == self.len();
        let limit = self.index.head.total.or_else(|| Some(self.source.whole()?.len() as u64));
        let end = if is_last { limit } else { Some(offset(self.index.entry(&self.source, position + 1)?)) };
        let sum = if self.has_checksums() { SUM as u64 } else { 0 };
        let is_within = end.is_none_or(|end| {
            end.checked_sub(start).is_some_and(|len| len >= sum) && limit.is_none_or(|limit| end <= limit)
        });
        if start < self.index.head.data_start() || !is_within {
            let offset = (self.index.head.entries().start + position * ENTRY + 8) as u64;
            let expected =
                format!("a value between the bytes {} and {limit:?}", self.index.head.data_start());
            let found = format!("one from {start} to {end:?}");
            return Err(Error::new(ErrorKind::Damaged { part: Part::Index, offset, expected, found }));
        }
        Ok((start, end))
    }

    /// A value as it is stored, compared with its checksum.
    fn stored(&self, key: u64, position: usize) -> Result<(u64, Cow<'_, [u8]>)> {
        let (start, end) = self.place(position)?;
        let mut bytes = self.source.slice(start..end.unwrap_or(u64::MAX)).map_err(unread)?;
        let sum_len = if self.has_checksums() { SUM } else { 0 };
        let is_whole = end.is_none_or(|end| bytes.len() as u64 == end - start);
        let Some(len) = bytes.len().checked_sub(sum_len).filter(|_| is_whole) else {
            let expected = end.map_or("a checksum".into(), |end| format!("{} bytes", end - start));
            let found = format!("{} bytes", bytes.len());
            return Err(Error::new(ErrorKind::Damaged { part: Part::Entry, offset: start, expected, found }));
        };
        if let Some(expected) = bytes[len..].first_chunk().map(|raw| u32::from_le_bytes(*raw)) {
            let found = sum(self.format(), key, &bytes[..len]);
            if self.index.is_checked && found != expected {
                let kind = ErrorKind::Checksum { part: Part::Entry, offset: start, expected, found };
                return Err(Error::new(kind));
            }
        }
        match &mut bytes {
            Cow::Borrowed(bytes) => *bytes = &bytes[..len],
            Cow::Owned(bytes) => bytes.truncate(len),
        }
        Ok((start, bytes))
    }

    fn value(&self, key: u64, position: usize) -> Result<Cow<'_, [u8]>> {
        let read = || {
            let (offset, stored) = self.stored(key, position)?;
            if self.packing() == Packing::None {
                return Ok(stored);
            }
            match self.packing().unpack(&stored, self.most)? {
                Ok(Some(value)) => Ok(Cow::Owned(value)),
                Ok(None) => {
                    let why = format!("it decompresses to more than {} bytes, the limit", self.most);
                    Err(Error::new(ErrorKind::InvalidRecord { why }))
                }
                Err(source) => {
                    let (expected, found) = (format!("{} data", self.packing()), source.to_string());
                    let kind = ErrorKind::Damaged { part: Part::Entry, offset, expected, found };
                    Err(Error::new(kind).because(source))
                }
            }
        };
        read().map_err(|error: Error| error.of(key.to_string()))
    }

    /// The bytes of a map with the same entries, written another way.
    ///
    /// Values that are compressed the wanted way already are taken over as they are, byte by byte.
    ///
    /// # Errors
    /// Those of [`find`](Self::find), and of [`build`](ByteMap::build).
    pub fn transcode(&self, options: &MapOptions) -> Result<Vec<u8>> {
        let mut sorted = Vec::with_capacity(self.len());
        for position in self.index.in_order() {
            let key = index::key(self.index.entry(&self.source, position)?);
            let name = |error: Error| error.of(key.to_string());
            let stored = if options.packing == self.packing() {
                self.stored(key, position).map_err(name)?.1
            } else {
                Cow::Owned(options.packing.pack(&self.value(key, position)?).map_err(name)?)
            };
            sorted.push((key, stored));
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let (expected, found) = (format!("a key above {}", pair[0].0), pair[1].0.to_string());
            let offset = self.index.head.entries().start as u64;
            return Err(Error::new(ErrorKind::Damaged { part: Part::Index, offset, expected, found }));
        }
        assemble(&sorted, *options)
    }

    /// Looks at every byte: magic, length, all checksums, the order of keys and of places, and that each
    /// value decompresses.
    ///
    /// A flipped bit of a map of this crate is always found, if its values have checksums. mapbuffer's index
    /// has none: a changed key that keeps the order is not found there.
    ///
    /// # Errors
    /// The first thing that is not as it was written, with the errors of [`open`](Self::open) and
    /// [`find`](Self::find).
    pub fn validate(&self) -> Result<()> {
        self.index.validate(&self.source)?;
        let mut next = self.index.head.data_start();
        for position in 0..self.len() {
            let entry = self.index.entry(&self.source, position)?;
            let (key, start) = (index::key(entry), index::number(entry));
            if start != next {
                let offset = (self.index.head.entries().start + position * ENTRY + 8) as u64;
                let (expected, found) = (format!("offset {next}"), start.to_string());
                let kind = ErrorKind::Damaged { part: Part::Index, offset, expected, found };
                return Err(Error::new(kind).of(key.to_string()));
            }
            self.value(key, position)?;
            next = self.place(position)?.1.unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

impl<S: Slices> ByteMap<S> {
    /// What [`set`](Self::set) would write, and at which byte: for sources that are not in memory.
    ///
    /// # Errors
    /// Those of [`set`](Self::set).
    pub fn change(&self, key: u64, value: &[u8]) -> Result<(u64, Vec<u8>)> {
        let name = |error: Error| error.of(key.to_string());
        let position = self.index.find(&self.source, key).map_err(name)?;
        let position = position.ok_or_else(|| name(Error::new(ErrorKind::NotFound)))?;
        let start = self.place(position).map_err(name)?.0;
        let expected = self.stored_len(key)?.unwrap_or_default();
        let mut stored = self.packing().pack(value).map_err(name)?;
        let found = stored.len();
        if found as u64 != expected {
            let why = format!(
                "a value is set in place if it takes as many bytes: expected {expected}, found {found}"
            );
            return Err(name(Error::new(ErrorKind::InvalidRecord { why })));
        }
        if self.has_checksums() {
            stored.extend_from_slice(&sum(self.format(), key, &stored).to_le_bytes());
        }
        Ok((start, stored))
    }
}

impl<S: Slices + AsMut<[u8]>> ByteMap<S> {
    /// Replaces the value of a key in place, and its checksum. It must take as many bytes as the old one
    /// does; of a compressed map, that is after compression.
    ///
    /// This is for memory, and not crash-safe: value and checksum are two things to write.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a key that is not there, [`ErrorKind::InvalidRecord`] for a value of
    /// another length, and [`ErrorKind::Checksum`] for a damaged index. All bytes stay as they are then.
    pub fn set(&mut self, key: u64, value: &[u8]) -> Result<()> {
        let (start, stored) = self.change(key, value)?;
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let place = self.source.as_mut().get_mut(start..start.saturating_add(stored.len()));
        let Some(place) = place else {
            let why = "the source gives fewer bytes to write than to read".into();
            return Err(Error::new(ErrorKind::InvalidOptions { why }).of(key.to_string()));
        };
        place.copy_from_slice(&stored);
        Ok(())
    }
}

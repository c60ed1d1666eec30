//! Integers to integers.

use std::collections::BTreeMap;

use super::head::{ENTRY, Head, Kind, MapFormat, PAGE, PAGE_ENTRIES};
use super::index::{self, Index};
use super::packing::Packing;
use super::slices::Slices;
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Result};

/// A map of `u64` to `u64` in one byte string: 32 bytes, 16 bytes an entry, and 4 bytes for each 256 entries.
///
/// It is used as it lies there, in memory, in a mapped file or in a [`Window`](super::Window) of either: to
/// open it reads the header, and a search reads the pages on its way and compares each with its checksum the
/// first time. Files of mapbuffer's `IntMap` are read as they are; they have no checksums.
///
/// ```
/// use vldepot::maps::IntMap;
///
/// let mut bytes = IntMap::build([(3, 30), (u64::MAX, 1), (0, 0)]);
/// let mut map = IntMap::open(&mut bytes[..])?;
/// assert_eq!((map.len(), map.get(u64::MAX)?, map.find(4)?), (3, 1, None));
/// map.set(3, 31)?;
/// assert_eq!(map.iter().collect::<Result<Vec<_>, _>>()?, [(0, 0), (3, 31), (u64::MAX, 1)]);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug)]
pub struct IntMap<S> {
    source: S,
    index: Index,
}

impl IntMap<()> {
    /// The bytes of a map of these pairs. Of pairs with one key, the last one is kept.
    pub fn build(pairs: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        let head = Head::new(Kind::Ints, MapFormat::Vldepot, pairs.len(), Packing::None, false);
        let entries = index::write(pairs, head.count);
        let header = head.write_own(head.data_start());
        [&header[..], entries.as_flattened(), &index::sums(&entries)].concat()
    }

    /// The same as a file of mapbuffer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for more than 2^32 - 1 entries.
    pub fn build_mapbuffer(pairs: impl IntoIterator<Item = (u64, u64)>) -> Result<Vec<u8>> {
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        let head = Head::new(Kind::Ints, MapFormat::Mapbuffer, pairs.len(), Packing::None, false);
        let entries = index::write(pairs, head.count);
        Ok([&head.write(head.data_start())?[..], entries.as_flattened()].concat())
    }
}

impl<S: Slices> IntMap<S> {
    /// Opens a map. It reads the header, and the index too if `source` is not in memory.
    ///
    /// # Errors
    /// - [`ErrorKind::NotADepot`] for other bytes.
    /// - [`ErrorKind::NewerFormat`] and [`ErrorKind::Unsupported`] for what a later version wrote.
    /// - [`ErrorKind::Checksum`] and [`ErrorKind::Damaged`] for a header that is not as it was written, and
    ///   for bytes that are too few or too many.
    /// - [`ErrorKind::Io`] if the source does not answer.
    pub fn open(source: S) -> Result<Self> {
        let index = Index::open(&source, Kind::Ints)?;
        Ok(Self { source, index })
    }

    /// The same map, whose searches do or do not compare pages with their checksums. They do by default.
    #[must_use]
    pub fn with_checks(mut self, checks: bool) -> Self {
        self.index.is_checked = checks;
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

    /// The value of a key, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] for a damaged page, naming the key that was looked for.
    pub fn find(&self, key: u64) -> Result<Option<u64>> {
        let find = || {
            let Some(position) = self.index.find(&self.source, key)? else { return Ok(None) };
            self.index.entry(&self.source, position).map(|entry| Some(index::number(entry)))
        };
        find().map_err(|error: Error| error.of(key.to_string()))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`find`](Self::find).
    pub fn get(&self, key: u64) -> Result<u64> {
        self.find(key)?.ok_or_else(|| Error::new(ErrorKind::NotFound).of(key.to_string()))
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub fn contains(&self, key: u64) -> Result<bool> {
        Ok(self.find(key)?.is_some())
    }

    /// All entries, in the order of their keys.
    ///
    /// # Errors
    /// An item is [`ErrorKind::Checksum`] if its page is damaged.
    pub fn iter(&self) -> impl Iterator<Item = Result<(u64, u64)>> {
        let entry = |position| {
            let entry = self.index.entry(&self.source, position)?;
            Ok((index::key(entry), index::number(entry)))
        };
        self.index.in_order().map(entry)
    }

    /// Looks at every byte: magic, length, the checksums of the header and of each page, and the order of
    /// keys.
    ///
    /// A flipped bit of a map of this crate is always found. mapbuffer's maps have no checksums: of them, the
    /// header, the length and the order are looked at.
    ///
    /// # Errors
    /// The first thing that is not as it was written, with the errors of [`open`](Self::open).
    pub fn validate(&self) -> Result<()> {
        self.index.validate(&self.source)
    }
}

impl<S: Slices> IntMap<S> {
    /// What setting a value changes: offsets and bytes, of the value and of the checksum of its page.
    fn changes(&self, key: u64, value: u64) -> Result<[(usize, Vec<u8>); 2]> {
        let name = |error: Error| error.of(key.to_string());
        let position = self.index.find(&self.source, key).map_err(name)?;
        let position = position.ok_or_else(|| name(Error::new(ErrorKind::NotFound)))?;
        let entries = self.index.head.entries();
        let value_at = entries.start + position * ENTRY + 8;
        let page = position / PAGE_ENTRIES;
        let value = value.to_le_bytes();
        if self.index.head.pages() == 0 {
            return Ok([(value_at, value.to_vec()), (entries.end, Vec::new())]);
        }
        self.index.check_page(&self.source, page).map_err(name)?;
        let all = self.index.entries(&self.source).map_err(name)?.as_flattened();
        let start = page * PAGE;
        let mut bytes = all[start..all.len().min(start + PAGE)].to_vec();
        let at = value_at - entries.start - start;
        bytes[at..at + 8].copy_from_slice(&value);
        let sum = crc32c(&bytes).to_le_bytes();
        Ok([(value_at, value.to_vec()), (entries.end + page * 4, sum.to_vec())])
    }

    /// [`set`](Self::set) for a source that is not in memory: `write` gets the offsets and the bytes that are
    /// to change there, first the value and then the checksum of its page.
    ///
    /// # Errors
    /// Those of [`set`](Self::set), and [`ErrorKind::Io`] if `write` fails. The map then holds the old value,
    /// and the source may hold half of the change.
    pub fn set_by(
        &mut self,
        key: u64,
        value: u64,
        mut write: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let changes = self.changes(key, value)?;
        for (at, bytes) in changes.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            write(*at as u64, bytes).map_err(|source| {
                let action = "write a value of a map".into();
                Error::new(ErrorKind::Io { action }).because(source).of(key.to_string())
            })?;
        }
        self.index.copy_changes(&changes);
        Ok(())
    }
}

impl<S: Slices + AsMut<[u8]>> IntMap<S> {
    /// Sets the value of a key that is there, in place, and the checksum of its page.
    ///
    /// This is for memory, and not crash-safe: value and checksum are two writes. If the bytes are a mapped
    /// file, and the machine stops between the two, the page is reported as damaged. One thread or process
    /// sets, and others may read something in between.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a key that is not there, and [`ErrorKind::Checksum`] for a damaged page,
    /// which stays as it is. [`ErrorKind::InvalidOptions`] if the source has no [`whole`](Slices::whole).
    pub fn set(&mut self, key: u64, value: u64) -> Result<()> {
        let refused = || {
            let why = "a map is set in place where its source gives the whole of it".into();
            Error::new(ErrorKind::InvalidOptions { why }).of(key.to_string())
        };
        let needed = self.index.head.index().end;
        if self.source.whole().is_none_or(|whole| whole.len() < needed) || self.source.as_mut().len() < needed
        {
            return Err(refused());
        }
        let changes = self.changes(key, value)?;
        let all = self.source.as_mut();
        for (at, bytes) in changes.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            all[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }
}

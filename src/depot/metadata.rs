//! Metadata of records, and of the depot itself: any serde values, read without touching a record.
//!
//! The file keeps them as MessagePack. The depot's own metadata are one map from names to values.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Depot, tagged};
use crate::codec::Codec;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::exact::{Exact, Form};
use crate::key::{AsKey, describe};

impl Depot<crate::codec::Raw> {
    /// Stores a record with metadata, whose bytes come piece by piece. Otherwise like
    /// [`put_by_pieces`](Self::put_by_pieces).
    ///
    /// With `only_new`, a record of that name is not replaced.
    ///
    /// # Errors
    /// The errors of [`put_with_metadata`](Self::put_with_metadata), and [`ErrorKind::Exists`].
    pub fn put_by_pieces_with_metadata(
        &self,
        key: impl AsKey,
        metadata: &(impl Serialize + ?Sized),
        only_new: bool,
    ) -> Result<super::PutByPieces<'_>> {
        let metadata = self.encode_metadata(metadata)?;
        self.begin_pieces(&key, Some(&metadata), only_new)
    }
}

/// Metadata of records and of the depot (feature `serde`).
impl<C: Codec> Depot<C> {
    /// Stores a record with metadata. Otherwise like [`put`](Self::put).
    ///
    /// The metadata can be read without touching the record.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use vldepot::{Depot, Raw};
    ///
    /// #[derive(Serialize, Deserialize, PartialEq, Debug)]
    /// struct Origin {
    ///     step: u64,
    ///     temperature: f64,
    /// }
    ///
    /// let depot = Depot::memory(Raw)?;
    /// depot.put_with_metadata("a", b"..", &Origin { step: 7, temperature: 300.0 })?;
    /// let origin: Option<Origin> = depot.metadata("a")?;
    /// assert_eq!(origin.unwrap().step, 7);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - The errors of [`put`](Self::put).
    /// - [`ErrorKind::InvalidRecord`] when the metadata are too large, or would not read back as they
    ///   are.
    pub fn put_with_metadata(
        &self,
        key: impl AsKey,
        item: &C::Item,
        metadata: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        let metadata = self.encode_metadata(metadata)?;
        self.encode_and_put(&key, item, Some(&metadata), false)
    }

    /// Stores a new record with metadata, and refuses to replace one. Otherwise like
    /// [`put_with_metadata`](Self::put_with_metadata).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put_new_with_metadata("a", b"first", "converged")?;
    /// assert!(depot.put_new_with_metadata("a", b"second", "not yet").is_err());
    /// assert_eq!(depot.metadata::<String>("a")?.as_deref(), Some("converged"));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`put_with_metadata`](Self::put_with_metadata), and [`ErrorKind::Exists`].
    pub fn put_new_with_metadata(
        &self,
        key: impl AsKey,
        item: &C::Item,
        metadata: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        let metadata = self.encode_metadata(metadata)?;
        self.encode_and_put(&key, item, Some(&metadata), true)
    }

    /// The record's metadata as a `T`, or `None` if it has none. This does not touch the record itself.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"..")?;
    /// assert_eq!(depot.metadata::<String>("a")?, None);
    /// depot.set_metadata("a", "converged")?;
    /// assert_eq!(depot.metadata::<String>("a")?.as_deref(), Some("converged"));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`].
    /// - [`ErrorKind::Metadata`] when the metadata are not a `T`.
    pub fn metadata<T: DeserializeOwned>(&self, key: impl AsKey) -> Result<Option<T>> {
        let name = tagged(&self.engine, &key)?;
        let Some(bytes) = self.engine.metadata(&name)? else { return Ok(None) };
        self.decode_metadata(&bytes).map(Some).map_err(|error| error.of(describe(&name)))
    }

    /// Replaces the metadata of an existing record.
    ///
    /// The record's bytes stay, but it moves to the end of the order.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"..")?;
    /// depot.set_metadata("a", &["checked", "published"])?;
    /// assert_eq!(depot.metadata::<Vec<String>>("a")?.unwrap()[1], "published");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and the errors of [`put_with_metadata`](Self::put_with_metadata).
    pub fn set_metadata(&self, key: impl AsKey, metadata: &(impl Serialize + ?Sized)) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        let metadata = self.encode_metadata(metadata)?;
        self.engine.check_metadata(&name, &metadata)?;
        let mut writer = self.engine.writer()?;
        if !writer.set_metadata(&name, &metadata)? {
            return Err(ErrorKind::NotFound.at(self.engine.path()).of(describe(&name)));
        }
        writer.commit_if_due()
    }

    /// Sets one entry of the depot's own metadata. The next commit makes it durable.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.set_depot_metadata("program", "md 1.2")?;
    /// depot.set_depot_metadata("time_step_ps", &0.002)?;
    /// assert_eq!(depot.depot_metadata("time_step_ps")?, Some(0.002));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidRecord`] when the value is too large, or would not read back as it is.
    /// - [`ErrorKind::ReadOnly`], [`ErrorKind::Forked`], [`ErrorKind::Poisoned`].
    pub fn set_depot_metadata(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let value = self.encode_metadata(value)?;
        self.change_depot_metadata(|map| {
            let found = map.binary_search_by(|(other, _)| other.as_str().cmp(name));
            match found {
                Ok(at) => map[at].1 = value,
                Err(at) => map.insert(at, (name.to_owned(), value)),
            }
            true
        })
        .map(|_| ())
    }

    /// Removes one entry of the depot's own metadata, and returns false if there was none.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.set_depot_metadata("draft", &true)?;
    /// assert!(depot.remove_depot_metadata("draft")?);
    /// assert!(!depot.remove_depot_metadata("draft")?);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`set_depot_metadata`](Self::set_depot_metadata).
    pub fn remove_depot_metadata(&self, name: &str) -> Result<bool> {
        self.change_depot_metadata(|map| {
            let n = map.len();
            map.retain(|(other, _)| other != name);
            map.len() < n
        })
    }

    /// One entry of the depot's own metadata as a `T`, or `None` if there is no entry of that name.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.set_depot_metadata("program", "md 1.2")?;
    /// assert_eq!(depot.depot_metadata::<String>("program")?.unwrap(), "md 1.2");
    /// assert_eq!(depot.depot_metadata::<String>("units")?, None);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Metadata`] when the entry is not a `T`.
    /// - [`Error::is_damage`].
    pub fn depot_metadata<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let map = self.map_of(depot_metadata(&self.engine)?.as_deref())?;
        let Some((_, value)) = map.iter().find(|(other, _)| other == name) else { return Ok(None) };
        self.decode_metadata(value).map(Some)
    }

    /// All of the depot's own metadata as a `T`.
    ///
    /// `T` is a map from strings, or a struct with a field for each entry.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.set_depot_metadata("program", "md 1.2")?;
    /// let all: BTreeMap<String, String> = depot.all_depot_metadata()?;
    /// assert_eq!(all["program"], "md 1.2");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`depot_metadata`](Self::depot_metadata).
    pub fn all_depot_metadata<T: DeserializeOwned>(&self) -> Result<T> {
        // Without entries, the metadata are the empty map.
        let bytes = depot_metadata(&self.engine)?.unwrap_or_else(|| vec![EMPTY_MAP]);
        self.map_of(Some(&bytes))?;
        self.decode_metadata(&bytes)
    }

    /// Copies the entries of another depot's own metadata that this one does not have. Returns the names of
    /// those that it has with other values, which stay.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// let (from, to) = (Depot::memory(Raw)?, Depot::memory(Raw)?);
    /// from.set_depot_metadata("program", "md 1.2")?;
    /// from.set_depot_metadata("title", "water")?;
    /// to.set_depot_metadata("title", "ice")?;
    /// assert_eq!(to.copy_depot_metadata_from(&from)?, ["title"]);
    /// assert_eq!(to.depot_metadata::<String>("program")?.as_deref(), Some("md 1.2"));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`set_depot_metadata`](Self::set_depot_metadata), and
    /// [`Error::is_damage`](crate::Error::is_damage) when the other depot's metadata cannot be read.
    pub fn copy_depot_metadata_from<D: Codec>(&self, other: &Depot<D>) -> Result<Vec<String>> {
        let theirs = other.map_of(other.engine.depot_metadata()?.as_deref())?;
        let mut differing = Vec::new();
        self.change_depot_metadata(|map| {
            let before = map.len();
            for (name, value) in theirs {
                match map.binary_search_by(|(found, _)| found.cmp(&name)) {
                    Ok(at) if map[at].1 == value => {}
                    Ok(_) => differing.push(name),
                    Err(at) => map.insert(at, (name, value)),
                }
            }
            map.len() > before
        })?;
        Ok(differing)
    }

    /// Names of the entries of the depots' own metadata that only one of them has, or that differ.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// let (one, other) = (Depot::memory(Raw)?, Depot::memory(Raw)?);
    /// one.set_depot_metadata("title", "water")?;
    /// other.set_depot_metadata("title", "ice")?;
    /// other.set_depot_metadata("program", "md 1.2")?;
    /// assert_eq!(one.differing_depot_metadata(&other)?, ["program", "title"]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`](crate::Error::is_damage) when the metadata of one cannot be read.
    pub fn differing_depot_metadata<D: Codec>(&self, other: &Depot<D>) -> Result<Vec<String>> {
        let ours = self.map_of(self.engine.depot_metadata()?.as_deref())?;
        let theirs = other.map_of(other.engine.depot_metadata()?.as_deref())?;
        let without = |entries: &Entries, others: &Entries| -> Vec<String> {
            entries.iter().filter(|entry| !others.contains(entry)).map(|(name, _)| name.clone()).collect()
        };
        let mut names = [without(&ours, &theirs), without(&theirs, &ours)].concat();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Whether a record has the same metadata as one of another depot. They are compared as they are stored.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// let (one, other) = (Depot::memory(Raw)?, Depot::memory(Raw)?);
    /// one.put_with_metadata("a", b"..", "converged")?;
    /// other.put("a", b"..")?;
    /// assert!(!one.has_metadata_of("a", &other, "a")?);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and [`Error::is_damage`](crate::Error::is_damage).
    pub fn has_metadata_of<D: Codec>(
        &self,
        key: impl AsKey,
        other: &Depot<D>,
        other_key: impl AsKey,
    ) -> Result<bool> {
        let ours = self.engine.metadata(&tagged(&self.engine, &key)?)?;
        let theirs = other.engine.metadata(&tagged(&other.engine, &other_key)?)?;
        Ok(ours == theirs)
    }

    /// Changes the depot's own metadata, and stores them if `change` returns true.
    fn change_depot_metadata(&self, change: impl FnOnce(&mut Entries) -> bool) -> Result<bool> {
        // Reads and writes under one lock. Otherwise two threads could lose one of two entries.
        let mut writer = self.engine.writer()?;
        let mut map = match writer.new_metadata() {
            Some(new) => self.map_of(Some(new))?,
            None => self.map_of(self.engine.committed_metadata()?.as_deref())?,
        };
        if !change(&mut map) {
            return Ok(false);
        }
        let encoded = write_map(&map);
        // The map is one more level around its values.
        self.engine.check_metadata(b"", &encoded)?;
        if depth_of(&encoded) > Form::MessagePack.max_depth() {
            let why =
                format!("arrays and maps more than {} inside each other", Form::MessagePack.max_depth());
            return Err(ErrorKind::InvalidRecord { why }.at(self.engine.path()).of("metadata"));
        }
        writer.set_depot_metadata(encoded)?;
        Ok(true)
    }

    pub(super) fn encode_metadata(&self, metadata: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
        rmp_serde::to_vec(&Exact(metadata, Form::MessagePack)).map_err(|error| {
            ErrorKind::InvalidRecord { why: error.to_string() }.at(self.engine.path()).of("metadata")
        })
    }

    fn decode_metadata<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        rmp_serde::from_slice(bytes)
            .map_err(|error| ErrorKind::Metadata { why: error.to_string() }.at(self.engine.path()))
    }

    fn map_of(&self, stored: Option<&[u8]>) -> Result<Entries> {
        map_of(&self.engine, stored)
    }
}

fn map_of(engine: &Engine, stored: Option<&[u8]>) -> Result<Entries> {
    let Some(stored) = stored else { return Ok(Entries::new()) };
    read_map(stored).ok_or_else(|| {
        let found = format!("{} bytes of something else", stored.len());
        let offset = engine.metadata_offset();
        Error::damaged(engine.path(), Part::Metadata, offset, "a MessagePack map of names", found)
    })
}

/// MessagePack of the depot's own metadata. Those of a set are the entries of all its depots, of which the
/// newest has the last word.
pub(crate) fn depot_metadata(engine: &Engine) -> Result<Option<Vec<u8>>> {
    if !engine.is_set() {
        return engine.depot_metadata();
    }
    let mut all = BTreeMap::new();
    for stored in engine.metadata_of_members()? {
        all.extend(map_of(engine, Some(&stored))?);
    }
    Ok((!all.is_empty()).then(|| write_map(&all.into_iter().collect())))
}

/// Names, each with its value in MessagePack.
type Entries = Vec<(String, Vec<u8>)>;

/// MessagePack of an empty map.
const EMPTY_MAP: u8 = 0x80;

/// Lengths of a value: bytes of its head, bytes after the head that are no values, and values after
/// that.
///
/// The table is that of the [MessagePack
/// specification](https://github.com/msgpack/msgpack/blob/master/spec.md).
fn shape_of(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    let marker = *bytes.first()?;
    let number = |size: usize| -> Option<usize> {
        let raw = bytes.get(1..=size)?;
        Some(raw.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    };
    let low = |mask: u8| usize::from(marker & mask);
    Some(match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (1, 0, 0),
        0x80..=0x8f => (1, 0, 2 * low(0x0f)),
        0x90..=0x9f => (1, 0, low(0x0f)),
        0xa0..=0xbf => (1, low(0x1f), 0),
        0xc1 => return None,
        0xc4 | 0xd9 => (2, number(1)?, 0),
        0xc5 | 0xda => (3, number(2)?, 0),
        0xc6 | 0xdb => (5, number(4)?, 0),
        0xc7 => (2, number(1)? + 1, 0),
        0xc8 => (3, number(2)? + 1, 0),
        0xc9 => (5, number(4)? + 1, 0),
        0xca | 0xce | 0xd2 => (1, 4, 0),
        0xcb | 0xcf | 0xd3 => (1, 8, 0),
        0xcc | 0xd0 => (1, 1, 0),
        0xcd | 0xd1 => (1, 2, 0),
        0xd4..=0xd8 => (1, 1 + (1 << (marker - 0xd4)), 0),
        0xdc => (3, 0, number(2)?),
        0xdd => (5, 0, number(4)?),
        0xde => (3, 0, 2 * number(2)?),
        0xdf => (5, 0, number(4)?.checked_mul(2)?),
    })
}

/// Length in bytes of the first value in `bytes`, and how deep arrays and maps nest in it.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut depth) = (0, 0);
    // How many values are still to come, for each array or map that is open.
    let mut open = vec![1_usize];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let (head, skipped, values) = shape_of(bytes.get(at..)?)?;
        at = at.checked_add(head)?.checked_add(skipped).filter(|&at| at <= bytes.len())?;
        let is_container = matches!(bytes[at - head - skipped], 0x80..=0x9f | 0xdc..=0xdf);
        if is_container {
            // Each value takes at least one byte. So a forged count cannot ask for more than there is.
            if values > bytes.len() - at {
                return None;
            }
            open.push(values);
            depth = depth.max(open.len() - 1);
        }
    }
    Some((at, depth))
}

fn depth_of(bytes: &[u8]) -> usize {
    measure(bytes).map_or(usize::MAX, |(_, depth)| depth)
}

/// The entries of a map with string keys, in their order. `None` for anything else.
fn read_map(bytes: &[u8]) -> Option<Entries> {
    if !matches!(bytes.first()?, 0x80..=0x8f | 0xde | 0xdf) || measure(bytes)?.0 != bytes.len() {
        return None;
    }
    let (mut at, _, values) = shape_of(bytes)?;
    let mut entries = Entries::new();
    for _ in 0..values / 2 {
        let (head, len, _) = shape_of(bytes.get(at..)?)?;
        if !matches!(bytes[at], 0xa0..=0xbf | 0xd9..=0xdb) {
            return None;
        }
        let name = std::str::from_utf8(bytes.get(at + head..at + head + len)?).ok()?.to_owned();
        at += head + len;
        let (len, _) = measure(&bytes[at..])?;
        entries.push((name, bytes[at..at + len].to_vec()));
        at += len;
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Some(entries)
}

fn write_map(entries: &Entries) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, entries.len(), 16, EMPTY_MAP, [None, Some(0xde), Some(0xdf)]);
    for (name, value) in entries {
        head(&mut out, name.len(), 32, 0xa0, [Some(0xd9), Some(0xda), Some(0xdb)]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
    out
}

/// Writes the shortest head for a length.
///
/// A length under `fixed` goes into the marker itself. A longer one follows the marker in one, two or
/// four bytes.
#[expect(clippy::big_endian_bytes, reason = "MessagePack's numbers are big-endian")]
fn head(out: &mut Vec<u8>, len: usize, fixed: u8, marker: u8, markers: [Option<u8>; 3]) {
    match (u8::try_from(len), u16::try_from(len), markers) {
        (Ok(len), ..) if len < fixed => out.push(marker | len),
        (Ok(len), _, [Some(marker), ..]) => out.extend_from_slice(&[marker, len]),
        (_, Ok(len), [_, Some(marker), _]) => {
            out.push(marker);
            out.extend_from_slice(&len.to_be_bytes());
        }
        (.., [.., last]) => {
            out.extend(last);
            out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,300}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,40}", inner, 0..20)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_map_is_taken_apart_and_put_together_as_the_library_writes_it(
            map in prop::collection::btree_map("\\PC{0,40}", value(), 0..40)
        ) {
            let bytes = rmp_serde::to_vec(&map).unwrap();
            let entries = read_map(&bytes).unwrap();
            prop_assert_eq!(entries.len(), map.len());
            for ((name, value), (expected, of)) in entries.iter().zip(&map) {
                prop_assert_eq!(name, expected);
                prop_assert_eq!(value, &rmp_serde::to_vec(of).unwrap());
            }
            prop_assert_eq!(write_map(&entries), bytes);
        }

        #[test]
        fn noise_is_no_map_or_one_of_its_length(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = measure(&bytes);
            if let Some(entries) = read_map(&bytes) {
                prop_assert!(entries.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn bytes_numbers_and_extensions_are_measured() {
        // Binary of 8, 16 and 32 bits of length, f32, fixed and free extensions.
        for (bytes, len) in [
            (&[0xc4, 2, 1, 2, 9][..], 4),
            (&[0xc5, 0, 1, 7, 9], 4),
            (&[0xc6, 0, 0, 0, 1, 7, 9], 6),
            (&[0xca, 0, 0, 0, 0, 9], 5),
            (&[0xd6, 1, 0, 0, 0, 0, 9], 6),
            (&[0xc7, 3, 5, 1, 2, 3, 9], 6),
            (&[0xdc, 0, 2, 1, 2, 9], 5),
        ] {
            assert_eq!(measure(bytes).map(|(len, _)| len), Some(len), "{bytes:x?}");
        }
        for bytes in
            [&[0xc1][..], &[], &[0x92, 1], &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0xdb, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(measure(bytes), None, "{bytes:x?}");
        }
        let deep: BTreeMap<_, _> = [("a", json!([[1], {"b": []}]))].into();
        assert_eq!(depth_of(&rmp_serde::to_vec(&deep).unwrap()), 4);
    }
}

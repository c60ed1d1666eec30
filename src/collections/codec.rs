//! The record of a collection: where each object ends, then the objects.
//!
//! ```text
//! 0        4      n, the number of objects
//! 4        4 n    the end of each object, in bytes from the start of the first
//! 4 + 4 n         the objects, one after the other
//! ```
//!
//! Numbers are little-endian and unsigned. Nothing follows the last object.

use std::borrow::Cow;
use std::ops::Range;

use crate::{Codec, CodecError, Scalar, ScalarField};

/// The column that counts objects.
pub(super) const COUNT: &str = "objects";

/// Bytes of a number.
const WORD: usize = 4;

/// A collection that is being put together.
///
/// ```
/// use vldepot::collections::NewCollection;
/// let mut new = NewCollection::new().with_metadata(b"label");
/// new.push(b"an object");
/// assert_eq!((new.len(), new.metadata()), (1, &b"label"[..]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewCollection {
    metadata: Vec<u8>,
    objects: Vec<u8>,
    ends: Vec<u64>,
}

impl NewCollection {
    /// A collection without objects and metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the metadata: any bytes.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Vec<u8>>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Sets the metadata: any bytes.
    pub fn set_metadata(&mut self, metadata: impl Into<Vec<u8>>) {
        self.metadata = metadata.into();
    }

    /// Adds an object after the others. It may be empty.
    pub fn push(&mut self, object: impl AsRef<[u8]>) {
        self.objects.extend_from_slice(object.as_ref());
        self.ends.push(self.objects.len() as u64);
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The metadata.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// Bytes of all objects together.
    pub(super) fn object_bytes(&self) -> usize {
        self.objects.len()
    }

    /// Makes room for an object of `len` bytes after the others, which the caller fills.
    pub(super) fn push_zeros(&mut self, len: usize) -> &mut [u8] {
        let start = self.objects.len();
        self.objects.resize(start + len, 0);
        self.ends.push(self.objects.len() as u64);
        &mut self.objects[start..]
    }

    /// The collection without what it holds. Keeps its memory.
    pub(super) fn clear(&mut self) {
        self.metadata.clear();
        self.objects.clear();
        self.ends.clear();
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for NewCollection {
    fn from_iter<I: IntoIterator<Item = B>>(objects: I) -> Self {
        let mut new = Self::new();
        objects.into_iter().for_each(|object| new.push(object));
        new
    }
}

/// The codec of collections. Metadata are not its matter: they are those of the record.
///
/// A depot that keeps the column `objects` has the number of objects in its index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionCodec;

impl Codec for CollectionCodec {
    type Item = NewCollection;
    type View<'a> = ObjectList<'a>;
    const ID: &'static str = "collection";
    const ALIGN: usize = 4;

    fn element_size(&self) -> usize {
        1
    }

    fn scalars(&self) -> &[ScalarField] {
        const { &[ScalarField::integer(COUNT)] }
    }

    fn scalar(&self, view: &ObjectList<'_>, name: &str) -> Option<Scalar> {
        let count = i64::try_from(view.len()).ok()?;
        (name == COUNT).then_some(Scalar::Integer(count))
    }

    fn encode(&self, item: &NewCollection, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let too_large = |_| {
            let (n, bytes) = (item.len(), item.object_bytes());
            CodecError::invalid(format!(
                "{n} objects of {bytes} bytes together: a collection has less than 4 GiB"
            ))
        };
        out.reserve(WORD * (item.len() + 1) + item.objects.len());
        out.extend_from_slice(&u32::try_from(item.len()).map_err(too_large)?.to_le_bytes());
        for end in &item.ends {
            out.extend_from_slice(&u32::try_from(*end).map_err(too_large)?.to_le_bytes());
        }
        out.extend_from_slice(&item.objects);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<ObjectList<'a>, CodecError> {
        let len = head(bytes, bytes.len())?;
        let (ends, objects) = bytes[WORD..].split_at(WORD * len);
        let view = ObjectList { ends, objects };
        let mut before = 0;
        for end in view.ends() {
            if end < before {
                return Err(CodecError::invalid(format!("an object that ends at {end} starts at {before}")));
            }
            before = end;
        }
        if before != objects.len() {
            return Err(CodecError::length("the objects of a collection", before, objects.len()));
        }
        Ok(view)
    }
}

fn word(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// How many objects a record of `len` bytes has that starts with `bytes`.
pub(super) fn head(bytes: &[u8], len: usize) -> Result<usize, CodecError> {
    let Some(count) = bytes.get(..WORD) else {
        return Err(CodecError::length("the number of objects of a collection", WORD, bytes.len()));
    };
    let count = word(count);
    let least = count.checked_add(1).and_then(|words| words.checked_mul(WORD));
    match least {
        Some(least) if least <= len => Ok(count),
        _ => Err(CodecError::invalid(format!("{count} objects in a collection of {len} bytes"))),
    }
}

/// Bytes of the head that say how many objects there are.
pub(super) const HEAD: Range<usize> = 0..WORD;

/// Bytes of the head that say where object `n` starts and ends.
pub(super) fn ends_of(n: usize) -> Range<usize> {
    // The end of the object before it, or the number of objects.
    WORD * n..WORD * (n + 2)
}

/// Where object `n` of `count` lies in a record of `len` bytes. `ends` are the bytes at [`ends_of`].
pub(super) fn place_of(n: usize, count: usize, len: usize, ends: &[u8]) -> Result<Range<usize>, CodecError> {
    let (before, end) = ends.split_at(WORD);
    let (start, end) = (if n == 0 { 0 } else { word(before) }, word(end));
    let first = WORD * (count + 1);
    if start > end || end > len - first {
        let why = format!("object {n} lies at {start} to {end} of {} bytes", len - first);
        return Err(CodecError::invalid(why));
    }
    Ok(first + start..first + end)
}

/// The objects of a collection, borrowed from its record.
#[derive(Debug, Clone, Copy)]
pub struct ObjectList<'a> {
    ends: &'a [u8],
    objects: &'a [u8],
}

impl<'a> ObjectList<'a> {
    fn ends(&self) -> impl Iterator<Item = usize> + use<'a> {
        self.ends.chunks_exact(WORD).map(word)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ends.len() / WORD
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Object `n`, counted from 0.
    pub fn get(&self, n: usize) -> Option<&'a [u8]> {
        let end = |n: usize| Some(word(self.ends.get(WORD * n..WORD * (n + 1))?));
        let start = if n == 0 { 0 } else { end(n - 1)? };
        self.objects.get(start..end(n)?)
    }

    /// All objects, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let (view, mut start) = (*self, 0);
        self.ends.chunks_exact(WORD).map(move |end| {
            let range = start..word(end);
            start = range.end;
            view.objects.get(range).unwrap_or_default()
        })
    }

    /// The same, as a collection of its own.
    pub fn to_collection(&self, metadata: impl Into<Cow<'a, [u8]>>) -> NewCollection {
        let new: NewCollection = self.iter().collect();
        new.with_metadata(metadata.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::codec_conformance;

    fn samples() -> Vec<NewCollection> {
        vec![
            NewCollection::new(),
            [b""].into_iter().collect(),
            [&b"a"[..], b"", b"bcd"].into_iter().collect(),
            (0..1000_u32).map(|n| vec![n as u8; n as usize % 97]).collect(),
        ]
    }

    #[test]
    fn it_keeps_the_law_of_codecs() {
        codec_conformance(CollectionCodec, &samples(), |item, view| {
            view.len() == item.len() && view.to_collection(item.metadata().to_vec()) == *item
        });
    }

    proptest! {
        #[test]
        fn objects_come_back_one_by_one_and_all_together(
            objects in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..50)
        ) {
            let mut bytes = Vec::new();
            CollectionCodec.encode(&objects.iter().collect(), &mut bytes).unwrap();
            let view = CollectionCodec.view(&bytes).unwrap();
            prop_assert!(view.iter().eq(objects.iter().map(|object| &object[..])));
            for (n, object) in objects.iter().enumerate() {
                prop_assert_eq!(view.get(n).unwrap(), &object[..]);
                let count = head(&bytes[HEAD], bytes.len()).unwrap();
                let place = place_of(n, count, bytes.len(), &bytes[ends_of(n)]).unwrap();
                prop_assert_eq!(&bytes[place], &object[..]);
            }
            prop_assert!(view.get(objects.len()).is_none());
        }

        #[test]
        fn noise_is_refused_or_viewed(bytes in prop::collection::vec(0..8_u8, 0..60)) {
            if let Ok(view) = CollectionCodec.view(&bytes) {
                prop_assert_eq!(view.iter().map(<[u8]>::len).sum::<usize>(), view.objects.len());
            }
        }
    }
}

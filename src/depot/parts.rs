//! Byte ranges of records: only the blocks that hold a range are decoded.
//!
//! A codec that reads a field out of a large record asks [`Parts`] for the bytes. It sees neither blocks nor
//! chunks.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::record::is_aligned;
use super::{Depot, tagged};
use crate::buffer::{AlignedBuf, Bytes};
use crate::codec::Codec;
use crate::engine::{Engine, Known, OpenRecord, Seen, batch, in_record};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::index::Location;
use crate::key::{AsKey, describe};

/// Shorter records lie in a block or two, and are read whole.
const LEAST: u64 = 64 << 10;

/// One record, to read parts of. See [`Depot::parts`].
///
/// Only the bytes that you ask for are read. They are kept, so no block is decoded twice for one record.
///
/// ```
/// use vldepot::{Depot, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// depot.put("a", &[7; 1_000_000])?;
/// depot.commit()?;
/// let mut parts = depot.parts("a")?;
/// assert_eq!(parts.bytes(0..2)?, [7; 2]);
/// assert_eq!(parts.bytes(500_000..500_003)?, [7; 3]);
/// # Ok::<(), vldepot::Error>(())
/// ```
pub struct Parts<'p> {
    engine: &'p Engine,
    /// The tagged name.
    name: Cow<'p, [u8]>,
    location: Location,
    seen: Seen,
    /// The alignment of the codec's records.
    align: usize,
    /// Ranges that were read, each with its start in the record.
    known: Vec<(usize, Bytes)>,
    whole: Option<Whole<'p>>,
    /// The record, if its fields are stored apart, once that was looked for.
    apart: Option<OpenRecord>,
    looked_for_fields: bool,
}

/// All bytes of a record.
enum Whole<'p> {
    Shared(Bytes),
    /// The bytes lie in a buffer that is used again for other records.
    Passing(&'p [u8]),
}

impl<'p> Whole<'p> {
    /// Bytes that another program placed may lie at any address, but views need aligned bytes.
    fn of(bytes: &'p [u8], align: usize) -> Self {
        if is_aligned(bytes, align) { Self::Passing(bytes) } else { Self::Shared(Bytes::copy_of(bytes)) }
    }
}

impl std::ops::Deref for Whole<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Passing(bytes) => bytes,
        }
    }
}

impl<'p> Parts<'p> {
    fn new(engine: &'p Engine, name: impl Into<Cow<'p, [u8]>>, location: Location, align: usize) -> Self {
        let seen = Seen::default();
        Self {
            engine,
            name: name.into(),
            location,
            seen,
            align,
            known: Vec::new(),
            whole: None,
            apart: None,
            looked_for_fields: false,
        }
    }

    /// Length of the record in bytes.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert_eq!(depot.parts("a")?.len(), 5);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.location.in_memory()
    }

    /// Whether the record has no bytes.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"")?;
    /// assert!(depot.parts("a")?.is_empty());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the whole record is in memory. If so, reading any part of it costs nothing.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let mut parts = depot.parts("a")?;
    /// assert!(!parts.is_whole());
    /// parts.whole()?;
    /// assert!(parts.is_whole());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// The bytes in `range` of the record.
    ///
    /// This compares the checksums of the blocks that hold the bytes. The record's own checksum covers
    /// the whole record. It is compared only when the whole record is read: when it is not compressed,
    /// or not in the file yet.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let mut parts = depot.parts("a")?;
    /// assert_eq!(parts.bytes(1..3)?, b"ir");
    /// assert!(parts.bytes(3..6).is_err());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::is_damage`].
    /// - [`ErrorKind::OutsideRecord`](crate::ErrorKind::OutsideRecord) when the range ends after the
    ///   record, or before its own start.
    pub fn bytes(&mut self, range: Range<usize>) -> Result<&[u8]> {
        self.check(&range)?;
        if self.known(&range).is_none() && !range.is_empty() {
            let overlaps =
                |(start, bytes): &(usize, Bytes)| *start < range.end && range.start < start + bytes.len();
            if self.known.iter().any(overlaps) {
                let mut copy = vec![0; range.len()];
                self.copy(range.clone(), &mut copy)?;
                self.known.push((range.start, Bytes::copy_of(&copy)));
            } else {
                self.read(range.clone())?;
            }
        }
        if range.is_empty() {
            return Ok(&[]);
        }
        self.known(&range).ok_or_else(|| self.fewer(&range))
    }

    /// Where the first of the fields starts that are [stored apart](crate::Layout::fields_apart), and where
    /// what describes them ends.
    ///
    /// `None` if no field is. If one is, reading a field decodes that field alone.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Raw};
    ///
    /// let frames = Depot::memory(AtomicFrameCodec::new())?;
    /// for n in 0..200_u8 {
    ///     let positions: Vec<_> = (0..100).map(|i| [(f32::from(n) + i as f32).sin(); 3]).collect();
    ///     frames.put(n, &AtomicFrame::new().positions(&positions))?;
    /// }
    /// assert_eq!(frames.parts(7)?.first_field()?, None); // in memory, as it was put
    /// frames.commit()?;
    /// assert!(frames.parts(7)?.first_field()?.is_some_and(|start| start < 200));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`].
    pub fn first_field(&mut self) -> Result<Option<usize>> {
        let engine = self.engine;
        let first = self.apart()?.map(|open| engine.first_field(open));
        first.unwrap_or(Ok(None)).map_err(|error| in_record(&self.name, error))
    }

    /// The record, if its fields are stored apart, and it was not read whole.
    fn apart(&mut self) -> Result<Option<&OpenRecord>> {
        if !self.looked_for_fields && self.whole.is_none() {
            let open = self.engine.open_parts(&self.location);
            self.apart = open.map_err(|error| in_record(&self.name, error))?;
            self.looked_for_fields = true;
        }
        Ok(self.apart.as_ref().filter(|_| self.whole.is_none()))
    }

    /// Copies the bytes in `range` of the record to `out`, which must have the same length.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let mut out = [0; 2];
    /// depot.parts("a")?.copy(1..3, &mut out)?;
    /// assert_eq!(&out, b"ir");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`bytes`](Self::bytes).
    ///
    /// # Panics
    /// When the lengths of `out` and the range differ.
    pub fn copy(&mut self, range: Range<usize>, out: &mut [u8]) -> Result<()> {
        assert_eq!(range.len(), out.len(), "a range and a buffer of one length");
        self.check(&range)?;
        let overlaps =
            |(start, bytes): &(usize, Bytes)| *start < range.end && range.start < start + bytes.len();
        // What is stored apart is decoded to where it is wanted.
        if !self.known.iter().any(overlaps) {
            let engine = self.engine;
            let copied = self.apart()?.map(|open| engine.copy_part(open, range.start, out));
            if let Some(copied) = copied {
                return copied.map_err(|error| in_record(&self.name, error));
            }
        }
        let mut done = 0;
        while done < out.len() {
            let at = range.start + done;
            if self.from(at).is_none() {
                let next = self.known.iter().map(|(start, _)| *start).filter(|&start| start > at).min();
                self.read(at..range.end.min(next.unwrap_or(range.end)))?;
            }
            let bytes = self.from(at).ok_or_else(|| self.fewer(&range))?;
            let n = bytes.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&bytes[..n]);
            done += n;
        }
        Ok(())
    }

    /// Reads the whole record, and compares its checksum.
    ///
    /// The bytes start at a multiple of the codec's [`ALIGN`](Codec::ALIGN), so they can be viewed.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let mut parts = depot.parts("a")?;
    /// assert_eq!(parts.whole()?, b"first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`Depot::get`].
    pub fn whole(&mut self) -> Result<&[u8]> {
        if self.whole.is_none() {
            let bytes = self.engine.read_seen_called(&self.name, &self.location, &self.seen)?;
            let aligned = is_aligned(&bytes, self.align);
            self.whole = Some(Whole::Shared(if aligned { bytes } else { Bytes::copy_of(&bytes) }));
            self.known.clear();
        }
        Ok(self.whole.as_deref().unwrap_or_default())
    }

    fn check(&self, range: &Range<usize>) -> Result<()> {
        if range.start <= range.end && range.end <= self.len() {
            return Ok(());
        }
        Err(ErrorKind::OutsideRecord { end: range.end as u64, len: self.len() as u64 }
            .at(self.engine.path())
            .of(describe(&self.name)))
    }

    /// The error when a read gave fewer bytes than the index says there are.
    fn fewer(&self, range: &Range<usize>) -> Error {
        let expected = format!("bytes {range:?} of a record");
        Error::damaged(self.engine.path(), Part::File, 0, expected, "fewer").of(describe(&self.name))
    }

    /// The bytes from `at` on that are in memory.
    fn from(&self, at: usize) -> Option<&[u8]> {
        if let Some(whole) = &self.whole {
            return whole.get(at..).filter(|bytes| !bytes.is_empty());
        }
        let holds = |(start, bytes): &&(usize, Bytes)| (*start..start + bytes.len()).contains(&at);
        self.known.iter().find(holds).and_then(|(start, bytes)| bytes.get(at - start..))
    }

    /// The bytes in `range`, if they are in memory one after the other.
    fn known(&self, range: &Range<usize>) -> Option<&[u8]> {
        if let Some(whole) = &self.whole {
            return whole.get(range.clone());
        }
        let part = |(start, bytes): &'_ (usize, Bytes)| {
            let from = range.start.checked_sub(*start)?;
            (from + range.len() <= bytes.len()).then_some(from)
        };
        let (number, from) = self.known.iter().enumerate().find_map(|(n, known)| Some((n, part(known)?)))?;
        self.known[number].1.get(from..from + range.len())
    }

    /// Decodes the blocks that hold `range`. Reads the whole record if that costs no more.
    fn read(&mut self, range: Range<usize>) -> Result<()> {
        let engine = self.engine;
        if let Some(open) = self.apart()? {
            let mut buf = AlignedBuf::any(range.len());
            let read = engine.copy_part(open, range.start, &mut buf);
            read.map_err(|error| in_record(&self.name, error))?;
            let bytes = Bytes::from_heap(Arc::new(buf), 0..range.len());
            self.known.push((range.start, bytes));
            return Ok(());
        }
        let read = self.engine.part(&self.location, range);
        match read.map_err(|error| in_record(&self.name, error))? {
            Some(part) => self.known.push(part),
            None => {
                self.whole()?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("len", &self.len()).field("is_whole", &self.is_whole()).finish()
    }
}

/// What [`Depot::visit_parts`] does after it showed a record.
///
/// ```
/// use vldepot::{Depot, Raw, Then};
///
/// let depot = Depot::memory(Raw)?;
/// depot.put("a", &[1; 100_000])?;
/// let mut sum = 0;
/// depot.visit_parts(&["a"], |_, parts| {
///     if !parts.is_whole() {
///         return Ok(Then::Whole);
///     }
///     sum += parts.whole()?.iter().map(|&byte| u64::from(byte)).sum::<u64>();
///     Ok(Then::Next)
/// })?;
/// assert_eq!(sum, 100_000);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// Go on with the next record.
    Next,
    /// Show the record again, with all of its bytes read. Such records are read together.
    Whole,
}

/// Reading parts of records.
impl<C: Codec> Depot<C> {
    /// Looks up a record to read parts of it.
    ///
    /// Only the blocks that hold a part are decoded. This is worth it for records of many blocks, from
    /// about 64 KiB on.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("a", &[7; 1_000_000])?;
    /// depot.commit()?;
    /// let mut parts = depot.parts("a")?;
    /// assert_eq!(parts.len(), 1_000_000);
    /// assert_eq!(parts.bytes(500_000..500_003)?, [7; 3]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    pub fn parts(&self, key: impl AsKey) -> Result<Parts<'_>> {
        let name = tagged(&self.engine, &key)?;
        let location = self.engine.location(&name)?;
        Ok(Parts::new(&self.engine, name.to_vec(), location, C::ALIGN))
    }

    /// Shows each record to `job`, to read parts of it.
    ///
    /// `job` gets the number of the record's key. The records come in the order in which they are
    /// stored.
    ///
    /// Records of less than 64 KiB are read whole and together, so every block is decoded once. From a
    /// larger record, only the parts that `job` asks for are read. If `job` needs most of a record, it
    /// can return [`Then::Whole`]. Then the record is shown again after the others, and is read like
    /// those of [`visit_many`](Self::visit_many). When the same key follows again, `job` gets the parts
    /// that are in memory already.
    ///
    /// ```
    /// use vldepot::{Depot, Raw, Then};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", &[1; 100_000])?;
    /// depot.put("b", &[2; 10])?;
    /// let mut firsts = [0; 2];
    /// depot.visit_parts(&["b", "a"], |number, parts| {
    ///     firsts[number] = parts.bytes(0..1)?[0];
    ///     Ok(Then::Next)
    /// })?;
    /// assert_eq!(firsts, [2, 1]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`get_many`](Self::get_many) and of `job`. The error is that of the first key that
    /// is missing, or else of the first record that failed. The other records have been shown by then.
    pub fn visit_parts<K: AsKey>(
        &self,
        keys: &[K],
        mut job: impl FnMut(usize, &mut Parts<'_>) -> Result<Then>,
    ) -> Result<()> {
        let names = self.names(keys)?;
        let (wanted, known) = self.engine.locations(&names)?;
        let mut failed: Option<(usize, Error)> = None;
        let mut fail = |number: usize, error: Error| {
            if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                let error = error.of(describe(wanted[number].0));
                failed = Some((number, if error.path().is_some() { error } else { error.at(self.path()) }));
            }
        };
        let (mut large, mut rest): (Vec<usize>, Vec<usize>) =
            (0..wanted.len()).partition(|&number| wanted[number].1.length >= LEAST);
        large.sort_unstable_by_key(|&number| (wanted[number].1.address, number));
        let mut before: Option<Parts<'_>> = None;
        for number in large {
            let (name, location) = wanted[number];
            let same = before.take().filter(|before| before.location == location);
            let new = || Parts {
                seen: known.seen.of(&[number]),
                ..Parts::new(&self.engine, name, location, C::ALIGN)
            };
            let mut parts = same.unwrap_or_else(new);
            match job(number, &mut parts) {
                Ok(Then::Next) => {}
                Ok(Then::Whole) => rest.push(number),
                Err(error) => fail(number, error),
            }
            before = Some(parts);
        }
        // The error to give is that of the first key, so records go in the order of the keys.
        rest.sort_unstable();
        let whole: Vec<_> = rest.iter().map(|&number| wanted[number]).collect();
        let known = Known { seen: known.seen.of(&rest), ..known };
        batch::visit(&self.engine, &whole, &known, &mut |nth, bytes| {
            let (name, location) = whole[nth];
            let shown = bytes.and_then(|bytes| {
                let mut parts = Parts::new(&self.engine, name, location, C::ALIGN);
                parts.whole = Some(Whole::of(bytes, C::ALIGN));
                job(rest[nth], &mut parts)
            });
            if let Err(error) = shown {
                fail(rest[nth], error);
            }
        });
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;
    use crate::{Layout, OpenOptions, Raw};

    fn noise(n: u32, len: usize) -> Vec<u8> {
        let mut state = n.wrapping_mul(2_654_435_761) | 1;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            // Half of the bits are noise, so that it compresses.
            (state >> 9) as u8 & 0x55
        };
        (0..len).map(|_| step()).collect()
    }

    fn depot(layout: Layout) -> Depot<Raw> {
        let depot = Depot::builder(Raw).layout(layout).memory().unwrap();
        for n in 0..40 {
            depot.put(n, &noise(n, [10, 300, 70_000, 200_000][n as usize % 4])).unwrap();
        }
        Depot::from_bytes(&depot.to_bytes().unwrap(), Raw).unwrap()
    }

    #[test]
    fn every_range_of_every_record_is_that_of_the_whole() {
        let small = || Layout::default().with_chunk_size(1 << 18).with_block_size(1 << 12);
        for layout in [small(), small().with_compression(crate::Compression::none()), Layout::fast()] {
            let depot = depot(layout);
            for n in 0..40_u32 {
                let whole = noise(n, [10, 300, 70_000, 200_000][n as usize % 4]);
                let mut parts = depot.parts(n).unwrap();
                assert_eq!(parts.len(), whole.len());
                for (start, end) in [(0, 3), (7, 9), (4000, 4200), (100, 60_000), (4096, 8192), (0, 200_000)]
                {
                    let range = start.min(whole.len())..end.min(whole.len());
                    assert!(parts.bytes(range.clone()).unwrap() == &whole[range.clone()], "{n}: {range:?}");
                    let mut out = vec![0; range.len()];
                    parts.copy(range.clone(), &mut out).unwrap();
                    assert!(out == whole[range]);
                }
                assert!(parts.whole().unwrap() == whole && parts.is_whole());
                let error = parts.bytes(0..whole.len() + 1).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::OutsideRecord { .. }), "{error}");
                assert!(error.to_string().ends_with(&format!("and it has {}", whole.len())), "{error}");
            }
        }
    }

    #[test]
    fn a_damaged_block_costs_the_parts_in_it_alone() {
        let layout = Layout::default().with_chunk_size(1 << 18).with_block_size(1 << 12);
        let depot = Depot::builder(Raw).layout(layout).memory().unwrap();
        let record = noise(1, 200_000);
        depot.put("a", &record).unwrap();
        let mut bytes = depot.to_bytes().unwrap();
        let at = depot.location("a").unwrap().file_offset.unwrap();
        // In the middle of the chunk's stored bytes.
        bytes[usize::try_from(at).unwrap() + 40_000] ^= 1;
        let storage = std::sync::Arc::new(MemoryStorage::from_bytes(&bytes));
        let depot = Depot::builder(Raw).open_options(OpenOptions::default()).open_in(storage).unwrap();
        let mut parts = depot.parts("a").unwrap();
        let read = |parts: &mut Parts<'_>, n: usize| {
            parts.bytes(n..n + 100).map(|bytes| bytes == &record[n..n + 100])
        };
        let starts = (0..196_000).step_by(4000);
        let results: Vec<_> = starts.map(|n| read(&mut parts, n)).collect();
        assert!(results.iter().flatten().all(|&same| same));
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!((1..=2).contains(&errors.len()), "{errors:?}");
        assert!(errors[0].is_damage() && errors[0].record() == Some("\"a\""), "{}", errors[0]);
        assert!(depot.parts("a").unwrap().whole().unwrap_err().is_damage());
    }

    #[test]
    fn records_are_shown_with_their_numbers_whole_where_that_is_asked_for() {
        let depot = depot(Layout::default().with_chunk_size(1 << 18).with_block_size(1 << 12));
        let keys: Vec<u32> = (0..40).rev().chain([3, 3, 5]).collect();
        let mut seen = vec![0; keys.len()];
        depot
            .visit_parts(&keys, |number, parts| {
                let whole = noise(keys[number], [10, 300, 70_000, 200_000][keys[number] as usize % 4]);
                if !parts.is_whole() && keys[number].is_multiple_of(3) {
                    return Ok(Then::Whole);
                }
                seen[number] += 1;
                assert!(parts.bytes(5..9)? == &whole[5..9]);
                Ok(Then::Next)
            })
            .unwrap();
        assert!(seen.iter().all(|&n| n == 1), "{seen:?}");
        let refused = depot.visit_parts(&[1, 2, 3], |number, _| match number {
            0 => Ok(Then::Next),
            n => Err(crate::Error::invalid_options(n.to_string())),
        });
        assert!(refused.unwrap_err().to_string().ends_with('1'), "the error of the first key");
    }
}

//! Where the bytes of a map are: in memory, in a file, or behind anything that gives slices.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::Bytes;

/// Bytes that are given slice by slice.
///
/// A map that is opened from it asks for the header once and for the index once, and then for one slice a
/// value. So a store at the other end of a network serves a map by this one method.
///
/// ```
/// use std::borrow::Cow;
/// use std::ops::Range;
/// use vldepot::maps::{ByteMap, MapOptions, Slices};
///
/// struct Remote(Vec<u8>);
///
/// impl Slices for Remote {
///     fn slice(&self, range: Range<u64>) -> std::io::Result<Cow<'_, [u8]>> {
///         self.0.as_slice().slice(range) // or a request to somewhere else
///     }
/// }
///
/// let remote = Remote(ByteMap::build([(7, "seven")], &MapOptions::new())?);
/// assert_eq!(&*ByteMap::open(remote)?.get(7)?, b"seven");
/// # Ok::<(), vldepot::Error>(())
/// ```
pub trait Slices {
    /// The bytes at `range`, counted from the start of the map. Where the bytes end before `range` does, it
    /// gives those that are there, as slices in Python do. `u64::MAX` as the end stands for all bytes.
    ///
    /// # Errors
    /// The source's own.
    fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>>;

    /// All bytes, if they are in memory. The index is then read in place instead of being copied.
    fn whole(&self) -> Option<&[u8]> {
        None
    }
}

/// The part of `bytes` that lies in `range`.
fn clipped(bytes: &[u8], range: Range<u64>) -> &[u8] {
    let within = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    bytes.get(within(range.start)..within(range.end)).unwrap_or_default()
}

impl Slices for [u8] {
    fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(clipped(self, range)))
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(self)
    }
}

macro_rules! lends {
    ($($kind:ty),*) => {$(
        impl Slices for $kind {
            fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
                Ok(Cow::Borrowed(clipped(self, range)))
            }

            fn whole(&self) -> Option<&[u8]> {
                Some(self)
            }
        }
    )*};
}

lends!(Vec<u8>, Bytes);

macro_rules! forwards {
    ($($kind:ty),*) => {$(
        impl<S: Slices + ?Sized> Slices for $kind {
            fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
                (**self).slice(range)
            }

            fn whole(&self) -> Option<&[u8]> {
                (**self).whole()
            }
        }
    )*};
}

forwards!(&S, &mut S, Box<S>, Arc<S>);

/// A file is read by position where the system can, so several maps may share it.
impl Slices for File {
    fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let end = range.end.min(self.metadata()?.len());
        let Some(len) = end.checked_sub(range.start) else { return Ok(Cow::Borrowed(&[])) };
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; len];
        read_at(self, &mut bytes, range.start)?;
        Ok(Cow::Owned(bytes))
    }
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(into)
}

/// A part of other bytes: a map that lies inside another file or buffer.
///
/// ```
/// use vldepot::maps::{IntMap, Window};
///
/// let map = IntMap::build([(1, 10), (2, 20)]);
/// let len = map.len() as u64;
/// let file = [b"before".to_vec(), map, b"after".to_vec()].concat();
/// let map = IntMap::open(Window::new(&file, 6..6 + len))?;
/// assert_eq!(map.get(2)?, 20);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Window<S> {
    source: S,
    range: Range<u64>,
}

impl<S: Slices> Window<S> {
    /// The bytes of `source` at `range`.
    pub fn new(source: S, range: Range<u64>) -> Self {
        Self { source, range }
    }

    /// The place in the source of the byte `at` of the window, at most its end.
    fn place(&self, at: u64) -> u64 {
        self.range.start.saturating_add(at).min(self.range.end)
    }
}

impl<S: Slices> Slices for Window<S> {
    fn slice(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let place = self.place(range.start)..self.place(range.end);
        if place.is_empty() { Ok(Cow::Borrowed(&[])) } else { self.source.slice(place) }
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(clipped(self.source.whole()?, self.range.clone()))
    }
}

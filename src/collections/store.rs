//! Collections in a depot, by name.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Mutex;

use super::bytes::ByteString;
use super::codec::{COUNT, CollectionCodec, HEAD, NewCollection, ends_of, head, place_of};
use super::split::{self, Split};
use crate::depot::Parts;
use crate::error::{ErrorKind, Result};
use crate::key::{AsKey, Key};
use crate::sync::lock;
use crate::{Depot, Layout, LoaderBuilder, Record};

/// A layout for collections: their bytes are not shuffled, as those of arrays are, and the index counts
/// objects.
///
/// ```
/// use vldepot::collections::layout;
/// use vldepot::Layout;
/// assert_eq!(layout(Layout::fast()).columns, ["objects"]);
/// ```
#[must_use]
pub fn layout(layout: Layout) -> Layout {
    layout.of_single_bytes().with_columns([COUNT])
}

/// Collections in a depot. See the [module](super).
///
/// Names are integers from 0 up, as [`add`](Self::add) gives them, or any other [`Key`].
#[derive(Debug)]
pub struct Collections {
    depot: Depot<CollectionCodec>,
    /// The name of the next collection that is added without one, once it was looked for.
    next: Mutex<Option<u64>>,
    flushes: bool,
}

impl Collections {
    /// The collections in this depot.
    pub fn new(depot: Depot<CollectionCodec>) -> Self {
        Self { depot, next: Mutex::new(None), flushes: true }
    }

    /// Makes a new depot in a file, with the default [`layout`].
    ///
    /// # Errors
    /// The errors of [`Depot::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Depot::builder(CollectionCodec).layout(layout(Layout::default())).create(path).map(Self::new)
    }

    /// Opens collections for reading.
    ///
    /// # Errors
    /// The errors of [`Depot::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Depot::open(path, CollectionCodec).map(Self::new)
    }

    /// Opens collections for writing.
    ///
    /// # Errors
    /// The errors of [`Depot::append`].
    pub fn append(path: impl AsRef<Path>) -> Result<Self> {
        Depot::append(path, CollectionCodec).map(Self::new)
    }

    /// Collections in memory.
    ///
    /// # Errors
    /// The errors of [`Depot::memory`].
    pub fn memory() -> Result<Self> {
        Depot::builder(CollectionCodec).layout(layout(Layout::default())).memory().map(Self::new)
    }

    /// Keeps collections in memory until a chunk is full, instead of handing each to the system when it is
    /// added.
    ///
    /// By default, what was added survives a killed process, and a chunk ends with each collection. Small
    /// collections take less room when many of them share one. Then a killed process loses those that
    /// neither a full chunk nor a [`commit`](Self::commit) has.
    #[must_use]
    pub fn buffered(mut self) -> Self {
        self.flushes = false;
        self
    }

    /// The depot that holds the collections.
    pub fn depot(&self) -> &Depot<CollectionCodec> {
        &self.depot
    }

    /// Gives the depot back.
    pub fn into_depot(self) -> Depot<CollectionCodec> {
        self.depot
    }

    /// Makes what was added durable. See [`Depot::commit`].
    ///
    /// # Errors
    /// The errors of [`Depot::commit`].
    pub fn commit(&self) -> Result<()> {
        self.depot.commit()
    }

    /// Commits, and closes the file. See [`Depot::close`].
    ///
    /// # Errors
    /// The errors of [`Depot::close`].
    pub fn close(self) -> Result<()> {
        self.depot.close()
    }

    /// How many collections there are.
    pub fn len(&self) -> u64 {
        self.depot.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.depot.is_empty()
    }

    /// Adds a collection under the next integer, which is returned: one more than the greatest that is a
    /// name.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidRecord`] when no integer is left, and for metadata of more than 64 MiB.
    /// - The errors of [`Depot::put`], [`ErrorKind::Codec`] for a collection of 4 GiB or more among them.
    pub fn add(&self, new: &NewCollection) -> Result<u64> {
        let mut next = lock(&self.next);
        let id = match *next {
            Some(id) => id,
            None => self.first_free()?,
        };
        self.put_new(id, new)?;
        *next = id.checked_add(1);
        self.flush()?;
        Ok(id)
    }

    fn first_free(&self) -> Result<u64> {
        let last = self.depot.sorted_keys(0_u64..)?.next_back().transpose()?;
        let last = last.and_then(|key| key.as_int()).and_then(|id| u64::try_from(id).ok());
        last.map_or(Some(0), |id| id.checked_add(1)).ok_or_else(|| {
            let why = "the greatest integer is a name already: name the next collection yourself".into();
            ErrorKind::InvalidRecord { why }.at(self.depot.path()).of(u64::MAX.to_string())
        })
    }

    /// Adds a collection under a name, and refuses to replace one.
    ///
    /// # Errors
    /// The errors of [`add`](Self::add), and [`ErrorKind::Exists`].
    pub fn add_named(&self, name: impl AsKey, new: &NewCollection) -> Result<()> {
        let mut next = lock(&self.next);
        self.put_new(name, new)?;
        *next = None;
        self.flush()
    }

    fn put_new(&self, name: impl AsKey, new: &NewCollection) -> Result<()> {
        match new.metadata() {
            [] => self.depot.put_new(name, new),
            metadata => self.depot.put_new_with_metadata(name, new, &ByteString(metadata)),
        }
    }

    /// Lets what was added survive a killed process.
    fn flush(&self) -> Result<()> {
        if self.flushes { self.depot.flush() } else { Ok(()) }
    }

    /// How many objects a collection has. Objects are not read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::scalar`].
    pub fn size(&self, name: impl AsKey) -> Result<usize> {
        if self.counts()
            && let Some(count) = self.depot.scalar(&name, COUNT)?.and_then(crate::Scalar::as_i64)
        {
            return usize::try_from(count)
                .map_err(|_| ErrorKind::Metadata { why: "a count below 0".into() }.at(self.depot.path()));
        }
        let mut parts = self.depot.parts(&name)?;
        self.count(&name, &mut parts)
    }

    /// Numbers of objects of the collections at a range of positions, from the index.
    ///
    /// # Errors
    /// Those of [`Depot::column`], and of [`size`](Self::size).
    pub fn sizes(&self, positions: impl RangeBounds<u64>) -> Result<Vec<u64>> {
        if self.counts() {
            let column = self.depot.column(COUNT, positions)?;
            let counts = column.as_i64().unwrap_or_default();
            return Ok(counts.iter().map(|count| count.unsigned_abs()).collect());
        }
        self.depot.range(positions).map(|entry| Ok(entry?.1.view().len() as u64)).collect()
    }

    /// Whether the index counts objects.
    fn counts(&self) -> bool {
        self.depot.columns().iter().any(|column| column.name == COUNT)
    }

    /// The metadata of a collection. Without any, they are empty. Objects are not read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and those of [`Depot::metadata`].
    pub fn metadata(&self, name: impl AsKey) -> Result<Vec<u8>> {
        let found: Option<ByteString<Vec<u8>>> = self.depot.metadata(name)?;
        Ok(found.map_or_else(Vec::new, |metadata| metadata.0))
    }

    /// One object of a collection. Of a long collection, only the blocks that hold it are decoded.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::OutOfRange`], and those of [`Depot::parts`].
    pub fn object(&self, name: impl AsKey, object: usize) -> Result<Vec<u8>> {
        let mut parts = self.depot.parts(&name)?;
        let count = self.count(&name, &mut parts)?;
        self.read(&name, &mut parts, count, object)
    }

    /// Some objects of a collection, in the order in which they are asked for.
    ///
    /// # Errors
    /// Those of [`object`](Self::object).
    pub fn objects(&self, name: impl AsKey, objects: &[usize]) -> Result<Vec<Vec<u8>>> {
        let mut parts = self.depot.parts(&name)?;
        let count = self.count(&name, &mut parts)?;
        objects.iter().map(|&object| self.read(&name, &mut parts, count, object)).collect()
    }

    /// A whole collection, whose view lists its objects.
    ///
    /// # Errors
    /// Those of [`Depot::get`].
    pub fn get(&self, name: impl AsKey) -> Result<Record<CollectionCodec>> {
        self.depot.get(name)
    }

    fn count(&self, name: &impl AsKey, parts: &mut Parts<'_>) -> Result<usize> {
        let len = parts.len();
        let start = parts.bytes(HEAD.start..HEAD.end.min(len))?;
        head(start, len).map_err(|source| self.depot.codec_error_for(name, source))
    }

    fn read(&self, name: &impl AsKey, parts: &mut Parts<'_>, count: usize, n: usize) -> Result<Vec<u8>> {
        if n >= count {
            let (position, len) = (n as u64, count as u64);
            let error = ErrorKind::OutOfRange { position, len }.at(self.depot.path());
            return Err(error.of(name.to_key().to_string()));
        }
        let len = parts.len();
        let place = place_of(n, count, len, parts.bytes(ends_of(n))?)
            .map_err(|source| self.depot.codec_error_for(name, source))?;
        Ok(parts.bytes(place)?.to_vec())
    }

    /// Stores a split under a name, and replaces the one of that name.
    ///
    /// # Errors
    /// Those of [`Depot::set_depot_metadata`].
    pub fn set_split(&self, name: &str, split: &Split) -> Result<()> {
        split::set_split(&self.depot, name, split)
    }

    /// The split of that name.
    ///
    /// # Errors
    /// Those of [`Depot::depot_metadata`].
    pub fn split(&self, name: &str) -> Result<Option<Split>> {
        split::split(&self.depot, name)
    }

    /// A loader of the collections in a split.
    ///
    /// [`build`](LoaderBuilder::build) fails if one of them is not there.
    pub fn loader(&self, split: &Split) -> LoaderBuilder<'_, CollectionCodec> {
        self.depot.loader().keys::<Key>(split.items())
    }
}

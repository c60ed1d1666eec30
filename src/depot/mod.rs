//! Depots of values: records by name, built on the names and bytes of the engine.
//!
//! ```text
//! create     making and opening               record     one record, lending views
//! put        writing, committing              stream     one record, written out in pieces
//! get        reading by name and position     info       what a depot says about itself
//! batches    all records, read together       iter, scan them, to keep and lent
//! keys       all names                        refresh    a reader moves forward
//! metadata   of records and of the depot      truncate   going back, and undoing that
//! select     records that match a query       statistics of all records
//! ```
//!
//! Users call this module, and so do `maintain`, the loader and the codecs. It only calls the engine's
//! methods. So another engine, such as a folder of files, can serve the same `Depot`.

mod batches;
mod columns;
mod create;
mod describe;

mod get;
mod info;
mod iter;
mod keys;
mod many;
#[cfg(feature = "serde")]
mod metadata;
mod parts;
mod place;
mod put;
mod range;
mod record;
mod refresh;
mod said;
mod scan;
mod select;
mod statistics;
mod stream;
mod truncate;

use std::path::Path;
use std::sync::Arc;

pub use create::DepotBuilder;
pub(crate) use create::learned;
pub use info::{ChunkInfo, CodecInfo, DepotInfo, RecordLocation};
pub use iter::Iter;
pub use keys::Keys;
#[cfg(feature = "shards")]
pub(crate) use metadata::depot_metadata;
pub use parts::{Parts, Then};
pub use place::Place;
pub use range::{Range, SortedKeys, Totals};
pub use record::{Record, RecordRef};
pub use refresh::Refreshed;
use said::Describer;
pub(crate) use said::{Asked, Said, said_of};
pub use scan::Scan;
pub use select::{Matches, MatchingKeys};
pub use statistics::{ColumnStatistics, FieldStatistics, Statistics};
pub use stream::PutByPieces;
pub use truncate::{Cut, Removal, TruncateOptions};

use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::engine::{Engine, malformed};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{AsKey, Key, TaggedName, describe};
use crate::scalar::ScalarField;

/// Named, variable-length records, kept compressed, in a file or in memory.
///
/// ```
/// use vldepot::{Depot, Raw};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.vld");
///
/// let depot = Depot::create(&path, Raw)?;
/// depot.put("greeting", b"hello")?;
/// depot.put(7, b"seven")?;
/// depot.close()?;
///
/// let depot = Depot::open(&path, Raw)?;
/// assert_eq!(depot.get("greeting")?.view(), b"hello");
/// assert_eq!(depot.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All methods take `&self` and may be called from many threads. A file has one writer at a time and any
/// number of readers, in this process and in others. What was put can be read right away. It is durable
/// after [`commit`](Self::commit), and [`CommitEvery`](crate::CommitEvery) says when a depot commits by
/// itself.
///
/// A process made by `fork` may go on reading, if no other thread was inside the depot at that moment.
/// Such reads are positioned and share no cursor. The process cannot write ([`ErrorKind::Forked`]), and
/// dropping its copy leaves the file alone.
pub struct Depot<C: Codec> {
    pub(crate) engine: Engine,
    pub(crate) codec: Arc<C>,
    /// The first column that the codec does not give.
    unknown_column: Option<ScalarField>,
    /// Describes records in place of the codec.
    describer: Option<Describer>,
}

/// Makes a key of a tagged name.
pub(crate) fn key_of(engine: &Engine, name: Vec<u8>) -> Result<Key> {
    Key::from_tagged_vec(name).map_err(|name| malformed(engine.path(), &name))
}

/// The tagged form of a key. An error when no depot can have this name.
fn tagged(engine: &Engine, key: &(impl AsKey + ?Sized)) -> Result<TaggedName> {
    key.tagged().ok_or_else(|| {
        ErrorKind::InvalidRecord { why: "integer names go from -2^63 to 2^64 - 1".into() }
            .at(engine.path())
            .of(key.to_key().to_string())
    })
}

impl<C: Codec> Depot<C> {
    fn new(engine: Engine, codec: Arc<C>) -> Self {
        let mut columns = engine.parameters().columns.iter();
        let unknown_column = columns.find(|column| !codec.scalars().contains(column)).cloned();
        Self { engine, codec, unknown_column, describer: None }
    }

    fn record(&self, name: &[u8], bytes: Bytes) -> Result<Record<C>> {
        Record::new(bytes, &self.codec).map_err(|source| self.codec_error(name, source))
    }

    /// The error of a codec that cannot do what was asked for with a record.
    pub(crate) fn codec_error_for(&self, key: &impl AsKey, source: crate::codec::CodecError) -> Error {
        match tagged(&self.engine, key) {
            Ok(name) => self.codec_error(&name, source),
            Err(error) => error,
        }
    }

    pub(crate) fn names<K: AsKey>(&self, keys: &[K]) -> Result<Vec<TaggedName>> {
        keys.iter().map(|key| tagged(&self.engine, key)).collect()
    }

    /// What the depot is, and how much is in it.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// let info = depot.info()?;
    /// assert_eq!((info.records, info.raw_bytes), (1, 5));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn info(&self) -> Result<DepotInfo> {
        DepotInfo::new(&self.engine)
    }

    /// Says what a file that was opened in spite of a loss is missing.
    ///
    /// This is the error that opening it without
    /// [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss) gives. It is `None` when nothing is
    /// missing.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// assert!(depot.incomplete().is_none());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn incomplete(&self) -> Option<Error> {
        self.engine.incomplete()
    }

    /// The codec that the depot was written with. The depot may be open with [`Raw`](crate::Raw)
    /// instead.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// assert_eq!(depot.stored_codec().id, "raw");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn stored_codec(&self) -> CodecInfo {
        CodecInfo::stored(&self.engine)
    }

    /// The depot's file, or `<memory>`. Errors use this path.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// assert_eq!(Depot::memory(Raw)?.path(), "<memory>");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.engine.path()
    }

    /// Whether the depot was created or opened for writing.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// assert!(Depot::memory(Raw)?.is_writable());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn is_writable(&self) -> bool {
        self.engine.is_writable()
    }

    /// The codec that the depot is open with.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// assert_eq!(*depot.codec(), Raw);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn codec(&self) -> &C {
        &self.codec
    }

    fn codec_error(&self, name: &[u8], source: crate::codec::CodecError) -> Error {
        ErrorKind::Codec { codec: C::ID }.at(self.engine.path()).of(describe(name)).because(source)
    }
}

impl<C: Codec> std::fmt::Debug for Depot<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depot({}, {} records, codec `{}`)", self.engine.path().display(), self.len(), C::ID)
    }
}

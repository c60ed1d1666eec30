//! Writes a set of shards of a limited size.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::merge::{Merged, make_folder, survey};
use crate::codec::Codec;
use crate::depot::{Depot, DepotBuilder};
use crate::error::{ErrorKind, Result};
use crate::key::AsKey;
use crate::manifest::{self, Manifest, Shard};
use crate::sync;

/// How a [`Writer`] divides records into shards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct WriterOptions {
    /// Bytes of a file after which the next shard begins. The default is 16 GiB.
    ///
    /// Records that are still in memory count as if they could not be compressed, and the index comes on top.
    pub shard_bytes: u64,
    /// What the names of the files begin with. The default is `shard_`. They go on with a number and `.vld`.
    pub prefix: String,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { shard_bytes: 16 << 30, prefix: "shard_".to_owned() }
    }
}

impl WriterOptions {
    /// Sets [`shard_bytes`](Self#structfield.shard_bytes).
    #[must_use]
    pub fn with_shard_bytes(mut self, bytes: u64) -> Self {
        self.shard_bytes = bytes;
        self
    }

    /// Sets [`prefix`](Self#structfield.prefix).
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

/// Adds records to a set of shards, and begins a new shard when one is full.
///
/// A writer begins with a new shard, and never writes to those that are there. So any number of writers, in
/// as many processes or on as many ranks, can add to one set at the same time. A shard is in the manifest
/// from its first record on: what [`commit`](Self::commit) acknowledged is found again after a crash.
///
/// ```
/// use vldepot::shards::{Writer, WriterOptions};
/// use vldepot::{Depot, Raw};
/// # let root = tempfile::tempdir()?;
/// # let folder = root.path().join("set");
/// let options = WriterOptions::default().with_shard_bytes(1 << 20);
/// let writer = Writer::new(&folder, Depot::builder(Raw), options)?;
/// let mut noise = 1_u64;
/// for step in 0..300 {
///     let frame: Vec<u8> = (0..10_000).map(|_| {
///         noise ^= noise << 13;
///         noise ^= noise >> 7;
///         noise ^= noise << 17;
///         noise.to_le_bytes()[3]
///     }).collect();
///     writer.put(step, &frame)?;
/// }
/// let merged = writer.close()?;
/// assert_eq!((merged.shards, merged.records), (3, 300));
/// assert_eq!(Depot::open(&folder, Raw)?.get(299)?.len(), 10_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer<C: Codec + Clone> {
    folder: PathBuf,
    builder: DepotBuilder<C>,
    options: WriterOptions,
    shard: Mutex<Option<Depot<C>>>,
}

impl<C: Codec + Clone> Writer<C> {
    /// Opens the set in `folder` for adding records, or makes it.
    ///
    /// `builder` says how shards are made. If the set has shards, theirs is the layout.
    ///
    /// # Errors
    /// The errors of [`Depot::open`] for a set that is there, and [`ErrorKind::Io`].
    pub fn new(folder: impl AsRef<Path>, builder: DepotBuilder<C>, options: WriterOptions) -> Result<Self> {
        let folder = folder.as_ref();
        if options.prefix.contains(['/', '\\', '\0']) {
            let why = format!("the prefix {:?} of the names of shards is none of a file", options.prefix);
            return Err(ErrorKind::InvalidOptions { why }.at(folder));
        }
        let mut builder = builder;
        if manifest::is_set(folder) && !Manifest::read(folder)?.shards.is_empty() {
            let set = builder.clone().open(folder)?;
            builder = builder.layout(set.info()?.layout);
        } else {
            make_folder(folder)?;
        }
        Ok(Self { folder: folder.to_owned(), builder, options, shard: Mutex::new(None) })
    }

    /// The folder of the set.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Stores a record. See [`Depot::put`]. A record of another shard with this name is superseded.
    ///
    /// # Errors
    /// The errors of [`Depot::put`] and of [`Depot::create`], and [`ErrorKind::InvalidRecord`] for a record
    /// that is larger than a shard may be.
    pub fn put(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        let key = key.to_key();
        self.with_shard(|shard| shard.put(&key, item))
    }

    /// Stores a record with metadata. See [`Depot::put_with_metadata`].
    ///
    /// # Errors
    /// Same as [`put`](Self::put).
    pub fn put_with_metadata(
        &self,
        key: impl AsKey,
        item: &C::Item,
        metadata: &(impl serde::Serialize + ?Sized),
    ) -> Result<()> {
        let key = key.to_key();
        self.with_shard(|shard| shard.put_with_metadata(&key, item, metadata))
    }

    /// Makes durable what was put. See [`Depot::commit`].
    ///
    /// # Errors
    /// The errors of [`Depot::commit`].
    pub fn commit(&self) -> Result<()> {
        sync::lock(&self.shard).as_ref().map_or(Ok(()), Depot::commit)
    }

    /// Ends the shard that is being written, and lets the manifest say what is in all of them.
    ///
    /// A writer that is dropped instead ends its shard too. Those who open the set then look through it to
    /// find which records are superseded.
    ///
    /// # Errors
    /// The errors of [`Depot::close`] and of [`merge`](super::merge).
    pub fn close(self) -> Result<Merged> {
        end(&mut sync::lock(&self.shard))?;
        Manifest::change(&self.folder, |manifest| survey(&self.folder, manifest))
    }

    /// Gives `put` a shard with room.
    fn with_shard<T>(&self, put: impl FnOnce(&Depot<C>) -> Result<T>) -> Result<T> {
        let mut shard = sync::lock(&self.shard);
        if let Some(open) = &*shard
            && self.is_full(open)?
        {
            end(&mut shard)?;
        }
        match &*shard {
            Some(open) => put(open),
            None => put(shard.insert(self.new_shard()?)),
        }
    }

    /// Whether a shard is so large that the next one should begin.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] for a depot that is not being written.
    pub fn is_full(&self, shard: &Depot<C>) -> Result<bool> {
        Ok(shard.engine.bytes_so_far()? >= self.options.shard_bytes)
    }

    /// Makes a shard that the caller writes and closes, and names it in the manifest.
    ///
    /// # Errors
    /// The errors of [`Depot::create`], and those of changing the manifest.
    pub fn new_shard(&self) -> Result<Depot<C>> {
        let first =
            if manifest::is_set(&self.folder) { Manifest::read(&self.folder)?.shards.len() } else { 0 };
        for number in first.. {
            let mut name = self.options.prefix.clone();
            _ = write!(name, "{number:05}.vld");
            let path = self.folder.join(&name);
            if path.exists() {
                continue;
            }
            let depot = match self.builder.clone().create(&path) {
                Err(error) if matches!(error.kind(), ErrorKind::PathExists | ErrorKind::Locked) => continue,
                created => created?,
            };
            let mut shard = Shard::new(name);
            shard.data_set = depot.engine.parameters().data_set;
            shard.depot = depot.engine.parameters().depot_id.into();
            Manifest::change(&self.folder, |manifest| {
                manifest.shards.push(shard.clone());
                Ok(((), true))
            })?;
            return Ok(depot);
        }
        Err(ErrorKind::Io { action: "make another shard".into() }
            .at(&self.folder)
            .because(io::Error::from(io::ErrorKind::AlreadyExists)))
    }
}

/// Closes a shard. If that fails, the records in it are those that were committed.
fn end<C: Codec>(shard: &mut Option<Depot<C>>) -> Result<()> {
    shard.take().map_or(Ok(()), Depot::close)
}

impl<C: Codec + Clone> std::fmt::Debug for Writer<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("folder", &self.folder)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

//! How a depot is laid out, written, opened and read.
//!
//! | struct | says | is kept |
//! | --- | --- | --- |
//! | [`Layout`] | how a new depot lays out its bytes | in the file |
//! | [`WriteOptions`] | when a writer commits, and with how many threads it compresses | while it is open |
//! | [`OpenOptions`] | how the handle reads | while it is open |
//! | [`ReadOptions`] | how one call reads | for that call |
//!
//! Each setting is in exactly one of these structs. All have the same form: [`Default`], public fields
//! with documented defaults, and a `with_*` method for each field.

use std::time::Duration;

use crate::blosc::{Compression, CompressionCodec, DEFAULT_TYPESIZE, Filter, MAX_BLOCK, MAX_CHUNK};
use crate::error::{Error, Result};
use crate::named::named;

/// Where records may start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Placement {
    /// A record that fits into a chunk lies in one chunk. The default.
    #[default]
    NoCross,
    /// Records follow each other and may cross chunks. No space is lost at the ends of chunks.
    Contiguous,
    /// Each record starts a chunk of its own.
    StartAligned,
}

named! { Placement, "placement": NoCross => "no_cross", Contiguous => "contiguous", StartAligned => "start_aligned" }

/// When a depot commits by itself. The limit that is reached first commits.
///
/// ```
/// use std::time::Duration;
/// use vldepot::CommitEvery;
///
/// assert_eq!(CommitEvery::records(1).records, Some(1));
/// let often = CommitEvery::interval(Duration::from_secs(60)).with_bytes(64 << 20);
/// assert_eq!(often.bytes, Some(64 << 20));
/// assert_eq!(CommitEvery::never().bytes, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct CommitEvery {
    /// Commit after this many records. The default is 1,048,576. It bounds the memory for names that are
    /// not yet in the index.
    pub records: Option<u64>,
    /// Commit after this many raw bytes. The default is 256 MiB.
    pub bytes: Option<u64>,
    /// Commit with the first `put` after this long. The default, `None`, sets no interval.
    pub interval: Option<Duration>,
}

impl Default for CommitEvery {
    fn default() -> Self {
        Self { records: Some(1 << 20), bytes: Some(256 << 20), interval: None }
    }
}

impl CommitEvery {
    /// Commits after every `n` records. With 1, every `put` is durable before it returns.
    pub fn records(n: u64) -> Self {
        Self::default().with_records(n)
    }

    /// Commits after every `n` raw bytes.
    pub fn bytes(n: u64) -> Self {
        Self::default().with_bytes(n)
    }

    /// Commits with the first `put` after each `interval`.
    pub fn interval(interval: Duration) -> Self {
        Self::default().with_interval(interval)
    }

    /// Commits only when asked to. The memory for names grows until the next commit.
    pub fn never() -> Self {
        Self { records: None, bytes: None, interval: None }
    }

    /// Sets [`records`](Self#structfield.records).
    #[must_use]
    pub fn with_records(mut self, n: impl Into<Option<u64>>) -> Self {
        self.records = n.into();
        self
    }

    /// Sets [`bytes`](Self#structfield.bytes).
    #[must_use]
    pub fn with_bytes(mut self, n: impl Into<Option<u64>>) -> Self {
        self.bytes = n.into();
        self
    }

    /// Sets [`interval`](Self#structfield.interval).
    #[must_use]
    pub fn with_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.interval = interval.into();
        self
    }
}

/// How a new depot lays out its bytes. The layout is kept in the file, and later writers follow it.
///
/// ```
/// use vldepot::{Depot, Layout, Raw};
///
/// let layout = Layout::fast().with_chunk_size(1 << 20);
/// let depot = Depot::builder(Raw).layout(layout).memory()?;
/// assert_eq!(depot.info()?.layout.chunk_size, 1 << 20);
/// assert_eq!("compact".parse::<Layout>()?, Layout::compact());
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Layout {
    /// What Blosc2 does to chunks. Chunks with less than 32 KiB in them may be compressed otherwise.
    pub compression: Compression,
    /// Raw bytes of a chunk. Must be a multiple of the block size and of the typesize, and between 64
    /// bytes and 2 GiB. The default is 4 MiB.
    pub chunk_size: usize,
    /// Raw bytes of a block, the unit of random reads. Must be a multiple of 64.
    ///
    /// The default, `None`, takes 64 KiB. For chunks with an average record below 4 KiB it takes less:
    /// 16 KiB for zstd, and 2 KiB for LZ4, which has no tables to build for each block.
    ///
    /// A chunk that a commit seals with little in it has larger blocks, up to 256 KiB: see
    /// `docs/explanation/design.md`.
    ///
    /// With zstd, blocks of 8 KiB make single reads of small records a third faster. The file is then 1
    /// % larger, and scans are slower.
    pub block_size: Option<usize>,
    /// Where records may start and end.
    pub placement: Placement,
    /// Also write what the Python package vlstore needs to read the file: a table of all names. The
    /// default is false.
    ///
    /// The table is written at each publication and on close. Its cost grows with the depot.
    pub vlstore_compatible: bool,
    /// Keep a filter of the names of each index segment, which tells of a name that it is not there. The
    /// default is true.
    ///
    /// A filter takes 1.25 bytes a record. Without it, each segment is asked for each name that is looked up
    /// or put.
    pub name_filters: bool,
    /// Keep the order of names in the index. The default is true.
    ///
    /// It lists and counts the names in a range without going through all of them. It takes 4.5 bytes a
    /// record, or half a byte if the records are put in the order of their names.
    pub name_order: bool,
    /// Scalars of records to keep in columns, which are read without touching a record: see
    /// [`Depot::column`](crate::Depot::column). The default is none.
    ///
    /// The codec says which scalars its records have: see [`Codec::scalars`](crate::Codec::scalars). A
    /// column of whole numbers in equal steps takes next to nothing. Others take 1 to 8 bytes a record, and
    /// about as much once more in the directories of the chunks.
    pub columns: Vec<String>,
    /// Keep statistics of the fields of records, such as mean and variance of all forces, in the index: see
    /// [`Depot::statistics`](crate::Depot::statistics). The default is false.
    ///
    /// They are made while a record is put, which takes longer then: see `docs/explanation/performance.md`. A
    /// codec that describes no records ([`Codec::describes`](crate::Codec::describes)) has none, whatever
    /// this is. Statistics of [`columns`](Self#structfield.columns) are always kept.
    pub statistics: bool,
    /// Store the fields of records apart, where the codec says where they lie: see
    /// [`Codec::fields`](crate::Codec::fields). The default is true, and false for
    /// [`compact`](Self::compact) and [`uncompressed`](Self::uncompressed).
    ///
    /// All positions of a block follow each other then, all forces, and so on, byte by byte, each in a code
    /// of its own. Records of some kilobytes take less room, and are read several times as fast. Their chunks
    /// are read by this crate alone: other programs that read Blosc2 open the file, and refuse them. Records
    /// without such fields, like those of [`Raw`](crate::Raw), are compressed as
    /// [`compression`](Self#structfield.compression) says, and any Blosc2 library reads them.
    ///
    /// Blocks have at least 1 KiB of whole records, or 64 KiB of a longer one. A
    /// [`block_size`](Self#structfield.block_size) takes the place of both numbers.
    pub fields_apart: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self::balanced()
    }
}

/// Whether chunks of this size, compressed so, can have the fields of their records apart.
pub(crate) fn can_store_apart(compression: Compression, chunk_size: usize) -> bool {
    compression.codec != CompressionCodec::None && compression.level > 0 && chunk_size <= MAX_APART
}

/// The longest chunk whose fields are stored apart. Its header names one Blosc2 block.
const MAX_APART: usize = 256 << 20;
/// The smallest chunk: smaller ones would be all overhead.
const MIN_CHUNK: usize = 64;

impl Layout {
    /// The names of the presets, which `str::parse` takes.
    pub const PRESETS: [&str; 4] = ["balanced", "fast", "compact", "uncompressed"];

    /// The default: zstd 1 over byte shuffle.
    pub fn balanced() -> Self {
        Self {
            compression: Compression::default(),
            chunk_size: 4 << 20,
            block_size: None,
            placement: Placement::NoCross,
            vlstore_compatible: false,
            name_filters: true,
            name_order: true,
            columns: Vec::new(),
            statistics: false,
            fields_apart: true,
        }
    }

    /// LZ4 over bit shuffle: a little larger, but several times faster to write and to read one record.
    pub fn fast() -> Self {
        Self { compression: Compression::lz4(), ..Self::balanced() }
    }

    /// zstd 9 in 256 KiB blocks, for archives: a few per cent smaller, and many times slower to write.
    ///
    /// Reading one small record is also many times slower, because its whole block is decompressed. A
    /// scan is as fast as with the default.
    pub fn compact() -> Self {
        Self {
            compression: Compression::zstd(9),
            block_size: Some(256 << 10),
            fields_apart: false,
            ..Self::balanced()
        }
    }

    /// No compression: views on disk come straight from the memory map.
    ///
    /// A commit closes the open chunk. If that is not half full, it is compressed, so that it takes what it
    /// holds. Otherwise, the rest of it stays an unwritten hole in the file. To read from the map, commit
    /// seldom, or choose chunks about as large as the data between two commits.
    pub fn uncompressed() -> Self {
        Self { compression: Compression::none(), fields_apart: false, ..Self::balanced() }
    }

    /// Sets [`compression`](Self#structfield.compression).
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets [`chunk_size`](Self#structfield.chunk_size), in bytes.
    #[must_use]
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes;
        self
    }

    /// Sets [`block_size`](Self#structfield.block_size), in bytes. With `None` it depends on the
    /// records.
    #[must_use]
    pub fn with_block_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.block_size = bytes.into();
        self
    }

    /// Sets [`placement`](Self#structfield.placement).
    #[must_use]
    pub fn with_placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Sets [`vlstore_compatible`](Self#structfield.vlstore_compatible).
    #[must_use]
    pub fn with_vlstore_compatible(mut self, compatible: bool) -> Self {
        self.vlstore_compatible = compatible;
        self
    }

    /// Sets [`name_filters`](Self#structfield.name_filters).
    #[must_use]
    pub fn with_name_filters(mut self, filters: bool) -> Self {
        self.name_filters = filters;
        self
    }

    /// Sets [`name_order`](Self#structfield.name_order).
    #[must_use]
    pub fn with_name_order(mut self, order: bool) -> Self {
        self.name_order = order;
        self
    }

    /// Sets [`columns`](Self#structfield.columns).
    #[must_use]
    pub fn with_columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`statistics`](Self#structfield.statistics).
    #[must_use]
    pub fn with_statistics(mut self, statistics: bool) -> Self {
        self.statistics = statistics;
        self
    }

    /// Sets [`fields_apart`](Self#structfield.fields_apart).
    #[must_use]
    pub fn with_fields_apart(mut self, apart: bool) -> Self {
        self.fields_apart = apart;
        self
    }

    /// Whether [`fields_apart`](Self#structfield.fields_apart) has an effect: not without compression, not in
    /// chunks of more than 256 MiB, and not in what vlstore reads.
    ///
    /// ```
    /// use vldepot::Layout;
    /// assert!(Layout::fast().stores_apart() && !Layout::compact().stores_apart());
    /// assert!(!Layout::fast().with_vlstore_compatible(true).stores_apart());
    /// ```
    pub fn stores_apart(&self) -> bool {
        self.fields_apart && !self.vlstore_compatible && can_store_apart(self.compression, self.chunk_size)
    }

    /// This layout, compressed as `by` is: with its compression and its block size, as far as they fit.
    ///
    /// All else stays. So do the size of elements, and that single bytes, as those of files, are not
    /// shuffled. A block size that does not divide the chunk size is left out.
    ///
    /// ```
    /// use vldepot::{CompressionCodec, Layout};
    /// let layout = Layout::balanced().with_chunk_size(1 << 16).recompressed(&Layout::fast());
    /// assert_eq!(layout.compression.codec, CompressionCodec::Lz4);
    /// assert_eq!(layout.chunk_size, 1 << 16);
    /// ```
    #[must_use]
    pub fn recompressed(&self, by: &Self) -> Self {
        let typesize = self.compression.typesize.or(by.compression.typesize);
        let compression = Compression { typesize, ..by.compression };
        let new = self.clone().with_compression(compression).with_fields_apart(by.fields_apart);
        let of_elements = |layout: Self| match typesize {
            Some(1) => layout.of_single_bytes(),
            _ => layout,
        };
        let sizes = [by.block_size, None, self.block_size].into_iter();
        let mut fit = sizes.map(|size| of_elements(new.clone().with_block_size(size)));
        fit.find(|layout| layout.validate().is_ok()).unwrap_or(new)
    }

    /// This layout for bytes that are no arrays: they are not shuffled, and blocks are larger, since small
    /// files are alike and smaller blocks would see less of that.
    pub(crate) fn of_single_bytes(self) -> Self {
        let compression = self.compression.with_filter(Filter::None).with_typesize(1);
        let compresses = compression.codec != CompressionCodec::None;
        let block_size = self.block_size.or(compresses.then_some(self.chunk_size.min(64 << 10)));
        self.with_compression(compression).with_block_size(block_size)
    }

    /// Checks that the settings fit together.
    ///
    /// ```
    /// use vldepot::Layout;
    /// let error = Layout::default().with_chunk_size(1000).with_block_size(512).validate().unwrap_err();
    /// assert!(error.to_string().ends_with("1024 would be"));
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`](crate::ErrorKind::InvalidOptions). Its message says what to change.
    pub fn validate(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::invalid_options(why));
        let Compression { level, typesize, .. } = self.compression;
        if level > 9 {
            return refuse(format!("compression level {level}: levels go from 0 to 9"));
        }
        if self.compression.codec == CompressionCodec::Zlib {
            return refuse("zlib is read, not written; zstd is smaller and faster".into());
        }
        if typesize == Some(0) {
            return refuse("typesize 0: it is the number of bytes of an element, 1 to 255".into());
        }
        if self.chunk_size < MIN_CHUNK || self.chunk_size > MAX_CHUNK {
            return refuse(format!(
                "chunk size {}: it must be {MIN_CHUNK} to {MAX_CHUNK} bytes",
                self.chunk_size
            ));
        }
        let multiple_of = |size: usize, name: &str, unit: usize| {
            let next = size.next_multiple_of(unit);
            refuse(format!("chunk size {size} is no multiple of the {name} {unit}; {next} would be"))
        };
        let typesize = usize::from(typesize.unwrap_or(1));
        if !self.chunk_size.is_multiple_of(typesize) {
            return multiple_of(self.chunk_size, "typesize", typesize);
        }
        let Some(block_size) = self.block_size else {
            let largest = self.resolve_block_size(u64::MAX).max(self.resolve_block_size(0));
            return if largest <= MAX_BLOCK {
                Ok(())
            } else {
                refuse(format!(
                    "chunk size {}: no block size divides it; take a rounder one",
                    self.chunk_size
                ))
            };
        };
        if block_size > self.chunk_size {
            return refuse(format!(
                "block size {block_size} is larger than the chunk size {}",
                self.chunk_size
            ));
        }
        if block_size == 0 || block_size > MAX_BLOCK || !block_size.is_multiple_of(64) {
            return refuse(format!("block size {block_size}: it must be a multiple of 64 up to {MAX_BLOCK}"));
        }
        if !block_size.is_multiple_of(typesize) {
            return refuse(format!("block size {block_size} is no multiple of the typesize {typesize}"));
        }
        if !self.chunk_size.is_multiple_of(block_size) {
            return multiple_of(self.chunk_size, "block size", block_size);
        }
        Ok(())
    }

    /// The same layout with a typesize for a codec of such elements.
    ///
    /// An odd chunk size or block size may need a typesize smaller than the element.
    pub(crate) fn with_typesize_for(mut self, element_size: usize) -> Self {
        let divisor =
            |a: usize, b: usize| std::iter::successors(Some((a, b)), |&(a, b)| (b > 0).then(|| (b, a % b)));
        let common = |a, b| divisor(a, b).last().map_or(a, |(a, _)| a);
        let element_size =
            if (1..=255).contains(&element_size) { element_size } else { DEFAULT_TYPESIZE.into() };
        let typesize = common(common(self.chunk_size, element_size), self.block_size.unwrap_or(0));
        let typesize = u8::try_from(typesize.max(1)).unwrap_or(DEFAULT_TYPESIZE);
        self.compression.typesize.get_or_insert(typesize);
        self
    }

    /// The block size to use when records have `mean_record` bytes on average.
    pub(crate) fn resolve_block_size(&self, mean_record: u64) -> usize {
        let small = match self.compression.codec {
            CompressionCodec::None | CompressionCodec::Zstd | CompressionCodec::Zlib => 16 << 10,
            CompressionCodec::Lz4 | CompressionCodec::Lz4hc | CompressionCodec::Blosclz => 2 << 10,
        };
        let wanted = self.block_size.unwrap_or(if mean_record < 4096 { small } else { 64 << 10 });
        let typesize = usize::from(self.compression.typesize.unwrap_or(1));
        let step = 64 * typesize;
        if self.block_size.is_some()
            || (self.chunk_size.is_multiple_of(wanted) && wanted.is_multiple_of(step))
        {
            return wanted;
        }
        // With an odd chunk size or typesize, take the largest divisor of the chunk that is not above
        // `wanted`.
        let unit = 64;
        let fits = |block: &usize| self.chunk_size.is_multiple_of(*block) && block.is_multiple_of(typesize);
        (1..=wanted / unit).rev().map(|n| n * unit).find(fits).unwrap_or(self.chunk_size)
    }
}

impl std::str::FromStr for Layout {
    type Err = Error;

    /// The preset called `name`, one of [`Layout::PRESETS`].
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "balanced" => Ok(Self::balanced()),
            "fast" => Ok(Self::fast()),
            "compact" => Ok(Self::compact()),
            "uncompressed" => Ok(Self::uncompressed()),
            _ => Err(Error::invalid_options(format!(
                "no preset is called {name:?}; there are {}",
                Self::PRESETS.join(", ")
            ))),
        }
    }
}

/// How a depot is written. Applies to the handle that creates or appends, and is not kept in the file.
///
/// ```
/// use vldepot::{CommitEvery, Depot, Raw, WriteOptions};
///
/// let options = WriteOptions::default().with_commit_every(CommitEvery::records(1000)).with_threads(2);
/// let depot = Depot::builder(Raw).write_options(options).memory()?;
/// # depot.put("a", b"a")?;
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct WriteOptions {
    /// When the depot commits by itself.
    pub commit_every: CommitEvery,
    /// Threads that compress full chunks while the caller goes on. With 0, `put` compresses.
    ///
    /// The default, `None`, takes one per core, at most 4. The threads start with the first full chunk.
    pub threads: Option<usize>,
}

impl WriteOptions {
    /// Sets [`commit_every`](Self#structfield.commit_every).
    #[must_use]
    pub fn with_commit_every(mut self, commit_every: CommitEvery) -> Self {
        self.commit_every = commit_every;
        self
    }

    /// Sets [`threads`](Self#structfield.threads).
    #[must_use]
    pub fn with_threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.threads = threads.into();
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.commit_every.records == Some(0) {
            return Err(Error::invalid_options("a commit every 0 records: 1 commits each record"));
        }
        Ok(())
    }
}

/// Whether the file may be mapped into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Mapping {
    /// Reads a file through a memory map where this is safe enough and the system allows it. The
    /// fastest.
    ///
    /// Files on local file systems are mapped. The system tells which type a file system has. Files on
    /// network file systems (NFS, SMB, Lustre, ..) and on file systems in user space (FUSE) are read by
    /// positioned reads: there, a page that cannot be loaded would raise a signal, while a read returns
    /// an error. Positioned reads are also used when the system refuses the map, for example for lack of
    /// address space. A depot that is opened for writing is never mapped.
    ///
    /// Mapping has two risks. If another program truncates a mapped file, the reader is killed by a
    /// signal (SIGBUS), as with every store that maps. And an index page is checked only when it is
    /// first touched: if a program later overwrites it in place with a valid location of another record,
    /// the reader returns that other record.
    #[default]
    Auto,
    /// Positioned reads only. A file that is truncated under an open reader gives an error.
    ///
    /// Index pages that were checked are kept in memory, where no other program can change them. This
    /// takes up to 128 MiB per depot, and up to 64 MiB more for the data that tells which names do not
    /// exist. Writers always work like this, whatever this option says.
    Never,
}

named! { Mapping, "mapping": Auto => "auto", Never => "never" }

/// How often a record's checksum is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Verify {
    /// On every read. The default. It also notices damage done later, by a program or a failing disk.
    #[default]
    EachRead,
    /// On the first read of a record through this depot, if later reads see the same bytes.
    ///
    /// This is so for uncompressed depots that are mapped. Damage done to the mapped file after the
    /// first read goes unnoticed. All other depots still verify on each read.
    ///
    /// Whichever of them reads a record first checks it for all: `get` and `get_at`, batches, iteration,
    /// ranges and the loader. What reads a record to copy it or to write it out, such as `read_to` and
    /// `compact`, still verifies each time. A record takes one bit to remember. After a
    /// [`refresh`](crate::Depot::refresh) that finds a new commit, all records are verified once more.
    Once,
}

named! { Verify, "verification": EachRead => "each_read", Once => "once" }

/// How a depot is opened. Not kept in the file.
///
/// ```
/// use vldepot::{Depot, Mapping, OpenOptions, Raw};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.vld");
/// # Depot::create(&path, Raw)?.close()?;
///
/// let options = OpenOptions::default().with_mapping(Mapping::Never).with_cache_bytes(256 << 20);
/// let depot = Depot::builder(Raw).open_options(options).open(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct OpenOptions {
    /// Whether the file may be mapped into memory.
    pub mapping: Mapping,
    /// How often a record's checksum is compared.
    pub verify: Verify,
    /// Bytes of decoded chunks to keep, for readers that come back to the same chunks. The default, 0,
    /// keeps none.
    ///
    /// With a cache, a chunk is decoded as a whole once single reads have decoded half as many bytes of
    /// it.
    pub cache_bytes: usize,
    /// Open a file that lost a commit, and go on with what is left. The default is false: such a file is
    /// an error, [`Incomplete`](crate::ErrorKind::Incomplete).
    ///
    /// The loss is not forgotten: looking up a name that is not found gives an error of its own, and
    /// appending notes the loss in the file.
    pub accept_loss: bool,
}

impl OpenOptions {
    /// Sets [`mapping`](Self#structfield.mapping).
    #[must_use]
    pub fn with_mapping(mut self, mapping: Mapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// Sets [`verify`](Self#structfield.verify).
    #[must_use]
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Sets [`cache_bytes`](Self#structfield.cache_bytes).
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets [`accept_loss`](Self#structfield.accept_loss).
    #[must_use]
    pub fn with_accept_loss(mut self, accept: bool) -> Self {
        self.accept_loss = accept;
        self
    }
}

/// How one call reads many records.
///
/// ```
/// use vldepot::{Depot, Raw, ReadOptions};
/// # let depot = Depot::memory(Raw)?;
/// # depot.put(1, b"one")?;
/// let records = depot.get_many_with(&[1, 1], &ReadOptions::default().with_threads(2))?;
/// assert_eq!(records[1].view(), b"one");
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct ReadOptions {
    /// Threads that decode, including the calling one. The default is 1.
    ///
    /// The other threads start when each has at least 256 KiB to decode, or 16 MiB of uncompressed records to
    /// verify. They end with the call, or with the iterator, so none is left for a fork to break. An
    /// iteration over records that are lent by a map starts none.
    pub threads: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

impl ReadOptions {
    /// Sets [`threads`](Self#structfield.threads).
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blosc::Filter;

    #[test]
    fn presets_are_valid_and_named() {
        for name in Layout::PRESETS {
            name.parse::<Layout>().unwrap().validate().unwrap();
        }
        assert!("tiny".parse::<Layout>().unwrap_err().to_string().contains("balanced, fast"));
    }

    #[test]
    fn options_are_parsed_by_the_names_that_they_print() {
        for codec in ["none", "lz4", "lz4hc", "zstd", "blosclz", "zlib"] {
            assert_eq!(codec.parse::<CompressionCodec>().unwrap().to_string(), codec);
        }
        assert_eq!("bitshuffle".parse::<Filter>().unwrap(), Filter::Bitshuffle);
        assert_eq!("no_cross".parse::<Placement>().unwrap(), Placement::NoCross);
        assert_eq!((Mapping::Never.to_string(), Verify::Once.to_string()), ("never".into(), "once".into()));
        let error = "gzip".parse::<CompressionCodec>().unwrap_err().to_string();
        assert!(error.contains("no compressor is called \"gzip\"; there are none, lz4"), "{error}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn options_serialise_and_leave_out_what_is_not_said() {
        let layout = Layout::fast().with_chunk_size(1 << 20).with_placement(Placement::Contiguous);
        let text = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
        let given = r#"{"commit_every": {"records": 10}, "threads": 2}"#;
        let write = WriteOptions::default().with_commit_every(CommitEvery::records(10)).with_threads(2);
        assert_eq!(serde_json::from_str::<WriteOptions>(given).unwrap(), write);
        let open = OpenOptions::default().with_mapping(Mapping::Never).with_verify(Verify::Once);
        let text = serde_json::to_string(&open).unwrap();
        assert_eq!(serde_json::from_str::<OpenOptions>(&text).unwrap(), open);
        assert_eq!(serde_json::from_str::<ReadOptions>("{}").unwrap(), ReadOptions::default());
    }

    #[test]
    fn impossible_parameters_say_what_to_change() {
        let with = |change: fn(&mut Layout)| {
            let mut layout = Layout::default();
            change(&mut layout);
            layout.validate().unwrap_err().to_string()
        };
        assert!(with(|o| o.block_size = Some(8 << 20)).contains("larger than the chunk size 4194304"));
        assert!(with(|o| o.chunk_size = 0).contains("chunk size 0"));
        assert!(with(|o| o.compression.level = 10).contains("0 to 9"));
        assert!(with(|o| o.compression.typesize = Some(0)).contains("typesize 0"));
        assert!(with(|o| o.block_size = Some(100)).contains("multiple of 64"));
        assert!(with(|o| o.block_size = Some(192)).contains("4194432 would be"));
        assert!(with(|o| o.compression.typesize = Some(3)).contains("4194306 would be"));
        assert!(with(|o| o.chunk_size = (1 << 30) + 4).contains("rounder"));
        assert!(with(|o| o.compression.codec = CompressionCodec::Zlib).contains("not written"));
        let never = WriteOptions::default().with_commit_every(CommitEvery::records(0));
        assert!(never.validate().unwrap_err().to_string().contains("0 records"));
    }

    #[test]
    fn the_typesize_is_the_codecs_where_it_divides_chunks_and_blocks() {
        let typesize = |chunk_size, block_size, element_size| {
            let layout = Layout { chunk_size, block_size, ..Layout::default() };
            let options = layout.with_typesize_for(element_size);
            options.validate().unwrap();
            options.compression.typesize
        };
        assert_eq!(typesize(4 << 20, None, 8), Some(8));
        assert_eq!(typesize(4 << 20, Some(1 << 14), 1), Some(1));
        assert_eq!(typesize(4 << 20, None, 12), Some(4));
        assert_eq!(typesize(12 << 20, Some(192), 12), Some(12));
        assert_eq!(typesize(100, None, 8), Some(4));
        assert_eq!(typesize(66, None, 4), Some(2));
        assert_eq!(typesize(4 << 20, None, 256), Some(4));
        assert_eq!(typesize(4 << 20, None, 0), Some(4));
        let compression = Compression { typesize: Some(2), ..Compression::default() };
        let given = Layout { compression, ..Layout::default() };
        assert_eq!(given.with_typesize_for(8).compression.typesize, Some(2));
    }

    #[test]
    fn block_sizes_follow_the_records_and_divide_the_chunk() {
        let options = Layout::default();
        assert_eq!(options.resolve_block_size(1700), 16 << 10);
        assert_eq!(options.resolve_block_size(180_000), 64 << 10);
        assert_eq!(Layout::fast().resolve_block_size(1700), 2 << 10);
        assert_eq!(Layout::fast().resolve_block_size(180_000), 64 << 10);
        let odd = Layout { chunk_size: 64 * 7, ..Layout::default() };
        assert_eq!(odd.resolve_block_size(10), 448);
        let tiny = Layout { chunk_size: 100, ..Layout::default() };
        assert_eq!(tiny.resolve_block_size(10), 100);
    }
}

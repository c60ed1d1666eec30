//! How a depot is laid out and opened: plain structs with documented defaults.

use std::time::Duration;

use crate::blosc::{MAX_BLOCK, MAX_CHUNK};
use crate::error::{Error, Result};

/// The compressor inside Blosc2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionCodec {
    /// Bytes stored as they are: on disk, views come straight from the memory map.
    None,
    /// Fastest; pairs with [`Filter::Bitshuffle`].
    Lz4,
    /// LZ4's format, slower to write and a little smaller.
    Lz4hc,
    /// The default: best size for the time.
    #[default]
    Zstd,
    /// Blosc's own.
    Blosclz,
    /// Read in files of other programs, not written.
    Zlib,
}

/// How bytes are rearranged before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Not at all.
    None,
    /// First bytes of all elements, then all second bytes, ..
    #[default]
    Shuffle,
    /// The same by bits.
    Bitshuffle,
}

/// What Blosc2 does to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Compression {
    /// The compressor.
    pub codec: CompressionCodec,
    /// 0 (no compression) to 9. Default 1: on molecular data level 5 saves under 1 % at a fifth of the speed.
    pub level: u8,
    /// Default [`Filter::Shuffle`].
    pub filter: Filter,
    /// Bytes of the elements the filter works on, 1 to 255. The default, `None`, takes what the codec says
    /// ([`Codec::element_size`](crate::Codec::element_size)), or the largest divisor of it that divides
    /// chunks and blocks. An existing depot has the number that was taken.
    pub typesize: Option<u8>,
}

/// Where a codec says nothing.
pub(crate) const DEFAULT_TYPESIZE: u8 = 4;

impl Compression {
    /// The typesize to compress with.
    pub(crate) fn typesize(self) -> u8 {
        self.typesize.unwrap_or(DEFAULT_TYPESIZE)
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self { codec: CompressionCodec::Zstd, level: 1, filter: Filter::Shuffle, typesize: None }
    }
}

/// Where records may start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A record that fits into a chunk lies in one chunk. The default.
    #[default]
    NoCross,
    /// Records follow each other and may cross chunks: no space lost at chunk ends.
    Contiguous,
    /// Each record starts a chunk of its own.
    StartAligned,
}

/// When a depot commits by itself, besides by call. Whichever limit is reached first commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitEvery {
    /// After this many records. Default 1,048,576: it bounds the memory that names not yet indexed take.
    pub records: Option<u64>,
    /// After this many raw bytes. Default 256 MiB.
    pub bytes: Option<u64>,
    /// By the first `put` after this long. Default never.
    pub interval: Option<Duration>,
}

impl Default for CommitEvery {
    fn default() -> Self {
        Self { records: Some(1 << 20), bytes: Some(256 << 20), interval: None }
    }
}

impl CommitEvery {
    /// A commit after every `n` records: `records(1)` makes every `put` durable before it returns.
    pub fn records(n: u64) -> Self {
        Self { records: Some(n), ..Self::default() }
    }

    /// A commit by the first `put` after each `interval`.
    pub fn interval(interval: Duration) -> Self {
        Self { interval: Some(interval), ..Self::default() }
    }
}

/// How a new depot is laid out, and how its writer behaves.
///
/// The layout (compression, sizes, placement) is stored in the file and kept by whoever appends to it.
///
/// ```
/// use vldepot::{DepotOptions, Depot, Raw};
/// let options = DepotOptions { chunk_size: 1 << 20, ..DepotOptions::fast() };
/// let depot = Depot::memory_with(Raw, options)?;
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepotOptions {
    /// What Blosc2 does to chunks.
    pub compression: Compression,
    /// Raw bytes of a chunk: a multiple of the block size and the typesize, 64 bytes to 2 GiB. Default 4 MiB.
    pub chunk_size: usize,
    /// Raw bytes of a block, the unit of random reads: a multiple of 64. The default, `None`, takes 64 KiB, or when the
    /// records of a chunk are under 4 KiB on average, 16 KiB for zstd and 2 KiB for LZ4, which has no tables to
    /// build for each block. With zstd, 8 KiB make single reads of small records a third faster, files 1 % larger and scans
    /// slower.
    pub block_size: Option<usize>,
    /// Where records may start and end.
    pub placement: Placement,
    /// When the depot commits by itself.
    pub commit_every: CommitEvery,
    /// Threads that compress full chunks while the caller goes on; 0 compresses inside `put`. The default, `None`,
    /// takes the machine's cores, at most 4. The threads start with the first full chunk.
    pub write_threads: Option<usize>,
    /// Also write, at each publication and on close, what the Python package vlstore needs to read the file:
    /// a table of all names, whose cost grows with the depot. Default false.
    pub vlstore_compatible: bool,
}

impl Default for DepotOptions {
    fn default() -> Self {
        Self::balanced()
    }
}

/// The smallest chunk: smaller ones would be all overhead.
const MIN_CHUNK: usize = 64;

/// Names that [`DepotOptions::preset`] takes.
pub const PRESETS: [&str; 4] = ["balanced", "fast", "compact", "uncompressed"];

impl DepotOptions {
    /// The default: zstd 1 over byte shuffle.
    pub fn balanced() -> Self {
        Self {
            compression: Compression::default(),
            chunk_size: 4 << 20,
            block_size: None,
            placement: Placement::NoCross,
            commit_every: CommitEvery::default(),
            write_threads: None,
            vlstore_compatible: false,
        }
    }

    /// LZ4 over bit shuffle: about twice as fast both ways, a little larger.
    pub fn fast() -> Self {
        let compression = Compression {
            codec: CompressionCodec::Lz4,
            level: 5,
            filter: Filter::Bitshuffle,
            ..Compression::default()
        };
        Self { compression, ..Self::balanced() }
    }

    /// zstd 9 in 256 KiB blocks: a few per cent smaller, many times slower to write; for archives.
    pub fn compact() -> Self {
        let compression = Compression { level: 9, ..Compression::default() };
        Self { compression, block_size: Some(256 << 10), ..Self::balanced() }
    }

    /// Nothing compressed: views on disk come straight from the memory map.
    ///
    /// A commit closes the open chunk, and the rest of that chunk stays an unwritten hole in the file. Commit seldom, or
    /// take chunks about as large as what is put between two commits.
    pub fn uncompressed() -> Self {
        let compression = Compression { codec: CompressionCodec::None, level: 0, ..Compression::default() };
        Self { compression, ..Self::balanced() }
    }

    /// The preset called `name`, one of [`PRESETS`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for another name.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "balanced" => Ok(Self::balanced()),
            "fast" => Ok(Self::fast()),
            "compact" => Ok(Self::compact()),
            "uncompressed" => Ok(Self::uncompressed()),
            _ => Err(Error::invalid_options(format!(
                "no preset is called {name:?}; there are {}",
                PRESETS.join(", ")
            ))),
        }
    }

    /// Checks that the parameters go together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`], which says what to change.
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
        if self.commit_every.records == Some(0) {
            return refuse("a commit every 0 records: 1 commits each record".into());
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

    /// The same with a typesize, for a codec of such elements; an odd size of chunks or blocks may ask for a
    /// smaller one.
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
        // An odd chunk size or typesize: the largest divisor of the chunk that is no larger than what was wanted.
        let unit = 64;
        let fits = |block: &usize| self.chunk_size.is_multiple_of(*block) && block.is_multiple_of(typesize);
        (1..=wanted / unit).rev().map(|n| n * unit).find(fits).unwrap_or(self.chunk_size)
    }
}

/// Whether the file may be mapped into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mapping {
    /// A file that is opened for reading is read through a memory map where that is safe enough and the
    /// system lets it. The fastest.
    ///
    /// Mapped are files of local file systems, by the type the system tells. Those of network file systems
    /// (NFS, SMB, Lustre, ..) and of programs (FUSE) are read by positioned reads: there a page that does not
    /// come is a signal, and a read is an error. So are files whose map the system refuses, for want of
    /// address space for example. What is opened for writing is never mapped.
    ///
    /// A file that another program cuts short while it is mapped kills the reader by a signal (SIGBUS): true
    /// of every store that maps. And an index page is checked when it is first touched: a program that
    /// overwrites it in place after that, and leaves a valid place of another record there, makes the reader
    /// return that other record.
    #[default]
    Auto,
    /// Positioned reads only: a file cut short under an open reader gives an error, and index pages that were
    /// checked are kept in memory, where nobody can change them: up to 128 MiB a depot, and 64 MiB more of
    /// what tells which names are not there. Writers do the same whatever is asked for.
    Never,
}

/// How often a record's checksum is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// By every read. The default: what a program, or a failing disk, does to the file later is noticed too.
    #[default]
    EachRead,
    /// By the first read of a record through this depot, where later ones see the same bytes: in uncompressed depots that are
    /// mapped. What is damaged in the mapped file after that goes unnoticed. Everywhere else each read still verifies.
    Once,
}

/// How an existing depot is opened. What `append` needs besides comes from the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Whether the file may be mapped into memory.
    pub mapping: Mapping,
    /// How often a record's checksum is compared.
    pub verify: Verify,
    /// Bytes of decoded chunks to keep, for readers that come back to the same chunks. A chunk is decoded whole for that once
    /// single reads have decoded half as much of it. Default 0: none are kept.
    pub cache_bytes: usize,
    /// Go on with what is there of a file that lost a commit, which is an error
    /// ([`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete)) otherwise. What was lost stays known: a name that is
    /// not found is an error of its own, and appending notes the loss in the file.
    pub accept_loss: bool,
    /// For `append`: when the depot commits by itself.
    pub commit_every: CommitEvery,
    /// For `append`: see [`DepotOptions::write_threads`].
    pub write_threads: Option<usize>,
}

/// How many records are read at once.
///
/// ```
/// use vldepot::{Depot, Raw, ReadOptions};
/// # let depot = Depot::memory(Raw)?;
/// # depot.put(1, b"one")?;
/// let records = depot.get_many_with(&[1, 1], &ReadOptions::threads(2))?;
/// assert_eq!(records[1].view(), b"one");
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Threads that decode, the calling one included. Default 1. The others are started when there is a megabyte or more to
    /// decode for each, and end with the call, or with the iterator: nothing is left that a fork would break.
    pub threads: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

impl ReadOptions {
    /// That many threads.
    pub fn threads(threads: usize) -> Self {
        Self { threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_named() {
        for name in PRESETS {
            DepotOptions::preset(name).unwrap().validate().unwrap();
        }
        assert!(DepotOptions::preset("tiny").unwrap_err().to_string().contains("balanced, fast"));
    }

    #[test]
    fn impossible_parameters_say_what_to_change() {
        let with = |change: fn(&mut DepotOptions)| {
            let mut options = DepotOptions::default();
            change(&mut options);
            options.validate().unwrap_err().to_string()
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
        assert!(with(|o| o.commit_every.records = Some(0)).contains("0 records"));
    }

    #[test]
    fn the_typesize_is_the_codecs_where_it_divides_chunks_and_blocks() {
        let typesize = |chunk_size, block_size, element_size| {
            let options = DepotOptions { chunk_size, block_size, ..DepotOptions::default() };
            let options = options.with_typesize_for(element_size);
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
        let given = DepotOptions { compression, ..DepotOptions::default() };
        assert_eq!(given.with_typesize_for(8).compression.typesize, Some(2));
    }

    #[test]
    fn block_sizes_follow_the_records_and_divide_the_chunk() {
        let options = DepotOptions::default();
        assert_eq!(options.resolve_block_size(1700), 16 << 10);
        assert_eq!(options.resolve_block_size(180_000), 64 << 10);
        assert_eq!(DepotOptions::fast().resolve_block_size(1700), 2 << 10);
        assert_eq!(DepotOptions::fast().resolve_block_size(180_000), 64 << 10);
        let odd = DepotOptions { chunk_size: 64 * 7, ..DepotOptions::default() };
        assert_eq!(odd.resolve_block_size(10), 448);
        let tiny = DepotOptions { chunk_size: 100, ..DepotOptions::default() };
        assert_eq!(tiny.resolve_block_size(10), 100);
    }
}

//! What Blosc2 does to a chunk, as users choose it.

use crate::named::named;

/// The compressor inside Blosc2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
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

named! {
    CompressionCodec, "compressor":
    None => "none", Lz4 => "lz4", Lz4hc => "lz4hc", Zstd => "zstd", Blosclz => "blosclz", Zlib => "zlib"
}

/// How bytes are rearranged before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Filter {
    /// Not at all.
    None,
    /// First bytes of all elements, then all second bytes, ..
    #[default]
    Shuffle,
    /// The same by bits.
    Bitshuffle,
}

named! { Filter, "filter": None => "none", Shuffle => "shuffle", Bitshuffle => "bitshuffle" }

/// What Blosc2 does to a chunk.
///
/// ```
/// use vldepot::{Compression, CompressionCodec, Filter, Layout};
///
/// let archive = Layout::default().with_compression(Compression::zstd(9));
/// assert_eq!(archive.compression.level, 9);
/// let text = Compression::default().with_filter(Filter::None).with_typesize(1);
/// assert_eq!((text.codec, text.filter), (CompressionCodec::Zstd, Filter::None));
/// assert_eq!("lz4hc".parse::<CompressionCodec>()?, CompressionCodec::Lz4hc);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Compression {
    /// The compressor.
    pub codec: CompressionCodec,
    /// 0 (no compression) to 9. Default 1: on molecular data higher levels of zstd save one or two per cent,
    /// and are several times slower to write.
    pub level: u8,
    /// Default [`Filter::Shuffle`].
    pub filter: Filter,
    /// Bytes of the elements the filter works on, 1 to 255. The default, `None`, takes what the codec says
    /// ([`Codec::element_size`](crate::Codec::element_size)), or the largest divisor of it that divides
    /// chunks and blocks. An existing depot has the number that was taken.
    pub typesize: Option<u8>,
}

/// The typesize where a codec says nothing.
pub(crate) const DEFAULT_TYPESIZE: u8 = 4;

impl Compression {
    /// zstd at `level`, 1 to 9, over byte shuffle.
    pub fn zstd(level: u8) -> Self {
        Self { level, ..Self::default() }
    }

    /// LZ4 over bit shuffle.
    pub fn lz4() -> Self {
        Self { codec: CompressionCodec::Lz4, level: 5, filter: Filter::Bitshuffle, typesize: None }
    }

    /// Nothing: bytes are stored as they are.
    pub fn none() -> Self {
        Self { codec: CompressionCodec::None, level: 0, ..Self::default() }
    }

    /// Sets [`codec`](Self#structfield.codec).
    #[must_use]
    pub fn with_codec(mut self, codec: CompressionCodec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets [`level`](Self#structfield.level), 0 to 9.
    #[must_use]
    pub fn with_level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Sets [`filter`](Self#structfield.filter).
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets [`typesize`](Self#structfield.typesize), in bytes; `None` takes what the codec says.
    #[must_use]
    pub fn with_typesize(mut self, bytes: impl Into<Option<u8>>) -> Self {
        self.typesize = bytes.into();
        self
    }

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

/// Blosc2's number for how blocks are split: 1, a stream for each byte of the type, or 2, one for all.
///
/// zstd has one entropy table a stream. After a byte shuffle the bytes of a number have little in common:
/// exponents compress, low bits of mantissas do not, and split from each other they need 4 to 7 % less space
/// and half the time to decompress. LZ4 has no such tables and does not gain.
pub(crate) fn split_mode(compression: Compression) -> u8 {
    let split = compression.codec == CompressionCodec::Zstd && compression.filter == Filter::Shuffle;
    if split { 1 } else { 2 }
}

/// Blosc2's number of a codec, as contexts and the frame header want it.
pub(crate) fn compcode(codec: CompressionCodec) -> u8 {
    match codec {
        CompressionCodec::Blosclz => 0,
        CompressionCodec::None | CompressionCodec::Lz4 => 1,
        CompressionCodec::Lz4hc => 2,
        CompressionCodec::Zlib => 4,
        CompressionCodec::Zstd => 5,
    }
}

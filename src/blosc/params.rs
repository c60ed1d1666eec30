//! How Blosc2 compresses a chunk, as users choose it.

use crate::named::named;

/// The compressor inside Blosc2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum CompressionCodec {
    /// No compression: bytes are stored as they are. In a mapped file, views come straight from the map.
    None,
    /// The fastest. It goes well with [`Filter::Bitshuffle`].
    Lz4,
    /// The same format as LZ4, but slower to write and a little smaller.
    Lz4hc,
    /// The default: the best size for the time.
    #[default]
    Zstd,
    /// The codec of Blosc itself.
    Blosclz,
    /// Read in files of other programs, but never written.
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
    /// Bytes are not rearranged.
    None,
    /// The first bytes of all elements come first, then all second bytes, and so on.
    #[default]
    Shuffle,
    /// The same as [`Shuffle`](Self::Shuffle), but by bits.
    Bitshuffle,
}

named! { Filter, "filter": None => "none", Shuffle => "shuffle", Bitshuffle => "bitshuffle" }

/// How Blosc2 compresses a chunk.
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
    /// The level, 0 (no compression) to 9. The default is 1.
    ///
    /// On molecular data, higher levels of zstd save one or two per cent, and are several times slower to
    /// write.
    pub level: u8,
    /// How bytes are rearranged before compression. The default is [`Filter::Shuffle`].
    pub filter: Filter,
    /// Bytes of the elements that the filter works on, 1 to 255.
    ///
    /// The default, `None`, takes the codec's [`element_size`](crate::Codec::element_size), or its largest
    /// divisor that divides chunks and blocks. An existing depot has the number that was taken.
    pub typesize: Option<u8>,
}

/// The typesize if none was chosen.
pub(crate) const DEFAULT_TYPESIZE: u8 = 4;

impl Compression {
    /// zstd at `level`, 1 to 9, after a byte shuffle.
    pub fn zstd(level: u8) -> Self {
        Self { level, ..Self::default() }
    }

    /// LZ4 after a bit shuffle.
    pub fn lz4() -> Self {
        Self { codec: CompressionCodec::Lz4, level: 5, filter: Filter::Bitshuffle, typesize: None }
    }

    /// No compression: bytes are stored as they are.
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

    /// Sets [`typesize`](Self#structfield.typesize), in bytes. `None` takes that of the codec.
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

/// Whether each byte of the type has a stream of its own in a block.
///
/// zstd has one entropy table per stream. After a byte shuffle, the bytes of a number have little in common:
/// exponents compress, but low bits of mantissas do not. Split from each other, they need 4 to 7 % less space
/// and half the time to decompress. LZ4 has no such tables and does not gain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    Always,
    Never,
}

impl Split {
    /// How the blocks of full chunks are split.
    pub(crate) fn of(compression: Compression) -> Self {
        let split = compression.codec == CompressionCodec::Zstd && compression.filter == Filter::Shuffle;
        if split { Self::Always } else { Self::Never }
    }

    /// Blosc2's number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Always => 1,
            Self::Never => 2,
        }
    }

    /// Streams of a block, of elements of `typesize` bytes.
    pub(crate) fn n_streams(self, typesize: u8) -> usize {
        match self {
            Self::Always => typesize.into(),
            Self::Never => 1,
        }
    }
}

/// Blosc2's number of a codec, as contexts and the frame header use it.
pub(crate) fn compcode(codec: CompressionCodec) -> u8 {
    match codec {
        CompressionCodec::Blosclz => 0,
        CompressionCodec::None | CompressionCodec::Lz4 => 1,
        CompressionCodec::Lz4hc => 2,
        CompressionCodec::Zlib => 4,
        CompressionCodec::Zstd => 5,
    }
}

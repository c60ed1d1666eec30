//! What Blosc2 does to a chunk, as users choose it, and as its files and contexts number it.
//!
//! `options`, `format` and the crate's root take the choices from here.

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

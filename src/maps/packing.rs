//! Compression of single values.

use std::fmt;
use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzReader, XzWriter};

use crate::error::{Error, ErrorKind, Result};
use crate::zstd;

/// KiB that the decoder of xz may take: twice what `xz -9` needs.
const XZ_MEMORY: u32 = 128 << 10;

/// What gzip and xz use by default.
const LEVEL: u32 = 6;

/// Values of so few bytes stay as they are inside gzip: compressed, they would save three bytes at most.
const PLAIN: usize = 20;

/// How the values of a map are compressed, each alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Packing {
    /// As they are. A value is read by one slice, and lent without a copy where the map is in memory.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Brotli. Reading and writing it takes the feature `brotli`.
    Brotli,
    /// zstd.
    Zstd,
    /// LZMA, in the container of xz.
    Lzma,
}

/// Each packing, its name, and its four bytes in the header of mapbuffer. The number in the header is the
/// place in this list.
const ALL: [(Packing, &str, &[u8; 4]); 5] = [
    (Packing::None, "none", b"none"),
    (Packing::Gzip, "gzip", b"gzip"),
    (Packing::Brotli, "br", b"00br"),
    (Packing::Zstd, "zstd", b"zstd"),
    (Packing::Lzma, "lzma", b"lzma"),
];

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Packing {
    /// `none`, `gzip`, `br`, `zstd` or `lzma`.
    pub fn name(self) -> &'static str {
        ALL[usize::from(self.number())].1
    }

    /// The packing of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, known, _)| *known == name).map(|(packing, ..)| *packing)
    }

    pub(super) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Brotli => 2,
            Self::Zstd => 3,
            Self::Lzma => 4,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        ALL.get(usize::from(number)).map(|(packing, ..)| *packing)
    }

    pub(super) fn tag(self) -> [u8; 4] {
        *ALL[usize::from(self.number())].2
    }

    pub(super) fn from_tag(tag: [u8; 4]) -> Option<Self> {
        ALL.iter().find(|(.., known)| **known == tag).map(|(packing, ..)| *packing)
    }

    /// The bytes of a value as they are stored.
    pub(super) fn pack(self, value: &[u8]) -> Result<Vec<u8>> {
        let packed = match self {
            Self::None => Ok(value.to_vec()),
            Self::Gzip => {
                let level = if value.len() <= PLAIN { 0 } else { LEVEL };
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(level));
                encoder.write_all(value).and_then(|()| encoder.finish())
            }
            Self::Brotli => brotli_pack(value)?,
            Self::Zstd => zstd_pack(value),
            Self::Lzma => lzma_pack(value),
        };
        packed
            .map_err(|source| Error::new(ErrorKind::Io { action: "compress a value".into() }).because(source))
    }

    /// The value of stored bytes, if it has at most `most` bytes. `Ok(None)` if it has more.
    pub(super) fn unpack(self, stored: &[u8], most: u64) -> Result<io::Result<Option<Vec<u8>>>> {
        if stored.is_empty() {
            return Ok(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no bytes")));
        }
        Ok(match self {
            Self::None => limited(stored, most),
            Self::Gzip => limited(MultiGzDecoder::new(stored), most),
            Self::Brotli => brotli_unpack(stored, most)?,
            Self::Zstd => limited(zstd::Reader::new(stored), most),
            Self::Lzma => limited(XzReader::new_mem_limit(stored, true, XZ_MEMORY), most),
        })
    }
}

fn limited(source: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut value = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut value)?;
    Ok((value.len() as u64 <= most).then_some(value))
}

fn zstd_pack(value: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = zstd::Writer::sized(Vec::new(), value.len() as u64)?;
    writer.write_all(value)?;
    writer.finish()
}

fn lzma_pack(value: &[u8]) -> io::Result<Vec<u8>> {
    let mut options = XzOptions::with_preset(LEVEL);
    // A window longer than the value only takes memory.
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX).max(4096);
    options.lzma_options.dict_size = options.lzma_options.dict_size.min(len);
    let mut writer = XzWriter::new(Vec::new(), options)?;
    writer.write_all(value)?;
    writer.finish()
}

#[cfg(feature = "brotli")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn brotli_pack(value: &[u8]) -> Result<io::Result<Vec<u8>>> {
    let mut packed = Vec::new();
    // Quality 5 and a window of 4 MiB, as mapbuffer does.
    let read = brotli::CompressorReader::new(value, 4096, 5, 22).read_to_end(&mut packed);
    Ok(read.map(|_| packed))
}

#[cfg(feature = "brotli")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn brotli_unpack(stored: &[u8], most: u64) -> Result<io::Result<Option<Vec<u8>>>> {
    Ok(limited(brotli::Decompressor::new(stored, 4096), most))
}

#[cfg(not(feature = "brotli"))]
fn without_brotli() -> Error {
    let name = "br (this program was built without the feature `brotli`)".into();
    Error::new(ErrorKind::Unsupported { what: "compression", name, offset: 8 })
}

#[cfg(not(feature = "brotli"))]
fn brotli_pack(_: &[u8]) -> Result<io::Result<Vec<u8>>> {
    Err(without_brotli())
}

#[cfg(not(feature = "brotli"))]
fn brotli_unpack(_: &[u8], _: u64) -> Result<io::Result<Option<Vec<u8>>>> {
    Err(without_brotli())
}

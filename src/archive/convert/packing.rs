//! Streams that are compressed by gzip, xz or zstd, and the limit on what comes out of them.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzReader, XzWriter};

use super::options::Format;
use crate::zstd;

/// So many bytes may come out of anything.
const FREE: u64 = 1 << 30;

/// KiB that the decoder of xz may take. `xz -9` needs 64 MiB, and so much is what zstd takes at most too.
const XZ_MEMORY: u32 = 128 << 10;

/// What the compressors of gzip and xz use by default.
const LEVEL: u32 = 6;

/// Bytes that are read and written at once.
const BUFFER: usize = 128 << 10;

/// Compares what comes out of compressed bytes with how many they are.
#[derive(Clone)]
pub(super) struct Guard {
    counts: Rc<Counts>,
    max_ratio: u64,
}

#[derive(Default)]
struct Counts {
    packed: Cell<u64>,
    unpacked: Cell<u64>,
}

/// More comes out than is believed.
#[derive(Debug)]
struct Bomb {
    packed: u64,
    unpacked: u64,
    max_ratio: u64,
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packed, unpacked, max_ratio } = self;
        write!(
            f,
            "{packed} bytes have become {unpacked}, more than {max_ratio} times as many, which is the \
             limit: such archives are made to fill memory and disks"
        )
    }
}

impl std::error::Error for Bomb {}

impl Guard {
    pub(super) fn new(max_ratio: u64) -> Self {
        Self { counts: Rc::default(), max_ratio }
    }

    /// A reader whose bytes count as compressed.
    pub(super) fn packed<R: Read>(&self, source: R) -> Packed<R> {
        Packed { source, guard: self.clone() }
    }

    /// A reader whose bytes count as what came out.
    pub(super) fn unpacked<R: Read>(&self, source: R) -> Unpacked<R> {
        Unpacked { source, guard: self.clone() }
    }

    /// Whether so much of so few bytes would be too much.
    pub(super) fn refuses(&self, packed: u64, unpacked: u64) -> Option<io::Error> {
        let max_ratio = self.max_ratio;
        let is_too_much = unpacked > FREE && unpacked / max_ratio.max(1) > packed;
        is_too_much.then(|| io::Error::new(io::ErrorKind::InvalidData, Bomb { packed, unpacked, max_ratio }))
    }
}

pub(super) struct Packed<R> {
    source: R,
    guard: Guard,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(out)?;
        let packed = &self.guard.counts.packed;
        packed.set(packed.get().saturating_add(n as u64));
        Ok(n)
    }
}

pub(super) struct Unpacked<R> {
    source: R,
    guard: Guard,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(out)?;
        let counts = &self.guard.counts;
        let unpacked = counts.unpacked.get().saturating_add(n as u64);
        counts.unpacked.set(unpacked);
        match self.guard.refuses(counts.packed.get(), unpacked) {
            Some(error) => Err(error),
            None => Ok(n),
        }
    }
}

/// A tar archive, as it is when it is not compressed.
pub(super) fn unpack<'s>(source: impl Read + 's, format: Format, guard: &Guard) -> Box<dyn Read + 's> {
    let packed = BufReader::with_capacity(BUFFER, guard.packed(source));
    let unpacked: Box<dyn Read + 's> = match format {
        Format::Tar | Format::Zip => return Box::new(packed),
        Format::TarGz => Box::new(MultiGzDecoder::new(packed)),
        Format::TarXz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
        Format::TarZst => Box::new(zstd::Reader::new(packed)),
    };
    Box::new(BufReader::with_capacity(BUFFER, guard.unpacked(unpacked)))
}

/// Compresses what is written to it.
pub(super) enum Packer<W: Write> {
    Plain(W),
    Gz(GzEncoder<W>),
    Xz(Box<XzWriter<W>>),
    Zst(zstd::Writer<W>),
}

impl<W: Write> Packer<W> {
    pub(super) fn new(target: W, format: Format) -> io::Result<Self> {
        Ok(match format {
            Format::Tar | Format::Zip => Self::Plain(target),
            Format::TarGz => Self::Gz(GzEncoder::new(target, Compression::new(LEVEL))),
            Format::TarXz => Self::Xz(Box::new(XzWriter::new(target, XzOptions::with_preset(LEVEL))?)),
            Format::TarZst => Self::Zst(zstd::Writer::new(target)?),
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(target) => Ok(target),
            Self::Gz(encoder) => encoder.finish(),
            Self::Xz(encoder) => encoder.finish(),
            Self::Zst(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(target) => target.write(bytes),
            Self::Gz(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::Zst(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(target) => target.flush(),
            Self::Gz(encoder) => encoder.flush(),
            Self::Xz(encoder) => encoder.flush(),
            Self::Zst(encoder) => encoder.flush(),
        }
    }
}

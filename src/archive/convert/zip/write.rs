//! Writes a zip archive, without going back in it.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::super::giving::Target;
use super::{
    DEFLATED, DIRECTORY, END, END64, ENTRY, FILE, FOLDER, LENGTHS_AFTER, LINK, LOCATOR64, OWNER, STORED,
    TIMES, UNIX, UTF8, ZIP64, dos,
};
use crate::archive::stat::{FileAttributes, FileKind};

/// What compresses by default elsewhere too.
const LEVEL: u32 = 6;

/// Files of as many bytes and more have their lengths in 8 bytes: compressed, they may be longer.
const LONG: u64 = 0xf000_0000;

/// Made by Unix, by version 4.5 of the format.
const MADE_BY: u16 = (UNIX << 8) + 45;

const MAX: u64 = u32::MAX as u64;

/// Counts what is written.
struct Counted<W> {
    target: W,
    at: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.target.write(bytes)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// An entry, as the directory has it.
struct Entry {
    name: Vec<u8>,
    extra: Vec<u8>,
    flags: u16,
    method: u16,
    date: (u16, u16),
    crc: u32,
    packed: u64,
    len: u64,
    mode: u32,
    at: u64,
}

/// A file whose bytes follow.
struct Begun<W: Write> {
    entry: Entry,
    encoder: DeflateEncoder<Counted<W>>,
    start: u64,
    crc: Crc,
}

pub(in super::super) struct Writer<W: Write> {
    /// `None` while a file is written.
    target: Option<Counted<W>>,
    begun: Option<Begun<W>>,
    directory: Vec<u8>,
    entries: u64,
}

fn no_target() -> io::Error {
    io::Error::other("an earlier file was not finished")
}

impl<W: Write> Writer<W> {
    pub(in super::super) fn new(target: W) -> Self {
        let target = Some(Counted { target, at: 0 });
        Self { target, begun: None, directory: Vec::new(), entries: 0 }
    }

    fn entry(&self, name: Vec<u8>, kind: u32, mode: u32, attributes: &FileAttributes) -> io::Result<Entry> {
        let at = self.target.as_ref().ok_or_else(no_target)?.at;
        let mut extra = Vec::new();
        if let Some(time) = attributes.mtime.and_then(|time| i32::try_from(time).ok()) {
            extra.extend(TIMES.to_le_bytes());
            extra.extend([5, 0, 1]);
            extra.extend(time.to_le_bytes());
        }
        if let (Some(uid), Some(gid)) = (attributes.uid, attributes.gid) {
            extra.extend(OWNER.to_le_bytes());
            extra.extend([11, 0, 1, 4]);
            extra.extend(uid.to_le_bytes());
            extra.push(4);
            extra.extend(gid.to_le_bytes());
        }
        let flags = if std::str::from_utf8(&name).is_ok() { UTF8 } else { 0 };
        let (date, time) = dos(attributes.mtime.unwrap_or(0));
        let mode = kind | attributes.mode.unwrap_or(mode) & 0o7777;
        let (crc, packed, len) = (0, 0, 0);
        Ok(Entry { name, extra, flags, method: STORED, date: (date, time), crc, packed, len, mode, at })
    }

    /// An entry whose bytes are here.
    fn whole(&mut self, mut entry: Entry, bytes: &[u8]) -> io::Result<()> {
        let mut crc = Crc::new();
        crc.update(bytes);
        (entry.crc, entry.len) = (crc.sum(), bytes.len() as u64);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(LEVEL));
        encoder.write_all(bytes)?;
        let deflated = encoder.finish()?;
        let packed = if deflated.len() < bytes.len() {
            entry.method = DEFLATED;
            &deflated[..]
        } else {
            bytes
        };
        entry.packed = packed.len() as u64;
        let target = self.target.as_mut().ok_or_else(no_target)?;
        target.write_all(&head(&entry, false))?;
        target.write_all(packed)?;
        self.enter(&entry, false);
        Ok(())
    }

    /// Puts an entry into the directory.
    fn enter(&mut self, entry: &Entry, is_long: bool) {
        let mut long = Vec::new();
        let mut field = |value: u64, force: bool| {
            if force || value >= MAX {
                long.extend(value.to_le_bytes());
                return u32::MAX;
            }
            u32::try_from(value).unwrap_or(u32::MAX)
        };
        let (len, packed, at) =
            (field(entry.len, is_long), field(entry.packed, is_long), field(entry.at, false));
        let extra_len = entry.extra.len() + if long.is_empty() { 0 } else { 4 + long.len() };
        let out = &mut self.directory;
        out.extend(DIRECTORY);
        halves(out, &[MADE_BY, version(entry, !long.is_empty()), entry.flags, entry.method]);
        halves(out, &[entry.date.1, entry.date.0]);
        words(out, &[entry.crc, packed, len]);
        halves(out, &[half(entry.name.len()), half(extra_len), 0, 0, 0]);
        words(out, &[entry.mode << 16, at]);
        out.extend(&entry.name);
        if !long.is_empty() {
            halves(out, &[ZIP64, half(long.len())]);
            out.extend(long);
        }
        out.extend(&entry.extra);
        self.entries += 1;
    }

    /// Writes the directory.
    pub(in super::super) fn finish(self) -> io::Result<W> {
        let Self { target, directory, entries, .. } = self;
        let mut target = target.ok_or_else(no_target)?;
        let (at, len) = (target.at, directory.len() as u64);
        target.write_all(&directory)?;
        let mut out = Vec::new();
        if entries >= u64::from(u16::MAX) || at >= MAX || len >= MAX {
            out.extend(END64);
            longs(&mut out, &[44]);
            halves(&mut out, &[MADE_BY, 45]);
            words(&mut out, &[0, 0]);
            longs(&mut out, &[entries, entries, len, at]);
            out.extend(LOCATOR64);
            words(&mut out, &[0]);
            longs(&mut out, &[at + len]);
            words(&mut out, &[1]);
        }
        out.extend(END);
        let count = u16::try_from(entries).unwrap_or(u16::MAX);
        halves(&mut out, &[0, 0, count, count]);
        words(&mut out, &[u32::try_from(len).unwrap_or(u32::MAX), u32::try_from(at).unwrap_or(u32::MAX)]);
        halves(&mut out, &[0]);
        target.write_all(&out)?;
        Ok(target.target)
    }
}

/// What must be able to read an entry.
fn version(entry: &Entry, is_long: bool) -> u16 {
    if is_long {
        45
    } else if entry.method == DEFLATED {
        20
    } else {
        10
    }
}

/// The header of an entry. The lengths of a long one come after it.
fn head(entry: &Entry, is_long: bool) -> Vec<u8> {
    let mut out = ENTRY.to_vec();
    halves(&mut out, &[version(entry, is_long), entry.flags, entry.method, entry.date.1, entry.date.0]);
    // Shorter than 4 GiB: see `LONG`.
    let word = |n| u32::try_from(n).unwrap_or(u32::MAX);
    let (packed, len) = if is_long { (u32::MAX, u32::MAX) } else { (word(entry.packed), word(entry.len)) };
    words(&mut out, &[entry.crc, packed, len]);
    let extra_len = entry.extra.len() + if is_long { 20 } else { 0 };
    halves(&mut out, &[half(entry.name.len()), half(extra_len)]);
    out.extend(&entry.name);
    if is_long {
        halves(&mut out, &[ZIP64, 16]);
        longs(&mut out, &[0, 0]);
    }
    out.extend(&entry.extra);
    out
}

fn half(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn halves(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn words(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn longs(out: &mut Vec<u8>, values: &[u64]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

impl<W: Write> Target for Writer<W> {
    fn refuses(&self, path: &[u8], _kind: FileKind) -> Option<&'static str> {
        // A folder's has a `/` more.
        (path.len() >= usize::from(u16::MAX)).then_some("a path in a zip archive has at most 65,534 bytes")
    }

    fn folder(&mut self, path: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        let entry = self.entry([path, b"/"].concat(), FOLDER, 0o755, attributes)?;
        self.whole(entry, &[])
    }

    fn link(&mut self, path: &[u8], target: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        let entry = self.entry(path.to_vec(), LINK, 0o777, attributes)?;
        self.whole(entry, target)
    }

    fn file(&mut self, path: &[u8], bytes: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        let entry = self.entry(path.to_vec(), FILE, 0o644, attributes)?;
        self.whole(entry, bytes)
    }

    fn begin(&mut self, path: &[u8], len: u64, attributes: &FileAttributes) -> io::Result<()> {
        let mut entry = self.entry(path.to_vec(), FILE, 0o644, attributes)?;
        entry.method = DEFLATED;
        entry.flags |= LENGTHS_AFTER;
        let mut target = self.target.take().ok_or_else(no_target)?;
        target.write_all(&head(&entry, len >= LONG))?;
        entry.len = len;
        let start = target.at;
        let encoder = DeflateEncoder::new(target, Compression::new(LEVEL));
        self.begun = Some(Begun { entry, encoder, start, crc: Crc::new() });
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        let begun = self.begun.as_mut().ok_or_else(no_target)?;
        begun.crc.update(bytes);
        begun.encoder.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let Begun { mut entry, encoder, start, crc } = self.begun.take().ok_or_else(no_target)?;
        let mut target = encoder.finish()?;
        (entry.crc, entry.packed) = (crc.sum(), target.at - start);
        let is_long = entry.len >= LONG;
        let mut out = b"PK\x07\x08".to_vec();
        words(&mut out, &[entry.crc]);
        if is_long {
            longs(&mut out, &[entry.packed, entry.len]);
        } else {
            let word = |n| u32::try_from(n).unwrap_or(u32::MAX);
            words(&mut out, &[word(entry.packed), word(entry.len)]);
        }
        target.write_all(&out)?;
        self.target = Some(target);
        self.enter(&entry, is_long);
        Ok(())
    }
}

//! Reads a zip archive, by its directory.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::super::packing::Guard;
use super::super::report::{ConvertError, Result};
use super::super::taking::{Kind, LONG, Member, Taker, invalid, read_bytes};
use super::{
    DEFLATED, DIRECTORY, ENCRYPTED, END, END64, ENTRY, FOLDER, KIND, LINK, LOCATOR64, OWNER, STORED, TIMES,
    UNIX, ZIP64, seconds, u16_at, u32_at, u64_at,
};
use crate::archive::path::ArchivePath;
use crate::archive::stat::FileAttributes;

/// Bytes of the directory that are read at once.
const AT_ONCE: u64 = 1 << 20;

/// The longest entry of a directory: 46 bytes, and three texts.
const LONGEST: u64 = 46 + 3 * 65_535;

/// The longest path of a link.
const MAX_LINK: u64 = 1 << 20;

/// Where the directory is.
struct Directory {
    at: u64,
    end: u64,
    entries: u64,
    /// What is before the archive in its file, such as a program that unpacks it.
    before: u64,
}

/// An entry of the directory.
struct Entry {
    member: Member,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    len: u64,
    at: u64,
}

fn read_at(source: &mut (impl Read + Seek), at: u64, len: u64) -> io::Result<Vec<u8>> {
    source.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    read_bytes(source, len, &mut bytes)?;
    Ok(bytes)
}

/// Takes in all entries, in the order of the directory.
pub(in super::super) fn read(
    mut source: impl Read + Seek,
    guard: &Guard,
    taker: &mut Taker<'_>,
) -> Result<()> {
    let source = &mut source;
    let file_len = source.seek(SeekFrom::End(0)).map_err(|error| ConvertError::read(None, 0, error))?;
    let directory = find(source, file_len)?;
    let (mut at, mut entries, mut packed) = (directory.at, 0, 0_u64);
    while at < directory.end {
        // As many entries as are whole in it.
        let piece = read_at(source, at, (directory.end - at).min(AT_ONCE + LONGEST));
        let piece = piece.map_err(|error| ConvertError::read(None, at, error))?;
        let mut used = 0;
        while used < piece.len() && (used as u64) < AT_ONCE {
            let here = at + used as u64;
            let (entry, len) =
                parse(&piece[used..], &directory).map_err(|error| ConvertError::read(None, here, error))?;
            used += len;
            entries += 1;
            packed = packed.saturating_add(entry.packed);
            if packed > file_len {
                let why = "its entries have more bytes together than the file: they lie over each other, as \
                           in archives that are made to fill memory and disks";
                return Err(ConvertError::source(None, here, why));
            }
            take(source, &entry, guard, taker)?;
        }
        at += used as u64;
    }
    if entries != directory.entries {
        let why = format!("its directory has {entries} entries, and should have {}", directory.entries);
        return Err(ConvertError::source(None, directory.at, why));
    }
    Ok(())
}

/// Finds the directory, from the end of the file.
fn find(source: &mut (impl Read + Seek), file_len: u64) -> Result<Directory> {
    let failed = |at| move |error| ConvertError::read(None, at, error);
    // The end, its comment, and what points to the end of zip64.
    let start = file_len.saturating_sub(22 + 65_535 + 20);
    let tail = read_at(source, start, file_len - start).map_err(failed(start))?;
    let refused = |at, why: &str| ConvertError::source(None, at, why);
    let mut ends = (0..tail.len().saturating_sub(21)).rev();
    let end = ends.find(|&at| {
        tail[at..].starts_with(END)
            && u16_at(&tail, at + 20).is_some_and(|n| at + 22 + usize::from(n) == tail.len())
    });
    let Some(end) = end else {
        return Err(refused(file_len, "the directory of the zip archive is missing: it was cut short"));
    };
    let end_at = start + end as u64;
    let field = |at| u64::from(u32_at(&tail, end + at).unwrap_or(0));
    let mut entries = u64::from(u16_at(&tail, end + 10).unwrap_or(0));
    let (mut len, mut place, mut after) = (field(12), field(16), end_at);
    let of_several = u16_at(&tail, end + 4) != Some(0) && u16_at(&tail, end + 4) != Some(u16::MAX);
    if of_several {
        return Err(refused(end_at, "it is one part of an archive in several files"));
    }
    if let Some(locator) = end.checked_sub(20).filter(|at| tail[*at..].starts_with(LOCATOR64)) {
        // What is before the archive shifts it: looked for where it should be, and right before.
        let said = u64_at(&tail, locator + 8).unwrap_or(0);
        let beside = (start + locator as u64).checked_sub(56);
        let found = [Some(said), beside].into_iter().flatten().find_map(|at| {
            (at < file_len)
                .then(|| read_at(source, at, 56).ok())
                .flatten()
                .filter(|end| end.starts_with(END64))
                .map(|end| (at, end))
        });
        let Some((at, end)) = found else {
            return Err(refused(said, "the end of the zip64 directory is not where it should be"));
        };
        entries = u64_at(&end, 32).unwrap_or(0);
        (len, place, after) = (u64_at(&end, 40).unwrap_or(0), u64_at(&end, 48).unwrap_or(0), at);
    }
    let at = after.checked_sub(len);
    let before = at.and_then(|at| at.checked_sub(place));
    match (at, before) {
        (Some(at), Some(before)) => Ok(Directory { at, end: after, entries, before }),
        _ => Err(refused(end_at, "the directory of the zip archive does not fit before its end")),
    }
}

/// Parses an entry of the directory, and returns its length too.
fn parse(bytes: &[u8], directory: &Directory) -> io::Result<(Entry, usize)> {
    let cut = || invalid("the directory of the zip archive is damaged");
    if !bytes.starts_with(DIRECTORY) || bytes.len() < 46 {
        return Err(cut());
    }
    let half = |at| u16_at(bytes, at).unwrap_or(0);
    let word = |at| u32_at(bytes, at).unwrap_or(0);
    let lens = [half(28), half(30), half(32)].map(usize::from);
    let all = 46 + lens.iter().sum::<usize>();
    let name = bytes.get(46..46 + lens[0]).ok_or_else(cut)?;
    let mut extra = bytes.get(46 + lens[0]..46 + lens[0] + lens[1]).ok_or_else(cut)?;
    if bytes.len() < all {
        return Err(cut());
    }
    let (mut packed, mut len, mut at) = (u64::from(word(20)), u64::from(word(24)), u64::from(word(42)));
    let mut attributes = FileAttributes::new();
    attributes.mtime = seconds(half(14), half(12));
    while let (Some(kind), Some(n)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(field) = extra.get(4..4 + usize::from(n)) else { break };
        extra = &extra[4 + usize::from(n)..];
        match kind {
            ZIP64 => {
                let mut longs = field.as_chunks::<8>().0.iter().map(|long| u64::from_le_bytes(*long));
                for value in [&mut len, &mut packed, &mut at] {
                    if *value == u64::from(u32::MAX) {
                        *value = longs.next().ok_or_else(cut)?;
                    }
                }
            }
            TIMES if field.first().is_some_and(|flags| flags & 1 != 0) => {
                if let Some(time) = u32_at(field, 1) {
                    attributes.mtime = Some(time.cast_signed().into());
                }
            }
            // Version 1, and then each number after its length.
            OWNER if field.first() == Some(&1) => {
                let uid_len = usize::from(*field.get(1).unwrap_or(&0));
                let number = |at: usize| {
                    let len = usize::from(*field.get(at)?);
                    let digits = field.get(at + 1..at + 1 + len)?;
                    let value = digits
                        .iter()
                        .rev()
                        .try_fold(0_u64, |value, &byte| value.checked_mul(256)?.checked_add(byte.into()));
                    u32::try_from(value?).ok()
                };
                (attributes.uid, attributes.gid) = (number(1), number(2 + uid_len));
            }
            _ => {}
        }
    }
    // 19 is macOS.
    let is_unix = matches!(half(4) >> 8, UNIX | 19);
    let mode = if is_unix { word(38) >> 16 } else { 0 };
    if mode != 0 {
        attributes = attributes.with_mode(mode);
    }
    let kind = if name.ends_with(b"/") || mode & KIND == FOLDER {
        Kind::Folder
    } else if mode & KIND == LINK {
        Kind::Link(Vec::new())
    } else {
        Kind::File(len)
    };
    let member = Member { name: name.to_vec(), kind, attributes };
    let at = at.checked_add(directory.before).ok_or_else(cut)?;
    Ok((Entry { member, flags: half(8), method: half(10), crc: word(16), packed, len, at }, all))
}

fn take(source: &mut (impl Read + Seek), entry: &Entry, guard: &Guard, taker: &mut Taker<'_>) -> Result<()> {
    let Some(path) = taker.wants(&entry.member) else { return Ok(()) };
    let name = &entry.member.name;
    if matches!(entry.member.kind, Kind::Folder) {
        return taker.store(&path, &entry.member, &[]);
    }
    let refused = if entry.flags & ENCRYPTED != 0 {
        Some("it is encrypted".to_owned())
    } else if !matches!(entry.method, STORED | DEFLATED) {
        Some(format!(
            "it is compressed by method {}, and only stored and deflated files are read",
            entry.method
        ))
    } else {
        None
    };
    if let Some(why) = refused {
        taker.fail(name, io::Error::new(io::ErrorKind::Unsupported, why));
        return Ok(());
    }
    let failed = |error| ConvertError::read(Some(ArchivePath::shown(name)), entry.at, error);
    if matches!(entry.member.kind, Kind::File(_)) && entry.len > LONG {
        let mut content = Content::of(source, entry, guard).map_err(failed)?;
        let stored = taker.store_long(&path, &entry.member, entry.len, &mut content);
        return stored.map_err(|stop| stop.or_source(failed));
    }
    let mut bytes = Vec::new();
    content(source, entry, guard, &mut bytes).map_err(failed)?;
    if matches!(entry.member.kind, Kind::Link(_)) {
        let Member { name, attributes, .. } = &entry.member;
        let member = Member { name: name.clone(), kind: Kind::Link(bytes), attributes: attributes.clone() };
        return taker.store(&path, &member, &[]);
    }
    taker.store(&path, &entry.member, &bytes)
}

fn content(
    source: &mut (impl Read + Seek),
    entry: &Entry,
    guard: &Guard,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    if matches!(entry.member.kind, Kind::Link(_)) && entry.len > MAX_LINK {
        return Err(invalid(format!("a link to a path of {} bytes", entry.len)));
    }
    let mut content = Content::of(source, entry, guard)?;
    read_bytes(&mut content, entry.len, bytes)?;
    // It is compared with its checksum at its end.
    content.read_to_end(&mut Vec::new()).map(|_| ())
}

/// The bytes of a file. After the last one, their number and their checksum are compared.
struct Content<'c> {
    source: Box<dyn Read + 'c>,
    left: u64,
    crc: Crc,
    expected: u32,
    /// Whether its stored bytes are as many as it should have.
    fits: bool,
}

impl<'c> Content<'c> {
    fn of(source: &'c mut (impl Read + Seek), entry: &Entry, guard: &Guard) -> io::Result<Self> {
        let head = read_at(source, entry.at, 30)?;
        let (Some(name), Some(extra), true) = (u16_at(&head, 26), u16_at(&head, 28), head.starts_with(ENTRY))
        else {
            return Err(invalid("no header of an entry is where the directory says"));
        };
        let skipped = i64::from(name) + i64::from(extra);
        source.seek(SeekFrom::Current(skipped))?;
        let packed = guard.packed(source.take(entry.packed));
        let is_deflated = entry.method == DEFLATED;
        let source: Box<dyn Read + 'c> = if is_deflated {
            Box::new(guard.unpacked(DeflateDecoder::new(packed)))
        } else {
            Box::new(packed)
        };
        let fits = is_deflated || entry.packed == entry.len;
        Ok(Self { source, left: entry.len, crc: Crc::new(), expected: entry.crc, fits })
    }
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            // One byte more than it should have shows that it has more.
            if !self.fits || self.source.read(&mut [0])? > 0 {
                return Err(invalid("it has more bytes than the directory says"));
            }
            let (expected, found) = (self.expected, self.crc.sum());
            if found != expected {
                return Err(invalid(format!(
                    "its bytes are damaged: CRC32 {expected:#010x} expected, {found:#010x} found"
                )));
            }
            return Ok(0);
        }
        let n = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.source.read(&mut out[..n])?;
        if read == 0 && n > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.crc.update(&out[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

//! Reads a tar archive, in one pass.

use std::io::{self, Read};

use super::super::packing::Guard;
use super::super::report::{ConvertError, Result};
use super::super::taking::{Kind, LONG, Member, Stop, Taker, invalid, read_bytes};
use super::pax::{Pax, integer, time};
use super::sparse::Sparse;
use super::{BLOCK, Block, has_checksum, number, padding, text};
use crate::Place;
use crate::archive::path::ArchivePath;
use crate::archive::stat::{AttributeValue, FileAttributes};

/// Bytes of an extended header at most: longer ones would fill memory. A path has up to 16 MiB.
const MAX_EXTENDED: u64 = (16 << 20) + 4096;

/// What stands before an entry about it.
#[derive(Default)]
struct Before {
    pax: Pax,
    /// The names of GNU tar, of 100 bytes and more.
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// What extended headers hold, and where it is, if only places are stored.
    texts: Vec<(u64, Vec<u8>)>,
}

/// A stream, and where it is.
struct Stream<'s> {
    source: &'s mut dyn Read,
    at: u64,
}

impl Stream<'_> {
    fn block(&mut self) -> io::Result<Option<Block>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    filled += n;
                    self.at += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(block))
    }

    fn bytes(&mut self, len: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let before = out.len();
        let read = read_bytes(self.source, len, out);
        self.at += (out.len() - before) as u64;
        read
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut *self.source).take(len), &mut io::sink())?;
        self.at += skipped;
        if skipped == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The bytes of an extended header.
    fn extended(&mut self, len: u64) -> io::Result<Vec<u8>> {
        if len > MAX_EXTENDED {
            return Err(invalid(format!(
                "an extended header of {len} bytes: at most {MAX_EXTENDED} are read"
            )));
        }
        let mut bytes = Vec::new();
        self.bytes(len, &mut bytes)?;
        self.skip(padding(len))?;
        Ok(bytes)
    }
}

/// Takes in all entries.
pub(in super::super) fn read(source: &mut dyn Read, guard: &Guard, taker: &mut Taker<'_>) -> Result<()> {
    let mut stream = Stream { source, at: 0 };
    let mut globals = Pax::default();
    let mut before: Option<Before> = None;
    loop {
        let at = stream.at;
        let read = stream.block().map_err(|error| ConvertError::read(None, stream.at, error))?;
        let Some(header) = read else {
            let why = "it ends without the blocks of zeros that end a tar archive: it was cut short";
            return Err(ConvertError::source(None, at, why));
        };
        if header.iter().all(|&byte| byte == 0) {
            if before.is_some() {
                return Err(ConvertError::source(None, at, "an extended header without an entry"));
            }
            return end(&mut stream, taker);
        }
        let shown = |name: &[u8]| Some(ArchivePath::shown(name)).filter(|name| !name.is_empty());
        let plain = name_of(&header);
        let failed = |stream: &Stream<'_>, name: &[u8], error: io::Error| {
            let cut = error.kind() == io::ErrorKind::UnexpectedEof;
            ConvertError::read(shown(name), if cut { stream.at } else { at }, error)
        };
        if !has_checksum(&header) {
            let why = "no header of an entry is here: its checksum is another one";
            return Err(ConvertError::source(None, at, why));
        }
        let len = number(&header[124..136]).and_then(|len| u64::try_from(len).ok());
        let Some(len) = len.filter(|len| *len <= u64::MAX >> 1) else {
            return Err(ConvertError::source(shown(&plain), at, "its header has no length that could be"));
        };
        match header[156] {
            b'x' | b'X' => {
                let lines_at = stream.at;
                let lines = stream.extended(len).map_err(|error| failed(&stream, &plain, error))?;
                let about =
                    before.get_or_insert_with(|| Before { pax: globals.clone(), ..Before::default() });
                about.pax.add(&lines).map_err(|error| failed(&stream, &plain, error))?;
                if taker.wraps {
                    about.texts.push((lines_at, lines));
                }
            }
            b'g' => {
                let lines = stream.extended(len).map_err(|error| failed(&stream, &plain, error))?;
                globals.add(&lines).map_err(|error| failed(&stream, &plain, error))?;
            }
            kind @ (b'L' | b'K') => {
                let name_at = stream.at;
                let name = stream.extended(len).map_err(|error| failed(&stream, &plain, error))?;
                let about =
                    before.get_or_insert_with(|| Before { pax: globals.clone(), ..Before::default() });
                if taker.wraps {
                    about.texts.push((name_at, name.clone()));
                }
                let name = Some(text(&name).to_vec());
                if kind == b'L' { about.name = name } else { about.link = name }
            }
            // The name of a volume, and what a folder held at the time of a backup.
            b'V' => stream.skip(len + padding(len)).map_err(|error| failed(&stream, &plain, error))?,
            _ => {
                let about =
                    before.take().unwrap_or_else(|| Before { pax: globals.clone(), ..Before::default() });
                let name = entry_name(&about, &header);
                entry(&mut stream, &header, len, &about, &name, guard, taker)
                    .map_err(|error| error.or_source(|error| failed(&stream, &name, error)))?;
            }
        }
    }
}

/// Reads the rest, so that checksums of compressed bytes are compared. Other archives that follow are noted.
fn end(stream: &mut Stream<'_>, taker: &mut Taker<'_>) -> Result<()> {
    let mut more = None;
    loop {
        match stream.block() {
            Ok(None) => break,
            Ok(Some(block)) => {
                if more.is_none() && block.iter().any(|&byte| byte != 0) {
                    more = Some(stream.at - BLOCK as u64);
                }
            }
            // Bytes that are not a whole block are no archive.
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof
                    && !stream.at.is_multiple_of(BLOCK as u64) =>
            {
                break;
            }
            Err(error) => return Err(ConvertError::read(None, stream.at, error)),
        }
    }
    if let Some(at) = more {
        taker
            .done
            .note(|| format!("something follows the end of the tar archive, at byte {at}: it was not read"));
    }
    Ok(())
}

/// The name in a header.
fn name_of(header: &Block) -> Vec<u8> {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // GNU tar has other things there.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

fn entry_name(about: &Before, header: &Block) -> Vec<u8> {
    let pax = about.pax.get("GNU.sparse.name").or_else(|| about.pax.get("path"));
    let said = pax.map(<[u8]>::to_vec).or_else(|| about.name.clone());
    said.unwrap_or_else(|| name_of(header))
}

fn entry(
    stream: &mut Stream<'_>,
    header: &Block,
    len: u64,
    about: &Before,
    name: &[u8],
    guard: &Guard,
    taker: &mut Taker<'_>,
) -> std::result::Result<(), Stop> {
    let len = about.pax.integer("size")?.unwrap_or(len);
    if len > u64::MAX >> 1 {
        return Err(invalid("its header has no length that could be").into());
    }
    let link = || {
        let pax = about.pax.get("linkpath").map(<[u8]>::to_vec);
        pax.or_else(|| about.link.clone()).unwrap_or_else(|| text(&header[157..257]).to_vec())
    };
    // As others do: entries of these kinds have no bytes, whatever their length says.
    let (kind, len) = match header[156] {
        b'1' => (Kind::SameAs(link()), 0),
        b'2' => (Kind::Link(link()), 0),
        b'3' | b'4' => (Kind::Other("a device"), 0),
        b'5' => (Kind::Folder, 0),
        b'6' => (Kind::Other("a pipe"), 0),
        // A folder of a backup, and the names in it.
        b'D' => (Kind::Folder, len),
        b'M' => (Kind::Other("the second part of a file, which began in another archive"), len),
        // Before there were types, a folder was told by its name.
        0 | b'0' if name.ends_with(b"/") => (Kind::Folder, len),
        // POSIX: what is not known is taken as a file.
        _ => (Kind::File(len), len),
    };
    let header_at = stream.at - BLOCK as u64;
    let mut member = Member { name: name.to_vec(), kind, attributes: attributes(header, &about.pax)? };
    let mut left = len;
    let sparse =
        if matches!(member.kind, Kind::File(_)) { sparse(stream, header, about, &mut left)? } else { None };
    if let Some(sparse) = &sparse {
        if sparse.stored()? != left {
            return Err(invalid("the pieces of a sparse file are not as long as its bytes").into());
        }
        member.kind = Kind::File(sparse.len);
    }
    let Some(path) = taker.wants(&member) else {
        return Ok(stream.skip(left + padding(len))?);
    };
    if let Some(error) = sparse.as_ref().and_then(|sparse| guard.refuses(left, sparse.len)) {
        taker.fail(name, error);
        return Ok(stream.skip(left + padding(len))?);
    }
    if taker.wraps && matches!(member.kind, Kind::File(_) | Kind::Link(_)) {
        wrap(stream, (header_at, header), left, about, &member, &path, sparse.is_some(), taker)?;
        return Ok(stream.skip(padding(len))?);
    }
    if let Kind::File(whole) = member.kind
        && whole > LONG
    {
        let pieces = sparse.map_or_else(|| vec![(0, left)], |sparse| sparse.pieces);
        let mut content = Content { stream, pieces: pieces.into_iter().peekable(), at: 0, len: whole };
        taker.store_long(&path, &member, whole, &mut content)?;
        return Ok(stream.skip(padding(len))?);
    }
    let mut bytes = Vec::new();
    if let (Kind::File(_), Some(sparse)) = (&member.kind, sparse) {
        let to_usize = |n: u64| usize::try_from(n).map_err(|_| invalid("too long for this machine"));
        for (start, len) in sparse.pieces {
            bytes.resize(to_usize(start)?, 0);
            stream.bytes(len, &mut bytes)?;
        }
        bytes.resize(to_usize(sparse.len)?, 0);
    } else if matches!(member.kind, Kind::File(_)) {
        stream.bytes(left, &mut bytes)?;
    } else {
        stream.skip(left)?;
    }
    stream.skip(padding(len))?;
    taker.store(&path, &member, &bytes)?;
    Ok(())
}

/// Stores where the bytes of a file, or the target of a link, are.
#[expect(clippy::too_many_arguments, reason = "all that is known of an entry")]
fn wrap(
    stream: &mut Stream<'_>,
    (header_at, header): (u64, &Block),
    left: u64,
    about: &Before,
    member: &Member,
    path: &ArchivePath,
    is_sparse: bool,
    taker: &mut Taker<'_>,
) -> std::result::Result<(), Stop> {
    let place = match &member.kind {
        _ if is_sparse => {
            stream.skip(left)?;
            None
        }
        Kind::Link(target) => {
            stream.skip(left)?;
            let here = (header_at + 157, header[157..257].to_vec());
            let mut texts = about.texts.iter().rev().chain([&here]);
            let found = |(at, text): &(u64, Vec<u8>)| {
                let start = text.windows(target.len().max(1)).position(|window| window == target)?;
                Some(at + start as u64)
            };
            texts
                .find_map(found)
                .map(|offset| Place::new(offset, target.len() as u64, crc32c::crc32c(target)))
        }
        _ => {
            let (offset, length) = (stream.at, left);
            let mut checksum = 0;
            let mut piece = vec![0; 256 << 10];
            let mut left = left;
            while left > 0 {
                let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let read = match stream.source.read(&mut piece[..n]) {
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read?,
                };
                checksum = crc32c::crc32c_append(checksum, &piece[..read]);
                stream.at += read as u64;
                left -= read as u64;
            }
            Some(Place::new(offset, length, checksum))
        }
    };
    let Some(place) = place else {
        let why = "its bytes are not in one piece in the tar file, which is needed for an index over it";
        taker.fail(&member.name, io::Error::new(io::ErrorKind::Unsupported, why));
        return Ok(());
    };
    Ok(taker.store_place(path, member, place)?)
}

/// The bytes of a file, with zeros where it has holes.
struct Content<'c, 's> {
    stream: &'c mut Stream<'s>,
    /// Starts and lengths of what is stored, without what was read.
    pieces: std::iter::Peekable<std::vec::IntoIter<(u64, u64)>>,
    at: u64,
    len: u64,
}

impl Read for Content<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.pieces.next_if(|(start, len)| start + len <= self.at).is_some() {}
        let (is_stored, end) = match self.pieces.peek() {
            Some(&(start, len)) if start <= self.at => (true, start + len),
            Some(&(start, _)) => (false, start),
            None => (false, self.len),
        };
        let n = out.len().min(usize::try_from(end - self.at).unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(0);
        }
        if !is_stored {
            out[..n].fill(0);
            self.at += n as u64;
            return Ok(n);
        }
        let read = self.stream.source.read(&mut out[..n])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.at, self.stream.at) = (self.at + read as u64, self.stream.at + read as u64);
        Ok(read)
    }
}

/// The map of a sparse file. `left` is then how many bytes follow it.
fn sparse(
    stream: &mut Stream<'_>,
    header: &Block,
    about: &Before,
    left: &mut u64,
) -> io::Result<Option<Sparse>> {
    let refused = || invalid("the map of a sparse file has no numbers");
    if header[156] == b'S' {
        let unsigned = |field: &[u8]| number(field).and_then(|n| u64::try_from(n).ok()).ok_or_else(refused);
        let mut sparse = Sparse::new(unsigned(&header[483..495])?);
        let mut add = |fields: &[u8]| {
            for pair in fields.chunks_exact(24) {
                if pair[0] != 0 {
                    sparse.push(unsigned(&pair[..12])?, unsigned(&pair[12..])?)?;
                }
            }
            Ok::<(), io::Error>(())
        };
        add(&header[386..482])?;
        let mut is_more = header[482] != 0;
        while is_more {
            let block = stream.block()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            add(&block[..504])?;
            is_more = block[504] != 0;
        }
        return Ok(Some(sparse));
    }
    if about.pax.get("GNU.sparse.major") != Some(b"1") {
        return Sparse::of_pax(&about.pax);
    }
    // Version 1.0: the map is before the bytes, in lines, and fills blocks.
    let mut sparse = Sparse::new(about.pax.integer("GNU.sparse.realsize")?.ok_or_else(refused)?);
    let (mut numbers, mut digits, mut wanted) = (Vec::new(), Vec::new(), None);
    while wanted.is_none_or(|wanted| (numbers.len() as u64) < wanted) {
        *left = left.checked_sub(BLOCK as u64).ok_or_else(refused)?;
        let block = stream.block()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        for &byte in &block {
            if byte != b'\n' {
                if digits.len() < 20 {
                    digits.push(byte);
                }
                continue;
            }
            let n = integer(&digits).ok_or_else(refused)?;
            digits.clear();
            match wanted {
                None => wanted = Some(n.checked_mul(2).filter(|n| *n <= 1 << 21).ok_or_else(refused)?),
                Some(_) => numbers.push(n),
            }
            if wanted.is_some_and(|wanted| numbers.len() as u64 == wanted) {
                break;
            }
        }
    }
    sparse.push_all(&numbers)?;
    Ok(Some(sparse))
}

fn attributes(header: &Block, pax: &Pax) -> io::Result<FileAttributes> {
    let mode = number(&header[100..108]).and_then(|mode| u32::try_from(mode).ok());
    let mut attributes = FileAttributes::new();
    if let Some(mode) = mode {
        attributes = attributes.with_mode(mode);
    }
    let id = |key, field| -> io::Result<Option<u32>> {
        let said = pax.integer(key)?.map(i128::from).or_else(|| number(field));
        Ok(said.and_then(|id| u32::try_from(id).ok()))
    };
    (attributes.uid, attributes.gid) = (id("uid", &header[108..116])?, id("gid", &header[116..124])?);
    match pax.get("mtime") {
        Some(said) => {
            let (seconds, nanoseconds) =
                time(said).ok_or_else(|| invalid("the extended header has no time for mtime"))?;
            (attributes.mtime, attributes.mtime_ns) = (Some(seconds), nanoseconds);
        }
        None => attributes.mtime = number(&header[136..148]).and_then(|time| i64::try_from(time).ok()),
    }
    let xattrs = pax.xattrs().map(|(name, value)| (name, AttributeValue(value.to_vec())));
    Ok(attributes.with_xattrs(xattrs.collect()))
}

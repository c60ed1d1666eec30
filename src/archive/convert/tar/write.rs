//! Writes a tar archive: headers of POSIX, and those of pax where something does not fit.

use std::io::{self, Write};

use super::super::giving::Target;
use super::pax::{line, time_text, xattr_key};
use super::{BLOCK, Block, padding, sums};
use crate::archive::stat::FileAttributes;

/// The longest file that a header has room for.
const MAX_LEN: u64 = (1 << 33) - 1;

/// What `tar` writes at once: an archive ends at a multiple of it.
const RECORD: u64 = 20 * BLOCK as u64;

pub(in super::super) struct Writer<W> {
    target: W,
    at: u64,
    /// Of the file that is being written.
    len: u64,
}

impl<W: Write> Writer<W> {
    pub(in super::super) fn new(target: W) -> Self {
        Self { target, at: 0, len: 0 }
    }

    /// Ends the archive.
    pub(in super::super) fn finish(mut self) -> io::Result<W> {
        let end = 2 * BLOCK as u64;
        let rest = (self.at + end).wrapping_neg() % RECORD;
        self.zeros(end + rest)?;
        Ok(self.target)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.target.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, n: u64) -> io::Result<()> {
        for _ in 0..n / BLOCK as u64 {
            self.write(&[0; BLOCK])?;
        }
        // Less than a block.
        self.write(&[0; BLOCK][..usize::try_from(n % BLOCK as u64).unwrap_or(0)])
    }

    /// The headers of an entry.
    fn head(
        &mut self,
        kind: u8,
        path: &[u8],
        link: &[u8],
        len: u64,
        attributes: &FileAttributes,
    ) -> io::Result<()> {
        let mut pax = Vec::new();
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let (long_path, long_link) = (path.len() > 100, link.len() > 100);
        if long_path && !is_text(path) || long_link && !is_text(link) {
            line("hdrcharset", b"BINARY", &mut pax);
        }
        if long_path {
            line("path", path, &mut pax);
        }
        if long_link {
            line("linkpath", link, &mut pax);
        }
        let (seconds, nanoseconds) = (attributes.mtime.unwrap_or(0), attributes.mtime_ns.min(999_999_999));
        let mtime = u64::try_from(seconds).ok().filter(|seconds| *seconds < 1 << 33);
        if mtime.is_none() || nanoseconds > 0 {
            line("mtime", time_text(seconds, nanoseconds).as_bytes(), &mut pax);
        }
        let fits = |id: Option<u32>| id.unwrap_or(0) < 1 << 21;
        for (key, id) in [("uid", attributes.uid), ("gid", attributes.gid)] {
            if let Some(id) = id.filter(|_| !fits(id)) {
                line(key, id.to_string().as_bytes(), &mut pax);
            }
        }
        if len > MAX_LEN {
            line("size", len.to_string().as_bytes(), &mut pax);
        }
        for (name, value) in &attributes.xattrs {
            line(&xattr_key(name), &value.0, &mut pax);
        }
        if !pax.is_empty() {
            let about =
                FileAttributes { mtime: Some(mtime.unwrap_or(0).cast_signed()), ..FileAttributes::new() };
            let len = pax.len() as u64;
            self.write(&header(b'x', b"PaxHeader", b"", len, 0, &about.with_mode(0o644)))?;
            self.write(&pax)?;
            self.zeros(padding(len))?;
        }
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        let attributes = attributes.clone().with_mode(attributes.mode.unwrap_or(mode));
        let header = header(kind, path, link, len, mtime.unwrap_or(0), &attributes);
        self.write(&header)
    }
}

/// A header. What does not fit is cut.
fn header(kind: u8, path: &[u8], link: &[u8], len: u64, mtime: u64, attributes: &FileAttributes) -> Block {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path[..path.len().min(100)]);
    put(100, format!("{:07o}", attributes.mode.unwrap_or(0) & 0o7777).as_bytes());
    for (at, id) in [(108, attributes.uid), (116, attributes.gid)] {
        let id = id.filter(|id| *id < 1 << 21).unwrap_or(0);
        put(at, format!("{id:07o}").as_bytes());
    }
    put(124, format!("{:011o}", len.min(MAX_LEN)).as_bytes());
    put(136, format!("{mtime:011o}").as_bytes());
    put(156, &[kind]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    let (sum, _) = sums(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

impl<W: Write> Target for Writer<W> {
    fn folder(&mut self, path: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        self.head(b'5', &[path, b"/"].concat(), b"", 0, attributes)
    }

    fn link(&mut self, path: &[u8], target: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        let attributes = attributes.clone().with_mode(attributes.mode.unwrap_or(0o777));
        self.head(b'2', path, target, 0, &attributes)
    }

    fn file(&mut self, path: &[u8], bytes: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        self.begin(path, bytes.len() as u64, attributes)?;
        self.piece(bytes)?;
        self.end()
    }

    fn begin(&mut self, path: &[u8], len: u64, attributes: &FileAttributes) -> io::Result<()> {
        self.len = len;
        self.head(b'0', path, b"", len, attributes)
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.zeros(padding(self.len))
    }
}

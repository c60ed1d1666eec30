//! A file that is read from start to end. It knows where it is, and how much is left.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::error::Fault;

/// The longest line of a text format.
const MAX_LINE: u64 = 16 << 20;

/// A file, or what stands for one in tests.
pub(super) trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

/// A file with its position. Nothing is allocated for more bytes than are left.
pub(super) struct Source {
    file: BufReader<Box<dyn Input>>,
    at: u64,
    len: u64,
}

impl Source {
    pub(super) fn new(file: impl Input + 'static, len: u64) -> Self {
        Self { file: BufReader::with_capacity(1 << 16, Box::new(file)), at: 0, len }
    }

    /// Where the next byte is.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    pub(super) fn is_end(&self) -> bool {
        self.left() == 0
    }

    /// Refuses to go on if fewer bytes are left.
    pub(super) fn need(&self, bytes: u64, what: &str) -> Result<(), Fault> {
        if bytes <= self.left() {
            return Ok(());
        }
        let left = self.left();
        Err(Fault::damaged(
            self.at,
            format!("{what}: {bytes} bytes expected, and the file ends after {left}: it was cut short"),
        ))
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), Fault> {
        match self.file.read_exact(out) {
            Ok(()) => {
                self.at += out.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Fault::damaged(self.at, "the file has become shorter while it was read"))
            }
            Err(error) => Err(Fault::Io(error)),
        }
    }

    /// Replaces `out` by the next bytes.
    pub(super) fn bytes(&mut self, n: u64, what: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.need(n, what)?;
        let n = usize::try_from(n)
            .map_err(|_| Fault::unsupported(self.at, format!("{what}: too long for this machine")))?;
        out.clear();
        out.resize(n, 0);
        self.fill(out)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        self.need(N as u64, what)?;
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    pub(super) fn seek(&mut self, to: u64) -> Result<(), Fault> {
        let moved = match (i64::try_from(to), i64::try_from(self.at)) {
            (Ok(to), Ok(at)) => self.file.seek_relative(to - at),
            _ => self.file.seek(SeekFrom::Start(to)).map(|_| ()),
        };
        moved.map_err(Fault::Io)?;
        self.at = to;
        Ok(())
    }

    pub(super) fn skip(&mut self, bytes: u64, what: &str) -> Result<(), Fault> {
        self.need(bytes, what)?;
        self.seek(self.at + bytes)
    }

    /// Replaces `out` by the next line, without its end. False at the end of the file.
    pub(super) fn line(&mut self, out: &mut String) -> Result<bool, Fault> {
        if self.is_end() {
            return Ok(false);
        }
        let mut bytes = std::mem::take(out).into_bytes();
        bytes.clear();
        let at = self.at;
        let most = self.left().min(MAX_LINE);
        let read = (&mut self.file).take(most).read_until(b'\n', &mut bytes).map_err(Fault::Io)?;
        self.at += read as u64;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if read as u64 == MAX_LINE {
            return Err(Fault::damaged(at, format!("a line of more than {MAX_LINE} bytes")));
        } else if !self.is_end() {
            return Err(Fault::damaged(self.at, "the file has become shorter while it was read"));
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        *out = String::from_utf8(bytes).map_err(|error| {
            Fault::damaged(at + error.utf8_error().valid_up_to() as u64, "not UTF-8 text")
        })?;
        Ok(true)
    }
}

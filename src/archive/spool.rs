//! The bytes of a file that is being written: in memory, and in a temporary file when they are many.

use std::fs::File;
use std::io;

/// Bytes that are held in memory.
const IN_MEMORY: u64 = 64 << 20;

/// Bytes that are moved at once.
const PIECE: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    /// All bytes, if they were too many. It has no name, and is gone when it is closed.
    file: Option<File>,
    len: u64,
}

impl Spool {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// All bytes, if they are in memory.
    pub(super) fn in_memory(&self) -> Option<&[u8]> {
        self.file.is_none().then_some(&self.memory)
    }

    /// Fills `out` with the bytes from `at` on, all of which must be there.
    pub(super) fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            return read_exact_at(file, out, at);
        }
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let found = self.memory.get(at..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Writes bytes at `at`. What is between the end and `at` becomes zeros.
    pub(super) fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = at.saturating_add(bytes.len() as u64);
        self.make_room(end)?;
        if let Some(file) = &self.file {
            write_all_at(file, bytes, at)?;
        } else {
            let at = usize::try_from(at).map_err(|_| io::ErrorKind::OutOfMemory)?;
            if self.memory.len() < at {
                self.memory.resize(at, 0);
            }
            let over = self.memory.len().min(at + bytes.len()) - at;
            self.memory[at..at + over].copy_from_slice(&bytes[..over]);
            self.memory.extend_from_slice(&bytes[over..]);
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Cuts the bytes, or lengthens them by zeros.
    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.make_room(len)?;
        match &self.file {
            Some(file) => file.set_len(len)?,
            None => self.memory.resize(usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?, 0),
        }
        self.len = len;
        Ok(())
    }

    /// Gives `job` all bytes, piece by piece.
    pub(super) fn each<E: From<io::Error>>(
        &self,
        mut job: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(file) = &self.file else { return job(&self.memory) };
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < self.len {
            let n = usize::try_from(self.len - at).unwrap_or(PIECE).min(PIECE);
            read_exact_at(file, &mut piece[..n], at)?;
            job(&piece[..n])?;
            at += n as u64;
        }
        Ok(())
    }

    /// Moves the bytes to a file, or takes memory for `len` of them.
    fn make_room(&mut self, len: u64) -> io::Result<()> {
        if self.file.is_none()
            && len > IN_MEMORY
            && let Some(file) = temporary()?
        {
            write_all_at(&file, &self.memory, 0)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        if self.file.is_none() {
            let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
            let more = len.saturating_sub(self.memory.len());
            self.memory.try_reserve(more).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        Ok(())
    }
}

/// A file without a name in the folder for temporary files. `None` where there are no such files.
#[cfg(unix)]
fn temporary() -> io::Result<Option<File>> {
    use std::hash::{BuildHasher, Hasher};
    use std::os::unix::fs::OpenOptionsExt;
    // Seeded by the system's randomness.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let path = std::env::temp_dir().join(format!(".vldepot-{random:016x}.tmp"));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(Some(file))
}

#[cfg(not(unix))]
fn temporary() -> io::Result<Option<File>> {
    Ok(None)
}

#[cfg(unix)]
use std::os::unix::fs::FileExt;

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(out, at)
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

#[cfg(not(unix))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn write_all_at(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_in_memory_and_in_a_file() {
        for shift in [0, IN_MEMORY - 3] {
            let mut spool = Spool::default();
            spool.write_at(shift, b"abcdef").unwrap();
            assert_eq!(spool.in_memory().is_none(), cfg!(unix) && shift > 0);
            spool.write_at(shift + 2, b"XY").unwrap();
            spool.write_at(shift + 8, b"z").unwrap();
            assert_eq!(spool.len(), shift + 9);
            let mut out = [0; 9];
            spool.read_at(shift, &mut out).unwrap();
            assert_eq!(&out, b"abXYef\0\0z");
            assert!(spool.read_at(shift + 5, &mut [0; 5]).is_err());
            spool.set_len(shift + 3).unwrap();
            spool.set_len(shift + 5).unwrap();
            spool.read_at(shift, &mut out[..5]).unwrap();
            assert_eq!(&out[..5], b"abX\0\0");
            let mut all = 0;
            spool
                .each(|piece| {
                    all += piece.len() as u64;
                    Ok::<_, io::Error>(())
                })
                .unwrap();
            assert_eq!(all, spool.len());
        }
    }
}

//! What the crate asks of every storage, with errors that say what failed.
//!
//! `log`, `index`, `chunk`, `vlstore` and the modules above them call these methods, so that they need
//! not build the errors themselves.

use std::io;

use super::Storage;
use crate::error::{Error, Result};

pub(crate) trait StorageExt: Storage {
    /// The error that the system refused `action`, which is a verb and its object.
    #[cold]
    fn io(&self, action: impl Into<String>, source: io::Error) -> Error {
        Error::io(self.path(), action, source)
    }

    /// How many bytes there are.
    fn file_len(&self) -> Result<u64> {
        self.len().map_err(|source| self.io("ask for the file's length", source))
    }

    /// Reads `len` bytes at `offset`. Allocates them first, so the caller must compare `len` with the
    /// file's length.
    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let failed = |source| self.io(format!("read {len} bytes at byte {offset}"), source);
        self.read_at(offset, &mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

impl<S: Storage + ?Sized> StorageExt for S {}

//! Where a depot's bytes live: one small trait, a file, and memory.
//!
//! A depot asks little of its storage, so a test double or a store of your own takes about a page of
//! code. `vldepot::testing` (feature `testing`) has the test suite that both built-in storages pass.

mod ext;
mod file;
mod maps;
mod memory;
mod staged;
mod system;

use std::io;
use std::path::Path;

pub use crate::buffer::Bytes;
pub(crate) use ext::StorageExt;
pub use file::FileStorage;
pub(crate) use file::sync_folder;
pub use memory::MemoryStorage;
pub use staged::StagedFile;
pub(crate) use staged::{check_another, check_file, is_unfinished};

/// A growing array of bytes with positioned access.
///
/// All methods take `&self`, because threads share a storage.
///
/// # Promises the depot relies on
///
/// - Bytes that were written can be read back at once, by any thread.
/// - Bytes written before a [`sync`](Self::sync) that returned `Ok` survive a power loss. Of the bytes
///   written after it, any part may survive, in any order.
/// - Bytes between the end and a later write read as zeros. So do bytes that [`set_len`](Self::set_len)
///   adds.
pub trait Storage: Send + Sync + 'static {
    /// How many bytes there are.
    ///
    /// # Errors
    /// The system's error.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    ///
    /// # Errors
    /// The errors of [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` with the bytes at `offset`. Does not move a shared cursor.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Grows the storage if needed.
    ///
    /// # Errors
    /// The system's error. Some of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or grows the storage to `len` bytes.
    ///
    /// # Errors
    /// The system's error.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's error. The depot then refuses to go on.
    fn sync(&self) -> io::Result<()>;

    /// Shares `len` bytes at `offset` without copying, if the storage can.
    ///
    /// `None` if it cannot. The depot never overwrites bytes that it maps.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer bytes.
    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let _ = (offset, len);
        Ok(None)
    }

    /// Finds the next written bytes at or after byte `from`.
    ///
    /// Everything between `from` and the returned offset reads as zeros and takes no room, so searches
    /// skip it. `None` if no written bytes follow. A storage that cannot tell returns `from` while that
    /// is before the end.
    ///
    /// # Errors
    /// The system's error.
    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        Ok((from < self.len()?).then_some(from))
    }

    /// Whether another file was put in the place of this one.
    ///
    /// Then writes to the new file are not seen here. Writes made here are lost once nobody has the old
    /// file open.
    ///
    /// # Errors
    /// The system's error.
    fn is_replaced(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Takes the writer's lock. Returns `false` if another writer has it.
    ///
    /// [`unlock`](Self::unlock) releases the lock, or dropping the storage does.
    ///
    /// # Errors
    /// The system's error.
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Releases the writer's lock. Readers of the same storage can go on.
    ///
    /// # Errors
    /// The system's error.
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the bytes outlive this value.
    ///
    /// If they do not, dropping a depot does not tidy up its storage.
    fn is_durable(&self) -> bool {
        true
    }

    /// The name of the storage in error messages.
    fn path(&self) -> &Path {
        Path::new("<storage>")
    }
}

impl std::fmt::Debug for dyn Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

/// The error of a read past the end.
pub(crate) fn past_the_end(offset: u64, wanted: u64, len: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{wanted} bytes at byte {offset} of {len}: the file is shorter than its own index says"),
    )
}

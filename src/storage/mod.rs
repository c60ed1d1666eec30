//! Where a depot's bytes live: one small trait, a file and memory.
//!
//! A depot asks little of its storage, so that a test double or a store of your own is a page of code;
//! `vldepot::testing` (feature `testing`) has the suite that both built-in ones pass.

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

/// A growing array of bytes with positioned access. All methods take `&self`: a storage is shared by threads.
///
/// # Promises the depot relies on
///
/// - Bytes written are read back at once, by any thread.
/// - What was written before a [`sync`](Self::sync) that returned `Ok` survives a power loss. What was
///   written since may survive in any part and any order.
/// - Bytes between the end and a later write, and bytes that [`set_len`](Self::set_len) adds, read as zeros.
pub trait Storage: Send + Sync + 'static {
    /// How many bytes there are.
    ///
    /// # Errors
    /// Whatever the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` with the bytes at `offset`. Never moves a shared cursor.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when fewer bytes are there.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the storage if need be.
    ///
    /// # Errors
    /// Whatever the system says; some of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or grows to `len` bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Whatever the system says; the depot then refuses to go on.
    fn sync(&self) -> io::Result<()>;

    /// Shares `len` bytes at `offset` without copying, where the storage can. The depot never overwrites
    /// bytes that it maps.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when fewer bytes are there.
    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let _ = (offset, len);
        Ok(None)
    }

    /// Where the next bytes are that were written, from byte `from` on; `None` when up to the end there are
    /// none. What lies before them reads as zeros and takes no room: searches leave it out. A storage that
    /// cannot tell says `from`, while that is before its end.
    ///
    /// # Errors
    /// Whatever the system says.
    fn next_data(&self, from: u64) -> io::Result<Option<u64>> {
        Ok((from < self.len()?).then_some(from))
    }

    /// Whether another file was put in the place of this one: what is written to that is not seen here, and
    /// what is written here is lost with the last one who has it open.
    ///
    /// # Errors
    /// Whatever the system says.
    fn is_replaced(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Takes the writer's lock; `false` when another writer has it. It ends with [`unlock`](Self::unlock), at
    /// the latest with the storage.
    ///
    /// # Errors
    /// Whatever the system says.
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Gives the writer's lock back: the writer is gone, readers of the same storage may go on.
    ///
    /// # Errors
    /// Whatever the system says.
    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the bytes outlive this value: a depot in a storage where they do not is not tidied up when
    /// dropped.
    fn is_durable(&self) -> bool {
        true
    }

    /// What error messages call it.
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

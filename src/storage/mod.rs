//! Where a depot's bytes live: one small trait, a file, and memory.
//!
//! A depot asks little of its storage, so a test double or a store of your own takes about a page of
//! code. `vldepot::testing` (feature `testing`) has the test suite that both built-in storages pass.

mod ahead;
mod ext;
mod file;
mod maps;
mod memory;
mod staged;
mod system;

use std::io;
use std::path::Path;

pub use crate::buffer::Bytes;
pub(crate) use ahead::{Ahead, NONE, Windows};
pub(crate) use ext::StorageExt;
pub use file::FileStorage;
pub(crate) use file::sync_folder;
pub use memory::MemoryStorage;
pub use staged::StagedFile;
pub(crate) use staged::{check_another, check_file, is_unfinished};
#[cfg(feature = "objects")]
pub(crate) use system::byte_lock;

/// Bytes that are wanted together with others. See [`Storage::read_ranges`].
#[derive(Debug)]
pub struct ReadRange<'b> {
    /// Where the bytes lie.
    pub offset: u64,
    /// Where they go. Its length says how many there are.
    pub buf: &'b mut [u8],
}

/// A growing array of bytes with positioned access.
///
/// All methods take `&self`, because threads share a storage.
///
/// # On object storage
/// There every request costs money, and requests that wait for each other cost time. A depot asks for
/// much in few calls, if the storage cannot [`map`](Self::map):
///
/// - Opening a depot that was closed begins with [`read_start`](Self::read_start) and goes on with two calls
///   of [`read_ranges`](Self::read_ranges). It never asks for the [`len`](Self::len) alone.
/// - A record that is looked up by name takes up to four calls of `read_ranges`, and many records
///   together take as many.
///
/// So implement `read_ranges` with requests that run at the same time, and `read_start` with one request.
/// Neighbouring ranges are merged before they come to the storage. Whoever writes there puts the
/// finished file in place as a whole: `write_at`, `set_len` and `sync` may return errors.
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

    /// Fills the buffers of all `ranges`, each with the bytes at its offset.
    ///
    /// This is one call for bytes whose places are all known, so a storage that answers slowly should ask
    /// for all of them at once. Ranges may come in any order, may overlap, and may be empty. The default
    /// reads one after the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer bytes. The buffers may hold anything then.
    fn read_ranges(&self, ranges: &mut [ReadRange<'_>]) -> io::Result<()> {
        ranges.iter_mut().try_for_each(|range| self.read_at(range.offset, range.buf))
    }

    /// Reads the first bytes into `buf`, and asks for the [`len`](Self::len).
    ///
    /// Returns how many bytes of `buf` were filled, and the length. There may be fewer bytes than `buf`
    /// has room for. The length must not be older than the bytes, because a writer may be at work.
    /// In object storage one request has both: its answer names the length of the object.
    ///
    /// # Errors
    /// The system's error.
    fn read_start(&self, buf: &mut [u8]) -> io::Result<(usize, u64)> {
        let filled = usize::try_from(self.len()?).unwrap_or(usize::MAX).min(buf.len());
        self.read_at(0, &mut buf[..filled])?;
        Ok((filled, self.len()?))
    }

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

    /// Whether a read costs no more than a system call. The default is false: a depot then reads ahead what
    /// it will need, many ranges in one call.
    fn is_near(&self) -> bool {
        false
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

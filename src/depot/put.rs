//! Writing records, and making them durable.

use super::record::is_aligned;
use super::{Depot, tagged};
use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::error::Result;
use crate::format::tables::Attributes;
use crate::key::AsKey;

/// A thread's scratch buffer that grew beyond this is given back to the system.
const SCRATCH_KEPT: usize = 32 << 20;

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writing.
impl<C: Codec> Depot<C> {
    /// Stores a record, and replaces the one of that name if there is one.
    ///
    /// A replaced record moves to the end of the order. The record can be read right away, and is
    /// durable after the next [`commit`](Self::commit).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.put("a", b"second")?; // takes its place
    /// assert_eq!(depot.get("a")?.view(), b"second");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Codec`](crate::ErrorKind::Codec) when the codec refuses the value.
    /// - [`ErrorKind::InvalidRecord`](crate::ErrorKind::InvalidRecord),
    ///   [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly),
    ///   [`ErrorKind::Forked`](crate::ErrorKind::Forked),
    ///   [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned).
    /// - [`ErrorKind::NotStored`](crate::ErrorKind::NotStored), on a full disk: chunks of earlier
    ///   records could not be written. This record is not stored: put it again when there is room. The
    ///   earlier ones are kept in memory, and the next call writes them.
    /// - [`ErrorKind::NotCommitted`](crate::ErrorKind::NotCommitted), on a full disk: the record is
    ///   stored and can be read, but a commit that became due with it failed. Do not put it again: the
    ///   next commit makes it durable.
    pub fn put(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        self.encode_and_put(&key, item, None, false)
    }

    /// Stores a new record, and refuses to replace one. Otherwise like [`put`](Self::put).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put_new("a", b"first")?;
    /// assert!(depot.put_new("a", b"second").is_err());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`put`](Self::put), and [`ErrorKind::Exists`](crate::ErrorKind::Exists).
    pub fn put_new(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        self.encode_and_put(&key, item, None, true)
    }

    /// Stores bytes that this depot's codec encoded before. Otherwise like [`put`](Self::put).
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.put_encoded("b", depot.get("a")?.as_bytes())?;
    /// assert_eq!(depot.get("b")?.view(), b"first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`put`](Self::put). The codec checks the bytes.
    pub fn put_encoded(&self, key: impl AsKey, bytes: &[u8]) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        let checked = if is_aligned(bytes, C::ALIGN) {
            self.codec.view(bytes).map(|_| ())
        } else {
            self.codec.view(&Bytes::copy_of(bytes)).map(|_| ())
        };
        checked.map_err(|source| self.codec_error(&name, source))?;
        let (scalars, said) = self.kept_of(&name, bytes)?;
        let attributes = Attributes { metadata: None, scalars: &scalars };
        self.engine.put_told(&name, bytes, attributes, said.told(), false)
    }

    pub(super) fn encode_and_put(
        &self,
        key: &impl AsKey,
        item: &C::Item,
        metadata: Option<&[u8]>,
        only_new: bool,
    ) -> Result<()> {
        let name = tagged(&self.engine, key)?;
        // Encodes outside the writer's lock, so that threads only wait for each other's copies. The
        // buffer is taken, not borrowed, because a codec may itself put into a depot.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let result = self
            .codec
            .with_encoded(item, &mut scratch, |record| {
                let (scalars, said) = self.kept_of(&name, record)?;
                let attributes = Attributes { metadata, scalars: &scalars };
                self.engine.put_told(&name, record, attributes, said.told(), only_new)
            })
            .map_err(|source| self.codec_error(&name, source))
            .flatten();
        if scratch.capacity() <= SCRATCH_KEPT {
            SCRATCH.set(scratch);
        }
        result
    }

    /// Removes a record, and returns false if there was none.
    ///
    /// Its bytes stay in the file until the file is compacted.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// assert!(depot.remove("a")?);
    /// assert!(!depot.remove("a")?);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    /// - [`ErrorKind::NotCommitted`](crate::ErrorKind::NotCommitted) when the record is removed, but a
    ///   commit that became due failed.
    pub fn remove(&self, key: impl AsKey) -> Result<bool> {
        let name = tagged(&self.engine, &key)?;
        let mut writer = self.engine.writer()?;
        let removed = writer.remove(&name)?;
        writer.commit_if_due()?;
        Ok(removed)
    }

    /// Hands all records put so far to the system, without a sync.
    ///
    /// They then survive the end of this process, but not a power loss. The depot's own metadata wait
    /// for a commit.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.flush()?; // a killed process does not lose it
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub fn flush(&self) -> Result<()> {
        self.engine.writer()?.flush()
    }

    /// Makes everything put so far durable: it survives a killed process and a power loss.
    ///
    /// A commit costs one sync. It also closes the open chunk and fills the rest of it with zeros, which
    /// compress to nothing.
    ///
    /// A simulation should commit before it writes its checkpoint. If the checkpoint is newer than the
    /// last commit, frames before it may be missing after a crash.
    /// [`restart_at_step`](Depot::restart_at_step) refuses to go on after such a gap.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.commit()?; // neither does a power loss
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotCommitted`](crate::ErrorKind::NotCommitted), which says how many records wait.
    ///   Nothing is lost that an earlier commit covers. After a failed write, such as on a full disk,
    ///   the next call goes on.
    /// - [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned) after a failed sync.
    pub fn commit(&self) -> Result<()> {
        self.engine.writer()?.commit()
    }

    /// Commits, and completes the file as a standard Blosc2 frame.
    ///
    /// From then on, other programs find in it what was put so far. `close` does this too. For
    /// durability a [`commit`](Self::commit) is enough.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.publish()?; // python-blosc2 opens the file as it is now
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - The errors of [`commit`](Self::commit).
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io) when all is committed and only the frame could not be
    ///   written.
    pub fn publish(&self) -> Result<()> {
        self.engine.writer()?.publish(false)
    }

    /// Commits, merges the index, writes the end of the Blosc2 frame, and closes the depot.
    ///
    /// Dropping the depot does the same, but cannot report errors.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.close()?;
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`publish`](Self::publish). The handle is gone then, and so is what was not committed. If
    /// the disk may be full, call [`finish`](Self::finish) first, because it can be tried again.
    pub fn close(self) -> Result<()> {
        self.finish()
    }

    /// Does what [`close`](Self::close) does, and keeps the handle, so that it can be tried again.
    ///
    /// A depot that is finished may still be read, and written. Finishing a depot that was opened for
    /// reading does nothing.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"first")?;
    /// depot.finish()?; // on a full disk: make room, and call it again
    /// assert_eq!(depot.get("a")?.view(), b"first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`publish`](Self::publish).
    pub fn finish(&self) -> Result<()> {
        if self.engine.is_writable() { self.engine.writer()?.publish(true) } else { Ok(()) }
    }
}

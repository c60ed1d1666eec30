//! Writing records, and making them durable.

use super::record::is_aligned;
use super::{Depot, tagged};
use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::error::Result;
use crate::key::AsKey;

/// A scratch buffer of a thread is given back to the system when it grew beyond this.
const SCRATCH_KEPT: usize = 32 << 20;

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Writing.
impl<C: Codec> Depot<C> {
    /// Stores a record, replacing the one of that name; a replaced record moves to the end of the order.
    ///
    /// The record can be read at once and is durable after the next [`commit`](Self::commit).
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
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) when the codec refuses the value,
    /// [`ErrorKind::InvalidRecord`](crate::ErrorKind::InvalidRecord),
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), [`ErrorKind::Forked`](crate::ErrorKind::Forked),
    /// [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned), and two that a full disk brings about:
    /// - [`ErrorKind::NotStored`](crate::ErrorKind::NotStored): chunks put earlier could not be written. This
    ///   record is not taken in, the ones before are kept in memory and written by the next call; put it
    ///   again once there is room.
    /// - [`ErrorKind::NotCommitted`](crate::ErrorKind::NotCommitted): the record is taken in and can be read,
    ///   but a commit that became due with it failed. Do not put it again: the next commit makes it durable.
    pub fn put(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        self.encode_and_put(&key, item, None, false)
    }

    /// As [`put`](Self::put), but refuses to replace.
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
    /// Also [`ErrorKind::Exists`](crate::ErrorKind::Exists).
    pub fn put_new(&self, key: impl AsKey, item: &C::Item) -> Result<()> {
        self.encode_and_put(&key, item, None, true)
    }

    /// As [`put`](Self::put), for bytes that this depot's codec has encoded already.
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
    /// As [`put`](Self::put); the codec checks the bytes.
    pub fn put_encoded(&self, key: impl AsKey, bytes: &[u8]) -> Result<()> {
        let name = tagged(&self.engine, &key)?;
        let checked = if is_aligned(bytes, C::ALIGN) {
            self.codec.view(bytes).map(|_| ())
        } else {
            self.codec.view(&Bytes::copy_of(bytes)).map(|_| ())
        };
        checked.map_err(|source| self.codec_error(&name, source))?;
        self.engine.put(&name, bytes, None, false)
    }

    pub(super) fn encode_and_put(
        &self,
        key: &impl AsKey,
        item: &C::Item,
        metadata: Option<&[u8]>,
        only_new: bool,
    ) -> Result<()> {
        let name = tagged(&self.engine, key)?;
        // Encoded outside the writer's lock, so that threads only wait for each other's copies. Taken, not
        // borrowed: a codec may itself put into a depot.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let result = self
            .codec
            .with_encoded(item, &mut scratch, |record| self.engine.put(&name, record, metadata, only_new))
            .map_err(|source| self.codec_error(&name, source))
            .flatten();
        if scratch.capacity() <= SCRATCH_KEPT {
            SCRATCH.set(scratch);
        }
        result
    }

    /// Removes a record; false if there was none. Its bytes stay in the file until it is compacted.
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
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly);
    /// [`ErrorKind::NotCommitted`](crate::ErrorKind::NotCommitted) when the record is removed but a commit
    /// that became due failed.
    pub fn remove(&self, key: impl AsKey) -> Result<bool> {
        let name = tagged(&self.engine, &key)?;
        let mut writer = self.engine.writer()?;
        let removed = writer.remove(&name)?;
        writer.commit_if_due()?;
        Ok(removed)
    }

    /// Hands all records put so far to the system, without a sync: they survive the end of this process, not
    /// a power loss. Metadata of the depot itself wait for a commit.
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
    /// Costs one sync, and closes the open chunk: the rest of it is zeros, which compress to nothing.
    ///
    /// A simulation commits before it writes its checkpoint. The frames up to a checkpoint that is newer than
    /// the last commit may be missing after a crash, and [`restart_at_step`](Depot::restart_at_step) refuses
    /// to go on after such a gap.
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
    /// [`ErrorKind::NotCommitted`](crate::ErrorKind::NotCommitted), which says how many records wait: nothing
    /// is lost that an earlier commit has, and after a failed write, of a full disk say, the next call goes
    /// on. After a failed sync, [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned).
    pub fn commit(&self) -> Result<()> {
        self.engine.writer()?.commit()
    }

    /// Commits, and makes the file a standard Blosc2 frame as it stands, which `close` does too: from here on
    /// other programs find what is in it so far. For durability a [`commit`](Self::commit) is enough.
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
    /// As [`commit`](Self::commit); [`ErrorKind::Io`](crate::ErrorKind::Io) when all is committed and only
    /// the frame could not be written.
    pub fn publish(&self) -> Result<()> {
        self.engine.writer()?.publish(false)
    }

    /// Commits, merges the index, writes the frame's end and closes. Dropping does the same but cannot tell
    /// of errors.
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
    /// As [`publish`](Self::publish). The handle is gone then, and with it what was not committed: where the
    /// disk may be full, [`commit`](Self::commit) first, which can be tried again.
    pub fn close(self) -> Result<()> {
        if self.engine.is_writable() { self.engine.writer()?.publish(true) } else { Ok(()) }
    }
}

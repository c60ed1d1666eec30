//! Going back to an earlier record: what a simulation does that restarts from a checkpoint.

use super::Depot;
use super::engine::Engine;
use super::writer::Writer;
use crate::codec::Codec;
use crate::error::Result;
use crate::key::{AsKey, Key};

/// Restarting.
impl<C: Codec> Depot<C> {
    /// Removes every record behind the one of that name, in the order of insertion, and commits; tells how many there were.
    ///
    /// For a run that starts again from an earlier step: without, it would store the frames in between twice. The removed
    /// records' bytes stay in the file until it is [compacted](crate::compact). A record that was replaced behind `key` is gone too: its
    /// older content does not come back. Killed in the middle, all or some of the last records are removed, or none.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// for step in [0, 500, 1000, 1500] {
    ///     depot.put(format!("frame_{step:06}"), b"..")?;
    /// }
    /// assert_eq!(depot.truncate_after("frame_000500")?, 2);
    /// assert_eq!(depot.len(), 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit): the records may be removed and not yet durable then, and the next commit makes them so.
    /// [`Error::NotFound`](crate::Error::NotFound) when no record has that name: nothing is removed then. [`Error::ReadOnly`](crate::Error::ReadOnly).
    pub fn truncate_after(&self, key: impl AsKey) -> Result<u64> {
        let name = super::tagged(&self.engine, &key)?;
        let mut writer = self.engine.writer()?;
        // Positions are cheap to find once everything has its ordinal.
        writer.commit()?;
        let position = self.engine.position_of(&name)?;
        remove_from(&self.engine, &mut writer, position + 1)
    }

    /// Removes the last record, in the order of insertion, as long as `remove` says so, and commits; tells how many were removed.
    ///
    /// As [`truncate_after`](Self::truncate_after), where not the name is known but, say, the step.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// for step in [0, 500, 1000, 1500] {
    ///     depot.put(step, &AtomicFrame::new().positions(&vec![[0.0_f32; 3]]).step(step))?;
    /// }
    /// // The checkpoint that the run starts from was written at step 700.
    /// assert_eq!(depot.truncate_while(|_, frame| frame.step() > Some(700))?, 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get) for a record that cannot be read, and as [`truncate_after`](Self::truncate_after).
    pub fn truncate_while(&self, mut remove: impl FnMut(&Key, C::View<'_>) -> bool) -> Result<u64> {
        let len = self.len();
        for position in (0..len).rev() {
            let key = self.key_at(position)?;
            if !remove(&key, self.get_at(position)?.view()) {
                return if position + 1 == len { Ok(0) } else { self.truncate_after(&key) };
            }
        }
        let mut writer = self.engine.writer()?;
        writer.commit()?;
        remove_from(&self.engine, &mut writer, 0)
    }
}

/// Removes the records from `position` on and commits. Nothing is pending.
fn remove_from(engine: &Engine, writer: &mut Writer, position: u64) -> Result<u64> {
    let len = engine.shared.read().len();
    let names: Vec<Vec<u8>> =
        (position..len).map(|position| engine.name_at(position)).collect::<Result<_>>()?;
    // The last one first: whatever part of it survives a crash is what a later restart would have removed.
    for name in names.iter().rev() {
        writer.remove(name)?;
    }
    writer.commit()?;
    Ok(names.len() as u64)
}

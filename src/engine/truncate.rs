//! Removes the end of a depot.

use super::{Engine, Writer};
use crate::error::Result;
use crate::index::Location;

/// The records that a truncation would remove.
pub(crate) struct Plan {
    /// Tagged names and places, the last record first.
    pub(crate) found: Vec<(Vec<u8>, Location)>,
    /// Whether the scan met a record to stop at.
    pub(crate) stopped: bool,
    pub(crate) len: u64,
}

impl Plan {
    /// How many records would be removed.
    pub(crate) fn removed(&self) -> u64 {
        self.found.len() as u64
    }

    pub(crate) fn kept(&self) -> u64 {
        self.len.saturating_sub(self.removed())
    }
}

/// Plans to remove all records after the one called `name`.
pub(crate) fn plan_after(engine: &Engine, name: &[u8]) -> Result<Plan> {
    let (position, len) = (engine.position_of(name)?, engine.shared.read().len());
    let found = |position| Ok((engine.name_at(position)?, engine.location_at(position)?));
    let found = (position + 1..len).rev().map(found).collect::<Result<_>>()?;
    Ok(Plan { found, stopped: true, len })
}

/// Removes the planned records that are still there, and commits. Returns how many it removed.
///
/// Nothing may be pending.
pub(crate) fn remove(engine: &Engine, writer: &mut Writer, plan: &Plan) -> Result<u64> {
    let before = engine.shared.read().snapshot.offset;
    let mut removed = 0;
    // The last record goes first. If only a part of the removals survives a crash, the records that are left
    // are still the first ones.
    for (name, location) in &plan.found {
        let same = engine.place_of(name)? == Some(*location);
        removed += u64::from(same && writer.remove(name)?);
    }
    if removed > 0 {
        writer.set_undo(before);
        writer.commit()?;
    }
    Ok(removed)
}

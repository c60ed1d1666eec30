//! Removing the end of a depot.

use super::{Engine, Writer};
use crate::error::Result;
use crate::index::Location;

/// What a scan found.
pub(crate) struct Plan {
    /// Tagged names and places, the last record first.
    pub(crate) found: Vec<(Vec<u8>, Location)>,
    /// The scan met a record to stop at.
    pub(crate) stopped: bool,
    pub(crate) len: u64,
}

impl Plan {
    /// How many records go.
    pub(crate) fn removed(&self) -> u64 {
        self.found.len() as u64
    }

    pub(crate) fn kept(&self) -> u64 {
        self.len.saturating_sub(self.removed())
    }
}

/// What is after the record called `name`.
pub(crate) fn plan_after(engine: &Engine, name: &[u8]) -> Result<Plan> {
    let (position, len) = (engine.position_of(name)?, engine.shared.read().len());
    let found = |position| Ok((engine.name_at(position)?, engine.location_at(position)?));
    let found = (position + 1..len).rev().map(found).collect::<Result<_>>()?;
    Ok(Plan { found, stopped: true, len })
}

/// Removes what was planned and is still there, and commits; tells how many that were. Nothing is pending.
pub(crate) fn remove(engine: &Engine, writer: &mut Writer, plan: &Plan) -> Result<u64> {
    let before = engine.shared.read().snapshot.offset;
    let mut removed = 0;
    // The last one first: whatever part of it survives a crash is what a later restart would have removed.
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

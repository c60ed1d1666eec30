//! Tells which names are certainly new, without looking them up.
//!
//! Frames and numbered records come in the order of their names. Their writer need not ask the index for each.

use super::shared::Shared;
use crate::catalog::State;
use crate::error::Result;
use crate::format::tables::Order;

/// A name that no record's name comes after, if one is known.
#[derive(Debug, Default)]
pub(super) enum LastName {
    /// Nobody has asked yet.
    #[default]
    NotAsked,
    /// Some segment does not have the order of its names, or it cannot be read.
    Unknown,
    /// Tagged. Empty in a depot without records.
    Known(Vec<u8>),
}

impl LastName {
    /// Whether `name` comes after the name of every record. False if that is not known.
    pub(super) fn is_before(&mut self, name: &[u8], shared: &Shared) -> bool {
        if let Self::NotAsked = self {
            // What is damaged is noticed by whoever needs it.
            *self = last_name(&shared.read()).ok().flatten().map_or(Self::Unknown, Self::Known);
        }
        match self {
            Self::Known(last) => last.as_slice() < name,
            Self::NotAsked | Self::Unknown => false,
        }
    }

    /// Notes the name of a record that was put.
    pub(super) fn note(&mut self, name: &[u8]) {
        if let Self::Known(last) = self
            && last.as_slice() < name
        {
            last.clear();
            last.extend_from_slice(name);
        }
    }
}

/// The last name, in their order, of all records, dead ones included. `None` if it is not known.
fn last_name(state: &State) -> Result<Option<Vec<u8>>> {
    let mut last = Vec::new();
    for segment in &state.snapshot.segments {
        let Some(rank) = segment.reference.n_records.checked_sub(1) else { continue };
        if segment.order() == Order::Unknown {
            return Ok(None);
        }
        last = last.max(segment.name(segment.at_rank(rank)?)?);
    }
    let records = state.pending.records();
    let pending = (0..records.len()).map(|number| records.name(number)).max().unwrap_or_default();
    Ok(Some(last.max(pending.to_vec())))
}

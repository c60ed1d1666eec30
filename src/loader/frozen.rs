//! What a loader reads: the records of one moment, and which of them it takes.

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::State;
use crate::engine::{Engine, Seen};
use crate::error::Result;
use crate::index::Location;

/// The records of a depot at one moment.
pub(super) struct Frozen {
    pub(super) engine: Engine,
    state: State,
    /// Sorted ordinals of dead records. `None` when the index cannot tell: then the engine is asked.
    dead: Option<Vec<u64>>,
}

impl Frozen {
    /// The records of a frozen engine.
    pub(super) fn new(engine: Engine) -> Result<Self> {
        let state = engine.state();
        let dead = match state.tombstones() {
            Ok(dead) => Some(dead.into_owned()),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error),
        };
        Ok(Self { engine, state, dead })
    }

    /// The same records, through an engine that shares no lock with this one.
    pub(super) fn reopened(&self) -> Result<Self> {
        Self::new(self.engine.reopened()?)
    }

    /// How many records there are.
    pub(super) fn len(&self) -> u64 {
        self.state.len()
    }

    /// Where the record at `position` lies.
    pub(super) fn location(&self, position: u64) -> Result<Location> {
        self.location_seen(position, &mut Seen::default())
    }

    /// Like [`location`](Self::location), and notes in `seen` where the record was found.
    pub(super) fn location_seen(&self, position: u64, seen: &mut Seen) -> Result<Location> {
        let place = self.dead.as_ref().and_then(|dead| self.state.place(position, dead));
        let location = match place.map(|place| self.state.location(place)) {
            Some(Ok(location)) => location,
            // The position is out of range, or the index is damaged: the engine gives the place or the
            // error.
            _ => self.engine.location_at(position)?,
        };
        seen.push(&self.engine, &self.state.snapshot, place);
        Ok(location)
    }

    /// The tagged name of the record at `position`.
    pub(super) fn name(&self, position: u64) -> Result<Vec<u8>> {
        self.engine.name_at(position)
    }

    /// The position of the record with this tagged name.
    pub(super) fn find(&self, name: &[u8]) -> Result<u64> {
        self.engine.position_of(name)
    }

    /// A fingerprint of the first `n` records, made from the last of them.
    ///
    /// Removing, replacing or moving any of these records changes which one is last.
    pub(super) fn fingerprint(&self, n: u64) -> Result<u64> {
        let Some(last) = n.checked_sub(1) else { return Ok(0) };
        let location = self.location(last)?;
        let mut bytes = self.name(last)?;
        bytes.extend_from_slice(&location.clipped_length().to_le_bytes());
        bytes.extend_from_slice(&location.checksum.to_le_bytes());
        Ok(xxhash_rust::xxh3::xxh3_64(&bytes))
    }
}

/// Which records a loader takes, by position.
#[derive(Debug, Clone)]
pub(super) enum Subset {
    Range(Range<u64>),
    List(Arc<[u64]>),
}

impl Subset {
    /// How many records the subset has.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Range(range) => range.end.saturating_sub(range.start),
            Self::List(list) => list.len() as u64,
        }
    }

    /// The position of the `nth` record of the subset.
    pub(super) fn position(&self, nth: u64) -> u64 {
        match self {
            Self::Range(range) => range.start + nth,
            Self::List(list) => {
                usize::try_from(nth).ok().and_then(|n| list.get(n)).copied().unwrap_or(u64::MAX)
            }
        }
    }

    /// The largest position and one more: how many records of the depot the subset depends on.
    pub(super) fn extent(&self) -> u64 {
        match self {
            Self::Range(range) if range.is_empty() => 0,
            Self::Range(range) => range.end,
            Self::List(list) => list.iter().max().map_or(0, |&last| last.saturating_add(1)),
        }
    }

    /// A hash of the positions; 0 for a range.
    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Range(_) => 0,
            Self::List(list) => {
                let mut hasher = xxhash_rust::xxh3::Xxh3::new();
                list.iter().for_each(|position| hasher.update(&position.to_le_bytes()));
                hasher.digest()
            }
        }
    }
}

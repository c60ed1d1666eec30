//! What a reader learns when it moves forward.

use std::ops::Range;

use super::Depot;
use crate::codec::Codec;
use crate::engine::Moved;
use crate::error::Result;

/// What [`Depot::refresh`] found: how much is there now, and how much of what was there before still holds.
///
/// Positions are those of [`Depot::get_at`]: the order of insertion.
///
/// ```
/// use vldepot::{Depot, Raw};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("run.vld");
/// let writer = Depot::create(&path, Raw)?;
/// for step in [0, 500, 1000] {
///     writer.put(step, b"..")?;
/// }
/// writer.commit()?;
/// let reader = Depot::open(&path, Raw)?;
///
/// // The simulation starts again from step 500.
/// writer.truncate_after(500)?;
/// writer.put(900, b"..")?;
/// writer.put(1300, b"..")?;
/// writer.commit()?;
/// let refreshed = reader.refresh()?;
/// assert_eq!((refreshed.before, refreshed.kept, refreshed.now), (3, 2, 4));
/// assert_eq!(refreshed.went_back(), Some(2));
/// assert_eq!(refreshed.new_records(), 2..4);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[must_use = "what was read before may hold no more: see `went_back`"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refreshed {
    /// Records before.
    pub before: u64,
    /// Records now.
    pub now: u64,
    /// The records at positions under this one are those that were there before, by name and content; the
    /// next one, if there is one, is not. Metadata of records are not compared, see [`Depot::refresh`].
    pub kept: u64,
    changed: bool,
}

impl Refreshed {
    /// Positions of records that are new, or stand elsewhere than before. Empty where there are none.
    pub fn new_records(&self) -> Range<u64> {
        self.kept..self.now.max(self.kept)
    }

    /// Where the first record stood that is no more at its place; `None` while all records are where they
    /// were. What was read at this position and after it is void.
    pub fn went_back(&self) -> Option<u64> {
        (self.kept < self.before).then_some(self.kept)
    }

    /// Whether the writer did anything at all: a commit, maybe one of metadata alone.
    pub fn changed(&self) -> bool {
        self.changed
    }
}

/// Following a writer.
impl<C: Codec> Depot<C> {
    /// Moves a depot opened for reading forward to what its writer has committed since, and tells how many of
    /// the leading records are the same as before.
    ///
    /// What was removed, replaced or moved to the end by [`set_metadata`](Self::set_metadata) in the middle
    /// of the order counts as going back to there: all records after it have other positions. New metadata of
    /// the last record alone leave it where it was, and it is kept; so is everything when the depot's own
    /// metadata are new. Records of a writer that died or is at work, which no commit covers yet, are there
    /// as in [`open`](Self::open), and may be gone later.
    ///
    /// A writing depot, and a file of another program, are always up to date.
    /// `docs/how-to/follow-a-live-run.md` is a guide.
    ///
    /// # Errors
    /// [`ErrorKind::Replaced`](crate::ErrorKind::Replaced) when the path leads to another file by now, as
    /// after [`compact`](crate::maintain::compact): open it again.
    /// [`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete) when the file lost a commit since, whatever
    /// [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss) was: this reader may still have what is
    /// lost. [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when the index is damaged where the two states
    /// are compared. Others as [`open`](Self::open). After each of them the depot is at the state that it
    /// had, and can be read.
    pub fn refresh(&self) -> Result<Refreshed> {
        let Moved { before, now, kept, changed } = self.engine.refresh()?;
        Ok(Refreshed { before, now, kept, changed })
    }
}

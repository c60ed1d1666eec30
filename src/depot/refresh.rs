//! What a reader learns when it moves forward.

use std::ops::Range;

use super::Depot;
use crate::codec::Codec;
use crate::engine::Moved;
use crate::error::Result;

/// What [`Depot::refresh`] found: how many records are there now, and how many of them are unchanged.
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
    /// Number of records before.
    pub before: u64,
    /// Number of records now.
    pub now: u64,
    /// How many of the first records are the same as before, by name and content.
    ///
    /// The next record, if there is one, differs. Metadata of records are not compared: see
    /// [`Depot::refresh`].
    pub kept: u64,
    changed: bool,
}

impl Refreshed {
    /// Positions of records that are new, or that were elsewhere before. May be empty.
    pub fn new_records(&self) -> Range<u64> {
        self.kept..self.now.max(self.kept)
    }

    /// The first position at which a record changed or went away. `None` if all are where they were.
    ///
    /// Nothing that was read at this position or after it is valid any more.
    pub fn went_back(&self) -> Option<u64> {
        (self.kept < self.before).then_some(self.kept)
    }

    /// Whether the writer did anything: at least one commit, maybe of metadata alone.
    pub fn changed(&self) -> bool {
        self.changed
    }
}

/// Following a writer.
impl<C: Codec> Depot<C> {
    /// Moves a reader forward to what its writer has committed since.
    ///
    /// The result says how many of the first records are the same as before.
    /// `docs/how-to/follow-a-live-run.md` is a guide.
    ///
    /// A record in the middle of the order may be removed or replaced, or
    /// [`set_metadata`](Self::set_metadata) may move it to the end. This counts as going back to its
    /// place, because all records after it have other positions. New metadata of the last record leave
    /// it where it was, so it is kept. New metadata of the depot itself change no record.
    ///
    /// As in [`open`](Self::open), records that no commit covers yet are there too, when the writer died
    /// or is at work. They may be gone later. A writing depot, and a file of another program, are always
    /// up to date.
    ///
    /// # Errors
    /// - [`ErrorKind::Replaced`](crate::ErrorKind::Replaced) when the path leads to another file by now,
    ///   for example after [`compact`](crate::maintain::compact). Open it again.
    /// - [`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete) when the file lost a commit since.
    ///   [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss) does not prevent this error,
    ///   because this reader may still have what is lost.
    /// - [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when the index is damaged where the two
    ///   states are compared.
    /// - The other errors of [`open`](Self::open).
    ///
    /// After an error the depot is as before, and can be read.
    pub fn refresh(&self) -> Result<Refreshed> {
        let Moved { before, now, kept, changed } = self.engine.refresh()?;
        Ok(Refreshed { before, now, kept, changed })
    }
}

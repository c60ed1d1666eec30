//! Going back to an earlier record, and undoing that.

use super::{Depot, key_of};
use crate::codec::Codec;
use crate::engine::{Engine, Plan, plan_after, remove};
use crate::error::{ErrorKind, Result};
use crate::index::Location;
use crate::key::{AsKey, Key};

/// How to truncate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TruncateOptions {
    /// Only report what would be removed. Nothing changes, so this also works on a depot opened for
    /// reading.
    pub dry_run: bool,
    /// Allow removing everything, which is [refused](ErrorKind::RemovesAll) otherwise.
    pub all: bool,
}

impl TruncateOptions {
    /// Sets [`dry_run`](Self#structfield.dry_run).
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets [`all`](Self#structfield.all).
    #[must_use]
    pub fn with_all(mut self, all: bool) -> Self {
        self.all = all;
        self
    }
}

/// What [`Depot::truncate_by`] does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// Remove it, and go on with the one before.
    Remove,
    /// Keep it, and go on with the one before.
    Keep,
    /// Keep it and all records before it. The scan ends.
    Stop,
}

/// What a truncation removed, or would remove.
///
/// From [`plan_compact`](crate::maintain::plan_compact), this is what a compaction would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// How many records are removed.
    pub removed: u64,
    /// How many records stay.
    pub kept: u64,
    /// The first removed record, in the order of insertion.
    pub first: Option<Key>,
    /// The last removed record.
    pub last: Option<Key>,
    /// Whether no record stays. After a truncation by step: whether no frame with a step stays.
    ///
    /// Such a truncation needs [`TruncateOptions::all`].
    pub everything: bool,
}

impl Removal {
    fn of(plan: &Plan, engine: &Engine, everything: bool) -> Result<Removal> {
        let key = |entry: Option<&(Vec<u8>, Location)>| {
            entry.map(|(name, _)| key_of(engine, name.clone())).transpose()
        };
        let (first, last) = (key(plan.found.last())?, key(plan.found.first())?);
        Ok(Removal { removed: plan.removed(), kept: plan.kept(), first, last, everything })
    }
}

/// Going back to an earlier record.
impl<C: Codec> Depot<C> {
    /// Removes every record after the one of that name, in the order of insertion, and commits.
    ///
    /// Returns how many there were. This is for a run that starts again from an earlier step: without
    /// it, the run would store the frames in between twice.
    ///
    /// The bytes of the removed records stay in the file until it is
    /// [compacted](crate::maintain::compact). [`undo_truncate`](Self::undo_truncate) brings the records
    /// back as long as nothing else was changed. A record that was replaced after `key` is gone too: its
    /// older content does not come back. If the process is killed in the middle, all, some or none of
    /// the last records are removed.
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
    /// - The errors of [`commit`](Self::commit). The records may then be removed, but not durably. The
    ///   next commit makes their removal durable.
    /// - [`ErrorKind::NotFound`] when no record has that name. Nothing is removed then.
    /// - [`ErrorKind::ReadOnly`].
    pub fn truncate_after(&self, key: impl AsKey) -> Result<u64> {
        self.truncate_after_with(key, &TruncateOptions::default()).map(|removal| removal.removed)
    }

    /// Like [`truncate_after`](Self::truncate_after), but with options.
    ///
    /// The [`Removal`] says what goes and what stays. The record called `key` always stays, so this
    /// never removes everything.
    ///
    /// ```
    /// use vldepot::{Depot, Key, Raw, TruncateOptions};
    /// let depot = Depot::memory(Raw)?;
    /// for step in [0, 500, 1000, 1500] {
    ///     depot.put(step, b"..")?;
    /// }
    /// let removal = depot.truncate_after_with(500, &TruncateOptions::default().with_dry_run(true))?;
    /// assert_eq!((removal.removed, removal.kept), (2, 2));
    /// assert_eq!((removal.first, removal.last), (Some(Key::Int(1000)), Some(Key::Int(1500))));
    /// assert_eq!(depot.len(), 4);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`truncate_after`](Self::truncate_after).
    pub fn truncate_after_with(&self, key: impl AsKey, options: &TruncateOptions) -> Result<Removal> {
        let name = super::tagged(&self.engine, &key)?;
        if options.dry_run {
            return Removal::of(&plan_after(&self.engine, &name)?, &self.engine, false);
        }
        let mut writer = self.engine.writer()?;
        // Positions are cheap to find once every record has its ordinal.
        writer.commit()?;
        let plan = plan_after(&self.engine, &name)?;
        let removal = Removal::of(&plan, &self.engine, false)?;
        remove(&self.engine, &mut writer, &plan)?;
        Ok(removal)
    }

    /// Removes records from the end as long as `remove` returns true, commits, and returns how many.
    ///
    /// Like [`truncate_by`](Self::truncate_by), but the first record to keep ends the scan.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// for (name, bytes) in [("a", b"good"), ("b", b"good"), ("c", b"poor"), ("d", b"poor")] {
    ///     depot.put(name, bytes)?;
    /// }
    /// assert_eq!(depot.truncate_while(|_, bytes| bytes == b"poor")?, 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`truncate_by`](Self::truncate_by). [`ErrorKind::RemovesAll`] when `remove` wants
    /// to remove all records.
    pub fn truncate_while(&self, mut remove: impl FnMut(&Key, C::View<'_>) -> bool) -> Result<u64> {
        let decide = |key: &Key, view: C::View<'_>| if remove(key, view) { Cut::Remove } else { Cut::Stop };
        self.truncate_by(&TruncateOptions::default(), decide).map(|removal| removal.removed)
    }

    /// Goes back from the last record, asks `decide` what to do with each, and commits.
    ///
    /// Nothing is removed before all answers are there. Records that other threads put meanwhile stay.
    /// [`undo_truncate`](Self::undo_truncate) brings the removed records back.
    ///
    /// ```
    /// use vldepot::{Cut, Depot, Key, Raw, TruncateOptions};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("frame_1", b"..")?;
    /// depot.put("frame_2", b"..")?;
    /// depot.put("notes", b"..")?;
    /// let removal = depot.truncate_by(&TruncateOptions::default(), |key, _| match key.as_str() {
    ///     Some("frame_2") => Cut::Remove,
    ///     Some("notes") => Cut::Keep,
    ///     _ => Cut::Stop,
    /// })?;
    /// assert_eq!((removal.removed, removal.kept), (1, 2));
    /// assert_eq!(removal.last, Some(Key::Str("frame_2".into())));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing is removed after the first three:
    /// - [`ErrorKind::RemovesAll`] when no record would stay. [`TruncateOptions::all`] allows that, and
    ///   a dry run never gives this error.
    /// - The errors of [`get`](Self::get) for a record that cannot be read.
    /// - [`ErrorKind::ReadOnly`].
    /// - The errors of [`truncate_after`](Self::truncate_after).
    pub fn truncate_by(
        &self,
        options: &TruncateOptions,
        decide: impl FnMut(&Key, C::View<'_>) -> Cut,
    ) -> Result<Removal> {
        let plan = self.plan(*options, decide)?;
        let everything = plan.removed() > 0 && plan.kept() == 0;
        self.carry_out(&plan, *options, everything, "records")
    }

    /// Asks `decide` about the records, from the last one back.
    ///
    /// This changes nothing, except that a real truncation commits first.
    pub(crate) fn plan(
        &self,
        options: TruncateOptions,
        mut decide: impl FnMut(&Key, C::View<'_>) -> Cut,
    ) -> Result<Plan> {
        let frozen = if options.dry_run {
            None
        } else {
            drop(self.engine.writer()?);
            Some(self.engine.frozen()?)
        };
        let engine = frozen.as_ref().unwrap_or(&self.engine);
        let len = engine.len();
        let mut plan = Plan { found: Vec::new(), stopped: false, len };
        for position in (0..len).rev() {
            let (name, location) = (engine.name_at(position)?, engine.location_at(position)?);
            let key = key_of(engine, name.clone())?;
            let record = self.record(&name, engine.read_called(&name, &location)?)?;
            match decide(&key, record.view()) {
                Cut::Remove => plan.found.push((name, location)),
                Cut::Keep => {}
                Cut::Stop => {
                    plan.stopped = true;
                    break;
                }
            }
        }
        Ok(plan)
    }

    /// Removes what was planned and commits, unless it is a dry run.
    ///
    /// With `everything`, it only does so if the options allow that.
    pub(crate) fn carry_out(
        &self,
        plan: &Plan,
        options: TruncateOptions,
        everything: bool,
        what: &'static str,
    ) -> Result<Removal> {
        let removal = Removal::of(plan, &self.engine, everything)?;
        if options.dry_run {
            return Ok(removal);
        }
        if everything && !options.all {
            return Err(ErrorKind::RemovesAll { records: plan.removed(), what }.at(self.engine.path()));
        }
        let mut writer = self.engine.writer()?;
        writer.commit()?;
        let removed = remove(&self.engine, &mut writer, plan)?;
        let kept = self.engine.len();
        Ok(Removal { removed, kept, ..removal })
    }

    /// How many records may be at another place than the one they were put at: an upper bound.
    ///
    /// A record moves to the end of the order when it is replaced or renamed, or gets other metadata. So in
    /// an order that was once that of the steps of a run, this many records may be out of it. The bound is 0
    /// again after
    /// [compaction](crate::maintain::compact), which writes the records in the order that they have.
    ///
    /// This looks at the place of each record in the file, and reads none.
    ///
    /// ```
    /// # use vldepot::{Depot, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put_many([("a", vec![1]), ("b", vec![2]), ("c", vec![3])])?;
    /// assert_eq!(depot.moved_at_most()?, 0);
    /// depot.set_metadata("a", "checked")?;
    /// assert!(depot.moved_at_most()? >= 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`](crate::Error::is_damage) when the places cannot be read.
    pub fn moved_at_most(&self) -> Result<u64> {
        let (engine, moment) = (&self.engine, self.engine.moment());
        let (mut moved, mut last) = (0, 0);
        for position in 0..moment.len() {
            let address = engine.location_in(&moment, position)?.address;
            moved += u64::from(address < last);
            last = last.max(address);
        }
        // A replaced record is stored anew. Until the index is merged, the old one is known to be dead.
        Ok(moved + engine.n_dead())
    }

    /// Brings back what the last truncation removed, each record in its place, and commits.
    ///
    /// Returns how many records there were. This works until anything else is committed, also after the
    /// depot was closed and opened again. If the process is killed in the middle, all, some or none of
    /// the first records are back.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// for step in 0..10 {
    ///     depot.put(step, b"..")?;
    /// }
    /// assert_eq!(depot.truncate_after(3)?, 6);
    /// assert_eq!(depot.undo_truncate()?, 6);
    /// assert_eq!(depot.len(), 10);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotUndone`], which says why: something was put, removed or changed since, nothing
    ///   was truncated, or the depot was compacted.
    /// - [`Error::is_damage`](crate::Error::is_damage) when the index of the time before is damaged.
    /// - The errors of [`commit`](Self::commit).
    pub fn undo_truncate(&self) -> Result<u64> {
        self.engine.undo_truncate()
    }
}

//! A simulation that starts again from an earlier step.

use std::collections::HashSet;

use super::AtomicFrameCodec;
use crate::{Cut, Depot, Error, ErrorKind, Removal, Result, TruncateOptions};

/// So many frames in a row that stay are the part of a run that stays. What was replaced before it was
/// committed leaves no trace, so two might be two of those.
const IN_A_ROW: u64 = 32;

/// Restarting a run by step.
impl Depot<AtomicFrameCodec> {
    /// Removes the frames with a larger step than `step`, commits, and returns how many there were.
    ///
    /// It takes it that the frames were put in the order of their steps, and goes back from the end until 32
    /// frames in a row stay. If frames were replaced, renamed or given metadata since, it goes back by as
    /// many more as there may be of them ([`moved_at_most`](Self::moved_at_most)). Records without a step,
    /// such as a topology, are kept wherever they are. [`undo_truncate`](Self::undo_truncate) brings the
    /// frames back.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// for step in [0, 500, 1000, 1500] {
    ///     depot.put(step, &AtomicFrame::new().positions(&vec![[0.0_f32; 3]]).step(step))?;
    /// }
    /// assert_eq!(depot.truncate_after_step(700)?, 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::RemovesAll`] when no frame with a step would stay.
    /// - The errors of [`truncate_by`](Self::truncate_by).
    pub fn truncate_after_step(&self, step: i64) -> Result<u64> {
        self.truncate_after_step_with(step, &TruncateOptions::default()).map(|removal| removal.removed)
    }

    /// Like [`truncate_after_step`](Self::truncate_after_step), but with options.
    ///
    /// The [`Removal`] says what goes and what stays.
    ///
    /// # Errors
    /// Same as [`truncate_after_step`](Self::truncate_after_step).
    pub fn truncate_after_step_with(&self, step: i64, options: &TruncateOptions) -> Result<Removal> {
        self.cut_after(step, None, *options)
    }

    /// Makes the depot ready for a run that starts again at `step`.
    ///
    /// It removes the frames after `step`. It refuses when frames before it are missing.
    ///
    /// `newest` is the step of the newest frame that the run had stored when it was at `step`. If the
    /// file does not have that frame any more, the checkpoint is newer than the last commit, and the run
    /// would leave a gap. So [commit](Self::commit) before you write a checkpoint: then the frames up to
    /// it are durable.
    ///
    /// ```
    /// use vldepot::{Depot, ErrorKind};
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// for step in (0..=1500).step_by(100) {
    ///     depot.put(step, &AtomicFrame::new().positions(&vec![[0.0_f32; 3]]).step(step))?;
    /// }
    /// // The checkpoint is of step 1250, and the last frame before it is of step 1200.
    /// assert_eq!(depot.restart_at_step(1250, 1200)?.removed, 3);
    /// // The frames 1300 and 1400 before this checkpoint are not here.
    /// let error = depot.restart_at_step(1400, 1400).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::Gap { expected: 1400, found: Some(1200), .. }));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Gap`], with both steps, before anything is removed.
    /// - [`ErrorKind::InvalidOptions`] when `newest` is after `step`.
    /// - The errors of [`truncate_by`](Self::truncate_by).
    pub fn restart_at_step(&self, step: i64, newest: i64) -> Result<Removal> {
        self.restart_at_step_with(step, newest, &TruncateOptions::default())
    }

    /// Like [`restart_at_step`](Self::restart_at_step), but with options.
    ///
    /// # Errors
    /// Same as [`restart_at_step`](Self::restart_at_step), also in a dry run.
    pub fn restart_at_step_with(&self, step: i64, newest: i64, options: &TruncateOptions) -> Result<Removal> {
        if newest > step {
            let why = format!(
                "the newest frame to be kept, of step {newest}, is after step {step}, at which to restart"
            );
            return Err(Error::new(ErrorKind::InvalidOptions { why }));
        }
        self.cut_after(step, Some(newest), *options)
    }

    fn cut_after(&self, step: i64, newest: Option<i64>, options: TruncateOptions) -> Result<Removal> {
        // Among so many frames that stay, one is where it was put, and all before it have smaller steps.
        let enough = self.moved_at_most()?.saturating_add(IN_A_ROW);
        let look = TruncateOptions::default().with_dry_run(true);
        let (mut found, mut stay, mut looked_at) = (None, 0, HashSet::new());
        let mut planned = self.truncate_by(&look, |key, frame| match frame.step() {
            None => Cut::Keep,
            Some(of_frame) if of_frame > step => {
                stay = 0;
                looked_at.insert(key.clone());
                Cut::Remove
            }
            of_frame => {
                found = found.max(of_frame);
                stay += 1;
                if stay < enough { Cut::Keep } else { Cut::Stop }
            }
        })?;
        if let Some(expected) = newest
            && found.is_none_or(|found| found < expected)
        {
            return Err(Error::new(ErrorKind::Gap { step, expected, found }).at(self.path()));
        }
        // A record without a step, such as a topology, is not a frame that the run could go on from.
        planned.everything = planned.removed > 0 && found.is_none();
        if options.dry_run {
            return Ok(planned);
        }
        if planned.everything && !options.all {
            let (records, what) = (planned.removed, "frames");
            return Err(Error::new(ErrorKind::RemovesAll { records, what }).at(self.path()));
        }
        // Removes only frames that were looked at: what other threads put or remove meanwhile stays as
        // it is.
        let mut left = looked_at.len();
        let removal = self.truncate_by(&options, |key, frame| {
            if left == 0 {
                return Cut::Stop;
            }
            let known = frame.step().is_some_and(|of_frame| of_frame > step) && looked_at.contains(key);
            left -= usize::from(known);
            if known { Cut::Remove } else { Cut::Keep }
        })?;
        Ok(Removal { everything: planned.everything, ..removal })
    }
}

//! What is told beside the output: a progress bar on stderr if that is a terminal, and a summary at the end.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vldepot::maintain::Progress;

use crate::failure::Failure;
use crate::text;

static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on, no progress and no summary is shown.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a line that sums up what was done.
pub(crate) fn tell(out: &mut dyn Write, line: fmt::Arguments<'_>) -> Result<(), Failure> {
    if !is_quiet() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Draws nothing when stderr is no terminal.
fn target() -> ProgressDrawTarget {
    if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// Shows how far a verb is. It disappears when dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar named `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        // Cannot fail: the template is a constant.
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::with_draw_target(Some(0), target()).with_style(style).with_message(what))
    }

    /// Updates the bar.
    pub(crate) fn show(&self, progress: Progress) {
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
    }
}

/// Shows how much a verb has done, where nobody knows how much there is. It disappears when dropped.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// A spinner named `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        // Cannot fail: the template is a constant.
        let style = ProgressStyle::with_template("{msg} {spinner} {human_pos} entries, {prefix}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self(ProgressBar::with_draw_target(None, target()).with_style(style).with_message(what))
    }

    /// Updates it.
    pub(crate) fn show(&self, progress: vldepot::archive::Progress) {
        self.0.set_prefix(text::bytes(progress.bytes));
        self.0.set_position(progress.entries);
    }
}

/// Shows how many records of how many are done. It disappears when dropped.
pub(crate) struct Count(ProgressBar);

impl Count {
    /// A bar named `what`.
    pub(crate) fn new(what: &'static str, records: u64) -> Self {
        // Cannot fail: the template is a constant.
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::with_draw_target(Some(records), target()).with_style(style).with_message(what))
    }

    /// So many more are done.
    pub(crate) fn add(&self, records: u64) {
        self.0.inc(records);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

//! A progress bar on stderr for verbs that take long, if stderr is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use vldepot::maintain::Progress;

use crate::text;

/// Shows how far a verb is. It disappears when dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar named `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        // Cannot fail: the template is a constant.
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        // Draws nothing when stderr is no terminal.
        Self(ProgressBar::new(0).with_style(style).with_message(what))
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
        Self(ProgressBar::new_spinner().with_style(style).with_message(what))
    }

    /// Updates it.
    pub(crate) fn show(&self, progress: vldepot::archive::Progress) {
        self.0.set_prefix(text::bytes(progress.bytes));
        self.0.set_position(progress.entries);
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

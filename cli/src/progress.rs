//! A progress bar on stderr for verbs that take long, if stderr is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use vldepot::maintain::Progress;

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

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

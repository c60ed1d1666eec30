//! `vldepot compact`: the same depot without what was removed and replaced.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use vldepot::compact;

use super::Run;
use crate::failure::Failure;
use crate::progress::Bar;
use crate::text;

/// Rewrite a depot without what was removed and replaced.
///
/// The new file is written beside the old one, and takes its place in one step; interrupted before, nothing
/// has changed.
#[derive(Args)]
pub(crate) struct Compact {
    /// The depot; nobody may be writing it.
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Run for Compact {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let bar = Bar::new("compacting");
        let report = compact(&self.file, |progress| bar.show(progress))?;
        drop(bar);
        if self.json {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
            return Ok(());
        }
        let records = text::count(report.records, "record");
        let (before, after) = (text::bytes(report.bytes_before), text::bytes(report.bytes_after));
        let file = text::path(&self.file);
        writeln!(out, "{file}: {records}, {before} before, {after} now")?;
        if report.other_names > 0 {
            let names = text::count(report.other_names, "other name");
            writeln!(out, "{file}: the old file has {names} (hard links) and keeps its room")?;
        }
        Ok(())
    }
}

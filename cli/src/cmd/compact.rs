//! `vldepot compact`: rewrites a depot without what was removed and replaced.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec};
use vldepot::maintain::{CompactOptions, compact_as, compact_with, plan_compact};
use vldepot::{Depot, Layout, Raw};

use super::Run;
use super::truncate::{removed, to_json};
use crate::failure::Failure;
use crate::progress::{self, Bar};
use crate::records::{self, Described};
use crate::text;

/// Rewrite a depot without removed and replaced records, and compress it in another way if asked to.
///
/// The new file is written beside the old one, and then takes its place in one step. If the command is
/// interrupted before that, nothing has changed.
#[derive(Args)]
pub(crate) struct Compact {
    /// The depot. No other program may be writing it.
    file: PathBuf,
    /// Compress anew, as this preset does: `balanced` and `compact` with zstd, `fast` with LZ4.
    #[arg(long, value_parser = PossibleValuesParser::new(Layout::PRESETS), conflicts_with = "dry_run")]
    preset: Option<String>,
    /// Do not store the fields of frames and arrays apart, so that every Blosc2 program can read the chunks.
    #[arg(long, conflicts_with = "dry_run")]
    no_fields_apart: bool,
    /// Only say which removed and replaced records would be gone for good. This works while another program
    /// writes the depot.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Compact {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.dry_run {
            let removal = plan_compact(&self.file)?;
            if self.json {
                writeln!(out, "{}", to_json(&removal, true))?;
            } else if removal.removed == 0 {
                let kept = text::grouped(removal.kept);
                writeln!(out, "{}: no record was removed or replaced; {kept} kept", text::path(&self.file))?;
            } else {
                writeln!(
                    out,
                    "{}: {}",
                    text::path(&self.file),
                    removed(&removal, "would be removed for good")
                )?;
            }
            return Ok(());
        }
        let old = || Ok(Depot::open(&self.file, Raw)?.info()?.layout);
        let by = records::copied(old, self.preset.as_deref(), self.no_fields_apart)?;
        let options = CompactOptions::default().with_compression_of(by);
        let bar = Bar::new("compacting");
        let show = |progress| bar.show(progress);
        let report = match Described::at(&self.file) {
            Some(Described::Frames) => compact_as(&self.file, AtomicFrameCodec::any(), &options, show)?,
            Some(Described::Arrays) => compact_as(&self.file, AnyNdArray, &options, show)?,
            None => compact_with(&self.file, &options, show)?,
        };
        drop(bar);
        if self.json {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
            return Ok(());
        }
        let records = text::count(report.records, "record");
        let (before, after) = (text::bytes(report.bytes_before), text::bytes(report.bytes_after));
        let file = text::path(&self.file);
        progress::tell(out, format_args!("{file}: {records}, {before} before, {after} now"))?;
        if report.other_names > 0 {
            let links = text::count(report.other_names, "other hard link");
            progress::tell(out, format_args!("{file}: the old file has {links}, so its space is not freed"))?;
        }
        Ok(())
    }
}

//! `vldepot repair`: writes what can be read of a damaged file to a new one.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vldepot::CodecInfo;
use vldepot::maintain::{RepairOptions, repair};

use super::{Run, verify};
use crate::failure::Failure;
use crate::progress::{self, Bar};
use crate::text;

/// Save what can be read of a damaged depot to a new file, and name what is lost.
///
/// The damaged file is not changed. The new file appears when it is complete. The exit code is 1 if the
/// command names a loss or other damage.
#[derive(Args)]
pub(crate) struct Repair {
    /// The damaged depot.
    file: PathBuf,
    /// The file to create. There must be no file of that name.
    new: PathBuf,
    /// The codec id to store in NEW if FILE no longer names one, since its header and all its commits are
    /// lost.
    #[arg(long, value_name = "ID")]
    codec: Option<String>,
    /// Name every lost record, not only the first 20.
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print one JSON object per line: each lost record, each other problem, and then all but these.
    #[arg(long, conflicts_with_all = ["json", "all"])]
    jsonl: bool,
}

impl Run for Repair {
    fn json(&self) -> bool {
        self.json || self.jsonl
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let codec = self.codec.clone().map(|id| CodecInfo::new(id, 1, Vec::new()));
        let options = RepairOptions::default().with_codec(codec);
        let bar = Bar::new("repairing");
        let report = repair(&self.file, &self.new, &options, |progress| bar.show(progress))?;
        drop(bar);
        if self.json() {
            let all = json!({ "file": self.new.to_string_lossy(), "records": report.records });
            let lists =
                [("lost", verify::lost(&report.lost)), ("problems", verify::problems(&report.problems))];
            verify::print_json(all, lists, self.jsonl, out)?;
        } else {
            verify::tell_damage("lost", &report.lost, &report.problems, self.all, out)?;
            progress::tell(
                out,
                format_args!("{}: {} kept", text::path(&self.new), text::count(report.records, "record")),
            )?;
        }
        if report.lost.is_empty() && report.problems.is_empty() {
            return Ok(());
        }
        let lost = text::count(report.lost.len() as u64, "record");
        let problems = text::count(report.problems.len() as u64, "other problem");
        Err(Failure::damage(format!("{}: {lost} lost, {problems}", self.file.display())))
    }
}

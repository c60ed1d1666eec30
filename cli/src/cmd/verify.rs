//! `vldepot verify`: finds what is damaged in a file.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use vldepot::Error;
use vldepot::codecs::AtomicFrameCodec;
use vldepot::maintain::{LostRecord, VerifyOptions, VerifyReport, verify, verify_as};

use super::Run;
use crate::failure::{self, Failure};
use crate::progress::{self, Bar};
use crate::records::Described;
use crate::text;

/// Check every checksum of a depot, its index and its Blosc2 frame, and name what is damaged.
#[derive(Args)]
pub(crate) struct Verify {
    /// The depot. Another program may be writing it.
    file: PathBuf,
    /// Do not read the data. Only names, places, the index and commits are checked.
    #[arg(long)]
    quick: bool,
    /// Name every damaged record, not only the first 20.
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print one JSON object per line: each damaged record, each other problem, and then all but these.
    #[arg(long, conflicts_with_all = ["json", "all"])]
    jsonl: bool,
}

impl Run for Verify {
    fn json(&self) -> bool {
        self.json || self.jsonl
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let options =
            if self.quick { VerifyOptions::default().with_quick(true) } else { VerifyOptions::default() };
        let bar = Bar::new("verifying");
        let report = if matches!(Described::at(&self.file), Some(Described::Frames)) {
            verify_as(&self.file, AtomicFrameCodec::any(), &options, |progress| bar.show(progress))?
        } else {
            verify(&self.file, &options, |progress| bar.show(progress))?
        };
        drop(bar);
        if self.json() {
            let lists = [
                ("damaged_records", lost(&report.damaged_records)),
                ("problems", problems(&report.problems)),
            ];
            print_json(json_of(&report), lists, self.jsonl, out)?;
        } else {
            tell(&report, self.all, out)?;
        }
        if report.is_whole() {
            return Ok(());
        }
        let records = text::count(report.damaged_records.len() as u64, "record");
        let problems = text::count(report.problems.len() as u64, "other problem");
        let file = self.file.display();
        let repair = if report.format == "shards" {
            "`vldepot repair SHARD NEW` saves the rest of a shard".to_owned()
        } else {
            format!("`vldepot repair {file} NEW` saves the rest")
        };
        Err(Failure::damage(format!(
            "{file}: {records} of {} cannot be read, {problems}: {repair}",
            text::grouped(report.records)
        )))
    }
}

/// The most lines of a list that are printed without `--all`.
const FEW: usize = 20;

/// Prints one line for each damaged record, and one for each other problem.
pub(super) fn tell_damage(
    what: &str,
    records: &[LostRecord],
    problems: &[Error],
    all: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let shown = |len: usize| if all { len } else { len.min(FEW) };
    let more = |len: usize, what: &str, out: &mut dyn Write| match (len - shown(len)) as u64 {
        0 => Ok(()),
        more => writeln!(out, "... and {}: --all prints them", text::more(more, what)),
    };
    for LostRecord { name, error, .. } in &records[..shown(records.len())] {
        let reason = text::without_controls(&failure::chain(error));
        writeln!(out, "{what} {}: {reason}", text::name(name))?;
    }
    more(records.len(), "record", out)?;
    for error in &problems[..shown(problems.len())] {
        writeln!(out, "{}", text::without_controls(&failure::chain(error)))?;
    }
    more(problems.len(), "problem", out)?;
    Ok(())
}

fn tell(report: &VerifyReport, all: bool, out: &mut dyn Write) -> Result<(), Failure> {
    tell_damage("record", &report.damaged_records, &report.problems, all, out)?;
    let records = text::count(report.records, "record");
    let checked = format!(
        "{}, {}, {}",
        text::count(report.chunks, "chunk"),
        text::count(report.index_segments, "index segment"),
        text::count(report.commits, "commit"),
    );
    let (data, structure) = match (report.format, report.quick) {
        ("depot" | "shards", false) => (
            format!(
                "{} of {records} read ({})",
                text::grouped(report.records_read),
                text::bytes(report.bytes_read)
            ),
            format!("; {checked} checked"),
        ),
        ("depot" | "shards", true) => {
            (format!("the data of {records} were NOT read"), format!("; {checked} checked"))
        }
        ("wrapped", false) => {
            let (read, bytes) = (text::grouped(report.records_read), text::bytes(report.bytes_read));
            (format!("{read} of {records} read ({bytes}) and compared with their checksums"), String::new())
        }
        ("wrapped", true) => (format!("the data of {records} were NOT read"), String::new()),
        (_, false) => {
            (format!("{} of {records} read; the file has no checksums", report.records_read), String::new())
        }
        (_, true) => {
            (format!("the data of {records} were NOT read; the file has no checksums"), String::new())
        }
    };
    for loss in &report.losses {
        writeln!(out, "lost before: {}", text::without_controls(loss))?;
    }
    if report.is_whole() && progress::is_quiet() {
        return Ok(());
    }
    let verdict = if report.is_whole() { "whole" } else { "DAMAGED" };
    writeln!(out, "{verdict}: {data}{structure}")?;
    if report.unknown_entries > 0 {
        let n = text::grouped(report.unknown_entries);
        writeln!(out, "entries that a newer vldepot wrote, and this one skips: {n}")?;
    }
    if report.uncommitted_records > 0 || report.torn_bytes > 0 {
        let records = text::count(report.uncommitted_records, "record");
        let torn = text::bytes(report.torn_bytes);
        writeln!(out, "after the last commit: {records}, and {torn} that readers ignore")?;
    }
    Ok(())
}

fn json_of(report: &VerifyReport) -> Value {
    json!({
        "file": report.path.to_string_lossy(),
        "whole": report.is_whole(),
        "quick": report.quick,
        "format": report.format,
        "file_bytes": report.file_bytes,
        "entries": report.entries,
        "chunks": report.chunks,
        "index_segments": report.index_segments,
        "commits": report.commits,
        "unknown_entries": report.unknown_entries,
        "records": report.records,
        "records_read": report.records_read,
        "bytes_read": report.bytes_read,
        "uncommitted_records": report.uncommitted_records,
        "torn_bytes": report.torn_bytes,
        "standard_frame": report.standard_frame,
        "losses": report.losses,
    })
}

/// Prints lists with the rest as one object, or each of their items as an object of its own, and then the
/// rest.
pub(super) fn print_json(
    mut all: Value,
    lists: [(&str, Vec<Value>); 2],
    by_lines: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for (name, items) in lists {
        if by_lines {
            items.iter().try_for_each(|item| writeln!(out, "{item}"))?;
        } else {
            all[name] = items.into();
        }
    }
    writeln!(out, "{all}")?;
    Ok(())
}

/// Records that cannot be read, for JSON.
pub(super) fn lost(records: &[LostRecord]) -> Vec<Value> {
    let line = |LostRecord { name, error, .. }: &LostRecord| {
        let (kind, name) = text::json_name(name);
        json!({ "name": name, "type": kind, "error": failure::chain(error) })
    };
    records.iter().map(line).collect()
}

/// All other damage, for JSON.
pub(super) fn problems(errors: &[Error]) -> Vec<Value> {
    errors.iter().map(|error| json!({ "error": failure::chain(error) })).collect()
}

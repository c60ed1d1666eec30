//! `vldepot truncate`: goes back to an earlier record.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Depot, ErrorKind, Key, OpenOptions, Raw, Removal, TruncateOptions};

use super::Run;
use crate::failure::Failure;
use crate::name::{self, Kind};
use crate::{progress, text};

/// Remove all records after a given one, as a simulation does before it restarts from there.
///
/// The bytes stay in the file until it is compacted. Until then, and until something else is written, --undo
/// brings the records back.
#[derive(Args)]
#[group(id = "place", required = true, multiple = false, args = ["after", "after_step", "undo"])]
pub(crate) struct Truncate {
    /// The depot. No other program may be writing it.
    file: PathBuf,
    /// The last record to keep.
    #[arg(long, value_name = "NAME", allow_negative_numbers = true)]
    after: Option<String>,
    /// The last step to keep, in a depot of frames. Records without a step stay.
    #[arg(long, value_name = "STEP", allow_negative_numbers = true, conflicts_with = "kind")]
    after_step: Option<i64>,
    /// With --after-step: remove nothing unless the newest frame that stays is of this step or later. Give
    /// the step of the last frame that the run had stored when it wrote its checkpoint.
    #[arg(
        long,
        value_name = "STEP",
        allow_negative_numbers = true,
        requires = "after_step",
        conflicts_with_all = ["after", "undo"]
    )]
    newest: Option<i64>,
    /// Bring back what the last truncation removed. Nothing else may have been changed since.
    #[arg(long, conflicts_with_all = ["kind", "dry_run", "all"])]
    undo: bool,
    #[command(flatten)]
    kind: Kind,
    /// Only say what would be removed.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Allow the removal of all records or all frames.
    #[arg(long)]
    all: bool,
    /// Go on with what is left of a depot that lost a commit. The loss is noted in the file. `vldepot repair`
    /// may save more.
    #[arg(long)]
    accept_loss: bool,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Truncate {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.undo {
            return self.undo(out);
        }
        let removal = match self.after_step {
            Some(step) => self.after_step(step)?,
            None => self.after(self.after.as_deref().unwrap_or_default())?,
        };
        if self.json {
            writeln!(out, "{}", to_json(&removal, self.dry_run))?;
        } else if self.dry_run || !progress::is_quiet() {
            writeln!(out, "{}: {}", text::path(&self.file), self.sentence(&removal))?;
        }
        Ok(())
    }
}

impl Truncate {
    fn options(&self) -> TruncateOptions {
        TruncateOptions::default().with_dry_run(self.dry_run).with_all(self.all)
    }

    fn open<C: vldepot::Codec>(&self, codec: C) -> Result<Depot<C>, Failure> {
        let options = OpenOptions::default().with_accept_loss(self.accept_loss);
        let depot = Depot::builder(codec).open_options(options);
        // A dry run must not cut off a torn end, nor commit what was found before it.
        Ok(if self.dry_run { depot.open(&self.file)? } else { depot.append(&self.file)? })
    }

    fn after(&self, name: &str) -> Result<Removal, Failure> {
        let key = self.kind.key(name)?;
        let depot = self.open(Raw)?;
        let removal = depot
            .truncate_after_with(&key, &self.options())
            .map_err(|error| name::failure(error, &depot, &key, name))?;
        depot.close()?;
        Ok(removal)
    }

    fn after_step(&self, step: i64) -> Result<Removal, Failure> {
        let depot = self.open(AtomicFrameCodec::any())?;
        let options = self.options();
        let removal = match self.newest {
            Some(newest) => depot.restart_at_step_with(step, newest, &options),
            None => depot.truncate_after_step_with(step, &options),
        };
        let removal = removal.map_err(|error| {
            let all = matches!(error.kind(), ErrorKind::RemovesAll { .. });
            let failure = Failure::from(error);
            if all { failure.with_hint("--all does it, --dry-run shows what") } else { failure }
        })?;
        depot.close()?;
        Ok(removal)
    }

    fn undo(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let depot = Depot::append(&self.file, Raw)?;
        let restored = depot.undo_truncate()?;
        let records = depot.len();
        depot.close()?;
        if self.json {
            writeln!(out, "{}", json!({ "restored": restored, "records": records }))?;
        } else {
            let restored = text::count(restored, "record");
            let records = text::grouped(records);
            progress::tell(
                out,
                format_args!("{}: {restored} brought back, {records} in all", text::path(&self.file)),
            )?;
        }
        Ok(())
    }

    fn sentence(&self, removal: &Removal) -> String {
        let kept = text::grouped(removal.kept);
        if removal.removed == 0 {
            let what = match (self.after_step, &self.after) {
                (Some(step), _) => format!("no frame is after step {step}"),
                (None, after) => format!("no record is after {}", after.as_deref().unwrap_or_default()),
            };
            return format!("nothing to remove: {what}; {kept} kept");
        }
        let mut line = removed(removal, if self.dry_run { "would be removed" } else { "removed" });
        if self.dry_run && removal.everything && !self.all {
            line.push_str("; that is everything, and takes --all");
        }
        line
    }
}

/// How many records are removed, which ones, and how many stay.
pub(super) fn removed(removal: &Removal, verb: &str) -> String {
    let count = text::count(removal.removed, "record");
    let kept = text::grouped(removal.kept);
    let names = match (&removal.first, &removal.last) {
        (Some(first), Some(last)) if first != last => {
            format!(": {} to {}", text::name(first), text::name(last))
        }
        (Some(only), _) => format!(": {}", text::name(only)),
        _ => String::new(),
    };
    format!("{count} {verb}, {kept} kept{names}")
}

/// The same as a JSON object.
pub(super) fn to_json(removal: &Removal, dry_run: bool) -> Value {
    let key = |key: &Option<Key>| {
        key.as_ref().map(|key| {
            let (kind, name) = text::json_name(key);
            json!({ "name": name, "type": kind })
        })
    };
    json!({
        "removed": removal.removed,
        "kept": removal.kept,
        "first": key(&removal.first),
        "last": key(&removal.last),
        "everything": removal.everything,
        "dry_run": dry_run,
    })
}

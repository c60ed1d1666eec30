//! `vldepot truncate`: back to an earlier record.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Depot, Raw};

use super::Run;
use crate::failure::Failure;
use crate::name::{self, Kind};
use crate::text;

/// Remove all records behind a given one, as before a simulation starts again from there.
///
/// Their bytes stay in the file until it is compacted.
#[derive(Args)]
#[group(id = "place", required = true, multiple = false, args = ["after", "after_step"])]
pub(crate) struct Truncate {
    /// The depot; nobody may be writing it.
    file: PathBuf,
    /// The last record to keep.
    #[arg(long, value_name = "NAME", allow_negative_numbers = true)]
    after: Option<String>,
    /// Of frames: the last step to keep. Goes back from the end to the first frame that is not behind it.
    #[arg(long, value_name = "STEP", allow_negative_numbers = true, conflicts_with = "kind")]
    after_step: Option<i64>,
    #[command(flatten)]
    kind: Kind,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Run for Truncate {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (removed, kept) = match (&self.after, self.after_step) {
            (_, Some(step)) => {
                let depot = Depot::append(&self.file, AtomicFrameCodec::any())?;
                let removed =
                    depot.truncate_while(|_, frame| frame.step().is_some_and(|found| found > step))?;
                let kept = depot.len();
                depot.close()?;
                (removed, kept)
            }
            (after, None) => {
                let after = after.as_deref().unwrap_or_default();
                let key = self.kind.key(after)?;
                let depot = Depot::append(&self.file, Raw)?;
                let removed =
                    depot.truncate_after(&key).map_err(|error| name::failure(error, &depot, &key, after))?;
                let kept = depot.len();
                depot.close()?;
                (removed, kept)
            }
        };
        if self.json {
            writeln!(out, "{}", json!({ "removed": removed, "records": kept }))?;
        } else {
            let removed = text::count(removed, "record");
            writeln!(out, "{}: {removed} removed, {} kept", text::path(&self.file), text::grouped(kept))?;
        }
        Ok(())
    }
}

//! `vldepot reshard`: copies a depot into shards of another size, or into one file.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use vldepot::shards::{ReshardOptions, reshard};

use super::Run;
use crate::failure::Failure;
use crate::progress::{self, Bar};
use crate::text;

/// Copy a depot or a folder of shards into shards of another size, or into one file.
///
/// Records keep their names, metadata and order. Removed, replaced and superseded records are left out. The
/// target appears when it is complete.
#[derive(Args)]
pub(crate) struct Reshard {
    /// The depot, or the folder of shards.
    source: PathBuf,
    /// The new folder; without --shard-size, the new file.
    target: PathBuf,
    /// Begin a new shard after so many bytes of a file. `k`, `M`, `G` and `T` after the number count KiB,
    /// MiB, GiB and TiB.
    #[arg(long, short, value_name = "N", value_parser = text::parse_bytes)]
    shard_size: Option<u64>,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Reshard {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let options = ReshardOptions::default().with_shard_bytes(self.shard_size);
        let bar = Bar::new("copying");
        let made = reshard(&self.source, &self.target, &options, |progress| bar.show(progress))?;
        drop(bar);
        if self.json {
            serde_json::to_writer(&mut *out, &made)?;
            writeln!(out)?;
            return Ok(());
        }
        let (target, records) = (text::path(&self.target), text::count(made.records, "record"));
        let shards =
            if self.shard_size.is_some() { text::count(made.shards, "shard") } else { "one file".into() };
        progress::tell(out, format_args!("{target}: {records} in {shards}"))
    }
}

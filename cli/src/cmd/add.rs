//! `vldepot add`: stores files and folders in an archive that is there.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use vldepot::archive::{AddOptions, Archive, Transfer, add_to_shards};
use vldepot::shards::{self, WriterOptions};
use vldepot::{Depot, DepotBuilder, Raw};

use super::Run;
use crate::archive::{self, Sources};
use crate::failure::Failure;
use crate::progress::{self, Spinner};
use crate::text;

/// Store files and folders in an archive that is there.
///
/// A path that is in the archive already is replaced. What is stored takes effect with one commit at the end,
/// and with others on the way if there is much.
#[derive(Args)]
pub(crate) struct Add {
    /// The archive. No other program may be writing it.
    file: PathBuf,
    #[command(flatten)]
    sources: Sources,
    /// Replace nothing: a path that is in the archive already is named as a failure.
    #[arg(long)]
    new: bool,
    /// In a folder of shards, begin a new shard after so many bytes. `k`, `M`, `G` and `T` after the number
    /// count KiB, MiB, GiB and TiB.
    #[arg(long, short, value_name = "N", value_parser = text::parse_bytes, default_value = "16G")]
    shard_size: u64,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Add {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut options = self.sources.options()?;
        if self.new {
            options = options.only_new();
        }
        if shards::is_set(&self.file) {
            let (builder, shards) =
                (Depot::builder(Raw), WriterOptions::default().with_shard_bytes(self.shard_size));
            return add_to_set(&self.file, &self.sources, builder, shards, &options, self.json, out);
        }
        let depot = Archive::append(&self.file)?;
        let added = store(&depot, &self.sources, &options)?;
        depot.close()?;
        if self.json {
            writeln!(out, "{}", Value::from(archive::counts(&added)))?;
        } else {
            progress::tell(
                out,
                format_args!("{}: {} added", text::path(&self.file), archive::in_words(&added)),
            )?;
        }
        archive::without(&added, "could not be stored")
    }
}

/// Stores what the arguments name in new shards of a folder.
pub(super) fn add_to_set(
    folder: &Path,
    sources: &Sources,
    builder: DepotBuilder<Raw>,
    shards: WriterOptions,
    options: &AddOptions,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let spinner = Spinner::new("storing");
    let (added, merged) =
        add_to_shards(folder, sources.all()?, builder, shards, options, |progress| spinner.show(progress))?;
    drop(spinner);
    if json {
        let mut object = archive::counts(&added);
        object.insert("shards".to_owned(), merged.shards.into());
        writeln!(out, "{}", Value::from(object))?;
    } else {
        let (words, shards) = (archive::in_words(&added), text::count(merged.shards, "shard"));
        progress::tell(out, format_args!("{}: {words} added; {shards} now", text::path(folder)))?;
    }
    archive::without(&added, "could not be stored")
}

/// Stores what the arguments name.
pub(super) fn store(archive: &Archive, sources: &Sources, options: &AddOptions) -> Result<Transfer, Failure> {
    let spinner = Spinner::new("storing");
    Ok(archive.add_all(sources.all()?, options, |progress| spinner.show(progress))?)
}

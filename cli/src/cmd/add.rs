//! `vldepot add`: stores files and folders in an archive that is there.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use vldepot::archive::{AddOptions, Archive, Transfer};

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

/// Stores what the arguments name.
pub(super) fn store(archive: &Archive, sources: &Sources, options: &AddOptions) -> Result<Transfer, Failure> {
    let spinner = Spinner::new("storing");
    Ok(archive.add_all(sources.all()?, options, |progress| spinner.show(progress))?)
}

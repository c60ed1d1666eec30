//! `vldepot add`: stores files and folders in an archive that is there.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use vldepot::archive::{AddOptions, Added, Archive};

use super::Run;
use crate::archive::{self, Sources};
use crate::failure::Failure;
use crate::progress::Spinner;
use crate::text;

/// Store files and folders in an archive that is there.
///
/// A path that is in the archive already is replaced. What is stored takes effect with one commit at the end, and with
/// others on the way if there is much.
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
    #[arg(long)]
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
        let archive = Archive::append(&self.file)?;
        let added = store(&archive, &self.sources, &options)?;
        archive.close()?;
        if self.json {
            writeln!(out, "{}", Value::from(to_json(&added)))?;
        } else {
            writeln!(out, "{}: {} added", text::path(&self.file), in_words(&added))?;
        }
        done(&added)
    }
}

/// So many files, folders and links, in words.
pub(super) fn told(files: u64, folders: u64, links: u64, bytes: u64) -> String {
    let mut told = text::count(files, "file");
    if folders > 0 {
        told = format!("{told}, {}", text::count(folders, "folder"));
    }
    if links > 0 {
        told = format!("{told}, {}", text::count(links, "link"));
    }
    format!("{told}, {}", text::bytes(bytes))
}

/// Stores what the arguments name.
pub(super) fn store(archive: &Archive, sources: &Sources, options: &AddOptions) -> Result<Added, Failure> {
    let spinner = Spinner::new("storing");
    Ok(archive.add_all(sources.all()?, options, |progress| spinner.show(progress))?)
}

/// Ends a verb that stored what it could.
pub(super) fn done(added: &Added) -> Result<(), Failure> {
    archive::without(&added.failures, added.failed, "could not be stored")
}

/// What was stored, in words.
pub(super) fn in_words(added: &Added) -> String {
    told(added.files, added.folders, added.links, added.bytes)
}

/// What was stored, as the members of a JSON object.
pub(super) fn to_json(added: &Added) -> Map<String, Value> {
    let members = [
        ("files", added.files),
        ("folders", added.folders),
        ("links", added.links),
        ("bytes", added.bytes),
        ("failed", added.failed),
    ];
    members.into_iter().map(|(name, n)| (name.to_owned(), json!(n))).collect()
}

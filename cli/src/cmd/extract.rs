//! `vldepot extract`: writes files of an archive to the disk.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use vldepot::archive::{ArchivePath, ExtractOptions, Transfer};

use super::Run;
use crate::archive::{self, Globs};
use crate::failure::Failure;
use crate::progress::{self, Spinner};
use crate::text;

/// Write files of an archive to the disk.
///
/// Modes and times are those of the archive. Nothing is written outside of the folder, no link is followed,
/// and nothing is replaced without --force. A file that cannot be written is named, and the others are
/// written.
#[derive(Args)]
pub(crate) struct Extract {
    /// The archive.
    file: PathBuf,
    /// Files and folders of the archive. Without any, everything.
    paths: Vec<OsString>,
    /// Write to this folder, which is made if it is missing.
    #[arg(long, short = 'C', value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    #[command(flatten)]
    selection: Globs,
    /// Replace files and links that are there.
    #[arg(long, short)]
    force: bool,
    /// Give files their owners, and the setuid and setgid bits. Only root can.
    #[arg(long)]
    same_owner: bool,
    /// Threads that write files.
    #[arg(long, short = 'j', value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Extract {
    fn options(&self) -> Result<ExtractOptions, Failure> {
        let mut options = ExtractOptions::new().with_selection(self.selection.get()?);
        if self.force {
            options = options.overwrite();
        }
        if self.same_owner {
            options = options.with_owner();
        }
        Ok(match self.threads {
            Some(threads) => options.with_threads(threads),
            None => options,
        })
    }
}

impl Run for Extract {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let options = self.options()?;
        let archive = archive::open(&self.file)?;
        let mut paths = self.paths.iter().map(|path| archive::path(path)).collect::<Result<Vec<_>, _>>()?;
        if paths.is_empty() {
            paths.push(ArchivePath::ROOT);
        }
        for path in &paths {
            // Before anything is written.
            archive.stat(path)?;
        }
        let spinner = Spinner::new("extracting");
        let mut all = Transfer::default();
        for path in &paths {
            let done = archive.extract(path, &self.directory, &options, |progress| spinner.show(progress))?;
            all = all.and(done);
        }
        drop(spinner);
        if self.json {
            writeln!(out, "{}", Value::from(archive::counts(&all)))?;
        } else {
            let (words, to) = (archive::in_words(&all), text::path(&self.directory));
            progress::tell(out, format_args!("{}: {words} extracted to {to}", text::path(&self.file)))?;
        }
        archive::without(&all, "could not be extracted")?;
        archive::complete(&archive)
    }
}

//! `vldepot tree`: the folders of an archive, drawn.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use vldepot::archive::{Archive, ArchivePath, Entry};

use super::Run;
use crate::archive;
use crate::failure::Failure;
use crate::text;

/// Draw the folders of an archive, and the files in them.
#[derive(Args)]
pub(crate) struct Tree {
    /// The archive.
    file: PathBuf,
    /// The folder. Without one, the whole archive.
    path: Option<OsString>,
    /// At most so many names deep.
    #[arg(long, short = 'L', value_name = "N")]
    level: Option<usize>,
    /// Folders only.
    #[arg(long, short = 'd')]
    dirs: bool,
}

impl Tree {
    fn print(
        &self,
        archive: &Archive,
        folder: &ArchivePath,
        before: &str,
        depth: usize,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if self.level.is_some_and(|level| depth >= level) {
            return Ok(());
        }
        let wanted =
            |entry: &vldepot::Result<Entry>| !self.dirs || entry.as_ref().map_or(true, |found| found.is_dir);
        let mut entries = archive.read_dir(folder)?.filter(wanted).peekable();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let (branch, below) =
                if entries.peek().is_some() { ("├── ", "│   ") } else { ("└── ", "    ") };
            let name = ArchivePath::new(entry.path.file_name().unwrap_or_default())?;
            if entry.is_dir {
                let totals = archive.totals(&entry.path)?;
                let bytes = text::bytes(totals.raw_bytes);
                writeln!(out, "{before}{branch}{}/  ({bytes})", archive::shown(&name))?;
                self.print(archive, &entry.path, &format!("{before}{below}"), depth + 1, out)?;
            } else {
                writeln!(out, "{before}{branch}{}", archive::shown(&name))?;
            }
        }
        Ok(())
    }
}

impl Run for Tree {
    fn json(&self) -> bool {
        false
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let archive = archive::open(&self.file)?;
        let folder = match &self.path {
            Some(path) => archive::path(path)?,
            None => ArchivePath::ROOT,
        };
        let totals = archive.totals(&folder)?;
        let (records, bytes) = (text::count(totals.records, "record"), text::bytes(totals.raw_bytes));
        writeln!(out, "{}  ({records}, {bytes})", archive::shown(&folder))?;
        self.print(&archive, &folder, "", 0, out)?;
        archive::complete(&archive)
    }
}

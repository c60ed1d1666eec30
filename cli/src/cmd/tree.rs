//! `vldepot tree`: the folders of an archive, drawn.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};
use vldepot::Totals;
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
    /// Print one JSON object for each folder and file.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
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
            let totals = entry.is_dir.then(|| archive.totals(&entry.path)).transpose()?;
            if self.json {
                print_json(&entry.path, totals, depth + 1, out)?;
            } else if let Some(totals) = totals {
                let bytes = text::bytes(totals.raw_bytes);
                writeln!(out, "{before}{branch}{}/  ({bytes})", archive::shown(&name))?;
            } else {
                writeln!(out, "{before}{branch}{}", archive::shown(&name))?;
            }
            if entry.is_dir {
                self.print(archive, &entry.path, &format!("{before}{below}"), depth + 1, out)?;
            }
        }
        Ok(())
    }
}

/// Folders have totals.
fn print_json(
    path: &ArchivePath,
    totals: Option<Totals>,
    depth: usize,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (name, shown) = archive::to_json(path);
    let mut object = Map::from_iter([(name.to_owned(), shown), ("depth".to_owned(), depth.into())]);
    if let Some(totals) = totals {
        object.insert("bytes".to_owned(), totals.raw_bytes.into());
        object.insert("records".to_owned(), totals.records.into());
    }
    writeln!(out, "{}", Value::from(object))?;
    Ok(())
}

impl Run for Tree {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let archive = archive::open(&self.file)?;
        let folder = match &self.path {
            Some(path) => archive::path(path)?,
            None => ArchivePath::ROOT,
        };
        let totals = archive.totals(&folder)?;
        if self.json {
            print_json(&folder, Some(totals), 0, out)?;
        } else {
            let (records, bytes) = (text::count(totals.records, "record"), text::bytes(totals.raw_bytes));
            writeln!(out, "{}  ({records}, {bytes})", archive::shown(&folder))?;
        }
        self.print(&archive, &folder, "", 0, out)?;
        archive::complete(&archive)
    }
}

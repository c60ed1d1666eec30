//! `vldepot du`: how many bytes the folders of an archive hold.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vldepot::archive::{Archive, ArchivePath};

use super::Run;
use crate::archive;
use crate::failure::Failure;
use crate::text;

/// Print how many bytes and records folders of an archive hold, before compression.
///
/// The sums come from the index, however much the folders hold.
#[derive(Args)]
pub(crate) struct Du {
    /// The archive.
    file: PathBuf,
    /// Files and folders. Without any, the whole archive.
    paths: Vec<OsString>,
    /// Also print the folders in them, so many names deep.
    #[arg(long, short = 'd', value_name = "N", default_value_t = 0)]
    max_depth: usize,
    /// Print files too, not only folders.
    #[arg(long, short)]
    all: bool,
    /// Print sizes as 1.5 MiB, not as 1572864.
    #[arg(long, short = 'H')]
    human: bool,
    /// Print one JSON object per line.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Du {
    fn print(
        &self,
        archive: &Archive,
        path: &ArchivePath,
        is_dir: bool,
        depth: usize,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if is_dir && depth < self.max_depth {
            for entry in archive.read_dir(path)? {
                let entry = entry?;
                if entry.is_dir || self.all {
                    self.print(archive, &entry.path, entry.is_dir, depth + 1, out)?;
                }
            }
        }
        let totals = archive.totals(path)?;
        if self.json {
            let (name, shown) = archive::to_json(path);
            let object = json!({ name: shown, "bytes": totals.raw_bytes, "records": totals.records });
            writeln!(out, "{object}")?;
            return Ok(());
        }
        let bytes = if self.human { text::bytes(totals.raw_bytes) } else { totals.raw_bytes.to_string() };
        writeln!(out, "{bytes:>14}  {:>10}  {}", text::grouped(totals.records), archive::shown(path))?;
        Ok(())
    }
}

impl Run for Du {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let archive = archive::open(&self.file)?;
        let mut paths = self.paths.iter().map(|path| archive::path(path)).collect::<Result<Vec<_>, _>>()?;
        if paths.is_empty() {
            paths.push(ArchivePath::ROOT);
        }
        if !self.json {
            writeln!(out, "{:>14}  {:>10}  path", "bytes", "records")?;
        }
        for path in &paths {
            let is_dir = archive.is_dir(path)?;
            self.print(&archive, path, is_dir, 0, out)?;
        }
        archive::complete(&archive)
    }
}

//! `vldepot rm`: takes files and folders out of an archive.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vldepot::archive::{Archive, ArchivePath};
use vldepot::shards;

use super::Run;
use crate::archive;
use crate::failure::Failure;
use crate::{progress, text};

/// Take files and folders out of an archive.
///
/// Their bytes stay in the file until it is compacted. With an error, nothing is taken out.
#[derive(Args)]
pub(crate) struct Rm {
    /// The archive. No other program may be writing it.
    file: PathBuf,
    /// Files and folders.
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Take out folders with all that is in them.
    #[arg(long, short)]
    recursive: bool,
    /// Only say how much would be taken out.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Rm {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let paths = self.paths.iter().map(|path| archive::path(path)).collect::<Result<Vec<_>, _>>()?;
        let paths = apart(paths);
        let is_set = shards::is_set(&self.file);
        let archive =
            if self.dry_run || is_set { archive::open(&self.file)? } else { Archive::append(&self.file)? };
        let (mut records, mut bytes) = (0, 0);
        for path in &paths {
            if path.is_root() {
                return Err(Failure::usage("the whole archive is not taken out: name what is in it"));
            }
            if !archive.is_file(path)? && archive.is_dir(path)? && !self.recursive {
                let path = archive::shown(path);
                return Err(Failure::usage(format!("{path} is a folder: --recursive takes it out")));
            }
            let totals = archive.totals(path)?;
            records += totals.records;
            bytes += totals.raw_bytes;
        }
        if !self.dry_run && is_set {
            let keys: Vec<_> =
                paths.iter().map(|path| archive.keys_of(path)).collect::<Result<Vec<_>, _>>()?.concat();
            drop(archive);
            shards::remove(&self.file, &keys)?;
        } else if !self.dry_run {
            for path in &paths {
                if archive.is_file(path)? {
                    archive.remove_file(path)?;
                } else {
                    archive.remove_dir_all(path)?;
                }
            }
            archive.close()?;
        }
        if self.json {
            writeln!(out, "{}", json!({ "records": records, "bytes": bytes, "dry_run": self.dry_run }))?;
            return Ok(());
        }
        let what = if self.dry_run { "would be taken out" } else { "taken out" };
        let records = text::count(records, "record");
        if self.dry_run || !progress::is_quiet() {
            writeln!(out, "{}: {records}, {} {what}", text::path(&self.file), text::bytes(bytes))?;
        }
        Ok(())
    }
}

/// Without paths that come twice, or lie in another one: they go with that.
fn apart(mut paths: Vec<ArchivePath>) -> Vec<ArchivePath> {
    paths.sort_unstable();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| {
        let mut above = path.parent();
        while let Some(folder) = above {
            if all.binary_search(&folder).is_ok() {
                return false;
            }
            above = folder.parent();
        }
        true
    });
    paths
}

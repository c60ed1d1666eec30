//! `vldepot stat`: what an archive knows of a path.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use vldepot::archive::FileKind;

use super::Run;
use crate::archive;
use crate::failure::Failure;
use crate::text;

/// Print what an archive knows of files and folders.
#[derive(Args)]
pub(crate) struct Stat {
    /// The archive.
    file: PathBuf,
    /// Files, folders and links.
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Print one JSON object per line.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Stat {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let archive = archive::open(&self.file)?;
        for path in &self.paths {
            let stat = archive.stat(archive::path(path)?)?;
            if self.json {
                writeln!(out, "{}", Value::from(archive::stat_json(&stat)))?;
                continue;
            }
            let kind = match stat.kind {
                FileKind::Folder => "folder",
                FileKind::Link => "link",
                _ => "file",
            };
            writeln!(out, "path   {}", archive::shown(&stat.path))?;
            writeln!(out, "kind   {kind}")?;
            match stat.kind {
                FileKind::Folder => {
                    let totals = archive.totals(&stat.path)?;
                    let (records, bytes) =
                        (text::count(totals.records, "record"), text::bytes(totals.raw_bytes));
                    writeln!(out, "holds  {records}, {bytes}")?;
                }
                _ => writeln!(out, "size   {}", text::count(stat.size, "byte"))?,
            }
            let attributes = &stat.attributes;
            if let Some(mode) = attributes.mode {
                writeln!(out, "mode   {mode:04o}")?;
            }
            if let Some(mtime) = attributes.mtime {
                writeln!(out, "mtime  {}", text::date(mtime))?;
            }
            if let (Some(uid), Some(gid)) = (attributes.uid, attributes.gid) {
                writeln!(out, "owner  {uid}:{gid}")?;
            }
            for name in attributes.xattrs.keys() {
                writeln!(out, "xattr  {}", text::without_controls(name))?;
            }
        }
        Ok(())
    }
}

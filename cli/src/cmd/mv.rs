//! `vldepot mv`: gives files and folders of an archive other paths.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vldepot::archive::Archive;

use super::Run;
use crate::archive;
use crate::failure::Failure;
use crate::progress;

/// Give a file or a folder of an archive another path.
///
/// If the new path is a folder that is there, it is moved into it. Nothing is replaced.
#[derive(Args)]
pub(crate) struct Mv {
    /// The archive. No other program may be writing it.
    file: PathBuf,
    /// The file or folder.
    from: OsString,
    /// Its new path, or the folder to move it to.
    to: OsString,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Mv {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (from, mut to) = (archive::path(&self.from)?, archive::path(&self.to)?);
        let archive = Archive::append(&self.file)?;
        if archive.is_dir(&to)? {
            to = to.join(from.file_name().unwrap_or_default())?;
        }
        archive.rename(&from, &to)?;
        archive.close()?;
        if self.json {
            let ((from, old), (to, new)) = (archive::to_json(&from), archive::to_json(&to));
            writeln!(out, "{}", json!({ "from": { from: old }, "to": { to: new } }))?;
            return Ok(());
        }
        progress::tell(out, format_args!("{} is now {}", archive::shown(&from), archive::shown(&to)))
    }
}

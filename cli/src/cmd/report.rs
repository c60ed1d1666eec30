//! `vldepot report`: one page that shows what is in a depot.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use vldepot::maintain::{VerifyOptions, verify};
use vldepot::storage::StagedFile;

use super::Run;
use crate::failure::{Failure, chain};
use crate::progress::{self, Bar};
use crate::report::data::{self, Data, Wanted};
use crate::report::page;
use crate::text;

/// Up to so many bytes of a file, all of it is checked if nobody says otherwise.
const CHECKED: u64 = 1 << 30;

/// How much is checked.
#[derive(Args)]
pub(super) struct Check {
    /// Check every byte, however large the file is. Without a choice, files of up to 1 GiB are.
    #[arg(long)]
    full: bool,
    /// Check names, places, the index and commits, but do not read the data.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
}

/// Write one page with all that it needs: contents, sizes, health, plots, frames or folders.
#[derive(Args)]
pub(crate) struct Report {
    /// The depot.
    file: PathBuf,
    /// Where to write the page; `-` for standard output. An older page there is replaced, but no other file.
    #[arg(long, short, value_name = "PAGE")]
    output: PathBuf,
    /// At most so many frames, from all over the depot.
    #[arg(long, value_name = "N", default_value_t = 40)]
    frames: usize,
    #[command(flatten)]
    check: Check,
    /// Replace any file.
    #[arg(long, short)]
    force: bool,
}

impl Check {
    /// Checks a depot for its page.
    pub(super) fn run(&self, file: &Path, data: &mut Data) {
        let is_quick = self.quick || !self.full && data.info.file_bytes > CHECKED;
        let bar = Bar::new("verifying");
        match verify(file, &VerifyOptions::default().with_quick(is_quick), |progress| bar.show(progress)) {
            Ok(report) => data.health = Some(report),
            Err(error) => data.not_verified = Some(chain(&error)),
        }
    }
}

/// The end of a verb that showed a depot: a failure if the depot is damaged.
pub(super) fn verdict(file: &Path, data: &Data) -> Result<(), Failure> {
    let file = text::path(file);
    if let Some(report) = data.health.as_ref().filter(|report| !report.is_whole()) {
        let records = text::count(report.damaged_records.len() as u64, "record");
        let problems = text::count(report.problems.len() as u64, "other problem");
        return Err(Failure::damage(format!(
            "{file}: {records} of {} cannot be read, {problems}: the page says which",
            text::grouped(report.records)
        )));
    }
    match (&data.incomplete, &data.not_verified) {
        (Some(incomplete), _) => Err(Failure::damage(incomplete.clone())),
        (None, Some(why)) => Err(Failure::other(format!("{file}: it could not be checked: {why}"))),
        (None, None) => Ok(()),
    }
}

impl Report {
    /// Refuses to replace what is no page, before anything is read.
    fn check_output(&self) -> Result<(), Failure> {
        if self.force || !self.output.exists() {
            return Ok(());
        }
        let mut beginning = vec![0; page::BEGINNING.len()];
        let is_page = File::open(&self.output)
            .and_then(|mut file| file.read_exact(&mut beginning))
            .is_ok_and(|()| beginning == page::BEGINNING.as_bytes());
        if is_page {
            return Ok(());
        }
        let output = text::path(&self.output);
        Err(Failure::usage(format!(
            "{output}: there is a file that is no page of `vldepot report`: --force replaces it"
        )))
    }

    fn write(&self, page: &str) -> Result<(), Failure> {
        let staged = StagedFile::replace(&self.output)?;
        let storage = staged.storage();
        let write = storage.write_at(0, page.as_bytes()).and_then(|()| storage.sync());
        write.map_err(|error| Failure::from_io(&self.output, "write the page", &error))?;
        drop(storage);
        Ok(staged.publish()?)
    }
}

impl Run for Report {
    fn json(&self) -> bool {
        false
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let to_stdout = self.output == Path::new("-");
        if !to_stdout {
            self.check_output()?;
        }
        let depot = data::open(&self.file)?;
        let is_same = match (self.file.canonicalize(), self.output.canonicalize()) {
            (Ok(file), Ok(output)) => file == output,
            _ => false,
        };
        if is_same {
            return Err(Failure::usage(format!(
                "{}: the page would replace its depot",
                text::path(&self.output)
            )));
        }
        let (mut data, _) = Data::read(depot, &Wanted { frames: self.frames, is_live: false })?;
        self.check.run(&self.file, &mut data);
        let page = page::page(&data, &page::secret(), None);
        if to_stdout {
            out.write_all(page.as_bytes())?;
        } else {
            self.write(&page)?;
            progress::tell(
                out,
                format_args!("{}: {}", text::path(&self.output), text::bytes(page.len() as u64)),
            )?;
        }
        verdict(&self.file, &data)
    }
}

//! `vldepot export`: frames of a depot in the format of another program.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use vldepot::codecs::AtomicFrameCodec;
use vldepot::storage::StagedFile;
use vldepot::trajectories::{ExportOptions, Exported, Format, ImportError, export};
use vldepot::{Depot, ErrorKind};

use super::Run;
use super::convert::Sequential;
use super::import::failed;
use crate::failure::Failure;
use crate::progress::{self, Bar};
use crate::text;

/// Write the frames of a depot as XTC, TRR or extended XYZ.
///
/// Frames are written in the order of the depot, in the units of the format. What a format has no place for
/// is named. The file appears when it is complete.
#[derive(Args)]
pub(crate) struct Export {
    /// The depot to read.
    depot: PathBuf,
    /// The file to write.
    target: PathBuf,
    /// The format, if the end of the file's name does not tell it.
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(NAMES.map(|(name, _)| name)))]
    to: Option<String>,
    /// Steps per nm to which XTC rounds positions. By default those of the XTC file that was imported, else
    /// 1000.
    #[arg(long, value_name = "N")]
    steps_per_nm: Option<f32>,
    /// Replace a file that is there.
    #[arg(long, short)]
    force: bool,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// What `--to` takes.
const NAMES: [(&str, Format); 3] = [("xtc", Format::Xtc), ("trr", Format::Trr), ("extxyz", Format::ExtXyz)];

/// The format that the end of a file's name stands for.
fn of_name(path: &Path) -> Option<Format> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    let found = NAMES.iter().find(|(name, _)| *name == end).map(|(_, format)| *format);
    found.or((end == "xyz").then_some(Format::ExtXyz))
}

impl Export {
    fn format(&self) -> Result<Format, Failure> {
        let named = self.to.as_deref().and_then(|to| NAMES.iter().find(|(name, _)| *name == to));
        named.map(|(_, format)| *format).or_else(|| of_name(&self.target)).ok_or_else(|| {
            let file = text::path(&self.target);
            let names = NAMES.map(|(name, _)| name).join(", ");
            Failure::usage(format!("{file}: its name does not tell what to write: give --to, one of {names}"))
        })
    }

    fn staged(&self) -> Result<StagedFile, Failure> {
        if self.force {
            return Ok(StagedFile::replace(&self.target)?);
        }
        StagedFile::create(&self.target).map_err(|error| match error.kind() {
            ErrorKind::PathExists => {
                let file = text::path(&self.target);
                Failure::other(format!("{file}: it is there already; --force replaces it"))
            }
            _ => error.into(),
        })
    }

    fn failure(&self, error: ImportError) -> Failure {
        match error {
            ImportError::Write(source) => Failure::from_io(&self.target, "it cannot be written", &source),
            ImportError::Frame { .. } => Failure::other(format!("{}: {error}", text::path(&self.depot))),
            error => failed(error),
        }
    }

    fn report(&self, format: Format, done: &Exported, out: &mut dyn Write) -> Result<(), Failure> {
        let size = std::fs::metadata(&self.target).map_or(0, |metadata| metadata.len());
        if self.json {
            let mut object = serde_json::to_value(done)?;
            object["format"] = format.name().into();
            object["file_bytes"] = size.into();
            writeln!(out, "{object}")?;
            return Ok(());
        }
        let (file, size, frames) =
            (text::path(&self.target), text::bytes(size), text::count(done.frames, "frame"));
        progress::tell(out, format_args!("{file}: {frames} as {format}, {size}"))
    }
}

impl Run for Export {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let format = self.format()?;
        let depot = Depot::open(&self.depot, AtomicFrameCodec::any())?;
        let mut options = ExportOptions::new();
        options.steps_per_nm = self.steps_per_nm;
        let staged = self.staged()?;
        let bar = Bar::new("exporting");
        let target = Sequential::new(staged.storage());
        let done = export(&depot, target, format, &options, |progress| bar.show(progress));
        drop(bar);
        let done = done.map_err(|error| self.failure(error))?;
        staged.publish()?;
        if !done.left_out.is_empty() {
            let names: Vec<_> = done.left_out.iter().map(|name| text::without_controls(name)).collect();
            eprintln!("vldepot: {format} has no place for {}", names.join(", "));
        }
        if done.without_time > 0 && format != Format::ExtXyz {
            let frames = text::count(done.without_time, "frame");
            eprintln!("vldepot: {frames} without a time: their numbers stand in its place");
        }
        self.report(format, &done, out)
    }
}

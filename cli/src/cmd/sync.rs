//! `vldepot sync`: lets an archive, a folder or a depot hold what another one holds.
//!
//! ```text
//! disk      folders of the disk, walked and compared with an archive
//! pack      a folder to an archive
//! unpack    an archive to a folder
//! records   a depot to a depot
//! ```

mod disk;
mod pack;
mod records;
mod unpack;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use vldepot::archive::{Archive, ArchivePath, Transfer};
use vldepot::{Depot, OpenOptions, Raw};

use super::Run;
use crate::failure::Failure;
use crate::{archive, progress, text};

/// Let a target hold what a source holds: a folder of files, an archive, or any depot. Copies what is new or
/// changed.
///
/// Files are alike if their sizes and times are, and records of depots if their lengths, checksums and
/// metadata are. What only the target has stays, unless --delete is given. A target that is missing is made:
/// a folder if its name ends with `/`, and else a depot.
#[derive(Args)]
pub(crate) struct Sync {
    /// The folder, archive or depot to copy from. Of a folder, what is in it is copied.
    source: PathBuf,
    /// The folder, archive or depot to copy to. No other program may be writing it.
    target: PathBuf,
    /// Compare contents, and not sizes and times or checksums.
    #[arg(long, short)]
    checksum: bool,
    /// Take out of the target what the source does not have.
    #[arg(long)]
    delete: bool,
    /// Leave alone what is newer in the target.
    #[arg(long, short)]
    update: bool,
    /// Only say what would be done.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Name each that is copied (`+` if it is new, `~` if it is changed) or taken out (`-`).
    #[arg(long, short)]
    verbose: bool,
    /// Print one JSON object, and with --verbose one per line before it.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// What is at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Folder,
    Depot,
    Missing,
}

/// A folder that opens as a depot is one.
fn place(path: &Path) -> Result<Place, Failure> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(Place::Missing);
    }
    if !path.is_dir() {
        return Ok(Place::Depot);
    }
    match Depot::open(path, Raw) {
        Err(error) if error.io_kind() == Some(io::ErrorKind::IsADirectory) => Ok(Place::Folder),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(Place::Depot),
    }
}

/// What became of something in the target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    New,
    Changed,
    Deleted,
    Same,
    /// The target's is newer.
    Newer,
}

/// What was done, or would be.
struct Work<'w> {
    sync: &'w Sync,
    out: &'w mut dyn Write,
    new: u64,
    changed: u64,
    deleted: u64,
    same: u64,
    newer: u64,
    /// The first error that the walk of a source met, which stops it.
    stopped: Option<Failure>,
}

impl Work<'_> {
    /// Counts a change, and names it if asked to. `name` is its JSON: a member's name and its value.
    fn note(&mut self, change: Change, shown: &str, name: (&str, &Value)) -> Result<(), Failure> {
        let (sign, called, count) = match change {
            Change::New => ('+', "new", &mut self.new),
            Change::Changed => ('~', "changed", &mut self.changed),
            Change::Deleted => ('-', "deleted", &mut self.deleted),
            Change::Same => (' ', "", &mut self.same),
            Change::Newer => (' ', "", &mut self.newer),
        };
        *count += 1;
        if !self.sync.verbose || called.is_empty() {
            return Ok(());
        }
        if self.sync.json {
            writeln!(self.out, "{}", json!({ name.0: name.1, "change": called }))?;
        } else {
            writeln!(self.out, "{sign} {shown}")?;
        }
        Ok(())
    }

    fn note_path(&mut self, change: Change, path: &ArchivePath) -> Result<(), Failure> {
        let (name, value) = archive::to_json(path);
        self.note(change, &archive::shown(path), (name, &value))
    }

    /// Keeps the first error of a walk. `None` ends it.
    fn go_on<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                self.stopped.get_or_insert(failure);
                None
            }
        }
    }

    /// Whether a change is to be carried out.
    fn is_for_real(&self) -> bool {
        !self.sync.dry_run
    }

    fn finish(self, done: &Transfer) -> Result<(), Failure> {
        let Self { sync, out, new, changed, deleted, same, newer, stopped } = self;
        if let Some(failure) = stopped {
            return Err(failure);
        }
        if sync.json {
            let report = json!({
                "new": new,
                "changed": changed,
                "deleted": deleted,
                "same": same,
                "newer": newer,
                "failed": done.failed,
                "dry_run": sync.dry_run,
            });
            writeln!(out, "{report}")?;
        } else if sync.dry_run || !progress::is_quiet() {
            let words =
                [(new, "new"), (changed, "changed"), (deleted, "taken out"), (newer, "newer and left alone")];
            let words =
                words.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", text::grouped(*n)));
            let words =
                words.chain([format!("{} alike", text::grouped(same))]).collect::<Vec<_>>().join(", ");
            let only = if sync.dry_run { " (nothing was done)" } else { "" };
            writeln!(out, "{}: {words}{only}", text::path(&sync.target))?;
        }
        archive::without(done, "could not be copied")
    }
}

impl Run for Sync {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (source, target) = (place(&self.source)?, place(&self.target)?);
        let is_folder = self.target.as_os_str().as_encoded_bytes().ends_with(b"/");
        if crate::records::is_same_file(&self.source, &self.target) {
            return Err(Failure::usage("source and target are the same"));
        }
        let mut work =
            Work { sync: self, out, new: 0, changed: 0, deleted: 0, same: 0, newer: 0, stopped: None };
        let done = match (source, target) {
            (Place::Missing, _) => {
                let source = text::path(&self.source);
                return Err(Failure::not_found(format!("{source}: there is no such file or folder")));
            }
            (Place::Folder, Place::Folder) => {
                return Err(Failure::usage("both are folders of files: one must be a depot"));
            }
            (Place::Folder, Place::Missing) if is_folder => {
                return Err(Failure::usage("the name of a new archive does not end with `/`"));
            }
            (Place::Folder, _) => pack::pack(&mut work, target == Place::Missing)?,
            (Place::Depot, Place::Folder) => unpack::unpack(&mut work)?,
            (Place::Depot, Place::Missing) if is_folder => unpack::unpack(&mut work)?,
            (Place::Depot, _) => records::copy(&mut work, target == Place::Missing)?,
        };
        work.finish(&done)
    }
}

/// An archive to compare with, of which nothing is known to be lost.
fn whole(file: &Path) -> Result<Archive, Failure> {
    Ok(Archive::new(Depot::builder(Raw).open_options(reading()).open(file)?))
}

/// Files are read one by one in the order of their names, which is mostly that of the archive.
fn reading() -> OpenOptions {
    OpenOptions::default().with_cache_bytes(16 << 20)
}

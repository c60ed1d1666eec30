//! `vldepot convert`: other archives into one of ours, and back.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use vldepot::archive::convert::{ConvertError, ConvertOptions, Converted, Format, wrap_tar};
use vldepot::archive::{Archive, ArchivePath, layout};
use vldepot::storage::{StagedFile, Storage};
use vldepot::{CommitEvery, Depot, Layout, Raw, WriteOptions};

use super::Run;
use crate::archive::{self, Globs};
use crate::failure::{self, Failure};
use crate::progress::Spinner;
use crate::text;

/// Notes that are printed one by one.
const SHOWN: usize = 20;

/// How a depot starts.
const DEPOT: (usize, &[u8]) = (2, b"b2frame\0");

/// Make an archive of a tar or zip archive, or such an archive of one of ours.
///
/// tar may be compressed by gzip, xz or zstd. What the source is, its content tells; what the target is, the
/// end of its name or --to. `-` is standard input or output. The target appears when it is complete. An entry
/// that cannot be stored is named, and the others are.
#[derive(Args)]
pub(crate) struct Convert {
    /// The archive to read; `-` for standard input.
    source: PathBuf,
    /// The archive to write; `-` for standard output.
    target: PathBuf,
    /// Make an index over a tar file that is not compressed: its files stay there, and are read from there.
    #[arg(long, conflicts_with_all = ["to", "preset", "threads", "max_ratio"])]
    wrap: bool,
    /// The format of the target, if the end of its name does not tell it.
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(formats()))]
    to: Option<String>,
    /// Put everything into this folder of the target.
    #[arg(long, value_name = "DIR")]
    root_dir: Option<OsString>,
    #[command(flatten)]
    selection: Globs,
    /// Replace a target that is there.
    #[arg(long, short)]
    force: bool,
    /// How to compress an archive of ours: `balanced` and `compact` with zstd, `fast` with LZ4.
    #[arg(long, default_value = "balanced", value_parser = PossibleValuesParser::new(Layout::PRESETS))]
    preset: String,
    /// Threads that compress an archive of ours.
    #[arg(long, short = 'j', value_name = "N")]
    threads: Option<usize>,
    /// Refuse a source that becomes longer than 1 GiB and than so many times its compressed bytes.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_ratio: u64,
    /// Print one JSON object, to standard error if the target is standard output.
    #[arg(long)]
    json: bool,
}

/// What `--to` takes.
fn formats() -> Vec<&'static str> {
    let mut names = vec!["vld"];
    names.extend(Format::names());
    if cfg!(feature = "barecat") {
        names.push("barecat");
    }
    names
}

/// What a source is.
enum Found {
    Ours,
    Barecat,
    Zip,
    Stream,
}

/// What a target is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Ours,
    Barecat,
    Other(Format),
}

/// A source that is open, from its start.
struct Source {
    file: Box<dyn Read>,
    /// The same, if one can seek in it.
    seekable: Option<File>,
    start: Vec<u8>,
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::from_io(path, "cannot read it", &error);
        let (mut file, seekable): (Box<dyn Read>, _) = if is_standard(path) {
            (Box::new(io::stdin().lock()), None)
        } else {
            let file = File::open(path).map_err(|error| Failure::from_io(path, "cannot open it", &error))?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(Failure::usage(format!(
                    "{}: it is a folder: `vldepot create` makes an archive of it",
                    text::path(path)
                )));
            }
            let seekable = if metadata.is_file() { Some(file.try_clone().map_err(failed)?) } else { None };
            (Box::new(file), seekable)
        };
        let mut start = Vec::new();
        (&mut file).take(512).read_to_end(&mut start).map_err(failed)?;
        Ok(Self { file, seekable, start })
    }

    fn found(&self) -> Found {
        let (at, magic) = DEPOT;
        if self.start.get(at..).is_some_and(|start| start.starts_with(magic)) {
            Found::Ours
        } else if self.start.starts_with(b"SQLite format 3\0") {
            Found::Barecat
        } else if Format::of_start(&self.start) == Some(Format::Zip) {
            Found::Zip
        } else {
            Found::Stream
        }
    }

    fn stream(self) -> impl Read {
        io::Cursor::new(self.start).chain(self.file)
    }

    /// The file, or a copy of the stream without a name.
    fn file(self, path: &Path) -> Result<File, Failure> {
        let mut file = if let Some(file) = self.seekable {
            file
        } else {
            let copied = spool(&mut io::Cursor::new(self.start).chain(self.file));
            copied.map_err(|error| Failure::from_io(path, "cannot copy it to a temporary file", &error))?
        };
        file.seek(SeekFrom::Start(0)).map_err(|error| Failure::from_io(path, "cannot read it", &error))?;
        Ok(file)
    }
}

/// Copies a stream to a file that disappears with this process.
fn spool(source: &mut dyn Read) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let folder = std::env::temp_dir();
    for n in 0..1000_u32 {
        let path = folder.join(format!("vldepot-convert-{}-{n}", std::process::id()));
        let options = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        match options {
            Ok(mut file) => {
                std::fs::remove_file(&path)?;
                io::copy(source, &mut file)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Writes to a storage, from its start on.
pub(super) struct Sequential {
    storage: Arc<dyn Storage>,
    at: u64,
}

impl Sequential {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, at: 0 }
    }
}

impl Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.storage.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Convert {
    fn wanted(&self, is_ours: bool) -> Result<Wanted, Failure> {
        let to = self.to.as_deref();
        let wanted = match to {
            Some("vld") => Wanted::Ours,
            Some("barecat") => Wanted::Barecat,
            Some(name) => Format::called(name).map_or(Wanted::Ours, Wanted::Other),
            None if self.target.extension().is_some_and(|end| end == "barecat") => Wanted::Barecat,
            None => match Format::of_name(&self.target) {
                Some(format) => Wanted::Other(format),
                None if !is_ours || self.target.extension().is_some_and(|end| end == "vld") => Wanted::Ours,
                None => {
                    let names = formats().split_off(1).join(", ");
                    return Err(Failure::usage(format!(
                        "{}: its name does not tell what to write: give --to, one of {names}",
                        text::path(&self.target)
                    )));
                }
            },
        };
        match (is_ours, wanted) {
            (true, Wanted::Ours) => Err(Failure::usage(format!(
                "{} is an archive of ours already: `vldepot compact --preset` compresses it in another way",
                text::path(&self.source)
            ))),
            (false, Wanted::Barecat | Wanted::Other(_)) => Err(Failure::usage(
                "one of the two must be an archive of ours: convert the source to a .vld file first, and \
                 then that one",
            )),
            _ => Ok(wanted),
        }
    }

    fn options(&self) -> Result<ConvertOptions, Failure> {
        let options =
            ConvertOptions::new().with_selection(self.selection.get()?).with_max_ratio(self.max_ratio);
        Ok(match &self.root_dir {
            Some(root) => options.with_root(archive::path(root)?),
            None => options.with_root(ArchivePath::ROOT),
        })
    }

    fn staged(&self) -> Result<StagedFile, Failure> {
        let target = &self.target;
        let is_there = target.symlink_metadata().is_ok();
        if is_there && !self.force {
            let file = text::path(target);
            return Err(Failure::other(format!("{file}: it is there already; --force replaces it")));
        }
        Ok(if is_there { StagedFile::replace(target)? } else { StagedFile::create(target)? })
    }

    fn failure(&self, error: ConvertError) -> Failure {
        let of = match &error {
            ConvertError::Target(source)
                if source.kind() == io::ErrorKind::BrokenPipe && is_standard(&self.target) =>
            {
                return io::Error::from(io::ErrorKind::BrokenPipe).into();
            }
            ConvertError::Target(_) => &self.target,
            _ => &self.source,
        };
        let message = format!("{}: {}", text::path(of), failure::chain(&error));
        let is_damage = error.is_damage();
        match error {
            ConvertError::Depot(error) => error.into(),
            _ if is_damage => Failure::damage(message),
            _ => Failure::other(message),
        }
    }

    /// Another archive into one of ours.
    fn import(&self, source: Source, found: &Found) -> Result<Converted, Failure> {
        if is_standard(&self.target) {
            return Err(Failure::usage(
                "an archive of ours cannot be written to standard output: give a file",
            ));
        }
        let options = self.options()?;
        let layout = layout(self.preset.parse()?);
        // Nobody sees the file before it is complete: no commit is needed on the way.
        let mut write = WriteOptions::default().with_commit_every(CommitEvery::never());
        if let Some(threads) = self.threads {
            write = write.with_threads(threads.max(1));
        }
        let staged = self.staged()?;
        let builder = Depot::builder(Raw).layout(layout).write_options(write);
        let new = Archive::new(builder.create_in(staged.storage())?);
        let spinner = Spinner::new("converting");
        let progress = |progress| spinner.show(progress);
        let done = match found {
            Found::Zip => new.import_zip(io::BufReader::new(source.file(&self.source)?), &options, progress),
            #[cfg(feature = "barecat")]
            Found::Barecat => new.import_barecat(&self.source, &options, progress),
            _ => new.import(source.stream(), &options, progress),
        };
        let done = done.map_err(|error| self.failure(error))?;
        new.close()?;
        staged.publish()?;
        Ok(done)
    }

    /// An index over a tar file.
    fn wrap(&self) -> Result<Converted, Failure> {
        if is_standard(&self.source) || is_standard(&self.target) {
            return Err(Failure::usage("an index is made of a file, and is a file"));
        }
        let options = self.options()?;
        let staged = self.staged()?;
        let spinner = Spinner::new("reading");
        let folder = self.target.parent().unwrap_or(Path::new(""));
        let done =
            wrap_tar(&self.source, staged.storage(), folder, &options, |progress| spinner.show(progress));
        let done = done.map_err(|error| self.failure(error))?;
        staged.publish()?;
        Ok(done)
    }

    /// One of ours into another archive.
    fn export(&self, wanted: Wanted, out: &mut dyn Write) -> Result<Converted, Failure> {
        let archive = archive::open(&self.source)?;
        let options = self.options()?;
        let failed = |error| self.failure(error);
        let spinner = Spinner::new("converting");
        let progress = |progress| spinner.show(progress);
        let done = match wanted {
            #[cfg(feature = "barecat")]
            Wanted::Barecat if self.force => {
                return Err(Failure::usage(
                    "--force does not replace an archive of Barecat, whose files cannot be replaced in one \
                     step: remove them first",
                ));
            }
            #[cfg(feature = "barecat")]
            Wanted::Barecat => archive.export_barecat(&self.target, &options, progress).map_err(failed)?,
            Wanted::Other(format) if is_standard(&self.target) => {
                if io::stdout().is_terminal() {
                    return Err(Failure::usage(
                        "an archive is not written to a terminal: send it to a file or another program",
                    ));
                }
                archive.export(out, format, &options, progress).map_err(failed)?
            }
            Wanted::Other(format) => {
                let staged = self.staged()?;
                let target = Sequential::new(staged.storage());
                let done = archive.export(target, format, &options, progress).map_err(failed)?;
                staged.publish()?;
                done
            }
            _ => return Err(Failure::usage("this command was built without archives of Barecat")),
        };
        drop(spinner);
        archive::complete(&archive)?;
        Ok(done)
    }

    fn report(&self, done: &Converted, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            let mut object = archive::counts(&done.transfer);
            object.insert("notes".to_owned(), done.noted.into());
            return writeln!(out, "{}", Value::from(object));
        }
        let (words, target) = (archive::in_words(&done.transfer), text::path(&self.target));
        writeln!(out, "{target}: {words} from {}", text::path(&self.source))
    }
}

impl Run for Convert {
    fn json(&self) -> bool {
        self.json
    }

    fn prints_json(&self) -> bool {
        self.json && !is_standard(&self.target)
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.wrap {
            let done = self.wrap()?;
            return self.finish(&done, out);
        }
        let source = Source::open(&self.source)?;
        let found = source.found();
        let wanted = self.wanted(matches!(found, Found::Ours))?;
        if is_standard(&self.source) && matches!(found, Found::Ours | Found::Barecat) {
            return Err(Failure::usage(
                "only tar and zip archives are read from standard input: give the file's name",
            ));
        }
        let done = match found {
            Found::Ours => {
                drop(source);
                self.export(wanted, out)?
            }
            #[cfg(not(feature = "barecat"))]
            Found::Barecat => {
                return Err(Failure::usage("this command was built without archives of Barecat"));
            }
            found => self.import(source, &found)?,
        };
        self.finish(&done, out)
    }
}

impl Convert {
    /// Tells what was done.
    fn finish(&self, done: &Converted, out: &mut dyn Write) -> Result<(), Failure> {
        for note in done.notes.iter().take(SHOWN) {
            eprintln!("vldepot: note: {}", text::without_controls(note));
        }
        if done.noted > SHOWN as u64 {
            eprintln!("vldepot: note: {}", text::more(done.noted - SHOWN as u64, "note"));
        }
        if is_standard(&self.target) {
            if self.json {
                self.report(done, &mut io::stderr().lock())?;
            }
        } else {
            self.report(done, out)?;
        }
        archive::without(&done.transfer, "could not be converted")
    }
}

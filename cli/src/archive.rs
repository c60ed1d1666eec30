//! What the verbs on archives share: paths as arguments, and what could not be done.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use vldepot::archive::{AddOptions, Archive, ArchivePath, Selection, Source, Stat, Transfer};
use vldepot::{Depot, Key, OpenOptions, Raw};

use crate::failure::Failure;
use crate::text;

/// Failures that are printed one by one.
const SHOWN: usize = 20;

/// Opens an archive for reading. One that lost something is read, and its listings end with an error.
pub(crate) fn open(file: &Path) -> Result<Archive, Failure> {
    let options = OpenOptions::default().with_accept_loss(true);
    Ok(Archive::new(Depot::builder(Raw).open_options(options).open(file)?))
}

/// A path in an archive, as it was given.
pub(crate) fn path(given: &OsStr) -> Result<ArchivePath, Failure> {
    Ok(ArchivePath::new(given.as_bytes())?)
}

/// The record of a file or a link.
pub(crate) fn key(path: &ArchivePath) -> Key {
    match std::str::from_utf8(path.as_bytes()) {
        Ok(path) => Key::Str(path.to_owned()),
        Err(_) => Key::Bytes(path.as_bytes().to_vec()),
    }
}

/// The record of a folder.
pub(crate) fn folder_key(path: &ArchivePath) -> Key {
    match key(path) {
        Key::Str(path) => Key::Str(path + "/"),
        _ => Key::Bytes([path.as_bytes(), b"/"].concat()),
    }
}

/// As text for a terminal.
pub(crate) fn shown(path: &ArchivePath) -> String {
    if path.is_root() { ".".to_owned() } else { text::without_controls(&path.to_string()) }
}

/// The path as a member of a JSON object: text, or the digits of its bytes.
pub(crate) fn to_json(path: &ArchivePath) -> (&'static str, Value) {
    match std::str::from_utf8(path.as_bytes()) {
        Ok(text) => ("path", json!(text)),
        Err(_) => ("path_bytes", json!(text::hex(path.as_bytes()))),
    }
}

/// A JSON object with all that is known of a path.
pub(crate) fn stat_json(stat: &Stat) -> Map<String, Value> {
    let (name, path) = to_json(&stat.path);
    let mut object = Map::from_iter([
        (name.to_owned(), path),
        ("kind".to_owned(), json!(stat.kind)),
        ("size".to_owned(), json!(stat.size)),
    ]);
    if let Ok(Value::Object(known)) = serde_json::to_value(&stat.attributes) {
        object.extend(known.into_iter().filter(|(name, _)| name != "kind"));
    }
    object
}

/// Ends a verb that printed what there is: with an error if the depot lost something.
pub(crate) fn complete(archive: &Archive) -> Result<(), Failure> {
    archive.depot().incomplete().map_or(Ok(()), |error| Err(error.into()))
}

/// Ends a verb that did what it could: with an error that says what it could not do.
pub(crate) fn without(done: &Transfer, what: &str) -> Result<(), Failure> {
    for failure in done.failures.iter().take(SHOWN) {
        let error = crate::failure::chain(&failure.error);
        eprintln!("vldepot: {}: {}", text::path(&failure.path), text::without_controls(&error));
    }
    if done.failed == 0 {
        return Ok(());
    }
    let more = done.failed.saturating_sub(done.failures.len().min(SHOWN) as u64);
    let more = if more == 0 { String::new() } else { format!(" ({} not shown)", text::grouped(more)) };
    Err(Failure::other(format!("{} {what}{more}; all others were", text::grouped(done.failed))))
}

/// What was stored or extracted, in words.
pub(crate) fn in_words(done: &Transfer) -> String {
    let mut words = text::count(done.files, "file");
    for (n, thing) in [(done.folders, "folder"), (done.links, "link")] {
        if n > 0 {
            words = format!("{words}, {}", text::count(n, thing));
        }
    }
    format!("{words}, {}", text::bytes(done.bytes))
}

/// What was stored or extracted, as the members of a JSON object.
pub(crate) fn counts(done: &Transfer) -> Map<String, Value> {
    let members = [
        ("files", done.files),
        ("folders", done.folders),
        ("links", done.links),
        ("bytes", done.bytes),
        ("failed", done.failed),
    ];
    members.into_iter().map(|(name, n)| (name.to_owned(), json!(n))).collect()
}

/// Which paths are stored or extracted.
#[derive(clap::Args)]
pub(crate) struct Globs {
    /// Leave out what matches: a glob for the last name, or for the whole path if it has a `/`.
    #[arg(long, short = 'x', value_name = "GLOB")]
    exclude: Vec<String>,
    /// Take only files that match one of these globs.
    #[arg(long, short, value_name = "GLOB")]
    include: Vec<String>,
}

impl Globs {
    pub(crate) fn get(&self) -> Result<Selection, Failure> {
        let all = Selection::new();
        let some = self.exclude.iter().try_fold(all, |selection, glob| selection.exclude(glob))?;
        Ok(self.include.iter().try_fold(some, |selection, glob| selection.include(glob))?)
    }
}

/// Files on the disk that are to be stored.
#[derive(clap::Args)]
pub(crate) struct Sources {
    /// Files and folders. A folder is stored with all that is in it.
    paths: Vec<PathBuf>,
    /// Look for the paths, and those of --files-from, in this folder. Stored paths begin below it.
    #[arg(long, short = 'C', value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    /// Also store the paths in this file, one a line; `-` for standard input. Folders are stored without what
    /// is in them.
    #[arg(long, short = 'T', value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// The paths of --files-from end with NUL bytes, not with lines.
    #[arg(long, short = '0', requires = "files_from")]
    null: bool,
    #[command(flatten)]
    selection: Globs,
    /// Threads that read files, and as many that compress.
    #[arg(long, short = 'j', value_name = "N")]
    threads: Option<usize>,
}

impl Sources {
    pub(crate) fn threads(&self) -> Option<usize> {
        self.threads.map(|threads| threads.max(1))
    }

    pub(crate) fn options(&self) -> Result<AddOptions, Failure> {
        let options = AddOptions::new().with_selection(self.selection.get()?);
        Ok(match self.threads() {
            Some(threads) => options.with_threads(threads),
            None => options,
        })
    }

    /// All that is to be stored.
    pub(crate) fn all(&self) -> Result<Vec<Source>, Failure> {
        if self.paths.is_empty() && self.files_from.is_none() {
            return Err(Failure::usage("nothing to store: give files or folders, or --files-from"));
        }
        let mut all = self.paths.iter().map(|path| self.place(path)).collect::<Result<Vec<_>, _>>()?;
        for path in self.listed()? {
            all.push(self.place(Path::new(&OsString::from_vec(path)))?.alone());
        }
        Ok(all)
    }

    /// The paths of --files-from.
    fn listed(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let Some(file) = self.files_from.as_deref() else { return Ok(Vec::new()) };
        let read = if file == Path::new("-") {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            fs::read(file)
        };
        let bytes =
            read.map_err(|error| Failure::other(format!("{}: cannot read it: {error}", text::path(file))))?;
        let end = if self.null { 0 } else { b'\n' };
        Ok(bytes.split(|&byte| byte == end).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn place(&self, path: &Path) -> Result<Source, Failure> {
        // As tar does: paths in an archive start at its root.
        let mut bytes = path.as_os_str().as_bytes();
        while let Some(rest) = bytes.strip_prefix(b"/") {
            bytes = rest;
        }
        Ok(Source::new(self.directory.join(path), ArchivePath::new(bytes)?))
    }
}

//! What the verbs on records of any depot share: which records are meant, and how they are copied.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec};
use vldepot::storage::StagedFile;
use vldepot::{Codec, CodecInfo, CommitEvery, Depot, DepotInfo, Key, Layout, OpenOptions, Raw, WriteOptions};

use crate::failure::Failure;
use crate::progress::Count;
use crate::text;

/// Records that are copied together.
const AT_ONCE: usize = 4096;

/// Names that a message gives.
const NAMED: usize = 5;

/// Codecs that say where the fields of records lie, and those of frames, what statistics they have.
#[derive(Clone, Copy)]
pub(crate) enum Described {
    Frames,
    Arrays,
}

impl Described {
    /// The codec of a depot, if it is one of these, in a version that this program knows.
    pub(crate) fn of(codec: &CodecInfo) -> Option<Self> {
        match codec.id.as_str() {
            AtomicFrameCodec::ID if codec.version <= AtomicFrameCodec::VERSION => Some(Self::Frames),
            AnyNdArray::ID if codec.version <= AnyNdArray::VERSION => Some(Self::Arrays),
            _ => None,
        }
    }

    /// The codec of the depot at `path`. One that does not open has none.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let options = OpenOptions::default().with_accept_loss(true);
        let depot = Depot::builder(Raw).open_options(options).open(path).ok()?;
        Self::of(&depot.stored_codec())
    }
}

/// Whether chunks have the fields of their records apart, in words.
pub(crate) fn fields_apart(info: &DepotInfo) -> &'static str {
    match (Described::of(&info.codec), info.codec.id.as_str()) {
        _ if !info.layout.stores_apart() => "no",
        (Some(_), _) => "yes",
        // Records of these have no such fields.
        (None, Raw::ID | "serde.msgpack" | "serde.json" | "collection") => "no",
        (None, _) => "if the codec names any",
    }
}

/// Lets the codec of a depot describe what is put as bytes, if it is a codec that does.
pub(crate) fn describing(depot: Depot<Raw>) -> Result<Depot<Raw>, Failure> {
    Ok(match Described::of(&depot.stored_codec()) {
        Some(Described::Frames) => depot.describing(AtomicFrameCodec::any())?,
        Some(Described::Arrays) => depot.describing(AnyNdArray)?,
        None => depot,
    })
}

/// How a copy of a depot with the layout `old` is to be compressed. `None` if as before.
pub(crate) fn copied(
    old: impl FnOnce() -> Result<Layout, Failure>,
    preset: Option<&str>,
    no_fields_apart: bool,
) -> Result<Option<Layout>, Failure> {
    let by = match preset {
        Some(preset) => preset.parse::<Layout>()?,
        None if no_fields_apart => old()?,
        None => return Ok(None),
    };
    let apart = by.fields_apart && !no_fields_apart;
    Ok(Some(by.with_fields_apart(apart)))
}

/// Which records are meant, by their names.
#[derive(clap::Args)]
pub(crate) struct Names {
    /// Take only records whose names match this glob, as `list` takes it: `*` matches `/` too.
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
    /// Take only records that match one of these globs: with the last part of the name, or with all of it if
    /// the glob has a `/`. `*` stops at `/`, and `**` does not.
    #[arg(long, short, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out records that match, with all below them.
    #[arg(long, short = 'x', value_name = "GLOB")]
    exclude: Vec<String>,
}

/// Tests of names.
#[derive(Default)]
pub(crate) struct Wanted {
    pattern: Option<Pattern>,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    names: Option<HashSet<Key>>,
}

impl Names {
    pub(crate) fn get(&self) -> Result<Wanted, Failure> {
        let all = |globs: &[String]| globs.iter().map(|glob| compiled(glob)).collect::<Result<_, _>>();
        Ok(Wanted {
            pattern: self.pattern.as_deref().map(compiled).transpose()?,
            include: all(&self.include)?,
            exclude: all(&self.exclude)?,
            names: None,
        })
    }
}

fn compiled(glob: &str) -> Result<Pattern, Failure> {
    let refuse =
        |error: glob::PatternError| Failure::usage(format!("{glob:?} is not a pattern: {}", error.msg));
    Pattern::new(glob.strip_suffix('/').unwrap_or(glob)).map_err(refuse)
}

impl Wanted {
    /// Takes only these names.
    pub(crate) fn of(mut self, names: HashSet<Key>) -> Self {
        self.names = Some(names);
        self
    }

    pub(crate) fn takes(&self, key: &Key) -> bool {
        if self.names.as_ref().is_some_and(|names| !names.contains(key)) {
            return false;
        }
        if self.pattern.is_none() && self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        let name = match key {
            Key::Str(name) => name.into(),
            Key::Bytes(name) => String::from_utf8_lossy(name),
            key => key.to_string().into(),
        };
        let path = name.strip_suffix('/').unwrap_or(&name);
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        let is_excluded = !self.exclude.is_empty()
            && std::iter::once(path).chain(folders).any(|path| matches_any(&self.exclude, path));
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(&name))
            && (self.include.is_empty() || matches_any(&self.include, path))
            && !is_excluded
    }
}

fn matches_any(globs: &[Pattern], path: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let last = path.rsplit('/').next().unwrap_or_default();
    globs.iter().any(|glob| glob.matches_with(if glob.as_str().contains('/') { path } else { last }, options))
}

/// The names in a file, as `list` prints them: one a line, or those that end with NUL bytes.
pub(crate) fn names_in(file: &Path, null: bool) -> Result<Vec<Key>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        let message = format!("{}: cannot read it: {error}", text::path(file));
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        return Err(if is_missing { Failure::not_found(message) } else { Failure::other(message) });
    }
    let mut names = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == if null { 0 } else { b'\n' }).enumerate() {
        let line = if null { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        if line.is_empty() {
            continue;
        }
        let name = match std::str::from_utf8(line) {
            Ok(name) if null => Some(Key::Str(name.to_owned())),
            Ok(line) => text::parse_name(line),
            Err(_) => Some(Key::Bytes(line.to_vec())),
        };
        names.push(name.ok_or_else(|| {
            let line = text::without_controls(&String::from_utf8_lossy(line));
            let number = number + 1;
            Failure::usage(format!("{}: line {number} is no name: {line}", text::path(file)))
        })?);
    }
    Ok(names)
}

/// The first few of these names, and how many more there are.
pub(crate) struct Few {
    names: Vec<String>,
    all: u64,
}

impl Few {
    pub(crate) fn new() -> Self {
        Self { names: Vec::new(), all: 0 }
    }

    pub(crate) fn add(&mut self, key: &Key) {
        self.all += 1;
        if self.names.len() < NAMED {
            self.names.push(text::name(key));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all == 0
    }

    pub(crate) fn all(&self) -> u64 {
        self.all
    }

    pub(crate) fn shown(&self) -> String {
        let more = match self.all - self.names.len() as u64 {
            0 => String::new(),
            more => format!(" and {}", text::more(more, "record")),
        };
        format!("{}{more}", self.names.join(", "))
    }
}

/// A depot that records are copied from, and what their names begin with where they are copied to.
pub(crate) struct Origin {
    pub(crate) depot: Depot<Raw>,
    pub(crate) path: PathBuf,
    prefix: String,
}

impl Origin {
    /// Opens a depot. One that lost something is refused: its copy would seem to be whole.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { depot: Depot::open(path, Raw)?, path: path.to_owned(), prefix: String::new() })
    }

    pub(crate) fn with_prefix(mut self, prefix: String) -> Self {
        self.prefix = prefix;
        self
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the record is called where it is copied to. An integer with a prefix becomes a string.
    pub(crate) fn new_name(&self, key: &Key) -> Key {
        if self.prefix.is_empty() {
            return key.clone();
        }
        match key {
            Key::Bytes(name) => Key::Bytes([self.prefix.as_bytes(), name].concat()),
            Key::Str(name) => Key::Str(format!("{}{name}", self.prefix)),
            key => Key::Str(format!("{}{key}", self.prefix)),
        }
    }

    /// The names of records here that are called `new` where they are copied to: one, or an integer and a
    /// string of the same digits.
    pub(crate) fn old_names(&self, new: &Key) -> Result<Vec<Key>, Failure> {
        let mut names = Vec::new();
        match new {
            Key::Str(name) => {
                let Some(rest) = name.strip_prefix(&self.prefix) else { return Ok(names) };
                names.push(Key::Str(rest.to_owned()));
                let int = rest.parse::<i128>().ok().filter(|int| int.to_string() == rest);
                let is_name = |int: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(int);
                if let Some(int) = int.filter(is_name).filter(|_| !self.prefix.is_empty()) {
                    names.push(Key::Int(int));
                }
            }
            Key::Bytes(name) => {
                let rest = name.strip_prefix(self.prefix.as_bytes());
                names.extend(rest.map(|rest| Key::Bytes(rest.to_vec())));
            }
            key if self.prefix.is_empty() => names.push(key.clone()),
            _ => {}
        }
        let mut there = Vec::new();
        for name in names {
            if self.depot.contains(&name)? {
                there.push(name);
            }
        }
        Ok(there)
    }

    /// Says on stderr what an earlier repair lost, since a copy does not know of it. Returns the same.
    pub(crate) fn tell_losses(&self) -> Result<Vec<String>, Failure> {
        let losses = self.depot.info()?.losses;
        for loss in &losses {
            eprintln!("vldepot: {}: lost before: {}", text::path(&self.path), text::without_controls(loss));
        }
        Ok(losses)
    }

    /// Copies the records called `keys`, in this order, and returns how many.
    pub(crate) fn copy(
        &self,
        keys: impl IntoIterator<Item = Result<Key, Failure>>,
        to: &Depot<Raw>,
        count: &Count,
    ) -> Result<u64, Failure> {
        let mut names = Vec::new();
        let mut copied = 0;
        let mut keys = keys.into_iter();
        loop {
            let next = keys.next().transpose()?;
            let is_end = next.is_none();
            names.extend(next.map(|key| {
                let new = self.new_name(&key);
                (key, new)
            }));
            if names.len() >= AT_ONCE || is_end {
                copied += to.copy_from_as(&self.depot, &names)?;
                count.add(names.len() as u64);
                names.clear();
            }
            if is_end {
                return Ok(copied);
            }
        }
    }
}

/// A failure unless the records of `other` may be among those of `first`.
pub(crate) fn check_alike(first: &Origin, other: &Origin) -> Result<(), Failure> {
    let differ = |what: &str, (first_has, other_has): (String, String)| {
        Err(Failure::other(format!(
            "{}: its {what} {other_has}, and that of {} {first_has}: only depots that agree in this can be one",
            text::path(&other.path),
            text::path(&first.path),
        )))
    };
    let codec = |origin: &Origin| origin.depot.stored_codec();
    if codec(first) != codec(other) {
        let shown = |origin: &Origin| {
            let codec = codec(origin);
            let parameters = String::from_utf8_lossy(&codec.parameters).trim().replace('\n', ", ");
            let parameters = if parameters.is_empty() { parameters } else { format!(" ({parameters})") };
            text::without_controls(&format!("is `{}`, version {}{parameters}", codec.id, codec.version))
        };
        return differ("codec", (shown(first), shown(other)));
    }
    if first.depot.columns() != other.depot.columns() {
        let shown = |origin: &Origin| {
            let names: Vec<_> = origin.depot.columns().iter().map(|column| column.name.to_string()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            text::without_controls(&format!("is {names}"))
        };
        return differ("list of columns", (shown(first), shown(other)));
    }
    Ok(())
}

/// Whether two paths lead to one file.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        matches!((id(one), id(other)), (Ok(one), Ok(other)) if one == other)
    }
    #[cfg(not(unix))]
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

/// A new depot, which appears at its path when it is complete.
pub(crate) struct New {
    staged: StagedFile,
    pub(crate) depot: Depot<Raw>,
}

impl New {
    /// Begins a depot like `model` at `path`, where no file may be unless it is to be replaced.
    pub(crate) fn begin(
        path: &Path,
        replace: bool,
        model: &Depot<Raw>,
        preset: Option<&str>,
        no_fields_apart: bool,
    ) -> Result<Self, Failure> {
        // Nobody sees the file before it is complete: no commit is needed on the way.
        let write = WriteOptions::default().with_commit_every(CommitEvery::never());
        let mut builder = Depot::builder(Raw).like(model).write_options(write);
        let old = || Ok(model.info()?.layout);
        if let Some(by) = copied(old, preset, no_fields_apart)? {
            builder = builder.layout(old()?.recompressed(&by));
        }
        let staged = stage(path, replace)?;
        let depot = describing(builder.create_in(staged.storage())?)?;
        Ok(Self { staged, depot })
    }

    /// Completes the depot, puts it in place, and returns the length of the file.
    pub(crate) fn publish(self, path: &Path) -> Result<u64, Failure> {
        self.depot.close()?;
        self.staged.publish()?;
        Ok(fs::metadata(path).map_or(0, |metadata| metadata.len()))
    }
}

/// Begins a new file at `path`.
pub(crate) fn stage(path: &Path, replace: bool) -> Result<StagedFile, Failure> {
    let is_there = path.symlink_metadata().is_ok();
    if is_there && !replace {
        let file = text::path(path);
        return Err(Failure::other(format!("{file}: it is there already; --force replaces it")));
    }
    Ok(if is_there { StagedFile::replace(path)? } else { StagedFile::create(path)? })
}

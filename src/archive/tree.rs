//! Folders: listed, walked and matched by their names' order.
//!
//! Names that start with `a/` follow each other in the order of names. So a folder is a range of names, and
//! its subfolders are ranges inside, which a listing steps over.

use std::ops::Bound;

use super::folder::Archive;
use super::path::{ArchivePath, bytes_of, is_literal, text};
use crate::{Error, ErrorKind, Key, Result, SortedKeys, Totals};

/// Names of a subfolder that are passed one by one, before the listing looks for its end.
const STEPS: usize = 8;

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Where it is, from the archive's root.
    pub path: ArchivePath,
    /// Whether it is a folder. If not, it is a file or a link: [`Archive::stat`] tells.
    pub is_dir: bool,
}

/// Strings, and byte strings. No path is a name of another kind.
const KINDS: usize = 2;

type Names = (Bound<Key>, Bound<Key>);

/// A name of the kind: 0 for strings, 1 for byte strings. `None` where bytes make no string.
fn name(kind: usize, bytes: Vec<u8>) -> Option<Key> {
    match kind {
        0 => String::from_utf8(bytes).ok().map(Key::Str),
        _ => Some(Key::Bytes(bytes)),
    }
}

/// All names of a kind that start with `prefix`, which is empty or ends with `/`, from `start` on.
fn range(kind: usize, prefix: &[u8], start: Vec<u8>) -> Option<Names> {
    let end = match prefix.split_last() {
        // The byte after `/`.
        Some((_, front)) => name(kind, [front, b"0"].concat())?,
        None if kind == 0 => Key::Bytes(Vec::new()),
        None => Key::from(i64::MIN),
    };
    Some((Bound::Included(name(kind, start)?), Bound::Excluded(end)))
}

impl Archive {
    /// What lies in a folder, in the order of names: strings first, then names that are not UTF-8.
    ///
    /// This does not look at what lies in its subfolders, however much that is.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`], [`ErrorKind::NotAFolder`].
    /// - In place of an entry: [`ErrorKind::InvalidPath`] for records whose names are no paths, and damage.
    pub fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<ReadDir<'_>> {
        let folder = self.folder(path)?;
        Ok(ReadDir { archive: self, prefix: folder.folder(), kind: 0, names: None, skip: None })
    }

    /// All files, folders and links below a folder, in the order of names, without the folder itself.
    ///
    /// Folders without a record of their own are not among them.
    ///
    /// # Errors
    /// The errors of [`read_dir`](Self::read_dir).
    pub fn walk(&self, path: impl AsRef<[u8]>) -> Result<Walk<'_>> {
        let folder = self.folder(path)?;
        let own = folder.folder().len();
        Ok(Walk { archive: self, names: self.keys_below(&folder)?, own })
    }

    /// All paths that match a pattern: `*` any characters of one name, `?` one, `[a-z]`, and `**` any
    /// folders.
    ///
    /// Only folders that may hold a match are listed. With `**`, all below the folder that the pattern starts
    /// with is looked at, and folders without a record of their own are not found.
    ///
    /// ```
    /// use vldepot::archive::Archive;
    /// let archive = Archive::memory()?;
    /// for path in ["a/1.png", "a/2.jpg", "b/c/3.png"] {
    ///     archive.write(path, b"..")?;
    /// }
    /// let found = |pattern| -> vldepot::Result<Vec<String>> {
    ///     archive.glob(pattern)?.map(|entry| Ok(entry?.path.to_string())).collect()
    /// };
    /// assert_eq!(found("a/*.png")?, ["a/1.png"]);
    /// assert_eq!(found("**/*.png")?, ["a/1.png", "b/c/3.png"]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a pattern that is none, and the errors of
    /// [`read_dir`](Self::read_dir).
    pub fn glob(&self, pattern: &str) -> Result<Glob<'_>> {
        Glob::new(self, pattern)
    }

    /// The names of all records below a folder, its own included.
    pub(super) fn keys_below(&self, folder: &ArchivePath) -> Result<KeysBelow<'_>> {
        let prefix = folder.folder();
        let mut ranges = Vec::new();
        for kind in 0..KINDS {
            if let Some(range) = range(kind, &prefix, prefix.clone()) {
                ranges.push(self.depot().sorted_keys(range)?);
            }
        }
        ranges.reverse();
        Ok(KeysBelow(ranges))
    }

    pub(super) fn totals_below(&self, folder: &ArchivePath) -> Result<Totals> {
        let prefix = folder.folder();
        let mut sum = Totals::default();
        for range in (0..KINDS).filter_map(|kind| range(kind, &prefix, prefix.clone())) {
            let totals = self.depot().totals(range)?;
            sum.records += totals.records;
            sum.raw_bytes += totals.raw_bytes;
        }
        Ok(sum)
    }

    /// An error for a record whose name is no path.
    pub(super) fn no_path(&self, key: &Key) -> Error {
        let why = "this name is not the clean form of a path".into();
        Error::new(ErrorKind::InvalidPath { why }).at(self.depot().path()).of(key.to_string())
    }
}

/// Names of both kinds, one after the other.
#[derive(Debug)]
pub(super) struct KeysBelow<'a>(Vec<SortedKeys<'a>>);

impl Iterator for KeysBelow<'_> {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Result<Key>> {
        while let Some(names) = self.0.last_mut() {
            if let Some(key) = names.next() {
                return Some(key);
            }
            self.0.pop();
        }
        None
    }
}

/// What lies in a folder. See [`Archive::read_dir`].
#[derive(Debug)]
pub struct ReadDir<'a> {
    archive: &'a Archive,
    prefix: Vec<u8>,
    kind: usize,
    names: Option<SortedKeys<'a>>,
    /// What the names start with that are passed over: a subfolder.
    skip: Option<Vec<u8>>,
}

impl ReadDir<'_> {
    /// The next name that is not in the subfolder that is passed over.
    fn next_name(&mut self) -> Result<Option<Key>> {
        let depot = self.archive.depot();
        let mut steps = 0;
        while self.kind < KINDS {
            if self.names.is_none() {
                let start = match &self.skip {
                    // The byte after `/`: behind the subfolder.
                    Some(skip) => [&skip[..skip.len() - 1], b"0"].concat(),
                    None => self.prefix.clone(),
                };
                self.names = match range(self.kind, &self.prefix, start) {
                    Some(range) => Some(depot.sorted_keys(range)?),
                    None => None,
                };
            }
            match self.names.as_mut().and_then(Iterator::next).transpose()? {
                None => (self.kind, self.names, self.skip) = (self.kind + 1, None, None),
                Some(key) => {
                    let name = bytes_of(&key);
                    let passed = self.skip.as_ref().is_some_and(|skip| name.starts_with(skip));
                    if !passed && name.len() > self.prefix.len() {
                        return Ok(Some(key));
                    }
                    steps += usize::from(passed);
                    if steps > STEPS {
                        (self.names, steps) = (None, 0);
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for ReadDir<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let key = match self.next_name() {
                Ok(key) => key?,
                Err(error) => {
                    (self.kind, self.names) = (KINDS, None);
                    return Some(Err(error));
                }
            };
            let name = bytes_of(&key);
            let rest = &name[self.prefix.len()..];
            let slash = rest.iter().position(|&byte| byte == b'/');
            let end = self.prefix.len() + slash.unwrap_or(rest.len());
            self.skip = slash.map(|_| name[..=end].to_vec());
            let clean = ArchivePath::new(&name[..end]).ok().filter(|path| path.as_bytes() == &name[..end]);
            let Some(path) = clean.filter(|path| path.as_bytes().len() > self.prefix.len()) else {
                return Some(Err(self.archive.no_path(&key)));
            };
            // A folder that is UTF-8 was listed among the strings, if it has anything there.
            if self.kind == 1 && slash.is_some() && std::str::from_utf8(path.as_bytes()).is_ok() {
                let strings = range(0, &path.folder(), path.folder());
                match strings.map(|range| self.archive.depot().totals(range)).transpose() {
                    Ok(Some(totals)) if totals.records > 0 => continue,
                    Ok(_) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            return Some(Ok(Entry { path, is_dir: slash.is_some() }));
        }
    }
}

/// All that is below a folder. See [`Archive::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    archive: &'a Archive,
    names: KeysBelow<'a>,
    /// Length of the folder's own name.
    own: usize,
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let key = match self.names.next()? {
                Ok(key) => key,
                Err(error) => return Some(Err(error)),
            };
            if self.own > 0 && bytes_of(&key).len() == self.own {
                continue;
            }
            return Some(match ArchivePath::of_key(&key) {
                Some((path, is_dir)) => Ok(Entry { path, is_dir }),
                None => Err(self.archive.no_path(&key)),
            });
        }
    }
}

/// One name of a pattern.
#[derive(Debug)]
enum Part {
    Literal(String),
    Pattern(glob::Pattern),
}

/// A pattern as the library for patterns knows it.
fn compiled(pattern: &str) -> Result<glob::Pattern> {
    glob::Pattern::new(pattern).map_err(|error| {
        let why = format!("{pattern:?} is not a pattern: {}", error.msg);
        Error::new(ErrorKind::InvalidOptions { why })
    })
}

impl Part {
    fn new(part: &str) -> Result<Self> {
        Ok(if is_literal(part) { Self::Literal(part.to_owned()) } else { Self::Pattern(compiled(part)?) })
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(part) => part.as_bytes() == name,
            Self::Pattern(pattern) => pattern.matches(&text(name)),
        }
    }
}

/// Names in a pattern of many names stop at `/`.
const BY_NAMES: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

#[derive(Debug)]
enum Todo<'a> {
    /// Match the folder's entries with the part of this number.
    Look(ArchivePath, usize),
    List(ReadDir<'a>, usize),
    /// Match all paths below a folder.
    Walk(Walk<'a>, glob::Pattern),
}

/// Paths that match a pattern. See [`Archive::glob`].
#[derive(Debug)]
pub struct Glob<'a> {
    archive: &'a Archive,
    parts: Vec<Part>,
    todo: Vec<Todo<'a>>,
}

impl<'a> Glob<'a> {
    fn new(archive: &'a Archive, pattern: &str) -> Result<Self> {
        let names: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let mut glob = Self { archive, parts: Vec::new(), todo: Vec::new() };
        if pattern.starts_with('/') || names.contains(&"..") {
            let why = format!("no path in an archive matches {pattern:?}: it leads out of the archive");
            return Err(Error::new(ErrorKind::InvalidOptions { why }));
        }
        if let Some(first) = names.iter().position(|name| *name == "**") {
            let start = names[..first].iter().position(|name| !is_literal(name)).unwrap_or(first);
            let folder = ArchivePath::new(names[..start].join("/"))?;
            let whole = compiled(&names.join("/"))?;
            if archive.is_dir(&folder)? {
                glob.todo.push(Todo::Walk(archive.walk(&folder)?, whole));
            }
            return Ok(glob);
        }
        glob.parts = names.into_iter().map(Part::new).collect::<Result<_>>()?;
        if !glob.parts.is_empty() {
            glob.todo.push(Todo::Look(ArchivePath::ROOT, 0));
        }
        Ok(glob)
    }

    /// Looks for the part of number `nth` in a folder. A name that is given is not looked for by listing.
    fn look(&mut self, folder: &ArchivePath, nth: usize) -> Result<Option<Entry>> {
        let Part::Literal(part) = &self.parts[nth] else {
            self.todo.push(Todo::List(self.archive.read_dir(folder)?, nth));
            return Ok(None);
        };
        let path = folder.join(part)?;
        let is_dir = self.archive.is_dir(&path)?;
        if !is_dir && !self.archive.is_file(&path)? {
            return Ok(None);
        }
        Ok(self.take(Entry { path, is_dir }, nth))
    }

    /// The entry if it matches the last part. A folder that matches another part is looked into.
    fn take(&mut self, entry: Entry, nth: usize) -> Option<Entry> {
        if !self.parts[nth].matches(entry.path.file_name().unwrap_or_default()) {
            return None;
        }
        if nth + 1 == self.parts.len() {
            return Some(entry);
        }
        if entry.is_dir {
            self.todo.push(Todo::Look(entry.path, nth + 1));
        }
        None
    }

    fn step(&mut self, todo: Todo<'a>) -> Result<Option<Entry>> {
        let (found, nth) = match todo {
            Todo::Look(folder, nth) => return self.look(&folder, nth),
            Todo::List(mut list, nth) => {
                let Some(found) = list.next() else { return Ok(None) };
                self.todo.push(Todo::List(list, nth));
                (found, Some(nth))
            }
            Todo::Walk(mut walk, pattern) => {
                let found = walk.find(|found| {
                    found
                        .as_ref()
                        .map_or(true, |entry| pattern.matches_with(&text(entry.path.as_bytes()), BY_NAMES))
                });
                let Some(found) = found else { return Ok(None) };
                self.todo.push(Todo::Walk(walk, pattern));
                (found, None)
            }
        };
        match (found, nth) {
            (Ok(entry), Some(nth)) => Ok(self.take(entry, nth)),
            (Ok(entry), None) => Ok(Some(entry)),
            // Records that are no paths match no pattern.
            (Err(error), _) if matches!(error.kind(), ErrorKind::InvalidPath { .. }) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }
}

impl Iterator for Glob<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let todo = self.todo.pop()?;
            if let Some(found) = self.step(todo).transpose() {
                return Some(found);
            }
        }
    }
}

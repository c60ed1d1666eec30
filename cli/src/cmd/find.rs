//! `vldepot find`: paths of an archive that pass tests, and records of any depot that match a query.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;
use vldepot::archive::{Archive, ArchivePath, Entry, FileKind};
use vldepot::{Depot, Key, OpenOptions, Raw};

use super::{Run, list};
use crate::archive;
use crate::failure::Failure;
use crate::text;

/// Print the paths below a folder of an archive that pass all tests, or the names of the records of any depot
/// that match a query.
#[derive(Args)]
pub(crate) struct Find {
    /// The archive, or with --where any depot.
    file: PathBuf,
    /// The folder. Without one, the whole archive.
    path: Option<OsString>,
    /// The last name matches this glob.
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// The whole path matches this glob: `*` stops at `/`, and `**` does not.
    #[arg(long = "path", value_name = "GLOB")]
    whole: Option<String>,
    /// It is a file (`f`), a folder (`d`) or a link (`l`).
    #[arg(long = "type", short = 't', value_name = "T", value_enum)]
    kind: Option<Kind>,
    /// The size is at least `+N`, at most `-N`, or `N` bytes. `k`, `M` and `G` after the number count KiB,
    /// MiB and GiB.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    size: Option<String>,
    /// At most so many names deep: 1 for what lies in the folder itself.
    #[arg(long, value_name = "N")]
    maxdepth: Option<usize>,
    /// The scalars, the name and the metadata of the record match this query: such as
    /// `energy < -3 and n_atoms <= 50`. No record is read.
    #[arg(
        long = "where",
        value_name = "QUERY",
        conflicts_with_all = ["path", "name", "whole", "kind", "size", "maxdepth"]
    )]
    query: Option<String>,
    /// End each path with a NUL byte instead of a newline, and change no byte of it.
    #[arg(long = "print0", short = '0', conflicts_with = "json")]
    null: bool,
    /// Print one JSON object per line.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    F,
    D,
    L,
}

/// Sizes from the first to the second.
type Sizes = (u64, u64);

fn sizes(text: &str) -> Option<Sizes> {
    let (at_least, at_most, number) = match text.split_at_checked(1)? {
        ("+", number) => (true, false, number),
        ("-", number) => (false, true, number),
        _ => (false, false, text),
    };
    let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &number[digits.len()..] {
        "" | "c" => 1,
        "k" | "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    let size = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    Some((if at_most { 0 } else { size }, if at_least { u64::MAX } else { size }))
}

struct Tests {
    name: Option<glob::Pattern>,
    whole: Option<glob::Pattern>,
    kind: Option<Kind>,
    sizes: Option<Sizes>,
}

impl Tests {
    fn pass(&self, archive: &Archive, entry: &Entry) -> Result<bool, Failure> {
        let matches = |pattern: &Option<glob::Pattern>, text: &[u8]| {
            let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
            let text = String::from_utf8_lossy(text);
            pattern.as_ref().is_none_or(|pattern| pattern.matches_with(&text, options))
        };
        let name = entry.path.file_name().unwrap_or_default();
        if !matches(&self.name, name) || !matches(&self.whole, entry.path.as_bytes()) {
            return Ok(false);
        }
        // A folder is known by its name.
        if self.kind.is_some_and(|kind| (kind == Kind::D) != entry.is_dir) {
            return Ok(false);
        }
        if self.sizes.is_none() && self.kind.is_none_or(|kind| kind == Kind::D) {
            return Ok(true);
        }
        let stat = archive.stat(&entry.path)?;
        let is_kind = match self.kind {
            Some(Kind::F) => stat.kind == FileKind::File,
            Some(Kind::L) => stat.kind == FileKind::Link,
            Some(Kind::D) | None => true,
        };
        Ok(is_kind && self.sizes.is_none_or(|(least, most)| (least..=most).contains(&stat.size)))
    }
}

impl Run for Find {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some(query) = &self.query {
            return self.by_query(query, out);
        }
        let pattern = |pattern: &Option<String>| -> Result<Option<glob::Pattern>, Failure> {
            let Some(pattern) = pattern else { return Ok(None) };
            let refuse = |error: glob::PatternError| {
                Failure::usage(format!("{pattern:?} is not a pattern: {}", error.msg))
            };
            glob::Pattern::new(pattern).map(Some).map_err(refuse)
        };
        let sizes = self.size.as_deref().map(|text| {
            sizes(text)
                .ok_or_else(|| Failure::usage(format!("--size: {text:?} is not such as +10k, -1M or 300")))
        });
        let tests = Tests {
            name: pattern(&self.name)?,
            whole: pattern(&self.whole)?,
            kind: self.kind,
            sizes: sizes.transpose()?,
        };
        let archive = archive::open(&self.file)?;
        let folder = match &self.path {
            Some(path) => archive::path(path)?,
            None => ArchivePath::ROOT,
        };
        let depth = |path: &ArchivePath| path.as_bytes().split(|&byte| byte == b'/').count() - 1;
        let above = if folder.is_root() { 0 } else { depth(&folder) + 1 };
        let mut failed = None;
        for entry in archive.walk(&folder)? {
            let entry = match entry {
                Ok(entry) => entry,
                // A name that is no path does not stop the others.
                Err(error) => {
                    failed.get_or_insert(Failure::from(error));
                    continue;
                }
            };
            if self.maxdepth.is_some_and(|most| depth(&entry.path) - above >= most)
                || !tests.pass(&archive, &entry)?
            {
                continue;
            }
            if self.null {
                out.write_all(entry.path.as_bytes())?;
                out.write_all(b"\0")?;
            } else if self.json {
                writeln!(out, "{}", Value::from(archive::stat_json(&archive.stat(&entry.path)?)))?;
            } else {
                writeln!(out, "{}", archive::shown(&entry.path))?;
            }
        }
        failed.map_or_else(|| archive::complete(&archive), Err)
    }
}

impl Find {
    /// Prints the records of any depot that match a query.
    fn by_query(&self, query: &str, out: &mut dyn Write) -> Result<(), Failure> {
        let options = OpenOptions::default().with_accept_loss(true);
        let depot = Depot::builder(Raw).open_options(options).open(&self.file)?;
        for key in depot.select(query)?.keys() {
            let key = key?;
            if self.json {
                list::print_json(&depot, &key, out)?;
            } else if self.null {
                match &key {
                    Key::Str(name) => out.write_all(name.as_bytes())?,
                    Key::Bytes(name) => out.write_all(name)?,
                    key => write!(out, "{key}")?,
                }
                out.write_all(b"\0")?;
            } else {
                writeln!(out, "{}", text::name(&key))?;
            }
        }
        depot.incomplete().map_or(Ok(()), |error| Err(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn sizes_have_units() {
        assert_eq!(sizes("300"), Some((300, 300)));
        assert_eq!(sizes("+10k"), Some((10 << 10, u64::MAX)));
        assert_eq!(sizes("-1M"), Some((0, 1 << 20)));
        for text in ["", "+", "k", "1x", "99999999999999999999", "99999999999G", "é"] {
            assert_eq!(sizes(text), None, "{text:?}");
        }
    }
}

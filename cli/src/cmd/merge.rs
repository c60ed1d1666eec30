//! `vldepot merge`: copies the records of several depots to one, or lists depots as shards of a folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use vldepot::shards::{MergeOptions, found, merge};
use vldepot::{CommitEvery, Depot, Key, Layout, Raw, WriteOptions};

use super::Run;
use crate::failure::Failure;
use crate::progress::{self, Count};
use crate::records::{self, Few, Names, New, Origin, Wanted, check_alike, describing};
use crate::text;

/// Copy the records of several depots to one, in the order of the depots, with their metadata.
///
/// The depots must have one codec and the same columns. A new depot appears when it is complete, with the
/// layout of the first. If two depots have a record of one name, nothing is written unless an option says
/// which one is meant.
#[derive(Args)]
pub(crate) struct Merge {
    /// The depot to write; with --link, a folder.
    #[arg(long, short, value_name = "TARGET")]
    output: PathBuf,
    /// The depots to copy; with --link and without any, all files `*.vld` in the folder.
    #[arg(required_unless_present = "link", value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Copy nothing: list the depots as shards of the folder, newest last, which is then read like one depot.
    #[arg(long, conflicts_with_all = [
        "append", "force", "prefix", "as_subdirs", "ignore_duplicates", "preset", "no_fields_apart", "pattern", "include", "exclude",
    ])]
    link: bool,
    #[command(flatten)]
    names: Names,
    /// Add to a depot that is there. No other program may be writing it.
    #[arg(long)]
    append: bool,
    /// Replace a depot or another file that is there.
    #[arg(long, short, conflicts_with = "append")]
    force: bool,
    /// Let all names begin with this.
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Let the names of each depot begin with the name of its file, without its extension, and `/`.
    #[arg(long)]
    as_subdirs: bool,
    /// Where several depots have a record of one name, take that of the first.
    #[arg(long)]
    ignore_duplicates: bool,
    /// Where several depots have a record of one name, take that of the last.
    #[arg(long, conflicts_with = "ignore_duplicates")]
    replace: bool,
    /// Compress as this preset does, and not as the first depot.
    #[arg(long, conflicts_with = "append", value_parser = PossibleValuesParser::new(Layout::PRESETS))]
    preset: Option<String>,
    /// Do not store the fields of frames and arrays apart, so that every Blosc2 program can read the chunks.
    #[arg(long, conflicts_with = "append")]
    no_fields_apart: bool,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// The depot that is written.
enum Target {
    New(New),
    Old(Depot<Raw>),
}

impl Target {
    fn depot(&self) -> &Depot<Raw> {
        match self {
            Self::New(new) => &new.depot,
            Self::Old(depot) => depot,
        }
    }

    fn finish(self, path: &Path) -> Result<u64, Failure> {
        match self {
            Self::New(new) => new.publish(path),
            Self::Old(depot) => {
                depot.close()?;
                Ok(std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
            }
        }
    }
}

/// Where a record of that name is, apart from the depot that it is copied from.
struct Others<'o> {
    origins: &'o [Origin],
    wanted: &'o Wanted,
}

impl Others<'_> {
    /// Whether one of these depots gives a record that is called `new`.
    fn any(&self, mut which: impl Iterator<Item = usize>, new: &Key) -> Result<bool, Failure> {
        which.try_fold(false, |found, at| {
            Ok(found || self.origins[at].old_names(new)?.iter().any(|name| self.wanted.takes(name)))
        })
    }

    /// Whether another record of the same depot, an integer or the string of its digits, takes this name too.
    fn twice(&self, at: usize, key: &Key, new: &Key) -> Result<bool, Failure> {
        let origin = &self.origins[at];
        let digits = !origin.prefix().is_empty() && matches!(key, Key::Int(_));
        Ok(digits && origin.old_names(new)?.len() > 1)
    }
}

/// Finds names that several depots have, or the target already. Nothing is written yet.
fn duplicates(others: &Others<'_>, old: Option<&Depot<Raw>>) -> Result<Few, Failure> {
    let mut few = Few::new();
    let count = Count::new("comparing", others.origins.iter().map(|origin| origin.depot.len()).sum());
    for (at, origin) in others.origins.iter().enumerate() {
        for key in origin.depot.keys() {
            let key = key?;
            count.add(1);
            if !others.wanted.takes(&key) {
                continue;
            }
            let new = origin.new_name(&key);
            let is_there = old.map_or(Ok(false), |old| old.contains(&new))?;
            if is_there || others.any(0..at, &new)? || others.twice(at, &key, &new)? {
                few.add(&new);
            }
        }
    }
    Ok(few)
}

impl Merge {
    /// Lists the depots in the manifest of a folder.
    fn link(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let sources = if self.sources.is_empty() { found(&self.output)? } else { self.sources.clone() };
        let merged = merge(&self.output, &sources, &MergeOptions::default().with_unique(!self.replace))?;
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&merged)?)?;
            return Ok(());
        }
        let (file, records) = (text::path(&self.output), text::count(merged.records, "record"));
        let (added, shards) = (text::grouped(merged.added), text::count(merged.shards, "shard"));
        let superseded = match merged.superseded {
            0 => String::new(),
            n => format!(", {} superseded", text::grouped(n)),
        };
        progress::tell(out, format_args!("{file}: {added} added; {shards}, {records}{superseded}"))
    }

    fn open(&self, path: &Path) -> Result<Origin, Failure> {
        if records::is_same_file(path, &self.output) {
            let path = text::path(path);
            return Err(Failure::usage(format!("{path}: a depot cannot be merged into itself")));
        }
        let mut prefix = self.prefix.clone();
        if self.as_subdirs {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| {
                Failure::usage(format!("{}: --as-subdirs takes a file whose name is text", text::path(path)))
            })?;
            prefix.push_str(stem);
            prefix.push('/');
        }
        Ok(Origin::open(path)?.with_prefix(prefix))
    }

    fn target(&self, first: &Origin) -> Result<Target, Failure> {
        if self.append {
            // What was copied takes effect with one commit.
            let write = WriteOptions::default().with_commit_every(CommitEvery::never());
            let old = Depot::builder(Raw).write_options(write).append(&self.output)?;
            return Ok(Target::Old(describing(old)?));
        }
        let new =
            New::begin(&self.output, self.force, &first.depot, self.preset.as_deref(), self.no_fields_apart)?;
        Ok(Target::New(new))
    }
}

impl Run for Merge {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.link {
            return self.link(out);
        }
        let wanted = self.names.get()?;
        let origins = self.sources.iter().map(|path| self.open(path)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = origins.first() else { return Err(Failure::usage("no depot to copy")) };
        for other in &origins[1..] {
            check_alike(first, other)?;
        }
        let old = if self.append { Some(Origin::open(&self.output)?) } else { None };
        if let Some(old) = &old {
            check_alike(old, first)?;
        }
        let others = Others { origins: &origins, wanted: &wanted };
        if !self.ignore_duplicates && !self.replace {
            let duplicates = duplicates(&others, old.as_ref().map(|old| &old.depot))?;
            if !duplicates.is_empty() {
                let count = text::count(duplicates.all(), "record");
                let names = duplicates.shown();
                return Err(Failure::other(format!(
                    "{}: nothing is written, since {count} would replace another one of the same name: {names}: \
                     --ignore-duplicates keeps the first, --replace the last, --as-subdirs both",
                    text::path(&self.output)
                )));
            }
        }
        drop(old);
        let mut losses = Vec::new();
        for origin in &origins {
            losses.extend(origin.tell_losses()?);
        }
        let target = self.target(first)?;
        let depot = target.depot();
        let count = Count::new("copying", origins.iter().map(|origin| origin.depot.len()).sum());
        let (mut copied, mut passed, mut differing) = (0, 0, Vec::new());
        for (at, origin) in origins.iter().enumerate() {
            for name in depot.copy_depot_metadata_from(&origin.depot)? {
                let (file, shown) = (text::path(&origin.path), text::without_controls(&name));
                eprintln!("vldepot: {file}: its metadata {shown:?} differ, and are left out");
                differing.push(name);
            }
            // Records that another depot takes the place of are not even copied.
            let keys = origin.depot.keys().map(|key| {
                let key = key?;
                if !wanted.takes(&key) {
                    count.add(1);
                    return Ok(None);
                }
                let new = origin.new_name(&key);
                let is_passed = if self.ignore_duplicates {
                    depot.contains(&new)? || others.twice(at, &key, &new)?
                } else {
                    self.replace
                        && (others.any(at + 1..origins.len(), &new)? || others.twice(at, &key, &new)?)
                };
                if is_passed {
                    passed += 1;
                    count.add(1);
                    return Ok(None);
                }
                Ok(Some(key))
            });
            copied += origin.copy(keys.filter_map(Result::transpose), depot, &count)?;
        }
        drop(count);
        let records = depot.len();
        let size = target.finish(&self.output)?;
        if self.json {
            let report = json!({
                "copied": copied,
                "left_out": passed,
                "records": records,
                "file_bytes": size,
                "metadata_left_out": differing,
                "losses": losses,
            });
            writeln!(out, "{report}")?;
            return Ok(());
        }
        let (file, records) = (text::path(&self.output), text::count(records, "record"));
        let passed =
            if passed == 0 { String::new() } else { format!(", {} left out", text::grouped(passed)) };
        let copied = text::grouped(copied);
        let depots = text::count(origins.len() as u64, "depot");
        let size = text::bytes(size);
        progress::tell(out, format_args!("{file}: {copied} copied from {depots}{passed}; {records}, {size}"))
    }
}

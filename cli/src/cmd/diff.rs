//! `vldepot diff`: in which records two depots differ.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use vldepot::{Depot, Key, OpenOptions, Raw};

use super::Run;
use crate::failure::Failure;
use crate::progress::{self, Count};
use crate::records::{Names, Wanted};
use crate::text;

/// Print which records only one of two depots has, and which differ in bytes or metadata.
///
/// `- NAME` is in the first only, `+ NAME` in the second only, `~ NAME` in both. The order of records does
/// not count. Lengths and checksums are in the index: records are read only where one of the files has no
/// checksums. The exit code is 5 if there is a difference. With --quiet, that is all, and the first
/// difference ends the command.
#[derive(Args)]
pub(crate) struct Diff {
    /// The first depot.
    first: PathBuf,
    /// The second depot.
    second: PathBuf,
    #[command(flatten)]
    names: Names,
    /// Read the records whose lengths and checksums agree, and compare their bytes.
    #[arg(long, short)]
    bytes: bool,
    /// Print one JSON object per line.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// In what two records differ.
#[derive(Clone, Copy)]
struct Unlike {
    bytes: bool,
    metadata: bool,
}

/// How many records differ, and how.
#[derive(Default)]
struct Found {
    first_only: u64,
    second_only: u64,
    differ: u64,
    same: u64,
    /// Differences that are not of records.
    others: u64,
}

impl Found {
    fn any(&self) -> bool {
        self.first_only + self.second_only + self.differ + self.others > 0
    }
}

impl Diff {
    fn open(path: &PathBuf) -> Result<Depot<Raw>, Failure> {
        let options = OpenOptions::default().with_accept_loss(true);
        Ok(Depot::builder(Raw).open_options(options).open(path)?)
    }

    fn compare(&self, first: &Depot<Raw>, second: &Depot<Raw>, key: &Key) -> Result<Unlike, Failure> {
        let (one, other) = (first.location(key)?, second.location(key)?);
        let bytes = one.length != other.length
            || match (one.checksum, other.checksum) {
                (Some(one), Some(other)) if one != other => true,
                (Some(_), Some(_)) if !self.bytes => false,
                _ => first.get(key)?.as_bytes() != second.get(key)?.as_bytes(),
            };
        Ok(Unlike { bytes, metadata: !first.has_metadata_of(key, second, key)? })
    }

    /// Prints a line for a record.
    fn tell(&self, key: &Key, change: Change, out: &mut dyn Write) -> Result<(), Failure> {
        if progress::is_quiet() {
            return Err(Failure::different());
        }
        if self.json {
            let (kind, name) = text::json_name(key);
            let mut line = json!({ "name": name, "type": kind, "change": change.name() });
            if let Change::Differs(unlike) = change {
                line["bytes"] = unlike.bytes.into();
                line["metadata"] = unlike.metadata.into();
            }
            writeln!(out, "{line}")?;
            return Ok(());
        }
        let name = text::name(key);
        match change {
            Change::FirstOnly => writeln!(out, "- {name}")?,
            Change::SecondOnly => writeln!(out, "+ {name}")?,
            Change::Differs(Unlike { bytes: true, metadata: true }) => {
                writeln!(out, "~ {name}  (bytes, metadata)")?;
            }
            Change::Differs(Unlike { bytes: true, .. }) => writeln!(out, "~ {name}  (bytes)")?,
            Change::Differs(_) => writeln!(out, "~ {name}  (metadata)")?,
        }
        Ok(())
    }

    /// Prints a line for what the depots themselves differ in.
    fn tell_other(&self, what: &str, name: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
        if progress::is_quiet() {
            return Err(Failure::different());
        }
        if self.json {
            writeln!(out, "{}", json!({ "change": what, "entry": name }))?;
        } else {
            let name = name.map_or(String::new(), |name| format!(" {}", text::without_controls(name)));
            writeln!(out, "~ the {what}{name}")?;
        }
        Ok(())
    }

    fn records(
        &self,
        (first, second): (&Depot<Raw>, &Depot<Raw>),
        wanted: &Wanted,
        found: &mut Found,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let count = Count::new("comparing", first.len() + second.len());
        for key in first.keys() {
            let key = key?;
            count.add(1);
            if !wanted.takes(&key) {
                continue;
            }
            if !second.contains(&key)? {
                found.first_only += 1;
                self.tell(&key, Change::FirstOnly, out)?;
                continue;
            }
            let unlike = self.compare(first, second, &key)?;
            if unlike.bytes || unlike.metadata {
                found.differ += 1;
                self.tell(&key, Change::Differs(unlike), out)?;
            } else {
                found.same += 1;
            }
        }
        for key in second.keys() {
            let key = key?;
            count.add(1);
            if wanted.takes(&key) && !first.contains(&key)? {
                found.second_only += 1;
                self.tell(&key, Change::SecondOnly, out)?;
            }
        }
        Ok(())
    }
}

/// What became of a record between the first depot and the second.
#[derive(Clone, Copy)]
enum Change {
    FirstOnly,
    SecondOnly,
    Differs(Unlike),
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::FirstOnly => "removed",
            Self::SecondOnly => "added",
            Self::Differs(_) => "changed",
        }
    }
}

/// A failure if one of them lost something, which may have been alike or not.
fn complete(first: &Depot<Raw>, second: &Depot<Raw>) -> Result<(), Failure> {
    match first.incomplete().or_else(|| second.incomplete()) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

impl Run for Diff {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let wanted = self.names.get()?;
        let (first, second) = (Self::open(&self.first)?, Self::open(&self.second)?);
        if progress::is_quiet() {
            complete(&first, &second)?;
        }
        let mut found = Found::default();
        if first.stored_codec() != second.stored_codec() {
            found.others += 1;
            self.tell_other("codec", None, out)?;
        }
        for name in first.differing_depot_metadata(&second)? {
            found.others += 1;
            self.tell_other("depot's metadata", Some(&name), out)?;
        }
        self.records((&first, &second), &wanted, &mut found, out)?;
        if !self.json {
            let Found { first_only, second_only, differ, same, .. } = &found;
            let [first, second, differ, same] =
                [first_only, second_only, differ, same].map(|&n| text::grouped(n));
            progress::tell(
                out,
                format_args!(
                    "{first} only in the first, {second} only in the second, {differ} differ, {same} alike"
                ),
            )?;
        }
        complete(&first, &second)?;
        if found.any() { Err(Failure::different()) } else { Ok(()) }
    }
}

//! `vldepot subset`: copies some records of a depot to a new one.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use vldepot::{Key, Layout};

use super::Run;
use crate::failure::Failure;
use crate::progress::{self, Count};
use crate::records::{self, Few, Names, New, Origin};
use crate::text;

/// Copy some records of a depot to a new one, in their order, with their metadata and those of the depot.
///
/// The new depot appears when it is complete. It has the codec, the columns and the layout of the old one.
#[derive(Args)]
pub(crate) struct Subset {
    /// The depot.
    source: PathBuf,
    /// The new depot.
    target: PathBuf,
    #[command(flatten)]
    names: Names,
    /// Take only the names in this file, one a line as `list` prints them; `-` for standard input. The order
    /// is that of the depot.
    #[arg(long, short = 'T', value_name = "FILE")]
    names_from: Option<PathBuf>,
    /// The names of --names-from are strings that end with NUL bytes, as `list -0` prints them.
    #[arg(long, short = '0', requires = "names_from")]
    null: bool,
    /// Take only records that match this query on their scalars, names and metadata: such as
    /// `energy < -3 and n_atoms <= 50`.
    #[arg(long = "where", value_name = "QUERY")]
    query: Option<String>,
    /// Compress as this preset does, and not as the source.
    #[arg(long, value_parser = PossibleValuesParser::new(Layout::PRESETS))]
    preset: Option<String>,
    /// Do not store the fields of frames and arrays apart, so that every Blosc2 program can read the chunks.
    #[arg(long)]
    no_fields_apart: bool,
    /// Replace a depot or another file that is there.
    #[arg(long, short)]
    force: bool,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Subset {
    /// The names of --names-from, which must all be there.
    fn listed(&self, source: &Origin) -> Result<Option<HashSet<Key>>, Failure> {
        let Some(file) = &self.names_from else { return Ok(None) };
        let names: HashSet<_> = records::names_in(file, self.null)?.into_iter().collect();
        let mut missing = Few::new();
        for name in &names {
            if !source.depot.contains(name)? {
                missing.add(name);
            }
        }
        if missing.is_empty() {
            return Ok(Some(names));
        }
        let (source, count) = (text::path(&self.source), text::count(missing.all(), "name"));
        let not_there = format!("{source}: {count} of {} not there: {}", text::path(file), missing.shown());
        Err(Failure::not_found(not_there))
    }
}

impl Run for Subset {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut wanted = self.names.get()?;
        let source = Origin::open(&self.source)?;
        if records::is_same_file(&self.source, &self.target) {
            return Err(Failure::usage("the new depot must be another file than the old one"));
        }
        let mut names = self.listed(&source)?;
        if let Some(query) = &self.query {
            let found: HashSet<Key> = source.depot.select(query)?.keys().collect::<Result<_, _>>()?;
            names = Some(match names {
                Some(listed) => listed.intersection(&found).cloned().collect(),
                None => found,
            });
        }
        if let Some(names) = names {
            wanted = wanted.of(names);
        }
        let mut kept = 0;
        for key in source.depot.keys() {
            kept += u64::from(wanted.takes(&key?));
        }
        let all = source.depot.len();
        if kept == 0 && all > 0 {
            let source = text::path(&self.source);
            let all = text::count(all, "record");
            return Err(Failure::not_found(format!(
                "{source}: none of {all} is meant, so there is no new depot"
            )));
        }
        let losses = source.tell_losses()?;
        let new = New::begin(
            &self.target,
            self.force,
            &source.depot,
            self.preset.as_deref(),
            self.no_fields_apart,
        )?;
        new.depot.copy_depot_metadata_from(&source.depot)?;
        let count = Count::new("copying", kept);
        let keys = source.depot.keys().map(|key| key.map_err(Failure::from));
        let keys = keys.filter(|key| key.as_ref().map_or(true, |key| wanted.takes(key)));
        let copied = source.copy(keys, &new.depot, &count)?;
        drop(count);
        let size = new.publish(&self.target)?;
        if self.json {
            let report = json!({ "records": copied, "of": all, "file_bytes": size, "losses": losses });
            writeln!(out, "{report}")?;
            return Ok(());
        }
        let (file, of) = (text::path(&self.target), text::grouped(all));
        let records = text::count(copied, "record");
        progress::tell(out, format_args!("{file}: {records} of {of}, {}", text::bytes(size)))
    }
}

//! `vldepot list`: prints the names, one per line, in the order of the index.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use vldepot::{Depot, Key, OpenOptions, Raw, Scalar};

use super::Run;
use crate::failure::Failure;
use crate::text;

/// List the names of records, in the order of insertion.
#[derive(Args)]
pub(crate) struct List {
    /// The depot.
    file: PathBuf,
    /// Only string names that match this glob: `*` (which matches `/` too), `?`, `[a-z]`, `[!a-z]`.
    pattern: Option<String>,
    /// Only string names that start with this.
    #[arg(long, value_name = "P")]
    prefix: Option<String>,
    /// Only records that match this query on their scalars, names and metadata: such as
    /// `energy < -3 and n_atoms <= 50`. No record is read.
    #[arg(long = "where", value_name = "QUERY", conflicts_with_all = ["pattern", "prefix"])]
    query: Option<String>,
    /// Also print the length, the chunk, the offset in the chunk, the checksum, and the scalars in columns.
    #[arg(long, short)]
    long: bool,
    /// End each name with a NUL byte instead of a newline, and quote none.
    #[arg(long, short = '0', conflicts_with_all = ["long", "json"])]
    null: bool,
    /// Print one JSON object per line.
    #[arg(long, visible_alias = "jsonl", conflicts_with = "long")]
    json: bool,
}

impl Run for List {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        // A depot with losses is listed, and then reported as incomplete.
        let options = OpenOptions::default().with_accept_loss(true);
        let depot = Depot::builder(Raw).open_options(options.clone()).open(&self.file)?;
        let keys: Box<dyn Iterator<Item = _>> = match (&self.query, &self.pattern, &self.prefix) {
            (Some(query), ..) => Box::new(depot.select(query)?.keys()),
            (None, Some(pattern), _) => Box::new(depot.keys_matching(pattern)?),
            (None, None, Some(prefix)) => Box::new(depot.keys_with_prefix(prefix)),
            (None, None, None) => Box::new(depot.keys()),
        };
        if self.long {
            if depot.info()?.shards.is_some() {
                write!(out, "{:>5}  ", "shard")?;
            }
            write!(out, "{:>12}  {:>8}  {:>10}  {:8}  ", "length", "chunk", "offset", "crc32c")?;
            for column in depot.columns() {
                write!(out, "{:>20}  ", text::without_controls(&column.name))?;
            }
            writeln!(out, "name")?;
        }
        // A name that cannot be read does not stop the listing.
        let mut failed: Option<Failure> = None;
        let mut more = 0_u64;
        for key in keys {
            let printed = key
                .map_err(Failure::from)
                .and_then(|key| if self.wants(&key) { self.print(&depot, &key, out) } else { Ok(()) });
            match printed {
                Err(failure) if failure.is_quiet() => return Err(failure),
                Err(_) if failed.is_some() => more += 1,
                Err(failure) => failed = Some(failure),
                Ok(()) => {}
            }
        }
        match failed {
            Some(failure) if more > 0 => {
                Err(failure.with_hint(&format!("and {}", text::more(more, "error"))))
            }
            Some(failure) => Err(failure),
            None => depot.incomplete().map_or(Ok(()), |error| Err(error.into())),
        }
    }
}

impl List {
    /// Checks the prefix if there is also a pattern. The depot takes one or the other, not both.
    fn wants(&self, key: &Key) -> bool {
        match (&self.prefix, key) {
            (None, _) => true,
            (Some(prefix), Key::Str(name)) => name.starts_with(prefix.as_str()),
            (Some(_), _) => false,
        }
    }

    fn print(&self, depot: &Depot<Raw>, key: &Key, out: &mut dyn Write) -> Result<(), Failure> {
        if self.null {
            match key {
                Key::Str(name) => out.write_all(name.as_bytes())?,
                Key::Bytes(name) => out.write_all(name)?,
                key => write!(out, "{key}")?,
            }
            out.write_all(b"\0")?;
        } else if self.json {
            print_json(depot, key, out)?;
        } else if self.long {
            let at = depot.location(key)?;
            let checksum = at.checksum.map_or("-".into(), |checksum| format!("{checksum:08x}"));
            let name = text::name(key);
            if let Some(shard) = at.shard {
                write!(out, "{shard:>5}  ")?;
            }
            write!(out, "{:>12}  {:>8}  {:>10}  {checksum:8}  ", at.length, at.chunk, at.offset)?;
            for value in depot.scalars(key)? {
                let value = match value {
                    None => "-".to_owned(),
                    Some(Scalar::Integer(value)) => value.to_string(),
                    Some(Scalar::Float(value)) => format!("{value:?}"),
                };
                write!(out, "{value:>20}  ")?;
            }
            writeln!(out, "{name}")?;
        } else {
            writeln!(out, "{}", text::name(key))?;
        }
        Ok(())
    }
}

pub(super) fn print_json(depot: &Depot<Raw>, key: &Key, out: &mut dyn Write) -> Result<(), Failure> {
    let (kind, name) = text::json_name(key);
    let at = depot.location(key)?;
    let checksum = json!(at.checksum);
    let metadata = depot
        .metadata::<serde_json::Value>(key)?
        .map_or(String::new(), |metadata| format!(",\"metadata\":{metadata}"));
    let scalars = if depot.columns().is_empty() {
        String::new()
    } else {
        format!(",\"scalars\":{}", Value::Object(scalars(depot, key)?))
    };
    let shard = at.shard.map_or(String::new(), |shard| format!("\"shard\":{shard},"));
    // Written by hand, so that the name comes first.
    write!(out, "{{\"name\":{name},\"type\":\"{kind}\",\"length\":{},", at.length)?;
    write!(out, "{shard}\"chunk\":{},", at.chunk)?;
    writeln!(out, "\"offset\":{},\"checksum\":{checksum}{scalars}{metadata}}}", at.offset)?;
    Ok(())
}

/// The scalars that the record has, by the names of their columns. JSON has no NaN: it is text.
fn scalars(depot: &Depot<Raw>, key: &Key) -> Result<Map<String, Value>, Failure> {
    let mut scalars = Map::new();
    for (column, value) in depot.columns().iter().zip(depot.scalars(key)?) {
        let value = match value {
            None => continue,
            Some(Scalar::Float(value)) if !value.is_finite() => json!(value.to_string().to_lowercase()),
            Some(value) => json!(value),
        };
        scalars.insert(column.name.to_string(), value);
    }
    Ok(scalars)
}

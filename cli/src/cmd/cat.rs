//! `vldepot cat`: one record, its bytes as they are or shown for people.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vldepot::{Depot, Key, Raw};

use super::Run;
use crate::failure::Failure;
use crate::print::{self, Shown};
use crate::text;

/// Write a record's bytes, unchanged, or what they mean.
#[derive(Args)]
pub(crate) struct Cat {
    /// The depot.
    file: PathBuf,
    /// The record's name.
    #[arg(allow_negative_numbers = true)]
    name: String,
    /// What the name is: a string, an integer in digits, or a byte string in hexadecimal digits.
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = Type::Str)]
    kind: Type,
    /// Show what the record means, by the codec that the depot names.
    #[arg(long, short)]
    decoded: bool,
    /// Print every row, and every byte.
    #[arg(long, requires = "decoded", conflicts_with = "json")]
    all: bool,
    /// Show it by this codec instead: for files that name none.
    #[arg(long, value_name = "ID", requires = "decoded")]
    codec: Option<String>,
    /// With --decoded print all of it as one JSON value; errors are JSON in any case.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    Str,
    Int,
    Bytes,
}

impl Run for Cat {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let key = self.key()?;
        let depot = Depot::open(&self.file, Raw)?;
        let record = match depot.get(&key) {
            Err(error @ vldepot::Error::NotFound { .. }) => {
                let failure = Failure::from(error);
                return Err(match self.hint(&depot, &key) {
                    Some(hint) => failure.with_hint(&hint),
                    None => failure,
                });
            }
            record => record?,
        };
        if !self.decoded {
            out.write_all(record.as_bytes())?;
            return Ok(());
        }
        let stored = depot.stored_codec();
        let (id, parameters) = match &self.codec {
            Some(id) if *id != stored.id => (id.clone(), Vec::new()),
            _ => (stored.id, stored.parameters),
        };
        let printer = print::by_codec(&id).ok_or_else(|| {
            let known = print::known().collect::<Vec<_>>().join(", ");
            let id = text::without_controls(&id);
            Failure::usage(format!("records of codec `{id}` cannot be shown: choose --codec from {known}"))
        })?;
        let shown = Shown { bytes: record.as_bytes(), parameters: &parameters, all: self.all };
        let printed = if self.json { printer.json(&shown, out) } else { printer.text(&shown, out) };
        printed.map_err(|error| match error {
            print::Error::Codec(error) => Failure::other(format!(
                "{}: record {} is not what codec `{id}` holds: {error}",
                self.file.display(),
                text::name(&key)
            )),
            print::Error::Output(failure) => failure,
        })
    }
}

impl Cat {
    fn key(&self) -> Result<Key, Failure> {
        let name = &self.name;
        match self.kind {
            Type::Str => Ok(Key::Str(name.clone())),
            Type::Int => int(name).map(Key::Int).ok_or_else(|| {
                Failure::usage(format!("--type int: {name:?} is no integer from -2^63 to 2^64 - 1"))
            }),
            Type::Bytes => text::from_hex(name).map(Key::Bytes).ok_or_else(|| {
                Failure::usage(format!("--type bytes: {name:?} is no even number of hexadecimal digits"))
            }),
        }
    }

    /// The record that the user may have meant by a name that is none.
    fn hint(&self, depot: &Depot<Raw>, asked: &Key) -> Option<String> {
        let there = |key: &Key| key != asked && depot.contains(key).unwrap_or(false);
        let name = &self.name;
        if let Some(value) = int(name).filter(|&value| there(&Key::Int(value))) {
            return Some(format!("there is an integer record {value}: use --type int"));
        }
        if there(&Key::Str(name.clone())) {
            return Some(format!("there is a string record {name:?}: use --type str"));
        }
        let bytes = name.clone().into_bytes();
        let digits = text::hex(&bytes);
        let key = Key::Bytes(bytes);
        there(&key).then(|| format!("there is a byte-string record {key}: use --type bytes {digits}"))
    }
}

/// An integer that a depot can have as a name.
fn int(text: &str) -> Option<i128> {
    text.parse().ok().filter(|value| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(value))
}

//! Names on the command line: text, and the kind of name it stands for.

use clap::{Args, ValueEnum};
use vldepot::{Depot, Error, ErrorKind, Key, Raw};

use crate::failure::Failure;
use crate::text;

/// What a name on the command line is.
#[derive(Args)]
pub(crate) struct Kind {
    /// What kind of name it is: a string, an integer in decimal digits, or a byte string in hexadecimal
    /// digits.
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = Type::Str)]
    kind: Type,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    Str,
    Int,
    Bytes,
}

impl Kind {
    /// The key that `name` stands for.
    pub(crate) fn key(&self, name: &str) -> Result<Key, Failure> {
        match self.kind {
            Type::Str => Ok(Key::Str(name.to_owned())),
            Type::Int => int(name).map(Key::Int).ok_or_else(|| {
                Failure::usage(format!("--type int: {name:?} is not an integer from -2^63 to 2^64 - 1"))
            }),
            Type::Bytes => text::from_hex(name).map(Key::Bytes).ok_or_else(|| {
                Failure::usage(format!("--type bytes: {name:?} is not an even number of hexadecimal digits"))
            }),
        }
    }
}

/// The failure for the record `key`, which was given as `name`. It has a hint if a record of another
/// kind exists.
pub(crate) fn failure(error: Error, depot: &Depot<Raw>, key: &Key, name: &str) -> Failure {
    let hint = matches!(error.kind(), ErrorKind::NotFound).then(|| hint(depot, key, name)).flatten();
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.with_hint(&hint),
        None => failure,
    }
}

/// The record that the user may have meant, if the given name does not exist.
fn hint(depot: &Depot<Raw>, asked: &Key, name: &str) -> Option<String> {
    let there = |key: &Key| key != asked && depot.contains(key).unwrap_or(false);
    if let Some(value) = int(name).filter(|&value| there(&Key::Int(value))) {
        return Some(format!("there is an integer record {value}: use --type int"));
    }
    if there(&Key::Str(name.to_owned())) {
        return Some(format!("there is a string record {name:?}: use --type str"));
    }
    let bytes = name.as_bytes().to_vec();
    let digits = text::hex(&bytes);
    let key = Key::Bytes(bytes);
    there(&key).then(|| format!("there is a byte-string record {key}: use --type bytes {digits}"))
}

/// An integer that can name a record.
fn int(text: &str) -> Option<i128> {
    text.parse().ok().filter(|value| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(value))
}

//! Questions about records: expressions over scalars, names and metadata.
//!
//! ```text
//! lex        text to tokens                       eval      whether a record matches
//! parse      tokens to an expression              zones     whether any record of a segment can match
//! expr       what an expression is made of        msgpack   one value of metadata
//! ```
//!
//! It knows no index and no file. `depot` gives it the values of records.

mod eval;
mod expr;
mod lex;
mod msgpack;
mod parse;
mod zones;

pub(crate) use eval::Row;
pub(crate) use expr::{Expr, Field, Value};
pub(crate) use msgpack::lookup;
pub(crate) use parse::parse;
pub(crate) use zones::Bounds;

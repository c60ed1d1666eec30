//! Statistics of the numbers in records: made while records are put, merged, and kept in the index.
//!
//! ```text
//! summary    of numbers: count, min, max, mean, variance
//! tally      of records: a summary of each field, and how often each kind occurs
//! ```
//!
//! Codecs fill a [`Tally`] for each record. The engine merges them, and `depot` shows what comes out.

mod summary;
mod tally;

pub use summary::{Number, Summary};
pub use tally::{Kind, Kinds, Tally};

pub(crate) use tally::{MAX_KINDS, Tallied};

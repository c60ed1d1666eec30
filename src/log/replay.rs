//! What the operations of a chunk's directory do to the records.

use std::collections::BTreeMap;

use crate::format::tables::{Action, Attributes, Directory, Operation, Parameters};
use crate::index::Location;
use crate::scalar::{VALUE_LEN, no_values};

/// Where the first record that was put or begun in each chunk starts.
///
/// A writer that is killed within a record of several chunks leaves its start behind. The next writer begins
/// a new chunk, so that other records lie where that one would have gone on. Nothing else makes two records
/// overlap.
#[derive(Debug, Default)]
pub(crate) struct FirstStarts(BTreeMap<u64, u32>);

impl FirstStarts {
    /// Notes the directory of a chunk, or of what a LOG entry adds to one.
    pub(crate) fn note(&mut self, chunk: u64, directory: &Directory) {
        let starts = |action| matches!(action, Action::Put { .. } | Action::Begin);
        if directory.operations.iter().any(|operation| starts(operation.action)) {
            self.0.entry(chunk).or_insert(directory.first_start);
        }
    }

    /// Whether a record was cut short, and is none.
    pub(crate) fn cut_short(&self, location: &Location, parameters: &Parameters) -> bool {
        let chunk_size = (parameters.chunk_size as u64).max(1);
        let (own, last) = chunks_of(location, parameters);
        own < last
            && self.0.range(own + 1..=last).any(|(chunk, first_start)| {
                chunk.saturating_mul(chunk_size).saturating_add(u64::from(*first_start)) < location.end()
            })
    }
}

/// The first and the last chunk that a record has bytes in.
fn chunks_of(location: &Location, parameters: &Parameters) -> (u64, u64) {
    let chunk_of = |address: u64| address / (parameters.chunk_size as u64).max(1);
    let own = chunk_of(location.address);
    (own, chunk_of(location.end().saturating_sub(1)).max(own))
}

/// Whether a record goes on in the next chunk.
pub(crate) fn goes_on(location: &Location, parameters: &Parameters) -> bool {
    let (own, last) = chunks_of(location, parameters);
    own < last
}

/// The operations of the directory of chunk number `chunk`.
///
/// Each comes with the place that its record has afterwards, or with `None` if the record is removed. Its
/// attributes have a value for each column of the depot, which is absent if the directory has other columns.
pub(crate) fn replay<'d>(
    directory: &'d Directory,
    chunk: u64,
    parameters: &Parameters,
) -> impl Iterator<Item = (&'d Operation, Option<Location>, Attributes<'d>)> {
    let n_columns = parameters.columns.len();
    let align = parameters.align as u64;
    let chunk_start = chunk.saturating_mul(parameters.chunk_size as u64);
    let mut next = chunk_start.saturating_add(u64::from(directory.first_start));
    directory.operations.iter().filter_map(move |operation| {
        let location = match operation.action {
            Action::Begin => return None,
            Action::Remove => None,
            Action::Metadata { address, length, checksum } | Action::Named { address, length, checksum } => {
                Some(Location { address, length, checksum, flags: 0 })
            }
            Action::Put { length, checksum } => {
                let in_chunk = (next - chunk_start).checked_next_multiple_of(align).unwrap_or(u64::MAX);
                let start = chunk_start.saturating_add(in_chunk);
                let location = Location { address: start, length: u64::from(length), checksum, flags: 0 };
                next = location.end();
                Some(location)
            }
        };
        let mut attributes = operation.attributes.lend();
        if attributes.scalars.len() != VALUE_LEN * n_columns {
            attributes.scalars = no_values(n_columns);
        }
        Some((operation, location, attributes))
    })
}

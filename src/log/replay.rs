//! What the operations of a chunk's directory do to the records.

use crate::format::tables::{Action, Attributes, Directory, Operation, Parameters};
use crate::index::Location;
use crate::scalar::{VALUE_LEN, no_values};

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
    directory.operations.iter().map(move |operation| {
        let location = match operation.action {
            Action::Remove => None,
            Action::Metadata { address, length, checksum } => {
                Some(Location { address, length, checksum, flags: 0 })
            }
            Action::Put { length, checksum } => {
                let in_chunk = (next - chunk_start).checked_next_multiple_of(align).unwrap_or(u64::MAX);
                let start = chunk_start.saturating_add(in_chunk);
                let location = Location { address: start, length, checksum, flags: 0 };
                next = location.end();
                Some(location)
            }
        };
        let mut attributes = operation.attributes.lend();
        if attributes.scalars.len() != VALUE_LEN * n_columns {
            attributes.scalars = no_values(n_columns);
        }
        (operation, location, attributes)
    })
}

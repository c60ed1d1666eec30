//! The Flatbuffers tables of `schemas/depot.fbs` as plain structs, one file per table.
//!
//! Callers check a checksum over the bytes before they decode. The Flatbuffers verifier runs nevertheless.
//!
//! ```text
//! parameters   how the depot is laid out             commit      the state of the depot at one moment
//! segment      the head of an index segment          directory   what an entry did to names
//! losses       what the depot lost               statistics  those in the head of a segment
//! ```

mod commit;
mod directory;
mod losses;
mod parameters;
mod segment;
mod statistics;
mod varint;

pub(crate) use commit::{Commit, SegmentRef};
pub(crate) use directory::{Action, Attributes, Directory, DirectoryBuilder, Operation, OwnedAttributes};
pub(crate) use losses::{Loss, LossKind, Losses};
pub(crate) use parameters::{Parameters, Shard};
pub(crate) use segment::{Absent, Column, Order, SECTIONS, Section, SegmentHead, lay_out};
pub(crate) use statistics::Zone;

use flatbuffers::InvalidFlatbuffer;

use super::generated::vldepot::format as fbs;

fn broken(error: &InvalidFlatbuffer) -> String {
    format!("a malformed Flatbuffers table ({error})")
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::parameters::tests::parameters;
    use super::*;

    #[test]
    fn noise_is_refused_without_a_panic() {
        let mut bytes = parameters().encode();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] ^= flip;
                let _ = Parameters::decode(&bytes);
                let _ = Commit::decode(&bytes);
                let _ = Directory::decode(&bytes);
                let _ = SegmentHead::decode(&bytes);
                bytes[at] ^= flip;
            }
        }
    }
}

//! What a reader of a format gives: frames, and what their atoms are.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::Fault;
use crate::codecs::{AnyArray, AtomicFrame, Topology, Units};

/// What does not change from frame to frame: a record of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Structure {
    /// The record: the topology, and further arrays of the atoms.
    pub record: AtomicFrame<'static>,
    /// What is text, such as the names of the chains that the array `chain` of the record counts.
    pub metadata: Map<String, Value>,
}

/// A frame of a file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The frame, with arrays that the reader lends.
    pub frame: AtomicFrame<'a>,
    /// What the atoms of this frame and of the next ones are. `None` if that is as before, and an empty one
    /// if nothing is known of them any more.
    pub structure: Option<Cow<'a, Structure>>,
    /// What is text.
    pub metadata: Option<Map<String, Value>>,
}

impl<'a> From<AtomicFrame<'a>> for Entry<'a> {
    fn from(frame: AtomicFrame<'a>) -> Self {
        Self { frame, structure: None, metadata: None }
    }
}

/// The frames of a format, in one pass.
pub(super) trait Frames: Send {
    /// The next frame. `None` at the end.
    fn next(&mut self) -> Result<Option<Entry<'_>>, Fault>;

    /// How many bytes are read.
    fn at(&self) -> u64;

    /// The units of the numbers.
    fn units(&self) -> Units;

    /// Whether types are atomic numbers, and not ids.
    fn has_elements(&self) -> bool {
        false
    }

    /// Whether single precision holds what the file has, although numbers are given in double precision.
    fn is_single(&self) -> bool {
        false
    }

    /// What is known of the file that has no place in a frame, under a name.
    fn about(&self) -> Option<(&'static str, Value)> {
        None
    }
}

impl Structure {
    /// The types of a frame as a structure, if it has any.
    pub(super) fn of_types(frame: &AtomicFrame<'_>) -> Option<Self> {
        let types: Vec<i32> = match frame.types.as_ref()? {
            AnyArray::I32(types) => types.iter().copied().collect(),
            _ => return None,
        };
        let record = AtomicFrame::new().n_atoms(types.len()).topology(Topology::new().types(types));
        Some(Self { record, metadata: Map::new() })
    }
}

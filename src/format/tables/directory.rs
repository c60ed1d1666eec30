//! The directory of a CHUNK or LOG entry: what the entry did to names, in columns.

use flatbuffers::FlatBufferBuilder;

use super::{broken, fbs};
use crate::format::growth::{Fault, unknown_field};
use crate::le::u32_at;

/// What an entry did to one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The record is the next `length` bytes of the chunk, from the next aligned place.
    Put { length: u32, checksum: u32 },
    /// The record was removed.
    Remove,
    /// The record keeps its bytes and gets other metadata.
    Metadata { address: u64, length: u32, checksum: u32 },
}

/// One line of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The tagged name, see [`crate::key`].
    pub(crate) name: Vec<u8>,
    pub(crate) action: Action,
    /// MessagePack metadata.
    pub(crate) metadata: Option<Vec<u8>>,
}

/// The operations of one CHUNK or LOG entry, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Directory {
    /// Where the first record put here starts in the chunk.
    pub(crate) first_start: u32,
    pub(crate) operations: Vec<Operation>,
}

/// Fields of the table that this version knows.
const KNOWN_FIELDS: u16 = 10;

const PUT: u8 = 0;
const REMOVE: u8 = 1;
const METADATA: u8 = 2;

/// Collects a directory in the columns that it is stored in.
#[derive(Debug, Clone, Default)]
pub(crate) struct DirectoryBuilder {
    /// Where the first record put here starts in the chunk.
    pub(crate) first_start: u32,
    kinds: Vec<u8>,
    name_lengths: Vec<u32>,
    names: Vec<u8>,
    lengths: Vec<u32>,
    checksums: Vec<u32>,
    /// Two words for each [`Action::Metadata`].
    moved: Vec<u64>,
    metadata_at: Vec<u32>,
    metadata_lengths: Vec<u32>,
    metadata: Vec<u8>,
}

impl DirectoryBuilder {
    /// Appends a line.
    pub(crate) fn push(&mut self, name: &[u8], action: Action, metadata: Option<&[u8]>) {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if let Some(value) = metadata {
            self.metadata_at.push(small(self.kinds.len()));
            self.metadata_lengths.push(small(value.len()));
            self.metadata.extend_from_slice(value);
        }
        self.name_lengths.push(small(name.len()));
        self.names.extend_from_slice(name);
        self.kinds.push(match action {
            Action::Put { length, checksum } => {
                self.lengths.push(length);
                self.checksums.push(checksum);
                PUT
            }
            Action::Remove => REMOVE,
            Action::Metadata { address, length, checksum } => {
                self.moved.extend([address, u64::from(length) | u64::from(checksum) << 32]);
                METADATA
            }
        });
    }

    /// Whether there are no lines.
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The table as bytes, not yet compressed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let all_puts = self.kinds.iter().all(|&kind| kind == PUT);
        let mut builder = FlatBufferBuilder::new();
        let optional = |builder: &mut FlatBufferBuilder<'_>, v: &[u32]| {
            (!v.is_empty()).then(|| flatbuffers::WIPOffset::new(builder.create_vector(v).value()))
        };
        let args = fbs::ChunkDirectoryArgs {
            first_start: self.first_start,
            kinds: (!all_puts).then(|| builder.create_vector(&self.kinds)),
            name_lengths: Some(builder.create_vector(&self.name_lengths)),
            names: Some(builder.create_vector(&self.names)),
            lengths: Some(builder.create_vector(&self.lengths)),
            checksums: Some(builder.create_vector(&self.checksums)),
            metadata_at: optional(&mut builder, &self.metadata_at),
            metadata_lengths: optional(&mut builder, &self.metadata_lengths),
            metadata: (!self.metadata.is_empty()).then(|| builder.create_vector(&self.metadata)),
            moved: (!self.moved.is_empty()).then(|| builder.create_vector(&self.moved)),
        };
        let table = fbs::ChunkDirectory::create(&mut builder, &args);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }
}

impl Directory {
    /// The columns of this directory.
    #[cfg(any(test, all(feature = "testing", feature = "atomic", feature = "json")))]
    pub(crate) fn to_builder(&self) -> DirectoryBuilder {
        let mut builder = DirectoryBuilder { first_start: self.first_start, ..DirectoryBuilder::default() };
        for Operation { name, action, metadata } in &self.operations {
            builder.push(name, *action, metadata.as_deref());
        }
        builder
    }

    /// Reads the table.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let options = flatbuffers::VerifierOptions { max_apparent_size: 1 << 31, ..Default::default() };
        let table = flatbuffers::root_with_opts::<fbs::ChunkDirectory<'_>>(&options, bytes)
            .map_err(|e| broken(&e))?;
        // What a field says of the operations cannot be left out.
        if let Some(field) = unknown_field(&table._tab, KNOWN_FIELDS) {
            return Err(Fault::newer("field", &format_args!("{field} of a directory")));
        }
        let short = || "columns of different lengths".to_owned();
        let name_lengths = table.name_lengths().unwrap_or_default();
        let kinds = table.kinds();
        if kinds.is_some_and(|kinds| kinds.len() != name_lengths.len()) {
            return Err(short().into());
        }
        let mut names = table.names().map(|v| v.bytes()).unwrap_or_default();
        let mut metadata = table.metadata().map(|v| v.bytes()).unwrap_or_default();
        let mut lengths = table.lengths().unwrap_or_default().iter();
        let mut checksums = table.checksums().unwrap_or_default().iter();
        let mut moved = table.moved().unwrap_or_default().iter();
        let metadata_at = table.metadata_at().unwrap_or_default();
        let mut noted = metadata_at.iter().zip(table.metadata_lengths().unwrap_or_default()).peekable();
        let mut operations = Vec::with_capacity(name_lengths.len());
        for (number, name_length) in name_lengths.iter().enumerate() {
            let (name, rest) = names.split_at_checked(name_length as usize).ok_or_else(short)?;
            names = rest;
            let action = match kinds.map_or(PUT, |kinds| kinds.get(number)) {
                PUT => Action::Put {
                    length: lengths.next().ok_or_else(short)?,
                    checksum: checksums.next().ok_or_else(short)?,
                },
                REMOVE => Action::Remove,
                METADATA => {
                    let (address, word) = moved.next().zip(moved.next()).ok_or_else(short)?;
                    let halves = word.to_le_bytes();
                    let half = |at: usize| u32_at(&halves, at).unwrap_or(0);
                    Action::Metadata { address, length: half(0), checksum: half(4) }
                }
                other => return Err(Fault::newer("operation", &other)),
            };
            let noted = noted.next_if(|(at, _)| *at as usize == number);
            let value = noted
                .map(|(_, length)| {
                    let (value, rest) = metadata.split_at_checked(length as usize).ok_or_else(short)?;
                    metadata = rest;
                    Ok::<_, Fault>(value.to_vec())
                })
                .transpose()?;
            operations.push(Operation { name: name.to_vec(), action, metadata: value });
        }
        if !names.is_empty() || lengths.next().is_some() || noted.next().is_some() {
            return Err(short().into());
        }
        Ok(Self { first_start: table.first_start(), operations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_back_with_every_kind_of_line() {
        let directory = Directory {
            first_start: 64,
            operations: vec![
                Operation {
                    name: b"a".to_vec(),
                    action: Action::Put { length: 7, checksum: 1 },
                    metadata: None,
                },
                Operation { name: vec![], action: Action::Remove, metadata: None },
                Operation {
                    name: b"c".to_vec(),
                    action: Action::Metadata { address: 1 << 40, length: 3, checksum: u32::MAX },
                    metadata: Some(vec![0xc0]),
                },
                Operation {
                    name: b"d".to_vec(),
                    action: Action::Put { length: 0, checksum: 0 },
                    metadata: Some(vec![]),
                },
            ],
        };
        assert_eq!(Directory::decode(&directory.to_builder().encode()), Ok(directory));
        assert_eq!(Directory::decode(&DirectoryBuilder::default().encode()), Ok(Directory::default()));
    }
}

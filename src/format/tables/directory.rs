//! The directory of a CHUNK or LOG entry: what the entry did to names, in columns.

use flatbuffers::FlatBufferBuilder;

use super::{broken, fbs};
use crate::format::growth::{Fault, unknown_field};
use crate::le::u32_at;
use crate::scalar::{VALUE_LEN, push_value, value_of};

/// What an entry did to one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The record is the next `length` bytes of the chunk, from the next aligned place.
    Put { length: u32, checksum: u32 },
    /// The record was removed.
    Remove,
    /// The record keeps its bytes and gets other metadata.
    Metadata { address: u64, length: u64, checksum: u32 },
    /// Bytes start at `first_start` whose length and name are not known yet. The name is empty.
    Begin,
    /// The record has bytes that were begun before.
    Named { address: u64, length: u64, checksum: u32 },
}

impl Action {
    /// Whether there is a record of that name afterwards.
    fn leaves_record(self) -> bool {
        !matches!(self, Self::Remove | Self::Begin)
    }
}

/// What a directory and the index keep of a record, besides its name and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes<'a> {
    /// MessagePack metadata.
    pub(crate) metadata: Option<&'a [u8]>,
    /// A [row](crate::scalar::row) with a value for each column of the depot.
    pub(crate) scalars: &'a [u8],
}

impl Attributes<'_> {
    /// How many bytes they have.
    pub(crate) fn len(&self) -> usize {
        self.metadata.map_or(0, <[u8]>::len) + self.scalars.len()
    }

    pub(crate) fn to_owned(self) -> OwnedAttributes {
        OwnedAttributes { metadata: self.metadata.map(<[u8]>::to_vec), scalars: self.scalars.to_vec() }
    }
}

/// [`Attributes`] that own their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OwnedAttributes {
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) scalars: Vec<u8>,
}

impl OwnedAttributes {
    pub(crate) fn lend(&self) -> Attributes<'_> {
        Attributes { metadata: self.metadata.as_deref(), scalars: &self.scalars }
    }
}

/// One line of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The tagged name, see [`crate::key`].
    pub(crate) name: Vec<u8>,
    pub(crate) action: Action,
    pub(crate) attributes: OwnedAttributes,
}

/// The operations of one CHUNK or LOG entry, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Directory {
    /// Where the first record put here starts in the chunk.
    pub(crate) first_start: u32,
    pub(crate) operations: Vec<Operation>,
}

/// Fields of the table that this version knows.
const KNOWN_FIELDS: u16 = 12;

/// Bits of an address, and the first of the bits that belong to a length.
const ADDRESS_BITS: u32 = 48;
const LENGTH_SHIFT: u32 = 56;

const PUT: u8 = 0;
const REMOVE: u8 = 1;
const METADATA: u8 = 2;
const BEGIN: u8 = 3;
const NAMED: u8 = 4;

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
    /// Two words for each [`Action::Metadata`] and [`Action::Named`].
    moved: Vec<u64>,
    metadata_at: Vec<u32>,
    metadata_lengths: Vec<u32>,
    metadata: Vec<u8>,
    /// Rows of scalars, one after the other.
    scalars: Vec<u8>,
    n_rows: usize,
}

impl DirectoryBuilder {
    /// Appends a line.
    pub(crate) fn push(&mut self, name: &[u8], action: Action, attributes: Attributes<'_>) {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if action.leaves_record() {
            self.scalars.extend_from_slice(attributes.scalars);
            self.n_rows += 1;
        }
        if let Some(value) = attributes.metadata {
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
                self.moved.extend(moved_words(address, length, checksum));
                METADATA
            }
            Action::Begin => BEGIN,
            Action::Named { address, length, checksum } => {
                self.moved.extend(moved_words(address, length, checksum));
                NAMED
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
        let (scalars, absent) = split_rows(&self.scalars, self.n_rows);
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
            scalars: (!scalars.is_empty()).then(|| builder.create_vector(&scalars)),
            scalars_absent: absent.contains(&1).then(|| builder.create_vector(&absent)),
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
        for Operation { name, action, attributes } in &self.operations {
            builder.push(name, *action, attributes.lend());
        }
        builder
    }

    /// How many scalars each record has; `None` if no operation leaves a record.
    pub(crate) fn n_columns(&self) -> Option<usize> {
        let mut left = self.operations.iter().filter(|operation| operation.action.leaves_record());
        left.next().map(|operation| operation.attributes.scalars.len() / VALUE_LEN)
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
        let n_rows = match kinds {
            Some(kinds) => kinds.iter().filter(|&kind| kind != REMOVE && kind != BEGIN).count(),
            None => name_lengths.len(),
        };
        let scalars = table.scalars().map(|v| v.bytes()).unwrap_or_default();
        let absent = table.scalars_absent().map(|v| v.bytes()).unwrap_or_default();
        let (rows, row_len) = join_rows(scalars, absent, n_rows)?;
        let mut rows = rows.chunks_exact(row_len.max(1));
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
                kind @ (METADATA | NAMED) => {
                    let words = moved.next().zip(moved.next()).ok_or_else(short)?;
                    let (address, length, checksum) = moved_from(words)?;
                    if kind == METADATA {
                        Action::Metadata { address, length, checksum }
                    } else {
                        Action::Named { address, length, checksum }
                    }
                }
                BEGIN => Action::Begin,
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
            let scalars = if action.leaves_record() { rows.next() } else { None };
            let attributes =
                OwnedAttributes { metadata: value, scalars: scalars.unwrap_or_default().to_vec() };
            operations.push(Operation { name: name.to_vec(), action, attributes });
        }
        if !names.is_empty() || lengths.next().is_some() || noted.next().is_some() {
            return Err(short().into());
        }
        Ok(Self { first_start: table.first_start(), operations })
    }
}

/// The two words of a place: as in a location of the index, the highest bits of the length come with the
/// address.
fn moved_words(address: u64, length: u64, checksum: u32) -> [u64; 2] {
    let low = length & u64::from(u32::MAX);
    [address | length >> 32 << LENGTH_SHIFT, low | u64::from(checksum) << 32]
}

fn moved_from((word, low): (u64, u64)) -> Result<(u64, u64, u32), Fault> {
    let layout = word >> ADDRESS_BITS & 0xff;
    if layout != 0 {
        return Err(Fault::newer("record layout", &(layout >> 1)));
    }
    let halves = low.to_le_bytes();
    let half = |at: usize| u32_at(&halves, at).unwrap_or(0);
    let address = word & ((1 << ADDRESS_BITS) - 1);
    Ok((address, word >> LENGTH_SHIFT << 32 | u64::from(half(0)), half(4)))
}

/// The columns of rows of scalars: the bytes of the differences, and which values are absent.
fn split_rows(rows: &[u8], n_rows: usize) -> (Vec<u8>, Vec<u8>) {
    let row_len = rows.len().checked_div(n_rows).unwrap_or(0);
    let n_columns = row_len / VALUE_LEN;
    let (mut bytes, mut absent) = (vec![0; 8 * n_rows * n_columns], vec![0; n_rows * n_columns]);
    if bytes.is_empty() {
        return (bytes, absent);
    }
    for (nth, (column, absent)) in
        bytes.chunks_exact_mut(8 * n_rows).zip(absent.chunks_exact_mut(n_rows)).enumerate()
    {
        let mut before = 0_u64;
        for (number, row) in rows.chunks_exact(row_len).enumerate() {
            let value = value_of(row, nth);
            absent[number] = u8::from(value.is_none());
            let value = value.unwrap_or(before);
            for (plane, byte) in value.wrapping_sub(before).to_le_bytes().into_iter().enumerate() {
                column[plane * n_rows + number] = byte;
            }
            before = value;
        }
    }
    (bytes, absent)
}

/// The rows that [`split_rows`] took apart, and the length of each.
fn join_rows(bytes: &[u8], absent: &[u8], n_rows: usize) -> Result<(Vec<u8>, usize), Fault> {
    let n_values = bytes.len() / 8;
    let n_columns = n_values.checked_div(n_rows).unwrap_or(0);
    let fits = n_columns * n_rows * 8 == bytes.len() && (absent.is_empty() || absent.len() == n_values);
    if !fits {
        return Err("scalars of another number of records".into());
    }
    let mut rows = Vec::with_capacity(VALUE_LEN * n_values);
    let mut before = vec![0_u64; n_columns];
    for number in 0..n_rows {
        for (nth, before) in before.iter_mut().enumerate() {
            let byte = |plane: usize| bytes.get(8 * n_rows * nth + plane * n_rows + number).copied();
            let difference = std::array::from_fn(|plane| byte(plane).unwrap_or(0));
            *before = before.wrapping_add(u64::from_le_bytes(difference));
            let is_absent = absent.get(n_rows * nth + number).is_some_and(|&absent| absent != 0);
            push_value(&mut rows, (!is_absent).then_some(*before));
        }
    }
    Ok((rows, VALUE_LEN * n_columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [Option<u64>; 2]) -> Vec<u8> {
        let mut row = Vec::new();
        for value in values {
            push_value(&mut row, value);
        }
        row
    }

    #[test]
    fn directories_come_back_with_every_kind_of_line() {
        let rows = [[Some(7), Some(u64::MAX)], [None, Some(3)], [Some(1), None]].map(row);
        for rows in [rows, [const { Vec::new() }; 3]] {
            let line = |name: &[u8], action, metadata: Option<Vec<u8>>, row: &Vec<u8>| Operation {
                name: name.to_vec(),
                action,
                attributes: OwnedAttributes { metadata, scalars: row.clone() },
            };
            let moved = Action::Metadata { address: 1 << 40, length: 3, checksum: u32::MAX };
            let (address, length) = ((1 << 48) - 1, (1 << 40) - 1);
            let named = Action::Named { address, length, checksum: 9 };
            let directory = Directory {
                first_start: 64,
                operations: vec![
                    line(b"a", Action::Put { length: 7, checksum: 1 }, None, &rows[0]),
                    line(b"", Action::Remove, None, &Vec::new()),
                    line(b"c", moved, Some(vec![0xc0]), &rows[1]),
                    line(b"d", Action::Put { length: 0, checksum: 0 }, Some(vec![]), &rows[2]),
                    line(b"", Action::Begin, None, &Vec::new()),
                    line(b"e", named, Some(vec![0xc0]), &rows[0]),
                ],
            };
            assert_eq!(Directory::decode(&directory.to_builder().encode()), Ok(directory));
        }
        assert_eq!(Directory::decode(&DirectoryBuilder::default().encode()), Ok(Directory::default()));
    }

    #[test]
    fn scalars_of_another_number_of_records_are_refused() {
        let (bytes, absent) = split_rows(&[row([Some(1), None]), row([Some(2), None])].concat(), 2);
        assert_eq!((bytes.len(), &absent[..]), (32, &[0, 0, 1, 1][..]));
        assert!(join_rows(&bytes, &absent, 2).is_ok());
        assert!(join_rows(&bytes, &absent, 3).is_err());
        assert!(join_rows(&bytes, &absent, 0).is_err());
        assert!(join_rows(&bytes[..24], &absent, 2).is_err());
        assert!(join_rows(&bytes, &absent[..3], 2).is_err());
    }
}

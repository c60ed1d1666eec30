//! The losses of a depot, which it reports ever after.

use flatbuffers::{FlatBufferBuilder, root};

use super::{broken, fbs};
use crate::format::growth::{Fault, unknown_field};
use crate::identity;

/// A loss of records that the depot once had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) what: LossKind,
    /// Tagged names of lost records.
    pub(crate) names: Vec<Vec<u8>>,
    /// Whether more records may be lost, with unknown names.
    pub(crate) unnamed: bool,
    /// Seconds since 1970.
    pub(crate) time: i64,
}

/// How records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossKind {
    /// A commit could not be read. `offset` is where its entry was in the file at that time.
    Commit { sequence: u64, offset: u64 },
    /// A repair could not save all records.
    Repair,
}

/// The body of a LOSSES entry, with the oldest loss first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Losses(pub(crate) Vec<Loss>);

/// Fields of the tables that this version knows.
const KNOWN_FIELDS: u16 = 1;
const KNOWN_LOSS_FIELDS: u16 = 7;

/// Refuses a field that this version does not know: whoever notes another loss writes all of them anew.
fn check_fields(table: &flatbuffers::Table<'_>, known: u16) -> Result<(), Fault> {
    match unknown_field(table, known) {
        Some(field) => Err(Fault::newer("field", &format_args!("{field} of the note of a loss"))),
        None => Ok(()),
    }
}

impl Losses {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let mut offsets = Vec::with_capacity(self.0.len());
        for loss in &self.0 {
            let names = builder.create_vector(&loss.names.concat());
            let len = |name: &Vec<u8>| u32::try_from(name.len()).unwrap_or(u32::MAX);
            let name_lengths = builder.create_vector(&loss.names.iter().map(len).collect::<Vec<_>>());
            let (kind, commit, offset) = match loss.what {
                LossKind::Commit { sequence, offset } => (0, sequence, offset),
                LossKind::Repair => (1, 0, 0),
            };
            let args = fbs::LossArgs {
                kind,
                commit,
                offset,
                names: Some(names),
                name_lengths: Some(name_lengths),
                unnamed: loss.unnamed,
                time: loss.time,
            };
            offsets.push(fbs::Loss::create(&mut builder, &args));
        }
        let losses = builder.create_vector(&offsets);
        let table = fbs::Losses::create(&mut builder, &fbs::LossesArgs { losses: Some(losses) });
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    /// Reads the table. The error says what was found instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let table = root::<fbs::Losses<'_>>(bytes).map_err(|e| broken(&e))?;
        check_fields(&table._tab, KNOWN_FIELDS)?;
        table.losses().iter().flatten().map(Loss::from_table).collect::<Result<_, _>>().map(Self)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.what {
            LossKind::Commit { sequence, offset } => {
                write!(f, "commit {sequence} (at byte {offset} then) was lost with all it had")
            }
            LossKind::Repair if self.names.is_empty() => f.write_str("a repair found that some were lost"),
            LossKind::Repair => {
                write!(f, "a repair could not save {} of them", self.names.len())?;
                if self.unnamed { f.write_str(" and others that nothing names") } else { Ok(()) }
            }
        }
    }
}

impl Loss {
    /// The loss of a commit with all its records. Its entry should be at `offset`.
    pub(crate) fn of_commit(sequence: u64, offset: u64) -> Self {
        let what = LossKind::Commit { sequence, offset };
        Self { what, names: Vec::new(), unnamed: true, time: identity::now() }
    }

    /// The loss of records that a repair could not save: those called `names`, and others if `unnamed`.
    pub(crate) fn of_repair(names: Vec<Vec<u8>>, unnamed: bool) -> Self {
        Self { what: LossKind::Repair, names, unnamed, time: identity::now() }
    }

    fn from_table(table: fbs::Loss<'_>) -> Result<Self, Fault> {
        check_fields(&table._tab, KNOWN_LOSS_FIELDS)?;
        let mut rest = table.names().map(|names| names.bytes()).unwrap_or_default();
        let mut names = Vec::new();
        for length in table.name_lengths().iter().flatten() {
            let (name, more) = rest.split_at_checked(length as usize).ok_or("names longer than they are")?;
            names.push(name.to_vec());
            rest = more;
        }
        let what = match table.kind() {
            0 => LossKind::Commit { sequence: table.commit(), offset: table.offset() },
            1 => LossKind::Repair,
            other => return Err(Fault::newer("kind of loss", &other)),
        };
        Ok(Self { what, names, unnamed: table.unnamed(), time: table.time() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_later_version_is_not_dropped() {
        let mut builder = FlatBufferBuilder::new();
        let start = builder.start_table();
        builder.push_slot_always(4 + 2 * KNOWN_FIELDS, 1_u8);
        let table = builder.end_table(start);
        builder.finish_minimal(table);
        let refused = Losses::decode(builder.finished_data());
        assert_eq!(refused, Err(Fault::newer("field", &"1 of the note of a loss")));
    }

    #[test]
    fn losses_come_back() {
        let losses = Losses(vec![
            Loss {
                what: LossKind::Commit { sequence: 7, offset: 4160 },
                names: Vec::new(),
                unnamed: true,
                time: 5,
            },
            Loss {
                what: LossKind::Repair,
                names: vec![b"\x01a".to_vec(), Vec::new(), b"\x01bc".to_vec()],
                unnamed: false,
                time: -1,
            },
        ]);
        let bytes = losses.encode();
        assert_eq!(Losses::decode(&bytes), Ok(losses));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            let _ = Losses::decode(&bad);
        }
    }
}

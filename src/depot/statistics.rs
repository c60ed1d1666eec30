//! Statistics of all records, without reading any.

use crate::engine::{Engine, Moment};
use crate::error::Result;
use crate::scalar::{ScalarField, ScalarKind};
use crate::statistics::{Kinds, Summary, Tally};

/// Statistics of the records of a depot.
///
/// Its serialised form is the member `statistics` of what `vldepot info --json` prints.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Statistics {
    /// Live records.
    pub records: u64,
    /// Of each column, in their order. Always those of the live records.
    pub columns: Vec<ColumnStatistics>,
    /// Of the fields of records. `None` if the depot keeps none: the codec describes no records, the
    /// [layout](crate::Layout::statistics) leaves them out, or the file is older than they are.
    pub fields: Option<FieldStatistics>,
}

/// Statistics of one column of scalars.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ColumnStatistics {
    /// The name of the column.
    pub name: String,
    /// What kind of numbers it has.
    pub kind: ScalarKind,
    /// Records without a value.
    pub absent: u64,
    /// Of the values that are there.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub summary: Summary,
}

/// Statistics of the fields of records.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FieldStatistics {
    /// Whether these are the statistics of the live records, no more and no less. If not, `removed` and
    /// `missing` say why. Compacting with the codec makes them exact again: see
    /// [`compact_as`](crate::maintain::compact_as).
    pub exact: bool,
    /// Records that they are of.
    pub counted: u64,
    /// Records among these that are gone: removed, or replaced. Counts, min and max are then bounds of those
    /// of the live records, and mean and variance are off.
    pub removed: u64,
    /// Live records that are not among these: such as those that a killed writer left without a commit.
    pub missing: u64,
    /// A summary of each field, and how often each kind occurs.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub tally: Tally,
}

impl Statistics {
    /// The summary of a field of the records, or of a column.
    pub fn field(&self, name: &str) -> Option<&Summary> {
        let of_field = self.fields.as_ref().and_then(|fields| fields.tally.field(name));
        let of_column = || self.columns.iter().find(|column| column.name == name);
        of_field.or_else(|| of_column().map(|column| &column.summary))
    }

    /// How often each kind of a field occurs: for atomic frames, each of the `types`.
    pub fn kinds(&self, name: &str) -> Option<&Kinds> {
        self.fields.as_ref()?.tally.kinds_of(name)
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.fields.is_none()
    }

    pub(super) fn new(engine: &Engine) -> Result<Self> {
        let moment = engine.moment();
        let fields = engine.parameters().statistics.then(|| engine.tallies(&moment)).transpose()?;
        let columns = engine.parameters().columns.iter().enumerate();
        Ok(Self {
            records: moment.len(),
            columns: columns
                .map(|(nth, field)| column(engine, &moment, nth, field))
                .collect::<Result<_>>()?,
            fields: fields.map(|all| FieldStatistics {
                exact: all.is_exact(),
                counted: all.counted,
                removed: all.removed,
                missing: all.missing,
                tally: all.tally,
            }),
        })
    }
}

/// Adds up a column: by what segments say of it, and by the values in segments with dead records.
fn column(engine: &Engine, moment: &Moment, nth: usize, field: &ScalarField) -> Result<ColumnStatistics> {
    let mut statistics = ColumnStatistics {
        name: field.name.clone().into_owned(),
        kind: field.kind,
        absent: 0,
        summary: Summary::default(),
    };
    for span in Engine::spans(moment) {
        if span.whole
            && let Some(zone) = span.zones().get(nth)
        {
            statistics.summary.merge(&zone.summary);
            let there = zone.summary.count().saturating_add(zone.summary.non_finite());
            statistics.absent += span.len().saturating_sub(there);
            continue;
        }
        let mut positions = span.positions;
        while !positions.is_empty() {
            let part = positions.start..positions.end.min(positions.start + VALUES_AT_ONCE);
            positions.start = part.end;
            let values = engine.column(moment, part, nth)?;
            statistics.absent += values.n_absent() as u64;
            values.iter().flatten().for_each(|value| statistics.summary.add(value.to_f64()));
        }
    }
    Ok(statistics)
}

/// Values of a column that are in memory together.
const VALUES_AT_ONCE: u64 = 1 << 20;

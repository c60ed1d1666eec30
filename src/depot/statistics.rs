//! Statistics of all records, without reading any.

use super::Depot;
use super::record::is_aligned;
use crate::buffer::Bytes;
use crate::codec::{Codec, CodecError};
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
    /// Records among these that are gone: removed, or replaced. Counts, min and max are then bounds of those of
    /// the live records, and mean and variance are off.
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
    for span in engine.spans(moment) {
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

/// Statistics.
impl<C: Codec> Depot<C> {
    /// Count, min, max, mean and variance of the columns and of the fields of all records.
    ///
    /// No record is read: segments of the index have statistics of what is in them. Those of columns are
    /// always exact. Those of fields are bounds after records were removed or replaced, and then
    /// [`exact`](FieldStatistics::exact) is false.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    ///
    /// let depot = Depot::memory(AtomicFrameCodec::new())?;
    /// for n in 0..4_u8 {
    ///     let forces = vec![[f32::from(n), 0.0, 0.0]; 2];
    ///     depot.put(n, &AtomicFrame::new().types(&[8, 1]).forces(&forces).energy(-f64::from(n)))?;
    /// }
    /// let statistics = depot.statistics()?;
    /// let energy = statistics.field("energy").unwrap();
    /// assert_eq!((energy.min(), energy.max(), energy.mean()), (Some(-3.0), Some(0.0), Some(-1.5)));
    /// assert_eq!(statistics.field("forces").unwrap().count(), 4 * 2 * 3);
    /// assert_eq!(statistics.kinds("types").unwrap().get(8).unwrap().values, 4);
    /// assert!(statistics.fields.unwrap().exact);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`](crate::Error::is_damage) when a value of a column cannot be read.
    pub fn statistics(&self) -> Result<Statistics> {
        Statistics::new(&self.engine)
    }

    /// The statistics of a record with these bytes, if the depot keeps any and the codec gives them.
    pub(super) fn tally_of(&self, name: &[u8], bytes: &[u8]) -> Result<Option<Tally>> {
        if !self.engine.parameters().statistics || !self.codec.describes() {
            return Ok(None);
        }
        let tally = tally(&*self.codec, bytes).map_err(|error| self.codec_error(name, error))?;
        Ok(Some(tally))
    }
}

/// What `codec` says of a record with these bytes.
pub(crate) fn tally<C: Codec>(codec: &C, bytes: &[u8]) -> Result<Tally, CodecError> {
    let copy = (!is_aligned(bytes, C::ALIGN)).then(|| Bytes::copy_of(bytes));
    let view = codec.view(copy.as_deref().unwrap_or(bytes))?;
    let mut tally = Tally::default();
    codec.describe(&view, &mut tally);
    Ok(tally)
}

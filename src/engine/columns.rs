//! Scalars of records, from the columns of the index, without the records.

use std::ops::Range;

use super::Engine;
use super::find::Moment;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::index::select_live;
use crate::scalar::{Column, ScalarField, value_of};

impl Engine {
    /// The number of the column `name`.
    pub(crate) fn column_number(&self, name: &str) -> Result<usize> {
        self.find_column(name).map_err(|why| ErrorKind::InvalidOptions { why }.at(self.path_buf()))
    }

    /// The number of the column `name`, or why there is none.
    pub(crate) fn find_column(&self, name: &str) -> Result<usize, String> {
        let columns = &self.parameters().columns;
        columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let there: Vec<_> = columns.iter().map(|column| &*column.name).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            format!("no column `{name}`; the depot has {there}")
        })
    }

    /// The values of the records at `positions` of that moment in column `nth`.
    pub(crate) fn column(&self, moment: &Moment, positions: Range<u64>, nth: usize) -> Result<Column> {
        let Some(ScalarField { kind, .. }) = self.parameters().columns.get(nth) else {
            return Err(ErrorKind::InvalidOptions { why: format!("no column {nth}") }.at(self.path_buf()));
        };
        let state = &moment.state;
        let committed = positions.start..positions.end.min(state.committed_len());
        let mut column = Column::new(*kind);
        if !committed.is_empty()
            && let Err(error) = self.committed_column(moment, committed.clone(), nth, &mut column)
        {
            let rebuilt = self.rebuilt(&state.snapshot, error)?;
            column = Column::new(*kind);
            let dead_names = &state.pending.dead_names;
            let index = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
            let live = rebuilt.live(dead_names).skip(index(committed.start));
            for number in live.take(index(committed.end - committed.start)) {
                column.push(value_of(rebuilt.attributes(number).scalars, nth));
            }
        }
        let first = positions.start.max(state.committed_len());
        for position in first..positions.end {
            if let Some(place) = moment.place(position)? {
                column.push(value_of(&state.scalars(place)?, nth));
            }
        }
        Ok(column)
    }

    /// Like [`column`](Self::column), for positions of committed records, by the index.
    fn committed_column(
        &self,
        moment: &Moment,
        positions: Range<u64>,
        nth: usize,
        column: &mut Column,
    ) -> Result<()> {
        let dead = match &moment.dead {
            Some(dead) => dead,
            None => &*moment.state.tombstones()?,
        };
        let expected = positions.end - positions.start;
        let first = select_live(positions.start, dead);
        let end = select_live(positions.end - 1, dead) + 1;
        let mut dead = dead[dead.partition_point(|&dead| dead < first)..].iter().copied().peekable();
        let mut next = first;
        while next < end
            && let Some((segment, local)) = moment.state.snapshot.segment_of(next)
        {
            let stop = segment.reference.n_records.min(local + (end - next));
            segment.column(nth, local..stop, &mut |value| {
                if dead.next_if_eq(&next).is_none() {
                    column.push(value);
                }
                next += 1;
            })?;
        }
        if column.len() as u64 == expected {
            return Ok(());
        }
        // In a forged index, a commit may count more records than its segments have.
        let (offset, found) = (moment.state.snapshot.offset, column.len().to_string());
        Err(Error::damaged(self.path(), Part::Index, offset, format!("{expected} records"), found))
    }
}

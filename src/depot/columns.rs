//! Scalars of records, without the records.

use std::ops::RangeBounds;

use super::keys::Keys;
use super::range::clip;
use super::said::{Said, said};
use super::{Depot, tagged};
use crate::buffer::Bytes;
use crate::codec::Codec;
use crate::engine::Moment;
use crate::error::{ErrorKind, Result};
use crate::key::{AsKey, Key, describe};
use crate::scalar::{Column, Scalar, ScalarField, push_value, row, value_of};

use super::record::is_aligned;

/// Columns of scalars.
impl<C: Codec> Depot<C> {
    /// The scalars of records that the depot keeps in columns: those that it was
    /// [made with](crate::Layout::columns).
    ///
    /// ```
    /// use vldepot::codecs::AtomicFrameCodec;
    /// use vldepot::{Depot, Layout};
    /// let layout = Layout::default().with_columns(["step", "energy"]);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// assert_eq!(depot.columns()[1].name, "energy");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn columns(&self) -> &[ScalarField] {
        &self.engine.parameters().columns
    }

    /// One scalar of the records at a range of positions, in the order of insertion.
    ///
    /// No record is read: the values are in the index. The records are those of this moment. A range that
    /// ends after the last record is cut there. The values take 8 bytes each in memory.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Layout, Scalar};
    ///
    /// let layout = Layout::default().with_columns(["step", "energy"]);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// for step in 0..100_i32 {
    ///     let frame = AtomicFrame::new().n_atoms(2).step(step.into()).energy(-0.5 * f64::from(step));
    ///     depot.put(step, &frame)?;
    /// }
    /// let energies = depot.column("energy", ..)?;
    /// let lowest = energies.as_f64().unwrap().iter().copied().fold(f64::INFINITY, f64::min);
    /// assert_eq!(lowest, -49.5);
    /// assert_eq!(depot.column("step", 97..)?.as_i64(), Some(&[97, 98, 99][..]));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidOptions`] when the depot keeps no such column.
    /// - [`Error::is_damage`](crate::Error::is_damage) when a value cannot be read.
    pub fn column(&self, name: &str, positions: impl RangeBounds<u64>) -> Result<Column> {
        let nth = self.engine.column_number(name)?;
        let moment = self.engine.moment();
        let positions = clip(&positions, moment.len());
        self.engine.column(&moment, positions, nth)
    }

    /// The names of all records and several of their scalars, all as of one moment: what a data frame is made
    /// from.
    ///
    /// Unlike calls of [`keys`](Self::keys) and [`column`](Self::column) one after the other, rows belong
    /// together although other threads put and remove records meanwhile. The columns are in the order of
    /// `columns`.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Layout};
    ///
    /// let layout = Layout::default().with_columns(["step", "energy"]);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// depot.put("relaxed", &AtomicFrame::new().n_atoms(2).step(7).energy(-3.25))?;
    /// let (names, columns) = depot.names_and_columns(&["energy", "step"])?;
    /// assert_eq!((names[0].as_str(), columns[0].as_f64()), (Some("relaxed"), Some(&[-3.25][..])));
    /// assert_eq!(columns[1].as_i64(), Some(&[7][..]));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`column`](Self::column).
    pub fn names_and_columns(&self, columns: &[impl AsRef<str>]) -> Result<(Vec<Key>, Vec<Column>)> {
        let moment = self.engine.moment();
        let columns = self.columns_in(&moment, columns)?;
        Ok((Keys::at(&self.engine, &moment).collect::<Result<_>>()?, columns))
    }

    /// Like [`names_and_columns`](Self::names_and_columns), without the names.
    ///
    /// # Errors
    /// The errors of [`column`](Self::column).
    pub fn columns_together(&self, columns: &[impl AsRef<str>]) -> Result<Vec<Column>> {
        self.columns_in(&self.engine.moment(), columns)
    }

    fn columns_in(&self, moment: &Moment, columns: &[impl AsRef<str>]) -> Result<Vec<Column>> {
        let column =
            |name: &str| self.engine.column(moment, 0..moment.len(), self.engine.column_number(name)?);
        columns.iter().map(|name| column(name.as_ref())).collect()
    }

    /// One scalar of one record; `None` if the record does not have it. The record is not read.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Layout, Scalar};
    ///
    /// let layout = Layout::default().with_columns(["energy"]);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// depot.put("relaxed", &AtomicFrame::new().n_atoms(2).energy(-3.25))?;
    /// depot.put("raw", &AtomicFrame::new().n_atoms(2))?;
    /// assert_eq!(depot.scalar("relaxed", "energy")?, Some(Scalar::Float(-3.25)));
    /// assert_eq!(depot.scalar("raw", "energy")?, None);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and the errors of [`column`](Self::column).
    pub fn scalar(&self, key: impl AsKey, column: &str) -> Result<Option<Scalar>> {
        let nth = self.engine.column_number(column)?;
        Ok(self.scalars(key)?.into_iter().nth(nth).flatten())
    }

    /// All scalars of one record, in the order of [`columns`](Self::columns). The record is not read.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Layout, Scalar};
    ///
    /// let layout = Layout::default().with_columns(["energy", "n_atoms"]);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// depot.put("raw", &AtomicFrame::new().n_atoms(2))?;
    /// assert_eq!(depot.scalars("raw")?, [None, Some(Scalar::Integer(2))]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and [`Error::is_damage`](crate::Error::is_damage).
    pub fn scalars(&self, key: impl AsKey) -> Result<Vec<Option<Scalar>>> {
        let row = self.engine.scalars(&tagged(&self.engine, &key)?)?;
        let value = |(nth, column): (usize, &ScalarField)| {
            value_of(&row, nth).map(|bits| Scalar::of_bits(column.kind, bits))
        };
        Ok(self.columns().iter().enumerate().map(value).collect())
    }

    /// The row of scalars of a record with these bytes, which this depot's codec encoded.
    pub(super) fn scalars_of(&self, name: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
        let columns = self.columns();
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(unknown) = &self.unknown_column {
            let why = format!(
                "the depot keeps the {} `{}`, which codec `{}` does not give",
                unknown.kind,
                unknown.name,
                C::ID
            );
            return Err(ErrorKind::InvalidRecord { why }.at(self.engine.path()).of(describe(name)));
        }
        let copy = (!is_aligned(bytes, C::ALIGN)).then(|| Bytes::copy_of(bytes));
        let view =
            self.codec.view(copy.as_deref().unwrap_or(bytes)).map_err(|e| self.codec_error(name, e))?;
        self.row_of(name, &view)
    }

    /// The row of scalars of a record with this view. The codec must give all columns.
    fn row_of(&self, name: &[u8], view: &C::View<'_>) -> Result<Vec<u8>> {
        row(self.columns(), |column| self.codec.scalar(view, column))
            .map_err(|why| ErrorKind::InvalidRecord { why }.at(self.engine.path()).of(describe(name)))
    }

    /// The row of scalars of a record with these bytes, which this depot's codec encoded, and what else the
    /// codec says of it. The bytes are viewed once, and only if anything is asked for.
    pub(super) fn kept_of(&self, name: &[u8], bytes: &[u8]) -> Result<(Vec<u8>, Said)> {
        let asked = self.asked();
        if self.describer.is_some() || asked.is_nothing() || self.unknown_column.is_some() {
            return Ok((self.scalars_of(name, bytes)?, self.said_of(name, bytes)?));
        }
        let copy = (!is_aligned(bytes, C::ALIGN)).then(|| Bytes::copy_of(bytes));
        let bytes = copy.as_deref().unwrap_or(bytes);
        let view = self.codec.view(bytes).map_err(|error| self.codec_error(name, error))?;
        let row = if self.columns().is_empty() { Vec::new() } else { self.row_of(name, &view)? };
        Ok((row, said(&*self.codec, bytes, &view, asked)))
    }

    /// The row of scalars of a record that is copied from `other`, where it has the row `stored`.
    pub(super) fn scalars_copied<D: Codec>(
        &self,
        other: &Depot<D>,
        stored: &[u8],
        name: &[u8],
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        let there = |column: &ScalarField| other.columns().iter().position(|other| other == column);
        let Some(numbers) = self.columns().iter().map(there).collect::<Option<Vec<_>>>() else {
            return self.scalars_of(name, bytes);
        };
        let mut row = Vec::new();
        for nth in numbers {
            push_value(&mut row, value_of(stored, nth));
        }
        Ok(row)
    }
}

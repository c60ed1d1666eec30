//! Scalars of records, which a depot can keep in columns beside the records.
//!
//! A codec says which scalars its records have. A depot says which of these it keeps, when it is made.

use std::borrow::Cow;

use crate::le::u64_at;
use crate::named::named;

/// One number of a record, such as its energy.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
pub enum Scalar {
    /// A whole number, such as a step.
    Integer(i64),
    /// A real number, such as an energy.
    Float(f64),
}

impl Scalar {
    /// The number as `f64`. Integers beyond 2^53 are rounded.
    ///
    /// ```
    /// use vldepot::Scalar;
    /// assert_eq!(Scalar::Integer(3).to_f64(), 3.0);
    /// ```
    #[allow(clippy::cast_precision_loss, reason = "documented")]
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// The number as `i64`; `None` if it is a [`Float`](Self::Float).
    ///
    /// ```
    /// use vldepot::Scalar;
    /// assert_eq!((Scalar::Integer(3).as_i64(), Scalar::Float(3.0).as_i64()), (Some(3), None));
    /// ```
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(value),
            Self::Float(_) => None,
        }
    }

    pub(crate) fn of_bits(kind: ScalarKind, bits: u64) -> Self {
        match kind {
            ScalarKind::Integer => Self::Integer(bits.cast_signed()),
            ScalarKind::Float => Self::Float(f64::from_bits(bits)),
        }
    }
}

/// What kind of number a scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ScalarKind {
    /// `i64`.
    Integer,
    /// `f64`.
    Float,
}

named! { ScalarKind, "kind of scalar": Integer => "integer", Float => "float" }

/// The name and the kind of a scalar that records have.
///
/// ```
/// use vldepot::{ScalarField, ScalarKind};
/// const ENERGY: ScalarField = ScalarField::float("energy");
/// assert_eq!((&*ENERGY.name, ENERGY.kind), ("energy", ScalarKind::Float));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ScalarField {
    /// The name, which is that of a column too.
    pub name: Cow<'static, str>,
    /// What kind of number it is.
    pub kind: ScalarKind,
}

impl ScalarField {
    /// A whole number.
    pub const fn integer(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind: ScalarKind::Integer }
    }

    /// A real number.
    pub const fn float(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind: ScalarKind::Float }
    }
}

/// A column: one scalar of many records, in the order of the records.
///
/// [`Depot::column`](crate::Depot::column) makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    values: Values,
    /// A bit for each record up to the last one without a value.
    absent: Vec<u64>,
    n_absent: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    Integers(Vec<i64>),
    Floats(Vec<f64>),
}

impl Column {
    pub(crate) fn new(kind: ScalarKind) -> Self {
        let values = match kind {
            ScalarKind::Integer => Values::Integers(Vec::new()),
            ScalarKind::Float => Values::Floats(Vec::new()),
        };
        Self { values, absent: Vec::new(), n_absent: 0 }
    }

    /// Appends the bits of a value.
    pub(crate) fn push(&mut self, bits: Option<u64>) {
        if bits.is_none() {
            let nth = self.len();
            self.absent.resize((nth / 64 + 1).max(self.absent.len()), 0);
            self.absent[nth / 64] |= 1 << (nth % 64);
            self.n_absent += 1;
        }
        match &mut self.values {
            Values::Integers(values) => values.push(bits.unwrap_or(0).cast_signed()),
            Values::Floats(values) => values.push(bits.map_or(f64::NAN, f64::from_bits)),
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Integers(values) => values.len(),
            Values::Floats(values) => values.len(),
        }
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of a column of integers. Those that are absent are 0. `None` for floats.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.values {
            Values::Integers(values) => Some(values),
            Values::Floats(_) => None,
        }
    }

    /// The values of a column of floats. Those that are absent are NaN. `None` for integers.
    pub fn as_f64(&self) -> Option<&[f64]> {
        match &self.values {
            Values::Integers(_) => None,
            Values::Floats(values) => Some(values),
        }
    }

    /// The value of record `nth`; `None` if it has none, or if there is no such record.
    pub fn get(&self, nth: usize) -> Option<Scalar> {
        if self.is_absent(nth) {
            return None;
        }
        match &self.values {
            Values::Integers(values) => values.get(nth).copied().map(Scalar::Integer),
            Values::Floats(values) => values.get(nth).copied().map(Scalar::Float),
        }
    }

    /// Whether record `nth` is there and has no value.
    pub fn is_absent(&self, nth: usize) -> bool {
        self.absent.get(nth / 64).is_some_and(|bits| bits & 1 << (nth % 64) != 0)
    }

    /// How many records have no value.
    pub fn n_absent(&self) -> usize {
        self.n_absent
    }

    /// The value of each record.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<Scalar>> + '_ {
        (0..self.len()).map(|nth| self.get(nth))
    }
}

/// The most columns that a depot has.
pub(crate) const MAX_COLUMNS: usize = 64;
/// Bytes of a value in a row: whether it is there, and 64 bits.
pub(crate) const VALUE_LEN: usize = 9;

/// The scalars of one record as the engine passes them on: a [`VALUE_LEN`] each.
///
/// Takes each value from `value`.
///
/// # Errors
/// When a value has another kind than its field: what was expected and found.
pub(crate) fn row(
    fields: &[ScalarField],
    mut value: impl FnMut(&str) -> Option<Scalar>,
) -> Result<Vec<u8>, String> {
    let mut row = Vec::with_capacity(VALUE_LEN * fields.len());
    for ScalarField { name, kind } in fields {
        let bits = match (kind, value(name)) {
            (_, None) => None,
            (ScalarKind::Integer, Some(Scalar::Integer(value))) => Some(value.cast_unsigned()),
            (ScalarKind::Float, Some(Scalar::Float(value))) => Some(value.to_bits()),
            (kind, Some(value)) => {
                return Err(format!("scalar `{name}`: expected {kind}, found {value:?}"));
            }
        };
        push_value(&mut row, bits);
    }
    Ok(row)
}

/// The row of a record that has no value in any of `n` columns.
pub(crate) fn no_values(n: usize) -> &'static [u8] {
    static ROW: [u8; VALUE_LEN * MAX_COLUMNS] = [0; VALUE_LEN * MAX_COLUMNS];
    ROW.get(..VALUE_LEN * n).unwrap_or(&ROW)
}

/// Appends a value to a row.
pub(crate) fn push_value(row: &mut Vec<u8>, bits: Option<u64>) {
    row.push(u8::from(bits.is_some()));
    row.extend_from_slice(&bits.unwrap_or(0).to_le_bytes());
}

/// The bits of a value of a row. A record without a row has no values.
pub(crate) fn value_of(row: &[u8], nth: usize) -> Option<u64> {
    let value = row.get(VALUE_LEN * nth..)?;
    (value.first() == Some(&1)).then(|| u64_at(value, 1)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_what_they_were_given() {
        let fields = [ScalarField::integer("step"), ScalarField::float("energy"), ScalarField::float("time")];
        let value = |name: &str| match name {
            "step" => Some(Scalar::Integer(-1)),
            "energy" => Some(Scalar::Float(f64::NAN)),
            _ => None,
        };
        let row = row(&fields, value).unwrap();
        assert_eq!(row.len(), fields.len() * VALUE_LEN);
        assert_eq!(value_of(&row, 0), Some(u64::MAX));
        assert_eq!(value_of(&row, 1), Some(f64::NAN.to_bits()));
        assert_eq!((value_of(&row, 2), value_of(&row, 3), value_of(&[], 0)), (None, None, None));
    }

    #[test]
    fn columns_tell_absent_values_from_others() {
        let mut column = Column::new(ScalarKind::Float);
        for n in 0..200_u32 {
            column.push((n % 70 != 69).then(|| f64::from(n).to_bits()));
        }
        assert_eq!((column.len(), column.n_absent(), column.as_i64()), (200, 2, None));
        assert_eq!((column.get(68), column.get(69)), (Some(Scalar::Float(68.0)), None));
        assert!(column.is_absent(139) && !column.is_absent(199) && !column.is_absent(1000));
        assert_eq!(column.iter().flatten().count(), 198);
        assert!(column.as_f64().is_some_and(|values| values[69].is_nan() && !values[70].is_nan()));
        assert_eq!(column.get(200), None);
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let refused = row(&[ScalarField::integer("step")], |_| Some(Scalar::Float(1.0))).unwrap_err();
        assert_eq!(refused, "scalar `step`: expected integer, found Float(1.0)");
    }
}

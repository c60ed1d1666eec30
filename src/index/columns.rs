//! Columns of scalars in a segment: which form each takes, and its elements.
//!
//! Integers that go up by the same step, such as the steps of a run, take no bytes. Other integers take as
//! many as their differences to the least one need. Floats take four bytes if they all are numbers of four
//! bytes.

use crate::format::tables::{Absent, Column, Zone};
use crate::scalar::{ScalarField, ScalarKind, value_of};

/// What is known of the values of one column.
#[derive(Debug, Clone, Copy)]
struct Values {
    kind: ScalarKind,
    n_absent: u64,
    /// The first value and its number.
    first: Option<(u64, u64)>,
    steps: Steps,
    least: i64,
    most: i64,
    /// Whether all values have the same bits.
    same: bool,
    /// Whether all values are floats of four bytes.
    short: bool,
    zone: Zone,
}

/// How integers go on from one record to the next.
#[derive(Debug, Clone, Copy)]
enum Steps {
    /// There are not yet two of them.
    Unknown,
    Equal(u64),
    Unequal,
}

impl Values {
    fn new(kind: ScalarKind) -> Self {
        Self {
            kind,
            n_absent: 0,
            first: None,
            steps: Steps::Unknown,
            least: i64::MAX,
            most: i64::MIN,
            same: true,
            short: true,
            zone: Zone::new(kind),
        }
    }

    fn add(&mut self, number: u64, value: Option<u64>) {
        let Some(bits) = value else {
            self.n_absent += 1;
            return;
        };
        let (first_at, first) = *self.first.get_or_insert((number, bits));
        self.zone.add(bits);
        self.same &= bits == first;
        self.short &= f64::from(to_f32(bits)).to_bits() == bits;
        let integer = bits.cast_signed();
        (self.least, self.most) = (self.least.min(integer), self.most.max(integer));
        let steps = number.saturating_sub(first_at);
        if steps > 0 {
            let step = match self.steps {
                Steps::Unknown => step_between(first, bits, steps),
                Steps::Equal(step) => Some(step),
                Steps::Unequal => None,
            };
            let fits = |step: &u64| first.wrapping_add(step.wrapping_mul(steps)) == bits;
            self.steps = step.filter(fits).map_or(Steps::Unequal, Steps::Equal);
        }
    }

    /// The form of the column of `n` records.
    fn form(&self, n: u64) -> Column {
        let absent = match self.n_absent {
            0 => Absent::None,
            all if all == n => Absent::All,
            _ => Absent::Some,
        };
        let (first_at, first) = self.first.unwrap_or_default();
        let (width, base, step) = match (self.kind, self.steps) {
            _ if absent == Absent::All => (0, 0, 0),
            (ScalarKind::Float, _) if self.same => (0, first, 0),
            (ScalarKind::Float, _) => (if self.short { 4 } else { 8 }, 0, 0),
            (ScalarKind::Integer, Steps::Unknown) => (0, first, 0),
            (ScalarKind::Integer, Steps::Equal(step)) => {
                (0, first.wrapping_sub(step.wrapping_mul(first_at)), step)
            }
            (ScalarKind::Integer, Steps::Unequal) => {
                let bits = self.most.abs_diff(self.least).max(1).ilog2() + 1;
                let width = bits.div_ceil(8).next_power_of_two();
                (u8::try_from(width).unwrap_or(8), self.least.cast_unsigned(), 0)
            }
        };
        Column { kind: self.kind, width, absent, base, step }
    }
}

/// The step that leads from one integer to another in so many steps.
fn step_between(from: u64, to: u64, steps: u64) -> Option<u64> {
    let difference = to.cast_signed().checked_sub(from.cast_signed())?;
    let steps = i64::try_from(steps).ok()?;
    (difference % steps == 0).then(|| (difference / steps).cast_unsigned())
}

/// The float of four bytes that is nearest.
#[allow(clippy::cast_possible_truncation, reason = "rounds, as the caller wants")]
fn to_f32(bits: u64) -> f32 {
    f64::from_bits(bits) as f32
}

/// Chooses the forms of all columns from the rows of the records, which are given in order.
pub(super) struct Survey {
    columns: Vec<Values>,
    n: u64,
}

impl Survey {
    pub(super) fn new(fields: &[ScalarField]) -> Self {
        Self { columns: fields.iter().map(|field| Values::new(field.kind)).collect(), n: 0 }
    }

    pub(super) fn add(&mut self, row: &[u8]) {
        for (nth, column) in self.columns.iter_mut().enumerate() {
            column.add(self.n, value_of(row, nth));
        }
        self.n += 1;
    }

    /// The forms, and what is known of the values; none if there are no rows.
    pub(super) fn finish(self) -> (Vec<Column>, Vec<Zone>) {
        if self.n == 0 {
            return Default::default();
        }
        self.columns.iter().map(|column| (column.form(self.n), column.zone)).unzip()
    }
}

/// Makes the elements of one column.
pub(super) struct Elements {
    column: Column,
    next: u64,
    /// Bits of the records without a value.
    absent: Vec<u8>,
}

impl Elements {
    pub(super) fn new(column: Column) -> Self {
        Self { column, next: 0, absent: Vec::new() }
    }

    /// The element of the next record.
    pub(super) fn push(&mut self, value: Option<u64>) -> impl AsRef<[u8]> + use<> {
        let Column { kind, width, base, step, .. } = self.column;
        let number = self.next;
        self.next += 1;
        if number.is_multiple_of(64) {
            self.absent.extend_from_slice(&[0; 8]);
        }
        if value.is_none()
            && let Some(byte) = self.absent.get_mut(usize::try_from(number / 8).unwrap_or(usize::MAX))
        {
            *byte |= 1 << (number % 8);
        }
        let element = match (kind, value) {
            (_, None) => 0,
            (ScalarKind::Integer, Some(bits)) => {
                bits.wrapping_sub(base).wrapping_sub(step.wrapping_mul(number))
            }
            (ScalarKind::Float, Some(bits)) if width == 4 => u64::from(to_f32(bits).to_bits()),
            (ScalarKind::Float, Some(bits)) => bits,
        };
        Element(element.to_le_bytes(), usize::from(width))
    }

    /// The bits after the elements, if the column has some.
    pub(super) fn finish(self) -> Vec<u8> {
        if self.column.absent == Absent::Some { self.absent } else { Vec::new() }
    }
}

struct Element([u8; 8], usize);

impl AsRef<[u8]> for Element {
    fn as_ref(&self) -> &[u8] {
        self.0.get(..self.1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scalar::push_value;

    fn forms(kind: ScalarKind, values: &[Option<u64>]) -> Vec<Column> {
        let mut survey = Survey::new(&[ScalarField { name: "x".into(), kind }]);
        for &value in values {
            let mut row = Vec::new();
            push_value(&mut row, value);
            survey.add(&row);
        }
        survey.finish().0
    }

    fn integers(values: &[i64]) -> Column {
        let values: Vec<_> = values.iter().map(|value| Some(value.cast_unsigned())).collect();
        forms(ScalarKind::Integer, &values)[0]
    }

    fn floats(values: &[f64]) -> u8 {
        let values: Vec<_> = values.iter().map(|value| Some(value.to_bits())).collect();
        forms(ScalarKind::Float, &values)[0].width
    }

    #[test]
    fn columns_are_as_narrow_as_their_values() {
        assert_eq!(integers(&[0, 500, 1000, 1500]).width, 0);
        assert_eq!(integers(&[7, 7]).width, 0);
        assert_eq!(integers(&[-3]).width, 0);
        assert_eq!(integers(&[10, 0, -5]).width, 1);
        assert_eq!(integers(&[0, 1, 300]).width, 2);
        assert_eq!(integers(&[0, 1, 1 << 20]).width, 4);
        assert_eq!(integers(&[i64::MIN, 0, i64::MAX]).width, 8);
        assert_eq!(floats(&[0.5, 0.25, f64::INFINITY]), 4);
        assert_eq!(floats(&[0.1, 0.2]), 8);
        assert_eq!(floats(&[0.1, 0.1]), 0);
        assert_eq!(floats(&[0.0, -0.0]), 4);
        assert_eq!(forms(ScalarKind::Float, &[None, None])[0].absent, Absent::All);
        assert!(forms(ScalarKind::Float, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn values_come_back(
            float in any::<bool>(),
            start in any::<u64>(),
            values in prop::collection::vec(prop::option::of(prop_oneof![
                3 => (0..300_u64).prop_map(|n| n * 10),
                1 => any::<u64>(),
                1 => any::<f32>().prop_map(|f| f64::from(f).to_bits()),
            ]), 0..200),
            linear in any::<bool>(),
        ) {
            let kind = if float { ScalarKind::Float } else { ScalarKind::Integer };
            let linear_at = |number: usize| start.wrapping_mul(number as u64).wrapping_add(start);
            let values: Vec<Option<u64>> = values
                .into_iter()
                .enumerate()
                .map(|(number, value)| if linear { value.map(|_| linear_at(number)) } else { value })
                .collect();
            let n = values.len() as u64;
            for column in forms(kind, &values) {
                let mut elements = Elements::new(column);
                let mut bytes = Vec::new();
                for &value in &values {
                    bytes.extend_from_slice(elements.push(value).as_ref());
                }
                let bits = elements.finish();
                prop_assert_eq!(column.elements_len(n), bytes.len().next_multiple_of(8) as u64);
                prop_assert_eq!(column.len(n), column.elements_len(n) + bits.len() as u64);
                let width = usize::from(column.width);
                for (number, &value) in values.iter().enumerate() {
                    let absent = match column.absent {
                        Absent::None => false,
                        Absent::All => true,
                        Absent::Some => bits[number / 8] & 1 << (number % 8) != 0,
                    };
                    let element = &bytes[width * number..width * (number + 1)];
                    prop_assert_eq!((!absent).then(|| column.value(number as u64, element)), value);
                }
            }
        }
    }
}

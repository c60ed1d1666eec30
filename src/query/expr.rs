//! What an expression is made of.

use std::cmp::Ordering;

/// A condition on a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// One of these holds.
    Any(Vec<Self>),
    /// All of these hold.
    All(Vec<Self>),
    Not(Box<Self>),
    Compare(Term, Relation, Term),
    In(Term, Vec<Value<'static>>),
    /// The text matches a pattern of `*` and `?`.
    Glob(Term, String),
    /// The record has a value.
    Has(Field),
    /// The value is NaN.
    IsNan(Term),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Relation {
    /// Whether it holds between values that are in this order.
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }

    /// The relation of the same values in the other order.
    pub(super) fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Greater => Self::Less,
            same => same,
        }
    }
}

/// Something that has a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    Value(Value<'static>),
    Field(Field),
    Negative(Box<Self>),
    Sum(Box<Self>, Operation, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Plus,
    Minus,
    Times,
    Over,
}

/// What a value is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// The name of the record.
    Name,
    /// A value of the record's metadata: the names that lead to it.
    Metadata(Vec<String>),
    /// The column of this name, which stands at this column of the text. `number` is that of the depot's
    /// column.
    Column { name: String, at: usize, number: usize },
}

/// A value of a record, or of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'v> {
    /// The record does not have it.
    Missing,
    /// It is there, and is of a kind that compares with nothing: a map or a list.
    Other,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(std::borrow::Cow<'v, str>),
    Bytes(std::borrow::Cow<'v, [u8]>),
}

impl Value<'_> {
    /// How two values compare. `None` if either is missing or NaN, or if they are of different kinds.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Boolean(a), Value::Boolean(b)) => Some(a.cmp(b)),
            (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Value::Integer(a), Value::Float(b)) => compare_exactly(*a, *b),
            (Value::Float(a), Value::Integer(b)) => compare_exactly(*b, *a).map(Ordering::reverse),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Whether it can be compared with nothing.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Value::Missing) || matches!(self, Value::Float(number) if number.is_nan())
    }

    /// The same value, without a copy of its text.
    pub(super) fn lend(&self) -> Value<'_> {
        match self {
            Value::Missing => Value::Missing,
            Value::Other => Value::Other,
            Value::Boolean(value) => Value::Boolean(*value),
            Value::Integer(value) => Value::Integer(*value),
            Value::Float(value) => Value::Float(*value),
            Value::Text(text) => Value::Text(std::borrow::Cow::Borrowed(text)),
            Value::Bytes(bytes) => Value::Bytes(std::borrow::Cow::Borrowed(bytes)),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "as floats are")]
    pub(super) fn to_f64(&self) -> Option<f64> {
        match self {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }
}

/// Compares an integer with a float without rounding either.
#[allow(clippy::cast_possible_truncation, reason = "it is in range")]
fn compare_exactly(integer: i128, float: f64) -> Option<Ordering> {
    /// 2^126: no integer of ours is as large.
    const BEYOND: f64 = 8.507_059_173_023_462e37;
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float <= -BEYOND {
        return Some(Ordering::Greater);
    }
    let floor = float.floor();
    Some(integer.cmp(&(floor as i128)).then(if float > floor { Ordering::Less } else { Ordering::Equal }))
}

impl Expr {
    /// Calls `job` with each field.
    pub(crate) fn each_field<E>(
        &mut self,
        job: &mut dyn FnMut(&mut Field) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Any(all) | Self::All(all) => all.iter_mut().try_for_each(|expr| expr.each_field(job)),
            Self::Not(expr) => expr.each_field(job),
            Self::Compare(left, _, right) => left.each_field(job).and_then(|()| right.each_field(job)),
            Self::In(term, _) | Self::Glob(term, _) | Self::IsNan(term) => term.each_field(job),
            Self::Has(field) => job(field),
        }
    }
}

impl Term {
    fn each_field<E>(&mut self, job: &mut dyn FnMut(&mut Field) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Value(_) => Ok(()),
            Self::Field(field) => job(field),
            Self::Negative(term) => term.each_field(job),
            Self::Sum(left, _, right) => left.each_field(job).and_then(|()| right.each_field(job)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_are_compared_without_rounding() {
        let large = (1_i128 << 53) + 1;
        assert_eq!(compare_exactly(large, 9_007_199_254_740_992.0), Some(Ordering::Greater));
        assert_eq!(compare_exactly(3, 3.5), Some(Ordering::Less));
        assert_eq!(compare_exactly(-3, -3.5), Some(Ordering::Greater));
        assert_eq!(compare_exactly(3, 3.0), Some(Ordering::Equal));
        assert_eq!(compare_exactly(i128::from(u64::MAX), f64::INFINITY), Some(Ordering::Less));
        assert_eq!(compare_exactly(i128::from(i64::MIN), f64::NEG_INFINITY), Some(Ordering::Greater));
        assert_eq!(compare_exactly(0, f64::NAN), None);
    }
}

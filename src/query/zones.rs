//! Whether any record of a segment can match, by what is known of its values.

use std::cmp::Ordering;

use super::expr::{Expr, Field, Relation, Term, Value};

/// What the values of a column in some records are known to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bounds {
    /// The least and the largest value that is there; `None` if there is none.
    pub(crate) values: Option<(Value<'static>, Value<'static>)>,
    /// Whether records may lack a value.
    pub(crate) may_lack: bool,
    /// Whether values may be NaN, or beyond the bounds because they are infinite.
    pub(crate) may_be_odd: bool,
}

/// What a condition can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Possible {
    pub(crate) yes: bool,
    pub(crate) no: bool,
}

impl Possible {
    const BOTH: Self = Self { yes: true, no: true };
    const NO: Self = Self { yes: false, no: true };
}

impl Expr {
    /// What the condition can come to for records of which `bounds` knows columns by number.
    pub(crate) fn possible(&self, bounds: &dyn Fn(usize) -> Option<Bounds>) -> Possible {
        match self {
            Self::Any(all) => all.iter().fold(Possible::NO, |so_far, expr| {
                let next = expr.possible(bounds);
                Possible { yes: so_far.yes || next.yes, no: so_far.no && next.no }
            }),
            Self::All(all) => all.iter().fold(Possible { yes: true, no: false }, |so_far, expr| {
                let next = expr.possible(bounds);
                Possible { yes: so_far.yes && next.yes, no: so_far.no || next.no }
            }),
            Self::Not(expr) => {
                let Possible { yes, no } = expr.possible(bounds);
                Possible { yes: no, no: yes }
            }
            Self::Compare(Term::Field(Field::Column { number, .. }), relation, Term::Value(value)) => {
                bounds(*number).map_or(Possible::BOTH, |bounds| bounds.compared(*relation, value))
            }
            Self::Compare(Term::Value(value), relation, Term::Field(Field::Column { number, .. })) => {
                bounds(*number).map_or(Possible::BOTH, |bounds| bounds.compared(relation.turned(), value))
            }
            Self::In(Term::Field(Field::Column { number, .. }), list) => {
                let Some(bounds) = bounds(*number) else { return Possible::BOTH };
                let yes = list.iter().any(|value| bounds.compared(Relation::Equal, value).yes);
                Possible { yes, no: true }
            }
            Self::Has(Field::Column { number, .. }) => {
                let Some(bounds) = bounds(*number) else { return Possible::BOTH };
                Possible { yes: bounds.values.is_some() || bounds.may_be_odd, no: bounds.may_lack }
            }
            _ => Possible::BOTH,
        }
    }
}

impl Bounds {
    fn compared(&self, relation: Relation, value: &Value<'_>) -> Possible {
        if self.may_be_odd {
            return Possible::BOTH;
        }
        let Some((least, most)) = &self.values else { return Possible::NO };
        // Values of different kinds.
        let (Some(least), Some(most)) = (least.compare(value), most.compare(value)) else {
            return Possible::BOTH;
        };
        let inside = least != Ordering::Greater && most != Ordering::Less;
        let only = least == Ordering::Equal && most == Ordering::Equal;
        let (yes, no) = match relation {
            Relation::Equal => (inside, !only),
            Relation::NotEqual => (!only, inside),
            // These hold for all values if they hold at the worse end, and for one if at the better end.
            Relation::Less | Relation::LessOrEqual => (relation.holds(least), !relation.holds(most)),
            Relation::Greater | Relation::GreaterOrEqual => (relation.holds(most), !relation.holds(least)),
        };
        Possible { yes, no: no || self.may_lack }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::eval::Row;
    use super::super::parse;
    use super::*;

    struct One(Value<'static>);

    impl Row for One {
        type Error = ();

        fn value(&mut self, _: &Field) -> Result<Value<'static>, ()> {
            Ok(self.0.clone())
        }
    }

    fn bounds_of(values: &[Option<f64>]) -> Bounds {
        let there = || values.iter().flatten().copied().filter(|value| value.is_finite());
        let least = there().reduce(f64::min).map(Value::Float);
        let most = there().reduce(f64::max).map(Value::Float);
        Bounds {
            values: least.zip(most),
            may_lack: values.contains(&None),
            may_be_odd: values.iter().flatten().any(|value| !value.is_finite()),
        }
    }

    fn value() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            6 => (-3..4_i8).prop_map(|n| Some(f64::from(n))),
            1 => Just(None),
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Some),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_to_be_impossible_never_is(
            values in prop::collection::vec(value(), 1..6),
            relations in prop::collection::vec(("(<|<=|==|!=|>=|>)", -3..4_i8, any::<bool>(), any::<bool>()), 1..4),
            joined in any::<bool>(),
        ) {
            let one = |(relation, number, turned, negated): &(String, i8, bool, bool)| {
                let compared =
                    if *turned { format!("{number} {relation} x") } else { format!("x {relation} {number}") };
                if *negated { format!("not {compared}") } else { compared }
            };
            let all: Vec<String> = relations.iter().map(one).collect();
            let text = all.join(if joined { " and " } else { " or " });
            let text = format!("{text} or x in (9, {}) or not has(x) and has(x)", relations[0].1);
            let expr = parse(&text).unwrap();
            let bounds = bounds_of(&values);
            let possible = expr.possible(&|_| Some(bounds.clone()));
            for value in &values {
                let found = expr.matches(&mut One(value.map_or(Value::Missing, Value::Float))).unwrap();
                prop_assert!(if found { possible.yes } else { possible.no }, "{} {:?}", text, values);
            }
        }
    }

    #[test]
    fn what_lies_outside_is_impossible_and_what_all_have_is_certain() {
        let bounds = bounds_of(&[Some(1.0), Some(2.0)]);
        let possible = |text: &str| parse(text).unwrap().possible(&|_| Some(bounds.clone()));
        assert_eq!(possible("x > 2"), Possible::NO);
        assert_eq!(possible("x >= 1 and has(x)"), Possible { yes: true, no: false });
        assert_eq!(possible("not x in (3, 4)"), Possible { yes: true, no: false });
        assert_eq!(possible("x == 1"), Possible::BOTH);
        assert_eq!(possible("x > 5 and name == 'a'"), Possible::NO);
    }
}

//! Whether a record matches.

use super::expr::{Expr, Field, Operation, Term, Value};

/// Gives the values of a record.
pub(crate) trait Row {
    /// Why a value cannot be read.
    type Error;

    /// The value of a field; [`Value::Missing`] if the record does not have it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn value(&mut self, field: &Field) -> Result<Value<'static>, Self::Error>;
}

impl Expr {
    /// Whether the record matches. Values are asked for only as far as they are needed, from left to right.
    ///
    /// # Errors
    /// The errors of the row.
    pub(crate) fn matches<R: Row>(&self, row: &mut R) -> Result<bool, R::Error> {
        Ok(match self {
            Self::Any(all) => {
                for expr in all {
                    if expr.matches(row)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::All(all) => {
                for expr in all {
                    if !expr.matches(row)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Not(expr) => !expr.matches(row)?,
            Self::Compare(left, relation, right) => {
                let (left, right) = (left.value(row)?, right.value(row)?);
                match left.compare(&right) {
                    Some(order) => relation.holds(order),
                    // Values of different kinds are not equal. With one that is missing or NaN, nothing
                    // holds.
                    None => {
                        *relation == super::expr::Relation::NotEqual && !left.is_none() && !right.is_none()
                    }
                }
            }
            Self::In(term, list) => {
                let value = term.value(row)?;
                list.iter().any(|listed| value.compare(listed).is_some_and(std::cmp::Ordering::is_eq))
            }
            Self::Glob(term, pattern) => match term.value(row)? {
                Value::Text(text) => glob_matches(pattern, &text),
                _ => false,
            },
            Self::Has(field) => row.value(field)? != Value::Missing,
            Self::IsNan(term) => matches!(term.value(row)?, Value::Float(number) if number.is_nan()),
        })
    }
}

impl Term {
    fn value<R: Row>(&self, row: &mut R) -> Result<Value<'_>, R::Error> {
        Ok(match self {
            Self::Value(value) => value.lend(),
            Self::Field(field) => row.value(field)?,
            Self::Negative(term) => match term.value(row)? {
                Value::Integer(number) => Value::Integer(-number),
                Value::Float(number) => Value::Float(-number),
                _ => Value::Missing,
            },
            Self::Sum(left, operation, right) => sum(&left.value(row)?, *operation, &right.value(row)?),
        })
    }
}

/// Integers stay integers, except in a division. What is no number gives nothing.
fn sum(left: &Value<'_>, operation: Operation, right: &Value<'_>) -> Value<'static> {
    if let (Value::Integer(left), Value::Integer(right)) = (left, right) {
        let whole = match operation {
            Operation::Plus => left.checked_add(*right),
            Operation::Minus => left.checked_sub(*right),
            Operation::Times => left.checked_mul(*right),
            Operation::Over => None,
        };
        // Results of this size compare like any others.
        if let Some(whole) = whole.filter(|whole| whole.unsigned_abs() < 1 << 126) {
            return Value::Integer(whole);
        }
    }
    let (Some(left), Some(right)) = (left.to_f64(), right.to_f64()) else { return Value::Missing };
    Value::Float(match operation {
        Operation::Plus => left + right,
        Operation::Minus => left - right,
        Operation::Times => left * right,
        Operation::Over => left / right,
    })
}

/// Whether `text` matches a pattern in which `*` stands for any characters and `?` for one.
///
/// It takes time by the product of both lengths at most: it goes back only to the last `*`.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some(&c) if c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    struct Fields(Vec<(&'static str, Value<'static>)>);

    impl Row for Fields {
        type Error = ();

        fn value(&mut self, field: &Field) -> Result<Value<'static>, ()> {
            let name = match field {
                Field::Name => "name".to_owned(),
                Field::Metadata(path) => format!("meta.{}", path.join(".")),
                Field::Column { name, .. } => name.clone(),
            };
            let found = self.0.iter().find(|(there, _)| *there == name);
            Ok(found.map_or(Value::Missing, |(_, value)| value.clone()))
        }
    }

    fn holds(text: &str) -> bool {
        let mut row = Fields(vec![
            ("energy", Value::Float(-3.5)),
            ("n_atoms", Value::Integer(5)),
            ("odd", Value::Float(f64::NAN)),
            ("name", Value::Text("run_7/frame_12".into())),
            ("meta.source", Value::Text("md".into())),
            ("meta.ok", Value::Boolean(true)),
        ]);
        parse(text).unwrap().matches(&mut row).unwrap()
    }

    #[test]
    fn conditions_hold_as_they_say() {
        for text in [
            "energy < -3 and n_atoms <= 50",
            "energy < -3 && not n_atoms > 5 || energy > 0",
            "-5 < energy < -3",
            "energy / n_atoms == -0.7",
            "n_atoms * 2 + 1 - 3 == 8",
            "n_atoms == 5.0 and n_atoms != 5.5",
            "-energy > 3",
            "n_atoms in (3, 5) and n_atoms not in [-1, 7.0]",
            "name glob 'run_*/frame_??' and name not glob 'x*'",
            "name > 'run_6'",
            "meta.source == \"md\" and meta.ok == true",
            "has(energy) and not has(spin) and has(meta.source)",
            "isnan(odd) and not isnan(energy)",
            "name != 7",
            "not energy > 0 and not spin > 0",
        ] {
            assert!(holds(text), "{text}");
        }
    }

    #[test]
    fn with_what_is_missing_or_nan_no_comparison_holds() {
        for field in ["spin", "odd", "meta.none", "spin + 1", "odd * 2", "energy + name"] {
            for relation in ["<", "<=", "==", "!=", ">=", ">"] {
                assert!(!holds(&format!("{field} {relation} 3")), "{field} {relation}");
                assert!(!holds(&format!("3 {relation} {field}")), "{relation} {field}");
                assert!(!holds(&format!("{field} {relation} {field}")), "{relation} {field}");
            }
            assert!(!holds(&format!("{field} in (3, 'x')")) && !holds(&format!("{field} glob '*'")));
        }
        assert!(!holds("name < 7") && !holds("name == 7") && !holds("meta.ok < 1"));
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "a-b-", false),
            ("??", "é1", true),
            ("?", "", false),
            ("**x", "yyx", true),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!glob_matches(&"*a".repeat(200), &"a".repeat(150)));
    }
}

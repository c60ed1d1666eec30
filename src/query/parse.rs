//! Tokens to an expression, by recursive descent.
//!
//! ```text
//! any        = all { "or" all }
//! all        = not { "and" not }
//! not        = "not" not | compared
//! compared   = sum { relation sum } | sum ["not"] "in" list | sum ["not"] "glob" text
//! sum        = product { ("+" | "-") product }
//! product    = signed { ("*" | "/") signed }
//! signed     = "-" signed | primary
//! primary    = number | text | "true" | "false" | field | "(" any ")"
//!            | "has" "(" field ")" | "isnan" "(" sum ")"
//! field      = word | "meta" { "." word }
//! ```

use super::expr::{Expr, Field, Operation, Relation, Term, Value};
use super::lex::{Fault, Token, tokens};

/// The longest text of a query, in bytes.
const MAX_LEN: usize = 1 << 16;
/// How deep parentheses, `not` and signs may be nested.
const MAX_DEPTH: usize = 64;
/// The most operators in a query: a chain of them is as deep as it is long.
const MAX_OPERATORS: usize = 1000;

/// Parses a query.
pub(crate) fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > MAX_LEN {
        let why = format!("a query of {} bytes; at most {MAX_LEN} are read", text.len());
        return Err(Fault { column: 1, why });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, operators: 0 };
    let (node, column) = parser.any()?;
    if *parser.token() != Token::End {
        return parser.expected("`and`, `or` or the end");
    }
    parser.condition(node, column)
}

/// What was parsed: not known before, since parentheses hold either.
enum Node {
    Expr(Expr),
    Term(Term),
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    operators: usize,
}

type Parsed<T> = Result<T, Fault>;

impl Parser {
    fn token(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, column)| *column)
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        Err(Fault { column: self.column(), why: format!("expected {what}, found {}", self.token()) })
    }

    /// Goes on past this sign, if it comes next.
    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.token(), Token::Sign(there) if *there == sign);
        self.at += usize::from(is);
        is
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.token(), Token::Word(there, false) if there == word)
    }

    /// Goes on past this word, if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    fn close(&mut self, sign: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { self.expected(&format!("`{sign}`")) }
    }

    fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators <= MAX_OPERATORS {
            return Ok(());
        }
        Err(Fault { column: self.column(), why: format!("more than {MAX_OPERATORS} operators") })
    }

    /// Parses something inside something else.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            let why = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(Fault { column: self.column(), why });
        }
        self.depth += 1;
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    #[allow(clippy::unused_self, reason = "as the others")]
    fn condition(&self, node: Node, column: usize) -> Parsed<Expr> {
        match node {
            Node::Expr(expr) => Ok(expr),
            Node::Term(_) => {
                Err(Fault { column, why: "a value is no condition: compare it, as in `energy < 0`".into() })
            }
        }
    }

    #[allow(clippy::unused_self, reason = "as the others")]
    fn value(&self, node: Node, column: usize) -> Parsed<Term> {
        match node {
            Node::Term(term) => Ok(term),
            Node::Expr(_) => Err(Fault { column, why: "expected a value, found a condition".into() }),
        }
    }

    fn any(&mut self) -> Parsed<(Node, usize)> {
        let (node, column) = self.all()?;
        if !self.is_word("or") {
            return Ok((node, column));
        }
        let mut all = vec![self.condition(node, column)?];
        while self.word("or") {
            self.operator()?;
            let (node, column) = self.all()?;
            all.push(self.condition(node, column)?);
        }
        Ok((Node::Expr(Expr::Any(all)), column))
    }

    fn all(&mut self) -> Parsed<(Node, usize)> {
        let (node, column) = self.not()?;
        if !self.is_word("and") {
            return Ok((node, column));
        }
        let mut all = vec![self.condition(node, column)?];
        while self.word("and") {
            self.operator()?;
            let (node, column) = self.not()?;
            all.push(self.condition(node, column)?);
        }
        Ok((Node::Expr(Expr::All(all)), column))
    }

    fn not(&mut self) -> Parsed<(Node, usize)> {
        let column = self.column();
        if !self.word("not") {
            return self.compared();
        }
        let (node, at) = self.deeper(Self::not)?;
        Ok((Node::Expr(Expr::Not(Box::new(self.condition(node, at)?))), column))
    }

    fn relation(&mut self) -> Option<Relation> {
        let Token::Sign(sign) = self.token() else { return None };
        let relation = match *sign {
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            "==" => Relation::Equal,
            "!=" => Relation::NotEqual,
            ">=" => Relation::GreaterOrEqual,
            ">" => Relation::Greater,
            _ => return None,
        };
        self.at += 1;
        Some(relation)
    }

    fn compared(&mut self) -> Parsed<(Node, usize)> {
        let (node, column) = self.sum()?;
        let turned = self.is_word("not") && {
            let next = self.tokens.get(self.at + 1).map(|(token, _)| token);
            matches!(next, Some(Token::Word(word, false)) if word == "in" || word == "glob")
        };
        self.at += usize::from(turned);
        let tested = if self.word("in") {
            Some(Expr::In(self.value(node, column)?, self.list()?))
        } else if self.word("glob") {
            let term = self.value(node, column)?;
            let Token::Text(pattern) = self.token().clone() else {
                return self.expected("a pattern, as text");
            };
            self.at += 1;
            Some(Expr::Glob(term, pattern))
        } else {
            return self.chain(node, column);
        };
        self.operator()?;
        let tested = tested.map(|expr| if turned { Expr::Not(Box::new(expr)) } else { expr });
        tested.map_or_else(|| self.expected("a condition"), |expr| Ok((Node::Expr(expr), column)))
    }

    /// Comparisons one after the other, as in `-5 < energy < -3`: all of them hold.
    fn chain(&mut self, node: Node, column: usize) -> Parsed<(Node, usize)> {
        let Some(mut relation) = self.relation() else { return Ok((node, column)) };
        let mut left = self.value(node, column)?;
        let mut all = Vec::new();
        loop {
            self.operator()?;
            let (node, at) = self.sum()?;
            let right = self.value(node, at)?;
            let next = self.relation();
            let kept = next.map(|_| right.clone());
            all.push(Expr::Compare(left, relation, right));
            match (next, kept) {
                (Some(next), Some(kept)) => (relation, left) = (next, kept),
                _ if all.len() == 1 => return Ok((Node::Expr(all.remove(0)), column)),
                _ => return Ok((Node::Expr(Expr::All(all)), column)),
            }
        }
    }

    fn sum(&mut self) -> Parsed<(Node, usize)> {
        let (mut node, column) = self.product()?;
        loop {
            let operation = match self.token() {
                Token::Sign("+") => Operation::Plus,
                Token::Sign("-") => Operation::Minus,
                _ => return Ok((node, column)),
            };
            self.at += 1;
            node = self.joined(node, column, operation, Self::product)?;
        }
    }

    fn product(&mut self) -> Parsed<(Node, usize)> {
        let (mut node, column) = self.signed()?;
        loop {
            let operation = match self.token() {
                Token::Sign("*") => Operation::Times,
                Token::Sign("/") => Operation::Over,
                _ => return Ok((node, column)),
            };
            self.at += 1;
            node = self.joined(node, column, operation, Self::signed)?;
        }
    }

    fn joined(
        &mut self,
        left: Node,
        column: usize,
        operation: Operation,
        next: impl FnOnce(&mut Self) -> Parsed<(Node, usize)>,
    ) -> Parsed<Node> {
        self.operator()?;
        let left = self.value(left, column)?;
        let (right, at) = next(self)?;
        let right = self.value(right, at)?;
        Ok(Node::Term(Term::Sum(Box::new(left), operation, Box::new(right))))
    }

    fn signed(&mut self) -> Parsed<(Node, usize)> {
        let column = self.column();
        if !self.sign("-") {
            return self.primary();
        }
        let (node, at) = self.deeper(Self::signed)?;
        let term = match self.value(node, at)? {
            Term::Value(Value::Integer(number)) => Term::Value(Value::Integer(-number)),
            Term::Value(Value::Float(number)) => Term::Value(Value::Float(-number)),
            other => Term::Negative(Box::new(other)),
        };
        Ok((Node::Term(term), column))
    }

    fn primary(&mut self) -> Parsed<(Node, usize)> {
        let column = self.column();
        if self.sign("(") {
            let (node, _) = self.deeper(Self::any)?;
            self.close(")")?;
            return Ok((node, column));
        }
        if let Some(value) = self.literal() {
            return Ok((Node::Term(Term::Value(value)), column));
        }
        let Token::Word(word, quoted) = self.token().clone() else { return self.expected("a value") };
        let is_call = matches!(self.tokens.get(self.at + 1), Some((Token::Sign("("), _)));
        let node = match &*word {
            "has" if !quoted && is_call => {
                self.at += 2;
                let field = self.field()?;
                self.close(")")?;
                Node::Expr(Expr::Has(field))
            }
            "isnan" if !quoted && is_call => {
                self.at += 2;
                let (node, at) = self.deeper(Self::sum)?;
                let term = self.value(node, at)?;
                self.close(")")?;
                Node::Expr(Expr::IsNan(term))
            }
            _ if is_call => {
                return Err(Fault { column, why: format!("no function `{word}`; there are has and isnan") });
            }
            _ => Node::Term(Term::Field(self.field()?)),
        };
        Ok((node, column))
    }

    fn literal(&mut self) -> Option<Value<'static>> {
        let value = match self.token() {
            Token::Integer(number) => Value::Integer(*number),
            Token::Float(number) => Value::Float(*number),
            Token::Text(text) => Value::Text(text.clone().into()),
            Token::Word(word, false) if word == "true" => Value::Boolean(true),
            Token::Word(word, false) if word == "false" => Value::Boolean(false),
            _ => return None,
        };
        self.at += 1;
        Some(value)
    }

    fn field(&mut self) -> Parsed<Field> {
        let at = self.column();
        let (word, quoted) = match self.token().clone() {
            Token::Word(word, quoted) if quoted || !is_reserved(&word) => (word, quoted),
            _ => return self.expected("a column, `name` or `meta`"),
        };
        self.at += 1;
        match &*word {
            "name" if !quoted => Ok(Field::Name),
            "meta" if !quoted => {
                let mut path = Vec::new();
                while self.sign(".") {
                    match self.token().clone() {
                        Token::Word(part, _) | Token::Text(part) => path.push(part),
                        _ => return self.expected("a name in the metadata"),
                    }
                    self.at += 1;
                }
                Ok(Field::Metadata(path))
            }
            _ => Ok(Field::Column { name: word, at, number: 0 }),
        }
    }

    fn list(&mut self) -> Parsed<Vec<Value<'static>>> {
        let end = if self.sign("(") {
            ")"
        } else if self.sign("[") {
            "]"
        } else {
            return self.expected("a list, as in `(1, 2)`");
        };
        let mut all = Vec::new();
        loop {
            if self.sign(end) {
                return Ok(all);
            }
            let minus = self.sign("-");
            let Some(value) = self.literal() else { return self.expected(&format!("a value or `{end}`")) };
            all.push(match value {
                Value::Integer(number) if minus => Value::Integer(-number),
                Value::Float(number) if minus => Value::Float(-number),
                _ if minus => return self.expected("a number after `-`"),
                value => value,
            });
            if !self.sign(",") {
                self.close(end)?;
                return Ok(all);
            }
        }
    }
}

fn is_reserved(word: &str) -> bool {
    ["and", "or", "not", "in", "glob", "true", "false"].contains(&word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> (usize, String) {
        let Fault { column, why } = parse(text).unwrap_err();
        (column, why)
    }

    #[test]
    fn what_binds_more_closely_is_further_in() {
        let (a, b) =
            (parse("a < 1 or b < 2 and not c < 3").unwrap(), parse("a < 1 or (b < 2 and (not (c < 3)))"));
        let columns = |expr: Expr| {
            let mut expr = expr;
            let clear: Result<(), ()> = expr.each_field(&mut |field| {
                if let Field::Column { at, .. } = field {
                    *at = 0;
                }
                Ok(())
            });
            clear.unwrap();
            expr
        };
        assert_eq!(columns(a), columns(b.unwrap()));
        assert_eq!(
            columns(parse("1 + 2 * a < -3").unwrap()),
            columns(parse("(1 + (2 * a)) < (-3)").unwrap())
        );
        assert_eq!(columns(parse("-5 < e < -3").unwrap()), columns(parse("-5 < e and e < -3").unwrap()));
        assert_eq!(columns(parse("a not in [1]").unwrap()), columns(parse("not a in (1,)").unwrap()));
    }

    #[test]
    fn faults_point_at_their_column() {
        assert_eq!(fault(""), (1, "expected a value, found the end".into()));
        assert_eq!(fault("energy <"), (9, "expected a value, found the end".into()));
        assert_eq!(fault("energy < -3 n_atoms").0, 13);
        assert_eq!(fault("(energy < 3").0, 12);
        assert_eq!(
            fault("energy and x < 3"),
            (1, "a value is no condition: compare it, as in `energy < 0`".into())
        );
        assert_eq!(fault("a < (b < 3)").0, 5);
        assert_eq!(fault("sin(x) < 1").1, "no function `sin`; there are has and isnan");
        assert_eq!(fault("name glob 7").0, 11);
        assert_eq!(fault("a in 7").0, 6);
        assert_eq!(fault("a in (b)").0, 7);
        assert_eq!(fault("meta. == 1").0, 7);
        assert_eq!(fault("and < 1").0, 1);
    }

    #[test]
    fn depth_and_length_have_limits() {
        let nested = |n: usize| format!("{}a < 1{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&nested(64)).is_ok());
        assert!(fault(&nested(65)).1.contains("levels deep"));
        assert!(fault(&nested(20_000)).1.contains("levels deep"));
        assert!(fault(&format!("{}a < 1", "not ".repeat(10_000))).1.contains("levels deep"));
        assert!(fault(&format!("{}1 < 1", "-".repeat(10_000))).1.contains("levels deep"));
        assert!(fault(&format!("a{} < 1", "+a".repeat(2000))).1.contains("operators"));
        assert!(fault(&format!("a < 1{}", " and a < 1".repeat(2000))).1.contains("operators"));
        assert!(fault(&"x".repeat(1 << 17)).1.contains("bytes"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_has_a_fault_inside_it(text in "[-a-z0-9<>=!().,'\"` \\[\\]+*/\\\\é]{0,60}") {
            if let Err(Fault { column, .. }) = parse(&text) {
                prop_assert!(column >= 1 && column <= text.chars().count() + 1);
            }
        }
    }
}

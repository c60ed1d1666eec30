//! Text to tokens.

/// Why a text is no query, and the column where that shows, counted in characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) column: usize,
    pub(crate) why: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Integer(i128),
    Float(f64),
    Text(String),
    /// A name, and whether it stands in backquotes: then it is no word of the language.
    Word(String, bool),
    /// One of `== != <= >= < > + - * / ( ) [ ] , .`
    Sign(&'static str),
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Word(word, _) => write!(f, "`{word}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

const SIGNS: [&str; 18] =
    ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ",", "."];

/// The tokens, each with the column where it starts, counted in characters from 1. The last is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Fault> {
    let mut lexer = Lexer { rest: text, column: 1 };
    let mut all = Vec::new();
    loop {
        lexer.skip(char::is_whitespace);
        let column = lexer.column;
        let token = lexer.token()?;
        let ended = token == Token::End;
        all.push((token, column));
        if ended {
            return Ok(all);
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    column: usize,
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

impl<'t> Lexer<'t> {
    /// Takes what `is` accepts off the front.
    fn skip(&mut self, is: impl Fn(char) -> bool) -> &'t str {
        let len = self.rest.find(|c| !is(c)).unwrap_or(self.rest.len());
        self.take(len)
    }

    /// Takes so many bytes off the front.
    fn take(&mut self, len: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn token(&mut self) -> Result<Token, Fault> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        let second = self.rest.chars().nth(1);
        match first {
            '"' | '\'' => self.text(first).map(Token::Text),
            '`' => self.text(first).map(|word| Token::Word(word, true)),
            _ if begins_word(first) => {
                Ok(Token::Word(self.skip(|c| begins_word(c) || c.is_numeric()).to_owned(), false))
            }
            _ if first.is_ascii_digit() || first == '.' && second.is_some_and(|c| c.is_ascii_digit()) => {
                self.number()
            }
            _ => self.sign(first),
        }
    }

    fn sign(&mut self, first: char) -> Result<Token, Fault> {
        let fault = |why: String| Err(Fault { column: self.column, why });
        let Some(sign) = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign)) else {
            let hint = match first {
                '=' => "; `==` compares",
                '!' => "; `not` turns a condition around",
                '&' | '|' => "; conditions are joined by `and` and `or`",
                _ => "",
            };
            return fault(format!("{first:?} is no part of a query{hint}"));
        };
        self.take(sign.len());
        Ok(match sign {
            "&&" => Token::Word("and".into(), false),
            "||" => Token::Word("or".into(), false),
            sign => Token::Sign(sign),
        })
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let column = self.column;
        let is_digit = |c: char| c.is_ascii_digit() || c == '_';
        let start = self.rest;
        self.skip(is_digit);
        let mut whole = true;
        if self.rest.starts_with('.') {
            whole = false;
            self.take(1);
            self.skip(is_digit);
        }
        if let Some(exponent) = self.rest.strip_prefix(['e', 'E']) {
            let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if signed.starts_with(|c: char| c.is_ascii_digit()) {
                whole = false;
                self.take(self.rest.len() - signed.len());
                self.skip(is_digit);
            }
        }
        let text = &start[..start.len() - self.rest.len()];
        if self.rest.starts_with(begins_word) {
            return Err(Fault { column, why: format!("{text} and a letter after it are no number") });
        }
        let digits = text.replace('_', "");
        // Names and scalars have at most 64 bits.
        let integer = digits.parse::<u64>().ok().filter(|_| whole);
        match integer {
            Some(integer) => Ok(Token::Integer(integer.into())),
            None => match digits.parse() {
                Ok(number) => Ok(Token::Float(number)),
                Err(_) => Err(Fault { column, why: format!("{text} is no number") }),
            },
        }
    }

    fn text(&mut self, quote: char) -> Result<String, Fault> {
        let column = self.column;
        self.take(quote.len_utf8());
        let mut out = String::new();
        loop {
            let Some(next) = self.rest.chars().next() else {
                return Err(Fault { column, why: format!("the {quote} here has no other one after it") });
            };
            let at = self.column;
            self.take(next.len_utf8());
            if next == quote {
                return Ok(out);
            }
            if next != '\\' {
                out.push(next);
                continue;
            }
            let escaped = self.rest.chars().next();
            match escaped {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(same @ ('\\' | '"' | '\'' | '`')) => out.push(same),
                _ => {
                    let why = "after `\\` in a text there is `\\`, a quote, `n` or `t`".to_owned();
                    return Err(Fault { column: at, why });
                }
            }
            self.take(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_into_tokens_with_their_columns() {
        let found = tokens("ö_1 <= -2.5e3 `a b`.c in ['x\\'y', 7]").unwrap();
        let columns: Vec<usize> = found.iter().map(|(_, column)| *column).collect();
        assert_eq!(columns, [1, 5, 8, 9, 15, 20, 21, 23, 26, 27, 33, 35, 36, 37]);
        assert_eq!(found[0].0, Token::Word("ö_1".into(), false));
        assert_eq!(found[3].0, Token::Float(2500.0));
        assert_eq!(found[4].0, Token::Word("a b".into(), true));
        assert_eq!(found[9].0, Token::Text("x'y".into()));
    }

    #[test]
    fn what_is_no_token_is_named_with_its_column() {
        let fault = |text: &str| tokens(text).unwrap_err();
        assert_eq!(fault("a = 1").column, 3);
        assert!(fault("a = 1").why.contains("`==` compares"));
        assert_eq!(fault("ab 'x").column, 4);
        assert_eq!(fault("'\\q'").column, 2);
        assert_eq!(fault("12abc").column, 1);
        assert_eq!(fault("a < 1 ; b").column, 7);
    }
}

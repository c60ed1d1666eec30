//! The second line of a frame in extended XYZ: names and values.

/// A value, as it stands between its quotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) text: String,
}

/// Numbers of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    Int(Vec<i64>),
    Real(Vec<f64>),
    Logical(Vec<bool>),
}

pub(super) fn logical(word: &str) -> Option<bool> {
    match word {
        "T" | "True" | "true" | "TRUE" => Some(true),
        "F" | "False" | "false" | "FALSE" => Some(false),
        _ => None,
    }
}

impl Text {
    fn words(&self) -> Vec<&str> {
        let inside = self.text.trim();
        let inside = inside.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(inside);
        inside.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect()
    }

    /// The value as numbers of one kind, if that is what it is.
    pub(super) fn numbers(&self) -> Option<Number> {
        let words = self.words();
        if words.is_empty() {
            return None;
        }
        if let Some(numbers) = words.iter().map(|word| word.parse().ok()).collect() {
            return Some(Number::Int(numbers));
        }
        if let Some(numbers) = words.iter().map(|word| real(word)).collect() {
            return Some(Number::Real(numbers));
        }
        words.iter().map(|word| logical(word)).collect::<Option<_>>().map(Number::Logical)
    }

    pub(super) fn reals(&self) -> Option<Vec<f64>> {
        self.words().into_iter().map(real).collect()
    }

    pub(super) fn three_logicals(&self) -> Option<[bool; 3]> {
        let all: Option<Vec<_>> = self.words().into_iter().map(logical).collect();
        all?.try_into().ok()
    }
}

/// A number, but no text such as `nano`, `inf` and `nan` in other cases than programs write them.
fn real(word: &str) -> Option<f64> {
    word.parse().ok().or_else(|| {
        let is_number =
            word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'd' | b'D'));
        is_number.then(|| word.replace(['d', 'D'], "e").parse().ok()).flatten()
    })
}

/// All names with their values. A name without a value is `T`.
pub(super) fn parse(comment: &str) -> Vec<(String, Text)> {
    let mut found: Vec<(String, Text)> = Vec::new();
    let mut rest = comment.trim_start();
    while !rest.is_empty() {
        let (name, after) = token(rest, true);
        rest = after;
        let value = if let Some(after) = rest.trim_start().strip_prefix('=') {
            let (text, after) = token(after.trim_start(), false);
            rest = after;
            Text { text }
        } else {
            Text { text: "T".to_owned() }
        };
        rest = rest.trim_start();
        if !name.is_empty() {
            found.retain(|(other, _)| *other != name);
            found.push((name, value));
        }
    }
    found
}

/// The next word or quoted text, and what follows it.
fn token(text: &str, is_name: bool) -> (String, &str) {
    let close = match text.chars().next() {
        Some('"') => Some('"'),
        Some('\'') => Some('\''),
        Some('{') => Some('}'),
        Some('[') if !is_name => Some(']'),
        _ => None,
    };
    let Some(close) = close else {
        let end = text.find(|c: char| c.is_whitespace() || is_name && c == '=').unwrap_or(text.len());
        // An equals sign alone is passed over, so that parsing goes on.
        let end = if end == 0 && !text.is_empty() && is_name { 1 } else { end };
        return (text[..end].trim_matches('=').to_owned(), &text[end..]);
    };
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' && close == '"' {
            match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, c)) => out.push(c),
                None => break,
            }
        } else if c == close {
            return (out, &text[at + c.len_utf8()..]);
        } else {
            out.push(c);
        }
    }
    (out, "")
}

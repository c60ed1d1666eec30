//! Numbers, dates and names, for people and for terminals.

use std::fmt::Write;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use vldepot::Key;

/// A name on one line, such that no two names look alike.
///
/// A string stands as it is, unless it could be mistaken for something else: if it has control
/// characters, is empty, or looks like another kind of name. Then it becomes a JSON string. Integers are
/// digits, and byte strings are `b"..."`.
pub(crate) fn name(key: &Key) -> String {
    match key {
        Key::Str(name) if is_plain(name) => name.clone(),
        Key::Str(name) => quoted(name),
        key => key.to_string(),
    }
}

/// A name for JSON: its kind, and its value. Bytes are given in the digits of [`hex`].
pub(crate) fn json_name(key: &Key) -> (&'static str, Value) {
    match key {
        Key::Str(name) => ("str", json!(name)),
        Key::Int(name) => ("int", json!(name)),
        Key::Bytes(name) => ("bytes", json!(hex(name))),
        key => ("other", json!(key.to_string())),
    }
}

/// Reads a name back that [`name`] printed. `None` for a line that it cannot have printed.
pub(crate) fn parse_name(line: &str) -> Option<Key> {
    if let Some(rest) = line.strip_prefix("b\"") {
        return unescaped(rest.strip_suffix('"')?).map(Key::Bytes);
    }
    if line.starts_with('"') {
        return serde_json::from_str(line).ok().map(Key::Str);
    }
    let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
    match line.parse::<i128>() {
        Ok(value) if value.to_string() == line => range.contains(&value).then_some(Key::Int(value)),
        _ => Some(Key::Str(line.to_owned())),
    }
}

/// Bytes that were escaped as Rust does it.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    *from_hex(std::str::from_utf8(&digits).ok()?)?.first()?
                }
                quote @ (b'\'' | b'"' | b'\\') => quote,
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(out)
}

fn is_plain(name: &str) -> bool {
    let like_another = name.starts_with('"')
        || name.starts_with("b\"")
        || name.parse::<i128>().is_ok_and(|value| value.to_string() == name);
    !name.is_empty() && !like_another && !name.contains(is_control)
}

/// Whether a character moves the cursor or changes how others look.
///
/// These are Unicode's controls, its two line separators, and its marks that change the direction of
/// writing. JSON lets the controls from U+007F on pass.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON string without a control character.
fn quoted(text: &str) -> String {
    // A string cannot fail to become JSON.
    let json = serde_json::to_string(text).unwrap_or_default();
    without_controls(&json)
}

/// `text` with its control characters as `\u....`, since text from a depot must not control the
/// terminal.
pub(crate) fn without_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            // Writing to a `String` cannot fail. All controls are in the first plane.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A file's name in a line of text.
pub(crate) fn path(path: &Path) -> String {
    without_controls(&path.to_string_lossy())
}

/// Passes JSON on, with its control characters as `\u....`.
///
/// JSON lets those from U+007F on pass, but they control a terminal all the same. They can only be in
/// strings, so the values stay what they are.
pub(crate) struct JsonWriter<'w>(pub(crate) &'w mut dyn io::Write);

impl io::Write for JsonWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A writer of JSON writes whole characters.
        match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.is_ascii() || bytes.contains(&0x7f) => {
                let lines: Vec<_> = text.split('\n').map(without_controls).collect();
                self.0.write_all(lines.join("\n").as_bytes())
            }
            _ => self.0.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Hexadecimal digits, two for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads [`hex`] back. `None` if the text is something else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |&c: &u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

/// `12897280` as `12,897,280`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `n` things, with a plural s unless `n` is 1.
pub(crate) fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// `n` more things, with a plural s unless `n` is 1.
pub(crate) fn more(n: u64, thing: &str) -> String {
    format!("{} more {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A number of bytes, as it is given on the command line.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        unit => return Err(format!("{unit:?} is no unit of bytes: there are k, M, G and T")),
    };
    let number =
        digits.parse::<u64>().map_err(|_| "a number of bytes is expected, such as 500M".to_owned())?;
    number.checked_mul(1 << shift).filter(|&n| n > 0).ok_or_else(|| "not so many bytes".to_owned())
}

/// `12897280` as `12.3 MiB`. Exact below 1 KiB.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1 << 10 {
        return count(n, "byte");
    }
    // Tenths of the largest unit that is not over `n`, rounded. Integers are used so that 1023.96 does
    // not become 1024.0.
    let power = (n.ilog2() / 10) as usize;
    let tenths = |power: usize| (u128::from(n) * 10 + (1_u128 << (10 * power - 1))) >> (10 * power);
    let power = if tenths(power) >= 10_240 && power < UNITS.len() { power + 1 } else { power };
    let tenths = tenths(power);
    let fraction = if tenths.is_multiple_of(10) { String::new() } else { format!(".{}", tenths % 10) };
    format!("{}{fraction} {}", tenths / 10, UNITS[power - 1])
}

/// Seconds since 1970 as `2026-02-28 23:59:59 UTC`.
pub(crate) fn date(seconds: i64) -> String {
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// # Source
/// `civil_from_days` in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// <https://howardhinnant.github.io/date_algorithms.html>. A year begins in March there, so that the
/// leap day is its last day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // The expected values are from `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (1_772_323_199, "2026-02-28 23:59:59 UTC"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        // A file may contain any number.
        assert!(date(i64::MAX).ends_with("UTC") && date(i64::MIN).ends_with("UTC"));
    }

    #[test]
    fn bytes_are_given_with_units() {
        assert_eq!([parse_bytes("7"), parse_bytes("2k"), parse_bytes("3G")], [Ok(7), Ok(2048), Ok(3 << 30)]);
        for wrong in ["", "0", "k", "1B", "-1", "1.5G", "99999999999T"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_one_decimal_at_most() {
        for (n, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1,023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (4 << 20, "4 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(n), expected);
        }
        assert_eq!(grouped(12_897_280), "12,897,280");
        assert_eq!(grouped(280), "280");
    }

    #[test]
    fn no_two_names_look_alike() {
        for (key, expected) in [
            (Key::Str("frame 1/é".into()), "frame 1/é"),
            (Key::Str("a\nb".into()), "\"a\\nb\""),
            (Key::Str("a\u{9b}2J".into()), "\"a\\u009b2J\""),
            (Key::Str(String::new()), "\"\""),
            (Key::Str("\"a\"".into()), "\"\\\"a\\\"\""),
            (Key::Str("7".into()), "\"7\""),
            (Key::Str("007".into()), "007"),
            (Key::Str("b\"a\"".into()), "\"b\\\"a\\\"\""),
            (Key::Int(7), "7"),
            (Key::Int(-7), "-7"),
            (Key::Bytes(b"a\n\xff".to_vec()), "b\"a\\n\\xff\""),
        ] {
            assert_eq!(name(&key), expected);
            assert_eq!(parse_name(expected), Some(key));
        }
        let large = Key::Str("99999999999999999999999".into());
        assert_eq!(parse_name(&name(&large)), Some(large));
        for line in ["b\"", "b\"\\x0\"", "\"", "\"a", "99999999999999999999999"] {
            assert_eq!(parse_name(line), None, "{line}");
        }
    }

    #[test]
    fn hex_comes_back() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(from_hex("001FfF"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(from_hex(""), Some(vec![]));
        for text in ["0", "000", "0g", "é", "0x"] {
            assert_eq!(from_hex(text), None);
        }
    }
}

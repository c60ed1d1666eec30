//! What an entry of pax says of the one after it: lines `LENGTH KEY=VALUE`.

use std::collections::BTreeMap;

use super::super::taking::invalid;

/// By name. The sparse map of some versions of GNU tar has the same names many times: see [`Pax::pairs`].
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.offset` and `GNU.sparse.numbytes`, in their order.
    pub(super) pairs: Vec<u64>,
}

impl Pax {
    /// Reads lines, which replace what was said before.
    pub(super) fn add(&mut self, mut lines: &[u8]) -> std::io::Result<()> {
        let refused = || invalid("the extended header is not one of pax");
        while !lines.is_empty() {
            let blank = lines.iter().take(20).position(|&byte| byte == b' ').ok_or_else(refused)?;
            let len = std::str::from_utf8(&lines[..blank]).ok().and_then(|len| len.parse::<usize>().ok());
            let line = len.and_then(|len| lines.get(..len)).ok_or_else(refused)?;
            lines = &lines[line.len()..];
            let line = line.get(blank + 1..).and_then(|line| line.strip_suffix(b"\n")).ok_or_else(refused)?;
            let equals = line.iter().position(|&byte| byte == b'=').ok_or_else(refused)?;
            let (key, value) = (&line[..equals], &line[equals + 1..]);
            if matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
                self.pairs.push(integer(value).ok_or_else(refused)?);
            } else if value.is_empty() {
                // As it says, this takes back what was said before.
                self.values.remove(key);
            } else {
                self.values.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// A number. `Err` if it is none.
    pub(super) fn integer(&self, key: &str) -> std::io::Result<Option<u64>> {
        let value = self.get(key);
        let refused = || invalid(format!("the extended header has no number for {key}"));
        value.map(|value| integer(value).ok_or_else(refused)).transpose()
    }

    /// Extended attributes, as GNU tar and star write them.
    pub(super) fn xattrs(&self) -> impl Iterator<Item = (String, &[u8])> {
        const PREFIX: &[u8] = b"SCHILY.xattr.";
        let from = self.values.range(PREFIX.to_vec()..);
        from.map_while(|(key, value)| Some((key.strip_prefix(PREFIX)?, value))).filter_map(|(name, value)| {
            // GNU tar writes `=` and `%` in names so.
            let name = std::str::from_utf8(name).ok()?.replace("%3D", "=").replace("%25", "%");
            Some((name, value.as_slice()))
        })
    }
}

pub(super) fn integer(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds since 1970 with a fraction, as seconds and the nanoseconds after them.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok().filter(|whole| *whole >= 0)?;
    let nanoseconds = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (is_negative, nanoseconds) {
        (false, nanoseconds) => (whole, nanoseconds),
        (true, 0) => (-whole, 0),
        (true, nanoseconds) => ((-whole).checked_sub(1)?, 1_000_000_000 - nanoseconds),
    })
}

/// The text of a time.
pub(super) fn time_text(seconds: i64, nanoseconds: u32) -> String {
    match (seconds < 0, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (false, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        (true, nanoseconds) => {
            format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
        }
    }
}

/// A line.
pub(super) fn line(key: &str, value: &[u8], out: &mut Vec<u8>) {
    // Of blank, equals sign and line end, and the digits of the length itself.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(format!("{len} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The name of an extended attribute, as GNU tar writes it.
pub(super) fn xattr_key(name: &str) -> String {
    format!("SCHILY.xattr.{}", name.replace('%', "%25").replace('=', "%3D"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        let mut lines = Vec::new();
        // Around the lengths at which the length gets another digit.
        for len in (0..130).chain(970..1010) {
            line("path", &vec![b'a'; len + 1], &mut lines);
            let mut pax = Pax::default();
            pax.add(&lines).unwrap();
            assert_eq!(pax.get("path").unwrap().len(), len + 1);
            lines.clear();
        }
        for lines in [
            "5 a=b\n",
            "9 a=b\n",
            "a=b\n",
            "x a=b\n",
            "6 a=b",
            "18446744073709551615 a=b\n",
            "2 a",
            "6 ab\n\n",
        ] {
            assert!(Pax::default().add(lines.as_bytes()).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn times_come_back() {
        for time_ in [(0, 0), (1, 5), (-1, 0), (-1, 999_999_999), (-2, 1), (i64::MAX, 999_999_999)] {
            assert_eq!(time(time_text(time_.0, time_.1).as_bytes()), Some(time_));
        }
        assert_eq!(time(b"12.3456789019"), Some((12, 345_678_901)));
        assert_eq!(time(b"-0.5"), Some((-1, 500_000_000)));
        for text in ["", "a", "1.x", "--1", "-", "99999999999999999999", "1.-5"] {
            assert_eq!(time(text.as_bytes()), None, "{text:?}");
        }
    }
}

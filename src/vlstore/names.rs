//! vlstore's table of names, in the part of MessagePack that it uses.

#![expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]

use crate::key::Key;

/// The first element of each line of the table.
const TUPLE: &str = "__tuple__";

/// One line of the table of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: Key,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What is wrong with some MessagePack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) at: usize,
    pub(super) expected: &'static str,
    pub(super) found: String,
}

/// Reads an uncompressed table of names.
pub(super) fn read_lookup(raw: &[u8]) -> Result<Vec<Line>, Malformed> {
    let mut reader = Reader { bytes: raw, at: 0 };
    let expect = |reader: &Reader<'_>, expected, found: &Value<'_>| Malformed {
        at: reader.at,
        expected,
        found: found.to_string(),
    };
    let count = match reader.next()? {
        Value::Array(count) => count,
        other => return Err(expect(&reader, "an array of records", &other)),
    };
    // Not allocated ahead, because the count cannot be trusted.
    let mut lines = Vec::new();
    for _ in 0..count {
        match reader.next()? {
            // Plain tuples. vlstore does not write them today.
            Value::Array(3) => {}
            Value::Array(4) => match reader.next()? {
                Value::Str(TUPLE) => {}
                other => return Err(expect(&reader, "\"__tuple__\"", &other)),
            },
            other => return Err(expect(&reader, "an array of a record's name and place", &other)),
        }
        let key = match reader.next()? {
            Value::Str(name) => Key::Str(name.to_owned()),
            Value::Bin(name) => Key::Bytes(name.to_vec()),
            Value::Int(value) => Key::Int(value),
            // Python treats 1 and True as the same key.
            Value::Bool(value) => Key::Int(i128::from(value)),
            other @ Value::Array(_) => {
                return Err(expect(&reader, "a string, bytes or an integer as a name", &other));
            }
        };
        let place = |reader: &mut Reader<'_>| match reader.next()? {
            Value::Int(value) if u64::try_from(value).is_ok() => Ok(u64::try_from(value).unwrap_or(0)),
            other => Err(expect(reader, "a place in the frame", &other)),
        };
        let (start, end) = (place(&mut reader)?, place(&mut reader)?);
        lines.push(Line { key, start, end });
    }
    if reader.at == raw.len() {
        return Ok(lines);
    }
    let found = format!("{} bytes more", raw.len() - reader.at);
    Err(Malformed { at: reader.at, expected: "the end of the table", found })
}

/// The values that a table of names contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    /// An array. The values that follow are counted here.
    Array(usize),
    Str(&'a str),
    Bin(&'a [u8]),
    Int(i128),
    Bool(bool),
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Array(count) => write!(f, "an array of {count}"),
            Self::Str(text) => write!(f, "a string of {} bytes", text.len()),
            Self::Bin(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Int(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// Reads the part of MessagePack that tables of names use. Checks all bounds.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(Malformed { at: self.at, expected: "more MessagePack", found: "the end".into() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// A big-endian number of `width` bytes.
    fn unsigned(&mut self, width: usize) -> Result<u64, Malformed> {
        Ok(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn len(&mut self, width: usize) -> Result<usize, Malformed> {
        Ok(usize::try_from(self.unsigned(width)?).unwrap_or(usize::MAX))
    }

    fn str(&mut self, len: usize) -> Result<Value<'a>, Malformed> {
        let at = self.at;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(Value::Str).map_err(|error| Malformed {
            at,
            expected: "UTF-8",
            found: error.to_string(),
        })
    }

    fn next(&mut self) -> Result<Value<'a>, Malformed> {
        let at = self.at;
        let [kind] = self.array()?;
        let low = |mask: u8| usize::from(kind & mask);
        match kind {
            0x00..=0x7f => Ok(Value::Int(i128::from(kind))),
            0xe0..=0xff => Ok(Value::Int(i128::from(kind.cast_signed()))),
            0x90..=0x9f => Ok(Value::Array(low(0x0f))),
            0xa0..=0xbf => self.str(low(0x1f)),
            0xc2 | 0xc3 => Ok(Value::Bool(kind == 0xc3)),
            0xc4..=0xc6 => {
                let len = self.len(1 << low(3))?;
                self.take(len).map(Value::Bin)
            }
            0xcc..=0xcf => Ok(Value::Int(i128::from(self.unsigned(1 << low(3))?))),
            0xd0 => Ok(Value::Int(i128::from(i8::from_be_bytes(self.array()?)))),
            0xd1 => Ok(Value::Int(i128::from(i16::from_be_bytes(self.array()?)))),
            0xd2 => Ok(Value::Int(i128::from(i32::from_be_bytes(self.array()?)))),
            0xd3 => Ok(Value::Int(i128::from(i64::from_be_bytes(self.array()?)))),
            0xd9..=0xdb => {
                let len = self.len(1 << (kind - 0xd9))?;
                self.str(len)
            }
            0xdc | 0xdd => Ok(Value::Array(self.len(2 << (kind - 0xdc))?)),
            _ => Err(Malformed {
                at,
                expected: "an array, a string, bytes or an integer",
                found: format!("MessagePack of kind {kind:#04x}"),
            }),
        }
    }
}

/// The table of names that vlstore looks for.
///
/// It is MessagePack of the names, each with the raw bytes `start..end` of its record. Empty records are
/// left out, because vlstore has none.
pub(super) fn saved_lookup(records: impl Iterator<Item = (Key, u64, u64)>) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut count = 0usize;
    for (key, start, end) in records.filter(|(_, start, end)| end > start) {
        count += 1;
        lines.push(0x94);
        put_str(&mut lines, TUPLE);
        match &key {
            Key::Str(name) => put_str(&mut lines, name),
            Key::Bytes(name) => put_bin(&mut lines, name),
            Key::Int(value) => put_int(&mut lines, *value),
        }
        put_int(&mut lines, i128::from(start));
        put_int(&mut lines, i128::from(end));
    }
    let mut out = Vec::with_capacity(lines.len() + 5);
    match (u8::try_from(count), u16::try_from(count)) {
        (Ok(short @ ..16), _) => out.push(0x90 | short),
        (_, Ok(count)) => put(&mut out, 0xdc, &count.to_be_bytes()),
        _ => put(&mut out, 0xdd, &u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()),
    }
    out.extend_from_slice(&lines);
    out
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

/// Writes a length. `kind` marks lengths of one byte, and the next two kinds those of two and four
/// bytes.
fn put_len(out: &mut Vec<u8>, kind: u8, len: usize) {
    if let Ok(len) = u8::try_from(len) {
        put(out, kind, &[len]);
    } else if let Ok(len) = u16::try_from(len) {
        put(out, kind + 1, &len.to_be_bytes());
    } else {
        // Names are always shorter than this limit (`MAX_KEY_LEN`).
        put(out, kind + 2, &u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(short @ ..32) => out.push(0xa0 | short),
        _ => put_len(out, 0xd9, text.len()),
    }
    out.extend_from_slice(text.as_bytes());
}

fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, 0xc4, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes the shortest form. `value` must be an integer that a key can have.
fn put_int(out: &mut Vec<u8>, value: i128) {
    if let Ok(value) = u64::try_from(value) {
        match (u8::try_from(value), u16::try_from(value), u32::try_from(value)) {
            (Ok(value @ ..0x80), ..) => out.push(value),
            (Ok(value), ..) => put(out, 0xcc, &[value]),
            (_, Ok(value), _) => put(out, 0xcd, &value.to_be_bytes()),
            (.., Ok(value)) => put(out, 0xce, &value.to_be_bytes()),
            _ => put(out, 0xcf, &value.to_be_bytes()),
        }
    } else {
        let value = i64::try_from(value).unwrap_or(i64::MIN);
        match (i8::try_from(value), i16::try_from(value), i32::try_from(value)) {
            (Ok(value @ -32..), ..) => out.push(value.cast_unsigned()),
            (Ok(value), ..) => put(out, 0xd0, &value.to_be_bytes()),
            (_, Ok(value), _) => put(out, 0xd1, &value.to_be_bytes()),
            (.., Ok(value)) => put(out, 0xd2, &value.to_be_bytes()),
            _ => put(out, 0xd3, &value.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers() -> Vec<i128> {
        let edges = [0, 31, 32, 33, 127, 128, 129, 255, 256, 32767, 32768, 32769, 65535, 65536];
        let wide = [1 << 31, (1 << 31) + 1, 1 << 32, (1 << 32) - 1, (1 << 63) - 1, 1 << 63];
        let up = edges.into_iter().chain(wide);
        up.clone().chain(up.map(|n: i128| -n)).chain([i128::from(u64::MAX)]).collect()
    }

    #[test]
    fn every_integer_comes_back_in_its_shortest_form() {
        for value in integers() {
            let mut bytes = Vec::new();
            put_int(&mut bytes, value);
            let mut reader = Reader { bytes: &bytes, at: 0 };
            assert_eq!(reader.next(), Ok(Value::Int(value)));
            assert_eq!(reader.at, bytes.len());
            let magnitude = if value < 0 { -value - 1 } else { value };
            let signed = [(32, 1), (1 << 7, 2), (1 << 15, 3), (1 << 31, 5), (1 << 63, 9)];
            let unsigned = [(1 << 7, 1), (1 << 8, 2), (1 << 16, 3), (1 << 32, 5), (1i128 << 64, 9)];
            let limits = if value < 0 { signed } else { unsigned };
            let shortest = limits.iter().find(|(limit, _)| magnitude < *limit).unwrap().1;
            assert_eq!(bytes.len(), shortest, "{value}");
        }
    }

    #[test]
    fn strings_and_bytes_of_every_length_come_back() {
        for len in [0, 1, 31, 32, 255, 256, 65535, 65536] {
            let text = "x".repeat(len);
            let mut bytes = Vec::new();
            put_str(&mut bytes, &text);
            put_bin(&mut bytes, text.as_bytes());
            let mut reader = Reader { bytes: &bytes, at: 0 };
            assert_eq!(reader.next(), Ok(Value::Str(&text)));
            assert_eq!(reader.next(), Ok(Value::Bin(text.as_bytes())));
            assert_eq!(reader.at, bytes.len());
        }
    }

    #[test]
    fn a_table_comes_back_without_its_empty_records() {
        for count in [0, 1, 15, 16, 70_000] {
            let key = |n: u64| match n % 3 {
                0 => Key::Str(format!("{n}é")),
                1 => Key::Bytes(vec![0xff; usize::try_from(n % 300).unwrap()]),
                _ => Key::Int(i128::from(n) - 9),
            };
            let lines: Vec<Line> =
                (0..count).map(|n| Line { key: key(n), start: n << 20, end: (n << 20) + n + 1 }).collect();
            let empty = (Key::Int(7), 4096, 4096);
            let records = lines.iter().map(|line| (line.key.clone(), line.start, line.end));
            let raw = saved_lookup(std::iter::once(empty).chain(records));
            assert_eq!(read_lookup(&raw), Ok(lines));
        }
    }

    #[test]
    fn plain_tuples_and_true_are_read() {
        let raw = [0x92, 0x93, 0xc3, 1, 2, 0x93, 0xc2, 3, 4];
        let line = |key, start, end| Line { key: Key::Int(key), start, end };
        assert_eq!(read_lookup(&raw), Ok(vec![line(1, 1, 2), line(0, 3, 4)]));
    }

    #[test]
    fn malformed_tables_are_refused() {
        let good = saved_lookup([(Key::Str("name".into()), 300, 70_000)].into_iter());
        for len in 0..good.len() {
            assert!(read_lookup(&good[..len]).is_err(), "{len} bytes");
        }
        assert!(read_lookup(&[&good[..], &[0]].concat()).is_err());
        for at in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = read_lookup(&bad);
            }
        }
        let forged: [&[u8]; 6] = [
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            &[0x91, 0x93, 0xc6, 0xff, 0xff, 0xff, 0xff, 0, 0],
            &[0x91, 0x93, 0xa1, 0xff, 0, 1],
            &[0x91, 0x93, 0x01, 0xff, 0x01],
            &[0x91, 0x93, 0xca, 0, 0, 0, 0, 0, 1],
            &[0x91, 0x94, 0xa1, b'x', 0x01, 0x00, 0x01],
        ];
        for raw in forged {
            assert!(read_lookup(raw).is_err(), "{raw:x?}");
        }
    }
}

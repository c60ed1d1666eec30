//! Finds one value in MessagePack bytes, without decoding the rest.

use super::expr::Value;

/// How deep values may be nested. Deeper ones are not found.
const MAX_DEPTH: usize = 64;

/// The value that the names lead to, one map inside the other. It is missing if there is none, or if it is
/// nil.
pub(crate) fn lookup<'b>(mut bytes: &'b [u8], path: &[String]) -> Value<'b> {
    let bytes = &mut bytes;
    for name in path {
        if find(bytes, name.as_bytes()).is_none() {
            return Value::Missing;
        }
    }
    match take(bytes) {
        Some(Taken::Value(value)) => value,
        Some(_) => Value::Other,
        None => Value::Missing,
    }
}

/// Goes to the value of `name` in the map that comes next.
fn find(bytes: &mut &[u8], name: &[u8]) -> Option<()> {
    let Taken::Map(n) = take(bytes)? else { return None };
    for _ in 0..n {
        let key = take(bytes)?;
        let is = match &key {
            Taken::Value(Value::Text(text)) => text.as_bytes() == name,
            _ => false,
        };
        if is {
            return Some(());
        }
        skip_inside(bytes, &key, 0)?;
        skip(bytes, 0)?;
    }
    None
}

enum Taken<'b> {
    Value(Value<'b>),
    /// This many values follow.
    List(u64),
    /// This many pairs follow.
    Map(u64),
}

fn skip(bytes: &mut &[u8], depth: usize) -> Option<()> {
    let taken = take(bytes)?;
    skip_inside(bytes, &taken, depth)
}

/// Skips what is inside something that was taken. Each value takes a byte, so forged counts end with these.
fn skip_inside(bytes: &mut &[u8], taken: &Taken<'_>, depth: usize) -> Option<()> {
    let n = match taken {
        Taken::Value(_) => return Some(()),
        Taken::List(n) => *n,
        Taken::Map(n) => n.checked_mul(2)?,
    };
    if depth == MAX_DEPTH {
        return None;
    }
    (0..n).try_for_each(|_| skip(bytes, depth + 1))
}

fn split<'b>(bytes: &mut &'b [u8], len: u64) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(head)
}

/// An unsigned number of so many bytes, the highest first.
fn number(bytes: &mut &[u8], len: u64) -> Option<u64> {
    Some(split(bytes, len)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn signed(bytes: &mut &[u8], len: u32) -> Option<i128> {
    let bits = number(bytes, u64::from(len))?;
    let unused = 64 - 8 * len;
    Some(i128::from((bits << unused).cast_signed() >> unused))
}

fn text<'b>(bytes: &mut &'b [u8], len: u64) -> Option<Taken<'b>> {
    let text = std::str::from_utf8(split(bytes, len)?).map_or(Value::Other, |text| Value::Text(text.into()));
    Some(Taken::Value(text))
}

fn take<'b>(bytes: &mut &'b [u8]) -> Option<Taken<'b>> {
    let first = split(bytes, 1)?.first().copied()?;
    let low = |mask: u8| u64::from(first & mask);
    let value = match first {
        0x00..=0x7f => Value::Integer(first.into()),
        0x80..=0x8f => return Some(Taken::Map(low(0x0f))),
        0x90..=0x9f => return Some(Taken::List(low(0x0f))),
        0xa0..=0xbf => return text(bytes, low(0x1f)),
        0xc0 => Value::Missing,
        0xc2 | 0xc3 => Value::Boolean(first == 0xc3),
        0xc4..=0xc6 => {
            let len = number(bytes, 1 << (first - 0xc4))?;
            Value::Bytes(split(bytes, len)?.into())
        }
        0xc7..=0xc9 => {
            let len = number(bytes, 1 << (first - 0xc7))?;
            split(bytes, len.checked_add(1)?)?;
            Value::Other
        }
        0xca => Value::Float(f32::from_bits(u32::try_from(number(bytes, 4)?).ok()?).into()),
        0xcb => Value::Float(f64::from_bits(number(bytes, 8)?)),
        0xcc..=0xcf => Value::Integer(number(bytes, 1 << (first - 0xcc))?.into()),
        0xd0..=0xd3 => Value::Integer(signed(bytes, 1 << (first - 0xd0))?),
        0xd4..=0xd8 => {
            split(bytes, (1 << (first - 0xd4)) + 1)?;
            Value::Other
        }
        0xd9..=0xdb => {
            let len = number(bytes, 1 << (first - 0xd9))?;
            return text(bytes, len);
        }
        0xdc | 0xdd => return Some(Taken::List(number(bytes, 2 << (first - 0xdc))?)),
        0xde | 0xdf => return Some(Taken::Map(number(bytes, 2 << (first - 0xde))?)),
        0xe0..=0xff => Value::Integer(first.cast_signed().into()),
        0xc1 => return None,
    };
    Some(Taken::Value(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    #[cfg(feature = "json")]
    #[test]
    fn values_are_found_as_the_encoder_wrote_them() {
        let value = serde_json::json!({
            "list": [1, { "a": 2 }, "x"], "source": "md", "deep": { "er": { "n": -70_000, "big": u64::MAX } },
            "ok": true, "none": null, "x": 1.5, "small": -3, "long": "y".repeat(300),
        });
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        let found = |text: &str| lookup(&bytes, &path(text));
        assert_eq!(found("source"), Value::Text("md".into()));
        assert_eq!(found("deep.er.n"), Value::Integer(-70_000));
        assert_eq!(found("deep.er.big"), Value::Integer(u64::MAX.into()));
        assert_eq!(
            (found("ok"), found("x"), found("small")),
            (Value::Boolean(true), Value::Float(1.5), Value::Integer(-3))
        );
        assert_eq!(found("long"), Value::Text("y".repeat(300).into()));
        for missing in ["none", "source.x", "spin", "deep.x.n"] {
            assert_eq!(found(missing), Value::Missing, "{missing}");
        }
        for other in ["list", "deep", "deep.er", ""] {
            assert_eq!(found(other), Value::Other, "{other}");
        }
        for cut in 0..bytes.len() {
            let _ = lookup(&bytes[..cut], &path("long"));
            let _ = lookup(&bytes[..cut], &path("deep.er.big"));
        }
    }

    #[test]
    fn forged_bytes_end() {
        let many = [0xdf, 0xff, 0xff, 0xff, 0xff, 0xdd, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(lookup(&many, &path("a")), Value::Missing);
        let deep = [[0x91; 5000].to_vec(), vec![1]].concat();
        let map = [vec![0x82, 0xa1, b'b'], deep, vec![0xa1, b'a', 1]].concat();
        assert_eq!(lookup(&map, &path("a")), Value::Missing);
        for first in 0..=u8::MAX {
            let _ = lookup(&[0x81, 0xa1, b'a', first, 0, 0, 0], &path("a"));
        }
        assert_eq!(lookup(&[0x81, 0xa1, b'a', 0xd1, 0xff, 0xfe], &path("a")), Value::Integer(-2));
        assert_eq!(lookup(&[7], &[]), Value::Integer(7));
    }
}

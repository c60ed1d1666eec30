//! Serde values of any type, shown as JSON whatever their stored form.

use std::fmt;
use std::io::Write;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use vldepot::Codec;
use vldepot::codecs::{Json, Serde};

use super::{Error, Printer, Shown};
use crate::text;

/// Shows MessagePack.
pub(super) struct MessagePack;

/// Shows JSON.
pub(super) struct JsonText;

impl Printer for MessagePack {
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        print_pretty(&Serde::<Tree>::new().view(record.bytes)?, out)
    }

    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        print(&Serde::<Tree>::new().view(record.bytes)?, out)
    }
}

impl Printer for JsonText {
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        print_pretty(&Json::<Tree>::new().view(record.bytes)?, out)
    }

    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        print(&Json::<Tree>::new().view(record.bytes)?, out)
    }
}

fn print_pretty(tree: &Tree, out: &mut dyn Write) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(tree)?;
    // Line by line. The newlines are the printer's own, because JSON has none inside strings.
    for line in json.lines() {
        writeln!(out, "{}", text::without_controls(line))?;
    }
    Ok(())
}

fn print(tree: &Tree, out: &mut dyn Write) -> Result<(), Error> {
    serde_json::to_writer(&mut *out, tree)?;
    writeln!(out)?;
    Ok(())
}

/// Any value, in the order in which it is stored.
///
/// `serde_json::Value` refuses byte strings, and maps with keys that are not strings. Both are common in
/// MessagePack. Here a byte string becomes `{"bytes": "0aff"}`, and such a key becomes its own JSON.
pub(super) enum Tree {
    Null,
    Bool(bool),
    Negative(i64),
    Natural(u64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
    Sequence(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Negative(value) => serializer.serialize_i64(*value),
            Self::Natural(value) => serializer.serialize_u64(*value),
            Self::Real(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("bytes", &text::hex(value))?;
                map.end()
            }
            Self::Sequence(values) => serializer.collect_seq(values),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    match key {
                        Self::Text(key) => map.serialize_entry(key, value)?,
                        key => {
                            let key = serde_json::to_string(key).map_err(serde::ser::Error::custom)?;
                            map.serialize_entry(&key, value)?;
                        }
                    }
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    /// MessagePack's extension types: number and bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Negative(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Natural(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Real(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bytes(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Tree::Sequence(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

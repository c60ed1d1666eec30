//! Bytes that mean nothing to this program: a hex dump in the form of `xxd`.

use std::io::Write;

use serde_json::json;

use super::{Error, Printer, Shown};
use crate::text;

/// Bytes in a line.
const LINE: usize = 16;

/// The most bytes that are shown without `--all`.
const SHOWN: usize = 16 * LINE;

/// Shows bytes.
pub(super) struct Dump;

impl Printer for Dump {
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let bytes = record.bytes;
        let shown = if record.all { bytes.len() } else { bytes.len().min(SHOWN) };
        for (i, line) in bytes[..shown].chunks(LINE).enumerate() {
            let mut digits = String::with_capacity(5 * LINE / 2);
            for pair in line.chunks(2) {
                digits += &text::hex(pair);
                digits.push(' ');
            }
            let printable = |&byte: &u8| {
                if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '.' }
            };
            let characters: String = line.iter().map(printable).collect();
            writeln!(out, "{:08x}: {digits:<41}{characters}", i * LINE)?;
        }
        if shown < bytes.len() {
            let rest = text::more((bytes.len() - shown) as u64, "byte");
            writeln!(out, "... {rest}: --all prints them")?;
        }
        Ok(())
    }

    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let object = json!({ "length": record.bytes.len(), "hex": text::hex(record.bytes) });
        writeln!(out, "{object}")?;
        Ok(())
    }
}

//! Collections: their objects, each as bytes.

use std::io::Write;

use serde_json::json;
use vldepot::Codec;
use vldepot::collections::CollectionCodec;

use super::{Error, Printer, Shown};
use crate::text;

/// The most objects, and bytes of each, that are shown without `--all`.
const SHOWN: usize = 16;

/// Shows collections.
pub(super) struct Collections;

impl Printer for Collections {
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let objects = CollectionCodec.view(record.bytes)?;
        let shown = if record.all { objects.len() } else { objects.len().min(SHOWN) };
        for (n, object) in objects.iter().enumerate().take(shown) {
            let bytes = if record.all { object.len() } else { object.len().min(SHOWN) };
            let rest = if bytes < object.len() { ".." } else { "" };
            writeln!(out, "{n}: {} bytes: {}{rest}", object.len(), text::hex(&object[..bytes]))?;
        }
        if shown < objects.len() {
            let rest = text::more((objects.len() - shown) as u64, "object");
            writeln!(out, "... {rest}: --all prints them")?;
        }
        Ok(())
    }

    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let objects = CollectionCodec.view(record.bytes)?;
        let objects: Vec<_> = objects
            .iter()
            .map(|object| json!({ "length": object.len(), "hex": text::hex(object) }))
            .collect();
        writeln!(out, "{}", json!(objects))?;
        Ok(())
    }
}

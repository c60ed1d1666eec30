//! Arrays of any dtype and shape.

use std::io::Write;

use vldepot::Codec;
use vldepot::codecs::AnyNdArray;

use super::values::Values;
use super::{Error, Printer, Shown};

/// Shows arrays.
pub(super) struct Arrays;

impl Printer for Arrays {
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        let values = Values::new(AnyNdArray.view(record.bytes)?.to_any()?)?;
        writeln!(out, "{}", values.kind())?;
        values.print(record.all, "", out)
    }

    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error> {
        Values::new(AnyNdArray.view(record.bytes)?.to_any()?)?.json(out)?;
        writeln!(out)?;
        Ok(())
    }
}

//! `vldepot cat`: prints one record, as raw bytes or in a readable form.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use vldepot::{Depot, Mapping, OpenOptions, Raw};

use super::Run;
use crate::failure::Failure;
use crate::name::{self, Kind};
use crate::print::{self, Shown};
use crate::text;

/// Write the bytes of one record, or show what they mean.
#[derive(Args)]
pub(crate) struct Cat {
    /// The depot.
    file: PathBuf,
    /// The record's name.
    #[arg(allow_negative_numbers = true)]
    name: String,
    #[command(flatten)]
    kind: Kind,
    /// Show what the record means, decoded by the codec that the depot names.
    #[arg(long, short)]
    decoded: bool,
    /// Print every row and every byte.
    #[arg(long, requires = "decoded", conflicts_with = "json")]
    all: bool,
    /// Decode with this codec instead. For files that name none.
    #[arg(long, value_name = "ID", requires = "decoded")]
    codec: Option<String>,
    /// Write to a terminal whatever the record holds. Without this, only text goes there.
    #[arg(long, short)]
    force: bool,
    /// With --decoded, print the whole record as one JSON value. Errors are JSON in any case.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

/// Tells errors of the output apart from errors of the depot.
struct Out<'o> {
    out: &'o mut dyn Write,
    refused: Option<io::Error>,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        written.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.refused = Some(error);
            }
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Finds out whether what is written to it is text that a terminal may have.
#[derive(Default)]
struct Text {
    /// The start of a character whose end was not written yet, or a carriage return.
    rest: Vec<u8>,
    is_other: bool,
}

impl Text {
    fn is_plain(&self) -> bool {
        !self.is_other && self.rest.is_empty()
    }

    /// Looks at whole characters.
    fn look(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n");
        self.is_other |= text.contains(|c| c != '\n' && c != '\t' && text::is_control(c));
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_other {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        // A line feed may follow a carriage return.
        let end = all.len() - usize::from(all.ends_with(b"\r"));
        let whole = match std::str::from_utf8(&all[..end]) {
            Ok(text) => text.len(),
            Err(error) => {
                self.is_other |= error.error_len().is_some();
                error.valid_up_to()
            }
        };
        self.look(&String::from_utf8_lossy(&all[..whole]));
        self.rest = all.split_off(whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Run for Cat {
    fn json(&self) -> bool {
        self.json
    }

    fn prints_json(&self) -> bool {
        self.json && self.decoded
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let key = self.kind.key(&self.name)?;
        // One record is read once. Mapping the file would only make the process look as large as the
        // file.
        let options = OpenOptions::default().with_mapping(Mapping::Never).with_accept_loss(true);
        let depot = Depot::builder(Raw).open_options(options.clone()).open(&self.file)?;
        let failed = |error| name::failure(error, &depot, &key, &self.name);
        if !self.decoded {
            if !self.force && io::stdout().is_terminal() {
                let mut text = Text::default();
                let read = depot.read_to(&key, &mut text);
                if !text.is_plain() {
                    return Err(Failure::other(format!(
                        "{}: record {} is not plain text, which a terminal could take for commands: --decoded shows \
                         what it means, --force writes it as it is",
                        text::path(&self.file),
                        text::name(&key)
                    )));
                }
                read.map_err(failed)?;
            }
            let mut out = Out { out, refused: None };
            let read = depot.read_to(&key, &mut out);
            return match out.refused {
                Some(error) => Err(error.into()),
                None => read.map(|_| ()).map_err(failed),
            };
        }
        let record = depot.get(&key).map_err(failed)?;
        let stored = depot.stored_codec();
        let (id, parameters) = match &self.codec {
            Some(id) if *id != stored.id => (id.clone(), Vec::new()),
            _ => (stored.id, stored.parameters),
        };
        let printer = print::by_codec(&id).ok_or_else(|| {
            let known = print::known().collect::<Vec<_>>().join(", ");
            let id = text::without_controls(&id);
            Failure::usage(format!("records of codec `{id}` cannot be shown: choose --codec from {known}"))
        })?;
        let shown = Shown { bytes: record.as_bytes(), parameters: &parameters, all: self.all };
        let printed = if self.json { printer.json(&shown, out) } else { printer.text(&shown, out) };
        printed.map_err(|error| match error {
            print::Error::Codec(error) => Failure::other(format!(
                "{}: record {} is not what codec `{id}` writes: {error}",
                self.file.display(),
                text::name(&key)
            )),
            print::Error::Output(failure) => failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Text;

    fn is_plain(bytes: &[u8]) -> bool {
        // However it comes in pieces.
        let whole = {
            let mut text = Text::default();
            text.write_all(bytes).is_ok() && text.is_plain()
        };
        let by_bytes = {
            let mut text = Text::default();
            bytes.iter().all(|byte| text.write_all(&[*byte]).is_ok()) && text.is_plain()
        };
        assert_eq!(whole, by_bytes, "{bytes:?}");
        whole
    }

    #[test]
    fn text_goes_to_a_terminal_and_what_could_command_it_does_not() {
        for text in ["", "a\tb\n", "two\r\nlines\r\n", "é 漢字"] {
            assert!(is_plain(text.as_bytes()), "{text:?}");
        }
        let commands = ["\x1b[2J", "a\rb", "a\r", "\0", "\u{9b}2J", "\u{202e}", "\x7f"];
        for text in commands {
            assert!(!is_plain(text.as_bytes()), "{text:?}");
        }
        for bytes in [&b"\xff"[..], b"a\xc3", b"\xe6\xbc"] {
            assert!(!is_plain(bytes), "{bytes:?}");
        }
    }
}

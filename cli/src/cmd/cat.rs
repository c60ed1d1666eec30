//! `vldepot cat`: prints one record, as raw bytes or in a readable form.

use std::io::{self, Write};
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
    /// With --decoded, print the whole record as one JSON value. Errors are JSON in any case.
    #[arg(long)]
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

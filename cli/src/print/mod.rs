//! Shows records to people and scripts.
//!
//! There is one file for each family of codecs. The codec id that a depot stores chooses the printer.

mod atomic;
mod collections;
mod ndarray;
mod raw;
mod serde;
mod values;

use std::io::{self, Write};

use vldepot::codecs::{AnyNdArray, AtomicFrameCodec, Json, Serde};
use vldepot::collections::CollectionCodec;
use vldepot::{Codec, CodecError, Raw};

use crate::failure::Failure;

/// A record, and how it is to be shown.
pub(crate) struct Shown<'a> {
    /// The record, aligned as the codecs require.
    pub(crate) bytes: &'a [u8],
    /// The parameters that the depot stores for its codec.
    pub(crate) parameters: &'a [u8],
    /// Whether to leave nothing out.
    pub(crate) all: bool,
}

/// Shows the records of one codec.
pub(crate) trait Printer: Sync {
    /// Prints the record for people, with long arrays abbreviated.
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error>;

    /// Prints the whole record as one JSON value.
    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error>;
}

/// The printer for each codec. A new printer is a file, and a line here.
const PRINTERS: [(&str, &dyn Printer); 6] = [
    (AtomicFrameCodec::ID, &atomic::Frames),
    (AnyNdArray::ID, &ndarray::Arrays),
    (Serde::<serde::Tree>::ID, &serde::MessagePack),
    (Json::<serde::Tree>::ID, &serde::JsonText),
    (CollectionCodec::ID, &collections::Collections),
    (Raw::ID, &raw::Dump),
];

/// The printer for records of the codec `id`.
pub(crate) fn by_codec(id: &str) -> Option<&'static dyn Printer> {
    PRINTERS.into_iter().find(|(codec, _)| *codec == id).map(|(_, printer)| printer)
}

/// The codecs whose records can be shown.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    PRINTERS.into_iter().map(|(codec, _)| codec)
}

/// Why a record was not shown.
pub(crate) enum Error {
    /// The codec did not write such bytes.
    Codec(CodecError),
    /// The output accepts no more.
    Output(Failure),
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

//! Records for people and for scripts: one file per family of codecs, found by the codec id a depot stores.

mod atomic;
mod ndarray;
mod raw;
mod serde;
mod values;

use std::io::{self, Write};

use vldepot::codecs::{AnyNdArray, AtomicFrameCodec, Json, Serde};
use vldepot::{Codec, CodecError, Raw};

use crate::failure::Failure;

/// A record, and how it is to be shown.
pub(crate) struct Shown<'a> {
    /// The record, aligned as the codecs ask for.
    pub(crate) bytes: &'a [u8],
    /// What the depot stores of the codec that wrote it.
    pub(crate) parameters: &'a [u8],
    /// Whether to leave nothing out.
    pub(crate) all: bool,
}

/// Shows the records of one codec.
pub(crate) trait Printer: Sync {
    /// For people: long arrays abbreviated.
    fn text(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error>;

    /// One JSON value, complete.
    fn json(&self, record: &Shown<'_>, out: &mut dyn Write) -> Result<(), Error>;
}

/// Who shows the records of which codec. A new printer is a file, and a line here.
const PRINTERS: [(&str, &dyn Printer); 5] = [
    (AtomicFrameCodec::ID, &atomic::Frames),
    (AnyNdArray::ID, &ndarray::Arrays),
    (Serde::<serde::Tree>::ID, &serde::MessagePack),
    (Json::<serde::Tree>::ID, &serde::JsonText),
    (Raw::ID, &raw::Dump),
];

/// The printer for records of that codec.
pub(crate) fn by_codec(id: &str) -> Option<&'static dyn Printer> {
    PRINTERS.into_iter().find(|(codec, _)| *codec == id).map(|(_, printer)| printer)
}

/// The codecs whose records can be shown.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    PRINTERS.into_iter().map(|(codec, _)| codec)
}

/// Why a record was not shown.
pub(crate) enum Error {
    /// It is not what its codec writes.
    Codec(CodecError),
    /// The output takes no more.
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

//! A compressed depot of named, variable-length records.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_precision_loss))]

mod blosc;
mod buffer;
mod chunk;
pub mod codec;
#[path = "../codecs/mod.rs"]
pub mod codecs;
mod depot;
mod error;
mod format;
mod index;
mod key;
mod options;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod vlstore;

pub use blosc::BloscError;
pub use codec::{Codec, CodecError, Raw};
pub use depot::{CodecInfo, Depot, DepotInfo, Iter, Keys, Location, Metadata, Options, Record};
pub use error::{Error, Result};
pub use key::{AsKey, Key, MAX_KEY_LEN};
pub use options::{
    CommitEvery, Compression, CompressionCodec, DepotOptions, Filter, Mapping, OpenOptions, PRESETS,
    Placement,
};

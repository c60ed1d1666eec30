//! A compressed depot of named, variable-length records.

mod blosc;
mod buffer;
pub mod codec;
#[path = "../codecs/mod.rs"]
pub mod codecs;
mod error;
mod format;
mod key;
mod options;

pub use codec::{Codec, CodecError, Raw};
pub use error::{Error, Result};
pub use key::{AsKey, Key, MAX_KEY_LEN};
pub use options::{
    CommitEvery, Compression, CompressionCodec, DepotOptions, Filter, Mapping, OpenOptions, PRESETS,
    Placement,
};

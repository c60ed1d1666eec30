//! A compressed depot of named, variable-length records.

pub mod codec;
#[path = "../codecs/mod.rs"]
pub mod codecs;

pub use codec::{Codec, CodecError, Raw};

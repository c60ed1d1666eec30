//! Chunks of Blosc2: made, looked through, taken apart and decompressed.
//!
//! Only whole chunks go through C. A part of a chunk is read by making a smaller chunk of the blocks that are
//! wanted ([`partial_chunk`]): a Blosc2 chunk is a 32-byte header, one little-endian `i32` offset per block,
//! and the blocks, so any run of whole blocks with a new header and new offsets is a chunk again.
//!
//! c-blosc2 keeps no checksum and may run out of bounds on damaged or forged chunks. Whoever decompresses a
//! chunk of a depot has matched a checksum over its bytes first; and since an attacker can make checksums
//! match, every chunk is looked through by [`vet`] as well: a decoder takes nothing else.
//!
//! ```text
//! params     what users choose, and its numbers in Blosc2
//! header     the 32 bytes at the start of a chunk       blocks   the table after it, and parts of chunks
//! vet        looks a chunk through before C sees it     feature  what this program does not read
//! context    calls c-blosc2, and nobody else does       zlib     decompressed in Rust
//! metadata   small buffers as chunks
//! ```
//!
//! `format`, `log`, `chunk` and `vlstore` call this room, `options` and `error` take its types. It calls
//! [`crate::le`] alone.

mod blocks;
mod context;
mod error;
mod feature;
mod header;
mod limits;
mod metadata;
mod params;
mod vet;
mod zlib;

pub(crate) use blocks::{block_offset, block_offsets, partial_chunk};
#[cfg(test)]
pub(crate) use context::decompress;
pub(crate) use context::{Encoder, with_decoder};
pub use error::BloscError;
pub(crate) use feature::Feature;
pub(crate) use header::ChunkHeader;
pub(crate) use limits::{HEADER_LEN, MAX_BLOCK, MAX_CHUNK};
pub(crate) use metadata::{compress_metadata, decompress_metadata, metadata_limit};
pub use params::{Compression, CompressionCodec, Filter};
pub(crate) use params::{DEFAULT_TYPESIZE, compcode, split_mode};
pub(crate) use vet::vet;

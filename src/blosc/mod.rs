//! Makes, vets, takes apart and decompresses chunks of Blosc2.
//!
//! Only whole chunks go through C. To read a part of a chunk, [`partial_chunk`] makes a smaller chunk of
//! the wanted blocks. A Blosc2 chunk is a 32-byte header, one little-endian `i32` offset per block, and
//! the blocks. So any run of whole blocks, with a new header and new offsets, is a chunk again. For the same
//! reason, blocks of zeros can be appended to a chunk without C: the end of a chunk that is not full.
//!
//! c-blosc2 keeps no checksum, and may run out of bounds on damaged or forged chunks. Before a chunk of a
//! depot is decompressed, its bytes must match a checksum. An attacker can make checksums match, so
//! [`vet()`] looks through every chunk as well. A decoder takes only vetted chunks.
//!
//! ```text
//! params     the choices of users, as numbers of Blosc2
//! header     the 32 bytes at the start of a chunk       blocks   the table after it, and parts of chunks
//! vet        looks through a chunk before C sees it     feature  parts of Blosc2 that are not read
//! context    the only file that calls c-blosc2          zlib     decompresses zlib in Rust
//! metadata   small buffers as chunks                 sparse   blocks of few bytes
//! ```
//!
//! `format`, `log`, `chunk` and `vlstore` call this room; `options` and `error` use its types. It calls only
//! [`crate::le`].

mod blocks;
mod context;
mod error;
mod feature;
mod header;
mod limits;
mod metadata;
mod params;
mod sparse;
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
pub(crate) use params::{DEFAULT_TYPESIZE, Split, compcode};
pub(crate) use vet::vet;

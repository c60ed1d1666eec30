//! The file format: bytes and structs, without I/O.
//!
//! This room and `docs/reference/format.md` describe every byte of the file.
//!
//! ```text
//! frame      the Blosc2 side: header, offsets chunk, trailer
//! metalayers the named byte strings in that header and trailer
//! header     the `vldepot` metalayer inside that header: parameters and the two commit slots
//! entry      the 64-byte head of everything after the header
//! chunk      a CHUNK entry: directory, block checksums, Blosc2 chunk
//! apart      the chunk of an entry whose records have their fields apart
//! growth     what a later version wrote: features, and what is refused or left alone
//! tables     Flatbuffers tables: parameters, commit, directory, segment head (`schemas/depot.fbs`)
//! ```

pub(crate) mod apart;
pub(crate) mod chunk;
pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod growth;
pub(crate) mod header;
mod metalayers;
pub(crate) mod tables;

#[rustfmt::skip]
#[allow(
    clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs, unreachable_pub,
    unsafe_op_in_unsafe_fn, unused_imports, dead_code, mismatched_lifetime_syntaxes,
    reason = "written by flatc"
)]
mod generated;

/// The version that this crate writes, and the highest version that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The highest number of an entry or a commit. No writer reaches it, so there is always a next number.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 62;

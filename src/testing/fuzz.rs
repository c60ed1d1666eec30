//! The bodies of the fuzz targets in `fuzz/`.
//!
//! Each takes any bytes. It panics, hangs or takes too much memory only if there is something to fix.
//! `fuzz/` passes them what libFuzzer makes up. `tests/hostile.rs` passes them the corpus, and what a
//! few seconds of mutation make of it.
//!
//! Most of a depot is guarded by checksums, which mutated bytes do not match. So the first byte of an
//! input says whether [`forge`] makes the checksums match first, as an attacker would.
//!
//! ```text
//! apart        models and blocks of records with their fields apart
//! forge        makes the checksums of mutated bytes match
//! files        whole files: depots and those of vlstore
//! parts        an index segment, a chunk entry
//! frames       records of atomic frames
//! operations   a depot against a list
//! ```

mod apart;
mod files;
mod forge;
mod frames;
mod operations;
mod parts;

pub use apart::fields_apart;
pub use files::{open, vlstore_import};
pub use forge::forge;
#[cfg(test)]
pub(crate) use forge::forge_index;
pub use frames::atomic_view;
pub use operations::operations;
pub use parts::{chunk_directory, index_segment};

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// All targets by name. The files of `fuzz/fuzz_targets` and the folders of `fuzz/corpus` have the same
/// names.
pub const TARGETS: [(&str, Body); 7] = [
    ("open", open),
    ("index_segment", index_segment),
    ("chunk_directory", chunk_directory),
    ("fields_apart", fields_apart),
    ("atomic_view", atomic_view),
    ("vlstore_import", vlstore_import),
    ("operations", operations),
];

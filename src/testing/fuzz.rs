//! The bodies of the fuzz targets in `fuzz/`: whatever the bytes, they return.
//!
//! Each takes any bytes and panics, hangs or takes too much memory only when there is something to fix.
//! `fuzz/` hands them what libFuzzer makes up; `tests/hostile.rs` hands them the corpus and what a few
//! seconds of mutation make of it.
//!
//! Most of a depot lies behind checksums, which mutated bytes do not match. So the first byte of an input
//! says whether [`forge`] makes them match first, as an attacker would.
//!
//! ```text
//! forge        makes the checksums of mutated bytes match
//! files        whole files: depots and those of vlstore
//! parts        an index segment, a chunk entry
//! frames       records of atomic frames
//! operations   a depot against a list
//! ```

mod files;
mod forge;
mod frames;
mod operations;
mod parts;

pub use files::{open, vlstore_import};
pub use forge::forge;
#[cfg(test)]
pub(crate) use forge::forge_index;
pub use frames::atomic_view;
pub use operations::operations;
pub use parts::{chunk_directory, index_segment};

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// All targets by name, as the files of `fuzz/fuzz_targets` and the folders of `fuzz/corpus` are called.
pub const TARGETS: [(&str, Body); 6] = [
    ("open", open),
    ("index_segment", index_segment),
    ("chunk_directory", chunk_directory),
    ("atomic_view", atomic_view),
    ("vlstore_import", vlstore_import),
    ("operations", operations),
];

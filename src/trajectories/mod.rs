//! Trajectories and arrays of other programs, in and out.
//!
//! [`import`] makes a depot of files, `export` (feature `export`) writes one of a depot, and [`Trajectory`]
//! reads one frame by frame without a depot. What is kept of each format stands in
//! `docs/reference/formats.md`.
//!
//! ```text
//! import   files into a depot            reader   one file, frame by frame
//! detect   what a file is                format   the formats by name
//! xtc trr dcd extxyz pdb gsd             a reader each
//! arrays npy                             arrays of NumPy
//! symbols                                elements by number
//! units    of one program as of another  cell     lengths and angles as vectors
//! export   a depot into a file           write write_*   a writer each, and what they share
//! source   a file with its position      frames   what a reader gives
//! ```
//!
//! All readers go from start to end, with one frame in memory. No count in a file is trusted before it was
//! compared with the length of the file.

mod arrays;
mod cell;
mod dcd;
mod detect;
mod error;
#[cfg(feature = "export")]
mod export;
mod extxyz;
mod extxyz_comment;
mod format;
mod frames;
mod gsd;
mod gsd_file;
mod import;
mod npy;
mod options;
mod pdb;
mod reader;
mod source;
mod symbols;
mod trr;
mod units;
mod vectors;
#[cfg(feature = "export")]
mod write;
#[cfg(feature = "export")]
mod write_extxyz;
#[cfg(feature = "export")]
mod write_trr;
#[cfg(feature = "export")]
mod write_xtc;
mod xdr;
mod xtc;

pub use error::ImportError;
#[cfg(feature = "export")]
pub use export::{ExportOptions, Exported, export};
pub use format::Format;
pub use frames::{Entry, Structure};
pub use import::{import, import_in};
pub use options::{ImportOptions, Imported};
pub use reader::Trajectory;

//! Archives from and to tar and zip, and those of Barecat.
//!
//! ```
//! use vldepot::archive::Archive;
//! use vldepot::archive::convert::{ConvertOptions, Format};
//!
//! let archive = Archive::memory()?;
//! archive.write("images/cat.jpg", b"...")?;
//! let mut tar = Vec::new();
//! archive.export(&mut tar, Format::TarZst, &ConvertOptions::new(), |_| ())?;
//!
//! let again = Archive::memory()?;
//! let done = again.import(&tar[..], &ConvertOptions::new(), |_| ())?;
//! assert_eq!((done.transfer.files, done.transfer.folders), (1, 1));
//! assert_eq!(again.read("images/cat.jpg")?.view(), b"...");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```text
//! options  what is wanted              report   what was done, and why not
//! tar      blocks of 512 bytes         zip      a directory at the end       barecat  SQLite and shards
//! packing  gzip, xz and zstd
//! taking   entries into an archive     giving   entries out of one
//! import   taken in, by its format     export   written, in a format           wrap     an index over a tar
//! ```
//!
//! Everything is read and written in one pass, but zip, whose directory is at its end. Long files go
//! through piece by piece, so that little is in memory.

#[cfg(feature = "barecat")]
mod barecat;
mod export;
mod giving;
mod import;
mod options;
mod packing;
mod report;
mod taking;
mod tar;
mod wrap;
mod zip;

pub use options::{ConvertOptions, Format};
pub use report::{ConvertError, Converted};
pub use wrap::wrap_tar;

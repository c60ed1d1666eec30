//! Archives: folders of files in one depot.
//!
//! An [`Archive`] is a depot of raw bytes whose names are paths. Each file is a record, so everything that
//! reads a depot reads an archive too, with the path as the name.
//!
//! ```
//! use vldepot::archive::Archive;
//!
//! let archive = Archive::memory()?;
//! archive.write("images/cat.jpg", b"...")?;
//! archive.write("images/more/dog.jpg", b"....")?;
//! let names: Vec<String> =
//!     archive.read_dir("images")?.map(|entry| Ok(entry?.path.to_string())).collect::<vldepot::Result<_>>()?;
//! assert_eq!(names, ["images/cat.jpg", "images/more"]);
//! assert_eq!(archive.totals("images")?.raw_bytes, 7);
//! # Ok::<(), vldepot::Error>(())
//! ```
//!
//! ```text
//! path    the one rule for paths      folder  the archive: files, folders and links by path
//! stat    mode, times, owner          tree    folders, listed, walked and matched
//! file    one file, to read in        edit    one file, to read and write in
//! count   how many files and folders  folders which folders have records of their own
//! order   files as they are stored, and many at once
//! spool   bytes of a file that is being written
//! disk    files of the disk, put into an archive and written out again
//! convert other archives: tar, zip and Barecat (features `convert` and `barecat`)
//! ```
//!
//! | in the archive | name of the record | bytes | metadata |
//! | --- | --- | --- | --- |
//! | file `a/b` | `a/b` | the file's | [`FileAttributes`] |
//! | folder `a` | `a/` | none | [`FileAttributes`] |
//! | link `a/c` | `a/c` | the path that it leads to | [`FileAttributes`] with `kind = "link"` |
//!
//! A path that is UTF-8 is a string name, any other a byte name. Folders may be missing: a file `a/b` makes a
//! folder `a`, whether it has a record or not.

#[cfg(all(unix, feature = "convert"))]
pub mod convert;
mod count;
#[cfg(unix)]
mod disk;
mod edit;
mod file;
mod folder;
mod folders;
mod order;
mod path;
mod spool;
mod stat;
mod tree;

pub use count::Count;
#[cfg(unix)]
pub use disk::{AddOptions, ExtractOptions, Failure, Progress, Selection, Source, Transfer, add_to_shards};
pub use edit::{FileEdit, FileMode, OpenFile};
pub use file::File;
pub use folder::{Archive, layout};
pub use path::ArchivePath;
pub use stat::{AttributeValue, FileAttributes, FileKind, Stat};
pub use tree::{Entry, Glob, ReadDir, Walk};

/// The longest file: that of a record.
const MAX_LEN: u64 = (1 << 40) - 1;

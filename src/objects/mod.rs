//! Objects with metadata, which many processes change (feature `objects`).
//!
//! An object is bytes with the name of the serializer that made them. It has metadata and statistics, which
//! are read without it. Many processes may read and write the same file: each change is a commit of its own,
//! and an object, or several calls that belong together, can be locked by name.
//!
//! ```
//! use vldepot::objects::Objects;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("results.vld");
//!
//! let objects = Objects::open_or_create(&path)?;
//! objects.put_with_metadata("run 1", b"..", "bytes", &("converged", 12))?; // durable from here on
//! assert_eq!(objects.names()?, ["run 1"]);
//! assert_eq!(objects.metadata::<(String, i64)>("run 1")?.unwrap().1, 12);
//! assert_eq!(objects.stat("run 1")?.unwrap().size, Some(2));
//!
//! // No other process changes the count meanwhile.
//! objects.update("count", |count: Option<u64>| count.unwrap_or(0) + 1)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```text
//! locks   locks of names, between threads and processes
//! store   objects by name
//! folder  names in their order, and folders
//! entry   what is stored beside an object
//! value   metadata of any kind
//! ```
//!
//! # In the file
//!
//! The file is a depot of bytes. Folders are parts of names, as in an archive, and an archive's attributes
//! are kept, so `vldepot list`, `cat` and `extract` know what is in it.
//!
//! | | name of the record | bytes | metadata |
//! | --- | --- | --- | --- |
//! | an object | a string: `FOLDER/NAME` | the object's | a map, see below |
//! | metadata without an object | the same bytes, as a byte string | none | the same map |
//! | a folder | `FOLDER/` | none | none |
//!
//! The map has `meta`, the metadata as they were given; `serializer`; and times in seconds and nanoseconds
//! since 1970: `created` and `created_ns`, `mtime` and `mtime_ns` of the object, and `meta_mtime` and
//! `meta_mtime_ns`.
//!
//! # Locks
//!
//! Beside the file `NAME` there is an empty file `NAME.locks`. A lock of a name is a lock of one byte of it,
//! which a hash of the name chooses (byte ranges, `F_OFD_SETLK` of fcntl). The system releases it when its
//! holder ends, however it ends. So nobody waits for a killed process. Of two names, one in 2^62 pairs has
//! the same byte: these two wait for each other.
//!
//! The depot's own writer's lock is held only while a change is written. Byte 0 makes writers wait for it in
//! turns. Readers wait for nobody.
//!
//! `NAME.locks` may be removed when no process works with the file. There are such locks on Linux, Android
//! and macOS, and elsewhere [`lock`](Objects::lock) and all that writes is an error.

mod entry;
mod folder;
mod locks;
mod store;
mod value;

pub use entry::ObjectStat;
pub use locks::NameLock;
pub use store::{Object, Objects};

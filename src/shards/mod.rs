//! Shards: a folder of depots that are read as one (feature `shards`).
//!
//! A set of shards is a folder with a manifest, `shards.json`, that names depots in their order.
//! [`Depot::open`] opens the folder like a file, so everything that reads a depot reads a set: lookups,
//! positions, iteration, the loader, [`verify`](crate::maintain::verify).
//!
//! ```
//! use vldepot::shards::{self, MergeOptions};
//! use vldepot::{Depot, Raw};
//!
//! # let root = tempfile::tempdir()?;
//! # let folder = root.path().join("run");
//! # std::fs::create_dir(&folder)?;
//! // Each process writes a depot of its own.
//! for rank in 0..3 {
//!     let depot = Depot::create(folder.join(format!("rank_{rank}.vld")), Raw)?;
//!     depot.put(rank, b"..")?;
//!     depot.close()?;
//! }
//! let files = shards::found(&folder)?;
//! shards::merge(&folder, &files, &MergeOptions::default())?;
//!
//! let depot = Depot::open(&folder, Raw)?;
//! assert_eq!(depot.len(), 3);
//! assert_eq!(depot.get(2)?.view(), b"..");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Positions** go through the shards in the manifest's order, and through each in its order of insertion.
//! - **Of records with one name**, the one in the newest shard counts, which is the last in the manifest. The
//!   others are *superseded*: they are not listed, not counted, and have no position.
//! - **Paths** in the manifest are relative, so the folder can be moved or mounted elsewhere.
//! - **Shards** keep their own files, and may be read, verified and compacted alone. Those of one set have
//!   the same codec, chunk size and columns.
//! - **A shard that is missing or damaged** is an error that names it when the folder is opened. With
//!   [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss), the others can be read. A name that none
//!   of them has is then the error [`ErrorKind::MissingShard`](crate::ErrorKind::MissingShard), not "no such
//!   record".
//!
//! To write, use a [`Writer`], which begins a new shard when one is full, or plain depots that [`merge`]
//! adds.
//! [`remove`] removes records from the shards that have them, and [`reshard`] copies a depot or a set into
//! shards of another size, or into one file.
//!
//! [`Depot::open`]: crate::Depot::open

mod merge;
mod reshard;
mod staged;
mod writer;

pub use merge::{MergeOptions, Merged, found, is_set, merge, remove};
pub use reshard::{ReshardOptions, reshard};
pub use staged::StagedSet;
pub use writer::{Writer, WriterOptions};

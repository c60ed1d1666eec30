//! A compressed depot of named, variable-length records: trajectory frames, arrays, serde values or bytes.
//!
//! A [`Depot`] maps names to records, in one file or in memory. It pairs a [`Codec`], which knows what
//! records mean, with chunked, checksummed [Blosc2](https://www.blosc.org) storage that survives crashes.
//!
//! ```
//! use vldepot::{Depot, Raw};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("greetings.vld");
//! let depot = Depot::create(&path, Raw)?;
//! depot.put("hello", b"world")?;
//! depot.commit()?; // durable from here on
//! depot.close()?;
//!
//! let depot = Depot::open(&path, Raw)?;
//! let record = depot.get("hello")?;
//! assert_eq!(record.view(), b"world");
//! # Ok(())
//! # }
//! ```
//!
//! # Where to find what
//!
//! | | |
//! | --- | --- |
//! | [`Depot`] | create, open, append, memory; put, get, batches, iteration |
//! | [`Record`] | what `get` gives: owns its bytes, lends views |
//! | [`loader`] | training: shuffled, batched, split over ranks, resumable |
//! | [`Codec`] and [`codecs`] | values to bytes and back: atomic frames, arrays, serde, raw |
//! | [`Layout`], [`WriteOptions`], [`OpenOptions`], [`ReadOptions`] | layout, presets, commits, reading |
//! | [`storage`] | files, memory, and storages of your own |
//! | [`statistics`] | count, min, max, mean and variance of fields, kept in the index |
//! | [`maintain`] | verify, repair, compact |
//! | `collections` | records of several objects, and splits (feature `collections`) |
//! | `objects` | objects with metadata that many processes change (feature `objects`) |
//! | `archive` | folders of files in a depot (feature `archive`) |
//! | `trajectories` | trajectories and arrays of other programs (feature `import`) |
//! | `maps` | maps of integers in one byte string (feature `maps`) |
//! | [`Error`], [`ErrorKind`] | every way in which a call can fail |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `atomic` | yes | the codec of atomic frames; turns on `ndarray` |
//! | `ndarray` | yes | the codecs of arrays |
//! | `serde` | yes | metadata, the MessagePack codec, and serde for options, reports and keys |
//! | `json` | yes | the JSON codec; turns on `serde` |
//! | `glob` | yes | names by glob pattern |
//! | `shards` | yes | folders of depots that are read as one; turns on `json` |
//! | `collections` | yes | records of several objects, splits, and files of MIO; turns on `serde` |
//! | `objects` | yes | objects with metadata that many processes change; turns on `serde` |
//! | `archive` | no | folders of files; turns on `shards` and `glob` |
//! | `convert` | no | archives from and to tar and zip; turns on `archive` |
//! | `barecat` | no | archives from and to those of Barecat; turns on `convert`, and compiles SQLite |
//! | `import` | no | trajectories and arrays of other programs; turns on `atomic` and `json` |
//! | `export` | no | trajectories of other programs, also written; turns on `import` |
//! | `maps` | no | maps of integers in one byte string, and those of mapbuffer |
//! | `brotli` | no | maps whose values are compressed by brotli; turns on `maps` |
//! | `log` | no | events through the `log` crate |
//! | `testing` | no | conformance suites for storages and codecs |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_precision_loss))]

#[cfg(feature = "archive")]
pub mod archive;
mod blosc;
mod buffer;
mod catalog;
mod checksum;
mod chunk;
pub mod codec;
#[path = "../codecs/mod.rs"]
pub mod codecs;
#[cfg(feature = "collections")]
pub mod collections;
mod depot;
mod engine;
mod error;
mod events;
#[cfg(feature = "serde")]
mod exact;
mod format;
mod identity;
mod index;
mod key;
mod le;
pub mod loader;
mod log;
pub mod maintain;
#[cfg(feature = "shards")]
mod manifest;
#[cfg(feature = "maps")]
pub mod maps;
mod named;
#[cfg(feature = "objects")]
pub mod objects;
mod options;
mod planes;
mod query;
mod random;
mod scalar;
#[cfg(feature = "shards")]
pub mod shards;
pub mod statistics;
pub mod storage;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "import")]
pub mod trajectories;
mod vlstore;
mod workers;
mod zstd;

pub use blosc::{BloscError, Compression, CompressionCodec, Filter};
pub use buffer::Bytes;
pub use codec::{Codec, CodecError, Raw};
pub use depot::{
    ChunkInfo, CodecInfo, ColumnStatistics, Cut, Depot, DepotBuilder, DepotInfo, FieldStatistics, Iter, Keys,
    Matches, MatchingKeys, Parts, Place, PutByPieces, Range, Record, RecordLocation, RecordRef, Refreshed,
    Removal, Scan, SortedKeys, Statistics, Then, Totals, TruncateOptions,
};
pub use error::{Error, ErrorKind, Part, Result};
pub use key::{AsKey, Key, KeyRef, MAX_KEY_LEN};
pub use loader::{Batch, Loader, LoaderBuilder, LoaderState};
pub use options::{CommitEvery, Layout, Mapping, OpenOptions, Placement, ReadOptions, Verify, WriteOptions};
pub use planes::{Elements, FieldSpans};
pub use scalar::{Column, Scalar, ScalarField, ScalarKind};

/// The README's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code in the guide for followers, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/how-to/follow-a-live-run.md")]
struct Following;

/// The code of the first tutorial, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/tutorial/a-first-depot.md")]
struct FirstDepot;

/// The code of the tutorial on training, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/tutorial/a-training-loop.md")]
struct Training;

/// The code of the tutorial on codecs, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/tutorial/your-own-codec.md")]
struct OwnCodec;

/// The code of the guide to options, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/how-to/choose-options.md")]
struct ChooseOptions;

/// The code of the guide to records of all sizes, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/how-to/small-and-large-records.md")]
struct SmallAndLargeRecords;

/// The code of the guide for simulations, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/tutorial/a-simulation-that-restarts.md")]
struct Simulations;

/// The code of the guide to shards, compiled and run.
#[cfg(all(doctest, feature = "shards"))]
#[doc = include_str!("../docs/how-to/use-shards.md")]
struct Sharded;

/// The code of the guide to archives, compiled and run.
#[cfg(all(doctest, feature = "archive"))]
#[doc = include_str!("../docs/how-to/pack-a-folder-of-files.md")]
struct Archives;

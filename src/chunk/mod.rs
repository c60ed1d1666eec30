//! Chunks: consecutive records, compressed together.
//!
//! ```text
//! at         where a chunk is at one moment
//! builder    the open chunk: records are copied in until it is full
//! shape      how a sealed chunk is compressed: by how much is in it
//! pool       compresses sealed chunks, by threads if there are any
//! cache      keeps decoded chunks, if a reader asks for that
//! opened     tables and models of chunks whose records have their fields apart
//! reader     gives checked bytes out of a stored chunk
//! ```

mod at;
mod builder;
mod cache;
mod opened;
mod pool;
mod reader;
mod shape;

pub(crate) use at::ChunkAt;
pub(crate) use builder::{OpenChunk, Sealed};
pub(crate) use cache::Cache;
pub(crate) use pool::{Apart, Job, Pool};
pub(crate) use reader::{ApartChunk, ChunkReader, TABLES_LIMIT};
pub(crate) use shape::Shape;

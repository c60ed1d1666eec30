//! Maps of integers in one byte string: `u64` to bytes ([`ByteMap`]), and `u64` to `u64` ([`IntMap`]).
//!
//! A map is built once, and then read as it lies there: from memory, from a mapped file, from inside another
//! file, or through anything that gives slices of it. Opening one costs nearly nothing, however many entries
//! it has. For records that come and go, that compress together and survive crashes, use a
//! [`Depot`](crate::Depot). A depot in memory can be made of bytes too
//! ([`MemoryStorage`](crate::storage::MemoryStorage)), but copies them, and a record takes several reads.
//!
//! ```
//! use vldepot::maps::{ByteMap, IntMap, MapOptions};
//!
//! let map = ByteMap::build([(42, "forty-two"), (7, "seven")], &MapOptions::new())?;
//! assert_eq!(&*ByteMap::open(&map)?.get(42)?, b"forty-two");
//!
//! let map = IntMap::build((0..1000).map(|key| (key * key, key)));
//! assert_eq!(IntMap::open(&map)?.get(81)?, 9);
//! # Ok::<(), vldepot::Error>(())
//! ```
//!
//! # The bytes
//!
//! All numbers are little-endian. Checksums are CRC32C.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 to 6 | `vldbmap`, or `vldimap` for a map to integers |
//! | 7 | version, 1 |
//! | 8 to 15 | number of entries, n |
//! | 16 to 23 | length of the map in bytes |
//! | 24 | compression of values: 0 none, 1 gzip, 2 brotli, 3 zstd, 4 xz |
//! | 25 | 1 if each value has a checksum |
//! | 26, 27 | 0 |
//! | 28 to 31 | checksum of the bytes before, in all versions |
//! | 16 each | n entries: a key, and its value or the offset of its value in the map |
//! | 4 each | a checksum for each 4096 bytes of entries, the last one of what is left |
//! | the rest | the values in the order of the entries, each with the checksum of its key and its stored bytes |
//!
//! Entries are in the order of a binary search: the entry at position `i` has smaller keys at and below
//! position `2i + 1`, and larger ones at and below `2i + 2`, and all levels but the last one are full. A
//! value ends where that of the next position begins.
//!
//! mapbuffer's files are read as they are, and written by [`MapFormat::Mapbuffer`]. Their format is in the
//! source of mapbuffer, <https://github.com/seung-lab/mapbuffer>.
//!
//! ```text
//! ByteMap, IntMap ──> index ──> head, order
//!                 ──> slices    packing
//! ```

mod byte_map;
mod head;
mod index;
mod int_map;
mod options;
mod order;
mod packing;
mod slices;

pub use byte_map::ByteMap;
pub use head::MapFormat;
pub use int_map::IntMap;
pub use options::MapOptions;
pub use packing::Packing;
pub use slices::{Slices, Window};

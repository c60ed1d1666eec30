//! Depots whose records are parts of another file.

use super::DepotBuilder;
use super::info::CodecInfo;
use crate::codec::Raw;
use crate::engine::wrapped::{CODEC, PLACE_LEN, describe};
use crate::error::Result;
use crate::storage::Storage;

/// Where the bytes of a record are in another file. See [`DepotBuilder::over_file`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Place {
    /// The first byte; at least 128, unless there are no bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// Their CRC32C, which is compared when they are read.
    pub checksum: u32,
}

impl Place {
    /// A place.
    pub fn new(offset: u64, length: u64, checksum: u32) -> Self {
        Self { offset, length, checksum }
    }

    /// What is put for the record.
    pub fn encode(&self) -> [u8; PLACE_LEN] {
        let mut out = [0; PLACE_LEN];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.length.to_le_bytes());
        out[16..].copy_from_slice(&self.checksum.to_le_bytes());
        out
    }

    /// The place that was put for a record. `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, []) = bytes.split_first_chunk::<PLACE_LEN>()? else { return None };
        let long = |at: usize| bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes);
        let checksum = bytes[16..].first_chunk().copied().map_or(0, u32::from_le_bytes);
        Some(Self { offset: long(0), length: long(8), checksum })
    }
}

impl DepotBuilder<Raw> {
    /// Makes a new depot an index over `file`, which stays where it is. What is put are [places](Place) in
    /// it, and when the depot is opened, its records are the bytes there. It is read only then.
    ///
    /// `path` leads to the file from the folder that the depot will be in. `archive::convert::wrap_tar` makes
    /// one of a tar file.
    ///
    /// ```
    /// use vldepot::storage::FileStorage;
    /// use vldepot::{Depot, Place, Raw};
    /// # let folder = tempfile::tempdir()?;
    /// # let (file, path) = (folder.path().join("data.bin"), folder.path().join("index.vld"));
    /// std::fs::write(&file, [7; 1000])?;
    /// let depot = Depot::builder(Raw).over_file(&FileStorage::open(&file)?, "data.bin")?.create(&path)?;
    /// depot.put("a", &Place::new(500, 3, crc32c::crc32c(&[7; 3])).encode())?;
    /// depot.close()?;
    /// assert_eq!(Depot::open(&path, Raw)?.get("a")?.view(), [7; 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the file cannot be read.
    pub fn over_file(self, file: &dyn Storage, path: &str) -> Result<Self> {
        Ok(self.note_codec(CodecInfo::new(CODEC, 1, describe(file, path)?), 1))
    }
}

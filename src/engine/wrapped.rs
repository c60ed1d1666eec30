//! Depots whose records are parts of another file, which stays where it is: an index over a tar archive.
//!
//! In the depot, the bytes of a record are a place in the other file. The depot's codec says which file,
//! and a feature bit keeps programs from taking places for bytes. When it is opened, an index in memory takes
//! the other file for chunks that are not compressed. It is then read as a file of another program is.
//!
//! ```text
//! other file   0 ... BASE | chunk 0, which begins here | chunk 1 | ..
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::read_each;
use super::listing::{ListedRecord, Listing};
use super::{Engine, in_record};
use crate::catalog::State;
use crate::checksum::{crc32c, crc32c_append};
use crate::codec::{Codec, Raw};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::growth::Features;
use crate::format::tables::Parameters;
use crate::index::{Location, Records};
use crate::le::{u32_at, u64_at};
use crate::storage::{FileStorage, Storage, StorageExt};
use crate::vlstore;

/// The codec of such a depot.
pub(crate) const CODEC: &str = "wrapped";

/// Where the first chunk begins in the other file. No bytes of a tar archive's entry are before.
const BASE: u64 = 128;

/// Raw bytes of a chunk.
const CHUNK: usize = 4 << 20;

/// Bytes at either end of the other file that tell whether it is the same.
const ENDS: u64 = 64 << 10;

/// Records whose places are read together.
const AT_ONCE: usize = 4096;

/// Bytes of a place: the offset and the length as u64, and the CRC32C as u32.
pub(crate) const PLACE_LEN: usize = 20;

/// The location in the chunks of a place, given as it is stored. `None` if it is not inside of `len` bytes.
fn location_of(place: &[u8], len: u64) -> Option<Location> {
    // Folders have no bytes.
    if place.is_empty() {
        return Some(Location::default());
    }
    let (offset, length) = (u64_at(place, 0)?, u64_at(place, 8)?);
    let checksum = u32_at(place, 16)?;
    let fits = place.len() == PLACE_LEN
        && offset.checked_add(length).is_some_and(|end| end <= len)
        && length <= Location::MAX_LENGTH
        && offset <= Location::MAX_ADDRESS;
    // An empty record may be anywhere.
    let address = offset.checked_sub(BASE).or((length == 0).then_some(0))?;
    fits.then_some(Location { address, length, checksum, flags: 0 })
}

/// The features of a depot with this codec.
pub(super) fn features(codec: &str) -> Features {
    let incompatible = if codec == CODEC { Features::WRAPPED } else { 0 };
    Features { incompatible, ..Features::default() }
}

/// Whether a depot's records are in another file.
pub(super) fn is_wrapped(parameters: &Parameters) -> bool {
    parameters.codec_id == CODEC || parameters.features.incompatible & Features::WRAPPED != 0
}

/// The parameters of the codec, which say which file it is, from the folder of the depot.
pub(crate) fn describe(file: &dyn Storage, path: &str) -> Result<Vec<u8>> {
    let len = file.file_len()?;
    Ok(format!("file={path}\nlength={len}\ncrc32c={:08x}", ends(file, len)?).into_bytes())
}

/// The CRC32C of both ends of a file.
fn ends(file: &dyn Storage, len: u64) -> Result<u32> {
    let n = usize::try_from(len.min(ENDS)).unwrap_or(0);
    let first = crc32c(&file.read(0, n)?);
    Ok(crc32c_append(first, &file.read(len - n as u64, n)?))
}

/// The path, the length and the checksum of the ends of the other file.
fn described(index: &Engine) -> Option<(String, u64, u32)> {
    let text = std::str::from_utf8(&index.parameters().codec_parameters).ok()?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let crc = u32::from_str_radix(value("crc32c")?, 16).ok()?;
    Some((value("file")?.to_owned(), value("length")?.parse().ok()?, crc))
}

/// Refuses a depot whose records are in another file, where they cannot be read from there.
pub(super) fn refuse(storage: &dyn Storage, parameters: &Parameters, what: &str) -> Result<()> {
    if !is_wrapped(parameters) {
        return Ok(());
    }
    let found = format!("an index over a tar file that stays where it is, which {what}");
    Err(ErrorKind::NotADepot { found }.at(storage.path()))
}

/// The other file, and an index over it in memory.
pub(super) fn open(index: &Engine) -> Result<(Arc<dyn Storage>, Parameters, State)> {
    let Some((name, len, crc)) = described(index) else {
        let name = String::from_utf8_lossy(&index.parameters().codec_parameters).into_owned();
        let kind = ErrorKind::Unsupported { what: "wrapped file", name, offset: 0 };
        return Err(kind.at(index.path()));
    };
    let path = index.path().parent().unwrap_or(Path::new("")).join(name);
    let file = open_same(index, &path, len, crc)?;
    let mut records = Records::default();
    let (mut n_records, mut raw_bytes) = (0, 0_u64);
    let mut listing = Listing::new(index)?;
    loop {
        let mut batch: Vec<(Vec<u8>, Location)> = Vec::new();
        while batch.len() < AT_ONCE
            && let Some(ListedRecord { name, location }) = listing.next().transpose()?
        {
            let location = location.map_err(|error| in_record(&name, error))?;
            batch.push((name, location));
        }
        if batch.is_empty() {
            break;
        }
        for ((name, _), bytes) in batch.iter().zip(read_each(index, &batch)) {
            let bytes = bytes.map_err(|error| in_record(name, error))?;
            let Some(location) = location_of(&bytes, len) else {
                let expected = format!("a place inside {len} bytes");
                let error = Error::damaged(index.path(), Part::File, 0, expected, "another one");
                return Err(in_record(name, error));
            };
            records.push(name, &location, index.attributes(name)?.lend());
            n_records += 1;
            raw_bytes = raw_bytes.saturating_add(location.length);
        }
    }
    let n_chunks = len.saturating_sub(BASE).div_ceil(CHUNK as u64);
    let segment = vlstore::segment(&records, (0..n_chunks).map(chunk).collect())?;
    let state = State::of_segment(segment, n_records, n_chunks, raw_bytes);
    let parameters = Parameters {
        // As of a file of another program.
        depot_id: 0,
        chunk_size: CHUNK,
        // So the records are.
        codec_id: Raw::ID.to_owned(),
        codec_version: Raw::VERSION,
        codec_parameters: Vec::new(),
        features: features(CODEC),
        filters: false,
        ..index.parameters().clone()
    };
    Ok((file, parameters, state))
}

/// The other file, if it is as it was.
fn open_same(index: &Engine, path: &Path, len: u64, crc: u32) -> Result<Arc<dyn Storage>> {
    let file = FileStorage::open(path).map_err(|source| {
        let action = format!("open the file that {} is an index of", index.path().display());
        Error::io(PathBuf::from(path), action, source)
    })?;
    let found = file.file_len()?;
    let changed = |expected: String, found: String| {
        let expected = format!("{expected}, as when {} was made", index.path().display());
        Err(Error::damaged(path, Part::File, 0, expected, found))
    };
    if found != len {
        return changed(format!("{len} bytes"), found.to_string());
    }
    let ends = ends(&file, len)?;
    if ends != crc {
        return changed(format!("CRC32C {crc:#010x} of its ends"), format!("{ends:#010x}"));
    }
    Ok(Arc::new(file))
}

/// A part of the other file, as a chunk that is not compressed.
fn chunk(number: u64) -> ChunkRef {
    // Its bytes come after a header of 32 bytes, if it had one.
    let offset = BASE - 64 + number * CHUNK as u64;
    ChunkRef {
        offset,
        chunk_at: 32,
        chunk_len: 0,
        n_checksums: 0,
        table_crc: 0,
        block_size: 1 << 16,
        flags: ChunkRef::UNCOMPRESSED,
    }
}

impl Engine {
    /// Whether records are parts of another file, which is not a depot.
    pub(crate) fn is_wrapped(&self) -> bool {
        is_wrapped(self.parameters())
    }
}

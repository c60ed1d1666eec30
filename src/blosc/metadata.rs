//! Small buffers that are stored as chunks: metadata, directories, offsets of chunks.

use super::context::{Encoder, with_decoder};
use super::error::{BloscError, refuse};
use super::limits::MAX_BLOCK;
use super::params::{Compression, CompressionCodec, Filter};
use super::vet::vet;

/// Bytes to which metadata may always decompress.
const METADATA_FREE: usize = 1 << 20;
/// How many times their stored bytes metadata may decompress to, if that is more.
const METADATA_RATIO: usize = 256;

/// The most bytes that `stored` bytes of metadata may decompress to.
///
/// Without a limit, a file of a few bytes could make its reader allocate gigabytes.
pub(crate) fn metadata_limit(stored: usize) -> usize {
    stored.saturating_mul(METADATA_RATIO).max(METADATA_FREE)
}

/// Compresses a small metadata buffer with zstd, as one block.
///
/// A `typesize` above 1 adds a byte shuffle. If the result would be smaller than [`metadata_limit`]
/// allows, the buffer is stored as it is.
pub(crate) fn compress_metadata(raw: &[u8], typesize: u8) -> Result<Vec<u8>, BloscError> {
    let filter = if typesize > 1 { Filter::Shuffle } else { Filter::None };
    let compression =
        Compression { codec: CompressionCodec::Zstd, level: 1, filter, typesize: Some(typesize) };
    let block_size = raw.len().clamp(1, MAX_BLOCK);
    let stored = Encoder::new(compression, block_size)?.compress(raw)?;
    if raw.len() <= metadata_limit(stored.len()) {
        return Ok(stored);
    }
    let plain = Compression { codec: CompressionCodec::None, level: 0, ..compression };
    Encoder::new(plain, block_size)?.compress(raw)
}

/// Decompresses a buffer that [`compress_metadata`] or another program wrote. `limit` bounds the raw length.
pub(crate) fn decompress_metadata(chunk: &[u8], limit: usize) -> Result<Vec<u8>, BloscError> {
    let vetted = vet(chunk)?;
    let raw_len = vetted.header.raw_len;
    if raw_len > limit {
        return refuse(format!("metadata of {raw_len} bytes where at most {limit} can be"));
    }
    let mut raw = vec![0; raw_len];
    with_decoder(|decoder| decoder.decompress(&vetted, &mut raw))?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::super::header::ChunkHeader;
    use super::*;

    #[test]
    fn metadata_round_trips_and_is_bounded() {
        let raw = b"metadata ".repeat(1000);
        let chunk = compress_metadata(&raw, 1).unwrap();
        assert!(chunk.len() < 200);
        assert_eq!(decompress_metadata(&chunk, 9000).unwrap(), raw);
        assert!(decompress_metadata(&chunk, 8999).is_err());
    }

    #[test]
    fn nothing_is_decompressed_without_memory_for_a_block() {
        let mut chunk = compress_metadata(&b"metadata ".repeat(100), 1).unwrap();
        chunk[4..8].fill(0);
        chunk[8..12].copy_from_slice(&i32::try_from(MAX_BLOCK).unwrap().to_le_bytes());
        assert!(ChunkHeader::parse(&chunk).unwrap().has_block_table());
        assert_eq!(decompress_metadata(&chunk, 1 << 20), Ok(Vec::new()));
    }

    #[test]
    fn metadata_too_good_to_be_true_are_stored_plain() {
        let raw = vec![7; 8 << 20];
        let chunk = compress_metadata(&raw, 1).unwrap();
        assert!(chunk.len() > raw.len());
        let limit = metadata_limit(chunk.len());
        assert!(decompress_metadata(&chunk, limit).unwrap() == raw);
        let compression = Compression { filter: Filter::None, typesize: Some(1), ..Compression::default() };
        let bomb = Encoder::new(compression, raw.len()).unwrap().compress(&raw).unwrap();
        assert!(bomb.len() < 1 << 14);
        let limit = metadata_limit(bomb.len());
        assert!(decompress_metadata(&bomb, limit).unwrap_err().to_string().contains("at most"));
    }
}

//! Publishing: writes the end of a standard Blosc2 frame after the last commit.
//!
//! With it, other programs can read the chunks.

use std::sync::Arc;

use super::writer::Writer;
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::chunk::ChunkRef;
use crate::format::entry::{HEAD_LEN, Kind};
use crate::format::frame::{self, HEADER_LEN};
use crate::vlstore;

impl Writer {
    /// Commits, and makes the file a standard Blosc2 frame of all chunks.
    pub(crate) fn publish(&mut self, last: bool) -> Result<()> {
        self.commit_merging(last)?;
        let n_chunks = self.shared.read().snapshot.n_chunks;
        if self.published || n_chunks == 0 {
            return Ok(());
        }
        let before = self.append.tail();
        self.write_frame(n_chunks).inspect_err(|_| self.append.rewind_to(before))?;
        self.published = true;
        Ok(())
    }

    fn write_frame(&mut self, n_chunks: u64) -> Result<()> {
        let path = self.shared.storage.path().to_owned();
        let compress = |source| ErrorKind::Compress { chunk: n_chunks }.at(path.clone()).because(source);
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        let mut offsets = Vec::with_capacity(usize::try_from(n_chunks).unwrap_or(0));
        for segment in &snapshot.segments {
            let first = segment.reference.first_chunk;
            for chunk in first..first + segment.reference.n_chunks {
                let reference = segment.chunk(chunk)?;
                let offset = reference.chunk_offset().checked_sub(HEADER_LEN as u64);
                offsets.push(match offset.and_then(|offset| i64::try_from(offset).ok()) {
                    _ if reference.is(ChunkRef::ZEROS) => frame::ZERO_CHUNK_OFFSET,
                    Some(offset) => offset,
                    None => {
                        return Err(Error::damaged(
                            path,
                            Part::Chunk(chunk),
                            segment.reference.offset,
                            "a chunk after the header",
                            format!("one at byte {}", reference.chunk_offset()),
                        ));
                    }
                });
            }
        }
        let mut vlmeta = Vec::new();
        if self.shared.parameters.vlstore {
            let lookup = vlstore::lookup_of(&snapshot)?;
            vlmeta.push(("saved_lookup".to_owned(), frame::vlmeta_content(&lookup).map_err(compress)?));
        }
        let offsets = frame::offsets_chunk(&offsets).map_err(compress)?;
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&self.shared.parameters.depot_id.to_le_bytes());
        fingerprint[8..12].copy_from_slice(&crc32c(&offsets).to_le_bytes());
        let trailer = frame::trailer(&vlmeta, fingerprint);

        let offsets_at = self.append.tail().offset + HEAD_LEN as u64;
        let frame_len = offsets_at + (offsets.len() + trailer.len()) as u64;
        let mut bytes = vec![0; HEAD_LEN];
        bytes.extend_from_slice(&offsets);
        bytes.extend_from_slice(&trailer);
        let body_crc = crc32c(&bytes[HEAD_LEN..]);
        bytes.resize(bytes.len().next_multiple_of(HEAD_LEN), 0);
        let length = bytes.len() as u64;
        self.append.entry(Kind::Frame, n_chunks, &mut bytes, length, body_crc)?;
        // The header may only refer to bytes that are durable.
        self.append.sync()?;
        let raw_len = n_chunks * self.layout.chunk_size as u64;
        let chunks_len = offsets_at - HEADER_LEN as u64;
        let (at, update) = frame::header_update(self.layout.compression, frame_len, raw_len, chunks_len);
        let action = "write the frame header";
        self.shared.storage.write_at(at as u64, &update).map_err(|source| self.shared.io(action, source))?;
        self.append.sync()
    }
}

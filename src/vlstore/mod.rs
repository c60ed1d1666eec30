//! Files of the Python package vlstore, read in place, and the table of names that lets vlstore read ours.
//!
//! ```text
//!  0        87                           header_len        header_len + chunks_len          frame_len
//!  +--------+----------------------------+-----------------+---------------+----------------+
//!  | fixed  | metalayers: magic = bin8,  | chunks in any   | offsets chunk | trailer, with  |
//!  | fields | 16 bytes                   | order, holes    |               | saved_lookup   |
//!  +--------+----------------------------+-----------------+---------------+----------------+
//!
//!  saved_lookup, a Blosc2 chunk of MessagePack, records in the order they were put:
//!  [ ["__tuple__", key, start, end], .. ]     key: str, bin or int; start, end: raw bytes of the frame
//! ```
//!
//! Such a file has no checksums, and its writer adds `saved_lookup` only when it closes the file. The
//! index is built in memory when the file is opened, from the table of names and the header of every
//! chunk. No record is read for this. Plugins of c-blosc2 are refused: to load one, c-blosc2 would run
//! the Python on the `PATH`.
//!
//! `engine` calls this module to open such a file, and to write the table of names. This module uses
//! `catalog`, `index` and `format`.

mod frame;
mod names;

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Snapshot, State};
use crate::error::Result;
use crate::format::FORMAT_VERSION;
use crate::format::chunk::ChunkRef;
use crate::format::frame::CODEC_AT;
use crate::format::growth::Features;
use crate::format::tables::Attributes;
use crate::format::tables::{Parameters, Shard};
use crate::index::{Chosen, Extras, Records, Segment, SegmentPlan};
use crate::key::Key;
use crate::options::Placement;
use crate::statistics::Tallied;
use crate::storage::Storage;
use frame::{File, unread};
use names::saved_lookup;

/// The chunk size of a file that has no chunk and names no size. It is vlstore's default.
const DEFAULT_CHUNK: usize = 1 << 22;

/// Reads a vlstore file: the parameters, and an index in memory. Depot id 0 marks a file of another
/// program.
///
/// vlstore notes neither codec nor alignment, so the caller says what the records are.
pub(crate) fn import(
    storage: &Arc<dyn Storage>,
    codec_id: &str,
    align: usize,
) -> Result<(Parameters, State)> {
    let file = File::open(storage)?;
    let compression = file.header.compression.clone();
    let compression = compression.map_err(|feature| unread(storage, feature, CODEC_AT as u64))?;
    let records = file.records()?;
    let mut index = Records::default();
    let (mut n_records, mut raw_bytes) = (0, 0);
    // If a name occurs twice, the last one counts.
    let last: HashMap<&[u8], usize> =
        records.iter().enumerate().map(|(number, (name, _))| (name.as_slice(), number)).collect();
    for (number, (name, location)) in records.iter().enumerate() {
        if last.get(name.as_slice()) == Some(&number) {
            index.push(name, location, Attributes::default());
            n_records += 1;
            raw_bytes += location.length;
        }
    }
    let chunks = file.chunks()?;
    let n_chunks = chunks.len() as u64;
    let segment = segment(&index, chunks)?;
    let state = State::of_segment(segment, n_records, n_chunks, raw_bytes);
    let parameters = Parameters {
        format_version: FORMAT_VERSION,
        depot_id: 0,
        codec_id: codec_id.to_owned(),
        codec_version: 0,
        codec_parameters: Vec::new(),
        chunk_size: if file.n_chunks == 0 && file.header.chunk_size == 0 {
            DEFAULT_CHUNK
        } else {
            file.header.chunk_size as usize
        },
        block_size: None,
        compression,
        placement: Placement::NoCross,
        align,
        vlstore: true,
        created: 0,
        features: Features::default(),
        data_set: 0,
        shard: Shard::default(),
        filters: false,
        order: true,
        columns: Vec::new(),
        statistics: false,
        apart: false,
        unknown_field: None,
    };
    Ok((parameters, state))
}

/// Builds an index segment, as if it had been read from a depot.
pub(crate) fn segment(records: &Records, chunks: Vec<ChunkRef>) -> Result<Segment> {
    let listing = &Chosen::all(records);
    let plan = SegmentPlan {
        first_ordinal: 0,
        first_chunk: 0,
        listing,
        chunks,
        kills: Vec::new(),
        extras: Extras { filter: false, order: true, columns: &[] },
        tallied: Tallied::default(),
    };
    Segment::in_memory(plan, 0)
}

/// Writes vlstore's table of names.
pub(crate) fn lookup_of(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let dead = snapshot.tombstones()?;
    let mut records = Vec::new();
    for segment in &snapshot.segments {
        let mut local = 0;
        while local < segment.reference.n_records {
            let (first, names) = segment.names_around(local)?;
            for (number, name) in (first..).zip(&names) {
                local = number + 1;
                let ordinal = segment.reference.first_ordinal + number;
                if dead.binary_search(&ordinal).is_err()
                    && let Some(key) = Key::from_tagged(name)
                {
                    let location = segment.location(number)?;
                    records.push((key, location.address, location.end()));
                }
            }
        }
    }
    Ok(saved_lookup(records.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkReader;
    use crate::storage::MemoryStorage;
    use crate::{Depot, Layout, Raw};

    #[test]
    fn what_a_compatible_depot_says_to_vlstore_is_what_is_in_it() {
        let options =
            Layout::default().with_vlstore_compatible(true).with_chunk_size(4096).with_block_size(1024);
        let depot = Depot::builder(Raw).layout(options).memory().unwrap();
        let record = |n: usize| -> Vec<u8> {
            (0..n * 517 % 9001).map(|i| u8::try_from(i * n % 241).unwrap()).collect()
        };
        let names: Vec<String> = (0..60).map(|n| format!("record/{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            depot.put(name, &record(n)).unwrap();
        }
        let bytes = depot.to_bytes().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
        let (parameters, state) = import(&storage, "raw", 1).unwrap();
        assert_eq!((parameters.chunk_size, parameters.depot_id), (4096, 0));
        assert_eq!(state.len(), 59, "the first record is empty");
        let chunks = ChunkReader::new(Arc::clone(&storage), 4096, false, true);
        for (n, name) in names.iter().enumerate().skip(1) {
            let tagged = Key::Str(name.clone()).to_tagged().unwrap();
            let location = state.find(&tagged).unwrap().unwrap().location;
            let (mut at, mut found) = (location.address, Vec::new());
            while at < location.end() {
                let chunk = state.snapshot.chunk(at / 4096).unwrap().unwrap();
                assert!(chunk.is(ChunkRef::FOREIGN));
                let end = location.end().min((at / 4096 + 1) * 4096);
                let inside = |address: u64| usize::try_from(address - at / 4096 * 4096).unwrap();
                found.extend_from_slice(&chunks.bytes(at / 4096, &chunk, inside(at)..inside(end)).unwrap());
                at = end;
            }
            assert!(found == record(n), "{name}");
        }
    }

    #[test]
    fn chunks_that_are_not_full_are_whole_chunks_to_others() {
        for preset in Layout::PRESETS {
            let layout = preset.parse::<Layout>().unwrap().with_vlstore_compatible(true);
            let chunk_size = layout.chunk_size;
            let depot = Depot::builder(Raw).layout(layout).memory().unwrap();
            let record = |len: u32| -> Vec<u8> {
                (0..len).map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()[3] | 1).collect()
            };
            let lengths = [1, 64, 1200, 5000, 40_000, 300_000, 2_500_000, 70];
            for len in lengths {
                depot.put(u64::from(len), &record(len)).unwrap();
                depot.commit().unwrap();
            }
            let bytes = depot.to_bytes().unwrap();
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
            let (_, state) = import(&storage, "raw", 1).unwrap();
            let chunks = ChunkReader::new(Arc::clone(&storage), chunk_size, false, true);
            assert_eq!(state.snapshot.n_chunks, lengths.len() as u64);
            for (number, len) in (0..).zip(lengths) {
                let at = state.snapshot.chunk(number).unwrap().unwrap();
                let whole = chunks.bytes(number, &at, 0..chunk_size).unwrap();
                let (used, rest) = whole.split_at(len as usize);
                assert!(used == record(len) && rest.iter().all(|&byte| byte == 0), "{preset}: {len}");
            }
        }
    }
}

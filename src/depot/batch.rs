//! Many records at once: sorted by place, so that every block is read and decoded once.

use std::ops::Range;

use super::engine::Engine;
use super::state::Source;
use crate::buffer::Bytes;
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::index::Location;

/// A run of blocks is not decoded in larger pieces than this, unless one record asks for it: records keep alive the
/// piece they share.
const RUN_BYTES: usize = 1 << 20;

/// Blocks decoded together, and where they lie in the chunk.
struct Run {
    range: Range<usize>,
    bytes: Bytes,
}

/// Bytes of the `wanted` records (tagged name and location), checked, in their order.
///
/// The error is the first one in that order.
pub(crate) fn read(engine: &Engine, wanted: &[(&[u8], Location)]) -> Result<Vec<Bytes>> {
    read_each(engine, wanted).collect()
}

/// As [`read`], each with its own error.
pub(crate) fn read_each(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
) -> impl Iterator<Item = Result<Bytes>> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&number| wanted[number].1.address);
    let mut out: Vec<Option<Result<Bytes>>> = (0..wanted.len()).map(|_| None).collect();
    let chunk_of = |number: usize| engine.chunk_of(wanted[number].1.address).0;
    for group in order.chunk_by(|&left, &right| chunk_of(left) == chunk_of(right)) {
        read_group(engine, wanted, group, &mut out);
    }
    // Every number is in one group.
    out.into_iter().flatten()
}

/// Reads the records of one chunk.
fn read_group(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
    group: &[usize],
    out: &mut [Option<Result<Bytes>>],
) {
    let chunk_size = engine.shared.parameters.chunk_size;
    let chunk = group.first().map_or(0, |&number| engine.chunk_of(wanted[number].1.address).0);
    let compressed = match engine.source(chunk) {
        Ok(Source::Stored(at)) if !at.is(ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED) => Some(at),
        _ => None,
    };
    let mut run: Option<Run> = None;
    for (nth, &number) in group.iter().enumerate() {
        let (name, location) = wanted[number];
        let start = engine.chunk_of(location.address).1;
        let end = start + location.length as usize;
        let whole_here = location.length > 0 && end <= chunk_size;
        let Some(at) = compressed.filter(|_| whole_here) else {
            out[number] = Some(engine.read(name, &location));
            continue;
        };
        let have = run.as_ref().is_some_and(|run| run.range.start <= start && end <= run.range.end);
        if !have {
            let wanted_range = extend(engine, wanted, &group[nth..], &at, start..end);
            run = load(engine, chunk, &at, wanted_range).ok();
        }
        let bytes = match &run {
            Some(run) => {
                let bytes = run.bytes.slice(start - run.range.start..end - run.range.start);
                engine.check(name, &location, &bytes).map(|()| bytes)
            }
            // A damaged block costs the records in it, not their neighbours: each is read alone.
            None => engine.read(name, &location),
        };
        out[number] = Some(bytes);
    }
}

/// Grows `range` to whole blocks, and over the records that follow without a block between.
fn extend(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
    rest: &[usize],
    at: &ChunkRef,
    range: Range<usize>,
) -> Range<usize> {
    let chunk_size = engine.shared.parameters.chunk_size;
    if at.is(ChunkRef::FOREIGN) {
        return 0..chunk_size;
    }
    let block = (at.block_size as usize).max(1);
    let to_blocks = |end: usize| end.next_multiple_of(block).min(chunk_size);
    let start = range.start / block * block;
    let mut stop = to_blocks(range.end);
    for &number in rest {
        let location = wanted[number].1;
        let from = engine.chunk_of(location.address).1;
        let end = from + location.length as usize;
        let too_far = from > stop || to_blocks(end) - start > RUN_BYTES.max(stop - start);
        if end > chunk_size || too_far {
            break;
        }
        stop = stop.max(to_blocks(end));
    }
    start..stop
}

fn load(engine: &Engine, chunk: u64, at: &ChunkRef, range: Range<usize>) -> Result<Run> {
    let bytes = engine.reader.bytes(chunk, at, range.clone())?;
    Ok(Run { range: range.start..range.start + bytes.len(), bytes })
}

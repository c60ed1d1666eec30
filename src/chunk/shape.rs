//! How a sealed chunk is compressed: as the layout says if it is full, and otherwise so that it costs
//! about as much as it holds.
//!
//! All chunks of a depot have the same raw size. After the records, a chunk that was sealed early has
//! blocks of zeros, which are appended without compressing them. Each costs [`Shape::zero_block_len`]
//! bytes. A chunk with few records therefore has fewer, larger blocks, and if it has very few, another
//! codec: in LZ4, the rest of a large block takes one byte for each 255, and a block split by bytes has
//! an empty stream for each byte. If a block is mostly zeros, these are not compressed either.

use crate::blosc::{Compression, CompressionCodec, Filter, Split};
use crate::options::Layout;

/// Blocks are not made larger than this. A read decodes at least one of them.
const LARGEST_BLOCK: usize = 256 << 10;
/// A chunk that is not full and has less in it than this is compressed by zstd, without splitting its blocks.
const TINY: usize = 32 << 10;
/// If less than this part of a block is in use, the zeros after that are not compressed.
const SPARSE_PART: usize = 4;
/// A chunk of an uncompressed depot stays uncompressed, with a hole at its end, if this part of it is in use.
/// With less, views of its records would cost many times their length of file.
const HOLE_PART: usize = 8;
/// Bytes of zero blocks that a chunk may have in any case. If more of it is in use, it may have a part of
/// that.
const FREE_OVERHEAD: usize = 128;
/// The part of the used bytes that zero blocks may cost.
const OVERHEAD_PART: usize = 16;

/// How one chunk is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) compression: Compression,
    pub(crate) split: Split,
    pub(crate) block_size: usize,
    pub(crate) chunk_size: usize,
    /// Raw bytes that are compressed: those in use, and zeros up to the end of a block, unless they are most
    /// of it. The rest is appended.
    pub(crate) compressed: usize,
}

impl Shape {
    /// The shape of a chunk with `used` bytes of records, which have `mean_record` bytes on average.
    pub(crate) fn of(layout: &Layout, mean_record: u64, used: usize) -> Self {
        let Layout { mut compression, chunk_size, .. } = *layout;
        let block_size = layout.resolve_block_size(mean_record);
        let full = Self {
            compression,
            split: Split::of(compression),
            block_size,
            chunk_size,
            compressed: chunk_size,
        };
        if compression.codec == CompressionCodec::None || compression.level == 0 {
            if used >= chunk_size / HOLE_PART {
                return full;
            }
            // Not compressed, the chunk would be as long as a full one.
            let (codec, filter) = (CompressionCodec::Lz4, Filter::None);
            compression = Compression { codec, filter, level: 1, ..compression };
        }
        let limit = FREE_OVERHEAD.max(used / OVERHEAD_PART);
        let shape =
            |compression, split, block_size| Self { compression, split, block_size, ..full }.end_at(used);
        let own = |block_size| shape(compression, Split::of(compression), block_size);
        let first = own(block_size);
        if first.overhead() <= limit {
            return first;
        }
        let step = usize::from(compression.typesize()).max(1);
        let fits = |size: &usize| chunk_size.is_multiple_of(*size) && size.is_multiple_of(step);
        let doubled = |size: &usize| size.checked_mul(2).filter(|&size| size <= LARGEST_BLOCK);
        let larger = std::iter::successors(doubled(&block_size), doubled).filter(fits);
        let sizes: Vec<usize> = std::iter::once(block_size).chain(larger).collect();
        // The smallest blocks within the limit, or the largest there are.
        let of_size = |shape: &dyn Fn(usize) -> Self| {
            let within = sizes.iter().map(|&size| shape(size)).find(|shape| shape.overhead() <= limit);
            within.unwrap_or_else(|| shape(sizes.last().copied().unwrap_or(block_size)))
        };
        if used >= TINY {
            return of_size(&own);
        }
        let filter = if compression.filter == Filter::None { Filter::None } else { Filter::Shuffle };
        let tiny = Compression { codec: CompressionCodec::Zstd, filter, level: 1, ..compression };
        let shape = of_size(&|block_size| shape(tiny, Split::Never, block_size));
        let is_sparse = used < shape.block_size / SPARSE_PART && chunk_size.is_multiple_of(shape.block_size);
        if is_sparse { Self { compressed: used, ..shape } } else { shape }
    }

    /// The same shape, with as many blocks as `used` bytes take.
    fn end_at(self, used: usize) -> Self {
        // With this much room, c-blosc2 does not store the blocks as a chunk without any: even if nothing
        // shrinks, the zeros do.
        let stream_lengths = 4 * self.split.n_streams(self.compression.typesize());
        let n = used.div_ceil(self.block_size.max(1));
        let room = 128 + n * (4 + stream_lengths);
        let compressed = (used + room).next_multiple_of(self.block_size.max(1)).min(self.chunk_size);
        Self { compressed, ..self }
    }

    /// Bytes that a block of zeros takes: its offset, and a length for each stream. It has no checksum.
    fn zero_block_len(&self) -> usize {
        4 + 4 * self.split.n_streams(self.compression.typesize())
    }

    /// Bytes that the blocks of zeros take.
    fn overhead(&self) -> usize {
        (self.chunk_size - self.compressed) / self.block_size.max(1) * self.zero_block_len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{ChunkReader, OpenChunk, Sealed};
    use super::*;
    use crate::blosc::{ChunkHeader, Encoder, decompress};
    use crate::format::chunk::{ChunkRef, EncodedEntry, encode_chunk};
    use crate::format::tables::DirectoryBuilder;
    use crate::storage::{MemoryStorage, Storage};

    #[test]
    fn shapes_fit_their_chunks_and_cost_little() {
        let layouts = Layout::PRESETS.map(|name| name.parse::<Layout>().unwrap());
        let small = layouts.iter().flat_map(|layout| {
            [64, 100, 448, 4096, 1 << 16, 3 << 20].map(|size| layout.clone().with_chunk_size(size))
        });
        for layout in small.chain(layouts.iter().cloned()) {
            let layout = if layout.validate().is_ok() { layout } else { layout.with_block_size(None) };
            for used in (0..=layout.chunk_size).step_by(layout.chunk_size.div_ceil(97)) {
                for mean in [64, 100_000] {
                    let shape = Shape::of(&layout, mean, used);
                    assert!(shape.chunk_size.is_multiple_of(shape.block_size), "{shape:?}");
                    assert!(shape.compressed >= used && shape.compressed <= shape.chunk_size, "{shape:?}");
                    let whole = shape.compressed.is_multiple_of(shape.block_size);
                    let sparse = shape.compressed == used && used < shape.block_size;
                    assert!(whole || sparse || shape.compressed == shape.chunk_size, "{shape:?}");
                    assert!(shape.overhead() <= FREE_OVERHEAD.max(used / OVERHEAD_PART), "{used}: {shape:?}");
                    assert!(shape.block_size <= LARGEST_BLOCK.max(layout.resolve_block_size(mean)));
                    if used > layout.chunk_size * 15 / 16 {
                        assert_eq!(shape.compression, layout.compression);
                    }
                }
            }
        }
    }

    /// Bytes that hardly shrink if `number` is even, and that do if it is odd. They never end with a zero.
    fn records(used: usize, number: usize) -> Vec<u8> {
        let mut state = number as u64 + 1;
        let mut bytes = Vec::with_capacity(used);
        for at in 0..used {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let byte =
                if number.is_multiple_of(2) { (state >> 56).to_le_bytes()[0] } else { at.to_le_bytes()[1] };
            bytes.push(byte | 1);
        }
        bytes
    }

    /// Seals a chunk of which `raw` is in use, in a buffer that held something else.
    fn sealed(layout: &Layout, raw: &[u8]) -> EncodedEntry {
        drop(crate::buffer::AlignedBuf::copy_of(&vec![0xa5; layout.chunk_size]));
        let mut open = OpenChunk::new(layout.chunk_size, false);
        assert!(open.fill(0, raw, 0, &[]).is_empty());
        let shape = Shape::of(layout, 100, raw.len());
        let Sealed { raw: bytes, used, .. } = open.seal(shape.compressed);
        assert_eq!((used, bytes.len()), (raw.len(), shape.compressed));
        let mut encoder = Encoder::with_split(shape.compression, shape.block_size, shape.split).unwrap();
        let directory = DirectoryBuilder::default();
        encode_chunk(&bytes, used, layout.chunk_size, &directory, &mut encoder, vec![0x5a; 1000]).unwrap()
    }

    fn stored(entry: &EncodedEntry) -> (Vec<u8>, ChunkRef, ChunkHeader) {
        let mut bytes = entry.bytes[..entry.written].to_vec();
        bytes.resize(usize::try_from(entry.length).unwrap(), 0);
        let header = entry.header.unwrap();
        (bytes, entry.prelude.chunk_ref(0, &header), header)
    }

    /// Reads a sealed chunk back: as another program does, as a whole, and in parts.
    fn check(layout: &Layout, raw: &[u8]) -> EncodedEntry {
        let chunk_size = layout.chunk_size;
        let entry = sealed(layout, raw);
        let (bytes, at, header) = stored(&entry);
        let what = format!("{} bytes, {layout:?}, {header:?}", raw.len());
        assert_eq!(header.raw_len, chunk_size, "{what}");
        let mut expected = raw.to_vec();
        expected.resize(chunk_size, 0);
        let mut back = vec![1; chunk_size];
        let chunk = usize::try_from(at.chunk_offset()).unwrap();
        decompress(&bytes[chunk..chunk + at.chunk_len as usize], &mut back).unwrap();
        assert!(back == expected, "{what}");
        for mapped in [false, true] {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
            let reader = ChunkReader::new(storage, chunk_size, mapped, false);
            reader.check_stored(0, &at).unwrap();
            let (half, end) = (raw.len() / 2, raw.len());
            let past = (end + header.block_size).min(chunk_size);
            for range in [0..1, 0..end, half..end, half..past, end..chunk_size, 0..chunk_size] {
                let found = reader.bytes(0, &at, range.clone()).unwrap();
                assert!(found[..] == expected[range.clone()], "{range:?} of {what}");
            }
        }
        entry
    }

    #[test]
    fn chunks_come_back_however_full_they_are_whatever_compresses_them() {
        use CompressionCodec::{Blosclz, Lz4, Lz4hc, Zstd};

        let presets = Layout::PRESETS.map(|name| name.parse::<Layout>().unwrap().with_block_size(None));
        let mut layouts = Vec::new();
        for codec in [CompressionCodec::None, Lz4, Lz4hc, Zstd, Blosclz] {
            for filter in [Filter::None, Filter::Shuffle, Filter::Bitshuffle] {
                for typesize in [1, 4, 7] {
                    let compression = Compression { codec, filter, typesize: Some(typesize), level: 1 };
                    layouts.push(Layout::default().with_compression(compression));
                }
            }
        }
        let mut n_layouts = 0;
        for layout in presets.into_iter().chain(layouts) {
            let typesize = usize::from(layout.compression.typesize());
            for chunk_size in [64 * typesize, 4096 * typesize, 48 * 1024 * typesize] {
                let layout = layout.clone().with_chunk_size(chunk_size);
                layout.validate().unwrap();
                n_layouts += 1;
                for step in 0..=7 {
                    let used = chunk_size * step / 7;
                    for number in [0, 1] {
                        check(&layout, &records(used, number));
                    }
                }
                for used in [
                    1,
                    63,
                    chunk_size / HOLE_PART - 1,
                    chunk_size / HOLE_PART,
                    chunk_size / 2,
                    chunk_size - 1,
                ] {
                    check(&layout, &records(used, 0));
                    check(&layout, &vec![0; used]);
                }
            }
        }
        assert!(n_layouts > 100);
    }

    #[test]
    fn a_chunk_of_a_few_records_takes_what_they_take() {
        for name in Layout::PRESETS {
            let layout: Layout = name.parse().unwrap();
            for (used, most) in [(1, 600), (64, 600), (1200, 1700), (20_000, 22_500), (100_000, 110_000)] {
                let length = check(&layout, &records(used, 0)).length;
                assert!(length <= most, "{name}: {length} bytes for {used}");
            }
        }
    }

    #[test]
    fn an_uncompressed_chunk_that_has_some_records_stays_uncompressed() {
        let layout = Layout::uncompressed();
        for (used, flags) in
            [(layout.chunk_size / HOLE_PART, ChunkRef::UNCOMPRESSED), (layout.chunk_size / HOLE_PART - 1, 0)]
        {
            let (_, at, _) = stored(&check(&layout, &records(used, 0)));
            assert_eq!(at.flags, flags);
        }
    }

    #[test]
    fn damage_of_any_byte_of_a_chunk_that_is_not_full_is_noticed() {
        for name in Layout::PRESETS {
            let layout = name.parse::<Layout>().unwrap().with_block_size(None).with_chunk_size(1 << 16);
            let (bytes, at, _) = stored(&sealed(&layout, &records(300, 0)));
            let start = usize::try_from(at.table_offset()).unwrap();
            let end = usize::try_from(at.chunk_offset()).unwrap() + at.chunk_len as usize;
            for place in start..end {
                let mut bytes = bytes.clone();
                bytes[place] ^= 0x10;
                let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
                let reader = ChunkReader::new(storage, layout.chunk_size, false, false);
                assert!(reader.check_stored(0, &at).is_err(), "{name}: byte {place} of {start}..{end}");
                assert!(reader.bytes(0, &at, 0..layout.chunk_size).is_err(), "{name}: byte {place}");
            }
        }
    }
}

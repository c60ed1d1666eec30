//! How a sealed chunk is compressed: as the layout says if it is full, and otherwise so that it costs about as
//! much as it holds.
//!
//! All chunks of a depot have the same raw size. After the records, a chunk that was sealed early has blocks of
//! zeros, which are appended without compressing them. Each costs [`Shape::zero_block_len`] bytes. A chunk with
//! few records therefore has fewer, larger blocks, and if it has very few, another codec: in LZ4, the rest of a
//! large block takes one byte for each 255, and a block split by bytes has an empty stream for each byte.

use crate::blosc::{Compression, CompressionCodec, Filter, Split};
use crate::options::Layout;

/// Blocks are not made larger than this. A read decodes at least one of them.
const LARGEST_BLOCK: usize = 256 << 10;
/// A chunk that is not full and has less in it than this is compressed by zstd, without splitting its blocks.
const TINY: usize = 32 << 10;
/// Bytes of zero blocks that a chunk may have in any case. If more of it is in use, it may have a part of that.
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
    /// Raw bytes that are compressed: those in use, and zeros up to the end of a block. The rest is appended.
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
            if used >= chunk_size / 2 {
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
        let larger = (1..)
            .map_while(|doubled| block_size.checked_shl(doubled))
            .take_while(|&size| size <= LARGEST_BLOCK);
        let sizes = larger.filter(|&size| chunk_size.is_multiple_of(size) && size.is_multiple_of(step));
        let sizes: Vec<usize> = std::iter::once(block_size).chain(sizes).collect();
        let of_size = |shape: &dyn Fn(usize) -> Self| {
            let mut shapes = sizes.iter().map(|&size| shape(size)).peekable();
            let mut best = first;
            while let Some(shape) = shapes.next() {
                best = shape;
                if shape.overhead() <= limit {
                    break;
                }
            }
            best
        };
        if used >= TINY {
            return of_size(&own);
        }
        let filter = if compression.filter == Filter::None { Filter::None } else { Filter::Shuffle };
        let tiny = Compression { codec: CompressionCodec::Zstd, filter, level: 1, ..compression };
        of_size(&|block_size| shape(tiny, Split::Never, block_size))
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
    use super::*;

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
                    assert!(whole || shape.compressed == shape.chunk_size, "{shape:?}");
                    assert!(shape.overhead() <= FREE_OVERHEAD.max(used / OVERHEAD_PART), "{used}: {shape:?}");
                    assert!(shape.block_size <= LARGEST_BLOCK.max(layout.resolve_block_size(mean)));
                    if used > layout.chunk_size * 15 / 16 {
                        assert_eq!(shape.compression, layout.compression);
                    }
                }
            }
        }
    }
}

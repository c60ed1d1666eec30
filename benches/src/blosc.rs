//! Blosc2 by itself, called as directly as possible. A depot's speed is compared with this.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::ptr::null_mut;

use blosc2_src as sys;
use vldepot::{Compression, CompressionCodec, Filter};

/// The most bytes that Blosc2 may need besides the raw ones.
const OVERHEAD: usize = 32;

/// Raw chunks, and contexts to compress and decompress them with one thread.
pub struct Chunks {
    pub raw: Vec<Vec<u8>>,
    pub compressed: Vec<Vec<u8>>,
    /// Chunk, offset and length of each record, in order.
    pub records: Vec<(usize, usize, usize)>,
    chunk_size: usize,
    out: Vec<u8>,
    encoder: *mut sys::blosc2_context,
    decoder: *mut sys::blosc2_context,
}

impl Chunks {
    pub fn new(compression: Compression, block_size: usize, chunk_size: usize) -> Self {
        let filter = match compression.filter {
            Filter::None => 0,
            Filter::Shuffle => 1,
            Filter::Bitshuffle => 2,
            filter => panic!("Blosc2's number of the filter {filter} is not known here"),
        };
        let parameters = sys::blosc2_cparams {
            compcode: match compression.codec {
                CompressionCodec::Blosclz => 0,
                CompressionCodec::None | CompressionCodec::Lz4 => 1,
                CompressionCodec::Lz4hc => 2,
                CompressionCodec::Zlib => 4,
                CompressionCodec::Zstd => 5,
                codec => panic!("Blosc2's number of the compressor {codec} is not known here"),
            },
            clevel: compression.level,
            typesize: i32::from(compression.typesize.unwrap_or(4)),
            nthreads: 1,
            blocksize: i32::try_from(block_size).unwrap(),
            // As depots do: one stream for each byte of an element (1, always) with zstd after shuffle,
            // otherwise one for all (2, never).
            splitmode: if compression.codec == CompressionCodec::Zstd && compression.filter == Filter::Shuffle
            {
                1
            } else {
                2
            },
            filters: [0, 0, 0, 0, 0, filter],
            ..sys::BLOSC2_CPARAMS_DEFAULTS
        };
        let reading =
            sys::blosc2_dparams { nthreads: 1, schunk: null_mut(), postfilter: None, postparams: null_mut() };
        // SAFETY: whole parameter structs by value; their null pointers mean "not used".
        let (encoder, decoder) =
            unsafe { (sys::blosc2_create_cctx(parameters), sys::blosc2_create_dctx(reading)) };
        assert!(!encoder.is_null() && !decoder.is_null());
        let out = vec![0; chunk_size + OVERHEAD];
        Self { raw: vec![], compressed: vec![], records: vec![], chunk_size, out, encoder, decoder }
    }

    /// Puts a record's bytes where the depot has them.
    pub fn place(&mut self, chunk: usize, offset: usize, bytes: &[u8]) {
        while self.raw.len() <= chunk {
            self.raw.push(vec![0; self.chunk_size]);
        }
        self.raw[chunk][offset..offset + bytes.len()].copy_from_slice(bytes);
        self.records.push((chunk, offset, bytes.len()));
    }

    fn compress(&mut self, chunk: usize) -> usize {
        let (raw, out) = (&self.raw[chunk], &mut self.out);
        // SAFETY: slices with their own lengths, which fit i32 (a chunk has megabytes) and do not overlap;
        // the context lives as long as `self`, which is borrowed mutably.
        let n = unsafe {
            sys::blosc2_compress_ctx(
                self.encoder,
                raw.as_ptr().cast(),
                raw.len() as i32,
                out.as_mut_ptr().cast(),
                out.len() as i32,
            )
        };
        usize::try_from(n).ok().filter(|&n| n > 0).expect("Blosc2 compresses")
    }

    /// Compresses all chunks and forgets the result. Returns the number of compressed bytes.
    pub fn compress_all(&mut self) -> usize {
        (0..self.raw.len()).map(|chunk| self.compress(chunk)).sum()
    }

    /// Compresses all chunks into a new file and syncs it once. Storing them durably takes at least
    /// this.
    pub fn compress_to(&mut self, path: &Path) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        for chunk in 0..self.raw.len() {
            let n = self.compress(chunk);
            file.write_all(&self.out[..n])?;
        }
        file.sync_all()
    }

    /// Compresses all chunks for [`decompress_record`](Self::decompress_record).
    pub fn keep_compressed(&mut self) {
        self.compressed.clear();
        for chunk in 0..self.raw.len() {
            let n = self.compress(chunk);
            self.compressed.push(self.out[..n].to_vec());
        }
    }

    /// The record's bytes. Blosc2 decompresses the blocks that the record touches, and checks nothing.
    ///
    /// The context and the buffer are reused.
    pub fn decompress_record(&mut self, record: usize) -> &[u8] {
        let (chunk, offset, len) = self.records[record];
        let compressed = &self.compressed[chunk];
        // Blosc2 counts in elements of 4 bytes; records start at multiples of 16.
        let (first, n) = ((offset / 4) as i32, len.div_ceil(4) as i32);
        // SAFETY: slices with their own lengths; `out` holds a whole chunk and the range lies in it.
        let written = unsafe {
            sys::blosc2_getitem_ctx(
                self.decoder,
                compressed.as_ptr().cast(),
                compressed.len() as i32,
                first,
                n,
                self.out.as_mut_ptr().cast(),
                self.out.len() as i32,
            )
        };
        assert_eq!(written, 4 * n);
        &self.out[..len]
    }

    /// Decompresses all chunks, one after the other, into a reused buffer. Returns the number of raw
    /// bytes.
    pub fn decompress_all(&mut self) -> usize {
        let mut total = 0;
        for compressed in &self.compressed {
            // SAFETY: slices with their own lengths; `out` holds a whole chunk; the context is borrowed
            // mutably.
            let written = unsafe {
                sys::blosc2_decompress_ctx(
                    self.decoder,
                    compressed.as_ptr().cast(),
                    compressed.len() as i32,
                    self.out.as_mut_ptr().cast(),
                    self.out.len() as i32,
                )
            };
            total += usize::try_from(written).expect("Blosc2 decompresses");
        }
        total
    }

    /// Bytes of all records.
    pub fn payload(&self) -> usize {
        self.records.iter().map(|record| record.2).sum()
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe {
            sys::blosc2_free_ctx(self.encoder);
            sys::blosc2_free_ctx(self.decoder);
        }
    }
}

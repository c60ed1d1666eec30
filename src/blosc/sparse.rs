//! A block of few bytes and many zeros, without compressing the zeros.
//!
//! What zstd compresses may be several frames, one after the other. A frame of zeros is made of blocks that repeat
//! a byte, and bytes that do not shrink are blocks as they are: see RFC 8878, section 3.1.1. After the byte
//! shuffle, each byte of the elements has its bytes and its zeros.

/// The most bytes of a block of a zstd frame.
const MAX_ZSTD_BLOCK: usize = 128 << 10;
/// Bytes of the start of a frame.
const FRAME_START: usize = 9;

/// The frames of a block.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    open: Option<Open>,
}

/// A frame that takes more blocks.
struct Open {
    start: usize,
    /// Raw bytes of the frame so far.
    raw_len: usize,
    /// Where its last block starts.
    last: usize,
}

/// What a block of a frame has.
#[derive(Clone, Copy)]
enum Kind {
    /// Its bytes.
    Raw = 0,
    /// One byte, which repeats.
    Repeated = 1,
}

impl Frames {
    /// Appends a byte, `n` times.
    pub(super) fn push_repeated(&mut self, byte: u8, n: usize) {
        for first in (0..n).step_by(MAX_ZSTD_BLOCK) {
            self.start_block(Kind::Repeated, MAX_ZSTD_BLOCK.min(n - first));
            self.bytes.push(byte);
        }
    }

    /// Appends bytes as they are.
    pub(super) fn push_raw(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(MAX_ZSTD_BLOCK) {
            self.start_block(Kind::Raw, part.len());
            self.bytes.extend_from_slice(part);
        }
    }

    /// Appends a frame that zstd made.
    pub(super) fn push_frame(&mut self, frame: &[u8]) {
        self.close();
        self.bytes.extend_from_slice(frame);
    }

    /// The frames as bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    fn start_block(&mut self, kind: Kind, raw_len: usize) {
        let open = self.open.get_or_insert_with(|| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&0xfd2f_b528_u32.to_le_bytes());
            // A single segment without a checksum, whose length takes the next four bytes.
            self.bytes.extend_from_slice(&[0xa0, 0, 0, 0, 0]);
            Open { start, raw_len: 0, last: 0 }
        });
        open.raw_len += raw_len;
        open.last = self.bytes.len();
        let head = raw_len << 3 | (kind as usize) << 1;
        self.bytes.extend_from_slice(&head.to_le_bytes()[..3]);
    }

    fn close(&mut self) {
        if let Some(Open { start, raw_len, last }) = self.open.take() {
            let raw_len = u32::try_from(raw_len).unwrap_or(u32::MAX);
            self.bytes[start + FRAME_START - 4..start + FRAME_START].copy_from_slice(&raw_len.to_le_bytes());
            self.bytes[last] |= 1;
        }
    }
}

/// Byte `nth` of each element of `raw`, whose last element may be cut short.
pub(super) fn plane(raw: &[u8], typesize: usize, nth: usize) -> Vec<u8> {
    let mut plane: Vec<u8> = raw.iter().skip(nth).step_by(typesize).copied().collect();
    plane.resize(raw.len().div_ceil(typesize), 0);
    plane
}

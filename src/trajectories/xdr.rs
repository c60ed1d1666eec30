//! Numbers as XDR has them: big-endian.
#![expect(clippy::big_endian_bytes, reason = "XDR is")]

use super::error::Fault;
use super::source::Source;

/// A number as XDR has it.
pub(super) fn int(bytes: [u8; 4]) -> i32 {
    i32::from_be_bytes(bytes)
}

impl Source {
    pub(super) fn be_i32(&mut self, what: &str) -> Result<i32, Fault> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(super) fn be_f32(&mut self, what: &str) -> Result<f32, Fault> {
        self.array(what).map(f32::from_be_bytes)
    }

    pub(super) fn be_f64(&mut self, what: &str) -> Result<f64, Fault> {
        self.array(what).map(f64::from_be_bytes)
    }

    pub(super) fn be_u64(&mut self, what: &str) -> Result<u64, Fault> {
        self.array(what).map(u64::from_be_bytes)
    }
}

/// The rows of three numbers in `bytes`.
pub(super) fn rows_f32(bytes: &[u8], out: &mut Vec<[f32; 3]>) {
    let (rows, _) = bytes.as_chunks::<12>();
    out.clear();
    out.extend(rows.iter().map(|row| {
        let (numbers, _) = row.as_chunks::<4>();
        [0, 1, 2].map(|axis| f32::from_be_bytes(numbers[axis]))
    }));
}

/// The rows of three numbers in `bytes`.
pub(super) fn rows_f64(bytes: &[u8], out: &mut Vec<[f64; 3]>) {
    let (rows, _) = bytes.as_chunks::<24>();
    out.clear();
    out.extend(rows.iter().map(|row| {
        let (numbers, _) = row.as_chunks::<8>();
        [0, 1, 2].map(|axis| f64::from_be_bytes(numbers[axis]))
    }));
}

//! Arrays of NumPy: the head of `.npy` files.
//!
//! # Source
//! NumPy documentation, `numpy.lib.format`.

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Whether a file is a zip archive whose first member is an array.
pub(super) fn is_npz(start: &[u8]) -> bool {
    let Some(head) = start.strip_prefix(b"PK\x03\x04") else { return false };
    let Some(length) = head.get(22..24) else { return false };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    head.get(26..26 + length).is_some_and(|name| name.ends_with(b".npy"))
}

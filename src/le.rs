//! Reads little-endian numbers from bytes, and never past their end.
//!
//! All code that reads stored bytes calls this module. It calls no other.

/// The `u32` at byte `at`. `None` if the bytes end before it does.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|raw| u32::from_le_bytes(*raw))
}

/// The `u64` at byte `at`. `None` if the bytes end before it does.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|raw| u64::from_le_bytes(*raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_run_past_the_end_are_none() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u32_at(&bytes, 1), Some(0x0504_0302));
        assert_eq!(u64_at(&bytes, 1), Some(0x0908_0706_0504_0302));
        assert_eq!((u32_at(&bytes, 6), u64_at(&bytes, 2)), (None, None));
        assert_eq!((u32_at(&bytes, 10), u64_at(&bytes, usize::MAX)), (None, None));
    }
}

//! The checksum of everything that is stored: CRC32C (Castagnoli), chosen for the processor that runs.
//!
//! All code that checks or writes stored bytes calls this module. It calls no other.
//!
//! Where the processor multiplies without carry in vectors of 512 bits (AVX-512 with VPCLMULQDQ: Intel since
//! Ice Lake, AMD since Zen 4), `crc-fast` is faster than `crc32c` for every length, by 1.1 to 2.4. All others
//! take `crc32c`, which uses the CRC instructions of x86-64 and of Arm, and tables where there are none.

/// Whether the processor has carry-less multiplication of 512 bits.
#[cfg(target_arch = "x86_64")]
fn is_wide() -> bool {
    is_x86_feature_detected!("vpclmulqdq") && is_x86_feature_detected!("avx512vl")
}

/// The CRC32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        return crc_fast::crc32_iscsi(bytes);
    }
    crc32c::crc32c(bytes)
}

/// The CRC32C of some bytes followed by `bytes`, given the checksum `crc` of the former.
pub(crate) fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // What goes on is the register, before the last inversion.
        let mut digest =
            crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
        digest.update(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "a checksum of 32 bits")]
        return digest.finalize() as u32;
    }
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the definition has it, bit by bit: RFC 3720, section 12.1, with the reversed polynomial 0x82F63B78.
    fn by_bits(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(*byte),
                |crc, _| {
                    if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
                },
            )
        })
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
    }

    #[test]
    fn published_values_come_out() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<_>>()), 0x46dd_794e);
        assert_eq!(crc32c_append(crc32c(b"1234"), b"56789"), 0xe306_9283);
    }

    #[test]
    fn every_short_length_at_every_offset_is_right() {
        let bytes = noise(1200);
        for offset in [0, 1, 3, 7, 8, 9, 31, 33, 63] {
            for len in (0..600).chain([767, 768, 769, 1023, 1024, 1025]) {
                let part = &bytes[offset..offset + len];
                assert_eq!(crc32c(part), by_bits(part), "{len} bytes at {offset}");
                let (first, rest) = part.split_at(len / 3);
                assert_eq!(
                    crc32c_append(crc32c(first), rest),
                    by_bits(part),
                    "{len} bytes at {offset}, in two"
                );
            }
        }
    }

    #[test]
    fn the_wide_way_is_taken_where_it_is_there() {
        #[cfg(target_arch = "x86_64")]
        if is_wide() {
            let target = crc_fast::get_calculator_target(crc_fast::CrcAlgorithm::Crc32Iscsi);
            assert_eq!(target, "x86_64-avx512-vpclmulqdq");
        }
    }

    proptest! {
        #[test]
        fn the_other_crate_says_the_same(
            bytes in prop::collection::vec(any::<u8>(), 0..70_000),
            offset in 0_usize..130,
            cuts in prop::collection::vec(0_usize..70_000, 0..4),
        ) {
            let bytes = &bytes[offset.min(bytes.len())..];
            let expected = crc32c::crc32c(bytes);
            prop_assert_eq!(crc32c(bytes), expected);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let (mut at, mut found) = (0, 0);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                found = crc32c_append(found, &bytes[at..cut]);
                at = cut;
            }
            prop_assert_eq!(found, expected);
        }
    }
}

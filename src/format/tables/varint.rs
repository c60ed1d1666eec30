//! Numbers of seven bits a byte, the low bits first. All bytes but the last have the high bit.

/// Appends a number.
pub(super) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front of `bytes`; `None` if there is none, or one past 2^64.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        number |= (part << shift >> shift == part).then_some(part << shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Makes small negative numbers, in two's complement, small.
pub(super) fn zigzag(bits: u64) -> u64 {
    bits << 1 ^ (bits.cast_signed() >> 63).cast_unsigned()
}

pub(super) fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_those_that_are_too_long_do_not() {
        let mut bytes = Vec::new();
        let numbers = [0, 1, 127, 128, 300, 1 << 32, u64::MAX];
        for number in numbers {
            push_varint(&mut bytes, number);
        }
        let mut rest = &*bytes;
        assert_eq!(numbers.map(|_| take_varint(&mut rest).unwrap()), numbers);
        assert!(rest.is_empty() && take_varint(&mut rest).is_none());
        assert_eq!(take_varint(&mut &[0xff; 11][..]), None);
        assert_eq!(take_varint(&mut &[0x80][..]), None);
    }
}

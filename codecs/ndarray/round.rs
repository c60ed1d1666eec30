//! From f64 to the two half precisions, rounded once.
//!
//! `half` goes through f32, or drops the low half of the mantissa. Either rounds twice: 1 + 2^-11 +
//! 2^-40 lies above the middle of two f16 and must go up, but the first rounding takes it down to the
//! middle.
//!
//! Rounding to odd in the first step keeps what the second step has to know. An inexact f32 gets its
//! lowest bit set, so it never is the middle of two halves. The result is exact if the wider format has
//! at least two bits more than the narrower one, wherever the two have a number. f32 has 24 bits, f16
//! has 11 and bf16 has 8, and for subnormal numbers the difference is no smaller.
//!
//! # Source
//! S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding
//! to odd", IEEE Transactions on Computers 57 (2008).

use half::{bf16, f16};

/// The nearest f16. If two are equally near, the even one.
pub(in crate::codecs) fn to_f16(x: f64) -> f16 {
    f16::from_f32(to_odd(x))
}

/// The nearest bf16. If two are equally near, the even one.
pub(in crate::codecs) fn to_bf16(x: f64) -> bf16 {
    bf16::from_f32(to_odd(x))
}

/// Truncates to f32, and sets the lowest bit unless the result is exact.
#[expect(clippy::cast_possible_truncation, reason = "what is lost is put into the lowest bit")]
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    if x.is_nan() || back.to_bits() == x.to_bits() {
        return nearest;
    }
    // Without their signs, the bits of floats have the order of the magnitudes, infinity included.
    let truncated = nearest.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(truncated | 1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "what is rounded right is the very number")]

    use proptest::prelude::*;

    use super::*;

    /// Numbers of a format from 0 up. The last would follow the largest one if the exponent had no end.
    fn numbers(infinity: u16, to: impl Fn(u16) -> f64) -> Vec<f64> {
        let mut numbers: Vec<f64> = (0..infinity).map(to).collect();
        let largest = numbers.len() - 1;
        numbers.push(2.0 * numbers[largest] - numbers[largest - 1]);
        numbers
    }

    /// Finds the nearest by comparing with the middles, which are exact in f64.
    fn nearest(numbers: &[f64], x: f64) -> u16 {
        let above = numbers.partition_point(|&number| number <= x.abs());
        let below = above - 1;
        let code = match numbers.get(above) {
            None => below,
            Some(next) => {
                let middle = f64::midpoint(numbers[below], *next);
                if x.abs() > middle || x.abs() == middle && below % 2 == 1 { above } else { below }
            }
        };
        u16::try_from(code).unwrap() | if x.is_sign_negative() { 0x8000 } else { 0 }
    }

    fn f16s() -> Vec<f64> {
        numbers(0x7c00, |bits| f16::from_bits(bits).to_f64())
    }

    fn bf16s() -> Vec<f64> {
        numbers(0x7f80, |bits| bf16::from_bits(bits).to_f64())
    }

    fn next_up(x: f64) -> f64 {
        f64::from_bits(x.to_bits() + 1)
    }

    fn next_down(x: f64) -> f64 {
        if x == 0.0 { x } else { f64::from_bits(x.to_bits() - 1) }
    }

    #[test]
    fn every_half_every_middle_and_what_is_next_to_them_go_to_the_nearest() {
        let (f16s, bf16s) = (f16s(), bf16s());
        for (halves, to) in
            [(&f16s, (|x| to_f16(x).to_bits()) as fn(f64) -> u16), (&bf16s, |x| to_bf16(x).to_bits())]
        {
            for pair in halves.windows(2) {
                let middle = f64::midpoint(pair[0], pair[1]);
                for x in [pair[0], middle, pair[1]] {
                    // A step so small that f32 does not see it, and one that it sees.
                    for x in [next_down(x), x, next_up(x), x * (1.0 - 1e-9), x * (1.0 + 1e-9)] {
                        for x in [x, -x] {
                            assert_eq!(to(x), nearest(halves, x), "{x:e}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_rounded_twice_is_rounded_once() {
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(to_f16(x).to_f64(), 1.0 + 2f64.powi(-10));
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(to_bf16(x).to_f64(), 1.0 + 2f64.powi(-7));
        let x = 1.0 + 2f64.powi(-11) - 2f64.powi(-50);
        assert_eq!(to_f16(x), f16::ONE);
    }

    #[test]
    fn the_ends_of_the_range_are_kept() {
        assert_eq!(to_f16(65519.999).to_f64(), 65504.0);
        assert_eq!(to_f16(65520.0), f16::INFINITY);
        assert_eq!(to_f16(-1e300), f16::NEG_INFINITY);
        assert_eq!(to_bf16(f64::MAX), bf16::INFINITY);
        assert_eq!(to_bf16(f64::from(f32::MAX)), bf16::INFINITY);
        assert_eq!(to_bf16(bf16::MAX.to_f64()), bf16::MAX);
        for tiny in [f64::from_bits(1), 1e-300, f64::MIN_POSITIVE] {
            assert_eq!((to_f16(tiny).to_bits(), to_f16(-tiny).to_bits()), (0, 0x8000));
            assert_eq!((to_bf16(tiny).to_bits(), to_bf16(-tiny).to_bits()), (0, 0x8000));
        }
        assert_eq!((to_f16(-0.0).to_bits(), to_bf16(-0.0).to_bits()), (0x8000, 0x8000));
        assert_eq!(to_f16(f64::INFINITY), f16::INFINITY);
        assert_eq!(to_bf16(f64::NEG_INFINITY), bf16::NEG_INFINITY);
        // A payload that the narrower format has no room for must not turn NaN into infinity.
        for nan in [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)] {
            assert!(to_f16(nan).is_nan() && to_bf16(nan).is_nan());
        }
    }

    proptest! {
        #[test]
        fn any_f64_goes_to_the_nearest(bits in any::<u64>(), exponent in 970_u64..1042) {
            let (f16s, bf16s) = (f16s(), bf16s());
            // Any number, and one in the range of f16.
            for bits in [bits, bits & 0x800f_ffff_ffff_ffff | exponent << 52] {
                let x = f64::from_bits(bits);
                if !x.is_nan() {
                    prop_assert_eq!(to_f16(x).to_bits(), nearest(&f16s, x));
                    prop_assert_eq!(to_bf16(x).to_bits(), nearest(&bf16s, x));
                }
            }
        }
    }
}

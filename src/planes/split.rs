//! Byte planes of arrays: the first bytes of all elements, all second bytes, and so on.
//!
//! Of a float, the sign changes places with the lowest bit of the exponent's eight highest ones, as far as
//! the bytes go: an f32 has its exponent in one plane, and sign and mantissa in the three others.

use super::Broken;
use super::wide::{self, LANES};

/// What the elements of a [span](super::FieldSpans) are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Elements {
    /// Integers of 1 byte, or bytes of another meaning.
    Bytes1,
    /// Integers or anything else of 2 bytes.
    Bytes2,
    /// Integers or anything else of 4 bytes.
    Bytes4,
    /// Integers or anything else of 8 bytes.
    Bytes8,
    /// f32, little-endian.
    Float4,
    /// f64, little-endian.
    Float8,
}

impl Elements {
    const ALL: [Self; 6] =
        [Self::Bytes1, Self::Bytes2, Self::Bytes4, Self::Bytes8, Self::Float4, Self::Float8];

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::Bytes1 => 1,
            Self::Bytes2 => 2,
            Self::Bytes4 | Self::Float4 => 4,
            Self::Bytes8 | Self::Float8 => 8,
        }
    }

    /// The number that stands for it in a file.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// The exponent, the sign, the mantissa: 8, 1 and 23 bits.
fn forth(x: u32) -> u32 {
    (x & 0x7f80_0000) << 1 | (x & 0x8000_0000) >> 8 | x & 0x007f_ffff
}

fn back(x: u32) -> u32 {
    (x & 0xff00_0000) >> 1 | (x & 0x0080_0000) << 8 | x & 0x007f_ffff
}

/// The same for the eight highest bits of the exponent of an f64.
fn forth8(x: u64) -> u64 {
    (x & 0x7f80_0000_0000_0000) << 1 | (x & (1 << 63)) >> 8 | x & 0x007f_ffff_ffff_ffff
}

fn back8(x: u64) -> u64 {
    (x & 0xff00_0000_0000_0000) >> 1 | (x & (1 << 55)) << 8 | x & 0x007f_ffff_ffff_ffff
}

/// Writes the planes of `bytes`, whole elements, into `planes`: `plane` bytes each from `at` on, one plane
/// every `stride` bytes.
pub(crate) fn split(bytes: &[u8], elements: Elements, planes: &mut [u8], stride: usize, at: usize) {
    fn each<const N: usize>(
        bytes: &[u8],
        planes: &mut [u8],
        stride: usize,
        at: usize,
        change: impl Fn([u8; N]) -> [u8; N],
    ) {
        let n = bytes.len() / N;
        let mut rest = planes;
        let mut to: [&mut [u8]; N] = std::array::from_fn(|plane| {
            let (this, behind) =
                std::mem::take(&mut rest).split_at_mut(if plane + 1 < N { stride } else { at + n });
            rest = behind;
            &mut this[at..at + n]
        });
        let (elements, _) = bytes.as_chunks::<N>();
        for (i, element) in elements.iter().enumerate() {
            for (plane, byte) in to.iter_mut().zip(change(*element)) {
                plane[i] = byte;
            }
        }
    }
    match elements {
        Elements::Bytes1 => planes[at..at + bytes.len()].copy_from_slice(bytes),
        Elements::Bytes2 => each::<2>(bytes, planes, stride, at, |x| x),
        Elements::Bytes4 => each::<4>(bytes, planes, stride, at, |x| x),
        Elements::Bytes8 => each::<8>(bytes, planes, stride, at, |x| x),
        Elements::Float4 => {
            each::<4>(bytes, planes, stride, at, |x| forth(u32::from_le_bytes(x)).to_le_bytes());
        }
        Elements::Float8 => {
            each::<8>(bytes, planes, stride, at, |x| forth8(u64::from_le_bytes(x)).to_le_bytes());
        }
    }
}

/// Fills `bytes`, whole elements, from a part of each of their planes.
///
/// # Errors
/// If there are fewer planes, or shorter ones, than the elements need.
pub(crate) fn join(planes: &[&[u8]], elements: Elements, bytes: &mut [u8]) -> Result<(), Broken> {
    const SHORT: Broken = Broken("a plane is shorter than its span");
    let n = bytes.len() / elements.size();
    let plane = |i: usize| planes.get(i).and_then(|plane| plane.get(..n)).ok_or(SHORT);
    match elements {
        Elements::Bytes1 => bytes.copy_from_slice(plane(0)?),
        Elements::Bytes2 => {
            let (a, b) = (plane(0)?, plane(1)?);
            let (out, _) = bytes.as_chunks_mut::<2>();
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = [*a, *b];
            }
        }
        Elements::Bytes4 | Elements::Float4 => {
            let four = [plane(0)?, plane(1)?, plane(2)?, plane(3)?];
            let (out, _) = bytes.as_chunks_mut::<4>();
            if elements == Elements::Float4 {
                join4::<true>(four, out);
            } else {
                join4::<false>(four, out);
            }
        }
        Elements::Bytes8 | Elements::Float8 => {
            let mut eight = [&[][..]; 8];
            for (i, to) in eight.iter_mut().enumerate() {
                *to = plane(i)?;
            }
            let (out, _) = bytes.as_chunks_mut::<8>();
            let float = elements == Elements::Float8;
            for (i, out) in out.iter_mut().enumerate() {
                let x = u64::from_le_bytes(eight.map(|plane| plane[i]));
                *out = (if float { back8(x) } else { x }).to_le_bytes();
            }
        }
    }
    Ok(())
}

#[allow(clippy::many_single_char_names, reason = "the bytes of an element, from the lowest")]
fn join4<const FLOAT: bool>(planes: [&[u8]; 4], out: &mut [[u8; 4]]) {
    let n = planes.iter().fold(out.len(), |n, plane| n.min(plane.len()));
    let (many, rest) = out[..n].as_chunks_mut::<LANES>();
    let done = many.len() * LANES;
    let [a, b, c, d] = planes.map(|plane| plane[..done].as_chunks::<LANES>().0);
    for ((((out, a), b), c), d) in many.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out = wide::join::<FLOAT>([a, b, c, d]);
    }
    let [a, b, c, d] = planes.map(|plane| &plane[done..n]);
    for ((((out, a), b), c), d) in rest.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let x = u32::from_le_bytes([*a, *b, *c, *d]);
        *out = (if FLOAT { back(x) } else { x }).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn planes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..400), code in 0..6_u8, at in 0..3_usize) {
            let elements = Elements::from_code(code).unwrap();
            let n = bytes.len() / elements.size();
            let bytes = &bytes[..n * elements.size()];
            let stride = at + n + 1;
            let mut planes = vec![0; stride * elements.size()];
            split(bytes, elements, &mut planes, stride, at);
            let planes: Vec<_> = planes.chunks_exact(stride).map(|plane| &plane[at..]).collect();
            let mut out = vec![1; bytes.len()];
            join(&planes, elements, &mut out).unwrap();
            prop_assert_eq!(out, bytes);
            let short: Vec<_> = planes.iter().map(|plane| &plane[..n.saturating_sub(1)]).collect();
            prop_assert_eq!(join(&short, elements, &mut vec![0; bytes.len()]).is_ok(), n == 0);
        }
    }

    #[test]
    fn the_exponent_of_a_float_has_its_own_plane() {
        for x in [1.0_f32, -1.0, 1.99, -1.5] {
            assert_eq!(forth(x.to_bits()) >> 24, 127);
            assert_eq!(forth(x.to_bits()) >> 23 & 1, u32::from(x < 0.0));
        }
        assert_eq!(forth8((-1.5_f64).to_bits()) >> 56, 1023 >> 3);
    }
}

//! Sixteen elements of four bytes from their planes at once.

/// Elements that are joined at once.
pub(super) const LANES: usize = 16;

/// Joins the planes of 16 elements. With `FLOAT`, the sign and the lowest bit of the exponent change places.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn join<const FLOAT: bool>(planes: [&[u8; LANES]; 4]) -> [[u8; 4]; LANES] {
    // SAFETY: SSE2 belongs to x86-64: every such processor has it, and no target of that architecture is
    // without it.
    unsafe { sse2::<FLOAT>(planes) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn sse2<const FLOAT: bool>(planes: [&[u8; LANES]; 4]) -> [[u8; 4]; LANES] {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_or_si128, _mm_set1_epi16, _mm_slli_epi16, _mm_srli_epi16,
        _mm_unpackhi_epi8, _mm_unpackhi_epi16, _mm_unpacklo_epi8, _mm_unpacklo_epi16,
    };

    let [a, b, c, d] = planes.map(|plane| bytemuck::cast::<[u8; LANES], __m128i>(*plane));
    let low = [_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)];
    let mut high = [_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d)];
    if FLOAT {
        for word in &mut high {
            let exponent = _mm_srli_epi16::<1>(_mm_and_si128(*word, _mm_set1_epi16(i16::MIN | 0x7f00)));
            let sign = _mm_slli_epi16::<8>(_mm_and_si128(*word, _mm_set1_epi16(0x80)));
            let mantissa = _mm_and_si128(*word, _mm_set1_epi16(0x7f));
            *word = _mm_or_si128(_mm_or_si128(exponent, sign), mantissa);
        }
    }
    bytemuck::cast([
        _mm_unpacklo_epi16(low[0], high[0]),
        _mm_unpackhi_epi16(low[0], high[0]),
        _mm_unpacklo_epi16(low[1], high[1]),
        _mm_unpackhi_epi16(low[1], high[1]),
    ])
}

/// Joins the planes of 16 elements. With `FLOAT`, the sign and the lowest bit of the exponent change places.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn join<const FLOAT: bool>(planes: [&[u8; LANES]; 4]) -> [[u8; 4]; LANES] {
    let [a, b, c, d] = planes;
    std::array::from_fn(|i| {
        let word = u16::from_le_bytes([c[i], d[i]]);
        let word = if FLOAT { (word & 0xff00) >> 1 | (word & 0x80) << 8 | word & 0x7f } else { word };
        let [c, d] = word.to_le_bytes();
        [a[i], b[i], c, d]
    })
}

//! Canonical Huffman codes of bytes, with codes of at most [`MAX_BITS`] bits.
//!
//! Codes are given by their lengths alone, as in Deflate (RFC 1951, section 3.2.2): shorter codes come first,
//! and codes of one length are in the order of their bytes. They are written from their first bit, and
//! bits fill bytes from the lowest one. Lengths come from package-merge (Larmore and Hirschberg, "A fast
//! algorithm for optimal length-limited Huffman codes", J. ACM 37, 1990).
//!
//! A decoder looks up 11 bits at a time. An entry has up to three bytes, as many as these bits hold, so an
//! exponent costs a third of a step.

use super::Broken;

/// The most bits of a code.
pub(crate) const MAX_BITS: usize = 11;
const TABLE: usize = 1 << MAX_BITS;
/// Bytes of a decoder's table.
pub(crate) const TABLE_BYTES: usize = 4 * TABLE;
/// The stored bytes of the lengths of a code: 4 bits each.
pub(crate) const LENGTHS_LEN: usize = 128;

/// The bits of each byte's code; 0 if the byte has none.
pub(crate) type Lengths = [u8; 256];

/// The lengths that need the fewest bits for bytes that occur `counts` times.
///
/// `None` if fewer than two bytes occur: then there is no code.
pub(crate) fn lengths(counts: &[u32; 256]) -> Option<Lengths> {
    /// A coin of the coin collector's problem: a byte, or a package of two coins of the level before.
    struct Coin {
        weight: u64,
        byte: Option<u8>,
    }
    let mut bytes: Vec<(u64, u8)> =
        (0..=u8::MAX).zip(counts).filter(|(_, count)| **count > 0).map(|(b, &n)| (n.into(), b)).collect();
    if bytes.len() < 2 {
        return None;
    }
    bytes.sort_unstable();
    let mut levels: Vec<Vec<Coin>> = Vec::with_capacity(MAX_BITS);
    for _ in 0..MAX_BITS {
        let packages: Vec<u64> = levels.last().map_or_else(Vec::new, |coins: &Vec<Coin>| {
            coins.chunks_exact(2).map(|pair| pair[0].weight + pair[1].weight).collect()
        });
        let mut packages = packages.into_iter().peekable();
        let mut coins = Vec::with_capacity(2 * bytes.len());
        for &(weight, byte) in &bytes {
            while let Some(weight) = packages.next_if(|package| *package < weight) {
                coins.push(Coin { weight, byte: None });
            }
            coins.push(Coin { weight, byte: Some(byte) });
        }
        coins.extend(packages.map(|weight| Coin { weight, byte: None }));
        levels.push(coins);
    }
    // Each time that a byte is among the coins taken, its code has one bit more. A package among them takes
    // its two coins of the level before, which are its first ones.
    let mut lengths = [0; 256];
    let mut taken = 2 * bytes.len() - 2;
    for coins in levels.iter().rev() {
        let mut packages = 0;
        for coin in &coins[..taken] {
            match coin.byte {
                Some(byte) => lengths[usize::from(byte)] += 1,
                None => packages += 1,
            }
        }
        taken = 2 * packages;
    }
    Some(lengths)
}

/// The 128 bytes that stand for `lengths`.
pub(crate) fn pack_lengths(lengths: &Lengths) -> [u8; LENGTHS_LEN] {
    let mut packed = [0; LENGTHS_LEN];
    for (packed, pair) in packed.iter_mut().zip(lengths.chunks_exact(2)) {
        *packed = pair[0] | pair[1] << 4;
    }
    packed
}

/// The lengths that `packed` stands for.
///
/// # Errors
/// If they are not those of a complete code of at least two bytes.
pub(crate) fn unpack_lengths(packed: &[u8; LENGTHS_LEN]) -> Result<Lengths, Broken> {
    let mut lengths = [0; 256];
    for (pair, packed) in lengths.chunks_exact_mut(2).zip(packed) {
        (pair[0], pair[1]) = (packed & 15, packed >> 4);
    }
    if lengths.iter().any(|&bits| usize::from(bits) > MAX_BITS) {
        return Err(Broken("a code has more than 11 bits"));
    }
    // Kraft's sum, in units of the shortest code space.
    let sum: usize = lengths.iter().filter(|bits| **bits > 0).map(|&bits| TABLE >> bits).sum();
    if sum != TABLE {
        return Err(Broken("a code is not complete"));
    }
    Ok(lengths)
}

/// The code of each byte, with its first bit lowest.
fn codes(lengths: &Lengths) -> [u16; 256] {
    let mut codes = [0; 256];
    let mut next = 0_u16;
    for bits in 1..=MAX_BITS {
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, length)| usize::from(**length) == bits) {
            *code = next.reverse_bits() >> (16 - bits);
            next += 1;
        }
        next <<= 1;
    }
    codes
}

/// Writes bytes as codes.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    /// A code with its length; the length is 0 if there is none.
    codes: [(u16, u8); 256],
}

impl Encoder {
    pub(crate) fn new(lengths: &Lengths) -> Self {
        let mut pairs = [(0, 0); 256];
        for ((pair, code), bits) in pairs.iter_mut().zip(codes(lengths)).zip(lengths) {
            *pair = (code, *bits);
        }
        Self { codes: pairs }
    }

    /// Appends the stream of `bytes`: see [`Decoder::decode`].
    ///
    /// Returns `false` if a byte has no code. What was appended then has no meaning.
    pub(crate) fn encode(&self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let (front, behind) = bytes.split_at(front(bytes.len()));
        let good = self.encode_part(front, out);
        let start = out.len();
        let good = self.encode_part(behind, out) && good;
        out[start..].reverse();
        good
    }

    /// Appends the codes of `bytes`, and fills the last byte with zeros.
    fn encode_part(&self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let (mut held, mut n_held) = (0_u64, 0_u32);
        let mut least = u8::MAX;
        let mut groups = bytes.chunks_exact(4);
        let mut push = |byte: u8, held: &mut u64, n_held: &mut u32| {
            let (code, bits) = self.codes[usize::from(byte)];
            least = least.min(bits);
            *held |= u64::from(code) << *n_held;
            *n_held += u32::from(bits);
        };
        out.reserve(2 * bytes.len() + 8);
        for group in &mut groups {
            for &byte in group {
                push(byte, &mut held, &mut n_held);
            }
            // At most 7 + 44 bits are held.
            let whole = n_held / 8;
            let start = out.len();
            out.extend_from_slice(&held.to_le_bytes());
            out.truncate(start + whole as usize);
            held >>= 8 * whole;
            n_held %= 8;
        }
        for &byte in groups.remainder() {
            push(byte, &mut held, &mut n_held);
        }
        let start = out.len();
        out.extend_from_slice(&held.to_le_bytes());
        out.truncate(start + n_held.div_ceil(8) as usize);
        least > 0
    }
}

/// How many bytes of a plane of `n` bytes are in the front part of its stream.
fn front(n: usize) -> usize {
    n.div_ceil(2)
}

/// Reads bytes from their codes.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    /// For each 11 bits: up to three bytes, in bits 24 to 27 the bits that they take, in bits 28 and 29 how
    /// many there are.
    table: Box<[u32; TABLE]>,
    lengths: Lengths,
}

impl Decoder {
    /// `lengths` must be those of a complete code.
    pub(crate) fn new(lengths: &Lengths) -> Self {
        let codes = codes(lengths);
        let mut first = vec![0_u8; TABLE];
        for byte in 0..=u8::MAX {
            let bits = lengths[usize::from(byte)];
            if bits > 0 {
                let start = usize::from(codes[usize::from(byte)]) & (TABLE - 1);
                first[start..].iter_mut().step_by(1 << bits).for_each(|entry| *entry = byte);
            }
        }
        let mut table = Box::new([0; TABLE]);
        for (bits, entry) in table.iter_mut().enumerate() {
            let (mut used, mut n) = (0, 0);
            while n < 3 {
                let byte = first[bits >> used];
                let more = usize::from(lengths[usize::from(byte)]);
                if used + more > MAX_BITS {
                    break;
                }
                *entry |= u32::from(byte) << (8 * n);
                (used, n) = (used + more, n + 1);
            }
            *entry |= (used as u32) << 24 | n << 28;
        }
        Self { table, lengths: *lengths }
    }

    /// Fills `out` from a stream: the `len` bytes of `bytes` from `start` on.
    ///
    /// The codes of the first half of a plane fill its stream from the start, and those of the second half
    /// from the end backwards. So both are read at the same time.
    ///
    /// # Errors
    /// If the stream does not have as many codes, or has more than their bytes.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        start: usize,
        len: usize,
        out: &mut [u8],
    ) -> Result<(), Broken> {
        const WRONG: Broken = Broken("a stream does not have as many codes as its plane has bytes");
        let wanted = out.len();
        let end = start.checked_add(len).filter(|end| *end <= bytes.len()).ok_or(WRONG)?;
        let middle = front(wanted);
        let (mut fore, mut back) = (Bits::default(), Bits::default());
        // Bytes that were decoded of each half, and those taken from either end of the stream.
        let (mut done, mut done_back) = (0, middle);
        let (mut at, mut at_back) = (start, end);
        while done + 15 <= middle
            && done_back + 15 <= wanted
            && let Some(next) = bytes.get(at..).and_then(|rest| rest.first_chunk())
            && let Some(last) = bytes.get(..at_back).and_then(|rest| rest.last_chunk())
            && let Some((room, room_back)) = out.split_at_mut_checked(middle)
            && let Some(room) = room.get_mut(done..).and_then(|out| out.first_chunk_mut::<15>())
            && let Some(room_back) =
                room_back.get_mut(done_back - middle..).and_then(|out| out.first_chunk_mut())
        {
            at += fore.fill(u64::from_le_bytes(*next));
            at_back -= back.fill(u64::from_le_bytes(*last).swap_bytes());
            // Five steps of at most 11 bits take at most 55.
            let (mut n, mut n_back) = (0, 0);
            for _ in 0..5 {
                n += self.step(&mut fore, room, n);
                n_back += self.step(&mut back, room_back, n_back);
            }
            done += n;
            done_back += n_back;
        }
        fore.forget_next();
        back.forget_next();
        for byte in &mut out[done..middle] {
            while fore.held <= 56
                && let Some(&next) = bytes[..end].get(at)
            {
                at += fore.fill_byte(next);
            }
            *byte = self.single(&mut fore).ok_or(WRONG)?;
        }
        for byte in &mut out[done_back..wanted] {
            while back.held <= 56
                && let Some(&last) = bytes[start..at_back.max(start)].last()
            {
                at_back -= back.fill_byte(last);
            }
            *byte = self.single(&mut back).ok_or(WRONG)?;
        }
        // Each half leaves less than a byte unused, and that is zeros.
        let (at, at_back) = (at - fore.held / 8, at_back + back.held / 8);
        if at != at_back || fore.rest() != 0 || back.rest() != 0 {
            return Err(WRONG);
        }
        Ok(())
    }

    /// Decodes up to three bytes to byte `n` of `room`. Returns how many.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "two streams take turns, with their bits in registers")]
    fn step(&self, bits: &mut Bits, room: &mut [u8; 15], n: usize) -> usize {
        let entry = self.table[bits.bits as usize & (TABLE - 1)];
        room[n..n + 3].copy_from_slice(&entry.to_le_bytes()[..3]);
        bits.skip((entry >> 24 & 15) as usize);
        (entry >> 28) as usize
    }

    fn single(&self, bits: &mut Bits) -> Option<u8> {
        let byte = self.table[bits.bits as usize & (TABLE - 1)] as u8;
        let len = usize::from(self.lengths[usize::from(byte)]);
        if len > bits.held {
            return None;
        }
        bits.skip(len);
        Some(byte)
    }
}

/// Bits that were taken from a stream, and not used yet.
#[derive(Default)]
struct Bits {
    /// The lowest `held` ones. Those above are 0, or those that come next.
    bits: u64,
    held: usize,
}

impl Bits {
    /// Takes whole bytes of the next eight. Returns how many.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `step`")]
    fn fill(&mut self, next: u64) -> usize {
        self.bits |= next << self.held;
        let taken = (63 - self.held) / 8;
        self.held |= 0x38;
        taken
    }

    fn fill_byte(&mut self, next: u8) -> usize {
        self.bits |= u64::from(next) << self.held;
        self.held += 8;
        1
    }

    fn skip(&mut self, n: usize) {
        self.bits >>= n;
        self.held -= n;
    }

    fn forget_next(&mut self) {
        self.bits &= (1 << self.held) - 1;
    }

    /// The bits of the last byte that are not used.
    fn rest(&self) -> u64 {
        self.bits & ((1 << (self.held % 8)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(bytes: &[u8]) -> [u32; 256] {
        let mut counts = [0; 256];
        for &byte in bytes {
            counts[usize::from(byte)] += 1;
        }
        counts
    }

    fn decode(decoder: &Decoder, stream: &[u8], n: usize) -> Result<Vec<u8>, Broken> {
        let mut out = vec![0x5a; n];
        // What lies around a stream must not matter.
        let around = [&[0x3c; 9], stream, &[0xc3; 9]].concat();
        decoder.decode(&around, 9, stream.len(), &mut out)?;
        let mut again = vec![0x5a; n];
        decoder.decode(stream, 0, stream.len(), &mut again)?;
        assert_eq!(out, again);
        Ok(out)
    }

    /// Bytes of which some occur much more often than others.
    fn uneven() -> impl Strategy<Value = Vec<u8>> {
        let byte = (any::<u8>(), 0..8_u32).prop_map(|(byte, shift)| byte >> shift);
        prop::collection::vec(byte, 2..3000)
    }

    #[test]
    fn lengths_are_optimal_for_a_known_example() {
        let mut counts = [0; 256];
        for (byte, count) in [(b'a', 45), (b'b', 13), (b'c', 12), (b'd', 16), (b'e', 9), (b'f', 5)] {
            counts[usize::from(byte)] = count;
        }
        let lengths = lengths(&counts).unwrap();
        assert_eq!(b"abcdef".map(|byte| lengths[usize::from(byte)]), [1, 3, 3, 3, 4, 4]);
    }

    #[test]
    fn lengths_keep_to_the_limit_where_huffman_would_not() {
        let mut counts = [0; 256];
        (0..40).for_each(|n| counts[n] = 1 << (n / 2));
        let limited = lengths(&counts).unwrap();
        assert_eq!(limited.iter().max(), Some(&11));
        assert_eq!(unpack_lengths(&pack_lengths(&limited)), Ok(limited));
        assert_eq!(lengths(&[0; 256]), None);
        assert_eq!(lengths(&self::counts(&[7; 9])), None);
        let all = lengths(&[1; 256]).unwrap();
        assert!(all.iter().all(|&bits| bits == 8));
    }

    #[test]
    fn codes_that_are_not_complete_are_refused() {
        let good = lengths(&counts(b"some letters")).unwrap();
        for byte in 0..=255_usize {
            for bits in 0..16 {
                let mut bad = good;
                bad[byte] = bits;
                assert_eq!(unpack_lengths(&pack_lengths(&bad)).is_ok(), bad == good, "{byte} {bits}");
            }
        }
        assert!(unpack_lengths(&[0; LENGTHS_LEN]).is_err());
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in uneven(), before in prop::collection::vec(any::<u8>(), 0..3)) {
            let Some(lengths) = lengths(&counts(&bytes)) else { return Ok(()) };
            let mut out = before.clone();
            prop_assert!(Encoder::new(&lengths).encode(&bytes, &mut out));
            let decoder = Decoder::new(&unpack_lengths(&pack_lengths(&lengths)).unwrap());
            prop_assert_eq!(decode(&decoder, &out[before.len()..], bytes.len()), Ok(bytes));
        }

        #[test]
        fn streams_that_were_cut_or_changed_are_errors_or_other_bytes(
            bytes in uneven(),
            other in prop::collection::vec(any::<u8>(), 0..200),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..20),
        ) {
            let Some(lengths) = lengths(&counts(&bytes)) else { return Ok(()) };
            let mut out = Vec::new();
            Encoder::new(&lengths).encode(&bytes, &mut out);
            let decoder = Decoder::new(&lengths);
            for end in 0..out.len() {
                // The back half starts elsewhere then, and may have codes by chance.
                prop_assert_ne!(decode(&decoder, &out[..end], bytes.len()), Ok(bytes.clone()));
            }
            for n in [0, 1, bytes.len() / 2, bytes.len() + 1, 2 * bytes.len()] {
                let _ = decode(&decoder, &other, n);
            }
            for (place, bit) in flips {
                let place = place.index(out.len());
                out[place] ^= 1_u8 << bit;
                let _ = decode(&decoder, &out, bytes.len());
            }
        }

        #[test]
        fn a_byte_without_a_code_is_noticed(bytes in uneven(), at in any::<prop::sample::Index>()) {
            let Some(lengths) = lengths(&counts(&bytes)) else { return Ok(()) };
            let Some(absent) = lengths.iter().position(|&bits| bits == 0) else { return Ok(()) };
            let mut bytes = bytes;
            let at = at.index(bytes.len());
            bytes[at] = absent as u8;
            prop_assert!(!Encoder::new(&lengths).encode(&bytes, &mut Vec::new()));
        }
    }
}

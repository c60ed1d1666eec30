//! Front-coded names, in blocks of 16.
//!
//! Each name but the first of a block is stored as its difference from the name before.
//!
//! ```text
//!  +-----------------+-----------------+--------------+
//!  | shared with the | length of the   | the rest     |   varints of 7 bits per byte, low bits first
//!  | one before      | rest            |              |
//!  +-----------------+-----------------+--------------+
//! ```

/// Names in a block.
pub(super) const BLOCK: usize = 16;

/// Encodes names, one after the other.
#[derive(Debug, Default)]
pub(super) struct NameEncoder {
    /// The bytes encoded since the caller last cleared them.
    pub(super) bytes: Vec<u8>,
    /// Start of each block.
    blocks: Vec<u32>,
    last: Vec<u8>,
    /// Some name is not after the one before it.
    unsorted: bool,
    count: usize,
    /// Encoded bytes of all names so far.
    len: usize,
}

impl NameEncoder {
    pub(super) fn push(&mut self, name: &[u8]) {
        let fresh = self.count.is_multiple_of(BLOCK);
        if fresh {
            self.blocks.push(u32::try_from(self.len).unwrap_or(u32::MAX));
        }
        let before = self.bytes.len();
        self.unsorted |= self.count > 0 && *name <= *self.last;
        let shared = if fresh {
            0
        } else {
            self.last.iter().zip(name).take_while(|(left, right)| left == right).count()
        };
        put_varint(&mut self.bytes, shared);
        put_varint(&mut self.bytes, name.len() - shared);
        self.bytes.extend_from_slice(&name[shared..]);
        self.last.truncate(shared);
        self.last.extend_from_slice(&name[shared..]);
        self.count += 1;
        self.len += self.bytes.len() - before;
    }

    /// Whether each name so far is after the one before it.
    pub(super) fn is_sorted(&self) -> bool {
        !self.unsorted
    }

    /// Start of each block, and the end.
    pub(super) fn finish(mut self) -> Vec<u32> {
        self.blocks.push(u32::try_from(self.len).unwrap_or(u32::MAX));
        self.blocks
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Reads names of one block, in order.
#[derive(Debug)]
pub(super) struct NameDecoder<'a> {
    bytes: &'a [u8],
    name: Vec<u8>,
}

impl<'a> NameDecoder<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { bytes: block, name: Vec::with_capacity(64) }
    }

    /// The next name; `None` at the end, and for bytes that are not a name.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let shared = take_varint(&mut self.bytes)?;
        let length = take_varint(&mut self.bytes)?;
        let (rest, bytes) = self.bytes.split_at_checked(length)?;
        if shared > self.name.len() {
            return None;
        }
        self.bytes = bytes;
        self.name.truncate(shared);
        self.name.extend_from_slice(rest);
        Some(&self.name)
    }
}

/// Tagged names, one after the other in one buffer.
#[derive(Debug, Default, Clone)]
pub(crate) struct NameList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl NameList {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all names together.
    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Name number `nth`, which is empty if there are not so many.
    #[inline]
    pub(crate) fn get(&self, nth: usize) -> &[u8] {
        let start = nth.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(nth).copied());
        range.and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or_default()
    }

    /// Appends a name.
    pub(crate) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    /// Keeps the first `len` names.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Appends the names of a block. Returns whether it has `expected` names and nothing else.
    ///
    /// Each name is put together from the one before it, here in the list. It stops at the first byte that is
    /// no name, and after `expected` names: in a forged block, a few bytes can repeat a long name any number
    /// of times.
    pub(super) fn push_block(&mut self, mut block: &[u8], expected: usize) -> bool {
        // Where the name before starts.
        let mut before = self.bytes.len();
        for _ in 0..expected {
            let end = self.bytes.len();
            let (Some(shared), Some(rest_len)) = (take_varint(&mut block), take_varint(&mut block)) else {
                return false;
            };
            let Some((rest, behind)) = block.split_at_checked(rest_len) else { return false };
            if shared > end - before {
                return false;
            }
            block = behind;
            self.bytes.extend_from_within(before..before + shared);
            self.bytes.extend_from_slice(rest);
            self.ends.push(self.bytes.len());
            before = end;
        }
        block.is_empty()
    }
}

/// Whether name `nth` of a block is `wanted`.
///
/// No name is put together: it is enough to track how much of each agrees with `wanted`.
pub(super) fn nth_is(mut block: &[u8], nth: usize, wanted: &[u8]) -> bool {
    // The length of the name before, and how many of its first bytes agree with `wanted`.
    let (mut len, mut alike) = (0, 0);
    for number in 0..=nth {
        let (Some(shared), Some(rest_len)) = (take_varint(&mut block), take_varint(&mut block)) else {
            return false;
        };
        let Some((rest, behind)) = block.split_at_checked(rest_len) else { return false };
        if shared > len {
            return false;
        }
        block = behind;
        len = shared + rest_len;
        if number == nth {
            return len == wanted.len() && shared <= alike && &wanted[shared..] == rest;
        }
        if shared <= alike {
            let tail = wanted.get(shared..).unwrap_or_default();
            alike = shared + tail.iter().zip(rest).take_while(|(left, right)| left == right).count();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let names: Vec<Vec<u8>> = (0..100)
            .map(|i| format!("frame_{:06}", i * i).into_bytes())
            .chain([vec![], vec![7; 300]])
            .collect();
        let mut encoder = NameEncoder::default();
        for name in &names {
            encoder.push(name);
        }
        let bytes = encoder.bytes.clone();
        let blocks = encoder.finish();
        assert!(bytes.len() < names.iter().map(Vec::len).sum());
        for (number, chunk) in names.chunks(BLOCK).enumerate() {
            let mut decoder = NameDecoder::new(&bytes[blocks[number] as usize..blocks[number + 1] as usize]);
            for name in chunk {
                assert_eq!(decoder.next(), Some(&name[..]));
            }
            assert_eq!(decoder.next(), None);
        }
        let mut list = NameList::default();
        list.push(b"before");
        for number in 0..names.len().div_ceil(BLOCK) {
            let expected = BLOCK.min(names.len() - number * BLOCK);
            let block = &bytes[blocks[number] as usize..blocks[number + 1] as usize];
            let before = list.len();
            assert!(!list.push_block(block, expected - 1));
            list.truncate(before);
            assert!(!list.push_block(block, expected + 1));
            list.truncate(before);
            assert!(list.push_block(block, expected));
        }
        assert_eq!(
            (list.len(), list.get(0), list.get(list.len())),
            (1 + names.len(), &b"before"[..], &b""[..])
        );
        assert!(names.iter().enumerate().all(|(number, name)| list.get(1 + number) == name));
        assert_eq!(list.n_bytes(), 6 + names.iter().map(Vec::len).sum::<usize>());
        for (number, name) in names.iter().enumerate() {
            let block = &bytes[blocks[number / BLOCK] as usize..blocks[number / BLOCK + 1] as usize];
            for (other, wanted) in names.iter().enumerate() {
                assert_eq!(nth_is(block, number % BLOCK, wanted), number == other || name == wanted);
            }
            assert!(!nth_is(block, number % BLOCK, &[name, &b"x"[..]].concat()));
            assert!(!nth_is(block, BLOCK, name));
        }
    }

    #[test]
    fn noise_ends_the_block() {
        assert_eq!(NameDecoder::new(&[5, 1, 0]).next(), None);
        assert_eq!(NameDecoder::new(&[0, 200]).next(), None);
        assert_eq!(NameDecoder::new(&[0xff; 20]).next(), None);
        for noise in [&[5, 1, 0][..], &[0, 200], &[0xff; 20], &[0, 1, 7, 2, 0]] {
            assert!((0..3).all(|nth| !nth_is(noise, nth, &[0]) && !nth_is(noise, nth, &[7, 7])));
            assert!(!NameList::default().push_block(noise, 2));
        }
    }
}

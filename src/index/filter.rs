//! Tells which names a segment certainly does not have.
//!
//! Most names that are put are new, and every segment has to be asked for each of them. With ten bits per
//! name, 99 of a hundred such questions take one look at one block, instead of two pages of the index.
//!
//! # Source
//! The split block Bloom filter of Apache Parquet (`parquet-format`, `BloomFilter.md`), after Putze, Sanders
//! and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007. A name sets one bit in each of the
//! eight words of one block, by its hash, which is XXH3 here.

use std::sync::Arc;

use super::pages::PageCache;

const BITS_A_KEY: u64 = 10;
/// Eight words of four bytes.
pub(super) const BLOCK_LEN: usize = 32;
type Block = [u32; BLOCK_LEN / 4];

/// Odd numbers that spread a hash over the words of a block. They are those of Parquet.
const SALT: Block =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A filter in memory: a set of names that may have false positives, but no false negatives.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Box<[[u8; BLOCK_LEN]]>,
    /// The bytes of the filter are reserved here.
    cache: Arc<PageCache>,
}

fn bits_of(hash: u64) -> Block {
    // The low half. The high half chooses the block.
    let low = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
    SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
}

/// Blocks of a filter for `n` names.
pub(super) fn n_blocks(n: u64) -> u64 {
    n.saturating_mul(BITS_A_KEY).div_ceil(8 * BLOCK_LEN as u64).max(1)
}

/// The block, of `n_blocks`, that has the bits of a hash. Larger hashes never have an earlier one.
pub(super) fn block_of(hash: u64, n_blocks: u64) -> u64 {
    // Both factors have 32 bits.
    ((hash >> 32) * (n_blocks & u64::from(u32::MAX))) >> 32
}

/// Sets the bits of a hash in its block.
pub(super) fn insert(block: &mut [u8; BLOCK_LEN], hash: u64) {
    for (bytes, bit) in block.as_chunks_mut::<4>().0.iter_mut().zip(bits_of(hash)) {
        *bytes = (u32::from_le_bytes(*bytes) | bit).to_le_bytes();
    }
}

/// Whether the bits of a hash are set in its block. Bytes that are no block have all of them.
pub(super) fn may_have(block: &[u8], hash: u64) -> bool {
    let Ok(block) = <&[u8; BLOCK_LEN]>::try_from(block) else { return true };
    // All words together, without a branch for each.
    let words = block.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    words.zip(bits_of(hash)).fold(0, |missing, (word, bit)| missing | (!word & bit)) == 0
}

impl Filter {
    /// An empty filter for `n` names; `None` if the depot's filters have no room left.
    pub(super) fn new(n: u64, cache: &Arc<PageCache>) -> Option<Self> {
        let blocks = usize::try_from(n_blocks(n)).ok().filter(|&blocks| u32::try_from(blocks).is_ok())?;
        if !cache.reserve(blocks.checked_mul(BLOCK_LEN)?) {
            return None;
        }
        Some(Self { blocks: vec![[0; BLOCK_LEN]; blocks].into(), cache: Arc::clone(cache) })
    }

    /// All bytes of the filter, to be filled.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.blocks.as_flattened_mut()
    }

    fn place(&self, hash: u64) -> usize {
        usize::try_from(block_of(hash, self.blocks.len() as u64)).unwrap_or(0)
    }

    pub(super) fn insert(&mut self, hash: u64) {
        let place = self.place(hash);
        if let Some(block) = self.blocks.get_mut(place) {
            insert(block, hash);
        }
    }

    /// Whether the name with this hash may have been inserted.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.blocks.get(self.place(hash)).is_none_or(|block| may_have(block, hash))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.cache.release(size_of_val(&*self.blocks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_few_others() {
        let cache = Arc::default();
        for n in [0_u64, 1, 10, 1000, 100_000] {
            let mut filter = Filter::new(n, &cache).unwrap();
            let key = |n: u64| super::super::hash(&n.to_le_bytes());
            (0..n).for_each(|n| filter.insert(key(n)));
            assert!((0..n).all(|n| filter.may_have(key(n))));
            let wrong = (n..n + 100_000).filter(|&n| filter.may_have(key(n))).count();
            assert!(wrong < 2500, "{wrong} of 100,000 with {n} names");
        }
    }

    #[test]
    fn filters_take_no_more_than_their_share_and_give_it_back() {
        let cache = Arc::default();
        let large = 40_000_000;
        let first = Filter::new(large, &cache);
        assert!(first.is_some() && Filter::new(large, &cache).is_none());
        drop(first);
        assert!(Filter::new(large, &cache).is_some());
        assert!(Filter::new(u64::MAX, &cache).is_none());
    }
}

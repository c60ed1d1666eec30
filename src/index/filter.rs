//! Tells which names a segment certainly does not have.
//!
//! Most names that are put are new, and every segment has to be asked for each of them. With ten bits per
//! name, 99 of a hundred such questions take one look at memory instead of two pages of the index.
//!
//! # Source
//! The split block Bloom filter of Apache Parquet (`parquet-format`, `BloomFilter.md`), after Putze, Sanders
//! and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007. A key sets one bit in each of the
//! eight words of one block.

use std::sync::Arc;

use super::pages::PageCache;

const BITS_A_KEY: u64 = 10;
const WORDS: usize = 8;
type Block = [u32; WORDS];

/// Odd numbers that spread a key over the words of a block. They are those of Parquet.
const SALT: Block =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A set of keys that may have false positives, but no false negatives.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Box<[Block]>,
    /// The bytes of the filter are reserved here.
    cache: Arc<PageCache>,
}

/// Spreads the bits of a key over all 64 bits, with the finaliser of MurmurHash3 (Appleby, 2011).
///
/// This is needed because a key has only those bits of the hash that a segment stores.
fn mix(mut key: u64) -> u64 {
    key ^= key >> 33;
    key = key.wrapping_mul(0xff51_afd7_ed55_8ccd);
    key ^= key >> 33;
    key = key.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    key ^ (key >> 33)
}

fn bits_of(mixed: u64) -> Block {
    // The low half. The high half chooses the block.
    let low = u32::try_from(mixed & u64::from(u32::MAX)).unwrap_or(0);
    SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))
}

impl Filter {
    /// An empty filter for `n` keys; `None` if the depot's filters have no room left.
    pub(super) fn new(n: u64, cache: &Arc<PageCache>) -> Option<Self> {
        let n_blocks = n.saturating_mul(BITS_A_KEY).div_ceil(8 * size_of::<Block>() as u64).max(1);
        let n_blocks = usize::try_from(n_blocks).ok().filter(|&n_blocks| u32::try_from(n_blocks).is_ok())?;
        if !cache.reserve(n_blocks.checked_mul(size_of::<Block>())?) {
            return None;
        }
        Some(Self { blocks: vec![[0; WORDS]; n_blocks].into(), cache: Arc::clone(cache) })
    }

    fn place(&self, mixed: u64) -> usize {
        // Below the number of blocks, which has 32 bits.
        usize::try_from(((mixed >> 32) * self.blocks.len() as u64) >> 32).unwrap_or(0)
    }

    pub(super) fn insert(&mut self, key: u64) {
        let mixed = mix(key);
        let place = self.place(mixed);
        if let Some(block) = self.blocks.get_mut(place) {
            block.iter_mut().zip(bits_of(mixed)).for_each(|(word, bit)| *word |= bit);
        }
    }

    /// Whether the key may have been inserted.
    pub(super) fn may_have(&self, key: u64) -> bool {
        let mixed = mix(key);
        let block = self.blocks.get(self.place(mixed));
        block.is_none_or(|block| {
            // All words together, without a branch for each.
            block.iter().zip(bits_of(mixed)).fold(0, |missing, (word, bit)| missing | (!word & bit)) == 0
        })
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
            // Only the upper bits of the keys differ, as in a small segment.
            let key = |n: u64| n << 40;
            (0..n).for_each(|n| filter.insert(key(n)));
            assert!((0..n).all(|n| filter.may_have(key(n))));
            let wrong = (n..n + 100_000).filter(|&n| filter.may_have(key(n))).count();
            assert!(wrong < 2500, "{wrong} of 100,000 with {n} keys");
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

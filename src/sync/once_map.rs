//! A value for each number, set once and read by all threads without a lock.
//!
//! ```text
//! pages   0          1                2                              3
//!         [ 64 ]     [ 128 ]          [ 256 ]                        ..     numbers go on from page to page
//! ```
//!
//! A page is made when its first number is set, so unused pages cost nothing. Values never move.

use std::sync::OnceLock;

/// How many numbers the first page has. Each page has twice as many as the one before.
const FIRST: u64 = 64;
/// Enough for the 2^48 bytes of a depot in chunks of 64 bytes.
const PAGES: usize = 40;

type Page<T> = Box<[OnceLock<T>]>;

/// A value for each number, set at most once.
#[derive(Debug)]
pub(crate) struct OnceMap<T> {
    pages: [OnceLock<Page<T>>; PAGES],
}

impl<T> Default for OnceMap<T> {
    fn default() -> Self {
        Self { pages: [const { OnceLock::new() }; PAGES] }
    }
}

/// The page of a number, and the number's place there.
fn place(number: u64) -> Option<(usize, usize)> {
    let shifted = number.checked_add(FIRST)?;
    let page = shifted.ilog2() - FIRST.ilog2();
    let place = shifted - (FIRST << page);
    Some((usize::try_from(page).ok()?, usize::try_from(place).ok()?))
}

impl<T> OnceMap<T> {
    /// The value of `number`.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let (page, place) = place(number)?;
        self.pages.get(page)?.get()?.get(place)?.get()
    }

    /// Where the value of `number` goes. `None` past the last page.
    fn slot(&self, number: u64) -> Option<&OnceLock<T>> {
        let (page, place) = place(number)?;
        let slots = self.pages.get(page)?;
        slots.get_or_init(|| (0..FIRST << page).map(|_| OnceLock::new()).collect()).get(place)
    }

    /// Sets the value of `number`. The first to set it wins.
    pub(crate) fn set(&self, number: u64, value: T) {
        if let Some(slot) = self.slot(number) {
            let _ = slot.set(value);
        }
    }

    /// The value of `number`, which is made now if there is none. `None` past the last page.
    pub(crate) fn get_or_init(&self, number: u64, make: impl FnOnce() -> T) -> Option<&T> {
        self.slot(number).map(|slot| slot.get_or_init(make))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_places_of_their_own() {
        let map = OnceMap::default();
        for number in 0..5000 {
            assert_eq!(map.get(number), None);
            map.set(number, number);
            map.set(number, 7);
        }
        assert!((0..5000).all(|number| map.get(number) == Some(&number)));
        assert_eq!((map.get(5000), map.get(u64::MAX)), (None, None));
    }

    #[test]
    fn pages_follow_each_other() {
        assert_eq!((place(0), place(63)), (Some((0, 0)), Some((0, 63))));
        assert_eq!((place(64), place(191)), (Some((1, 0)), Some((1, 127))));
        assert_eq!((place(192), place(u64::MAX)), (Some((2, 0)), None));
    }
}

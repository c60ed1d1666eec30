//! What was found out about chunks, once each, by number: read by all threads without a lock.
//!
//! ```text
//! pages   0          1                2                              3
//!         [ 64 ]     [ 128 ]          [ 256 ]                        ..     numbers go on from page to page
//! ```
//!
//! A page is made when the first number of it is marked, so that a depot costs what is read of it. Nothing is ever moved.

use std::sync::OnceLock;

/// Marks of the first page; each page has twice as many as the one before.
const FIRST: u64 = 64;
/// Enough for the 2^48 bytes of a depot in chunks of 64 bytes.
const PAGES: usize = 40;

/// A page of marks.
type Page<T> = Box<[OnceLock<T>]>;

/// A value for each number, set at most once.
#[derive(Debug)]
pub(crate) struct Marks<T> {
    pages: [OnceLock<Page<T>>; PAGES],
}

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self { pages: [const { OnceLock::new() }; PAGES] }
    }
}

/// Page of a number, and its place there.
fn place(number: u64) -> Option<(usize, usize)> {
    let shifted = number.checked_add(FIRST)?;
    let page = shifted.ilog2() - FIRST.ilog2();
    let place = shifted - (FIRST << page);
    Some((usize::try_from(page).ok()?, usize::try_from(place).ok()?))
}

impl<T> Marks<T> {
    /// The mark of `number`.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let (page, place) = place(number)?;
        self.pages.get(page)?.get()?.get(place)?.get()
    }

    /// Marks `number`, unless it is marked already.
    pub(crate) fn set(&self, number: u64, mark: T) {
        if let Some((page, place)) = place(number)
            && let Some(slot) = self.pages.get(page)
        {
            let page = slot.get_or_init(|| (0..FIRST << page).map(|_| OnceLock::new()).collect());
            if let Some(slot) = page.get(place) {
                // Who came first has set it.
                let _ = slot.set(mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_places_of_their_own() {
        let marks = Marks::default();
        for number in 0..5000 {
            assert_eq!(marks.get(number), None);
            marks.set(number, number);
            marks.set(number, 7);
        }
        assert!((0..5000).all(|number| marks.get(number) == Some(&number)));
        assert_eq!((marks.get(5000), marks.get(u64::MAX)), (None, None));
    }

    #[test]
    fn pages_follow_each_other() {
        assert_eq!((place(0), place(63)), (Some((0, 0)), Some((0, 63))));
        assert_eq!((place(64), place(191)), (Some((1, 0)), Some((1, 127))));
        assert_eq!((place(192), place(u64::MAX)), (Some((2, 0)), None));
    }
}

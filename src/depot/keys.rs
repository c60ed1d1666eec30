//! Names of a depot: all of them, or those that are wanted.

use super::batches::split;
use super::key_of;
use crate::engine::{Engine, FoundName, ListedRecord, Listing, Moment, in_record};
use crate::error::{Error, Result};
use crate::key::Key;

/// Which tagged names to list.
type Filter<'d> = Box<dyn Fn(&[u8]) -> bool + Send + 'd>;

/// Names of a depot, in the order of insertion. See [`Depot::keys`](crate::Depot::keys).
pub struct Keys<'d> {
    engine: &'d Engine,
    listing: Option<Listing<'d>>,
    failed: Option<Error>,
    /// Ordinals and names that were found together with the last one.
    found: std::vec::IntoIter<FoundName>,
    wanted: Filter<'d>,
}

impl<'d> Keys<'d> {
    pub(super) fn new(engine: &'d Engine, wanted: impl Fn(&[u8]) -> bool + Send + 'd) -> Self {
        Self::of(engine, Listing::new(engine), wanted)
    }

    /// All names, as of that moment.
    pub(super) fn at(engine: &'d Engine, moment: &Moment) -> Self {
        Self::of(engine, Listing::at(engine, moment), |_| true)
    }

    fn of(
        engine: &'d Engine,
        listing: Result<Listing<'d>>,
        wanted: impl Fn(&[u8]) -> bool + Send + 'd,
    ) -> Self {
        let (listing, failed) = split(listing);
        Self { engine, listing, failed, found: Vec::new().into_iter(), wanted: Box::new(wanted) }
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let listing = self.listing.as_mut()?;
        loop {
            if let Some((ordinal, name)) = self.found.next() {
                if !listing.is_dead(ordinal) {
                    return Some(key_of(self.engine, name));
                }
                continue;
            }
            match listing.skim(&self.wanted) {
                Some(Ok(found)) => {
                    self.found = found.into_iter();
                    continue;
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {}
            }
            match listing.next()? {
                // If it is not known which records are dead, a name without a place may belong to a dead
                // one.
                Ok(ListedRecord { name, location: Err(error) })
                    if listing.doubtful && (self.wanted)(&name) =>
                {
                    return Some(Err(in_record(&name, error)));
                }
                Ok(ListedRecord { name, .. }) if (self.wanted)(&name) => {
                    return Some(key_of(self.engine, name));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("path", &self.engine.path()).finish_non_exhaustive()
    }
}

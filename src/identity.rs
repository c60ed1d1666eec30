//! The two things a file takes from outside its depot: the id of a new depot, and the time.

use std::time::{SystemTime, UNIX_EPOCH};

/// The id of a new depot.
pub(crate) fn depot_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    #[cfg(any(test, feature = "testing"))]
    if let Some((id, _)) = fixed::get() {
        return id;
    }
    // `RandomState` is seeded by the system's randomness, which is enough to tell two depots apart.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(time.as_nanos());
    hasher.finish()
}

/// The id that a new depot shares with those that are made from it.
pub(crate) fn data_set() -> u128 {
    u128::from(depot_id()) << 64 | u128::from(depot_id())
}

/// Seconds since 1970, UTC.
pub(crate) fn now() -> i64 {
    #[cfg(any(test, feature = "testing"))]
    if let Some((_, time)) = fixed::get() {
        return time;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fixed {
    //! Fixes the id and the time of everything that one thread writes.

    use std::cell::Cell;

    thread_local! {
        static FIXED: Cell<Option<(u64, i64)>> = const { Cell::new(None) };
    }

    pub(crate) fn get() -> Option<(u64, i64)> {
        FIXED.get()
    }

    /// Returns what was fixed before.
    pub(crate) fn replace(fixed: Option<(u64, i64)>) -> Option<(u64, i64)> {
        FIXED.replace(fixed)
    }
}

//! Splits: which records belong together, such as those to train with.
//!
//! A split is an entry of the depot's own metadata, named `split:NAME`: a map of `ids`, bytes, and `names`,
//! an array of the names that are no integers from 0 up. `ids` has the others, sorted, each as the difference
//! to the one before it (the first as it is), in LEB128: seven bits a byte, the lowest first, and the highest
//! bit set in all bytes but the last.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::bytes::ByteString;
use crate::Depot;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// What the names of entries start with.
const PREFIX: &str = "split:";

/// Names of records, sorted, each once.
///
/// ```
/// use vldepot::collections::Split;
/// let split = Split::of_ids([7, 2])?;
/// assert_eq!(split.items(), [2.into(), 7.into()]);
/// assert!(Split::of_ids([1, 1]).is_err());
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    items: Vec<Key>,
}

impl Split {
    /// A split of these names, in any order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] when a name comes twice.
    pub fn new(items: impl IntoIterator<Item = Key>) -> Result<Self> {
        let mut items: Vec<Key> = items.into_iter().collect();
        items.sort_unstable();
        match items.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(Error::invalid_options(format!("a split has each name once: {} comes twice", pair[0])))
            }
            None => Ok(Self { items }),
        }
    }

    /// A split of collections that have integers as names.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn of_ids(ids: impl IntoIterator<Item = u64>) -> Result<Self> {
        Self::new(ids.into_iter().map(Key::from))
    }

    /// The names, sorted.
    pub fn items(&self) -> &[Key] {
        &self.items
    }

    /// The names as integers from 0 up. The first that is none is the error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`].
    pub fn ids(&self) -> Result<Vec<u64>> {
        let id = |key: &Key| {
            id_of(key).ok_or_else(|| Error::invalid_options(format!("{key} is no integer from 0 up")))
        };
        self.items.iter().map(id).collect()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

fn id_of(key: &Key) -> Option<u64> {
    key.as_int().and_then(|id| u64::try_from(id).ok())
}

/// What is stored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    ids: ByteString<Vec<u8>>,
    names: Vec<Key>,
}

/// A map. MessagePack would have a struct without its names.
impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("ids", &self.ids)?;
        map.serialize_entry("names", &self.names)?;
        map.end()
    }
}

impl Stored {
    fn new(split: &Split) -> Self {
        let (mut stored, mut before) = (Self::default(), 0);
        for key in &split.items {
            // The ids of a split are sorted.
            match id_of(key) {
                Some(id) => {
                    push_number(id - before, &mut stored.ids.0);
                    before = id;
                }
                None => stored.names.push(key.clone()),
            }
        }
        stored
    }

    /// `None` if no split was stored like this.
    fn read(self) -> Option<Split> {
        let mut items = self.names;
        let (mut rest, mut before) = (&self.ids.0[..], None);
        while !rest.is_empty() {
            let id = take_number(&mut rest)?;
            let id = before.map_or(Some(id), |before: u64| before.checked_add(id))?;
            items.push(Key::from(id));
            before = Some(id);
        }
        Split::new(items).ok()
    }
}

fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|moved| moved >> shift == bits)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Stores a split in a depot of any codec under a name, and replaces the one of that name. The next commit
/// makes it durable.
///
/// ```
/// use vldepot::collections::{Split, set_split, split, split_names};
/// use vldepot::{Depot, Raw};
/// let depot = Depot::memory(Raw)?;
/// (0..10_u64).try_for_each(|n| depot.put(n, b"..").map(drop))?;
/// set_split(&depot, "test", &Split::of_ids([8, 9])?)?;
/// assert_eq!(split_names(&depot)?, ["test"]);
/// let test = split(&depot, "test")?.unwrap();
/// assert_eq!(depot.loader().keys(test.items()).build()?.records(), 2);
/// # Ok::<(), vldepot::Error>(())
/// ```
///
/// # Errors
/// Those of [`Depot::set_depot_metadata`]. All splits of a depot together take at most 64 MiB.
pub fn set_split<C: Codec>(depot: &Depot<C>, name: &str, split: &Split) -> Result<()> {
    depot.set_depot_metadata(&format!("{PREFIX}{name}"), &Stored::new(split))
}

/// The split of that name.
///
/// # Errors
/// Those of [`Depot::depot_metadata`], [`ErrorKind::Metadata`] if the entry is no split.
pub fn split<C: Codec>(depot: &Depot<C>, name: &str) -> Result<Option<Split>> {
    let Some(stored) = depot.depot_metadata::<Stored>(&format!("{PREFIX}{name}"))? else { return Ok(None) };
    stored.read().map(Some).ok_or_else(|| {
        let why = format!("the entry {PREFIX}{name} is no split: its names are not sorted, or not numbers");
        ErrorKind::Metadata { why }.at(depot.path())
    })
}

/// The names of all splits, sorted.
///
/// # Errors
/// Those of [`Depot::all_depot_metadata`].
pub fn split_names<C: Codec>(depot: &Depot<C>) -> Result<Vec<String>> {
    #[expect(clippy::zero_sized_map_values, reason = "the values are passed over")]
    let all: BTreeMap<String, IgnoredAny> = depot.all_depot_metadata()?;
    Ok(all.into_keys().filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned)).collect())
}

/// Removes a split, and returns false if there was none. The records stay.
///
/// # Errors
/// Those of [`Depot::remove_depot_metadata`].
pub fn remove_split<C: Codec>(depot: &Depot<C>, name: &str) -> Result<bool> {
    depot.remove_depot_metadata(&format!("{PREFIX}{name}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<u64>().prop_map(Key::from),
            (0..200_u64).prop_map(Key::from),
            any::<i64>().prop_map(Key::from),
            "[a-z]{0,5}".prop_map(Key::from),
            prop::collection::vec(any::<u8>(), 0..5).prop_map(Key::from),
        ]
    }

    proptest! {
        #[test]
        fn a_split_is_read_back_as_it_is(keys in prop::collection::btree_set(key(), 0..100)) {
            let split = Split::new(keys.clone()).unwrap();
            prop_assert!(split.items().iter().eq(&keys));
            let packed = rmp_serde::to_vec(&Stored::new(&split)).unwrap();
            let stored: Stored = rmp_serde::from_slice(&packed).unwrap();
            prop_assert_eq!(stored.read().unwrap(), split);
        }

        #[test]
        fn noise_is_refused_or_read(ids in prop::collection::vec(any::<u8>(), 0..40)) {
            let found = Stored { ids: ByteString(ids), names: Vec::new() }.read();
            if let Some(split) = found {
                prop_assert!(split.ids().is_ok());
            }
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let error = Split::new(["b".into(), 1.into(), "b".into()]).unwrap_err();
        assert!(error.to_string().ends_with(": b comes twice"), "{error}");
        // Differences of 0 are names that come twice, also in a file.
        assert!(Stored { ids: ByteString(vec![3, 0]), names: Vec::new() }.read().is_none());
    }
}

//! The changes since the last commit.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use hashbrown::HashTable;

use crate::chunk::ChunkAt;
use crate::format::tables::Attributes;
use crate::index::{Location, Records};
use crate::statistics::Tallied;

/// The most records that can be put between two commits.
pub(crate) const MAX_PENDING: u64 = 1 << 31;

/// Hashes of names whose committed records are dead.
pub(crate) type DeadNames = BTreeSet<u64>;

/// The changes since the last commit.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pending {
    records: Records,
    /// Numbers of live records, by the hash of their names, without those `in_order`.
    by_name: HashTable<u32>,
    /// The records from this number on have increasing names, after those of all other records here.
    in_order: usize,
    dead: Dead,
    /// Ordinals of committed records that are dead now.
    pub(crate) tombstones: BTreeSet<u64>,
    /// Hashes of the names of those records. They identify them if the index cannot be read.
    pub(crate) dead_names: DeadNames,
    /// Chunks after the snapshot's, in the order of their numbers.
    ///
    /// Only a writer opens and seals chunks. The last chunk may be open. Each chunk before it stays sealed
    /// until the pool has compressed it and the writer has written it. The writer writes chunks in order. A
    /// commit writes all of them first. A copy of the state keeps the bytes of the chunks that were sealed
    /// when it was made.
    pub(crate) chunks: Vec<ChunkAt>,
    /// Statistics of the fields of these records, dead ones included. How many are dead is not noted in it.
    pub(crate) tallied: Tallied,
    /// Whether anything changed, so that a commit has something to write.
    pub(crate) changed: bool,
}

/// Numbers of dead records.
#[derive(Debug, Default, Clone)]
struct Dead {
    bits: Vec<u64>,
    count: u64,
    /// The numbers, sorted. Made when first asked for.
    sorted: OnceLock<Vec<u64>>,
}

impl Dead {
    fn has(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    fn add(&mut self, number: usize) {
        let word = number / 64;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if !self.has(number) {
            self.bits[word] |= 1 << (number % 64);
            self.count += 1;
            self.sorted = OnceLock::new();
        }
    }

    fn sorted(&self) -> &[u64] {
        self.sorted.get_or_init(|| {
            (0..64 * self.bits.len()).filter(|&number| self.has(number)).map(|number| number as u64).collect()
        })
    }
}

impl Pending {
    /// The number of live records put since the last commit.
    pub(crate) fn n_live(&self) -> u64 {
        self.records.len() as u64 - self.dead.count
    }

    /// The number of the live record called `name`.
    pub(crate) fn find(&self, hash: u64, name: &[u8]) -> Option<usize> {
        if self.in_order < self.records.len() && name >= self.records.name(self.in_order) {
            let found = self.find_in_order(name);
            return found.filter(|&number| self.is_live(number));
        }
        let is = |&number: &u32| self.records.name(number as usize) == name;
        self.by_name.find(hash, is).map(|&number| number as usize)
    }

    fn find_in_order(&self, name: &[u8]) -> Option<usize> {
        let (mut from, mut to) = (self.in_order, self.records.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.records.name(middle).cmp(name) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => to = middle,
            }
        }
        None
    }

    /// Notes a record. No live record here may have its name.
    pub(crate) fn insert(&mut self, hash: u64, name: &[u8], location: &Location, attributes: Attributes<'_>) {
        self.records.push_hashed(hash, name, location, attributes);
        let records = &self.records;
        for number in self.in_order..records.len() {
            if !self.dead.has(number) {
                let value = u32::try_from(number).unwrap_or(u32::MAX);
                self.by_name.insert_unique(records.hash(number), value, |&n| records.hash(n as usize));
            }
        }
        self.in_order = records.len();
        self.changed = true;
    }

    /// Notes a record with a name that comes after the names of all records here, dead ones included.
    ///
    /// It is found by the order of names. The table that finds the others would be a cache miss or two for
    /// each record.
    pub(crate) fn insert_last(
        &mut self,
        hash: u64,
        name: &[u8],
        location: &Location,
        attributes: Attributes<'_>,
    ) {
        self.records.push_hashed(hash, name, location, attributes);
        self.changed = true;
    }

    /// Notes that a record is dead.
    pub(crate) fn mark_dead(&mut self, number: usize) {
        if let Ok(entry) =
            self.by_name.find_entry(self.records.hash(number), |&other| other as usize == number)
        {
            entry.remove();
        }
        self.dead.add(number);
        self.changed = true;
    }

    /// Forgets the dead records. The live records get new numbers.
    pub(crate) fn forget_dead(&mut self) {
        let mut fresh = Self {
            records: Records::default(),
            by_name: HashTable::default(),
            in_order: 0,
            dead: Dead::default(),
            tombstones: std::mem::take(&mut self.tombstones),
            dead_names: std::mem::take(&mut self.dead_names),
            chunks: std::mem::take(&mut self.chunks),
            tallied: self.tallied_now(),
            changed: self.changed,
        };
        for number in self.live() {
            let records = &self.records;
            let (hash, location) = (records.hash(number), records.location(number));
            fresh.insert(hash, records.name(number), &location, records.attributes(number));
        }
        *self = fresh;
    }

    /// The statistics, with the dead records noted in them.
    pub(crate) fn tallied_now(&self) -> Tallied {
        let mut tallied = self.tallied.clone();
        tallied.dropped = tallied.dropped.saturating_add(self.dead.count);
        tallied
    }

    /// Sorted numbers of dead records.
    pub(crate) fn dead(&self) -> &[u64] {
        self.dead.sorted()
    }

    /// The tagged name of a record.
    pub(crate) fn name(&self, number: usize) -> &[u8] {
        self.records.name(number)
    }

    /// The place of a record.
    pub(crate) fn location(&self, number: usize) -> Location {
        self.records.location(number)
    }

    /// What is kept of a record besides its name and its place.
    pub(crate) fn attributes(&self, number: usize) -> Attributes<'_> {
        self.records.attributes(number)
    }

    /// All records, including dead ones.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Whether the record is live.
    pub(crate) fn is_live(&self, number: usize) -> bool {
        !self.dead.has(number)
    }

    /// Numbers of live records.
    pub(crate) fn live(&self) -> impl DoubleEndedIterator<Item = usize> + use<'_> {
        (0..self.records.len()).filter(|&number| !self.dead.has(number))
    }

    /// A copy of the live records as they are now.
    pub(crate) fn freeze(&self) -> PendingRecords {
        PendingRecords { records: self.records.clone(), dead: self.dead.clone(), next: 0 }
    }
}

/// Names and places of live records as of one moment.
#[derive(Debug)]
pub(crate) struct PendingRecords {
    records: Records,
    dead: Dead,
    next: usize,
}

impl Iterator for PendingRecords {
    type Item = (Vec<u8>, Location);

    fn next(&mut self) -> Option<Self::Item> {
        let number = (self.next..self.records.len()).find(|&number| !self.dead.has(number))?;
        self.next = number + 1;
        Some((self.records.name(number).to_vec(), self.records.location(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a record. All names get the same hash, so that they collide.
    fn put(pending: &mut Pending, name: &[u8], address: u64, metadata: Option<&[u8]>) {
        if let Some(old) = pending.find(7, name) {
            pending.mark_dead(old);
        }
        let attributes = Attributes { metadata, scalars: &address.to_le_bytes() };
        pending.insert(7, name, &Location { address, ..Location::default() }, attributes);
    }

    #[test]
    fn the_live_records_are_those_put_last_under_their_names() {
        let mut pending = Pending::default();
        for round in 0..3_u8 {
            for name in 0..50_u8 {
                let metadata = [round, name];
                let metadata = name.is_multiple_of(3).then_some(&metadata[..]);
                put(&mut pending, &vec![name; usize::from(name)], u64::from(100 * round + name), metadata);
            }
        }
        pending.mark_dead(pending.find(7, &[9; 9]).unwrap());
        assert!(pending.find(7, &[9; 9]).is_none());
        assert_eq!(pending.n_live(), 49);
        assert_eq!(pending.dead().len(), 101);
        assert!(pending.dead().is_sorted());
        for name in (0..50_u8).filter(|&name| name != 9) {
            let number = pending.find(7, &vec![name; usize::from(name)]).unwrap();
            assert_eq!(pending.location(number).address, u64::from(name) + 200);
            let metadata = [2, name];
            assert_eq!(pending.attributes(number).metadata, name.is_multiple_of(3).then_some(&metadata[..]));
            assert!(!pending.dead().contains(&(number as u64)));
        }
        let listed: Vec<_> = pending.freeze().collect();
        let live: Vec<_> = pending.live().map(|n| (pending.name(n).to_vec(), pending.location(n))).collect();
        assert_eq!(listed, live);
        assert_eq!(listed.len(), 49);
        pending.forget_dead();
        assert_eq!((pending.records().len(), pending.dead().len()), (49, 0));
        assert_eq!(pending.freeze().collect::<Vec<_>>(), live);
        for name in (0..50_u8).filter(|&name| name != 9) {
            let number = pending.find(7, &vec![name; usize::from(name)]).unwrap();
            let metadata = [2, name];
            assert_eq!(pending.attributes(number).metadata, name.is_multiple_of(3).then_some(&metadata[..]));
            assert_eq!(pending.attributes(number).scalars, pending.location(number).address.to_le_bytes());
        }
    }

    /// Puts records as a writer does: names that come after all others are not looked up.
    fn puts(names: impl IntoIterator<Item = Vec<u8>>) -> (Pending, std::collections::BTreeMap<Vec<u8>, u64>) {
        let (mut pending, mut expected) = (Pending::default(), std::collections::BTreeMap::new());
        let mut last = Vec::new();
        for (address, name) in (0..).zip(names) {
            let location = Location { address, ..Location::default() };
            if name > last {
                pending.insert_last(crate::index::hash(&name), &name, &location, Attributes::default());
                last.clone_from(&name);
            } else {
                let hash = crate::index::hash(&name);
                if let Some(old) = pending.find(hash, &name) {
                    pending.mark_dead(old);
                }
                pending.insert(hash, &name, &location, Attributes::default());
            }
            expected.insert(name, address);
        }
        (pending, expected)
    }

    proptest::proptest! {
        #[test]
        fn records_are_found_whatever_the_order_of_names(
            names in proptest::collection::vec(proptest::collection::vec(0_u8..4, 1..4), 0..60),
            removed in proptest::collection::vec(proptest::collection::vec(0_u8..4, 1..4), 0..20),
        ) {
            let (mut pending, mut expected) = puts(names);
            for name in removed {
                let found = pending.find(crate::index::hash(&name), &name);
                assert_eq!(found.is_some(), expected.remove(&name).is_some());
                if let Some(number) = found {
                    pending.mark_dead(number);
                }
            }
            for forget in [false, true] {
                if forget {
                    pending.forget_dead();
                }
                assert_eq!(pending.n_live(), expected.len() as u64);
                for a in 0..4_u8 {
                    for b in 0..5_u8 {
                        let name = if b == 4 { vec![a] } else { vec![a, b] };
                        let found = pending.find(crate::index::hash(&name), &name);
                        let address = found.map(|number| pending.location(number).address);
                        assert_eq!(address, expected.get(&name).copied());
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_none_are_empty() {
        let pending = Pending::default();
        assert_eq!((pending.name(3), pending.attributes(3).metadata), (&b""[..], None));
        assert_eq!(pending.location(3), Location::default());
        assert!(pending.find(1, b"").is_none());
    }
}

//! Records to be indexed.
//!
//! They are held in columns, since there may be a million of them, of some fifty bytes each.

use super::{Location, hash};
use crate::error::Result;
use crate::format::tables::Attributes;

/// Gives records in the order of their ordinals.
///
/// It can be gone through many times, because an index segment is written array by array.
pub(crate) trait Listing {
    /// How many there are.
    fn len(&self) -> usize;

    /// Gives `job` the hash and the tagged name of each record.
    ///
    /// # Errors
    /// The errors of reading the names.
    fn names(&self, job: &mut dyn FnMut(u64, &[u8])) -> Result<()>;

    /// Gives `job` the place of each record.
    ///
    /// # Errors
    /// The errors of reading the places, and those of `job`.
    fn locations(&self, job: &mut dyn FnMut(&Location) -> Result<()>) -> Result<()>;

    /// Whether [`order`](Self::order) can give the records.
    fn has_order(&self) -> bool;

    /// Gives `job` the number and the raw bytes of each record, in the order of names.
    ///
    /// # Errors
    /// The errors of reading the names, and those of `job`.
    fn order(&self, job: &mut dyn FnMut(u32, u64) -> Result<()>) -> Result<()>;

    /// Gives `job` the number and the MessagePack metadata of each record that has metadata.
    ///
    /// # Errors
    /// The errors of reading the metadata, and those of `job`.
    fn metadata(&self, job: &mut dyn FnMut(u32, &[u8]) -> Result<()>) -> Result<()>;

    /// Gives `job` the [row](crate::scalar::row) of scalars of each record, or nothing if the depot has no
    /// columns.
    ///
    /// # Errors
    /// The errors of reading the scalars, and those of `job`.
    fn scalars(&self, job: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// A record of an older segment that is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) ordinal: u64,
    /// Its rank in its segment and its raw bytes, if that segment has the order of names.
    pub(crate) ranked: Option<(u32, u64)>,
}

/// Records in the order in which they came.
#[derive(Debug, Default, Clone)]
pub(crate) struct Records {
    /// Tagged names, one after the other.
    names: Vec<u8>,
    name_ends: Vec<u64>,
    /// Hashes of the names.
    hashes: Vec<u64>,
    locations: Vec<[u8; Location::LEN]>,
    /// MessagePack metadata of the records that have any, one after the other.
    metadata: Vec<u8>,
    /// The number of each such record, and where its metadata end.
    metadata_ends: Vec<(u32, u64)>,
    /// Rows of scalars of the same length, one after the other. Empty if records have none.
    scalars: Vec<u8>,
}

/// Bytes `start..end`, or none if that range is not inside.
fn part(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    bytes.get(index(start)..index(end)).unwrap_or_default()
}

impl Records {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.locations.len()
    }

    /// The tagged name of a record.
    pub(crate) fn name(&self, number: usize) -> &[u8] {
        let start = if number == 0 { Some(0) } else { self.name_ends.get(number - 1).copied() };
        part(&self.names, start.unwrap_or(u64::MAX), self.name_ends.get(number).copied().unwrap_or(0))
    }

    /// Hash of the name of a record.
    pub(crate) fn hash(&self, number: usize) -> u64 {
        self.hashes.get(number).copied().unwrap_or(0)
    }

    /// The place of a record.
    pub(crate) fn location(&self, number: usize) -> Location {
        self.locations.get(number).and_then(|bytes| Location::decode(bytes)).unwrap_or_default()
    }

    /// MessagePack metadata of a record.
    pub(crate) fn metadata(&self, number: usize) -> Option<&[u8]> {
        let at = self.metadata_ends.binary_search_by_key(&number, |&(number, _)| number as usize).ok()?;
        let start = if at == 0 { 0 } else { self.metadata_ends[at - 1].1 };
        Some(part(&self.metadata, start, self.metadata_ends[at].1))
    }

    /// The row of scalars of a record, which is empty if records have none.
    pub(crate) fn scalars(&self, number: usize) -> &[u8] {
        let row_len = self.scalars.len().checked_div(self.len()).unwrap_or(0);
        self.scalars
            .get(row_len.saturating_mul(number)..)
            .and_then(|rows| rows.get(..row_len))
            .unwrap_or_default()
    }

    /// What is kept of a record besides its name and its place.
    pub(crate) fn attributes(&self, number: usize) -> Attributes<'_> {
        Attributes { metadata: self.metadata(number), scalars: self.scalars(number) }
    }

    /// Appends a record.
    pub(crate) fn push(&mut self, name: &[u8], location: &Location, attributes: Attributes<'_>) {
        self.push_hashed(hash(name), name, location, attributes);
    }

    /// Like [`push`](Self::push), but with the hash of the name already known.
    pub(crate) fn push_hashed(
        &mut self,
        hash: u64,
        name: &[u8],
        location: &Location,
        attributes: Attributes<'_>,
    ) {
        self.scalars.extend_from_slice(attributes.scalars);
        if let Some(value) = attributes.metadata {
            self.metadata.extend_from_slice(value);
            let number = u32::try_from(self.len()).unwrap_or(u32::MAX);
            self.metadata_ends.push((number, self.metadata.len() as u64));
        }
        self.names.extend_from_slice(name);
        self.name_ends.push(self.names.len() as u64);
        self.hashes.push(hash);
        self.locations.push(location.encode());
    }
}

/// Some of the records.
pub(crate) struct Chosen<'r> {
    pub(crate) records: &'r Records,
    /// Numbers of the chosen records, in increasing order.
    pub(crate) numbers: Vec<u32>,
}

impl<'r> Chosen<'r> {
    /// All of `records`.
    pub(crate) fn all(records: &'r Records) -> Self {
        Self { records, numbers: (0..u32::try_from(records.len()).unwrap_or(u32::MAX)).collect() }
    }

    /// The records in the order of names: the bytes that are compared first, which are the eight after
    /// those that all names begin with, the place among the chosen ones, and the raw bytes, if that is less
    /// than [`u32::MAX`].
    fn sorted(&self) -> Vec<(u64, u32, u32)> {
        let name = |nth: u32| {
            let number = self.numbers.get(nth as usize).map_or(usize::MAX, |&number| number as usize);
            self.records.name(number)
        };
        let first = name(0);
        let shared = self.each().fold(first.len(), |shared, number| {
            let alike = first.iter().zip(self.records.name(number)).take(shared);
            alike.take_while(|(left, right)| left == right).count()
        });
        let key = |name: &[u8]| {
            let rest = name.get(shared..).unwrap_or_default();
            // The bytes of a number with its highest byte first are in the order of names.
            match rest.first_chunk() {
                Some(bytes) => u64::from_le_bytes(*bytes).swap_bytes(),
                None => rest.iter().chain(&[0; 8]).take(8).fold(0, |key, &byte| key << 8 | u64::from(byte)),
            }
        };
        let keyed = (0_u32..).zip(self.each()).map(|(nth, number)| {
            let length = u32::try_from(self.records.location(number).length).unwrap_or(u32::MAX);
            (key(self.records.name(number)), nth, length)
        });
        let mut sorted: Vec<(u64, u32, u32)> = keyed.collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
        sorted
    }

    fn each(&self) -> impl Iterator<Item = usize> + '_ {
        self.numbers.iter().map(|&number| number as usize)
    }
}

impl Listing for Chosen<'_> {
    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn names(&self, job: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        self.each().for_each(|number| job(self.records.hash(number), self.records.name(number)));
        Ok(())
    }

    fn locations(&self, job: &mut dyn FnMut(&Location) -> Result<()>) -> Result<()> {
        self.each().try_for_each(|number| job(&self.records.location(number)))
    }

    fn has_order(&self) -> bool {
        true
    }

    fn order(&self, job: &mut dyn FnMut(u32, u64) -> Result<()>) -> Result<()> {
        self.sorted().into_iter().try_for_each(|(_, nth, length)| match length {
            u32::MAX => {
                let number = self.numbers.get(nth as usize).map_or(usize::MAX, |&number| number as usize);
                job(nth, self.records.location(number).length)
            }
            length => job(nth, u64::from(length)),
        })
    }

    fn metadata(&self, job: &mut dyn FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        if self.records.metadata_ends.is_empty() {
            return Ok(());
        }
        for (nth, number) in (0..).zip(self.each()) {
            if let Some(value) = self.records.metadata(number) {
                job(nth, value)?;
            }
        }
        Ok(())
    }

    fn scalars(&self, job: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.records.scalars.is_empty() {
            return Ok(());
        }
        self.each().try_for_each(|number| job(self.records.scalars(number)))
    }
}

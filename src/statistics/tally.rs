//! What is known of the fields of records.

use std::borrow::Cow;

use super::summary::{Number, Summary};

/// The most fields that a tally tells of.
const MAX_FIELDS: usize = 64;
/// Fields that there is room for at first.
const LIKELY_FIELDS: usize = 8;
/// The most kinds of a field that a tally tells apart.
pub(crate) const MAX_KINDS: usize = 512;

/// A summary of each field of records, and of how often each kind of a thing occurs in them.
///
/// A codec fills one for each record: see [`Codec::describe`](crate::Codec::describe).
///
/// ```
/// use vldepot::statistics::Tally;
///
/// let mut water = Tally::default();
/// water.numbers("positions", &[0.0_f32, 0.1, 0.2]);
/// water.number("energy", -76.4);
/// water.kinds("types", &[8, 1, 1]);
/// assert_eq!(water.fields().next().unwrap().0, "positions");
/// assert_eq!(water.kinds_of("types").unwrap().get(1).unwrap().values, 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    fields: Vec<(Cow<'static, str>, Summary)>,
    kinds: Vec<(Cow<'static, str>, Kinds)>,
    /// Whether there were more fields than it has room for.
    cut: bool,
}

/// The statistics that an index segment keeps, and what they are of.
///
/// Statistics of records that are gone stay in it. Counts of what was put, moved and dropped tell how many
/// these are, once those of all segments are added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tallied {
    /// Records that the tally is of.
    pub(crate) counted: u64,
    /// Entries of records that were there before, under another name or with other metadata.
    pub(crate) moved: u64,
    /// Entries that were left out since: of records that were removed, replaced or moved.
    pub(crate) dropped: u64,
    pub(crate) tally: Tally,
}

impl Tallied {
    /// Adds a record.
    pub(crate) fn count(&mut self, tally: &Tally) {
        self.counted = self.counted.saturating_add(1);
        self.tally.merge(tally);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counted = self.counted.saturating_add(other.counted);
        self.moved = self.moved.saturating_add(other.moved);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.tally.merge(&other.tally);
    }
}

/// How often each kind occurs, such as each atomic number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds {
    /// By kind.
    kinds: Vec<(i64, Kind)>,
    others: u64,
}

/// How often one kind occurs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Kind {
    /// How many values are of this kind: such as atoms of an element.
    pub values: u64,
    /// How many records have a value of this kind.
    pub records: u64,
}

impl Kinds {
    /// Each kind, in order, and how often it occurs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, Kind)> + '_ {
        self.kinds.iter().copied()
    }

    /// How often a kind occurs. `None` if it does not, or if it is among the [`others`](Self::others).
    pub fn get(&self, kind: i64) -> Option<Kind> {
        let at = self.kinds.binary_search_by_key(&kind, |&(kind, _)| kind).ok()?;
        self.kinds.get(at).map(|&(_, kind)| kind)
    }

    /// How many values are of none of these kinds. At most 512 kinds are told apart.
    pub fn others(&self) -> u64 {
        self.others
    }

    pub(crate) fn add(&mut self, kind: i64, more: Kind) {
        match self.kinds.binary_search_by_key(&kind, |&(kind, _)| kind) {
            Ok(at) => {
                let there = &mut self.kinds[at].1;
                there.values = there.values.saturating_add(more.values);
                there.records = there.records.saturating_add(more.records);
            }
            Err(at) if self.kinds.len() < MAX_KINDS => self.kinds.insert(at, (kind, more)),
            Err(_) => self.others = self.others.saturating_add(more.values),
        }
    }

    pub(crate) fn add_others(&mut self, values: u64) {
        self.others = self.others.saturating_add(values);
    }

    fn merge(&mut self, other: &Self) {
        self.add_others(other.others);
        other.iter().for_each(|(kind, more)| self.add(kind, more));
    }

    fn count(&mut self, kinds: &[i32]) {
        const LOW: usize = 128;
        let (mut low, mut high) = ([0_u32; LOW], Vec::new());
        for &kind in kinds {
            match usize::try_from(kind).ok().and_then(|kind| low.get_mut(kind)) {
                Some(count) => *count += 1,
                None => high.push(i64::from(kind)),
            }
        }
        for (kind, &count) in (0_i64..).zip(&low) {
            if count > 0 {
                self.add(kind, Kind { values: u64::from(count), records: 1 });
            }
        }
        high.sort_unstable();
        for of_kind in high.chunk_by(|left, right| left == right) {
            self.add(of_kind[0], Kind { values: of_kind.len() as u64, records: 1 });
        }
    }
}

/// The value that belongs to `name`, made if it is missing and there is room for it.
///
/// `likely` is where it is looked for first: fields mostly come in the same order.
fn entry<'t, T: Default>(
    list: &'t mut Vec<(Cow<'static, str>, T)>,
    likely: usize,
    name: Cow<'static, str>,
    cut: &mut bool,
) -> Option<&'t mut T> {
    let is = |(there, _): &(Cow<'static, str>, T)| *there == name;
    let at = match list.get(likely) {
        Some(there) if is(there) => likely,
        _ => match list.iter().position(is) {
            Some(at) => at,
            None if list.len() < MAX_FIELDS => {
                list.push((name, T::default()));
                list.len() - 1
            }
            None => {
                *cut = true;
                return None;
            }
        },
    };
    list.get_mut(at).map(|(_, value)| value)
}

impl Tally {
    fn field_called(&mut self, name: Cow<'static, str>) -> Option<&mut Summary> {
        if self.fields.capacity() == 0 {
            self.fields.reserve(LIKELY_FIELDS);
        }
        let likely = self.fields.len().wrapping_sub(1);
        entry(&mut self.fields, likely, name, &mut self.cut)
    }

    /// Adds all numbers of an array of a record.
    pub fn numbers<T: Number>(&mut self, field: impl Into<Cow<'static, str>>, numbers: &[T]) {
        self.summary(field, &Summary::of(numbers));
    }

    /// Adds one number of a record.
    pub fn number(&mut self, field: impl Into<Cow<'static, str>>, number: f64) {
        if let Some(summary) = self.field_called(field.into()) {
            summary.add(number);
        }
    }

    /// Adds a summary of numbers of a record.
    pub fn summary(&mut self, field: impl Into<Cow<'static, str>>, summary: &Summary) {
        if let Some(there) = self.field_called(field.into()) {
            there.merge(summary);
        }
    }

    /// Counts the kinds of a record, such as the atomic numbers of its atoms. It is called once for a record.
    pub fn kinds(&mut self, field: impl Into<Cow<'static, str>>, kinds: &[i32]) {
        if let Some(there) = entry(&mut self.kinds, 0, field.into(), &mut self.cut) {
            there.count(kinds);
        }
    }

    /// Adds all that another tally has.
    pub fn merge(&mut self, other: &Self) {
        for (nth, (name, summary)) in other.fields.iter().enumerate() {
            if let Some(there) = entry(&mut self.fields, nth, name.clone(), &mut self.cut) {
                there.merge(summary);
            }
        }
        for (nth, (name, kinds)) in other.kinds.iter().enumerate() {
            if let Some(there) = entry(&mut self.kinds, nth, name.clone(), &mut self.cut) {
                there.merge(kinds);
            }
        }
        self.cut |= other.cut;
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.kinds.is_empty()
    }

    /// Whether records have more fields than it tells of. It has room for 64.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The name and the summary of each field, in the order in which they came.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Summary)> {
        self.fields.iter().map(|(name, summary)| (&**name, summary))
    }

    /// The summary of one field.
    pub fn field(&self, name: &str) -> Option<&Summary> {
        self.fields().find(|(there, _)| *there == name).map(|(_, summary)| summary)
    }

    /// The name of each field that has kinds, and its kinds.
    pub fn all_kinds(&self) -> impl ExactSizeIterator<Item = (&str, &Kinds)> {
        self.kinds.iter().map(|(name, kinds)| (&**name, kinds))
    }

    /// The kinds of one field.
    pub fn kinds_of(&self, name: &str) -> Option<&Kinds> {
        self.all_kinds().find(|(there, _)| *there == name).map(|(_, kinds)| kinds)
    }

    pub(crate) fn set_cut(&mut self) {
        self.cut = true;
    }

    pub(crate) fn insert_kinds(&mut self, field: String, kinds: Kinds) {
        if let Some(there) = entry(&mut self.kinds, 0, field.into(), &mut self.cut) {
            *there = kinds;
        }
    }

    /// Where this tally, which was stored, is no bound of that of some of its records: field, expected,
    /// found.
    pub(crate) fn outside(&self, some: &Self) -> Vec<(String, String, String)> {
        let differs = |(name, some): (&str, &Summary)| {
            let all = self.field(name).copied().unwrap_or_default();
            let (expected, found) = all.bounds(some)?;
            Some((name.to_owned(), expected, found))
        };
        some.fields().filter_map(differs).collect()
    }

    /// Where this tally, which was stored, differs from what it should be: field, expected, found.
    pub(crate) fn differences(&self, expected: &Self, tolerance: f64) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for (name, should) in expected.fields() {
            let found = self.field(name).copied().unwrap_or_default();
            if let Some((expected, found)) = found.difference(should, tolerance) {
                all.push((name.to_owned(), expected, found));
            }
        }
        for (name, found) in self.fields().filter(|(name, _)| expected.field(name).is_none()) {
            if found.count() + found.non_finite() > 0 {
                all.push((name.to_owned(), "no values".into(), format!("{} values", found.count())));
            }
        }
        let (none, empty) = (Kind::default(), Kinds::default());
        let names = expected.all_kinds().chain(self.all_kinds()).map(|(name, _)| name);
        let names: std::collections::BTreeSet<&str> = names.collect();
        for name in names {
            let should = expected.kinds_of(name).unwrap_or(&empty);
            let found = self.kinds_of(name).unwrap_or(&empty);
            // Which kinds are told apart depends on their order, if there are many.
            if should.others > 0 || found.others > 0 {
                continue;
            }
            let kinds = should.iter().chain(found.iter()).map(|(kind, _)| kind);
            let kinds: std::collections::BTreeSet<i64> = kinds.collect();
            let differs = kinds.into_iter().find(|&kind| should.get(kind) != found.get(kind));
            if let Some(kind) = differs {
                let show = |of: &Kinds| {
                    let Kind { values, records } = of.get(kind).unwrap_or(none);
                    format!("{values} of kind {kind} in {records} records")
                };
                all.push((name.to_owned(), show(should), show(found)));
            }
        }
        all
    }
}

#[cfg(feature = "serde")]
mod serialise {
    use serde::{Serialize, Serializer};

    use super::{Kinds, Tally};

    /// Pairs as a map.
    struct Map<I>(I);

    impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)> + Clone> Serialize for Map<I> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.clone())
        }
    }

    impl Serialize for Tally {
        /// A map of `fields`, `kinds` and `cut`.
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut map = serializer.serialize_struct("Tally", 3)?;
            map.serialize_field("fields", &Map(self.fields.iter().map(|(name, field)| (name, field))))?;
            map.serialize_field("kinds", &Map(self.kinds.iter().map(|(name, kinds)| (name, kinds))))?;
            map.serialize_field("cut", &self.cut)?;
            map.end()
        }
    }

    impl Serialize for Kinds {
        /// A map of `counts`, by kind, and `others`.
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct;
            let mut map = serializer.serialize_struct("Kinds", 2)?;
            map.serialize_field("counts", &Map(self.kinds.iter().map(|(kind, n)| (kind, n))))?;
            map.serialize_field("others", &self.others)?;
            map.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_by_value_and_by_record() {
        let mut all = Tally::default();
        for types in [&[8, 1, 1][..], &[1, -7, 1000, 1000], &[]] {
            let mut one = Tally::default();
            one.kinds("types", types);
            all.merge(&one);
        }
        let kinds: Vec<_> =
            all.kinds_of("types").unwrap().iter().map(|(kind, k)| (kind, k.values, k.records)).collect();
        assert_eq!(kinds, [(-7, 1, 1), (1, 3, 2), (8, 1, 1), (1000, 2, 1)]);
    }

    #[test]
    fn fields_and_kinds_without_end_take_bounded_room() {
        let mut tally = Tally::default();
        (0..1000).for_each(|n| tally.number(format!("field {n}"), 1.0));
        assert!(tally.is_cut() && tally.fields().len() == MAX_FIELDS);
        let many: Vec<i32> = (0..2000).collect();
        let mut kinds = Tally::default();
        kinds.kinds("types", &many);
        let kinds = kinds.kinds_of("types").unwrap();
        assert_eq!((kinds.iter().len(), kinds.others()), (MAX_KINDS, 2000 - MAX_KINDS as u64));
    }

    #[test]
    fn differences_name_the_field() {
        let mut one = Tally::default();
        one.number("energy", 1.0);
        one.kinds("types", &[1, 1]);
        let mut other = one.clone();
        assert!(one.differences(&other, 0.0).is_empty());
        other.number("energy", 2.0);
        other.kinds("types", &[1]);
        let found = one.differences(&other, 1e-9);
        assert_eq!(found[0], ("energy".into(), "count 2".into(), "1".into()));
        assert_eq!(found[1].1, "3 of kind 1 in 2 records");
        assert_eq!(Tally::default().differences(&one, 0.0).len(), 2);
        assert_eq!(one.differences(&Tally::default(), 0.0).len(), 2);
    }
}

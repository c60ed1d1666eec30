//! From a name or a position to a location, and to metadata.
//!
//! The index is asked first. If it is damaged, the directories of the chunks are asked.

use std::borrow::Cow;
use std::sync::Arc;

use super::Engine;
use super::fallback::Rebuilt;
use super::rounds::{PLACES_AHEAD, RECORDS_AHEAD, Upto};
use super::shared::Shared;
use super::{Known, Seen};
use crate::catalog::{Found, LostCommit, Members, Missing, RecordId, Snapshot, State};
use crate::error::{Error, ErrorKind, Result};
use crate::events::event;
use crate::format::tables::{Attributes, Losses, OwnedAttributes};
use crate::index::{Location, expect_names};
use crate::key::{TaggedName, describe};
use crate::log::{self};
use crate::sync;

/// Tagged names and locations.
type Located<'n> = Vec<(&'n [u8], Location)>;

/// Names looked up under one lock.
const NAMES_AT_ONCE: usize = 256;

/// The records of a depot at one moment. Later changes to the depot do not change it.
pub(crate) struct Moment {
    pub(super) state: State,
    /// Sorted ordinals of the committed records that were dead; `None` if the index could not tell.
    pub(super) dead: Option<Vec<u64>>,
}

/// Tagged names of records that follow each other.
#[derive(Debug, Default)]
pub(crate) struct NamesNear {
    /// The ordinal of the first.
    first: u64,
    names: Vec<Vec<u8>>,
}

impl NamesNear {
    fn get(&self, ordinal: u64) -> Option<&[u8]> {
        let nth = usize::try_from(ordinal.checked_sub(self.first)?).ok()?;
        self.names.get(nth).map(|name| &**name)
    }
}

impl Moment {
    /// How many records there were.
    pub(crate) fn len(&self) -> u64 {
        self.state.len()
    }

    pub(super) fn place(&self, position: u64) -> Result<Option<RecordId>> {
        match &self.dead {
            Some(dead) => Ok(self.state.place(position, dead)),
            None => self.state.at(position),
        }
    }
}

impl Engine {
    /// The live record called `name`. Does not fall back to the directories.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found>> {
        self.shared.read().find(name)
    }

    /// Makes the index of `snapshot` again, after it failed with `error`.
    ///
    /// # Errors
    /// `error`, if it is not about damage, or if the index cannot be made again.
    pub(crate) fn rebuilt(&self, snapshot: &Snapshot, error: Error) -> Result<Arc<Rebuilt>> {
        if !error.is_damage() || self.is_foreign() {
            return Err(error);
        }
        let mut rebuilt = sync::lock(&self.rebuilt);
        if let Some((sequence, rebuilt)) = &*rebuilt
            && *sequence == snapshot.sequence
        {
            return rebuilt.clone().ok_or(error);
        }
        let Shared { storage, parameters, .. } = &*self.shared;
        let made = Rebuilt::new(storage, parameters, snapshot).map(Arc::new);
        *rebuilt = Some((snapshot.sequence, made.clone()));
        event!(
            warn,
            "{error}; names {} the directories of the chunks",
            if made.is_some() { "come from" } else { "cannot be had from" }
        );
        made.ok_or(error)
    }

    /// The place of the record called `name`, if there is one, by the index or by the directories.
    pub(crate) fn place_of(&self, name: &[u8]) -> Result<Option<Location>> {
        self.expect_one(name, Upto::Place);
        self.place_now(name)
    }

    /// Like [`place_of`](Self::place_of), but reads nothing ahead.
    fn place_now(&self, name: &[u8]) -> Result<Option<Location>> {
        let state = self.shared.read();
        match state.find(name) {
            Ok(found) => Ok(found.map(|found| found.location)),
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                Ok(rebuilt.find(name, &state.pending.dead_names).map(|number| rebuilt.location(number)))
            }
        }
    }

    /// Like [`place_of`](Self::place_of), but an error if there is no such record.
    pub(crate) fn location(&self, name: &[u8]) -> Result<Location> {
        self.place_of(name)?.ok_or_else(|| self.not_found(&self.shared.read(), name))
    }

    /// Like [`location`](Self::location), but reads nothing ahead.
    pub(super) fn location_now(&self, name: &[u8]) -> Result<Location> {
        self.place_now(name)?.ok_or_else(|| self.not_found(&self.shared.read(), name))
    }

    /// Whether there is a record called `name`.
    pub(crate) fn contains(&self, name: &[u8]) -> Result<bool> {
        if self.place_of(name)?.is_some() {
            return Ok(true);
        }
        let error = self.not_found(&self.shared.read(), name);
        if matches!(error.kind(), ErrorKind::NotFound) { Ok(false) } else { Err(error) }
    }

    /// The error that says why there is no record called `name`.
    pub(super) fn not_found(&self, state: &State, name: &[u8]) -> Error {
        let path = self.path_buf();
        if let Some(error) = self.missing(&state.snapshot.members) {
            return error.of(describe(name));
        }
        if let Some(LostCommit { sequence, offset }) = state.lost {
            return ErrorKind::LostCommit { commit: sequence, offset }.at(path).of(describe(name));
        }
        match self.losses_of(&state.snapshot) {
            Ok(losses) => losses
                .0
                .iter()
                .rev()
                .find(|loss| loss.unnamed || loss.names.iter().any(|lost| lost == name))
                .map_or(ErrorKind::NotFound.at(path.clone()).of(describe(name)), |loss| {
                    ErrorKind::LostEarlier { how: loss.to_string() }.at(path).of(describe(name))
                }),
            Err(error) => error,
        }
    }

    /// The losses that the depot has a note of.
    pub(crate) fn losses(&self) -> Result<Losses> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        self.losses_of(&snapshot)
    }

    pub(super) fn losses_of(&self, snapshot: &Snapshot) -> Result<Losses> {
        let own = (&self.shared.storage, self.shared.parameters.depot_id, snapshot.losses);
        let members = snapshot.members.list.iter().map(|m| (&m.storage, m.depot_id, m.losses));
        let mut all = Losses::default();
        for (storage, depot_id, (offset, length)) in std::iter::once(own).chain(members) {
            if length > 0 {
                all.0.extend(log::Scanner::new(storage, false)?.losses(offset, depot_id)?.0);
            }
        }
        Ok(all)
    }

    /// The error for a set without one of its shards.
    pub(super) fn missing(&self, members: &Members) -> Option<Error> {
        let Missing { shard, why, records } = members.missing.first()?.clone();
        Some(ErrorKind::MissingShard { shard, records, why }.at(self.path()))
    }

    /// The locations of the records with these names, and what is known of the records.
    pub(crate) fn locations<'n>(&self, names: &'n [TaggedName]) -> Result<(Located<'n>, Known)> {
        let (mut out, mut known) = (Vec::with_capacity(names.len()), Known::default());
        for names in names.chunks(RECORDS_AHEAD) {
            // Only the last of it is held, because of the memory that it takes.
            known.ahead = self.expect_names(names.iter().map(|name| &**name), Upto::Tables);
            self.locations_now(names, &mut out, &mut known.seen)?;
        }
        Ok((out, known))
    }

    /// Appends the locations of the records with these names to `out`.
    fn locations_now<'n>(
        &self,
        names: &'n [TaggedName],
        out: &mut Located<'n>,
        seen: &mut Seen,
    ) -> Result<()> {
        // The lock is taken once for many names, but not for so many that a writer waits long.
        for names in names.chunks(NAMES_AT_ONCE) {
            let state = self.shared.read();
            expect_names(&state.snapshot.segments, names.iter().map(|name| &**name));
            let mut failed = None;
            for name in names {
                match state.find(name) {
                    Ok(Some(Found { location, place })) => {
                        out.push((&**name, location));
                        seen.push(self, &state.snapshot, failed.is_none().then_some(place));
                    }
                    Ok(None) => return Err(self.not_found(&state, name)),
                    Err(_) => {
                        failed.get_or_insert(out.len());
                        out.push((&**name, Location::default()));
                        seen.push(self, &state.snapshot, None);
                    }
                }
            }
            drop(state);
            // From the first failure on, names are looked up again, without the index if need be.
            for (name, location) in failed.map(|first| &mut out[first..]).into_iter().flatten() {
                *location = self.location_now(name)?;
            }
        }
        Ok(())
    }

    /// Looks up the record at a position.
    ///
    /// `by_index` gives the result. If the index is damaged, `by_directories` gives it, from the number that
    /// the record has in the directories.
    fn at<T>(
        &self,
        state: &State,
        (position, place): (u64, Result<Option<RecordId>>),
        by_index: impl FnOnce(&State, RecordId) -> Result<T>,
        by_directories: impl FnOnce(&Rebuilt, usize) -> T,
    ) -> Result<T> {
        let out_of_range = || ErrorKind::OutOfRange { position, len: state.len() }.at(self.path());
        let error = match place {
            Ok(place) => match by_index(state, place.ok_or_else(out_of_range)?) {
                Err(error) => error,
                found => return found,
            },
            Err(error) => error,
        };
        let rebuilt = self.rebuilt(&state.snapshot, error)?;
        let number = rebuilt.nth(position, &state.pending.dead_names).ok_or_else(out_of_range)?;
        Ok(by_directories(&rebuilt, number))
    }

    /// The location of the record at a position. Looks at no name.
    pub(crate) fn location_at(&self, position: u64) -> Result<Location> {
        self.expect_positions(std::iter::once(position));
        let state = self.shared.read();
        self.at(&state, (position, state.at(position)), State::location, Rebuilt::location)
    }

    /// Like [`location_at`](Self::location_at), and where the record was found.
    pub(super) fn found_at(&self, position: u64) -> Result<(Location, Seen)> {
        let (mut found, seen) = self.locations_at(&[position])?;
        Ok((found.pop().unwrap_or_default().1, seen))
    }

    /// The locations of the records at these positions, and where they were found. Looks at no name.
    pub(crate) fn locations_at(&self, positions: &[u64]) -> Result<(Vec<((), Location)>, Seen)> {
        self.expect_positions(positions.iter().copied());
        let (mut out, mut seen) = (Vec::with_capacity(positions.len()), Seen::default());
        // One lock for many positions, but not for so many that a writer waits long.
        for positions in positions.chunks(NAMES_AT_ONCE) {
            let state = self.shared.read();
            for &position in positions {
                let (location, place) = self.found(&state, (position, state.at(position)))?;
                out.push(((), location));
                seen.push(self, &state.snapshot, place);
            }
        }
        Ok((out, seen))
    }

    /// The location of the record at a position, and where the index has it; `None` if the index is damaged.
    fn found(
        &self,
        state: &State,
        place: (u64, Result<Option<RecordId>>),
    ) -> Result<(Location, Option<RecordId>)> {
        let by_index = |state: &State, place| Ok((state.location(place)?, Some(place)));
        self.at(state, place, by_index, |rebuilt, number| (rebuilt.location(number), None))
    }

    /// Reads ahead the locations of the records at these positions, if they must be read.
    pub(crate) fn expect_positions(&self, positions: impl Iterator<Item = u64>) {
        if !self.shared.reads_ahead() {
            return;
        }
        let state = self.shared.read();
        let (snapshot, Ok(dead)) = (Arc::clone(&state.snapshot), state.tombstones()) else { return };
        let committed = |position| match state.place(position, &dead) {
            Some(RecordId::Committed(ordinal)) => Some(ordinal),
            _ => None,
        };
        let ordinals: Vec<u64> = positions.filter_map(committed).collect();
        drop(state);
        for ordinals in ordinals.chunks(PLACES_AHEAD) {
            self.expect_places(&snapshot, ordinals.iter().copied());
        }
    }

    /// The tagged name of the record at a position.
    pub(crate) fn name_at(&self, position: u64) -> Result<Vec<u8>> {
        let state = self.shared.read();
        let by_directories = |rebuilt: &Rebuilt, number| rebuilt.name(number).to_vec();
        self.at(&state, (position, state.at(position)), State::name, by_directories)
    }

    /// The records of the depot now.
    pub(crate) fn moment(&self) -> Moment {
        let state = self.shared.read().clone();
        let dead = state.tombstones().ok().map(Cow::into_owned);
        Moment { state, dead }
    }

    /// The location of the record at a position of that moment.
    pub(crate) fn location_in(&self, moment: &Moment, position: u64) -> Result<Location> {
        self.at(&moment.state, (position, moment.place(position)), State::location, Rebuilt::location)
    }

    /// Like [`location_in`](Self::location_in), and notes in `seen` where the record was found.
    pub(crate) fn location_seen(&self, moment: &Moment, position: u64, seen: &mut Seen) -> Result<Location> {
        let (location, place) = self.found(&moment.state, (position, moment.place(position)))?;
        seen.push(self, &moment.state.snapshot, place);
        Ok(location)
    }

    /// The tagged name of the record at a position of that moment.
    pub(crate) fn name_in(&self, moment: &Moment, position: u64) -> Result<Vec<u8>> {
        let by_directories = |rebuilt: &Rebuilt, number| rebuilt.name(number).to_vec();
        self.at(&moment.state, (position, moment.place(position)), State::name, by_directories)
    }

    /// Like [`name_in`](Self::name_in), for positions one after the other: names that lie together are
    /// decoded together.
    pub(crate) fn name_near(&self, moment: &Moment, position: u64, near: &mut NamesNear) -> Result<Vec<u8>> {
        if let Ok(Some(RecordId::Committed(ordinal))) = moment.place(position) {
            if let Some(name) = near.get(ordinal) {
                return Ok(name.to_vec());
            }
            if let Some((segment, local)) = moment.state.snapshot.segment_of(ordinal)
                && let Ok((first, names)) = segment.names_around(local)
            {
                *near = NamesNear { first: ordinal - local + first, names };
                if let Some(name) = near.get(ordinal) {
                    return Ok(name.to_vec());
                }
            }
        }
        self.name_in(moment, position)
    }

    /// MessagePack metadata of the record at a position of that moment.
    pub(crate) fn metadata_in(&self, moment: &Moment, position: u64) -> Result<Option<Vec<u8>>> {
        let by_directories =
            |rebuilt: &Rebuilt, number| rebuilt.attributes(number).metadata.map(<[u8]>::to_vec);
        self.at(&moment.state, (position, moment.place(position)), State::metadata, by_directories)
    }

    /// The position of the record called `name`, or an error if there is no such record.
    pub(crate) fn position_of(&self, name: &[u8]) -> Result<u64> {
        let state = self.shared.read();
        let by_index = || {
            let Some(Found { place, .. }) = state.find(name)? else { return Ok(None) };
            // Pending records come after all committed ones, so the dead ones among these do not matter.
            let dead =
                if matches!(place, RecordId::Pending(_)) { Cow::default() } else { state.tombstones()? };
            Ok(Some(state.position(place, &dead)))
        };
        let position = match by_index() {
            Ok(position) => position,
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                rebuilt
                    .find(name, &state.pending.dead_names)
                    .map(|number| rebuilt.position(number, &state.pending.dead_names))
            }
        };
        position.ok_or_else(|| self.not_found(&state, name))
    }

    /// The attributes of the record that the index has at `place`.
    pub(crate) fn attributes_at(&self, place: RecordId) -> Result<OwnedAttributes> {
        self.shared.read().attributes(place)
    }

    /// What the index keeps of a record, by `read`, or by the directories and `of_attributes`.
    fn kept<T>(
        &self,
        name: &[u8],
        read: impl Fn(&State, RecordId) -> Result<T>,
        of_attributes: impl Fn(Attributes<'_>) -> T,
    ) -> Result<T> {
        let state = self.shared.read();
        let by_index = || match state.find(name)? {
            Some(found) => read(&state, found.place).map(Some),
            None => Ok(None),
        };
        let found = match by_index() {
            Ok(found) => found,
            Err(error) => {
                let rebuilt = self.rebuilt(&state.snapshot, error)?;
                let number = rebuilt.find(name, &state.pending.dead_names);
                number.map(|number| of_attributes(rebuilt.attributes(number)))
            }
        };
        found.ok_or_else(|| self.not_found(&state, name))
    }

    /// The attributes of a record.
    pub(crate) fn attributes(&self, name: &[u8]) -> Result<OwnedAttributes> {
        self.kept(name, State::attributes, |Attributes { metadata, scalars }| OwnedAttributes {
            metadata: metadata.map(<[u8]>::to_vec),
            scalars: scalars.to_vec(),
        })
    }

    /// MessagePack metadata of a record.
    #[cfg(feature = "serde")]
    pub(crate) fn metadata(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kept(name, State::metadata, |attributes| attributes.metadata.map(<[u8]>::to_vec))
    }

    /// The row of scalars of a record.
    pub(crate) fn scalars(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.kept(name, State::scalars, |attributes| attributes.scalars.to_vec())
    }

    /// MessagePack of the depot's own metadata.
    #[cfg(feature = "serde")]
    pub(crate) fn depot_metadata(&self) -> Result<Option<Vec<u8>>> {
        if self.is_writable()
            && let Some(new) = self.writer_to_look_at()?.new_metadata()
        {
            return Ok(Some(new.to_vec()));
        }
        self.committed_metadata()
    }

    /// MessagePack of the own metadata of each depot of a set that has any, oldest first.
    #[cfg(feature = "serde")]
    pub(crate) fn metadata_of_members(&self) -> Result<Vec<Vec<u8>>> {
        let snapshot = Arc::clone(&self.shared.read().snapshot);
        let members = snapshot.members.list.iter().filter(|member| member.metadata.1 > 0);
        members
            .map(|member| log::read_metadata(&member.storage, member.metadata.0, member.depot_id))
            .collect()
    }

    /// Offset of the depot's own metadata as of the last commit, or 0.
    #[cfg(feature = "serde")]
    pub(crate) fn metadata_offset(&self) -> u64 {
        self.shared.read().snapshot.metadata.0
    }

    /// MessagePack of the depot's own metadata as of the last commit.
    pub(crate) fn committed_metadata(&self) -> Result<Option<Vec<u8>>> {
        let (offset, length) = self.shared.read().snapshot.metadata;
        if length == 0 {
            return Ok(None);
        }
        log::read_metadata(&self.shared.storage, offset, self.shared.parameters.depot_id).map(Some)
    }
}

//! Commits: pending records become index segments, and one entry refers to all segments.

use std::io;
use std::sync::Arc;

use super::writer::{SinceCommit, Writer};
use crate::catalog::Snapshot;
use crate::chunk::ChunkAt;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::events::event;
use crate::format::entry::Kind;
use crate::format::growth::Features;
use crate::format::header::{CommitSlot, slot_offset};
use crate::format::tables::Commit;
use crate::identity;
use crate::index::{Chosen, MAX_RECORDS, Merge, Segment, SegmentPlan, kills, tail_to_merge};
use crate::statistics::Tallied;

impl Writer {
    /// Makes everything that was put so far durable.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.commit_merging(false)
    }

    pub(super) fn commit_merging(&mut self, last: bool) -> Result<()> {
        self.append.check_alive()?;
        let merge_all = last && first_to_merge(&self.shared.read().snapshot.segments, true).is_some();
        if !self.shared.read().pending.changed && !merge_all {
            self.since = SinceCommit::nothing();
            return Ok(());
        }
        self.commit_pending(last).map_err(|source| self.not_committed(source))
    }

    fn not_committed(&self, source: Error) -> Error {
        let state = self.shared.read();
        let newest = state.pending.live().next_back();
        ErrorKind::NotCommitted {
            waiting: state.pending.n_live(),
            newest: newest.map(|number| crate::key::describe(state.pending.name(number))),
            again: self.append.is_alive(),
        }
        .at(self.shared.storage.path())
        .because(source)
    }

    fn commit_pending(&mut self, last: bool) -> Result<()> {
        let storage = &self.shared.storage;
        // If the path cannot be looked at any more, the commit goes on.
        if storage.is_replaced().unwrap_or(false) {
            let why = "another file is in its place: what is committed here would be lost with this handle";
            return Err(self.shared.io("commit", io::Error::other(why)));
        }
        self.flush()?;
        // If a write fails from here on, the next try starts again from this place.
        let before = self.append.tail();
        let snapshot = self.write_commit(last).inspect_err(|_| self.append.rewind_to(before))?;
        self.append.sync()?;
        let slot = self.slot(&snapshot);
        // The commit is durable without its slot, which only shortens the way to it. An error of writing the
        // slot is ignored.
        let _ = self.shared.storage.write_at(slot_offset(slot.sequence), &slot.encode());
        event!(
            debug,
            "{}: commit {} of {} records",
            self.shared.storage.path().display(),
            snapshot.sequence,
            snapshot.n_records
        );
        self.shared.write().adopt_snapshot(Arc::new(snapshot));
        (self.new_metadata, self.new_losses, self.undo) = (None, None, None);
        self.since = SinceCommit::nothing();
        Ok(())
    }

    fn slot(&self, snapshot: &Snapshot) -> CommitSlot {
        CommitSlot {
            sequence: snapshot.sequence,
            offset: snapshot.offset,
            length: self.append.tail().offset - snapshot.offset,
            depot_id: self.shared.parameters.depot_id,
            head_crc: self.append.tail().previous,
        }
    }

    /// Appends METADATA, INDEX and COMMIT entries for all that is pending.
    fn write_commit(&mut self, last: bool) -> Result<Snapshot> {
        let (old, raw_bytes, changed) = {
            let state = self.shared.read();
            (Arc::clone(&state.snapshot), state.raw_bytes, state.pending.changed)
        };
        let (mut metadata, mut losses) = (old.metadata, old.losses);
        if let Some(body) = self.new_metadata.clone() {
            let offset = self.append.tail().offset;
            metadata = (offset, self.append.body(Kind::Metadata, 0, &body)?);
        }
        if let Some(body) = self.new_losses.clone() {
            let offset = self.append.tail().offset;
            losses = (offset, self.append.body(Kind::Losses, 0, &body)?);
        }
        let mut segments = old.segments.clone();
        segments.extend(self.append_pending(&old)?);
        if let Some(first) = first_to_merge(&segments, last) {
            match Merge::new(&segments[first..], self.shared.extras()) {
                Ok(merge) => {
                    let merged = self.append.segment(merge.plan())?;
                    drop(merge);
                    segments.truncate(first);
                    segments.push(merged);
                }
                // A damaged old segment stays as it is. New records must not wait for it.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        let sum = |of: fn(&Segment) -> u64| segments.iter().map(|segment| of(segment)).sum::<u64>();
        let (n_records, n_tombstones) = (sum(|s| s.reference.n_records), sum(|s| s.reference.n_tombstones));
        let Some(n_records) = n_records.checked_sub(n_tombstones) else {
            return Err(Error::damaged(
                self.shared.storage.path(),
                Part::Index,
                old.offset,
                format!("at most {n_records} dead records"),
                n_tombstones.to_string(),
            ));
        };
        let commit = Commit {
            sequence: old.sequence.max(self.taken) + 1,
            parent: old.offset,
            segments: segments.iter().map(|segment| segment.reference).collect(),
            n_records,
            n_chunks: sum(|s| s.reference.n_chunks),
            raw_bytes,
            metadata,
            parameters: self.shared.parameters.clone(),
            time: identity::now(),
            // After a commit that changes nothing, such as one that merges, a truncation can still be
            // taken back.
            undo: self.undo.unwrap_or(if changed { 0 } else { old.undo }),
            losses,
            // What only a compatible feature has is not kept: it may be wrong by now.
            features: Features {
                incompatible: self.shared.parameters.features.incompatible,
                ..Features::default()
            },
            unknown_to_writers: None,
        };
        let offset = self.append.tail().offset;
        self.append.body(Kind::Commit, commit.sequence, &commit.encode())?;
        Ok(Snapshot::new(&commit, offset, segments))
    }

    /// Appends the pending changes as segments.
    ///
    /// There is none if nothing concerns the index, and more than one if a single one would be too large.
    fn append_pending(&mut self, old: &Snapshot) -> Result<Vec<Arc<Segment>>> {
        let shared = Arc::clone(&self.shared);
        // Only this writer changes the pending records, so a read lock is enough, and readers go on.
        let state = shared.read();
        let pending = &state.pending;
        if pending.n_live() == 0 && pending.tombstones.is_empty() && pending.chunks.is_empty() {
            return Ok(Vec::new());
        }
        let mut chunks = Vec::with_capacity(pending.chunks.len());
        for (number, source) in (old.n_chunks..).zip(&pending.chunks) {
            let ChunkAt::Stored(reference) = source else {
                let why = io::Error::other(format!("chunk {number} is not in the file yet"));
                return Err(self.shared.io("commit", why));
            };
            chunks.push(*reference);
        }
        // The first segment takes the chunks and the tombstones of older records, so that it can be
        // merged with the segments before.
        let dead: Vec<u64> = pending.tombstones.iter().copied().collect();
        let (mut kills, mut first_chunk) = (kills(&old.segments, &dead), old.n_chunks);
        let (mut first_ordinal, mut live, mut ended) = (old.n_ordinals(), pending.live(), false);
        let mut tallied =
            if shared.parameters.statistics { pending.tallied_now() } else { Tallied::default() };
        let mut segments = Vec::new();
        while !ended {
            let (mut numbers, mut bytes) = (Vec::new(), 0);
            ended = loop {
                if bytes >= self.segment_room || numbers.len() as u64 >= MAX_RECORDS {
                    break false;
                }
                let Some(number) = live.next() else { break true };
                bytes += pending.name(number).len() + pending.attributes(number).len();
                // There are at most `MAX_PENDING` records, so this always fits.
                numbers.extend(u32::try_from(number));
            };
            if numbers.is_empty() && !segments.is_empty() {
                break;
            }
            let listing = Chosen { records: pending.records(), numbers };
            let n_records = listing.numbers.len() as u64;
            let (chunks, kills) = (std::mem::take(&mut chunks), std::mem::take(&mut kills));
            let (n_chunks, extras) = (chunks.len() as u64, shared.extras());
            let tallied = std::mem::take(&mut tallied);
            let plan =
                SegmentPlan { first_ordinal, first_chunk, listing: &listing, chunks, kills, extras, tallied };
            segments.push(self.append.segment(plan)?);
            first_ordinal += n_records;
            first_chunk += n_chunks;
        }
        Ok(segments)
    }
}

/// The first of the newest segments that are to be merged now. A merge would lose what this version does not
/// know of a segment, so such a segment stays as it is.
fn first_to_merge(segments: &[Arc<Segment>], last: bool) -> Option<usize> {
    let known = segments.iter().rposition(|segment| segment.has_more()).map_or(0, |nth| nth + 1);
    let references: Vec<_> = segments[known..].iter().map(|segment| segment.reference).collect();
    tail_to_merge(&references, last).map(|first| first + known)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Writer;
    use crate::storage::{MemoryStorage, Storage};
    use crate::{Depot, Layout, Raw};

    fn writer_of(depot: &Depot<Raw>, change: impl FnOnce(&mut Writer)) {
        change(&mut depot.engine.writer().unwrap());
    }

    #[test]
    fn a_commit_of_more_names_than_fit_a_segment_makes_several() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options = Layout::default().with_chunk_size(4096).with_block_size(1024);
        let depot = Depot::builder(Raw).layout(options).create_in(Arc::clone(&storage)).unwrap();
        writer_of(&depot, |writer| writer.segment_room = 1000);
        let name = |n: u32| format!("{n:03}").repeat(40);
        let mut expected = Vec::new();
        for round in 0..3u32 {
            for n in 0..50 {
                // Every round replaces and removes some records of the rounds before.
                let n = n + 40 * round;
                depot.put_with_metadata(name(n), &(n + round).to_le_bytes(), &n).unwrap();
                expected.retain(|&(old, _)| old != n);
                expected.push((n, n + round));
            }
            assert!(depot.remove(name(round)).unwrap());
            expected.retain(|&(old, _)| old != round);
            depot.commit().unwrap();
            assert!(depot.info().unwrap().index_segments > 4, "{:?}", depot.info());
            let reader = Depot::builder(Raw).open_in(Arc::clone(&storage)).unwrap();
            for depot in [&depot, &reader] {
                assert_eq!(depot.len(), expected.len() as u64);
                for (position, &(n, value)) in expected.iter().enumerate() {
                    assert_eq!(depot.get(name(n)).unwrap().view(), value.to_le_bytes());
                    assert_eq!(depot.key_at(position as u64).unwrap().as_str(), Some(&*name(n)));
                    assert_eq!(depot.metadata::<serde_json::Value>(name(n)).unwrap(), Some(n.into()));
                }
            }
        }
        depot.close().unwrap();
        let reader = Depot::builder(Raw).open_in(storage).unwrap();
        assert_eq!((reader.len(), reader.info().unwrap().index_segments), (expected.len() as u64, 1));
    }
}

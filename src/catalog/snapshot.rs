//! The index as of one commit.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::members::Members;
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::format::growth::Newer;
use crate::format::tables::Commit;
use crate::index::{Location, PageCache, Segment, find_live, kills};
use crate::storage::Ahead;
use crate::sync::OnceMap;

/// The index as of one commit. It never changes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Number of the commit, 0 before the first.
    pub(crate) sequence: u64,
    /// Offset of the COMMIT entry.
    pub(crate) offset: u64,
    /// The segments, oldest first.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The number of live records.
    pub(crate) n_records: u64,
    pub(crate) n_chunks: u64,
    /// Raw bytes of live records.
    pub(crate) raw_bytes: u64,
    /// Offset and length of the entry with the depot's own metadata, or zeros.
    pub(crate) metadata: (u64, u64),
    /// Offset of the commit before a truncation that can be taken back, or 0.
    pub(crate) undo: u64,
    /// Offset and length of the entry that notes what the depot has lost, or zeros.
    pub(crate) losses: (u64, u64),
    /// What a program that writes must know and this version does not, if the commit has anything.
    pub(crate) unknown_to_writers: Option<Newer>,
    /// The depots that this is put together of. Without any, it is of one depot alone.
    pub(crate) members: Members,
    /// Ordinals of dead records, found when first asked for.
    pub(crate) dead: OnceLock<Vec<u64>>,
    /// Ranks of dead records, by segment, found when first asked for. `None` if not all of them are known.
    pub(crate) dead_ranks: OnceLock<Option<Vec<DeadRanks>>>,
    /// Ordinals of records with a checksum that was already compared: see [`crate::Verify::Once`].
    pub(crate) verified: Verified,
}

/// The dead records of one segment, in the order of names.
#[derive(Debug, Default)]
pub(crate) struct DeadRanks {
    ranks: Vec<u64>,
    /// The raw bytes of each and those before it.
    sums: Vec<u64>,
}

impl DeadRanks {
    /// How many have a rank in this range, and their raw bytes.
    pub(crate) fn within(&self, ranks: &Range<u64>) -> (u64, u64) {
        let place = |rank: u64| self.ranks.partition_point(|&dead| dead < rank);
        let (from, to) = (place(ranks.start), place(ranks.end));
        let sum = |n: usize| n.checked_sub(1).and_then(|last| self.sums.get(last)).copied().unwrap_or(0);
        (to.saturating_sub(from) as u64, sum(to).saturating_sub(sum(from)))
    }
}

/// A bit for each ordinal, in pages that are made when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pages: OnceMap<VerifiedPage>,
    /// Held while a page is made. Nobody waits for it, as after a fork the thread that holds it may be gone.
    making: Mutex<()>,
}

/// Words in a page of bits.
const VERIFIED_WORDS: usize = 1024;

type VerifiedPage = Box<[AtomicU64; VERIFIED_WORDS]>;

/// The place of an ordinal: the page, the word in the page, and the bit in the word.
fn verified_place(ordinal: u64) -> (u64, usize, u64) {
    let (word, words) = (ordinal / 64, VERIFIED_WORDS as u64);
    // Always below `VERIFIED_WORDS`.
    let in_page = usize::try_from(word % words).unwrap_or(0);
    (word / words, in_page, 1 << (ordinal % 64))
}

impl Verified {
    /// Whether the bit of `ordinal` is set.
    pub(crate) fn get(&self, ordinal: u64) -> bool {
        let (page, word, bit) = verified_place(ordinal);
        self.pages.get(page).is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Sets the bit of `ordinal`, if it is below `n`. No page is made for any other ordinal.
    ///
    /// The bit stays as it is while another thread makes a page. The record is then checked once more.
    pub(crate) fn set(&self, ordinal: u64, n: u64) {
        if ordinal >= n {
            return;
        }
        let (page, word, bit) = verified_place(ordinal);
        let empty = || Box::new([const { AtomicU64::new(0) }; VERIFIED_WORDS]);
        let make = || {
            let _alone = self.making.try_lock().ok()?;
            self.pages.get_or_init(page, empty)
        };
        if let Some(words) = self.pages.get(page).or_else(make) {
            words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }
}

impl Snapshot {
    /// The snapshot of `commit` with its open `segments`. Its entry is at `offset`.
    pub(crate) fn new(commit: &Commit, offset: u64, segments: Vec<Arc<Segment>>) -> Self {
        Self {
            sequence: commit.sequence,
            offset,
            segments,
            n_records: commit.n_records,
            n_chunks: commit.n_chunks,
            raw_bytes: commit.raw_bytes,
            metadata: commit.metadata,
            undo: commit.undo,
            losses: commit.losses,
            unknown_to_writers: commit.unknown_to_writers.clone(),
            ..Self::default()
        }
    }

    /// Ordinals given out so far, dead ones included.
    pub(crate) fn n_ordinals(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.reference.first_ordinal + s.reference.n_records)
    }

    /// The page cache that the segments share.
    pub(crate) fn pages(&self) -> Arc<PageCache> {
        self.segments.first().and_then(|segment| segment.pages()).unwrap_or_default()
    }

    /// Sorted ordinals of dead records.
    ///
    /// The first call reads all tombstones. After a full merge there are none.
    pub(crate) fn tombstones(&self) -> Result<&[u64]> {
        if let Some(dead) = self.dead.get() {
            return Ok(dead);
        }
        let mut dead = Vec::new();
        for segment in &self.segments {
            dead.extend(segment.tombstones()?);
        }
        dead.extend(&self.members.superseded);
        dead.sort_unstable();
        let twice = dead.windows(2).any(|pair| pair[0] == pair[1]);
        if let Some(&last) = dead.last()
            && (twice || last >= self.n_ordinals())
            && let Some(segment) = self.segments.last()
        {
            let expected = format!("records under {}, each dead once", self.n_ordinals());
            return Err(segment.damaged_at_start(expected, format!("{} dead up to {last}", dead.len())));
        }
        Ok(self.dead.get_or_init(|| dead))
    }

    /// The dead records of each segment in the order of names, if all of their ranks are known.
    pub(crate) fn dead_ranks(&self) -> Result<Option<&[DeadRanks]>> {
        if let Some(known) = self.dead_ranks.get() {
            return Ok(known.as_deref());
        }
        let mut of_segments: Vec<Vec<(u32, u64)>> = vec![Vec::new(); self.segments.len()];
        let mut all_known = true;
        let mut dead =
            self.segments.iter().map(|segment| segment.kills()).collect::<Result<Vec<_>>>()?.concat();
        dead.extend(kills(&self.segments, &self.members.superseded));
        for kill in dead {
            let number = self.segment_number(kill.ordinal);
            match (kill.ranked, of_segments.get_mut(number)) {
                (Some(ranked), Some(of_segment)) => of_segment.push(ranked),
                _ => all_known = false,
            }
        }
        let sorted = of_segments.into_iter().map(|mut ranked| {
            ranked.sort_unstable();
            let mut sum = 0_u64;
            let sums = ranked.iter().map(|&(_, length)| {
                sum = sum.saturating_add(length);
                sum
            });
            DeadRanks {
                sums: sums.collect(),
                ranks: ranked.iter().map(|&(rank, _)| u64::from(rank)).collect(),
            }
        });
        let known = all_known.then(|| sorted.collect());
        Ok(self.dead_ranks.get_or_init(|| known).as_deref())
    }

    fn segment_number(&self, ordinal: u64) -> usize {
        self.segments.partition_point(|s| s.reference.first_ordinal + s.reference.n_records <= ordinal)
    }

    /// The segment that has `ordinal`, and the ordinal inside it.
    pub(crate) fn segment_of(&self, ordinal: u64) -> Option<(&Arc<Segment>, u64)> {
        let segment = self.segments.get(self.segment_number(ordinal))?;
        Some((segment, ordinal - segment.reference.first_ordinal))
    }

    /// Reads ahead the reference to a committed chunk. Returns it if it is in memory.
    pub(crate) fn expect_chunk(&self, ahead: &mut Ahead<'_>, chunk: u64) -> Option<ChunkRef> {
        self.segment_of_chunk(chunk)?.expect_chunk(ahead, chunk)
    }

    fn segment_of_chunk(&self, chunk: u64) -> Option<&Arc<Segment>> {
        let segments = if self.members.is_set() {
            self.segments.get(self.members.of_chunk(chunk)?.segments.clone())?
        } else {
            &self.segments
        };
        let before = |s: &Arc<Segment>| s.reference.first_chunk + s.reference.n_chunks <= chunk;
        segments.get(segments.partition_point(before))
    }

    /// The live record called `name`: its ordinal and its place. `hash` is the hash of the name.
    ///
    /// See [`State::find_guessing`](super::State::find_guessing) for `guess`.
    pub(crate) fn find(
        &self,
        hash: u64,
        name: &[u8],
        guess: &mut dyn FnMut(&Location),
    ) -> Result<Option<(u64, Location)>> {
        if !self.members.is_set() {
            return find_live(&self.segments, hash, name, self.segments.len() > 1, guess);
        }
        for member in self.members.list.iter().rev() {
            let segments = self.segments.get(member.segments.clone()).unwrap_or_default();
            if let Some(found) = find_live(segments, hash, name, true, guess)? {
                // What supersedes it is in another member, or in one that is missing.
                return Ok((!self.members.is_superseded_by_missing(found.0)).then_some(found));
            }
        }
        Ok(None)
    }

    /// The reference to a committed chunk.
    pub(crate) fn chunk(&self, chunk: u64) -> Result<Option<ChunkRef>> {
        self.segment_of_chunk(chunk).map(|segment| segment.chunk(chunk)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_bits_are_those_that_were_set() {
        let verified = Verified::default();
        assert!(!verified.get(0) && !verified.get(1 << 40));
        for ordinal in (0..200_000).step_by(3) {
            verified.set(ordinal, 200_000);
        }
        assert!((0..200_000).all(|ordinal| verified.get(ordinal) == ordinal.is_multiple_of(3)));
        verified.set(1 << 40, 200_000);
        assert!(!verified.get(1 << 40), "an ordinal that is none is never verified");
    }

    #[test]
    fn nobody_waits_for_a_page_that_another_makes() {
        let verified = Verified::default();
        verified.set(1, 1 << 20);
        let making = verified.making.lock().unwrap();
        verified.set(2, 1 << 20);
        verified.set(1 << 19, 1 << 20);
        assert!(verified.get(2), "the page is there");
        assert!(!verified.get(1 << 19), "the record will be checked once more");
        drop(making);
        verified.set(1 << 19, 1 << 20);
        assert!(verified.get(1 << 19));
    }
}

//! Reads many records together, sorted by place, so that every block is read and decoded once.
//!
//! ```text
//! wanted    names and locations in the order of the request
//! order     their numbers by address, cut into parts for threads, groups by chunk, runs of touching blocks
//! run       blocks decoded together; records share it, or are copied out if most of it is not theirs.
//!           Each is checked as soon as its last block is decoded, while it is in the processor's cache
//! ```
//!
//! Threads live as long as the call that asked for them. No read looks at a name: a caller that has the
//! name adds it to the error.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::read::in_record;
use super::wanted::Wanted;
use super::{Engine, Known, Seen};
use crate::blosc::CompressionCodec;
use crate::buffer::{ALIGNMENT, AlignedBuf, Bytes, prefetch};
use crate::chunk::ChunkAt;
use crate::error::{Error, Result};
use crate::format::chunk::ChunkRef;
use crate::index::Location;
use crate::storage::{NONE, Windows};

/// A run grows to this many blocks or raw bytes, whichever is more, if so many blocks touch each other.
///
/// Runs are limited because records keep alive the run that they share.
const RUN_BLOCKS: usize = 16;
const RUN_BYTES: usize = 256 << 10;

/// About how many raw bytes are read in one call, if the storage does not lend them.
const READ_BYTES: u64 = 64 << 20;
/// The bytes of a block, where they are not known.
const BLOCK_BYTES: u64 = 16 << 10;

/// Bytes of a buffer that records copied out of runs share.
const ARENA_BYTES: usize = 1 << 20;

/// Raw bytes to decode that are worth another thread: to start one costs about a third of their time.
const THREAD_BYTES: u64 = 256 << 10;

/// Parts that the work of a thread is cut into.
const PARTS_A_THREAD: u64 = 4;

/// Records of a map that are prefetched before their turn.
const RECORDS_AHEAD: usize = 3;

/// A record's checked bytes, or the error of reading it. [`crate::Error`] is boxed, which keeps slots small.
pub(crate) type Slot = Result<Bytes>;

/// Takes records that were read, by their numbers in the request.
///
/// These are methods and not one that takes an enum, because a small record costs little more than the call.
trait Sink {
    /// Takes checked bytes that can be kept. `bytes` may hold other records too.
    fn shared(&mut self, number: usize, bytes: &Bytes, range: Range<usize>);
    /// Takes checked bytes in a buffer that is used again.
    fn passing(&mut self, number: usize, bytes: &[u8]);
    fn failed(&mut self, number: usize, error: Error);
}

/// Like [`Sink`], but all bytes can be kept.
trait Keep {
    fn keep(&mut self, number: usize, bytes: &Bytes, range: Range<usize>);
    fn fail(&mut self, number: usize, error: Error);
}

/// Keeps each record by itself.
struct Each<'p>(&'p mut dyn FnMut(usize, Slot));

impl Keep for Each<'_> {
    fn keep(&mut self, number: usize, bytes: &Bytes, range: Range<usize>) {
        (self.0)(number, Ok(bytes.slice(range)));
    }

    fn fail(&mut self, number: usize, error: Error) {
        (self.0)(number, Err(error));
    }
}

/// Lends each record for the moment.
struct Visit<'v> {
    wanted: &'v [(&'v [u8], Location)],
    job: &'v mut dyn FnMut(usize, Result<&[u8]>),
}

impl Sink for Visit<'_> {
    fn shared(&mut self, number: usize, bytes: &Bytes, range: Range<usize>) {
        (self.job)(number, Ok(bytes.get(range).unwrap_or_default()));
    }

    fn passing(&mut self, number: usize, bytes: &[u8]) {
        (self.job)(number, Ok(bytes));
    }

    fn failed(&mut self, number: usize, error: Error) {
        (self.job)(number, Err(in_record(self.wanted[number].0, error)));
    }
}

/// Copies bytes that pass, so that all can be kept.
struct Collect<'c, N, K> {
    wanted: &'c [(N, Location)],
    align: usize,
    arena: Arena,
    /// Bytes of these records may have to be copied.
    left: &'c [usize],
    out: &'c mut K,
}

impl<N, K: Keep> Sink for Collect<'_, N, K> {
    #[inline]
    fn shared(&mut self, number: usize, bytes: &Bytes, range: Range<usize>) {
        self.out.keep(number, bytes, range);
    }

    fn passing(&mut self, number: usize, bytes: &[u8]) {
        if !self.arena.has_room(bytes.len(), self.align) {
            self.arena.hand_out(self.out);
            let seen = self.left.iter().position(|&other| other == number).unwrap_or(0);
            self.left = &self.left[seen..];
            let mut room = self.left.iter().map(|&number| self.wanted[number].1.in_memory() + 63);
            let room = room.try_fold(0, |sum, len| (sum < ARENA_BYTES).then_some(sum + len));
            self.arena = Arena::new(room.unwrap_or(ARENA_BYTES).min(ARENA_BYTES).max(bytes.len()));
        }
        self.arena.push(number, bytes, self.align);
    }

    fn failed(&mut self, number: usize, error: Error) {
        self.out.fail(number, error);
    }
}

/// The checked bytes of a batch of records, in buffers that they share.
#[derive(Default)]
pub(crate) struct Held {
    buffers: Vec<Bytes>,
    slots: Vec<HeldSlot>,
    /// Errors, by the numbers of their records.
    failed: Vec<(usize, Error)>,
}

impl Keep for Held {
    #[inline]
    fn keep(&mut self, number: usize, bytes: &Bytes, range: Range<usize>) {
        let slot = self.slot(bytes, range);
        if let Some(place) = self.slots.get_mut(number) {
            *place = slot;
        }
    }

    fn fail(&mut self, number: usize, error: Error) {
        self.failed.push((number, error));
    }
}

/// A range of one of the buffers.
#[derive(Clone, Copy)]
struct HeldSlot {
    buffer: u32,
    start: u32,
    len: u32,
}

impl HeldSlot {
    /// That of a record that was not read. There are not so many buffers.
    const UNREAD: Self = Self { buffer: u32::MAX, start: 0, len: 0 };
}

impl Held {
    /// Forgets what it holds, and makes room for `n` records.
    fn reset(&mut self, n: usize) {
        self.buffers.clear();
        self.failed.clear();
        self.slots.clear();
        self.slots.resize(n, HeldSlot::UNREAD);
    }

    #[inline]
    fn slot(&mut self, bytes: &Bytes, range: Range<usize>) -> HeldSlot {
        if !self.buffers.last().is_some_and(|last| last.is_same(bytes)) {
            self.buffers.push(bytes.clone());
        }
        let buffer = u32::try_from(self.buffers.len() - 1);
        match (buffer, u32::try_from(range.start), u32::try_from(range.len())) {
            (Ok(buffer), Ok(start), Ok(len)) => HeldSlot { buffer, start, len },
            // Chunks, and records that are read at once, have less than 4 GiB.
            _ => HeldSlot::UNREAD,
        }
    }

    /// Takes in the bytes of a record that was read alone.
    pub(crate) fn insert(&mut self, number: usize, bytes: &Bytes) {
        self.keep(number, bytes, 0..bytes.len());
    }

    /// The bytes of a record that was read, which share a buffer, or the error, which is given once.
    ///
    /// `None` if the record was not read.
    pub(crate) fn bytes(&mut self, number: usize) -> Option<Result<Bytes>> {
        if let Some((buffer, range)) = self.part_of(number) {
            return Some(Ok(buffer.slice(range)));
        }
        let nth = self.failed.iter().position(|(failed, _)| *failed == number)?;
        Some(Err(self.failed.swap_remove(nth).1))
    }

    /// The bytes of a record, if it was read without an error.
    #[inline]
    pub(crate) fn lend(&self, number: usize) -> Option<&[u8]> {
        let (buffer, range) = self.part_of(number)?;
        buffer.get(range)
    }

    /// A buffer, and the range of it that a record is.
    #[inline]
    fn part_of(&self, number: usize) -> Option<(&Bytes, Range<usize>)> {
        let HeldSlot { buffer, start, len } = *self.slots.get(number)?;
        let start = start as usize;
        Some((self.buffers.get(buffer as usize)?, start..start.saturating_add(len as usize)))
    }
}

/// Blocks decoded together: their chunk, their range in it, and their raw bytes.
pub(crate) struct Run {
    chunk: u64,
    range: Range<usize>,
    raw: Arc<AlignedBuf>,
}

/// Records of one chunk, in order, and the address of the chunk's first byte.
#[derive(Clone, Copy)]
struct Group<'o> {
    chunk: u64,
    base: u64,
    numbers: &'o [usize],
}

/// A walk over wanted records in the order of their addresses.
struct BatchReader<'w, N> {
    engine: &'w Engine,
    wanted: &'w [(N, Location)],
    seen: &'w Seen,
    /// Whether bytes out of decoded blocks are only lent for the moment, and never kept.
    passing: bool,
    /// Stored blocks that were read ahead.
    ahead: Windows,
}

/// The checked bytes of the `wanted` records, in the same order.
///
/// `wanted` has tagged names and locations, and `known` is of them, in the same order. At most `threads`
/// threads decode.
///
/// # Errors
/// The first error in that order. It names the record.
pub(crate) fn read(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
    known: &Known,
    threads: usize,
) -> Result<Vec<Bytes>> {
    let slots = read_each_with(engine, wanted, known, threads).zip(wanted);
    slots.map(|(slot, (name, _))| slot.map_err(|error| in_record(name, error))).collect()
}

/// Like [`read`], but on this thread alone, and with a result for each record. Errors do not name the record.
///
/// Every record is checked.
pub(crate) fn read_each<N: Sync>(
    engine: &Engine,
    wanted: &[(N, Location)],
) -> impl Iterator<Item = Result<Bytes>> + use<N> {
    read_each_with(engine, wanted, &Known::default(), 1)
}

/// Like [`read_each`], but into `out`, for reading one batch after the other.
///
/// `last` keeps the last run. If the next batch starts in the same blocks, they are not decoded again.
pub(crate) fn read_on(engine: &Engine, wanted: &Wanted, last: &mut Option<Run>, out: &mut Held) {
    out.reset(wanted.len());
    let Wanted { places, seen, .. } = wanted;
    for order in reads(engine, places, &order(places)) {
        let walk = BatchReader::new(engine, (places, seen), (order, &NONE), false);
        walk.collect(order, last, out);
    }
}

/// Like [`read`], but with a result for each record. Errors do not name the record.
pub(crate) fn read_each_with<N: Sync>(
    engine: &Engine,
    wanted: &[(N, Location)],
    known: &Known,
    threads: usize,
) -> impl Iterator<Item = Slot> + use<N> {
    let mut out: Vec<Option<Slot>> = (0..wanted.len()).map(|_| None).collect();
    for order in reads(engine, wanted, &order(wanted)) {
        let walk = BatchReader::new(engine, (wanted, &known.seen), (order, &known.ahead), false);
        read_parts(&walk, order, threads, &mut |number, bytes| out[number] = Some(bytes));
    }
    // Every number is in exactly one part, so no slot is empty.
    out.into_iter().flatten()
}

/// Gives `take` the records in `order`, by their numbers. At most `threads` threads decode.
fn read_parts<N: Sync>(
    walk: &BatchReader<'_, N>,
    order: &[usize],
    threads: usize,
    take: &mut dyn FnMut(usize, Slot),
) {
    let compressed = walk.engine.shared.parameters.compression.codec != CompressionCodec::None;
    let parts = parts(walk.wanted, order, threads, compressed);
    let next = AtomicUsize::new(0);
    // A thread that is free takes the next part. A late or slow thread leaves more to the others.
    let work = |put: &mut dyn FnMut(usize, Slot)| {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            walk.collect(part, &mut None, &mut Each(put));
        }
    };
    thread::scope(|scope| {
        let help = || {
            let mut out = Vec::new();
            work(&mut |number, bytes| out.push((number, bytes)));
            out
        };
        let helpers = threads.min(parts.len()).saturating_sub(1);
        // If the system refuses a thread, fewer threads do the work.
        let helpers: Vec<_> =
            (0..helpers).map_while(|_| thread::Builder::new().spawn_scoped(scope, help).ok()).collect();
        work(take);
        for helper in helpers {
            match helper.join() {
                Ok(read) => read.into_iter().for_each(|(number, bytes)| take(number, bytes)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
}

/// Gives `job` the number of each `wanted` record, and its checked bytes or an error that names it.
///
/// Records come in the order in which they are stored. The bytes lie in buffers that are used again, so
/// nothing is allocated per record.
pub(crate) fn visit(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
    known: &Known,
    job: &mut dyn FnMut(usize, Result<&[u8]>),
) {
    let mut last = None;
    for order in reads(engine, wanted, &order(wanted)) {
        let walk = BatchReader::new(engine, (wanted, &known.seen), (order, &known.ahead), true);
        walk.run(order, &mut last, &mut Visit { wanted, job });
    }
}

/// Numbers of the records, sorted by address.
fn order<N>(wanted: &[(N, Location)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    if !wanted.is_sorted_by_key(|(_, location)| location.address) {
        // Sorted by number too, so that records at the same address keep their order.
        order.sort_unstable_by_key(|&number| (wanted[number].1.address, number));
    }
    order
}

/// Cuts `order` into stretches whose stored blocks are read in one call.
///
/// It is one stretch if the storage lends its bytes.
fn reads<'o, N>(engine: &Engine, wanted: &[(N, Location)], order: &'o [usize]) -> Vec<&'o [usize]> {
    if !engine.shared.reads_ahead() {
        return vec![order];
    }
    let (mut stretches, mut start, mut sum, mut done) = (Vec::new(), 0, 0, 0);
    for (nth, &number) in order.iter().enumerate() {
        // About what is decoded: blocks that hold two records count once.
        let location = &wanted[number].1;
        let first = location.address / BLOCK_BYTES * BLOCK_BYTES;
        let end = location.end().saturating_add(BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
        sum += end.saturating_sub(first.max(done));
        done = done.max(end);
        if sum > READ_BYTES && nth > start {
            stretches.push(&order[start..nth]);
            (start, sum) = (nth, end - first);
        }
    }
    stretches.push(&order[start..]);
    stretches
}

/// Cuts `order` into parts of about the same cost, which threads take one by one.
///
/// It is one part if there is not enough work for more threads.
fn parts<'o, N>(
    wanted: &[(N, Location)],
    order: &'o [usize],
    threads: usize,
    compressed: bool,
) -> Vec<&'o [usize]> {
    // A small record costs a block, of a size that is not known here. If nothing is decoded, the cost is that
    // of the checksums.
    let (least, a_thread) = if compressed { (8 << 10, THREAD_BYTES) } else { (0, 64 * THREAD_BYTES) };
    let cost = |&number: &usize| wanted[number].1.length.max(least);
    let total: u64 = order.iter().map(cost).sum();
    let busy = u64::try_from(threads).unwrap_or(u64::MAX).min(total / a_thread);
    if busy < 2 {
        return vec![order];
    }
    let limit = (total / (busy * PARTS_A_THREAD)).max(1);
    let mut parts = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (nth, number) in order.iter().enumerate() {
        sum += cost(number);
        if sum >= limit || nth + 1 == order.len() {
            parts.push(&order[start..=nth]);
            (start, sum) = (nth + 1, 0);
        }
    }
    parts
}

impl<'w, N> BatchReader<'w, N> {
    /// A walk over the records in `order`. Their stored blocks are read now, beyond what was read `before`,
    /// if the storage does not lend them.
    fn new(
        engine: &'w Engine,
        (wanted, seen): (&'w [(N, Location)], &'w Seen),
        (order, before): (&[usize], &Windows),
        passing: bool,
    ) -> Self {
        let ahead = engine.expect_locations(order.iter().map(|&number| &wanted[number].1), before);
        Self { engine, wanted, seen, passing, ahead }
    }

    /// Where a record lies in the chunk that starts at address `base`. It may end after the chunk.
    fn range(&self, number: usize, base: u64) -> Range<usize> {
        let location = &self.wanted[number].1;
        // Chunks have less than 2 GiB.
        let start = usize::try_from(location.address - base).unwrap_or(usize::MAX);
        start..start.saturating_add(location.in_memory())
    }

    /// Compares a record's bytes with its checksum.
    fn check(&self, number: usize, bytes: &[u8]) -> Result<()> {
        self.engine.check(&self.wanted[number].1, bytes)
    }

    /// Gives `out` the records in `order`.
    fn collect(&self, order: &[usize], last: &mut Option<Run>, out: &mut impl Keep) {
        let align = self.engine.shared.parameters.align.clamp(1, 64);
        let mut sink = Collect { wanted: self.wanted, align, arena: Arena::default(), left: order, out };
        self.run(order, last, &mut sink);
        sink.arena.hand_out(sink.out);
    }

    /// Gives the records in `order` to `sink`, in that order within runs.
    ///
    /// `last` is the run of the batch before, and afterwards the last run of this one.
    fn run(&self, order: &[usize], last: &mut Option<Run>, sink: &mut impl Sink) {
        let chunk_size = self.engine.shared.parameters.chunk_size as u64;
        let mut rest = order;
        while let Some(&first) = rest.first() {
            let chunk = self.engine.chunk_of(self.wanted[first].1.address).0;
            let base = chunk * chunk_size;
            let end = base.saturating_add(chunk_size);
            let n = rest.iter().take_while(|&&number| self.wanted[number].1.address < end).count();
            let (numbers, behind) = rest.split_at(n);
            self.group(Group { chunk, base, numbers }, last, sink);
            rest = behind;
        }
    }

    /// Reads a record alone, and gives it to `sink`.
    fn single(&self, number: usize, sink: &mut impl Sink) {
        let read = self.engine.read_seen(&self.wanted[number].1, &self.ahead, (self.seen, number));
        match read {
            Ok(bytes) => sink.shared(number, &bytes, 0..bytes.len()),
            Err(error) => sink.failed(number, error),
        }
    }

    /// Checks a record that lies at `range` of shared bytes, and gives it to `sink`.
    fn share(&self, number: usize, range: Range<usize>, bytes: &Bytes, sink: &mut impl Sink) {
        match self.check(number, bytes.get(range.clone()).unwrap_or_default()) {
            Ok(()) => sink.shared(number, bytes, range),
            Err(error) => sink.failed(number, error),
        }
    }

    /// Like [`share`](Self::share), of bytes that the storage lends.
    fn share_lent(&self, number: usize, range: Range<usize>, bytes: &Bytes, sink: &mut impl Sink) {
        let record = bytes.get(range.clone()).unwrap_or_default();
        match self.engine.check_lent(&self.wanted[number].1, record, (self.seen, number)) {
            Ok(()) => sink.shared(number, bytes, range),
            Err(error) => sink.failed(number, error),
        }
    }

    /// Where a record lies in its chunk, which starts at `base`; `None` if it is empty or ends after the
    /// chunk.
    fn inside(&self, number: usize, base: u64) -> Option<Range<usize>> {
        let range = self.range(number, base);
        (!range.is_empty() && range.end <= self.engine.shared.parameters.chunk_size).then_some(range)
    }

    /// Reads the records of one chunk.
    fn group(&self, group: Group<'_>, last: &mut Option<Run>, sink: &mut impl Sink) {
        let Group { chunk, base, numbers } = group;
        let engine = self.engine;
        let Ok(ChunkAt::Stored(at)) = engine.source(chunk) else {
            return numbers.iter().for_each(|&number| self.single(number, sink));
        };
        if at.is(ChunkRef::FOREIGN) {
            let (reader, chunk) = engine.reader(chunk);
            let whole = reader.foreign(chunk, &at, &self.ahead).ok();
            return self.share_whole(group, whole.as_ref(), sink);
        }
        if at.is(ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED) {
            return self.share_stored(group, &at, sink);
        }
        let (reader, in_file) = engine.reader(chunk);
        if let Some(whole) = reader.cached(in_file, &at, &self.ahead, || self.touched(group, &at)) {
            return self.share_whole(group, Some(&whole), sink);
        }
        let mut rest = numbers;
        while let Some((&number, others)) = rest.split_first() {
            if self.inside(number, base).is_none() {
                self.single(number, sink);
                rest = others;
                continue;
            }
            let (range, n) = self.extent(Group { numbers: rest, ..group }, &at);
            let (numbers, behind) = rest.split_at(n);
            *last = self.decode(Group { numbers, ..group }, &at, range, last.take(), sink);
            rest = behind;
        }
    }

    /// Shares the records of a chunk out of `whole`, its raw bytes. Reads alone those that are not in it.
    fn share_whole(&self, group: Group<'_>, whole: Option<&Bytes>, sink: &mut impl Sink) {
        for &number in group.numbers {
            let range = self.inside(number, group.base);
            match whole.zip(range).filter(|(whole, range)| range.end <= whole.len()) {
                Some((whole, range)) => self.share(number, range, whole, sink),
                None => self.single(number, sink),
            }
        }
    }

    /// Shares the records of a chunk that is not compressed, if the storage lends its bytes. Otherwise reads
    /// each alone.
    fn share_stored(&self, group: Group<'_>, at: &ChunkRef, sink: &mut impl Sink) {
        let Group { chunk, base, numbers } = group;
        let (reader, _) = self.engine.reader(chunk);
        let inside = numbers.iter().filter_map(|&number| self.inside(number, base));
        let whole = inside.reduce(|whole, range| whole.start.min(range.start)..whole.end.max(range.end));
        let lent = whole.and_then(|whole| Some((whole.start, reader.lend(at, whole)?)));
        let Some((start, lent)) = lent else {
            return numbers.iter().for_each(|&number| self.single(number, sink));
        };
        let place =
            |&number: &usize| self.inside(number, base).map(|range| range.start - start..range.end - start);
        // Some records ahead are prefetched while the checksums of those before are computed.
        let mut ahead = numbers.iter().map(|number| {
            prefetch(place(number).and_then(|range| lent.get(range)).unwrap_or_default());
        });
        ahead.by_ref().take(RECORDS_AHEAD).for_each(drop);
        for number in numbers {
            ahead.next();
            match place(number) {
                Some(range) => self.share_lent(*number, range, &lent, sink),
                None => self.single(*number, sink),
            }
        }
    }

    /// About how many raw bytes the blocks have that the records of `group` touch.
    fn touched(&self, group: Group<'_>, at: &ChunkRef) -> usize {
        let block = block_of(at);
        let mut done = 0;
        let mut touched = 0;
        for &number in group.numbers {
            let range = self.range(number, group.base);
            let (first, end) = (range.start / block * block, range.end.next_multiple_of(block));
            touched += end.saturating_sub(first.max(done));
            done = done.max(end);
        }
        touched
    }

    /// The run that starts with the blocks of the group's first record, and how many records are in it.
    ///
    /// It grows over the records that follow, as long as there is no block in between and the limit is kept.
    fn extent(&self, group: Group<'_>, at: &ChunkRef) -> (Range<usize>, usize) {
        let chunk_size = self.engine.shared.parameters.chunk_size;
        let block = block_of(at);
        // Between records there may be padding.
        let slack = if at.is_apart() { ALIGNMENT } else { 0 };
        let limit = RUN_BYTES.max(RUN_BLOCKS * block);
        let mut run = 0..0;
        let mut n = 0;
        for &number in group.numbers {
            let Some(record) = self.inside(number, group.base) else { break };
            if n == 0 {
                run.start = record.start / block * block;
            } else if record.start > run.end + slack {
                break;
            }
            if record.end > run.end {
                let end = record.end.next_multiple_of(block).min(chunk_size);
                if n > 0 && end - run.start > limit {
                    break;
                }
                run.end = end;
            }
            n += 1;
        }
        (run, n)
    }

    /// Decodes the blocks of `range`, and gives the records of `group`, which lie in them, to `sink`.
    ///
    /// Each record is checked as soon as its last block is decoded.
    fn decode(
        &self,
        group: Group<'_>,
        at: &ChunkRef,
        range: Range<usize>,
        before: Option<Run>,
        sink: &mut impl Sink,
    ) -> Option<Run> {
        let Group { chunk, base, numbers } = group;
        let covers =
            |run: &&Run| run.chunk == chunk && run.range.start <= range.start && run.range.end >= range.end;
        let range = before.as_ref().filter(covers).map_or(range, |run| run.range.clone());
        let wanted: usize = numbers.iter().map(|&number| self.wanted[number].1.in_memory()).sum();
        let shared = !self.passing && 2 * wanted >= range.len();
        let place = |number: usize| {
            let record = self.range(number, base);
            record.start - range.start..record.end - range.start
        };
        // The results of the checks, if the records are given out only when all blocks are decoded.
        let mut checked = Vec::with_capacity(if shared { numbers.len() } else { 0 });
        let mut done = 0;
        let run = self.load(chunk, at, range.clone(), before, &mut |raw| {
            while let Some(&number) = numbers.get(done)
                && let Some(bytes) = raw.get(place(number))
            {
                let good = self.check(number, bytes);
                if shared {
                    checked.push(good);
                } else {
                    match good {
                        Ok(()) => sink.passing(number, bytes),
                        Err(error) => sink.failed(number, error),
                    }
                }
                done += 1;
            }
        });
        let Ok(run) = run else {
            // A damaged block must cost only the records in it, so each record is read alone.
            let left = if shared { numbers } else { &numbers[done..] };
            for &number in left {
                self.single(number, sink);
            }
            return None;
        };
        let bytes = Bytes::from_heap(Arc::clone(&run.raw), 0..run.raw.len());
        for (&number, good) in numbers.iter().zip(checked) {
            match good {
                Ok(()) => sink.shared(number, &bytes, place(number)),
                Err(error) => sink.failed(number, error),
            }
        }
        Some(run)
    }

    /// Decodes whole blocks. Blocks at the start that the run before has too are copied from it.
    ///
    /// After each piece, `seen` gets all bytes decoded so far.
    fn load(
        &self,
        chunk: u64,
        at: &ChunkRef,
        range: Range<usize>,
        before: Option<Run>,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<Run> {
        if let Some(before) = before.as_ref().filter(|run| run.chunk == chunk && run.range == range) {
            seen(&before.raw);
            return Ok(Run { chunk, range, raw: Arc::clone(&before.raw) });
        }
        let mut raw = AlignedBuf::any(range.len());
        let mut done = 0;
        if let Some(before) = before
            && before.chunk == chunk
            && before.range.contains(&range.start)
        {
            let from = range.start - before.range.start;
            done = (before.range.end.min(range.end)) - range.start;
            raw[..done].copy_from_slice(&before.raw[from..from + done]);
        }
        let (reader, in_file) = self.engine.reader(chunk);
        reader.decode_behind(in_file, at, &self.ahead, (range.start, done), &mut raw, seen)?;
        Ok(Run { chunk, range, raw: Arc::new(raw) })
    }
}

/// Raw bytes of the smallest part of a chunk that is decoded: a block, or if fields are apart, any part,
/// because then blocks start and end with records.
fn block_of(at: &ChunkRef) -> usize {
    if at.is_apart() { 1 } else { (at.block_size as usize).max(1) }
}

/// A buffer that records are copied to, one after the other.
#[derive(Default)]
struct Arena {
    buf: Option<AlignedBuf>,
    used: usize,
    records: Vec<(usize, Range<usize>)>,
}

impl Arena {
    fn new(capacity: usize) -> Self {
        Self { buf: Some(AlignedBuf::any(capacity)), used: 0, records: Vec::new() }
    }

    fn has_room(&self, len: usize, align: usize) -> bool {
        let start = self.used.next_multiple_of(align);
        self.buf.as_ref().is_some_and(|buf| start + len <= buf.len())
    }

    fn push(&mut self, number: usize, bytes: &[u8], align: usize) {
        let start = self.used.next_multiple_of(align);
        let range = start..start + bytes.len();
        if let Some(to) = self.buf.as_mut().and_then(|buf| buf.get_mut(range.clone())) {
            to.copy_from_slice(bytes);
            self.used = range.end;
            self.records.push((number, range));
        }
    }

    /// Gives out the records in the buffer, which share it.
    fn hand_out(&mut self, out: &mut impl Keep) {
        let Some(buf) = self.buf.take() else { return };
        let len = buf.len();
        let bytes = Bytes::from_heap(Arc::new(buf), 0..len);
        for (number, range) in std::mem::take(&mut self.records) {
            out.keep(number, &bytes, range);
        }
    }
}

//! Many records at once: sorted by place, so that every block is read and decoded once.
//!
//! ```text
//! wanted    names and locations in the order of the request
//! order     their numbers by address, cut into parts for threads, groups by chunk, runs of touching blocks
//! run       blocks decoded in one go; records are lent from it, or copied out of it when most of it is not theirs
//! ```
//!
//! Threads live as long as the call that asked for them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::engine::Engine;
use super::state::Source;
use crate::buffer::{AlignedBuf, Bytes, prefetch};
use crate::error::Result;
use crate::format::chunk::ChunkRef;
use crate::index::Location;

/// Blocks, and raw bytes, that are decoded in one go at least, where so many touch each other: more would leave the
/// cache before the records are checked, and records keep alive the run they share.
const RUN_BLOCKS: usize = 16;
const RUN_BYTES: usize = 256 << 10;

/// Records copied out of runs share buffers of this size.
const ARENA_BYTES: usize = 1 << 20;

/// Raw bytes to decode that are worth a further thread: starting one costs about as much as decoding a tenth of that.
const THREAD_BYTES: u64 = 1 << 20;

/// Pieces that the work of a thread is cut into.
const PARTS_A_THREAD: u64 = 4;

/// A record's checked bytes.
enum Lent<'r> {
    /// They can be kept.
    Shared(Bytes),
    /// They lie in a buffer that is used again.
    Passing(&'r [u8]),
}

/// Takes each record's bytes, or why there are none, with its number in the request.
type Sink<'s> = dyn FnMut(usize, Result<Lent<'_>>) + 's;

/// Blocks decoded together, and where they lie in the chunk.
struct Run {
    range: Range<usize>,
    raw: Arc<AlignedBuf>,
}

/// A walk over wanted records in the order of their addresses.
struct Walk<'w> {
    engine: &'w Engine,
    wanted: &'w [(&'w [u8], Location)],
    /// Lend nothing that can be kept from decoded blocks.
    passing: bool,
}

/// Bytes of the `wanted` records (tagged name and location), checked, in their order. At most `threads` decode.
///
/// The error is the first one in that order.
pub(crate) fn read(engine: &Engine, wanted: &[(&[u8], Location)], threads: usize) -> Result<Vec<Bytes>> {
    read_each_with(engine, wanted, threads).collect()
}

/// As [`read`] on this thread, each record with its own error.
#[allow(dead_code, reason = "for who reads on threads of their own")]
pub(crate) fn read_each(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
) -> impl Iterator<Item = Result<Bytes>> + use<> {
    read_each_with(engine, wanted, 1)
}

/// As [`read`], each record with its own error.
pub(crate) fn read_each_with(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
    threads: usize,
) -> impl Iterator<Item = Result<Bytes>> + use<> {
    let order = order(wanted);
    let walk = Walk { engine, wanted, passing: false };
    let mut out: Vec<Option<Result<Bytes>>> = (0..wanted.len()).map(|_| None).collect();
    let mut take = |number: usize, bytes| out[number] = Some(bytes);
    let parts = parts(wanted, &order, threads);
    let next = AtomicUsize::new(0);
    // Whoever is free takes the next part: a thread that comes late, or is slow, leaves more to the others.
    let work = |put: &mut dyn FnMut(usize, Result<Bytes>)| {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            walk.collect(part, put);
        }
    };
    thread::scope(|scope| {
        let help = || {
            let mut out = Vec::new();
            work(&mut |number, bytes| out.push((number, bytes)));
            out
        };
        let helpers = threads.min(parts.len()).saturating_sub(1);
        // Where the system has no thread to give, fewer do it.
        let helpers: Vec<_> =
            (0..helpers).map_while(|_| thread::Builder::new().spawn_scoped(scope, help).ok()).collect();
        work(&mut take);
        for helper in helpers {
            match helper.join() {
                Ok(read) => read.into_iter().for_each(|(number, bytes)| take(number, bytes)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    // Every number is in one part.
    out.into_iter().flatten()
}

/// Gives each of the `wanted` records' checked bytes to `job`, with its number, in the order in which they are stored.
/// The bytes lie in buffers that are used again; nothing is allocated for a record.
pub(crate) fn visit(
    engine: &Engine,
    wanted: &[(&[u8], Location)],
    job: &mut dyn FnMut(usize, Result<&[u8]>),
) {
    let walk = Walk { engine, wanted, passing: true };
    walk.run(&order(wanted), &mut |number, lent| match lent {
        Ok(Lent::Passing(bytes)) => job(number, Ok(bytes)),
        Ok(Lent::Shared(bytes)) => job(number, Ok(&bytes)),
        Err(error) => job(number, Err(error)),
    });
}

/// Numbers of records by address.
fn order(wanted: &[(&[u8], Location)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    // The number too: no record moves before an equal one.
    order.sort_unstable_by_key(|&number| (wanted[number].1.address, number));
    order
}

/// Cuts `order` into pieces of about as many bytes for `threads` to take one by one; one piece if there is not enough to do.
fn parts<'o>(wanted: &[(&[u8], Location)], order: &'o [usize], threads: usize) -> Vec<&'o [usize]> {
    // A small record costs the block it is in; what a block is, is known later.
    let cost = |&number: &usize| u64::from(wanted[number].1.length).max(8 << 10);
    let total: u64 = order.iter().map(cost).sum();
    let busy = u64::try_from(threads).unwrap_or(u64::MAX).min(total / THREAD_BYTES);
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

impl Walk<'_> {
    /// Gives bytes of the records in `order`, with their numbers, to be kept.
    fn collect(&self, order: &[usize], put: &mut dyn FnMut(usize, Result<Bytes>)) {
        let mut left: usize = order.iter().map(|&number| self.wanted[number].1.length as usize + 63).sum();
        let align = self.engine.shared.parameters.align.clamp(1, 64);
        let mut arena = Arena::default();
        self.run(order, &mut |number, lent| {
            let len = self.wanted[number].1.length as usize;
            match lent {
                Ok(Lent::Shared(bytes)) => put(number, Ok(bytes)),
                Ok(Lent::Passing(bytes)) => {
                    if !arena.has_room(bytes.len(), align) {
                        arena.hand_out(put);
                        arena = Arena::new(left.min(ARENA_BYTES).max(bytes.len()));
                    }
                    arena.push(number, bytes, align);
                }
                Err(error) => put(number, Err(error)),
            }
            left = left.saturating_sub(len);
        });
        arena.hand_out(put);
    }

    /// Gives the records in `order` to `sink`, in that order within runs.
    fn run(&self, order: &[usize], sink: &mut Sink<'_>) {
        let chunk_of = |&number: &usize| self.engine.chunk_of(self.wanted[number].1.address).0;
        for group in order.chunk_by(|left, right| chunk_of(left) == chunk_of(right)) {
            if let Some(first) = group.first() {
                self.group(chunk_of(first), group, sink);
            }
        }
    }

    /// A record by itself.
    fn single(&self, number: usize, sink: &mut Sink<'_>) {
        let (name, location) = self.wanted[number];
        sink(number, self.engine.read(name, &location).map(Lent::Shared));
    }

    /// A record out of shared bytes that start at `start` of its chunk.
    fn share(&self, number: usize, start: usize, bytes: &Bytes, sink: &mut Sink<'_>) {
        let (name, location) = self.wanted[number];
        let range = self.engine.range_of(&location).1;
        let bytes = bytes.slice(range.start - start..range.end - start);
        sink(number, self.engine.check(name, &location, &bytes).map(|()| Lent::Shared(bytes)));
    }

    /// The records of one chunk.
    fn group(&self, chunk: u64, group: &[usize], sink: &mut Sink<'_>) {
        let (engine, chunk_size) = (self.engine, self.engine.shared.parameters.chunk_size);
        let source = engine.source(chunk);
        let Ok(Source::Stored(at)) = source else {
            return group.iter().for_each(|&number| self.single(number, sink));
        };
        let inside = |number: &usize| {
            let range = engine.range_of(&self.wanted[*number].1).1;
            !range.is_empty() && range.end <= chunk_size
        };
        if at.is(ChunkRef::FOREIGN) {
            let whole = engine.reader.foreign(chunk, &at).ok();
            for &number in group {
                let end = engine.range_of(&self.wanted[number].1).1.end;
                match whole.as_ref().filter(|whole| inside(&number) && end <= whole.len()) {
                    Some(whole) => self.share(number, 0, whole, sink),
                    None => self.single(number, sink),
                }
            }
            return;
        }
        if at.is(ChunkRef::ZEROS | ChunkRef::UNCOMPRESSED) {
            let lend = |number: &usize| {
                let range = engine.range_of(&self.wanted[*number].1).1;
                engine.reader.lend(&at, range).filter(|_| inside(number)).inspect(|bytes| prefetch(bytes))
            };
            // One ahead: its bytes are on their way while the checksum of the one before is computed.
            let mut next = group.first().and_then(lend);
            for (nth, &number) in group.iter().enumerate() {
                let bytes = std::mem::replace(&mut next, group.get(nth + 1).and_then(lend));
                let (name, location) = self.wanted[number];
                match bytes {
                    Some(bytes) => {
                        sink(number, engine.check(name, &location, &bytes).map(|()| Lent::Shared(bytes)));
                    }
                    None => self.single(number, sink),
                }
            }
            return;
        }
        if let Some(whole) = engine.reader.cached(chunk, &at, || self.touched(group, &at)) {
            for &number in group {
                if inside(&number) { self.share(number, 0, &whole, sink) } else { self.single(number, sink) }
            }
            return;
        }
        let mut last: Option<Run> = None;
        let mut rest = group;
        while let Some((&number, others)) = rest.split_first() {
            if !inside(&number) {
                self.single(number, sink);
                rest = others;
                continue;
            }
            let (range, n) = self.extent(rest, &at, inside);
            let (records, behind) = rest.split_at(n);
            last = self.load(chunk, &at, range, last.take()).ok();
            match &last {
                Some(run) => self.lend(records, run, sink),
                // A damaged block costs the records in it, not their neighbours: each is read alone.
                None => records.iter().for_each(|&number| self.single(number, sink)),
            }
            rest = behind;
        }
    }

    /// Raw bytes of the blocks that the records of `group` touch, about.
    fn touched(&self, group: &[usize], at: &ChunkRef) -> usize {
        let block = (at.block_size as usize).max(1);
        let mut done = 0;
        let mut touched = 0;
        for &number in group {
            let range = self.engine.range_of(&self.wanted[number].1).1;
            let (first, end) = (range.start / block * block, range.end.next_multiple_of(block));
            touched += end.saturating_sub(first.max(done));
            done = done.max(end);
        }
        touched
    }

    /// The blocks of the first of `rest`, grown over the records that follow without a block between; and how many
    /// records those are.
    fn extent(
        &self,
        rest: &[usize],
        at: &ChunkRef,
        inside: impl Fn(&usize) -> bool,
    ) -> (Range<usize>, usize) {
        let chunk_size = self.engine.shared.parameters.chunk_size;
        let block = (at.block_size as usize).max(1);
        let limit = RUN_BYTES.max(RUN_BLOCKS * block);
        let to_blocks = |end: usize| end.next_multiple_of(block).min(chunk_size);
        let mut run = 0..0;
        let mut n = 0;
        for number in rest {
            let record = self.engine.range_of(&self.wanted[*number].1).1;
            let end = to_blocks(record.end);
            if n == 0 {
                run = record.start / block * block..end;
            } else if !inside(number)
                || record.start > run.end
                || end - run.start > limit.max(run.end - run.start)
            {
                break;
            }
            run.end = run.end.max(end);
            n += 1;
        }
        (run, n)
    }

    /// Decodes whole blocks; those that the run before has too are copied from it.
    fn load(&self, chunk: u64, at: &ChunkRef, range: Range<usize>, before: Option<Run>) -> Result<Run> {
        let mut raw = AlignedBuf::any(range.len());
        let block = (at.block_size as usize).max(1);
        let mut done = 0;
        if let Some(before) = before
            && before.range.contains(&range.start)
        {
            let from = range.start - before.range.start;
            done = (before.range.end.min(range.end)) - range.start;
            raw[..done].copy_from_slice(&before.raw[from..from + done]);
        }
        if done < raw.len() {
            self.engine.reader.decode(chunk, at, (range.start + done) / block, &mut raw[done..])?;
        }
        Ok(Run { range, raw: Arc::new(raw) })
    }

    /// Gives out the records that lie in a run.
    fn lend(&self, records: &[usize], run: &Run, sink: &mut Sink<'_>) {
        let wanted: usize = records.iter().map(|&number| self.wanted[number].1.length as usize).sum();
        if !self.passing && 2 * wanted >= run.raw.len() {
            let bytes = Bytes::from_heap(Arc::clone(&run.raw), 0..run.raw.len());
            return records.iter().for_each(|&number| self.share(number, run.range.start, &bytes, sink));
        }
        for &number in records {
            let (name, location) = self.wanted[number];
            let range = self.engine.range_of(&location).1;
            let bytes = &run.raw[range.start - run.range.start..range.end - run.range.start];
            sink(number, self.engine.check(name, &location, bytes).map(|()| Lent::Passing(bytes)));
        }
    }
}

/// A buffer that small records are copied to, one behind the other.
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

    /// Shares the buffer among the records in it.
    fn hand_out(&mut self, put: &mut dyn FnMut(usize, Result<Bytes>)) {
        let Some(buf) = self.buf.take().map(Arc::new) else { return };
        for (number, range) in std::mem::take(&mut self.records) {
            put(number, Ok(Bytes::from_heap(Arc::clone(&buf), range)));
        }
    }
}

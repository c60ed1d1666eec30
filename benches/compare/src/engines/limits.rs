//! The physical limits: what any store of such chunks must at least do, on one thread or, to write, on
//! several.
//!
//! The chunks are those that a depot makes of the same records, byte for byte, with the same parameters.
//! They are laid out beforehand. There are no names and no checksums, and only `write` uses a file.
//! Chunks to be read lie in memory, and contexts and buffers are reused.
//!
//! | | `blosc2-PRESET`, for depots that compress | `memcpy`, for stores that do not |
//! | --- | --- | --- |
//! | `put` | compresses every chunk | copies every chunk |
//! | `write` | the same, each chunk written to one file, which is synced once | the same |
//! | `get`, `get_many` | decompresses the blocks that the record touches | copies the record |
//! | `scan` | decompresses every chunk, once | copies every chunk, once |
//! | `epoch_windowed` | decompresses chunks into a window that is kept, and visits its records shuffled | copies |
//! | `epoch_full` | `get`, shuffled | `get`, shuffled |
//! | `size` | that file | that file |
//!
//! `PRESET-N` does `put` and `write` on N threads, each with its own context, and nothing else.
//!
//! Records are then visited like those of every engine.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use vldepot::{Compression, CompressionCodec};

use super::blosc::{Decoder, Encoder, OVERHEAD};
use super::{COMMIT_BYTES, COMMIT_RECORDS, Engine, Epochs, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Random, WINDOW};

/// The default of `Layout::chunk_size`.
const CHUNK: usize = 4 << 20;
/// Records start at multiples of this many bytes.
const ALIGN: usize = 16;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    chunk: u32,
    start: u32,
    len: u32,
}

/// Raw chunks as a depot has them.
struct Chunks {
    raw: Vec<Vec<u8>>,
    places: Vec<Place>,
}

impl Chunks {
    fn new(load: &Load) -> Self {
        let mut chunks = Self { raw: Vec::new(), places: Vec::with_capacity(load.len()) };
        let (mut used, mut records, mut bytes) = (CHUNK, 0, 0);
        for (_, _, record) in load.iter() {
            let start = used.next_multiple_of(ALIGN);
            let start = if start + record.len() > CHUNK { 0 } else { start };
            if start == 0 {
                chunks.raw.push(vec![0; CHUNK]);
            }
            let chunk = chunks.raw.len() - 1;
            used = start + record.len();
            chunks.raw[chunk][start..used].copy_from_slice(record);
            let place = Place { chunk: chunk as u32, start: start as u32, len: record.len() as u32 };
            chunks.places.push(place);
            (records, bytes) = (records + 1, bytes + record.len());
            if records >= COMMIT_RECORDS || bytes >= COMMIT_BYTES {
                // A commit closes the open chunk.
                (used, records, bytes) = (CHUNK, 0, 0);
            }
        }
        chunks
    }
}

/// The chunks. They are laid out when first needed.
pub(crate) struct Layout<'l> {
    load: &'l Load,
    chunks: OnceCell<Rc<Chunks>>,
}

impl<'l> Layout<'l> {
    pub(crate) fn new(load: &'l Load) -> Self {
        Self { load, chunks: OnceCell::new() }
    }

    fn chunks(&self) -> Rc<Chunks> {
        Rc::clone(self.chunks.get_or_init(|| Rc::new(Chunks::new(self.load))))
    }
}

/// How chunks become stored bytes.
enum Press {
    Copy,
    Blosc2(Encoder),
}

impl Press {
    fn press(&mut self, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        match self {
            Self::Copy => {
                out[..raw.len()].copy_from_slice(raw);
                Ok(raw.len())
            }
            Self::Blosc2(encoder) => encoder.compress(raw, out),
        }
    }
}

/// A limit. Without compression it is `memcpy`.
struct Limit<'l> {
    name: String,
    threads: usize,
    compression: Option<(Compression, usize)>,
    layout: Rc<Layout<'l>>,
    press: Press,
    out: Vec<u8>,
    /// One for each of several threads, with its own buffer.
    presses: Vec<(Press, Vec<u8>)>,
}

impl Limit<'_> {
    fn press_all(&mut self, mut each: impl FnMut(&[u8]) -> Result<()> + Send) -> Result<()> {
        if self.threads > 1 {
            return self.press_together(each);
        }
        for raw in &self.layout.chunks().raw {
            let n = self.press.press(raw, &mut self.out)?;
            each(&self.out[..n])?;
        }
        Ok(())
    }
}

impl Limit<'_> {
    /// Threads take chunk after chunk. What they make is handed over in the order in which it is ready.
    fn press_together(&mut self, each: impl FnMut(&[u8]) -> Result<()> + Send) -> Result<()> {
        let chunks = self.layout.chunks();
        let (raw, next, each) = (&chunks.raw, AtomicUsize::new(0), Mutex::new(each));
        let presses = self.presses.iter_mut().map(|(press, out)| {
            let (next, each) = (&next, &each);
            move || -> Result<()> {
                while let Some(raw) = raw.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let n = press.press(raw, out)?;
                    (each.lock().map_err(|_| "a thread panicked")?)(&out[..n])?;
                }
                Ok(())
            }
        });
        std::thread::scope(|scope| {
            let threads: Vec<_> = presses.map(|press| scope.spawn(press)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
        })
    }

    fn press(&self) -> Result<Press> {
        Ok(match self.compression {
            Some((compression, block_size)) => Press::Blosc2(Encoder::new(compression, block_size)?),
            None => Press::Copy,
        })
    }
}

impl Engine for Limit<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self, _operation: Operation) -> usize {
        self.threads
    }

    fn is_limit(&self) -> bool {
        true
    }

    fn supports(&self, operation: Operation) -> bool {
        use Operation::{EpochFull, EpochWindowed, Get, GetMany, Put, Scan, Size, Write};
        let reads = matches!(operation, Size | Get | GetMany | Scan | EpochWindowed | EpochFull);
        matches!(operation, Write | Put) || self.threads == 1 && reads
    }

    fn prepare(&mut self) -> Result<()> {
        self.layout.chunks();
        self.out.resize(CHUNK + OVERHEAD, 0);
        self.press = self.press()?;
        if self.threads > 1 {
            let one = |_| Ok((self.press()?, vec![0; CHUNK + OVERHEAD]));
            self.presses = (0..self.threads).map(one).collect::<Result<_>>()?;
        }
        Ok(())
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        let mut file = File::create_new(path)?;
        self.press_all(|stored| Ok(file.write_all(stored)?))?;
        Ok(file.sync_data()?)
    }

    fn put(&mut self) -> Result<()> {
        self.press_all(|stored| {
            std::hint::black_box(stored);
            Ok(())
        })
    }

    /// Stores the chunks in memory, because the file system is not part of the limit.
    fn open(&self, _path: &Path) -> Result<Box<dyn Store>> {
        let chunks = self.layout.chunks();
        let (out, random) = (vec![0; CHUNK + OVERHEAD], Random(13));
        let Some((compression, block_size)) = self.compression else {
            return Ok(Box::new(Copied { chunks, out, random }));
        };
        let mut encoder = Encoder::new(compression, block_size)?;
        let mut room = vec![0; CHUNK + OVERHEAD];
        let mut stored = Vec::with_capacity(chunks.raw.len());
        for raw in &chunks.raw {
            let n = encoder.compress(raw, &mut room)?;
            stored.push(room[..n].to_vec());
        }
        Ok(Box::new(Compressed { chunks, stored, decoder: Decoder::new()?, out, random }))
    }
}

/// Chunks in a window of the loader's default size.
const CHUNKS_IN_WINDOW: usize = WINDOW / CHUNK;

/// Visits up to `n` records, shuffled within windows: what a loader with windows must do at least. `decode`
/// gives the raw bytes of a chunk. A window of them is kept in `out`.
fn walk_windows(
    places: &[Place],
    n: usize,
    random: &mut Random,
    visit: Visit,
    mut decode: impl FnMut(usize, &mut [u8]) -> Result<()>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let mut chunks: Vec<&[Place]> = places.chunk_by(|left, right| left.chunk == right.chunk).collect();
    shuffle(&mut chunks, random);
    out.resize((CHUNKS_IN_WINDOW * CHUNK + OVERHEAD).max(out.len()), 0);
    let mut left = n;
    let mut order = Vec::new();
    for window in chunks.chunks(CHUNKS_IN_WINDOW) {
        order.clear();
        for (nth, records) in window.iter().enumerate() {
            decode(records[0].chunk as usize, &mut out[nth * CHUNK..])?;
            order
                .extend(records.iter().map(|place| (nth * CHUNK + place.start as usize, place.len as usize)));
        }
        shuffle(&mut order, random);
        order.truncate(left);
        left -= order.len();
        for &(start, len) in &order {
            visit(&out[start..start + len]);
        }
        if left == 0 {
            break;
        }
    }
    Ok(())
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for at in 1..all.len() {
        all.swap(at, random.below(at + 1));
    }
}

/// Visits up to `n` records of all chunks, in order. `decode` gives the raw bytes of a chunk.
fn walk(
    places: &[Place],
    n: usize,
    visit: Visit,
    mut decode: impl FnMut(usize, &mut [u8]) -> Result<()>,
    out: &mut [u8],
) -> Result<()> {
    for records in places[..n].chunk_by(|left, right| left.chunk == right.chunk) {
        decode(records[0].chunk as usize, out)?;
        for place in records {
            visit(&out[place.start as usize..][..place.len as usize]);
        }
    }
    Ok(())
}

/// Chunks that are copied.
struct Copied {
    chunks: Rc<Chunks>,
    out: Vec<u8>,
    random: Random,
}

impl Copied {
    fn walk_windows(&mut self, n: usize, visit: Visit) -> Result<()> {
        let Self { chunks, out, random } = self;
        let copy = |chunk: usize, out: &mut [u8]| {
            out[..CHUNK].copy_from_slice(&chunks.raw[chunk]);
            Ok(())
        };
        walk_windows(&chunks.places, n, random, visit, copy, out)
    }

    fn walk(&mut self, n: usize, visit: Visit) -> Result<()> {
        let Self { chunks, out, .. } = self;
        let copy = |chunk: usize, out: &mut [u8]| {
            out[..CHUNK].copy_from_slice(&chunks.raw[chunk]);
            Ok(())
        };
        walk(&chunks.places, n, visit, copy, out)
    }
}

impl Store for Copied {
    fn lookup(&mut self, _number: usize, _name: &str) -> Result<bool> {
        Err("limits have no names".into())
    }

    fn get(&mut self, number: usize, _name: &str, visit: Visit) -> Result<()> {
        let Place { chunk, start, len } = self.chunks.places[number];
        let out = &mut self.out[..len as usize];
        out.copy_from_slice(&self.chunks.raw[chunk as usize][start as usize..][..len as usize]);
        visit(out);
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        self.walk(self.chunks.places.len(), visit)
    }

    fn epochs(&mut self, epochs: &Epochs, visit: Visit) -> Result<()> {
        for _ in 0..epochs.n {
            if epochs.full {
                epochs.order.iter().try_for_each(|&number| self.get(number as usize, "", visit))?;
            } else {
                self.walk_windows(epochs.order.len(), visit)?;
            }
        }
        Ok(())
    }
}

/// Compressed chunks.
struct Compressed {
    chunks: Rc<Chunks>,
    stored: Vec<Vec<u8>>,
    decoder: Decoder,
    out: Vec<u8>,
    random: Random,
}

impl Compressed {
    fn walk_windows(&mut self, n: usize, visit: Visit) -> Result<()> {
        let Self { chunks, stored, decoder, out, random } = self;
        // Blosc2 looks at the room that it is given, and may use a little more than the chunk.
        let decode = |chunk: usize, out: &mut [u8]| {
            decoder.whole(&stored[chunk], &mut out[..CHUNK + OVERHEAD]).map(|_| ())
        };
        walk_windows(&chunks.places, n, random, visit, decode, out)
    }

    fn walk(&mut self, n: usize, visit: Visit) -> Result<()> {
        let Self { chunks, stored, decoder, out, .. } = self;
        let decode = |chunk: usize, out: &mut [u8]| decoder.whole(&stored[chunk], out).map(|_| ());
        walk(&chunks.places, n, visit, decode, out)
    }
}

impl Store for Compressed {
    fn lookup(&mut self, _number: usize, _name: &str) -> Result<bool> {
        Err("limits have no names".into())
    }

    fn get(&mut self, number: usize, _name: &str, visit: Visit) -> Result<()> {
        let Place { chunk, start, len } = self.chunks.places[number];
        self.decoder.part(&self.stored[chunk as usize], start as usize, len as usize, &mut self.out)?;
        visit(&self.out[..len as usize]);
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        self.walk(self.chunks.places.len(), visit)
    }

    fn epochs(&mut self, epochs: &Epochs, visit: Visit) -> Result<()> {
        for _ in 0..epochs.n {
            if epochs.full {
                epochs.order.iter().try_for_each(|&number| self.get(number as usize, "", visit))?;
            } else {
                self.walk_windows(epochs.order.len(), visit)?;
            }
        }
        Ok(())
    }
}

/// The limit of a depot with these options.
pub(crate) fn name_of(preset: &str) -> &'static str {
    match preset {
        "balanced" => "blosc2-balanced",
        "fast" => "blosc2-fast",
        "compact" => "blosc2-compact",
        _ => MEMCPY,
    }
}

/// The limit of stores that do not compress.
pub(crate) const MEMCPY: &str = "memcpy";

/// The block size that a depot takes for records of `mean` bytes. The rule is in the docs of
/// `Layout::block_size`.
fn block_size(options: &vldepot::Layout, mean: u64) -> usize {
    let small = match options.compression.codec {
        CompressionCodec::Lz4 | CompressionCodec::Lz4hc | CompressionCodec::Blosclz => 2 << 10,
        _ => 16 << 10,
    };
    options.block_size.unwrap_or(if mean < 4096 { small } else { 64 << 10 })
}

/// All limits: with one thread and, but for `compact`, with `threads`.
pub(crate) fn all<'l>(load: &'l Load, layout: &Rc<Layout<'l>>, threads: usize) -> Vec<Box<dyn Engine + 'l>> {
    let mean = load.record_bytes() / load.len() as u64;
    let compressed = |options: vldepot::Layout| {
        let block_size = block_size(&options, mean);
        Some((options.compression, block_size))
    };
    let kinds = [
        (name_of("balanced"), compressed(vldepot::Layout::balanced())),
        (name_of("fast"), compressed(vldepot::Layout::fast())),
        (name_of("compact"), compressed(vldepot::Layout::compact())),
        (MEMCPY, None),
    ];
    let limit = |name: String, compression, threads| -> Box<dyn Engine + 'l> {
        let (layout, press) = (Rc::clone(layout), Press::Copy);
        Box::new(Limit { name, threads, compression, layout, press, out: Vec::new(), presses: Vec::new() })
    };
    let mut limits = Vec::new();
    for (name, compression) in kinds {
        limits.push(limit(name.to_owned(), compression, 1));
        if threads > 1 && name != name_of("compact") {
            limits.push(limit(with_threads(name, threads), compression, threads));
        }
    }
    limits
}

/// The name of a limit on several threads.
pub(crate) fn with_threads(name: &str, threads: usize) -> String {
    if threads == 1 { name.to_owned() } else { format!("{name}-{threads}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Name, Workload};
    use vldepot::{Depot, Raw};

    #[test]
    fn chunks_are_those_of_a_depot() {
        let folder = tempfile::tempdir().unwrap();
        for (workload, records) in [(Workload::Molecules, 8000), (Workload::Frames, 50)] {
            let load = Load::of(workload, records, folder.path()).unwrap();
            let chunks = Chunks::new(&load);
            let depot = Depot::memory(Raw).unwrap();
            load.iter().for_each(|(_, name, record)| depot.put(name.as_str(), record).unwrap());
            depot.commit().unwrap();
            for (number, name, record) in load.iter() {
                let location = depot.location(name.as_str()).unwrap();
                let place = chunks.places[number];
                assert_eq!((location.chunk, location.offset), (place.chunk.into(), place.start.into()));
                assert_eq!(&chunks.raw[place.chunk as usize][place.start as usize..][..record.len()], record);
            }
            assert_eq!(depot.info().unwrap().chunks, chunks.raw.len() as u64);
            assert_eq!(depot.info().unwrap().layout.chunk_size, CHUNK);
        }
    }

    #[test]
    fn chunks_are_compressed_as_a_depot_does() {
        let folder = tempfile::tempdir().unwrap();
        let load = Load::of(Workload::Molecules, 2200, folder.path()).unwrap();
        let chunks = Chunks::new(&load);
        for preset in ["balanced", "fast", "compact"] {
            let options = preset.parse::<vldepot::Layout>().unwrap();
            let depot = Depot::builder(Raw).layout(options.clone()).memory().unwrap();
            load.iter().for_each(|(_, name, record)| depot.put(name.as_str(), record).unwrap());
            depot.commit().unwrap();
            let at = depot.location(Name::new(0).as_str()).unwrap().file_offset.unwrap() as usize;
            let file = depot.to_bytes().unwrap();
            let mean = load.record_bytes() / load.len() as u64;
            let mut encoder = Encoder::new(options.compression, block_size(&options, mean)).unwrap();
            let mut out = vec![0; CHUNK + OVERHEAD];
            let n = encoder.compress(&chunks.raw[0], &mut out).unwrap();
            // Names and checksums come before the chunk in the file.
            let same = file[at..].windows(n).any(|stored| stored == &out[..n]);
            assert!(same, "{preset}");
        }
    }
}

//! Fields apart beside Blosc2: size, the time of a random record, and the speed of decoding all.
//!
//! Run it with `cargo run --release --bin planes`. Nothing is checked against checksums here, on either side.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "measurements")]

#[allow(dead_code, unused_imports, clippy::pedantic, reason = "a room of the crate, used from outside")]
#[path = "../../../src/planes/mod.rs"]
mod planes;

use planes::{Elements, Learnt, Piece, Reader, Scratch, Span, decode_block, encode_block};
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Codec, Compression};
use vldepot_benches::blosc::Chunks;
use vldepot_benches::median;

const ALIGN: usize = 16;
const CHUNK: usize = 4 << 20;
const ROUNDS: usize = 5;
const READS: usize = 20_000;

/// A generator of random numbers: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// A record, with its spans, and the bytes that a user would count.
struct Made {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    payload: usize,
}

fn made(frame: &AtomicFrame<'_>, payload: usize) -> Made {
    let codec = AtomicFrameCodec::default();
    let mut bytes = Vec::new();
    codec.encode(frame, &mut bytes).unwrap();
    let mut aligned = vec![0_u128; bytes.len().div_ceil(16)];
    bytemuck::cast_slice_mut::<u128, u8>(&mut aligned)[..bytes.len()].copy_from_slice(&bytes);
    let lent = &bytemuck::cast_slice::<u128, u8>(&aligned)[..bytes.len()];
    let view = codec.view(lent).unwrap();
    let mut spans = Vec::new();
    let mut add = |field: u8, elements: Elements, part: *const u8, len: usize| {
        let start = part.addr() - lent.as_ptr().addr();
        spans.push(Span { field, elements, start: start as u32, len: len as u32 });
    };
    if let Ok(positions) = view.positions_as::<f32>() {
        add(1, Elements::Float4, positions.as_ptr().cast(), 4 * positions.len());
    }
    if let Ok(velocities) = view.velocities_as::<f32>() {
        add(2, Elements::Float4, velocities.as_ptr().cast(), 4 * velocities.len());
    }
    if let Ok(forces) = view.forces_as::<f32>() {
        add(3, Elements::Float4, forces.as_ptr().cast(), 4 * forces.len());
    }
    for array in view.arrays() {
        if let Ok(numbers) = array.array.view::<u8>() {
            add(4, Elements::Bytes1, numbers.as_ptr(), numbers.len());
        }
    }
    spans.sort_by_key(|span| span.start);
    Made { bytes, spans, payload }
}

/// The molecules of `benches/compare`.
fn molecules(records: usize) -> Vec<Made> {
    let mut random = Random(2);
    let molecule = |_| {
        let n_atoms = 10 + random.below(111);
        let energy = -2500.0 * n_atoms as f64 * (1.0 + 0.01 * random.normal());
        let edge = 2.0 + random.uniform();
        let s = [0; 6].map(|_| 100.0 * random.normal());
        let stress = [[s[0], s[1], s[2]], [s[1], s[3], s[4]], [s[2], s[4], s[5]]];
        let mut at = [0.5 * edge; 3];
        let mut positions = vec![];
        for _ in 0..n_atoms {
            let way = [0; 3].map(|_| random.normal());
            let bond = (0.10 + 0.05 * random.uniform()) / way.map(|x| x * x).iter().sum::<f64>().sqrt();
            for axis in 0..3 {
                at[axis] += bond * way[axis];
            }
            positions.push(at.map(|x| x as f32));
        }
        let forces: Vec<_> = (0..n_atoms).map(|_| [0; 3].map(|_| (50.0 * random.normal()) as f32)).collect();
        let numbers: Vec<_> =
            (0..n_atoms).map(|_| [1_u8, 1, 1, 1, 6, 6, 6, 7, 8, 16][random.below(10)]).collect();
        let frame = AtomicFrame::new()
            .positions(&positions)
            .forces(&forces)
            .per_atom("numbers", &numbers)
            .cell([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]])
            .energy(energy)
            .stress(stress);
        made(&frame, 25 * n_atoms + 8 * (1 + 9 + 9))
    };
    (0..records).map(molecule).collect()
}

/// Frames in parts of 64 KiB, as if each part were a record.
fn frames() -> Vec<Made> {
    const PART: usize = 64 << 10;
    let mut parts = vec![];
    for frame in vldepot_benches::data::frames() {
        let whole = made(&frame.item(), 0);
        for start in (0..whole.bytes.len()).step_by(PART) {
            let bytes = whole.bytes[start..whole.bytes.len().min(start + PART)].to_vec();
            let spans = planes::cut(&whole.spans, start as u32, bytes.len() as u32);
            parts.push(Made { payload: bytes.len(), bytes, spans });
        }
    }
    parts
}

/// Chunks of records, one after the other.
fn chunks(records: &[Made]) -> Vec<&[Made]> {
    let mut chunks = vec![];
    let mut rest = records;
    while !rest.is_empty() {
        let mut used = 0;
        let n = rest.iter().take_while(|record| {
            used = (used as usize).next_multiple_of(ALIGN) + record.bytes.len();
            used <= CHUNK
        });
        let n = n.count();
        chunks.push(&rest[..n]);
        rest = &rest[n..];
    }
    chunks
}

/// Processor time of this thread, in seconds: other work on the machine hardly changes it.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call fills in; the clock exists on every Unix.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Runs `job` some rounds. Returns the median of its seconds.
fn seconds(mut job: impl FnMut()) -> f64 {
    job();
    let round = |_| {
        let start = processor_time();
        job();
        processor_time() - start
    };
    median((0..ROUNDS).map(round).collect())
}

fn report(what: &str, size: f64, write: f64, read: f64, scan: f64) {
    println!("{what:<44} {size:>8.4} {read:>8.2} us {scan:>8.0} MB/s {write:>8.0} MB/s");
}

fn blosc(what: &str, records: &[Made], block: usize, compression: Compression, reads: &[usize]) {
    let payload: usize = records.iter().map(|record| record.payload).sum();
    let raw: usize = records.iter().map(|record| record.bytes.len()).sum();
    let mut blosc = Chunks::new(compression, block, CHUNK);
    for (number, chunk) in chunks(records).into_iter().enumerate() {
        let mut at = 0_usize;
        for record in chunk {
            at = at.next_multiple_of(ALIGN);
            blosc.place(number, at, &record.bytes);
            at += record.bytes.len();
        }
    }
    let write = seconds(|| _ = blosc.compress_all());
    blosc.keep_compressed();
    let stored: usize = blosc.compressed.iter().map(Vec::len).sum();
    let read = seconds(|| {
        for &record in reads {
            std::hint::black_box(blosc.decompress_record(record));
        }
    });
    let scan = seconds(|| _ = std::hint::black_box(blosc.decompress_all()));
    // A depot keeps a checksum of 4 bytes a block.
    let blocks = blosc.compressed.len() * CHUNK / block;
    let size = (stored + 4 * blocks) as f64 / payload as f64;
    report(what, size, raw as f64 / write / 1e6, 1e6 * read / reads.len() as f64, raw as f64 / scan / 1e6);
}

/// A chunk with its fields apart.
struct Apart {
    reader: Reader,
    stored: Vec<u8>,
    /// Where each block starts, stored and raw, and the ends.
    blocks: Vec<(usize, usize)>,
}

fn apart(what: &str, records: &[Made], per_block: usize, least_gain: f64, reads: &[usize]) {
    let payload: usize = records.iter().map(|record| record.payload).sum();
    let raw: usize = records.iter().map(|record| record.bytes.len()).sum();
    let mut scratch = Scratch::default();
    let mut all = vec![];
    let (mut size, mut models) = (0, 0);
    let mut learning = 0.0;
    let mut write = |scratch: &mut Scratch, all: &mut Vec<Apart>, size: &mut usize, models: &mut usize| {
        all.clear();
        (*size, *models) = (0, 0);
        learning = 0.0;
        for chunk in chunks(records) {
            let pieces: Vec<_> = chunk
                .iter()
                .map(|record| Piece { bytes: &record.bytes, spans: &record.spans })
                .collect();
            let start = processor_time();
            let learnt = Learnt::new(&pieces, least_gain).unwrap();
            learning += processor_time() - start;
            let model = learnt.model.encode();
            let (mut stored, mut blocks, mut at) = (Vec::with_capacity(CHUNK), vec![], 0_usize);
            for first in (0..pieces.len()).step_by(per_block) {
                let numbers = first..pieces.len().min(first + per_block);
                blocks.push((stored.len(), at));
                encode_block(&learnt, &pieces, numbers.clone(), scratch, &mut stored);
                for piece in &pieces[numbers] {
                    at = at.next_multiple_of(ALIGN) + piece.bytes.len();
                }
                at = at.next_multiple_of(ALIGN);
            }
            blocks.push((stored.len(), at));
            // A block's place and its checksum.
            *size += stored.len() + model.len() + 12 * (blocks.len() - 1);
            *models += model.len();
            all.push(Apart { reader: Reader::new(&model).unwrap(), stored, blocks });
        }
    };
    let writing = seconds(|| write(&mut scratch, &mut all, &mut size, &mut models));
    // Where each record lies: chunk, block.
    let mut places = vec![];
    for (number, chunk) in chunks(records).into_iter().enumerate() {
        places.extend((0..chunk.len()).map(|record| (number, record / per_block)));
    }
    let mut out = vec![0; 1 << 22];
    let decode = |chunk: usize, block: usize, scratch: &mut Scratch, out: &mut [u8]| {
        let Apart { reader, stored, blocks } = &all[chunk];
        let ((from, start), (to, end)) = (blocks[block], blocks[block + 1]);
        let out = &mut out[..end - start];
        decode_block(reader, &stored[from..to], ALIGN, scratch, out).unwrap();
        end - start
    };
    // All comes back.
    for (chunk, records) in chunks(records).into_iter().enumerate() {
        for (block, records) in records.chunks(per_block).enumerate() {
            decode(chunk, block, &mut scratch, &mut out);
            let mut at = 0;
            for record in records {
                assert!(out[at..at + record.bytes.len()] == record.bytes, "{chunk} {block}");
                at = (at + record.bytes.len()).next_multiple_of(ALIGN);
            }
        }
    }
    let read = seconds(|| {
        for &record in reads {
            let (chunk, block) = places[record];
            std::hint::black_box(decode(chunk, block, &mut scratch, &mut out));
        }
    });
    let scan = seconds(|| {
        for (chunk, Apart { blocks, .. }) in all.iter().enumerate() {
            for block in 0..blocks.len() - 1 {
                std::hint::black_box(decode(chunk, block, &mut scratch, &mut out));
            }
        }
    });
    let over = |bytes: usize| bytes as f64 / payload as f64;
    report(
        what,
        over(size),
        raw as f64 / writing / 1e6,
        1e6 * read / reads.len() as f64,
        raw as f64 / scan / 1e6,
    );
    println!("{:>44} models {:.4}, learning {:.0} %", "", over(models), 100.0 * learning / writing);
}

fn main() {
    let records = molecules(30_000);
    let mut random = Random(7);
    let reads: Vec<_> = (0..READS).map(|_| random.below(records.len())).collect();
    println!("molecules: size over payload, a random record, decoding all, encoding all (raw MB/s)");
    blosc("Blosc2, zstd 1, 16 KiB", &records, 16 << 10, Compression::zstd(1), &reads);
    blosc("Blosc2, zstd 1, 4 KiB", &records, 4 << 10, Compression::zstd(1), &reads);
    blosc("Blosc2, LZ4, 16 KiB", &records, 16 << 10, Compression::lz4(), &reads);
    for least_gain in [0.02, 0.05, 0.2] {
        for per_block in [1, 4] {
            let what = format!("fields apart, {per_block} a block, gain {least_gain}");
            apart(&what, &records, per_block, least_gain, &reads);
        }
    }
    let records = frames();
    let reads: Vec<_> = (0..1000).map(|_| random.below(records.len())).collect();
    println!("\nframes, in parts of 64 KiB: size over the records");
    blosc("Blosc2, zstd 1, 64 KiB", &records, 64 << 10, Compression::zstd(1), &reads);
    blosc("Blosc2, LZ4, 64 KiB", &records, 64 << 10, Compression::lz4(), &reads);
    for least_gain in [0.02, 0.05, 0.2] {
        apart(&format!("fields apart, gain {least_gain}"), &records, 1, least_gain, &reads);
    }
}

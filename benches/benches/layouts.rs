//! What presets, commits, chunks and placements cost: sizes, and processor time on one thread.
//!
//! Run it with `cargo bench --bench layouts`. The sizes are the same on every machine. The times are
//! processor times of this process, so other work on the machine hardly changes them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vldepot::{CommitEvery, Depot, Layout, Placement, Raw, WriteOptions};
use vldepot_benches::{data, fact, median};

const MOLECULES: usize = 20_000;
/// 3 MiB. A chunk holds one, unless records may cross chunks.
const LARGE: usize = 3 << 20;

/// Processor time of this process, in seconds.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call fills in; the clock exists on every Unix.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Microseconds of processor time for each of `n` parts of `job`: the median of five rounds.
fn each(n: usize, mut job: impl FnMut()) -> f64 {
    let rounds = (0..5).map(|_| {
        let start = processor_time();
        job();
        processor_time() - start
    });
    1e6 * median(rounds.collect()) / n as f64
}

/// Writes all records, compressing inside `put`, and closes the file.
fn write(path: &Path, layout: &Layout, commit_every: CommitEvery, records: &[(String, Vec<u8>)]) {
    let _ = std::fs::remove_file(path);
    let options = WriteOptions::default().with_threads(0).with_commit_every(commit_every);
    let depot = Depot::builder(Raw).layout(layout.clone()).write_options(options).create(path).unwrap();
    records.iter().for_each(|(name, bytes)| depot.put(name, bytes).unwrap());
    depot.close().unwrap();
}

/// Length of the file, and its room on the disk, both divided by the payload.
fn size(path: &Path, layout: &Layout, commit_every: CommitEvery, records: &[(String, Vec<u8>)]) -> String {
    write(path, layout, commit_every, records);
    let file = std::fs::metadata(path).unwrap();
    let payload: usize = records.iter().map(|(_, bytes)| bytes.len()).sum();
    let over = |bytes: u64| bytes as f64 / payload as f64;
    format!("length {:.3}, on disk {:.3}", over(file.len()), over(512 * file.blocks()))
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.vld");
    let molecules = data::molecules(MOLECULES).into_iter().map(|molecule| (molecule.name, molecule.bytes));
    let molecules: Vec<_> = molecules.collect();
    let large: Vec<_> = (0..20).map(|n| (format!("large_{n:02}"), data::noise(LARGE))).collect();
    let by_itself = CommitEvery::default();

    println!("\n{MOLECULES} molecules, by preset: file over payload");
    for preset in Layout::PRESETS {
        fact(preset, size(&path, &preset.parse().unwrap(), by_itself, &molecules));
    }

    println!("\n.. and microseconds of processor time for each record");
    for preset in Layout::PRESETS {
        let layout = preset.parse().unwrap();
        let put = each(MOLECULES, || write(&path, &layout, by_itself, &molecules));
        let depot = Depot::open(&path, Raw).unwrap();
        let some = &data::numbers(2000, MOLECULES)[..];
        let get = each(some.len(), || {
            some.iter().for_each(|&n| assert!(depot.get(&molecules[n].0).unwrap().len() > 100));
        });
        let scan = each(MOLECULES, || assert_eq!(depot.iter().flatten().count(), MOLECULES));
        fact(preset, format!("put {put:.2}, get {get:.2}, scan {scan:.2}"));
    }

    println!("\nzstd by level");
    for level in [1, 3, 5, 9] {
        let layout = Layout::default().with_compression(vldepot::Compression::zstd(level));
        let put = each(MOLECULES, || write(&path, &layout, by_itself, &molecules));
        let size = size(&path, &layout, by_itself, &molecules);
        fact(&format!("level {level}"), format!("{size}; put {put:.2} us"));
    }

    println!("\nby records in a commit");
    for (preset, chunk_size) in [("balanced", 4 << 20), ("uncompressed", 4 << 20), ("uncompressed", 64 << 10)]
    {
        let layout = preset.parse::<Layout>().unwrap().with_chunk_size(chunk_size);
        for n in [10, 100, 1000, 10_000] {
            let size = size(&path, &layout, CommitEvery::records(n), &molecules);
            fact(&format!("{preset}, chunks of {} KiB, {n} records", chunk_size >> 10), size);
        }
    }

    println!("\n20 records of 3 MiB that do not compress, by placement");
    for preset in ["balanced", "uncompressed"] {
        for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
            let layout = preset.parse::<Layout>().unwrap().with_placement(placement);
            fact(&format!("{preset}, {placement}"), size(&path, &layout, by_itself, &large));
        }
    }
}

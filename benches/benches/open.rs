//! Opening a depot of a million records.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use vldepot::{Depot, Raw};
use vldepot_benches::{criterion, data, fact, goal, median};

const RECORDS: usize = 1_000_000;
const RECORD_LEN: usize = 64;
/// Tells the process that this bench starts to build the file and exit.
///
/// Memory freed by the build would hide what opening takes.
const BUILD: &str = "VLDEPOT_BENCH_BUILD";

fn build(path: &Path) {
    let noise = data::noise(RECORDS * RECORD_LEN);
    let depot = Depot::create(path, Raw).unwrap();
    for (number, record) in noise.chunks_exact(RECORD_LEN).enumerate() {
        depot.put(format!("record_{number:07}"), record).unwrap();
    }
    depot.close().unwrap();
}

/// Resident bytes of this process: all of them, and those that no file backs, such as the heap.
#[cfg(target_os = "linux")]
fn resident() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map_while(|number| number.parse::<f64>().ok());
    let (all, of_files) = (pages.next()?, pages.next()?);
    Some((4096.0 * all, 4096.0 * (all - of_files)))
}

#[cfg(not(target_os = "linux"))]
fn resident() -> Option<(f64, f64)> {
    None
}

fn main() {
    if let Some(path) = std::env::var_os(BUILD) {
        return build(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("million.vld");
    let start = Instant::now();
    let done = Command::new(std::env::current_exe().unwrap()).env(BUILD, &path).status().unwrap();
    assert!(done.success());
    let building = start.elapsed().as_secs_f64();

    let before = resident();
    let start = Instant::now();
    let depot = Depot::open(&path, Raw).unwrap();
    let first = start.elapsed().as_secs_f64() * 1e3;
    let opened = resident();
    let start = Instant::now();
    assert_eq!(depot.get("record_0777777").unwrap().len(), RECORD_LEN);
    let first_get = start.elapsed().as_secs_f64() * 1e3;
    let read = resident();
    let info = depot.info().unwrap();
    drop(depot);

    let mut c = criterion();
    c.bench_function("open a million records", |b| b.iter(|| Depot::open(&path, Raw).unwrap().len()));
    c.bench_function("open a million records and get one", |b| {
        b.iter(|| Depot::open(&path, Raw).unwrap().get("record_0123456").unwrap().len());
    });

    let times: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(Depot::open(&path, Raw).unwrap());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    println!("\nopening {RECORDS} records of {RECORD_LEN} bytes, file in the page cache");
    goal("open, median of 101", median(times), "ms", 5.0);
    goal("open, the first of the process", first, "ms", 5.0);
    fact("first get", format!("{first_get:.3} ms"));
    if let (Some(before), Some(opened), Some(read)) = (before, opened, read) {
        let grown = |after: (f64, f64)| {
            format!(
                "{:.0} KiB, {:.0} KiB not of files",
                (after.0 - before.0) / 1024.0,
                (after.1 - before.1) / 1024.0
            )
        };
        fact("memory grown by open", grown(opened));
        fact("memory grown by open and one get", grown(read));
    }
    fact("file", format!("{} bytes, {} of them index", info.file_bytes, info.index_bytes));
    fact("written at", format!("{:.0} records/s", RECORDS as f64 / building));
    c.final_summary();
}

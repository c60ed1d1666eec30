//! The costs that grow with the number of records: writing, commits, the index, opening, looking names
//! up, listing.
//!
//! Run it with `cargo bench --bench scale -- --records 10000000 --path FILE`. Without arguments it takes
//! 10^6 records and a temporary file. It takes some 100 bytes of disk for each record. Each phase runs
//! in a process of its own, so that its memory is its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vldepot::{CommitEvery, Depot, Layout, Raw, WriteOptions};
use vldepot_benches::{data, fact, median};

const RECORD_LEN: usize = 16;
const A_COMMIT: usize = 1 << 20;
/// How many names are looked up in a row.
const LOOKUPS: usize = 1_000_000;
const SMALL_COMMITS: usize = 200;

fn name(number: usize) -> String {
    format!("run_{:04}/frame_{number:010}", number / 100_000)
}

/// Bytes of this process's memory that no file backs.
fn anonymous() -> f64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return f64::NAN };
    let mut pages = text.split(' ').skip(1).map_while(|number| number.parse::<f64>().ok());
    match (pages.next(), pages.next()) {
        (Some(all), Some(of_files)) => 4096.0 * (all - of_files),
        _ => f64::NAN,
    }
}

/// The most by which memory grows while `job` runs.
fn peak(job: impl FnOnce()) -> f64 {
    let before = anonymous();
    let done = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&done);
    let watcher = std::thread::spawn(move || {
        let mut most = before;
        while !watched.load(Ordering::Relaxed) {
            most = most.max(anonymous());
            std::thread::sleep(Duration::from_millis(1));
        }
        most
    });
    job();
    done.store(true, Ordering::Relaxed);
    watcher.join().unwrap() - before
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn file_len(path: &Path) -> f64 {
    path.metadata().unwrap().len() as f64
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn write(path: &Path, records: usize) {
    let by_hand = WriteOptions::default().with_commit_every(CommitEvery::never());
    let noise = data::noise(RECORD_LEN * 4096);
    let start = Instant::now();
    let (mut commits, mut index_written, mut next_report) = (Vec::new(), 0.0, 10_000_000);
    let mut closing = 0.0;
    let grown = peak(|| {
        let depot = Depot::builder(Raw).layout(Layout::fast()).write_options(by_hand).create(path).unwrap();
        for number in 0..records {
            let record = &noise[RECORD_LEN * (number % 4096)..][..RECORD_LEN];
            depot.put(name(number), record).unwrap();
            if (number + 1).is_multiple_of(A_COMMIT) {
                // Everything that belongs to the records is written first. What is written after that is
                // the index.
                depot.flush().unwrap();
                let (before, start) = (file_len(path), Instant::now());
                depot.commit().unwrap();
                commits.push(milliseconds(start));
                index_written += file_len(path) - before;
            }
            if number + 1 == next_report {
                let done = (number + 1) as f64;
                let what = format!("after {done:.0e} records: commits of 2^20, median and most");
                fact(&what, format!("{:.0} and {:.0} ms", median(commits.clone()), most(&commits)));
                next_report *= 10;
            }
        }
        depot.flush().unwrap();
        let (before, start) = (file_len(path), Instant::now());
        depot.close().unwrap();
        closing = milliseconds(start);
        index_written += file_len(path) - before;
    });
    let seconds = start.elapsed().as_secs_f64();
    fact("written at", format!("{:.0} records/s", records as f64 / seconds));
    fact("close", format!("{closing:.0} ms"));
    fact("memory, at most", format!("{:.1} MB", grown / 1e6));
    let info = Depot::open(path, Raw).unwrap().info().unwrap();
    let a_record = |bytes: f64| format!("{:.1} bytes a record", bytes / records as f64);
    fact("file", a_record(info.file_bytes as f64));
    fact(
        "index in use",
        format!("{}, in {} segments", a_record(info.index_bytes as f64), info.index_segments),
    );
    fact("index written", a_record(index_written));
    fact("write amplification of the index", format!("{:.2}", index_written / info.index_bytes as f64));
}

fn read(path: &Path, records: usize) {
    let mut first = 0.0;
    let opened = peak(|| {
        let start = Instant::now();
        drop(Depot::open(path, Raw).unwrap());
        first = milliseconds(start);
    });
    let opens = (0..51).map(|_| {
        let start = Instant::now();
        drop(Depot::open(path, Raw).unwrap());
        milliseconds(start)
    });
    fact("open, first and median of 51", format!("{first:.3} and {:.3} ms", median(opens.collect())));
    fact("memory that opening takes", format!("{:.2} MB", opened / 1e6));

    let names: Vec<String> = data::numbers(LOOKUPS, records).into_iter().map(name).collect();
    let missing: Vec<String> = names.iter().map(|name| format!("{name}_")).collect();
    let mut times = Vec::new();
    let grown = peak(|| {
        let depot = Depot::open(path, Raw).unwrap();
        for (round, (names, there)) in
            [(&names, true), (&names, true), (&missing, false)].into_iter().enumerate()
        {
            let start = Instant::now();
            assert!(names.iter().all(|name| depot.contains(name).unwrap() == there));
            times.push(milliseconds(start) * 1e3 / LOOKUPS as f64);
            if round == 1 {
                let start = Instant::now();
                names.iter().for_each(|name| assert_eq!(depot.get(name).unwrap().len(), RECORD_LEN));
                times.push(milliseconds(start) * 1e3 / LOOKUPS as f64);
            }
        }
    });
    fact("look up a name: pages touched first, again", format!("{:.2}, {:.2} us", times[0], times[1]));
    fact("get a record", format!("{:.2} us", times[2]));
    fact("look up a name that is not there", format!("{:.2} us", times[3]));
    fact("memory after these", format!("{:.1} MB", grown / 1e6));

    let depot = Depot::open(path, Raw).unwrap();
    let prefix = format!("run_{:04}/", records / 200_000);
    let start = Instant::now();
    let listed = depot.keys_with_prefix(&prefix).count();
    let (listing, listed) = (milliseconds(start), listed as f64);
    fact("list the names of one prefix", format!("{listing:.0} ms for {listed:.0} of {records}"));
}

/// Times commits of one record, to the depot at `path` or to a new one.
fn commit(path: &Path) {
    let depot = if path.exists() {
        Depot::builder(Raw).append(path).unwrap()
    } else {
        Depot::create(path, Raw).unwrap()
    };
    let before = file_len(path);
    let times: Vec<f64> = (0..SMALL_COMMITS)
        .map(|number| {
            depot.put(format!("later/{number}"), &[7; RECORD_LEN]).unwrap();
            let start = Instant::now();
            depot.commit().unwrap();
            milliseconds(start)
        })
        .collect();
    let written = (file_len(path) - before) / SMALL_COMMITS as f64;
    let what =
        format!("{SMALL_COMMITS} commits of one record, to a depot of {}", depot.len() - times.len() as u64);
    let (middle, most) = (median(times.clone()), most(&times));
    fact(&what, format!("{middle:.2} ms, at most {most:.2} ms; {written:.0} bytes each"));
    let start = Instant::now();
    depot.close().unwrap();
    fact("close after them", format!("{:.1} ms", milliseconds(start)));
}

fn main() {
    let (mut records, mut path, mut phase, mut keep) = (1_000_000, None, None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value behind the option");
        match argument.as_str() {
            "--records" => records = value().parse().expect("a number of records"),
            "--path" => path = Some(PathBuf::from(value())),
            "--phase" => phase = Some(value()),
            "--keep" => keep = true,
            // Cargo passes this argument.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = path.unwrap_or_else(|| directory.path().join("scale.vld"));
    if let Some(phase) = phase {
        return match phase.as_str() {
            "write" => write(&path, records),
            "read" => read(&path, records),
            _ => commit(&path),
        };
    }
    println!("{records} records of {RECORD_LEN} bytes");
    let small = directory.path().join("small.vld");
    for (phase, path) in [("write", &path), ("read", &path), ("commit", &path), ("commit", &small)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--records", &records.to_string(), "--phase", phase, "--path"]).arg(path);
        assert!(command.status().unwrap().success(), "{phase} failed");
    }
    if !keep {
        std::fs::remove_file(&path).unwrap();
    }
}

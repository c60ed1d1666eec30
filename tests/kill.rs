//! A writer process is killed at any moment. What it acknowledged is there, and readers never saw a torn
//! state.
//!
//! `VLDEPOT_LONG_TESTS=1` kills a thousand writers.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use vldepot::maintain::{VerifyOptions, compact, verify};
use vldepot::{CommitEvery, Depot, Layout, Raw, WriteOptions};

const CHILD: &str = "VLDEPOT_KILLED_WRITER";
const COMPACTING: &str = "VLDEPOT_KILLED_COMPACTION";

fn payload(n: u32) -> Vec<u8> {
    (0..500 + n as usize * 97 % 6000).map(|i| (i as u8 / 5) ^ (n as u8)).collect()
}

/// Not a test of its own: the process that is killed.
#[test]
fn writer_process() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let write = WriteOptions::default().with_commit_every(CommitEvery::never());
    let path = Path::new(&path);
    // A killed creation leaves less than a header, with nothing to keep.
    if std::fs::metadata(path).is_ok_and(|file| file.len() < 4160) {
        std::fs::remove_file(path).unwrap();
    }
    let depot = if path.exists() {
        Depot::builder(Raw).write_options(write).append(path).unwrap()
    } else {
        let layout = Layout::default().with_chunk_size(16 << 10).with_block_size(2048);
        Depot::builder(Raw).layout(layout).write_options(write).create(path).unwrap()
    };
    let mut out = std::io::stdout();
    for n in depot.len() as u32.. {
        depot.put(n, &payload(n)).unwrap();
        match n % 8 {
            3 => depot.commit().unwrap(),
            7 => depot.publish().unwrap(),
            _ => continue,
        }
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Checks that everything readable is right, and that there are at least `least` records.
fn check(path: &Path, least: u32) -> u32 {
    let depot = Depot::open(path, Raw).unwrap();
    let found = depot.len() as u32;
    assert!(found >= least, "{found} records where {least} were acknowledged");
    for n in (0..found).rev().take(100).chain((0..found).step_by(37)) {
        assert!(depot.get(n).unwrap().view() == payload(n), "record {n} of {found}");
    }
    found
}

#[test]
fn what_a_killed_writer_acknowledged_is_there() {
    let kills = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 1000 } else { 25 };
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().join("0.vld");
    let (mut acknowledged, mut total, mut read_beside) = (0, 0, 0);
    let mut random = 12345u64;
    for kill in 0..kills {
        // Starts a new file now and then. Otherwise the next writer goes on where the killed one
        // stopped.
        if kill % 10 == 0 {
            path = folder.path().join(format!("{kill}.vld"));
            acknowledged = 0;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (begun, wait_for_it) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut last = None;
            for line in lines.map_while(Result::ok) {
                if let Some((_, n)) = line.split_once("acknowledged ") {
                    last = n.parse::<u32>().ok().or(last);
                    let _ = begun.send(());
                }
            }
            last
        });
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let moment = Duration::from_micros(1_000 + (random >> 33) % 40_000);
        // Most writers are killed while they write. Every fifth is killed at any moment, such as while
        // it creates or recovers.
        if kill % 5 != 0 {
            wait_for_it.recv_timeout(Duration::from_secs(60)).expect("the writer writes");
        }
        std::thread::sleep(moment / 2);
        if path.exists() && std::fs::metadata(&path).unwrap().len() > 4160 {
            check(&path, acknowledged);
            read_beside += 1;
        }
        std::thread::sleep(moment / 2);
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(last) = reader.join().unwrap() {
            acknowledged = last + 1;
        }
        if acknowledged > 0 {
            let found = check(&path, acknowledged);
            total += 1;
            // The next writer commits what it found, so that must stay.
            acknowledged = acknowledged.max(found.saturating_sub(8));
        }
    }
    println!("{kills} kills, {total} files checked after, {read_beside} beside the writer: nothing lost");
    assert!(total > kills / 2, "the writers hardly got to write: {total} of {kills}");
}

/// Not a test of its own: compacts the depot again and again.
#[test]
fn compacting_process() {
    let Ok(path) = std::env::var(COMPACTING) else { return };
    let mut out = std::io::stdout();
    loop {
        compact(&path, |_| {}).unwrap();
        writeln!(out, "compacted").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_compaction_leaves_the_old_depot_or_the_new_one() {
    let kills = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 300 } else { 12 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let options = Layout::default().with_chunk_size(16 << 10).with_block_size(2048);
    let depot = Depot::builder(Raw).layout(options).create(&path).unwrap();
    for n in 0..400 {
        depot.put(n, &payload(n)).unwrap();
    }
    depot.close().unwrap();
    let mut random = 777u64;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "compacting_process", "--nocapture", "--test-threads=1"])
            .env(COMPACTING, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("compacted")), "it compacts");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let report = verify(&path, &VerifyOptions::default(), |_| {}).unwrap();
        assert!(report.is_whole() && report.records == 400, "kill {kill}: {report:?}");
        let depot = Depot::append(&path, Raw).unwrap();
        for n in (kill % 7..400).step_by(7) {
            assert!(depot.get(n).unwrap().view() == payload(n), "kill {kill}: record {n}");
        }
    }
    // What the last one left is no obstacle.
    compact(&path, |_| {}).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    println!("{kills} kills of a compaction: nothing lost");
}

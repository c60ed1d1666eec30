//! A set of 256 shards beside one file with the same records: opening, warm lookups by name, a scan.
//!
//! Run it with `cargo bench --bench shards`. Each pair is timed in turns, and given as a ratio.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use vldepot::shards::{MergeOptions, Writer, WriterOptions, found, merge};
use vldepot::{Depot, Layout, Raw};
use vldepot_benches::{data, fact, median};

const SHARDS: usize = 256;
const RECORDS: usize = 400_000;
const ROUNDS: usize = 7;
const LOOKUPS: usize = 20_000;

/// The seconds that each of two jobs takes: the median of some rounds, in turns.
fn both(mut one: impl FnMut(), mut other: impl FnMut()) -> (f64, f64) {
    let time = |job: &mut dyn FnMut()| {
        let start = Instant::now();
        job();
        start.elapsed().as_secs_f64()
    };
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        times.0.push(time(&mut one));
        times.1.push(time(&mut other));
    }
    (median(times.0), median(times.1))
}

fn lookups(depot: &Depot<Raw>, names: &[String]) {
    for name in names {
        black_box(depot.get(name).unwrap().view());
    }
}

fn measure(folder: &Path, preset: &str, molecules: &[data::Molecule]) {
    let layout: Layout = preset.parse().unwrap();
    let (file, set) = (folder.join(format!("{preset}.vld")), folder.join(preset));
    std::fs::create_dir(&set).unwrap();
    let name = |n: usize| format!("record {n}");
    let record = |n: usize| &*molecules[n % molecules.len()].bytes;
    let one = Depot::builder(Raw).layout(layout.clone()).create(&file).unwrap();
    (0..RECORDS).for_each(|n| one.put(name(n), record(n)).unwrap());
    one.close().unwrap();
    for shard in 0..SHARDS {
        let depot =
            Depot::builder(Raw).layout(layout.clone()).create(set.join(format!("{shard:03}.vld"))).unwrap();
        (shard..RECORDS).step_by(SHARDS).for_each(|n| depot.put(name(n), record(n)).unwrap());
        depot.close().unwrap();
    }
    let start = Instant::now();
    let merged = merge(&set, &found(&set).unwrap(), &MergeOptions::default()).unwrap();
    fact(&format!("{preset}: merge of {SHARDS} shards"), format!("{:.3} s", start.elapsed().as_secs_f64()));
    assert_eq!((merged.records, merged.shards), (RECORDS as u64, SHARDS as u64));
    let (open_one, open_set) =
        both(|| drop(Depot::open(&file, Raw).unwrap()), || drop(Depot::open(&set, Raw).unwrap()));
    fact(
        &format!("{preset}: opening"),
        format!("{:.2} ms, {:.2} ms for the file", 1e3 * open_set, 1e3 * open_one),
    );
    let (one, many) = (Depot::open(&file, Raw).unwrap(), Depot::open(&set, Raw).unwrap());
    let names: Vec<String> = (0..LOOKUPS).map(|n| name(n.wrapping_mul(2_654_435_761) % RECORDS)).collect();
    lookups(&one, &names);
    lookups(&many, &names);
    let (file, set) = both(|| lookups(&one, &names), || lookups(&many, &names));
    let micro = |seconds: f64| 1e6 * seconds / LOOKUPS as f64;
    fact(
        &format!("{preset}: warm get"),
        format!("{:.2} us, {:.2} us in the file: {:.2} times", micro(set), micro(file), set / file),
    );
    let scan = |depot: &Depot<Raw>| assert_eq!(depot.iter().map(Result::unwrap).count(), RECORDS);
    let (file, set) = both(|| scan(&one), || scan(&many));
    fact(&format!("{preset}: scan"), format!("{:.2} times the file's", set / file));
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let molecules = data::molecules(20_000);
    println!("\n{RECORDS} molecules in {SHARDS} shards");
    for preset in ["balanced", "uncompressed"] {
        measure(folder.path(), preset, &molecules);
    }
    let set = folder.path().join("written");
    let start = Instant::now();
    let writer =
        Writer::new(&set, Depot::builder(Raw), WriterOptions::default().with_shard_bytes(8 << 20)).unwrap();
    (0..RECORDS / 4).for_each(|n| writer.put(n as u64, &molecules[n % molecules.len()].bytes).unwrap());
    let merged = writer.close().unwrap();
    fact("a writer", format!("{} shards, {:.2} s", merged.shards, start.elapsed().as_secs_f64()));
    let start = Instant::now();
    let depot = Depot::create(folder.path().join("written.vld"), Raw).unwrap();
    (0..RECORDS / 4).for_each(|n| depot.put(n as u64, &molecules[n % molecules.len()].bytes).unwrap());
    depot.close().unwrap();
    fact("one file", format!("{:.2} s", start.elapsed().as_secs_f64()));
}

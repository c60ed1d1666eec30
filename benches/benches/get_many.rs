//! Reading 256 records at once, compared with reading them one by one.

use criterion::{SamplingMode, Throughput};
use vldepot::codecs::{AtomicFrameCodec, Fields, FlatFrames};
use vldepot::{Depot, Raw, ReadOptions};
use vldepot_benches::{Contest, criterion, data, goal, goal_at_least, median, timed};

const BATCH: usize = 256;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("molecules.vld");
    let molecules = data::molecules(data::MOLECULES);
    let depot = Depot::create(&path, Raw).unwrap();
    data::put_molecules(&depot, &molecules);
    depot.close().unwrap();
    let depot = Depot::open(&path, Raw).unwrap();

    let everywhere = data::numbers(BATCH, molecules.len());
    // A shuffled window: 256 of 2048 neighbours.
    let near: Vec<usize> = data::numbers(BATCH, 2048).iter().map(|number| 50_000 + number).collect();
    let run: Vec<usize> = (70_000..70_000 + BATCH).collect();
    let batches = [("out of 100,000", everywhere), ("out of 2048 neighbours", near), ("in a row", run)];

    let many = |names: &[&String]| depot.get_many(names).unwrap().len();
    let singly = |names: &[&String]| names.iter().map(|name| depot.get(name).unwrap().len()).sum::<usize>();
    let mut c = criterion();
    let mut summary = Vec::new();
    for (what, numbers) in &batches {
        let names: Vec<&String> = numbers.iter().map(|&number| &molecules[number].name).collect();
        let bytes = numbers.iter().map(|&number| molecules[number].bytes.len() as u64).sum();
        let mut group = c.benchmark_group(format!("256 molecules {what}"));
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::ElementsAndBytes { elements: BATCH as u64, bytes });
        group.bench_function("get_many", |b| b.iter(|| many(&names)));
        group.bench_function("get", |b| b.iter(|| singly(&names)));
        group.finish();

        let (ours, theirs) = (|| timed(|| _ = many(&names)), || timed(|| _ = singly(&names)));
        summary.push((what, Contest::run(51, ours, theirs)));
    }
    let everywhere: Vec<&String> = batches[0].1.iter().map(|&number| &molecules[number].name).collect();
    let with = |threads| {
        timed(|| {
            _ = depot.get_many_with(&everywhere, &ReadOptions::default().with_threads(threads)).unwrap().len()
        })
    };
    let two = Contest::run(51, || with(1), || with(2));
    let visited =
        || timed(|| depot.visit_many(&everywhere, |_, bytes| _ = std::hint::black_box(bytes.len())).unwrap());
    let visited = Contest::run(51, || timed(|| _ = many(&everywhere)), visited);
    let positions = positions_alone();
    println!("\nget_many of 256 molecules: time over that of 256 times get");
    for (what, contest) in summary {
        let (ours, theirs) = (contest.ours() * 1e3, contest.theirs() * 1e3);
        let what = format!("{what}: {ours:.2} ms, singly {theirs:.2} ms");
        goal(&what, contest.time_ratio(), "times", 1.0);
    }
    goal_at_least("two threads, speed over one thread's", two.time_ratio(), "times", 1.7);
    goal_at_least("visit_many, speed over get_many's", visited.time_ratio(), "times", 1.0);
    goal_at_least("positions of frames alone, speed over all their vectors'", positions, "times", 1.5);
    c.final_summary();
}

/// How many times as fast it is to read positions alone as to read positions, velocities and forces.
fn positions_alone() -> f64 {
    let frames = data::frames();
    let depot = Depot::memory(AtomicFrameCodec::default()).unwrap();
    data::put_frames(&depot, &frames);
    depot.commit().unwrap();
    let names: Vec<&String> = frames.iter().map(|frame| &frame.name).collect();
    let mut flat = FlatFrames::new();
    let mut read = |fields| timed(|| depot.get_many_flat_into(&names, fields, &mut flat).unwrap());
    let all = Fields::POSITIONS | Fields::VELOCITIES | Fields::FORCES;
    let times = (0..31).map(|_| read(all).as_secs_f64() / read(Fields::POSITIONS).as_secs_f64());
    median(times.collect())
}

//! Writing, compared with Blosc2 compressing the same chunks, and the size of the file.

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Codec, Depot, Layout, Raw, WriteOptions};
use vldepot_benches::blosc::Chunks;
use vldepot_benches::data::{self, Frame, Molecule, one_thread};
use vldepot_benches::{Contest, criterion, fact, goal, goal_at_least, timed};

type Put<C> = Box<dyn Fn(&Depot<C>)>;

/// What to put, and how.
struct Load<C: Codec> {
    name: &'static str,
    codec: C,
    put: Put<C>,
}

impl<C: Codec + Clone> Load<C> {
    fn new(name: &'static str, codec: C, put: impl Fn(&Depot<C>) + 'static) -> (Self, Chunks) {
        let depot = Depot::memory(codec.clone()).unwrap();
        put(&depot);
        let chunks = data::chunks(&depot);
        (Self { name, codec, put: Box::new(put) }, chunks)
    }

    /// The time from nothing to a durable depot.
    fn to_memory(&self, layout: Layout, write: WriteOptions) -> Duration {
        timed(|| {
            let depot =
                Depot::builder(self.codec.clone()).layout(layout).write_options(write).memory().unwrap();
            (self.put)(&depot);
            depot.close().unwrap();
        })
    }

    fn to_file(&self, path: &Path, layout: Layout, write: WriteOptions) -> Duration {
        let _ = std::fs::remove_file(path);
        timed(|| {
            let depot =
                Depot::builder(self.codec.clone()).layout(layout).write_options(write).create(path).unwrap();
            (self.put)(&depot);
            depot.close().unwrap();
        })
    }

    fn bench(&self, chunks: &mut Chunks, c: &mut Criterion, path: &Path) {
        let mut group = c.benchmark_group(format!("put {}", self.name));
        let (bytes, elements) = (chunks.payload() as u64, chunks.records.len() as u64);
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        let (balanced, threads) = (Layout::default, WriteOptions::default);
        group.bench_function("memory", |b| b.iter(|| self.to_memory(balanced(), threads())));
        group.bench_function("memory, one thread", |b| b.iter(|| self.to_memory(balanced(), one_thread())));
        group.bench_function("file", |b| b.iter(|| self.to_file(path, balanced(), threads())));
        group.bench_function("file, one thread", |b| b.iter(|| self.to_file(path, balanced(), one_thread())));
        group.bench_function("file, fast", |b| b.iter(|| self.to_file(path, Layout::fast(), threads())));
        group.bench_function("file, uncompressed", |b| {
            b.iter(|| self.to_file(path, Layout::uncompressed(), threads()));
        });
        group.bench_function("Blosc2 alone, one thread", |b| b.iter(|| chunks.compress_all()));
        group.finish();
    }

    /// Prints the throughput divided by that of Blosc2 alone.
    fn summary(&self, chunks: &mut Chunks, rounds: usize, path: &Path) {
        let plain = path.with_extension("plain");
        let (layout, threads) = (Layout::default, WriteOptions::default);
        let jobs: [(&str, bool, &dyn Fn() -> Duration); 6] = [
            ("to memory, one thread", false, &|| self.to_memory(layout(), one_thread())),
            ("to memory", false, &|| self.to_memory(layout(), threads())),
            ("to a file, one thread", false, &|| self.to_file(path, layout(), one_thread())),
            ("to a file", false, &|| self.to_file(path, layout(), threads())),
            ("to a file, one thread", true, &|| self.to_file(path, layout(), one_thread())),
            ("to a file", true, &|| self.to_file(path, layout(), threads())),
        ];
        let payload = chunks.payload() as f64;
        for (what, against_file, job) in jobs {
            let contest = Contest::run(rounds, job, || {
                let _ = std::fs::remove_file(&plain);
                timed(|| {
                    if against_file {
                        chunks.compress_to(&plain).unwrap();
                    } else {
                        chunks.compress_all();
                    }
                })
            });
            let rate = |seconds: f64| payload / 1e6 / seconds;
            let (ours, theirs) = (rate(contest.ours()), rate(contest.theirs()));
            let rival = if against_file { "Blosc2, written and synced" } else { "Blosc2" };
            let what = format!("{} {what}: {ours:.0} MB/s, {rival} {theirs:.0}", self.name);
            goal_at_least(&what, 1.0 / contest.time_ratio(), "times", 0.8);
        }
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.vld");
    let frames: Vec<Frame> = data::frames();
    let molecules: Vec<Molecule> = data::molecules(data::MOLECULES);
    let few = data::molecules(20_000);

    let (frames, mut frame_chunks) = Load::new("frames", AtomicFrameCodec::default(), move |depot| {
        data::put_frames(depot, &frames);
    });
    let (few, mut few_chunks) = Load::new("molecules", Raw, move |depot| data::put_molecules(depot, &few));
    let (molecules, mut chunks) =
        Load::new("100,000 molecules", Raw, move |depot| data::put_molecules(depot, &molecules));

    let mut c = criterion();
    frames.bench(&mut frame_chunks, &mut c, &path);
    few.bench(&mut few_chunks, &mut c, &path);

    println!("\nwriting: throughput over that of Blosc2 compressing the same chunks with one thread");
    frames.summary(&mut frame_chunks, 7, &path);
    molecules.summary(&mut chunks, 3, &path);

    println!("\nputs from several threads into one depot in memory: throughput over that of one thread");
    let shared = data::molecules(20_000);
    let put = |threads| {
        timed(|| {
            let depot = Depot::memory(Raw).unwrap();
            data::put_molecules_on(threads, &depot, &shared);
            depot.close().unwrap();
        })
    };
    for threads in [2, 4, 8] {
        let contest = Contest::run(7, || put(threads), || put(1));
        fact(&format!("{threads} threads"), format!("{:.2}", 1.0 / contest.time_ratio()));
    }

    println!("\nsize of 100,000 molecules in a closed file");
    molecules.to_file(&path, Layout::default(), WriteOptions::default());
    let info = Depot::open(&path, Raw).unwrap().info().unwrap();
    let (payload, records) = (chunks.payload() as f64, chunks.records.len() as f64);
    let file = info.file_bytes as f64;
    let compressed = chunks.compress_all() as f64;
    assert_eq!(info.raw_bytes, chunks.payload() as u64);
    goal("file over payload", file / payload, "times", 0.85);
    fact("payload, file", format!("{payload} bytes, {file} bytes"));
    fact("Blosc2 chunks alone over payload", format!("{:.3}", compressed / payload));
    fact("bytes a record that are not Blosc2 chunks", format!("{:.2}", (file - compressed) / records));
    fact("index bytes a record", format!("{:.2}", info.index_bytes as f64 / records));
    c.final_summary();
}

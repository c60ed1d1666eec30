//! Whole epochs through the loader, compared with Blosc2 decompressing all chunks on one thread.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Codec, Depot, LoaderBuilder, Raw};
use vldepot_benches::blosc::Chunks;
use vldepot_benches::{Contest, criterion, data, fact, goal_at_least, timed};

struct Load<C: Codec> {
    name: &'static str,
    batch: usize,
    depot: Depot<C>,
    chunks: Chunks,
}

/// Epochs that one loader reads in each round.
const EPOCHS: u64 = 8;

/// Processor time of all threads of this process.
fn processor_time(job: impl FnOnce()) -> Duration {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a pointer to a struct that lives; the clock is one that Linux has.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let start = now();
    job();
    now() - start
}

type Setting<C> = fn(LoaderBuilder<'_, C>) -> LoaderBuilder<'_, C>;

impl<C: Codec + Clone> Load<C> {
    fn new(
        name: &'static str,
        batch: usize,
        codec: &C,
        directory: &std::path::Path,
        put: impl Fn(&Depot<C>),
    ) -> Self {
        let path = directory.join(format!("{name}.vld"));
        let depot = Depot::create(&path, codec.clone()).unwrap();
        put(&depot);
        let mut chunks = data::chunks(&depot);
        depot.close().unwrap();
        chunks.keep_compressed();
        let depot = Depot::open(&path, codec.clone()).unwrap();
        Self { name, batch, depot, chunks }
    }

    /// Reads some epochs with one loader.
    fn epochs(&self, epochs: u64, bytes: usize, setting: Setting<C>) {
        let loader = setting(self.depot.loader().batch_size(self.batch).epochs(epochs)).build().unwrap();
        let read: usize = loader
            .map(|batch| batch.unwrap().records().iter().map(|record| record.len()).sum::<usize>())
            .sum();
        assert_eq!(read, epochs as usize * bytes);
    }

    fn bench(&self, c: &mut Criterion) {
        let mut group = c.benchmark_group(format!("epoch of {}", self.name));
        group.sampling_mode(SamplingMode::Flat);
        let elements = self.chunks.records.len() as u64;
        group.throughput(Throughput::ElementsAndBytes { elements, bytes: self.chunks.payload() as u64 });
        let settings: [(&str, Setting<C>); 3] = [
            ("sequential", |loader| loader.threads(2)),
            ("shuffle", |loader| loader.shuffle(1).threads(2)),
            ("shuffle_full", |loader| loader.shuffle_full(1).threads(2)),
        ];
        for (what, setting) in settings {
            group.bench_function(format!("{what}, 2 threads"), |b| {
                b.iter(|| self.epochs(1, self.chunks.payload(), setting));
            });
        }
        group.finish();
    }

    /// Prints ratios of processor time, which other programs on the machine hardly change.
    fn summary(&mut self, rounds: usize) {
        let payload = self.chunks.payload() as f64 / 1e6;
        let mut chunks =
            std::mem::replace(&mut self.chunks, Chunks::new(vldepot::Compression::default(), 64, 64));
        let bytes = chunks.payload();
        let settings: [(&str, Setting<C>, Option<f64>); 8] = [
            ("shuffle, in the caller", |loader| loader.shuffle(1).threads(0), Some(0.8)),
            ("shuffle, 1 thread", |loader| loader.shuffle(1).threads(1), Some(0.8)),
            ("shuffle, 2 threads", |loader| loader.shuffle(1).threads(2), None),
            ("shuffle, window 16 MiB", |loader| loader.shuffle(1).threads(0).window(16 << 20), None),
            ("shuffle, groups of 256 KiB", |loader| loader.shuffle(1).threads(0).group(256 << 10), None),
            ("shuffle, groups of 4 MiB", |loader| loader.shuffle(1).threads(0).group(4 << 20), None),
            ("sequential, in the caller", |loader| loader.threads(0), None),
            ("shuffle_full, in the caller", |loader| loader.shuffle_full(1).threads(0), None),
        ];
        for (what, setting, at_least) in settings {
            let full = what.starts_with("shuffle_full");
            // Several epochs, because the first window has to ask the system for memory. With one epoch
            // it would weigh too much.
            let epochs = if full { 1 } else { EPOCHS };
            let ours = || processor_time(|| self.epochs(epochs, bytes, setting)) / epochs as u32;
            let contest = Contest::run(if full { 3 } else { rounds }, ours, || {
                processor_time(|| _ = std::hint::black_box(chunks.decompress_all()))
            });
            let (ours, theirs) = (payload / contest.ours(), payload / contest.theirs());
            let what = format!("{}, {what}: {ours:.0} MB/s, Blosc2 {theirs:.0}", self.name);
            let ratio = 1.0 / contest.time_ratio();
            match at_least {
                Some(at_least) => goal_at_least(&what, ratio, "times", at_least),
                None => fact(&what, format!("{ratio:>8.3} times")),
            }
        }
        let time = |setting: Setting<C>| timed(|| self.epochs(EPOCHS, bytes, setting));
        let (one, two): (Setting<C>, Setting<C>) =
            (|loader| loader.shuffle(1).threads(1), |loader| loader.shuffle(1).threads(2));
        let contest = Contest::run(rounds, || time(one), || time(two));
        let what = format!("{}, shuffle: 2 threads over 1, by the clock", self.name);
        goal_at_least(&what, contest.time_ratio(), "times", 1.7);
        self.chunks = chunks;
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let frames = data::frames();
    let molecules = data::molecules(data::MOLECULES);
    let codec = AtomicFrameCodec::default();
    let mut frames = Load::new("frames", 8, &codec, directory.path(), |depot| {
        data::put_frames(depot, &frames);
    });
    let mut molecules = Load::new("molecules", 64, &Raw, directory.path(), |depot| {
        data::put_molecules(depot, &molecules);
    });
    let mut c = criterion();
    frames.bench(&mut c);
    molecules.bench(&mut c);
    println!(
        "\nan epoch through the loader: its throughput a second of processor time over that of Blosc2 decompressing all \
         chunks"
    );
    frames.summary(21);
    molecules.summary(7);
    c.final_summary();
}

//! Reading single records by name, compared with Blosc2 decompressing the same blocks.

use criterion::{Criterion, SamplingMode, Throughput};
use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Codec, Depot, Layout, Mapping, OpenOptions, Raw};
use vldepot_benches::blosc::Chunks;
use vldepot_benches::{Contest, criterion, data, fact, goal, timed};

struct Load<C: Codec> {
    name: &'static str,
    names: Vec<String>,
    /// The records that are read, in a random order.
    order: Vec<usize>,
    depots: Vec<(&'static str, Depot<C>)>,
    chunks: Chunks,
}

impl<C: Codec + Clone> Load<C> {
    fn new(
        name: &'static str,
        codec: &C,
        reads: usize,
        names: Vec<String>,
        directory: &std::path::Path,
        put: impl Fn(&Depot<C>),
    ) -> Self {
        let file = |preset: &str| {
            let path = directory.join(format!("{name} {preset}.vld"));
            let options = preset.parse::<Layout>().unwrap();
            let depot = Depot::builder(codec.clone()).layout(options).create(&path).unwrap();
            put(&depot);
            depot.close().unwrap();
            path
        };
        let memory = Depot::memory(codec.clone()).unwrap();
        put(&memory);
        let mut chunks = data::chunks(&memory);
        chunks.keep_compressed();
        let memory = Depot::from_bytes(&memory.to_bytes().unwrap(), codec.clone()).unwrap();
        let (balanced, fast, bare) = (file("balanced"), file("fast"), file("uncompressed"));
        let unmapped = OpenOptions::default().with_mapping(Mapping::Never);
        let depots = vec![
            ("file", Depot::open(&balanced, codec.clone()).unwrap()),
            ("memory", memory),
            ("file, fast", Depot::open(&fast, codec.clone()).unwrap()),
            ("file, uncompressed", Depot::open(&bare, codec.clone()).unwrap()),
            (
                "file, uncompressed, no map",
                Depot::builder(codec.clone()).open_options(unmapped.clone()).open(&bare).unwrap(),
            ),
        ];
        let order = data::numbers(reads, names.len());
        Self { name, names, order, depots, chunks }
    }

    fn read_all(&self, depot: &Depot<C>) -> usize {
        self.order.iter().map(|&number| depot.get(&self.names[number]).unwrap().len()).sum()
    }

    fn bench(&mut self, c: &mut Criterion) {
        let mut group = c.benchmark_group(format!("get {}", self.name));
        let bytes = self.order.iter().map(|&number| self.chunks.records[number].2 as u64).sum();
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::ElementsAndBytes { elements: self.order.len() as u64, bytes });
        for (what, depot) in &self.depots {
            group.bench_function(*what, |b| b.iter(|| self.read_all(depot)));
        }
        let (order, chunks) = (&self.order, &mut self.chunks);
        group.bench_function("Blosc2 alone", |b| {
            b.iter(|| order.iter().map(|&number| chunks.decompress_record(number).len()).sum::<usize>());
        });
        group.finish();
    }

    fn summary(&mut self) {
        let per_record = 1e6 / self.order.len() as f64;
        for (what, depot) in &self.depots {
            let (order, names, chunks) = (&self.order, &self.names, &mut self.chunks);
            for &number in &order[..order.len().min(20)] {
                assert!(depot.get(&names[number]).unwrap().as_bytes() == chunks.decompress_record(number));
            }
            let ours = || {
                timed(|| {
                    for &number in order {
                        std::hint::black_box(depot.get(&names[number]).unwrap().len());
                    }
                })
            };
            let contest = Contest::run(31, ours, || {
                timed(|| {
                    for &number in order {
                        std::hint::black_box(chunks.decompress_record(number).len());
                    }
                })
            });
            let (ours, theirs) = (contest.ours() * per_record, contest.theirs() * per_record);
            let what = format!("get {}, {what}: {ours:.1} us, Blosc2 {theirs:.1} us", self.name);
            if matches!(what.as_str(), w if w.contains("uncompressed") || w.contains("fast")) {
                fact(&what, format!("{:>8.3} times", contest.time_ratio()));
            } else {
                goal(&what, contest.time_ratio(), "times", 1.3);
            }
        }
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let frames = data::frames();
    let molecules = data::molecules(data::MOLECULES);
    let names = frames.iter().map(|frame| frame.name.clone()).collect();
    let codec = AtomicFrameCodec::default();
    let mut frames = Load::new("frame", &codec, 100, names, directory.path(), |depot| {
        data::put_frames(depot, &frames);
    });
    let names = molecules.iter().map(|molecule| molecule.name.clone()).collect();
    let mut molecules = Load::new("molecule", &Raw, 2000, names, directory.path(), |depot| {
        data::put_molecules(depot, &molecules);
    });
    let mut c = criterion();
    frames.bench(&mut c);
    molecules.bench(&mut c);
    println!(
        "\nreading by name, in random order, warm: time over that of Blosc2 decompressing the same blocks"
    );
    frames.summary();
    molecules.summary();
    c.final_summary();
}

//! A depot and a list, driven by the same operations.

use std::sync::Arc;

use crate::codec::{Codec, CodecError};
use crate::depot::{Depot, DepotBuilder};
use crate::error::ErrorKind;
use crate::key::Key;
use crate::options::{CommitEvery, Layout, Mapping, OpenOptions, Placement, WriteOptions};
use crate::planes::{Elements, FieldSpans};
use crate::storage::{MemoryStorage, Storage};

/// The most raw bytes put in one run, and the most operations. A run takes milliseconds.
const PUT_BYTES: usize = 1 << 17;
const OPERATIONS: usize = 100;

/// What is left of the input. It reads as zeros when nothing is left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn below(&mut self, limit: usize) -> usize {
        (usize::from(self.byte()) | usize::from(self.byte()) << 8) % limit
    }

    /// A length. Lengths near those of blocks and chunks are as likely as others.
    fn length(&mut self, chunk: usize) -> usize {
        match self.byte() % 6 {
            0 => 0,
            1 => self.below(64),
            2 => self.below(600),
            3 => chunk - 8 + self.below(16),
            4 => self.below(4 * chunk),
            _ => 512 - 8 + self.below(16),
        }
    }
}

/// Bytes that have two fields, or none. Where they lie follows from the first byte and the length.
#[derive(Debug, Clone, Copy)]
struct Striped {
    fields: bool,
}

impl Codec for Striped {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "striped";
    const ALIGN: usize = 8;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }

    fn has_fields(&self) -> bool {
        self.fields
    }

    fn fields(&self, view: &&[u8], fields: &mut FieldSpans<'_>) {
        let Some(&first) = view.first() else { return };
        let gap = usize::from(first % 16);
        for (field, kind) in [(1, first % 3), (9, first % 2)] {
            let elements = Elements::from_code(2 * kind + field % 2).unwrap_or(Elements::Bytes1);
            let half = (view.len() / 2).saturating_sub(gap) / elements.size() * elements.size();
            let start = gap + if field == 1 { 0 } else { view.len() / 2 };
            fields.add_at(field, elements, start, half);
        }
    }
}

/// A record as it was put: what its bytes are made from.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    key: Key,
    length: usize,
    seed: u8,
    metadata: Option<u8>,
}

impl Line {
    #[expect(clippy::cast_possible_truncation, reason = "made of the low bytes of a counter")]
    fn bytes(&self) -> Vec<u8> {
        // Seed 0 gives all zeros, which have a kind of chunk of their own.
        let smooth = |i: usize| (i as u8 / 5).wrapping_add(self.seed).wrapping_mul(3);
        // Some have two planes of one byte, if their fields are apart.
        let byte = |i: usize| if self.seed.is_multiple_of(3) && i % 4 > 1 { 7 } else { smooth(i) };
        (0..self.length).map(|i| if self.seed == 0 { 0 } else { byte(i) }).collect()
    }
}

/// The records in order. A replaced name moves to the end.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model(Vec<Line>);

impl Model {
    fn find(&self, key: &Key) -> Option<&Line> {
        self.0.iter().find(|line| line.key == *key)
    }

    fn remove(&mut self, key: &Key) -> Option<Line> {
        let at = self.0.iter().position(|line| line.key == *key)?;
        Some(self.0.remove(at))
    }

    fn put(&mut self, line: Line) {
        self.remove(&line.key);
        self.0.push(line);
    }
}

/// Keys of every kind; they collide often.
fn key(number: u8) -> Key {
    let number = number % 24;
    match number % 3 {
        0 => Key::Str(format!("frame_{number:03}")),
        1 => Key::Bytes(vec![0, number]),
        _ => Key::Int(i128::from(number) - 10),
    }
}

fn options(input: &mut Input<'_>) -> (Layout, WriteOptions) {
    let (layout, commits) = (input.byte(), input.byte());
    let placements = [Placement::NoCross, Placement::Contiguous, Placement::StartAligned];
    let preset: Layout = Layout::PRESETS[usize::from(layout) % 4].parse().unwrap_or_default();
    let records = (commits % 4 == 0).then_some(u64::from(commits / 16) + 1);
    // Without threads every run is the same.
    let write = WriteOptions::default()
        .with_threads(0)
        .with_commit_every(CommitEvery::default().with_records(records));
    let layout = preset
        .with_placement(placements[usize::from(layout / 4) % 3])
        .with_chunk_size([1024, 2048, 4096][usize::from(layout / 16) % 3])
        .with_block_size((layout < 128).then_some(512))
        .with_vlstore_compatible(commits & 8 != 0)
        .with_fields_apart(layout & 8 != 0);
    (layout, write)
}

/// The state of a run: the depot, its storage, and what it should hold.
struct Run {
    storage: Arc<dyn Storage>,
    depot: Depot<Striped>,
    reopened: DepotBuilder<Striped>,
    model: Model,
    /// The states since everything was last handed to the storage. A writer that dies leaves one of
    /// them.
    since: Vec<Model>,
    chunk: usize,
    put: usize,
}

/// Runs the same operations on a depot in memory and on a list, and compares the two.
///
/// The operations are put, replace, remove, metadata, flush, commit, publish, close, writers that die,
/// and reads of every kind. The first two bytes choose the options, the rest the operations.
///
/// # Panics
/// When depot and list do not agree.
pub fn operations(input: &[u8]) {
    let mut input = Input(input);
    let (layout, write) = options(&mut input);
    let chunk = layout.chunk_size;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mapping = if input.byte() % 2 == 0 { Mapping::Auto } else { Mapping::Never };
    let codec = Striped { fields: layout.fields_apart };
    let reopened =
        Depot::builder(codec).open_options(OpenOptions::default().with_mapping(mapping)).write_options(write);
    let mut run = Run {
        depot: reopened
            .clone()
            .layout(layout)
            .create_in(Arc::clone(&storage))
            .expect("options that go together"),
        reopened,
        storage,
        model: Model::default(),
        since: vec![Model::default()],
        chunk,
        put: 0,
    };
    for _ in 0..OPERATIONS {
        if input.0.is_empty() || run.put >= PUT_BYTES {
            break;
        }
        run.step(&mut input);
    }
    run.check(&run.depot);
    run.depot.close().expect("memory closes");
    let depot = run.reopened.clone().open_in(Arc::clone(&run.storage)).expect("what was closed opens");
    same(&depot, &run.model).unwrap_or_else(|why| panic!("after closing: {why}"));
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 20 {
            0..=5 => self.put(input),
            6 => self.put_new(input),
            7 | 8 => {
                let key = key(input.byte());
                let removed = self.depot.remove(&key).expect("memory takes all");
                assert_eq!(removed, self.model.remove(&key).is_some(), "removing {key}");
                self.changed();
            }
            9 => self.set_metadata(input),
            10 => {
                self.depot.commit().expect("memory commits");
                self.settled();
            }
            11 => {
                self.depot.publish().expect("memory commits");
                self.settled();
            }
            12 => {
                self.depot.flush().expect("memory takes all");
                self.settled();
            }
            13 => self.reopen(input.byte()),
            14 | 15 => {
                let key = key(input.byte());
                match (self.depot.get(&key), self.model.find(&key)) {
                    (Ok(record), Some(line)) => assert!(record.view() == line.bytes(), "{key}"),
                    (Err(error), None) => assert!(error.is_not_found(), "{key}: {error}"),
                    (found, expected) => panic!("{found:?} where {expected:?} was put"),
                }
            }
            16 => self.get_many(input),
            17 => self.get_at(input),
            18 => {
                let reader = self.reopened.clone().open_in(Arc::clone(&self.storage));
                let reader = reader.expect("a reader opens beside the writer");
                reader.iter().for_each(|record| assert!(record.is_ok(), "a reader beside the writer"));
            }
            _ => self.check(&self.depot),
        }
    }

    /// Notes that a record was put or removed.
    fn changed(&mut self) {
        self.since.push(self.model.clone());
    }

    /// Notes that everything is in the storage.
    fn settled(&mut self) {
        self.since = vec![self.model.clone()];
    }

    fn line(&mut self, input: &mut Input<'_>) -> Line {
        let (key, length, seed) = (key(input.byte()), input.length(self.chunk), input.byte());
        self.put += length + 64;
        let metadata = (seed % 5 == 1).then_some(seed);
        Line { key, length, seed, metadata }
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let line = self.line(input);
        let done = match line.metadata {
            Some(value) => self.depot.put_with_metadata(&line.key, &line.bytes(), &value),
            None => self.depot.put(&line.key, &line.bytes()),
        };
        done.expect("memory takes all");
        self.model.put(line);
        self.changed();
    }

    fn put_new(&mut self, input: &mut Input<'_>) {
        let line = Line { metadata: None, ..self.line(input) };
        let taken = self.model.find(&line.key).is_some();
        match self.depot.put_new(&line.key, &line.bytes()) {
            Ok(()) => assert!(!taken, "{} was put twice", line.key),
            Err(error) if matches!(error.kind(), ErrorKind::Exists) => {
                assert!(taken, "{} is not there", line.key);
            }
            Err(error) => panic!("{error}"),
        }
        if !taken {
            self.model.put(line);
            self.changed();
        }
    }

    fn set_metadata(&mut self, input: &mut Input<'_>) {
        let (key, value) = (key(input.byte()), input.byte());
        let done = self.depot.set_metadata(&key, &value);
        match self.model.remove(&key) {
            Some(line) => {
                done.expect("memory takes all");
                self.model.0.push(Line { metadata: Some(value), ..line });
                self.changed();
            }
            None => assert!(done.is_err_and(|error| error.is_not_found()), "metadata of {key}"),
        }
    }

    /// Opens the depot anew: after a close, after everything was handed to the storage, or after the
    /// writer died.
    fn reopen(&mut self, how: u8) {
        match how % 3 {
            0 => self.depot.publish().expect("memory commits"),
            1 => self.depot.flush().expect("memory takes all"),
            _ => {}
        }
        if how % 3 < 2 {
            self.settled();
        }
        // Dropping a depot in memory writes nothing, so the first one ends like a killed process.
        let again = self.reopened.clone().append_in(Arc::clone(&self.storage));
        self.depot = again.expect("what was written opens");
        let kept = self.since.iter().rev().find(|model| same(&self.depot, model).is_ok());
        if let Some(kept) = kept {
            self.model = kept.clone();
        }
        self.settled();
        self.check(&self.depot);
    }

    fn get_many(&self, input: &mut Input<'_>) {
        let keys: Vec<Key> = (0..input.byte() % 12).map(|_| key(input.byte())).collect();
        match self.depot.get_many(&keys) {
            Ok(records) => {
                assert_eq!(records.len(), keys.len());
                for (key, record) in keys.iter().zip(records) {
                    let line = self.model.find(key).expect("a record that was put");
                    assert!(record.view() == line.bytes(), "{key} of many");
                }
            }
            Err(error) => {
                assert!(error.is_not_found(), "{error}");
                assert!(keys.iter().any(|key| self.model.find(key).is_none()), "{error}");
            }
        }
    }

    fn get_at(&self, input: &mut Input<'_>) {
        let position = input.below(self.model.0.len() + 1);
        match (self.depot.get_at(position as u64), self.model.0.get(position)) {
            (Ok(record), Some(line)) => {
                assert!(record.view() == line.bytes(), "{} by position", line.key);
                let key = self.depot.key_at(position as u64).expect("a name");
                assert_eq!(key, line.key, "name by position");
            }
            (Err(error), None) => assert!(error.is_not_found(), "{error}"),
            (found, expected) => panic!("{found:?} where {expected:?} is"),
        }
    }

    fn check(&self, depot: &Depot<Striped>) {
        same(depot, &self.model).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Says how depot and model differ.
fn same(depot: &Depot<Striped>, model: &Model) -> Result<(), String> {
    let differ = |what: &str| Err(format!("{what}: {depot:?} and {model:?}"));
    let info = depot.info().expect("memory can be asked");
    let raw: u64 = model.0.iter().map(|line| line.length as u64).sum();
    if (depot.len(), info.raw_bytes) != (model.0.len() as u64, raw) {
        return differ("sizes");
    }
    let mut records = depot.iter().map(|record| record.expect("a whole record"));
    for line in &model.0 {
        let Some((key, record)) = records.next() else { return differ("records") };
        if key != line.key || record.view() != line.bytes() {
            return differ("a record");
        }
        if depot.metadata::<u8>(&key).expect("a record's metadata") != line.metadata {
            return differ("metadata");
        }
    }
    if records.next().is_some() {
        return differ("records");
    }
    let names = depot.keys().map(|key| key.expect("a name"));
    if names.eq(model.0.iter().map(|line| line.key.clone())) { Ok(()) } else { differ("names") }
}

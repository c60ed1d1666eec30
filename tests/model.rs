//! A depot and a plain list of names and bytes always agree after the same random operations.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use proptest::prelude::*;
use vldepot::{
    CommitEvery, Depot, ErrorKind, Key, Layout, Mapping, OpenOptions, Placement, Raw, WriteOptions,
};

#[derive(Debug, Clone)]
enum Operation {
    Put {
        name: u8,
        len: usize,
        seed: u8,
    },
    PutNew {
        name: u8,
        len: usize,
        seed: u8,
    },
    Remove {
        name: u8,
    },
    SetMetadata {
        name: u8,
        value: u8,
    },
    Commit,
    Publish,
    Flush,
    /// Close, or drop without closing, and open again for writing.
    Reopen {
        close: bool,
    },
    Get {
        name: u8,
    },
    GetMany {
        names: Vec<u8>,
    },
    GetAt {
        position: u16,
    },
    Iterate,
}

fn operation() -> impl Strategy<Value = Operation> {
    // Names collide often. Lengths lie around those of blocks and of chunks of 2 KiB.
    let name = 0..24u8;
    let len = prop_oneof![0..64usize, 0..600usize, 2040..2060usize, 0..7000usize];
    prop_oneof![
        8 => (name.clone(), len.clone(), any::<u8>()).prop_map(|(name, len, seed)| Operation::Put { name, len, seed }),
        2 => (name.clone(), len, any::<u8>()).prop_map(|(name, len, seed)| Operation::PutNew { name, len, seed }),
        3 => name.clone().prop_map(|name| Operation::Remove { name }),
        1 => (name.clone(), any::<u8>()).prop_map(|(name, value)| Operation::SetMetadata { name, value }),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Publish),
        1 => Just(Operation::Flush),
        1 => any::<bool>().prop_map(|close| Operation::Reopen { close }),
        3 => name.clone().prop_map(|name| Operation::Get { name }),
        2 => proptest::collection::vec(name, 0..12).prop_map(|names| Operation::GetMany { names }),
        2 => any::<u16>().prop_map(|position| Operation::GetAt { position }),
        1 => Just(Operation::Iterate),
    ]
}

/// Keys of every kind.
fn key(name: u8) -> Key {
    match name % 3 {
        0 => Key::Str(format!("frame_{name:03}")),
        1 => Key::Bytes(vec![0, name]),
        _ => Key::Int(i128::from(name) - 10),
    }
}

fn payload(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8 / 5).wrapping_add(seed).wrapping_mul(3)).collect()
}

/// Names and bytes in order. A replaced name moves to the end.
#[derive(Debug, Default, Clone)]
struct Model(Vec<(Key, Vec<u8>, Option<u8>)>);

impl Model {
    fn get(&self, key: &Key) -> Option<&Vec<u8>> {
        self.0.iter().find(|(name, ..)| name == key).map(|(_, bytes, _)| bytes)
    }

    fn remove(&mut self, key: &Key) -> Option<(Key, Vec<u8>, Option<u8>)> {
        let at = self.0.iter().position(|(name, ..)| name == key)?;
        Some(self.0.remove(at))
    }

    fn put(&mut self, key: Key, bytes: Vec<u8>) {
        self.remove(&key);
        self.0.push((key, bytes, None));
    }
}

fn assert_same(depot: &Depot<Raw>, model: &Model) {
    assert_eq!(depot.len(), model.0.len() as u64);
    let raw: u64 = model.0.iter().map(|(_, bytes, _)| bytes.len() as u64).sum();
    assert_eq!(depot.info().unwrap().raw_bytes, raw);
    let all: Vec<_> = depot.iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), model.0.len());
    for ((key, record), (name, bytes, metadata)) in all.iter().zip(&model.0) {
        assert_eq!(key, name);
        assert!(record.view() == bytes, "{name}");
        assert_eq!(depot.metadata::<serde_json::Value>(name).unwrap(), metadata.map(Into::into));
    }
    assert!(depot.keys().map(Result::unwrap).eq(model.0.iter().map(|(name, ..)| name.clone())));
    for name in 0..24 {
        assert_eq!(depot.contains(key(name)).unwrap(), model.get(&key(name)).is_some());
    }
}

/// Where the depot lives, so that it can be opened again.
enum Home {
    Memory,
    File(tempfile::TempDir),
}

impl Home {
    fn create(&self, (layout, write): (Layout, WriteOptions)) -> Depot<Raw> {
        match self {
            Self::Memory => Depot::builder(Raw).layout(layout).write_options(write).memory().unwrap(),
            Self::File(folder) => {
                let path = folder.path().join("model.vld");
                Depot::builder(Raw).layout(layout).write_options(write).create(path).unwrap()
            }
        }
    }

    fn reopen(&self, depot: Depot<Raw>, close: bool, reopened: &(OpenOptions, WriteOptions)) -> Depot<Raw> {
        match self {
            Self::Memory => Depot::from_bytes(&depot.to_bytes().unwrap(), Raw).unwrap(),
            Self::File(folder) => {
                if close {
                    depot.close().unwrap();
                } else {
                    drop(depot);
                }
                let (open, write) = reopened.clone();
                Depot::builder(Raw)
                    .open_options(open)
                    .write_options(write)
                    .append(folder.path().join("model.vld"))
                    .unwrap()
            }
        }
    }
}

fn drive(
    home: &Home,
    options: (Layout, WriteOptions),
    reopened: &(OpenOptions, WriteOptions),
    operations: &[Operation],
) {
    let mut depot = home.create(options);
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Put { name, len, seed } => {
                depot.put(key(*name), &payload(*len, *seed)).unwrap();
                model.put(key(*name), payload(*len, *seed));
            }
            Operation::PutNew { name, len, seed } => {
                let taken = model.get(&key(*name)).is_some();
                match depot.put_new(key(*name), &payload(*len, *seed)) {
                    Ok(()) => assert!(!taken),
                    Err(error) if matches!(error.kind(), ErrorKind::Exists) => assert!(taken),
                    Err(other) => panic!("{other}"),
                }
                if !taken {
                    model.put(key(*name), payload(*len, *seed));
                }
            }
            Operation::Remove { name } => {
                assert_eq!(depot.remove(key(*name)).unwrap(), model.remove(&key(*name)).is_some());
            }
            Operation::SetMetadata { name, value } => {
                let done = depot.set_metadata(key(*name), value);
                match model.remove(&key(*name)) {
                    Some((name, bytes, _)) => {
                        done.unwrap();
                        model.0.push((name, bytes, Some(*value)));
                    }
                    None => assert!(done.unwrap_err().is_not_found()),
                }
            }
            Operation::Commit => depot.commit().unwrap(),
            Operation::Publish => depot.publish().unwrap(),
            Operation::Flush => depot.flush().unwrap(),
            Operation::Reopen { close } => depot = home.reopen(depot, *close, reopened),
            Operation::Get { name } => match (depot.get(key(*name)), model.get(&key(*name))) {
                (Ok(record), Some(bytes)) => assert!(record.view() == bytes),
                (Err(error), None) => assert!(error.is_not_found()),
                (found, expected) => panic!("{found:?} where {expected:?} was put"),
            },
            Operation::GetMany { names } => {
                let keys: Vec<Key> = names.iter().map(|&name| key(name)).collect();
                match depot.get_many(&keys) {
                    Ok(records) => {
                        assert_eq!(records.len(), keys.len());
                        for (key, record) in keys.iter().zip(records) {
                            assert!(Some(&record.view().to_vec()) == model.get(key), "{key}");
                        }
                    }
                    Err(error) => {
                        assert!(error.is_not_found());
                        assert!(keys.iter().any(|key| model.get(key).is_none()));
                    }
                }
            }
            Operation::GetAt { position } => {
                let position = usize::from(*position) % (model.0.len() + 1);
                match (depot.get_at(position as u64), model.0.get(position)) {
                    (Ok(record), Some((name, bytes, _))) => {
                        assert!(record.view() == bytes);
                        assert_eq!(&depot.key_at(position as u64).unwrap(), name);
                    }
                    (Err(error), None) => assert!(error.is_not_found()),
                    (found, expected) => panic!("{found:?} where {expected:?} is"),
                }
            }
            Operation::Iterate => assert_same(&depot, &model),
        }
    }
    assert_same(&depot, &model);
    depot.commit().unwrap();
    assert_same(&depot, &model);
    let bytes = depot.to_bytes().unwrap();
    assert_same(&Depot::from_bytes(&bytes, Raw).unwrap(), &model);
    if let Home::File(folder) = home {
        // While the writer still holds it, and after.
        let path = folder.path().join("model.vld");
        assert_same(&Depot::open(&path, Raw).unwrap(), &model);
        depot.close().unwrap();
        assert_same(&Depot::open(&path, Raw).unwrap(), &model);
        let unmapped = OpenOptions::default().with_mapping(Mapping::Never);
        assert_same(&Depot::builder(Raw).open_options(unmapped.clone()).open(&path).unwrap(), &model);
    }
}

fn options() -> impl Strategy<Value = (Layout, WriteOptions)> {
    let placement =
        prop_oneof![Just(Placement::NoCross), Just(Placement::Contiguous), Just(Placement::StartAligned)];
    (placement, 0..Layout::PRESETS.len(), 0..3usize, prop_oneof![Just(None), (1..5u64).prop_map(Some)])
        .prop_map(|(placement, preset, threads, records)| {
            let preset: Layout = Layout::PRESETS[preset].parse().unwrap();
            let layout = preset.with_placement(placement).with_chunk_size(2048).with_block_size(512);
            let commit_every = CommitEvery::default().with_records(records);
            (layout, WriteOptions::default().with_threads(threads).with_commit_every(commit_every))
        })
}

fn cases(cases: u32) -> ProptestConfig {
    // A fixed seed, so that a failure is the same everywhere.
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_261_123);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(96))]
    #[test]
    fn a_memory_depot_agrees_with_the_model(
        options in options(),
        operations in proptest::collection::vec(operation(), 1..80),
    ) {
        drive(&Home::Memory, options, &Default::default(), &operations);
    }
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn a_file_agrees_with_the_model(
        options in options(),
        operations in proptest::collection::vec(operation(), 1..80),
        mapped in any::<bool>(),
    ) {
        let mapping = if mapped { Mapping::Auto } else { Mapping::Never };
        let reopened = (OpenOptions::default().with_mapping(mapping), options.1.clone());
        drive(&Home::File(tempfile::tempdir().unwrap()), options, &reopened, &operations);
    }
}

//! Depots that store the fields of records apart: what comes back, what stays so, and what damage costs.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test data are made of counters"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use vldepot::codecs::{AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec, Fields, FlatFrames};
use vldepot::maintain::{self, CompactOptions, RepairOptions, VerifyOptions};
use vldepot::storage::MemoryStorage;
use vldepot::{
    Codec, CodecError, Depot, Elements, FieldSpans, Layout, Mapping, OpenOptions, Placement, Raw,
    WriteOptions,
};

/// Numbers between -1 and 1, closer to 0 than not.
fn noise(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let uniform = state as f32 / u32::MAX as f32 * 2.0 - 1.0;
        uniform * uniform * uniform
    }
}

/// The bytes of a frame: number `n` of those with about `n_atoms` atoms.
fn frame(n: u32, n_atoms: u32) -> Vec<u8> {
    let n_atoms = n_atoms + n * 7 % (n_atoms / 2 + 1);
    let mut next = noise(n + 1);
    let mut vectors =
        |scale: f32| -> Vec<[f32; 3]> { (0..n_atoms).map(|_| [0; 3].map(|_| scale * next())).collect() };
    let (positions, forces) = (vectors(2.0), vectors(900.0));
    let numbers: Vec<u8> =
        (0..n_atoms).map(|atom| [1, 1, 6, 8, 1, 7][((atom * 7 + n) % 6) as usize]).collect();
    let mut item = AtomicFrame::new()
        .positions(&positions)
        .forces(&forces)
        .per_atom("numbers", &numbers)
        .energy(f64::from(n).sin() * 100.0);
    if n.is_multiple_of(5) {
        item = item.step(i64::from(n)).cell([[3.0, 0.0, 0.0], [0.0, 3.5, 0.0], [0.0, 0.0, 4.0]]);
    }
    let mut bytes = Vec::new();
    AtomicFrameCodec::default().encode(&item, &mut bytes).unwrap();
    bytes
}

fn frames(count: u32, n_atoms: u32) -> Vec<Vec<u8>> {
    (0..count).map(|n| frame(n, n_atoms)).collect()
}

fn create(path: &Path, layout: Layout, records: &[Vec<u8>]) {
    let threads = WriteOptions::default().with_threads(0);
    let builder = Depot::builder(AtomicFrameCodec::default()).layout(layout).write_options(threads);
    let depot = builder.create(path).unwrap();
    for (n, bytes) in records.iter().enumerate() {
        depot.put_encoded(n as u64, bytes).unwrap();
    }
    depot.close().unwrap();
}

/// How many chunks have their fields apart, and how many there are.
fn chunks<C: Codec>(depot: &Depot<C>) -> (usize, usize) {
    let mut chunks = Vec::new();
    for key in depot.keys() {
        if let Some(chunk) = depot.chunk_of(key.unwrap()).unwrap()
            && chunks.last() != Some(&chunk)
        {
            chunks.push(chunk);
        }
    }
    (chunks.iter().filter(|chunk| chunk.fields_apart).count(), chunks.len())
}

/// Reads all records of a depot in every way.
fn check(depot: &Depot<AtomicFrameCodec>, records: &[Vec<u8>], what: &str) {
    let keys: Vec<u64> = (0..records.len() as u64).collect();
    for (n, bytes) in records.iter().enumerate() {
        assert_eq!(depot.get(n as u64).unwrap().as_bytes(), bytes, "{what}: {n}");
        let mut parts = depot.parts(n as u64).unwrap();
        for range in
            [0..3, bytes.len() / 2..bytes.len() / 2 + 5, 1..bytes.len() - 1, bytes.len() - 9..bytes.len()]
        {
            assert_eq!(
                parts.bytes(range.clone()).unwrap(),
                &bytes[range.clone()],
                "{what}: {range:?} of {n}"
            );
        }
        let mut copy = vec![0; bytes.len() / 3];
        depot.parts(n as u64).unwrap().copy(7..7 + copy.len(), &mut copy).unwrap();
        assert_eq!(copy, bytes[7..7 + copy.len()], "{what}: {n}");
    }
    let some: Vec<u64> = keys.iter().rev().step_by(3).chain(&keys[..1]).copied().collect();
    for (key, record) in some.iter().zip(&depot.get_many(&some).unwrap()) {
        assert_eq!(record.as_bytes(), &records[*key as usize], "{what}: {key}");
    }
    let mut n = 0;
    for record in depot {
        let (_, record) = record.unwrap();
        assert_eq!(record.as_bytes(), &records[n], "{what}: {n}");
        n += 1;
    }
    assert_eq!(n, records.len(), "{what}");
    let mut flat = FlatFrames::new();
    depot.get_many_flat_into(&some, Fields::POSITIONS | Fields::FORCES | Fields::ENERGY, &mut flat).unwrap();
    for (nth, key) in some.iter().enumerate() {
        let record = depot.get(*key).unwrap();
        let view = record.view();
        let atoms = flat.offsets[nth]..flat.offsets[nth + 1];
        assert_eq!(
            flat.positions[atoms.clone()].as_flattened(),
            view.positions().as_slice().unwrap(),
            "{what}"
        );
        assert_eq!(flat.forces[atoms].as_flattened(), view.forces().unwrap().as_slice().unwrap(), "{what}");
        assert_eq!(Some(flat.energy[nth]), view.energy(), "{what}");
    }
}

#[test]
fn frames_of_all_sizes_come_back_by_all_ways() {
    let folder = tempfile::tempdir().unwrap();
    for (count, n_atoms, chunk_size) in
        [(3000, 3, 1 << 18), (600, 40, 1 << 19), (20, 6000, 4 << 20), (3, 40_000, 4 << 20)]
    {
        let records = frames(count, n_atoms);
        for (name, layout) in [("balanced", Layout::balanced()), ("fast", Layout::fast())] {
            for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
                if placement == Placement::StartAligned && count > 20 {
                    continue;
                }
                let what = format!("{count} frames of {n_atoms} atoms, {name}, {placement}");
                let path = folder.path().join("frames.vld");
                let layout = layout.clone().with_chunk_size(chunk_size).with_placement(placement);
                create(&path, layout.clone(), &records);
                for mapping in [Mapping::Auto, Mapping::Never] {
                    let open = OpenOptions::default().with_mapping(mapping);
                    let depot =
                        Depot::builder(AtomicFrameCodec::default()).open_options(open).open(&path).unwrap();
                    let (apart, all) = chunks(&depot);
                    assert!(apart > 0 && apart + 1 >= all, "{what}: {apart} of {all}");
                    check(&depot, &records, &what);
                }
                let cached = OpenOptions::default().with_cache_bytes(8 << 20);
                let depot =
                    Depot::builder(AtomicFrameCodec::default()).open_options(cached).open(&path).unwrap();
                check(&depot, &records, &what);
                let apart = fs::metadata(&path).unwrap().len();
                let report = maintain::verify(&path, &VerifyOptions::default(), |_| {}).unwrap();
                assert!(report.is_whole(), "{what}: {:?}", report.problems);
                fs::remove_file(&path).unwrap();
                if count == 600 {
                    create(&path, layout.with_fields_apart(false), &records);
                    let plain = fs::metadata(&path).unwrap().len();
                    assert!(100 * apart < 97 * plain, "{what}: {apart} and {plain} bytes");
                    fs::remove_file(&path).unwrap();
                }
            }
        }
    }
}

#[test]
fn records_that_are_not_in_the_file_yet_can_be_read_too() {
    let records = frames(300, 40);
    let depot = Depot::builder(AtomicFrameCodec::default())
        .layout(Layout::default().with_chunk_size(1 << 17))
        .memory()
        .unwrap();
    for (n, bytes) in records.iter().enumerate() {
        depot.put_encoded(n as u64, bytes).unwrap();
        if n == 100 {
            depot.commit().unwrap();
        }
    }
    check(&depot, &records, "some in memory, some in chunks");
}

/// Texts, half of which are said to be an array.
struct Titled;
impl Codec for Titled {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "test.titled";
    const ALIGN: usize = 4;
    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }
    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }
    fn has_fields(&self) -> bool {
        true
    }
    fn fields(&self, view: &&[u8], fields: &mut FieldSpans<'_>) {
        fields.add(0, Elements::Bytes1, &view[..view.len() / 2]);
    }
}

#[test]
fn only_what_pays_is_stored_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    let records = frames(400, 40);
    let layouts = [
        Layout::compact(),
        Layout::uncompressed(),
        Layout::balanced().with_vlstore_compatible(true),
        Layout::balanced().with_fields_apart(false),
    ];
    for layout in layouts {
        create(&path, layout.with_chunk_size(1 << 18), &records);
        assert_eq!(chunks(&Depot::open(&path, AtomicFrameCodec::default()).unwrap()).0, 0);
        fs::remove_file(&path).unwrap();
    }
    // Bytes have no fields, and text in a codec with fields is most of what there is.
    let raw = Depot::memory(Raw).unwrap();
    records.iter().enumerate().for_each(|(n, bytes)| raw.put(n as u64, bytes).unwrap());
    raw.commit().unwrap();
    assert_eq!(chunks(&raw).0, 0);
    let depot = Depot::memory(Titled).unwrap();
    for n in 0..2000_u32 {
        depot.put(n, format!("half of this is an array, and the other is text: {n}").as_bytes()).unwrap();
    }
    depot.commit().unwrap();
    assert_eq!(chunks(&depot).0, 0);
}

#[test]
fn arrays_and_records_of_a_users_codec_are_stored_apart() {
    struct Places;
    impl Codec for Places {
        type Item = [[f32; 3]];
        type View<'a> = &'a [[u8; 12]];
        const ID: &'static str = "test.places";
        const ALIGN: usize = 4;
        fn encode(&self, item: &[[f32; 3]], out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend(item.iter().flatten().flat_map(|x| x.to_le_bytes()));
            Ok(())
        }
        fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [[u8; 12]], CodecError> {
            let (places, rest) = bytes.as_chunks();
            if rest.is_empty() { Ok(places) } else { Err(CodecError::invalid("a part of a place")) }
        }
        fn has_fields(&self) -> bool {
            true
        }
        fn fields(&self, view: &Self::View<'_>, fields: &mut FieldSpans<'_>) {
            fields.add(0, Elements::Float4, view.as_flattened());
        }
    }
    let item = |n: usize| -> Vec<[f32; 3]> {
        let mut next = noise(n as u32);
        (0..n % 20).map(|_| [0; 3].map(|_| next())).collect()
    };
    let depot = Depot::builder(Places).layout(Layout::default().with_chunk_size(1 << 17)).memory().unwrap();
    // A record without a place has no bytes. A place has 12, so records do not end where the next ones start.
    for n in 0..5000 {
        depot.put(n as u64, &item(n)).unwrap();
    }
    depot.commit().unwrap();
    let (apart, all) = chunks(&depot);
    assert!(apart > 3 && apart + 1 >= all, "{apart} of {all}");
    for n in 0..5000 {
        let record = depot.get(n as u64).unwrap();
        let places: Vec<[f32; 3]> = record
            .view()
            .iter()
            .map(|place| [0, 4, 8].map(|at| f32::from_le_bytes(place[at..at + 4].try_into().unwrap())))
            .collect();
        assert_eq!(places, item(n), "{n}");
    }
    let arrays = Depot::memory(AnyNdArray).unwrap();
    let array = |n: u32| {
        let mut next = noise(n);
        ndarray::Array::from_shape_fn((30, n as usize % 7 + 1), |_| f64::from(next()))
    };
    for n in 0..400 {
        arrays.put(n, &AnyArray::from(array(n))).unwrap();
    }
    arrays.commit().unwrap();
    assert!(chunks(&arrays).0 > 0);
    for n in 0..400 {
        assert_eq!(arrays.get(n).unwrap().view().view::<f64>().unwrap(), array(n).into_dyn(), "{n}");
    }
}

#[test]
fn whoever_stores_records_anew_keeps_their_fields_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    for (count, n_atoms) in [(1000, 40), (20, 9000)] {
        let records = frames(count, n_atoms);
        let layout = Layout::default().with_chunk_size(if count == 20 { 4 << 20 } else { 1 << 18 });
        create(&path, layout.with_placement(Placement::Contiguous), &records);
        let before = fs::metadata(&path).unwrap().len();
        let open = || Depot::open(&path, AtomicFrameCodec::default()).unwrap();
        let whole = |what: &str| {
            let depot = open();
            let (apart, all) = chunks(&depot);
            assert!(apart > 0 && apart + 1 >= all, "{what}: {apart} of {all}");
            check(&depot, &records, what);
            let len = fs::metadata(&path).unwrap().len();
            assert!(len <= before + before / 50, "{what}: {len} bytes, {before} before");
        };
        // None of these knows the codec.
        maintain::compact(&path, |_| {}).unwrap();
        whole("compacted");
        let repaired = folder.path().join("repaired.vld");
        maintain::repair(&path, &repaired, &RepairOptions::default(), |_| {}).unwrap();
        fs::rename(&repaired, &path).unwrap();
        whole("repaired");
        let source = open();
        let copied = folder.path().join("copied.vld");
        let copy = Depot::builder(Raw).like(&source).create(&copied).unwrap();
        copy.copy_all_from(&source).unwrap();
        copy.close().unwrap();
        drop(source);
        fs::rename(&copied, &path).unwrap();
        whole("copied as bytes");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_plain_depot_is_stored_apart_by_whoever_knows_its_codec() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    let records = frames(1000, 40);
    create(&path, Layout::default().with_fields_apart(false), &records);
    let before = fs::metadata(&path).unwrap().len();
    let options = CompactOptions::default().with_compression_of(Layout::balanced());
    maintain::compact_with(&path, &options, |_| {}).unwrap();
    assert_eq!(
        chunks(&Depot::open(&path, AtomicFrameCodec::default()).unwrap()).0,
        0,
        "nobody said where fields are"
    );
    maintain::compact_as(&path, AtomicFrameCodec::any(), &options, |_| {}).unwrap();
    let depot = Depot::open(&path, AtomicFrameCodec::default()).unwrap();
    assert!(chunks(&depot).0 > 0);
    check(&depot, &records, "compacted with the codec");
    assert!(fs::metadata(&path).unwrap().len() < before - before / 50);
    let chunk = depot.chunk_of(7).unwrap().unwrap();
    assert_eq!((chunk.block_bytes, chunk.raw_blocks.len()), (0, chunk.blocks.len()));
    let raw: u64 = chunk.raw_blocks.iter().map(|&raw| u64::from(raw)).sum();
    assert!(raw <= chunk.raw_bytes && raw >= records.iter().map(|record| record.len() as u64).sum());
    drop(depot);
    // And back, and at once.
    for (layout, apart) in [(Layout::compact(), false), (Layout::fast(), true)] {
        let options = CompactOptions::default().with_compression_of(layout);
        maintain::compact_as(&path, AtomicFrameCodec::any(), &options, |_| {}).unwrap();
        let depot = Depot::open(&path, AtomicFrameCodec::default()).unwrap();
        assert_eq!(chunks(&depot).0 > 0, apart);
        assert_eq!(depot.chunk_of(7).unwrap().unwrap().raw_blocks.is_empty(), !apart);
        check(&depot, &records, "compacted by the codec");
    }
}

#[test]
fn damage_of_a_block_costs_its_records_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    let records = frames(400, 20);
    create(&path, Layout::default().with_chunk_size(1 << 17), &records);
    let whole = fs::read(&path).unwrap();
    let depot = Depot::open(&path, AtomicFrameCodec::default()).unwrap();
    let chunk = depot.chunk_of(250_u64).unwrap().unwrap();
    assert!(chunk.fields_apart && chunk.blocks.len() > 50);
    drop(depot);
    let stored: u64 = chunk.blocks.iter().map(|&len| u64::from(len)).sum();
    // The blocks end the chunk, which ends the entry, but for padding.
    let mut costs = Vec::new();
    let end = chunk.file_offset + 64 + chunk.stored_bytes + 4096;
    for place in (chunk.file_offset..end).step_by(97) {
        let mut bytes = whole.clone();
        bytes[place as usize] ^= 0x40;
        let storage = Arc::new(MemoryStorage::from_bytes(&bytes));
        let Ok(depot) = Depot::builder(AtomicFrameCodec::default()).open_in(storage) else { continue };
        let mut lost = 0;
        for (n, expected) in records.iter().enumerate() {
            match depot.get(n as u64) {
                Ok(record) => assert_eq!(record.as_bytes(), expected, "byte {place}: {n}"),
                Err(error) => {
                    lost += 1;
                    assert!(error.is_damage(), "{error}");
                    assert!(error.to_string().contains(&format!("record {n}")), "{error}");
                }
            }
            // A scan and a batch say the same.
            assert_eq!(depot.get_many(&[n as u64]).is_ok(), depot.get(n as u64).is_ok());
        }
        assert_eq!(depot.iter().filter(Result::is_err).count(), lost, "byte {place}");
        costs.push(lost);
    }
    let one_block = costs.iter().filter(|cost| (1..=2).contains(*cost)).count() as u64;
    assert!(one_block * 97 > stored * 9 / 10, "{one_block} of {stored} bytes: {costs:?}");
}

#[test]
fn a_file_that_is_cut_or_damaged_gives_no_wrong_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    let records = frames(120, 20);
    let depot = Depot::builder(AtomicFrameCodec::default())
        .layout(Layout::default().with_chunk_size(1 << 16))
        .write_options(WriteOptions::default().with_threads(0))
        .create(&path)
        .unwrap();
    for (n, bytes) in records.iter().enumerate() {
        depot.put_encoded(n as u64, bytes).unwrap();
        if n % 50 == 49 {
            depot.commit().unwrap();
        }
    }
    depot.flush().unwrap();
    let whole = fs::read(&path).unwrap();
    drop(depot);
    let examine = |bytes: &[u8], what: &str| {
        let storage = Arc::new(MemoryStorage::from_bytes(bytes));
        let Ok(depot) = Depot::builder(AtomicFrameCodec::default()).open_in(storage) else { return };
        for (n, expected) in records.iter().enumerate() {
            if let Ok(record) = depot.get(n as u64) {
                assert_eq!(record.as_bytes(), expected, "{what}: {n}");
            }
        }
        for record in depot.iter().flatten() {
            let n: usize = record.0.to_string().parse().unwrap();
            assert_eq!(record.1.as_bytes(), &records[n], "{what}: {n}");
        }
    };
    for end in (0..whole.len()).step_by(613) {
        examine(&whole[..end], &format!("cut at {end}"));
    }
    for place in (0..whole.len()).step_by(389) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        examine(&bytes, &format!("bit of {place}"));
    }
}

#[test]
fn a_repair_without_header_and_commits_keeps_fields_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.vld");
    let records = frames(300, 40);
    create(&path, Layout::default().with_chunk_size(1 << 18), &records);
    let depot = Depot::open(&path, AtomicFrameCodec::default()).unwrap();
    let last = depot.chunk_of(299_u64).unwrap().unwrap();
    drop(depot);
    // What is left are the chunks.
    let mut bytes = fs::read(&path).unwrap();
    bytes[..4096].fill(0);
    bytes.truncate((last.file_offset + 4096 + last.stored_bytes) as usize);
    let cut = bytes.len();
    fs::write(&path, &bytes[..cut]).unwrap();
    let repaired = folder.path().join("repaired.vld");
    let codec = vldepot::CodecInfo::of(&AtomicFrameCodec::default());
    maintain::repair(&path, &repaired, &RepairOptions::default().with_codec(codec), |_| {}).unwrap();
    let depot = Depot::open(&repaired, AtomicFrameCodec::default()).unwrap();
    assert!(chunks(&depot).0 > 0);
    for n in 0..depot.len() {
        assert_eq!(depot.get(n).unwrap().as_bytes(), &records[n as usize], "{n}");
    }
    assert!(depot.len() > 250);
}

#[test]
fn commits_of_a_frame_take_no_more_room_than_without() {
    for n_atoms in [10, 60, 120, 250, 500, 900] {
        let size = |apart| {
            let layout = Layout::default().with_fields_apart(apart);
            let depot = Depot::builder(AtomicFrameCodec::default()).layout(layout).memory().unwrap();
            for n in 0..20 {
                depot.put_encoded(u64::from(n), &frame(n, n_atoms)).unwrap();
                depot.commit().unwrap();
            }
            depot.info().unwrap().file_bytes
        };
        let (apart, plain) = (size(true), size(false));
        // The parameter itself takes some bytes of each commit.
        assert!(apart <= plain + 20 * 16 + plain / 100, "{n_atoms} atoms: {apart} and {plain} bytes");
    }
}

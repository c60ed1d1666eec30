//! Compressing a depot anew while it is compacted, and making depots like others.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test data are made of counters"
)]

use std::path::Path;

use ndarray::Array2;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Precision};
use vldepot::maintain::{CompactOptions, VerifyOptions, compact_with, verify};
use vldepot::{CompressionCodec, Depot, ErrorKind, Filter, Key, Layout, Raw, Scalar};

fn payload(n: u32) -> Vec<u8> {
    (0..100 + n * 37 % 1500).map(|i| (i as u8 / 3).wrapping_mul(5) ^ (n as u8)).collect()
}

/// 200 frames with their steps in a column, some replaced or removed, with metadata.
fn frames(path: &Path, layout: Layout) {
    let layout = layout.with_columns(["step", "energy"]);
    let depot = Depot::builder(AtomicFrameCodec::new().with_precision(Precision::F64))
        .layout(layout)
        .create(path)
        .unwrap();
    for n in 0..200_i64 {
        let positions = Array2::from_shape_fn((10, 3), |(i, axis)| (3 * i + axis) as f64 + n as f64 / 64.0);
        let frame = AtomicFrame::new().positions(positions.view()).step(n).energy(-0.5 * n as f64);
        depot.put_with_metadata(format!("frame_{n}"), &frame, &n).unwrap();
    }
    depot.remove("frame_7").unwrap();
    depot.set_depot_metadata("title", "water").unwrap();
    depot.close().unwrap();
}

/// Names, bytes, metadata and scalars, in order.
type Content = Vec<(Key, Vec<u8>, Option<i64>, Vec<Option<Scalar>>)>;

fn content(depot: &Depot<Raw>) -> Content {
    let of = |name: Key| {
        let bytes = depot.get(&name).unwrap().as_bytes().to_vec();
        (name.clone(), bytes, depot.metadata(&name).unwrap(), depot.scalars(&name).unwrap())
    };
    depot.keys().map(|name| of(name.unwrap())).collect()
}

fn check(path: &Path) {
    let report = verify(path, &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[test]
fn every_preset_compresses_anew_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    for from in Layout::PRESETS {
        for to in Layout::PRESETS {
            // A chunk size that the blocks of no preset need to divide.
            for chunk_size in [1 << 16, 24_000] {
                let layout: Layout = from.parse().unwrap();
                frames(&path, layout.with_chunk_size(chunk_size).with_block_size(None));
                let (before, info) = {
                    let depot = Depot::open(&path, Raw).unwrap();
                    (content(&depot), depot.info().unwrap())
                };
                let by: Layout = to.parse().unwrap();
                let options = CompactOptions::default().with_compression_of(by.clone());
                let report = compact_with(&path, &options, |_| {}).unwrap();
                assert_eq!(report.records, 199);
                assert_eq!(report.bytes_after, std::fs::metadata(&path).unwrap().len());
                check(&path);
                let depot = Depot::open(&path, Raw).unwrap();
                assert_eq!(content(&depot), before, "{from} to {to}");
                assert_eq!(depot.depot_metadata::<String>("title").unwrap().unwrap(), "water");
                let new = depot.info().unwrap();
                assert_eq!(new.codec, info.codec);
                assert_eq!(new.layout.columns, info.layout.columns);
                assert_eq!(new.layout.chunk_size, chunk_size);
                assert_eq!(new.data_set_id, info.data_set_id);
                let (new, old) = (new.layout.compression, info.layout.compression);
                assert_eq!((new.codec, new.level), (by.compression.codec, by.compression.level));
                assert_eq!((new.typesize, new.filter), (old.typesize, by.compression.filter));
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

#[test]
fn single_bytes_are_not_shuffled_afterwards() {
    let layout = Layout::balanced();
    let of_bytes =
        layout.clone().with_compression(layout.compression.with_filter(Filter::None).with_typesize(1));
    for preset in Layout::PRESETS {
        let by: Layout = preset.parse().unwrap();
        let new = of_bytes.recompressed(&by);
        assert_eq!((new.compression.filter, new.compression.typesize), (Filter::None, Some(1)), "{preset}");
        assert_eq!(new.compression.codec, by.compression.codec);
        let block = match preset {
            "uncompressed" => None,
            "compact" => Some(256 << 10),
            _ => Some(64 << 10),
        };
        assert_eq!(new.block_size, block, "{preset}");
        new.validate().unwrap();
    }
    // The smallest chunks hold no block of the preset.
    let tiny = of_bytes.with_chunk_size(64).with_block_size(64);
    tiny.recompressed(&Layout::compact()).validate().unwrap();
}

#[test]
fn a_damaged_record_stops_it_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    frames(&path, Layout::uncompressed().with_chunk_size(1 << 16));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let options = CompactOptions::default().with_compression_of(Layout::fast());
    let error = compact_with(&path, &options, |_| {}).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotCompacted) && error.is_damage(), "{error}");
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_depot_like_another_takes_its_records_columns_and_metadata_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    frames(&path, Layout::fast().with_chunk_size(1 << 16));
    let other = Depot::open(&path, Raw).unwrap();
    let copy = Depot::builder(Raw).like(&other).memory().unwrap();
    assert_eq!(copy.copy_all_from(&other).unwrap(), 199);
    assert_eq!(copy.copy_depot_metadata_from(&other).unwrap(), [""; 0]);
    assert_eq!(content(&copy), content(&other));
    assert_eq!(copy.depot_metadata::<String>("title").unwrap().unwrap(), "water");
    let (new, old) = (copy.info().unwrap(), other.info().unwrap());
    assert_eq!((new.codec, new.layout, new.align), (old.codec, old.layout, old.align));
    assert_ne!(new.data_set_id, old.data_set_id);
    let bytes = copy.to_bytes().unwrap();
    let frames = Depot::from_bytes(&bytes, AtomicFrameCodec::any()).unwrap();
    assert_eq!(frames.get("frame_9").unwrap().view().step(), Some(9));

    // In another layout, with other names.
    let layout = Layout::compact().with_columns(["energy"]);
    let copy = Depot::builder(Raw).like(&other).layout(layout).memory().unwrap();
    let names = [("frame_9", "run/9"), ("frame_2", "run/2")];
    assert_eq!(copy.copy_from_as(&other, &names).unwrap(), 2);
    assert_eq!(copy.key_at(1).unwrap(), Key::from("run/2"));
    assert_eq!(copy.scalar("run/9", "energy").unwrap(), Some(Scalar::Float(-4.5)));
    assert_eq!(copy.metadata::<i64>("run/9").unwrap(), Some(9));
    assert_eq!(copy.info().unwrap().layout.compression.codec, CompressionCodec::Zstd);
    assert!(copy.copy_from_as(&other, &[("none", "some")]).unwrap_err().is_not_found());
    let raw = Depot::memory(Raw).unwrap();
    let refused = raw.copy_from_as(&other, &names).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::WrongCodec { .. }), "{refused}");
}

#[test]
fn metadata_that_differ_stay_and_are_named() {
    let (from, to) = (Depot::memory(Raw).unwrap(), Depot::memory(Raw).unwrap());
    from.put("a", &payload(1)).unwrap();
    for (name, value) in [("same", 1), ("other", 2), ("new", 3)] {
        from.set_depot_metadata(name, &value).unwrap();
    }
    to.set_depot_metadata("same", &1).unwrap();
    to.set_depot_metadata("other", &"two").unwrap();
    assert_eq!(to.copy_depot_metadata_from(&from).unwrap(), ["other"]);
    assert_eq!(to.depot_metadata::<String>("other").unwrap().unwrap(), "two");
    assert_eq!(to.depot_metadata::<u32>("new").unwrap(), Some(3));
}

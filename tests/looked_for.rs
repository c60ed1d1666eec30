//! What users of maps, databases and array stores look for in a depot, written as they would write it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Serde};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{
    Bytes, CommitEvery, CompressionCodec, Depot, Error, ErrorKind, Key, Layout, Mapping, OpenOptions, Raw,
    Result, WriteOptions,
};

fn small() -> Layout {
    Layout::default().with_chunk_size(4096).with_block_size(1024)
}

fn numbers(n: u32) -> Depot<Raw> {
    let depot = Depot::builder(Raw).layout(small()).memory().unwrap();
    depot.put_many((0..n).map(|n| (n, n.to_le_bytes().to_vec()))).unwrap();
    depot
}

fn reopened(depot: &Depot<Raw>) -> Depot<Raw> {
    Depot::from_bytes(&depot.to_bytes().unwrap(), Raw).unwrap()
}

#[test]
fn a_run_opens_its_depot_or_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    for run in 0..3_u32 {
        let depot = Depot::open_or_create(&path, Raw).unwrap();
        assert_eq!(depot.len(), u64::from(run));
        depot.put(run, b"..").unwrap();
        // A second writer has to wait.
        let second = Depot::open_or_create(&path, Raw).unwrap_err();
        assert!(matches!(second.kind(), ErrorKind::Locked), "{second}");
        depot.close().unwrap();
    }
    // The second opening keeps the layout of the first.
    let depot = Depot::builder(Raw).layout(Layout::fast()).open_or_create(&path).unwrap();
    assert_eq!(
        depot.info().unwrap().layout,
        Layout::default().with_compression(depot.info().unwrap().layout.compression)
    );
    assert_eq!(depot.info().unwrap().layout.compression.codec, CompressionCodec::Zstd);
    drop(depot);
    // A file that is no depot is neither opened nor overwritten.
    let precious = folder.path().join("precious.txt");
    fs::write(&precious, "precious").unwrap();
    let error = Depot::open_or_create(&precious, Raw).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotADepot { .. }), "{error}");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    // A new depot may take the place of what a killed creation left.
    let empty = folder.path().join("empty.vld");
    fs::write(&empty, "").unwrap();
    assert!(Depot::open_or_create(&empty, Raw).unwrap().is_empty());
    let wrong = WriteOptions::default().with_commit_every(CommitEvery::records(0));
    let none = folder.path().join("none.vld");
    assert!(Depot::builder(Raw).write_options(wrong).open_or_create(&none).is_err() && !none.exists());
}

#[test]
fn a_record_that_is_not_there_is_none_and_not_an_error() {
    let depot = numbers(3);
    assert_eq!(depot.find(2).unwrap().unwrap().as_ref(), 2_u32.to_le_bytes());
    assert!(depot.find("2").unwrap().is_none());
    let found: Option<Vec<u8>> = depot.find(7).unwrap().map(|record| record.view().to_vec());
    assert_eq!(found, None);
}

#[test]
fn positions_are_read_from_both_ends_and_have_a_length() {
    for depot in [numbers(1000), reopened(&numbers(1000))] {
        for n in (0..1000).step_by(3) {
            depot.remove(n).unwrap();
        }
        let all: Vec<u32> = (0..1000).filter(|n| n % 3 != 0).collect();
        let value = |entry: Result<(Key, vldepot::Record<Raw>)>| {
            let (key, record) = entry.unwrap();
            let value = u32::from_le_bytes(record.view().try_into().unwrap());
            assert_eq!(key, Key::from(value));
            value
        };
        let range = depot.range(..);
        assert_eq!(range.len(), all.len());
        assert!(range.map(value).eq(all.iter().copied()));
        assert!(depot.range(..).rev().map(value).eq(all.iter().rev().copied()));
        assert!(depot.range(10..=12).map(value).eq(all[10..=12].iter().copied()));
        assert_eq!(depot.range(600..9000).len(), all.len() - 600);
        assert_eq!((depot.range(5..5).count(), depot.range(9000..).count()), (0, 0));
        // From both ends, until they meet.
        let (mut range, mut seen) = (depot.range(..), Vec::new());
        for turn in 0.. {
            let next = if turn % 3 == 0 { range.next_back() } else { range.next() };
            let Some(next) = next else { break };
            seen.push(value(next));
            assert_eq!(range.len(), all.len() - seen.len());
        }
        assert!(range.next().is_none() && range.next_back().is_none());
        seen.sort_unstable();
        assert_eq!(seen, all);
        assert_eq!(depot.range(..).nth(500).map(value), Some(all[500]));
        assert_eq!(
            depot.range(3..).step_by(100).map(value).collect::<Vec<_>>(),
            all[3..].iter().step_by(100).copied().collect::<Vec<_>>()
        );
        // Records that are put later are not in the range.
        let range = depot.range(..);
        depot.put("later", b"").unwrap();
        assert_eq!(range.len(), all.len());
        assert_eq!(range.count(), all.len());
    }
}

#[test]
fn a_range_has_one_item_for_each_position_whatever_is_damaged() {
    let depot = numbers(2000);
    let mut bytes = depot.to_bytes().unwrap();
    // The end of the entry that has the record's chunk: its blocks.
    let chunk = depot.location(1000).unwrap().chunk;
    let next = (1000..2000).map(|n| depot.location(n).unwrap()).find(|at| at.chunk > chunk).unwrap();
    let end = usize::try_from(next.file_offset.unwrap()).unwrap();
    for byte in &mut bytes[end - 200..end - 100] {
        *byte ^= 0x5a;
    }
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&bytes));
    let depot = Depot::builder(Raw).open_in(storage).unwrap();
    let (forward, backward): (Vec<_>, Vec<_>) = (depot.range(..).collect(), depot.range(..).rev().collect());
    assert_eq!((forward.len(), backward.len()), (2000, 2000));
    let lost = forward.iter().filter(|entry| entry.is_err()).count();
    assert!((1..500).contains(&lost), "{lost}");
    for (position, (forward, backward)) in forward.iter().zip(backward.iter().rev()).enumerate() {
        match (forward, backward) {
            (Ok((key, _)), Ok((other, _))) => assert!(key == other && *key == Key::from(position)),
            (Err(error), Err(other)) => assert_eq!(error.to_string(), other.to_string()),
            _ => panic!("position {position} is read from one end alone"),
        }
    }
}

#[test]
fn names_are_listed_in_their_order_between_two_of_them() {
    let depot = Depot::memory(Raw).unwrap();
    let names = ["run_2/b", "run_10/a", "run_1/a", "run_2/a", "é"];
    depot.put_many(names.map(|name| (name, vec![]))).unwrap();
    depot.put_many([5, -3, 40].map(|n| (n, vec![]))).unwrap();
    depot.put(b"bytes", b"").unwrap();
    let mut strings = names.to_vec();
    strings.sort_unstable();
    let listed: Vec<Key> = depot.sorted_keys(""..).unwrap().take(5).map(Result::unwrap).collect();
    assert_eq!(listed, strings.iter().map(Key::from).collect::<Vec<_>>());
    assert_eq!(depot.sorted_keys("run_1".."run_2").unwrap().len(), 2);
    assert_eq!(
        depot.sorted_keys(-10..=5).unwrap().map(|key| key.unwrap().as_int().unwrap()).collect::<Vec<_>>(),
        [-3, 5]
    );
    let mut all = depot.sorted_keys(Key::from("")..).unwrap();
    assert_eq!(all.len(), 9);
    assert_eq!(all.next_back().unwrap().unwrap(), Key::from(40));
    assert_eq!(all.next().unwrap().unwrap(), Key::from("run_1/a"));
    assert_eq!(depot.totals("run_1".."run_2").unwrap().records, 2);
    let error = depot.sorted_keys(Key::Int(i128::MAX)..).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidRecord { .. }), "{error}");
}

#[test]
fn a_depot_is_filled_from_any_iterator() {
    let mut depot: Depot<Raw> = (0..10_u8).map(|n| (n, vec![n])).collect();
    depot.extend([(100_u8, [1, 2, 3])]);
    depot.extend(BTreeMap::from([("a", vec![7]), ("b", vec![8])]));
    assert_eq!(depot.len(), 13);
    let values: Depot<Serde<u64>> = [("two", 2), ("three", 3)].into_iter().collect();
    assert_eq!(values.get("three").unwrap().view(), 3);
    let positions = vec![[0.0_f32; 3]; 2];
    let frames: Depot<AtomicFrameCodec> =
        (0..3).map(|step| (step, AtomicFrame::new().positions(&positions).step(step))).collect();
    assert_eq!(frames.get(2).unwrap().view().step(), Some(2));

    // The batch stops at a refused record, and the error says which it is.
    let frames = Depot::memory(AtomicFrameCodec::new().with_n_atoms(2)).unwrap();
    let three = vec![[0.0_f32; 3]; 3];
    let batch = [("a", &positions), ("b", &three), ("c", &positions)];
    let error = frames
        .put_many(batch.map(|(name, positions)| (name, AtomicFrame::new().positions(positions))))
        .unwrap_err();
    assert_eq!((error.record(), frames.len()), (Some("\"b\""), 1));
    let refused = std::panic::catch_unwind(|| {
        let mut frames = Depot::memory(AtomicFrameCodec::new().with_n_atoms(2)).unwrap();
        frames.extend([("b", AtomicFrame::new().positions(vec![[0.0_f32; 3]; 3]))]);
    });
    assert!(refused.is_err());
}

#[test]
fn a_record_gets_another_name_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put_with_metadata("a", b"first", "notes").unwrap();
    depot.put("b", b"second").unwrap();
    depot.commit().unwrap();
    depot.rename("a", 7).unwrap();
    assert_eq!(depot.get(7).unwrap().view(), b"first");
    assert_eq!(depot.metadata::<String>(7).unwrap().as_deref(), Some("notes"));
    assert!(depot.find("a").unwrap().is_none());
    assert!(matches!(depot.rename("b", 7).unwrap_err().kind(), ErrorKind::Exists));
    assert!(matches!(depot.rename("a", "c").unwrap_err().kind(), ErrorKind::NotFound));
    depot.rename("b", "b").unwrap();
    // The file as a program that dies now would leave it.
    depot.flush().unwrap();
    let killed = folder.path().join("killed.vld");
    fs::copy(&path, &killed).unwrap();
    depot.close().unwrap();
    for path in [&path, &killed] {
        let depot = Depot::open(path, Raw).unwrap();
        let keys: Vec<Key> = depot.keys().collect::<Result<_>>().unwrap();
        assert_eq!(keys, [Key::from("b"), Key::from(7)], "{}", path.display());
        assert_eq!(depot.get(7).unwrap().view(), b"first");
        assert_eq!(depot.metadata::<String>(7).unwrap().as_deref(), Some("notes"));
        let report = depot.verify(&vldepot::maintain::VerifyOptions::default()).unwrap();
        assert!(report.is_whole(), "{report:?}");
    }
    let reader = Depot::open(&path, Raw).unwrap();
    assert!(matches!(reader.rename("b", "c").unwrap_err().kind(), ErrorKind::ReadOnly));
}

#[test]
fn records_are_retained_and_cleared() {
    let depot = numbers(100);
    assert_eq!(depot.retain(|key, _| key.as_int().is_some_and(|n| n % 2 == 0)).unwrap(), 50);
    assert_eq!(depot.retain(|_, bytes| bytes[0] < 50).unwrap(), 25);
    assert_eq!(depot.len(), 25);
    let depot = reopened(&depot);
    assert_eq!((depot.len(), depot.contains(48).unwrap(), depot.contains(50).unwrap()), (25, true, false));
    depot.set_depot_metadata("kept", &true).unwrap();
    assert_eq!(depot.clear().unwrap(), 25);
    assert!(depot.is_empty() && depot.clear().unwrap() == 0);
    let depot = reopened(&depot);
    assert!(depot.is_empty() && depot.depot_metadata("kept").unwrap() == Some(true));
}

#[test]
fn records_are_copied_as_they_are() {
    let from = Depot::builder(AtomicFrameCodec::default()).layout(Layout::fast()).memory().unwrap();
    for step in 0..50_i16 {
        let positions = vec![[f32::from(step); 3]; 10];
        from.put_with_metadata(step, &AtomicFrame::new().positions(&positions).step(step.into()), &step)
            .unwrap();
    }
    // A tool that does not know frames, and a depot of another layout.
    let from = Depot::from_bytes(&from.to_bytes().unwrap(), Raw).unwrap();
    let to = Depot::builder(AtomicFrameCodec::default()).layout(small()).memory().unwrap();
    assert_eq!(to.copy_from(&from, &[3, 1, 2]).unwrap(), 3);
    let keys: Vec<Key> = to.keys().collect::<Result<_>>().unwrap();
    assert_eq!(keys, [3, 1, 2].map(Key::from));
    assert_eq!(to.copy_all_from(&from).unwrap(), 50);
    assert_eq!(to.len(), 50);
    let frame = to.get(49).unwrap();
    assert_eq!((frame.view().step(), frame.view().positions()[[9, 2]]), (Some(49), 49.0));
    assert_eq!(to.metadata::<i64>(49).unwrap(), Some(49));
    assert!(to.copy_from(&from, &["none"]).unwrap_err().is_not_found());
    let other = Depot::memory(Raw).unwrap();
    let error = other.copy_all_from(&from).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongCodec { .. }), "{error}");
    assert!(other.is_empty());
}

#[test]
fn a_depot_says_where_it_is_and_iterators_show_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    assert_eq!((depot.path(), depot.is_writable()), (path.as_path(), true));
    assert_eq!(Depot::memory(Raw).unwrap().path(), Path::new("<memory>"));
    let shown = format!("{:?} {:?} {:?}", depot.iter(), depot.keys(), depot.range(..));
    assert!(shown.contains("a.vld") && shown.contains("left: 0"), "{shown}");
    depot.put("a", b"bytes").unwrap();
    let record = depot.get("a").unwrap();
    assert_eq!(AsRef::<[u8]>::as_ref(&record), b"bytes");
    let mut out = Vec::new();
    io::copy(&mut record.as_ref(), &mut out).unwrap();
    assert_eq!(out, b"bytes");
}

#[test]
fn a_function_that_reads_files_and_depots_has_one_error() {
    fn both(path: &Path) -> Result<usize> {
        let text = fs::read_to_string(path)?;
        let depot = Depot::memory(Raw)?;
        depot.put("text", text.as_bytes())?;
        Ok(depot.get("text")?.len())
    }
    fn as_io() -> io::Result<()> {
        Depot::memory(Raw)?.get("none")?;
        Ok(())
    }
    let error = both(Path::new("no such file")).unwrap_err();
    assert!(error.is_io() && error.is_not_found() && error.io_kind() == Some(io::ErrorKind::NotFound));
    let error: Error = as_io().unwrap_err().downcast().unwrap();
    assert!(matches!(error.kind(), ErrorKind::NotFound));
}

#[test]
fn options_come_from_a_settings_file() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Settings {
        layout: Layout,
        write: WriteOptions,
        open: OpenOptions,
        first: Key,
    }
    let text = r#"{
        "layout": {"compression": {"codec": "lz4", "filter": "bitshuffle"}, "placement": "contiguous"},
        "write": {"threads": 2},
        "open": {"mapping": "never"},
        "first": "frame_0"
    }"#;
    let settings: Settings = serde_json::from_str(text).unwrap();
    assert_eq!(settings.layout.compression.codec, CompressionCodec::Lz4);
    assert_eq!((settings.write.threads, settings.open.mapping), (Some(2), Mapping::Never));
    let again: Settings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
    let depot = Depot::builder(Raw)
        .layout(settings.layout.clone())
        .write_options(settings.write)
        .open_options(settings.open)
        .memory()
        .unwrap();
    depot.put(&settings.first, b"..").unwrap();
    assert_eq!(depot.info().unwrap().layout.placement, settings.layout.placement);
    assert_eq!("fast".parse::<Layout>().unwrap(), Layout::fast());
}

/// A storage of a user's own: the bytes of a file, held elsewhere.
struct Held(Arc<[u8]>);

struct Lent(Arc<[u8]>, std::ops::Range<usize>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0[self.1.clone()]
    }
}

impl Storage for Held {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = self.0.get(start..start + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let (start, len) = (usize::try_from(offset), usize::try_from(len));
        let (Ok(start), Ok(len)) = (start, len) else { return Ok(None) };
        if start + len > self.0.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Bytes::from_owner(Lent(Arc::clone(&self.0), start..start + len))))
    }
}

#[test]
fn a_storage_of_a_users_own_lends_its_bytes() {
    let layout = Layout::uncompressed().with_chunk_size(1 << 17);
    let depot = Depot::builder(Raw).layout(layout).memory().unwrap();
    depot.put("large", &vec![7; 100_000]).unwrap();
    let held: Arc<[u8]> = depot.to_bytes().unwrap().into();
    let depot = Depot::builder(Raw).open_in(Arc::new(Held(Arc::clone(&held)))).unwrap();
    let record = depot.get("large").unwrap();
    assert!(record.view() == vec![7; 100_000]);
    // Nothing is copied if the record happens to lie at a multiple of the codec's alignment.
    let (bytes, view) = (held.as_ptr_range(), record.view().as_ptr_range());
    let lies_inside = bytes.start <= view.start && view.end <= bytes.end;
    assert!(lies_inside || !(held.as_ptr() as usize).is_multiple_of(16));
    drop(depot);
    assert!(record.view()[99_999] == 7 && Arc::strong_count(&held) >= 1);
}

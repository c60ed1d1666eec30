//! A simulation that was killed, or starts again from a checkpoint.
//!
//! It goes on from the right place, with the same system, and stores no frame twice.

use std::error::Error as _;

use serde_json::json;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Precision};
use vldepot::maintain::{VerifyOptions, compact, plan_compact};
use vldepot::{CodecError, Cut, Depot, Error, ErrorKind, Key, Layout, Raw, TruncateOptions};

fn positions(n_atoms: usize, step: i64) -> Vec<[f32; 3]> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    (0..n_atoms).map(|atom| [atom as f32, step as f32, 0.5]).collect()
}

fn all() -> TruncateOptions {
    TruncateOptions::default().with_all(true)
}

fn dry() -> TruncateOptions {
    TruncateOptions::default().with_dry_run(true)
}

fn frame_name(step: i64) -> String {
    format!("frame_{step:06}")
}

fn run(depot: &Depot<AtomicFrameCodec>, steps: impl Iterator<Item = i64>) {
    for step in steps {
        let positions = positions(3, step);
        depot.put(frame_name(step), &AtomicFrame::new().positions(&positions).step(step)).unwrap();
    }
}

fn steps(depot: &Depot<AtomicFrameCodec>) -> Vec<i64> {
    depot.iter().map(|entry| entry.unwrap().1.view().step().unwrap()).collect()
}

fn small_chunks() -> Layout {
    Layout::default().with_chunk_size(4096).with_block_size(1024)
}

#[test]
fn a_run_restarted_from_a_checkpoint_stores_no_frame_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let codec = || AtomicFrameCodec::new().with_n_atoms(3);
    let depot = Depot::builder(codec()).layout(small_chunks()).create(&path).unwrap();
    run(&depot, (0..5000).step_by(10));
    depot.close().unwrap();

    // By name.
    let depot = Depot::append(&path, codec()).unwrap();
    assert_eq!(depot.truncate_after(frame_name(3200)).unwrap(), 179);
    assert_eq!(depot.truncate_after(frame_name(3200)).unwrap(), 0);
    run(&depot, (3210..4000).step_by(10));
    // It is killed, and starts again from step 3500. The later frames are cut, committed or not.
    depot.flush().unwrap();
    let killed = folder.path().join("killed.vld");
    std::fs::copy(&path, &killed).unwrap();
    let depot = Depot::append(&killed, codec()).unwrap();
    assert_eq!(depot.truncate_after_step(3505).unwrap(), 49);
    run(&depot, (3510..6000).step_by(10));
    depot.close().unwrap();
    let depot = Depot::open(&killed, codec()).unwrap();
    assert_eq!(steps(&depot), (0..6000).step_by(10).collect::<Vec<_>>());
    assert!(vldepot::maintain::verify(&killed, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
}

#[test]
fn what_truncating_acknowledged_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(AtomicFrameCodec::default()).layout(small_chunks()).create(&path).unwrap();
    run(&depot, 0..100);
    depot.truncate_after(frame_name(49)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let after = Depot::from_bytes(&bytes, AtomicFrameCodec::default()).unwrap();
    assert_eq!(steps(&after), (0..50).collect::<Vec<_>>());
}

#[test]
fn truncating_goes_by_the_order_of_insertion_over_all_kinds_of_names() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put("b", b"1").unwrap();
    depot.put(7, b"2").unwrap();
    depot.put("a", b"3").unwrap();
    depot.commit().unwrap();
    depot.put(b"c", b"4").unwrap();
    depot.put("b", b"5").unwrap();
    depot.remove("a").unwrap();
    let error = depot.truncate_after("a").unwrap_err();
    assert!(error.is_not_found() && depot.len() == 3);
    // "b" was replaced after 7. It is gone, and its older content does not come back.
    assert_eq!(depot.truncate_after(7).unwrap(), 2);
    assert_eq!(depot.keys().map(Result::unwrap).collect::<Vec<_>>(), [Key::Int(7)]);
    let error = depot.truncate_while(|_, _| true).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RemovesAll { records: 1, what: "records", .. }), "{error}");
    assert_eq!(depot.len(), 1);
    assert_eq!(depot.truncate_by(&all(), |_, _| Cut::Remove).unwrap().removed, 1);
    assert!(depot.is_empty());
    assert_eq!(depot.truncate_while(|_, _| true).unwrap(), 0);
    depot.put("b", b"6").unwrap();
    assert_eq!(depot.get("b").unwrap().view(), b"6");
}

#[test]
fn a_reader_cannot_truncate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put("a", b"1").unwrap();
    depot.put("b", b"1").unwrap();
    depot.close().unwrap();
    let reader = Depot::open(&path, Raw).unwrap();
    assert!(matches!(reader.truncate_after("a").unwrap_err().kind(), ErrorKind::ReadOnly));
    assert!(matches!(reader.truncate_while(|_, _| true).unwrap_err().kind(), ErrorKind::ReadOnly));
}

fn refused(path: &std::path::Path, codec: AtomicFrameCodec) -> (String, String, String) {
    let error = Depot::append(path, codec).map(|_| ()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CodecParameters { .. }), "{error:?}");
    let source = error.source().and_then(|source| source.downcast_ref());
    let Some(CodecError::Parameter { parameter, stored, given }) = source else { panic!("{error:?}") };
    (parameter.clone(), stored.clone(), given.clone())
}

#[test]
fn another_system_or_precision_is_refused_with_both_values() {
    let folder = tempfile::tempdir().unwrap();
    let (path, free) = (folder.path().join("fixed.vld"), folder.path().join("free.vld"));
    let depot = Depot::create(&path, AtomicFrameCodec::new().with_n_atoms(3)).unwrap();
    run(&depot, 0..3);
    depot.close().unwrap();
    let strings = |values: [&str; 3]| (values[0].to_owned(), values[1].to_owned(), values[2].to_owned());
    let given = AtomicFrameCodec::new().with_n_atoms(4);
    assert_eq!(refused(&path, given), strings(["n_atoms", "3", "4"]));
    let given = AtomicFrameCodec::new().with_precision(Precision::F64);
    assert_eq!(refused(&path, given), strings(["precision", "float32", "float64"]));

    // A codec without a number of atoms takes the depot's.
    let depot = Depot::append(&path, AtomicFrameCodec::default()).unwrap();
    assert_eq!(depot.codec().n_atoms(), Some(3));
    let four = positions(4, 3);
    let error = depot.put(frame_name(3), &AtomicFrame::new().positions(&four).step(3)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Codec { .. }), "{error:?}");
    let source = error.source().unwrap();
    assert!(source.to_string().contains("4 atoms") && source.to_string().contains("have 3"), "{source}");
    assert_eq!(depot.len(), 3);
    run(&depot, 3..4);
    // A record without atoms, such as a box alone, does not count as another system.
    depot.put("box", &AtomicFrame::new().cell([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).unwrap();
    drop(depot);

    let depot = Depot::create(&free, AtomicFrameCodec::default()).unwrap();
    depot.close().unwrap();
    let given = AtomicFrameCodec::new().with_n_atoms(4);
    assert_eq!(refused(&free, given), strings(["n_atoms", "any number", "4"]));
}

/// Every name, record and metadata, in order.
fn content(depot: &Depot<Raw>) -> Vec<(Key, Vec<u8>, Option<serde_json::Value>)> {
    let entry = |position| {
        let key = depot.key_at(position).unwrap();
        let metadata = depot.metadata::<serde_json::Value>(&key).unwrap();
        (key, depot.get_at(position).unwrap().view().to_vec(), metadata)
    };
    (0..depot.len()).map(entry).collect()
}

fn assert_whole(path: &std::path::Path) {
    let report = vldepot::maintain::verify(path, &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

/// 300 records in several commits. Some have metadata, some are replaced, and some have other kinds of
/// names.
fn varied(path: &std::path::Path) -> Depot<Raw> {
    let depot = Depot::builder(Raw).layout(small_chunks()).create(path).unwrap();
    for n in 0..300_usize {
        let bytes = vec![u8::try_from(n % 251).unwrap(); 7 * n % 500];
        match n % 5 {
            0 => depot.put_with_metadata(format!("r{n}"), &bytes, &json!({ "n": n })).unwrap(),
            1 => depot.put(n, &bytes).unwrap(),
            _ => depot.put(format!("r{n}"), &bytes).unwrap(),
        }
        if n % 40 == 39 {
            depot.remove(format!("r{}", n - 4)).unwrap();
            depot.put(format!("r{}", n - 20), b"again").unwrap();
            depot.set_metadata(format!("r{}", n - 1), &json!("late")).unwrap();
            depot.commit().unwrap();
        }
    }
    depot
}

#[test]
fn a_truncation_is_taken_back_with_every_position_and_all_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = varied(&path);
    let before = content(&depot);
    let len = depot.len();
    // Of r0 to r98, r35 and r75 were removed.
    assert_eq!(depot.truncate_after("r98").unwrap(), len - 97);
    assert_eq!(depot.len(), 97);
    assert_eq!(depot.undo_truncate().unwrap(), len - 97);
    assert!(content(&depot) == before);
    depot.close().unwrap();
    assert_whole(&path);
    let depot = Depot::open(&path, Raw).unwrap();
    assert!(content(&depot) == before);
    assert_eq!(plan_compact(&path).unwrap().kept, len);
}

#[test]
fn a_truncation_is_taken_back_after_closing_which_merges_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = varied(&path);
    let before = content(&depot);
    depot.truncate_after("r57").unwrap();
    depot.close().unwrap();
    // Opening for writing and closing changes nothing.
    Depot::append(&path, Raw).unwrap().close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(depot.len() < 60);
    let gone = before.len() as u64 - depot.len();
    assert_eq!(depot.undo_truncate().unwrap(), gone);
    assert!(content(&depot) == before);
    depot.close().unwrap();
    assert_whole(&path);
    assert!(content(&Depot::open(&path, Raw).unwrap()) == before);
}

#[test]
fn records_that_a_truncation_kept_among_removed_ones_are_in_their_places_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = varied(&path);
    let before = content(&depot);
    let removal = depot
        .truncate_by(&TruncateOptions::default(), |key, _| match key {
            Key::Int(n) if *n > 200 => Cut::Remove,
            Key::Str(name) if name == "r150" => Cut::Stop,
            _ => Cut::Keep,
        })
        .unwrap();
    assert_eq!((removal.removed, removal.kept), (20, before.len() as u64 - 20));
    assert_eq!((removal.first, removal.last), (Some(Key::Int(201)), Some(Key::Int(296))));
    assert_eq!(depot.undo_truncate().unwrap(), 20);
    assert!(content(&depot) == before);
    depot.close().unwrap();
    assert_whole(&path);
}

#[test]
fn everything_that_was_removed_can_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = varied(&path);
    let before = content(&depot);
    depot.truncate_by(&all(), |_, _| Cut::Remove).unwrap();
    depot.close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(depot.is_empty());
    assert_eq!(depot.undo_truncate().unwrap(), before.len() as u64);
    assert!(content(&depot) == before);
}

fn not_undone(depot: &Depot<Raw>) -> String {
    let before = content(depot);
    let error = depot.undo_truncate().unwrap_err();
    assert!(content(depot) == before);
    let ErrorKind::NotUndone { why } = error.kind() else { panic!("{error:?}") };
    why.clone()
}

#[test]
fn a_truncation_is_not_taken_back_once_something_was_changed_and_the_error_says_what() {
    type Change = fn(&Depot<Raw>);
    let changes: [(&str, Change); 4] = [
        ("put", |depot| depot.put("new", b"1").unwrap()),
        ("put under a removed name", |depot| depot.put("r200", b"1").unwrap()),
        ("remove", |depot| assert!(depot.remove("r3").unwrap())),
        ("metadata", |depot| depot.set_metadata("r3", &json!(1)).unwrap()),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (what, change) in changes {
        let path = folder.path().join(what);
        let depot = varied(&path);
        assert!(not_undone(&depot).contains("is not committed"), "{what}");
        depot.commit().unwrap();
        assert!(not_undone(&depot).contains("nothing was truncated"), "{what}");
        depot.truncate_after("r57").unwrap();
        change(&depot);
        assert!(not_undone(&depot).contains("is not committed"), "{what}");
        depot.commit().unwrap();
        assert!(not_undone(&depot).contains("put, removed, changed or taken back since"), "{what}");
        depot.close().unwrap();
        let depot = Depot::append(&path, Raw).unwrap();
        assert!(not_undone(&depot).contains("put, removed, changed or taken back since"), "{what}");
    }
}

#[test]
fn a_truncation_is_taken_back_once_and_not_after_compacting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = varied(&path);
    depot.truncate_after("r57").unwrap();
    depot.undo_truncate().unwrap();
    assert!(not_undone(&depot).contains("taken back since"));
    let gone = depot.truncate_after("r57").unwrap();
    // A truncation that removes nothing does not hide the one before it.
    assert_eq!(depot.truncate_after("r57").unwrap(), 0);
    let len = depot.len();
    depot.close().unwrap();
    let removal = plan_compact(&path).unwrap();
    assert!(removal.removed >= gone && removal.kept == len && !removal.everything);
    compact(&path, |_| {}).unwrap();
    assert_eq!(plan_compact(&path).unwrap().removed, 0);
    let depot = Depot::append(&path, Raw).unwrap();
    assert!(not_undone(&depot).contains("compacted"));
    let reader = Depot::open(&path, Raw).unwrap();
    assert!(matches!(reader.undo_truncate().unwrap_err().kind(), ErrorKind::ReadOnly));
}

#[test]
fn a_dry_run_tells_what_goes_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(AtomicFrameCodec::default()).layout(small_chunks()).create(&path).unwrap();
    run(&depot, 0..100);
    let expected = (60, 40, Some(Key::Str(frame_name(40))), Some(Key::Str(frame_name(99))));
    // Records that no commit covers stay uncommitted.
    let removal = depot.truncate_after_step_with(39, &dry()).unwrap();
    assert_eq!((removal.removed, removal.kept, removal.first, removal.last), expected.clone());
    let uncommitted = depot.info().unwrap().uncommitted_records;
    assert_eq!(uncommitted, 100);
    depot.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let reader = Depot::open(&path, AtomicFrameCodec::default()).unwrap();
    let removal = reader.truncate_after_with(frame_name(39), &dry()).unwrap();
    assert_eq!((removal.removed, removal.kept, removal.first, removal.last), expected);
    let removal = reader.truncate_after_step_with(-5, &dry()).unwrap();
    assert_eq!((removal.removed, removal.kept, removal.everything), (100, 0, true));
    let removal = reader.truncate_after_step_with(500, &dry()).unwrap();
    assert_eq!((removal.removed, removal.kept, removal.first, removal.last), (0, 100, None, None));
    assert_eq!(steps(&reader), (0..100).collect::<Vec<_>>());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_cut_by_step_goes_past_records_without_a_step_and_keeps_them() {
    let depot = Depot::builder(AtomicFrameCodec::default()).layout(small_chunks()).memory().unwrap();
    let topology = AtomicFrame::new().cell([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    run(&depot, (0..600).step_by(100));
    depot.put("topology", &topology).unwrap();
    run(&depot, (600..=900).step_by(100));
    depot.put("last topology", &topology).unwrap();
    assert_eq!(depot.truncate_after_step(500).unwrap(), 4);
    let keys: Vec<_> = depot.keys().map(|key| key.unwrap().to_string()).collect();
    assert_eq!(keys.len(), 8);
    assert!(keys[6].contains("topology") && keys[7].contains("last topology"));
    // A topology alone is no run, so removing all frames counts as removing everything.
    let error = depot.truncate_after_step(-5).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RemovesAll { records: 6, what: "frames", .. }), "{error}");
    assert_eq!(depot.len(), 8);
    assert_eq!(depot.truncate_after_step_with(-5, &all()).unwrap().removed, 6);
    assert_eq!(depot.undo_truncate().unwrap(), 6);
    assert_eq!(depot.key_at(5).unwrap(), Key::Str(frame_name(500)));
    assert_eq!(depot.key_at(6).unwrap(), Key::Str("topology".into()));
}

/// Steps that stay after a cut at step 500, when `change` was made to a run of the steps 0 to 900.
fn cut_at_500(change: impl Fn(&Depot<AtomicFrameCodec>)) -> Vec<i64> {
    let depot = Depot::memory(AtomicFrameCodec::new()).unwrap();
    run(&depot, (0..10).map(|n| n * 100));
    depot.commit().unwrap();
    change(&depot);
    let removal = depot.restart_at_step(500, 500).unwrap();
    let mut left = steps(&depot);
    assert_eq!(removal.removed + left.len() as u64, 10);
    left.sort_unstable();
    left
}

#[test]
fn frames_that_moved_to_the_end_do_not_hide_later_ones() {
    let whole = [0, 100, 200, 300, 400, 500];
    let annotate = |depot: &Depot<AtomicFrameCodec>, steps: &[i64]| {
        for &step in steps {
            depot.set_metadata(frame_name(step), "checked").unwrap();
        }
    };
    assert_eq!(cut_at_500(|_| ()), whole);
    assert_eq!(cut_at_500(|depot| annotate(depot, &[500])), whole);
    assert_eq!(cut_at_500(|depot| annotate(depot, &[100])), whole);
    assert_eq!(cut_at_500(|depot| annotate(depot, &[0, 100, 200, 300, 400, 500])), whole);
    assert_eq!(cut_at_500(|depot| annotate(depot, &[700, 200])), whole);
    assert_eq!(cut_at_500(|depot| run(depot, [100, 300].into_iter())), whole);
    assert_eq!(cut_at_500(|depot| depot.rename(frame_name(300), "kept").unwrap()), whole);
    assert_eq!(
        cut_at_500(|depot| {
            annotate(depot, &[0, 100]);
            depot.commit().unwrap();
            run(depot, [200].into_iter());
        }),
        whole
    );
}

#[test]
fn many_frames_that_moved_do_not_hide_later_ones_in_any_number_of_commits() {
    for commits in [false, true] {
        let depot = Depot::memory(AtomicFrameCodec::new()).unwrap();
        run(&depot, 0..1000);
        for step in 0..500 {
            depot.set_metadata(frame_name(step), "checked").unwrap();
            if commits && step % 5 == 0 {
                depot.commit().unwrap();
            }
        }
        assert_eq!(depot.truncate_after_step(600).unwrap(), 399);
        assert_eq!(depot.restart_at_step(450, 450).unwrap().removed, 150);
        let mut left = steps(&depot);
        left.sort_unstable();
        assert_eq!(left, (0..=450).collect::<Vec<_>>());
    }
}

#[test]
fn steps_out_of_order_are_cut_too() {
    let depot = Depot::memory(AtomicFrameCodec::new()).unwrap();
    run(&depot, [0, 200, 100, 300].into_iter());
    assert_eq!(depot.truncate_after_step(150).unwrap(), 2);
    assert_eq!(steps(&depot), [0, 100]);
}

#[test]
fn a_restart_after_a_gap_is_refused_with_both_steps_before_anything_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(AtomicFrameCodec::default()).layout(small_chunks()).create(&path).unwrap();
    let gap = |error: Error| match error.kind() {
        ErrorKind::Gap { step, expected, found } => (*step, *expected, *found),
        _ => panic!("{error:?}"),
    };
    assert_eq!(gap(depot.restart_at_step(100, 100).unwrap_err()), (100, 100, None));
    run(&depot, (0..=500).step_by(100));
    depot.commit().unwrap();
    // The frames 600 and 700 were put, then the power failed. The restart file is of step 750.
    let error = depot.restart_at_step(750, 700).unwrap_err();
    let sentence = error.to_string();
    assert!(
        sentence.contains("700") && sentence.contains("500") && sentence.contains("missing"),
        "{sentence}"
    );
    assert_eq!(gap(error), (750, 700, Some(500)));
    run(&depot, (800..=900).step_by(100));
    assert_eq!(gap(depot.restart_at_step_with(750, 700, &dry()).unwrap_err()), (750, 700, Some(500)));
    assert_eq!(gap(depot.restart_at_step(750, 700).unwrap_err()), (750, 700, Some(500)));
    assert_eq!(depot.len(), 8);
    let removal = depot.restart_at_step(650, 500).unwrap();
    assert_eq!((removal.removed, removal.kept), (2, 6));
    assert_eq!(depot.restart_at_step(500, 500).unwrap().removed, 0);
    assert!(matches!(depot.restart_at_step(500, 600).unwrap_err().kind(), ErrorKind::InvalidOptions { .. }));
}

#[test]
fn what_compacting_removes_for_good_is_counted_by_the_directories() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(Raw).layout(small_chunks()).create(&path).unwrap();
    for name in ["a", "b", "c", "d"] {
        depot.put(name, &[1; 100]).unwrap();
    }
    depot.put("b", &[2; 100]).unwrap();
    depot.commit().unwrap();
    depot.put("b", &[3; 100]).unwrap();
    depot.set_metadata("a", &json!(1)).unwrap();
    depot.remove("d").unwrap();
    depot.flush().unwrap();
    // A writer has the file open.
    let removal = plan_compact(&path).unwrap();
    assert_eq!((removal.removed, removal.kept), (3, 3));
    assert_eq!((removal.first, removal.last), (Some(Key::Str("b".into())), Some(Key::Str("b".into()))));
    depot.close().unwrap();
    assert_eq!(plan_compact(&path).unwrap().removed, 3);
    compact(&path, |_| {}).unwrap();
    let removal = plan_compact(&path).unwrap();
    assert_eq!((removal.removed, removal.kept, removal.first), (0, 3, None));
}

#[test]
fn an_undo_that_is_interrupted_leaves_the_first_of_the_records_back_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::builder(Raw).layout(small_chunks()).create(&path).unwrap();
    // More than the directory of one chunk can hold.
    let metadata = json!("m".repeat(8 << 20));
    for n in 0..12_u32 {
        depot.put_with_metadata(n, &n.to_le_bytes(), &metadata).unwrap();
    }
    depot.close().unwrap();
    let depot = Depot::append(&path, Raw).unwrap();
    assert_eq!(depot.truncate_after(1).unwrap(), 10);
    let before = std::fs::read(&path).unwrap();
    depot.undo_truncate().unwrap();
    drop(depot);
    let after = std::fs::read(&path).unwrap();
    let heads = (before.len()..after.len()).step_by(64).filter(|&at| after[at..].starts_with(b"\x8bVLD\r\n"));
    let mut lengths = Vec::new();
    for cut in heads.take(2).chain([after.len()]) {
        // The header is the old one, because its slots are written only when the commit is durable.
        let torn = [&before[..4096], &after[4096..cut]].concat();
        let depot = Depot::from_bytes(&torn, Raw).unwrap();
        for n in 0..u32::try_from(depot.len()).unwrap() {
            assert_eq!(depot.key_at(u64::from(n)).unwrap(), Key::Int(n.into()));
            assert_eq!(depot.get_at(u64::from(n)).unwrap().view(), n.to_le_bytes(), "cut at {cut}");
        }
        let last = i64::try_from(depot.len()).unwrap() - 1;
        assert!(depot.metadata::<serde_json::Value>(last).unwrap().as_ref() == Some(&metadata));
        lengths.push(depot.len());
    }
    assert_eq!((lengths.first(), lengths.last()), (Some(&2), Some(&12)));
    assert!(lengths.is_sorted() && lengths.iter().any(|n| (3..12).contains(n)), "{lengths:?}");
}

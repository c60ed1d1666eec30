//! A simulation that was killed, or starts again from a checkpoint: it goes on where it should, with the same system, and stores
//! no frame twice.

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Precision};
use vldepot::{CodecError, Depot, DepotOptions, Error, Key, Raw, VerifyOptions};

fn positions(n_atoms: usize, step: i64) -> Vec<[f32; 3]> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    (0..n_atoms).map(|atom| [atom as f32, step as f32, 0.5]).collect()
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

fn small_chunks() -> DepotOptions {
    DepotOptions { chunk_size: 4096, block_size: Some(1024), ..DepotOptions::default() }
}

#[test]
fn a_run_restarted_from_a_checkpoint_stores_no_frame_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let codec = || AtomicFrameCodec::new().with_n_atoms(3);
    let depot = Depot::create_with(&path, codec(), small_chunks()).unwrap();
    run(&depot, (0..5000).step_by(10));
    depot.close().unwrap();

    // By name.
    let depot = Depot::append(&path, codec()).unwrap();
    assert_eq!(depot.truncate_after(frame_name(3200)).unwrap(), 179);
    assert_eq!(depot.truncate_after(frame_name(3200)).unwrap(), 0);
    run(&depot, (3210..4000).step_by(10));
    // It is killed, and starts again from step 3500: the frames behind are cut, committed or not.
    depot.flush().unwrap();
    let killed = folder.path().join("killed.vld");
    std::fs::copy(&path, &killed).unwrap();
    let depot = Depot::append(&killed, codec()).unwrap();
    assert_eq!(depot.truncate_while(|_, frame| frame.step() > Some(3505)).unwrap(), 49);
    run(&depot, (3510..6000).step_by(10));
    depot.close().unwrap();
    let depot = Depot::open(&killed, codec()).unwrap();
    assert_eq!(steps(&depot), (0..6000).step_by(10).collect::<Vec<_>>());
    assert!(vldepot::verify(&killed, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
}

#[test]
fn what_truncating_acknowledged_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::create_with(&path, AtomicFrameCodec::default(), small_chunks()).unwrap();
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
    // "b" was replaced behind 7: it is gone, and its older content does not come back.
    assert_eq!(depot.truncate_after(7).unwrap(), 2);
    assert_eq!(depot.keys().map(Result::unwrap).collect::<Vec<_>>(), [Key::Int(7)]);
    assert_eq!(depot.truncate_while(|_, _| true).unwrap(), 1);
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
    assert!(matches!(reader.truncate_after("a").unwrap_err(), Error::ReadOnly { .. }));
    assert!(matches!(reader.truncate_while(|_, _| true).unwrap_err(), Error::ReadOnly { .. }));
}

fn refused(path: &std::path::Path, codec: AtomicFrameCodec) -> (String, String, String) {
    let error = Depot::append(path, codec).map(|_| ()).unwrap_err();
    let Error::CodecParameters { source, .. } = error else { panic!("{error:?}") };
    let CodecError::Parameter { parameter, stored, given } = *source else { panic!("{source:?}") };
    (parameter, stored, given)
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

    // A codec that was given no number takes the depot's.
    let depot = Depot::append(&path, AtomicFrameCodec::default()).unwrap();
    assert_eq!(depot.codec().n_atoms(), Some(3));
    let four = positions(4, 3);
    let error = depot.put(frame_name(3), &AtomicFrame::new().positions(&four).step(3)).unwrap_err();
    let Error::Codec { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("4 atoms") && source.to_string().contains("have 3"), "{source}");
    assert_eq!(depot.len(), 3);
    run(&depot, 3..4);
    // A record without atoms, such as a box alone, is no other system.
    depot.put("box", &AtomicFrame::new().cell([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).unwrap();
    drop(depot);

    let depot = Depot::create(&free, AtomicFrameCodec::default()).unwrap();
    depot.close().unwrap();
    let given = AtomicFrameCodec::new().with_n_atoms(4);
    assert_eq!(refused(&free, given), strings(["n_atoms", "any number", "4"]));
}

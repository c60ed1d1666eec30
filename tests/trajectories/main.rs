//! Trajectories and arrays of other programs: what is kept, and what damaged files do.
#![cfg(feature = "import")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "numbers are small, and come back bit by bit"
)]

mod files;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use vldepot::codecs::{AnyNdArray, AtomicFrameCodec, Precision, Units};
use vldepot::storage::MemoryStorage;
use vldepot::trajectories::{Format, ImportError, ImportOptions, Imported, Trajectory, import, import_in};
use vldepot::{Codec, Depot, ErrorKind};

/// Small files of each format with frames.
fn samples() -> Vec<(Format, Vec<u8>)> {
    let all = [true; 3];
    vec![
        (Format::Xtc, files::xtc(3, true)),
        (Format::Trr, [files::trr(-5, false, all), files::trr(1000, false, [true, false, true])].concat()),
        (Format::Trr, files::trr(i32::MAX, true, all)),
        (Format::Dcd, files::dcd(3, false, Some([30.0, 90.0, 40.0, 80.0, 90.0, 50.0]), &[])),
        (Format::Dcd, files::dcd(3, true, None, &[2, 3])),
        (Format::ExtXyz, files::EXTXYZ.into()),
        (Format::Pdb, files::PDB.into()),
        (Format::Gsd, files::snapshots()),
    ]
}

/// Reads all frames and stores them. Panics are what is looked for.
fn drain(bytes: Vec<u8>) -> Result<u64, ImportError> {
    let mut trajectory = Trajectory::from_bytes("sample", bytes)?;
    let codec = AtomicFrameCodec::any();
    let mut n = 0;
    while let Some(entry) = trajectory.next_frame()? {
        codec.encode(&entry.frame, &mut Vec::new()).map_err(|_| ()).ok();
        if let Some(structure) = &entry.structure {
            codec.encode(&structure.record, &mut Vec::new()).map_err(|_| ()).ok();
        }
        n += 1;
    }
    assert!(trajectory.next_frame().unwrap().is_none());
    Ok(n)
}

fn imported(bytes: &[u8], options: &ImportOptions) -> (Depot<AtomicFrameCodec>, Imported) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let done = import_in(&[&path], storage.clone(), options, |_| ()).unwrap();
    (Depot::builder(AtomicFrameCodec::any()).open_in(storage).unwrap(), done)
}

#[test]
fn the_content_tells_the_format() {
    for (format, bytes) in samples() {
        assert_eq!(Trajectory::from_bytes("sample.txt", bytes).unwrap().format(), format);
    }
}

#[test]
fn what_is_not_read_is_named() {
    let named = |start: &[u8], name: &str| {
        let mut bytes = start.to_vec();
        bytes.resize(8192, 0);
        let error = Trajectory::from_bytes("sample", bytes).unwrap_err();
        assert!(matches!(&error, ImportError::Format { found, .. } if found.contains(name)), "{error}");
        assert!(!error.is_damage());
    };
    let tng = [&[0, 0, 0, 0, 0, 0, 0, 0x5c][..], &[0; 24], b"GENERAL INFO\0"].concat();
    named(&tng, "TNG");
    named(b"\x89HDF\r\n\x1a\n", "HDF5");
    named(b"SQLite format 3\0", "SQLite");
    named(b"CDF\x02", "NetCDF");
    named(b"\x1f\x8b\x08", "gzip");
    named(b"ITEM: TIMESTEP\n", "LAMMPS");
    named(b"PK\x03\x04", "zip");
    named(b"title\n  2\n    1SOL     OW    1   0.230   0.628   0.113\n", "GRO");
    named(b"anything else", "no format");
    let error = Trajectory::from_bytes("sample", b"").unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    let depot = Depot::memory(vldepot::Raw).unwrap().to_bytes().unwrap();
    let error = Trajectory::from_bytes("sample", depot).unwrap_err();
    assert!(error.to_string().contains("depot"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_has_fewer_frames() {
    for (format, bytes) in samples() {
        let all = drain(bytes.clone()).unwrap();
        for len in 0..bytes.len() {
            match drain(bytes[..len].to_vec()) {
                Ok(n) => assert!(n <= all, "{format} of {len} bytes"),
                Err(ImportError::Damaged { offset, .. }) => assert!(offset <= bytes.len() as u64),
                Err(ImportError::Format { .. } | ImportError::Unsupported { .. }) => {}
                Err(error) => panic!("{format} of {len} bytes: {error}"),
            }
        }
        // Binary frames are seen to be cut.
        if matches!(format, Format::Xtc | Format::Trr | Format::Dcd | Format::Gsd) {
            let error = drain(bytes[..bytes.len() - 1].to_vec()).unwrap_err();
            assert!(error.is_damage() && error.to_string().contains("at byte"), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn flipped_bytes_never_panic(which in 0_usize..8, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (_, mut bytes) = samples().swap_remove(which);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        drain(bytes).ok();
    }

    #[test]
    fn random_bytes_never_panic(which in 0_usize..8, kept in 4_usize..120, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_, mut bytes) = samples().swap_remove(which);
        bytes.truncate(kept);
        bytes.extend(rest);
        drain(bytes).ok();
    }

    #[test]
    fn packed_positions_are_as_molly_reads_them(
        rows in prop::collection::vec(prop::array::uniform3(-50.0_f32..50.0), 10..200),
        close in any::<bool>(),
        precision in prop::sample::select(vec![10.0_f32, 100.0, 1000.0, 123.4, 100_000.0]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.xtc");
        let rows = if close { rows.iter().map(|row| row.map(|x| x * 0.01)).collect() } else { rows };
        let frame = molly::Frame { precision, positions: rows.into_flattened(), ..molly::Frame::default() };
        molly::XTCWriter::create(&path).unwrap().write_frame(&frame).unwrap();
        let mut expected = molly::Frame::default();
        molly::XTCReader::open(&path).unwrap().read_frame(&mut expected).unwrap();
        let (depot, _) = imported(&std::fs::read(&path).unwrap(), &ImportOptions::new());
        let record = depot.get("frame_0000000000").unwrap();
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(record.view().positions().as_slice().unwrap()), bits(&expected.positions));
    }
}

#[test]
fn xtc_keeps_steps_times_cells_and_precision() {
    let (depot, done) = imported(&files::xtc(3, true), &ImportOptions::new());
    assert_eq!((done.records, done.min_atoms, done.max_atoms), (3, Some(4), Some(30)));
    let record = depot.get("frame_0000000002").unwrap();
    let frame = record.view();
    assert_eq!((frame.step(), frame.time(), frame.pbc()), (Some(2), Some(1.0), Some([true; 3])));
    assert_eq!(frame.cell().unwrap().as_slice().unwrap(), [3.0, 0.0, 0.0, 0.5, 2.5, 0.0, 0.25, 0.75, 2.0]);
    let about: serde_json::Value = depot.depot_metadata("xtc").unwrap().unwrap();
    assert_eq!(about["steps_per_nm"], 1000.0);
    assert_eq!(depot.column("time", ..).unwrap().len(), 3);
}

#[test]
fn trr_keeps_both_precisions_and_every_part() {
    let all = [true; 3];
    let (depot, _) = imported(&files::trr(-5, false, all), &ImportOptions::new());
    let record = depot.get("frame_0000000000").unwrap();
    let frame = record.view();
    assert_eq!(frame.step(), Some(-5));
    assert_eq!(frame.time(), Some(f64::from(-0.01_f32)));
    assert_eq!(frame.forces().unwrap()[[0, 1]], 2.1);
    assert_eq!(frame.array("lambda").unwrap().view::<f64>().unwrap()[[]], 0.25);
    let (depot, _) = imported(&files::trr(i32::MAX, true, all), &ImportOptions::new());
    let record = depot.get("frame_0000000000").unwrap();
    assert_eq!(record.view().positions_as::<f64>().unwrap()[[0, 1]], 0.1);
    assert_eq!(record.view().velocities_as::<f64>().unwrap()[[0, 1]], 1.1);

    // What is in double precision is not rounded without a word.
    let mixed = [files::trr(0, false, all), files::trr(1, true, all)].concat();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("mixed.trr"), folder.path().join("mixed.vld"));
    std::fs::write(&from, &mixed).unwrap();
    let error = import(&[&from], &to, &ImportOptions::new(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("frame 1 is in double precision"), "{error}");
    assert!(!to.exists());
    let options = ImportOptions::new().with_precision(Precision::F64);
    assert_eq!(import(&[&from], &to, &options, |_| ()).unwrap().records, 2);
}

#[test]
fn dcd_keeps_cells_of_three_kinds_and_fixed_atoms() {
    let cell = |numbers| {
        let (depot, _) = imported(&files::dcd(1, false, Some(numbers), &[]), &ImportOptions::new());
        let record = depot.get("frame_0000000000").unwrap();
        record.view().cell().map(|cell| cell.as_slice().unwrap().to_vec())
    };
    let right = Some(vec![30.0, 0.0, 0.0, 0.0, 40.0, 0.0, 0.0, 0.0, 50.0]);
    assert_eq!(cell([30.0, 90.0, 40.0, 90.0, 90.0, 50.0]), right);
    assert_eq!(cell([30.0, 0.0, 40.0, 0.0, 0.0, 50.0]), right);
    assert_eq!(cell([0.0; 6]), None);
    let matrix = cell([30.0, -1.0, 40.0, 2.0, 3.0, 50.0]);
    assert_eq!(matrix, Some(vec![30.0, -1.0, 2.0, -1.0, 40.0, 3.0, 2.0, 3.0, 50.0]));

    let (depot, done) = imported(&files::dcd(3, true, None, &[2, 3]), &ImportOptions::new());
    assert_eq!((done.length.as_deref(), done.records), (Some("Å"), 3));
    let record = depot.get("frame_0000000002").unwrap();
    let frame = record.view();
    assert_eq!(frame.positions().column(0).to_vec(), [200.0, 1.0, 2.0, 201.0, 202.0, 203.0]);
    assert_eq!(frame.step(), Some(120));
    assert!((frame.time().unwrap() - 120.0 * 0.5 * 0.048_888_21).abs() < 1e-6);
}

#[test]
fn extended_xyz_keeps_all_its_columns() {
    let (depot, done) = imported(files::EXTXYZ.as_bytes(), &ImportOptions::new());
    assert_eq!((done.records, done.energy.as_deref()), (2, Some("eV")));
    let record = depot.get("frame_0000000000").unwrap();
    let frame = record.view();
    assert_eq!(frame.types().unwrap().to_vec(), [8, 1, 1]);
    assert_eq!(frame.positions_as::<f64>().unwrap()[[0, 2]], 0.2);
    assert_eq!(frame.forces_as::<f64>().unwrap()[[0, 0]], 1e-3);
    assert_eq!(frame.cell().unwrap()[[2, 0]], 0.5);
    assert_eq!(
        (frame.pbc(), frame.energy(), frame.step()),
        (Some([true, true, false]), Some(-1.25), Some(7))
    );
    assert_eq!(frame.stress().unwrap()[[0, 2]], 3.0);
    assert_eq!(frame.array("tag").unwrap().view::<i64>().unwrap().as_slice().unwrap(), [1, 2, -3]);
    assert_eq!(
        frame.array("fixed").unwrap().view::<bool>().unwrap().as_slice().unwrap(),
        [true, false, false]
    );
    assert_eq!(frame.array("dipole").unwrap().shape(), [3]);
    let metadata: serde_json::Value = depot.metadata("frame_0000000000").unwrap().unwrap();
    assert_eq!(metadata["config_type"], "liquid water");
    let record = depot.get("frame_0000000001").unwrap();
    assert_eq!((record.view().name(), record.view().n_atoms()), (Some("Plain text"), 1));
}

#[test]
fn pdb_keeps_models_and_what_the_atoms_are() {
    let (depot, done) = imported(files::PDB.as_bytes(), &ImportOptions::new());
    assert_eq!((done.records, done.topologies), (2, 1));
    let record = depot.get("frame_0000000001").unwrap();
    let frame = record.view();
    assert_eq!(frame.positions()[[0, 0]], 12.104);
    assert_eq!(
        (frame.time(), frame.step(), frame.topology_name()),
        (Some(3.0), Some(1500), Some("topology"))
    );
    assert_eq!(frame.cell().unwrap()[[1, 1]], 40.0);
    let record = depot.get("topology").unwrap();
    let topology = record.view().topology().unwrap();
    assert_eq!(topology.types().unwrap().to_vec(), [7, 6, 8]);
    assert_eq!(topology.names().unwrap().collect::<Vec<_>>(), ["N", "CA", "O"]);
    assert_eq!(topology.residue_names().unwrap().collect::<Vec<_>>(), ["ALA", "HOH"]);
    assert_eq!(topology.bonds().unwrap().as_slice().unwrap(), [0, 1]);
    let own = |name: &str| record.view().array(name).unwrap();
    assert_eq!(own("residue_number").view::<i32>().unwrap().as_slice().unwrap(), [1, 1, 2]);
    assert_eq!(own("formal_charge").view::<i8>().unwrap().as_slice().unwrap(), [0, 0, -1]);
    let metadata: serde_json::Value = depot.metadata("topology").unwrap().unwrap();
    assert_eq!(metadata["chains"], serde_json::json!(["A", "B"]));
}

#[test]
fn a_model_ends_where_the_next_one_begins() {
    let one_end = files::PDB.replacen("ENDMDL\n", "", 1);
    let (depot, done) = imported(one_end.as_bytes(), &ImportOptions::new());
    assert_eq!(done.records, 2);
    assert_eq!(depot.get("frame_0000000001").unwrap().view().n_atoms(), 3);
}

#[test]
fn gsd_takes_what_a_frame_lacks_from_the_first_one() {
    let (depot, done) = imported(&files::snapshots(), &ImportOptions::new());
    assert_eq!((done.records, done.topologies, done.length.as_deref()), (2, 1, Some("[length]")));
    let record = depot.get("frame_0000000001").unwrap();
    let frame = record.view();
    assert_eq!(frame.step(), Some(1 << 40));
    assert_eq!(frame.positions()[[0, 2]], 7.0);
    assert_eq!(frame.cell().unwrap().as_slice().unwrap(), [4.0, 0.0, 0.0, 2.5, 5.0, 0.0, 1.5, 0.75, 6.0]);
    assert_eq!(frame.array("orientation").unwrap().shape(), [2, 4]);
    assert_eq!(frame.array("log/energy").unwrap().view::<f64>().unwrap().as_slice().unwrap(), [-1.5]);
    let record = depot.get("topology").unwrap();
    let topology = record.view().topology().unwrap();
    assert_eq!(topology.names().unwrap().collect::<Vec<_>>(), ["Bb", "A"]);
    assert_eq!(topology.masses().unwrap().to_vec(), [2.0, 3.0]);
    // HOOMD's units are none, so nothing is converted.
    let error = Trajectory::from_bytes("a", files::snapshots()).unwrap().units();
    assert_eq!(error.mass, "[mass]");
}

#[test]
fn units_are_converted_when_asked_for() {
    let options = ImportOptions::new().with_units(Units::ase()).with_precision(Precision::F64);
    let (depot, done) = imported(&files::trr(1000, true, [true; 3]), &options);
    assert!(done.converted);
    let record = depot.get("frame_0000000000").unwrap();
    let frame = record.view();
    assert_eq!(frame.positions_as::<f64>().unwrap()[[0, 2]], 2.0);
    let close =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-14, "{found} {expected}");
    let kj_per_mol = 96.485_332_123_31_f64;
    close(frame.time().unwrap(), 2.0 * (100.0 * kj_per_mol).sqrt());
    close(frame.velocities_as::<f64>().unwrap()[[0, 0]], 10.0 / (100.0 * kj_per_mol).sqrt());
    close(frame.forces_as::<f64>().unwrap()[[0, 0]], 2.0 / kj_per_mol / 10.0);
    close(frame.cell().unwrap()[[0, 0]], 30.0);
}

/// Files in a folder, imported to `out.vld`.
fn import_files(
    files: &[(&str, Vec<u8>)],
    options: &ImportOptions,
) -> (tempfile::TempDir, Result<Imported, ImportError>) {
    let folder = tempfile::tempdir().unwrap();
    let write = |(name, bytes): &(&str, Vec<u8>)| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<_> = files.iter().map(write).collect();
    let done = import(&paths, folder.path().join("out.vld"), options, |_| ());
    (folder, done)
}

#[test]
fn several_files_follow_each_other_if_they_have_the_same_units() {
    let files = [("a.xtc", files::xtc(2, false)), ("b.trr", files::trr(7, false, [true; 3]))];
    let (folder, done) = import_files(&files, &ImportOptions::new().with_start(100));
    assert_eq!(done.unwrap().records, 3);
    let depot = Depot::open(folder.path().join("out.vld"), AtomicFrameCodec::any()).unwrap();
    assert_eq!(depot.get("frame_0000000102").unwrap().view().step(), Some(7));
    let files = [("a.xtc", files::xtc(2, false)), ("b.xyz", files::EXTXYZ.into())];
    let (folder, done) = import_files(&files, &ImportOptions::new());
    assert!(done.unwrap_err().to_string().contains("say in which units"));
    assert!(!folder.path().join("out.vld").exists());
    let (_, done) = import_files(&files, &ImportOptions::new().with_units(Units::gromacs()));
    assert_eq!(done.unwrap().records, 4);
    let files = [("a.xtc", files::xtc(2, false)), ("b.npy", files::npy("<f4", false, "(1,)", &[0; 4]))];
    let (_, done) = import_files(&files, &ImportOptions::new());
    assert!(done.unwrap_err().to_string().contains("no records of one kind"));
}

#[test]
fn a_topology_of_another_file_is_referred_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("top.pdb"), files::PDB).unwrap();
    let three = "3\n\nA 1 2 3\nB 1 2 3\nC 1 2 3\n";
    std::fs::write(path("run.xyz"), three).unwrap();
    let options = ImportOptions::new().with_topology(path("top.pdb"));
    import(&[path("run.xyz")], path("run.vld"), &options, |_| ()).unwrap();
    let depot = Depot::open(path("run.vld"), AtomicFrameCodec::any()).unwrap();
    assert_eq!(depot.get("frame_0000000000").unwrap().view().topology_name(), Some("topology"));
    std::fs::write(path("run.xtc"), files::xtc(1, false)).unwrap();
    let error = import(&[path("run.xtc")], path("other.vld"), &options, |_| ()).unwrap_err();
    assert!(error.to_string().contains("30 atoms, and the topology 3"), "{error}");
    assert!(!path("other.vld").exists());
}

#[test]
fn a_failed_import_leaves_no_file_and_touches_no_old_one() {
    let mut torn = files::xtc(3, false);
    torn.truncate(torn.len() - 5);
    let (folder, done) = import_files(&[("torn.xtc", torn)], &ImportOptions::new());
    let error = done.unwrap_err();
    assert!(matches!(error, ImportError::Damaged { frame: Some(2), .. }), "{error}");
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["torn.xtc"]);
    let out = folder.path().join("out.vld");
    std::fs::write(&out, b"precious").unwrap();
    let error = import(&[folder.path().join("torn.xtc")], &out, &ImportOptions::new(), |_| ()).unwrap_err();
    assert!(matches!(&error, ImportError::Depot(error) if matches!(error.kind(), ErrorKind::PathExists)));
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
}

fn arrays(name: &str, bytes: Vec<u8>) -> Result<Depot<AnyNdArray>, ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    import_in(&[path], storage.clone(), &ImportOptions::new(), |_| ())?;
    Ok(Depot::builder(AnyNdArray).open_in(storage).unwrap())
}

#[test]
fn arrays_are_stored_by_rows_and_archives_by_name() {
    let elements: Vec<u8> = (0..6_u16).flat_map(u16::to_le_bytes).collect();
    let depot = arrays("a.npy", files::npy("<u2", false, "(2, 3)", &elements)).unwrap();
    assert_eq!(depot.get(1).unwrap().view().view::<u16>().unwrap().as_slice().unwrap(), [3, 4, 5]);
    let depot = arrays("a.npy", files::npy("<u2", true, "(2, 3)", &elements)).unwrap();
    assert_eq!(depot.get(1).unwrap().view().view::<u16>().unwrap().as_slice().unwrap(), [1, 3, 5]);
    let depot = arrays("a.npy", files::npy(">u2", false, "(6,)", &elements)).unwrap();
    assert_eq!(depot.get("a").unwrap().view().view::<u16>().unwrap()[1], 256);
    for deflate in [false, true] {
        let members = [
            ("x.npy", files::npy("<u2", false, "(2, 3)", &elements)),
            ("one.npy", files::npy("<f8", false, "()", &1.5_f64.to_le_bytes())),
        ];
        let depot = arrays("a.npz", files::zip(&members, deflate)).unwrap();
        assert_eq!(depot.get("x").unwrap().view().shape(), [2, 3]);
        assert_eq!(depot.get("one").unwrap().view().view::<f64>().unwrap()[[]], 1.5);
    }
    let error = arrays("a.npy", files::npy("<c8", false, "(1,)", &[0; 8])).unwrap_err();
    assert!(matches!(error, ImportError::Unsupported { .. }), "{error}");
    let error = arrays("a.npy", files::npy("<u2", false, "(99999999999, 3)", &elements)).unwrap_err();
    assert!(error.is_damage(), "{error}");
}

#[test]
fn damaged_arrays_are_errors() {
    let elements: Vec<u8> = (0..60_u8).collect();
    let array = files::npy("<i4", false, "(5, 3)", &elements);
    let archive = files::zip(&[("x.npy", array.clone()), ("y.npy", array.clone())], true);
    for whole in [array, archive] {
        for len in 0..whole.len() {
            arrays("a", whole[..len].to_vec()).unwrap_err();
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x41;
            arrays("a", flipped).ok();
        }
    }
}

/// Real files, where this machine has them.
#[test]
fn real_files_are_read() {
    let folder = Path::new("/work/shared/data/md");
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not here", folder.display());
        return;
    }
    let frames = |name: &str| drain(std::fs::read(folder.join(name)).unwrap());
    for (name, n) in [
        ("adk_dims2.dcd", 102),
        ("cobrotoxin.trr", 3),
        ("cobrotoxin.xtc", 3),
        ("example_longer.gsd", 8),
        ("ubiquitin.trr", 2),
        ("water.xyz", 100),
    ] {
        assert_eq!(frames(name).unwrap(), n, "{name}");
    }
    assert!(frames("argon_npt_compressed.tng").unwrap_err().to_string().contains("TNG"));
}

#[cfg(feature = "export")]
mod out {
    use vldepot::codecs::AtomicFrame;
    use vldepot::trajectories::{ExportOptions, Exported, export};

    use super::*;

    fn exported(depot: &Depot<AtomicFrameCodec>, format: Format) -> (Vec<u8>, Exported) {
        let mut bytes = Vec::new();
        let done = export(depot, &mut bytes, format, &ExportOptions::new(), |_| ()).unwrap();
        (bytes, done)
    }

    #[test]
    fn what_came_from_a_file_goes_back_as_it_was() {
        let all = [true; 3];
        let trr = [files::trr(-5, false, all), files::trr(1000, false, [true, false, true])].concat();
        for (format, bytes) in [
            (Format::Xtc, files::xtc(3, true)),
            (Format::Trr, trr),
            (Format::Trr, files::trr(i32::MAX, true, all)),
        ] {
            let (depot, _) = imported(&bytes, &ImportOptions::new());
            let (again, done) = exported(&depot, format);
            assert!(again == bytes, "{format}");
            assert_eq!((done.converted, done.left_out.len()), (false, 0));
        }
    }

    #[test]
    fn extended_xyz_comes_back() {
        let (depot, _) = imported(files::EXTXYZ.as_bytes(), &ImportOptions::new());
        let (bytes, _) = exported(&depot, Format::ExtXyz);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains("pbc=\"T T F\" energy=-1.25"), "{text}");
        let (again, _) = imported(&bytes, &ImportOptions::new());
        let (one, other) = (depot.get("frame_0000000000").unwrap(), again.get("frame_0000000000").unwrap());
        assert!(one.view().to_frame().unwrap().is_same(&other.view().to_frame().unwrap()), "{text}");
    }

    #[test]
    fn what_has_no_place_is_named_or_refused() {
        let depot = Depot::memory(AtomicFrameCodec::default()).unwrap();
        let positions = files::positions(20, 0.0);
        let frame = AtomicFrame::new().positions(&positions).forces(&positions).energy(1.0);
        depot.put(0, &frame).unwrap();
        let (_, done) = exported(&depot, Format::Xtc);
        assert_eq!(done.left_out.iter().map(String::as_str).collect::<Vec<_>>(), ["energy", "forces"]);
        assert_eq!(done.without_time, 1);

        let refused = |frame: &AtomicFrame<'_>, format, why: &str| {
            let depot = Depot::memory(AtomicFrameCodec::default()).unwrap();
            depot.put("bad", frame).unwrap();
            let error = export(&depot, Vec::new(), format, &ExportOptions::new(), |_| ()).unwrap_err();
            assert!(error.to_string().contains("bad") && error.to_string().contains(why), "{error}");
        };
        let far = AtomicFrame::new().positions(&positions).step(1 << 40);
        refused(&far, Format::Trr, "32 bits");
        refused(&AtomicFrame::new().forces(&positions), Format::Xtc, "no positions");
        let mut rows = positions.clone();
        rows[3][1] = f32::NAN;
        refused(&AtomicFrame::new().positions(&rows), Format::Xtc, "atom 3");
        rows[3][1] = 1e7;
        refused(&AtomicFrame::new().positions(&rows), Format::Xtc, "atom 3");
    }
}

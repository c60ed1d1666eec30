//! Files of an archive that are written in place, counts, and orders. B4, B3 and B6 of the checklist.
#![cfg(feature = "archive")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use proptest::prelude::*;
use vldepot::archive::{Archive, FileAttributes, FileKind, FileMode, layout};
use vldepot::{Depot, ErrorKind, Layout, Raw, ReadOptions, Result};

#[test]
fn b4_a_file_is_written_in_each_mode() {
    let archive = Archive::memory().unwrap();
    archive.write("a", b"0123456789").unwrap();
    let edit = |mode: FileMode, bytes: &[u8]| {
        let mut file = archive.edit_file("a", mode).unwrap();
        file.write_all(bytes).unwrap();
        file.close().unwrap();
        archive.read("a").unwrap().view().to_vec()
    };
    assert_eq!(edit(FileMode::Update, b"abc"), b"abc3456789");
    assert_eq!(edit(FileMode::Append, b"+"), b"abc3456789+");
    assert_eq!(edit(FileMode::Replace, b"new"), b"new");
    assert!(matches!(archive.edit_file("a", FileMode::New).unwrap_err().kind(), ErrorKind::Exists));
    archive.remove_file("a").unwrap();
    assert_eq!(edit(FileMode::New, b"x"), b"x");
    for mode in [FileMode::Read, FileMode::Update] {
        assert!(archive.edit_file("missing", mode).unwrap_err().is_not_found());
    }
    for mode in [FileMode::Append, FileMode::Replace, FileMode::New] {
        let path = format!("made/{mode:?}");
        archive.edit_file(&path, mode).unwrap().close().unwrap();
        assert!(archive.read(&path).unwrap().is_empty());
    }
    let mut reading = archive.edit_file("a", FileMode::Read).unwrap();
    assert!(reading.write(b"y").is_err() && reading.set_len(0).is_err());
    assert!(matches!(archive.edit_file("made", FileMode::Replace).unwrap_err().kind(), ErrorKind::IsAFolder));
    assert!(matches!(archive.edit_file("a/b", FileMode::New).unwrap_err().kind(), ErrorKind::NotAFolder));
}

#[test]
fn b4_dropping_a_file_without_closing_it_discards_what_was_written() {
    let archive = Archive::memory().unwrap();
    archive.write("a", b"old").unwrap();
    let mut file = archive.edit_file("a", FileMode::Replace).unwrap();
    file.write_all(b"new").unwrap();
    drop(file);
    assert_eq!(archive.read("a").unwrap().view(), b"old");
    let mut file = archive.edit_file("a", FileMode::Update).unwrap();
    file.write_all(b"n").unwrap();
    file.flush().unwrap();
    file.write_all(b"e").unwrap();
    drop(file);
    assert_eq!(archive.read("a").unwrap().view(), b"nld");
    drop(archive.edit_file("never", FileMode::New).unwrap());
    assert!(!archive.exists("never").unwrap());
}

#[test]
fn b4_a_new_file_that_was_taken_meanwhile_is_kept_to_be_stored_again() {
    let archive = Archive::memory().unwrap();
    let mut file = archive.open_apart("a", FileMode::New).unwrap();
    file.write_at(&archive, 0, b"mine").unwrap();
    archive.write("a", b"theirs").unwrap();
    assert!(matches!(file.store(&archive).unwrap_err().kind(), ErrorKind::Exists));
    assert!(file.is_changed() && archive.read("a").unwrap().view() == b"theirs");
    archive.remove_file("a").unwrap();
    file.store(&archive).unwrap();
    assert!(!file.is_changed() && archive.read("a").unwrap().view() == b"mine");
}

#[test]
fn b4_a_file_that_is_replaced_while_it_is_read_is_told() {
    let archive = Archive::memory().unwrap();
    archive.write("a", b"first").unwrap();
    let mut file = archive.edit_file("a", FileMode::Read).unwrap();
    let mut two = [0; 2];
    file.read_exact(&mut two).unwrap();
    // Other metadata, and the same bytes, are no other file.
    archive.set_attributes("a", &FileAttributes::new().with_mode(0o600)).unwrap();
    archive.commit().unwrap();
    file.read_exact(&mut two).unwrap();
    assert_eq!(&two, b"rs");
    archive.write("a", b"other").unwrap();
    let error = file.read_exact(&mut two).unwrap_err();
    assert!(error.to_string().contains("open it again"), "{error}");
    archive.remove_file("a").unwrap();
    assert!(file.read_exact(&mut two).is_err());
}

#[test]
fn b4_attributes_stay_and_the_time_is_now() {
    let archive = Archive::memory().unwrap();
    let attributes = FileAttributes::new().with_mode(0o750);
    archive.write_with("a", b"1", &attributes).unwrap();
    let mut file = archive.edit_file("a", FileMode::Replace).unwrap();
    file.write_all(b"22").unwrap();
    file.close().unwrap();
    let stat = archive.stat("a").unwrap();
    assert_eq!((stat.attributes.mode, stat.size), (Some(0o750), 2));
    assert!(stat.attributes.mtime.is_some());
    archive.set_attributes("a", &attributes).unwrap();
    assert_eq!(archive.stat("a").unwrap().attributes, attributes);
    archive.edit_file("a", FileMode::Update).unwrap().close().unwrap();
    assert_eq!(archive.stat("a").unwrap().attributes, attributes, "nothing was written");
}

#[test]
fn b4_links_are_followed_and_stay_links() {
    let archive = Archive::memory().unwrap();
    archive.write("d/a", b"1").unwrap();
    let attributes = FileAttributes::new();
    archive.write_link("link", "d/a", &attributes).unwrap();
    archive.write_link("broken", "nothing", &attributes).unwrap();
    archive.write_link("folder", "d", &attributes).unwrap();
    let mut file = archive.edit_file("link", FileMode::Append).unwrap();
    file.write_all(b"2").unwrap();
    file.close().unwrap();
    assert_eq!(archive.read("d/a").unwrap().view(), b"12");
    assert_eq!(archive.read_link("link").unwrap(), b"d/a");
    assert!(archive.edit_file("broken", FileMode::Replace).unwrap_err().is_not_found());
    assert!(matches!(archive.edit_file("folder", FileMode::Read).unwrap_err().kind(), ErrorKind::IsAFolder));
    assert_eq!(archive.resolve("folder").unwrap().kind, FileKind::Folder);
    assert_eq!(archive.resolve("link").unwrap().path.as_bytes(), b"d/a");
    assert!(matches!(archive.read_link("d/a").unwrap_err().kind(), ErrorKind::InvalidPath { .. }));
    archive.set_attributes("link", &FileAttributes::new().with_mode(0o700)).unwrap();
    assert_eq!(archive.stat("link").unwrap().kind, FileKind::Link);
}

#[test]
fn b4_lengths_that_no_file_has_are_refused() {
    let archive = Archive::memory().unwrap();
    let mut file = archive.edit_file("a", FileMode::New).unwrap();
    for len in [1 << 40, u64::MAX] {
        assert!(matches!(file.set_len(len).unwrap_err().kind(), ErrorKind::InvalidRecord { .. }));
        assert!(file.seek(SeekFrom::Start(len)).is_ok() && file.write(b"x").is_err());
    }
    assert!(file.seek(SeekFrom::End(-1)).is_err());
    assert_eq!(file.len(), 0);
}

#[test]
fn a_read_only_archive_opens_files_for_reading_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    let archive = Archive::create(&path).unwrap();
    archive.write("a", b"1").unwrap();
    archive.close().unwrap();
    let archive = Archive::open(&path).unwrap();
    assert!(archive.edit_file("a", FileMode::Read).is_ok());
    for mode in [FileMode::Update, FileMode::Replace, FileMode::New, FileMode::Append] {
        assert!(matches!(archive.edit_file("a", mode).unwrap_err().kind(), ErrorKind::ReadOnly));
    }
}

#[test]
fn a_layout_of_small_chunks_has_blocks_that_fit() {
    let small = layout(Layout::default().with_chunk_size(16 << 10));
    assert_eq!(small.block_size, Some(16 << 10));
    let archive = Archive::new(Depot::builder(Raw).layout(small).memory().unwrap());
    archive.write("a", &vec![1; 100_000]).unwrap();
    assert_eq!(archive.read("a").unwrap().len(), 100_000);
}

#[test]
fn b6_files_come_as_they_are_stored() {
    let archive = Archive::memory().unwrap();
    for name in ["c/1", "a", "b/2", "b/1"] {
        archive.write(name, name.as_bytes()).unwrap();
    }
    archive.write_link("z", "a", &FileAttributes::new()).unwrap();
    let files = archive.read_all(&ReadOptions::default().with_threads(2));
    let files: Vec<_> = files
        .map(|file| file.map(|(path, bytes)| (path.to_string(), bytes.view().to_vec())))
        .collect::<Result<_>>()
        .unwrap();
    let expected = [("c/1", "c/1"), ("a", "a"), ("b/2", "b/2"), ("b/1", "b/1"), ("z", "a")];
    assert_eq!(files, expected.map(|(path, bytes)| (path.to_owned(), bytes.as_bytes().to_vec())));
    let stored: Vec<_> = archive.stored().map(|entry| entry.unwrap().path.to_string()).collect();
    assert_eq!(stored, ["c", "c/1", "a", "b", "b/2", "b/1", "z"]);
    let many = archive.read_many(&["b/1", "z", "b/1"], &ReadOptions::default()).unwrap();
    assert_eq!(
        many.iter().map(|record| record.view().to_vec()).collect::<Vec<_>>(),
        [&b"b/1"[..], b"a", b"b/1"]
    );
    assert!(archive.read_many(&["a", "missing"], &ReadOptions::default()).unwrap_err().is_not_found());
    archive.depot().put("x//y", b"").unwrap();
    assert!(archive.stored().any(|entry| entry.is_err()));
    assert!(archive.read_all(&ReadOptions::default()).any(|file| file.is_err()));
}

#[test]
fn b3_counts_without_records_of_folders_and_after_changes_of_the_depot() {
    let depot = Depot::memory(Raw).unwrap();
    for name in ["a/b/1", "a/b/2", "c"] {
        depot.put(name, b"..").unwrap();
    }
    let archive = Archive::new(depot);
    let count = |path: &str| {
        let count = archive.count(path).unwrap();
        (count.files, count.folders, count.bytes)
    };
    assert_eq!((count(""), count("a"), count("a/b/1")), ((3, 0, 6), (2, 0, 4), (1, 0, 2)));
    archive.depot().put("d/", b"").unwrap();
    archive.recount();
    assert_eq!((count(""), count("d")), ((3, 1, 6), (0, 0, 0)));
    assert!(archive.count("e").unwrap_err().is_not_found());
    archive.write(b"\xff/\xfe", b"1").unwrap();
    assert_eq!(count(""), (4, 2, 7));
}

#[derive(Debug, Clone)]
enum Step {
    Read(usize),
    Write(u8, usize),
    Seek(u64),
    SeekEnd(i64),
    SetLen(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..200).prop_map(Step::Read),
        (any::<u8>(), 0_usize..200).prop_map(|(byte, n)| Step::Write(byte, n)),
        (0_u64..400).prop_map(Step::Seek),
        (-50_i64..50).prop_map(Step::SeekEnd),
        (0_u64..400).prop_map(Step::SetLen),
        Just(Step::Flush),
    ]
}

/// What `std` does with a file in memory.
fn expected(file: &mut Cursor<Vec<u8>>, step: &Step) -> Option<Vec<u8>> {
    match *step {
        Step::Read(n) => {
            let mut read = vec![0; n];
            let n = file.read(&mut read).unwrap();
            read.truncate(n);
            Some(read)
        }
        Step::Write(byte, n) => {
            if n > 0 {
                file.write_all(&vec![byte; n]).unwrap();
            }
            None
        }
        Step::Seek(to) => Some(file.seek(SeekFrom::Start(to)).unwrap().to_le_bytes().to_vec()),
        Step::SeekEnd(by) => file.seek(SeekFrom::End(by)).ok().map(|at| at.to_le_bytes().to_vec()),
        Step::SetLen(len) => {
            file.get_mut().resize(usize::try_from(len).unwrap(), 0);
            None
        }
        Step::Flush => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn b4_a_file_does_what_one_in_memory_does(start in 0_usize..300, steps in prop::collection::vec(step(), 0..40)) {
        let archive = Archive::memory().unwrap();
        let bytes: Vec<u8> = (0..start).map(|n| u8::try_from(n % 251).unwrap()).collect();
        archive.write("a", &bytes).unwrap();
        let mut model = Cursor::new(bytes);
        let mut file = archive.edit_file("a", FileMode::Update).unwrap();
        for step in &steps {
            let wanted = expected(&mut model, step);
            let found = match *step {
                Step::Read(n) => {
                    let mut read = vec![0; n];
                    let n = file.read(&mut read).unwrap();
                    read.truncate(n);
                    Some(read)
                }
                Step::Write(byte, n) => {
                    file.write_all(&vec![byte; n]).unwrap();
                    None
                }
                Step::Seek(to) => Some(file.seek(SeekFrom::Start(to)).unwrap().to_le_bytes().to_vec()),
                Step::SeekEnd(by) => file.seek(SeekFrom::End(by)).ok().map(|at| at.to_le_bytes().to_vec()),
                Step::SetLen(len) => {
                    file.set_len(len).unwrap();
                    None
                }
                Step::Flush => {
                    file.flush().unwrap();
                    prop_assert_eq!(archive.read("a").unwrap().view().to_vec(), model.get_ref().clone());
                    None
                }
            };
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(file.len(), model.get_ref().len() as u64);
        }
        file.close().unwrap();
        prop_assert_eq!(archive.read("a").unwrap().view().to_vec(), model.get_ref().clone());
        prop_assert_eq!(archive.count("").unwrap().bytes, model.get_ref().len() as u64);
    }

    #[test]
    fn b3_counts_are_right_after_any_mix_of_operations(
        steps in prop::collection::vec((0_u8..6, "[ab]{1}(/[ab]{1}){0,3}", "[ab]{1}(/[ab]{1}){0,3}"), 0..60)
    ) {
        let archive = Archive::memory().unwrap();
        for (what, path, to) in steps {
            // Many are refused, since something is in the way.
            _ = match what {
                0 | 1 => archive.write(&path, to.as_bytes()),
                2 => archive.create_dir(&path),
                3 => archive.remove_file(&path),
                4 => archive.remove_dir_all(&path).map(drop),
                _ => archive.rename(&path, &to),
            };
            let mut below: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
            for entry in archive.walk("").unwrap() {
                let entry = entry.unwrap();
                let size = archive.stat(&entry.path).unwrap().size;
                let mut folder = entry.path.parent();
                while let Some(path) = folder {
                    let count = below.entry(path.to_string()).or_default();
                    *count = (count.0 + u64::from(!entry.is_dir), count.1 + u64::from(entry.is_dir), count.2 + size);
                    folder = path.parent();
                }
                let own = if entry.is_dir { (0, 0, 0) } else { (1, 0, size) };
                let own = if entry.is_dir { below.get(&entry.path.to_string()).copied().unwrap_or(own) } else { own };
                below.insert(entry.path.to_string(), own);
            }
            for (path, wanted) in below {
                let count = archive.count(&path).unwrap();
                prop_assert_eq!((count.files, count.folders, count.bytes), wanted, "{}", path);
            }
        }
    }
}

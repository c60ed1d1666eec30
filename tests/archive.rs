//! Archives: folders of files in a depot.
#![cfg(feature = "archive")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

use proptest::prelude::*;
use vldepot::archive::{Archive, ArchivePath, FileAttributes, FileKind};
use vldepot::{Depot, ErrorKind, Key, Raw, Result};

fn paths(entries: impl Iterator<Item = Result<vldepot::archive::Entry>>) -> Vec<String> {
    entries.map(|entry| entry.unwrap().path.to_string()).collect()
}

fn tree(names: &[&str]) -> Archive {
    let archive = Archive::memory().unwrap();
    for name in names {
        archive.write(name, name.as_bytes()).unwrap();
    }
    archive
}

#[test]
fn a_folder_lists_what_lies_in_it_and_not_what_lies_deeper() {
    let archive = tree(&["b/x/1", "b/x/2", "b/y", "a", "b-c/z", "b.d", "ä/ö"]);
    assert_eq!(paths(archive.read_dir("").unwrap()), ["a", "b-c", "b.d", "b", "ä"]);
    assert_eq!(paths(archive.read_dir("b").unwrap()), ["b/x", "b/y"]);
    assert_eq!(paths(archive.read_dir("./b//x/").unwrap()), ["b/x/1", "b/x/2"]);
    assert!(matches!(archive.read_dir("a").unwrap_err().kind(), ErrorKind::NotAFolder));
    assert!(matches!(archive.read_dir("c").unwrap_err().kind(), ErrorKind::NotFound));
    assert!(matches!(archive.read_dir("../c").unwrap_err().kind(), ErrorKind::InvalidPath { .. }));
    assert!(matches!(archive.read("b").unwrap_err().kind(), ErrorKind::IsAFolder));
    assert!(matches!(archive.write("b", b"").unwrap_err().kind(), ErrorKind::IsAFolder));
    assert!(matches!(archive.write("a/b", b"").unwrap_err().kind(), ErrorKind::NotAFolder));
    assert!(matches!(archive.create_dir("a").unwrap_err().kind(), ErrorKind::NotAFolder));
    assert!(matches!(archive.write("", b"").unwrap_err().kind(), ErrorKind::IsAFolder));
}

#[test]
fn folders_without_records_and_large_folders_are_listed_too() {
    let depot = Depot::memory(Raw).unwrap();
    for i in 0..300 {
        depot.put(format!("big/{i:03}").as_str(), b"..").unwrap();
        depot.put(format!("many/{i:03}/x").as_str(), b".").unwrap();
    }
    depot.put("last", b"").unwrap();
    let archive = Archive::new(depot);
    assert_eq!(paths(archive.read_dir("").unwrap()), ["big", "last", "many"]);
    assert_eq!(paths(archive.read_dir("many").unwrap()).len(), 300);
    assert!(archive.is_dir("many/007").unwrap());
    assert_eq!(archive.stat("many/007").unwrap().kind, FileKind::Folder);
    let totals = archive.totals("big").unwrap();
    assert_eq!((totals.records, totals.raw_bytes), (300, 600));
}

#[test]
fn names_that_are_no_paths_are_errors_where_they_would_be_listed() {
    let depot = Depot::memory(Raw).unwrap();
    for name in ["a//b", "/c", "d/../e", "f"] {
        depot.put(name, b"..").unwrap();
    }
    let archive = Archive::new(depot);
    let listed: Vec<_> = archive.read_dir("").unwrap().collect();
    assert_eq!(listed.iter().filter(|entry| entry.is_err()).count(), 1, "{listed:?}");
    let walked: Vec<_> = archive.walk("").unwrap().collect();
    assert_eq!(walked.iter().filter(|entry| entry.is_err()).count(), 3, "{walked:?}");
    assert_eq!(paths(archive.glob("*").unwrap()), ["a", "d", "f"]);
}

#[test]
fn names_that_are_not_utf8_are_byte_names() {
    let archive = Archive::memory().unwrap();
    archive.write(b"a/\xff/b", b"1").unwrap();
    archive.write(b"\xfe", b"2").unwrap();
    archive.write("a/c", b"3").unwrap();
    assert!(archive.depot().contains(Key::Bytes(b"a/\xff/b".to_vec())).unwrap());
    assert_eq!(paths(archive.read_dir("").unwrap()), ["a", "\\xfe"]);
    assert_eq!(paths(archive.read_dir("a").unwrap()), ["a/c", "a/\\xff"]);
    assert_eq!(paths(archive.read_dir(b"a/\xff").unwrap()), ["a/\\xff/b"]);
    assert_eq!(archive.totals("a").unwrap().raw_bytes, 2);
    archive.rename("a", "d").unwrap();
    assert_eq!(archive.read(b"d/\xff/b").unwrap().view(), b"1");
    assert_eq!(archive.remove_dir_all("").unwrap(), 5);
    assert!(archive.depot().is_empty());
}

#[test]
fn attributes_come_back() {
    let archive = Archive::memory().unwrap();
    let mut attributes = FileAttributes::new().with_mode(0o100_640);
    (attributes.mtime, attributes.mtime_ns) = (Some(-5), 7);
    (attributes.uid, attributes.gid) = (Some(1000), Some(100));
    attributes.xattrs.insert("user.origin".into(), vldepot::archive::AttributeValue(b"\0\xff".to_vec()));
    archive.write_with("a", b"bytes", &attributes).unwrap();
    let stat = archive.stat("a").unwrap();
    assert_eq!((stat.kind, stat.size, stat.attributes.mode), (FileKind::File, 5, Some(0o640)));
    assert_eq!(stat.attributes, attributes);
    archive.create_dir_with("folder", &attributes).unwrap();
    assert_eq!(archive.stat("folder").unwrap().attributes, attributes);
    // A folder that is there stays as it is.
    archive.create_dir("folder").unwrap();
    assert_eq!(archive.stat("folder").unwrap().attributes, attributes);
}

#[test]
fn metadata_of_other_programs_are_no_attributes() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put_with_metadata("text", b"..", "converged").unwrap();
    depot.put_with_metadata("mode", b"..", &BTreeMap::from([("mode", "fast")])).unwrap();
    depot.put_with_metadata("large", b"..", &BTreeMap::from([("mtime", u64::MAX)])).unwrap();
    let archive = Archive::new(depot);
    for name in ["text", "mode", "large"] {
        let stat = archive.stat(name).unwrap();
        assert_eq!((stat.size, stat.attributes), (2, FileAttributes::new()), "{name}");
        assert_eq!(archive.read(name).unwrap().view(), b"..");
    }
}

#[test]
fn links_are_followed_inside_the_archive_and_nowhere_else() {
    let archive = tree(&["a/b/file", "other"]);
    let none = FileAttributes::new();
    for (link, target) in [
        ("a/up", "../other"),
        ("a/b/here", "./file"),
        ("twice", "a/up"),
        ("out", "../x"),
        ("absolute", "/etc/passwd"),
        ("circle", "circle"),
        ("nowhere", "nothing"),
        ("folder", "a"),
    ] {
        archive.write_link(link, target, &none).unwrap();
        assert_eq!(archive.stat(link).unwrap().kind, FileKind::Link);
    }
    assert_eq!(archive.read("a/up").unwrap().view(), b"other");
    assert_eq!(archive.read("twice").unwrap().view(), b"other");
    assert_eq!(archive.read("a/b/here").unwrap().view(), b"a/b/file");
    for link in ["out", "absolute", "circle"] {
        assert!(matches!(archive.read(link).unwrap_err().kind(), ErrorKind::InvalidPath { .. }), "{link}");
    }
    assert!(archive.read("nowhere").unwrap_err().is_not_found());
    assert!(matches!(archive.read("folder").unwrap_err().kind(), ErrorKind::IsAFolder));
}

#[test]
fn a_file_is_read_from_anywhere() {
    let archive = Archive::memory().unwrap();
    let bytes: Vec<u8> = (0..700_000_u64).map(|i| ((i * i) >> 7).to_le_bytes()[0]).collect();
    archive.write("f", &bytes).unwrap();
    archive.commit().unwrap();
    let mut file = archive.open_file("f").unwrap();
    assert_eq!(file.len(), bytes.len() as u64);
    for at in [0, 1, 299_999, 262_143, 699_999, 700_000, 800_000] {
        assert_eq!(file.seek(SeekFrom::Start(at as u64)).unwrap(), at as u64);
        let mut found = vec![0; 1000];
        let n = file.read(&mut found).unwrap();
        let expected = &bytes[at.min(bytes.len())..(at + n).min(bytes.len())];
        assert_eq!(&found[..n], expected, "at {at}");
        assert_eq!(n == 0, at >= bytes.len());
    }
    assert_eq!(file.seek(SeekFrom::End(-10)).unwrap(), 699_990);
    let mut end = Vec::new();
    file.read_to_end(&mut end).unwrap();
    assert_eq!(end, bytes[699_990..]);
    assert!(file.seek(SeekFrom::Current(-800_000)).is_err());
}

#[test]
fn patterns_match_whole_names() {
    let archive = tree(&["a.png", "b/a.png", "b/c/a.png", "b/c/d.txt", "b2/e.png", "b/[x]"]);
    let found = |pattern: &str| paths(archive.glob(pattern).unwrap());
    assert_eq!(found("*.png"), ["a.png"]);
    assert_eq!(found("*/*.png"), ["b/a.png", "b2/e.png"]);
    assert_eq!(found("**/*.png"), ["a.png", "b/a.png", "b/c/a.png", "b2/e.png"]);
    assert_eq!(found("b/**"), ["b/[x]", "b/a.png", "b/c", "b/c/a.png", "b/c/d.txt"]);
    assert_eq!(found("b?/*"), ["b2/e.png"]);
    assert_eq!(found("b/[[]x]"), ["b/[x]"]);
    assert_eq!(found("b/c"), ["b/c"]);
    assert_eq!(found("x/*"), Vec::<String>::new());
    for wrong in ["[", "../*", "/a", "a**b/x"] {
        let failed = archive.glob(wrong);
        assert!(matches!(failed.unwrap_err().kind(), ErrorKind::InvalidOptions { .. }), "{wrong}");
    }
}

/// Files and folders, as a file system would have them.
#[derive(Debug, Default, Clone)]
struct Model {
    files: BTreeMap<String, Vec<u8>>,
    folders: BTreeSet<String>,
}

impl Model {
    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.folders.contains(path)
    }

    fn parents(path: &str) -> Vec<String> {
        path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
    }

    fn can_make(&self, path: &str) -> bool {
        Self::parents(path).iter().all(|parent| !self.files.contains_key(parent))
    }

    fn below<'m, T: 'm>(names: impl Iterator<Item = (&'m String, T)>, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        names.map(|(name, _)| name).filter(|name| name.starts_with(&prefix)).cloned().collect()
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Write(String, u8),
    WriteNew(String),
    Mkdir(String),
    Remove(String),
    Rmdir(String),
    Rmtree(String),
    Rename(String, String),
    Commit,
}

fn operation() -> impl Strategy<Value = Operation> {
    let path = || {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "b-", "c d", "é"]), 1..4)
            .prop_map(|parts| parts.join("/"))
    };
    prop_oneof![
        6 => (path(), any::<u8>()).prop_map(|(path, len)| Operation::Write(path, len)),
        1 => path().prop_map(Operation::WriteNew),
        2 => path().prop_map(Operation::Mkdir),
        2 => path().prop_map(Operation::Remove),
        2 => path().prop_map(Operation::Rmdir),
        1 => path().prop_map(Operation::Rmtree),
        3 => (path(), path()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => Just(Operation::Commit),
    ]
}

impl Model {
    fn make_parents(&mut self, path: &str) {
        self.folders.extend(Self::parents(path));
    }

    /// Whether it was done.
    fn apply(&mut self, operation: &Operation) -> bool {
        match operation {
            Operation::Write(path, len) => {
                let done = !self.is_dir(path) && self.can_make(path);
                if done {
                    self.files.insert(path.clone(), vec![*len; usize::from(*len)]);
                    self.make_parents(path);
                }
                done
            }
            Operation::WriteNew(path) => {
                let can = !self.is_dir(path) && self.can_make(path);
                // The folders are made before the file is found to be there, which changes nothing: they are
                // there too.
                can && !self.files.contains_key(path) && self.apply(&Operation::Write(path.clone(), 1))
            }
            Operation::Mkdir(path) => {
                let done = !self.files.contains_key(path) && self.can_make(path);
                if done {
                    self.make_parents(path);
                    self.folders.insert(path.clone());
                }
                done
            }
            Operation::Remove(path) => self.files.remove(path).is_some(),
            Operation::Rmdir(path) => {
                let empty = Self::below(self.files.iter(), path).is_empty()
                    && Self::below(self.folders.iter().map(|name| (name, ())), path).is_empty();
                empty && self.folders.remove(path)
            }
            Operation::Rmtree(path) => {
                let done = self.folders.remove(path);
                if done {
                    let prefix = format!("{path}/");
                    self.files.retain(|name, _| !name.starts_with(&prefix));
                    self.folders.retain(|name| !name.starts_with(&prefix));
                }
                done
            }
            Operation::Rename(from, to) => {
                if self.files.contains_key(to) || self.is_dir(to) {
                    return false;
                }
                if self.files.contains_key(from) {
                    if !self.can_make(to) {
                        return false;
                    }
                    self.make_parents(to);
                    let bytes = self.files.remove(from).unwrap();
                    self.files.insert(to.clone(), bytes);
                    return true;
                }
                let prefix = format!("{from}/");
                if !self.folders.contains(from) || to.starts_with(&prefix) || !self.can_make(to) {
                    return false;
                }
                self.make_parents(to);
                let moved = |name: &str| match name.strip_prefix(&prefix) {
                    Some(rest) => format!("{to}/{rest}"),
                    None if name == from => to.clone(),
                    None => name.to_owned(),
                };
                self.files =
                    std::mem::take(&mut self.files).into_iter().map(|(k, v)| (moved(&k), v)).collect();
                self.folders = self.folders.iter().map(|name| moved(name)).collect();
                true
            }
            Operation::Commit => true,
        }
    }
}

fn apply(archive: &Archive, operation: &Operation) -> bool {
    match operation {
        Operation::Write(path, len) => archive.write(path, &vec![*len; usize::from(*len)]).is_ok(),
        Operation::WriteNew(path) => archive.write_new(path, &[1]).is_ok(),
        Operation::Mkdir(path) => archive.create_dir(path).is_ok(),
        Operation::Remove(path) => archive.remove_file(path).is_ok(),
        Operation::Rmdir(path) => archive.remove_dir(path).is_ok(),
        Operation::Rmtree(path) => archive.remove_dir_all(path).is_ok(),
        Operation::Rename(from, to) => archive.rename(from, to).is_ok(),
        Operation::Commit => archive.commit().is_ok(),
    }
}

fn compare(archive: &Archive, model: &Model) {
    let mut walked = paths(archive.walk("").unwrap());
    walked.sort();
    let mut expected: Vec<_> = model.files.keys().chain(&model.folders).cloned().collect();
    expected.sort();
    assert_eq!(walked, expected);
    for (path, bytes) in &model.files {
        assert_eq!(archive.read(path).unwrap().view(), bytes);
        assert!(archive.is_file(path).unwrap() && !archive.is_dir(path).unwrap());
    }
    for folder in model.folders.iter().cloned().chain([String::new()]) {
        let mut listed = paths(archive.read_dir(&folder).unwrap());
        listed.sort();
        let parent = ArchivePath::new(&folder).unwrap();
        let children: Vec<_> = expected
            .iter()
            .filter(|name| ArchivePath::new(name).unwrap().parent().as_ref() == Some(&parent))
            .cloned()
            .collect();
        assert_eq!(listed, children, "in {folder:?}");
        let files = Model::below(model.files.iter(), &folder);
        let below = Model::below(model.folders.iter().map(|name| (name, ())), &folder);
        let own = usize::from(!folder.is_empty());
        let totals = archive.totals(&folder).unwrap();
        assert_eq!(totals.records, (files.len() + below.len() + own) as u64, "below {folder:?}");
        assert_eq!(totals.raw_bytes, files.iter().map(|name| model.files[name].len() as u64).sum::<u64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 2000 } else { 60 }))]
    #[test]
    fn an_archive_is_a_file_system(operations in prop::collection::vec(operation(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.vld");
        let archive = Archive::create(&path).unwrap();
        let mut model = Model::default();
        for operation in &operations {
            let expected = model.clone().apply(operation);
            prop_assert_eq!(apply(&archive, operation), expected, "{:?} in {:?}", operation, model);
            model.apply(operation);
        }
        compare(&archive, &model);
        archive.close().unwrap();
        compare(&Archive::open(&path).unwrap(), &model);
    }
}

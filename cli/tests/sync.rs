//! `vldepot sync`: folders to archives, archives to folders, depots to depots.
//!
//! B14 of the list of what users of Barecat need.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use vldepot::maintain::{VerifyOptions, verify};
use vldepot::{Depot, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn failed(code: i32, args: &[&str]) -> String {
    let output = vldepot(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
}

fn done(args: &[&str]) -> String {
    let output = vldepot(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Numbers of a run: new, changed, deleted, same, newer.
fn counts(args: &[&str]) -> [u64; 5] {
    let report: Value = serde_json::from_str(&done(&[&["sync", "--json"], args].concat())).unwrap();
    ["new", "changed", "deleted", "same", "newer"].map(|name| report[name].as_u64().unwrap())
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 7);
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// What is below a folder: kind, mode, time and content of each path.
type Tree = BTreeMap<String, (String, u32, i64, i64, Vec<u8>)>;

fn tree(root: &Path) -> Tree {
    fn walk(root: &Path, folder: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let (kind, mode, content) = if found.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                ("link", 0, target.as_os_str().as_bytes().to_vec())
            } else if found.is_dir() {
                walk(root, &path, tree);
                ("folder", found.mode(), Vec::new())
            } else {
                ("file", found.mode(), fs::read(&path).unwrap())
            };
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            tree.insert(name, (kind.to_owned(), mode, found.mtime(), found.mtime_nsec(), content));
        }
    }
    let mut all = Tree::new();
    walk(root, root, &mut all);
    all
}

/// Files, folders, links and odd names.
fn files(place: &Place) -> String {
    for (name, text) in [("a", "one"), ("b/c", "two"), ("b/d/e", "three"), ("b\u{1b}[2J", "odd"), ("z", "")] {
        place.write(&format!("files/{name}"), text);
    }
    fs::create_dir(place.path("files/empty")).unwrap();
    symlink("b/c", place.path("files/link")).unwrap();
    fs::set_permissions(place.path("files/a"), PermissionsExt::from_mode(0o640)).unwrap();
    set_time(&place.path("files/a"), 1_000_000_000);
    place.text("files")
}

fn check(archive: &str) {
    assert!(verify(archive, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
}

#[test]
fn a_folder_goes_to_an_archive_and_back_and_the_second_time_nothing_is_copied() {
    let place = Place::new();
    let (files, archive, back) = (files(&place), place.text("a.vld"), place.text("back"));
    assert_eq!(counts(&[&files, &archive, "-n"]), [9, 0, 0, 0, 0]);
    assert!(!place.path("a.vld").exists());
    assert_eq!(counts(&[&files, &archive]), [9, 0, 0, 0, 0]);
    check(&archive);
    assert_eq!(counts(&[&files, &archive]), [0, 0, 0, 9, 0]);
    assert_eq!(counts(&[&files, &archive, "-c", "--delete"]), [0, 0, 0, 9, 0]);
    let new = format!("{back}/");
    assert_eq!(counts(&[&archive, &new, "-n"]), [9, 0, 0, 0, 0]);
    assert!(!place.path("back").exists());
    assert_eq!(counts(&[&archive, &new]), [9, 0, 0, 0, 0]);
    assert_eq!(tree(&place.path("back")), tree(&place.path("files")));
    assert_eq!(counts(&[&archive, &back]), [0, 0, 0, 9, 0]);
    assert_eq!(counts(&[&archive, &back, "-c", "--delete"]), [0, 0, 0, 9, 0]);
}

#[test]
fn what_changed_is_copied_and_what_is_gone_goes_with_delete_alone() {
    let place = Place::new();
    let (files, archive, back) = (files(&place), place.text("a.vld"), place.text("back"));
    done(&["sync", &files, &archive]);
    fs::create_dir(&back).unwrap();
    done(&["sync", &archive, &back]);

    place.write("files/b/c", "two and more");
    place.write("files/b/new", "new");
    fs::set_permissions(place.path("files/a"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::remove_file(place.path("files/z")).unwrap();
    fs::remove_dir_all(place.path("files/b/d")).unwrap();
    fs::remove_file(place.path("files/link")).unwrap();
    symlink("a", place.path("files/link")).unwrap();

    let before = fs::read(&archive).unwrap();
    let told = done(&["sync", &files, &archive, "-nv", "--delete"]);
    for line in ["~ a", "~ b/c", "+ b/new", "- z", "- b/d", "- b/d/e", "~ link"] {
        assert!(told.lines().any(|found| found == line), "{line} in\n{told}");
    }
    assert!(told.contains("nothing was done") && !told.contains('\x1b'), "{told}");
    assert!(fs::read(&archive).unwrap() == before);

    let [new, _, deleted, ..] = counts(&[&files, &archive]);
    assert_eq!((new, deleted), (1, 0));
    assert_eq!(counts(&[&files, &archive, "--delete"])[2], 3);
    check(&archive);
    assert_eq!(counts(&[&files, &archive, "--delete"])[..3], [0, 0, 0]);
    let lines = done(&["sync", &archive, &back, "--delete", "-v", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.contains(&json!({ "path": "b/d/e", "change": "deleted" })), "{lines:?}");
    assert_eq!(tree(&place.path("back")), tree(&place.path("files")));
}

#[test]
fn contents_count_with_checksum_and_times_with_update() {
    let place = Place::new();
    let (files, archive, back) = (files(&place), place.text("a.vld"), place.text("back/"));
    done(&["sync", &files, &archive]);
    done(&["sync", &archive, &back]);
    // As long as before, and as old.
    place.write("files/a", "ONE");
    set_time(&place.path("files/a"), 1_000_000_000);
    assert_eq!(counts(&[&files, &archive])[1], 0);
    assert_eq!(counts(&[&files, &archive, "--checksum"])[1], 1);
    assert_eq!(done(&["cat", &archive, "a"]), "ONE");
    assert_eq!(counts(&[&archive, &back])[1], 0);
    assert_eq!(counts(&[&archive, &back, "-c"])[1], 1);
    assert_eq!(fs::read(place.path("back/a")).unwrap(), b"ONE");

    // The target's is newer.
    place.write("files/a", "older");
    set_time(&place.path("files/a"), 900_000_000);
    assert_eq!(counts(&[&files, &archive, "-u"])[4], 1);
    assert_eq!(done(&["cat", &archive, "a"]), "ONE");
    place.write("back/a", "newer");
    set_time(&place.path("back/a"), 1_100_000_000);
    assert_eq!(counts(&[&archive, &back, "--update"])[4], 1);
    assert_eq!(fs::read(place.path("back/a")).unwrap(), b"newer");
    assert_eq!(counts(&[&archive, &back])[1], 1);
    assert_eq!(fs::read(place.path("back/a")).unwrap(), b"ONE");
    assert_eq!(counts(&[&files, &archive])[1], 1);
    assert_eq!(done(&["cat", &archive, "a"]), "older");

    // A time alone changes no bytes, and is kept all the same.
    set_time(&place.path("files/a"), 950_000_000);
    assert_eq!(counts(&[&files, &archive, "-c"])[1], 1);
    assert!(done(&["stat", &archive, "a"]).contains("2000-02-08"), "the time is that of the file");
}

#[test]
fn files_become_folders_and_folders_files() {
    let place = Place::new();
    let (files, archive, back) = (files(&place), place.text("a.vld"), place.text("back/"));
    done(&["sync", &files, &archive]);
    done(&["sync", &archive, &back]);
    fs::remove_file(place.path("files/a")).unwrap();
    place.write("files/a/in", "was a file");
    fs::remove_dir_all(place.path("files/b")).unwrap();
    place.write("files/b", "was a folder");
    fs::remove_dir(place.path("files/empty")).unwrap();
    symlink("..", place.path("files/empty")).unwrap();
    let error = failed(4, &["sync", &files, &archive]);
    assert!(error.contains("could not be copied"), "{error}");
    done(&["sync", &files, &archive, "--delete"]);
    failed(4, &["sync", &archive, &back]);
    done(&["sync", &archive, &back, "--delete"]);
    assert_eq!(tree(&place.path("back")), tree(&place.path("files")));
    assert_eq!(counts(&[&archive, &back, "--delete"])[..3], [0, 0, 0]);
}

#[test]
fn no_link_leads_out_of_the_target() {
    let place = Place::new();
    let (files, archive, back) = (files(&place), place.text("a.vld"), place.text("back"));
    done(&["sync", &files, &archive]);
    place.write("outside/c", "mine");
    place.write("outside/d/e", "mine");
    fs::create_dir(&back).unwrap();
    symlink(place.path("outside"), place.path("back/b")).unwrap();
    let before = tree(&place.path("outside"));
    failed(4, &["sync", &archive, &back]);
    assert_eq!(tree(&place.path("outside")), before);
    done(&["sync", &archive, &back, "--delete"]);
    assert_eq!(tree(&place.path("outside")), before);
    assert_eq!(tree(&place.path("back")), tree(&place.path("files")));
    // Nor out of the source.
    fs::remove_dir_all(place.path("files/b")).unwrap();
    symlink(place.path("outside"), place.path("files/b")).unwrap();
    done(&["sync", &files, &archive, "--delete"]);
    assert_eq!(failed(3, &["cat", &archive, "b/c"]).lines().count(), 1);
    assert!(done(&["stat", &archive, "b"]).contains("link"));
}

#[test]
fn an_archive_in_its_own_folder_neither_holds_itself_nor_is_taken_away() {
    let place = Place::new();
    let files = files(&place);
    let archive = place.text("files/a.vld");
    done(&["sync", &files, &archive]);
    done(&["sync", &files, &archive, "--delete"]);
    assert!(!done(&["list", &archive]).contains("a.vld"));
    let before = tree(&place.path("files"));
    done(&["sync", &archive, &files, "--delete"]);
    assert_eq!(tree(&place.path("files")).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[test]
fn depots_are_compared_by_their_records() {
    let place = Place::new();
    let (a, b) = (place.text("a.vld"), place.text("b.vld"));
    let depot = Depot::create(&a, Raw).unwrap();
    for n in 0..50_u8 {
        depot.put_with_metadata(n, &[n; 100], &n).unwrap();
    }
    depot.set_depot_metadata("title", "one").unwrap();
    depot.close().unwrap();
    assert_eq!(counts(&[&a, &b, "-n"]), [50, 0, 0, 0, 0]);
    assert_eq!(counts(&[&a, &b]), [50, 0, 0, 0, 0]);
    assert_eq!(counts(&[&a, &b, "-c"]), [0, 0, 0, 50, 0]);
    let depot = Depot::append(&a, Raw).unwrap();
    depot.put("new", b"new").unwrap();
    depot.put_with_metadata(7, &[8; 100], &7).unwrap();
    depot.set_metadata(8, &"other").unwrap();
    depot.remove(9).unwrap();
    depot.set_depot_metadata("title", "two").unwrap();
    depot.close().unwrap();
    assert_eq!(counts(&[&a, &b, "-n", "--delete"]), [1, 2, 1, 47, 0]);
    let told = format!("+ new\n~ 7\n~ 8\n{b}: 1 new, 2 changed, 47 alike\n");
    assert_eq!(done(&["sync", "-v", &a, &b]), told);
    assert_eq!(counts(&[&a, &b, "--delete"]), [0, 0, 1, 50, 0]);
    let output = vldepot(&["diff", &a, &b, "--bytes"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    check(&b);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    let (files, archive) = (files(&place), place.text("a.vld"));
    done(&["sync", &files, &archive]);
    failed(2, &["sync", &files, &files]);
    failed(2, &["sync", &archive, &archive]);
    fs::create_dir(place.path("other")).unwrap();
    failed(2, &["sync", &files, &place.text("other")]);
    failed(2, &["sync", &files, &place.text("new/")]);
    failed(2, &["sync", &files]);
    failed(3, &["sync", &place.text("none"), &archive]);
    failed(3, &["sync", &files, &place.text("none/a.vld")]);
    fs::write(place.path("poem"), b"no depot").unwrap();
    failed(4, &["sync", &files, &place.text("poem")]);
    let error = failed(4, &["sync", &place.text("poem"), &place.text("other"), "--delete", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&error).unwrap()["exit"], 4);
    assert_eq!(fs::read(place.path("poem")).unwrap(), b"no depot");
    let writer = Depot::append(&archive, Raw).unwrap();
    failed(4, &["sync", &files, &archive]);
    drop(writer);
    // A damaged file is named, the others are written, and the old one stays.
    place.write("back/a", "old");
    let mut bytes = fs::read(&archive).unwrap();
    let chunk = bytes.len() / 3;
    bytes[chunk] ^= 1;
    fs::write(&archive, &bytes).unwrap();
    if vldepot(&["verify", &archive]).status.code() == Some(1) {
        let output = vldepot(&["sync", &archive, &place.text("back")]);
        assert_ne!(output.status.code(), Some(0));
        assert!(["old", "one"].contains(&fs::read_to_string(place.path("back/a")).unwrap().as_str()));
    }
}

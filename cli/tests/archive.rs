//! The verbs on archives: folders of files, stored and written out again. B9 and B10 of the list of what
//! users of Barecat need.
#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).current_dir(folder).args(args).output().unwrap()
}

/// Runs the command, and returns what it printed and what it said of errors. Panics unless it exits with
/// `code`.
fn exits(code: i32, folder: &Path, args: &[&str]) -> (String, String) {
    let output = run(folder, args);
    let (out, error) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "vldepot {args:?}: {error}");
    (String::from_utf8(out).unwrap(), error)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A folder `data` with files, and the folder it is in.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    let data = place.path().join("data");
    for (path, len) in [("a/1.png", 10), ("a/2.txt", 2000), ("b/c/3.png", 30_000), ("top", 0)] {
        let path = data.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; len]).unwrap();
    }
    symlink("a/1.png", data.join("link")).unwrap();
    place
}

/// Paths, bytes and times of files and links below a folder.
fn seen(folder: &Path) -> Vec<(PathBuf, Vec<u8>, i64)> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                todo.push(path);
                continue;
            }
            let bytes = match fs::read_link(&path) {
                Ok(target) => target.as_os_str().as_bytes().to_vec(),
                Err(_) => fs::read(&path).unwrap(),
            };
            all.push((path.strip_prefix(folder).unwrap().to_owned(), bytes, metadata.mtime_nsec()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_folder_goes_in_and_comes_out_the_same() {
    let place = place();
    let folder = place.path();
    let (out, _) = exits(0, folder, &["create", "a.vld", "data"]);
    assert!(out.starts_with("a.vld: 4 files, 4 folders, 1 link, 31.3 KiB, stored in "), "{out}");
    let (out, _) = exits(0, folder, &["extract", "a.vld", "-C", "out"]);
    assert_eq!(out, "a.vld: 4 files, 4 folders, 1 link, 31.3 KiB extracted to out\n");
    assert_eq!(seen(&folder.join("out/data")), seen(&folder.join("data")));
    // Paths below a folder, and JSON.
    let (out, _) = exits(0, folder, &["create", "b.vld", "-C", "data", "a", "top", "--json"]);
    let made = json(&out);
    assert_eq!((&made["files"], &made["folders"], &made["failed"]), (&3.into(), &1.into(), &0.into()));
    assert_eq!(exits(0, folder, &["list", "b.vld"]).0, "a/\na/1.png\na/2.txt\ntop\n");
    assert_eq!(exits(0, folder, &["cat", "b.vld", "a/1.png"]).0, "xxxxxxxxxx");
    exits(0, folder, &["verify", "a.vld"]);
}

#[test]
fn nothing_that_is_there_is_replaced_without_force() {
    let place = place();
    let folder = place.path();
    fs::write(folder.join("a.vld"), b"mine").unwrap();
    let (_, error) = exits(4, folder, &["create", "a.vld", "data"]);
    assert_eq!(error, "vldepot: a.vld: it is there already; --force replaces it\n");
    assert_eq!(fs::read(folder.join("a.vld")).unwrap(), b"mine");
    exits(0, folder, &["create", "--force", "a.vld", "data"]);
    exits(0, folder, &["extract", "a.vld", "-C", "out"]);
    fs::write(folder.join("out/data/top"), b"changed").unwrap();
    let (out, error) = exits(4, folder, &["extract", "a.vld", "-C", "out"]);
    assert!(out.starts_with("a.vld: 0 files, 4 folders"), "{out}");
    assert!(error.contains("out/data/top: it is there already, and was not replaced"), "{error}");
    assert_eq!(fs::read(folder.join("out/data/top")).unwrap(), b"changed");
    exits(0, folder, &["extract", "-f", "a.vld", "-C", "out", "data/top"]);
    assert_eq!(fs::read(folder.join("out/data/top")).unwrap(), b"");
}

#[test]
fn an_archive_is_not_stored_in_itself() {
    let place = place();
    let folder = place.path();
    for args in [
        &["create", "data/a.vld", "data"][..],
        &["create", "-f", "data/a.vld", "data"],
        &["add", "data/a.vld", "data"],
    ] {
        let (out, _) = exits(0, folder, args);
        assert!(out.contains("4 files, 4 folders, 1 link"), "{out}");
        assert!(!exits(0, folder, &["list", "data/a.vld"]).0.contains(".vld"));
    }
}

#[test]
fn a_failed_create_leaves_no_file() {
    let place = place();
    let folder = place.path();
    exits(2, folder, &["create", "a.vld"]);
    exits(2, folder, &["create", "a.vld", "../data"]);
    exits(2, folder, &["create", "a.vld", "data", "--exclude", "["]);
    exits(2, folder, &["create", "a.vld", "data", "--preset", "best"]);
    exits(4, folder, &["create", "a.vld", "-T", "missing"]);
    exits(3, folder, &["create", "nowhere/a.vld", "data"]);
    assert!(!folder.join("a.vld").exists());
    // What cannot be read is named, and the rest is there.
    let (out, error) = exits(4, folder, &["create", "a.vld", "data", "missing"]);
    assert!(out.starts_with("a.vld: 4 files"), "{out}");
    let lines: Vec<_> = error.lines().collect();
    assert!(lines[0].starts_with("vldepot: ./missing: "), "{error}");
    assert_eq!(lines[1], "vldepot: 1 could not be stored; all others were");
    exits(0, folder, &["verify", "a.vld"]);
}

#[test]
fn paths_come_from_a_list_or_standard_input() {
    let place = place();
    let folder = place.path();
    fs::write(folder.join("list"), "a/2.txt\nb\n").unwrap();
    exits(0, folder, &["create", "a.vld", "-C", "data", "-T", "list"]);
    assert_eq!(exits(0, folder, &["list", "a.vld"]).0, "a/\na/2.txt\nb/\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
        .current_dir(folder)
        .args(["add", "a.vld", "-0", "-T", "-", "-C", "data"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"top\0b/c/3.png\0").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(exits(0, folder, &["find", "a.vld", "--type", "f"]).0, "a/2.txt\nb/c/3.png\ntop\n");
}

#[test]
fn files_are_added_replaced_moved_and_taken_out() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "-C", "data", "a"]);
    fs::write(folder.join("data/a/1.png"), b"new").unwrap();
    let (_, error) = exits(4, folder, &["add", "--new", "a.vld", "-C", "data", "a", "top"]);
    assert!(error.contains("data/a/1.png") && error.contains("2 could not be stored"), "{error}");
    assert_eq!(exits(0, folder, &["cat", "a.vld", "a/1.png"]).0, "xxxxxxxxxx");
    exits(0, folder, &["add", "a.vld", "-C", "data", "a"]);
    assert_eq!(exits(0, folder, &["cat", "a.vld", "a/1.png"]).0, "new");
    exits(0, folder, &["mv", "a.vld", "a", "d/e"]);
    exits(0, folder, &["mv", "a.vld", "top", "d/e"]);
    assert_eq!(exits(0, folder, &["list", "a.vld", "--prefix", "d/e/t"]).0, "d/e/top\n");
    exits(4, folder, &["mv", "a.vld", "d/e/top", "d/e/1.png"]);
    exits(2, folder, &["mv", "a.vld", "d", "d/e/f"]);
    exits(3, folder, &["mv", "a.vld", "nothing", "x"]);
    exits(2, folder, &["rm", "a.vld", "d"]);
    let (out, _) = exits(0, folder, &["rm", "-r", "-n", "a.vld", "d"]);
    assert!(out.starts_with("a.vld: 5 records, 2 KiB would be taken out"), "{out}");
    exits(3, folder, &["rm", "a.vld", "d/e/top", "nothing"]);
    exits(0, folder, &["rm", "a.vld", "d/e/top"]);
    exits(3, folder, &["stat", "a.vld", "d/e/top"]);
    // What lies in another one of the paths goes, and counts, with it.
    let (out, _) = exits(0, folder, &["rm", "-r", "a.vld", "d/e", "d", "d/e/2.txt", "d"]);
    assert!(out.starts_with("a.vld: 4 records, "), "{out}");
    assert_eq!(exits(0, folder, &["list", "a.vld"]).0, "");
}

#[test]
fn an_archive_shows_what_is_in_it() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "-C", "data", "a", "b", "top", "link"]);
    assert_eq!(
        exits(0, folder, &["tree", "a.vld"]).0,
        ".  (8 records, 31.3 KiB)\n├── a/  (2 KiB)\n│   ├── 1.png\n│   └── 2.txt\n├── b/  (29.3 KiB)\n│   └── c/  \
         (29.3 KiB)\n│       └── 3.png\n├── link\n└── top\n"
    );
    assert_eq!(exits(0, folder, &["tree", "-d", "-L", "1", "a.vld"]).0.lines().count(), 3);
    let du = exits(0, folder, &["du", "a.vld", "-d", "1", "--json"]).0;
    let rows: Vec<Value> = du.lines().map(json).collect();
    assert_eq!(
        (&rows[0]["path"], &rows[0]["bytes"], &rows[0]["records"]),
        (&"a".into(), &2010.into(), &3.into())
    );
    assert_eq!((&rows[2]["path"], &rows[2]["bytes"]), (&"".into(), &32_017.into()));
    assert_eq!(exits(0, folder, &["find", "a.vld", "--name", "*.png"]).0, "a/1.png\nb/c/3.png\n");
    assert_eq!(exits(0, folder, &["find", "a.vld", "--path", "*/*.png"]).0, "a/1.png\n");
    assert_eq!(exits(0, folder, &["find", "a.vld", "--type", "l"]).0, "link\n");
    assert_eq!(exits(0, folder, &["find", "a.vld", "--size", "+20k"]).0, "b/c/3.png\n");
    assert_eq!(exits(0, folder, &["find", "a.vld", "b", "--maxdepth", "1"]).0, "b/c\n");
    assert_eq!(exits(0, folder, &["find", "a.vld", "-0", "--type", "d"]).0, "a\0b\0b/c\0");
    let stat = json(&exits(0, folder, &["stat", "--json", "a.vld", "a/2.txt"]).0);
    let mode = fs::metadata(folder.join("data/a/2.txt")).unwrap().mode() & 0o7777;
    assert_eq!((&stat["kind"], &stat["size"], &stat["mode"]), (&"file".into(), &2000.into(), &mode.into()));
    assert!(exits(0, folder, &["stat", "a.vld", "b"]).0.contains("holds  3 records, 29.3 KiB"));
    exits(3, folder, &["find", "a.vld", "nothing"]);
    exits(3, folder, &["extract", "a.vld", "a", "nothing"]);
    assert!(!folder.join("nothing").exists() && !folder.join("a").exists());
}

#[test]
fn hostile_names_stay_inside_and_do_not_control_the_terminal() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    let depot = vldepot::Depot::create(folder.join("a.vld"), vldepot::Raw).unwrap();
    for name in ["../escaped", "/tmp/escaped_too", "fine", "red\u{1b}[31m", "a//b"] {
        depot.put(name, b"..").unwrap();
    }
    depot.put(7, b"..").unwrap();
    depot.put("a/".repeat(5000).trim_end_matches('/'), b"..").unwrap();
    depot.close().unwrap();
    let (_, error) = exits(4, folder, &["extract", "a.vld", "-C", "out"]);
    assert!(!folder.join("escaped").exists());
    assert!(error.contains("4 could not be extracted"), "{error}");
    assert_eq!(fs::read_dir(folder.join("out")).unwrap().count(), 2);
    for args in [["find", "a.vld"], ["tree", "a.vld"], ["du", "a.vld"]] {
        let output = run(folder, &args);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "data"]);
    for verb in ["find", "tree", "du"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
            .current_dir(folder)
            .args([verb, "a.vld"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{verb}");
    }
}

#[test]
fn an_interrupted_create_leaves_the_old_archive_and_nothing_else() {
    let place = place();
    let folder = place.path();
    let many = folder.join("many");
    fs::create_dir(&many).unwrap();
    for i in 0..3000_u32 {
        fs::write(many.join(i.to_string()), i.to_le_bytes().repeat(200)).unwrap();
    }
    exits(0, folder, &["create", "a.vld", "data"]);
    let old = fs::read(folder.join("a.vld")).unwrap();
    let mut interrupted = 0;
    for wait in 0..30 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
            .current_dir(folder)
            .args(["create", "-f", "a.vld", "many"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        if fs::read(folder.join("a.vld")).unwrap() != old {
            // It was in its place already.
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted > 0);
    exits(0, folder, &["verify", "a.vld"]);
    exits(0, folder, &["create", "-f", "a.vld", "many"]);
    assert_eq!(exits(0, folder, &["find", "a.vld", "--type", "f"]).0.lines().count(), 3000);
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn an_interrupted_add_leaves_a_whole_archive() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "data"]);
    for wait in [0, 2, 5, 10, 20, 40] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
            .current_dir(folder)
            .args(["add", "a.vld", "data"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        exits(0, folder, &["verify", "a.vld"]);
        exits(0, folder, &["extract", "a.vld", "-C", &format!("out{wait}")]);
        assert_eq!(seen(&folder.join(format!("out{wait}/data"))), seen(&folder.join("data")));
    }
}

#[test]
fn what_is_left_of_an_archive_that_lost_its_end_comes_out() {
    let place = place();
    let folder = place.path();
    let mut state = 1_u32;
    let mut byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    exits(0, folder, &["create", "a.vld", "data"]);
    fs::write(folder.join("data/z"), (0..3_000_000).map(&mut byte).collect::<Vec<_>>()).unwrap();
    exits(0, folder, &["add", "a.vld", "data/z"]);
    let bytes = fs::read(folder.join("a.vld")).unwrap();
    fs::write(folder.join("a.vld"), &bytes[..1_500_000]).unwrap();
    // Folders are there, although nobody can say that no file of that name was lost.
    let (out, _) = exits(0, folder, &["stat", "a.vld", "data/a", "--json"]);
    assert_eq!(json(&out)["kind"], "folder");
    let (_, error) = exits(1, folder, &["extract", "a.vld", "-C", "out"]);
    assert!(error.contains("what it had is missing"), "{error}");
    for path in ["a/1.png", "a/2.txt", "b/c/3.png"] {
        let (left, whole) = (folder.join("out/data").join(path), folder.join("data").join(path));
        assert_eq!(fs::read(left).unwrap(), fs::read(whole).unwrap(), "{path}");
    }
    let (_, error) = exits(1, folder, &["stat", "a.vld", "data/z"]);
    assert!(error.contains("in what is left"), "{error}");
}

//! `vldepot convert`: other archives into one of ours, and back.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vldepot"));
    command.current_dir(folder).args(args);
    command
}

fn exits(code: i32, folder: &Path, args: &[&str]) -> (String, String) {
    let output = command(folder, args).output().unwrap();
    said(code, &output, args)
}

fn said(code: i32, output: &Output, args: &[&str]) -> (String, String) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "vldepot {args:?}: {error}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), error)
}

/// A folder with an archive `a.vld` of three files.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    let data = place.path().join("data");
    fs::create_dir_all(data.join("b")).unwrap();
    fs::write(data.join("a"), "first").unwrap();
    fs::write(data.join("b/long"), vec![7; 5 << 20]).unwrap();
    fs::write(data.join("b/none"), "").unwrap();
    // zip has whole seconds.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for path in ["a", "b/long", "b/none", "b"] {
        File::open(data.join(path)).unwrap().set_modified(time).unwrap();
    }
    exits(0, place.path(), &["create", "a.vld", "-C", "data", "a", "b"]);
    place
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn b15_to_files_and_back() {
    let place = place();
    let folder = place.path();
    let listed = exits(0, folder, &["list", "--json", "a.vld"]).0;
    for end in ["tar", "tar.gz", "tgz", "tar.xz", "tar.zst", "zip"] {
        let (other, back) = (format!("other.{end}"), format!("{end}.vld"));
        let (out, _) = exits(0, folder, &["convert", "a.vld", &other]);
        assert_eq!(out, format!("{other}: 3 files, 1 folder, 5 MiB from a.vld\n"));
        exits(0, folder, &["convert", &other, &back]);
        assert_eq!(exits(0, folder, &["list", "--json", &back]).0, listed, "{end}");
        exits(0, folder, &["verify", &back]);
    }
    // An end that says nothing, and another format than the end says.
    exits(2, folder, &["convert", "a.vld", "other"]);
    exits(0, folder, &["convert", "a.vld", "other", "--to", "tar"]);
    assert_eq!(fs::read(folder.join("other")).unwrap(), fs::read(folder.join("other.tar")).unwrap());
}

#[test]
fn b15_streams() {
    let place = place();
    let folder = place.path();
    for to in ["tar", "tar.zst", "zip"] {
        let packed =
            command(folder, &["convert", "a.vld", "-", "--to", to, "--root-dir", "r"]).output().unwrap();
        let (_, error) = said(0, &packed, &[to]);
        assert_eq!(error, "");
        let name = format!("{to}.vld");
        let args = ["convert", "-", &name, "--json"];
        let mut child = command(folder, &args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&packed.stdout).unwrap();
        let (out, _) = said(0, &child.wait_with_output().unwrap(), &args);
        let object: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&object["files"], &object["failed"], &object["notes"]),
            (&3.into(), &0.into(), &0.into())
        );
        assert_eq!(exits(0, folder, &["cat", &name, "r/a"]).0, "first");
    }
    // A reader that goes away.
    let mut child =
        command(folder, &["convert", "a.vld", "-", "--to", "tar"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn wrong_uses_say_what_to_do() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["convert", "a.vld", "a.tar"]);
    fs::write(folder.join("text"), "no archive").unwrap();
    let before = names(folder);
    for (code, args, what) in [
        (4, &["a.tar", "a.vld"][..], "--force"),
        (4, &["a.vld", "a.tar"], "--force"),
        (2, &["a.vld", "b.vld"], "compact"),
        (2, &["a.tar", "b.zip"], "first"),
        (2, &["a.tar", "-"], "standard output"),
        (2, &["data", "b.vld"], "create"),
        (3, &["missing", "b.vld"], "missing"),
        (1, &["text", "b.vld"], "neither a tar nor a zip"),
        (2, &["a.tar", "b.vld", "--root-dir", "../x"], "`..`"),
        (2, &["a.tar", "b.vld", "--exclude", "["], "pattern"),
        (2, &["a.vld", "b", "--to", "rar"], "rar"),
    ] {
        let (_, error) = exits(code, folder, &[&["convert"], args].concat());
        assert!(error.contains(what), "{args:?}: {error}");
        assert_eq!(names(folder), before, "{args:?}");
    }
    // A target in the place of a source that is replaced when all is read.
    exits(0, folder, &["convert", "a.tar", "a.tar", "--to", "vld", "--force"]);
    assert_eq!(exits(0, folder, &["cat", "a.tar", "a"]).0, "first");
}

#[test]
fn a_conversion_that_fails_changes_nothing() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["convert", "a.vld", "a.tar.gz"]);
    let whole = fs::read(folder.join("a.tar.gz")).unwrap();
    fs::write(folder.join("cut.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("old.vld"), "something else").unwrap();
    let before = names(folder);
    let (_, error) = exits(1, folder, &["convert", "cut.tar.gz", "old.vld", "--force"]);
    assert!(error.starts_with("vldepot: cut.tar.gz: entry \"b/long\", at byte "), "{error}");
    assert!(error.contains("cut short"), "{error}");
    assert_eq!(fs::read(folder.join("old.vld")).unwrap(), b"something else");
    assert_eq!(names(folder), before);
}

#[test]
fn a_killed_conversion_leaves_no_target() {
    let place = place();
    let folder = place.path();
    fs::write(folder.join("old"), "something else").unwrap();
    exits(0, folder, &["convert", "a.vld", "a.tar"]);
    let tar = fs::read(folder.join("a.tar")).unwrap();
    for n in 0..8 {
        // It waits for the rest of its source.
        let args = ["convert", "-", if n % 2 == 0 { "new.vld" } else { "old" }, "--force"];
        let mut child = command(folder, &args).stdin(Stdio::piped()).spawn().unwrap();
        let mut source = child.stdin.take().unwrap();
        source.write_all(&tar[..tar.len() * n / 8]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!folder.join("new.vld").exists());
        assert_eq!(fs::read(folder.join("old")).unwrap(), b"something else");
    }
    // The next one removes what they left.
    exits(0, folder, &["convert", "a.tar", "new.vld"]);
    exits(0, folder, &["convert", "a.tar", "old", "--to", "vld", "--force"]);
    assert_eq!(names(folder), ["a.tar", "a.vld", "data", "new.vld", "old"]);
    assert!(File::open(folder.join("new.vld")).is_ok());
}

#[test]
fn b15_an_index_of_another_kind_is_refused() {
    let place = place();
    let folder = place.path();
    fs::write(folder.join("x"), [&b"SQLite format 3\0"[..], &[0; 600]].concat()).unwrap();
    let before = names(folder);
    let output = command(folder, &["convert", "x", "y.vld"]).output().unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)));
    assert_eq!(names(folder), before);
}

/// Packs a folder as `tar` does, with links and long names.
fn tar(folder: &Path, args: &[&str]) {
    let status = Command::new("tar").current_dir(folder).args(args).status().unwrap();
    assert!(status.success());
}

#[test]
fn b15_an_index_over_a_tar_file_is_an_archive() {
    let place = place();
    let folder = place.path();
    let long = "l".repeat(150);
    std::os::unix::fs::symlink("a", folder.join("data/link")).unwrap();
    std::os::unix::fs::symlink(&long, folder.join("data/long_link")).unwrap();
    fs::hard_link(folder.join("data/a"), folder.join("data/same")).unwrap();
    fs::write(folder.join("data").join(&long), "long").unwrap();
    for format in ["gnu", "pax", "ustar"] {
        if format == "ustar" {
            fs::remove_file(folder.join("data/long_link")).unwrap();
            fs::remove_file(folder.join("data").join(&long)).unwrap();
        }
        fs::create_dir_all(folder.join("moved")).unwrap();
        _ = fs::remove_dir_all(folder.join("tars"));
        fs::create_dir(folder.join("tars")).unwrap();
        tar(folder, &[&format!("--format={format}"), "-cf", "tars/x.tar", "data"]);
        exits(0, folder, &["convert", "tars/x.tar", "copy.vld", "--force"]);
        let (out, _) = exits(0, folder, &["convert", "--wrap", "tars/x.tar", "wrap.vld", "--force"]);
        assert!(out.starts_with("wrap.vld: ") && out.ends_with(" 5 MiB from tars/x.tar\n"), "{out}");
        assert!(fs::metadata(folder.join("wrap.vld")).unwrap().len() < 20_000);
        let same = exits(0, folder, &["diff", "copy.vld", "wrap.vld", "--bytes"]);
        assert!(same.0.contains("0 differ"), "{same:?}");
        for args in [
            &["find", "F", "--json"][..],
            &["list", "F"],
            &["tree", "F"],
            &["du", "F", "-a"],
            &["cat", "F", "data/b/long"],
            &["cat", "F", "data/a"],
            &["stat", "F", "data/link"],
        ] {
            let of = |file| args.iter().map(|arg| if *arg == "F" { file } else { *arg }).collect::<Vec<_>>();
            assert_eq!(exits(0, folder, &of("wrap.vld")).0, exits(0, folder, &of("copy.vld")).0, "{args:?}");
        }
        assert!(exits(0, folder, &["verify", "wrap.vld"]).0.starts_with("whole: "));
        _ = fs::remove_dir_all(folder.join("out"));
        exits(0, folder, &["extract", "wrap.vld", "-C", "out"]);
        let status = Command::new("diff")
            .args(["-r", "--no-dereference", "data", "out/data"])
            .current_dir(folder)
            .status()
            .unwrap();
        assert!(status.success());
        exits(0, folder, &["convert", "wrap.vld", "again.tar", "--force"]);
        // A copy of it has the files.
        let same = exits(0, folder, &["convert", "again.tar", "again.vld", "--force"]);
        assert!(same.0.starts_with("again.vld: "));
        let info: Value = serde_json::from_str(&exits(0, folder, &["info", "wrap.vld", "--json"]).0).unwrap();
        assert_eq!((&info["format"], &info["codec"]["id"]), (&"wrapped".into(), &"raw".into()));
        // Both are moved together.
        _ = fs::remove_dir_all(folder.join("moved"));
        fs::create_dir(folder.join("moved")).unwrap();
        fs::rename(folder.join("wrap.vld"), folder.join("moved/wrap.vld")).unwrap();
        fs::rename(folder.join("tars"), folder.join("moved/tars")).unwrap();
        assert_eq!(exits(0, folder, &["cat", "moved/wrap.vld", "data/a"]).0, "first");
    }
}

#[test]
fn a_tar_file_that_is_not_as_it_was_is_told() {
    let place = place();
    let folder = place.path();
    fs::write(folder.join("data/many"), vec![1; 300_000]).unwrap();
    tar(folder, &["-cf", "x.tar", "data"]);
    exits(0, folder, &["convert", "--wrap", "x.tar", "wrap.vld"]);
    let whole = fs::read(folder.join("x.tar")).unwrap();
    let read = || command(folder, &["cat", "wrap.vld", "data/many"]).output().unwrap();

    // Nothing is written, and nothing takes it for a depot with the bytes.
    for args in [
        &["add", "wrap.vld", "data"][..],
        &["rm", "wrap.vld", "data/a"],
        &["mv", "wrap.vld", "data/a", "data/c"],
        &["compact", "wrap.vld"],
        &["merge", "--append", "-o", "wrap.vld", "a.vld"],
        &["reshard", "wrap.vld", "other.vld"],
    ] {
        let output = command(folder, args).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {output:?}");
    }
    fs::create_dir(folder.join("set")).unwrap();
    fs::copy(folder.join("wrap.vld"), folder.join("set/wrap.vld")).unwrap();
    fs::copy(folder.join("x.tar"), folder.join("set/x.tar")).unwrap();
    let linked = command(folder, &["merge", "--link", "-o", "set"]).output().unwrap();
    assert!(String::from_utf8_lossy(&linked.stderr).contains("cannot be a shard"), "{linked:?}");

    // A byte of a file.
    let at = whole.windows(100).position(|window| window == [1; 100]).unwrap();
    let mut bytes = whole.clone();
    bytes[at + 150_000] ^= 1;
    fs::write(folder.join("x.tar"), &bytes).unwrap();
    let (_, error) = said(1, &read(), &["a byte"]);
    assert!(error.contains("x.tar") && error.contains("data/many"), "{error}");
    let (out, _) = exits(1, folder, &["verify", "wrap.vld"]);
    assert!(out.contains("data/many"), "{out}");
    assert_eq!(exits(0, folder, &["cat", "wrap.vld", "data/a"]).0, "first");
    // Another length, another start, none.
    fs::write(folder.join("x.tar"), &whole[..whole.len() - 512]).unwrap();
    let (_, error) = said(1, &read(), &["shorter"]);
    assert!(error.contains("x.tar") && error.contains("bytes, as when"), "{error}");
    bytes.clone_from(&whole);
    bytes[0] ^= 1;
    fs::write(folder.join("x.tar"), &bytes).unwrap();
    let (_, error) = said(1, &read(), &["another one"]);
    assert!(error.contains("of its ends"), "{error}");
    fs::remove_file(folder.join("x.tar")).unwrap();
    let (_, error) = said(3, &read(), &["none"]);
    assert!(error.contains("x.tar") && error.contains("wrap.vld is an index of"), "{error}");

    // What cannot be wrapped.
    fs::write(folder.join("x.tar"), &whole).unwrap();
    exits(0, folder, &["convert", "wrap.vld", "x.tar.gz"]);
    let (_, error) = exits(1, folder, &["convert", "--wrap", "x.tar.gz", "other.vld"]);
    assert!(error.contains("compressed one"), "{error}");
    exits(2, folder, &["convert", "--wrap", "-", "other.vld"]);
    exits(4, folder, &["convert", "--wrap", "x.tar", "wrap.vld"]);
    fs::write(folder.join("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    exits(1, folder, &["convert", "--wrap", "cut.tar", "other.vld"]);
    assert!(!folder.join("other.vld").exists());
    let hole = File::create(folder.join("data/hole")).unwrap();
    hole.set_len(2 << 20).unwrap();
    tar(folder, &["--sparse", "-cf", "sparse.tar", "data"]);
    let (_, error) = exits(4, folder, &["convert", "--wrap", "sparse.tar", "other.vld"]);
    assert!(error.contains("data/hole") && error.contains("not in one piece"), "{error}");
    assert_eq!(exits(0, folder, &["cat", "other.vld", "data/a"]).0, "first");
}

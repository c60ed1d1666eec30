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

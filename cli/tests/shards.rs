//! Folders of shards: made, added to, removed from, copied, and interrupted. B8, B9 and B13 of the list of
//! what users of Barecat need.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use vldepot::shards::{MergeOptions, found, merge};
use vldepot::{Depot, Raw};

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

fn noise(n: u64, len: usize) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(step).collect()
}

/// A folder `data` with 60 files of 8 kB in two folders, and the folder it is in.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    for n in 0..60 {
        let path = place.path().join(format!("data/{}/{n:02}", ["a", "b"][n % 2]));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(n as u64, 8000)).unwrap();
    }
    place
}

/// Checks that an archive has the 60 files as they are on the disk.
fn check(folder: &Path, archive: &str) {
    let out = folder.join("out");
    _ = fs::remove_dir_all(&out);
    exits(0, folder, &["extract", archive, "-C", "out"]);
    for n in 0..60_usize {
        let path = format!("data/{}/{n:02}", ["a", "b"][n % 2]);
        assert!(fs::read(out.join(&path)).unwrap() == fs::read(folder.join(&path)).unwrap(), "{path}");
    }
    fs::remove_dir_all(&out).unwrap();
}

#[test]
fn a_set_is_made_read_added_to_and_removed_from() {
    let place = place();
    let folder = place.path();
    let (said, _) = exits(0, folder, &["create", "set", "--shard-size", "100k", "data"]);
    assert!(said.contains("60 files, 3 folders") && said.contains("5 shards"), "{said}");
    check(folder, "set");
    let info = json(&exits(0, folder, &["info", "--json", "set"]).0);
    assert_eq!(
        (&info["format"], &info["shards"], &info["records"]),
        (&"shards".into(), &5.into(), &63.into())
    );
    let listed = exits(0, folder, &["list", "set", "--json"]).0;
    let shards: Vec<_> = listed.lines().map(|line| json(line)["shard"].as_u64().unwrap()).collect();
    assert!(shards.is_sorted() && shards.first() == Some(&0) && shards.last() == Some(&4), "{shards:?}");
    let table = exits(0, folder, &["list", "set", "-l"]).0;
    assert!(table.starts_with("shard  ") && table.lines().last().unwrap().starts_with("    4  "), "{table}");
    let (_, error) = exits(4, folder, &["create", "set", "-s", "1M", "data"]);
    assert!(error.contains("vldepot add"), "{error}");
    fs::write(folder.join("data/a/00"), b"newer").unwrap();
    let added = json(&exits(0, folder, &["add", "set", "data/a", "--json"]).0);
    assert_eq!((&added["files"], &added["shards"]), (&30.into(), &6.into()));
    check(folder, "set");
    assert_eq!(exits(0, folder, &["cat", "set", "data/a/00"]).0, "newer");
    let verified = exits(0, folder, &["verify", "set"]).0;
    assert!(verified.starts_with("whole: 94 of 94 records read"), "{verified}");
    let (said, _) = exits(0, folder, &["rm", "set", "-r", "data/a", "--json"]);
    assert_eq!(json(&said)["records"], 31);
    assert_eq!(exits(0, folder, &["find", "set", "--type", "f"]).0.lines().count(), 30);
    let (_, error) = exits(2, folder, &["mv", "set", "data/b", "c"]);
    assert!(error.contains("a folder of shards"), "{error}");
    exits(0, folder, &["verify", "set"]);
}

#[test]
fn reshard_makes_larger_and_smaller_shards_and_one_file() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "one.vld", "data"]);
    let made = json(&exits(0, folder, &["reshard", "one.vld", "many", "-s", "50k", "--json"]).0);
    assert!(made["shards"].as_u64() > Some(7), "{made}");
    check(folder, "many");
    let (said, _) = exits(0, folder, &["reshard", "many", "few", "-s", "300k"]);
    assert!(said.contains("63 records in 2 shards"), "{said}");
    check(folder, "few");
    assert!(exits(0, folder, &["reshard", "few", "again.vld"]).0.contains("in one file"));
    check(folder, "again.vld");
    let listed = |file: &str| exits(0, folder, &["list", file]).0;
    assert_eq!(listed("one.vld"), listed("again.vld"));
    for target in ["few", "again.vld"] {
        let args = ["reshard", "one.vld", target, "-s", "1M"];
        assert!(exits(4, folder, &args).1.contains("exists"));
    }
    assert!(exits(2, folder, &["reshard", "one.vld", "x", "-s", "5 apples"]).1.contains("unit"));
    exits(3, folder, &["reshard", "none.vld", "x", "-s", "5M"]);
}

#[test]
fn a_missing_shard_is_named_and_the_others_are_listed() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "set", "-s", "100k", "data"]);
    fs::remove_file(folder.join("set/shard_00001.vld")).unwrap();
    for args in [&["list", "set"][..], &["find", "set"], &["info", "set"], &["verify", "set"]] {
        let (out, error) = exits(1, folder, args);
        assert!(!out.is_empty() && error.len() + out.len() > 100, "{args:?}");
        assert!(format!("{out}{error}").contains("shard_00001.vld"), "{args:?}: {error}");
    }
    let (_, error) = exits(1, folder, &["cat", "set", "no/such/file"]);
    assert!(error.contains("shard_00001.vld"), "{error}");
    fs::write(folder.join("set/shards.json"), b"{\"format\": \"vldepot shards\"").unwrap();
    let (_, error) = exits(1, folder, &["info", "set"]);
    assert!(error.contains("shards.json"), "{error}");
}

/// Starts a verb and kills it after a time.
fn killed(folder: &Path, args: &[&str], after: Duration) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
        .current_dir(folder)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// How often each verb is killed. `VLDEPOT_KILLS` asks for more.
fn kills() -> u64 {
    std::env::var("VLDEPOT_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8)
}

/// The time until a kill: all parts of a run that takes some 40 ms are met.
fn wait(nth: u64) -> Duration {
    Duration::from_micros(nth * 40_000 / kills() + 37)
}

#[test]
fn a_killed_verb_leaves_a_whole_set_or_none() {
    let place = place();
    let folder = place.path();
    let old = b"as it was".to_vec();
    let mut n_killed = [0; 4];
    for nth in 0..kills() {
        n_killed[0] += u64::from(killed(folder, &["create", "set", "-s", "100k", "data"], wait(nth)));
        if folder.join("set").exists() {
            check(folder, "set");
            fs::remove_dir_all(folder.join("set")).unwrap();
        }
    }
    exits(0, folder, &["create", "set", "-s", "100k", "data"]);
    for nth in 0..kills() {
        n_killed[1] += u64::from(killed(folder, &["reshard", "set", "copy", "-s", "60k"], wait(nth)));
        if folder.join("copy").exists() {
            check(folder, "copy");
            fs::remove_dir_all(folder.join("copy")).unwrap();
        }
    }
    for nth in 0..kills() {
        fs::write(folder.join("data/a/00"), &old).unwrap();
        n_killed[2] += u64::from(killed(folder, &["add", "set", "data/a", "-s", "100k"], wait(nth)));
        // What was there is there, if not in the new shards, then in the old ones.
        exits(0, folder, &["verify", "set"]);
        assert_eq!(exits(0, folder, &["find", "set", "--type", "f"]).0.lines().count(), 60);
    }
    for nth in 0..kills() {
        n_killed[3] += u64::from(killed(folder, &["rm", "set", "-r", "data/b"], wait(nth)));
        exits(0, folder, &["verify", "set"]);
        exits(0, folder, &["add", "set", "data/b", "-s", "100k"]);
        assert_eq!(exits(0, folder, &["find", "set", "--type", "f"]).0.lines().count(), 60);
    }
    // The first kill comes before any verb can have ended.
    assert!(n_killed.iter().all(|&n| n > 0), "{n_killed:?}");
    exits(0, folder, &["create", "again", "-s", "100k", "data"]);
    exits(0, folder, &["reshard", "set", "copy", "-s", "60k"]);
    check(folder, "copy");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // The next process that makes the same folder removes what a killed one left.
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".copy.")), "{left:?}");
}

#[test]
fn killed_merges_lose_no_shard() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    for rank in 0..12 {
        let depot = Depot::create(folder.join(format!("rank_{rank:02}.vld")), Raw).unwrap();
        (0..100).for_each(|n| depot.put(1000 * rank + n, &noise(1, 100)).unwrap());
        depot.close().unwrap();
    }
    let files = found(folder).unwrap();
    std::thread::scope(|scope| {
        for part in files.chunks(3) {
            scope.spawn(move || {
                for file in part {
                    merge(folder, &[file], &MergeOptions::default()).unwrap();
                }
            });
        }
    });
    let depot = Depot::open(folder, Raw).unwrap();
    assert_eq!((depot.len(), depot.info().unwrap().shards), (1200, Some(12)));
}

#[test]
fn depots_are_linked_without_copying_them() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("run")).unwrap();
    for rank in 0..3 {
        let depot = Depot::create(folder.join(format!("run/rank_{rank}.vld")), Raw).unwrap();
        (0..10).for_each(|n| depot.put(100 * rank + n, &noise(1, 100)).unwrap());
        depot.close().unwrap();
    }
    let (said, _) = exits(0, folder, &["merge", "--link", "-o", "run"]);
    assert_eq!(said, "run: 3 added; 3 shards, 30 records\n");
    let depot = Depot::create(folder.join("elsewhere.vld"), Raw).unwrap();
    depot.put(5, b"newer").unwrap();
    depot.close().unwrap();
    let (_, error) = exits(4, folder, &["merge", "--link", "-o", "run", "elsewhere.vld"]);
    assert!(error.contains('5') && error.contains("exists"), "{error}");
    let merged =
        exits(0, folder, &["merge", "--link", "--replace", "-o", "run", "elsewhere.vld", "--json"]).0;
    let merged = json(&merged);
    assert_eq!(
        (&merged["records"], &merged["superseded"], &merged["added"]),
        (&30.into(), &1.into(), &1.into())
    );
    assert_eq!(exits(0, folder, &["cat", "run", "5", "--type", "int"]).0, "newer");
    exits(2, folder, &["merge", "--link", "--append", "-o", "run"]);
    exits(2, folder, &["merge", "-o", "run"]);
    assert_eq!(exits(0, folder, &["diff", "--quiet", "run", "run"]).0, "");
    exits(0, folder, &["subset", "run", "some.vld", "--pattern", "*"]);
}

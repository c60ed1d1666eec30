//! The command on files that lost a commit, or have a damaged index.
//!
//! It prints what is there, never calls that everything, and exits with 1.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use vldepot::{Depot, Layout, Raw};

fn vldepot(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn name(n: u32) -> String {
    format!("frame_{n:04}")
}

fn payload(n: u32) -> Vec<u8> {
    (0..700_u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(n * n) >> 11).to_le_bytes()[0]).collect()
}

/// A closed depot of 40 records, eight to a commit, and its bytes.
fn depot(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("run.vld");
    let options = Layout::default().with_chunk_size(4096).with_block_size(1024);
    let depot = Depot::builder(Raw).layout(options).create(&path).unwrap();
    for n in 0..40 {
        depot.put(name(n), &payload(n)).unwrap();
        if n % 8 == 7 {
            depot.commit().unwrap();
        }
    }
    depot.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn a_file_cut_in_half_is_listed_as_far_as_it_goes_and_nothing_is_done_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = depot(folder.path());
    let file = path.to_str().unwrap();
    let half = &bytes[..bytes.len() / 2];
    std::fs::write(&path, half).unwrap();

    let (code, out, err) = vldepot(&["list", file]);
    let listed = out.lines().count();
    assert!(code == Some(1) && (10..30).contains(&listed), "{code:?} {out}");
    assert!(err.contains("repair") && err.contains(&format!("left: {listed};")), "{err}");
    let (code, out, _) = vldepot(&["list", file, "--json"]);
    assert!(code == Some(1) && out.lines().count() == listed, "{code:?} {out}");
    let (code, out, err) = vldepot(&["info", file]);
    assert!(code == Some(1) && out.contains("records are missing") && err.contains("repair"), "{out} {err}");
    let (code, out, err) = vldepot(&["verify", file]);
    assert!(code == Some(1) && out.contains("DAMAGED"), "{out} {err}");
    let output = Command::new(env!("CARGO_BIN_EXE_vldepot")).args(["cat", file, &name(0)]).output().unwrap();
    assert!(output.status.success() && output.stdout == payload(0));
    let (code, _, err) = vldepot(&["cat", file, &name(39)]);
    assert!(code == Some(1) && err.contains("what is left"), "{err}");
    for verb in [&["compact", file][..], &["truncate", file, "--after", "frame_0002"]] {
        let (code, out, err) = vldepot(verb);
        assert!(code == Some(1) && out.is_empty() && err.contains("vldepot repair"), "{verb:?}: {out} {err}");
    }
    assert!(std::fs::read(&path).unwrap() == half, "a verb that refuses changes nothing");

    let new = folder.path().join("new.vld");
    let (code, _, err) = vldepot(&["repair", file, new.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{err}");

    // After an append with the loss accepted, the file still says that it has losses.
    let accepted = folder.path().join("accepted.vld");
    std::fs::write(&accepted, half).unwrap();
    let accepted = accepted.to_str().unwrap();
    let (code, out, err) = vldepot(&["truncate", accepted, "--after", "frame_0002", "--accept-loss"]);
    assert!(code == Some(0) && out.contains("3 kept"), "{out} {err}");
    let (code, out, _) = vldepot(&["list", accepted]);
    assert!(code == Some(0) && out.lines().count() == 3, "{out}");
    let (code, _, err) = vldepot(&["cat", accepted, &name(39)]);
    assert!(code == Some(1) && err.contains("was lost"), "{err}");
    let (code, out, _) = vldepot(&["verify", accepted]);
    assert!(code == Some(1) && out.contains("lost before"), "{out}");
    let (code, out, _) = vldepot(&["info", accepted]);
    assert!(code == Some(0) && out.contains("lost before"), "{out}");
    let (code, out, _) = vldepot(&["verify", new.to_str().unwrap()]);
    assert!(code == Some(0) && out.contains("lost before"), "{out}");
    let (code, _, err) = vldepot(&["cat", new.to_str().unwrap(), &name(39)]);
    assert!(code == Some(1) && err.contains("a repair"), "{err}");
}

#[test]
fn a_file_with_bytes_missing_in_its_middle_is_not_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut bytes) = depot(folder.path());
    let file = path.to_str().unwrap();
    let middle = bytes.len() / 2;
    bytes.drain(middle..middle + 64);
    std::fs::write(&path, &bytes).unwrap();
    let (code, _, err) = vldepot(&["compact", file]);
    assert!(code == Some(1) && err.contains("vldepot repair"), "{err}");
    assert!(std::fs::read(&path).unwrap() == bytes);
    let new = folder.path().join("new.vld");
    let (code, out, _) = vldepot(&["repair", file, new.to_str().unwrap()]);
    let (_, listed, _) = vldepot(&["list", new.to_str().unwrap()]);
    assert!(code == Some(1) && listed.lines().count() >= 35, "{out}");
}

#[test]
fn a_damaged_newer_segment_lists_no_removed_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    for name in ["aaaa", "bbbb", "cccc"] {
        depot.put(name, name.as_bytes()).unwrap();
    }
    depot.commit().unwrap();
    depot.put("aaaa", b"new").unwrap();
    depot.remove("bbbb").unwrap();
    depot.commit().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    drop(depot);
    let last = bytes.windows(4).rposition(|window| window == b"aaaa").unwrap();
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let file = path.to_str().unwrap();
    let (code, out, err) = vldepot(&["list", file, "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let names: Vec<Value> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone()).collect();
    assert_eq!(names, ["cccc", "aaaa"]);
    let (code, out, err) = vldepot(&["verify", file]);
    assert!(code == Some(1) && out.contains("2 of 2 records read"), "{out}");
    assert!(err.contains("0 records of 2 cannot be read"), "{err}");
}

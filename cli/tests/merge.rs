//! `vldepot merge`. B13 of the list of what users of Barecat need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Json};
use vldepot::maintain::{VerifyOptions, plan_compact, verify};
use vldepot::{Depot, Key, Layout, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn done(args: &[&str]) -> String {
    let output = vldepot(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn failed(code: i32, args: &[&str]) -> String {
    let output = vldepot(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
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

    /// A depot whose records hold the depot's own name and theirs.
    fn depot(&self, name: &str, keys: &[Key]) -> String {
        let depot = Depot::create(self.path(name), Raw).unwrap();
        for key in keys {
            depot.put_with_metadata(key, format!("{name}: {key}").as_bytes(), &json!([name])).unwrap();
        }
        depot.close().unwrap();
        self.text(name)
    }
}

fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| Key::from(*name)).collect()
}

/// The names of a depot, each with the file that its record is from.
fn content(path: &str) -> Vec<(String, String)> {
    assert!(verify(path, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
    let depot = Depot::open(path, Raw).unwrap();
    let of = |entry: vldepot::Result<(Key, vldepot::Record<Raw>)>| {
        let (key, record) = entry.unwrap();
        let text = String::from_utf8(record.as_bytes().to_vec()).unwrap();
        let from = text.split(':').next().unwrap().to_owned();
        assert_eq!(depot.metadata::<Value>(&key).unwrap(), Some(json!([from])));
        (key.to_string(), from)
    };
    depot.iter().map(of).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, from)| ((*name).to_owned(), (*from).to_owned())).collect()
}

#[test]
fn depots_follow_each_other_in_a_new_one() {
    let place = Place::new();
    let a = place.depot("a.vld", &keys(&["x", "y"]));
    let b = place.depot("b.vld", &[Key::from(7), Key::from(b"\xff"), Key::from("z")]);
    let out = place.text("out.vld");
    let report: Value = serde_json::from_str(&done(&["merge", "-o", &out, &a, &b, "--json"])).unwrap();
    assert_eq!((&report["copied"], &report["records"]), (&5.into(), &5.into()));
    let all = [("x", "a.vld"), ("y", "a.vld"), ("7", "b.vld"), ("b\"\\xff\"", "b.vld"), ("z", "b.vld")];
    assert_eq!(content(&out), pairs(&all));

    assert!(failed(4, &["merge", "-o", &out, &a, &b]).contains("--force"));
    done(&["merge", "-fo", &out, &b, &a, "-x", "y", "--prefix", "p/"]);
    let all = [("p/7", "b.vld"), ("b\"p/\\xff\"", "b.vld"), ("p/z", "b.vld"), ("p/x", "a.vld")];
    assert_eq!(content(&out), pairs(&all));
    done(&["merge", "-fo", &out, &a, &b, "--as-subdirs", "-i", "[xz]"]);
    assert_eq!(content(&out), pairs(&[("a/x", "a.vld"), ("b/z", "b.vld")]));
    done(&["merge", "--append", "-o", &out, &a, "--prefix", "again/"]);
    assert_eq!(content(&out).len(), 4);
}

#[test]
fn a_name_that_two_have_stops_it_unless_an_option_chooses() {
    let place = Place::new();
    let a = place.depot("a.vld", &keys(&["x", "s\u{1b}[2J", "y"]));
    let b = place.depot("b.vld", &keys(&["s\u{1b}[2J", "z", "x"]));
    let out = place.text("out.vld");
    let error = failed(4, &["merge", "-o", &out, &a, &b]);
    assert!(error.contains("2 records") && error.contains('x') && !error.contains('\x1b'), "{error}");
    assert!(!Path::new(&out).exists());
    done(&["merge", "-o", &out, &a, &b, "--ignore-duplicates"]);
    let froms = |out: &str| content(out).into_iter().map(|(_, from)| from).collect::<Vec<_>>().join(" ");
    assert_eq!(froms(&out), "a.vld a.vld a.vld b.vld");
    done(&["merge", "-o", &out, &a, &b, "--replace", "--force"]);
    assert_eq!(froms(&out), "a.vld b.vld b.vld b.vld");
    // Nothing that another record takes the place of was copied.
    assert_eq!(plan_compact(&out).unwrap().removed, 0);

    // What is there already counts, too.
    let before = std::fs::read(&out).unwrap();
    let error = failed(4, &["merge", "-o", &out, &a, "--append"]);
    assert!(error.contains("3 records"), "{error}");
    assert!(std::fs::read(&out).unwrap() == before);
    done(&["merge", "-o", &out, &a, "--append", "--ignore-duplicates"]);
    assert_eq!(froms(&out), "a.vld b.vld b.vld b.vld");
    done(&["merge", "-o", &out, &a, "--append", "--replace"]);
    assert_eq!(froms(&out), "b.vld a.vld a.vld a.vld");

    // An integer and the string of its digits become one name with a prefix.
    let c = place.depot("c.vld", &[Key::from(7), Key::from("7")]);
    done(&["merge", "-fo", &out, &c]);
    assert!(failed(4, &["merge", "-fo", &out, &c, "--prefix", "p"]).contains("1 record"));
    done(&["merge", "-fo", &out, &c, "--prefix", "p", "--replace"]);
    assert_eq!(content(&out), pairs(&[("p7", "c.vld")]));
    // Files of one stem.
    std::fs::create_dir(place.path("sub")).unwrap();
    let other = place.depot("sub/a.vld", &[]);
    done(&["merge", "-fo", &out, &a, &other, "--as-subdirs"]);
    std::fs::copy(&a, &other).unwrap();
    failed(4, &["merge", "-fo", &out, &a, &other, "--as-subdirs"]);
    failed(4, &["merge", "-fo", &out, &a, &a]);
}

#[test]
fn metadata_come_from_the_first_that_has_them_and_a_difference_is_named() {
    let place = Place::new();
    for (name, title) in [("a.vld", "water"), ("b.vld", "ice")] {
        let depot = Depot::create(place.path(name), Raw).unwrap();
        depot.put(name, b"..").unwrap();
        depot.set_depot_metadata("title", title).unwrap();
        depot.set_depot_metadata(name, &true).unwrap();
        depot.close().unwrap();
    }
    let out = place.text("out.vld");
    let output = vldepot(&["merge", "-o", &out, &place.text("a.vld"), &place.text("b.vld"), "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("b.vld") && stderr.contains("title"), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["metadata_left_out"], json!(["title"]));
    let metadata: Value = Depot::open(&out, Raw).unwrap().all_depot_metadata().unwrap();
    assert_eq!(metadata, json!({ "title": "water", "a.vld": true, "b.vld": true }));
}

#[test]
fn depots_that_do_not_fit_are_refused_before_anything_is_written() {
    let place = Place::new();
    let a = place.depot("a.vld", &keys(&["x"]));
    let out = place.text("out.vld");
    let json_depot = Depot::create(place.path("json.vld"), Json::<u32>::new()).unwrap();
    json_depot.put("n", &7).unwrap();
    json_depot.close().unwrap();
    let error = failed(4, &["merge", "-o", &out, &a, &place.text("json.vld")]);
    assert!(error.contains("`serde.json`") && error.contains("`raw`") && error.contains("codec"), "{error}");
    for (name, columns) in [("one.vld", &["step"][..]), ("two.vld", &["energy"])] {
        let layout = Layout::default().with_columns(columns.iter().copied());
        let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(place.path(name)).unwrap();
        depot.put(name, &AtomicFrame::new().n_atoms(1).step(7).energy(0.5)).unwrap();
        depot.close().unwrap();
    }
    let error = failed(4, &["merge", "-o", &out, &place.text("one.vld"), &place.text("two.vld")]);
    assert!(error.contains("step") && error.contains("energy") && error.contains("columns"), "{error}");
    failed(4, &["merge", "-o", &place.text("one.vld"), "--append", &a]);
    failed(2, &["merge", "-o", &a, &a, "--append"]);
    failed(2, &["merge", "-o", &a, &a, "--force"]);
    failed(2, &["merge", "-o", &out]);
    failed(2, &["merge", &a]);
    failed(2, &["merge", "-o", &out, &a, "--replace", "--ignore-duplicates"]);
    failed(3, &["merge", "-o", &out, &a, &place.text("none.vld")]);
    failed(3, &["merge", "-o", &out, &a, "--append"]);
    assert!(!Path::new(&out).exists());

    // One that has another shuffle of the same codec: its records are compressed as those of the first.
    let depot = Depot::builder(Raw).layout(Layout::compact()).create(place.path("small.vld")).unwrap();
    depot.put("small", b"small.vld: ").unwrap();
    depot.close().unwrap();
    done(&["merge", "-o", &out, &a, &place.text("small.vld")]);
    assert_eq!(
        Depot::open(&out, Raw).unwrap().info().unwrap().layout,
        Layout::default().with_compression(Depot::open(&a, Raw).unwrap().info().unwrap().layout.compression)
    );
}

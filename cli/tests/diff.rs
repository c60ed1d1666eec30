//! `vldepot diff`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use vldepot::codecs::Json;
use vldepot::{Depot, Layout, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn run(code: i32, args: &[&str]) -> (String, String) {
    let output = vldepot(args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
    (out, err)
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

    /// Two depots: the second has lost, won and changed some records.
    fn pair(&self) -> (String, String) {
        for (file, layout) in [("a.vld", Layout::fast()), ("b.vld", Layout::compact())] {
            let depot = Depot::builder(Raw).layout(layout).create(self.path(file)).unwrap();
            let is_first = file == "a.vld";
            depot.put("alike", b"1").unwrap();
            depot.put_with_metadata("described", b"2", &json!({ "by": file })).unwrap();
            depot.put("longer", if is_first { b"3" } else { b"33" }).unwrap();
            depot.put(4, if is_first { b"4" } else { b"5" }).unwrap();
            depot.put(if is_first { "gone\u{1b}[2J" } else { "new" }, b"6").unwrap();
            depot.put_with_metadata("both", file.as_bytes(), file).unwrap();
            depot.close().unwrap();
        }
        (self.text("a.vld"), self.text("b.vld"))
    }
}

#[test]
fn what_differs_is_named_and_how() {
    let place = Place::new();
    let (a, b) = place.pair();
    let (out, _) = run(5, &["diff", &a, &b]);
    let expected = "\
~ described  (metadata)
~ longer  (bytes)
~ 4  (bytes)
- \"gone\\u001b[2J\"
~ both  (bytes, metadata)
+ new
1 only in the first, 1 only in the second, 4 differ, 1 alike
";
    assert_eq!(out, expected);
    let (out, _) = run(5, &["diff", &a, &b, "--json"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    let described =
        json!({"name": "described", "type": "str", "change": "changed", "bytes": false, "metadata": true});
    assert_eq!(lines[0], described);
    assert_eq!(lines[5], json!({"name": "new", "type": "str", "change": "added"}));
    assert_eq!(run(5, &["diff", &a, &b, "-q"]), (String::new(), String::new()));
    run(0, &["diff", &a, &b, "-i", "alike"]);
    run(5, &["diff", &a, &b, "-i", "*e*"]);
    assert_eq!(run(0, &["diff", &a, &a]).0, "0 only in the first, 0 only in the second, 0 differ, 6 alike\n");
    run(0, &["diff", &a, &a, "--bytes"]);
    // Another compression and another order are no difference.
    let copy = place.text("copy.vld");
    run(0, &["subset", &a, &copy, "--preset", "uncompressed"]);
    run(0, &["diff", &a, &copy, "--bytes"]);
}

#[test]
fn codec_and_metadata_of_the_depots_count() {
    let place = Place::new();
    let depot = Depot::create(place.path("raw.vld"), Raw).unwrap();
    depot.set_depot_metadata("title", "one").unwrap();
    depot.close().unwrap();
    Depot::create(place.path("json.vld"), Json::<u32>::new()).unwrap().close().unwrap();
    let (out, _) = run(5, &["diff", &place.text("raw.vld"), &place.text("json.vld")]);
    assert!(out.starts_with("~ the codec\n~ the depot's metadata title\n"), "{out}");
    let (out, _) = run(5, &["diff", &place.text("raw.vld"), &place.text("json.vld"), "--jsonl"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1], json!({"change": "depot's metadata", "entry": "title"}));
}

#[test]
fn records_are_read_only_where_there_are_no_checksums_or_when_asked() {
    let place = Place::new();
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let noise: Vec<u8> = (0..40_000).map(|_| byte()).collect();
    let depot = Depot::create(place.path("a.vld"), Raw).unwrap();
    depot.put("noise", &noise).unwrap();
    depot.close().unwrap();
    let mut bytes = std::fs::read(place.path("a.vld")).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(place.path("b.vld"), bytes).unwrap();
    let (a, b) = (place.text("a.vld"), place.text("b.vld"));
    run(0, &["diff", &a, &b]);
    let (_, err) = run(1, &["diff", &a, &b, "--bytes"]);
    assert!(err.contains("noise"), "{err}");

    let vlstore = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vlstore/no_cross.b2frame");
    let (out, _) = run(0, &["diff", vlstore, vlstore]);
    assert!(out.contains(" 0 differ, ") && !out.contains(" 0 alike"), "{out}");
}

#[test]
fn whatever_fails_is_told_of() {
    let place = Place::new();
    let (a, b) = place.pair();
    run(2, &["diff", &a]);
    run(3, &["diff", &a, &place.text("none")]);
    std::fs::write(place.path("poem"), b"no depot").unwrap();
    let (_, err) = run(4, &["diff", &place.text("poem"), &a, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&err).unwrap()["exit"], 4);
    // A difference that cannot be told of is more than a difference.
    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vldepot"));
        let output = command.args(["diff", &a, &b]).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(4));
    }
    // A reader that leaves.
    let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
        .args(["diff", &a, &b])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty());
    // A file that lost its end is not called alike.
    let depot = Depot::create(place.path("run.vld"), Raw).unwrap();
    for n in 0..100_u32 {
        depot.put(n, &[n.to_le_bytes()[0]; 500]).unwrap();
        depot.commit().unwrap();
    }
    depot.close().unwrap();
    let whole = std::fs::read(place.path("run.vld")).unwrap();
    std::fs::write(place.path("cut.vld"), &whole[..whole.len() / 2]).unwrap();
    for args in [&["diff"][..], &["diff", "-q"]] {
        let (_, err) = run(1, &[args, &[&place.text("run.vld"), &place.text("cut.vld")]].concat());
        assert!(err.contains("repair"), "{err}");
    }
}

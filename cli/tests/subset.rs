//! `vldepot subset`. B14 of the list of what users of Barecat need.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::maintain::{VerifyOptions, verify};
use vldepot::{Depot, Key, Layout, Raw, Scalar};

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

    /// A depot with names of every kind.
    fn mixed(&self) -> String {
        let depot = Depot::builder(Raw).layout(Layout::fast()).create(self.path("mixed.vld")).unwrap();
        for name in ["a/1.png", "a/2.jpg", "b/c/3.png", "b/", "7", "two\nlines", "\u{1b}[2J", "a"] {
            depot.put_with_metadata(name, name.as_bytes(), &json!({ "of": name })).unwrap();
        }
        depot.put(7, b"seven").unwrap();
        depot.put(-7, b"minus seven").unwrap();
        depot.put(b"\x00\xff", b"bytes").unwrap();
        depot.put("a/1.png", b"again").unwrap();
        depot.set_depot_metadata("title", "all").unwrap();
        depot.close().unwrap();
        self.text("mixed.vld")
    }
}

fn names(path: &str) -> Vec<Key> {
    Depot::open(path, Raw).unwrap().keys().map(Result::unwrap).collect()
}

/// The new depot holds some of the records of the old one, whole and in order.
fn check(old: &str, new: &str) {
    assert!(verify(new, &VerifyOptions::default(), |_| {}).unwrap().is_whole());
    let (old, new) = (Depot::open(old, Raw).unwrap(), Depot::open(new, Raw).unwrap());
    let mut order = old.keys().map(Result::unwrap);
    for entry in &new {
        let (name, record) = entry.unwrap();
        assert!(order.any(|key| key == name), "{name} is out of order");
        assert_eq!(record.as_bytes(), old.get(&name).unwrap().as_bytes());
        assert_eq!(new.metadata::<Value>(&name).unwrap(), old.metadata::<Value>(&name).unwrap());
    }
    assert_eq!(new.all_depot_metadata::<Value>().unwrap(), old.all_depot_metadata::<Value>().unwrap());
    assert_eq!(new.stored_codec(), old.stored_codec());
}

#[test]
fn globs_choose_by_name() {
    let place = Place::new();
    let old = place.mixed();
    let new = place.text("new.vld");
    let chosen = |args: &[&str]| {
        let arguments = [&["subset", &old, &new, "--force"], args].concat();
        done(&arguments);
        check(&old, &new);
        names(&new)
    };
    let keys = |names: &[&str]| names.iter().map(|name| Key::from(*name)).collect::<Vec<_>>();
    assert_eq!(chosen(&["--pattern", "*.png"]), keys(&["b/c/3.png", "a/1.png"]));
    assert_eq!(chosen(&["-i", "*.png"]), keys(&["b/c/3.png", "a/1.png"]));
    assert_eq!(chosen(&["-i", "a/*"]), keys(&["a/2.jpg", "a/1.png"]));
    assert_eq!(chosen(&["-i", "*.png", "-i", "*.jpg", "-x", "b"]), keys(&["a/2.jpg", "a/1.png"]));
    assert_eq!(chosen(&["--include", "b/"]), keys(&["b/"]));
    assert_eq!(chosen(&["-i", "7"]), [Key::from("7"), Key::from(7)]);
    assert_eq!(chosen(&[]).len(), 11);
    assert_eq!(chosen(&["-x", "*[0-9]*"]).len(), 4);
}

#[test]
fn what_list_prints_is_taken_as_names() {
    let place = Place::new();
    let old = place.mixed();
    let new = place.text("new.vld");
    let listed = done(&["list", &old]);
    let with = |listed: &[u8], args: &[&str]| {
        let arguments = [&["subset", &old, &new, "--force", "-T", "-"], args].concat();
        let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(listed).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(with(listed.as_bytes(), &[]), (Some(0), String::new()));
    check(&old, &new);
    assert_eq!(names(&new), names(&old));

    // The order is that of the depot.
    let names_file = place.text("names.txt");
    std::fs::write(&names_file, "a/1.png\r\n\"7\"\nb/\n").unwrap();
    done(&["subset", &old, &new, "-f", "--names-from", &names_file, "-x", "b"]);
    assert_eq!(names(&new), [Key::from("7"), Key::from("a/1.png")]);
    assert_eq!(with(b"7\0two\nlines\0", &["-0"]).0, Some(0));
    assert_eq!(names(&new), [Key::from("7"), Key::from("two\nlines")]);

    let before = std::fs::read(&new).unwrap();
    let (code, error) = with(b"a\nno\nnever\x1b\n", &[]);
    assert!(
        code == Some(3) && error.contains("2 names") && error.contains("no") && !error.contains('\x1b'),
        "{error}"
    );
    let (code, error) = with(b"a\n\"broken\n", &[]);
    assert!(code == Some(2) && error.contains("line 2"), "{error}");
    assert!(std::fs::read(&new).unwrap() == before, "nothing was written");
    assert!(failed(3, &["subset", &old, &new, "-f", "-T", &place.text("none.txt")]).contains("none.txt"));
}

#[test]
fn codec_columns_and_preset_are_kept_or_changed_as_asked() {
    let place = Place::new();
    let (old, new) = (place.text("old.vld"), place.text("new.vld"));
    let layout = Layout::fast().with_columns(["step", "energy"]);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(&old).unwrap();
    for step in 0..20_i32 {
        depot
            .put(step, &AtomicFrame::new().n_atoms(2).step(step.into()).energy(0.5 * f64::from(step)))
            .unwrap();
    }
    depot.close().unwrap();
    let report: Value =
        serde_json::from_str(&done(&["subset", &old, &new, "-i", "1?", "--preset", "compact", "--json"]))
            .unwrap();
    assert_eq!((&report["records"], &report["of"]), (&10.into(), &20.into()));
    check(&old, &new);
    let depot = Depot::open(&new, AtomicFrameCodec::any()).unwrap();
    assert_eq!(depot.scalar(13, "energy").unwrap(), Some(Scalar::Float(6.5)));
    assert_eq!(depot.info().unwrap().layout.compression.level, 9);
}

#[test]
fn it_refuses_what_would_harm_or_mislead() {
    let place = Place::new();
    let (old, new) = (place.mixed(), place.text("new.vld"));
    let before = std::fs::read(&old).unwrap();
    assert!(failed(3, &["subset", &old, &new, "-i", "none"]).contains("none of 11 records"));
    assert!(!place.path("new.vld").exists());
    assert!(failed(2, &["subset", &old, &old, "-f"]).contains("another file"));
    std::fs::hard_link(&old, place.path("link.vld")).unwrap();
    failed(2, &["subset", &old, &place.text("link.vld"), "-f"]);
    failed(2, &["subset", &old, &new, "-i", "["]);
    failed(2, &["subset", &old, &new, "-0"]);
    failed(3, &["subset", &place.text("none"), &new]);
    failed(3, &["subset", &old, &place.text("none/new.vld")]);
    std::fs::write(&new, b"mine").unwrap();
    assert!(failed(4, &["subset", &old, &new]).contains("--force"));
    assert_eq!(std::fs::read(&new).unwrap(), b"mine");
    failed(4, &["subset", &new, &place.text("other.vld")]);
    assert!(std::fs::read(&old).unwrap() == before);

    // A damaged record, and a file that lost its end.
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let noise: Vec<u8> = (0..40_000).map(|_| byte()).collect();
    let depot = Depot::create(place.path("run.vld"), Raw).unwrap();
    depot.put("noise", &noise).unwrap();
    depot.commit().unwrap();
    depot.put("more", &noise).unwrap();
    depot.close().unwrap();
    let whole = std::fs::read(place.path("run.vld")).unwrap();
    let (run, made) = (place.text("run.vld"), place.text("made.vld"));
    let mut damaged = whole.clone();
    damaged[20_000] ^= 1;
    for bytes in [&damaged[..], &whole[..whole.len() / 2]] {
        std::fs::write(&run, bytes).unwrap();
        failed(1, &["subset", &run, &made]);
        assert!(!Path::new(&made).exists());
    }
    let left = std::fs::read_dir(place.0.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    // The JSON of an error.
    let error: Value = serde_json::from_str(&failed(1, &["subset", &run, &made, "--json"])).unwrap();
    assert_eq!(error["exit"], 1);
}

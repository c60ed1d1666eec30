//! What the command says when something fails.
//!
//! It states facts and a remedy in its own words, and never gives advice that endangers a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use vldepot::storage::StagedFile;
use vldepot::{Depot, Layout, Raw};

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
}

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

/// Text between backticks must be a command, or the name of a codec or of one of its parameters.
fn is_of_the_command(quoted: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
    let call = ["put", "get", "open", "append", "close", "repair", "verify", "compact"].contains(&quoted);
    quoted.starts_with("vldepot ") || (!call && quoted.chars().all(is_name))
}

/// Runs a failing command, and returns its message. Panics if the message has words that no user should
/// see.
fn failed(code: i32, args: &[&str]) -> String {
    let output = vldepot(args);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{error}");
    assert!(error.starts_with("vldepot: ") || error.starts_with("{\"error\""), "{args:?}: {error}");
    for text in [&out, &error] {
        for word in ["::", "Depot", "Raw", "Some(", "Error", "panicked", "remove", "delete", "overwrite"] {
            assert!(!text.contains(word), "{args:?} says {word}: {text}");
        }
        for quoted in text.split('`').skip(1).step_by(2) {
            assert!(is_of_the_command(quoted), "{args:?} says `{quoted}`: {text}");
        }
    }
    error.into_owned()
}

fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| byte()).collect()
}

fn depot(path: &Path) {
    let options = Layout::default().with_chunk_size(1 << 16);
    let depot = Depot::builder(Raw).layout(options).create(path).unwrap();
    for n in 0..40 {
        depot.put(format!("frame_{n:02}"), &noise(n, 3000)).unwrap();
    }
    depot.close().unwrap();
}

/// Every verb that takes a file, with arguments that are right except for the file.
fn verbs<'a>(file: &'a str, new: &'a str) -> Vec<Vec<&'a str>> {
    vec![
        vec!["info", file],
        vec!["list", file],
        vec!["list", "--json", file],
        vec!["cat", file, "frame_07"],
        vec!["cat", "--json", file, "frame_07"],
        vec!["cat", "--decoded", file, "frame_07"],
        vec!["verify", file],
        vec!["verify", "--quick", file],
        vec!["verify", "--json", file],
        vec!["repair", file, new],
        vec!["repair", file, new, "--json"],
        vec!["compact", file],
        vec!["compact", file, "--json"],
        vec!["compact", file, "--dry-run"],
        vec!["compact", file, "--preset", "fast"],
        vec!["diff", file, file],
        vec!["subset", file, new],
        vec!["merge", "-o", new, file],
        vec!["bench", file],
        vec!["truncate", file, "--undo"],
        vec!["truncate", file, "--after", "frame_07"],
        vec!["truncate", file, "--after", "frame_07", "--dry-run"],
        vec!["truncate", file, "--after-step", "7"],
        vec!["truncate", file, "--after-step", "7", "--json"],
    ]
}

#[test]
fn files_that_are_none_or_no_depots_are_told_of_in_the_words_of_the_command() {
    let place = Place::new();
    fs::write(place.path("poem"), b"A depot is a house for things.\n".repeat(200)).unwrap();
    fs::write(place.path("empty"), b"").unwrap();
    depot(&place.path("newer"));
    let staged = StagedFile::create(place.path("target")).unwrap();
    let unfinished = Depot::builder(Raw).create_in(staged.storage()).unwrap();
    let new = place.text("new.vld");
    let folder = place.0.path().to_str().unwrap().to_owned();
    let files = [
        (3, place.text("none")),
        (4, place.text("poem")),
        (4, place.text("empty")),
        (4, folder),
        (4, staged.path().to_str().unwrap().to_owned()),
    ];
    for (code, file) in &files {
        for args in verbs(file, &new) {
            // An unfinished file holds nothing that a repair could save.
            failed(*code, &args);
            assert!(!place.path("new.vld").exists(), "{args:?}");
        }
    }
    for verb in ["compact", "repair"] {
        let args = ["compact", "/dev/null"];
        let args = if verb == "compact" { &args[..] } else { &["repair", "/dev/null", &new] };
        assert!(failed(4, args).contains("a device"));
    }
    drop(unfinished);
}

#[test]
fn a_repair_into_the_damaged_file_itself_says_that_it_must_be_another_one() {
    let place = Place::new();
    depot(&place.path("run.vld"));
    let bytes = fs::read(place.path("run.vld")).unwrap();
    fs::hard_link(place.path("run.vld"), place.path("hard.vld")).unwrap();
    let mut others = vec!["run.vld", "./run.vld", "hard.vld"];
    if cfg!(unix) {
        #[cfg(unix)]
        std::os::unix::fs::symlink("run.vld", place.path("link.vld")).unwrap();
        others.push("link.vld");
    }
    for new in others {
        for (from, to) in [("run.vld", new), (new, "run.vld")] {
            let output = Command::new(env!("CARGO_BIN_EXE_vldepot"))
                .args(["repair", from, to])
                .current_dir(place.0.path())
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains("must be another one") && !error.contains("remove"), "{error}");
            assert!(fs::read(place.path("run.vld")).unwrap() == bytes);
        }
    }
}

#[test]
fn whatever_else_fails_is_told_of_in_the_words_of_the_command() {
    let place = Place::new();
    let (file, new) = (place.text("run.vld"), place.text("new.vld"));
    depot(&place.path("run.vld"));
    let whole = fs::read(&file).unwrap();

    fs::write(&new, b"mine").unwrap();
    assert!(failed(4, &["repair", &file, &new]).contains("choose another one"));
    assert_eq!(fs::read(&new).unwrap(), b"mine");
    failed(3, &["repair", &file, &place.text("none/new.vld")]);
    failed(3, &["cat", &file, "frame_99"]);
    failed(3, &["truncate", &file, "--after", "frame_99"]);
    assert!(failed(4, &["truncate", &file, "--after-step", "7"]).contains("`raw`"));
    failed(4, &["cat", "--decoded", "--codec", "atomic_frame", &file, "frame_07"]);

    let writer = Depot::append(&file, Raw).unwrap();
    failed(4, &["truncate", &file, "--after", "frame_07"]);
    failed(4, &["compact", &file]);
    drop(writer);

    // A damaged record.
    let mut bytes = whole.clone();
    bytes[60_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    fs::remove_file(&new).unwrap();
    for args in [&["verify", &file][..], &["compact", &file], &["repair", &file, &new]] {
        failed(1, args);
    }
    assert!(fs::read(&file).unwrap() == bytes);

    // A file that lost its end, so that the commit which the header names is gone.
    let lost = place.text("lost.vld");
    fs::write(&lost, &whole[..whole.len() * 2 / 3]).unwrap();
    failed(1, &["cat", &lost, "frame_39"]);
    failed(1, &["verify", &lost]);

    let foreign = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/vlstore/no_cross.b2frame");
    fs::copy(foreign, place.path("foreign")).unwrap();
    for args in
        [&["compact", &place.text("foreign")][..], &["truncate", &place.text("foreign"), "--after", "a"]]
    {
        failed(4, args);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_told_of_as_that_and_a_reader_that_leaves_is_no_failure() {
    let place = Place::new();
    let file = place.text("long.vld");
    let depot = Depot::create(&file, Raw).unwrap();
    depot.put("long", &noise(1, 10_000_000)).unwrap();
    depot.close().unwrap();
    let cat = |out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vldepot"));
        command.args(["cat", &file, "long"]).stdout(out).stderr(Stdio::piped()).spawn().unwrap()
    };
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = cat(full.into()).wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.starts_with("vldepot: cannot write the output: ") && output.status.code() == Some(4),
        "{error}"
    );
    let mut child = cat(Stdio::piped());
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}

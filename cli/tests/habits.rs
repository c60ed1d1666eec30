//! What all verbs have in common: help, quiet, JSON Lines, and what may reach a terminal.
//!
//! B10 and B16 of the list of what users of Barecat need.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use vldepot::{Depot, Layout, Raw};

fn vldepot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vldepot")).args(args).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = vldepot(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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
    let depot = Depot::builder(Raw).layout(Layout::default().with_chunk_size(1 << 16)).create(path).unwrap();
    for n in 0..40 {
        depot.put(format!("frame_{n:02}"), &noise(n, 3000)).unwrap();
    }
    depot.close().unwrap();
}

#[test]
fn every_shell_gets_a_script_with_every_verb_and_every_verb_a_page() {
    let verbs = ["list", "compact", "completions", "extract"];
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&["completions", shell]);
        for verb in verbs {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    assert_eq!(vldepot(&["completions", "tcsh"]).status.code(), Some(2));

    assert!(stdout(&["man"]).contains("vldepot\\-list(1)"));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    stdout(&["man", pages.to_str().unwrap()]);
    for verb in verbs {
        let page = std::fs::read_to_string(pages.join(format!("vldepot-{verb}.1"))).unwrap();
        assert!(page.contains(&format!(".TH vldepot-{verb} 1")), "{page}");
        assert!(page.contains(&format!("\\fBvldepot {verb}\\fR")), "{page}");
    }
    assert!(pages.join("vldepot.1").exists() && !pages.join("vldepot-help.1").exists());
    let taken = folder.path().join("taken");
    std::fs::write(&taken, b"").unwrap();
    assert_eq!(vldepot(&["man", taken.to_str().unwrap()]).status.code(), Some(4));
}

#[test]
fn help_is_not_wider_than_asked_for() {
    for verb in ["list", "truncate", "create"] {
        let help = stdout(&[verb, "--help"]);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

#[test]
fn a_quiet_verb_says_nothing_but_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    depot(&path);
    let file = path.to_str().unwrap();
    std::fs::write(folder.path().join("a"), b"a").unwrap();
    let archive = folder.path().join("a.vld");
    let archive = archive.to_str().unwrap();
    let within = folder.path().to_str().unwrap();
    let out = folder.path().join("out");
    for args in [
        &["-q", "create", archive, "-C", within, "a"][..],
        &["add", "--quiet", archive, "-C", within, "a"],
        &["mv", archive, "a", "b", "-q"],
        &["extract", archive, "-q", "-C", out.to_str().unwrap()],
        &["rm", archive, "b", "-q"],
        &["verify", file, "-q"],
        &["truncate", file, "--after", "frame_30", "-q"],
        &["compact", file, "-q"],
    ] {
        assert_eq!(stdout(args), "", "{args:?}");
    }
    assert_ne!(stdout(&["truncate", file, "--after", "frame_20", "-q", "-n"]), "");
    assert_ne!(stdout(&["compact", file, "-q", "-n"]), "");
    assert!(!vldepot(&["verify", "-q", "none.vld"]).stderr.is_empty());
}

#[test]
fn jsonl_is_one_object_per_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    depot(&path);
    let file = path.to_str().unwrap();
    for args in [&["list", file][..], &["du", file], &["info", file], &["find", file]] {
        let (json, jsonl) = ([args, &["--json"]].concat(), [args, &["--jsonl"]].concat());
        assert!(!lines(&vldepot(&json).stdout).is_empty());
        assert_eq!(stdout(&json), stdout(&jsonl));
    }
    let error = vldepot(&["list", "none.vld", "--jsonl"]);
    assert_eq!(lines(&error.stderr)[0]["exit"], 3);
    let error = vldepot(&["list", "--jsonl", "--nonsense"]);
    assert_eq!(lines(&error.stderr)[0]["exit"], 2);

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let whole = lines(&vldepot(&["verify", file, "--json"]).stdout).remove(0);
    let output = vldepot(&["verify", file, "--jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    let found = lines(&output.stdout);
    let damaged = whole["damaged_records"].as_array().unwrap();
    let problems = whole["problems"].as_array().unwrap();
    assert!(!damaged.is_empty());
    assert_eq!(found.len(), damaged.len() + problems.len() + 1);
    assert_eq!(found[0], damaged[0]);
    assert_eq!(found.last().unwrap()["whole"], false);
    let new = folder.path().join("new.vld");
    let output = vldepot(&["repair", file, new.to_str().unwrap(), "--jsonl"]);
    assert_eq!(lines(&output.stdout)[0], damaged[0]);
}

/// A terminal for the output of a command: what is written to it is read from the other end.
#[cfg(target_os = "linux")]
fn on_a_terminal(args: &[&str]) -> (Option<i32>, Vec<u8>) {
    use std::ffi::CStr;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::FromRawFd;

    let mut name = [0_i8; 64];
    // SAFETY: the calls take numbers and a buffer with its length, and what they return is checked.
    let mut ours = unsafe {
        let ours = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(ours >= 0 && libc::grantpt(ours) == 0 && libc::unlockpt(ours) == 0);
        assert_eq!(libc::ptsname_r(ours, name.as_mut_ptr().cast(), name.len()), 0);
        File::from_raw_fd(ours)
    };
    // SAFETY: the call above has written a string with its end.
    let name = unsafe { CStr::from_ptr(name.as_ptr().cast()) }.to_str().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vldepot"))
        .args(args)
        .stdout(theirs)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut written = Vec::new();
    let mut buffer = [0; 4096];
    // The end is an error when nobody has the terminal open any more.
    while let Ok(n) = ours.read(&mut buffer)
        && n > 0
    {
        written.extend_from_slice(&buffer[..n]);
    }
    (child.wait().unwrap().code(), written)
}

#[cfg(target_os = "linux")]
#[test]
fn no_binary_record_reaches_a_terminal_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put("text", "two\nlines, é\n".as_bytes()).unwrap();
    depot.put("binary", b"\x00\xff").unwrap();
    depot.put("screen", b"clear \x1b[2J").unwrap();
    depot.close().unwrap();
    let file = path.to_str().unwrap();
    // A terminal turns a line feed into two characters.
    assert_eq!(on_a_terminal(&["cat", file, "text"]), (Some(0), "two\r\nlines, é\r\n".as_bytes().to_vec()));
    for name in ["binary", "screen"] {
        assert_eq!(on_a_terminal(&["cat", file, name]), (Some(4), Vec::new()));
        assert_eq!(on_a_terminal(&["cat", file, name, "--decoded"]).0, Some(0));
        assert_eq!(vldepot(&["cat", file, name]).status.code(), Some(0));
    }
    assert_eq!(on_a_terminal(&["cat", file, "screen", "-f"]), (Some(0), b"clear \x1b[2J".to_vec()));
    assert_eq!(on_a_terminal(&["cat", file, "none"]).0, Some(3));
}

/// The section of a verb in the reference, with those that it leads to.
fn reference(verb: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/command.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = |verb: &str| {
        let start = page.find(&format!("\n## {verb}\n")).unwrap_or_else(|| panic!("no section {verb}"));
        let rest = &page[start + 1..];
        rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
    };
    let own = section(verb);
    let linked = own.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    let linked: Vec<_> = linked.filter(|other| other.chars().all(char::is_alphabetic)).map(section).collect();
    format!("{own}{}", linked.concat())
}

#[test]
fn every_member_of_a_json_object_is_in_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("files")).unwrap();
    std::fs::write(path("files/a"), b"a").unwrap();
    std::fs::create_dir(path("files/b")).unwrap();
    depot(Path::new(&path("run.vld")));
    let (run, a, files) = (path("run.vld"), path("a.vld"), path("files"));
    let mut bytes = std::fs::read(&run).unwrap();
    let (new, copy) = (path("new.vld"), path("copy.vld"));
    bytes[60_000] ^= 1;
    std::fs::write(path("bad.vld"), bytes).unwrap();
    let bad = path("bad.vld");
    for args in [
        &["create", &a, "-C", &files, "."][..],
        &["add", &a, "-C", &files, "a"],
        &["list", &a],
        &["find", &a],
        &["du", &a, "-a"],
        &["tree", &a],
        &["stat", &a, "a", "b"],
        &["mv", &a, "a", "c"],
        &["rm", &a, "c"],
        &["extract", &a, "-C", &path("out")],
        &["truncate", &run, "--after", "frame_30"],
        &["truncate", &run, "--undo"],
        &["compact", &run, "-n"],
        &["compact", &run],
        &["subset", &run, &copy, "-i", "*7"],
        &["merge", "-o", &path("merged.vld"), &run, &copy, "--replace"],
        &["diff", &run, &copy],
        &["sync", &files, &a, "-v"],
        &["sync", &run, &copy, "-v"],
        &["bench", &run, "--seconds", "0"],
        &["verify", &bad],
        &["repair", &bad, &new],
    ] {
        let output = vldepot(&[args, &["--json"]].concat());
        let found = lines(&output.stdout);
        assert!(!found.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let reference = reference(args[0]);
        for member in found.iter().flat_map(|line| line.as_object().unwrap().keys()) {
            assert!(
                reference.contains(&format!("`{member}`")),
                "command.md does not tell of {member} of {}",
                args[0]
            );
        }
    }
}

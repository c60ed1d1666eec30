//! Files of more than 4 GiB, with little memory.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const LEN: u64 = (4 << 30) + 12_345;

/// KiB of address space: a part of what the file has. The code, and the stacks and arenas of threads that
/// are reserved and not used, count too.
const ADDRESS_SPACE: &str = "1000000";

/// Runs the command with little memory, and returns what it printed.
fn run(folder: &Path, args: &[&str]) -> String {
    let limited = format!("ulimit -v {ADDRESS_SPACE} && exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_vldepot")]).args(args).current_dir(folder);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "vldepot {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Checks the file, which is zeros but for its ends.
fn check(path: &Path) {
    let mut file = File::open(path).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), LEN);
    assert!(metadata.blocks() < 1 << 15, "zeros are holes: {} blocks", metadata.blocks());
    let mut first = [0; 6];
    file.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first\0");
    file.seek(SeekFrom::End(-5)).unwrap();
    let mut last = [0; 5];
    file.read_exact(&mut last).unwrap();
    assert_eq!(&last, b"\0last");
}

#[test]
fn a_file_of_more_than_4_gib_goes_everywhere_with_little_memory() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("data")).unwrap();
    let file = File::create(folder.join("data/large")).unwrap();
    file.set_len(LEN).unwrap();
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b"last", LEN - 4).unwrap();
    fs::write(folder.join("data/small"), b"small").unwrap();

    run(folder, &["create", "a.vld", "data"]);
    assert!(fs::metadata(folder.join("a.vld")).unwrap().len() < 1 << 20);
    assert!(run(folder, &["verify", "a.vld"]).starts_with("whole: 3 of 3 records read (4 GiB)"));
    let found = run(folder, &["find", "a.vld", "--size", "+4G", "--json"]);
    assert!(found.contains("\"data/large\"") && found.contains(&LEN.to_string()), "{found}");
    run(folder, &["extract", "a.vld", "-C", "out"]);
    check(&folder.join("out/data/large"));

    // Changed, moved, copied, packed otherwise: always the same file.
    run(folder, &["mv", "a.vld", "data/large", "moved/large"]);
    run(folder, &["compact", "a.vld"]);
    run(folder, &["merge", "-o", "b.vld", "a.vld"]);
    run(folder, &["reshard", "b.vld", "shards", "-s", "100k"]);
    run(folder, &["subset", "shards", "c.vld", "-x", "small"]);
    run(folder, &["repair", "c.vld", "d.vld"]);
    run(folder, &["convert", "d.vld", "e.tar.zst"]);
    run(folder, &["convert", "e.tar.zst", "f.vld", "--max-ratio", "1000000"]);
    let alike = run(folder, &["diff", "d.vld", "f.vld", "-i", "large"]);
    assert_eq!(alike, "0 only in the first, 0 only in the second, 0 differ, 1 alike\n");
    run(folder, &["extract", "f.vld", "moved", "-C", "again"]);
    check(&folder.join("again/moved/large"));

    // A pipe that is not read to its end.
    let mut cat = Command::new(env!("CARGO_BIN_EXE_vldepot"))
        .args(["cat", "f.vld", "moved/large"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 5];
    cat.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    cat.wait().unwrap();

    // A small one in its place, and a folder with the same bytes and more.
    let mut small = File::create(folder.join("data/large")).unwrap();
    small.write_all(b"now small").unwrap();
    run(folder, &["add", "f.vld", "data"]);
    run(folder, &["rm", "f.vld", "moved", "-r"]);
    assert_eq!(run(folder, &["cat", "f.vld", "data/large"]), "now small");
    assert!(run(folder, &["verify", "f.vld"]).starts_with("whole: 3 of 3 records read (14 bytes)"));
}

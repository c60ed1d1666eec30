//! Archives as folders that other programs read. B16 of the list of what users of Barecat need.
#![cfg(all(feature = "mount", target_os = "linux"))]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use vldepot::archive::Archive;
use vldepot::{Depot, Raw};

fn vldepot(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vldepot"));
    command.current_dir(folder).args(args);
    command
}

fn exits(code: i32, folder: &Path, args: &[&str]) -> String {
    let output = vldepot(folder, args).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "vldepot {args:?}: {error}");
    error
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

/// A command that shows an archive at `m`.
struct Mount {
    child: Child,
    /// Held: a command whose output is closed would fail.
    _output: BufReader<std::process::ChildStdout>,
    at: PathBuf,
}

impl Mount {
    /// `None` where nobody may mount, which is told.
    fn new(folder: &Path, archive: &str) -> Option<Self> {
        let at = folder.join("m");
        fs::create_dir_all(&at).unwrap();
        let mut child = vldepot(folder, &["mount", archive, "m"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(4), "{error}");
            let may_not = ["not permitted", "Permission denied", "has no /dev/fuse"];
            assert!(may_not.iter().any(|reason| error.contains(reason)), "{error}");
            println!("SKIPPED: {}", error.trim_end());
            return None;
        }
        assert_eq!(line, format!("{archive}: mounted at m, until it is unmounted or interrupted\n"));
        Some(Self { child, _output: output, at })
    }

    fn is_mounted(&self) -> bool {
        let at = self.at.to_str().unwrap();
        fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!(" {at} fuse"))
    }

    /// Ends the command by a signal. Returns its exit code, and what it said.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        self.send(signal);
        self.wait()
    }

    fn send(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn wait(&mut self) -> (Option<i32>, String) {
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let code = self.child.wait().unwrap().code();
        assert!(!self.is_mounted());
        (code, error)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.send("-TERM");
            let _ = self.child.wait();
        }
    }
}

/// What a program sees of a path: mode, time, owner, and bytes or where a link leads.
type Seen = (u32, i64, i64, (u32, u32), Vec<u8>);

fn seen(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert_eq!(entry.file_type().unwrap(), metadata.file_type(), "{}", path.display());
            let bytes = if metadata.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_vec()
            } else {
                fs::read(&path).unwrap()
            };
            if !metadata.is_dir() {
                assert_eq!(metadata.size(), bytes.len() as u64, "{}", path.display());
            }
            let owner = (metadata.uid(), metadata.gid());
            let of_all = (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), owner, bytes);
            all.insert(path.strip_prefix(folder).unwrap().to_owned(), of_all);
        }
    }
    all
}

/// A folder `data` with files of all kinds, and the folder it is in.
fn place() -> TempDir {
    let place = TempDir::new().unwrap();
    let data = place.path().join("data");
    fs::create_dir_all(data.join("many")).unwrap();
    fs::create_dir_all(data.join("a/b/empty")).unwrap();
    // More than the kernel asks for at once.
    for n in 0..1500 {
        fs::write(data.join(format!("many/file with a name of some length {n}")), n.to_string()).unwrap();
    }
    fs::write(data.join("a/none"), b"").unwrap();
    fs::write(data.join("a/long"), noise(1, 3_000_000)).unwrap();
    fs::write(data.join("a/text"), "0123456789\n".repeat(200_000)).unwrap();
    fs::write(data.join("a/ä 日本\n"), b"x").unwrap();
    fs::write(data.join(std::ffi::OsStr::from_bytes(b"a/\xff\xfe")), b"y").unwrap();
    symlink("../a/none", data.join("a/link")).unwrap();
    symlink("/no/where", data.join("a/dangling")).unwrap();
    fs::set_permissions(data.join("a/none"), fs::Permissions::from_mode(0o640)).unwrap();
    let old = SystemTime::UNIX_EPOCH - Duration::new(1000, 5);
    File::options().write(true).open(data.join("a/none")).unwrap().set_modified(old).unwrap();
    fs::set_permissions(data.join("a/b/empty"), fs::Permissions::from_mode(0o700)).unwrap();
    place
}

#[test]
fn a_mounted_archive_is_the_folder_it_was_made_of() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "-C", "data", "a", "many"]);
    let Some(mount) = Mount::new(folder, "a.vld") else { return };
    let (expected, found) = (seen(&folder.join("data")), seen(&mount.at));
    let names = |all: &BTreeMap<PathBuf, Seen>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (path, expected) in &expected {
        assert!(found[path] == *expected, "{} differs", path.display());
    }
    // Again, of what the kernel keeps.
    assert!(seen(&mount.at) == expected);

    for name in ["long", "text"] {
        let whole = fs::read(folder.join("data/a").join(name)).unwrap();
        let file = File::open(mount.at.join("a").join(name)).unwrap();
        for at in (0..whole.len()).rev().step_by(97_531) {
            let mut part = vec![0; 70_000.min(whole.len() - at)];
            file.read_exact_at(&mut part, at as u64).unwrap();
            assert!(part == whole[at..at + part.len()], "{name} from {at}");
        }
        assert_eq!(file.read_at(&mut [0], whole.len() as u64 + 5).unwrap(), 0);
    }

    let refused = |done: std::io::Result<()>| {
        assert_eq!(done.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    };
    refused(fs::write(mount.at.join("a/none"), b"x"));
    refused(fs::write(mount.at.join("new"), b"x"));
    refused(fs::remove_file(mount.at.join("a/none")));
    refused(fs::create_dir(mount.at.join("new")));
    refused(fs::rename(mount.at.join("a/none"), mount.at.join("a/other")));
    refused(fs::set_permissions(mount.at.join("a/none"), fs::Permissions::from_mode(0o600)));
    assert_eq!(fs::metadata(mount.at.join("a/no")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(mount.end("-TERM"), (Some(0), String::new()));
    assert_eq!(fs::read_dir(folder.join("m")).unwrap().count(), 0);
}

#[test]
fn it_ends_by_a_signal_also_while_it_is_read_and_when_it_is_unmounted() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "-C", "data", "a"]);
    let Some(mount) = Mount::new(folder, "a.vld") else { return };
    let at = mount.at.clone();
    let file = File::open(at.join("a/long")).unwrap();
    assert_eq!(mount.end("-INT"), (Some(0), String::new()));
    assert!(file.read_at(&mut [0; 10], 2_000_000).is_err());
    drop(file);

    let mut mount = Mount::new(folder, "a.vld").unwrap();
    assert!(mount.is_mounted());
    let unmounted = Command::new("umount").arg(&at).status();
    if unmounted.is_ok_and(|status| status.success()) {
        assert_eq!(mount.wait(), (Some(0), String::new()));
    } else {
        println!("SKIPPED: this user cannot run umount");
    }
}

#[test]
fn damage_is_an_error_of_its_file_alone() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    let bytes = noise(7, 500_000);
    let archive = Archive::create(folder.join("a.vld")).unwrap();
    archive.write("good", b"good").unwrap();
    archive.write("bad", &bytes).unwrap();
    archive.write("other", &noise(8, 500_000)).unwrap();
    archive.close().unwrap();
    let mut file = fs::read(folder.join("a.vld")).unwrap();
    let middle = &bytes[250_000..250_016];
    // Incompressible bytes are stored as they are.
    let at = file.windows(16).position(|window| window == middle).unwrap();
    file[at] ^= 1;
    fs::write(folder.join("a.vld"), file).unwrap();

    let Some(mount) = Mount::new(folder, "a.vld") else { return };
    let error = fs::read(mount.at.join("bad")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    // What is before and after the damage can be read.
    let file = File::open(mount.at.join("bad")).unwrap();
    for at in [0, 400_000] {
        let mut part = vec![0; 100_000];
        file.read_exact_at(&mut part, at as u64).unwrap();
        assert!(part == bytes[at..at + part.len()], "from {at}");
    }
    assert_eq!(fs::read(mount.at.join("good")).unwrap(), b"good");
    assert!(fs::read(mount.at.join("other")).unwrap() == noise(8, 500_000));
    assert_eq!(fs::read_dir(&mount.at).unwrap().count(), 3);
    let (code, said) = mount.end("-TERM");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("vldepot: bad: a.vld: record \"bad\": chunk 0, block "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_is_left_of_an_archive_that_lost_its_end_is_shown() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    let archive = Archive::create(folder.join("a.vld")).unwrap();
    archive.write("a/first", b"first").unwrap();
    archive.commit().unwrap();
    archive.write("lost", &noise(1, 3_000_000)).unwrap();
    archive.close().unwrap();
    let file = fs::read(folder.join("a.vld")).unwrap();
    fs::write(folder.join("a.vld"), &file[..1_500_000]).unwrap();
    let Some(mount) = Mount::new(folder, "a.vld") else { return };
    assert_eq!(fs::read(mount.at.join("a/first")).unwrap(), b"first");
    assert_eq!(seen(&mount.at).into_keys().collect::<Vec<_>>(), ["a", "a/first"].map(PathBuf::from));
    // Whether it was there, nobody knows.
    assert_eq!(fs::read(mount.at.join("lost")).unwrap_err().raw_os_error(), Some(5));
    let (code, said) = mount.end("-TERM");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("what it had is missing"), "{said}");
}

#[test]
fn records_that_no_path_leads_to_are_left_out_and_counted() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    let depot = Depot::create(folder.join("a.vld"), Raw).unwrap();
    for name in ["ok", "../out", "/absolute", "a//b", "both", "both/file", "c/./d", "sub/ok"] {
        depot.put(name, name.as_bytes()).unwrap();
    }
    depot.put("n".repeat(2000), b"").unwrap();
    depot.put(b"text".as_slice(), b"").unwrap();
    depot.put(17, b"").unwrap();
    depot.close().unwrap();
    let Some(mount) = Mount::new(folder, "a.vld") else { return };
    let names: Vec<_> = seen(&mount.at).into_keys().collect();
    let expected = ["a", "both", "c", "ok", "sub", "sub/ok"].map(PathBuf::from);
    assert_eq!(names, expected);
    let (code, said) = mount.end("-TERM");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 record left out: named by numbers, not by paths\n"), "{said}");
    assert!(said.contains("vldepot: .: 5 records left out: no path leads there\n"), "{said}");
    assert!(said.contains("vldepot: a: 1 record left out: no path leads there\n"), "{said}");
}

#[test]
fn a_folder_of_shards_is_mounted_too() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("data")).unwrap();
    for n in 0..40 {
        fs::write(folder.join(format!("data/{n}")), noise(n, 8000)).unwrap();
    }
    exits(0, folder, &["create", "shards", "-C", "data", ".", "--shard-size", "100k"]);
    let Some(mount) = Mount::new(folder, "shards") else { return };
    assert!(seen(&mount.at) == seen(&folder.join("data")));
    assert_eq!(mount.end("-HUP"), (Some(0), String::new()));
}

#[test]
fn it_mounts_at_an_empty_folder_only() {
    let place = place();
    let folder = place.path();
    exits(0, folder, &["create", "a.vld", "-C", "data", "a"]);
    fs::create_dir(folder.join("empty")).unwrap();
    assert!(exits(2, folder, &["mount", "a.vld", "data"]).contains("data: not empty"));
    assert!(exits(2, folder, &["mount", "a.vld", "a.vld"]).contains("a.vld: not a folder"));
    exits(3, folder, &["mount", "a.vld", "nothing"]);
    exits(3, folder, &["mount", "nothing.vld", "empty"]);
    exits(2, folder, &["mount", "a.vld"]);
}

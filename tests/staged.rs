//! New files appear whole or not at all, replace only what they were meant to replace, and are open to
//! nobody else.
//!
//! `VLDEPOT_LONG_TESTS=1` kills many more.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use vldepot::maintain::{RepairOptions, VerifyOptions, compact, repair, verify};
use vldepot::storage::StagedFile;
use vldepot::{Depot, Error, ErrorKind, Layout, Raw};

const RECORDS: u32 = 300;

fn payload(n: u32) -> Vec<u8> {
    let mut state = n.wrapping_mul(2_654_435_761) | 1;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..3000).map(|_| byte()).collect()
}

fn options() -> Layout {
    Layout::default().with_chunk_size(1 << 16).with_block_size(1 << 14)
}

fn fill(depot: &Depot<Raw>, from: u32) -> Result<(), Error> {
    (from..from + RECORDS).try_for_each(|n| depot.put(n, &payload(n)))
}

/// A depot of records whose names start at `from`.
fn depot(path: &Path, from: u32) {
    let depot = Depot::builder(Raw).layout(options()).create(path).unwrap();
    fill(&depot, from).unwrap();
    depot.close().unwrap();
}

/// The first name in a depot, which must be whole.
fn whole(path: &Path) -> u32 {
    let report = verify(path, &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole() && report.records == u64::from(RECORDS), "{}: {report:?}", path.display());
    let depot = Depot::open(path, Raw).unwrap();
    let first = depot.key_at(0).unwrap().to_string().parse().unwrap();
    for n in (first..first + RECORDS).step_by(17) {
        assert!(depot.get(n).unwrap().view() == payload(n));
    }
    first
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The one file in the folder that is a staged file, or was left by one.
fn staged(folder: &Path) -> Option<PathBuf> {
    let mut found = names(folder).into_iter().filter(|name| name.contains(".vldepot-"));
    let one = found.next();
    assert_eq!(found.next(), None);
    one.map(|name| folder.join(name))
}

fn convert(path: &Path, from: u32) -> Result<(), Error> {
    let new = StagedFile::replace(path)?;
    let depot = Depot::builder(Raw).layout(options()).create_in(new.storage())?;
    fill(&depot, from)?;
    depot.close()?;
    new.publish()
}

#[test]
fn a_newer_file_moved_in_meanwhile_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, newer) = (folder.path().join("run.vld"), folder.path().join("newer"));
    depot(&path, 0);
    fs::write(&newer, b"newer").unwrap();
    let mut moved = false;
    let error = compact(&path, |_| {
        if !moved {
            moved = true;
            fs::rename(&newer, &path).unwrap();
        }
    })
    .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotCompacted), "{error:?}");
    let source: &Error = error.source().unwrap().downcast_ref().unwrap();
    assert!(matches!(source.kind(), ErrorKind::TargetChanged { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"newer");

    let new = StagedFile::create(folder.path().join("other")).unwrap();
    fs::write(folder.path().join("other"), b"newer").unwrap();
    assert!(matches!(new.publish(), Err(error) if matches!(error.kind(), ErrorKind::PathExists)));
    assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"newer");
    assert_eq!(names(folder.path()), ["other", "run.vld"]);
}

#[test]
fn a_file_that_was_removed_or_written_to_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    fs::write(&path, b"old").unwrap();
    let new = StagedFile::replace(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(new.publish(), Err(error) if matches!(error.kind(), ErrorKind::TargetChanged { .. })));
    assert!(!path.exists());

    // A program that asks for no lock writes the file.
    fs::write(&path, b"old").unwrap();
    let new = StagedFile::replace(&path).unwrap();
    fs::write(&path, b"newer").unwrap();
    assert!(matches!(new.publish(), Err(error) if matches!(error.kind(), ErrorKind::TargetChanged { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(names(folder.path()), ["run.vld"]);
}

#[test]
fn a_file_that_a_writer_has_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    depot(&path, 0);
    let writer = Depot::append(&path, Raw).unwrap();
    assert!(matches!(StagedFile::replace(&path), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    assert!(matches!(compact(&path, |_| {}), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    writer.close().unwrap();
    // The other way round: nobody can write to a file that is about to be replaced, or to one that is
    // not in place yet.
    let new = StagedFile::replace(&path).unwrap();
    assert!(matches!(Depot::append(&path, Raw), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    let depot = Depot::builder(Raw).layout(options()).create_in(new.storage()).unwrap();
    assert!(matches!(new.publish(), Err(error) if matches!(error.kind(), ErrorKind::StillOpen)));
    drop(depot);
    convert(&path, 1000).unwrap();
    assert_eq!(whole(&path), 1000);
    Depot::append(&path, Raw).unwrap().close().unwrap();
    assert_eq!(names(folder.path()), ["run.vld"]);
}

#[test]
fn what_failed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("noise"), folder.path().join("new.vld"));
    fs::write(&from, payload(7)).unwrap();
    assert!(repair(&from, &to, &RepairOptions::default(), |_| {}).is_err());
    let memory = Depot::memory(Raw).unwrap();
    assert!(matches!(memory.save(&from), Err(error) if matches!(error.kind(), ErrorKind::PathExists)));
    assert!(
        matches!(memory.save(folder.path().join("none/new.vld")), Err(error) if matches!(error.kind(), ErrorKind::Io { .. }))
    );
    drop(StagedFile::create(&to).unwrap());
    assert_eq!(names(folder.path()), ["noise"]);
}

#[test]
fn a_repaired_file_is_never_the_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.vld");
    depot(&path, 0);
    let bytes = fs::read(&path).unwrap();
    let mut others = vec![
        path.clone(),
        folder.path().join("../").join(folder.path().file_name().unwrap()).join("run.vld"),
    ];
    #[cfg(unix)]
    {
        let (link, hard) = (folder.path().join("link"), folder.path().join("hard"));
        std::os::unix::fs::symlink("run.vld", &link).unwrap();
        fs::hard_link(&path, &hard).unwrap();
        others.extend([link, hard]);
    }
    for to in others {
        let error = repair(&path, &to, &RepairOptions::default(), |_| {}).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::SameFile { .. }), "{error:?}");
        assert!(fs::read(&path).unwrap() == bytes);
    }
}

#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    const JOB: &str = "VLDEPOT_STAGED_JOB";
    const FOLDER: &str = "VLDEPOT_STAGED_FOLDER";
    const OTHER_USER: &str = "VLDEPOT_STAGED_OTHER_USER";
    const TMPFS: &str = "VLDEPOT_STAGED_TMPFS";

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 1 << 10];
        let len = rustix::fs::getxattr(path, name, &mut value).ok()?;
        value.truncate(len);
        Some(value)
    }

    fn set_attribute(path: &Path, name: &str, value: &[u8]) -> bool {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).is_ok()
    }

    const LIST: &str = "system.posix_acl_access";

    /// Version 2: read and write for the owner; read for user 1001, the group and the mask; nothing for
    /// others.
    fn access_list() -> Vec<u8> {
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 4, 1001), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend_from_slice(&tag.to_le_bytes());
            list.extend_from_slice(&permissions.to_le_bytes());
            list.extend_from_slice(&id.to_le_bytes());
        }
        list
    }

    #[test]
    fn a_replaced_file_keeps_its_owner_group_permissions_and_attributes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        for wanted in [0o600, 0o640, 0o644, 0o666] {
            depot(&path, 0);
            let root = chown(&path, Some(12_345), Some(23_456)).is_ok();
            set_mode(&path, wanted);
            let has_attributes = set_attribute(&path, "user.note", b"argon");
            let has_list = wanted == 0o640 && set_attribute(&path, LIST, &access_list());
            for compacting in [true, false] {
                if compacting {
                    compact(&path, |_| {}).unwrap();
                } else {
                    convert(&path, 1000).unwrap();
                }
                assert_eq!(mode(&path), wanted);
                if root {
                    let found = fs::metadata(&path).unwrap();
                    assert_eq!((found.uid(), found.gid()), (12_345, 23_456));
                }
                let note = has_attributes.then(|| b"argon".to_vec());
                assert_eq!(attribute(&path, "user.note"), note);
                assert_eq!(attribute(&path, LIST), has_list.then(access_list));
            }
            fs::remove_file(&path).unwrap();
        }
    }

    /// Not a test of its own: runs as a user who may write the file, but may not give the new one its
    /// owner and group.
    #[test]
    fn other_user_process() {
        let Some(path) = std::env::var_os(OTHER_USER).map(PathBuf::from) else { return };
        // SAFETY: these calls take numbers, and this process has no other thread that counts on being root.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!((libc::setgid(7777), libc::setuid(7777)), (0, 0));
        }
        compact(&path, |_| {}).unwrap();
    }

    #[test]
    fn a_file_that_cannot_keep_its_group_is_open_to_no_more_for_it() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o777);
        let path = folder.path().join("run.vld");
        depot(&path, 0);
        if chown(&path, Some(12_345), Some(23_456)).is_err() {
            println!("not root: nobody else to be");
            return;
        }
        // The test itself lies in a folder that only root can read. Another process copies it: a file that
        // this one writes to is open in every child that other tests start meanwhile, and then it cannot be
        // run.
        let binary = folder.path().join("test");
        let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&binary).status();
        assert!(copied.unwrap().success());
        for (before, list, after) in [(0o666, false, 0o666), (0o676, false, 0o666), (0o666, true, 0o600)] {
            chown(&path, Some(12_345), Some(23_456)).unwrap();
            if list {
                let mut list = access_list();
                // Others may write.
                list[4 + 4 * 8 + 2] = 6;
                if !set_attribute(&path, LIST, &list) {
                    continue;
                }
            }
            set_mode(&path, before);
            let status = Command::new(&binary)
                .args(["--exact", "unix::other_user_process", "--test-threads=1"])
                .env(OTHER_USER, &path)
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success());
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), mode(&path)), (7777, 7777, after));
        }
    }

    /// Panics if anyone but the owner can read a file of the folder.
    fn all_private(folder: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap().flatten() {
            assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{}", entry.path().display());
            files += 1;
        }
        files
    }

    #[test]
    fn a_private_depot_is_at_no_moment_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new, saved) =
            ["run.vld", "new.vld", "saved.vld"].map(|name| folder.path().join(name)).into();
        depot(&path, 0);
        set_mode(&path, 0o600);
        let mut most = 0;
        compact(&path, |_| most = most.max(all_private(folder.path()))).unwrap();
        repair(&path, &new, &RepairOptions::default(), |_| most = most.max(all_private(folder.path())))
            .unwrap();
        assert_eq!(most, 2, "the new file lies beside the others while it is written");
        Depot::open(&path, Raw).unwrap().save(&saved).unwrap();
        assert_eq!(all_private(folder.path()), 3);
        // A file that is not private is private while it is written.
        set_mode(&path, 0o644);
        compact(&path, |_| {
            if let Some(staged) = staged(folder.path()) {
                assert_eq!(mode(&staged), 0o600);
            }
        })
        .unwrap();
        assert_eq!(mode(&path), 0o644);
    }

    #[test]
    fn a_list_that_the_folder_hands_on_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        depot(&path, 0);
        set_mode(&path, 0o640);
        if !set_attribute(folder.path(), "system.posix_acl_default", &access_list()) {
            println!("no access control lists here");
            return;
        }
        compact(&path, |_| {}).unwrap();
        assert_eq!((mode(&path), attribute(&path, LIST)), (0o640, None));
    }

    #[test]
    fn the_file_behind_a_link_is_replaced_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let (path, link) = (elsewhere.path().join("run.vld"), folder.path().join("link.vld"));
        depot(&path, 0);
        symlink(&path, &link).unwrap();
        convert(&link, 1000).unwrap();
        assert!(link.is_symlink());
        assert_eq!(whole(&path), 1000);
        compact(&link, |_| {}).unwrap();
        assert!(link.is_symlink());
        assert_eq!(
            (names(folder.path()), names(elsewhere.path())),
            (vec!["link.vld".into()], vec!["run.vld".into()])
        );

        let nowhere = folder.path().join("nowhere.vld");
        symlink("none", &nowhere).unwrap();
        assert!(
            matches!(StagedFile::create(&nowhere), Err(error) if matches!(error.kind(), ErrorKind::PathExists))
        );
        assert!(
            matches!(StagedFile::replace(&nowhere), Err(error) if matches!(error.kind(), ErrorKind::NotAFile { .. }))
        );
        assert!(
            matches!(Depot::memory(Raw).unwrap().save(&nowhere), Err(error) if matches!(error.kind(), ErrorKind::PathExists))
        );
        assert!(nowhere.is_symlink());
    }

    #[test]
    fn other_names_keep_the_old_file_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("run.vld"), folder.path().join("other.vld"));
        depot(&path, 0);
        fs::hard_link(&path, &other).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(compact(&path, |_| {}).unwrap().other_names, 1);
        assert!(fs::read(&other).unwrap() == bytes);
        assert_eq!(compact(&path, |_| {}).unwrap().other_names, 0);
    }

    #[test]
    fn what_is_no_file_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (link, source) = (folder.path().join("link"), folder.path().join("run.vld"));
        symlink("/dev/null", &link).unwrap();
        depot(&source, 0);
        for path in [folder.path(), &pipe, Path::new("/dev/null"), &link] {
            assert!(
                matches!(StagedFile::replace(path), Err(error) if matches!(error.kind(), ErrorKind::NotAFile { .. })),
                "{}",
                path.display()
            );
            assert!(
                matches!(compact(path, |_| {}), Err(error) if matches!(error.kind(), ErrorKind::NotAFile { .. })),
                "{}",
                path.display()
            );
            assert!(
                matches!(StagedFile::create(path), Err(error) if matches!(error.kind(), ErrorKind::PathExists)),
                "{}",
                path.display()
            );
            let options = RepairOptions::default();
            assert!(
                matches!(repair(&source, path, &options, |_| {}), Err(error) if matches!(error.kind(), ErrorKind::PathExists))
            );
            let new = folder.path().join("new");
            assert!(
                matches!(repair(path, &new, &options, |_| {}), Err(error) if matches!(error.kind(), ErrorKind::NotAFile { .. }))
            );
        }
        assert_eq!(names(folder.path()), ["link", "pipe", "run.vld"]);
    }

    /// Not a test of its own: the process that is killed. Each job reports when it is halfway.
    #[test]
    fn staged_process() {
        let (Ok(job), Some(folder)) = (std::env::var(JOB), std::env::var_os(FOLDER)) else { return };
        let folder = PathBuf::from(folder);
        let (old, new) = (folder.join("old.vld"), folder.join("new.vld"));
        let tell = || {
            println!("at work");
            std::io::stdout().flush().unwrap();
        };
        let mut rounds = 0;
        loop {
            tell();
            match job.as_str() {
                "compact" => {
                    compact(&old, |_| {}).unwrap();
                }
                "repair" => drop(repair(&old, &new, &RepairOptions::default(), |_| {}).unwrap()),
                "save" => Depot::open(&old, Raw).unwrap().save(&new).unwrap(),
                "replace" => convert(&old, 1000 * (rounds % 2)).unwrap(),
                // Never finishes.
                "hang" => drop(compact(&old, |progress| {
                    if progress.done > 0 {
                        tell();
                        std::thread::sleep(Duration::from_secs(600));
                    }
                })),
                other => panic!("{other}"),
            }
            rounds += 1;
            if new.exists() {
                assert_eq!(whole(&new), 0);
                fs::remove_file(&new).unwrap();
            }
        }
    }

    fn start(job: &str, folder: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "unix::staged_process", "--nocapture", "--test-threads=1"])
            .env(JOB, job)
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // A job in the background of a shell ignores interrupts, and the child would inherit that.
        let default = || {
            for signal in [libc::SIGINT, libc::SIGTERM] {
                // SAFETY: the call takes numbers, and may be made between fork and exec.
                if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the closure calls nothing else, allocates nothing and takes no lock.
        unsafe { command.pre_exec(default) };
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        (child, lines.filter(|line| line.ends_with("at work")))
    }

    fn end(mut child: Child, signal: i32) {
        // SAFETY: the number is that of a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
        child.wait().unwrap();
    }

    #[test]
    fn a_killed_producer_leaves_the_target_absent_or_whole() {
        let kills = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 150 } else { 5 };
        let mut random = 99_u64;
        for job in ["compact", "repair", "save", "replace"] {
            let (mut unfinished, mut there) = (0, 0);
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = (folder.path().join("old.vld"), folder.path().join("new.vld"));
            depot(&old, 0);
            let mine = folder.path().join("old.vld.compacting");
            fs::write(&mine, b"mine").unwrap();
            for kill in 0..kills {
                let (child, mut lines) = start(job, folder.path());
                lines.next().expect("it works");
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                std::thread::sleep(Duration::from_micros((random >> 33) % 120_000));
                end(child, [libc::SIGKILL, libc::SIGTERM, libc::SIGINT][kill % 3]);
                unfinished += usize::from(staged(folder.path()).is_some());
                let first = whole(&old);
                assert!(first == 0 || (job == "replace" && first == 1000), "{job}: {first}");
                if new.exists() {
                    assert_eq!(whole(&new), 0, "{job}");
                    fs::remove_file(&new).unwrap();
                    there += 1;
                }
            }
            // The next run finishes, and removes what the last one left.
            match job {
                "compact" | "replace" => {
                    compact(&old, |_| {}).unwrap();
                }
                _ => drop(repair(&old, &new, &RepairOptions::default(), |_| {}).unwrap()),
            }
            assert_eq!(staged(folder.path()), None, "{job}");
            assert_eq!(fs::read(&mine).unwrap(), b"mine");
            println!("{job}: {kills} kills, {unfinished} unfinished files, {there} targets: nothing torn");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_no_depot_and_a_live_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.vld");
        depot(&old, 0);
        let (child, mut lines) = start("hang", folder.path());
        lines.nth(1).expect("it is in its midst");
        let at_work = staged(folder.path()).expect("the new file is being written");
        // What somebody who finds that file would try.
        let refused = |path: &Path| {
            assert!(
                matches!(Depot::open(path, Raw), Err(error) if matches!(error.kind(), ErrorKind::NotADepot { .. }))
            );
            assert!(
                matches!(verify(path, &VerifyOptions::default(), |_| {}), Err(error) if matches!(error.kind(), ErrorKind::NotADepot { .. }))
            );
        };
        refused(&at_work);
        assert!(matches!(compact(&old, |_| {}), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
        assert!(
            matches!(StagedFile::create(&old), Err(error) if matches!(error.kind(), ErrorKind::PathExists))
        );
        assert!(at_work.exists());
        end(child, libc::SIGKILL);
        refused(&at_work);
        compact(&old, |_| {}).unwrap();
        assert_eq!((whole(&old), names(folder.path())), (0, vec!["old.vld".into()]));
    }

    #[test]
    fn a_fork_leaves_the_new_file_to_its_maker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        let new = StagedFile::create(&path).unwrap();
        // SAFETY: the child calls nothing but what drops the value and ends it.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let refused =
                matches!(new.publish(), Err(error) if matches!(error.kind(), ErrorKind::Forked { .. }));
            // SAFETY: ends this process without running anything of its parent's.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above, and writes to the number that lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        let depot = Depot::builder(Raw).layout(options()).create_in(new.storage()).unwrap();
        fill(&depot, 0).unwrap();
        depot.close().unwrap();
        new.publish().unwrap();
        assert_eq!(whole(&path), 0);
    }

    /// Not a test of its own: runs where it may mount a small disk.
    #[test]
    fn tmpfs_process() {
        let Some(folder) = std::env::var_os(TMPFS).map(PathBuf::from) else { return };
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs"])
            .arg(&folder)
            .output();
        if !mounted.is_ok_and(|mount| mount.status.success()) {
            println!("mounting is refused here");
            return;
        }
        let path = folder.join("run.vld");
        depot(&path, 0);
        let bytes = fs::read(&path).unwrap();
        let unchanged = |others: &[&str]| {
            assert!(fs::read(&path).unwrap() == bytes);
            assert_eq!(names(&folder), others);
        };
        fs::write(folder.join("ballast"), vec![1; 1500 << 10]).unwrap();
        let no_room = |error: &Error| match error.kind() {
            ErrorKind::NoRoom { needed, free } => (600_000..1 << 20).contains(needed) && free < needed,
            _ => false,
        };
        let error = compact(&path, |_| {}).unwrap_err();
        let source = error.source().and_then(|source| source.downcast_ref());
        assert!(matches!(error.kind(), ErrorKind::NotCompacted) && source.is_some_and(no_room), "{error:?}");
        let error = repair(&path, folder.join("new"), &RepairOptions::default(), |_| {}).unwrap_err();
        assert!(no_room(&error), "{error:?}");
        let error = Depot::open(&path, Raw).unwrap().save(folder.join("new")).unwrap_err();
        assert!(no_room(&error), "{error:?}");
        unchanged(&["ballast", "run.vld"]);
        // If no estimate was asked for, the disk reports it halfway.
        let error = convert(&path, 1000).unwrap_err();
        assert!(error.is_io(), "{error:?}");
        unchanged(&["ballast", "run.vld"]);
        fs::remove_file(folder.join("ballast")).unwrap();
        compact(&path, |_| {}).unwrap();
        assert_eq!((whole(&path), names(&folder)), (0, vec!["run.vld".into()]));
        println!("the disk was full");
    }

    #[test]
    fn a_full_disk_is_told_of_before_the_work_begins_and_costs_nothing() {
        for wrapper in [&["unshare", "--mount"][..], &["unshare", "--map-root-user", "--mount"]] {
            let folder = tempfile::tempdir().unwrap();
            let out = Command::new(wrapper[0])
                .args(&wrapper[1..])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "unix::tmpfs_process", "--nocapture", "--test-threads=1"])
                .env(TMPFS, folder.path())
                .output();
            let Ok(out) = out else { break };
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            if text.contains("running 1 test") {
                assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
                if text.contains("the disk was full") {
                    return;
                }
            }
        }
        println!("mounting is refused here");
    }
}

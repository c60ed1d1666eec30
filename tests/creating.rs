//! Making a depot where something is in the way: the rest of a killed attempt, another attempt at the
//! same moment, or a folder that may not be listed.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use vldepot::{Depot, Error, ErrorKind, Raw};

#[test]
fn the_empty_file_of_a_killed_creation_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vld");
    fs::write(&path, b"").unwrap();
    let depot = Depot::create(&path, Raw).unwrap();
    depot.put("a", b"alpha").unwrap();
    depot.close().unwrap();
    assert_eq!(Depot::open(&path, Raw).unwrap().get("a").unwrap().view(), b"alpha");
    assert!(
        matches!(Depot::create(&path, Raw).map(|_| ()), Err(error) if matches!(error.kind(), ErrorKind::PathExists))
    );
}

#[test]
fn of_two_creations_at_the_same_moment_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let path = folder.path().join(format!("{round}.vld"));
        // In every second round an empty file is there already.
        if round % 2 == 0 {
            fs::write(&path, b"").unwrap();
        }
        let start = Barrier::new(3);
        let create = |number: u8| {
            start.wait();
            let depot = Depot::create(&path, Raw)?;
            depot.put("who", &[number])?;
            depot.close()?;
            Ok(number)
        };
        let results = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|number| scope.spawn(move || create(number)));
            threads.map(|thread| thread.join().unwrap())
        });
        let winners: Vec<u8> = results.iter().filter_map(|result| result.as_ref().ok()).copied().collect();
        for error in results.iter().filter_map(|result: &Result<u8, Error>| result.as_ref().err()) {
            assert!(matches!(error.kind(), ErrorKind::PathExists | ErrorKind::Locked), "{error}");
        }
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(Depot::open(&path, Raw).unwrap().get("who").unwrap().view(), winners);
    }
}

/// Makes this thread another user for the files it opens. False if it may not.
#[cfg(target_os = "linux")]
fn become_another_user() -> bool {
    // SAFETY: takes integers alone; called directly it concerns this thread and no other.
    unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) == 0 }
}

fn create_and_read(path: &Path) {
    let depot = Depot::create(path, Raw).unwrap();
    depot.put("a", b"alpha").unwrap();
    depot.close().unwrap();
    assert_eq!(Depot::open(path, Raw).unwrap().get("a").unwrap().view(), b"alpha");
}

#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_may_be_written_to_and_not_be_listed_is_no_obstacle() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    // SAFETY: takes nothing, gives an integer.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(root.path(), 0o755);
    if is_root {
        std::os::unix::fs::chown(&folder, Some(65_534), None).unwrap();
    }
    mode(&folder, 0o300);
    let path = folder.join("a.vld");
    let done = std::thread::spawn(move || {
        if is_root && !become_another_user() {
            println!("SKIPPED: this process may not become another user");
            return;
        }
        assert!(fs::read_dir(path.parent().unwrap()).is_err(), "the folder cannot be listed");
        create_and_read(&path);
    });
    let done = done.join();
    mode(&folder, 0o700);
    done.unwrap();
}

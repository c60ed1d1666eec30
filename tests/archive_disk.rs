//! Files of the disk, put into an archive and written out again.
#![cfg(all(feature = "archive", unix))]

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use vldepot::archive::{AddOptions, Archive, ArchivePath, ExtractOptions, FileAttributes, Selection};
use vldepot::{Depot, Raw};

fn add(archive: &Archive, from: &Path) -> vldepot::archive::Transfer {
    archive.add(from, &ArchivePath::ROOT, &AddOptions::new().with_threads(3), |_| ()).unwrap()
}

fn extract(archive: &Archive, to: &Path) -> vldepot::archive::Transfer {
    archive.extract(&ArchivePath::ROOT, to, &ExtractOptions::new().with_threads(3), |_| ()).unwrap()
}

fn set(path: &Path, mode: u32, seconds: u64) {
    let file = File::open(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Path, mode, time, and bytes or target of all below a folder, sorted.
fn seen(folder: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let bytes = if metadata.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if metadata.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let below = path.strip_prefix(folder).unwrap().to_owned();
            all.push((below, metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), bytes));
        }
    }
    all.sort();
    all
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    for folder in ["a/b", "empty", "deep"] {
        fs::create_dir_all(from.join(folder)).unwrap();
    }
    for i in 0..500_u32 {
        let path = from.join(format!("a/file_{i}"));
        fs::write(&path, vec![i.to_le_bytes()[0]; i as usize * 7]).unwrap();
        set(&path, 0o600 | (i % 8), 1_000_000 + u64::from(i));
    }
    fs::write(from.join("large"), vec![5; 9 << 20]).unwrap();
    fs::write(from.join(std::ffi::OsStr::from_bytes(b"not \xff utf8")), b"x").unwrap();
    fs::write(from.join("name\nwith \u{1b} and ä"), b"y").unwrap();
    symlink("../a/file_3", from.join("a/link")).unwrap();
    symlink("/nowhere/at all", from.join("dangling")).unwrap();
    // Deeper than the folders that stay open.
    let mut deep = from.join("deep");
    for i in 0..100 {
        deep.push(format!("d{i}"));
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("f"), [i]).unwrap();
    }
    set(&from.join("a/b"), 0o555, 99);
    set(&from.join("a"), 0o750, 12345);
    let archive = Archive::create(place.path().join("a.vld")).unwrap();
    let added = add(&archive, &from);
    assert_eq!((added.files, added.links, added.failed), (500 + 3 + 100, 2, 0));
    archive.close().unwrap();

    let archive = Archive::open(place.path().join("a.vld")).unwrap();
    let to = place.path().join("to");
    let extracted = extract(&archive, &to);
    assert_eq!((extracted.files, extracted.links, extracted.failed), (603, 2, 0));
    assert_eq!(extracted.folders, added.folders);
    assert_eq!(seen(&to), seen(&from));
    // Once more: nothing is replaced unless that is wanted.
    let again = extract(&archive, &to);
    assert_eq!((again.files, again.failed), (0, 605));
    let options = ExtractOptions::new().overwrite();
    fs::write(to.join("large"), b"another").unwrap();
    let over = archive.extract(&ArchivePath::ROOT, &to, &options, |_| ()).unwrap();
    assert_eq!((over.files, over.links, over.failed), (603, 2, 0));
    assert_eq!(seen(&to), seen(&from));
}

#[test]
fn one_folder_or_one_file_is_added_and_extracted_alone() {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    fs::create_dir_all(from.join("x/y")).unwrap();
    fs::write(from.join("x/y/1"), b"1").unwrap();
    fs::write(from.join("x/2"), b"2").unwrap();
    let archive = Archive::memory().unwrap();
    let to = ArchivePath::new("data/set").unwrap();
    archive.add(from.join("x"), &to, &AddOptions::new(), |_| ()).unwrap();
    archive.add(from.join("x/2"), &ArchivePath::new("single").unwrap(), &AddOptions::new(), |_| ()).unwrap();
    assert_eq!(archive.read("data/set/y/1").unwrap().view(), b"1");
    assert_eq!(archive.read("single").unwrap().view(), b"2");
    let out = place.path().join("out");
    let one =
        |path: &str| archive.extract(&ArchivePath::new(path).unwrap(), &out, &ExtractOptions::new(), |_| ());
    assert_eq!(one("data/set/y").unwrap().files, 1);
    assert_eq!(one("single").unwrap().files, 1);
    assert_eq!(fs::read(out.join("data/set/y/1")).unwrap(), b"1");
    assert!(!out.join("data/set/2").exists());
    assert!(one("nothing").unwrap_err().is_not_found());
    let missing = archive.add(from.join("nothing"), &ArchivePath::ROOT, &AddOptions::new(), |_| ()).unwrap();
    assert_eq!((missing.files, missing.failed), (0, 1));
}

#[test]
fn patterns_choose() {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    for path in ["a/1.png", "a/2.txt", "cache/3.png", "b/cache/4.png", "b/5.png"] {
        fs::create_dir_all(from.join(path).parent().unwrap()).unwrap();
        fs::write(from.join(path), path).unwrap();
    }
    let archive = Archive::memory().unwrap();
    let selection = Selection::new().include("*.png").unwrap().exclude("cache").unwrap();
    let options = AddOptions::new().with_selection(selection);
    assert_eq!(archive.add(&from, &ArchivePath::ROOT, &options, |_| ()).unwrap().files, 2);
    assert!(archive.is_file("a/1.png").unwrap() && archive.is_file("b/5.png").unwrap());
    let options = ExtractOptions::new().with_selection(Selection::new().exclude("b/*").unwrap());
    let out = place.path().join("out");
    assert_eq!(archive.extract(&ArchivePath::ROOT, &out, &options, |_| ()).unwrap().files, 1);
    assert!(Selection::new().exclude("[").is_err());
}

#[test]
fn what_cannot_be_stored_is_told_and_the_rest_is_stored() {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("good"), b"..").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        from.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let huge = File::create(from.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    // The archive's own file is left out.
    let archive = Archive::create(from.join("own.vld")).unwrap();
    let added = add(&archive, &from);
    assert_eq!((added.files, added.failed), (1, 2));
    let failed: Vec<_> = added.failures.iter().map(|failure| failure.path.file_name().unwrap()).collect();
    assert_eq!(failed, ["huge", "pipe"]);
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let depot = Depot::memory(Raw).unwrap();
    for name in ["../outside/1", "/tmp/outside_2", "a/../../outside/3", "a//4", "./5", "ok", "link/6"] {
        depot.put(name, b"bad").unwrap();
    }
    let archive = Archive::new(depot);
    let none = FileAttributes::new();
    // A link and, by another hand, a file below it.
    archive
        .depot()
        .put_with_metadata("link", b"../outside", &std::collections::BTreeMap::from([("kind", "link")]))
        .unwrap();
    archive.write_link("escape", "../outside", &none).unwrap();
    let to = place.path().join("to");
    fs::create_dir(&to).unwrap();
    symlink("../outside", to.join("ok2")).unwrap();
    archive.write("ok2/7", b"bad").unwrap();
    let extracted = extract(&archive, &to);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read(to.join("ok")).unwrap(), b"bad");
    assert_eq!(fs::read_link(to.join("escape")).unwrap(), Path::new("../outside"));
    // Five names that are no paths, the link's file or the link itself, and the file below the target's link,
    // whose folder is one too.
    assert!(extracted.failed >= 7, "{:?}", extracted.failures);
    let names: Vec<_> = seen(&to).into_iter().map(|(path, ..)| path.display().to_string()).collect();
    assert!(
        names.iter().all(|name| ["ok", "ok2", "escape", "link", "link/6"].contains(&name.as_str())),
        "{names:?}"
    );
}

#[test]
fn a_damaged_record_leaves_no_file() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.vld");
    let archive = Archive::create(&path).unwrap();
    for i in 0..200_u32 {
        let bytes: Vec<u8> =
            (0..100_000_u32).map(|k| (k.wrapping_mul(2_654_435_761 + i) >> 13).to_le_bytes()[0]).collect();
        archive.write(format!("{i}"), &bytes).unwrap();
    }
    archive.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let archive = Archive::open(&path).unwrap();
    let extracted = extract(&archive, &place.path().join("to"));
    assert!(extracted.failed >= 1 && extracted.failed < 20, "{}", extracted.failed);
    assert_eq!(extracted.files + extracted.failed, 200);
    assert_eq!(seen(&place.path().join("to")).len() as u64, extracted.files);
}

#[test]
fn a_file_is_replaced_by_a_complete_one_or_stays() {
    let place = tempfile::tempdir().unwrap();
    let (path, to) = (place.path().join("a.vld"), place.path().join("to"));
    let archive = Archive::create(&path).unwrap();
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    // Written piece by piece.
    let long: Vec<u8> = (0..9_000_000).map(|_| byte()).collect();
    archive.write("long", &long).unwrap();
    archive.write("short", b"new").unwrap();
    archive.write("folder", b"a file").unwrap();
    archive.close().unwrap();
    fs::create_dir_all(to.join("folder")).unwrap();
    for name in ["long", "short", "folder/kept"] {
        fs::write(to.join(name), b"old").unwrap();
    }
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[5_000_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let options = ExtractOptions::new().overwrite();
    let archive = Archive::open(&path).unwrap();
    let entries = || archive.walk(ArchivePath::ROOT).unwrap().map(Result::unwrap);
    let done = archive.extract_entries(entries(), &to, &options, |_| ()).unwrap();
    assert_eq!((done.files, done.failed), (1, 2));
    assert_eq!(fs::read(to.join("long")).unwrap(), b"old");
    assert_eq!(fs::read(to.join("short")).unwrap(), b"new");
    assert_eq!(fs::read(to.join("folder/kept")).unwrap(), b"old");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 3, "nothing else is left");

    fs::write(&path, whole).unwrap();
    let archive = Archive::open(&path).unwrap();
    let some = archive.walk(ArchivePath::ROOT).unwrap().map(Result::unwrap);
    let some = some.filter(|entry| entry.path.as_bytes() == b"long");
    let done = archive.extract_entries(some, &to, &options, |_| ()).unwrap();
    assert_eq!((done.files, done.failed), (1, 0));
    assert!(fs::read(to.join("long")).unwrap() == long);
}

/// B19: what is added in bulk is what is added one by one.
#[test]
fn many_files_added_together_are_those_added_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..200_u64 {
        let path = root.path().join(format!("{}/{n}", n % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, n.to_le_bytes().repeat(usize::try_from(n % 50).unwrap())).unwrap();
    }
    let (bulk, single) = (Archive::memory().unwrap(), Archive::memory().unwrap());
    add(&bulk, root.path());
    for folder in 0..7 {
        let to = ArchivePath::new(folder.to_string()).unwrap();
        single
            .add(root.path().join(to.to_string()), &to, &AddOptions::new().with_threads(1), |_| {})
            .unwrap();
        single.commit().unwrap();
    }
    let listed = |archive: &Archive| -> Vec<_> {
        let paths = archive.walk(".").unwrap().map(|entry| entry.unwrap().path);
        paths
            .map(|path| (archive.stat(&path).unwrap(), archive.read(&path).ok().map(|r| r.view().to_vec())))
            .collect()
    };
    assert_eq!(listed(&bulk).len(), 207);
    assert_eq!(listed(&bulk), listed(&single));
}

//! Objects with metadata that many processes change. The labels D1 to D8 are those of
//! `docs/reference/dirdb.md`.

#![cfg(all(feature = "objects", target_os = "linux"))]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use vldepot::maintain::{VerifyOptions, compact, verify};
use vldepot::objects::Objects;
use vldepot::{Depot, ErrorKind, Raw};

fn new() -> (tempfile::TempDir, Objects) {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::open_or_create(folder.path().join("objects.vld")).unwrap();
    (folder, objects)
}

/// D1
#[test]
fn opening_makes_the_file_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.vld");
    assert!(Objects::open(&path).unwrap_err().is_not_found());
    assert!(!path.exists());
    let objects = Objects::open_or_create(&path).unwrap();
    objects.put("a", b"1", "bytes").unwrap();
    assert_eq!(Objects::open_or_create(&path).unwrap().names().unwrap(), ["a"]);
    assert_eq!(Objects::open(&path).unwrap().get("a").unwrap().bytes(), b"1");
    assert!(Objects::open_or_create(folder.path()).is_err(), "a folder");
    let text = folder.path().join("text");
    fs::write(&text, "something else, which is longer than a header".repeat(200)).unwrap();
    let before = fs::read(&text).unwrap();
    assert!(matches!(Objects::open_or_create(&text).unwrap_err().kind(), ErrorKind::NotADepot { .. }));
    assert_eq!(fs::read(&text).unwrap(), before);
    let other = folder.path().join("values.vld");
    Depot::create(&other, vldepot::codecs::Serde::<u32>::new()).unwrap().close().unwrap();
    assert!(matches!(Objects::open(&other).unwrap_err().kind(), ErrorKind::WrongCodec { .. }));
}

/// D2, D3, D7
#[test]
fn objects_are_put_read_listed_and_removed() {
    let (_folder, objects) = new();
    assert!(!objects.contains("foo").unwrap());
    for name in ["foo", "with.dots.in.it", "", ".", "..", "a/b", "nul\0"] {
        let put = objects.put(name, name.as_bytes(), "text");
        if ["foo", "with.dots.in.it"].contains(&name) {
            put.unwrap();
            assert!(objects.contains(name).unwrap());
        } else {
            assert!(matches!(put.unwrap_err().kind(), ErrorKind::InvalidPath { .. }), "{name:?}");
        }
    }
    objects.put("été", b"", "none").unwrap();
    assert_eq!(objects.names().unwrap(), ["foo", "with.dots.in.it", "été"]);
    let object = objects.get("foo").unwrap();
    assert_eq!((object.bytes(), object.serializer()), (&b"foo"[..], Some("text")));
    objects.put("foo", b"new", "other").unwrap();
    let object = objects.get("foo").unwrap();
    assert_eq!((object.bytes(), object.serializer()), (&b"new"[..], Some("other")));
    assert!(objects.remove("foo").unwrap());
    assert!(!objects.remove("foo").unwrap());
    assert!(objects.get("foo").unwrap_err().is_not_found());
    assert_eq!(objects.names().unwrap().len(), 2);
}

/// D3, D4
#[test]
fn metadata_are_read_and_changed_without_the_object() {
    let (_folder, objects) = new();
    let meta = |n: i64| BTreeMap::from([("n".to_owned(), n)]);
    objects.put_with_metadata("a", b"..", "bytes", &meta(1)).unwrap();
    objects.put("a", b"....", "bytes").unwrap();
    assert_eq!(objects.metadata("a").unwrap(), Some(meta(1)), "a new object keeps the metadata");
    objects.set_metadata("a", &meta(2)).unwrap();
    assert_eq!(objects.metadata("a").unwrap(), Some(meta(2)));
    assert_eq!(objects.get("a").unwrap().bytes(), b"....");
    assert!(objects.remove_metadata("a").unwrap());
    assert!(!objects.remove_metadata("a").unwrap());
    assert_eq!(objects.metadata::<BTreeMap<String, i64>>("a").unwrap(), None);
    assert_eq!(objects.get("a").unwrap().serializer(), Some("bytes"));

    // Metadata alone.
    objects.set_metadata("bare", &meta(3)).unwrap();
    assert_eq!(objects.metadata("bare").unwrap(), Some(meta(3)));
    assert!(!objects.contains("bare").unwrap());
    assert!(objects.get("bare").unwrap_err().is_not_found());
    assert_eq!(objects.names().unwrap(), ["a"]);
    assert_eq!(objects.names_without_object().unwrap(), ["bare"]);
    let stat = objects.stat("bare").unwrap().unwrap();
    assert!(stat.has_metadata && stat.size.is_none() && stat.serializer.is_none());
    objects.put("bare", b"now", "bytes").unwrap();
    assert_eq!(objects.metadata("bare").unwrap(), Some(meta(3)));
    assert!(objects.names_without_object().unwrap().is_empty());
    objects.set_metadata("gone", &meta(4)).unwrap();
    assert!(objects.remove("gone").unwrap() && objects.stat("gone").unwrap().is_none());
    let wrong = objects.metadata::<u32>("bare").unwrap_err();
    assert!(matches!(wrong.kind(), ErrorKind::Metadata { .. }), "{wrong}");
}

/// D4: the object is damaged, and its metadata are read and changed all the same.
#[test]
fn metadata_do_not_touch_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.vld");
    let layout = vldepot::Layout::uncompressed();
    let objects = Objects::open_or_create_with(&path, layout).unwrap();
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let object: Vec<u8> = (0..5000).map(|_| noise()).collect();
    objects.put_with_metadata("a", &object, "bytes", &1).unwrap();
    drop(objects);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(1000).position(|found| found == &object[1000..2000]).unwrap();
    bytes[at + 7] ^= 1;
    fs::write(&path, bytes).unwrap();
    let objects = Objects::open(&path).unwrap();
    assert!(objects.get("a").unwrap_err().is_damage());
    assert_eq!(objects.update("a", |n: Option<i64>| n.unwrap() + 1).unwrap(), 2);
    let stat = objects.stat("a").unwrap().unwrap();
    assert_eq!(stat.size, Some(5000));
}

/// D7
#[test]
fn stat_tells_size_times_checksum_and_serializer() {
    let (_folder, objects) = new();
    assert_eq!(objects.stat("a").unwrap(), None);
    // The check value of CRC32C.
    objects.put("a", b"123456789", "text").unwrap();
    let first = objects.stat("a").unwrap().unwrap();
    assert_eq!((first.size, first.checksum), (Some(9), Some(0xe306_9283)));
    assert_eq!(first.serializer.as_deref(), Some("text"));
    assert!(!first.has_metadata && first.metadata_modified.is_none());
    assert_eq!(first.created, first.modified);
    objects.set_metadata("a", "meta").unwrap();
    objects.put("a", b"", "bytes").unwrap();
    let second = objects.stat("a").unwrap().unwrap();
    assert_eq!((second.size, second.created), (Some(0), first.created));
    assert!(second.modified >= first.modified && second.metadata_modified >= first.modified);
}

/// D6
#[test]
fn folders_are_apart_and_listed() {
    let (_folder, objects) = new();
    objects.put("x", b"", "bytes").unwrap();
    let inner = objects.folder("in").unwrap();
    assert!(objects.folders().unwrap().is_empty(), "nothing is in it yet");
    for name in ["x", "y", "in"] {
        inner.put(name, b"1", "bytes").unwrap();
    }
    inner.set_metadata("bare", &1).unwrap();
    inner.folder("deep").unwrap().put("z", b"2", "bytes").unwrap();
    objects.create_folder("empty").unwrap();
    objects.create_folder("empty").unwrap();
    // Names around the separator: `!` sorts before `/`, and `0` after it.
    for name in ["in!", "in0", "in"] {
        objects.put(name, b"3", "bytes").unwrap();
    }
    assert_eq!(objects.names().unwrap(), ["in", "in!", "in0", "x"]);
    assert_eq!(objects.folders().unwrap(), ["empty", "in"]);
    assert_eq!(inner.names().unwrap(), ["in", "x", "y"]);
    assert_eq!(inner.names_without_object().unwrap(), ["bare"]);
    assert!(objects.names_without_object().unwrap().is_empty());
    assert_eq!(inner.folders().unwrap(), ["deep"]);
    assert!(objects.folder("empty").unwrap().names().unwrap().is_empty());
    assert!(objects.folder("a/b").is_err() && objects.folder("..").is_err());
    assert_eq!(objects.remove_folder("in").unwrap(), 4);
    assert_eq!(objects.folders().unwrap(), ["empty"]);
    assert!(inner.metadata::<i64>("bare").unwrap().is_none());
    assert_eq!(objects.names().unwrap(), ["in", "in!", "in0", "x"]);
}

#[test]
fn a_file_that_was_compacted_is_opened_again() {
    let (_folder, objects) = new();
    for n in 0..20_u8 {
        objects.put("a", &[n; 100], "bytes").unwrap();
    }
    compact(objects.path(), |_| ()).unwrap();
    assert_eq!(objects.get("a").unwrap().bytes(), [19; 100]);
    objects.put("b", b"after", "bytes").unwrap();
    assert_eq!(objects.names().unwrap(), ["a", "b"]);
}

#[test]
fn another_programs_writer_is_waited_for_and_named() {
    let (_folder, objects) = new();
    let other = Depot::append(objects.path(), Raw).unwrap();
    let hasty = objects.clone().with_patience(Duration::ZERO);
    let error = hasty.put("a", b"1", "bytes").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Locked), "{error}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| objects.put("a", b"1", "bytes"));
        other.put("theirs", b"2").unwrap();
        other.close().unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(objects.names().unwrap(), ["a", "theirs"]);
    assert_eq!(objects.get("theirs").unwrap().serializer(), None);
}

/// D5
#[test]
fn a_name_is_locked_for_threads_and_only_that_name() {
    let (_folder, objects) = new();
    let lock = objects.lock("a").unwrap();
    let nested = objects.lock("a").unwrap();
    let elsewhere =
        |name| std::thread::scope(|scope| scope.spawn(|| objects.try_lock(name).unwrap().is_some()).join());
    assert!(!elsewhere("a").unwrap() && elsewhere("b").unwrap());
    drop(nested);
    assert!(!elsewhere("a").unwrap(), "the outer lock holds");
    drop(lock);
    assert!(elsewhere("a").unwrap());

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    objects.update("count", |count: Option<u64>| count.unwrap_or(0) + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(objects.metadata::<u64>("count").unwrap(), Some(100));
}

const CHILD: &str = "VLDEPOT_OBJECTS_CHILD";
const JOB: &str = "VLDEPOT_OBJECTS_JOB";

fn child(path: &Path, job: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .env(JOB, job)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines.filter_map(|line| Some(line.split_once("=> ")?.1.to_owned())))
}

fn increments() -> u64 {
    1000
}

/// Not a test of its own: another process.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let objects = Objects::open_or_create(path).unwrap();
    match std::env::var(JOB).unwrap().as_str() {
        "increment" => {
            for _ in 0..increments() {
                objects.update("count", |count: Option<u64>| count.unwrap_or(0) + 1).unwrap();
            }
        }
        "hold" => {
            let _lock = objects.lock("count").unwrap();
            println!("=> locked");
            loop {
                std::thread::park();
            }
        }
        "replace" => {
            for n in 0_u64.. {
                let value = n.to_le_bytes().repeat(500 + usize::try_from(n).unwrap() % 700);
                objects.put_with_metadata("a", &value, "numbers", &n).unwrap();
                println!("=> {n}");
            }
        }
        "turn" => loop {
            objects.put("theirs", b"..", "bytes").unwrap();
            println!("=> works");
        },
        job => panic!("{job}"),
    }
}

/// D5
#[test]
fn two_processes_that_count_lose_nothing_although_holders_are_killed() {
    let (_folder, objects) = new();
    let (mut holder, mut said) = child(objects.path(), "hold");
    said.next().unwrap();
    assert!(objects.try_lock("count").unwrap().is_none());
    let counting = [child(objects.path(), "increment"), child(objects.path(), "increment")];
    // They wait for the holder, and not for ever.
    holder.kill().unwrap();
    holder.wait().unwrap();
    // A third one gets the lock between two increments, and is killed too.
    let (mut holder, mut said) = child(objects.path(), "hold");
    said.next().unwrap();
    let before: u64 = objects.metadata("count").unwrap().unwrap_or(0);
    assert_eq!(objects.metadata("count").unwrap().unwrap_or(0_u64), before);
    holder.kill().unwrap();
    holder.wait().unwrap();
    for (mut counting, _) in counting {
        assert!(counting.wait().unwrap().success());
    }
    assert_eq!(objects.metadata::<u64>("count").unwrap(), Some(2 * increments()));
    let report = verify(objects.path(), &VerifyOptions::default(), |_| ()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    println!("{} bytes", fs::metadata(objects.path()).unwrap().len());
}

/// D8
#[test]
fn a_process_killed_while_it_writes_leaves_the_old_object_or_the_new_one() {
    let (_folder, objects) = new();
    objects.put("other", b"stays", "bytes").unwrap();
    let mut acknowledged = 0;
    for kill in 0..12 {
        let (mut writer, mut said) = child(objects.path(), "replace");
        for _ in 0..=kill * 3 {
            acknowledged = said.next().unwrap().parse().unwrap();
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        let last = said.last().and_then(|line| line.parse().ok());
        let acknowledged: u64 = last.unwrap_or(acknowledged);
        let n: u64 = objects.metadata("a").unwrap().unwrap();
        assert!(n == acknowledged || n == acknowledged + 1, "{n} after {acknowledged}");
        let value = n.to_le_bytes().repeat(500 + usize::try_from(n).unwrap() % 700);
        assert_eq!(objects.get("a").unwrap().bytes(), value);
        // The next one writes at once: the turn and the writer's lock went with the process.
        objects.put("after", &n.to_le_bytes(), "bytes").unwrap();
        assert_eq!(objects.get("other").unwrap().bytes(), b"stays");
    }
}

/// D8
#[test]
fn a_killed_turn_blocks_nobody() {
    let (_folder, objects) = new();
    for _ in 0..8 {
        let (mut writer, mut said) = child(objects.path(), "turn");
        said.next().unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        objects.put("ours", b"..", "bytes").unwrap();
    }
}

/// Bytes and serializer are of one state, although other threads move the reader forward meanwhile.
#[test]
fn an_object_comes_with_the_serializer_that_made_it() {
    let (_folder, objects) = new();
    objects.put("a", b"0", "0").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let object = objects.get("a").unwrap();
                    assert_eq!(object.bytes(), object.serializer().unwrap().as_bytes());
                }
            });
        }
        for n in 0..300 {
            objects.put("a", n.to_string().as_bytes(), &n.to_string()).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn many_threads_may_make_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let path = folder.path().join(n.to_string());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    Objects::open_or_create(path).unwrap().put(&thread.to_string(), b"", "bytes").unwrap();
                });
            }
        });
        assert_eq!(Objects::open(&path).unwrap().names().unwrap().len(), 4);
    }
}

#[test]
fn locks_outlive_the_removal_of_their_file() {
    let (_folder, objects) = new();
    let mut name = objects.path().as_os_str().to_owned();
    name.push(".locks");
    let path = PathBuf::from(name);
    let first = objects.lock("a").unwrap();
    let (waits, waited) = mpsc::channel();
    let removing = objects.clone();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            waits.send(()).unwrap();
            // Whichever file it waits at, it ends with a lock of the one that is there.
            let _lock = removing.lock("a").unwrap();
            std::thread::scope(|inner| {
                inner.spawn(|| assert!(removing.try_lock("a").unwrap().is_none())).join().unwrap();
            });
        });
        waited.recv().unwrap();
        fs::remove_file(&path).unwrap();
        drop(first);
        waiting.join().unwrap();
    });
}

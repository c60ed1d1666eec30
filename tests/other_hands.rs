//! What other programs do to a file that is open here: truncate, replace or overwrite it, or write to it
//! from another layer of a container.
//!
//! Writers end with an error, never with a signal. Readers go on where the file is whole.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use vldepot::storage::{FileStorage, Storage};
use vldepot::{
    CommitEvery, Compression, CompressionCodec, Depot, ErrorKind, Layout, Mapping, OpenOptions, Raw, Verify,
    WriteOptions,
};

fn writing() -> WriteOptions {
    WriteOptions::default().with_commit_every(CommitEvery::never())
}

const WRITER: &str = "VLDEPOT_HARMED_WRITER";
const LAYERS: &str = "VLDEPOT_LAYERS";
/// The exit code of a writer that met an error.
const REFUSED: i32 = 7;
/// The exit code of a writer that met none.
const UNHARMED: i32 = 8;

fn payload(n: u64) -> Vec<u8> {
    (0..300 + n * 97 % 3000).map(|i| (i as u8 / 5) ^ (n as u8)).collect()
}

fn options(codec: CompressionCodec) -> Layout {
    Layout::default()
        .with_compression(Compression::default().with_codec(codec))
        .with_chunk_size(32 << 10)
        .with_block_size(4 << 10)
}

/// Puts, looks up, reads, commits, until something is refused.
fn write_on(path: &Path) -> Result<(), vldepot::Error> {
    let plain = path.extension().is_some_and(|extension| extension == "plain");
    let codec = if plain { CompressionCodec::None } else { CompressionCodec::Zstd };
    let depot = Depot::builder(Raw).layout(options(codec)).write_options(writing()).create(path)?;
    for n in 0..200_000_u64 {
        depot.put(n, &payload(n))?;
        depot.put("newest", &n.to_le_bytes())?;
        assert!(depot.get(n * 7919 % (n + 1))?.view().len() >= 300);
        match n % 40 {
            9 | 19 | 29 => depot.commit()?,
            39 => depot.publish()?,
            _ => {}
        }
        if n == 200 {
            println!("ready");
            std::io::stdout().flush().unwrap();
        }
    }
    Ok(())
}

/// Not a test of its own: the writer that is harmed.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(WRITER).map(PathBuf::from) else { return };
    let Err(error) = write_on(&path) else { std::process::exit(UNHARMED) };
    println!("refused: {error}");
    std::process::exit(REFUSED);
}

/// Something done to a file.
type Harm<'h> = &'h dyn Fn(&Path);

/// Runs a writer while `harm` is done to its file again and again. Returns how it ended.
fn harmed(path: &Path, harm: Harm<'_>) -> i32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
        .env(WRITER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("ready")), "the writer writes");
    // Otherwise the writer may wait for room in the pipe.
    let rest = std::thread::spawn(move || lines.last());
    let status = loop {
        harm(path);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let said = rest.join().unwrap();
    assert_eq!(status.signal(), None, "{said:?}");
    status.code().unwrap()
}

fn cut(path: &Path, len: u64) {
    FileOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_writer_whose_file_is_cut_or_replaced_ends_with_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let harms: [(&str, Harm<'_>); 5] = [
        ("emptied", &|path| cut(path, 0)),
        ("cut to its header", &|path| cut(path, 4160)),
        ("cut in the middle", &|path| cut(path, fs::metadata(path).unwrap().len() / 2)),
        ("replaced", &|path| {
            let other = path.with_extension("other");
            fs::write(&other, "another file").unwrap();
            fs::rename(&other, path).unwrap();
        }),
        ("replaced by another depot", &|path| {
            let other = path.with_extension("other");
            let _ = fs::remove_file(&other);
            Depot::create(&other, Raw).unwrap().close().unwrap();
            fs::rename(&other, path).unwrap();
        }),
    ];
    for (nth, (what, harm)) in harms.into_iter().enumerate() {
        for kind in ["vld", "plain"] {
            let path = folder.path().join(format!("{nth}.{kind}"));
            assert_eq!(harmed(&path, harm), REFUSED, "{what}, {kind}");
        }
    }
}

#[test]
fn a_writer_whose_file_is_overwritten_meets_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["vld", "plain"] {
        let path = folder.path().join(format!("a.{kind}"));
        let code = harmed(&path, &|path| {
            let file = FileOptions::new().write(true).open(path).unwrap();
            let len = file.metadata().unwrap().len();
            // The length was the file's earlier length, so this does not truncate the file.
            file.write_all_at(&vec![0xa5; len as usize / 2], len / 4).unwrap();
        });
        assert!([REFUSED, UNHARMED].contains(&code), "{code}");
    }
}

/// A depot of two records of the same length, and where in the file the index gives their places.
fn two_records(path: &Path) -> [u64; 2] {
    let depot = Depot::builder(Raw)
        .layout(options(CompressionCodec::Zstd))
        .write_options(writing())
        .create(path)
        .unwrap();
    for (name, byte) in [("a", 1), ("b", 2)] {
        depot.put(name, &[byte; 1000]).unwrap();
    }
    depot.close().unwrap();
    let depot = Depot::open(path, Raw).unwrap();
    let file = fs::read(path).unwrap();
    ["a", "b"].map(|name| {
        let at = depot.location(name).unwrap();
        let address = at.chunk * (32 << 10) + at.offset;
        let place = [
            &address.to_le_bytes()[..],
            &(at.length as u32).to_le_bytes(),
            &at.checksum.unwrap().to_le_bytes(),
        ];
        let place = place.concat();
        file.windows(place.len()).position(|window| window == place).unwrap() as u64
    })
}

/// [`Mapping::Auto`] documents this. It is the only way to give a mapped reader a wrong record.
#[test]
fn an_index_page_that_was_checked_is_believed_where_it_is_mapped_and_kept_where_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (mapping, verify) in
        [(Mapping::Auto, Verify::EachRead), (Mapping::Auto, Verify::Once), (Mapping::Never, Verify::EachRead)]
    {
        let path = folder.path().join(format!("{mapping:?} {verify:?}.vld"));
        let [a, b] = two_records(&path);
        let options = OpenOptions::default().with_mapping(mapping).with_verify(verify);
        let depot = Depot::builder(Raw).open_options(options.clone()).open(&path).unwrap();
        assert_eq!(depot.get("a").unwrap().view(), [1; 1000]);
        let file = FileOptions::new().read(true).write(true).open(&path).unwrap();
        let mut place = [0; 16];
        file.read_exact_at(&mut place, b).unwrap();
        file.write_all_at(&place, a).unwrap();
        let mapped = FileStorage::open(&path).unwrap().map(0, 16).unwrap().is_some();
        let expected = if mapping == Mapping::Auto && mapped { 2 } else { 1 };
        assert_eq!(depot.get("a").unwrap().view(), [expected; 1000], "{mapping:?}");
        // The record's checksum finds any other change.
        place[12] ^= 1;
        file.write_all_at(&place, a).unwrap();
        let got = depot.get("a").map(|record| record.view().to_vec());
        assert!(got.is_err() || got.unwrap() == [1; 1000]);
        // Opening the file checks the page, and the chunks say the same as the index did.
        assert_eq!(Depot::open(&path, Raw).unwrap().get("a").unwrap().view(), [1; 1000]);
    }
}

fn put_and_commit(path: &Path, numbers: std::ops::Range<u64>) {
    let depot = Depot::append(path, Raw).unwrap();
    for n in numbers {
        depot.put(n, &payload(n)).unwrap();
    }
    depot.commit().unwrap();
    // Like a killed writer: the next one cuts off its end.
    drop(depot);
    let file = FileOptions::new().append(true).open(path).unwrap();
    (&file).write_all(&[0x5a; 10_000]).unwrap();
}

fn check(depot: &Depot<Raw>, count: u64, what: &str) {
    assert_eq!(depot.len(), count, "{what}");
    for n in 0..count {
        assert!(depot.get(n).unwrap().view() == payload(n), "{what}: record {n} of {count}");
    }
}

fn mount(kind: &str, options: &str, at: &Path) -> bool {
    let mounted = Command::new("mount").args(["-t", kind, "-o", options, kind]).arg(at).output();
    mounted.is_ok_and(|mount| mount.status.success())
}

/// Not a test of its own: runs where it may mount. `folder/lower` and `folder/upper` become file systems
/// of their own, with `folder/merged` over them.
#[test]
fn layers_process() {
    let Some(folder) = std::env::var_os(LAYERS).map(PathBuf::from) else { return };
    for name in ["lower", "upper", "merged"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    if !mount("tmpfs", "size=64m", &folder.join("lower"))
        || !mount("tmpfs", "size=64m", &folder.join("upper"))
    {
        println!("mounting is refused here");
        return;
    }
    let at = |name: &str| folder.join(name).display().to_string();
    fs::create_dir(folder.join("upper/files")).unwrap();
    fs::create_dir(folder.join("upper/work")).unwrap();
    for codec in [CompressionCodec::Zstd, CompressionCodec::None] {
        let path = folder.join(format!("lower/{codec:?}.vld"));
        Depot::builder(Raw)
            .layout(options(codec))
            .write_options(writing())
            .create(&path)
            .unwrap()
            .close()
            .unwrap();
        put_and_commit(&path, 0..100);
    }
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper/files"), at("upper/work"));
    if !mount("overlay", &layers, &folder.join("merged")) {
        println!("layers are refused here");
        return;
    }
    for codec in [CompressionCodec::Zstd, CompressionCodec::None] {
        follow_over_layers(&folder.join(format!("merged/{codec:?}.vld")));
    }
    println!("layers were followed");
}

fn follow_over_layers(path: &Path) {
    let storage = FileStorage::open(path).unwrap();
    assert!(storage.map(0, 100).unwrap().is_some(), "files in containers are mapped");
    let never = OpenOptions::default().with_mapping(Mapping::Never);
    let readers = [
        Depot::open(path, Raw).unwrap(),
        Depot::builder(Raw).open_options(never.clone()).open(path).unwrap(),
    ];
    let held = readers[0].get(7).unwrap();
    let check_both = |count, what| {
        for depot in &readers {
            check(depot, count, what);
        }
    };
    for round in 1..6 {
        check_both(100 * round, "before");
        put_and_commit(path, 100 * round..100 * (round + 1));
        check_both(100 * round, "not refreshed");
        assert!(readers[0].refresh().unwrap().changed() && readers[1].refresh().unwrap().changed());
        check_both(100 * (round + 1), "refreshed");
        assert!(!storage.is_replaced().unwrap(), "the copy that a write makes is the same file");
    }
    let len = storage.len().unwrap();
    assert!(storage.map(len - 100, 100).unwrap().is_some());
    assert!(held.view() == payload(7));
    // In a container too, another file is recognised as one.
    let other = path.with_extension("other");
    fs::copy(path, &other).unwrap();
    fs::rename(&other, path).unwrap();
    assert!(storage.is_replaced().unwrap());
    check_both(600, "replaced");
}

#[test]
fn a_reader_in_a_container_follows_a_writer_in_another_layer() {
    let folder = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap();
    for (nth, wrapper) in [&["--mount"][..], &["--map-root-user", "--mount"]].into_iter().enumerate() {
        let folder = folder.path().join(nth.to_string());
        fs::create_dir(&folder).unwrap();
        let out = Command::new("unshare")
            .args(wrapper)
            .arg(&binary)
            .args(["--exact", "layers_process", "--nocapture", "--test-threads=1"])
            .env(LAYERS, &folder)
            .output();
        let Ok(out) = out else { continue };
        let said = String::from_utf8_lossy(&out.stdout);
        if said.contains("running 1 test") {
            let error = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{}:\n{said}\n{error}", out.status);
        }
        if said.contains("layers were followed") {
            return;
        }
    }
    println!("SKIPPED: layers cannot be mounted here");
}

#[test]
fn a_reader_refreshes_beside_a_file_that_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.vld"), folder.path().join("b.vld"));
    for (path, n) in [(&path, 50), (&other, 20)] {
        Depot::builder(Raw)
            .layout(options(CompressionCodec::None))
            .write_options(writing())
            .create(path)
            .unwrap()
            .close()
            .unwrap();
        put_and_commit(path, 0..n);
    }
    let depot = Depot::open(&path, Raw).unwrap();
    let storage = FileStorage::open(&path).unwrap();
    fs::rename(&other, &path).unwrap();
    assert!(storage.is_replaced().unwrap());
    // The open file stays what it was.
    check(&depot, 50, "replaced");
    let error = depot.refresh().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Replaced) && error.path() == Some(&path), "{error}");
    check(&depot, 50, "replaced, and told so");
    drop(File::open(&path).unwrap());
}

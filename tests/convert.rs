//! Archives from and to tar and zip. Labels such as B15 are those of the list of what users of Barecat need.
#![cfg(all(feature = "convert", unix))]

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use vldepot::archive::convert::{ConvertError, ConvertOptions, Converted, Format};
use vldepot::archive::{Archive, ArchivePath, AttributeValue, FileAttributes, FileKind, Selection};

const FORMATS: [Format; 5] = [Format::Tar, Format::TarGz, Format::TarXz, Format::TarZst, Format::Zip];

fn import(bytes: &[u8], options: &ConvertOptions) -> (Archive, Result<Converted, ConvertError>) {
    let archive = Archive::memory().unwrap();
    let done = if Format::of_start(bytes) == Some(Format::Zip) {
        archive.import_zip(Cursor::new(bytes), options, |_| ())
    } else {
        archive.import(bytes, options, |_| ())
    };
    (archive, done)
}

fn export(archive: &Archive, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.export(&mut bytes, format, &ConvertOptions::new(), |_| ()).unwrap();
    bytes
}

fn attributes(mode: u32, mtime: i64, mtime_ns: u32) -> FileAttributes {
    let mut attributes = FileAttributes::new().with_mode(mode);
    (attributes.mtime, attributes.mtime_ns) = (Some(mtime), mtime_ns);
    (attributes.uid, attributes.gid) = (Some(1000), Some(3_000_000_000));
    attributes
}

fn filled() -> Archive {
    let archive = Archive::memory().unwrap();
    archive.create_dir_with("a", &attributes(0o700, 1_600_000_000, 0)).unwrap();
    archive.write_with("a/file", b"hello", &attributes(0o4755, 1_700_000_000, 0)).unwrap();
    archive.write_with("a/none", b"", &attributes(0, 1_500_000_000, 0)).unwrap();
    let noise: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    archive.write_with("large", &noise, &attributes(0o644, 1_700_000_001, 0)).unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(101));
    archive.create_dir_with("d".repeat(200), &attributes(0o755, 1_700_000_001, 0)).unwrap();
    archive.write_with(&long, &vec![0; 70_000], &attributes(0o644, 1_700_000_002, 0)).unwrap();
    archive.write_link("link", "../elsewhere", &attributes(0o777, 1_700_000_003, 0)).unwrap();
    archive.write_link("long link", "x".repeat(300), &attributes(0o777, 1_700_000_003, 0)).unwrap();
    archive.write_with(b"not \xff text", b"bytes", &attributes(0o600, 1_700_000_004, 0)).unwrap();
    archive
}

/// Everything that is known of everything.
fn seen(archive: &Archive) -> Vec<(ArchivePath, FileKind, FileAttributes, Vec<u8>)> {
    let all = archive.walk("").unwrap().map(|entry| {
        let entry = entry.unwrap();
        let stat = archive.stat(&entry.path).unwrap();
        let mut bytes = Vec::new();
        if stat.kind != FileKind::Folder {
            let name = entry.path.as_bytes().to_vec();
            match String::from_utf8(name) {
                Ok(name) => archive.depot().read_to(name, &mut bytes).unwrap(),
                Err(name) => archive.depot().read_to(name.into_bytes(), &mut bytes).unwrap(),
            };
        }
        (stat.path, stat.kind, stat.attributes, bytes)
    });
    all.collect()
}

#[test]
fn b15_every_format_comes_back() {
    let archive = filled();
    for format in FORMATS {
        let bytes = export(&archive, format);
        assert_eq!(Format::of_start(&bytes[..512.min(bytes.len())]), Some(format));
        let (again, done) = import(&bytes, &ConvertOptions::new());
        let done = done.unwrap();
        assert_eq!(
            (done.transfer.files, done.transfer.folders, done.transfer.links),
            (5, 2, 2),
            "{format:?}"
        );
        assert_eq!((done.transfer.failed, done.noted), (0, 0));
        assert_eq!(seen(&again), seen(&archive), "{format:?}");
    }
}

#[test]
fn tar_keeps_fractions_old_times_and_attributes() {
    let archive = Archive::memory().unwrap();
    for (name, seconds, nanoseconds) in
        [("a", -1, 999_999_999), ("b", -1_000_000, 1), ("c", 0, 1), ("d", 1 << 40, 0), ("e", 1, 100_000_000)]
    {
        let mut attributes = attributes(0o644, seconds, nanoseconds);
        let xattrs = [("user.a".to_owned(), AttributeValue(b"\0=\n\xff".to_vec()))];
        attributes = attributes.with_xattrs(xattrs.into());
        attributes.xattrs.insert("user.a=b%3D".to_owned(), AttributeValue(b"x".to_vec()));
        archive.write_with(name, b"", &attributes).unwrap();
    }
    let (again, done) = import(&export(&archive, Format::Tar), &ConvertOptions::new());
    done.unwrap();
    assert_eq!(seen(&again), seen(&archive));
}

#[test]
fn an_empty_archive_comes_back() {
    for format in FORMATS {
        let bytes = export(&Archive::memory().unwrap(), format);
        let (again, done) = import(&bytes, &ConvertOptions::new());
        done.unwrap();
        assert!(again.depot().is_empty());
    }
}

#[test]
fn b15_what_is_wanted_goes_below_a_folder() {
    let selection = Selection::new().exclude("d*").unwrap().include("*l*").unwrap();
    let root = ArchivePath::new("new/place").unwrap();
    let options = ConvertOptions::new().with_selection(selection).with_root(root);
    let (again, done) = import(&export(&filled(), Format::TarZst), &options);
    done.unwrap();
    let paths: Vec<_> = again.walk("").unwrap().map(|entry| entry.unwrap().path.to_string()).collect();
    let files = ["new/place/a/file", "new/place/large", "new/place/link", "new/place/long link"];
    assert_eq!(paths, [&["new", "new/place", "new/place/a"][..], &files].concat());
}

/// A header of tar.
fn header(name: &[u8], kind: u8, link: &[u8], len: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{len:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000001");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
}

fn entry(tar: &mut Vec<u8>, name: &[u8], kind: u8, link: &[u8], bytes: &[u8]) {
    tar.extend(header(name, kind, link, bytes.len() as u64));
    tar.extend(bytes);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn failures(done: &Converted) -> Vec<String> {
    done.transfer.failures.iter().map(|failure| failure.path.display().to_string()).collect()
}

#[test]
fn hostile_entries_are_named_and_the_others_stored() {
    let mut tar = Vec::new();
    entry(&mut tar, b"first", b'0', b"", b"1");
    for name in [&b"/absolute"[..], b"../up", b"a/../../up", b"."] {
        entry(&mut tar, name, b'0', b"", b"bad");
    }
    entry(&mut tar, b"device", b'3', b"", b"");
    entry(&mut tar, b"pipe", b'6', b"", b"");
    entry(&mut tar, b"out", b'2', b"../../etc/passwd", b"");
    entry(&mut tar, b"hard", b'1', b"first", b"");
    entry(&mut tar, b"nowhere", b'1', b"../../etc/passwd", b"");
    entry(&mut tar, b"itself", b'1', b"itself", b"");
    entry(&mut tar, b"first", b'0', b"", b"2");
    entry(&mut tar, b"First", b'0', b"", b"3");
    entry(&mut tar, b"first/below", b'0', b"", b"4");
    entry(&mut tar, b"last", b'0', b"", b"5");
    tar.extend([0; 1024]);
    for tar in [&tar[..], &[&tar[..], &tar[..]].concat()] {
        let (archive, done) = import(tar, &ConvertOptions::new());
        let done = done.unwrap();
        let expected =
            ["/absolute", "../up", "a/../../up", ".", "device", "pipe", "nowhere", "itself", "first/below"];
        assert_eq!(failures(&done), expected);
        // Of two with one path, the last. Of two archives in one file, the first, as tar does it.
        assert!(done.notes[0].starts_with("first: "), "{:?}", done.notes);
        assert_eq!(archive.read("first").unwrap().view(), b"2");
        assert_eq!(archive.read("First").unwrap().view(), b"3");
        assert_eq!(archive.read("hard").unwrap().view(), b"1");
        assert_eq!(archive.read("last").unwrap().view(), b"5");
        // A link out of the archive is kept, and never followed.
        assert_eq!(archive.stat("out").unwrap().kind, FileKind::Link);
        assert!(archive.read("out").is_err());
    }
}

#[test]
fn a_cut_or_damaged_archive_is_an_error_that_says_where() {
    for format in FORMATS {
        let bytes = export(&filled(), format);
        // The zeros that fill the last record of a plain tar archive are no loss.
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        for cut in [end / 3, end / 2, end - 1].into_iter().chain((end < 2000).then_some(513)) {
            let (_, done) = import(&bytes[..cut], &ConvertOptions::new());
            let error = done.expect_err("it was cut short");
            assert!(error.is_damage(), "{format:?} {cut}: {error}");
            assert!(error.to_string().contains("byte "), "{error}");
        }
    }
    let mut tar = export(&filled(), Format::Tar);
    let at = tar.windows(5).position(|name| name == b"large").unwrap();
    tar[at] ^= 1;
    let error = import(&tar, &ConvertOptions::new()).1.unwrap_err();
    assert!(error.to_string().starts_with(&format!("at byte {at}: no header of an entry")), "{error}");
    let mut zip = export(&filled(), Format::Zip);
    let at = zip.windows(5).position(|bytes| bytes == b"hello").unwrap();
    zip[at] ^= 1;
    let ConvertError::Source { entry, .. } = import(&zip, &ConvertOptions::new()).1.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(entry.as_deref(), Some("a/file"));
}

#[test]
fn what_becomes_too_long_is_refused() {
    // Files of zeros, 1.5 GiB in all, in about 1.5 MB.
    let len = 64_u64 << 20;
    let mut packed = Vec::new();
    let mut gz = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::new(9));
    for n in 0..24 {
        gz.write_all(&header(format!("zeros{n}").as_bytes(), b'0', b"", len)).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(len), &mut gz).unwrap();
    }
    gz.finish().unwrap();
    let error = import(&packed, &ConvertOptions::new()).1.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("more than 1000 times as many"), "{error}: {said}");
    assert!(error.to_string().contains("zeros"), "{error}");
    // The header of an extended header that would fill memory.
    let tar = [header(b"a", b'x', b"", 1 << 32), [0; 512], [0; 512]].concat();
    let error = import(&tar, &ConvertOptions::new()).1.unwrap_err();
    assert!(error.is_damage());
    // A file that says it has 7 GiB and has none.
    let tar = [header(b"a", b'0', b"", 7 << 30), [0; 512], [0; 512]].concat();
    assert!(import(&tar, &ConvertOptions::new()).1.unwrap_err().to_string().contains("cut short"));
}

#[test]
fn zip_entries_that_lie_over_each_other_are_refused() {
    let archive = Archive::memory().unwrap();
    archive.write("a", &[7; 10_000]).unwrap();
    let one = export(&archive, Format::Zip);
    let at = one.windows(4).position(|magic| magic == b"PK\x01\x02").unwrap();
    let end = one.windows(4).position(|magic| magic == b"PK\x05\x06").unwrap();
    let (local, entry) = (&one[..at], &one[at..end]);
    let count = 40_u16;
    let mut zip = local.to_vec();
    for _ in 0..count {
        zip.extend(entry);
    }
    // Their lengths are more than the file's: each says that it has all of these bytes.
    let packed = u32::try_from(zip.len()).unwrap() / 10;
    for n in 0..usize::from(count) {
        let at = local.len() + n * entry.len() + 20;
        zip[at..at + 4].copy_from_slice(&packed.to_le_bytes());
    }
    let mut tail = one[end..].to_vec();
    tail[8..10].copy_from_slice(&count.to_le_bytes());
    tail[10..12].copy_from_slice(&count.to_le_bytes());
    let directory = u32::try_from(zip.len() - local.len()).unwrap();
    tail[12..16].copy_from_slice(&directory.to_le_bytes());
    zip.extend(tail);
    assert!(import(&zip, &ConvertOptions::new()).1.is_err());
}

#[test]
fn holes_of_sparse_files_are_zeros() {
    // Version 1.0 of GNU tar, in an extended header of pax.
    let mut tar = Vec::new();
    let mut lines = String::new();
    for said in ["major=1", "minor=0", "name=sparse", "realsize=100000"] {
        // With the two digits of the length itself, a blank and a line end.
        let said = format!("GNU.sparse.{said}");
        lines.push_str(&[&(said.len() + 4).to_string(), " ", &said, "\n"].concat());
    }
    entry(&mut tar, b"x", b'x', b"", lines.as_bytes());
    let mut bytes = b"2\n10\n3\n50000\n4\n".to_vec();
    bytes.resize(512, 0);
    bytes.extend(b"abcdefg");
    entry(&mut tar, b"GNUSparseFile.0/sparse", b'0', b"", &bytes);
    tar.extend([0; 1024]);
    let (archive, done) = import(&tar, &ConvertOptions::new());
    done.unwrap();
    let mut expected = vec![0; 100_000];
    expected[10..13].copy_from_slice(b"abc");
    expected[50_000..50_004].copy_from_slice(b"defg");
    assert_eq!(archive.read("sparse").unwrap().view(), expected);
    // A hole of more than a GiB, for no bytes: a failure of that file.
    let mut block = header(b"hole", b'S', b"", 0);
    block[483..494].copy_from_slice(format!("{:011o}", 3_u64 << 30).as_bytes());
    seal(&mut block);
    let mut tar = block.to_vec();
    entry(&mut tar, b"next", b'0', b"", b"1");
    tar.extend([0; 1024]);
    let (archive, done) = import(&tar, &ConvertOptions::new());
    assert_eq!(failures(&done.unwrap()), ["hole"]);
    assert_eq!(archive.read("next").unwrap().view(), b"1");
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in
        [&b""[..], b"a", &[b'a'; 2000], b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0"]
    {
        assert!(import(bytes, &ConvertOptions::new()).1.is_err(), "{}", bytes.escape_ascii());
    }
    assert!(Archive::memory().unwrap().import(&b"PK\x03\x04"[..], &ConvertOptions::new(), |_| ()).is_err());
}

/// A target that is full after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(self.0);
        self.0 -= n;
        if n == 0 && !bytes.is_empty() { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(n) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_target_is_an_error() {
    let archive = filled();
    for format in FORMATS {
        for room in [0, 100, export(&archive, format).len() - 1] {
            let error = archive.export(Full(room), format, &ConvertOptions::new(), |_| ());
            let error = error.expect_err("it is full");
            assert!(matches!(error, ConvertError::Target(_)), "{format:?} {room}: {error:?}");
        }
    }
}

fn small() -> Archive {
    let archive = Archive::memory().unwrap();
    archive.write_with("a/file", b"hello hello hello hello", &attributes(0o644, 1, 5)).unwrap();
    archive.write_link("link", "a/file", &attributes(0o777, 1, 0)).unwrap();
    archive.write_with("x".repeat(120), b"12345", &attributes(0o644, -5, 5)).unwrap();
    archive
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever bytes are changed, taken out or put in: an archive or an error, and no panic.
    #[test]
    fn nothing_panics(
        format in 0..FORMATS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
        reseal in any::<bool>(),
    ) {
        let mut bytes = export(&small(), FORMATS[format]);
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
        }
        if reseal && FORMATS[format] == Format::Tar {
            // Headers with other fields, but the right checksum.
            for block in bytes.as_chunks_mut::<512>().0 {
                if block[257..262] == *b"ustar" {
                    seal(block);
                }
            }
        }
        let (archive, done) = import(&bytes, &ConvertOptions::new());
        drop(done);
        for entry in archive.walk("").unwrap() {
            entry.unwrap();
        }
    }
}

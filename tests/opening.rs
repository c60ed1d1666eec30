//! Opening what should not be opened gives a typed error that says what to do.

#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::error::Error as _;
use std::fs;

use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Codec, CodecError, Depot, ErrorKind, Layout, Raw};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A codec with a parameter and a version, over bytes.
struct Strict(u8);

impl Codec for Strict {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "test.strict";
    const VERSION: u32 = 3;
    const ALIGN: usize = 1;
    fn parameters(&self) -> Vec<u8> {
        vec![self.0]
    }
    fn open(self, stored: &[u8]) -> Result<Self, CodecError> {
        if stored == [self.0] {
            return Ok(self);
        }
        let (parameter, given) = ("n_atoms".to_owned(), self.0.to_string());
        Err(CodecError::Parameter { parameter, stored: stored[0].to_string(), given })
    }
    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if item.len() > 10 {
            return Err(CodecError::length("a strict record", 10, item.len()));
        }
        out.extend_from_slice(item);
        Ok(())
    }
    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }
}

/// Like [`Strict`], but an earlier version.
struct Older;

impl Codec for Older {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "test.strict";
    const VERSION: u32 = 2;
    const ALIGN: usize = 1;
    fn encode(&self, _: &[u8], _: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }
    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }
}

#[test]
fn the_wrong_codec_is_refused_by_both_names_and_raw_opens_anything() {
    let folder = folder();
    let path = folder.path().join("strict.vld");
    let depot = Depot::create(&path, Strict(5)).unwrap();
    depot.put("a", b"bytes").unwrap();
    depot.close().unwrap();

    let error = Depot::open(&path, AtomicFrameCodec::default()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WrongCodec { stored, given, .. } if stored == "test.strict" && given == AtomicFrameCodec::ID)
    );
    assert!(error.to_string().contains("as bytes"), "{error}");
    assert!(
        matches!(Depot::append(&path, AtomicFrameCodec::default()), Err(error) if matches!(error.kind(), ErrorKind::WrongCodec { .. }))
    );
    assert_eq!(Depot::open(&path, Raw).unwrap().get("a").unwrap().view(), b"bytes");
}

#[test]
fn other_parameters_and_newer_codecs_are_refused_with_both_values() {
    let folder = folder();
    let path = folder.path().join("strict.vld");
    Depot::create(&path, Strict(5)).unwrap().close().unwrap();
    assert!(Depot::open(&path, Strict(5)).is_ok());
    for error in [Depot::open(&path, Strict(6)).unwrap_err(), Depot::append(&path, Strict(6)).unwrap_err()] {
        assert!(matches!(error.kind(), ErrorKind::CodecParameters { .. }), "{error:?}");
        let source = error.source().and_then(|source| source.downcast_ref());
        let Some(CodecError::Parameter { stored, given, .. }) = source else { panic!("{error:?}") };
        assert_eq!((stored.as_str(), given.as_str()), ("5", "6"));
    }
    let error = Depot::open(&path, Older).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CodecParameters { .. }), "{error:?}");
    let expected = "codec parameter `version`: the depot was written with 3, this codec has 2";
    assert_eq!(error.source().unwrap().to_string(), expected);
}

#[test]
fn a_value_the_codec_refuses_leaves_the_depot_as_it_was() {
    let depot = Depot::memory(Strict(0)).unwrap();
    depot.put("a", b"fine").unwrap();
    let error = depot.put("a", b"far too long").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Codec { .. }), "{error:?}");
    assert_eq!(error.record(), Some("\"a\""));
    assert_eq!((depot.len(), depot.get("a").unwrap().view()), (1, &b"fine"[..]));
}

#[test]
fn an_existing_path_is_not_overwritten() {
    let folder = folder();
    let path = folder.path().join("precious.txt");
    fs::write(&path, "precious").unwrap();
    let error = Depot::create(&path, Raw).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PathExists));
    assert!(error.to_string().contains("append"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn invalid_options_make_no_file() {
    let folder = folder();
    let path = folder.path().join("none.vld");
    let options = Layout::default().with_block_size(1 << 30);
    assert!(
        matches!(Depot::builder(Raw).layout(options).create(&path), Err(error) if matches!(error.kind(), ErrorKind::InvalidOptions { .. }))
    );
    assert!(!path.exists());
}

#[test]
fn what_is_no_depot_is_said_to_be_none() {
    let folder = folder();
    let path = folder.path().join("other");
    let zeros = vec![0; 10_000];
    let mut header_then_noise = Depot::memory(Raw).unwrap().to_bytes().unwrap();
    header_then_noise[200..].iter_mut().enumerate().for_each(|(i, b)| *b = (i * 7) as u8);
    for content in [
        &b""[..],
        b"a",
        b"PK\x03\x04 a zip",
        b"\x89HDF\r\n\x1a\n",
        &zeros,
        b"\x9e\xa8b2frame\0",
        &header_then_noise,
    ] {
        fs::write(&path, content).unwrap();
        for error in [
            Depot::open(&path, Raw).unwrap_err(),
            Depot::append(&path, Raw).unwrap_err(),
            Depot::from_bytes(content, Raw).unwrap_err(),
        ] {
            assert!(
                matches!(error.kind(), ErrorKind::NotADepot { .. } | ErrorKind::Damaged { .. }),
                "{error:?}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), content, "a refused file is left alone");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = folder();
    let missing = folder.path().join("missing.vld");
    let error = Depot::open(&missing, Raw).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("missing.vld"), "{error}");
    assert!(Depot::append(&missing, Raw).unwrap_err().is_not_found());
    assert!(
        matches!(Depot::open(folder.path(), Raw), Err(error) if matches!(error.kind(), ErrorKind::Io { .. }))
    );
    assert!(Depot::create(folder.path().join("no/such/folder.vld"), Raw).unwrap_err().is_not_found());
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let folder = folder();
    let path = folder.path().join("locked.vld");
    let writer = Depot::create(&path, Raw).unwrap();
    writer.put("a", b"1").unwrap();
    writer.commit().unwrap();
    let error = Depot::append(&path, Raw).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Locked), "{error:?}");
    let reader = Depot::open(&path, Raw).unwrap();
    assert_eq!(reader.get("a").unwrap().view(), b"1");
    drop(writer);
    Depot::append(&path, Raw).unwrap().put("b", b"2").unwrap();
}

#[test]
fn a_reader_refuses_to_write_and_says_how() {
    let folder = folder();
    let path = folder.path().join("read.vld");
    Depot::create(&path, Raw).unwrap().close().unwrap();
    let reader = Depot::open(&path, Raw).unwrap();
    for error in [
        reader.put("a", b"1").unwrap_err(),
        reader.remove("a").unwrap_err(),
        reader.commit().unwrap_err(),
        reader.set_depot_metadata("a", &1).unwrap_err(),
    ] {
        assert!(
            matches!(error.kind(), ErrorKind::ReadOnly) && error.to_string().contains("append"),
            "{error}"
        );
    }
    reader.close().unwrap();
}

#[test]
fn a_reader_follows_its_writer_commit_by_commit() {
    let folder = folder();
    let path = folder.path().join("followed.vld");
    let writer = Depot::create(&path, Raw).unwrap();
    let reader = Depot::open(&path, Raw).unwrap();
    assert!(reader.is_empty() && !reader.refresh().unwrap().changed());
    for n in 0..20u32 {
        writer.put(n, &n.to_le_bytes()).unwrap();
        assert_eq!(reader.len(), u64::from(n), "a reader's view is the commit it opened");
        if n % 2 == 0 {
            writer.commit().unwrap();
        } else {
            writer.publish().unwrap();
        }
        assert!(reader.refresh().unwrap().changed());
        assert_eq!(reader.get(n).unwrap().view(), n.to_le_bytes());
    }
    assert!(!reader.refresh().unwrap().changed());
    writer.close().unwrap();
    let closed = reader.refresh().unwrap();
    assert_eq!((closed.before, closed.kept, closed.now), (20, 20, 20), "merging the index is no change");
    assert_eq!(reader.len(), 20);
}

#[test]
fn records_outlive_the_depot_and_cross_threads() {
    let depot = Depot::memory(Raw).unwrap();
    depot.put("a", b"lives on").unwrap();
    depot.commit().unwrap();
    let record = depot.get("a").unwrap();
    drop(depot);
    std::thread::spawn(move || assert_eq!(record.view(), b"lives on")).join().unwrap();
}

#[test]
fn threads_read_while_others_write() {
    let folder = folder();
    let path = folder.path().join("threads.vld");
    let options = Layout::default().with_chunk_size(1 << 14).with_block_size(1 << 10);
    let depot = Depot::builder(Raw).layout(options).create(&path).unwrap();
    let bytes = |n: u32| vec![n as u8; 100 + n as usize % 900];
    std::thread::scope(|scope| {
        for writer in 0..2u32 {
            let depot = &depot;
            scope.spawn(move || {
                for n in (writer..1000).step_by(2) {
                    depot.put(n, &bytes(n)).unwrap();
                    if n % 100 == 0 {
                        depot.commit().unwrap();
                    }
                }
            });
        }
        for reader in 0..6u32 {
            let depot = &depot;
            scope.spawn(move || {
                for round in 0..2000 {
                    let n = (round * 7 + reader * 131) % 1000;
                    match depot.get(n) {
                        Ok(record) => assert_eq!(record.view(), bytes(n)),
                        Err(error) => assert!(error.is_not_found(), "{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(depot.len(), 1000);
    depot.close().unwrap();
    let depot = Depot::builder(Raw).open(&path).unwrap();
    for n in 0..1000 {
        assert_eq!(depot.get(n).unwrap().view(), bytes(n));
    }
}

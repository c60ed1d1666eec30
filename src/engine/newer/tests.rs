//! Files as a later version might write them: what this version reads, keeps and refuses.

use std::sync::Arc;

use crate::checksum::crc32c;
use crate::engine::Writer;
use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::{ChunkRef, PRELUDE_LEN};
use crate::format::entry::{EntryHead, HEAD_LEN, Kind};
use crate::format::growth::Features;
use crate::format::header::{CommitSlot, FIRST_ENTRY_AT, SLOT_AT, SLOT_LEN};
use crate::format::tables::{Commit, Parameters};
use crate::index::Location;
use crate::log::{EntryWalk, Scanner, Step};
use crate::maintain::{RepairOptions, VerifyOptions, compact_into, plan_compact, repair_in, verify_in};
use crate::storage::{MemoryStorage, Storage};
use crate::testing::fuzz::forge;
use crate::{Depot, Layout, OpenOptions, Raw, WriteOptions};

const N: u8 = 20;

fn payload(n: u8) -> Vec<u8> {
    (0..700_u32).map(|i| (i.wrapping_mul(2_654_435_761 + u32::from(n)) >> 13).to_le_bytes()[0]).collect()
}

fn memory(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

fn bytes_of(storage: &Arc<dyn Storage>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A closed depot of several chunks.
fn closed() -> Vec<u8> {
    let layout = Layout::default().with_chunk_size(4096).with_block_size(1024);
    let depot = Depot::builder(Raw).layout(layout).memory().unwrap();
    for n in 0..N {
        depot.put(n, &payload(n)).unwrap();
    }
    depot.to_bytes().unwrap()
}

fn append(bytes: &[u8]) -> Result<(Depot<Raw>, Arc<dyn Storage>)> {
    let storage = memory(bytes);
    let write = WriteOptions::default().with_threads(0);
    Ok((Depot::builder(Raw).write_options(write).append_in(Arc::clone(&storage))?, storage))
}

fn open(bytes: &[u8]) -> Result<Depot<Raw>> {
    Depot::builder(Raw).open_in(memory(bytes))
}

fn heads(bytes: &[u8]) -> Vec<EntryHead> {
    let storage = memory(bytes);
    let scanner = Scanner::new(&storage, false).unwrap();
    let walk = EntryWalk::new(&scanner, None).map(Result::unwrap);
    walk.filter_map(|step| if let Step::Entry(entry) = step { Some(entry.head) } else { None }).collect()
}

fn count_of(kind: u8, bytes: &[u8]) -> usize {
    heads(bytes).iter().filter(|head| head.kind.number() == kind).count()
}

/// The bytes with one more entry at their end.
fn with_entry(bytes: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let last = *heads(bytes).last().unwrap();
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(HEAD_LEN), 0);
    let head = EntryHead {
        kind: Kind::Other(kind),
        body_crc: crc32c(&body),
        sequence: last.sequence + 1,
        ordinal: 77,
        offset: last.offset + last.length,
        length: (HEAD_LEN + body.len()) as u64,
        previous: last.crc(),
        ..last
    };
    [bytes, &head.encode()[..], &body].concat()
}

/// The bytes with the head of the first entry of a kind changed, and with what follows from that.
fn with_head(bytes: &[u8], kind: Kind, change: impl Fn(&mut EntryHead)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut head = heads(&bytes).into_iter().find(|head| head.kind == kind).unwrap();
    change(&mut head);
    let at = usize::try_from(head.offset).unwrap();
    bytes[at..at + HEAD_LEN].copy_from_slice(&head.encode());
    forge(&mut bytes);
    bytes
}

fn without_slots(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in SLOT_AT {
        let at = usize::try_from(at).unwrap();
        bytes[at..at + SLOT_LEN].fill(0);
    }
    bytes
}

/// The bytes after one more commit, which `change` makes one of a later version. A closed file stays one but
/// for that.
fn with_commit(bytes: &[u8], change: impl Fn(&mut Commit, &mut Vec<u8>)) -> Vec<u8> {
    let (depot, storage) = append(bytes).unwrap();
    let mut writer = depot.engine.writer().unwrap();
    let snapshot = Arc::clone(&writer.shared.read().snapshot);
    let mut commit = Commit {
        sequence: snapshot.sequence + 1,
        parent: snapshot.offset,
        segments: snapshot.segments.iter().map(|segment| segment.reference).collect(),
        n_records: snapshot.n_records,
        n_chunks: snapshot.n_chunks,
        raw_bytes: snapshot.raw_bytes,
        metadata: snapshot.metadata,
        parameters: writer.shared.parameters.clone(),
        time: 0,
        undo: 0,
        losses: snapshot.losses,
        features: Features::default(),
        unknown_to_writers: None,
    };
    let mut table = commit.encode();
    change(&mut commit, &mut table);
    append_body(&mut writer, commit.sequence, &table);
    drop(writer);
    let bytes = bytes_of(&storage);
    drop(depot);
    bytes
}

fn append_body(writer: &mut Writer, sequence: u64, table: &[u8]) {
    writer.append.body(Kind::Commit, sequence, table).unwrap();
    writer.append.sync().unwrap();
}

/// A table with one more field, which no version knows: its vtable is written anew at the end.
fn with_unknown_field(table: &[u8], known: usize) -> Vec<u8> {
    let root = u32::from_le_bytes(table[..4].try_into().unwrap()) as usize;
    with_unknown_field_at(table, root, known)
}

/// The same for the table that field number `field` of the root has.
fn with_unknown_field_in(table: &[u8], field: usize, known: usize) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
    let root = word(0);
    let vtable = root - word(root);
    let slot = vtable + 4 + 2 * field;
    let at = root + usize::from(u16::from_le_bytes(table[slot..slot + 2].try_into().unwrap()));
    with_unknown_field_at(table, at + word(at), known)
}

fn with_unknown_field_at(table: &[u8], root: usize, known: usize) -> Vec<u8> {
    let mut table = table.to_vec();
    let back = i32::from_le_bytes(table[root..root + 4].try_into().unwrap());
    let old = usize::try_from(i64::try_from(root).unwrap() - i64::from(back)).unwrap();
    let old_len = usize::from(u16::from_le_bytes(table[old..old + 2].try_into().unwrap()));
    let mut vtable = table[old..old + old_len].to_vec();
    vtable.resize(4 + 2 * known, 0);
    // The field has a place that some other field has too.
    vtable.extend_from_slice(&4_u16.to_le_bytes());
    let len = u16::try_from(vtable.len()).unwrap();
    vtable[..2].copy_from_slice(&len.to_le_bytes());
    table.resize(table.len().next_multiple_of(8), 0);
    let to_new = i32::try_from(root).unwrap() - i32::try_from(table.len()).unwrap();
    table[root..root + 4].copy_from_slice(&to_new.to_le_bytes());
    table.extend_from_slice(&vtable);
    table
}

/// Keeps a file for the second reader, which must find so many records in it, or refuse it.
/// `VLDEPOT_WRITE_FORGED` names the folder.
fn keep(bytes: &[u8], verdict: &str) {
    if let Some(folder) = std::env::var_os("VLDEPOT_WRITE_FORGED") {
        let name = format!("{verdict}_{:08x}.vld", crc32c(bytes));
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
    }
}

fn newer(error: &Error) -> (&'static str, &str, bool) {
    let mut error = error;
    loop {
        if let ErrorKind::NewerFeature { what, name, readable, .. } = error.kind() {
            return (what, name, *readable);
        }
        let source = std::error::Error::source(error).expect("an error of a later version");
        error = source.downcast_ref().expect("an error of ours");
    }
}

/// Everything that opens the file for reading says that a newer version is needed, and nothing says damage.
fn assert_refused(bytes: &[u8], what: &'static str, name: &str) {
    keep(bytes, "refused");
    let verified = verify_in(memory(bytes), &VerifyOptions::default(), |_| {}).unwrap_err();
    assert_unwritable(bytes, what, name);
    for error in [verified, open(bytes).unwrap_err(), append(bytes).unwrap_err()] {
        assert_eq!(newer(&error), (what, name, false), "{error}");
        assert!(error.is_unsupported() && !error.is_damage() && !error.is_not_found(), "{error:?}");
        assert!(error.to_string().contains("needs a newer vldepot"), "{error}");
    }
}

/// The verbs that make a new file from this one, and that append to it, refuse, and change nothing.
fn assert_unwritable(bytes: &[u8], what: &'static str, name: &str) {
    let target = memory(&[]);
    let repaired = repair_in(memory(bytes), Arc::clone(&target), &RepairOptions::default(), |_| {});
    assert!(target.is_empty().unwrap(), "a refused repair wrote something");
    let compacted = compact_into(memory(bytes), memory(&[]), |_| {}).unwrap_err();
    let storage = memory(bytes);
    let appended = Depot::builder(Raw).append_in(Arc::clone(&storage)).unwrap_err();
    for error in [repaired.unwrap_err(), compacted, appended] {
        let (found_what, found_name, _) = newer(&error);
        assert_eq!((found_what, found_name), (what, name), "{error}");
        assert!(error.is_unsupported() && !error.is_damage(), "{error:?}");
    }
    assert!(bytes_of(&storage) == bytes, "a refused append wrote something");
}

fn assert_reads(bytes: &[u8], n: u8) {
    keep(bytes, &format!("reads_{n}"));
    let depot = open(bytes).unwrap();
    assert_eq!(depot.len(), u64::from(n));
    for n in 0..n {
        assert_eq!(depot.get(n).unwrap().view(), payload(n));
    }
    assert!(verify_in(memory(bytes), &VerifyOptions::default(), |_| {}).unwrap().is_whole());
}

#[test]
fn entries_that_may_be_skipped_stay_where_they_are() {
    for kind in [0x80, 0xbf, 0xc0, 0xff] {
        let mut bytes = with_entry(&closed(), kind, b"of a later version");
        assert_reads(&bytes, N);
        let report = verify_in(memory(&bytes), &VerifyOptions::default(), |_| {}).unwrap();
        assert_eq!((report.unknown_entries, report.torn_bytes), (1, 0));
        // A writer goes on after it, once and again, and a killed one too.
        for n in N..N + 3 {
            let (depot, storage) = append(&bytes).unwrap();
            depot.put(n, &payload(n)).unwrap();
            if n == N {
                depot.flush().unwrap();
            } else {
                depot.close().unwrap();
            }
            bytes = bytes_of(&storage);
            assert_reads(&bytes, n + 1);
            assert_reads(&without_slots(&bytes), n + 1);
            assert_eq!(count_of(kind, &bytes), 1);
        }
        let undone = with_entry(&bytes, kind, &vec![7; 3 << 20]);
        assert_reads(&undone, N + 3);
        // One that was not written to its end is a torn end like any other.
        let torn = &undone[..undone.len() - 100];
        assert_reads(torn, N + 3);
        let (depot, storage) = append(torn).unwrap();
        depot.close().unwrap();
        assert_reads(&bytes_of(&storage), N + 3);
        assert_eq!(count_of(kind, &bytes_of(&storage)), 1);
    }
}

#[cfg(feature = "shards")]
#[test]
fn shards_made_of_a_file_refuse_to_lose_entries() {
    use crate::shards::{ReshardOptions, reshard};
    let folder = tempfile::tempdir().unwrap();
    let (file, shards) = (folder.path().join("a.vld"), folder.path().join("shards"));
    let options = ReshardOptions::default().with_shard_bytes(1 << 20);
    for (kind, name) in [(0xc5, "197"), (0x85, "133")] {
        std::fs::write(&file, with_entry(&closed(), kind, b"one")).unwrap();
        assert_eq!(
            newer(&reshard(&file, &shards, &options, |_| {}).unwrap_err()),
            ("entry kind", name, true)
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    std::fs::write(&file, closed()).unwrap();
    assert_eq!(reshard(&file, &shards, &options, |_| {}).unwrap().records, u64::from(N));
}

#[test]
fn a_new_file_has_the_entries_that_may_be_copied_and_refuses_to_lose_others() {
    let copyable = with_entry(&with_entry(&closed(), 0xc5, b"one"), 0xc6, &[9; 2000]);
    let bodies = |bytes: &[u8]| -> Vec<(u8, u64, Vec<u8>)> {
        let others = heads(bytes).into_iter().filter(|head| head.kind.number() > 0x7f);
        let body = |head: EntryHead| {
            let at = usize::try_from(head.offset).unwrap();
            let end = at + usize::try_from(head.length).unwrap();
            (head.kind.number(), head.ordinal, bytes[at + HEAD_LEN..end].to_vec())
        };
        others.map(body).collect()
    };
    let (compacted, repaired) = (memory(&[]), memory(&[]));
    compact_into(memory(&copyable), Arc::clone(&compacted), |_| {}).unwrap();
    repair_in(memory(&copyable), Arc::clone(&repaired), &RepairOptions::default(), |_| {}).unwrap();
    for made in [compacted, repaired] {
        let bytes = bytes_of(&made);
        assert_reads(&bytes, N);
        assert_eq!(bodies(&bytes), bodies(&copyable));
        assert_eq!(bodies(&bytes).len(), 2);
    }
    let other = with_entry(&copyable, 0x85, b"where it is, and nowhere else");
    assert_reads(&other, N);
    for error in [
        compact_into(memory(&other), memory(&[]), |_| {}).unwrap_err(),
        repair_in(memory(&other), memory(&[]), &RepairOptions::default(), |_| {}).unwrap_err(),
    ] {
        assert_eq!(newer(&error), ("entry kind", "133", true));
    }
    // Damage in one is damage, and a compaction does not carry it along.
    let mut damaged = copyable.clone();
    let last = damaged.len() - 10;
    damaged[last] ^= 1;
    let (depot, storage) = append(&damaged).unwrap();
    depot.put(N, &payload(N)).unwrap();
    depot.close().unwrap();
    assert_reads(&bytes_of(&storage), N + 1);
    assert_eq!(bodies(&bytes_of(&storage)).len(), 1, "it was never whole, so it was a torn end");
}

#[test]
fn entries_that_must_be_known_refuse_the_file() {
    for kind in [0, 8, 9, 0x7f] {
        let name = kind.to_string();
        assert_refused(&with_entry(&closed(), kind, b"what changes the records"), "entry kind", &name);
        assert_refused(&without_slots(&with_entry(&closed(), kind, b"")), "entry kind", &name);
    }
    let flagged = with_head(&closed(), Kind::Frame, |head| head.reserved = [0, 0, 1]);
    assert_refused(&flagged, "the entry flags", "000001");
    let flagged = with_head(&closed(), Kind::Commit, |head| head.reserved = [1, 0, 0]);
    assert_refused(&flagged, "the entry flags", "010000");
}

#[test]
fn a_commit_says_what_readers_and_writers_must_know() {
    let features = |features: Features| {
        with_commit(&closed(), |commit, table| {
            commit.features = features;
            *table = commit.encode();
        })
    };
    assert_refused(
        &features(Features { incompatible: 1 << 9, read_only: 1, compatible: 1 }),
        "the incompatible feature bit",
        "9",
    );
    let writers = features(Features { read_only: 1 << 63, ..Features::default() });
    assert_reads(&writers, N);
    assert_unwritable(&writers, "the feature bit for writers", "63");
    assert_eq!(newer(&append(&writers).unwrap_err()), ("the feature bit for writers", "63", true));
    let anybody = features(Features { compatible: 1 << 5, ..Features::default() });
    assert_reads(&anybody, N);
    let (depot, storage) = append(&anybody).unwrap();
    depot.put(N, &payload(N)).unwrap();
    depot.close().unwrap();
    assert_reads(&bytes_of(&storage), N + 1);
    // A later commit without the bits needs them no more.
    let (depot, storage) = append(&closed()).unwrap();
    depot.put(N, &payload(N)).unwrap();
    depot.close().unwrap();
    assert_reads(&bytes_of(&storage), N + 1);
}

#[test]
fn fields_of_a_commit_that_nothing_explains_stop_writers() {
    let field = with_commit(&closed(), |_, table| *table = with_unknown_field(table, 16));
    assert_reads(&field, N);
    assert_unwritable(&field, "field", "16 of a commit");
    let copy = with_commit(&closed(), |_, table| *table = with_unknown_field_in(table, 8, 26));
    assert_reads(&copy, N);
    assert_unwritable(&copy, "field", "26 of the parameters in a commit");
    let explained = with_commit(&closed(), |commit, table| {
        commit.features.compatible = 2;
        *table = with_unknown_field(&commit.encode(), 16);
    });
    let (depot, storage) = append(&explained).unwrap();
    depot.put(N, &payload(N)).unwrap();
    depot.close().unwrap();
    assert_reads(&bytes_of(&storage), N + 1);
}

#[test]
fn a_commit_of_a_later_version_is_not_read_as_one_of_this() {
    let version = with_commit(&closed(), |commit, table| {
        commit.parameters.format_version = 2;
        *table = commit.encode();
    });
    assert_refused(&version, "format version", "2");
}

/// The bytes of a new file with these parameters, made by `table`, in its header, and one entry that `fill`
/// makes.
fn with_parameters(change: impl Fn(&mut Parameters), table: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = closed();
    let magic = b"VLDEPOT1";
    let at = bytes.windows(8).position(|window| window == magic).unwrap();
    let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let mut parameters = Parameters::decode(&bytes[at + 16..at + 16 + len]).unwrap();
    change(&mut parameters);
    let table = table(&parameters.encode());
    bytes[at + 8..at + 12].copy_from_slice(&u32::try_from(table.len()).unwrap().to_le_bytes());
    bytes[at + 12..at + 16].copy_from_slice(&crc32c(&table).to_le_bytes());
    bytes[at + 16..at + 16 + table.len()].copy_from_slice(&table);
    bytes
}

#[test]
fn the_bits_of_the_header_hold_until_there_is_a_commit() {
    let marked = |features: Features| with_parameters(|p| p.features = features, <[u8]>::to_vec);
    let incompatible = marked(Features { incompatible: 8, ..Features::default() });
    assert_reads(&incompatible, N);
    let fresh = usize::try_from(FIRST_ENTRY_AT).unwrap();
    let mut fresh = without_slots(&incompatible[..fresh]);
    assert_eq!(newer(&open(&fresh).unwrap_err()), ("the incompatible feature bit", "3", false));
    fresh = without_slots(&marked(Features { read_only: 2, ..Features::default() })[..fresh.len()]);
    assert!(open(&fresh).unwrap().is_empty());
    assert_unwritable(&fresh, "the feature bit for writers", "1");
}

#[test]
fn a_parameter_that_nothing_explains_stops_writers() {
    let field = with_parameters(|_| (), |table| with_unknown_field(table, 26));
    assert_reads(&field, N);
    assert_unwritable(&field, "field", "26 of the parameters");
}

/// The bytes with a field of the first CHUNK entry, and what the index says of its chunk, changed.
fn with_chunk(change: impl Fn(&mut [u8]), flags: u32) -> Vec<u8> {
    let mut bytes = closed();
    let head = heads(&bytes)[0];
    let at = usize::try_from(head.offset).unwrap();
    change(&mut bytes[at + HEAD_LEN..at + HEAD_LEN + PRELUDE_LEN]);
    let crc = crc32c(&bytes[at + HEAD_LEN..at + HEAD_LEN + PRELUDE_LEN]);
    let head = EntryHead { body_crc: crc, ..head };
    bytes[at..at + HEAD_LEN].copy_from_slice(&head.encode());
    // The reference in the index begins with the offset of the entry.
    let places: Vec<usize> = (at + HEAD_LEN..bytes.len() - ChunkRef::LEN)
        .filter(|&at| {
            let chunk = ChunkRef::decode(&bytes[at..at + ChunkRef::LEN]).unwrap();
            chunk.offset == head.offset && chunk.flags == 0 && chunk.block_size == 1024
        })
        .collect();
    for at in places {
        bytes[at + 28..at + 32].copy_from_slice(&flags.to_le_bytes());
    }
    forge(&mut bytes);
    bytes
}

#[test]
fn a_chunk_of_another_layout_gives_no_bytes() {
    let layout = with_chunk(|prelude| prelude[12] = 3, 3 << 8);
    keep(&layout, "refused");
    let depot = open(&layout).unwrap();
    assert_eq!(depot.len(), u64::from(N));
    let names: Vec<_> = depot.keys().map(Result::unwrap).collect();
    assert_eq!(names.len(), usize::from(N), "names are listed all the same");
    let reads = [
        depot.get(0_u8).unwrap_err(),
        depot.get_many(&[1_u8, 0]).unwrap_err(),
        depot.iter().next().unwrap().unwrap_err(),
        depot.loader().build().unwrap().next().unwrap().unwrap_err(),
    ];
    for error in reads {
        assert_eq!(newer(&error), ("payload layout", "3", false), "{error}");
        assert!(error.is_unsupported() && !error.is_damage());
    }
    assert_eq!(depot.get(N - 1).unwrap().view(), payload(N - 1), "other chunks read");
    let verified = verify_in(memory(&layout), &VerifyOptions::default(), |_| {}).unwrap_err();
    assert_eq!(newer(&verified).0, "payload layout");
    for error in [
        compact_into(memory(&layout), memory(&[]), |_| {}).unwrap_err(),
        repair_in(memory(&layout), memory(&[]), &RepairOptions::default(), |_| {}).unwrap_err(),
    ] {
        assert_eq!((newer(&error).0, newer(&error).1), ("payload layout", "3"));
    }
    let flags = open(&with_chunk(|_| (), 1 << 20)).unwrap();
    assert_eq!(newer(&flags.get(0_u8).unwrap_err()), ("the chunk flags", "0x100000", false));
    let unchecked = open(&with_chunk(|_| (), ChunkRef::FOREIGN)).unwrap();
    assert_eq!(newer(&unchecked.get(0_u8).unwrap_err()), ("the chunk flags", "0x80000000", false));
    let depot = Depot::builder(Raw)
        .open_options(OpenOptions::default().with_cache_bytes(1 << 20))
        .open_in(memory(&layout));
    assert!(depot.unwrap().get(0_u8).unwrap_err().is_unsupported());
}

#[test]
fn what_no_commit_covers_and_this_version_does_not_know_refuses_the_file() {
    // Without commits, each entry is read for itself.
    let first = |bytes: &[u8]| {
        let end = usize::try_from(heads(bytes)[1].offset).unwrap();
        without_slots(&bytes[..end])
    };
    let layout = first(&with_chunk(|prelude| prelude[12] = 3, 0));
    assert_refused(&layout, "payload layout", "3");
    let fields = first(&with_chunk(|prelude| prelude[60] = 1, 0));
    assert_refused(&fields, "fields of the prelude", "from byte 44 on");
}

/// The bytes with bits 48 to 63 of the first record's location in the index set.
fn with_location(flags: u16) -> Vec<u8> {
    let mut bytes = closed();
    let checksum = crc32c(&payload(0));
    let location = Location { address: 0, length: 700, checksum, flags: 0 }.encode();
    let places: Vec<usize> = (0..bytes.len() - 16).filter(|&at| bytes[at..at + 16] == location).collect();
    assert_eq!(places.len(), 1);
    bytes[places[0] + 6..places[0] + 8].copy_from_slice(&flags.to_le_bytes());
    forge(&mut bytes);
    bytes
}

#[test]
fn a_record_of_another_layout_gives_no_bytes() {
    for (flags, what, name) in [(5 << 1, "record layout", "5"), (1, "the record flags", "0x1")] {
        let bytes = with_location(flags);
        keep(&bytes, "refused");
        let depot = open(&bytes).unwrap();
        assert_eq!(depot.keys().map(Result::unwrap).count(), usize::from(N));
        assert!(depot.contains(1_u8).unwrap());
        let reads = [
            depot.get(0_u8).unwrap_err(),
            depot.get_at(0).unwrap_err(),
            depot.get_many(&[1_u8, 0]).unwrap_err(),
            depot.loader().build().unwrap().next().unwrap().unwrap_err(),
        ];
        for error in reads {
            assert_eq!(newer(&error), (what, name, false), "{error}");
        }
        assert_eq!(depot.get(1_u8).unwrap().view(), payload(1));
        let verified = verify_in(memory(&bytes), &VerifyOptions::default(), |_| {}).unwrap_err();
        assert_eq!(newer(&verified).0, what);
        assert!(compact_into(memory(&bytes), memory(&[]), |_| {}).unwrap_err().is_unsupported());
    }
}

#[test]
fn a_slot_with_more_than_this_version_knows_refuses_the_file() {
    let mut bytes = closed();
    let at = usize::try_from(SLOT_AT[1]).unwrap();
    assert!(CommitSlot::parse(&bytes[at..at + SLOT_LEN]).is_some());
    bytes[at + 50] = 1;
    let crc = crc32c(&bytes[at..at + SLOT_LEN - 4]);
    bytes[at + SLOT_LEN - 4..at + SLOT_LEN].copy_from_slice(&crc.to_le_bytes());
    assert_refused(&bytes, "fields of the commit slot", "from byte 44 on");
}

#[test]
fn a_plan_to_compact_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.vld");
    std::fs::write(&path, with_entry(&closed(), 9, b"")).unwrap();
    assert!(plan_compact(&path).unwrap_err().is_unsupported());
}

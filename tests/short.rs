//! Files that lost something committed.
//!
//! What is left of them is never listed, compacted or appended to as if it were everything, and a loss
//! that somebody accepted stays known.

use std::collections::BTreeMap;
use std::sync::Arc;

use vldepot::maintain::{RepairOptions, VerifyOptions, compact_into, repair_in, verify_in};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{CommitEvery, Depot, Error, ErrorKind, Layout, OpenOptions, Raw, WriteOptions};

fn writing() -> WriteOptions {
    WriteOptions::default().with_threads(0).with_commit_every(CommitEvery::never())
}

const N: u32 = 40;

fn name(n: u32) -> String {
    format!("frame_{n:04}")
}

fn payload(n: u32) -> Vec<u8> {
    (0..700_u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(n * n) >> 11).to_le_bytes()[0]).collect()
}

fn storage(bytes: &[u8]) -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::from_bytes(bytes))
}

fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A closed depot of 40 records and eight commits, with metadata of its own.
fn whole() -> Vec<u8> {
    let options = Layout::default().with_chunk_size(4096).with_block_size(1024);
    let depot = Depot::builder(Raw).layout(options).write_options(writing()).memory().unwrap();
    for n in 0..N {
        depot.put(name(n), &payload(n)).unwrap();
        if n % 5 == 4 {
            depot.set_depot_metadata("last", &n).unwrap();
            depot.commit().unwrap();
        }
    }
    depot.to_bytes().unwrap()
}

fn accepting() -> OpenOptions {
    OpenOptions::default().with_accept_loss(true)
}

fn open(bytes: &[u8], options: &OpenOptions) -> Result<Depot<Raw>, Error> {
    Depot::builder(Raw).open_options(options.clone()).open_in(storage(bytes))
}

/// The records of a depot, all of which must be right.
fn records(depot: &Depot<Raw>, what: &str) -> BTreeMap<String, Vec<u8>> {
    let records: BTreeMap<_, _> = depot
        .iter()
        .map(|entry| {
            let (key, record) = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
            (key.to_string(), record.as_bytes().to_vec())
        })
        .collect();
    for (name, bytes) in &records {
        let n: u32 = name[6..].parse().unwrap();
        assert!(*bytes == payload(n), "{what}: {name}");
    }
    assert_eq!(records.len() as u64, depot.len(), "{what}");
    let loaded: usize = depot.loader().build().unwrap().map(|batch| batch.unwrap().len()).sum();
    assert_eq!(loaded, records.len(), "{what}");
    records
}

/// How many records `repair` keeps, and whether it says that some are lost.
fn repaired(bytes: &[u8], what: &str) -> Option<(usize, bool, Vec<u8>)> {
    let to = storage(&[]);
    let report = repair_in(storage(bytes), Arc::clone(&to), &RepairOptions::default(), |_| {}).ok()?;
    let kept = Depot::builder(Raw).open_in(Arc::clone(&to)).unwrap();
    let kept = records(&kept, what).len();
    Some((kept, !(report.lost.is_empty() && report.problems.is_empty()), bytes_of(&*to)))
}

/// Checks that no operation takes a part of the file for all of it.
fn check(bytes: &[u8], what: &str) {
    let saved = repaired(bytes, what);
    let kept = saved.as_ref().map_or(0, |(kept, ..)| *kept);
    if kept < N as usize
        && let Some((_, told, new)) = &saved
    {
        assert!(told, "{what}: repair kept {kept} and said nothing");
        let new = open(new, &OpenOptions::default()).unwrap();
        let lost = (0..N).map(name).find(|name| new.get(name).is_err()).unwrap();
        let error = new.get(&lost).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::LostEarlier { .. }) && error.is_damage(),
            "{what}: {error:?}"
        );
    }
    match open(bytes, &OpenOptions::default()) {
        Ok(depot) => assert_eq!(records(&depot, what).len(), N as usize, "{what}: a short listing"),
        Err(error) => {
            let short = matches!(error.kind(), ErrorKind::Incomplete { .. });
            if let Ok(depot) = open(bytes, &accepting()) {
                assert!(short, "{what}: {error:?}");
                let there = records(&depot, what);
                assert!(matches!(depot.incomplete().unwrap().kind(), ErrorKind::Incomplete { .. }), "{what}");
                let missing = (0..N).map(name).find(|name| !there.contains_key(name));
                if let Some(name) = missing {
                    assert!(
                        matches!(depot.get(&name), Err(error) if matches!(error.kind(), ErrorKind::LostCommit { .. })),
                        "{what}"
                    );
                    assert!(depot.contains(&name).is_err(), "{what}");
                }
            }
        }
    }
    let compacted = storage(&[]);
    if compact_into(storage(bytes), Arc::clone(&compacted), |_| {}).is_ok() {
        let compacted = Depot::builder(Raw).open_in(compacted).unwrap();
        assert_eq!(records(&compacted, what).len(), N as usize, "{what}: compaction hid a loss");
    }
    if let Ok(depot) = Depot::builder(Raw).append_in(storage(bytes)) {
        assert_eq!(records(&depot, what).len(), N as usize, "{what}: appending hid a loss");
        depot.put(name(N), &payload(N)).unwrap();
        assert_eq!(depot.truncate_after(name(N - 1)).unwrap(), 1, "{what}");
    }
    if let Ok(report) = verify_in(storage(bytes), &VerifyOptions::default(), |_| {}) {
        let all = open(bytes, &OpenOptions::default()).is_ok();
        assert!(all || !report.is_whole(), "{what}: {report:?}");
    }
    // An append with the loss accepted keeps all that repair would have kept, and the loss stays known.
    let target = storage(bytes);
    if let Ok(depot) = Depot::builder(Raw).open_options(accepting()).append_in(Arc::clone(&target)) {
        let there = records(&depot, what).len();
        assert!(there >= kept, "{what}: {there} of {kept}");
        for n in N..N + 3 {
            depot.put(name(n), &payload(n)).unwrap();
            depot.commit().unwrap();
        }
        depot.close().unwrap();
        if there < N as usize {
            check_known(&bytes_of(&*target), there + 3, what);
        }
    }
}

/// Checks that the file has `n` records, and says of others that they are lost.
fn check_known(bytes: &[u8], n: usize, what: &str) {
    let depot = open(bytes, &OpenOptions::default()).unwrap();
    let there = records(&depot, what);
    assert_eq!(there.len(), n, "{what}");
    let lost = (0..N).map(name).find(|name| !there.contains_key(name)).unwrap();
    assert!(
        matches!(depot.get(&lost), Err(error) if matches!(error.kind(), ErrorKind::LostEarlier { .. })),
        "{what}"
    );
    assert_eq!(depot.info().unwrap().losses.len(), 1, "{what}");
    let report = verify_in(storage(bytes), &VerifyOptions::default(), |_| {}).unwrap();
    assert!(!report.is_whole() && report.losses.len() == 1, "{what}: {report:?}");
    // Compacting carries the loss over.
    let compacted = storage(&[]);
    compact_into(storage(bytes), Arc::clone(&compacted), |_| {}).unwrap();
    let compacted = Depot::builder(Raw).open_in(compacted).unwrap();
    assert!(
        matches!(compacted.get(&lost), Err(error) if matches!(error.kind(), ErrorKind::LostEarlier { .. })),
        "{what}"
    );
}

#[test]
fn a_depot_cut_anywhere_is_never_taken_for_a_whole_one() {
    let bytes = whole();
    let step = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 97 } else { 997 };
    for len in (0..bytes.len()).step_by(step) {
        check(&bytes[..len], &format!("cut to {len}"));
    }
    // Where little but the padding of an entry is missing.
    let is_head = |at: &usize| bytes[*at..].starts_with(b"\x8bVLD\r\n\x1a\0");
    for end in (4224..bytes.len()).step_by(64).filter(is_head) {
        for missing in [0, 1, 11, 40] {
            let len = end - missing;
            check(&bytes[..len], &format!("cut to {len}, {missing} bytes before an entry"));
        }
    }
}

#[test]
fn a_depot_with_missing_bytes_in_its_middle_is_repaired_and_nothing_else() {
    let bytes = whole();
    // Where an entry starts. Damage inside a chunk that a slot vouches for shows when that chunk is read.
    let heads = |at: &usize| bytes[*at..].starts_with(b"\x8bVLD\r\n\x1a\0");
    let middle = (bytes.len() / 2 / 64 * 64..).step_by(64).find(heads).unwrap();
    for gap in [64, 100, 4096] {
        let mut missing = bytes.clone();
        missing.drain(middle..middle + gap);
        let what = format!("{gap} bytes missing");
        check(&missing, &what);
        assert!(open(&missing, &OpenOptions::default()).is_err(), "{what}");
        let refused = compact_into(storage(&missing), storage(&[]), |_| {}).unwrap_err();
        assert!(refused.to_string().contains("repair"), "{what}: {refused}");
        assert!(
            Depot::builder(Raw).open_options(accepting()).append_in(storage(&missing)).is_err(),
            "{what}"
        );
        let (kept, told, _) = repaired(&missing, &what).unwrap();
        assert!(kept == N as usize || told && kept >= N as usize - 8, "{what}: {kept}");
    }
}

#[test]
fn a_commit_that_cannot_be_read_costs_nothing_when_all_it_had_is_there() {
    let bytes = whole();
    let commit = (4160..bytes.len())
        .step_by(64)
        .rfind(|&at| bytes[at..].starts_with(b"\x8bVLD\r\n\x1a\0") && bytes[at + 8] == 3)
        .unwrap();
    for at in [commit + 20, commit + 80] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let depot = open(&damaged, &OpenOptions::default()).unwrap();
        assert_eq!(records(&depot, "damaged commit").len(), N as usize);
        assert_eq!(
            depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["last"],
            N - 1
        );
        let info = depot.info().unwrap();
        assert!(info.lost_commits > 0 && info.complete, "{info:?}");
        let target = storage(&damaged);
        let depot = Depot::builder(Raw).append_in(Arc::clone(&target)).unwrap();
        depot.close().unwrap();
        let depot = Depot::builder(Raw).open_in(target).unwrap();
        assert_eq!(records(&depot, "appended").len(), N as usize);
        let info = depot.info().unwrap();
        assert!(info.lost_commits == 0 && info.losses.is_empty(), "{info:?}");
        assert_eq!(
            depot.all_depot_metadata::<serde_json::Map<String, serde_json::Value>>().unwrap()["last"],
            N - 1
        );
    }
}

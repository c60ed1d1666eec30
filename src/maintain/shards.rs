//! Checks a folder of shards: each shard, and what the manifest says of them.

use std::path::Path;

use super::verify::{VerifyOptions, VerifyReport, verify_storage};
use super::{Describe, LostRecord, Progress};
use crate::engine::Engine;
use crate::error::{Error, Part, Result};
use crate::manifest::path_in;
use crate::options::OpenOptions;

/// Checks all shards of a folder. Their counts are added up.
pub(super) fn verify_set(
    folder: &Path,
    options: VerifyOptions,
    describe: Option<&Describe<'_>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    let engine = Engine::open_set_any(folder, &OpenOptions::default().with_accept_loss(true))?;
    let mut whole = VerifyReport {
        path: folder.to_owned(),
        quick: options.quick,
        format: "shards",
        file_bytes: 0,
        entries: 0,
        chunks: 0,
        index_segments: 0,
        commits: 0,
        unknown_entries: 0,
        records: 0,
        records_read: 0,
        bytes_read: 0,
        uncommitted_records: 0,
        torn_bytes: 0,
        standard_frame: true,
        losses: Vec::new(),
        damaged_records: Vec::new(),
        problems: engine.all_missing(),
    };
    let shards = engine.shards();
    let mut before = Progress { done: 0, total: 0 };
    for shard in shards {
        let mut last = Progress { done: 0, total: 0 };
        let report = verify_storage(shard, options, describe, &mut |now| {
            last = now;
            progress(Progress { done: before.done + now.done, total: before.total + now.total });
        })?;
        before = Progress { done: before.done + last.done, total: before.total + last.total };
        whole.file_bytes += report.file_bytes;
        whole.entries += report.entries;
        whole.chunks += report.chunks;
        whole.index_segments += report.index_segments;
        whole.commits += report.commits;
        whole.unknown_entries += report.unknown_entries;
        whole.records += report.records;
        whole.records_read += report.records_read;
        whole.bytes_read += report.bytes_read;
        whole.uncommitted_records += report.uncommitted_records;
        whole.torn_bytes += report.torn_bytes;
        whole.standard_frame &= report.standard_frame;
        whole.losses.extend(report.losses);
        whole.damaged_records.extend(report.damaged_records);
        whole.problems.extend(report.problems);
    }
    if whole.problems.is_empty() {
        whole.damaged_records.extend(wrongly_counted(&engine, folder)?);
    }
    Ok(whole)
}

/// Names that the manifest wrongly counts as superseded, or does not.
fn wrongly_counted(engine: &Engine, folder: &Path) -> Result<Vec<LostRecord>> {
    let lost = |name: Vec<u8>| {
        let expected = "the newest record of each name to count, and no other";
        let error = Error::damaged(path_in(folder), Part::File, 0, expected, "another one that counts");
        LostRecord::new(&name, error)
    };
    Ok(engine.wrongly_superseded()?.into_iter().map(lost).collect())
}

//! Finds what compacting would remove for good: every record that was put and is no longer live.
//!
//! The directories of the chunks name them.

use std::path::Path;
use std::sync::Arc;

use crate::depot::Removal;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::entry::Kind;
use crate::format::tables::Action;
use crate::key::Key;
use crate::log::{EntryWalk, Scanner, Step, replay};
use crate::storage::{FileStorage, Storage};

/// What [`compact`](crate::maintain::compact) would remove from the depot at `path` for good.
///
/// These are the records that were removed, truncated or replaced. Until the depot is compacted they can
/// be brought back, or at least be found in the file.
///
/// Changes nothing, and needs no lock. A record that was replaced counts once for each time. Reads the
/// directories of all chunks, but not the records.
///
/// ```
/// use vldepot::maintain::plan_compact;
/// use vldepot::{Depot, Key, Raw};
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("run.vld");
/// let depot = Depot::create(&path, Raw)?;
/// for step in 0..5 {
///     depot.put(step, b"..")?;
/// }
/// depot.truncate_after(2)?;
/// depot.close()?;
/// let removal = plan_compact(&path)?;
/// assert_eq!((removal.removed, removal.kept), (2, 3));
/// assert_eq!((removal.first, removal.last), (Some(Key::Int(3)), Some(Key::Int(4))));
/// # Ok::<(), vldepot::Error>(())
/// ```
///
/// # Errors
/// The errors of [`Depot::open`](crate::Depot::open). [`Error::is_damage`] for a damaged directory.
/// [`ErrorKind::NotADepot`] for a file of another program.
pub fn plan_compact(path: impl AsRef<Path>) -> Result<Removal> {
    let path = path.as_ref();
    let failed = |source| Error::io(path, "open the file", source);
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(path).map_err(failed)?);
    let engine = Engine::open_any(storage, false)?;
    if engine.is_foreign() {
        let found = "a file of another program, which can be read and not rewritten";
        return Err(ErrorKind::NotADepot { found: found.into() }.at(path));
    }
    let (kept, ..) = engine.counts();
    let mut removal = Removal { removed: 0, kept, first: None, last: None, everything: false };
    let (mut first, mut last) = (None, None);
    walk(&engine, &mut |name| {
        removal.removed += 1;
        first.get_or_insert_with(|| name.to_vec());
        last = Some(name.to_vec());
    })?;
    let key = |name: Option<Vec<u8>>| name.and_then(|name| Key::from_tagged(&name));
    (removal.first, removal.last) = (key(first), key(last));
    removal.everything = kept == 0 && removal.removed > 0;
    Ok(removal)
}

/// Calls `gone` with the tagged name of every record that was put and is not live, in the order of the
/// file.
fn walk(engine: &Engine, gone: &mut dyn FnMut(&[u8])) -> Result<()> {
    let storage = engine.storage();
    let parameters = engine.parameters();
    let scanner = Scanner::new(storage, false)?;
    let end = engine.tail().offset;
    for (next, step) in (1..).zip(EntryWalk::new(&scanner, Some(parameters.depot_id))) {
        let entry = match step? {
            Step::Gap(range) if range.start >= end => return Ok(()),
            Step::Gap(range) => {
                return Err(scanner.damaged(Part::Entry, range.start, "an entry", "bytes of none"));
            }
            Step::Entry(entry) => entry,
        };
        let head = entry.head;
        if head.offset >= end {
            return Ok(());
        }
        if head.sequence != next || !entry.in_place() || !entry.whole {
            let found = format!("entry {} written for byte {}", head.sequence, entry.written_at);
            return Err(scanner.damaged(Part::Entry, head.offset, format!("entry {next}"), found));
        }
        scanner.check_known(&head)?;
        if !matches!(head.kind, Kind::Chunk | Kind::Log) {
            continue;
        }
        let directory = scanner.directory(&head, &scanner.prelude(&head)?)?;
        for (operation, location, _) in replay(&directory, head.ordinal, parameters) {
            if matches!(operation.action, Action::Put { .. } | Action::Named { .. }) {
                let live = engine.place_of(&operation.name)?;
                if live.is_none() || live != location {
                    gone(&operation.name);
                }
            }
        }
    }
    Ok(())
}

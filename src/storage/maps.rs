//! Memory maps of a file that grows. Each map covers a stretch of the file.
//!
//! ```text
//! the file at open                     first refresh     second
//! [------------ stretch 1 ------------][-- stretch 2 --][ 3 ]
//! ```
//!
//! The first map covers the whole file, each later one what was appended since. So each byte takes
//! address space once. There are few maps, and none on file systems where a map cannot be trusted. If
//! the system refuses a map, the caller reads instead.

use std::fs::File;
use std::sync::{Arc, RwLock};

use memmap2::Mmap;

use super::system::{self, FileSystem};
use crate::buffer::Bytes;
use crate::sync;

/// The most maps kept. The next one covers the whole file again and replaces them.
const MOST: usize = 64;

/// A map of a stretch of the file.
#[derive(Debug)]
struct Stretch {
    start: u64,
    map: Arc<Mmap>,
}

impl Stretch {
    fn end(&self) -> u64 {
        self.start + self.map.len() as u64
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// Starts and ends both increase.
    stretches: Vec<Stretch>,
    /// The fewest bytes the system has refused to map.
    refused: Option<u64>,
    /// The file's length when the maps were made.
    file_len: u64,
}

impl Kept {
    /// Where the next map starts. It must cover byte `start`.
    fn next_start(&self, start: u64) -> u64 {
        let mapped = self.stretches.last().map_or(0, Stretch::end);
        if self.stretches.len() < MOST { mapped.min(start) } else { 0 }
    }

    fn find(&self, start: u64, end: u64) -> Option<Bytes> {
        let after = self.stretches.partition_point(|stretch| stretch.start <= start);
        let stretch = self.stretches.get(after.checked_sub(1)?).filter(|stretch| stretch.end() >= end)?;
        // Both fit into `usize`, because the map exists and is at least as long.
        let from = usize::try_from(start - stretch.start).ok()?;
        let to = usize::try_from(end - stretch.start).ok()?;
        Some(Bytes::from_map(Arc::clone(&stretch.map), from..to))
    }
}

/// The maps of one file. A record keeps the map it borrows from alive.
#[derive(Debug)]
pub(super) struct Maps {
    file_system: FileSystem,
    kept: RwLock<Kept>,
}

impl Maps {
    /// The maps of a file on such a file system. `None` if its files are not mapped.
    pub(super) fn new(file_system: FileSystem) -> Option<Self> {
        (file_system != FileSystem::Other).then(|| Self { file_system, kept: RwLock::default() })
    }

    /// Whether the file is in a layer of a container.
    pub(super) fn over_layers(&self) -> bool {
        self.file_system == FileSystem::Overlay
    }

    /// Notes the file's length. In a layered file system, a changed length means that a copy may have
    /// taken the place of the mapped file.
    pub(super) fn note_len(&self, file_len: u64) {
        if !self.over_layers() {
            return;
        }
        let kept = sync::read(&self.kept);
        let changed = !kept.stretches.is_empty() && kept.file_len != file_len;
        drop(kept);
        if changed {
            *sync::write(&self.kept) = Kept::default();
        }
    }

    /// The bytes `start..end`, if they are mapped.
    pub(super) fn find(&self, start: u64, end: u64) -> Option<Bytes> {
        sync::read(&self.kept).find(start, end)
    }

    /// Whether the system has already refused a map as large as byte `start` of a file of this length
    /// needs.
    pub(super) fn is_refused(&self, start: u64, file_len: u64) -> bool {
        let kept = sync::read(&self.kept);
        kept.refused.is_some_and(|refused| file_len.saturating_sub(kept.next_start(start)) >= refused)
    }

    /// Maps `start..end`, and all else of the first `file_len` bytes of `file` that is not mapped yet.
    ///
    /// `None` if the system refuses.
    pub(super) fn extend(&self, start: u64, end: u64, file: &File, file_len: u64) -> Option<Bytes> {
        let mut kept = sync::write(&self.kept);
        // Another thread may have been faster.
        if let Some(bytes) = kept.find(start, end) {
            return Some(bytes);
        }
        let from = kept.next_start(start);
        if end > file_len || from >= file_len {
            return None;
        }
        let Ok(map) = system::map(file, from..file_len) else {
            kept.refused = Some(file_len - from);
            return None;
        };
        kept.stretches.retain(|stretch| stretch.start < from);
        kept.stretches.push(Stretch { start: from, map: Arc::new(map) });
        kept.file_len = file_len;
        kept.find(start, end)
    }
}

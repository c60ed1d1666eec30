//! The open files of a set.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::options::OpenOptions;
use crate::storage::Storage;

/// What a set is opened from, and its open files.
pub(in crate::engine) struct Set {
    pub(super) folder: PathBuf,
    pub(super) options: OpenOptions,
    /// By slot. A file keeps its slot, and no other one gets it.
    pub(super) files: Mutex<Vec<Opened>>,
}

/// A shard that was opened.
pub(super) struct Opened {
    /// As in the manifest.
    pub(super) path: String,
    pub(super) storage: Arc<dyn Storage>,
}

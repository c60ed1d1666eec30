//! The part of an engine that readers and the writer share.

use std::io;
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::catalog::State;
use crate::error::Error;
use crate::format::tables::Parameters;
use crate::index::Extras;
use crate::storage::{Storage, StorageExt};
use crate::sync;

/// The part of an engine that readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) parameters: Parameters,
    pub(crate) mapped: bool,
    /// Whether the storage lends bytes, once that was asked for.
    lends: OnceLock<bool>,
    /// See the [order of locks](super).
    state: RwLock<State>,
}

impl Shared {
    pub(crate) fn new(storage: Arc<dyn Storage>, parameters: Parameters, mapped: bool, state: State) -> Self {
        Self { storage, parameters, mapped, lends: OnceLock::new(), state: RwLock::new(state) }
    }

    /// Whether bytes must be read from far away, so that it is worth reading many in one call.
    pub(crate) fn reads_ahead(&self) -> bool {
        let lends =
            || self.storage.is_near() || (self.mapped && matches!(self.storage.map(0, 1), Ok(Some(_))));
        !*self.lends.get_or_init(lends)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        sync::read(&self.state)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        sync::write(&self.state)
    }

    /// What index segments of this depot have besides names and places.
    pub(crate) fn extras(&self) -> Extras<'_> {
        let Parameters { filters, order, columns, .. } = &self.parameters;
        Extras { filter: *filters, order: *order, columns }
    }

    pub(crate) fn io(&self, action: impl Into<String>, source: io::Error) -> Error {
        self.storage.io(action, source)
    }
}

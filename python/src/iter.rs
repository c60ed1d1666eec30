//! Iterators over a depot, which keep it open until they end, are dropped, or the depot is closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use self_cell::self_cell;
use vldepot::Key;

use crate::codec::{AnyDepot, Fetched};
use crate::error::Failure;
use crate::key;

/// One item of a listing.
pub(crate) enum Entry {
    Name(Key),
    Record(Key, Fetched),
    /// The number of atoms of a frame, where nothing else is asked for.
    Atoms(u32),
}

pub(crate) type Items<'a> = Box<dyn Iterator<Item = vldepot::Result<Entry>> + Send + 'a>;

self_cell! {
    /// A listing, and the depot that it borrows from.
    pub(crate) struct Listing {
        owner: Arc<AnyDepot>,
        #[not_covariant]
        dependent: Items,
    }
}

/// A listing that closing the depot takes away.
pub(crate) type Shared = Arc<Mutex<Option<Listing>>>;

/// Names, and records, that are taken from the depot together: the GIL is released once for all of them.
const NAMES: usize = 256;
const RECORDS: usize = 16;

/// What an iterator gives for an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Names,
    Values,
    Items,
}

struct Taken {
    entries: VecDeque<Entry>,
    /// What comes after these entries.
    failed: Option<vldepot::Error>,
    ended: bool,
}

/// Iterates over names, values, or both.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct DepotIterator {
    listing: Shared,
    taken: Mutex<Taken>,
    shape: Shape,
    object: Option<Py<PyAny>>,
}

impl DepotIterator {
    pub(crate) fn new(listing: Shared, shape: Shape, object: Option<Py<PyAny>>) -> Self {
        let taken = Taken { entries: VecDeque::new(), failed: None, ended: false };
        Self { listing, taken: Mutex::new(taken), shape, object }
    }

    /// Takes at most so many numbers of atoms.
    pub(crate) fn take_atoms(&self, out: &mut Vec<u32>, at_most: usize) -> Result<(), Failure> {
        for _ in 0..at_most {
            match self.take()? {
                Some(Entry::Atoms(n_atoms)) => out.push(n_atoms),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes the next entry, and some more if there is none at hand.
    fn take(&self) -> Result<Option<Entry>, Failure> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = taken.entries.pop_front() {
            return Ok(Some(entry));
        }
        if let Some(error) = taken.failed.take() {
            return Err(error.into());
        }
        if taken.ended {
            return Ok(None);
        }
        let at_once = if self.shape == Shape::Names { NAMES } else { RECORDS };
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listing_now) = listing.as_mut() else { return Err(Failure::Closed) };
        let mut ended = false;
        listing_now.with_dependent_mut(|_, items| {
            for _ in 0..at_once {
                match items.next() {
                    Some(Ok(entry)) => taken.entries.push_back(entry),
                    Some(Err(error)) => {
                        taken.failed = Some(error);
                        return;
                    }
                    None => {
                        ended = true;
                        return;
                    }
                }
            }
        });
        if ended {
            // The depot is free to close.
            *listing = None;
            taken.ended = true;
        }
        match taken.entries.pop_front() {
            Some(entry) => Ok(Some(entry)),
            None => taken.failed.take().map_or(Ok(None), |error| Err(error.into())),
        }
    }
}

#[pymethods]
impl DepotIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let at_hand = {
            // Never waits: nobody holds this lock and needs the GIL.
            let taken = self.taken.try_lock();
            taken.ok().and_then(|mut taken| taken.entries.pop_front())
        };
        let entry = if at_hand.is_some() {
            at_hand
        } else {
            // A long listing in one call, such as `list(depot)`, can be interrupted.
            py.check_signals()?;
            py.detach(|| self.take())?
        };
        Ok(match entry {
            None => None,
            Some(Entry::Atoms(n_atoms)) => Some(n_atoms.into_pyobject(py)?.into_any()),
            Some(Entry::Name(name)) => Some(key::to_python(py, &name)?),
            Some(Entry::Record(name, fetched)) => {
                let value = fetched.into_python(py, self.object.as_ref())?;
                if self.shape == Shape::Values {
                    return Ok(Some(value));
                }
                Some(PyTuple::new(py, [key::to_python(py, &name)?, value])?.into_any())
            }
        })
    }
}

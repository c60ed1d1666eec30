//! The engines, one file each, behind two traits.
//!
//! An [`Engine`] writes a store, and a [`Store`] is one opened for reading. All engines get the same
//! bytes under the same names. They hand out records by calling `visit` with the bytes. The harness
//! decides what is done with the records, and does the same for all engines.

mod blosc;
mod flat;
#[cfg(feature = "hdf5")]
mod hdf5;
mod heed;
mod limits;
mod packed;
mod redb;
mod vldepot;
mod vldepot_flat;
mod zstd;

use std::path::Path;
use std::rc::Rc;

pub(crate) use limits::with_threads;

use crate::Result;
use crate::data::{Load, Name, touch};

/// Called with the bytes of each record.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[u8]);

/// Engines with transactions commit after this many records, as vldepot does by itself.
const COMMIT_RECORDS: usize = 1 << 20;
/// They also commit after this many bytes.
const COMMIT_BYTES: usize = 256 << 20;

/// How many names are asked for at once.
pub(crate) const BATCH: usize = 256;

/// Something that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Write,
    Put,
    Commit,
    Size,
    Open,
    FirstGet,
    Lookup,
    Get,
    GetMany,
    Scan,
    EpochWindowed,
    EpochFull,
    GetCold,
    ScanCold,
    EpochCold,
}

impl Operation {
    pub(crate) const ALL: [Self; 15] = [
        Self::Write,
        Self::Put,
        Self::Commit,
        Self::Size,
        Self::Open,
        Self::FirstGet,
        Self::Lookup,
        Self::Get,
        Self::GetMany,
        Self::Scan,
        Self::EpochWindowed,
        Self::EpochFull,
        Self::GetCold,
        Self::ScanCold,
        Self::EpochCold,
    ];
    /// The operations that are repeated on one open store.
    pub(crate) const READING: [Self; 6] =
        [Self::Lookup, Self::Get, Self::GetMany, Self::Scan, Self::EpochWindowed, Self::EpochFull];
    /// The operations that read a store of which nothing is in the page cache.
    pub(crate) const COLD: [Self; 3] = [Self::GetCold, Self::ScanCold, Self::EpochCold];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Put => "put",
            Self::Commit => "commit",
            Self::Size => "size",
            Self::Open => "open",
            Self::FirstGet => "first_get",
            Self::Lookup => "lookup",
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Scan => "scan",
            Self::EpochWindowed => "epoch_windowed",
            Self::EpochFull => "epoch_full",
            Self::GetCold => "get_cold",
            Self::ScanCold => "scan_cold",
            Self::EpochCold => "epoch_windowed_cold",
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Write => "all records, from creating a file to closing it durably",
            Self::Put => "all records into memory: no file, no sync",
            Self::Commit => "one record of at most 1200 bytes, put and committed: durable before the next",
            Self::Size => "bytes on disk over those of the payload",
            Self::Open => "opening a closed store that is in the page cache",
            Self::FirstGet => "the first record after that",
            Self::Lookup => "finding random names without reading their records",
            Self::Get => "random records, one by one, by name",
            Self::GetMany => "random records, 256 names at a time, answers in that order",
            Self::Scan => "all records in the engine's own order",
            Self::EpochWindowed => "all records once, in batches, shuffled within windows of 64 MiB",
            Self::EpochFull => "records in batches, each shuffled among all others",
            Self::GetCold => "get, opened after the store's pages left the page cache: waits for the disk",
            Self::ScanCold => "scan, likewise: how fast the file can be read and decoded",
            Self::EpochCold => "epoch_windowed, likewise: a first epoch",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// What it does to a store in the page cache.
    pub(crate) fn warm(self) -> Self {
        match self {
            Self::GetCold => Self::Get,
            Self::ScanCold => Self::Scan,
            Self::EpochCold => Self::EpochWindowed,
            other => other,
        }
    }
}

/// Stores a record under a name in a commit of its own, which is durable when this returns.
pub(crate) type Commit<'e> = Box<dyn FnMut(&str, &[u8]) -> Result<()> + 'e>;

/// A kind of store.
pub(crate) trait Engine {
    fn name(&self) -> &str;

    /// The limit that this engine is compared with: see `limits.rs`.
    fn limit(&self) -> Option<&'static str> {
        None
    }

    /// Whether this is such a limit. A limit has no names, and nothing of it can be opened.
    fn is_limit(&self) -> bool {
        false
    }

    fn supports(&self, operation: Operation) -> bool {
        !matches!(operation, Operation::Put | Operation::Commit)
    }

    /// How many threads work at once, including the caller's.
    fn threads(&self, _operation: Operation) -> usize {
        1
    }

    /// Does work that need not be timed. Called once, before anything else.
    ///
    /// # Errors
    /// When the load does not suit the engine.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// The engine that writes the store which this one reads. `None` if it has a store of its own.
    fn store_of(&self) -> Option<&str> {
        None
    }

    /// Stores all records durably at `path`, where nothing is yet.
    ///
    /// # Errors
    /// The engine's own errors.
    fn write(&mut self, path: &Path) -> Result<()>;

    /// Stores all records in memory, and forgets them.
    ///
    /// # Errors
    /// The engine's own errors.
    fn put(&mut self) -> Result<()> {
        Err("not in memory".into())
    }

    /// Makes a store of `records` at `path`, where nothing is yet, for commits of one more record each.
    ///
    /// # Errors
    /// The engine's own errors.
    fn committing(&self, _path: &Path, _records: &[(Name, &[u8])]) -> Result<Commit<'_>> {
        Err("no commits of one record".into())
    }

    /// Opens what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// The engine's own errors.
    fn open(&self, path: &Path) -> Result<Box<dyn Store>>;
}

/// Records to read: their names, and their numbers, which limits use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'k> {
    pub(crate) numbers: &'k [usize],
    pub(crate) names: &'k [&'k str],
}

/// The epochs to go through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epochs<'o> {
    /// The records of one epoch, shuffled. It has fewer than all records if all would take too long.
    pub(crate) order: &'o [u32],
    /// Records in a batch.
    pub(crate) batch: usize,
    /// How many epochs.
    pub(crate) n: usize,
    /// Whether each record is shuffled among all others, and not only within windows.
    pub(crate) full: bool,
}

/// A store opened for reading.
pub(crate) trait Store {
    /// Whether a record of that name exists.
    ///
    /// # Errors
    /// The engine's own errors.
    fn lookup(&mut self, number: usize, name: &str) -> Result<bool>;

    /// Visits one record.
    ///
    /// # Errors
    /// The engine's own errors, and one if the record does not exist.
    fn get(&mut self, number: usize, name: &str, visit: Visit) -> Result<()>;

    /// Visits records in the order of `keys`. An engine without such a call loops.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    fn get_many(&mut self, keys: Keys, visit: Visit) -> Result<()> {
        keys.numbers.iter().zip(keys.names).try_for_each(|(&number, name)| self.get(number, name, visit))
    }

    /// Visits all records.
    ///
    /// # Errors
    /// The engine's own errors.
    fn scan(&mut self, visit: Visit) -> Result<()>;

    /// Visits as many records as the epochs have, shuffled.
    ///
    /// The records are those of the order, in batches of names. An engine with its own loader shuffles
    /// by itself.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get).
    fn epochs(&mut self, epochs: &Epochs, visit: Visit) -> Result<()> {
        for batch in (0..epochs.n).flat_map(|_| epochs.order.chunks(epochs.batch)) {
            let numbers: Vec<usize> = batch.iter().map(|&number| number as usize).collect();
            let names: Vec<Name> = numbers.iter().map(|&number| Name::new(number)).collect();
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            self.get_many(Keys { numbers: &numbers, names: &names }, visit)?;
        }
        Ok(())
    }

    /// The sum that touching everything visited of record `number` gives.
    ///
    /// It differs from the sum over the record's bytes only if a store takes records apart.
    fn touched(&self, load: &Load, number: usize) -> u64 {
        touch(load.record(number))
    }

    /// Compares everything that a scan visits with the load.
    ///
    /// # Errors
    /// An error that says which record differs.
    fn verify(&mut self, load: &Load) -> Result<()> {
        let mut number = 0;
        let mut wrong = None;
        self.scan(&mut |bytes| {
            if number >= load.len() || bytes != load.record(number) {
                wrong = wrong.or(Some(number));
            }
            number += 1;
        })?;
        match wrong {
            Some(number) => Err(format!("record {number} is not what was written").into()),
            None if number != load.len() => Err(format!("{number} of {} records", load.len()).into()),
            None => Ok(()),
        }
    }
}

/// All engines for a load. An engine that reads another one's store comes after it.
pub(crate) fn all<'l>(load: &'l Load, threads: usize) -> Vec<Box<dyn Engine + 'l>> {
    let layout = Rc::new(limits::Layout::new(load));
    let mut engines: Vec<Box<dyn Engine + 'l>> = Vec::new();
    engines.extend(vldepot::all(load, threads));
    engines.push(Box::new(heed::Lmdb::raw(load)));
    engines.push(Box::new(heed::Lmdb::zstd(load)));
    engines.push(Box::new(redb::Redb::new(load)));
    #[cfg(feature = "hdf5")]
    engines.push(Box::new(hdf5::Hdf5::new(load)));
    engines.push(Box::new(flat::Flat::new(load)));
    engines.extend(limits::all(load, &layout, threads));
    engines
}

/// Whether an engine runs only if asked for by name, because it is too slow to run every time.
pub(crate) fn is_optional(name: &str) -> bool {
    name.contains("compact") || name == "hdf5"
}

/// What an engine is, in a line.
pub(crate) fn describe(name: &str) -> String {
    let Some(rest) = name.strip_prefix("vldepot-") else {
        return match name {
            "lmdb" => "LMDB, records as they are".into(),
            "lmdb-zstd" => "LMDB, each record compressed by zstd 1".into(),
            "redb" => "redb, records as they are".into(),
            "hdf5" => "HDF5, a chunked dataset a field, shuffle and deflate 1; only when named".into(),
            "flat" => {
                "a mapped file and a hash map of names: a ceiling, no product; commit: append and sync".into()
            }
            _ if name.starts_with("memcpy") => "limit: copies".into(),
            _ => "limit: Blosc2 alone; with -N, on N threads, to write".into(),
        };
    };
    let mut parts = rest.split('-');
    let mut what = format!("preset {}", parts.next().unwrap_or_default());
    let mut threads = "as many threads as cores";
    for part in parts {
        match part {
            "1" => threads = "one thread",
            "frames" => what += ", the codec of atomic frames, the same bytes",
            "codec" => what += ", arrays put through the codec",
            "flat" => (what, threads) = (what + ", reads -codec's store by get_many_flat_into", "one thread"),
            "once" => (what, threads) = (what + ", checks a record when first read", "one thread"),
            _ => {}
        }
    }
    let named = if is_optional(name) { "; only when named" } else { "" };
    format!("{what}, {threads}{named}")
}

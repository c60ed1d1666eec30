//! Depots: the presets; with the codec, and with one thread.
//!
//! | engine | what it does otherwise than the preset says |
//! | --- | --- |
//! | `vldepot-PRESET` | nothing: records put as encoded bytes, as every other engine gets them |
//! | `vldepot-PRESET-1` | compresses inside `put`, decodes on the caller's thread |
//! | `vldepot-balanced-codec` | `put` of arrays, which encodes; `get` checks the frame and lends a view |

use std::path::Path;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Codec, Depot, DepotOptions, OpenOptions, Raw};

use super::limits::name_of;
use super::{Engine, Keys, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name};

/// A depot with a preset.
struct Vldepot<'l> {
    name: String,
    preset: &'static str,
    load: &'l Load,
    threads: usize,
}

impl Vldepot<'_> {
    fn options(&self) -> Result<DepotOptions> {
        let write_threads = Some(if self.threads == 1 { 0 } else { self.threads });
        Ok(DepotOptions { write_threads, ..DepotOptions::preset(self.preset)? })
    }

    fn put_all(&self, depot: Depot<Raw>) -> Result<()> {
        for (_, name, record) in self.load.iter() {
            depot.put(name.as_str(), record)?;
        }
        Ok(depot.close()?)
    }
}

impl Engine for Vldepot<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn limit(&self) -> Option<&'static str> {
        Some(name_of(self.preset))
    }

    fn supports(&self, _operation: Operation) -> bool {
        true
    }

    fn threads(&self, operation: Operation) -> usize {
        threads(self.threads, operation)
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        self.put_all(Depot::create_with(path, Raw, self.options()?)?)
    }

    fn put(&mut self) -> Result<()> {
        self.put_all(Depot::memory_with(Raw, self.options()?)?)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        Ok(Box::new(Opened { depot: Depot::open_with(path, Raw, &reading(self.threads))? }))
    }
}

/// The default preset, put and read as frames.
struct WithCodec<'l> {
    load: &'l Load,
    frames: Vec<AtomicFrame<'l>>,
    threads: usize,
}

impl WithCodec<'_> {
    fn put_all(&self, depot: Depot<AtomicFrameCodec>) -> Result<()> {
        for (number, frame) in self.frames.iter().enumerate() {
            depot.put(Name::new(number).as_str(), frame)?;
        }
        Ok(depot.close()?)
    }

    fn options(&self) -> DepotOptions {
        DepotOptions { write_threads: Some(self.threads), ..DepotOptions::balanced() }
    }
}

impl Engine for WithCodec<'_> {
    fn name(&self) -> &'static str {
        "vldepot-balanced-codec"
    }

    fn limit(&self) -> Option<&'static str> {
        Some(name_of("balanced"))
    }

    fn supports(&self, _operation: Operation) -> bool {
        self.load.workload.is_atomic()
    }

    fn threads(&self, operation: Operation) -> usize {
        threads(self.threads, operation)
    }

    fn prepare(&mut self) -> Result<()> {
        self.frames = self.load.frames()?;
        Ok(())
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        self.put_all(Depot::create_with(path, AtomicFrameCodec::default(), self.options())?)
    }

    fn put(&mut self) -> Result<()> {
        self.put_all(Depot::memory_with(AtomicFrameCodec::default(), self.options())?)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let depot = Depot::open_with(path, AtomicFrameCodec::default(), &reading(self.threads))?;
        Ok(Box::new(Opened { depot }))
    }
}

/// Threads of an operation, when `threads` may be used.
fn threads(threads: usize, operation: Operation) -> usize {
    // Only chunks on their way into the file are worked on by more than the caller.
    if matches!(operation, Operation::Write | Operation::Put) { threads } else { 1 }
}

/// How to open for reading with `threads`, which reading does not use yet.
fn reading(_threads: usize) -> OpenOptions {
    OpenOptions::default()
}

/// An open depot.
struct Opened<C: Codec> {
    depot: Depot<C>,
}

impl<C: Codec> Store for Opened<C> {
    fn lookup(&mut self, _number: usize, name: &str) -> Result<bool> {
        Ok(self.depot.contains(name)?)
    }

    fn get(&mut self, _number: usize, name: &str, visit: Visit) -> Result<()> {
        let record = self.depot.get(name)?;
        visit(record.as_bytes());
        Ok(())
    }

    fn get_many(&mut self, keys: Keys, visit: Visit) -> Result<()> {
        let records = self.depot.get_many(keys.names)?;
        for record in &records {
            visit(record.as_bytes());
        }
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        for entry in &self.depot {
            visit(entry?.1.as_bytes());
        }
        Ok(())
    }
}

/// All variants; those without a suffix use `threads`.
pub(crate) fn all<'l>(load: &'l Load, threads: usize) -> Vec<Box<dyn Engine + 'l>> {
    let depot = |preset: &'static str, threads, suffix| -> Box<dyn Engine + 'l> {
        Box::new(Vldepot { name: format!("vldepot-{preset}{suffix}"), preset, load, threads })
    };
    vec![
        depot("balanced", threads, ""),
        depot("balanced", 1, "-1"),
        Box::new(WithCodec { load, frames: Vec::new(), threads }),
        depot("fast", threads, ""),
        depot("compact", threads, ""),
        depot("uncompressed", threads, ""),
        depot("uncompressed", 1, "-1"),
    ]
}

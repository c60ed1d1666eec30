//! Depots: with each preset, on several threads and on one, with the codec, and with records checked
//! once.
//!
//! | engine | how it differs from the preset |
//! | --- | --- |
//! | `vldepot-PRESET` | not at all: records are put as encoded bytes, as every other engine gets them |
//! | `vldepot-PRESET-frames` | the depot's codec is that of atomic frames, and gets the same bytes by `put_encoded` |
//! | `vldepot-PRESET-plain` | as `-frames`, with whole records in the blocks: `Layout::fields_apart` is false |
//! | `vldepot-PRESET-fields` | of packed molecules: the depot's codec is a user's own, which says where their arrays lie |
//! | `vldepot-PRESET-1` | compresses inside `put`, decodes on the caller's thread; its loader starts no threads |
//! | `vldepot-uncompressed-once` | reads what `-uncompressed-1` wrote, and compares a record's checksum only the first time |
//! | `vldepot-balanced-codec` | `put` takes arrays and encodes them; `get` checks the frame and lends a view |
//! | `vldepot-balanced-flat` | see `vldepot_flat.rs` |

use std::path::Path;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::{Codec, Depot, DepotBuilder, Layout, OpenOptions, Raw, ReadOptions, Verify, WriteOptions};

use super::limits::name_of;
use super::packed::Packed;
use super::vldepot_flat::Flat;
use super::{Commit, Engine, Epochs, Keys, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name};

/// The seed of the loader's order.
const SEED: u64 = 7;

/// A depot with a preset.
struct Vldepot<'l, C> {
    name: String,
    preset: &'static str,
    load: &'l Load,
    threads: usize,
    codec: C,
    apart: bool,
}

impl<C: Codec + Clone> Vldepot<'_, C> {
    fn builder(&self) -> Result<DepotBuilder<C>> {
        let threads = WriteOptions::default().with_threads(if self.threads == 1 { 0 } else { self.threads });
        let layout: Layout = self.preset.parse()?;
        let layout = if self.apart { layout } else { layout.with_fields_apart(false) };
        Ok(Depot::builder(self.codec.clone()).layout(layout).write_options(threads))
    }

    fn put_all(&self, depot: Depot<C>) -> Result<()> {
        for (_, name, record) in self.load.iter() {
            depot.put_encoded(name.as_str(), record)?;
        }
        Ok(depot.close()?)
    }
}

impl<C: Codec + Clone + 'static> Engine for Vldepot<'_, C> {
    fn name(&self) -> &str {
        &self.name
    }

    fn limit(&self) -> Option<&'static str> {
        Some(name_of(self.preset))
    }

    fn supports(&self, operation: Operation) -> bool {
        // A commit of one record starts no threads, and half a molecule is none.
        operation != Operation::Commit
            || !self.name.ends_with("-1")
                && !["-frames", "-fields", "-plain"].iter().any(|form| self.name.contains(form))
    }

    fn committing(&self, path: &Path, records: &[(Name, &[u8])]) -> Result<Commit<'_>> {
        let depot = self.builder()?.create(path)?;
        for (name, record) in records {
            depot.put_encoded(name.as_str(), record)?;
        }
        depot.commit()?;
        Ok(Box::new(move |name, record| {
            depot.put_encoded(name, record)?;
            Ok(depot.commit()?)
        }))
    }

    fn threads(&self, operation: Operation) -> usize {
        use Operation::{EpochCold, EpochFull, EpochWindowed, GetMany, Put, Scan, ScanCold, Write};
        let reads = matches!(operation, GetMany | Scan | ScanCold | EpochWindowed | EpochFull | EpochCold);
        if reads || matches!(operation, Write | Put) { self.threads } else { 1 }
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        self.put_all(self.builder()?.create(path)?)
    }

    fn put(&mut self) -> Result<()> {
        self.put_all(self.builder()?.memory()?)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        Ok(Box::new(Opened::new(Depot::open(path, self.codec.clone())?, self.threads)))
    }
}

/// An uncompressed depot whose reader compares checksums once.
struct CheckedOnce;

impl Engine for CheckedOnce {
    fn name(&self) -> &'static str {
        "vldepot-uncompressed-once"
    }

    fn limit(&self) -> Option<&'static str> {
        Some(name_of("uncompressed"))
    }

    fn supports(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Get | Operation::GetMany)
    }

    fn store_of(&self) -> Option<&str> {
        Some("vldepot-uncompressed-1")
    }

    fn write(&mut self, _path: &Path) -> Result<()> {
        Err("reads what another wrote".into())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let options = OpenOptions::default().with_verify(Verify::Once);
        Ok(Box::new(Opened::new(Depot::builder(Raw).open_options(options.clone()).open(path)?, 1)))
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

    fn builder(&self) -> DepotBuilder<AtomicFrameCodec> {
        let threads = WriteOptions::default().with_threads(self.threads);
        Depot::builder(AtomicFrameCodec::default()).write_options(threads)
    }
}

/// The name of [`WithCodec`].
const CODEC: &str = "vldepot-balanced-codec";

impl Engine for WithCodec<'_> {
    fn name(&self) -> &'static str {
        CODEC
    }

    fn limit(&self) -> Option<&'static str> {
        Some(name_of("balanced"))
    }

    fn supports(&self, operation: Operation) -> bool {
        use Operation::{Get, Put, Write};
        self.load.workload.is_atomic() && matches!(operation, Write | Put | Get)
    }

    fn threads(&self, operation: Operation) -> usize {
        if operation == Operation::Get { 1 } else { self.threads }
    }

    fn prepare(&mut self) -> Result<()> {
        self.frames = self.load.frames()?;
        Ok(())
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        self.put_all(self.builder().create(path)?)
    }

    fn put(&mut self) -> Result<()> {
        self.put_all(self.builder().memory()?)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        Ok(Box::new(Opened::new(Depot::open(path, AtomicFrameCodec::default())?, 1)))
    }
}

/// An open depot.
struct Opened<C: Codec> {
    depot: Depot<C>,
    threads: usize,
    /// The next epoch. Each has its own order.
    epoch: u64,
}

impl<C: Codec> Opened<C> {
    fn new(depot: Depot<C>, threads: usize) -> Self {
        Self { depot, threads, epoch: 0 }
    }
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
        let records =
            self.depot.get_many_with(keys.names, &ReadOptions::default().with_threads(self.threads))?;
        for record in &records {
            visit(record.as_bytes());
        }
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        let mut records = self.depot.scan(&ReadOptions::default().with_threads(self.threads));
        while let Some(entry) = records.next() {
            visit(entry?.1.as_bytes());
        }
        Ok(())
    }

    /// One loader goes through all epochs and ends after the last, so nothing is read ahead for others.
    fn epochs(&mut self, epochs: &Epochs, visit: Visit) -> Result<()> {
        let n = epochs.n as u64;
        let loader = self.depot.loader().batch_size(epochs.batch).epoch(self.epoch).epochs(n);
        let loader = if epochs.full { loader.shuffle_full(SEED) } else { loader.shuffle(SEED) };
        let threads = if self.threads == 1 { 0 } else { self.threads };
        self.epoch += n;
        let mut left = epochs.n * epochs.order.len();
        for batch in loader.threads(threads).build()? {
            let batch = batch?;
            for record in batch.records().iter().take(left) {
                visit(record.as_bytes());
            }
            left = left.saturating_sub(batch.len());
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// All variants. Those without a suffix use `threads`.
pub(crate) fn all<'l>(load: &'l Load, threads: usize) -> Vec<Box<dyn Engine + 'l>> {
    let depot = |preset: &'static str, threads, suffix| -> Box<dyn Engine + 'l> {
        Box::new(Vldepot {
            name: format!("vldepot-{preset}{suffix}"),
            preset,
            load,
            threads,
            codec: Raw,
            apart: true,
        })
    };
    let frames = |preset: &'static str, threads, suffix| -> Box<dyn Engine + 'l> {
        let (name, codec) = (format!("vldepot-{preset}-frames{suffix}"), AtomicFrameCodec::default());
        Box::new(Vldepot { name, preset, load, threads, codec, apart: true })
    };
    let fields = |preset: &'static str, threads, suffix, head| -> Box<dyn Engine + 'l> {
        let name = format!("vldepot-{preset}-fields{suffix}");
        Box::new(Vldepot { name, preset, load, threads, codec: Packed { head }, apart: true })
    };
    let mut engines = vec![
        depot("balanced", threads, ""),
        depot("balanced", 1, "-1"),
        depot("fast", threads, ""),
        depot("fast", 1, "-1"),
        depot("compact", threads, ""),
        depot("uncompressed", threads, ""),
        depot("uncompressed", 1, "-1"),
        Box::new(CheckedOnce),
    ];
    if load.workload.is_atomic() {
        engines.extend([
            frames("balanced", threads, ""),
            frames("balanced", 1, "-1"),
            frames("fast", threads, ""),
            frames("fast", 1, "-1"),
            frames("compact", threads, ""),
            Box::new(Vldepot {
                name: "vldepot-balanced-plain-1".into(),
                preset: "balanced",
                load,
                threads: 1,
                codec: AtomicFrameCodec::default(),
                apart: false,
            }),
            Box::new(WithCodec { load, frames: Vec::new(), threads }),
            Box::new(Flat::new(load, CODEC)),
        ]);
    }
    if let Some(head) = load.workload.packed_head() {
        engines.extend([
            fields("balanced", threads, "", head),
            fields("balanced", 1, "-1", head),
            fields("fast", threads, "", head),
            fields("fast", 1, "-1", head),
        ]);
    }
    engines
}

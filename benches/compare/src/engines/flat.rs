//! The upper limit: all records one after the other in a mapped file, and a hash map of their names in
//! memory.
//!
//! This is not a usable store: nothing is checked, nothing can be changed, and opening reads all names.
//!
//! ```text
//! records   the records' bytes
//! index     u64 start, u32 length, u32 length of the name, name; for each record
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use hashbrown::HashMap;
use memmap2::Mmap;

use super::limits::MEMCPY;
use super::{Commit, Engine, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name};

/// A plain file.
pub(crate) struct Flat<'l> {
    load: &'l Load,
}

impl<'l> Flat<'l> {
    pub(crate) fn new(load: &'l Load) -> Self {
        Self { load }
    }
}

impl Engine for Flat<'_> {
    fn name(&self) -> &'static str {
        "flat"
    }

    fn limit(&self) -> Option<&'static str> {
        Some(MEMCPY)
    }

    fn supports(&self, operation: Operation) -> bool {
        operation != Operation::Put
    }

    /// Appends and syncs: what a commit must do at least.
    fn committing(&self, path: &Path, records: &[(Name, &[u8])]) -> Result<Commit<'_>> {
        let mut file = File::create_new(path)?;
        records.iter().try_for_each(|(_, record)| file.write_all(record))?;
        file.sync_all()?;
        Ok(Box::new(move |name, record| {
            // One write, as a store would do it.
            let entry = [name.as_bytes(), &(record.len() as u32).to_le_bytes(), record].concat();
            file.write_all(&entry)?;
            Ok(file.sync_data()?)
        }))
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        std::fs::create_dir(path)?;
        let file =
            |name| -> Result<_> { Ok(BufWriter::with_capacity(1 << 20, File::create_new(path.join(name))?)) };
        let (mut records, mut index) = (file("records")?, file("index")?);
        let mut start = 0_u64;
        for (_, name, record) in self.load.iter() {
            records.write_all(record)?;
            index.write_all(&start.to_le_bytes())?;
            index.write_all(&(record.len() as u32).to_le_bytes())?;
            index.write_all(&(name.as_str().len() as u32).to_le_bytes())?;
            index.write_all(name.as_str().as_bytes())?;
            start += record.len() as u64;
        }
        for file in [records, index] {
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let index = std::fs::read(path.join("index"))?;
        let (mut places, mut order) = (HashMap::new(), Vec::new());
        let mut rest = index.as_slice();
        while let Some((head, tail)) = rest.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let start = u64::from(word(0)) | u64::from(word(4)) << 32;
            let (name, tail) = tail.split_at(word(12) as usize);
            let place = (start as usize, word(8) as usize);
            places.insert(std::str::from_utf8(name)?.into(), place);
            order.push(place);
            rest = tail;
        }
        let file = File::open(path.join("records"))?;
        // SAFETY: nobody writes to the file while the benchmark reads it.
        let records = unsafe { Mmap::map(&file)? };
        Ok(Box::new(Opened { places, order, records }))
    }
}

/// The map of names and the mapped records.
struct Opened {
    places: HashMap<Box<str>, (usize, usize)>,
    order: Vec<(usize, usize)>,
    records: Mmap,
}

impl Store for Opened {
    fn lookup(&mut self, _number: usize, name: &str) -> Result<bool> {
        Ok(self.places.contains_key(name))
    }

    fn get(&mut self, _number: usize, name: &str, visit: Visit) -> Result<()> {
        let &(start, len) = self.places.get(name).ok_or("no such record")?;
        visit(&self.records[start..start + len]);
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        for &(start, len) in &self.order {
            visit(&self.records[start..start + len]);
        }
        Ok(())
    }
}

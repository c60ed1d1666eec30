//! redb: each commit is one write transaction, and all reads share one read transaction.

use std::path::Path;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::limits::MEMCPY;
use super::{COMMIT_BYTES, COMMIT_RECORDS, Commit, Engine, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name};

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// redb.
pub(crate) struct Redb<'l> {
    load: &'l Load,
}

impl<'l> Redb<'l> {
    pub(crate) fn new(load: &'l Load) -> Self {
        Self { load }
    }
}

impl Engine for Redb<'_> {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn limit(&self) -> Option<&'static str> {
        Some(MEMCPY)
    }

    fn supports(&self, operation: Operation) -> bool {
        operation != Operation::Put
    }

    fn committing(&self, path: &Path, records: &[(Name, &[u8])]) -> Result<Commit<'_>> {
        let database = Database::create(path)?;
        let transaction = database.begin_write()?;
        let mut table = transaction.open_table(TABLE)?;
        for (name, record) in records {
            table.insert(name.as_str(), *record)?;
        }
        drop(table);
        transaction.commit()?;
        Ok(Box::new(move |name, record| {
            let transaction = database.begin_write()?;
            transaction.open_table(TABLE)?.insert(name, record)?;
            Ok(transaction.commit()?)
        }))
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        let database = Database::create(path)?;
        let mut records = self.load.iter().peekable();
        while records.peek().is_some() {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(TABLE)?;
                let (mut n, mut bytes) = (0, 0);
                while n < COMMIT_RECORDS && bytes < COMMIT_BYTES {
                    let Some((_, name, record)) = records.next() else { break };
                    table.insert(name.as_str(), record)?;
                    (n, bytes) = (n + 1, bytes + record.len());
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let database = Database::open(path)?;
        let table = database.begin_read()?.open_table(TABLE)?;
        Ok(Box::new(Opened { table, _database: database }))
    }
}

/// An open database, and the table as of one transaction.
struct Opened {
    table: ReadOnlyTable<&'static str, &'static [u8]>,
    _database: Database,
}

impl Store for Opened {
    fn lookup(&mut self, _number: usize, name: &str) -> Result<bool> {
        Ok(self.table.get(name)?.is_some())
    }

    fn get(&mut self, _number: usize, name: &str, visit: Visit) -> Result<()> {
        visit(self.table.get(name)?.ok_or("no such record")?.value());
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        for entry in self.table.iter()? {
            visit(entry?.1.value());
        }
        Ok(())
    }
}

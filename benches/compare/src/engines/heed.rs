//! LMDB, through `heed`: records as they are, or each compressed by zstd.
//!
//! Each commit is one write transaction, and all reads share one read transaction. The names come in
//! order, which suits LMDB.

use std::path::Path;

use heed::types::{Bytes, Str};
use heed::{Database, Env, EnvOpenOptions, RoTxn, WithoutTls};

use super::limits::MEMCPY;
use super::zstd::{Compressor, Decompressor};
use super::{COMMIT_BYTES, COMMIT_RECORDS, Commit, Engine, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name};

/// Bytes of address space. The file takes only what is used of it.
const MAP_SIZE: usize = 1 << 36;
const LEVEL: i32 = 1;

/// LMDB.
pub(crate) struct Lmdb<'l> {
    name: &'static str,
    compressed: bool,
    load: &'l Load,
}

impl<'l> Lmdb<'l> {
    pub(crate) fn raw(load: &'l Load) -> Self {
        Self { name: "lmdb", compressed: false, load }
    }

    pub(crate) fn zstd(load: &'l Load) -> Self {
        Self { name: "lmdb-zstd", compressed: true, load }
    }
}

fn environment(path: &Path) -> Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_SIZE);
    // SAFETY: this process alone uses the file, through this environment alone.
    Ok(unsafe { options.open(path)? })
}

impl Engine for Lmdb<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn limit(&self) -> Option<&'static str> {
        (!self.compressed).then_some(MEMCPY)
    }

    fn supports(&self, operation: Operation) -> bool {
        operation != Operation::Put && (operation != Operation::Commit || !self.compressed)
    }

    fn committing(&self, path: &Path, records: &[(Name, &[u8])]) -> Result<Commit<'_>> {
        std::fs::create_dir(path)?;
        let env = environment(path)?;
        let mut transaction = env.write_txn()?;
        let database: Database<Str, Bytes> = env.create_database(&mut transaction, None)?;
        for (name, record) in records {
            database.put(&mut transaction, name.as_str(), record)?;
        }
        transaction.commit()?;
        Ok(Box::new(move |name, record| {
            let mut transaction = env.write_txn()?;
            database.put(&mut transaction, name, record)?;
            Ok(transaction.commit()?)
        }))
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        std::fs::create_dir(path)?;
        let env = environment(path)?;
        let mut compressor = if self.compressed { Some(Compressor::new(LEVEL)?) } else { None };
        let mut transaction = env.write_txn()?;
        let database: Database<Str, Bytes> = env.create_database(&mut transaction, None)?;
        let (mut records, mut bytes) = (0, 0);
        for (_, name, record) in self.load.iter() {
            let stored = match &mut compressor {
                Some(compressor) => compressor.compress(record)?,
                None => record,
            };
            database.put(&mut transaction, name.as_str(), stored)?;
            (records, bytes) = (records + 1, bytes + record.len());
            if records >= COMMIT_RECORDS || bytes >= COMMIT_BYTES {
                transaction.commit()?;
                transaction = env.write_txn()?;
                (records, bytes) = (0, 0);
            }
        }
        transaction.commit()?;
        env.prepare_for_closing().wait();
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let env = environment(path)?;
        let transaction = env.clone().static_read_txn()?;
        let database = env.open_database(&transaction, None)?.ok_or("no database")?;
        let decompressor = if self.compressed { Some(Decompressor::new()?) } else { None };
        Ok(Box::new(Opened { database, transaction: Some(transaction), env: Some(env), decompressor }))
    }
}

/// An open environment, and the transaction for all reads.
struct Opened {
    database: Database<Str, Bytes>,
    transaction: Option<RoTxn<'static, WithoutTls>>,
    env: Option<Env<WithoutTls>>,
    decompressor: Option<Decompressor>,
}

impl Opened {
    fn transaction(&self) -> Result<&RoTxn<'static, WithoutTls>> {
        self.transaction.as_ref().ok_or("closed".into())
    }
}

fn hand_out(decompressor: Option<&mut Decompressor>, stored: &[u8], visit: Visit) -> Result<()> {
    visit(match decompressor {
        Some(decompressor) => decompressor.decompress(stored)?,
        None => stored,
    });
    Ok(())
}

impl Store for Opened {
    fn lookup(&mut self, _number: usize, name: &str) -> Result<bool> {
        Ok(self.database.get(self.transaction()?, name)?.is_some())
    }

    fn get(&mut self, _number: usize, name: &str, visit: Visit) -> Result<()> {
        let transaction = self.transaction.as_ref().ok_or("closed")?;
        let stored = self.database.get(transaction, name)?.ok_or("no such record")?;
        hand_out(self.decompressor.as_mut(), stored, visit)
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        let transaction = self.transaction.as_ref().ok_or("closed")?;
        for entry in self.database.iter(transaction)? {
            hand_out(self.decompressor.as_mut(), entry?.1, visit)?;
        }
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.transaction = None;
        if let Some(env) = self.env.take() {
            env.prepare_for_closing().wait();
        }
    }
}

//! Archives of Barecat: an index, which is a SQLite database, and shards, which hold the files' bytes.
//!
//! ```text
//! NAME                index: tables `files`, `dirs` and `config`
//! NAME-shard-00000    bytes of files, wherever the index says
//! ```
//!
//! A file has the shard, the offset in it, its size, and its CRC32C. This is version 0.3 of the index.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::giving::{Giver, Target};
use super::options::ConvertOptions;
use super::report::{ConvertError, Converted, Result};
use super::taking::{Kind, LONG, Member, Taker, invalid, read_bytes};
use crate::archive::disk::Progress;
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;
use crate::archive::stat::FileAttributes;

/// The version of the index that is written.
const VERSION: (i64, i64) = (0, 3);

/// Shards that are open at once.
const OPEN: usize = 64;

/// The tables, as Barecat expects them: `parent` is computed from `path`.
const TABLES: &str = "
CREATE TABLE dirs (
    path TEXT NOT NULL,
    parent TEXT GENERATED ALWAYS AS (
        CASE WHEN path = '' THEN NULL ELSE rtrim(rtrim(path, replace(path, '/', '')), '/') END
    ) VIRTUAL REFERENCES dirs (path) ON DELETE RESTRICT,
    num_subdirs INTEGER DEFAULT 0,
    num_files INTEGER DEFAULT 0,
    num_files_tree INTEGER DEFAULT 0,
    size_tree INTEGER DEFAULT 0,
    mode INTEGER DEFAULT NULL,
    uid INTEGER DEFAULT NULL,
    gid INTEGER DEFAULT NULL,
    mtime_ns INTEGER DEFAULT NULL
);
CREATE TABLE files (
    path TEXT NOT NULL,
    parent TEXT GENERATED ALWAYS AS (
        rtrim(rtrim(path, replace(path, '/', '')), '/')
    ) VIRTUAL NOT NULL REFERENCES dirs (path) ON DELETE RESTRICT,
    shard INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    size INTEGER DEFAULT 0,
    crc32c INTEGER DEFAULT NULL,
    mode INTEGER DEFAULT NULL,
    uid INTEGER DEFAULT NULL,
    gid INTEGER DEFAULT NULL,
    mtime_ns INTEGER DEFAULT NULL
);
CREATE TABLE config (
    key TEXT PRIMARY KEY,
    value_text TEXT DEFAULT NULL,
    value_int INTEGER DEFAULT NULL
) WITHOUT ROWID;
";

/// What Barecat finds files and folders by.
const INDEXES: &str = "
CREATE UNIQUE INDEX idx_files_path ON files (path);
CREATE UNIQUE INDEX idx_dirs_path ON dirs (path);
CREATE INDEX idx_files_parent ON files (parent);
CREATE INDEX idx_dirs_parent ON dirs (parent);
CREATE INDEX idx_files_shard_offset ON files (shard, offset);
";

/// What keeps the counts of folders right when Barecat adds, moves or removes something later: statements
/// that run after (or before) each change of a table, each with its name, which Barecat knows.
const TRIGGERS: &[(&str, &str, &str, &str)] = &[
    (
        "add_file",
        "AFTER INSERT ON files",
        "1",
        "INSERT OR IGNORE INTO dirs (path) VALUES (NEW.parent);
         UPDATE dirs SET num_files = num_files + 1, num_files_tree = num_files_tree + 1,
             size_tree = size_tree + NEW.size, mtime_ns = {now} WHERE path = NEW.parent;",
    ),
    (
        "del_file",
        "AFTER DELETE ON files",
        "1",
        "UPDATE dirs SET num_files = num_files - 1, num_files_tree = num_files_tree - 1,
             size_tree = size_tree - OLD.size, mtime_ns = {now} WHERE path = OLD.parent;",
    ),
    (
        "move_file",
        "AFTER UPDATE OF path ON files",
        "NEW.parent != OLD.parent",
        "UPDATE dirs SET num_files = num_files - 1, num_files_tree = num_files_tree - 1,
             size_tree = size_tree - OLD.size, mtime_ns = {now} WHERE path = OLD.parent;
         UPDATE dirs SET num_files = num_files + 1, num_files_tree = num_files_tree + 1,
             size_tree = size_tree + NEW.size, mtime_ns = {now} WHERE path = NEW.parent;",
    ),
    (
        "resize_file",
        "AFTER UPDATE OF size ON files",
        "NEW.parent = OLD.parent",
        "UPDATE dirs SET size_tree = size_tree + NEW.size - OLD.size WHERE path = OLD.parent;",
    ),
    (
        "add_subdir",
        "AFTER INSERT ON dirs",
        "NEW.path != ''",
        "INSERT OR IGNORE INTO dirs (path) VALUES (NEW.parent);
         UPDATE dirs SET num_subdirs = num_subdirs + 1, num_files_tree = num_files_tree + NEW.num_files_tree,
             size_tree = size_tree + NEW.size_tree, mtime_ns = {now} WHERE path = NEW.parent;",
    ),
    (
        "del_subdir",
        "AFTER DELETE ON dirs",
        "1",
        "UPDATE dirs SET num_subdirs = num_subdirs - 1, num_files_tree = num_files_tree - OLD.num_files_tree,
             size_tree = size_tree - OLD.size_tree, mtime_ns = {now} WHERE path = OLD.parent;",
    ),
    (
        "move_subdir",
        "AFTER UPDATE OF path ON dirs",
        "NEW.parent != OLD.parent",
        "UPDATE dirs SET num_subdirs = num_subdirs - 1, num_files_tree = num_files_tree - OLD.num_files_tree,
             size_tree = size_tree - OLD.size_tree, mtime_ns = {now} WHERE path = OLD.parent;
         UPDATE dirs SET num_subdirs = num_subdirs + 1, num_files_tree = num_files_tree + NEW.num_files_tree,
             size_tree = size_tree + NEW.size_tree, mtime_ns = {now} WHERE path = NEW.parent;",
    ),
    (
        "resize_dir",
        "AFTER UPDATE OF size_tree, num_files_tree ON dirs",
        "NEW.parent = OLD.parent
             AND (NEW.size_tree, NEW.num_files_tree) != (OLD.size_tree, OLD.num_files_tree)",
        "UPDATE dirs SET size_tree = size_tree + NEW.size_tree - OLD.size_tree,
             num_files_tree = num_files_tree + NEW.num_files_tree - OLD.num_files_tree
             WHERE path = OLD.parent;",
    ),
    (
        "prevent_file_as_dir",
        "BEFORE INSERT ON files",
        "EXISTS (SELECT 1 FROM dirs WHERE path = NEW.path)",
        "SELECT RAISE(ABORT, 'a folder has this path');",
    ),
    (
        "prevent_dir_as_file",
        "BEFORE INSERT ON dirs",
        "EXISTS (SELECT 1 FROM files WHERE path = NEW.path)",
        "SELECT RAISE(ABORT, 'a file has this path');",
    ),
];

/// The time in nanoseconds since 1970.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400.0 * 1e9 AS INTEGER)";

fn trigger((name, when, condition, change): &(&str, &str, &str, &str)) -> String {
    let change = change.replace("{now}", NOW);
    let is_on = "(SELECT value_int FROM config WHERE key = 'use_triggers') = 1";
    format!("CREATE TRIGGER {name} {when} WHEN {is_on} AND ({condition}) BEGIN {change} END;")
}

/// The path of a shard.
fn shard_path(base: &Path, shard: u64) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(format!("-shard-{shard:05}"));
    name.into()
}

/// An error of the index, whose rows have no offsets.
fn in_index(error: rusqlite::Error) -> ConvertError {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::PermissionDenied) => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::InvalidData,
    };
    ConvertError::Source {
        entry: None,
        offset: 0,
        why: "the index cannot be read".into(),
        source: Some(io::Error::new(kind, error)),
    }
}

/// A file's row.
struct Place {
    shard: u64,
    offset: u64,
    size: u64,
    crc: Option<u32>,
}

/// Path and attributes: mode, uid, gid and time from a column on.
fn member(row: &Row<'_>, kind: Kind, from: usize) -> rusqlite::Result<Member> {
    let name = match row.get_ref(0)? {
        ValueRef::Text(text) | ValueRef::Blob(text) => text.to_vec(),
        _ => Vec::new(),
    };
    // Numbers that are none are not known.
    let number = |at| match row.get_ref(at) {
        Ok(ValueRef::Integer(n)) => Some(n),
        _ => None,
    };
    let small = |at| number(at).and_then(|n| u32::try_from(n).ok());
    let mut attributes = FileAttributes::new();
    if let Some(mode) = small(from) {
        attributes = attributes.with_mode(mode);
    }
    (attributes.uid, attributes.gid) = (small(from + 1), small(from + 2));
    if let Some(time) = number(from + 3) {
        attributes.mtime = Some(time.div_euclid(1_000_000_000));
        attributes.mtime_ns = u32::try_from(time.rem_euclid(1_000_000_000)).unwrap_or(0);
    }
    Ok(Member { name, kind, attributes })
}

/// The shards of an archive.
struct Shards {
    base: PathBuf,
    open: BTreeMap<u64, (File, u64)>,
    /// Bytes of all shards that were opened.
    bytes: BTreeMap<u64, u64>,
}

impl Shards {
    /// The bytes of a file, which are compared with their checksum after the last one.
    fn read(&mut self, place: &Place) -> io::Result<Content<'_>> {
        let path = shard_path(&self.base, place.shard);
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if !self.open.contains_key(&place.shard) {
            if self.open.len() >= OPEN {
                self.open.clear();
            }
            let file = File::open(&path).map_err(told)?;
            let metadata = file.metadata().map_err(told)?;
            if !metadata.is_file() {
                return Err(told(invalid("it is no file")));
            }
            self.bytes.insert(place.shard, metadata.len());
            self.open.insert(place.shard, (file, metadata.len()));
        }
        let Some((file, len)) = self.open.get_mut(&place.shard) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if place.offset.checked_add(place.size).is_none_or(|end| end > *len) {
            let why = format!("it has {len} bytes, and should have {} from {} on", place.size, place.offset);
            return Err(told(invalid(why)));
        }
        file.seek(SeekFrom::Start(place.offset)).map_err(told)?;
        Ok(Content { file, path, left: place.size, crc: 0, expected: place.crc })
    }
}

/// The bytes of a file, and what they should be like.
struct Content<'c> {
    file: &'c mut File,
    path: PathBuf,
    left: u64,
    crc: u32,
    expected: Option<u32>,
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let told =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        if self.left == 0 {
            let found = self.crc;
            if let Some(expected) = self.expected.filter(|expected| *expected != found) {
                let why =
                    format!("its bytes are damaged: CRC32C {expected:#010x} expected, {found:#010x} found");
                return Err(told(invalid(why)));
            }
            return Ok(0);
        }
        let n = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut out[..n]).map_err(told)?;
        if read == 0 && n > 0 {
            return Err(told(io::ErrorKind::UnexpectedEof.into()));
        }
        self.crc = crc32c::crc32c_append(self.crc, &out[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

fn check_version(index: &Connection) -> Result<()> {
    let refused = |why: String| Err(ConvertError::source(None, 0, why));
    let is_table =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('files', 'dirs', 'config')";
    let tables: i64 = index.query_row(is_table, [], |row| row.get(0)).map_err(in_index)?;
    if tables != 3 {
        return refused(
            "a SQLite database, but not an index of Barecat: it has no files, dirs and config".into(),
        );
    }
    let major = "SELECT value_int FROM config WHERE key = 'schema_version_major'";
    match index.query_row(major, [], |row| row.get::<_, i64>(0)) {
        Ok(major) if major == VERSION.0 => Ok(()),
        Ok(major) => refused(format!("an index of Barecat of version {major}, and only 0 is known")),
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            refused("an index of an old Barecat: `barecat upgrade` makes a newer one of it".into())
        }
        Err(error) => Err(in_index(error)),
    }
}

/// Rows that are inserted at once.
const ROWS: usize = 10_000;

/// A file that was written.
struct Written {
    path: String,
    place: Place,
    attributes: FileAttributes,
}

/// What is in a folder, and below it.
#[derive(Default)]
struct Counts {
    folders: u64,
    files: u64,
    files_below: u64,
    bytes_below: u64,
    attributes: Option<FileAttributes>,
}

/// Writes an archive of Barecat, with one shard.
struct Writer {
    index: Connection,
    shard: BufWriter<File>,
    at: u64,
    rows: Vec<Written>,
    folders: BTreeMap<String, Counts>,
    /// A file that has begun: its row, and what its checksum is so far.
    begun: Option<(Written, u32)>,
}

fn other(error: rusqlite::Error) -> io::Error {
    io::Error::other(error)
}

fn time_ns(attributes: &FileAttributes) -> Option<i64> {
    attributes.mtime?.checked_mul(1_000_000_000)?.checked_add(attributes.mtime_ns.into())
}

impl Writer {
    fn new(base: &Path) -> io::Result<Self> {
        let index = Connection::open(base).map_err(other)?;
        // Nobody sees the file before it is complete and synced.
        index
            .execute_batch(
                "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;",
            )
            .map_err(other)?;
        index.execute_batch(TABLES).map_err(other)?;
        let shard = OpenOptions::new().write(true).create_new(true).open(shard_path(base, 0))?;
        let shard = BufWriter::with_capacity(1 << 20, shard);
        let folders = BTreeMap::from([(String::new(), Counts::default())]);
        Ok(Self { index, shard, at: 0, rows: Vec::new(), folders, begun: None })
    }

    /// A folder's counts. It and those above it are made.
    fn folder_of(&mut self, path: &str) -> &mut Counts {
        if !self.folders.contains_key(path) {
            let above = path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
            self.folder_of(&above).folders += 1;
        }
        self.folders.entry(path.to_owned()).or_default()
    }

    fn insert(&mut self) -> io::Result<()> {
        let mut insert = self
            .index
            .prepare(
                "INSERT INTO files (path, shard, offset, size, crc32c, mode, uid, gid, mtime_ns) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .map_err(other)?;
        for Written { path, place, attributes } in self.rows.drain(..) {
            let Place { shard, offset, size, crc } = place;
            let mode = attributes.mode.map(|mode| mode | 0o100_000);
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let row = params![
                path,
                number(shard),
                number(offset),
                number(size),
                crc,
                mode,
                attributes.uid,
                attributes.gid,
                time_ns(&attributes)
            ];
            insert.execute(row).map_err(other)?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.insert()?;
        // Those below come after those above, so backwards their sums are complete.
        let paths: Vec<String> = self.folders.keys().rev().cloned().collect();
        for path in paths.iter().filter(|path| !path.is_empty()) {
            let below =
                self.folders.get(path).map_or((0, 0), |folder| (folder.files_below, folder.bytes_below));
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            if let Some(above) = self.folders.get_mut(above) {
                above.files_below += below.0;
                above.bytes_below += below.1;
            }
        }
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut insert = self
            .index
            .prepare(
                "INSERT INTO dirs (path, num_subdirs, num_files, num_files_tree, size_tree, mode, uid, gid, \
                      mtime_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .map_err(other)?;
        for (path, counts) in &self.folders {
            let attributes = counts.attributes.clone().unwrap_or_default();
            let mode = attributes.mode.map(|mode| mode | 0o040_000);
            let row = params![
                path,
                number(counts.folders),
                number(counts.files),
                number(counts.files_below),
                number(counts.bytes_below),
                mode,
                attributes.uid,
                attributes.gid,
                time_ns(&attributes)
            ];
            insert.execute(row).map_err(other)?;
        }
        drop(insert);
        let config =
            "INSERT INTO config (key, value_int) VALUES ('use_triggers', 1), ('shard_size_limit', ?1),
                          ('schema_version_major', ?2), ('schema_version_minor', ?3)";
        self.index.execute(config, params![i64::MAX, VERSION.0, VERSION.1]).map_err(other)?;
        self.index.execute_batch(INDEXES).map_err(other)?;
        for each in TRIGGERS {
            self.index.execute_batch(&trigger(each)).map_err(other)?;
        }
        self.index.execute_batch("COMMIT; PRAGMA journal_mode = DELETE;").map_err(other)?;
        self.index.close().map_err(|(_, error)| other(error))?;
        self.shard.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

impl Target for Writer {
    fn refuses(&self, path: &[u8], kind: crate::archive::FileKind) -> Option<&'static str> {
        if kind == crate::archive::FileKind::Link {
            return Some("a link, and archives of Barecat have none");
        }
        std::str::from_utf8(path).is_err().then_some("its path is not UTF-8, as those of Barecat are")
    }

    fn folder(&mut self, path: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        let path = String::from_utf8_lossy(path);
        self.folder_of(&path).attributes = Some(attributes.clone());
        Ok(())
    }

    fn link(&mut self, _: &[u8], _: &[u8], _: &FileAttributes) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn file(&mut self, path: &[u8], bytes: &[u8], attributes: &FileAttributes) -> io::Result<()> {
        self.begin(path, bytes.len() as u64, attributes)?;
        self.piece(bytes)?;
        self.end()
    }

    fn begin(&mut self, path: &[u8], len: u64, attributes: &FileAttributes) -> io::Result<()> {
        let place = Place { shard: 0, offset: self.at, size: len, crc: None };
        let path = String::from_utf8_lossy(path).into_owned();
        self.begun = Some((Written { path, place, attributes: attributes.clone() }, 0));
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, crc)) = &mut self.begun {
            *crc = crc32c::crc32c_append(*crc, bytes);
        }
        self.shard.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some((mut written, crc)) = self.begun.take() else { return Ok(()) };
        written.place.crc = Some(crc);
        let above = written.path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
        let size = written.place.size;
        let folder = self.folder_of(&above);
        folder.files += 1;
        folder.files_below += 1;
        folder.bytes_below += size;
        self.rows.push(written);
        if self.rows.len() >= ROWS { self.insert() } else { Ok(()) }
    }
}

/// A folder that is removed with all that is in it, unless that was moved out.
struct Workplace(PathBuf);

impl Drop for Workplace {
    fn drop(&mut self) {
        // It only costs room.
        _ = fs::remove_dir_all(&self.0);
    }
}

impl Archive {
    /// Takes the entries of an archive of Barecat in, in the order of their bytes. `index` is its index, with
    /// the shards beside it. Checksums are compared. Otherwise like [`import`](Self::import).
    ///
    /// # Errors
    /// The errors of [`import`](Self::import).
    pub fn import_barecat(
        &self,
        index: impl AsRef<Path>,
        options: &ConvertOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Converted> {
        let path = index.as_ref();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let index = Connection::open_with_flags(path, flags).map_err(in_index)?;
        // It may be anybody's.
        let safely = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON;";
        index.execute_batch(safely).map_err(in_index)?;
        check_version(&index)?;
        let name = path.as_os_str().as_encoded_bytes();
        let base = match name.strip_suffix(b"-sqlite-index") {
            // As old versions called it.
            Some(base) => PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(base)),
            None => path.to_owned(),
        };
        let mut shards = Shards { base, open: BTreeMap::new(), bytes: BTreeMap::new() };
        let mut taker = Taker::new(self, options, &mut progress);
        let guard = super::packing::Guard::new(options.max_ratio);
        let mut folders =
            index.prepare("SELECT path, mode, uid, gid, mtime_ns FROM dirs").map_err(in_index)?;
        let mut rows = folders.query([]).map_err(in_index)?;
        while let Some(row) = rows.next().map_err(in_index)? {
            let member = member(row, Kind::Folder, 1).map_err(in_index)?;
            if let Some(path) = taker.wants(&member) {
                taker.store(&path, &member, &[])?;
            }
        }
        let files = "SELECT path, shard, offset, size, crc32c, mode, uid, gid, mtime_ns FROM files \
                     ORDER BY shard, offset";
        let mut files = index.prepare(files).map_err(in_index)?;
        let mut rows = files.query([]).map_err(in_index)?;
        let (mut unchecked, mut all) = (0_u64, 0_u64);
        while let Some(row) = rows.next().map_err(in_index)? {
            let number = |at| row.get::<_, i64>(at).map(|n| u64::try_from(n).ok());
            let place =
                (number(1).map_err(in_index)?, number(2).map_err(in_index)?, number(3).map_err(in_index)?);
            let crc = row.get::<_, Option<i64>>(4).map_err(in_index)?.map(u32::try_from);
            let (Some(shard), Some(offset), Some(size)) = place else {
                return Err(ConvertError::source(None, 0, "a file in the index has a place that cannot be"));
            };
            let member = member(row, Kind::File(size), 5).map_err(in_index)?;
            let Some(path) = taker.wants(&member) else { continue };
            let failed = |error| ConvertError::read(Some(ArchivePath::shown(&member.name)), offset, error);
            let crc = crc.transpose().map_err(|_| failed(invalid("a checksum that cannot be")))?;
            unchecked += u64::from(crc.is_none());
            let place = Place { shard, offset, size, crc };
            drop(shards.read(&place).map_err(failed)?);
            all = all.saturating_add(size);
            if let Some(error) = guard.refuses(shards.bytes.values().sum(), all) {
                return Err(failed(error));
            }
            let mut content = shards.read(&place).map_err(failed)?;
            if size > LONG {
                let stored = taker.store_long(&path, &member, size, &mut content);
                stored.map_err(|stop| stop.or_source(failed))?;
                continue;
            }
            let mut bytes = Vec::new();
            // Its checksum is compared after the last byte.
            read_bytes(&mut content, size, &mut bytes).map_err(failed)?;
            content.read_to_end(&mut Vec::new()).map_err(failed)?;
            taker.store(&path, &member, &bytes)?;
        }
        if unchecked > 0 {
            taker
                .done
                .note(|| format!("{unchecked} files have no checksum in the index: they were not checked"));
        }
        Ok(taker.finish())
    }

    /// Writes all files and folders as an archive of Barecat, with one shard: the index `index`, and
    /// beside it the shard. None of them may be there.
    ///
    /// Barecat has no links and no paths but UTF-8: they are failures. Extended attributes are left out.
    ///
    /// The files appear when they are complete, the index last. If the process is killed, at most a hidden
    /// folder is left beside them.
    ///
    /// # Errors
    /// [`ConvertError::Target`], and the errors of [`walk`](Self::walk).
    pub fn export_barecat(
        &self,
        index: impl AsRef<Path>,
        options: &ConvertOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Converted> {
        let index = index.as_ref();
        let targets = [shard_path(index, 0), index.to_owned()];
        for target in &targets {
            if target.symlink_metadata().is_ok() {
                let why = format!("{} is there already", target.display());
                return Err(ConvertError::Target(io::Error::new(io::ErrorKind::AlreadyExists, why)));
            }
        }
        let name =
            index.file_name().ok_or_else(|| ConvertError::Target(io::ErrorKind::InvalidInput.into()))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".vldepot-{}.tmp", std::process::id()));
        let workplace = index.with_file_name(hidden);
        fs::create_dir(&workplace).map_err(ConvertError::Target)?;
        let workplace = Workplace(workplace);
        let base = workplace.0.join(name);
        let mut writer = Writer::new(&base).map_err(ConvertError::Target)?;
        let done = Giver::new(self, options, &mut progress).give(&mut writer)?;
        writer.finish().map_err(ConvertError::Target)?;
        let put = || {
            File::open(&base)?.sync_all()?;
            // A second name is refused where a file is, which a rename would replace.
            fs::hard_link(shard_path(&base, 0), &targets[0])?;
            fs::hard_link(&base, &targets[1]).inspect_err(|_| _ = fs::remove_file(&targets[0]))
        };
        put().map_err(ConvertError::Target)?;
        Ok(done)
    }
}

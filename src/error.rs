//! Every message that a user reads when a depot refuses something.
//!
//! ```text
//! Error ──> kind      what happened, with its facts: `ErrorKind`
//!       ──> path      the file, or `<memory>`
//!       ──> record    the record concerned
//!       ──> source    what the system, the codec or Blosc2 said
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a depot refuses something: what happened ([`kind`](Self::kind)), to which file and record.
///
/// An error is one word wide, so a `Result` costs little. It prints as one sentence, and its
/// [`source`](std::error::Error::source) prints as another.
///
/// ```
/// use vldepot::{Depot, ErrorKind, Raw};
///
/// let depot = Depot::memory(Raw)?;
/// let error = depot.get("a").unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::NotFound));
/// assert_eq!(error.record(), Some("\"a\""));
/// assert_eq!(error.to_string(), "<memory>: no record is called \"a\"");
/// # Ok::<(), vldepot::Error>(())
/// ```
pub struct Error(Box<Facts>);

struct Facts {
    kind: ErrorKind,
    path: Option<PathBuf>,
    record: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error without a path, a record or a source.
    ///
    /// ```
    /// use vldepot::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::ReadOnly).at("run.vld");
    /// assert_eq!(error.path(), Some("run.vld".as_ref()));
    /// ```
    #[cold]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Facts { kind, path: None, record: None, source: None }))
    }

    /// The same error, for the file at `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    /// The same error, for this record. An error that already names a record keeps that name.
    #[must_use]
    pub fn of(mut self, record: impl Into<String>) -> Self {
        self.0.record.get_or_insert_with(|| record.into());
        self
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What happened.
    ///
    /// ```
    /// use vldepot::{Depot, ErrorKind, Raw};
    /// let error = Depot::open("no such file.vld", Raw).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::Io { .. }));
    /// ```
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The file, or `<memory>`. `None` if no file is involved, as with options that do not fit together.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The name of the record concerned, as messages show it. Long names are cut.
    pub fn record(&self) -> Option<&str> {
        self.0.record.as_deref()
    }

    /// The kind of the system's error, if the system refused something.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let error = Depot::open("no such file.vld", Raw).unwrap_err();
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
    /// ```
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.0.source.as_ref()?.downcast_ref::<io::Error>().map(io::Error::kind)
    }

    /// The depot's error that caused this one.
    fn inner(&self) -> Option<&Self> {
        self.0.source.as_ref()?.downcast_ref()
    }

    /// Whether the name, the position or the file does not exist.
    pub fn is_not_found(&self) -> bool {
        match self.kind() {
            ErrorKind::NotFound | ErrorKind::LostEarlier { .. } | ErrorKind::OutOfRange { .. } => true,
            ErrorKind::Io { .. } => self.io_kind() == Some(io::ErrorKind::NotFound),
            _ => false,
        }
    }

    /// Whether the file's bytes are not what was written.
    pub fn is_damage(&self) -> bool {
        match self.kind() {
            ErrorKind::Checksum { .. }
            | ErrorKind::Decompress { .. }
            | ErrorKind::LostCommit { .. }
            | ErrorKind::LostEarlier { .. }
            | ErrorKind::Incomplete { .. }
            | ErrorKind::MissingShard { .. }
            | ErrorKind::Damaged { .. } => true,
            ErrorKind::Io { .. } => self.io_kind() == Some(io::ErrorKind::UnexpectedEof),
            _ => self.inner().is_some_and(Self::is_damage),
        }
    }

    /// Whether a later version wrote the file, or the file uses something that this program does not read.
    /// That is no damage.
    ///
    /// ```
    /// use vldepot::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::NewerFormat { found: 2, supported: 1 });
    /// assert!(error.is_unsupported() && !error.is_damage());
    /// ```
    pub fn is_unsupported(&self) -> bool {
        match self.kind() {
            ErrorKind::NewerFormat { .. }
            | ErrorKind::NewerFeature { .. }
            | ErrorKind::Unsupported { .. } => true,
            _ => self.inner().is_some_and(Self::is_unsupported),
        }
    }

    /// Whether the system refused to read or write.
    pub fn is_io(&self) -> bool {
        match self.kind() {
            ErrorKind::Io { .. }
            | ErrorKind::Poisoned { .. }
            | ErrorKind::Locked
            | ErrorKind::NoRoom { .. } => true,
            _ => self.inner().is_some_and(Self::is_io),
        }
    }

    /// The system did not do `action`. The message puts `action` after "cannot".
    #[cold]
    pub(crate) fn io(path: impl Into<PathBuf>, action: impl Into<String>, source: io::Error) -> Self {
        ErrorKind::Io { action: action.into() }.at(path).because(source)
    }

    /// Options that do not fit together, or are out of range.
    #[cold]
    pub(crate) fn invalid_options(why: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidOptions { why: why.into() })
    }

    /// Bytes at `offset` of the file that are not what was written.
    #[cold]
    pub(crate) fn damaged(
        path: impl Into<PathBuf>,
        part: Part,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        ErrorKind::Damaged { part, offset, expected: expected.into(), found: found.into() }.at(path)
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::new(ErrorKind::Io { action: "read or write".into() }).because(source)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.io_kind() {
            Some(kind) => kind,
            None if error.is_damage() => io::ErrorKind::InvalidData,
            None if error.is_not_found() => io::ErrorKind::NotFound,
            None => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { kind, path, record, source } = &*self.0;
        let mut out = f.debug_struct("Error");
        out.field("kind", kind);
        for (name, value) in [("path", path as &dyn fmt::Debug), ("record", record), ("source", source)] {
            out.field(name, value);
        }
        out.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { kind, path, record, .. } = &*self.0;
        if let Some(path) = path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(record) = record
            && !kind.names_the_record()
        {
            write!(f, "record {record}: ")?;
        }
        let Some(path) = path else { return kind.write(f, Path::new("FILE"), record.as_deref()) };
        kind.write(f, path, record.as_deref())
    }
}

/// A part of a file, in an error about its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The header page: the Blosc2 header, the parameters and the commit slots.
    Header,
    /// The head or the body of an entry.
    Entry,
    /// The table of a commit.
    Commit,
    /// The directory of a chunk: the names and places of its records.
    Directory,
    /// A segment of the index.
    Index,
    /// A chunk as a whole, or a reference to it.
    Chunk(u64),
    /// The table of blocks of a chunk.
    BlockTable(u64),
    /// One block of a chunk.
    Block {
        /// The chunk's number.
        chunk: u64,
        /// The block's number in the chunk.
        block: u64,
    },
    /// The raw bytes of a record that starts in this chunk.
    Record {
        /// The chunk's number.
        chunk: u64,
    },
    /// Metadata of a record or of the depot.
    Metadata,
    /// The note of what a depot lost earlier.
    Losses,
    /// The Blosc2 frame around the chunks, which other programs read.
    Frame,
    /// The table of names of a file of the Python package vlstore.
    NameTable,
    /// The file as a whole.
    File,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Entry => f.write_str("entry"),
            Self::Commit => f.write_str("commit"),
            Self::Directory => f.write_str("directory"),
            Self::Index => f.write_str("index"),
            Self::Chunk(chunk) | Self::Record { chunk } => write!(f, "chunk {chunk}"),
            Self::BlockTable(chunk) => write!(f, "chunk {chunk}, table of blocks"),
            Self::Block { chunk, block } => write!(f, "chunk {chunk}, block {block}"),
            Self::Metadata => f.write_str("metadata"),
            Self::Losses => f.write_str("note of losses"),
            Self::Frame => f.write_str("Blosc2 frame"),
            Self::NameTable => f.write_str("vlstore's table of names"),
            Self::File => f.write_str("file"),
        }
    }
}

/// What happened: the facts of an [`Error`]. The path, the record and the cause are in the error itself.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of the fields say what they are")]
pub enum ErrorKind {
    /// No live record has this name.
    NotFound,
    /// The name was not found, but the file lost a commit that may have held it.
    /// [`repair`](crate::maintain::repair) saves what lies after the damage.
    LostCommit { commit: u64, offset: u64 },
    /// The file lost something it had committed, and was opened without
    /// [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss). `records` are left.
    Incomplete { commit: u64, offset: u64, records: u64 },
    /// A shard of a folder of shards is not there, cannot be read, or has lost something. `why` says which.
    /// The shard had `records` when the manifest was last written.
    ///
    /// Opened with [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss), the other shards can be
    /// read, and names that none of them has give this error.
    MissingShard { shard: String, records: u64, why: String },
    /// No live record has this name, but one may have been lost earlier.
    ///
    /// The file notes such a loss when it is repaired, or appended to after it was opened with
    /// [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss).
    LostEarlier { how: String },
    /// [`put_new`](crate::Depot::put_new) or [`rename`](crate::Depot::rename) to a name that is taken.
    /// [`put`](crate::Depot::put) would replace the record.
    Exists,
    /// A path in an archive that is none: absolute, with a part `..` or a NUL byte, or a link that leads out.
    InvalidPath { why: String },
    /// A file was asked for, and a folder is there.
    IsAFolder,
    /// A folder was asked for, and a file is there.
    NotAFolder,
    /// A folder to be removed still has something in it.
    NotEmpty { records: u64 },
    /// A position at or past the end. The depot has `len` records.
    OutOfRange { position: u64, len: u64 },
    /// The bytes asked for end at `end`, but the record has only `len`.
    OutsideRecord { end: u64, len: u64 },
    /// A record of `len` bytes was to be read as a whole, and at most `most` bytes are.
    ///
    /// [`read_to`](crate::Depot::read_to) and [`parts`](crate::Depot::parts) read it piece by piece.
    TooLong { len: u64, most: u64 },
    /// A new file at a path that is taken.
    ///
    /// [`Depot::append`](crate::Depot::append) opens an existing depot for writing.
    /// [`StagedFile::replace`](crate::storage::StagedFile::replace) replaces a file by a new one.
    PathExists,
    /// A new file would take the place of the file it is made from, reached by another name or a link.
    SameFile { source_path: PathBuf },
    /// The path to be replaced is not a regular file.
    NotAFile { found: &'static str },
    /// The file to be replaced changed after work on the new one began. The new file was given up, and
    /// all other files are as they were.
    TargetChanged { found: String },
    /// [`refresh`](crate::Depot::refresh) of a depot whose path now leads to another file.
    ///
    /// This happens after it was [compacted](crate::maintain::compact). The old file can still be read
    /// through this depot.
    Replaced,
    /// A depot is still writing the new file that is to be put in place. [Close](crate::Depot::close)
    /// the depot first.
    StillOpen,
    /// Not started, because there is too little room. `needed` and `free` are estimates, in bytes.
    NoRoom { needed: u64, free: u64 },
    /// Another codec wrote the depot. [`Raw`](crate::Raw) opens every depot, and returns bytes.
    WrongCodec { stored: String, given: String },
    /// The codec is the right one, but too old or set up differently. The source says how.
    CodecParameters { codec: String },
    /// Not a file that this crate reads.
    NotADepot { found: String },
    /// A later version of this crate wrote the file.
    NewerFormat { found: u32, supported: u32 },
    /// A later version of this crate wrote something into the file that this one does not know, such as an
    /// entry of another kind. That is no damage.
    ///
    /// `what` and `name` say what it is, and it lies at byte `offset`. If `readable`, the depot can be read,
    /// and only writing is refused.
    NewerFeature { what: &'static str, name: String, offset: u64, readable: bool },
    /// The file uses something that this program cannot read, such as a filter. The file is not damaged.
    Unsupported { what: &'static str, name: String, offset: u64 },
    /// Another writer has the file open.
    Locked,
    /// A write in a forked process. Only the process `owner` may write.
    Forked { owner: u32 },
    /// A write to a depot opened for reading. [`Depot::append`](crate::Depot::append) opens it for
    /// writing.
    ReadOnly,
    /// A sync failed earlier, so it is unknown what the disk holds since then.
    Poisoned { cause: String },
    /// A record was not stored. The source says why. The depot is as it was before the call, and the
    /// call can be repeated.
    NotStored,
    /// A commit failed. The source says why.
    ///
    /// All records are stored and can be read, but `waiting` of them, up to `newest`, are not durable.
    /// If `again` is true, the next commit tries again. If it is false, a sync failed: see
    /// [`ErrorKind::Poisoned`].
    NotCommitted { waiting: u64, newest: Option<String>, again: bool },
    /// Options that do not fit together, or are out of range.
    InvalidOptions { why: String },
    /// A text that is no query, or asks for a column that the depot does not have. `column` is the place in the
    /// text, counted in characters from 1. See [`Depot::select`](crate::Depot::select).
    InvalidQuery { query: String, column: usize, why: String },
    /// A name or a record that no depot can hold.
    InvalidRecord { why: String },
    /// The system refused to read, write or sync. The source is an [`io::Error`].
    Io { action: String },
    /// Metadata exist, but not of the type that was asked for.
    Metadata { why: String },
    /// The codec refused a value, or the bytes of a record. The source is a
    /// [`CodecError`](crate::CodecError).
    Codec { codec: &'static str },
    /// c-blosc2 refused to compress. The source is a [`BloscError`](crate::BloscError).
    Compress { chunk: u64 },
    /// Bytes whose checksum differs from the one that was written.
    Checksum { part: Part, offset: u64, expected: u32, found: u32 },
    /// A chunk does not decompress although its checksums match. The source is a
    /// [`BloscError`](crate::BloscError).
    Decompress { chunk: u64, offset: u64 },
    /// A part of the file that is not what was written.
    Damaged { part: Part, offset: u64, expected: String, found: String },
    /// Compacting met something that it could not read or write. The source says what.
    ///
    /// If a record is damaged, [`repair`](crate::maintain::repair) makes a new file from the others.
    NotCompacted,
    /// A truncation would remove everything, and [was not told to](crate::TruncateOptions::all).
    ///
    /// Nothing was removed. `what` names what would be removed: records, or frames.
    RemovesAll { records: u64, what: &'static str },
    /// A run cannot restart at `step` without a gap. Nothing was removed.
    ///
    /// The newest frame that would be kept, of step `found`, is older than the caller says it must be.
    Gap { step: i64, expected: i64, found: Option<i64> },
    /// There is no truncation to undo.
    NotUndone { why: String },
    /// A loader's state does not belong to this loader.
    OtherLoader { what: &'static str, state: String, given: String },
    /// Code called by a thread of a loader panicked.
    Panicked { what: String, message: String },
}

impl ErrorKind {
    /// An error of this kind, for the file at `path`.
    pub(crate) fn at(self, path: impl Into<PathBuf>) -> Error {
        Error::new(self).at(path)
    }

    /// Whether the message itself says where the record's name goes.
    fn names_the_record(&self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::LostCommit { .. }
                | Self::LostEarlier { .. }
                | Self::Exists
                | Self::NotStored
                | Self::InvalidRecord { .. }
                | Self::InvalidPath { .. }
                | Self::IsAFolder
                | Self::NotAFolder
                | Self::NotEmpty { .. }
                | Self::Codec { .. }
        )
    }

    /// Writes the message after the path.
    #[expect(clippy::too_many_lines, reason = "one line for each sentence")]
    fn write(&self, f: &mut fmt::Formatter<'_>, path: &Path, record: Option<&str>) -> fmt::Result {
        let record = record.unwrap_or("of this name");
        match self {
            Self::NotFound => write!(f, "no record is called {record}"),
            Self::LostCommit { commit, offset } => write!(
                f,
                "no record is called {record} in what is left: commit {commit} at byte {offset}, which the header \
                 names, cannot be read; a repair saves what lies after it in a new file"
            ),
            Self::Incomplete { commit, offset, records } => write!(
                f,
                "commit {commit}, which the header names, cannot be read at byte {offset}, and what it had is \
                 missing; records that are left: {records}; `vldepot repair {} NEW` saves all there is",
                path.display()
            ),
            Self::MissingShard { shard, records, why } => {
                write!(f, "the shard {shard}, which had {records} records, cannot be read as a whole: {why}")
            }
            Self::LostEarlier { how } => write!(f, "no record is called {record} in what is left: {how}"),
            Self::Exists => write!(f, "a record called {record} exists already, and is not replaced"),
            Self::OutOfRange { position, len } => {
                write!(f, "no record at position {position}: the depot has {len}")
            }
            Self::OutsideRecord { end, len } => {
                write!(f, "its bytes up to {end} were asked for, and it has {len}")
            }
            Self::TooLong { len, most } => write!(
                f,
                "it has {len} bytes, and at most {most} are read at once: read it piece by piece or in parts"
            ),
            Self::PathExists => {
                write!(f, "the path exists, and stays as it is: choose another one, or open it for appending")
            }
            Self::SameFile { source_path } => {
                write!(f, "the new file must be another one: it is made from {}", source_path.display())
            }
            Self::NotAFile { found } => write!(f, "it is {found}, not a regular file"),
            Self::TargetChanged { found } => write!(f, "not replaced: {found}"),
            Self::Replaced => write!(f, "another file has taken its place: open it again"),
            Self::StillOpen => write!(f, "not put in place: a depot still writes it"),
            Self::NoRoom { needed, free } => {
                write!(
                    f,
                    "not begun: it needs about {needed} bytes beside the file, and {free} bytes are free"
                )
            }
            Self::WrongCodec { stored, given } => {
                write!(
                    f,
                    "its records are of codec `{stored}`, not of `{given}`; every codec's records read as bytes"
                )
            }
            Self::CodecParameters { codec } => write!(f, "codec `{codec}` cannot read this depot"),
            Self::NotADepot { found } => write!(f, "not a depot: {found}"),
            Self::NewerFormat { found, supported } => {
                write!(f, "format version {found}; this program reads up to version {supported}: update it")
            }
            Self::NewerFeature { what, name, offset, readable } => {
                write!(f, "{what} {name} at byte {offset} needs a newer vldepot: update this program")?;
                if *readable { f.write_str("; it can read the depot, and not write it") } else { Ok(()) }
            }
            Self::Unsupported { what, name, offset } => write!(
                f,
                "{what} {name} at byte {offset}, which this program does not read; the file may be whole"
            ),
            Self::Locked => write!(
                f,
                "locked by another writer (this process or another one); a depot has one writer at a time"
            ),
            Self::Forked { owner } => write!(
                f,
                "process {owner} has it open for writing, and this one is a fork of it; records can be read here; \
                 to write, open the file again when process {owner} has closed it"
            ),
            Self::ReadOnly => write!(f, "opened for reading only: to write, open it for appending"),
            Self::Poisoned { cause } => write!(
                f,
                "an earlier sync failed ({cause}); what was not committed before is lost: open the file again"
            ),
            Self::NotStored => write!(f, "record {record} was not stored"),
            Self::NotCommitted { waiting, newest, again } => write!(
                f,
                "the commit failed{}; {}",
                waiting_for_it(*waiting, newest.as_deref()),
                what_next(*again)
            ),
            Self::InvalidOptions { why } => write!(f, "invalid options: {why}"),
            Self::InvalidQuery { query, column, why } => {
                write!(f, "the query {}, column {column}: {why}", shortened(query))
            }
            Self::InvalidRecord { why } => write!(f, "record {record} refused: {why}"),
            Self::InvalidPath { why } => write!(f, "path {record} refused: {why}"),
            Self::IsAFolder => write!(f, "{record} is a folder"),
            Self::NotAFolder => write!(f, "{record} is a file, not a folder"),
            Self::NotEmpty { records } => {
                write!(f, "the folder {record} is not empty: {records} records are in it")
            }
            Self::Io { action } => write!(f, "cannot {action}"),
            Self::Codec { codec } => write!(f, "record {record} is not what codec `{codec}` holds"),
            Self::Metadata { why } => write!(f, "the metadata are not of the type that was asked for: {why}"),
            Self::Compress { chunk } => write!(f, "chunk {chunk} cannot be compressed"),
            Self::Checksum { part, offset, expected, found } => {
                write!(f, "{part} at byte {offset}: expected CRC32C {expected:#010x}, found {found:#010x}")?;
                match part {
                    Part::Chunk(_) | Part::BlockTable(_) | Part::Block { .. } => {
                        write!(f, "; the records of other chunks still read")
                    }
                    _ => Ok(()),
                }
            }
            Self::Decompress { chunk, offset } => {
                write!(f, "chunk {chunk} at byte {offset} does not decompress")
            }
            Self::Damaged { part, offset, expected, found } => {
                write!(f, "{part} at byte {offset}: expected {expected}, found {found}")
            }
            Self::NotCompacted => write!(
                f,
                "not compacted, and nothing was changed; where a record is damaged, a repair makes a new file of the \
                 others"
            ),
            Self::RemovesAll { records, what } => {
                write!(f, "not truncated: all {records} {what} would be removed, which has to be asked for")
            }
            Self::Gap { step, expected, found } => write!(
                f,
                "no restart at step {step}: the newest frame to be kept should be of step {expected}{}; nothing was \
                 removed",
                missing_up_to(*found)
            ),
            Self::NotUndone { why } => write!(f, "no truncation is taken back: {why}"),
            Self::OtherLoader { what, state, given } => {
                write!(f, "the state is of a loader with {what} {state}, this one has {given}")
            }
            Self::Panicked { what, message } => write!(f, "{what} panicked: {message}"),
        }
    }
}

/// A text in quotes, without its end if it is long.
fn shortened(text: &str) -> String {
    const LONG: usize = 200;
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn waiting_for_it(waiting: u64, newest: Option<&str>) -> String {
    match newest {
        Some(newest) => format!(", and {waiting} records wait for it, the newest of them {newest}"),
        None => String::new(),
    }
}

fn missing_up_to(found: Option<i64>) -> String {
    match found {
        Some(found) => format!(", and is of step {found}: the frames between the two are missing"),
        None => ", and there is none: all frames up to that one are missing".into(),
    }
}

fn what_next(again: bool) -> &'static str {
    if again {
        "all of it can be read here, and the next commit tries again"
    } else {
        "what the disk has of it is unknown: open the file again"
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn the_first_record_that_is_named_stays() {
        let error = ErrorKind::Decompress { chunk: 3, offset: 70 }.at("a.vld").of("\"x\"").of("\"y\"");
        assert_eq!(error.to_string(), "a.vld: record \"x\": chunk 3 at byte 70 does not decompress");
        let outer = ErrorKind::NotStored.at("a.vld").of("\"x\"").because(error);
        assert_eq!(outer.to_string(), "a.vld: record \"x\" was not stored");
        assert!(outer.is_damage() && outer.source().unwrap().to_string().contains("decompress"));
    }

    #[test]
    fn an_io_error_goes_through_a_question_mark_and_back() {
        fn fails() -> Result<()> {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no room"))?;
            Ok(())
        }
        let error = fails().unwrap_err();
        assert!(error.is_io() && !error.is_damage() && error.path().is_none());
        assert_eq!(error.to_string(), "cannot read or write");
        assert_eq!(error.source().unwrap().to_string(), "no room");
        let back = io::Error::from(error);
        assert_eq!(back.kind(), io::ErrorKind::StorageFull);
        assert_eq!(io::Error::from(Error::new(ErrorKind::NotFound)).kind(), io::ErrorKind::NotFound);
        let damage = Error::damaged(Path::new("a"), Part::Index, 0, "a name", "none");
        assert_eq!(io::Error::from(damage).kind(), io::ErrorKind::InvalidData);
    }
}

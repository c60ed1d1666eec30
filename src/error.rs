//! Every sentence a user reads when a depot refuses something.

use std::io;
use std::path::PathBuf;

use crate::blosc::BloscError;
use crate::codec::CodecError;

/// What depots return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything a depot can refuse to do. Variants carry the facts; the sentence is made once, here.
///
/// `path` is the file, or `<memory>`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the field names say it")]
pub enum Error {
    /// No live record has this name.
    #[error("{path}: no record is called {name}")]
    NotFound { path: PathBuf, name: String },
    /// No live record of this name is left in a file that lost what it once committed.
    /// [`repair`](crate::repair) saves what there is after the damage.
    #[error(
        "{path}: no record is called {name} in what is left: commit {commit} at byte {offset}, which the header names, \
         cannot be read; a repair saves what there is after it in a new file"
    )]
    LostCommit { path: PathBuf, name: String, commit: u64, offset: u64 },
    /// A file that lost what it once committed, opened without
    /// [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss): `records` are left.
    #[error(
        "{path}: commit {commit}, which the header names, cannot be read at byte {offset}, and what it had is missing; \
         records that are left: {records}; `vldepot repair {path} NEW` saves all there is"
    )]
    Incomplete { path: PathBuf, commit: u64, offset: u64, records: u64 },
    /// No live record has this name, and one may have been lost: the file says so, since it was repaired, or
    /// opened with [`OpenOptions::accept_loss`](crate::OpenOptions::accept_loss) and appended to.
    #[error("{path}: no record is called {name} in what is left: {how}")]
    LostEarlier { path: PathBuf, name: String, how: String },
    /// [`put_new`](crate::Depot::put_new) of a name that is taken; [`put`](crate::Depot::put) would replace
    /// the record.
    #[error("{path}: a record called {name} exists already, and is not replaced")]
    Exists { path: PathBuf, name: String },
    /// A position at or past the end.
    #[error("{path}: no record at position {position}: the depot has {len}")]
    OutOfRange { path: PathBuf, position: u64, len: u64 },
    /// A new file at a path that is taken. [`Depot::append`](crate::Depot::append) opens an existing depot
    /// for writing; [`StagedFile::replace`](crate::storage::StagedFile::replace) replaces a file by a new
    /// one.
    #[error("{path}: the path exists, and stays as it is: choose another one, or open it for appending")]
    PathExists { path: PathBuf },
    /// A new file at the place of the one that it is made of, be it by another name of it or a link.
    #[error("{path}: the new file must be another one than {source_path}, which is only read")]
    SameFile { path: PathBuf, source_path: PathBuf },
    /// What is to be replaced is no regular file.
    #[error("{path}: it is {found}, not a regular file")]
    NotAFile { path: PathBuf, found: &'static str },
    /// The file to be replaced is not what it was when the new one was begun. The new one was given up, and
    /// all others are as they were.
    #[error("{path}: not replaced: {found}")]
    TargetChanged { path: PathBuf, found: String },
    /// [`refresh`](crate::Depot::refresh) of a depot whose path leads to another file by now, as after it was
    /// [compacted](crate::compact). The depot can still be read as it was.
    #[error("{path}: the file was replaced by another one: open it again")]
    Replaced { path: PathBuf },
    /// A new file is to be put in place while a depot still writes it: [`close`](crate::Depot::close) that
    /// first.
    #[error("{path}: not put in place: it is still being written")]
    StillOpen { path: PathBuf },
    /// Not begun for want of room. `needed` is an estimate, in bytes, and so is `free`.
    #[error("{path}: not begun: about {needed} bytes are needed beside it, and {free} bytes are free")]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    /// The depot was written by another codec. [`Raw`](crate::Raw) opens every depot, and gives bytes.
    #[error("{path}: its records are of codec `{stored}`, not of `{given}`; as bytes all can be read")]
    WrongCodec { path: PathBuf, stored: String, given: String },
    /// The codec is the right one, but too old or set up differently.
    #[error("{path}: codec `{codec}` cannot read this depot")]
    CodecParameters { path: PathBuf, codec: String, source: Box<CodecError> },
    /// Not a file this crate reads.
    #[error("{path}: not a depot: {found}")]
    NotADepot { path: PathBuf, found: String },
    /// Written by a later version of this crate.
    #[error("{path}: format version {found}; this program reads up to version {supported}: update it")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    /// The file uses something that this program does not read: a filter, a codec. That is no damage.
    #[error(
        "{path}: {what} {name} at byte {offset}, which this program does not read; the file may be whole"
    )]
    Unsupported { path: PathBuf, what: &'static str, name: String, offset: u64 },
    /// Another writer has the file.
    #[error(
        "{path}: locked by another writer (this process or another one); a depot has one writer at a time"
    )]
    Locked { path: PathBuf },
    /// A writing call in a process that got the depot by `fork`: only the process that opened it writes.
    #[error(
        "{path}: process {owner} has it open for writing, and this one is a fork of it; records can be read here, to write \
         open the file again when process {owner} has closed it"
    )]
    Forked { path: PathBuf, owner: u32 },
    /// A writing call on a depot opened for reading; [`Depot::append`](crate::Depot::append) opens it for
    /// writing.
    #[error("{path}: opened for reading only: to write, open it for appending")]
    ReadOnly { path: PathBuf },
    /// A sync failed earlier: what the disk holds since then is unknown.
    #[error(
        "{path}: an earlier sync failed ({cause}); what was not committed before is lost: open the file again"
    )]
    Poisoned { path: PathBuf, cause: String },
    /// A record was not taken in: the depot is as it was before the call, which can be made again.
    #[error("{path}: record {name} was not stored")]
    NotStored { path: PathBuf, name: String, source: Box<Error> },
    /// A commit failed. All records are taken in and can be read, but `waiting` of them, up to `newest`, are not durable.
    ///
    /// With `again` the next commit tries again; without, a sync failed: see [`Error::Poisoned`].
    #[error("{path}: the commit failed{}; {}", waiting_for_it(*waiting, newest.as_deref()), what_next(*again))]
    NotCommitted { path: PathBuf, waiting: u64, newest: Option<String>, again: bool, source: Box<Error> },
    /// Parameters that do not go together.
    #[error("invalid options: {0}")]
    InvalidOptions(String),
    /// A name or record that no depot can hold.
    #[error("{path}: record {name} refused: {why}")]
    InvalidRecord { path: PathBuf, name: String, why: String },
    /// The system refused to read, write or sync.
    #[error("{path}: cannot {action}")]
    Io { path: PathBuf, action: String, source: io::Error },
    /// The codec refuses a value, or a record's bytes.
    #[error("{path}: record {name} is not what codec `{codec}` holds")]
    Codec { path: PathBuf, name: String, codec: &'static str, source: Box<CodecError> },
    /// c-blosc2 refuses to compress.
    #[error("{path}: chunk {chunk} cannot be compressed")]
    Compress { path: PathBuf, chunk: u64, source: BloscError },
    /// A record's bytes are not the bytes that were written.
    #[error(
        "{path}: record {name} (chunk {chunk}, byte {offset} of the file): expected CRC32C {expected:#010x}, found \
         {found:#010x}"
    )]
    RecordChecksum { path: PathBuf, name: String, chunk: u64, offset: u64, expected: u32, found: u32 },
    /// A chunk's stored bytes are not the bytes that were written.
    #[error(
        "{path}: chunk {chunk}, {what} at byte {offset}: expected CRC32C {expected:#010x}, found {found:#010x}; the \
         records of other chunks still read"
    )]
    ChunkChecksum { path: PathBuf, chunk: u64, what: String, offset: u64, expected: u32, found: u32 },
    /// A chunk whose checksum matches does not decompress.
    #[error("{path}: chunk {chunk} at byte {offset} does not decompress")]
    Decompress { path: PathBuf, chunk: u64, offset: u64, source: BloscError },
    /// Metadata that is not what was written.
    #[error("{path}: {what} at byte {offset}: expected {expected}, found {found}")]
    Damaged { path: PathBuf, what: String, offset: u64, expected: String, found: String },
    /// Compacting met something it could not read or write. Where a record is damaged,
    /// [`repair`](crate::repair) makes a new file of the others.
    #[error(
        "{path}: not compacted, and nothing was changed; where a record is damaged, a repair makes a new file \
         of the others"
    )]
    NotCompacted { path: PathBuf, source: Box<Error> },
    /// A truncation would remove everything, and was not [told](crate::TruncateOptions::all) to: nothing was
    /// removed. `what` is what all are: records, or frames.
    #[error("{path}: not truncated: all {records} {what} would be removed, which has to be asked for")]
    RemovesAll { path: PathBuf, records: u64, what: &'static str },
    /// A run cannot restart at `step` without a gap: the newest frame that would be kept, of step `found`, is
    /// older than the caller says it must be. Nothing was removed.
    #[error(
        "{path}: no restart at step {step}: the newest frame to be kept should be of step {expected}{}; nothing was \
         removed", missing_up_to(*found)
    )]
    Gap { path: PathBuf, step: i64, expected: i64, found: Option<i64> },
    /// There is no truncation to take back.
    #[error("{path}: no truncation is taken back: {why}")]
    NotUndone { path: PathBuf, why: String },
    /// A loader's state does not belong to this loader.
    #[error("{path}: the state is of a loader with {what} {state}, this one has {given}")]
    OtherLoader { path: PathBuf, what: &'static str, state: String, given: String },
    /// Code that was called from a thread of a loader panicked.
    #[error("{path}: {what} panicked: {message}")]
    Panicked { path: PathBuf, what: String, message: String },
    /// A record could not be read; which one.
    #[error("{path}: record {name} cannot be read")]
    Record { path: PathBuf, name: String, source: Box<Error> },
}

fn waiting_for_it(waiting: u64, newest: Option<&str>) -> String {
    match newest {
        Some(newest) => format!(" that {waiting} records wait for, the newest of them {newest}"),
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

impl Error {
    /// The name or position is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::LostEarlier { .. } | Self::OutOfRange { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The file's bytes are not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::RecordChecksum { .. }
            | Self::ChunkChecksum { .. }
            | Self::Decompress { .. }
            | Self::LostCommit { .. }
            | Self::LostEarlier { .. }
            | Self::Incomplete { .. }
            | Self::Damaged { .. } => true,
            Self::Record { source, .. }
            | Self::NotStored { source, .. }
            | Self::NotCommitted { source, .. }
            | Self::NotCompacted { source, .. } => source.is_damage(),
            Self::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// The system refused to read or write.
    pub fn is_io(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Poisoned { .. } | Self::Locked { .. } | Self::NoRoom { .. } => true,
            Self::Record { source, .. }
            | Self::NotStored { source, .. }
            | Self::NotCommitted { source, .. }
            | Self::NotCompacted { source, .. } => source.is_io(),
            _ => false,
        }
    }
}

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
    #[error(
        "{path}: no record is called {name} in what is left: commit {commit} at byte {offset}, which the header names, \
         cannot be read; `vldepot repair {path}` saves what there is behind it"
    )]
    LostCommit { path: PathBuf, name: String, commit: u64, offset: u64 },
    /// `put_new` of a name that is taken.
    #[error("{path}: a record called {name} exists; `put` replaces it")]
    Exists { path: PathBuf, name: String },
    /// A position at or past the end.
    #[error("{path}: no record at position {position}: the depot has {len}")]
    OutOfRange { path: PathBuf, position: u64, len: u64 },
    /// `create` of a path that is taken.
    #[error("{path}: the path exists; open it with `Depot::append`, or remove it first")]
    PathExists { path: PathBuf },
    /// The depot was written by another codec.
    #[error(
        "{path}: written by codec `{stored}`, opened with `{given}`; open it with `{stored}`, or with `Raw` for bytes"
    )]
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
    /// A writing call on a depot opened for reading.
    #[error("{path}: opened for reading; open it with `Depot::append` to write")]
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
    /// Compacting met something it could not read or write.
    #[error(
        "{path}: not compacted, and nothing was changed; where a record is damaged, `repair` makes a new file of the others"
    )]
    NotCompacted { path: PathBuf, source: Box<Error> },
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
            Self::NotFound { .. } | Self::OutOfRange { .. } => true,
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
            Self::Io { .. } | Self::Poisoned { .. } | Self::Locked { .. } => true,
            Self::Record { source, .. }
            | Self::NotStored { source, .. }
            | Self::NotCommitted { source, .. }
            | Self::NotCompacted { source, .. } => source.is_io(),
            _ => false,
        }
    }
}

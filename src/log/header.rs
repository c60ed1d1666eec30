//! The header page: what a file is, and how its depot is laid out.

use std::sync::Arc;

use super::{Scanner, Tail};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::FORMAT_VERSION;
use crate::format::entry::Kind;
use crate::format::frame::{self, HEADER_LEN};
use crate::format::header::{FIRST_ENTRY_AT, read_parameters, write_parameters};
use crate::format::tables::Parameters;
use crate::storage::{Storage, is_unfinished};

/// The longest header that is read, in bytes. Frames of other programs may have such headers.
const MAX_FOREIGN_HEADER: usize = 16 << 20;

/// What kind of file a header belongs to.
pub(crate) enum Header {
    /// A depot.
    Depot(Parameters),
    /// A Blosc2 frame that vlstore may have written.
    Foreign,
}

/// Reads and checks the header. Every way to open a file starts with this.
///
/// # Errors
/// [`ErrorKind::NotADepot`], [`ErrorKind::NewerFormat`], [`ErrorKind::Damaged`], and errors of reading.
pub(crate) fn read_header(storage: &Arc<dyn Storage>) -> Result<Header> {
    let header = find_header(storage)?;
    if let Header::Depot(parameters) = &header
        && parameters.format_version > FORMAT_VERSION
    {
        return Err(ErrorKind::NewerFormat { found: parameters.format_version, supported: FORMAT_VERSION }
            .at(storage.path()));
    }
    Ok(header)
}

fn find_header(storage: &Arc<dyn Storage>) -> Result<Header> {
    let path = || storage.path().to_owned();
    let not_a_depot = |found: String| ErrorKind::NotADepot { found }.at(path());
    let scanner = Scanner::new(storage, false)?;
    let len = usize::try_from(scanner.file_len).unwrap_or(usize::MAX).min(HEADER_LEN);
    if len == 0 {
        return Err(not_a_depot("an empty file".into()));
    }
    let mut bytes = scanner.read(0, len)?;
    if is_unfinished(&bytes) {
        let found =
            "the beginning of a new file, which is at work or was interrupted, and has not come to its end";
        return Err(not_a_depot(found.into()));
    }
    // Frames of other programs may have longer headers.
    if let Some(longer) = frame::declared_header_len(&bytes).filter(|&longer| longer > len) {
        let room = usize::try_from(scanner.file_len).unwrap_or(usize::MAX).min(MAX_FOREIGN_HEADER);
        bytes = scanner.read(0, longer.min(room))?;
    }
    let parsed = frame::parse_header(&bytes);
    let own = parsed.as_ref().ok().and_then(|header| bytes.get(header.metalayer(frame::DEPOT_LAYER)?));
    match (own, parsed) {
        (Some(content), _) => match read_parameters(content) {
            Ok(parameters) => Ok(Header::Depot(parameters)),
            Err((expected, found)) => scanner
                .parameters_of_a_commit()
                .map(Header::Depot)
                .ok_or(Error::damaged(path(), Part::Header, 0, expected, found)),
        },
        (None, Ok(_)) => match scanner.parameters_of_a_commit() {
            Some(parameters) => Ok(Header::Depot(parameters)),
            None => Ok(Header::Foreign),
        },
        (None, Err(found)) => {
            scanner.parameters_of_a_commit().map(Header::Depot).ok_or_else(|| not_a_depot(found))
        }
    }
}

/// The header page of an empty frame with these parameters: all bytes before the first entry.
pub(crate) fn header_page(parameters: &Parameters) -> Result<Vec<u8>> {
    let (mut header, at) =
        frame::write_header(parameters.compression, parameters.chunk_size, parameters.vlstore);
    if !write_parameters(&mut header, at, parameters) {
        let why = format!("codec `{}`: its parameters do not fit into the header", parameters.codec_id);
        return Err(Error::invalid_options(why));
    }
    debug_assert_eq!(header.len(), HEADER_LEN);
    header.extend_from_slice(&frame::trailer(&[], [0; 16]));
    header.resize(usize::try_from(FIRST_ENTRY_AT).unwrap_or(0), 0);
    Ok(header)
}

impl Scanner<'_> {
    /// The parameters in the first COMMIT entry that can be reached from the start.
    fn parameters_of_a_commit(&self) -> Option<Parameters> {
        let mut tail = Tail::START;
        loop {
            let head = self.head(tail.offset).ok()?;
            if head.sequence != tail.sequence || head.previous != tail.previous {
                return None;
            }
            if head.kind == Kind::Commit
                && let Ok(commit) = self.commit(&head)
            {
                return Some(commit.parameters);
            }
            tail = Tail::after(&head);
        }
    }
}

//! The header page: what a file is, and how its depot is laid out.

use std::borrow::Cow;
use std::sync::Arc;

use super::{FirstPage, Scanner, Tail};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::format::FORMAT_VERSION;
use crate::format::entry::{EntryHead, Kind};
use crate::format::frame::{self, HEADER_LEN};
use crate::format::header::{FIRST_ENTRY_AT, read_parameters, write_parameters};
use crate::format::tables::Parameters;
use crate::storage::{Storage, StorageExt, is_unfinished};

/// The longest header that is read, in bytes. Frames of other programs may have such headers.
const MAX_FOREIGN_HEADER: usize = 16 << 20;

/// What kind of file a header belongs to.
pub(crate) enum Header {
    /// A depot.
    Depot(Box<Parameters>),
    /// A Blosc2 frame that vlstore may have written.
    Foreign,
}

/// Reads and checks the header. Every way to open a file starts with this.
///
/// Returns the page that it read too, so that the slots need not be read again.
///
/// # Errors
/// [`ErrorKind::NotADepot`], [`ErrorKind::NewerFormat`], [`ErrorKind::Damaged`], and errors of reading.
pub(crate) fn read_header(storage: &Arc<dyn Storage>) -> Result<(Header, FirstPage)> {
    let page = FirstPage::read(storage)?;
    let header = find_header(storage, &page)?;
    if let Header::Depot(parameters) = &header
        && parameters.format_version > FORMAT_VERSION
    {
        return Err(ErrorKind::NewerFormat { found: parameters.format_version, supported: FORMAT_VERSION }
            .at(storage.path()));
    }
    Ok((header, page))
}

fn find_header(storage: &Arc<dyn Storage>, page: &FirstPage) -> Result<Header> {
    let not_a_depot = |found: String| ErrorKind::NotADepot { found }.at(storage.path());
    let mut bytes = Cow::Borrowed(&page.bytes[..]);
    if bytes.is_empty() {
        return Err(not_a_depot("an empty file".into()));
    }
    if is_unfinished(&bytes) {
        let found =
            "the beginning of a new file, which is at work or was interrupted, and has not come to its end";
        return Err(not_a_depot(found.into()));
    }
    // Frames of other programs may have longer headers.
    if let Some(longer) = frame::declared_header_len(&bytes).filter(|&longer| longer > bytes.len()) {
        let room = usize::try_from(page.file_len).unwrap_or(usize::MAX).min(MAX_FOREIGN_HEADER);
        bytes = storage.read(0, longer.min(room))?.into();
    }
    let parsed = frame::parse_header(&bytes);
    let own = parsed.as_ref().ok().and_then(|header| bytes.get(header.metalayer(frame::DEPOT_LAYER)?));
    let refused = match (own, parsed) {
        (Some(content), _) => match read_parameters(content) {
            Ok(parameters) => return Ok(Header::Depot(Box::new(parameters))),
            Err((expected, fault)) => Some(fault.at(storage.path(), Part::Header, 0, expected)),
        },
        (None, Ok(_)) => None,
        (None, Err(found)) => Some(not_a_depot(found)),
    };
    match refused {
        Some(error) if error.is_unsupported() => Err(error),
        refused => match (Scanner::new(storage, false)?.parameters_of_a_commit()?, refused) {
            (Some(parameters), _) => Ok(Header::Depot(Box::new(parameters))),
            (None, None) => Ok(Header::Foreign),
            (None, Some(error)) => Err(error),
        },
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
    ///
    /// The error is that of an entry that only a later version can read.
    fn parameters_of_a_commit(&self) -> Result<Option<Parameters>> {
        let mut tail = Tail::START;
        loop {
            let head = self.head(tail.offset).ok();
            let next = |head: &EntryHead| head.sequence == tail.sequence && head.previous == tail.previous;
            let Some(head) = head.filter(next) else { return Ok(None) };
            self.check_known(&head)?;
            if head.kind == Kind::Commit {
                match self.commit(&head) {
                    Ok(commit) => return Ok(Some(commit.parameters)),
                    Err(error) if error.is_unsupported() => return Err(error),
                    Err(_) => {}
                }
            }
            tail = Tail::after(&head);
        }
    }
}

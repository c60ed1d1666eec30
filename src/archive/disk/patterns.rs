//! Globs that choose among paths.

use crate::archive::ArchivePath;
use crate::{Error, ErrorKind, Result};

/// A glob. A `/` at its end says nothing.
pub(super) fn compiled(pattern: &str) -> Result<glob::Pattern> {
    glob::Pattern::new(pattern.trim_end_matches('/')).map_err(|error| {
        let why = format!("{pattern:?} is not a pattern: {}", error.msg);
        Error::new(ErrorKind::InvalidOptions { why })
    })
}

/// Whether one of the patterns matches a path in an archive: by its last name, or whole if the pattern has a `/`.
pub(super) fn matches_any(patterns: &[glob::Pattern], path: &ArchivePath) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    patterns.iter().any(|pattern| {
        let is_whole = pattern.as_str().contains('/');
        let of = if is_whole { path.as_bytes() } else { path.file_name().unwrap_or_default() };
        pattern.matches_with(&String::from_utf8_lossy(of), options)
    })
}

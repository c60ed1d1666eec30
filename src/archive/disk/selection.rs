//! Which paths are added or extracted.

use crate::archive::path::ArchivePath;
use crate::{Error, ErrorKind, Result};

/// Which paths of an archive are added or extracted: by default all.
///
/// A glob without `/` is matched with the last name of a path, and another one with the whole path, where `*`
/// stops at `/` and `**` does not.
///
/// ```
/// use vldepot::archive::{AddOptions, Selection};
/// let options = AddOptions::new().with_selection(Selection::new().include("*.png")?.exclude("cache")?);
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Selection {
    exclude: Vec<glob::Pattern>,
    include: Vec<glob::Pattern>,
}

impl Selection {
    /// All paths.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out paths that match, with all below them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a glob that is none.
    pub fn exclude(mut self, glob: &str) -> Result<Self> {
        self.exclude.push(compiled(glob)?);
        Ok(self)
    }

    /// Takes only files and links that match one of the globs that are included.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOptions`] for a glob that is none.
    pub fn include(mut self, glob: &str) -> Result<Self> {
        self.include.push(compiled(glob)?);
        Ok(self)
    }

    /// Whether this path is left out, and with it all below it.
    pub(in crate::archive) fn excludes(&self, path: &ArchivePath) -> bool {
        matches_any(&self.exclude, path)
    }

    /// Whether a path is left out because of one that it lies in.
    pub(in crate::archive) fn excludes_a_folder_of(&self, path: &ArchivePath) -> bool {
        !self.exclude.is_empty() && path.folders().any(|folder| self.excludes(&folder))
    }

    /// Whether a file or a link is among those that are included.
    pub(in crate::archive) fn includes(&self, path: &ArchivePath) -> bool {
        self.include.is_empty() || matches_any(&self.include, path)
    }

    /// Whether only some files are wanted, and so no folder for itself.
    pub(in crate::archive) fn is_of_files(&self) -> bool {
        !self.include.is_empty()
    }
}

/// A `/` at the end of a glob says nothing.
fn compiled(glob: &str) -> Result<glob::Pattern> {
    glob::Pattern::new(glob.trim_end_matches('/')).map_err(|error| {
        let why = format!("{glob:?} is not a pattern: {}", error.msg);
        Error::new(ErrorKind::InvalidOptions { why })
    })
}

fn matches_any(globs: &[glob::Pattern], path: &ArchivePath) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    globs.iter().any(|glob| {
        let is_whole = glob.as_str().contains('/');
        let of = if is_whole { path.as_bytes() } else { path.file_name().unwrap_or_default() };
        glob.matches_with(&String::from_utf8_lossy(of), options)
    })
}

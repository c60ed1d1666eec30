//! What is wanted of a conversion.

use std::path::Path;

use crate::archive::disk::Selection;
use crate::archive::path::ArchivePath;

/// A format of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// tar, as POSIX 2001 has it (pax), and what GNU tar adds.
    Tar,
    /// tar, compressed by gzip.
    TarGz,
    /// tar, compressed by xz.
    TarXz,
    /// tar, compressed by zstd.
    TarZst,
    /// zip, with files that are stored or deflated.
    Zip,
}

/// Names of formats, as `--to` takes them, and the ends of file names.
const NAMES: &[(&str, Format, &[&str])] = &[
    ("tar", Format::Tar, &[".tar"]),
    ("tar.gz", Format::TarGz, &[".tar.gz", ".tgz"]),
    ("tar.xz", Format::TarXz, &[".tar.xz", ".txz"]),
    ("tar.zst", Format::TarZst, &[".tar.zst", ".tar.zstd", ".tzst"]),
    ("zip", Format::Zip, &[".zip"]),
];

/// Bytes of a source that tell its format.
pub(super) const START: usize = 512;

impl Format {
    /// The names of all formats: `tar`, `tar.gz`, `tar.xz`, `tar.zst`, `zip`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, ..)| *name)
    }

    /// The format of that name.
    ///
    /// ```
    /// use vldepot::archive::convert::Format;
    /// assert_eq!(Format::called("tar.gz"), Some(Format::TarGz));
    /// ```
    pub fn called(name: &str) -> Option<Self> {
        NAMES.iter().find(|(called, ..)| *called == name).map(|(_, format, _)| *format)
    }

    /// The format that the end of a file's name stands for.
    pub fn of_name(path: impl AsRef<Path>) -> Option<Self> {
        let name = path.as_ref().file_name()?.to_string_lossy().to_ascii_lowercase();
        let is_end = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        NAMES.iter().find(|(.., ends)| is_end(ends)).map(|(_, format, _)| *format)
    }

    /// The format whose archives start with these bytes, of which there should be 512. Compressed files are
    /// taken for compressed tar archives.
    pub fn of_start(start: &[u8]) -> Option<Self> {
        let zips: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];
        if zips.iter().any(|magic| start.starts_with(magic)) {
            Some(Self::Zip)
        } else if start.starts_with(b"\x1f\x8b") {
            Some(Self::TarGz)
        } else if start.starts_with(b"\xfd7zXZ\0") {
            Some(Self::TarXz)
        } else if crate::zstd::is_frame(start) {
            Some(Self::TarZst)
        } else {
            super::tar::is_header(start).then_some(Self::Tar)
        }
    }
}

/// What to convert, and how. See [`Archive::import`](crate::archive::Archive::import) and
/// [`Archive::export`](crate::archive::Archive::export).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConvertOptions {
    pub(super) selection: Selection,
    pub(super) root: ArchivePath,
    pub(super) max_ratio: u64,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self { selection: Selection::new(), root: ArchivePath::ROOT, max_ratio: 1000 }
    }
}

impl ConvertOptions {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which paths are taken, by what they are in the source.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Puts everything into this folder of the target.
    #[must_use]
    pub fn with_root(mut self, root: ArchivePath) -> Self {
        self.root = root;
        self
    }

    /// Sets how many times as long as its compressed bytes an archive may become: by default 1,000 times,
    /// beyond its first GiB. A longer one is refused, since it was made to fill memory or disk.
    #[must_use]
    pub fn with_max_ratio(mut self, ratio: u64) -> Self {
        self.max_ratio = ratio;
        self
    }

    /// Whether a path of the source is wanted.
    pub(super) fn wants(&self, path: &ArchivePath, is_folder: bool) -> bool {
        let selection = &self.selection;
        let included = if is_folder { !selection.is_of_files() } else { selection.includes(path) };
        included && !selection.excludes(path) && !selection.excludes_a_folder_of(path)
    }
}

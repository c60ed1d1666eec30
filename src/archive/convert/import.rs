//! An archive of another format, taken in.

use std::io::{self, Read};

use super::options::{ConvertOptions, Format, START};
use super::packing::{Guard, unpack};
use super::report::{ConvertError, Converted, Result};
use super::taking::Taker;
use super::{tar, zip};
use crate::archive::disk::Progress;
use crate::archive::folder::Archive;

impl Archive {
    /// Takes the entries of another archive in, in one pass: files, folders and links with modes, times,
    /// owners and extended attributes.
    ///
    /// The format is told by the content: tar, also compressed by gzip, xz or zstd. A zip archive needs
    /// [`import_zip`](Self::import_zip).
    ///
    /// - A path that is no [`ArchivePath`](crate::archive::ArchivePath), a device, a pipe, and a file of 4
    ///   GiB
    ///   and more are among [`Transfer::failures`](crate::archive::Transfer::failures), and do not stop the
    ///   others.
    /// - Of several entries with one path, the last one stays, and a note says so.
    /// - A hard link becomes a file of its own, and a sparse file one with zeros in its holes.
    /// - Links are stored as they are. None is followed.
    ///
    /// What was taken in before an error stays. Write to a new depot, such as in a
    /// [`StagedFile`](crate::storage::StagedFile), to have all or nothing.
    ///
    /// # Errors
    /// [`ConvertError::Source`] when the source is damaged, cut short, or of no known format, and the errors
    /// of [`write`](Self::write).
    pub fn import(
        &self,
        source: impl Read,
        options: &ConvertOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Converted> {
        let mut source = source;
        let mut start = Vec::with_capacity(START);
        let read = (&mut source).take(START as u64).read_to_end(&mut start);
        read.map_err(|error| ConvertError::read(None, 0, error))?;
        let format = Format::of_start(&start).ok_or_else(|| {
            ConvertError::source(None, 0, "it is neither a tar nor a zip archive, or is not complete")
        })?;
        if format == Format::Zip {
            let why = "it is a zip archive, whose directory is at its end: it cannot be read from a stream";
            return Err(ConvertError::source(None, 0, why));
        }
        let guard = Guard::new(options.max_ratio);
        let mut source = unpack(io::Cursor::new(start).chain(source), format, &guard);
        let mut taker = Taker::new(self, options, &mut progress);
        tar::read(&mut source, &guard, &mut taker)?;
        Ok(taker.finish())
    }

    /// Takes the entries of a zip archive in. Otherwise like [`import`](Self::import).
    ///
    /// Files that are encrypted, or compressed in another way than deflate, are failures. Times without a
    /// zone are taken as UTC.
    ///
    /// # Errors
    /// The errors of [`import`](Self::import).
    pub fn import_zip(
        &self,
        source: impl Read + io::Seek,
        options: &ConvertOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Converted> {
        let mut taker = Taker::new(self, options, &mut progress);
        zip::read(source, &Guard::new(options.max_ratio), &mut taker)?;
        Ok(taker.finish())
    }
}

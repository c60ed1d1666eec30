//! A file that is open, frame by frame, whatever its format.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{Fault, ImportError, Result};
use super::format::Format;
use super::frames::{Entry, Frames};
use super::source::{Input, Source};
use super::{dcd, detect, extxyz, gsd, pdb, trr, xtc};
use crate::codecs::Units;
use crate::maintain::Progress;

/// A trajectory file of any format that is read, frame by frame.
///
/// ```no_run
/// use vldepot::trajectories::Trajectory;
///
/// let mut trajectory = Trajectory::open("run.xtc")?;
/// println!("{} in {}", trajectory.format(), trajectory.units().length);
/// while let Some(entry) = trajectory.next_frame()? {
///     println!("{:?}", entry.frame.time);
/// }
/// # Ok::<(), vldepot::trajectories::ImportError>(())
/// ```
pub struct Trajectory {
    path: PathBuf,
    format: Format,
    frames: Box<dyn Frames>,
    number: u64,
    len: u64,
    /// After an error, the place of the next frame is unknown.
    ended: bool,
}

/// A file, and what it is.
pub(super) struct Found {
    pub(super) format: Format,
    pub(super) file: File,
    pub(super) len: u64,
}

impl Found {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |source| ImportError::read(path, source);
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "no regular file" };
            let found = format!("it is {what}: a file is imported");
            return Err(ImportError::Format { path: path.to_owned(), found });
        }
        let mut start = Vec::with_capacity(detect::START);
        (&mut file).take(detect::START as u64).read_to_end(&mut start).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let format =
            detect::found(&start).map_err(|found| ImportError::Format { path: path.to_owned(), found })?;
        Ok(Self { format, file, len: metadata.len() })
    }
}

impl Trajectory {
    /// Opens a file. Its content tells the format.
    ///
    /// # Errors
    /// - [`ImportError::Format`] when it is of no format with frames that is read.
    /// - [`ImportError::Read`], and the errors of [`next_frame`](Self::next_frame).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let Found { format, file, len } = Found::open(path)?;
        Self::with(path, format, file, len)
    }

    /// Reads a file that is in memory.
    ///
    /// `path` names it in errors.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub fn from_bytes(path: impl AsRef<Path>, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Self> {
        let path = path.as_ref();
        let start = &bytes.as_ref()[..bytes.as_ref().len().min(detect::START)];
        let format =
            detect::found(start).map_err(|found| ImportError::Format { path: path.to_owned(), found })?;
        let len = bytes.as_ref().len() as u64;
        Self::with(path, format, std::io::Cursor::new(bytes), len)
    }

    pub(super) fn with(path: &Path, format: Format, file: impl Input + 'static, len: u64) -> Result<Self> {
        let source = Source::new(file, len);
        let frames: Result<Box<dyn Frames>, Fault> = match format {
            Format::Xtc => Ok(Box::new(xtc::Xtc::new(source))),
            Format::Trr => Ok(Box::new(trr::Trr::new(source))),
            Format::Dcd => dcd::Dcd::new(source).map(|frames| Box::new(frames) as _),
            Format::ExtXyz => Ok(Box::new(extxyz::ExtXyz::new(source))),
            Format::Pdb => Ok(Box::new(pdb::Pdb::new(source))),
            Format::Gsd => gsd::Gsd::new(source).map(|frames| Box::new(frames) as _),
            Format::Npy | Format::Npz => {
                let found = format!("it is a file of {format}, which has no frames of atoms");
                return Err(ImportError::Format { path: path.to_owned(), found });
            }
        };
        let frames = frames.map_err(|fault| fault.of(path, format, None))?;
        Ok(Self { path: path.to_owned(), format, frames, number: 0, len, ended: false })
    }

    /// What the file is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The units of the numbers, which are those of the file.
    pub fn units(&self) -> Units {
        self.frames.units()
    }

    /// Whether types are atomic numbers, and not ids.
    pub fn has_elements(&self) -> bool {
        self.frames.has_elements()
    }

    /// Whether single precision holds the file's numbers, although they are given in double precision.
    pub(super) fn is_single(&self) -> bool {
        self.frames.is_single()
    }

    /// How many bytes were read, of how many.
    pub fn progress(&self) -> Progress {
        Progress { done: self.frames.at().min(self.len), total: self.len }
    }

    /// What is known of the file so far that has no place in a frame, under the name of the format.
    pub fn about(&self) -> Option<(&'static str, Value)> {
        self.frames.about()
    }

    /// Reads the next frame. `None` at the end of the file.
    ///
    /// Numbers are those of the file, bit by bit. After an error, it returns `None`.
    ///
    /// # Errors
    /// - [`ImportError::Damaged`] with the frame and the place.
    /// - [`ImportError::Unsupported`], [`ImportError::Read`].
    pub fn next_frame(&mut self) -> Result<Option<Entry<'_>>> {
        if self.ended {
            return Ok(None);
        }
        let number = self.number;
        self.number += 1;
        match self.frames.next() {
            Ok(found) => {
                self.ended = found.is_none();
                Ok(found)
            }
            Err(fault) => {
                self.ended = true;
                Err(fault.of(&self.path, self.format, Some(number)))
            }
        }
    }
}

impl std::fmt::Debug for Trajectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, format, number, .. } = self;
        f.debug_struct("Trajectory")
            .field("path", path)
            .field("format", format)
            .field("frames_read", number)
            .finish_non_exhaustive()
    }
}

//! An index over a tar file, which stays where it is.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::options::{ConvertOptions, Format, START};
use super::packing::Guard;
use super::report::{ConvertError, Converted, Result};
use super::taking::Taker;
use super::tar;
use crate::archive::disk::Progress;
use crate::archive::folder::Archive;
use crate::storage::{FileStorage, Storage};
use crate::{CommitEvery, Depot, Error, ErrorKind, Raw, WriteOptions};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Makes an index over a tar file that is not compressed: an archive whose files stay in the tar file.
///
/// `folder` is where the new depot, which is written to `target`, will be. The depot finds the tar file by
/// its path from there, so both may be moved together. It is opened like any other, and read only. It is an
/// error if the tar file is missing then, or if its length or one of its ends is another one; each file that
/// is read is compared with its checksum.
///
/// Sparse files, and what [`Archive::import`] refuses, are among
/// [`Transfer::failures`](crate::archive::Transfer::failures).
///
/// ```
/// use vldepot::archive::convert::{ConvertOptions, Format, wrap_tar};
/// use vldepot::archive::Archive;
/// use vldepot::storage::StagedFile;
/// # let folder = tempfile::tempdir()?;
/// # let (tar, path) = (folder.path().join("a.tar"), folder.path().join("a.vld"));
/// let archive = Archive::memory()?;
/// archive.write("images/cat.jpg", b"...")?;
/// archive.export(std::fs::File::create(&tar)?, Format::Tar, &ConvertOptions::new(), |_| ())?;
///
/// let staged = StagedFile::create(&path)?;
/// wrap_tar(&tar, staged.storage(), folder.path(), &ConvertOptions::new(), |_| ())?;
/// staged.publish()?;
/// assert_eq!(Archive::open(&path)?.read("images/cat.jpg")?.view(), b"...");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - [`ConvertError::Source`] when the tar file cannot be read, is damaged, compressed, or none.
/// - [`ErrorKind::InvalidOptions`] when its path from `folder` has more than some 900 bytes, is not UTF-8 or
///   has line feeds.
/// - The errors of [`Depot::put`].
pub fn wrap_tar(
    tar: impl AsRef<Path>,
    target: Arc<dyn Storage>,
    folder: impl AsRef<Path>,
    options: &ConvertOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Converted> {
    let tar = tar.as_ref();
    let failed = |error| ConvertError::read(None, 0, error);
    let mut file = File::open(tar).map_err(failed)?;
    let mut start = Vec::new();
    (&mut file).take(START as u64).read_to_end(&mut start).map_err(failed)?;
    if Format::of_start(&start) != Some(Format::Tar) {
        let why = "it is not a tar archive, or a compressed one: only the files of one that is not compressed can \
                   stay where they are";
        return Err(ConvertError::source(None, 0, why));
    }
    file.rewind().map_err(failed)?;
    let storage = FileStorage::open(tar).map_err(failed)?;
    let path = relative(tar, folder.as_ref()).map_err(failed)?;
    let refused = |why: &str| Error::new(ErrorKind::InvalidOptions { why: why.to_owned() }).at(tar);
    let path = path.to_str().filter(|path| !path.contains('\n'));
    let path = path.ok_or_else(|| refused("its path is not UTF-8, or has line feeds"))?;
    if path.len() > 900 {
        return Err(refused("its path from the new depot is longer than 900 bytes").into());
    }
    let depot = Depot::builder(Raw)
        .over_file(&storage, path)?
        .write_options(WriteOptions::default().with_commit_every(CommitEvery::never()))
        .create_in(target)?;
    let archive = Archive::new(depot);
    let mut taker = Taker::new(&archive, options, &mut progress);
    taker.wraps = true;
    let mut source = BufReader::with_capacity(BUFFER, file);
    tar::read(&mut source, &Guard::new(u64::MAX), &mut taker)?;
    let done = taker.finish();
    archive.close()?;
    Ok(done)
}

/// The path of a file from a folder. Both must be there.
fn relative(file: &Path, folder: &Path) -> std::io::Result<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (file, folder) = (file.canonicalize()?, folder.canonicalize()?);
    let shared = file.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    Ok(up.chain(file.components().skip(shared)).collect())
}

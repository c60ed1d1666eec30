//! Files in the order in which they are stored, and many files at once.

use super::folder::Archive;
use super::path::ArchivePath;
use super::stat::FileKind;
use super::tree::Entry;
use crate::{Raw, ReadOptions, Record, Result};

impl Archive {
    /// All files, folders and links in the order in which they are stored, as [`walk`](Self::walk) gives them
    /// in the order of names.
    ///
    /// # Errors
    /// In place of an entry: [`ErrorKind::InvalidPath`](crate::ErrorKind::InvalidPath) for records whose
    /// names are no paths, and damage.
    pub fn stored(&self) -> impl Iterator<Item = Result<Entry>> + Send + '_ {
        self.depot().keys().map(|key| {
            let key = key?;
            match ArchivePath::of_key(&key) {
                Some((path, is_dir)) => Ok(Entry { path, is_dir }),
                None => Err(self.no_path(&key)),
            }
        })
    }

    /// All files with their bytes, in the order in which they are stored, so that every chunk is decoded
    /// once. Links have the bytes of the file that they lead to.
    ///
    /// ```
    /// use vldepot::ReadOptions;
    /// use vldepot::archive::Archive;
    /// let archive = Archive::memory()?;
    /// archive.write("b/2", b"..")?;
    /// archive.write("a", b".")?;
    /// let files = archive.read_all(&ReadOptions::default());
    /// let lengths = files.map(|file| file.map(|(path, bytes)| (path.to_string(), bytes.len())));
    /// let lengths: Vec<_> = lengths.collect::<vldepot::Result<_>>()?;
    /// assert_eq!(lengths, [("b/2".to_owned(), 2), ("a".to_owned(), 1)]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// In place of a file: those of [`stored`](Self::stored) and [`read`](Self::read).
    pub fn read_all<'a>(
        &'a self,
        options: &ReadOptions,
    ) -> impl Iterator<Item = Result<(ArchivePath, Record<Raw>)>> + Send + use<'a> {
        self.depot().iter_with(options).filter_map(|entry| {
            let file = || {
                let (key, record) = entry?;
                let Some((path, is_dir)) = ArchivePath::of_key(&key) else { return Err(self.no_path(&key)) };
                if is_dir {
                    return Ok(None);
                }
                let is_link = self.attributes(&path, false)?.kind == Some(FileKind::Link);
                let record = if is_link { self.read(&path)? } else { record };
                Ok(Some((path, record)))
            };
            file().transpose()
        })
    }

    /// The bytes of many files, in the order of the paths. Chunks are decoded once, however the paths are
    /// ordered.
    ///
    /// # Errors
    /// The errors of [`read`](Self::read).
    pub fn read_many(&self, paths: &[impl AsRef<[u8]>], options: &ReadOptions) -> Result<Vec<Record<Raw>>> {
        let key = |path: &_| Ok(self.follow(ArchivePath::new(path)?)?.key());
        let keys = paths.iter().map(key).collect::<Result<Vec<_>>>()?;
        self.depot().get_many_with(&keys, options)
    }
}

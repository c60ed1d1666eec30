//! From the disk into a set of shards.

use std::path::Path;

use super::add::{AddOptions, Source, Target};
use super::report::{Progress, Transfer};
use crate::archive::folder::Archive;
use crate::shards::{self, Merged, StagedSet, Writer, WriterOptions};
use crate::{DepotBuilder, Error, ErrorKind, Raw, Result};

/// Stores files of the disk in a set of shards, each an archive of at most about
/// [`shard_bytes`](WriterOptions#structfield.shard_bytes).
///
/// If `folder` is a set, the files are added in new shards. A path that is there already is superseded. If
/// nothing is there, the set is made, and appears when it is complete. [`Archive::open`] opens the folder.
///
/// ```
/// use vldepot::archive::{AddOptions, Archive, ArchivePath, Source, add_to_shards, layout};
/// use vldepot::shards::WriterOptions;
/// use vldepot::{Depot, Layout, Raw};
/// # let root = tempfile::tempdir()?;
/// # let (images, set) = (root.path().join("images"), root.path().join("set"));
/// # std::fs::create_dir(&images)?;
/// # std::fs::write(images.join("cat.jpg"), b"meow")?;
/// let source = Source::new(&images, ArchivePath::new("images")?);
/// let builder = Depot::builder(Raw).layout(layout(Layout::default()));
/// let shards = WriterOptions::default().with_shard_bytes(1 << 30);
/// let (added, merged) = add_to_shards(&set, [source], builder, shards, &AddOptions::new(), |_| {})?;
/// assert_eq!((added.files, merged.shards), (1, 1));
/// assert_eq!(Archive::open(&set)?.read("images/cat.jpg")?.view(), b"meow");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The errors of [`Archive::add_all`] and of [`Writer`], and [`ErrorKind::PathExists`] if `folder` is there
/// and no set.
pub fn add_to_shards(
    folder: impl AsRef<Path>,
    sources: impl IntoIterator<Item = Source>,
    builder: DepotBuilder<Raw>,
    shards: WriterOptions,
    options: &AddOptions,
    progress: impl FnMut(Progress),
) -> Result<(Transfer, Merged)> {
    let folder = folder.as_ref();
    if shards::is_set(folder) {
        return add(folder, sources, builder, shards, options, progress);
    }
    if folder.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::PathExists).at(folder));
    }
    let staged = StagedSet::create(folder)?;
    let done = add(staged.path(), sources, builder, shards, options, progress)?;
    staged.publish()?;
    Ok(done)
}

fn add(
    folder: &Path,
    sources: impl IntoIterator<Item = Source>,
    builder: DepotBuilder<Raw>,
    shards: WriterOptions,
    options: &AddOptions,
    progress: impl FnMut(Progress),
) -> Result<(Transfer, Merged)> {
    let writer = Writer::new(folder, builder, shards)?;
    let options = options.clone().without_file(folder);
    let mut target = Sharded { writer, shard: None };
    let added = super::add::add_into(&mut target, sources, &options, progress)?;
    if let Some(shard) = target.shard.take() {
        shard.close()?;
    }
    Ok((added, target.writer.close()?))
}

/// Archives one after the other.
struct Sharded {
    writer: Writer<Raw>,
    shard: Option<Archive>,
}

impl Target for Sharded {
    fn archive(&mut self) -> Result<&Archive> {
        if let Some(full) = self.shard.take_if(|shard| self.writer.is_full(shard.depot()).unwrap_or(true)) {
            full.close()?;
        }
        if self.shard.is_none() {
            let is_there = shards::is_set(self.writer.path());
            let older = if is_there { Some(Archive::open(self.writer.path())?) } else { None };
            self.shard = Some(Archive::new(self.writer.new_shard()?).over(older));
        }
        self.shard.as_ref().ok_or_else(|| Error::new(ErrorKind::ReadOnly).at(self.writer.path()))
    }

    fn path(&self) -> &Path {
        self.writer.path()
    }
}

//! `vldepot create`: stores files and folders in a new archive.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use vldepot::archive::{Archive, layout};
use vldepot::shards::WriterOptions;
use vldepot::storage::StagedFile;
use vldepot::{CommitEvery, Depot, Layout, Raw, WriteOptions};

use super::Run;
use super::add::{add_to_set, store};
use crate::archive::{self, Sources};
use crate::failure::Failure;
use crate::{progress, text};

/// Store files and folders in a new archive.
///
/// Modes, times, owners, extended attributes and links are kept. The archive appears when it is complete. A
/// file that cannot be read is named, and the others are stored.
#[derive(Args)]
pub(crate) struct Create {
    /// The new archive.
    file: PathBuf,
    #[command(flatten)]
    sources: Sources,
    /// Replace an archive or another file that is there.
    #[arg(long, short)]
    force: bool,
    /// How to compress: `balanced` and `compact` with zstd, `fast` with LZ4.
    #[arg(long, default_value = "balanced", value_parser = PossibleValuesParser::new(Layout::PRESETS))]
    preset: String,
    /// Make a folder of shards instead of one file, and begin a new one after so many bytes. `k`, `M`, `G`
    /// and `T` after the number count KiB, MiB, GiB and TiB.
    #[arg(long, short, value_name = "N", value_parser = text::parse_bytes, conflicts_with = "force")]
    shard_size: Option<u64>,
    /// Print one JSON object.
    #[arg(long, visible_alias = "jsonl")]
    json: bool,
}

impl Run for Create {
    fn json(&self) -> bool {
        self.json
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let layout = layout(self.preset.parse()?);
        // Nobody sees the file before it is complete: no commit is needed on the way.
        let mut write = WriteOptions::default().with_commit_every(CommitEvery::never());
        if let Some(threads) = self.sources.threads() {
            write = write.with_threads(threads);
        }
        let options = self.sources.options()?;
        let builder = Depot::builder(Raw).layout(layout).write_options(write);
        if let Some(bytes) = self.shard_size {
            if self.file.symlink_metadata().is_ok() {
                let file = text::path(&self.file);
                return Err(Failure::other(format!("{file}: it is there already; `vldepot add` adds to it")));
            }
            let shards = WriterOptions::default().with_shard_bytes(bytes);
            return add_to_set(&self.file, &self.sources, builder, shards, &options, self.json, out);
        }
        let is_there = self.file.symlink_metadata().is_ok();
        if is_there && !self.force {
            let file = text::path(&self.file);
            return Err(Failure::other(format!("{file}: it is there already; --force replaces it")));
        }
        let staged =
            if is_there { StagedFile::replace(&self.file)? } else { StagedFile::create(&self.file)? };
        // It lies beside the file, so it may be found where files are stored from.
        let options = options.without_file(staged.path());
        let new = Archive::new(builder.create_in(staged.storage())?);
        let added = store(&new, &self.sources, &options)?;
        new.close()?;
        staged.publish()?;
        let size = std::fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
        if self.json {
            let mut object = archive::counts(&added);
            object.insert("file_bytes".to_owned(), size.into());
            writeln!(out, "{}", Value::from(object))?;
        } else {
            let (file, words) = (text::path(&self.file), archive::in_words(&added));
            progress::tell(out, format_args!("{file}: {words}, stored in {}", text::bytes(size)))?;
        }
        archive::without(&added, "could not be stored")
    }
}

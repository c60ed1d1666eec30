//! Files of the disk, put into an archive and written out again.
//!
//! ```text
//! add       walk ──> readers (threads) ──> the depot, in the order of the walk
//! sharded   add, into one shard after the other
//! long      the same for long files, piece by piece
//! extract   names ──> writers (threads) ──> files, below an open folder; then the folders' modes and times
//! ```
//!
//! Extraction opens each folder from the one above it and follows no link, so nothing is written outside of
//! its target, whatever the archive holds and whatever others do in the target meanwhile.

mod add;
mod extract;
mod long;
mod open;
mod report;
mod selection;
mod sharded;
mod xattrs;

pub use add::{AddOptions, Source};
pub use extract::ExtractOptions;
pub use report::{Failure, Progress, Transfer};
pub use selection::Selection;
pub use sharded::add_to_shards;

//! Checking, repairing and compacting files.
//!
//! ```text
//! verify    checks every checksum, the index against the chunks, the Blosc2 frame
//! repair    writes all that can be read of a damaged file to a new one
//! compact   replaces a file by one without what was removed and replaced
//! described checks and compacts with the codec, which makes statistics anew
//! path      checks what is at a path: a file or a folder
//! shards    checks a folder of shards
//! plan      finds what compacting would remove for good
//! ```

mod compact;
mod described;
mod path;
mod plan;
mod repair;
#[cfg(feature = "shards")]
mod shards;
mod verify;

use crate::depot::Said;
use crate::error::Error;
use crate::index::Location;
use crate::key::Key;

pub use compact::{CompactOptions, CompactReport, compact, compact_into, compact_with};
#[cfg(feature = "shards")]
pub(crate) use compact::{check_count, each_live};
pub use described::{compact_as, verify_as};
pub use path::verify;
pub use plan::plan_compact;
pub use repair::{RepairOptions, RepairReport, repair, repair_in};
pub use verify::{VerifyOptions, VerifyReport, verify_in};

/// Says what a codec knows of a record with these bytes. `None` if they are not what the codec holds.
type Describe<'d> = dyn Fn(&[u8]) -> Option<Said> + 'd;

/// Whether a record is short enough to be described. A longer one was put without being described.
fn can_be_described(location: &Location) -> bool {
    u32::try_from(location.length).is_ok()
}

/// How far a long job is, in bytes read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in total, as far as is known.
    pub total: u64,
}

/// A record that cannot be read, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct LostRecord {
    /// Its name.
    pub name: Key,
    /// Why it cannot be read. The message says the chunk, the offset, what was expected and what was
    /// found.
    pub error: Error,
}

impl LostRecord {
    fn new(tagged: &[u8], error: Error) -> Self {
        // A name that is not a valid key is shown as bytes.
        let name = Key::from_tagged(tagged).unwrap_or_else(|| Key::Bytes(tagged.to_vec()));
        Self { name, error }
    }
}

/// Progress is reported each time this many more bytes are done.
const PROGRESS_STEP: u64 = 4 << 20;

/// Counts bytes and reports progress now and then.
pub(crate) struct Meter<'p> {
    tell: &'p mut dyn FnMut(Progress),
    now: Progress,
    told: u64,
}

impl<'p> Meter<'p> {
    pub(crate) fn new(total: u64, tell: &'p mut dyn FnMut(Progress)) -> Self {
        let now = Progress { done: 0, total };
        tell(now);
        Self { tell, now, told: 0 }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.now.done = (self.now.done + bytes).min(self.now.total);
        if self.now.done - self.told >= PROGRESS_STEP {
            self.told = self.now.done;
            (self.tell)(self.now);
        }
    }

    pub(crate) fn finish(mut self) {
        self.now.done = self.now.total;
        (self.tell)(self.now);
    }
}

//! Checks what is at a path: a file, or a folder of shards.

use std::path::Path;
use std::sync::Arc;

use super::Progress;
use super::verify::{VerifyOptions, VerifyReport, verify_in};
use crate::error::{Error, Result};
use crate::storage::FileStorage;

/// Checks the file at `path`, or all shards of a folder.
///
/// The file may be open elsewhere, even for writing. The check covers what is committed when it starts.
/// `progress` is called now and then.
///
/// ```
/// use vldepot::maintain::{VerifyOptions, verify};
/// use vldepot::{Depot, Raw};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.vld");
/// # let depot = Depot::create(&path, Raw)?;
/// # depot.put("a", b"kept")?;
/// # depot.close()?;
/// let report = verify(&path, &VerifyOptions::default(), |_| {})?;
/// assert!(report.is_whole());
/// assert_eq!(report.records_read, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - The errors of [`Depot::open`](crate::Depot::open) if the file does not open, such as
///   [`ErrorKind::NotADepot`](crate::ErrorKind::NotADepot).
/// - [`ErrorKind::NewerFeature`](crate::ErrorKind::NewerFeature) if a later version wrote something into
///   the file that this one cannot check.
///
/// Damage in a file that opens is not an error: the report lists it.
pub fn verify(
    path: impl AsRef<Path>,
    options: &VerifyOptions,
    #[cfg_attr(not(feature = "shards"), expect(unused_mut, reason = "only a folder of shards borrows it"))]
    mut progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    let path = path.as_ref();
    #[cfg(feature = "shards")]
    if crate::manifest::is_set(path) {
        return super::shards::verify_set(path, *options, &mut progress);
    }
    let storage = FileStorage::open(path).map_err(|source| Error::io(path, "open the file", source))?;
    verify_in(Arc::new(storage), options, progress)
}

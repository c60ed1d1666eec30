//! Checks what is at a path: a file, or a folder of shards.

use std::path::Path;
use std::sync::Arc;

use super::verify::{VerifyOptions, VerifyReport, verify_storage};
use super::{Describe, Progress};
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
    mut progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    verify_describing(path.as_ref(), *options, None, &mut progress)
}

/// Like [`verify`]. What describes the records checks the statistics.
pub(super) fn verify_describing(
    path: &Path,
    options: VerifyOptions,
    describe: Option<&Describe<'_>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    #[cfg(feature = "shards")]
    if crate::manifest::is_set(path) {
        return super::shards::verify_set(path, options, describe, progress);
    }
    let storage = FileStorage::open(path).map_err(|source| Error::io(path, "open the file", source))?;
    verify_storage(Arc::new(storage), options, describe, progress)
}

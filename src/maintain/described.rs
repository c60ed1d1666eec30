//! Checking and compacting with the codec of the records, which makes their statistics anew.

use std::path::Path;
use std::sync::Arc;

use super::compact::{CompactOptions, CompactReport, compact_describing};
use super::path::verify_describing;
use super::verify::{VerifyOptions, VerifyReport};
use super::{Describe, Progress};
use crate::codec::Codec;
use crate::depot::{Asked, learned, said_of};
use crate::engine::Engine;
use crate::error::Result;
use crate::format::tables::Parameters;

/// What describes the records of `engine` for `parameters`: nothing, if they need nothing of the codec.
fn describer<C: Codec>(
    codec: C,
    engine: &Engine,
    parameters: &Parameters,
) -> Result<Option<Box<Describe<'static>>>> {
    let ((), codec): ((), Arc<C>) = learned(codec, |check| engine.check_codec(check))?;
    let asked = Asked::of(parameters, &*codec);
    if asked.is_nothing() {
        return Ok(None);
    }
    Ok(Some(Box::new(move |bytes: &[u8]| said_of(&*codec, bytes, asked).ok())))
}

/// Checks like [`verify`](super::verify), and makes the statistics of the records' fields anew, which it
/// compares with those of the index.
///
/// Counts, min and max must be equal. Mean and variance may differ by 10^-9 of the largest value, or of its
/// square: they are sums, and were added up in another order. After records were removed or replaced,
/// statistics are bounds, and are checked as such. With a record that is not what the codec holds, they are
/// not compared.
///
/// ```
/// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
/// use vldepot::maintain::{VerifyOptions, verify_as};
/// use vldepot::{Depot, Layout};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.vld");
/// let layout = Layout::default().with_statistics(true);
/// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(&path)?;
/// depot.put(0, &AtomicFrame::new().n_atoms(2).energy(-1.0))?;
/// depot.close()?;
/// assert!(verify_as(&path, AtomicFrameCodec::any(), &VerifyOptions::default(), |_| {})?.is_whole());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - The errors of [`verify`](super::verify).
/// - [`ErrorKind::WrongCodec`](crate::ErrorKind::WrongCodec),
///   [`ErrorKind::CodecParameters`](crate::ErrorKind::CodecParameters).
///
/// A difference is among the problems of the report. It names the field, what was expected and what was
/// found.
pub fn verify_as<C: Codec>(
    path: impl AsRef<Path>,
    codec: C,
    options: &VerifyOptions,
    mut progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    let path = path.as_ref();
    // What does not open has no statistics to compare: the plain check says why.
    let describe = match Engine::open_path(path) {
        Ok(engine) => describer(codec, &engine, engine.parameters())?,
        Err(_) => None,
    };
    verify_describing(path, *options, describe.as_deref(), &mut progress)
}

/// Compacts like [`compact_with`](super::compact_with), and makes the statistics of the records' fields anew,
/// so that they are exact afterwards.
///
/// Where the new layout stores [fields apart](crate::Layout::fields_apart), this codec says where they lie:
/// chunks that were written without become chunks with the fields apart.
///
/// ```
/// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
/// use vldepot::maintain::{CompactOptions, compact_as};
/// use vldepot::{Depot, Layout};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.vld");
/// let layout = Layout::default().with_statistics(true);
/// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(&path)?;
/// for n in 0..3 {
///     depot.put(n, &AtomicFrame::new().n_atoms(2).energy(f64::from(n)))?;
/// }
/// depot.remove(2)?;
/// assert!(!depot.statistics()?.fields.unwrap().exact);
/// depot.close()?;
///
/// compact_as(&path, AtomicFrameCodec::any(), &CompactOptions::default(), |_| {})?;
/// let statistics = Depot::open(&path, AtomicFrameCodec::new())?.statistics()?;
/// assert_eq!(statistics.field("energy").unwrap().max(), Some(1.0));
/// assert!(statistics.fields.unwrap().exact);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The errors of [`compact`](super::compact), and those of a codec that is not that of the depot. Records
/// that are not what the codec holds are kept, and are missing in the statistics.
pub fn compact_as<C: Codec>(
    path: impl AsRef<Path>,
    codec: C,
    options: &CompactOptions,
    mut progress: impl FnMut(Progress),
) -> Result<CompactReport> {
    let describer = |engine: &Engine, new: &Parameters| describer(codec, engine, new);
    compact_describing(path.as_ref(), options, describer, &mut progress)
}

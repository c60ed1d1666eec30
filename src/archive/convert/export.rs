//! An archive of ours, written in another format.

use std::io::{BufWriter, Write};

use super::giving::Giver;
use super::options::{ConvertOptions, Format};
use super::packing::Packer;
use super::report::{ConvertError, Converted, Result};
use super::{tar, zip};
use crate::archive::disk::Progress;
use crate::archive::folder::Archive;

impl Archive {
    /// Writes all files, folders and links as an archive of another format, in one pass.
    ///
    /// A tar archive keeps all attributes. One of zip keeps modes, owners, and times of whole seconds from
    /// 1980 on; it has no extended attributes. Where a mode or a time is not known, `0o644`, `0o755` and 1970
    /// stand for it.
    ///
    /// Damaged records are among [`Transfer::failures`](crate::archive::Transfer::failures), and do not stop
    /// the others.
    ///
    /// # Errors
    /// [`ConvertError::Target`], and the errors of [`walk`](Self::walk).
    pub fn export(
        &self,
        target: impl Write,
        format: Format,
        options: &ConvertOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Converted> {
        let giver = Giver::new(self, options, &mut progress);
        let target = BufWriter::with_capacity(1 << 20, target);
        let refused = ConvertError::Target;
        let (done, mut target) = if format == Format::Zip {
            let mut zip = zip::Writer::new(target);
            let done = giver.give(&mut zip)?;
            (done, zip.finish().map_err(refused)?)
        } else {
            let mut tar = tar::Writer::new(Packer::new(target, format).map_err(refused)?);
            let done = giver.give(&mut tar)?;
            (done, tar.finish().and_then(Packer::finish).map_err(refused)?)
        };
        target.flush().map_err(refused)?;
        Ok(done)
    }
}

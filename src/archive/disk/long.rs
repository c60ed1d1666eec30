//! Long files, which are stored piece by piece.

use std::io::{self, Read};
use std::path::Path;

use super::add::{AddOptions, attributes_of, check_unchanged};
use super::open::Folder;
use super::report::{Failure, Transfer};
use crate::Result;
use crate::archive::MAX_LEN;
use crate::archive::folder::Archive;
use crate::archive::path::ArchivePath;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

impl Archive {
    /// Stores a file of any length, with memory for a few chunks. Nothing of one that changes meanwhile is
    /// stored.
    pub(super) fn store_long(
        &self,
        from: &Path,
        to: &ArchivePath,
        options: &AddOptions,
        added: &mut Transfer,
    ) -> Result<()> {
        let fail = |added: &mut Transfer, error: io::Error| {
            added.fail(Failure { path: from.to_owned(), error });
            Ok(())
        };
        let (mut file, before) = match Folder::default().open(from) {
            Ok(opened) => opened,
            Err(error) => return fail(added, error),
        };
        let len = u64::try_from(before.st_size).unwrap_or(0);
        if len > MAX_LEN {
            let why = format!("it has {len} bytes, and a file in an archive has at most {MAX_LEN}");
            return fail(added, io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let mut put = self.write_by_pieces(to, &attributes_of(&file, &before, options), false)?;
        let mut piece = vec![0; PIECE];
        let mut n = 0;
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    n += read as u64;
                    // One that grows as fast as it is read has no end.
                    if n > len {
                        break;
                    }
                    put.push(&piece[..read])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return fail(added, error),
            }
        }
        if let Err(error) = check_unchanged(&file, &before, n) {
            return fail(added, error);
        }
        put.finish()?;
        added.files += 1;
        added.bytes += n;
        Ok(())
    }
}

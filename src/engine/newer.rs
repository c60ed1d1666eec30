//! What later versions wrote: this one refuses to write what it would lose, and carries along what it may.

use super::Engine;
use super::writer::Writer;
use crate::catalog::Snapshot;
use crate::error::Result;
use crate::format::entry::{EntryHead, Kind};
use crate::format::growth::Newer;
use crate::format::tables::Parameters;
use crate::log::{EntryWalk, Scanner, Step};
use crate::storage::Storage;

/// Refuses to write a depot with something that this version would lose.
pub(super) fn check_writable(
    storage: &dyn Storage,
    parameters: &Parameters,
    snapshot: &Snapshot,
) -> Result<()> {
    let of_writers = (snapshot.sequence == 0).then(|| parameters.features.unknown_to_writers()).flatten();
    let in_header = of_writers.or_else(|| parameters.unknown_to_writers());
    let found = snapshot.unknown_to_writers.clone().map(|newer| (newer, snapshot.offset));
    match found.or(in_header.map(|newer| (newer, 0))) {
        Some((newer, offset)) => Err(newer.at(storage.path(), offset, true)),
        None => Ok(()),
    }
}

/// Refuses a new file without the entry `head`. Returns whether the new file must have it too.
pub(crate) fn must_carry(scanner: &Scanner<'_>, head: &EntryHead) -> Result<bool> {
    scanner.check_known(head)?;
    match head.kind {
        Kind::Other(_) if head.kind.may_be_copied() => Ok(true),
        Kind::Other(number) => {
            let newer = Newer::new("entry kind", &number);
            Err(newer.at(scanner.storage.path(), head.offset, true))
        }
        _ => Ok(false),
    }
}

impl Engine {
    /// Refuses to write a depot with something that this version would lose.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let state = self.state();
        check_writable(&**self.storage(), self.parameters(), &state.snapshot)
    }

    /// The entries of later versions that a new file made from this depot must have too.
    ///
    /// The error is [`NewerFeature`](crate::ErrorKind::NewerFeature) if a new file would lose something.
    pub(crate) fn entries_to_carry(&self) -> Result<Vec<EntryHead>> {
        self.check_writable()?;
        let state = self.state();
        for segment in &state.snapshot.segments {
            segment.check_no_more()?;
        }
        let scanner = Scanner::new(self.storage(), false)?;
        let mut heads = Vec::new();
        for step in EntryWalk::new(&scanner, Some(self.parameters().depot_id)) {
            if let Step::Entry(entry) = step?
                && entry.in_place()
                && entry.whole
                && must_carry(&scanner, &entry.head)?
            {
                heads.push(entry.head);
            }
        }
        Ok(heads)
    }
}

impl Writer {
    /// Writes a copy of an entry of an unknown kind.
    pub(crate) fn carry(&mut self, scanner: &Scanner<'_>, head: &EntryHead) -> Result<()> {
        scanner.check_other(head)?;
        self.append.check_alive()?;
        self.flush()?;
        self.append.other(scanner, head)?;
        self.shared.write().pending.changed = true;
        self.published = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

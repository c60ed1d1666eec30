//! Files with holes: which bytes of them are there.

use super::super::taking::invalid;
use super::pax::{Pax, integer};

/// Pieces of one file at most. A longer map is not believed.
const MOST: usize = 1 << 20;

/// Where the pieces of a file are, and how long it is.
#[derive(Debug)]
pub(super) struct Sparse {
    /// Start and length of each.
    pub(super) pieces: Vec<(u64, u64)>,
    pub(super) len: u64,
}

impl Sparse {
    pub(super) fn new(len: u64) -> Self {
        Self { pieces: Vec::new(), len }
    }

    pub(super) fn push(&mut self, at: u64, len: u64) -> std::io::Result<()> {
        if self.pieces.len() >= MOST {
            return Err(invalid(format!("a sparse file of more than {MOST} pieces")));
        }
        self.pieces.push((at, len));
        Ok(())
    }

    /// Adds numbers in pairs.
    pub(super) fn push_all(&mut self, numbers: &[u64]) -> std::io::Result<()> {
        let (pairs, []) = numbers.as_chunks::<2>() else {
            return Err(invalid("the map of a sparse file has an odd number of entries"));
        };
        pairs.iter().try_for_each(|&[at, len]| self.push(at, len))
    }

    /// The map that versions 0.0 and 0.1 of GNU tar keep in the extended header. `None` if there is none.
    pub(super) fn of_pax(pax: &Pax) -> std::io::Result<Option<Self>> {
        let Some(len) = pax.integer("GNU.sparse.size")? else { return Ok(None) };
        let mut sparse = Self::new(len);
        sparse.push_all(&pax.pairs)?;
        if let Some(map) = pax.get("GNU.sparse.map") {
            let numbers = map.split(|&byte| byte == b',').map(integer).collect::<Option<Vec<_>>>();
            sparse.push_all(&numbers.ok_or_else(|| invalid("the map of a sparse file has no numbers"))?)?;
        }
        Ok(Some(sparse))
    }

    /// The bytes that are stored. `Err` when the pieces are not one after the other, or go beyond the file.
    pub(super) fn stored(&self) -> std::io::Result<u64> {
        let refused = || invalid("the pieces of a sparse file are not in order, or go beyond its end");
        let (mut end, mut stored) = (0, 0_u64);
        for &(at, len) in &self.pieces {
            if at < end {
                return Err(refused());
            }
            end = at.checked_add(len).filter(|end| *end <= self.len).ok_or_else(refused)?;
            stored += len;
        }
        Ok(stored)
    }
}

//! What the heads of many records have in common.
//!
//! Records of one **template** have the same spans, with lengths in the same proportion, and the same bytes
//! between them in number. They differ in `n`, the greatest common divisor of the lengths: most often the
//! number of atoms. Their heads are cut into **cells**, words of 4 bytes at multiples of 4 in the record, and
//! fewer bytes at the ends. Of all records of a template in a chunk, a cell is
//!
//! - `base + slope * n`: nothing of it is stored in blocks. Such are the constants, and the offsets of
//!   Flatbuffers;
//! - the same as another cell, as in a symmetric tensor: nothing of it is stored either;
//! - or `base`, some bytes of which are stored for each record.

use std::collections::HashMap;

use super::Broken;
use super::split::Elements;
use super::varint::{Input, push};

/// An array in a piece of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Which field of the codec it is.
    pub(crate) field: u8,
    pub(crate) elements: Elements,
    /// Where it starts in the piece, in bytes.
    pub(crate) start: u32,
    /// Its bytes, whole elements.
    pub(crate) len: u32,
}

impl Span {
    /// The span's bytes in a piece.
    pub(crate) fn of<'b>(&self, piece: &'b [u8]) -> &'b [u8] {
        &piece[self.start as usize..][..self.len as usize]
    }
}

/// A record, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'b> {
    pub(crate) bytes: &'b [u8],
    /// In order, without overlap, inside, and none of them empty.
    pub(crate) spans: &'b [Span],
}

/// What pieces of a template have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Frame {
    /// The stream of each span, and its bytes for each `n`.
    pub(crate) spans: Vec<(u8, u32)>,
    /// The bytes before each span and after the last one, and where they start modulo 4.
    pub(crate) gaps: Vec<(u32, u8)>,
}

/// The most bytes of a head that has a template.
pub(crate) const MAX_HEAD: usize = 16 << 10;
/// The most spans of a piece that has a template.
pub(crate) const MAX_SPANS: usize = 64;
/// The most templates of a chunk.
pub(crate) const MAX_TEMPLATES: usize = 255;

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Frame {
    /// The frame and the `n` of a piece of `len` bytes. `streams` has the stream of each span.
    ///
    /// `None` if it can have no template.
    pub(crate) fn of(len: usize, spans: &[Span], streams: impl Iterator<Item = u8>) -> Option<(Self, u32)> {
        let n = spans.iter().fold(0, |n, span| gcd(n, span.len));
        if n == 0 || spans.len() > MAX_SPANS {
            return None;
        }
        let mut frame = Self::default();
        let (mut at, mut head) = (0_u32, 0);
        let mut gap = |start: u32, at: u32| {
            let len = start.checked_sub(at)?;
            head += len as usize;
            Some((len, (at % 4) as u8))
        };
        for (span, stream) in spans.iter().zip(streams) {
            frame.gaps.push(gap(span.start, at)?);
            frame.spans.push((stream, span.len / n));
            at = span.start.checked_add(span.len)?;
        }
        frame.gaps.push(gap(u32::try_from(len).ok()?, at)?);
        (head <= MAX_HEAD).then_some((frame, n))
    }

    /// Bytes of the head.
    pub(crate) fn head_len(&self) -> usize {
        self.gaps.iter().map(|gap| gap.0 as usize).sum()
    }

    /// How each gap is cut: bytes before the first multiple of 4, whole words, bytes after them.
    fn cuts(&self) -> impl Iterator<Item = [usize; 3]> {
        self.gaps.iter().map(|&(len, phase)| {
            let len = len as usize;
            let lead = ((4 - usize::from(phase)) % 4).min(len);
            [lead, (len - lead) / 4, (len - lead) % 4]
        })
    }

    fn n_cells(&self) -> usize {
        self.cuts().map(|[lead, words, trail]| usize::from(lead > 0) + words + usize::from(trail > 0)).sum()
    }

    /// Where the gaps of a piece lie, and where its spans do: bytes from its start.
    ///
    /// Calls `gap` and `span` in turns. Returns the length of the piece.
    pub(crate) fn walk(
        &self,
        n: u32,
        mut gap: impl FnMut(usize, usize),
        mut span: impl FnMut(u8, usize, usize),
    ) -> Result<usize, Broken> {
        const LONG: Broken = Broken("a span is longer than any record");
        let mut at = 0_usize;
        for (number, &(len, _)) in self.gaps.iter().enumerate() {
            gap(at, len as usize);
            at = at.checked_add(len as usize).ok_or(LONG)?;
            if let Some(&(stream, per)) = self.spans.get(number) {
                let len = per.checked_mul(n).filter(|len| *len > 0).ok_or(LONG)? as usize;
                span(stream, at, len);
                at = at.checked_add(len).ok_or(LONG)?;
            }
        }
        Ok(at)
    }

    /// The cells of a piece's head. Appends them.
    fn read_cells(&self, piece: &[u8], n: u32, cells: &mut Vec<u32>) {
        let short = |bytes: &[u8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(word)
        };
        let mut cuts = self.cuts();
        let done = self.walk(
            n,
            |at, len| {
                let [lead, words, _] = cuts.next().unwrap_or_default();
                let (lead, rest) = piece[at..at + len].split_at(lead);
                let (words, trail) = rest.split_at(4 * words);
                cells.extend((!lead.is_empty()).then(|| short(lead)));
                cells.extend(words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)));
                cells.extend((!trail.is_empty()).then(|| short(trail)));
            },
            |_, _, _| (),
        );
        debug_assert_eq!(done, Ok(piece.len()));
    }

    /// Writes cells to the gaps of a piece.
    fn write_cells(&self, piece: &mut [u8], n: u32, cells: &[u32]) -> Result<(), Broken> {
        let mut cuts = self.cuts();
        let mut cells = cells.iter();
        let short = |to: &mut [u8], cells: &mut std::slice::Iter<'_, u32>| {
            if !to.is_empty()
                && let Some(cell) = cells.next()
            {
                to.copy_from_slice(&cell.to_le_bytes()[..to.len()]);
            }
        };
        self.walk(
            n,
            |at, len| {
                let [lead, words, _] = cuts.next().unwrap_or_default();
                let Some(gap) = piece.get_mut(at..at + len) else { return };
                let (lead, rest) = gap.split_at_mut(lead);
                let (whole, trail) = rest.split_at_mut(4 * words);
                short(lead, &mut cells);
                for (to, cell) in whole.as_chunks_mut::<4>().0.iter_mut().zip(&mut cells) {
                    *to = cell.to_le_bytes();
                }
                short(trail, &mut cells);
            },
            |_, _, _| (),
        )?;
        Ok(())
    }
}

/// A frame, and what the heads of its pieces have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    pub(crate) frame: Frame,
    base: Vec<u32>,
    slope: Vec<u32>,
    /// Cells of which a block stores some bytes, and which: a bit for each.
    stored: Vec<(u32, u8)>,
    /// Cells, and those that they are the same as, which are none of these.
    copies: Vec<(u32, u32)>,
    /// Bytes that are stored of each piece.
    stored_len: usize,
}

/// The bytes of a mask that are set.
fn places(mask: u8) -> impl Iterator<Item = usize> {
    (0..4).filter(move |place| mask >> place & 1 == 1)
}

impl Template {
    /// The template of these pieces, with the `n` of each.
    pub(crate) fn learn(frame: Frame, pieces: &[(&[u8], u32)]) -> Self {
        let n_cells = frame.n_cells();
        let mut cells = Vec::with_capacity(n_cells * pieces.len());
        for (piece, n) in pieces {
            frame.read_cells(piece, *n, &mut cells);
        }
        let rows: Vec<&[u32]> = cells.chunks_exact(n_cells.max(1)).collect();
        let mut this = Self { base: vec![0; n_cells], slope: vec![0; n_cells], frame, ..Self::default() };
        let (Some(&first), Some(&(_, n0))) = (rows.first(), pieces.first()) else { return this };
        let other = pieces.iter().position(|(_, n)| *n != n0);
        for cell in 0..n_cells {
            if let Some(other) = other {
                let dy = i64::from(rows[other][cell].wrapping_sub(first[cell]) as i32);
                let dx = i64::from(pieces[other].1) - i64::from(n0);
                if dy % dx == 0 {
                    this.slope[cell] = (dy / dx) as u32;
                }
            }
            this.base[cell] = first[cell].wrapping_sub(this.slope[cell].wrapping_mul(n0));
            let (base, slope) = (this.base[cell], this.slope[cell]);
            let follows = |(row, (_, n)): (&&[u32], &(&[u8], u32))| {
                row[cell] == base.wrapping_add(slope.wrapping_mul(*n))
            };
            if rows.iter().zip(pieces).all(follows) {
                continue;
            }
            (this.base[cell], this.slope[cell]) = (first[cell], 0);
            let same = this
                .stored
                .iter()
                .find(|(earlier, _)| rows.iter().all(|row| row[*earlier as usize] == row[cell]));
            if let Some(&(earlier, _)) = same {
                this.copies.push((cell as u32, earlier));
                this.base[cell] = 0;
                continue;
            }
            let differ = rows.iter().fold(0, |bits, row| bits | row[cell] ^ first[cell]);
            let mask =
                differ.to_le_bytes().iter().rev().fold(0, |mask, byte| mask << 1 | u8::from(*byte != 0));
            this.stored.push((cell as u32, mask));
        }
        this.stored_len = this.stored.iter().map(|(_, mask)| mask.count_ones() as usize).sum();
        this
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + 8 * (self.base.len() + self.stored.len() + self.copies.len())
            + 8 * (self.frame.spans.len() + self.frame.gaps.len())
    }

    /// Appends what a block stores of a piece's head.
    pub(crate) fn encode(&self, piece: &[u8], n: u32, cells: &mut Vec<u32>, out: &mut Vec<u8>) {
        cells.clear();
        self.frame.read_cells(piece, n, cells);
        for &(cell, mask) in &self.stored {
            let bytes = cells[cell as usize].to_le_bytes();
            out.extend(places(mask).map(|place| bytes[place]));
        }
    }

    /// Fills the gaps of a piece, which has the length of this template.
    pub(crate) fn decode(
        &self,
        piece: &mut [u8],
        n: u32,
        cells: &mut Vec<u32>,
        stored: &mut Input<'_>,
    ) -> Result<(), Broken> {
        let mut stored = stored.take(self.stored_len)?;
        cells.clear();
        cells.extend(
            self.base.iter().zip(&self.slope).map(|(base, slope)| base.wrapping_add(slope.wrapping_mul(n))),
        );
        for &(cell, mask) in &self.stored {
            let to = &mut cells[cell as usize];
            if mask == 15
                && let Some((word, rest)) = stored.split_first_chunk()
            {
                *to = u32::from_le_bytes(*word);
                stored = rest;
                continue;
            }
            let mut word = to.to_le_bytes();
            for place in places(mask) {
                let Some((&byte, rest)) = stored.split_first() else { break };
                word[place] = byte;
                stored = rest;
            }
            *to = u32::from_le_bytes(word);
        }
        for &(cell, same) in &self.copies {
            cells[cell as usize] = cells[same as usize];
        }
        self.frame.write_cells(piece, n, cells)
    }

    /// Goes past what a block stores of a piece's head.
    pub(crate) fn skip(&self, stored: &mut Input<'_>) -> Result<(), Broken> {
        stored.take(self.stored_len).map(|_| ())
    }

    /// Appends the bytes that stand for it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        push(self.frame.spans.len() as u32, out);
        for &(stream, per) in &self.frame.spans {
            out.push(stream);
            push(per, out);
        }
        for &(len, phase) in &self.frame.gaps {
            push(len, out);
            out.push(phase);
        }
        // The kind of each cell: how many bytes are stored, or 16, it follows `n`, or 17, it is a copy.
        let mut kinds = vec![0_u8; self.base.len()];
        let stored: HashMap<u32, u8> = self.stored.iter().copied().collect();
        let copies: HashMap<u32, u32> = self.copies.iter().copied().collect();
        for (cell, kind) in (0..).zip(&mut kinds) {
            *kind = match (stored.get(&cell), copies.get(&cell), self.slope[cell as usize]) {
                (Some(mask), _, _) => *mask,
                (_, Some(_), _) => 17,
                (_, _, 0) => 0,
                _ => 16,
            };
        }
        out.extend_from_slice(&kinds);
        for (cell, kind) in (0..).zip(&kinds) {
            match kind {
                17 => push(copies[&cell], out),
                16 => {
                    out.extend_from_slice(&self.base[cell as usize].to_le_bytes());
                    out.extend_from_slice(&self.slope[cell as usize].to_le_bytes());
                }
                _ => out.extend_from_slice(&self.base[cell as usize].to_le_bytes()),
            }
        }
    }

    /// Reads a template, whose streams are below `n_streams`.
    pub(crate) fn read(input: &mut Input<'_>, n_streams: usize) -> Result<Self, Broken> {
        let n_spans = input.length()?;
        if n_spans > MAX_SPANS {
            return Err(Broken("a template has too many spans"));
        }
        let mut frame = Frame::default();
        for _ in 0..n_spans {
            let (stream, per) = (input.byte()?, input.number()?);
            if usize::from(stream) >= n_streams || per == 0 {
                return Err(Broken("a template has a stream that is not there, or an empty span"));
            }
            frame.spans.push((stream, per));
        }
        for _ in 0..=n_spans {
            let (len, phase) = (input.number()?, input.byte()?);
            if phase > 3 || len as usize > MAX_HEAD {
                return Err(Broken("a template has a gap that is too long"));
            }
            frame.gaps.push((len, phase));
        }
        if frame.head_len() > MAX_HEAD {
            return Err(Broken("a template has a head that is too long"));
        }
        let n_cells = frame.n_cells();
        let kinds = input.take(n_cells)?;
        let mut this = Self { base: vec![0; n_cells], slope: vec![0; n_cells], frame, ..Self::default() };
        for (cell, kind) in (0..).zip(kinds) {
            let word = |input: &mut Input<'_>| {
                input.take(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
            };
            match kind {
                17 => {
                    let same = input.number()?;
                    let is_copy = kinds.get(same as usize).is_none_or(|kind| *kind == 17);
                    if same >= cell || is_copy {
                        return Err(Broken("a cell is the same as one that is not there"));
                    }
                    this.copies.push((cell, same));
                }
                0..=16 => {
                    this.base[cell as usize] = word(input)?;
                    if *kind == 16 {
                        this.slope[cell as usize] = word(input)?;
                    } else if *kind > 0 {
                        this.stored.push((cell, *kind));
                        this.stored_len += kind.count_ones() as usize;
                    }
                }
                _ => return Err(Broken("a cell has an unknown kind")),
            }
        }
        Ok(this)
    }
}

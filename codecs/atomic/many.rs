//! Reads many frames together, into flat arrays.

use super::partial::PartialReader;
use super::{AtomicFrameCodec, Fields, FlatFrames};
use crate::{AsKey, Codec, Depot, Error, ErrorKind, Result, Then};

impl Depot<AtomicFrameCodec> {
    /// Reads frames as a few long arrays, in the order of `keys`, duplicates included.
    ///
    /// Every block that the frames touch is decoded once, and nothing is allocated for a frame.
    ///
    /// Frames of 64 KiB and more are read in parts if the wanted fields are at most 70 % of the frame:
    /// then only the blocks that hold these fields are decoded. For example, positions that are stored
    /// beside velocities and forces are read 1.7 times as fast (frames of 180 KB in blocks of 64 KiB).
    /// In this case only the checksums of these blocks are compared, not the frame's own checksum, which
    /// covers all of it. A block that two such frames share is decoded for each.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Fields};
    ///
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// depot.put("a", &AtomicFrame::new().positions(&vec![[1.0_f32; 3]; 2]).energy(-1.0))?;
    /// depot.put("b", &AtomicFrame::new().positions(&vec![[2.0_f32; 3]; 3]).energy(-2.0))?;
    /// let flat = depot.get_many_flat(&["b", "a"], Fields::POSITIONS | Fields::ENERGY)?;
    /// assert_eq!(flat.offsets, [0, 3, 5]);
    /// assert_eq!(flat.positions[2..4], [[2.0; 3], [1.0; 3]]);
    /// assert_eq!(flat.energy, [-2.0, -1.0]);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - The errors of [`get_many`](Depot::get_many).
    /// - [`ErrorKind::Codec`](crate::ErrorKind::Codec) when a frame lacks a wanted field, or has it in
    ///   another precision than f32.
    pub fn get_many_flat<K: AsKey>(&self, keys: &[K], fields: Fields) -> Result<FlatFrames> {
        let mut out = FlatFrames::default();
        self.get_many_flat_into(keys, fields, &mut out)?;
        out.stored = None;
        Ok(out)
    }

    /// Like [`get_many_flat`](Depot::get_many_flat), but into arrays that are used again.
    ///
    /// What the arrays held is replaced.
    ///
    /// # Errors
    /// Same as [`get_many_flat`](Depot::get_many_flat). The arrays are of no use then.
    pub fn get_many_flat_into<K: AsKey>(
        &self,
        keys: &[K],
        fields: Fields,
        out: &mut FlatFrames,
    ) -> Result<()> {
        self.get_many_flat_telling(keys, fields, out, || ())
    }

    /// Like [`get_many_flat_into`](Depot::get_many_flat_into), and calls `tell` before it takes each
    /// frame, so that long work shows how far it is.
    ///
    /// A panic of `tell` ends the work, and goes on through this call.
    ///
    /// ```
    /// use vldepot::Depot;
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Fields, FlatFrames};
    ///
    /// let depot = Depot::memory(AtomicFrameCodec::default())?;
    /// depot.put("a", &AtomicFrame::new().positions(&vec![[1.0_f32; 3]; 2]))?;
    /// let (mut flat, mut read) = (FlatFrames::new(), 0);
    /// depot.get_many_flat_telling(&["a", "a"], Fields::POSITIONS, &mut flat, || read += 1)?;
    /// assert_eq!(read, 2);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`get_many_flat`](Depot::get_many_flat). The arrays are of no use then.
    pub fn get_many_flat_telling<K: AsKey>(
        &self,
        keys: &[K],
        fields: Fields,
        out: &mut FlatFrames,
        mut tell: impl FnMut(),
    ) -> Result<()> {
        out.clear();
        let mut stored = out.stored.take().unwrap_or_default();
        stored.clear();
        // The place of each wanted frame in the order of storage.
        let mut places = vec![0; keys.len()];
        let mut in_order = true;
        let mut reader = PartialReader::new(fields);
        self.visit_parts(keys, |number, parts| {
            tell();
            let nth = stored.len();
            let pushed = !parts.is_whole() && reader.push(parts, &mut stored);
            if !pushed {
                if !parts.is_whole() {
                    return Ok(Then::Whole);
                }
                let viewed = self.codec().view(parts.whole()?).and_then(|frame| stored.push(&frame, fields));
                let refuse =
                    |source| Error::new(ErrorKind::Codec { codec: AtomicFrameCodec::ID }).because(source);
                viewed.map_err(refuse)?;
            }
            in_order &= nth == number;
            places[number] = nth;
            Ok(Then::Next)
        })?;
        if in_order {
            std::mem::swap(out, &mut stored);
        } else {
            for nth in places {
                out.push_from(&stored, nth);
            }
        }
        out.stored = Some(stored);
        Ok(())
    }
}

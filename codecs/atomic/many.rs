//! Many frames at once, read into flat arrays.

use super::partial::PartialReader;
use super::{AtomicFrameCodec, Fields, FlatFrames};
use crate::{AsKey, Codec, Depot, Error, ErrorKind, Result, Then};

impl Depot<AtomicFrameCodec> {
    /// Frames as a few long arrays, in the order of `keys`, duplicates included. Every block they touch is
    /// decoded once, and nothing is allocated for a frame.
    ///
    /// Of large frames (64 KiB and more) only the blocks are decoded that hold the fields, where these are
    /// less than 70 % of the frame: positions alone, where velocities and forces are stored beside them, are
    /// read 1.7 times as fast (frames of 180 KB in blocks of 64 KiB). Then the checksums of these blocks
    /// vouch for what is read; the frame's own checksum, which covers all of it, is not compared, and a block
    /// that two such frames share is decoded for each.
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
    /// As [`get_many`](Depot::get_many), and [`ErrorKind::Codec`](crate::ErrorKind::Codec) when a frame lacks
    /// a field that was asked for, or has it in another precision than f32.
    pub fn get_many_flat<K: AsKey>(&self, keys: &[K], fields: Fields) -> Result<FlatFrames> {
        let mut out = FlatFrames::default();
        self.get_many_flat_into(keys, fields, &mut out)?;
        out.stored = None;
        Ok(out)
    }

    /// As [`get_many_flat`](Depot::get_many_flat), into arrays that are used again; what they held is
    /// replaced.
    ///
    /// # Errors
    /// As [`get_many_flat`](Depot::get_many_flat); the arrays are then of no use.
    pub fn get_many_flat_into<K: AsKey>(
        &self,
        keys: &[K],
        fields: Fields,
        out: &mut FlatFrames,
    ) -> Result<()> {
        out.clear();
        let mut stored = out.stored.take().unwrap_or_default();
        stored.clear();
        // Where in the order of storage each frame asked for is.
        let mut places = vec![0; keys.len()];
        let mut in_order = true;
        let mut reader = PartialReader::new(fields);
        self.visit_parts(keys, |number, parts| {
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

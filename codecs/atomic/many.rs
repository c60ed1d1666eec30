//! Many frames at once, read into flat arrays.

use super::partial::PartialReader;
use super::{AtomicFrameCodec, Fields, FlatFrames};
use crate::codec::CodecError;
use crate::depot::Depot;
use crate::error::Result;
use crate::key::AsKey;

impl Depot<AtomicFrameCodec> {
    /// Frames as a few long arrays, in the order of `keys`, duplicates included. Every block they touch is decoded once,
    /// and nothing is allocated for a frame.
    ///
    /// Of large frames (64 KiB and more) only the blocks are decoded that hold the fields, where these are less than 70 % of the
    /// frame: positions alone, where velocities and forces are stored beside them, are read 1.7 times as fast (frames of 180 KB in
    /// blocks of 64 KiB). Then the checksums of these blocks vouch for what is read; the frame's own checksum, which covers all
    /// of it, is not compared, and a block that two such frames share is decoded for each.
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
    /// As [`get_many`](Depot::get_many), and [`ErrorKind::Codec`](crate::ErrorKind::Codec) when a frame lacks a field that was asked for, or has it in
    /// another precision than f32.
    pub fn get_many_flat<K: AsKey>(&self, keys: &[K], fields: Fields) -> Result<FlatFrames> {
        let mut out = FlatFrames::default();
        self.get_many_flat_into(keys, fields, &mut out)?;
        out.stored = None;
        Ok(out)
    }

    /// As [`get_many_flat`](Depot::get_many_flat), into arrays that are used again; what they held is replaced.
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
        let names = self.names(keys)?;
        let wanted = self.engine.locations(&names)?;
        // Where in the order of storage each frame asked for is.
        let mut places = vec![0; keys.len()];
        let mut failed: Option<(usize, CodecError)> = None;
        let mut in_order = true;
        let (mut large, mut rest): (Vec<usize>, Vec<usize>) =
            (0..wanted.len()).partition(|&number| PartialReader::is_large(&wanted[number].1));
        large.sort_by_key(|&number| wanted[number].1.address);
        let mut reader = PartialReader::new(&self.engine, fields);
        // The one before: a frame that is asked for twice is read once.
        let mut last = None;
        for number in large {
            let (_, location) = &wanted[number];
            let nth = stored.len();
            if let Some((_, nth)) = last.filter(|(before, _)| before == location) {
                in_order = false;
                places[number] = nth;
            } else if reader.push(location, &mut stored) {
                in_order &= nth == number;
                places[number] = nth;
                last = Some((*location, nth));
            } else {
                rest.push(number);
            }
        }
        // The first error is that of the first key.
        rest.sort_unstable();
        let whole: Vec<_> = rest.iter().map(|&number| wanted[number]).collect();
        self.visit_located(&whole, &mut |number, frame| {
            let number = rest[number];
            let nth = stored.len();
            in_order &= nth == number;
            places[number] = nth;
            if let Err(error) = stored.push(&frame, fields)
                && failed.as_ref().is_none_or(|(first, _)| number < *first)
            {
                failed = Some((number, error));
            }
        })?;
        if let Some((number, source)) = failed {
            return Err(self.refused(&keys[number], source));
        }
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
